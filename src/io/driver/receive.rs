//! Receiving from connections: which receive is armed when, and what happens when receive memory
//! runs short.

use std::io;

use io_uring::{cqueue, opcode, squeue, types};
use std::os::fd::AsRawFd;

use super::{Io, fair};
use crate::{
    buf::Slice,
    ids::ConnId,
    io::{
        conns::{Phase, Receive},
        errno,
        ring::Done,
        settings::Feature,
        token::{Kind, Place, pack},
    },
    shard::{End, World},
};

/// Connections whose receive is armed again for each buffer that came back: more may find nothing, fewer would idle.
const ARM_PER_BUFFER: usize = 4;

/// Bytes of a connection in a turn that are handed in at once, however long the turn has been: a message of a person.
const LITTLE: usize = 4 << 10;

/// Connections stopped for receive memory that are armed again a turn.
const RELIEVED_A_TURN: usize = 4;

impl Io {
    /// Has the end of the turn look at whether `place` needs a receive.
    pub(super) fn list(&mut self, place: Place) {
        if let Some(conn) = self.conns.get_mut(place)
            && !conn.listed
        {
            conn.listed = true;
            self.to_arm.push(place);
        }
    }

    /// Arms what is listed. What somebody who brings much has brought is sent before he brings more: its receivers begin
    /// sooner, and its buffer is free, so that two of them go round and not three (`perf/budget.md`).
    pub(super) fn arm_listed<W: World>(&mut self, world: &mut W) -> io::Result<()> {
        if !self.batch.is_empty() && self.to_arm.iter().any(|&place| self.is_bulk(place)) {
            self.flush(world)?;
            self.give_back();
        }
        if !(self.starved.is_empty() && self.pressed.is_empty()) {
            self.give_back();
            self.let_in();
        }
        self.streams.supply();
        self.datagrams.supply();
        let mut list = std::mem::take(&mut self.to_arm);
        for place in list.drain(..) {
            self.arm(world, place)?;
        }
        self.to_arm = list;
        self.arm_sockets()
    }

    fn is_bulk(&self, place: Place) -> bool {
        self.conns.get(place).is_some_and(|conn| conn.bulk)
    }

    fn arm<W: World>(&mut self, world: &W, place: Place) -> io::Result<()> {
        let Some(conn) = self.conns.get_mut(place) else {
            return Ok(());
        };
        conn.listed = false;
        if conn.receive != Receive::Idle || conn.stops.any() || conn.end.is_some() {
            return Ok(());
        }
        let many = match conn.phase {
            Phase::Open => !conn.signalling && !conn.bulk && world.settled(conn.id),
            // To drop what still comes, and to see the peer's end.
            Phase::Flushing | Phase::Lingering => false,
            Phase::Connecting | Phase::Ending(_) | Phase::Leaving(..) | Phase::Dying { .. } => {
                return Ok(());
            }
        };
        conn.receive = if many {
            Receive::Multi
        } else {
            Receive::Single
        };
        let enter_table = many && !conn.fixed && self.post.features.has(Feature::FixedFiles);
        if enter_table {
            conn.fixed = true;
            let fd = conn.fd.as_raw_fd();
            self.put_in_table(place, fd)?;
        }
        let Some(conn) = self.conns.get(place) else {
            return Ok(());
        };
        let group = self.streams.group();
        let share = if conn.signalling {
            self.post.settings.signalling_bytes
        } else {
            self.heavy.share(&self.post.settings)
        };
        let entry = if many {
            on_target!(conn, place, fd => opcode::RecvMulti::new(fd, group).build())
        } else {
            on_target!(conn, place, fd => opcode::Recv::new(fd, std::ptr::null_mut(), share)
                .buf_group(group)
                .build()
                .flags(squeue::Flags::BUFFER_SELECT))
        };
        // SAFETY: it points to nothing; the buffers are the ring's, which outlive every receive (`Drop for Io`), and the
        // descriptor is held by the connection, which stays until this has completed.
        unsafe { self.push(&entry.user_data(pack(Kind::Receive, place))) }
    }

