//! SIP on the wire: every message of the corpus, whole, in pieces and damaged; oracles; properties.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::wildcard_enum_match_arm,
    reason = "helpers of a test: what is wrong fails it"
)]

#[path = "wire_sip/ask.rs"]
mod ask;
#[path = "wire_sip/corpus.rs"]
mod corpus;
#[path = "wire_sip/oracles.rs"]
mod oracles;
#[path = "wire_sip/properties.rs"]
mod properties;
#[path = "wire_sip/stream.rs"]
mod stream;
#[path = "wire_sip/torture.rs"]
mod torture;
#[path = "wire_sip/values.rs"]
mod values;
