//! Bodies: counted, held for a moment or passed on at once, kept for as long as we answer for them.

use super::{
    Ack, accept,
    account::is_whole,
    core::Core,
    fan::{Chunk, KEEP_MAX},
    link::{Frame, HOLD_MAX, Link, Mode},
    message::{Pending, Progress, in_session},
    receive::{Sending, declared_or_whole},
    session::INCOMPLETE_MAX,
    slab::Handle,
};
use crate::{
    buf::{Outbox, Slice},
    ids::{ConnId, LegId, SessionId},
    time::Instant,
    wire::{
        cpim::{self, Verdict},
        msrp::{FailureReport, HELD_MAX, Scan, media_type},
    },
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
        self.counters.chunks_in += 1;
        let range = declared_or_whole(head.byte_range);
        let frame = link.frame_mut();
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
        let Some(s) = self.sessions.get(session) else {
            return Err(481);
        };
        let begun = s
            .incomplete
            .iter()
            .find(|(h, from, _)| *h == hash && *from == leg);
        if let Some((_, _, message)) = begun {
            let message = *message;
            if let Some(m) = self.messages.get_mut(message) {
                m.touched = now;
            }
            return Ok(Some(message));
        }
        let restored = s.leg(leg).is_some_and(|l| l.restored);
        if restored && self.came_before(session, leg, id, hash) {
            return Ok(None);
        }
        self.new_message(now, session, leg, id, hash, sending, content_type)
            .map(Some)
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
        if self.kept_bytes >= self.settings.kept_bytes_max {
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
        if !own.offer.accept_types.is_empty() && !accept::listed(&own.offer.accept_types, name) {
            return Err(415);
        }
        let message = self.messages.take();
        s.incomplete.push((hash, leg, message));
        s.messages.push(&mut self.messages, message, in_session);
        self.counters.messages_in += 1;
        let m = self.messages.get_mut(message).ok_or(481u16)?;
        m.session = session;
        m.from = leg;
        m.id.extend(id.iter().copied().take(32));
        m.success_report = sending.head.success_report;
        m.failure_report = sending.head.failure_report;
        m.content_type.extend_from_slice(content_type);
        m.type_key.extend_from_slice(name);
        m.type_key.push(0);
        m.keeping = true;
        m.rest = Some(sending.rest.clone());
        m.began = now;
        m.touched = now;
        m.forwarded = 1;
        // Its head is held by the message, also where no body byte is.
        self.mark_young(now, message);
        self.arm(session, now + super::due::PATIENCE);
        Ok(message)
    }

    /// Answers an error to the SEND that is being read, once, and reads over the rest of it. What was begun of its message is
    /// aborted everywhere; further chunks of it are answered the same.
    fn refuse(
        &mut self,
        now: Instant,
        conn: ConnId,
        frame: &mut Frame,
        code: u16,
        outbox: &mut Outbox,
    ) {
        if frame.failure_report != FailureReport::No
            && !(frame.failure_report == FailureReport::Partial && code == 408)
        {
            let whose = (frame.session, frame.leg);
            self.respond_as(now, conn, &frame.tid, code, &frame.hop, whose, outbox);
        }
        frame.mode = Mode::Discard;
        frame.parts.clear();
        let message = frame.message;
        if self.messages.get(message).is_some() {
            self.abort_shares(now, message, outbox);
            self.drop_kept(message);
            if let Some(m) = self.messages.get_mut(message) {
                m.refused = Some(code);
                m.pending.clear();
                m.shares.clear();
            }
        }
    }

    /// Reads the next bytes of a body. Returns where reading goes on.
    pub(super) fn on_body(
        &mut self,
        now: Instant,
        conn: ConnId,
        link: &mut Link,
        bytes: &Slice,
        at: usize,
        outbox: &mut Outbox,
    ) -> usize {
        let frame = link.frame_mut();
        let mut held = [0u8; HELD_MAX];
        let held_len = frame.scan.held().len();
        held[..held_len].copy_from_slice(frame.scan.held());
        if frame.mode == Mode::Through {
            frame.lookalikes.clear();
        }
        let Frame {
            scan,
            tid,
            lookalikes,
            start,
            ..
        } = frame;
        let first = *start;
        let found = scan.scan_with(&bytes[at..], tid, |l| {
            Frame::look_alike(lookalikes, first + l.at, l.ident);
        });
        let (released, body, after, flag) = match found {
            Scan::Found {
                released,
                body_end,
                after,
                flag,
            } => (released, body_end, after, Some(flag)),
            Scan::None { released, safe } => (released, safe, bytes.len() - at, None),
        };
        if let Mode::Foreign(to) = frame.mode {
            self.outputs.push_back(super::Output::Foreign {
                conn,
                to,
                bytes: bytes[at..at + after].to_vec(),
            });
        } else {
            if released > 0 {
                let piece = Slice::copied(&held[..released]);
                self.on_piece(now, conn, frame, piece, outbox);
            }
            if body > 0 {
                self.on_piece(now, conn, frame, bytes.part(at, at + body), outbox);
            }
            if let Some(flag) = flag {
                self.on_frame_end(now, conn, frame, flag, outbox);
            }
        }
        let through = frame.mode == Mode::Through;
        if flag.is_some() {
            frame.clear();
            link.in_body = false;
        } else if through
            && link
                .timer
                .is_none_or(|(_, at)| at > now + super::due::QUIET)
        {
            self.deferred
                .push_back(super::core::Deferred::WatchQuiet { conn });
        }
        at + after
    }

    /// Bytes that surely are body.
    fn on_piece(
        &mut self,
        now: Instant,
        conn: ConnId,
        frame: &mut Frame,
        piece: Slice,
        outbox: &mut Outbox,
    ) {
        if !matches!(frame.mode, Mode::Hold | Mode::Through) {
            return;
        }
        let len = frame.len + piece.len() as u64;
        let Some(end) = (frame.start - 1).checked_add(len) else {
            self.refuse(now, conn, frame, 400, outbox);
            return;
        };
        let code = match self.messages.get(frame.message) {
            None => Some(481),
            Some(m) => m.refused,
        };
        let code = code
            .or_else(|| (!declared_or_whole(frame.declared).has_room_for(len)).then_some(400))
            .or_else(|| (end > self.settings.max_message_bytes).then_some(413));
        if let Some(code) = code {
            self.refuse(now, conn, frame, code, outbox);
            return;
        }
        let position = frame.start + frame.len;
        frame.len = len;
        self.keep(now, frame.message, position, &piece);
        if frame.mode == Mode::Through {
            self.pass_on(now, frame, position, &piece, outbox);
            return;
        }
        frame.hold(piece);
        if let Err(code) = self.learn_kind(now, frame, false, outbox) {
            self.refuse(now, conn, frame, code, outbox);
            return;
        }
        let known = self
            .messages
            .get(frame.message)
            .is_some_and(|m| m.kind.is_some());
        if frame.held > HOLD_MAX && known {
            self.cut_through(now, frame, outbox);
        }
    }

    /// Passes on the next bytes of a frame that goes out as it comes.
    fn pass_on(
        &mut self,
        now: Instant,
        frame: &Frame,
        position: u64,
        piece: &Slice,
        outbox: &mut Outbox,
    ) {
        let Some(rest) = &frame.rest else { return };
        let as_it_is = frame
            .declared
            .is_some_and(|r| r.end.is_none())
            .then_some(frame.start);
        self.stream(
            now,
            frame.message,
            rest,
            as_it_is,
            position,
            piece,
            &frame.lookalikes,
            outbox,
        );
    }

    /// A frame is larger than what waits for its end: from here on it goes out as it comes (settled.md 10).
    fn cut_through(&mut self, now: Instant, frame: &mut Frame, outbox: &mut Outbox) {
        self.flush_pending(now, frame.message, outbox);
        frame.mode = Mode::Through;
        frame.copy_head_out();
        let mut position = frame.start;
        let parts = std::mem::take(&mut frame.parts);
        for part in &parts {
            self.pass_on(now, frame, position, part, outbox);
            position += part.len() as u64;
        }
        frame.parts = parts;
        frame.parts.clear();
        frame.held = 0;
    }

    /// Keeps body bytes for as long as we answer for them (settled.md R2).
    fn keep(&mut self, now: Instant, message: Handle, position: u64, piece: &Slice) {
        let max = self.settings.kept_bytes_max;
        let Some(m) = self.messages.get_mut(message) else {
            return;
        };
        if !m.keeping {
            return;
        }
        let before = m.kept.bytes();
        if self.kept_bytes + piece.len() > max {
            self.drop_kept(message);
            return;
        }
        m.kept.add(position, piece.clone());
        self.kept_bytes = self.kept_bytes + m.kept.bytes() - before;
        self.mark_young(now, message);
        self.keep_small(message);
    }

    /// With a leg that is sending it, only a small message is kept; with none, it is spooled whole (settled.md R2).
    fn keep_small(&mut self, message: Handle) {
        let large = self.messages.get(message).is_some_and(|m| {
            m.kept.bytes() > KEEP_MAX
                && m.shares
                    .iter()
                    .any(|s| s.begun || s.progress == Progress::Sending)
        });
        if large {
            self.drop_kept(message);
        }
    }

    /// Learns what a message carries, as soon as its bytes tell; then activity takes effect, and its legs are chosen.
    ///
    /// # Errors
    /// The code to refuse it with.
    fn learn_kind(
        &mut self,
        now: Instant,
        frame: &Frame,
        ended: bool,
        outbox: &mut Outbox,
    ) -> Result<(), u16> {
        let message = frame.message;
        let Some(m) = self.messages.get_mut(message) else {
            return Err(481);
        };
        if m.kind.is_some() {
            return Ok(());
        }
        let mut kind = cpim::classify_type(&m.content_type);
        if kind == Verdict::NeedMore {
            // Inside CPIM: from the first bytes of the message. In one piece they are looked at where they lie.
            let mut prefix = std::mem::take(&mut self.prefix);
            let first: &[u8] = match &frame.parts[..] {
                [only] if frame.start == 1 => only,
                _ => {
                    m.kept.prefix(&mut prefix, cpim::HEADERS_MAX);
                    &prefix
                }
            };
            let complete = ended || m.kept.bytes() >= cpim::HEADERS_MAX;
            kind = cpim::classify(first, complete);
            if kind != Verdict::NeedMore
                && let Some(inner) = cpim::wrapped_type(first)
            {
                m.type_key.extend_from_slice(media_type(inner));
            }
            self.prefix = prefix;
        }
        if kind == Verdict::NeedMore {
            // What waits for it must be kept.
            return if m.keeping { Ok(()) } else { Err(408) };
        }
        m.kind = Some(kind);
        let (session, from) = (m.session, m.from);
        self.check_source(message, session, from, kind)?;
        if matches!(kind, Verdict::Chat | Verdict::IsComposing) {
            self.activity(now, session, from, outbox);
        }
        self.choose(now, message)?;
        self.keep_small(message);
        Ok(())
    }

    /// Whether a leg may send what it sends.
    fn check_source(
        &self,
        message: Handle,
        session: SessionId,
        from: LegId,
        kind: Verdict,
    ) -> Result<(), u16> {
        let (Some(m), Some(l)) = (self.messages.get(message), self.leg(session, from)) else {
            return Err(481);
        };
        let inner = m.type_key.splitn(2, |&b| b == 0).nth(1).unwrap_or_default();
        if !accept::wrapped(inner, &l.offer.accept_types, &l.offer.accept_wrapped_types) {
            return Err(415);
        }
        // RFC 4975 §8.9: direction rules regular messages, not notifications. [MSRP-SDP-03]
        if kind == Verdict::Chat && !l.direction().peer_sends {
            return Err(403);
        }
        Ok(())
    }

    /// Puts out the chunks that waited for the type of their message. [CPIM-05]
    fn flush_pending(&mut self, now: Instant, message: Handle, outbox: &mut Outbox) {
        let Some(m) = self.messages.get_mut(message) else {
            return;
        };
        if m.pending.is_empty() {
            return;
        }
        let pending = std::mem::take(&mut m.pending);
        for p in &pending {
            let Some(m) = self.messages.get(message) else {
                return;
            };
            let mut parts = Vec::new();
            m.kept.each(p.start, p.end, |s| parts.push(s));
            let chunk = Chunk {
                start: p.start,
                len: p.end - p.start,
                declared: p.declared,
                rest: &p.rest,
                flag: p.flag,
                avoid: &[],
            };
            self.forward(now, message, &chunk, &parts, outbox);
        }
    }

    /// The end-line of the frame that is being read.
    fn on_frame_end(
        &mut self,
        now: Instant,
        conn: ConnId,
        frame: &mut Frame,
        flag: u8,
        outbox: &mut Outbox,
    ) {
        if frame.mode == Mode::Discard {
            self.discarded(now, conn, frame, flag, outbox);
            return;
        }
        let message = frame.message;
        let code = match self.messages.get(message) {
            None => Some(481),
            Some(m) => m.refused,
        };
        if let Some(code) = code {
            self.refuse(now, conn, frame, code, outbox);
            self.discarded(now, conn, frame, flag, outbox);
            return;
        }
        let end = frame.start + frame.len;
        let gaps = self.messages.get_mut(message).is_some_and(|m| {
            if flag == b'$' {
                // RFC 4975 §7.3.1: the chunk with `$` says how long the message is. [MSRP-CHUNK-05]
                m.total = Some(end - 1);
                m.ended = true;
            }
            m.received.add(frame.start, end).is_err()
        });
        if gaps {
            self.counters.refused_full += 1;
            self.refuse(now, conn, frame, 413, outbox);
            self.discarded(now, conn, frame, flag, outbox);
            return;
        }
        let whole = flag != b'#' && self.messages.get(message).is_some_and(is_whole);
        if let Err(code) = self.learn_kind(now, frame, whole || flag == b'#', outbox) {
            self.refuse(now, conn, frame, code, outbox);
            self.discarded(now, conn, frame, flag, outbox);
            return;
        }
        self.pass_end_on(now, frame, flag, outbox);
        if flag == b'#' {
            self.answer_receipt(now, conn, frame, outbox);
            self.abort_message_quietly(message);
            return;
        }
        if !whole {
            self.answer_receipt(now, conn, frame, outbox);
            return;
        }
        let hash_of = message;
        if let Some(s) = self.sessions.get_mut(frame.session) {
            s.incomplete.retain(|(_, _, h)| *h != hash_of);
        }
        self.completed(now, message, outbox);
        self.answer_last(now, conn, frame, outbox);
    }

    /// Passes the end of a chunk on: all of it if it waited, its end-line if it went out as it came.
    fn pass_end_on(&mut self, now: Instant, frame: &mut Frame, flag: u8, outbox: &mut Outbox) {
        let message = frame.message;
        let Some(rest) = frame.rest.clone() else {
            return;
        };
        if frame.mode == Mode::Through {
            self.end_stream(now, message, &rest, flag, outbox);
            return;
        }
        let Some(m) = self.messages.get_mut(message) else {
            return;
        };
        if m.kind.is_none() {
            // Its type is still open: the chunk waits with its message.
            m.pending.push(Pending {
                start: frame.start,
                end: frame.start + frame.len,
                rest,
                declared: frame.declared,
                flag,
            });
            return;
        }
        self.flush_pending(now, message, outbox);
        let chunk = Chunk {
            start: frame.start,
            len: frame.len,
            declared: frame.declared,
            rest: &rest,
            flag,
            avoid: &frame.lookalikes,
        };
        self.forward(now, message, &chunk, &frame.parts, outbox);
    }

    /// The sender has aborted its message: the legs know, nothing is owed to anybody. [MSRP-CHUNK-07]
    fn abort_message_quietly(&mut self, message: Handle) {
        self.uncount_waiting(message);
        self.forget(message);
    }

    /// A frame that was read over has ended.
    fn discarded(
        &mut self,
        now: Instant,
        conn: ConnId,
        frame: &mut Frame,
        flag: u8,
        outbox: &mut Outbox,
    ) {
        if frame.again && frame.failure_report == FailureReport::Yes {
            let whose = (frame.session, frame.leg);
            self.respond_as(now, conn, &frame.tid, 200, &frame.hop, whose, outbox);
        }
        if flag != b'+'
            && self
                .messages
                .get(frame.message)
                .is_some_and(|m| m.refused.is_some())
        {
            self.forget(frame.message);
        }
    }

    /// Answers a SEND on receipt.
    fn answer_receipt(&mut self, now: Instant, conn: ConnId, frame: &Frame, outbox: &mut Outbox) {
        if frame.failure_report == FailureReport::Yes {
            let whose = (frame.session, frame.leg);
            self.respond_as(now, conn, &frame.tid, 200, &frame.hop, whose, outbox);
        }
    }

    /// Answers the SEND that makes its message whole (settled.md R1).
    fn answer_last(&mut self, now: Instant, conn: ConnId, frame: &mut Frame, outbox: &mut Outbox) {
        let message = frame.message;
        let Some(m) = self.messages.get_mut(message) else {
            self.answer_receipt(now, conn, frame, outbox);
            return;
        };
        if !m.shares.is_empty()
            && let Some(code) = m.failure()
        {
            // Every leg has failed meanwhile: the answer says so, and no REPORT follows.
            self.tell_undelivered(message);
            self.refuse(now, conn, frame, code, outbox);
            self.forget(message);
            return;
        }
        if m.failure_report != FailureReport::Yes {
            self.mark_young(now, message);
            return;
        }
        if m.from == LegId::ORIGINATOR && self.settings.ack == Ack::Held && !m.delivered {
            self.hold_answer(now, message, conn, &frame.tid, &frame.hop);
            return;
        }
        m.accepted = true;
        self.answer_receipt(now, conn, frame, outbox);
    }

    /// A connection is lost in the middle of a frame, or says nothing for a second: what stands open of it is interrupted.
    pub(super) fn interrupt_message(&mut self, now: Instant, message: Handle, outbox: &mut Outbox) {
        let count = self.messages.get(message).map_or(0, |m| m.shares.len());
        for i in 0..count {
            let open = self
                .messages
                .get(message)
                .and_then(|m| m.shares.get(i))
                .and_then(|s| self.sent.get(s.open))
                .map(|sent| (sent.conn, sent.tid));
            if let Some((conn, tid)) = open
                && outbox
                    .open(conn)
                    .is_some_and(|(_, standing)| standing == tid)
            {
                self.end_open(now, conn, &tid, b'+', outbox);
            }
        }
    }
}
