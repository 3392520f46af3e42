//! Peers behind relays (RFC 4976): paths of several URIs, and what a 200 and a REPORT are worth there.

use std::time::Duration;

use ringfork::{
    ids::LegId,
    msrp::{Command, Event, Failure, Role},
};

use crate::harness::{Leg, Msg, Send, World, each_way};

const RELAY: &str = "msrp://relay.example.com:2855/abc;tcp";
const CLIENT: &str = "msrp://bob.example.com:7001/b1;tcp";

fn path() -> String {
    format!("{RELAY} {CLIENT}")
}

fn relayed(w: &mut World, session: ringfork::ids::SessionId, leg: u8) -> Leg {
    let path = path();
    w.leg_like(session, leg, |p| p.path = path.as_bytes().into())
}

/// The relay answers a SEND: for itself, not for the client.
fn relay_says(w: &mut World, leg: &Leg, send: &Msg, what: &str) {
    let bytes = format!(
        "MSRP {0} {what}\r\nTo-Path: {1}\r\nFrom-Path: {RELAY}\r\n-------{0}$\r\n",
        send.tid, leg.own
    );
    w.feed(leg.conn, bytes.as_bytes());
}

/// The relay, or whoever stands behind it, reports.
fn reports(w: &mut World, leg: &Leg, from: &str, id: &str, range: &str, status: &str) {
    let tid = w.id("rep");
    let bytes = format!(
        "MSRP {tid} REPORT\r\nTo-Path: {}\r\nFrom-Path: {from}\r\nMessage-ID: {id}\r\nByte-Range: {range}\r\nStatus: {status}\r\n-------{tid}$\r\n",
        leg.own
    );
    w.feed(leg.conn, bytes.as_bytes());
}

fn statuses(all: &[Msg]) -> Vec<(&str, &str)> {
    all.iter()
        .filter(|m| m.what == "REPORT")
        .map(|m| {
            let of = |name: &str| m.header(name).unwrap_or_default();
            (of("Message-ID"), of("Status"))
        })
        .collect()
}

/// The 200s to what `leg` got; its SENDs.
fn taken(w: &mut World, leg: &Leg) -> Vec<Msg> {
    let sends = w.sends(leg.conn);
    for send in &sends {
        relay_says(w, leg, send, "200 OK");
    }
    sends
}

// RFC 4975 §8.3, RFC 4976 §5: the whole list in To-Path, in its order; what comes has all hops in From-Path; a response goes to
// the first of them, a REPORT to all. The first SEND of ours, too. [MSRP-RELAY-01] [MSRP-URI-05]
#[test]
fn paths_of_several_hops() {
    each_way(|w| {
        let session = w.open();
        let sender = w.leg(session, 0);
        w.unbound_leg(session, 1, |p| {
            p.path = path().into_bytes().into();
            p.role = Role::Active;
            p.connect_to = Some("192.0.2.9:2855".parse().unwrap());
        });
        let conn = w.connected(session, LegId(1));
        let first = w.one(conn);
        assert_eq!(first.header("To-Path"), Some(path().as_str()));
        let own = first.header("From-Path").unwrap().to_owned();
        let device = Leg {
            session,
            leg: LegId(1),
            own,
            path: path(),
            conn,
        };
        relay_says(w, &device, &first, "200 OK");
        let send = Send::new(w, "through the relay");
        w.feed(sender.conn, &send.on(&sender));
        let got = taken(w, &device);
        assert_eq!(got[0].header("To-Path"), Some(path().as_str()));
        assert_eq!(w.answer(sender.conn, &send.tid), Some(200));
        assert_eq!(w.plane.gauges().unanswered, 0);
        let back = Send::new(w, "and back").extra("Success-Report: yes");
        w.feed(conn, &back.on(&device));
        let answer = w.one(conn);
        assert_eq!(
            (answer.code(), answer.header("To-Path")),
            (Some(200), Some(RELAY))
        );
        w.ack_all(&sender);
        w.report(&sender, &back.id, None, "000 200 OK");
        let report = w.one(conn);
        assert_eq!(report.header("To-Path"), Some(path().as_str()));
        w.end(session);
    });
}

