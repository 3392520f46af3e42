//! Addresses in headers: From, To, Contact, Route and their like (RFC 3261 §20, RFC 8217).

use super::{
    Malformed, Params,
    counts::delta,
    params::unquoted,
    scan::{Cursor, is_space},
    unfold,
};
use crate::wire::uri::{TOKEN, Uri};
use std::borrow::Cow;

/// An address with its display name and header parameters.
#[derive(Clone, Copy, Debug)]
pub struct NameAddr<'a> {
    /// The display name as written, a quoted one with its quotes; empty if there is none.
    pub display: &'a [u8],
    /// The URI, without brackets.
    pub uri: &'a [u8],
    /// The URI stood in angle brackets, so that what follows it belongs to the header in any case.
    pub bracketed: bool,
    /// The header parameters: those of the URI are not among them.
    pub params: Params<'a>,
}

impl<'a> NameAddr<'a> {
    /// Reads one `name-addr` or `addr-spec` with parameters. A URI without brackets ends at its first semicolon, comma or
    /// question mark (RFC 3261 §20, RFC 8217). A display name may touch its bracket (RFC 4475 §3.1.1.6).
    ///
    /// # Errors
    /// What breaks the grammar: an open quote, words that need quotes, white space around or in the URI, a bad URI.
    pub fn parse(value: &'a [u8]) -> Result<Self, Malformed> {
        let mut c = Cursor::new(value);
        c.space();
        let from = c.at();
        let display = if c.peek() == Some(b'"') {
            let quoted = c.quoted()?;
            c.space();
            if c.peek() != Some(b'<') {
                return Err(c.bad());
            }
            quoted
        } else {
            c.take(|b| TOKEN.has(b) || is_space(b));
            super::scan::trim(c.since(from))
        };
        let (display, uri, bracketed) = if c.eat(b'<') {
            let at = c.at();
            let uri = c.until(b'>');
            Uri::parse(uri).map_err(|e| Malformed { at: at + e.at })?;
            c.expect(b'>')?;
            (display, uri, true)
        } else {
            c = Cursor::new(value);
            c.space();
            let uri =
                c.take(|b| !is_space(b) && !matches!(b, b';' | b',' | b'?' | b'<' | b'>' | b'"'));
            Uri::parse(uri).map_err(|e| Malformed { at: from + e.at })?;
            (&b""[..], uri, false)
        };
        let params = Params::read(&mut c)?;
        c.end()?;
        Ok(Self {
            display,
            uri,
            bracketed,
            params,
        })
    }

    /// Reads one value of Route, Record-Route, Path or Service-Route: there the brackets are a must.
    ///
    /// # Errors
    /// As [`NameAddr::parse`], and if there are no brackets.
    pub fn parse_route(value: &'a [u8]) -> Result<Self, Malformed> {
        match Self::parse(value) {
            Ok(address) if !address.bracketed => Err(Malformed { at: 0 }),
            other => other,
        }
    }

    /// The tag of From or To.
    #[must_use]
    pub fn tag(&self) -> Option<&'a [u8]> {
        self.params.value(b"tag")
    }

    /// The display name as people read it: no quotes, no backslashes, no folds. It is the peer's text, in UTF-8 if the peer
    /// keeps to the rules.
    #[must_use]
    pub fn display_text(&self) -> Cow<'a, [u8]> {
        if self.display.first() == Some(&b'"') {
            unquoted(self.display)
        } else {
            unfold(self.display)
        }
    }
}

/// One value of Contact.
#[derive(Clone, Copy, Debug)]
pub enum Contact<'a> {
    /// `*`: all of them (RFC 3261 §10.2.2).
    Star,
    /// An address.
    Address(NameAddr<'a>),
}

impl<'a> Contact<'a> {
    /// Reads one value.
    ///
    /// # Errors
    /// As [`NameAddr::parse`].
    pub fn parse(value: &'a [u8]) -> Result<Self, Malformed> {
        if value == b"*" {
            return Ok(Self::Star);
        }
        NameAddr::parse(value).map(Self::Address)
    }

    /// The address, if it is one.
    #[must_use]
    pub const fn address(&self) -> Option<&NameAddr<'a>> {
        match self {
            Self::Star => None,
            Self::Address(address) => Some(address),
        }
    }

    /// `expires` in seconds; one that is no 32-bit number counts as [`super::DELTA_DEFAULT`] (RFC 3261 §10.2.1.1).
    #[must_use]
    pub fn expires(&self) -> Option<u32> {
        self.address()?.params.value(b"expires").map(delta)
    }

    /// `q` in thousandths, 0 to 1000; `None` if absent or no qvalue.
    #[must_use]
    pub fn q(&self) -> Option<u16> {
        q_value(self.address()?.params.value(b"q")?)
    }
}

