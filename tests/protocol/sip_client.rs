//! Requests that we send.

use super::bench::*;

/// [SIP-TXN-01] RFC 3261 §17.1.1.2: T1, doubling without cap; timer B at 64·T1.
#[test]
fn an_invite_without_answer_is_repeated_and_ends_at_64_t1() {
    let mut b = Bench::new().acquainted();
    b.request(1, to_udp(), &draft("INVITE"));
    b.run_to(60_000);
    assert_eq!(
        b.times("INVITE"),
        [0, 500, 1500, 3500, 7500, 15_500, 31_500]
    );
    assert_eq!(b.heard(), [(32_000, "timed out".to_owned())]);
    assert!(b.endpoint.is_empty());
    assert_eq!(b.endpoint.counts().timers, 0);
    let all: Vec<_> = b.sent.iter().map(|(_, s)| s).collect();
    assert!(
        all.windows(2).all(|w| w[0] == w[1]),
        "byte for byte the same"
    );
}

/// [SIP-TXN-01] RFC 3261 §17.1.2.2: T1, doubling up to T2; timer F at 64·T1.
#[test]
fn another_request_is_repeated_up_to_t2() {
    let mut b = Bench::new().acquainted();
    b.request(1, to_udp(), &draft("BYE"));
    b.run_to(60_000);
    assert_eq!(
        b.times("BYE"),
        [
            0, 500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500
        ]
    );
    assert_eq!(b.heard(), [(32_000, "timed out".to_owned())]);
    assert!(b.endpoint.is_empty());
}

/// settled.md 42: a place that has never answered gets a request and four repeats; the transaction waits as long as any.
#[test]
fn to_a_place_that_has_never_answered_a_request_is_repeated_four_times() {
    for method in ["INVITE", "BYE"] {
        let mut b = Bench::new();
        // What anybody can send in its name is no answer.
        b.udp(&incoming("OPTIONS", "z9hG4bK1"));
        b.request(1, to_udp(), &draft(method));
        b.run_to(60_000);
        assert_eq!(b.times(method), [0, 500, 1500, 3500, 7500]);
        assert!(b.heard().contains(&(32_000, "timed out".to_owned())));
    }
}

/// What is kept of a request of ours is what its ACK and CANCEL copy, once it need not be sent again.
#[test]
fn a_request_that_is_answered_is_not_kept_whole() {
    let large = |method: &str| {
        draft(method).replace(
            "Content-Length: 0\r\n\r\n",
            &format!("Content-Length: 40000\r\n\r\n{}", "x".repeat(40_000)),
        )
    };
    for (method, status) in [
        ("INVITE", "180 Ringing"),
        ("INVITE", "200 OK"),
        ("INVITE", "486 Busy Here"),
        ("BYE", "200 OK"),
    ] {
        let mut b = Bench::new();
        let conn = b.conns.insert(());
        let flow = b.stream_flow(conn, PEER);
        b.endpoint.handle_message(b.now, flow, b"\r\n");
        b.request(1, ringfork::sip::Target::Flow(flow), &large(method));
        let request = b.last().text().to_owned();
        assert!(b.endpoint.counts().bytes > 40_000);
        b.udp(&Bench::answer(&request, status));
        assert!(
            b.endpoint.counts().bytes < 1_000,
            "{method} {status}: {}",
            b.endpoint.counts().bytes
        );
        b.run_to(400_000);
        assert_eq!(b.endpoint.counts().bytes, 0, "{method} {status}");
    }
}

/// Requests that may have to be sent again are bounded in bytes, a session's share of them too; what ends something has a reserve.
#[test]
fn requests_under_way_are_bounded_in_bytes_and_endings_go_on() {
    let mut b = Bench::with(ringfork::sip::Settings {
        clients_bytes: 100_000,
        ..settings()
    });
    let long = draft("INVITE").replace(
        "Max-Forwards",
        &format!("Subject: {}\r\nMax-Forwards", "s".repeat(900)),
    );
    for n in 0..100 {
        b.request(n, to_udp(), &long);
        assert!(b.endpoint.counts().bytes <= 100_000);
    }
    let refused = b.heard().iter().filter(|(_, e)| e == "unreachable").count();
    assert!(
        (60..90).contains(&refused),
        "one session has a third of it: {refused}"
    );
    assert_eq!(b.endpoint.counts().unsent, refused as u64);
    b.request(200, to_udp(), &draft("BYE"));
    assert!(b.last().text().starts_with("BYE"));
}

