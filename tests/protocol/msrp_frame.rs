//! Framing: what is a message, where it ends, and what is not one.

use ringfork::msrp::{Event, Failure};

use crate::harness::{Cuts, Send, World, assemble, each_way, pattern, settings};

// [MSRP-FRAME-02] [MSRP-FRAME-01] To-Path first, From-Path second, Content-Type last, one empty line, the body; without a
// body no Content-Type and no empty line: SEND, response, REPORT, bodiless SEND.
#[test]
fn order_of_headers_on_everything_we_send() {
    each_way(|w| {
        let legs = w.session(1);
        let send = Send::new(w, "x").extra("Success-Report: yes");
        w.feed(legs[0].conn, &send.on(&legs[0]));
        let got = w.one(legs[1].conn);
        let raw = String::from_utf8(got.raw.clone()).unwrap();
        assert_eq!(
            raw,
            format!(
                "MSRP {0} SEND\r\nTo-Path: {1}\r\nFrom-Path: {2}\r\nMessage-ID: {3}\r\nSuccess-Report: yes\r\nContent-Type: text/plain\r\n\r\nx\r\n-------{0}$\r\n",
                got.tid, legs[1].path, legs[1].own, send.id
            )
        );
        w.respond(&legs[1], &got, 200);
        w.report(&legs[1], &send.id, Some("1-1/1"), "000 200 OK");
        let answers = w.read(legs[0].conn);
        assert_eq!(answers.len(), 2);
        let raw = String::from_utf8(answers[0].raw.clone()).unwrap();
        assert_eq!(
            raw,
            format!(
                "MSRP {0} 200 OK\r\nTo-Path: {1}\r\nFrom-Path: {2}\r\n-------{0}$\r\n",
                send.tid, legs[0].path, legs[0].own
            )
        );
        let report = &answers[1];
        let raw = String::from_utf8(report.raw.clone()).unwrap();
        assert_eq!(
            raw,
            format!(
                "MSRP {0} REPORT\r\nTo-Path: {1}\r\nFrom-Path: {2}\r\nMessage-ID: {3}\r\nByte-Range: 1-1/1\r\nStatus: 000 200 OK\r\n-------{0}$\r\n",
                report.tid, legs[0].path, legs[0].own, send.id
            )
        );
        w.end(legs[0].session);
    });
}

// [MSRP-FRAME-01] A start line with lower-case "msrp", a double space, or a bare LF is no MSRP: the connection is closed,
// others go on.
#[test]
fn what_is_no_start_line_closes_its_connection_alone() {
    each_way(|w| {
        for garbage in [
            "msrp abcd1234 SEND\r\n",
            "MSRP  abcd1234 SEND\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "MSRP abcd1234 SEND\nTo-Path: x\n",
            "\r\n\r\nMSRP abcd1234 SEND\r\n",
        ] {
            let legs = w.session(2);
            w.feed(legs[1].conn, garbage.as_bytes());
            assert!(w.peers[legs[1].conn].closed, "{garbage:?}");
            assert!(w.events.contains(&Event::Failed {
                session: legs[1].session,
                leg: legs[1].leg,
                why: Failure::Malformed
            }));
            let send = Send::new(w, "still here");
            w.feed(legs[0].conn, &send.on(&legs[0]));
            assert_eq!(w.one(legs[2].conn).text(), "still here");
            w.end(legs[0].session);
        }
    });
}

// [MSRP-FRAME-03] NUL bytes, CRLF at the end, a lone LF, nothing at all (with a Content-Type): byte-exact.
#[test]
fn bodies_are_arbitrary_octets() {
    each_way(|w| {
        let legs = w.session(2);
        let bodies: [&[u8]; 7] = [
            b"\0\0a\0",
            b"ends with CRLF\r\n",
            b"\r\n",
            b"a\nb\n",
            b"",
            &[0xff, 0xfe, 0x80, b'\r'],
            b"\r\n\r\n-------\r\n",
        ];
        for body in bodies {
            let send = Send::new(w, body);
            w.feed(legs[0].conn, &send.on(&legs[0]));
            for leg in &legs[1..] {
                let got = w.ack_all(leg);
                assert_eq!(got.len(), 1);
                assert_eq!(got[0].body.as_deref(), Some(body));
                assert!(got[0].header("Content-Transfer-Encoding").is_none());
            }
            assert_eq!(w.answer(legs[0].conn, &send.tid), Some(200));
        }
        w.end(legs[0].session);
    });
}

/// The transaction id that the first SEND to the device gets, in a world like any other with this seed.
fn first_tid(devices: u8, body: &[u8]) -> String {
    let mut w = World::plain();
    let legs = w.session(devices);
    let send = Send::new(&mut w, body).range("1-*/*");
    w.feed(legs[0].conn, &send.on(&legs[0]));
    let raw = String::from_utf8_lossy(&w.peers[legs[1].conn].inbox).into_owned();
    raw.split(' ').nth(1).unwrap().to_owned()
}

