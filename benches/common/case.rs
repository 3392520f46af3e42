//! One thing that is measured, by the clock (criterion) and in instructions (callgrind) alike.
//!
//! The law: a case checks its answer before it is measured, and each round checks that something came of it. What peers
//! have to do between two looks at the engine (answer what it sent, say) is done outside [`Meter::measure`].

#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock, for as long as nothing else does"
)]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

/// Does so many rounds; what counts of them is done within [`Meter::measure`].
pub(crate) type Rounds = Box<dyn FnMut(u64, &mut Meter)>;

/// See the module.
pub(crate) struct Case {
    /// Group and name, with a slash between: names its budget too.
    pub(crate) name: String,
    /// What a figure is the price of.
    pub(crate) unit: &'static str,
    /// How many of them a round does.
    pub(crate) units: u64,
    /// Bytes that a round reads or writes.
    pub(crate) bytes: u64,
    /// How many rounds are counted under callgrind, after as many that are not.
    pub(crate) rounds: u64,
    ready: Box<dyn FnOnce() -> Rounds>,
}

impl Case {
    /// A case of which one round does one `unit` with `bytes` bytes; `ready` makes it ready, and checks that it is right.
    pub(crate) fn new(
        name: impl Into<String>,
        unit: &'static str,
        bytes: usize,
        ready: impl FnOnce() -> Rounds + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            unit,
            units: 1,
            bytes: bytes as u64,
            rounds: 200,
            ready: Box::new(ready),
        }
    }

    /// A round does `units` of them.
    pub(crate) fn units(self, units: usize) -> Self {
        let units = units as u64;
        Self { units, ..self }
    }

    /// So many rounds are counted: fewer where one is long.
    pub(crate) fn rounds(self, rounds: u64) -> Self {
        Self { rounds, ..self }
    }

    /// Makes it ready to be measured.
    pub(crate) fn ready(self) -> Rounds {
        (self.ready)()
    }
}

/// Rounds of which everything counts. `round` says whether its answer was right.
pub(crate) fn whole(mut round: impl FnMut() -> bool + 'static) -> Rounds {
    Box::new(move |rounds, meter| {
        let right = meter.measure(|| (0..rounds).filter(|_| black_box(round())).count());
        assert_eq!(right as u64, rounds, "a round gave a wrong answer");
    })
}

/// Takes the time of what counts, or has it counted.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    time: Duration,
    counting: bool,
}

impl Meter {
    /// For callgrind, which counts what is done below [`counted`].
    pub(crate) fn counting() -> Self {
        Self {
            time: Duration::ZERO,
            counting: true,
        }
    }

    /// Does what counts.
    pub(crate) fn measure<T>(&mut self, work: impl FnOnce() -> T) -> T {
        if self.counting {
            return counted(work);
        }
        let start = Instant::now();
        let out = work();
        self.time += start.elapsed();
        out
    }

    /// How long it took.
    pub(crate) fn time(&self) -> Duration {
        self.time
    }
}

/// The name of [`counted`] as callgrind sees it, whatever it is given to do.
pub(crate) const COUNTED_BELOW: &str = "*common::case::counted*";

/// Callgrind counts from its call to its return.
#[inline(never)]
fn counted<T>(work: impl FnOnce() -> T) -> T {
    black_box(work())
}
