//! What an operator sees: sessions with their legs, and every metric that scripts hold on to.

use std::{collections::BTreeSet, time::Duration};

use ringfork::{
    config::Config,
    limits::Limits,
    shard::report::{Answer, InOut, LegView, Question, Report, SessionView, session_of},
};

use crate::{
    lab::{Lab, TAG, TCP},
    people::{COMPOSING, Device, cpim, hang_up, session, session_of as somebody},
};

fn page(lab: &mut Lab, shard: usize, after: Option<&str>, max: usize) -> (Vec<SessionView>, bool) {
    let after = after.map(|name| session_of(name).expect("a name").1);
    match lab.ask(shard, Question::Sessions { after, max }) {
        Answer::Sessions { page, next } => (page, next.is_some()),
        other => panic!("{other:?}"),
    }
}

fn only(lab: &mut Lab) -> SessionView {
    let (mut all, more) = page(lab, 0, None, 10);
    assert!(!more && all.len() == 1, "{all:?}");
    let view = all.remove(0);
    let (_, id) = session_of(&view.id).expect("its name");
    let Answer::Session(Some(one)) = lab.ask(0, Question::Session(id)) else {
        panic!("it is found by its name");
    };
    assert_eq!(*one, view, "alone as in the list");
    view
}

#[test]
fn a_session_is_seen_with_all_that_its_legs_have() {
    let mut lab = Lab::new();
    let (mut alice, devices) = session(&mut lab, 2);
    lab.pass(Duration::from_millis(2_500));
    let body = cpim("hello");
    alice.say(&mut lab, "msg-1", &body);
    for line in [devices[0].conn(), devices[1].conn()] {
        assert_eq!(lab.sends(line).len(), 1);
    }
    let seen = only(&mut lab);
    assert_eq!((seen.age_s, seen.pending_messages), (2, 1));
    assert_eq!(seen.state, "established");
    assert_eq!(seen.user, "sip:bob@example.com");
    let one = InOut {
        received: 1,
        sent: 0,
    };
    let size = body.len() as u64;
    let [up, first, second] = &seen.legs[..] else {
        panic!("{:?}", seen.legs)
    };
    assert_eq!(up.messages, one);
    assert_eq!(
        up.bytes,
        InOut {
            received: size,
            sent: 0
        }
    );
    assert_eq!((up.transport, up.matched), ("udp", "path"));
    assert_eq!((up.peer.as_str(), up.unanswered), ("10.0.2.1:30000", 0));
    for (leg, n) in [(first, 1), (second, 2)] {
        assert_eq!(
            leg.messages,
            InOut {
                received: 0,
                sent: 1
            }
        );
        assert_eq!(
            leg.bytes,
            InOut {
                received: 0,
                sent: size
            }
        );
        assert_eq!(
            (leg.transport, leg.matched, leg.state),
            ("udp", "path", "accepted")
        );
        assert_eq!(
            (leg.peer.clone(), leg.unanswered),
            (format!("10.0.1.{n}:30000"), 1)
        );
    }
    // What waits for a slow one.
    lab.widen(devices[1].conn(), Some(0));
    alice.say(&mut lab, "msg-2", &body);
    let seen = only(&mut lab);
    assert!(seen.legs[2].outbox_bytes > body.len() && seen.legs[1].outbox_bytes == 0);
    assert_eq!(seen.pending_messages, 2);
    lab.widen(devices[1].conn(), None);
    // One answers for both messages and then speaks: all is accounted for.
    for d in &devices {
        for f in lab.sends(d.conn()) {
            d.ok(&mut lab, &f, 200);
        }
    }
    devices[0].say(&mut lab, "message/cpim", &cpim("hi"));
    let seen = only(&mut lab);
    assert_eq!(seen.state, "settled");
    let [up, active, gone] = &seen.legs[..] else {
        panic!("{:?}", seen.legs)
    };
    assert_eq!(
        (up.messages, active.state),
        (
            InOut {
                received: 2,
                sent: 1
            },
            "active"
        )
    );
    assert_eq!(
        active.messages,
        InOut {
            received: 1,
            sent: 2
        }
    );
    assert_eq!((gone.state, gone.why.is_empty()), ("ending", false));
    hang_up(&mut lab, &mut alice, &devices);
    lab.pass(Duration::from_secs(120));
    assert!(page(&mut lab, 0, None, 10).0.is_empty());
}

