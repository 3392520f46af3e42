//! Shares: each session, user and source has a part of the memory for messages under way. Who is greedy is stopped or refused;
//! who holds little notices nothing.

use std::time::Duration;

use ringfork::{
    ids::SessionId,
    msrp::{Ack, Output, Settings},
};

use crate::harness::{Cuts, Leg, Send, World, cpim, pattern, settings};

fn world(with: impl FnOnce(&mut Settings)) -> World {
    let mut small = settings();
    small.kept_bytes_max = 4 << 20;
    small.sessions_max = 1_000;
    with(&mut small);
    World::new(small, Cuts::None)
}

/// A session of one sender and `devices` devices, for a user, from a source.
fn session(w: &mut World, user: u64, source: Option<u64>, devices: u8) -> Vec<Leg> {
    let session = w.open_for(user, source);
    let legs = (0..=devices).map(|n| w.leg(session, n)).collect();
    w.events.clear();
    legs
}

fn paused(w: &World, leg: &Leg) -> bool {
    let mut of = w.outputs.iter().rev().filter_map(|o| match o {
        Output::Pause { conn } if *conn == leg.conn => Some(true),
        Output::Resume { conn } if *conn == leg.conn => Some(false),
        _ => None,
    });
    of.next() == Some(true)
}

/// A well-behaved session with two devices: a message there and a note back, answered 200 at once.
fn sings(w: &mut World, canary: &[Leg], song: usize) {
    let send = Send::new(w, pattern(200 + song % 5_000));
    w.feed(canary[0].conn, &send.on(&canary[0]));
    for device in &canary[1..] {
        let got = w.ack_all(device);
        assert_eq!(got.len(), 1, "song {song}");
        assert_eq!(got[0].body.as_deref(), Some(&send.body[..]), "song {song}");
    }
    assert_eq!(
        w.answer(canary[0].conn, &send.tid),
        Some(200),
        "song {song}"
    );
    let note = Send::new(w, cpim("message/imdn+xml", "<imdn/>")).content_type("message/cpim");
    w.feed(canary[1].conn, &note.on(&canary[1]));
    assert_eq!(w.ack_all(&canary[0]).len(), 1, "note {song}");
    assert_eq!(
        w.answer(canary[1].conn, &note.tid),
        Some(200),
        "note {song}"
    );
}

type Flood = fn(&mut World, &[Leg]);

fn whole(w: &mut World, from: &Leg, size: usize, extra: &str) {
    let mut send = Send::new(w, pattern(size)).range(&format!("1-*/{size}"));
    if !extra.is_empty() {
        send = send.extra(extra);
    }
    w.feed(from.conn, &send.on(from));
}

/// What a session does that wants all of it for itself. Its devices read, and answer nothing.
const FLOODS: [(&str, Flood); 9] = [
    ("large messages", |w, legs| whole(w, &legs[0], 30_000, "")),
    ("tiny messages", |w, legs| {
        for _ in 0..20 {
            whole(w, &legs[0], 1, "");
        }
    }),
    ("long heads", |w, legs| {
        let long = format!("X-Long: {}", "x".repeat(8_000));
        whole(w, &legs[0], 1, &long);
    }),
    ("no reports", |w, legs| {
        whole(w, &legs[0], 30_000, "Failure-Report: no");
    }),
    ("errors alone", |w, legs| {
        whole(w, &legs[0], 30_000, "Failure-Report: partial");
    }),
    ("a device that writes", |w, legs| {
        whole(w, &legs[1], 30_000, "");
    }),
    ("messages that never end", |w, legs| {
        let send = Send::new(w, pattern(30_000)).range("1-*/90000").flag('+');
        w.feed(legs[0].conn, &send.on(&legs[0]));
    }),
    ("a message in chunks without end", |w, legs| {
        for _ in 0..20 {
            let at = 2 * w.chance(1 << 20) + 1;
            let send = Send::new(w, "x")
                .id("endless")
                .range(&format!("{at}-{at}/*"))
                .flag('+');
            w.feed(legs[0].conn, &send.on(&legs[0]));
        }
    }),
    ("chunks that tell nothing", |w, legs| {
        for _ in 0..20 {
            let at = 2 * w.chance(1 << 20) + 2;
            let send = Send::new(w, "x")
                .id("untold")
                .content_type("message/cpim")
                .range(&format!("{at}-{at}/*"))
                .flag('+');
            w.feed(legs[0].conn, &send.on(&legs[0]));
        }
    }),
];

