//! The head of an MSRP message: start line and headers, viewed where they lie.
//!
//! In short: look for the end of the head (a blank line, or the end-line itself), then go through its lines once. As long
//! as the end has not come, only the bytes that are new are searched; where all is there at once, which is the rule, the
//! lines are gone through at once and their end is the end of the head. Any split of the bytes gives the same outcome,
//! because a fault in a line counts only when the head has ended.

use std::ops::Range;

use memchr::memchr;

use super::{
    ByteRange, Error, Rule,
    lines::{Stop, end_line, find_end, line_end},
    syntax::{ALNUM, IDENT, TOKEN, UPPER, is, is_ident, run, three_digits},
};
use crate::wire::uri::msrp::{Uris, uris};

/// Greatest length of a head, from `MSRP` up to and with the blank line or the end-line. `[MSRP-FRAME-12]`
pub const HEAD_MAX: usize = 16 * 1024;

/// Greatest number of headers in a head, To-Path and From-Path included. `[MSRP-FRAME-12]`
pub const HEADERS_MAX: usize = 64;

/// What [`parse`] found.
#[expect(
    clippy::large_enum_variant,
    reason = "lives for one step on the stack; a box would be an allocation a chunk"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parse<'a> {
    /// The head has not ended yet. Call again with more bytes and this `scanned`.
    Partial {
        /// Bytes that have been searched for the end and need not be again.
        scanned: usize,
    },
    /// A whole head.
    Complete {
        /// The view.
        head: Head<'a>,
        /// Where it ends: behind the blank line (the body begins there), or, where `head.end_flag` is set, behind the
        /// end-line (the message ends there).
        len: usize,
    },
}

/// The method of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method<'a> {
    /// SEND (RFC 4975 §7.1.1).
    Send,
    /// REPORT (RFC 4975 §7.1.2).
    Report,
    /// AUTH (RFC 4976 §5.1).
    Auth,
    /// NICKNAME (RFC 7701 §7).
    Nickname,
    /// Any other, in capitals: to be answered 501 (RFC 4975 §10.9).
    Other(&'a [u8]),
}

/// What the start line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind<'a> {
    /// A request.
    Request {
        /// Its method.
        method: Method<'a>,
    },
    /// A response.
    Response {
        /// Status code, 0 to 999.
        code: u16,
        /// The comment behind the code, often empty.
        comment: &'a [u8],
    },
}

/// Failure-Report (RFC 4975 §7.1.1); absent means yes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum FailureReport {
    /// Responses and failure REPORTs are asked for.
    #[default]
    Yes,
    /// Neither a response nor a failure REPORT may be sent.
    No,
    /// Only failures are told.
    Partial,
}

/// The value of Status (RFC 4975 §9): `namespace SP code [SP comment]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Status {
    /// 0 means that `code` reads as the code of a response.
    pub namespace: u16,
    /// 0 to 999.
    pub code: u16,
}

/// Where the Byte-Range header lies in the bytes of the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RangeAt {
    /// First byte of its line.
    pub line: usize,
    /// First byte of its value.
    pub value: usize,
    /// Behind its value; the line ends two bytes later.
    pub end: usize,
}

