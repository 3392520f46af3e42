//! The way that a message goes: datagram or stream, which socket, which connection; Via to match; one way back down.

use std::{net::SocketAddr, rc::Rc};

use super::{
    CONNECT_PATIENCE, Due, Endpoint, IDLE, REFUSED_FOR, build,
    links::{Place, Waiting},
};
use crate::{
    ids::{ClientTxnId, ConnId, ServerTxnId, SocketId},
    sip::{Flow, Hop, Listening, Output, Target, hop, token, transaction::Timer},
    time::Instant,
    wire::sip::{Message, Method, Name, Start},
};

/// A request over this many bytes goes by stream: the path's MTU is unknown (RFC 3261 §18.1.1). [SIP-TXN-10]
const DATAGRAM_REQUEST_MAX: usize = 1300;
/// What a datagram can carry at all, IPv6 too.
pub(super) const DATAGRAM_MAX: usize = 65_487;

/// How the messages of a transaction travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Datagram {
        socket: SocketId,
        to: SocketAddr,
    },
    Stream {
        place: Place,
        to: SocketAddr,
    },
    /// It waits for a connection.
    Opening {
        to: SocketAddr,
    },
}

impl Way {
    pub(super) const fn is_reliable(self) -> bool {
        match self {
            Self::Datagram { .. } => false,
            Self::Stream { .. } | Self::Opening { .. } => true,
        }
    }
}

/// A way, and whether a datagram may take its place when the connection does not come up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice {
    pub(super) way: Way,
    pub(super) fallback: Option<Way>,
}

impl Endpoint {
    /// The way for a request of `len` bytes; `None` where we have no socket of that kind.
    pub(super) fn choose(&self, now: Instant, target: Target, len: usize) -> Option<Choice> {
        let datagram = match target {
            Target::Flow(Flow::Udp { socket, peer }) => Way::Datagram { socket, to: peer },
            Target::Udp(to) => match self.datagram_socket(to) {
                Some(l) => Way::Datagram {
                    socket: l.socket,
                    to,
                },
                None => return Some(self.stream(to)),
            },
            Target::Flow(flow @ Flow::Stream { .. }) => return self.open_stream(flow),
            Target::Reuse { flow, or } => {
                let open = self.open_stream(flow);
                return open.or_else(|| self.choose(now, or.into(), len));
            }
            Target::Tcp(to) => return Some(self.stream(to)),
        };
        let Way::Datagram { to, .. } = datagram else {
            return None;
        };
        // 120 bytes for the Via that is still to come.
        let small = len + 120 <= DATAGRAM_REQUEST_MAX || self.links.is_refused(now, to);
        let can_listen = self.settings.listening.iter().any(|l| l.tcp);
        if small || !can_listen {
            let fits = len + 120 <= DATAGRAM_MAX;
            return fits.then_some(Choice {
                way: datagram,
                fallback: None,
            });
        }
        let fallback = (len + 120 <= DATAGRAM_MAX).then_some(datagram);
        Some(Choice {
            fallback,
            ..self.stream(to)
        })
    }

    /// The way over a stream that is open.
    fn open_stream(&self, flow: Flow) -> Option<Choice> {
        let Flow::Stream { home, conn, peer } = flow else {
            return None;
        };
        let place = (home, conn);
        self.links.is_open(place).then_some(Choice {
            way: Way::Stream { place, to: peer },
            fallback: None,
        })
    }

    fn stream(&self, to: SocketAddr) -> Choice {
        let way = match self.links.to(to) {
            Some(place) => Way::Stream { place, to },
            None => Way::Opening { to },
        };
        Choice {
            way,
            fallback: None,
        }
    }

    /// The datagram socket for an address: the first of its family.
    fn datagram_socket(&self, to: SocketAddr) -> Option<&Listening> {
        self.settings
            .listening
            .iter()
            .find(|l| !l.tcp && l.addr.is_ipv4() == to.is_ipv4())
    }

    /// The sent-by of a Via for this way: where the other side reaches us.
    pub(super) fn sent_by(&self, way: Way) -> String {
        let host = self.settings.host.as_deref();
        let all = &self.settings.listening;
        let found = match way {
            Way::Datagram { socket, .. } => all.iter().find(|l| l.socket == socket),
            Way::Stream { to, .. } | Way::Opening { to } => all
                .iter()
                .find(|l| l.tcp && l.addr.is_ipv4() == to.is_ipv4())
                .or_else(|| all.iter().find(|l| l.tcp)),
        };
        let listening = found.or_else(|| all.first());
        match listening {
            Some(l) => build::sent_by(host, l.addr),
            None => host.unwrap_or("invalid").to_owned(),
        }
    }

