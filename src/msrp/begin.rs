//! The head of a SEND: the message that it begins or goes on with, and what speaks against it.

use super::{
    accept,
    core::Core,
    link::{Link, Mode},
    message::{MESSAGE_BYTES, in_session},
    receive::{Sending, declared_or_whole},
    session::INCOMPLETE_MAX,
    slab::Handle,
};
use crate::{
    buf::Outbox,
    ids::{ConnId, LegId, SessionId},
    time::Instant,
    wire::msrp::{FailureReport, media_type},
};

impl Core {
    /// The head of a SEND for a leg of ours, on the connection that it is bound to.
    pub(super) fn on_send(
        &mut self,
        now: Instant,
        conn: ConnId,
        link: &mut Link,
        (session, leg): (SessionId, LegId),
        sending: &Sending<'_>,
        outbox: &mut Outbox,
    ) {
        let head = sending.head;
        let known_peer = self
            .leg(session, leg)
            .is_some_and(|l| l.is_peer(head.from_path));
        let (Some(content_type), true) = (head.content_type, known_peer) else {
            // A SEND without a body binds, or keeps alive: answered, and that is all. [MSRP-BARE-02]
            let code = if known_peer { 200 } else { 403 };
            if head.failure_report == FailureReport::Yes
                || (head.failure_report == FailureReport::Partial && code != 200)
            {
                let hop = head.previous_hop();
                self.respond_as(now, conn, head.tid, code, hop, (session, leg), outbox);
            }
            return;
        };
        if let Some(s) = self.sessions.get_mut(session)
            && let Some(l) = s.leg_as_it_is(leg)
        {
            l.came_by(head.from_path);
        }
        self.counters.chunks_in += 1;
        let range = declared_or_whole(head.byte_range);
        let frame = self.frame(link);
        frame.session = session;
        frame.leg = leg;
        frame.declared = head.byte_range;
        frame.start = range.start;
        frame.rest = Some(sending.rest.clone());
        frame.mode = Mode::Hold;
        let id = head.message_id.unwrap_or_default();
        match self.message_of(now, session, leg, id, sending, content_type) {
            Ok(Some(message)) => {
                frame.message = message;
                let code = self.frame_allowed(message, range.total);
                if let Some(code) = code {
                    self.refuse(now, conn, frame, code, outbox);
                }
            }
            Ok(None) => {
                frame.again = true;
                frame.mode = Mode::Discard;
            }
            Err(code) => self.refuse(now, conn, frame, code, outbox),
        }
    }

    /// What speaks against a chunk before its body is seen.
    fn frame_allowed(&mut self, message: Handle, total: Option<u64>) -> Option<u16> {
        let max = self.settings.max_message_bytes;
        let m = self.messages.get_mut(message)?;
        if total.is_some_and(|t| t > max) {
            return Some(413);
        }
        if m.total.is_none() {
            m.total = total;
        }
        m.refused
    }

    /// The message that a chunk belongs to: one that has begun, or a new one. `None`: one that was delivered before.
    fn message_of(
        &mut self,
        now: Instant,
        session: SessionId,
        leg: LegId,
        id: &[u8],
        sending: &Sending<'_>,
        content_type: &[u8],
    ) -> Result<Option<Handle>, u16> {
        let hash = self.id_hash(id);
        let Some(s) = self.sessions.get_mut(session) else {
            return Err(481);
        };
        let begun = s
            .incomplete
            .iter()
            .find(|(h, from, _)| *h == hash && *from == leg);
        if let Some((_, _, message)) = begun {
            let message = *message;
            // Its further chunks take places too: until they are answered, and until its type is known.
            if !self.may_take(session, 0) {
                self.counters.refused_full += 1;
                if let Some(m) = self.messages.get_mut(message) {
                    m.refused.get_or_insert(408);
                }
            }
            if let Some(m) = self.messages.get_mut(message) {
                m.touched = now;
            }
            return Ok(Some(message));
        }
        let start = declared_or_whole(sending.head.byte_range).start;
        if let Some(code) = s.refusal_of(hash, leg, start) {
            return Err(code);
        }
        let restored = s.leg(leg).is_some_and(|l| l.restored);
        if restored && self.came_before(session, leg, id, hash) {
            return Ok(None);
        }
        let new = self.new_message(now, session, leg, id, hash, sending, content_type);
        if let (Err(code), Some(s)) = (&new, self.sessions.get_mut(session)) {
            s.remember_refused(hash, leg, *code);
        }
        new.map(Some)
    }

    /// Whether a message was delivered, or is under way, that a sender sends again after its connection was lost.
    /// [MSRP-CONN-05]
    fn came_before(&mut self, session: SessionId, leg: LegId, id: &[u8], hash: u64) -> bool {
        let delivered = self.sessions.get(session).is_some_and(|s| {
            s.done
                .iter()
                .any(|d| d.id == hash && d.from == leg && !d.acked.is_empty())
        });
        if delivered {
            return true;
        }
        let mut under_way = false;
        self.each_message(session, |core, message| {
            if let Some(m) = core.messages.get(message) {
                under_way |= m.complete && m.from == leg && m.id[..] == *id;
            }
        });
        under_way
    }

    #[expect(clippy::too_many_arguments, reason = "what a message begins with")]
    fn new_message(
        &mut self,
        now: Instant,
        session: SessionId,
        leg: LegId,
        id: &[u8],
        hash: u64,
        sending: &Sending<'_>,
        content_type: &[u8],
    ) -> Result<Handle, u16> {
        // Its head leaves room for a body: what it takes is also no longer free, and is its user's too.
        if !self.may_take(session, 3 * (MESSAGE_BYTES + sending.rest.bytes.len())) {
            self.counters.refused_full += 1;
            return Err(408);
        }
        let s = self.sessions.get_mut(session).ok_or(481u16)?;
        if s.incomplete.iter().filter(|(_, l, _)| *l == leg).count() >= INCOMPLETE_MAX {
            self.counters.refused_full += 1;
            return Err(413);
        }
        let own = s.leg(leg).ok_or(481u16)?;
        let name = media_type(content_type);
        let seen = own.seen.as_ref().map(|s| &s.content_type[..]) == Some(content_type);
        if !seen && !own.ours.accept.is_empty() && !accept::listed(&own.ours.accept, name) {
            return Err(415);
        }
        let message = self.messages.take();
        s.incomplete.push((hash, leg, message));
        s.messages.push(&mut self.messages, message, in_session);
        self.counters.messages_in += 1;
        let m = self.messages.get_mut(message).ok_or(481u16)?;
        m.session = session;
        m.from = leg;
        // At most 32 characters: [`crate::wire::msrp`] sees to it.
        let _ = m.id.try_extend_from_slice(&id[..id.len().min(32)]);
        m.success_report = sending.head.success_report;
        m.failure_report = sending.head.failure_report;
        m.own_types.content_type.extend_from_slice(content_type);
        m.own_types.key.extend_from_slice(name);
        m.own_types.key.push(0);
        m.keeping = true;
        m.rest = Some(sending.rest.clone());
        m.began = now;
        m.touched = now;
        m.forwarded = 1;
        self.weigh(message);
        // Its head is held by the message, also where no body byte is.
        self.mark_young(now, message);
        self.arm(session, now + super::due::PATIENCE);
        Ok(message)
    }
}
