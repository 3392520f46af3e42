//! One core's world: owns connections, tables, timers, mailboxes; routes inputs, applies effects. No protocol knowledge.

mod edge;
mod mail;
pub mod report;

pub use edge::{ConnectError, Effect, End, World};
pub use mail::{Ask, Desk, Letter, Places, Post, exchange};
