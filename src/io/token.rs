//! What an operation is called in the kernel's hands: its kind, the slot it is about, and that slot's generation.
//!
//! A completion that comes after its connection is gone carries an old generation and so names nobody.

/// Kinds of operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// Multishot accept of a listener (slot: the socket).
    Accept = 1,
    /// Receive of a connection, single or multishot.
    Receive,
    /// A send of this turn (slot: its place in the turn's list; generation: the batch).
    Send,
    /// Poll for room to send.
    Writable,
    /// Connect.
    Connect,
    /// The time limit of a connect.
    ConnectLimit,
    /// A cancellation; its outcome tells nothing that the cancelled operation's does not.
    Cancel,
    /// Multishot receive of a datagram socket (slot: the socket).
    Datagram,
    /// Poll of the eventfd.
    Event,
    /// A message that arrived from another ring.
    Message,
    /// A message that we sent to another ring (slot: the shard).
    Wake,
    /// A descriptor closed.
    Close,
    /// The file table changed.
    Files,
}

impl Kind {
    const ALL: [Self; 13] = [
        Self::Accept,
        Self::Receive,
        Self::Send,
        Self::Writable,
        Self::Connect,
        Self::ConnectLimit,
        Self::Cancel,
        Self::Datagram,
        Self::Event,
        Self::Message,
        Self::Wake,
        Self::Close,
        Self::Files,
    ];
}

/// A place that an operation is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Index in its table, below 2^24.
    pub slot: u32,
    /// How often that slot had been used before.
    pub generation: u32,
}

/// Packs kind, slot and generation into an operation's name.
pub(super) fn pack(kind: Kind, place: Place) -> u64 {
    debug_assert!(place.slot < 1 << 24);
    (kind as u64) << 56 | u64::from(place.slot) << 32 | u64::from(place.generation)
}

/// The parts of an operation's name; `None` for a name that we never gave.
pub(super) fn unpack(name: u64) -> Option<(Kind, Place)> {
    let kind = Kind::ALL
        .get(usize::from((name >> 56) as u8).checked_sub(1)?)
        .copied()?;
    #[expect(clippy::cast_possible_truncation, reason = "the fields are cut out")]
    let place = Place {
        slot: (name >> 32) as u32 & 0xff_ffff,
        generation: name as u32,
    };
    Some((kind, place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_then_unpacking_gives_the_parts_back() {
        for kind in Kind::ALL {
            for (slot, generation) in [(0, 0), (1, u32::MAX), (0xff_ffff, 7)] {
                let place = Place { slot, generation };
                assert_eq!(unpack(pack(kind, place)), Some((kind, place)));
            }
        }
        assert_eq!(unpack(0), None);
        assert_eq!(unpack(u64::MAX), None);
    }
}
