//! Accounting: every message is answered for until one leg has it, or the sender knows that none will (settled.md R1, R2).

use super::{
    Event,
    core::Core,
    message::{Held, Message, Progress, Share, in_held},
    slab::{Handle, List},
};
use crate::{
    buf::Outbox,
    ids::{ConnId, LegId, SessionId},
    time::Instant,
    wire::{cpim::Verdict, msrp::FailureReport},
};

impl Core {
    /// Looks whether a message is decided: delivered, or failed on every leg.
    pub(super) fn settle(&mut self, now: Instant, message: Handle, outbox: &mut Outbox) {
        let Some(m) = self.messages.get_mut(message) else {
            return;
        };
        if !m.chosen {
            return;
        }
        let (mut waiting, mut undecided, mut acked) = (false, m.shares.is_empty(), false);
        for share in &m.shares {
            match share.progress {
                Progress::Waiting => (waiting, undecided) = (true, true),
                Progress::Sending | Progress::Sent => undecided = true,
                Progress::Acked => acked = true,
                Progress::Failed(_) => {}
            }
        }
        let first = acked && !m.delivered;
        m.delivered |= acked;
        let (complete, delivered) = (m.complete, m.delivered);
        if first && m.held.is_some() {
            self.answer_held(now, message, 200, outbox);
        }
        if undecided {
            if delivered && !waiting {
                self.drop_kept(message);
            }
            return;
        }
        let failure = self.messages.get(message).and_then(Message::failure);
        match (complete, failure) {
            (true, None) => self.forget(message),
            (true, Some(code)) => self.fail_message(now, message, code, outbox),
            // What still comes of it is refused.
            (false, Some(code)) => {
                self.drop_kept(message);
                if let Some(m) = self.messages.get_mut(message) {
                    m.refused = Some(code);
                }
            }
            // Whoever has it has all of it that came.
            (false, None) => self.drop_kept(message),
        }
    }

    /// A leg has acknowledged all SENDs of a message, or its socket took them where no response was asked for.
    fn ack_share(&mut self, message: Handle, share: usize) {
        if let Some(s) = self
            .messages
            .get_mut(message)
            .and_then(|m| m.shares.get_mut(share))
            && !s.is_final()
        {
            s.progress = Progress::Acked;
            self.counters.deliveries_acknowledged += 1;
        }
    }

    /// A SEND of a message was answered 200.
    pub(super) fn acknowledged(
        &mut self,
        now: Instant,
        message: Handle,
        share: usize,
        outbox: &mut Outbox,
    ) {
        let Some(m) = self.messages.get_mut(message) else {
            return;
        };
        let Some(s) = m.shares.get_mut(share) else {
            return;
        };
        s.outstanding = s.outstanding.saturating_sub(1);
        if s.outstanding > 0 || s.progress != Progress::Sent {
            return;
        }
        s.progress = Progress::Acked;
        self.counters.deliveries_acknowledged += 1;
        let nanos = now.as_nanos().saturating_sub(m.began.as_nanos());
        self.counters.delivery.record_micros(nanos / 1000);
        // Neither the first that has it nor the last: nothing comes of it. The last to have it is most often the last one.
        let between = m.delivered && !m.keeping && !m.shares.iter().rev().all(Share::is_final);
        if !between {
            self.settle(now, message, outbox);
        }
    }

    /// A message that gets no response is done with each leg whose socket has taken all of it (settled.md R1).
    ///
    /// A socket that has not taken it for as long as a response may last never will.
    pub(super) fn settle_taken(&mut self, now: Instant, message: Handle, outbox: &Outbox) {
        let Some(m) = self.messages.get(message) else {
            return;
        };
        let (session, count) = (m.session, m.shares.len());
        let too_late = m.began + super::due::PATIENCE <= now;
        for share in 0..count {
            let Some(s) = self.messages.get(message).and_then(|m| m.shares.get(share)) else {
                return;
            };
            if s.progress != Progress::Sent || s.put == 0 {
                continue;
            }
            let taken = self
                .leg(session, s.leg)
                .and_then(|l| l.conn)
                .is_some_and(|conn| outbox.left(conn) >= s.put);
            if taken {
                self.ack_share(message, share);
            } else if too_late
                && let Some(s) = self
                    .messages
                    .get_mut(message)
                    .and_then(|m| m.shares.get_mut(share))
            {
                s.progress = Progress::Failed(408);
                self.counters.deliveries_lost += 1;
            }
        }
        let Some(m) = self.messages.get_mut(message) else {
            return;
        };
        m.delivered |= m.shares.iter().any(|s| s.progress == Progress::Acked);
        let decided = m.complete && !m.shares.is_empty() && m.shares.iter().all(Share::is_final);
        if decided {
            if !m.delivered {
                self.tell_undelivered(message);
            }
            self.forget(message);
        } else if m.delivered && !m.shares.iter().any(|s| s.progress == Progress::Waiting) {
            self.drop_kept(message);
        }
    }

