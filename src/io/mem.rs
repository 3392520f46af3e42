//! Receive memory: buffers that the kernel writes, handed out as counted read-only slices.
//!
//! A buffer belongs to the kernel until a completion says which bytes it has written; those, and no others, may be
//! referred to. In an incremental ring the kernel goes on writing behind them, so a reference to a whole buffer is never
//! made. A buffer that the kernel has filled is free once nobody holds a slice of it any more.
//!
//! The kernel takes buffers in the order in which they were offered. So only as many are offered as a turn needs, and of the
//! free ones the last used first: a shard goes over the same few again and again, which lie in the cache, and what it never
//! needed takes no memory.

use std::{
    cell::Cell,
    io,
    ptr::{self, NonNull},
    rc::Rc,
    sync::atomic::{AtomicU16, Ordering},
};

use io_uring::{IoUring, types::BufRingEntry};

use super::token::Place;
use crate::buf::{Region, Slice};

/// `IOU_PBUF_RING_INC` of the kernel's interface.
const PBUF_RING_INC: u16 = 2;

/// Anonymous memory of the system, zeroed, page-aligned; given back when the last holder is gone.
#[derive(Debug)]
struct Map {
    at: NonNull<u8>,
    len: usize,
}

impl Map {
    fn new(len: usize) -> io::Result<Self> {
        // SAFETY: a fresh anonymous mapping at a place of the kernel's choice; nothing else is touched.
        let at = unsafe {
            libc::mmap(
                ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let at = NonNull::new(at.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { at, len })
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new` with this length; no slice of it is left, as each holds an `Rc` of it,
        // and a ring that was given it has been unregistered or closed ([`BufferRing`]'s drop).
        unsafe { libc::munmap(self.at.as_ptr().cast(), self.len) };
    }
}

/// One receive buffer.
#[derive(Debug)]
struct Buffer {
    map: Rc<Map>,
    /// Where in the map it begins.
    offset: usize,
    /// Bytes that the kernel has written, from the start, and will not write again before the buffer is given back.
    received: Cell<u32>,
}

impl Buffer {
    /// Bytes that the kernel has written, for a slice that holds this buffer.
    fn lend(&self, start: u32, len: u32) -> &'static [u8] {
        let end = start.checked_add(len).expect("a range within the buffer");
        assert!(end <= self.received.get(), "only received bytes are read");
        // SAFETY: the range lies in the mapping (received <= the buffer's size), was written by the kernel before the
        // completion that raised `received`, and is not written again while a handle beside the ring's is held: a buffer
        // is given back to the kernel only when its ring holds the one remaining handle. It is not 'static; whoever asks
        // puts it into a slice that holds such a handle and hands it out for its own life only.
        unsafe {
            std::slice::from_raw_parts(
                self.map.at.as_ptr().add(self.offset + start as usize),
                len as usize,
            )
        }
    }
}

impl Region for Buffer {
    fn bytes(&self, start: usize, len: usize) -> &[u8] {
        let of = |n: usize| u32::try_from(n).expect("a range within the buffer");
        self.lend(of(start), of(len))
    }

    fn pinned(&self) -> bool {
        true
    }

    fn joined(&self, first: &'static [u8], second: &'static [u8]) -> Option<&'static [u8]> {
        let base = self.map.at.as_ptr() as usize + self.offset;
        let start = u32::try_from((first.as_ptr() as usize).checked_sub(base)?).ok()?;
        let adjacent = first.as_ptr_range().end == second.as_ptr();
        let len = u32::try_from(first.len() + second.len()).ok()?;
        adjacent.then(|| self.lend(start, len))
    }
}

/// Who received how much into a buffer.
#[derive(Clone, Copy, Debug)]
struct Share {
    whose: Place,
    bytes: u32,
}

/// Bytes of buffers that are offered to the kernel at least, two buffers if that is more: what a turn with few connections
/// takes, and as much again.
const FEW_BYTES: u32 = 512 << 10;

/// Turns after which it is asked whether fewer buffers would have done.
const WINDOW: u32 = 1024;

/// How many buffers are offered: more at once where a turn takes most of them, fewer once none has for a while.
#[derive(Debug)]
struct Need {
    few: usize,
    total: usize,
    want: usize,
    /// The fewest that were left over of late, and for how many turns that has been watched.
    left: usize,
    turns: u32,
}

impl Need {
    fn new(total: usize, size: u32) -> Self {
        let few = (FEW_BYTES.div_ceil(size) as usize).max(2).min(total);
        Self {
            few,
            total,
            want: few,
            left: usize::MAX,
            turns: 0,
        }
    }

    /// A turn has left `offered` buffers with the kernel. Returns how many should be there.
    fn after(&mut self, offered: usize) -> usize {
        self.left = self.left.min(offered);
        self.turns += 1;
        if offered * 4 <= self.want {
            self.want = (self.want * 2).min(self.total);
        } else if self.turns >= WINDOW && self.left * 4 >= self.want * 3 {
            self.want = (self.want / 2).max(self.few);
        } else if self.turns < WINDOW {
            return self.want;
        }
        (self.left, self.turns) = (usize::MAX, 0);
        self.want
    }
}

/// Buffers that the kernel takes from as bytes arrive.
#[derive(Debug)]
pub(super) struct BufferRing {
    group: u16,
    incremental: bool,
    size: u32,
    /// The entries that the kernel reads; shared memory.
    entries: Rc<Map>,
    tail: u16,
    buffers: Vec<Rc<Buffer>>,
    shares: Vec<Vec<Share>>,
    /// Buffers that the kernel may write to now.
    offered: usize,
    /// Buffers that nobody holds and that are not offered, the last used last.
    free: Vec<u16>,
    /// Buffers that the kernel has done with and that are still held, or were when last looked at.
    retired: Vec<u16>,
    need: Need,
    registered: bool,
}

impl BufferRing {
    /// Registers `count` buffers (a power of two) of `size` bytes each under `group`.
    ///
    /// # Errors
    /// `EINVAL`: the kernel knows no such ring; `ENOMEM`: no memory, or more than may be locked.
    pub(super) fn register(
        ring: &IoUring,
        group: u16,
        (count, size): (u16, u32),
        incremental: bool,
    ) -> io::Result<Self> {
        assert!(
            count.is_power_of_two(),
            "the kernel asks for a power of two"
        );
        let map = Rc::new(Map::new(usize::from(count) * size as usize)?);
        let entries = Rc::new(Map::new(usize::from(count) * size_of::<BufRingEntry>())?);
        let buffers = (0..usize::from(count))
            .map(|i| {
                Rc::new(Buffer {
                    map: Rc::clone(&map),
                    offset: i * size as usize,
                    received: Cell::new(0),
                })
            })
            .collect();
        let flags = if incremental { PBUF_RING_INC } else { 0 };
        // SAFETY: `entries` is page-aligned, large enough for `count` entries, and lives until the ring is unregistered
        // (our drop, or the driver's, which closes the ring first).
        unsafe {
            ring.submitter().register_buf_ring_with_flags(
                entries.at.as_ptr() as u64,
                count,
                group,
                flags,
            )?;
        }
        let mut this = Self {
            group,
            incremental,
            size,
            entries,
            tail: 0,
            buffers,
            shares: (0..count).map(|_| Vec::with_capacity(8)).collect(),
            offered: 0,
            free: (0..count).rev().collect(),
            retired: Vec::with_capacity(usize::from(count)),
            need: Need::new(usize::from(count), size),
            registered: true,
        };
        this.offer_up_to(this.need.want);
        Ok(this)
    }

    pub(super) fn group(&self) -> u16 {
        self.group
    }

    /// Buffers in all.
    pub(super) fn total(&self) -> usize {
        self.buffers.len()
    }

    /// Buffers that the kernel has filled and that are not given back yet.
    pub(super) fn pinned(&self) -> usize {
        self.retired.len()
    }

    /// Buffers that the kernel may write to, now or once they are offered.
    pub(super) fn available(&self) -> usize {
        self.total() - self.pinned()
    }

    /// The kernel has written `len` bytes into buffer `id` for `whose`; `more` as in `IORING_CQE_F_BUF_MORE`. Returns
    /// those bytes. A buffer that the kernel has done with is retired, also when `len` is 0.
    pub(super) fn received(&mut self, id: u16, len: u32, more: bool, whose: Place) -> Slice {
        let buffer = &self.buffers[usize::from(id)];
        let start = buffer.received.get();
        assert!(
            len <= self.size - start,
            "the kernel writes within the buffer"
        );
        buffer.received.set(start + len);
        let slice = Slice::lent(Rc::clone(buffer) as Rc<dyn Region>, buffer.lend(start, len));
        let shares = &mut self.shares[usize::from(id)];
        match shares.last_mut() {
            Some(last) if last.whose == whose => last.bytes += len,
            _ => shares.push(Share { whose, bytes: len }),
        }
        if !(self.incremental && more) {
            self.retired.push(id);
            self.offered -= 1;
        }
        slice
    }

    /// Frees the retired buffers that nobody holds any more; says for each whose bytes are gone. Returns how many.
    pub(super) fn give_back(&mut self, mut gone: impl FnMut(Place, u32)) -> usize {
        let before = self.retired.len();
        let mut i = 0;
        while let Some(&id) = self.retired.get(i) {
            let buffer = &self.buffers[usize::from(id)];
            if Rc::strong_count(buffer) > 1 {
                i += 1;
                continue;
            }
            buffer.received.set(0);
            for share in self.shares[usize::from(id)].drain(..) {
                gone(share.whose, share.bytes);
            }
            self.retired.swap_remove(i);
            self.free.push(id);
        }
        before - self.retired.len()
    }

    /// At the end of a turn: offers the kernel as many buffers as it should have during the next.
    pub(super) fn supply(&mut self) {
        let want = self.need.after(self.offered);
        self.offer_up_to(want);
    }

    /// Offers free buffers until the kernel has `want`.
    fn offer_up_to(&mut self, want: usize) {
        if self.offered >= want || self.free.is_empty() {
            return;
        }
        while self.offered < want
            && let Some(id) = self.free.pop()
        {
            self.offer(id);
            self.offered += 1;
        }
        self.publish();
    }

    /// Writes buffer `id` into the next entry; the kernel sees it after `publish`.
    fn offer(&mut self, id: u16) {
        let buffer = &self.buffers[usize::from(id)];
        let mask = self.buffers.len() - 1;
        let at = usize::from(self.tail) & mask;
        // SAFETY: `at` is below the number of entries; the kernel reads only entries between its head and the published
        // tail, and at most as many are ever published as there are buffers, so this one is ours to write. The first
        // entry's last two bytes are the tail itself and are not touched: the setters write address, length and id.
        unsafe {
            let entry = self.entries.at.as_ptr().cast::<BufRingEntry>().add(at);
            (*entry).set_addr(buffer.map.at.as_ptr().add(buffer.offset) as u64);
            (*entry).set_len(self.size);
            (*entry).set_bid(id);
        }
        self.tail = self.tail.wrapping_add(1);
    }

    /// Shows the kernel what was offered.
    fn publish(&self) {
        let base = self.entries.at.as_ptr().cast::<BufRingEntry>();
        // SAFETY: `base` is the ring's first entry, whose last field is the tail; aligned, alive, and written by nobody
        // else. Release: the entries are seen before the tail.
        unsafe {
            AtomicU16::from_ptr(BufRingEntry::tail(base).cast_mut())
                .store(self.tail, Ordering::Release);
        }
    }

    /// Takes the ring from the kernel. To be called when no receive is in flight any more.
    pub(super) fn unregister(&mut self, ring: &IoUring) {
        if ring.submitter().unregister_buf_ring(self.group).is_ok() {
            self.registered = false;
        }
    }
}

impl Drop for BufferRing {
    /// Memory that the kernel may still write to is never given back to the system: better lost than corrupted.
    fn drop(&mut self) {
        if self.registered {
            std::mem::forget(Rc::clone(&self.entries));
            for buffer in self.buffers.iter().take(1) {
                std::mem::forget(Rc::clone(&buffer.map));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: Place = Place {
        slot: 3,
        generation: 1,
    };

    fn ring() -> IoUring {
        IoUring::new(8).unwrap()
    }

    #[test]
    fn a_buffer_goes_back_when_its_last_slice_is_gone() {
        let uring = ring();
        let mut ring = BufferRing::register(&uring, 0, (4, 4096), false).unwrap();
        let slice = ring.received(2, 10, false, ME);
        assert_eq!((ring.pinned(), ring.available(), slice.len()), (1, 3, 10));
        let part = slice.part(3, 7);
        drop(slice);
        assert_eq!(ring.give_back(|_, _| panic!("still held")), 0);
        drop(part);
        let mut gone = Vec::new();
        assert_eq!(ring.give_back(|p, n| gone.push((p, n))), 1);
        assert_eq!(gone, [(ME, 10)]);
        assert_eq!((ring.pinned(), ring.available()), (0, 4));
        ring.unregister(&uring);
    }

    /// The buffers that were offered and not taken yet, in the order in which the kernel takes them.
    fn queue(ring: &BufferRing, taken: u16) -> Vec<u16> {
        let mask = ring.buffers.len() - 1;
        let base = ring.entries.at.as_ptr().cast::<BufRingEntry>();
        (taken..ring.tail)
            // SAFETY: an entry of the ring, below its count.
            .map(|at| unsafe { (*base.add(usize::from(at) & mask)).bid() })
            .collect()
    }

    #[test]
    fn few_buffers_are_offered_and_the_last_used_comes_first() {
        let uring = ring();
        let mut ring = BufferRing::register(&uring, 0, (64, 256 << 10), false).unwrap();
        assert_eq!(queue(&ring, 0), [0, 1], "512 KiB");
        let mut used = std::collections::BTreeSet::new();
        for turn in 0..100 {
            let id = queue(&ring, turn)[0];
            used.insert(id);
            let slice = ring.received(id, 10, false, ME);
            ring.supply();
            drop(slice);
            ring.give_back(|_, _| ());
        }
        assert!(used.len() <= 3, "{used:?}");
        assert_eq!((ring.pinned(), ring.available()), (0, 64));
        ring.unregister(&uring);
    }

    #[test]
    fn all_are_offered_before_none_is_left() {
        let uring = ring();
        let mut ring = BufferRing::register(&uring, 0, (64, 256 << 10), false).unwrap();
        let mut held = Vec::new();
        while held.len() < 64 {
            let offered = queue(&ring, u16::try_from(held.len()).unwrap());
            assert!(!offered.is_empty(), "{} are held", held.len());
            for id in offered {
                held.push(ring.received(id, 10, false, ME));
            }
            ring.supply();
        }
        assert_eq!((ring.pinned(), ring.available(), ring.offered), (64, 0, 0));
        held.clear();
        ring.give_back(|_, _| ());
        ring.supply();
        assert_eq!(ring.offered, 64, "as many as were needed");
        ring.unregister(&uring);
    }

    #[test]
    fn need_grows_at_once_and_shrinks_after_a_while() {
        let mut need = Need::new(128, 256 << 10);
        assert_eq!((need.few, need.after(2), need.after(1)), (2, 2, 2));
        assert_eq!((need.after(0), need.after(0), need.after(3)), (4, 8, 8));
        assert_eq!(need.after(2), 16, "three quarters are gone");
        for _ in 0..10 {
            need.after(0);
        }
        assert_eq!(need.after(0), 128, "never more than there are");
        let mut turns = 0;
        while need.want > 2 {
            let before = need.want;
            turns += 1;
            assert!(need.after(before) >= before / 2 && turns < 7 * WINDOW);
        }
        assert!(turns >= 6 * WINDOW, "{turns}");
        // A turn that takes more than a quarter now and then keeps them.
        need.want = 8;
        for turn in 0..5 * WINDOW {
            need.after(if turn % 1000 == 0 { 5 } else { 8 });
        }
        assert_eq!(need.want, 8);
        assert_eq!(Need::new(8, 4096).few, 8, "no more than there are");
        assert_eq!(Need::new(2048, 16 << 10).few, 32);
    }

    #[test]
    fn an_incremental_buffer_is_filled_piece_by_piece() {
        let uring = ring();
        let mut ring = BufferRing::register(&uring, 0, (2, 4096), true).unwrap();
        let a = ring.received(0, 100, true, ME);
        assert_eq!(ring.pinned(), 0, "the kernel still writes to it");
        let b = ring.received(0, 3996, false, ME);
        assert_eq!((a.len(), b.len(), ring.pinned()), (100, 3996, 1));
        drop((a, b));
        let mut bytes = 0;
        ring.give_back(|_, n| bytes += n);
        assert_eq!(bytes, 4096);
        ring.unregister(&uring);
    }

    #[test]
    fn neighbours_in_one_buffer_join_and_no_others() {
        let uring = ring();
        let mut ring = BufferRing::register(&uring, 0, (2, 4096), true).unwrap();
        let mut first = ring.received(0, 100, true, ME);
        let second = ring.received(0, 50, true, ME);
        let third = ring.received(0, 7, true, ME);
        let other = ring.received(1, 9, true, ME);
        assert!(!first.join(&third), "not next to it");
        assert!(first.join(&second) && first.join(&third));
        assert_eq!(first.len(), 157);
        assert!(!first.join(&other), "another buffer");
        drop((first, second, third, other));
        ring.unregister(&uring);
    }

    #[test]
    #[should_panic(expected = "only received bytes are read")]
    fn bytes_that_were_not_received_cannot_be_read() {
        let uring = ring();
        let mut ring = BufferRing::register(&uring, 0, (2, 4096), true).unwrap();
        let slice = ring.received(0, 100, true, ME);
        ring.buffers[0].bytes(slice.len(), 1);
    }
}
