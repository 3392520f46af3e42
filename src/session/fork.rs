//! The fork: one new INVITE a device, each a leg of its own [TERM-INV-15] to [TERM-INV-18], [TERM-INV-21], [TERM-INV-22],
//! [B2BUA-01].
//!
//! The law: a leg's INVITE is made from the originator's as a user agent makes one: own dialog, own Contact, own description;
//! what speaks to the person passes.

use std::time::Duration;

use super::{
    body,
    function::Function,
    headers,
    state::{Device, Invitation, Originator, Session, carrier},
    suitable::Candidate,
    turn::{ALLOW, Turn},
};
use crate::{
    ids::{LegId, SessionId},
    msrp::Command,
    sip::Draft,
    wire::sip::{Message, Name, NameAddr},
};

/// Timer C is more than three minutes (RFC 3261 §16.6 point 11) [SIP-TXN-08].
pub(super) const TIMER_C: Duration = Duration::from_secs(181);

/// Places of legs in a session.
const PLACES_MAX: usize = 200;

/// What every leg's INVITE has in common, made once a session.
pub(super) struct Common {
    /// Headers that pass, and those that were missing.
    passed: Vec<u8>,
    /// Those that were missing.
    made: Vec<u8>,
    from: Vec<u8>,
    to: Vec<u8>,
    max_forwards: u8,
    contact_params: Vec<u8>,
    /// What the legs' branches say of it.
    key: u32,
}

impl Function {
    /// Invites the devices of a session that has none yet.
    pub(super) fn fork(&mut self, id: SessionId, devices: Vec<Candidate>) {
        let turn = &mut self.turn;
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        turn.media(Command::SettleOnActivity {
            session: id,
            on: session.settles(),
        });
        let bytes = std::rc::Rc::clone(&session.invite);
        let Ok(invite) = Message::parse(&bytes) else {
            return;
        };
        let common = Common::of(turn, &invite, session.trusted, &[]);
        if let Originator::Inviting(waiting) = &mut session.up {
            waiting.made.clone_from(&common.made);
        }
        session.devices.reserve_exact(devices.len());
        for device in devices {
            session.invite_device(turn, &invite, &common, device);
        }
        session.conclude(turn);
    }
}

impl Session {
    /// Its leg. `None`: there is no place for it, or nothing to offer.
    pub(super) fn invite_device(
        &mut self,
        turn: &mut Turn,
        invite: &Message<'_>,
        common: &Common,
        device: Candidate,
    ) -> Option<LegId> {
        // A leg's place is one byte, and the last ones are ours.
        let max = turn.settings.legs_max.min(PLACES_MAX);
        let place = u8::try_from(self.devices.len() + 1).ok();
        let Some(leg) = place.filter(|n| usize::from(*n) < max).map(LegId) else {
            turn.counters.not_invited += 1;
            return None;
        };
        let mut own = turn.own_sdp(self.id, leg);
        let offered = body::description(invite);
        let offer = match offered {
            // The offer was judged before: what cannot be offered would have been refused.
            Some(offer) => match own.offer(offer, turn.settings.cema, turn.terms()) {
                Ok(offer) => Some(offer),
                Err(_) => return None,
            },
            None => None,
        };
        let user = turn.mint(self.id, leg);
        let uri = turn.contact_uri(&user, device.target);
        let contact = [b"<", uri.as_bytes(), b">", common.contact_params.as_slice()].concat();
        let invitation = Invitation {
            message: Vec::new(),
            target: device.target,
            pinned: device.pinned,
            key: common.key,
            cseq: 1,
            contact,
            own,
            wish: turn.wish(),
            ringing: false,
            early: Vec::new(),
            give_up: turn.now + turn.settings.no_answer,
            timer_c: turn.now + TIMER_C,
        };
        let tag = turn.mint(self.id, leg);
        let call_id = turn.mint(self.id, leg);
        let message = common.invite(
            turn,
            &invitation,
            &device,
            (&tag, &call_id),
            invite,
            offer.as_deref(),
        );
        if offer.is_some() {
            turn.media(Command::Offer {
                session: self.id,
                leg,
                offer: invitation.own.leg_offer(),
            });
        }
        let mut invitation = Box::new(invitation);
        invitation.message = message;
        turn.request(Draft {
            of: invitation.txn(self.id, leg),
            target: invitation.target,
            key: invitation.key,
            message: invitation.message.clone(),
        });
        turn.counters.forked += 1;
        let carrier = carrier(device.target);
        let instance = device.instance.filter(|_| device.pinned).map(Into::into);
        let device = Device::invited(leg, (device.uri, instance), carrier, invitation);
        self.devices.push(device);
        Some(leg)
    }

    /// The same INVITE with a larger session interval, after a 422: the next CSeq of the same Call-ID [TIMER-03].
    pub(super) fn invite_again(&self, turn: &mut Turn, leg: LegId, invitation: &mut Invitation) {
        invitation.cseq += 1;
        invitation.early.clear();
        let Ok(before) = Message::parse(&invitation.message) else {
            return;
        };
        let mut message = start_of(&before);
        for ((name, value), (written, _)) in before.named().zip(before.all()) {
            if matches!(name, Name::CSeq) {
                let cseq = format!("{} INVITE", invitation.cseq);
                headers::put(&mut message, b"CSeq", cseq.as_bytes());
            } else if matches!(name, Name::SessionExpires) {
                // Both it and Min-SE.
                message.extend_from_slice(invitation.wish.headers().as_bytes());
            } else if !matches!(name, Name::MinSe) {
                headers::put(&mut message, written, value);
            }
        }
        message.extend_from_slice(b"\r\n");
        message.extend_from_slice(before.body());
        invitation.message = message;
        turn.request(Draft {
            of: invitation.txn(self.id, leg),
            target: invitation.target,
            key: invitation.key,
            message: invitation.message.clone(),
        });
    }
}

