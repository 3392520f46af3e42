//! The data plane of a shard as its owner sees it: the connections, and what is put off until a call has done its work.

use std::{collections::HashMap, net::SocketAddr};

use foldhash::fast::FixedState;
use slotmap::SecondaryMap;

use super::{
    Command, Counters, Event, Failure, Finish, Gauges, Output, Passed, Settings,
    core::{Core, Deferred, Due},
    leg::{Leg, State},
    link::{Link, Phase},
    names,
    session::Session,
    vain::Vain,
};
use crate::{
    buf::{Outbox, Slice},
    ids::{ConnId, LegId, SessionId},
    time::Instant,
};

/// A leg as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegView {
    /// `offered`, `connecting`, `waiting`, `bound`, `aborted`, `failed`, `ended`.
    pub state: &'static str,
    /// Its connection.
    pub conn: Option<ConnId>,
    /// SENDs on it without a response yet.
    pub unanswered: usize,
    /// Messages that wait whole until it takes them.
    pub waiting: usize,
    /// What has come whole from its peer.
    pub from: Passed,
    /// What was put out whole to its peer.
    pub to: Passed,
}

/// Every MSRP session of a shard: bytes in, slices out. See the module's text for the calling order.
#[derive(Debug)]
pub struct Plane {
    pub(super) core: Core,
    pub(super) links: SecondaryMap<ConnId, Box<Link>>,
    /// The connections that we have opened, by where to [MSRP-CONN-01].
    pub(super) opened: HashMap<SocketAddr, ConnId, FixedState>,
    pub(super) vain: Vain,
    /// Bytes of heads that have not come whole, over all connections.
    pub(super) heads: usize,
}

impl Plane {
    /// A plane without sessions. All chance that it needs comes from `seed`; `io` takes it from the system, a simulation
    /// makes it up.
    #[must_use]
    pub fn new(settings: Settings, seed: [u8; 32]) -> Self {
        let core = Core::new(settings, seed);
        Self {
            opened: HashMap::with_hasher(core.hasher()),
            vain: Vain::new(core.hasher()),
            core,
            links: SecondaryMap::new(),
            heads: 0,
        }
    }

    /// Mints the session-id of a leg that is to be offered: for `LegOffer::own_uri`.
    pub fn mint(&mut self, session: SessionId, leg: LegId) -> names::SessionIdText {
        names::session_id(self.core.settings.shard, session, leg, &mut self.core.rng)
    }

    /// Carries out a command of the session room. One for a session or a leg that is over does nothing.
    pub fn command(&mut self, now: Instant, command: Command, outbox: &mut Outbox) {
        match command {
            Command::Open {
                session,
                user,
                source,
            } => {
                if self.core.sessions.len() >= self.core.settings.sessions_max {
                    self.core.counters.refused_full += 1;
                } else if !self.core.sessions.contains_key(session) {
                    let begins = Session {
                        holds: self.core.holders.open(user, source),
                        ..Session::default()
                    };
                    self.core.sessions.insert(session, Box::new(begins));
                }
            }
            Command::Offer {
                session,
                leg,
                offer,
            } => self.offer(session, leg, offer),
            Command::Start { session, leg, peer } | Command::Update { session, leg, peer } => {
                self.start(now, session, leg, peer, outbox);
            }
            Command::SettleOnActivity { session, on } => {
                if let Some(s) = self.core.sessions.get_mut(session) {
                    s.settle_on_activity = on;
                }
            }
            Command::Parting { session } => self.core.part(now, session, outbox),
            Command::End { session, leg, how } => match how {
                Finish::Abort => self.core.abort_leg(now, session, leg, outbox),
                Finish::Gone => self.core.end_leg(now, session, leg, outbox),
            },
            Command::Close { session } => self.core.close_session(now, session, outbox),
        }
        self.carry_out(now, outbox);
    }

