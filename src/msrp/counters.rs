//! What the data plane counts, by the names of its metrics, and what it holds just now.

use super::Failure;
use crate::distribution::Distribution;

/// The status codes that are counted by themselves; the last place of a [`ByCode`] is for all others.
pub const CODES: [u16; 10] = [200, 400, 403, 408, 413, 415, 423, 481, 501, 506];

/// A count for each of [`CODES`], and one for all other codes.
pub type ByCode = [u64; CODES.len() + 1];

/// The place of `code` in a [`ByCode`].
#[must_use]
pub fn code_place(code: u16) -> usize {
    CODES.iter().position(|&c| c == code).unwrap_or(CODES.len())
}

/// What is counted from the start on; only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// `msrp_messages_total{direction="in"}`: messages begun by a peer.
    pub messages_in: u64,
    /// `msrp_messages_total{direction="out"}`: messages begun on a leg.
    pub messages_out: u64,
    /// `msrp_chunks_total`: SENDs with a body, received.
    pub chunks_in: u64,
    /// `msrp_chunks_total{direction="out"}`: SENDs with a body, put out on a leg.
    pub chunks_out: u64,
    /// `msrp_bytes_total{direction="in"}`: all bytes received on MSRP connections.
    pub bytes_in: u64,
    /// `msrp_bytes_total{direction="out"}`: body bytes put out on legs.
    pub bytes_out: u64,
    /// `msrp_responses_total{direction="in"}`, a count a code.
    pub responses_in: ByCode,
    /// `msrp_responses_total{direction="out"}`.
    pub responses_out: ByCode,
    /// REPORTs received.
    pub reports_in: u64,
    /// REPORTs sent: passed on or made here.
    pub reports_out: u64,
    /// `deliveries_total{outcome="acknowledged"}`: a leg has acknowledged a whole message (or its socket has taken it, where
    /// no response was asked for).
    pub deliveries_acknowledged: u64,
    /// `deliveries_total{outcome="refused"}`: the leg answered with an error, or could not take the message.
    pub deliveries_refused: u64,
    /// `deliveries_total{outcome="lost"}`: the leg failed, timed out or was torn down before it had acknowledged.
    pub deliveries_lost: u64,
    /// `delivery_seconds`: from the head of a message until a leg has acknowledged all of it.
    pub delivery: Distribution,
    /// Messages of the originator that no device took.
    pub undelivered: u64,
    /// `deliveries_total{outcome="incomplete"}`: messages of either side that did not go on, or had a hole: given up (settled.md 35).
    pub incomplete: u64,
    /// `legs_dropped_total{reason}`: a count for each [`Failure`], in the order of [`failure_place`].
    pub legs_dropped: [u64; 7],
    /// Connections closed because their bytes could not be framed.
    pub malformed: u64,
    /// Connections closed because they named no session in time.
    pub unbound: u64,
    /// Requests refused because a bound was reached.
    pub refused_full: u64,
}

/// The place of `why` in [`Counters::legs_dropped`].
#[must_use]
pub const fn failure_place(why: Failure) -> usize {
    match why {
        Failure::NotConnected => 0,
        Failure::ConnectionLost => 1,
        Failure::Timeout => 2,
        Failure::Slow => 3,
        Failure::SessionUnknown => 4,
        Failure::BoundElsewhere => 5,
        Failure::Malformed => 6,
    }
}

/// What is held just now; all zero when nothing runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Sessions open.
    pub sessions: usize,
    /// Legs offered or started and not ended.
    pub legs: usize,
    /// Connections, bound or not.
    pub connections: usize,
    /// Messages not accounted for yet.
    pub messages: usize,
    /// SENDs on legs without a response yet.
    pub unanswered: usize,
    /// Body bytes of kept messages.
    pub kept_bytes: usize,
    /// What sessions hold of their shares: messages under way, with what is kept of them, and SENDs without a response.
    pub held_bytes: usize,
}
