//! Taking connections in: accepted ones, ones that another shard gives us, and what happens when there is no room.

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use io_uring::{opcode, types};
use rustix::{
    event::{EventfdFlags, eventfd},
    fs::{OFlags, fcntl_setfl},
    net::{getpeername, getsockname, sockopt},
};

use super::Io;
use crate::{
    ids::SocketId,
    io::{
        conns::{Conn, Phase},
        errno,
        listen::{Socket, Transport},
        token::{Kind, Place, pack},
    },
    shard::World,
};

/// Connections that are refused at once when no descriptor is left; more wait for the next try.
const REFUSED_AT_ONCE: usize = 256;

/// Connections that are taken in a turn: each costs some microseconds, and a crowd at the door must not keep those inside waiting.
const TAKEN_A_TURN: usize = 32;

/// Accepted connections that wait to be taken in; the newest above it is refused.
const ARRIVALS_MAX: usize = 1024;

/// An accepted connection that has not been taken in.
pub(super) type Arrival = (SocketId, OwnedFd);

/// A listening or datagram socket, and whether its multishot operation is in flight.
#[derive(Debug)]
pub(super) struct Listening {
    pub(super) socket: Socket,
    pub(super) armed: bool,
}

impl Listening {
    pub(super) fn new(socket: Socket) -> Self {
        Self {
            socket,
            armed: false,
        }
    }
}

impl Io {
    /// Arms every listener and datagram socket.
    pub(super) fn listen(&mut self) -> io::Result<()> {
        self.arm_sockets()
    }

    /// Arms the listeners and datagram sockets whose operation has ended and that have what they need.
    pub(super) fn arm_sockets(&mut self) -> io::Result<()> {
        for i in 0..self.listening.len() {
            if self.listening[i].armed {
                continue;
            }
            let ready = match self.listening[i].socket.transport {
                Transport::Tcp => self.accept_retry.is_none(),
                Transport::Udp => self.datagrams.available() > 0,
            };
            if ready {
                self.arm_socket(i)?;
            }
        }
        Ok(())
    }

    fn arm_socket(&mut self, index: usize) -> io::Result<()> {
        let header: *const libc::msghdr = &raw const *self.datagram_header;
        let group = self.datagrams.group();
        let it = &mut self.listening[index];
        it.armed = true;
        let fd = types::Fd(it.socket.fd.as_raw_fd());
        let place = Place {
            slot: u32::try_from(index).unwrap_or(u32::MAX),
            generation: 0,
        };
        let entry = match it.socket.transport {
            Transport::Tcp => opcode::AcceptMulti::new(fd)
                .flags(libc::SOCK_CLOEXEC)
                .build()
                .user_data(pack(Kind::Accept, place)),
            Transport::Udp => opcode::RecvMsgMulti::new(fd, header, group)
                .build()
                .user_data(pack(Kind::Datagram, place)),
        };
        // SAFETY: the header is boxed and the buffers are the ring's: both outlive every receive (`Drop for Io`); the
        // socket stays open as long.
        unsafe { self.push(&entry) }
    }

    pub(super) fn on_accept(&mut self, place: Place, result: i32, more: bool) {
        let index = place.slot as usize;
        let socket = SocketId(u8::try_from(place.slot).unwrap_or(u8::MAX));
        if !more && let Some(it) = self.listening.get_mut(index) {
            it.armed = false;
        }
        if result >= 0 {
            // SAFETY: the kernel has just made this descriptor for us.
            let fd = unsafe { OwnedFd::from_raw_fd(result) };
            if self.arrivals.len() < ARRIVALS_MAX {
                self.arrivals.push_back((socket, fd));
            } else {
                self.refuse(&fd);
            }
            return;
        }
        match errno::accept(-result) {
            errno::Accept::NoDescriptor => {
                self.counters.fd_full += 1;
                self.refuse_newest(index);
                self.accept_retry = Some(self.now + self.post.settings.accept_retry);
            }
            errno::Accept::NoMemory => {
                self.counters.accept_memory += 1;
                self.accept_retry = Some(self.now + self.post.settings.accept_retry);
            }
            errno::Accept::PeerGone => self.counters.accept_aborted += 1,
            errno::Accept::Cancelled | errno::Accept::Again => {}
            errno::Accept::Impossible => {
                self.counters.impossible += 1;
                self.counters.accept_errors += 1;
                // Not at once: an error that stays must not spin.
                self.accept_retry = Some(self.now + self.post.settings.accept_retry);
            }
        }
    }

