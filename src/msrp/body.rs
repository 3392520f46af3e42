//! Bodies: counted, held for a moment or passed on at once, kept for as long as we answer for them.

use super::{
    Ack,
    account::is_whole,
    core::{Core, Deferred},
    fan::Chunk,
    leg::State,
    link::{Frame, HOLD_MAX, Link, Mode},
    receive::declared_or_whole,
    slab::Handle,
};
use crate::{
    buf::{Outbox, Slice},
    ids::{ConnId, LegId},
    time::Instant,
    wire::msrp::{FailureReport, HELD_MAX, Scan},
};

impl Core {
    /// Answers an error to the SEND that is being read, once, and reads over the rest of it. What was begun of its message is
    /// aborted everywhere; further chunks of it are answered the same.
    pub(super) fn refuse(
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
        frame.refused_at = Some(now);
        self.deferred.push_back(Deferred::WatchRefused { conn });
        frame.parts.clear();
        let message = frame.message;
        if self.messages.get(message).is_some() {
            self.abort_shares(now, message, outbox);
            self.drop_kept(message);
            if let Some(m) = self.messages.get_mut(message) {
                m.refused = Some(code);
                m.told = true;
                m.pending = None;
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
        let frame = self.frame(link);
        let mut held = [0u8; HELD_MAX];
        let held_len = frame.scan.held().len();
        held[..held_len].copy_from_slice(frame.scan.held());
        // Only what waits keeps them: of a body without end they would have no end either.
        if frame.mode != Mode::Hold {
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
            self.end_frame_of(link);
            link.in_body = false;
        } else if through
            && link
                .timer
                .is_none_or(|(_, at)| at > now + super::due::QUIET)
        {
            self.deferred.push_back(Deferred::WatchQuiet { conn });
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
        let code = match self.messages.get_mut(frame.message) {
            None => Some(self.code_of_gone(frame)),
            Some(m) => {
                m.touched = now;
                m.refused
            }
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

    /// What a chunk is answered whose message is gone: with its leg, or because it did not go on in time.
    fn code_of_gone(&self, frame: &Frame) -> u16 {
        let leg = self.leg(frame.session, frame.leg);
        if leg.is_some_and(|l| l.state != State::Ended) {
            408
        } else {
            481
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
            None => Some(self.code_of_gone(frame)),
            Some(m) => m.refused,
        };
        if let Some(code) = code {
            self.refuse(now, conn, frame, code, outbox);
            self.discarded(now, conn, frame, flag, outbox);
            return;
        }
        let end = frame.start + frame.len;
        if let Some(m) = self.messages.get_mut(message) {
            if flag == b'$' {
                // RFC 4975 §7.3.1: the chunk with `$` says how long the message is. [MSRP-CHUNK-05]
                m.total = Some(end - 1);
                m.ended = true;
            }
            m.received.add(frame.start, end);
            if m.received.weight() > 0 && !self.weigh(message) {
                self.counters.refused_full += 1;
                self.refuse(now, conn, frame, 408, outbox);
                self.discarded(now, conn, frame, flag, outbox);
                return;
            }
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
            // Its type is still open: the chunk waits with its message (settled.md 35).
            let pending = m.pending.get_or_insert_default();
            pending.add(frame.start, frame.start + frame.len);
            m.pending_end |= flag == b'$';
            self.weigh(message);
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
    pub(super) fn answer_last(
        &mut self,
        now: Instant,
        conn: ConnId,
        frame: &mut Frame,
        outbox: &mut Outbox,
    ) {
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
