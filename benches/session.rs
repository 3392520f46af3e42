//! What sets sessions up: timers, transactions, the SIP of a shard.
//!
//! `cargo bench --bench session`.

mod common;

use common::{calls, clock, timers, transactions};
use criterion::{Criterion, criterion_group, criterion_main};

fn session(c: &mut Criterion) {
    clock::run(c, calls::cases());
    clock::run(c, timers::cases());
    clock::run(c, transactions::cases());
}

criterion_group!(benches, session);
criterion_main!(benches);
