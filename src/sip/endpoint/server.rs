//! Runs the server transactions.

use std::{net::SocketAddr, rc::Rc};

use super::{
    Due, Endpoint, Running,
    build::{self, Answer},
    links::Waiting,
    note,
    places::{Places, REPEATS_MAX},
    room::{self, Held, Place, Standing},
    way::{DATAGRAM_MAX, Way},
};
use crate::{
    ids::{LegId, ServerTxnId, SessionId},
    sip::{
        Event, Flow, Reply, source, token,
        transaction::{Action, Timer, invite_server, non_invite_server},
    },
    time::Instant,
    wire::sip::{Message, Method},
};

/// A request that we received.
#[derive(Debug)]
pub(super) struct Server {
    machine: Machine,
    /// What an answer copies of the request, as a request; empty once nothing is to be answered any more.
    request: Box<[u8]>,
    flow: Flow,
    way: Way,
    /// Where a response goes when the connection that the request came by is gone.
    back: SocketAddr,
    key: Rc<[u8]>,
    merging: Option<Rc<[u8]>>,
    /// The last response, where it may have to be sent again.
    last: Option<Rc<[u8]>>,
    /// How often it was sent again to a place that had not answered.
    repeats: u8,
    /// It waits for a connection to be sent on.
    waits: bool,
    held: Held,
    /// Our To-tag, once there is one.
    tag: Vec<u8>,
    running: Running,
    /// The user has been told of a CANCEL.
    cancelled: bool,
    /// The user knows of it.
    told: bool,
}

#[derive(Clone, Copy, Debug)]
enum Machine {
    Invite(invite_server::State),
    NonInvite(non_invite_server::State),
}

/// What happens to a server transaction, in the words of both tables.
#[derive(Clone, Copy, Debug)]
enum Happening {
    Request,
    Ack,
    User(u16),
    TransportError,
    Fired(Timer),
}

impl Server {
    /// Moves by the table.
    fn step(&mut self, what: Happening) -> &'static [Action] {
        match &mut self.machine {
            Machine::Invite(state) => {
                use invite_server::{Event, step};
                let event = match what {
                    Happening::Request => Event::Invite,
                    Happening::Ack => Event::Ack,
                    Happening::User(100..=199) => Event::UserProvisional,
                    Happening::User(200..=299) => Event::UserSuccess,
                    Happening::User(_) => Event::UserFailure,
                    Happening::TransportError => Event::TransportError,
                    Happening::Fired(timer) => Event::Fired(timer),
                };
                let (to, actions) = step(*state, event);
                *state = to;
                actions
            }
            Machine::NonInvite(state) => {
                use non_invite_server::{Event, step};
                let event = match what {
                    Happening::Request => Event::Request,
                    Happening::User(100) => Event::UserProvisional,
                    // RFC 4320 §4.1: no other provisional response to a non-INVITE request. [SIP-TXN-06]
                    Happening::User(101..=199) | Happening::Ack => return &[],
                    Happening::User(408) => Event::UserTimeout,
                    Happening::User(_) => Event::UserFinal,
                    Happening::TransportError => Event::TransportError,
                    Happening::Fired(timer) => Event::Fired(timer),
                };
                let (to, actions) = step(*state, event);
                *state = to;
                actions
            }
        }
    }

    /// Bytes that it holds beside its place.
    fn bytes(&self) -> usize {
        let merging = self.merging.as_deref().unwrap_or_default();
        let mut last = self.last.as_deref().unwrap_or_default();
        // The 100 that may still go out is about as long.
        if matches!(
            self.machine,
            Machine::Invite(invite_server::State::Proceeding)
        ) && last.len() < self.request.len()
        {
            last = &self.request;
        }
        [&self.key, merging, &self.request, last, &self.tag]
            .map(room::cost)
            .iter()
            .sum()
    }

    /// Whether it has its final response, and nothing but that.
    const fn is_answered(&self) -> bool {
        use {invite_server::State as Invite, non_invite_server::State as NonInvite};
        match self.machine {
            // The 2xx is its user's to repeat.
            Machine::Invite(s) => matches!(s, Invite::Completed | Invite::Confirmed),
            Machine::NonInvite(s) => matches!(s, NonInvite::Completed),
        }
    }

    /// Whether an answer may be sent again that nobody asks for again (settled.md 42).
    fn may_repeat(&mut self, places: &Places) -> bool {
        match self.way {
            Way::Datagram { to, .. } if !places.has_answered(to) => {
                self.repeats = self.repeats.saturating_add(1);
                self.repeats <= REPEATS_MAX
            }
            Way::Datagram { .. } | Way::Stream { .. } | Way::Opening { .. } => true,
        }
    }

    const fn is_terminated(&self) -> bool {
        match self.machine {
            Machine::Invite(s) => matches!(s, invite_server::State::Terminated),
            Machine::NonInvite(s) => matches!(s, non_invite_server::State::Terminated),
        }
    }
}

