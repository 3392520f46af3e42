//! The services thread from start to end: readiness, signals, reload, drain.

use std::{io, net::TcpListener, rc::Rc, time::Duration};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::Instant,
};

use super::{
    admin::{self, Admin},
    ask::{Asker, Shards},
    log::Logging,
    metrics,
    phase::{At, Control, Phase, Stop, Wish, Wishes},
    rt, systemd, voice,
};
use crate::{
    ids::ShardId,
    limits::ADMIN_CONNECTIONS_MAX,
    shard::report::{Answer, Question},
};

/// How long the shards may take from their threads' start to their first answer (settled.md 22).
const START_PATIENCE: Duration = Duration::from_secs(5);

/// How often a drain asks how far it has come.
const DRAIN_STEP: Duration = Duration::from_millis(50);

/// How long a drain waits for the shards' answers before it looks at the clock again.
const ANSWER_PATIENCE: Duration = Duration::from_millis(500);

/// How long the last answers are waited for, when there is no time left: a shard that works gives one within a turn or two.
const LAST_PATIENCE: Duration = Duration::from_millis(100);

/// What is left of `drain_s` for BYEs and their answers, when sessions have not ended by themselves.
const ENDING: Duration = Duration::from_secs(1);

/// How long the admin interface's connections may take to finish at the end: whoever asked for it gets an answer.
const CLOSING: Duration = Duration::from_millis(250);

/// How long the process may still take once it was told twice to end.
const AT_ONCE: Duration = Duration::from_millis(250);

/// What SIGHUP does; it gives what `drain_s` is from now on.
pub type Reload = Box<dyn FnMut(Option<&Logging>) -> Duration>;

/// What the services need.
pub struct Setup {
    /// Where the admin interface listens.
    pub admin: TcpListener,
    /// The shards, whose threads run.
    pub shards: Box<dyn Shards>,
    /// How long a drain takes at most: the last of it ([`ENDING`]) is for the sessions that have not ended by themselves.
    pub drain: Duration,
    /// From [`control`](super::control).
    pub control: Control,
    /// From [`control`](super::control).
    pub wishes: Wishes,
    /// Whether SIGTERM, SIGINT and SIGHUP are ours; not in a demo or test.
    pub signals: bool,
    /// The log, for its count of dropped lines.
    pub logging: Option<Logging>,
    /// Called at SIGHUP: reads the configuration again and says what `drain` is from now on.
    pub reload: Option<Reload>,
    /// Called once, when new sessions are taken.
    pub ready: Box<dyn FnOnce()>,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// No session was left.
    Empty,
    /// As told, with this many sessions left; `None`: a shard did not say.
    CutShort(Option<usize>),
    /// A shard has ended by itself, or never answered: a bug.
    Failed(ShardId),
}

/// Runs the services on this thread until the process is to end. The shards still run when it returns.
///
/// # Errors
/// What the system says when it has no ring, descriptor or signal for us.
pub fn run(setup: Setup) -> io::Result<Exit> {
    rt::run(services(setup))?
}

async fn services(setup: Setup) -> io::Result<Exit> {
    let Setup {
        admin: socket,
        shards,
        drain,
        control,
        wishes: Wishes(mut wishes),
        signals,
        logging,
        reload,
        ready,
    } = setup;
    if signals {
        listen_to_signals(&control)?;
    }
    let asker = Asker::new(shards);
    let phase = Rc::new(Phase::starting());
    let losses = logging.as_ref().map(Logging::losses);
    let admin = Rc::new(Admin {
        asker: asker.clone(),
        phase: Rc::clone(&phase),
        control,
        process: metrics::Process {
            log: losses.clone(),
        },
        loopback: socket.local_addr()?.ip().to_canonical().is_loopback(),
    });
    let listener = Rc::new(rt::Listener::new(socket)?);
    let bounds = rt::Bounds {
        connections: ADMIN_CONNECTIONS_MAX,
        deadline: admin::DEADLINE,
    };
    rt::spawn(Rc::clone(&listener).accept(bounds, admin));
    rt::spawn(Rc::clone(&listener).watch());
    rt::spawn(voice::keep_counting(losses));

    let mut life = Life {
        asker,
        phase,
        drain,
        logging,
        reload,
    };
    let exit = match life.start().await {
        Some(silent) => Exit::Failed(silent),
        None => {
            ready();
            life.live(&mut wishes).await
        }
    };
    listener.stop(CLOSING).await;
    Ok(exit)
}

