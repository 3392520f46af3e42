//! Received bytes, as a driver lends them.

use std::rc::Rc;

use ringfork::buf::{Region, Slice};

/// A receive buffer that is never given back.
struct Buffer(&'static [u8]);

impl Region for Buffer {
    fn bytes(&self, start: usize, len: usize) -> &[u8] {
        &self.0[start..start + len]
    }

    fn pinned(&self) -> bool {
        true
    }

    fn joined(&self, first: &'static [u8], second: &'static [u8]) -> Option<&'static [u8]> {
        let start = first.as_ptr() as usize - self.0.as_ptr() as usize;
        let adjacent = first.as_ptr_range().end == second.as_ptr();
        adjacent.then(|| &self.0[start..start + first.len() + second.len()])
    }
}

/// Bytes as a receive buffer lends them.
pub(crate) fn received(bytes: &[u8]) -> Slice {
    let bytes: &'static [u8] = Box::leak(bytes.into());
    Slice::lent(Rc::new(Buffer(bytes)), bytes)
}