    fn offer(&mut self, session: SessionId, leg: LegId, offer: super::LegOffer) {
        let Some(s) = self.core.sessions.get_mut(session) else {
            return;
        };
        match s.leg_mut(leg) {
            None => s.insert(Leg::new(leg, offer, &mut self.core.types)),
            Some(l) if l.state == State::Ended => {}
            Some(l) => {
                if l.own_uri != offer.own_uri {
                    // What was remembered of the old URI is no longer true.
                    for link in self.links.values_mut() {
                        if link.memo_leg == Some((session, leg)) {
                            link.memo_leg = None;
                            link.sender = None;
                        }
                    }
                }
                l.set_offer(offer, &mut self.core.types);
            }
        }
    }

    /// A connection came in. The shard has added it to the outbox.
    pub fn handle_accepted(&mut self, now: Instant, conn: ConnId) {
        if self.links.len() >= self.core.settings.connections_max {
            self.core.counters.refused_full += 1;
            self.core
                .outputs
                .push_back(Output::Close { conn, flush: false });
            return;
        }
        self.links
            .insert(conn, Box::new(Link::new(now, Phase::Open)));
        let by = now + self.core.settings.bind;
        self.arm_link(conn, by);
    }

    /// The shard has named the connection that it opens for [`Output::Connect`].
    pub fn handle_connecting(
        &mut self,
        (session, leg): (SessionId, LegId),
        to: SocketAddr,
        conn: ConnId,
    ) {
        let mut link = Link::new(Instant::START, Phase::Connecting);
        link.wait(session, leg);
        link.to = Some(Box::new(to));
        self.opened.insert(to, conn);
        self.links.insert(conn, Box::new(link));
    }

    /// The outcome of [`Output::Connect`]: our own address, or it could not be made (then `conn` is dead).
    ///
    /// # Errors
    /// None; `Err(())` is the shard's word that there is no connection.
    pub fn handle_connected(
        &mut self,
        now: Instant,
        conn: ConnId,
        outcome: Result<SocketAddr, ()>,
        outbox: &mut Outbox,
    ) {
        if outcome.is_err() {
            self.lose(now, conn, Failure::NotConnected, outbox);
            self.carry_out(now, outbox);
            return;
        }
        let Some(link) = self.links.get_mut(conn) else {
            return;
        };
        link.phase = Phase::Open;
        link.settled = true;
        link.input_at = now;
        link.unused_since = Some(now);
        let waiting = std::mem::take(&mut link.waiting);
        for (session, leg) in waiting {
            self.join(now, conn, session, leg, outbox);
        }
        self.look_at_unused(now, conn, false);
        self.carry_out(now, outbox);
    }

    /// The next bytes of a connection, in any pieces. Unknown connections are ignored.
    pub fn handle_bytes(&mut self, now: Instant, conn: ConnId, bytes: Slice, outbox: &mut Outbox) {
        let Some(link) = self.links.get_mut(conn) else {
            return;
        };
        self.core.counters.bytes_in += bytes.len() as u64;
        link.input_at = now;
        self.heads -= link.head.len();
        self.core.on_bytes(now, conn, link, &bytes, outbox);
        self.heads += link.head.len();
        let unused = link.unused_since.is_some() && link.phase == Phase::Open && !link.lent;
        if (unused || !self.vain.is_empty()) && self.vain.hears(conn, unused, bytes.len()) {
            self.core.counters.unbound += 1;
            self.close(conn, true);
        } else if link.phase == Phase::HandedOver
            && let Some(link) = self.links.remove(conn)
        {
            self.heads -= link.head.len();
            self.vain.forget(conn);
            if let Some((timer, _)) = link.timer {
                self.core.timers.cancel(timer);
            }
        }
        self.carry_out(now, outbox);
    }