/// The start line of a message, with its CRLF.
fn start_of(message: &Message<'_>) -> Vec<u8> {
    let head = message.head();
    let end = head
        .windows(2)
        .position(|w| w == b"\r\n")
        .map_or(head.len(), |at| at + 2);
    head.get(..end).unwrap_or_default().to_vec()
}

impl Common {
    /// `made`: the identifiers that another leg has got, if one has.
    pub(super) fn of(turn: &mut Turn, invite: &Message<'_>, trusted: bool, made: &[u8]) -> Self {
        let mut passed = Vec::new();
        headers::pass_request(&mut passed, invite, trusted);
        pass_service(&mut passed, invite, trusted);
        // settled.md 4: folders are named by them.
        let mut made = made.to_vec();
        let is_made = !made.is_empty();
        for (name, known) in [
            (Name::ConversationId, b"Conversation-ID".as_slice()),
            (Name::ContributionId, b"Contribution-ID"),
        ] {
            if !is_made && invite.header(name).is_none() {
                let id = turn.uuid();
                headers::put(&mut made, known, id.as_bytes());
            }
        }
        passed.extend_from_slice(&made);
        // What we do not know of Contact goes on [TERM-INV-17]; what binds a registration does not.
        let contact_params = invite
            .contacts()
            .next()
            .and_then(Result::ok)
            .and_then(|c| c.address().map(|a| without(&a.params, &[b"expires", b"q"])))
            .unwrap_or_default();
        Self {
            passed,
            made,
            from: invite.from().map(|a| untagged(&a)).unwrap_or_default(),
            to: invite.to().map(|a| untagged(&a)).unwrap_or_default(),
            // RFC 3261 §16.6 point 3 [B2BUA-02].
            max_forwards: invite.max_forwards().unwrap_or(71).saturating_sub(1),
            contact_params,
            key: turn.key(invite),
        }
    }

    fn invite(
        &self,
        turn: &Turn,
        invitation: &Invitation,
        device: &Candidate,
        (tag, call_id): (&[u8], &[u8]),
        original: &Message<'_>,
        offer: Option<&[u8]>,
    ) -> Vec<u8> {
        let mut out = Vec::with_capacity(2048);
        // Byte for byte what the device registered (settled.md 1).
        for part in [b"INVITE ", &*device.uri, b" SIP/2.0\r\n"] {
            out.extend_from_slice(part);
        }
        for hop in &device.path {
            headers::put(&mut out, b"Route", hop);
        }
        let mut line = |name: &str, value: &[u8]| headers::put(&mut out, name.as_bytes(), value);
        line("Max-Forwards", self.max_forwards.to_string().as_bytes());
        line("From", &[self.from.as_slice(), b";tag=", tag].concat());
        line("To", &self.to);
        line("Call-ID", call_id);
        line("CSeq", format!("{} INVITE", invitation.cseq).as_bytes());
        line("Contact", &invitation.contact);
        line("User-Agent", turn.settings.product.as_bytes());
        line("Allow", ALLOW.as_bytes());
        // RFC 3262 §4: without an offer of ours a reliable response could bring one that only a PRACK can answer.
        line(
            "Supported",
            if offer.is_some() {
                b"timer, 100rel"
            } else {
                b"timer"
            },
        );
        out.extend_from_slice(invitation.wish.headers().as_bytes());
        out.extend_from_slice(&self.passed);
        body::pass(&mut out, original, offer);
        out
    }
}

/// P-Asserted-Service: what came from whom we believe; what a user agent prefers becomes what we assert [TERM-INV-10].
fn pass_service(out: &mut Vec<u8>, invite: &Message<'_>, trusted: bool) {
    let asserted: Vec<&[u8]> = invite
        .values(Name::PAssertedService)
        .filter(|_| trusted)
        .collect();
    let preferred = invite.values(Name::PPreferredService);
    if asserted.is_empty() {
        for value in preferred
            .filter(|v| super::suitable::is_session_service(&super::suitable::service_header(v)))
        {
            headers::put(out, b"P-Asserted-Service", value);
        }
    }
    for value in asserted {
        headers::put(out, b"P-Asserted-Service", value);
    }
}

/// An address without its tag.
pub(super) fn untagged(address: &NameAddr<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    if !address.display.is_empty() {
        out.extend_from_slice(address.display);
        out.push(b' ');
    }
    for part in [b"<", address.uri, b">"] {
        out.extend_from_slice(part);
    }
    out.extend_from_slice(&without(&address.params, &[b"tag"]));
    out
}

/// Parameters as written, without some.
pub(super) fn without(params: &crate::wire::sip::Params<'_>, names: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    for param in params
        .iter()
        .filter(|p| !names.iter().any(|n| p.name.eq_ignore_ascii_case(n)))
    {
        out.push(b';');
        out.extend_from_slice(param.name);
        if let Some(value) = param.value {
            out.push(b'=');
            out.extend_from_slice(value);
        }
    }
    out
}
