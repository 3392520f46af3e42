//! The endpoint: demultiplexes messages into transactions, chooses transports, fills Via.
//!
//! The law: a message goes to exactly one transaction or starts one; whatever is held ends by a timer; what does not fit is
//! refused with 503 and leaves nothing behind. `client` and `server` run the machines of
//! [`transaction`](crate::sip::transaction), `links` knows the connections, `way` sends, `build` writes.

mod build;
mod client;
mod key;
mod links;
mod note;
mod places;
mod receive;
mod room;
mod server;
mod way;

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    rc::Rc,
    time::Duration,
};

use arrayvec::ArrayVec;
use foldhash::quality::FixedState;
use rand::{Rng, SeedableRng, rngs::ChaCha12Rng};
use slotmap::SlotMap;

use self::{
    client::Client,
    links::Links,
    places::Places,
    room::{ClientRoom, ServerRoom},
    server::Server,
};
use super::{
    Counts, Draft, Event, Flow, Output, Reply, Settings, Target, TxnRef,
    token::Branch,
    transaction::{Timer, duration},
};
use crate::{
    ids::{ClientTxnId, ConnId, ServerTxnId, SessionId, ShardId},
    time::Instant,
    timer::{TimerId, Timers},
    wire::sip::{Error, Message},
};

/// A connection of ours that nothing used for so long is closed.
const IDLE: Duration = Duration::from_secs(300);
/// So long an address that refused a connection gets large requests by datagram.
const REFUSED_FOR: Duration = Duration::from_secs(60);
/// A large request waits so long for its connection before it goes by datagram.
const CONNECT_PATIENCE: Duration = Duration::from_secs(2);

/// The SIP endpoint of a shard. The calling order is in the module of the room.
#[derive(Debug)]
pub struct Endpoint {
    settings: Settings,
    rng: ChaCha12Rng,
    /// For what must be the same each time it is asked for, and a stranger cannot guess: tags without a transaction.
    secret: u64,
    clients: SlotMap<ClientTxnId, Client>,
    /// By branch, and whether it is the CANCEL.
    by_branch: HashMap<(Branch, bool), ClientTxnId, FixedState>,
    by_ref: HashMap<TxnRef, ClientTxnId, FixedState>,
    servers: SlotMap<ServerTxnId, Server>,
    by_key: HashMap<Rc<[u8]>, ServerTxnId, FixedState>,
    merging: HashMap<Rc<[u8]>, ServerTxnId, FixedState>,
    server_room: ServerRoom,
    client_room: ClientRoom<SessionId>,
    places: Places,
    links: Links,
    timers: Timers<Due>,
    scratch: Vec<u8>,
    events: VecDeque<Event>,
    outputs: VecDeque<Output>,
    counts: Counts,
    notes: VecDeque<super::Note>,
}

/// What a timer is for.
#[derive(Clone, Copy, Debug)]
enum Due {
    Client(ClientTxnId, Timer),
    Server(ServerTxnId, Timer),
    /// A client transaction has waited long enough for its connection.
    Impatient(ClientTxnId),
    Idle(ConnId),
}

/// The timers of one transaction; four at once are the most that any state has.
#[derive(Clone, Debug, Default)]
struct Running {
    set: ArrayVec<(Timer, TimerId), 4>,
    /// What a retransmission timer waited last.
    interval: Duration,
}

impl Running {
    /// Starts a timer, anew where it runs; true if it fires at once.
    fn start(
        &mut self,
        timers: &mut Timers<Due>,
        now: Instant,
        timer: Timer,
        (t1, reliable): (Duration, bool),
        due: Due,
    ) -> bool {
        self.stop(timers, timer);
        let Some(wait) = duration(timer, t1, reliable, self.interval) else {
            return false;
        };
        if wait.is_zero() {
            return true;
        }
        if matches!(timer, Timer::A | Timer::E | Timer::G) {
            self.interval = wait;
        }
        let id = timers.insert(now + wait, due);
        assert!(
            self.set.try_push((timer, id)).is_ok(),
            "no state has more than four timers"
        );
        false
    }

