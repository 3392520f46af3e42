//! The shard itself: every input to its room, until nothing more comes of it.

use std::{collections::VecDeque, net::SocketAddr, time::Duration};

use super::{
    conns::{Conns, Role},
    edge::{ConnectError, Effect, End, World},
    lines::Lines,
    mail::{Letter, Post},
    parts::{Parts, SocketRole},
    sources::{Room, Sources},
};
use crate::{
    buf::{Outbox, Slice},
    ids::{ConnId, ShardId, SocketId},
    msrp::Plane,
    session::Function,
    sip::{Endpoint, Flow, Item, Registrar, Stream, route_key::BranchMap},
    time::Instant,
    timer::{DUE_MAX, Timers},
    wire::sip::Bounds,
};

/// How soon what found no place in the mail is tried again: a shard empties its mailbox every turn.
const FAR_RETRY: Duration = Duration::from_millis(1);

/// How long a connection that is to be closed waits for answers of other shards: they take a turn each.
const PARTING: Duration = Duration::from_secs(1);

/// One core's world. `serve` and the simulation make the same one.
#[derive(Debug)]
pub struct Shard {
    pub(super) id: ShardId,
    pub(super) sockets: Vec<SocketRole>,
    pub(super) conns: Conns,
    pub(super) plane: Plane,
    pub(super) endpoint: Endpoint,
    pub(super) registrar: Registrar,
    pub(super) function: Function,
    pub(super) outbox: Outbox,
    pub(super) post: Post,
    pub(super) branches: BranchMap,
    pub(super) sources: Sources,
    pub(super) spill_max: usize,
    pub(super) framing_max: usize,
    /// Bytes that SIP connections hold of messages that have not come whole.
    pub(super) framing: usize,
    pub(super) effects: VecDeque<Effect>,
    /// Connections of other shards whose frames come by mail.
    pub(super) far: Vec<ConnId>,
    /// Some of them wait for places in the mail.
    pub(super) far_waits: bool,
    /// SIP connections from which no whole message has come yet, which have begun another, or which do not read our answers.
    pub(super) half_open: Timers<ConnId>,
    bounds: Bounds,
    pub(super) bind: Duration,
    /// The sessions that have ended last.
    pub(super) ended: super::ended::EndedSessions,
    /// What may be said in the log.
    pub(super) lines: Lines,
    /// The time of this turn, for what is done outside a call that carries it.
    pub(super) clock: Instant,
    pub(super) tally: super::tally::Tally,
}

impl Shard {
    /// A shard made of `parts`, with its end of the mail. Everything that it draws by chance comes from `seed`.
    #[must_use]
    pub fn new(parts: Parts, post: Post, seed: [u8; 32]) -> Self {
        let of = |n: u8| super::parts::seed_of(seed, n);
        Self {
            id: parts.id,
            sockets: parts.sockets,
            conns: Conns::new(parts.connections_max),
            plane: Plane::new(parts.msrp, of(1)),
            endpoint: Endpoint::new(parts.sip, of(2)),
            registrar: Registrar::new(parts.registrar, of(3)),
            function: Function::new(parts.session, parts.policy, of(4)),
            outbox: Outbox::new(parts.outbox_hard_limit),
            post,
            branches: BranchMap::new(
                parts.t1,
                parts.branches_max,
                u64::from_le_bytes(of(5)[..8].try_into().unwrap_or_default()),
            ),
            sources: Sources::new(
                parts.sources,
                u64::from_le_bytes(of(6)[..8].try_into().unwrap_or_default()),
            ),
            spill_max: parts.spill_max,
            framing_max: parts.framing_max,
            framing: 0,
            effects: VecDeque::new(),
            far: Vec::new(),
            far_waits: false,
            half_open: Timers::new(),
            bounds: parts.sip_bounds,
            bind: parts.bind,
            ended: super::ended::EndedSessions::default(),
            lines: Lines::of_shard(
                parts.shards,
                u64::from_le_bytes(of(7)[..8].try_into().unwrap_or_default()),
            ),
            clock: Instant::START,
            tally: super::tally::Tally::default(),
        }
    }