// [MSRP-FRAME-05] The end-line of the very id that would be used stands in a body that is whole when it goes out: another id
// is chosen.
#[test]
fn an_id_that_stands_in_the_body_is_not_used() {
    let tid = first_tid(1, b"hello");
    let body = format!("before\r\n-------{tid}$\r\nafter");
    let mut w = World::plain();
    let legs = w.session(1);
    let send = Send::new(&mut w, &body).range("1-*/*");
    w.feed(legs[0].conn, &send.on(&legs[0]));
    let got = w.one(legs[1].conn);
    assert_ne!(got.tid, tid);
    assert_eq!(got.text(), body);
}

// [MSRP-FRAME-05] In a body that is passed on as it comes, the frame is interrupted there and goes on under another id.
#[test]
fn a_frame_is_interrupted_where_its_own_end_line_stands_in_the_body() {
    for cuts in [Cuts::None, Cuts::Bytes, Cuts::Random(1), Cuts::Random(5)] {
        let tid = first_tid(2, &pattern(20_000));
        let mut body = pattern(15_000);
        body.extend_from_slice(format!("\r\n-------{tid}$\r\n").as_bytes());
        body.extend_from_slice(&pattern(5_000));
        let mut w = World::new(settings(), cuts);
        let legs = w.session(2);
        let send = Send::new(&mut w, &body).range("1-*/*");
        w.feed(legs[0].conn, &send.on(&legs[0]));
        let got = w.sends(legs[1].conn);
        assert_eq!(assemble(&got), body);
        if cuts == Cuts::None {
            // All of it was seen before the frame began: another id was chosen.
            assert_eq!(got.len(), 1);
            assert_ne!(got[0].tid, tid);
            continue;
        }
        assert_eq!(got.len(), 2, "cut once: {cuts:?}");
        assert_eq!(got[0].tid, tid);
        assert_eq!((got[0].flag, got[1].flag), (b'+', b'$'));
        assert_eq!(got[1].header("Byte-Range"), Some("15001-*/*"));
        let other = w.sends(legs[2].conn);
        assert_eq!(
            other.len(),
            1,
            "the other leg has another id and is not cut"
        );
        assert_eq!(assemble(&other), body);
    }
}

// [MSRP-FRAME-06] Lines that only look like the end are content.
#[test]
fn look_alikes_are_body() {
    each_way(|w| {
        let legs = w.session(1);
        let mut send = Send::new(w, "");
        let tid = send.tid.clone();
        send.body = format!(
            "-------\r\n-------other9999$\r\n-------{tid}\r\n-------{tid}%\r\nx-------{tid}$\r\n\n-------{tid}$\r\n------{tid}$\r\n--------{tid}$\r\n-------{tid}x$\r\nend"
        )
        .into_bytes();
        w.feed(legs[0].conn, &send.on(&legs[0]));
        let got = w.one(legs[1].conn);
        assert_eq!(got.body.as_deref(), Some(&send.body[..]));
        w.end(legs[0].session);
    });
}

// [MSRP-FRAME-07] Several messages in one segment, of every kind, in every cut.
#[test]
fn several_messages_in_one_stream() {
    each_way(|w| {
        let legs = w.session(2);
        let mut stream = Vec::new();
        let mut bodies = Vec::new();
        for n in 0..20usize {
            let send = Send::new(w, pattern(n * 37));
            stream.extend(send.on(&legs[0]));
            bodies.push(send.body.clone());
            if n % 5 == 0 {
                let tid = w.id("bare");
                stream.extend(crate::harness::bare(&tid, &legs[0]));
            }
        }
        w.feed(legs[0].conn, &stream);
        for leg in &legs[1..] {
            let got: Vec<Vec<u8>> = w
                .ack_all(leg)
                .into_iter()
                .map(|m| m.body.unwrap())
                .collect();
            assert_eq!(got, bodies);
        }
        let answers = w.read(legs[0].conn);
        assert_eq!(answers.len(), 24);
        assert!(answers.iter().all(|m| m.what == "200 OK"));
        w.end(legs[0].session);
    });
}

// [MSRP-FRAME-08] Unknown headers are passed on; names are compared without case.
#[test]
fn unknown_headers_pass_and_names_have_no_case() {
    each_way(|w| {
        let legs = w.session(1);
        let raw = format!(
            "MSRP abcd1234 SEND\r\nto-path: {}\r\nFROM-PATH: {}\r\nmessage-id: mid12345\r\nX-Foo: bar; baz\r\ncontent-type: text/plain\r\n\r\nhi\r\n-------abcd1234$\r\n",
            legs[0].own, legs[0].path
        );
        w.feed(legs[0].conn, raw.as_bytes());
        let got = w.one(legs[1].conn);
        assert_eq!(got.header("X-Foo"), Some("bar; baz"));
        assert_eq!(got.header("message-id"), Some("mid12345"));
        assert_eq!(got.text(), "hi");
        w.respond(&legs[1], &got, 200);
        assert_eq!(w.answer(legs[0].conn, "abcd1234"), Some(200));
        w.end(legs[0].session);
    });
}

