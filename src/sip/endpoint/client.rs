//! Runs the client transactions.

use std::rc::Rc;

use super::{
    Due, Endpoint, Running, build,
    links::{Place, Waiting},
    places::{Places, REPEATS_MAX},
    room,
    way::Way,
};
use crate::{
    ids::ClientTxnId,
    sip::{
        Draft, Event, Flow, Hop, Target, TxnRef,
        token::{self, Branch},
        transaction::{Action, T2, Timer, invite_client, non_invite_client},
    },
    time::Instant,
    wire::sip::{Message, Method, Start},
};

/// A request that we sent.
#[derive(Debug)]
pub(super) struct Client {
    of: TxnRef,
    machine: Machine,
    branch: Branch,
    /// What its responses copy: see [`names`].
    names: Option<u64>,
    /// It is of a dialog: it has a To-tag.
    in_dialog: bool,
    /// As it goes out on `way`; what its ACK and CANCEL copy once it need not be sent again.
    pub(super) sent: Rc<[u8]>,
    form: Form,
    /// How often it was sent again to a place that had not answered.
    repeats: u8,
    /// Bytes that its session was told of.
    held: usize,
    pub(super) way: Way,
    pub(super) fallback: Option<Way>,
    /// Where it goes, once, if its connection is gone before anything was heard.
    pub(super) otherwise: Option<Hop>,
    /// Where it was for.
    target: Target,
    running: Running,
    cancel: Cancel,
}

#[derive(Clone, Copy, Debug)]
enum Machine {
    Invite(invite_client::State),
    NonInvite(non_invite_client::State),
    /// A CANCEL: its user hears of the INVITE only.
    Cancel(non_invite_client::State),
}

/// What is there of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// As its user gave it, without our Via.
    Bare,
    Whole,
    /// What its ACK and CANCEL copy.
    Followable,
}

/// Where the CANCEL of an INVITE stands.
#[derive(Debug)]
enum Cancel {
    No,
    /// Asked for before any response; the further headers.
    Waiting(Vec<u8>),
    Sent,
}

/// What happens to a client transaction, in the words of both tables.
#[derive(Clone, Copy, Debug)]
enum Happening {
    Response(u16),
    Cancel,
    TransportError,
    Fired(Timer),
}

impl Client {
    pub(super) const fn is_invite(&self) -> bool {
        matches!(self.machine, Machine::Invite(_))
    }

    /// Nothing has been heard of it.
    pub(super) const fn is_unheard(&self) -> bool {
        match self.machine {
            Machine::Invite(s) => matches!(s, invite_client::State::Calling),
            Machine::NonInvite(s) | Machine::Cancel(s) => {
                matches!(s, non_invite_client::State::Trying)
            }
        }
    }

    /// Whether its messages go over this connection.
    pub(super) fn uses(&self, conn: Place) -> bool {
        matches!(self.way, Way::Stream { place, .. } if place == conn)
    }

    /// Bytes that it holds beside its place.
    fn bytes(&self) -> usize {
        let cancel = match &self.cancel {
            Cancel::Waiting(headers) => headers.as_slice(),
            Cancel::No | Cancel::Sent => b"",
        };
        [&*self.sent, cancel].map(room::cost).iter().sum()
    }

    /// Whether it may be sent again (settled.md 42).
    fn may_repeat(&mut self, places: &Places) -> bool {
        match self.way {
            Way::Datagram { to, .. } if !places.has_answered(to) => {
                self.repeats = self.repeats.saturating_add(1);
                self.repeats <= REPEATS_MAX
            }
            Way::Datagram { .. } | Way::Stream { .. } | Way::Opening { .. } => true,
        }
    }

    /// Moves by the table; the actions, and whether it is over.
    fn step(&mut self, what: Happening) -> (&'static [Action], bool) {
        match &mut self.machine {
            Machine::Invite(state) => {
                use invite_client::{Event, State, step};
                let event = match what {
                    Happening::Response(100) => Event::Trying,
                    Happening::Response(101..=199) => Event::Provisional,
                    Happening::Response(200..=299) => Event::Success,
                    Happening::Response(_) => Event::Failure,
                    Happening::Cancel => Event::Cancel,
                    Happening::TransportError => Event::TransportError,
                    Happening::Fired(timer) => Event::Fired(timer),
                };
                let (to, actions) = step(*state, event);
                *state = to;
                (actions, to == State::Terminated)
            }
            Machine::NonInvite(state) | Machine::Cancel(state) => {
                use non_invite_client::{Event, State, step};
                let event = match what {
                    Happening::Response(100..=199) => Event::Provisional,
                    Happening::Response(_) => Event::Final,
                    Happening::Cancel => return (&[], false),
                    Happening::TransportError => Event::TransportError,
                    Happening::Fired(timer) => Event::Fired(timer),
                };
                let (to, actions) = step(*state, event);
                // RFC 3261 §17.1.2.2: in Proceeding the request is repeated every T2.
                if to == State::Proceeding {
                    self.running.interval = T2;
                }
                *state = to;
                (actions, to == State::Terminated)
            }
        }
    }

