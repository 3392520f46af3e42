//! In the steady state a chunk costs no allocation: devices keep up and acknowledge at once.
#![allow(
    clippy::unwrap_used,
    unsafe_code,
    reason = "a test; a counting allocator is an unsafe trait that only passes on"
)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    time::Duration,
};

use ringfork::{
    buf::{Outbox, Slice},
    ids::{ConnId, LegId, SessionId, ShardId},
    msrp::{Ack, Command, Direction, LegOffer, LegPeer, Matching, Plane, Role, Settings},
    time::Instant,
};
use slotmap::SlotMap;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
    static STEADY: Cell<bool> = const { Cell::new(false) };
}

struct Counting;

// SAFETY: everything is passed to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = COUNT.try_with(|c| c.set(c.get() + 1));
        // SAFETY: as our caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as our caller promises.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let _ = COUNT.try_with(|c| c.set(c.get() + 1));
        // SAFETY: as our caller promises.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Counts what `work` allocates. What the test itself needs (received bytes) is made outside.
fn counted<T>(total: &mut u64, work: impl FnOnce() -> T) -> T {
    let before = COUNT.with(Cell::get);
    let out = work();
    *total += COUNT.with(Cell::get) - before;
    out
}

fn slice(parts: &[&[u8]]) -> Slice {
    Slice::copied(&parts.concat())
}

const DEVICES: u8 = 4;
const CHUNKS: u32 = 100_000;

