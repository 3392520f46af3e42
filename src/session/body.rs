//! Bodies from leg to leg: the description is ours, every other part passes [SIP-MSG-07].
//!
//! The law: a body is read whole or refused; what cannot be looked into does not pass; and what passes holds nothing of the
//! description that its sender wrote: no path, no candidate, no fingerprint, whatever the body looks like (settled.md 32).

use std::borrow::Cow;

use memchr::memmem;

use super::{headers, sdp};
use crate::wire::{
    multipart::{Error, Multipart, Part},
    sip::{MediaType, Message, Name},
};

/// Why a body is refused with 400, or an answer counts as none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// Its Content-Type lacks, or is none.
    Type,
    /// It is no multipart, though it says so, or passes a bound of one.
    Multipart(Error),
    /// It holds two descriptions: nobody knows which one counts.
    Several,
    /// A description, or a part, is encoded in a way that nobody here looks through.
    Encoded,
    /// A path, candidate or fingerprint stands outside the description.
    Astray,
}

impl Unreadable {
    /// For people.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Type => "no Content-Type of the body",
            Self::Multipart(Error::TooManyParts) => "multipart body has too many parts",
            Self::Multipart(Error::TooDeep) => "multipart body nests too deep",
            Self::Multipart(_) => "multipart body cannot be read",
            Self::Several => "more than one session description",
            Self::Encoded => "encoded body part cannot be read",
            Self::Astray => "address of the sender outside the session description",
        }
    }
}

/// The description in a message: its body, or the one such part of it, however deep; `None` if it has none. All of the body has
/// been read then.
pub(super) fn read<'a>(message: &Message<'a>) -> Result<Option<&'a [u8]>, Unreadable> {
    let body = message.body();
    if body.is_empty() {
        return Ok(None);
    }
    if is_compressed(message) {
        // Not ours to understand: it counts as absent, and does not pass (RFC 3261 §8.2.3).
        return if is_optional(message) {
            Ok(None)
        } else {
            Err(Unreadable::Encoded)
        };
    }
    let kind = kind(message)?;
    if is_description(&kind) {
        return if is_plain(message) {
            Ok(Some(body))
        } else {
            Err(Unreadable::Encoded)
        };
    }
    let Some(boundary) = boundary(&kind)? else {
        return Ok(None);
    };
    let (mut found, mut count, mut encoded) = (None, 0, false);
    Multipart::walk(body, boundary, &mut |part| {
        if is_description(&part.content_type()) {
            found = Some(part.body);
            count += 1;
            encoded |= part.is_encoded();
        }
    })
    .map_err(Unreadable::Multipart)?;
    match count {
        0 | 1 if encoded => Err(Unreadable::Encoded),
        0 | 1 => Ok(found),
        _ => Err(Unreadable::Several),
    }
}

/// The same of a message whose body was read before, or whose body that cannot be read counts as none.
pub(super) fn description<'a>(message: &Message<'a>) -> Option<&'a [u8]> {
    read(message).unwrap_or_default()
}

/// Judges the body of a request that goes to other legs.
pub(super) fn judge(request: &Message<'_>) -> Result<(), Unreadable> {
    let description = read(request)?;
    if request.body().is_empty() || is_compressed(request) {
        return Ok(());
    }
    let kind = kind(request)?;
    if is_description(&kind) {
        return Ok(());
    }
    let theirs = Secrets::of(description.unwrap_or_default())?;
    let mut heads = request.named().filter(|(name, _)| passes(*name));
    if heads.any(|(_, value)| theirs.stand_in(value)) {
        return Err(Unreadable::Astray);
    }
    let Some(boundary) = boundary(&kind)? else {
        return theirs.judge(&kind, is_plain(request).then(|| request.body().into()));
    };
    let mut verdict = Ok(());
    Multipart::walk(request.body(), boundary, &mut |part| {
        verdict = verdict.and_then(|()| theirs.judge_part(part));
    })
    .map_err(Unreadable::Multipart)?;
    verdict
}

/// Appends the body of a leg's request with its headers and the blank line: that of `original`, its description replaced by
/// `own`. The head must end here. `original` was judged before.
pub(super) fn pass(out: &mut Vec<u8>, original: &Message<'_>, own: Option<&[u8]>) {
    let (body, of_original) = match others(original, own) {
        Some(body) => (body, true),
        None => (own.unwrap_or_default().to_vec(), false),
    };
    if of_original {
        for (name, value) in original.named() {
            if passes(name) {
                headers::put(out, name.as_bytes(), value);
            }
        }
    } else if own.is_some() {
        headers::put(out, b"Content-Type", sdp::SDP.as_bytes());
    }
    headers::put(out, b"Content-Length", body.len().to_string().as_bytes());
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(&body);
}

/// The body that passes, if more than a description does.
fn others(original: &Message<'_>, own: Option<&[u8]>) -> Option<Vec<u8>> {
    let kind = kind(original).ok()?;
    if original.body().is_empty() || is_compressed(original) || is_description(&kind) {
        return None;
    }
    let Some(boundary) = boundary(&kind).ok()? else {
        return own.is_none().then(|| original.body().to_vec());
    };
    let replaced =
        |part: &Part<'_>| is_description(&part.content_type()).then(|| own.unwrap_or_default());
    let mut body = Vec::with_capacity(original.body().len() + own.map_or(0, <[u8]>::len));
    // A description of ours closes no part: each of its lines begins with a letter.
    Multipart::rewrite(original.body(), boundary, &replaced, &mut body).ok()?;
    Some(body)
}

