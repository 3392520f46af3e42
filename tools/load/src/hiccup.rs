//! The hiccup meter: stalls that come from the machine, not from what is measured. On each core in use a thread of its own
//! sleeps a millisecond at a time and reads how late it wakes; beside it stands the time that a hypervisor took away. A
//! virtual machine is held up for tens of milliseconds by others, and one such stall decides a p99.9: a round that had one
//! is marked, and tail figures leave it out.
//!
//! The threads ask for the highest priority, so that what they see is the machine's doing and not that the core is busy with
//! what we measure. Where they do not get it (no privilege), a busy core delays them by a time slice: below the threshold.

use std::{
    fs, io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use rustix::{
    process::setpriority_process,
    thread::{ClockId, Timespec, clock_nanosleep_relative},
};
use serde_json::{Value, json};

use crate::{
    clock::{Clock, Nanos, nanos},
    pin,
    report::round3,
    tally::as_f64,
};

/// How long a meter sleeps at a time.
const PERIOD: Duration = Duration::from_millis(1);
/// The best there is (`setpriority(2)`).
const PRIORITY: i32 = -20;
/// Lateness from which on a round is marked, unless the run says otherwise.
pub(crate) const THRESHOLD: Duration = Duration::from_millis(5);

/// What the machine did during one round.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Hiccup {
    /// The latest that a meter woke, in nanoseconds.
    pub(crate) max: Nanos,
    /// Time that the hypervisor took from the cores in use, in milliseconds; the kernel counts in tens.
    pub(crate) steal_ms: u64,
    /// Whether a meter was later than the threshold.
    pub(crate) marked: bool,
}

impl Hiccup {
    /// `{"max_us":…,"steal_ms":…,"marked":…}`.
    pub(crate) fn json(&self) -> Value {
        json!({
            "max_us": round3(as_f64(self.max) / 1e3),
            "steal_ms": self.steal_ms,
            "marked": self.marked,
        })
    }
}

/// Running meters; they end when this is dropped.
pub(crate) struct Meter {
    cores: Vec<usize>,
    threshold: Nanos,
    latest: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    /// When the round began.
    stolen_ms: u64,
}

impl Meter {
    /// Starts one thread a core.
    pub(crate) fn start(clock: Clock, cores: Vec<usize>, threshold: Duration) -> io::Result<Self> {
        let latest = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let threads = cores.iter().map(|&core| {
            let (latest, stop) = (Arc::clone(&latest), Arc::clone(&stop));
            std::thread::Builder::new()
                .name(format!("hiccup-{core}"))
                .spawn(move || {
                    // Both only sharpen the reading: it is one without them as well.
                    let _ = pin::this_thread(core);
                    let _ = setpriority_process(None, PRIORITY);
                    while !stop.load(Ordering::Relaxed) {
                        latest.fetch_max(lateness(clock), Ordering::Relaxed);
                    }
                })
        });
        let threads = threads.collect::<io::Result<_>>()?;
        Ok(Self {
            cores,
            threshold: nanos(threshold),
            latest,
            stop,
            threads,
            stolen_ms: 0,
        })
    }

    /// A round begins.
    pub(crate) fn begin(&mut self) {
        self.stolen_ms = self.stolen();
        self.latest.store(0, Ordering::Relaxed);
    }

    /// A round ends: what happened since it began.
    pub(crate) fn end(&self) -> Hiccup {
        let max = self.latest.load(Ordering::Relaxed);
        Hiccup {
            max,
            steal_ms: self.stolen().saturating_sub(self.stolen_ms),
            marked: max > self.threshold,
        }
    }

    fn stolen(&self) -> u64 {
        fs::read_to_string("/proc/stat").map_or(0, |stat| stolen_ms(&stat, &self.cores))
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // It cannot panic; if it did, the process would say so.
            let _ = thread.join();
        }
    }
}

/// Sleeps once and says by how much too long.
fn lateness(clock: Clock) -> Nanos {
    let from = clock.now();
    let request = Timespec {
        tv_sec: 0,
        tv_nsec: i64::from(PERIOD.subsec_nanos()),
    };
    // Interrupted, it wakes early: that is no lateness.
    let _ = clock_nanosleep_relative(ClockId::Monotonic, &request);
    (clock.now() - from).saturating_sub(nanos(PERIOD))
}

/// Milliseconds of steal time of `cores` since the machine started, from the text of `/proc/stat`.
fn stolen_ms(stat: &str, cores: &[usize]) -> u64 {
    /// `USER_HZ` is 100 on every Linux that a program sees.
    const MS_A_TICK: u64 = 10;
    /// The eighth number of a line (proc_pid_stat(5)): user, nice, system, idle, iowait, irq, softirq, steal.
    const STEAL: usize = 7;
    let of_core = |line: &str| {
        let (core, numbers) = line.strip_prefix("cpu")?.split_once(' ')?;
        let core: usize = core.parse().ok()?;
        let steal: u64 = numbers.split_whitespace().nth(STEAL)?.parse().ok()?;
        cores.contains(&core).then_some(steal)
    };
    stat.lines().filter_map(of_core).sum::<u64>() * MS_A_TICK
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleep(ms: i64) {
        let request = Timespec {
            tv_sec: 0,
            tv_nsec: ms * 1_000_000,
        };
        // Woken early, a test would only see less.
        let _ = clock_nanosleep_relative(ClockId::Monotonic, &request);
    }

    #[test]
    fn steal_time_is_that_of_the_cores_in_use() {
        let stat = "cpu  9 9 9 9 9 9 9 99 0 0\ncpu0 1 2 3 4 5 6 7 10 0 0\ncpu1 1 2 3 4 5 6 7 20 0 0\n\
                    cpu2 1 2 3 4 5 6 7 40 0 0\nintr 5 5 5 5 5 5 5 5 5\n";
        assert_eq!(stolen_ms(stat, &[0, 2]), 500);
        assert_eq!(stolen_ms("", &[0]), 0);
    }

    #[test]
    fn a_meter_reads_every_round_anew_and_marks_what_is_over_its_threshold() {
        let clock = Clock::start();
        let core = pin::cores().unwrap()[..1].to_vec();
        // No sleep ends on the nanosecond.
        let mut eager = Meter::start(clock, core.clone(), Duration::ZERO).unwrap();
        let mut calm = Meter::start(clock, core, Duration::from_secs(60)).unwrap();
        for meter in [&mut eager, &mut calm] {
            meter.begin();
            sleep(30);
        }
        let (eager, calm) = (eager.end(), calm.end());
        assert!(eager.max > 0 && eager.marked, "{eager:?}");
        assert!(calm.max > 0 && !calm.marked, "{calm:?}");
    }
}
