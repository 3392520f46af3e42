//! What one connection has to send: pieces of this turn, or the spill of a slow peer; and which frames lie in it.

use std::collections::VecDeque;

use super::{
    Answer, Frame, Owner, Slice, TID_LEN, Tid,
    ready::{END_LEN, end_line},
    spill::{Parts, Pieces, Spill},
};

/// A piece of what a connection sends this turn: bytes of our own, a range of [`Queue::own`], and then received bytes, shared.
/// Either may be missing.
#[derive(Clone, Debug)]
struct Piece {
    start: u32,
    len: u32,
    shared: Option<Slice>,
}

/// Where a frame, or what is left of it, lies. Offsets count what was ever put on the connection ([`Line::put`]).
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pub(super) owner: Owner,
    pub(super) tid: Tid,
    pub(super) start: u64,
    /// From here on it may be cut; [`OPEN`] while its head is being written.
    pub(super) body: u64,
    /// Behind the end-line; [`OPEN`] while the writer has not ended it.
    pub(super) end: u64,
}

/// What a message begins with (RFC 4975 §9).
pub(super) const START: &[u8; 5] = b"MSRP ";

/// An offset that is not there yet.
pub(super) const OPEN: u64 = u64::MAX;

/// The bytes of a line that wait, in order. Only a line that has some, or an open frame, has one.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Bytes of our own making, and received ones so few that they were copied.
    own: Vec<u8>,
    pieces: Vec<Piece>,
    /// Pieces that are out, and bytes of the next one.
    done: usize,
    skip: usize,
    /// An end-line that is not written yet: it is put together with the head that follows it, so that both are one piece.
    tail: Option<(Tid, u8)>,
    /// Everything lies in `spill`, copied, nothing in pieces.
    pub(super) spilled: bool,
    spill: Spill,
    /// The frames that have unsent bytes, or are open.
    pub(super) marks: VecDeque<Mark>,
}

/// Pieces and marks, and bytes of our own, for which a queue that is put by keeps its memory.
const KEEP_MAX: usize = 512;
const KEEP_BYTES: usize = 64 << 10;

/// Received bytes of a frame that are copied rather than shared: a part of its own in the vectored send, and the count of its
/// holders, cost as much as copying so many (`perf/budget.md`).
pub(super) const COPY_MAX: usize = 512;

impl Queue {
    /// Puts a whole frame behind all others, its end-line put off. Returns its bytes.
    #[inline]
    pub(super) fn frame(&mut self, frame: &Frame<'_>, spare: &mut Pieces) -> usize {
        let received = &frame.received;
        let len = frame.head.len() + received.len + END_LEN;
        if self.spilled {
            self.spill.extend(START, spare);
            self.spill.extend(&frame.tid, spare);
            self.spill.extend(frame.head.behind_id(), spare);
            for bytes in received.slices {
                self.spill.extend(bytes, spare);
            }
            self.spill.extend(&end_line(&frame.tid, frame.flag), spare);
            return len;
        }
        let at = self.own.len();
        let before = self.tail.replace((frame.tid, frame.flag));
        frame.head.write(&mut self.own, before, &frame.tid);
        if let Some(few) = received.few {
            self.own.extend_from_slice(few);
        } else if received.len <= COPY_MAX {
            for bytes in received.slices {
                self.own.extend_from_slice(bytes);
            }
        }
        self.written(at);
        if received.len > COPY_MAX {
            for bytes in received.slices.iter().filter(|bytes| !bytes.is_empty()) {
                self.share(bytes.clone());
            }
        }
        len
    }

    /// Puts bytes of our own behind all others.
    pub(super) fn own(&mut self, bytes: &[u8], spare: &mut Pieces) {
        if self.spilled {
            self.spill.extend(bytes, spare);
            return;
        }
        self.write_tail();
        let at = self.own.len();
        self.own.extend_from_slice(bytes);
        self.written(at);
    }

    /// Puts a ready-made response behind all others.
    #[inline]
    pub(super) fn answer(&mut self, answer: &Answer, tid: &[u8], spare: &mut Pieces) {
        if self.spilled {
            let mut bytes = Vec::new();
            answer.write(&mut bytes, tid);
            self.spill.extend(&bytes, spare);
            return;
        }
        self.write_tail();
        let at = self.own.len();
        answer.write(&mut self.own, tid);
        self.written(at);
    }

    /// Puts received bytes behind all others.
    pub(super) fn shared(&mut self, bytes: Slice, spare: &mut Pieces) {
        if self.spilled {
            self.spill.extend(&bytes, spare);
            return;
        }
        self.write_tail();
        self.share(bytes);
    }

