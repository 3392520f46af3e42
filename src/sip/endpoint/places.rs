//! The places that have answered us: to any other a message is repeated four times at most (settled.md 42): an address
//! that stands in a forged Contact, or is forged as the source of an INVITE, shall not get all that the timers would send.
//!
//! The law: a place is known by what can only be said where our message arrived: our branch, our tag.

use std::{collections::HashSet, net::SocketAddr};

use foldhash::quality::FixedState;

/// Places of a generation. One that is not heard of for two generations is forgotten, and answers anew.
const PLACES_MAX: usize = 8192;

/// How often a message is repeated to a place that has never answered.
pub(super) const REPEATS_MAX: u8 = 4;

#[derive(Debug)]
pub(super) struct Places {
    young: HashSet<SocketAddr, FixedState>,
    old: HashSet<SocketAddr, FixedState>,
}

impl Places {
    pub(super) fn new(seed: u64) -> Self {
        let set = || HashSet::with_hasher(FixedState::with_seed(seed));
        Self {
            young: set(),
            old: set(),
        }
    }

    /// It has answered.
    pub(super) fn note(&mut self, place: SocketAddr) {
        if self.young.len() >= PLACES_MAX && !self.young.contains(&place) {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert(place);
    }

    /// Whether it ever has.
    pub(super) fn has_answered(&self, place: SocketAddr) -> bool {
        self.young.contains(&place) || self.old.contains(&place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_answered_lately_is_known_and_the_table_stays_bounded() {
        let mut places = Places::new(7);
        let nth = |n: usize| {
            let ip = std::net::Ipv4Addr::from_bits(0x0a00_0000 + u32::try_from(n).unwrap());
            SocketAddr::from((ip, 5060))
        };
        places.note(nth(0));
        assert!(places.has_answered(nth(0)) && !places.has_answered(nth(1)));
        for n in 1..3 * PLACES_MAX {
            places.note(nth(n));
            assert!(places.young.len() + places.old.len() <= 2 * PLACES_MAX);
        }
        assert!(places.has_answered(nth(3 * PLACES_MAX - 1)));
        assert!(!places.has_answered(nth(0)), "long ago");
    }
}