#[test]
fn a_chunk_in_the_steady_state_allocates_nothing() {
    let mut conns: SlotMap<ConnId, ()> = SlotMap::with_key();
    let mut sessions: SlotMap<SessionId, ()> = SlotMap::with_key();
    let mut plane = Plane::new(
        Settings {
            shard: ShardId(0),
            shards: 1,
            ack: Ack::Held,
            outbox_bytes: 1 << 20,
            max_message_bytes: 1 << 20,
            bind: Duration::from_secs(30),
            stall: Duration::from_secs(10),
            unanswered_max: 4096,
            sessions_max: 10,
            connections_max: 100,
            kept_bytes_max: 1 << 24,
            not_activity: b"text/x-msrp-heartbeat"[..].into(),
            idle: Duration::from_secs(60),
        },
        [3; 32],
    );
    let mut outbox = Outbox::new(1 << 24);
    let mut now = Instant::from_nanos(1);
    let session = sessions.insert(());
    let open = Command::Open {
        session,
        user: 1,
        source: Some(1),
    };
    plane.command(now, open, &mut outbox);
    let mut legs: Vec<(ConnId, String, String)> = Vec::new();
    for n in 0..=DEVICES {
        let id = plane.mint(session, LegId(n));
        let own = format!("msrp://127.0.0.1:2855/{id};tcp");
        let path = format!("msrp://peer{n}.example.com:7000/s{n};tcp");
        plane.command(
            now,
            Command::Offer {
                session,
                leg: LegId(n),
                offer: LegOffer {
                    own_uri: own.clone().into_bytes().into(),
                    accept_types: b"message/cpim".to_vec(),
                    accept_wrapped_types: b"*".to_vec(),
                },
            },
            &mut outbox,
        );
        plane.command(
            now,
            Command::Start {
                session,
                leg: LegId(n),
                peer: LegPeer {
                    path: path.clone().into_bytes().into(),
                    role: Role::Passive,
                    connect_to: None,
                    matching: Matching::Strict,
                    accept_types: b"message/cpim".to_vec(),
                    accept_wrapped_types: b"text/plain".to_vec(),
                    max_size: None,
                    direction: Direction {
                        peer_sends: true,
                        peer_receives: true,
                    },
                },
            },
            &mut outbox,
        );
        let conn = conns.insert(());
        outbox.add(conn);
        plane.handle_accepted(now, conn);
        let bare = format!(
            "MSRP bind{n} SEND\r\nTo-Path: {own}\r\nFrom-Path: {path}\r\nMessage-ID: bare{n}\r\n-------bind{n}$\r\n"
        );
        plane.handle_bytes(now, conn, Slice::copied(bare.as_bytes()), &mut outbox);
        legs.push((conn, own, path));
    }
    drain(&mut outbox, &mut |_, _| ());
    while plane.poll_event().is_some() {}

    let (sender, sender_own, sender_path) = legs[0].clone();
    let head =
        format!(" SEND\r\nTo-Path: {sender_own}\r\nFrom-Path: {sender_path}\r\nMessage-ID: ");
    let tail = format!(
        "\r\nByte-Range: 1-*/*\r\nContent-Type: message/cpim\r\n\r\nFrom: <sip:a@b>\r\n\r\nContent-Type: text/plain\r\n\r\n{}\r\n-------",
        "x".repeat(150)
    );
    let answers: Vec<String> = legs
        .iter()
        .map(|(_, own, path)| format!(" 200 OK\r\nTo-Path: {own}\r\nFrom-Path: {path}\r\n-------"))
        .collect();
    let mut tids: Vec<[u8; 16]> = vec![[0; 16]; legs.len()];
    let mut delivered = 0u64;
    let mut answered = 0u64;
    let mut allocated = 0;
    for n in 0..CHUNKS + 10_000 {
        if n == 10_000 {
            allocated = 0;
            STEADY.with(|s| s.set(true));
        }
        now += Duration::from_micros(100);
        let mut tid = *b"t0000000";
        let mut digits = n;
        for place in (1..8).rev() {
            tid[place] = b'0' + u8::try_from(digits % 10).unwrap();
            digits /= 10;
        }
        let send = slice(&[
            b"MSRP ",
            &tid,
            head.as_bytes(),
            &tid,
            tail.as_bytes(),
            &tid,
            b"$\r\n",
        ]);
        counted(&mut allocated, || {
            plane.handle_bytes(now, sender, send, &mut outbox)
        });
        drain(&mut outbox, &mut |conn, bytes| {
            let leg = legs.iter().position(|l| l.0 == conn).unwrap();
            assert!(leg > 0 && bytes.starts_with(b"MSRP "));
            tids[leg].copy_from_slice(&bytes[5..21]);
            delivered += 1;
        });
        for leg in 1..legs.len() {
            let answer = slice(&[
                b"MSRP ",
                &tids[leg],
                answers[leg].as_bytes(),
                &tids[leg],
                b"$\r\n",
            ]);
            counted(&mut allocated, || {
                plane.handle_bytes(now, legs[leg].0, answer, &mut outbox);
            });
        }
        drain(&mut outbox, &mut |conn, bytes| {
            assert!(conn == sender && bytes.starts_with(b"MSRP ") && bytes[14..17] == *b"200");
            answered += 1;
        });
        if plane.poll_timeout().is_some_and(|at| at <= now) {
            counted(&mut allocated, || plane.handle_timeout(now, &mut outbox));
        }
        assert!(plane.poll_event().is_none() && plane.poll_output().is_none());
    }
    let all = u64::from(CHUNKS + 10_000);
    assert_eq!((delivered, answered), (all * u64::from(DEVICES), all));
    assert_eq!(plane.gauges().messages, 0);
    assert_eq!(allocated, 0, "allocations in {CHUNKS} chunks");
}

/// Carries what is queued away, each connection in one piece.
fn drain(outbox: &mut Outbox, seen: &mut impl FnMut(ConnId, &[u8])) {
    let mut whole = [0u8; 4096];
    let mut none = 0;
    while let Some(conn) = outbox.next_dirty() {
        let mut len = 0;
        for piece in outbox.gather(conn) {
            whole[len..len + piece.len()].copy_from_slice(piece);
            len += piece.len();
        }
        seen(conn, &whole[..len]);
        counted(&mut none, || outbox.sent(conn, len, len));
    }
    counted(&mut none, || outbox.end_turn());
    assert!(none == 0 || !STEADY.with(Cell::get), "the outbox allocates");
}
