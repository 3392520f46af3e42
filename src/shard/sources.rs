//! What one source address may do: connections that it has open, requests within a second.
//!
//! The law: nothing is kept of a source that has no connection and has asked nothing this second, so the tables are bounded
//! by the connections and by [`SOURCES_MAX`]. Each shard counts its own: a source that comes by one flow gets what the
//! operator wrote, one that comes by many flows gets it from each shard.

use std::{collections::HashMap, net::IpAddr};

use foldhash::quality::FixedState;

use crate::{limits::SOURCES_MAX, sip::source, time::Instant};

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    Sip,
    Msrp,
}

/// What the operator allows one source; `None`: no limit.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Allowed {
    pub(super) sip_connections: Option<usize>,
    pub(super) msrp_connections: Option<usize>,
    pub(super) requests_per_s: Option<u32>,
}

/// The sources of a shard.
#[derive(Debug)]
pub(super) struct Sources {
    allowed: Allowed,
    sip: HashMap<IpAddr, usize, FixedState>,
    msrp: HashMap<IpAddr, usize, FixedState>,
    /// The second that is being counted, and who has asked how often in it.
    second: u64,
    asked: HashMap<IpAddr, u32, FixedState>,
    /// What all those have asked who found no place in the table.
    others: u32,
}

impl Sources {
    pub(super) fn new(allowed: Allowed, seed: u64) -> Self {
        let table = || HashMap::with_hasher(FixedState::with_seed(seed));
        Self {
            allowed,
            sip: table(),
            msrp: table(),
            second: 0,
            asked: HashMap::with_hasher(FixedState::with_seed(seed)),
            others: 0,
        }
    }

    /// A connection comes in; `false`: its source has as many as it may.
    pub(super) fn open(&mut self, room: Room, peer: IpAddr) -> bool {
        let (table, max) = match room {
            Room::Sip => (&mut self.sip, self.allowed.sip_connections),
            Room::Msrp => (&mut self.msrp, self.allowed.msrp_connections),
        };
        let Some(max) = max else {
            return true;
        };
        let source = source(peer);
        let has = table.get(&source).copied().unwrap_or(0);
        if has >= max {
            return false;
        }
        table.insert(source, has + 1);
        true
    }

    /// A connection that [`Sources::open`] let in is gone.
    pub(super) fn close(&mut self, room: Room, peer: IpAddr) {
        let table = match room {
            Room::Sip => &mut self.sip,
            Room::Msrp => &mut self.msrp,
        };
        let source = source(peer);
        if let Some(has) = table.get_mut(&source) {
            *has -= 1;
            if *has == 0 {
                table.remove(&source);
            }
        }
    }

    /// A request comes in; `false`: its source has asked too often this second. What belongs to something that has begun may
    /// use as much again, so that what is there can end.
    pub(super) fn ask(&mut self, now: Instant, peer: IpAddr, begun: bool) -> bool {
        let Some(max) = self.allowed.requests_per_s else {
            return true;
        };
        let second = now.as_nanos() / 1_000_000_000;
        if second != self.second {
            self.second = second;
            self.asked.clear();
            self.others = 0;
        }
        let source = source(peer);
        let asked = if self.asked.len() < SOURCES_MAX || self.asked.contains_key(&source) {
            self.asked.entry(source).or_default()
        } else {
            &mut self.others
        };
        *asked = asked.saturating_add(1);
        let max = if begun { max.saturating_mul(2) } else { max };
        *asked <= max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(allowed: Allowed) -> Sources {
        Sources::new(allowed, 7)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn each_room_counts_its_connections_and_what_is_closed_may_come_again() {
        let mut s = sources(Allowed {
            sip_connections: Some(2),
            msrp_connections: Some(1),
            requests_per_s: None,
        });
        let a = ip("192.0.2.1");
        assert!(s.open(Room::Sip, a) && s.open(Room::Sip, a) && !s.open(Room::Sip, a));
        assert!(s.open(Room::Msrp, a) && !s.open(Room::Msrp, a));
        assert!(s.open(Room::Sip, ip("192.0.2.2")));
        s.close(Room::Sip, a);
        assert!(s.open(Room::Sip, a));
        for _ in 0..2 {
            s.close(Room::Sip, a);
        }
        s.close(Room::Sip, ip("192.0.2.2"));
        s.close(Room::Msrp, a);
        assert!(s.sip.is_empty() && s.msrp.is_empty(), "nothing is left");
    }

    #[test]
    fn a_second_has_so_many_requests_and_what_has_begun_as_many_again() {
        let mut s = sources(Allowed {
            requests_per_s: Some(3),
            ..Allowed::default()
        });
        let (a, now) = (ip("192.0.2.1"), Instant::from_nanos(5_100_000_000));
        let new: Vec<bool> = (0..4).map(|_| s.ask(now, a, false)).collect();
        assert_eq!(new, [true, true, true, false]);
        assert!(s.ask(now, ip("192.0.2.2"), false), "others are others");
        assert_eq!([(); 3].map(|()| s.ask(now, a, true)), [true, true, false]);
        assert!(
            s.ask(Instant::from_nanos(6_000_000_000), a, false),
            "the next second"
        );
    }

    #[test]
    fn more_sources_than_there_are_places_share_one() {
        let mut s = sources(Allowed {
            requests_per_s: Some(2),
            ..Allowed::default()
        });
        let now = Instant::START;
        for n in 0..u32::try_from(SOURCES_MAX).unwrap() {
            assert!(s.ask(now, IpAddr::V4((0x0a00_0000 + n).into()), false));
        }
        let late = |n: u8| ip(&format!("192.0.2.{n}"));
        assert!(s.ask(now, late(1), false) && s.ask(now, late(2), false));
        assert!(!s.ask(now, late(3), false), "they count as one source");
        assert!(
            s.ask(now, ip("10.0.0.0"), false),
            "who has a place keeps it"
        );
        assert_eq!(s.asked.len(), SOURCES_MAX);
    }
}
