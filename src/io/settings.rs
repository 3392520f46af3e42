//! What the operator decides about a ring: sizes, bounds, and which later kernels' features are left alone.

use std::{str::FromStr, time::Duration};

use crate::limits::Limits;

/// Something that kernels later than 6.1 have, or that a container may forbid: self-tested at start, used when there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Feature {
    /// Several receives share one buffer of the ring (`IOU_PBUF_RING_INC`, Linux 6.12).
    Incremental,
    /// A send that went out whole posts no completion (`IOSQE_CQE_SKIP_SUCCESS`, as it acts on sends that do not wait).
    QuietSends,
    /// Connections in the ring's file table. Before Linux 6.13 a slot that was emptied could keep its socket alive for as
    /// long as any older operation was in flight.
    FixedFiles,
    /// Messages between rings (`IORING_OP_MSG_RING`); without it shards wake one another by eventfd.
    RingMessages,
    /// The ring's own descriptor registered, so that entering costs no look-up.
    RegisteredRing,
    /// Completions run only when the shard waits (`IORING_SETUP_DEFER_TASKRUN`).
    DeferTaskrun,
}

impl Feature {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Incremental,
        Self::QuietSends,
        Self::FixedFiles,
        Self::RingMessages,
        Self::RegisteredRing,
        Self::DeferTaskrun,
    ];

    /// Its name in `[io] features_off`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Incremental => "incremental",
            Self::QuietSends => "quiet_sends",
            Self::FixedFiles => "fixed_files",
            Self::RingMessages => "ring_messages",
            Self::RegisteredRing => "registered_ring",
            Self::DeferTaskrun => "defer_taskrun",
        }
    }
}

/// No feature has this name.
#[derive(Debug, thiserror::Error)]
#[error(
    "no feature of the ring is called {0:?}; there are incremental, quiet_sends, fixed_files, ring_messages, registered_ring, defer_taskrun"
)]
pub struct UnknownFeature(String);

impl FromStr for Feature {
    type Err = UnknownFeature;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|f| f.name() == s)
            .ok_or_else(|| UnknownFeature(s.to_owned()))
    }
}

/// A set of [`Feature`]s.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Features(u8);

impl Features {
    /// The set of Linux 6.1 as it was released: none of them.
    pub const NONE: Self = Self(0);

    /// Every feature.
    #[must_use]
    pub fn all() -> Self {
        Feature::ALL.into_iter().collect()
    }

    /// Whether `feature` is in the set.
    #[must_use]
    pub const fn has(self, feature: Feature) -> bool {
        self.0 & (1 << feature as u8) != 0
    }

    /// The set with `feature`.
    #[must_use]
    pub const fn with(self, feature: Feature) -> Self {
        Self(self.0 | 1 << feature as u8)
    }

    /// The set without `feature`.
    #[must_use]
    pub const fn without(self, feature: Feature) -> Self {
        Self(self.0 & !(1 << feature as u8))
    }
}

impl FromIterator<Feature> for Features {
    fn from_iter<I: IntoIterator<Item = Feature>>(iter: I) -> Self {
        iter.into_iter().fold(Self::NONE, Self::with)
    }
}

impl std::fmt::Debug for Features {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set()
            .entries(
                Feature::ALL
                    .iter()
                    .filter(|x| self.has(**x))
                    .map(|x| x.name()),
            )
            .finish()
    }
}

