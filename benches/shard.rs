//! One whole turn of a shard, without a socket.
//!
//! `cargo bench --bench shard`.

mod common;

use common::{clock, turns};
use criterion::{Criterion, criterion_group, criterion_main};

fn shard(c: &mut Criterion) {
    clock::run(c, turns::cases());
}

criterion_group!(benches, shard);
criterion_main!(benches);