/// A view of one head. Every slice points into the bytes that were parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head<'a> {
    /// Request or response.
    pub kind: Kind<'a>,
    /// Transaction id: 4 to 32 ident characters. The end-line repeats it.
    pub tid: &'a [u8],
    /// Value of To-Path: MSRP URIs with a space between them, the next hop first.
    pub to_path: &'a [u8],
    /// Value of From-Path, the last hop first.
    pub from_path: &'a [u8],
    /// Value of Message-ID: 4 to 32 ident characters. Always there in a SEND with content and in a REPORT.
    pub message_id: Option<&'a [u8]>,
    /// Byte-Range, if there is one.
    pub byte_range: Option<ByteRange>,
    /// Whether Success-Report is yes; absent means no.
    pub success_report: bool,
    /// Failure-Report; absent means yes.
    pub failure_report: FailureReport,
    /// Status, always there in a REPORT.
    pub status: Option<Status>,
    /// Value of Content-Type, with its parameters. There is a body (which may be empty) exactly if it is there.
    pub content_type: Option<&'a [u8]>,
    /// Everything behind the From-Path line: all other headers and, before a body, the blank line. Offsets into the bytes
    /// given to [`parse`]; one piece, so that it can be passed on as it lies.
    pub rest: Range<usize>,
    /// Where in those bytes (and within `rest`) Byte-Range stands, so that it alone can be written anew.
    pub range_at: Option<RangeAt>,
    /// The flag of the end-line where it follows the headers directly: the message has no body and ends here.
    pub end_flag: Option<u8>,
}

impl<'a> Head<'a> {
    /// A head of which the first three lines were read; the others begin at `at`.
    fn new(
        kind: Kind<'a>,
        tid: &'a [u8],
        to_path: &'a [u8],
        from_path: &'a [u8],
        at: usize,
    ) -> Self {
        Self {
            kind,
            tid,
            to_path,
            from_path,
            message_id: None,
            byte_range: None,
            success_report: false,
            failure_report: FailureReport::Yes,
            status: None,
            content_type: None,
            rest: at..at,
            range_at: None,
            end_flag: None,
        }
    }

    /// The URIs of To-Path.
    #[must_use]
    pub fn to_uris(&self) -> Uris<'a> {
        uris(self.to_path)
    }

    /// The URIs of From-Path.
    #[must_use]
    pub fn from_uris(&self) -> Uris<'a> {
        uris(self.from_path)
    }

    /// The first URI of From-Path as it is written: the To-Path of a response to a SEND (RFC 4975 §7.2).
    #[must_use]
    pub fn previous_hop(&self) -> &'a [u8] {
        match memchr(b' ', self.from_path) {
            Some(end) => &self.from_path[..end],
            None => self.from_path,
        }
    }

    /// Whether To-Path is, byte for byte, `path`: what a peer that copies our URI writes. If not, compare the URIs by
    /// RFC 4975 §6.1 ([`crate::wire::uri::msrp::same_path`]) before it is called a stranger's.
    #[must_use]
    pub fn is_to(&self, path: &[u8]) -> bool {
        self.to_path == path
    }

    /// Whether it is a SEND.
    #[must_use]
    pub fn is_send(&self) -> bool {
        matches!(
            self.kind,
            Kind::Request {
                method: Method::Send
            }
        )
    }

    /// Type and subtype of the content, without parameters.
    #[must_use]
    pub fn media_type(&self) -> Option<&'a [u8]> {
        self.content_type.map(media_type)
    }
}

/// Type and subtype of a Content-Type value, without parameters and the space around them.
#[must_use]
pub fn media_type(value: &[u8]) -> &[u8] {
    match memchr(b';', value) {
        Some(end) => value[..end].trim_ascii(),
        None => value.trim_ascii(),
    }
}

/// Views the head at the start of `bytes`, of which the first `scanned` (0 at first, then what
/// [`Parse::Partial`] said) have been searched before.
///
/// `bytes` may go on behind the head. A head ends at the blank line before the body or, without a body, with the end-line.
///
/// # Errors
/// An [`Error`] says which rule is broken, how far that reaches and what to answer. Framing faults (no start line, a bare
/// LF, too long) are told as soon as they are seen, all others when the head has ended.
pub fn parse(bytes: &[u8], scanned: usize) -> Result<Parse<'_>, Error> {
    let window = &bytes[..bytes.len().min(HEAD_MAX)];
    if scanned == 0
        && let Ok((head, len)) = walk(window)
    {
        return Ok(Parse::Complete { head, len });
    }
    let Some(end) = find_end(window, scanned)? else {
        if window.len() == HEAD_MAX {
            return Err(Error::new(Rule::TooLong, HEAD_MAX, window, None));
        }
        return Ok(Parse::Partial {
            scanned: window.len(),
        });
    };
    match walk(&window[..end.0]) {
        Ok((head, len)) => Ok(Parse::Complete { head, len }),
        Err((rule, at)) => Err(Error::new(rule, at, &window[..end.0], Some(end))),
    }
}

