//! How connections end: by the peer, by the world, by time. A connection goes only when nothing of it is in flight.

use std::{io, os::fd::IntoRawFd};

use io_uring::{opcode, squeue, types};
use rustix::net::{Shutdown, shutdown};

use super::{Io, accept::reset_on_close};
use crate::{
    ids::ConnId,
    io::{
        conns::{Phase, Stops},
        token::{Kind, Place, pack},
    },
    shard::{End, World},
};

/// What empties a slot of the file table.
static NO_FILE: i32 = -1;

impl Io {
    /// The peer has ended its side, or is gone. What waits to be handed in comes first.
    pub(super) fn peer_ended<W: World>(
        &mut self,
        world: &mut W,
        place: Place,
        how: End,
    ) -> io::Result<()> {
        let Some(conn) = self.conns.get_mut(place) else {
            return Ok(());
        };
        conn.end = Some(how);
        if !conn.queue.is_empty() {
            return Ok(());
        }
        let gone = how == End::Reset;
        match &conn.phase {
            // What was queued for a peer that only stopped sending still goes out.
            Phase::Open if !gone => {
                conn.phase = Phase::Ending(how);
                self.set_deadline(place);
                self.checks.push(place);
                Ok(())
            }
            Phase::Open => self.tell_ended(world, place, how, false),
            Phase::Ending(first) => {
                let first = *first;
                if gone {
                    self.tell_ended(world, place, first, false)
                } else {
                    Ok(())
                }
            }
            Phase::Flushing if gone => self.tell_ended(world, place, End::Ours, false),
            Phase::Lingering => self.die(place, false),
            // Flushing: what waits is sent all the same. Leaving: the new owner sees the same end.
            Phase::Connecting | Phase::Flushing | Phase::Leaving(..) | Phase::Dying { .. } => {
                Ok(())
            }
        }
    }

    /// Sends that failed: those connections are gone.
    pub(super) fn end_failed<W: World>(&mut self, world: &mut W) -> io::Result<()> {
        for i in 0..self.failed.len() {
            let place = self.failed[i];
            let how = match self.conns.get(place).map(|c| &c.phase) {
                Some(Phase::Open) => End::Reset,
                Some(Phase::Ending(how)) => *how,
                Some(Phase::Flushing) => End::Ours,
                _ => continue,
            };
            self.tell_ended(world, place, how, false)?;
        }
        self.failed.clear();
        Ok(())
    }

    /// [`Effect::Close`](crate::shard::Effect::Close).
    pub(super) fn close<W: World>(
        &mut self,
        world: &mut W,
        id: ConnId,
        flush: bool,
    ) -> io::Result<()> {
        let Some(place) = self.conns.find(id) else {
            return Ok(());
        };
        let Some(conn) = self.conns.get_mut(place) else {
            return Ok(());
        };
        if !flush || matches!(conn.phase, Phase::Connecting) {
            return self.tell_ended(world, place, End::Ours, !flush);
        }
        if matches!(conn.phase, Phase::Flushing) {
            return Ok(());
        }
        conn.phase = Phase::Flushing;
        conn.queue.clear();
        conn.queued = 0;
        // It is read on, to drop what comes: bytes left unread would turn the close into a reset.
        conn.stops = Stops::default();
        self.set_deadline(place);
        self.checks.push(place);
        self.list(place);
        Ok(())
    }

    /// Connections that may be done with what they had to send.
    pub(super) fn check<W: World>(&mut self, world: &mut W) -> io::Result<()> {
        let mut checks = std::mem::take(&mut self.checks);
        for place in checks.drain(..) {
            let Some(conn) = self.conns.get_mut(place) else {
                continue;
            };
            if world.outbox().backlog(conn.id) > 0 {
                continue;
            }
            match conn.phase {
                Phase::Ending(how) => self.tell_ended(world, place, how, false)?,
                Phase::Flushing => {
                    // ENOTCONN: the peer has reset it meanwhile.
                    let _ = shutdown(&conn.fd, Shutdown::Write);
                    let (id, over) = (conn.id, conn.end.is_some());
                    conn.phase = Phase::Lingering;
                    self.conns.forget(id, place.slot);
                    world.ended(self.now, id, End::Ours);
                    if over {
                        self.die(place, false)?;
                    }
                }
                Phase::Open
                | Phase::Connecting
                | Phase::Lingering
                | Phase::Leaving(..)
                | Phase::Dying { .. } => {}
            }
        }
        debug_assert!(self.checks.is_empty());
        self.checks = checks;
        Ok(())
    }

