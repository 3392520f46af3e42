//! Transactions as far as a generator needs them (RFC 3261 §17): a request is sent again over UDP until it is answered, and
//! a request that comes again gets the answer that it had.
#![expect(
    clippy::disallowed_types,
    reason = "the keys tell requests apart, they order nothing: a run is the same with any"
)]

use std::{
    cell::RefCell,
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, RandomState},
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

/// What tells a request that comes again: branch, sent-by and method (RFC 3261 §17.2.3; what we talk to has the magic cookie),
/// as 128 bits of two hashes whose keys are of chance: no two requests of a run are taken for one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Key([u64; 2]);

/// What a request was answered. The text follows from that and the request, which comes again as it was: half a minute's texts
/// would be a hundred megabytes, each page of which the kernel has to clear.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Given {
    /// This code and nothing else.
    Code(u16),
    /// A device took a call.
    Taken { call: u32, user: u32, device: u16 },
}

/// What requests were answered, as long as they may come again.
#[derive(Debug)]
struct Served {
    keys: [RandomState; 2],
    answers: HashMap<Key, Given>,
    /// When each was given, oldest first.
    given: VecDeque<(Nanos, Key)>,
}

impl Served {
    /// Forgotten at a time: more than come, and so few that nobody waits for it.
    const FORGET: usize = 4;
    /// Room from the start: a table that grows beside calls stands still for milliseconds.
    const ROOM: usize = 1 << 16;

    fn new() -> Self {
        Self {
            keys: [RandomState::new(), RandomState::new()],
            answers: HashMap::with_capacity(Self::ROOM),
            given: VecDeque::with_capacity(Self::ROOM),
        }
    }

    fn keep(&mut self, now: Nanos, key: Key, answer: Given) {
        for _ in 0..Self::FORGET {
            let old = self
                .given
                .pop_front_if(|(at, _)| now - *at >= nanos(GIVE_UP));
            let Some((_, old)) = old else { break };
            self.answers.remove(&old);
        }
        if self.answers.insert(key, answer).is_none() {
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
            served: RefCell::new(Served::new()),
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

    /// By what a request is known when it comes again; none if it has no Via with a branch.
    pub(crate) fn key(&self, request: &Message<'_>) -> Option<Key> {
        let via = request.via().ok()?;
        let it = (via.branch()?, via.sent_by, request.method()?.as_bytes());
        Some(Key(self
            .served
            .borrow()
            .keys
            .each_ref()
            .map(|k| k.hash_one(it))))
    }

    /// What a request was answered when it came before.
    pub(crate) fn served(&self, request: Key) -> Option<Given> {
        self.served.borrow().answers.get(&request).copied()
    }

    /// Keeps what a request was answered.
    pub(crate) fn serve(&self, request: Key, answer: Given) {
        let now = self.clock.now();
        self.served.borrow_mut().keep(now, request, answer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(branch: &str, sent_by: &str, method: &str) -> Vec<u8> {
        format!(
            "{method} sip:d1x0@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP {sent_by};branch={branch}\r\n\
             From: <sip:a@example.net>;tag=1\r\nTo: <sip:b@example.com>\r\nCall-ID: c\r\nCSeq: 1 {method}\r\n\
             Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        )
        .into_bytes()
    }

    #[test]
    fn a_request_is_known_by_branch_sender_and_method_until_nobody_sends_it_again() {
        let all = Transactions::new(Clock::start(), None);
        let key = |branch, sent_by, method| {
            let bytes = request(branch, sent_by, method);
            all.key(&Message::parse(&bytes).unwrap()).unwrap()
        };
        let it = key("z9hG4bKa", "h:1", "BYE");
        assert_eq!(key("z9hG4bKa", "h:1", "BYE"), it);
        let others = [
            key("z9hG4bKb", "h:1", "BYE"),
            key("z9hG4bKa", "h:2", "BYE"),
            key("z9hG4bKa", "h:1", "INVITE"),
        ];
        assert!(!others.contains(&it));
        assert_ne!(key("z9hG4bKab", "c", "BYE"), key("z9hG4bKa", "bc", "BYE"));
        all.serve(it, Given::Code(481));
        assert_eq!(all.served(it), Some(Given::Code(481)));
        assert_eq!(all.served(others[0]), None);

        let mut served = Served::new();
        served.keep(0, it, Given::Code(200));
        served.keep(nanos(GIVE_UP) - 1, others[0], Given::Code(200));
        assert_eq!(served.answers.len(), 2);
        served.keep(nanos(GIVE_UP), others[1], Given::Code(200));
        assert!(!served.answers.contains_key(&it), "for half a minute");
        assert_eq!(served.answers.len(), 2);
    }
}
