//! What a handful of rounds says: the median, an interval that holds the true median in 95 of 100 cases, and whether a
//! target is met by it.
//!
//! Server and baseline run in turn, so a sample is the ratio of two neighbours: what slows the machine for a while slows
//! both, and the ratio stays.
//!
//! # Why the sign test's interval
//!
//! Rounds have no known distribution: a stall from outside makes one of them far worse than the others. The interval
//! between the k-th smallest and the k-th largest sample holds the true median with a probability that depends on k and on
//! the number of samples alone (each sample is above the median or below it, as a coin falls), so nothing has to be
//! assumed but that rounds are independent; k is the largest that still gives 95 %. The bootstrap, the usual choice, says 95 %
//! of a median of seven and covers 87.5 %: its interval ends at the second smallest and the second largest, and one in
//! eight lies beside the truth. Price: five samples cannot give 95 % at all, six or seven are needed, and with seven the interval is
//! from the smallest to the largest.

/// An interval wider than this share of its median, to each side, is too wide to decide by.
const WIDTH_MAX: f64 = 0.07;
/// What the interval may miss, both sides together.
const DOUBT: f64 = 0.05;

/// A median and how far it can be trusted.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Estimate {
    pub(crate) median: f64,
    /// Both ends of the 95 % interval; none of fewer than six samples.
    pub(crate) interval: Option<(f64, f64)>,
    /// How many samples there were.
    pub(crate) samples: usize,
}

impl Estimate {
    /// Of `samples`, in any order; nothing of nothing. Samples that are not numbers do not count.
    pub(crate) fn of(samples: &[f64]) -> Option<Self> {
        let mut sorted: Vec<f64> = samples.iter().copied().filter(|x| x.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let n = sorted.len();
        (n > 0).then(|| Self {
            median: median(sorted.iter().copied()),
            interval: rank(n).map(|k| (sorted[k - 1], sorted[n - k])),
            samples: n,
        })
    }

    /// Half the interval's width as a share of the median; endless where there is no interval.
    pub(crate) fn half_width(&self) -> f64 {
        self.interval.map_or(f64::INFINITY, |(low, high)| {
            (high - low) / 2.0 / self.median.abs().max(f64::MIN_POSITIVE)
        })
    }
}

/// Where a figure has to lie, the bound itself included.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Bound {
    /// Whether a value satisfies it.
    pub(crate) fn allows(self, value: f64) -> bool {
        match self {
            Self::AtLeast(b) => value >= b,
            Self::AtMost(b) => value <= b,
        }
    }
}

/// What an estimate says about a bound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// The whole interval lies on the right side.
    Met,
    /// The bound lies within the interval, and the interval is narrow: what is missing, if anything, is less than can be told.
    Touched,
    /// The whole interval lies on the wrong side.
    Missed,
    /// The bound lies within the interval, and that is too wide.
    Undecided,
}

impl Verdict {
    pub(crate) fn of(estimate: &Estimate, bound: Bound) -> Self {
        let Some((low, high)) = estimate.interval else {
            return Self::Undecided;
        };
        match (bound.allows(low), bound.allows(high)) {
            (true, true) => Self::Met,
            (false, false) => Self::Missed,
            (true, false) | (false, true) if estimate.half_width() <= WIDTH_MAX => Self::Touched,
            (true, false) | (false, true) => Self::Undecided,
        }
    }
}

/// The middle one; the mean of the two in the middle if their number is even. NaN of none.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut all: Vec<f64> = values.collect();
    all.sort_by(f64::total_cmp);
    match all.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => all[n / 2],
        n => f64::midpoint(all[n / 2 - 1], all[n / 2]),
    }
}

