//! Where a shard ends and the outside begins: what `io` (or a simulation) tells it, and what it asks for.
//!
//! The driver's turn, in this order:
//! 1. tell the world what happened ([`World`]'s methods, each with `now`; from one connection at most 256 KiB a turn, 64 KiB
//!    where many bring as much);
//! 2. [`World::due`] when [`World::next_due`] has come;
//! 3. carry out [`World::poll_effect`] until it is empty;
//! 4. for each connection that [`Outbox::next_dirty`](crate::buf::Outbox::next_dirty) names: one vectored send of what
//!    `gather` shows, without waiting, and its outcome into `sent`; then `end_turn`;
//! 5. wake the shards that got mail, wait for completions until `next_due`.
//!
//! What holds between the two:
//! - Step 1 has an order of its own: connections whose last send failed have [`ended`](World::ended); those that took more have
//!   [`drained`](World::drained); what waited from an earlier turn is [`received`](World::received); completions in the order
//!   in which they came (connections made, reset; bytes; room to send); connections accepted; signalling, of datagrams and of
//!   streams, as much as its share of a turn allows; peers that have closed and been
//!   sent all, and connections that were to be closed and are; those cut off by time; connections of other shards
//!   ([`adopted`](World::adopted)); [`mail`](World::mail). Any of it may be missing, and any may come many times: several
//!   connections accepted, several pieces of one stream. Bytes of a connection never come in the turn that accepted it.
//! - Nothing is asked for before step 3. What the world wants in between waits, and the world bears what else is told until
//!   then: bytes of a connection that it wants paused, closed or handed over, the end of one that it wants closed.
//! - In step 3 the driver answers some effects at once, from within: a reset close by [`ended`](World::ended), a connect for
//!   which there is no room by [`connected`](World::connected). Others in a later turn: a close that sends first, by `ended`
//!   when all is out or 2 s are over; until then the connection is the driver's, and what is queued on it is sent.
//! - A connection is the driver's from the world's name for it ([`World::accepted`], [`World::adopted`],
//!   [`Effect::Connect`] polled) until `ended`, a failed `connected`, or [`Effect::HandOver`] polled. So long no other may have
//!   its place in the world's table: names of one place are told apart by age, and the driver knows the youngest alone.
//!   What is asked of a connection that is over meanwhile is nothing: effects on names that are dead are dropped.
//! - When step 3 is over, the outbox has bytes only for connections that the driver knows, and what waits for others is in the
//!   mail or waits for a place there: the driver drops what it finds for a stranger.

use std::{net::SocketAddr, rc::Rc};

use crate::{
    buf::{Outbox, Slice},
    ids::{ConnId, ShardId, SocketId},
    time::Instant,
};

/// How a connection ended, seen from us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The peer closed its sending direction.
    Closed,
    /// The peer reset it, or it timed out on the network.
    Reset,
    /// We closed it, as asked by [`Effect::Close`].
    Ours,
}

impl End {
    /// As the log says it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed by the peer",
            Self::Reset => "reset",
            Self::Ours => "closed by us",
        }
    }
}

/// Why a connection could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectError {
    /// Nobody listens there.
    Refused,
    /// No route, no answer in time.
    Unreachable,
    /// We have no descriptor or port left.
    Exhausted,
}

impl ConnectError {
    /// As logs and metrics say it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Exhausted => "exhausted",
        }
    }
}

/// What a shard asks of its driver.
#[derive(Debug)]
pub enum Effect {
    /// Send one datagram.
    Datagram {
        /// The socket to send from.
        socket: SocketId,
        /// Where to.
        to: SocketAddr,
        /// The whole datagram; shared with the transaction that may repeat it.
        bytes: Rc<[u8]>,
    },
    /// Open a stream connection; the answer is [`World::connected`].
    Connect {
        /// The name that the shard has given it.
        conn: ConnId,
        /// Where to.
        to: SocketAddr,
    },
    /// Close a connection. The answer is [`World::ended`] with [`End::Ours`]; nothing is received on it after this.
    Close {
        /// Which.
        conn: ConnId,
        /// True: send what waits in the outbox first (for 2 s at most). False: at once, by reset.
        flush: bool,
    },
    /// Stop receiving on a connection until [`Effect::Resume`]. The world is given nothing of it until then: what has come
    /// already and what still arrives is accepted, and waits with the driver; so does the peer's end, behind it.
    Pause {
        /// Which.
        conn: ConnId,
    },
    /// Receive again: what waited first, in shares of a turn.
    Resume {
        /// Which.
        conn: ConnId,
    },
    /// Give a connection that has named its session to the shard that owns it; it is no longer this shard's.
    HandOver {
        /// Which; single receives only so far, so nothing is in flight. Its name is dead after this.
        conn: ConnId,
        /// The owner.
        to: ShardId,
        /// What was read so far, up to the moment of asking.
        bytes: Vec<u8>,
    },
}

/// One shard as its driver sees it.
pub trait World {
    /// A connection came in on `socket`. `None`: refuse it (no room), by reset.
    ///
    /// A connection is read by single receives until the world has called for more by [`World::settled`].
    fn accepted(
        &mut self,
        now: Instant,
        socket: SocketId,
        local: SocketAddr,
        peer: SocketAddr,
    ) -> Option<ConnId>;

    /// A connection that another shard accepted, with what it has read; as `accepted`, and owned for good.
    fn adopted(
        &mut self,
        now: Instant,
        socket: SocketId,
        local: SocketAddr,
        peer: SocketAddr,
        bytes: &[u8],
    ) -> Option<ConnId>;

    /// Whether a connection stays with this shard, so that its multishot receive may be armed.
    fn settled(&self, conn: ConnId) -> bool;

    /// Whether a connection carries signalling: asked once, when the driver has its name. Its bytes come in small pieces, as many
    /// in a turn as the share of signalling allows.
    fn signals(&self, conn: ConnId) -> bool;

    /// The outcome of [`Effect::Connect`]: our own address, or why not (then the name is dead).
    fn connected(&mut self, now: Instant, conn: ConnId, outcome: Result<SocketAddr, ConnectError>);

    /// Bytes from a connection, in order. Unknown names (closed in the same turn) are ignored.
    fn received(&mut self, now: Instant, conn: ConnId, bytes: Slice);

    /// A connection is over; its name is dead after this.
    fn ended(&mut self, now: Instant, conn: ConnId, how: End);

    /// A datagram. `truncated` ones are never handed in.
    fn datagram(&mut self, now: Instant, socket: SocketId, from: SocketAddr, bytes: Slice);

    /// A connection that could not take everything can take more (its outbox went down).
    fn drained(&mut self, now: Instant, conn: ConnId);

    /// Letters may wait in this shard's mailbox: one of each other shard is read. True: there are more, and this is to be called
    /// again, in this turn or in the next.
    fn mail(&mut self, now: Instant) -> bool;

    /// Timers that are due: some of them, where they are many. Then [`World::next_due`] has come already.
    fn due(&mut self, now: Instant);

    /// When `due` must be called next.
    fn next_due(&self) -> Option<Instant>;

    /// The next thing asked for.
    fn poll_effect(&mut self) -> Option<Effect>;

    /// What waits to be sent.
    fn outbox(&mut self) -> &mut Outbox;

    /// The driver is short of receive buffers: at half, copy what is kept for long; `pinned` of `total` are held.
    fn pressure(&mut self, now: Instant, pinned: usize, total: usize);

    /// Shards that got mail from this one since the last call, to be woken.
    fn take_wakes(&mut self) -> u64;
}
