//! Devices that read too slowly: whoever lags behind another is dropped, where nobody does better the sender is stopped, and
//! neither for ever.

use std::time::Duration;

use ringfork::{
    ids::LegId,
    msrp::{Command, Event, Failure, Finish, Output},
};

use crate::harness::{Cuts, Send, World, assemble, pattern, settings};

// [MSRP-CHUNK-11] With the sender stopped, what the device says to him is bounded too: he reads nothing either.
#[test]
fn a_stopped_sender_who_does_not_read_is_bounded() {
    let mut small = settings();
    small.outbox_bytes = 32 << 10;
    let mut w = World::new(small, Cuts::None);
    let legs = w.session(1);
    w.peers[legs[0].conn].takes = Some(0);
    w.peers[legs[1].conn].takes = Some(0);
    while !w.outputs.iter().any(|o| matches!(o, Output::Pause { .. })) {
        let send = Send::new(&mut w, pattern(8_000)).range("1-*/8000");
        w.feed(legs[0].conn, &send.on(&legs[0]));
    }
    for _ in 0..200 {
        let send = Send::new(&mut w, pattern(1_000)).extra("Failure-Report: no");
        w.feed(legs[1].conn, &send.on(&legs[1]));
        assert!(w.outbox.backlog(legs[0].conn) <= 2 * (32 << 10) + 2_000);
    }
}

// settled.md R3: the only leg is slow: reading the sender stops, goes on when the leg has caught up; nothing is lost.
#[test]
fn the_only_slow_leg_stops_the_sender() {
    let mut small = settings();
    small.outbox_bytes = 32 << 10;
    let mut w = World::new(small, Cuts::None);
    let legs = w.session(1);
    w.peers[legs[1].conn].takes = Some(0);
    let body = pattern(20_000);
    for _ in 0..2 {
        let send = Send::new(&mut w, &body);
        w.feed(legs[0].conn, &send.on(&legs[0]));
    }
    assert!(
        w.outputs
            .iter()
            .any(|o| matches!(o, Output::Pause { conn } if *conn == legs[0].conn))
    );
    w.outputs.clear();
    w.pass(Duration::from_secs(5));
    w.take(legs[1].conn, 1_000_000);
    assert!(
        w.outputs
            .iter()
            .any(|o| matches!(o, Output::Resume { conn } if *conn == legs[0].conn))
    );
    assert_eq!(w.ack_all(&legs[1]).len(), 2);
    w.pass(Duration::from_secs(20));
    assert!(w.events.is_empty(), "{:?}", w.events);
}

// [MSRP-CHUNK-11] No device is faster than another: the sender is too fast for all, so reading him stops and nobody is dropped.
// It goes on when the first has room; whoever then still takes nothing lags behind another, and is dropped alone after 250 ms.
#[test]
fn devices_that_are_slow_alike_stop_the_sender_and_one_that_lags_behind_another_is_dropped() {
    let mut small = settings();
    small.outbox_bytes = 32 << 10;
    let mut w = World::new(small, Cuts::None);
    let legs = w.session(3);
    let of = |w: &World, what: fn(&Output) -> bool| w.outputs.iter().filter(|o| what(o)).count();
    let stops = |w: &World| of(w, |o| matches!(o, Output::Pause { .. }));
    let goes_on = |w: &World| of(w, |o| matches!(o, Output::Resume { .. }));
    for leg in &legs[1..] {
        w.peers[leg.conn].takes = Some(0);
    }
    let body = pattern(18_000);
    for n in 0..2 {
        assert_eq!(stops(&w), 0, "message {n}");
        let send = Send::new(&mut w, &body);
        w.feed(legs[0].conn, &send.on(&legs[0]));
    }
    assert_eq!(stops(&w), 1);
    w.pass(Duration::from_secs(4));
    assert_eq!(goes_on(&w), 0, "nobody has room");
    // Two take alike, the third nothing.
    w.take(legs[1].conn, 1_000_000);
    w.take(legs[2].conn, 1_000_000);
    w.pass(Duration::from_millis(20));
    assert_eq!(goes_on(&w), 1);
    assert!(w.events.is_empty(), "{:?}", w.events);
    for leg in &legs[1..3] {
        assert_eq!(w.ack_all(leg).len(), 2);
    }
    let send = Send::new(&mut w, &body);
    w.feed(legs[0].conn, &send.on(&legs[0]));
    w.pass(Duration::from_millis(200));
    assert!(w.events.is_empty(), "{:?}", w.events);
    assert_eq!((stops(&w), goes_on(&w)), (2, 1));
    w.pass(Duration::from_millis(100));
    assert_eq!(
        w.events,
        [Event::Failed {
            session: legs[0].session,
            leg: LegId(3),
            why: Failure::Slow
        }]
    );
    assert_eq!((stops(&w), goes_on(&w)), (2, 2));
    for leg in &legs[1..3] {
        w.take(leg.conn, 1_000_000);
        assert_eq!(assemble(&w.ack_all(leg)), body);
    }
    w.pass(Duration::from_secs(20));
    assert_eq!(w.events.len(), 1, "{:?}", w.events);
}

