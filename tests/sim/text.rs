//! A second opinion on SIP and MSRP: naive readers and writers, slow and plain, that share nothing with the engine.

use std::fmt::Write as _;

/// A SIP message, taken apart by lines.
#[derive(Clone, Debug)]
pub(crate) struct Sip {
    pub(crate) start: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Sip {
    /// A whole message.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let head = find(bytes, b"\r\n\r\n")?;
        let text = std::str::from_utf8(&bytes[..head]).ok()?;
        let mut lines = text.split("\r\n");
        let start = lines.next()?.to_owned();
        let headers = lines
            .map(|l| {
                let (name, value) = l.split_once(':')?;
                Some((name.trim().to_owned(), value.trim().to_owned()))
            })
            .collect::<Option<Vec<_>>>()?;
        Some(Self {
            start,
            headers,
            body: bytes[head + 4..].to_vec(),
        })
    }

    pub(crate) fn get(&self, name: &str) -> &str {
        self.headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map_or("", |(_, v)| v.as_str())
    }

    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers
            .iter()
            .filter(move |(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
    }

    /// The status code of a response.
    pub(crate) fn code(&self) -> Option<u16> {
        self.start.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
    }

    /// The method: of the request line, or of CSeq.
    pub(crate) fn method(&self) -> &str {
        if self.code().is_some() {
            self.get("CSeq").split_whitespace().nth(1).unwrap_or("")
        } else {
            self.start.split(' ').next().unwrap_or("")
        }
    }

    pub(crate) fn cseq(&self) -> u32 {
        self.get("CSeq")
            .split_whitespace()
            .next()
            .and_then(|n| n.parse().ok())
            .unwrap_or(0)
    }

    pub(crate) fn branch(&self) -> String {
        param(self.get("Via"), "branch").to_owned()
    }

    /// The URI inside `<>` of a header, or the whole value without parameters.
    pub(crate) fn uri(&self, name: &str) -> String {
        let v = self.get(name);
        match (v.find('<'), v.find('>')) {
            (Some(a), Some(b)) => v[a + 1..b].to_owned(),
            _ => v.split(';').next().unwrap_or("").to_owned(),
        }
    }

    /// A response to this request: what must be copied, and more.
    pub(crate) fn answer(
        &self,
        code: u16,
        reason: &str,
        to_tag: &str,
        more: &str,
        body: &str,
    ) -> Vec<u8> {
        let mut m = format!("SIP/2.0 {code} {reason}\r\n");
        for via in self.all("Via") {
            let _ = write!(m, "Via: {via}\r\n");
        }
        for rr in self.all("Record-Route") {
            let _ = write!(m, "Record-Route: {rr}\r\n");
        }
        let to = self.get("To");
        let tag = if to.contains(";tag=") || to_tag.is_empty() {
            String::new()
        } else {
            format!(";tag={to_tag}")
        };
        let _ = write!(
            m,
            "From: {}\r\nTo: {to}{tag}\r\nCall-ID: {}\r\nCSeq: {}\r\n{more}Content-Length: {}\r\n\r\n{body}",
            self.get("From"),
            self.get("Call-ID"),
            self.get("CSeq"),
            body.len()
        );
        m.into_bytes()
    }
}

/// The value of a parameter behind `;`.
pub(crate) fn param<'a>(value: &'a str, name: &str) -> &'a str {
    value
        .split(';')
        .find_map(|p| {
            let (n, v) = p.split_once('=')?;
            n.trim()
                .eq_ignore_ascii_case(name)
                .then(|| v.trim().trim_end_matches('>'))
        })
        .unwrap_or("")
}

/// One attribute of an SDP.
pub(crate) fn sdp<'a>(body: &'a str, name: &str) -> Option<&'a str> {
    let prefix = format!("a={name}");
    body.lines().find_map(|l| {
        let rest = l.trim_end().strip_prefix(&prefix)?;
        if rest.is_empty() {
            Some("")
        } else {
            rest.strip_prefix(':')
        }
    })
}

/// A whole MSRP frame.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) tid: String,
    /// `SEND`, `REPORT`, or a status code.
    pub(crate) what: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Option<Vec<u8>>,
    pub(crate) flag: u8,
}

impl std::fmt::Display for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (id, range, status) = (
            self.get("Message-ID"),
            self.get("Byte-Range"),
            self.get("Status"),
        );
        let flag = self.flag as char;
        write!(f, "{} {} {id} {range} {status}{flag}", self.what, self.tid)
    }
}

impl Frame {
    pub(crate) fn get(&self, name: &str) -> &str {
        self.headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map_or("", |(_, v)| v)
    }

