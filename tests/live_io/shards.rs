//! Several drivers, each on its thread: wake-ups, and connections that change hands.

use std::{
    io::{Read, Write},
    sync::mpsc::{self, Receiver},
    thread::JoinHandle,
    time::Duration,
};

use ringfork::{
    ids::ShardId,
    io::{Counters, Feature, Features, Hub, Waker, listen},
    shard::Effect,
};

use crate::rig::{Event, Mode, Rig, Script, both_ways, client, echoed, pattern, settings};

/// Ring messages, and the eventfd in their place.
fn ways() -> [Features; 3] {
    let [found, old] = both_ways();
    [found, found.without(Feature::RingMessages), old]
}

/// A second shard that echoes until it is stopped, waiting without limit; it says when it has had mail.
struct Other {
    thread: JoinHandle<(Counters, Vec<Event>)>,
    mailed: Receiver<()>,
    waker: Waker,
}

impl Other {
    fn start(hub: &Hub, features: Features) -> Self {
        let waker = hub.waker(ShardId(1)).unwrap();
        let hub = hub.clone();
        let (up, is_up) = mpsc::channel();
        let (mail, mailed) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let any = "127.0.0.1:0".parse().unwrap();
            let (udp, tcp) = listen::open_both(any, 1).unwrap();
            let mut script = Script::new(Mode::Echo);
            script.mailed = Some(mail);
            let mut rig = Rig::at(hub, 1, settings(), features, script, [tcp, udp]);
            up.send(()).unwrap();
            rig.driver.run().unwrap();
            let counters = rig.driver.counters();
            (counters, std::mem::take(&mut rig.driver.world().events))
        });
        is_up.recv().unwrap();
        Self {
            thread,
            mailed,
            waker,
        }
    }

    fn woken(&self) -> bool {
        self.mailed.recv_timeout(Duration::from_secs(1)).is_ok()
    }

    fn stop(self) -> (Counters, Vec<Event>) {
        self.waker.stop();
        self.thread.join().unwrap()
    }
}

fn first(hub: &Hub, features: Features, mode: Mode) -> Rig {
    let any = "127.0.0.1:0".parse().unwrap();
    let (udp, tcp) = listen::open_both(any, 1).unwrap();
    let mut script = Script::new(mode);
    script.settled = false;
    Rig::at(hub.clone(), 0, settings(), features, script, [tcp, udp])
}

#[test]
fn a_connection_given_to_another_shard_loses_nothing() {
    for features in ways() {
        let hub = Hub::new(2).unwrap();
        let other = Other::start(&hub, features);
        let mut rig = first(&hub, features, Mode::Give(1));
        let addr = rig.tcp;
        rig.during(|| {
            for round in 0..20 {
                let stream = client(addr);
                // Long enough to be on its way while the connection changes hands.
                let bytes = pattern(round, 150_000);
                assert!(echoed(&stream, &bytes) == bytes, "{round}");
                assert!(echoed(&stream, &bytes) == bytes, "{round}");
            }
        });
        let ours = rig.driver.counters();
        assert_eq!((ours.handed_over, ours.hand_over_full), (20, 0));
        assert_eq!(rig.driver.connections(), 0);
        let (theirs, events) = other.stop();
        assert_eq!(theirs.adopted, 20);
        let adopted = events.iter().filter(|e| matches!(e, Event::Adopted(_)));
        assert_eq!(adopted.count(), 20);
        assert!(theirs.wakes > 0);
    }
}

#[test]
fn a_connection_given_while_its_receive_is_in_flight_loses_nothing() {
    for features in ways() {
        let hub = Hub::new(2).unwrap();
        let other = Other::start(&hub, features);
        let mut rig = first(&hub, features, Mode::Note);
        rig.driver.world().settled = true;
        let (stream, id) = rig.client();
        rig.idle();
        (&stream).write_all(b"on its way ").unwrap();
        let world = rig.driver.world();
        let mut bytes = world.names.remove(id).unwrap().bytes;
        bytes.extend_from_slice(b"given ");
        world.outbox.remove(id);
        world.effects.push_back(Effect::HandOver {
            conn: id,
            to: ShardId(1),
            bytes,
        });
        // The bytes on their way are the old owner's to pass on: it knows no such connection any more.
        let mut back = [0; 17];
        rig.driver.world().mode = Mode::Note;
        rig.during(|| (&stream).read_exact(&mut back).unwrap());
        assert_eq!(&back, b"given on its way ");
        other.stop();
    }
}

#[test]
fn a_connection_for_a_shard_that_is_not_there_is_reset() {
    let [features, _] = both_ways();
    let hub = Hub::new(1).unwrap();
    let mut rig = first(&hub, features, Mode::Give(7));
    let (mut stream, _) = rig.client();
    stream.write_all(b"hello").unwrap();
    rig.until("reset", |d| d.counters().hand_over_full == 1);
    assert!(stream.read(&mut [0; 1]).is_err());
    assert_eq!(rig.driver.connections(), 0);
}

#[test]
fn a_shard_is_woken_by_another_and_by_any_thread() {
    for features in ways() {
        let hub = Hub::new(2).unwrap();
        let other = Other::start(&hub, features);
        let mut rig = first(&hub, features, Mode::Echo);
        // By any thread, again and again.
        for _ in 0..100 {
            other.waker.wake();
            assert!(other.woken());
        }
        // By another shard.
        for n in 1..=100 {
            rig.driver.world().wakes = 1 << 1;
            rig.driver.turn(Some(Duration::ZERO)).unwrap();
            assert!(other.woken());
            assert_eq!(rig.driver.counters().wakes_sent, n);
        }
        // By itself.
        assert!(!rig.driver.world().has(Event::Mail));
        rig.driver.world().wakes = 1;
        rig.idle();
        assert!(rig.driver.world().has(Event::Mail));
        let (theirs, events) = other.stop();
        assert!(events.contains(&Event::Mail) && theirs.wakes >= 1);
        assert_eq!(theirs.impossible, 0);
    }
}

#[test]
fn a_shard_that_is_stopped_before_it_waits_does_not_wait() {
    for features in ways() {
        for _ in 0..50 {
            let hub = Hub::new(2).unwrap();
            let other = Other::start(&hub, features);
            other.waker.wake();
            other.stop();
        }
        assert!(Hub::new(2).unwrap().waker(ShardId(2)).is_none());
    }
}
