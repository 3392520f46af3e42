//! Readiness: a level-triggered epoll set and its events. It knows descriptors and tokens, nothing else.

use std::{io, os::fd::AsFd, time::Duration};

use rustix::{
    event::{
        Timespec,
        epoll::{self, CreateFlags, Event, EventData, EventFlags},
    },
    fd::OwnedFd,
    io::Errno,
};

/// What a connection waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Interest {
    /// Bytes to read, or the peer's end.
    pub(crate) read: bool,
    /// Room to write.
    pub(crate) write: bool,
}

impl Interest {
    /// Reading alone: where each connection begins.
    pub(crate) const READ: Self = Self {
        read: true,
        write: false,
    };

    fn flags(self) -> EventFlags {
        let mut f = EventFlags::empty();
        if self.read {
            f |= EventFlags::IN | EventFlags::RDHUP;
        }
        if self.write {
            f |= EventFlags::OUT;
        }
        f
    }
}

/// One ready descriptor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready {
    /// The number under which it was added.
    pub(crate) token: u64,
    /// A read will not block. Also set at an error or an end, which the read then reports.
    pub(crate) read: bool,
    /// A write will not block.
    pub(crate) write: bool,
}

/// An epoll set and room for one batch of events.
pub(crate) struct Poller {
    epoll: OwnedFd,
    events: Vec<Event>,
}

impl Poller {
    /// Events taken by one system call.
    const BATCH: usize = 512;

    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            events: vec![
                Event {
                    flags: EventFlags::empty(),
                    data: EventData::new_u64(0),
                };
                Self::BATCH
            ],
        })
    }

    pub(crate) fn add(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        epoll::add(&self.epoll, fd, EventData::new_u64(token), interest.flags())?;
        Ok(())
    }

    pub(crate) fn modify(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        epoll::modify(&self.epoll, fd, EventData::new_u64(token), interest.flags())?;
        Ok(())
    }

    /// Waits until something is ready or `timeout` has passed (none: for ever) and returns how many events
    /// [`Poller::ready`] holds. An interrupted wait is an empty one.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        let timeout = timeout.map(|d| Timespec {
            tv_sec: i64::try_from(d.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(d.subsec_nanos()),
        });
        match epoll::wait(&self.epoll, &mut self.events[..], timeout.as_ref()) {
            Ok(n) => Ok(n),
            Err(Errno::INTR) => Ok(0),
            Err(e) => Err(e.into()),
        }
    }

    /// Event `i` of the last wait.
    pub(crate) fn ready(&self, i: usize) -> Ready {
        let Event { flags, data } = self.events[i];
        let over = EventFlags::ERR | EventFlags::HUP | EventFlags::RDHUP;
        Ready {
            token: data.u64(),
            read: flags.intersects(EventFlags::IN | over),
            write: flags.intersects(EventFlags::OUT | EventFlags::ERR),
        }
    }
}