/// The largest k for which the k-th smallest and the k-th largest of `n` samples hold the median between them in 95 % of all
/// cases; none if even the smallest and the largest do not.
fn rank(n: usize) -> Option<usize> {
    // The chance that at most j of n coins show heads, from j = 0: each term from the one before.
    let mut term = 0.5_f64.powi(i32::try_from(n).ok()?);
    let mut sum = 0.0;
    let mut k = 0;
    while k < n / 2 {
        sum += term;
        if 2.0 * sum > DOUBT {
            break;
        }
        k += 1;
        #[expect(clippy::cast_precision_loss, reason = "some rounds")]
        {
            term *= (n + 1 - k) as f64 / k as f64;
        }
    }
    (k > 0).then_some(k)
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng, rngs::ChaCha12Rng};

    use super::*;

    fn estimate(low: f64, median: f64, high: f64) -> Estimate {
        Estimate {
            median,
            interval: Some((low, high)),
            samples: 7,
        }
    }

    #[test]
    fn medians() {
        assert!((median([3.0, 1.0, 2.0].into_iter()) - 2.0).abs() < 1e-9);
        assert!((median([4.0, 1.0, 2.0, 3.0].into_iter()) - 2.5).abs() < 1e-9);
        assert!(median([].into_iter()).is_nan());
    }

    #[test]
    fn ranks_are_those_of_the_tables() {
        // Two-sided 95 %, sign test: as printed in any table of it.
        for (n, k) in [
            (1, None),
            (5, None),
            (6, Some(1)),
            (7, Some(1)),
            (8, Some(1)),
            (9, Some(2)),
            (11, Some(2)),
            (12, Some(3)),
            (15, Some(4)),
            (20, Some(6)),
            (25, Some(8)),
            (50, Some(18)),
        ] {
            assert_eq!(rank(n), k, "{n} samples");
        }
    }

    #[test]
    fn an_estimate_has_its_median_inside_and_ignores_what_is_no_number() {
        let e = Estimate::of(&[5.0, 1.0, f64::NAN, 4.0, 2.0, 3.0, 6.0, 7.0]).unwrap();
        assert_eq!(
            (e.median, e.interval, e.samples),
            (4.0, Some((1.0, 7.0)), 7)
        );
        assert!((e.half_width() - 0.75).abs() < 1e-9);
        assert_eq!(Estimate::of(&[]), None);
        let few = Estimate::of(&[1.0; 5]).unwrap();
        assert_eq!(few.interval, None);
        assert_eq!(Verdict::of(&few, Bound::AtLeast(0.5)), Verdict::Undecided);
    }

    #[test]
    fn the_interval_holds_the_median_as_often_as_it_says_however_skewed_the_rounds_are() {
        const RUNS: u32 = 20_000;
        let mut rng = ChaCha12Rng::seed_from_u64(0x5747);
        for (n, exact) in [
            (6, 0.968_75),
            (7, 0.984_375),
            (9, 0.960_937_5),
            (21, 0.973_3),
        ] {
            let mut held = 0;
            for _ in 0..RUNS {
                // A Pareto tail with an endless variance: stalls as bad as they come. The median is where u is one half.
                let at = |u: f64| (1.0 - u).powf(-0.8);
                let samples: Vec<f64> = (0..n).map(|_| at(rng.random::<f64>())).collect();
                let (low, high) = Estimate::of(&samples).unwrap().interval.unwrap();
                held += u32::from((low..=high).contains(&at(0.5)));
            }
            let share = f64::from(held) / f64::from(RUNS);
            assert!(
                (share - exact).abs() < 0.005,
                "{n} samples: {share}, by the book {exact}"
            );
        }
    }

    #[test]
    fn a_target_is_missed_only_if_the_whole_interval_is_on_the_wrong_side() {
        let least = Bound::AtLeast(0.9);
        for (e, verdict) in [
            (estimate(0.90, 0.95, 1.4), Verdict::Met),
            (estimate(0.5, 0.7, 0.89), Verdict::Missed),
            (estimate(0.88, 0.91, 0.93), Verdict::Touched),
            (estimate(0.88, 0.89, 0.91), Verdict::Touched),
            (estimate(0.7, 0.89, 0.95), Verdict::Undecided),
            (estimate(0.89, 0.95, 1.2), Verdict::Undecided),
        ] {
            assert_eq!(Verdict::of(&e, least), verdict, "{e:?}");
        }
        let most = Bound::AtMost(1.5);
        assert_eq!(Verdict::of(&estimate(1.0, 1.2, 1.5), most), Verdict::Met);
        assert_eq!(Verdict::of(&estimate(1.6, 1.7, 9.0), most), Verdict::Missed);
        assert_eq!(
            Verdict::of(&estimate(1.4, 1.48, 1.55), most),
            Verdict::Touched
        );
        assert_eq!(
            Verdict::of(&estimate(0.9, 1.4, 1.9), most),
            Verdict::Undecided
        );
    }

    #[test]
    fn verdicts_on_samples_near_a_bound_err_as_seldom_as_they_claim() {
        // The truth is just met: whoever says "missed" is wrong, and that may happen in one of forty runs.
        let mut rng = ChaCha12Rng::seed_from_u64(0x7e57);
        let mut wrong = 0;
        for _ in 0..4000 {
            let samples: Vec<f64> = (0..9)
                .map(|_| 0.9 * (1.0 + 0.3 * (rng.random::<f64>() - 0.5)))
                .collect();
            let e = Estimate::of(&samples).unwrap();
            wrong += u32::from(Verdict::of(&e, Bound::AtLeast(0.9)) == Verdict::Missed);
        }
        assert!(wrong < 4000 / 40, "{wrong} of 4000 said missed");
        assert!(wrong > 0, "a test that can never say missed shows nothing");
    }
}
