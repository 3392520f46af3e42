//! Whether two URIs are equivalent: RFC 3261 §19.1.4 for sip and sips, RFC 3966 §4 for tel.

use super::{
    Uri,
    chars::{same, same_nocase},
    sip,
    tel::{Tel, digits},
};

/// Above this many parameters or headers two URIs are equal only if their bytes are: the comparison below takes each
/// against each, and its length is the peer's choice.
const PARTS_MAX: usize = 32;

/// Whether `a` and `b` are equivalent. Not transitive: a parameter that only one has is ignored. Bytes that are no URI
/// are equal to themselves alone; schemes without rules of comparison are compared byte by byte after the colon.
#[must_use]
pub fn equal(a: &[u8], b: &[u8]) -> bool {
    if a == b {
        return true;
    }
    match (Uri::parse(a), Uri::parse(b)) {
        (Ok(Uri::Sip(a)), Ok(Uri::Sip(b))) => sip_equal(&a, &b),
        (Ok(Uri::Tel(a)), Ok(Uri::Tel(b))) => tel_equal(&a, &b),
        (Ok(Uri::Other { scheme: s, rest: a }), Ok(Uri::Other { scheme: t, rest: b })) => {
            s.eq_ignore_ascii_case(t) && a == b
        }
        (Ok(Uri::Sip(_) | Uri::Tel(_) | Uri::Other { .. }) | Err(_), _) => false,
    }
}

/// RFC 3261 §19.1.4.
#[must_use]
pub fn sip_equal(a: &sip::Uri<'_>, b: &sip::Uri<'_>) -> bool {
    a.secure == b.secure
        && both(a.user, b.user, same)
        && both(a.password, b.password, same)
        && a.host == b.host
        && a.port == b.port
        && params_match(a, b)
        && params_match(b, a)
        && headers_match(a, b)
}

fn both(a: Option<&[u8]>, b: Option<&[u8]>, same: fn(&[u8], &[u8]) -> bool) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => same(a, b),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// Each parameter of `a` that `b` has too matches, and `b` has each that counts even with its default value.
fn params_match(a: &sip::Uri<'_>, b: &sip::Uri<'_>) -> bool {
    if a.params().nth(PARTS_MAX).is_some() {
        return a.params().eq(b.params());
    }
    a.params().all(|(name, value)| match b.param(name) {
        Some(other) => same_nocase(value.unwrap_or_default(), other),
        // §19.1.4 names transport among the components whose default does not match its absence.
        None => ![&b"user"[..], b"ttl", b"method", b"maddr", b"transport"]
            .iter()
            .any(|must| same_nocase(name, must)),
    })
}

/// The same headers, in any order.
fn headers_match(a: &sip::Uri<'_>, b: &sip::Uri<'_>) -> bool {
    let count = a.headers().take(PARTS_MAX + 1).count();
    if count > PARTS_MAX {
        return a.headers().eq(b.headers());
    }
    count == b.headers().take(PARTS_MAX + 1).count()
        && a.headers().all(|(name, value)| {
            let times = |uri: &sip::Uri<'_>| {
                uri.headers()
                    .filter(|(n, v)| same_nocase(n, name) && same_nocase(v, value))
                    .count()
            };
            times(a) == times(b)
        })
}

/// RFC 3966 §4.
#[must_use]
pub fn tel_equal(a: &Tel<'_>, b: &Tel<'_>) -> bool {
    let lower = |b: u8| b.to_ascii_lowercase();
    let count = a.params().take(PARTS_MAX + 1).count();
    if count > PARTS_MAX {
        return a.digits().eq(b.digits()) && a.params().eq(b.params());
    }
    a.digits().map(lower).eq(b.digits().map(lower))
        && count == b.params().take(PARTS_MAX + 1).count()
        && a.params().all(|(name, value)| {
            match (value, b.params().find(|(n, _)| same_nocase(n, name))) {
                (Some(value), Some((_, Some(other)))) => values_match(name, value, other),
                (None, Some((_, None))) => true,
                (Some(_) | None, Some(_) | None) => false,
            }
        })
}

