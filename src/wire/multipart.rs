//! MIME multipart bodies (RFC 2046 §5.1, RFC 5621): parts found, replaced, written.
//!
//! Views borrow the body. What is not replaced is passed on byte for byte: preamble, headers, padding, epilogue.

#![deny(clippy::indexing_slicing)]

mod decode;
mod write;

use std::borrow::Cow;

use crate::wire::sip::{Disposition, Malformed, MediaType, Name, PartHeaders};
use decode::{Transfer, base64, quoted_printable};
use memchr::memmem;
pub use write::{Writer, choose_boundary};

/// The most parts of a body, those inside a part counted too. Real ones have two to five.
pub const PARTS_MAX: usize = 32;

/// How deep a multipart may stand in a multipart.
pub const DEPTH_MAX: usize = 4;

/// What is wrong with a multipart body; it gets 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The boundary is missing or breaks RFC 2046 §5.1.1: 1 to 70 characters of its set, no space at the end.
    Boundary,
    /// The body has no delimiter line.
    NoPart,
    /// The closing delimiter is missing: the body was cut off.
    NoEnd,
    /// There are more than [`PARTS_MAX`] parts.
    TooManyParts,
    /// A multipart stands deeper than [`DEPTH_MAX`].
    TooDeep,
    /// A header of a part breaks its grammar, or stands twice where two would leave open what the part is.
    Header,
    /// What is to be written holds the boundary, or a header holds a line break.
    Unwritable,
}

/// A multipart body.
#[derive(Clone, Copy, Debug)]
pub struct Multipart<'a> {
    body: &'a [u8],
    boundary: &'a [u8],
    first: Delimiter,
    close: Delimiter,
}

/// A delimiter line: from its two hyphens to behind its CR LF (or the end of the body).
#[derive(Clone, Copy, Debug)]
struct Delimiter {
    from: usize,
    to: usize,
    closing: bool,
}

/// One part.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    raw: &'a [u8],
    head: &'a [u8],
    /// What follows its blank line, up to the CR LF that belongs to the next delimiter.
    pub body: &'a [u8],
}

/// Whether `boundary` may stand in a Content-Type (RFC 2046 §5.1.1).
#[must_use]
pub fn is_boundary(boundary: &[u8]) -> bool {
    (1..=70).contains(&boundary.len())
        && boundary.last() != Some(&b' ')
        && boundary
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(b))
}

impl<'a> Multipart<'a> {
    /// Finds the delimiters of `body`. `boundary` is the parameter of its Content-Type, without quotes.
    ///
    /// # Errors
    /// Any but [`Error::Unwritable`].
    pub fn parse(body: &'a [u8], boundary: &'a [u8]) -> Result<Self, Error> {
        if !is_boundary(boundary) {
            return Err(Error::Boundary);
        }
        let first = delimiter(body, boundary, 0).ok_or(Error::NoPart)?;
        if first.closing {
            return Err(Error::NoPart);
        }
        let mut parts = 0;
        let mut next = first;
        while !next.closing {
            parts += 1;
            if parts > PARTS_MAX {
                return Err(Error::TooManyParts);
            }
            let from = next.to;
            // The CR LF of one delimiter line may begin the next.
            next = delimiter(body, boundary, from.saturating_sub(2)).ok_or(Error::NoEnd)?;
            Part::read(between(body, from, next.from))?;
        }
        Ok(Self {
            body,
            boundary,
            first,
            close: next,
        })
    }

    /// The parts in order.
    pub fn parts(&self) -> impl Iterator<Item = Part<'a>> + use<'a> {
        let Self {
            body,
            boundary,
            mut first,
            ..
        } = *self;
        std::iter::from_fn(move || {
            if first.closing {
                return None;
            }
            let next = delimiter(body, boundary, first.to.saturating_sub(2))?;
            let part = Part::read(between(body, first.to, next.from)).ok();
            first = next;
            part
        })
    }