    /// What there still is, for a test that expects nothing.
    #[must_use]
    pub fn what_is_left(&self) -> String {
        format!(
            "{:?} {:?} {:?}, {} connections, {} bytes spilled",
            self.function.counters(),
            self.plane.gauges(),
            self.endpoint.counts(),
            self.conns.len(),
            self.outbox.spilled()
        )
    }

    /// Whether nothing of any session, transaction or connection is left.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.function.is_empty() && self.plane.is_empty() && self.endpoint.is_empty()
    }

    /// The data plane, for counters and tests.
    #[must_use]
    pub fn plane(&self) -> &Plane {
        &self.plane
    }

    /// The Participating Function, for views and tests.
    #[must_use]
    pub fn function(&self) -> &Function {
        &self.function
    }

    /// The registrar, for views and tests.
    #[must_use]
    pub fn registrar(&self) -> &Registrar {
        &self.registrar
    }

    fn new_connection(
        &mut self,
        now: Instant,
        socket: SocketId,
        peer: SocketAddr,
    ) -> Option<ConnId> {
        let role = match self.sockets.get(usize::from(socket.0))? {
            SocketRole::SipStream => Role::Sip(self.sip_stream()),
            SocketRole::Msrp => Role::Msrp,
            SocketRole::SipDatagram => return None,
        };
        let room = match role {
            Role::Sip(_) => Room::Sip,
            Role::Msrp | Role::Far { .. } => Room::Msrp,
        };
        if !self.sources.open(room, peer.ip()) {
            self.tally.source_connections += 1;
            return None;
        }
        let Some(conn) = self.conns.insert(role, peer) else {
            self.sources.close(room, peer.ip());
            self.tally.connections_refused += 1;
            return None;
        };
        self.outbox.add(conn);
        let timer = (room == Room::Sip).then(|| self.half_open.insert(now + self.bind, conn));
        if let Some(entry) = self.conns.get_mut(conn) {
            entry.counted = Some(room);
            entry.half_open = timer;
        }
        if room == Room::Msrp {
            self.plane.handle_accepted(now, conn);
        }
        Some(conn)
    }

    /// SIP bytes of a stream: whole messages go their way, what breaks the framing ends the connection.
    fn sip_bytes(&mut self, now: Instant, conn: ConnId, bytes: &[u8]) {
        let Some(entry) = self.conns.get_mut(conn) else {
            return;
        };
        let peer = entry.peer;
        let Role::Sip(stream) = &mut entry.role else {
            return;
        };
        // Taken out while its messages go their way, which may lead back to this connection.
        let mut stream = std::mem::take(stream);
        self.framing -= stream.held();
        stream.push(bytes);
        let flow = Flow::Stream {
            home: self.id,
            conn,
            peer,
        };
        let (mut fine, mut broken) = (true, false);
        loop {
            match stream.poll() {
                Item::More => break,
                Item::Message(message) => {
                    let entry = self.conns.get_mut(conn).filter(|c| !c.stalled);
                    let waits = entry.and_then(|c| c.half_open.take());
                    if let Some(timer) = waits {
                        self.half_open.cancel(timer);
                    }
                    self.route(now, flow, message);
                }
                Item::Pong(pong) => fine &= self.outbox.whole(conn, pong).is_ok(),
                Item::Broken { bytes, error } => {
                    self.endpoint.handle_malformed(now, flow, bytes, error);
                    broken = true;
                }
            }
        }
        if let Some(entry) = self.conns.get_mut(conn)
            && let Role::Sip(slot) = &mut entry.role
        {
            let held = stream.held();
            self.framing += held;
            *slot = stream;
            // What has begun must come whole in time.
            if held > 0 && entry.half_open.is_none() {
                entry.half_open = Some(self.half_open.insert(now + self.bind, conn));
            }
        }
        if broken {
            self.settle(now);
            self.part(now, conn);
        } else if !fine {
            self.close(conn, true);
        }
    }

    /// Nothing more can be read of a SIP connection: it is closed when the answers that are under way at other shards have been
    /// sent, or after [`PARTING`].
    fn part(&mut self, now: Instant, conn: ConnId) {
        let readers = self.conns.get(conn).map_or(0, |c| c.readers);
        let mut waits = 0;
        for n in (0..self.post.shards()).filter(|n| readers & (1 << n) != 0) {
            match self.post.send(ShardId(n), Letter::Part { conn }) {
                Ok(()) => waits |= 1 << n,
                Err(_) => self.tally.mail_full += 1,
            }
        }
        if waits == 0 {
            self.close(conn, true);
            return;
        }
        let timer = self.half_open.insert(now + PARTING, conn);
        if let Some(entry) = self.conns.get_mut(conn) {
            entry.parting = waits;
            if let Some(before) = entry.half_open.replace(timer) {
                self.half_open.cancel(before);
            }
        }
    }

    /// A shard has nothing more to say on a connection that is to be closed.
    pub(super) fn parted(&mut self, conn: ConnId, shard: ShardId) {
        let Some(entry) = self.conns.get_mut(conn).filter(|c| c.parting != 0) else {
            return;
        };
        entry.parting &= !(1 << shard.0);
        if entry.parting == 0 {
            self.close(conn, true);
        }
    }

    /// The framing of a new SIP connection.
    pub(super) fn sip_stream(&self) -> Box<Stream> {
        Box::new(Stream::new(self.bounds))
    }

    /// Asks the driver to close a connection; far ones are merely forgotten.
    pub(super) fn close(&mut self, conn: ConnId, flush: bool) {
        match self.conns.get(conn).map(|c| &c.role) {
            Some(Role::Far { home, conn: theirs }) => {
                let (home, letter) = (*home, Letter::FramesDone { conn: *theirs });
                // Where it finds no place, the connection stays until its peer closes it.
                self.tally.mail_full += u64::from(self.post.send(home, letter).is_err());
                self.plane.handle_closed(self.clock, conn, &mut self.outbox);
                self.forget(conn);
            }
            Some(Role::Sip(_) | Role::Msrp) => {
                self.effects.push_back(Effect::Close { conn, flush });
            }
            None => {}
        }
        if let Some(entry) = self.conns.get_mut(conn) {
            entry.closing = true;
        }
    }

    /// Drops a connection from every table of the shard.
    pub(super) fn forget(&mut self, conn: ConnId) {
        self.outbox.remove(conn);
        self.far.retain(|c| *c != conn);
        let Some(gone) = self.conns.remove(conn) else {
            return;
        };
        if let Some(room) = gone.counted {
            self.sources.close(room, gone.peer.ip());
        }
        if let Some(timer) = gone.half_open {
            self.half_open.cancel(timer);
        }
        if let Role::Sip(stream) = &gone.role {
            self.framing -= stream.held();
        }
    }
}

