//! The driver over a real ring and loopback, with worlds of the test's own.
//!
//! Whether `io` keeps its promises to a `World`: order, fairness, bounds, ends, memory, one system call a turn. Each test
//! that depends on what the kernel has runs twice: with all of it, and with what Linux 6.1 has.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::wildcard_enum_match_arm,
    reason = "tests"
)]

#[path = "live_io/ends.rs"]
mod ends;
#[path = "live_io/memory.rs"]
mod memory;
#[path = "live_io/rig.rs"]
mod rig;
#[path = "live_io/shards.rs"]
mod shards;
#[path = "live_io/streams.rs"]
mod streams;
#[path = "live_io/turns.rs"]
mod turns;

#[global_allocator]
static GLOBAL: rig::Counting = rig::Counting;
