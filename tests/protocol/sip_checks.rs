//! The inspection of a request (RFC 3261 §8.2).

use ringfork::{
    sip::checks::{Abilities, Refusal, inspect},
    wire::sip::Message,
};

use super::bench::incoming;

const CAN: Abilities<'_> = Abilities {
    allow: "INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE",
    supported: &["timer", "100rel"],
    accept: &["application/sdp", "multipart/mixed", "message/*"],
};

fn check(request: &str) -> Result<(), (u16, String)> {
    let message = Message::parse(request.as_bytes()).unwrap();
    inspect(&message, &CAN).map_err(|Refusal { code, headers }| (code, headers))
}

fn with_body(headers: &str) -> String {
    incoming("INVITE", "z9hG4bK1").replace(
        "Content-Length: 0\r\n\r\n",
        &format!("{headers}Content-Length: 1\r\n\r\nx"),
    )
}

/// [SIP-MSG-05] settled.md 16: 405 with Allow where we know the method, 501 where nobody does; methods are case-sensitive.
#[test]
fn methods() {
    let allow = || format!("Allow: {}\r\n", CAN.allow);
    assert_eq!(check(&incoming("INVITE", "z9hG4bK1")), Ok(()));
    assert_eq!(check(&incoming("REFER", "z9hG4bK1")), Err((405, allow())));
    assert_eq!(
        check(&incoming("NEWMETHOD", "z9hG4bK1")),
        Err((501, allow()))
    );
    assert_eq!(check(&incoming("invite", "z9hG4bK1")), Err((501, allow())));
}

/// RFC 3261 §8.2.2.1: a scheme that we do not know.
#[test]
fn schemes() {
    let to = |uri: &str| incoming("INVITE", "z9hG4bK1").replacen("sip:bob@example.com", uri, 1);
    assert_eq!(check(&to("tel:+1-201-555-0123")), Ok(()));
    // RFC 5630 §5.1.2: `sips` is for TLS all the way, and we have none.
    assert_eq!(
        check(&to("sips:bob@example.com")),
        Err((416, String::new()))
    );
    assert_eq!(
        check(&to("nobodyKnowsThisScheme:totallyopaquecontent")),
        Err((416, String::new()))
    );
}

/// [SIP-MSG-04] 420 names each option tag that is not supported, and only those; CANCEL and ACK are let be.
#[test]
fn extensions() {
    let require = |method: &str, tags: &str| {
        incoming(method, "z9hG4bK1").replace("Max-", &format!("Require: {tags}\r\nMax-"))
    };
    assert_eq!(check(&require("INVITE", "timer, 100REL")), Ok(()));
    assert_eq!(
        check(&require("INVITE", "foo")),
        Err((420, "Unsupported: foo\r\n".to_owned()))
    );
    assert_eq!(
        check(&require("INVITE", "foo, timer\r\nRequire: bar")),
        Err((420, "Unsupported: foo, bar\r\n".to_owned()))
    );
    assert_eq!(check(&require("ACK", "foo")), Ok(()));
    assert_eq!(check(&require("CANCEL", "foo")), Ok(()));
}

/// [SIP-MSG-05] content: type, encoding, and what is optional; a body without type is no body that can be understood.
#[test]
fn content() {
    let accept = || {
        Err((
            415,
            "Accept: application/sdp, multipart/mixed, message/*\r\n".to_owned(),
        ))
    };
    for good in [
        "Content-Type: application/SDP\r\n",
        "Content-Type: message/cpim\r\n",
        "Content-Type: multipart/mixed;boundary=b\r\n",
        "Content-Type: application/sdp\r\nContent-Encoding: identity\r\n",
        "Content-Type: x/y\r\nContent-Disposition: session;handling=optional\r\n",
        "Content-Type: application/sdp\r\nContent-Encoding: gzip\r\nContent-Disposition: session;handling=OPTIONAL\r\n",
    ] {
        assert_eq!(check(&with_body(good)), Ok(()), "{good}");
    }
    assert_eq!(check(&with_body("Content-Type: text/plain\r\n")), accept());
    assert_eq!(
        check(&with_body("Content-Type: multipart/related;boundary=b\r\n")),
        accept()
    );
    assert_eq!(
        check(&with_body(
            "Content-Type: x/y\r\nContent-Disposition: session;handling=required\r\n"
        )),
        accept()
    );
    assert_eq!(
        check(&with_body(
            "Content-Type: application/sdp\r\nContent-Encoding: gzip\r\n"
        )),
        Err((415, "Accept-Encoding: identity\r\n".to_owned()))
    );
    assert_eq!(check(&with_body("")), Err((400, String::new())));
}

/// The order of RFC 3261 §8.2: method, scheme, extensions, content.
#[test]
fn the_first_failure_in_order_is_the_answer() {
    let all = with_body("Content-Type: x/y\r\nRequire: foo\r\n");
    assert_eq!(check(&all).unwrap_err().0, 420);
    let scheme = all.replacen("sip:bob@example.com", "x:y", 1);
    assert_eq!(check(&scheme).unwrap_err().0, 416);
    assert_eq!(check(&scheme.replace("INVITE", "FROB")).unwrap_err().0, 501);
}