impl Endpoint {
    /// Starts a transaction for a new request. `told`: its user hears of it, and answers.
    pub(super) fn start_server(
        &mut self,
        now: Instant,
        flow: Flow,
        message: &Message<'_>,
        (key, merging): (Rc<[u8]>, Option<Rc<[u8]>>),
        (standing, told): (Standing, bool),
    ) -> Option<ServerTxnId> {
        let via = message.via().ok()?;
        let request = build::answerable(message).into_boxed_slice();
        // Twice: the first answer is about as long.
        let bytes = [
            &key,
            merging.as_deref().unwrap_or_default(),
            &request,
            &request,
        ]
        .map(room::cost)
        .iter()
        .sum();
        let trusted = self.settings.trusted.believes(flow);
        let source = (!trusted).then(|| source(flow.peer().ip()));
        let place = self.server_room.place(standing, source, bytes);
        if place == Place::Full {
            self.refuse_busy(now, flow, message);
            return None;
        }
        let held = Held {
            standing,
            source,
            bytes,
            passing: place == Place::Passing,
        };
        self.server_room.enter(&held);
        let (way, back) = match flow {
            Flow::Udp { socket, peer } => {
                let to = build::response_address(&via, peer, (false, trusted));
                (Way::Datagram { socket, to }, to)
            }
            Flow::Stream { home, conn, peer } => {
                let place = (home, conn);
                self.links.hold(now, place, peer);
                (
                    Way::Stream { place, to: peer },
                    build::response_address(&via, peer, (true, trusted)),
                )
            }
        };
        let machine = match message.method() {
            Some(Method::Invite) => Machine::Invite(invite_server::State::Proceeding),
            _ => Machine::NonInvite(non_invite_server::State::Trying),
        };
        let id = self.servers.insert(Server {
            machine,
            request,
            flow,
            way,
            back,
            key: key.clone(),
            merging: merging.clone(),
            last: None,
            repeats: 0,
            waits: false,
            held,
            tag: Vec::new(),
            running: Running::default(),
            cancelled: false,
            told,
        });
        self.by_key.insert(key, id);
        if let Some(merging) = merging {
            self.merging.insert(merging, id);
        }
        let entry = match machine {
            Machine::Invite(_) => invite_server::ENTRY,
            Machine::NonInvite(_) => non_invite_server::ENTRY,
        };
        let message = told.then(|| message.as_bytes().into());
        self.run_server(now, id, entry, message, false);
        Some(id)
    }

    /// The request of a transaction came again.
    pub(super) fn repeat_server(&mut self, now: Instant, id: ServerTxnId) {
        self.counts.repeated += 1;
        if let Some(server) = self.servers.get_mut(id) {
            let actions = server.step(Happening::Request);
            self.run_server(now, id, actions, None, true);
        }
    }

    /// An ACK that matches an INVITE transaction.
    pub(super) fn acknowledge(&mut self, now: Instant, id: ServerTxnId, ack: (Flow, Rc<[u8]>)) {
        let Some(server) = self.servers.get_mut(id) else {
            return;
        };
        let actions = server.step(Happening::Ack);
        let tag = Message::parse(&ack.1)
            .ok()
            .and_then(|ack| Some(ack.to().ok()?.tag()? == server.tag));
        if let (Some(true), Way::Datagram { to, .. }) = (tag, server.way) {
            // Our tag is known only to who got our answer.
            self.places.note(to);
        }
        if actions.contains(&Action::TellAck) {
            let (flow, message) = ack;
            self.events.push_back(Event::Ack { flow, message });
        }
        self.run_server(now, id, actions, None, false);
    }

    /// A CANCEL has met this INVITE (RFC 3261 §9.2): tells the user once, while the INVITE is unanswered. The To-tag for the
    /// CANCEL's own response is that of the INVITE's.
    pub(super) fn cancel_server(&mut self, id: ServerTxnId, message: Rc<[u8]>) -> Vec<u8> {
        let Some(server) = self.servers.get_mut(id) else {
            return Vec::new();
        };
        let pending = matches!(
            server.machine,
            Machine::Invite(invite_server::State::Proceeding)
        );
        if pending && server.told && !server.cancelled {
            server.cancelled = true;
            self.events.push_back(Event::Cancelled { txn: id, message });
        }
        server.tag.clone()
    }

