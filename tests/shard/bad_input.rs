//! Bad input over whole shards, one and two of them: it harms its own connection only. Memory stays bounded (gauges, and the
//! allocator's word), a counter says that it happened, and a session of other users goes on in the middle of it.

use std::time::Duration;

use ringfork::{config::Config, ids::SocketId, limits::Limits};

use crate::{
    lab::{Lab, Line, MEDIA, TCP},
    memory::live,
    people::{Alice, Device, cpim, session, session_of},
    text,
};

/// A server in which Alice and Bob's two devices talk.
struct Scene {
    lab: Lab,
    alice: Alice,
    devices: Vec<Device>,
    said: usize,
    before: isize,
}

impl Scene {
    fn new(shards: u8, with: impl FnOnce(&mut Config, &mut Limits)) -> Self {
        let mut config = Config::default();
        let mut limits = Limits::new(&config, shards);
        with(&mut config, &mut limits);
        let mut lab = Lab::limited(&config, &limits);
        let (alice, devices) = session(&mut lab, 2);
        let mut scene = Self {
            lab,
            alice,
            devices,
            said: 0,
            before: 0,
        };
        scene.goes_on();
        scene.before = live();
        scene
    }

    /// A message of Alice reaches both devices whole, and she hears that it did.
    fn goes_on(&mut self) {
        let Self {
            lab,
            alice,
            devices,
            said,
            ..
        } = self;
        *said += 1;
        let body = cpim(&format!("number {said}"));
        let tid = alice.say(lab, &format!("other-{said}"), &body);
        for d in devices.iter() {
            let sends = lab.sends(d.conn());
            assert_eq!(sends.len(), 1, "device {} at message {said}", d.n);
            assert_eq!(sends[0].body.as_deref(), Some(&body[..]));
            d.ok(lab, &sends[0], 200);
        }
        let heard = lab.frames(alice.conn());
        assert!(
            heard.iter().any(|f| f.what == "200" && f.tid == tid),
            "{heard:?}"
        );
    }

    /// What the flood has made the shards hold beyond what they did is below `bytes`.
    #[track_caller]
    fn holds_below(&self, bytes: isize) {
        let more = live() - self.before;
        assert!(more < bytes, "{more} bytes more than before");
    }

    fn gauge_framing(&self) -> usize {
        self.lab.sum(|r| r.framing_bytes) as usize
    }
}

const KIB: isize = 1 << 10;
const MIB: isize = 1 << 20;

fn each(run: impl Fn(u8)) {
    for shards in [1, 2] {
        run(shards);
    }
}

/// An address of the attacker; each port comes to a shard of its own.
fn from(n: usize) -> String {
    format!("10.0.9.{}:{}", 1 + n % 200, 1000 + n)
}

/// Connections that say nothing, of both kinds: there is room for so many, and each for so long.
#[test]
fn half_open_connections() {
    each(|shards| {
        for socket in [TCP, MEDIA] {
            let mut s = Scene::new(shards, |_, l| l.connections = 100);
            let mut open = 0;
            for n in 0..300 {
                open += usize::from(s.lab.try_connect(socket, &from(n)).is_some());
                if n % 50 == 0 {
                    s.goes_on();
                }
            }
            assert!(open < 100 * usize::from(shards), "{open}");
            assert_eq!(s.lab.reached("connections"), 300 - open as u64);
            s.holds_below(MIB);
            s.lab.pass(Duration::from_secs(31));
            assert_eq!(
                s.lab.reached("half_open"),
                open as u64,
                "{shards} {socket:?}"
            );
            s.goes_on();
            s.lab.connect(socket, &from(900));
        }
    });
}

