//! Several shards: connections that carry sessions of two of them, mail that is full, flows that come in anywhere.

use std::time::Duration;

use ringfork::{config::Config, limits::Limits, shard::World as _};

use crate::{
    lab::{Lab, Line, MEDIA, TAG, TCP},
    people::{Alice, Device, cpim, hang_up, session_of},
    text::{self, Frame, Sip},
};

/// The shard that has a user.
fn home(lab: &mut Lab, user: &str, n: u8) -> (usize, Device) {
    let before: Vec<usize> = lab.shards.iter().map(|s| s.registrar().len()).collect();
    let device = Device::register_for(lab, user, n, TAG);
    let after = lab.shards.iter().map(|s| s.registrar().len());
    let at = before.into_iter().zip(after).position(|(b, a)| b != a);
    (at.expect("he is somewhere"), device)
}

/// Two users of different shards, each with one device.
fn two_users(lab: &mut Lab) -> (Device, Device) {
    let (first, one) = home(lab, "user1", 1);
    for n in 2..40 {
        let (at, other) = home(lab, &format!("user{n}"), n);
        if at != first {
            return (one, other);
        }
    }
    panic!("every user hashes to shard {first}");
}

/// The device answers 200 and waits for its ACK; its media is up to the test.
fn answer(lab: &mut Lab, d: &mut Device) {
    d.invited(lab);
    let more = format!(
        "Contact: <sip:{}@{}>\r\nContent-Type: application/sdp\r\n",
        d.user, d.sip
    );
    d.respond(lab, 200, &more, &d.sdp("active", ""));
    lab.request_to(&d.sip, "ACK");
}

/// Binds the session of a device on a connection that it shares with others.
fn bind(lab: &mut Lab, d: &mut Device, line: Line) {
    d.conn = Some(line);
    let (tid, id) = (lab.fresh("bind"), lab.fresh("mbind"));
    let bare = text::Send {
        tid: &tid,
        to: &d.peer_path,
        from: &d.path,
        id: &id,
        range: (1, 0, 0),
        flag: b'$',
        ..Default::default()
    }
    .write();
    lab.bytes(line, &bare);
    let frames = lab.frames(line);
    assert!(
        frames.iter().any(|f| f.what == "200" && f.tid == tid),
        "{frames:?}"
    );
}

/// Two sessions of two shards, whose devices are one phone with one MSRP connection.
struct Shared {
    lab: Lab,
    line: Line,
    near: (Alice, Device),
    far: (Alice, Device),
}

impl Shared {
    fn new(limits: &Limits) -> Self {
        let mut lab = Lab::limited(&Config::default(), limits);
        let (mut one, mut two) = two_users(&mut lab);
        let mut alices = [
            Alice::calling(&one.user, 101),
            Alice::calling(&two.user, 102),
        ];
        for (alice, d) in alices.iter_mut().zip([&mut one, &mut two]) {
            alice.invite(&mut lab);
            answer(&mut lab, d);
            alice.up(&mut lab);
        }
        let line = lab.connect(MEDIA, "10.0.1.200:30000");
        bind(&mut lab, &mut one, line);
        bind(&mut lab, &mut two, line);
        let [first, second] = alices;
        Self {
            lab,
            line,
            near: (first, one),
            far: (second, two),
        }
    }

    fn of(shards: u8) -> Self {
        Self::new(&Limits::new(&Config::default(), shards))
    }
}

fn each(run: impl Fn(u8)) {
    for shards in [2, 5] {
        run(shards);
    }
}

/// One message there, answered, and one back.
fn talk(lab: &mut Lab, alice: &Alice, d: &Device, id: &str) {
    let body = cpim(id);
    let tid = alice.say(lab, id, &body);
    let sends = lab.sends(d.conn());
    assert_eq!(sends.len(), 1, "{id}");
    assert_eq!(sends[0].get("To-Path"), d.path);
    assert_eq!(sends[0].body.as_deref(), Some(&body[..]));
    d.ok(lab, &sends[0], 200);
    let heard = lab.frames(alice.conn());
    assert!(
        heard.iter().any(|f| f.what == "200" && f.tid == tid),
        "{id}: {heard:?}"
    );
}

