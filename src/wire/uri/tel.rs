//! tel URIs as borrowed views (RFC 3966 §3).

use super::{
    Error, Part,
    chars::{Set, UNRESERVED, all_in, same_nocase},
};

const LOCAL: Set = Set::of(b"0123456789abcdefABCDEF*#-.()");
const GLOBAL: Set = Set::of(b"0123456789-.()");
const PNAME: Set = Set::of(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-");
/// `paramchar`, and what `isub` may hold beyond it.
const PVALUE: Set = UNRESERVED.and(b"[]/:&+$?@,=");

/// A telephone number with its parameters: what follows `tel:`, or stands in the user part of a SIP URI with
/// `user=phone`.
#[derive(Clone, Copy, Debug)]
pub struct Tel<'a> {
    /// The number as written: visual separators, and the `+` of a global one.
    pub number: &'a [u8],
    params: &'a [u8],
}

impl<'a> Tel<'a> {
    /// Reads a whole tel URI.
    ///
    /// # Errors
    /// The part that breaks the grammar. A local number without `phone-context` is accepted: networks send them.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        match super::scheme(bytes) {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case(b"tel") => {
                Self::subscriber(rest).map_err(|e| e.after(scheme.len() + 1))
            }
            Some(_) | None => Err(Error::new(Part::Scheme, 0)),
        }
    }

    /// Reads a `telephone-subscriber`: a number and its parameters, no scheme.
    ///
    /// # Errors
    /// [`Part::Number`] or [`Part::Parameter`].
    pub fn subscriber(bytes: &'a [u8]) -> Result<Self, Error> {
        let end = memchr::memchr(b';', bytes).unwrap_or(bytes.len());
        let (number, params) = bytes.split_at_checked(end).unwrap_or((bytes, b""));
        if !is_number(number) {
            return Err(Error::new(Part::Number, 0));
        }
        let Some(list) = params.strip_prefix(b";") else {
            return Ok(Self {
                number,
                params: b"",
            });
        };
        let fit = list.split(|b| *b == b';').all(|param| {
            let mut halves = param.splitn(2, |b| *b == b'=');
            let name = halves.next().unwrap_or_default();
            let name_fits = !name.is_empty() && name.iter().all(|b| PNAME.has(*b));
            name_fits
                && halves
                    .next()
                    .is_none_or(|v| !v.is_empty() && all_in(v, PVALUE))
        });
        if !fit {
            return Err(Error::new(Part::Parameter, end));
        }
        Ok(Self {
            number,
            params: list,
        })
    }

    /// The number is global: it begins with `+`.
    #[must_use]
    pub fn is_global(&self) -> bool {
        self.number.first() == Some(&b'+')
    }

    /// The number without its visual separators, `+` included.
    pub fn digits(&self) -> impl Iterator<Item = u8> + Clone + use<'a> {
        digits(self.number)
    }

    /// The parameters in order, as written: name, and value if there is one.
    pub fn params(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + Clone + use<'a> {
        self.params
            .split(|b| *b == b';')
            .filter(|p| !p.is_empty())
            .map(|param| {
                let mut halves = param.splitn(2, |b| *b == b'=');
                (halves.next().unwrap_or_default(), halves.next())
            })
    }

    /// The parameter `name`: `None` if absent, else its value as written, empty if it has none.
    #[must_use]
    pub fn param(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.params()
            .find(|(n, _)| same_nocase(n, name))
            .map(|(_, v)| v.unwrap_or_default())
    }

    /// Where a local number is valid.
    #[must_use]
    pub fn phone_context(&self) -> Option<&'a [u8]> {
        self.param(b"phone-context")
    }
}

/// `bytes` without visual separators.
pub(super) fn digits(bytes: &[u8]) -> impl Iterator<Item = u8> + Clone + use<'_> {
    bytes
        .iter()
        .copied()
        .filter(|b| !matches!(b, b'-' | b'.' | b'(' | b')'))
}

fn is_number(number: &[u8]) -> bool {
    match number.strip_prefix(b"+") {
        Some(global) => global.iter().all(|b| GLOBAL.has(*b)) && digits(global).next().is_some(),
        None => number.iter().all(|b| LOCAL.has(*b)) && digits(number).next().is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_with_its_parameters() {
        let tel = Tel::parse(b"TEL:7042;ext=5;phone-context=example.com;x").unwrap();
        assert!(!tel.is_global());
        assert_eq!(tel.phone_context(), Some(&b"example.com"[..]));
        assert_eq!(tel.param(b"X"), Some(&b""[..]));
        assert_eq!(tel.params().count(), 3);
        let tel = Tel::parse(b"tel:+1-(201)-555.0123").unwrap();
        assert!(tel.is_global());
        assert_eq!(tel.digits().collect::<Vec<_>>(), b"+12015550123");
        assert_eq!(tel.params().count(), 0);
    }

    #[test]
    fn what_is_no_number() {
        for (uri, part, at) in [
            ("tel:", Part::Number, 4),
            ("tel:+", Part::Number, 4),
            ("tel:+-", Part::Number, 4),
            ("tel:+1a", Part::Number, 4),
            ("tel:1 2", Part::Number, 4),
            ("tel:alice", Part::Number, 4),
            ("tel:1;", Part::Parameter, 5),
            ("tel:1;=x", Part::Parameter, 5),
            ("tel:1;x=", Part::Parameter, 5),
            ("sip:1", Part::Scheme, 0),
            ("1", Part::Scheme, 0),
        ] {
            assert_eq!(
                Tel::parse(uri.as_bytes()).err(),
                Some(Error::new(part, at)),
                "{uri}"
            );
        }
    }
}
