//! Requests that we receive.

use ringfork::sip::{Event, Reply};

use super::bench::*;

/// [SIP-TXN-03] 100 Trying at 200 ms where nobody has answered, with the Timestamp of the INVITE and no To-tag.
#[test]
fn trying_after_200_ms() {
    let mut b = Bench::new();
    b.udp(&incoming("INVITE", "z9hG4bK1").replace("Max-", "Timestamp: 54\r\nMax-"));
    assert!(b.sent.is_empty());
    b.run_to(5_000);
    assert_eq!(b.times("SIP/2.0 100 Trying"), [200]);
    let trying = b.last().text();
    assert_eq!(header(trying, "Timestamp"), Some("54"));
    assert_eq!(header(trying, "To"), Some("<sip:bob@example.com>"));
    assert_eq!(header(trying, "CSeq"), Some("7 INVITE"));

    let mut b = Bench::new();
    b.udp(&incoming("INVITE", "z9hG4bK1"));
    b.run_to(199);
    let txn = b.txn(0);
    b.respond(txn, 180);
    b.run_to(5_000);
    assert_eq!(b.times("SIP/2.0 100"), [0; 0]);
}

/// [SIP-TXN-02] a repeated INVITE gets the last response again and creates nothing new.
#[test]
fn a_repeated_invite_gets_the_last_response() {
    let mut b = Bench::new();
    let invite = incoming("INVITE", "z9hG4bK1");
    b.udp(&invite);
    b.udp(&invite);
    assert!(b.sent.is_empty());
    let txn = b.txn(0);
    b.respond(txn, 180);
    let ringing = b.last().clone();
    b.udp(&invite);
    assert_eq!(b.last(), &ringing);
    assert_eq!(b.sent.len(), 2);
    assert_eq!(b.heard().len(), 1);
    assert_eq!(b.endpoint.counts().servers, 1);
    // Another sent-by with the same branch is another transaction (a merged one here).
    b.udp(&invite.replace("192.0.2.7:5070;", "192.0.2.7:5071;"));
    assert_eq!(b.last().first_line(), "SIP/2.0 482 Loop Detected");
}

/// [SIP-TXN-01] timers G and H: a failure is repeated up to T2 until its ACK, which is not told; I is T4.
#[test]
fn a_failure_is_repeated_until_its_ack() {
    let mut b = Bench::new().acquainted();
    b.udp(&incoming("INVITE", "z9hG4bK1"));
    let txn = b.txn(0);
    b.respond(txn, 486);
    b.run_to(60_000);
    assert_eq!(
        b.times("SIP/2.0 486"),
        [
            0, 500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500
        ]
    );
    assert_eq!(b.heard()[1], (32_000, "failed".to_owned()));
    assert!(b.endpoint.is_empty());

    let mut b = Bench::new();
    b.udp(&incoming("INVITE", "z9hG4bK1"));
    let txn = b.txn(0);
    b.respond(txn, 486);
    b.run_to(600);
    let ack = incoming("ACK", "z9hG4bK1").replace(
        "To: <sip:bob@example.com>",
        "To: <sip:bob@example.com>;tag=ours",
    );
    b.udp(&ack);
    b.udp(&ack);
    b.run_to(5_599);
    assert_eq!(b.times("SIP/2.0 486"), [0, 500]);
    assert_eq!(
        b.heard().len(),
        1,
        "an ACK of a failure is the transaction's own"
    );
    assert!(!b.endpoint.is_empty());
    b.run_to(5_600);
    assert!(b.endpoint.is_empty());
}

/// [SIP-TXN-01] RFC 6026 §7.1: after a 2xx INVITEs are absorbed, the user repeats the 2xx, the ACK is told; L is 64·T1.
#[test]
fn accepted_is_the_users_to_repeat() {
    let mut b = Bench::new();
    let invite = incoming("INVITE", "z9hG4bK1");
    b.udp(&invite);
    let txn = b.txn(0);
    b.respond(txn, 200);
    b.run_to(500);
    b.udp(&invite);
    assert_eq!(b.times("SIP/2.0 200"), [0]);
    b.respond(txn, 200);
    assert_eq!(b.times("SIP/2.0 200"), [0, 500]);
    assert_eq!(b.sent[0].1, b.sent[1].1, "the same bytes");
    b.respond(txn, 486);
    assert_eq!(b.sent.len(), 2, "one final response");
    let ack = incoming("ACK", "z9hG4bKother").replace(
        "To: <sip:bob@example.com>",
        "To: <sip:bob@example.com>;tag=ours",
    );
    b.udp(&ack);
    b.udp(&ack.replace("z9hG4bKother", "z9hG4bK1"));
    let acks = b.heard().iter().filter(|(_, e)| e == "ACK").count();
    assert_eq!(acks, 2, "by its own branch, and by the INVITE's");
    b.run_to(31_999);
    assert_eq!(b.endpoint.counts().servers, 1);
    b.run_to(32_000);
    assert!(b.endpoint.is_empty());
    b.respond(txn, 200);
    assert_eq!(b.sent.len(), 2, "a name that is dead");
}