/// A connection that carries sessions of two shards: each session's frames come and go, in both directions, and a lost
/// connection is lost to both.
#[test]
fn one_connection_for_sessions_of_two_shards() {
    each(|shards| {
        let mut s = Shared::of(shards);
        for n in 0..5 {
            talk(&mut s.lab, &s.near.0, &s.near.1, &format!("near-{n}"));
            talk(&mut s.lab, &s.far.0, &s.far.1, &format!("far-{n}"));
        }
        assert!(s.lab.sum(|r| r.mail.iter().sum()) > 0);
        assert_eq!(
            s.lab.sum(|r| r.msrp_connections),
            3,
            "the shared one counts once"
        );
        // What the phone says in the far session arrives, and is answered to it.
        let tid = s.far.1.say(&mut s.lab, "message/cpim", &cpim("from afar"));
        let sends = s.lab.sends(s.far.0.conn());
        assert_eq!(sends.len(), 1);
        let ok = text::msrp_response(&sends[0], 200, &s.far.0.path);
        s.lab.bytes(s.far.0.conn(), &ok);
        s.lab.pass(Duration::from_millis(1_100));
        let heard = s.lab.frames(s.line);
        assert!(
            heard.iter().any(|f| f.what == "200" && f.tid == tid),
            "{heard:?}"
        );
        s.lab.hang_up(s.line);
        let lost: u64 = s.lab.sum(|r| {
            let row = r.legs_dropped.iter().find(|l| l.0 == "connection_lost");
            row.map_or(0, |l| l.1)
        });
        assert_eq!(lost, 2, "both sessions hear of it");
    });
}

/// Takes frames as they come and puts the bodies of one message together.
fn assemble(frames: &[Frame], id: &str) -> Vec<u8> {
    let mut body = Vec::new();
    for f in frames.iter().filter(|f| f.get("Message-ID") == id) {
        let (start, ..) = f.range().expect("a range");
        assert_eq!(start, body.len() + 1, "in order: {f:?}");
        body.extend(f.body.clone().unwrap_or_default());
    }
    body
}

/// A long frame is open on the shared connection when the other shard has something to say: it is interrupted with `+`, goes
/// on under a new head, and comes together whole. So for a message and for a response.
#[test]
fn a_frame_makes_way_for_another_shards() {
    each(|shards| {
        let mut s = Shared::of(shards);
        let mut body = cpim("");
        body.extend(vec![b'y'; 60_000]);
        let whole = s.near.0.send("longlong", "long-1", &body, "");
        let (first, rest) = whole.split_at(30_000);
        s.lab.bytes(s.near.0.conn(), first);
        // A message of the far session.
        s.far.0.say(&mut s.lab, "cut-in", &cpim("me first"));
        // And a response of it, to what the phone says there.
        let tid = s.far.1.say(
            &mut s.lab,
            "application/im-iscomposing+xml",
            crate::people::COMPOSING.as_bytes(),
        );
        s.lab.pass(Duration::from_millis(1_050));
        s.lab.bytes(s.near.0.conn(), rest);
        let frames = s.lab.frames(s.line);
        let place =
            |what: &dyn Fn(&Frame) -> bool| frames.iter().position(what).expect("it is there");
        let begun = place(&|f| f.get("Message-ID") == "long-1");
        assert_eq!(frames[begun].flag, b'+', "interrupted");
        let between = place(&|f| f.get("Message-ID") == "cut-in");
        let response = place(&|f| f.what == "200" && f.tid == tid);
        let ended = place(&|f| f.get("Message-ID") == "long-1" && f.flag == b'$');
        assert!(
            begun < between && begun < response && between < ended,
            "{begun} {between} {response} {ended}"
        );
        assert!(assemble(&frames, "long-1") == body, "it comes together");
        let tids: std::collections::BTreeSet<&str> =
            frames.iter().map(|f| f.tid.as_str()).collect();
        assert_eq!(tids.len(), frames.len(), "each part has an id of its own");
    });
}

/// The near session ends and the far one talks on over the same connection, for longer than an unused one is kept; when the
/// far one is over too, the connection is closed.
#[test]
fn a_connection_stays_as_long_as_any_shard_uses_it() {
    each(|shards| {
        let mut s = Shared::of(shards);
        hang_up(&mut s.lab, &mut s.near.0, &[s.near.1.clone()]);
        for n in 0..4 {
            s.lab.pass(Duration::from_secs(50));
            assert_eq!(s.lab.wire(s.line).closed, None, "after {} s", 50 * (n + 1));
            talk(&mut s.lab, &s.far.0, &s.far.1, &format!("later-{n}"));
        }
        hang_up(&mut s.lab, &mut s.far.0, &[s.far.1.clone()]);
        s.lab.pass(Duration::from_secs(150));
        assert!(
            s.lab.wire(s.line).closed.is_some(),
            "nobody uses it any more"
        );
        for line in [s.near.0.conn(), s.far.0.conn()] {
            s.lab.hang_up(line);
        }
        s.lab.pass(Duration::from_secs(200));
        assert!(
            s.lab.is_idle(),
            "{:?}",
            s.lab
                .shards
                .iter()
                .map(|s| s.what_is_left())
                .collect::<Vec<_>>()
        );
    });
}

