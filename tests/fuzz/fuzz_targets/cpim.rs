//! Any bytes as a CPIM body: classified from any prefix without changing its mind; headers and XML asked.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringfork::wire::{
    cpim::{IMDN, Message, Verdict, classify, unescape, wrapped_type},
    xml,
};

fuzz_target!(|bytes: &[u8]| {
    let last = classify(bytes, true);
    assert_ne!(last, Verdict::NeedMore);
    let mut sure = None;
    let step = bytes.len() / 64 + 1;
    for len in (0..=bytes.len()).step_by(step) {
        let now = classify(&bytes[..len], false);
        assert!(sure.is_none_or(|before| before == now));
        if now != Verdict::NeedMore {
            sure = Some(now);
        }
    }
    assert!(sure.is_none_or(|sure| sure == last));
    let _ = wrapped_type(bytes);
    if let Some(message) = Message::parse(bytes) {
        for header in message.headers() {
            let _ = (header.prefix(), header.language(), unescape(header.value));
        }
        let _ = message.find(IMDN, b"Message-ID").count();
        let _ = message.mime().count();
        let _ = xml::imdn(&bytes[message.content_at..]);
    }
    let _ = (xml::imdn(bytes), xml::is_composing(bytes));
});
