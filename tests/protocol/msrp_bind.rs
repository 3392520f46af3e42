//! Who is bound to which connection: bodiless SENDs, URIs, one connection or many, loss and restoring.

use std::time::Duration;

use ringfork::{
    ids::LegId,
    msrp::{Command, Event, Failure, Finish, LegPeer, Matching, Output, Role, read_session_id},
};

use crate::harness::{ADDRESS, Leg, Send, World, bare, each_way, settings};

pub(crate) fn active(peer: &mut LegPeer) {
    peer.role = Role::Active;
    peer.connect_to = Some("192.0.2.7:7000".parse().unwrap());
}

// [MSRP-BARE-01] [TERM-MEDIA-05] [TERM-MEDIA-06] [TERM-MEDIA-07] [MSRP-CHUNK-10] When we are active we connect to where the peer's
// SDP says, and the first bytes are a SEND for that session, without a body and without Content-Type.
#[test]
fn active_connects_and_sends_at_once() {
    each_way(|w| {
        let session = w.open();
        let leg = w.unbound_leg(session, 1, active);
        assert!(
            w.outputs
                .iter()
                .any(|o| matches!(o, Output::Connect { session: s, leg, to }
            if *s == session && *leg == LegId(1) && *to == "192.0.2.7:7000".parse().unwrap()))
        );
        let conn = w.connected(session, LegId(1));
        let first = w.one(conn);
        assert_eq!(first.what, "SEND");
        assert_eq!(first.body, None);
        assert_eq!(first.header("Content-Type"), None);
        assert!(matches!(first.header("Byte-Range"), None | Some("1-0/0")));
        assert_eq!(first.header("To-Path"), Some(leg.path.as_str()));
        assert_eq!(first.header("From-Path"), Some(leg.own.as_str()));
        assert_eq!(
            w.events,
            [Event::Bound {
                session,
                leg: LegId(1)
            }]
        );
        let leg = Leg { conn, ..leg };
        w.respond(&leg, &first, 200);
        let sender = w.leg(session, 0);
        let send = Send::new(w, "over our connection");
        w.feed(sender.conn, &send.on(&sender));
        assert_eq!(w.one(conn).text(), "over our connection");
        w.end(session);
    });
}

// [MSRP-BARE-02] A bodiless SEND binds and keeps alive: answered, not passed on, no activity.
#[test]
fn a_bodiless_send_is_answered_and_no_more() {
    each_way(|w| {
        let legs = w.session(2);
        w.command(Command::SettleOnActivity {
            session: legs[0].session,
            on: true,
        });
        for leg in &legs {
            let tid = w.id("alive");
            w.feed(leg.conn, &bare(&tid, leg));
            let answer = w.one(leg.conn);
            assert_eq!((answer.tid, answer.what.as_str()), (tid, "200 OK"));
        }
        for leg in &legs {
            assert!(w.read(leg.conn).is_empty());
        }
        assert!(w.events.is_empty(), "{:?}", w.events);
        w.end(legs[0].session);
    });
}

// [MSRP-URI-01] What we give out has a scheme, a port, a session-id of 28 characters that names the leg, and `;tcp`.
#[test]
fn the_uri_that_we_give_out() {
    let mut w = World::plain();
    let session = w.open();
    let own = w.offer(session, LegId(3), "*", "*");
    let id = own
        .strip_prefix(&format!("msrp://{ADDRESS}/"))
        .and_then(|r| r.strip_suffix(";tcp"))
        .unwrap();
    let named = read_session_id(id.as_bytes()).unwrap();
    assert_eq!(
        (named.session, named.leg, named.shard),
        (session, LegId(3), settings().shard)
    );
    let another = w.offer(session, LegId(4), "*", "*");
    assert_ne!(own, another);
}

// [MSRP-URI-02] To-Path is compared by RFC 4975 §6.1: scheme, host and transport without case, the session-id with it.
#[test]
fn to_path_is_compared_as_a_uri() {
    each_way(|w| {
        let legs = w.session(1);
        let upper = Leg {
            own: legs[0]
                .own
                .replace("msrp://", "MSRP://user@")
                .replace(";tcp", ";TCP;x=y"),
            ..legs[0].clone()
        };
        let send = Send::new(w, "same");
        w.feed(legs[0].conn, &send.on(&upper));
        assert_eq!(w.one(legs[1].conn).text(), "same");
        for wrong in [
            legs[0].own.replace(":2855", ":2856"),
            legs[0].own.to_uppercase(),
            legs[0].own.replace("127.0.0.1", "127.0.0.2"),
            legs[0].own.replace("msrp://", "msrps://"),
        ] {
            let other = Leg {
                own: wrong.clone(),
                ..legs[0].clone()
            };
            let send = Send::new(w, "other");
            w.feed(legs[0].conn, &send.on(&other));
            assert_eq!(w.answer(legs[0].conn, &send.tid), Some(481), "{wrong}");
        }
        assert!(w.read(legs[1].conn).is_empty());
        w.end(legs[0].session);
    });
}

