//! MSRP (RFC 4975 §9): heads as borrowed views, the search for the end-line, Byte-Range, writers.
//!
//! A message on the wire is a *head* (start line and headers), a body of any length, and an end-line. [`parse`] views a
//! head, [`EndScan`] finds where the body ends in whatever pieces it arrives, [`write`] makes the bytes of our own
//! messages. Nothing here holds a body, and no size of a body is a limit.
//!
//! What is left to others: which session a path belongs to, what a response means, when to send (room `msrp`).

mod error;
mod head;
mod layout;
mod lines;
mod range;
mod salvage;
mod scan;
mod syntax;
pub mod write;

pub use error::{Error, Reach, Rule, Span};
pub use head::{
    FailureReport, HEAD_MAX, HEADERS_MAX, Head, Kind, Method, Parse, RangeAt, Status, media_type,
    parse,
};
pub use layout::{Layout, Like};
pub use range::ByteRange;
pub use scan::{EndScan, HELD_MAX, Lookalike, Scan, ends_at};
pub use syntax::{is_ident, is_token};
