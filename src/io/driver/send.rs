//! Sending: one vectored operation a connection and turn, none of which waits, all submitted together.
//!
//! A send that does not wait is over when `io_uring_enter` has taken it. With quiet sends only those post a completion
//! that were not taken whole; so a completion tells that something is left, and its absence that nothing is.

use std::{io, net::SocketAddr, os::fd::AsRawFd, ptr, rc::Rc};

use io_uring::{opcode, squeue, types};

use super::{Io, drop_all};
use crate::{
    ids::{ConnId, SocketId},
    io::{
        addr::RawAddr,
        conns::Phase,
        errno,
        settings::{Feature, Settings},
        token::{Kind, Place, pack, unpack},
    },
    shard::World,
};

/// Parts that one operation may have (`UIO_MAXIOV`).
const PARTS_MAX: usize = 1024;

/// Bytes that one operation may have: far below what the kernel's result can say.
const BYTES_MAX: usize = 1 << 30;

/// Sends are taken whole or tell how much was; they never wait and never raise a signal.
const FLAGS: i32 = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL | libc::MSG_WAITALL;

#[derive(Debug)]
enum Whose {
    Conn {
        place: Place,
        id: ConnId,
    },
    /// Holds the datagram until it is out.
    Datagram(#[expect(dead_code, reason = "kept, not read")] Rc<[u8]>),
}

#[derive(Debug)]
struct Op {
    whose: Whose,
    offered: usize,
    /// The completion's result, if there was one.
    outcome: Option<i32>,
}

/// The sends that were prepared and not settled yet. Nothing in here moves while the kernel may look at it: the lists
/// never grow beyond what they were made with.
#[derive(Debug)]
pub(super) struct Batch {
    ops: Vec<Op>,
    parts: Vec<libc::iovec>,
    headers: Vec<libc::msghdr>,
    addrs: Vec<RawAddr>,
    /// Which batch; late completions of an older one name nobody.
    number: u32,
    /// A connection had more than one operation can carry.
    again: bool,
}

impl Batch {
    pub(super) fn new(settings: &Settings) -> Self {
        let ops = settings.sq_entries as usize;
        Self {
            ops: Vec::with_capacity(ops),
            parts: Vec::with_capacity(settings.iovecs.max(PARTS_MAX)),
            headers: Vec::with_capacity(ops),
            addrs: Vec::with_capacity(ops),
            number: 0,
            again: false,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Whether another operation with as many parts as there can be may not fit.
    fn full(&self) -> bool {
        self.ops.len() == self.ops.capacity()
            || self.parts.capacity() - self.parts.len() < PARTS_MAX
    }

    fn header(
        &mut self,
        first: usize,
        parts: usize,
        to: Option<SocketAddr>,
    ) -> *const libc::msghdr {
        // SAFETY: all-zero bytes are a valid `msghdr`: null pointers and zero lengths.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        if let Some(to) = to {
            self.addrs.push(RawAddr::new(to));
            if let Some(addr) = self.addrs.last() {
                header.msg_name = addr.as_ptr().cast_mut().cast();
                header.msg_namelen = addr.len();
            }
        }
        header.msg_iov = self.parts[first..].as_mut_ptr();
        header.msg_iovlen = parts;
        self.headers.push(header);
        self.headers.last().map_or(ptr::null(), ptr::from_ref)
    }

    fn next_place(&self) -> Place {
        Place {
            slot: u32::try_from(self.ops.len()).unwrap_or(u32::MAX),
            generation: self.number,
        }
    }

    fn clear(&mut self) {
        self.ops.clear();
        self.parts.clear();
        self.headers.clear();
        self.addrs.clear();
        self.number = self.number.wrapping_add(1);
    }
}

fn part(bytes: &[u8]) -> libc::iovec {
    libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    }
}

impl Io {
    /// Step 4 of a turn: prepares a send for each connection that has something, submits where they get too many.
    pub(super) fn send_all<W: World>(&mut self, world: &mut W) -> io::Result<()> {
        loop {
            while let Some(id) = world.outbox().next_dirty() {
                self.prepare(world, id)?;
            }
            if !self.batch.again {
                return Ok(());
            }
            self.flush(world)?;
        }
    }

