//! What each errno of each operation means to us: every one by name, or impossible.
//!
//! *Impossible* means: only our own mistake could cause it. It is counted, and ends the connection at most.

use crate::shard::ConnectError;

/// Why a receive brought nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Receive {
    /// No buffer was free.
    NoBuffer,
    /// We cancelled it.
    Cancelled,
    /// Try again.
    Again,
    /// The connection is gone.
    Gone,
    Impossible,
}

/// `recv`, `recvmsg`.
pub(super) fn receive(errno: i32) -> Receive {
    match errno {
        libc::ENOBUFS => Receive::NoBuffer,
        libc::ECANCELED => Receive::Cancelled,
        libc::EAGAIN | libc::EINTR | libc::ENOMEM => Receive::Again,
        libc::ECONNRESET
        | libc::ECONNABORTED
        | libc::ECONNREFUSED
        | libc::ETIMEDOUT
        | libc::EPIPE
        | libc::EHOSTUNREACH
        | libc::EHOSTDOWN
        | libc::ENETUNREACH
        | libc::ENETDOWN
        | libc::ENETRESET
        | libc::ENOTCONN
        | libc::EPROTO
        | libc::EPERM => Receive::Gone,
        // EBADF, EFAULT, EINVAL, ENOTSOCK, EOPNOTSUPP: our mistake.
        _ => Receive::Impossible,
    }
}

/// Why a send was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Send {
    /// No room now.
    Again,
    /// The connection is gone.
    Gone,
    Impossible,
}

/// `send`, `sendmsg` on a stream.
pub(super) fn send(errno: i32) -> Send {
    match errno {
        libc::EAGAIN | libc::EINTR | libc::ENOBUFS | libc::ENOMEM => Send::Again,
        libc::EPIPE
        | libc::ECONNRESET
        | libc::ECONNABORTED
        | libc::ECONNREFUSED
        | libc::ETIMEDOUT
        | libc::EHOSTUNREACH
        | libc::EHOSTDOWN
        | libc::ENETUNREACH
        | libc::ENETDOWN
        | libc::ENETRESET
        | libc::ENOTCONN
        | libc::EPROTO
        | libc::EPERM
        | libc::ECANCELED => Send::Gone,
        // EBADF, EFAULT, EINVAL, EISCONN, EMSGSIZE, ENOTSOCK, EOPNOTSUPP, EDESTADDRREQ: our mistake.
        _ => Send::Impossible,
    }
}

/// Whether a datagram that was not taken is the network's business (dropped, as networks do) and not our mistake.
pub(super) fn datagram_dropped(errno: i32) -> bool {
    matches!(
        errno,
        libc::EAGAIN
            | libc::EINTR
            | libc::ENOBUFS
            | libc::ENOMEM
            | libc::EMSGSIZE
            | libc::ECONNREFUSED
            | libc::EHOSTUNREACH
            | libc::EHOSTDOWN
            | libc::ENETUNREACH
            | libc::ENETDOWN
            | libc::EACCES
            | libc::EPERM
            | libc::EADDRNOTAVAIL
            | libc::EAFNOSUPPORT
            // An address that a peer named and that no datagram can go to (port 0, wrong scope).
            | libc::EINVAL
            | libc::ECANCELED
    )
}

/// Why an accept failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accept {
    /// No descriptor is free, here or in the system.
    NoDescriptor,
    /// No kernel memory.
    NoMemory,
    /// The peer was gone already, or a filter refused it.
    PeerGone,
    Cancelled,
    Again,
    Impossible,
}

/// `accept`.
pub(super) fn accept(errno: i32) -> Accept {
    match errno {
        libc::EMFILE | libc::ENFILE => Accept::NoDescriptor,
        libc::ENOBUFS | libc::ENOMEM => Accept::NoMemory,
        libc::ECONNABORTED
        | libc::ECONNRESET
        | libc::EPERM
        | libc::EPROTO
        | libc::ENOPROTOOPT
        | libc::ETIMEDOUT
        | libc::ENETDOWN
        | libc::ENETUNREACH
        | libc::EHOSTDOWN
        | libc::EHOSTUNREACH
        | libc::ENONET => Accept::PeerGone,
        libc::ECANCELED => Accept::Cancelled,
        libc::EAGAIN | libc::EINTR => Accept::Again,
        // EBADF, EFAULT, EINVAL, ENOTSOCK, EOPNOTSUPP: our mistake.
        _ => Accept::Impossible,
    }
}

