//! The data plane of a shard as its owner sees it.

use std::{collections::VecDeque, net::SocketAddr};

use rand::{SeedableRng, rngs::ChaCha12Rng};

use super::{Command, Counters, Event, Gauges, Output, Settings, names};
use crate::{
    buf::{Outbox, Slice},
    ids::{ConnId, LegId, SessionId},
    time::Instant,
};

/// A leg as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegView {
    /// `offered`, `connecting`, `waiting`, `bound`, `aborted`, `failed`, `ended`.
    pub state: &'static str,
    /// Its connection.
    pub conn: Option<ConnId>,
    /// SENDs on it without a response yet.
    pub unanswered: usize,
}

/// Every MSRP session of a shard: bytes in, slices out. See the module's text for the calling order.
#[derive(Debug)]
pub struct Plane {
    settings: Settings,
    rng: ChaCha12Rng,
    events: VecDeque<Event>,
    outputs: VecDeque<Output>,
    counters: Counters,
}

impl Plane {
    /// A plane without sessions. All chance that it needs comes from `seed`; `io` takes it from the system, a simulation
    /// makes it up.
    #[must_use]
    pub fn new(settings: Settings, seed: [u8; 32]) -> Self {
        Self {
            settings,
            rng: ChaCha12Rng::from_seed(seed),
            events: VecDeque::new(),
            outputs: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// Mints the session-id of a leg that is to be offered: for `LegOffer::own_uri`.
    pub fn mint(&mut self, session: SessionId, leg: LegId) -> names::SessionIdText {
        names::session_id(self.settings.shard, session, leg, &mut self.rng)
    }

    /// Carries out a command of the session room.
    pub fn command(&mut self, now: Instant, command: Command, outbox: &mut Outbox) {
        let _ = (now, command, outbox);
    }

    /// A connection came in. The shard has added it to the outbox.
    pub fn handle_accepted(
        &mut self,
        now: Instant,
        conn: ConnId,
        local: SocketAddr,
        peer: SocketAddr,
    ) {
        let _ = (now, conn, local, peer);
    }

    /// The shard has named the connection that it opens for [`Output::Connect`].
    pub fn handle_connecting(&mut self, session: SessionId, leg: LegId, conn: ConnId) {
        let _ = (session, leg, conn);
    }

    /// The outcome of [`Output::Connect`]: our own address, or it could not be made (then `conn` is dead).
    pub fn handle_connected(
        &mut self,
        now: Instant,
        conn: ConnId,
        outcome: Result<SocketAddr, ()>,
        outbox: &mut Outbox,
    ) {
        let _ = (now, conn, outcome, outbox);
    }

    /// The next bytes of a connection, in any pieces. Unknown connections are ignored.
    pub fn handle_bytes(&mut self, now: Instant, conn: ConnId, bytes: Slice, outbox: &mut Outbox) {
        let _ = (now, conn, bytes, outbox);
    }

    /// A connection that could not take everything has taken more.
    pub fn handle_drained(&mut self, now: Instant, conn: ConnId, outbox: &mut Outbox) {
        let _ = (now, conn, outbox);
    }

    /// A connection is over, by whomever.
    pub fn handle_closed(&mut self, now: Instant, conn: ConnId, outbox: &mut Outbox) {
        let _ = (now, conn, outbox);
    }

    /// Runs what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant, outbox: &mut Outbox) {
        let _ = (now, outbox);
    }

    /// When [`Plane::handle_timeout`] must be called next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// The next event for the session room.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The next thing asked of the shard.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Receive buffers are short: copies every kept slice out of them.
    pub fn relieve(&mut self, now: Instant) {
        let _ = now;
    }

    /// Whether the connection has named a session of this shard, so that it stays here.
    #[must_use]
    pub fn settled(&self, conn: ConnId) -> bool {
        let _ = conn;
        false
    }

    /// Ends the frame that is open on the connection with `+`; it is resumed under a new head. For bytes that the shard
    /// itself wants to put on the connection.
    pub fn interrupt(&mut self, now: Instant, conn: ConnId, outbox: &mut Outbox) {
        let _ = (now, conn, outbox);
    }

    /// What was counted from the start on.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What is held just now.
    #[must_use]
    pub fn gauges(&self) -> Gauges {
        Gauges::default()
    }

    /// Whether nothing is held: no session, no connection.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.gauges() == Gauges::default()
    }

    /// A leg as an operator sees it.
    #[must_use]
    pub fn leg_view(&self, session: SessionId, leg: LegId) -> Option<LegView> {
        let _ = (session, leg);
        None
    }
}
