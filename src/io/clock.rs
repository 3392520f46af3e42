//! The clock: nanoseconds of monotonic time since the engine started. All shards share one start.

use std::time::Instant as Monotonic;

use crate::time::Instant;

/// Reads monotonic time. Copied to every shard, so that all count from the same start.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Monotonic,
}

impl Clock {
    /// A clock that starts now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "io alone reads a clock")]
    pub fn start() -> Self {
        Self {
            start: Monotonic::now(),
        }
    }

    /// The time since the start.
    #[must_use]
    pub fn now(&self) -> Instant {
        Instant::from_nanos(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_goes_back_and_copies_agree() {
        let a = Clock::start();
        let b = a;
        let first = a.now();
        let second = b.now();
        assert!(first <= second);
        assert!(second.as_nanos() < 60_000_000_000, "counts from the start");
    }
}
