//! Bounds: what is kept, what stops, what is refused, and how a shard's connections change hands.

use std::time::Duration;

use rand::{SeedableRng, rngs::ChaCha12Rng};
use ringfork::{
    ids::ShardId,
    msrp::{Command, Event, Output, session_id},
};

use crate::harness::{
    ADDRESS, Cuts, Leg, Send, World, assemble, bare, each_way, pattern, settings,
};

// settled.md R2: up to 64 KiB is kept until one device has all of it; larger, once on its way, is not.
#[test]
fn what_is_kept() {
    let mut w = World::plain();
    let legs = w.session(2);
    let small = Send::new(&mut w, pattern(60_000)).range("1-*/60000");
    w.feed(legs[0].conn, &small.on(&legs[0]));
    assert_eq!(w.plane.gauges().kept_bytes, 60_000);
    w.ack_all(&legs[1]);
    assert_eq!(w.plane.gauges().kept_bytes, 0, "one device has it");
    w.ack_all(&legs[2]);
    let large = Send::new(&mut w, pattern(70_000)).range("1-*/70000");
    w.feed(legs[0].conn, &large.on(&legs[0]));
    assert_eq!(w.plane.gauges().kept_bytes, 0);
    // Nobody answers: the sender is told; nothing is there to be deferred.
    w.pass(Duration::from_secs(31));
    let undelivered: Vec<&Event> = w
        .events
        .iter()
        .filter(|e| matches!(e, Event::Undelivered { .. }))
        .collect();
    assert!(matches!(undelivered[..], [Event::Undelivered { body, .. }] if body.is_empty()));
}

// settled.md R2: after 50 ms, or when the driver is short of buffers, what is kept pins no receive buffer.
#[test]
fn what_is_kept_is_copied_out() {
    for relieve in [false, true] {
        let mut w = World::plain();
        let legs = w.session(1);
        let send = Send::new(&mut w, pattern(5_000));
        let bytes = send.on(&legs[0]);
        let region = std::rc::Rc::new(Pinned(bytes.into_boxed_slice()));
        let weak = std::rc::Rc::downgrade(&region);
        let len = u32::try_from(region.0.len()).unwrap();
        let slice = ringfork::buf::Slice::new(region, 0, len);
        w.plane
            .handle_bytes(w.now, legs[0].conn, slice, &mut w.outbox);
        w.settle();
        assert!(weak.upgrade().is_some(), "kept as it lies");
        if relieve {
            w.plane.relieve(w.now);
        } else {
            w.pass(Duration::from_millis(51));
        }
        assert!(weak.upgrade().is_none(), "relieve: {relieve}");
        w.drop_conn(legs[1].conn);
        assert!(
            w.events
                .iter()
                .any(|e| matches!(e, Event::Undelivered { body, .. } if *body == send.body))
        );
    }
}

struct Pinned(Box<[u8]>);

impl ringfork::buf::Region for Pinned {
    fn bytes(&self, start: usize, len: usize) -> &[u8] {
        &self.0[start..start + len]
    }
    fn pinned(&self) -> bool {
        true
    }
}

// Frames that are half read pin nothing either once the driver asks.
#[test]
fn a_half_read_frame_is_copied_out() {
    let mut w = World::plain();
    let legs = w.session(1);
    let send = Send::new(&mut w, pattern(3_000));
    let bytes = send.on(&legs[0]);
    let region = std::rc::Rc::new(Pinned(bytes[..2_000].into()));
    let weak = std::rc::Rc::downgrade(&region);
    let slice = ringfork::buf::Slice::new(region, 0, 2_000);
    w.plane
        .handle_bytes(w.now, legs[0].conn, slice, &mut w.outbox);
    w.plane.relieve(w.now);
    assert!(weak.upgrade().is_none());
    w.feed_once(legs[0].conn, &bytes[2_000..]);
    assert_eq!(w.one(legs[1].conn).body.as_deref(), Some(&send.body[..]));
}

