//! What waits to go out on a shard's stream connections: this turn's pieces, and what a slow peer has not taken yet.
//!
//! Within a turn a connection holds [`Piece`]s: ranges of the turn's arena (bytes of our own making) and shared slices of
//! received buffers. The driver sends them in one vectored operation that does not wait. What is left after a short send
//! is copied into the connection's own spill, so a slow peer pins no receive buffer, and the arena starts anew each turn.
//!
//! SEND frames are marked, so that those of one leg can be taken back ([`Outbox::abort`]) and the one that has begun be
//! ended properly on the wire.

use std::collections::VecDeque;

use slotmap::SecondaryMap;

use super::Slice;
use crate::ids::ConnId;

/// Length of the transaction ids that we make (RFC 4975 §9: ident, 4 to 32 characters).
pub const TID_LEN: usize = 16;

/// A transaction id of our own making.
pub type Tid = [u8; TID_LEN];

/// Whose frame it is: opaque to the outbox, equal for all frames of one leg.
pub type Owner = u64;

/// A piece of what a connection sends this turn.
#[derive(Clone, Debug)]
pub enum Piece {
    /// Bytes of our own: a range of the turn's arena.
    Own {
        /// Offset in the arena.
        start: u32,
        /// Bytes.
        len: u32,
    },
    /// Received bytes, shared.
    Shared(Slice),
    /// A SEND frame begins here.
    Begin(Owner, Tid),
    /// The body of the frame begins here: from here on it may be cut.
    Body,
    /// The frame has ended.
    End,
}

/// The outbox of a connection is over its hard bound: the connection must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// A frame, or what is left of it, within a spill; offsets count all bytes ever put into that spill.
#[derive(Debug)]
struct Mark {
    owner: Owner,
    tid: Tid,
    start: u64,
    body: u64,
    /// Behind the end-line; `u64::MAX` while the frame is open.
    end: u64,
}

/// What a slow peer has not taken yet.
#[derive(Debug, Default)]
struct Spill {
    bytes: VecDeque<u8>,
    marks: VecDeque<Mark>,
    /// Offset of the first byte of `bytes`.
    sent: u64,
}

impl Spill {
    fn end(&self) -> u64 {
        self.sent + self.bytes.len() as u64
    }

    fn advance(&mut self, n: usize) {
        self.bytes.drain(..n);
        self.sent += n as u64;
        while self.marks.front().is_some_and(|m| m.end <= self.sent) {
            self.marks.pop_front();
        }
    }
}

/// What one connection has to send.
#[derive(Debug, Default)]
struct Line {
    pieces: Vec<Piece>,
    /// Pieces already sent this turn, and bytes of the next one.
    done: usize,
    skip: usize,
    /// Bytes in `pieces` that are not sent yet.
    queued: usize,
    /// The frame that the writer has begun and not ended.
    open: Option<(Owner, Tid)>,
    /// The frame that was open when the pieces of this turn began; its head is on the wire.
    carried: Option<(Owner, Tid)>,
    spill: Option<Box<Spill>>,
    /// Bytes that were ever put in, and that ever left (sent or taken back).
    put: u64,
    left: u64,
    dirty: bool,
    blocked: bool,
}

/// What waits to go out on each stream connection of a shard.
#[derive(Debug)]
pub struct Outbox {
    arena: Vec<u8>,
    lines: SecondaryMap<ConnId, Line>,
    dirty: VecDeque<ConnId>,
    spare: Vec<Vec<Piece>>,
    spilled: usize,
    hard_limit: usize,
}

/// Piece lists kept for the next turns.
const SPARE_MAX: usize = 4096;

impl Outbox {
    /// An empty outbox; a connection that would hold more than `hard_limit` unsent bytes is [`Full`].
    #[must_use]
    pub fn new(hard_limit: usize) -> Self {
        Self {
            arena: Vec::with_capacity(1 << 20),
            lines: SecondaryMap::new(),
            dirty: VecDeque::new(),
            spare: Vec::new(),
            spilled: 0,
            hard_limit,
        }
    }

