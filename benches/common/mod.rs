//! What is measured: cases by room, and what they are made of. The benches run them by the clock, `instructions` counts them.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each bench takes the cases that it needs; one that unwraps has a reason to stop"
)]

pub(crate) mod calls;
pub(crate) mod case;
pub(crate) mod clock;
mod corpus;
mod driver;
pub(crate) mod fanout;
pub(crate) mod msrp;
mod peers;
mod plane;
mod received;
pub(crate) mod sdp;
pub(crate) mod sip;
#[path = "../../tests/sim/text.rs"]
mod text;
pub(crate) mod timers;
pub(crate) mod transactions;
pub(crate) mod turns;
