//! Cases by the clock, under criterion.

use criterion::{Criterion, Throughput};

use super::case::{Case, Meter, Rounds};

/// Measures each case, in a group of its own kind. Bytes and operations are reported.
pub(crate) fn run(c: &mut Criterion, cases: Vec<Case>) {
    for case in cases {
        let (group, name) = case.name.split_once('/').expect("a group and a name");
        let mut group = c.benchmark_group(group);
        group.throughput(Throughput::ElementsAndBytes {
            elements: case.units,
            bytes: case.bytes,
        });
        let name = name.to_owned();
        // Made ready only when it is its turn: a filter may have chosen others.
        let mut waits = Some(case);
        let mut ready: Option<Rounds> = None;
        group.bench_function(name, |b| {
            if let Some(case) = waits.take() {
                ready = Some(case.ready());
            }
            let rounds = ready.as_mut().expect("made ready just now");
            b.iter_custom(|n| {
                let mut meter = Meter::default();
                rounds(n, &mut meter);
                meter.time()
            });
        });
        group.finish();
    }
}
