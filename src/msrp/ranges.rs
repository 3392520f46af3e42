//! Which bytes of a message have been received, or reported on: ranges of positions, counted from 1.

use std::collections::BTreeMap;

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

/// What a range of [`Received`] takes beyond the first few.
const RANGE_BYTES: usize = 48;

/// What has come of a message: as [`Ranges`], with as many gaps as the sender makes. They are bounded by what they weigh.
#[derive(Clone, Debug, Default)]
pub(super) struct Received {
    few: Ranges,
    /// All of them, by their starts, once they were more.
    #[expect(
        clippy::box_collection,
        reason = "one pointer where nearly no message has it"
    )]
    many: Option<Box<BTreeMap<u64, u64>>>,
}

impl Received {
    #[inline]
    pub(super) fn clear(&mut self) {
        self.few.clear();
        if self.many.is_some() {
            self.many = None;
        }
    }

    /// It has all positions up to, not including, `end`, and no other.
    #[inline]
    pub(super) fn set_whole(&mut self, end: u64) {
        self.clear();
        // It is empty: there is a place.
        let _ = self.few.0.try_push((1, end));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.few.is_empty() && self.many.is_none()
    }

    /// Bytes of memory that it takes beside its own place.
    pub(super) fn weight(&self) -> usize {
        self.many.as_ref().map_or(0, |m| m.len() * RANGE_BYTES)
    }

    /// Adds the positions from `start` up to, not including, `end`. Ranges that are joined are joined once: the cost is that
    /// of a search.
    pub(super) fn add(&mut self, start: u64, end: u64) {
        if start >= end {
            return;
        }
        let many = match &mut self.many {
            Some(many) => many,
            None => {
                if self.few.add(start, end).is_ok() {
                    return;
                }
                let few = std::mem::take(&mut self.few);
                self.many.insert(Box::new(few.0.into_iter().collect()))
            }
        };
        let (mut from, mut to) = (start, end);
        if let Some((&before, &reach)) = many.range(..=start).next_back()
            && reach >= start
        {
            (from, to) = (before, to.max(reach));
        }
        while let Some((&next, &reach)) = many.range(from..=to).next() {
            many.remove(&next);
            to = to.max(reach);
        }
        many.insert(from, to);
    }

    /// Whether all positions from `start` up to, not including, `end` are in.
    pub(super) fn has(&self, start: u64, end: u64) -> bool {
        match &self.many {
            None => self.few.has(start, end),
            Some(many) => {
                let before = many.range(..=start).next_back();
                start >= end || before.is_some_and(|(_, &reach)| end <= reach)
            }
        }
    }

    /// One past the highest position that is in; 1 if none is.
    pub(super) fn end(&self) -> u64 {
        match &self.many {
            None => self.few.end(),
            Some(many) => many.last_key_value().map_or(1, |(_, &end)| end),
        }
    }

    /// The ranges, in rising order.
    pub(super) fn each(&self) -> impl Iterator<Item = (u64, u64)> {
        let many = self.many.iter().flat_map(|m| m.iter());
        (self.few.0.iter().copied()).chain(many.map(|(&start, &end)| (start, end)))
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "offsets of a few bytes")]
mod tests {
    use super::*;

    #[test]
    fn what_has_come_agrees_with_a_plain_set_however_many_gaps_it_has() {
        let mut state = 11u64;
        let mut next = |n: u64| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
            (state >> 33) % n
        };
        for round in 0..200 {
            let (mut r, mut plain) = (Received::default(), [false; 600]);
            for _ in 0..150 {
                let start = 1 + next(500);
                let end = start + next(1 + round % 9);
                r.add(start, end);
                plain[start as usize..end as usize].fill(true);
                let (a, b) = (1 + next(500), 1 + next(599));
                let all = (a..b).all(|p| plain[p as usize]);
                assert_eq!(r.has(a, b), all, "{a} {b} {r:?}");
            }
            let last = (1..600).rev().find(|&p| plain[p]).map_or(1, |p| p + 1);
            assert_eq!(r.end(), last as u64);
            let mut seen = [false; 600];
            let mut before = 0;
            for (start, end) in r.each() {
                assert!(before < start && start < end, "in order, not touching");
                seen[start as usize..end as usize].fill(true);
                before = end;
            }
            assert_eq!(seen, plain);
        }
    }

    #[test]
    fn gaps_weigh_what_they_take_and_no_longer_than_they_are() {
        let mut r = Received::default();
        for n in (0..10_000).rev() {
            r.add(1 + 2 * n, 2 + 2 * n);
        }
        assert_eq!((r.weight(), r.end()), (10_000 * RANGE_BYTES, 20_000));
        for n in 0..10_000 {
            r.add(2 + 2 * n, 3 + 2 * n);
        }
        assert!(r.has(1, 20_001) && r.weight() == RANGE_BYTES);
        r.clear();
        assert!(r.each().next().is_none() && r.end() == 1);
    }

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
