//! One SIP stream connection: bytes in, whole messages out, keep-alives answered. [SIP-MSG-03]
//!
//! The law: what a peer can make us keep is bounded (one message of [`Bounds`]); where the stream can no longer be framed it is
//! closed, and only it.

use crate::wire::sip::{Bounds, Error, Frame, Framer};

/// The state of one connection. Feed it with [`Stream::push`], then take [`Stream::poll`] until it says [`Item::More`].
#[derive(Debug, Default)]
pub struct Stream {
    framer: Framer,
    buffer: Vec<u8>,
    /// Bytes at the front of `buffer` that are done with.
    taken: usize,
    closed: bool,
}

/// What a connection yields.
#[derive(Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// Nothing more for now.
    More,
    /// A whole message, for [`Endpoint::handle_message`](super::Endpoint::handle_message).
    Message(&'a [u8]),
    /// Answer a keep-alive by these bytes (RFC 5626 §4.4.1).
    Pong(&'static [u8]),
    /// It cannot be framed from here on. Hand it to [`Endpoint::handle_malformed`](super::Endpoint::handle_malformed), which
    /// answers what can be answered, then close the connection. Said once; then [`Item::More`] for ever.
    Broken {
        /// Which rule.
        error: Error,
        /// What there was of the message.
        bytes: &'a [u8],
    },
}

impl Stream {
    /// A fresh connection.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self {
            framer: Framer::new(bounds),
            ..Self::default()
        }
    }

    /// Takes bytes that arrived. After [`Item::Broken`] they are dropped.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.closed {
            return;
        }
        if self.taken > 0 {
            self.buffer.drain(..self.taken);
            self.taken = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next item. What it lends lives until the next call.
    pub fn poll(&mut self) -> Item<'_> {
        loop {
            if self.closed {
                return Item::More;
            }
            let rest = self.buffer.get(self.taken..).unwrap_or_default();
            match self.framer.frame(rest) {
                Frame::More => {
                    if rest.is_empty() {
                        // An idle connection holds no memory.
                        self.buffer = Vec::new();
                        self.taken = 0;
                    }
                    return Item::More;
                }
                Frame::KeepAlive { len, ping } => {
                    self.taken += len;
                    if ping {
                        return Item::Pong(b"\r\n");
                    }
                }
                Frame::Message { len, .. } => {
                    let from = self.taken;
                    self.taken += len;
                    return Item::Message(self.buffer.get(from..self.taken).unwrap_or_default());
                }
                Frame::Error(error) => {
                    self.closed = true;
                    let bytes = self.buffer.get(self.taken..).unwrap_or_default();
                    return Item::Broken { error, bytes };
                }
            }
        }
    }

    /// Bytes that are kept.
    #[must_use]
    pub fn held(&self) -> usize {
        self.buffer.len() - self.taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &[u8] = b"\r\n\r\nOPTIONS sip:a SIP/2.0\r\nContent-Length: 3\r\n\r\nabc\r\nBYE sip:b SIP/2.0\r\nl: 0\r\n\r\n";

    fn drain(stream: &mut Stream) -> Vec<String> {
        let mut out = Vec::new();
        loop {
            out.push(match stream.poll() {
                Item::More => return out,
                Item::Message(m) => String::from_utf8_lossy(&m[..3]).into_owned(),
                Item::Pong(p) => p.escape_ascii().to_string(),
                Item::Broken { error, .. } => error.to_string(),
            });
        }
    }

    /// [SIP-MSG-03] pipelined requests, cut at every place; a double CRLF is answered, a single one is not.
    #[test]
    fn any_cut_gives_the_same() {
        for cut in 0..=TWO.len() {
            let mut stream = Stream::default();
            stream.push(&TWO[..cut]);
            let mut seen = drain(&mut stream);
            stream.push(&TWO[cut..]);
            seen.extend(drain(&mut stream));
            assert_eq!(seen, ["\\r\\n", "OPT", "BYE"], "cut at {cut}");
            assert_eq!(stream.held(), 0);
        }
        let mut stream = Stream::default();
        let mut seen = Vec::new();
        for byte in TWO {
            stream.push(&[*byte]);
            seen.extend(drain(&mut stream));
        }
        assert_eq!(seen, ["\\r\\n", "OPT", "BYE"]);
    }

    /// [SIP-MSG-03] no Content-Length: nothing after it can be framed; what comes is dropped and nothing is kept of it.
    #[test]
    fn what_cannot_be_framed_ends_the_connection() {
        let mut stream = Stream::default();
        stream.push(b"OPTIONS sip:a SIP/2.0\r\nVia: x\r\n\r\n");
        assert_eq!(drain(&mut stream), ["Missing Content-Length"]);
        let held = stream.held();
        stream.push(&[b'x'; 10_000]);
        assert_eq!(drain(&mut stream), [""; 0]);
        assert_eq!(stream.held(), held);
    }

    #[test]
    fn an_endless_head_and_a_huge_body_are_bounded() {
        let bounds = Bounds {
            head_bytes: 1000,
            body_bytes: 1000,
        };
        let mut stream = Stream::new(bounds);
        let mut seen = Vec::new();
        for _ in 0..1000 {
            stream.push(b"X: aaaaaaaaaaaaaaaaaaaaaaaa\r\n");
            seen.extend(drain(&mut stream));
            assert!(stream.held() < 1100);
        }
        assert_eq!(seen, ["Headers too large"]);
        let mut stream = Stream::new(bounds);
        stream.push(b"OPTIONS sip:a SIP/2.0\r\nl: 1001\r\n\r\n");
        assert_eq!(drain(&mut stream), ["Body too large"]);
    }
}