fn tight(open: usize, reserved: usize) -> Limits {
    Limits {
        mailbox_places: open,
        mailbox_reserved: reserved,
        ..Limits::new(&Config::default(), 2)
    }
}

/// What a far session has to say finds no place: it waits, in order, and nothing of it is lost.
#[test]
fn replies_wait_for_places() {
    let mut s = Shared::new(&tight(2, 1));
    s.lab.mail_waits = true;
    for n in 0..20 {
        s.far.0.say(
            &mut s.lab,
            &format!("wait-{n}"),
            &cpim(&format!("number {n}")),
        );
    }
    assert!(s.lab.sends(s.line).is_empty(), "the mail waits");
    assert!(
        s.lab.sum(|r| r.leg_outbox_bytes) > 0,
        "it is the lag of a leg"
    );
    s.lab.mail_waits = false;
    s.lab.pass(Duration::from_millis(100));
    let sends = s.lab.sends(s.line);
    let ids: Vec<String> = sends
        .iter()
        .map(|f| f.get("Message-ID").to_owned())
        .collect();
    assert_eq!(
        ids,
        (0..20).map(|n| format!("wait-{n}")).collect::<Vec<_>>()
    );
    for f in &sends {
        s.far.1.ok(&mut s.lab, f, 200);
    }
    s.lab.pass(Duration::from_millis(100));
    assert_eq!(
        s.lab
            .frames(s.far.0.conn())
            .iter()
            .filter(|f| f.what == "200")
            .count(),
        20
    );
    assert_eq!(s.lab.sum(|r| r.leg_outbox_bytes), 0);
}

/// Frames for another shard find no place: a frame cut short cannot be mended, so that connection is closed and counted, and
/// a session beside it goes on.
#[test]
fn frames_that_find_no_place_end_their_connection() {
    let mut s = Shared::new(&tight(2, 1));
    let (other, devices) = session_of(&mut s.lab, "user1", 60);
    s.lab.frames(devices[0].conn());
    s.lab.mail_waits = true;
    for _ in 0..10 {
        s.far.1.say(
            &mut s.lab,
            "application/im-iscomposing+xml",
            crate::people::COMPOSING.as_bytes(),
        );
    }
    assert_eq!(s.lab.wire(s.line).closed, Some(false));
    assert_eq!(s.lab.reached("outbox_bytes"), 1);
    s.lab.mail_waits = false;
    s.lab.turn();
    talk(&mut s.lab, &other, &devices[0], "beside");
}

/// An INVITE for a user of another shard, over a stream or in a datagram.
fn invite(lab: &mut Lab, user: &str, from: &str, stream: bool) -> String {
    let (branch, call) = (lab.fresh("z9hG4bKm"), lab.fresh("mcall"));
    let via = if stream { "TCP" } else { "UDP" };
    format!(
        "INVITE sip:{user}@example.com SIP/2.0\r\nVia: SIP/2.0/{via} {from};branch={branch}\r\nMax-Forwards: 70\r\n\
         From: <sip:m@other.example>;tag=m\r\nTo: <sip:{user}@example.com>\r\nCall-ID: {call}\r\nCSeq: 1 INVITE\r\n\
         Contact: <sip:m@{from}>\r\nContent-Length: 0\r\n\r\n"
    )
}

