//! What a shard's driver keeps between two turns.

use std::{collections::VecDeque, net::SocketAddr};

use ringfork::{
    ids::ConnId,
    shard::{ConnectError, End},
    time::Instant,
};
use slotmap::SecondaryMap;

use crate::{memory::Memory, net::StreamId};

/// What has come for a shard.
#[derive(Debug)]
pub(crate) enum Done {
    Accept(StreamId),
    /// A piece waits on this side of a stream.
    Bytes(StreamId, usize),
    /// The other side has ended.
    End(StreamId, usize),
    /// The other side has made room.
    Room(StreamId, usize),
    Connected(ConnId, Result<SocketAddr, ConnectError>),
}

/// A connection that another shard has given away.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) stream: StreamId,
    pub(crate) side: usize,
    pub(crate) bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Connecting,
    Open,
    /// The peer has ended: what waits is sent, then the shard is told.
    Ending(End),
    /// The shard wants it closed once what waits is sent.
    Flushing,
}

#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) stream: StreamId,
    pub(crate) side: usize,
    pub(crate) phase: Phase,
    /// Its last send was not taken whole.
    pub(crate) blocked: bool,
    /// Not before it has room is it sent anything.
    pub(crate) polling: bool,
    /// The turn in which it was given bytes last.
    pub(crate) given: u64,
    /// Something waits on it for the next turn.
    pub(crate) waits: bool,
    pub(crate) deadline: Option<Instant>,
}

/// What a shard's driver keeps.
#[derive(Debug, Default)]
pub(crate) struct Io {
    /// By the shard's name for them. As with the driver, a name that is given anew ends the one before.
    pub(crate) conns: SecondaryMap<ConnId, Conn>,
    pub(crate) done: VecDeque<Done>,
    pub(crate) unheard: VecDeque<(SocketAddr, Vec<u8>)>,
    pub(crate) given: VecDeque<Given>,
    /// The shards from which letters may have come, a bit each.
    pub(crate) mail: u64,
    pub(crate) rotation: VecDeque<ConnId>,
    pub(crate) drained: Vec<ConnId>,
    pub(crate) failed: Vec<ConnId>,
    pub(crate) checks: Vec<ConnId>,
    pub(crate) deadlines: VecDeque<(Instant, ConnId)>,
    /// Receive memory, where it may run short.
    pub(crate) memory: Option<Memory>,
    pub(crate) number: u64,
    /// When the next turn is, if one is wanted.
    pub(crate) next: Option<Instant>,
    /// No turn before this.
    pub(crate) away: Instant,
    /// What the driver met that must not be.
    pub(crate) wrong: Vec<String>,
}
