//! What a message carries: chat, isComposing, IMDN. `[CPIM-05]`
//!
//! The type of the content decides, inside CPIM that of what is wrapped. Chat is whatever is neither of the other two nor a
//! document that a server sends about the session.

use super::{
    HEADERS_MAX,
    header::{MimeHeaders, block, ends_with_first_empty_line},
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
/// The answer comes with the Content-Type line of the wrapped content (for a multipart with its Content-Disposition), or
/// with the end of its headers: nothing later is waited for, and not more than [`HEADERS_MAX`] bytes. Once it is not [`Verdict::NeedMore`] it stays.
#[must_use]
pub fn classify(prefix: &[u8], complete: bool) -> Verdict {
    let (mime, ended) = match mime_headers(prefix, complete) {
        Mime::Whole(block) => (block, true),
        Mime::Begun(block) => (block, false),
        Mime::Broken => return Verdict::Other,
        Mime::More => return Verdict::NeedMore,
    };
    let value = |wanted: &[u8]| {
        MimeHeaders::new(mime)
            .find(|(name, _)| name.eq_ignore_ascii_case(wanted))
            .map(|(_, value)| value)
    };
    let open = if is_last(prefix, complete) {
        Verdict::Other
    } else {
        Verdict::NeedMore
    };
    match value(b"Content-Type") {
        // RFC 5438 §8.3: several IMDNs in one; the disposition tells, and it may stand behind the type.
        Some(kind) if is_multipart(kind) => match value(b"Content-Disposition") {
            Some(d) if media_type(d).eq_ignore_ascii_case(b"notification") => Verdict::Imdn,
            Some(_) => Verdict::Chat,
            None if ended => Verdict::Chat,
            None => open,
        },
        Some(kind) => match classify_type(kind) {
            // CPIM within CPIM: what a person forwarded.
            Verdict::NeedMore | Verdict::Chat => Verdict::Chat,
            verdict @ (Verdict::IsComposing | Verdict::Imdn | Verdict::Other) => verdict,
        },
        // RFC 2045 §5.2: what has no type is plain text.
        None if ended => Verdict::Chat,
        None => open,
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
    match mime_headers(body, true) {
        Mime::Whole(block) | Mime::Begun(block) => MimeHeaders::new(block)
            .find(|(name, _)| name.eq_ignore_ascii_case(b"Content-Type"))
            .map(|(_, value)| value),
        Mime::Broken | Mime::More => None,
    }
}

/// Where the MIME headers of the wrapped content begin, if the message headers are there.
#[must_use]
pub fn mime_at(body: &[u8]) -> Option<usize> {
    block(&body[..body.len().min(HEADERS_MAX)], 0).map(|(_, at)| at)
}

/// Whether the MIME headers begin at `at`, as [`mime_at`] would say: for who has seen them there in a body like this one.
#[must_use]
pub fn is_mime_at(body: &[u8], at: usize) -> bool {
    at <= HEADERS_MAX && body.get(..at).is_some_and(ends_with_first_empty_line)
}

/// The MIME headers of the wrapped content with the empty line that ends them, if they are whole. Two bodies in which they
/// are the same get the same verdict and the same wrapped type.
#[must_use]
pub fn mime_block(body: &[u8]) -> Option<&[u8]> {
    let at = mime_at(body)?;
    let window = &body[..body.len().min(HEADERS_MAX)];
    let (_, behind) = block(window, at)?;
    Some(&window[at..behind])
}

fn is_multipart(content_type: &[u8]) -> bool {
    content_type
        .split_at_checked(10)
        .is_some_and(|(kind, _)| kind.eq_ignore_ascii_case(b"multipart/"))
}

/// The MIME headers of the wrapped content, as far as they are there.
enum Mime<'a> {
    /// All of them.
    Whole(&'a [u8]),
    /// Those that surely are whole; more may follow.
    Begun(&'a [u8]),
    /// There are none, or too far in.
    Broken,
    /// The bytes do not tell yet.
    More,
}

/// Whether what is there is all that will be looked at.
fn is_last(body: &[u8], complete: bool) -> bool {
    complete || body.len() >= HEADERS_MAX
}

fn mime_headers(body: &[u8], complete: bool) -> Mime<'_> {
    let window = &body[..body.len().min(HEADERS_MAX)];
    let Some((_, mime_at)) = block(window, 0) else {
        return if is_last(body, complete) {
            Mime::Broken
        } else {
            Mime::More
        };
    };
    match block(window, mime_at) {
        Some((end, _)) => Mime::Whole(&window[mime_at..end]),
        None if complete && body.len() <= HEADERS_MAX => Mime::Whole(&window[mime_at..]),
        None => Mime::Begun(whole_headers(&window[mime_at..])),
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
