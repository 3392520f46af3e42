//! The stream connections of a shard: what each is for, and who else uses it.

use std::net::SocketAddr;

use slotmap::SlotMap;

use super::sources::Room;
use crate::{
    ids::{ConnId, ShardId},
    sip::Stream,
    timer::TimerId,
};

/// What a connection carries.
#[derive(Debug)]
pub(super) enum Role {
    /// SIP.
    Sip(Box<Stream>),
    /// MSRP.
    Msrp,
    /// MSRP frames of a connection that another shard owns: they come and go by mail.
    Far {
        /// The owner.
        home: ShardId,
        /// The connection, in the owner's names.
        conn: ConnId,
    },
}

/// One connection.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) role: Role,
    pub(super) peer: SocketAddr,
    /// Other shards that got something of it by mail, a bit each: they are told when it is gone.
    pub(super) readers: u64,
    /// Until when the first SIP message, or one that has begun, must have come whole.
    pub(super) half_open: Option<TimerId>,
    /// It does not read our answers, and is not read until it does; `half_open` says for how long.
    pub(super) stalled: bool,
    /// It came in, and counts as one of its source.
    pub(super) counted: Option<Room>,
    /// Shards that may have answers for it under way, a bit each: it is closed when they have said that they have none.
    pub(super) parting: u64,
    /// Its close was asked for: what it holds is as good as gone.
    pub(super) closing: bool,
}

/// The connections of a shard, bounded.
#[derive(Debug)]
pub(super) struct Conns {
    all: SlotMap<ConnId, Conn>,
    max: usize,
}

impl Conns {
    pub(super) fn new(max: usize) -> Self {
        Self {
            all: SlotMap::with_key(),
            max,
        }
    }

    /// A name for a new connection; `None` when there is no room.
    pub(super) fn insert(&mut self, role: Role, peer: SocketAddr) -> Option<ConnId> {
        (self.all.len() < self.max).then(|| {
            self.all.insert(Conn {
                role,
                peer,
                readers: 0,
                parting: 0,
                half_open: None,
                stalled: false,
                counted: None,
                closing: false,
            })
        })
    }

    pub(super) fn get(&self, conn: ConnId) -> Option<&Conn> {
        self.all.get(conn)
    }

    pub(super) fn get_mut(&mut self, conn: ConnId) -> Option<&mut Conn> {
        self.all.get_mut(conn)
    }

    pub(super) fn remove(&mut self, conn: ConnId) -> Option<Conn> {
        self.all.remove(conn)
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ConnId, &Conn)> {
        self.all.iter()
    }

    /// Connections that carry MSRP, far ones apart.
    pub(super) fn msrp(&self) -> usize {
        self.all
            .values()
            .filter(|c| matches!(c.role, Role::Msrp))
            .count()
    }
}
