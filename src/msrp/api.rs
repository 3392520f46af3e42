//! What the data plane is told, and what it tells: the types between it, the session room and the shard.

use std::{net::SocketAddr, rc::Rc, time::Duration};

use crate::ids::{ConnId, LegId, SessionId, ShardId};

/// When a SEND of the originator gets its 200 (settled.md R1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Ack {
    /// When one device has acknowledged the whole message, or it is kept; after 1 s at the latest.
    #[default]
    Held,
    /// At once.
    Receipt,
}

/// The bounds and choices of the data plane; from `Config` and `Limits`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The shard that runs it: part of the session-ids that are minted.
    pub shard: ShardId,
    /// How many shards there are: a session-id that names another one is nobody's.
    pub shards: u8,
    /// When a SEND gets its 200.
    pub ack: Ack,
    /// What a slow leg may lag behind, in bytes, before it is dropped (settled.md R3).
    pub outbox_bytes: usize,
    /// The largest message that is taken; larger: 413.
    pub max_message_bytes: u64,
    /// Until a connection must have named its session, and a leg's connection must be up.
    pub bind: Duration,
    /// How long reading may stop for the only leg (settled.md R3).
    pub stall: Duration,
    /// Unanswered SENDs on a leg.
    pub unanswered_max: usize,
    /// Sessions of this shard; connections of this shard.
    pub sessions_max: usize,
    /// Connections of this shard.
    pub connections_max: usize,
    /// Bytes of messages under way, with what is kept of them (settled.md R2), over all sessions of the shard. Each session,
    /// user and source has a share of them; over it a session's sender is stopped, or refused (408).
    pub kept_bytes_max: usize,
    /// Media types that pass and are no activity, whoever sends them, separated by spaces (settled.md 40).
    pub not_activity: Rc<[u8]>,
    /// How long a connection without a session stays, for re-use [MSRP-CONN-03].
    pub idle: Duration,
}

/// Who connects, seen from us (RFC 6135 §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// We connect, to the address of [`LegPeer::connect_to`], and send a SEND at once.
    Active,
    /// The peer connects.
    Passive,
}

/// How a To-Path is matched with a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matching {
    /// RFC 4975 §6.1.
    Strict,
    /// By the session-id alone: CEMA on both sides, or legacy session matching.
    SessionId,
}

/// What the media direction lets the peer of a leg do (RFC 4975 §8.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Direction {
    /// The peer may send us regular messages.
    pub peer_sends: bool,
    /// The peer wants regular messages from us.
    pub peer_receives: bool,
}

/// Our half of a leg's media, as our SDP says it.
#[derive(Clone, Debug)]
pub struct LegOffer {
    /// Our MSRP URI on this leg, as in our `a=path`; its session-id was minted by [`session_id`](super::session_id).
    pub own_uri: Rc<[u8]>,
    /// What we say we accept on this leg: `accept-types` values; `*` and `type/*` understood. Else 415 [MSRP-RSP-06].
    pub accept_types: Vec<u8>,
    /// What we say we accept inside a wrapper (`accept-wrapped-types`); empty: anything.
    pub accept_wrapped_types: Vec<u8>,
}

/// The peer's half, known once its SDP is.
#[derive(Clone, Debug)]
pub struct LegPeer {
    /// Its `a=path`: URIs separated by one space, as received. To-Path of what we send; From-Path is checked by it.
    pub path: Rc<[u8]>,
    /// Who connects.
    pub role: Role,
    /// Where to connect if we do: the path's leftmost URI, or `c=`/`m=` with CEMA. `None`: name not resolved.
    pub connect_to: Option<SocketAddr>,
    /// How its To-Paths are matched.
    pub matching: Matching,
    /// Its `accept-types`: nothing else is sent to it [MSRP-TYPES-03].
    pub accept_types: Vec<u8>,
    /// Its `accept-wrapped-types`; empty: anything.
    pub accept_wrapped_types: Vec<u8>,
    /// Its `max-size`: a larger message is not sent to it.
    pub max_size: Option<u64>,
    /// What it may do.
    pub direction: Direction,
}

/// What the session room asks of the data plane.
#[derive(Clone, Debug)]
pub enum Command {
    /// A session begins: no leg yet. Its legs follow by `Offer`.
    Open {
        /// Which.
        session: SessionId,
        /// Whom it is for, as a number: the sessions of one user share what one user may hold.
        user: u64,
        /// The address that its messages come from, as a number; `None`: it is trusted, and speaks for many.
        source: Option<u64>,
    },
    /// Our half of a leg is known (it is in an SDP of ours): a connection may name it from now on.
    Offer {
        /// Which session.
        session: SessionId,
        /// Which leg; 0 is the originator.
        leg: LegId,
        /// Our half.
        offer: LegOffer,
    },
    /// The peer's half is known (its answer, or the offer that we answer): the leg takes part from the next message on.
    Start {
        /// Which session.
        session: SessionId,
        /// Which leg.
        leg: LegId,
        /// Its half.
        peer: LegPeer,
    },
    /// A re-INVITE or UPDATE changed the peer's half; same `path` and role: nothing on the connection is touched.
    Update {
        /// Which session.
        session: SessionId,
        /// Which leg.
        leg: LegId,
        /// Its new half.
        peer: LegPeer,
    },
    /// Whether the first activity of a device leg settles the session on it at once, without asking: all other device legs
    /// are aborted as [`Finish::Abort`] within the same call, then [`Event::Activity`] tells. Off at `Open`.
    SettleOnActivity {
        /// Which session.
        session: SessionId,
        /// On or off.
        on: bool,
    },
    /// BYEs leave in this turn: what is whole and waits for a leg that has no connection will not go out any more. Its senders
    /// are told, as long as they can be (settled.md 39).
    Parting {
        /// Which session.
        session: SessionId,
    },
    /// A leg ends. Its peer is told which of its messages nobody has (settled.md 39).
    End {
        /// Which session.
        session: SessionId,
        /// Which leg.
        leg: LegId,
        /// How.
        how: Finish,
    },
    /// The session ends, with every leg that is left: whoever wrote what nobody has is told (settled.md 39), connections of its
    /// own are closed, nothing is kept.
    Close {
        /// Which.
        session: SessionId,
    },
}

