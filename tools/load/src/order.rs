//! What arrived against what was sent: each sequence number once, in order. One of these a direction and leg.

use std::collections::BTreeSet;

/// Numbers that may be missing at a time and still be recognized when they come late. Beyond it, a late one counts as
/// lost and, when it comes, as duplicated: either way the run has failed.
const MISSING_MAX: usize = 65_536;

/// How a number fits in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fit {
    /// The next one, or one behind a gap.
    New,
    /// One that was skipped before: order was broken.
    Late,
    /// It was there already.
    Again,
    /// It was never sent.
    Never,
}

/// The numbers of one leg, from 0.
#[derive(Clone, Debug, Default)]
pub(crate) struct Order {
    next: u32,
    missing: BTreeSet<u32>,
}

impl Order {
    /// One that expects `next` first: a leg that joins later.
    pub(crate) fn from(next: u32) -> Self {
        Self {
            next,
            missing: BTreeSet::new(),
        }
    }

    /// The number that is expected next: all before it have come or are missing.
    pub(crate) fn next(&self) -> u32 {
        self.next
    }

    /// Numbers before the next that have not come.
    pub(crate) fn missing(&self) -> u32 {
        u32::try_from(self.missing.len()).unwrap_or(u32::MAX)
    }

    /// Whether a number before the next has not come.
    pub(crate) fn has_gap(&self) -> bool {
        !self.missing.is_empty()
    }

    /// How many of the numbers below `sent` have not come.
    pub(crate) fn missing_of(&self, sent: u32) -> u32 {
        let gaps = u32::try_from(self.missing.len()).unwrap_or(u32::MAX);
        sent.saturating_sub(self.next).saturating_add(gaps)
    }

    /// Takes `seq`; `sent` numbers have been given out so far.
    pub(crate) fn take(&mut self, seq: u32, sent: u32) -> Fit {
        if seq == self.next && seq < sent {
            self.next += 1;
            return Fit::New;
        }
        if seq >= sent {
            return Fit::Never;
        }
        if seq > self.next {
            let room = MISSING_MAX.saturating_sub(self.missing.len());
            self.missing.extend((self.next..seq).take(room));
            self.next = seq + 1;
            return Fit::New;
        }
        if self.missing.remove(&seq) {
            Fit::Late
        } else {
            Fit::Again
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_once_and_in_order_is_new() {
        let mut o = Order::default();
        assert!((0..1000).all(|i| o.take(i, 1000) == Fit::New));
    }

    #[test]
    fn a_gap_that_closes_is_a_broken_order_and_a_second_time_is_one_too_many() {
        let mut o = Order::default();
        assert_eq!(o.take(0, 9), Fit::New);
        assert_eq!(o.take(3, 9), Fit::New);
        assert_eq!(o.missing_of(9), 2 + 5);
        assert_eq!(o.take(1, 9), Fit::Late);
        assert_eq!(o.take(1, 9), Fit::Again);
        assert_eq!(o.take(3, 9), Fit::Again);
        assert_eq!(o.take(9, 9), Fit::Never);
        assert_eq!(o.take(2, 9), Fit::Late);
        assert_eq!(o.take(4, 9), Fit::New);
    }

    #[test]
    fn a_leg_that_joins_later_misses_nothing_before() {
        let mut o = Order::from(5);
        assert_eq!(o.take(5, 6), Fit::New);
        assert_eq!(o.take(4, 6), Fit::Again);
    }

    #[test]
    fn what_is_missing_is_bounded() {
        let mut o = Order::default();
        assert_eq!(o.take(1_000_000, 2_000_000), Fit::New);
        assert_eq!(o.missing.len(), MISSING_MAX);
    }
}
