//! What the kernel says about processes and sockets: CPU, memory. Linux `/proc`, read when asked.

use std::{fs, io};

/// CPU time of all threads of a process and of what it has started, in nanoseconds.
pub(crate) fn cpu_ns(pid: u32) -> io::Result<u64> {
    Ok(thread_times(pid)?.iter().map(|t| t.ns).sum())
}

/// CPU time of one thread of a process, or of a process that it has started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ThreadTime {
    id: u32,
    ns: u64,
}

impl ThreadTime {
    /// What each thread spent between two readings, in nanoseconds.
    pub(crate) fn spent(before: &[Self], after: &[Self]) -> Vec<u64> {
        let earlier = |id: u32| before.iter().find(|t| t.id == id).map_or(0, |t| t.ns);
        after
            .iter()
            .map(|t| t.ns.saturating_sub(earlier(t.id)))
            .collect()
    }
}

/// CPU time of each thread of a process and of those that it has started.
pub(crate) fn thread_times(pid: u32) -> io::Result<Vec<ThreadTime>> {
    let mut all = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let path = task?.path();
        // A thread that has just ended is no error.
        let ns = fs::read_to_string(path.join("schedstat"))
            .ok()
            .and_then(|s| first_number(&s));
        let id = path
            .file_name()
            .and_then(|n| n.to_str())
            .and_then(|n| n.parse().ok());
        if let (Some(id), Some(ns)) = (id, ns) {
            all.push(ThreadTime { id, ns });
        }
    }
    for child in children(pid) {
        all.extend(thread_times(child).unwrap_or_default());
    }
    Ok(all)
}

/// CPU time of the calling thread, in nanoseconds.
pub(crate) fn thread_cpu_ns() -> io::Result<u64> {
    first_number(&fs::read_to_string("/proc/thread-self/schedstat")?).ok_or_else(unreadable)
}

/// The processes that a process has started and that are still there.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"));
    tasks
        .into_iter()
        .flatten()
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("children")).ok())
        .flat_map(|line| {
            line.split_whitespace()
                .filter_map(|w| w.parse().ok())
                .collect::<Vec<u32>>()
        })
        .collect()
}

/// Memory of a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Memory {
    /// Resident, in bytes.
    pub(crate) rss: u64,
    /// Resident with shared pages divided among their users, in bytes.
    pub(crate) pss: u64,
    /// Most that was ever resident, in bytes.
    pub(crate) peak: u64,
}

/// Memory of a process.
pub(crate) fn memory(pid: u32) -> io::Result<Memory> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let kib = |text: &str, key: &str| field(text, key).map(|n| n * 1024).ok_or_else(unreadable);
    Ok(Memory {
        rss: kib(&status, "VmRSS:")?,
        pss: kib(&rollup, "Pss:")?,
        peak: kib(&status, "VmHWM:")?,
    })
}

/// Sockets of the machine, all processes together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Sockets {
    /// TCP sockets in use.
    pub(crate) tcp: u64,
    /// Bytes of buffered data that the kernel counts for TCP, both directions. The sockets themselves are in the kernel's slabs.
    pub(crate) tcp_buffered: u64,
    /// Bytes in the kernel's reclaimable and unreclaimable slabs, of the whole machine: sockets, inodes, files.
    pub(crate) slab: u64,
}

/// Sockets of the machine.
pub(crate) fn sockets() -> io::Result<Sockets> {
    const PAGE: u64 = 4096;
    let stat = fs::read_to_string("/proc/net/sockstat")?;
    let tcp = stat
        .lines()
        .find_map(|l| l.strip_prefix("TCP:"))
        .ok_or_else(unreadable)?;
    let word = |key: &str| {
        let mut words = tcp.split_whitespace();
        words.find(|w| *w == key)?;
        words.next()?.parse::<u64>().ok()
    };
    let meminfo = fs::read_to_string("/proc/meminfo")?;
    Ok(Sockets {
        tcp: word("inuse").ok_or_else(unreadable)?,
        tcp_buffered: word("mem").ok_or_else(unreadable)? * PAGE,
        slab: field(&meminfo, "Slab:").ok_or_else(unreadable)? * 1024,
    })
}

/// Kernel release.
pub(crate) fn kernel() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease")
        .map(|s| s.trim().to_owned())
        .unwrap_or_default()
}

/// The processor's name and how many there are.
pub(crate) fn processors() -> (String, usize) {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let names: Vec<&str> = info
        .lines()
        .filter_map(|l| l.strip_prefix("model name"))
        .filter_map(|l| l.split_once(':').map(|(_, name)| name.trim()))
        .collect();
    (
        names.first().copied().unwrap_or("unknown").to_owned(),
        names.len(),
    )
}

fn field(text: &str, key: &str) -> Option<u64> {
    text.lines()
        .find_map(|l| l.strip_prefix(key))
        .and_then(first_number)
}

fn first_number(s: &str) -> Option<u64> {
    s.split_whitespace().next()?.parse().ok()
}

fn unreadable() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "/proc is not as expected")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_process_has_memory_sockets_and_spends_time() {
        let pid = std::process::id();
        let m = memory(pid).unwrap();
        assert!(m.rss > 0 && m.pss > 0 && m.peak >= m.rss);
        let before = thread_cpu_ns().unwrap();
        let mut x = 1_u64;
        for i in 0..20_000_000_u64 {
            x = std::hint::black_box(x.wrapping_mul(i | 1));
        }
        assert!(thread_cpu_ns().unwrap() > before, "{x}");
        assert!(cpu_ns(pid).unwrap() > 0);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(sockets().unwrap().tcp > 0);
        drop(listener);
        assert!(processors().1 > 0);
        assert!(!kernel().is_empty());
    }
}
