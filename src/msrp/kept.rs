//! The body of a message as far as it is kept (settled.md R2).
//!
//! The law: what is added costs as much as its own bytes, in whatever order it comes and in whatever pieces, and what is held
//! weighs what it takes ([`Kept::weight`]). Pieces that come in order are shared slices, later copied. Once they come out of
//! order, again, or in too many pieces, all of them lie in [`Pages`]: a byte has its place there, so nothing is moved and
//! small pieces are joined as they come.

use std::collections::BTreeMap;

use crate::buf::Slice;

/// Pieces in order that are told apart; more are put into pages.
const PIECES_MAX: usize = 64;

/// Places for pieces that stay with the place of a message, for the next one there; and their bytes.
const PIECES_KEPT: usize = 4;
pub(super) const PIECES_STAY: usize = PIECES_KEPT * size_of::<(u64, Slice)>();

/// What a piece takes beside its bytes: its place in the list, and the allocation that it lies in once it is copied.
const PIECE_BYTES: usize = 64;

/// Body bytes of a page.
const PAGE: usize = 512;

/// What a page takes: its bytes, a bit for each, its place in the tree.
const PAGE_BYTES: usize = PAGE + PAGE / 8 + 64;

/// The bytes of a body that are there. Of two that overlap, the later received wins [MSRP-CHUNK-06].
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// In rising order, without overlap; empty once there are pages.
    pieces: Vec<(u64, Slice)>,
    pages: Option<Box<Pages>>,
    bytes: usize,
}

fn end(piece: &(u64, Slice)) -> u64 {
    piece.0 + piece.1.len() as u64
}

impl Kept {
    /// Body bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of memory that they take, at most.
    pub(super) fn weight(&self) -> usize {
        match &self.pages {
            None => self.bytes + self.pieces.len().saturating_sub(1) * PIECE_BYTES,
            Some(pages) => pages.all.len() * PAGE_BYTES,
        }
    }

    pub(super) fn clear(&mut self) {
        if self.pieces.capacity() > PIECES_KEPT {
            self.pieces = Vec::new();
        }
        self.pieces.clear();
        if self.pages.is_some() {
            self.pages = None;
        }
        self.bytes = 0;
    }

    /// Adds the bytes from position `start` (counted from 1) on.
    pub(super) fn add(&mut self, start: u64, bytes: Slice) {
        if bytes.is_empty() {
            return;
        }
        if self.pages.is_none() {
            let room = self.pieces.len() < PIECES_MAX;
            let in_order = match self.pieces.last_mut() {
                None => true,
                Some(last) => {
                    if end(last) == start && last.1.join(&bytes) {
                        self.bytes += bytes.len();
                        return;
                    }
                    end(last) <= start && room
                }
            };
            if in_order {
                self.bytes += bytes.len();
                self.pieces.push((start, bytes));
                return;
            }
        }
        let pieces = &mut self.pieces;
        let pages = self.pages.get_or_insert_with(|| {
            let mut pages = Box::<Pages>::default();
            for (at, piece) in std::mem::take(pieces) {
                pages.put(at, &piece);
            }
            pages
        });
        self.bytes += pages.put(start, &bytes);
    }

    /// Hands out the bytes from `start` up to, not including, `stop`, as far as they are there, in order.
    pub(super) fn each(&self, start: u64, stop: u64, mut f: impl FnMut(Slice)) {
        for piece in &self.pieces {
            let (from, to) = (piece.0.max(start), end(piece).min(stop));
            if from < to {
                f(piece.1.part(offset(from - piece.0), offset(to - piece.0)));
            }
        }
        if let Some(pages) = &self.pages {
            let mut run = Vec::new();
            let mut next = start;
            pages.runs(start, stop, |at, bytes| {
                if at != next && !run.is_empty() {
                    f(Slice::copied(&run));
                    run.clear();
                }
                run.extend_from_slice(bytes);
                next = at + bytes.len() as u64;
            });
            if !run.is_empty() {
                f(Slice::copied(&run));
            }
        }
    }

    /// How many bytes there are from the first on without a gap.
    pub(super) fn front(&self) -> u64 {
        if let Some(pages) = &self.pages {
            return pages.front;
        }
        let mut front = 0;
        for piece in &self.pieces {
            if piece.0 != front + 1 {
                break;
            }
            front += piece.1.len() as u64;
        }
        front
    }