// By session-id alone, where the leg is matched so: a middlebox may write another address (RFC 6714; legacy matching).
#[test]
fn to_path_by_session_id_alone() {
    each_way(|w| {
        let session = w.open();
        let sender = w.leg_like(session, 0, |p| p.matching = Matching::SessionId);
        let device = w.leg(session, 1);
        let rewritten = Leg {
            own: sender.own.replace("127.0.0.1:2855", "box.example.net:9"),
            path: sender.path.replace("peer0.example.com", "10.0.0.1"),
            ..sender.clone()
        };
        let send = Send::new(w, "through a box");
        w.feed(sender.conn, &send.on(&rewritten));
        assert_eq!(w.one(device.conn).text(), "through a box");
        w.end(session);
    });
}

// [MSRP-URI-03] An unknown session-id, two URIs, or somebody else's: 481. [MSRP-RSP-02] Not with Failure-Report no.
#[test]
fn a_to_path_that_is_nobodys_gets_481() {
    each_way(|w| {
        let legs = w.session(1);
        let id = legs[0].own.rsplit('/').next().unwrap().to_owned();
        let guessed = legs[0].own.replace(&id[14..28], "AAAAAAAAAAAAAA");
        for to in [
            format!("msrp://{ADDRESS}/unknown;tcp"),
            guessed,
            format!("{} {}", legs[0].own, legs[0].own),
            format!("msrp://{ADDRESS};tcp"),
            // A shard that does not exist.
            legs[0].own.replace(&id[..1], "9"),
        ] {
            let leg = Leg {
                own: to.clone(),
                ..legs[0].clone()
            };
            let send = Send::new(w, "lost");
            w.feed(legs[0].conn, &send.on(&leg));
            let answer = w.one(legs[0].conn);
            assert_eq!((&answer.tid, answer.code()), (&send.tid, Some(481)), "{to}");
            let quiet = Send::new(w, "lost").extra("Failure-Report: no");
            w.feed(legs[0].conn, &quiet.on(&leg));
            assert!(w.read(legs[0].conn).is_empty());
        }
        assert!(w.read(legs[1].conn).is_empty());
        w.end(legs[0].session);
    });
}

// [MSRP-URI-04] The right URI on a second connection: 506, the first goes on.
#[test]
fn a_second_connection_gets_506() {
    each_way(|w| {
        let legs = w.session(1);
        let thief = w.accept();
        let send = Send::new(w, "mine");
        w.feed(thief, &send.on(&legs[0]));
        assert_eq!(w.answer(thief, &send.tid), Some(506));
        assert!(w.read(legs[1].conn).is_empty());
        let send = Send::new(w, "undisturbed");
        w.feed(legs[0].conn, &send.on(&legs[0]));
        assert_eq!(w.one(legs[1].conn).text(), "undisturbed");
        w.end(legs[0].session);
    });
}

// [MSRP-URI-05] A path of two URIs: To-Path lists both, in order; the response of a SEND goes to the first of its From-Path.
#[test]
fn a_peer_behind_a_relay() {
    each_way(|w| {
        let session = w.open();
        let path = "msrp://relay.example.com:2855/abc;tcp msrp://dev.example.com:7001/d1;tcp";
        let sender = w.leg(session, 0);
        let device = w.leg_like(session, 1, |p| p.path = path.as_bytes().into());
        let send = Send::new(w, "relayed");
        w.feed(sender.conn, &send.on(&sender));
        let got = w.one(device.conn);
        assert_eq!(got.header("To-Path"), Some(path));
        let back = Send::new(w, "back");
        w.feed(device.conn, &back.on(&device));
        let answer = w.one(device.conn);
        assert_eq!(
            answer.header("To-Path"),
            Some("msrp://relay.example.com:2855/abc;tcp")
        );
        w.end(session);
    });
}

