//! SIP and SIPS URIs as borrowed views (RFC 3261 §19.1.1, §25.1).

use super::{
    Error, Part,
    chars::{Set, UNRESERVED, all_in, same_nocase},
    host::Host,
};
use memchr::{memchr, memchr2};

/// `user`: wider than the grammar by `#`, which devices write in service codes.
const USER: Set = UNRESERVED.and(b"&=+$,;?/#");
const PASSWORD: Set = UNRESERVED.and(b"&=+$,");
const PARAM: Set = UNRESERVED.and(b"[]/:&+$");
const HEADER: Set = UNRESERVED.and(b"[]/?:+$");

/// A SIP or SIPS URI. Each component is as written, escapes and all.
#[derive(Clone, Copy, Debug)]
pub struct Uri<'a> {
    /// The scheme is `sips`.
    pub secure: bool,
    /// The user, if there is a userinfo part; never empty.
    pub user: Option<&'a [u8]>,
    /// The password; may be empty.
    pub password: Option<&'a [u8]>,
    /// The host.
    pub host: Host<'a>,
    /// The port, if written.
    pub port: Option<u16>,
    /// Parameters and headers, checked.
    params: &'a [u8],
    headers: &'a [u8],
}

impl<'a> Uri<'a> {
    /// Reads a whole URI: `sip:` or `sips:`, in any case, no white space, no angle brackets.
    ///
    /// # Errors
    /// The part that breaks the grammar and where.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let (scheme, rest) = super::scheme(bytes).ok_or(Error::new(Part::Scheme, 0))?;
        let secure = match scheme {
            s if s.eq_ignore_ascii_case(b"sip") => false,
            s if s.eq_ignore_ascii_case(b"sips") => true,
            _ => return Err(Error::new(Part::Scheme, 0)),
        };
        let start = bytes.len() - rest.len();
        // Neither parameters nor headers may hold a bare `@`, but a user may hold `;` and `?`: so `@` comes first.
        let (userinfo, rest) = match memchr(b'@', rest) {
            Some(at) => (rest.get(..at), rest.get(at + 1..).unwrap_or_default()),
            None => (None, rest),
        };
        let (user, password) = split_userinfo(userinfo, start)?;
        let host_at = bytes.len() - rest.len();
        let (hostport, tail) = split_hostport(rest);
        let (host, port) = parse_hostport(hostport).map_err(|e| e.after(host_at))?;
        let (params, headers) = match memchr(b'?', tail) {
            Some(at) => (tail.get(..at).unwrap_or_default(), tail.get(at + 1..)),
            None => (tail, None),
        };
        let params_at = host_at + hostport.len();
        if !params_fit(params) {
            return Err(Error::new(Part::Parameter, params_at));
        }
        if !headers.is_none_or(headers_fit) {
            return Err(Error::new(Part::Header, params_at + params.len()));
        }
        Ok(Self {
            secure,
            user,
            password,
            host,
            port,
            params,
            headers: headers.unwrap_or_default(),
        })
    }

    /// The parameters in order, as written: name, and value if there is one.
    #[must_use]
    pub fn params(&self) -> Params<'a> {
        Params(self.params.strip_prefix(b";").unwrap_or_default())
    }

    /// The parameter `name`: `None` if absent, else its value as written, empty if it has none.
    #[must_use]
    pub fn param(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.params()
            .find(|(n, _)| same_nocase(n, name))
            .map(|(_, v)| v.unwrap_or_default())
    }

    /// The headers in order, as written: name and value.
    #[must_use]
    pub fn headers(&self) -> Headers<'a> {
        Headers(self.headers)
    }

    /// The user part is a telephone number: `user=phone` (RFC 3261 §19.1.1).
    #[must_use]
    pub fn is_phone(&self) -> bool {
        self.param(b"user")
            .is_some_and(|v| same_nocase(v, b"phone"))
    }

    /// `lr`: this element routes loosely (RFC 3261 §19.1.1).
    #[must_use]
    pub fn is_loose_router(&self) -> bool {
        self.param(b"lr").is_some()
    }

    /// `transport`, as written.
    #[must_use]
    pub fn transport(&self) -> Option<&'a [u8]> {
        self.param(b"transport")
    }

    /// `maddr`, if it is a host.
    #[must_use]
    pub fn maddr(&self) -> Option<Host<'a>> {
        Host::parse(self.param(b"maddr")?).ok()
    }
}

/// User and password, each if it is there.
type Userinfo<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);

fn split_userinfo(userinfo: Option<&[u8]>, at: usize) -> Result<Userinfo<'_>, Error> {
    let Some(userinfo) = userinfo else {
        return Ok((None, None));
    };
    let (user, password) = match memchr(b':', userinfo) {
        Some(colon) => (
            userinfo.get(..colon).unwrap_or_default(),
            userinfo.get(colon + 1..),
        ),
        None => (userinfo, None),
    };
    if user.is_empty() || !all_in(user, USER) {
        return Err(Error::new(Part::User, at));
    }
    if !password.is_none_or(|p| all_in(p, PASSWORD)) {
        return Err(Error::new(Part::Password, at + user.len() + 1));
    }
    Ok((Some(user), password))
}

fn split_hostport(rest: &[u8]) -> (&[u8], &[u8]) {
    let end = memchr2(b';', b'?', rest).unwrap_or(rest.len());
    rest.split_at_checked(end).unwrap_or((rest, b""))
}