impl World for Shard {
    fn accepted(
        &mut self,
        now: Instant,
        socket: SocketId,
        _local: SocketAddr,
        peer: SocketAddr,
    ) -> Option<ConnId> {
        let conn = self.new_connection(now, socket, peer);
        self.say_accepted(now, peer, conn);
        self.settle(now);
        conn
    }

    fn adopted(
        &mut self,
        now: Instant,
        socket: SocketId,
        _local: SocketAddr,
        peer: SocketAddr,
        bytes: &[u8],
    ) -> Option<ConnId> {
        let conn = self.new_connection(now, socket, peer)?;
        self.received(now, conn, Slice::passing(bytes.into()));
        Some(conn)
    }

    fn settled(&self, conn: ConnId) -> bool {
        match self.conns.get(conn).map(|c| &c.role) {
            Some(Role::Msrp) => self.plane.settled(conn),
            Some(Role::Sip(_)) => true,
            Some(Role::Far { .. }) | None => false,
        }
    }

    fn signals(&self, conn: ConnId) -> bool {
        matches!(self.conns.get(conn).map(|c| &c.role), Some(Role::Sip(_)))
    }

    fn connected(&mut self, now: Instant, conn: ConnId, outcome: Result<SocketAddr, ConnectError>) {
        self.say_connected(now, conn, &outcome);
        match self.conns.get(conn).map(|c| &c.role) {
            Some(Role::Msrp) => {
                self.plane
                    .handle_connected(now, conn, outcome.map_err(|_| ()), &mut self.outbox)
            }
            Some(Role::Sip(_)) => self.endpoint.handle_connected(now, conn, outcome.is_ok()),
            Some(Role::Far { .. }) | None => return,
        }
        if outcome.is_err() {
            self.forget(conn);
        }
        self.settle(now);
    }

