//! What the endpoint writes itself: Via into requests, responses, the ACK of a failure, CANCEL.

use std::net::{IpAddr, SocketAddr};

use crate::wire::{
    sip::{Message, Method, Name, Start, Via, reason_phrase, unfold},
    uri,
};

/// Puts a Via behind the request line of a message that has none of ours.
pub(super) fn with_via(message: &[u8], via: &[u8]) -> Vec<u8> {
    let at = memchr::memmem::find(message, b"\r\n").map_or(message.len(), |at| at + 2);
    let (line, rest) = message.split_at(at);
    [line, b"Via: ", via, b"\r\n", rest].concat()
}

/// The value of a Via of ours. `rport` asks for the response to come back to the port that we send from (RFC 3581 §3).
pub(super) fn via_value(tcp: bool, sent_by: &str, branch: &[u8]) -> Vec<u8> {
    let transport = if tcp { "TCP" } else { "UDP" };
    let mut via = format!("SIP/2.0/{transport} {sent_by};rport;branch=").into_bytes();
    via.extend_from_slice(branch);
    via
}

/// The request with `received` and `rport` in its topmost Via (RFC 3261 §18.2.1, RFC 3581 §4). [SIP-TXN-09]
///
/// A `received` or a filled `rport` that came with it is somebody's lie or mistake: it is replaced.
pub(super) fn with_received(bytes: &[u8], via: &[u8], peer: SocketAddr) -> Option<Vec<u8>> {
    let read = Via::parse(via).ok()?;
    let start = via.as_ptr().addr().checked_sub(bytes.as_ptr().addr())?;
    let (head, value, tail) = (
        bytes.get(..start)?,
        bytes.get(start..start + via.len())?,
        bytes.get(start + via.len()..)?,
    );
    // The sent-protocol and sent-by stand before the first parameter.
    let params_at = memchr::memchr(b';', value).unwrap_or(value.len());
    let mut out = Vec::with_capacity(bytes.len() + 48);
    out.extend_from_slice(head);
    out.extend_from_slice(value.get(..params_at)?.trim_ascii_end());
    let rport = read.params.has(b"rport");
    for param in read.params.iter() {
        if [&b"rport"[..], b"received"]
            .iter()
            .any(|n| param.name.eq_ignore_ascii_case(n))
        {
            continue;
        }
        out.push(b';');
        out.extend_from_slice(param.name);
        if let Some(v) = param.value {
            out.push(b'=');
            out.extend_from_slice(v);
        }
    }
    if rport || read.host.ip() != Some(peer.ip()) {
        out.extend_from_slice(format!(";received={}", peer.ip()).as_bytes());
    }
    if rport {
        out.extend_from_slice(format!(";rport={}", peer.port()).as_bytes());
    }
    out.extend_from_slice(tail);
    Some(out)
}

/// Where a response goes when it goes by datagram, or when its connection is gone (RFC 3261 §18.2.2, RFC 3581 §4).
///
/// `peer` is where the request came from: what the Via says of `received` is our own word, so it is not read again. `maddr` is
/// followed where `trusted`: a stranger's would send our answers to whomever he likes (settled.md 42).
pub(super) fn response_address(
    via: &Via<'_>,
    peer: SocketAddr,
    (stream, trusted): (bool, bool),
) -> SocketAddr {
    let port = via.port_or_default();
    if stream {
        return SocketAddr::new(peer.ip(), port);
    }
    let maddr = via.params.value(b"maddr").and_then(uri::host::address);
    if let Some(maddr) = maddr.filter(|_| trusted) {
        return SocketAddr::new(maddr, port);
    }
    if via.params.has(b"rport") {
        return peer;
    }
    SocketAddr::new(peer.ip(), port)
}

/// What an answer copies of a request, as a request that [`response`] takes: all that a transaction keeps of it.
pub(super) fn answerable(request: &Message<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    let method = request.method().map_or(&b"X"[..], |m| m.as_bytes());
    for part in [method, b" sip:x SIP/2.0\r\n"] {
        out.extend_from_slice(part);
    }
    copy(&mut out, request, Name::Via);
    if request.method() == Some(Method::Invite) {
        copy(&mut out, request, Name::RecordRoute);
    }
    for name in [
        Name::From,
        Name::To,
        Name::CallId,
        Name::CSeq,
        Name::Timestamp,
    ] {
        copy(&mut out, request, name);
    }
    out.extend_from_slice(b"\r\n");
    out
}

/// What an ACK or a CANCEL copies of a request of ours, and a response is known by, as a request: all that is kept of it once it
/// need not be sent again. `request` is one that we have written: its lines are looked at, it is not read.
pub(super) fn followable(request: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    let (mut at, mut first, mut keeps, mut has_via) = (0, true, true, false);
    while let Some(len) = memchr::memchr(b'\n', request.get(at..).unwrap_or_default()) {
        let line = &request[at..=at + len];
        at += len + 1;
        if line == b"\r\n" {
            break;
        }
        // A folded line belongs to the one before it.
        if !first && !matches!(line[0], b' ' | b'\t') {
            let name = line.split(|b| *b == b':').next().unwrap_or_default();
            let name = Name::of(name.trim_ascii_end());
            keeps = matches!(
                name,
                Name::Route | Name::From | Name::To | Name::CallId | Name::CSeq
            ) || (name == Name::Via && !std::mem::replace(&mut has_via, true));
        }
        if keeps {
            out.extend_from_slice(line);
        }
        first = false;
    }
    out.extend_from_slice(b"\r\n");
    out
}

