//! What a body is: Content-Type and Content-Disposition (RFC 3261 §20.11, §20.15). Also of a part of a multipart body.

use super::{Malformed, Params, scan::Cursor};
use std::borrow::Cow;

/// A media type.
#[derive(Clone, Copy, Debug)]
pub struct MediaType<'a> {
    /// The type, as written: `application`.
    pub kind: &'a [u8],
    /// The subtype, as written: `sdp`.
    pub subtype: &'a [u8],
    /// Its parameters.
    pub params: Params<'a>,
}

impl<'a> MediaType<'a> {
    /// Reads the value.
    ///
    /// # Errors
    /// What breaks the grammar of `media-type`.
    pub fn parse(value: &'a [u8]) -> Result<Self, Malformed> {
        let mut c = Cursor::new(value);
        c.space();
        let kind = c.token()?;
        c.space();
        c.expect(b'/')?;
        c.space();
        let subtype = c.token()?;
        let params = Params::read(&mut c)?;
        c.end()?;
        Ok(Self {
            kind,
            subtype,
            params,
        })
    }

    /// Whether it is `kind`/`subtype`, in any case, whatever its parameters.
    #[must_use]
    pub fn is(&self, kind: &[u8], subtype: &[u8]) -> bool {
        self.kind.eq_ignore_ascii_case(kind) && self.subtype.eq_ignore_ascii_case(subtype)
    }

    /// Whether it is some `multipart`.
    #[must_use]
    pub fn is_multipart(&self) -> bool {
        self.kind.eq_ignore_ascii_case(b"multipart")
    }

    /// The boundary of a multipart, without its quotes.
    #[must_use]
    pub fn boundary(&self) -> Option<Cow<'a, [u8]>> {
        self.params.text(b"boundary")
    }
}

/// Content-Disposition.
#[derive(Clone, Copy, Debug)]
pub struct Disposition<'a> {
    /// `session`, `render`, `recipient-list` or another token, as written.
    pub kind: &'a [u8],
    /// Its parameters.
    pub params: Params<'a>,
}

impl<'a> Disposition<'a> {
    /// Reads the value.
    ///
    /// # Errors
    /// What breaks the grammar.
    pub fn parse(value: &'a [u8]) -> Result<Self, Malformed> {
        let mut c = Cursor::new(value);
        c.space();
        let kind = c.token()?;
        let params = Params::read(&mut c)?;
        c.end()?;
        Ok(Self { kind, params })
    }

    /// Whether it is this kind, in any case.
    #[must_use]
    pub fn is(&self, kind: &[u8]) -> bool {
        self.kind.eq_ignore_ascii_case(kind)
    }

    /// Whoever does not understand the body may pass over it: `handling=optional`. Without the parameter it is required
    /// (RFC 3261 §20.11).
    #[must_use]
    pub fn is_optional(&self) -> bool {
        self.params
            .text(b"handling")
            .is_some_and(|h| h.eq_ignore_ascii_case(b"optional"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types() {
        let t = MediaType::parse(b"Multipart / mixed ;boundary=\"a b\"").unwrap();
        assert!(
            t.is_multipart() && t.is(b"multipart", b"MIXED") && !t.is(b"multipart", b"related")
        );
        assert_eq!(t.boundary().as_deref(), Some(&b"a b"[..]));
        for bad in [
            "",
            "application",
            "application/",
            "/sdp",
            "a/b c",
            "a/b;",
            "a/b;x=",
        ] {
            assert!(MediaType::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn dispositions() {
        let d = Disposition::parse(b"recipient-list; handling=Optional").unwrap();
        assert!(d.is(b"Recipient-List") && d.is_optional());
        assert!(!Disposition::parse(b"session").unwrap().is_optional());
        assert!(Disposition::parse(b";x").is_err());
    }
}
