//! How a shard explains itself: what it says in its log, how much at most, and what can be asked of it afterwards.

use std::{io::Write, sync::Arc, time::Duration};

use crossbeam::queue::SegQueue;
use ringfork::{
    config::Config,
    limits::{ENDED_SESSIONS, Limits},
    shard::{
        DEBUG_LINES_PER_S, LINES_PER_S,
        report::{Answer, Question, SessionView, session_of as id_of},
    },
};
use tracing::Level;

use crate::{
    lab::{Lab, TAG, TCP},
    people::{Alice, Device, cpim, hang_up, session, session_of},
};

/// What was written on this thread while it is held, from `level` on.
pub(crate) struct Log {
    text: Arc<SegQueue<Vec<u8>>>,
    _held: tracing::subscriber::DefaultGuard,
}

struct Writer(Arc<SegQueue<Vec<u8>>>);

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.push(bytes.to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    pub(crate) fn from(level: Level) -> Self {
        let text = Arc::new(SegQueue::new());
        let to = Arc::clone(&text);
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_ansi(false)
            .without_time()
            .with_target(false)
            .with_writer(move || Writer(Arc::clone(&to)))
            .finish();
        Self {
            text,
            _held: tracing::subscriber::set_default(subscriber),
        }
    }

    /// Takes the lines that were written.
    pub(crate) fn lines(&self) -> Vec<String> {
        let text: Vec<Vec<u8>> = std::iter::from_fn(|| self.text.pop()).collect();
        let text = String::from_utf8(text.concat()).expect("lines are text");
        text.lines().map(ToOwned::to_owned).collect()
    }
}

/// The only line with all of these in it.
#[track_caller]
pub(crate) fn line<'a>(lines: &'a [String], has: &[&str]) -> &'a str {
    let found: Vec<_> = lines
        .iter()
        .filter(|l| has.iter().all(|h| l.contains(h)))
        .collect();
    assert!(
        found.len() == 1,
        "{has:?}: {found:#?} in\n{}",
        lines.join("\n")
    );
    found[0]
}

fn ended(lab: &mut Lab, shard: usize) -> Vec<SessionView> {
    match lab.ask(shard, Question::EndedSessions) {
        Answer::Sessions { page, next: None } => page,
        other => panic!("{other:?}"),
    }
}

fn name(lab: &mut Lab) -> String {
    let all = lab.ask(
        0,
        Question::Sessions {
            after: None,
            max: 1,
        },
    );
    let Answer::Sessions { page, .. } = all else {
        panic!("{all:?}");
    };
    page[0].id.clone()
}

/// At `info` a session says one thing: who, how long, why it ended, messages each way; under the name that the admin
/// interface calls it by, and nobody's address is in it.
#[test]
fn a_session_says_at_its_end_who_it_was_how_long_and_why_it_ended() {
    let log = Log::from(Level::INFO);
    let mut lab = Lab::new();
    let (mut alice, devices) = session(&mut lab, 2);
    let name = name(&mut lab);
    alice.say(&mut lab, "msg-1", &cpim("hello"));
    for d in &devices {
        let sends = lab.sends(d.conn());
        d.ok(&mut lab, &sends[0], 200);
    }
    devices[0].say(&mut lab, "message/cpim", &cpim("hi"));
    lab.pass(Duration::from_secs(7));
    assert_eq!(log.lines(), Vec::<String>::new(), "it has not ended");
    hang_up(&mut lab, &mut alice, &devices);
    let lines = log.lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    for part in [
        format!("session=\"{name}\""),
        "user=sip:[redacted]@example.com".into(),
        "from=sip:[redacted]@other.example".into(),
        "seconds=7".into(),
        "devices=2".into(),
        "messages_from_originator=1".into(),
        "messages_to_originator=1".into(),
        "why=\"the originator left\"".into(),
    ] {
        assert!(lines[0].contains(&part), "{part} in {lines:?}");
    }
    assert!(!lines[0].contains("alice") && !lines[0].contains("bob"));

    // Afterwards it can be asked for, by that name and among the last.
    let (shard, id) = id_of(&name).unwrap();
    let Answer::Session(Some(view)) = lab.ask(usize::from(shard.0), Question::Session(id)) else {
        panic!("it is remembered");
    };
    assert_eq!((view.state, view.age_s), ("ended", 7));
    assert_eq!(view.why, "the originator left");
    assert!(view.ended_s.is_some_and(|s| s > 0), "{view:?}");
    let whys: Vec<_> = view.legs.iter().map(|l| l.why.as_str()).collect();
    assert_eq!(
        whys,
        [
            "the originator left",
            "the originator left",
            "Call completed elsewhere"
        ]
    );
    assert_eq!(ended(&mut lab, 0), [*view]);
}