    /// See [`Endpoint::respond`].
    pub(super) fn answer(&mut self, now: Instant, id: ServerTxnId, reply: &Reply) {
        let Some(server) = self.servers.get_mut(id) else {
            return;
        };
        let again = matches!(
            server.machine,
            Machine::Invite(invite_server::State::Accepted)
        );
        let before = server.machine;
        let mut actions = server.step(Happening::User(reply.code));
        if !actions.contains(&Action::Send) {
            self.run_server(now, id, actions, None, false);
            return;
        }
        if !reply.tag.is_empty() {
            server.tag.clone_from(&reply.tag);
        } else if server.tag.is_empty() && reply.code != 100 {
            server.tag = fresh_tag(self.settings.shard, &mut self.rng);
        }
        let Ok(request) = Message::parse(&server.request) else {
            return;
        };
        let response = build::response(
            &request,
            &Answer {
                code: reply.code,
                // The RFC's.
                reason: b"",
                tag: if reply.code == 100 { b"" } else { &server.tag },
                headers: &reply.headers,
                product: &self.settings.product,
                body: reply.body.as_ref().map(|(t, b)| (*t, b.as_slice())),
            },
        );
        let again = again || server.last.as_deref() == Some(&response);
        if !again {
            let said = (reply.code, &*server.tag, reply.why);
            note::note(&mut self.notes, &request, said, note::peer(server.way));
        }
        let (response, code) = self.sendable(id, response, reply.code);
        if code != reply.code
            && let Some(server) = self.servers.get_mut(id)
        {
            // It goes on as what was sent in its place.
            server.machine = before;
            actions = server.step(Happening::User(code));
        }
        let server = self.servers.get_mut(id);
        if !again || server.is_some_and(|s| s.may_repeat(&self.places)) {
            self.run_server(now, id, actions, Some(response), false);
        }
        self.settle_server(id);
    }

    /// A response, or where no datagram carries it one that says so.
    fn sendable(&mut self, id: ServerTxnId, response: Vec<u8>, code: u16) -> (Rc<[u8]>, u16) {
        let Some(server) = self.servers.get(id) else {
            return (response.into(), code);
        };
        let Way::Datagram { socket, .. } = server.way else {
            return (response.into(), code);
        };
        if response.len() <= DATAGRAM_MAX {
            return (response.into(), code);
        }
        self.counts.unsendable += 1;
        let Ok(request) = Message::parse(&server.request) else {
            return (response.into(), code);
        };
        // A provisional response says only that we are at it.
        let (code, tag) = if code < 200 {
            (100, &b""[..])
        } else {
            (513, server.tag.as_slice())
        };
        let listening = self.settings.listening.iter().find(|l| l.socket == socket);
        let host = match (&self.settings.host, listening) {
            (Some(host), _) => host.clone(),
            (None, Some(l)) => l.addr.to_string(),
            (None, None) => String::from("ringfork"),
        };
        let warning = format!(
            "Warning: 399 {host} \"the answer has {} bytes, more than a datagram carries\"\r\n",
            response.len()
        );
        let headers = if code == 100 { "" } else { &warning };
        let answer = Answer {
            code,
            tag,
            headers: headers.as_bytes(),
            product: &self.settings.product,
            ..Answer::default()
        };
        let short = build::response(&request, &answer);
        if short.len() <= DATAGRAM_MAX {
            return (short.into(), code);
        }
        // What the request itself brings fills a datagram: the status alone is left to say.
        let bare = Answer {
            headers: b"",
            product: "",
            ..answer
        };
        (build::response(&request, &bare).into(), code)
    }

    /// What an answer leaves to be held; and if that is over its share, nothing.
    fn settle_server(&mut self, id: ServerTxnId) {
        let Some(server) = self.servers.get_mut(id) else {
            return;
        };
        let success = matches!(
            server.machine,
            Machine::Invite(invite_server::State::Accepted)
        );
        if server.waits {
            // All that there is may be needed when the connection is up.
        } else if success {
            // Its user gives it again, and a repeat of the INVITE is absorbed.
            server.last = None;
        } else if server.is_answered() {
            server.request = Box::default();
        }
        let bytes = server.bytes();
        let more = bytes.saturating_sub(server.held.bytes);
        let over =
            server.held.passing || more > 0 && !self.server_room.may_grow(&server.held, more);
        if over && server.is_answered() && !server.waits {
            self.counts.passed += 1;
            self.end_server(id);
            return;
        }
        self.server_room.change(&mut server.held, bytes);
    }

    /// A timer of a server transaction fired.
    pub(super) fn server_fired(&mut self, now: Instant, id: ServerTxnId, timer: Timer) {
        if let Some(server) = self.servers.get_mut(id) {
            server.running.fired(timer);
            self.server_event(now, id, Happening::Fired(timer), None);
        }
    }

    /// Its response could not be sent.
    pub(super) fn server_failed(&mut self, now: Instant, id: ServerTxnId) {
        self.server_event(now, id, Happening::TransportError, None);
    }

