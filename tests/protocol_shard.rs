//! Behaviour of a whole shard: SIP and MSRP bytes in, bytes out, by requirement id.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::wildcard_enum_match_arm,
    unsafe_code,
    reason = "helpers of a test: what is wrong fails it; a counting allocator is an unsafe trait that only passes on"
)]

#[path = "shard/bad_input.rs"]
mod bad_input;
#[path = "shard/explain.rs"]
mod explain;
#[path = "shard/floods.rs"]
mod floods;
#[path = "shard/idle.rs"]
mod idle;
#[path = "shard/lab.rs"]
mod lab;
#[path = "shard/left.rs"]
mod left;
#[path = "shard/limits.rs"]
mod limits;
#[path = "shard/many.rs"]
mod many;

#[path = "shard/media.rs"]
mod media;
#[path = "shard/memory.rs"]
mod memory;
#[path = "shard/no_way.rs"]
mod no_way;
#[path = "shard/people.rs"]
mod people;
#[path = "shard/redirect.rs"]
mod redirect;
#[path = "shard/refusals.rs"]
mod refusals;
#[path = "shard/shares.rs"]
mod shares;
#[path = "shard/silent.rs"]
mod silent;
#[path = "sim/text.rs"]
mod text;
#[path = "shard/views.rs"]
mod views;
#[path = "shard/ways.rs"]
mod ways;
