//! One chunk of 200 bytes to 1, 4 and 8 legs: bytes into the plane, bytes out of the outbox, every leg acknowledges.
//!
//! What is timed is a whole delivery: the sender's SEND, its copies on the legs (gathered as the driver would, not copied),
//! each leg's 200, and the 200 to the sender. The figure a leg is the slope between the sizes.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![allow(
    clippy::unwrap_used,
    reason = "a bench that unwraps has a reason to stop"
)]

use std::{hint::black_box, rc::Rc, time::Duration};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringfork::{
    buf::{Outbox, Region, Slice},
    ids::{ConnId, LegId, SessionId, ShardId},
    msrp::{Ack, Command, Direction, LegOffer, LegPeer, Matching, Plane, Role, Settings},
    time::Instant,
};
use slotmap::SlotMap;

struct Bench {
    plane: Plane,
    outbox: Outbox,
    now: Instant,
    sender: ConnId,
    devices: Vec<ConnId>,
    send: Slice,
    /// The answer of each device, with room for the transaction id.
    answers: Vec<(Vec<u8>, usize)>,
}

fn settings() -> Settings {
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
        idle: Duration::from_secs(60),
    }
}

/// A receive buffer that is never given back.
struct Buffer(&'static [u8]);

impl Region for Buffer {
    fn bytes(&self, start: usize, len: usize) -> &[u8] {
        &self.0[start..start + len]
    }

    fn pinned(&self) -> bool {
        true
    }

    fn joined(&self, first: &'static [u8], second: &'static [u8]) -> Option<&'static [u8]> {
        let start = first.as_ptr() as usize - self.0.as_ptr() as usize;
        let adjacent = first.as_ptr_range().end == second.as_ptr();
        adjacent.then(|| &self.0[start..start + first.len() + second.len()])
    }
}

/// Bytes as a receive buffer lends them.
fn received(bytes: &[u8]) -> Slice {
    let bytes: &'static [u8] = Box::leak(bytes.into());
    Slice::lent(Rc::new(Buffer(bytes)), bytes)
}

impl Bench {
    fn new(devices: u8, body: usize) -> Self {
        let mut conns: SlotMap<ConnId, ()> = SlotMap::with_key();
        let mut sessions: SlotMap<SessionId, ()> = SlotMap::with_key();
        let mut plane = Plane::new(settings(), [3; 32]);
        let mut outbox = Outbox::new(1 << 24);
        let now = Instant::from_nanos(1);
        let session = sessions.insert(());
        plane.command(now, Command::Open { session }, &mut outbox);
        let mut legs = Vec::new();
        for n in 0..=devices {
            let id = plane.mint(session, LegId(n));
            let own = format!("msrp://127.0.0.1:2855/{id};tcp");
            let path = format!("msrp://peer{n}.example.com:7000/s{n};tcp");
            let offer = LegOffer {
                own_uri: own.clone().into_bytes(),
                accept_types: b"*".to_vec(),
                accept_wrapped_types: b"*".to_vec(),
            };
            let peer = LegPeer {
                path: path.clone().into_bytes(),
                role: Role::Passive,
                connect_to: None,
                matching: Matching::Strict,
                accept_types: b"message/cpim text/plain".to_vec(),
                accept_wrapped_types: b"*".to_vec(),
                max_size: None,
                direction: Direction {
                    peer_sends: true,
                    peer_receives: true,
                },
            };
            let leg = LegId(n);
            plane.command(
                now,
                Command::Offer {
                    session,
                    leg,
                    offer,
                },
                &mut outbox,
            );
            plane.command(now, Command::Start { session, leg, peer }, &mut outbox);
            let conn = conns.insert(());
            outbox.add(conn);
            plane.handle_accepted(now, conn);
            let bare = format!(
                "MSRP bind{n} SEND\r\nTo-Path: {own}\r\nFrom-Path: {path}\r\nMessage-ID: bare{n}\r\n-------bind{n}$\r\n"
            );
            plane.handle_bytes(now, conn, Slice::copied(bare.as_bytes()), &mut outbox);
            legs.push((conn, own, path));
        }
        let cpim = "From: <sip:alice@example.com>\r\nTo: <sip:bob@example.com>\r\nDateTime: 2026-01-01T00:00:00Z\r\n\r\nContent-Type: text/plain;charset=utf-8\r\n\r\n";
        let content = format!("{cpim}{}", "x".repeat(body - cpim.len()));
        let send = format!(
            "MSRP tid12345 SEND\r\nTo-Path: {}\r\nFrom-Path: {}\r\nMessage-ID: mid12345\r\nByte-Range: 1-{body}/{body}\r\nContent-Type: message/cpim\r\n\r\n{content}\r\n-------tid12345$\r\n",
            legs[0].1, legs[0].2,
        );
        let answers = legs[1..]
            .iter()
            .map(|(_, own, path)| {
                let text = format!(
                    "MSRP ################ 200 OK\r\nTo-Path: {own}\r\nFrom-Path: {path}\r\n-------################$\r\n"
                );
                let second = text.rfind("####").unwrap() - 12;
                (text.into_bytes(), second)
            })
            .collect();
        let mut bench = Self {
            plane,
            outbox,
            now,
            sender: legs[0].0,
            devices: legs[1..].iter().map(|l| l.0).collect(),
            send: received(send.as_bytes()),
            answers,
        };
        bench.drain(|_, _| ());
        while bench.plane.poll_event().is_some() {}
        bench
    }