/// Every way to end says whose doing it was; what befell one leg is not said of another.
#[test]
fn the_end_of_a_session_says_whose_doing_it_was() {
    type Do = fn(&mut Lab, &mut Alice, &mut Vec<Device>);
    let check = |n: u8, what: Do, why: &str, legs: &[&str]| {
        let mut lab = Lab::new();
        let (mut alice, mut devices) = session(&mut lab, n);
        what(&mut lab, &mut alice, &mut devices);
        for _ in 0..40 {
            for who in devices
                .iter()
                .map(|d| d.sip.clone())
                .chain([alice.sip.clone()])
            {
                while let Some(m) = lab.to(&who) {
                    if m.code().is_none() && m.method() != "ACK" {
                        let ok = m.answer(200, "OK", "", "", "");
                        lab.datagram(&who, &ok);
                    }
                }
            }
            lab.pass(Duration::from_secs(2));
        }
        let all = ended(&mut lab, 0);
        assert_eq!(all.len(), 1, "{why}: {all:?}");
        assert_eq!(all[0].why, why);
        let said: Vec<_> = all[0].legs.iter().map(|l| l.why.as_str()).collect();
        assert_eq!(said, legs, "{why}");
    };
    // Its media are lost, and it does not come back: each device hears that it was the originator's.
    let theirs = "the originator: its MSRP connection was lost and did not come back";
    check(
        2,
        |lab, alice, _| lab.hang_up(alice.conn()),
        theirs,
        &[
            "its MSRP connection was lost and did not come back",
            theirs,
            theirs,
        ],
    );
    // The last device is lost.
    check(
        1,
        |lab, _, devices| lab.hang_up(devices[0].conn()),
        "device 1: its MSRP connection was lost",
        &[
            "device 1: its MSRP connection was lost",
            "its MSRP connection was lost",
        ],
    );
    // The user leaves on one device.
    check(
        2,
        |lab, _, devices| {
            let d = &devices[1];
            let invite = d.invite.clone().unwrap();
            let bye = format!(
                "BYE {} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=z9hG4bKb\r\nMax-Forwards: 70\r\nFrom: {};tag=t2\r\nTo: {}\r\n\
                 Call-ID: {}\r\nCSeq: 7 BYE\r\nContent-Length: 0\r\n\r\n",
                invite.uri("Contact"),
                d.sip,
                invite.get("To"),
                invite.get("From"),
                invite.get("Call-ID")
            );
            lab.datagram(&d.sip.clone(), bye.as_bytes());
        },
        "device 2: the user left",
        &[
            "device 2: the user left",
            "the user left on another device",
            "the user left",
        ],
    );
    // An operator.
    check(
        1,
        |lab, _, _| {
            let name = name(lab);
            let Answer::Ended(true) = lab.ask(0, Question::End(id_of(&name).unwrap().1)) else {
                panic!("there is one");
            };
        },
        "ended by the operator",
        &["ended by the operator", "ended by the operator"],
    );
}

#[test]
fn a_session_that_nobody_takes_says_what_its_originator_was_told() {
    let mut lab = Lab::new();
    let alice = Alice::new();
    let mut devices: Vec<_> = (1..=2).map(|n| Device::register(&mut lab, n)).collect();
    alice.invite(&mut lab);
    for d in &mut devices {
        d.invited(&mut lab);
        d.respond(&mut lab, 486, "", "");
    }
    let all = ended(&mut lab, 0);
    assert_eq!(all[0].why, "no device takes it: 486 Busy Here");
    assert_eq!(all[0].legs[2].why, "486 Busy Here");
}