/// What carries a leg's SIP, and that CEMA matched it, is seen too.
#[test]
fn transport_and_matching_are_those_of_the_leg() {
    let mut lab = Lab::new();
    let mut device = Device::new("bob", 1);
    let sip = lab.connect(TCP, "10.0.1.1:40000");
    let m = String::from_utf8(device.registration(&mut lab, TAG)).unwrap();
    let m = m
        .replace("SIP/2.0/UDP", "SIP/2.0/TCP")
        .replace("10.0.1.1:5060>", "10.0.1.1:5060;transport=tcp>");
    lab.bytes(sip, m.as_bytes());
    let alice = crate::people::Alice::new();
    alice.invite(&mut lab);
    let out = lab.take(sip);
    let at = crate::text::find(&out, b"INVITE ").expect("an INVITE");
    let invite = crate::text::Sip::read(&out[at..]).expect("whole");
    device.sip = "10.0.1.1:40000".to_owned();
    let sdp = device.sdp("active", "a=msrp-cema\r\n");
    let more =
        "Contact: <sip:bob@10.0.1.1:5060;transport=tcp>\r\nContent-Type: application/sdp\r\n";
    lab.bytes(sip, &invite.answer(200, "OK", "t1", more, &sdp));
    let before: Vec<LegView> = only(&mut lab).legs;
    assert_eq!((before[0].transport, before[1].transport), ("udp", "tcp"));
    // Known before there is a connection, and said once.
    assert_eq!(
        (before[1].peer.as_str(), before[1].matched),
        ("", "session-id: CEMA")
    );
    assert!(!before[1].why.contains("matched"), "{:?}", before[1]);
}

/// Pages are in order, complete, without repeats, whatever begins and ends between them.
#[test]
fn pages_show_every_session_once() {
    let mut lab = Lab::new();
    let mut all = Vec::new();
    for n in 1..=7 {
        all.push(somebody(&mut lab, &format!("user{n}"), n));
    }
    let mut names = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let (some, more) = page(&mut lab, 0, after.as_deref(), 3);
        assert!(some.len() <= 3);
        names.extend(some.iter().map(|v| v.id.clone()));
        after = names.last().cloned();
        if !more {
            break;
        }
    }
    assert_eq!(names.len(), 7);
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), 7);
    // The one that a page ended with is gone: the next page goes on behind its place.
    let (mut alice, devices) = all.remove(2);
    hang_up(&mut lab, &mut alice, &devices);
    lab.pass(Duration::from_secs(120));
    let (rest, more) = page(&mut lab, 0, Some(&names[2]), 10);
    assert!(!more);
    let rest: Vec<String> = rest.into_iter().map(|v| v.id).collect();
    assert_eq!(rest, names[3..]);
    assert_eq!(page(&mut lab, 0, Some(&names[6]), 10).0, []);
}

fn count<L: PartialEq>(rows: &[(L, u64)], label: L) -> u64 {
    rows.iter()
        .find(|(l, _)| *l == label)
        .map_or(0, |(_, n)| *n)
}

fn both<L: PartialEq>(rows: &[(L, InOut)], label: L) -> InOut {
    rows.iter()
        .find(|(l, _)| *l == label)
        .map(|(_, n)| *n)
        .unwrap_or_default()
}