    /// Offers what is queued to sockets that take everything; `head` are the first bytes of each.
    fn drain(&mut self, mut seen: impl FnMut(ConnId, &[u8])) -> usize {
        let mut sent = 0;
        while let Some(conn) = self.outbox.next_dirty() {
            let mut len = 0;
            for piece in self.outbox.gather(conn) {
                if len == 0 {
                    seen(conn, piece);
                }
                len += black_box(piece).len();
            }
            self.outbox.sent(conn, len, len);
            sent += 1;
        }
        self.outbox.end_turn();
        sent
    }

    /// The sender's SEND alone: out on every leg. The transaction ids go into the answers.
    fn fan_out(&mut self) -> usize {
        self.now += Duration::from_micros(10);
        let send = self.send.clone();
        self.plane
            .handle_bytes(self.now, self.sender, send, &mut self.outbox);
        let devices = std::mem::take(&mut self.devices);
        let mut answers = std::mem::take(&mut self.answers);
        let sent = self.drain(|conn, head| {
            if let Some(at) = devices.iter().position(|&d| d == conn) {
                let (text, second) = &mut answers[at];
                text[5..21].copy_from_slice(&head[5..21]);
                text[*second..*second + 16].copy_from_slice(&head[5..21]);
            }
        });
        self.devices = devices;
        self.answers = answers;
        sent
    }

    /// Every device's 200, and ours to the sender.
    fn answer(&mut self) -> usize {
        for at in 0..self.devices.len() {
            let answer = Slice::copied(&self.answers[at].0);
            self.plane
                .handle_bytes(self.now, self.devices[at], answer, &mut self.outbox);
        }
        let sent = self.drain(|_, _| ());
        if self.plane.poll_timeout().is_some_and(|at| at <= self.now) {
            self.plane.handle_timeout(self.now, &mut self.outbox);
        }
        sent
    }
}

fn fanout(c: &mut Criterion) {
    let mut group = c.benchmark_group("fanout-200B");
    for devices in [1u8, 4, 8] {
        let mut bench = Bench::new(devices, 200);
        // It does what it says before it is timed.
        for _ in 0..100 {
            assert_eq!(bench.fan_out(), usize::from(devices));
            assert_eq!(bench.plane.gauges().unanswered, usize::from(devices));
            assert_eq!(bench.answer(), 1, "the 200 to the sender");
            assert_eq!(bench.plane.gauges().messages, 0);
        }
        group.throughput(Throughput::Elements(u64::from(devices)));
        group.bench_function(format!("{devices}-legs-whole-delivery"), |b| {
            b.iter(|| (bench.fan_out(), bench.answer()));
        });
        group.bench_function(format!("{devices}-legs-send-only"), |b| {
            b.iter_custom(|rounds| {
                let mut time = Duration::ZERO;
                for _ in 0..rounds {
                    let start = std::time::Instant::now();
                    black_box(bench.fan_out());
                    time += start.elapsed();
                    bench.answer();
                }
                time
            });
        });
    }
    group.finish();
}

criterion_group!(benches, fanout);
criterion_main!(benches);
