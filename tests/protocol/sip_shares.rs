//! What transactions hold: bytes, places, shares; and how often is repeated what nobody answers.

use ringfork::sip::{Flow, Reply};

use super::bench::*;

/// settled.md 42: nor does a place that has never answered get an answer to an INVITE more than five times that nobody asks for; an
/// ACK with our tag is an answer.
#[test]
fn an_answer_is_repeated_four_times_to_a_place_that_has_never_answered() {
    for code in [486, 200] {
        let mut b = Bench::new();
        b.udp(&incoming("INVITE", "z9hG4bK1"));
        let txn = b.txn(0);
        b.respond(txn, code);
        // Its user repeats a 2xx itself.
        for ms in (1_000..31_000).step_by(1_000).filter(|_| code == 200) {
            b.run_to(ms);
            b.respond(txn, code);
        }
        b.run_to(31_900);
        assert_eq!(b.times(&format!("SIP/2.0 {code}")).len(), 5);
        if code == 486 {
            b.udp(&incoming("INVITE", "z9hG4bK1"));
            assert_eq!(b.times("SIP/2.0 486").len(), 6, "who asks is answered");
        }
    }
    let mut b = Bench::new();
    b.udp(&incoming("INVITE", "z9hG4bK1"));
    let txn = b.txn(0);
    b.respond(txn, 486);
    let ack = incoming("ACK", "z9hG4bK1");
    b.udp(&ack.replace("<sip:bob@example.com>", "<sip:bob@example.com>;tag=ours"));
    b.udp(&incoming("INVITE", "z9hG4bK2").replace("call-2", "call-3"));
    let txn = b.txn(1);
    b.respond(txn, 603);
    b.run_to(60_000);
    assert_eq!(b.times("SIP/2.0 603").len(), 11);
}

/// A transaction keeps what its answers copy, then the answer, and no more.
#[test]
fn a_request_is_not_kept_beyond_what_its_answers_need() {
    for (method, code) in [
        ("REGISTER", 403),
        ("OPTIONS", 200),
        ("INVITE", 486),
        ("INVITE", 200),
    ] {
        let mut b = Bench::new();
        let request = incoming(method, "z9hG4bK1").replace(
            "Content-Length: 0\r\n\r\n",
            &format!("Content-Length: 58000\r\n\r\n{}", "x".repeat(58_000)),
        );
        let request = request.replace(
            "Contact: ",
            &format!("Contact: <sip:{}@h>, ", "u".repeat(2_000)),
        );
        b.udp(&request);
        b.events.truncate(1);
        assert!(
            b.endpoint.counts().bytes < 2_000,
            "{}",
            b.endpoint.counts().bytes
        );
        let txn = b.txn(0);
        b.respond(txn, code);
        assert!(b.endpoint.counts().bytes < 1_000, "{method}");
        b.run_to(60_000);
        assert_eq!(b.endpoint.counts().bytes, 0);
    }
    // What is matched by is kept as a digest where it is longer than any real one.
    let mut b = Bench::new();
    let long = "l".repeat(20_000);
    b.udp(&incoming("OPTIONS", &format!("z9hG4bK{long}")));
    let txn = b.txn(0);
    b.respond(txn, 200);
    assert!(
        b.endpoint.counts().bytes < 22_000,
        "the Via in the answer alone"
    );
    b.udp(&incoming("OPTIONS", &format!("z9hG4bK{long}")));
    assert_eq!(b.times("SIP/2.0 200").len(), 2);
    assert_eq!(b.heard().len(), 1);
}

