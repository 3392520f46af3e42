//! Bytes on their way through a shard: counted slices of received buffers, and what waits to be sent.
//!
//! A received buffer is shared by counted [`Slice`]s; what is more than a few bytes is not copied on the way to a leg. What a
//! shard writes itself (heads, end-lines, responses) lies with the connection that it goes to. Safe code only: `io` stands
//! behind [`Region`].

mod line;
mod outbox;
mod ready;
mod slice;
mod spill;

pub use outbox::{Frame, Full, NotNow, Outbox, Owner, Received, Stand, TID_LEN, Tid};
pub use ready::{Answer, Ready, end_line};
pub use slice::{Region, Slice};

#[cfg(test)]
mod tests;
