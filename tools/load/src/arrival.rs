//! When a datagram came, by the kernel's own note: who is busy takes it from the socket later, and what it waited there is his
//! time, not the sender's. One of two files of this tool with
//! `unsafe` (`forward/uring.rs` is the other): control messages are pointers.
//!
//! The note is made where the packet enters the network stack, by the clock of the day. So it is turned into an age by a
//! reading of that clock directly behind the receive; [`crate::clock`] is read after that, so whoever takes the core in
//! between makes an arrival seem later than it was, never earlier.
#![expect(
    unsafe_code,
    reason = "the kernel's interface: recvmsg and its control messages"
)]

use std::{
    io,
    mem::{MaybeUninit, size_of},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsFd, AsRawFd},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Room for one `timespec` as a control message, with its head.
#[repr(C, align(8))]
struct Control([u8; 64]);

/// A datagram was received.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received {
    /// Its bytes in the buffer; what did not fit was cut off.
    pub(crate) len: usize,
    pub(crate) from: SocketAddr,
    /// How long ago it came; none where the kernel made no note.
    pub(crate) age: Option<Duration>,
}

/// Asks the kernel to note when each datagram of `socket` comes.
pub(crate) fn note(socket: impl AsFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    let size = libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or(4);
    // SAFETY: the descriptor is open as long as it is borrowed, and the option is an int of the size that is given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_TIMESTAMPNS,
            (&raw const on).cast(),
            size,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Receives a datagram, if there is one, from a socket of IPv4 or IPv6.
pub(crate) fn receive(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<Received> {
    let mut control = Control([0; 64]);
    let mut from = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut part = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: a head of zeros is one without parts.
    let mut head: libc::msghdr = unsafe { std::mem::zeroed() };
    head.msg_name = from.as_mut_ptr().cast();
    head.msg_namelen = libc::socklen_t::try_from(size_of::<libc::sockaddr_storage>()).unwrap_or(0);
    head.msg_iov = &raw mut part;
    head.msg_iovlen = 1;
    head.msg_control = control.0.as_mut_ptr().cast();
    head.msg_controllen = control.0.len();
    // SAFETY: name, part and control are memory of ours that lives until the call is over, with their true lengths.
    let n = unsafe {
        libc::recvmsg(
            socket.as_fd().as_raw_fd(),
            &raw mut head,
            libc::MSG_DONTWAIT,
        )
    };
    let len = usize::try_from(n).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: it began as zeros, which are a valid address of no family.
    let from = unsafe { from.assume_init() };
    let noted = noted(&head);
    let age = noted.and_then(|at| {
        let now = day();
        // Later than now: the clock of the day was set back meanwhile.
        now.checked_sub(at)
    });
    Ok(Received {
        len,
        from: address(&from)?,
        age,
    })
}

/// The clock of the day, as the kernel's notes have it.
#[expect(
    clippy::disallowed_methods,
    reason = "the kernel notes arrivals by the clock of the day"
)]
fn day() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// The kernel's note, since 1970.
fn noted(head: &libc::msghdr) -> Option<Duration> {
    // SAFETY: the kernel has filled the control buffer that the head points to and written its length.
    let mut at = unsafe { libc::CMSG_FIRSTHDR(head) };
    while !at.is_null() {
        // SAFETY: the macro gave the head of a control message inside the buffer.
        let found = unsafe { &*at };
        if (found.cmsg_level, found.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) {
            // SAFETY: the data of this kind of message is a timespec; it need not be aligned.
            let t: libc::timespec = unsafe {
                libc::CMSG_DATA(at)
                    .cast::<libc::timespec>()
                    .read_unaligned()
            };
            let (s, ns) = (
                u64::try_from(t.tv_sec).ok()?,
                u32::try_from(t.tv_nsec).ok()?,
            );
            return Some(Duration::new(s, ns));
        }
        // SAFETY: as above.
        at = unsafe { libc::CMSG_NXTHDR(head, at) };
    }
    None
}

fn address(from: &libc::sockaddr_storage) -> io::Result<SocketAddr> {
    let at = &raw const *from;
    match libc::c_int::from(from.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says which address it is, and the storage is large enough and aligned for each.
            let v4 = unsafe { &*at.cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Ok((ip, u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let v6 = unsafe { &*at.cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            Ok((ip, u16::from_be(v6.sin6_port)).into())
        }
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    fn pair(at: &str) -> (UdpSocket, UdpSocket) {
        let (a, b) = (UdpSocket::bind(at).unwrap(), UdpSocket::bind(at).unwrap());
        a.connect(b.local_addr().unwrap()).unwrap();
        (a, b)
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a datagram is left to wait")]
    fn what_waited_in_the_socket_has_that_age() {
        let (a, b) = pair("127.0.0.1:0");
        note(&b).unwrap();
        let wait = Duration::from_millis(30);
        let mut buffer = [0; 8];
        // The kernel begins to note a moment after it was asked: until then it notes the time of reading.
        for _ in 0..100 {
            a.send(b"early").unwrap();
            std::thread::sleep(wait);
            a.send(b"late, and longer than the buffer").unwrap();
            let first = receive(&b, &mut buffer).unwrap();
            assert_eq!(&buffer[..first.len], b"early");
            assert_eq!(first.from, a.local_addr().unwrap());
            let second = receive(&b, &mut buffer).unwrap();
            assert_eq!(&buffer[..second.len], b"late, an");
            let none = receive(&b, &mut buffer).unwrap_err();
            assert_eq!(none.kind(), io::ErrorKind::WouldBlock);
            if first.age.unwrap() >= wait && second.age < first.age {
                return;
            }
        }
        panic!("what waited for {wait:?} is never so old");
    }

    #[test]
    fn nobody_asked_nothing_is_noted() {
        let (a, b) = pair("127.0.0.1:0");
        a.send(b"x").unwrap();
        assert!(receive(&b, &mut [0; 8]).unwrap().age.is_none());
    }

    #[test]
    fn addresses_of_either_family_are_read() {
        let Ok(b) = UdpSocket::bind("[::1]:0") else {
            return;
        };
        let a = UdpSocket::bind("[::1]:0").unwrap();
        a.send_to(b"x", b.local_addr().unwrap()).unwrap();
        assert_eq!(
            receive(&b, &mut [0; 8]).unwrap().from,
            a.local_addr().unwrap()
        );
    }
}