// The bytes kept over all sessions are bounded, and each session has a share of them, a third while nobody else holds any: what
// is not begun is refused with 408.
#[test]
fn too_much_kept() {
    let mut small = settings();
    small.kept_bytes_max = 36_000;
    let mut w = World::new(small, Cuts::None);
    let session = w.open();
    let sender = w.leg(session, 0);
    // Nobody is there who could be waited for, so the sender is not stopped.
    let mut device = w.unbound_leg(session, 1, |_| ());
    for _ in 0..2 {
        let send = Send::new(&mut w, pattern(4_500));
        w.feed(sender.conn, &send.on(&sender));
        assert_eq!(w.answer(sender.conn, &send.tid), None);
    }
    let refused = Send::new(&mut w, "no room");
    w.feed(sender.conn, &refused.on(&sender));
    assert_eq!(w.answer(sender.conn, &refused.tid), Some(408));
    assert_eq!(w.plane.counters().refused_full, 1);
    device.conn = w.accept();
    let tid = w.id("bind");
    let bytes = bare(&tid, &device);
    w.feed(device.conn, &bytes);
    w.ack_all(&device);
    let again = Send::new(&mut w, "room");
    w.feed(sender.conn, &again.on(&sender));
    assert_eq!(w.one(device.conn).text(), "room");
}

// A message costs more than its body: many small ones with long heads, for a device that is not there yet, are bounded too.
#[test]
fn too_many_small_messages_wait() {
    let mut small = settings();
    small.kept_bytes_max = 295_000;
    let mut w = World::new(small, Cuts::None);
    let session = w.open();
    let sender = w.leg(session, 0);
    let mut device = w.unbound_leg(session, 1, |_| ());
    let long = format!("X-Long: {}", "x".repeat(8_000));
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..40 {
        let send = Send::new(&mut w, "a").extra(&long);
        w.feed(sender.conn, &send.on(&sender));
        match w.answer(sender.conn, &send.tid) {
            None => taken += 1, // held back until somebody has it
            Some(code) => {
                assert_eq!(code, 408);
                refused += 1;
            }
        }
    }
    assert_eq!((taken, refused), (10, 30), "a third");
    assert_eq!(w.plane.counters().refused_full, 30);
    device.conn = w.accept();
    let tid = w.id("bind");
    let bytes = bare(&tid, &device);
    w.feed(device.conn, &bytes);
    w.ack_all(&device);
    let send = Send::new(&mut w, "a").extra(&long);
    w.feed(sender.conn, &send.on(&sender));
    assert_eq!(
        w.one(device.conn).text(),
        "a",
        "what was acknowledged is free again"
    );
}

// settled.md 35: chunks that tell nothing of what the message carries wait with it; their number refuses nothing.
#[test]
fn chunks_that_tell_nothing_wait_however_many_they_are() {
    let mut w = World::plain();
    let legs = w.session(1);
    let first = Send::new(&mut w, "").content_type("message/cpim").flag('+');
    for _ in 0..1_000 {
        let more = Send::new(&mut w, "")
            .content_type("message/cpim")
            .id(&first.id)
            .range("1-*/500")
            .flag('+');
        w.feed(legs[0].conn, &more.on(&legs[0]));
        assert_eq!(w.answer(legs[0].conn, &more.tid), Some(200));
    }
    assert!(w.sends(legs[1].conn).is_empty());
    assert!(w.plane.gauges().held_bytes < 4_000);
}

// Messages that are begun and never ended are bounded a leg: a further one gets 413, and their ends make room.
#[test]
fn too_many_unfinished_messages() {
    let mut w = World::plain();
    let legs = w.session(1);
    let mut ids = Vec::new();
    for _ in 0..64 {
        let send = Send::new(&mut w, "a").range("1-1/2").flag('+');
        w.feed(legs[0].conn, &send.on(&legs[0]));
        assert_eq!(w.answer(legs[0].conn, &send.tid), Some(200));
        ids.push(send.id);
    }
    let over = Send::new(&mut w, "a").range("1-1/2").flag('+');
    w.feed(legs[0].conn, &over.on(&legs[0]));
    assert_eq!(w.answer(legs[0].conn, &over.tid), Some(413));
    let end = Send::new(&mut w, "b").id(&ids[0]).range("2-2/2");
    w.feed(legs[0].conn, &end.on(&legs[0]));
    w.ack_all(&legs[1]);
    let now = Send::new(&mut w, "a").range("1-1/2").flag('+');
    w.feed(legs[0].conn, &now.on(&legs[0]));
    assert!(
        w.read(legs[0].conn)
            .iter()
            .any(|m| m.tid == now.tid && m.code() == Some(200))
    );
    // Their bodies are not held for ever.
    w.pass(Duration::from_secs(61));
    assert_eq!(w.plane.gauges().kept_bytes, 0);
}