/// The last hundred of each shard, bounded whatever a peer writes.
#[test]
fn the_last_hundred_sessions_are_remembered() {
    let mut lab = Lab::new();
    let mut d = Device::register(&mut lab, 1);
    let n = ENDED_SESSIONS + 20;
    for k in 0..n {
        let m = Alice::new();
        let call = lab.fresh("call");
        let branch = lab.fresh("z9hG4bKi");
        let invite = String::from_utf8(m.message(
            "INVITE", "sip:bob@example.com", &branch, 1,
            &format!("Contact: <sip:alice@{}>\r\nAccept-Contact: *;{TAG};require;explicit\r\nContent-Type: application/sdp\r\n", m.sip),
            &m.sdp(),
        )).unwrap().replace("alicecall1", &call);
        lab.datagram(&m.sip, invite.as_bytes());
        d.invited(&mut lab);
        d.respond(&mut lab, 603, "", "");
        lab.pass(Duration::from_millis(10));
        assert_eq!(ended(&mut lab, 0).len(), (k + 1).min(ENDED_SESSIONS));
    }
}

/// RFC 4975 §7.2: a device that answers 403 to each SEND takes none of them. Found as 42,000 lines a second.
#[test]
fn a_device_that_refuses_every_message_makes_a_line_and_then_a_count_a_second() {
    let log = Log::from(Level::INFO);
    let mut lab = Lab::new();
    let (alice, devices) = session(&mut lab, 1);
    let d = &devices[0];
    let mut told = 0;
    for second in 0..3 {
        for n in 0..500 {
            alice.say(&mut lab, &format!("m{second}-{n}"), &cpim("no"));
            for f in lab.sends(d.conn()) {
                d.ok(&mut lab, &f, 403);
            }
            lab.frames(alice.conn());
            lab.pass(Duration::from_millis(2));
        }
        let lines = log.lines();
        assert!(!lines.is_empty() && lines.len() <= 2, "{lines:?}");
        for l in lines {
            let more = l
                .split("lines=")
                .nth(1)
                .map(|n| n.split(' ').next().unwrap());
            told += more.map_or(1, |n| n.parse::<u32>().unwrap());
        }
    }
    lab.pass(Duration::from_secs(2));
    for l in log.lines() {
        let more = l
            .split("lines=")
            .nth(1)
            .map(|n| n.split(' ').next().unwrap());
        told += more.map_or(1, |n| n.parse::<u32>().unwrap());
    }
    assert_eq!(told, 1500, "each is said or counted");
}

/// Many sessions, each of which may say something: all together stay below a hundred lines a second, at `debug` below its
/// own bound.
#[test]
fn a_flood_of_sessions_says_at_most_a_hundred_lines_in_a_second() {
    for (level, most) in [
        (Level::INFO, LINES_PER_S),
        (Level::DEBUG, LINES_PER_S + DEBUG_LINES_PER_S),
        (Level::TRACE, LINES_PER_S + DEBUG_LINES_PER_S),
    ] {
        let log = Log::from(level);
        let mut lab = Lab::new();
        let mut d = Device::register(&mut lab, 1);
        let mut bursts = Vec::new();
        for _ in 0..600 {
            let m = Alice::new();
            let (call, branch) = (lab.fresh("call"), lab.fresh("z9hG4bKi"));
            let invite = String::from_utf8(m.message(
                "INVITE", "sip:bob@example.com", &branch, 1,
                &format!("Contact: <sip:alice@{}>\r\nAccept-Contact: *;{TAG};require;explicit\r\nContent-Type: application/sdp\r\n", m.sip),
                &m.sdp(),
            )).unwrap().replace("alicecall1", &call);
            lab.datagram(&m.sip, invite.as_bytes());
            d.invited(&mut lab);
            d.respond(&mut lab, 603, "", "");
            lab.sent.clear();
            lab.pass(Duration::from_millis(1));
            bursts.push((lab.now, log.lines().len()));
        }
        let within = |k: usize| {
            let from = bursts[k].0;
            let second = bursts[k..]
                .iter()
                .take_while(|(at, _)| at.since(from) < Duration::from_secs(1));
            second.map(|(_, n)| n).sum::<usize>()
        };
        let worst = (0..bursts.len()).map(within).max().unwrap();
        assert!((10..=most).contains(&worst), "{level}: {worst}");
    }
}

