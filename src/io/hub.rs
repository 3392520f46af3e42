//! What shards and other threads share: a desk a shard, with its wake-ups, its stop flag, and connections given to it.
//!
//! Atomics and bounded queues; nothing here waits.

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI32, Ordering},
    },
};

use crossbeam::queue::ArrayQueue;
use rustix::event::{EventfdFlags, eventfd};

use crate::ids::{ShardId, SocketId};

/// Connections that may wait to be taken by one shard; above it they are reset.
const HAND_OVERS_MAX: usize = 1024;

/// A connection on its way to another shard.
#[derive(Debug)]
pub(super) struct HandedOver {
    pub(super) fd: OwnedFd,
    pub(super) socket: SocketId,
    pub(super) local: SocketAddr,
    pub(super) peer: SocketAddr,
    /// What was read so far.
    pub(super) bytes: Vec<u8>,
}

#[derive(Debug)]
struct Desk {
    event: OwnedFd,
    /// A duplicate of the ring's descriptor, -1 before there is one.
    ring: AtomicI32,
    /// A wake-up by eventfd is on its way.
    woken: AtomicBool,
    stop: AtomicBool,
    handed: ArrayQueue<HandedOver>,
}

impl Drop for Desk {
    fn drop(&mut self) {
        let ring = *self.ring.get_mut();
        if ring >= 0 {
            // SAFETY: `attach` put an owned descriptor there, and nobody else closes it.
            drop(unsafe { OwnedFd::from_raw_fd(ring) });
        }
    }
}

/// The desks of all shards.
#[derive(Clone, Debug)]
pub struct Hub {
    desks: Arc<[Desk]>,
}

impl Hub {
    /// Desks for `shards` shards.
    ///
    /// # Errors
    /// No descriptor for an eventfd.
    ///
    /// # Panics
    /// With none or more than 64 shards: a shard's number is below 64.
    pub fn new(shards: u8) -> io::Result<Self> {
        assert!((1..=64).contains(&shards), "1 to 64 shards");
        let desks = (0..shards)
            .map(|_| {
                Ok(Desk {
                    event: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
                    ring: AtomicI32::new(-1),
                    woken: AtomicBool::new(false),
                    stop: AtomicBool::new(false),
                    handed: ArrayQueue::new(HAND_OVERS_MAX),
                })
            })
            .collect::<io::Result<Vec<_>>>()?;
        Ok(Self {
            desks: desks.into(),
        })
    }

    /// How many shards there are.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.desks.len()
    }

    /// A handle to wake or stop `shard`; `None` for a shard that is not there.
    #[must_use]
    pub fn waker(&self, shard: ShardId) -> Option<Waker> {
        self.desk(shard)?;
        Some(Waker {
            hub: self.clone(),
            shard,
        })
    }

    fn desk(&self, shard: ShardId) -> Option<&Desk> {
        self.desks.get(usize::from(shard.0))
    }

    pub(super) fn event(&self, shard: ShardId) -> Option<BorrowedFd<'_>> {
        Some(self.desk(shard)?.event.as_fd())
    }

    /// Makes `ring`'s messages reach `shard`.
    pub(super) fn attach(&self, shard: ShardId, ring: BorrowedFd<'_>) -> io::Result<()> {
        let copy = rustix::io::fcntl_dupfd_cloexec(ring, 0)?.into_raw_fd();
        let old = self
            .desk(shard)
            .map_or(copy, |d| d.ring.swap(copy, Ordering::AcqRel));
        if old >= 0 {
            // SAFETY: it came out of the desk (or never went in), so it is ours alone.
            drop(unsafe { OwnedFd::from_raw_fd(old) });
        }
        Ok(())
    }

    /// The ring of `shard` is about to close: its messages go by eventfd again.
    pub(super) fn detach(&self, shard: ShardId) {
        let old = self
            .desk(shard)
            .map_or(-1, |d| d.ring.swap(-1, Ordering::AcqRel));
        if old >= 0 {
            // SAFETY: it came out of the desk, so it is ours alone. Who has just read the number and sends to it reaches
            // nothing, or another ring of ours that looks into its mailbox once more.
            drop(unsafe { OwnedFd::from_raw_fd(old) });
        }
    }

    /// The descriptor to send ring messages for `shard` to, once its ring is there.
    pub(super) fn ring(&self, shard: ShardId) -> Option<i32> {
        let fd = self.desk(shard)?.ring.load(Ordering::Acquire);
        (fd >= 0).then_some(fd)
    }

    /// Wakes `shard` by its eventfd: one write however many ask, until it is awake.
    pub(super) fn ring_bell(&self, shard: ShardId) {
        if let Some(desk) = self.desk(shard)
            && !desk.woken.swap(true, Ordering::AcqRel)
        {
            // EAGAIN, the only error an open eventfd has, says that the counter is full: it is readable already.
            let _ = rustix::io::write(&desk.event, &1_u64.to_ne_bytes());
        }
    }

    /// The shard is awake: what is rung from here on counts anew.
    pub(super) fn awake(&self, shard: ShardId) {
        if let Some(desk) = self.desk(shard) {
            // A swap, not a store: who found `woken` set has put his letter down before, and we see it from here on.
            desk.woken.swap(false, Ordering::AcqRel);
        }
    }

    pub(super) fn stopped(&self, shard: ShardId) -> bool {
        self.desk(shard)
            .is_none_or(|d| d.stop.load(Ordering::Acquire))
    }

    /// Puts a connection on `shard`'s desk.
    ///
    /// # Errors
    /// The connection itself, where the desk is full or there is no such shard.
    pub(super) fn hand_over(&self, shard: ShardId, it: HandedOver) -> Result<(), HandedOver> {
        match self.desk(shard) {
            Some(desk) => desk.handed.push(it),
            None => Err(it),
        }
    }

    pub(super) fn take_handed(&self, shard: ShardId) -> Option<HandedOver> {
        self.desk(shard)?.handed.pop()
    }
}

/// Wakes or stops one shard, from any thread.
#[derive(Clone, Debug)]
pub struct Waker {
    hub: Hub,
    shard: ShardId,
}

impl Waker {
    /// The shard looks into its mailbox soon. One system call, or none where it was woken already.
    pub fn wake(&self) {
        self.hub.ring_bell(self.shard);
    }

    /// The shard's driver returns from [`Driver::run`](super::Driver::run) after its turn.
    pub fn stop(&self) {
        if let Some(desk) = self.hub.desk(self.shard) {
            desk.stop.store(true, Ordering::Release);
            // Rung without regard to `woken`: a wake-up that was taken before the flag stood must not swallow this one.
            let _ = rustix::io::write(&desk.event, &1_u64.to_ne_bytes());
        }
    }
}
