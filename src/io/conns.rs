//! The table of a shard's stream connections: where each stands, and what it has in the kernel's hands.

use std::{collections::VecDeque, os::fd::OwnedFd};

use slotmap::SecondaryMap;

use super::{addr::RawAddr, token::Place};
use crate::{
    buf::Slice,
    ids::{ConnId, ShardId, SocketId},
    shard::End,
    time::Instant,
};

/// Where a connection stands.
#[derive(Debug)]
pub(super) enum Phase {
    /// The connect is in flight.
    Connecting,
    /// The world knows it.
    Open,
    /// The peer's end was seen; what waits is still sent, then the world is told how it ended.
    Ending(End),
    /// The world wants it closed once what waits is sent.
    Flushing,
    /// We have said our last; whatever the peer still says is dropped until its end.
    Lingering,
    /// On its way to another shard, with what was read so far, once nothing is in flight.
    Leaving(ShardId, Vec<u8>),
    /// Over: closed once nothing is in flight. True: by reset.
    Dying { reset: bool },
}

/// The receive of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Receive {
    Idle,
    Single,
    Multi,
    /// A cancellation is on its way; what still arrives is accepted.
    Stopping,
}

/// Reasons why no receive is armed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Stops {
    /// The world asked.
    pub(super) paused: bool,
    /// It pins more receive memory than any other.
    pub(super) pressed: bool,
    /// More than its share waits to be handed in.
    pub(super) behind: bool,
    /// No buffer was free.
    pub(super) starved: bool,
}

impl Stops {
    pub(super) fn any(self) -> bool {
        self != Self::default()
    }
}

/// One stream connection.
#[derive(Debug)]
pub(super) struct Conn {
    /// The world's name.
    pub(super) id: ConnId,
    pub(super) fd: OwnedFd,
    /// Whether it is in the ring's file table, at its slot.
    pub(super) fixed: bool,
    pub(super) socket: SocketId,
    pub(super) phase: Phase,
    pub(super) receive: Receive,
    pub(super) stops: Stops,
    /// Whether it has brought far more than its share: it is received a share at a time, until its socket is empty.
    pub(super) bulk: bool,
    /// Whether it carries signalling, which is heard by a share of its own.
    pub(super) signalling: bool,
    /// Bytes of signalling that it may say before those who have said much, as of when.
    pub(super) credit: (u32, Instant),
    /// Bytes that may be handed in of it in a turn, as dear as they were of late.
    pub(super) most: u32,
    /// Whether a poll for room to send is in flight.
    pub(super) polling: bool,
    /// Where a connect in flight goes to; the kernel's until its completion.
    pub(super) addr: Option<Box<RawAddr>>,
    /// Whether its last send was not taken whole.
    pub(super) blocked: bool,
    /// Completions of a connect, and of its time limit, that are to come.
    pub(super) connects: u8,
    /// Received bytes whose turn has not come.
    pub(super) queue: VecDeque<Slice>,
    pub(super) queued: u32,
    /// Whether it stands in the rotation of those with a queue.
    pub(super) waiting: bool,
    /// Whether it stands in the list of those whose receive may have to be armed.
    pub(super) listed: bool,
    /// The peer's end, behind the queue.
    pub(super) end: Option<End>,
    /// Bytes handed in during turn `turn`.
    pub(super) taken: u32,
    pub(super) turn: u64,
    /// Received bytes in buffers that are not free again.
    pub(super) pinned: u32,
    /// When it is cut off, while it flushes, lingers or ends.
    pub(super) deadline: Option<Instant>,
}

impl Conn {
    pub(super) fn new(id: ConnId, fd: OwnedFd, socket: SocketId, phase: Phase) -> Self {
        Self {
            id,
            fd,
            fixed: false,
            socket,
            phase,
            receive: Receive::Idle,
            stops: Stops::default(),
            bulk: false,
            signalling: false,
            credit: (0, Instant::START),
            // Until it is known what its bytes cost.
            most: 64 << 10,
            polling: false,
            addr: None,
            blocked: false,
            connects: 0,
            queue: VecDeque::new(),
            queued: 0,
            waiting: false,
            listed: false,
            end: None,
            taken: 0,
            turn: 0,
            pinned: 0,
            deadline: None,
        }
    }

    /// Copies what waits out of receive memory.
    pub(super) fn copy_queue(&mut self) {
        for slice in self.queue.iter_mut().filter(|s| s.pinned()) {
            *slice = Slice::copied(slice);
        }
    }

    /// Whether the kernel holds an operation on it.
    pub(super) fn in_flight(&self) -> bool {
        self.receive != Receive::Idle || self.polling || self.connects > 0
    }
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    conn: Option<Conn>,
}

/// All connections of a shard, by slot and by the world's name.
#[derive(Debug)]
pub(super) struct Conns {
    slots: Vec<Slot>,
    free: Vec<u32>,
    names: SecondaryMap<ConnId, u32>,
    max: u32,
}

impl Conns {
    pub(super) fn new(max: u32) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            names: SecondaryMap::new(),
            max: max.min(1 << 24),
        }
    }

    pub(super) fn full(&self) -> bool {
        self.free.is_empty() && self.slots.len() >= self.max as usize
    }

    /// Slots in use, those of dying connections included.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Takes a connection in; the caller has asked [`Conns::full`].
    pub(super) fn insert(&mut self, conn: Conn) -> Place {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                generation: 0,
                conn: None,
            });
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        self.names.insert(conn.id, slot);
        let at = &mut self.slots[slot as usize];
        at.conn = Some(conn);
        Place {
            slot,
            generation: at.generation,
        }
    }

    /// Takes a connection out; its place names nobody from now on.
    pub(super) fn remove(&mut self, place: Place) -> Option<Conn> {
        let at = self.slots.get_mut(place.slot as usize)?;
        if at.generation != place.generation {
            return None;
        }
        let conn = at.conn.take()?;
        at.generation = at.generation.wrapping_add(1);
        self.free.push(place.slot);
        self.forget(conn.id, place.slot);
        Some(conn)
    }

    /// The world's name of the connection in `slot` is dead; the connection itself may take a while longer.
    pub(super) fn forget(&mut self, id: ConnId, slot: u32) {
        if self.names.get(id) == Some(&slot) {
            self.names.remove(id);
        }
    }

    pub(super) fn find(&self, id: ConnId) -> Option<Place> {
        let slot = *self.names.get(id)?;
        let generation = self.slots.get(slot as usize)?.generation;
        Some(Place { slot, generation })
    }

    pub(super) fn get(&self, place: Place) -> Option<&Conn> {
        let at = self.slots.get(place.slot as usize)?;
        (at.generation == place.generation)
            .then_some(at.conn.as_ref())
            .flatten()
    }

    pub(super) fn get_mut(&mut self, place: Place) -> Option<&mut Conn> {
        let at = self.slots.get_mut(place.slot as usize)?;
        (at.generation == place.generation)
            .then_some(at.conn.as_mut())
            .flatten()
    }

    /// Copies what waits on paused connections out of receive memory: it may wait for seconds.
    pub(super) fn copy_paused_out(&mut self) {
        let all = self.slots.iter_mut().filter_map(|at| at.conn.as_mut());
        for conn in all.filter(|c| c.stops.paused) {
            conn.copy_queue();
        }
    }

    /// All connections that are there.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Place, &Conn)> {
        self.slots.iter().enumerate().filter_map(|(slot, at)| {
            let place = Place {
                slot: u32::try_from(slot).ok()?,
                generation: at.generation,
            };
            Some((place, at.conn.as_ref()?))
        })
    }
}