    /// Begins to keep what `conn` sends.
    pub fn add(&mut self, conn: ConnId) {
        self.lines.insert(conn, Line::default());
    }

    /// Forgets `conn` and what it had not sent.
    pub fn remove(&mut self, conn: ConnId) {
        if let Some(mut line) = self.lines.remove(conn) {
            self.spilled -= line.spilled();
            self.recycle(std::mem::take(&mut line.pieces));
        }
    }

    /// Queues bytes of our own that are no SEND frame of a leg with a body: a response, a REPORT, a bodiless SEND, SIP.
    ///
    /// # Errors
    /// [`Full`] when the connection is over the hard bound; nothing was queued.
    ///
    /// # Panics
    /// If a frame is open on the connection: the writer interrupts or ends it first.
    pub fn whole(&mut self, conn: ConnId, bytes: &[u8]) -> Result<(), Full> {
        let limit = self.hard_limit;
        let Some(line) = self.lines.get(conn) else {
            return Ok(());
        };
        assert!(
            line.open.is_none(),
            "a frame is ended or interrupted before anything else is sent on its connection"
        );
        if line.backlog() + bytes.len() > limit {
            return Err(Full);
        }
        self.own(conn, bytes);
        Ok(())
    }

    /// Begins a SEND frame with a body: the first bytes of its head. The rest of the head follows by [`Outbox::own`] and
    /// [`Outbox::shared`], then [`Outbox::body`], all within one turn.
    ///
    /// # Panics
    /// If a frame is open on the connection.
    pub fn begin(&mut self, conn: ConnId, owner: Owner, tid: Tid, head: &[&[u8]]) {
        let Some(line) = self.lines.get_mut(conn) else {
            return;
        };
        assert!(line.open.is_none(), "one frame at a time on a connection");
        line.open = Some((owner, tid));
        match &mut line.spill {
            Some(spill) => {
                let at = spill.end();
                spill.marks.push_back(Mark {
                    owner,
                    tid,
                    start: at,
                    body: u64::MAX,
                    end: u64::MAX,
                });
            }
            None => Self::piece(&mut self.spare, line, Piece::Begin(owner, tid)),
        }
        for part in head {
            self.own(conn, part);
        }
    }

    /// The head of the open frame is complete, blank line and all: its body begins, and may be cut from here on.
    pub fn body(&mut self, conn: ConnId) {
        let Some(line) = self.lines.get_mut(conn) else {
            return;
        };
        match &mut line.spill {
            Some(spill) => {
                let at = spill.end();
                if let Some(mark) = spill.marks.back_mut() {
                    mark.body = at;
                }
            }
            None => Self::piece(&mut self.spare, line, Piece::Body),
        }
    }

    /// Queues received bytes of the open frame's body (or of its head, before the first body byte), uncopied.
    pub fn shared(&mut self, conn: ConnId, bytes: Slice) {
        let Some(line) = self.lines.get_mut(conn) else {
            return;
        };
        if bytes.is_empty() {
            return;
        }
        line.put += bytes.len() as u64;
        if let Some(spill) = &mut line.spill {
            spill.bytes.extend(&*bytes);
            self.spilled += bytes.len();
        } else {
            line.queued += bytes.len();
            Self::piece(&mut self.spare, line, Piece::Shared(bytes));
        }
        self.mark_dirty(conn);
    }

    /// Queues bytes of our own: part of the open frame.
    pub fn own(&mut self, conn: ConnId, bytes: &[u8]) {
        let Some(line) = self.lines.get_mut(conn) else {
            return;
        };
        if bytes.is_empty() {
            return;
        }
        line.put += bytes.len() as u64;
        if let Some(spill) = &mut line.spill {
            spill.bytes.extend(bytes);
            self.spilled += bytes.len();
        } else {
            line.queued += bytes.len();
            let at = self.arena.len();
            self.arena.extend_from_slice(bytes);
            if let Some(Piece::Own { start, len }) = line.pieces.last_mut()
                && *start as usize + *len as usize == at
            {
                *len += bound(bytes.len());
            } else {
                Self::piece(
                    &mut self.spare,
                    line,
                    Piece::Own {
                        start: bound(at),
                        len: bound(bytes.len()),
                    },
                );
            }
        }
        self.mark_dirty(conn);
    }