/// How a leg ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// Its open frame ends with `#`, its queue is dropped, no body byte follows; what it had sent is still read and
    /// forwarded until [`Finish::Gone`] or for 2 s; then 481 (settled.md 12).
    Abort,
    /// At once: requests that name it get 481, its connection closes when no other session uses it.
    Gone,
}

/// Why a leg's media failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No connection within `bind` [COMEDIA-07]; a connect that was refused was tried again until then (settled.md 38).
    NotConnected,
    /// The connection was lost [MSRP-CONN-02].
    ConnectionLost,
    /// No response within 30 s [MSRP-TMO-01].
    Timeout,
    /// It lagged behind by more than `outbox_bytes`, or by too many unanswered SENDs [MSRP-CHUNK-11].
    Slow,
    /// The peer answered 481 [MSRP-RSP-08].
    SessionUnknown,
    /// The peer answered 506 [MSRP-RSP-09].
    BoundElsewhere,
    /// It broke the framing, or its path.
    Malformed,
}

impl Failure {
    /// For people, said of the leg.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::NotConnected => "its MSRP connection never came up",
            Self::ConnectionLost => "its MSRP connection was lost",
            Self::Timeout => "it did not answer a message in time",
            Self::Slow => "it lagged too far behind",
            Self::SessionUnknown => "it answered 481 to a message",
            Self::BoundElsewhere => "it answered 506 to a message",
            Self::Malformed => "it broke MSRP's framing",
        }
    }
}

/// What the data plane tells the session room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The leg's connection is up and bound.
    Bound {
        /// Which session.
        session: SessionId,
        /// Which leg.
        leg: LegId,
    },
    /// First user activity of a device leg: a chat message or isComposing (never IMDN, bodiless SEND, REPORT). Once a leg.
    Activity {
        /// Which session.
        session: SessionId,
        /// The active device's leg.
        leg: LegId,
        /// The other device legs were aborted (`SettleOnActivity`).
        settled: bool,
    },
    /// A leg's media failed; its connection is closed where no other session uses it. The leg takes no further message.
    /// For the originator: the session room has 6 s to restore it by `Start` or `Update` (settled.md 8).
    Failed {
        /// Which session.
        session: SessionId,
        /// Which leg.
        leg: LegId,
        /// Why.
        why: Failure,
    },
    /// No device took a message and none will: the sender was told (408, or the failure REPORT that it asked for).
    /// With a store, deferral begins here, at byte 1 under the same Message-ID (settled.md R2).
    Undelivered {
        /// Which session.
        session: SessionId,
        /// The CPIM or plain message as far as it is kept; empty if it was too large to keep (settled.md R2).
        body: Vec<u8>,
        /// Its Message-ID.
        message_id: Vec<u8>,
        /// Its Content-Type.
        content_type: Vec<u8>,
    },
}

/// What the data plane asks of the shard.
#[derive(Debug)]
pub enum Output {
    /// Open a connection for a leg; the shard answers with `handle_connecting`, then `handle_connected`.
    Connect {
        /// Which session.
        session: SessionId,
        /// Which leg.
        leg: LegId,
        /// Where to.
        to: SocketAddr,
    },
    /// Close a connection.
    Close {
        /// Which.
        conn: ConnId,
        /// Send what is queued first.
        flush: bool,
    },
    /// Stop reading a connection (settled.md R3).
    Pause {
        /// Which.
        conn: ConnId,
    },
    /// Read again.
    Resume {
        /// Which.
        conn: ConnId,
    },
    /// The first request of a connection names a session of another shard: the whole connection goes there.
    HandOver {
        /// Which.
        conn: ConnId,
        /// The shard that its session-id says.
        to: ShardId,
        /// What was read so far.
        bytes: Vec<u8>,
    },
    /// A connection that stays here carries a frame of another shard's session: these bytes of it, in order, are for
    /// that shard (which sees them as a connection of its own).
    Foreign {
        /// Which connection.
        conn: ConnId,
        /// The shard that the frame's session-id says.
        to: ShardId,
        /// The next bytes of the frame, from its start line to its end-line.
        bytes: Vec<u8>,
    },
}
