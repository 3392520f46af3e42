//! How connections begin and end: by the peer, by the world, by time, for want of room.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use ringfork::{
    ids::ConnId,
    io::Settings,
    shard::{ConnectError, Effect, End},
};
use rustix::net::sockopt;

use crate::rig::{
    Event, Kept, Mode, Rig, Script, both_ways, client, echoed, patiently, pattern, settings,
};

fn reset(stream: TcpStream) {
    sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    drop(stream);
}

fn connect(rig: &mut Rig, to: SocketAddr) -> ConnId {
    let world = rig.driver.world();
    let conn = world.names.insert(Kept::default());
    world.outbox.add(conn);
    world.effects.push_back(Effect::Connect { conn, to });
    conn
}

fn outcome(rig: &mut Rig, conn: ConnId) -> Result<SocketAddr, ConnectError> {
    let mut seen = None;
    rig.until("connected or not", |d| {
        seen = d.world().events.iter().find_map(|e| match e {
            Event::Connected(id, outcome) if *id == conn => Some(*outcome),
            _ => None,
        });
        seen.is_some()
    });
    seen.unwrap()
}

#[test]
fn a_peer_that_resets_is_told_as_reset() {
    for features in both_ways() {
        let mut rig = Rig::new(settings(), features, Script::new(Mode::Echo));
        let (stream, id) = rig.client();
        reset(stream);
        rig.until("reset", |d| d.world().has(Event::Ended(id, End::Reset)));
        rig.until("gone", |d| d.connections() == 0);
    }
}

#[test]
fn a_peer_that_resets_while_it_is_waited_for_is_told_as_reset() {
    for features in both_ways() {
        let mut rig = Rig::new(settings(), features, Script::new(Mode::Note));
        let (stream, id) = rig.client();
        rig.say(id, &pattern(0, 16 << 20));
        rig.until("blocked", |d| d.counters().short_sends > 0);
        reset(stream);
        rig.until("reset", |d| d.world().has(Event::Ended(id, End::Reset)));
        rig.until("gone", |d| d.connections() == 0);
        assert_eq!(rig.driver.counters().impossible, 0);
    }
}

#[test]
fn what_was_queued_for_a_peer_that_stopped_sending_still_reaches_it() {
    for features in both_ways() {
        for len in [5, 8 << 20] {
            let mut rig = Rig::new(settings(), features, Script::new(Mode::Echo));
            let (stream, id) = rig.client();
            let bytes = pattern(1, len);
            let back = rig.during(|| {
                std::thread::scope(|scope| {
                    scope.spawn(|| {
                        (&stream).write_all(&bytes).unwrap();
                        stream.shutdown(Shutdown::Write).unwrap();
                    });
                    let mut back = Vec::new();
                    (&stream).read_to_end(&mut back).unwrap();
                    back
                })
            });
            assert!(back == bytes, "{len}");
            rig.until("ended", |d| d.world().has(Event::Ended(id, End::Closed)));
            rig.until("gone", |d| d.connections() == 0);
        }
    }
}

#[test]
fn a_peer_that_stopped_sending_and_does_not_read_is_cut_off_in_time() {
    for features in both_ways() {
        let quick = Settings {
            flush_timeout: Duration::from_millis(100),
            ..settings()
        };
        let mut rig = Rig::new(quick, features, Script::new(Mode::Note));
        let (stream, id) = rig.client();
        rig.say(id, &pattern(0, 16 << 20));
        rig.until("blocked", |d| d.counters().short_sends > 0);
        stream.shutdown(Shutdown::Write).unwrap();
        rig.until("ended", |d| d.world().has(Event::Ended(id, End::Closed)));
        assert_eq!(rig.driver.counters().flush_timeouts, 1);
        rig.until("gone", |d| d.connections() == 0);
    }
}

#[test]
fn closing_in_order_sends_what_waits_even_to_a_peer_that_goes_on_talking() {
    for (features, settled) in both_ways()
        .into_iter()
        .flat_map(|f| [(f, true), (f, false)])
    {
        // Too long to help: the peer's end must be seen.
        let slow = Settings {
            flush_timeout: Duration::from_secs(30),
            ..settings()
        };
        let mut rig = Rig::new(slow, features, Script::new(Mode::Note));
        rig.driver.world().settled = settled;
        let (stream, id) = rig.client();
        let bytes = pattern(3, 8 << 20);
        rig.say(id, &bytes);
        rig.driver.world().effects.push_back(Effect::Close {
            conn: id,
            flush: true,
        });
        let back = rig.during(|| {
            // Bytes that nobody reads any more must not turn the close into a reset.
            (&stream).write_all(&[0; 100_000]).unwrap();
            let mut back = Vec::new();
            (&stream).read_to_end(&mut back).unwrap();
            back
        });
        assert!(back == bytes);
        assert_eq!(rig.driver.world().total, 0, "nothing is received after it");
        assert!(rig.driver.world().has(Event::Ended(id, End::Ours)));
        drop(stream);
        rig.until("gone", |d| d.connections() == 0);
        assert_eq!(rig.driver.counters().flush_timeouts, 0);
    }
}

#[test]
fn closing_in_order_does_not_wait_for_ever() {
    for features in both_ways() {
        let quick = Settings {
            flush_timeout: Duration::from_millis(100),
            ..settings()
        };
        let mut rig = Rig::new(quick, features, Script::new(Mode::Note));
        let (mut stream, id) = rig.client();
        rig.say(id, &pattern(0, 16 << 20));
        let close = Effect::Close {
            conn: id,
            flush: true,
        };
        rig.driver.world().effects.push_back(close);
        rig.until("cut off", |d| d.world().has(Event::Ended(id, End::Ours)));
        rig.until("gone", |d| d.connections() == 0);
        assert_eq!(rig.driver.counters().flush_timeouts, 1);
        let error = stream.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        // And one that has everything but does not close: we do.
        let (_stream, id) = rig.client();
        let close = Effect::Close {
            conn: id,
            flush: true,
        };
        rig.driver.world().effects.push_back(close);
        rig.until("ended", |d| d.world().has(Event::Ended(id, End::Ours)));
        rig.until("gone", |d| d.connections() == 0);
    }
}