fn foreign(leg: &Leg, shard: u8) -> Leg {
    let mut rng = ChaCha12Rng::seed_from_u64(9);
    let id = session_id(ShardId(shard), leg.session, leg.leg, &mut rng);
    Leg {
        own: format!("msrp://{ADDRESS}/{id};tcp"),
        ..leg.clone()
    }
}

// The first request names a session of another shard: the whole connection goes there, with all that was read.
#[test]
fn a_connection_is_handed_over() {
    each_way(|w| {
        let legs = w.session(1);
        let conn = w.accept();
        let there = foreign(&legs[0], 3);
        let send = Send::new(w, pattern(3_000));
        let bytes = send.on(&there);
        w.outputs.clear();
        let mut given = Vec::new();
        let mut fed = 0;
        for piece in bytes.chunks(137) {
            w.feed_once(conn, piece);
            fed += piece.len();
            if let Some(Output::HandOver { to, bytes, .. }) = w.outputs.first() {
                assert_eq!(*to, ShardId(3));
                given.clone_from(bytes);
                break;
            }
        }
        assert_eq!(given, &bytes[..fed], "all that was read, and nothing else");
        assert!(!w.plane.settled(conn));
        assert!(w.plane.settled(legs[0].conn));
        w.end(legs[0].session);
    });
}

// A connection that stays carries frames of another shard's session: their bytes go there, in order and whole; ours are served.
#[test]
fn a_mixed_connection() {
    each_way(|w| {
        let legs = w.session(1);
        let there = foreign(&legs[0], 2);
        let (mine, theirs, mine_too) = (
            Send::new(w, "mine"),
            Send::new(w, pattern(12_000)).range("1-*/*"),
            Send::new(w, "mine too"),
        );
        let mut stream = mine.on(&legs[0]);
        stream.extend(theirs.on(&there));
        stream.extend(mine_too.on(&legs[0]));
        w.outputs.clear();
        w.feed(legs[0].conn, &stream);
        let texts: Vec<String> = w.sends(legs[1].conn).iter().map(|m| m.text()).collect();
        assert_eq!(texts, ["mine", "mine too"]);
        let mut given = Vec::new();
        for output in &w.outputs {
            if let Output::Foreign { conn, to, bytes } = output {
                assert_eq!((*conn, *to), (legs[0].conn, ShardId(2)));
                given.extend_from_slice(bytes);
            }
        }
        assert_eq!(given, theirs.on(&there));
        // It stays while the other shard has not said that it is done.
        w.command(Command::Close {
            session: legs[0].session,
        });
        w.pass(Duration::from_secs(70));
        assert_eq!(w.plane.gauges().connections, 1);
        w.plane.given_back(w.now, legs[0].conn);
        w.end_all(&[]);
    });
}

// A whole small frame is never cut, however it comes (settled.md 10).
#[test]
fn a_frame_of_eight_kilobytes_is_not_cut() {
    each_way(|w| {
        let legs = w.session(1);
        let body = pattern(8 * 1024);
        let send = Send::new(w, &body);
        let bytes = send.on(&legs[0]);
        for piece in bytes.chunks(3_000) {
            w.feed(legs[0].conn, piece);
            w.pass(Duration::from_millis(1_200));
        }
        let got = w.sends(legs[1].conn);
        assert_eq!(got.len(), 1);
        assert_eq!(assemble(&got), body);
        w.end(legs[0].session);
    });
}
