//! Streams and datagrams as they should go, and a peer that is slow, greedy or too talkative.

use std::{
    io::{Read, Write},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use ringfork::{
    ids::SocketId,
    io::{Feature, Features, Settings},
    shard::{Effect, End},
};

use crate::rig::{
    Event, Mode, Rig, Script, allocations, both_ways, client, echoed, patiently, pattern, settings,
};

#[test]
fn what_many_connections_send_comes_back_whole_and_in_order() {
    for features in both_ways() {
        let mut rig = Rig::new(settings(), features, Script::new(Mode::Echo));
        let addr = rig.tcp;
        rig.during(|| {
            std::thread::scope(|scope| {
                for i in 0..20_u32 {
                    scope.spawn(move || {
                        let stream = client(addr);
                        for (k, len) in [1, 200, 70_000, 3, 300_000].into_iter().enumerate() {
                            let bytes = pattern(i * 1_000_000 + k as u32, len);
                            assert!(echoed(&stream, &bytes) == bytes, "{i} {len}");
                        }
                    });
                }
            });
        });
        let c = rig.driver.counters();
        assert_eq!((c.accepted, c.impossible), (20, 0), "{c:?}");
        assert_eq!(c.bytes_in, c.bytes_out);
        assert_eq!(c.bytes_in, 20 * 370_204);
        rig.until("all gone", |d| d.connections() == 0);
        assert_eq!(rig.driver.counters().closed, 20);
    }
}

#[test]
fn a_first_request_is_received_singly_and_multishot_begins_when_the_world_has_settled() {
    for features in both_ways() {
        let mut rig = Rig::new(settings(), features, Script::new(Mode::Echo));
        rig.driver.world().settled = false;
        let (stream, _) = rig.client();
        for n in 0..3 {
            let bytes = pattern(n, 100);
            assert_eq!(rig.during(|| echoed(&stream, &bytes)), bytes);
        }
        rig.driver.world().settled = true;
        for n in 0..3 {
            let bytes = pattern(n, 100);
            assert_eq!(rig.during(|| echoed(&stream, &bytes)), bytes);
        }
    }
}

/// With and without what later kernels have, a shard that sleeps as soon as there is nothing to do and one that stays awake for
/// a while; and how many calls a turn it may make.
fn each_way() -> impl Iterator<Item = (Features, (Settings, u64))> {
    both_ways().into_iter().flat_map(|features| {
        [(Duration::ZERO, 1), (Duration::from_micros(200), 2)].map(|(spin, calls)| {
            let settings = Settings { spin, ..settings() };
            (features, (settings, calls))
        })
    })
}

#[test]
fn an_echo_costs_one_system_call_and_no_allocation() {
    for (features, (settings, calls)) in each_way() {
        let mut rig = Rig::new(settings, features, Script::new(Mode::Echo));
        let (mut stream, _) = rig.client();
        let warm = AtomicBool::new(false);
        let mut start = None;
        std::thread::scope(|scope| {
            let client = scope.spawn(|| {
                let mut back = [0; 200];
                for n in 0..1200 {
                    warm.store(n >= 200, Ordering::Release);
                    let bytes = pattern(n, 200);
                    stream.write_all(&bytes).unwrap();
                    stream.read_exact(&mut back).unwrap();
                    assert_eq!(back[..], bytes);
                }
            });
            while !client.is_finished() {
                rig.driver.turn(Some(Duration::from_millis(50))).unwrap();
                if warm.load(Ordering::Acquire) && start.is_none() {
                    start = Some((rig.driver.counters(), allocations()));
                }
            }
        });
        let (before, allocated) = start.unwrap();
        let after = rig.driver.counters();
        let echoes = after.sends - before.sends;
        assert!(echoes > 990, "{echoes}");
        assert_eq!(allocations(), allocated, "{features:?}");
        // It learns of the bytes by the call that sent the ones before; awake, by one of its own. Where sends are not quiet,
        // their own completions end a wait each.
        let a_piece = if features.has(Feature::QuietSends) {
            1
        } else {
            2
        };
        let enters = after.enters - before.enters;
        assert!(
            enters <= echoes * a_piece * calls + 20,
            "{enters} for {echoes}"
        );
    }
}

#[test]
fn a_turn_is_one_system_call_however_many_connections_it_serves() {
    for (features, (settings, calls)) in each_way() {
        let mut rig = Rig::new(settings, features, Script::new(Mode::Echo));
        let clients: Vec<_> = (0..50).map(|_| rig.client().0).collect();
        let before = rig.driver.counters();
        for round in 0..20 {
            let bytes = pattern(round, 64);
            for mut c in &clients {
                c.write_all(&bytes).unwrap();
            }
            let want = before.bytes_out + 50 * 64 * u64::from(round + 1);
            rig.until("echoed", |d| d.counters().bytes_out == want);
            for mut c in &clients {
                let mut back = [0; 64];
                c.read_exact(&mut back).unwrap();
                assert_eq!(back[..], bytes);
            }
        }
        let after = rig.driver.counters();
        let (enters, turns) = (after.enters - before.enters, after.turns - before.turns);
        assert!(
            (turns..=turns * calls).contains(&enters),
            "{enters} io_uring_enter in {turns} turns"
        );
        assert_eq!(after.sends - before.sends, 1000);
        assert!(after.turns - before.turns <= 20 * 6, "{after:?}");
    }
}

#[test]
fn a_reader_that_stops_is_waited_for_and_gets_everything_in_order() {
    for features in both_ways() {
        let mut rig = Rig::new(settings(), features, Script::new(Mode::Note));
        let (stream, id) = rig.client();
        let bytes = pattern(9, 16 << 20);
        rig.say(id, &bytes);
        rig.until("blocked", |d| d.counters().short_sends > 0);
        rig.idle();
        let waiting = rig.driver.world().outbox.backlog(id);
        assert!(waiting > 1 << 20, "{waiting}");
        assert!(!rig.driver.world().has(Event::Drained(id)));
        let c = rig.driver.counters();
        assert!(c.turns < 40, "a blocked connection costs no turns: {c:?}");
        // What is queued meanwhile comes behind it.
        rig.say(id, b"the end");
        let back = rig.during(|| {
            let mut back = vec![0; bytes.len() + 7];
            (&stream).read_exact(&mut back).unwrap();
            back
        });
        assert!(back[..bytes.len()] == bytes && back[bytes.len()..] == *b"the end");
        assert!(rig.driver.world().has(Event::Drained(id)));
        assert_eq!(rig.driver.world().outbox.backlog(id), 0);
        assert_eq!(rig.driver.counters().impossible, 0);
    }
}

#[test]
fn more_parts_than_one_operation_carries_go_out_in_several() {
    for features in both_ways() {
        let mut rig = Rig::new(
            Settings {
                iovecs: 1024,
                ..settings()
            },
            features,
            Script::new(Mode::Note),
        );
        let (mut a, ia) = rig.client();
        let (mut b, ib) = rig.client();
        // Taken in turns, so that no two pieces of one connection lie side by side.
        for n in 0..3000_u32 {
            rig.say(ia, &n.to_le_bytes());
            rig.say(ib, &(n + 1).to_le_bytes());
        }
        rig.idle();
        for (stream, first) in [(&mut a, 0), (&mut b, 1)] {
            let mut back = vec![0; 12_000];
            stream.read_exact(&mut back).unwrap();
            assert!(back == pattern(first, 12_000));
        }
    }
}

#[test]
fn a_tiny_ring_serves_many_connections() {
    for features in both_ways() {
        let tiny = Settings {
            sq_entries: 4,
            cq_entries: 8,
            ..settings()
        };
        let mut rig = Rig::new(tiny, features, Script::new(Mode::Echo));
        let clients: Vec<_> = (0..40).map(|_| rig.client().0).collect();
        for mut c in &clients {
            c.write_all(&pattern(5, 5000)).unwrap();
        }
        rig.until("echoed", |d| d.counters().bytes_out == 40 * 5000);
        for mut c in &clients {
            let mut back = vec![0; 5000];
            c.read_exact(&mut back).unwrap();
            assert!(back == pattern(5, 5000));
        }
        let c = rig.driver.counters();
        assert!(c.sq_full > 0 && c.cq_overflows > 0, "{c:?}");
    }
}

#[test]
fn a_flooder_gets_its_share_and_no_more() {
    for features in both_ways() {
        let mut rig = Rig::new(settings(), features, Script::new(Mode::Note));
        rig.driver.world().log = Some(Vec::new());
        let (flood, flooder) = rig.client();
        let (mut modest, quiet) = rig.client();
        let bytes = pattern(0, 4 << 20);
        rig.during(|| {
            std::thread::scope(|scope| {
                scope.spawn(|| (&flood).write_all(&bytes).unwrap());
                for n in 0..50_u8 {
                    modest.write_all(&[n; 10]).unwrap();
                    std::thread::yield_now();
                }
            });
        });
        rig.until("all in", |d| d.world().total == (4 << 20) + 500);
        let world = rig.driver.world();
        assert!(world.names[flooder].bytes == bytes, "in order, whole");
        assert_eq!(world.names[quiet].bytes.len(), 500);
        let log = world.log.take().unwrap();
        let mut turns: Vec<_> = log.iter().map(|l| l.0).collect();
        turns.dedup();
        for turn in turns {
            let share: usize = log
                .iter()
                .filter(|l| l.0 == turn && l.1 == flooder)
                .map(|l| l.2)
                .sum();
            assert!(share <= 256 << 10, "{share} in one turn");
        }
        assert!(rig.driver.counters().deferred > 0, "there was a flood");
    }
}

#[test]
fn flooders_divide_what_one_would_get() {
    const FLOODERS: usize = 6;
    for features in both_ways() {
        let mut rig = Rig::new(settings(), features, Script::new(Mode::Note));
        rig.driver.world().log = Some(Vec::new());
        let floods: Vec<_> = (0..FLOODERS).map(|_| rig.client()).collect();
        let bytes = pattern(0, 3 << 20);
        rig.during(|| {
            std::thread::scope(|scope| {
                for (stream, _) in &floods {
                    let (mut stream, bytes) = (stream, &bytes);
                    scope.spawn(move || stream.write_all(bytes).unwrap());
                }
            });
        });
        rig.until("all in", |d| {
            d.world().total == (FLOODERS as u64) * (3 << 20)
        });
        let world = rig.driver.world();
        for (_, id) in &floods {
            assert!(world.names[*id].bytes == bytes, "in order, whole");
        }
        let mut turns = std::collections::BTreeMap::<_, usize>::new();
        for (turn, _, len) in world.log.take().unwrap() {
            *turns.entry(turn).or_default() += len;
        }
        // 256, 128, 85 and three times 64 KiB, where they come one after the other into a turn.
        let most = turns.values().max().copied().unwrap_or(0);
        assert!(most <= 662 << 10, "{most} in one turn");
    }
}

#[test]
fn who_comes_late_is_not_behind_all_that_a_flooder_has_waiting() {
    for features in both_ways() {
        let mut rig = Rig::new(settings(), features, Script::new(Mode::Note));
        let (flood, flooder) = rig.client();
        let (mut modest, quiet) = rig.client();
        flood.set_nonblocking(true).unwrap();
        let sent = (&flood).write(&vec![1; 4 << 20]).unwrap();
        assert!(sent > 512 << 10, "{sent}");
        // The first turn takes in more than it hands on.
        rig.until("flooded", |d| d.counters().deferred > 0);
        modest.write_all(b"me too").unwrap();
        for _ in 0..3 {
            rig.driver.turn(Some(Duration::ZERO)).unwrap();
        }
        let world = rig.driver.world();
        assert_eq!(world.names[quiet].bytes, b"me too");
        assert!(world.names[flooder].bytes.len() < sent, "it still waits");
        rig.until("all in", |d| d.world().names[flooder].bytes.len() == sent);
    }
}

#[test]
fn a_paused_connection_brings_nothing_until_it_is_resumed() {
    for features in both_ways() {
        let mut rig = Rig::new(settings(), features, Script::new(Mode::Note));
        let (mut stream, conn) = rig.client();
        stream.write_all(b"before").unwrap();
        rig.until("before", |d| d.world().total == 6);
        rig.driver.world().effects.push_back(Effect::Pause { conn });
        rig.idle();
        stream.write_all(b" after").unwrap();
        rig.idle();
        assert_eq!(rig.driver.world().total, 6);
        rig.driver
            .world()
            .effects
            .push_back(Effect::Resume { conn });
        rig.until("after", |d| d.world().names[conn].bytes == b"before after");
    }
}

#[test]
fn what_has_come_of_a_paused_connection_waits_too_and_so_does_its_end() {
    for features in both_ways() {
        let mut rig = Rig::new(settings(), features, Script::new(Mode::Note));
        let (flood, conn) = rig.client();
        flood.set_nonblocking(true).unwrap();
        let bytes = pattern(0, 4 << 20);
        let sent = (&flood).write(&bytes).unwrap();
        rig.until("more than its share", |d| d.counters().deferred > 0);
        rig.driver.world().effects.push_back(Effect::Pause { conn });
        rig.driver.turn(Some(Duration::ZERO)).unwrap();
        drop(flood);
        let before = rig.driver.world().total;
        assert!((before as usize) < sent, "something waits");
        let turns = rig.driver.counters().turns;
        rig.idle();
        assert_eq!(rig.driver.world().total, before, "nothing is handed in");
        assert!(rig.driver.world().names.contains_key(conn));
        let turns = rig.driver.counters().turns - turns;
        assert!(turns <= 12, "waiting is not spinning: {turns}");
        rig.driver
            .world()
            .effects
            .push_back(Effect::Resume { conn });
        rig.until("the rest", |d| {
            let world = d.world();
            world.total == sent as u64 && world.has(Event::Ended(conn, End::Closed))
        });
        let c = rig.driver.counters();
        assert_eq!((c.bytes_in, c.impossible), (sent as u64, 0), "{c:?}");
    }
}

#[test]
fn timers_are_due_when_they_are_due() {
    let [features, _] = both_ways();
    let mut rig = Rig::new(settings(), features, Script::new(Mode::Note));
    rig.idle();
    let before = rig.driver.counters().turns;
    // The clock of the rig is some ten milliseconds old.
    rig.driver.world().due = Some(ringfork::time::Instant::from_nanos(200_000_000));
    while rig.driver.world().dues == 0 {
        rig.driver.turn(Some(Duration::from_millis(300))).unwrap();
    }
    let turns = rig.driver.counters().turns - before;
    assert!(turns <= 3, "it waited for it: {turns}");
}

#[test]
fn datagrams_come_with_their_source_and_go_where_they_should() {
    for features in both_ways() {
        let mut rig = Rig::new(settings(), features, Script::new(Mode::Echo));
        let socket = rig.datagram_client();
        for len in [0, 1, 200, 1500, 65_507] {
            let bytes = pattern(len as u32, len);
            socket.send(&bytes).unwrap();
            let mut back = vec![0; 65_536];
            let n = rig.during(|| patiently(|| socket.recv(&mut back)).unwrap());
            assert!(back[..n] == bytes, "{len}");
        }
        let c = rig.driver.counters();
        assert_eq!((c.datagrams_in, c.datagrams_out, c.impossible), (5, 5, 0));
    }
}

#[test]
fn messages_do_not_wait_for_all_datagrams_that_came_before_them() {
    for features in both_ways() {
        let mut rig = Rig::new(settings(), features, Script::new(Mode::Echo));
        let (mut stream, _) = rig.client();
        let socket = rig.datagram_client();
        rig.driver.world().takes = Some(Duration::from_millis(1));
        for n in 0..4 {
            socket.send(&[n; 100]).unwrap();
        }
        stream.write_all(b"now").unwrap();
        rig.until("the message", |d| d.world().total == 3);
        // It came with the datagrams, and its copy went out at the end of the turn that heard the first of them.
        assert_eq!(rig.driver.world().heard.len(), 1);
        let mut back = [0; 3];
        patiently(|| stream.read_exact(&mut back)).unwrap();
        rig.until("all", |d| d.world().heard.len() == 4);
        let heard = &rig.driver.world().heard;
        assert!(heard.is_sorted_by(|a, b| a < b), "a turn each: {heard:?}");
        let mut back = [0; 200];
        for n in 0..4 {
            assert_eq!(rig.during(|| socket.recv(&mut back)).unwrap(), 100);
            assert_eq!(back[0], n);
        }
    }
}

#[test]
fn a_truncated_datagram_is_counted_and_dropped() {
    for features in both_ways() {
        let small = Settings {
            datagram_buffers: (8, 1024),
            ..settings()
        };
        let mut rig = Rig::new(small, features, Script::new(Mode::Note));
        let socket = rig.datagram_client();
        socket.send(&[1; 2000]).unwrap();
        socket.send(&[2; 900]).unwrap();
        rig.until("the second", |d| d.counters().datagrams_in == 1);
        assert_eq!(rig.driver.counters().datagrams_truncated, 1);
        assert_eq!(*rig.driver.world().datagrams[0], [2; 900]);
    }
}

#[test]
fn a_datagram_that_cannot_go_is_counted_and_nothing_else_suffers() {
    for features in both_ways() {
        let mut rig = Rig::new(settings(), features, Script::new(Mode::Note));
        let socket = rig.datagram_client();
        let here = socket.local_addr().unwrap();
        let mut to = |addr: &str, len: usize| {
            rig.driver.world().effects.push_back(Effect::Datagram {
                socket: SocketId(1),
                to: addr.parse().unwrap(),
                bytes: vec![7; len].into(),
            });
        };
        to("[::1]:5060", 3); // from an IPv4 socket
        to("127.0.0.1:0", 3);
        to(&here.to_string(), 65_536); // too large
        to(&here.to_string(), 3);
        let mut back = [0; 100];
        assert_eq!(
            rig.during(|| patiently(|| socket.recv(&mut back)).unwrap()),
            3
        );
        let c = rig.driver.counters();
        assert_eq!(
            (c.datagrams_out, c.datagrams_unsent, c.impossible),
            (1, 3, 0)
        );
    }
}

#[test]
fn without_quiet_sends_everything_is_the_same_but_the_number_of_completions() {
    let [found, _] = both_ways();
    let mut completions = [0; 2];
    for (i, features) in [found, found.without(Feature::QuietSends)]
        .into_iter()
        .enumerate()
    {
        let mut rig = Rig::new(settings(), features, Script::new(Mode::Echo));
        let (stream, _) = rig.client();
        for n in 0..10 {
            let bytes = pattern(n, 100);
            assert_eq!(rig.during(|| echoed(&stream, &bytes)), bytes);
        }
        completions[i] = rig.driver.counters().completions;
    }
    if found.has(Feature::QuietSends) {
        assert!(completions[1] >= completions[0] + 10, "{completions:?}");
    }
}