// RFC 4975 §7.1.2: To-Path of a REPORT is the From-Path of the SEND, in the order received, also where more relays stand on the
// way than the SDP says. [MSRP-RELAY-01] [MSRP-RPT-01]
#[test]
fn a_report_goes_back_the_way_that_the_send_came() {
    each_way(|w| {
        let session = w.open();
        let sender = w.leg(session, 0);
        let device = relayed(w, session, 1);
        let longer = Leg {
            path: format!("msrp://edge.example.com:2855/e;tcp {RELAY} {CLIENT}"),
            ..device.clone()
        };
        for way in [&longer, &device] {
            for _ in 0..2 {
                let send = Send::new(w, "hello").extra("Success-Report: yes");
                w.feed(device.conn, &send.on(way));
                w.ack_all(&sender);
                w.report(&sender, &send.id, None, "000 200 OK");
                let all = w.read(device.conn);
                assert_eq!(all.len(), 2, "{all:?}");
                assert_eq!(all[0].header("To-Path"), way.path.split(' ').next());
                assert_eq!(all[1].header("To-Path"), Some(way.path.as_str()));
            }
        }
        w.end(session);
    });
}

// RFC 4976 §5.3, §6.4: the relay has said 200, and then that it could not pass it on: the message counts as not delivered, and its
// sender is told, whether it is done already or another leg has still to answer. [MSRP-RELAY-02] [MSRP-RPT-05] [MSRP-RPT-07]
#[test]
fn a_failure_report_decides_over_the_relays_200() {
    for (status, why) in [
        ("000 408 Request Timeout", Some(Failure::Timeout)),
        ("000 403 Forbidden", None),
        ("000 413 Stop Sending Message", None),
        (
            "000 481 Session does not exist",
            Some(Failure::SessionUnknown),
        ),
    ] {
        each_way(|w| {
            let session = w.open();
            let sender = w.leg(session, 0);
            let device = relayed(w, session, 1);
            w.events.clear();
            let send = Send::new(w, "hello");
            w.feed(sender.conn, &send.on(&sender));
            taken(w, &device);
            assert_eq!(w.answer(sender.conn, &send.tid), Some(200));
            w.pass(Duration::from_secs(20));
            reports(w, &device, RELAY, &send.id, "1-5/5", status);
            let all = w.read(sender.conn);
            assert_eq!(statuses(&all).len(), 1, "{all:?}");
            assert_eq!(
                statuses(&all)[0].1.split(' ').nth(1),
                status.split(' ').nth(1)
            );
            assert_eq!(all[0].header("Byte-Range"), Some("1-5/5"));
            let failed = w.events.iter().find_map(|e| match e {
                Event::Failed { leg, why, .. } => Some((*leg, *why)),
                _ => None,
            });
            assert_eq!(failed, why.map(|why| (LegId(1), why)), "{status}");
            // Once.
            reports(w, &device, RELAY, &send.id, "1-5/5", status);
            assert!(w.read(sender.conn).is_empty());
            w.end(session);
        });
    }
}

// While another device has still to answer: the failure takes the relay's 200 back. Then that device decides. [MSRP-RELAY-02]
#[test]
fn a_failure_report_takes_a_200_back_while_others_are_asked() {
    for (second, told) in [(200, false), (413, true)] {
        each_way(|w| {
            let session = w.open();
            let sender = w.leg(session, 0);
            let device = relayed(w, session, 1);
            let other = w.leg(session, 2);
            let send = Send::new(w, "hello");
            w.feed(sender.conn, &send.on(&sender));
            taken(w, &device);
            assert_eq!(w.answer(sender.conn, &send.tid), Some(200));
            reports(w, &device, RELAY, &send.id, "1-5/5", "000 403 Forbidden");
            assert_eq!(w.plane.pending(session), 1, "the other may have it");
            assert!(w.read(sender.conn).is_empty());
            let got = w.one(other.conn);
            w.respond(&other, &got, second);
            assert_eq!(w.plane.pending(session), 0);
            let all = w.read(sender.conn);
            assert_eq!(statuses(&all).len(), usize::from(told), "{all:?}");
            w.end(session);
        });
    }
}

