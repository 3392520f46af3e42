//! Where a message ends on a stream (RFC 3261 §18.3, RFC 5626 §3.5.1).

use super::{
    Error, Name, Rule,
    message::{HEAD_BYTES_MAX, Lines},
    scan::trim,
};
use crate::wire::uri::{TOKEN, number};
use memchr::memmem;

/// The largest body on a stream by default. SDP, lists and reports stay far below; content goes by MSRP.
pub const BODY_BYTES_MAX: usize = 256 * 1024;

/// The bounds of a [`Framer`]: what a peer can make us keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Start line, headers and blank line, in bytes; at most [`HEAD_BYTES_MAX`].
    pub head_bytes: usize,
    /// The body, in bytes.
    pub body_bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            head_bytes: HEAD_BYTES_MAX,
            body_bytes: BODY_BYTES_MAX,
        }
    }
}

/// What stands at the front of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Part of something: call again with the same bytes and more. Nothing is to be taken off.
    More,
    /// A message of `len` bytes, `head_len` of them head: take it off.
    Message {
        /// Start line, headers and blank line.
        head_len: usize,
        /// The whole.
        len: usize,
    },
    /// A keep-alive of `len` bytes: take it off.
    KeepAlive {
        /// CR LF, or twice CR LF.
        len: usize,
        /// It was the double one, which is answered by one CR LF (RFC 5626 §4.4.1).
        ping: bool,
    },
    /// No message can be found from here on: answer what can be answered, then close. Stays so.
    Error(Error),
}

/// Finds the messages of a stream. Any way to cut the stream gives the same frames.
///
/// The caller keeps the bytes: it appends what arrives, calls [`Framer::frame`] with all that it has until that says
/// [`Frame::More`], and takes `len` bytes off the front for each frame. The framer remembers how far it has searched: of a
/// message that arrives in pieces no byte is searched twice, but for the three that may begin a blank line.
#[derive(Clone, Debug, Default)]
pub struct Framer {
    bounds: Bounds,
    /// Of the front message: so many bytes hold no blank line.
    searched: usize,
    /// Lengths of the front message, once its head is known: head, whole.
    found: Option<(usize, usize)>,
    poisoned: Option<Error>,
}

impl Framer {
    /// A framer for a fresh connection.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds: Bounds {
                head_bytes: bounds.head_bytes.min(HEAD_BYTES_MAX),
                ..bounds
            },
            ..Self::default()
        }
    }

    /// What stands at the front of `bytes`.
    pub fn frame(&mut self, bytes: &[u8]) -> Frame {
        if let Some(error) = self.poisoned {
            return Frame::Error(error);
        }
        if self.searched == 0
            && let Some(frame) = keep_alive(bytes)
        {
            return frame;
        }
        match self.lengths(bytes) {
            Ok(Some((head_len, len))) if bytes.len() >= len => {
                self.searched = 0;
                self.found = None;
                Frame::Message { head_len, len }
            }
            Ok(_) => Frame::More,
            Err((rule, at)) => {
                let in_response = bytes
                    .get(..4)
                    .is_some_and(|p| p.eq_ignore_ascii_case(b"SIP/"));
                let error = Error {
                    rule,
                    at,
                    in_response,
                };
                self.poisoned = Some(error);
                Frame::Error(error)
            }
        }
    }

    /// The lengths of the message at the front, `None` as long as its head is not whole.
    fn lengths(&mut self, bytes: &[u8]) -> Result<Option<(usize, usize)>, (Rule, usize)> {
        if self.found.is_some() {
            return Ok(self.found);
        }
        let limit = bytes.len().min(self.bounds.head_bytes);
        let from = self.searched.saturating_sub(3);
        let Some(at) = memmem::find(bytes.get(from..limit).unwrap_or_default(), b"\r\n\r\n") else {
            self.searched = limit;
            if bytes.len() > limit || limit == self.bounds.head_bytes {
                return Err((Rule::HeadTooLarge, limit));
            }
            return Ok(None);
        };
        let head_len = from + at + 4;
        self.searched = head_len;
        let body = content_length(bytes.get(..head_len).unwrap_or_default())?;
        if body > self.bounds.body_bytes {
            return Err((Rule::BodyTooLarge, head_len));
        }
        self.found = Some((head_len, head_len + body));
        Ok(self.found)
    }
}

/// A keep-alive at the front, or what may become one.
fn keep_alive(bytes: &[u8]) -> Option<Frame> {
    match bytes {
        b"" | b"\r" | b"\r\n" | b"\r\n\r" => Some(Frame::More),
        [b'\r', b'\n', b'\r', b'\n', ..] => Some(Frame::KeepAlive { len: 4, ping: true }),
        [b'\r', b'\n', ..] => Some(Frame::KeepAlive {
            len: 2,
            ping: false,
        }),
        [..] => None,
    }
}

