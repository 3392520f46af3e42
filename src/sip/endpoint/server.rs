//! Runs the server transactions.

use std::{net::SocketAddr, rc::Rc};

use super::{
    Due, Endpoint, Running,
    build::{self, Answer},
    links::Waiting,
    way::Way,
};
use crate::{
    ids::{LegId, ServerTxnId, SessionId},
    sip::{
        Event, Flow, Reply, token,
        transaction::{Action, Timer, invite_server, non_invite_server},
    },
    time::Instant,
    wire::sip::{Message, Method},
};

/// A request that we received.
#[derive(Debug)]
pub(super) struct Server {
    machine: Machine,
    /// The request, `received` and `rport` filled in.
    request: Rc<[u8]>,
    flow: Flow,
    way: Way,
    /// Where a response goes when the connection that the request came by is gone.
    back: SocketAddr,
    key: Box<[u8]>,
    merging: Option<Box<[u8]>>,
    /// The last response.
    last: Option<Rc<[u8]>>,
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
        (key, merging): (Box<[u8]>, Option<Box<[u8]>>),
        told: bool,
    ) -> Option<ServerTxnId> {
        let via = message.via().ok()?;
        let (way, back) = match flow {
            Flow::Udp { socket, peer } => {
                let to = build::response_address(&via, peer, false);
                (Way::Datagram { socket, to }, to)
            }
            Flow::Stream { home, conn, peer } => {
                let place = (home, conn);
                self.links.hold(now, place, peer);
                (
                    Way::Stream { place, to: peer },
                    build::response_address(&via, peer, true),
                )
            }
        };
        let machine = match message.method() {
            Some(Method::Invite) => Machine::Invite(invite_server::State::Proceeding),
            _ => Machine::NonInvite(non_invite_server::State::Trying),
        };
        let id = self.servers.insert(Server {
            machine,
            request: message.as_bytes().into(),
            flow,
            way,
            back,
            key: key.clone(),
            merging: merging.clone(),
            last: None,
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
        self.run_server(now, id, entry, None);
        Some(id)
    }

    /// The request of a transaction came again.
    pub(super) fn repeat_server(&mut self, now: Instant, id: ServerTxnId) {
        self.counts.repeated += 1;
        self.server_event(now, id, Happening::Request, None);
    }

    /// An ACK that matches an INVITE transaction.
    pub(super) fn acknowledge(&mut self, now: Instant, id: ServerTxnId, ack: (Flow, Rc<[u8]>)) {
        let Some(server) = self.servers.get_mut(id) else {
            return;
        };
        let actions = server.step(Happening::Ack);
        if actions.contains(&Action::TellAck) {
            let (flow, message) = ack;
            self.events.push_back(Event::Ack { flow, message });
        }
        self.run_server(now, id, actions, None);
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
        let actions = server.step(Happening::User(reply.code));
        if !actions.contains(&Action::Send) {
            self.run_server(now, id, actions, None);
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
                reason: reply.reason.as_bytes(),
                tag: if reply.code == 100 { b"" } else { &server.tag },
                headers: &reply.headers,
                product: &self.settings.product,
                body: reply.body.as_ref().map(|(t, b)| (*t, b.as_slice())),
            },
        );
        self.run_server(now, id, actions, Some(response.into()));
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
        self.transmit_server(now, id);
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
        self.run_server(now, id, actions, response);
    }

    fn run_server(
        &mut self,
        now: Instant,
        id: ServerTxnId,
        actions: &'static [Action],
        response: Option<Rc<[u8]>>,
    ) {
        let mut at_once = None;
        for action in actions {
            let Some(server) = self.servers.get_mut(id) else {
                return;
            };
            match action {
                Action::Send => {
                    server.last.clone_from(&response);
                    self.transmit_server(now, id);
                }
                Action::Resend => {
                    self.counts.retransmitted += 1;
                    self.transmit_server(now, id);
                }
                Action::SendTrying => self.send_trying(now, id),
                Action::Tell if server.told => {
                    let event = Event::Request {
                        txn: id,
                        flow: server.flow,
                        message: server.request.clone(),
                    };
                    self.events.push_back(event);
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
                Action::Tell
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
