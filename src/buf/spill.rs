//! What a slow peer has not taken yet, copied: in pieces, so that neither what comes nor what has left moves what is there,
//! and from memory that the shard has touched before, where it has some.

use std::{collections::VecDeque, ops::Range};

/// Bytes of a piece: little for a peer that lags by a message, and a hundred make what a leg may lag behind. A few in the
/// tests, so that they have many.
const PIECE: usize = if cfg!(test) { 24 } else { 16 << 10 };

/// Bytes of pieces that are kept for the next slow peers.
const KEEP_BYTES: usize = 2 << 20;

/// Pieces that nobody uses.
#[derive(Debug, Default)]
pub(super) struct Pieces(Vec<Vec<u8>>);

impl Pieces {
    fn take(&mut self) -> Vec<u8> {
        let piece = self.0.pop();
        piece.unwrap_or_else(|| Vec::with_capacity(PIECE))
    }

    fn put_by(&mut self, mut piece: Vec<u8>) {
        if self.0.len() < KEEP_BYTES / PIECE {
            piece.clear();
            self.0.push(piece);
        }
    }
}

/// Bytes, oldest first.
#[derive(Debug, Default)]
pub(super) struct Spill {
    /// None is empty, and all but the last are full.
    pieces: VecDeque<Vec<u8>>,
    /// Bytes of the first piece that have left.
    gone: usize,
    len: usize,
}

impl Spill {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Puts bytes behind all others.
    pub(super) fn extend(&mut self, mut bytes: &[u8], spare: &mut Pieces) {
        self.len += bytes.len();
        while !bytes.is_empty() {
            let last = match self.pieces.back_mut() {
                Some(last) if last.len() < PIECE => last,
                _ => {
                    self.pieces.push_back(spare.take());
                    continue;
                }
            };
            let (now, later) = bytes.split_at(bytes.len().min(PIECE - last.len()));
            last.extend_from_slice(now);
            bytes = later;
        }
    }

    /// The first `n` bytes have left.
    pub(super) fn advance(&mut self, n: usize, spare: &mut Pieces) {
        self.len -= n;
        self.gone += n;
        while let Some(first) = self.pieces.front()
            && first.len() <= self.gone
        {
            self.gone -= first.len();
            if let Some(piece) = self.pieces.pop_front() {
                spare.put_by(piece);
            }
        }
    }

    /// Nothing is left.
    pub(super) fn clear(&mut self, spare: &mut Pieces) {
        for piece in self.pieces.drain(..) {
            spare.put_by(piece);
        }
        (self.gone, self.len) = (0, 0);
    }

    /// All bytes, in order.
    pub(super) fn parts(&self) -> Parts<'_> {
        Parts {
            pieces: self.pieces.iter(),
            gone: self.gone,
        }
    }

    /// Those in `range`, in order, counted from the first that has not left.
    pub(super) fn range(&self, range: Range<usize>) -> impl Iterator<Item = &[u8]> {
        let (from, to) = (self.gone + range.start, self.gone + range.end);
        let first = from / PIECE;
        let pieces = self.pieces.range(first..to.div_ceil(PIECE).max(first));
        pieces.zip(first..).map(move |(piece, i)| {
            let begins = i * PIECE;
            &piece[from.max(begins) - begins..to.min(begins + PIECE) - begins]
        })
    }
}

/// The bytes of a spill, in order; no part is empty.
#[derive(Debug, Default)]
pub(super) struct Parts<'a> {
    pieces: std::collections::vec_deque::Iter<'a, Vec<u8>>,
    gone: usize,
}

impl<'a> Iterator for Parts<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let gone = std::mem::take(&mut self.gone);
        self.pieces.next().map(|piece| &piece[gone..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(parts: Parts<'_>) -> Vec<u8> {
        parts
            .inspect(|part| assert!(!part.is_empty()))
            .flatten()
            .copied()
            .collect()
    }

    #[test]
    fn bytes_come_out_as_they_went_in_whatever_left_in_between() {
        let (mut spill, mut spare) = (Spill::default(), Pieces::default());
        let mut model: VecDeque<u8> = VecDeque::new();
        let mut next = 0_u8;
        for step in 1..400_usize {
            let new: Vec<u8> = (0..step * 7 % 61)
                .map(|_| {
                    next = next.wrapping_add(1);
                    next
                })
                .collect();
            spill.extend(&new, &mut spare);
            model.extend(&new);
            let gone = (step * 13 % 67).min(model.len());
            spill.advance(gone, &mut spare);
            model.drain(..gone);
            assert_eq!(spill.len(), model.len());
            assert_eq!(model, bytes(spill.parts()));
            let range = model.len() / 3..model.len() / 2;
            let part: Vec<u8> = spill.range(range.clone()).flatten().copied().collect();
            assert_eq!(part, model.range(range).copied().collect::<Vec<_>>());
        }
        spill.clear(&mut spare);
        assert_eq!((spill.len(), spill.parts().count()), (0, 0));
        assert_eq!(spill.range(0..0).count(), 0);
    }

    #[test]
    fn pieces_are_used_again_and_no_more_than_a_few_are_kept() {
        let (mut spill, mut spare) = (Spill::default(), Pieces::default());
        spill.extend(&[7; 3 * PIECE + 1], &mut spare);
        assert!(spare.0.is_empty());
        spill.advance(2 * PIECE, &mut spare);
        assert_eq!(spare.0.len(), 2);
        spill.extend(&[8; 2 * PIECE], &mut spare);
        assert_eq!(spare.0.len(), 0, "taken before any is made");
        spill.advance(spill.len(), &mut spare);
        assert_eq!((spare.0.len(), spill.pieces.len()), (4, 0));
        assert!(
            spare
                .0
                .iter()
                .all(|p| p.is_empty() && p.capacity() == PIECE)
        );
        let many = KEEP_BYTES + 10 * PIECE;
        spill.extend(&vec![9; many], &mut spare);
        spill.clear(&mut spare);
        assert_eq!(spare.0.len(), KEEP_BYTES / PIECE);
    }
}