/// `qvalue`: 0 to 1 with at most three decimals, in thousandths.
pub(super) fn q_value(text: &[u8]) -> Option<u16> {
    let (whole, decimals) = match text {
        [whole] => (*whole, &b""[..]),
        [whole, b'.', decimals @ ..] if decimals.len() <= 3 => (*whole, decimals),
        _ => return None,
    };
    let mut value = match whole {
        b'0' => 0,
        b'1' => 1,
        _ => return None,
    };
    for place in 0..3 {
        let digit = decimals.get(place).copied().unwrap_or(b'0');
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value * 10 + u16::from(digit - b'0');
    }
    (value <= 1000).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: &str) -> NameAddr<'_> {
        NameAddr::parse(value.as_bytes()).unwrap_or_else(|e| panic!("{value}: {e:?}"))
    }

    #[test]
    fn the_forms_of_an_address() {
        let a = parse(
            "\"J Rosenberg \\\\\\\"\"       <sip:jdrosen@example.com>\r\n  ;\r\n  tag = 98asjd8",
        );
        assert_eq!(a.display_text().as_ref(), b"J Rosenberg \\\"");
        assert_eq!(
            (a.uri, a.tag()),
            (&b"sip:jdrosen@example.com"[..], Some(&b"98asjd8"[..]))
        );
        let a = parse(
            "token1~` token2'+_\r\n token3*%!.- <sip:mundane@example.com;x>;a=\"\u{448}\";tag=_t",
        );
        assert_eq!(a.display_text().as_ref(), b"token1~` token2'+_ token3*%!.-");
        assert_eq!(
            (a.uri, a.tag()),
            (&b"sip:mundane@example.com;x"[..], Some(&b"_t"[..]))
        );
        let a = parse("caller<sip:caller@example.com>");
        assert_eq!(
            (a.display, a.bracketed, a.tag()),
            (&b"caller"[..], true, None)
        );
        let a = parse("sip:a@b;tag=1");
        assert_eq!(
            (a.uri, a.bracketed, a.tag()),
            (&b"sip:a@b"[..], false, Some(&b"1"[..]))
        );
        assert_eq!(parse("isbn:2983792873").uri, b"isbn:2983792873");
        assert_eq!(
            parse("<http://www.example.com>;tag=3").uri,
            b"http://www.example.com"
        );
        assert_eq!(parse("\"\" <tel:+1>").uri, b"tel:+1");
        assert_eq!(parse("\"<sip:x@y>\" <sip:a@b>").uri, b"sip:a@b");
    }

    #[test]
    fn what_is_no_address() {
        for bad in [
            "",
            "*",
            "<>",
            "\"Mr. J. User <sip:j.user@example.com>",
            "\"Watson, Thomas\" < sip:t.watson@example.org >",
            "Bell, Alexander <sip:a.g.bell@example.com>;tag=43",
            "sip:user@example.com?Route=%3Csip:sip.example.com%3E",
            "\"a\" sip:a@b",
            "a sip:a@b",
            "<sip:a@b",
            "<sip:a@b>;;",
            "<sip:a@b> x",
            "<sip:a@b>;tag=",
            "sip:a@b, sip:c@d",
            "<sip:a b@c>",
            "<sip:a@b>>",
            "<sip:a@b\r\n ;lr>",
            "alice",
        ] {
            assert!(NameAddr::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(NameAddr::parse_route(b"sip:a@b").is_err());
        assert!(NameAddr::parse_route(b"<sip:a@b;lr>").is_ok());
    }

    #[test]
    fn contacts() {
        let contact = |v: &'static str| Contact::parse(v.as_bytes()).unwrap();
        assert!(contact("*").address().is_none());
        let c = contact("<sip:a@b>;q=0.5;expires=60");
        assert_eq!((c.q(), c.expires()), (Some(500), Some(60)));
        let c = contact("<sip:a@b>;q=1.000;expires=280297596632815");
        assert_eq!((c.q(), c.expires()), (Some(1000), Some(3600)));
        for (text, value) in [
            ("0", Some(0)),
            ("1", Some(1000)),
            ("0.07", Some(70)),
            ("1.001", None),
            ("2", None),
            ("0.1234", None),
            ("0.x", None),
            ("", None),
        ] {
            assert_eq!(q_value(text.as_bytes()), value, "{text}");
        }
    }
}