// [MSRP-FRAME-09] A broken Byte-Range: 400 with the same id, the connection goes on.
#[test]
fn a_broken_header_gets_400() {
    each_way(|w| {
        let legs = w.session(1);
        for range in ["x-1/1", "0-5/5", "3-1/9", "1-26/25", "1-2/2 "] {
            let send = Send::new(w, "12345").range(range);
            w.feed(legs[0].conn, &send.on(&legs[0]));
            let answer = w.one(legs[0].conn);
            assert_eq!(
                (answer.tid.as_str(), answer.code()),
                (send.tid.as_str(), Some(400)),
                "{range}"
            );
        }
        // A body that its range has no room for.
        let send = Send::new(w, "123456").range("1-5/5");
        w.feed(legs[0].conn, &send.on(&legs[0]));
        assert_eq!(w.answer(legs[0].conn, &send.tid), Some(400));
        assert!(w.read(legs[1].conn).is_empty());
        let good = Send::new(w, "good");
        w.feed(legs[0].conn, &good.on(&legs[0]));
        assert_eq!(w.one(legs[1].conn).text(), "good");
        w.end(legs[0].session);
    });
}

// [MSRP-FRAME-10] Unknown methods, and those of relays and chat rooms, get 501; their bodies are read over.
#[test]
fn other_methods_get_501() {
    each_way(|w| {
        let legs = w.session(1);
        for method in ["FOO", "AUTH", "NICKNAME"] {
            let raw = format!(
                "MSRP abcd1234 {method}\r\nTo-Path: {0}\r\nFrom-Path: msrp://relay.example.com:2855;tcp {1}\r\nContent-Type: text/plain\r\n\r\nbody\r\n-------abcd1234$\r\n",
                legs[0].own, legs[0].path
            );
            w.feed(legs[0].conn, raw.as_bytes());
            let answer = w.one(legs[0].conn);
            assert_eq!(
                (answer.tid.as_str(), answer.code()),
                ("abcd1234", Some(501))
            );
            // RFC 4975 §7.2: for other methods than SEND the To-Path holds the whole way back.
            assert_eq!(
                answer.header("To-Path"),
                Some(format!("msrp://relay.example.com:2855;tcp {}", legs[0].path).as_str())
            );
        }
        let send = Send::new(w, "after it");
        w.feed(legs[0].conn, &send.on(&legs[0]));
        assert_eq!(w.one(legs[1].conn).text(), "after it");
        w.end(legs[0].session);
    });
}

// [MSRP-FRAME-11] A REPORT with a large body: the body is dropped, the connection survives.
#[test]
fn the_body_of_a_report_is_dropped() {
    each_way(|w| {
        let legs = w.session(1);
        let send = Send::new(w, "hello").extra("Success-Report: yes");
        w.feed(legs[0].conn, &send.on(&legs[0]));
        w.ack_all(&legs[1]);
        w.read(legs[0].conn);
        let body = "x".repeat(30_000);
        let raw = format!(
            "MSRP rep12345 REPORT\r\nTo-Path: {}\r\nFrom-Path: {}\r\nMessage-ID: {}\r\nByte-Range: 1-5/5\r\nStatus: 000 200 OK\r\nContent-Type: text/plain\r\n\r\n{body}\r\n-------rep12345$\r\n",
            legs[1].own, legs[1].path, send.id
        );
        w.feed(legs[1].conn, raw.as_bytes());
        let report = w.one(legs[0].conn);
        assert_eq!(report.what, "REPORT");
        assert_eq!(report.body, None);
        assert_eq!(report.header("Status"), Some("000 200 OK"));
        let back = Send::new(w, "still there");
        w.feed(legs[1].conn, &back.on(&legs[1]));
        assert_eq!(w.one(legs[0].conn).text(), "still there");
        w.end(legs[0].session);
    });
}

// [MSRP-FRAME-12] A header section without end closes the connection at the limit, with little held.
#[test]
fn an_endless_head_closes_the_connection() {
    each_way(|w| {
        let legs = w.session(2);
        let mut endless = format!(
            "MSRP abcd1234 SEND\r\nTo-Path: {}\r\nFrom-Path: {}\r\n",
            legs[1].own, legs[1].path
        );
        endless.push_str("X-Long: ");
        endless.push_str(&"y".repeat(20_000));
        w.feed(legs[1].conn, endless.as_bytes());
        assert!(w.peers[legs[1].conn].closed);
        assert_eq!(w.plane.counters().malformed, 1);
        let send = Send::new(w, "others go on");
        w.feed(legs[0].conn, &send.on(&legs[0]));
        assert_eq!(w.one(legs[2].conn).text(), "others go on");
        w.end(legs[0].session);
    });
}
