//! MSRP URIs (RFC 4975 §6, §9) and paths of them, compared by RFC 4975 §6.1. `[MSRP-URI-02]`
//!
//! ```text
//! msrp-scheme "://" [userinfo "@"] host [":" port] ["/" session-id] ";" transport *( ";" parameter )
//! ```
//!
//! A view borrows; comparing allocates nothing. Resolving names is left to others.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The rule that a URI breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Error {
    /// Neither `msrp://` nor `msrps://`.
    Scheme,
    /// The part before `@` (RFC 3986 §3.2.1).
    Userinfo,
    /// The host: empty, a character that may not stand there, or no IPv6 address in the brackets.
    Host,
    /// No number from 0 to 65535, or none behind a numeric address (RFC 4975 §6).
    Port,
    /// The session-id: empty, or a character that may not stand there.
    SessionId,
    /// No transport, or not letters and digits.
    Transport,
    /// A parameter that is no `token ["=" token]`.
    Parameter,
}

/// The host of a URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Host<'a> {
    /// A name, as it is written (percent-encoding included), or an address of a future kind in its brackets.
    Name(&'a [u8]),
    /// An IPv4 or IPv6 address, by value.
    Ip(IpAddr),
}

/// A view of one MSRP URI.
#[derive(Clone, Copy, Debug)]
pub struct Uri<'a> {
    /// All of it, as it is written.
    pub text: &'a [u8],
    /// Whether the scheme is `msrps`: the connection is protected by TLS.
    pub secure: bool,
    /// The part before `@`, not considered in comparison.
    pub userinfo: Option<&'a [u8]>,
    /// The host.
    pub host: Host<'a>,
    /// The port; there is no default.
    pub port: Option<u16>,
    /// What names the session at that host.
    pub session_id: Option<&'a [u8]>,
    /// The transport, `tcp` in most cases.
    pub transport: &'a [u8],
    /// What follows the transport, with its leading `;`, or nothing.
    parameters: &'a [u8],
}

impl<'a> Uri<'a> {
    /// Views `text`, which is one URI and nothing else.
    ///
    /// # Errors
    /// The part that is wrong.
    pub fn parse(text: &'a [u8]) -> Result<Self, Error> {
        let (secure, rest) = scheme(text).ok_or(Error::Scheme)?;
        // The authority ends at the path or at the first parameter: a ";" in a host name would not be told from one.
        let end = rest
            .iter()
            .position(|b| matches!(b, b'/' | b';'))
            .ok_or(Error::Transport)?;
        let (authority, rest) = rest.split_at(end);
        let (userinfo, hostport) = match authority.iter().position(|&b| b == b'@') {
            Some(at) => (Some(&authority[..at]), &authority[at + 1..]),
            None => (None, authority),
        };
        if userinfo.is_some_and(|u| !is_escaped(u, |b| is_reg_name(b) || b == b':')) {
            return Err(Error::Userinfo);
        }
        let (host, port) = host_port(hostport)?;
        if matches!(host, Host::Ip(_)) && port.is_none() {
            return Err(Error::Port);
        }
        let (session_id, rest) = match rest.strip_prefix(b"/") {
            Some(rest) => {
                let end = rest
                    .iter()
                    .position(|&b| b == b';')
                    .ok_or(Error::Transport)?;
                (Some(&rest[..end]), &rest[end..])
            }
            None => (None, rest),
        };
        if session_id.is_some_and(|id| id.is_empty() || !id.iter().all(|&b| is_session_char(b))) {
            return Err(Error::SessionId);
        }
        let rest = rest.strip_prefix(b";").ok_or(Error::Transport)?;
        let end = rest.iter().position(|&b| b == b';').unwrap_or(rest.len());
        let (transport, parameters) = rest.split_at(end);
        if transport.is_empty() || !transport.iter().all(u8::is_ascii_alphanumeric) {
            return Err(Error::Transport);
        }
        let uri = Self {
            text,
            secure,
            userinfo,
            host,
            port,
            session_id,
            transport,
            parameters,
        };
        let token = crate::wire::msrp::is_token;
        if uri
            .parameters()
            .all(|(name, value)| token(name) && value.is_none_or(token))
        {
            Ok(uri)
        } else {
            Err(Error::Parameter)
        }
    }