/// [SIP-TXN-01] timer J: a repeated request gets the response again for 64·T1.
#[test]
fn a_repeated_request_gets_its_response_for_64_t1() {
    let mut b = Bench::new();
    let bye = incoming("BYE", "z9hG4bK1");
    b.udp(&bye);
    b.udp(&bye);
    assert_eq!(b.heard().len(), 1);
    let txn = b.txn(0);
    b.respond(txn, 200);
    b.run_to(31_999);
    b.udp(&bye);
    assert_eq!(b.times("SIP/2.0 200"), [0, 31_999]);
    b.run_to(32_000);
    assert!(b.endpoint.is_empty());
}

/// [SIP-TXN-06] RFC 4320: 100 when the sender's timer E has come to T2, no other provisional response, never a 408, nothing
/// after its timer F.
#[test]
fn a_slow_answer_to_another_request() {
    let mut b = Bench::new();
    b.udp(&incoming("MESSAGE", "z9hG4bK1"));
    let txn = b.txn(0);
    b.respond(txn, 180);
    assert!(b.sent.is_empty());
    b.run_to(3_499);
    assert!(b.sent.is_empty());
    b.run_to(3_500);
    assert_eq!(b.times("SIP/2.0 100"), [3_500]);
    b.run_to(32_000);
    assert_eq!(b.heard()[1], (32_000, "failed".to_owned()));
    b.respond(txn, 200);
    assert_eq!(b.sent.len(), 1);
    assert!(b.endpoint.is_empty());

    let mut b = Bench::new();
    let message = incoming("MESSAGE", "z9hG4bK1");
    b.udp(&message);
    let txn = b.txn(0);
    b.respond(txn, 408);
    b.udp(&message);
    b.run_to(40_000);
    assert!(b.sent.is_empty(), "no 408, and no 100 after it");
    assert_eq!(b.heard().len(), 1, "the repeat is absorbed");
    assert!(b.endpoint.is_empty());
}

/// [SIP-TXN-02] RFC 3261 §17.2.3: without the magic cookie by Request-URI, tags, Call-ID, CSeq and Via; the ACK too.
#[test]
fn an_rfc_2543_client_is_matched() {
    for branch in ["1", "z9hG4bK"] {
        let mut b = Bench::new();
        let invite = incoming("INVITE", branch);
        b.udp(&invite);
        let txn = b.txn(0);
        b.respond(txn, 486);
        b.udp(&invite);
        assert_eq!(b.times("SIP/2.0 486"), [0, 0]);
        assert_eq!(b.heard().len(), 1);
        let ack = incoming("ACK", branch).replace(
            "To: <sip:bob@example.com>",
            "To: <sip:bob@example.com>;tag=ours",
        );
        b.udp(&ack);
        b.run_to(4_000);
        assert_eq!(b.times("SIP/2.0 486"), [0, 0], "acknowledged");
        // Another Call-ID, CSeq or From tag is another request.
        for (from, to) in [
            ("call-2", "call-3"),
            ("CSeq: 7", "CSeq: 8"),
            ("tag=theirs", "tag=else"),
        ] {
            b.udp(&invite.replace(from, to));
        }
        assert_eq!(b.heard().len(), 4);
    }
}

/// [SIP-TXN-07] RFC 3261 §9.2: 200 to the CANCEL with the To-tag of the INVITE's responses, the user told once.
#[test]
fn a_cancel_is_answered_and_told() {
    let mut b = Bench::new();
    b.udp(&incoming("INVITE", "z9hG4bK1"));
    let txn = b.txn(0);
    b.respond(txn, 180);
    let cancel = incoming("CANCEL", "z9hG4bK1");
    b.udp(&cancel);
    assert_eq!(b.last().first_line(), "SIP/2.0 200 OK");
    assert_eq!(header(b.last().text(), "CSeq"), Some("7 CANCEL"));
    assert_eq!(
        header(b.last().text(), "To"),
        Some("<sip:bob@example.com>;tag=ours")
    );
    b.udp(&cancel);
    assert_eq!(b.times("SIP/2.0 200"), [0, 0]);
    assert_eq!(b.heard()[1..], [(0, "cancelled".to_owned())]);
    b.respond(txn, 487);
    assert_eq!(b.last().first_line(), "SIP/2.0 487 Request Terminated");
}

