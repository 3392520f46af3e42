//! The only impure place of a shard: ring, operations, listeners, memory, threads, clock, chance.
//!
//! It translates and nothing more, and knows no protocol: [`Driver`] turns completions into [`World`](crate::shard::World)
//! calls and effects into operations, one `io_uring_enter` a turn, one more where it waits awake. The only `unsafe` and the
//! only clock of the house.
//! An operation in flight owns its memory and its descriptor until its completion, also when nobody waits any more.

mod addr;
mod clock;
mod conns;
mod counters;
mod driver;
mod errno;
mod hub;
pub mod listen;
mod mem;
mod memory;
pub mod probe;
mod ring;
pub mod seed;
mod settings;
pub mod threads;
mod token;

pub use clock::Clock;
pub use counters::Counters;
pub use driver::{Driver, Post};
pub use hub::{Hub, Waker};
pub use settings::{Feature, Features, Settings, UnknownFeature};