    /// Puts a connection's descriptor at its slot of the ring's file table.
    fn put_in_table(&mut self, place: Place, fd: i32) -> io::Result<()> {
        if self.table.len() == self.table.capacity() {
            self.ring.enter(0, None, &mut self.counters)?;
            self.table.clear();
        }
        self.table.push(fd);
        let cell = self
            .table
            .last()
            .map_or(std::ptr::null(), std::ptr::from_ref);
        let entry = opcode::FilesUpdate::new(cell, 1)
            .offset(place.slot.cast_signed())
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(pack(Kind::Files, place));
        // SAFETY: the cell stays: the list never grows beyond its capacity and is cleared after submitting only.
        unsafe { self.push(&entry) }
    }

    /// Stops the receive of `place`, if one is in flight. What still arrives is accepted.
    pub(super) fn stop(&mut self, place: Place) -> io::Result<()> {
        match self.conns.get_mut(place) {
            Some(conn) if matches!(conn.receive, Receive::Single | Receive::Multi) => {
                conn.receive = Receive::Stopping;
                self.cancel(Kind::Receive, place)
            }
            _ => Ok(()),
        }
    }

    pub(super) fn on_receive<W: World>(
        &mut self,
        world: &mut W,
        place: Place,
        done: Done,
    ) -> io::Result<()> {
        let bytes = u32::try_from(done.result).unwrap_or(0);
        // The buffer is accounted for first, whoever it was for: if nobody takes the slice it goes back.
        let slice = cqueue::buffer_select(done.flags).map(|id| {
            let more = cqueue::buffer_more(done.flags);
            self.streams.received(id, bytes, more, place)
        });
        let Some(conn) = self.conns.get_mut(place) else {
            self.counters.late += 1;
            return Ok(());
        };
        if slice.is_some() {
            conn.pinned = conn.pinned.saturating_add(bytes);
        }
        if !cqueue::more(done.flags) {
            if conn.receive == Receive::Single && !cqueue::sock_nonempty(done.flags) {
                conn.bulk = false;
            }
            conn.receive = Receive::Idle;
            self.list(place);
        }
        match (slice, done.result) {
            (Some(slice), 1..) => {
                self.counters.receives += 1;
                self.counters.bytes_in += u64::from(bytes);
                self.take_in(world, place, slice)?;
            }
            (None, 1..) => {
                self.counters.impossible += 1;
                self.peer_ended(world, place, End::Reset)?;
            }
            (_, 0) => self.peer_ended(world, place, End::Closed)?,
            (_, error) => match errno::receive(-error) {
                errno::Receive::NoBuffer => {
                    self.counters.enobufs += 1;
                    if let Some(conn) = self.conns.get_mut(place)
                        && !std::mem::replace(&mut conn.stops.starved, true)
                    {
                        self.starved.push_back(place);
                    }
                }
                errno::Receive::Cancelled | errno::Receive::Again => {}
                errno::Receive::Gone => self.peer_ended(world, place, End::Reset)?,
                errno::Receive::Impossible => {
                    self.counters.impossible += 1;
                    self.peer_ended(world, place, End::Reset)?;
                }
            },
        }
        self.finish_if_idle(place)
    }

