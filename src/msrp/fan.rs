//! Passing on: the chunks of a message on each leg that it goes to.
//!
//! A SEND on a leg is the leg's ready-made head with a transaction id of its own, then what was received behind From-Path,
//! shared, then the leg's end-line. Byte-Range is written anew only where the chunk on the leg is not the one that came.

use arrayvec::ArrayVec;

use super::{
    core::Core,
    leg::owner,
    message::{Progress, Rest, Share},
    slab::Handle,
    unanswered::{Expects, SENT_BYTES},
};
use crate::{
    buf::{Outbox, Slice, Tid},
    ids::{ConnId, SessionId},
    time::Instant,
    wire::msrp::{ByteRange, write},
};

/// Above this a chunk must be interruptible: its range ends in `*` [MSRP-CHUNK-01].
pub(super) const INTERRUPTIBLE: u64 = 2048;

/// A chunk that is there from its first byte to its last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunk<'a> {
    /// Position of its first byte, and its bytes.
    pub(super) start: u64,
    pub(super) len: u64,
    /// The Byte-Range that stands in `rest`.
    pub(super) declared: Option<ByteRange>,
    pub(super) rest: &'a Rest,
    pub(super) flag: u8,
    /// Ids that its body holds as if they ended it.
    pub(super) avoid: &'a [(u64, Tid)],
}

impl Chunk<'_> {
    /// The Byte-Range to write in place of the one that came, if that must be. [MSRP-CHUNK-09]
    fn range(&self, total: Option<u64>) -> Option<ByteRange> {
        let last = self.start + self.len - 1;
        let end = (self.len <= INTERRUPTIBLE).then_some(last);
        // The chunk with `$` says how long the message is, whatever was thought before.
        let total = if self.flag == b'$' { Some(last) } else { total };
        match self.declared {
            Some(declared) if self.flag == b'$' && declared.total.is_some_and(|t| t != last) => {
                Some(ByteRange {
                    start: self.start,
                    end,
                    total,
                })
            }
            None if self.flag == b'$' && self.len <= INTERRUPTIBLE => None,
            None => Some(ByteRange {
                start: self.start,
                end,
                total,
            }),
            Some(ByteRange { end: None, .. }) => None,
            Some(declared) if declared.end == end => None,
            Some(declared) => Some(ByteRange {
                start: self.start,
                end,
                total: declared.total,
            }),
        }
    }
}

/// A written Byte-Range line: `Byte-Range: `, three numbers of at most 20 digits, two separators, CRLF.
pub(super) type RangeLine = ArrayVec<u8, 80>;

impl Core {
    /// Puts a whole chunk out on every leg that is sending the message.
    pub(super) fn forward(
        &mut self,
        now: Instant,
        message: Handle,
        chunk: &Chunk<'_>,
        parts: &[Slice],
        outbox: &mut Outbox,
    ) {
        let Some(m) = self.messages.get_mut(message) else {
            return;
        };
        m.forwarded = chunk.start + chunk.len;
        let count = m.shares.len();
        let Some(range) = chunk.range(m.total) else {
            self.forward_whole(now, message, chunk, parts, outbox);
            return;
        };
        let mut line = RangeLine::new();
        self.range_line(range, &mut line);
        for share in 0..count {
            self.forward_to(now, message, share, chunk, &line, parts, outbox);
        }
        self.check_bounds(now, message, outbox);
    }

    /// Puts a whole chunk out on the leg of one share, if that is sending. `line`: what stands for its Byte-Range.
    #[expect(clippy::too_many_arguments, reason = "the parts of a chunk on a leg")]
    pub(super) fn forward_to(
        &mut self,
        now: Instant,
        message: Handle,
        share: usize,
        chunk: &Chunk<'_>,
        line: &[u8],
        parts: &[Slice],
        outbox: &mut Outbox,
    ) {
        let sending = self
            .messages
            .get(message)
            .and_then(|m| m.shares.get(share))
            .is_some_and(|s| s.progress == Progress::Sending);
        if !sending {
            return;
        }
        if self.is_too_large(message, share, chunk.start + chunk.len) {
            self.fail_share(now, message, share, 413, outbox);
            self.settle(now, message, outbox);
            return;
        }
        self.send_chunk(now, message, share, chunk, line, parts, outbox);
    }

