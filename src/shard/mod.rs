//! One core's world: owns connections, tables, timers, mailboxes; routes inputs, applies effects. No protocol knowledge.

mod edge;
pub mod report;

pub use edge::{ConnectError, Effect, End, World};
