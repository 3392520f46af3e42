//! The shard's timers: a hierarchical wheel with ticks of about one millisecond, exact at the end.
//!
//! The law: a timer never fires early, timers fire in the order of their instants (equal ones in the order in which they were
//! set), setting and cancelling cost the same however many there are. It reads no clock. A room keeps one [`Timers`] with a
//! key of its own that says what the timer is for.
//!
//! Plain version: seven rings of 64 slots; a slot of ring `n` spans 64ⁿ ticks. A timer lies in the ring of the highest base-64
//! digit in which its tick differs from the current one. When the current tick enters a slot of a higher ring, its timers move
//! down; those of a slot of ring 0 move to a small heap that orders them to the nanosecond.

use std::{cmp::Reverse, collections::BinaryHeap};

use crate::time::Instant;

/// Timers that a room lets fire at once: where more are due, as when thousands of contacts end in one instant, the others
/// follow in the next turn, and what has come meanwhile is between them.
pub const DUE_MAX: usize = 256;

/// A tick is 2^20 ns, 1.05 ms.
const TICK_SHIFT: u32 = 20;
/// 64 slots a ring.
const RING_SHIFT: u32 = 6;
const SLOTS: usize = 1 << RING_SHIFT;
/// 64^8 ticks are more than 2^44, all that an `Instant` can say.
const RINGS: usize = 8;
const NONE: u32 = u32::MAX;

/// The name of a timer that was set. Stale ones (fired, cancelled) name nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimerId {
    index: u32,
    generation: u32,
}

/// Timers with a key of type `K`. See the module for what it costs.
#[derive(Debug)]
pub struct Timers<K> {
    entries: Vec<Entry<K>>,
    free: u32,
    rings: [Ring; RINGS],
    /// Everything up to and including this tick is in `soon` or has fired.
    tick: u64,
    soon: BinaryHeap<Reverse<(Instant, u64, u32, u32)>>,
    order: u64,
    len: usize,
}

#[derive(Debug)]
struct Ring {
    /// Bit n: slot n holds timers.
    occupied: u64,
    heads: [u32; SLOTS],
}

#[derive(Debug)]
struct Entry<K> {
    /// `None`: the entry is free.
    key: Option<K>,
    generation: u32,
    at: Instant,
    order: u64,
    /// The list that it is in: a ring and a slot, or neither (it is in `soon`).
    place: Option<(u8, u8)>,
    prev: u32,
    next: u32,
}