    /// A leg will not have a message. What is open of it there is aborted; the caller settles the message.
    pub(super) fn fail_share(
        &mut self,
        now: Instant,
        message: Handle,
        share: usize,
        code: u16,
        outbox: &mut Outbox,
    ) {
        let Some(m) = self.messages.get_mut(message) else {
            return;
        };
        let (session, complete) = (m.session, m.complete);
        let Some(s) = m.shares.get_mut(share) else {
            return;
        };
        if s.is_final() {
            return;
        }
        let (leg, open, waited) = (s.leg, s.open, s.progress == Progress::Waiting);
        s.progress = Progress::Failed(code);
        s.open = Handle::NONE;
        if code == 408 || code == 0 {
            self.counters.deliveries_lost += 1;
        } else {
            self.counters.deliveries_refused += 1;
        }
        if waited
            && complete
            && let Some(l) = self.leg_mut(session, leg)
        {
            l.waiting = l.waiting.saturating_sub(1);
        }
        if let Some(sent) = self.sent.get(open) {
            let (conn, tid) = (sent.conn, sent.tid);
            if outbox
                .open(conn)
                .is_some_and(|(_, standing)| standing == tid)
            {
                self.end_open(now, conn, &tid, b'#', outbox);
            }
        }
    }

    /// No leg has a message and none will: its sender is told, and the session room, which may defer it.
    pub(super) fn fail_message(
        &mut self,
        now: Instant,
        message: Handle,
        code: u16,
        outbox: &mut Outbox,
    ) {
        let Some(m) = self.messages.get(message) else {
            return;
        };
        let (session, from, range) = (m.session, m.from, m.whole_range());
        let told = wants(m.failure_report, code);
        if m.held.is_some() {
            self.answer_held(now, message, code, outbox);
        } else if told {
            let id = m.id.clone();
            self.report(now, session, from, &id, Some(range), code, outbox);
        }
        self.tell_undelivered(message);
        self.forget(message);
    }

    /// Tells the session room that no device took a message of the originator. An isComposing is nobody's loss.
    pub(super) fn tell_undelivered(&mut self, message: Handle) {
        let Some(m) = self.messages.get(message) else {
            return;
        };
        if !m.is_from_originator() || m.kind == Some(Verdict::IsComposing) {
            return;
        }
        let whole = m.complete && m.keeping && m.kept.bytes() as u64 == m.received.end() - 1;
        self.events.push_back(Event::Undelivered {
            session: m.session,
            body: if whole { m.kept.to_vec() } else { Vec::new() },
            message_id: m.id.to_vec(),
            content_type: m.types().content_type.clone(),
        });
        self.counters.undelivered += 1;
    }

    /// Holds the response to the last chunk back until somebody has the message (settled.md R1).
    pub(super) fn hold_answer(
        &mut self,
        now: Instant,
        message: Handle,
        conn: ConnId,
        tid: &[u8],
        hop: &[u8],
    ) {
        let Some(m) = self.messages.get_mut(message) else {
            return;
        };
        m.held = Some(Held::new(conn, tid));
        m.hop.clear();
        m.hop.extend_from_slice(hop);
        m.held_since = now;
        self.held.push(&mut self.messages, message, in_held);
        self.weigh(message);
    }

    /// The sender of messages is lost: what it had begun and not ended is aborted on every leg, answers are due to nobody.
    pub(super) fn sender_lost(
        &mut self,
        now: Instant,
        session: SessionId,
        leg: LegId,
        outbox: &mut Outbox,
    ) {
        self.each_message(session, |core, message| {
            let Some(m) = core.messages.get_mut(message) else {
                return;
            };
            if m.from != leg {
                return;
            }
            m.held = None;
            if m.complete {
                core.held.remove(&mut core.messages, message, in_held);
                if let Some(m) = core.messages.get_mut(message) {
                    m.accepted = true;
                }
            } else {
                core.abort_message(now, message, outbox);
            }
        });
    }

    /// Ends a message that will not go on: aborted on every leg where it has begun, then forgotten.
    pub(super) fn abort_message(&mut self, now: Instant, message: Handle, outbox: &mut Outbox) {
        self.abort_shares(now, message, outbox);
        self.uncount_waiting(message);
        self.forget(message);
    }

    /// The message no longer waits for any leg.
    pub(super) fn uncount_waiting(&mut self, message: Handle) {
        let Some(m) = self.messages.get(message) else {
            return;
        };
        if !m.complete {
            return;
        }
        let session = m.session;
        let waiting: arrayvec::ArrayVec<LegId, 256> = m
            .shares
            .iter()
            .filter(|s| s.progress == Progress::Waiting)
            .map(|s| s.leg)
            .take(256)
            .collect();
        for leg in waiting {
            if let Some(l) = self.leg_mut(session, leg) {
                l.waiting = l.waiting.saturating_sub(1);
            }
        }
    }

    /// Runs `f` on every message of a session, in the order in which they began; `f` may forget the one that it gets.
    pub(super) fn each_message(
        &mut self,
        session: SessionId,
        mut f: impl FnMut(&mut Self, Handle),
    ) {
        let mut at = self
            .sessions
            .get(session)
            .and_then(|s| s.messages.first(&self.messages));
        while let Some(message) = at {
            at = List::after(&mut self.messages, message, super::message::in_session);
            f(self, message);
        }
    }
}

/// Whether a sender wants to be told of a failure.
pub(super) fn wants(report: FailureReport, code: u16) -> bool {
    match report {
        FailureReport::Yes => true,
        // A timeout is no error that partial asks for.
        FailureReport::Partial => code != 408,
        FailureReport::No => false,
    }
}

/// Whether all of a message has come: it has ended and no byte is missing.
pub(super) fn is_whole(m: &Message) -> bool {
    m.ended && m.total.is_some_and(|total| m.received.has(1, total + 1))
}