    /// Bytes of a connection, in order: what is within its share of the turn goes to the world, the rest waits.
    fn take_in<W: World>(&mut self, world: &mut W, place: Place, slice: Slice) -> io::Result<()> {
        let settings = &self.post.settings;
        let Some(conn) = self.conns.get_mut(place) else {
            return Ok(());
        };
        match &mut conn.phase {
            Phase::Open => {}
            Phase::Leaving(_, bytes) => {
                bytes.extend_from_slice(&slice);
                return Ok(());
            }
            Phase::Connecting
            | Phase::Ending(_)
            | Phase::Flushing
            | Phase::Lingering
            | Phase::Dying { .. } => return Ok(()),
        }
        if conn.signalling {
            self.wait_to_be_heard(place, slice);
            return Ok(());
        }
        if conn.turn != self.turn {
            (conn.turn, conn.taken) = (self.turn, 0);
        }
        if conn.taken as usize + slice.len() < settings.fair_bytes as usize && !conn.bulk {
            self.heavy.light(place, self.now);
        }
        let (taken, most) = (conn.taken, conn.most);
        let room = if !conn.queue.is_empty() || conn.stops.paused {
            0
        } else if taken as usize + slice.len() <= LITTLE {
            slice.len()
        } else if self.turn_is_long() {
            self.counters.late_turns += 1;
            0
        } else {
            let share = self.heavy.share_of(settings, taken).min(most);
            share.saturating_sub(taken) as usize
        };
        let Some(conn) = self.conns.get_mut(place) else {
            return Ok(());
        };
        let now = room.min(slice.len());
        let later = slice.len() - now;
        let id = conn.id;
        let before = conn.taken;
        conn.taken += u32::try_from(now).unwrap_or(u32::MAX);
        self.heavy.count(settings, before, conn.taken);
        let mut overrun = false;
        if later > 0 {
            self.counters.deferred += 1;
            conn.queue.push_back(slice.part(now, slice.len()));
            conn.queued += u32::try_from(later).unwrap_or(u32::MAX);
            overrun = conn.queued > settings.queued_bytes;
            conn.stops.behind |= overrun;
            // Where each receive takes a buffer of its own, those are too small for that.
            conn.bulk |= overrun && self.post.features.has(Feature::Incremental);
            self.wait_in_turn(place);
        }
        if now > 0 {
            let first = if later == 0 {
                slice
            } else {
                slice.part(0, now)
            };
            self.hand_in(world, place, id, first);
        }
        if overrun { self.stop(place) } else { Ok(()) }
    }

    /// Has the next turn hand in what waits of a connection, unless it is paused: then that waits until it is resumed.
    pub(super) fn wait_in_turn(&mut self, place: Place) {
        if self.conns.get(place).is_some_and(|c| c.signalling) {
            self.line_up(place);
        } else if let Some(conn) = self.conns.get_mut(place)
            && !conn.queue.is_empty()
            && !conn.stops.paused
            && !std::mem::replace(&mut conn.waiting, true)
        {
            self.rotation.push_back(place);
        }
    }

    /// Whether this turn has worked for so long that those who bring much wait for the next.
    fn turn_is_long(&self) -> bool {
        self.post.clock.now().since(self.now) >= self.post.settings.turn
    }

    /// Hands in bytes, and sees what they cost: where each byte is dear, as with chunks of a byte, fewer are a share.
    fn hand_in<W: World>(&mut self, world: &mut W, place: Place, id: ConnId, bytes: Slice) {
        let n = bytes.len();
        if n <= LITTLE {
            world.received(self.now, id, bytes);
            return;
        }
        let began = self.post.clock.now();
        world.received(self.now, id, bytes);
        let took = self.post.clock.now().since(began);
        if let Some(conn) = self.conns.get_mut(place) {
            conn.most = fair::affordable(n, took);
        }
    }

