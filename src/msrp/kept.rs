//! The body of a message as far as it is kept (settled.md R2): shared slices in the order of their positions, later copied.

use crate::buf::Slice;

/// Pieces of a body, in rising order, that do not overlap. Of two that do, the later received wins [MSRP-CHUNK-06].
#[derive(Debug, Default)]
pub(super) struct Kept {
    pieces: Vec<(u64, Slice)>,
    bytes: usize,
}

fn end(piece: &(u64, Slice)) -> u64 {
    piece.0 + piece.1.len() as u64
}

impl Kept {
    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn clear(&mut self) {
        self.pieces.clear();
        self.bytes = 0;
    }

    /// Adds the bytes from position `start` (counted from 1) on.
    pub(super) fn add(&mut self, start: u64, bytes: Slice) {
        if bytes.is_empty() {
            return;
        }
        let stop = start + bytes.len() as u64;
        if self.pieces.last().is_none_or(|last| end(last) <= start) {
            self.bytes += bytes.len();
            self.pieces.push((start, bytes));
            return;
        }
        // Out of order, or again: cut what it covers out of what is there.
        let mut pieces = Vec::with_capacity(self.pieces.len() + 2);
        for (at, old) in self.pieces.drain(..) {
            let old_end = at + old.len() as u64;
            if at < start {
                let upto = offset(old_end.min(start) - at);
                pieces.push((at, old.part(0, upto)));
            }
            if old_end > stop {
                let from = offset(stop.max(at) - at);
                pieces.push((at.max(stop), old.part(from, old.len())));
            }
        }
        let place = pieces.partition_point(|p| p.0 < start);
        pieces.insert(place, (start, bytes));
        self.bytes = pieces.iter().map(|p| p.1.len()).sum();
        self.pieces = pieces;
    }

    /// Hands out the bytes from `start` up to, not including, `stop`, as far as they are there, in order.
    pub(super) fn each(&self, start: u64, stop: u64, mut f: impl FnMut(Slice)) {
        for piece in &self.pieces {
            let (from, to) = (piece.0.max(start), end(piece).min(stop));
            if from < to {
                f(piece.1.part(offset(from - piece.0), offset(to - piece.0)));
            }
        }
    }

    /// The first bytes of the message, in `out`, as far as they follow one another, at most `max`.
    pub(super) fn prefix(&self, out: &mut Vec<u8>, max: usize) {
        out.clear();
        let mut next = 1;
        for piece in &self.pieces {
            if piece.0 != next || out.len() >= max {
                break;
            }
            let take = piece.1.len().min(max - out.len());
            out.extend_from_slice(&piece.1[..take]);
            next = end(piece);
        }
    }

    /// All bytes, copied.
    pub(super) fn to_vec(&self) -> Vec<u8> {
        let mut all = Vec::with_capacity(self.bytes);
        for piece in &self.pieces {
            all.extend_from_slice(&piece.1);
        }
        all
    }

    /// Whether a receive buffer is held.
    pub(super) fn is_pinned(&self) -> bool {
        self.pieces.iter().any(|p| p.1.pinned())
    }

    /// Copies all that is held out of the receive buffers, into one piece where it is whole.
    pub(super) fn copy_out(&mut self) {
        if !self.is_pinned() {
            return;
        }
        let whole = self.pieces.windows(2).all(|w| end(&w[0]) == w[1].0);
        if whole {
            let start = self.pieces.first().map_or(1, |p| p.0);
            let all = Slice::copied(&self.to_vec());
            self.pieces.clear();
            self.pieces.push((start, all));
        } else {
            for piece in &mut self.pieces {
                piece.1 = Slice::copied(&piece.1);
            }
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

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(out, b"abcdef");
        k.prefix(&mut out, 4);
        assert_eq!(out, b"abcd");
    }
}
