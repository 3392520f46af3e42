//! The typed names that rooms use for one another's things.
//!
//! Each is a slot and a generation: a stale name finds nothing, never somebody else's thing.

slotmap::new_key_type! {
    /// A stream connection (MSRP or SIP over TCP) of this shard.
    pub struct ConnId;
    /// A CPM session of this shard: one originator leg, one leg a device.
    pub struct SessionId;
    /// A SIP server transaction of this shard (a request that we received).
    pub struct ServerTxnId;
    /// A SIP client transaction of this shard (a request that we sent).
    pub struct ClientTxnId;
}

/// The number of a shard, 0 to 63.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ShardId(pub u8);

/// The place of a leg in its session's leg table: 0 is the originator, 1 and up are devices.
///
/// A place is never used twice within a session, so a late event of a dead leg names nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LegId(pub u8);

impl LegId {
    /// The leg towards the user who sent the INVITE.
    pub const ORIGINATOR: Self = Self(0);
}

/// A listening or datagram socket of a shard, by its place in the list that the shard was made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketId(pub u8);
