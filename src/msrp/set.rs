//! A set of legs of one session.

use crate::ids::LegId;

/// One bit a place of the leg table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LegSet([u64; 4]);

impl LegSet {
    pub(super) fn insert(&mut self, leg: LegId) {
        self.0[usize::from(leg.0 >> 6)] |= 1 << (leg.0 & 63);
    }

    pub(super) fn remove(&mut self, leg: LegId) {
        self.0[usize::from(leg.0 >> 6)] &= !(1 << (leg.0 & 63));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0 == [0; 4]
    }
}
