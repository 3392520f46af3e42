//! What waits for a leg: whole messages until its connection is up or has room; and what happens when it lags too far.

use std::time::Duration;

use arrayvec::ArrayVec;

use super::{
    core::{Core, Deferred},
    due::LOOK_AGAIN,
    fan::{Chunk, INTERRUPTIBLE, RangeLine},
    leg::Leg,
    message::Progress,
    slab::{Handle, List},
};
use crate::{
    buf::{Outbox, Slice},
    ids::{LegId, SessionId},
    time::Instant,
    wire::msrp::{ByteRange, FailureReport},
};

/// What is kept is put out in chunks of this size.
const KEPT_CHUNK: u64 = 64 * 1024;
/// How long a device that is over its bounds may hold up another that has room.
const LAG: Duration = Duration::from_millis(250);

impl Core {
    /// All of a message has come and, where a leg is sending it, is put out.
    pub(super) fn completed(&mut self, now: Instant, message: Handle, outbox: &mut Outbox) {
        let Some(m) = self.messages.get_mut(message) else {
            return;
        };
        m.complete = true;
        let (session, from, bytes) = (m.session, m.from, m.received.end() - 1);
        let whole = m.keeping;
        let expects_response = m.failure_report == FailureReport::Yes;
        let mut may_send: ArrayVec<LegId, 256> = ArrayVec::new();
        let mut shares = std::mem::take(&mut m.shares);
        for share in &mut shares {
            let Some(l) = self.leg_mut(session, share.leg) else {
                continue;
            };
            match share.progress {
                Progress::Sending => {
                    share.progress = Progress::Sent;
                    l.to.count(bytes);
                    share.put = l.conn.map_or(0, |conn| outbox.put(conn));
                    if expects_response {
                        share.put = 0;
                    }
                }
                Progress::Waiting if whole => {
                    l.waiting += 1;
                    if l.conn.is_some() {
                        may_send.push(share.leg);
                    }
                }
                Progress::Waiting => share.progress = Progress::Failed(408),
                Progress::Sent | Progress::Acked | Progress::Failed(_) => {}
            }
        }
        if let Some(l) = self.leg_mut(session, from) {
            l.from.count(bytes);
        }
        if let Some(m) = self.messages.get_mut(message) {
            m.shares = shares;
        }
        for leg in may_send {
            self.send_waiting(now, session, leg, outbox);
        }
    }

    /// Sends the messages that wait whole for a leg, in their order, as far as its bounds allow.
    pub(super) fn send_waiting(
        &mut self,
        now: Instant,
        session: SessionId,
        leg: LegId,
        outbox: &mut Outbox,
    ) {
        let mut at = self
            .sessions
            .get(session)
            .and_then(|s| s.messages.first(&self.messages));
        while let Some(message) = at {
            at = List::after(&mut self.messages, message, super::message::in_session);
            let Some(m) = self.messages.get_mut(message) else {
                continue;
            };
            let waits = m.complete
                && m.share_of(leg)
                    .is_some_and(|s| s.progress == Progress::Waiting);
            if waits && !self.send_kept(now, message, leg, outbox) {
                return;
            }
        }
    }

    /// Sends what is kept of a message on a leg that waits for it. False: the leg takes no more just now.
    fn send_kept(
        &mut self,
        now: Instant,
        message: Handle,
        leg: LegId,
        outbox: &mut Outbox,
    ) -> bool {
        loop {
            let bound = self.settings.outbox_bytes / 2;
            let Some(m) = self.messages.get(message) else {
                return true;
            };
            let session = m.session;
            let Some(conn) = self
                .leg(session, leg)
                .filter(|l| l.peer.is_some())
                .and_then(|l| l.conn)
            else {
                return false;
            };
            if outbox.backlog(conn) > bound {
                self.look_again(now, session, leg);
                return false;
            }
            let Some(share) = m.shares.iter().position(|s| s.leg == leg) else {
                return true;
            };
            let position = m.shares[share].position;
            let last = m.received.end() - 1;
            let end = last.min(position + KEPT_CHUNK - 1);
            let (Some(rest), true) = (m.rest.clone(), m.kept.bytes() as u64 == last) else {
                self.fail_share(now, message, share, 408, outbox);
                self.settle(now, message, outbox);
                return true;
            };
            let mut parts: Vec<Slice> = Vec::new();
            m.kept.each(position, end + 1, |s| parts.push(s));
            let range = ByteRange {
                start: position,
                end: (end + 1 - position <= INTERRUPTIBLE).then_some(end),
                total: Some(last),
            };
            let mut line = RangeLine::new();
            self.range_line(range, &mut line);
            let chunk = Chunk {
                start: position,
                len: end + 1 - position,
                declared: None,
                rest: &rest,
                flag: if end == last { b'$' } else { b'+' },
                avoid: &[],
            };
            self.send_chunk(now, message, share, &chunk, &line, &parts, outbox);
            let put = outbox.put(conn);
            let Some(m) = self.messages.get_mut(message) else {
                return true;
            };
            let report = m.failure_report;
            let Some(s) = m.shares.get_mut(share) else {
                return true;
            };
            s.position = end + 1;
            if end == last {
                s.progress = Progress::Sent;
                s.put = if report == FailureReport::Yes { 0 } else { put };
                if report != FailureReport::Yes {
                    self.mark_young(now, message);
                }
                if let Some(l) = self.leg_mut(session, leg) {
                    l.waiting = l.waiting.saturating_sub(1);
                    l.to.count(last);
                }
                return true;
            }
        }
    }

