//! Passing on a chunk that is there as a whole and whose head goes on unchanged behind From-Path: what nearly every chunk is.
//!
//! The long way ([`super::fan`]) finds everything anew at each step, so that any step may end the leg or the message. Here
//! nothing can: one pass over the legs with all tables at hand, one call of the outbox a leg. A leg that asks for more goes
//! the long way.

use super::{
    core::Core,
    fan::Chunk,
    leg::owner,
    message::Progress,
    slab::Handle,
    tid,
    unanswered::{Expects, SENT_BYTES, in_leg},
};
use crate::{
    buf::{Frame, NotNow, Outbox, Received, Slice, TID_LEN},
    time::Instant,
};

impl Core {
    /// Puts a chunk out on every leg that is sending its message.
    pub(super) fn forward_whole(
        &mut self,
        now: Instant,
        message: Handle,
        chunk: &Chunk<'_>,
        parts: &[Slice],
        outbox: &mut Outbox,
    ) {
        let mut shared = std::mem::take(&mut self.shared);
        let mut others = std::mem::take(&mut self.others);
        line_up(&mut shared, &chunk.rest.bytes, parts);
        let over = self.put_on_legs(now, message, chunk, &shared, None, &mut others, outbox);
        // A slice that is held longer than needed pins its receive buffer.
        shared.clear();
        self.shared = shared;
        self.put_on_others(now, message, chunk, parts, over, others, outbox);
    }

    /// The long way for the shares that need it, and what is to be done about legs that may be over their bounds.
    #[expect(clippy::too_many_arguments, reason = "a chunk and what came of it")]
    pub(super) fn put_on_others(
        &mut self,
        now: Instant,
        message: Handle,
        chunk: &Chunk<'_>,
        parts: &[Slice],
        over: bool,
        mut others: Vec<usize>,
        outbox: &mut Outbox,
    ) {
        for &share in &others {
            self.forward_to(now, message, share, chunk, &[], parts, outbox);
        }
        // The long way does not say how its legs stand.
        let over = over || !others.is_empty();
        others.clear();
        self.others = others;
        if over {
            self.check_bounds(now, message, outbox);
        }
    }

    /// The one pass. `shared`: what follows the paths, head and body. `all`: it is all of the message, of that many bytes, and
    /// each leg is known to take it. `others`: the shares that go the long way. Whether something is left to be looked at.
    #[expect(clippy::too_many_arguments, reason = "a chunk and what comes of it")]
    pub(super) fn put_on_legs(
        &mut self,
        now: Instant,
        message: Handle,
        chunk: &Chunk<'_>,
        shared: &[Slice],
        all: Option<u64>,
        others: &mut Vec<usize>,
        outbox: &mut Outbox,
    ) -> bool {
        let Self {
            sessions,
            messages,
            sent,
            counters,
            tids,
            settings,
            holders,
            ..
        } = self;
        let Some(m) = messages.get_mut(message) else {
            return false;
        };
        let session = m.session;
        let Some(s) = sessions.get_mut(session) else {
            return false;
        };
        let expects = Expects::of(m.failure_report);
        let last = chunk.start + chunk.len - 1;
        let (mut awaited, mut over) = (0, false);
        let paused = !s.paused.is_empty();
        let (bytes_max, sends_max) = (settings.outbox_bytes, settings.unanswered_max);
        let (chance, received) = (tids.chance(), Received::new(shared));
        for (place, share) in m.shares.iter_mut().enumerate() {
            if share.progress != Progress::Sending {
                continue;
            }
            let Some(l) = s.leg_as_it_is(share.leg) else {
                continue;
            };
            let Some(conn) = l.conn else { continue };
            // What is all of a message is known to be none of these.
            if all.is_none()
                && (paused
                    || l.peer
                        .as_ref()
                        .and_then(|p| p.max_size)
                        .is_some_and(|max| last > max))
            {
                others.push(place);
                continue;
            }
            let mut taken = (expects != Expects::Nothing).then(|| sent.take_mut());
            let tid = match &taken {
                // Different places: the ids differ.
                Some((handle, entry)) => {
                    let id = chance.id(handle.place, &entry.tid);
                    if tid::is_beside(&id, chunk.avoid) {
                        id
                    } else {
                        tids.make_beside(handle.place, &entry.tid, chunk.avoid)
                    }
                }
                None => tids.make_beside(tid::NO_PLACE, &[0; TID_LEN], chunk.avoid),
            };
            let frame = Frame {
                owner: owner(session, share.leg),
                tid,
                head: l.head(),
                received,
                body_at: chunk.rest.bytes.len(),
                flag: chunk.flag,
            };
            let stand = match outbox.frame(conn, &frame) {
                Ok(stand) => stand,
                Err(why) => {
                    over = true;
                    if let Some((handle, _)) = taken {
                        sent.release(handle);
                    }
                    if why == NotNow::Open {
                        others.push(place);
                    }
                    continue;
                }
            };
            share.begun = true;
            if let Some(bytes) = all {
                share.progress = Progress::Sent;
                l.to.count(bytes);
            }
            counters.chunks_out += 1;
            counters.bytes_out += chunk.len;
            over |= stand.backlog > bytes_max;
            if let Some((handle, entry)) = &mut taken {
                entry.tid = tid;
                entry.conn = conn;
                entry.session = session;
                entry.leg = share.leg;
                entry.message = Some(message);
                entry.share = u16::try_from(place).unwrap_or(u16::MAX);
                entry.expects = expects;
                // All of a message: its share counts it.
                entry.counted = all.is_none();
                entry.at = now;
                entry.put = stand.put;
                let handle = *handle;
                l.unanswered.push(sent, handle, in_leg);
                share.outstanding += u32::from(expects == Expects::Response);
                over |= l.unanswered.len() > sends_max;
                awaited += 1;
            }
        }
        if all.is_none() {
            holders.take(&mut s.holds, awaited * SENT_BYTES);
            over |= holders.is_tight(&s.holds);
        }
        if awaited > 0 {
            self.arm(session, now + super::due::RESPONSE);
        }
        over
    }
}

/// The rest of the head and the body as they lie: one piece where they lie in one.
fn line_up(shared: &mut Vec<Slice>, rest: &Slice, parts: &[Slice]) {
    shared.push(rest.clone());
    for part in parts {
        if !shared.last_mut().is_some_and(|last| last.join(part)) {
            shared.push(part.clone());
        }
    }
}