    /// Whether a message that reaches up to `end` (exclusive) is larger than the leg wants any [MSRP-TYPES-04].
    fn is_too_large(&self, message: Handle, share: usize, end: u64) -> bool {
        self.messages
            .get(message)
            .and_then(|m| {
                let leg = self.leg(m.session, m.shares.get(share)?.leg)?;
                leg.peer.as_ref()?.max_size
            })
            .is_some_and(|max| end - 1 > max)
    }

    /// Puts a whole chunk out on one leg.
    #[expect(clippy::too_many_arguments, reason = "the parts of a chunk on a leg")]
    pub(super) fn send_chunk(
        &mut self,
        now: Instant,
        message: Handle,
        share: usize,
        chunk: &Chunk<'_>,
        line: &[u8],
        parts: &[Slice],
        outbox: &mut Outbox,
    ) {
        let Some(conn) =
            self.begin_frame(now, message, share, chunk.rest, line, chunk.avoid, outbox)
        else {
            return;
        };
        for part in parts {
            outbox.shared(conn, part.clone());
        }
        self.counters.bytes_out += chunk.len;
        self.end_frame(now, message, share, chunk.flag, outbox);
    }

    /// Begins a SEND on a leg: everything up to its body.
    #[expect(clippy::too_many_arguments, reason = "the parts of a head on a leg")]
    fn begin_frame(
        &mut self,
        now: Instant,
        message: Handle,
        share: usize,
        rest: &Rest,
        line: &[u8],
        avoid: &[(u64, Tid)],
        outbox: &mut Outbox,
    ) -> Option<ConnId> {
        let m = self.messages.get(message)?;
        let (session, leg) = (m.session, m.shares.get(share)?.leg);
        let expects = Expects::of(m.failure_report);
        let conn = self.leg(session, leg)?.conn?;
        if outbox.open(conn).is_some() {
            self.interrupt(now, conn, outbox);
        }
        let (handle, tid) = self.new_sent(avoid);
        let Self {
            sessions,
            messages,
            sent,
            counters,
            holders,
            ..
        } = self;
        let s = sessions.get_mut(session)?;
        holders.take(&mut s.holds, SENT_BYTES);
        let l = s.leg(leg)?;
        let entry = sent.get_mut(handle)?;
        entry.tid = tid;
        entry.conn = conn;
        entry.session = session;
        entry.leg = leg;
        entry.message = Some(message);
        entry.share = u16::try_from(share).unwrap_or(u16::MAX);
        entry.expects = expects;
        entry.open = true;
        entry.counted = true;
        let share = messages.get_mut(message)?.shares.get_mut(share)?;
        share.open = handle;
        share.begun = true;
        if expects == Expects::Response {
            share.outstanding += 1;
        }
        outbox.begin(
            conn,
            owner(session, leg),
            tid,
            &[b"MSRP ", &tid, l.head().behind_id()],
        );
        put_rest(conn, rest, line, outbox);
        outbox.body(conn);
        counters.chunks_out += 1;
        Some(conn)
    }

    /// Ends the SEND that is open on a leg.
    fn end_frame(
        &mut self,
        now: Instant,
        message: Handle,
        share: usize,
        flag: u8,
        outbox: &mut Outbox,
    ) {
        let Some(m) = self.messages.get_mut(message) else {
            return;
        };
        let session = m.session;
        let Some(share) = m.shares.get_mut(share) else {
            return;
        };
        let handle = std::mem::replace(&mut share.open, Handle::NONE);
        let leg = share.leg;
        if let Some((conn, _)) = self.line_of(session, leg) {
            outbox.end(conn, flag);
        }
        self.sent_ended(now, handle, outbox);
    }

