//! Any bytes as a session description: everything that one can be asked; its lines copied are a description again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringfork::wire::sdp::{Session, Writer, match_address};

fuzz_target!(|bytes: &[u8]| {
    let Ok(session) = Session::parse(bytes) else {
        return;
    };
    let mut out = Vec::new();
    let mut writer = Writer::resume(&mut out);
    writer.copy(session.lines(), |_| true);
    for media in session.media() {
        writer.copy(media.lines(), |_| true);
        let _ = (media.takes(b"message/cpim"), media.takes_wrapped(b"text/plain"));
        let _ = (media.max_size(), media.setup(), media.cema(), media.direction());
        let _ = (media.file_selector(), media.file_range(), media.chatroom());
        let _ = (match_address(&media), media.fingerprints().count());
        let _ = media.path_uris().map(Iterator::count);
    }
    let again = Session::parse(&out).expect("what was read reads again");
    assert_eq!(again.origin, session.origin);
    assert_eq!(again.media_len(), session.media_len());
    assert!(again.lines().eq(session.lines()));
    for (a, b) in again.media().zip(session.media()) {
        assert!(a.lines().eq(b.lines()));
    }
});
