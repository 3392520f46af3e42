//! SIP and MSRP as floods and the canary write and read them: short texts, put together by hand. Floods are wrong on purpose,
//! and a writer that knows the grammar would not let them.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{names::DOMAIN, sip_text::ICSI};

static SERIAL: AtomicU64 = AtomicU64::new(1);

/// A word that this run has not used yet.
pub(super) fn fresh(what: &str) -> String {
    let n = SERIAL.fetch_add(1, Ordering::Relaxed);
    format!("{what}{}x{n}", std::process::id())
}

/// One SIP request.
pub(super) struct Ask<'a> {
    pub(super) method: &'a str,
    pub(super) uri: &'a str,
    pub(super) here: SocketAddr,
    /// `UDP` or `TCP`.
    pub(super) transport: &'a str,
    pub(super) from: &'a str,
    pub(super) to: &'a str,
    pub(super) call_id: &'a str,
    pub(super) cseq: u32,
    /// Whole header lines.
    pub(super) more: &'a str,
    pub(super) body: &'a str,
}

impl Ask<'_> {
    pub(super) fn write(&self) -> Vec<u8> {
        let Self {
            method,
            uri,
            here,
            transport,
            from,
            to,
            call_id,
            cseq,
            more,
            body,
        } = self;
        let branch = fresh("z9hG4bK");
        let length = body.len();
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/{transport} {here};branch={branch}\r\nMax-Forwards: 70\r\nFrom: {from}\r\n\
             To: {to}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\n{more}Content-Length: {length}\r\n\r\n{body}"
        )
        .into_bytes()
    }
}

/// A REGISTER of `user`, who is at `contact`.
pub(super) fn register(
    user: &str,
    here: SocketAddr,
    transport: &str,
    contact: &str,
    (call_id, cseq): (&str, u32),
) -> Vec<u8> {
    let aor = format!("<sip:{user}@{DOMAIN}>");
    Ask {
        method: "REGISTER",
        uri: &format!("sip:{DOMAIN}"),
        here,
        transport,
        from: &format!("{aor};tag={user}"),
        to: &aor,
        call_id,
        cseq,
        more: &format!("Contact: {contact}\r\nExpires: 600\r\n"),
        body: "",
    }
    .write()
}

/// A contact that a session is offered to.
pub(super) fn contact(user: &str, device: usize, here: SocketAddr) -> String {
    format!("<sip:{user}-{device}@{here}>;+sip.instance=\"<urn:uuid:{user}-{device}>\";{ICSI}")
}

/// The value of a header.
pub(super) fn header<'t>(message: &'t str, name: &str) -> Option<&'t str> {
    let head = message.split("\r\n\r\n").next()?;
    head.split("\r\n").skip(1).find_map(|line| {
        let (n, value) = line.split_once(':')?;
        n.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// The code of an answer.
pub(super) fn code(message: &str) -> Option<u16> {
    message
        .strip_prefix("SIP/2.0 ")?
        .get(..3)
        .and_then(|c| c.parse().ok())
}

/// An answer to `request`.
pub(super) fn answer(request: &str, code: u16, tag: &str, more: &str, body: &str) -> Vec<u8> {
    let mut out = format!("SIP/2.0 {code} Said\r\n");
    for line in request.split("\r\n\r\n").next().unwrap_or("").split("\r\n") {
        let name = line.split(':').next().unwrap_or("");
        let copied = ["Via", "From", "To", "Call-ID", "CSeq", "Record-Route"];
        if copied.iter().any(|c| name.eq_ignore_ascii_case(c)) {
            out += line;
            if name.eq_ignore_ascii_case("To") && !line.contains(";tag=") {
                out += &format!(";tag={tag}");
            }
            out += "\r\n";
        }
    }
    out += &format!("{more}Content-Length: {}\r\n\r\n{body}", body.len());
    out.into_bytes()
}

/// A session description of `path`, whose owner connects.
pub(super) fn sdp(path: &str, here: SocketAddr) -> String {
    let ip = here.ip();
    format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=message 9 TCP/MSRP *\r\n\
         a=accept-types:message/cpim\r\na=accept-wrapped-types:*\r\na=setup:active\r\na=path:{path}\r\n"
    )
}

/// The MSRP path of a session description.
pub(super) fn path(sdp: &str) -> Option<&str> {
    sdp.split("\r\n").find_map(|l| l.strip_prefix("a=path:"))
}

/// Where an MSRP path leads.
pub(super) fn place(path: &str) -> Option<SocketAddr> {
    let authority = path.strip_prefix("msrp://")?.split('/').next()?;
    authority.rsplit('@').next()?.parse().ok()
}

/// A SEND of a range of a message.
pub(super) fn send(
    (to, from): (&str, &str),
    id: &str,
    (first, total): (usize, usize),
    body: &[u8],
    flag: char,
) -> Vec<u8> {
    let tid = fresh("t");
    let last = first + body.len() - 1;
    let mut out = format!(
        "MSRP {tid} SEND\r\nTo-Path: {to}\r\nFrom-Path: {from}\r\nMessage-ID: {id}\r\n\
         Byte-Range: {first}-{last}/{total}\r\nContent-Type: message/cpim\r\n\r\n"
    )
    .into_bytes();
    out.extend_from_slice(body);
    out.extend_from_slice(format!("\r\n-------{tid}{flag}\r\n").as_bytes());
    out
}

/// A SEND without a body, which names a session on a new connection.
pub(super) fn bare(to: &str, from: &str) -> Vec<u8> {
    let (tid, id) = (fresh("t"), fresh("m"));
    format!(
        "MSRP {tid} SEND\r\nTo-Path: {to}\r\nFrom-Path: {from}\r\nMessage-ID: {id}\r\nByte-Range: 1-0/0\r\n-------{tid}$\r\n"
    )
    .into_bytes()
}

/// A CPIM message of `len` bytes at least that begins with `text`.
pub(super) fn cpim(text: &str, len: usize) -> Vec<u8> {
    let mut out = format!(
        "From: <sip:a@{DOMAIN}>\r\nTo: <sip:b@{DOMAIN}>\r\nDateTime: 2026-01-01T00:00:00Z\r\n\r\n\
         Content-Type: text/plain\r\n\r\n{text} "
    )
    .into_bytes();
    out.resize(out.len().max(len), b'.');
    out
}

/// An MSRP frame that has come whole.
pub(super) struct Frame<'b> {
    pub(super) tid: &'b str,
    /// `SEND`, `REPORT`, or a code.
    pub(super) what: &'b str,
    pub(super) from: &'b str,
    pub(super) body: &'b [u8],
    /// Its length on the wire.
    pub(super) len: usize,
}