/// Every metric that scripts hold on to moves, and every gauge goes back to 0 when nothing runs.
#[test]
fn every_metric_moves_and_every_gauge_returns() {
    let mut lab = Lab::limited(&Config::default(), &Limits::new(&Config::default(), 2));
    lab.entry = Some(0);
    let (mut alice, devices) = session(&mut lab, 3);
    let sum = |lab: &Lab, of: fn(&Report) -> u64| lab.sum(of);
    assert_eq!(sum(&lab, |r| r.sessions), 1);
    assert_eq!(sum(&lab, |r| r.legs), 4);
    assert_eq!(sum(&lab, |r| r.dialogs), 4);
    assert_eq!(sum(&lab, |r| r.registrations), 3);
    assert_eq!(sum(&lab, |r| r.msrp_connections), 4);
    assert!(sum(&lab, |r| r.transactions) > 0 && sum(&lab, |r| r.timers) > 0);
    // A device that takes nothing: bytes wait for it.
    lab.widen(devices[2].conn(), Some(0));
    let body = cpim("hello");
    alice.say(&mut lab, "msg-1", &body);
    assert!(sum(&lab, |r| r.leg_outbox_bytes) > 0 && sum(&lab, |r| r.kept_bytes) > 0);
    lab.pass(Duration::from_millis(3));
    for d in &devices[..2] {
        for f in lab.sends(d.conn()) {
            d.ok(&mut lab, &f, if d.n == 1 { 200 } else { 403 });
        }
    }
    lab.hang_up(devices[2].conn());
    let home = lab.home(alice.conn()).expect("she is there");
    let r = lab.shards[home].report();
    assert_eq!((r.msrp_messages.received, r.msrp_messages.sent), (1, 3));
    assert_eq!(r.msrp_chunks, 1);
    assert!(r.msrp_bytes.received > 0 && r.msrp_bytes.sent > 0);
    assert_eq!(both(&r.msrp_responses, 200).received, 1);
    assert!(both(&r.msrp_responses, 200).sent > 0);
    let outcomes = ["acknowledged", "refused", "lost"].map(|o| count(&r.deliveries, o));
    assert_eq!(outcomes, [1, 1, 1]);
    assert_eq!(count(&r.legs_dropped, "connection_lost"), 1);
    assert_eq!(
        (r.delivery_seconds.count(), r.delivery_seconds.sum_us),
        (1, 3_000)
    );
    assert_eq!(r.teardown_seconds.count(), 0);
    devices[0].say(
        &mut lab,
        "application/im-iscomposing+xml",
        COMPOSING.as_bytes(),
    );
    // The turn that tells the others takes its time; the next begins when they have been told.
    lab.now += Duration::from_micros(700);
    lab.pass(Duration::from_millis(1));
    let r = lab.shards[home].report();
    let teardown = (r.teardown_seconds.count(), r.teardown_seconds.sum_us);
    assert_eq!(teardown, (1, 700), "one settled session");
    let legs = ["invited", "accepted", "elsewhere"].map(|o| count(&r.fork_legs, o));
    assert_eq!((legs[0], legs[1]), (3, 3));
    assert!(legs[2] > 0);
    let invites = both(&r.sip_requests, "INVITE");
    assert_eq!(invites.sent, 3);
    assert!(both(&r.sip_responses, 200).sent > 0);
    let entry = lab.shards[0].report();
    assert_eq!(both(&entry.sip_requests, "INVITE").received, 1);
    assert!(
        entry.mail.iter().sum::<u64>() > 0 || home == 0,
        "what is not its own is mailed"
    );
    lab.datagram(
        "10.0.9.9:5060",
        b"OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.9.9;branch=z9hG4bKx\r\nbroken\r\n\r\n",
    );
    assert!(sum(&lab, |r| r.malformed) > 0);
    hang_up(&mut lab, &mut alice, &devices);
    lab.pass(Duration::from_secs(3_700)); // the registrations run out too
    for line in [alice.conn(), devices[0].conn(), devices[1].conn()] {
        lab.hang_up(line);
    }
    type Gauge = (&'static str, fn(&Report) -> u64);
    let gauges: [Gauge; 10] = [
        ("sessions", |r| r.sessions),
        ("legs", |r| r.legs),
        ("dialogs", |r| r.dialogs),
        ("registrations", |r| r.registrations),
        ("transactions", |r| r.transactions),
        ("msrp_connections", |r| r.msrp_connections),
        ("timers", |r| r.timers),
        ("leg_outbox_bytes", |r| r.leg_outbox_bytes),
        ("kept_bytes", |r| r.kept_bytes),
        ("framing_bytes", |r| r.framing_bytes),
    ];
    for (name, of) in gauges {
        assert_eq!(lab.sum(of), 0, "{name}");
    }
}

/// A BYE long after the first activity is no part of its teardown, and an activity that ends nobody's leg tears nothing down.
#[test]
fn only_what_activity_ends_is_a_teardown() {
    let mut lab = Lab::new();
    let (mut alice, devices) = session(&mut lab, 1);
    devices[0].say(&mut lab, "message/cpim", &cpim("alone"));
    lab.pass(Duration::from_secs(60));
    hang_up(&mut lab, &mut alice, &devices);
    assert_eq!(lab.shards[0].report().teardown_seconds.count(), 0);
}
