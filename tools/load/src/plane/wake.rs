//! What wakes the data plane: an eventfd that is written once, however much is asked before it looks.

use std::{
    io,
    sync::atomic::{AtomicBool, Ordering},
};

use rustix::{
    event::{EventfdFlags, eventfd},
    fd::OwnedFd,
};

/// Says that there are commands.
pub(crate) struct Wake {
    fd: OwnedFd,
    /// It has been rung and not been heard yet.
    rung: AtomicBool,
}

impl Wake {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            fd: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            rung: AtomicBool::new(false),
        })
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

    /// To be called before looking: what was announced by rings until now is there, and later ones ring again.
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
}
