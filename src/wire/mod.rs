//! Bytes to borrowed views, and back: MSRP, SIP, SDP, CPIM, URIs, XML bodies.
//!
//! No state, no clock, no allocation on the MSRP and SIP request path; never panics; resumable.
#![forbid(unsafe_code)]

pub mod cpim;
pub mod msrp;
pub mod multipart;
pub mod sdp;
pub mod sip;
pub mod uri;
pub mod xml;
