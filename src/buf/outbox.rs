//! What waits to go out on a shard's stream connections: this turn's pieces, and what a slow peer has not taken yet.
//!
//! Within a turn a connection holds pieces: bytes of our own making, one behind the other, and shared slices of received
//! buffers. The driver sends them in one vectored operation that does not wait. What is left after a short send is copied
//! into the connection's own spill, so a slow peer pins no receive buffer.
//!
//! SEND frames are marked, so that those of one leg can be taken back ([`Outbox::abort`]) and the one that has begun be
//! ended properly on the wire.

use std::collections::VecDeque;

use slotmap::SecondaryMap;

use super::{
    Answer, Ready, Slice,
    line::{COPY_MAX, Line, Mark, OPEN, Queue},
    spill::Pieces,
};
use crate::ids::ConnId;

/// Length of the transaction ids that we make (RFC 4975 §9: ident, 4 to 32 characters).
pub const TID_LEN: usize = 16;

/// A transaction id of our own making.
pub type Tid = [u8; TID_LEN];

/// Whose frame it is: opaque to the outbox, equal for all frames of one leg.
pub type Owner = u64;

/// The outbox of a connection is over its hard bound: the connection must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// A SEND frame that is there from its first byte to its last.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Whose it is.
    pub owner: Owner,
    /// Its transaction id.
    pub tid: Tid,
    /// What it begins with, up to its paths.
    pub head: &'a Ready,
    /// Received bytes that follow: the rest of the head and, from `body_at` on, the body.
    pub received: Received<'a>,
    /// Bytes of `received` that are head.
    pub body_at: usize,
    /// `$`, `+` or `#` (RFC 4975 §7.1).
    pub flag: u8,
}

/// Received bytes that go out on several connections, looked at once for all of them.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    pub(super) slices: &'a [Slice],
    pub(super) len: usize,
    /// All of them, where they lie in one piece and are so few that each connection copies them.
    pub(super) few: Option<&'a [u8]>,
}

impl<'a> Received<'a> {
    /// Those of `slices`, one behind the other.
    #[must_use]
    pub fn new(slices: &'a [Slice]) -> Self {
        Self {
            slices,
            len: slices.iter().map(|bytes| bytes.len()).sum(),
            few: match slices {
                [only] if only.len() <= COPY_MAX => Some(only),
                _ => None,
            },
        }
    }
}

/// Why a frame or an answer was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotNow {
    /// There is no such connection.
    Gone,
    /// Another frame is open on it.
    Open,
    /// As [`Full`].
    Full,
}

/// How a connection stands after a frame was put on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stand {
    /// As [`Outbox::put`].
    pub put: u64,
    /// As [`Outbox::backlog`].
    pub backlog: usize,
}

/// Queues for lines that will need one, and memory for those whose peers are slow.
#[derive(Debug, Default)]
struct Spare {
    #[expect(
        clippy::vec_box,
        reason = "a queue moves between its line and here as a pointer"
    )]
    queues: Vec<Box<Queue>>,
    /// Bytes of memory that they have for bytes of our own.
    bytes: usize,
    pieces: Pieces,
}

/// What waits to go out on each stream connection of a shard.
#[derive(Debug)]
pub struct Outbox {
    lines: SecondaryMap<ConnId, Line>,
    dirty: VecDeque<ConnId>,
    spare: Spare,
    spilled: usize,
    hard_limit: usize,
}

/// Queues kept for the next turns: as many connections send in one turn without an allocation.
const SPARE_MAX: usize = 4096;

/// Bytes of memory that they keep in all, 4 KiB each in the mean.
const SPARE_BYTES_MAX: usize = 16 << 20;