#[test]
fn an_answer_and_an_orderly_close_in_one_turn_arrive_as_both() {
    for features in both_ways() {
        let mut rig = Rig::new(settings(), features, Script::new(Mode::EchoThenClose));
        let (mut stream, id) = rig.client();
        stream.write_all(b"only this").unwrap();
        let mut back = Vec::new();
        rig.during(|| stream.read_to_end(&mut back).unwrap());
        assert_eq!(back, b"only this");
        assert!(rig.driver.world().has(Event::Ended(id, End::Ours)));
        drop(stream);
        rig.until("gone", |d| d.connections() == 0);
    }
}

#[test]
fn closing_at_once_resets_and_the_slot_s_next_user_gets_only_its_own() {
    for features in both_ways() {
        let mut rig = Rig::new(settings(), features, Script::new(Mode::Note));
        for round in 0..50_u8 {
            let (mut stream, id) = rig.client();
            stream.write_all(&[round; 100]).unwrap();
            // Its bytes may be under way when it is closed.
            rig.driver.world().effects.push_back(Effect::Close {
                conn: id,
                flush: false,
            });
            rig.until("ended", |d| d.world().has(Event::Ended(id, End::Ours)));
            let (mut next, id) = rig.client();
            next.write_all(&[100 + round; 10]).unwrap();
            rig.until("its own", |d| d.world().names[id].bytes.len() == 10);
            assert_eq!(rig.driver.world().names[id].bytes, [100 + round; 10]);
            let gone = patiently(|| stream.read(&mut [0; 1])).unwrap_err();
            assert_eq!(gone.kind(), ErrorKind::ConnectionReset);
            drop(next);
            rig.until("gone", |d| d.connections() == 0);
        }
        assert_eq!(rig.driver.counters().impossible, 0);
    }
}

#[test]
fn a_connection_that_we_make_works_like_any_other() {
    for features in both_ways() {
        let mut rig = Rig::new(settings(), features, Script::new(Mode::Echo));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let id = connect(&mut rig, listener.local_addr().unwrap());
        // Queued before it is there.
        rig.say(id, b"first");
        let local = outcome(&mut rig, id).unwrap();
        let (mut peer, from) = listener.accept().unwrap();
        assert_eq!(from, local);
        peer.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let mut first = [0; 5];
        rig.during(|| peer.read_exact(&mut first).unwrap());
        assert_eq!(&first, b"first");
        let bytes = pattern(4, 100_000);
        assert!(rig.during(|| echoed(&peer, &bytes)) == bytes);
        drop(peer);
        rig.until("ended", |d| d.world().has(Event::Ended(id, End::Closed)));
        rig.until("gone", |d| d.connections() == 0);
    }
}

#[test]
fn a_connection_that_cannot_be_made_says_why() {
    for features in both_ways() {
        let quick = Settings {
            connect_timeout: Duration::from_millis(100),
            connections: 8,
            ..settings()
        };
        let mut rig = Rig::new(quick, features, Script::new(Mode::Echo));
        // Nobody there.
        let closed = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let id = connect(&mut rig, closed);
        assert_eq!(outcome(&mut rig, id), Err(ConnectError::Refused));
        // Somebody there who does not answer: a listener whose queue is full.
        let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
        rustix::net::listen(&deaf, 0).unwrap();
        let addr = deaf.local_addr().unwrap();
        let mut waiting = Vec::new();
        while let Ok(s) = TcpStream::connect_timeout(&addr, Duration::from_millis(50)) {
            waiting.push(s);
            assert!(waiting.len() < 16);
        }
        let id = connect(&mut rig, addr);
        assert_eq!(outcome(&mut rig, id), Err(ConnectError::Unreachable));
        // One that the world gives up on meanwhile.
        let id = connect(&mut rig, addr);
        rig.driver.world().effects.push_back(Effect::Close {
            conn: id,
            flush: true,
        });
        rig.until("given up", |d| d.world().has(Event::Ended(id, End::Ours)));
        rig.until("gone", |d| d.connections() == 0);
        // No way.
        let id = connect(&mut rig, "[::ffff:0:0]:9".parse().unwrap());
        assert!(outcome(&mut rig, id).is_err());
        // No room.
        let _clients: Vec<_> = (0..8).map(|_| rig.client()).collect();
        let id = connect(&mut rig, closed);
        assert_eq!(outcome(&mut rig, id), Err(ConnectError::Exhausted));
    }
}

#[test]
fn above_the_bound_the_newest_is_refused_and_room_is_used_again() {
    for features in both_ways() {
        let two = Settings {
            connections: 2,
            ..settings()
        };
        let mut rig = Rig::new(two, features, Script::new(Mode::Echo));
        let (first, _) = rig.client();
        let (second, _) = rig.client();
        let mut third = client(rig.tcp);
        rig.until("refused", |d| d.counters().refused == 1);
        let error = patiently(|| third.read(&mut [0; 1])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        drop(first);
        rig.until("room", |d| d.connections() == 1);
        let (fourth, _) = rig.client();
        for stream in [&second, &fourth] {
            assert_eq!(rig.during(|| echoed(stream, b"still here")), b"still here");
        }
    }
}
