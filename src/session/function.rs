//! The Participating Function of a shard: its sessions, what they wait for, and who is told what.
//!
//! Calling order: `handle_*` as things come, then drain `poll_effect`; `handle_timeout` when `poll_timeout` says so.

use std::{collections::HashMap, net::IpAddr};

use foldhash::quality::RandomState;
use slotmap::{SecondaryMap, SlotMap};

use super::{Counters, Effect, SessionView, Settings, relay::Relay, state::Session, turn::Turn};
use crate::{
    ids::{LegId, ServerTxnId, SessionId},
    msrp::{self, Command},
    policy::Policy,
    share::Ledger,
    sip::{Event, Flow, Registrar, RegistrarEvent, source},
    time::Instant,
    timer::{TimerId, Timers},
};

/// The leg of requests that belong to no session: OPTIONS that is passed on.
pub(super) const RELAY: LegId = LegId(254);
/// The leg of the BYE that ends a dialog which nobody waits for; its answer is not looked at.
pub(super) const STRAY: LegId = LegId(255);

/// Requests that are passed on at once, at most: each lives 30 s at the longest. Over it 503.
pub(super) const RELAYS_MAX: usize = 1000;

/// Reason of the BYE to everyone when the shard goes down.
const DOWN: &str = "Reason: SIP;cause=503;text=\"Service going down\"\r\n";
/// Reason of the BYE to everyone when an operator ends a session.
const OPERATOR: &str = "Reason: SIP;cause=480;text=\"Ended by the operator\"\r\n";

/// Every CPM session of a shard.
#[derive(Debug)]
pub struct Function {
    pub(super) turn: Turn,
    pub(super) sessions: SlotMap<SessionId, Session>,
    pub(super) relays: SlotMap<SessionId, Relay>,
    /// The INVITEs that began sessions, while they wait: what a CANCEL meets.
    pub(super) invites: HashMap<ServerTxnId, (SessionId, LegId), RandomState>,
    /// The sessions of a served user.
    by_user: HashMap<Vec<u8>, Mine, RandomState>,
    /// Bytes of sessions that strangers have begun, by source.
    sources: Ledger<IpAddr>,
    timers: Timers<Due>,
    armed: SecondaryMap<SessionId, (Instant, TimerId)>,
    pub(super) draining: bool,
}

/// What a served user has.
#[derive(Debug, Default)]
struct Mine {
    sessions: Vec<SessionId>,
    bytes: usize,
}

#[derive(Clone, Copy, Debug)]
enum Due {
    Session(SessionId),
    Relay(SessionId),
}

impl Function {
    /// A Participating Function without sessions. All chance comes from `seed`.
    #[must_use]
    pub fn new(settings: Settings, policy: Policy, seed: [u8; 32]) -> Self {
        Self {
            turn: Turn::new(settings, policy, seed),
            sessions: SlotMap::with_key(),
            relays: SlotMap::with_key(),
            invites: HashMap::default(),
            by_user: HashMap::default(),
            sources: Ledger::new(u64::from_le_bytes([
                seed[0], seed[1], seed[2], seed[3], seed[4], seed[5], seed[6], seed[7],
            ])),
            timers: Timers::new(),
            armed: SecondaryMap::new(),
            draining: false,
        }
    }

    /// Whether an address is trusted to speak for many.
    #[must_use]
    pub fn trusts(&self, peer: std::net::IpAddr) -> bool {
        self.turn.trusted.has(peer)
    }

    /// The endpoint has something to say: a request, a response, or that none came.
    pub fn handle_sip(&mut self, now: Instant, event: &Event, registrar: &mut Registrar) {
        self.turn.now = now;
        match event {
            Event::Request { txn, flow, message } => {
                self.on_request(*txn, *flow, message, registrar);
            }
            Event::Ack { flow, message } => self.on_ack(*flow, message),
            Event::Cancelled { txn, message } => self.on_cancel(*txn, message),
            Event::ServerFailed { txn } => self.on_server_failed(*txn),
            Event::Response {
                of,
                flow,
                in_dialog,
                message,
            } => self.on_response(*of, *flow, *in_dialog, message),
            Event::TimedOut { of } => self.on_failed(*of, 408, "it did not answer at all"),
            Event::Unreachable { of } => self.on_failed(*of, 503, "it could not be reached"),
        }
    }