/// The value of the header `name` if `line` is one: what follows the colon and the space.
pub(super) fn value<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (head, value) = line.split_at_checked(name.len() + 2)?;
    let (found, colon) = head.split_at_checked(name.len())?;
    ((found == name || found.eq_ignore_ascii_case(name)) && colon == b": ").then_some(value)
}

/// Start line: kind and transaction id.
fn start_line(line: &[u8]) -> Result<(Kind<'_>, &[u8]), Stop> {
    let rest = line.strip_prefix(b"MSRP ").ok_or((Rule::StartLine, 0))?;
    let (tid, rest) = rest.split_at(run(rest, IDENT));
    let rest = rest.strip_prefix(b" ").ok_or((Rule::StartLine, 5))?;
    if !(4..=32).contains(&tid.len()) || !is(tid[0], ALNUM) {
        return Err((Rule::StartLine, 5));
    }
    let at = line.len() - rest.len();
    let method = match rest {
        b"SEND" => Method::Send,
        b"REPORT" => Method::Report,
        b"AUTH" => Method::Auth,
        b"NICKNAME" => Method::Nickname,
        [b'0'..=b'9', ..] => {
            let code = three_digits(rest).ok_or((Rule::Method, at))?;
            let comment = match &rest[3..] {
                [] => &[][..],
                [b' ', comment @ ..] => comment,
                _ => return Err((Rule::Method, at + 3)),
            };
            return Ok((Kind::Response { code, comment }, tid));
        }
        other if !other.is_empty() && run(other, UPPER) == other.len() => Method::Other(other),
        other => return Err((Rule::Method, at + run(other, UPPER))),
    };
    Ok((Kind::Request { method }, tid))
}

/// Goes through the lines of a head once. Runs out of bytes where the head has not ended.
fn walk(head: &[u8]) -> Result<(Head<'_>, usize), Stop> {
    let mut ascii = true;
    let eol = line_end(head, 0, &mut ascii)?;
    let (kind, tid) = start_line(&head[..eol])?;
    let mut at = eol + 2;

    // RFC 4975 §9: To-Path comes first, From-Path second. [MSRP-FRAME-02]
    let eol = line_end(head, at, &mut ascii)?;
    let to_path = value(&head[at..eol], b"To-Path").ok_or((Rule::ToPath, at))?;
    path(to_path).ok_or((Rule::ToPath, at))?;
    at = eol + 2;
    let eol = line_end(head, at, &mut ascii)?;
    let from_path = value(&head[at..eol], b"From-Path").ok_or((Rule::FromPath, at))?;
    path(from_path).ok_or((Rule::FromPath, at))?;
    at = eol + 2;

    headers(head, Head::new(kind, tid, to_path, from_path, at), ascii)
}