    /// Start, end and total of Byte-Range; `None` where there is `*`.
    pub(crate) fn range(&self) -> Option<(usize, Option<usize>, Option<usize>)> {
        let (range, total) = self.get("Byte-Range").split_once('/')?;
        let (start, end) = range.split_once('-')?;
        Some((start.parse().ok()?, end.parse().ok(), total.parse().ok()))
    }
}

/// Takes the first whole frame off a buffer. `Err`: what is there is no MSRP.
pub(crate) fn frame(buffer: &mut Vec<u8>) -> Result<Option<Frame>, String> {
    let Some(line) = find(buffer, b"\r\n") else {
        return Ok(None);
    };
    let start = std::str::from_utf8(&buffer[..line]).map_err(|e| e.to_string())?;
    let mut words = start.split(' ');
    let (Some("MSRP"), Some(tid), Some(what)) = (words.next(), words.next(), words.next()) else {
        return Err(format!("no start line: {start:?}"));
    };
    let (tid, what) = (tid.to_owned(), what.to_owned());
    let dashes = format!("-------{tid}").into_bytes();
    let mut at = line + 2;
    let mut headers = Vec::new();
    loop {
        let Some(n) = find(&buffer[at..], b"\r\n") else {
            return Ok(None);
        };
        let l = &buffer[at..at + n];
        if l.len() == dashes.len() + 1 && l.starts_with(&dashes) {
            let flag = l[dashes.len()];
            buffer.drain(..at + n + 2);
            return Ok(Some(Frame {
                tid,
                what,
                headers,
                body: None,
                flag,
            }));
        }
        if l.is_empty() {
            break;
        }
        let text = std::str::from_utf8(l).map_err(|e| e.to_string())?;
        let (name, value) = text
            .split_once(": ")
            .ok_or_else(|| format!("no header: {text:?}"))?;
        headers.push((name.to_owned(), value.to_owned()));
        at += n + 2;
    }
    let body_at = at + 2;
    let mut close = b"\r\n".to_vec();
    close.extend(&dashes);
    let mut from = body_at;
    // The CRLF of the end-line may be the blank line's own only if there is no body: that is the case above.
    while let Some(n) = find(&buffer[from..], &close) {
        let end = from + n;
        let flag_at = end + close.len();
        let Some(tail) = buffer.get(flag_at..flag_at + 3) else {
            return Ok(None);
        };
        if matches!(tail[0], b'$' | b'+' | b'#') && &tail[1..] == b"\r\n" {
            let body = buffer[body_at..end].to_vec();
            let flag = tail[0];
            buffer.drain(..flag_at + 3);
            return Ok(Some(Frame {
                tid,
                what,
                headers,
                body: Some(body),
                flag,
            }));
        }
        from = end + 1;
    }
    Ok(None)
}

pub(crate) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    memchr::memmem::find(haystack, needle)
}

/// The answer to a SEND.
pub(crate) fn msrp_response(f: &Frame, code: u16, own: &str) -> Vec<u8> {
    let to = f.get("From-Path").split(' ').next().unwrap_or("");
    format!(
        "MSRP {} {code} OK\r\nTo-Path: {to}\r\nFrom-Path: {own}\r\n-------{}$\r\n",
        f.tid, f.tid
    )
    .into_bytes()
}

/// A SEND, with or without body.
#[derive(Clone, Debug, Default)]
pub(crate) struct Send<'a> {
    pub(crate) tid: &'a str,
    pub(crate) to: &'a str,
    pub(crate) from: &'a str,
    pub(crate) id: &'a str,
    pub(crate) range: (usize, usize, usize),
    pub(crate) reports: &'a str,
    pub(crate) content_type: &'a str,
    pub(crate) body: Option<&'a [u8]>,
    pub(crate) flag: u8,
}

impl Send<'_> {
    pub(crate) fn write(&self) -> Vec<u8> {
        let (start, end, total) = self.range;
        let mut m = format!(
            "MSRP {} SEND\r\nTo-Path: {}\r\nFrom-Path: {}\r\nMessage-ID: {}\r\nByte-Range: {start}-{end}/{total}\r\n{}",
            self.tid, self.to, self.from, self.id, self.reports
        )
        .into_bytes();
        if let Some(body) = self.body {
            m.extend(format!("Content-Type: {}\r\n\r\n", self.content_type).bytes());
            m.extend(body);
            m.extend(b"\r\n");
        }
        m.extend(format!("-------{}{}\r\n", self.tid, self.flag as char).bytes());
        m
    }
}
