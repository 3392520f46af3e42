//! Any two URIs: views, comparison, key.
#![no_main]

#[path = "../../wire_sip/ask.rs"]
#[allow(dead_code, reason = "each target asks some of it")]
mod ask;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|pair: (&[u8], &[u8])| {
    ask::ask_uri(pair.0, pair.1);
    ask::ask_uri(pair.1, pair.1);
});
