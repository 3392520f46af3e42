//! Which bytes of a message have been received, or reported on: ranges of positions, counted from 1.

use arrayvec::ArrayVec;

/// Separate ranges that are told apart; chunks in order make one.
const RANGES_MAX: usize = 8;

/// A set of byte positions, as a few ranges `start..end` (end exclusive) in rising order that do not touch.
#[derive(Clone, Debug, Default)]
pub(super) struct Ranges(ArrayVec<(u64, u64), RANGES_MAX>);

/// The set has more gaps than it can tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooManyGaps;

impl Ranges {
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds the positions from `start` up to, not including, `end`.
    pub(super) fn add(&mut self, start: u64, end: u64) -> Result<(), TooManyGaps> {
        if start >= end {
            return Ok(());
        }
        // Chunks in order: the last range grows.
        if let Some(last) = self.0.last_mut()
            && last.0 <= start
            && start <= last.1
        {
            last.1 = last.1.max(end);
            return Ok(());
        }
        let first = self.0.partition_point(|r| r.1 < start);
        let behind = self.0.partition_point(|r| r.0 <= end);
        if first < behind {
            let merged = (start.min(self.0[first].0), end.max(self.0[behind - 1].1));
            self.0.drain(first..behind);
            self.0.insert(first, merged);
            return Ok(());
        }
        self.0
            .try_insert(first, (start, end))
            .map_err(|_| TooManyGaps)
    }

    /// Whether all positions from `start` up to, not including, `end` are in.
    pub(super) fn has(&self, start: u64, end: u64) -> bool {
        start >= end || self.0.iter().any(|r| r.0 <= start && end <= r.1)
    }

    /// What of `start..end` is not in, from the first missing position to the last.
    pub(super) fn missing(&self, start: u64, end: u64) -> Option<(u64, u64)> {
        let (mut start, mut end) = (start, end);
        for &(from, to) in &self.0 {
            if from <= start && start < to {
                start = to;
            }
            if from < end && end <= to {
                end = from;
            }
        }
        (start < end).then_some((start, end))
    }

    /// One past the highest position that is in; 1 if none is.
    pub(super) fn end(&self) -> u64 {
        self.0.last().map_or(1, |r| r.1)
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "offsets of a few bytes")]
mod tests {
    use super::*;

    #[test]
    fn ranges_join_where_they_touch() {
        let mut r = Ranges::default();
        for (a, b) in [(101, 201), (1, 51), (301, 401), (51, 101)] {
            r.add(a, b).unwrap();
        }
        assert_eq!(r.0.as_slice(), [(1, 201), (301, 401)]);
        assert!(r.has(1, 201) && !r.has(1, 202) && r.has(350, 350));
        r.add(150, 350).unwrap();
        assert_eq!(r.0.as_slice(), [(1, 401)]);
        assert_eq!(r.end(), 401);
    }

    #[test]
    fn missing_is_what_was_not_there() {
        let mut r = Ranges::default();
        assert_eq!(r.missing(1, 11), Some((1, 11)));
        r.add(1, 101).unwrap();
        assert_eq!(r.missing(50, 151), Some((101, 151)));
        assert_eq!(r.missing(1, 101), None);
        r.add(201, 301).unwrap();
        assert_eq!(r.missing(1, 301), Some((101, 201)));
    }

    #[test]
    fn too_many_gaps_are_an_answer() {
        let mut r = Ranges::default();
        for i in 0..RANGES_MAX as u64 {
            r.add(10 * i + 1, 10 * i + 2).unwrap();
        }
        assert_eq!(r.add(1_000, 1_001), Err(TooManyGaps));
        assert_eq!(r.add(2, 11), Ok(()), "what joins two still goes in");
    }

    #[test]
    fn agrees_with_a_plain_set() {
        let mut state = 7u64;
        let mut next = |n: u64| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
            (state >> 33) % n
        };
        for _ in 0..2_000 {
            let (mut r, mut plain) = (Ranges::default(), [false; 64]);
            for _ in 0..6 {
                let start = 1 + next(40);
                let end = start + next(20);
                if r.add(start, end).is_ok() {
                    for p in start..end {
                        plain[p as usize] = true;
                    }
                }
            }
            let (a, b) = (1 + next(30), 31 + next(30));
            assert_eq!(r.has(a, b), (a..b).all(|p| plain[p as usize]));
            let missing: Vec<u64> = (a..b).filter(|&p| !plain[p as usize]).collect();
            assert_eq!(
                r.missing(a, b),
                missing
                    .first()
                    .map(|&first| (first, missing[missing.len() - 1] + 1))
            );
        }
    }
}