    /// The message with a Via for this way.
    pub(super) fn add_via(&self, message: &[u8], way: Way, branch: &[u8]) -> Rc<[u8]> {
        let via = build::via_value(way.is_reliable(), &self.sent_by(way), branch);
        build::with_via(message, &via).into()
    }

    /// Hands bytes out. On `Opening` whoever waits must have been noted by [`Endpoint::wait`].
    pub(super) fn hand_out(&mut self, now: Instant, way: Way, bytes: Rc<[u8]>) {
        match way {
            Way::Datagram { socket, to } => {
                self.outputs
                    .push_back(Output::Datagram { socket, to, bytes });
            }
            Way::Stream { place, .. } => {
                self.links.touch(now, place);
                let (home, conn) = place;
                self.outputs.push_back(Output::Stream { home, conn, bytes });
            }
            Way::Opening { .. } => {}
        }
    }

    /// A message of our own making that has no state to send it again from, to where it was meant for at first.
    pub(super) fn send_again(&mut self, now: Instant, hop: Hop, bytes: Rc<[u8]>) {
        match self.choose(now, hop.into(), bytes.len()).map(|c| c.way) {
            Some(Way::Opening { to }) => {
                // One that finds no place among those that wait is lost, as in a network.
                let _ = self.wait(to, Waiting::Loose(bytes, None));
            }
            Some(way @ (Way::Datagram { .. } | Way::Stream { .. })) => {
                self.hand_out(now, way, bytes);
            }
            None => {}
        }
    }

    /// See [`Endpoint::handle_unsent`].
    pub(super) fn unsent(&mut self, now: Instant, bytes: &[u8]) {
        let Ok(message) = Message::parse(bytes) else {
            return;
        };
        let hop = match message.start() {
            // RFC 3261 §18.2.2: to the address that the request came from, at the port of sent-by.
            Start::Response { .. } => message.via().ok().and_then(|via| {
                let ip = via.received().or_else(|| via.host.ip())?;
                let addr = SocketAddr::new(ip, via.port_or_default());
                Some(Hop { addr, tcp: true })
            }),
            // Every other request has a transaction, which has heard of it.
            Start::Request {
                method: Method::Ack,
                uri,
            } => {
                let route = message.routes(Name::Route).next().and_then(Result::ok);
                hop(route.map_or(uri, |r| r.uri)).ok()
            }
            Start::Request { .. } => None,
        };
        if let Some(hop) = hop {
            self.send_again(now, hop, bytes.into());
        }
    }

    /// Waits for a connection, asks for it where nobody has.
    pub(super) fn wait(&mut self, to: SocketAddr, who: Waiting) -> Result<(), Waiting> {
        if self.links.wait(to, who)? {
            self.outputs.push_back(Output::Connect { to });
        }
        Ok(())
    }

    /// See [`Endpoint::send`].
    pub(super) fn send_loose(&mut self, now: Instant, target: Target, message: Vec<u8>) {
        let is_response = message.starts_with(b"SIP/");
        let Some(choice) = self.choose(now, target, message.len()) else {
            return;
        };
        // A response goes where it goes, whatever its size (RFC 3261 §18.2.2).
        let choice = match choice.fallback {
            Some(way) if is_response => Choice {
                way,
                fallback: None,
            },
            Some(_) | None => choice,
        };
        let branch = token::mint_branch(self.settings.shard, 0, &mut self.rng);
        let dressed = |way: Way| -> Rc<[u8]> {
            if is_response {
                message.as_slice().into()
            } else {
                self.add_via(&message, way, &branch)
            }
        };
        let bytes = dressed(choice.way);
        let Way::Opening { to } = choice.way else {
            self.hand_out(now, choice.way, bytes);
            return;
        };
        let fallback = choice.fallback.map(dressed);
        if let Err(Waiting::Loose(_, Some(bytes))) = self.wait(to, Waiting::Loose(bytes, fallback))
            && let Some(way) = choice.fallback
        {
            self.hand_out(now, way, bytes);
        }
    }

