//! What wakes the data plane: an eventfd that is written once, however much is asked before it looks, and not at all for what
//! it will see in time by itself. Woken for each thing that is asked, it would take the core from who asks, each time.

use std::{
    io,
    sync::atomic::{AtomicBool, AtomicU64, Ordering, fence},
};

use rustix::{
    event::{EventfdFlags, eventfd},
    fd::OwnedFd,
};

use crate::clock::Nanos;

/// Says that there are commands.
pub(crate) struct Wake {
    fd: OwnedFd,
    /// It has been rung and not been heard yet.
    rung: AtomicBool,
    /// When it wakes by itself; the end of time if it does not, 0 while it is awake.
    sleeps_until: AtomicU64,
}

impl Wake {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            fd: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            rung: AtomicBool::new(false),
            sleeps_until: AtomicU64::new(0),
        })
    }

    /// To be called before it looks for the last time: who asks later finds this, or has been seen.
    pub(crate) fn will_sleep(&self, until: Nanos) {
        self.sleeps_until.store(until, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// From now on it looks before it sleeps.
    pub(crate) fn is_awake(&self) {
        self.sleeps_until.store(0, Ordering::SeqCst);
    }

    /// To be called behind what is asked for and due at `due`: rings unless the sleeper looks in time by itself.
    pub(crate) fn ring_for(&self, due: Nanos) -> io::Result<()> {
        fence(Ordering::SeqCst);
        match due < self.sleeps_until.load(Ordering::SeqCst) {
            true => self.ring(),
            false => Ok(()),
        }
    }

    /// Readable from [`Wake::ring`] to [`Wake::heard`].
    pub(crate) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// To be called behind what it announces.
    pub(crate) fn ring(&self) -> io::Result<()> {
        if !self.rung.swap(true, Ordering::AcqRel) {
            rustix::io::write(&self.fd, &1_u64.to_ne_bytes())?;
        }
        Ok(())
    }

    /// To be called before looking: what was announced by rings until then is there, and later ones ring again.
    pub(crate) fn heard(&self) -> io::Result<()> {
        let mut count = [0; 8];
        rustix::io::read(&self.fd, &mut count)?;
        self.rung.swap(false, Ordering::AcqRel);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_once_until_it_is_heard() {
        let wake = Wake::new().unwrap();
        let count = || {
            let mut count = [0; 8];
            rustix::io::read(wake.fd(), &mut count).map(|_| u64::from_ne_bytes(count))
        };
        wake.ring().unwrap();
        wake.ring().unwrap();
        wake.heard().unwrap();
        assert!(count().is_err(), "nothing is left");
        wake.ring().unwrap();
        wake.ring().unwrap();
        assert_eq!(count().unwrap(), 1);
    }

    #[test]
    fn nobody_is_woken_for_what_he_will_see_in_time() {
        let wake = Wake::new().unwrap();
        let is_rung = || {
            let is = rustix::io::read(wake.fd(), &mut [0; 8]).is_ok();
            wake.rung.store(false, Ordering::Relaxed);
            is
        };
        for (asleep, due, rings) in [
            (Some(100), 0, true),
            (Some(100), 99, true),
            (Some(100), 100, false),
            (Some(Nanos::MAX), 100, true),
            (Some(Nanos::MAX), Nanos::MAX, false),
            (None, 0, false),
        ] {
            match asleep {
                Some(until) => wake.will_sleep(until),
                None => wake.is_awake(),
            }
            wake.ring_for(due).unwrap();
            assert_eq!(is_rung(), rings, "{asleep:?} {due}");
        }
    }
}
