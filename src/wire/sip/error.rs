//! Which rule a message broke, where, and what SIP answers.

use super::Name;

/// A header value that breaks its grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// How far it could be read: bytes from the start of the value.
    pub at: usize,
}

/// The rule that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// RFC 3261 §7.1, §7.2: method, Request-URI and version, or version, code and phrase; one space between.
    StartLine,
    /// RFC 3261 §21.5.6: a version other than 2.0.
    Version,
    /// RFC 3261 §7.2: a status code from 100 to 699.
    StatusCode,
    /// RFC 3261 §7: lines end in CR LF; neither stands alone in the head.
    LineEnd,
    /// RFC 3261 §7.3.1: a name, a colon, a value.
    HeaderLine,
    /// settled.md 32: a control octet that is no HTAB.
    Octet,
    /// RFC 3261 §7: a blank line ends the head.
    BlankLine,
    /// The head is larger than the bound.
    HeadTooLarge,
    /// There are more headers than the bound.
    TooManyHeaders,
    /// The body is larger than the bound.
    BodyTooLarge,
    /// RFC 3261 §20.14: one number of bytes.
    ContentLength,
    /// RFC 3261 §18.3: a stream is framed by Content-Length.
    NoContentLength,
    /// RFC 3261 §18.3: a datagram ends before its body does.
    BodyShort,
    /// RFC 3261 §8.1.1: a header that each request has.
    Missing(Name<'static>),
    /// RFC 3261 §7.3.1: a header that may stand once.
    Repeated(Name<'static>),
    /// The value of this header breaks its grammar.
    Value(Name<'static>),
    /// RFC 3261 §8.1.1.1: a URI, no brackets, no white space, no headers.
    RequestUri,
    /// RFC 3261 §8.1.1.5: the method of CSeq is that of the request.
    CSeqMethod,
    /// As [`Rule::CSeqMethod`], of a method that we do not know (RFC 4475 §3.1.2.18).
    UnknownMethod,
}

/// A message that breaks a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    /// The rule.
    pub rule: Rule,
    /// Where it was noticed: bytes from the start of the message.
    pub at: usize,
    /// The message is a response.
    pub in_response: bool,
}

impl Error {
    /// The status that answers it, `None` if nothing does: a bad response is dropped (RFC 3261 §18.1.2). An ACK is never
    /// answered either; that is the caller's to know.
    #[must_use]
    pub const fn status(&self) -> Option<u16> {
        if self.in_response {
            return None;
        }
        Some(match self.rule {
            Rule::Version => 505,
            Rule::HeadTooLarge | Rule::TooManyHeaders => 513,
            Rule::BodyTooLarge => 413,
            Rule::UnknownMethod => 501,
            Rule::StartLine
            | Rule::StatusCode
            | Rule::LineEnd
            | Rule::HeaderLine
            | Rule::Octet
            | Rule::BlankLine
            | Rule::ContentLength
            | Rule::NoContentLength
            | Rule::BodyShort
            | Rule::Missing(_)
            | Rule::Repeated(_)
            | Rule::Value(_)
            | Rule::RequestUri
            | Rule::CSeqMethod => 400,
        })
    }
}

impl std::fmt::Display for Error {
    /// What is wrong, for a log line or the reason phrase of a 400: no text of the peer's.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = |n: &Name<'_>| String::from_utf8_lossy(n.as_bytes()).into_owned();
        match &self.rule {
            Rule::StartLine => f.write_str("Malformed start line"),
            Rule::Version => f.write_str("Unknown SIP version"),
            Rule::StatusCode => f.write_str("Status code out of range"),
            Rule::LineEnd => f.write_str("Bare CR or LF"),
            Rule::HeaderLine => f.write_str("Malformed header line"),
            Rule::Octet => f.write_str("Control octet in the head"),
            Rule::BlankLine => f.write_str("No blank line after the headers"),
            Rule::HeadTooLarge => f.write_str("Headers too large"),
            Rule::TooManyHeaders => f.write_str("Too many headers"),
            Rule::BodyTooLarge => f.write_str("Body too large"),
            Rule::ContentLength => f.write_str("Malformed Content-Length"),
            Rule::NoContentLength => f.write_str("Missing Content-Length"),
            Rule::BodyShort => f.write_str("Body shorter than Content-Length"),
            Rule::Missing(n) => write!(f, "Missing {}", name(n)),
            Rule::Repeated(n) => write!(f, "Repeated {}", name(n)),
            Rule::Value(n) => write!(f, "Malformed {}", name(n)),
            Rule::RequestUri => f.write_str("Malformed Request-URI"),
            Rule::CSeqMethod | Rule::UnknownMethod => f.write_str("CSeq method differs"),
        }
    }
}

impl std::error::Error for Error {}