impl<K> Default for Timers<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K> Timers<K> {
    /// No timers.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            entries: Vec::new(),
            free: NONE,
            rings: [const {
                Ring {
                    occupied: 0,
                    heads: [NONE; SLOTS],
                }
            }; RINGS],
            tick: 0,
            soon: BinaryHeap::new(),
            order: 0,
            len: 0,
        }
    }

    /// No timers, and places for so many.
    #[must_use]
    pub fn with_capacity(timers: usize) -> Self {
        Self {
            entries: Vec::with_capacity(timers),
            ..Self::new()
        }
    }

    /// How many are set.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether none is set.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Sets a timer: [`Timers::poll`] gives `key` back once its `now` has reached `at`. One in the past fires at once.
    pub fn insert(&mut self, at: Instant, key: K) -> TimerId {
        let order = self.order;
        self.order += 1;
        self.len += 1;
        let index = if self.free == NONE {
            let index = u32::try_from(self.entries.len()).unwrap_or(NONE);
            assert!(index != NONE, "fewer than 2^32 timers a shard");
            self.entries.push(Entry {
                key: Some(key),
                generation: 0,
                at,
                order,
                place: None,
                prev: NONE,
                next: NONE,
            });
            index
        } else {
            let index = self.free;
            let e = &mut self.entries[index as usize];
            self.free = e.next;
            e.key = Some(key);
            e.at = at;
            e.order = order;
            index
        };
        self.place(index);
        TimerId {
            index,
            generation: self.entries[index as usize].generation,
        }
    }

    /// Takes a timer back; its key, or `None` where it has fired or was cancelled before.
    pub fn cancel(&mut self, id: TimerId) -> Option<K> {
        let e = self.entries.get(id.index as usize)?;
        if e.generation != id.generation || e.key.is_none() {
            return None;
        }
        self.unlink(id.index);
        let key = self.release(id.index);
        // What `soon` still names is skipped by its generation; let it not pile up on top.
        self.drop_stale();
        key
    }

    /// The next timer that is due at `now`, in order; call until `None`.
    pub fn poll(&mut self, now: Instant) -> Option<K> {
        let now_tick = now.as_nanos() >> TICK_SHIFT;
        loop {
            self.drop_stale();
            if let Some(&Reverse((at, _, index, _))) = self.soon.peek() {
                if at > now {
                    return None;
                }
                self.soon.pop();
                return self.release(index);
            }
            match self.first_slot() {
                Some((ring, slot, start)) if start <= now_tick => {
                    self.tick = start;
                    self.move_down(ring, slot);
                }
                Some(_) | None => {
                    self.tick = self.tick.max(now_tick);
                    return None;
                }
            }
        }
    }

    /// When to call [`Timers::poll`] next: never late; early only where a far slot must be sorted first.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        if let Some(&Reverse((at, ..))) = self.soon.peek() {
            return Some(at);
        }
        let (ring, slot, start) = self.first_slot()?;
        let start = Instant::from_nanos(start << TICK_SHIFT);
        // One timer alone in its slot, the common case of an idle shard: say it exactly.
        let head = &self.entries[self.rings[ring].heads[slot] as usize];
        Some(if head.next == NONE { head.at } else { start })
    }

    /// Puts an entry where its instant belongs.
    fn place(&mut self, index: u32) {
        let e = &self.entries[index as usize];
        let tick = e.at.as_nanos() >> TICK_SHIFT;
        if tick <= self.tick {
            let generation = e.generation;
            self.soon.push(Reverse((e.at, e.order, index, generation)));
            return;
        }
        let ring = (63 - (tick ^ self.tick).leading_zeros()) / RING_SHIFT;
        let slot = digit(tick, ring);
        let ring_index = ring as usize;
        let head = self.rings[ring_index].heads[slot];
        if head != NONE {
            self.entries[head as usize].prev = index;
        }
        let e = &mut self.entries[index as usize];
        e.prev = NONE;
        e.next = head;
        e.place = Some((ring.to_le_bytes()[0], slot.to_le_bytes()[0]));
        self.rings[ring_index].heads[slot] = index;
        self.rings[ring_index].occupied |= 1 << slot;
    }

    /// Takes an entry out of its list, if it is in one.
    fn unlink(&mut self, index: u32) {
        let e = &mut self.entries[index as usize];
        let (prev, next) = (e.prev, e.next);
        let Some((ring, slot)) = e.place.take() else {
            return;
        };
        if next != NONE {
            self.entries[next as usize].prev = prev;
        }
        if prev != NONE {
            self.entries[prev as usize].next = next;
            return;
        }
        let ring = &mut self.rings[usize::from(ring)];
        ring.heads[usize::from(slot)] = next;
        if next == NONE {
            ring.occupied &= !(1 << slot);
        }
    }

    /// Frees an entry that is in no list.
    fn release(&mut self, index: u32) -> Option<K> {
        let free = self.free;
        let e = &mut self.entries[index as usize];
        e.generation = e.generation.wrapping_add(1);
        e.next = free;
        self.free = index;
        self.len -= 1;
        e.key.take()
    }

    /// Drops cancelled entries from the top of `soon`.
    fn drop_stale(&mut self) {
        while let Some(&Reverse((_, _, index, generation))) = self.soon.peek() {
            let e = &self.entries[index as usize];
            if e.generation == generation && e.key.is_some() {
                return;
            }
            self.soon.pop();
        }
    }

    /// The first slot that holds timers, and the tick at which it begins. The lowest ring that holds any holds the first.
    fn first_slot(&self) -> Option<(usize, usize, u64)> {
        for (n, ring) in (0u32..).zip(&self.rings) {
            // Slots at or before the current digit are empty: they have been moved down.
            if ring.occupied != 0 {
                let slot = ring.occupied.trailing_zeros();
                let shift = RING_SHIFT * n;
                let above = self.tick.checked_shr(shift + RING_SHIFT).unwrap_or(0);
                let start = ((above << RING_SHIFT) | u64::from(slot)) << shift;
                return Some((n as usize, slot as usize, start));
            }
        }
        None
    }

    /// Empties a slot that the current tick has entered.
    fn move_down(&mut self, ring: usize, slot: usize) {
        let mut index = self.rings[ring].heads[slot];
        self.rings[ring].heads[slot] = NONE;
        self.rings[ring].occupied &= !(1 << slot);
        while index != NONE {
            let e = &mut self.entries[index as usize];
            e.place = None;
            let next = e.next;
            self.place(index);
            index = next;
        }
    }
}

