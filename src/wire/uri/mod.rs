//! URIs: sip, sips and tel (RFC 3261 §19.1, RFC 3966), msrp and msrps (RFC 4975 §6), their comparison.
//!
//! Views borrow what they read and keep it as written: escapes are undone where a meaning is asked for, never stored.

mod canonical;
mod chars;
pub mod compare;
pub mod host;
pub mod msrp;
pub mod sip;
pub mod tel;

pub use canonical::{KEY_BYTES_MAX, canonical};
pub use host::Host;

pub(crate) use chars::{Set, TOKEN, URIC, all_in, unescape};

/// The part of a URI that broke its grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// No scheme and colon, or not the scheme that was asked for.
    Scheme,
    /// The user.
    User,
    /// The password.
    Password,
    /// The host.
    Host,
    /// The port: no number from 0 to 65,535.
    Port,
    /// A parameter.
    Parameter,
    /// A header.
    Header,
    /// The number of a tel URI.
    Number,
    /// What follows the scheme in a URI of another scheme.
    Rest,
    /// The whole: its key is longer than [`KEY_BYTES_MAX`], or than the room given.
    Length,
}

/// A URI that breaks its grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    /// The part that is wrong.
    pub part: Part,
    /// Where that part begins: bytes from the start of the URI.
    pub at: usize,
}

impl Error {
    /// `part` is wrong; it begins at `at`.
    #[must_use]
    pub const fn new(part: Part, at: usize) -> Self {
        Self { part, at }
    }

    /// The same, seen from a whole of which `by` bytes come first.
    pub(crate) const fn after(self, by: usize) -> Self {
        Self {
            part: self.part,
            at: self.at + by,
        }
    }
}

/// A URI of any scheme.
#[derive(Clone, Copy, Debug)]
pub enum Uri<'a> {
    /// `sip:` or `sips:`.
    Sip(sip::Uri<'a>),
    /// `tel:`.
    Tel(tel::Tel<'a>),
    /// Any other scheme, kept as it came.
    Other {
        /// The scheme, as written, without the colon.
        scheme: &'a [u8],
        /// What follows the colon.
        rest: &'a [u8],
    },
}

impl<'a> Uri<'a> {
    /// Reads a whole URI: no white space, no angle brackets.
    ///
    /// # Errors
    /// The part that breaks the grammar of its scheme; of an unknown scheme [`Part::Rest`], if a byte is none that a
    /// URI may hold.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let (name, rest) = scheme(bytes).ok_or(Error::new(Part::Scheme, 0))?;
        if name.eq_ignore_ascii_case(b"sip") || name.eq_ignore_ascii_case(b"sips") {
            return sip::Uri::parse(bytes).map(Self::Sip);
        }
        if name.eq_ignore_ascii_case(b"tel") {
            return tel::Tel::parse(bytes).map(Self::Tel);
        }
        if rest.is_empty() || !all_in(rest, URIC) {
            return Err(Error::new(Part::Rest, name.len() + 1));
        }
        Ok(Self::Other { scheme: name, rest })
    }
}

const SCHEME: Set = Set::of(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-.");

/// Splits a URI at the colon of its scheme.
pub(crate) fn scheme(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = memchr::memchr(b':', bytes)?;
    let (name, rest) = (bytes.get(..colon)?, bytes.get(colon + 1..)?);
    let fits = name.first()?.is_ascii_alphabetic() && name.iter().all(|b| SCHEME.has(*b));
    fits.then_some((name, rest))
}

/// Reads a whole decimal number, `None` if it is empty, has anything else, or does not fit.
pub(crate) fn number<T: TryFrom<u64>>(digits: &[u8]) -> Option<T> {
    if digits.is_empty() {
        return None;
    }
    let mut value = 0u64;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value
            .checked_mul(10)?
            .checked_add(u64::from(digit - b'0'))?;
    }
    T::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_scheme_is_kept() {
        assert!(matches!(Uri::parse(b"SIP:a@b"), Ok(Uri::Sip(_))));
        assert!(matches!(Uri::parse(b"tel:+1"), Ok(Uri::Tel(_))));
        let Ok(Uri::Other { scheme, rest }) = Uri::parse(b"soap.beep://192.0.2.103:3002") else {
            panic!("an absolute URI")
        };
        assert_eq!(
            (scheme, rest),
            (&b"soap.beep"[..], &b"//192.0.2.103:3002"[..])
        );
        for bad in [&b"x"[..], b":x", b"1x:y", b"x:", b"x:a b", b"x:<y>"] {
            assert!(Uri::parse(bad).is_err(), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn a_number_is_digits_that_fit() {
        assert_eq!(number::<u16>(b"0065535"), Some(65_535));
        assert_eq!(number::<u16>(b"65536"), None);
        assert_eq!(number::<u64>(b"18446744073709551616"), None);
        assert_eq!(number::<u32>(b""), None);
        assert_eq!(number::<u32>(b"-1"), None);
        assert_eq!(number::<u32>(b"1 "), None);
    }
}