    fn share(&mut self, bytes: Slice) {
        match self.pieces.last_mut() {
            Some(Piece {
                shared: shared @ None,
                ..
            }) => *shared = Some(bytes),
            _ => self.pieces.push(Piece {
                start: 0,
                len: 0,
                shared: Some(bytes),
            }),
        }
    }

    /// Puts an end-line behind all others.
    pub(super) fn end(&mut self, tid: &Tid, flag: u8, spare: &mut Pieces) {
        if self.spilled {
            self.spill.extend(&end_line(tid, flag), spare);
            return;
        }
        self.write_tail();
        self.tail = Some((*tid, flag));
    }

    /// Writes the end-line that was put off.
    pub(super) fn write_tail(&mut self) {
        if let Some((tid, flag)) = self.tail.take() {
            let at = self.own.len();
            self.own.extend_from_slice(&end_line(&tid, flag));
            self.written(at);
        }
    }

    /// What lies in `own` from `at` on was put behind all others.
    fn written(&mut self, at: usize) {
        let added = bound(self.own.len() - at);
        match self.pieces.last_mut() {
            // Nothing of our own was put in since, so it ends where these begin.
            Some(Piece {
                len, shared: None, ..
            }) => *len += added,
            _ => self.pieces.push(Piece {
                start: bound(at),
                len: added,
                shared: None,
            }),
        }
    }

    /// What is to be sent, in order. An end-line that was put off is not in it: [`Queue::write_tail`] comes first.
    pub(super) fn gather(&self) -> Gather<'_> {
        let (mut own, mut shared) = Default::default();
        let mut pieces = self.pieces.get(self.done..).unwrap_or(&[]).iter();
        if self.skip > 0 {
            (own, shared) = pieces
                .next()
                .map(|p| p.bytes(&self.own))
                .unwrap_or_default();
            let skip = self.skip.min(own.len());
            (own, shared) = (&own[skip..], &shared[self.skip - skip..]);
        }
        Gather {
            spill: self.spill.parts(),
            front: own,
            back: shared,
            pieces,
            own: &self.own,
        }
    }

    /// The first `taken` bytes are out, not all there are.
    pub(super) fn advance(&mut self, taken: usize, spare: &mut Pieces) {
        if self.spilled {
            self.spill.advance(taken, spare);
            return;
        }
        let mut rest = taken + self.skip;
        while let Some(piece) = self.pieces.get(self.done)
            && piece.len() <= rest
        {
            rest -= piece.len();
            self.done += 1;
        }
        self.skip = rest;
    }

    /// All is out.
    pub(super) fn emptied(&mut self, spare: &mut Pieces) {
        self.own.clear();
        self.pieces.clear();
        self.done = 0;
        self.skip = 0;
        if self.spilled {
            self.spilled = false;
            self.spill.clear(spare);
        }
    }

    /// As new, with the memory of its lists, if that is worth keeping.
    pub(super) fn reset(&mut self, spare: &mut Pieces) {
        self.emptied(spare);
        self.tail = None;
        self.marks.clear();
        self.own.shrink_to(KEEP_BYTES);
        self.pieces.shrink_to(KEEP_MAX);
        self.marks.shrink_to(KEEP_MAX);
    }

    /// Bytes of memory that it has for bytes of our own.
    pub(super) fn capacity(&self) -> usize {
        self.own.capacity()
    }

    /// Copies what is left into the spill: it pins no receive buffer any more.
    pub(super) fn spill(&mut self, spare: &mut Pieces) {
        if self.spilled {
            return;
        }
        self.write_tail();
        let mut bytes = Spill::default();
        for part in self.gather() {
            bytes.extend(part, spare);
        }
        self.emptied(spare);
        self.spill = bytes;
        self.spilled = true;
    }

    /// Takes the frames of `owner` out of the spill, whose first byte is at `first`; of those that have begun on the wire,
    /// the head and an end-line with `#` stay. `moved`: where the first byte is from now on, given how many there are.
    pub(super) fn abort(
        &mut self,
        owner: Owner,
        first: u64,
        moved: impl FnOnce(usize) -> u64,
        spare: &mut Pieces,
    ) {
        let end = first + self.spill.len() as u64;
        let mut bytes = std::mem::take(&mut self.spill);
        let marks = std::mem::take(&mut self.marks);
        let mut kept = Kept {
            from: &bytes,
            first,
            bytes: Spill::default(),
            spare,
        };
        // Marks relative to the first byte, negative where they lie before it.
        let mut places: Vec<(Mark, Place)> = Vec::new();
        let mut at = first;
        for mark in marks {
            let (start, stop) = (mark.start.max(first), mark.end.min(end));
            kept.take(at, start);
            at = stop;
            let begun = mark.start < first;
            let new_start = kept.bytes.len() as u64;
            if mark.owner != owner {
                kept.take(start, stop);
                let relative = |o: u64| (o != OPEN).then(|| o.max(start) - start + new_start);
                places.push((
                    mark,
                    Place {
                        start: (!begun).then_some(new_start),
                        body: relative(mark.body),
                        end: relative(mark.end),
                    },
                ));
            } else if begun {
                // The head goes out whole, then the end-line. Within an end-line, it is too late to cut.
                let tail = (TID_LEN + 12) as u64;
                if mark.end != OPEN && mark.end < first + tail {
                    kept.take(start, stop);
                } else {
                    kept.take(start, mark.body.clamp(start, stop));
                    kept.bytes.extend(&end_line(&mark.tid, b'#'), kept.spare);
                }
            }
        }
        kept.take(at, end);
        self.spill = kept.bytes;
        bytes.clear(spare);
        let base = moved(self.spill.len());
        self.marks.extend(places.into_iter().map(|(mark, place)| {
            let of = |o: Option<u64>| o.map_or(OPEN, |o| base + o);
            Mark {
                start: place.start.map_or(base - 1, |o| base + o),
                body: of(place.body),
                end: of(place.end),
                ..mark
            }
        }));
    }
}

