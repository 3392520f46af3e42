//! The server of a simulation: the very shards that `serve` runs. What happens to it waits for the turn of a shard.

use std::net::SocketAddr;

use ringfork::{
    config::Config,
    ids::{ShardId, SocketId},
    limits::Limits,
    shard::{ConnectError, Listener, Parts, Places, Shard, SocketRole, exchange},
};

use crate::{
    io::{Done, Given, Io},
    memory::Memory,
    more::More,
    net::{Happening, Net, Side, StreamId},
};

/// The server's addresses on the virtual network.
pub(crate) const SIP: SocketAddr = SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)),
    5060,
);
pub(crate) const MSRP: SocketAddr = SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)),
    2855,
);

pub(crate) const UDP: SocketId = SocketId(0);
pub(crate) const TCP: SocketId = SocketId(1);
pub(crate) const MEDIA: SocketId = SocketId(2);

pub(crate) struct Host {
    pub(crate) shards: Vec<Shard>,
    pub(crate) io: Vec<Io>,
    /// What a connection is offered; kept for its room.
    pub(crate) offer: Vec<u8>,
}

impl Host {
    pub(crate) fn new(count: u8, config: &Config, seed: u64, more: &mut More) -> Self {
        let mut limits = Limits::new(config, count);
        more.bounds(&mut limits);
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
            io: shards
                .iter()
                .map(|_| Io {
                    memory: more.memory.map(Memory::new),
                    ..Io::default()
                })
                .collect(),
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

    /// What happens to the server: it waits for the shard's next turn, or is that turn.
    pub(crate) fn handle(&mut self, net: &mut Net, what: Happening) {
        let now = net.now;
        match what {
            Happening::Datagram { from, bytes, .. } => {
                let k = self.shard_of(from);
                self.io[k].unheard.push_back((from, bytes));
                self.want(net, k, now);
            }
            Happening::Opened { stream } => {
                let k = self.shard_of(net.streams[stream.0].half[0].addr);
                self.io[k].done.push_back(Done::Accept(stream));
                self.want(net, k, now);
            }
            Happening::Made { stream } => {
                let [half, other] = &net.streams[stream.0].half;
                if let Side::Shard(shard, conn) = half.who {
                    let there = other.who != Side::Gone;
                    let outcome = there.then_some(half.addr).ok_or(ConnectError::Refused);
                    self.done(net, shard, Done::Connected(conn, outcome));
                }
            }
            Happening::Bytes {
                stream,
                side,
                bytes,
            } => {
                let half = &mut net.streams[stream.0].half[side];
                half.in_flight -= bytes.len();
                half.waiting.push_back(bytes);
                if let Side::Shard(shard, _) = half.who {
                    self.done(net, shard, Done::Bytes(stream, side));
                }
            }
            Happening::Ended {
                stream,
                side,
                reset,
            } => {
                let half = &mut net.streams[stream.0].half[side];
                half.ended = Some(reset);
                if let Side::Shard(shard, _) = half.who {
                    self.done(net, shard, Done::End(stream, side));
                }
            }
            Happening::Adopt {
                stream,
                side,
                to,
                bytes,
            } => {
                let k = usize::from(to.0);
                self.io[k].given.push_back(Given {
                    stream,
                    side,
                    bytes,
                });
                self.want(net, k, now);
            }
            Happening::Mail { from, to } => {
                let k = usize::from(to.0);
                self.io[k].mail |= 1 << from.0;
                self.want(net, k, now);
            }
            Happening::Turn { shard } => self.turn(net, usize::from(shard.0)),
            Happening::Alarm { .. } | Happening::Cut { .. } => {}
        }
    }

    /// A peer has made room on a stream that a shard writes to.
    pub(crate) fn room(&mut self, net: &mut Net, stream: StreamId, side: usize) {
        if let Side::Shard(shard, _) = net.streams[stream.0].half[side].who {
            self.done(net, shard, Done::Room(stream, side));
        }
    }

    fn done(&mut self, net: &mut Net, shard: ShardId, done: Done) {
        let k = usize::from(shard.0);
        self.io[k].done.push_back(done);
        self.want(net, k, net.now);
    }
}
