//! Heads that begin and do not end.

use std::time::Duration;

use crate::{
    harness::{Leg, Send, World},
    heads::head,
};

// A head that begins and does not end is not waited for without end, whatever it says so far: it is answered where it can be,
// and its connection is closed; neither on a bound connection nor on a new one. [MSRP-FRAME-12]
#[test]
fn a_head_that_does_not_end_is_not_waited_for() {
    let starts = |leg: &Leg| {
        let (to, from) = (
            format!("To-Path: {}", leg.own),
            format!("From-Path: {}", leg.path),
        );
        vec![
            ("MS".to_owned(), None),
            ("MSRP badhead1 SE".to_owned(), None),
            (head("SEND", &[]), None),
            (head("SEND", &[&to]), None),
            (head("SEND", &[&to, &from]), Some(400)),
            (head("SEND", &[&to, &from, "Message-ID: m123"]), Some(400)),
            (head("SEND", &[&to, &from, "Byte-Range: x"]), Some(400)),
            (head("SEND", &[&to, &from, "Failure-Report: no"]), None),
            (head("SEND", &[&to, &from]) + "-------badhea", Some(400)),
            (head("SEND", &[&to, &from]) + "-------badhead1$", Some(400)),
            (head("REPORT", &[&to, &from]), None),
            (head("200 OK", &[&to, &from]), None),
        ]
    };
    let count = starts(&World::plain().session(1)[0]).len();
    for n in 0..count {
        let mut w = World::plain();
        let legs = w.session(2);
        let (text, code) = starts(&legs[1]).swap_remove(n);
        // A little at a time does not help either.
        let (first, rest) = text.as_bytes().split_at(text.len() / 2);
        w.feed(legs[1].conn, first);
        w.pass(Duration::from_secs(6));
        assert!(
            !w.peers[legs[1].conn].closed,
            "a network may stand still: {text:?}"
        );
        w.feed(legs[1].conn, rest);
        w.pass(Duration::from_secs(5));
        assert!(w.peers[legs[1].conn].closed, "{text:?}");
        let answers = w.read(legs[1].conn);
        assert_eq!(answers.first().and_then(|m| m.code()), code, "{text:?}");
        let send = Send::new(&mut w, "to the other");
        w.feed(legs[0].conn, &send.on(&legs[0]));
        assert_eq!(w.ack_all(&legs[2])[0].text(), "to the other");
        assert_eq!(w.plane.heads(), 0);
        w.end(legs[0].session);
    }
    // What ends in time is as good as any.
    let mut w = World::plain();
    let legs = w.session(1);
    let send = Send::new(&mut w, "slow");
    let bytes = send.on(&legs[0]);
    for piece in bytes.chunks(bytes.len() / 8 + 1) {
        w.feed(legs[0].conn, piece);
        w.pass(Duration::from_secs(1));
    }
    assert_eq!(w.ack_all(&legs[1])[0].text(), "slow");
    w.pass(Duration::from_secs(60));
    assert!(!w.peers[legs[0].conn].closed);
    w.end(legs[0].session);
}

// What a head holds that does not end is bounded, and given back. [MSRP-FRAME-12]
#[test]
fn heads_that_do_not_end_hold_nothing_for_long() {
    let mut w = World::plain();
    let legs = w.session(1);
    let mut conns = Vec::new();
    for _ in 0..50 {
        let conn = w.accept();
        w.feed(
            conn,
            head("SEND", &[&format!("To-Path: {}", legs[1].own)]).as_bytes(),
        );
        conns.push(conn);
    }
    assert!(w.plane.heads() > 0);
    w.pass(Duration::from_secs(11));
    assert_eq!(w.plane.heads(), 0);
    assert!(conns.iter().all(|&c| w.peers[c].closed));
    w.end(legs[0].session);
}

// A body that outgrows its Byte-Range is answered 400 at once; if its end has passed unseen (another id, another flag), what follows
// is taken for the rest of it: that is not waited for without end either. [MSRP-FRAME-09]
#[test]
fn a_refused_message_that_does_not_end_closes_its_connection() {
    for (end, closes) in [
        ("\r\n-------another1$\r\n", true),
        ("\r\n-------badhead1?\r\n", true),
        ("\r\n------badhead1$\r\n", true),
        (" and more\r\n-------badhead1$\r\n", false),
    ] {
        for head_too in [false, true] {
            let mut w = World::plain();
            let legs = w.session(2);
            let mut lines = vec![
                format!("To-Path: {}", legs[1].own),
                format!("From-Path: {}", legs[1].path),
                "Message-ID: m123".to_owned(),
                "Byte-Range: 1-2/2".to_owned(),
            ];
            if head_too {
                // Its head alone is refused already.
                lines[3] = "Byte-Range: x".to_owned();
            }
            lines.push("Content-Type: text/plain".to_owned());
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            let text = head("SEND", &lines) + "\r\nhi" + end;
            w.feed(legs[1].conn, text.as_bytes());
            assert_eq!(w.answer(legs[1].conn, "badhead1"), Some(400), "{end:?}");
            for _ in 0..4 {
                let send = Send::new(&mut w, "next");
                w.feed(legs[1].conn, &send.on(&legs[1]));
                w.ack_all(&legs[0]);
                let code = w.answer(legs[1].conn, &send.tid);
                assert_eq!(code, (!closes).then_some(200), "{end:?}");
                assert!(!w.peers[legs[1].conn].closed);
                w.pass(Duration::from_secs(7));
            }
            w.pass(Duration::from_secs(3));
            assert_eq!(w.peers[legs[1].conn].closed, closes, "{end:?}");
            let send = Send::new(&mut w, "to the other");
            w.feed(legs[0].conn, &send.on(&legs[0]));
            assert_eq!(w.ack_all(&legs[2])[0].text(), "to the other");
            w.end(legs[0].session);
        }
    }
}
