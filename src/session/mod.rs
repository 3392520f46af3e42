//! The Participating Function: pure state machines; input in, effects out; one file a procedure.
//!
//! [`Function`] holds every CPM session of a shard. It hears [`sip::Event`](crate::sip::Event) and
//! [`msrp::Event`](crate::msrp::Event), reads the registrar, asks [`Policy`](crate::policy), and answers with [`Effect`]s that
//! the shard applies in order, within the same turn.
#![forbid(unsafe_code)]

mod activity;
mod api;
mod body;
mod bye;
mod dispatch;
mod early;
mod features;
mod fork;
mod function;
mod headers;
mod invitation;
mod kept;
mod late_offer;
mod media;
mod outcome;
mod redirect;
mod reinvite;
mod relay;
mod responses;
mod sdp;
mod state;
mod stray;
mod suitable;
mod terminating;
mod timers;
mod turn;
mod usage;
mod why;

pub use api::{Counters, Effect, LegView, SessionView, Settings};
pub use function::Function;
pub use why::{Decision, Note, Unfit, Why};
