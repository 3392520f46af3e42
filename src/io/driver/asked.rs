//! What the world asks for: datagrams, connections made, closed, paused, given away.

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsRawFd, OwnedFd},
};

use io_uring::{opcode, squeue, types};
use rustix::net::{AddressFamily, SocketFlags, SocketType, getsockname, socket_with};

use super::Io;
use crate::{
    ids::{ConnId, ShardId, SocketId},
    io::{
        addr::RawAddr,
        conns::{Conn, Phase},
        errno,
        hub::HandedOver,
        listen::stream_options,
        token::{Kind, Place, pack},
    },
    shard::{ConnectError, Effect, World},
};

impl Io {
    /// Step 3 of a turn.
    pub(super) fn carry_out<W: World>(&mut self, world: &mut W) -> io::Result<()> {
        while let Some(effect) = world.poll_effect() {
            match effect {
                Effect::Datagram { socket, to, bytes } => {
                    self.datagram(world, socket, to, bytes)?;
                }
                Effect::Connect { conn, to } => self.connect(world, conn, to)?,
                Effect::Close { conn, flush } => self.close(world, conn, flush)?,
                Effect::Pause { conn } => self.pause(conn)?,
                Effect::Resume { conn } => self.resume(conn),
                Effect::HandOver { conn, to, bytes } => self.hand_over(conn, to, bytes)?,
            }
        }
        Ok(())
    }

    fn connect<W: World>(&mut self, world: &mut W, id: ConnId, to: SocketAddr) -> io::Result<()> {
        let made = if self.conns.full() {
            Err(ConnectError::Exhausted)
        } else {
            stream_socket(to).map_err(|e| errno::connect(e.raw_os_error().unwrap_or(0)).0)
        };
        let fd = match made {
            Ok(fd) => fd,
            Err(error) => {
                self.counters.connect_failed += 1;
                self.counters.fd_full += u64::from(error == ConnectError::Exhausted);
                world.connected(self.now, id, Err(error));
                return Ok(());
            }
        };
        let addr = Box::new(RawAddr::new(to));
        let (at, len) = (addr.as_ptr(), addr.len());
        let raw = types::Fd(fd.as_raw_fd());
        // A socket that has no address yet; `connected` tells it.
        let mut conn = Conn::new(id, fd, SocketId(u8::MAX), Phase::Connecting);
        conn.addr = Some(addr);
        conn.signalling = world.signals(id);
        conn.connects = 2;
        let place = self.conns.insert(conn);
        let link = opcode::Connect::new(raw, at, len)
            .build()
            .flags(squeue::Flags::IO_LINK)
            .user_data(pack(Kind::Connect, place));
        let limit = opcode::LinkTimeout::new(&raw const *self.connect_limit)
            .build()
            .user_data(pack(Kind::ConnectLimit, place));
        self.ring.room(2, &mut self.counters)?;
        // SAFETY: the address is boxed and kept by the connection until the connect has completed, as is the descriptor;
        // the time is boxed and lives as long as the ring.
        unsafe {
            self.push(&link)?;
            self.push(&limit)
        }
    }

    pub(super) fn on_connect<W: World>(
        &mut self,
        world: &mut W,
        place: Place,
        result: i32,
    ) -> io::Result<()> {
        let Some(conn) = self.conns.get_mut(place) else {
            self.counters.late += 1;
            return Ok(());
        };
        conn.connects -= 1;
        conn.addr = None;
        let id = conn.id;
        if matches!(conn.phase, Phase::Connecting) {
            let local = if result < 0 {
                Err(-result)
            } else {
                // It can be reset between its making and this.
                getsockname(&conn.fd)
                    .and_then(SocketAddr::try_from)
                    .map_err(rustix::io::Errno::raw_os_error)
            };
            match local {
                Ok(local) => {
                    self.counters.connected += 1;
                    conn.phase = Phase::Open;
                    world.connected(self.now, id, Ok(local));
                    world.outbox().writable(id);
                    self.list(place);
                }
                Err(code) => {
                    let (error, possible) = errno::connect(code);
                    self.counters.connect_failed += 1;
                    self.counters.impossible += u64::from(!possible);
                    conn.phase = Phase::Dying { reset: false };
                    self.conns.forget(id, place.slot);
                    world.connected(self.now, id, Err(error));
                }
            }
        }
        self.finish_if_idle(place)
    }

    /// The time limit of a connect is over: it struck (the connect tells), or was not needed.
    pub(super) fn on_connect_limit(&mut self, place: Place) -> io::Result<()> {
        if let Some(conn) = self.conns.get_mut(place) {
            conn.connects -= 1;
        }
        self.finish_if_idle(place)
    }

    fn pause(&mut self, id: ConnId) -> io::Result<()> {
        let Some(place) = self.conns.find(id) else {
            return Ok(());
        };
        if let Some(conn) = self.conns.get_mut(place) {
            conn.stops.paused = true;
        }
        self.stop(place)
    }

    fn resume(&mut self, id: ConnId) {
        let Some(place) = self.conns.find(id) else {
            return;
        };
        if let Some(conn) = self.conns.get_mut(place) {
            conn.stops.paused = false;
        }
        self.wait_in_turn(place);
        self.list(place);
    }

    /// The connection is the other shard's; what we still have of it goes along.
    fn hand_over(&mut self, id: ConnId, to: ShardId, mut bytes: Vec<u8>) -> io::Result<()> {
        let Some(place) = self.conns.find(id) else {
            return Ok(());
        };
        self.conns.forget(id, place.slot);
        if let Some(conn) = self.conns.get_mut(place) {
            for slice in std::mem::take(&mut conn.queue) {
                bytes.extend_from_slice(&slice);
            }
            conn.queued = 0;
            conn.phase = Phase::Leaving(to, bytes);
        }
        self.stop(place)?;
        self.stop_polling(place)?;
        self.finish_if_idle(place)
    }

    /// Nothing is in flight: the connection leaves.
    pub(super) fn leave(&mut self, conn: Conn, to: ShardId, bytes: Vec<u8>) {
        let Some((local, peer)) = super::accept::ends(&conn.fd) else {
            self.counters.closed += 1;
            return;
        };
        let it = HandedOver {
            fd: conn.fd,
            socket: conn.socket,
            local,
            peer,
            bytes,
        };
        match self.post.hub.hand_over(to, it) {
            Ok(()) => {
                self.counters.handed_over += 1;
                self.wakes |= 1 << to.0.min(63);
            }
            Err(it) => {
                self.counters.hand_over_full += 1;
                super::accept::reset_on_close(&it.fd);
            }
        }
    }
}

fn stream_socket(to: SocketAddr) -> io::Result<OwnedFd> {
    let family = match to {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let fd = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    stream_options(&fd)?;
    Ok(fd)
}