/// At `debug` each decision says its reason, under the session's name and the leg's number.
#[test]
fn at_debug_each_decision_says_its_reason() {
    let log = Log::from(Level::DEBUG);
    let mut lab = Lab::new();
    Device::register_as(&mut lab, 9, "+g.oma.sip-im");
    let lines = log.lines();
    line(
        &lines,
        &[
            "request received",
            "method=REGISTER",
            "user",
            "peer=10.0.1.9:5060",
        ]
        .map(|s| {
            if s == "user" {
                "from=\"sip:[redacted]@example.com\""
            } else {
                s
            }
        }),
    );
    line(&lines, &["device registered", "sip:[redacted]"]);
    // A contact without the session's tag: nobody is suitable, and it says why.
    let stranger = Alice::calling("bob", 7);
    stranger.invite(&mut lab);
    let lines = log.lines();
    line(
        &lines,
        &[
            "contact not invited",
            "session=-",
            "contact without the session's feature tag",
        ],
    );
    // A session with two devices, one of which refuses.
    let mut alice = Alice::new();
    let mut devices: Vec<_> = (1..=3).map(|n| Device::register(&mut lab, n)).collect();
    alice.invite(&mut lab);
    let name = name(&mut lab);
    let of = |leg: u8| [format!("session={name}"), format!("leg={leg}")];
    let lines = log.lines();
    line(
        &lines,
        &["request received", "method=INVITE", "call_id=alicecall1"],
    );
    line(&lines, &["session begun", &name, "devices=3"]);
    line(&lines, &["contact not invited", &name]);
    for leg in 1..=3 {
        let [s, l] = of(leg);
        line(&lines, &["request sent", "method=INVITE", &s, &l]);
    }
    for d in &mut devices {
        d.invited(&mut lab);
    }
    devices[0].accept(&mut lab);
    alice.up(&mut lab);
    devices[1].accept(&mut lab);
    devices[2].respond(&mut lab, 180, "", "");
    devices[2].respond(&mut lab, 486, "", "");
    let lines = log.lines();
    let all = ["response received", "486"];
    let refused = line(&lines, &all);
    assert!(refused.contains(&format!("session={name}")), "{refused}");
    line(&lines, &["leg", "why=486 Busy Here", &name]);
    line(&lines, &["leg", "why=it said 180", &name]);
    assert_eq!(
        lines
            .iter()
            .filter(|l| l.contains("MSRP connection bound"))
            .count(),
        3,
        "{lines:#?}"
    );
    assert!(
        lines
            .iter()
            .any(|l| l.contains("connection accepted") && l.contains("protocol=\"msrp\""))
    );
    // Activity: the other is told why.
    devices[0].say(&mut lab, "message/cpim", &cpim("here"));
    let lines = log.lines();
    line(&lines, &["activity", &name]);
    line(
        &lines,
        &["request sent", "method=BYE", "Call completed elsewhere"],
    );
    line(&lines, &["leg", "why=Call completed elsewhere"]);
    line(&lines, &["leg", "why=the user is active here"]);
    hang_up(&mut lab, &mut alice, &devices);
    let lines = log.lines();
    line(&lines, &["request received", "method=BYE", &name, "leg=0"]);
    line(&lines, &["session ended", &name]);
    // Nobody's name in any of them.
    assert!(
        lines
            .iter()
            .all(|l| !l.contains("bob@") && !l.contains("alice@")),
        "{lines:#?}"
    );
}