/// Goes through the lines behind From-Path.
fn headers<'a>(
    head: &'a [u8],
    mut view: Head<'a>,
    mut ascii: bool,
) -> Result<(Head<'a>, usize), Stop> {
    let mut at = view.rest.start;
    let tid = view.tid;
    let mut seen = 0u8;
    let mut headers = 2;
    loop {
        let eol = line_end(head, at, &mut ascii)?;
        let line = &head[at..eol];
        match line {
            [] => {
                view.rest.end = eol + 2;
                break;
            }
            [b'-', ..] => {
                view.end_flag = Some(end_line(line, tid).ok_or((Rule::Header, at))?);
                view.rest.end = at;
                break;
            }
            _ => {
                // Content-Type is the last header. [MSRP-FRAME-02]
                if view.content_type.is_some() {
                    return Err((Rule::ContentType, at));
                }
                headers += 1;
                if headers > HEADERS_MAX {
                    return Err((Rule::TooMany, at));
                }
                header(&mut view, line, at, &mut seen)?;
            }
        }
        at = eol + 2;
    }
    let len = match view.end_flag {
        None => view.rest.end,
        Some(_) => view.rest.end + tid.len() + 10,
    };
    if !ascii && let Err(e) = std::str::from_utf8(&head[..len]) {
        return Err((Rule::Utf8, e.valid_up_to()));
    }
    whole(&view, at)?;
    Ok((view, len))
}

/// A path: at least one URI, exactly one space between two. The URIs themselves are looked at where they matter.
pub(super) fn path(value: &[u8]) -> Option<()> {
    let (first, last) = (value.first()?, value.last()?);
    (*first != b' ' && *last != b' ').then_some(())
}

const MESSAGE_ID: u8 = 1;
const BYTE_RANGE: u8 = 2;
const SUCCESS: u8 = 4;
const FAILURE: u8 = 8;
const STATUS: u8 = 16;

/// One header behind the paths. Names are compared without case, unknown ones passed over. [MSRP-FRAME-08]
fn header<'a>(view: &mut Head<'a>, line: &'a [u8], at: usize, seen: &mut u8) -> Result<(), Stop> {
    let mut once = |bit: u8| {
        let twice = *seen & bit != 0;
        *seen |= bit;
        if twice {
            Err((Rule::Twice, at))
        } else {
            Ok(())
        }
    };
    match line[0] | 0x20 {
        b'm' => {
            if let Some(id) = value(line, b"Message-ID") {
                once(MESSAGE_ID)?;
                if !is_ident(id) {
                    return Err((Rule::MessageId, at));
                }
                view.message_id = Some(id);
                return Ok(());
            }
        }
        b'b' => {
            if let Some(range) = value(line, b"Byte-Range") {
                once(BYTE_RANGE)?;
                view.byte_range = Some(ByteRange::parse(range).ok_or((Rule::ByteRange, at))?);
                view.range_at = Some(RangeAt {
                    line: at,
                    value: at + (line.len() - range.len()),
                    end: at + line.len(),
                });
                return Ok(());
            }
        }
        b's' => {
            if let Some(report) = value(line, b"Success-Report") {
                once(SUCCESS)?;
                view.success_report = match report {
                    r if r.eq_ignore_ascii_case(b"yes") => true,
                    r if r.eq_ignore_ascii_case(b"no") => false,
                    _ => return Err((Rule::Report, at)),
                };
                return Ok(());
            }
            if let Some(status) = value(line, b"Status") {
                once(STATUS)?;
                view.status = Some(self::status(status).ok_or((Rule::Status, at))?);
                return Ok(());
            }
        }
        b'f' => {
            if let Some(report) = value(line, b"Failure-Report") {
                once(FAILURE)?;
                view.failure_report = failure_report(report).ok_or((Rule::Report, at))?;
                return Ok(());
            }
            if value(line, b"From-Path").is_some() {
                return Err((Rule::Twice, at));
            }
        }
        b'c' => {
            if let Some(content) = value(line, b"Content-Type") {
                if !is_media_type(content) {
                    return Err((Rule::ContentType, at));
                }
                view.content_type = Some(content);
                return Ok(());
            }
        }
        b't' if value(line, b"To-Path").is_some() => return Err((Rule::Twice, at)),
        _ => {}
    }
    if is_header(line) {
        Ok(())
    } else {
        Err((Rule::Header, at))
    }
}

/// `hname ":" SP hval`, `hname = ALPHA *token`.
fn is_header(line: &[u8]) -> bool {
    let name = run(line, TOKEN);
    line.first().is_some_and(u8::is_ascii_alphabetic) && line[name..].starts_with(b": ")
}

