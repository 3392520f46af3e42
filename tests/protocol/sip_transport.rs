//! Datagrams, streams, and the way from one to the other.

use ringfork::{
    ids::ShardId,
    sip::{Target, Trusted},
    wire::sip::Error,
};

use super::bench::*;

fn large(method: &str) -> String {
    draft(method).replace(
        "Content-Length: 0\r\n\r\n",
        &format!("Subject: {}\r\nContent-Length: 0\r\n\r\n", "x".repeat(1400)),
    )
}

/// [SIP-TXN-01] reliable: sent once, timers B and F alone; D and K are zero.
#[test]
fn over_tcp_nothing_is_repeated() {
    for method in ["INVITE", "BYE"] {
        let mut b = Bench::new();
        b.request(1, Target::Tcp(addr(PEER)), &draft(method));
        assert_eq!(b.last(), &Sent::Connect(addr(PEER)));
        let conn = b.conns.insert(());
        b.endpoint.handle_connecting(addr(PEER), conn);
        b.run_to(100);
        b.endpoint.handle_connected(b.now, conn, true);
        b.collect();
        b.run_to(31_999);
        assert_eq!(b.times(method), [100]);
        assert!(
            header(b.last().text(), "Via")
                .unwrap()
                .starts_with("SIP/2.0/TCP 192.0.2.1:5062;")
        );
        b.run_to(32_000);
        assert_eq!(b.heard(), [(32_000, "timed out".to_owned())]);

        let mut b = Bench::new();
        b.request(1, Target::Tcp(addr(PEER)), &draft(method));
        let conn = b.conns.insert(());
        b.endpoint.handle_connecting(addr(PEER), conn);
        b.endpoint.handle_connected(b.now, conn, true);
        b.collect();
        let request = b.last().text().to_owned();
        b.tcp(conn, &Bench::answer(&request, "404 Not Found"));
        assert!(b.endpoint.is_empty(), "timers D and K are zero");
    }
}

/// [SIP-TXN-10] RFC 3261 §18.1.1: over 1300 bytes by TCP; one connection for all that wait for it, used again.
#[test]
fn a_large_request_goes_by_tcp_over_one_connection() {
    let mut b = Bench::new();
    b.request(1, to_udp(), &large("INVITE"));
    b.request(2, to_udp(), &large("MESSAGE"));
    let outs: Vec<_> = b.sent.iter().map(|(_, s)| s.clone()).collect();
    assert_eq!(outs, [Sent::Connect(addr(PEER))]);
    let conn = b.conns.insert(());
    b.endpoint.handle_connecting(addr(PEER), conn);
    b.endpoint.handle_connected(b.now, conn, true);
    b.collect();
    b.request(3, to_udp(), &large("MESSAGE"));
    b.request(4, Target::Tcp(addr(PEER)), &draft("OPTIONS"));
    let streams: Vec<_> = b.sent[1..]
        .iter()
        .map(|(_, s)| match s {
            Sent::Stream(c, text) => (*c == conn, text.split(' ').next().unwrap()),
            Sent::Datagram(..) | Sent::Connect(_) | Sent::Close(_) => panic!("{s:?}"),
        })
        .collect();
    assert_eq!(
        streams,
        [
            (true, "INVITE"),
            (true, "MESSAGE"),
            (true, "MESSAGE"),
            (true, "OPTIONS")
        ]
    );
    // A small one goes by datagram as before.
    b.request(5, to_udp(), &draft("OPTIONS"));
    assert!(matches!(b.last(), Sent::Datagram(..)));
}

