//! How a round goes, while it goes: one line that is written over, on a terminal alone.

use std::{
    io::{self, IsTerminal, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    clock::{Clock, Nanos},
    tally::{Tally, as_f64},
};

/// How often the line changes.
const EVERY: Nanos = 200_000_000;

/// What the data plane shows of a round that runs.
#[derive(Default)]
pub(crate) struct Pulse {
    sent: AtomicU64,
    delivered: AtomicU64,
    wrong: AtomicU64,
    /// Of the last 100 ms that were measured, in nanoseconds; 0 if none were.
    p99: AtomicU64,
}

impl Pulse {
    /// Shows a tally as it is now.
    pub(crate) fn show(&self, tally: &Tally) {
        self.sent.store(tally.sent, Ordering::Relaxed);
        self.delivered.store(tally.delivered, Ordering::Relaxed);
        self.wrong.store(tally.wrong(), Ordering::Relaxed);
        let p99 = tally.series.slots().last().and_then(|s| s.p99);
        self.p99.store(p99.unwrap_or(0), Ordering::Relaxed);
    }
}

/// The line. Nothing where standard error is no terminal.
pub(crate) struct Progress {
    pulse: Arc<Pulse>,
    clock: Clock,
    is_on: bool,
    last: Nanos,
    sent: u64,
    delivered: u64,
}

impl Progress {
    pub(crate) fn new(pulse: Arc<Pulse>, clock: Clock) -> Self {
        Self {
            pulse,
            clock,
            is_on: io::stderr().is_terminal(),
            last: clock.now(),
            sent: 0,
            delivered: 0,
        }
    }

    /// Writes the line anew, if it is time to.
    pub(crate) fn tick(&mut self) {
        let now = self.clock.now();
        if self.is_on && now - self.last >= EVERY {
            let line = self.line(now);
            // A terminal that has gone is no reason to stop measuring.
            let _ = write!(io::stderr(), "\r\x1b[K{line}");
            let _ = io::stderr().flush();
        }
    }

    /// Takes the line away.
    pub(crate) fn end(&mut self) {
        (self.sent, self.delivered, self.last) = (0, 0, self.clock.now());
        if self.is_on {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }

    fn line(&mut self, now: Nanos) -> String {
        let load = |a: &AtomicU64| a.load(Ordering::Relaxed);
        let (sent, delivered) = (load(&self.pulse.sent), load(&self.pulse.delivered));
        let seconds = as_f64(now - self.last) / 1e9;
        // A new round counts from 0.
        let per_s = |now: u64, before: u64| as_f64(now.saturating_sub(before)) / seconds;
        let mut line = format!(
            "sent {:.0}/s  delivered {:.0}/s",
            per_s(sent, self.sent),
            per_s(delivered, self.delivered)
        );
        match load(&self.pulse.p99) {
            0 => {}
            p99 => line.push_str(&format!("  p99 {:.1} us", as_f64(p99) / 1e3)),
        }
        line.push_str(&format!("  errors {}", load(&self.pulse.wrong)));
        (self.sent, self.delivered, self.last) = (sent, delivered, now);
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_rates_since_the_last_p99_and_errors() {
        let pulse = Arc::new(Pulse::default());
        let mut p = Progress {
            pulse: Arc::clone(&pulse),
            clock: Clock::start(),
            is_on: false,
            last: 0,
            sent: 0,
            delivered: 0,
        };
        let mut t = Tally::new(0..1_000_000_000);
        (t.sent, t.delivered, t.corrupted) = (500, 1000, 2);
        pulse.show(&t);
        assert_eq!(
            p.line(500_000_000),
            "sent 1000/s  delivered 2000/s  errors 2"
        );
        t.sent = 600;
        pulse.show(&t);
        assert_eq!(p.line(1_000_000_000), "sent 200/s  delivered 0/s  errors 2");
    }
}