    /// Ends the open frame with its end-line; `flag` is `$`, `+` or `#` (RFC 4975 §7.1).
    pub fn end(&mut self, conn: ConnId, flag: u8) {
        let Some((_, tid)) = self.lines.get_mut(conn).and_then(|l| l.open.take()) else {
            return;
        };
        self.own(conn, &end_line(&tid, flag));
        let Some(line) = self.lines.get_mut(conn) else {
            return;
        };
        match &mut line.spill {
            Some(spill) => {
                let at = spill.end();
                if let Some(mark) = spill.marks.back_mut() {
                    mark.end = at;
                }
            }
            None => Self::piece(&mut self.spare, line, Piece::End),
        }
    }

    /// The frame that is open on the connection.
    #[must_use]
    pub fn open(&self, conn: ConnId) -> Option<(Owner, Tid)> {
        self.lines.get(conn).and_then(|l| l.open)
    }

    /// Bytes that wait on the connection.
    #[must_use]
    pub fn backlog(&self, conn: ConnId) -> usize {
        self.lines.get(conn).map_or(0, Line::backlog)
    }

    /// Bytes ever queued on the connection: a frame has left once [`Outbox::left`] has reached what this said at its end.
    #[must_use]
    pub fn put(&self, conn: ConnId) -> u64 {
        self.lines.get(conn).map_or(0, |l| l.put)
    }

    /// Bytes that ever left the connection's outbox, for the socket or taken back.
    #[must_use]
    pub fn left(&self, conn: ConnId) -> u64 {
        self.lines.get(conn).map_or(0, |l| l.left)
    }

    /// Whether the peer is slow just now: something is spilled.
    #[must_use]
    pub fn slow(&self, conn: ConnId) -> bool {
        self.lines.get(conn).is_some_and(|l| l.spill.is_some())
    }

    /// Bytes spilled over all connections.
    #[must_use]
    pub fn spilled(&self) -> usize {
        self.spilled
    }

    /// Takes back every frame of `owner` that has not begun on the wire; the one that has is ended with `#` after the
    /// bytes that are out. No further body byte of `owner` leaves. (settled.md 12)
    pub fn abort(&mut self, conn: ConnId, owner: Owner) {
        let Some(line) = self.lines.get_mut(conn) else {
            return;
        };
        let before = line.backlog();
        let spilled = line.spilled();
        if line.spill.is_some() {
            line.abort_spilled(owner);
        } else {
            line.abort_pieces(owner, &mut self.arena);
        }
        let after = line.backlog();
        self.spilled = self.spilled - spilled + line.spilled();
        line.put += after.saturating_sub(before) as u64;
        line.left += before.saturating_sub(after) as u64;
        if after > 0 {
            self.mark_dirty(conn);
        }
    }

    /// The next connection that has something to send and whose peer takes bytes.
    pub fn next_dirty(&mut self) -> Option<ConnId> {
        while let Some(conn) = self.dirty.pop_front() {
            let Some(line) = self.lines.get_mut(conn) else {
                continue;
            };
            line.dirty = false;
            if line.backlog() > 0 && !line.blocked {
                return Some(conn);
            }
        }
        None
    }

