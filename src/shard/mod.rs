//! One core's world: owns connections, tables, timers, mailboxes; routes inputs, applies effects. No protocol knowledge.
//!
//! [`Shard`] is the switchboard, the same in `serve` and in a simulation; what drives it stands behind [`World`].

mod answers;
mod apply;
mod conns;
mod edge;
mod ended;
mod lines;
mod mail;
mod parts;
pub mod report;
mod route;
mod say;
mod shed;
mod sources;
mod tally;
mod world;

pub use edge::{ConnectError, Effect, End, World};
pub use lines::{Count, DEBUG_LINES_PER_S, Kind, LINES_PER_S, Lines, SERVICES_PER_S};
pub use mail::{Ask, Desk, Letter, Places, Post, exchange};
pub use parts::{Listener, Parts, SocketRole};
pub use world::Shard;