    pub(super) fn range_line(&mut self, range: ByteRange, line: &mut RangeLine) {
        let mut text = std::mem::take(&mut self.scratch);
        text.clear();
        write::range_line(&mut text, range);
        line.clear();
        // A line that did not fit would be a bug: three numbers of 20 digits do.
        line.extend(text.iter().copied().take(line.capacity()));
        self.scratch = text;
    }

    /// Whether the share's SEND stands open on its connection.
    fn is_open(&self, share: &Share, session: SessionId, outbox: &Outbox) -> bool {
        let Some(sent) = self.sent.get(share.open) else {
            return false;
        };
        outbox.open(sent.conn) == Some((owner(session, share.leg), sent.tid))
    }

    /// Puts the next body bytes of a chunk that is passed on as it comes out on every leg that is sending it; `position` is
    /// that of their first. Where a leg's transaction id stands in them as if it ended the frame, the frame is interrupted
    /// before it. [MSRP-FRAME-05]
    #[expect(clippy::too_many_arguments, reason = "a piece and where it belongs")]
    pub(super) fn stream(
        &mut self,
        now: Instant,
        message: Handle,
        rest: &Rest,
        as_it_is: Option<u64>,
        position: u64,
        piece: &Slice,
        lookalikes: &[(u64, Tid)],
        outbox: &mut Outbox,
    ) {
        let end = position + piece.len() as u64;
        let mut at = position;
        for &(place, tid) in lookalikes {
            if place < at || place >= end {
                continue;
            }
            let Some(sent) = self.find_sent(&tid).and_then(|h| self.sent.get(h)) else {
                continue;
            };
            if !sent.open || sent.message != Some(message) {
                continue;
            }
            let conn = sent.conn;
            let before = piece.part(offset(at - position), offset(place - position));
            self.stream_piece(
                now, message, rest, as_it_is, at, &before, lookalikes, outbox,
            );
            at = place;
            if outbox.open(conn).is_some_and(|(_, open)| open == tid) {
                self.interrupt(now, conn, outbox);
            }
        }
        let last = piece.part(offset(at - position), piece.len());
        self.stream_piece(now, message, rest, as_it_is, at, &last, lookalikes, outbox);
        if let Some(m) = self.messages.get_mut(message) {
            m.forwarded = end;
        }
        self.check_bounds(now, message, outbox);
    }

    /// `as_it_is`: the position at which the head that came may be used unchanged.
    #[expect(clippy::too_many_arguments, reason = "a piece and where it belongs")]
    fn stream_piece(
        &mut self,
        now: Instant,
        message: Handle,
        rest: &Rest,
        as_it_is: Option<u64>,
        position: u64,
        piece: &Slice,
        avoid: &[(u64, Tid)],
        outbox: &mut Outbox,
    ) {
        if piece.is_empty() {
            return;
        }
        let Some(m) = self.messages.get_mut(message) else {
            return;
        };
        m.forwarded = position;
        let (session, count, total) = (m.session, m.shares.len(), m.total);
        for i in 0..count {
            let Some(share) = self
                .messages
                .get(message)
                .and_then(|m| m.shares.get(i).copied())
            else {
                return;
            };
            if share.progress != Progress::Sending {
                continue;
            }
            if self.is_too_large(message, i, position + piece.len() as u64) {
                self.fail_share(now, message, i, 413, outbox);
                self.settle(now, message, outbox);
                continue;
            }
            let conn = if self.is_open(&share, session, outbox) {
                self.line_of(session, share.leg).map(|(conn, _)| conn)
            } else {
                let mut line = RangeLine::new();
                if as_it_is != Some(position) {
                    let range = ByteRange {
                        start: position,
                        end: None,
                        total,
                    };
                    self.range_line(range, &mut line);
                }
                self.begin_frame(now, message, i, rest, &line, avoid, outbox)
            };
            if let Some(conn) = conn {
                outbox.shared(conn, piece.clone());
                self.counters.bytes_out += piece.len() as u64;
            }
        }
    }