    /// The first bytes of the message, in `out`, as far as they follow one another, at most `max`.
    pub(super) fn prefix(&self, out: &mut Vec<u8>, max: usize) {
        out.clear();
        let stop = 1 + self.front().min(max as u64);
        for piece in &self.pieces {
            let Some(more) = stop.checked_sub(piece.0).filter(|n| *n > 0) else {
                break;
            };
            out.extend_from_slice(&piece.1[..piece.1.len().min(offset(more))]);
        }
        if let Some(pages) = &self.pages {
            pages.runs(1, stop, |_, bytes| out.extend_from_slice(bytes));
        }
    }

    /// All bytes, copied.
    pub(super) fn to_vec(&self) -> Vec<u8> {
        let mut all = Vec::with_capacity(self.bytes);
        for piece in &self.pieces {
            all.extend_from_slice(&piece.1);
        }
        if let Some(pages) = &self.pages {
            pages.runs(1, u64::MAX, |_, bytes| all.extend_from_slice(bytes));
        }
        all
    }

    /// Copies what lies in receive buffers out of them, once: neighbours into one piece.
    pub(super) fn copy_out(&mut self) {
        if !self.pieces.iter().any(|p| p.1.pinned()) {
            return;
        }
        let old = std::mem::take(&mut self.pieces);
        let mut run: Vec<u8> = Vec::new();
        let mut from = 0;
        let ends_run = |pieces: &mut Vec<(u64, Slice)>, from: u64, run: &mut Vec<u8>| {
            if !run.is_empty() {
                pieces.push((from, Slice::copied(run)));
                run.clear();
            }
        };
        for (at, piece) in old {
            if !piece.pinned() {
                ends_run(&mut self.pieces, from, &mut run);
                self.pieces.push((at, piece));
                continue;
            }
            if from + run.len() as u64 != at {
                ends_run(&mut self.pieces, from, &mut run);
            }
            if run.is_empty() {
                from = at;
            }
            run.extend_from_slice(&piece);
        }
        ends_run(&mut self.pieces, from, &mut run);
    }
}

/// Bytes by their places, in pages of [`PAGE`] of them.
#[derive(Debug, Default)]
struct Pages {
    all: BTreeMap<u64, Box<Page>>,
    /// How many bytes there are from the first on without a gap.
    front: u64,
    /// Pages looked at and bytes put in, in the tests: the work.
    #[cfg(test)]
    work: usize,
}

#[derive(Debug)]
struct Page {
    has: [u64; PAGE / 64],
    bytes: [u8; PAGE],
}

impl Page {
    fn new() -> Box<Self> {
        Box::new(Self {
            has: [0; PAGE / 64],
            bytes: [0; PAGE],
        })
    }

    /// The first place from `from` on that is there (or is not); [`PAGE`]: none.
    fn next(&self, from: usize, there: bool) -> usize {
        let mut at = from;
        while at < PAGE {
            let word = if there {
                self.has[at / 64]
            } else {
                !self.has[at / 64]
            };
            let rest = word >> (at % 64);
            if rest != 0 {
                return at + rest.trailing_zeros() as usize;
            }
            at = (at / 64 + 1) * 64;
        }
        PAGE
    }

    /// Puts bytes at `at`; how many of their places were empty.
    fn put(&mut self, at: usize, bytes: &[u8]) -> usize {
        let to = at + bytes.len();
        self.bytes[at..to].copy_from_slice(bytes);
        let mut new = 0;
        for (n, word) in self.has.iter_mut().enumerate() {
            let (first, last) = (at.max(n * 64), to.min(n * 64 + 64));
            if first < last {
                let mask = (u64::MAX >> (64 - (last - first))) << (first % 64);
                new += (mask & !*word).count_ones() as usize;
                *word |= mask;
            }
        }
        new
    }
}