/// A peer that has said something whole, and then begins what never ends, is half-open again.
#[test]
fn a_message_that_has_begun_must_come_whole() {
    each(|shards| {
        let mut s = Scene::new(shards, |_, _| ());
        let line = s.lab.connect(TCP, &from(1));
        s.lab.bytes(line, b"OPTIONS sip:10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TCP a;branch=z9hG4bKw\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:10.0.0.1>\r\n\
            Call-ID: whole\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n");
        s.lab.pass(Duration::from_secs(100));
        assert_eq!(s.lab.wire(line).closed, None, "idle is no fault");
        s.lab
            .bytes(line, b"OPTIONS sip:10.0.0.1 SIP/2.0\r\nVia: SIP/2");
        s.lab.pass(Duration::from_secs(29));
        assert_eq!(s.lab.wire(line).closed, None);
        s.lab.pass(Duration::from_secs(2));
        assert_eq!(s.lab.wire(line).closed, Some(false));
        assert_eq!(s.lab.reached("half_open"), 1);
        s.goes_on();
    });
}

/// Feeds `bytes` again and again until the connection is closed; how many bytes it took.
fn until_closed(lab: &mut Lab, line: Line, bytes: &[u8], most: usize) -> usize {
    let mut fed = 0;
    while lab.wire(line).closed.is_none() && fed < most {
        lab.bytes(line, bytes);
        fed += bytes.len();
    }
    fed
}

const SIP_START: &str = "OPTIONS sip:10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TCP a;branch=z9hG4bKe\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:10.0.0.1>\r\n\
    Call-ID: endless\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\n";
const MSRP_START: &str =
    "MSRP abcd1234 SEND\r\nTo-Path: msrp://10.0.0.1:2855/x;tcp\r\nFrom-Path: msrp://a:1/y;tcp\r\n";

/// One header without end, and headers without end, on both kinds of connection: so much is read, then it is answered where
/// it can be, and the connection is closed.
#[test]
fn endless_heads() {
    let kinds: [(SocketId, &str, &[u8], usize); 4] = [
        (TCP, SIP_START, &[b'x'; 1_000], 64 << 10),
        (TCP, SIP_START, b"A: b\r\n", 64 << 10),
        (MEDIA, MSRP_START, &[b'x'; 1_000], 16 << 10),
        (MEDIA, MSRP_START, b"A: b\r\n", 16 << 10),
    ];
    each(|shards| {
        for (socket, start, more, bound) in kinds {
            let mut s = Scene::new(shards, |_, _| ());
            let before = s.lab.sum(|r| r.malformed);
            for n in 0..5 {
                let line = s.lab.connect(socket, &from(n));
                s.lab.bytes(line, start.as_bytes());
                if more.len() > 100 {
                    s.lab.bytes(line, b"X-Long: ");
                }
                let fed = until_closed(&mut s.lab, line, more, 1 << 20);
                assert!(fed <= bound + more.len(), "{fed} of {bound}");
                assert_eq!(
                    s.lab.wire(line).closed,
                    Some(true),
                    "what could be said was said"
                );
                s.goes_on();
            }
            assert_eq!(s.lab.sum(|r| r.malformed) - before, 5);
            assert_eq!(s.gauge_framing(), 0);
            s.holds_below(256 * KIB);
        }
    });
}

/// Many connections that each hold less than their bound, and together too much: who holds most is closed.
#[test]
fn heads_that_are_many() {
    each(|shards| {
        for (socket, start) in [(TCP, SIP_START), (MEDIA, MSRP_START)] {
            let mut s = Scene::new(shards, |_, l| l.framing_bytes = 100_000);
            let lines: Vec<Line> = (0..60).map(|n| s.lab.connect(socket, &from(n))).collect();
            for (n, line) in lines.iter().enumerate() {
                let head = format!("{start}X-Long: {}", "x".repeat(8_000 + n));
                s.lab.bytes(*line, head.as_bytes());
                assert!(s.gauge_framing() <= 100_000 * usize::from(shards));
            }
            s.goes_on();
            let closed = lines
                .iter()
                .filter(|l| s.lab.wire(**l).closed.is_some())
                .count();
            assert_eq!(s.lab.reached("framing_bytes"), closed as u64);
            assert!(closed >= 60 - 12 * usize::from(shards), "{closed}");
            s.holds_below((100_000 * isize::from(shards) * 2) + 256 * KIB);
            for line in &lines {
                s.lab.hang_up(*line);
            }
            assert_eq!(s.gauge_framing(), 0);
        }
    });
}