// [MSRP-CONN-01] A second session to the same peer address opens no new connection; its first bytes there are its own SEND.
#[test]
fn a_connection_is_used_again() {
    let mut w = World::plain();
    let first = w.open();
    w.unbound_leg(first, 1, active);
    let conn = w.connected(first, LegId(1));
    w.read(conn);
    w.outputs.clear();
    let second = w.open();
    let leg = w.unbound_leg(second, 2, active);
    assert!(w.outputs.is_empty(), "{:?}", w.outputs);
    let got = w.one(conn);
    assert_eq!(got.header("To-Path"), Some(leg.path.as_str()));
    assert_eq!(w.plane.leg_view(second, LegId(2)).unwrap().state, "bound");
    // The first session ends; the second keeps the connection.
    let leg = Leg { conn, ..leg };
    w.respond(&leg, &got, 200);
    w.command(Command::Close { session: first });
    w.pass(Duration::from_secs(100));
    assert!(!w.peers[conn].closed);
    w.end(second);
}

// [MSRP-CONN-01] While the connection is being opened, too.
#[test]
fn a_connection_that_is_being_opened_is_shared() {
    let mut w = World::plain();
    let (one, two) = (w.open(), w.open());
    w.unbound_leg(one, 1, active);
    let conn = w.connecting(one, LegId(1));
    w.outputs.clear();
    w.unbound_leg(two, 2, active);
    assert!(w.outputs.is_empty(), "{:?}", w.outputs);
    assert_eq!(w.plane.leg_view(two, LegId(2)).unwrap().state, "connecting");
    w.up(conn);
    assert_eq!(w.sends(conn).len(), 2, "a SEND for each session");
    w.drop_conn(conn);
    // It is gone: the next session opens its own.
    let three = w.open();
    w.unbound_leg(three, 1, active);
    assert!(matches!(w.outputs[..], [Output::Connect { .. }]));
    w.end_all(&[one, two, three]);
}

// [MSRP-CONN-02] A shared connection is lost: each of its sessions sees it, and no other.
#[test]
fn a_lost_connection_fails_its_sessions() {
    each_way(|w| {
        let one = w.session(1);
        let other_session = w.open();
        let mut shared = w.unbound_leg(other_session, 1, |_| ());
        shared.conn = one[1].conn;
        w.bind(&shared);
        let third = w.session(1);
        w.events.clear();
        w.drop_conn(one[1].conn);
        let failed = |session, leg| Event::Failed {
            session,
            leg,
            why: Failure::ConnectionLost,
        };
        assert_eq!(
            w.events,
            [
                failed(one[1].session, LegId(1)),
                failed(other_session, LegId(1))
            ]
        );
        let send = Send::new(w, "untouched");
        w.feed(third[0].conn, &send.on(&third[0]));
        assert_eq!(w.one(third[1].conn).text(), "untouched");
        w.end_all(&[one[0].session, other_session, third[0].session]);
    });
}

// [MSRP-CONN-03] [TERM-MEDIA-17] A connection is kept while sessions use it and some time after, then closed.
#[test]
fn an_unused_connection_is_closed_later() {
    let mut w = World::plain();
    let legs = w.session(1);
    w.pass(Duration::from_secs(600));
    assert!(!w.peers[legs[0].conn].closed, "in use");
    w.command(Command::End {
        session: legs[0].session,
        leg: LegId(1),
        how: Finish::Gone,
    });
    let send = Send::new(&mut w, "after the end");
    w.feed(legs[1].conn, &send.on(&legs[1]));
    assert_eq!(w.answer(legs[1].conn, &send.tid), Some(481));
    w.pass(Duration::from_secs(59));
    assert!(!w.peers[legs[1].conn].closed, "idle for less than a minute");
    w.pass(Duration::from_secs(2));
    assert!(w.peers[legs[1].conn].closed);
    assert!(!w.peers[legs[0].conn].closed);
    w.end(legs[0].session);
}

// [MSRP-CONN-04] Connect and say nothing, or name nobody: closed after the limit.
#[test]
fn an_unbound_connection_is_closed() {
    each_way(|w| {
        let (silent, stranger) = (w.accept(), w.accept());
        let nobody = Leg {
            own: format!("msrp://{ADDRESS}/nobody;tcp"),
            path: "msrp://x.example.com:1/y;tcp".to_owned(),
            ..w.session(0)[0].clone()
        };
        let send = Send::new(w, "?");
        w.feed(stranger, &send.on(&nobody));
        assert_eq!(w.answer(stranger, &send.tid), Some(481));
        w.pass(Duration::from_secs(29));
        assert!(!w.peers[silent].closed && !w.peers[stranger].closed);
        w.pass(Duration::from_secs(2));
        assert!(w.peers[silent].closed && w.peers[stranger].closed);
    });
}

