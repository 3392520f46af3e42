//! Bytes that come on connections that no session uses.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use crate::ids::ConnId;

/// Bytes that are read of a connection that no session uses: what was under way when its session ended, which has its 481.
/// Whoever goes on has nobody to write to, and the connection is closed.
const VAIN_BYTES: usize = 256 << 10;

/// How much each has brought; there is a place only for those that bring something.
#[derive(Debug)]
pub(super) struct Vain(HashMap<ConnId, usize, FixedState>);

impl Vain {
    pub(super) fn new(hasher: FixedState) -> Self {
        Self(HashMap::with_hasher(hasher))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// So many bytes have come on a connection; whether too many have that were for nobody.
    pub(super) fn hears(&mut self, conn: ConnId, unused: bool, bytes: usize) -> bool {
        if !unused {
            self.0.remove(&conn);
            return false;
        }
        let all = self.0.entry(conn).or_default();
        *all += bytes;
        *all > VAIN_BYTES
    }

    /// A connection is gone.
    pub(super) fn forget(&mut self, conn: ConnId) {
        self.0.remove(&conn);
    }
}
