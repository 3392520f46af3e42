//! What a message carries: chat, isComposing, IMDN. `[CPIM-05]`
//!
//! The type of the content decides, inside CPIM that of what is wrapped. Chat is whatever is neither of the other two nor a
//! document that a server sends about the session.

use super::{
    HEADERS_MAX,
    header::{MimeHeaders, block},
};
use crate::wire::msrp::media_type;

/// What a message is, as far as activity, storing and deferring ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The bytes do not tell yet.
    NeedMore,
    /// A chat message: what a person wrote or sent, of any type.
    Chat,
    /// An isComposing status (RFC 3994), active or idle. `[ISCOMP-01]`
    IsComposing,
    /// A disposition notification (RFC 5438). `[IMDN-02]`
    Imdn,
    /// None of these: a document about the session, or a CPIM message that cannot be read.
    Other,
}

/// Tells from `prefix`, the first bytes of a message/cpim body, what it carries; `complete` says that no more will come.
///
/// The answer comes with the Content-Type line of the wrapped content, or with the end of its headers: nothing later is
/// waited for, and not more than [`HEADERS_MAX`] bytes. Once it is not [`Verdict::NeedMore`] it stays.
#[must_use]
pub fn classify(prefix: &[u8], complete: bool) -> Verdict {
    match find_type(prefix, complete) {
        Found::Type(content_type) => match classify_type(content_type) {
            // CPIM within CPIM: what a person forwarded.
            Verdict::NeedMore | Verdict::Chat => Verdict::Chat,
            verdict @ (Verdict::IsComposing | Verdict::Imdn | Verdict::Other) => verdict,
        },
        // RFC 2045 §5.2: what has no type is plain text.
        Found::Untyped => Verdict::Chat,
        Found::Broken => Verdict::Other,
        Found::More => Verdict::NeedMore,
    }
}

/// Tells from the Content-Type of a message itself what it is; [`Verdict::NeedMore`] for message/cpim: look inside.
#[must_use]
pub fn classify_type(content_type: &[u8]) -> Verdict {
    let name = media_type(content_type);
    let is = |known: &&[u8]| name.eq_ignore_ascii_case(known);
    if is(&&b"message/cpim"[..]) {
        Verdict::NeedMore
    } else if is(&&b"application/im-iscomposing+xml"[..]) {
        Verdict::IsComposing
    } else if is(&&b"message/imdn+xml"[..]) {
        Verdict::Imdn
    } else if ABOUT_THE_SESSION.iter().any(is) {
        Verdict::Other
    } else {
        Verdict::Chat
    }
}

/// Documents that servers send about a session; no person wrote them.
const ABOUT_THE_SESSION: [&[u8]; 3] = [
    b"application/conference-info+xml",
    b"application/group-state-object+xml",
    b"application/x-cpm-session",
];

/// The Content-Type of what a message/cpim body wraps, with its parameters, if its headers are there: for
/// accept-wrapped-types. `[MSRP-TYPES-03]`
#[must_use]
pub fn wrapped_type(body: &[u8]) -> Option<&[u8]> {
    match find_type(body, true) {
        Found::Type(content_type) => Some(content_type),
        Found::Untyped | Found::Broken | Found::More => None,
    }
}

enum Found<'a> {
    /// The value of Content-Type.
    Type(&'a [u8]),
    /// The headers have ended without one.
    Untyped,
    /// There is no second block of headers, or it is too far.
    Broken,
    /// The bytes do not tell yet.
    More,
}

fn find_type(body: &[u8], complete: bool) -> Found<'_> {
    let window = &body[..body.len().min(HEADERS_MAX)];
    let last = complete || window.len() == HEADERS_MAX;
    let open = if last { Found::Broken } else { Found::More };
    let Some((_, mime_at)) = block(window, 0) else {
        return open;
    };
    let (mime, ended) = match block(window, mime_at) {
        Some((end, _)) => (&window[mime_at..end], true),
        None if complete && body.len() < HEADERS_MAX => (&window[mime_at..], true),
        // Lines that are whole, but for the last: the next may be a folded part of it.
        None => (whole_headers(&window[mime_at..]), false),
    };
    match MimeHeaders::new(mime).find(|(name, _)| name.eq_ignore_ascii_case(b"Content-Type")) {
        Some((_, content_type)) => Found::Type(content_type),
        None if ended => Found::Untyped,
        None => open,
    }
}

/// The headers of an unfinished block that surely are whole: up to the last line that begins without a space.
fn whole_headers(block: &[u8]) -> &[u8] {
    let mut end = 0;
    for lf in memchr::memchr_iter(b'\n', block) {
        if block
            .get(lf + 1)
            .is_some_and(|b| !matches!(b, b' ' | b'\t'))
        {
            end = lf + 1;
        }
    }
    &block[..end]
}
