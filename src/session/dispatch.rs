//! Which procedure a message belongs to: the method, the dialog that it is of, the user that it is for.
//!
//! The law: every request gets one final answer, here or by the procedure; what belongs to nobody gets 481.

use std::rc::Rc;

use super::{
    body, bye,
    function::{Function, RELAY, STRAY},
    headers,
    responses::NO_MEDIA,
    state::{DeviceState, Originator, Session},
    stray,
    turn::{self, ACCEPT, ALLOW, SUPPORTED, Turn},
    usage::Acked,
};
use crate::{
    ids::{LegId, ServerTxnId},
    sip::{
        Binding, Dialog, Flow, Registrar, Reply, TxnRef,
        checks::{self, Abilities, Refusal},
        route_key::address_of_record,
        token,
    },
    wire::{
        sip::{Message, Method, Start},
        uri,
    },
};

/// What we can do; a description, alone or among other parts.
const ABILITIES: Abilities<'static> = Abilities {
    allow: ALLOW,
    supported: &SUPPORTED,
    accept: &ACCEPT,
};

impl Function {
    pub(super) fn on_request(
        &mut self,
        txn: ServerTxnId,
        flow: Flow,
        bytes: &Rc<[u8]>,
        registrar: &mut Registrar,
    ) {
        let Ok(request) = Message::parse(bytes) else {
            self.turn.respond_code(txn, 400);
            return;
        };
        if let Some(tag) = request.to().ok().and_then(|to| to.tag()) {
            self.on_in_dialog(txn, flow, tag, bytes, &request);
            return;
        }
        // The registrar looks at what a REGISTER requires itself.
        let is_register = request.method() == Some(Method::Register);
        if !is_register && let Err(refusal) = checks::inspect(&request, &ABILITIES) {
            refuse(&mut self.turn, txn, refusal);
            return;
        }
        if !is_register && let Err(why) = body::judge(&request) {
            refuse_body(&mut self.turn, txn, why);
            return;
        }
        match request.method() {
            Some(Method::Register) => {
                let reply = registrar.handle_register(self.turn.now, flow, &request);
                let taken = reply.code == 200;
                self.turn.respond(txn, reply);
                if taken {
                    self.on_registered(flow, &request, registrar);
                }
            }
            Some(Method::Invite) => self.on_invite(txn, flow, bytes, registrar),
            Some(Method::Options) => self.on_options(txn, flow, &request, registrar),
            // Of a dialog, and without its tag: of none.
            Some(Method::Bye | Method::Prack | Method::Update) => self.turn.respond_code(txn, 481),
            // Not in Allow: refused above; ACK and CANCEL do not come this way.
            Some(
                Method::Ack
                | Method::Cancel
                | Method::Message
                | Method::Refer
                | Method::Subscribe
                | Method::Notify
                | Method::Info
                | Method::Publish
                | Method::Other(_),
            )
            | None => self.turn.respond_code(txn, 501),
        }
    }

    /// A device whose stream was closed is on another one now: its sessions go on over that (settled.md 36).
    fn on_registered(&mut self, flow: Flow, register: &Message<'_>, registrar: &Registrar) {
        let aor = register.to().ok().and_then(|to| address_of_record(to.uri));
        let (Some(aor), Flow::Stream { .. }) = (aor, flow) else {
            return;
        };
        let came = |b: &&Binding| b.flow == flow && b.path.is_empty();
        for id in self.sessions_of(&aor) {
            for binding in registrar.bindings(self.turn.now, &aor).filter(came) {
                self.with(id, |session, _| session.on_registered_again(binding));
            }
        }
    }