    /// See [`Endpoint::handle_connected`].
    pub(super) fn connected(&mut self, now: Instant, conn: ConnId, up: bool) {
        let Some((peer, waiting)) = self.links.connected(now, conn, up) else {
            return;
        };
        let place = (self.settings.shard, conn);
        if up {
            self.timers.insert(now + IDLE, Due::Idle(conn));
        } else {
            self.links.refuse(now, peer, now + REFUSED_FOR);
        }
        let way = Way::Stream { place, to: peer };
        for who in waiting {
            match who {
                Waiting::Client(id) if up => self.client_connected(now, id, way),
                Waiting::Client(id) => self.client_unconnected(now, id),
                Waiting::Server(id) => self.server_connected(now, id, up.then_some(way)),
                Waiting::Loose(bytes, _) if up => self.hand_out(now, way, bytes),
                Waiting::Loose(_, Some(bytes)) => {
                    if let Some(socket) = self.datagram_socket(peer).map(|l| l.socket) {
                        self.hand_out(now, Way::Datagram { socket, to: peer }, bytes);
                    }
                }
                Waiting::Loose(_, None) => {}
            }
        }
    }

    /// The connection is up: the request goes out.
    fn client_connected(&mut self, now: Instant, id: ClientTxnId, way: Way) {
        let Some(client) = self.clients.get(id) else {
            return;
        };
        // One that has fallen back meanwhile stays with its datagrams.
        if matches!(client.way, Way::Opening { .. }) {
            self.set_client_way(now, id, way);
            self.transmit_client(now, id);
        }
    }

    /// The connection did not come up: by datagram, or it failed.
    fn client_unconnected(&mut self, now: Instant, id: ClientTxnId) {
        let Some(client) = self.clients.get(id) else {
            return;
        };
        if !matches!(client.way, Way::Opening { .. }) {
            return;
        }
        if client.fallback.is_some() {
            self.fall_back(now, id);
        } else {
            self.client_failed(now, id);
        }
    }

    /// RFC 3261 §18.1.1: a large request whose connection is refused (or does not come up soon) goes by datagram after all.
    pub(super) fn fall_back(&mut self, now: Instant, id: ClientTxnId) {
        let Some(client) = self.clients.get(id) else {
            return;
        };
        let (Way::Opening { to }, Some(way)) = (client.way, client.fallback) else {
            return;
        };
        self.links.refuse(now, to, now + REFUSED_FOR);
        self.set_client_way(now, id, way);
        self.transmit_client(now, id);
        self.start_retransmission(now, id);
    }

    /// A request that waits for its connection and may go by datagram does not wait for long.
    pub(super) fn be_patient(&mut self, now: Instant, id: ClientTxnId) {
        self.timers
            .insert(now + CONNECT_PATIENCE, Due::Impatient(id));
    }

    /// A response whose connection is gone: by a new one, to the port of the request's Via (RFC 3261 §18.2.2).
    fn server_connected(&mut self, now: Instant, id: ServerTxnId, way: Option<Way>) {
        match way {
            Some(way) => self.server_reconnected(now, id, way),
            None => self.server_failed(now, id),
        }
    }

    /// The connection that a request went over is gone before anything was heard of it: it goes once more, by a new one to the
    /// address that it was for. The far side knows it again by its branch (RFC 3261 §17.2.3). `false`: there is no such way.
    pub(super) fn reroute(&mut self, now: Instant, id: ClientTxnId) -> bool {
        let Some(client) = self.clients.get_mut(id) else {
            return false;
        };
        let Some(hop) = client.otherwise.take().filter(|_| client.is_unheard()) else {
            return false;
        };
        let len = client.sent.len();
        let Some(choice) = self.choose(now, hop.into(), len) else {
            return false;
        };
        if let Some(client) = self.clients.get_mut(id) {
            client.fallback = choice.fallback;
        }
        self.set_client_way(now, id, choice.way);
        if choice.fallback.is_some() && matches!(choice.way, Way::Opening { .. }) {
            self.be_patient(now, id);
        }
        self.transmit_client(now, id);
        if !choice.way.is_reliable() {
            self.start_retransmission(now, id);
        }
        true
    }

    /// Starts timer A or E of a request that has become one of datagrams.
    fn start_retransmission(&mut self, now: Instant, id: ClientTxnId) {
        let timer = match self.clients.get(id) {
            Some(c) if c.is_invite() => Timer::A,
            Some(_) => Timer::E,
            None => return,
        };
        self.set_client_timer(now, id, timer);
    }
}
