//! The data plane by itself: chunks to many legs, many legs in the table.
//!
//! `cargo bench --bench fanout`.

mod common;

use common::{clock, fanout};
use criterion::{Criterion, criterion_group, criterion_main};

fn plane(c: &mut Criterion) {
    clock::run(c, fanout::cases());
}

criterion_group!(benches, plane);
criterion_main!(benches);
