//! Signalling: transactions, dialogs, session timers, registrations. Sans-IO; `now` is an argument.
//!
//! [`Endpoint`] demultiplexes messages into the four transaction machines, chooses the transport of what goes out, fills
//! Via, and tells its user (the session room) what came, by [`Event`]. Dialogs, session timers, 2xx retransmission and the
//! registrar are values of their own here, used by the session room: the endpoint knows no dialog.
//!
//! Calling order, in a shard's turn: the `handle_*` functions as they come, the user's `request`, `respond`, ... ; then
//! drain `poll_event` and `poll_output`; `handle_timeout` when `poll_timeout` says so.

#![forbid(unsafe_code)]

mod api;
pub mod checks;
mod dialog;
pub mod digest;
pub mod effect;
mod endpoint;
pub mod glare;
mod holders;
mod reasons;
mod registrar;
pub mod reliable;
pub mod retransmit;
pub mod route_key;
pub mod session_timer;
mod stream;
pub mod token;
pub mod transaction;
mod trust;

pub use api::{
    Counts, Draft, Event, Flow, Hop, Listening, Note, Output, RegistrarSettings, Reply, Settings,
    Target, TxnRef,
};
pub use dialog::{Dialog, NoWay, hop, next_hop, reach_by};
pub use endpoint::Endpoint;
pub use holders::{Refused, source};
pub use reasons::{NO_CREDENTIALS, STALE_CREDENTIALS, WRONG_CREDENTIALS};
pub use registrar::{BINDING_BYTES_MAX, Binding, Registrar, RegistrarEvent};
pub use stream::{Item, Stream};
pub use trust::Trusted;
