//! What a connection waits for: to be named a session, to be used again, the end of a head, of a refused message, input of a frame
//! that is passed on.

use super::{
    core::{Deferred, Due},
    due::{HEAD, QUIET, RESPONSE},
    link::{Mode, Phase},
    plane::Plane,
};
use crate::{buf::Outbox, ids::ConnId, time::Instant, wire::msrp::Error};

impl Plane {
    /// Has the connection's timer fire at `at` or before.
    pub(super) fn arm_link(&mut self, conn: ConnId, at: Instant) {
        let Some(link) = self.links.get_mut(conn) else {
            return;
        };
        if let Some((timer, armed)) = link.timer {
            if armed <= at {
                return;
            }
            self.core.timers.cancel(timer);
        }
        link.timer = Some((self.core.timers.insert(at, Due::Link(conn)), at));
    }

    /// The connection's timer has fired.
    pub(super) fn link_due(&mut self, now: Instant, conn: ConnId, outbox: &mut Outbox) {
        let (bind, idle) = (self.core.settings.bind, self.core.settings.idle);
        let Some(link) = self.links.get_mut(conn) else {
            return;
        };
        link.timer = None;
        if link.phase != Phase::Open {
            return;
        }
        let mut next = None;
        if link.paused {
            // What does not come is our own doing: its time begins when reading goes on.
            link.head_at = now;
        }
        if !link.head.is_empty() {
            let by = link.head_at + HEAD;
            if by <= now {
                let head = std::mem::take(&mut link.head);
                self.heads -= head.len();
                let error = Error::unended(&head);
                self.core.on_error(now, conn, link, &error, &head, outbox);
                return;
            }
            next = Some(by);
        }
        if let Some(since) = link.unused_since.filter(|_| !link.lent) {
            // Before it has named a session: RFC 4975 §5.4. [MSRP-CONN-04]
            let by = since + if link.settled { idle } else { bind };
            if by <= now {
                self.core.counters.unbound += u64::from(!link.settled);
                self.close(conn, true);
                return;
            }
            next = Some(next.map_or(by, |n: Instant| n.min(by)));
        }
        if let Some(frame) = link.frame.as_ref().filter(|f| f.mode == Mode::Through) {
            let by = link.input_at + QUIET;
            if by <= now {
                let message = frame.message;
                self.core.interrupt_message(now, message, outbox);
            } else {
                next = Some(next.map_or(by, |n: Instant| n.min(by)));
            }
        }
        if let Some(refused) = link.frame.as_mut().and_then(|f| f.refused_at.as_mut()) {
            if link.paused {
                *refused = now;
            }
            let by = *refused + RESPONSE;
            if by <= now {
                // It was answered as long ago as an answer is waited for. If it still goes on, nothing needs it; more likely its
                // end has passed unseen, with what came after it.
                self.core.counters.malformed += 1;
                link.phase = Phase::Closing;
                self.core.deferred.push_back(Deferred::Malformed { conn });
                return;
            }
            next = Some(next.map_or(by, |n: Instant| n.min(by)));
        }
        if let Some(next) = next {
            self.arm_link(conn, next);
        }
    }
}