/// [SIP-TXN-01] In Proceeding a non-INVITE request is repeated every T2, and F goes on.
#[test]
fn after_a_100_another_request_is_repeated_every_t2() {
    let mut b = Bench::new();
    b.request(1, to_udp(), &draft("BYE"));
    b.run_to(600);
    let request = b.last().text().to_owned();
    b.udp(&Bench::answer(&request, "100 Trying"));
    b.run_to(60_000);
    // Timer E was running to 1500; from there on T2.
    assert_eq!(
        b.times("BYE"),
        [
            0, 500, 1500, 5500, 9500, 13_500, 17_500, 21_500, 25_500, 29_500
        ]
    );
    assert_eq!(b.heard()[1], (32_000, "timed out".to_owned()));
}

/// [SIP-TXN-01] Timer K: repeats of the final response are absorbed for T4.
#[test]
fn a_final_response_ends_a_request_after_t4() {
    let mut b = Bench::new();
    b.request(1, to_udp(), &draft("BYE"));
    let request = b.last().text().to_owned();
    let ok = Bench::answer(&request, "200 OK");
    b.udp(&ok);
    b.run_to(4_999);
    b.udp(&ok);
    assert_eq!(b.heard(), [(0, "SIP/2.0 200 OK".to_owned())]);
    assert_eq!(b.endpoint.counts().clients, 1);
    b.run_to(5_000);
    assert!(b.endpoint.is_empty());
    b.udp(&ok);
    assert_eq!(b.endpoint.counts().strays, 1);
    assert_eq!(b.times("BYE"), [0]);
}

/// [SIP-TXN-01] RFC 3261 §17.1.1.3: an ACK in the transaction, for each repeat; timer D 32 s.
#[test]
fn a_failure_is_acknowledged_each_time_it_comes() {
    let mut b = Bench::new();
    b.request(1, to_udp(), &draft("INVITE"));
    let invite = b.last().text().to_owned();
    let busy = Bench::answer(&invite, "486 Busy Here");
    b.run_to(100);
    b.udp(&busy);
    b.run_to(600);
    b.udp(&busy);
    assert_eq!(b.times("ACK"), [100, 600]);
    let ack = b.last().text();
    assert!(ack.starts_with("ACK sip:dev@192.0.2.7:5070 SIP/2.0\r\n"));
    assert_eq!(header(ack, "Via"), header(&invite, "Via"));
    assert_eq!(header(ack, "To"), Some("<sip:bob@example.com>;tag=theirs"));
    assert_eq!(header(ack, "From"), header(&invite, "From"));
    assert_eq!(header(ack, "Route"), Some("<sip:192.0.2.9;lr>"));
    assert_eq!(header(ack, "CSeq"), Some("1 ACK"));
    assert_eq!(header(ack, "Call-ID"), Some("call-1"));
    assert_eq!(b.heard(), [(100, "SIP/2.0 486 Busy Here".to_owned())]);
    b.run_to(32_099);
    assert!(!b.endpoint.is_empty());
    b.run_to(32_100);
    assert!(b.endpoint.is_empty());
    assert_eq!(b.times("INVITE"), [0], "the answer stops timer A");
}

/// [SIP-TXN-01] RFC 6026 §7.2: 2xx of each dialog are passed up for 64·T1 (timer M), and none is acknowledged here.
#[test]
fn each_2xx_is_told_while_accepted() {
    let mut b = Bench::new();
    b.request(1, to_udp(), &draft("INVITE"));
    let invite = b.last().text().to_owned();
    b.udp(&Bench::answer(&invite, "180 Ringing"));
    b.udp(&Bench::answer_as(&invite, "200 OK", "one"));
    b.run_to(1_000);
    b.udp(&Bench::answer_as(&invite, "200 OK", "one"));
    b.udp(&Bench::answer_as(&invite, "200 OK", "two"));
    // Nothing else is let through now.
    b.udp(&Bench::answer(&invite, "180 Ringing"));
    b.udp(&Bench::answer(&invite, "486 Busy Here"));
    let heard: Vec<_> = b
        .heard()
        .into_iter()
        .map(|(ms, e)| (ms, e[8..11].to_owned()))
        .collect();
    let ok = |ms| (ms, "200".to_owned());
    assert_eq!(heard, [(0, "180".to_owned()), ok(0), ok(1_000), ok(1_000)]);
    assert_eq!(b.times("ACK"), [0; 0]);
    b.run_to(31_999);
    assert!(!b.endpoint.is_empty());
    b.run_to(32_000);
    assert!(b.endpoint.is_empty());
}

