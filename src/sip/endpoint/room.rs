//! What transactions may hold: bytes beside their places in the tables, and a share for whoever makes us hold them.
//!
//! The law: no request is refused while its answer can be given. Over its share a request is *passing*: it has a transaction until
//! it is answered and none after, so its repeat is a request of its own. Strangers have half of everything, a source of them no
//! more than half of what strangers have left; who is registered, and what belongs to a dialog, has the rest.

use std::{hash::Hash, net::IpAddr};

use crate::share::{Ledger, Pool};

/// What an allocation costs beyond its bytes.
const ALLOCATION: usize = 16;

/// What some bytes cost that are held in an allocation of their own.
pub(super) const fn cost(bytes: &[u8]) -> usize {
    if bytes.is_empty() {
        0
    } else {
        bytes.len() + ALLOCATION
    }
}

/// Whose a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It belongs to something that has begun.
    Begun,
    /// A user who is registered sends it, from where he is.
    Known,
    Stranger,
}

/// Whether a request finds a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Its transaction stays as long as its timers run.
    Kept,
    /// It stays until it is answered.
    Passing,
    /// There is none: 503.
    Full,
}

/// A server transaction's place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) standing: Standing,
    /// Whose share it is; `None`: a peer whom we trust stands for many.
    pub(super) source: Option<IpAddr>,
    pub(super) bytes: usize,
    pub(super) passing: bool,
}

/// The places of server transactions.
#[derive(Debug)]
pub(super) struct ServerRoom {
    /// Entries that are kept.
    max: usize,
    len: usize,
    of_strangers: usize,
    all: Pool,
    /// Half of it.
    strangers: Pool,
    sources: Ledger<IpAddr>,
}

impl ServerRoom {
    pub(super) fn new(max: usize, bytes: usize, seed: u64) -> Self {
        Self {
            max,
            len: 0,
            of_strangers: 0,
            all: Pool::new(bytes),
            strangers: Pool::new(bytes / 2),
            sources: Ledger::new(seed),
        }
    }

    /// Bytes that are held.
    pub(super) const fn used(&self) -> usize {
        self.all.used()
    }

    /// Whether strangers are near their share: then it matters who is known.
    pub(super) const fn is_crowded(&self) -> bool {
        self.of_strangers * 4 >= self.max || self.strangers.free() <= self.strangers.used()
    }

    /// The place of a request of `bytes`.
    pub(super) fn place(&self, standing: Standing, source: Option<IpAddr>, bytes: usize) -> Place {
        if bytes > self.all.free() {
            return Place::Full;
        }
        let kept = match standing {
            Standing::Begun | Standing::Known => self.len < self.max,
            Standing::Stranger => {
                self.of_strangers < self.max.div_ceil(2) && self.stranger_may(source, bytes)
            }
        };
        if kept {
            return Place::Kept;
        }
        // Beyond those that are kept there are places for what is answered at once, and some that strangers do not get.
        let passing = match standing {
            Standing::Begun | Standing::Known => self.max + self.max / 4 + 16,
            Standing::Stranger => self.max + self.max / 8 + 8,
        };
        if self.len < passing {
            Place::Passing
        } else {
            Place::Full
        }
    }

    fn stranger_may(&self, source: Option<IpAddr>, more: usize) -> bool {
        match source {
            Some(source) => self.strangers.allows(self.sources.held(&source), more, 2),
            None => more <= self.strangers.free(),
        }
    }

    /// Whether a transaction may hold `more`.
    pub(super) fn may_grow(&self, held: &Held, more: usize) -> bool {
        more <= self.all.free()
            && (held.standing != Standing::Stranger || self.stranger_may(held.source, more))
    }

    pub(super) fn enter(&mut self, held: &Held) {
        self.len += 1;
        self.of_strangers += usize::from(held.standing == Standing::Stranger);
        self.take(held, held.bytes);
    }

    pub(super) fn leave(&mut self, held: &Held) {
        self.len -= 1;
        self.of_strangers -= usize::from(held.standing == Standing::Stranger);
        self.give_back(held, held.bytes);
    }

    /// A transaction holds `bytes` from now on.
    pub(super) fn change(&mut self, held: &mut Held, bytes: usize) {
        if bytes > held.bytes {
            self.take(held, bytes - held.bytes);
        } else {
            self.give_back(held, held.bytes - bytes);
        }
        held.bytes = bytes;
    }

