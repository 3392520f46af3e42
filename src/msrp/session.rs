//! A session: its leg table, its messages under way, what it remembers of those that are done.

use std::collections::VecDeque;

use super::{
    holders::Holds,
    leg::{Leg, State},
    plain::Plan,
    ranges::Ranges,
    set::LegSet,
    slab::{Handle, List},
};
use crate::{
    ids::{ConnId, LegId},
    time::Instant,
    timer::TimerId,
    wire::msrp::FailureReport,
};

/// Done messages that a session remembers, for late REPORTs and resent messages; the oldest is forgotten.
const DONE_MAX: usize = 32;
/// With a leg behind a relay: its failure REPORT comes up to 30 s after the relay's 200 (RFC 4976 §6.4).
const DONE_MAX_RELAYED: usize = 256;

/// Messages of one leg that are not complete; a further one is refused with 413.
pub(super) const INCOMPLETE_MAX: usize = 64;

/// Messages that a session remembers as refused or given up, while chunks of them may still come; the oldest is forgotten.
const REFUSED_MAX: usize = 64;

/// A message that is done: what a late REPORT needs.
#[derive(Debug)]
pub(super) struct Done {
    /// Hash of its Message-ID.
    pub(super) id: u64,
    pub(super) from: LegId,
    pub(super) success_report: bool,
    pub(super) failure_report: FailureReport,
    pub(super) total: u64,
    pub(super) acked: LegSet,
    /// What success REPORTs were passed on for, if any were.
    pub(super) reported: Option<Box<Ranges>>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// By the place that a `LegId` says. A place is used once.
    pub(super) legs: Vec<Option<Box<Leg>>>,
    /// Messages under way, in the order in which they began.
    pub(super) messages: List,
    /// Those that further chunks may come of: hash of the Message-ID, leg, message.
    pub(super) incomplete: Vec<(u64, LegId, Handle)>,
    /// Messages that were refused or given up before their end: hash of the Message-ID, leg, code.
    pub(super) refused: VecDeque<(u64, LegId, u16)>,
    pub(super) settle_on_activity: bool,
    pub(super) done: VecDeque<Done>,
    /// A leg of it is, or was, behind a relay.
    pub(super) relayed: bool,
    pub(super) timer: Option<(TimerId, Instant)>,
    /// Connections of it whose reading is stopped.
    pub(super) paused: Vec<ConnId>,
    /// Where messages like the last one go, as long as no leg changes.
    pub(super) plan: Plan,
    /// What its messages take.
    pub(super) holds: Holds,
}

impl Session {
    pub(super) fn leg(&self, leg: LegId) -> Option<&Leg> {
        self.legs.get(usize::from(leg.0))?.as_deref()
    }

    /// A leg that may change: what was planned no longer holds.
    pub(super) fn leg_mut(&mut self, leg: LegId) -> Option<&mut Leg> {
        self.plan.stands = false;
        self.leg_as_it_is(leg)
    }

    /// A leg of which nothing changes that a plan is made of: its counts, and the list of its unanswered SENDs.
    pub(super) fn leg_as_it_is(&mut self, leg: LegId) -> Option<&mut Leg> {
        self.legs.get_mut(usize::from(leg.0))?.as_deref_mut()
    }

    /// The legs that are there, in the order of their places.
    pub(super) fn all(&self) -> impl Iterator<Item = &Leg> {
        self.legs.iter().filter_map(|l| l.as_deref())
    }

    /// No leg is stalled any longer.
    pub(super) fn end_stalls(&mut self) {
        self.plan.stands = false;
        for leg in self.legs.iter_mut().flatten() {
            leg.end_stall();
        }
    }

    /// Whether the reading of a leg is stopped.
    pub(super) fn is_paused(&self, leg: LegId) -> bool {
        !self.paused.is_empty()
            && self
                .leg(leg)
                .and_then(|l| l.conn)
                .is_some_and(|conn| self.paused.contains(&conn))
    }

    /// Puts a leg into its place; a place that is taken keeps its leg.
    pub(super) fn insert(&mut self, leg: Leg) {
        self.plan.stands = false;
        let place = usize::from(leg.id.0);
        if self.legs.len() <= place {
            self.legs.resize_with(place + 1, || None);
        }
        if let Some(slot) = self.legs.get_mut(place)
            && slot.is_none()
        {
            *slot = Some(Box::new(leg));
        }
    }

    /// The devices that take part but for one.
    pub(super) fn other_devices(&self, leg: LegId) -> impl Iterator<Item = &Leg> {
        let all = self.all();
        all.filter(move |l| l.id != leg && l.id != LegId::ORIGINATOR && l.state == State::Started)
    }

    /// Whether a leg holds much of the session's share: SENDs that it has not answered, half as many at least as any other
    /// that gets the same messages, or messages that wait for it.
    pub(super) fn holds_most(&self, leg: &Leg) -> bool {
        let side = leg.id == LegId::ORIGINATOR;
        let mut alike = self.all().filter(|l| (l.id == LegId::ORIGINATOR) == side);
        let held = leg.unanswered.len();
        leg.waiting > 0 || held > 0 && alike.all(|l| 2 * held >= l.unanswered.len())
    }

    /// Remembers that what else comes of a message gets the code that its chunk has got.
    pub(super) fn remember_refused(&mut self, id: u64, leg: LegId, code: u16) {
        if self.refused.len() == REFUSED_MAX {
            self.refused.pop_front();
        }
        self.refused.push_back((id, leg, code));
    }

    /// What a chunk gets of a message that has not begun: nobody can use the rest of one whose other chunks were refused. Its
    /// first byte begins it anew.
    pub(super) fn refusal_of(&mut self, id: u64, leg: LegId, start: u64) -> Option<u16> {
        let at = |r: &(u64, LegId, u16)| (r.0, r.1) == (id, leg);
        let place = self.refused.iter().position(at)?;
        let code = self.refused[place].2;
        if start == 1 {
            self.refused.remove(place);
            return None;
        }
        Some(code)
    }

    /// Remembers a done message.
    pub(super) fn remember(&mut self, done: Done) {
        let max = if self.relayed {
            DONE_MAX_RELAYED
        } else {
            DONE_MAX
        };
        if self.done.len() == max {
            self.done.pop_front();
        }
        self.done.push_back(done);
    }
}
