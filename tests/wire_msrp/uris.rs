//! MSRP URIs: what is one, and which are the same.

use std::net::{IpAddr, Ipv6Addr};

use proptest::prelude::*;
use ringfork::wire::uri::msrp::{Error, Host, Uri, same_path, single, uris};

fn uri(text: &str) -> Uri<'_> {
    Uri::parse(text.as_bytes()).unwrap_or_else(|e| panic!("{text}: {e:?}"))
}

#[test]
fn the_parts_of_a_uri() {
    let u = uri("msrps://al%40ice:x@[2001:db8::1]:2855/a.b-c_d~e+f=g/h;TCP;x=y;flag");
    assert!(u.secure);
    assert_eq!(u.userinfo, Some(&b"al%40ice:x"[..]));
    assert_eq!(
        u.host,
        Host::Ip(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)))
    );
    assert_eq!(u.port, Some(2855));
    assert_eq!(u.session_id, Some(&b"a.b-c_d~e+f=g/h"[..]));
    assert_eq!(u.transport, b"TCP");
    let parameters: Vec<_> = u.parameters().collect();
    assert_eq!(
        parameters,
        [(&b"x"[..], Some(&b"y"[..])), (&b"flag"[..], None)]
    );
    let relay = uri("msrps://alice@intra.example.com;tcp");
    assert_eq!(
        (relay.port, relay.session_id, relay.host),
        (None, None, Host::Name(b"intra.example.com"))
    );
}

#[test]
fn what_is_no_uri() {
    for (text, error) in [
        ("", Error::Scheme),
        ("sip://a;tcp", Error::Scheme),
        ("msrp:/a;tcp", Error::Scheme),
        ("msrpx://a;tcp", Error::Scheme),
        ("msrp://a.example.com:1/x", Error::Transport),
        ("msrp://a.example.com:1/x;", Error::Transport),
        ("msrp://a.example.com:1/x;t-c", Error::Transport),
        ("msrp://a.example.com", Error::Transport),
        ("msrp://:1/x;tcp", Error::Host),
        ("msrp:///x;tcp", Error::Host),
        ("msrp://a b:1/x;tcp", Error::Host),
        ("msrp://a%zz:1/x;tcp", Error::Host),
        ("msrp://[::1:1/x;tcp", Error::Host),
        ("msrp://[:::1]:1/x;tcp", Error::Host),
        ("msrp://[]:1/x;tcp", Error::Host),
        ("msrp://[::1]x:1/x;tcp", Error::Host),
        ("msrp://a:/x;tcp", Error::Port),
        ("msrp://a:65536/x;tcp", Error::Port),
        ("msrp://a:-1/x;tcp", Error::Port),
        ("msrp://a:+1/x;tcp", Error::Port),
        // RFC 4975 §6: a numeric address has a port.
        ("msrp://192.0.2.1/x;tcp", Error::Port),
        ("msrp://[::1]/x;tcp", Error::Port),
        ("msrp://a:1/;tcp", Error::SessionId),
        ("msrp://a:1/x?y;tcp", Error::SessionId),
        ("msrp://a:1/x y;tcp", Error::SessionId),
        ("msrp://a^b@c:1/x;tcp", Error::Userinfo),
        ("msrp://a:1/x;tcp;", Error::Parameter),
        ("msrp://a:1/x;tcp;=y", Error::Parameter),
        ("msrp://a:1/x;tcp;a=", Error::Parameter),
    ] {
        assert_eq!(Uri::parse(text.as_bytes()).err(), Some(error), "{text}");
    }
}

