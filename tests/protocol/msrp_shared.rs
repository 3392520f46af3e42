//! What several share: a connection, the form of each answer.

use crate::harness::{Leg, Send, World, assemble, each_way, pattern};

// [MSRP-CHUNK-03] A large transfer on a connection that two sessions share, with everything that may wait behind it: the other
// session's message, the response to its device, a REPORT for the device, in both sessions. Each gets through before the transfer
// ends, which goes on behind each of them under the same Message-ID, and no byte is lost.
#[test]
fn whatever_waits_gets_through_a_transfer_on_a_shared_connection() {
    let mut w = World::plain();
    let one = w.session(1);
    let session = w.open();
    let two_sender = w.leg(session, 0);
    let mut two = w.unbound_leg(session, 1, |_| ());
    two.conn = one[1].conn;
    w.bind(&two);
    // Each device has said something that the senders will report on.
    let mut said = Vec::new();
    for (device, sender) in [(&one[1], &one[0]), (&two, &two_sender)] {
        let send = Send::new(&mut w, "report it").extra("Success-Report: yes");
        w.feed(device.conn, &send.on(device));
        w.ack_all(sender);
        said.push(send.id.clone());
    }
    w.read(two.conn);
    let body = pattern(120_000);
    let send = Send::new(&mut w, &body).range("1-*/120000");
    let bytes = send.on(&one[0]);
    let mut pieces = bytes.chunks(20_000);
    let mut feed = |w: &mut World| w.feed_once(one[0].conn, pieces.next().unwrap());
    feed(&mut w);
    let mut got = Vec::new();
    let mut between = Vec::new();
    for step in 0..4 {
        match step {
            0 => {
                let short = Send::new(&mut w, "short");
                w.feed(two_sender.conn, &short.on(&two_sender));
            }
            1 | 2 => {
                let device = if step == 1 { &one[1] } else { &two };
                let send = Send::new(&mut w, "me too");
                w.feed(device.conn, &send.on(device));
            }
            _ => {
                // The sender's own connection is in the middle of his message: his REPORT comes once that is interrupted.
                let end = format!("\r\n-------{}+\r\n", send.tid);
                w.feed_once(one[0].conn, end.as_bytes());
                w.report(&one[0], &said[0], None, "000 200 OK");
            }
        }
        let all = w.read(two.conn);
        assert_eq!(
            all.len(),
            2,
            "{step}: {:?}",
            all.iter().map(|m| &m.what).collect::<Vec<_>>()
        );
        assert_eq!(all[0].flag, b'+', "{step}");
        got.push(all[0].clone());
        between.push((
            all[1].what.clone(),
            all[1].header("To-Path").unwrap().to_owned(),
        ));
        if step < 3 {
            feed(&mut w);
        }
    }
    let first = &one[1].path;
    assert_eq!(
        between,
        [
            ("SEND".to_owned(), two.path.clone()),
            ("200 OK".to_owned(), first.clone()),
            ("200 OK".to_owned(), two.path.clone()),
            ("REPORT".to_owned(), first.clone()),
        ]
    );
    // He goes on under the same Message-ID; meanwhile the other session's REPORT.
    let at = got
        .iter()
        .map(|m| m.body.as_ref().unwrap().len())
        .sum::<usize>();
    let rest = Send::new(&mut w, &body[at..])
        .id(&send.id)
        .range(&format!("{}-*/120000", at + 1));
    let bytes = rest.on(&one[0]);
    w.feed_once(one[0].conn, &bytes[..15_000]);
    w.report(&two_sender, &said[1], None, "000 200 OK");
    let all = w.read(two.conn);
    assert_eq!(
        (all.len(), all[0].flag, all[1].what.as_str()),
        (2, b'+', "REPORT")
    );
    assert_eq!(all[1].header("To-Path"), Some(two.path.as_str()));
    got.push(all[0].clone());
    w.feed_once(one[0].conn, &bytes[15_000..]);
    got.extend(w.sends(two.conn));
    assert!(got.iter().all(|m| m.header("Message-ID") == Some(&send.id)));
    assert_eq!(got.last().unwrap().flag, b'$');
    assert_eq!(assemble(&got), body);
}

// [MSRP-RSP-01] The form of each code that we answer: the same id, To-Path the first hop alone of a sender behind a relay, From-Path
// the URI that he wrote to, `$`, no body, on the connection that the request came on and on no other. At once.
#[test]
fn each_code_has_the_form_of_a_response() {
    let hops = "msrp://relay.example.com:2855/r;tcp msrp://alice.example.com:7001/a1;tcp";
    each_way(|w| {
        let session = w.open();
        let sender = w.leg_like(session, 0, |p| p.path = hops.as_bytes().into());
        let types = w.leg_like(session, 1, |p| {
            p.accept_types = b"text/plain text/x".to_vec()
        });
        let stranger = w.accept();
        let nobody = Leg {
            own: "msrp://127.0.0.1:2855/nobody;tcp".to_owned(),
            ..sender.clone()
        };
        let elsewhere = Leg {
            conn: stranger,
            ..sender.clone()
        };
        let forged = Leg {
            path: "msrp://mallory.example.com:1/m;tcp".to_owned(),
            ..sender.clone()
        };
        let plain = |w: &mut World| Send::new(w, "hello");
        let cases: Vec<(u16, &Leg, Send)> = vec![
            (200, &sender, plain(w)),
            (400, &sender, plain(w).range("9-1/5")),
            (403, &forged, plain(w)),
            (413, &sender, plain(w).range("1-5/999999999999")),
            (415, &sender, plain(w).content_type("image/png")),
            (481, &nobody, plain(w)),
            (506, &elsewhere, plain(w)),
            (408, &sender, plain(w).content_type("text/x")),
        ];
        for (code, leg, send) in cases {
            w.feed(leg.conn, &send.on(leg));
            if code == 200 {
                w.ack_all(&types);
            }
            if code == 408 {
                let got = w.one(types.conn);
                w.respond(&types, &got, 408);
            }
            let all = w.read(leg.conn);
            assert_eq!(all.len(), 1, "{code}: {all:?}");
            let answer = &all[0];
            assert_eq!((answer.code(), &answer.tid), (Some(code), &send.tid));
            assert_eq!(
                answer.header("To-Path"),
                leg.path.split(' ').next(),
                "{code}"
            );
            assert_eq!(answer.header("From-Path"), Some(leg.own.as_str()), "{code}");
            assert_eq!(answer.headers.len(), 2, "{code}");
            assert_eq!((answer.flag, answer.body.as_deref()), (b'$', None));
            for other in [sender.conn, stranger] {
                assert!(other == leg.conn || w.read(other).is_empty(), "{code}");
            }
        }
        // RFC 4975 §7.2: the response to what is no SEND goes back by all hops.
        let bytes = format!(
            "MSRP push1234 PUSH\r\nTo-Path: {}\r\nFrom-Path: {hops}\r\n-------push1234$\r\n",
            sender.own
        );
        w.feed(sender.conn, bytes.as_bytes());
        let answer = w.one(sender.conn);
        assert_eq!(
            (answer.code(), answer.tid.as_str()),
            (Some(501), "push1234")
        );
        assert_eq!(answer.header("To-Path"), Some(hops));
        assert_eq!(answer.header("From-Path"), Some(sender.own.as_str()));
        w.end(session);
    });
}
