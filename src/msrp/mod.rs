//! The data plane: framer (stream to chunks), leg table, fan-out, responses, reports, delivery accounting.
//!
//! Bytes in, slices out. A body is counted, never copied on its way. No socket, no clock.
//!
//! ```text
//! link, receive   a connection's bytes -> heads -> whom they are for
//! plain           a message like the one before: all of it in one step
//! begin, learn    the message that a SEND belongs to; what it carries; what is kept of it
//! body            a body: counted, held for a moment or passed on
//! choose, fan     which legs a message goes to, and its chunks on each
//! wait            whole messages that wait for a leg; legs that lag
//! account         who has what: 200, 408 or REPORT to the sender
//! answer          what peers respond and report
//! watch, vain     what connections wait for; what they bring for nobody
//! bind, ends      how legs come to connections, and how they end: activity, loss, over
//! due             what happens when time passes
//! core, plane     what is held: sessions, messages, unanswered SENDs; connections
//! leg, message, unanswered, session: the tables; slab, ranges, kept, set: what they are made of
//! holders         what each session, user and source has of the memory for all that
//! ```
//!
//! A SEND is found by its transaction id, a leg by its session-id: both say the place (`names`). No table is searched by
//! hash on the path of a chunk, and nothing is allocated there once the tables have their size.
//!
//! [`Plane`] holds every MSRP session of a shard. The session room rules it by [`Command`]s and hears [`Event`]s; the
//! shard feeds it bytes and carries out its [`Output`]s; what it sends goes into the [`Outbox`](crate::buf::Outbox).
//! Calling order, in a shard's turn: `command` and the `handle_*` functions as they come, each followed by draining
//! `poll_event` and `poll_output`; `handle_timeout` when `poll_timeout` says so.

mod accept;
mod account;
mod answer;
mod api;
mod begin;
mod bind;
mod body;
mod choose;
mod core;
mod counters;
mod due;
mod ends;
mod fan;
mod holders;
mod kept;
mod learn;
mod leg;
mod link;
mod message;
mod names;
mod oks;
mod plain;
mod plane;
mod ranges;
mod receive;
mod session;
mod set;
mod slab;
mod tid;
mod types;
mod unanswered;
mod vain;
mod wait;
mod watch;
mod whole;

pub use api::{
    Ack, Command, Direction, Event, Failure, Finish, LegOffer, LegPeer, Matching, Output, Role,
    Settings,
};
pub use counters::{ByCode, CODES, Counters, Gauges, code_place, failure_place};
pub use leg::Passed;
pub use names::{Named, SESSION_ID_LEN, SessionIdText, read_session_id, session_id};
pub use plane::{LegView, Plane};
