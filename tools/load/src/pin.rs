//! Which core a thread runs on.

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Keeps the calling thread, and what it starts from now on, on one core.
pub(crate) fn this_thread(core: usize) -> io::Result<()> {
    if core >= CpuSet::MAX_CPU {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("there is no core {core}"),
        ));
    }
    let mut set = CpuSet::new();
    set.set(core);
    Ok(sched_setaffinity(None, &set)?)
}

/// Runs `work` on a thread that stays on `core`, and returns what it returns. A process started inside it inherits the
/// core, with all its threads, from its first instruction on.
pub(crate) fn with_core<T: Send>(
    core: Option<usize>,
    work: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    std::thread::scope(|s| {
        s.spawn(|| {
            if let Some(core) = core {
                this_thread(core)?;
            }
            work()
        })
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("the starting thread panicked")))
    })
}

/// The cores that this process may use, lowest first.
pub(crate) fn cores() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|&c| set.is_set(c)).collect())
}
