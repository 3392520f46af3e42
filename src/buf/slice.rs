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

    /// `first` and `second`, which were lent out of this memory ([`Slice::lent`]), as one piece, where the one ends at
    /// which the other begins.
    fn joined(&self, first: &'static [u8], second: &'static [u8]) -> Option<&'static [u8]> {
        let _ = (first, second);
        None
    }
}

/// Memory that many pieces lie in and that is meant to go soon, as a receive buffer is.
struct Passing(Box<[u8]>);

impl Region for Passing {
    fn bytes(&self, start: usize, len: usize) -> &[u8] {
        &self.0[start..start + len]
    }

    fn pinned(&self) -> bool {
        true
    }
}

impl Region for Box<[u8]> {
    fn bytes(&self, start: usize, len: usize) -> &[u8] {
        &self[start..start + len]
    }
}

/// Where in its region a slice lies.
#[derive(Clone, Copy)]
enum Place {
    /// Found without asking the region: the path of every chunk.
    Lent(&'static [u8]),
    Range {
        start: u32,
        len: u32,
    },
}

/// Received bytes, shared by count within one shard. Cloning counts, never copies.
#[derive(Clone)]
pub struct Slice {
    region: Rc<dyn Region>,
    place: Place,
}

impl Slice {
    /// The `len` bytes of `region` from `start` on.
    #[must_use]
    pub fn new(region: Rc<dyn Region>, start: u32, len: u32) -> Self {
        Self {
            region,
            place: Place::Range { start, len },
        }
    }

    /// `bytes` that last as long as `region` is held, and so as long as the slice: it hands them out for its own life only.
    #[must_use]
    pub fn lent(region: Rc<dyn Region>, bytes: &'static [u8]) -> Self {
        Self {
            region,
            place: Place::Lent(bytes),
        }
    }

    /// An owned copy of `bytes`, outside any receive buffer.
    #[must_use]
    pub fn copied(bytes: &[u8]) -> Self {
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let boxed: Box<[u8]> = bytes.into();
        Self::new(Rc::new(boxed), 0, len)
    }

    /// Bytes that came otherwise than into a receive buffer: a small part of them that is held for long is copied out, as
    /// there.
    #[must_use]
    pub fn passing(bytes: Box<[u8]>) -> Self {
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        Self::new(Rc::new(Passing(bytes)), 0, len)
    }

    /// The part of this slice from `from` up to `to` (offsets within it), counted anew.
    ///
    /// # Panics
    /// If the range does not lie within the slice: offsets come from our own framing, never from a peer.
    #[must_use]
    pub fn part(&self, from: usize, to: usize) -> Self {
        let place = match self.place {
            Place::Lent(bytes) => Place::Lent(&bytes[from..to]),
            Place::Range { start, len } => {
                assert!(
                    from <= to && to <= len as usize,
                    "a part lies within its slice"
                );
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "both are at most len, a u32"
                )]
                Place::Range {
                    start: start + from as u32,
                    len: (to - from) as u32,
                }
            }
        };
        Self {
            region: Rc::clone(&self.region),
            place,
        }
    }

    /// Takes `next` in, if it lies directly behind this slice in the same memory. Whether it did.
    pub fn join(&mut self, next: &Self) -> bool {
        if !Rc::ptr_eq(&self.region, &next.region) {
            return false;
        }
        let joined = match (self.place, next.place) {
            (Place::Lent(first), Place::Lent(second)) => {
                self.region.joined(first, second).map(Place::Lent)
            }
            (Place::Range { start, len }, Place::Range { start: at, len: n }) => {
                (start + len == at).then_some(Place::Range {
                    start,
                    len: len + n,
                })
            }
            (Place::Lent(_), Place::Range { .. }) | (Place::Range { .. }, Place::Lent(_)) => None,
        };
        if let Some(place) = joined {
            self.place = place;
        }
        joined.is_some()
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
        match self.place {
            Place::Lent(bytes) => bytes,
            Place::Range { start, len } => self.region.bytes(start as usize, len as usize),
        }
    }
}

impl fmt::Debug for Slice {
    /// The length alone: a body is a person's words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slice({} bytes)", self.len())
    }
}
