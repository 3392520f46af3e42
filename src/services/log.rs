//! Where log lines go: standard error, through a thread of its own. When writing is slow, lines are dropped and counted;
//! a slow disk must not stop a shard.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    io::{IsTerminal as _, Write as _},
    time::Duration,
};

use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{
    Registry, fmt, layer::SubscriberExt as _, reload, util::SubscriberInitExt as _,
};

use crate::config::{Format, Level, Log};

/// Lines that wait to be written.
const LINES_MAX: usize = 8192;

/// How long the end of the process waits until what is left to say was written. Where nobody reads, it never is.
const PATIENCE: Duration = Duration::from_millis(500);

/// The log, while it is held; dropped, what waits is written first, if somebody takes it.
#[derive(Debug)]
pub struct Logging {
    level: reload::Handle<LevelFilter, Registry>,
    dropped: ErrorCounter,
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
        let (writer, guard) = NonBlockingBuilder::default()
            .buffered_lines_limit(LINES_MAX)
            .lossy(true)
            .thread_name("log")
            .finish(std::io::stderr());
        let dropped = writer.error_counter();
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
            dropped,
            guard: Some(guard),
        })
    }

    /// Logs from `level` on.
    pub fn set_level(&self, level: Level) {
        // It fails only when nobody logs any more.
        drop(self.level.reload(filter(level)));
    }

    /// Counts the lines that were dropped.
    #[must_use]
    pub fn dropped(&self) -> ErrorCounter {
        self.dropped.clone()
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
