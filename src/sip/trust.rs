//! Whom we believe (RFC 3325 §5): the networks that the operator has written down, and nobody else.

use std::net::IpAddr;

use super::Flow;

/// The networks of `sip.trusted_peers`: what is written replaces the default, loopback too (settled.md 2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trusted(Vec<(IpAddr, u8)>);

impl Trusted {
    /// Networks by address and prefix length.
    #[must_use]
    pub fn new(networks: Vec<(IpAddr, u8)>) -> Self {
        Self(networks)
    }

    /// Whether what came this way is believed.
    #[must_use]
    pub fn believes(&self, flow: Flow) -> bool {
        self.has(flow.peer().ip())
    }

    /// Whether an address lies in one of them: it may speak for many.
    #[must_use]
    pub fn has(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.0
            .iter()
            .any(|(net, prefix)| in_network(ip, net.to_canonical(), *prefix))
    }
}

fn in_network(ip: IpAddr, net: IpAddr, prefix: u8) -> bool {
    use IpAddr::{V4, V6};
    let (ip, net, bits) = match (ip, net) {
        (V4(ip), V4(net)) => (u128::from(ip.to_bits()), u128::from(net.to_bits()), 32),
        (V6(ip), V6(net)) => (ip.to_bits(), net.to_bits(), 128),
        (V4(_), V6(_)) | (V6(_), V4(_)) => return false,
    };
    let host_bits = u32::from(bits - prefix.min(bits));
    (ip ^ net).checked_shr(host_bits).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::SocketId;

    #[test]
    fn a_peer_is_believed_by_the_networks_that_are_written_and_by_no_other() {
        let check = |peer: &str, net: &str, prefix, believed| {
            let flow = Flow::Udp {
                socket: SocketId(0),
                peer: peer.parse().unwrap(),
            };
            let trusted = Trusted::new(vec![(net.parse().unwrap(), prefix)]);
            assert_eq!(trusted.believes(flow), believed, "{peer} in {net}/{prefix}");
        };
        check("10.1.2.3:1", "10.0.0.0", 8, true);
        check("11.1.2.3:1", "10.0.0.0", 8, false);
        check("10.0.0.1:1", "10.0.0.1", 32, true);
        check("10.0.0.2:1", "10.0.0.1", 32, false);
        check("8.8.8.8:1", "0.0.0.0", 0, true);
        check("[2001:db8::1]:1", "2001:db8::", 32, true);
        check("[::1]:1", "::", 0, true);
        check("10.0.0.1:1", "::", 0, false);
        check("[::ffff:10.0.0.1]:1", "10.0.0.0", 8, true);
        // settled.md 2: loopback is believed where it is written.
        check("127.0.0.1:1", "10.0.0.0", 8, false);
        check("127.0.0.1:1", "127.0.0.0", 8, true);
        check("[::1]:1", "127.0.0.0", 8, false);
    }
}
