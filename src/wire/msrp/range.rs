//! Byte-Range (RFC 4975 §7.1.1): where a chunk lies in its message.

/// The value of a Byte-Range header: `start "-" end "/" total`, bytes counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ByteRange {
    /// Position of the first byte of the chunk in the message; 1 for the first.
    pub start: u64,
    /// Position of the last byte; `None` for `*` (unknown, or the chunk may be interrupted).
    pub end: Option<u64>,
    /// Bytes of the whole message; `None` for `*`.
    pub total: Option<u64>,
}

impl ByteRange {
    /// What a request without Byte-Range means: the message from its first byte on, of unknown size.
    pub const WHOLE: Self = Self {
        start: 1,
        end: None,
        total: None,
    };

    /// Reads a header value. `None` if it is no Byte-Range, or one that cannot be: start 0, end above total, end below
    /// start − 1, start beyond total + 1, or a number beyond 64 bits. Never leniency (settled.md 9).
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (start, rest) = number(value)?;
        let rest = rest.strip_prefix(b"-")?;
        let (end, rest) = number_or_star(rest)?;
        let rest = rest.strip_prefix(b"/")?;
        let (total, rest) = number_or_star(rest)?;
        let range = Self { start, end, total };
        (rest.is_empty() && range.is_possible()).then_some(range)
    }

    fn is_possible(self) -> bool {
        let Some(before) = self.start.checked_sub(1) else {
            return false;
        };
        self.end.is_none_or(|end| end >= before)
            && self
                .total
                .is_none_or(|total| before <= total && self.end.is_none_or(|end| end <= total))
    }

    /// Bytes that the chunk is said to have; `None` if that is open.
    #[must_use]
    pub fn len(self) -> Option<u64> {
        self.end.map(|end| end + 1 - self.start)
    }

    /// Whether the range says that the chunk has no bytes (`1-0/0`, `101-100/300`): right for an empty body alone.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len() == Some(0)
    }

    /// Whether a body of `bytes` bytes may stand under this range: not more than its end and its total leave room for, and
    /// none at all where it says that there is none. Less is right (RFC 4975 §7.3.1: the body itself says its length).
    #[must_use]
    pub fn has_room_for(self, bytes: u64) -> bool {
        let Some(last) = (self.start - 1).checked_add(bytes) else {
            return false;
        };
        self.end.is_none_or(|end| last <= end) && self.total.is_none_or(|total| last <= total)
    }
}

fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (mut n, mut rest) = (0u64, bytes);
    while let [digit @ b'0'..=b'9', after @ ..] = rest {
        n = n.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
        rest = after;
    }
    // One below the greatest number, so that "the byte behind the end" is a number too.
    (rest.len() < bytes.len() && n < u64::MAX).then_some((n, rest))
}

fn number_or_star(bytes: &[u8]) -> Option<(Option<u64>, &[u8])> {
    match bytes {
        [b'*', rest @ ..] => Some((None, rest)),
        _ => number(bytes).map(|(n, rest)| (Some(n), rest)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn range(start: u64, end: Option<u64>, total: Option<u64>) -> Option<ByteRange> {
        Some(ByteRange { start, end, total })
    }

    #[test]
    fn ranges_that_can_be() {
        for (text, want) in [
            ("1-25/25", range(1, Some(25), Some(25))),
            ("1-*/*", range(1, None, None)),
            ("1-*/300", range(1, None, Some(300))),
            ("101-200/*", range(101, Some(200), None)),
            ("1-0/0", range(1, Some(0), Some(0))),
            ("101-100/300", range(101, Some(100), Some(300))),
            ("301-300/300", range(301, Some(300), Some(300))),
            ("301-*/300", range(301, None, Some(300))),
            ("001-05/5", range(1, Some(5), Some(5))),
            (
                "1-18446744073709551614/*",
                range(1, Some(u64::MAX - 1), None),
            ),
        ] {
            assert_eq!(ByteRange::parse(text.as_bytes()), want, "{text}");
        }
    }

    #[test]
    fn ranges_that_cannot_be() {
        for text in [
            "",
            "-",
            "1",
            "1-",
            "1-2",
            "1-2/",
            "1-2/2 ",
            " 1-2/2",
            "1 -2/2",
            "1-2/2/2",
            "*-2/2",
            "0-0/0",
            "0-*/*",
            "1-26/25",
            "3-1/9",
            "101-99/300",
            "302-*/300",
            "2-1/0",
            "-1-2/3",
            "+1-2/3",
            "1-**/3",
            "1-*/**",
            "1-2/18446744073709551616",
            "18446744073709551615-*/*",
            "1-x/3",
            "0x1-2/3",
            "1\u{2212}2/3",
        ] {
            assert_eq!(ByteRange::parse(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn room_for_a_body() {
        let room =
            |text: &str, n| ByteRange::parse(text.as_bytes()).is_some_and(|r| r.has_room_for(n));
        assert!(room("1-0/0", 0) && !room("1-0/0", 1));
        assert!(room("101-100/300", 0) && !room("101-100/300", 1));
        assert!(room("1-*/300", 300) && !room("1-*/300", 301));
        assert!(room("101-*/300", 200) && !room("101-*/300", 201));
        assert!(room("1-10/*", 4) && room("1-10/*", 10) && !room("1-10/*", 11));
        assert!(room("1-*/*", u64::MAX) && !room("2-*/*", u64::MAX));
    }
}
