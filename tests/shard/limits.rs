//! What an operator bounds is bounded on the wire: the answer of the standard, a counter, and nothing left behind.

use std::time::Duration;

use ringfork::{config::Config, limits::Limits, shard::World as _};

use crate::{
    lab::{Lab, MEDIA, TAG, TCP},
    people::{Alice, Device, cpim, hang_up, session, session_of},
    text::Sip,
};

fn limits(shards: u8, with: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::new(&Config::default(), shards);
    with(&mut limits);
    limits
}

fn lab(limits: &Limits) -> Lab {
    Lab::limited(&Config::default(), limits)
}

fn options(lab: &mut Lab, from: &str, call: &str) -> Vec<u8> {
    let branch = lab.fresh("z9hG4bKo");
    format!(
        "OPTIONS sip:example.com SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch={branch}\r\nMax-Forwards: 70\r\n\
         From: <sip:x@other.example>;tag=x\r\nTo: <sip:example.com>\r\nCall-ID: {call}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

fn later(answer: &Sip) -> bool {
    answer.code() == Some(503) && answer.get("Retry-After").parse().is_ok_and(|s: u32| s > 0)
}

/// `sip.requests_per_s`: of one address, whatever its ports; nothing is kept of what is refused; the next second is new.
#[test]
fn a_source_that_asks_too_often_gets_503_and_others_do_not() {
    let mut lab = lab(&limits(1, |l| l.requests_per_s = Some(5)));
    let mut codes = Vec::new();
    for n in 0..8 {
        let from = format!("10.0.9.1:{}", 5060 + n % 2);
        let m = options(&mut lab, &from, &format!("call{n}"));
        lab.datagram(&from, &m);
        let answer = lab.to(&from).expect("an answer");
        assert_eq!(later(&answer), n >= 5, "{answer:?}");
        codes.push(answer.code());
    }
    assert_eq!(lab.reached("requests_per_s"), 3);
    assert_eq!(lab.sum(|r| r.transactions), 5, "refused ones keep nothing");
    let m = options(&mut lab, "10.0.9.2:5060", "other");
    lab.datagram("10.0.9.2:5060", &m);
    assert_eq!(lab.to("10.0.9.2:5060").unwrap().code(), codes[0]);
    lab.pass(Duration::from_secs(1));
    let m = options(&mut lab, "10.0.9.1:5060", "again");
    lab.datagram("10.0.9.1:5060", &m);
    assert_eq!(lab.to("10.0.9.1:5060").unwrap().code(), codes[0]);
}

/// What is there can end while its source is refused what is new.
#[test]
fn a_bye_is_taken_from_a_source_that_may_begin_nothing() {
    let mut lab = lab(&limits(1, |l| l.requests_per_s = Some(4)));
    let (mut alice, devices) = session(&mut lab, 1);
    for n in 0..4 {
        let m = options(&mut lab, &alice.sip, &format!("call{n}"));
        lab.datagram(&alice.sip, &m);
    }
    assert!(lab.reached("requests_per_s") > 0);
    hang_up(&mut lab, &mut alice, &devices);
    lab.pass(Duration::from_secs(120));
    assert!(lab.is_idle(), "{}", lab.shards[0].what_is_left());
}

/// What cannot be read is a request too: a source that sends nothing else is answered a few times.
#[test]
fn garbage_counts_as_requests() {
    let mut lab = lab(&limits(1, |l| l.requests_per_s = Some(2)));
    for n in 0..5 {
        let m = format!(
            "OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.9.1;branch=z9hG4bK{n}\r\nbroken\r\n\r\n"
        );
        lab.datagram("10.0.9.1:5060", m.as_bytes());
    }
    let answers = std::iter::from_fn(|| lab.to("10.0.9.1:5060")).count();
    assert_eq!((answers, lab.reached("requests_per_s")), (2, 3));
}

/// `sip.connections_max` and `msrp.connections_max`: the newest of a source is refused, what is there stays.
#[test]
fn a_source_has_so_many_connections_of_each_kind() {
    for (socket, with) in [
        (
            TCP,
            (|l: &mut Limits| l.sip_connections_per_source = Some(2)) as fn(&mut Limits),
        ),
        (MEDIA, |l| l.msrp_connections_per_source = Some(2)),
    ] {
        let mut lab = lab(&limits(1, with));
        let first = lab.connect(socket, "10.0.9.1:1001");
        lab.connect(socket, "10.0.9.1:1002");
        assert!(lab.try_connect(socket, "10.0.9.1:1003").is_none());
        assert_eq!(lab.reached("connections_per_source"), 1);
        lab.connect(socket, "10.0.9.2:1001");
        let other = if socket == TCP { MEDIA } else { TCP };
        lab.connect(other, "10.0.9.1:1004");
        lab.hang_up(first);
        lab.connect(socket, "10.0.9.1:1005");
    }
}

/// A connection that is handed over counts where it goes, and no more where it came.
#[test]
fn a_connection_that_moves_is_counted_once() {
    let mut lab = lab(&limits(2, |l| l.msrp_connections_per_source = Some(1)));
    for (n, user) in (100..).zip(["ann", "ben", "cora", "dan", "eve"]) {
        lab.entry = Some(usize::from(n) % 2);
        let (alice, _) = session_of(&mut lab, user, n);
        lab.hang_up(alice.conn());
    }
    assert!(lab.sum(|r| r.handed_over) > 0, "some of them had to move");
    assert_eq!(lab.reached("connections_per_source"), 0);
}

/// `sip.registrations_per_source`: whoever holds too many waits until some of them are gone.
#[test]
fn a_source_holds_so_many_contacts() {
    let mut lab = lab(&limits(1, |l| l.registrations_per_source = Some(2)));
    let from_one = |lab: &mut Lab, user: &str, n: u8, expires: &str| {
        let mut d = Device::new(user, n);
        d.sip = format!("10.0.9.1:{}", 5000 + u16::from(n));
        let m = String::from_utf8(d.registration(lab, TAG)).unwrap();
        let m = m.replace("Expires: 3600", expires);
        lab.datagram(&d.sip, m.as_bytes());
        lab.response_to(&d.sip, "REGISTER")
    };
    assert_eq!(
        from_one(&mut lab, "ann", 1, "Expires: 60").code(),
        Some(200)
    );
    assert_eq!(
        from_one(&mut lab, "ben", 2, "Expires: 3600").code(),
        Some(200)
    );
    let refused = from_one(&mut lab, "cora", 3, "Expires: 3600");
    assert!(later(&refused), "{refused:?}");
    assert_eq!(lab.reached("registrations_per_source"), 1);
    Device::register_for(&mut lab, "cora", 30, TAG); // from another address
    lab.pass(Duration::from_secs(61)); // ann's has run out
    assert_eq!(
        from_one(&mut lab, "dan", 4, "Expires: 3600").code(),
        Some(200)
    );
    assert_eq!(lab.sum(|r| r.registrations), 3);
}

/// A device that comes from another place leaves the count of the first.
#[test]
fn a_device_that_moves_counts_where_it_is() {
    let mut lab = lab(&limits(1, |l| l.registrations_per_source = Some(1)));
    let register = |lab: &mut Lab, from: &str, cseq: u32, n: u8| {
        let mut d = Device::new("ann", n);
        d.sip = format!("{from}:{}", 5060 + u16::from(n));
        let m = String::from_utf8(d.registration(lab, TAG)).unwrap();
        let m = m.replace("CSeq: 1", &format!("CSeq: {cseq}"));
        lab.datagram(&d.sip, m.as_bytes());
        lab.response_to(&d.sip, "REGISTER").code()
    };
    assert_eq!(register(&mut lab, "10.0.9.1", 1, 1), Some(200));
    assert_eq!(register(&mut lab, "10.0.9.2", 2, 1), Some(200));
    assert_eq!(register(&mut lab, "10.0.9.1", 1, 2), Some(200));
    assert_eq!(register(&mut lab, "10.0.9.2", 2, 2), Some(503));
}

/// `legs_per_session`: who has no place is not invited, the others are.
#[test]
fn a_session_has_so_many_legs() {
    let mut lab = lab(&limits(1, |l| l.legs_per_session = 3));
    let devices: Vec<Device> = (1..=3).map(|n| Device::register(&mut lab, n)).collect();
    Alice::new().invite(&mut lab);
    let invited = devices.iter().filter(|d| {
        std::iter::from_fn(|| lab.to(&d.sip)).any(|m| m.code().is_none() && m.method() == "INVITE")
    });
    assert_eq!(invited.count(), 2);
    assert_eq!(lab.reached("legs_per_session"), 1);
    assert_eq!(lab.sum(|r| r.legs), 3);
}

/// `dialogs`: a device that answers when there is no room gets ACK and BYE; a new session 503 with Retry-After.
#[test]
fn a_shard_has_so_many_dialogs() {
    let mut lab = lab(&limits(1, |l| l.dialogs = 2));
    let mut devices: Vec<Device> = (1..=2).map(|n| Device::register(&mut lab, n)).collect();
    let mut alice = Alice::new();
    alice.invite(&mut lab);
    for d in &mut devices {
        d.invited(&mut lab);
    }
    devices[0].accept(&mut lab);
    alice.up(&mut lab);
    let d = &devices[1];
    let more = format!(
        "Contact: <sip:bob@{}>\r\nContent-Type: application/sdp\r\n",
        d.sip
    );
    d.respond(&mut lab, 200, &more, &d.sdp("active", ""));
    lab.request_to(&d.sip, "ACK");
    let bye = lab.request_to(&d.sip, "BYE");
    assert!(bye.get("Reason").contains("cause=503"), "{bye:?}");
    assert_eq!(lab.reached("dialogs"), 1);
    let ok = bye.answer(200, "OK", "", "", "");
    lab.datagram(&d.sip, &ok);
    assert_eq!(lab.sum(|r| r.dialogs), 2);
    // Who is there talks on; who is new waits.
    alice.say(&mut lab, "msg-1", &cpim("still here"));
    assert_eq!(lab.sends(devices[0].conn()).len(), 1);
    Device::register_for(&mut lab, "carol", 9, TAG);
    let late = Alice::calling("carol", 9);
    late.invite(&mut lab);
    assert!(later(&lab.response_to(&late.sip, "INVITE")));
    assert_eq!(lab.reached("dialogs"), 2);
    let first = devices.swap_remove(0);
    hang_up(&mut lab, &mut alice, &[first]);
    assert_eq!(lab.sum(|r| r.dialogs), 0, "what ended is free again");
    late.invite_with(&mut lab, "X-Again: yes\r\n");
}

/// A core that forks makes early dialogs; those that find no room are nothing to us.
#[test]
fn early_dialogs_are_dialogs() {
    let mut lab = lab(&limits(1, |l| l.dialogs = 3));
    let mut d = Device::register(&mut lab, 1);
    Alice::new().invite(&mut lab);
    d.invited(&mut lab);
    for n in 0..6 {
        let invite = d.invite.clone().unwrap();
        let more = format!("Contact: <sip:bob@{}>\r\n", d.sip);
        let ringing = invite.answer(180, "Ringing", &format!("early{n}"), &more, "");
        lab.datagram(&d.sip, &ringing);
        assert!(lab.sum(|r| r.dialogs) <= 3);
    }
    assert_eq!(lab.sum(|r| r.dialogs), 3);
}

/// `client_transactions`: a device that cannot be invited counts as 503, and the best answer goes upstream.
#[test]
fn a_shard_has_so_many_invites_under_way() {
    let mut lab = lab(&limits(1, |l| l.client_transactions = 2));
    let devices: Vec<Device> = (1..=3).map(|n| Device::register(&mut lab, n)).collect();
    Alice::new().invite(&mut lab);
    let asked: Vec<&Device> = devices
        .iter()
        .filter(|d| {
            lab.to(&d.sip)
                .is_some_and(|m| m.method() == "INVITE" && m.code().is_none())
        })
        .collect();
    assert_eq!(asked.len(), 2);
    assert_eq!(lab.reached("client_transactions"), 1);
    assert_eq!(lab.sum(|r| r.legs), 3, "the originator and two devices");
}

/// `spill_bytes`: when slow peers together hold too much, who holds most is given up; a fast one loses nothing.
#[test]
fn what_slow_peers_hold_together_is_bounded() {
    let mut lab = lab(&limits(1, |l| {
        l.spill_bytes = 100_000;
        l.outbox_bytes = 90_000;
    }));
    let (alice, devices) = session(&mut lab, 3);
    lab.widen(devices[0].conn(), Some(0));
    lab.widen(devices[1].conn(), Some(5_000));
    let body = cpim(&"x".repeat(8_000));
    let mut got = 0;
    for n in 0..9 {
        alice.say(&mut lab, &format!("msg-{n}"), &body);
        assert!(lab.sum(|r| r.leg_outbox_bytes) <= 100_000);
        got += lab.sends(devices[2].conn()).len();
    }
    assert_eq!(lab.reached("spill_bytes"), 1);
    assert_eq!(
        lab.wire(devices[0].conn()).closed,
        Some(false),
        "who held most"
    );
    assert_eq!(lab.wire(devices[1].conn()).closed, None);
    assert_eq!(got, 9, "who keeps up has all");
    lab.widen(devices[1].conn(), None);
    assert_eq!(
        lab.sends(devices[1].conn()).len(),
        9,
        "who came second has all, late"
    );
}

/// A SIP connection that is opened and closed again leaves no timer behind.
#[test]
fn connections_that_come_and_go_leave_nothing() {
    let mut lab = Lab::new();
    for n in 0..500 {
        let conn = lab.connect(TCP, &format!("10.0.9.1:{}", 1000 + n));
        lab.hang_up(conn);
    }
    assert_eq!(lab.sum(|r| r.timers), 0);
}

/// `sip_unread`: a peer that does not read what we answer is not read, until it does; nothing of what it asked is lost.
#[test]
fn a_sip_connection_that_does_not_read_its_answers_is_not_read() {
    for shards in [1, 2] {
        let mut lab = lab(&limits(shards, |_| ()));
        let line = lab.connect(TCP, "10.0.9.1:1000");
        lab.widen(line, Some(1000));
        let mut asked = 0;
        while lab.wire(line).paused.is_none() {
            let m = options(&mut lab, "10.0.9.1:1000", &format!("unread-{asked}"));
            lab.bytes(line, &m);
            asked += 1;
            assert!(asked < 2000, "it is read for ever");
        }
        let held = lab.sum(|r| r.leg_outbox_bytes);
        assert!((64 << 10..80 << 10).contains(&held), "{held}");
        assert_eq!(lab.reached("sip_unread"), 1);
        // What it says meanwhile waits.
        for n in 0..10 {
            let m = options(&mut lab, "10.0.9.1:1000", &format!("later-{n}"));
            lab.bytes(line, &m);
        }
        assert_eq!(lab.sum(|r| r.leg_outbox_bytes), held);
        lab.pass(Duration::from_secs(20));
        assert_eq!(lab.wire(line).closed, None);
        // It has read a little, then all.
        lab.widen(line, Some(10_000));
        assert!(lab.wire(line).paused.is_some());
        lab.widen(line, None);
        assert!(lab.wire(line).paused.is_none());
        let text = lab.take(line);
        let answers = text.windows(12).filter(|w| w == b"SIP/2.0 200 ").count();
        assert_eq!(answers, asked + 10);
        lab.pass(Duration::from_secs(100));
        assert_eq!(lab.wire(line).closed, None, "it owes nothing");
        assert_eq!(lab.reached("half_open"), 0);
    }
}

/// One that never reads is closed, as one that says nothing whole.
#[test]
fn a_sip_connection_that_never_reads_its_answers_is_closed() {
    let mut lab = lab(&limits(1, |_| ()));
    let line = lab.connect(TCP, "10.0.9.1:1000");
    lab.widen(line, Some(0));
    for n in 0..1000 {
        let m = options(&mut lab, "10.0.9.1:1000", &format!("unread-{n}"));
        lab.bytes(line, &m);
    }
    lab.pass(Duration::from_secs(29));
    assert_eq!(lab.wire(line).closed, None);
    lab.pass(Duration::from_secs(2));
    assert_eq!(lab.wire(line).closed, Some(false));
    assert_eq!(lab.sum(|r| r.leg_outbox_bytes), 0);
}

/// Thousands of contacts that end in one instant do not make one turn long.
#[test]
fn what_is_due_at_once_is_done_in_several_turns() {
    let mut lab = lab(&limits(1, |_| ()));
    for n in 0..1000 {
        let from = format!("10.1.{}.{}:5060", n / 200, n % 200 + 1);
        let m = format!(
            "REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bKr{n}\r\nMax-Forwards: 70\r\n\
             From: <sip:u{n}@example.com>;tag=r\r\nTo: <sip:u{n}@example.com>\r\nCall-ID: r{n}\r\nCSeq: 1 REGISTER\r\n\
             Contact: <sip:u{n}@{from}>\r\nExpires: 60\r\nContent-Length: 0\r\n\r\n"
        );
        lab.datagram(&from, m.as_bytes());
    }
    assert_eq!(lab.sum(|r| r.registrations), 1000);
    lab.pass(Duration::from_secs(59));
    lab.now += Duration::from_secs(2);
    let now = lab.now;
    let mut turns = 0;
    let mut before = 1000;
    while lab.sum(|r| r.registrations) > 0 {
        assert!(lab.shards[0].next_due().is_some_and(|at| at <= now));
        lab.shards[0].due(now);
        let left = lab.sum(|r| r.registrations);
        assert!((1..=256).contains(&(before - left)), "{}", before - left);
        before = left;
        turns += 1;
    }
    assert_eq!(turns, 4);
}
