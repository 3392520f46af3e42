//! The data plane: framer (stream to chunks), leg table, fan-out, responses, reports, delivery accounting.
//!
//! Bytes in, slices out. A body is counted, never copied on its way. No socket, no clock.
//!
//! [`Plane`] holds every MSRP session of a shard. The session room rules it by [`Command`]s and hears [`Event`]s; the
//! shard feeds it bytes and carries out its [`Output`]s; what it sends goes into the [`Outbox`](crate::buf::Outbox).
//! Calling order, in a shard's turn: `command` and the `handle_*` functions as they come, each followed by draining
//! `poll_event` and `poll_output`; `handle_timeout` when `poll_timeout` says so.

mod accept;
mod account;
mod answer;
mod api;
mod bind;
mod body;
mod core;
mod counters;
mod due;
mod ends;
mod fan;
mod kept;
mod leg;
mod link;
mod message;
mod names;
mod plane;
mod ranges;
mod receive;
mod session;
mod set;
mod slab;
mod unanswered;

pub use api::{
    Ack, Command, Direction, Event, Failure, Finish, LegOffer, LegPeer, Matching, Output, Role,
    Settings,
};
pub use counters::{ByCode, CODES, Counters, Gauges, code_place, failure_place};
pub use names::{Named, SESSION_ID_LEN, SessionIdText, read_session_id, session_id};
pub use plane::{LegView, Plane};