/// Sizes and bounds of one shard's ring. The defaults are for a shard of some thousand connections.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Submission entries, a power of two; 64 bytes each. A full queue is submitted at once, so this bounds nothing but
    /// the operations of one system call.
    pub sq_entries: u32,
    /// Completion entries, a power of two; 16 bytes each. What does not fit the kernel keeps until there is room.
    pub cq_entries: u32,
    /// Connections a shard may have; above it the newest is refused by reset. At most 2^24.
    pub connections: u32,
    /// Receive buffers of an incremental ring (a power of two), and bytes of each.
    pub stream_buffers: (u16, u32),
    /// Receive buffers where there is no incremental ring: every receive takes one, so they are smaller and more.
    pub classic_buffers: (u16, u32),
    /// Buffers for datagrams (a power of two), and bytes of each: a header, the source and the largest datagram. What is
    /// larger is counted and dropped.
    pub datagram_buffers: (u16, u32),
    /// Bytes that the world is given from one connection in a turn, where many bring as much.
    pub fair_bytes: u32,
    /// Bytes that a connection may bring in a turn as the only one; where few bring as much, they divide them.
    pub alone_bytes: u32,
    /// Bytes of one receive of a signalling stream: what may wait of it until it is heard.
    pub signalling_bytes: u32,
    /// How long a turn goes on handing in bytes of those that bring much; who says a little is heard all the same.
    pub turn: Duration,
    /// Received bytes of one connection that may wait for their turn; above it the receive is stopped.
    pub queued_bytes: u32,
    /// Parts of vectored sends that are prepared before they must be submitted.
    pub iovecs: usize,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// How long a connection that is closed in order may take to send what waits and see the peer's end.
    pub flush_timeout: Duration,
    /// How long after running out of descriptors another accept is tried, where none of ours came free before.
    pub accept_retry: Duration,
    /// How long a wait that is likely to be short is begun awake; zero: never.
    pub spin: Duration,
    /// Features that are not used, even where they are there.
    pub off: Features,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sq_entries: 1024,
            cq_entries: 8192,
            connections: 16_384,
            stream_buffers: (128, 256 << 10),
            classic_buffers: (2048, 16 << 10),
            datagram_buffers: (64, (64 << 10) + 64),
            fair_bytes: 64 << 10,
            alone_bytes: 256 << 10,
            signalling_bytes: 4 << 10,
            turn: Duration::from_millis(2),
            queued_bytes: 256 << 10,
            iovecs: 8192,
            connect_timeout: Duration::from_secs(10),
            flush_timeout: Duration::from_secs(2),
            accept_retry: Duration::from_millis(100),
            spin: Duration::from_micros(20),
            off: Features::NONE,
        }
    }
}

impl Settings {
    /// As the configuration's limits say, the rest by default.
    #[must_use]
    pub fn new(limits: &Limits, off: Features) -> Self {
        let default = Self::default();
        let bytes = limits.receive_buffers * limits.receive_buffer_bytes;
        let small = default.classic_buffers.1;
        let of = |n: usize| u16::try_from(n).unwrap_or(1 << 15);
        // A leg at its bound stops its sender at the end of the turn: what comes until then is no second bound.
        let most = u32::try_from(limits.outbox_bytes / 2).unwrap_or(u32::MAX);
        Self {
            connections: u32::try_from(limits.connections).unwrap_or(u32::MAX),
            stream_buffers: (
                of(limits.receive_buffers),
                u32::try_from(limits.receive_buffer_bytes).unwrap_or(u32::MAX),
            ),
            // As many bytes, in a power of two of smaller buffers.
            classic_buffers: (
                1 << (bytes / small as usize).clamp(8, 1 << 15).ilog2(),
                small,
            ),
            datagram_buffers: (of(limits.datagram_buffers), default.datagram_buffers.1),
            fair_bytes: default.fair_bytes.min(most),
            alone_bytes: default.alone_bytes.min(most),
            off,
            ..default
        }
    }

    /// Bytes of one shard's ring and receive memory.
    #[must_use]
    pub fn memory(&self) -> u64 {
        let of = |(n, size): (u16, u32)| u64::from(n) * u64::from(size);
        of(self.stream_buffers).max(of(self.classic_buffers))
            + of(self.datagram_buffers)
            + u64::from(self.sq_entries) * 64
            + u64::from(self.cq_entries) * 16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configured_limits_give_rings_of_the_same_memory() {
        let settings = Settings::new(
            &Limits::new(&crate::config::Config::default(), 1),
            Features::NONE,
        );
        let bytes = |(n, size): (u16, u32)| {
            assert!(n.is_power_of_two());
            usize::from(n) * size as usize
        };
        assert_eq!(bytes(settings.stream_buffers), 32 << 20);
        assert_eq!(bytes(settings.classic_buffers), 32 << 20);
        assert_eq!(settings.connections, 16_384);
    }

    #[test]
    fn every_feature_is_found_by_its_name_and_no_other() {
        for f in Feature::ALL {
            assert_eq!(f.name().parse::<Feature>().unwrap(), f);
        }
        assert!("Incremental".parse::<Feature>().is_err());
        let set = Features::NONE.with(Feature::QuietSends);
        assert!(set.has(Feature::QuietSends) && !set.has(Feature::Incremental));
        assert_eq!(set.without(Feature::QuietSends), Features::NONE);
        assert!(Feature::ALL.iter().all(|f| Features::all().has(*f)));
    }
}
