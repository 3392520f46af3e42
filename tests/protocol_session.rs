//! The session room as the wire sees it: the Participating Function between a real endpoint and a real registrar, bytes in,
//! bytes out, a virtual clock. Ids in brackets are those of the catalogue.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "tests: what is not as expected fails here and now"
)]

#[path = "protocol/session_bodies.rs"]
mod bodies;
#[path = "protocol/session_changes.rs"]
mod changes;
#[path = "protocol/session_chaos.rs"]
mod chaos;
#[path = "protocol/session_checks.rs"]
mod checks;
#[path = "protocol/session_crossings.rs"]
mod crossings;
#[path = "protocol/session_ends.rs"]
mod ends;
#[path = "protocol/session_fork.rs"]
mod fork;
#[path = "protocol/session_legs.rs"]
mod legs;
#[path = "protocol/session_lines.rs"]
mod lines;
#[path = "protocol/session_order.rs"]
mod order;
#[path = "protocol/session_peers.rs"]
mod peers;
#[path = "protocol/session_redirect.rs"]
mod redirect;
#[path = "protocol/session_sdp.rs"]
mod sdp;
#[path = "protocol/session_ways.rs"]
mod ways;
#[path = "protocol/session_world.rs"]
mod world;
