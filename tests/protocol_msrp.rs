//! The data plane as its peers see it: bytes into a `Plane`, bytes out of its `Outbox`, a virtual clock.

#![allow(clippy::cast_possible_truncation, reason = "small numbers of a test")]
#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks for one event")]
#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps has a reason to stop"
)]

#[path = "protocol/msrp_harness.rs"]
mod harness;

#[path = "protocol/msrp_fan.rs"]
mod fan;

#[path = "protocol/msrp_frame.rs"]
mod frame;

#[path = "protocol/msrp_chunk.rs"]
mod chunk;

#[path = "protocol/msrp_bind.rs"]
mod bind;

#[path = "protocol/msrp_unowned.rs"]
mod unowned;

#[path = "protocol/msrp_bare.rs"]
mod bare;

#[path = "protocol/msrp_answers.rs"]
mod answers;

#[path = "protocol/msrp_reports.rs"]
mod reports;

#[path = "protocol/msrp_types.rs"]
mod types;

#[path = "protocol/msrp_activity.rs"]
mod activity;

#[path = "protocol/msrp_bounds.rs"]
mod bounds;

#[path = "protocol/msrp_slow.rs"]
mod slow;

#[path = "protocol/msrp_octets.rs"]
mod octets;

#[path = "protocol/msrp_shares.rs"]
mod shares;

#[path = "protocol/msrp_plain.rs"]
mod plain;

#[path = "protocol/msrp_heads.rs"]
mod heads;

#[path = "protocol/msrp_holes.rs"]
mod holes;

#[path = "protocol/msrp_left.rs"]
mod left;

#[path = "protocol/msrp_relay.rs"]
mod relay;

#[path = "protocol/msrp_connect.rs"]
mod connect;

#[path = "protocol/msrp_shared.rs"]
mod shared;

#[path = "protocol/msrp_unended.rs"]
mod unended;
