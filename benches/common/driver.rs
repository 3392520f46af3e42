//! A shard and what drives it: the calls of `io`, in the order of a turn, without a socket. What is measured is the shard.

use std::{hint::black_box, net::SocketAddr, rc::Rc, time::Duration};

use ringfork::{
    buf::Slice,
    config::Config,
    ids::{ConnId, ShardId, SocketId},
    limits::Limits,
    shard::{Desk, Effect, End, Listener, Parts, Places, Shard, SocketRole, World, exchange},
    time::Instant,
};

use super::{case::Meter, text::Sip};

const UDP: SocketId = SocketId(0);
const MEDIA: SocketId = SocketId(1);

/// See the module.
pub(crate) struct Driver {
    pub(crate) shard: Shard,
    /// Held so that the shard's mail stays open.
    _desk: Desk,
    pub(crate) now: Instant,
    /// Datagrams that have left, in order.
    sent: Vec<(SocketAddr, Rc<[u8]>)>,
    /// Datagrams that have come, and those that have left.
    pub(crate) messages: usize,
    /// What connections got in the last turn.
    streams: Vec<(ConnId, Vec<u8>)>,
}

pub(crate) fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

impl Driver {
    pub(crate) fn new() -> Self {
        let config = Config::default();
        let limits = Limits::new(&config, 1);
        let listeners = [
            Listener {
                role: SocketRole::SipDatagram,
                addr: addr("10.0.0.1:5060"),
            },
            Listener {
                role: SocketRole::Msrp,
                addr: addr("10.0.0.1:2855"),
            },
        ];
        let places = Places {
            open: limits.mailbox_places,
            reserved: limits.mailbox_reserved,
        };
        let (post, desk) = exchange(1, places).pop().expect("one shard");
        let parts = Parts::new(ShardId(0), &config, &limits, &listeners);
        Self {
            shard: Shard::new(parts, post, [7; 32]),
            _desk: desk,
            now: Instant::from_nanos(1_000_000_000),
            sent: Vec::new(),
            messages: 0,
            streams: Vec::new(),
        }
    }

    /// One turn: what has come, timers, effects, sends. What was sent is looked at outside of what is measured.
    pub(crate) fn turn(&mut self, meter: &mut Meter, come: impl FnOnce(&mut Shard, Instant)) {
        let Self {
            shard, sent, now, ..
        } = self;
        let (now, before) = (*now, sent.len());
        self.streams.clear();
        let mut closed = meter.measure(|| {
            come(shard, now);
            if shard.next_due().is_some_and(|at| at <= now) {
                shard.due(now);
            }
            effects(shard, sent)
        });
        while let Some(conn) = meter.measure(|| shard.outbox().next_dirty()) {
            let len = meter.measure(|| {
                let pieces = shard.outbox().gather(conn);
                pieces.map(|piece| black_box(piece).len()).sum()
            });
            let bytes: Vec<u8> = shard.outbox().gather(conn).flatten().copied().collect();
            self.streams.push((conn, bytes));
            meter.measure(|| shard.outbox().sent(conn, len, len));
        }
        meter.measure(|| shard.outbox().end_turn());
        while let Some(conn) = closed.pop() {
            closed.extend(meter.measure(|| {
                shard.ended(now, conn, End::Ours);
                effects(shard, sent)
            }));
        }
        self.messages += self.sent.len() - before;
    }

    /// Time passes, without anything that happens but timers.
    pub(crate) fn pass(&mut self, meter: &mut Meter, time: Duration) {
        let until = self.now + time;
        while let Some(at) = self.shard.next_due().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.turn(meter, |_, _| ());
        }
        self.now = until;
    }

    /// A datagram comes.
    pub(crate) fn datagram(&mut self, meter: &mut Meter, from: SocketAddr, bytes: &[u8]) {
        let bytes = Slice::copied(bytes);
        self.messages += 1;
        self.turn(meter, |shard, now| shard.datagram(now, UDP, from, bytes));
    }

    /// An MSRP connection comes, and says this first.
    pub(crate) fn connect(
        &mut self,
        meter: &mut Meter,
        from: SocketAddr,
        bytes: &[u8],
    ) -> Option<ConnId> {
        let bytes = Slice::copied(bytes);
        let mut name = None;
        self.turn(meter, |shard, now| {
            name = shard.accepted(now, MEDIA, addr("10.0.0.1:2855"), from);
            if let Some(conn) = name {
                shard.received(now, conn, bytes);
            }
        });
        name
    }

    /// Takes the first datagram to `to`.
    pub(crate) fn to(&mut self, to: SocketAddr) -> Option<Sip> {
        let at = self.sent.iter().position(|(a, _)| *a == to)?;
        Sip::read(&self.sent.remove(at).1)
    }

    /// Forgets the datagrams that nobody took.
    pub(crate) fn clear(&mut self) {
        self.sent.clear();
    }

    /// What a connection got in the last turn.
    pub(crate) fn got(&self, conn: ConnId) -> &[u8] {
        let found = self.streams.iter().find(|(c, _)| *c == conn);
        found.map_or(&[], |(_, bytes)| bytes)
    }
}

/// Carries effects out; the connections that are closed.
fn effects(shard: &mut Shard, sent: &mut Vec<(SocketAddr, Rc<[u8]>)>) -> Vec<ConnId> {
    let mut closed = Vec::new();
    while let Some(effect) = shard.poll_effect() {
        match effect {
            Effect::Datagram { to, bytes, .. } => sent.push((to, bytes)),
            Effect::Close { conn, .. } => closed.push(conn),
            Effect::Connect { .. }
            | Effect::Pause { .. }
            | Effect::Resume { .. }
            | Effect::HandOver { .. } => panic!("nobody here makes a shard do this: {effect:?}"),
        }
    }
    closed
}
