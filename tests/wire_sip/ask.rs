//! Asks everything that can be asked of bytes: nothing may panic, whatever they are. The fuzz targets use it too.

use ringfork::wire::{
    multipart::{self, Multipart},
    sip::*,
    uri::{self, compare},
};

/// Asks a message everything that it can be asked.
pub(crate) fn ask_all(message: &Message<'_>) {
    let _ = (
        message.check(),
        message.via(),
        message.from(),
        message.to(),
        message.call_id(),
        message.cseq(),
    );
    let _ = (
        message.max_forwards(),
        message.expires(),
        message.session_expires(),
        message.content_disposition(),
    );
    for (name, value) in message.named() {
        let _ = message.values(name).map(<[u8]>::len).sum::<usize>();
        let _ = message.tokens(name).count();
        ask_value(value);
    }
    if let Ok(Some(media)) = message.content_type()
        && let Some(boundary) = media.boundary()
        && let Ok(multi) = Multipart::parse(message.body(), &boundary)
    {
        let _ = multi
            .find(b"application", b"sdp")
            .map(|p| p.disposition().is_some());
        assert!(multi.parts().count() <= multipart::PARTS_MAX);
    }
}

/// Reads a value as every type that there is.
pub(crate) fn ask_value(value: &[u8]) {
    if let Ok(via) = Via::parse(value) {
        let _ = (
            via.received(),
            via.rport(),
            via.maddr(),
            via.ttl(),
            via.transaction_branch(),
        );
    }
    if let Ok(Contact::Address(address)) = Contact::parse(value) {
        let _ = (
            address.tag(),
            address.display_text().len(),
            Features::of(address.params)
                .iter()
                .map(|f| f.values().count())
                .sum::<usize>(),
        );
        let _ = uri::canonical(address.uri, &mut [0; uri::KEY_BYTES_MAX]).is_ok();
        assert!(compare::equal(address.uri, address.uri));
    }
    let _ = CallerPreference::parse(value).map(|p| p.features().has_icsi(b"urn:a:b"));
    let _ = Auth::parse(value).map(|a| a.params().count());
    let _ = Warning::parse(value).map(|w| w.text().len());
    let _ = (
        Event::parse(value).is_ok(),
        SubscriptionState::parse(value).is_ok(),
        Reason::parse(value).map(|r| r.sip_cause()).is_ok(),
    );
    let _ = (
        RAck::parse(value).is_ok(),
        CSeq::parse(value).is_ok(),
        SessionExpires::parse(value).is_ok(),
        RetryAfter::parse(value).is_ok(),
    );
    let _ = (
        MediaType::parse(value).is_ok(),
        Disposition::parse(value).is_ok(),
        Params::parse(value).map(|p| p.iter().count()).is_ok(),
    );
    let _ = (unfold(value).len(), unquoted(value).len());
}

/// Reads bytes as a URI, alone and against another.
pub(crate) fn ask_uri(a: &[u8], b: &[u8]) {
    assert!(compare::equal(a, a));
    assert_eq!(compare::equal(a, b), compare::equal(b, a));
    let mut key = [0; uri::KEY_BYTES_MAX];
    if let Ok(key) = uri::canonical(a, &mut key) {
        assert!(uri::Uri::parse(a).is_ok() && !key.is_empty());
    }
    if let Ok(uri::Uri::Sip(sip)) = uri::Uri::parse(a) {
        let _ = (
            sip.params().count(),
            sip.headers().count(),
            sip.is_phone(),
            sip.maddr(),
            sip.host.to_string(),
        );
    }
}

/// Feeds a stream in pieces of `step` bytes and whole: the same frames come out.
pub(crate) fn ask_stream(bytes: &[u8], step: usize) {
    let frames = |step: usize| {
        let (mut framer, mut taken, mut out) = (Framer::default(), 0, Vec::new());
        let mut end = 0;
        while end < bytes.len() {
            end = (end + step).min(bytes.len());
            loop {
                match framer.frame(&bytes[taken..end]) {
                    Frame::More => break,
                    frame @ Frame::Error(_) => {
                        out.push(frame);
                        return out;
                    }
                    frame @ (Frame::Message { len, .. } | Frame::KeepAlive { len, .. }) => {
                        ask_all(&Message::salvage(&bytes[taken..taken + len]));
                        taken += len;
                        out.push(frame);
                    }
                }
            }
        }
        out
    };
    assert_eq!(frames(bytes.len().max(1)), frames(step.max(1)));
}
