//! What a shard counts by itself: messages by method and code, what it had to refuse, how long things took.

use std::collections::BTreeMap;

use super::report::{Distribution, InOut};
use crate::{
    sip::{Note, WRONG_CREDENTIALS},
    time::Instant,
    wire::sip::{Message, Method, Start},
};

/// The methods that are counted by name; the last place is for all others.
const METHODS: [&str; 15] = [
    "INVITE",
    "ACK",
    "BYE",
    "CANCEL",
    "OPTIONS",
    "REGISTER",
    "PRACK",
    "UPDATE",
    "MESSAGE",
    "REFER",
    "SUBSCRIBE",
    "NOTIFY",
    "INFO",
    "PUBLISH",
    "other",
];

/// Plain integers of one shard's thread.
#[derive(Debug)]
pub(super) struct Tally {
    requests: [InOut; METHODS.len()],
    /// By status code, 100 to 699.
    responses: Vec<InOut>,
    /// Connections that found no place.
    pub(super) connections_refused: u64,
    /// Connections closed because they were over `outbox_hard_bytes`, or could not be mailed on.
    pub(super) connections_overrun: u64,
    /// Connections closed because all of them together held too much.
    pub(super) spill_dropped: u64,
    /// Connections closed because all of them together held too much that had not come whole.
    pub(super) framing_dropped: u64,
    /// SIP connections closed because they said nothing whole in time.
    pub(super) half_open_closed: u64,
    /// Times that a SIP connection was not read any more because it did not read our answers.
    pub(super) sip_stalled: u64,
    /// Connections refused because their source had too many.
    pub(super) source_connections: u64,
    /// Requests refused because their source asked too often.
    pub(super) source_requests: u64,
    pub(super) handed_over: u64,
    /// Messages for another shard that found no place in the mail.
    pub(super) mail_full: u64,
    /// From first activity until the teardown that it made was in the kernel's hands.
    pub(super) teardown: Distribution,
    /// Refusals of ours by status and reason. Reasons are texts of this program and statuses are bounded, so it is.
    refusals: BTreeMap<(u16, &'static str), u64>,
    /// Requests whose credentials were wrong.
    pub(super) wrong_credentials: u64,
    /// Connections that we opened, by protocol and outcome.
    connects: BTreeMap<(&'static str, &'static str), u64>,
    /// Teardowns of this turn, by when their activity came: they are sent when the turn ends.
    leaving: Vec<Instant>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            requests: [InOut::default(); METHODS.len()],
            responses: vec![InOut::default(); 600],
            connections_refused: 0,
            connections_overrun: 0,
            spill_dropped: 0,
            framing_dropped: 0,
            half_open_closed: 0,
            sip_stalled: 0,
            source_connections: 0,
            source_requests: 0,
            handed_over: 0,
            mail_full: 0,
            teardown: Distribution::default(),
            refusals: BTreeMap::new(),
            wrong_credentials: 0,
            connects: BTreeMap::new(),
            leaving: Vec::new(),
        }
    }
}

fn place(method: Method<'_>) -> usize {
    METHODS
        .iter()
        .position(|m| m.as_bytes() == method.as_bytes())
        .unwrap_or(METHODS.len() - 1)
}

impl Tally {
    /// Counts a SIP message that came in.
    pub(super) fn sip_in(&mut self, message: &Message<'_>) {
        match message.start() {
            Start::Request { method, .. } => self.requests[place(method)].received += 1,
            Start::Response { code, .. } => {
                if let Some(c) = self.responses.get_mut(usize::from(code).wrapping_sub(100)) {
                    c.received += 1;
                }
            }
        }
    }

    /// Counts a SIP message that goes out, by its start line alone.
    pub(super) fn sip_out(&mut self, bytes: &[u8]) {
        if let Some(rest) = bytes.strip_prefix(b"SIP/2.0 ") {
            let code = rest
                .iter()
                .take(3)
                .fold(0_usize, |n, b| n * 10 + usize::from(b.wrapping_sub(b'0')));
            if let Some(c) = self.responses.get_mut(code.wrapping_sub(100)) {
                c.sent += 1;
            }
        } else if let Some(end) = bytes.iter().position(|b| *b == b' ') {
            self.requests[place(Method::of(&bytes[..end]))].sent += 1;
        }
    }

    /// Counts a final answer of ours.
    pub(super) fn answered(&mut self, note: &Note) {
        if note.code < 300 {
            return;
        }
        *self.refusals.entry((note.code, note.why)).or_default() += 1;
        self.wrong_credentials += u64::from(note.why == WRONG_CREDENTIALS);
    }

    /// Counts a connection that we opened, or could not.
    pub(super) fn connected(&mut self, protocol: &'static str, outcome: &'static str) {
        *self.connects.entry((protocol, outcome)).or_default() += 1;
    }

    pub(super) fn refusals(&self) -> Vec<((u16, &'static str), u64)> {
        self.refusals.iter().map(|(k, n)| (*k, *n)).collect()
    }

    pub(super) fn connects(&self) -> Vec<((&'static str, &'static str), u64)> {
        self.connects.iter().map(|(k, n)| (*k, *n)).collect()
    }

    /// Devices of a session are torn down, for activity that came at `since`. What they are told leaves with the turn.
    pub(super) fn teardown(&mut self, since: Instant) {
        self.leaving.push(since);
    }

    /// Whether the end of a turn is to be noted: then the next one begins at once.
    pub(super) const fn awaits_end_of_turn(&self) -> bool {
        !self.leaving.is_empty()
    }

    /// A turn has begun: what the last one sent was in the kernel's hands before `now`.
    pub(super) fn turn_ended(&mut self, now: Instant) {
        for since in self.leaving.drain(..) {
            self.teardown.record(now.since(since));
        }
    }

    pub(super) fn requests(&self) -> Vec<(&'static str, InOut)> {
        METHODS
            .iter()
            .copied()
            .zip(self.requests)
            .filter(|(_, c)| *c != InOut::default())
            .collect()
    }

    pub(super) fn responses(&self) -> Vec<(u16, InOut)> {
        (100..)
            .zip(self.responses.iter().copied())
            .filter(|(_, c)| *c != InOut::default())
            .collect()
    }
}
