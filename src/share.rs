//! How a pool of bytes is shared by those who fill it.
//!
//! The law: a holder may go on taking while what it holds is at most a fixed part of what is free *now*. So one greedy holder
//! stops at `total / (parts + 1)`, any number of them together leave some of the pool free, and one that holds little always
//! finds room: nobody is starved, and nobody has a place reserved that it does not use. (Dynamic thresholds, as switches
//! share a buffer among their queues.)

use std::{collections::HashMap, hash::Hash};

use foldhash::quality::FixedState;

/// A bounded number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    max: usize,
    used: usize,
}

impl Pool {
    /// An empty pool of `max` bytes.
    #[must_use]
    pub const fn new(max: usize) -> Self {
        Self { max, used: 0 }
    }

    /// Bytes that are taken.
    #[must_use]
    pub const fn used(&self) -> usize {
        self.used
    }

    /// Bytes that are free.
    #[must_use]
    pub const fn free(&self) -> usize {
        self.max.saturating_sub(self.used)
    }

    /// Whether a holder of `held` bytes may take `more`: they are free, and it then holds at most one of `parts` of what is
    /// free before.
    #[must_use]
    pub const fn allows(&self, held: usize, more: usize, parts: usize) -> bool {
        more <= self.free() && held.saturating_add(more) <= self.free() / parts
    }

    /// Takes `bytes`. What has been promised before may go over the bound: it is counted all the same.
    pub const fn take(&mut self, bytes: usize) {
        self.used += bytes;
    }

    /// Gives `bytes` back.
    ///
    /// # Panics
    /// When more is given back than was taken.
    pub const fn give_back(&mut self, bytes: usize) {
        assert!(
            bytes <= self.used,
            "nobody gives back what it has not taken"
        );
        self.used -= bytes;
    }
}

/// What each holder has of a pool. Who holds nothing has no entry, so there are no more entries than bytes taken.
#[derive(Clone, Debug)]
pub struct Ledger<K> {
    held: HashMap<K, usize, FixedState>,
}

impl<K: Eq + Hash> Ledger<K> {
    /// Nobody holds anything.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            held: HashMap::with_hasher(FixedState::with_seed(seed)),
        }
    }

    /// Bytes of one holder.
    #[must_use]
    pub fn held(&self, holder: &K) -> usize {
        self.held.get(holder).copied().unwrap_or(0)
    }

    /// It takes `bytes`.
    pub fn take(&mut self, holder: K, bytes: usize) {
        if bytes > 0 {
            *self.held.entry(holder).or_default() += bytes;
        }
    }

    /// It gives `bytes` back.
    ///
    /// # Panics
    /// When it gives back more than it took.
    pub fn give_back(&mut self, holder: &K, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let held = self.held.get_mut(holder);
        let left = held.as_deref().and_then(|held| held.checked_sub(bytes));
        assert!(left.is_some(), "nobody gives back what it has not taken");
        match (held, left) {
            (Some(held), Some(left)) if left > 0 => *held = left,
            _ => drop(self.held.remove(holder)),
        }
    }

    /// Whether nobody holds anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets `holders` take as much as they are allowed, in turns of `step` bytes.
    fn filled(max: usize, holders: usize, parts: usize, step: usize) -> (Pool, Vec<usize>) {
        let (mut pool, mut held) = (Pool::new(max), vec![0; holders]);
        loop {
            let mut any = false;
            for h in &mut held {
                if pool.allows(*h, step, parts) {
                    pool.take(step);
                    *h += step;
                    any = true;
                }
            }
            if !any {
                return (pool, held);
            }
        }
    }

    #[test]
    fn a_greedy_holder_leaves_the_others_their_share() {
        let (pool, held) = filled(9_000, 1, 8, 1);
        assert_eq!((held[0], pool.free()), (1_000, 8_000));
        assert!(pool.allows(0, 1_000, 8));
    }

    #[test]
    fn any_number_of_greedy_holders_leaves_room_for_one_more() {
        for holders in [10, 100, 1_000] {
            let (pool, held) = filled(64 << 20, holders, 8, 1 << 10);
            assert!(pool.allows(0, 4 << 10, 8), "{holders}: {}", pool.free());
            let (least, most) = (held.iter().min(), held.iter().max());
            assert!(
                most.unwrap() - least.unwrap() <= 1 << 10,
                "all alike: {least:?} {most:?}"
            );
        }
    }

    #[test]
    fn what_is_given_back_may_be_taken_again_and_leaves_no_entry() {
        let (mut pool, mut ledger) = (Pool::new(100), Ledger::new(7));
        pool.take(60);
        ledger.take("a", 60);
        assert!(!pool.allows(ledger.held(&"a"), 1, 1) && pool.allows(0, 40, 1));
        assert!(!pool.allows(0, 41, 1));
        pool.give_back(20);
        ledger.give_back(&"a", 20);
        assert_eq!((pool.used(), ledger.held(&"a")), (40, 40));
        pool.give_back(40);
        ledger.give_back(&"a", 40);
        assert!(ledger.is_empty() && pool.free() == 100);
    }
}
