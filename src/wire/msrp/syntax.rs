//! The character classes of RFC 4975 §9, one table look-up a byte.

/// `ident-char`: ALPHANUM / "." / "-" / "+" / "%" / "=".
pub(super) const IDENT: u8 = 1;
/// A character of `token`.
pub(super) const TOKEN: u8 = 2;
/// ALPHA / DIGIT.
pub(super) const ALNUM: u8 = 4;
/// `UPALPHA`.
pub(super) const UPPER: u8 = 8;

const CLASS: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0u8; 256];
    let mut b = 0u8;
    while b < 128 {
        let mut class = 0;
        if b.is_ascii_alphanumeric() {
            class |= ALNUM | IDENT;
        }
        if matches!(b, b'.' | b'-' | b'+' | b'%' | b'=') {
            class |= IDENT;
        }
        if matches!(b, 0x21 | 0x23..=0x27 | 0x2a | 0x2b | 0x2d | 0x2e | 0x30..=0x39 | 0x41..=0x5a | 0x5e..=0x7e)
        {
            class |= TOKEN;
        }
        if b.is_ascii_uppercase() {
            class |= UPPER;
        }
        table[b as usize] = class;
        b += 1;
    }
    table
}

/// Whether `b` belongs to any class of `mask`.
pub(super) fn is(b: u8, mask: u8) -> bool {
    CLASS[usize::from(b)] & mask != 0
}

/// Whether each of `bytes` belongs to the class `mask`. They are few: no way out in the middle, which is quicker.
fn all(bytes: &[u8], mask: u8) -> bool {
    bytes.iter().fold(mask, |m, &b| m & CLASS[usize::from(b)]) != 0
}

/// Length of the longest prefix of `bytes` of which each byte belongs to `mask`.
pub(super) fn run(bytes: &[u8], mask: u8) -> usize {
    bytes
        .iter()
        .position(|&b| !is(b, mask))
        .unwrap_or(bytes.len())
}

/// Whether `bytes` is an `ident`: ALPHANUM and 3 to 31 ident-chars more (transaction ids and Message-IDs).
#[must_use]
pub fn is_ident(bytes: &[u8]) -> bool {
    matches!(bytes, [first, ..] if is(*first, ALNUM))
        && (4..=32).contains(&bytes.len())
        && all(bytes, IDENT)
}

/// Whether `bytes` is a `token`: at least one character, none of the separators.
#[must_use]
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && all(bytes, TOKEN)
}

/// Whether `b` is a continuation flag: `$` (the message is complete), `+` (to be continued), `#` (aborted).
pub(super) fn is_flag(b: u8) -> bool {
    matches!(b, b'$' | b'+' | b'#')
}

/// The number that three digits at the start of `bytes` make.
pub(super) fn three_digits(bytes: &[u8]) -> Option<u16> {
    let [a, b, c, ..] = bytes else { return None };
    let digit = |d: &u8| d.is_ascii_digit().then(|| u16::from(d - b'0'));
    Some(digit(a)? * 100 + digit(b)? * 10 + digit(c)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ident_is_4_to_32_characters_and_starts_alphanumeric() {
        for good in [&b"abcd"[..], b"a786hjs2", b"0+-%", b"a=.=", &[b'a'; 32]] {
            assert!(is_ident(good), "{good:?}");
        }
        for bad in [
            &b""[..],
            b"abc",
            b"-abc",
            b"+abcd",
            b"ab cd",
            b"ab_cd",
            b"ab\x80cd",
            &[b'a'; 33],
        ] {
            assert!(!is_ident(bad), "{bad:?}");
        }
    }

    #[test]
    fn token_excludes_separators_and_controls() {
        for b in 0..=255u8 {
            let excluded = b <= b' ' || b >= 0x7f || b"\"(),/:;<=>?@[\\]".contains(&b);
            assert_eq!(is_token(&[b]), !excluded, "{b:#x}");
        }
    }
}
