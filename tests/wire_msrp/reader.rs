//! A reader as small as can be: pieces of a stream in, what was understood out. Heads are gathered, bodies are searched in
//! the pieces as they come, each in memory of its own.

use std::fmt::Write as _;

use ringfork::wire::msrp::{EndScan, Error, Head, Kind, Parse, Reach, Scan, parse};

/// What a stream said.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    /// A line a message, a refused head included.
    pub lines: Vec<String>,
    /// The bodies, in order.
    pub bodies: Vec<Vec<u8>>,
    /// The first error that reaches the connection.
    pub poisoned: Option<String>,
}

enum State {
    Head {
        scanned: usize,
    },
    Body {
        scan: Box<EndScan>,
        tid: Vec<u8>,
        keep: bool,
    },
}

/// Feeds `pieces` one after the other.
pub(crate) fn hear<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> Heard {
    let mut heard = Heard::default();
    let mut state = State::Head { scanned: 0 };
    let mut head: Vec<u8> = Vec::new();
    let mut held: Vec<u8> = Vec::new();
    for piece in pieces {
        let mut rest = piece.to_vec();
        while !rest.is_empty() {
            match &mut state {
                State::Head { scanned } => {
                    head.append(&mut rest);
                    let (len, flag, tid, keep) = match parse(&head, *scanned) {
                        Ok(Parse::Partial { scanned: n }) => {
                            assert_eq!(n, head.len(), "every byte is searched");
                            *scanned = n;
                            continue;
                        }
                        Ok(Parse::Complete { head: view, len }) => {
                            heard.lines.push(describe(&head, &view, len));
                            (len, view.end_flag, view.tid.to_vec(), true)
                        }
                        Err(e) => {
                            let line = complain(&head, &e);
                            heard.lines.push(line.clone());
                            if e.reach == Reach::Connection {
                                heard.poisoned = Some(line);
                                return heard;
                            }
                            let tid = e
                                .tid
                                .expect("a chunk is skipped by its id")
                                .of(&head)
                                .to_vec();
                            (e.len as usize, e.end_flag, tid, false)
                        }
                    };
                    rest = head.split_off(len);
                    head.clear();
                    state = if flag.is_some() {
                        State::Head { scanned: 0 }
                    } else {
                        if keep {
                            heard.bodies.push(Vec::new());
                        }
                        State::Body {
                            scan: Box::default(),
                            tid,
                            keep,
                        }
                    };
                }
                State::Body { scan, tid, keep } => {
                    let found = scan.scan(&rest, tid);
                    let (released, safe) = match found {
                        Scan::Found {
                            released, body_end, ..
                        } => (released, body_end),
                        Scan::None { released, safe } => (released, safe),
                    };
                    assert!(
                        released == 0 || released == held.len(),
                        "all of it or nothing"
                    );
                    let mut body: Vec<u8> = held.drain(..released).collect();
                    body.extend_from_slice(&rest[..safe]);
                    if *keep {
                        heard.bodies.last_mut().expect("begun").extend(body);
                    }
                    match found {
                        Scan::Found { after, flag, .. } => {
                            held.clear();
                            heard.lines.push(format!(
                                "end {} after {} bytes",
                                char::from(flag),
                                scan.body_len()
                            ));
                            rest = rest.split_off(after);
                            state = State::Head { scanned: 0 };
                        }
                        Scan::None { .. } => {
                            held.extend_from_slice(&rest[safe..]);
                            assert_eq!(held, scan.held());
                            rest.clear();
                        }
                    }
                }
            }
        }
    }
    match state {
        State::Head { .. } if !head.is_empty() => heard.lines.push("head open".into()),
        State::Head { .. } => {}
        State::Body { .. } => heard.lines.push("body open".into()),
    }
    heard
}

/// All there is to know about a head, on one line.
pub(crate) fn describe(bytes: &[u8], head: &Head<'_>, len: usize) -> String {
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    let mut line = match head.kind {
        Kind::Request { method } => format!("{method:?} {}", text(head.tid)),
        Kind::Response { code, comment } => {
            format!("{code} {} ({})", text(head.tid), text(comment))
        }
    };
    let _ = write!(
        line,
        " to {} from {}",
        text(head.to_path),
        text(head.from_path)
    );
    if let Some(id) = head.message_id {
        let _ = write!(line, " id {}", text(id));
    }
    if let (Some(range), Some(at)) = (head.byte_range, &head.range_at) {
        let star = |n: Option<u64>| n.map_or("*".into(), |n| n.to_string());
        let _ = write!(
            line,
            " range {}-{}/{}",
            range.start,
            star(range.end),
            star(range.total)
        );
        assert!(head.rest.start <= at.line && at.end + 2 <= head.rest.end);
        assert!(
            bytes[at.line..at.end]
                .to_ascii_lowercase()
                .starts_with(b"byte-range: ")
        );
        assert_eq!(&bytes[at.end..at.end + 2], b"\r\n");
    }
    if let Some(status) = head.status {
        let _ = write!(line, " status {:03} {:03}", status.namespace, status.code);
    }
    let _ = write!(
        line,
        " success {} failure {:?}",
        head.success_report, head.failure_report
    );
    if let Some(content) = head.content_type {
        let _ = write!(line, " type {}", text(content));
    }
    let _ = write!(line, " rest {:?}", text(&bytes[head.rest.clone()]));
    match head.end_flag {
        Some(flag) => {
            let _ = write!(line, " end {}", char::from(flag));
            assert!(head.content_type.is_none() && head.rest.end + head.tid.len() + 10 == len);
        }
        None => assert_eq!(head.rest.end, len),
    }
    line
}

/// All there is to know about an error, on one line.
pub(crate) fn complain(bytes: &[u8], e: &Error) -> String {
    let part = |s: Option<ringfork::wire::msrp::Span>| {
        s.map(|s| String::from_utf8_lossy(s.of(bytes)).into_owned())
    };
    format!(
        "{:?} at {} reaches {:?} status {:?} id {:?} from {:?}",
        e.rule,
        e.at,
        e.reach,
        e.status,
        part(e.tid),
        part(e.from_path)
    )
}