// [MSRP-CONN-05] The sender's connection is lost and restored: what it sends again under a Message-ID that was delivered is
// answered and not passed on; what was not delivered is.
#[test]
fn a_restored_sender_repeats() {
    each_way(|w| {
        let legs = w.session(1);
        let had = Send::new(w, "delivered");
        w.feed(legs[0].conn, &had.on(&legs[0]));
        assert_eq!(w.ack_all(&legs[1]).len(), 1);
        w.drop_conn(legs[0].conn);
        assert!(w.events.contains(&Event::Failed {
            session: legs[0].session,
            leg: LegId(0),
            why: Failure::ConnectionLost
        }));
        w.command(Command::Start {
            session: legs[0].session,
            leg: LegId(0),
            peer: World::peer(&legs[0].path),
        });
        let again = Leg {
            conn: w.accept(),
            ..legs[0].clone()
        };
        let repeat = Send::new(w, "delivered").id(&had.id);
        w.feed(again.conn, &repeat.on(&again));
        assert_eq!(w.answer(again.conn, &repeat.tid), Some(200));
        assert!(w.read(legs[1].conn).is_empty(), "not doubled");
        let fresh = Send::new(w, "fresh");
        w.feed(again.conn, &fresh.on(&again));
        assert_eq!(w.ack_all(&legs[1])[0].text(), "fresh");
        assert_eq!(w.answer(again.conn, &fresh.tid), Some(200));
        w.end(legs[0].session);
    });
}

// [MSRP-CONN-05] What the originator had acknowledged before his connection was lost does not come again, also where his 200 was the
// last thing on it; what he had not, does.
#[test]
fn what_was_acknowledged_does_not_come_again() {
    each_way(|w| {
        let legs = w.session(1);
        for text in ["had", "unsure"] {
            let send = Send::new(w, text);
            w.feed(legs[1].conn, &send.on(&legs[1]));
        }
        let got = w.sends(legs[0].conn);
        w.respond(&legs[0], &got[0], 200);
        w.drop_conn(legs[0].conn);
        w.command(Command::Update {
            session: legs[0].session,
            leg: LegId(0),
            peer: World::peer(&legs[0].path),
        });
        let again = Leg {
            conn: w.accept(),
            ..legs[0].clone()
        };
        w.feed(again.conn, &bare("hereIam1", &again));
        let texts: Vec<String> = w.ack_all(&again).iter().map(|m| m.text()).collect();
        assert_eq!(texts, ["unsure"]);
        w.end(legs[0].session);
    });
}

// [MSRP-CONN-05] What a device said while the originator was away reaches him once he is back, under the same Message-ID.
#[test]
fn a_restored_originator_gets_what_waited() {
    each_way(|w| {
        let legs = w.session(1);
        let lost = Send::new(w, "on its way");
        w.feed(legs[1].conn, &lost.on(&legs[1]));
        assert_eq!(w.sends(legs[0].conn).len(), 1, "not acknowledged");
        w.drop_conn(legs[0].conn);
        let waits = Send::new(w, "said meanwhile");
        w.feed(legs[1].conn, &waits.on(&legs[1]));
        w.command(Command::Update {
            session: legs[0].session,
            leg: LegId(0),
            peer: World::peer(&legs[0].path),
        });
        let again = Leg {
            conn: w.accept(),
            ..legs[0].clone()
        };
        w.feed(again.conn, &bare("hereIam1", &again));
        let got = w.ack_all(&again);
        let texts: Vec<String> = got.iter().map(|m| m.text()).collect();
        assert_eq!(texts, ["on its way", "said meanwhile"]);
        assert_eq!(got[0].header("Message-ID"), Some(lost.id.as_str()));
        assert_eq!(w.plane.gauges().messages, 0);
        w.end(legs[0].session);
    });
}

// [COMEDIA-07] Neither side connects: the leg fails after the limit; its messages are told.
#[test]
fn a_leg_that_never_connects_fails() {
    let mut w = World::plain();
    let session = w.open();
    let sender = w.leg(session, 0);
    w.unbound_leg(session, 1, |_| ());
    w.events.clear();
    let send = Send::new(&mut w, "anybody?");
    w.feed(sender.conn, &send.on(&sender));
    w.pass(Duration::from_secs(29));
    assert_eq!(w.answer(sender.conn, &send.tid), Some(200), "kept");
    assert!(w.events.is_empty());
    w.pass(Duration::from_secs(2));
    assert_eq!(
        w.events[0],
        Event::Failed {
            session,
            leg: LegId(1),
            why: Failure::NotConnected
        }
    );
    assert!(matches!(&w.events[1], Event::Undelivered { body, .. } if body == b"anybody?"));
    assert_eq!(
        w.one(sender.conn).header("Status"),
        Some("000 408 Request Timeout")
    );
    w.end(session);
}