fn kind<'a>(message: &Message<'a>) -> Result<MediaType<'a>, Unreadable> {
    let kind = message.content_type().map_err(|_| Unreadable::Type)?;
    kind.ok_or(Unreadable::Type)
}

fn is_description(kind: &MediaType<'_>) -> bool {
    kind.is(b"application", b"sdp")
}

/// The boundary of a multipart; `None` of anything else.
fn boundary<'a>(kind: &MediaType<'a>) -> Result<Option<&'a [u8]>, Unreadable> {
    if !kind.is_multipart() {
        return Ok(None);
    }
    match kind.boundary() {
        Some(Cow::Borrowed(boundary)) => Ok(Some(boundary)),
        Some(Cow::Owned(_)) | None => Err(Unreadable::Multipart(Error::Boundary)),
    }
}

fn is_compressed(message: &Message<'_>) -> bool {
    message
        .values(Name::ContentEncoding)
        .any(|e| !e.eq_ignore_ascii_case(b"identity"))
}

/// RFC 3261 §7.4.1: SIP is clean of encodings; a Content-Transfer-Encoding that says more is not looked through.
fn is_plain(message: &Message<'_>) -> bool {
    message.headers(Name::ContentTransferEncoding).all(|e| {
        [&b"7bit"[..], b"8bit", b"binary"]
            .iter()
            .any(|p| e.eq_ignore_ascii_case(p))
    })
}

fn is_optional(message: &Message<'_>) -> bool {
    let disposition = message.content_disposition();
    disposition.is_ok_and(|d| d.is_some_and(|d| d.is_optional()))
}

/// The headers that go with a body that passes.
const fn passes(name: Name<'_>) -> bool {
    matches!(
        name,
        Name::ContentType
            | Name::ContentDisposition
            | Name::ContentEncoding
            | Name::ContentLanguage
            | Name::MimeVersion
    )
}

/// What a description says of its sender's own way, in lower case: it stands there and nowhere else.
struct Secrets(Vec<Vec<u8>>);

/// As many are looked for: a body is searched once for each.
const SECRETS_MAX: usize = 64;

/// The attributes that say it.
const SAYING: [&[u8]; 6] = [
    b"path",
    b"candidate",
    b"remote-candidates",
    b"fingerprint",
    b"ice-pwd",
    b"tls-id",
];

impl Secrets {
    fn of(description: &[u8]) -> Result<Self, Unreadable> {
        let mut all = Vec::new();
        for (name, value) in description.split(|b| *b == b'\n').filter_map(saying) {
            let value = value.trim_ascii();
            match name {
                b"path" => all.extend(value.split(u8::is_ascii_whitespace).map(authority)),
                // Behind the name of its hash.
                b"fingerprint" => all.extend(value.rsplit(u8::is_ascii_whitespace).next()),
                _ => all.push(value),
            }
        }
        all.retain(|secret| secret.len() > 5);
        if all.len() > SECRETS_MAX {
            return Err(Unreadable::Astray);
        }
        Ok(Self(all.iter().map(|s| s.to_ascii_lowercase()).collect()))
    }

    fn stand_in(&self, text: &[u8]) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let text = text.to_ascii_lowercase();
        self.0
            .iter()
            .any(|secret| memmem::find(&text, secret).is_some())
    }

    fn judge_part(&self, part: &Part<'_>) -> Result<(), Unreadable> {
        if part
            .headers()
            .any(|(name, value)| self.stand_in(name) || self.stand_in(value))
        {
            return Err(Unreadable::Astray);
        }
        let kind = part.content_type();
        // The description is ours behind us, and what is inside a multipart is judged by itself.
        if is_description(&kind) || kind.is_multipart() {
            return Ok(());
        }
        if self.stand_in(part.body) {
            return Err(Unreadable::Astray);
        }
        self.judge(&kind, part.decoded())
    }

    /// `content`: decoded; `None` where nobody here can.
    fn judge(
        &self,
        kind: &MediaType<'_>,
        content: Option<Cow<'_, [u8]>>,
    ) -> Result<(), Unreadable> {
        let content = content.ok_or(Unreadable::Encoded)?;
        // A person may write what looks like a description; nobody else has a reason to.
        let written = kind.is(b"message", b"cpim");
        let describes = || {
            content
                .split(|b| matches!(b, b'\n' | b'\r'))
                .any(|l| saying(l).is_some())
        };
        if self.stand_in(&content) || !written && describes() {
            return Err(Unreadable::Astray);
        }
        Ok(())
    }
}

/// The name and the value of such an attribute.
fn saying(line: &[u8]) -> Option<(&'static [u8], &[u8])> {
    let [b'a' | b'A', b'=', attribute @ ..] = line.trim_ascii() else {
        return None;
    };
    SAYING.iter().find_map(|name| {
        let (head, rest) = attribute.split_at_checked(name.len())?;
        let value = rest.strip_prefix(b":")?;
        head.eq_ignore_ascii_case(name).then_some((*name, value))
    })
}

/// An MSRP URI without its scheme and parameters.
fn authority(uri: &[u8]) -> &[u8] {
    let from = memmem::find(uri, b"://").map_or(0, |at| at + 3);
    let uri = uri.get(from..).unwrap_or_default();
    uri.split(|b| *b == b';').next().unwrap_or_default()
}
