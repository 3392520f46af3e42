//! Listening and datagram sockets: one of each a shard, all of them on the same address and port (`SO_REUSEPORT`), so
//! that the kernel spreads what comes in over the shards.

use std::{io, net::SocketAddr, os::fd::OwnedFd, time::Duration};

use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, getsockname, listen, socket_with, sockopt,
};

/// Connections that may wait to be accepted on one listener (the system may allow fewer: `net.core.somaxconn`).
const BACKLOG: i32 = 4096;

/// Receive memory asked for a datagram socket: a core's whole traffic comes by one flow.
const DATAGRAM_BUFFER: usize = 4 << 20;

/// What kind of socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// A listener for stream connections.
    Tcp,
    /// A datagram socket.
    Udp,
}

/// A socket of one shard, bound and (TCP) listening.
#[derive(Debug)]
pub struct Socket {
    /// TCP or UDP.
    pub transport: Transport,
    /// Where it is bound; the port is never 0.
    pub local: SocketAddr,
    pub(super) fd: OwnedFd,
}

/// The address could not be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {transport:?} {addr}: {source}{}", hint(.source))]
pub struct ListenError {
    /// TCP or UDP.
    pub transport: Transport,
    /// What was asked for.
    pub addr: SocketAddr,
    /// The system's reason.
    pub source: io::Error,
}

fn hint(e: &io::Error) -> &'static str {
    match e.raw_os_error() {
        Some(libc::EADDRINUSE) => {
            " (another process has that port, or another user's without SO_REUSEPORT)"
        }
        Some(libc::EADDRNOTAVAIL) => " (no interface of this host has that address)",
        Some(libc::EACCES) => " (ports below 1024 need CAP_NET_BIND_SERVICE)",
        Some(libc::EMFILE | libc::ENFILE) => " (no descriptor left: raise LimitNOFILE)",
        _ => "",
    }
}

/// Binds `shards` sockets to `addr`. Port 0 is resolved once: all get the same free port.
///
/// # Errors
/// [`ListenError`]; nothing stays bound.
pub fn open(
    transport: Transport,
    addr: SocketAddr,
    shards: usize,
) -> Result<Vec<Socket>, ListenError> {
    let fail = |source: io::Error| ListenError {
        transport,
        addr,
        source,
    };
    let mut sockets: Vec<Socket> = Vec::with_capacity(shards);
    for _ in 0..shards {
        let at = sockets.first().map_or(addr, |s| s.local);
        sockets.push(one(transport, at).map_err(fail)?);
    }
    Ok(sockets)
}

/// An ephemeral port may be in somebody else's use by the other transport; SIP wants both on one port.
///
/// # Errors
/// As [`open`]; with port 0, after several tries.
pub fn open_both(
    addr: SocketAddr,
    shards: usize,
) -> Result<(Vec<Socket>, Vec<Socket>), ListenError> {
    let mut tries = 0;
    loop {
        let udp = open(Transport::Udp, addr, shards)?;
        let at = udp.first().map_or(addr, |s| s.local);
        match open(Transport::Tcp, at, shards) {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(_) if addr.port() == 0 && tries < 16 => tries += 1,
            Err(e) => return Err(e),
        }
    }
}

fn one(transport: Transport, addr: SocketAddr) -> io::Result<Socket> {
    let family = match addr {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let kind = match transport {
        Transport::Tcp => SocketType::STREAM,
        Transport::Udp => SocketType::DGRAM,
    };
    let fd = socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    if addr.is_ipv6() {
        // One socket a family, so that a peer's address has one form.
        sockopt::set_ipv6_v6only(&fd, true)?;
    }
    sockopt::set_socket_reuseport(&fd, true)?;
    match transport {
        Transport::Tcp => {
            sockopt::set_socket_reuseaddr(&fd, true)?;
            // Accepted connections inherit these.
            stream_options(&fd)?;
        }
        // As much as the system lets us (net.core.rmem_max); less works, it only drops sooner.
        Transport::Udp => sockopt::set_socket_recv_buffer_size(&fd, DATAGRAM_BUFFER)?,
    }
    bind(&fd, &addr)?;
    if transport == Transport::Tcp {
        listen(&fd, BACKLOG)?;
    }
    let local = SocketAddr::try_from(getsockname(&fd)?)?;
    Ok(Socket {
        transport,
        local,
        fd,
    })
}

/// What every stream connection has: nothing is held back to fill a segment (a turn's sends are whole already), and a peer
/// that vanished without a word is found out in about three minutes, also when we have nothing to send to it.
pub(super) fn stream_options(fd: &OwnedFd) -> io::Result<()> {
    sockopt::set_tcp_nodelay(fd, true)?;
    sockopt::set_socket_keepalive(fd, true)?;
    sockopt::set_tcp_keepidle(fd, Duration::from_secs(120))?;
    sockopt::set_tcp_keepintvl(fd, Duration::from_secs(15))?;
    sockopt::set_tcp_keepcnt(fd, 4)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_shards_share_one_ephemeral_port() {
        let any = "127.0.0.1:0".parse().unwrap();
        let (udp, tcp) = open_both(any, 5).unwrap();
        let port = udp[0].local.port();
        assert_ne!(port, 0);
        assert_eq!((udp.len(), tcp.len()), (5, 5));
        assert!(udp.iter().chain(&tcp).all(|s| s.local.port() == port));
    }

    #[test]
    fn an_address_that_is_not_ours_is_named() {
        let e = open(Transport::Tcp, "192.0.2.1:0".parse().unwrap(), 1).unwrap_err();
        assert!(e.to_string().contains("no interface of this host"), "{e}");
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let e = open(Transport::Tcp, taken.local_addr().unwrap(), 1).unwrap_err();
        assert!(e.to_string().contains("another process"), "{e}");
    }
}
