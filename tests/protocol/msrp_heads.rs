//! Heads that cannot be parsed: each is answered or closes its connection within a second, whole or byte by byte, and nobody
//! else notices.

use std::time::Duration;

use ringfork::msrp::{Event, Failure};

use crate::harness::{Leg, Send, World, bare, each_way};

/// What must become of bytes that a peer sends on a bound connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comes {
    /// An answer; the connection goes on.
    Code(u16),
    /// An answer, then the end of the connection.
    CodeAndClose(u16),
    /// The end of the connection.
    Close,
    /// Nothing, for nothing may be said; the connection goes on.
    Silence,
}

use Comes::{Close, Code, CodeAndClose, Silence};

const TID: &str = "badhead1";

/// A head of TID: a start line with `what`, then `lines`.
pub(crate) fn head(what: &str, lines: &[&str]) -> String {
    let mut all = format!("MSRP {TID} {what}\r\n");
    for line in lines {
        all.push_str(line);
        all.push_str("\r\n");
    }
    all
}

fn end(flag: char) -> String {
    format!("-------{TID}{flag}\r\n")
}

/// Every kind of head that is none, on `leg`, and what must come of it.
fn kinds(leg: &Leg) -> Vec<(&'static str, Vec<u8>, Comes)> {
    let (to, from) = (
        format!("To-Path: {}", leg.own),
        format!("From-Path: {}", leg.path),
    );
    let (to, from) = (to.as_str(), from.as_str());
    let id = "Message-ID: m123";
    let kind = "Content-Type: text/plain";
    // With a body behind it, or the end-line alone.
    let body = |lines: &[&str]| head("SEND", lines) + kind + "\r\n\r\nhi\r\n" + &end('$');
    let none = |lines: &[&str]| head("SEND", lines) + &end('$');
    let many: Vec<String> = (0..70).map(|n| format!("X-{n}: y")).collect();
    let mut crowd = vec![to, from, id];
    crowd.extend(many.iter().map(String::as_str));
    let no_colon_to = to.replacen(": ", " ", 1);
    let no_colon_from = from.replacen(": ", " ", 1);
    let cases: Vec<(&'static str, String, Comes)> = vec![
        // A line without a colon, at each place.
        (
            "no colon, body",
            body(&[to, from, id, "NoColon"]),
            CodeAndClose(400),
        ),
        (
            "no colon, no body",
            none(&[to, from, id, "NoColon"]),
            CodeAndClose(400),
        ),
        (
            "no colon, not ended",
            head("SEND", &[to, from, "NoColon"]),
            CodeAndClose(400),
        ),
        (
            "no colon behind To-Path",
            none(&[to, "NoColon", from, id]),
            Close,
        ),
        (
            "no colon before the paths",
            none(&["NoColon", to, from, id]),
            Close,
        ),
        (
            "To-Path without colon",
            none(&[&no_colon_to, from, id]),
            Close,
        ),
        (
            "To-Path without colon, body",
            body(&[&no_colon_to, from, id]),
            Close,
        ),
        (
            "From-Path without colon",
            none(&[to, &no_colon_from, id]),
            Close,
        ),
        (
            "Message-ID without colon",
            none(&[to, from, "Message-ID m123"]),
            CodeAndClose(400),
        ),
        (
            "colon without a space",
            none(&[to, from, "Message-ID:m123"]),
            Code(400),
        ),
        (
            "To-Path with colon, no space",
            body(&[&to.replacen(": ", ":", 1), from, id]),
            Close,
        ),
        (
            "no name before the colon",
            body(&[to, from, id, ": x"]),
            Code(400),
        ),
        (
            "a name with a space",
            body(&[to, from, id, "X Y: z"]),
            Code(400),
        ),
        // The next message where a header should be.
        (
            "never ended, then another",
            head("SEND", &[to, from, id]) + &none(&[to, from, id]),
            CodeAndClose(400),
        ),
        // Start lines.
        ("no MSRP", "MSRQ badhead1 SEND\r\n".into(), Close),
        ("a tid of three", "MSRP abc SEND\r\n".into(), Close),
        (
            "a tid of 33",
            format!("MSRP {} SEND\r\n", "a".repeat(33)),
            Close,
        ),
        (
            "a tid that begins with a dot",
            "MSRP .abcd SEND\r\n".into(),
            Close,
        ),
        ("a tid with a slash", "MSRP ab/cd SEND\r\n".into(), Close),
        ("no method", "MSRP badhead1 \r\n".into(), Close),
        (
            "a method in small letters",
            "MSRP badhead1 send\r\n".into(),
            Close,
        ),
        (
            "a method half in small letters",
            head("SEnd", &[to, from, id]) + &end('$'),
            Code(400),
        ),
        (
            "a word behind the method",
            head("SEND x", &[to, from, id]) + &end('$'),
            Code(400),
        ),
        (
            "an unknown method",
            head("PUSH", &[to, from, id]) + &end('$'),
            Code(501),
        ),
        (
            "a bare LF",
            format!("MSRP {TID} SEND\r\n{to}\r\n{from}\n"),
            Close,
        ),
        (
            "a bare LF behind the paths",
            head("SEND", &[to, from, "X: y\nZ: z"]),
            CodeAndClose(400),
        ),
        // Paths.
        ("no To-Path", none(&[from, id]), Close),
        ("no From-Path", none(&[to, id]), Close),
        ("no paths", none(&[id]), Close),
        ("paths swapped", none(&[from, to, id]), Code(400)),
        (
            "Message-ID before the paths",
            none(&[id, to, from]),
            Code(400),
        ),
        ("To-Path twice", none(&[to, from, to, id]), Code(400)),
        ("From-Path twice", none(&[to, from, from, id]), Code(400)),
        ("an empty To-Path", none(&["To-Path: ", from, id]), Close),
        (
            "a To-Path that is no URI",
            none(&["To-Path: nonsense", from, id]),
            Code(481),
        ),
        (
            "a To-Path of SIP",
            none(&["To-Path: sip:bob@example.com", from, id]),
            Code(481),
        ),
        (
            "a From-Path that is no URI",
            none(&[to, "From-Path: nonsense", id]),
            Code(403),
        ),
        // Values.
        (
            "a Byte-Range that is none",
            body(&[to, from, id, "Byte-Range: x"]),
            Code(400),
        ),
        (
            "a Byte-Range from 0",
            body(&[to, from, id, "Byte-Range: 0-2/2"]),
            Code(400),
        ),
        (
            "a Byte-Range beyond its total",
            body(&[to, from, id, "Byte-Range: 1-9/2"]),
            Code(400),
        ),
        (
            "a Byte-Range that ends before it begins",
            body(&[to, from, id, "Byte-Range: 9-2/20"]),
            Code(400),
        ),
        (
            "a Byte-Range of 30 digits",
            body(&[to, from, id, &format!("Byte-Range: 1-{}/*", "9".repeat(30))]),
            Code(400),
        ),
        (
            "Byte-Range twice",
            body(&[to, from, id, "Byte-Range: 1-2/2", "Byte-Range: 1-2/2"]),
            Code(400),
        ),
        (
            "a Failure-Report that is none",
            body(&[to, from, id, "Failure-Report: maybe"]),
            Code(400),
        ),
        (
            "Failure-Report twice",
            body(&[to, from, id, "Failure-Report: yes", "Failure-Report: yes"]),
            Code(400),
        ),
        (
            "a Success-Report that is none",
            body(&[to, from, id, "Success-Report: maybe"]),
            Code(400),
        ),
        ("Message-ID twice", body(&[to, from, id, id]), Code(400)),
        (
            "a Message-ID of three",
            body(&[to, from, "Message-ID: abc"]),
            Code(400),
        ),
        (
            "a Message-ID of 33",
            body(&[to, from, &format!("Message-ID: {}", "a".repeat(33))]),
            Code(400),
        ),
        ("a body without Message-ID", body(&[to, from]), Code(400)),
        (
            "a body without Content-Type",
            head("SEND", &[to, from, id]) + "\r\nhi\r\n" + &end('$'),
            Code(400),
        ),
        (
            "Content-Type without a body",
            none(&[to, from, id, kind]),
            Code(400),
        ),
        (
            "a header behind Content-Type",
            body(&[to, from, id, kind, "X: y"]),
            Code(400),
        ),
        (
            "a Content-Type that is none",
            head("SEND", &[to, from, id, "Content-Type: text"]) + "\r\nhi\r\n" + &end('$'),
            Code(400),
        ),
        ("70 headers", none(&crowd), CodeAndClose(400)),
        // Octets.
        (
            "NUL in a value",
            body(&[to, from, id, "X: a\0b"]),
            Code(400),
        ),
        (
            "a bare CR in a value",
            body(&[to, from, id, "X: a\rb"]),
            Code(400),
        ),
        (
            "DEL in a value",
            body(&[to, from, id, "X: a\x7fb"]),
            Code(400),
        ),
        (
            "NUL in To-Path",
            none(&["To-Path: msrp://a\0b", from, id]),
            Close,
        ),
        (
            "a line of NULs",
            none(&[to, from, id, "\0\0"]),
            CodeAndClose(400),
        ),
        // Ends.
        (
            "an end-line of another id",
            head("SEND", &[to, from, id]) + "-------another1$\r\n",
            CodeAndClose(400),
        ),
        (
            "an end-line with another flag",
            head("SEND", &[to, from, id]) + &end('?'),
            CodeAndClose(400),
        ),
        (
            "an end-line of six dashes",
            head("SEND", &[to, from, id]) + &end('$')[1..],
            CodeAndClose(400),
        ),
        // No answer is wanted.
        (
            "Failure-Report no",
            body(&[to, from, id, "Failure-Report: no", "Byte-Range: x"]),
            Silence,
        ),
        (
            "Failure-Report no, framing lost",
            none(&[to, from, id, "Failure-Report: no", "NoColon"]),
            Close,
        ),
        // What is never answered.
        (
            "a REPORT without Status",
            head("REPORT", &[to, from, id]) + &end('$'),
            Silence,
        ),
        (
            "a REPORT without Message-ID",
            head("REPORT", &[to, from, "Status: 000 200 OK"]) + &end('$'),
            Silence,
        ),
        (
            "a REPORT with a Status that is none",
            head("REPORT", &[to, from, id, "Status: fine"]) + &end('$'),
            Silence,
        ),
        (
            "a REPORT with a line without colon",
            head("REPORT", &[to, from, id, "NoColon"]),
            Close,
        ),
        (
            "a response of two digits",
            head("20 OK", &[to, from]) + &end('$'),
            Silence,
        ),
        (
            "a response of four digits",
            head("2000 OK", &[to, from]) + &end('$'),
            Silence,
        ),
        (
            "a response with a body",
            head("200 OK", &[to, from, kind]) + "\r\nhi\r\n" + &end('$'),
            Silence,
        ),
        (
            "a response without paths",
            head("200 OK", &[]) + &end('$'),
            Silence,
        ),
        (
            "a response with a line without colon",
            head("200 OK", &[to, from, "NoColon"]),
            Close,
        ),
    ];
    let mut all: Vec<_> = cases
        .into_iter()
        .map(|(name, text, comes)| (name, text.into_bytes(), comes))
        .collect();
    let mut latin = head("SEND", &[to, from, id]).into_bytes();
    latin.extend_from_slice(b"X: caf\xe9\r\n");
    latin.extend_from_slice(end('$').as_bytes());
    all.push(("a value that is no UTF-8", latin, Code(400)));
    let mut long = head("SEND", &[to, from]).into_bytes();
    long.extend_from_slice(b"X: ");
    long.resize(17_000, b'y');
    all.push(("no CRLF for 16 KiB", long, CodeAndClose(400)));
    let mut endless = b"MSRP badhead1 SEND".to_vec();
    endless.resize(17_000, b'X');
    all.push(("a start line of 16 KiB", endless, Close));
    all
}