    /// Takes in some of those that were accepted; the others wait for the next turn.
    pub(super) fn take_arrivals<W: World>(&mut self, world: &mut W) {
        for _ in 0..TAKEN_A_TURN {
            let Some((socket, fd)) = self.arrivals.pop_front() else {
                break;
            };
            self.take(world, socket, fd);
        }
    }

    fn take<W: World>(&mut self, world: &mut W, socket: SocketId, fd: OwnedFd) {
        let Some((local, peer)) = ends(&fd) else {
            self.counters.accept_aborted += 1;
            return;
        };
        if self.conns.full() {
            self.refuse(&fd);
            return;
        }
        let Some(id) = world.accepted(self.now, socket, local, peer) else {
            self.refuse(&fd);
            return;
        };
        self.counters.accepted += 1;
        let mut conn = Conn::new(id, fd, socket, Phase::Open);
        conn.signalling = world.signals(id);
        let place = self.conns.insert(conn);
        self.list(place);
    }

    /// Refuses a connection by reset; the caller closes it.
    fn refuse(&mut self, fd: &OwnedFd) {
        self.counters.refused += 1;
        reset_on_close(fd);
    }

    /// No descriptor is left: gives up the spare one to take and reset those who wait, so that they know.
    fn refuse_newest(&mut self, index: usize) {
        let Some(it) = self.listening.get(index) else {
            return;
        };
        let listener = &it.socket.fd;
        drop(self.spare.take());
        // Nothing is in flight on the listener now, so nobody else sees it change.
        if fcntl_setfl(listener, OFlags::NONBLOCK).is_ok() {
            for _ in 0..REFUSED_AT_ONCE {
                // EAGAIN: nobody waits; EMFILE: another thread took the spare place; the rest: that peer is gone.
                let Ok(fd) = rustix::net::accept(listener) else {
                    break;
                };
                reset_on_close(&fd);
                self.counters.fd_refused += 1;
            }
            let _ = fcntl_setfl(listener, OFlags::empty());
        }
        self.spare = eventfd(0, EventfdFlags::CLOEXEC).ok();
    }

    /// Takes in some of what other shards have put on our desk. Whether more may lie there.
    pub(super) fn take_handed<W: World>(&mut self, world: &mut W) -> bool {
        let hub = self.post.hub.clone();
        for _ in 0..TAKEN_A_TURN {
            let Some(it) = hub.take_handed(self.post.shard) else {
                return false;
            };
            let id = if self.conns.full() {
                None
            } else {
                world.adopted(self.now, it.socket, it.local, it.peer, &it.bytes)
            };
            let Some(id) = id else {
                self.refuse(&it.fd);
                continue;
            };
            self.counters.adopted += 1;
            let mut conn = Conn::new(id, it.fd, it.socket, Phase::Open);
            conn.signalling = world.signals(id);
            let place = self.conns.insert(conn);
            self.list(place);
        }
        true
    }
}

/// The addresses of a connection, ours first. `None`: it is gone already (ENOTCONN).
pub(super) fn ends(fd: &OwnedFd) -> Option<(SocketAddr, SocketAddr)> {
    let (local, peer) = (getsockname(fd).ok()?, getpeername(fd).ok()??);
    Some((local.try_into().ok()?, peer.try_into().ok()?))
}

/// Makes the close of `fd` a reset: the peer is told at once, nothing lingers. A socket that refuses is broken already.
pub(super) fn reset_on_close(fd: &OwnedFd) {
    let _ = sockopt::set_socket_linger(fd, Some(std::time::Duration::ZERO));
}
