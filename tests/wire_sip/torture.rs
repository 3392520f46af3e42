//! What the valid messages of RFC 4475 and RFC 5118 mean.

use crate::corpus::{bytes, read};
use ringfork::wire::{
    multipart::Multipart,
    sip::{Auth, CSeq, Contact, Message, Method, Name, Start, Warning},
    uri::{self, Host, compare, sip},
};

/// Reads a message of the corpus and looks at it.
macro_rules! message {
    ($message:ident = $name:literal) => {
        let bytes = bytes($name);
        let $message = read(&bytes).unwrap();
    };
}

#[test]
fn wsinv() {
    // Folds, compact names, odd white space, values in one line and in several. [SIP-MSG-01]
    message!(m = "rfc4475/wsinv");
    assert_eq!(m.method(), Some(Method::Invite));
    assert_eq!(m.max_forwards(), Some(68));
    assert_eq!(
        m.cseq().unwrap(),
        CSeq {
            number: 9,
            method: Method::Invite
        }
    );
    assert_eq!(m.call_id().unwrap(), b"wsinv.ndaksdj@192.0.2.1");
    assert_eq!(m.to().unwrap().tag(), Some(&b"1918181833n"[..]));
    let from = m.from().unwrap();
    assert_eq!(
        (from.display_text().as_ref(), from.tag()),
        (&b"J Rosenberg \\\""[..], Some(&b"98asjd8"[..]))
    );
    let vias: Vec<_> = m
        .each(Name::Via, ringfork::wire::sip::Via::parse)
        .map(Result::unwrap)
        .collect();
    let branches: Vec<_> = vias.iter().map(|v| v.branch().unwrap()).collect();
    assert_eq!(
        branches,
        [&b"390skdjuw"[..], b"z9hG4bK9ikj8", b"z9hG4bK30239"]
    );
    assert_eq!(vias[1].host, Host::Name(b"spindle.example.com"));
    assert_eq!(m.header(Name::Subject), Some(&b""[..]));
    assert_eq!(
        m.header(Name::Other(b"newfangledheader")),
        Some(&b"newfangled value\r\n continued newfangled value"[..])
    );
    assert_eq!(
        m.values(Name::Other(b"UnknownHeaderWithUnusualValue"))
            .collect::<Vec<_>>(),
        [b";;,,;;,;"]
    );
    let contact = m.contacts().next().unwrap().unwrap();
    assert_eq!(contact.q(), Some(330));
    assert_eq!(
        contact.address().unwrap().params.value(b"newparam"),
        Some(&b"newvalue"[..])
    );
    let route = m.routes(Name::Route).next().unwrap().unwrap();
    let route = sip::Uri::parse(route.uri).unwrap();
    assert!(route.is_loose_router() && route.param(b"unknown-no-value").is_some());
    assert_eq!((m.body().len(), m.all().count()), (150, 14));
}

#[test]
fn intmeth() {
    let bytes = bytes("rfc4475/intmeth");
    let m = Message::parse(&bytes).unwrap();
    // settled.md 32: escaped control octets are no better than bare ones; the method is unknown before that.
    assert_eq!(m.check().map_err(|e| e.status()), Err(Some(501)));
    let Start::Request {
        method: Method::Other(method),
        uri,
    } = m.start()
    else {
        panic!()
    };
    assert_eq!(method, b"!interesting-Method0123456789_*+`.%indeed'~");
    let uri = sip::Uri::parse(uri).unwrap();
    assert_eq!(
        uri.user,
        Some(&b"1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"[..])
    );
    assert_eq!(
        uri.password,
        Some(&b"&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"[..])
    );
    assert_eq!(
        m.to().unwrap().display_text().as_ref(),
        b"BEL:\x07 NUL:\0 DEL:\x7f"
    );
    let from = m.from().unwrap();
    assert_eq!(from.display, b"token1~` token2'+_ token3*%!.-");
    assert_eq!(from.tag(), Some(&b"_token~1'+`*%!-."[..]));
    assert_eq!(
        from.params.text(b"fromParam''~+*_!.-%").unwrap().as_ref(),
        "работающий".as_bytes()
    );
    assert_eq!(
        m.call_id().unwrap(),
        b"intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{"
    );
    assert_eq!(
        m.header(Name::Other(b"extensionHeader-!.%*+_`'~")),
        Some("\u{feff}大停電".as_bytes())
    );
    assert_eq!(m.max_forwards(), Some(255));
}

