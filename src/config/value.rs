//! The values that have a form of their own: where to listen, which network, what is secret.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

/// What carries a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// Datagrams; SIP alone.
    Udp,
    /// Streams.
    Tcp,
    /// Streams under TLS.
    Tls,
}

impl Transport {
    /// As a configuration writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }
}

/// Where to listen: `udp:127.0.0.1:5060`, `tcp:[::1]:2855`. Port 0: one that is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Listen {
    /// What carries it.
    pub transport: Transport,
    /// Address and port.
    pub addr: SocketAddr,
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.transport.name(), self.addr)
    }
}

impl FromStr for Listen {
    type Err = ();

    fn from_str(s: &str) -> Result<Self, ()> {
        let (transport, addr) = s.split_once(':').ok_or(())?;
        let transport = [Transport::Udp, Transport::Tcp, Transport::Tls]
            .into_iter()
            .find(|t| t.name() == transport)
            .ok_or(())?;
        Ok(Self {
            transport,
            addr: addr.parse().map_err(|_| ())?,
        })
    }
}

/// The addresses that share their first bits: `10.0.0.0/8`, `::1/128`. An address alone is itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    /// An address of the network; its further bits are 0.
    pub addr: IpAddr,
    /// How many bits are shared: 0 to 32, or to 128.
    pub prefix: u8,
}

impl Network {
    /// This machine.
    pub const LOOPBACK: [Self; 2] = [
        Self {
            addr: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)),
            prefix: 8,
        },
        Self {
            addr: IpAddr::V6(Ipv6Addr::LOCALHOST),
            prefix: 128,
        },
    ];

    /// Whether `addr` is one of these. An IPv4 address inside an IPv6 one counts as IPv4.
    #[must_use]
    pub fn contains(self, addr: IpAddr) -> bool {
        let (net, addr) = (self.addr, addr.to_canonical());
        net.is_ipv4() == addr.is_ipv4() && masked(addr, self.prefix) == net
    }

    /// Whether all of these are this machine's own.
    #[must_use]
    pub fn is_loopback(self) -> bool {
        Self::LOOPBACK
            .into_iter()
            .any(|l| self.prefix >= l.prefix && l.contains(self.addr))
    }
}

/// `addr` with all but its first `prefix` bits 0.
fn masked(addr: IpAddr, prefix: u8) -> IpAddr {
    match addr {
        IpAddr::V4(a) => {
            let mask = u32::MAX
                .checked_shl(32 - u32::from(prefix.min(32)))
                .unwrap_or(0);
            Ipv4Addr::from_bits(a.to_bits() & mask).into()
        }
        IpAddr::V6(a) => {
            let mask = u128::MAX
                .checked_shl(128 - u32::from(prefix.min(128)))
                .unwrap_or(0);
            Ipv6Addr::from_bits(a.to_bits() & mask).into()
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.prefix)
    }
}

impl FromStr for Network {
    type Err = ();

    fn from_str(s: &str) -> Result<Self, ()> {
        let (addr, prefix) = match s.split_once('/') {
            Some((addr, prefix)) => (addr, Some(prefix)),
            None => (s, None),
        };
        let addr: IpAddr = addr.parse().map_err(|_| ())?;
        let most = if addr.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => most,
            Some(p) => p.parse().map_err(|_| ())?,
        };
        // Bits behind the prefix are a slip of the pen: 10.1.0.0/8 may have meant /16.
        if prefix > most || masked(addr, prefix) != addr {
            return Err(());
        }
        Ok(Self { addr, prefix })
    }
}

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes `text` out of sight.
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The text: for digest (RFC 3261 §22), never for a log.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A host as a URI has it (RFC 3261 §25.1: hostname, IPv4address, IPv6reference), in lower case.
pub(super) fn host(text: &str) -> Option<String> {
    let bracketed = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    if let Some(inner) = bracketed {
        return inner.parse::<Ipv6Addr>().ok().map(|a| format!("[{a}]"));
    }
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    (text.len() <= 253 && text.split('.').all(label)).then(|| text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listening_address_names_its_transport() {
        let l: Listen = "tcp:[::1]:2855".parse().unwrap();
        assert_eq!(
            (l.transport, l.addr.port(), l.addr.is_ipv6()),
            (Transport::Tcp, 2855, true)
        );
        assert_eq!(l.to_string(), "tcp:[::1]:2855");
        for bad in [
            "127.0.0.1:5060",
            "udp:localhost:5060",
            "udp:127.0.0.1",
            "UDP:127.0.0.1:1",
            "sctp:127.0.0.1:1",
            "",
        ] {
            assert!(bad.parse::<Listen>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_network_holds_its_addresses_and_no_other() {
        let net = |s: &str| s.parse::<Network>().unwrap();
        let ip = |s: &str| s.parse::<IpAddr>().unwrap();
        for (n, yes, no) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("192.168.1.7", "192.168.1.7", "192.168.1.6"),
            ("0.0.0.0/0", "8.8.8.8", "::1"),
            ("2001:db8::/32", "2001:db8::7", "2001:db9::7"),
            ("::1", "::1", "127.0.0.1"),
            ("127.0.0.0/8", "::ffff:127.0.0.1", "128.0.0.1"),
        ] {
            assert!(net(n).contains(ip(yes)), "{n} {yes}");
            assert!(!net(n).contains(ip(no)), "{n} {no}");
        }
        for bad in [
            "10.0.0.0/33",
            "::/129",
            "10.1.0.0/8",
            "10.0.0.0/",
            "x/8",
            "10.0.0/8",
        ] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
        assert!(net("127.0.0.0/16").is_loopback() && net("::1").is_loopback());
        assert!(!net("126.0.0.0/7").is_loopback() && !net("0.0.0.0/0").is_loopback());
    }

    #[test]
    fn a_host_is_a_name_or_an_address() {
        assert_eq!(host("PF.Example.com").as_deref(), Some("pf.example.com"));
        assert_eq!(host("[::1]").as_deref(), Some("[::1]"));
        assert_eq!(host("127.0.0.1").as_deref(), Some("127.0.0.1"));
        for bad in ["", "a..b", "-a", "a_b", "a b", "[::1", "[x]", "a\r\nb"] {
            assert!(host(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_secret_does_not_show_in_debug() {
        assert_eq!(format!("{:?}", Secret::new("hunter2".into())), "Secret(..)");
    }
}