// RFC 4975 §10.2, §9: what cannot be understood gets 400 where both paths can be read; where framing is lost, or nobody can be
// told, the connection is closed. Within a second, on a leg of either side; a neighbour and a new session notice nothing.
// [MSRP-FRAME-09] [MSRP-FRAME-12] [MSRP-FRAME-10]
#[test]
fn a_head_that_is_none_is_answered_or_closes_its_connection() {
    each_side(|w, side| {
        let count = kinds(&Leg {
            session: Default::default(),
            leg: Default::default(),
            own: "x".into(),
            path: "y".into(),
            conn: Default::default(),
        })
        .len();
        let neighbour = w.session(1);
        for n in 0..count {
            let legs = w.session(2);
            let bad = &legs[side];
            let (name, bytes, comes) = kinds(bad).swap_remove(n);
            w.feed(bad.conn, &bytes);
            w.pass(Duration::from_secs(1));
            let answers = w.read(bad.conn);
            let codes: Vec<u16> = answers.iter().filter_map(|m| m.code()).collect();
            let closed = w.peers[bad.conn].closed;
            let came = match (codes[..].first(), closed) {
                (Some(&code), true) => CodeAndClose(code),
                (Some(&code), false) => Code(code),
                (None, true) => Close,
                (None, false) => Silence,
            };
            assert_eq!(came, comes, "{name}: {answers:?}");
            assert!(answers.len() <= 1, "{name}: {answers:?}");
            assert!(answers.iter().all(|m| m.tid == TID), "{name}: {answers:?}");
            if closed {
                assert!(
                    w.events.contains(&Event::Failed {
                        session: bad.session,
                        leg: bad.leg,
                        why: Failure::Malformed
                    }),
                    "{name}"
                );
            } else {
                // It is not stuck: what comes next on the same connection is answered.
                let tid = w.id("next");
                w.feed(bad.conn, &bare(&tid, bad));
                assert_eq!(w.answer(bad.conn, &tid), Some(200), "{name}");
            }
            let send = Send::new(w, "still here");
            w.feed(neighbour[0].conn, &send.on(&neighbour[0]));
            assert_eq!(w.ack_all(&neighbour[1])[0].text(), "still here", "{name}");
            assert_eq!(w.answer(neighbour[0].conn, &send.tid), Some(200), "{name}");
            w.command(ringfork::msrp::Command::Close {
                session: bad.session,
            });
        }
        w.end(neighbour[0].session);
    });
}