/// The base-64 digit of `tick` for a ring.
fn digit(tick: u64, ring: u32) -> usize {
    usize::from((tick >> (ring * RING_SHIFT)).to_le_bytes()[0]) % SLOTS
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use proptest::prelude::*;

    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::START + Duration::from_millis(ms)
    }

    #[test]
    fn fires_in_order_and_never_early() {
        let mut t = Timers::new();
        t.insert(at(500), "b");
        t.insert(at(500), "c");
        t.insert(at(32_000), "d");
        t.insert(at(0), "a");
        assert_eq!(t.poll(at(0)), Some("a"));
        assert_eq!(t.poll(at(499)), None);
        assert_eq!(t.poll(at(500)), Some("b"));
        assert_eq!(t.poll(at(500)), Some("c"));
        assert_eq!(t.poll(at(31_999)), None);
        assert_eq!(t.next(), Some(at(32_000)));
        assert_eq!(t.poll(at(40_000)), Some("d"));
        assert!(t.is_empty());
        assert_eq!(t.next(), None);
    }

    #[test]
    fn a_cancelled_timer_is_gone_and_its_name_is_dead() {
        let mut t = Timers::new();
        let a = t.insert(at(10), 1);
        let b = t.insert(at(10), 2);
        assert_eq!(t.cancel(a), Some(1));
        assert_eq!(t.cancel(a), None);
        let c = t.insert(at(10), 3);
        assert_eq!(t.cancel(a), None, "its place was taken by another");
        assert_eq!(t.poll(at(10)), Some(2));
        assert_eq!(t.cancel(b), None);
        assert_eq!(t.cancel(c), Some(3), "cancelled while it waits in the heap");
        assert_eq!(t.poll(at(10)), None);
        assert_eq!(t.len(), 0);
    }

    proptest! {
        /// Against a sorted map: same keys, same order, `next` never late.
        #[test]
        fn agrees_with_a_sorted_map(ops in prop::collection::vec((0u8..10, 0u64..1 << 46), 1..400)) {
            let mut timers = Timers::new();
            let mut model: BTreeMap<(Instant, u64), TimerId> = BTreeMap::new();
            let mut now = Instant::START;
            let mut count = 0u64;
            for (op, n) in ops {
                match op {
                    0..=5 => {
                        // Near and far alike.
                        let delta = n >> (u32::from(op) * 7);
                        let at = now + Duration::from_nanos(delta);
                        model.insert((at, count), timers.insert(at, count));
                        count += 1;
                    }
                    6 => {
                        let picked = usize::try_from(n).unwrap() % model.len().max(1);
                        if let Some((&k, &id)) = model.iter().nth(picked) {
                            model.remove(&k);
                            prop_assert_eq!(timers.cancel(id), Some(k.1));
                        }
                    }
                    _ => {
                        now += Duration::from_nanos(n >> (u32::from(op - 7) * 10));
                        while let Some(key) = timers.poll(now) {
                            let (&k, _) = model.iter().next().unwrap();
                            prop_assert!(k.0 <= now);
                            prop_assert_eq!(k.1, key);
                            model.remove(&k);
                        }
                        if let Some((k, _)) = model.iter().next() {
                            prop_assert!(k.0 > now, "{:?} was due at {:?}", k, now);
                        }
                    }
                }
                prop_assert_eq!(timers.len(), model.len());
                match (timers.next(), model.iter().next()) {
                    (Some(next), Some((k, _))) => prop_assert!(next <= k.0),
                    (None, None) => {}
                    other => prop_assert!(false, "{:?}", other),
                }
            }
        }
    }
}
