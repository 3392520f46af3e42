//! What happens when time passes: held answers, kept slices, unanswered SENDs, connections that do not come up.

use std::time::Duration;

use super::{
    Failure,
    account::wants,
    core::{Core, Deferred},
    message::{Progress, in_held, in_young},
    session::Session,
    slab::{Handle, List},
    unanswered::{Expects, in_leg},
};
use crate::{
    buf::Outbox,
    ids::{ConnId, LegId, SessionId},
    time::Instant,
};

/// How long a response is awaited (RFC 4975 §7.1.1) [MSRP-TMO-01].
pub(super) const RESPONSE: Duration = Duration::from_secs(30);

/// How long the 200 of a last chunk is held back at most (settled.md R1).
pub(super) const HOLD_ANSWER: Duration = Duration::from_secs(1);

/// How long what is kept may pin receive buffers (settled.md R2).
pub(super) const PIN: Duration = Duration::from_millis(50);

/// How long an open frame waits for input before it is interrupted (settled.md 10).
pub(super) const QUIET: Duration = Duration::from_secs(1);

/// How long a head may take from its first byte to its end: far longer than a network stands still that still works.
pub(super) const HEAD: Duration = Duration::from_secs(10);

/// How long what an aborted leg had sent is still read (settled.md 12).
pub(super) const ABORT: Duration = Duration::from_secs(2);

/// How long a message waits for a first leg, and how long for the rest of itself.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// How soon a leg is looked at again that was over its bounds when a turn ended.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// How soon a SEND is looked at again whose last byte has not left yet.
const RECHECK: Duration = Duration::from_secs(1);

