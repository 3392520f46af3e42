//! A request that leaves at its intended time, whatever signalling is doing at that moment: it is written beforehand, and the
//! data plane, which has exact timers and comes first on their core, hands it to the socket.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crate::{clock::Nanos, sip_net::Way};

/// When a request is to leave, and when it did. Clones are of the same request.
#[derive(Clone, Debug)]
pub(crate) struct Departure {
    /// The intended time.
    pub(crate) at: Nanos,
    /// 0 as long as it has not left.
    left: Arc<AtomicU64>,
}

impl Departure {
    pub(crate) fn at(at: Nanos) -> Self {
        Self {
            at,
            left: Arc::default(),
        }
    }

    /// It leaves now. The first time counts: what is sent again left before.
    pub(crate) fn leaves(&self, now: Nanos) {
        let first = (Ordering::AcqRel, Ordering::Relaxed);
        // An error means that it has left already.
        let _ = self.left.compare_exchange(0, now.max(1), first.0, first.1);
    }

    /// When it left, if it has.
    pub(crate) fn left(&self) -> Option<Nanos> {
        Some(self.left.load(Ordering::Acquire)).filter(|&left| left > 0)
    }
}

/// A datagram that is ready to leave.
pub(crate) struct Post {
    pub(crate) departure: Departure,
    pub(crate) way: Way,
    pub(crate) bytes: Vec<u8>,
}

impl Post {
    /// Sends it. What the socket does not take is lost, as a datagram may be, and sent again by who waits for the answer.
    pub(crate) fn leave(&self, now: Nanos) {
        self.departure.leaves(now);
        self.way.send(&self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_leaves_once() {
        let departure = Departure::at(5);
        let other = departure.clone();
        assert_eq!(departure.left(), None);
        other.leaves(7);
        other.leaves(9);
        assert_eq!(departure.left(), Some(7));
    }
}
