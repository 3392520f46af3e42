//! Any bytes as a stream, cut in any way: the same frames.
#![no_main]

#[path = "../../wire_sip/ask.rs"]
#[allow(dead_code, reason = "each target asks some of it")]
mod ask;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Stream<'a> {
    step: u8,
    bytes: &'a [u8],
}

fuzz_target!(|stream: Stream<'_>| ask::ask_stream(stream.bytes, usize::from(stream.step)));