    /// A connection that could not take everything has taken more.
    pub fn handle_drained(&mut self, now: Instant, conn: ConnId, outbox: &mut Outbox) {
        let Some(link) = self.links.get(conn) else {
            return;
        };
        let bound = link.bound.len();
        for at in 0..bound {
            let Some(&(session, leg)) = self.links.get(conn).and_then(|l| l.bound.get(at)) else {
                break;
            };
            self.core.drained(now, conn, session, leg, outbox);
        }
        self.carry_out(now, outbox);
    }

    /// A connection is over, by whomever.
    pub fn handle_closed(&mut self, now: Instant, conn: ConnId, outbox: &mut Outbox) {
        self.lose(now, conn, Failure::ConnectionLost, outbox);
        self.carry_out(now, outbox);
    }

    /// Runs what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant, outbox: &mut Outbox) {
        self.core.release_held(now, outbox);
        self.core.age(now, false, Some(outbox));
        for _ in 0..crate::timer::DUE_MAX {
            let Some(due) = self.core.timers.poll(now) else {
                break;
            };
            match due {
                Due::Session(session) => self.core.session_due(now, session, outbox),
                Due::Link(conn) => self.link_due(now, conn, outbox),
            }
            self.carry_out(now, outbox);
        }
        self.carry_out(now, outbox);
    }

    /// When [`Plane::handle_timeout`] must be called next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.core.next_due()
    }

    /// The next event for the session room.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.core.events.pop_front()
    }

    /// The next thing asked of the shard.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.core.outputs.pop_front()
    }

    /// Receive buffers are short: copies every slice that is held out of them.
    pub fn relieve(&mut self, now: Instant) {
        self.core.age(now, true, None);
        for link in self.links.values_mut() {
            if let Some(frame) = &mut link.frame {
                frame.copy_out();
            }
        }
    }

    /// Whether the connection has named a session of this shard, so that it stays here.
    #[must_use]
    pub fn settled(&self, conn: ConnId) -> bool {
        self.links.get(conn).is_some_and(|l| l.settled)
    }

    /// Ends the frame that is open on the connection with `+`; it is resumed under a new head. For bytes that the shard
    /// itself wants to put on the connection.
    pub fn interrupt(&mut self, now: Instant, conn: ConnId, outbox: &mut Outbox) {
        self.core.interrupt(now, conn, outbox);
        self.carry_out(now, outbox);
    }

    /// No other shard has a session on the connection any more.
    pub fn given_back(&mut self, now: Instant, conn: ConnId) {
        let Some(link) = self.links.get_mut(conn) else {
            return;
        };
        link.lent = false;
        if link.bound.is_empty() {
            link.unused_since = Some(now);
        }
        self.look_at_unused(now, conn, false);
    }

    /// Closes a connection that holds too much; the legs on it are too slow.
    pub fn give_up(&mut self, now: Instant, conn: ConnId, outbox: &mut Outbox) {
        if let Some(link) = self.links.get_mut(conn) {
            self.heads -= link.head.len();
            link.head = Vec::new();
        }
        self.core.deferred.push_back(Deferred::Broken { conn });
        self.carry_out(now, outbox);
    }

    /// What was counted from the start on.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.core.counters
    }

    /// Bytes of heads that have not come whole: on one connection.
    #[must_use]
    pub fn head_of(&self, conn: ConnId) -> usize {
        self.links.get(conn).map_or(0, |l| l.head.len())
    }

    /// The same over all connections.
    #[must_use]
    pub const fn heads(&self) -> usize {
        self.heads
    }

    /// Whose connection it is, as a number: the user whom its first session is for. `None`: it carries none.
    #[must_use]
    pub fn user_of(&self, conn: ConnId) -> Option<u32> {
        let &(session, _) = self.links.get(conn)?.bound.first()?;
        Some(self.core.sessions.get(session)?.holds.user())
    }

    /// Timers that are set.
    #[must_use]
    pub const fn timers(&self) -> usize {
        self.core.timers.len()
    }

    /// What is held just now.
    #[must_use]
    pub fn gauges(&self) -> Gauges {
        let legs = self
            .core
            .sessions
            .values()
            .flat_map(|s| s.all())
            .filter(|l| l.state != State::Ended)
            .count();
        Gauges {
            sessions: self.core.sessions.len(),
            legs,
            connections: self.links.len(),
            messages: self.core.messages.len(),
            unanswered: self.core.sent.len(),
            kept_bytes: self.core.kept_bytes,
            held_bytes: self.core.holders.used(),
        }
    }

    /// Whether nothing is held: no session, no connection.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.gauges() == Gauges::default()
    }

    /// Messages of a session that are not accounted for yet.
    #[must_use]
    pub fn pending(&self, session: SessionId) -> usize {
        let session = self.core.sessions.get(session);
        session.map_or(0, |s| s.messages.len())
    }

    /// A leg as an operator sees it.
    #[must_use]
    pub fn leg_view(&self, session: SessionId, leg: LegId) -> Option<LegView> {
        let l = self.core.leg(session, leg)?;
        Some(LegView {
            state: l.state_name(),
            conn: l.conn,
            unanswered: l.unanswered.len(),
            waiting: l.waiting as usize,
            from: l.from,
            to: l.to,
        })
    }

    /// Does what was put off.
    pub(super) fn carry_out(&mut self, now: Instant, outbox: &mut Outbox) {
        while let Some(deferred) = self.core.deferred.pop_front() {
            match deferred {
                Deferred::Unbind {
                    conn,
                    session,
                    leg,
                    close,
                } => {
                    if let Some(link) = self.links.get_mut(conn) {
                        link.bound.retain(|&b| b != (session, leg));
                        if link.bound.is_empty() && link.unused_since.is_none() {
                            link.unused_since = Some(now);
                        }
                    }
                    self.look_at_unused(now, conn, close);
                }
                Deferred::Broken { conn } => {
                    self.close(conn, false);
                    self.fail_all(now, conn, Failure::Slow, outbox);
                }
                Deferred::Malformed { conn } => {
                    self.close(conn, true);
                    self.fail_all(now, conn, Failure::Malformed, outbox);
                }
                Deferred::Stall { session, leg } => self.stall(now, session, leg, outbox),
                Deferred::Resume { session } => {
                    let Some(s) = self.core.sessions.get_mut(session) else {
                        continue;
                    };
                    // Whoever is over its bounds still stops it again, for as long as anybody may.
                    s.end_stalls();
                    for conn in std::mem::take(&mut s.paused) {
                        self.resume(conn);
                    }
                }
                Deferred::ResumeConn { conn } => self.resume(conn),
                Deferred::Connect { session, leg, to } => {
                    let wanted = self.core.leg(session, leg);
                    if wanted.is_some_and(|l| l.connecting && l.conn.is_none()) {
                        self.connect(now, session, leg, to, outbox);
                    }
                }
                Deferred::Flush { session, leg } => {
                    self.core.send_waiting(now, session, leg, outbox);
                }
                Deferred::WatchQuiet { conn } => self.arm_link(conn, now + super::due::QUIET),
                Deferred::WatchRefused { conn } => {
                    let frame = self.links.get(conn).and_then(|l| l.frame.as_ref());
                    if frame.is_some_and(|f| f.refused_at.is_some()) {
                        self.arm_link(conn, now + super::due::RESPONSE);
                    }
                }
                Deferred::WatchHead { conn } => self.arm_link(conn, now + super::due::HEAD),
            }
        }
    }

    fn resume(&mut self, conn: ConnId) {
        if let Some(link) = self.links.get_mut(conn)
            && std::mem::take(&mut link.paused)
        {
            self.core.outputs.push_back(Output::Resume { conn });
        }
    }

    /// A leg is over its bounds: what feeds it is not read, where nothing else is carried there and nothing
    /// of ours waits for its answers; else what is under way to it is refused (settled.md R3).
    fn stall(&mut self, now: Instant, session: SessionId, leg: LegId, outbox: &mut Outbox) {
        let Some(s) = self.core.sessions.get(session) else {
            return;
        };
        // What another leg's end has started again meanwhile stops again when there is more for this one.
        if s.leg(leg).is_none_or(|l| l.stalled_since().is_none()) {
            return;
        }
        let feeders: Vec<(LegId, Option<ConnId>, bool)> = s
            .all()
            .filter(|l| (l.id == LegId::ORIGINATOR) != (leg == LegId::ORIGINATOR))
            .map(|l| (l.id, l.conn, l.unanswered.len() == 0))
            .collect();
        for (feeder, conn, quiet) in feeders {
            let link = conn.and_then(|c| self.links.get_mut(c));
            match (link, conn) {
                (Some(link), Some(conn))
                    if quiet && link.bound.len() == 1 && link.phase == Phase::Open =>
                {
                    if !std::mem::replace(&mut link.paused, true) {
                        self.core.outputs.push_back(Output::Pause { conn });
                        if let Some(s) = self.core.sessions.get_mut(session) {
                            s.paused.push(conn);
                        }
                    }
                }
                _ => {
                    if let Some(l) = self.core.leg_mut(session, leg) {
                        l.refusing = true;
                    }
                    self.core
                        .refuse_streaming(now, session, feeder, leg, outbox);
                }
            }
        }
    }

    /// Closes a connection; what was bound to it is dealt with by the caller.
    pub(super) fn close(&mut self, conn: ConnId, flush: bool) {
        let Some(link) = self.links.get_mut(conn) else {
            return;
        };
        link.phase = Phase::Closing;
        if let Some((timer, _)) = link.timer.take() {
            self.core.timers.cancel(timer);
        }
        let to = link.to.take();
        if let Some(to) = to
            && self.opened.get(&*to) == Some(&conn)
        {
            self.opened.remove(&*to);
        }
        self.core.outputs.push_back(Output::Close { conn, flush });
    }

    /// A connection that no session uses is closed after a while, or at once (`close`). [MSRP-CONN-03]
    fn look_at_unused(&mut self, now: Instant, conn: ConnId, close: bool) {
        let idle = self.core.settings.idle;
        let Some(link) = self.links.get(conn) else {
            return;
        };
        if !link.bound.is_empty()
            || !link.waiting.is_empty()
            || link.lent
            || link.phase != Phase::Open
        {
            return;
        }
        if close || idle.is_zero() {
            self.close(conn, true);
        } else {
            self.arm_link(conn, now + idle);
        }
    }

    /// Every leg of a connection fails.
    fn fail_all(&mut self, now: Instant, conn: ConnId, why: Failure, outbox: &mut Outbox) {
        let Some(link) = self.links.get_mut(conn) else {
            return;
        };
        for (session, leg) in std::mem::take(&mut link.bound) {
            self.core.fail_leg(now, session, leg, why, outbox);
        }
    }

    /// A connection is gone, with what was bound to it, or waited for it. [MSRP-CONN-02]
    fn lose(&mut self, now: Instant, conn: ConnId, why: Failure, outbox: &mut Outbox) {
        let Some(mut link) = self.links.remove(conn) else {
            return;
        };
        self.heads -= link.head.len();
        self.vain.forget(conn);
        if let Some((timer, _)) = link.timer.take() {
            self.core.timers.cancel(timer);
        }
        if let Some(to) = &link.to
            && self.opened.get(&**to) == Some(&conn)
        {
            self.opened.remove(&**to);
        }
        for (session, leg) in std::mem::take(&mut link.bound) {
            self.core.fail_leg(now, session, leg, why, outbox);
        }
        for (session, leg) in std::mem::take(&mut link.waiting) {
            if self
                .core
                .leg(session, leg)
                .is_some_and(|l| l.connecting && l.conn.is_none())
            {
                let to = link.to.as_deref().copied();
                self.core.not_connected(now, session, leg, to, outbox);
            }
        }
    }
}