    /// Its response goes by a new connection.
    pub(super) fn server_reconnected(&mut self, now: Instant, id: ServerTxnId, way: Way) {
        let Some(server) = self.servers.get_mut(id) else {
            return;
        };
        if let (Way::Stream { place, .. }, Way::Stream { place: new, to }) = (server.way, way) {
            self.links.release(place);
            self.links.hold(now, new, to);
        }
        server.way = way;
        server.waits = false;
        self.transmit_server(now, id);
        self.settle_server(id);
    }

    fn server_event(
        &mut self,
        now: Instant,
        id: ServerTxnId,
        what: Happening,
        response: Option<Rc<[u8]>>,
    ) {
        let Some(server) = self.servers.get_mut(id) else {
            return;
        };
        let actions = server.step(what);
        self.run_server(now, id, actions, response, false);
    }

    fn run_server(
        &mut self,
        now: Instant,
        id: ServerTxnId,
        actions: &'static [Action],
        message: Option<Rc<[u8]>>,
        asked: bool,
    ) {
        let mut at_once = None;
        for action in actions {
            let Some(server) = self.servers.get_mut(id) else {
                return;
            };
            match action {
                Action::Send => {
                    server.last.clone_from(&message);
                    self.transmit_server(now, id);
                }
                Action::Resend if asked || server.may_repeat(&self.places) => {
                    self.counts.retransmitted += 1;
                    self.transmit_server(now, id);
                }
                Action::SendTrying => self.send_trying(now, id),
                Action::Tell if server.told => {
                    self.events.extend(message.clone().map(|message| Event::Request {
                        txn: id,
                        flow: server.flow,
                        message,
                    }));
                }
                Action::TellFailed if server.told => {
                    self.events.push_back(Event::ServerFailed { txn: id });
                }
                Action::Set(timer) => {
                    let (t1, reliable) = (self.settings.t1, server.way.is_reliable());
                    let due = Due::Server(id, *timer);
                    if server.running.start(
                        &mut self.timers,
                        now,
                        *timer,
                        (t1, reliable),
                        due,
                    ) {
                        at_once = Some(*timer);
                    }
                }
                Action::Clear(timer) => server.running.stop(&mut self.timers, *timer),
                Action::Resend
                | Action::Tell
                | Action::TellFailed
                // `acknowledge` has the message.
                | Action::TellAck
                | Action::SendAck
                | Action::SendCancel
                | Action::SendWaitingCancel
                | Action::TellTimedOut
                | Action::TellUnreachable => {}
            }
        }
        if self.servers.get(id).is_some_and(Server::is_terminated) {
            self.end_server(id);
        } else if let Some(timer) = at_once {
            self.server_event(now, id, Happening::Fired(timer), None);
        }
    }

    fn send_trying(&mut self, now: Instant, id: ServerTxnId) {
        let Some(server) = self.servers.get_mut(id) else {
            return;
        };
        let Ok(request) = Message::parse(&server.request) else {
            return;
        };
        let answer = Answer {
            code: 100,
            product: &self.settings.product,
            ..Answer::default()
        };
        server.last = Some(build::response(&request, &answer).into());
        self.transmit_server(now, id);
        self.settle_server(id);
    }

    /// Sends the last response the way the request came; by a new connection where that one is gone.
    fn transmit_server(&mut self, now: Instant, id: ServerTxnId) {
        let Some(server) = self.servers.get(id) else {
            return;
        };
        let Some(bytes) = server.last.clone() else {
            return;
        };
        match server.way {
            Way::Stream { place, .. } if !self.links.is_open(place) => {
                let to = server.back;
                if let Some(place) = self.links.to(to) {
                    self.server_reconnected(now, id, Way::Stream { place, to });
                } else if self.wait(to, Waiting::Server(id)).is_err() {
                    self.server_failed(now, id);
                } else if let Some(server) = self.servers.get_mut(id) {
                    server.waits = true;
                }
            }
            way @ (Way::Datagram { .. } | Way::Stream { .. } | Way::Opening { .. }) => {
                self.hand_out(now, way, bytes);
            }
        }
    }

    fn end_server(&mut self, id: ServerTxnId) {
        let Some(mut server) = self.servers.remove(id) else {
            return;
        };
        server.running.stop_all(&mut self.timers);
        self.server_room.leave(&server.held);
        if let Way::Stream { place, .. } = server.way {
            self.links.release(place);
        }
        self.by_key.remove(&server.key);
        if let Some(merging) = server.merging
            && self.merging.get(&merging) == Some(&id)
        {
            self.merging.remove(&merging);
        }
    }
}

/// A tag of ours that belongs to no session.
fn fresh_tag(shard: crate::ids::ShardId, rng: &mut impl rand::Rng) -> Vec<u8> {
    token::mint(shard, SessionId::default(), LegId(0), rng).to_vec()
}
