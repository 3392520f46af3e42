//! A small io_uring reactor of the baseline's own: multishot accept and receive with provided buffers, vectored sends straight
//! from what was received. It knows connections by number and bytes by [`Piece`]; who gets what is not its business. One of
//! two files of this tool with `unsafe` (`arrival` is the other): the kernel's interface is pointers.
//!
//! # Who owns what while the kernel works
//!
//! A buffer is offered to the kernel, or held by pieces, or free. It is offered only when no piece of it is left, and a send
//! in flight keeps its pieces until the kernel has said that it is done. Buffers and the table of what is offered are never
//! given back to the allocator, so the kernel cannot write into anything else, whenever the ring goes.
//!
//! The buffer that was freed last is offered first, and few are offered at a time (more once the kernel asks for more), so
//! that what is written into is warm.
#![allow(
    unsafe_code,
    reason = "the kernel's interface: ring, buffers, descriptors"
)]

use std::{
    cell::RefCell,
    io,
    mem::ManuallyDrop,
    net::TcpStream,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    rc::Rc,
    sync::atomic::{AtomicU16, Ordering},
};

use io_uring::{
    IoUring, cqueue, opcode, squeue,
    types::{BufRingEntry, Fd},
};

/// What one receive may bring.
const BUFFER_BYTES: u32 = 64 * 1024;
/// The table of offered buffers; a power of two.
const OFFERS: u16 = 512;
/// Buffers offered until the kernel asks for more.
const OFFERED_FIRST: u16 = 8;
/// Buffers at most, 256 MiB: what receivers do not take waits in them.
const BUFFERS_MAX: u16 = 4096;
const GROUP: u16 = 0;
const SQ_ENTRIES: u32 = 1024;
const CQ_ENTRIES: u32 = 16 * 1024;
/// Pieces that one send takes.
pub(super) const PIECES_MAX: usize = 64;
const PAGE: usize = 4096;

/// What the kernel has done.
pub(super) enum Done {
    /// A connection has come. `more` will come without being asked for again.
    Accepted {
        token: u32,
        stream: Option<TcpStream>,
        more: bool,
    },
    /// Bytes have come. `more` will come without being asked for again.
    Received {
        token: u32,
        piece: Piece,
        more: bool,
    },
    /// There was no buffer: receiving has ended, nothing is lost.
    Starved { token: u32 },
    /// Receiving has ended: the peer's end, an error, or as asked.
    Ended { token: u32, asked: bool },
    /// A send has ended; what it did not take is in `rest`. An error takes nothing.
    Sent {
        token: u32,
        result: io::Result<()>,
        rest: Vec<Piece>,
    },
}

/// Bytes that were received. A clone is another holder of the same bytes.
#[derive(Clone)]
pub(super) struct Piece {
    buffer: Rc<Buffer>,
    from: u32,
    len: u32,
}

impl Piece {
    pub(super) fn len(&self) -> usize {
        self.len as usize
    }
}

/// A buffer that is out of the kernel's hands; free again when its last holder lets go.
struct Buffer {
    id: u16,
    at: *mut u8,
    free: Rc<RefCell<Vec<u16>>>,
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.free.borrow_mut().push(self.id);
    }
}

/// What the kernel reads of a send.
struct Sending {
    pieces: Vec<Piece>,
    vectors: Vec<libc::iovec>,
    header: libc::msghdr,
}

/// The reactor.
pub(super) struct Uring {
    ring: IoUring,
    /// The table of offered buffers: [`OFFERS`] entries from the first page on.
    offers: *mut BufRingEntry,
    /// Its end, as the kernel sees it.
    tail: u16,
    offered: u16,
    offered_most: u16,
    /// The memory, by the number of the buffer.
    buffers: ManuallyDrop<Vec<Vec<u8>>>,
    /// Numbers of free ones, the last freed at the end.
    free: Rc<RefCell<Vec<u16>>>,
    /// Sends in flight, by token.
    sends: Vec<Option<Box<Sending>>>,
    completions: Vec<(u64, i32, u32)>,
}

const ACCEPT: u64 = 1 << 32;
const RECEIVE: u64 = 2 << 32;
const SEND: u64 = 3 << 32;
const CANCEL: u64 = 4 << 32;

