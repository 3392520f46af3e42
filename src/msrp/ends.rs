//! How legs and sessions end: torn down by activity, lost, or over.

use super::{
    Event, Failure,
    core::{Core, Deferred},
    leg::{State, owner},
    message::{Message, Progress},
    slab::Handle,
};
use crate::{
    buf::Outbox,
    ids::{LegId, SessionId},
    time::Instant,
    wire::msrp::FailureReport,
};

impl Core {
    /// A device's user was active: said once a leg; where the session settles on it, the other devices are torn down before
    /// anything else happens (settled.md 12).
    pub(super) fn activity(
        &mut self,
        now: Instant,
        session: SessionId,
        leg: LegId,
        outbox: &mut Outbox,
    ) {
        if leg == LegId::ORIGINATOR {
            return;
        }
        let Some(l) = self.leg_mut(session, leg) else {
            return;
        };
        if l.active || matches!(l.state, State::Aborted | State::Ended) {
            return;
        }
        l.active = true;
        let Some(s) = self.sessions.get_mut(session) else {
            return;
        };
        let settles = std::mem::take(&mut s.settle_on_activity);
        let legs = s.legs.len();
        if settles {
            for place in 1..legs {
                let other = LegId(u8::try_from(place).unwrap_or(u8::MAX));
                if other != leg {
                    self.abort_leg(now, session, other, outbox);
                }
            }
        }
        self.events.push_back(Event::Activity {
            session,
            leg,
            settled: settles,
        });
    }

    /// Tears a leg down: no further body byte leaves on it; what its peer had sent is still read for 2 s (settled.md 12).
    pub(super) fn abort_leg(
        &mut self,
        now: Instant,
        session: SessionId,
        leg: LegId,
        outbox: &mut Outbox,
    ) {
        let Some(l) = self.leg_mut(session, leg) else {
            return;
        };
        if matches!(l.state, State::Aborted | State::Ended) {
            return;
        }
        l.state = State::Aborted;
        l.stop_connecting();
        l.trouble().abort_by = Some(now + super::due::ABORT);
        let conn = l.conn;
        if l.end_stall() {
            self.deferred.push_back(Deferred::Resume { session });
        }
        self.arm(session, now + super::due::ABORT);
        if let Some(conn) = conn {
            outbox.abort(conn, owner(session, leg));
        }
        self.drop_open(session, leg);
        self.drop_all_sent(session, leg);
        self.leave_messages(now, session, leg, 0, outbox);
    }

    /// Forgets the SENDs that stand open on a leg whose frames were taken back.
    pub(super) fn drop_open(&mut self, session: SessionId, leg: LegId) {
        self.each_message(session, |core, message| {
            if let Some(share) = core.messages.get_mut(message).and_then(|m| m.share_of(leg)) {
                let open = std::mem::replace(&mut share.open, Handle::NONE);
                core.drop_sent(open);
            }
        });
    }

    /// Every message that was going to a leg does without it.
    fn leave_messages(
        &mut self,
        now: Instant,
        session: SessionId,
        leg: LegId,
        code: u16,
        outbox: &mut Outbox,
    ) {
        self.each_message(session, |core, message| {
            let Some(share) = core
                .messages
                .get(message)
                .and_then(|m| m.shares.iter().position(|s| s.leg == leg))
            else {
                return;
            };
            core.fail_share(now, message, share, code, outbox);
            core.settle(now, message, outbox);
        });
    }

    /// A leg's media failed. A device leg's messages do without it; those to the originator that are whole wait for it to be
    /// restored (settled.md 8), under the same Message-ID [MSRP-CONN-05].
    pub(super) fn fail_leg(
        &mut self,
        now: Instant,
        session: SessionId,
        leg: LegId,
        why: Failure,
        outbox: &mut Outbox,
    ) {
        let Some(l) = self.leg_mut(session, leg) else {
            return;
        };
        match l.state {
            State::Offered | State::Started => {}
            State::Aborted => {
                if why == Failure::ConnectionLost {
                    self.end_leg(now, session, leg, outbox);
                }
                return;
            }
            State::Failed | State::Ended => return,
        }
        l.state = State::Failed;
        l.stop_connecting();
        if l.end_stall() {
            self.deferred.push_back(Deferred::Resume { session });
        }
        let conn = self.leg_mut(session, leg).and_then(|l| l.conn.take());
        if let Some(conn) = conn {
            outbox.abort(conn, owner(session, leg));
            self.deferred.push_back(Deferred::Unbind {
                conn,
                session,
                leg,
                close: true,
            });
        }
        self.drop_open(session, leg);
        self.drop_all_sent(session, leg);
        self.tell_failed(session, leg, why);
        if leg == LegId::ORIGINATOR {
            self.keep_for_later(session, leg);
        }
        self.leave_messages_but_waiting(now, session, leg, outbox);
        self.sender_lost(now, session, leg, outbox);
    }

    /// Messages that are whole and kept wait for a leg that may be restored.
    pub(super) fn keep_for_later(&mut self, session: SessionId, leg: LegId) {
        self.each_message(session, |core, message| {
            let Some(m) = core.messages.get_mut(message) else {
                return;
            };
            let whole = m.complete && m.keeping && m.kept.bytes() as u64 == m.received.end() - 1;
            let Some(share) = m.share_of(leg) else {
                return;
            };
            if share.is_final() || !whole {
                return;
            }
            let counted = share.progress == Progress::Waiting;
            share.progress = Progress::Waiting;
            share.position = 1;
            share.outstanding = 0;
            if !counted && let Some(l) = core.leg_mut(session, leg) {
                l.waiting += 1;
            }
        });
    }

