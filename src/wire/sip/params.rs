//! Parameters of a header value: `*( SEMI generic-param )` (RFC 3261 §25.1).

use super::{
    Malformed,
    scan::{Cursor, is_space},
};
use std::borrow::Cow;

/// A parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Param<'a> {
    /// Its name, as written.
    pub name: &'a [u8],
    /// Its value as written, a quoted string with its quotes; `None` if it has none.
    pub value: Option<&'a [u8]>,
}

/// The parameters of a value, checked when they were read, found when they are asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Params<'a>(&'a [u8]);

impl<'a> Params<'a> {
    /// Reads parameters to the end of the value: each begins with a semicolon.
    ///
    /// # Errors
    /// A parameter without name, an equals sign without value, a quoted string without end, anything else left.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(bytes);
        let params = Self::read(&mut cursor)?;
        cursor.end()?;
        Ok(params)
    }

    /// Reads as many parameters as there are.
    pub(super) fn read(cursor: &mut Cursor<'a>) -> Result<Self, Malformed> {
        let from = cursor.at();
        while read_one(cursor)?.is_some() {}
        Ok(Self(cursor.since(from)))
    }

    /// The parameters in order.
    #[must_use]
    pub fn iter(&self) -> Iter<'a> {
        Iter(Cursor::new(self.0))
    }

    /// The first parameter called `name`, in any case.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<Param<'a>> {
        self.iter().find(|p| p.name.eq_ignore_ascii_case(name))
    }

    /// Whether there is a parameter called `name`, with or without value.
    #[must_use]
    pub fn has(&self, name: &[u8]) -> bool {
        self.get(name).is_some()
    }

    /// The value of the first parameter called `name`, as written; `None` too if it has none.
    #[must_use]
    pub fn value(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.get(name)?.value
    }

    /// As [`Params::value`], a quoted string without its quotes and backslashes.
    #[must_use]
    pub fn text(&self, name: &[u8]) -> Option<Cow<'a, [u8]>> {
        self.value(name).map(unquoted)
    }

    /// The value of `name` as a whole number; `None` too if it is none that fits.
    #[must_use]
    pub fn number<T: TryFrom<u64>>(&self, name: &[u8]) -> Option<T> {
        crate::wire::uri::number(self.value(name)?)
    }

    /// All of them as written, from the first semicolon on.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.0
    }
}

/// The parameters of a value in order.
#[derive(Clone)]
pub struct Iter<'a>(Cursor<'a>);

impl<'a> Iterator for Iter<'a> {
    type Item = Param<'a>;

    fn next(&mut self) -> Option<Param<'a>> {
        read_one(&mut self.0).ok().flatten()
    }
}

/// Reads `SEMI name [ EQUAL value ]`, `None` if no semicolon comes. Leaves the cursor behind the parameter, before white
/// space that follows it.
fn read_one<'a>(cursor: &mut Cursor<'a>) -> Result<Option<Param<'a>>, Malformed> {
    let mut ahead = *cursor;
    ahead.space();
    if !ahead.eat(b';') {
        return Ok(None);
    }
    ahead.space();
    let name = ahead.token()?;
    *cursor = ahead;
    ahead.space();
    if !ahead.eat(b'=') {
        return Ok(Some(Param { name, value: None }));
    }
    ahead.space();
    let value = if ahead.peek() == Some(b'"') {
        ahead.quoted()?
    } else {
        // token or host by the grammar; what else devices write bare (base64, slashes) is taken as it is.
        ahead.take(|b| !is_space(b) && !matches!(b, b';' | b',' | b'"' | b'<' | b'>'))
    };
    if value.is_empty() {
        return Err(ahead.bad());
    }
    *cursor = ahead;
    Ok(Some(Param {
        name,
        value: Some(value),
    }))
}

/// A value without quotes and backslashes if it is a quoted string, else as it is; folds become one space.
#[must_use]
pub fn unquoted(value: &[u8]) -> Cow<'_, [u8]> {
    let Some(inner) = value
        .strip_prefix(b"\"")
        .and_then(|v| v.strip_suffix(b"\""))
    else {
        return Cow::Borrowed(value);
    };
    let unfolded = super::unfold(inner);
    if memchr::memchr(b'\\', &unfolded).is_none() {
        return unfolded;
    }
    let mut out = Vec::with_capacity(unfolded.len());
    let mut bytes = unfolded.iter();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'\\' => *bytes.next().unwrap_or(byte),
            plain => *plain,
        });
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_with_and_without_values() {
        let params =
            Params::parse(b" ;  tag    = 1918181833n;\r\n lr ; q=\"a;\\\"b\";Host=[::1]:5")
                .unwrap();
        assert_eq!(params.iter().count(), 4);
        assert_eq!(params.value(b"TAG"), Some(&b"1918181833n"[..]));
        assert!(params.has(b"lr") && params.value(b"lr").is_none());
        assert_eq!(params.text(b"q").as_deref(), Some(&b"a;\"b"[..]));
        assert_eq!(params.value(b"host"), Some(&b"[::1]:5"[..]));
        assert!(!params.has(b"a"));
        assert_eq!(Params::parse(b";a=5").unwrap().number::<u8>(b"a"), Some(5));
        assert_eq!(Params::parse(b";a=500").unwrap().number::<u8>(b"a"), None);
    }

    #[test]
    fn what_is_no_parameter() {
        for bad in [
            &b";"[..],
            b";;a",
            b";a;",
            b";a=",
            b";a=;b",
            b";a=\"x",
            b";a b",
            b"a",
            b";a,",
            b";=x",
            b";a=\"x\"y",
            b";a=<b>",
        ] {
            assert!(Params::parse(bad).is_err(), "{}", bad.escape_ascii());
        }
        assert_eq!(Params::parse(b"").unwrap().iter().count(), 0);
    }

    #[test]
    fn a_quoted_string_is_undone() {
        assert_eq!(unquoted(b"\"\"").as_ref(), b"");
        assert_eq!(unquoted(b"\"a\\\"\\\\b\"").as_ref(), b"a\"\\b");
        assert_eq!(unquoted(b"\"a\r\n b\"").as_ref(), b"a b");
        assert!(matches!(unquoted(b"\"ab\""), Cow::Borrowed(b"ab")));
        assert_eq!(unquoted(b"a\"").as_ref(), b"a\"");
    }
}