/// The mail to a shard is full: datagrams are dropped, for their sender repeats them; an initial request on a stream is
/// answered 503 with Retry-After by whoever received it; what has begun takes the reserved places, and arrives.
#[test]
fn mail_that_is_full() {
    let mut lab = Lab::limited(&Config::default(), &tight(3, 6));
    let (at, device) = home(&mut lab, "user1", 1);
    lab.entry = Some(1 - at); // everything comes in at the other shard
    let mut alice = Alice::calling("user1", 90);
    alice.invite(&mut lab);
    let mut device = device;
    device.invited(&mut lab);
    device.accept(&mut lab);
    alice.up(&mut lab);
    let stream = lab.connect(TCP, "10.0.9.1:4000");
    lab.mail_waits = true;
    let (full, sent) = (lab.reached("mailbox"), lab.sum(|r| r.mail.iter().sum()));
    for _ in 0..5 {
        let m = invite(&mut lab, "user1", "10.0.9.2:5060", false);
        lab.datagram("10.0.9.2:5060", m.as_bytes());
    }
    assert_eq!(
        lab.sum(|r| r.mail.iter().sum()) - sent,
        3,
        "the open places"
    );
    assert_eq!(lab.reached("mailbox") - full, 2);
    assert!(
        lab.to("10.0.9.2:5060").is_none(),
        "a datagram is dropped without a word"
    );
    let m = invite(&mut lab, "user1", "10.0.9.1:4000", true);
    lab.bytes(stream, m.as_bytes());
    let told = Sip::read(&lab.take(stream)).expect("an answer");
    assert_eq!(told.code(), Some(503));
    assert!(told.get("Retry-After").parse::<u32>().is_ok_and(|s| s > 0));
    assert_eq!(lab.reached("mailbox") - full, 3);
    // A BYE of a session that is there.
    alice.bye(&mut lab);
    assert_eq!(
        lab.sum(|r| r.mail.iter().sum()) - sent,
        4,
        "a reserved place"
    );
    lab.mail_waits = false;
    lab.turn();
    let bye = lab.request_to(&device.sip, "BYE");
    let ok = bye.answer(200, "OK", "", "", "");
    lab.datagram(&device.sip, &ok);
    assert_eq!(lab.response_to(&alice.sip, "BYE").code(), Some(200));
    // Those that had a place are heard now.
    lab.pass(Duration::from_millis(300));
    assert!(lab.to("10.0.9.2:5060").is_some());
}

/// Flows come in at any of five shards: registrations, sessions, messages, BYEs find their users, and all ends.
#[test]
fn five_shards_and_any_way_in() {
    let mut lab = Lab::of(5);
    let mut all = Vec::new();
    for n in 1..=20 {
        lab.entry = Some(usize::from(n) % 5);
        all.push(session_of(&mut lab, &format!("anyone{n}"), n));
    }
    let homes = lab
        .shards
        .iter()
        .filter(|s| s.function().counters().sessions > 0);
    assert!(homes.count() >= 3, "users are spread");
    assert_eq!(lab.sum(|r| r.sessions), 20);
    for (n, (alice, devices)) in all.iter().enumerate() {
        lab.entry = Some((n + 3) % 5);
        talk(&mut lab, alice, &devices[0], &format!("any-{n}"));
    }
    for (n, (alice, devices)) in all.iter_mut().enumerate() {
        lab.entry = Some((n + 1) % 5);
        hang_up(&mut lab, alice, devices);
        lab.hang_up(alice.conn());
        for d in devices.iter() {
            lab.hang_up(d.conn());
        }
    }
    lab.pass(Duration::from_secs(200));
    assert!(
        lab.is_idle(),
        "{:?}",
        lab.shards
            .iter()
            .map(|s| s.what_is_left())
            .collect::<Vec<_>>()
    );
}

/// A CANCEL and the ACK of a refusal carry nothing to know their user by but the branch: they find the shard of the INVITE,
/// and nobody else's.
#[test]
fn a_cancel_finds_the_shard_of_its_invite() {
    each(|shards| {
        let mut lab = Lab::of(shards);
        for n in 1..=8 {
            lab.entry = Some(usize::from(n) % usize::from(shards));
            let user = format!("called{n}");
            let mut device = Device::register_for(&mut lab, &user, n, TAG);
            let alice = Alice::calling(&user, n);
            alice.invite(&mut lab);
            device.invited(&mut lab);
            device.respond(&mut lab, 180, "", "");
            let uri = format!("sip:{user}@example.com");
            let cancel = alice.message("CANCEL", &uri, "z9hG4bKalice", 1, "", "");
            lab.datagram(&alice.sip, &cancel);
            assert_eq!(
                lab.response_to(&alice.sip, "CANCEL").code(),
                Some(200),
                "{n}"
            );
            loop {
                let told = lab.response_to(&alice.sip, "INVITE");
                if told.code().is_some_and(|c| c >= 200) {
                    assert_eq!(told.code(), Some(487));
                    break;
                }
            }
            let ack = alice.message("ACK", &uri, "z9hG4bKalice", 1, "", "");
            lab.datagram(&alice.sip, &ack);
            let cancel = lab.request_to(&device.sip, "CANCEL");
            lab.datagram(&device.sip, &cancel.answer(200, "OK", "", "", ""));
            device.respond(&mut lab, 487, "", "");
            lab.sent.clear();
            lab.pass(Duration::from_millis(900));
            assert!(lab.to(&alice.sip).is_none(), "the ACK has stopped the 487");
        }
        lab.pass(Duration::from_secs(120));
        assert!(lab.is_idle());
    });
}