impl Uring {
    pub(super) fn new() -> io::Result<Self> {
        let ring = IoUring::builder()
            .setup_cqsize(CQ_ENTRIES)
            .setup_submit_all()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .build(SQ_ENTRIES)?;
        let table = vec![0_u8; usize::from(OFFERS) * size_of::<BufRingEntry>() + PAGE];
        // Kept for good: see the head of this file.
        let table = table.leak();
        let to_page = table.as_ptr().align_offset(PAGE);
        let offers = table[to_page..].as_mut_ptr().cast::<BufRingEntry>();
        // SAFETY: the table has room for OFFERS entries from a page's beginning on, and is never freed.
        unsafe {
            ring.submitter()
                .register_buf_ring_with_flags(offers as u64, OFFERS, GROUP, 0)?;
        }
        Ok(Self {
            ring,
            offers,
            tail: 0,
            offered: 0,
            offered_most: OFFERED_FIRST,
            buffers: ManuallyDrop::new(Vec::new()),
            free: Rc::default(),
            sends: Vec::new(),
            completions: Vec::new(),
        })
    }

    /// Takes connections from now on.
    pub(super) fn accept(&mut self, listener: &impl AsRawFd, token: u32) -> io::Result<()> {
        let op = opcode::AcceptMulti::new(Fd(listener.as_raw_fd())).flags(libc::SOCK_CLOEXEC);
        self.push(&op.build().user_data(ACCEPT | u64::from(token)))
    }

    /// Receives from now on, until that ends.
    pub(super) fn receive(&mut self, stream: &TcpStream, token: u32) -> io::Result<()> {
        let op = opcode::RecvMulti::new(Fd(stream.as_raw_fd()), GROUP);
        self.push(&op.build().user_data(RECEIVE | u64::from(token)))
    }

    /// Asks for the end of receiving.
    pub(super) fn stop_receiving(&mut self, token: u32) -> io::Result<()> {
        let op = opcode::AsyncCancel::new(RECEIVE | u64::from(token));
        self.push(&op.build().user_data(CANCEL))
    }

    /// Sends `pieces`, at most [`PIECES_MAX`], one after another. One send a connection at a time.
    ///
    /// # Panics
    /// If one is in flight already: its memory is the kernel's.
    pub(super) fn send(
        &mut self,
        stream: &TcpStream,
        token: u32,
        pieces: Vec<Piece>,
    ) -> io::Result<()> {
        let at = token as usize;
        if self.sends.len() <= at {
            self.sends.resize_with(at + 1, || None);
        }
        assert!(self.sends[at].is_none(), "one send a connection at a time");
        let vectors = pieces
            .iter()
            .map(|p| libc::iovec {
                // SAFETY: a piece lies within its buffer.
                iov_base: unsafe { p.buffer.at.add(p.from as usize) }.cast(),
                iov_len: p.len(),
            })
            .collect();
        let mut sending = Box::new(Sending {
            pieces,
            vectors,
            // SAFETY: a header of zeros is a valid one: no name, no vectors, no control data.
            header: unsafe { std::mem::zeroed() },
        });
        sending.header.msg_iov = sending.vectors.as_mut_ptr();
        sending.header.msg_iovlen = sending.vectors.len();
        // With MSG_WAITALL the kernel itself goes on after a short write.
        let flags = (libc::MSG_WAITALL | libc::MSG_NOSIGNAL).cast_unsigned();
        let op =
            opcode::SendMsg::new(Fd(stream.as_raw_fd()), &raw const sending.header).flags(flags);
        let entry = op.build().user_data(SEND | u64::from(token));
        self.sends[at] = Some(sending);
        self.push(&entry)
    }

    /// Whether the kernel has buffers to receive into.
    pub(super) fn has_offers(&self) -> bool {
        self.offered > 0
            || !self.free.borrow().is_empty()
            || self.buffers.len() < usize::from(BUFFERS_MAX)
    }

