//! What stands on the wire, read and written: MSRP, CPIM, SIP, SDP.
//!
//! `cargo bench --bench wire`.

#![allow(
    clippy::unwrap_used,
    reason = "a bench that unwraps has a reason to stop"
)]

#[path = "common/case.rs"]
mod case;
#[path = "common/clock.rs"]
mod clock;
#[path = "common/corpus.rs"]
mod corpus;
#[path = "common/msrp.rs"]
mod msrp;
#[path = "common/sdp.rs"]
mod sdp;
#[path = "common/sip.rs"]
mod sip;

use criterion::{Criterion, criterion_group, criterion_main};

fn wire(c: &mut Criterion) {
    clock::run(c, msrp::cases());
    clock::run(c, sip::cases());
    clock::run(c, sdp::cases());
}

criterion_group!(benches, wire);
criterion_main!(benches);