    /// OPTIONS: for us 200 with what we can do, for a user passed on [B2BUA-10].
    fn on_options(
        &mut self,
        txn: ServerTxnId,
        flow: Flow,
        request: &Message<'_>,
        registrar: &mut Registrar,
    ) {
        let Start::Request { uri, .. } = request.start() else {
            return;
        };
        let user = uri::sip::Uri::parse(uri).ok().and_then(|u| u.user);
        let for_user = user.is_none_or(|u| token::read(u).is_none());
        if for_user && registrar.serves(uri) && (user.is_some() || uri.starts_with(b"tel:")) {
            self.relay(txn, flow, request, registrar);
            return;
        }
        if user.is_some() && !self.is_ours(uri) {
            self.turn.respond_code(txn, 404);
            return;
        }
        respond_options(&mut self.turn, txn);
    }

    /// Whether a URI names one of our own addresses.
    fn is_ours(&self, uri: &[u8]) -> bool {
        let settings = &self.turn.settings;
        let Ok(uri) = uri::sip::Uri::parse(uri) else {
            return false;
        };
        let host = uri.host.to_string();
        let named = settings
            .host
            .as_ref()
            .is_some_and(|own| own.eq_ignore_ascii_case(&host));
        let own = [settings.sip_udp, settings.sip_tcp];
        named
            || uri
                .host
                .ip()
                .is_some_and(|ip| own.iter().flatten().any(|addr| addr.ip() == ip))
    }

    fn on_in_dialog(
        &mut self,
        txn: ServerTxnId,
        flow: Flow,
        tag: &[u8],
        bytes: &Rc<[u8]>,
        request: &Message<'_>,
    ) {
        let found = token::read(tag).filter(|owned| {
            self.with(owned.session, |session, turn| {
                session.on_in_dialog(turn, owned.leg, (txn, flow), bytes, request);
            })
        });
        if found.is_none() {
            // SIP-MSG-05: an unknown method is unknown here too.
            match checks::inspect(request, &ABILITIES) {
                Err(refusal) if matches!(refusal.code, 405 | 501) => {
                    refuse(&mut self.turn, txn, refusal);
                }
                Ok(()) | Err(_) => self.turn.respond_code(txn, 481),
            }
        }
    }

    /// An ACK of a 2xx.
    pub(super) fn on_ack(&mut self, _flow: Flow, bytes: &Rc<[u8]>) {
        let Ok(ack) = Message::parse(bytes) else {
            return;
        };
        let to = ack.to().ok();
        let Some(owned) = to.and_then(|to| token::read(to.tag()?)) else {
            return;
        };
        self.with(owned.session, |session, turn| {
            session.on_ack(turn, owned.leg, &ack);
        });
    }

    pub(super) fn on_cancel(&mut self, txn: ServerTxnId, bytes: &Rc<[u8]>) {
        let Ok(cancel) = Message::parse(bytes) else {
            return;
        };
        let by_tag = || {
            let to = cancel.to().ok()?;
            token::read(to.tag()?).map(|owned| owned.session)
        };
        let session = self.invites.get(&txn).map(|(id, _)| *id).or_else(by_tag);
        if let Some(id) = session {
            self.with(id, |session, turn| session.on_cancelled(turn, txn, &cancel));
        }
    }

    /// The originator cannot be answered any more: as if it had cancelled.
    pub(super) fn on_server_failed(&mut self, txn: ServerTxnId) {
        let Some((id, _)) = self.invites.get(&txn).copied() else {
            return;
        };
        self.with(id, |session, turn| {
            let waits = matches!(&session.up, Originator::Inviting(w) if w.txn == txn);
            if waits {
                session.end_all(turn, 487, b"", "the originator cannot be reached");
            }
        });
    }

    pub(super) fn on_response(
        &mut self,
        of: TxnRef,
        flow: Flow,
        in_dialog: bool,
        bytes: &Rc<[u8]>,
    ) {
        let Ok(response) = Message::parse(bytes) else {
            return;
        };
        match of.leg {
            STRAY => {}
            RELAY => self.on_relay_response(of.session, &response),
            _ => {
                let known = self.with(of.session, |session, turn| {
                    session.on_response(turn, of, (flow, in_dialog), &response);
                });
                let success = matches!(response.start(), Start::Response { code: 200..300, .. });
                let of_invite = response.cseq().is_ok_and(|c| c.method == Method::Invite);
                // One that answers when all is over: RFC 3261 §13.2.2.4. A dialog that was there has had its BYE.
                if !known && success && of_invite {
                    let turn = &mut self.turn;
                    if in_dialog {
                        stray::acknowledge(turn, of, flow, &response);
                    } else {
                        stray::end_stray(turn, of, flow, &response);
                    }
                }
            }
        }
    }

