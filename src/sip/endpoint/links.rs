//! The stream connections that the endpoint knows: to whom, whose, who waits for them.
//!
//! The law: one connection to an address at a time, used again by whoever sends there (RFC 3261 §18.1.1). A connection of this
//! shard is known from its first message or from our own `Connect` until it is closed; one of another shard as long as a
//! transaction uses it.

use std::{collections::HashMap, net::SocketAddr, rc::Rc};

use foldhash::quality::FixedState;

use crate::{
    ids::{ClientTxnId, ConnId, ServerTxnId, ShardId},
    time::Instant,
};

/// Messages without a transaction that wait for one connection; the next one goes by datagram or is dropped.
const LOOSE_MAX: usize = 64;
/// Bytes of them, over all connections that are being opened.
const LOOSE_BYTES: usize = 1 << 20;
/// Addresses that refused a connection lately.
const REFUSED_MAX: usize = 1024;

/// The name of a connection in all shards.
pub(super) type Place = (ShardId, ConnId);

/// What waits for a connection to come up.
#[derive(Clone, Debug)]
pub(super) enum Waiting {
    Client(ClientTxnId),
    Server(ServerTxnId),
    /// A message without transaction, and the same with a datagram's Via where it may go so.
    Loose(Rc<[u8]>, Option<Rc<[u8]>>),
}