    fn set_deadline(&mut self, place: Place) {
        let at = self.now + self.post.settings.flush_timeout;
        if let Some(conn) = self.conns.get_mut(place) {
            conn.deadline = Some(at);
            self.deadlines.push_back((at, place));
        }
    }

    /// Cuts off what did not end in time, and lets accepting begin again.
    pub(super) fn expire<W: World>(&mut self, world: &mut W) -> io::Result<()> {
        if self.accept_retry.is_some_and(|at| at <= self.now) {
            self.accept_retry = None;
        }
        while let Some(&(at, place)) = self.deadlines.front()
            && at <= self.now
        {
            self.deadlines.pop_front();
            let Some(conn) = self.conns.get(place) else {
                continue;
            };
            if conn.deadline != Some(at) {
                continue;
            }
            match conn.phase {
                Phase::Ending(how) => {
                    self.counters.flush_timeouts += 1;
                    self.tell_ended(world, place, how, true)?;
                }
                Phase::Flushing => {
                    self.counters.flush_timeouts += 1;
                    self.tell_ended(world, place, End::Ours, true)?;
                }
                Phase::Lingering => self.die(place, false)?,
                Phase::Connecting | Phase::Open | Phase::Leaving(..) | Phase::Dying { .. } => {}
            }
        }
        Ok(())
    }

    /// Tells the world that a connection is over, and lets go of it.
    fn tell_ended<W: World>(
        &mut self,
        world: &mut W,
        place: Place,
        how: End,
        reset: bool,
    ) -> io::Result<()> {
        if let Some(conn) = self.conns.get(place) {
            let id = conn.id;
            self.conns.forget(id, place.slot);
            world.ended(self.now, id, how);
        }
        self.die(place, reset)
    }

    /// The world knows nothing of it any more: cancels what is in flight, closes when that is over.
    fn die(&mut self, place: Place, reset: bool) -> io::Result<()> {
        let Some(conn) = self.conns.get_mut(place) else {
            return Ok(());
        };
        conn.phase = Phase::Dying { reset };
        conn.queue.clear();
        conn.queued = 0;
        let connecting = conn.addr.is_some();
        if connecting {
            self.cancel(Kind::Connect, place)?;
        }
        self.stop(place)?;
        self.stop_polling(place)?;
        self.finish_if_idle(place)
    }

    pub(super) fn stop_polling(&mut self, place: Place) -> io::Result<()> {
        if self.conns.get(place).is_some_and(|c| c.polling) {
            self.cancel(Kind::Writable, place)?;
        }
        Ok(())
    }

    /// Lets a dying or leaving connection go, once nothing of it is in flight.
    pub(super) fn finish_if_idle(&mut self, place: Place) -> io::Result<()> {
        let over = self.conns.get(place).is_some_and(|c| {
            !c.in_flight() && matches!(c.phase, Phase::Dying { .. } | Phase::Leaving(..))
        });
        if !over {
            return Ok(());
        }
        let Some(mut conn) = self.conns.remove(place) else {
            return Ok(());
        };
        if conn.fixed {
            let entry = opcode::FilesUpdate::new(&raw const NO_FILE, 1)
                .offset(place.slot.cast_signed())
                .build()
                .flags(squeue::Flags::SKIP_SUCCESS)
                .user_data(pack(Kind::Files, place));
            // SAFETY: it points to a static.
            unsafe { self.push(&entry)? };
        }
        match std::mem::replace(&mut conn.phase, Phase::Dying { reset: false }) {
            Phase::Leaving(to, bytes) => {
                self.leave(conn, to, bytes);
                return Ok(());
            }
            Phase::Dying { reset: true } => reset_on_close(&conn.fd),
            Phase::Connecting
            | Phase::Open
            | Phase::Ending(_)
            | Phase::Flushing
            | Phase::Lingering
            | Phase::Dying { reset: false } => {}
        }
        self.counters.closed += 1;
        // A descriptor is coming free: those who wait may come in. The accept is submitted after the close.
        self.accept_retry = None;
        let entry = opcode::Close::new(types::Fd(conn.fd.into_raw_fd()))
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(pack(Kind::Close, place));
        // SAFETY: the descriptor was ours alone and is the operation's now.
        unsafe { self.push(&entry) }
    }
}
