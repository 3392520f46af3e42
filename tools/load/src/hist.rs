//! Latencies: a histogram in nanoseconds of three significant digits, from 1 ns to 60 s, and what is told of it.

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::{clock::Nanos, tally::as_f64};

/// The figures that are told of a histogram, but for its maximum.
pub(crate) const FIGURES: [(&str, f64); 5] = [
    ("p50", 0.50),
    ("p90", 0.90),
    ("p99", 0.99),
    ("p999", 0.999),
    ("max", 1.0),
];

/// The percentiles of a curve: ten a nine, from 0 on.
pub(crate) fn percentiles() -> impl Iterator<Item = f64> {
    (0..90).map(|i| 100.0 * (1.0 - 10_f64.powf(-f64::from(i) / 10.0)))
}

/// A latency histogram.
#[derive(Clone, Debug)]
pub(crate) struct Latency(Histogram<u64>);

impl Latency {
    const MAX: u64 = 60_000_000_000;

    pub(crate) fn new() -> Self {
        let mut h = Histogram::new(3).unwrap_or_else(|e| unreachable!("3 digits are allowed: {e}"));
        // One allocation at the start, none while recording.
        h.auto(true);
        h.record(Self::MAX).ok();
        h.reset();
        Self(h)
    }

    /// Records one; above 60 s counts as 60 s.
    pub(crate) fn record(&mut self, ns: Nanos) {
        self.0.saturating_record(ns.clamp(1, Self::MAX));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds all of another.
    pub(crate) fn add(&mut self, other: &Self) {
        // Both have the same bounds, so nothing can fail to fit.
        self.0.add(&other.0).ok();
    }

    /// Microseconds at a quantile.
    pub(crate) fn us(&self, quantile: f64) -> f64 {
        micros(self.0.value_at_quantile(quantile))
    }

    /// Microseconds of the longest.
    pub(crate) fn max_us(&self) -> f64 {
        micros(self.0.max())
    }

    /// `{"p50":…,"p90":…,"p99":…,"p999":…,"max":…}` in microseconds; nothing if nothing was recorded.
    pub(crate) fn json(&self) -> Option<Value> {
        (!self.is_empty()).then(|| {
            let figures = FIGURES.iter().map(|(name, quantile)| {
                let us = if *quantile < 1.0 {
                    self.us(*quantile)
                } else {
                    self.max_us()
                };
                ((*name).to_owned(), json!(us))
            });
            Value::Object(figures.collect())
        })
    }

    /// Microseconds at each of [`percentiles`] that so many samples reach, then the longest: the whole distribution, ever finer
    /// towards its end.
    pub(crate) fn curve(&self) -> Option<Value> {
        let reached =
            percentiles().take_while(|p| (100.0 - p) / 100.0 * as_f64(self.0.len()) > 1.0 - 1e-6);
        let points = reached.map(|p| self.us(p / 100.0));
        (!self.is_empty()).then(|| points.chain([self.max_us()]).map(Value::from).collect())
    }

    /// For who writes it elsewhere.
    pub(crate) fn histogram(&self) -> &Histogram<u64> {
        &self.0
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        format!(
            "p50 {:.1}  p90 {:.1}  p99 {:.1}  p99.9 {:.1}  max {:.1} us",
            self.us(0.50),
            self.us(0.90),
            self.us(0.99),
            self.us(0.999),
            self.max_us()
        )
    }
}

/// Tenths of a microsecond are as much as the histogram and the clock are good for.
#[expect(clippy::cast_precision_loss, reason = "60 s in ns fit into 53 bits")]
fn micros(ns: u64) -> f64 {
    (ns as f64 / 100.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_come_out_in_microseconds() {
        let mut h = Latency::new();
        assert_eq!(h.json(), None, "absent, not zero");
        for i in 1..=1000 {
            h.record(i * 1000);
        }
        assert!((h.us(0.5) - 500.0).abs() < 1.0);
        assert!((h.us(0.99) - 990.0).abs() < 1.0);
        h.record(u64::MAX);
        assert!((h.max_us() - 60_000_000.0).abs() < 60_000.0);
        let mut sum = Latency::new();
        sum.add(&h);
        assert!((sum.us(0.5) - 500.0).abs() < 2.0);
    }
}