/// The first frame in `bytes`, if it is there whole.
pub(super) fn frame(bytes: &[u8]) -> Option<Frame<'_>> {
    let line = find(bytes, b"\r\n")?;
    let first = std::str::from_utf8(&bytes[..line]).ok()?;
    let mut words = first.split(' ').skip(1);
    let (tid, what) = (words.next()?, words.next()?);
    let end = format!("\r\n-------{tid}");
    let at = line + find(&bytes[line..], end.as_bytes())?;
    let len = at + end.len() + 3;
    if bytes.len() < len {
        return None;
    }
    let inside = &bytes[line..at];
    let (head, body) = match find(inside, b"\r\n\r\n") {
        Some(n) => (&inside[..n], &inside[n + 4..]),
        None => (inside, &[][..]),
    };
    let head = std::str::from_utf8(head).ok()?;
    let from = head
        .split("\r\n")
        .find_map(|l| l.strip_prefix("From-Path: "))?;
    Some(Frame {
        tid,
        what,
        from,
        body,
        len,
    })
}

/// An answer to a SEND.
pub(super) fn msrp_answer(frame: &Frame<'_>, code: u16, own: &str) -> Vec<u8> {
    let Frame { tid, from, .. } = frame;
    format!("MSRP {tid} {code} Said\r\nTo-Path: {from}\r\nFrom-Path: {own}\r\n-------{tid}$\r\n")
        .into_bytes()
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(n) = bytes.get(from..)?.iter().position(|b| *b == what[0]) {
        let at = from + n;
        if bytes[at..].starts_with(what) {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_read_once_it_is_whole() {
        let paths = ("msrp://a:1/x;tcp", "msrp://b:2/y;tcp");
        let bytes = send(paths, "m", (1, 5), b"a\r\n--", '$');
        for n in 0..bytes.len() {
            assert!(frame(&bytes[..n]).is_none(), "{n}");
        }
        let f = frame(&bytes).unwrap();
        assert_eq!((f.what, f.from, f.body), ("SEND", paths.1, &b"a\r\n--"[..]));
        assert_eq!(f.len, bytes.len());
        let answer = msrp_answer(&f, 200, paths.0);
        assert_eq!(frame(&answer).unwrap().what, "200");
        assert_eq!(frame(&bare(paths.0, paths.1)).unwrap().body, b"");
    }

    #[test]
    fn an_answer_says_what_its_request_said() {
        let here = "127.0.0.1:9".parse().unwrap();
        let request = register("bob", here, "UDP", "<sip:b>", ("c", 7));
        let request = String::from_utf8(request).unwrap();
        let answer = String::from_utf8(answer(&request, 200, "t", "", "")).unwrap();
        assert_eq!(code(&answer), Some(200));
        for name in ["Via", "Call-ID", "CSeq"] {
            assert_eq!(header(&answer, name), header(&request, name));
        }
        assert!(header(&answer, "To").unwrap().ends_with(";tag=t"));
        assert_eq!(code(&request), None);
    }
}
