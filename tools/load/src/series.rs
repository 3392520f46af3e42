//! Throughput and p99 over the time of a round, in slots of 100 ms: shows what one figure for a round hides.

use std::ops::Range;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::{clock::Nanos, report::round3, tally::as_f64};

/// Length of a slot.
pub(crate) const SLOT: Nanos = 100_000_000;

/// One slot that is over.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Slot {
    /// Its end, counted from the beginning of the steady state.
    pub(crate) end: Nanos,
    pub(crate) deliveries: u64,
    /// Of those that came in it; none if latencies are not looked at.
    pub(crate) p99: Option<Nanos>,
}

/// The slots of one round's steady state.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    window: Range<Nanos>,
    slots: Vec<Slot>,
    deliveries: u64,
    slot_end: Nanos,
    /// Of the slot that is open; none in a closed loop, whose latencies are queueing times.
    latencies: Option<Histogram<u64>>,
}

impl Series {
    /// Microseconds to a minute, in steps of 1 %.
    const BOUNDS: (u64, u64, u8) = (1_000, 60_000_000_000, 2);

    /// For deliveries that come within `window`.
    pub(crate) fn new(window: Range<Nanos>) -> Self {
        Self {
            slot_end: window.start + SLOT,
            window,
            slots: Vec::new(),
            deliveries: 0,
            latencies: None,
        }
    }

    /// Looks at latencies, too.
    pub(crate) fn with_latencies(mut self) -> Self {
        let (low, high, digits) = Self::BOUNDS;
        self.latencies = Histogram::new_with_bounds(low, high, digits).ok();
        self
    }

    /// A delivery within the window came at `now`, `latency` after it was meant to be sent. They come in the order of time.
    pub(crate) fn arrived(&mut self, now: Nanos, latency: Nanos) {
        if now >= self.slot_end {
            self.advance(now);
        }
        self.deliveries += 1;
        if let Some(h) = &mut self.latencies {
            h.saturating_record(latency);
        }
    }

    /// The round is over: closes what is open, up to the end of the window.
    pub(crate) fn finish(&mut self) {
        self.advance(self.window.end);
    }

    /// Closes the slots that are over at `now`.
    fn advance(&mut self, now: Nanos) {
        while now >= self.slot_end && self.slot_end <= self.window.end {
            let p99 = self
                .latencies
                .as_ref()
                .filter(|h| !h.is_empty())
                .map(|h| h.value_at_quantile(0.99));
            self.slots.push(Slot {
                end: self.slot_end - self.window.start,
                deliveries: self.deliveries,
                p99,
            });
            self.deliveries = 0;
            if let Some(h) = &mut self.latencies {
                h.reset();
            }
            self.slot_end += SLOT;
        }
    }

    /// Those that are over.
    pub(crate) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// `{"slot_s":0.1,"deliveries":[…],"p99_us":[…]}`, a number a slot, the last of which the window may cut short. Where latencies
    /// are looked at and nothing came there is none.
    pub(crate) fn json(&self) -> Value {
        let deliveries: Vec<u64> = self.slots.iter().map(|s| s.deliveries).collect();
        let mut all = json!({"slot_s": round3(as_f64(SLOT) / 1e9), "deliveries": deliveries});
        if self.latencies.is_some() {
            let p99 = |s: &Slot| s.p99.map(|p99| round3(as_f64(p99 / 100) / 10.0));
            all["p99_us"] = json!(self.slots.iter().map(p99).collect::<Vec<_>>());
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Nanos = 1_000_000;

    #[test]
    fn each_delivery_is_in_its_slot_and_a_slot_without_any_is_there_too() {
        let mut s = Series::new(1000 * MS..1400 * MS).with_latencies();
        s.arrived(1000 * MS, 5 * MS);
        s.arrived(1099 * MS, 5 * MS);
        s.arrived(1100 * MS, 7 * MS);
        s.arrived(1399 * MS, 9 * MS);
        s.finish();
        let counts: Vec<u64> = s.slots().iter().map(|s| s.deliveries).collect();
        assert_eq!(counts, [2, 1, 0, 1]);
        let json = s.json();
        assert_eq!(json["deliveries"], json!([2, 1, 0, 1]));
        assert!((json["p99_us"][1].as_f64().unwrap() - 7000.0).abs() < 70.0);
        assert!(json["p99_us"][2].is_null(), "nothing came: none, not zero");
        s.finish();
        assert_eq!(s.slots().len(), 4);
    }

    #[test]
    fn a_closed_loop_has_no_latencies_and_a_window_may_end_within_a_slot() {
        let mut s = Series::new(0..250 * MS);
        s.arrived(10 * MS, 5 * MS);
        s.finish();
        assert_eq!(s.slots().len(), 2);
        assert_eq!(s.slots()[0].p99, None);
    }
}
