//! The SENDs that we have put out: found by the place in their transaction id, timed in the order of their ends.

use super::slab::{Handle, Hook, Reset};
use crate::{
    buf::Tid,
    ids::{ConnId, LegId, SessionId},
    time::Instant,
    wire::msrp::FailureReport,
};

/// What may come back for a SEND.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Expects {
    /// A response, within 30 s (Failure-Report yes).
    #[default]
    Response,
    /// An error or nothing (partial): no timer counts [MSRP-TMO-02].
    Error,
    /// Nothing (no).
    Nothing,
}

impl Expects {
    /// What a SEND with such a Failure-Report brings.
    pub(super) fn of(report: FailureReport) -> Self {
        match report {
            FailureReport::Yes => Self::Response,
            FailureReport::Partial => Self::Error,
            FailureReport::No => Self::Nothing,
        }
    }
}

/// What a SEND takes until it is answered.
pub(super) const SENT_BYTES: usize = 128;

const _: () = assert!(size_of::<Sent>() + 16 <= SENT_BYTES);

/// A SEND on a leg.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// Its characters of the place stay when the place is given back: the next one has the same.
    pub(super) tid: Tid,
    pub(super) conn: ConnId,
    pub(super) session: SessionId,
    pub(super) leg: LegId,
    /// The message, [`Handle::NONE`] for a bodiless SEND, and its share.
    pub(super) message: Option<Handle>,
    pub(super) share: u16,
    pub(super) expects: Expects,
    /// Its end-line is not put out yet.
    pub(super) open: bool,
    /// It is counted by itself, and not with the share of its message.
    pub(super) counted: bool,
    /// When its last byte left, as far as known; the 30 s run from then.
    pub(super) at: Instant,
    /// What the outbox of its connection must have got rid of until it has left.
    pub(super) put: u64,
    pub(super) in_leg: Hook,
}

impl Reset for Sent {
    fn reset(&mut self) {
        // What stays is written before the place is found again.
        self.message = None;
        self.expects = Expects::Response;
        self.open = false;
        self.counted = false;
        self.in_leg = Hook::default();
    }
}

/// [`Sent::in_leg`].
pub(super) fn in_leg(s: &mut Sent) -> &mut Hook {
    &mut s.in_leg
}