    /// Submits what was asked for, waits until something is done, and appends it to `done`.
    pub(super) fn turn(&mut self, done: &mut Vec<Done>) -> io::Result<()> {
        self.offer();
        match self.ring.submit_and_wait(1) {
            Ok(_) => {}
            Err(e) if matches!(e.raw_os_error(), Some(libc::EINTR | libc::EBUSY)) => {}
            Err(e) => return Err(e),
        }
        let mut completions = std::mem::take(&mut self.completions);
        let all = self.ring.completion();
        completions.extend(all.map(|c| (c.user_data(), c.result(), c.flags())));
        for (name, result, flags) in completions.drain(..) {
            // The lower half is the token.
            let token = u32::try_from(name & u64::from(u32::MAX)).unwrap_or(0);
            match name & !u64::from(u32::MAX) {
                ACCEPT => done.push(Self::accepted(token, result, flags)?),
                RECEIVE => {
                    let it = self.received(token, result, flags);
                    done.push(it);
                }
                SEND => done.extend(self.sent(token, result)),
                // What was cancelled says so itself.
                _ => {}
            }
        }
        self.completions = completions;
        Ok(())
    }

    fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        loop {
            // SAFETY: what the entry points to is kept by `sends` until its completion, or is a descriptor.
            if unsafe { self.ring.submission().push(entry) }.is_ok() {
                return Ok(());
            }
            self.ring.submit()?;
        }
    }

    fn accepted(token: u32, result: i32, flags: u32) -> io::Result<Done> {
        let stream = match result {
            // SAFETY: the kernel has just made this descriptor for us; nobody else has it.
            0.. => Some(unsafe { OwnedFd::from_raw_fd(result) }.into()),
            // It has gone again before we had it.
            _ if result == -libc::ECONNABORTED => None,
            // Out of descriptors, most of all: a baseline that lost connections would be none.
            _ => return Err(io::Error::from_raw_os_error(-result)),
        };
        Ok(Done::Accepted {
            token,
            stream,
            more: cqueue::more(flags),
        })
    }

    fn received(&mut self, token: u32, result: i32, flags: u32) -> Done {
        let piece = cqueue::buffer_select(flags).map(|id| {
            self.offered -= 1;
            Piece {
                buffer: Rc::new(Buffer {
                    id,
                    at: self.buffers[usize::from(id)].as_mut_ptr(),
                    free: Rc::clone(&self.free),
                }),
                from: 0,
                len: result.max(0).cast_unsigned(),
            }
        });
        match (result, piece) {
            (1.., Some(piece)) => Done::Received {
                token,
                piece,
                more: cqueue::more(flags),
            },
            _ if result == -libc::ENOBUFS => {
                self.offered_most = (self.offered_most * 2).min(OFFERS);
                Done::Starved { token }
            }
            _ => Done::Ended {
                token,
                asked: result == -libc::ECANCELED,
            },
        }
    }

    fn sent(&mut self, token: u32, result: i32) -> Option<Done> {
        let mut sending = self.sends.get_mut(token as usize)?.take()?;
        let mut taken = result.max(0).cast_unsigned();
        let mut rest = Vec::new();
        for mut piece in sending.pieces.drain(..) {
            let of_it = taken.min(piece.len);
            taken -= of_it;
            piece.from += of_it;
            piece.len -= of_it;
            if piece.len > 0 {
                rest.push(piece);
            }
        }
        Some(Done::Sent {
            token,
            result: if result < 0 {
                Err(io::Error::from_raw_os_error(-result))
            } else {
                Ok(())
            },
            rest,
        })
    }

    /// Offers free buffers, the warmest first, and makes more while there may be more.
    fn offer(&mut self) {
        let before = self.tail;
        while self.offered < self.offered_most {
            let free = self.free.borrow_mut().pop();
            let Some(id) = free.or_else(|| self.make()) else {
                break;
            };
            let at = usize::from(self.tail & (OFFERS - 1));
            // SAFETY: the table has OFFERS entries. The kernel reads this one only once the tail is behind it.
            let entry = unsafe { &mut *self.offers.add(at) };
            entry.set_addr(self.buffers[usize::from(id)].as_mut_ptr() as u64);
            entry.set_len(BUFFER_BYTES);
            entry.set_bid(id);
            self.tail = self.tail.wrapping_add(1);
            self.offered += 1;
        }
        if self.tail != before {
            // SAFETY: the tail lies within the table's first entry, aligned; the kernel only reads it.
            let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(self.offers).cast_mut()) };
            tail.store(self.tail, Ordering::Release);
        }
    }

    /// A new buffer's number. Its memory is not touched before the kernel does.
    fn make(&mut self) -> Option<u16> {
        let id = u16::try_from(self.buffers.len())
            .ok()
            .filter(|id| *id < BUFFERS_MAX)?;
        self.buffers.push(vec![0; BUFFER_BYTES as usize]);
        Some(id)
    }
}
