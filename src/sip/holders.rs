//! Who holds how many contacts, and how many bytes: each source address is counted, and may be bounded.
//!
//! The law: a source is in the table while it holds a contact, so there are no more entries than contacts.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
};

use foldhash::quality::FixedState;

use super::Flow;

/// Who an address is: an IPv4 address, or an IPv6 /64, for a host has a whole one to speak from.
#[must_use]
pub fn source(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        v4 @ IpAddr::V4(_) => v4,
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
    }
}

/// The source that a message came from.
pub(super) fn source_of(flow: Flow) -> IpAddr {
    let (Flow::Udp { peer, .. } | Flow::Stream { peer, .. }) = flow;
    source(peer.ip())
}

/// Contacts by source.
#[derive(Debug)]
pub(super) struct Holders {
    held: HashMap<IpAddr, Share, FixedState>,
    max: Option<usize>,
}

/// What a source holds.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    contacts: u32,
    /// Of them and what is kept beside them; a contact has two KiB at most.
    bytes: u32,
}

impl Holders {
    /// `max`: contacts of one source; `None`: no limit.
    pub(super) fn new(max: Option<usize>, seed: u64) -> Self {
        Self {
            held: HashMap::with_hasher(FixedState::with_seed(seed)),
            max,
        }
    }

    /// Whether `flow`'s source may hold `more` contacts than it does.
    pub(super) fn has_room(&self, flow: Flow, more: usize) -> bool {
        let held = self.share(flow).contacts as usize;
        more == 0 || self.max.is_none_or(|max| held + more <= max)
    }

    /// Bytes that `flow`'s source holds.
    pub(super) fn bytes(&self, flow: Flow) -> usize {
        self.share(flow).bytes as usize
    }

    fn share(&self, flow: Flow) -> Share {
        self.held.get(&source_of(flow)).copied().unwrap_or_default()
    }

    /// A contact of `bytes` has come by `flow`.
    pub(super) fn take(&mut self, flow: Flow, bytes: usize) {
        let share = self.held.entry(source_of(flow)).or_default();
        share.contacts += 1;
        share.bytes += u32::try_from(bytes).unwrap_or(0);
    }

    /// A contact that came by `flow` is gone.
    pub(super) fn leave(&mut self, flow: Flow, bytes: usize) {
        let source = source_of(flow);
        if let Some(share) = self.held.get_mut(&source) {
            share.contacts -= 1;
            share.bytes -= u32::try_from(bytes).unwrap_or(0);
            if share.contacts == 0 {
                self.held.remove(&source);
            }
        }
    }
}

/// REGISTERs that were refused for want of room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// All contacts were taken.
    pub full: u64,
    /// The user had too many.
    pub user: u64,
    /// The source had too many.
    pub source: u64,
    /// The bytes of all contacts, or the source's share of them, were taken.
    pub bytes: u64,
    /// A contact was too large.
    pub size: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::SocketId;

    fn from(peer: &str) -> Flow {
        Flow::Udp {
            socket: SocketId(0),
            peer: peer.parse().unwrap(),
        }
    }

    #[test]
    fn a_source_is_an_ipv4_address_or_an_ipv6_network() {
        let same = |a: &str, b: &str| source(a.parse().unwrap()) == source(b.parse().unwrap());
        assert!(same("::ffff:192.0.2.1", "192.0.2.1"));
        assert!(same("2001:db8::1", "2001:db8::ffff:1"));
        assert!(!same("2001:db8::1", "2001:db8:0:1::1"));
        assert!(!same("192.0.2.1", "192.0.2.2"));
    }

    #[test]
    fn a_source_holds_so_many_and_no_entry_stays_behind() {
        let mut h = Holders::new(Some(2), 7);
        let (one, other) = (from("192.0.2.1:5060"), from("192.0.2.1:7777"));
        h.take(one, 100);
        assert!(h.has_room(other, 1) && !h.has_room(other, 2));
        h.take(other, 50);
        assert_eq!(h.bytes(one), 150);
        assert!(h.has_room(one, 0) && !h.has_room(one, 1));
        assert!(h.has_room(from("192.0.2.2:5060"), 2));
        h.leave(one, 100);
        h.leave(other, 50);
        assert!(h.held.is_empty());
    }
}
