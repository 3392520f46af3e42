//! What is left when a session ends: whoever was answered 200 is told what nobody has, in either direction (settled.md 39).

use std::time::Duration;

use ringfork::{
    ids::{LegId, SessionId},
    msrp::{Command, Event, Finish},
};

use crate::harness::{Leg, Msg, Send, World, each_way};

fn reports(all: &[Msg]) -> Vec<(&str, &str, &str)> {
    all.iter()
        .filter(|m| m.what == "REPORT")
        .map(|m| {
            let of = |name: &str| m.header(name).unwrap_or_default();
            (of("Message-ID"), of("Byte-Range"), of("Status"))
        })
        .collect()
}

/// A leg whose peer has never connected, and one whose peer has.
fn half_bound(w: &mut World, unbound: u8) -> (SessionId, Leg) {
    let session = w.open();
    let bound = if unbound == 0 {
        w.unbound_leg(session, 0, |_| ());
        w.leg(session, 1)
    } else {
        let sender = w.leg(session, 0);
        w.unbound_leg(session, 1, |_| ());
        sender
    };
    w.events.clear();
    (session, bound)
}

const LOST: &str = "000 408 Request Timeout";

// A device's text waits for a sender who never binds, or the sender's for a device that never does: the BYEs tell its writer.
// Once, with all of its range, where Failure-Report asks for it. [MSRP-RPT-05] [TERM-MEDIA-08]
#[test]
fn what_waits_for_a_leg_without_connection_is_told_before_the_bye() {
    for (header, told) in [
        (None, true),
        (Some("Failure-Report: yes"), true),
        (Some("Failure-Report: partial"), false),
        (Some("Failure-Report: no"), false),
    ] {
        for unbound in [0, 1] {
            each_way(|w| {
                let (session, leg) = half_bound(w, unbound);
                let mut send = Send::new(w, "anybody?");
                if let Some(header) = header {
                    send = send.extra(header);
                }
                w.feed(leg.conn, &send.on(&leg));
                w.pass(Duration::from_secs(2));
                let answer = w.answer(leg.conn, &send.tid);
                assert_eq!(answer, told.then_some(200), "{header:?}");
                w.command(Command::Parting { session });
                let all = w.read(leg.conn);
                let want = [(send.id.as_str(), "1-8/8", LOST)];
                assert_eq!(reports(&all), if told { &want[..] } else { &[] });
                assert_eq!(w.plane.gauges().messages, 0);
                let undelivered = |e: &Event| matches!(e, Event::Undelivered { .. });
                assert_eq!(
                    w.events.iter().filter(|e| undelivered(e)).count(),
                    usize::from(unbound == 1),
                    "deferral is for the originator's"
                );
                // Nothing is said twice.
                w.command(Command::Parting { session });
                for how in [Finish::Abort, Finish::Gone] {
                    w.command(Command::End {
                        session,
                        leg: leg.leg,
                        how,
                    });
                }
                assert!(w.read(leg.conn).is_empty());
                w.end(session);
            });
        }
    }
}

// Within the second in which the answer is held the answer says it.
#[test]
fn what_was_not_answered_yet_is_answered_408() {
    each_way(|w| {
        let (session, sender) = half_bound(w, 1);
        let send = Send::new(w, "anybody?");
        w.feed(sender.conn, &send.on(&sender));
        w.command(Command::Parting { session });
        let all = w.read(sender.conn);
        assert_eq!(all.len(), 1, "{all:?}");
        assert_eq!((all[0].code(), &all[0].tid), (Some(408), &send.tid));
        w.end(session);
    });
}

// With no device at all.
#[test]
fn what_has_found_no_leg_is_told_before_the_bye() {
    each_way(|w| {
        let session = w.open();
        let sender = w.leg(session, 0);
        let send = Send::new(w, "anybody?");
        w.feed(sender.conn, &send.on(&sender));
        w.pass(Duration::from_secs(2));
        w.read(sender.conn);
        w.command(Command::Parting { session });
        let all = w.read(sender.conn);
        assert_eq!(reports(&all), [(send.id.as_str(), "1-8/8", LOST)]);
        w.end(session);
    });
}

