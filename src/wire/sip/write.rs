//! Writing messages: start line, headers, blank line, body, with CR LF and a right Content-Length.

use super::{Method, Name, reason_phrase, unfold};
use crate::wire::uri::TOKEN;
use std::{fmt, io::Write as _};

/// Something that must not be written: it would have become a line of its own, or no header at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a line break or a bad name in what should be one header")
    }
}

impl std::error::Error for Refused {}

/// Appends one message to a buffer. Once anything is refused nothing more is written, and the end takes back what was.
#[derive(Debug)]
#[must_use = "a message ends with `body` or `end`"]
pub struct Writer<'v> {
    out: &'v mut Vec<u8>,
    from: usize,
    refused: bool,
}

impl<'v> Writer<'v> {
    /// Begins a request.
    pub fn request(out: &'v mut Vec<u8>, method: Method<'_>, uri: &[u8]) -> Self {
        let mut writer = Self::begin(out);
        let method = method.as_bytes();
        writer.refused = method.is_empty()
            || uri.is_empty()
            || !method.iter().all(|b| TOKEN.has(*b))
            || uri.iter().any(|b| *b <= b' ');
        writer.put(&[method, b" ", uri, b" SIP/2.0\r\n"]);
        writer
    }

    /// Begins a response; an empty `reason` means the RFC's.
    pub fn status(out: &'v mut Vec<u8>, code: u16, reason: &[u8]) -> Self {
        let mut writer = Self::begin(out);
        let reason = if reason.is_empty() {
            reason_phrase(code).as_bytes()
        } else {
            reason
        };
        writer.refused = !(100..700).contains(&code) || breaks_line(reason);
        if !writer.refused {
            // Writing to a vector does not fail.
            let _ = write!(writer.out, "SIP/2.0 {code} ");
        }
        writer.put(&[reason, b"\r\n"]);
        writer
    }

    fn begin(out: &'v mut Vec<u8>) -> Self {
        let from = out.len();
        Self {
            out,
            from,
            refused: false,
        }
    }

    fn put(&mut self, pieces: &[&[u8]]) {
        if !self.refused {
            pieces.iter().for_each(|p| self.out.extend_from_slice(p));
        }
    }

    /// A header, by its long name. The value may be folded, as [`super::Message`] hands it out: it becomes one line.
    pub fn header(mut self, name: Name<'_>, value: &[u8]) -> Self {
        let name = name.as_bytes();
        let value = unfold(value);
        self.refused |=
            name.is_empty() || !name.iter().all(|b| TOKEN.has(*b)) || breaks_line(&value);
        self.put(&[name, b": ", &value, b"\r\n"]);
        self
    }

    /// A header whose value is formatted: `header_fmt(Name::CSeq, format_args!("{n} BYE"))`.
    pub fn header_fmt(mut self, name: Name<'_>, value: fmt::Arguments<'_>) -> Self {
        let name = name.as_bytes();
        self.refused |= name.is_empty() || !name.iter().all(|b| TOKEN.has(*b));
        self.put(&[name, b": "]);
        if !self.refused {
            let from = self.out.len();
            let _ = self.out.write_fmt(value);
            self.refused = self.out.get(from..).is_none_or(breaks_line);
        }
        self.put(&[b"\r\n"]);
        self
    }

    /// Ends with a body: Content-Type, Content-Length, blank line, the bytes.
    ///
    /// # Errors
    /// Something was refused; the buffer is as before.
    pub fn body(self, content_type: &[u8], bytes: &[u8]) -> Result<(), Refused> {
        self.header(Name::ContentType, content_type).finish(bytes)
    }

    /// Ends without a body.
    ///
    /// # Errors
    /// Something was refused; the buffer is as before.
    pub fn end(self) -> Result<(), Refused> {
        self.finish(b"")
    }

    fn finish(self, bytes: &[u8]) -> Result<(), Refused> {
        let mut writer = self.header_fmt(Name::ContentLength, format_args!("{}", bytes.len()));
        writer.put(&[b"\r\n", bytes]);
        if writer.refused {
            writer.out.truncate(writer.from);
            return Err(Refused);
        }
        Ok(())
    }
}

fn breaks_line(value: &[u8]) -> bool {
    memchr::memchr2(b'\r', b'\n', value).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_and_a_response() {
        let mut out = b"before".to_vec();
        Writer::request(&mut out, Method::Message, b"sip:a@b")
            .header(Name::Via, b"SIP/2.0/UDP h;branch=z9hG4bK1")
            .header(Name::Other(b"X-Foo"), b"one\r\n two")
            .header_fmt(Name::CSeq, format_args!("{} MESSAGE", 7))
            .body(b"text/plain", b"hi\n")
            .unwrap();
        assert_eq!(
            out,
            b"beforeMESSAGE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nX-Foo: one two\r\nCSeq: 7 MESSAGE\r\n\
              Content-Type: text/plain\r\nContent-Length: 3\r\n\r\nhi\n"
        );
        out.clear();
        Writer::status(&mut out, 486, b"").end().unwrap();
        assert_eq!(out, b"SIP/2.0 486 Busy Here\r\nContent-Length: 0\r\n\r\n");
        out.clear();
        Writer::status(&mut out, 400, b"Missing To").end().unwrap();
        assert_eq!(out, b"SIP/2.0 400 Missing To\r\nContent-Length: 0\r\n\r\n");
    }

    #[test]
    fn a_line_break_injects_nothing() {
        let mut out = b"kept".to_vec();
        let mut refused = |write: &dyn Fn(&mut Vec<u8>) -> Result<(), Refused>| {
            assert_eq!(write(&mut out), Err(Refused));
            assert_eq!(out, b"kept");
        };
        for value in [&b"a\r\nX: y"[..], b"a\nb", b"a\rb", b"a\r\n"] {
            refused(&|out| {
                Writer::status(out, 200, b"")
                    .header(Name::Subject, value)
                    .end()
            });
            refused(&|out| Writer::status(out, 200, value).end());
            refused(&|out| Writer::status(out, 200, b"").body(value, b""));
            let text = std::str::from_utf8(value).unwrap();
            refused(&|out| {
                Writer::status(out, 200, b"")
                    .header_fmt(Name::Subject, format_args!("{text}"))
                    .end()
            });
            refused(&|out| Writer::request(out, Method::Bye, value).end());
            refused(&|out| Writer::request(out, Method::Other(value), b"sip:a").end());
            refused(&|out| {
                Writer::status(out, 200, b"")
                    .header(Name::Other(value), b"x")
                    .end()
            });
        }
        refused(&|out| Writer::request(out, Method::Bye, b"sip:a b").end());
        refused(&|out| Writer::request(out, Method::Other(b""), b"sip:a").end());
        refused(&|out| Writer::status(out, 99, b"").end());
        refused(&|out| {
            Writer::status(out, 200, b"")
                .header(Name::Other(b"a:b"), b"x")
                .end()
        });
    }

    #[test]
    fn each_status_has_a_phrase() {
        for (code, phrase) in [
            (199, "Early Dialog Terminated"),
            (202, "Accepted"),
            (422, "Session Interval Too Small"),
            (489, "Bad Event"),
            (494, "Security Agreement Required"),
            (580, "Precondition Failure"),
        ] {
            assert_eq!(reason_phrase(code), phrase);
        }
        assert!((0..=u16::MAX).all(|code| !reason_phrase(code).is_empty()));
    }
}
