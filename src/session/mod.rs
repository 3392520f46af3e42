//! The Participating Function: pure state machines; input in, effects out; one file a procedure.
//!
//! [`Function`] holds every CPM session of a shard. It hears [`sip::Event`](crate::sip::Event) and
//! [`msrp::Event`](crate::msrp::Event), reads the registrar, asks [`Policy`](crate::policy), and answers with [`Effect`]s that
//! the shard applies in order, within the same turn.
#![forbid(unsafe_code)]

mod api;
mod features;

pub use api::{Effect, LegView, SessionView, Settings};