/// A message that [`with_via`] has put a Via into, without it.
pub(super) fn without_via(message: &[u8]) -> Vec<u8> {
    let end = |from: usize| {
        let rest = message.get(from..).unwrap_or_default();
        memchr::memmem::find(rest, b"\r\n").map_or(message.len(), |at| from + at + 2)
    };
    let line = end(0);
    let via = end(line);
    let (head, tail) = (message.get(..line), message.get(via..));
    [head.unwrap_or_default(), tail.unwrap_or_default()].concat()
}

/// What a response says beyond what it copies.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Answer<'a> {
    pub(super) code: u16,
    /// Empty: the RFC's.
    pub(super) reason: &'a [u8],
    /// For a To without tag; empty: none is added.
    pub(super) tag: &'a [u8],
    pub(super) headers: &'a [u8],
    /// Server, unless the headers have it.
    pub(super) product: &'a str,
    pub(super) body: Option<(&'a str, &'a [u8])>,
}

/// A response to `request` (RFC 3261 §8.2.6).
pub(super) fn response(request: &Message<'_>, answer: &Answer<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(512 + answer.headers.len());
    let reason = if answer.reason.is_empty() {
        reason_phrase(answer.code).as_bytes()
    } else {
        answer.reason
    };
    out.extend_from_slice(format!("SIP/2.0 {} ", answer.code).as_bytes());
    out.extend_from_slice(reason);
    out.extend_from_slice(b"\r\n");
    copy(&mut out, request, Name::Via);
    // RFC 3261 §12.1.1: the route set of the dialog that this response makes.
    if request.method() == Some(Method::Invite) && (101..300).contains(&answer.code) {
        copy(&mut out, request, Name::RecordRoute);
    }
    copy(&mut out, request, Name::From);
    if let Some(to) = request.header(Name::To) {
        let tagged = request.to().ok().is_none_or(|to| to.tag().is_some());
        out.extend_from_slice(b"To: ");
        out.extend_from_slice(&unfold(to));
        if !tagged && !answer.tag.is_empty() {
            out.extend_from_slice(b";tag=");
            out.extend_from_slice(answer.tag);
        }
        out.extend_from_slice(b"\r\n");
    }
    copy(&mut out, request, Name::CallId);
    copy(&mut out, request, Name::CSeq);
    // RFC 3261 §8.2.6.1.
    if answer.code == 100 {
        copy(&mut out, request, Name::Timestamp);
    }
    out.extend_from_slice(answer.headers);
    if !answer.product.is_empty() && !has_header(answer.headers, b"Server:") {
        line(&mut out, b"Server", answer.product.as_bytes());
    }
    let body = match answer.body {
        Some((media_type, body)) => {
            line(&mut out, b"Content-Type", media_type.as_bytes());
            body
        }
        None => b"",
    };
    out.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
    out.extend_from_slice(body);
    out
}

/// The ACK of a failure response: of the INVITE's transaction, with its Via (RFC 3261 §17.1.1.3).
pub(super) fn ack(invite: &Message<'_>, failure: &Message<'_>) -> Vec<u8> {
    let to = failure.header(Name::To).unwrap_or_default();
    follow_up(invite, "ACK", to, b"")
}

/// The CANCEL of an INVITE: of its Via and its To without tag (RFC 3261 §9.1).
pub(super) fn cancel(invite: &Message<'_>, headers: &[u8]) -> Vec<u8> {
    let to = invite.header(Name::To).unwrap_or_default();
    follow_up(invite, "CANCEL", to, headers)
}

fn follow_up(invite: &Message<'_>, method: &str, to: &[u8], headers: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(512 + headers.len());
    let uri = match invite.start() {
        Start::Request { uri, .. } => uri,
        Start::Response { .. } => b"",
    };
    out.extend_from_slice(method.as_bytes());
    out.push(b' ');
    out.extend_from_slice(uri);
    out.extend_from_slice(b" SIP/2.0\r\n");
    if let Some(via) = invite.header(Name::Via) {
        line(&mut out, b"Via", via);
    }
    copy(&mut out, invite, Name::Route);
    out.extend_from_slice(b"Max-Forwards: 70\r\n");
    copy(&mut out, invite, Name::From);
    line(&mut out, b"To", to);
    copy(&mut out, invite, Name::CallId);
    let number = invite.cseq().map_or(0, |c| c.number);
    line(&mut out, b"CSeq", format!("{number} {method}").as_bytes());
    out.extend_from_slice(headers);
    out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
    out
}

/// Copies each line of a header, under its long name.
fn copy(out: &mut Vec<u8>, from: &Message<'_>, name: Name<'static>) {
    for value in from.headers(name) {
        line(out, name.as_bytes(), &unfold(value));
    }
}

fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Whether a block of header lines that we wrote has a line that begins with `name`.
fn has_header(headers: &[u8], name: &[u8]) -> bool {
    headers.split(|b| *b == b'\n').any(|l| {
        l.get(..name.len())
            .is_some_and(|n| n.eq_ignore_ascii_case(name))
    })
}

/// `host:port` for Via; an IPv6 address in brackets.
pub(super) fn sent_by(host: Option<&str>, addr: SocketAddr) -> String {
    match (host, addr.ip()) {
        (Some(host), _) => format!("{host}:{}", addr.port()),
        (None, IpAddr::V4(_) | IpAddr::V6(_)) => addr.to_string(),
    }
}
