//! Character classes of the RFCs' grammars, and percent-escapes (RFC 3261 §25.1, RFC 3986 §2).

/// A set of US-ASCII characters.
#[derive(Clone, Copy)]
pub(crate) struct Set(u128);

impl Set {
    /// The characters of `chars`; those beyond US-ASCII are left out.
    pub(crate) const fn of(chars: &[u8]) -> Self {
        let mut rest = chars;
        let mut bits = 0u128;
        while let [first, tail @ ..] = rest {
            if *first < 128 {
                bits |= 1 << *first;
            }
            rest = tail;
        }
        Self(bits)
    }

    /// These characters and those of `chars`.
    pub(crate) const fn and(self, chars: &[u8]) -> Self {
        Self(self.0 | Self::of(chars).0)
    }

    /// Whether `byte` is one of them.
    #[inline]
    pub(crate) const fn has(self, byte: u8) -> bool {
        byte < 128 && self.0 >> byte & 1 == 1
    }
}

const ALPHANUM: Set = Set::of(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789");
/// `unreserved` of RFC 3261 §25.1.
pub(crate) const UNRESERVED: Set = ALPHANUM.and(b"-_.!~*'()");
/// `reserved` of RFC 3261 §25.1: a character that differs from its own escape (§19.1.4).
pub(crate) const RESERVED: Set = Set::of(b";/?:@&=+$,");
/// `token` of RFC 3261 §25.1.
pub(crate) const TOKEN: Set = ALPHANUM.and(b"-.!%*_+`'~");
/// `uric`, and the brackets that hold an IPv6 reference: what an absolute URI is made of.
pub(crate) const URIC: Set = UNRESERVED.and(b";/?:@&=+$,[]#");

/// Whether each byte is in `set`, or part of an escape: `%` and two hex digits.
pub(crate) fn all_in(bytes: &[u8], set: Set) -> bool {
    let mut rest = bytes;
    loop {
        match rest {
            [] => return true,
            [b'%', a, b, tail @ ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => {
                rest = tail
            }
            [byte, tail @ ..] if set.has(*byte) && *byte != b'%' => rest = tail,
            [..] => return false,
        }
    }
}

/// A character of a URI as it is compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Char {
    /// The byte that is meant.
    pub(crate) byte: u8,
    /// It stands for data where the bare character would be a delimiter.
    pub(crate) escaped_reserved: bool,
}

impl Char {
    fn lower(self) -> Self {
        Self {
            byte: self.byte.to_ascii_lowercase(),
            ..self
        }
    }
}

/// The characters of a URI component with its escapes undone, once: `%25%34` is `%4`, not a new escape.
#[derive(Clone)]
pub(crate) struct Unescaped<'a>(&'a [u8]);

/// Undoes the escapes of `bytes`. A stray `%` stands for itself.
pub(crate) fn unescape(bytes: &[u8]) -> Unescaped<'_> {
    Unescaped(bytes)
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

impl Iterator for Unescaped<'_> {
    type Item = Char;

    fn next(&mut self) -> Option<Char> {
        if let [b'%', a, b, tail @ ..] = self.0
            && let (Some(high), Some(low)) = (hex(*a), hex(*b))
        {
            self.0 = tail;
            let byte = high << 4 | low;
            return Some(Char {
                byte,
                escaped_reserved: RESERVED.has(byte),
            });
        }
        let (byte, tail) = self.0.split_first()?;
        self.0 = tail;
        Some(Char {
            byte: *byte,
            escaped_reserved: false,
        })
    }
}

/// RFC 3261 §19.1.4: equal after undoing escapes of characters that are not reserved.
pub(crate) fn same(a: &[u8], b: &[u8]) -> bool {
    unescape(a).eq(unescape(b))
}

/// As [`same`], without regard to case.
pub(crate) fn same_nocase(a: &[u8], b: &[u8]) -> bool {
    unescape(a)
        .map(Char::lower)
        .eq(unescape(b).map(Char::lower))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_escape_is_undone_once() {
        let bytes: Vec<u8> = unescape(b"v%61lue%25%34%31").map(|c| c.byte).collect();
        assert_eq!(bytes, b"value%41");
        assert!(!same(b"value%2541", b"valueA"));
    }

    #[test]
    fn a_reserved_character_differs_from_its_escape() {
        assert!(!same(b"a%3Bb", b"a;b"));
        assert!(same(b"a%3bb", b"a%3Bb"));
        assert!(same(b"%61", b"a"));
        assert!(same_nocase(b"%41", b"a"));
        assert!(!same(b"%41", b"a"));
    }

    #[test]
    fn a_stray_percent_is_no_escape() {
        assert!(!all_in(b"a%4", UNRESERVED));
        assert!(!all_in(b"%zz", UNRESERVED));
        assert!(all_in(b"a%4F-", UNRESERVED));
        let bytes: Vec<u8> = unescape(b"%4").map(|c| c.byte).collect();
        assert_eq!(bytes, b"%4");
    }
}