    fn received(&mut self, now: Instant, conn: ConnId, bytes: Slice) {
        let entry = self.conns.get(conn);
        if entry.is_some_and(|c| c.closing) && self.goes_along(conn, &bytes) {
            return;
        }
        match self.conns.get(conn).map(|c| &c.role) {
            Some(Role::Msrp) => self.plane.handle_bytes(now, conn, bytes, &mut self.outbox),
            Some(Role::Sip(_)) => self.sip_bytes(now, conn, &bytes),
            Some(Role::Far { .. }) | None => return,
        }
        self.settle(now);
    }

    fn ended(&mut self, now: Instant, conn: ConnId, how: End) {
        self.say_closed(now, conn, how);
        let Some(gone) = self.conns.get(conn) else {
            return;
        };
        let readers = gone.readers;
        match &gone.role {
            Role::Msrp => {
                self.plane.handle_closed(now, conn, &mut self.outbox);
                self.tell_readers(readers, |c| Letter::FramesGone { conn: c }, conn);
            }
            Role::Sip(_) => {
                self.endpoint.handle_closed(now, self.id, conn);
                self.tell_readers(readers, |c| Letter::StreamGone { conn: c }, conn);
            }
            Role::Far { .. } => {}
        }
        self.forget(conn);
        self.settle(now);
    }

    fn datagram(&mut self, now: Instant, socket: SocketId, from: SocketAddr, bytes: Slice) {
        self.route(now, Flow::Udp { socket, peer: from }, &bytes);
        self.settle(now);
    }

    fn drained(&mut self, now: Instant, conn: ConnId) {
        match self.conns.get(conn).map(|c| &c.role) {
            Some(Role::Msrp) => self.plane.handle_drained(now, conn, &mut self.outbox),
            Some(Role::Sip(_)) => self.stream_drained(now, conn),
            Some(Role::Far { .. }) | None => return,
        }
        self.settle(now);
    }

    fn mail(&mut self, now: Instant) -> bool {
        let letters = self.read_mail(now);
        let questions = self.answer_question(now);
        self.settle(now);
        letters || questions
    }

    fn due(&mut self, now: Instant) {
        self.tally.turn_ended(now);
        self.say_counts(now);
        self.plane.handle_timeout(now, &mut self.outbox);
        self.endpoint.handle_timeout(now);
        self.registrar.handle_timeout(now);
        self.function.handle_timeout(now);
        for _ in 0..DUE_MAX {
            let Some(conn) = self.half_open.poll(now) else {
                break;
            };
            if let Some(entry) = self.conns.get_mut(conn) {
                entry.half_open = None;
                let parting = std::mem::take(&mut entry.parting) != 0;
                self.tally.half_open_closed += u64::from(!parting);
                self.close(conn, parting);
            }
        }
        self.settle(now);
    }

    fn next_due(&self) -> Option<Instant> {
        [
            self.plane.poll_timeout(),
            self.endpoint.poll_timeout(),
            self.registrar.poll_timeout(),
            self.function.poll_timeout(),
            self.half_open.next(),
            self.lines.next(),
            // At once: the clock of the next turn says when this one has sent what it had to.
            self.tally.awaits_end_of_turn().then_some(self.clock),
            self.far_waits.then(|| self.clock + FAR_RETRY),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn poll_effect(&mut self) -> Option<Effect> {
        if self.effects.is_empty() {
            self.mail_far_replies();
            // Sessions of those that were given up may have had something to say to others.
            while self.shed() {
                self.mail_far_replies();
            }
        }
        let effect = self.effects.pop_front();
        // Not before: who is accepted meanwhile would have its place, and the driver could not tell the two apart.
        if let Some(Effect::HandOver { conn, .. }) = effect {
            self.forget(conn);
        }
        effect
    }

    fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    fn pressure(&mut self, now: Instant, pinned: usize, total: usize) {
        if pinned * 2 >= total {
            self.plane.relieve(now);
        }
    }

    fn take_wakes(&mut self) -> u64 {
        self.post.take_wakes()
    }
}