impl Core {
    /// When [`Core::due`] must run next.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let young = self
            .young
            .first(&self.messages)
            .and_then(|h| self.messages.get(h))
            .map(|m| m.young_since + PIN);
        let held = self
            .held
            .first(&self.messages)
            .and_then(|h| self.messages.get(h))
            .map(|m| m.held_since + HOLD_ANSWER);
        [young, held, self.timers.next()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Answers 200 where the answer was held for a second: the message is kept, and reported if nobody takes it.
    pub(super) fn release_held(&mut self, now: Instant, outbox: &mut Outbox) {
        while let Some(first) = self.held.first(&self.messages)
            && self
                .messages
                .get(first)
                .is_some_and(|m| m.held_since + HOLD_ANSWER <= now)
        {
            self.answer_held(now, first, 200, outbox);
        }
    }

    /// Copies what is kept and still pins receive buffers after 50 ms (`now` beyond that), and looks whether messages that
    /// get no response are done.
    pub(super) fn age(&mut self, now: Instant, all: bool, outbox: Option<&Outbox>) {
        for _ in 0..self.young.len() {
            let Some(first) = self.young.first(&self.messages) else {
                return;
            };
            if !self
                .messages
                .get(first)
                .is_some_and(|m| all || m.young_since + PIN <= now)
            {
                return;
            }
            self.young.remove(&mut self.messages, first, in_young);
            if let Some(outbox) = outbox {
                self.settle_taken(now, first, outbox);
            }
            let Some(m) = self.messages.get_mut(first) else {
                continue;
            };
            m.kept.copy_out();
            self.weigh(first);
            let Some(m) = self.messages.get_mut(first) else {
                continue;
            };
            if let Some(rest) = &mut m.rest
                && rest.bytes.pinned()
            {
                rest.bytes = crate::buf::Slice::copied(&rest.bytes);
            }
            // Its socket has not taken it: look again with the next ones.
            let again = m
                .shares
                .iter()
                .any(|s| s.progress == Progress::Sent && s.put > 0);
            if again {
                self.mark_young(now, first);
            }
        }
    }

    /// Runs what a session waits for.
    pub(super) fn session_due(&mut self, now: Instant, session: SessionId, outbox: &mut Outbox) {
        let Some(s) = self.sessions.get_mut(session) else {
            return;
        };
        s.timer = None;
        let legs = s.legs.len();
        for place in 0..legs {
            let leg = LegId(u8::try_from(place).unwrap_or(u8::MAX));
            self.leg_due(now, session, leg, outbox);
        }
        let messages = self.messages_due(now, session, outbox);
        let legs = self.sessions.get(session).and_then(|s| self.legs_next(s));
        if let Some(next) = messages.into_iter().chain(legs).min() {
            // What is due and still stands is a SEND whose last byte has not left: it is looked at again later.
            let next = if next <= now { now + RECHECK } else { next };
            self.arm(session, next);
        }
    }

    fn leg_due(&mut self, now: Instant, session: SessionId, leg: LegId, outbox: &mut Outbox) {
        let Some(l) = self.leg_mut(session, leg) else {
            return;
        };
        let abort_by = l.trouble.as_ref().and_then(|t| t.abort_by);
        if abort_by.is_some_and(|by| by <= now) {
            self.end_leg(now, session, leg, outbox);
            return;
        }
        if l.bind_by.is_some_and(|by| by <= now) {
            self.fail_leg(now, session, leg, Failure::NotConnected, outbox);
            return;
        }
        if let Some(again) = l.trouble.as_mut().and_then(|t| t.again.as_mut())
            && again.at.take_if(|at| *at <= now).is_some()
        {
            let to = again.to;
            self.deferred
                .push_back(Deferred::Connect { session, leg, to });
        }
        let stall = self.settings.stall;
        if let Some(l) = self.leg(session, leg)
            && l.stalled_since().is_some_and(|since| since + stall <= now)
        {
            self.fail_leg(now, session, leg, Failure::Slow, outbox);
            return;
        }
        if let Some(l) = self.leg_mut(session, leg)
            && let Some(trouble) = &mut l.trouble
            && trouble.look_at.take_if(|at| *at <= now).is_some()
        {
            self.ease(now, session, leg, outbox);
        }
        self.unanswered_due(now, session, leg, outbox);
    }

    /// A SEND that had no response for 30 s since its last byte left: the leg has failed [MSRP-TMO-01]. Where no response is
    /// awaited it is only forgotten [MSRP-TMO-02].
    fn unanswered_due(
        &mut self,
        now: Instant,
        session: SessionId,
        leg: LegId,
        outbox: &mut Outbox,
    ) {
        while let Some(l) = self.leg(session, leg)
            && let Some(first) = l.unanswered.first(&self.sent)
            && let Some(sent) = self.sent.get(first)
            && sent.at + RESPONSE <= now
        {
            match sent.expects {
                Expects::Error | Expects::Nothing => self.drop_sent(first),
                Expects::Response => {
                    if outbox.left(sent.conn) < sent.put {
                        // Not even out. A peer that takes nothing at all for as long is as dead.
                        let since = l
                            .trouble
                            .as_ref()
                            .and_then(|t| t.drained)
                            .unwrap_or(sent.at)
                            .max(sent.at);
                        if since + RESPONSE > now {
                            return;
                        }
                    }
                    self.fail_leg(now, session, leg, Failure::Timeout, outbox);
                    return;
                }
            }
        }
    }

    /// Messages that found no leg to go to for 30 s, and messages that have not gone on for as long. When the next may be one.
    fn messages_due(
        &mut self,
        now: Instant,
        session: SessionId,
        outbox: &mut Outbox,
    ) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        self.each_message(session, |core, handle| {
            let Some(m) = core.messages.get_mut(handle) else {
                return;
            };
            if let Some(s) = core.sessions.get(session)
                && s.is_paused(m.from)
            {
                // That it does not go on is our own doing.
                m.touched = now;
            }
            let unclaimed = m.complete && m.chosen && m.shares.is_empty();
            let since = if m.complete { m.began } else { m.touched };
            if m.complete && !unclaimed {
                return;
            }
            let by = since + PATIENCE;
            if by > now {
                next = Some(next.map_or(by, |n| n.min(by)));
            } else if unclaimed {
                core.fail_message(now, handle, 408, outbox);
            } else {
                core.give_up_on(now, handle, outbox);
            }
        });
        next
    }