    const fn is_terminated(&self) -> bool {
        match self.machine {
            Machine::Invite(s) => matches!(s, invite_client::State::Terminated),
            Machine::NonInvite(s) | Machine::Cancel(s) => {
                matches!(s, non_invite_client::State::Terminated)
            }
        }
    }
}

/// What a response copies of its request: Call-ID, From and CSeq number (RFC 3261 §8.2.6.2), under a secret. A From is the same
/// where its tag is, for some write its URI in their own way. `None`: it lacks one of them.
fn names(secret: u64, message: &Message<'_>) -> Option<u64> {
    let (call_id, from, cseq) = (
        message.call_id().ok()?,
        message.from().ok()?,
        message.cseq().ok()?,
    );
    Some(token::hash(secret, |add| {
        add(call_id);
        add(from.tag().unwrap_or_default());
        add(&cseq.number.to_be_bytes());
    }))
}

impl Endpoint {
    /// See [`Endpoint::request`].
    pub(super) fn start_client(&mut self, now: Instant, draft: Draft) {
        let Draft {
            of,
            target,
            key,
            message,
        } = draft;
        let parsed = Message::parse(&message).ok();
        let method = parsed.as_ref().and_then(Message::method);
        let names = parsed.as_ref().and_then(|m| names(self.secret, m));
        let in_dialog = parsed
            .as_ref()
            .is_some_and(|m| m.to().is_ok_and(|to| to.tag().is_some()));
        let machine = match method {
            Some(Method::Invite) => Machine::Invite(invite_client::State::Calling),
            _ => Machine::NonInvite(non_invite_client::State::Trying),
        };
        // A dialog that ends must find a place even where INVITEs have taken all of theirs.
        let begins = matches!(method, Some(Method::Invite | Method::Options));
        let max = self.settings.clients_max;
        let max = if begins { max } else { max.saturating_mul(2) };
        // The Via is still to come.
        let bytes = message.len() + 128;
        if self.clients.len() >= max || !self.client_room.has_room(of.session, bytes, begins) {
            self.counts.unsent += 1;
            self.events.push_back(Event::Unreachable { of });
            return;
        }
        let Some(choice) = self.choose(now, target, message.len()) else {
            self.events.push_back(Event::Unreachable { of });
            return;
        };
        let branch = token::mint_branch(self.settings.shard, key, &mut self.rng);
        let client = Client {
            of,
            machine,
            branch,
            names,
            in_dialog,
            sent: message.into(),
            form: Form::Bare,
            repeats: 0,
            held: 0,
            way: choice.way,
            fallback: choice.fallback,
            otherwise: target.hop(),
            target,
            running: Running::default(),
            cancel: Cancel::No,
        };
        let is_invite = client.is_invite();
        let id = self.clients.insert(client);
        self.by_branch.insert((branch, false), id);
        self.by_ref.insert(of, id);
        self.set_client_way(now, id, choice.way);
        if choice.fallback.is_some() && matches!(choice.way, Way::Opening { .. }) {
            self.be_patient(now, id);
        }
        let entry = if is_invite {
            invite_client::ENTRY
        } else {
            non_invite_client::ENTRY
        };
        self.run_client(now, id, entry, None);
    }

    /// A response: to the transaction that its topmost Via names, or to nobody.
    pub(super) fn receive_response(&mut self, now: Instant, flow: Flow, message: &Message<'_>) {
        let (Ok(()), Ok(via), Ok(cseq), Start::Response { code, .. }) = (
            message.check_response(),
            message.via(),
            message.cseq(),
            message.start(),
        ) else {
            self.counts.malformed += 1;
            return;
        };
        let key = via
            .branch()
            .and_then(|b| Branch::try_from(b).ok())
            .map(|mut branch| {
                branch.make_ascii_lowercase();
                branch[..token::MAGIC.len()].copy_from_slice(token::MAGIC);
                (branch, cseq.method == Method::Cancel)
            });
        // RFC 3261 §17.1.3: branch and method; §8.1.3.3: one Via, ours.
        let found = key.and_then(|key| self.by_branch.get(&key).copied());
        let copied = names(self.secret, message);
        let id = found.filter(|id| {
            self.clients.get(*id).is_some_and(|c| {
                let sent_by = self.sent_by(c.way);
                copied == c.names
                    && c.sent.starts_with(cseq.method.as_bytes())
                    && via.sent_by.eq_ignore_ascii_case(sent_by.as_bytes())
            })
        });
        let only = message.values(crate::wire::sip::Name::Via).nth(1).is_none();
        match id {
            Some(id) if only => {
                if let Flow::Udp { peer, .. } = flow {
                    self.places.note(peer);
                }
                self.client_event(now, id, Happening::Response(code), Some((message, flow)));
            }
            Some(_) | None => self.counts.strays += 1,
        }
    }

