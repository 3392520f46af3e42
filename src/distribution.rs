//! How often something took how long: a fixed table of counts, made for a scraper. Counting costs a search in 20 numbers.

use std::time::Duration;

/// Upper bounds of [`Distribution`]'s buckets, in microseconds; a last bucket has no bound. 20 µs to 30 s, so that both a
/// fan-out on loopback and a SIP timer fall where they can be told from their neighbours.
pub const BOUNDS_US: [u64; 20] = [
    20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000,
    1_000_000, 2_000_000, 5_000_000, 10_000_000, 20_000_000, 30_000_000,
];

/// How often something took how long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Distribution {
    /// How often it took up to each of [`BOUNDS_US`] (and longer than the one before), then how often longer than all.
    pub counts: [u64; BOUNDS_US.len() + 1],
    /// The sum of all, in microseconds.
    pub sum_us: u64,
}

impl Distribution {
    /// Counts one that took `time`.
    pub fn record(&mut self, time: Duration) {
        let seconds = time.as_secs().saturating_mul(1_000_000);
        self.record_micros(seconds.saturating_add(u64::from(time.subsec_micros())));
    }

    /// Counts one that took `us` microseconds.
    pub fn record_micros(&mut self, us: u64) {
        self.counts[place(us)] += 1;
        self.sum_us = self.sum_us.saturating_add(us);
    }

    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Adds what another shard counted.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts) {
            *mine += theirs;
        }
        self.sum_us = self.sum_us.saturating_add(other.sum_us);
    }
}

/// The bucket that `us` falls into.
fn place(us: u64) -> usize {
    // The highest bit of a time leaves at most two bounds to look at.
    let mut place = usize::from(FIRST[(u64::BITS - us.leading_zeros()) as usize]);
    while BOUNDS_US.get(place).is_some_and(|bound| *bound < us) {
        place += 1;
    }
    place
}

/// By the number of bits of a time: the first bound that is not below all times of so many bits.
const FIRST: [u8; 65] = {
    let mut first = [0; 65];
    let mut bits = 1;
    while bits <= 64 {
        let lowest = 1u64 << (bits - 1);
        let mut place = 0;
        while place < BOUNDS_US.len() && BOUNDS_US[place] < lowest {
            place += 1;
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "at most as many as there are bounds"
        )]
        {
            first[bits] = place as u8;
        }
        bits += 1;
    }
    first
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_found_as_by_a_search() {
        let edges = (0..64).map(|bits| 1u64 << bits);
        for near in edges.chain(BOUNDS_US).chain([0, u64::MAX]) {
            for us in [near.saturating_sub(1), near, near.saturating_add(1)] {
                assert_eq!(
                    place(us),
                    BOUNDS_US.partition_point(|bound| *bound < us),
                    "{us}"
                );
            }
        }
    }

    #[test]
    fn a_distribution_puts_each_time_below_its_bound() {
        let mut d = Distribution::default();
        for us in [0, 20, 21, 30_000_000] {
            d.record_micros(us);
        }
        d.record(Duration::from_nanos(30_000_001_900));
        assert_eq!((d.counts[0], d.counts[1]), (2, 1));
        assert_eq!((d.counts[19], d.counts[20]), (1, 1));
        assert_eq!((d.count(), d.sum_us), (5, 60_000_042));
        let mut twice = d;
        twice.add(&d);
        assert_eq!((twice.count(), twice.counts[0]), (10, 4));
    }
}