    /// What the connection sends next, in order.
    pub fn gather(&self, conn: ConnId) -> impl Iterator<Item = &[u8]> {
        let line = self.lines.get(conn);
        let spilled = line
            .and_then(|l| l.spill.as_ref())
            .map(|s| s.bytes.as_slices());
        let own = line.map_or(&[][..], |l| l.pieces.get(l.done..).unwrap_or(&[]));
        let skip = line.map_or(0, |l| l.skip);
        let (front, back) = spilled.unwrap_or((&[], &[]));
        let pieces = own.iter().enumerate().map(move |(i, p)| {
            let bytes = match p {
                Piece::Own { start, len } => &self.arena[*start as usize..(*start + *len) as usize],
                Piece::Shared(s) => s,
                Piece::Begin(..) | Piece::Body | Piece::End => &[],
            };
            if i == 0 {
                bytes.get(skip..).unwrap_or(&[])
            } else {
                bytes
            }
        });
        [front, back]
            .into_iter()
            .chain(pieces)
            .filter(|b| !b.is_empty())
    }

    /// The socket took `taken` of the `offered` bytes. Less than offered: the peer is slow, the rest is spilled, and the
    /// driver calls [`Outbox::writable`] when the socket takes bytes again.
    pub fn sent(&mut self, conn: ConnId, offered: usize, taken: usize) {
        let Some(line) = self.lines.get_mut(conn) else {
            return;
        };
        line.left += taken as u64;
        line.blocked = taken < offered;
        if let Some(spill) = &mut line.spill {
            spill.advance(taken);
            self.spilled -= taken;
            if spill.bytes.is_empty() {
                line.carried = line.open;
                line.spill = None;
                line.blocked = false;
            }
        } else {
            line.advance(taken);
            if line.queued > 0 && line.blocked {
                line.spill_rest(&self.arena);
                self.spilled += line.spill.as_ref().map_or(0, |s| s.bytes.len());
            }
            if line.queued == 0 {
                line.carried = line.open;
                line.done = 0;
                line.skip = 0;
                let pieces = std::mem::take(&mut line.pieces);
                self.recycle(pieces);
                return;
            }
        }
        if self
            .lines
            .get(conn)
            .is_some_and(|l| !l.blocked && l.backlog() > 0)
        {
            self.mark_dirty(conn);
        }
    }

    /// The socket takes bytes again.
    pub fn writable(&mut self, conn: ConnId) {
        if let Some(line) = self.lines.get_mut(conn) {
            line.blocked = false;
            self.mark_dirty(conn);
        }
    }

    /// Ends the turn: the arena starts anew. Every dirty connection has been offered its bytes.
    ///
    /// # Panics
    /// If a connection still has pieces: they would point into the next turn's arena.
    pub fn end_turn(&mut self) {
        assert!(
            self.dirty.is_empty(),
            "all that was queued was offered to its socket before the turn ends"
        );
        self.arena.clear();
    }

    fn mark_dirty(&mut self, conn: ConnId) {
        if let Some(line) = self.lines.get_mut(conn)
            && !line.dirty
            && !line.blocked
        {
            line.dirty = true;
            self.dirty.push_back(conn);
        }
    }

    fn piece(spare: &mut Vec<Vec<Piece>>, line: &mut Line, piece: Piece) {
        if line.pieces.capacity() == 0
            && let Some(list) = spare.pop()
        {
            line.pieces = list;
        }
        line.pieces.push(piece);
    }

    fn recycle(&mut self, mut pieces: Vec<Piece>) {
        pieces.clear();
        if pieces.capacity() > 0 && self.spare.len() < SPARE_MAX {
            self.spare.push(pieces);
        }
    }
}

impl Line {
    fn spilled(&self) -> usize {
        self.spill.as_ref().map_or(0, |s| s.bytes.len())
    }

    fn backlog(&self) -> usize {
        self.spill.as_ref().map_or(self.queued, |s| s.bytes.len())
    }

    /// `taken` bytes of the pieces are out.
    fn advance(&mut self, taken: usize) {
        self.queued -= taken;
        let mut rest = taken + self.skip;
        while let Some(piece) = self.pieces.get(self.done) {
            let len = piece.len();
            // A frame has begun once a byte of it is out; it has ended once all are.
            if len > rest || (rest == 0 && !matches!(piece, Piece::End)) {
                break;
            }
            match piece {
                Piece::Begin(owner, tid) => self.carried = Some((*owner, *tid)),
                Piece::End => self.carried = None,
                Piece::Own { .. } | Piece::Shared(_) | Piece::Body => {}
            }
            rest -= len;
            self.done += 1;
        }
        self.skip = rest;
    }