    /// What a turn puts out leaves at its end. A socket that takes only part of it tells when it has room, one that takes it all
    /// says nothing: whoever stops for a backlog looks again by himself.
    fn look_again(&mut self, now: Instant, session: SessionId, leg: LegId) {
        let at = now + LOOK_AGAIN;
        if let Some(l) = self.leg_mut(session, leg) {
            l.trouble().look_at = Some(at);
            self.arm(session, at);
        }
    }

    /// Looks whether the legs that a message goes to are within their bounds. [MSRP-CHUNK-11]
    pub(super) fn check_bounds(&mut self, now: Instant, message: Handle, outbox: &mut Outbox) {
        let Some(m) = self.messages.get(message) else {
            return;
        };
        let (session, count) = (m.session, m.shares.len());
        for i in 0..count {
            let Some(leg) = self
                .messages
                .get(message)
                .and_then(|m| m.shares.get(i))
                .map(|s| s.leg)
            else {
                return;
            };
            let Some(l) = self.leg(session, leg) else {
                continue;
            };
            let Some(conn) = l.conn else { continue };
            if self.is_over(session, l, outbox) {
                let backlog = outbox.backlog(conn);
                self.over_bounds(now, session, leg, backlog, outbox);
            }
        }
    }

    /// A leg is over its bounds: what feeds it stops, for as long as it may (settled.md R3; [`Core::wait_for_laggard`] where
    /// there are other devices). Where that does not help, it is dropped at twice of them.
    fn over_bounds(
        &mut self,
        now: Instant,
        session: SessionId,
        leg: LegId,
        backlog: usize,
        outbox: &mut Outbox,
    ) {
        let hard = backlog > 2 * self.settings.outbox_bytes
            || self
                .leg(session, leg)
                .is_some_and(|l| l.unanswered.len() > 2 * self.settings.unanswered_max);
        if hard {
            self.fail_leg(now, session, leg, super::Failure::Slow, outbox);
            return;
        }
        let stall = self.settings.stall;
        if let Some(l) = self.leg_mut(session, leg)
            && l.stalled_since().is_none()
        {
            l.trouble().stalled_since = Some(now);
            l.refusing = false;
            self.arm(session, now + stall);
            self.look_again(now, session, leg);
            self.deferred.push_back(Deferred::Stall { session, leg });
        }
    }

    /// A stalled leg has no room although another device of its session may have: it is given [`LAG`] to come within its
    /// bounds, then it lags behind and is dropped alone. As long as none has room, the sender is too fast for all. So the fastest
    /// sets the pace, and a message far larger than the bounds reaches all that are about as fast. [MSRP-CHUNK-11]
    pub(super) fn wait_for_laggard(
        &mut self,
        now: Instant,
        session: SessionId,
        leg: LegId,
        outbox: &mut Outbox,
    ) {
        let Some(another) = self.another_keeps_up(session, leg, outbox) else {
            return;
        };
        let Some(l) = self.leg_mut(session, leg) else {
            return;
        };
        let lags_since = &mut l.trouble().lags_since;
        if !another {
            *lags_since = None;
        } else if *lags_since.get_or_insert(now) + LAG <= now {
            if self
                .leg(session, leg)
                .is_some_and(|l| self.is_over(session, l, outbox))
            {
                self.fail_leg(now, session, leg, super::Failure::Slow, outbox);
            } else {
                self.deferred.push_back(Deferred::Resume { session });
            }
            return;
        }
        self.look_again(now, session, leg);
    }

    fn is_over(&self, session: SessionId, leg: &Leg, outbox: &Outbox) -> bool {
        leg.conn
            .is_some_and(|conn| outbox.backlog(conn) > self.settings.outbox_bytes)
            || leg.unanswered.len() > self.settings.unanswered_max
            || (self.sessions.get(session))
                .is_some_and(|s| self.holders.is_tight(&s.holds) && s.holds_most(leg))
    }

    /// Whether another device of a device's session is well within its bounds; nothing where there is no other.
    fn another_keeps_up(&self, session: SessionId, leg: LegId, outbox: &Outbox) -> Option<bool> {
        let s = self.sessions.get(session)?;
        if leg == LegId::ORIGINATOR {
            return None;
        }
        let mut others = s.other_devices(leg).peekable();
        others.peek()?;
        Some(others.any(|l| self.is_well_within(session, l, outbox)))
    }

    /// Whether a leg has room for half of what its bounds allow, and its session for half of its share if the leg holds any
    /// of that.
    pub(super) fn is_well_within(&self, session: SessionId, leg: &Leg, outbox: &Outbox) -> bool {
        leg.conn
            .is_some_and(|conn| outbox.backlog(conn) <= self.settings.outbox_bytes / 2)
            && leg.unanswered.len() <= self.settings.unanswered_max / 2
            && (self.sessions.get(session))
                .is_some_and(|s| self.holders.is_easy(&s.holds) || !s.holds_most(leg))
    }
}
