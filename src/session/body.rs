//! Bodies from leg to leg: the description is ours, every other part passes [SIP-MSG-07].

use super::{headers, sdp};
use crate::wire::{
    multipart::{Multipart, Part},
    sip::{Message, Name},
};

/// The description in a message: its body, or the first such part of it, however deep. `None` if it has none.
pub(super) fn description<'a>(message: &Message<'a>) -> Option<&'a [u8]> {
    let kind = message.content_type().ok().flatten()?;
    if message.body().is_empty() {
        return None;
    }
    if kind.is(b"application", b"sdp") {
        return Some(message.body());
    }
    let boundary = kind.is_multipart().then(|| kind.boundary()).flatten()?;
    let body = message.body();
    let at = Multipart::parse(body, &boundary)
        .ok()?
        .find(b"application", b"sdp")
        .and_then(|part| within(body, &part))?;
    body.get(at)
}

/// Where a part's content lies in its body.
fn within(body: &[u8], part: &Part<'_>) -> Option<std::ops::Range<usize>> {
    let from = part
        .body
        .as_ptr()
        .addr()
        .checked_sub(body.as_ptr().addr())?;
    let to = from + part.body.len();
    (to <= body.len()).then_some(from..to)
}

/// Appends the body of a leg's request with its headers and the blank line: that of `original`, its description replaced by
/// `own`. The head must end here.
pub(super) fn pass(out: &mut Vec<u8>, original: &Message<'_>, own: Option<&[u8]>) {
    let (body, of_original) = match (description(original), own) {
        (Some(theirs), Some(own)) if theirs.len() < original.body().len() => {
            match replaced(original, own) {
                Some(body) => (body, true),
                // A boundary that our description would close: the description goes alone.
                None => (own.to_vec(), false),
            }
        }
        (_, Some(own)) => (own.to_vec(), false),
        (_, None) => (original.body().to_vec(), true),
    };
    if of_original {
        for (name, value) in original.named() {
            if matches!(
                name,
                Name::ContentType
                    | Name::ContentDisposition
                    | Name::ContentEncoding
                    | Name::ContentLanguage
                    | Name::MimeVersion
            ) {
                headers::put(out, name.as_bytes(), value);
            }
        }
    } else {
        headers::put(out, b"Content-Type", sdp::SDP.as_bytes());
    }
    headers::put(out, b"Content-Length", body.len().to_string().as_bytes());
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(&body);
}

fn replaced(original: &Message<'_>, own: &[u8]) -> Option<Vec<u8>> {
    let kind = original.content_type().ok().flatten()?;
    let boundary = kind.boundary()?;
    let multipart = Multipart::parse(original.body(), &boundary).ok()?;
    let part = multipart.find(b"application", b"sdp")?;
    let mut out = Vec::with_capacity(original.body().len() + own.len());
    multipart.replace(&part, own, &mut out).ok()?;
    Some(out)
}