    /// Ends a chunk that was passed on as it came. Where it was interrupted and nothing has followed, an empty chunk says how
    /// the message goes on.
    pub(super) fn end_stream(
        &mut self,
        now: Instant,
        message: Handle,
        rest: &Rest,
        flag: u8,
        outbox: &mut Outbox,
    ) {
        let Some(m) = self.messages.get(message) else {
            return;
        };
        let (session, count) = (m.session, m.shares.len());
        for i in 0..count {
            let Some(share) = self
                .messages
                .get(message)
                .and_then(|m| m.shares.get(i).copied())
            else {
                return;
            };
            if share.progress != Progress::Sending {
                continue;
            }
            if self.is_open(&share, session, outbox) {
                self.end_frame(now, message, i, flag, outbox);
            } else if flag != b'+' {
                self.send_empty(now, message, i, rest, flag, outbox);
            }
        }
        self.check_bounds(now, message, outbox);
    }

    /// Puts out a chunk without bytes (`101-100/300`): the message ends, or is aborted, where nothing more is to be sent.
    fn send_empty(
        &mut self,
        now: Instant,
        message: Handle,
        share: usize,
        rest: &Rest,
        flag: u8,
        outbox: &mut Outbox,
    ) {
        let Some(m) = self.messages.get(message) else {
            return;
        };
        let range = ByteRange {
            start: m.forwarded.max(1),
            end: Some(m.forwarded.max(1) - 1),
            total: m.total,
        };
        let mut line = RangeLine::new();
        self.range_line(range, &mut line);
        if self
            .begin_frame(now, message, share, rest, &line, &[], outbox)
            .is_some()
        {
            self.end_frame(now, message, share, flag, outbox);
        }
    }

    /// Aborts a message on every leg where something of it was put out [MSRP-CHUNK-07].
    pub(super) fn abort_shares(&mut self, now: Instant, message: Handle, outbox: &mut Outbox) {
        let count = self.messages.get(message).map_or(0, |m| m.shares.len());
        for share in 0..count {
            self.abort_share(now, message, share, outbox);
        }
    }

    /// Aborts a message on one leg, if something of it was put out there [MSRP-CHUNK-07].
    pub(super) fn abort_share(
        &mut self,
        now: Instant,
        message: Handle,
        place: usize,
        outbox: &mut Outbox,
    ) {
        let Some(m) = self.messages.get(message) else {
            return;
        };
        let Some(share) = m.shares.get(place).copied() else {
            return;
        };
        if share.progress != Progress::Sending {
            return;
        }
        if self.is_open(&share, m.session, outbox) {
            self.end_frame(now, message, place, b'#', outbox);
        } else if share.begun
            && let Some(rest) = m.rest.clone()
        {
            self.send_empty(now, message, place, &rest, b'#', outbox);
        }
    }
}

/// Puts out what was received behind From-Path, with `line` in place of its Byte-Range if there is one.
fn put_rest(conn: ConnId, rest: &Rest, line: &[u8], outbox: &mut Outbox) {
    if line.is_empty() {
        outbox.shared(conn, rest.bytes.clone());
        return;
    }
    match rest.range {
        Some((from, to)) => {
            outbox.shared(conn, rest.bytes.part(0, from));
            outbox.own(conn, line);
            outbox.shared(conn, rest.bytes.part(to, rest.bytes.len()));
        }
        None => {
            outbox.own(conn, line);
            outbox.shared(conn, rest.bytes.clone());
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "an offset within a slice, whose length is a u32"
)]
fn offset(n: u64) -> usize {
    n as usize
}