#[test]
fn escapes() {
    message!(m = "rfc4475/esc01");
    let Start::Request { uri, .. } = m.start() else {
        panic!()
    };
    assert_eq!(
        sip::Uri::parse(uri).unwrap().host,
        Host::Name(b"example.net")
    );
    assert!(compare::equal(m.to().unwrap().uri, b"sip:user@example.com"));
    let contact = m.contacts().next().unwrap().unwrap();
    let contact = sip::Uri::parse(contact.address().unwrap().uri).unwrap();
    assert!(contact.is_loose_router());
    assert_eq!(contact.param(b"name"), Some(&b"v%61lue%25%34%31"[..]));
    assert!(!compare::equal(
        b"sip:a@b;name=v%61lue%25%34%31",
        b"sip:a@b;name=valueA"
    ));
    assert!(compare::equal(
        b"sip:a@b;name=v%61lue%25%34%31",
        b"sip:a@b;name=value%2541"
    ));

    message!(m = "rfc4475/escnull");
    let mut key = [0; uri::KEY_BYTES_MAX];
    assert_eq!(
        uri::canonical(m.to().unwrap().uri, &mut key).unwrap(),
        b"sip:null-\0-null@example.com"
    );
    let contacts: Vec<_> = m
        .contacts()
        .map(|c| c.unwrap().address().unwrap().uri)
        .collect();
    assert_eq!(contacts.len(), 2);
    assert!(!compare::equal(contacts[0], contacts[1]));

    message!(m = "rfc4475/esc02");
    assert_eq!(m.method(), Some(Method::Other(b"RE%47IST%45R")));
    assert_eq!(m.to().unwrap().display_text().as_ref(), b"%Z%45");
    assert_eq!(m.contacts().count(), 2);
}

#[test]
fn long_values() {
    message!(m = "rfc4475/longreq");
    assert_eq!(m.values(Name::Via).count(), 34);
    assert_eq!(m.via().unwrap().host, Host::Name(b"sip33.example.com"));
    assert_eq!(m.from().unwrap().tag().map(<[u8]>::len), Some(2 + 150 + 3));
    assert_eq!(
        m.call_id().unwrap().len(),
        "longreq.one".len() + 120 + "longcallid".len()
    );
    let to = m.to().unwrap();
    assert_eq!(
        (to.display.len(), sip::Uri::parse(to.uri).unwrap().port),
        (105, Some(6000))
    );
    assert_eq!(m.body().len(), 150);
}

#[test]
fn the_rest_of_the_parser_tests() {
    message!(m = "rfc4475/lwsdisp");
    assert_eq!(m.from().unwrap().display, b"caller");

    message!(m = "rfc4475/dblreq");
    assert_eq!((m.method(), m.body()), (Some(Method::Register), &b""[..]));
    assert!(!m.as_bytes().windows(6).any(|w| w == b"INVITE"));

    message!(m = "rfc4475/semiuri");
    let Start::Request { uri, .. } = m.start() else {
        panic!()
    };
    assert_eq!(
        sip::Uri::parse(uri).unwrap().user,
        Some(&b"user;par=u%40example.net"[..])
    );
    assert_eq!(m.values(Name::Accept).count(), 6);

    message!(m = "rfc4475/transports");
    let transports: Vec<_> = m
        .each(Name::Via, ringfork::wire::sip::Via::parse)
        .map(|v| v.unwrap().transport)
        .collect();
    assert_eq!(
        transports,
        [&b"UDP"[..], b"SCTP", b"TLS", b"UNKNOWN", b"TCP"]
    );

    message!(m = "rfc4475/unreason");
    let Start::Response { code: 200, reason } = m.start() else {
        panic!()
    };
    assert!(reason.starts_with("= 2**3 * 5**2 но сто".as_bytes()));
    message!(m = "rfc4475/noreason");
    assert_eq!(
        m.start(),
        Start::Response {
            code: 100,
            reason: b""
        }
    );
}

#[test]
fn mpart01() {
    message!(m = "rfc4475/mpart01");
    let media = m.content_type().unwrap().unwrap();
    let boundary = media.boundary().unwrap();
    let multi = Multipart::parse(m.body(), &boundary).unwrap();
    let parts: Vec<_> = multi.parts().collect();
    assert_eq!(parts.len(), 2);
    assert!(parts[0].content_type().is(b"text", b"plain"));
    assert_eq!(parts[0].body, b"Hello");
    assert_eq!(
        parts[1].header(Name::ContentTransferEncoding),
        Some(&b"binary"[..])
    );
    assert_eq!(
        (parts[1].body.len(), &parts[1].body[..3]),
        (342, &b"\x30\x82\x01"[..])
    );
    assert_eq!(m.via().unwrap().rport(), Some(None));
}

