//! What a turn does at most, counted: signalling, letters, connections and those that bring much each have a share, and the rest
//! comes in the next. A world that takes a millisecond for each piece of work makes each share one piece.

use std::{io::Write, time::Duration};

use ringfork::shard::{Effect, End};

use crate::rig::{Event, Mode, Rig, Script, both_ways, client, settings};

fn slow(mode: Mode) -> Script {
    let mut script = Script::new(mode);
    script.takes = Some(Duration::from_millis(1));
    script.slow = true;
    script
}

/// Each piece of work had a turn of its own.
#[track_caller]
fn a_turn_each(rig: &mut Rig, most: usize) {
    let heard = &rig.driver.world().heard;
    for turn in heard.chunk_by(|a, b| a == b) {
        assert!(turn.len() <= most, "{} in one turn", turn.len());
    }
}

#[test]
fn signalling_of_streams_has_a_share_of_a_turn_however_much_comes_at_once() {
    for features in both_ways() {
        let mut rig = Rig::new(settings(), features, slow(Mode::Note));
        rig.driver.world().signals = true;
        let all: Vec<_> = (0..10).map(|_| rig.client()).collect();
        rig.driver.world().log = Some(Vec::new());
        for (stream, _) in &all {
            (&*stream).write_all(&[7; 8000]).unwrap();
        }
        rig.until("some", |d| d.world().heard.len() >= 40);
        a_turn_each(&mut rig, 1);
        let log = rig.driver.world().log.take().unwrap();
        // A request or two of each, in rotation.
        assert!(log.iter().all(|l| l.2 <= 512), "{log:?}");
        for (_, id) in &all {
            let n = log.iter().filter(|l| l.1 == *id).count();
            assert!((2..=12).contains(&n), "{n} of 40");
        }
        // And of what waits, no more than a receive of each.
        assert!(rig.driver.counters().bytes_in <= 10 * 8192);
        assert_eq!(rig.driver.pinned().0, 0, "what waits is copied");
        rig.driver.world().takes = None;
        rig.until("all of it", |d| d.world().total == 80_000);
    }
}

#[test]
fn signalling_of_a_stream_that_says_little_is_heard_before_that_of_those_that_pipeline() {
    for features in both_ways() {
        let mut rig = Rig::new(settings(), features, slow(Mode::Note));
        rig.driver.world().signals = true;
        let all: Vec<_> = (0..20).map(|_| rig.client()).collect();
        let (mut modest, quiet) = rig.client();
        let socket = rig.datagram_client();
        for (stream, _) in &all {
            (&*stream).write_all(&[7; 60_000]).unwrap();
        }
        // Until each has said more than a person would at once.
        rig.driver.world().takes = None;
        rig.until("the flood", |d| d.world().total >= 20 * 6000);
        rig.driver.world().takes = Some(Duration::from_millis(1));
        modest.write_all(b"REGISTER").unwrap();
        socket.send(b"REGISTER").unwrap();
        let before = rig.driver.world().heard.len();
        rig.until("both", |d| {
            let world = d.world();
            world.names[quiet].bytes == b"REGISTER" && world.datagrams.len() == 1
        });
        let others = rig.driver.world().heard.len() - before;
        assert!(others <= 8, "{others} came first");
        a_turn_each(&mut rig, 1);
    }
}

#[test]
fn a_message_does_not_wait_for_the_signalling_that_came_before_it() {
    for features in both_ways() {
        let mut rig = Rig::new(settings(), features, Script::new(Mode::Note));
        let (mut media, talk) = rig.client();
        rig.driver.world().signals = true;
        let all: Vec<_> = (0..10).map(|_| rig.client()).collect();
        for (stream, _) in &all {
            (&*stream).write_all(&[7; 4000]).unwrap();
        }
        rig.driver.world().takes = Some(Duration::from_millis(1));
        rig.driver.world().slow = true;
        rig.until("some", |d| d.world().heard.len() >= 5);
        media.write_all(b"hello").unwrap();
        let before = rig.driver.world().heard.len();
        rig.until("the message", |d| d.world().names[talk].bytes == b"hello");
        let between = rig.driver.world().heard.len() - before;
        assert!(between <= 4, "{between} pieces of signalling came first");
    }
}

#[test]
fn the_end_of_a_signalling_stream_comes_behind_all_that_it_said() {
    for features in both_ways() {
        let mut rig = Rig::new(settings(), features, slow(Mode::Note));
        rig.driver.world().signals = true;
        let (mut stream, conn) = rig.client();
        stream.write_all(&[7; 10_000]).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        rig.until("its end", |d| {
            d.world().has(Event::Ended(conn, End::Closed))
        });
        assert_eq!(rig.driver.world().total, 10_000);
    }
}

