//! The encodings of a part's content: Content-Transfer-Encoding (RFC 2045 §6). Bytes in, bytes out; nothing is refused.

/// Content-Transfer-Encoding (RFC 2045 §6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transfer {
    Plain,
    Base64,
    QuotedPrintable,
    Unknown,
}

impl Transfer {
    pub(super) fn of(value: &[u8]) -> Self {
        let value = value.trim_ascii();
        let is = |name: &[u8]| value.eq_ignore_ascii_case(name);
        if is(b"7bit") || is(b"8bit") || is(b"binary") {
            Self::Plain
        } else if is(b"base64") {
            Self::Base64
        } else if is(b"quoted-printable") {
            Self::QuotedPrintable
        } else {
            Self::Unknown
        }
    }
}

/// What is none of its characters is passed over (RFC 2045 §6.8).
pub(super) fn base64(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut have) = (0u32, 0);
    for b in text {
        let six = match b {
            b'A'..=b'Z' => b - b'A',
            b'a'..=b'z' => b - b'a' + 26,
            b'0'..=b'9' => b - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => continue,
        };
        bits = bits << 6 | u32::from(six);
        have += 6;
        if have >= 8 {
            have -= 8;
            out.push(bits.wrapping_shr(have).to_le_bytes()[0]);
        }
    }
    out
}

/// RFC 2045 §6.7.
pub(super) fn quoted_printable(text: &[u8]) -> Vec<u8> {
    let digit = |b: &u8| {
        char::from(*b)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
    };
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'=' {
            out.push(*first);
            continue;
        }
        match tail {
            [b'\r', b'\n', tail @ ..] | [b'\n', tail @ ..] => rest = tail,
            [h, l, tail @ ..] => {
                if let (Some(h), Some(l)) = (digit(h), digit(l)) {
                    out.push(h << 4 | l);
                    rest = tail;
                } else {
                    out.push(b'=');
                }
            }
            [_] | [] => out.push(b'='),
        }
    }
    out
}
