//! SENDs without a body, ours and theirs; and a connection that one of its sessions does not need any more.

use std::time::Duration;

use ringfork::{
    ids::LegId,
    msrp::{Event, Failure, Role},
};

use crate::{
    bind::active,
    harness::{Leg, Send, World, bare, each_way},
};

// [MSRP-BARE-02] [MSRP-RSP-02] [MSRP-RSP-03] It binds whether or not an answer is asked for, and gets only what is.
#[test]
fn a_bodiless_send_is_answered_as_it_asks() {
    each_way(|w| {
        let session = w.open();
        let device = w.leg(session, 1);
        for (leg, report) in [(0, "no"), (2, "partial")] {
            let mut quiet = w.unbound_leg(session, leg, |_| ());
            quiet.conn = w.accept();
            let tid = w.id("bind");
            let line = format!("Failure-Report: {report}\r\n-------{tid}$");
            let bytes = String::from_utf8(bare(&tid, &quiet)).unwrap();
            let bytes = bytes.replace(&format!("-------{tid}$"), &line);
            w.feed(quiet.conn, bytes.as_bytes());
            assert!(w.read(quiet.conn).is_empty(), "{report}");
            let bound = w.plane.leg_view(session, LegId(leg)).unwrap();
            assert_eq!((bound.state, bound.conn), ("bound", Some(quiet.conn)));
        }
        assert!(w.read(device.conn).is_empty(), "passed on to nobody");
        w.end(session);
    });
}

// A From-Path that is not the peer's: 403, with a body or without, and it is nobody's activity.
#[test]
fn a_stranger_with_the_right_to_path_is_forbidden() {
    each_way(|w| {
        let legs = w.session(1);
        let stranger = Leg {
            path: "msrp://192.0.2.66:7000/somebodyelse;tcp".to_owned(),
            ..legs[1].clone()
        };
        let tid = w.id("bare");
        w.feed(legs[1].conn, &bare(&tid, &stranger));
        assert_eq!(w.answer(legs[1].conn, &tid), Some(403));
        let send = Send::new(w, "let me in");
        w.feed(legs[1].conn, &send.on(&stranger));
        assert_eq!(w.answer(legs[1].conn, &send.tid), Some(403));
        assert!(w.read(legs[0].conn).is_empty() && w.events.is_empty());
        w.end(legs[0].session);
    });
}

// [MSRP-BARE-01] [MSRP-TMO-01] The SEND that binds is a SEND like any other: without its answer in 30 s the leg has failed.
#[test]
fn a_bodiless_send_of_ours_wants_its_answer() {
    let mut w = World::plain();
    let session = w.open();
    w.unbound_leg(session, 1, active);
    let conn = w.connected(session, LegId(1));
    assert_eq!(w.sends(conn).len(), 1);
    w.events.clear();
    w.pass(Duration::from_millis(29_900));
    assert!(w.events.is_empty(), "{:?}", w.events);
    w.pass(Duration::from_millis(200));
    assert_eq!(
        w.events,
        [Event::Failed {
            session,
            leg: LegId(1),
            why: Failure::Timeout
        }]
    );
    w.end(session);
}

// [COMEDIA-04] [COMEDIA-07] We are to connect, and the peer has said no address: the leg fails at once.
#[test]
fn active_without_an_address_fails() {
    let mut w = World::plain();
    let session = w.open();
    w.unbound_leg(session, 1, |p| p.role = Role::Active);
    let failed = Event::Failed {
        session,
        leg: LegId(1),
        why: Failure::NotConnected,
    };
    assert_eq!(w.events, [failed]);
    assert!(w.outputs.is_empty());
    w.end(session);
}

// [MSRP-CONN-03] Two sessions on one connection: the one that its peer does not know any more goes, the connection stays.
#[test]
fn a_connection_outlives_the_session_that_fails_on_it() {
    each_way(|w| {
        let one = w.session(1);
        let other = w.open();
        let sender = w.leg(other, 0);
        let mut shared = w.unbound_leg(other, 1, |_| ());
        shared.conn = one[1].conn;
        w.bind(&shared);
        let send = Send::new(w, "who are you?");
        w.feed(one[0].conn, &send.on(&one[0]));
        let got = w.one(one[1].conn);
        w.respond(&one[1], &got, 481);
        assert_eq!(
            w.plane.leg_view(one[1].session, LegId(1)).unwrap().state,
            "failed"
        );
        assert!(!w.peers[shared.conn].closed, "the other session uses it");
        let send = Send::new(w, "still there");
        w.feed(sender.conn, &send.on(&sender));
        assert_eq!(w.one(shared.conn).text(), "still there");
        w.end_all(&[one[0].session, other]);
    });
}
