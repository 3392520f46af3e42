//! Threads by name, a shard's on its core; and what all of them share: pages of memory.

use std::{io, thread::JoinHandle};

use rustix::thread::{
    CpuSet, disable_transparent_huge_pages, sched_getaffinity, sched_setaffinity,
};

/// Starts a named thread; with `core`, it stays on that core.
///
/// # Errors
/// The system has no thread to give. A core that cannot be had (a container's cpuset) is told to `body` as an error: a
/// shard runs without it.
pub fn spawn<T: Send + 'static>(
    name: &str,
    core: Option<usize>,
    body: impl FnOnce(io::Result<()>) -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || body(core.map_or(Ok(()), pin)))
}

/// Keeps the calling thread on `core`.
///
/// # Errors
/// `EINVAL`: there is no such core, or this process may not use it.
pub fn pin(core: usize) -> io::Result<()> {
    if core >= CpuSet::MAX_CPU {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut set = CpuSet::new();
    set.set(core);
    Ok(sched_setaffinity(None, &set)?)
}

/// The cores that this process may use, in order.
#[must_use]
pub fn cores() -> Vec<usize> {
    sched_getaffinity(None).map_or_else(
        |_| Vec::new(),
        |set| (0..CpuSet::MAX_CPU).filter(|c| set.is_set(*c)).collect(),
    )
}

/// Has this process take memory in small pages alone. The allocator asks for huge ones, and the first byte that is written to
/// one clears it whole, in the middle of a turn: a fifth of a millisecond, several on a virtual machine whose host has no such
/// memory at hand. Only pages that are touched from now on are meant. A kernel without huge pages refuses: it has none to take.
pub fn small_pages() {
    let _ = disable_transparent_huge_pages(true);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_has_its_name_and_its_core() {
        let core = cores()[0];
        let seen = spawn("shard-7", Some(core), move |pinned| {
            pinned.unwrap();
            (std::thread::current().name().map(str::to_owned), cores())
        })
        .unwrap()
        .join()
        .unwrap();
        assert_eq!(seen, (Some("shard-7".to_owned()), vec![core]));
    }

    #[test]
    fn a_core_that_is_not_there_is_told_and_the_thread_runs() {
        let refused = spawn("x", Some(CpuSet::MAX_CPU - 1), |pinned| pinned.is_err())
            .unwrap()
            .join()
            .unwrap();
        assert!(refused);
        assert!(pin(usize::MAX).is_err());
    }
}
