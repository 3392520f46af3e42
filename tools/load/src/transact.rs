//! Transactions as far as a generator needs them (RFC 3261 §17): a request is sent again over UDP until it is answered, and
//! a request that comes again gets the answer that it had.

use std::{cell::RefCell, collections::BTreeMap, time::Duration};

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

/// When it was given, and what it was.
type Served = (Nanos, Vec<u8>);

/// All transactions of the run, both directions.
pub(crate) struct Transactions {
    clock: Clock,
    /// After which a request that has no answer has failed: 64·T1, unless a scenario waits less long.
    give_up: Duration,
    pending: RefCell<BTreeMap<Vec<u8>, Pending>>,
    served: RefCell<BTreeMap<Vec<u8>, Served>>,
}

impl Transactions {
    pub(crate) fn new(clock: Clock, give_up: Option<Duration>) -> Self {
        Self {
            clock,
            give_up: give_up.unwrap_or(GIVE_UP),
            pending: RefCell::new(BTreeMap::new()),
            served: RefCell::new(BTreeMap::new()),
        }
    }

    /// Sends a request and waits for its final response; none if it never comes.
    pub(crate) async fn ask(
        &self,
        to: &Reply,
        branch: &str,
        request: Vec<u8>,
        is_invite: bool,
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
        let answer = self.wait(to, &key, &request, is_invite, &finals).await;
        self.pending.borrow_mut().remove(&key);
        answer
    }

    async fn wait(
        &self,
        to: &Reply,
        key: &[u8],
        request: &[u8],
        is_invite: bool,
        finals: &Slot<Vec<u8>>,
    ) -> Option<Vec<u8>> {
        let start = self.clock.now();
        let mut interval = T1;
        to.send(request.to_vec());
        loop {
            // Dropping this wait drops no operation: it waits for a slot.
            if let Ok(answer) =
                tokio::time::timeout(interval.min(self.give_up), finals.take()).await
            {
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
            if !to.reliable && !rings {
                to.send(request.to_vec());
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
    pub(crate) fn served(&self, request: &Message<'_>) -> Option<Vec<u8>> {
        let served = self.served.borrow();
        served
            .get(&served_key(request)?)
            .map(|(_, answer)| answer.clone())
    }

    /// Keeps the answer to a request.
    pub(crate) fn serve(&self, request: &Message<'_>, answer: &[u8]) {
        /// How many may gather before the old ones are looked through.
        const LOOK: usize = 4096;
        let Some(key) = served_key(request) else {
            return;
        };
        let now = self.clock.now();
        let mut served = self.served.borrow_mut();
        if served.len() % LOOK == LOOK - 1 {
            served.retain(|_, (at, _)| now - *at < nanos(GIVE_UP));
        }
        served.insert(key, (now, answer.to_vec()));
    }
}

/// Branch and method (RFC 3261 §17.2.3; what we talk to has the magic cookie).
fn served_key(request: &Message<'_>) -> Option<Vec<u8>> {
    let via = request.via().ok()?;
    let method = request.method()?;
    Some([via.branch()?, b" ", via.sent_by, b" ", method.as_bytes()].concat())
}
