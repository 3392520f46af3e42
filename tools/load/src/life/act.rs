//! What somebody in a session does at an intended time, and the list of what is still to be done.

use std::{cmp::Reverse, collections::BinaryHeap};

use crate::{clock::Nanos, leg::Role, voice::Words};

/// Something that is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Deed {
    /// Somebody says something.
    Say(Role, Words),
    /// Two devices say something back to back, in this order, with nothing between the two writes.
    Race(u16, u16, Words),
    /// A device whose call was hung up closes its side of the connection, as a phone would, and reads what still comes.
    Part(u16),
    /// Signalling's request that waits for its time leaves.
    Post,
    /// Nobody's: signalling wants to be told that it is time, more exactly than its own timers can.
    Ring,
}

/// A deed of a session and its intended time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Act {
    pub(crate) at: Nanos,
    pub(crate) session: u32,
    pub(crate) deed: Deed,
}

/// What is still to be done, earliest first; of the same time, in the order in which it was asked for.
#[derive(Default)]
pub(crate) struct Acts {
    heap: BinaryHeap<Reverse<Waiting>>,
    asked: u64,
}

struct Waiting {
    at: Nanos,
    nth: u64,
    act: Act,
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.nth).cmp(&(other.at, other.nth))
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Waiting {}

impl Acts {
    pub(crate) fn ask(&mut self, act: Act) {
        self.asked += 1;
        self.heap.push(Reverse(Waiting {
            at: act.at,
            nth: self.asked,
            act,
        }));
    }

    /// When the next is meant to be.
    pub(crate) fn next(&self) -> Option<Nanos> {
        self.heap.peek().map(|w| w.0.at)
    }

    /// The next, if it is due at `now`.
    pub(crate) fn take(&mut self, now: Nanos) -> Option<Act> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|w| w.0.act)
    }

    pub(crate) fn clear(&mut self) {
        self.heap.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acts_are_due_at_their_times_and_keep_their_order() {
        let mut acts = Acts::default();
        let act = |at, session| Act {
            at,
            session,
            deed: Deed::Say(Role::Sender, Words::Chat),
        };
        for (at, session) in [(30, 1), (10, 2), (30, 3), (20, 4), (10, 5)] {
            acts.ask(act(at, session));
        }
        assert_eq!(acts.next(), Some(10));
        assert_eq!(acts.take(9), None);
        let done: Vec<_> = std::iter::from_fn(|| acts.take(25))
            .map(|a| a.session)
            .collect();
        assert_eq!(done, [2, 5, 4]);
        let done: Vec<_> = std::iter::from_fn(|| acts.take(30))
            .map(|a| a.session)
            .collect();
        assert_eq!(done, [1, 3]);
        assert_eq!(acts.next(), None);
    }
}
