//! Writers: heads, responses, REPORTs and end-lines, appended to a byte vector.
//!
//! What is written is always in the order of RFC 4975 §9 (`[MSRP-FRAME-02]`): start line, To-Path, From-Path, the others,
//! Content-Type last. The caller vouches for the values: paths and ids that were parsed or made here, never free text.

use super::{ByteRange, FailureReport};

/// The headers of a SEND of our own, beside its paths.
#[derive(Clone, Copy, Debug)]
pub struct Send<'a> {
    /// Message-ID: 4 to 32 ident characters.
    pub message_id: &'a [u8],
    /// Byte-Range; none for a message that is whole in one chunk.
    pub byte_range: Option<ByteRange>,
    /// Whether success REPORTs are asked for.
    pub success_report: bool,
    /// What failures are to be told; yes is not written, for it is the default.
    pub failure_report: FailureReport,
}

/// The headers of a REPORT, beside its paths.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// Message-ID of the SEND that is reported on.
    pub message_id: &'a [u8],
    /// The bytes that are reported on.
    pub byte_range: Option<ByteRange>,
    /// Code in namespace 000.
    pub code: u16,
}

/// `MSRP SP tid SP method CRLF`, To-Path, From-Path: all that differs from leg to leg in a forwarded SEND. What follows it
/// is the `rest` of the head that was received.
pub fn request(out: &mut Vec<u8>, tid: &[u8], method: &[u8], to_path: &[u8], from_path: &[u8]) {
    join(
        out,
        &[
            b"MSRP ",
            tid,
            b" ",
            method,
            b"\r\nTo-Path: ",
            to_path,
            b"\r\nFrom-Path: ",
            from_path,
            b"\r\n",
        ],
    );
}

/// The head of a SEND with a body, up to and with the blank line; body and end-line follow.
pub fn send(
    out: &mut Vec<u8>,
    tid: &[u8],
    to_path: &[u8],
    from_path: &[u8],
    headers: &Send<'_>,
    content_type: &[u8],
) {
    request(out, tid, b"SEND", to_path, from_path);
    send_headers(out, headers);
    join(out, &[b"Content-Type: ", content_type, b"\r\n\r\n"]);
}

/// A whole SEND without a body: what binds a connection to a session, or keeps it alive. `[MSRP-BARE-01]`
pub fn bare_send(
    out: &mut Vec<u8>,
    tid: &[u8],
    to_path: &[u8],
    from_path: &[u8],
    headers: &Send<'_>,
) {
    request(out, tid, b"SEND", to_path, from_path);
    send_headers(out, headers);
    last_line(out, tid, b'$');
}

/// A whole REPORT: no Success-Report, no Failure-Report, no body. `[MSRP-RPT-01]`
pub fn report(
    out: &mut Vec<u8>,
    tid: &[u8],
    to_path: &[u8],
    from_path: &[u8],
    headers: &Report<'_>,
) {
    request(out, tid, b"REPORT", to_path, from_path);
    join(out, &[b"Message-ID: ", headers.message_id, b"\r\n"]);
    if let Some(range) = headers.byte_range {
        range_line(out, range);
    }
    out.extend_from_slice(b"Status: 000 ");
    code(out, headers.code);
    comment(out, headers.code);
    out.extend_from_slice(b"\r\n");
    last_line(out, tid, b'$');
}

/// A whole response, with the comment that its code usually has. `to_path` is the first URI of the From-Path of a SEND, the
/// whole From-Path of any other request. `[MSRP-RSP-01]`
pub fn response(out: &mut Vec<u8>, tid: &[u8], status: u16, to_path: &[u8], from_path: &[u8]) {
    join(out, &[b"MSRP ", tid]);
    put_status(out, status);
    put_paths(out, to_path, from_path);
    join(out, &[tid, b"$\r\n"]);
}

/// What a [`response`] with 200 says between its transaction ids.
#[must_use]
pub fn middle_of_ok(to_path: &[u8], from_path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + to_path.len() + from_path.len());
    out.extend_from_slice(OK);
    put_paths(&mut out, to_path, from_path);
    out
}

/// A [`response`] with another code than 200, from what [`middle_of_ok`] says.
pub fn response_like(out: &mut Vec<u8>, tid: &[u8], status: u16, ok: &[u8]) {
    join(out, &[b"MSRP ", tid]);
    put_status(out, status);
    let paths = ok.strip_prefix(OK).unwrap_or_default();
    join(out, &[paths, tid, b"$\r\n"]);
}

/// The status of a response with 200.
const OK: &[u8] = b" 200 OK";

fn put_status(out: &mut Vec<u8>, status: u16) {
    out.push(b' ');
    code(out, status);
    comment(out, status);
}