// Taken back, and then the session ends before the other has answered: nobody is known to have it. [MSRP-RELAY-02]
#[test]
fn a_200_that_was_taken_back_counts_for_nothing_at_the_end() {
    each_way(|w| {
        let session = w.open();
        let sender = w.leg(session, 0);
        let device = relayed(w, session, 1);
        let other = w.leg(session, 2);
        let send = Send::new(w, "hello");
        w.feed(sender.conn, &send.on(&sender));
        taken(w, &device);
        assert_eq!(w.answer(sender.conn, &send.tid), Some(200));
        reports(w, &device, RELAY, &send.id, "1-5/5", "000 403 Forbidden");
        assert!(w.read(sender.conn).is_empty());
        w.command(Command::Close { session });
        let all = w.read(sender.conn);
        assert_eq!(
            statuses(&all),
            [(send.id.as_str(), "000 408 Request Timeout")]
        );
        w.read(other.conn);
        w.end(session);
    });
}

// A device without a relay has it, or another relay's client: nobody's loss until that one fails too. [MSRP-RPT-05]
#[test]
fn a_failure_report_beside_another_that_has_it_is_not_told() {
    each_way(|w| {
        let session = w.open();
        let sender = w.leg(session, 0);
        let (one, two) = (relayed(w, session, 1), relayed(w, session, 2));
        let send = Send::new(w, "hello");
        w.feed(sender.conn, &send.on(&sender));
        taken(w, &one);
        taken(w, &two);
        w.read(sender.conn);
        reports(w, &one, RELAY, &send.id, "1-5/5", "000 403 Forbidden");
        reports(w, &one, RELAY, &send.id, "1-5/5", "000 403 Forbidden");
        assert!(w.read(sender.conn).is_empty());
        reports(w, &two, RELAY, &send.id, "1-5/5", "000 403 Forbidden");
        let all = w.read(sender.conn);
        assert_eq!(statuses(&all), [(send.id.as_str(), "000 403 Forbidden")]);
        w.end(session);
    });
}

// The other way: what a device wrote does not reach a sender behind a relay.
#[test]
fn a_failure_report_from_the_originators_relay_reaches_the_device() {
    each_way(|w| {
        let session = w.open();
        let sender = relayed(w, session, 0);
        let devices = [w.leg(session, 1), w.leg(session, 2)];
        let send = Send::new(w, "are you there?");
        w.feed(devices[0].conn, &send.on(&devices[0]));
        taken(w, &sender);
        assert_eq!(w.answer(devices[0].conn, &send.tid), Some(200));
        reports(w, &sender, RELAY, &send.id, "1-14/14", "000 403 Forbidden");
        let all = w.read(devices[0].conn);
        assert_eq!(statuses(&all), [(send.id.as_str(), "000 403 Forbidden")]);
        assert!(w.read(devices[1].conn).is_empty());
        w.end(session);
    });
}

// Who must know asks for a success REPORT: it comes from the client, by all hops, after the relay's 200. [MSRP-RELAY-02] [MSRP-RPT-03]
#[test]
fn a_success_report_passes_behind_the_relays_200() {
    each_way(|w| {
        let session = w.open();
        let sender = w.leg(session, 0);
        let device = relayed(w, session, 1);
        let send = Send::new(w, "hello").extra("Success-Report: yes");
        w.feed(sender.conn, &send.on(&sender));
        let got = taken(w, &device);
        assert_eq!(got[0].header("Success-Report"), Some("yes"));
        assert_eq!(w.answer(sender.conn, &send.tid), Some(200));
        reports(w, &device, &path(), &send.id, "1-5/5", "000 200 OK");
        let all = w.read(sender.conn);
        assert_eq!(statuses(&all), [(send.id.as_str(), "000 200 OK")]);
        w.end(session);
    });
}

