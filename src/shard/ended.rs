//! The sessions that have ended last, as an operator would have seen them then: bounded in number and in bytes.

use std::collections::VecDeque;

use super::report::{SessionView, session_name};
use crate::{
    ids::{SessionId, ShardId},
    limits::{ENDED_LEGS, ENDED_SESSIONS, ENDED_TEXT_BYTES},
    time::Instant,
};

/// The last [`ENDED_SESSIONS`].
#[derive(Debug, Default)]
pub(super) struct EndedSessions {
    all: VecDeque<(Instant, SessionView)>,
}

impl EndedSessions {
    /// Keeps a session that ends now. `view`: how it was in the end.
    pub(super) fn keep(&mut self, now: Instant, mut view: SessionView) {
        if self.all.len() >= ENDED_SESSIONS {
            self.all.pop_front();
        }
        view.legs.truncate(ENDED_LEGS);
        view.legs.shrink_to_fit();
        let texts = view.legs.iter_mut().flat_map(|l| [&mut l.who, &mut l.why]);
        for text in texts.chain([&mut view.user, &mut view.originator, &mut view.why]) {
            cut(text);
        }
        self.all.push_back((now, view));
    }

    /// All of them, the youngest first.
    pub(super) fn list(&self, now: Instant) -> Vec<SessionView> {
        self.all.iter().rev().map(|e| seen(now, e)).collect()
    }

    /// One of them.
    pub(super) fn find(
        &self,
        now: Instant,
        shard: ShardId,
        session: SessionId,
    ) -> Option<SessionView> {
        let name = session_name(shard, session);
        let found = self.all.iter().rev().find(|(_, view)| view.id == name)?;
        Some(seen(now, found))
    }
}

fn seen(now: Instant, (at, view): &(Instant, SessionView)) -> SessionView {
    SessionView {
        ended_s: Some(now.since(*at).as_secs()),
        ..view.clone()
    }
}

/// Cuts a text to the bytes that it may take, and gives back what it took beyond.
fn cut(text: &mut String) {
    if text.len() > ENDED_TEXT_BYTES {
        text.truncate(text.floor_char_boundary(ENDED_TEXT_BYTES - "…".len()));
        text.push('…');
    }
    text.shrink_to_fit();
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::shard::report::LegView;

    #[test]
    fn what_is_kept_of_them_is_bounded_in_number_and_in_bytes() {
        let mut ended = EndedSessions::default();
        let long = "é".repeat(60_000);
        for n in 0..2 * ENDED_SESSIONS {
            let leg = LegView {
                who: long.clone(),
                why: long.clone(),
                ..LegView::default()
            };
            let view = SessionView {
                id: n.to_string(),
                user: long.clone(),
                originator: long.clone(),
                why: long.clone(),
                legs: vec![leg; 200],
                ..SessionView::default()
            };
            ended.keep(Instant::START, view);
        }
        assert_eq!(ended.all.len(), ENDED_SESSIONS);
        let list = ended.list(Instant::START);
        assert_eq!(
            list[0].id,
            (2 * ENDED_SESSIONS - 1).to_string(),
            "the youngest first"
        );
        for (_, view) in &ended.all {
            let texts = view.legs.iter().flat_map(|l| [&l.who, &l.why]);
            let texts = texts.chain([&view.user, &view.originator, &view.why]);
            let bytes: usize = texts.map(String::capacity).sum();
            assert!(bytes <= (2 * ENDED_LEGS + 3) * ENDED_TEXT_BYTES, "{bytes}");
            assert!(view.user.ends_with("é…"), "{}", view.user);
        }
    }
}