fn put_paths(out: &mut Vec<u8>, to_path: &[u8], from_path: &[u8]) {
    join(
        out,
        &[
            b"\r\nTo-Path: ",
            to_path,
            b"\r\nFrom-Path: ",
            from_path,
            b"\r\n-------",
        ],
    );
}

/// The end-line behind a body: CRLF, which is no part of the body, seven hyphens, id, flag, CRLF. `[MSRP-FRAME-03]`
pub fn end_line(out: &mut Vec<u8>, tid: &[u8], flag: u8) {
    out.extend_from_slice(b"\r\n");
    last_line(out, tid, flag);
}

/// The end-line of a message without a body, directly behind its last header.
pub fn last_line(out: &mut Vec<u8>, tid: &[u8], flag: u8) {
    join(out, &[b"-------", tid, &[flag], b"\r\n"]);
}

/// A whole Byte-Range line.
pub fn range_line(out: &mut Vec<u8>, range: ByteRange) {
    out.extend_from_slice(b"Byte-Range: ");
    range_value(out, range);
    out.extend_from_slice(b"\r\n");
}

/// The value of a Byte-Range header.
pub fn range_value(out: &mut Vec<u8>, range: ByteRange) {
    decimal(out, range.start);
    out.push(b'-');
    decimal_or_star(out, range.end);
    out.push(b'/');
    decimal_or_star(out, range.total);
}

/// A number in decimal digits, without the formatting machinery.
pub fn decimal(out: &mut Vec<u8>, n: u64) {
    let mut digits = [0u8; 20];
    let mut first = digits.len();
    let mut rest = n;
    loop {
        first -= 1;
        digits[first] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[first..]);
}

/// Characters of the ids that we make: letters and digits alone, so that none is ever taken for a flag or a separator.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// An identifier of `N` characters, five bits of chance in each, from words that are drawn as needed, twelve characters a
/// word. 16 characters (80 bits) serve as transaction id, Message-ID and session-id. `[MSRP-FRAME-04]`
pub fn ident<const N: usize>(mut word: impl FnMut() -> u64) -> [u8; N] {
    const {
        assert!(
            4 <= N && N <= 32,
            "RFC 4975 §9: an ident has 4 to 32 characters"
        )
    };
    let mut id = [0; N];
    for part in id.chunks_mut(12) {
        let mut bits = word();
        for c in part {
            *c = ALPHABET[(bits & 31) as usize];
            bits >>= 5;
        }
    }
    id
}

/// The comment that we write behind a status code (RFC 4975 §10 has the codes, comments are free); empty for other codes.
#[must_use]
pub const fn reason(code: u16) -> &'static str {
    match code {
        200 => "OK",
        400 => "Bad Request",
        403 => "Forbidden",
        408 => "Request Timeout",
        413 => "Stop Sending",
        415 => "Unsupported Media Type",
        423 => "Parameter Out Of Bounds",
        481 => "Session Does Not Exist",
        501 => "Not Implemented",
        506 => "Session Already Bound",
        _ => "",
    }
}

fn send_headers(out: &mut Vec<u8>, headers: &Send<'_>) {
    join(out, &[b"Message-ID: ", headers.message_id, b"\r\n"]);
    if let Some(range) = headers.byte_range {
        range_line(out, range);
    }
    if headers.success_report {
        out.extend_from_slice(b"Success-Report: yes\r\n");
    }
    match headers.failure_report {
        FailureReport::Yes => {}
        FailureReport::No => out.extend_from_slice(b"Failure-Report: no\r\n"),
        FailureReport::Partial => out.extend_from_slice(b"Failure-Report: partial\r\n"),
    }
}

fn comment(out: &mut Vec<u8>, code: u16) {
    let reason = reason(code);
    if !reason.is_empty() {
        join(out, &[b" ", reason.as_bytes()]);
    }
}

/// Three digits; a code has no more.
fn code(out: &mut Vec<u8>, code: u16) {
    debug_assert!(code < 1000, "a status code has three digits");
    let code = code.min(999);
    for digit in [code / 100, code / 10 % 10, code % 10] {
        out.push(b'0' + (digit % 10) as u8);
    }
}

fn decimal_or_star(out: &mut Vec<u8>, n: Option<u64>) {
    match n {
        Some(n) => decimal(out, n),
        None => out.push(b'*'),
    }
}

/// Appends all parts, growing once at most.
fn join(out: &mut Vec<u8>, parts: &[&[u8]]) {
    out.reserve(parts.iter().map(|p| p.len()).sum());
    for part in parts {
        out.extend_from_slice(part);
    }
}
