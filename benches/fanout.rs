//! The data plane by itself: chunks to many legs, many legs in the table.
//!
//! `cargo bench --bench fanout`.

#[path = "common/case.rs"]
mod case;
#[path = "common/fanout.rs"]
mod cases;
#[path = "common/clock.rs"]
mod clock;
#[path = "common/plane.rs"]
mod plane;

use criterion::{Criterion, criterion_group, criterion_main};

fn fanout(c: &mut Criterion) {
    clock::run(c, cases::cases());
}

criterion_group!(benches, fanout);
criterion_main!(benches);
