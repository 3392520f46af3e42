//! The host of a URI or a Via: a name, an IPv4 address or an IPv6 reference (RFC 3261 §25.1, RFC 5954 §4).

use super::{Error, Part, chars::Set};
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// A host. Names equal without regard to case and to a closing dot, addresses by value.
#[derive(Clone, Copy, Debug)]
pub enum Host<'a> {
    /// A domain name, as written.
    Name(&'a [u8]),
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address, written in brackets.
    V6(Ipv6Addr),
}

impl PartialEq for Host<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Name(a), Self::Name(b)) => without_dot(a).eq_ignore_ascii_case(without_dot(b)),
            (Self::V4(a), Self::V4(b)) => a == b,
            (Self::V6(a), Self::V6(b)) => a == b,
            (Self::Name(_) | Self::V4(_) | Self::V6(_), _) => false,
        }
    }
}

impl Eq for Host<'_> {}

/// As it is written in a URI: names as they came, addresses in their shortest form, IPv6 in brackets.
impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name
                .iter()
                .try_for_each(|b| fmt::Write::write_char(f, char::from(*b))),
            Self::V4(address) => address.fmt(f),
            Self::V6(address) => write!(f, "[{address}]"),
        }
    }
}

impl<'a> Host<'a> {
    /// Reads a whole host: no port, no white space.
    ///
    /// # Errors
    /// [`Part::Host`] if it is none of the three; a zone (`%eth0`) is none (RFC 5954 §4).
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let bad = Error::new(Part::Host, 0);
        match bytes {
            [b'[', inner @ .., b']'] => v6(inner).map(Self::V6).ok_or(bad),
            [.., last]
                if last.is_ascii_digit()
                    && bytes.iter().all(|b| b.is_ascii_digit() || *b == b'.') =>
            {
                text(bytes)
                    .and_then(|t| t.parse().ok())
                    .map(Self::V4)
                    .ok_or(bad)
            }
            _ if is_name(bytes) => Ok(Self::Name(bytes)),
            _ => Err(bad),
        }
    }

    /// The address, if it is one.
    #[must_use]
    pub const fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Name(_) => None,
            Self::V4(address) => Some(IpAddr::V4(*address)),
            Self::V6(address) => Some(IpAddr::V6(*address)),
        }
    }
}

/// Reads an address with or without brackets: what `received` may hold (RFC 5118 §4.5). [SIP-MSG-02]
#[must_use]
pub fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes {
        [b'[', inner @ .., b']'] => v6(inner).map(IpAddr::V6),
        _ if memchr::memchr(b':', bytes).is_some() => v6(bytes).map(IpAddr::V6),
        _ => text(bytes)?.parse().ok().map(IpAddr::V4),
    }
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// An IPv6 address. Three colons before an IPv4 part, which the grammar of RFC 3261 yields, count as two
/// (RFC 5118 §4.10).
fn v6(bytes: &[u8]) -> Option<Ipv6Addr> {
    if let Ok(address) = text(bytes)?.parse() {
        return Some(address);
    }
    let at = memchr::memmem::find(bytes, b":::")?;
    let (before, after) = (bytes.get(..at)?, bytes.get(at + 1..)?);
    let mut joined = [0u8; 46];
    let out = joined.get_mut(..before.len() + after.len())?;
    let (head, tail) = out.split_at_mut(before.len());
    head.copy_from_slice(before);
    tail.copy_from_slice(after);
    after
        .contains(&b'.')
        .then(|| text(out)?.parse().ok())
        .flatten()
}

const LABEL: Set = Set::of(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_");

fn without_dot(name: &[u8]) -> &[u8] {
    name.strip_suffix(b".").unwrap_or(name)
}

/// Labels of letters, digits and hyphens. Wider than the grammar in two ways that networks show: underscores, and a
/// last label that begins with a digit as long as it is no number.
fn is_name(bytes: &[u8]) -> bool {
    if bytes.len() > 255 {
        return false;
    }
    let mut numeric = true;
    for label in without_dot(bytes).split(|b| *b == b'.') {
        let edge = label.first() == Some(&b'-') || label.last() == Some(&b'-');
        if label.is_empty() || edge || !label.iter().all(|b| LABEL.has(*b)) {
            return false;
        }
        numeric = label.iter().all(u8::is_ascii_digit);
    }
    !numeric
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_told_apart() {
        assert_eq!(
            Host::parse(b"192.0.2.1"),
            Ok(Host::V4(Ipv4Addr::new(192, 0, 2, 1)))
        );
        assert_eq!(Host::parse(b"Example.COM."), Ok(Host::Name(b"example.com")));
        assert_eq!(Host::parse(b"[::1]"), Ok(Host::V6(Ipv6Addr::LOCALHOST)));
        assert_ne!(Host::parse(b"[::1]"), Ok(Host::Name(b"localhost")));
        for bad in [
            &b""[..],
            b"1.2.3",
            b"1.2.3.256",
            b"01.2.3.4",
            b"a..b",
            b"-a",
            b"a-",
            b"::1",
            b"[::1",
            b"[fe80::1%eth0]",
            b"a b",
            b"a.7",
            b".",
            b"[1.2.3.4]",
        ] {
            assert!(Host::parse(bad).is_err(), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn an_address_by_value() {
        // RFC 5954 §5.2: any spelling of an address is the same address. [SIP-MSG-02]
        assert_eq!(
            Host::parse(b"[2001:DB8::9:1]"),
            Host::parse(b"[2001:db8:0:0:0:0:9:1]")
        );
        assert_eq!(
            Host::parse(b"[::ffff:192.0.2.1]"),
            Host::parse(b"[::FFFF:c000:201]")
        );
        assert_eq!(address(b"2001:db8::1"), address(b"[2001:db8::1]"));
        assert!(address(b"[2001:db8::1").is_none());
        assert_eq!(
            Host::parse(b"[2001:db8:::192.0.2.1]"),
            Host::parse(b"[2001:db8::192.0.2.1]")
        );
        assert!(Host::parse(b"[2001:db8:::1]").is_err());
        assert!(Host::parse(&[b"[".as_slice(), &[b':'; 300], b".]"].concat()).is_err());
    }

    #[test]
    fn a_host_prints_as_in_a_uri() {
        assert_eq!(
            Host::parse(b"[2001:DB8:0::1]").unwrap().to_string(),
            "[2001:db8::1]"
        );
        assert_eq!(Host::parse(b"a.Example").unwrap().to_string(), "a.Example");
    }
}