/// [SIP-TXN-07] a CANCEL that meets nothing gets 481; one that comes after the final response gets 200 and changes nothing.
#[test]
fn a_cancel_that_comes_too_late_or_for_nothing() {
    let mut b = Bench::new();
    b.udp(&incoming("CANCEL", "z9hG4bK1"));
    assert_eq!(
        b.last().first_line(),
        "SIP/2.0 481 Call/Transaction Does Not Exist"
    );
    assert!(b.events.is_empty());
    b.udp(&incoming("INVITE", "z9hG4bK2"));
    let txn = b.txn(0);
    b.respond(txn, 200);
    b.udp(&incoming("CANCEL", "z9hG4bK2"));
    assert_eq!(header(b.last().text(), "CSeq"), Some("7 CANCEL"));
    assert_eq!(b.last().first_line(), "SIP/2.0 200 OK");
    assert_eq!(b.heard().len(), 1);
}

/// [SIP-TXN-11] the same request over two branches: the second gets 482, with and without the first one answered.
#[test]
fn a_merged_request_gets_482() {
    let mut b = Bench::new();
    b.udp(&incoming("INVITE", "z9hG4bK1"));
    b.udp(&incoming("INVITE", "z9hG4bK2"));
    assert_eq!(b.last().first_line(), "SIP/2.0 482 Loop Detected");
    assert!(header(b.last().text(), "Via").unwrap().contains("z9hG4bK2"));
    assert_eq!(b.heard().len(), 1);
    // With a To-tag it cannot be a merged one.
    let tagged = |branch| {
        incoming("INFO", branch).replace(
            "To: <sip:bob@example.com>",
            "To: <sip:bob@example.com>;tag=x",
        )
    };
    b.udp(&tagged("z9hG4bK3"));
    b.udp(&tagged("z9hG4bK4"));
    assert_eq!(b.heard().len(), 3);
}

/// [SIP-MSG-06] Max-Forwards 0: 483; OPTIONS, REGISTER and what belongs to a dialog end here and are served.
#[test]
fn max_forwards_zero() {
    let spent = |method: &str, branch: &str| {
        incoming(method, branch).replace("Max-Forwards: 70", "Max-Forwards: 0")
    };
    let mut b = Bench::new();
    b.udp(&spent("INVITE", "z9hG4bK1"));
    assert_eq!(b.last().first_line(), "SIP/2.0 483 Too Many Hops");
    b.udp(&spent("MESSAGE", "z9hG4bK2"));
    assert_eq!(b.last().first_line(), "SIP/2.0 483 Too Many Hops");
    assert!(b.events.is_empty());
    b.udp(&spent("OPTIONS", "z9hG4bK3"));
    b.udp(&spent("REGISTER", "z9hG4bK4"));
    b.udp(&spent("BYE", "z9hG4bK5").replace(
        "To: <sip:bob@example.com>",
        "To: <sip:bob@example.com>;tag=x",
    ));
    assert_eq!(b.heard().len(), 3);
}