/// Each way to cut, with the bad bytes from the originator and from a device.
fn each_side(scenario: impl Fn(&mut World, usize)) {
    each_way(|w| {
        for side in 0..2 {
            scenario(w, side);
        }
    });
}

// The same on a connection that has named nobody yet: it is answered or closed just so.
#[test]
fn a_first_head_that_is_none_is_answered_or_closes_its_connection() {
    each_way(|w| {
        let session = w.open();
        let leg = w.unbound_leg(session, 1, |_| ());
        for (name, bytes, comes) in kinds(&leg) {
            let conn = w.accept();
            w.feed(conn, &bytes);
            w.pass(Duration::from_secs(1));
            let code = w.read(conn).first().and_then(|m| m.code());
            let closed = w.peers[conn].closed;
            match comes {
                CodeAndClose(wanted) => assert_eq!((code, closed), (Some(wanted), true), "{name}"),
                Close => assert_eq!((code, closed), (None, true), "{name}"),
                Code(_) => assert!(code.is_some() && !closed, "{name}: {code:?}"),
                Silence => assert_eq!((code, closed), (None, false), "{name}"),
            }
        }
        w.end(session);
    });
}

// Two sessions on one connection: a header that is wrong harms neither; where framing is lost both are told.
#[test]
fn a_bad_head_on_a_shared_connection() {
    each_way(|w| {
        let (one, two) = (w.open(), w.open());
        let senders = [w.leg(one, 0), w.leg(two, 0)];
        let first = w.leg(one, 1);
        let mut second = w.unbound_leg(two, 1, |_| ());
        second.conn = first.conn;
        w.bind(&second);
        let paths = |leg: &Leg| {
            (
                format!("To-Path: {}", leg.own),
                format!("From-Path: {}", leg.path),
            )
        };
        let (to, from) = paths(&first);
        let bad = head("SEND", &[&to, &from, "Byte-Range: x", "Message-ID: m123"]) + &end('$');
        w.feed(first.conn, bad.as_bytes());
        assert_eq!(w.answer(first.conn, TID), Some(400));
        let send = Send::new(w, "the other session");
        w.feed(senders[1].conn, &send.on(&senders[1]));
        assert_eq!(w.ack_all(&second)[0].text(), "the other session");
        w.events.clear();
        w.feed(
            first.conn,
            head("SEND", &[&to, &from, "NoColon"]).as_bytes(),
        );
        assert_eq!(w.answer(first.conn, TID), Some(400));
        for leg in [&first, &second] {
            assert!(w.events.contains(&Event::Failed {
                session: leg.session,
                leg: leg.leg,
                why: Failure::Malformed
            }));
        }
        w.end_all(&[one, two]);
    });
}
