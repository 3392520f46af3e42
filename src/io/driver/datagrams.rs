//! Datagrams: a buffer of the ring each, its source in front of it. There are never more than there are buffers for them; the
//! others wait in the socket.

use std::net::SocketAddr;

use io_uring::cqueue;

use super::Io;
use crate::{
    buf::Slice,
    ids::SocketId,
    io::{addr::RawAddr, errno, ring::Done, token::Place},
};

/// Bytes of the kernel's header in front of a received datagram (`struct io_uring_recvmsg_out`: lengths of name, control
/// data and payload, and flags), then the name in a field of fixed size.
const HEADER: usize = 16;
const PAYLOAD: usize = HEADER + RawAddr::SIZE;

/// One that has been received.
pub(super) struct Datagram {
    pub(super) socket: SocketId,
    pub(super) from: SocketAddr,
    pub(super) payload: Slice,
}

/// What the receives ask for: the source's address, no control data.
pub(super) fn header() -> Box<libc::msghdr> {
    // SAFETY: all-zero bytes are a valid `msghdr`.
    let mut header: Box<libc::msghdr> = Box::new(unsafe { std::mem::zeroed() });
    header.msg_namelen = u32::try_from(RawAddr::SIZE).unwrap_or(0);
    header
}

impl Io {
    pub(super) fn on_datagram(&mut self, place: Place, done: Done) {
        if !cqueue::more(done.flags)
            && let Some(it) = self.listening.get_mut(place.slot as usize)
        {
            it.armed = false;
        }
        let bytes = u32::try_from(done.result).unwrap_or(0);
        let slice = cqueue::buffer_select(done.flags)
            .map(|id| self.datagrams.received(id, bytes, false, place));
        if done.result < 0 {
            match errno::receive(-done.result) {
                errno::Receive::NoBuffer => self.counters.enobufs += 1,
                errno::Receive::Cancelled | errno::Receive::Again => {}
                errno::Receive::Gone => self.counters.datagram_errors += 1,
                errno::Receive::Impossible => {
                    self.counters.datagram_errors += 1;
                    self.counters.impossible += 1;
                }
            }
            return;
        }
        let Some(slice) = slice else {
            self.counters.impossible += 1;
            return;
        };
        let field = |at: usize| Some(u32::from_ne_bytes(*slice.get(at..)?.first_chunk()?));
        let (Some(name), Some(flags)) = (field(0), field(12)) else {
            self.counters.impossible += 1;
            return;
        };
        if flags & libc::MSG_TRUNC.cast_unsigned() != 0 {
            self.counters.datagrams_truncated += 1;
            return;
        }
        let from = slice
            .get(HEADER..HEADER + (name as usize).min(RawAddr::SIZE))
            .and_then(RawAddr::parse);
        let Some(from) = from.filter(|_| slice.len() >= PAYLOAD) else {
            self.counters.datagrams_strange += 1;
            return;
        };
        self.counters.datagrams_in += 1;
        let payload = slice.part(PAYLOAD, slice.len());
        self.counters.bytes_in += payload.len() as u64;
        let socket = SocketId(u8::try_from(place.slot).unwrap_or(u8::MAX));
        self.unheard.push_back(Datagram {
            socket,
            from,
            payload,
        });
    }
}