    fn prepare<W: World>(&mut self, world: &mut W, id: ConnId) -> io::Result<()> {
        if self.batch.full() {
            self.flush(world)?;
        }
        let known = self
            .conns
            .find(id)
            .and_then(|p| Some((p, self.conns.get(p)?)));
        let Some((place, conn)) = known else {
            drop_all(world.outbox(), id);
            return Ok(());
        };
        match conn.phase {
            Phase::Open | Phase::Ending(_) | Phase::Flushing if !conn.polling => {}
            Phase::Open | Phase::Ending(_) | Phase::Flushing | Phase::Connecting => {
                // Not now: it waits until the socket takes bytes.
                let outbox = world.outbox();
                outbox.sent(id, outbox.backlog(id), 0);
                return Ok(());
            }
            Phase::Lingering | Phase::Leaving(..) | Phase::Dying { .. } => {
                drop_all(world.outbox(), id);
                return Ok(());
            }
        }
        let outbox = world.outbox();
        let first = self.batch.parts.len();
        let mut offered = 0;
        for bytes in outbox.gather(id).take(PARTS_MAX) {
            let bytes = bytes.get(..BYTES_MAX - offered).unwrap_or(bytes);
            self.batch.parts.push(part(bytes));
            offered += bytes.len();
            if offered == BYTES_MAX {
                break;
            }
        }
        if offered == 0 {
            return Ok(());
        }
        self.batch.again |= offered < outbox.backlog(id);
        let parts = self.batch.parts.len() - first;
        let name = pack(Kind::Send, self.batch.next_place());
        let entry = if let [only] = self.batch.parts[first..] {
            let (at, len) = (
                only.iov_base.cast(),
                u32::try_from(only.iov_len).unwrap_or(0),
            );
            on_target!(conn, place, fd => opcode::Send::new(fd, at, len).flags(FLAGS).build())
        } else {
            let header = self.batch.header(first, parts, None);
            on_target!(conn, place, fd => opcode::SendMsg::new(fd, header)
                .flags(FLAGS.cast_unsigned())
                .build())
        };
        self.batch.ops.push(Op {
            whose: Whose::Conn { place, id },
            offered,
            outcome: None,
        });
        self.push_send(entry, name)
    }

    /// Prepares one datagram.
    pub(super) fn datagram<W: World>(
        &mut self,
        world: &mut W,
        socket: SocketId,
        to: SocketAddr,
        bytes: Rc<[u8]>,
    ) -> io::Result<()> {
        if self.batch.full() {
            self.flush(world)?;
        }
        let Some(from) = self.listening.get(usize::from(socket.0)) else {
            self.counters.datagrams_unsent += 1;
            return Ok(());
        };
        let fd = types::Fd(from.socket.fd.as_raw_fd());
        let first = self.batch.parts.len();
        self.batch.parts.push(part(&bytes));
        let header = self.batch.header(first, 1, Some(to));
        let name = pack(Kind::Send, self.batch.next_place());
        let entry = opcode::SendMsg::new(fd, header)
            .flags(FLAGS.cast_unsigned())
            .build();
        self.batch.ops.push(Op {
            offered: bytes.len(),
            whose: Whose::Datagram(bytes),
            outcome: None,
        });
        self.push_send(entry, name)
    }

    fn push_send(&mut self, entry: squeue::Entry, name: u64) -> io::Result<()> {
        self.counters.sends += 1;
        let quiet = if self.has(Feature::QuietSends) {
            squeue::Flags::SKIP_SUCCESS
        } else {
            squeue::Flags::empty()
        };
        // SAFETY: header, parts and address lie in the batch, which keeps them where they are until `settle`; the bytes
        // lie in the outbox's arena or spill, in slices that it holds, or in the datagram that the batch holds, and the
        // outbox is told what was sent in `settle` only. The send does not wait, so it is over once submitted.
        unsafe { self.push(&entry.flags(quiet).user_data(name)) }
    }