/// What is to be sent, in order; no part is empty. Nothing is in pieces where something is spilled.
#[derive(Debug, Default)]
pub(super) struct Gather<'a> {
    spill: Parts<'a>,
    /// What is left of a piece.
    front: &'a [u8],
    back: &'a [u8],
    pieces: std::slice::Iter<'a, Piece>,
    own: &'a [u8],
}

impl<'a> Iterator for Gather<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if !self.front.is_empty() {
            return Some(std::mem::take(&mut self.front));
        }
        if !self.back.is_empty() {
            return Some(std::mem::take(&mut self.back));
        }
        let Some(piece) = self.pieces.next() else {
            return self.spill.next();
        };
        let (own, shared) = piece.bytes(self.own);
        if own.is_empty() {
            return Some(shared);
        }
        self.back = shared;
        Some(own)
    }
}

/// Where a mark lies behind the first byte. No start: it has begun on the wire. No body or end: not there yet.
struct Place {
    start: Option<u64>,
    body: Option<u64>,
    end: Option<u64>,
}

/// Bytes that an abort leaves.
struct Kept<'a> {
    from: &'a Spill,
    first: u64,
    bytes: Spill,
    spare: &'a mut Pieces,
}

impl Kept<'_> {
    fn take(&mut self, from: u64, to: u64) {
        let range = index(from - self.first)..index(to - self.first);
        for part in self.from.range(range) {
            self.bytes.extend(part, self.spare);
        }
    }
}

/// What one connection has to send.
#[derive(Debug, Default)]
pub(super) struct Line {
    pub(super) queue: Option<Box<Queue>>,
    /// Bytes that were ever put in, and that ever left: sent, or taken back. What lies between waits.
    pub(super) put: u64,
    pub(super) left: u64,
    pub(super) dirty: bool,
    pub(super) blocked: bool,
}

impl Line {
    pub(super) fn backlog(&self) -> usize {
        index(self.put - self.left)
    }

    pub(super) fn spilled(&self) -> usize {
        match &self.queue {
            Some(queue) if queue.spilled => self.backlog(),
            _ => 0,
        }
    }

    /// The frame that the writer has begun and not ended.
    pub(super) fn open(&self) -> Option<&Mark> {
        let last = self.queue.as_ref()?.marks.back()?;
        (last.end == OPEN).then_some(last)
    }

    pub(super) fn open_mut(&mut self) -> Option<&mut Mark> {
        let last = self.queue.as_mut()?.marks.back_mut()?;
        (last.end == OPEN).then_some(last)
    }
}

impl Piece {
    fn len(&self) -> usize {
        self.len as usize + self.shared.as_ref().map_or(0, |s| s.len())
    }

    fn bytes<'a>(&'a self, own: &'a [u8]) -> (&'a [u8], &'a [u8]) {
        let own = &own[self.start as usize..(self.start + self.len) as usize];
        (own, self.shared.as_deref().unwrap_or_default())
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "what waits on a connection is far below 4 GiB: the hard bound holds"
)]
fn bound(n: usize) -> u32 {
    debug_assert!(u32::try_from(n).is_ok());
    n as u32
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "64-bit hosts only: an offset within what waits"
)]
fn index(n: u64) -> usize {
    n as usize
}