/// As many headers as a datagram has room for, in one that is otherwise right.
#[test]
fn datagrams_of_headers() {
    each(|shards| {
        let mut s = Scene::new(shards, |_, _| ());
        for n in 0..20 {
            let head = SIP_START.replace("TCP a", &format!("UDP {}", from(n)));
            let m = format!("{head}{}Content-Length: 0\r\n\r\n", "a:\r\n".repeat(15_000));
            s.lab.datagram(&from(n), m.as_bytes());
            let answer = s.lab.to(&from(n)).expect("an answer");
            assert!(matches!(answer.code(), Some(400 | 513)), "{answer:?}");
        }
        assert_eq!(s.lab.sum(|r| r.malformed), 20);
        assert_eq!(
            s.lab.sum(|r| r.transactions),
            s.lab.sum(|r| r.transactions).min(12)
        );
        s.goes_on();
        s.holds_below(256 * KIB);
    });
}

/// A body that never ends, in a session of its own: passed on as it comes, and cut where the longest message ends.
#[test]
fn bodies_that_never_end() {
    each(|shards| {
        let mut s = Scene::new(shards, |c, _| c.msrp.max_message_bytes = 1 << 20);
        let (mallory, victims) = session_of(&mut s.lab, "carol", 50);
        s.before = live();
        let head = format!(
            "MSRP endless1 SEND\r\nTo-Path: {}\r\nFrom-Path: {}\r\nMessage-ID: endless-1\r\nByte-Range: 1-*/*\r\nContent-Type: message/cpim\r\n\r\n",
            mallory.peer_path, mallory.path
        );
        s.lab.bytes(mallory.conn(), head.as_bytes());
        s.lab.bytes(mallory.conn(), &cpim(""));
        let piece = [b'z'; 32 << 10];
        let mut passed = 0;
        for n in 0..200 {
            s.lab.bytes(mallory.conn(), &piece);
            passed += s.lab.take(victims[0].conn()).len();
            if n % 20 == 0 {
                s.goes_on();
            }
            s.holds_below(512 * KIB);
        }
        assert!(
            passed > (1 << 20) - (64 << 10) && passed < (1 << 20) + (64 << 10),
            "{passed}"
        );
        let said = s.lab.frames(mallory.conn());
        assert!(said.iter().any(|f| f.what == "413"), "{said:?}");
        s.lab.hang_up(mallory.conn());
        s.goes_on();
    });
}

/// What Content-Length says and what there is differ, over TCP: too long waits and is closed, too short and negative are
/// no messages any more.
#[test]
fn content_lengths_that_lie_over_tcp() {
    for (length, body, answers, how) in [
        ("500", "short", None, "half_open"),
        ("200000", "short", None, "half_open"),
        ("2", "longer than that", Some(200), "malformed"),
        ("-1", "", Some(400), "malformed"),
        ("300000", "", Some(413), "malformed"),
        ("99999999999999999999999", "", Some(400), "malformed"),
        ("5, 7", "short", Some(400), "malformed"),
        ("abc", "short", Some(400), "malformed"),
    ] {
        each(|shards| {
            let mut s = Scene::new(shards, |_, _| ());
            let malformed = s.lab.sum(|r| r.malformed);
            for n in 0..10 {
                let line = s.lab.connect(TCP, &from(n));
                let head = SIP_START
                    .replace("z9hG4bKe", &format!("z9hG4bKe{n}"))
                    .replace("endless", &format!("endless{n}"));
                s.lab.bytes(line, format!("{head}Content-Type: application/sdp\r\nContent-Length: {length}\r\n\r\n{body}\r\n\r\n").as_bytes());
                let out = s.lab.take(line);
                let code = text::Sip::read(&out).and_then(|m| m.code());
                // Another shard's answer finds the connection closed, by what came behind the request.
                let late = shards > 1 && code.is_none() && answers == Some(200);
                assert!(
                    late || code == answers,
                    "{length}: {:?}",
                    String::from_utf8_lossy(&out)
                );
            }
            s.goes_on();
            s.lab.pass(Duration::from_secs(31));
            let counted = match how {
                "malformed" => s.lab.sum(|r| r.malformed) - malformed,
                limit => s.lab.reached(limit),
            };
            assert_eq!(counted, 10, "{length}: {how}");
            assert_eq!(s.gauge_framing(), 0);
            s.goes_on();
        });
    }
}