    /// Copies what is left of this turn's pieces into the spill, with the marks of its frames.
    fn spill_rest(&mut self, arena: &[u8]) {
        let mut spill = Spill::default();
        if let Some((owner, tid)) = self.carried {
            // Its head, or a part of it, is out. Whether the body has begun shows when the `Body` piece comes.
            let head_out = !self.pieces[self.done..]
                .iter()
                .take_while(|p| !matches!(p, Piece::Begin(..)))
                .any(|p| matches!(p, Piece::Body));
            spill.marks.push_back(Mark {
                owner,
                tid,
                start: 0,
                body: if head_out { 0 } else { u64::MAX },
                end: u64::MAX,
            });
        }
        // A frame of which not a byte is out starts behind offset 0, so that it can be taken back whole.
        spill.sent = 1;
        for (i, piece) in self.pieces.drain(..).enumerate().skip(self.done) {
            let skip = if i == self.done { self.skip } else { 0 };
            match piece {
                Piece::Own { start, len } => spill
                    .bytes
                    .extend(&arena[start as usize + skip..(start + len) as usize]),
                Piece::Shared(s) => spill.bytes.extend(&s[skip..]),
                Piece::Begin(owner, tid) => {
                    let at = spill.end();
                    spill.marks.push_back(Mark {
                        owner,
                        tid,
                        start: at,
                        body: u64::MAX,
                        end: u64::MAX,
                    });
                }
                Piece::Body => {
                    let at = spill.end();
                    if let Some(m) = spill.marks.back_mut() {
                        m.body = at;
                    }
                }
                Piece::End => {
                    let at = spill.end();
                    if let Some(m) = spill.marks.back_mut() {
                        m.end = at;
                    }
                }
            }
        }
        self.done = 0;
        self.skip = 0;
        self.queued = 0;
        self.spill = Some(Box::new(spill));
    }

    /// [`Outbox::abort`] where everything that waits is spilled.
    fn abort_spilled(&mut self, owner: Owner) {
        let Some(spill) = self.spill.as_deref_mut() else {
            return;
        };
        let first = spill.sent;
        let end = spill.end();
        let bytes = std::mem::take(&mut spill.bytes);
        let marks = std::mem::take(&mut spill.marks);
        let (mut kept, mut at) = (
            Spill {
                sent: first,
                ..Spill::default()
            },
            first,
        );
        let take = |kept: &mut Spill, from: u64, to: u64| {
            kept.bytes
                .extend(bytes.range(index(from - first)..index(to - first)));
        };
        for mark in marks {
            let (start, stop) = (mark.start.max(first), mark.end.min(end));
            take(&mut kept, at, start);
            at = stop;
            let new_start = kept.end();
            if mark.owner != owner {
                take(&mut kept, start, stop);
                let moved = |o: u64| {
                    if o == u64::MAX {
                        o
                    } else {
                        o.max(start) - start + new_start
                    }
                };
                // A begun frame keeps a start before the first unsent byte.
                let start = if mark.start < first {
                    mark.start
                } else {
                    new_start
                };
                kept.marks.push_back(Mark {
                    start,
                    body: moved(mark.body),
                    end: moved(mark.end),
                    ..mark
                });
            } else if mark.start < first {
                // Begun: the head goes out whole, then the end-line. Within an end-line, it is too late to cut.
                let tail = end_line(&mark.tid, b'#').len() as u64;
                if mark.end != u64::MAX && mark.end < first + tail {
                    take(&mut kept, start, stop);
                } else {
                    take(&mut kept, start, mark.body.clamp(start, stop));
                    kept.bytes.extend(end_line(&mark.tid, b'#'));
                }
                if self.open.is_some_and(|(o, _)| o == owner) && mark.end == u64::MAX {
                    self.open = None;
                }
            } else if mark.end == u64::MAX {
                self.open = None;
            }
        }
        take(&mut kept, at, end);
        *spill = kept;
        if spill.bytes.is_empty() {
            self.spill = None;
            self.carried = self.open;
            self.blocked = false;
        }
    }