    /// The data plane has something to say.
    pub fn handle_media(&mut self, now: Instant, event: &msrp::Event) {
        self.turn.now = now;
        let (msrp::Event::Bound { session, .. }
        | msrp::Event::Activity { session, .. }
        | msrp::Event::Failed { session, .. }
        | msrp::Event::Undelivered { session, .. }) = event;
        self.with(*session, |session, turn| session.on_media(turn, event));
    }

    /// A device has come or gone. One that is gone leaves the session that it is in; one that has come joins none by itself
    /// [REG-08].
    pub fn handle_registration(&mut self, now: Instant, event: &RegistrarEvent) {
        self.turn.now = now;
        match event {
            RegistrarEvent::Bound { .. } => {}
            RegistrarEvent::Gone { aor, contact, .. } => {
                for id in self.sessions_of(aor) {
                    self.with(id, |session, turn| session.on_unregistered(turn, contact));
                }
            }
        }
    }

    /// The sessions of a served user.
    pub(super) fn sessions_of(&self, aor: &[u8]) -> Vec<SessionId> {
        let mine = self.by_user.get(aor);
        mine.map(|m| m.sessions.clone()).unwrap_or_default()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.turn.now = now;
        for _ in 0..crate::timer::DUE_MAX {
            let Some(due) = self.timers.poll(now) else {
                break;
            };
            match due {
                Due::Session(id) => {
                    self.armed.remove(id);
                    self.with(id, Session::on_time);
                }
                Due::Relay(id) => self.on_relay_late(id),
            }
        }
    }

