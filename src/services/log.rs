//! Where log lines go: standard error, through a thread of its own. When writing is slow, lines are dropped and counted;
//! a slow disk must not stop a shard.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    io::{self, IsTerminal as _, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{
    Registry, fmt, layer::SubscriberExt as _, reload, util::SubscriberInitExt as _,
};

use crate::config::{Format, Level, Log};

/// Lines that wait to be written: two seconds of the most that shards and services say ([`crate::shard::DEBUG_LINES_PER_S`]).
const LINES_MAX: usize = 2048;

/// How long the end of the process waits until what is left to say was written. Where nobody reads, it never is.
const PATIENCE: Duration = Duration::from_millis(500);

/// The log, while it is held; dropped, what waits is written first, if somebody takes it.
#[derive(Debug)]
pub struct Logging {
    level: reload::Handle<LevelFilter, Registry>,
    losses: Losses,
    /// There until this is dropped.
    guard: Option<WorkerGuard>,
}

impl Drop for Logging {
    fn drop(&mut self) {
        let guard = self.guard.take();
        within(PATIENCE, "log-end", || drop(guard));
    }
}

/// Does something on a thread of its own, and waits for its end for so long at most: what writes to a pipe may never come to
/// one. Whether it did.
pub(super) fn within(
    patience: Duration,
    name: &str,
    something: impl FnOnce() + Send + 'static,
) -> bool {
    let (over, is_over) = std::sync::mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name(name.to_owned());
    let begun = thread.spawn(move || {
        something();
        let _ = over.send(());
    });
    begun.is_ok() && is_over.recv_timeout(patience).is_ok()
}

/// Says something on standard error beside the log, if somebody takes it.
pub fn say(text: String) {
    within(PATIENCE, "say", move || {
        drop(writeln!(std::io::stderr(), "{text}"));
    });
}

/// Has panics told in the log, which never waits: a thread that panics while nobody reads standard error would stand still
/// instead of ending.
pub fn tell_panics() {
    std::panic::set_hook(Box::new(|info| {
        let thread = std::thread::current();
        let trace = Backtrace::capture();
        let trace = (trace.status() == BacktraceStatus::Captured).then(|| trace.to_string());
        let name = thread.name().unwrap_or("");
        tracing::error!(thread = name, panic = %info, trace, "a thread panicked: this is a bug");
    }));
}

impl Logging {
    /// Begins to log as `config` says. `None`: somebody logs in this process already.
    #[must_use]
    pub fn start(config: Log) -> Option<Self> {
        let failed = Arc::new(AtomicU64::new(0));
        let (writer, guard) = NonBlockingBuilder::default()
            .buffered_lines_limit(LINES_MAX)
            .lossy(true)
            .thread_name("log")
            .finish(Device {
                to: std::io::stderr(),
                failed: Arc::clone(&failed),
            });
        let losses = Losses {
            dropped: writer.error_counter(),
            failed,
        };
        let terminal = std::io::stderr().is_terminal();
        let (filter, level) = reload::Layer::new(filter(config.level));
        let human = match config.format {
            Format::Auto => terminal,
            Format::Json => false,
            Format::Human => true,
        };
        let registry = tracing_subscriber::registry().with(filter);
        let started = if human {
            let layer = fmt::layer().with_ansi(terminal).with_writer(writer);
            registry.with(layer).try_init()
        } else {
            let layer = fmt::layer().json().flatten_event(true).with_writer(writer);
            registry.with(layer).try_init()
        };
        started.ok().map(|()| Self {
            level,
            losses,
            guard: Some(guard),
        })
    }

    /// Logs from `level` on.
    pub fn set_level(&self, level: Level) {
        // It fails only when nobody logs any more.
        drop(self.level.reload(filter(level)));
    }

    /// Counts the lines that were lost.
    #[must_use]
    pub fn losses(&self) -> Losses {
        self.losses.clone()
    }
}

/// The lines of the log that were lost.
#[derive(Clone, Debug)]
pub struct Losses {
    /// Writing was slow.
    dropped: ErrorCounter,
    /// The device did not take them: it is full, say.
    failed: Arc<AtomicU64>,
}

impl Losses {
    /// How many.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.dropped.dropped_lines() as u64 + self.failed.load(Relaxed)
    }
}

/// Where the lines go, each written at once. One that is not taken is counted, and the next is tried all the same.
#[derive(Debug)]
struct Device<W> {
    to: W,
    failed: Arc<AtomicU64>,
}

impl<W: Write> Write for Device<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.write_all(line).map(|()| line.len())
    }

    fn write_all(&mut self, line: &[u8]) -> io::Result<()> {
        if self.to.write_all(line).is_err() {
            self.failed.fetch_add(1, Relaxed);
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        // What has no buffer has nothing to lose here.
        self.to.flush().or(Ok(()))
    }
}

const fn filter(level: Level) -> LevelFilter {
    match level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_line_that_a_full_device_does_not_take_is_counted() {
        let failed = Arc::new(AtomicU64::new(0));
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
        let mut device = Device {
            to: full.unwrap(),
            failed: Arc::clone(&failed),
        };
        for n in 1..=3 {
            device.write_all(b"a line\n").unwrap();
            assert_eq!(failed.load(Relaxed), n);
        }
        let mut device = Device {
            to: Vec::new(),
            failed: Arc::clone(&failed),
        };
        device.write_all(b"a line\n").unwrap();
        assert_eq!(
            (device.to.as_slice(), failed.load(Relaxed)),
            (&b"a line\n"[..], 3)
        );
    }
}