    fn stop(&mut self, timers: &mut Timers<Due>, timer: Timer) {
        if let Some(at) = self.set.iter().position(|(t, _)| *t == timer) {
            let (_, id) = self.set.swap_remove(at);
            timers.cancel(id);
        }
    }

    fn stop_all(&mut self, timers: &mut Timers<Due>) {
        for (_, id) in self.set.drain(..) {
            timers.cancel(id);
        }
    }

    /// A timer has fired: its name is dead.
    fn fired(&mut self, timer: Timer) {
        self.set.retain(|(t, _)| *t != timer);
    }
}

impl Endpoint {
    /// An endpoint without transactions. All chance (branches, tags) comes from `seed`.
    #[must_use]
    pub fn new(settings: Settings, seed: [u8; 32]) -> Self {
        let mut rng = ChaCha12Rng::from_seed(seed);
        let hash_seed = rng.next_u64();
        let state = || FixedState::with_seed(hash_seed);
        let links = Links::new(settings.shard, rng.next_u64());
        let server_room = ServerRoom::new(settings.servers_max, settings.servers_bytes, hash_seed);
        let client_room = ClientRoom::new(settings.clients_bytes, hash_seed);
        // Their places stand from the start: a table that grows copies megabytes while messages wait. BYEs and CANCELs have a
        // reserve of as many client transactions again, and three timers are the most that one has for long.
        let (servers, clients) = (settings.servers_max, 2 * settings.clients_max);
        Self {
            settings,
            secret: rng.next_u64(),
            rng,
            clients: SlotMap::with_capacity_and_key(clients),
            by_branch: HashMap::with_capacity_and_hasher(clients, state()),
            by_ref: HashMap::with_capacity_and_hasher(clients, state()),
            servers: SlotMap::with_capacity_and_key(servers),
            by_key: HashMap::with_capacity_and_hasher(servers, state()),
            merging: HashMap::with_capacity_and_hasher(servers, state()),
            server_room,
            client_room,
            places: Places::new(hash_seed),
            links,
            timers: Timers::with_capacity(servers + clients),
            scratch: Vec::new(),
            events: VecDeque::new(),
            outputs: VecDeque::new(),
            counts: Counts::default(),
            notes: VecDeque::new(),
        }
    }

    /// A whole message from a datagram or, framed by `Stream`, from a connection. What cannot be read is answered (400, 505,
    /// 513, ...) where it lets itself be answered, else dropped.
    pub fn handle_message(&mut self, now: Instant, flow: Flow, bytes: &[u8]) {
        self.heard(now, flow);
        self.receive(now, flow, bytes);
    }

    /// [`Endpoint::handle_message`] of a message that its caller has read. `known`: a user who is registered sends it, from where he
    /// is; asked for while [`Endpoint::is_crowded`].
    pub fn handle_read(&mut self, now: Instant, flow: Flow, message: &Message<'_>, known: bool) {
        self.heard(now, flow);
        self.receive_read(now, flow, message, known);
    }

    /// Whether strangers hold so much that it matters who is known.
    #[must_use]
    pub const fn is_crowded(&self) -> bool {
        self.server_room.is_crowded()
    }

    fn heard(&mut self, now: Instant, flow: Flow) {
        if let Flow::Stream { home, conn, peer } = flow {
            self.links.heard(now, (home, conn), peer);
        }
    }

    /// What a stream could not frame ([`Item::Broken`](super::Item)): answered by the status of its error where it is a request
    /// with a Via, else dropped. Closing the connection is the caller's.
    pub fn handle_malformed(&mut self, now: Instant, flow: Flow, bytes: &[u8], error: Error) {
        self.refuse_malformed(now, flow, bytes, error);
    }

    /// Answers a request 503 with Retry-After, without a transaction: the caller has no place for it, and counts it.
    pub fn refuse(&mut self, now: Instant, flow: Flow, bytes: &[u8]) {
        if let Ok(message) = Message::parse(bytes) {
            self.refuse_for_now(now, flow, &message);
        }
    }

    /// Sends a request in a new client transaction. Its fate comes as events of `draft.of`. An ACK has no transaction: see
    /// [`Endpoint::send`].
    pub fn request(&mut self, now: Instant, draft: Draft) {
        self.start_client(now, draft);
    }

