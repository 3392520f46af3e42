//! Reading a header value: white space, tokens, quoted strings, lists (RFC 3261 §25.1).

use super::Malformed;
use crate::wire::uri::TOKEN;
use std::borrow::Cow;

/// A place in a header value. A value holds CR and LF only as parts of folds, so they are white space here.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

pub(super) const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// `bytes` without white space at its ends.
pub(super) fn trim(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    while let [first, tail @ ..] = rest
        && is_space(*first)
    {
        rest = tail;
    }
    while let [head @ .., last] = rest
        && is_space(*last)
    {
        rest = head;
    }
    rest
}

impl<'a> Cursor<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) const fn at(&self) -> usize {
        self.at
    }

    pub(super) const fn bad(&self) -> Malformed {
        Malformed { at: self.at }
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// What is left.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// What was read since the place `from`.
    pub(super) fn since(&self, from: usize) -> &'a [u8] {
        self.bytes.get(from..self.at).unwrap_or_default()
    }

    pub(super) fn skip(&mut self, count: usize) {
        self.at = (self.at + count).min(self.bytes.len());
    }

    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    pub(super) fn expect(&mut self, byte: u8) -> Result<(), Malformed> {
        if self.eat(byte) {
            Ok(())
        } else {
            Err(self.bad())
        }
    }

    /// SWS: white space that may be missing. Whether there was any.
    pub(super) fn space(&mut self) -> bool {
        let from = self.at;
        while self.peek().is_some_and(is_space) {
            self.at += 1;
        }
        self.at > from
    }

    /// As many bytes as `fits` accepts.
    pub(super) fn take(&mut self, fits: impl Fn(u8) -> bool) -> &'a [u8] {
        let rest = self.rest();
        let len = rest.iter().position(|b| !fits(*b)).unwrap_or(rest.len());
        self.at += len;
        rest.get(..len).unwrap_or_default()
    }

    /// All up to `byte`, or to the end.
    pub(super) fn until(&mut self, byte: u8) -> &'a [u8] {
        let rest = self.rest();
        let len = memchr::memchr(byte, rest).unwrap_or(rest.len());
        self.at += len;
        rest.get(..len).unwrap_or_default()
    }

    pub(super) fn token(&mut self) -> Result<&'a [u8], Malformed> {
        match self.take(|b| TOKEN.has(b)) {
            b"" => Err(self.bad()),
            token => Ok(token),
        }
    }

    /// A quoted string, with its quotes.
    pub(super) fn quoted(&mut self) -> Result<&'a [u8], Malformed> {
        let from = self.at;
        self.expect(b'"')?;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(self.since(from));
                }
                // The character after a backslash is never CR or LF: a fold may follow, but not be quoted.
                Some(b'\\')
                    if self
                        .bytes
                        .get(self.at + 1)
                        .is_some_and(|b| !matches!(b, b'\r' | b'\n')) =>
                {
                    self.at += 2
                }
                Some(b'\\') | None => return Err(Malformed { at: from }),
                Some(_) => self.at += 1,
            }
        }
    }

    /// A whole number.
    pub(super) fn number<T: TryFrom<u64>>(&mut self) -> Result<T, Malformed> {
        let from = self.bad();
        crate::wire::uri::number(self.take(|b| b.is_ascii_digit())).ok_or(from)
    }

    /// Nothing but white space is left.
    pub(super) fn end(&mut self) -> Result<(), Malformed> {
        self.space();
        if self.at == self.bytes.len() {
            Ok(())
        } else {
            Err(self.bad())
        }
    }
}

/// The values of a list: cut at commas that stand neither in a quoted string nor in angle brackets, trimmed. An empty list
/// has none; an empty value between commas is handed out, for its reader to refuse.
#[derive(Clone)]
pub(super) struct List<'a> {
    rest: Option<&'a [u8]>,
    whole: bool,
}

impl<'a> List<'a> {
    pub(super) fn new(value: &'a [u8]) -> Self {
        Self {
            rest: (!trim(value).is_empty()).then_some(value),
            whole: false,
        }
    }

    /// One value, whatever commas it holds.
    pub(super) fn whole(value: &'a [u8]) -> Self {
        Self {
            rest: Some(value),
            whole: true,
        }
    }
}

impl<'a> Iterator for List<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest?;
        if self.whole {
            self.rest = None;
            return Some(trim(rest));
        }
        let comma = comma(rest);
        self.rest = comma.and_then(|at| rest.get(at + 1..));
        Some(trim(
            rest.get(..comma.unwrap_or(rest.len())).unwrap_or_default(),
        ))
    }
}

