//! Heads with octets and numbers that must not be in them: requests are answered 400.

use super::bench::*;

/// What a request is answered with, without its user: the first line; "told" where its user hears of it.
fn fate(request: &str) -> String {
    let mut b = Bench::new();
    b.udp(request);
    match b.sent.first() {
        Some((_, s)) if !s.first_line().starts_with("SIP/2.0 100") => s.first_line().to_owned(),
        Some(_) | None if b.events.len() == 1 => "told".to_owned(),
        Some(_) | None => "nothing".to_owned(),
    }
}

/// settled.md 32: a number that is none, or is out of range, is 400 in every header that has one.
#[test]
fn a_number_that_is_none_gets_400() {
    let with = |header: &str| {
        let name = header.split(':').next().unwrap();
        let plain = incoming("INVITE", "z9hG4bK1");
        let others: String = plain
            .split_inclusive("\r\n")
            .filter(|l| !l.starts_with(&format!("{name}:")))
            .collect();
        others.replacen("\r\n\r\n", &format!("\r\n{header}\r\n\r\n"), 1)
    };
    let bad = [
        "Max-Forwards: many",
        "Max-Forwards: 256",
        "Max-Forwards: -1",
        "Max-Forwards: +7",
        "Max-Forwards: 7 0",
        "Max-Forwards: 0x46",
        "Max-Forwards:",
        "Max-Breadth: wide",
        "Content-Length: zero",
        "Content-Length: -0",
        "l: 99999999999999999999",
        "CSeq: seven INVITE",
        "CSeq: 4294967296 INVITE",
        "Expires: soon",
        "Expires: 4294967296",
        "Expires: 3600;x",
        "Min-Expires: 6O",
        "Session-Expires: long",
        "x: 1800s",
        "Session-Expires: 99999999999",
        "Min-SE: ninety",
        "RSeq: 1.5",
        "RAck: 1 one INVITE",
        "RAck: x 1 INVITE",
        "Retry-After: later",
        "Retry-After: 5;duration=ever",
        "Timestamp: noon",
        "MIME-Version: one",
        "Accept: application/sdp;q=2",
        "Accept: application/sdp, text/plain;q=0.1234",
        "Accept-Language: en;q=high",
        "Accept-Encoding: gzip;q=-1",
        "Contact: <sip:alice@192.0.2.7>;q=1.5",
        "Contact: <sip:alice@192.0.2.7>;q=many",
        "Contact: <sip:alice@192.0.2.7>;expires=never",
        "Contact: <sip:alice@192.0.2.7>, <sip:b@192.0.2.7>;expires=99999999999",
        "m: <sip:alice@192.0.2.7>;reg-id=0",
        "Contact: <sip:alice@192.0.2.7>;reg-id=one",
        "Subscription-State: active;expires=x",
        "Via: SIP/2.0/UDP 192.0.2.7:5070;branch=z9hG4bK1;ttl=256",
    ];
    for header in bad {
        let line = fate(&with(header));
        assert!(line.starts_with("SIP/2.0 400"), "{header}: {line}");
    }
    let good = [
        "Max-Forwards: 255",
        "Max-Forwards: 0070",
        "Expires: 4294967295",
        "Session-Expires: 1800;refresher=uac",
        "Min-SE: 90",
        "Retry-After: 5 (I am in a meeting);duration=60",
        "Timestamp: 54",
        "Timestamp: 54.3 .5",
        "MIME-Version: 1.0",
        "Accept: application/sdp;level=1;q=0.5, text/*;q=1.000",
        "Accept-Language: da, en-gb;q=0.8, en;q=0.7",
        "Contact: <sip:alice@192.0.2.7>;q=0.5;expires=60;reg-id=1",
        "X-Many: many",
    ];
    for header in good {
        assert_eq!(fate(&with(header)), "told", "{header}");
    }
}

/// settled.md 32: a control octet other than HTAB, DEL too, anywhere in a head gets 400: in a value, a display name, escaped in a
/// quoted string, in the Request-URI, in a name. Whose method is unknown gets 501.
#[test]
fn a_control_octet_gets_400() {
    let plain = incoming("INVITE", "z9hG4bK1");
    for octet in (0..=8).chain([11, 12]).chain(14..=31).chain([127]) {
        let c = char::from(octet);
        let spoiled = [
            plain.replace("Max-", &format!("Subject: a{c}b\r\nMax-")),
            plain.replace("Max-", &format!("X-What: {c}\r\nMax-")),
            plain.replace("Max-", &format!("X{c}What: a\r\nMax-")),
            plain.replace("Max-", &format!("Subject: a\r\n {c}b\r\nMax-")),
            plain.replace("From: ", &format!("From: \"A{c}\" ")),
            plain.replace("From: ", &format!("From: \"A\\{c}\" ")),
            plain.replacen("sip:bob", &format!("sip:b{c}ob"), 1),
            plain.replace(";tag=theirs", &format!(";tag=th{c}eirs")),
            plain.replace("call-2", &format!("call{c}2")),
        ];
        for request in spoiled {
            let line = fate(&request);
            assert!(
                line.starts_with("SIP/2.0 400"),
                "{octet}: {line}: {request:?}"
            );
        }
        let unknown = plain
            .replace("INVITE", "NEWMETHOD")
            .replace("Max-", &format!("X-What: {c}\r\nMax-"));
        assert_eq!(fate(&unknown), "SIP/2.0 501 Not Implemented");
    }
    for fine in [
        "Subject: a\tb",
        "Subject: a\r\n\tb",
        "Subject: \u{e9}\u{20ac}",
    ] {
        assert_eq!(
            fate(&plain.replace("Max-", &format!("{fine}\r\nMax-"))),
            "told"
        );
    }
}
