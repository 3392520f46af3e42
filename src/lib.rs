//! **Ringfork**: an OMA CPM Participating Function, sharded by user, a core and a ring a shard.
//!
//! ```text
//!  a chunk:   io -> shard -> wire -> msrp -> shard -> io
//!  a request: io -> shard -> wire -> sip -> session -> shard -> io
//! ```
//!
//! Modules in the order that bytes meet them. Imports run one way: up this list, never down.

pub mod buf;
pub mod config;
pub mod demo;
pub mod distribution;
pub mod ids;
#[allow(
    unsafe_code,
    reason = "the only room that talks to the kernel by raw structures; each block says why it is sound"
)]
pub mod io;
pub mod limits;
pub mod msrp;
pub mod policy;
pub mod redact;
pub mod services;
pub mod session;
pub mod shard;
pub mod share;
pub mod sip;
pub mod store;
pub mod time;
pub mod timer;
pub mod wire;