    /// What is missing of a message will not come, at its end or in its middle: the legs that have begun it are told, and so is
    /// its sender, for the chunks that we have answered 200 (settled.md 35), unless a later one was refused. What still comes of
    /// it is refused, but for its first byte, which begins it anew.
    fn give_up_on(&mut self, now: Instant, message: Handle, outbox: &mut Outbox) {
        let Some(m) = self.messages.get(message) else {
            return;
        };
        let owed = !m.told && !m.received.is_empty();
        let code = m.refused.unwrap_or(408);
        if owed && wants(m.failure_report, code) {
            let (session, from, range) = (m.session, m.from, m.whole_range());
            let id = m.id.clone();
            self.report(now, session, from, &id, Some(range), code, outbox);
        }
        self.counters.incomplete += u64::from(owed);
        if let Some(m) = self.messages.get(message) {
            let (session, from, hash) = (m.session, m.from, self.id_hash(&m.id));
            if let Some(s) = self.sessions.get_mut(session) {
                s.remember_refused(hash, from, code);
            }
        }
        self.abort_message(now, message, outbox);
    }

    /// When a session must be looked at next for its legs.
    fn legs_next(&self, s: &Session) -> Option<Instant> {
        let legs = s.all().filter_map(|l| {
            let response = l
                .unanswered
                .first(&self.sent)
                .and_then(|h| self.sent.get(h))
                .map(|sent| sent.at + RESPONSE);
            let stalled = l.stalled_since().map(|since| since + self.settings.stall);
            let trouble = l.trouble.as_ref();
            let look_at = trouble.and_then(|t| t.look_at);
            let abort_by = trouble.and_then(|t| t.abort_by);
            let again = trouble.and_then(|t| t.again?.at);
            [response, stalled, look_at, l.bind_by, abort_by, again]
                .into_iter()
                .flatten()
                .min()
        });
        legs.min()
    }

    /// A connection has taken more: the 30 s of what has left run from now, a leg that was stalled may go on.
    pub(super) fn drained(
        &mut self,
        now: Instant,
        conn: ConnId,
        session: SessionId,
        leg: LegId,
        outbox: &mut Outbox,
    ) {
        let left = outbox.left(conn);
        let Some(l) = self.leg_mut(session, leg) else {
            return;
        };
        let trouble = l.trouble();
        let before = std::mem::replace(&mut trouble.drained_at, left);
        trouble.drained = Some(now);
        let unanswered = l.unanswered;
        let mut at = unanswered.last(&self.sent);
        while let Some(handle) = at
            && let Some(sent) = self.sent.get_mut(handle)
            && sent.put > before
        {
            if sent.put <= left {
                sent.at = now;
            }
            at = List::before(&mut self.sent, handle, in_leg);
        }
        self.ease(now, session, leg, outbox);
    }

    /// Whether a leg that was over its bounds is well below them: reading goes on, what waits is sent.
    pub(super) fn ease(
        &mut self,
        now: Instant,
        session: SessionId,
        leg: LegId,
        outbox: &mut Outbox,
    ) {
        let Some(l) = self.leg(session, leg) else {
            return;
        };
        let (is_within, is_stalled) = (
            self.is_well_within(session, l, outbox),
            l.stalled_since().is_some(),
        );
        if !is_within {
            if is_stalled {
                self.wait_for_laggard(now, session, leg, outbox);
            }
            return;
        }
        if is_stalled {
            self.deferred.push_back(Deferred::Resume { session });
        }
        if self.leg(session, leg).is_some_and(|l| l.waiting > 0) {
            self.send_waiting(now, session, leg, outbox);
        }
    }

    /// Answers the last chunk whose response was held back.
    pub(super) fn answer_held(
        &mut self,
        now: Instant,
        message: Handle,
        code: u16,
        outbox: &mut Outbox,
    ) {
        self.held.remove(&mut self.messages, message, in_held);
        let Some(m) = self.messages.get_mut(message) else {
            return;
        };
        m.accepted = code == 200;
        let Some(held) = m.held.take() else { return };
        if let Some(ok) = &held.ok {
            self.reply(now, held.conn, &held.tid, code, ok, outbox);
            return;
        }
        let (session, from) = (m.session, m.from);
        let hop = std::mem::take(&mut m.hop);
        self.respond_as(
            now,
            held.conn,
            &held.tid,
            code,
            &hop,
            (session, from),
            outbox,
        );
        if let Some(m) = self.messages.get_mut(message) {
            m.hop = hop;
        }
    }
}