    /// Hands in what waited for this turn, each connection's share in rotation.
    pub(super) fn rotate<W: World>(&mut self, world: &mut W) -> io::Result<()> {
        for _ in 0..self.rotation.len() {
            let Some(place) = self.rotation.pop_front() else {
                break;
            };
            let Some(conn) = self.conns.get_mut(place) else {
                continue;
            };
            if conn.stops.paused {
                conn.waiting = false;
                continue;
            }
            if self.turn_is_long() {
                self.counters.late_turns += 1;
                self.rotation.push_front(place);
                break;
            }
            let Some(conn) = self.conns.get_mut(place) else {
                continue;
            };
            (conn.turn, conn.taken) = (self.turn, 0);
            let most = conn.most;
            let share = self.heavy.share_of(&self.post.settings, 0).min(most) as usize;
            let mut room = share;
            while room > 0
                && let Some(conn) = self.conns.get_mut(place)
                && let Some(front) = conn.queue.front_mut()
            {
                let n = front.len().min(room);
                let part = front.part(0, n);
                if n == front.len() {
                    conn.queue.pop_front();
                } else {
                    *front = front.part(n, front.len());
                }
                room -= n;
                conn.queued -= u32::try_from(n).unwrap_or(u32::MAX);
                let id = conn.id;
                self.hand_in(world, place, id, part);
            }
            let Some(conn) = self.conns.get_mut(place) else {
                continue;
            };
            conn.taken = u32::try_from(share - room).unwrap_or(u32::MAX);
            self.heavy.count(&self.post.settings, 0, conn.taken);
            if conn.queue.is_empty() {
                conn.waiting = false;
                conn.stops.behind = false;
                let end = conn.end;
                self.list(place);
                if let Some(end) = end {
                    self.peer_ended(world, place, end)?;
                }
            } else {
                self.rotation.push_back(place);
            }
        }
        Ok(())
    }

    /// Frees the buffers that nobody holds any more, and lets those receive again that waited for them.
    pub(super) fn give_back(&mut self) {
        let conns = &mut self.conns;
        self.streams.give_back(|place, bytes| {
            if let Some(conn) = conns.get_mut(place) {
                conn.pinned = conn.pinned.saturating_sub(bytes);
            }
        });
        let free = self.streams.available() * ARM_PER_BUFFER;
        for _ in 0..free.min(self.starved.len()) {
            if let Some(place) = self.starved.pop_front() {
                if let Some(conn) = self.conns.get_mut(place) {
                    conn.stops.starved = false;
                }
                self.list(place);
            }
        }
        self.datagrams.give_back(|_, _| {});
    }

    /// Tells the world when receive memory is short, stops whoever pins most above three quarters, and lets the stopped
    /// receive again, a few a turn, once half is free.
    pub(super) fn relieve<W: World>(&mut self, world: &mut W) -> io::Result<()> {
        let (pinned, total) = (self.streams.pinned(), self.streams.total());
        let short = pinned * 2 > total;
        // As long as it is short, each turn: what the world could not copy out a turn ago it may be able to now, and with all that
        // pin it stopped nothing else would change.
        if short || (pinned != self.pinned_told && self.pinned_told * 2 > total) {
            world.pressure(self.now, pinned, total);
            if short {
                self.conns.copy_paused_out();
            }
        }
        self.pinned_told = pinned;
        if pinned * 4 > total * 3 {
            let most = self
                .conns
                .iter()
                .filter(|(_, c)| c.pinned > 0 && !c.stops.pressed && matches!(c.phase, Phase::Open))
                .max_by_key(|(_, c)| c.pinned)
                .map(|(place, _)| place);
            if let Some(place) = most
                && let Some(conn) = self.conns.get_mut(place)
            {
                conn.stops.pressed = true;
                self.pressed.push_back(place);
                self.counters.pressed += 1;
                self.stop(place)?;
            }
        }
        self.let_in();
        Ok(())
    }

    /// Lets some of those that were stopped for receive memory receive again, once half of it is free.
    fn let_in(&mut self) {
        if self.streams.pinned() * 2 > self.streams.total() {
            return;
        }
        for _ in 0..RELIEVED_A_TURN.min(self.pressed.len()) {
            if let Some(place) = self.pressed.pop_front() {
                if let Some(conn) = self.conns.get_mut(place) {
                    conn.stops.pressed = false;
                }
                self.list(place);
            }
        }
    }

    /// Whether more of those that wait for receive memory could receive now: then the next turn comes at once.
    pub(super) fn may_receive_again(&self) -> bool {
        let (pinned, total) = (self.streams.pinned(), self.streams.total());
        (!self.starved.is_empty() && pinned < total)
            || (!self.pressed.is_empty() && pinned * 2 <= total)
    }
}