/// Reads `host [":" port]`, no white space.
///
/// # Errors
/// [`Part::Host`] or [`Part::Port`].
pub(crate) fn parse_hostport(bytes: &[u8]) -> Result<(Host<'_>, Option<u16>), Error> {
    let colon = match bytes {
        [b'[', ..] => memchr(b']', bytes)
            .map(|at| at + 1)
            .filter(|at| *at < bytes.len()),
        _ => memchr(b':', bytes),
    };
    let Some((host, port)) = colon.and_then(|at| bytes.split_at_checked(at)) else {
        return Ok((Host::parse(bytes)?, None));
    };
    let bad = Error::new(Part::Port, host.len());
    let digits = port.strip_prefix(b":").ok_or(bad)?;
    Ok((Host::parse(host)?, Some(super::number(digits).ok_or(bad)?)))
}

fn params_fit(params: &[u8]) -> bool {
    let Some(rest) = params.strip_prefix(b";") else {
        return params.is_empty();
    };
    rest.split(|b| *b == b';').all(|p| {
        let (name, value) = halves(p);
        !name.is_empty()
            && all_in(name, PARAM)
            && value.is_none_or(|v| !v.is_empty() && all_in(v, PARAM))
    })
}

fn headers_fit(headers: &[u8]) -> bool {
    headers.split(|b| *b == b'&').all(|h| {
        let (name, value) = halves(h);
        !name.is_empty() && all_in(name, HEADER) && value.is_some_and(|v| all_in(v, HEADER))
    })
}

fn halves(pair: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr(b'=', pair) {
        Some(at) => (pair.get(..at).unwrap_or_default(), pair.get(at + 1..)),
        None => (pair, None),
    }
}

/// The parameters of a URI in order, as written. Ends at the first empty one; a checked URI has none.
#[derive(Clone, Copy, Debug)]
pub struct Params<'a>(&'a [u8]);

impl<'a> Iterator for Params<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        Some(halves(cut(&mut self.0, b';')?))
    }
}

/// The headers of a URI in order, as written.
#[derive(Clone, Copy, Debug)]
pub struct Headers<'a>(&'a [u8]);

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, value) = halves(cut(&mut self.0, b'&')?);
        Some((name, value.unwrap_or_default()))
    }
}

/// Takes what stands before the next `separator` off the front.
fn cut<'a>(rest: &mut &'a [u8], separator: u8) -> Option<&'a [u8]> {
    let all = *rest;
    let end = memchr(separator, all).unwrap_or(all.len());
    *rest = all.get(end + 1..).unwrap_or_default();
    all.get(..end).filter(|piece| !piece.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(uri: &str) -> Uri<'_> {
        Uri::parse(uri.as_bytes()).unwrap_or_else(|e| panic!("{uri}: {e:?}"))
    }

    #[test]
    fn every_part_is_found() {
        let uri = parse(
            "SIPS:al%69ce:s$cret@[2001:db8::1]:5061;transport=TCP;lr;maddr=10.0.0.1?subject=a%20b&to=x",
        );
        assert!(uri.secure && uri.is_loose_router() && !uri.is_phone());
        assert_eq!(uri.user, Some(&b"al%69ce"[..]));
        assert_eq!(uri.password, Some(&b"s$cret"[..]));
        assert_eq!(uri.host, Host::V6("2001:db8::1".parse().unwrap()));
        assert_eq!(uri.port, Some(5061));
        assert_eq!(uri.transport(), Some(&b"TCP"[..]));
        assert_eq!(uri.maddr(), Some(Host::V4([10, 0, 0, 1].into())));
        assert_eq!(uri.param(b"LR"), Some(&b""[..]));
        assert_eq!(uri.param(b"none"), None);
        assert_eq!(uri.params().count(), 3);
        let headers: Vec<_> = uri.headers().collect();
        assert_eq!(headers, [(&b"subject"[..], &b"a%20b"[..]), (b"to", b"x")]);
    }

    #[test]
    fn a_user_may_hold_what_elsewhere_divides() {
        let uri = parse("sip:user;par=u%40example.net@example.com");
        assert_eq!(uri.user, Some(&b"user;par=u%40example.net"[..]));
        let uri = parse(
            "sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@example.com",
        );
        assert_eq!(
            uri.password,
            Some(&b"&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"[..])
        );
        assert_eq!(
            parse("sip:+1-212;phone-context=a@h;user=phone").host,
            Host::Name(b"h")
        );
    }

    #[test]
    fn a_bad_part_is_named() {
        for (uri, part, at) in [
            ("", Part::Scheme, 0),
            ("tel:+1", Part::Scheme, 0),
            ("sip", Part::Scheme, 0),
            ("sip:", Part::Host, 4),
            ("sip:@h", Part::User, 4),
            ("sip:a b@h", Part::User, 4),
            ("sip:a:\u{7f}@h", Part::Password, 6),
            ("sip:a@", Part::Host, 6),
            ("sip:a@h:", Part::Port, 7),
            ("sip:a@h:99999", Part::Port, 7),
            ("sip:a@[::1]x", Part::Port, 11),
            ("sip:2001:db8::10", Part::Host, 4),
            ("sip:h:db8", Part::Port, 5),
            ("sip:a@h;;lr", Part::Parameter, 7),
            ("sip:a@h; lr", Part::Parameter, 7),
            ("sip:a@h;x=", Part::Parameter, 7),
            ("sip:a@h;x=%4", Part::Parameter, 7),
            ("sip:a@h?", Part::Header, 7),
            ("sip:a@h?x", Part::Header, 7),
            ("sip:a@b@c", Part::Host, 6),
            ("sip:a@h>", Part::Host, 6),
        ] {
            assert_eq!(
                Uri::parse(uri.as_bytes()).err(),
                Some(Error::new(part, at)),
                "{uri}"
            );
        }
    }
}