    /// Answers a request. A 2xx to an INVITE may be given again until its transaction is over (64·T1): it is sent again. An
    /// answer after the final one, or to a transaction that is over, is dropped.
    pub fn respond(&mut self, now: Instant, txn: ServerTxnId, reply: Reply) {
        self.answer(now, txn, &reply);
    }

    /// CANCELs an INVITE of ours once its first provisional response has come (settled.md 5); nothing happens where it has
    /// its final one. `headers`: Reason and others, each with CRLF.
    pub fn cancel(&mut self, now: Instant, of: TxnRef, headers: &[u8]) {
        if let Some(id) = self.by_ref.get(&of).copied() {
            self.cancel_client(now, id, headers);
        }
    }

    /// Sends without a transaction: the ACK of a 2xx (complete but for Via, which is added) or a complete response.
    pub fn send(&mut self, now: Instant, target: Target, message: Vec<u8>) {
        self.send_loose(now, target, message);
    }

    /// The name of the connection that [`Output::Connect`] asked for.
    pub fn handle_connecting(&mut self, to: SocketAddr, conn: ConnId) {
        self.links.connecting(to, conn);
    }

    /// Whether that connection came up. What waited for it is sent, or goes by datagram, or fails.
    pub fn handle_connected(&mut self, now: Instant, conn: ConnId, up: bool) {
        self.connected(now, conn, up);
    }

    /// A connection is over, here (`home` is our shard) or at another shard. Requests that wait for their first response on
    /// it go once more, by a new one to the address that they are for, or fail; responses will go by a new one to where the
    /// request's Via says.
    pub fn handle_closed(&mut self, now: Instant, home: ShardId, conn: ConnId) {
        if home == self.settings.shard {
            // One that never came up is told so by `handle_connected`, or only by this.
            self.connected(now, conn, false);
        }
        if !self.links.closed((home, conn)) {
            return;
        }
        let hit: Vec<_> = self
            .clients
            .iter()
            .filter(|(_, c)| c.uses((home, conn)))
            .map(|(id, _)| id)
            .collect();
        for id in hit {
            if !self.reroute(now, id) {
                self.client_failed(now, id);
            }
        }
    }

    /// A message was handed out for a connection of another shard that was over by then: [`Endpoint::handle_closed`], and
    /// what has no transaction (any more) that could send it again goes by a new one: a response to where its Via says, an ACK
    /// to where its Route or Request-URI does.
    pub fn handle_unsent(&mut self, now: Instant, home: ShardId, conn: ConnId, bytes: &[u8]) {
        self.handle_closed(now, home, conn);
        self.unsent(now, bytes);
    }

    /// Timers that are due.
    pub fn handle_timeout(&mut self, now: Instant) {
        for _ in 0..crate::timer::DUE_MAX {
            let Some(due) = self.timers.poll(now) else {
                break;
            };
            match due {
                Due::Client(id, timer) => self.client_fired(now, id, timer),
                Due::Server(id, timer) => self.server_fired(now, id, timer),
                Due::Impatient(id) => self.fall_back(now, id),
                Due::Idle(conn) => self.check_idle(now, conn),
            }
        }
    }

    /// When `handle_timeout` must be called next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The next thing to know.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Whether no transaction is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty() && self.servers.is_empty()
    }

    /// Gauges and counters.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            clients: self.clients.len(),
            servers: self.servers.len(),
            connections: self.links.len(),
            timers: self.timers.len(),
            bytes: self.server_room.used() + self.client_room.used() + self.links.loose_bytes(),
            ..self.counts
        }
    }

    /// Closes a connection of ours that nothing has used for long, or looks again later.
    fn check_idle(&mut self, now: Instant, conn: ConnId) {
        let Some(link) = self.links.get((self.settings.shard, conn)) else {
            return;
        };
        let idle_at = link.last_used + IDLE;
        if idle_at <= now {
            // The shard answers with `handle_closed`.
            self.outputs.push_back(Output::Close { conn });
        } else {
            self.timers.insert(idle_at, Due::Idle(conn));
        }
    }
}