    /// The first part of this type, also inside a multipart that is a part. [SIP-MSG-07]
    #[must_use]
    pub fn find(&self, kind: &[u8], subtype: &[u8]) -> Option<Part<'a>> {
        self.find_within(kind, subtype, DEPTH_MAX)
    }

    fn find_within(&self, kind: &[u8], subtype: &[u8], depth: usize) -> Option<Part<'a>> {
        for part in self.parts() {
            let media = part.content_type();
            if media.is(kind, subtype) {
                return Some(part);
            }
            // A boundary that needs its quotes undone is not looked into: it would have to be kept somewhere.
            if depth > 1
                && media.is_multipart()
                && let Some(Cow::Borrowed(boundary)) = media.boundary()
                && let Ok(inner) = Multipart::parse(part.body, boundary)
                && let Some(found) = inner.find_within(kind, subtype, depth - 1)
            {
                return Some(found);
            }
        }
        None
    }

    /// Shows `see` each part of `body` in order, also those inside a part that is a multipart: they come behind that one. A body
    /// of which this says `Ok` is read whole.
    ///
    /// # Errors
    /// Any but [`Error::Unwritable`].
    pub fn walk(
        body: &'a [u8],
        boundary: &'a [u8],
        see: &mut dyn FnMut(&Part<'a>),
    ) -> Result<(), Error> {
        walk(body, boundary, DEPTH_MAX, &mut PARTS_MAX.clone(), see)
    }

    /// Appends `body` with other contents in some parts: those that `content` gives for a part, however deep. Headers and all
    /// other contents stay as they are, but for a Content-Length of such a part. What is no part, before the first delimiter and
    /// behind the last, is left out: it is shown to nobody (RFC 2046 §5.1.1). [SIP-MSG-07]
    ///
    /// # Errors
    /// Those of [`Multipart::walk`]; and [`Error::Unwritable`] if a content holds a delimiter. `out` is then of no use.
    pub fn rewrite<'v>(
        body: &'a [u8],
        boundary: &'a [u8],
        content: &dyn Fn(&Part<'a>) -> Option<&'v [u8]>,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        rewrite(body, boundary, DEPTH_MAX, content, out)?;
        out.extend_from_slice(b"\r\n");
        Ok(())
    }

    /// What stands before the first delimiter: no part, and not shown to anyone.
    #[must_use]
    pub fn preamble(&self) -> &'a [u8] {
        self.body.get(..self.first.from).unwrap_or_default()
    }

    /// What stands behind the closing delimiter.
    #[must_use]
    pub fn epilogue(&self) -> &'a [u8] {
        self.body.get(self.close.to..).unwrap_or_default()
    }

    /// Appends the body with the content of `part` (one of its own, however deep) replaced by `content`; everything else
    /// stays as it is, but for a Content-Length of the part itself. [SIP-MSG-07]
    ///
    /// # Errors
    /// [`Error::Unwritable`] if `content` holds the delimiter of this body, or if `part` is not of it.
    pub fn replace(&self, part: &Part<'a>, content: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        if holds_delimiter(content, self.boundary) {
            return Err(Error::Unwritable);
        }
        let base = self.body.as_ptr().addr();
        let span = |slice: &[u8]| {
            let from = slice.as_ptr().addr().checked_sub(base)?;
            (from + slice.len() <= self.body.len()).then_some((from, from + slice.len()))
        };
        let (from, to) = span(part.body).ok_or(Error::Unwritable)?;
        let before = match part.header(Name::ContentLength).and_then(span) {
            None => self.body.get(..from),
            Some((number, number_to)) => {
                out.extend_from_slice(self.body.get(..number).unwrap_or_default());
                out.extend_from_slice(content.len().to_string().as_bytes());
                self.body.get(number_to..from)
            }
        };
        out.extend_from_slice(before.unwrap_or_default());
        out.extend_from_slice(content);
        out.extend_from_slice(self.body.get(to..).unwrap_or_default());
        Ok(())
    }
}

fn walk<'a>(
    body: &'a [u8],
    boundary: &'a [u8],
    depth: usize,
    left: &mut usize,
    see: &mut dyn FnMut(&Part<'a>),
) -> Result<(), Error> {
    let depth = depth.checked_sub(1).ok_or(Error::TooDeep)?;
    for part in Multipart::parse(body, boundary)?.parts() {
        *left = left.checked_sub(1).ok_or(Error::TooManyParts)?;
        see(&part);
        if let Some(inner) = part.boundary()? {
            walk(part.body, inner, depth, left, see)?;
        }
    }
    Ok(())
}