    /// The parameters behind the transport: name, and value if there is one.
    pub fn parameters(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + use<'a> {
        self.parameters.split(|&b| b == b';').skip(1).map(|p| {
            match p.iter().position(|&b| b == b'=') {
                Some(eq) => (&p[..eq], Some(&p[eq + 1..])),
                None => (p, None),
            }
        })
    }

    /// Whether the two name the same session (RFC 4975 §6.1): scheme, host and transport without case, addresses by value,
    /// ports and session-ids exactly; userinfo and other parameters do not count. `[MSRP-URI-02]`
    #[must_use]
    pub fn is_same(&self, other: &Uri<'_>) -> bool {
        self.secure == other.secure
            && self.port == other.port
            && self.session_id == other.session_id
            && self.transport.eq_ignore_ascii_case(other.transport)
            && self.host.is_same(&other.host)
    }

    /// Whether the two have the same session-id, whatever their authority: legacy session matching, and RFC 6714 behind
    /// middleboxes. Never true where one has none.
    #[must_use]
    pub fn has_session_id_of(&self, other: &Uri<'_>) -> bool {
        self.session_id.is_some() && self.session_id == other.session_id
    }
}

impl Host<'_> {
    /// Whether the two are the same host: addresses by value, names without case and percent-encoding.
    #[must_use]
    pub fn is_same(&self, other: &Host<'_>) -> bool {
        match (self, other) {
            (Self::Ip(a), Host::Ip(b)) => a == b,
            (Self::Name(a), Host::Name(b)) => decoded(a).eq(decoded(b)),
            (Self::Ip(_), Host::Name(_)) | (Self::Name(_), Host::Ip(_)) => false,
        }
    }

    /// Reads a host as SDP and URIs write it: a name, an IPv4 address, an IPv6 address with or without brackets.
    #[must_use]
    pub fn of(text: &[u8]) -> Option<Host<'_>> {
        match host_port(text) {
            Ok((host, None)) => Some(host),
            Ok((_, Some(_))) | Err(_) => v6(text).map(|ip| Host::Ip(ip.into())),
        }
    }
}

/// The URIs of a path, in order. See [`uris`].
#[derive(Clone, Debug)]
pub struct Uris<'a> {
    rest: Option<&'a [u8]>,
}

/// The URIs of a path: the value of To-Path, From-Path or the SDP attribute `path`. `[MSRP-URI-03]`
///
/// One item a URI; a value that is empty or has two spaces in a row gives an error for the empty place.
#[must_use]
pub fn uris(path: &[u8]) -> Uris<'_> {
    Uris { rest: Some(path) }
}

impl<'a> Iterator for Uris<'a> {
    type Item = Result<Uri<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.rest?;
        let (first, rest) = match rest.iter().position(|&b| b == b' ') {
            Some(space) => (&rest[..space], Some(&rest[space + 1..])),
            None => (rest, None),
        };
        self.rest = rest;
        Some(Uri::parse(first))
    }
}

/// The URI of a path that is exactly one. `[MSRP-URI-03]`
#[must_use]
pub fn single(path: &[u8]) -> Option<Uri<'_>> {
    let mut all = uris(path);
    let first = all.next()?.ok()?;
    all.next().is_none().then_some(first)
}

/// Whether two paths name the same hops in the same order, URI by URI.
#[must_use]
pub fn same_path(a: &[u8], b: &[u8]) -> bool {
    if a == b {
        return uris(a).all(|uri| uri.is_ok());
    }
    let (mut a, mut b) = (uris(a), uris(b));
    loop {
        match (a.next(), b.next()) {
            (None, None) => return true,
            (Some(Ok(x)), Some(Ok(y))) if x.is_same(&y) => {}
            _ => return false,
        }
    }
}

