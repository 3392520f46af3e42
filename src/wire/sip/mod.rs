//! SIP (RFC 3261 §25): messages as borrowed views, header values, writers.
//!
//! A [`Framer`] cuts a stream into messages, [`Message::parse`] reads one in a single pass over its head and allocates
//! nothing, [`Message::check`] says whether a request can be served at all, and the types beside it read one header value
//! each, when it is asked for. Nothing is changed on the way: what is passed on is passed on byte for byte.

// Input decides no index here: what is not there is `None`.
#![deny(clippy::indexing_slicing)]

mod addr;
mod auth;
mod check;
mod counts;
mod error;
mod event;
mod feature;
mod frame;
mod media;
mod message;
mod method;
mod name;
mod params;
mod part;
mod prefs;
mod reason;
mod scan;
mod via;
mod write;

pub use addr::{Contact, NameAddr};
pub use auth::Auth;
pub use check::is_readable;
pub use counts::{CSeq, DELTA_DEFAULT, RAck, Refresher, RetryAfter, SessionExpires};
pub use error::{Error, Malformed, Rule};
pub use event::{Event, Reason, SubscriptionState, Warning};
pub use feature::{Feature, FeatureValue, Features, Tag, TagValue, icsi_equal, write_icsi};
pub use frame::{BODY_BYTES_MAX, Bounds, Frame, Framer};
pub use media::{Disposition, MediaType};
pub use message::{HEAD_BYTES_MAX, HEADERS_MAX, Message, Start};
pub use method::Method;
pub use name::Name;
pub use params::{Param, Params, unquoted};
pub(in crate::wire) use part::PartHeaders;
pub use prefs::{CallerPreference, RequestDisposition};
pub use reason::reason_phrase;
pub use scan::{Tokens, unfold};
pub use via::{MAGIC_COOKIE, Via};
pub use write::{Refused, Writer};