// The sender's connection is lost for good: what devices wrote meanwhile, and what he had not acknowledged, is told to them.
#[test]
fn what_waits_for_a_lost_originator_is_told() {
    each_way(|w| {
        let legs = w.session(2);
        let had = Send::new(w, "had");
        w.feed(legs[1].conn, &had.on(&legs[1]));
        w.ack_all(&legs[0]);
        let unsure = Send::new(w, "on its way");
        w.feed(legs[1].conn, &unsure.on(&legs[1]));
        w.drop_conn(legs[0].conn);
        let waits = Send::new(w, "said meanwhile");
        w.feed(legs[2].conn, &waits.on(&legs[2]));
        for leg in &legs[1..] {
            let all = w.read(leg.conn);
            assert!(reports(&all).is_empty(), "he may come back");
        }
        w.command(Command::Parting {
            session: legs[0].session,
        });
        let (one, two) = (w.read(legs[1].conn), w.read(legs[2].conn));
        assert_eq!(reports(&one), [(unsure.id.as_str(), "1-10/10", LOST)]);
        assert_eq!(reports(&two), [(waits.id.as_str(), "1-14/14", LOST)]);
        w.end(legs[0].session);
    });
}

// What was put out and not acknowledged when the session ends: its writer is told on his connection, then it ends. Where his leg
// ends alone it is on its way to a peer that is there: that is no loss, and the loser of a race is not told of one.
#[test]
fn what_was_not_acknowledged_is_told_at_the_end() {
    each_way(|w| {
        for (from, to) in [(0, 1), (1, 0)] {
            for close in [true, false] {
                let legs = w.session(1);
                let had = Send::new(w, "had");
                w.feed(legs[from].conn, &had.on(&legs[from]));
                w.ack_all(&legs[to]);
                let unsure = Send::new(w, "unsure");
                w.feed(legs[from].conn, &unsure.on(&legs[from]));
                w.pass(Duration::from_secs(2));
                w.read(legs[from].conn);
                let (session, leg) = (legs[from].session, legs[from].leg);
                w.command(Command::Parting { session });
                assert!(w.read(legs[from].conn).is_empty(), "it is on its way");
                w.command(if close {
                    Command::Close { session }
                } else {
                    Command::End {
                        session,
                        leg,
                        how: Finish::Gone,
                    }
                });
                let all = w.read(legs[from].conn);
                let told = [(unsure.id.as_str(), "1-6/6", LOST)];
                assert_eq!(reports(&all), if close { &told[..] } else { &[] });
                w.end(session);
            }
        }
    });
}

// What one device has is nobody's loss, whatever else waits; and what is on its way still counts.
#[test]
fn what_somebody_has_is_not_told() {
    each_way(|w| {
        let session = w.open();
        let sender = w.leg(session, 0);
        let device = w.leg(session, 1);
        w.unbound_leg(session, 2, |_| ());
        let had = Send::new(w, "had");
        w.feed(sender.conn, &had.on(&sender));
        w.ack_all(&device);
        let late = Send::new(w, "late");
        w.feed(sender.conn, &late.on(&sender));
        w.pass(Duration::from_secs(2));
        w.read(sender.conn);
        w.command(Command::Parting { session });
        w.ack_all(&device);
        w.command(Command::End {
            session,
            leg: LegId(1),
            how: Finish::Gone,
        });
        w.command(Command::Close { session });
        assert!(reports(&w.read(sender.conn)).is_empty());
        w.end(session);
    });
}

// Many of them, from both sides: each is told once, and nothing is held afterwards.
#[test]
fn each_of_many_is_told_once() {
    let mut w = World::plain();
    let (session, device) = half_bound(&mut w, 0);
    let mut ids = Vec::new();
    for n in 0..100 {
        let send = Send::new(&mut w, format!("text {n}"));
        ids.push(send.id.clone());
        w.feed(device.conn, &send.on(&device));
    }
    w.read(device.conn);
    w.command(Command::Parting { session });
    let all = w.read(device.conn);
    let told: Vec<&str> = reports(&all).iter().map(|r| r.0).collect();
    assert_eq!(told, ids);
    assert_eq!(w.plane.gauges().kept_bytes, 0);
    w.end(session);
}
