//! Receive memory: held by the world, run out of, and come back.

use std::{
    io::{ErrorKind, Read, Write},
    time::Duration,
};

use ringfork::{io::Settings, shard::Effect};

use crate::rig::{Event, Mode, Rig, Script, both_ways, echoed, patiently, pattern, settings};

fn little() -> Settings {
    Settings {
        stream_buffers: (8, 4096),
        classic_buffers: (8, 4096),
        datagram_buffers: (4, 4096),
        ..settings()
    }
}

#[test]
fn held_buffers_are_told_the_greediest_is_stopped_and_all_goes_on_when_they_come_back() {
    for features in both_ways() {
        let mut rig = Rig::new(little(), features, Script::new(Mode::Keep));
        let (greedy, id) = rig.client();
        let bytes = pattern(0, 200_000);
        greedy.set_nonblocking(true).unwrap();
        let sent = (&greedy).write(&bytes).unwrap();
        rig.until("pressed or out", |d| {
            let c = d.counters();
            c.pressed > 0 || c.enobufs > 0
        });
        rig.idle();
        let (pinned, total) = rig.driver.pinned();
        assert!(pinned * 4 >= total * 3, "{pinned}");
        let told = rig
            .driver
            .world()
            .events
            .iter()
            .any(|e| matches!(e, Event::Pressure(p, 8) if *p > 4));
        assert!(told, "{:?}", rig.driver.world().events);
        let turns = rig.driver.counters().turns;
        rig.idle();
        let c = rig.driver.counters();
        assert!(
            c.turns - turns <= 11,
            "waiting for memory is not spinning: {c:?}"
        );
        // The world copies what it keeps: everything comes, in order.
        let mut all = Vec::new();
        rig.until("the rest", |d| {
            for slice in d.world().names[id].slices.drain(..) {
                all.extend_from_slice(&slice);
            }
            all.len() == sent
        });
        assert!(all == bytes[..sent]);
        rig.idle();
        assert_eq!(rig.driver.pinned().0, 0);
    }
}

#[test]
fn a_shard_goes_over_the_same_little_memory_again_and_again() {
    for features in both_ways() {
        let mut script = Script::new(Mode::Echo);
        script.pages = Some(std::collections::BTreeSet::new());
        let mut rig = Rig::new(settings(), features, script);
        let clients: Vec<_> = (0..4).map(|_| rig.client().0).collect();
        for round in 0..100 {
            let bytes = pattern(round, 40_000);
            for stream in &clients {
                assert!(rig.during(|| echoed(stream, &bytes)) == bytes);
            }
        }
        let world = rig.driver.world();
        let pages = world.pages.take().unwrap().len();
        assert!(
            pages * 4096 <= 1 << 20,
            "{} bytes were received into {} KiB",
            world.total,
            pages * 4
        );
    }
}

#[test]
fn many_who_speak_at_once_are_all_heard_though_few_buffers_lie_ready() {
    for features in both_ways() {
        // 512 KiB of 8 MiB lie ready.
        let sizes = (512, 16 << 10);
        let many = Settings {
            stream_buffers: sizes,
            classic_buffers: sizes,
            ..settings()
        };
        let mut rig = Rig::new(many, features, Script::new(Mode::Keep));
        let clients: Vec<_> = (0..100).map(|_| rig.client().0).collect();
        for mut stream in &clients {
            stream.write_all(&[7; 20_000]).unwrap();
        }
        rig.until("all heard", |d| d.world().total == 100 * 20_000);
        let c = rig.driver.counters();
        assert_eq!((c.pressed, c.impossible), (0, 0), "{c:?}");
        let (pinned, total) = rig.driver.pinned();
        assert!(pinned * 4 < total * 3 && total == 512, "{pinned}");
    }
}

#[test]
fn one_connection_s_held_buffers_do_not_end_another_s_receives() {
    for features in both_ways() {
        let mut rig = Rig::new(little(), features, Script::new(Mode::Keep));
        let (greedy, id) = rig.client();
        let (mut modest, other) = rig.client();
        greedy.set_nonblocking(true).unwrap();
        let _ = (&greedy).write(&[1; 200_000]).unwrap();
        rig.until("held", |d| {
            let c = d.counters();
            c.pressed > 0 || c.enobufs > 0
        });
        modest.write_all(b"me").unwrap();
        // Some come free, not enough to let the greedy one in again at length.
        rig.until("heard", |d| {
            let world = d.world();
            world.names[id].slices.pop();
            !world.names[other].slices.is_empty()
        });
        assert_eq!(*rig.driver.world().names[other].slices[0], *b"me");
    }
}

