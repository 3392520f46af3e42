//! Writing a description: own lines, and lines of another copied as they are.
//!
//! The order of RFC 8866 §9 is the caller's to keep. Every line that is written ends in CRLF.

use super::{
    line::{Line, Lines},
    msrp::Setup,
    session::Origin,
};
use crate::wire::msrp::write::decimal;

/// Appends lines to a byte vector.
#[derive(Debug)]
pub struct Writer<'v> {
    out: &'v mut Vec<u8>,
}

impl<'v> Writer<'v> {
    /// Begins a description: `v=0`.
    pub fn new(out: &'v mut Vec<u8>) -> Self {
        let mut writer = Self { out };
        writer.line(b'v', b"0");
        writer
    }

    /// Goes on in a description that was begun.
    pub const fn resume(out: &'v mut Vec<u8>) -> Self {
        Self { out }
    }

    /// Any line. The value has no CR and no LF: it comes from a view, or is of our own making.
    pub fn line(&mut self, kind: u8, value: &[u8]) -> &mut Self {
        debug_assert!(!value.iter().any(|b| matches!(b, b'\r' | b'\n')));
        self.parts(kind, &[value])
    }

    /// The o= line.
    pub fn origin(&mut self, origin: &Origin<'_>) -> &mut Self {
        let Origin {
            username,
            session_id,
            version,
            nettype,
            addrtype,
            address,
        } = *origin;
        self.words(
            b'o',
            &[username, session_id, version, nettype, addrtype, address],
        )
    }

    /// A c= line for `IN`, with the address type that `address` (numeric, without brackets) has.
    pub fn connection(&mut self, address: &[u8]) -> &mut Self {
        let kind: &[u8] = if address.contains(&b':') {
            b"IP6"
        } else {
            b"IP4"
        };
        self.words(b'c', &[b"IN", kind, address])
    }

    /// `t=0 0`: a session without bounds in time.
    pub fn time(&mut self) -> &mut Self {
        self.line(b't', b"0 0")
    }

    /// An m= line.
    pub fn media(&mut self, kind: &[u8], port: u16, proto: &[u8], formats: &[u8]) -> &mut Self {
        self.out.extend_from_slice(b"m=");
        self.out.extend_from_slice(kind);
        self.out.push(b' ');
        decimal(self.out, u64::from(port));
        for part in [b" ", proto, b" ", formats, b"\r\n"] {
            self.out.extend_from_slice(part);
        }
        self
    }

    /// An attribute with a value.
    pub fn attribute(&mut self, name: &str, value: &[u8]) -> &mut Self {
        self.parts(b'a', &[name.as_bytes(), b":", value])
    }

    /// An attribute without a value.
    pub fn flag(&mut self, name: &str) -> &mut Self {
        self.line(b'a', name.as_bytes())
    }

    /// `a=setup`. `[COMEDIA-01]`
    pub fn setup(&mut self, setup: Setup) -> &mut Self {
        self.attribute("setup", setup.as_str().as_bytes())
    }

    /// `a=max-size`, in bytes.
    pub fn max_size(&mut self, bytes: u64) -> &mut Self {
        self.out.extend_from_slice(b"a=max-size:");
        decimal(self.out, bytes);
        self.out.extend_from_slice(b"\r\n");
        self
    }

    /// Copies, value byte by byte and in order, the lines for which `keep` is true.
    pub fn copy<'a>(
        &mut self,
        lines: Lines<'a>,
        mut keep: impl FnMut(&Line<'a>) -> bool,
    ) -> &mut Self {
        for line in lines.filter(|line| keep(line)) {
            self.line(line.kind, line.value);
        }
        self
    }

    /// Copies all lines of a media section but its m= and c= lines and the attributes named in `except`.
    pub fn copy_media_except(&mut self, lines: Lines<'_>, except: &[&str]) -> &mut Self {
        self.copy(lines, |line| match line.attribute() {
            Some((name, _)) => !except.iter().any(|e| e.as_bytes() == name),
            None => !matches!(line.kind, b'm' | b'c'),
        })
    }

    fn words(&mut self, kind: u8, words: &[&[u8]]) -> &mut Self {
        self.out.extend_from_slice(&[kind, b'=']);
        for (i, word) in words.iter().enumerate() {
            if i > 0 {
                self.out.push(b' ');
            }
            self.out.extend_from_slice(word);
        }
        self.out.extend_from_slice(b"\r\n");
        self
    }

    fn parts(&mut self, kind: u8, parts: &[&[u8]]) -> &mut Self {
        self.out.extend_from_slice(&[kind, b'=']);
        for part in parts {
            self.out.extend_from_slice(part);
        }
        self.out.extend_from_slice(b"\r\n");
        self
    }
}