/// [SIP-TXN-07] settled.md 5: CANCEL waits for the first provisional response; it has the INVITE's Via, no To-tag.
#[test]
fn cancel_waits_for_a_provisional_response() {
    let mut b = Bench::new();
    let of = b.request(1, to_udp(), &draft("INVITE"));
    let invite = b.last().text().to_owned();
    b.endpoint.cancel(
        b.now,
        of,
        b"Reason: SIP;cause=200;text=\"Call completed elsewhere\"\r\n",
    );
    b.collect();
    assert_eq!(b.times("CANCEL"), [0; 0]);
    b.run_to(700);
    b.udp(&Bench::answer(&invite, "100 Trying"));
    assert_eq!(b.times("CANCEL"), [700]);
    let cancel = b.last().text().to_owned();
    assert!(cancel.starts_with("CANCEL sip:dev@192.0.2.7:5070 SIP/2.0\r\n"));
    assert_eq!(header(&cancel, "Via"), header(&invite, "Via"));
    assert_eq!(header(&cancel, "To"), header(&invite, "To"));
    assert_eq!(header(&cancel, "Route"), header(&invite, "Route"));
    assert_eq!(header(&cancel, "CSeq"), Some("1 CANCEL"));
    assert_eq!(
        header(&cancel, "Reason"),
        Some("SIP;cause=200;text=\"Call completed elsewhere\"")
    );
    // It is a transaction of its own: repeated, its answer told to nobody.
    b.run_to(1_200);
    assert_eq!(b.times("CANCEL"), [700, 1_200]);
    b.udp(&Bench::answer(&cancel, "200 OK"));
    b.udp(&Bench::answer(&invite, "487 Request Terminated"));
    assert_eq!(b.times("ACK"), [1_200]);
    assert_eq!(
        b.heard(),
        [
            (700, "SIP/2.0 100 Trying".to_owned()),
            (1_200, "SIP/2.0 487 Request Terminated".to_owned())
        ]
    );
    b.run_to(60_000);
    assert!(b.endpoint.is_empty());
    assert_eq!(b.times("CANCEL"), [700, 1_200]);
}

/// [SIP-TXN-07] a 2xx that crosses the CANCEL stands; a CANCEL after the final response is not sent.
#[test]
fn a_2xx_that_crosses_a_cancel_is_told() {
    let mut b = Bench::new();
    let of = b.request(1, to_udp(), &draft("INVITE"));
    let invite = b.last().text().to_owned();
    b.udp(&Bench::answer(&invite, "180 Ringing"));
    b.endpoint.cancel(b.now, of, b"");
    b.collect();
    assert_eq!(b.times("CANCEL"), [0]);
    b.udp(&Bench::answer(&invite, "200 OK"));
    assert_eq!(b.heard()[1].1, "SIP/2.0 200 OK");
    b.endpoint.cancel(b.now, of, b"");
    b.collect();
    assert_eq!(b.times("CANCEL"), [0]);

    let mut b = Bench::new();
    let of = b.request(1, to_udp(), &draft("INVITE"));
    let invite = b.last().text().to_owned();
    b.endpoint.cancel(b.now, of, b"");
    b.udp(&Bench::answer(&invite, "486 Busy Here"));
    b.run_to(100);
    assert_eq!(
        b.times("CANCEL"),
        [0; 0],
        "it was over before it could be cancelled"
    );
}

/// [SIP-TXN-07] RFC 3261 §9.1: a cancelled INVITE that gets no final response in 64·T1 is over.
#[test]
fn a_cancelled_invite_ends_without_final_response() {
    let mut b = Bench::new();
    let of = b.request(1, to_udp(), &draft("INVITE"));
    let invite = b.last().text().to_owned();
    b.udp(&Bench::answer(&invite, "180 Ringing"));
    b.run_to(1_000);
    b.endpoint.cancel(b.now, of, b"");
    b.collect();
    b.run_to(100_000);
    assert_eq!(b.heard().last(), Some(&(33_000, "timed out".to_owned())));
    assert!(b.endpoint.is_empty());
}

/// [SIP-TXN-08] Timer C: more than three minutes, refreshed by 101 to 199, not by 100; then CANCEL.
#[test]
fn one_that_rings_for_ever_is_cancelled() {
    let mut b = Bench::new();
    b.request(1, to_udp(), &draft("INVITE"));
    let invite = b.last().text().to_owned();
    b.udp(&Bench::answer(&invite, "180 Ringing"));
    b.run_to(100_000);
    b.udp(&Bench::answer(&invite, "180 Ringing"));
    b.run_to(150_000);
    b.udp(&Bench::answer(&invite, "100 Trying"));
    b.run_to(280_999);
    assert_eq!(b.times("CANCEL"), [0; 0]);
    b.run_to(281_000);
    assert_eq!(b.times("CANCEL"), [281_000]);
    b.run_to(400_000);
    assert_eq!(b.heard().last(), Some(&(313_000, "timed out".to_owned())));
    assert!(b.endpoint.is_empty());
}

