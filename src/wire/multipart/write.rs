//! Writing a multipart body.

use memchr::memmem;

use super::{Error, Part, holds_delimiter, is_boundary};
use crate::wire::sip::Name;

/// A boundary that stands in none of `contents`, of the letters and digits of `seed`: unguessable if that is.
#[must_use]
pub fn choose_boundary(seed: u64, contents: &[&[u8]]) -> String {
    let mut seed = seed;
    loop {
        let boundary = format!("ringfork-{seed:016x}");
        // Contents are finite, so some count is in none of them.
        if !contents
            .iter()
            .any(|c| memmem::find(c, boundary.as_bytes()).is_some())
        {
            return boundary;
        }
        seed = seed.wrapping_add(1);
    }
}

/// Writes a multipart body.
#[derive(Debug)]
#[must_use = "the body ends with `end`"]
pub struct Writer<'v> {
    out: &'v mut Vec<u8>,
    from: usize,
    boundary: &'v [u8],
    refused: bool,
}

impl<'v> Writer<'v> {
    /// Begins a body at the end of `out`.
    pub fn new(out: &'v mut Vec<u8>, boundary: &'v [u8]) -> Self {
        Self {
            from: out.len(),
            refused: !is_boundary(boundary),
            out,
            boundary,
        }
    }

    /// A part with these headers.
    pub fn part(mut self, headers: &[(Name<'_>, &[u8])], content: &[u8]) -> Self {
        self.refused |= holds_delimiter(content, self.boundary);
        self.delimiter();
        for (name, value) in headers {
            self.refused |= memchr::memchr2(b'\r', b'\n', value).is_some();
            for piece in [name.as_bytes(), b": ", value, b"\r\n"] {
                self.out.extend_from_slice(piece);
            }
        }
        self.out.extend_from_slice(b"\r\n");
        self.out.extend_from_slice(content);
        self.out.extend_from_slice(b"\r\n");
        self
    }

    /// A part of another body, as it came.
    pub fn copy(mut self, part: &Part<'_>) -> Self {
        self.refused |= holds_delimiter(part.raw, self.boundary);
        self.delimiter();
        self.out.extend_from_slice(part.raw);
        self.out.extend_from_slice(b"\r\n");
        self
    }

    fn delimiter(&mut self) {
        self.out.extend_from_slice(b"--");
        self.out.extend_from_slice(self.boundary);
        self.out.extend_from_slice(b"\r\n");
    }

    /// The closing delimiter.
    ///
    /// # Errors
    /// [`Error::Unwritable`] if a content holds the delimiter, a header a line break, or the boundary is none; the buffer is
    /// as before.
    pub fn end(self) -> Result<(), Error> {
        if self.refused {
            self.out.truncate(self.from);
            return Err(Error::Unwritable);
        }
        self.out.extend_from_slice(b"--");
        self.out.extend_from_slice(self.boundary);
        self.out.extend_from_slice(b"--\r\n");
        Ok(())
    }
}
