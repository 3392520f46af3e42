//! The server of a simulation: the very shards that `serve` runs, driven turn by turn as `io` drives them.

use std::{net::SocketAddr, time::Duration};

use ringfork::{
    buf::Slice,
    config::Config,
    ids::{ShardId, SocketId},
    limits::Limits,
    shard::{
        ConnectError, Effect, End, Listener, Parts, Places, Shard, SocketRole, World, exchange,
    },
    time::Instant,
};

use crate::net::{Happening, Net, Side, StreamId};

/// The server's addresses on the virtual network.
pub(crate) const SIP: SocketAddr = SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)),
    5060,
);
pub(crate) const MSRP: SocketAddr = SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)),
    2855,
);

const UDP: SocketId = SocketId(0);
const TCP: SocketId = SocketId(1);
const MEDIA: SocketId = SocketId(2);

pub(crate) struct Host {
    pub(crate) shards: Vec<Shard>,
    due: Vec<Option<Instant>>,
    /// What a connection is offered; kept for its room.
    offer: Vec<u8>,
}

impl Host {
    pub(crate) fn new(count: u8, config: &Config, seed: u64) -> Self {
        let limits = Limits::new(config, count);
        let places = Places {
            open: limits.mailbox_places,
            reserved: limits.mailbox_reserved,
        };
        let listeners = [
            Listener {
                role: SocketRole::SipDatagram,
                addr: SIP,
            },
            Listener {
                role: SocketRole::SipStream,
                addr: SIP,
            },
            Listener {
                role: SocketRole::Msrp,
                addr: MSRP,
            },
        ];
        let shards: Vec<Shard> = exchange(count, places)
            .into_iter()
            .enumerate()
            .map(|(n, (post, _desk))| {
                let id = ShardId(u8::try_from(n).expect("few shards"));
                let parts = Parts::new(id, config, &limits, &listeners);
                let mut of = [0; 32];
                of[..8].copy_from_slice(&seed.to_le_bytes());
                of[8] = id.0;
                Shard::new(parts, post, of)
            })
            .collect();
        Self {
            due: vec![None; shards.len()],
            shards,
            offer: Vec::new(),
        }
    }

    /// The shard that the kernel gives a new source to: by its address, as SO_REUSEPORT does.
    fn shard_of(&self, from: SocketAddr) -> usize {
        let host = match from.ip() {
            std::net::IpAddr::V4(ip) => usize::from(ip.octets()[3]),
            std::net::IpAddr::V6(_) => 0,
        };
        (host * 7 + usize::from(from.port())) % self.shards.len()
    }

    /// What happens to the server; `true` if it was for it.
    pub(crate) fn handle(&mut self, net: &mut Net, what: Happening) {
        let now = net.now;
        match what {
            Happening::Datagram { from, bytes, .. } => {
                let k = self.shard_of(from);
                self.shards[k].datagram(now, UDP, from, Slice::copied(&bytes));
                self.turn(net, k);
            }
            Happening::Opened { stream } => {
                let (from, to) = (
                    net.streams[stream.0].half[0].addr,
                    net.streams[stream.0].half[1].addr,
                );
                let k = self.shard_of(from);
                let socket = if to == SIP { TCP } else { MEDIA };
                match self.shards[k].accepted(now, socket, to, from) {
                    Some(conn) => {
                        net.streams[stream.0].half[1].who = Side::Shard(ShardId(k as u8), conn);
                        self.release(net, stream, 1);
                    }
                    None => net.close(stream, 1, true),
                }
                self.turn(net, k);
            }
            Happening::Bytes {
                stream,
                side,
                bytes,
            } => {
                let half = &mut net.streams[stream.0].half[side];
                half.in_flight -= bytes.len();
                half.waiting.push_back(bytes);
                self.release(net, stream, side);
            }
            Happening::Ended {
                stream,
                side,
                reset,
            } => {
                net.streams[stream.0].half[side].ended = Some(reset);
                self.release(net, stream, side);
            }
            Happening::Adopt {
                stream,
                side,
                to,
                bytes,
            } => {
                let half = &net.streams[stream.0].half;
                let (local, peer) = (half[side].addr, half[1 - side].addr);
                let k = usize::from(to.0);
                match self.shards[k].adopted(now, MEDIA, local, peer, &bytes) {
                    Some(conn) => {
                        net.streams[stream.0].half[side].who = Side::Shard(to, conn);
                        self.turn(net, k);
                        self.release(net, stream, side);
                    }
                    None => net.close(stream, side, true),
                }
                self.turn(net, k);
            }
            Happening::Mail { to } => {
                let k = usize::from(to.0);
                self.shards[k].mail(now);
                self.turn(net, k);
            }
            Happening::Due { shard } => {
                let k = usize::from(shard.0);
                self.due[k] = None;
                if self.shards[k].next_due().is_some_and(|at| at <= now) {
                    self.shards[k].due(now);
                }
                self.turn(net, k);
            }
            Happening::Alarm { .. } | Happening::Cut { .. } => {}
        }
    }

