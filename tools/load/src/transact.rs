//! Transactions as far as a generator needs them (RFC 3261 §17): a request is sent again over UDP until it is answered, and
//! a request that comes again gets the answer that it had.

use std::{
    cell::RefCell,
    collections::{HashMap, VecDeque},
    rc::Rc,
    time::Duration,
};

use ringfork::wire::sip::{Message, Start};

use crate::{
    clock::{Clock, Nanos, nanos},
    sip_net::Reply,
    slot::Slot,
};

const T1: Duration = Duration::from_millis(500);
const T2: Duration = Duration::from_secs(4);
/// 64·T1: timers B and F, and how long an answer is kept for a request that comes again.
const GIVE_UP: Duration = Duration::from_secs(32);
/// A phone may ring for so long.
const RING: Duration = Duration::from_secs(180);

struct Pending {
    finals: Slot<Vec<u8>>,
    provisional: bool,
}

/// What tells a request that comes again: branch, sent-by and method (RFC 3261 §17.2.3; what we talk to has the magic cookie).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Key(Rc<[u8]>);

impl Key {
    /// None if it has no Via with a branch.
    pub(crate) fn of(request: &Message<'_>) -> Option<Self> {
        let via = request.via().ok()?;
        let method = request.method()?;
        let key = [via.branch()?, b" ", via.sent_by, b" ", method.as_bytes()].concat();
        Some(Self(key.into()))
    }
}

/// An answer as it was sent.
pub(crate) type Sent = Rc<[u8]>;

/// What requests were answered, as long as they may come again.
#[derive(Default)]
struct Served {
    answers: HashMap<Key, Sent>,
    /// When each was given, oldest first.
    given: VecDeque<(Nanos, Key)>,
}

impl Served {
    /// Forgotten at a time: more than come, and so few that nobody waits for it.
    const FORGET: usize = 4;

    fn keep(&mut self, now: Nanos, key: Key, answer: Sent) {
        for _ in 0..Self::FORGET {
            let old = self
                .given
                .pop_front_if(|(at, _)| now - *at >= nanos(GIVE_UP));
            let Some((_, old)) = old else { break };
            self.answers.remove(&old);
        }
        if self.answers.insert(key.clone(), answer).is_none() {
            self.given.push_back((now, key));
        }
    }
}

/// What kind of request it is.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Asks {
    pub(crate) is_invite: bool,
    /// It is sent by somebody else, so much later; none: at once.
    pub(crate) held: Option<Nanos>,
}

/// All transactions of the run, both directions.
pub(crate) struct Transactions {
    clock: Clock,
    /// After which a request that has no answer has failed: 64·T1, unless a scenario waits less long.
    give_up: Duration,
    pending: RefCell<HashMap<Vec<u8>, Pending>>,
    served: RefCell<Served>,
}

impl Transactions {
    pub(crate) fn new(clock: Clock, give_up: Option<Duration>) -> Self {
        Self {
            clock,
            give_up: give_up.unwrap_or(GIVE_UP),
            pending: RefCell::default(),
            served: RefCell::default(),
        }
    }

    /// Sends a request and waits for its final response; none if it never comes.
    pub(crate) async fn ask(
        &self,
        to: &Reply,
        branch: &str,
        request: Vec<u8>,
        asks: Asks,
    ) -> Option<Vec<u8>> {
        let finals = Slot::new();
        let key = branch.as_bytes().to_vec();
        self.pending.borrow_mut().insert(
            key.clone(),
            Pending {
                finals: finals.clone(),
                provisional: false,
            },
        );
        let answer = self.wait(to, &key, &request, asks, &finals).await;
        self.pending.borrow_mut().remove(&key);
        answer
    }

    async fn wait(
        &self,
        to: &Reply,
        key: &[u8],
        request: &[u8],
        asks: Asks,
        finals: &Slot<Vec<u8>>,
    ) -> Option<Vec<u8>> {
        let Asks { is_invite, held } = asks;
        let start = self.clock.now() + held.unwrap_or(0);
        let mut interval = T1;
        // Before it has left, nobody waits for its answer.
        let mut before = Duration::from_nanos(held.unwrap_or(0));
        if held.is_none() {
            to.send(request);
        }
        loop {
            let longest = before + interval.min(self.give_up);
            before = Duration::ZERO;
            // Dropping this wait drops no operation: it waits for a slot.
            if let Ok(answer) = tokio::time::timeout(longest, finals.take()).await {
                return Some(answer);
            }
            let rings = is_invite
                && self
                    .pending
                    .borrow()
                    .get(key)
                    .is_some_and(|p| p.provisional);
            let patience = if rings { RING } else { self.give_up };
            if self.clock.now() - start >= nanos(patience) {
                return None;
            }
            if !to.is_reliable() && !rings {
                to.send(request);
            }
            // Timer A doubles for ever, timer E up to T2.
            interval = if is_invite {
                interval * 2
            } else {
                (interval * 2).min(T2)
            };
            interval = interval.min(GIVE_UP);
        }
    }

    /// A response came; false if nobody waits for it.
    pub(crate) fn answered(&self, response: &Message<'_>) -> bool {
        let Start::Response { code, .. } = response.start() else {
            return false;
        };
        let Some(branch) = response.via().ok().and_then(|v| v.branch()) else {
            return false;
        };
        let mut pending = self.pending.borrow_mut();
        let Some(entry) = pending.get_mut(branch) else {
            return false;
        };
        if code < 200 {
            entry.provisional = true;
        } else {
            entry.finals.put(response.as_bytes().to_vec());
        }
        true
    }

    /// The answer that a request had when it came before.
    pub(crate) fn served(&self, request: &Key) -> Option<Sent> {
        self.served.borrow().answers.get(request).cloned()
    }

    /// Keeps the answer to a request.
    pub(crate) fn serve(&self, request: Key, answer: Sent) {
        let now = self.clock.now();
        self.served.borrow_mut().keep(now, request, answer);
    }
}