// A relay takes up to 30 s to know: by then a lively chat has gone on.
#[test]
fn a_failure_report_is_understood_after_a_hundred_messages() {
    let mut w = World::plain();
    let session = w.open();
    let sender = w.leg(session, 0);
    let device = relayed(&mut w, session, 1);
    let mut ids = Vec::new();
    for n in 0..100 {
        let send = Send::new(&mut w, format!("text {n}"));
        ids.push(send.id.clone());
        w.feed(sender.conn, &send.on(&sender));
        assert_eq!(taken(&mut w, &device).len(), 1);
    }
    assert_eq!(w.plane.gauges().unanswered, 0);
    w.read(sender.conn);
    reports(
        &mut w,
        &device,
        RELAY,
        &ids[0],
        "1-6/6",
        "000 403 Forbidden",
    );
    let all = w.read(sender.conn);
    assert_eq!(statuses(&all), [(ids[0].as_str(), "000 403 Forbidden")]);
    w.end(session);
}

// A REPORT is about what was sent to the leg that it comes from: the same Message-ID the other way is another message, also when
// both are done, and a leg that never got it has no say. [MSRP-RPT-06] [MSRP-RPT-08]
#[test]
fn a_report_is_about_what_was_sent_to_its_leg() {
    each_way(|w| {
        for done in [true, false] {
            let legs = w.session(2);
            let there = Send::new(w, "there")
                .id("same1234")
                .extra("Success-Report: yes");
            w.feed(legs[0].conn, &there.on(&legs[0]));
            let at_devices: Vec<Msg> = legs[1..].iter().map(|l| w.one(l.conn)).collect();
            let back = Send::new(w, "back!!")
                .id("same1234")
                .extra("Success-Report: yes");
            w.feed(legs[1].conn, &back.on(&legs[1]));
            if done {
                w.ack_all(&legs[0]);
                for (leg, send) in legs[1..].iter().zip(&at_devices) {
                    w.respond(leg, send, 200);
                }
                assert_eq!(w.plane.gauges().messages, 0);
            }
            for leg in &legs {
                w.read(leg.conn);
            }
            let before = w.plane.counters().reports_in;
            // The device speaks of what it got, the originator of what he got.
            w.report(&legs[1], "same1234", None, "000 200 OK");
            let all = w.read(legs[0].conn);
            assert_eq!(all.len(), 1, "{done}: {all:?}");
            assert_eq!(all[0].header("Byte-Range"), Some("1-5/5"));
            assert!(w.read(legs[1].conn).is_empty() && w.read(legs[2].conn).is_empty());
            w.report(&legs[0], "same1234", None, "000 200 OK");
            let all = w.read(legs[1].conn);
            assert_eq!(all.len(), 1, "{done}: {all:?}");
            assert_eq!(all[0].header("Byte-Range"), Some("1-6/6"));
            assert!(w.read(legs[0].conn).is_empty() && w.read(legs[2].conn).is_empty());
            assert_eq!(w.plane.counters().reports_in - before, 2);
            w.end(legs[0].session);
        }
    });
}

// The latest of several done messages under one Message-ID is the one that a REPORT is about.
#[test]
fn a_failure_report_of_a_leg_that_never_had_it_is_nobodys_business() {
    each_way(|w| {
        let session = w.open();
        let sender = w.leg(session, 0);
        let plain = w.leg_like(session, 1, |p| p.accept_types = b"text/plain".to_vec());
        let other = w.leg_like(session, 2, |p| p.accept_types = b"text/html".to_vec());
        let send = Send::new(w, "hello");
        w.feed(sender.conn, &send.on(&sender));
        assert_eq!(w.ack_all(&plain).len(), 1);
        assert!(w.read(other.conn).is_empty(), "not of its types");
        w.read(sender.conn);
        w.report(&other, &send.id, Some("1-5/5"), "000 403 Forbidden");
        assert!(w.read(sender.conn).is_empty());
        w.report(&plain, &send.id, Some("1-5/5"), "000 403 Forbidden");
        assert_eq!(w.read(sender.conn).len(), 1);
        w.command(Command::Close { session });
        w.end(session);
    });
}