impl Outbox {
    /// An empty outbox; a connection that would hold more than `hard_limit` unsent bytes is [`Full`].
    #[must_use]
    pub fn new(hard_limit: usize) -> Self {
        Self {
            lines: SecondaryMap::new(),
            dirty: VecDeque::new(),
            spare: Spare::default(),
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
        if let Some(line) = self.lines.remove(conn) {
            self.spilled -= line.spilled();
            if let Some(queue) = line.queue {
                self.spare.put_by(queue);
            }
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
        let Some(line) = self.lines.get(conn) else {
            return Ok(());
        };
        assert!(
            line.open().is_none(),
            "a frame is ended or interrupted before anything else is sent on its connection"
        );
        if line.backlog() + bytes.len() > self.hard_limit {
            return Err(Full);
        }
        self.own(conn, bytes);
        Ok(())
    }

    /// Queues a ready-made response to the request `tid`, unless a frame is open on the connection: the writer interrupts or
    /// ends it first.
    ///
    /// # Errors
    /// Nothing was queued, for one of the reasons of [`NotNow`].
    pub fn answer(&mut self, conn: ConnId, answer: &Answer, tid: &[u8]) -> Result<(), NotNow> {
        let line = self.lines.get_mut(conn).ok_or(NotNow::Gone)?;
        if line.open().is_some() {
            return Err(NotNow::Open);
        }
        let len = answer.len_for(tid);
        if line.backlog() + len > self.hard_limit {
            return Err(NotNow::Full);
        }
        let queue = queue_of(&mut line.queue, &mut self.spare);
        queue.answer(answer, tid, &mut self.spare.pieces);
        line.put += len as u64;
        if queue.spilled {
            self.spilled += len;
        }
        mark_dirty(&mut self.dirty, conn, line);
        Ok(())
    }

    /// Queues a whole SEND frame, unless a frame is open on the connection: the writer interrupts or ends it first.
    ///
    /// # Errors
    /// Nothing was queued: the connection is [`NotNow::Gone`], or a frame is [`NotNow::Open`] on it.
    pub fn frame(&mut self, conn: ConnId, frame: &Frame<'_>) -> Result<Stand, NotNow> {
        let line = self.lines.get_mut(conn).ok_or(NotNow::Gone)?;
        if line.open().is_some() {
            return Err(NotNow::Open);
        }
        let queue = queue_of(&mut line.queue, &mut self.spare);
        let start = line.put;
        let body = start + (frame.head.len() + frame.body_at) as u64;
        let len = queue.frame(frame, &mut self.spare.pieces);
        line.put += len as u64;
        if queue.spilled {
            self.spilled += len;
        }
        queue.marks.push_back(Mark {
            owner: frame.owner,
            tid: frame.tid,
            start,
            body,
            end: line.put,
        });
        mark_dirty(&mut self.dirty, conn, line);
        Ok(Stand {
            put: line.put,
            backlog: line.backlog(),
        })
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
        assert!(line.open().is_none(), "one frame at a time on a connection");
        let start = line.put;
        queue_of(&mut line.queue, &mut self.spare)
            .marks
            .push_back(Mark {
                owner,
                tid,
                start,
                body: OPEN,
                end: OPEN,
            });
        for part in head {
            self.own(conn, part);
        }
    }

    /// The head of the open frame is complete, blank line and all: its body begins, and may be cut from here on.
    pub fn body(&mut self, conn: ConnId) {
        if let Some(line) = self.lines.get_mut(conn) {
            let at = line.put;
            if let Some(mark) = line.open_mut() {
                mark.body = at;
            }
        }
    }

    /// Queues received bytes of the open frame's body (or of its head, before the first body byte), uncopied.
    pub fn shared(&mut self, conn: ConnId, bytes: Slice) {
        let len = bytes.len();
        self.add_to(conn, len, |queue, spare| queue.shared(bytes, spare));
    }

    /// Queues bytes of our own: part of the open frame.
    pub fn own(&mut self, conn: ConnId, bytes: &[u8]) {
        self.add_to(conn, bytes.len(), |queue, spare| queue.own(bytes, spare));
    }

    /// Ends the open frame with its end-line; `flag` is `$`, `+` or `#` (RFC 4975 §7.1).
    pub fn end(&mut self, conn: ConnId, flag: u8) {
        let Some(tid) = self
            .lines
            .get(conn)
            .and_then(|l| l.open())
            .map(|mark| mark.tid)
        else {
            return;
        };
        self.add_to(conn, TID_LEN + 12, |queue, spare| {
            queue.end(&tid, flag, spare);
        });
        if let Some(line) = self.lines.get_mut(conn) {
            let at = line.put;
            if let Some(mark) = line.open_mut() {
                mark.end = at;
            }
        }
    }

    fn add_to(&mut self, conn: ConnId, len: usize, write: impl FnOnce(&mut Queue, &mut Pieces)) {
        let Some(line) = self.lines.get_mut(conn) else {
            return;
        };
        if len == 0 {
            return;
        }
        let queue = queue_of(&mut line.queue, &mut self.spare);
        write(queue, &mut self.spare.pieces);
        line.put += len as u64;
        if queue.spilled {
            self.spilled += len;
        }
        mark_dirty(&mut self.dirty, conn, line);
    }

    /// The frame that is open on the connection.
    #[must_use]
    pub fn open(&self, conn: ConnId) -> Option<(Owner, Tid)> {
        let mark = self.lines.get(conn)?.open()?;
        Some((mark.owner, mark.tid))
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
        self.lines.get(conn).is_some_and(|l| l.spilled() > 0)
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
        let (put, left) = (line.put, line.left);
        let before = line.spilled();
        let Some(queue) = &mut line.queue else {
            return;
        };
        if !queue.marks.iter().any(|m| m.owner == owner) {
            return;
        }
        queue.spill(&mut self.spare.pieces);
        // What was taken back has left; where an end-line makes it more, that was put in.
        let first = |len: usize| left.max(put.saturating_sub(len as u64));
        let mut after = 0;
        let moved = |len| {
            after = len;
            first(len)
        };
        queue.abort(owner, left, moved, &mut self.spare.pieces);
        line.left = first(after);
        line.put = line.left + after as u64;
        self.spilled = self.spilled - before + after;
        if after > 0 {
            mark_dirty(&mut self.dirty, conn, line);
        } else {
            drained(line, &mut self.spare);
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
                if let Some(queue) = &mut line.queue {
                    queue.write_tail();
                }
                return Some(conn);
            }
        }
        None
    }

    /// What the connection, which [`Outbox::next_dirty`] has named, sends next, in order. It stays where it is until
    /// something is put in on this connection, or it is told what was sent.
    pub fn gather(&self, conn: ConnId) -> impl Iterator<Item = &[u8]> {
        self.lines
            .get(conn)
            .and_then(|l| l.queue.as_ref())
            .map(|queue| queue.gather())
            .unwrap_or_default()
    }

    /// The socket took `taken` of the `offered` bytes. Less than offered: the peer is slow, the rest is spilled, and the
    /// driver calls [`Outbox::writable`] when the socket takes bytes again.
    pub fn sent(&mut self, conn: ConnId, offered: usize, taken: usize) {
        let Some(line) = self.lines.get_mut(conn) else {
            return;
        };
        let spilled = line.spilled();
        line.left += taken as u64;
        if line.left == line.put {
            self.spilled -= spilled;
            drained(line, &mut self.spare);
            return;
        }
        let Some(queue) = &mut line.queue else {
            return;
        };
        queue.advance(taken, &mut self.spare.pieces);
        while queue.marks.front().is_some_and(|m| m.end <= line.left) {
            queue.marks.pop_front();
        }
        line.blocked = taken < offered;
        if line.blocked {
            queue.spill(&mut self.spare.pieces);
        } else {
            mark_dirty(&mut self.dirty, conn, line);
        }
        self.spilled = self.spilled - spilled + line.spilled();
    }

    /// Takes out, in order, everything that waits on a connection whose bytes go another way than by a socket of ours.
    pub fn take(&mut self, conn: ConnId) -> Vec<u8> {
        if let Some(queue) = self.lines.get_mut(conn).and_then(|l| l.queue.as_mut()) {
            queue.write_tail();
        }
        let bytes: Vec<u8> = self.gather(conn).flatten().copied().collect();
        self.sent(conn, bytes.len(), bytes.len());
        bytes
    }

    /// The socket takes bytes again.
    pub fn writable(&mut self, conn: ConnId) {
        if let Some(line) = self.lines.get_mut(conn) {
            line.blocked = false;
            mark_dirty(&mut self.dirty, conn, line);
        }
    }

    /// Ends the turn. Every dirty connection has been offered its bytes.
    ///
    /// # Panics
    /// If one was not: its shared slices would pin receive buffers into the next turn.
    pub fn end_turn(&mut self) {
        assert!(
            self.dirty.is_empty(),
            "all that was queued was offered to its socket before the turn ends"
        );
    }
}

/// The queue of a line that has something to wait.
fn queue_of<'a>(queue: &'a mut Option<Box<Queue>>, spare: &mut Spare) -> &'a mut Queue {
    queue.get_or_insert_with(|| spare.take())
}