/// The one Content-Length of a head.
fn content_length(head: &[u8]) -> Result<usize, (Rule, usize)> {
    let mut broken = None;
    let mut note = |rule: Rule, at: usize| {
        broken.get_or_insert((rule, at));
    };
    let mut lines = Lines::new(head);
    lines.first(&mut note);
    let mut length = None;
    while let Some((from, to)) = lines.next(&mut note) {
        let line = head.get(from..to).unwrap_or_default();
        if !matches!(line.first(), Some(b'C' | b'c' | b'L' | b'l')) {
            continue;
        }
        let name_len = line
            .iter()
            .position(|b| !TOKEN.has(*b))
            .unwrap_or(line.len());
        let (name, rest) = line.split_at_checked(name_len).unwrap_or((line, b""));
        if Name::of(name) != Name::ContentLength {
            continue;
        }
        let blanks = rest
            .iter()
            .take_while(|b| matches!(b, b' ' | b'\t'))
            .count();
        let value = rest
            .get(blanks..)
            .and_then(|r| r.strip_prefix(b":"))
            .and_then(|v| number(trim(v)));
        match value {
            Some(n) if length.is_none() => length = Some(n),
            Some(_) | None => return Err((Rule::ContentLength, from)),
        }
    }
    // A bare CR or LF: another element may see another Content-Length here.
    match broken {
        Some(error) => Err(error),
        None => length.ok_or((Rule::NoContentLength, head.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(bytes: &[u8]) -> Frame {
        Framer::default().frame(bytes)
    }

    fn rule(bytes: &[u8]) -> Rule {
        let Frame::Error(error) = frame(bytes) else {
            panic!("{:?}", frame(bytes))
        };
        error.rule
    }

    #[test]
    fn a_message_ends_with_its_body() {
        let message = b"A sip:b SIP/2.0\r\nl:\r\n 3\r\n\r\nabcX";
        let len = message.len() - 1;
        assert_eq!(
            frame(message),
            Frame::Message {
                head_len: len - 3,
                len
            }
        );
        assert_eq!(frame(&message[..len - 1]), Frame::More);
    }

    #[test]
    fn keep_alives() {
        assert_eq!(frame(b"\r\n\r\n"), Frame::KeepAlive { len: 4, ping: true });
        assert_eq!(
            frame(b"\r\nA"),
            Frame::KeepAlive {
                len: 2,
                ping: false
            }
        );
        assert_eq!(
            frame(b"\r\n\rA"),
            Frame::KeepAlive {
                len: 2,
                ping: false
            }
        );
        for part in [&b""[..], b"\r", b"\r\n", b"\r\n\r"] {
            assert_eq!(frame(part), Frame::More);
        }
    }

    #[test]
    fn a_stream_needs_one_content_length() {
        // RFC 3261 §18.3, RFC 4475 §3.3.9. [SIP-MSG-03]
        assert_eq!(
            rule(b"A sip:b SIP/2.0\r\nVia: x\r\n\r\n"),
            Rule::NoContentLength
        );
        assert_eq!(
            rule(b"A sip:b SIP/2.0\r\nl: 3\r\nContent-Length: 3\r\n\r\n"),
            Rule::ContentLength
        );
        assert_eq!(
            rule(b"A sip:b SIP/2.0\r\nl: -3\r\n\r\n"),
            Rule::ContentLength
        );
        assert_eq!(
            rule(b"A sip:b SIP/2.0\r\nl: 3 4\r\n\r\n"),
            Rule::ContentLength
        );
        assert_eq!(rule(b"A sip:b SIP/2.0\r\nl\r\n\r\n"), Rule::ContentLength);
        assert_eq!(
            rule(b"A sip:b SIP/2.0\r\nl: 99999999999999999999\r\n\r\n"),
            Rule::ContentLength
        );
        assert_eq!(
            rule(b"A sip:b SIP/2.0\r\nX: a\nl: 3\r\nl: 0\r\n\r\n"),
            Rule::LineEnd
        );
        assert_eq!(
            rule(b"A sip:b SIP/2.0\r\nl: 262145\r\n\r\n"),
            Rule::BodyTooLarge
        );
    }

    #[test]
    fn a_head_without_end_is_refused_at_its_bound() {
        let bounds = Bounds {
            head_bytes: 32,
            body_bytes: 8,
        };
        let mut framer = Framer::new(bounds);
        assert_eq!(framer.frame(&[b'a'; 31]), Frame::More);
        assert!(matches!(
            framer.frame(&[b'a'; 32]),
            Frame::Error(Error {
                rule: Rule::HeadTooLarge,
                at: 32,
                ..
            })
        ));
        // It stays closed.
        assert!(matches!(
            framer.frame(b"A sip:b SIP/2.0\r\nl:0\r\n\r\n"),
            Frame::Error(_)
        ));
        let fits = b"A sip:bbbbbbbb SIP/2.0\r\nl:0 \r\n\r\n";
        assert_eq!(fits.len(), 32);
        assert_eq!(
            Framer::new(bounds).frame(fits),
            Frame::Message {
                head_len: 32,
                len: 32
            }
        );
    }
}
