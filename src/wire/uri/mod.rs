//! URIs: sip, sips and tel (RFC 3261 §19.1, RFC 3966), msrp and msrps (RFC 4975 §6), their comparison.

pub mod msrp;
