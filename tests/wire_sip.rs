//! SIP on the wire: every message of the corpus, whole, in pieces and damaged; oracles; properties.

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