// [MSRP-URI-02] RFC 4975 §6.1, rule by rule.
#[test]
fn which_uris_are_the_same() {
    for (a, b, same) in [
        ("MSRP://HOST:1/Abc;TCP", "msrp://host:1/Abc;tcp", true),
        ("msrp://host:1/Abc;tcp", "msrp://host:1/abc;tcp", false),
        ("msrp://host:1/x;tcp", "msrps://host:1/x;tcp", false),
        ("msrp://host:1/x;tcp", "msrp://host:01/x;tcp", true),
        ("msrp://host:1/x;tcp", "msrp://host:2/x;tcp", false),
        ("msrp://host:1/x;tcp", "msrp://host/x;tcp", false),
        ("msrp://host/x;tcp", "msrp://host/x;tcp", true),
        ("msrp://host:1/x;tcp", "msrp://host:1;tcp", false),
        ("msrp://host:1;tcp", "msrp://HOST:1;tcp", true),
        ("msrp://host:1/x;tcp", "msrp://host:1/x;ws", false),
        ("msrp://me@host:1/x;tcp", "msrp://you@host:1/x;tcp", true),
        ("msrp://me@host:1/x;tcp", "msrp://host:1/x;tcp", true),
        ("msrp://host:1/x;tcp;a=b", "msrp://host:1/x;tcp;c", true),
        ("msrp://h%6Fst:1/x;tcp", "msrp://host:1/x;tcp", true),
        ("msrp://h%2fst:1/x;tcp", "msrp://h%2Fst:1/x;tcp", true),
        ("msrp://h%2Fst:1/x;tcp", "msrp://host:1/x;tcp", false),
        (
            "msrp://[2001:db8::1]:1/x;tcp",
            "msrp://[2001:DB8:0:0::1]:1/x;tcp",
            true,
        ),
        (
            "msrp://[2001:db8::1]:1/x;tcp",
            "msrp://[2001:db8::2]:1/x;tcp",
            false,
        ),
        (
            "msrp://[::ffff:192.0.2.1]:1/x;tcp",
            "msrp://[::ffff:c000:201]:1/x;tcp",
            true,
        ),
        (
            "msrp://192.0.2.1:1/x;tcp",
            "msrp://%3192.0.2.1:1/x;tcp",
            true,
        ),
        (
            "msrp://192.0.2.1:1/x;tcp",
            "msrp://192.0.2.2:1/x;tcp",
            false,
        ),
        ("msrp://192.0.2.1:1/x;tcp", "msrp://host:1/x;tcp", false),
        // No path normalisation.
        ("msrp://host:1/a/../x;tcp", "msrp://host:1/x;tcp", false),
        ("msrp://host:1/x/;tcp", "msrp://host:1/x;tcp", false),
    ] {
        assert_eq!(uri(a).is_same(&uri(b)), same, "{a} {b}");
        assert_eq!(uri(b).is_same(&uri(a)), same, "{b} {a}");
        assert_eq!(same_path(a.as_bytes(), b.as_bytes()), same, "{a} {b}");
    }
}

#[test]
fn legacy_matching_looks_at_the_session_id_alone() {
    let ours = uri("msrp://192.0.2.1:2855/Zx81;tcp");
    assert!(uri("msrps://x.invalid:1/Zx81;ws").has_session_id_of(&ours));
    assert!(!uri("msrp://192.0.2.1:2855/zx81;tcp").has_session_id_of(&ours));
    assert!(!uri("msrp://host:1;tcp").has_session_id_of(&uri("msrp://host:1;tcp")));
}

#[test]
fn paths() {
    let path = b"msrp://a:1/x;tcp msrps://b:2/y;tcp";
    let hosts: Vec<_> = uris(path).map(|u| u.map(|u| u.host)).collect();
    assert_eq!(hosts, [Ok(Host::Name(b"a")), Ok(Host::Name(b"b"))]);
    assert!(single(path).is_none() && single(b"msrp://a:1/x;tcp").is_some());
    assert!(
        single(b"").is_none() && single(b"msrp://a:1/x;tcp ").is_none() && single(b" ").is_none()
    );
    assert!(uris(b"msrp://a:1/x;tcp  msrp://b:1/x;tcp").any(|u| u.is_err()));
    assert!(same_path(path, b"MSRP://A:1/x;tcp MSRPS://B:2/y;TCP"));
    assert!(!same_path(path, b"msrp://a:1/x;tcp"));
    assert!(!same_path(path, b"msrps://b:2/y;tcp msrp://a:1/x;tcp"));
    assert!(!same_path(b"junk", b"junk"));
}

proptest! {
    #[test]
    fn never_panics(text in "(msrps?://)?[a-z0-9%@:/;=.\\[\\] -]{0,40}", bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        for input in [text.as_bytes(), &bytes] {
            if let Ok(u) = Uri::parse(input) {
                prop_assert!(u.is_same(&u));
                prop_assert_eq!(u.text, input);
            }
            let _ = uris(input).count();
        }
    }
}