/// Found with real clients: a stream that closes, and a connect that is refused, left no line at all.
#[test]
fn connections_say_how_they_came_and_went() {
    let log = Log::from(Level::DEBUG);
    let mut lab = Lab::new();
    let sip = lab.connect(TCP, "10.0.1.1:40000");
    lab.hang_up(sip);
    let lines = log.lines();
    line(
        &lines,
        &["connection accepted", "protocol=\"sip\"", "10.0.1.1:40000"],
    );
    line(
        &lines,
        &["connection over", "10.0.1.1:40000", "closed by the peer"],
    );
    // A device that says it listens, and does not.
    let mut alice = Alice::new();
    let mut d = Device::register(&mut lab, 1);
    alice.invite(&mut lab);
    d.invited(&mut lab);
    let sdp = d.sdp("passive", "");
    let more = format!(
        "Contact: <sip:bob@{}>\r\nContent-Type: application/sdp\r\n",
        d.sip
    );
    d.respond(&mut lab, 200, &more, &sdp);
    let name = name(&mut lab);
    lab.connected("10.0.1.1:7000", false);
    let lines = log.lines();
    line(&lines, &["connecting", &name, "leg=1", "to=10.0.1.1:7000"]);
    line(
        &lines,
        &["leg", &name, "why=accepted; we connect to 10.0.1.1:7000"],
    );
    line(
        &lines,
        &[
            "connect failed",
            "protocol=\"msrp\"",
            "10.0.1.1:7000",
            "refused",
        ],
    );
    alice.up(&mut lab);
}

/// Text of a peer goes into a line as it can be read, and no longer than a line bears.
#[test]
fn what_a_peer_writes_can_neither_forge_a_line_nor_make_it_long() {
    let long = "x".repeat(15_000);
    // A control octet is refused, and a letter that some terminals obey is not.
    for (forged, told) in [("\u{1b}[31m", false), ("\u{9b}31m", true)] {
        let log = Log::from(Level::DEBUG);
        let mut lab = Lab::new();
        let m = format!(
            "INVITE sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.2.9:5060;branch=z9hG4bKl\r\nMax-Forwards: 70\r\n\
             From: <sip:alice@other.example>;tag=a\r\nTo: <sip:bob@example.com>\r\nCall-ID: {long}\r\nCSeq: 1 INVITE\r\n\
             Reason: SIP;text=\"{forged}{long}\"\r\nContact: <sip:{long}@10.0.2.9>\r\nContent-Length: 0\r\n\r\n"
        );
        lab.datagram("10.0.2.9:5060", m.as_bytes());
        let lines = log.lines();
        assert!(!told || !lines.is_empty());
        for l in &lines {
            assert!(l.len() < 1000 && !l.contains(forged), "{} bytes", l.len());
        }
    }
}

/// Several shards share the hundred.
#[test]
fn shards_share_the_hundred_lines() {
    let config = Config::default();
    let limits = Limits::new(&config, 4);
    let log = Log::from(Level::INFO);
    let mut lab = Lab::limited(&config, &limits);
    let mut pairs: Vec<_> = (1..=60)
        .map(|n| session_of(&mut lab, &format!("u{n}"), n))
        .collect();
    for (alice, _) in &mut pairs {
        alice.bye(&mut lab);
    }
    for (_, devices) in &pairs {
        for d in devices {
            let bye = lab.request_to(&d.sip, "BYE");
            let ok = bye.answer(200, "OK", "", "", "");
            lab.datagram(&d.sip, &ok);
        }
    }
    let lines = log.lines();
    assert!((4..=LINES_PER_S).contains(&lines.len()), "{}", lines.len());
    lab.pass(Duration::from_secs(3));
    let sums: Vec<_> = log.lines();
    assert!(
        sums.iter()
            .all(|l| l.contains("lines left out") && l.contains("ended ")),
        "{sums:?}"
    );
    let counted: usize = sums
        .iter()
        .map(|l| {
            l.split("lines=")
                .nth(1)
                .unwrap()
                .split(' ')
                .next()
                .unwrap()
                .parse::<usize>()
                .unwrap()
        })
        .sum();
    assert_eq!(lines.len() + counted, 60);
}