/// Without the line break behind the closing delimiter.
fn rewrite<'a, 'v>(
    body: &'a [u8],
    boundary: &'a [u8],
    depth: usize,
    content: &dyn Fn(&Part<'a>) -> Option<&'v [u8]>,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let depth = depth.checked_sub(1).ok_or(Error::TooDeep)?;
    for part in Multipart::parse(body, boundary)?.parts() {
        for piece in [b"--", boundary, b"\r\n"] {
            out.extend_from_slice(piece);
        }
        if let Some(new) = content(&part) {
            if closes(new, boundary) {
                return Err(Error::Unwritable);
            }
            part.write(new, out);
        } else if let Some(inner) = part.boundary()? {
            let mut new = Vec::with_capacity(part.body.len());
            rewrite(part.body, inner, depth, content, &mut new)?;
            part.write(&new, out);
        } else {
            out.extend_from_slice(part.raw);
        }
        out.extend_from_slice(b"\r\n");
    }
    for piece in [b"--", boundary, b"--"] {
        out.extend_from_slice(piece);
    }
    Ok(())
}

/// The bytes of a part: the CR LF before the next delimiter is that delimiter's.
fn between(body: &[u8], from: usize, next: usize) -> &[u8] {
    body.get(from..next.saturating_sub(2).max(from))
        .unwrap_or_default()
}

/// The next delimiter line at `from` or later: at the start of a line, the boundary, blanks, CR LF.
fn delimiter(body: &[u8], boundary: &[u8], from: usize) -> Option<Delimiter> {
    let mut at = from;
    loop {
        let rest = body.get(at..)?;
        let line = if at == 0 && starts_delimiter(rest, boundary) {
            0
        } else {
            at + memmem::find(rest, b"\r\n--")? + 2
        };
        if let Some(tail) = body.get(line + 2..).and_then(|r| r.strip_prefix(boundary)) {
            let closing = tail.starts_with(b"--");
            let tail = if closing {
                tail.get(2..).unwrap_or_default()
            } else {
                tail
            };
            let blanks = tail
                .iter()
                .take_while(|b| matches!(b, b' ' | b'\t'))
                .count();
            let end = body.len() - tail.len() + blanks;
            match tail.get(blanks..).unwrap_or_default() {
                [b'\r', b'\n', ..] => {
                    return Some(Delimiter {
                        from: line,
                        to: end + 2,
                        closing,
                    });
                }
                [] if closing => {
                    return Some(Delimiter {
                        from: line,
                        to: end,
                        closing,
                    });
                }
                [..] => {}
            }
        }
        at = line + 2;
    }
}

fn starts_delimiter(bytes: &[u8], boundary: &[u8]) -> bool {
    bytes
        .strip_prefix(b"--")
        .is_some_and(|rest| rest.starts_with(boundary))
}

/// Whether a line of `content` begins with the delimiter: it would end the part.
fn holds_delimiter(content: &[u8], boundary: &[u8]) -> bool {
    memmem::find_iter(content, b"--").any(|at| {
        content
            .get(at..)
            .is_some_and(|rest| starts_delimiter(rest, boundary))
    })
}

/// Whether `content` would end its part: a line of it begins with the delimiter.
fn closes(content: &[u8], boundary: &[u8]) -> bool {
    starts_delimiter(content, boundary)
        || memmem::find_iter(content, b"\n--").any(|at| {
            content
                .get(at + 1..)
                .is_some_and(|l| starts_delimiter(l, boundary))
        })
}

impl<'a> Part<'a> {
    fn read(raw: &'a [u8]) -> Result<Self, Error> {
        let (head_len, body) = match raw {
            [b'\r', b'\n', body @ ..] => (0, body),
            _ => match memmem::find(raw, b"\r\n\r\n") {
                Some(at) => (at + 2, raw.get(at + 4..).unwrap_or_default()),
                None => (raw.len(), raw.get(raw.len()..).unwrap_or_default()),
            },
        };
        let head = raw.get(..head_len).unwrap_or_default();
        let part = Self { raw, head, body };
        let twice = |name: Name<'_>| {
            let named = part.headers().filter(|(n, _)| Name::of(n) == name);
            named.count() > 1
        };
        if !PartHeaders::are_valid(head)
            || twice(Name::ContentType)
            || twice(Name::ContentTransferEncoding)
        {
            return Err(Error::Header);
        }
        part.read_type().map_err(|_| Error::Header)?;
        Ok(part)
    }

    /// Its headers in order: name and value as written.
    pub fn headers(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        PartHeaders::new(self.head)
    }

    /// The value of its first header called `name`.
    #[must_use]
    pub fn header(&self, name: Name<'_>) -> Option<&'a [u8]> {
        self.headers()
            .find(|(n, _)| Name::of(n) == name)
            .map(|(_, v)| v)
    }

    fn read_type(&self) -> Result<MediaType<'a>, Malformed> {
        // RFC 2046 §5.1: without a type it is plain text.
        MediaType::parse(self.header(Name::ContentType).unwrap_or(b"text/plain"))
    }

    /// Its Content-Type.
    #[must_use]
    pub fn content_type(&self) -> MediaType<'a> {
        // Checked when it was read; a `Part` has no other maker.
        self.read_type().unwrap_or(MediaType {
            kind: b"text",
            subtype: b"plain",
            params: crate::wire::sip::Params::default(),
        })
    }

    /// The boundary of a part that is a multipart itself.
    ///
    /// # Errors
    /// [`Error::Boundary`] if it has none, or one with needless escapes; [`Error::Header`] if it is encoded, which no multipart
    /// may be (RFC 2045 §6.4).
    pub fn boundary(&self) -> Result<Option<&'a [u8]>, Error> {
        let media = self.content_type();
        if !media.is_multipart() {
            return Ok(None);
        }
        if self.is_encoded() {
            return Err(Error::Header);
        }
        match media.boundary() {
            Some(Cow::Borrowed(boundary)) => Ok(Some(boundary)),
            Some(Cow::Owned(_)) | None => Err(Error::Boundary),
        }
    }

    /// Whether its content is not what it says, but an encoding of it: by Content-Transfer-Encoding or Content-Encoding.
    #[must_use]
    pub fn is_encoded(&self) -> bool {
        self.is_compressed() || !matches!(self.transfer(), Transfer::Plain)
    }

    fn is_compressed(&self) -> bool {
        self.header(Name::ContentEncoding)
            .is_some_and(|e| !e.trim_ascii().eq_ignore_ascii_case(b"identity"))
    }

    fn transfer(&self) -> Transfer {
        self.header(Name::ContentTransferEncoding)
            .map_or(Transfer::Plain, Transfer::of)
    }

    /// Its content, decoded (RFC 2045 §6). `None` where nobody here can.
    #[must_use]
    pub fn decoded(&self) -> Option<Cow<'a, [u8]>> {
        if self.is_compressed() {
            return None;
        }
        match self.transfer() {
            Transfer::Plain => Some(Cow::Borrowed(self.body)),
            Transfer::Base64 => Some(Cow::Owned(base64(self.body))),
            Transfer::QuotedPrintable => Some(Cow::Owned(quoted_printable(self.body))),
            Transfer::Unknown => None,
        }
    }

    /// Appends the part with another content.
    fn write(&self, content: &[u8], out: &mut Vec<u8>) {
        let base = self.head.as_ptr().addr();
        let length = self.header(Name::ContentLength).and_then(|number| {
            let from = number.as_ptr().addr().checked_sub(base)?;
            Some((
                self.head.get(..from)?,
                self.head.get(from + number.len()..)?,
            ))
        });
        match length {
            Some((before, behind)) => {
                out.extend_from_slice(before);
                out.extend_from_slice(content.len().to_string().as_bytes());
                out.extend_from_slice(behind);
            }
            None => out.extend_from_slice(self.head),
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(content);
    }

    /// Its Content-Disposition, if it has one that can be read.
    #[must_use]
    pub fn disposition(&self) -> Option<Disposition<'a>> {
        Disposition::parse(self.header(Name::ContentDisposition)?).ok()
    }

    /// Its Content-ID without angle brackets: what a `cid:` URI names (RFC 2392).
    #[must_use]
    pub fn content_id(&self) -> Option<&'a [u8]> {
        let id = self.header(Name::ContentId)?;
        Some(
            id.strip_prefix(b"<")
                .and_then(|i| i.strip_suffix(b">"))
                .unwrap_or(id),
        )
    }

    /// Headers, blank line and content, as they came.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.raw
    }
}

#[cfg(test)]
mod tests;
