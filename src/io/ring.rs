//! The ring itself: how it is set up, how operations are put in, how they are submitted and what comes back.

use std::{io, os::fd::AsRawFd, time::Duration};

use io_uring::{IoUring, squeue, types};

use super::{
    counters::Counters,
    settings::{Feature, Features, Settings},
};

// The kernel's interface (`linux/io_uring.h`): flags of `io_uring_enter`, and the operation that registers ring descriptors.
const ENTER_GETEVENTS: u32 = 1;
const ENTER_EXT_ARG: u32 = 1 << 3;
const ENTER_REGISTERED_RING: u32 = 1 << 4;
const REGISTER_RING_FDS: libc::c_uint = 20;
const UNREGISTER_RING_FDS: libc::c_uint = 21;

/// `struct io_uring_getevents_arg`.
#[repr(C)]
struct WaitArg {
    sigmask: u64,
    sigmask_size: u32,
    min_wait_usec: u32,
    timespec: u64,
}

/// `struct io_uring_rsrc_update`.
#[repr(C)]
struct RingFd {
    offset: u32,
    reserved: u32,
    fd: u64,
}

/// What came back for one operation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Done {
    pub(super) name: u64,
    /// Not negative: the operation's result. Negative: the errno, negated.
    pub(super) result: i32,
    pub(super) flags: u32,
}

/// A shard's ring. One thread makes it and uses it.
pub(super) struct Ring {
    uring: IoUring,
    /// Where the ring's descriptor is registered for this thread: entering by it costs no look-up. The crate keeps this in
    /// a value that borrows the ring, so we enter ourselves.
    registered: Option<u32>,
}

impl Ring {
    /// A ring as `settings` says, with those of the `features` that are about rings.
    ///
    /// # Errors
    /// Those of `io_uring_setup`; [`super::probe`] puts them into words.
    pub(super) fn new(settings: &Settings, features: Features) -> io::Result<Self> {
        let mut builder = IoUring::builder();
        builder
            .setup_cqsize(settings.cq_entries)
            .setup_submit_all()
            .setup_single_issuer();
        if features.has(Feature::DeferTaskrun) {
            builder.setup_defer_taskrun();
        } else {
            builder.setup_coop_taskrun();
        }
        builder.setup_taskrun_flag().dontfork();
        let uring = builder.build(settings.sq_entries)?;
        let registered = if features.has(Feature::RegisteredRing) {
            Some(ring_fd(uring.as_raw_fd(), REGISTER_RING_FDS, u32::MAX)?)
        } else {
            None
        };
        Ok(Self { uring, registered })
    }

    /// The ring as the crate knows it, for registrations.
    pub(super) fn uring(&self) -> &IoUring {
        &self.uring
    }

    pub(super) fn fd(&self) -> i32 {
        self.uring.as_raw_fd()
    }

    /// Puts one operation in; a full queue is submitted first.
    ///
    /// # Errors
    /// Those of [`Ring::enter`].
    ///
    /// # Safety
    /// What the entry points to stays as it is until the operation's last completion has come, or, for what the kernel
    /// copies when it takes the entry (addresses, message headers, parts), until the next [`Ring::enter`] is done.
    pub(super) unsafe fn push(
        &mut self,
        entry: &squeue::Entry,
        counters: &mut Counters,
    ) -> io::Result<()> {
        self.room(1, counters)?;
        // SAFETY: the caller's promise.
        let pushed = unsafe { self.uring.submission().push(entry) };
        pushed.map_err(|_| io::ErrorKind::OutOfMemory.into())
    }

    /// Sees to it that `n` operations can be put in without a submission between them (a linked pair).
    ///
    /// # Errors
    /// Those of [`Ring::enter`].
    pub(super) fn room(&mut self, n: usize, counters: &mut Counters) -> io::Result<()> {
        let queue = self.uring.submission();
        let free = queue.capacity() - queue.len();
        drop(queue);
        if free < n {
            counters.sq_full += 1;
            self.enter(0, None, counters)?;
        }
        Ok(())
    }