/// One greedy session, some, and more than the pool has kilobytes of 30; of one user or of as many.
#[test]
fn a_neighbour_of_greedy_sessions_notices_nothing() {
    for (what, flood) in FLOODS {
        for (n, users, ack) in [
            (1, 1, Ack::Held),
            (12, 12, Ack::Receipt),
            (60, 60, Ack::Held),
            (60, 1, Ack::Receipt),
        ] {
            let mut w = world(|s| s.ack = ack);
            let canary = session(&mut w, 1_000, None, 2);
            let greedy: Vec<Vec<Leg>> = (0..n)
                .map(|k| session(&mut w, k % users, None, 1 + (k % 3) as u8))
                .collect();
            for song in 0..(360 / n as usize).min(60) {
                for legs in &greedy {
                    if !paused(&w, &legs[0]) && !paused(&w, &legs[1]) {
                        flood(&mut w, legs);
                    }
                    for leg in legs {
                        w.read(leg.conn);
                    }
                }
                sings(&mut w, &canary, song);
                w.outputs
                    .retain(|o| matches!(o, Output::Pause { .. } | Output::Resume { .. }));
                let held = w.plane.gauges().held_bytes;
                assert!(held <= 4 << 20, "{what}, {n} of {users}: {held}");
                w.pass(Duration::from_millis(10));
            }
            let all: Vec<SessionId> = greedy
                .iter()
                .chain([&canary])
                .map(|l| l[0].session)
                .collect();
            w.end_all(&all);
        }
    }
}

/// A canary of the very user, or the very source, that is flooded: a session that holds little always finds room.
#[test]
fn a_quiet_session_of_a_greedy_user_or_source_notices_nothing() {
    for (what, flood) in FLOODS {
        for source in [None, Some(7)] {
            let mut w = world(|_| ());
            let (users, same) = if source.is_some() {
                (30, 1_000)
            } else {
                (1, 0)
            };
            let canary = session(&mut w, same, source, 2);
            let greedy: Vec<Vec<Leg>> = (0..30)
                .map(|k| session(&mut w, k % users, source, 1))
                .collect();
            for song in 0..20 {
                for legs in &greedy {
                    if !paused(&w, &legs[0]) && !paused(&w, &legs[1]) {
                        flood(&mut w, legs);
                    }
                }
                sings(&mut w, &canary, song);
                w.pass(Duration::from_millis(10));
            }
            let held = w.plane.gauges().held_bytes;
            assert!(
                held <= (4 << 20) / 2,
                "{what}: half is left to others: {held}"
            );
        }
    }
}

// settled.md R3: who fills his share is stopped before he is refused, and goes on when the device has answered; nothing is
// lost. A device that answers late gets all of it.
#[test]
fn a_sender_is_stopped_before_his_share_is_full_and_goes_on_with_the_answers() {
    let mut w = world(|_| ());
    let legs = session(&mut w, 1, None, 1);
    let (mut sent, mut got, mut stops) = (0, 0, 0);
    while sent < 200 {
        while !paused(&w, &legs[0]) && sent < 200 {
            whole(&mut w, &legs[0], 30_000, "");
            sent += 1;
        }
        stops += usize::from(paused(&w, &legs[0]));
        w.pass(Duration::from_millis(200));
        got += w.ack_all(&legs[1]).len();
        let codes: Vec<_> = w.read(legs[0].conn).iter().map(|m| m.code()).collect();
        assert!(codes.iter().all(|c| *c == Some(200)), "{codes:?}");
        assert!(!paused(&w, &legs[0]), "the answers let him go on");
    }
    assert_eq!((sent, got), (200, 200));
    assert!(stops > 2, "{stops}");
    assert!(w.events.is_empty(), "{:?}", w.events);
    w.end(legs[0].session);
}

// settled.md R3: for `stall_s` at most; then the device that holds it is dropped, and what it held is free.
#[test]
fn a_device_that_fills_the_share_for_ten_seconds_is_dropped() {
    let mut w = world(|_| ());
    let legs = session(&mut w, 1, None, 1);
    while !paused(&w, &legs[0]) {
        whole(&mut w, &legs[0], 30_000, "");
    }
    w.pass(Duration::from_millis(9_900));
    assert!(paused(&w, &legs[0]) && w.events.is_empty());
    w.pass(Duration::from_millis(200));
    assert!(!paused(&w, &legs[0]));
    assert_eq!(w.plane.gauges().kept_bytes, 0);
    assert_eq!(
        w.plane.counters().legs_dropped
            [ringfork::msrp::failure_place(ringfork::msrp::Failure::Slow)],
        1
    );
    w.end(legs[0].session);
}

// One device answers, one does not: the mute one is dropped after the time that any laggard has, the other loses nothing.
#[test]
fn a_mute_device_beside_one_that_answers_is_dropped_alone() {
    let mut w = world(|s| s.kept_bytes_max = 300_000);
    let legs = session(&mut w, 1, None, 2);
    for n in 0..400 {
        if paused(&w, &legs[0]) {
            w.pass(Duration::from_millis(5));
            continue;
        }
        let send = Send::new(&mut w, "hello");
        w.feed(legs[0].conn, &send.on(&legs[0]));
        assert_eq!(w.ack_all(&legs[1]).len(), 1, "{n}");
        assert_eq!(w.answer(legs[0].conn, &send.tid), Some(200), "{n}");
        w.pass(Duration::from_millis(5));
    }
    assert!(
        w.plane
            .leg_view(legs[0].session, legs[2].leg)
            .is_some_and(|l| l.state == "failed")
    );
    w.end(legs[0].session);
}