impl Pages {
    /// Puts bytes at position `start` (counted from 1); how many of their places were empty.
    fn put(&mut self, start: u64, bytes: &[u8]) -> usize {
        let (mut at, mut bytes, mut new) = (start - 1, bytes, 0);
        let stop = at + bytes.len() as u64;
        #[cfg(test)]
        {
            self.work += bytes.len();
        }
        while !bytes.is_empty() {
            let from = offset(at % PAGE as u64);
            let (now, later) = bytes.split_at(bytes.len().min(PAGE - from));
            let page = self.all.entry(at / PAGE as u64).or_insert_with(Page::new);
            new += page.put(from, now);
            at += now.len() as u64;
            bytes = later;
            #[cfg(test)]
            {
                self.work += 1;
            }
        }
        if (start - 1..stop).contains(&self.front) {
            self.front = stop;
            self.advance();
        }
        new
    }

    /// Moves the front over what lies behind it: each byte is gone over once.
    fn advance(&mut self) {
        while let Some(page) = self.all.get(&(self.front / PAGE as u64)) {
            let from = offset(self.front % PAGE as u64);
            let gap = page.next(from, false);
            self.front += (gap - from) as u64;
            #[cfg(test)]
            {
                self.work += 1;
            }
            if gap < PAGE {
                return;
            }
        }
    }