/// Where the first comma that divides stands.
fn comma(list: &[u8]) -> Option<usize> {
    // Most lines hold one value and no comma; of the others, most first values neither a quote nor a bracket.
    let first = memchr::memchr(b',', list)?;
    if memchr::memchr2(b'"', b'<', list.get(..first)?).is_none() {
        return Some(first);
    }
    let (mut quoted, mut angled, mut escaped) = (false, false, false);
    list.iter().position(|b| {
        match b {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' if !angled => quoted = !quoted,
            b'<' if !quoted => angled = true,
            b'>' if !quoted => angled = false,
            b',' => return !quoted && !angled,
            _ => {}
        }
        false
    })
}

/// The tokens of a list such as Require or Allow. Empty places and words that are no token are passed over.
#[derive(Clone)]
pub struct Tokens<'a>(pub(super) List<'a>);

impl<'a> Iterator for Tokens<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.0
            .find(|t| !t.is_empty() && t.iter().all(|b| TOKEN.has(*b)))
    }
}

/// `value` with each fold (CR LF and white space) replaced by one space (RFC 3261 §7.3.1); copied only if there is one.
#[must_use]
pub fn unfold(value: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'\n', value).is_none() {
        return Cow::Borrowed(value);
    }
    let mut out: Vec<u8> = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = memchr::memmem::find(rest, b"\r\n") {
        let (before, after) = rest.split_at_checked(at).unwrap_or((rest, b""));
        let next = after.get(2..).unwrap_or_default();
        out.extend_from_slice(before);
        if matches!(next.first(), Some(b' ' | b'\t')) {
            while out.last().is_some_and(|b| is_space(*b)) {
                out.pop();
            }
            out.push(b' ');
            let text = next
                .iter()
                .position(|b| !matches!(b, b' ' | b'\t'))
                .unwrap_or(next.len());
            rest = next.get(text..).unwrap_or_default();
        } else {
            // No fold: kept, for a writer to refuse.
            out.extend_from_slice(b"\r\n");
            rest = next;
        }
    }
    out.extend_from_slice(rest);
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(value: &str) -> Vec<&str> {
        List::new(value.as_bytes())
            .map(|v| std::str::from_utf8(v).unwrap())
            .collect()
    }

    #[test]
    fn a_list_is_cut_at_its_own_commas() {
        assert_eq!(list("a, b ,c"), ["a", "b", "c"]);
        assert_eq!(
            list(r#""a,\",b" <sip:x,y@h>;q="1,2", <sip:z>"#),
            [r#""a,\",b" <sip:x,y@h>;q="1,2""#, "<sip:z>"]
        );
        assert_eq!(list(r#"<sip:a"b>,c"#), [r#"<sip:a"b>"#, "c"]);
        assert_eq!(list("a,,b,"), ["a", "", "b", ""]);
        assert_eq!(list(" \t"), [""; 0]);
        assert_eq!(list("a\r\n ,\r\n b"), ["a", "b"]);
        assert_eq!(list("\"a,b"), ["\"a,b"]);
    }

    /// All short lists of what matters, against the rule byte by byte.
    #[test]
    fn the_short_way_to_a_comma_finds_the_same_one() {
        let plain = |list: &[u8]| {
            let (mut quoted, mut angled, mut escaped) = (false, false, false);
            for (at, b) in list.iter().enumerate() {
                match b {
                    _ if escaped => escaped = false,
                    b'\\' => escaped = quoted,
                    b'"' => quoted ^= !angled,
                    b'<' | b'>' => angled = if quoted { angled } else { *b == b'<' },
                    b',' if !quoted && !angled => return Some(at),
                    _ => {}
                }
            }
            None
        };
        let letters = b"a,\"<>\\";
        for n in 0..6_usize.pow(6) {
            let list: Vec<u8> = (0..6).map(|i| letters[n / 6_usize.pow(i) % 6]).collect();
            assert_eq!(comma(&list), plain(&list), "{}", list.escape_ascii());
        }
    }

    #[test]
    fn a_fold_is_one_space() {
        assert!(matches!(unfold(b"a b"), Cow::Borrowed(_)));
        assert_eq!(unfold(b"a \r\n\t b\r\n c").as_ref(), b"a b c");
        assert_eq!(unfold(b"a\r\n ").as_ref(), b"a ");
        assert_eq!(unfold(b"a\r\n \r\n b").as_ref(), b"a b");
        assert_eq!(unfold(b"a\r\nb: c").as_ref(), b"a\r\nb: c");
    }

    #[test]
    fn a_quoted_string_ends_at_its_quote() {
        let mut c = Cursor::new(br#""a\"\\" b"#);
        assert_eq!(c.quoted(), Ok(&br#""a\"\\""#[..]));
        assert_eq!(c.rest(), b" b");
        for bad in [&b"\"a"[..], b"\"a\\", b"\"a\\\r\n \"", b"a\""] {
            assert!(Cursor::new(bad).quoted().is_err());
        }
    }
}