    /// Submits in the middle of a turn and settles what was sent.
    pub(super) fn flush<W: World>(&mut self, world: &mut W) -> io::Result<()> {
        self.ring.enter(0, None, &mut self.counters)?;
        self.table.clear();
        self.settle(world)
    }

    /// Everything is submitted: takes the completions, and tells the outbox what every send came to.
    pub(super) fn settle<W: World>(&mut self, world: &mut W) -> io::Result<()> {
        self.ring.reap(&mut self.done, &mut self.counters)?;
        self.batch.again = false;
        if self.batch.is_empty() {
            return Ok(());
        }
        let batch = &mut self.batch;
        self.done.retain(|done| {
            let Some((Kind::Send, place)) = unpack(done.name) else {
                return true;
            };
            if place.generation == batch.number
                && let Some(op) = batch.ops.get_mut(place.slot as usize)
            {
                op.outcome = Some(done.result);
            }
            false
        });
        let loud = !self.has(Feature::QuietSends);
        for i in 0..self.batch.ops.len() {
            let op = &self.batch.ops[i];
            let offered = op.offered;
            let outcome = match op.outcome {
                Some(n) => usize::try_from(n).map_err(|_| -n),
                None if loud => {
                    // It did not come to its end when it was submitted: not possible with MSG_DONTWAIT.
                    self.counters.impossible += 1;
                    Err(libc::EINVAL)
                }
                None => Ok(offered),
            };
            match op.whose {
                Whose::Conn { place, id } => self.sent(world, place, id, offered, outcome)?,
                Whose::Datagram(_) => match outcome {
                    Ok(_) => self.counters.datagrams_out += 1,
                    Err(errno) => {
                        self.counters.datagrams_unsent += 1;
                        self.counters.impossible += u64::from(!errno::datagram_dropped(errno));
                    }
                },
            }
        }
        self.batch.clear();
        Ok(())
    }

    fn sent<W: World>(
        &mut self,
        world: &mut W,
        place: Place,
        id: ConnId,
        offered: usize,
        outcome: Result<usize, i32>,
    ) -> io::Result<()> {
        let taken = match outcome.map_err(errno::send) {
            Ok(n) => n.min(offered),
            Err(errno::Send::Again) => 0,
            Err(gone) => {
                self.counters.send_errors += 1;
                self.counters.impossible += u64::from(gone == errno::Send::Impossible);
                self.failed.push(place);
                // Whatever else waits for it goes the same way.
                drop_all(world.outbox(), id);
                return Ok(());
            }
        };
        self.counters.bytes_out += taken as u64;
        world.outbox().sent(id, offered, taken);
        let Some(conn) = self.conns.get_mut(place) else {
            return Ok(());
        };
        if taken > 0 {
            if conn.blocked {
                self.drained.push(id);
            }
            if matches!(conn.phase, Phase::Ending(_) | Phase::Flushing) {
                self.checks.push(place);
            }
        }
        conn.blocked = taken < offered;
        if !conn.blocked {
            return Ok(());
        }
        self.counters.short_sends += 1;
        conn.polling = true;
        let entry = on_target!(conn, place, fd => opcode::PollAdd::new(fd, POLLOUT).build());
        // SAFETY: it points to nothing; the connection holds its descriptor until this has completed.
        unsafe { self.push(&entry.user_data(pack(Kind::Writable, place))) }
    }

    /// The socket takes bytes again, or is broken: the next send will tell.
    pub(super) fn on_writable<W: World>(
        &mut self,
        world: &mut W,
        place: Place,
        _result: i32,
    ) -> io::Result<()> {
        let Some(conn) = self.conns.get_mut(place) else {
            self.counters.late += 1;
            return Ok(());
        };
        conn.polling = false;
        if matches!(conn.phase, Phase::Open | Phase::Ending(_) | Phase::Flushing) {
            world.outbox().writable(conn.id);
        }
        self.finish_if_idle(place)
    }
}

const POLLOUT: u32 = libc::POLLOUT.cast_unsigned() as u32;