#[test]
fn a_signalling_stream_that_is_paused_is_not_heard_until_it_is_resumed() {
    for features in both_ways() {
        let mut rig = Rig::new(settings(), features, slow(Mode::Note));
        rig.driver.world().signals = true;
        let (mut stream, conn) = rig.client();
        stream.write_all(&[7; 3000]).unwrap();
        rig.until("some", |d| d.world().total > 0);
        rig.driver.world().effects.push_back(Effect::Pause { conn });
        rig.driver.turn(Some(Duration::ZERO)).unwrap();
        let before = rig.driver.world().total;
        rig.idle();
        stream.write_all(&[7; 20_000]).unwrap();
        rig.idle();
        assert_eq!(rig.driver.world().total, before);
        assert!(
            rig.driver.counters().bytes_in <= 3000 + 4096,
            "the rest stays in the socket"
        );
        rig.driver
            .world()
            .effects
            .push_back(Effect::Resume { conn });
        rig.driver.world().takes = None;
        rig.until("all", |d| d.world().total == 23_000);
    }
}

#[test]
fn letters_of_other_shards_have_a_share_of_a_turn() {
    for features in both_ways() {
        let mut rig = Rig::new(settings(), features, slow(Mode::Note));
        rig.driver.world().letters = 6;
        rig.driver.world().wakes = 1;
        rig.until("all", |d| d.world().letters == 0);
        a_turn_each(&mut rig, 1);
        assert_eq!(rig.driver.counters().unread, 5);
    }
}

#[test]
fn a_turn_takes_in_so_many_connections_and_leaves_the_rest_to_the_next() {
    for features in both_ways() {
        let mut rig = Rig::new(settings(), features, Script::new(Mode::Note));
        let all: Vec<_> = (0..100).map(|_| client(rig.tcp)).collect();
        let mut before = 0;
        for _ in 0..200 {
            rig.driver.turn(Some(Duration::from_millis(1))).unwrap();
            let now = rig.driver.world().accepted_ids().len();
            assert!(now - before <= 32, "{} in one turn", now - before);
            before = now;
        }
        assert_eq!(before, all.len());
    }
}

#[test]
fn a_turn_that_has_worked_for_long_leaves_large_pieces_to_the_next_and_takes_small_ones() {
    for features in both_ways() {
        let mut script = slow(Mode::Note);
        script.takes = Some(Duration::from_millis(3));
        let mut rig = Rig::new(settings(), features, script);
        let heavy: Vec<_> = (0..5).map(|_| rig.client()).collect();
        let (mut modest, quiet) = rig.client();
        rig.driver.world().log = Some(Vec::new());
        for (stream, _) in &heavy {
            (&*stream).write_all(&[7; 16_000]).unwrap();
        }
        modest.write_all(b"hello").unwrap();
        rig.until("the small one", |d| {
            !d.world().names[quiet].bytes.is_empty()
        });
        rig.until("all", |d| d.world().total == 5 * 16_000 + 5);
        let log = rig.driver.world().log.take().unwrap();
        for turn in log.chunk_by(|a, b| a.0 == b.0) {
            let large = turn.iter().filter(|l| l.2 > 4096).count();
            assert!(large <= 1, "{large} in one turn");
        }
        assert!(rig.driver.counters().late_turns > 0);
    }
}

#[test]
fn whose_bytes_cost_much_has_a_smaller_share() {
    for features in both_ways() {
        let mut script = slow(Mode::Note);
        script.takes = Some(Duration::from_millis(5));
        let mut rig = Rig::new(settings(), features, script);
        let (stream, _) = rig.client();
        rig.driver.world().log = Some(Vec::new());
        stream.set_nonblocking(true).unwrap();
        let sent = (&stream).write(&vec![1; 200_000]).unwrap();
        rig.until("some", |d| {
            d.world().total > 100_000 || d.world().heard.len() > 40
        });
        let log = rig.driver.world().log.take().unwrap();
        let turns: Vec<usize> = log
            .chunk_by(|a, b| a.0 == b.0)
            .map(|turn| turn.iter().map(|l| l.2).sum())
            .collect();
        // 5 ms for what came first: a tenth of it next, and then as little as anybody gets.
        let last = turns.last().copied().unwrap_or(0);
        assert!(last < turns[0] / 4, "{turns:?} of {sent}");
        assert!(turns.iter().all(|t| *t <= 64 << 10), "{turns:?}");
    }
}