/// `msrp://` or `msrps://` without case: whether it is the second, and what follows.
fn scheme(text: &[u8]) -> Option<(bool, &[u8])> {
    let (msrp, rest) = text.split_at_checked(4)?;
    let (secure, rest) = match rest {
        [b's' | b'S', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    msrp.eq_ignore_ascii_case(b"msrp")
        .then_some((secure, rest.strip_prefix(b"://")?))
}

fn host_port(text: &[u8]) -> Result<(Host<'_>, Option<u16>), Error> {
    let (host, rest) = if text.starts_with(b"[") {
        let end = text.iter().position(|&b| b == b']').ok_or(Error::Host)?;
        let (literal, rest) = text.split_at(end + 1);
        let inner = &literal[1..end];
        let host = match inner {
            // IPvFuture (RFC 3986 §3.2.2): nothing to compare by but its text.
            [b'v' | b'V', ..] if inner.iter().all(|&b| is_reg_name(b) || b == b':') => {
                Host::Name(literal)
            }
            _ => Host::Ip(
                v6(text.get(1..end).unwrap_or_default())
                    .ok_or(Error::Host)?
                    .into(),
            ),
        };
        (host, rest)
    } else {
        let end = text.iter().position(|&b| b == b':').unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        if name.is_empty() || !is_escaped(name, is_reg_name) {
            return Err(Error::Host);
        }
        // Percent-encoding is undone before an address is read (RFC 4975 §6.1 rule 2).
        let host = v4(name).map_or(Host::Name(name), |ip| Host::Ip(ip.into()));
        (host, rest)
    };
    let port = match rest {
        [] => None,
        [b':', digits @ ..] => Some(port(digits).ok_or(Error::Port)?),
        _ => return Err(Error::Host),
    };
    Ok((host, port))
}

fn port(digits: &[u8]) -> Option<u16> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u16, |n, d| {
        d.is_ascii_digit()
            .then_some(())
            .and_then(|()| n.checked_mul(10)?.checked_add(u16::from(d - b'0')))
    })
}

fn v4(name: &[u8]) -> Option<Ipv4Addr> {
    let mut plain = [0u8; 15];
    let mut len = 0;
    for b in decoded(name) {
        *plain.get_mut(len)? = b;
        len += 1;
    }
    std::str::from_utf8(&plain[..len]).ok()?.parse().ok()
}

fn v6(text: &[u8]) -> Option<Ipv6Addr> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// `unreserved / sub-delims`, less the `;` that begins the parameters.
fn is_reg_name(b: u8) -> bool {
    is_unreserved(b) || b"!$&'()*+,=".contains(&b)
}

fn is_unreserved(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~')
}

/// `unreserved / "+" / "=" / "/"`.
fn is_session_char(b: u8) -> bool {
    is_unreserved(b) || matches!(b, b'+' | b'=' | b'/')
}

/// Whether each byte is `plain`, or begins a percent-encoded octet.
fn is_escaped(text: &[u8], plain: impl Fn(u8) -> bool) -> bool {
    let mut rest = text;
    loop {
        rest = match rest {
            [] => return true,
            [b'%', a, b, rest @ ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => rest,
            [b, rest @ ..] if plain(*b) => rest,
            _ => return false,
        };
    }
}

/// A host name for comparison: percent-encoded unreserved characters decoded, letters small (those of other escapes too).
fn decoded(text: &[u8]) -> impl Iterator<Item = u8> + '_ {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (&first, mut tail) = rest.split_first()?;
        let mut b = first;
        if let [b'%', a, c, after @ ..] = rest
            && let (Some(a), Some(c)) = (hex(*a), hex(*c))
            && is_unreserved(a * 16 + c)
        {
            b = a * 16 + c;
            tail = after;
        }
        rest = tail;
        Some(b.to_ascii_lowercase())
    })
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}
