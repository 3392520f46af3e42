//! Challenges and credentials (RFC 3261 §20.7, §20.27, §20.28, §20.44; RFC 7616).

use super::{
    Malformed, Param,
    params::unquoted,
    scan::{Cursor, is_space},
};
use std::borrow::Cow;

/// The value of Authorization, Proxy-Authorization, WWW-Authenticate or Proxy-Authenticate; also of Authentication-Info,
/// which has no scheme.
#[derive(Clone, Copy, Debug)]
pub struct Auth<'a> {
    /// The scheme, as written; empty in Authentication-Info.
    pub scheme: &'a [u8],
    params: &'a [u8],
}

impl<'a> Auth<'a> {
    /// Reads a value that begins with its scheme. One header holds one: commas divide its parameters.
    ///
    /// # Errors
    /// What breaks the grammar of `credentials` and `challenge`.
    pub fn parse(value: &'a [u8]) -> Result<Self, Malformed> {
        let mut c = Cursor::new(value);
        c.space();
        let scheme = c.token()?;
        if !c.space() && !c.rest().is_empty() {
            return Err(c.bad());
        }
        Self::rest(scheme, c)
    }

    /// Reads Authentication-Info.
    ///
    /// # Errors
    /// As [`Auth::parse`].
    pub fn parse_info(value: &'a [u8]) -> Result<Self, Malformed> {
        Self::rest(b"", Cursor::new(value))
    }

    fn rest(scheme: &'a [u8], mut c: Cursor<'a>) -> Result<Self, Malformed> {
        let params = c.rest();
        if !params.is_empty() {
            read_one(&mut c)?;
            while c.eat(b',') {
                read_one(&mut c)?;
            }
        }
        c.end()?;
        Ok(Self { scheme, params })
    }

    /// Whether it is the Digest scheme.
    #[must_use]
    pub fn is_digest(&self) -> bool {
        self.scheme.eq_ignore_ascii_case(b"Digest")
    }

    /// The parameters in order.
    pub fn params(&self) -> impl Iterator<Item = Param<'a>> + use<'a> {
        let mut c = Cursor::new(self.params);
        std::iter::from_fn(move || {
            let param = read_one(&mut c).ok()?;
            c.eat(b',');
            Some(param)
        })
    }

    /// The value of the first parameter called `name`, without quotes and backslashes.
    #[must_use]
    pub fn text(&self, name: &[u8]) -> Option<Cow<'a, [u8]>> {
        self.value(name).map(unquoted)
    }

    /// The value of the first parameter called `name`, as written: what a digest is computed of, between its quotes.
    #[must_use]
    pub fn value(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.params()
            .find(|p| p.name.eq_ignore_ascii_case(name))?
            .value
    }
}

/// Reads `name EQUAL ( token / quoted-string )` with white space around. Bare values are taken as devices write them.
fn read_one<'a>(c: &mut Cursor<'a>) -> Result<Param<'a>, Malformed> {
    c.space();
    let name = c.token()?;
    c.space();
    c.expect(b'=')?;
    c.space();
    let value = if c.peek() == Some(b'"') {
        c.quoted()?
    } else {
        c.take(|b| !is_space(b) && !matches!(b, b',' | b'"'))
    };
    if value.is_empty() {
        return Err(c.bad());
    }
    c.space();
    Ok(Param {
        name,
        value: Some(value),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials() {
        let auth = Auth::parse(b"digest username=\"a\\\"b\", realm=\"x, y\",\r\n uri=\"sip:h\", nc=00000001 , qop=auth").unwrap();
        assert!(auth.is_digest());
        assert_eq!(auth.params().count(), 5);
        assert_eq!(auth.text(b"USERNAME").as_deref(), Some(&b"a\"b"[..]));
        assert_eq!(auth.value(b"username"), Some(&b"\"a\\\"b\""[..]));
        assert_eq!(auth.text(b"realm").as_deref(), Some(&b"x, y"[..]));
        assert_eq!(auth.text(b"qop").as_deref(), Some(&b"auth"[..]));
        assert_eq!(auth.text(b"nonce"), None);
        let other = Auth::parse(b"NoOneKnowsThisScheme opaque-data=here").unwrap();
        assert!(!other.is_digest());
        assert_eq!(Auth::parse(b"Negotiate").unwrap().params().count(), 0);
        assert_eq!(
            Auth::parse_info(b"nextnonce=\"1\"")
                .unwrap()
                .text(b"nextnonce")
                .as_deref(),
            Some(&b"1"[..])
        );
    }

    #[test]
    fn what_is_none() {
        for bad in [
            "",
            "Digest x",
            "Digest x=",
            "Digest x=1,",
            "Digest x=1 y=2",
            "Digest x=\"1",
            "Digest,x=1",
            "=x",
            "Digest x=\"1\"2",
        ] {
            assert!(Auth::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