/// The same over UDP: what is missing is an error, what is too much is not looked at (RFC 3261 §18.3).
#[test]
fn content_lengths_that_lie_over_udp() {
    for (length, body, answer) in [
        ("500", "short", 400),
        ("2", "longer than that", 200),
        ("-1", "", 400),
        ("99999999999999999999999", "", 400),
    ] {
        each(|shards| {
            let mut s = Scene::new(shards, |_, _| ());
            for n in 0..20 {
                let head = SIP_START
                    .replace("TCP a", &format!("UDP {}", from(n)))
                    .replace("z9hG4bKe", &format!("z9hG4bKe{n}"))
                    .replace("endless", &format!("endless{n}"));
                let m = format!(
                    "{head}Content-Type: application/sdp\r\nContent-Length: {length}\r\n\r\n{body}"
                );
                s.lab.datagram(&from(n), m.as_bytes());
                let told = s.lab.to(&from(n)).expect("an answer");
                assert_eq!(told.code(), Some(answer), "{length}: {told:?}");
            }
            if answer == 400 {
                assert_eq!(s.lab.sum(|r| r.malformed), 20);
            }
            s.goes_on();
            s.holds_below(512 * KIB);
        });
    }
}

/// One branch for whatever a peer has to say: it is one transaction, answered by one response.
#[test]
fn sip_transaction_ids_that_are_reused() {
    each(|shards| {
        let mut s = Scene::new(shards, |_, _| ());
        let (held, repeated) = (s.lab.sum(|r| r.transactions), s.lab.sum(|r| r.sip_repeated));
        let peer = from(1);
        for n in 0..500 {
            let head = SIP_START
                .replace("TCP a", &format!("UDP {peer}"))
                .replace("endless", &format!("other{n}"));
            s.lab
                .datagram(&peer, format!("{head}Content-Length: 0\r\n\r\n").as_bytes());
        }
        assert!(s.lab.sum(|r| r.transactions) <= held + 1);
        assert_eq!(s.lab.sum(|r| r.sip_repeated) - repeated, 499);
        let answers: Vec<_> = std::iter::from_fn(|| s.lab.to(&peer)).collect();
        assert!(
            answers.iter().all(|a| a.get("Call-ID") == "other0"),
            "the first one's answer, again"
        );
        drop(answers);
        s.goes_on();
        s.holds_below(512 * KIB);
    });
}

