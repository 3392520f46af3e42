//! What is wrong with a head, how far that reaches, and what to answer.

use super::{FailureReport, salvage::salvage};

/// The rule that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// The bytes do not begin as `MSRP SP transact-id SP` and a method or a status code (RFC 4975 §9).
    StartLine,
    /// A line ends without CR before its LF.
    LineEnd,
    /// A control character, or a CR without LF, within a line.
    Control,
    /// The head is not UTF-8 (RFC 4975 §9).
    Utf8,
    /// The head is longer than [`super::HEAD_MAX`]. `[MSRP-FRAME-12]`
    TooLong,
    /// The head has more than [`super::HEADERS_MAX`] headers. `[MSRP-FRAME-12]`
    TooMany,
    /// The head has not ended in its time; its reader says so ([`Error::unended`]).
    Unended,
    /// The method or status code of the start line.
    Method,
    /// To-Path is not the first header. `[MSRP-FRAME-02]`
    ToPath,
    /// From-Path is not the second header. `[MSRP-FRAME-02]`
    FromPath,
    /// A line is no header: no name, or no colon and space behind it. One without any colon is most likely a foreign end-line,
    /// or the next message: framing is lost, and that is told as soon as the line has ended.
    Header,
    /// A header that may stand once stands twice.
    Twice,
    /// The value of Message-ID, or a SEND with content or a REPORT without one (RFC 4975 §7.1.1, §7.1.2).
    MessageId,
    /// The value of Byte-Range. `[MSRP-FRAME-09]`
    ByteRange,
    /// The value of Success-Report or Failure-Report.
    Report,
    /// The value of Status, or a REPORT without one (RFC 4975 §7.1.2).
    Status,
    /// The value of Content-Type; Content-Type not the last header; a body without it; it without a body.
    ContentType,
    /// A response with a body (RFC 4975 §9).
    Body,
}

/// How far an error reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reach {
    /// This message alone: its end can still be found, what follows it is unharmed.
    Chunk,
    /// The stream can no longer be framed, or the sender cannot be told: answer if there is an answer, then close.
    Connection,
}

/// A piece of the bytes that were parsed: offset and length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    start: u16,
    len: u16,
}

impl Span {
    /// The bytes that the span names in `bytes`, those that were given to [`super::parse`].
    #[must_use]
    pub fn of(self, bytes: &[u8]) -> &[u8] {
        let start = usize::from(self.start);
        bytes
            .get(start..start + usize::from(self.len))
            .unwrap_or_default()
    }

    pub(super) fn new(start: usize, len: usize) -> Option<Self> {
        Some(Self {
            start: u16::try_from(start).ok()?,
            len: u16::try_from(len).ok()?,
        })
    }
}

/// A head that breaks a rule: which, where, how far it reaches, what to answer. `[MSRP-FRAME-09]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    /// The rule.
    pub rule: Rule,
    /// Offset at which it is broken, in the bytes given to [`super::parse`].
    pub at: u32,
    /// How far it reaches.
    pub reach: Reach,
    /// The MSRP status to answer; `None` where nothing may or can be answered: a response, a REPORT, Failure-Report `no`,
    /// To-Path or From-Path not readable.
    pub status: Option<u16>,
    /// The transaction id, if it could be read. The end-line of the message is to be searched by it.
    pub tid: Option<Span>,
    /// The value of To-Path, if it could be read.
    pub to_path: Option<Span>,
    /// The value of From-Path, if it could be read.
    pub from_path: Option<Span>,
    /// Where the head ends: behind the blank line, or, if `end_flag` is set, behind the end-line. 0 if it has no end.
    pub len: u32,
    /// The flag of the end-line, where the head ends directly in it and no body follows.
    pub end_flag: Option<u8>,
}

impl Error {
    /// What is wrong with a head that has begun and will not be waited for any longer; `head` is what has come of it.
    #[must_use]
    pub fn unended(head: &[u8]) -> Self {
        Self::new(Rule::Unended, head.len(), head, None)
    }

    /// The error as the peer sees it: how far it reaches and what can be answered, from what the head still tells.
    #[cold]
    pub(super) fn new(
        rule: Rule,
        at: usize,
        head: &[u8],
        end: Option<(usize, Option<u8>)>,
    ) -> Self {
        let left = salvage(head);
        let paths = left.to_path.is_some() && left.from_path.is_some();
        let answerable = left.request && !left.report && paths;
        let framed = match rule {
            Rule::StartLine | Rule::LineEnd | Rule::TooLong | Rule::TooMany | Rule::Unended => {
                false
            }
            Rule::Header
            | Rule::Control
            | Rule::Utf8
            | Rule::Method
            | Rule::ToPath
            | Rule::FromPath
            | Rule::Twice
            | Rule::MessageId
            | Rule::ByteRange
            | Rule::Report
            | Rule::Status
            | Rule::ContentType
            | Rule::Body => true,
        };
        let told = answerable || !left.request || left.report;
        let (len, end_flag) = end.unwrap_or((0, None));
        Self {
            rule,
            at: u32::try_from(at).unwrap_or(u32::MAX),
            reach: if framed && told && end.is_some() {
                Reach::Chunk
            } else {
                Reach::Connection
            },
            status: (answerable && left.failure_report != FailureReport::No).then_some(400),
            tid: left.tid,
            to_path: left.to_path,
            from_path: left.from_path,
            len: u32::try_from(len).unwrap_or(u32::MAX),
            end_flag,
        }
    }
}
