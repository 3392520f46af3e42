//! The one clock of the tool: nanoseconds since it started, monotonic. Bodies carry its readings, so sender and devices
//! must be one process; they are.

use std::time::{Duration, Instant};

/// Nanoseconds since the start of the process's clock.
pub(crate) type Nanos = u64;

/// Reads the monotonic clock. Copies agree with each other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads a clock"
    )]
    pub(crate) fn start() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    pub(crate) fn now(self) -> Nanos {
        nanos(self.start.elapsed())
    }
}

/// A duration as [`Nanos`]; what does not fit is the end of time.
pub(crate) fn nanos(d: Duration) -> Nanos {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}