#[test]
fn transaction_and_application_layer() {
    message!(m = "rfc4475/badbranch");
    assert_eq!(
        (
            m.via().unwrap().branch(),
            m.via().unwrap().transaction_branch()
        ),
        (Some(&b"z9hG4bK"[..]), None)
    );
    message!(m = "rfc4475/unkscm");
    assert!(
        matches!(m.start(), Start::Request { uri, .. } if matches!(uri::Uri::parse(uri), Ok(uri::Uri::Other { .. })))
    );
    message!(m = "rfc4475/unksm2");
    assert!(matches!(
        uri::Uri::parse(m.to().unwrap().uri),
        Ok(uri::Uri::Other {
            scheme: b"isbn",
            ..
        })
    ));
    message!(m = "rfc4475/bext01");
    assert_eq!(
        m.tokens(Name::Require).collect::<Vec<_>>(),
        [&b"nothingSupportsThis"[..], b"nothingSupportsThisEither"]
    );
    assert_eq!(m.tokens(Name::ProxyRequire).count(), 2);
    message!(m = "rfc4475/invut");
    assert!(
        m.content_type()
            .unwrap()
            .unwrap()
            .is(b"application", b"unknownformat")
    );
    message!(m = "rfc4475/regaut01");
    assert!(
        !m.one(Name::Authorization, Auth::parse)
            .unwrap()
            .unwrap()
            .is_digest()
    );
    message!(m = "rfc4475/zeromf");
    assert_eq!(m.max_forwards(), Some(0));
    message!(m = "rfc4475/bcast");
    let second = m
        .each(Name::Via, ringfork::wire::sip::Via::parse)
        .nth(1)
        .unwrap()
        .unwrap();
    assert_eq!(second.host, Host::V4([255; 4].into()));
    message!(m = "rfc4475/inv2543");
    assert_eq!(
        (
            m.from().unwrap().tag(),
            m.max_forwards(),
            m.via().unwrap().branch(),
            m.body().len()
        ),
        (None, None, None, 105)
    );
}

#[test]
fn contact_parameters_and_uri_parameters() {
    let contact = |name: &str| {
        let bytes = bytes(name);
        let m = read(&bytes).unwrap();
        let Contact::Address(a) = m.contacts().next().unwrap().unwrap() else {
            panic!()
        };
        let uri = sip::Uri::parse(a.uri).unwrap();
        (
            a.params.has(b"unknownparam"),
            uri.param(b"unknownparam").is_some(),
            uri.headers().count(),
        )
    };
    assert_eq!(contact("rfc4475/cparam01"), (true, false, 0));
    assert_eq!(contact("rfc4475/cparam02"), (false, true, 0));
    assert_eq!(contact("rfc4475/regescrt"), (false, false, 1));
}

#[test]
fn values_out_of_range() {
    // RFC 4475 §3.1.2.4, §3.1.2.5: what is too large counts as absent, as the default, or spoils the value.
    let bytes = bytes("rfc4475/scalar02");
    let m = ringfork::wire::sip::Message::parse(&bytes).unwrap();
    assert_eq!((m.max_forwards(), m.expires()), (None, Some(3600)));
    assert_eq!(m.contacts().next().unwrap().unwrap().expires(), Some(3600));
    let bytes = crate::corpus::bytes("rfc4475/scalarlg");
    let m = ringfork::wire::sip::Message::parse(&bytes).unwrap();
    assert!(m.one(Name::Warning, Warning::parse).is_err());
    assert!(
        m.one(Name::RetryAfter, ringfork::wire::sip::RetryAfter::parse)
            .is_err()
    );
}

#[test]
fn ipv6() {
    // RFC 5118: references in brackets, by value; `received` either way. [SIP-MSG-02]
    let v6 = |text: &str| Host::V6(text.parse().unwrap());
    let target = |name: &str| {
        let bytes = bytes(name);
        let m = read(&bytes).unwrap();
        let Start::Request { uri, .. } = m.start() else {
            panic!()
        };
        let uri = sip::Uri::parse(uri).unwrap();
        (uri.host.ip(), uri.port)
    };
    let ip = |text: &str| Some(text.parse().unwrap());
    assert_eq!(target("rfc5118/ipv6-good"), (ip("2001:db8::10"), None));
    assert_eq!(
        target("rfc5118/port-ambiguous"),
        (ip("2001:db8::10:5070"), None)
    );
    assert_eq!(
        target("rfc5118/port-unambiguous"),
        (ip("2001:db8::10"), Some(5070))
    );
    assert_eq!(
        target("rfc5118/ipv6-bug-abnf-3-colons"),
        target("rfc5118/ipv6-correct-abnf-2-colons")
    );
    for name in [
        "rfc5118/via-received-param-with-delim",
        "rfc5118/via-received-param-no-delim",
    ] {
        let bytes = bytes(name);
        let m = read(&bytes).unwrap();
        let via = m.via().unwrap();
        assert_eq!(
            (via.host, via.received()),
            (v6("2001:db8::9:1"), ip("2001:db8::9:255")),
            "{name}"
        );
    }
    message!(m = "rfc5118/mult-ip-in-header");
    let vias: Vec<_> = m
        .each(Name::Via, ringfork::wire::sip::Via::parse)
        .map(Result::unwrap)
        .collect();
    assert_eq!(
        (vias[0].host, vias[0].port),
        (v6("2001:db8::9:1"), Some(6050))
    );
    assert_eq!(vias[2].received(), ip("192.0.2.200"));
    message!(m = "rfc5118/ipv4-mapped-ipv6");
    assert_eq!(
        (m.via().unwrap().host, m.via().unwrap().port),
        (v6("::ffff:192.0.2.10"), Some(19823))
    );
    message!(m = "rfc5118/ipv6-in-sdp");
    assert_eq!(m.body().len(), 251);
}