/// Over its share a request is answered all the same, and nothing is kept of it; who is known, and what has begun, has its own.
#[test]
fn a_flood_is_answered_and_dialogs_go_on() {
    let mut b = Bench::with(ringfork::sip::Settings {
        servers_max: 8,
        ..settings()
    });
    let nth = |n: u32| {
        incoming("OPTIONS", &format!("z9hG4bK{n}")).replace("call-2", &format!("call-{n}"))
    };
    for n in 0..100 {
        b.udp(&nth(n));
        let txn = b.txn(n as usize);
        b.respond(txn, 200);
    }
    let counts = b.endpoint.counts();
    assert_eq!((counts.servers, counts.refused, counts.passed), (4, 0, 96));
    assert_eq!(b.times("SIP/2.0 200").len(), 100);
    // One that is kept absorbs its repeat, one that is not is asked anew.
    b.udp(&nth(0));
    assert_eq!(b.heard().len(), 100);
    b.udp(&nth(99));
    let txn = b.txn(100);
    b.respond(txn, 200);
    let flow = Flow::Udp {
        socket: UDP,
        peer: addr(PEER),
    };
    assert!(b.endpoint.is_crowded());
    let text = nth(200);
    let known = ringfork::wire::sip::Message::parse(text.as_bytes()).unwrap();
    b.endpoint.handle_read(b.now, flow, &known, true);
    b.collect();
    let txn = b.txn(101);
    b.respond(txn, 200);
    assert_eq!(b.endpoint.counts().servers, 5);
    let tagged = |text: String| {
        text.replace(
            "To: <sip:bob@example.com>",
            "To: <sip:bob@example.com>;tag=x",
        )
    };
    b.udp(&tagged(incoming("BYE", "z9hG4bKbye")));
    let txn = b.txn(102);
    b.respond(txn, 200);
    assert_eq!(b.endpoint.counts().servers, 6);
    b.run_to(60_000);
    assert!(b.endpoint.is_empty());
}

/// Requests that nobody answers fill places: over those 503 with Retry-After; dialogs and CANCELs have places of their own.
#[test]
fn what_cannot_be_answered_has_so_many_places_and_dialogs_go_on() {
    let mut b = Bench::with(ringfork::sip::Settings {
        servers_max: 4,
        clients_max: 16,
        ..settings()
    });
    let nth =
        |n: u32| incoming("INVITE", &format!("z9hG4bK{n}")).replace("call-2", &format!("call-{n}"));
    for n in 0..100 {
        b.udp(&nth(n));
    }
    assert_eq!(b.endpoint.counts().servers, 12);
    assert_eq!(b.times("SIP/2.0 503 Service Unavailable").len(), 88);
    assert_eq!(b.endpoint.counts().refused, 88);
    let after: u32 = header(b.last().text(), "Retry-After")
        .unwrap()
        .parse()
        .unwrap();
    assert!((5..=10).contains(&after));
    let tag = |text: &str| {
        header(text, "To")
            .unwrap()
            .split("tag=")
            .nth(1)
            .unwrap()
            .to_owned()
    };
    let first = tag(b.last().text());
    b.udp(&nth(99));
    assert_eq!(tag(b.last().text()), first, "RFC 3261 §8.2.7");
    // Its ACK is nobody's.
    let ack = incoming("ACK", "z9hG4bK99").replace(
        "To: <sip:bob@example.com>",
        &format!("To: <sip:bob@example.com>;tag={first}"),
    );
    b.udp(&ack);
    assert_eq!(b.heard().len(), 12);
    b.udp(&incoming("BYE", "z9hG4bKbye").replace(
        "To: <sip:bob@example.com>",
        "To: <sip:bob@example.com>;tag=x",
    ));
    assert_eq!(b.heard().len(), 13);
    b.udp(&nth(0).replace("INVITE", "CANCEL"));
    assert_eq!(b.heard()[13].1, "cancelled");
    let txn = b.txn(0);
    b.respond(txn, 487);
    b.udp(&nth(0).replace("INVITE", "ACK"));
    b.run_to(40_000);
    b.udp(&nth(200));
    assert_eq!(
        b.heard().last().unwrap().1,
        "INVITE sip:bob@example.com SIP/2.0"
    );
}