/// [SIP-TXN-10] falls back on refusal: by datagram with the Via of one, repeated as one; the next goes so at once.
#[test]
fn a_refused_connection_falls_back_to_a_datagram() {
    let mut b = Bench::new();
    b.request(1, to_udp(), &large("INVITE"));
    let conn = b.conns.insert(());
    b.endpoint.handle_connecting(addr(PEER), conn);
    b.run_to(50);
    b.endpoint.handle_connected(b.now, conn, false);
    b.collect();
    assert!(matches!(b.last(), Sent::Datagram(to, _) if *to == addr(PEER)));
    assert!(
        header(b.last().text(), "Via")
            .unwrap()
            .starts_with("SIP/2.0/UDP 192.0.2.1:5060;")
    );
    b.run_to(1_600);
    assert_eq!(b.times("INVITE"), [50, 550, 1_550]);
    let invite = b.last().text().to_owned();
    b.udp(&Bench::answer(&invite, "200 OK"));
    assert_eq!(b.heard(), [(1_600, "SIP/2.0 200 OK".to_owned())]);
    b.request(2, to_udp(), &large("MESSAGE"));
    assert!(matches!(b.last(), Sent::Datagram(..)), "it is remembered");
    b.run_to(70_000);
    b.request(3, to_udp(), &large("MESSAGE"));
    assert_eq!(b.last(), &Sent::Connect(addr(PEER)), "but not for ever");
}

/// [SIP-TXN-10] a firewall that swallows the connection does not swallow the request.
#[test]
fn a_connection_that_hangs_is_not_waited_for() {
    let mut b = Bench::new();
    b.request(1, to_udp(), &large("INVITE"));
    let conn = b.conns.insert(());
    b.endpoint.handle_connecting(addr(PEER), conn);
    b.run_to(1_999);
    assert_eq!(b.times("INVITE"), [0; 0]);
    b.run_to(2_600);
    assert_eq!(b.times("INVITE"), [2_000, 2_500]);
    // Nor is the next one kept waiting.
    b.request(2, to_udp(), &large("MESSAGE"));
    assert!(matches!(b.last(), Sent::Datagram(..)));
    // It comes up late: the request stays where it is.
    b.endpoint.handle_connected(b.now, conn, true);
    b.collect();
    assert_eq!(b.times("INVITE"), [2_000, 2_500]);
}

#[test]
fn where_tcp_was_asked_for_a_refusal_is_the_end() {
    let mut b = Bench::new();
    b.request(1, Target::Tcp(addr(PEER)), &draft("INVITE"));
    let conn = b.conns.insert(());
    b.endpoint.handle_connecting(addr(PEER), conn);
    b.endpoint.handle_connected(b.now, conn, false);
    b.collect();
    assert_eq!(b.heard(), [(0, "unreachable".to_owned())]);
    assert!(b.endpoint.is_empty());
}

/// RFC 3261 §18.4: what waits for its first response on a connection that is lost goes once more, by a new one (settled.md 36); what
/// rings may still be answered.
#[test]
fn a_lost_connection() {
    let mut b = Bench::new();
    let conn = b.conns.insert(());
    b.request(1, Target::Tcp(addr(PEER)), &draft("INVITE"));
    b.request(2, Target::Tcp(addr(PEER)), &draft("OPTIONS"));
    b.request(3, Target::Tcp(addr(PEER)), &draft("INVITE"));
    b.endpoint.handle_connecting(addr(PEER), conn);
    b.endpoint.handle_connected(b.now, conn, true);
    b.collect();
    let ringing = b.sent[1].1.text().to_owned();
    b.tcp(conn, &Bench::answer(&ringing, "180 Ringing"));
    b.endpoint.handle_closed(b.now, ShardId(3), conn);
    b.collect();
    assert_eq!(b.last(), &Sent::Connect(addr(PEER)));
    let second = b.conns.insert(());
    b.endpoint.handle_connecting(addr(PEER), second);
    b.endpoint.handle_connected(b.now, second, true);
    b.collect();
    let again: Vec<_> = b.sent[b.sent.len() - 2..].to_vec();
    assert!(
        again
            .iter()
            .all(|(_, s)| matches!(s, Sent::Stream(c, _) if *c == second))
    );
    assert_eq!(again[0].1.text(), b.sent[2].1.text());
    b.endpoint.handle_closed(b.now, ShardId(3), second);
    b.collect();
    let unreachable = b.heard().iter().filter(|(_, e)| e == "unreachable").count();
    assert_eq!(unreachable, 2, "and not for ever");
    assert_eq!(b.endpoint.counts().clients, 1);
    // It answers over a connection of its own; a CANCEL would open one to it.
    let other = b.conns.insert(());
    b.endpoint.cancel(b.now, of(1), b"");
    b.collect();
    assert_eq!(b.last(), &Sent::Connect(addr(PEER)));
    b.tcp(other, &Bench::answer(&ringing, "200 OK"));
    assert_eq!(b.heard().last().unwrap().1, "SIP/2.0 200 OK");
}

