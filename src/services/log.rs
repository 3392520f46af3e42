//! Where log lines go: standard error, through a thread of its own. When writing is slow, lines are dropped and counted;
//! a slow disk must not stop a shard.

use std::io::IsTerminal as _;

use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{
    Registry, fmt, layer::SubscriberExt as _, reload, util::SubscriberInitExt as _,
};

use crate::config::{Format, Level, Log};

/// Lines that wait to be written.
const LINES_MAX: usize = 8192;

/// The log, while it is held; dropped, what waits is written first.
#[derive(Debug)]
pub struct Logging {
    level: reload::Handle<LevelFilter, Registry>,
    dropped: ErrorCounter,
    _guard: WorkerGuard,
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
            _guard: guard,
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
