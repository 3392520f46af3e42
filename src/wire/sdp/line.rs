//! The lines of a description: `type=value`, one letter and what follows the equals sign.

/// One line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The letter.
    pub kind: u8,
    /// What follows `=`, without the line's end.
    pub value: &'a [u8],
}

impl<'a> Line<'a> {
    /// If it is an attribute: its name and, behind a colon, its value (RFC 8866 §5.13).
    #[must_use]
    pub fn attribute(&self) -> Option<(&'a [u8], Option<&'a [u8]>)> {
        if self.kind != b'a' {
            return None;
        }
        Some(match self.value.iter().position(|&b| b == b':') {
            Some(colon) => (&self.value[..colon], Some(&self.value[colon + 1..])),
            None => (self.value, None),
        })
    }
}

/// The lines of a part of a description that was checked when the view was made.
#[derive(Clone, Debug)]
pub struct Lines<'a> {
    rest: &'a [u8],
}

impl<'a> Lines<'a> {
    pub(super) const fn new(text: &'a [u8]) -> Self {
        Self { rest: text }
    }

    /// What has not been walked yet.
    pub(super) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next line without its end (CRLF, or LF alone: RFC 8866 §5 asks for both), `None` at the end.
    pub(super) fn next_raw(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let (line, rest) = match memchr::memchr(b'\n', self.rest) {
            Some(lf) => (&self.rest[..lf], &self.rest[lf + 1..]),
            None => (self.rest, &[][..]),
        };
        self.rest = rest;
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = Line<'a>;

    fn next(&mut self) -> Option<Line<'a>> {
        loop {
            if let [kind, b'=', value @ ..] = self.next_raw()? {
                return Some(Line { kind: *kind, value });
            }
        }
    }
}