// One device fails for its backlog in the moment in which another comes over its bounds: the sender does not stop for good.
#[test]
fn a_device_that_fails_beside_one_that_stalls_leaves_nobody_stopped() {
    let mut small = settings();
    small.outbox_bytes = 32 << 10;
    let mut w = World::new(small, Cuts::None);
    let legs = w.session(2);
    w.peers[legs[1].conn].takes = Some(0);
    for n in 0..4 {
        if n == 2 {
            w.peers[legs[2].conn].takes = Some(0);
        }
        let send = Send::new(&mut w, pattern(18_000));
        w.feed(legs[0].conn, &send.on(&legs[0]));
    }
    assert!(matches!(
        w.events[..],
        [Event::Failed { leg: LegId(1), .. }]
    ));
    w.take(legs[2].conn, 1_000_000);
    w.pass(Duration::from_millis(20));
    let of = |what: fn(&Output) -> bool| w.outputs.iter().filter(|o| what(o)).count();
    let stops = of(|o| matches!(o, Output::Pause { .. }));
    assert!(stops > 0);
    assert_eq!(of(|o| matches!(o, Output::Resume { .. })), stops);
}

// settled.md R3: reading stops for 10 s at most; devices of which none has taken anything by then have failed.
#[test]
fn devices_that_all_take_nothing_have_failed_after_ten_seconds() {
    let mut small = settings();
    small.outbox_bytes = 32 << 10;
    let mut w = World::new(small, Cuts::None);
    let legs = w.session(2);
    for leg in &legs[1..] {
        w.peers[leg.conn].takes = Some(0);
    }
    for _ in 0..2 {
        let send = Send::new(&mut w, pattern(18_000));
        w.feed(legs[0].conn, &send.on(&legs[0]));
    }
    w.pass(Duration::from_secs(9));
    assert!(w.events.is_empty(), "{:?}", w.events);
    w.pass(Duration::from_secs(2));
    let slow = |leg| Event::Failed {
        session: legs[0].session,
        leg: LegId(leg),
        why: Failure::Slow,
    };
    for leg in [1, 2] {
        assert!(w.events.contains(&slow(leg)), "{:?}", w.events);
    }
}

// settled.md R3: what had come in one piece with the bytes that stopped the sender is no more refused than those.
#[test]
fn what_comes_with_the_stop_is_not_refused() {
    let mut small = settings();
    small.outbox_bytes = 32 << 10;
    let mut w = World::new(small, Cuts::None);
    let legs = w.session(1);
    w.peers[legs[1].conn].takes = Some(0);
    let sends: Vec<Send> = (0..3).map(|_| Send::new(&mut w, pattern(18_000))).collect();
    let bytes: Vec<u8> = sends.iter().flat_map(|s| s.on(&legs[0])).collect();
    w.feed(legs[0].conn, &bytes);
    let stops = |w: &World| {
        let of = |o: &&Output| matches!(o, Output::Pause { .. });
        w.outputs.iter().filter(of).count()
    };
    assert_eq!(stops(&w), 1);
    w.take(legs[1].conn, 1_000_000);
    assert_eq!(w.ack_all(&legs[1]).len(), 3);
    let codes: Vec<_> = w.read(legs[0].conn).iter().map(|m| m.code()).collect();
    assert_eq!(codes, [Some(200); 3]);
    assert!(w.events.is_empty(), "{:?}", w.events);
}