// A message that comes while a device's connection is still coming up is kept and sent once it is, in order.
#[test]
fn a_message_waits_for_the_connection() {
    each_way(|w| {
        let session = w.open();
        let sender = w.leg(session, 0);
        let fast = w.leg(session, 1);
        let mut late = w.unbound_leg(session, 2, |_| ());
        let mut bodies = Vec::new();
        for n in 0..3usize {
            let send = Send::new(w, "x".repeat(n * 3_000 + 5));
            w.feed(sender.conn, &send.on(&sender));
            bodies.push(send.body);
        }
        assert_eq!(w.ack_all(&fast).len(), 3);
        late.conn = w.accept();
        w.feed(late.conn, &bare("bind1234", &late));
        let got = w.ack_all(&late);
        assert_eq!(
            got.into_iter().map(|m| m.body.unwrap()).collect::<Vec<_>>(),
            bodies
        );
        let next = Send::new(w, "next");
        w.feed(sender.conn, &next.on(&sender));
        assert_eq!(w.ack_all(&late)[0].text(), "next");
        w.ack_all(&fast);
        assert_eq!(w.plane.gauges().messages, 0);
        w.end(session);
    });
}

// With no leg at all a message is kept for 30 s; the first leg gets it.
#[test]
fn a_message_waits_for_a_first_leg() {
    each_way(|w| {
        let session = w.open();
        let sender = w.leg(session, 0);
        let send = Send::new(w, "first words");
        w.feed(sender.conn, &send.on(&sender));
        w.pass(Duration::from_secs(20));
        assert_eq!(w.answer(sender.conn, &send.tid), Some(200));
        let device = w.leg_after(session, 1);
        let got = w.ack_all(&device);
        assert_eq!((got.len(), got[0].text().as_str()), (1, "first words"));
        let lost = Send::new(w, "last words");
        w.command(Command::End {
            session,
            leg: LegId(1),
            how: Finish::Gone,
        });
        w.events.clear();
        w.feed(sender.conn, &lost.on(&sender));
        w.pass(Duration::from_secs(31));
        assert!(
            matches!(&w.events[..], [Event::Undelivered { body, .. }] if body == b"last words")
        );
        let told = w.read(sender.conn);
        assert_eq!(told[0].code(), Some(200));
        assert_eq!(told[1].header("Status"), Some("000 408 Request Timeout"));
        w.end(session);
    });
}

// [MSRP-SDP-02] A refresh with the same path and role touches nothing.
#[test]
fn a_refresh_touches_nothing() {
    let mut w = World::plain();
    let legs = w.session(1);
    for leg in &legs {
        w.command(Command::Update {
            session: leg.session,
            leg: leg.leg,
            peer: World::peer(&leg.path),
        });
    }
    assert!(w.events.is_empty() && w.outputs.is_empty());
    let send = Send::new(&mut w, "same connection");
    w.feed(legs[0].conn, &send.on(&legs[0]));
    assert_eq!(w.one(legs[1].conn).text(), "same connection");
}

// A new path is a new connection; what had not been acknowledged is sent again there.
#[test]
fn a_new_path_moves_the_leg() {
    let mut w = World::plain();
    let legs = w.session(1);
    let send = Send::new(&mut w, "sent before");
    w.feed(legs[0].conn, &send.on(&legs[0]));
    assert_eq!(w.sends(legs[1].conn).len(), 1);
    let path = "msrp://elsewhere.example.com:9/new;tcp";
    w.command(Command::Update {
        session: legs[1].session,
        leg: legs[1].leg,
        peer: World::peer(path),
    });
    let moved = Leg {
        conn: w.accept(),
        path: path.to_owned(),
        ..legs[1].clone()
    };
    w.feed(moved.conn, &bare("moved123", &moved));
    let got = w.ack_all(&moved);
    assert_eq!((got.len(), got[0].text().as_str()), (1, "sent before"));
    assert_eq!(w.answer(legs[0].conn, &send.tid), Some(200));
}

// More connections than there may be: refused by reset, the others go on.
#[test]
fn too_many_connections() {
    let mut few = settings();
    few.connections_max = 3;
    let mut w = World::new(few, crate::harness::Cuts::None);
    let legs = w.session(2);
    let one_too_many = w.accept();
    assert!(w.peers[one_too_many].closed);
    assert_eq!(w.plane.counters().refused_full, 1);
    let send = Send::new(&mut w, "fine");
    w.feed(legs[0].conn, &send.on(&legs[0]));
    assert_eq!(w.one(legs[1].conn).text(), "fine");
}
