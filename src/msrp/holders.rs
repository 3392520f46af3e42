//! Who holds what of the memory for messages under way: sessions, the users whom they are for, the sources that they come from.
//!
//! The law: a session may take more as long as what it holds then is at most what would be free beside all that its user, or
//! its source, holds. So one greedy session stops at a third of the pool, any number of them leave as much free as each of
//! them has, and a session that holds little always finds room, also beside greedy ones of its own user and source. What is
//! promised already (a response that is awaited) may go over the bound; it is counted all the same.
//!
//! No name is looked up on the path of a message: a session holds the places of its user and its source.

use std::collections::HashMap;

use foldhash::quality::FixedState;

use crate::share::Pool;

/// Whom a session counts for beside itself: opaque numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    User(u64),
    Source(u64),
}

/// The place of nobody: of a source that is not counted.
const NOBODY: u32 = 0;

#[derive(Debug)]
struct Holder {
    /// `None`: nobody, or the place is free.
    key: Option<Key>,
    held: usize,
    sessions: u32,
}

/// What a session holds, and the places of those for whom it counts too.
#[derive(Debug, Default)]
pub(super) struct Holds {
    pub(super) held: usize,
    user: u32,
    source: u32,
}

impl Holds {
    /// The place of its user: equal for all of his sessions, as long as there is one.
    pub(super) fn user(&self) -> u32 {
        self.user
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Holders {
    pool: Pool,
    all: Vec<Holder>,
    free: Vec<u32>,
    places: HashMap<Key, u32, FixedState>,
}

impl Holders {
    pub(super) fn new(max: usize, seed: u64) -> Self {
        Self {
            pool: Pool::new(max),
            all: vec![Holder {
                key: None,
                held: 0,
                sessions: 0,
            }],
            free: Vec::new(),
            places: HashMap::with_hasher(FixedState::with_seed(seed)),
        }
    }

    /// A session begins that counts for `user`, and for `source` if it has one.
    pub(super) fn open(&mut self, user: u64, source: Option<u64>) -> Holds {
        Holds {
            held: 0,
            user: self.place(Key::User(user)),
            source: source.map_or(NOBODY, |source| self.place(Key::Source(source))),
        }
    }

    fn place(&mut self, key: Key) -> u32 {
        let (all, free) = (&mut self.all, &mut self.free);
        let place = *self.places.entry(key).or_insert_with(|| {
            let holder = Holder {
                key: Some(key),
                held: 0,
                sessions: 0,
            };
            if let Some(place) = free.pop() {
                all[place as usize] = holder;
                return place;
            }
            all.push(holder);
            // No more than two a session, and sessions are bounded far below.
            u32::try_from(all.len() - 1).unwrap_or(NOBODY)
        });
        self.all[place as usize].sessions += 1;
        place
    }

    /// The session is over. It has given everything back.
    pub(super) fn close(&mut self, mut holds: Holds) {
        debug_assert_eq!(holds.held, 0, "a session that ends holds nothing");
        let left = holds.held;
        self.give(&mut holds, left);
        for place in [holds.user, holds.source] {
            if place == NOBODY {
                continue;
            }
            let holder = &mut self.all[place as usize];
            holder.sessions -= 1;
            if holder.sessions == 0
                && let Some(key) = holder.key.take()
            {
                self.places.remove(&key);
                self.free.push(place);
            }
        }
    }

    /// What the session may hold just now.
    #[inline]
    fn room(&self, holds: &Holds) -> usize {
        let mut beside = self.all[holds.user as usize].held;
        if holds.source != NOBODY {
            beside = beside.max(self.all[holds.source as usize].held);
        }
        self.pool.free().saturating_sub(beside)
    }

    /// Whether the session may take `more`.
    pub(super) fn allows(&self, holds: &Holds, more: usize) -> bool {
        holds.held + more <= self.room(holds)
    }

    /// The session takes `bytes` if it may: whether it then holds so much that [`Holders::is_tight`] is to be asked.
    #[inline]
    pub(super) fn take_if_allowed(&mut self, holds: &mut Holds, bytes: usize) -> Option<bool> {
        let room = self.room(holds);
        if holds.held + bytes > room {
            return None;
        }
        self.take(holds, bytes);
        // At the least what is left: it is no longer free, and its user's.
        let room = room.saturating_sub(2 * bytes);
        Some(holds.held > room - room / 4)
    }

    /// Whether the session holds more than three quarters of what it may: time to stop what feeds it.
    pub(super) fn is_tight(&self, holds: &Holds) -> bool {
        let room = self.room(holds);
        holds.held > room - room / 4
    }

    /// Whether it holds no more than half of what it may.
    pub(super) fn is_easy(&self, holds: &Holds) -> bool {
        holds.held <= self.room(holds) / 2
    }

    /// The session takes `bytes`.
    #[inline]
    pub(super) fn take(&mut self, holds: &mut Holds, bytes: usize) {
        self.pool.take(bytes);
        holds.held += bytes;
        self.all[holds.user as usize].held += bytes;
        if holds.source != NOBODY {
            self.all[holds.source as usize].held += bytes;
        }
    }

    /// It gives `bytes` back.
    #[inline]
    pub(super) fn give(&mut self, holds: &mut Holds, bytes: usize) {
        debug_assert!(bytes <= holds.held, "more is given back than was taken");
        let bytes = bytes.min(holds.held);
        self.pool.give_back(bytes);
        holds.held -= bytes;
        self.all[holds.user as usize].held -= bytes;
        if holds.source != NOBODY {
            self.all[holds.source as usize].held -= bytes;
        }
    }

    /// All that is held.
    pub(super) fn used(&self) -> usize {
        self.pool.used()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 64 << 20;

    /// Sessions take what they may, in turns.
    fn fill(h: &mut Holders, sessions: &mut [Holds], step: usize) {
        loop {
            let mut any = false;
            for s in &mut *sessions {
                if h.allows(s, step) {
                    h.take(s, step);
                    any = true;
                }
            }
            if !any {
                return;
            }
        }
    }

    #[test]
    fn any_number_of_greedy_sessions_leaves_a_neighbour_as_much_as_each_of_them_has() {
        for n in [1, 2, 10, 100, 1_000, 8_000] {
            let mut h = Holders::new(MAX, 1);
            let mut greedy: Vec<Holds> = (0..n).map(|user| h.open(user, None)).collect();
            fill(&mut h, &mut greedy, 1 << 10);
            let most = greedy.iter().map(|s| s.held).max().unwrap();
            let canary = h.open(n, None);
            // But for the steps in which they take.
            let much = most - (2 << 10);
            assert!(h.allows(&canary, much), "{n}: {most} of {}", h.pool.free());
            let alike = MAX / (greedy.len() + 2);
            assert!(most.abs_diff(alike) <= 2 << 10, "{n}: {most}, {alike}");
        }
    }

    #[test]
    fn one_user_s_sessions_are_together_as_one_and_leave_one_another_room() {
        let mut h = Holders::new(MAX, 1);
        let mut greedy: Vec<Holds> = (0..500).map(|_| h.open(7, None)).collect();
        fill(&mut h, &mut greedy, 1 << 10);
        let held: usize = greedy.iter().map(|s| s.held).sum();
        assert!(held <= MAX / 2, "{held}");
        let (another, own) = (h.open(8, None), h.open(7, None));
        assert!(
            h.allows(&another, MAX / 2),
            "another user has all of the rest"
        );
        assert!(h.allows(&own, 60 << 10), "a quiet session of his own too");
    }

    #[test]
    fn a_source_is_as_one_too_unless_it_is_trusted() {
        let mut h = Holders::new(MAX, 1);
        let mut greedy: Vec<Holds> = (0..500).map(|user| h.open(user, Some(1))).collect();
        fill(&mut h, &mut greedy, 1 << 10);
        assert!(h.used() <= MAX / 2);
        let (theirs, other) = (h.open(900, Some(1)), h.open(901, Some(2)));
        assert!(h.allows(&theirs, 60 << 10) && h.allows(&other, MAX / 2));
    }

    #[test]
    fn what_is_given_back_is_free_and_who_has_no_session_has_no_place() {
        let mut h = Holders::new(1_000, 1);
        let (mut a, b) = (h.open(1, Some(5)), h.open(1, Some(6)));
        h.take(&mut a, 300);
        assert!(h.allows(&a, 100) && !h.allows(&a, 101), "700 - 300 - 300");
        assert!(!h.is_tight(&a) && !h.is_easy(&a));
        h.take(&mut a, 60);
        assert!(h.is_tight(&a));
        h.give(&mut a, 260);
        assert!(h.is_easy(&a));
        h.give(&mut a, 100);
        assert_eq!((h.used(), a.held, h.places.len()), (0, 0, 3));
        assert_eq!(h.take_if_allowed(&mut a, 1_001), None);
        assert_eq!(h.take_if_allowed(&mut a, 100), Some(false));
        assert_eq!(h.take_if_allowed(&mut a, 220), Some(true));
        assert!(h.is_tight(&a) && a.held == 320);
        h.give(&mut a, 320);
        h.close(a);
        h.close(b);
        assert!(h.places.is_empty());
        let again = h.open(9, Some(9));
        assert_eq!(h.all.len(), 4, "places are used again");
        h.close(again);
    }
}