    /// A timer of a client transaction fired.
    pub(super) fn client_fired(&mut self, now: Instant, id: ClientTxnId, timer: Timer) {
        if let Some(client) = self.clients.get_mut(id) {
            client.running.fired(timer);
            self.client_event(now, id, Happening::Fired(timer), None);
        }
    }

    /// It could not be sent, or its connection is gone.
    pub(super) fn client_failed(&mut self, now: Instant, id: ClientTxnId) {
        self.client_event(now, id, Happening::TransportError, None);
    }

    /// See [`Endpoint::cancel`].
    pub(super) fn cancel_client(&mut self, now: Instant, id: ClientTxnId, headers: &[u8]) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        match (client.machine, &client.cancel) {
            (Machine::Invite(invite_client::State::Calling), Cancel::No) => {
                client.cancel = Cancel::Waiting(headers.to_vec());
            }
            (Machine::Invite(invite_client::State::Proceeding), Cancel::No) => {
                self.send_cancel(now, id, headers);
                self.client_event(now, id, Happening::Cancel, None);
            }
            _ => {}
        }
    }

    fn client_event(
        &mut self,
        now: Instant,
        id: ClientTxnId,
        what: Happening,
        message: Option<(&Message<'_>, Flow)>,
    ) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        let (actions, _) = client.step(what);
        self.run_client(now, id, actions, message);
        self.settle_client(id);
    }

    /// Keeps of a request what may still be needed of it.
    fn settle_client(&mut self, id: ClientTxnId) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        let heard = match client.machine {
            Machine::Invite(state) => state != invite_client::State::Calling,
            Machine::NonInvite(state) | Machine::Cancel(state) => {
                state == non_invite_client::State::Completed
            }
        };
        if heard && client.form == Form::Whole {
            client.sent = build::followable(&client.sent).into();
            client.form = Form::Followable;
        }
        let now = client.bytes();
        self.client_room.change(client.of.session, client.held, now);
        client.held = now;
    }

    /// Carries actions out, then what follows from them at once: a timer of zero, a failed send, the end.
    fn run_client(
        &mut self,
        now: Instant,
        id: ClientTxnId,
        actions: &'static [Action],
        message: Option<(&Message<'_>, Flow)>,
    ) {
        let mut at_once = None;
        for action in actions {
            let Some(client) = self.clients.get_mut(id) else {
                return;
            };
            let of = client.of;
            // A CANCEL's user hears of the INVITE, not of it.
            let silent = matches!(client.machine, Machine::Cancel(_));
            match action {
                Action::Send => self.transmit_client(now, id),
                Action::Resend if client.may_repeat(&self.places) => {
                    self.counts.retransmitted += 1;
                    self.transmit_client(now, id);
                }
                Action::Resend => {}
                Action::SendAck => {
                    if let (Ok(invite), Some((failure, _))) =
                        (Message::parse(&client.sent), message)
                    {
                        let ack: Rc<[u8]> = build::ack(&invite, failure).into();
                        match (client.way, client.target.hop()) {
                            // The failure came by another connection: ours is gone.
                            (Way::Stream { place, .. }, hop) if !self.links.is_open(place) => {
                                if let Some(hop) = hop {
                                    self.send_again(now, hop, ack);
                                }
                            }
                            (way, _) => self.hand_out(now, way, ack),
                        }
                    }
                }
                Action::SendWaitingCancel => {
                    if let Cancel::Waiting(headers) =
                        std::mem::replace(&mut client.cancel, Cancel::No)
                    {
                        self.cancel_client(now, id, &headers);
                    }
                }
                Action::SendCancel => {
                    if matches!(client.cancel, Cancel::No) {
                        self.send_cancel(now, id, b"");
                    }
                }
                Action::Tell => {
                    if let (Some((message, flow)), false) = (message, silent) {
                        let in_dialog = client.in_dialog;
                        let message = message.as_bytes().into();
                        self.events.push_back(Event::Response {
                            of,
                            flow,
                            in_dialog,
                            message,
                        });
                    }
                }
                Action::TellTimedOut if !silent => self.events.push_back(Event::TimedOut { of }),
                Action::TellUnreachable if !silent => {
                    self.events.push_back(Event::Unreachable { of });
                }
                Action::Set(timer) => at_once = self.set_client_timer(now, id, *timer).or(at_once),
                Action::Clear(timer) => client.running.stop(&mut self.timers, *timer),
                Action::TellTimedOut
                | Action::TellUnreachable
                | Action::SendTrying
                | Action::TellAck
                | Action::TellFailed => {}
            }
        }
        if self.clients.get(id).is_some_and(Client::is_terminated) {
            self.end_client(id);
        } else if let Some(timer) = at_once {
            self.client_event(now, id, Happening::Fired(timer), None);
        }
    }

    /// Sends the request on its way, or waits for the connection.
    pub(super) fn transmit_client(&mut self, now: Instant, id: ClientTxnId) {
        let Some(client) = self.clients.get(id) else {
            return;
        };
        match client.way {
            // A request is sent once over a stream: this is where it begins to wait, not where it is repeated.
            Way::Opening { to } => {
                if self.wait(to, Waiting::Client(id)).is_err() {
                    self.client_failed(now, id);
                }
            }
            way @ (Way::Datagram { .. } | Way::Stream { .. }) => {
                let bytes = client.sent.clone();
                self.hand_out(now, way, bytes);
            }
        }
    }

    /// Gives a request its way, with the Via that belongs to it.
    pub(super) fn set_client_way(&mut self, now: Instant, id: ClientTxnId, way: Way) {
        let Some(client) = self.clients.get(id) else {
            return;
        };
        let (before, branch, old) = (client.sent.clone(), client.branch, client.way);
        let fresh = client.form == Form::Bare;
        // A CANCEL brings the Via of its INVITE, byte for byte.
        let sent = if matches!(client.machine, Machine::Cancel(_)) {
            before
        } else if fresh {
            self.add_via(&before, way, &branch)
        } else {
            self.add_via(&build::without_via(&before), way, &branch)
        };
        if let (Way::Stream { place, .. }, false) = (old, fresh) {
            self.links.release(place);
        }
        if let Way::Stream { place, to } = way {
            self.links.hold(now, place, to);
        }
        if let Some(client) = self.clients.get_mut(id) {
            client.sent = sent;
            client.form = Form::Whole;
            client.way = way;
        }
        self.settle_client(id);
    }

    /// Starts a timer; the timer again if it fires at once.
    pub(super) fn set_client_timer(
        &mut self,
        now: Instant,
        id: ClientTxnId,
        timer: Timer,
    ) -> Option<Timer> {
        let client = self.clients.get_mut(id)?;
        let (t1, reliable) = (self.settings.t1, client.way.is_reliable());
        client
            .running
            .start(
                &mut self.timers,
                now,
                timer,
                (t1, reliable),
                Due::Client(id, timer),
            )
            .then_some(timer)
    }

    /// Sends the CANCEL of an INVITE, in a transaction of its own, the same way (RFC 3261 §9.1). [SIP-TXN-07]
    fn send_cancel(&mut self, now: Instant, id: ClientTxnId, headers: &[u8]) {
        let Some(invite) = self.clients.get_mut(id) else {
            return;
        };
        invite.cancel = Cancel::Sent;
        let (of, branch, target) = (invite.of, invite.branch, invite.target);
        let (names, in_dialog) = (invite.names, invite.in_dialog);
        let Ok(message) = Message::parse(&invite.sent) else {
            return;
        };
        let bytes: Rc<[u8]> = build::cancel(&message, headers).into();
        // The connection may be gone by now: then by a new one to the address that the INVITE was for.
        let way = match invite.way {
            Way::Stream { place, .. } if !self.links.is_open(place) => {
                match self.choose(now, target, bytes.len()) {
                    Some(choice) => choice.way,
                    None => return,
                }
            }
            way @ (Way::Datagram { .. } | Way::Stream { .. } | Way::Opening { .. }) => way,
        };
        let cancel = self.clients.insert(Client {
            of,
            machine: Machine::Cancel(non_invite_client::State::Trying),
            branch,
            names,
            in_dialog,
            sent: bytes,
            form: Form::Bare,
            repeats: 0,
            held: 0,
            way,
            fallback: None,
            otherwise: target.hop(),
            target,
            running: Running::default(),
            cancel: Cancel::No,
        });
        self.by_branch.insert((branch, true), cancel);
        self.set_client_way(now, cancel, way);
        self.run_client(now, cancel, non_invite_client::ENTRY, None);
    }

    fn end_client(&mut self, id: ClientTxnId) {
        let Some(mut client) = self.clients.remove(id) else {
            return;
        };
        client.running.stop_all(&mut self.timers);
        self.client_room.change(client.of.session, client.held, 0);
        if let Way::Stream { place, .. } = client.way {
            self.links.release(place);
        }
        let is_cancel = matches!(client.machine, Machine::Cancel(_));
        self.by_branch.remove(&(client.branch, is_cancel));
        if self.by_ref.get(&client.of) == Some(&id) {
            self.by_ref.remove(&client.of);
        }
    }
}