pub(super) fn failure_report(value: &[u8]) -> Option<FailureReport> {
    match value {
        v if v.eq_ignore_ascii_case(b"no") => Some(FailureReport::No),
        v if v.eq_ignore_ascii_case(b"yes") => Some(FailureReport::Yes),
        v if v.eq_ignore_ascii_case(b"partial") => Some(FailureReport::Partial),
        _ => None,
    }
}

fn status(value: &[u8]) -> Option<Status> {
    let (namespace, rest) = value.split_at_checked(3)?;
    let rest = rest.strip_prefix(b" ")?;
    let (code, comment) = rest.split_at_checked(3)?;
    (comment.is_empty() || comment.starts_with(b" ")).then_some(())?;
    Some(Status {
        namespace: three_digits(namespace)?,
        code: three_digits(code)?,
    })
}

/// `type "/" subtype`, then the end or parameters. These are the reader's to judge, who knows the type.
fn is_media_type(value: &[u8]) -> bool {
    let kind = run(value, TOKEN);
    let Some((b'/', sub)) = value[kind..].split_first() else {
        return false;
    };
    let len = run(sub, TOKEN);
    let rest = sub[len..].trim_ascii_start();
    kind > 0 && len > 0 && (rest.is_empty() || rest[0] == b';')
}

/// What a head of its kind must and must not have.
fn whole(view: &Head<'_>, at: usize) -> Result<(), Stop> {
    let body = view.end_flag.is_none();
    if body != view.content_type.is_some() {
        return Err((Rule::ContentType, at));
    }
    match view.kind {
        Kind::Response { .. } if body => Err((Rule::Body, at)),
        Kind::Request {
            method: Method::Send,
        } if body && view.message_id.is_none() => Err((Rule::MessageId, at)),
        Kind::Request {
            method: Method::Report,
        } if view.message_id.is_none() => Err((Rule::MessageId, at)),
        Kind::Request {
            method: Method::Report,
        } if view.status.is_none() => Err((Rule::Status, at)),
        Kind::Request { .. } | Kind::Response { .. } => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::msrp::Reach;

    const SEND: &[u8] = b"MSRP a786hjs2 SEND\r\nTo-Path: msrp://bob.example.com:8493/si438ds;tcp\r\nFrom-Path: msrp://alice.example.com:7394/2s93i9ek2a;tcp\r\nMessage-ID: 87652491\r\nByte-Range: 1-25/25\r\nContent-Type: text/plain\r\n\r\nHey Bob, are you there?\r\n-------a786hjs2$\r\n";

    #[test]
    fn a_send_in_one_piece() {
        let Ok(Parse::Complete { head, len }) = parse(SEND, 0) else {
            panic!("{:?}", parse(SEND, 0));
        };
        assert!(head.is_send());
        assert_eq!(head.tid, b"a786hjs2");
        assert_eq!(&SEND[len..len + 3], b"Hey");
        assert!(SEND[head.rest.clone()].starts_with(b"Message-ID: 87652491\r\n"));
        assert_eq!(head.rest.end, len);
        let at = head.range_at.unwrap();
        assert_eq!(&SEND[at.value..at.end], b"1-25/25");
    }

    #[test]
    fn a_broken_header_reaches_the_chunk_alone() {
        let text = String::from_utf8(SEND.to_vec())
            .unwrap()
            .replace("1-25/25", "1-x");
        let e = parse(text.as_bytes(), 0).unwrap_err();
        assert_eq!(
            (e.rule, e.reach, e.status),
            (Rule::ByteRange, Reach::Chunk, Some(400))
        );
        assert_eq!(e.tid.unwrap().of(text.as_bytes()), b"a786hjs2");
        assert!(text.as_bytes()[e.len as usize..].starts_with(b"Hey"));
    }
}