/// A connection of ours that nobody uses is closed; what comes and goes over it keeps it.
#[test]
fn an_idle_connection_of_ours_is_closed() {
    let mut b = Bench::new();
    let conn = b.conns.insert(());
    b.request(1, Target::Tcp(addr(PEER)), &draft("OPTIONS"));
    b.endpoint.handle_connecting(addr(PEER), conn);
    b.endpoint.handle_connected(b.now, conn, true);
    b.collect();
    b.run_to(100_000);
    b.request(2, Target::Tcp(addr(PEER)), &draft("OPTIONS"));
    b.run_to(399_999);
    assert!(!b.sent.iter().any(|(_, s)| matches!(s, Sent::Close(_))));
    b.run_to(400_000);
    assert_eq!(b.last(), &Sent::Close(conn));
    b.endpoint.handle_closed(b.now, ShardId(3), conn);
    assert_eq!(b.endpoint.counts().connections, 0);
    assert_eq!(b.endpoint.counts().timers, 0);
}

/// [SIP-TXN-09] RFC 3581: with rport the response goes to the source port; received and rport are filled in.
#[test]
fn rport_sends_the_response_to_the_source() {
    let mut b = Bench::new();
    let request =
        incoming("OPTIONS", "z9hG4bK1").replace("192.0.2.7:5070;", "10.0.0.1:5080;rport;");
    b.udp_from("198.51.100.9:40000", &request);
    let txn = b.txn(0);
    b.respond(txn, 200);
    let Sent::Datagram(to, text) = b.last() else {
        panic!()
    };
    assert_eq!(*to, addr("198.51.100.9:40000"));
    assert_eq!(
        header(text, "Via"),
        Some("SIP/2.0/UDP 10.0.0.1:5080;branch=z9hG4bK1;received=198.51.100.9;rport=40000")
    );
}

/// [SIP-TXN-09] RFC 3261 §18.2.1, §18.2.2: without rport to the port of sent-by; a lie about received is replaced; maddr wins.
#[test]
fn without_rport_the_response_goes_to_sent_by() {
    let trusting = |trusted: Trusted, sent_by: &str, peer: &str| {
        let mut b = Bench::with(ringfork::sip::Settings {
            trusted,
            ..settings()
        });
        let request = incoming("OPTIONS", "z9hG4bK1").replace("192.0.2.7:5070", sent_by);
        b.udp_from(peer, &request);
        let txn = b.txn(0);
        b.respond(txn, 200);
        match b.last() {
            Sent::Datagram(to, text) => (to.to_string(), header(text, "Via").unwrap().to_owned()),
            other @ (Sent::Stream(..) | Sent::Connect(_) | Sent::Close(_)) => panic!("{other:?}"),
        }
    };
    let via = |sent_by: &str, peer: &str| trusting(Trusted::default(), sent_by, peer);
    assert_eq!(
        via("192.0.2.7:5070", "192.0.2.7:40000"),
        (
            "192.0.2.7:5070".to_owned(),
            "SIP/2.0/UDP 192.0.2.7:5070;branch=z9hG4bK1".to_owned()
        )
    );
    assert_eq!(
        via("dev.example.com", "192.0.2.7:40000"),
        (
            "192.0.2.7:5060".to_owned(),
            "SIP/2.0/UDP dev.example.com;branch=z9hG4bK1;received=192.0.2.7".to_owned()
        )
    );
    assert_eq!(
        via("192.0.2.7:5070;received=203.0.113.1", "192.0.2.8:40000"),
        (
            "192.0.2.8:5070".to_owned(),
            "SIP/2.0/UDP 192.0.2.7:5070;branch=z9hG4bK1;received=192.0.2.8".to_owned()
        )
    );
    // settled.md 42: a stranger's maddr is not followed.
    let maddr = "192.0.2.7:5070;maddr=192.0.2.99";
    assert_eq!(via(maddr, "192.0.2.7:40000").0, "192.0.2.7:5070");
    let core = |net: &str| Trusted::new(vec![(net.parse().unwrap(), 32)]);
    assert_eq!(
        trusting(core("192.0.2.7"), maddr, "192.0.2.7:40000").0,
        "192.0.2.99:5070"
    );
    assert_eq!(
        trusting(core("192.0.2.8"), maddr, "192.0.2.7:40000").0,
        "192.0.2.7:5070"
    );
}