// settled.md R3: a burst that the device's socket takes at once, when the turn ends, stops the sender for no longer than that:
// the socket has nothing to tell, and nothing is answered either.
#[test]
fn a_burst_that_is_taken_at_once_stops_nobody() {
    let mut small = settings();
    small.outbox_bytes = 32 << 10;
    let mut w = World::new(small, Cuts::None);
    let legs = w.session(1);
    let sends: Vec<Send> = (0..3)
        .map(|_| Send::new(&mut w, pattern(18_000)).extra("Failure-Report: no"))
        .collect();
    let bytes: Vec<u8> = sends.iter().flat_map(|s| s.on(&legs[0])).collect();
    w.feed(legs[0].conn, &bytes);
    let said = |w: &World, what: fn(&Output) -> bool| w.outputs.iter().filter(|o| what(o)).count();
    assert_eq!(said(&w, |o| matches!(o, Output::Pause { .. })), 1);
    w.pass(Duration::from_millis(20));
    assert_eq!(said(&w, |o| matches!(o, Output::Resume { .. })), 1);
    w.pass(Duration::from_secs(20));
    assert!(w.events.is_empty(), "{:?}", w.events);
    assert!(!w.sends(legs[1].conn).is_empty());
}

// The same for messages that waited for a device: they go out as far as its bounds allow, and the rest when that has left.
#[test]
fn what_waited_for_a_device_goes_out_to_the_last() {
    let mut small = settings();
    small.outbox_bytes = 32 << 10;
    let mut w = World::new(small, Cuts::None);
    let session = w.open();
    let sender = w.leg(session, 0);
    for _ in 0..6 {
        let send = Send::new(&mut w, pattern(10_000)).extra("Failure-Report: no");
        w.feed(sender.conn, &send.on(&sender));
    }
    let device = w.leg_after(session, 1);
    let first = w.read(device.conn).iter().filter(|m| m.is_send()).count();
    assert!((2..6).contains(&first), "{first}");
    w.pass(Duration::from_millis(40));
    assert_eq!(first + w.sends(device.conn).len(), 6);
}

// settled.md R3: reading stops only while nothing of ours waits for answers there: when the slow device itself says something,
// its sender is read again; the message that is under way to it is refused, and the device stays.
#[test]
fn a_stopped_sender_that_is_spoken_to_is_read_and_refused() {
    let mut small = settings();
    small.outbox_bytes = 32 << 10;
    let mut w = World::new(small, Cuts::None);
    let legs = w.session(1);
    w.peers[legs[1].conn].takes = Some(0);
    let large = Send::new(&mut w, pattern(200_000)).range("1-*/200000");
    let bytes = large.on(&legs[0]);
    w.feed_once(legs[0].conn, &bytes[..50_000]);
    assert!(w.outputs.iter().any(|o| matches!(o, Output::Pause { .. })));
    let said = Send::new(&mut w, "still here");
    w.feed(legs[1].conn, &said.on(&legs[1]));
    assert!(w.outputs.iter().any(|o| matches!(o, Output::Resume { .. })));
    assert_eq!(w.one(legs[0].conn).text(), "still here");
    w.feed_once(legs[0].conn, &bytes[50_000..]);
    assert_eq!(w.answer(legs[0].conn, &large.tid), Some(408));
    w.take(legs[1].conn, 1_000_000);
    let flags: Vec<u8> = w.read(legs[1].conn).iter().map(|m| m.flag).collect();
    assert_eq!(flags, *b"+$#", "a piece, the answer, the end");
    let failed = |e: &&Event| matches!(e, Event::Failed { .. });
    assert_eq!(w.events.iter().find(failed), None);
}

