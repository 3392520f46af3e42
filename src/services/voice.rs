//! The lines that whoever asks the admin interface can cause: bounded as the shards' are, and what was lost is said.

use std::{cell::RefCell, time::Duration};

use tokio::time::Instant;

use super::log::Losses;
use crate::{
    shard::{Count, Kind, Lines},
    time,
};

/// How often counts are said.
const SECOND: Duration = Duration::from_secs(1);

thread_local! {
    /// Of the services' thread, where the admin interface is. What other threads wish for, no peer can make them wish.
    static LINES: (Instant, RefCell<Lines>) = (Instant::now(), RefCell::new(Lines::of_services()));
}

fn with<T>(f: impl FnOnce(&mut Lines, time::Instant) -> T) -> T {
    LINES.with(|(began, lines)| {
        let now = time::Instant::START + began.elapsed();
        f(&mut lines.borrow_mut(), now)
    })
}

/// Whether a line may be said now; if not, it is counted.
pub(super) fn may(kind: Kind) -> bool {
    with(|lines, now| lines.admit(now, kind, None))
}

/// Says each second what was not said, and what no device took.
pub(super) async fn keep_counting(losses: Option<Losses>) {
    let mut told = 0;
    loop {
        tokio::time::sleep(SECOND).await;
        while let Some(count) = with(Lines::poll) {
            let (Count::More { lines, .. } | Count::LeftOut { lines, .. }) = count;
            tracing::info!(lines, "admin: more lines within a second");
        }
        let lost = losses.as_ref().map_or(0, Losses::lines);
        if lost > told {
            tracing::warn!(
                lines = lost - told,
                "log lines were lost: its device is full or slow"
            );
            told = lost;
        }
    }
}
