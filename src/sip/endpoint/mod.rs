//! The endpoint: demultiplexes messages into transactions, chooses transports, fills Via.

use std::{collections::VecDeque, net::SocketAddr};

use rand::{SeedableRng, rngs::ChaCha12Rng};

use super::{Counts, Draft, Event, Flow, Output, Reply, Settings, Target, TxnRef};
use crate::{
    ids::{ConnId, ServerTxnId, ShardId},
    time::Instant,
};

/// The SIP endpoint of a shard. The calling order is in the module of the room.
#[derive(Debug)]
pub struct Endpoint {
    settings: Settings,
    rng: ChaCha12Rng,
    events: VecDeque<Event>,
    outputs: VecDeque<Output>,
}

impl Endpoint {
    /// An endpoint without transactions. All chance (branches, tags) comes from `seed`.
    #[must_use]
    pub fn new(settings: Settings, seed: [u8; 32]) -> Self {
        Self {
            settings,
            rng: ChaCha12Rng::from_seed(seed),
            events: VecDeque::new(),
            outputs: VecDeque::new(),
        }
    }

    /// A whole message from a datagram or, framed by `Stream`, from a connection. What cannot be read is
    /// answered 400 where it lets itself be answered, else dropped.
    pub fn handle_message(&mut self, _now: Instant, _flow: Flow, _bytes: &[u8]) {}

    /// Sends a request in a new client transaction. Its fate comes as events of `draft.of`.
    pub fn request(&mut self, _now: Instant, _draft: Draft) {}

    /// Answers a request. A 2xx to an INVITE may be given again until its transaction is over (64·T1): it is sent again. An
    /// answer after the final one, or to a transaction that is over, is dropped.
    pub fn respond(&mut self, _now: Instant, _txn: ServerTxnId, _reply: Reply) {}

    /// CANCELs an INVITE of ours once its first provisional response has come (settled.md 5); nothing happens where it has
    /// its final one. `headers`: Reason and others, each with CRLF.
    pub fn cancel(&mut self, _now: Instant, _of: TxnRef, _headers: &[u8]) {}

    /// Sends without a transaction: the ACK of a 2xx (complete but for Via, which is added) or a complete response.
    pub fn send(&mut self, _now: Instant, _target: Target, _message: Vec<u8>) {}

    /// The name of the connection that [`Output::Connect`] asked for.
    pub fn handle_connecting(&mut self, _to: SocketAddr, _conn: ConnId) {}

    /// Whether that connection came up.
    pub fn handle_connected(&mut self, _now: Instant, _conn: ConnId, _up: bool) {}

    /// A connection is over, here (`home` is our shard) or at another shard.
    pub fn handle_closed(&mut self, _now: Instant, _home: ShardId, _conn: ConnId) {}

    /// Timers that are due.
    pub fn handle_timeout(&mut self, _now: Instant) {}

    /// When `handle_timeout` must be called next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The next thing to know.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Whether nothing is held: no transaction, no timer.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let _ = (&self.settings, &self.rng);
        true
    }

    /// Gauges and counters.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts::default()
    }
}