    fn leave_messages_but_waiting(
        &mut self,
        now: Instant,
        session: SessionId,
        leg: LegId,
        outbox: &mut Outbox,
    ) {
        let restorable = leg == LegId::ORIGINATOR;
        self.each_message(session, |core, message| {
            let Some(share) = core
                .messages
                .get(message)
                .and_then(|m| m.shares.iter().position(|s| s.leg == leg))
            else {
                return;
            };
            let waits = core
                .messages
                .get(message)
                .is_some_and(|m| m.shares[share].progress == Progress::Waiting);
            if restorable && waits {
                return;
            }
            core.fail_share(now, message, share, 408, outbox);
            core.settle(now, message, outbox);
        });
    }

    /// The session is about to say BYE: see [`super::Command::Parting`].
    pub(super) fn part(&mut self, now: Instant, session: SessionId, outbox: &mut Outbox) {
        self.each_message(session, |core, message| {
            let Some(m) = core.messages.get(message).filter(|m| m.complete) else {
                return;
            };
            if m.chosen && m.shares.is_empty() {
                core.fail_message(now, message, 408, outbox);
                return;
            }
            for share in 0..m.shares.len() {
                let waits = core
                    .messages
                    .get(message)
                    .and_then(|m| m.shares.get(share))
                    .is_some_and(|s| {
                        let l = core.leg(session, s.leg);
                        s.progress == Progress::Waiting && l.is_none_or(|l| l.conn.is_none())
                    });
                if waits {
                    core.fail_share(now, message, share, 408, outbox);
                }
            }
            core.settle(now, message, outbox);
        });
    }

    /// Tells the sender of a message that we have answered 200 for that nobody has it, where it asks for that. Called when its leg
    /// ends, or the session: so it is told once.
    fn report_loss(&mut self, now: Instant, message: Handle, outbox: &mut Outbox) {
        let Some(m) = self.messages.get(message) else {
            return;
        };
        if m.complete && m.accepted && !m.delivered && m.failure_report == FailureReport::Yes {
            let (session, from, range) = (m.session, m.from, m.whole_range());
            let id = m.id.clone();
            self.report(now, session, from, &id, Some(range), 408, outbox);
        }
    }

    /// Whether all of a message has been put out to a leg whose connection is up.
    fn is_on_its_way(&self, m: &Message) -> bool {
        m.shares.iter().any(|s| {
            s.progress == Progress::Sent
                && self
                    .leg(m.session, s.leg)
                    .is_some_and(|l| l.conn.is_some() && l.state == State::Started)
        })
    }

    /// A leg is over: requests that name it get 481 from now on. [MSRP-URI-03]
    pub(super) fn end_leg(
        &mut self,
        now: Instant,
        session: SessionId,
        leg: LegId,
        outbox: &mut Outbox,
    ) {
        let Some(l) = self.leg_mut(session, leg) else {
            return;
        };
        if l.state == State::Ended {
            return;
        }
        l.state = State::Ended;
        // What may still come of it reaches its peer no more. What has gone out to a peer that is there is passed on: the loser of a
        // race of two active devices is not told that what it wrote, and is read, has failed.
        self.each_message(session, |core, message| {
            if core
                .messages
                .get(message)
                .is_some_and(|m| m.from == leg && !core.is_on_its_way(m))
            {
                core.report_loss(now, message, outbox);
            }
        });
        let Some(l) = self.leg_mut(session, leg) else {
            return;
        };
        l.stop_connecting();
        if let Some(trouble) = &mut l.trouble {
            trouble.abort_by = None;
        }
        if l.end_stall() {
            self.deferred.push_back(Deferred::Resume { session });
        }
        let conn = self.leg_mut(session, leg).and_then(|l| l.conn.take());
        if let Some(conn) = conn {
            outbox.abort(conn, owner(session, leg));
            self.deferred.push_back(Deferred::Unbind {
                conn,
                session,
                leg,
                close: false,
            });
        }
        self.drop_open(session, leg);
        self.drop_all_sent(session, leg);
        self.leave_messages(now, session, leg, 408, outbox);
        self.sender_lost(now, session, leg, outbox);
    }

    /// A session ends with all that is its: nothing of it is held afterwards.
    pub(super) fn close_session(&mut self, now: Instant, session: SessionId, outbox: &mut Outbox) {
        // Its messages first, while their senders can be told.
        self.each_message(session, |core, message| {
            let Some(m) = core.messages.get(message) else {
                return;
            };
            if m.complete && !m.delivered {
                if m.held.is_some() {
                    core.answer_held(now, message, 408, outbox);
                } else {
                    core.report_loss(now, message, outbox);
                }
                core.tell_undelivered(message);
            }
            core.forget(message);
        });
        let legs = self.sessions.get(session).map_or(0, |s| s.legs.len());
        for place in 0..legs {
            let leg = LegId(u8::try_from(place).unwrap_or(u8::MAX));
            self.drop_open_of_leg(session, leg, outbox);
            self.end_leg(now, session, leg, outbox);
        }
        if let Some(s) = self.sessions.remove(session) {
            if let Some((timer, _)) = s.timer {
                self.timers.cancel(timer);
            }
            for &conn in &s.paused {
                self.deferred.push_back(Deferred::ResumeConn { conn });
            }
            self.holders.close(s.holds);
        }
    }

    /// A SEND that stands open on a leg of a session that ends is forgotten with its message.
    fn drop_open_of_leg(&mut self, session: SessionId, leg: LegId, outbox: &Outbox) {
        let Some((conn, mark)) = self.line_of(session, leg) else {
            return;
        };
        if let Some((open_mark, tid)) = outbox.open(conn)
            && open_mark == mark
            && let Some(handle) = self.find_sent(&tid)
        {
            self.drop_sent(handle);
        }
    }
}