impl Waiting {
    /// Bytes that only this holds.
    fn bytes(&self) -> usize {
        match self {
            Self::Client(_) | Self::Server(_) => 0,
            Self::Loose(bytes, other) => bytes.len() + other.as_ref().map_or(0, |o| o.len()),
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    peer: SocketAddr,
    /// Transactions that use it.
    users: usize,
    open: bool,
    pub(super) last_used: Instant,
}

#[derive(Debug)]
enum Peer {
    Opening { waiting: Vec<Waiting> },
    Open(Place),
}

#[derive(Debug)]
pub(super) struct Links {
    shard: ShardId,
    links: HashMap<Place, Link, FixedState>,
    peers: HashMap<SocketAddr, Peer, FixedState>,
    /// What is being opened, by its name.
    opening: HashMap<ConnId, SocketAddr, FixedState>,
    /// Bytes of messages without a transaction that wait.
    loose: usize,
    /// Addresses that take no connection, and until when we believe it.
    refused: HashMap<SocketAddr, Instant, FixedState>,
}

impl Links {
    pub(super) fn new(shard: ShardId, seed: u64) -> Self {
        let state = || FixedState::with_seed(seed);
        Self {
            shard,
            links: HashMap::with_hasher(state()),
            peers: HashMap::with_hasher(state()),
            opening: HashMap::with_hasher(state()),
            loose: 0,
            refused: HashMap::with_hasher(state()),
        }
    }

    /// Bytes of messages without a transaction that wait for connections.
    pub(super) const fn loose_bytes(&self) -> usize {
        self.loose
    }

    pub(super) fn len(&self) -> usize {
        self.links.len()
    }

    /// Something came over a connection.
    pub(super) fn heard(&mut self, now: Instant, place: Place, peer: SocketAddr) {
        if place.0 != self.shard {
            return;
        }
        let link = self.links.entry(place).or_insert(Link {
            peer,
            users: 0,
            open: true,
            last_used: now,
        });
        link.last_used = now;
        // By the address that the connection was made known with, for by that it is forgotten.
        if link.open {
            self.peers.entry(link.peer).or_insert(Peer::Open(place));
        }
    }

    /// A transaction begins to use a connection.
    pub(super) fn hold(&mut self, now: Instant, place: Place, peer: SocketAddr) {
        let link = self.links.entry(place).or_insert(Link {
            peer,
            users: 0,
            open: true,
            last_used: now,
        });
        link.users += 1;
        link.last_used = now;
    }

    /// A transaction has ended, or goes another way.
    pub(super) fn release(&mut self, place: Place) {
        if let Some(link) = self.links.get_mut(&place) {
            link.users = link.users.saturating_sub(1);
            if link.users == 0 && (!link.open || place.0 != self.shard) {
                self.links.remove(&place);
            }
        }
    }

    /// Whether something can be sent on a connection. One of another shard that we know nothing bad of counts as open.
    pub(super) fn is_open(&self, place: Place) -> bool {
        self.links
            .get(&place)
            .map_or(place.0 != self.shard, |l| l.open)
    }

    pub(super) fn get(&self, place: Place) -> Option<&Link> {
        self.links.get(&place)
    }

    pub(super) fn touch(&mut self, now: Instant, place: Place) {
        if let Some(link) = self.links.get_mut(&place) {
            link.last_used = now;
        }
    }

    /// A connection is over; whether a transaction was using it.
    pub(super) fn closed(&mut self, place: Place) -> bool {
        let Some(link) = self.links.get_mut(&place) else {
            return false;
        };
        link.open = false;
        let (peer, used) = (link.peer, link.users > 0);
        if !used {
            self.links.remove(&place);
        }
        if matches!(self.peers.get(&peer), Some(Peer::Open(p)) if *p == place) {
            self.peers.remove(&peer);
        }
        used
    }

    /// The connection to an address, if it is up.
    pub(super) fn to(&self, peer: SocketAddr) -> Option<Place> {
        match self.peers.get(&peer)? {
            Peer::Open(place) => Some(*place).filter(|p| self.is_open(*p)),
            Peer::Opening { .. } => None,
        }
    }

    /// Waits for a connection to `peer`; true if it must be asked for. `Err`: too many wait already.
    pub(super) fn wait(&mut self, peer: SocketAddr, who: Waiting) -> Result<bool, Waiting> {
        let bytes = who.bytes();
        if bytes > 0 && self.loose + bytes > LOOSE_BYTES {
            return Err(who);
        }
        match self.peers.get_mut(&peer) {
            Some(Peer::Opening { waiting }) => {
                let loose = waiting
                    .iter()
                    .filter(|w| matches!(w, Waiting::Loose(..)))
                    .count();
                if matches!(who, Waiting::Loose(..)) && loose >= LOOSE_MAX {
                    return Err(who);
                }
                self.loose += bytes;
                waiting.push(who);
                Ok(false)
            }
            Some(Peer::Open(_)) | None => {
                self.loose += bytes;
                let opening = Peer::Opening { waiting: vec![who] };
                self.peers.insert(peer, opening);
                Ok(true)
            }
        }
    }

    /// The name of the connection that is being opened to `peer`.
    pub(super) fn connecting(&mut self, peer: SocketAddr, name: ConnId) {
        if let Some(Peer::Opening { .. }) = self.peers.get(&peer) {
            self.opening.insert(name, peer);
        }
    }

    /// The outcome of opening `conn`: its peer and who waited for it.
    pub(super) fn connected(
        &mut self,
        now: Instant,
        conn: ConnId,
        up: bool,
    ) -> Option<(SocketAddr, Vec<Waiting>)> {
        let peer = self.opening.remove(&conn)?;
        let Some(Peer::Opening { waiting }) = self.peers.remove(&peer) else {
            return None;
        };
        self.loose -= waiting.iter().map(Waiting::bytes).sum::<usize>();
        if up {
            let place = (self.shard, conn);
            self.peers.insert(peer, Peer::Open(place));
            let link = Link {
                peer,
                users: 0,
                open: true,
                last_used: now,
            };
            self.links.insert(place, link);
        }
        Some((peer, waiting))
    }

    /// `peer` takes no connection: large requests go to it by datagram for a while.
    pub(super) fn refuse(&mut self, now: Instant, peer: SocketAddr, until: Instant) {
        if self.refused.len() >= REFUSED_MAX {
            self.refused.retain(|_, until| *until > now);
        }
        if self.refused.len() < REFUSED_MAX {
            self.refused.insert(peer, until);
        }
    }

    pub(super) fn is_refused(&self, now: Instant, peer: SocketAddr) -> bool {
        self.refused.get(&peer).is_some_and(|until| *until > now)
    }
}
