//! Socket addresses as the kernel writes them (`sockaddr_in`, `sockaddr_in6`), by bytes: no cast, nothing unsafe.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// A `sockaddr_in` or `sockaddr_in6`.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub(super) struct RawAddr {
    bytes: [u8; Self::SIZE],
    len: u32,
}

impl RawAddr {
    /// Bytes of the larger of the two.
    pub(super) const SIZE: usize = 28;
    const V4_SIZE: u32 = 16;

    pub(super) const EMPTY: Self = Self {
        bytes: [0; Self::SIZE],
        len: 0,
    };

    pub(super) fn new(addr: SocketAddr) -> Self {
        let mut raw = Self::EMPTY;
        raw.bytes[2..4].copy_from_slice(&addr.port().to_be_bytes());
        let family = match addr {
            SocketAddr::V4(v4) => {
                raw.bytes[4..8].copy_from_slice(&v4.ip().octets());
                raw.len = Self::V4_SIZE;
                libc::AF_INET
            }
            SocketAddr::V6(v6) => {
                raw.bytes[4..8].copy_from_slice(&v6.flowinfo().to_be_bytes());
                raw.bytes[8..24].copy_from_slice(&v6.ip().octets());
                raw.bytes[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
                raw.len = 28;
                libc::AF_INET6
            }
        };
        let family = u16::try_from(family).unwrap_or_default();
        raw.bytes[..2].copy_from_slice(&family.to_ne_bytes());
        raw
    }

    pub(super) fn as_ptr(&self) -> *const libc::sockaddr {
        self.bytes.as_ptr().cast()
    }

    pub(super) fn len(&self) -> u32 {
        self.len
    }

    /// The address in `bytes`, or `None` where it is none of the two families.
    pub(super) fn parse(bytes: &[u8]) -> Option<SocketAddr> {
        let family = i32::from(u16::from_ne_bytes(*bytes.first_chunk()?));
        let port = u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?);
        if family == libc::AF_INET {
            let ip: [u8; 4] = *bytes.get(4..)?.first_chunk()?;
            Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::from(ip)), port))
        } else if family == libc::AF_INET6 {
            let flow = u32::from_be_bytes(*bytes.get(4..)?.first_chunk()?);
            let ip: [u8; 16] = *bytes.get(8..)?.first_chunk()?;
            let scope = u32::from_ne_bytes(*bytes.get(24..)?.first_chunk()?);
            Some(SocketAddr::V6(SocketAddrV6::new(
                Ipv6Addr::from(ip),
                port,
                flow,
                scope,
            )))
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_written_and_read_is_the_same() {
        for text in ["127.0.0.1:5060", "[2001:db8::1]:2855", "[fe80::1%7]:1"] {
            let addr: SocketAddr = text.parse().unwrap();
            let raw = RawAddr::new(addr);
            assert_eq!(RawAddr::parse(&raw.bytes[..raw.len() as usize]), Some(addr));
        }
        assert_eq!(RawAddr::parse(&[0; 28]), None);
        assert_eq!(RawAddr::parse(&[2]), None);
        assert_eq!(RawAddr::parse(&[2, 0, 1, 1, 127, 0]), None, "cut short");
    }
}
