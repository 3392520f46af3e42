//! Via: where a message came from, and where its response goes (RFC 3261 §20.42, RFC 3581).

use super::{Malformed, Params, scan::Cursor};
use crate::wire::uri::{Host, TOKEN, host};
use std::net::IpAddr;

/// What a branch of RFC 3261 begins with (§8.1.1.7); compared without regard to case, as tokens are.
pub const MAGIC_COOKIE: &[u8] = b"z9hG4bK";

/// One Via value.
#[derive(Clone, Copy, Debug)]
pub struct Via<'a> {
    /// `SIP` and `2.0`, as written.
    pub protocol: (&'a [u8], &'a [u8]),
    /// `UDP`, `TCP`, `TLS` or another token, as written.
    pub transport: &'a [u8],
    /// The host of sent-by.
    pub host: Host<'a>,
    /// The port of sent-by, if written.
    pub port: Option<u16>,
    /// branch, received, rport, ttl, maddr and others.
    pub params: Params<'a>,
    /// sent-by as written.
    pub sent_by: &'a [u8],
}

impl<'a> Via<'a> {
    /// Reads one value.
    ///
    /// # Errors
    /// What breaks the grammar of `via-parm`.
    pub fn parse(value: &'a [u8]) -> Result<Self, Malformed> {
        let mut c = Cursor::new(value);
        c.space();
        let name = c.token()?;
        let slash = |c: &mut Cursor<'a>| {
            c.space();
            c.expect(b'/')?;
            c.space();
            c.token()
        };
        let version = slash(&mut c)?;
        let transport = slash(&mut c)?;
        if !c.space() {
            return Err(c.bad());
        }
        let from = c.at();
        let bad = c.bad();
        let host = if c.peek() == Some(b'[') {
            c.take(|b| b != b']' && !matches!(b, b';' | b',' | b' '));
            c.expect(b']')?;
            c.since(from)
        } else {
            c.take(|b| TOKEN.has(b))
        };
        let host = Host::parse(host).map_err(|_| bad)?;
        let mut sent_by = c.since(from);
        let mut ahead = c;
        ahead.space();
        let mut port = None;
        if ahead.eat(b':') {
            ahead.space();
            port = Some(ahead.number()?);
            c = ahead;
            sent_by = c.since(from);
        }
        let params = Params::read(&mut c)?;
        c.end()?;
        Ok(Self {
            protocol: (name, version),
            transport,
            host,
            port,
            params,
            sent_by,
        })
    }

    /// The branch, as written.
    #[must_use]
    pub fn branch(&self) -> Option<&'a [u8]> {
        self.params.value(b"branch")
    }

    /// The branch, if it identifies a transaction by itself: it begins with the cookie and goes on. Else a transaction is
    /// matched by the rules of RFC 2543 (RFC 3261 §17.2.3, RFC 4475 §3.2.1).
    #[must_use]
    pub fn transaction_branch(&self) -> Option<&'a [u8]> {
        self.branch().filter(|b| {
            let cookie = b.get(..MAGIC_COOKIE.len());
            b.len() > MAGIC_COOKIE.len()
                && cookie.is_some_and(|c| c.eq_ignore_ascii_case(MAGIC_COOKIE))
        })
    }

    /// `received`: an address with or without brackets (RFC 5118 §4.5). [SIP-MSG-02]
    #[must_use]
    pub fn received(&self) -> Option<IpAddr> {
        host::address(self.params.value(b"received")?)
    }

    /// `rport` (RFC 3581): `None` if absent, `Some(None)` if it asks, `Some(Some(port))` if it has been filled.
    #[must_use]
    pub fn rport(&self) -> Option<Option<u16>> {
        self.params
            .get(b"rport")
            .map(|_| self.params.number(b"rport"))
    }

    /// `ttl`, 0 to 255.
    #[must_use]
    pub fn ttl(&self) -> Option<u8> {
        self.params.number(b"ttl")
    }

    /// `maddr`, if it is a host.
    #[must_use]
    pub fn maddr(&self) -> Option<Host<'a>> {
        Host::parse(self.params.value(b"maddr")?).ok()
    }

    /// The port of sent-by, or the default of the transport: 5061 for TLS, else 5060 (RFC 3261 §18.2.2).
    #[must_use]
    pub fn port_or_default(&self) -> u16 {
        let tls = self.transport.eq_ignore_ascii_case(b"TLS");
        self.port.unwrap_or(if tls { 5061 } else { 5060 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_and_folds_anywhere() {
        let via = Via::parse(
            b"SIP  /   2.0\r\n /UDP\r\n    192.0.2.2 : 5070 ;branch =\r\n z9hG4bK1;rport",
        )
        .unwrap();
        assert_eq!(via.protocol, (&b"SIP"[..], &b"2.0"[..]));
        assert_eq!(via.transport, b"UDP");
        assert_eq!(via.host, Host::V4([192, 0, 2, 2].into()));
        assert_eq!((via.port, via.port_or_default()), (Some(5070), 5070));
        assert_eq!(via.transaction_branch(), Some(&b"z9hG4bK1"[..]));
        assert_eq!(via.rport(), Some(None));
        assert_eq!(via.sent_by, b"192.0.2.2 : 5070");
    }

    #[test]
    fn its_parameters() {
        let via = Via::parse(
            b"SIP/2.0/TLS h;received=[2001:db8::1];rport=99;ttl=16;maddr=224.0.1.75;branch=z9hg4bk",
        )
        .unwrap();
        assert_eq!(via.received(), Some("2001:db8::1".parse().unwrap()));
        assert_eq!(via.rport(), Some(Some(99)));
        assert_eq!(via.ttl(), Some(16));
        assert_eq!(via.maddr(), Some(Host::V4([224, 0, 1, 75].into())));
        assert_eq!(
            (via.transaction_branch(), via.port_or_default()),
            (None, 5061)
        );
        assert_eq!(via.sent_by, b"h");
        let via = Via::parse(b"SIP/2.0/UDP [2001:db8::9:1]:6050;received=2001:db8::9:255;ttl=256")
            .unwrap();
        assert_eq!(via.port, Some(6050));
        assert_eq!(via.received(), Some("2001:db8::9:255".parse().unwrap()));
        assert_eq!((via.ttl(), via.rport(), via.branch()), (None, None, None));
    }

    #[test]
    fn what_is_no_via() {
        for bad in [
            "",
            "SIP/2.0/UDP",
            "SIP/2.0/UDP ",
            "SIP/2.0 h",
            "SIP/2.0/UDP h:",
            "SIP/2.0/UDP h:x",
            "SIP/2.0/UDP h:65536",
            "SIP/2.0/UDP h;;",
            "SIP/2.0/UDP h x",
            "SIP/2.0/UDP [::1",
            "SIP/2.0/UDP [::1;a=]",
            "SIP/2.0/UDP 2001:db8::1",
            "SIP/2.0/UDP h;branch=",
            "/2.0/UDP h",
            "SIP/2.0/UDP 1.2.3.400",
        ] {
            assert!(Via::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