/// RFC 3261 §8.2, §16.3 point 1: what breaks a rule is answered by its own status, without a transaction.
#[test]
fn malformed_requests_are_answered() {
    let good = incoming("OPTIONS", "z9hG4bK1");
    for (bad, status) in [
        (
            good.replace("Call-ID: call-2\r\n", ""),
            "400 Bad Request (Missing Call-ID)",
        ),
        (
            good.replace("From: <sip:alice@example.com>;tag=theirs\r\n", ""),
            "400 Bad Request (Missing From)",
        ),
        (
            good.replace("CSeq: 7 OPTIONS", "CSeq: x OPTIONS"),
            "400 Bad Request (Malformed CSeq)",
        ),
        (
            good.replace("CSeq: 7 OPTIONS", "CSeq: 7 INVITE"),
            "400 Bad Request (CSeq method differs)",
        ),
        (
            good.replace("SIP/2.0\r\nVia", "SIP/7.0\r\nVia"),
            "505 Version Not Supported",
        ),
        (
            good.replace("Content-Length: 0", "Content-Length: 10"),
            "400 Bad Request (Body shorter than Content-Length)",
        ),
        (
            good.replace("sip:bob@example.com SIP", "<sip:bob@example.com> SIP"),
            "400 Bad Request (Malformed Request-URI)",
        ),
    ] {
        let mut b = Bench::new();
        assert_ne!(bad, good);
        b.udp(&bad);
        assert_eq!(b.last().first_line(), format!("SIP/2.0 {status}"), "{bad}");
        assert!(header(b.last().text(), "Via").unwrap().contains("z9hG4bK1"));
        assert!(b.events.is_empty() && b.endpoint.is_empty());
        assert_eq!(b.endpoint.counts().malformed, 1);
    }
    // Not malformed: a keep-alive; line ends before the start line (RFC 3261 §7.5).
    let mut b = Bench::new();
    for blank in ["\r\n\r\n", "\0", ""] {
        b.udp(blank);
    }
    b.udp(&format!("\r\n\r\n{good}"));
    assert_eq!(b.heard().len(), 1);
    assert_eq!(b.endpoint.counts().malformed, 0);
    // Nobody to answer to, or nothing that is answered.
    for bad in [
        good.replace("Via: SIP/2.0/UDP 192.0.2.7:5070;branch=z9hG4bK1\r\n", ""),
        good.replace("Via: SIP/2.0/UDP", "Via: SIP2.0UDP"),
        good.replace("OPTIONS", "ACK").replace("CSeq: 7", "CSeq: x"),
        "\0\0\0".to_owned(),
        String::new(),
        "SIP/2.0 999999 What\r\n\r\n".to_owned(),
    ] {
        let mut b = Bench::new();
        b.udp(&bad);
        assert!(b.sent.is_empty() && b.events.is_empty(), "{bad}");
    }
}

/// RFC 3261 §8.2.6, §12.1.1: what a response copies, and what it adds.
#[test]
fn what_a_response_says() {
    let invite = incoming("INVITE", "z9hG4bK1").replace(
        "Max-",
        "Via: SIP/2.0/UDP 203.0.113.1;branch=z9hG4bKup\r\nRecord-Route: <sip:p2;lr>, <sip:p1;lr>\r\nMax-",
    );
    let mut b = Bench::new();
    b.udp(&invite);
    let txn = b.txn(0);
    b.reply(
        txn,
        Reply {
            code: 200,
            tag: b"ours".to_vec(),
            headers: b"Contact: <sip:pf@192.0.2.1>\r\n".to_vec(),
            body: Some(("application/sdp", b"v=0\r\n".to_vec())),
            ..Reply::default()
        },
    );
    assert_eq!(
        b.last().text(),
        "SIP/2.0 200 OK\r\n\
         Via: SIP/2.0/UDP 192.0.2.7:5070;branch=z9hG4bK1\r\n\
         Via: SIP/2.0/UDP 203.0.113.1;branch=z9hG4bKup\r\n\
         Record-Route: <sip:p2;lr>, <sip:p1;lr>\r\n\
         From: <sip:alice@example.com>;tag=theirs\r\n\
         To: <sip:bob@example.com>;tag=ours\r\n\
         Call-ID: call-2\r\n\
         CSeq: 7 INVITE\r\n\
         Contact: <sip:pf@192.0.2.1>\r\n\
         Server: CPM-serv/OMA2.2 Ringfork\r\n\
         Content-Type: application/sdp\r\n\
         Content-Length: 5\r\n\r\nv=0\r\n"
    );
    // Without a tag from the user the endpoint makes one, and keeps to it.
    let mut b = Bench::new();
    b.udp(&incoming("INVITE", "z9hG4bK1"));
    let txn = b.txn(0);
    for code in [180, 486] {
        b.reply(
            txn,
            Reply {
                code,
                ..Reply::default()
            },
        );
    }
    let tags: Vec<_> = b
        .sent
        .iter()
        .map(|(_, s)| header(s.text(), "To").unwrap())
        .collect();
    assert_eq!(tags[0], tags[1]);
    assert_eq!(tags[0].split("tag=").nth(1).unwrap().len(), 32);
}

/// [SIP-TXN-09] the user sees the way back as the responses will go it.
#[test]
fn request_events_carry_the_filled_via() {
    let mut b = Bench::new();
    b.udp_from(
        "198.51.100.9:40000",
        &incoming("OPTIONS", "z9hG4bK1").replace(";branch", ";rport;branch"),
    );
    let Event::Request { message, .. } = &b.events[0].1 else {
        panic!()
    };
    let text = String::from_utf8(message.to_vec()).unwrap();
    assert_eq!(
        header(&text, "Via"),
        Some("SIP/2.0/UDP 192.0.2.7:5070;branch=z9hG4bK1;received=198.51.100.9;rport=40000")
    );
}
