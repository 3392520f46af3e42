//! What stands on the wire, read and written: MSRP, CPIM, SIP, SDP.
//!
//! `cargo bench --bench wire`.

mod common;

use common::{clock, msrp, sdp, sip};
use criterion::{Criterion, criterion_group, criterion_main};

fn wire(c: &mut Criterion) {
    clock::run(c, msrp::cases());
    clock::run(c, sip::cases());
    clock::run(c, sdp::cases());
}

criterion_group!(benches, wire);
criterion_main!(benches);