    fn take(&mut self, held: &Held, bytes: usize) {
        self.all.take(bytes);
        if held.standing == Standing::Stranger {
            self.strangers.take(bytes);
            if let Some(source) = held.source {
                self.sources.take(source, bytes);
            }
        }
    }

    fn give_back(&mut self, held: &Held, bytes: usize) {
        self.all.give_back(bytes);
        if held.standing == Standing::Stranger {
            self.strangers.give_back(bytes);
            if let Some(source) = held.source {
                self.sources.give_back(&source, bytes);
            }
        }
    }
}

/// What client transactions hold, and for which session.
#[derive(Debug)]
pub(super) struct ClientRoom<K> {
    pool: Pool,
    /// Kept for what ends something.
    reserve: usize,
    holders: Ledger<K>,
}

impl<K: Copy + Eq + Hash> ClientRoom<K> {
    pub(super) fn new(bytes: usize, seed: u64) -> Self {
        Self {
            pool: Pool::new(bytes),
            reserve: bytes / 4,
            holders: Ledger::new(seed),
        }
    }

    pub(super) const fn used(&self) -> usize {
        self.pool.used()
    }

    /// Whether `holder` may hold `more`. What begins something leaves a reserve, and takes a part of what is free then.
    pub(super) fn has_room(&self, holder: K, more: usize, begins: bool) -> bool {
        let free = self.pool.free();
        if begins {
            let free = free.saturating_sub(self.reserve);
            self.holders.held(&holder) + more <= free / 2
        } else {
            more <= free
        }
    }

    /// `holder` holds `now` where it held `before`.
    pub(super) fn change(&mut self, holder: K, before: usize, now: usize) {
        if now > before {
            self.pool.take(now - before);
            self.holders.take(holder, now - before);
        } else {
            self.pool.give_back(before - now);
            self.holders.give_back(&holder, before - now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    fn fill(
        room: &mut ServerRoom,
        standing: Standing,
        source: Option<IpAddr>,
        bytes: usize,
    ) -> usize {
        let mut n = 0;
        while room.place(standing, source, bytes) == Place::Kept {
            room.enter(&Held {
                standing,
                source,
                bytes,
                passing: false,
            });
            n += 1;
        }
        n
    }

    #[test]
    fn a_source_of_strangers_leaves_other_sources_room_and_all_of_them_the_known() {
        let mut room = ServerRoom::new(1_000, 100_000, 7);
        assert_eq!(
            fill(&mut room, Standing::Stranger, ip("192.0.2.1"), 1_000),
            17
        );
        assert!(fill(&mut room, Standing::Stranger, ip("192.0.2.2"), 1_000) > 5);
        fill(&mut room, Standing::Stranger, None, 1_000);
        assert!(room.used() <= 50_000);
        assert_eq!(
            room.place(Standing::Stranger, None, 1_000),
            Place::Passing,
            "it is answered all the same"
        );
        assert_eq!(fill(&mut room, Standing::Known, None, 1_000), 50);
        assert_eq!(room.place(Standing::Begun, None, 1_000), Place::Full);
    }

    #[test]
    fn places_run_out_for_strangers_first_and_what_has_begun_is_the_last_to_pass() {
        let mut room = ServerRoom::new(16, 1 << 20, 7);
        assert_eq!(fill(&mut room, Standing::Stranger, None, 10), 8);
        assert_eq!(fill(&mut room, Standing::Begun, None, 10), 8);
        let enter = |room: &mut ServerRoom, standing| {
            let mut n = 0;
            while room.place(standing, None, 10) == Place::Passing {
                room.enter(&Held {
                    standing,
                    source: None,
                    bytes: 10,
                    passing: true,
                });
                n += 1;
            }
            n
        };
        assert_eq!(enter(&mut room, Standing::Stranger), 10);
        assert_eq!(enter(&mut room, Standing::Known), 10);
        assert_eq!(room.place(Standing::Begun, None, 10), Place::Full);
    }

    #[test]
    fn a_session_s_requests_leave_others_room_and_endings_have_a_reserve() {
        let mut room = ClientRoom::new(40_000, 7);
        let mut held = 0;
        while room.has_room(1, 100, true) {
            room.change(1, held, held + 100);
            held += 100;
        }
        assert!(held <= 10_000 && room.has_room(2, 100, true));
        room.change(3, 0, 20_000);
        assert!(!room.has_room(2, 1_000, true) && room.has_room(2, 1_000, false));
        room.change(3, 20_000, 0);
        room.change(1, held, 0);
        assert_eq!(room.used(), 0);
    }
}
