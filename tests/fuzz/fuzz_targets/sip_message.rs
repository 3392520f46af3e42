//! Any bytes as a datagram: everything that a message can be asked.
#![no_main]

#[path = "../../wire_sip/ask.rs"]
#[allow(dead_code, reason = "each target asks some of it")]
mod ask;

use libfuzzer_sys::fuzz_target;
use ringfork::wire::sip::Message;

fuzz_target!(|bytes: &[u8]| {
    ask::ask_all(&Message::salvage(bytes));
    ask::ask_value(bytes);
    if let Ok(message) = Message::parse(bytes) {
        assert_eq!(message.as_bytes().len(), message.head().len() + message.body().len());
    }
});