    /// The bytes in `start..stop` that are there, in order, in runs that end with their page at the latest.
    fn runs(&self, start: u64, stop: u64, mut f: impl FnMut(u64, &[u8])) {
        if start >= stop {
            return;
        }
        let (first, last) = (start - 1, stop - 2);
        for (n, page) in self.all.range(first / PAGE as u64..=last / PAGE as u64) {
            let begins = n * PAGE as u64;
            let mut at = offset(first.saturating_sub(begins));
            let to = offset((last + 1 - begins).min(PAGE as u64));
            loop {
                at = page.next(at, true);
                if at >= to {
                    break;
                }
                let gap = page.next(at, false).min(to);
                f(begins + at as u64 + 1, &page.bytes[at..gap]);
                at = gap;
            }
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "an offset within a slice or a page"
)]
fn offset(n: u64) -> usize {
    n as usize
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "offsets of a few bytes")]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::buf::Region;

    fn text(k: &Kept) -> String {
        String::from_utf8(k.to_vec()).unwrap()
    }

    #[test]
    fn pieces_are_put_where_they_belong() {
        let mut k = Kept::default();
        k.add(5, Slice::copied(b"EFGH"));
        k.add(1, Slice::copied(b"ABCD"));
        k.add(9, Slice::copied(b"IJ"));
        assert_eq!(text(&k), "ABCDEFGHIJ");
        assert_eq!(k.bytes(), 10);
    }

    // [MSRP-CHUNK-06] Chunks 1-100 and 50-150: bytes 50-150 are those of the second.
    #[test]
    fn on_overlap_the_later_wins() {
        let mut k = Kept::default();
        k.add(1, Slice::copied(&[b'a'; 100]));
        k.add(50, Slice::copied(&[b'b'; 101]));
        assert_eq!(text(&k), format!("{}{}", "a".repeat(49), "b".repeat(101)));
        k.add(60, Slice::copied(b"cc"));
        assert_eq!(&text(&k)[58..63], "bccbb");
        assert_eq!(k.bytes(), 150);
        let mut some = Vec::new();
        k.each(49, 52, |s| some.extend_from_slice(&s));
        assert_eq!(some, b"abb");
    }

    #[test]
    fn the_prefix_stops_at_a_gap() {
        let mut k = Kept::default();
        k.add(1, Slice::copied(b"abc"));
        k.add(4, Slice::copied(b"def"));
        k.add(8, Slice::copied(b"xyz"));
        let mut out = Vec::new();
        k.prefix(&mut out, 100);
        assert_eq!((&out[..], k.front()), (&b"abcdef"[..], 6));
        k.prefix(&mut out, 4);
        assert_eq!(out, b"abcd");
    }

    struct Rng(u64);

    impl Rng {
        fn below(&mut self, n: u64) -> u64 {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (self.0 >> 33) % n
        }
    }

    /// Against a byte for each position: whatever comes, in whatever order, overlapping or again.
    #[test]
    fn agrees_with_a_byte_for_each_position() {
        for seed in 0..300 {
            let mut rng = Rng(seed);
            let (mut k, mut plain) = (Kept::default(), vec![None; 4_000]);
            let most = [1, 3, 40, 900][seed as usize % 4];
            for step in 0..200_u64 {
                let start = match seed % 3 {
                    0 => rng.below(3_000),
                    1 => 2_999 - step * 10,
                    _ => step * 7,
                };
                let len = 1 + rng.below(most);
                let bytes: Vec<u8> = (0..len).map(|_| rng.below(256) as u8).collect();
                for (i, b) in bytes.iter().enumerate() {
                    plain[start as usize + i] = Some(*b);
                }
                k.add(start + 1, Slice::copied(&bytes));
                if rng.below(20) == 0 {
                    k.copy_out();
                }
            }
            let held: Vec<u8> = plain.iter().flatten().copied().collect();
            assert_eq!(
                (k.to_vec(), k.bytes()),
                (held.clone(), held.len()),
                "{seed}"
            );
            let front = plain.iter().take_while(|b| b.is_some()).count();
            assert_eq!(k.front(), front as u64, "{seed}");
            let mut out = Vec::new();
            k.prefix(&mut out, 700);
            assert_eq!(out, held[..front.min(700)], "{seed}");
            let (a, b) = (rng.below(2_000), 2_000 + rng.below(2_000));
            let mut some = Vec::new();
            k.each(a + 1, b + 1, |s| some.extend_from_slice(&s));
            let want = plain[a as usize..b as usize].iter().flatten().copied();
            assert_eq!(some, want.collect::<Vec<_>>(), "{seed}");
        }
    }

    /// Each order that a sender may choose, in 1-octet chunks: the work is a few steps a byte, and what is held is not much
    /// more than the bytes.
    #[test]
    fn the_work_is_linear_in_bytes_whatever_the_order() {
        const N: u64 = 32 << 10;
        let mut rng = Rng(5);
        let mut random: Vec<u64> = (1..=N).collect();
        for i in (1..N as usize).rev() {
            random.swap(i, rng.below(i as u64 + 1) as usize);
        }
        let orders: [(&str, Vec<u64>); 5] = [
            ("rising", (1..=N).collect()),
            ("falling", (1..=N).rev().collect()),
            ("even, then odd", {
                let odd = (1..=N).step_by(2);
                (2..=N).step_by(2).chain(odd).collect()
            }),
            ("random", random),
            ("again and again", (1..=N).flat_map(|n| [n, 1, n]).collect()),
        ];
        for (order, places) in orders {
            let mut k = Kept::default();
            for &at in &places {
                k.add(at, Slice::copied(&[at as u8]));
            }
            let work = k.pages.as_ref().unwrap().work;
            assert!(work <= 4 * places.len(), "{order}: {work}");
            assert!(k.weight() <= 2 * N as usize, "{order}: {}", k.weight());
            assert_eq!((k.bytes() as u64, k.front()), (N, N), "{order}");
            assert!(k.to_vec().iter().zip(1..).all(|(b, n)| *b == n as u8));
        }
    }

    /// Far apart, each piece weighs what it takes.
    #[test]
    fn pieces_that_lie_far_apart_are_weighed() {
        let mut k = Kept::default();
        for n in (0..1_000_u64).rev() {
            k.add(1 + n * 100_000, Slice::copied(b"x"));
        }
        assert_eq!(k.bytes(), 1_000);
        assert_eq!(k.weight(), 1_000 * PAGE_BYTES);
        k.clear();
        assert_eq!((k.bytes(), k.weight()), (0, 0));
    }

    struct Pinned(Vec<u8>);

    impl Region for Pinned {
        fn bytes(&self, start: usize, len: usize) -> &[u8] {
            &self.0[start..start + len]
        }
        fn pinned(&self) -> bool {
            true
        }
    }

    /// A body that grows for long is copied out of the receive buffers as it comes, each byte once.
    #[test]
    fn what_was_copied_out_is_not_copied_again() {
        let mut k = Kept::default();
        let mut first = std::ptr::null();
        for n in 0..60_u64 {
            let region = Rc::new(Pinned(vec![n as u8; 1_000]));
            k.add(1 + n * 1_000, Slice::new(region, 0, 1_000));
            k.copy_out();
            assert!(k.pieces.iter().all(|p| !p.1.pinned()));
            let at = k.pieces[0].1.as_ptr();
            assert!(n == 0 || at == first, "where it was");
            first = at;
        }
        assert_eq!(k.to_vec().len(), 60_000);
    }
}
