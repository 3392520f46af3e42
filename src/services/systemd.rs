//! What a service manager is told, where one listens: ready, stopping, still alive.

use std::time::Duration;

use sd_notify::NotifyState;

use super::ask::Asker;
use crate::shard::report::Question;

/// New sessions are taken.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// Nothing new is taken; the manager's own patience begins.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// How often the manager wants to hear that we live, if it does.
pub(super) fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

/// Says that we live as long as every shard answers, twice as often as asked.
pub(super) async fn keep_telling(every: Duration, asker: Asker) {
    loop {
        let answers = asker.all(&Question::Counters).await;
        match answers.iter().find_map(|(_, a)| a.as_ref().err()) {
            None => tell(&[NotifyState::Watchdog]),
            // The manager restarts us when it has not heard from us for long enough.
            Some(silent) => tracing::error!(shard = silent.0.0, "a shard does not answer"),
        }
        tokio::time::sleep(every / 2).await;
    }
}

fn tell(state: &[NotifyState<'_>]) {
    // Without a manager there is nobody to tell, and that is no error; one that has gone away is not ours to mend.
    if let Err(e) = sd_notify::notify(state) {
        tracing::warn!(error = %e, "the service manager could not be told");
    }
}
