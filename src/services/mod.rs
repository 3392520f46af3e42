//! The asynchronous side: admin HTTP, metrics, signals; later the store writer, XCAP, IMAP, DNS. Talks to shards by mail
//! only, on a thread of its own where waiting is allowed.

mod admin;
mod ask;
pub mod client;
pub mod host;
mod json;
mod log;
mod metrics;
mod phase;
mod rt;
mod run;
mod systemd;
mod voice;

pub use ask::Shards;
pub use log::{Logging, Losses, say, tell_panics};
pub use phase::{Control, Stop, Wishes, control};
pub use run::{Exit, Reload, Setup, run};
