//! Connects that fail: they are tried again for as long as a leg's connection may take (settled.md 38).

use std::time::Duration;

use ringfork::{
    ids::LegId,
    msrp::{Command, Event, Failure, Finish, Output},
};

use crate::{
    bind::active,
    harness::{Leg, Send, World},
};

/// How often we have asked to connect so far, and where to last.
fn asked(w: &World) -> (usize, Option<std::net::SocketAddr>) {
    let mut all = w.outputs.iter().filter_map(|o| match o {
        Output::Connect { to, .. } => Some(*to),
        _ => None,
    });
    (all.clone().count(), all.next_back())
}

// settled.md 38: a connect that is refused is tried again after 50 ms, doubling, 2 s at most, until the leg's time is over; only
// then the leg fails. [COMEDIA-07]
#[test]
fn a_refused_connect_is_tried_again() {
    let mut w = World::plain();
    let session = w.open();
    w.unbound_leg(session, 1, active);
    let (begun, mut tries) = (w.now, Vec::new());
    while w.events.is_empty() {
        w.not_connected(session, LegId(1));
        let (before, _) = asked(&w);
        while asked(&w).0 == before && w.events.is_empty() {
            w.pass(Duration::from_millis(10));
        }
        tries.push(w.now.since(begun).as_millis());
    }
    assert_eq!(tries[..7], [50, 150, 350, 750, 1550, 3150, 5150]);
    assert!(tries.windows(2).all(|t| t[1] - t[0] <= 2000), "{tries:?}");
    assert_eq!(tries.last(), Some(&30_000));
    assert!((18..=22).contains(&tries.len()), "{tries:?}");
    assert_eq!(
        w.events,
        [Event::Failed {
            session,
            leg: LegId(1),
            why: Failure::NotConnected
        }]
    );
    let (count, _) = asked(&w);
    w.pass(Duration::from_secs(60));
    assert_eq!(asked(&w).0, count, "no more of it");
    w.end(session);
}

// A phone that answers 200 and opens its listener 50 ms later: what was written meanwhile reaches it. [MSRP-BARE-01]
#[test]
fn a_peer_that_listens_late_is_reached() {
    for refusals in [1, 2, 6] {
        let mut w = World::plain();
        let session = w.open();
        let sender = w.leg(session, 0);
        let leg = w.unbound_leg(session, 1, active);
        w.events.clear();
        let send = Send::new(&mut w, "hello");
        w.feed(sender.conn, &send.on(&sender));
        for _ in 0..refusals {
            let (before, _) = asked(&w);
            w.not_connected(session, LegId(1));
            w.pass(Duration::from_secs(2));
            assert_eq!(asked(&w).0, before + 1);
        }
        let conn = w.connected(session, LegId(1));
        assert!(w.events.contains(&Event::Bound {
            session,
            leg: LegId(1)
        }));
        let leg = Leg { conn, ..leg };
        let got = w.ack_all(&leg);
        assert_eq!(got[0].body, None, "a SEND that names the session first");
        assert_eq!(got[1].text(), "hello");
        let (count, _) = asked(&w);
        w.pass(Duration::from_secs(40));
        assert_eq!(asked(&w).0, count);
        assert!(!w.events.iter().any(|e| matches!(e, Event::Failed { .. })));
        w.end(session);
    }
}

// The leg ends, or the session, or another address is said, or the peer comes by itself: the old one is tried no more.
#[test]
fn a_connect_is_not_tried_again_in_vain() {
    let elsewhere: std::net::SocketAddr = "192.0.2.8:7000".parse().unwrap();
    for how in 0..5 {
        let mut w = World::plain();
        let session = w.open();
        let leg = w.unbound_leg(session, 1, active);
        w.not_connected(session, LegId(1));
        let end = |how| Command::End {
            session,
            leg: LegId(1),
            how,
        };
        match how {
            0 => w.command(end(Finish::Abort)),
            1 => w.command(end(Finish::Gone)),
            2 => w.command(Command::Close { session }),
            3 => {
                let mut peer = World::peer("msrp://elsewhere.example.com:7000/p1;tcp");
                active(&mut peer);
                peer.connect_to = Some(elsewhere);
                w.command(Command::Update {
                    session,
                    leg: LegId(1),
                    peer,
                });
                assert_eq!(asked(&w), (2, Some(elsewhere)), "at once");
                w.connected(session, LegId(1));
            }
            _ => {
                let leg = Leg {
                    conn: w.accept(),
                    ..leg
                };
                w.bind(&leg);
            }
        }
        let (count, _) = asked(&w);
        w.pass(Duration::from_secs(40));
        assert_eq!(asked(&w).0, count, "{how}");
        w.end(session);
    }
}

// A new address while the connection to the old one is being opened: the leg goes to the new one, and what comes up late is closed.
#[test]
fn another_address_while_connecting() {
    let mut w = World::plain();
    let session = w.open();
    w.unbound_leg(session, 1, active);
    let old = w.connecting(session, LegId(1));
    let mut peer = World::peer("msrp://elsewhere.example.com:7000/p1;tcp");
    active(&mut peer);
    peer.connect_to = Some("192.0.2.8:7000".parse().unwrap());
    w.command(Command::Update {
        session,
        leg: LegId(1),
        peer,
    });
    let new = w.connected(session, LegId(1));
    w.up(old);
    assert!(w.read(old).is_empty());
    assert_eq!(
        w.one(new).header("To-Path"),
        Some("msrp://elsewhere.example.com:7000/p1;tcp")
    );
    w.pass(Duration::from_secs(61));
    assert!(w.peers[old].closed, "nobody uses it");
    w.end(session);
}

// Several legs to one address that refuses: each comes up once it listens.
#[test]
fn legs_to_one_address_are_all_tried_again() {
    let mut w = World::plain();
    let sessions = [w.open(), w.open(), w.open()];
    for &session in &sessions {
        w.unbound_leg(session, 1, active);
    }
    w.not_connected(sessions[0], LegId(1));
    for _ in 0..20 {
        w.pass(Duration::from_millis(100));
        for &session in &sessions {
            let bound = Event::Bound {
                session,
                leg: LegId(1),
            };
            if !w.events.contains(&bound) {
                w.connected(session, LegId(1));
            }
        }
    }
    for session in sessions {
        assert!(w.events.contains(&Event::Bound {
            session,
            leg: LegId(1)
        }));
    }
    w.end_all(&sessions);
}

// settled.md 8 and 38: a lost originator to whom we connect again is tried again too; the session room says when it is enough.
#[test]
fn a_lost_originator_who_listens_late_is_restored() {
    let mut w = World::plain();
    let session = w.open();
    let leg = w.unbound_leg(session, 0, active);
    let conn = w.connected(session, LegId(0));
    w.drop_conn(conn);
    let mut peer = World::peer(&leg.path);
    active(&mut peer);
    w.events.clear();
    w.command(Command::Start {
        session,
        leg: LegId(0),
        peer,
    });
    for _ in 0..3 {
        w.not_connected(session, LegId(0));
        w.pass(Duration::from_millis(400));
    }
    w.connected(session, LegId(0));
    assert_eq!(
        w.events,
        [Event::Bound {
            session,
            leg: LegId(0)
        }]
    );
    w.end(session);
}
