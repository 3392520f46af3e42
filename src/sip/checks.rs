//! The inspection of a request by who serves it, in the order of RFC 3261 §8.2: method, scheme, extensions, content.
//! [SIP-MSG-04] [SIP-MSG-05]

use crate::wire::{
    sip::{Message, Method, Name, Start},
    uri::Uri,
};

/// What we can do.
#[derive(Clone, Copy, Debug)]
pub struct Abilities<'a> {
    /// For Allow, as written: `INVITE, ACK, ...`. CANCEL and ACK are among them.
    pub allow: &'a str,
    /// Option tags that a request may require.
    pub supported: &'a [&'a str],
    /// Content types, `type/subtype` in lower case; `type/*` is all of a type.
    pub accept: &'a [&'a str],
}

/// An answer that refuses a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status.
    pub code: u16,
    /// Its headers, each with CRLF.
    pub headers: String,
}

impl Refusal {
    /// A refusal without headers.
    #[must_use]
    pub const fn bare(code: u16) -> Self {
        Self {
            code,
            headers: String::new(),
        }
    }
}

/// Inspects a request that was well-formed ([`Message::check`]).
///
/// # Errors
/// 405 with Allow (a method that we know but do not serve), 501 (one that nobody knows), 416 (scheme of the Request-URI), 420
/// with Unsupported, 415 with Accept, Accept-Encoding or Accept-Language.
pub fn inspect(request: &Message<'_>, can: &Abilities<'_>) -> Result<(), Refusal> {
    let Start::Request { method, uri } = request.start() else {
        return Err(Refusal::bare(400));
    };
    inspect_method(method, can)?;
    // RFC 3261 §8.2.2.1: a scheme that we do not serve. `sips` is one, as long as we have no TLS (RFC 5630 §5.1.2).
    if match Uri::parse(uri) {
        Ok(Uri::Sip(sip)) => sip.secure,
        Ok(Uri::Tel(_)) => false,
        Ok(Uri::Other { .. }) | Err(_) => true,
    } {
        return Err(Refusal::bare(416));
    }
    // RFC 3261 §8.2.2.3: what a CANCEL or ACK requires is not looked at.
    if !matches!(method, Method::Cancel | Method::Ack) {
        inspect_require(request, can)?;
    }
    inspect_content(request, can)
}

fn inspect_method(method: Method<'_>, can: &Abilities<'_>) -> Result<(), Refusal> {
    let served = can
        .allow
        .split(',')
        .any(|m| m.trim().as_bytes() == method.as_bytes());
    if served {
        return Ok(());
    }
    let code = if method.is_known() { 405 } else { 501 };
    Err(Refusal {
        code,
        headers: format!("Allow: {}\r\n", can.allow),
    })
}

fn inspect_require(request: &Message<'_>, can: &Abilities<'_>) -> Result<(), Refusal> {
    let known = |tag: &[u8]| {
        can.supported
            .iter()
            .any(|s| s.as_bytes().eq_ignore_ascii_case(tag))
    };
    let mut unsupported = request
        .tokens(Name::Require)
        .filter(|tag| !known(tag))
        .map(|tag| tag.escape_ascii().to_string())
        .take(16)
        .collect::<Vec<_>>();
    unsupported.dedup();
    if unsupported.is_empty() {
        return Ok(());
    }
    Err(Refusal {
        code: 420,
        headers: format!("Unsupported: {}\r\n", unsupported.join(", ")),
    })
}

/// RFC 3261 §8.2.3. A body whose Content-Disposition says `handling=optional` is let be, whatever it is.
fn inspect_content(request: &Message<'_>, can: &Abilities<'_>) -> Result<(), Refusal> {
    if request.body().is_empty() {
        return Ok(());
    }
    let disposition = request.content_disposition().ok().flatten();
    let optional = disposition.is_some_and(|d| {
        d.params
            .value(b"handling")
            .is_some_and(|h| h.eq_ignore_ascii_case(b"optional"))
    });
    if optional {
        return Ok(());
    }
    let encoded = request
        .values(Name::ContentEncoding)
        .any(|e| !e.eq_ignore_ascii_case(b"identity"));
    if encoded {
        return Err(Refusal {
            code: 415,
            headers: "Accept-Encoding: identity\r\n".to_owned(),
        });
    }
    let Ok(media_type) = request.content_type() else {
        return Err(Refusal::bare(400));
    };
    // RFC 3261 §20.15: a body has a type.
    let Some(media_type) = media_type else {
        return Err(Refusal::bare(400));
    };
    let is_one_of = |accepted: &&str| {
        let (kind, sub) = accepted.split_once('/').unwrap_or((accepted, "*"));
        media_type.kind.eq_ignore_ascii_case(kind.as_bytes())
            && (sub == "*" || media_type.subtype.eq_ignore_ascii_case(sub.as_bytes()))
    };
    if can.accept.iter().any(is_one_of) {
        return Ok(());
    }
    Err(Refusal {
        code: 415,
        headers: format!("Accept: {}\r\n", can.accept.join(", ")),
    })
}