/// `socket` and `connect`: what the world is told, and whether that errno is possible at all.
pub(super) fn connect(errno: i32) -> (ConnectError, bool) {
    match errno {
        libc::ECONNREFUSED | libc::ECONNRESET => (ConnectError::Refused, true),
        // ECANCELED: its time limit ran out.
        libc::ECANCELED
        | libc::ETIMEDOUT
        | libc::EHOSTUNREACH
        | libc::EHOSTDOWN
        | libc::ENETUNREACH
        | libc::ENETDOWN
        | libc::EACCES
        | libc::EPERM
        | libc::EINTR
        | libc::EAFNOSUPPORT
        | libc::EADDRINUSE
        // A link-local address without a scope, port 0: somebody else's address, so not our mistake.
        | libc::EINVAL => (ConnectError::Unreachable, true),
        libc::EADDRNOTAVAIL
        | libc::EAGAIN
        | libc::EMFILE
        | libc::ENFILE
        | libc::ENOBUFS
        | libc::ENOMEM => (ConnectError::Exhausted, true),
        // EALREADY, EBADF, EFAULT, EISCONN, ENOTSOCK, EPROTOTYPE: our mistake.
        _ => (ConnectError::Unreachable, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// errno, receive, send, accept, connect: one line each for those that matter most.
    #[test]
    fn each_errno_means_one_thing_to_each_operation() {
        use ConnectError::{Exhausted, Refused, Unreachable};
        let table = [
            (
                libc::ENOBUFS,
                Receive::NoBuffer,
                Send::Again,
                Accept::NoMemory,
                (Exhausted, true),
            ),
            (
                libc::ENOMEM,
                Receive::Again,
                Send::Again,
                Accept::NoMemory,
                (Exhausted, true),
            ),
            (
                libc::EAGAIN,
                Receive::Again,
                Send::Again,
                Accept::Again,
                (Exhausted, true),
            ),
            (
                libc::ECANCELED,
                Receive::Cancelled,
                Send::Gone,
                Accept::Cancelled,
                (Unreachable, true),
            ),
            (
                libc::ECONNRESET,
                Receive::Gone,
                Send::Gone,
                Accept::PeerGone,
                (Refused, true),
            ),
            (
                libc::EPIPE,
                Receive::Gone,
                Send::Gone,
                Accept::Impossible,
                (Unreachable, false),
            ),
            (
                libc::ETIMEDOUT,
                Receive::Gone,
                Send::Gone,
                Accept::PeerGone,
                (Unreachable, true),
            ),
            (
                libc::ECONNREFUSED,
                Receive::Gone,
                Send::Gone,
                Accept::Impossible,
                (Refused, true),
            ),
            (
                libc::EMFILE,
                Receive::Impossible,
                Send::Impossible,
                Accept::NoDescriptor,
                (Exhausted, true),
            ),
            (
                libc::ENFILE,
                Receive::Impossible,
                Send::Impossible,
                Accept::NoDescriptor,
                (Exhausted, true),
            ),
            (
                libc::EADDRNOTAVAIL,
                Receive::Impossible,
                Send::Impossible,
                Accept::Impossible,
                (Exhausted, true),
            ),
            (
                libc::EBADF,
                Receive::Impossible,
                Send::Impossible,
                Accept::Impossible,
                (Unreachable, false),
            ),
            (
                libc::EFAULT,
                Receive::Impossible,
                Send::Impossible,
                Accept::Impossible,
                (Unreachable, false),
            ),
        ];
        for (errno, r, s, a, c) in table {
            assert_eq!(
                (receive(errno), send(errno), accept(errno), connect(errno)),
                (r, s, a, c),
                "{}",
                std::io::Error::from_raw_os_error(errno)
            );
        }
        assert!(datagram_dropped(libc::EMSGSIZE) && !datagram_dropped(libc::EFAULT));
    }
}