/// Several connections come to a shard in one turn, each with a first request for a session of the other shard: each gets there.
#[test]
fn connections_that_come_at_once_all_move() {
    let mut lab = Lab::of(2);
    let (alice, _) = session_of(&mut lab, "user1", 1);
    let at = lab.home(alice.conn()).expect("her stream is open");
    lab.entry = Some(1 - at);
    let froms = [1001, 1002, 1003].map(|port| format!("10.0.9.1:{port}"));
    let firsts = froms.each_ref().map(|from| {
        let send = alice.send(&lab.fresh("tid"), "late", &cpim("again"), "");
        (from.as_str(), send)
    });
    lab.hold();
    let lines = firsts.each_ref().map(|(from, bytes)| {
        let line = lab.connect(MEDIA, from);
        lab.bytes(line, bytes);
        line
    });
    lab.go();
    for line in lines {
        assert_eq!(lab.home(line), Some(at));
        assert_eq!(lab.frames(line).len(), 1, "it is answered there");
    }
}

/// A connection brings the request that names the other shard's session, and in the same turn what comes behind it: all of it
/// goes along.
#[test]
fn what_comes_behind_in_the_turn_of_a_hand_over_goes_along() {
    let mut lab = Lab::of(2);
    let (alice, _) = session_of(&mut lab, "user1", 1);
    let at = lab.home(alice.conn()).expect("her stream is open");
    lab.entry = Some(1 - at);
    let line = lab.connect(MEDIA, "10.0.9.1:1001");
    let [one, two] = ["first", "second"].map(|id| alice.send(&lab.fresh("tid"), id, &cpim(id), ""));
    lab.hold();
    for bytes in [&one[..], &two[..9], &two[9..]] {
        lab.bytes(line, bytes);
    }
    lab.go();
    assert_eq!(lab.home(line), Some(at));
    assert_eq!(lab.frames(line).len(), 2, "both are answered there");
}

/// A far session has more kept for a device than goes out at once, and the mail is full when its media comes up: what was
/// kept goes on as soon as there is a place, by mail like everything else.
#[test]
fn what_was_kept_for_a_far_device_waits_for_a_place() {
    let mut lab = Lab::limited(&Config::default(), &tight(1, 0));
    let (mut one, mut two) = two_users(&mut lab);
    let mut alices = [&one, &two].map(|d| Alice::calling(&d.user, 100 + d.n));
    for (alice, d) in alices.iter_mut().zip([&mut one, &mut two]) {
        alice.invite(&mut lab);
        answer(&mut lab, d);
        alice.up(&mut lab);
    }
    let line = lab.connect(MEDIA, "10.0.1.200:30000");
    bind(&mut lab, &mut one, line);
    let [beside, alice] = alices;
    let body = cpim(&"z".repeat(100_000));
    for n in 0..9 {
        alice.say(&mut lab, &format!("kept-{n}"), &body);
    }
    let [near, far] = [line, alice.conn()].map(|l| lab.home(l).expect("it is open"));
    assert_ne!(near, far);
    assert_ne!(lab.home(beside.conn()), Some(far));
    // The mail from there is full, and the bodiless SEND arrives there.
    lab.mail_waits = true;
    lab.entry = Some(far);
    let m = invite(&mut lab, &one.user, "10.0.9.2:5060", false);
    lab.datagram("10.0.9.2:5060", m.as_bytes());
    let bare = text::Send {
        tid: "bind-two",
        to: &two.peer_path,
        from: &two.path,
        id: "bound",
        range: (1, 0, 0),
        flag: b'$',
        ..Default::default()
    };
    lab.bytes(line, &bare.write());
    for shard in [far, near] {
        let now = lab.now;
        while lab.shards[shard].mail(now) {}
        lab.turn();
    }
    lab.mail_waits = false;
    two.conn = Some(line);
    let mut got = Vec::new();
    for _ in 0..40 {
        lab.pass(Duration::from_millis(10));
        for f in lab.sends(line) {
            two.ok(&mut lab, &f, 200);
            if f.flag == b'$' {
                got.push(f.get("Message-ID").to_owned());
            }
        }
    }
    assert_eq!(got, (0..9).map(|n| format!("kept-{n}")).collect::<Vec<_>>());
}
