//! A counted, read-only piece of received bytes.

use std::{fmt, ops::Deref, rc::Rc};

/// Memory that received bytes lie in.
///
/// `io` implements it over ring buffers, tests and owned copies over a boxed slice. The part that a [`Slice`] names
/// never changes while the slice lives.
pub trait Region {
    /// The bytes from `start`, `len` of them. The range was received before a slice of it was made.
    fn bytes(&self, start: usize, len: usize) -> &[u8];

    /// Whether holding it keeps a receive buffer from being used again.
    fn pinned(&self) -> bool {
        false
    }
}

impl Region for Box<[u8]> {
    fn bytes(&self, start: usize, len: usize) -> &[u8] {
        &self[start..start + len]
    }
}

/// Received bytes, shared by count within one shard. Cloning counts, never copies.
#[derive(Clone)]
pub struct Slice {
    region: Rc<dyn Region>,
    start: u32,
    len: u32,
}

impl Slice {
    /// The `len` bytes of `region` from `start` on.
    #[must_use]
    pub fn new(region: Rc<dyn Region>, start: u32, len: u32) -> Self {
        Self { region, start, len }
    }

    /// An owned copy of `bytes`, outside any receive buffer.
    #[must_use]
    pub fn copied(bytes: &[u8]) -> Self {
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let boxed: Box<[u8]> = bytes.into();
        Self {
            region: Rc::new(boxed),
            start: 0,
            len,
        }
    }

    /// The part of this slice from `from` up to `to` (offsets within it), counted anew.
    ///
    /// # Panics
    /// If the range does not lie within the slice: offsets come from our own framing, never from a peer.
    #[must_use]
    pub fn part(&self, from: usize, to: usize) -> Self {
        assert!(
            from <= to && to <= self.len as usize,
            "a part lies within its slice"
        );
        #[expect(
            clippy::cast_possible_truncation,
            reason = "both are at most self.len, a u32"
        )]
        Self {
            region: Rc::clone(&self.region),
            start: self.start + from as u32,
            len: (to - from) as u32,
        }
    }

    /// Takes `next` in, if it lies directly behind this slice in the same memory. Whether it did.
    pub fn join(&mut self, next: &Self) -> bool {
        let joins = Rc::ptr_eq(&self.region, &next.region) && self.start + self.len == next.start;
        if joins {
            self.len += next.len;
        }
        joins
    }

    /// Whether holding it keeps a receive buffer from being used again.
    #[must_use]
    pub fn pinned(&self) -> bool {
        self.region.pinned()
    }
}

impl Deref for Slice {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.region.bytes(self.start as usize, self.len as usize)
    }
}

impl fmt::Debug for Slice {
    /// The length alone: a body is a person's words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slice({} bytes)", self.len)
    }
}