/// Turns signals into wishes, on a thread of its own: the second one that asks for the end gets it, whatever the services do
/// just then, also before they are ready and after they are over.
fn listen_to_signals(control: &Control) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let inside = runtime.enter();
    let mut all = Vec::new();
    for kind in [
        SignalKind::terminate(),
        SignalKind::interrupt(),
        SignalKind::hangup(),
    ] {
        all.push((kind, signal(kind)?));
    }
    drop(inside);
    let control = control.clone();
    let listen = async move {
        let (tx, mut signals) = mpsc::channel(4);
        for (kind, mut signal) in all {
            let tx = tx.clone();
            drop(tokio::spawn(async move {
                while signal.recv().await.is_some() && tx.send(kind).await.is_ok() {}
            }));
        }
        let mut told = false;
        while let Some(kind) = signals.recv().await {
            if kind == SignalKind::hangup() {
                control.wish(Wish::Reload);
                continue;
            }
            control.wish(Wish::Terminate);
            if std::mem::replace(&mut told, true) {
                // The services say so, if they still can.
                tokio::time::sleep(AT_ONCE).await;
                std::process::exit(0);
            }
        }
    };
    let thread = std::thread::Builder::new().name("signals".to_owned());
    thread.spawn(move || runtime.block_on(listen))?;
    Ok(())
}

/// The process between its start and its end.
struct Life {
    asker: Asker,
    phase: Rc<Phase>,
    drain: Duration,
    logging: Option<Logging>,
    reload: Option<Reload>,
}

impl Life {
    /// Waits for every shard's first answer; tells which one never gave it.
    async fn start(&self) -> Option<ShardId> {
        let by = Instant::now() + START_PATIENCE;
        loop {
            let answers = self.asker.all(&Question::Counters).await;
            let silent = answers.iter().find_map(|(_, a)| a.as_ref().err());
            match silent {
                None => break,
                Some(s) if Instant::now() >= by => return Some(s.0),
                Some(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
        self.phase.set(At::Ready);
        systemd::ready();
        if let Some(every) = systemd::watchdog() {
            rt::spawn(systemd::keep_telling(every, self.asker.clone()));
        }
        None
    }

    /// From ready to the end.
    async fn live(&mut self, wishes: &mut mpsc::Receiver<Wish>) -> Exit {
        loop {
            match wishes.recv().await {
                Some(Wish::Reload) => self.read_again(),
                Some(Wish::Failed(shard)) => return Exit::Failed(shard),
                Some(Wish::Terminate) => return self.end(Stop::Drain, wishes).await,
                Some(Wish::Stop(how)) => return self.end(how, wishes).await,
                // Nobody is left who could wish for anything.
                None => return self.end(Stop::Drain, wishes).await,
            }
        }
    }

    fn read_again(&mut self) {
        if let Some(reload) = &mut self.reload {
            self.drain = reload(self.logging.as_ref());
        }
    }

    /// Takes nothing new, and waits for what is there, as `how` says; a more urgent wish replaces it.
    async fn end(&mut self, mut how: Stop, wishes: &mut mpsc::Receiver<Wish>) -> Exit {
        self.phase.set(At::Draining);
        systemd::stopping();
        tracing::info!(how = how.name(), "stopping");
        let mut begun = Instant::now();
        loop {
            let waited = begun.elapsed();
            let (end_after, leave_after) = match how {
                Stop::UntilEmpty => (Duration::MAX, Duration::MAX),
                Stop::Drain => (
                    self.drain.saturating_sub(ENDING.min(self.drain / 2)),
                    self.drain,
                ),
                Stop::Now => (Duration::ZERO, ENDING),
            };
            // A shard that is stuck delays neither the end nor a second signal.
            let patience = leave_after
                .saturating_sub(waited)
                .clamp(LAST_PATIENCE, ANSWER_PATIENCE);
            let asked = self.sessions_left(waited >= end_after);
            let left = tokio::time::timeout(patience, asked).await.unwrap_or(None);
            if left == Some(0) {
                tracing::info!("stopped, no session left");
                return Exit::Empty;
            }
            if begun.elapsed() >= leave_after {
                match left {
                    Some(sessions) => tracing::warn!(sessions, "stopped, sessions were left"),
                    None => {
                        tracing::warn!("stopped, a shard did not say whether it had sessions left");
                    }
                }
                return Exit::CutShort(left);
            }
            // The receiver owns no operation of the ring, so it may be raced against a timer.
            match tokio::time::timeout(DRAIN_STEP, wishes.recv()).await {
                Ok(Some(Wish::Terminate)) if how == Stop::UntilEmpty => {
                    (how, begun) = (Stop::Drain, Instant::now());
                }
                Ok(Some(Wish::Terminate)) => {
                    tracing::warn!(sessions = left, "stopped at once, as told twice");
                    return Exit::CutShort(left);
                }
                Ok(Some(Wish::Stop(wished))) if wished > how => {
                    (how, begun) = (wished, Instant::now());
                }
                Ok(Some(Wish::Failed(shard))) => return Exit::Failed(shard),
                Ok(Some(Wish::Reload)) => self.read_again(),
                Ok(Some(Wish::Stop(_)) | None) | Err(_) => {}
            }
        }
    }

    /// Sessions that are left in all shards; `None`: one did not say.
    async fn sessions_left(&self, end: bool) -> Option<usize> {
        let answers = self.asker.all(&Question::Drain { end }).await;
        answers
            .into_iter()
            .map(|(_, answer)| match answer {
                Ok(Answer::Draining { sessions }) => Some(sessions),
                _ => None,
            })
            .sum()
    }
}