#[test]
fn what_waits_on_a_paused_connection_does_not_end_another_s_receives() {
    for features in both_ways() {
        let one_a_turn = Settings {
            fair_bytes: 4096,
            alone_bytes: 4096,
            ..little()
        };
        let mut rig = Rig::new(one_a_turn, features, Script::new(Mode::Note));
        let (flood, conn) = rig.client();
        let (mut modest, other) = rig.client();
        flood.set_nonblocking(true).unwrap();
        let bytes = pattern(0, 30_000);
        let sent = (&flood).write(&bytes).unwrap();
        rig.until("more than its share", |d| d.counters().deferred > 0);
        rig.driver.world().effects.push_back(Effect::Pause { conn });
        rig.idle();
        assert!(
            (rig.driver.world().total as usize) < sent,
            "something waits"
        );
        assert_eq!(rig.driver.pinned().0, 0, "not in receive memory");
        modest.write_all(b"me").unwrap();
        rig.until("heard", |d| d.world().names[other].bytes == b"me");
        rig.driver
            .world()
            .effects
            .push_back(Effect::Resume { conn });
        rig.until("the rest", |d| d.world().names[conn].bytes == bytes[..sent]);
    }
}

#[test]
fn an_echo_never_runs_out_however_small_the_memory() {
    for features in both_ways() {
        let mut rig = Rig::new(little(), features, Script::new(Mode::Echo));
        let clients: Vec<_> = (0..6).map(|_| rig.client().0).collect();
        rig.during(|| {
            std::thread::scope(|scope| {
                for (i, stream) in clients.iter().enumerate() {
                    scope.spawn(move || {
                        let bytes = pattern(i as u32, 300_000);
                        assert!(echoed(stream, &bytes) == bytes, "{i}");
                    });
                }
            });
        });
        rig.idle();
        assert_eq!(rig.driver.pinned().0, 0);
    }
}

#[test]
fn datagram_buffers_run_out_and_come_back() {
    for features in both_ways() {
        let mut rig = Rig::new(little(), features, Script::new(Mode::Keep));
        let socket = rig.datagram_client();
        for n in 0..10_u8 {
            socket.send(&[n; 100]).unwrap();
        }
        rig.until("out", |d| d.counters().enobufs > 0);
        rig.idle();
        let mut seen: Vec<u8> = Vec::new();
        rig.until("all", |d| {
            seen.extend(d.world().datagrams.drain(..).map(|s| s[0]));
            seen.len() == 10
        });
        assert_eq!(seen, (0..10).collect::<Vec<_>>());
    }
}

#[test]
fn slices_outlive_the_driver_and_its_ring() {
    for features in both_ways() {
        let mut rig = Rig::new(settings(), features, Script::new(Mode::Keep));
        let (mut stream, id) = rig.client();
        let bytes = pattern(8, 10_000);
        stream.write_all(&bytes).unwrap();
        rig.until("there", |d| d.world().total == 10_000);
        let Rig { driver, .. } = rig;
        let mut world = driver.into_world();
        let kept = world.names.remove(id).unwrap();
        let all: Vec<u8> = kept.slices.iter().flat_map(|s| s.to_vec()).collect();
        assert!(all == bytes);
        // And the peer sees the end.
        let end = patiently(|| stream.read(&mut [0; 1])).map_err(|e| e.kind());
        assert!(
            matches!(end, Ok(0) | Err(ErrorKind::ConnectionReset)),
            "{end:?}"
        );
    }
}

/// The allocator's free memory goes back to the system when a shard has had nothing to do for a second, once.
#[test]
fn who_is_quiet_gives_back_memory_once() {
    for features in both_ways() {
        let mut rig = Rig::new(settings(), features, Script::new(Mode::Note));
        let quiet = |rig: &mut Rig| {
            rig.driver.turn(Some(Duration::from_millis(1_100))).unwrap();
            rig.driver.counters().quiet
        };
        rig.idle();
        assert_eq!(rig.driver.counters().quiet, 0, "50 ms are no second");
        assert_eq!(quiet(&mut rig), 1);
        assert_eq!(quiet(&mut rig), 1, "nothing was done since");
        let (stream, _) = rig.client();
        (&stream).write_all(b"work").unwrap();
        rig.until("work", |d| d.counters().bytes_in == 4);
        assert_eq!(quiet(&mut rig), 2);
    }
}
