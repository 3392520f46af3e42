//! Devices' answers to INVITEs, sent again until their ACKs come (RFC 3261 §13.3.1.4: over TCP too). One task looks after all
//! of them: nearly every answer has its ACK long before anybody has to look.

use std::{cmp::Reverse, collections::BinaryHeap, rc::Rc, time::Duration};

use super::World;
use crate::{
    clock::{Nanos, nanos},
    sip_net::Reply,
};

const T1: Duration = Duration::from_millis(500);
const T2: Duration = Duration::from_secs(4);
/// 64·T1.
const GIVE_UP: Duration = Duration::from_secs(32);
/// A turn of the task for all that became due since the last.
const OFTEN: Duration = Duration::from_millis(10);

/// An answer whose ACK has not come.
pub(super) struct Unacked {
    answer: Vec<u8>,
    reply: Reply,
    since: Nanos,
    interval: Duration,
}

/// When to look at which leg, soonest first; legs that had their ACK are among them.
#[derive(Default)]
pub(super) struct Looks {
    due: BinaryHeap<Reverse<(Nanos, Rc<[u8]>)>>,
    /// Whether the task runs.
    is_looking: bool,
}

impl Unacked {
    pub(super) fn new(answer: Vec<u8>, reply: Reply, since: Nanos) -> Self {
        Self {
            answer,
            reply,
            since,
            interval: T1,
        }
    }

    /// Sends it again, and says when it will be time the next time; none if that is never.
    fn again(&mut self, now: Nanos) -> Option<Nanos> {
        if now - self.since > nanos(GIVE_UP) {
            return None;
        }
        self.reply.send(&self.answer);
        self.interval = (self.interval * 2).min(T2);
        Some(now + nanos(self.interval))
    }
}

impl World {
    /// Has the answer of this leg, which was sent right now, sent again until its ACK comes.
    pub(super) fn expect_ack(self: &Rc<Self>, call_id: Rc<[u8]>, now: Nanos) {
        let mut looks = self.looks.borrow_mut();
        looks.due.push(Reverse((now + nanos(T1), call_id)));
        if !std::mem::replace(&mut looks.is_looking, true) {
            tokio_uring::spawn(Rc::clone(self).look_after_unacked());
        }
    }

    async fn look_after_unacked(self: Rc<Self>) {
        while let Some(due) = self.next_look() {
            let left = Duration::from_nanos(due.saturating_sub(self.clock.now()));
            tokio::time::sleep(left.max(OFTEN)).await;
            let now = self.clock.now();
            while let Some(leg) = self.take_look(now) {
                self.look_at_unacked(leg, now);
            }
        }
    }

    /// When the next look is due; without one the task ends.
    fn next_look(&self) -> Option<Nanos> {
        let mut looks = self.looks.borrow_mut();
        let next = looks.due.peek().map(|Reverse((at, _))| *at);
        looks.is_looking = next.is_some();
        next
    }

    fn take_look(&self, now: Nanos) -> Option<Rc<[u8]>> {
        let due = &mut self.looks.borrow_mut().due;
        let is_due = due.peek().is_some_and(|Reverse((at, _))| *at <= now);
        is_due.then(|| due.pop())?.map(|Reverse((_, leg))| leg)
    }

    fn look_at_unacked(&self, call_id: Rc<[u8]>, now: Nanos) {
        let mut legs = self.device_legs.borrow_mut();
        // None: it was acknowledged, hung up or forgotten.
        let unacked = legs
            .get_mut(&call_id)
            .and_then(|leg| leg.unacked.as_deref_mut());
        let Some(unacked) = unacked else { return };
        match unacked.again(now) {
            Some(next) => self.looks.borrow_mut().due.push(Reverse((next, call_id))),
            None => self.trouble("a device's 200 was never acknowledged".to_owned()),
        }
    }
}