/// [SIP-TXN-02] RFC 3261 §17.1.3, §18.1.2, §8.1.3.3: whatever does not match is dropped.
#[test]
fn stray_responses_are_dropped() {
    let mut b = Bench::new();
    b.request(1, to_udp(), &draft("INVITE"));
    let invite = b.last().text().to_owned();
    let ok = Bench::answer(&invite, "200 OK");
    let strays = [
        ok.replace("branch=z9hG4bKr", "branch=z9hG4bKs"),
        ok.replace("branch=z9hG4bK", "branch="),
        ok.replace("CSeq: 1 INVITE", "CSeq: 1 CANCEL"),
        ok.replace("CSeq: 1 INVITE", "CSeq: 1 BYE"),
        ok.replace("192.0.2.1:5060", "192.0.2.2:5060"),
        ok.replace("From:", "Via: SIP/2.0/UDP other\r\nFrom:"),
    ];
    for (n, stray) in strays.iter().enumerate() {
        assert_ne!(stray, &ok);
        b.udp(stray);
        assert_eq!(b.endpoint.counts().strays, n as u64 + 1, "{stray}");
    }
    assert!(b.events.is_empty());
    // In another case it is ours.
    let shouted = ok.replace(
        header(&ok, "Via").unwrap(),
        &header(&ok, "Via").unwrap().to_uppercase(),
    );
    b.udp(&shouted);
    assert_eq!(b.heard(), [(0, "SIP/2.0 200 OK".to_owned())]);
}

/// RFC 3261 §8.1.1, §8.2.6.2: a response copies From, Call-ID and CSeq of its request and has a To. One that lacks them, says
/// another of them, or has a control octet in its head (settled.md 32) is nobody's: it is dropped, and not acknowledged.
#[test]
fn a_response_that_is_not_whole_is_dropped() {
    let mut b = Bench::new();
    b.request(1, to_udp(), &draft("INVITE"));
    let invite = b.last().text().to_owned();
    let busy = Bench::answer(&invite, "486 Busy Here");
    let without = |name: &str| -> String {
        busy.split_inclusive("\r\n")
            .filter(|l| !l.starts_with(&format!("{name}: ")))
            .collect()
    };
    let bad = [
        without("From"),
        without("To"),
        without("Call-ID"),
        without("CSeq"),
        without("Via"),
        busy.replace("tag=mine", "tag=other"),
        busy.replace(";tag=mine", ""),
        busy.replace("call-1", "call-9"),
        busy.replace("call-1", "CALL-1"),
        busy.replace("CSeq: 1 ", "CSeq: 2 "),
        busy.replace("CSeq: 1 ", "CSeq: one "),
        busy.replace("To: <sip:bob", "To: <sip bob"),
        busy.replace("From:", "From: <sip:x@y>;tag=z\r\nFrom:"),
        busy.replace("Contact:", "X-What: \u{7}\r\nContact:"),
        busy.replace("Busy Here", "Busy\u{7f}Here"),
        busy.replace("Contact:", "Warning: 399 h \"\\\u{0}\"\r\nContact:"),
    ];
    for response in &bad {
        assert_ne!(response, &busy);
        b.udp(response);
        assert!(b.events.is_empty(), "{response:?}");
        assert_eq!(b.times("ACK"), [0; 0], "{response:?}");
    }
    let counts = b.endpoint.counts();
    assert_eq!(counts.malformed + counts.strays, bad.len() as u64);
    b.udp(&busy);
    assert_eq!(b.heard(), [(0, "SIP/2.0 486 Busy Here".to_owned())]);
    assert_eq!(
        header(b.last().text(), "To"),
        Some("<sip:bob@example.com>;tag=theirs")
    );
}

/// Branches are ours to know, and nobody's to guess: they differ, and say the shard.
#[test]
fn branches_differ_and_carry_the_shard() {
    let mut b = Bench::new();
    let mut seen = std::collections::HashSet::new();
    for n in 0..100 {
        b.request(n, to_udp(), &draft("OPTIONS"));
        let via = header(b.last().text(), "Via").unwrap().to_owned();
        assert!(via.starts_with("SIP/2.0/UDP 192.0.2.1:5060;rport;branch=z9hG4bK"));
        let branch = via.split("branch=").nth(1).unwrap().to_owned();
        assert_eq!(
            ringfork::sip::token::shard_of_branch(branch.as_bytes()),
            Some(ringfork::ids::ShardId(3))
        );
        assert!(seen.insert(branch));
    }
}