    /// A peer has made room on a stream that a shard writes to.
    pub(crate) fn room(&mut self, net: &mut Net, stream: StreamId, side: usize) {
        if let Side::Shard(shard, conn) = net.streams[stream.0].half[side].who {
            let k = usize::from(shard.0);
            self.shards[k].outbox().writable(conn);
            self.turn(net, k);
            self.shards[k].drained(net.now, conn);
            self.turn(net, k);
        }
    }

    /// Hands what waits on a stream to the shard that reads it, its end behind it, unless it is moving, or something waits
    /// and it is paused.
    fn release(&mut self, net: &mut Net, stream: StreamId, side: usize) {
        loop {
            let half = &mut net.streams[stream.0].half[side];
            let Side::Shard(shard, conn) = half.who else {
                return;
            };
            if half.paused && !half.waiting.is_empty() {
                return;
            }
            let k = usize::from(shard.0);
            let Some(bytes) = half.waiting.pop_front() else {
                if let Some(reset) = half.ended.take() {
                    half.who = Side::Gone;
                    self.shards[k].ended(
                        net.now,
                        conn,
                        if reset { End::Reset } else { End::Closed },
                    );
                    self.turn(net, k);
                }
                break;
            };
            self.shards[k].received(net.now, conn, Slice::copied(&bytes));
            self.turn(net, k);
        }
        if net.take_room(stream, 1 - side) {
            crate::lab::note_room(net, stream, 1 - side);
        }
    }

    /// Carries out what a shard asks for, sends what it queued, wakes whom it wrote to.
    fn turn(&mut self, net: &mut Net, k: usize) {
        let id = ShardId(k as u8);
        loop {
            let mut again = false;
            while let Some(effect) = self.shards[k].poll_effect() {
                again |= self.effect(net, id, effect);
            }
            while let Some(conn) = self.shards[k].outbox().next_dirty() {
                // As much as fits, and a byte more where there is one: whoever takes less is slow, and says when it is not.
                let at = net.of(id, conn);
                let mut fits = at.map_or(0, |(stream, side)| net.room(stream, side)) + 1;
                // Now and then less is offered than there is, as where a vector is full.
                if net.chance(30) {
                    fits = 1 + net.pick(fits);
                }
                let mut offer = std::mem::take(&mut self.offer);
                offer.clear();
                for piece in self.shards[k].outbox().gather(conn) {
                    let n = piece.len().min(fits - offer.len());
                    offer.extend_from_slice(&piece[..n]);
                    if offer.len() == fits {
                        break;
                    }
                }
                let taken = at.map_or(0, |(stream, side)| net.send(stream, side, &offer));
                self.shards[k].outbox().sent(conn, offer.len(), taken);
                self.offer = offer;
            }
            self.shards[k].outbox().end_turn();
            if !again {
                break;
            }
        }
        let wakes = self.shards[k].take_wakes();
        for to in (0..self.shards.len()).filter(|n| wakes & (1 << n) != 0) {
            net.after(
                Duration::from_micros(5),
                Happening::Mail {
                    to: ShardId(to as u8),
                },
            );
        }
        let next = self.shards[k].next_due();
        if let Some(at) = next
            && next != self.due[k]
        {
            self.due[k] = next;
            net.at(at, Happening::Due { shard: id });
        }
    }

    /// Carries out one effect; `true` if the shard has been called again.
    fn effect(&mut self, net: &mut Net, id: ShardId, effect: Effect) -> bool {
        let now = net.now;
        let shard = &mut self.shards[usize::from(id.0)];
        match effect {
            Effect::Datagram { to, bytes, .. } => {
                net.send_datagram(SIP, to, &bytes);
                false
            }
            Effect::Connect { conn, to } => {
                let from = SocketAddr::new(SIP.ip(), 40_000 + (net.streams.len() % 20_000) as u16);
                if crate::lab::listens(net, to) {
                    net.connect(Side::Shard(id, conn), from, to);
                    shard.connected(now, conn, Ok(from));
                } else {
                    shard.connected(now, conn, Err(ConnectError::Refused));
                }
                true
            }
            Effect::Close { conn, flush } => {
                if let Some((stream, side)) = net.of(id, conn) {
                    if flush {
                        let rest = shard.outbox().gather(conn).collect::<Vec<_>>().concat();
                        let taken = net.send(stream, side, &rest);
                        shard.outbox().sent(conn, rest.len(), taken);
                    }
                    net.close(stream, side, !flush);
                }
                shard.ended(now, conn, End::Ours);
                true
            }
            Effect::Pause { conn } => {
                net.saw("reading stopped");
                if let Some((stream, side)) = net.of(id, conn) {
                    net.streams[stream.0].half[side].paused = true;
                }
                false
            }
            Effect::Resume { conn } => {
                if let Some((stream, side)) = net.of(id, conn) {
                    net.streams[stream.0].half[side].paused = false;
                    self.release(net, stream, side);
                }
                true
            }
            Effect::HandOver { conn, to, bytes } => {
                net.saw("connection handed over");
                if let Some((stream, side)) = net.of(id, conn) {
                    net.streams[stream.0].half[side].who = Side::Moving;
                    net.after(
                        Duration::from_micros(20),
                        Happening::Adopt {
                            stream,
                            side,
                            to,
                            bytes,
                        },
                    );
                }
                false
            }
        }
    }
}