// A slow leg that is torn down no longer stops its sender.
#[test]
fn a_stalled_leg_that_is_torn_down_lets_its_sender_go_on() {
    let mut small = settings();
    small.outbox_bytes = 32 << 10;
    let mut w = World::new(small, Cuts::None);
    let legs = w.session(1);
    w.peers[legs[1].conn].takes = Some(0);
    let send = Send::new(&mut w, pattern(40_000));
    w.feed(legs[0].conn, &send.on(&legs[0]));
    assert!(w.outputs.iter().any(|o| matches!(o, Output::Pause { .. })));
    let other = w.leg(legs[0].session, 2);
    w.command(Command::End {
        session: legs[0].session,
        leg: LegId(1),
        how: Finish::Abort,
    });
    assert!(w.outputs.iter().any(|o| matches!(o, Output::Resume { .. })));
    let next = Send::new(&mut w, "to the other");
    w.feed(legs[0].conn, &next.on(&legs[0]));
    assert_eq!(w.one(other.conn).text(), "to the other");
}

// settled.md R3: after stall_s the leg has failed, and what nobody took is told.
#[test]
fn a_stall_ends() {
    let mut small = settings();
    small.outbox_bytes = 32 << 10;
    let mut w = World::new(small, Cuts::None);
    let legs = w.session(1);
    w.peers[legs[1].conn].takes = Some(0);
    for _ in 0..2 {
        let send = Send::new(&mut w, pattern(20_000));
        w.feed(legs[0].conn, &send.on(&legs[0]));
    }
    w.pass(Duration::from_millis(10_100));
    assert_eq!(
        w.events[0],
        Event::Failed {
            session: legs[0].session,
            leg: LegId(1),
            why: Failure::Slow
        }
    );
    assert_eq!(
        w.events
            .iter()
            .filter(|e| matches!(e, Event::Undelivered { body, .. } if body.len() == 20_000))
            .count(),
        2
    );
    assert!(
        w.outputs.iter().any(|o| matches!(o, Output::Resume { .. })),
        "the sender is read again"
    );
}

// settled.md R3: on a shared connection reading never stops: a session over its bound has its messages refused with 408.
#[test]
fn a_shared_sender_is_refused() {
    let mut small = settings();
    small.outbox_bytes = 32 << 10;
    let mut w = World::new(small, Cuts::None);
    let legs = w.session(1);
    let other_session = w.open();
    let other_device = w.leg(other_session, 1);
    let mut other = w.unbound_leg(other_session, 0, |_| ());
    other.conn = legs[0].conn;
    w.bind(&other);
    w.peers[legs[1].conn].takes = Some(0);
    for _ in 0..2 {
        let send = Send::new(&mut w, pattern(20_000));
        w.feed(legs[0].conn, &send.on(&legs[0]));
    }
    let refused = Send::new(&mut w, "over the bound");
    w.feed(legs[0].conn, &refused.on(&legs[0]));
    assert_eq!(w.answer(legs[0].conn, &refused.tid), Some(408));
    assert!(!w.outputs.iter().any(|o| matches!(o, Output::Pause { .. })));
    let fine = Send::new(&mut w, "the other session");
    w.feed(other.conn, &fine.on(&other));
    assert_eq!(w.one(other_device.conn).text(), "the other session");
}

// Too many SENDs without a response: one device of several is dropped.
#[test]
fn too_many_unanswered() {
    let mut small = settings();
    small.unanswered_max = 50;
    let mut w = World::new(small, Cuts::None);
    let legs = w.session(2);
    for _ in 0..60 {
        let send = Send::new(&mut w, "x");
        w.feed(legs[0].conn, &send.on(&legs[0]));
        w.ack_all(&legs[2]);
    }
    w.pass(Duration::from_millis(300));
    assert_eq!(
        w.events,
        [Event::Failed {
            session: legs[0].session,
            leg: LegId(1),
            why: Failure::Slow
        }]
    );
}
