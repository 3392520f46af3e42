//! Which legs a message goes to, and with what it begins on each.

use super::{
    core::Core,
    leg::{Leg, State},
    message::{Message, Progress, Share},
    slab::{Handle, List},
};
use crate::{
    ids::{LegId, SessionId},
    time::Instant,
    wire::cpim::Verdict,
};

impl Core {
    /// Chooses the legs that a message goes to, once its type is known. With no leg to go to yet it waits.
    ///
    /// # Errors
    /// The code to refuse it with, if no leg can take it.
    pub(super) fn choose(&mut self, now: Instant, message: Handle) -> Result<(), u16> {
        let Self {
            sessions, messages, ..
        } = self;
        let m = messages.get_mut(message).ok_or(481u16)?;
        m.chosen = true;
        let (session, from) = (m.session, m.from);
        let mut shares = std::mem::take(&mut m.shares);
        if let Some(s) = sessions.get_mut(session) {
            let paused = s.is_paused(from);
            let legs = s.legs.iter_mut().filter_map(|l| l.as_deref_mut());
            shares.extend(
                legs.filter(|l| is_across(from, l.id))
                    .filter_map(|l| share_of(m, l, paused)),
            );
        }
        m.shares = shares;
        self.weigh(message);
        let Some(m) = self.messages.get(message) else {
            return Err(481);
        };
        self.counters.messages_out += m.shares.len() as u64;
        if m.shares.is_empty() {
            self.arm(session, now + super::due::PATIENCE);
            return Ok(());
        }
        match m.failure() {
            Some(code) => Err(code),
            None => Ok(()),
        }
    }

    /// What a message is to one leg. `None`: the leg takes no part.
    fn share(&mut self, message: Handle, session: SessionId, leg: LegId) -> Option<Share> {
        let m = self.messages.get(message)?;
        let s = self.sessions.get_mut(session)?;
        let paused = s.is_paused(m.from);
        share_of(m, s.leg_mut(leg)?, paused)
    }

    /// A leg takes part from now on: messages that found no leg so far go to it.
    pub(super) fn claim(&mut self, session: SessionId, leg: LegId) {
        if leg == LegId::ORIGINATOR {
            return;
        }
        let mut at = self
            .sessions
            .get(session)
            .and_then(|s| s.messages.first(&self.messages));
        while let Some(handle) = at {
            at = List::after(&mut self.messages, handle, super::message::in_session);
            let unclaimed = self
                .messages
                .get(handle)
                .is_some_and(|m| m.chosen && m.shares.is_empty() && m.is_from_originator());
            if !unclaimed {
                continue;
            }
            let Some(mut share) = self.share(handle, session, leg) else {
                continue;
            };
            // What has begun without a leg goes out whole, once it is.
            if share.progress == Progress::Sending {
                share.progress = Progress::Waiting;
            }
            let Some(m) = self.messages.get_mut(handle) else {
                continue;
            };
            let counts = m.complete && share.progress == Progress::Waiting;
            m.shares.push(share);
            self.weigh(handle);
            self.counters.messages_out += 1;
            if counts && let Some(l) = self.leg_mut(session, leg) {
                l.waiting += 1;
            }
        }
    }
}

/// Whether what `from` sends is meant for `to`: the originator writes to the devices, a device to the originator.
pub(super) fn is_across(from: LegId, to: LegId) -> bool {
    (from == LegId::ORIGINATOR) != (to == LegId::ORIGINATOR)
}

/// What a message is to a leg; `paused`: its sender is not read just now.
fn share_of(m: &Message, l: &mut Leg, paused: bool) -> Option<Share> {
    let progress = progress_on(l, m.kind, &m.types().key, m.total, paused)?;
    Some(Share::new(l.id, progress))
}

/// How a message of this kind, type and size begins on a leg. `None`: the leg takes no part.
pub(super) fn progress_on(
    l: &mut Leg,
    kind: Option<Verdict>,
    type_key: &[u8],
    total: Option<u64>,
    paused: bool,
) -> Option<Progress> {
    let may_take = match l.state {
        State::Started | State::Failed | State::Offered => {
            l.id == LegId::ORIGINATOR || l.takes_part()
        }
        State::Aborted | State::Ended => false,
    };
    if !may_take {
        return None;
    }
    let max = l.peer.as_ref().and_then(|p| p.max_size);
    Some(
        if kind == Some(Verdict::Chat) && !l.direction().peer_receives {
            Progress::Failed(403)
        } else if l.peer.is_some() && !l.takes(type_key) {
            Progress::Failed(415)
        } else if max.is_some_and(|max| total.is_some_and(|total| total > max)) {
            Progress::Failed(413)
        } else if l.stalled_since().is_some() && l.refusing && !paused {
            // settled.md R3: reading cannot stop, so what is new is refused.
            Progress::Failed(408)
        } else if l.conn.is_none() || l.peer.is_none() || l.waiting > 0 {
            Progress::Waiting
        } else {
            Progress::Sending
        },
    )
}