/// Numbers digit by digit, without visual separators; anything else without regard to case.
fn values_match(name: &[u8], a: &[u8], b: &[u8]) -> bool {
    let context_is_number = same_nocase(name, b"phone-context") && a.first() == Some(&b'+');
    if context_is_number || same_nocase(name, b"ext") {
        return digits(a).eq(digits(b));
    }
    same_nocase(a, b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(equivalent: bool, pairs: &[(&str, &str)]) {
        for (a, b) in pairs {
            assert!(Uri::parse(a.as_bytes()).is_ok(), "{a}");
            assert!(Uri::parse(b.as_bytes()).is_ok(), "{b}");
            assert_eq!(equal(a.as_bytes(), b.as_bytes()), equivalent, "{a} {b}");
            assert_eq!(equal(b.as_bytes(), a.as_bytes()), equivalent, "{b} {a}");
        }
    }

    #[test]
    fn equivalent_by_the_examples_of_rfc_3261() {
        check(
            true,
            &[
                (
                    "sip:%61lice@atlanta.com;transport=TCP",
                    "sip:alice@AtLanTa.CoM;Transport=tcp",
                ),
                ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
                ("sip:carol@chicago.com", "sip:carol@chicago.com;security=on"),
                (
                    "sip:carol@chicago.com;newparam=5",
                    "sip:carol@chicago.com;security=on",
                ),
                (
                    "sip:carol@chicago.com",
                    "sip:carol@chicago.com;security=off",
                ),
                (
                    "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
                    "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
                ),
                (
                    "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
                    "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
                ),
            ],
        );
    }

    #[test]
    fn different_by_the_examples_of_rfc_3261() {
        check(
            false,
            &[
                (
                    "SIP:ALICE@AtLanTa.CoM;Transport=udp",
                    "sip:alice@AtLanTa.CoM;Transport=UDP",
                ),
                ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
                ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
                (
                    "sip:bob@biloxi.com",
                    "sip:bob@biloxi.com:6000;transport=tcp",
                ),
                (
                    "sip:carol@chicago.com",
                    "sip:carol@chicago.com?Subject=next%20meeting",
                ),
                ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
                (
                    "sip:carol@chicago.com;security=on",
                    "sip:carol@chicago.com;security=off",
                ),
            ],
        );
    }

    #[test]
    fn addresses_are_compared_by_value() {
        // RFC 5954 §4.2, its examples. [SIP-MSG-02]
        check(
            true,
            &[
                ("sip:bob@[::ffff:192.0.2.128]", "sip:bob@[::ffff:c000:280]"),
                ("sip:bob@[2001:db8::9:1]", "sip:bob@[2001:db8::9:01]"),
                (
                    "sip:bob@[0:0:0:0:0:FFFF:129.144.52.38]",
                    "sip:bob@[::FFFF:129.144.52.38]",
                ),
            ],
        );
    }

    #[test]
    fn what_the_rules_say_beyond_the_examples() {
        check(
            false,
            &[
                ("sip:a@h", "sips:a@h"),
                ("sip:a@h", "sip:h"),
                ("sip:a@h", "sip:a:@h"),
                ("sip:a;b@h", "sip:a%3bb@h"),
                ("sip:a@h", "sip:a@h;ttl=1"),
                ("sip:a@h", "sip:a@h;maddr=h"),
                ("sip:a@h", "sip:a@h;user=ip"),
                ("sip:a@h", "sip:a@h;method=INVITE"),
                ("sip:a@h?x=1&x=1&y=2", "sip:a@h?x=1&y=2&y=2"),
                ("sip:a@h?x=1", "sip:a@h?x=2"),
                ("sip:+1@h;user=phone", "tel:+1"),
                ("urn:a:b", "urn:a:B"),
            ],
        );
        check(
            true,
            &[
                ("sip:a@h;l%72", "sip:a@h;LR"),
                ("sip:a@h.", "sip:a@H"),
                ("sip:a@h?x=1&y=2", "sip:a@h?Y=2&X=1"),
                ("URN:a:b", "urn:a:b"),
            ],
        );
        assert!(equal(b"no uri", b"no uri"));
        assert!(!equal(b"no uri", b"no URI"));
    }

    #[test]
    fn telephone_numbers() {
        check(
            true,
            &[
                ("tel:+1-201-555-0123", "TEL:+1(201)5550123"),
                (
                    "tel:7042;phone-context=example.com",
                    "tel:70-42;Phone-Context=EXAMPLE.com",
                ),
                (
                    "tel:7042;phone-context=+1-201",
                    "tel:7042;phone-context=+1201",
                ),
                ("tel:+1;ext=1-2;a=b", "tel:+1;a=B;ext=12"),
                ("tel:a1;phone-context=x", "tel:A1;phone-context=X"),
            ],
        );
        check(
            false,
            &[
                ("tel:+1201", "tel:1201"),
                ("tel:+1201", "tel:+1202"),
                ("tel:+1", "tel:+1;ext=1"),
                ("tel:+1;a=b", "tel:+1;c=b"),
                ("tel:+1;a", "tel:+1;a=b"),
                (
                    "tel:7042;phone-context=a.example",
                    "tel:7042;phone-context=b.example",
                ),
            ],
        );
    }

    #[test]
    fn a_flood_of_parameters_is_compared_once() {
        let many = |last: &str| format!("sip:a@h{}{last}", ";x=1".repeat(10_000));
        check(false, &[(&many(";y"), &many(";z"))]);
        check(true, &[(&many(";y"), &many(";y").replace("sip", "SIP"))]);
    }
}