    /// Submits everything that was put in, waits for `want` completions (`limit` at most, `None`: without limit), and has
    /// the kernel run what it put off.
    ///
    /// # Errors
    /// None that passes: `EINTR` and `ETIME` end the wait, `EAGAIN`, `EBUSY` and `ENOMEM` are tried again a bounded
    /// number of times, anything else means that the ring is lost.
    pub(super) fn enter(
        &mut self,
        want: u32,
        limit: Option<Duration>,
        counters: &mut Counters,
    ) -> io::Result<()> {
        let (mut want, mut limit) = (want, limit);
        let mut tries = 0;
        loop {
            counters.enters += 1;
            let outcome = self.enter_once(want, limit);
            if let Err(e) = outcome {
                match e.raw_os_error() {
                    // The wait is over; what was put in has been submitted.
                    Some(libc::ETIME | libc::EINTR) => {}
                    // No memory for a request, or completions wait in the kernel: try again, a second long at most.
                    Some(libc::EAGAIN | libc::EBUSY | libc::ENOMEM) if tries < 1000 => {
                        tries += 1;
                        if self.uring_len() > 0 {
                            (want, limit) = (1, Some(Duration::from_millis(1)));
                            continue;
                        }
                    }
                    // EBADF, EBADFD, EFAULT, EINVAL, ENXIO, EOPNOTSUPP, EEXIST: our own mistake, or the ring is lost.
                    _ => return Err(e),
                }
            }
            if self.uring_len() == 0 {
                return Ok(());
            }
            // Some entries were not taken: they are, before anything they point to changes. No more waiting.
            want = 0;
        }
    }

    fn enter_once(&mut self, want: u32, limit: Option<Duration>) -> io::Result<()> {
        let queued = self.uring_len();
        let (fd, mut flags) = match self.registered {
            Some(index) => (index.cast_signed(), ENTER_REGISTERED_RING),
            None => (self.uring.as_raw_fd(), 0),
        };
        flags |= ENTER_GETEVENTS;
        let spec = limit.map(types::Timespec::from);
        let arg = spec.as_ref().map(|spec| WaitArg {
            sigmask: 0,
            sigmask_size: 0,
            min_wait_usec: 0,
            timespec: std::ptr::from_ref(spec) as u64,
        });
        let (at, size) = match arg.as_ref().filter(|_| want > 0) {
            Some(arg) => {
                flags |= ENTER_EXT_ARG;
                (std::ptr::from_ref(arg), size_of::<WaitArg>())
            }
            None => (std::ptr::null(), 0),
        };
        // SAFETY: `at` is null or points to an argument (and through it to a time) that outlives the call; what the
        // entries point to is the promise of `push`.
        let outcome =
            unsafe { libc::syscall(libc::SYS_io_uring_enter, fd, queued, want, flags, at, size) };
        if outcome < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }

    /// Whether the kernel has completions for us, or put off what makes some: [`Ring::enter`] brings them. No system call.
    pub(super) fn has_news(&mut self) -> bool {
        std::hint::spin_loop();
        self.uring.submission().taskrun() || !self.uring.completion().is_empty()
    }

    fn uring_len(&mut self) -> usize {
        self.uring.submission().len()
    }

    /// Takes all completions, those included that the kernel had to keep for want of room.
    ///
    /// # Errors
    /// Those of [`Ring::enter`].
    pub(super) fn reap(&mut self, into: &mut Vec<Done>, counters: &mut Counters) -> io::Result<()> {
        loop {
            let before = into.len();
            into.extend(self.uring.completion().map(|e| Done {
                name: e.user_data(),
                result: e.result(),
                flags: e.flags(),
            }));
            counters.completions += (into.len() - before) as u64;
            if !self.uring.submission().cq_overflow() {
                return Ok(());
            }
            counters.cq_overflows += 1;
            self.enter(0, None, counters)?;
        }
    }
}

impl Drop for Ring {
    /// A registered ring lives on when its descriptor is closed: it is taken out first.
    fn drop(&mut self) {
        if let Some(index) = self.registered {
            let _ = ring_fd(self.uring.as_raw_fd(), UNREGISTER_RING_FDS, index);
        }
    }
}

/// Registers the ring's own descriptor for this thread (index `u32::MAX`: a free one is found) or takes it out; returns
/// the index.
fn ring_fd(fd: i32, operation: libc::c_uint, index: u32) -> io::Result<u32> {
    let mut update = RingFd {
        offset: index,
        reserved: 0,
        fd: match operation {
            REGISTER_RING_FDS => u64::from(fd.unsigned_abs()),
            _ => 0,
        },
    };
    // SAFETY: one update, which the kernel reads and writes the index into.
    let outcome = unsafe {
        libc::syscall(
            libc::SYS_io_uring_register,
            fd,
            operation,
            &raw mut update,
            1,
        )
    };
    if outcome < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(update.offset)
}