/// [SIP-TXN-09] a response goes back over the connection of its request; where that is gone, by a new one to sent-by.
#[test]
fn a_response_goes_back_over_the_connection_or_to_sent_by() {
    let mut b = Bench::new();
    let conn = b.conns.insert(());
    let request = incoming("INVITE", "z9hG4bK1").replace("UDP", "TCP");
    b.tcp(conn, &request);
    let txn = b.txn(0);
    b.respond(txn, 180);
    assert!(matches!(b.last(), Sent::Stream(c, _) if *c == conn));
    b.endpoint.handle_closed(b.now, ShardId(3), conn);
    b.respond(txn, 200);
    assert_eq!(b.last(), &Sent::Connect(addr("192.0.2.7:5070")));
    let back = b.conns.insert(());
    b.endpoint.handle_connecting(addr("192.0.2.7:5070"), back);
    b.endpoint.handle_connected(b.now, back, true);
    b.collect();
    assert!(
        matches!(b.last(), Sent::Stream(c, text) if *c == back && text.starts_with("SIP/2.0 200"))
    );
    // And where nobody takes it there either, the user hears.
    let mut b = Bench::new();
    let conn = b.conns.insert(());
    b.tcp(conn, &request);
    let txn = b.txn(0);
    b.endpoint.handle_closed(b.now, ShardId(3), conn);
    b.respond(txn, 200);
    let back = b.conns.insert(());
    b.endpoint.handle_connecting(addr("192.0.2.7:5070"), back);
    b.endpoint.handle_connected(b.now, back, false);
    b.collect();
    assert_eq!(b.heard().last().unwrap().1, "failed");
}

/// Sent without a transaction: an ACK gets a Via of its own each time, a response none.
#[test]
fn loose_messages() {
    let mut b = Bench::new();
    for _ in 0..2 {
        b.endpoint.send(b.now, to_udp(), draft("ACK").into_bytes());
    }
    b.collect();
    let vias: Vec<_> = b
        .sent
        .iter()
        .map(|(_, s)| header(s.text(), "Via").unwrap())
        .collect();
    assert_ne!(vias[0], vias[1]);
    let response = "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP x\r\nContent-Length: 0\r\n\r\n";
    b.endpoint
        .send(b.now, to_udp(), response.as_bytes().to_vec());
    b.collect();
    assert_eq!(b.last().text(), response);
    assert!(b.endpoint.is_empty());
}

/// [SIP-MSG-03] what a stream cannot frame is answered where it can be: a request without Content-Length gets 400.
#[test]
fn a_stream_that_breaks_is_answered() {
    let mut b = Bench::new();
    let conn = b.conns.insert(());
    let mut stream = ringfork::sip::Stream::default();
    stream.push(
        incoming("OPTIONS", "z9hG4bK1")
            .replace("Content-Length: 0\r\n", "")
            .as_bytes(),
    );
    let ringfork::sip::Item::Broken { error, bytes } = stream.poll() else {
        panic!()
    };
    let error: Error = error;
    let flow = b.stream_flow(conn, PEER);
    let bytes = bytes.to_vec();
    b.endpoint.handle_malformed(b.now, flow, &bytes, error);
    b.collect();
    assert_eq!(
        b.last().first_line(),
        "SIP/2.0 400 Bad Request (Missing Content-Length)"
    );
    assert!(b.endpoint.is_empty() && b.events.is_empty());
}