/// One transaction id for every SEND of a session: each message is delivered and answered for itself. And what looks like an
/// answer to somebody else's SEND is none.
#[test]
fn msrp_transaction_ids_that_are_reused() {
    each(|shards| {
        let mut s = Scene::new(shards, |_, _| ());
        let (mallory, victims) = session_of(&mut s.lab, "carol", 50);
        s.before = live();
        for n in 0..300 {
            let bytes = mallory.send("samesame", &format!("again-{n}"), &cpim("x"), "");
            s.lab.bytes(mallory.conn(), &bytes);
            for f in s.lab.sends(victims[0].conn()) {
                assert_eq!(f.get("Message-ID"), format!("again-{n}"));
                victims[0].ok(&mut s.lab, &f, 200);
            }
            let said = s.lab.frames(mallory.conn());
            let ours: Vec<&str> = said.iter().map(|f| f.tid.as_str()).collect();
            assert_eq!(ours, ["samesame"]);
        }
        assert_eq!(
            s.lab.sum(|r| r
                .deliveries
                .iter()
                .find(|d| d.0 == "acknowledged")
                .map_or(0, |d| d.1)),
            302
        );
        // Alice's message is out; mallory guesses its answer from his own connection.
        let body = cpim("mine");
        s.alice.say(&mut s.lab, "other-x", &body);
        let mine = s.lab.sends(s.devices[0].conn()).remove(0);
        s.lab.sends(s.devices[1].conn());
        let forged = format!(
            "MSRP {} 403 No\r\nTo-Path: {}\r\nFrom-Path: {}\r\n-------{}$\r\n",
            mine.tid, mallory.peer_path, mallory.path, mine.tid
        );
        s.lab.bytes(mallory.conn(), forged.as_bytes());
        s.devices[0].ok(&mut s.lab, &mine, 200);
        assert!(s.lab.frames(s.alice.conn()).iter().any(|f| f.what == "200"));
        s.goes_on();
        s.holds_below(512 * KIB);
    });
}

/// End-lines that almost are: hyphens, ids and flags that are wrong by one byte are body, in a message that is passed on and
/// in one that is refused, however many there are.
#[test]
fn end_lines_that_almost_match() {
    each(|shards| {
        let mut s = Scene::new(shards, |c, _| c.msrp.max_message_bytes = 1 << 20);
        let (mallory, victims) = session_of(&mut s.lab, "carol", 50);
        let tid = "almost12";
        let mut almost = Vec::new();
        for line in [
            format!("\r\n------{tid}$\r\n"),
            format!("\r\n-------{tid}\r\n"),
            format!("\r\n-------{tid}$\r"),
            format!("\r\n-------{tid}$\n"),
            format!("\r\n-------{tid}%\r\n"),
            format!("\r\n-------{}$\r\n", tid.to_uppercase()),
            format!("\r\n-------{tid}x$\r\n"),
            format!("\n-------{tid}$\r\n"),
            "\r\n-------abcdefghijklmnop$\r\n".to_owned(),
        ] {
            almost.extend(line.bytes());
        }
        let mut body = cpim("");
        body.extend(almost.repeat(200));
        s.before = live();
        let bytes = mallory.send(tid, "almost-1", &body, "");
        for piece in bytes.chunks(1_000) {
            s.lab.bytes(mallory.conn(), piece);
        }
        let sends = s.lab.sends(victims[0].conn());
        let got: Vec<u8> = sends.iter().flat_map(|f| f.body.clone().unwrap()).collect();
        assert!(got == body, "{} of {} bytes", got.len(), body.len());
        for f in &sends {
            victims[0].ok(&mut s.lab, f, 200);
        }
        s.goes_on();
        // Of a message that is refused by its size nothing is kept, though it goes on and on.
        let head = format!(
            "MSRP {tid} SEND\r\nTo-Path: {}\r\nFrom-Path: {}\r\nMessage-ID: almost-2\r\nByte-Range: 1-*/9999999\r\nContent-Type: message/cpim\r\n\r\n",
            mallory.peer_path, mallory.path
        );
        s.lab.bytes(mallory.conn(), head.as_bytes());
        let lookalikes = b"\r\n-------abcdefghijklmnop$\r\n".repeat(500);
        for _ in 0..500 {
            s.lab.bytes(mallory.conn(), &lookalikes);
        }
        s.lab.frames(mallory.conn());
        s.holds_below(512 * KIB);
        s.goes_on();
    });
}