    pub(super) fn on_failed(&mut self, of: TxnRef, code: u16, why: &'static str) {
        match of.leg {
            STRAY => {}
            RELAY => self.on_relay_failed(of.session, code),
            _ => {
                self.with(of.session, |session, turn| {
                    session.on_failed(turn, of, code, why);
                });
            }
        }
    }
}

/// 200 with what we can do, all that RFC 3261 §11.2 lists.
fn respond_options(turn: &mut Turn, txn: ServerTxnId) {
    let mut headers = turn::abilities(None);
    headers::put(&mut headers, b"Accept", ACCEPT.join(", ").as_bytes());
    headers::put(&mut headers, b"Accept-Encoding", b"identity");
    // What our Warnings are written in.
    headers::put(&mut headers, b"Accept-Language", b"en");
    turn.respond_with(txn, 200, headers);
}

/// settled.md 32.
fn refuse_body(turn: &mut Turn, txn: ServerTxnId, why: body::Unreadable) {
    let warning = turn.warning(why.text());
    turn.respond_with(txn, 400, warning);
}

fn refuse(turn: &mut Turn, txn: ServerTxnId, refusal: Refusal) {
    let mut headers = refusal.headers.into_bytes();
    let why = match refusal.code {
        405 => NOT_ALLOWED,
        415 => "its body is of a type that we do not read",
        416 => "its Request-URI is of a scheme that we do not serve",
        420 => "it requires what we cannot do",
        501 => "nobody knows its method",
        _ => "",
    };
    if refusal.code == 405 {
        headers.extend_from_slice(&turn.warning(why));
    }
    turn.respond(
        txn,
        Reply {
            code: refusal.code,
            headers,
            why,
            ..Reply::default()
        },
    );
}

/// What would help against a 405 (RFC 3261 §20.43).
const NOT_ALLOWED: &str = "method not served here; Allow says which are";

impl Session {
    /// A request with a tag of ours on `leg`.
    fn on_in_dialog(
        &mut self,
        turn: &mut Turn,
        leg: LegId,
        (txn, flow): (ServerTxnId, Flow),
        bytes: &Rc<[u8]>,
        request: &Message<'_>,
    ) {
        let method = request.method();
        let is_bye = method == Some(Method::Bye);
        if !is_bye && let Err(refusal) = checks::inspect(request, &ABILITIES) {
            refuse(turn, txn, refusal);
            return;
        }
        if !is_bye && let Err(why) = body::read(request) {
            refuse_body(turn, txn, why);
            return;
        }
        if !self.has_leg(leg) {
            turn.respond_code(txn, 481);
            return;
        }
        // A BYE that comes twice is answered twice, also when the leg is over.
        let is_late_bye = is_bye && self.is_over_on(leg);
        // [SIP-DLG-01]
        let order = match self.dialog_of(leg, request) {
            Some(dialog) => dialog
                .check_request(request)
                .inspect(|()| dialog.heard(flow)),
            None if is_late_bye => Ok(()),
            None => Err(481),
        };
        if let Err(code) = order {
            turn.respond_code(txn, code);
            return;
        }
        match method {
            Some(Method::Bye) => self.on_bye(turn, leg, txn, request),
            Some(Method::Invite | Method::Update) if self.usage(leg).is_some() => {
                self.on_change(turn, leg, txn, bytes, request);
            }
            Some(Method::Update | Method::Invite) => self.on_early_change(turn, leg, txn, request),
            Some(Method::Prack) => self.on_prack(turn, leg, txn, request),
            Some(Method::Options) => respond_options(turn, txn),
            Some(
                Method::Ack
                | Method::Cancel
                | Method::Register
                | Method::Message
                | Method::Refer
                | Method::Subscribe
                | Method::Notify
                | Method::Info
                | Method::Publish
                | Method::Other(_),
            )
            | None => {
                let refusal = Refusal {
                    code: 405,
                    headers: format!("Allow: {ALLOW}\r\n"),
                };
                refuse(turn, txn, refusal);
            }
        }
    }