/// What transactions hold is bounded in bytes, and a source of strangers leaves the others room.
#[test]
fn a_source_of_long_requests_has_a_share_of_the_bytes() {
    let mut b = Bench::with(ringfork::sip::Settings {
        servers_bytes: 400_000,
        ..settings()
    });
    for n in 0..200 {
        let long = format!("z9hG4bK{n};x={}", "v".repeat(5_000));
        b.udp(&incoming("OPTIONS", &long).replace("call-2", &format!("call-{n}")));
        let txn = b.txn(n as usize);
        b.respond(txn, 200);
        assert!(
            b.endpoint.counts().bytes <= 70_000,
            "a third of strangers' half"
        );
    }
    assert_eq!(b.times("SIP/2.0 200").len(), 200, "each has its answer");
    let kept = b.endpoint.counts().servers;
    let other = incoming("OPTIONS", "z9hG4bKother").replace("call-2", "call-other");
    b.udp_from("192.0.2.8:5070", &other);
    let txn = b.txn(200);
    b.respond(txn, 200);
    assert_eq!(b.endpoint.counts().servers, kept + 1);
}

/// An answer that no datagram carries is one that says so: RFC 3261 §21.5.7.
#[test]
fn an_answer_that_cannot_be_sent_is_an_answer_that_says_so() {
    for (method, code) in [
        ("REGISTER", 200),
        ("OPTIONS", 200),
        ("INVITE", 200),
        ("INVITE", 486),
    ] {
        let mut b = Bench::new();
        b.udp(&incoming(method, "z9hG4bK1"));
        let txn = b.txn(0);
        let reply = Reply {
            code,
            headers: format!("X-Long: {}\r\n", "x".repeat(66_000)).into_bytes(),
            ..Reply::default()
        };
        b.reply(txn, reply);
        assert_eq!(
            b.last().first_line(),
            "SIP/2.0 513 Message Too Large",
            "{method}"
        );
        let warning = header(b.last().text(), "Warning").unwrap();
        assert!(
            warning.contains("more than a datagram carries"),
            "{warning}"
        );
        assert_eq!(b.endpoint.counts().unsendable, 1);
        // It is repeated as the failure that it is, until its ACK.
        b.run_to(600);
        let sent = b.times("SIP/2.0 513").len();
        assert_eq!(sent, if method == "INVITE" { 2 } else { 1 });
    }
    // Over a stream there is no such bound.
    let mut b = Bench::new();
    let conn = b.conns.insert(());
    b.tcp(conn, &incoming("OPTIONS", "z9hG4bK1").replace("UDP", "TCP"));
    let txn = b.txn(0);
    let body = Some(("text/plain", vec![b'x'; 66_000]));
    b.reply(
        txn,
        Reply {
            code: 200,
            body,
            ..Reply::default()
        },
    );
    assert_eq!(b.last().first_line(), "SIP/2.0 200 OK");
}

/// What waits for connections without a transaction is bounded in bytes; it is all given back.
#[test]
fn loose_messages_that_wait_are_bounded_in_bytes() {
    let mut b = Bench::new();
    let long = format!("{}{}", incoming("ACK", "z9hG4bK1"), "x".repeat(60_000));
    for n in 0..200 {
        let to = addr(&format!("192.0.2.{n}:5070"));
        b.endpoint.send(
            b.now,
            ringfork::sip::Target::Tcp(to),
            long.clone().into_bytes(),
        );
        b.collect();
        assert!(b.endpoint.counts().bytes <= 1 << 20);
    }
    let asked: Vec<_> = b
        .sent
        .iter()
        .filter_map(|(_, s)| match s {
            Sent::Connect(to) => Some(*to),
            Sent::Datagram(..) | Sent::Stream(..) | Sent::Close(_) => None,
        })
        .collect();
    assert!((10..20).contains(&asked.len()), "{}", asked.len());
    for to in asked {
        let conn = b.conns.insert(());
        b.endpoint.handle_connecting(to, conn);
        b.endpoint.handle_connected(b.now, conn, false);
    }
    assert_eq!(b.endpoint.counts().bytes, 0);
}
