//! Behaviour of a whole shard: SIP and MSRP bytes in, bytes out, by requirement id.

#[path = "shard/lab.rs"]
mod lab;
#[path = "shard/media.rs"]
mod media;
#[path = "sim/text.rs"]
mod text;