    fn has_leg(&self, leg: LegId) -> bool {
        usize::from(leg.0) <= self.devices.len()
    }

    fn is_over_on(&self, leg: LegId) -> bool {
        if leg == LegId::ORIGINATOR {
            return matches!(self.up, Originator::Gone);
        }
        usize::from(leg.0)
            .checked_sub(1)
            .and_then(|at| self.devices.get(at))
            .is_some_and(|d| matches!(d.state, DeviceState::Ended))
    }

    /// The dialog of a leg that a message belongs to.
    pub(super) fn dialog_of(&mut self, leg: LegId, message: &Message<'_>) -> Option<&mut Dialog> {
        if leg == LegId::ORIGINATOR {
            let dialog = match &mut self.up {
                Originator::Inviting(waiting) => &mut waiting.usage.dialog,
                Originator::Up(usage)
                | Originator::Parting(usage, _)
                | Originator::Leaving(usage) => &mut usage.dialog,
                Originator::Gone => return None,
            };
            return Some(dialog).filter(|d| d.matches(message));
        }
        match &mut self.device(leg)?.state {
            DeviceState::Inviting(invitation) | DeviceState::Cancelling(invitation, ..) => {
                invitation
                    .early
                    .iter_mut()
                    .map(|e| &mut e.dialog)
                    .find(|d| d.matches(message))
            }
            DeviceState::Accepted(usage) | DeviceState::Ending(usage) => {
                Some(&mut usage.dialog).filter(|d| d.matches(message))
            }
            DeviceState::Ended => None,
        }
    }

    /// The PRACK of a provisional answer of ours [SIP-DLG-07].
    fn on_prack(&mut self, turn: &mut Turn, leg: LegId, txn: ServerTxnId, prack: &Message<'_>) {
        let mut owed = None;
        let code = match &mut self.up {
            Originator::Inviting(waiting) if leg == LegId::ORIGINATOR => {
                match waiting.sent.acknowledge(prack) {
                    Ok(()) => {
                        waiting.repeating = None;
                        owed = waiting.owed.take();
                        200
                    }
                    Err(code) => code,
                }
            }
            Originator::Inviting(_)
            | Originator::Up(_)
            | Originator::Parting(..)
            | Originator::Leaving(_)
            | Originator::Gone => 481,
        };
        turn.respond_code(txn, code);
        if let Some(code) = owed {
            self.ring(turn, code);
        }
    }

    /// An ACK of a 2xx of ours.
    fn on_ack(&mut self, turn: &mut Turn, leg: LegId, ack: &Message<'_>) {
        if self.dialog_of(leg, ack).is_none() {
            return;
        }
        let Some(usage) = self.usage(leg) else {
            return;
        };
        match usage.on_ack(ack) {
            Acked::Nothing => {}
            Acked::Success => self.bye_parting_if(turn, leg),
            Acked::Answer(answer) if leg == LegId::ORIGINATOR && usage.theirs.is_none() => {
                self.on_late_answer(turn, answer);
                self.bye_parting_if(turn, leg);
            }
            Acked::Answer(answer) => {
                if !usage.on_answer(turn, answer) {
                    self.end_leg(turn, leg, NO_MEDIA, "its answer does not fit our offer");
                }
                self.bye_parting_if(turn, leg);
            }
        }
    }

    fn bye_parting_if(&mut self, turn: &mut Turn, leg: LegId) {
        if leg == LegId::ORIGINATOR {
            self.bye_parting(turn);
        }
    }