/// Nothing waits on the line any more. Its queue goes, unless a frame is open.
fn drained(line: &mut Line, spare: &mut Spare) {
    line.blocked = false;
    let open = line.open().copied();
    match (&mut line.queue, open) {
        (Some(queue), Some(open)) => {
            queue.emptied(&mut spare.pieces);
            queue.marks.clear();
            queue.marks.push_back(open);
        }
        (queue, _) => {
            if let Some(queue) = queue.take() {
                spare.put_by(queue);
            }
        }
    }
}

impl Spare {
    fn take(&mut self) -> Box<Queue> {
        let queue = self.queues.pop().unwrap_or_default();
        self.bytes -= queue.capacity();
        queue
    }

    /// Keeps an empty queue for the next that needs one, if there is room.
    fn put_by(&mut self, mut queue: Box<Queue>) {
        if self.queues.len() < SPARE_MAX && self.bytes + queue.capacity() <= SPARE_BYTES_MAX {
            queue.reset(&mut self.pieces);
            self.bytes += queue.capacity();
            self.queues.push(queue);
        }
    }
}

fn mark_dirty(dirty: &mut VecDeque<ConnId>, conn: ConnId, line: &mut Line) {
    if !line.dirty && !line.blocked {
        line.dirty = true;
        dirty.push_back(conn);
    }
}