    /// When `handle_timeout` must be called next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// The next thing to do, in order.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.turn.effects.pop_front()
    }

    /// Refuses new sessions with 503 from now on; those that are go on.
    pub fn refuse_new(&mut self) {
        self.draining = true;
    }

    /// Ends every session by BYE, refuses new ones with 503.
    pub fn drain(&mut self, now: Instant) {
        self.turn.now = now;
        self.draining = true;
        let ids: Vec<SessionId> = self.sessions.keys().collect();
        for id in ids {
            self.with(id, |session, turn| {
                session.end_all(turn, 503, DOWN.as_bytes(), "the service is going down");
            });
        }
    }

    /// Ends a session by BYE to everyone. `false`: there is none of that name.
    pub fn end(&mut self, now: Instant, session: SessionId) -> bool {
        self.turn.now = now;
        self.with(session, |session, turn| {
            session.end_all(turn, 480, OPERATOR.as_bytes(), "ended by the operator");
        })
    }

    /// Every session, as an operator sees it.
    #[must_use]
    pub fn views(&self) -> Vec<SessionView> {
        self.sessions.values().map(Session::view).collect()
    }

    /// A session, as an operator sees it.
    #[must_use]
    pub fn session_view(&self, session: SessionId) -> Option<SessionView> {
        self.sessions.get(session).map(Session::view)
    }

    /// The sessions behind `after`, in the order of their places, `max` at most; and whether there are more.
    #[must_use]
    pub fn page(&self, after: Option<SessionId>, max: usize) -> (Vec<SessionView>, bool) {
        // Names sort by their places, and a table is walked by them.
        let behind = |id: &SessionId| after.is_none_or(|after| *id > after);
        let mut rest = self.sessions.iter().filter(|(id, _)| behind(id));
        let page = rest.by_ref().take(max).map(|(_, s)| s.view()).collect();
        (page, rest.next().is_some())
    }

    /// What was done so far, and what is there now.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let mut counters = self.turn.counters;
        counters.sessions = self.sessions.len();
        counters.relays = self.relays.len();
        counters.bytes = self.turn.memory.used();
        for session in self.sessions.values() {
            let (legs, dialogs) = session.census();
            counters.legs += legs;
            counters.dialogs += dialogs;
        }
        counters
    }

    /// Whether nothing is held: no session, no request that is passed on, no timer.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
            && self.relays.is_empty()
            && self.invites.is_empty()
            && self.by_user.is_empty()
            && self.timers.is_empty()
    }

    /// Whether there is no room for another session; counts why.
    pub(super) fn is_full(&mut self) -> bool {
        let full = self.sessions.len() >= self.turn.settings.sessions_max;
        let crowded = !self.turn.has_room();
        let counters = &mut self.turn.counters;
        counters.refused_full += u64::from(full);
        counters.refused_dialogs += u64::from(crowded && !full);
        self.draining || full || crowded
    }

    /// Whether a session of so many bytes may begin: for its user, for the source that begins it, in all.
    pub(super) fn has_memory(&mut self, aor: &[u8], flow: Flow, bytes: usize) -> bool {
        let turn = &mut self.turn;
        let free = turn
            .memory
            .free()
            .saturating_sub(turn.settings.bytes_max / 8);
        let mine = self.by_user.get(aor).map_or(0, |m| m.bytes);
        let source = if turn.is_stranger(flow) {
            self.sources.held(&source(flow.peer().ip()))
        } else {
            0
        };
        let fits = mine + bytes <= free / 4 && source + bytes <= free / 2;
        turn.counters.refused_bytes += u64::from(!fits);
        fits
    }

    /// Counts what a session holds from now on.
    fn weigh(&mut self, id: SessionId, bytes: usize) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let before = std::mem::replace(&mut session.weight, bytes);
        let stranger = (!session.trusted).then(|| source(session.flow.peer().ip()));
        let mine = self.by_user.get_mut(&session.aor);
        let (more, less) = (bytes.saturating_sub(before), before.saturating_sub(bytes));
        self.turn.memory.take(more);
        self.turn.memory.give_back(less);
        if let Some(mine) = mine {
            mine.bytes = mine.bytes + more - less;
        }
        if let Some(source) = stranger {
            self.sources.take(source, more);
            self.sources.give_back(&source, less);
        }
    }

    /// Timers that are set.
    #[must_use]
    pub const fn timers(&self) -> usize {
        self.timers.len()
    }

    /// Lets a session do something, then sees to what that means: BYEs that may be answered, its timer, its end.
    pub(super) fn with(&mut self, id: SessionId, f: impl FnOnce(&mut Session, &mut Turn)) -> bool {
        let Some(session) = self.sessions.get_mut(id) else {
            return false;
        };
        f(session, &mut self.turn);
        self.settle(id);
        true
    }

    /// See [`Function::with`].
    pub(super) fn settle(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        session.release_held(&mut self.turn);
        let (_, dialogs) = session.census();
        self.turn.dialogs = self.turn.dialogs + dialogs - session.counted;
        session.counted = dialogs;
        let (bytes, over) = (session.bytes(), session.is_over());
        self.weigh(id, bytes);
        if over {
            self.remove(id);
            return;
        }
        let Some(session) = self.sessions.get(id) else {
            return;
        };
        let next = session.at();
        let armed = self.armed.get(id).copied();
        if armed.map(|(at, _)| at) == next {
            return;
        }
        if let Some((_, timer)) = self.armed.remove(id) {
            self.timers.cancel(timer);
        }
        if let Some(at) = next {
            let timer = self.timers.insert(at, Due::Session(id));
            self.armed.insert(id, (at, timer));
        }
    }

    /// A session has begun.
    pub(super) fn keep(&mut self, id: SessionId, txn: ServerTxnId, aor: Vec<u8>) {
        self.invites.insert(txn, (id, LegId::ORIGINATOR));
        self.by_user.entry(aor).or_default().sessions.push(id);
    }

    fn remove(&mut self, id: SessionId) {
        self.weigh(id, 0);
        let Some(session) = self.sessions.remove(id) else {
            return;
        };
        if let Some((_, timer)) = self.armed.remove(id) {
            self.timers.cancel(timer);
        }
        self.invites.remove(&session.txn);
        if let Some(mine) = self.by_user.get_mut(&session.aor) {
            mine.sessions.retain(|other| *other != id);
            if mine.sessions.is_empty() {
                self.by_user.remove(&session.aor);
            }
        }
        let view = Box::new(session.view());
        let effects = &mut self.turn.effects;
        effects.push_back(Effect::Ended { session: id, view });
        self.turn.media(Command::Close { session: id });
    }

    /// Sets the timer of a request that is passed on.
    pub(super) fn arm_relay(&mut self, id: SessionId, at: Instant) -> TimerId {
        self.timers.insert(at, Due::Relay(id))
    }

    /// A request that was passed on is done.
    pub(super) fn take_relay(&mut self, id: SessionId) -> Option<Relay> {
        let relay = self.relays.remove(id)?;
        if let Some(timer) = relay.timer {
            self.timers.cancel(timer);
        }
        Some(relay)
    }
}