    /// A response to a request of ours on a leg.
    fn on_response(
        &mut self,
        turn: &mut Turn,
        of: TxnRef,
        (flow, in_dialog): (Flow, bool),
        response: &Message<'_>,
    ) {
        let Start::Response { code, .. } = response.start() else {
            return;
        };
        let Ok(cseq) = response.cseq() else {
            return;
        };
        match cseq.method {
            Method::Invite | Method::Update if self.awaits(of) => {
                self.on_change_response(turn, of, response);
            }
            Method::Invite if self.acknowledge_again(turn, of, response) => {}
            Method::Invite if in_dialog => {
                if (200..300).contains(&code) {
                    self.acknowledge_late(turn, of, flow, response);
                }
            }
            Method::Invite => self.on_invite_response(turn, of, flow, response),
            Method::Bye if code >= 200 => self.on_bye_answered(turn, of.leg),
            // PRACK's answers change nothing; what else we send has no answer that is waited for.
            Method::Bye
            | Method::Update
            | Method::Prack
            | Method::Ack
            | Method::Cancel
            | Method::Options
            | Method::Register
            | Method::Message
            | Method::Refer
            | Method::Subscribe
            | Method::Notify
            | Method::Info
            | Method::Publish
            | Method::Other(_) => {}
        }
    }

    /// The 2xx of a re-INVITE of ours that comes again.
    fn acknowledge_again(&mut self, turn: &mut Turn, of: TxnRef, response: &Message<'_>) -> bool {
        let tag = response.to().ok().and_then(|t| t.tag().map(<[u8]>::to_vec));
        let (Some(tag), Some(usage)) = (tag, self.usage(of.leg)) else {
            return false;
        };
        let Some(ack) = usage.acks.find(&tag, of.cseq) else {
            return false;
        };
        let (message, target) = (ack.to_vec(), usage.dialog.target());
        turn.send(target, message);
        true
    }

    /// A 2xx to a re-INVITE that nothing waits for any more: ACK, and nothing else, for the dialog has had its BYE or goes on
    /// without that change (RFC 3261 §13.2.2.4) [SIP-TXN-05].
    fn acknowledge_late(
        &mut self,
        turn: &mut Turn,
        of: TxnRef,
        flow: Flow,
        response: &Message<'_>,
    ) {
        let usage = if of.leg == LegId::ORIGINATOR {
            self.up.any_usage()
        } else {
            self.device(of.leg).and_then(|d| d.any_usage())
        };
        let tag = response.to().ok().and_then(|t| t.tag());
        match usage.filter(|u| Some(u.dialog.remote_tag()) == tag) {
            Some(usage) => {
                let (ack, target) = usage.dialog.ack(of.cseq);
                turn.send(target, ack);
            }
            None => {
                stray::acknowledge(turn, of, flow, response);
            }
        }
    }

    /// A request of ours on a leg got no answer.
    fn on_failed(&mut self, turn: &mut Turn, of: TxnRef, code: u16, why: &'static str) {
        if self.awaits(of) {
            self.on_change_failed(turn, of, code);
        } else if self.is_bye_out(of.leg) {
            self.on_bye_answered(turn, of.leg);
        } else {
            self.on_invite_failed(turn, of, code, why);
        }
    }

    fn is_bye_out(&mut self, leg: LegId) -> bool {
        if leg == LegId::ORIGINATOR {
            return matches!(self.up, Originator::Leaving(_));
        }
        self.device(leg)
            .is_some_and(|d| matches!(d.state, DeviceState::Ending(_)))
    }

    /// A device has unregistered, or its registration ran out: its leg goes [REG-08].
    pub(super) fn on_unregistered(&mut self, turn: &mut Turn, contact: &[u8]) {
        let legs: Vec<LegId> = self
            .devices
            .iter()
            .filter(|d| *d.uri == *contact && d.is_wanted())
            .map(|d| d.leg)
            .collect();
        for leg in legs {
            turn.counters.unregistered += 1;
            self.end_leg(
                turn,
                leg,
                bye::UNREGISTERED,
                "it is not registered any more",
            );
        }
    }
}
