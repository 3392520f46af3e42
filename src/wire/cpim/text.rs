//! The escapes of header values (RFC 3862 §2.3). `[CPIM-04]`

use std::borrow::Cow;

/// A header value with its escapes undone. What is no UTF-8 becomes U+FFFD; an unknown escape stands for the character
/// behind the backslash; a backslash at the end is dropped.
#[must_use]
pub fn unescape(value: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(value);
    if !text.contains('\\') {
        return text;
    }
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars();
    let mut units: Vec<u16> = Vec::new();
    while let Some(c) = rest.next() {
        if c == '\\' {
            // Escapes are of UCS-2 characters, so one beyond the first 65,536 is written as two in a row.
            if let Some((unit, after)) = code_unit(rest.as_str()) {
                units.push(unit);
                rest = after.chars();
                continue;
            }
        }
        flush(&mut units, &mut plain);
        match c {
            '\\' => match rest.next() {
                Some('b') => plain.push('\u{8}'),
                Some('t') => plain.push('\t'),
                Some('n') => plain.push('\n'),
                Some('r') => plain.push('\r'),
                Some(other) => plain.push(other),
                None => {}
            },
            c => plain.push(c),
        }
    }
    flush(&mut units, &mut plain);
    Cow::Owned(plain)
}

/// `uXXXX` at the start of `text`: the code unit, and what follows.
fn code_unit(text: &str) -> Option<(u16, &str)> {
    let digits = text.strip_prefix('u')?.get(..4)?;
    let hex = digits.bytes().all(|b| b.is_ascii_hexdigit());
    let unit = u16::from_str_radix(digits, 16).ok()?;
    hex.then_some((unit, &text[5..]))
}

fn flush(units: &mut Vec<u16>, plain: &mut String) {
    plain.extend(
        char::decode_utf16(units.drain(..)).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)),
    );
}

/// A header value as it is written: control characters, backslashes and double quotes escaped.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut value = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => value.push_str("\\\\"),
            '"' => value.push_str("\\\""),
            '\u{8}' => value.push_str("\\b"),
            '\t' => value.push_str("\\t"),
            '\n' => value.push_str("\\n"),
            '\r' => value.push_str("\\r"),
            c if c < ' ' || c == '\u{7f}' => {
                value.push_str("\\u00");
                for digit in [u32::from(c) >> 4, u32::from(c) & 15] {
                    value.extend(char::from_digit(digit, 16));
                }
            }
            c => value.push(c),
        }
    }
    value
}