    /// [`Outbox::abort`] where what waits is this turn's pieces.
    fn abort_pieces(&mut self, owner: Owner, arena: &mut Vec<u8>) {
        let pieces = std::mem::take(&mut self.pieces);
        let mut kept = Vec::with_capacity(pieces.capacity());
        let mut current = self.carried;
        let mut begun = current.is_some();
        // What is out of the first piece stays out: cut it off.
        let (done, skip) = (
            std::mem::take(&mut self.done),
            std::mem::take(&mut self.skip),
        );
        let mut in_head = pieces
            .get(done..)
            .unwrap_or(&[])
            .iter()
            .take_while(|p| !matches!(p, Piece::Begin(..)))
            .any(|p| matches!(p, Piece::Body));
        let mut cut = false;
        for (i, piece) in pieces.into_iter().enumerate().skip(done) {
            let piece = if i == done {
                piece.without(skip)
            } else {
                piece
            };
            let mine = current.is_some_and(|(o, _)| o == owner);
            match piece {
                Piece::Begin(o, tid) => {
                    current = Some((o, tid));
                    begun = false;
                    in_head = true;
                    if o != owner {
                        kept.push(piece);
                    }
                }
                Piece::Body => {
                    in_head = false;
                    if !mine {
                        kept.push(piece);
                    } else if begun {
                        kept.push(piece);
                        cut = true;
                    }
                }
                Piece::End => {
                    if mine && begun {
                        push_end(&mut kept, arena, current);
                        cut = false;
                    }
                    if !mine {
                        kept.push(piece);
                    }
                    current = None;
                    begun = false;
                }
                Piece::Own { .. } | Piece::Shared(_) => {
                    if !mine || (begun && in_head && !cut) {
                        kept.push(piece);
                    }
                }
            }
        }
        if let Some((o, _)) = current
            && o == owner
        {
            if begun {
                push_end(&mut kept, arena, current);
            }
            self.open = None;
        }
        self.queued = kept.iter().map(Piece::len).sum();
        self.pieces = kept;
    }
}

impl Piece {
    fn len(&self) -> usize {
        match self {
            Self::Own { len, .. } => *len as usize,
            Self::Shared(s) => s.len(),
            Self::Begin(..) | Self::Body | Self::End => 0,
        }
    }

    fn without(self, skip: usize) -> Self {
        match self {
            Self::Own { start, len } => Self::Own {
                start: start + bound(skip),
                len: len - bound(skip),
            },
            Self::Shared(s) => Self::Shared(s.part(skip, s.len())),
            Self::Begin(..) | Self::Body | Self::End => self,
        }
    }
}

fn push_end(kept: &mut Vec<Piece>, arena: &mut Vec<u8>, frame: Option<(Owner, Tid)>) {
    let Some((_, tid)) = frame else { return };
    let start = bound(arena.len());
    let line = end_line(&tid, b'#');
    arena.extend_from_slice(&line);
    kept.push(Piece::Own {
        start,
        len: bound(line.len()),
    });
    kept.push(Piece::End);
}

/// CRLF, seven hyphens, transaction id, flag, CRLF (RFC 4975 §9); the first CRLF closes the body.
#[must_use]
pub fn end_line(tid: &Tid, flag: u8) -> [u8; TID_LEN + 12] {
    let mut line = *b"\r\n-------0123456789abcdef$\r\n";
    line[9..9 + TID_LEN].copy_from_slice(tid);
    line[9 + TID_LEN] = flag;
    line
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "an arena and its pieces are far below 4 GiB: the hard bound holds"
)]
fn bound(n: usize) -> u32 {
    debug_assert!(u32::try_from(n).is_ok());
    n as u32
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "64-bit hosts only: an offset within one spill"
)]
fn index(n: u64) -> usize {
    n as usize
}
