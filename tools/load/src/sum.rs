//! The checksum of a body: 64 bits, over any split of the bytes the same. A change of one aligned group of eight bytes
//! never goes unnoticed, any other with a chance of one in 2^64. Not a defence against an attacker.

const K: u64 = 0x9e37_79b9_7f4a_7c15;
const LANES: usize = 4;
const BLOCK: usize = 8 * LANES;
const START: [u64; LANES] = [K, K.rotate_left(16), K.rotate_left(32), K.rotate_left(48)];

/// The state of one sum. Four lanes, so that large bodies do not wait for the latency of a multiplication.
#[derive(Clone, Debug)]
pub(crate) struct Sum {
    lanes: [u64; LANES],
    block: [u8; BLOCK],
    filled: usize,
    len: u64,
}

impl Sum {
    pub(crate) fn new() -> Self {
        Self {
            lanes: START,
            block: [0; BLOCK],
            filled: 0,
            len: 0,
        }
    }

    /// The sum of one piece.
    pub(crate) fn of(bytes: &[u8]) -> u64 {
        let mut lanes = START;
        let (blocks, rest) = bytes.as_chunks::<BLOCK>();
        for block in blocks {
            mix(&mut lanes, block);
        }
        let mut last = [0; BLOCK];
        last[..rest.len()].copy_from_slice(rest);
        end(lanes, &last, bytes.len() as u64)
    }

    pub(crate) fn update(&mut self, mut bytes: &[u8]) {
        self.len += bytes.len() as u64;
        if self.filled > 0 {
            let n = bytes.len().min(BLOCK - self.filled);
            self.block[self.filled..self.filled + n].copy_from_slice(&bytes[..n]);
            self.filled += n;
            bytes = &bytes[n..];
            if self.filled < BLOCK {
                return;
            }
            mix(&mut self.lanes, &self.block);
        }
        let (blocks, rest) = bytes.as_chunks::<BLOCK>();
        for block in blocks {
            mix(&mut self.lanes, block);
        }
        self.block[..rest.len()].copy_from_slice(rest);
        self.filled = rest.len();
    }

    pub(crate) fn finish(mut self) -> u64 {
        self.block[self.filled..].fill(0);
        end(self.lanes, &self.block, self.len)
    }
}

/// `last` is what is left after the whole blocks, filled up with zeros; the length goes in as well, so that zeros count.
fn end(mut lanes: [u64; LANES], last: &[u8; BLOCK], len: u64) -> u64 {
    mix(&mut lanes, last);
    let mut all = len.wrapping_mul(K);
    for lane in lanes {
        all = step(all, lane ^ (lane >> 32));
    }
    all ^ (all >> 29)
}

fn mix(lanes: &mut [u64; LANES], block: &[u8; BLOCK]) {
    let (words, _) = block.as_chunks::<8>();
    for (lane, word) in lanes.iter_mut().zip(words) {
        *lane = step(*lane, u64::from_le_bytes(*word));
    }
}

/// One to one in `word` for each `state`: that is why a changed word shows.
fn step(state: u64, word: u64) -> u64 {
    (state ^ word).wrapping_mul(K).rotate_left(29)
}

/// The sum of a whole from the sums of its two parts.
pub(crate) fn join(first: u64, second: u64) -> u64 {
    step(step(K, first), second)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        (0..199_u8).map(|i| i.wrapping_mul(37)).collect()
    }

    #[test]
    fn any_split_gives_the_same_sum() {
        let bytes = sample();
        let whole = Sum::of(&bytes);
        for i in 0..=bytes.len() {
            for j in i..=bytes.len() {
                let mut s = Sum::new();
                s.update(&bytes[..i]);
                s.update(&bytes[i..j]);
                s.update(&bytes[j..]);
                assert_eq!(s.finish(), whole, "cut at {i} and {j}");
            }
        }
    }

    #[test]
    fn each_bit_counts_and_so_do_length_and_order() {
        let bytes = sample();
        let whole = Sum::of(&bytes);
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(Sum::of(&changed), whole, "bit {bit}");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert_ne!(Sum::of(&longer), whole);
        let mut swapped = bytes;
        swapped.swap(3, 150);
        assert_ne!(Sum::of(&swapped), whole);
        assert_ne!(join(1, 2), join(2, 1));
    }
}
