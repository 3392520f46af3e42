//! What devices answer to their INVITEs: ringing, 200, refusals [TERM-RSP-01] to [TERM-RSP-04], [TERM-RSP-11],
//! [TERM-RSP-12], [TERM-RSP-16].
//!
//! The law: the originator sees one user: one To-tag, one final response, whatever each device says [B2BUA-05].

use super::{
    Why, body, headers,
    kept::Kept,
    outcome::{self, Refusal},
    sdp,
    state::{Device, DeviceState, Invitation, Originator, Session, Waiting},
    stray,
    turn::{self, Turn},
    usage::{Purpose, Usage},
};
use crate::{
    ids::LegId,
    msrp::{LegPeer, Role},
    sip::{Draft, Flow, Reply, TxnRef, reliable::Verdict},
    wire::sip::{Message, Method, Start},
};

/// Reason of the BYE to a device whose 200 cannot be used.
pub(super) const NO_MEDIA: &str = "Reason: SIP;cause=488;text=\"No MSRP in the answer\"\r\n";

/// Reason of the BYE to a device that we could not send anything to but this.
const NO_WAY: &str = "Reason: SIP;cause=480;text=\"Contact cannot be reached\"\r\n";

/// What a caller waits to hear.
const RINGING: u16 = 180;

/// Reason of the BYE to a device that answers when there is no room for its dialog.
const NO_ROOM: &str = "Reason: SIP;cause=503;text=\"Too many dialogs\"\r\n";

impl Session {
    /// A response to the INVITE of a device.
    pub(super) fn on_invite_response(
        &mut self,
        turn: &mut Turn,
        of: TxnRef,
        flow: Flow,
        response: &Message<'_>,
    ) {
        let Start::Response { code, .. } = response.start() else {
            return;
        };
        match code {
            ..=100 => {}
            101..200 => self.on_provisional(turn, of, flow, response, code),
            200..300 => self.on_success(turn, of, flow, response),
            300.. => self.on_refusal(turn, of, response, code),
        }
    }

    fn on_provisional(
        &mut self,
        turn: &mut Turn,
        of: TxnRef,
        flow: Flow,
        response: &Message<'_>,
        code: u16,
    ) {
        let (now, session) = (turn.now, self.id);
        let Some(device) = self.device(of.leg) else {
            return;
        };
        let (invitation, wanted) = match &mut device.state {
            DeviceState::Inviting(invitation) => (invitation, true),
            DeviceState::Cancelling(invitation, ..) => (invitation, false),
            DeviceState::Accepted(_) | DeviceState::Ending(_) | DeviceState::Ended => return,
        };
        if invitation.cseq != of.cseq {
            return;
        }
        invitation.timer_c = now + super::fork::TIMER_C;
        let verdict =
            invitation.on_early(response, (flow, turn.is_stranger(flow)), turn.has_room());
        match verdict {
            Verdict::Ignore => return,
            Verdict::Unreliable => {}
            Verdict::Prack(rack) => {
                let tag = response.to().ok().and_then(|t| t.tag()).unwrap_or_default();
                if let Some(early) = invitation.early(tag) {
                    let headers = format!(
                        "{rack}Supported: timer\r\nUser-Agent: {}\r\n",
                        turn.settings.product
                    );
                    let (message, target) =
                        early.dialog.bodiless(Method::Prack, headers.as_bytes());
                    let of = TxnRef {
                        session,
                        leg: of.leg,
                        cseq: early.dialog.local_cseq(),
                    };
                    turn.request(Draft {
                        of,
                        target,
                        key: 0,
                        message,
                    });
                }
            }
        }
        if wanted && code >= 180 {
            invitation.ringing = true;
            device.because(turn, session, Why::Said(code));
            self.ring(turn, code);
        }
    }

    /// Passes a provisional answer upstream, without body: one dialog, reliable only where the INVITE asks for it
    /// [B2BUA-05] [SIP-DLG-07].
    pub(super) fn ring(&mut self, turn: &mut Turn, code: u16) {
        let Originator::Inviting(waiting) = &mut self.up else {
            return;
        };
        let mut headers = Vec::new();
        headers::put(&mut headers, b"Contact", &waiting.usage.contact.text());
        headers.extend_from_slice(&turn::abilities(None));
        if waiting.reliably {
            let cseq = Message::parse(&self.invite)
                .ok()
                .and_then(|i| i.cseq().ok().map(|c| c.number))
                .unwrap_or_default();
            let begun = waiting
                .sent
                .begin(turn.now, turn.settings.t1, cseq, &mut turn.rng);
            // One waits for its PRACK (RFC 3262 §3): what says something new follows it, and ringing is not lost [B2BUA-05].
            let Some(reliable) = begun else {
                if code != waiting.said && waiting.owed != Some(RINGING) {
                    waiting.owed = Some(code);
                }
                return;
            };
            headers.extend_from_slice(reliable.as_bytes());
        }
        let reply = Reply {
            code,
            tag: waiting.usage.dialog.local_tag().to_vec(),
            headers,
            ..Reply::default()
        };
        waiting.said = code;
        waiting.repeating = waiting.reliably.then(|| reply.clone());
        turn.respond(waiting.txn, reply);
    }

    /// A 2xx: one of a device that is invited begins its leg; one that crossed our CANCEL, one of a second dialog of the same
    /// INVITE, is acknowledged and ended [B2BUA-11] [SIP-DLG-04]; one that came again is acknowledged again [SIP-TXN-05].
    fn on_success(&mut self, turn: &mut Turn, of: TxnRef, flow: Flow, response: &Message<'_>) {
        let Some(device) = self.device(of.leg) else {
            return;
        };
        let tag = response.to().ok().and_then(|t| t.tag()).unwrap_or_default();
        if let Some(ack) = device.acks.find(tag, of.cseq) {
            let message = ack.to_vec();
            let target = match &device.state {
                DeviceState::Accepted(usage) | DeviceState::Ending(usage) => usage.dialog.target(),
                DeviceState::Inviting(_) | DeviceState::Cancelling(..) | DeviceState::Ended => {
                    crate::sip::Target::Flow(flow)
                }
            };
            turn.send(target, message);
            return;
        }
        match device.state.take() {
            DeviceState::Inviting(invitation) if invitation.cseq == of.cseq => {
                self.on_accepted(turn, of, flow, response, *invitation);
            }
            DeviceState::Cancelling(invitation, reasons, _) => {
                let usage =
                    invitation.accept((self.id, of.leg), response, (flow, turn.is_stranger(flow)));
                let Some(mut usage) = usage else {
                    self.end_device(turn, of.leg);
                    return;
                };
                if let Some(device) = self.device(of.leg) {
                    device.acknowledge(turn, &usage, of.cseq);
                    usage.bye(turn, &reasons);
                    device.state = DeviceState::Ending(Box::new(usage));
                }
            }
            // Ours holds its ACK for the originator's answer: the device repeats its 2xx meanwhile.
            DeviceState::Accepted(usage)
                if usage.ack_held.is_some() && usage.dialog.remote_tag() == tag =>
            {
                device.state = DeviceState::Accepted(usage);
            }
            other @ (DeviceState::Inviting(_)
            | DeviceState::Accepted(_)
            | DeviceState::Ending(_)
            | DeviceState::Ended) => {
                device.state = other;
                if let Some(ack) = stray::end_stray(turn, of, flow, response) {
                    device
                        .acks
                        .keep((turn.now, turn.settings.t1), tag, of.cseq, ack);
                }
            }
        }
    }

    /// The first 200 of a device.
    fn on_accepted(
        &mut self,
        turn: &mut Turn,
        of: TxnRef,
        flow: Flow,
        response: &Message<'_>,
        invitation: Invitation,
    ) {
        let late = self.late_offer;
        let early_answer = invitation.early_answer(response);
        // An early dialog becomes this one.
        let room = turn.has_room() || !invitation.early.is_empty();
        let wish = invitation.wish;
        let Some(mut usage) =
            invitation.accept((self.id, of.leg), response, (flow, turn.is_stranger(flow)))
        else {
            // No dialog can be made of it: there is nothing to acknowledge or to end.
            self.refuse_device(turn, of.leg, Refusal::of(500), "its 200 makes no dialog");
            return;
        };
        // settled.md 32, 33: what cannot be read, or does not fit, is no answer.
        let said = match body::read(response) {
            Ok(said) => Ok(said.map(<[u8]>::to_vec).or(early_answer)),
            Err(why) => Err(why.text()),
        };
        let said = match said {
            Ok(Some(answer)) if !late => {
                usage.fitted(&answer).map(Some).map_err(sdp::Unusable::text)
            }
            said => said,
        };
        let trouble = said.as_ref().err().copied();
        usage.theirs = said.ok().flatten().map(Kept::from);
        usage.we_offered = !late;
        usage.timer = wish.accepted(turn.now, response, true);
        // Read once: a fork reads an answer a device.
        let peer = if late { None } else { usage.peer(turn) };
        let usable = match (&usage.theirs, late) {
            (None, _) => false,
            (Some(_), false) => peer.is_some(),
            (Some(offer), true) => {
                sdp::check_offer(&offer.text(), turn.terms(), &turn.policy).is_ok()
            }
        };
        let Some(device) = self.device(of.leg) else {
            return;
        };
        let unreachable = usage.dialog.reaches().is_err();
        let turned_away = if unreachable {
            Some((
                480,
                NO_WAY,
                "it accepted with a Contact or Record-Route that cannot be reached",
            ))
        } else if !room {
            turn.counters.refused_dialogs += 1;
            Some((503, NO_ROOM, "it accepted, and there are too many dialogs"))
        } else if !usable {
            Some((488, NO_MEDIA, trouble.unwrap_or("it accepted without MSRP")))
        } else {
            None
        };
        if let Some((code, reason, why)) = turned_away {
            device.acknowledge(turn, &usage, of.cseq);
            usage.bye(turn, reason.as_bytes());
            device.state = DeviceState::Ending(Box::new(usage));
            device.refusal = Some(Box::new(Refusal::of(code)));
            device.because(turn, of.session, why);
            turn.counters.refused += 1;
            self.end_if_alone(turn, of.leg, b"");
            return;
        }
        turn.counters.accepted += 1;
        if late {
            usage.ack_held = Some(of.cseq);
            device.state = DeviceState::Accepted(Box::new(usage));
            self.join_late(turn, of.leg, response);
            return;
        }
        // At once, whoever else has answered [TERM-RSP-11].
        device.acknowledge(turn, &usage, of.cseq);
        if let Some(peer) = peer {
            device.because(turn, of.session, explain(&peer.0));
            usage.start_media_with(turn, peer);
        }
        let plain = usage
            .theirs
            .as_ref()
            .is_some_and(|answer| sdp::needs_plain_offer(&usage.own, &answer.text()));
        device.state = DeviceState::Accepted(Box::new(usage));
        self.answer_originator(turn, of.leg, response);
        if plain {
            self.offer_anew(turn, of.leg, Purpose::Plain);
        }
    }

    /// The first device has answered: the originator gets our 200 with our answer [TERM-RSP-01] to [TERM-RSP-04]. The answers
    /// of others stay with us.
    fn answer_originator(&mut self, turn: &mut Turn, leg: LegId, response: &Message<'_>) {
        let far = self.device(leg).and_then(|d| d.state.usage()?.theirs());
        let Originator::Inviting(waiting) = self.up.take_if_inviting() else {
            return;
        };
        let Waiting { txn, mut usage, .. } = *waiting;
        let (Some(offer), Some(far)) = (usage.theirs(), far) else {
            return;
        };
        let Ok(answer) = usage.own.answer(&offer, &far, turn.terms()) else {
            // Both descriptions were judged before; if they do not meet, nobody can talk.
            turn.refuse_saying(txn, 488, "the device's answer does not meet the offer");
            let why = Why::Of(leg, "its answer does not meet the offer");
            self.ends(why.clone());
            self.dismiss_all(turn, b"", why);
            return;
        };
        usage.we_offered = false;
        usage.open_media(turn);
        usage.start_media(turn);
        self.succeed_upstream(turn, txn, usage, response, answer, false);
    }

    /// The originator's 200.
    pub(super) fn succeed_upstream(
        &mut self,
        turn: &mut Turn,
        txn: crate::ids::ServerTxnId,
        mut usage: Usage,
        response: &Message<'_>,
        description: Vec<u8>,
        offers: bool,
    ) {
        let Ok(invite) = Message::parse(&self.invite) else {
            return;
        };
        let agreed = usage.wish.answer(turn.now, &invite).ok();
        let params = response
            .contacts()
            .next()
            .and_then(Result::ok)
            .and_then(|c| {
                c.address()
                    .map(|a| super::fork::without(&a.params, &[b"expires", b"q"]))
            })
            .unwrap_or_default();
        usage.contact = [&usage.contact.text(), &params[..]].concat().into();
        let mut headers = Vec::new();
        headers::put(&mut headers, b"Contact", &usage.contact.text());
        headers.extend_from_slice(&turn::abilities(None));
        if let Some(agreed) = agreed {
            headers.extend_from_slice(agreed.headers.as_bytes());
            usage.timer = agreed.timer;
        }
        headers::pass_acceptance(&mut headers, response);
        usage.dialog.confirm(None);
        let cseq = invite.cseq().map(|c| c.number).unwrap_or_default();
        let reply = Reply {
            code: 200,
            tag: usage.dialog.local_tag().to_vec(),
            headers,
            body: Some((sdp::SDP, description)),
            ..Reply::default()
        };
        usage.succeed(turn, (txn, cseq), reply, offers);
        turn.counters.established += 1;
        self.up = Originator::Up(Box::new(usage));
    }

    fn on_refusal(&mut self, turn: &mut Turn, of: TxnRef, response: &Message<'_>, code: u16) {
        let Some(device) = self.device(of.leg) else {
            return;
        };
        match device.state.take() {
            DeviceState::Inviting(mut invitation) if invitation.cseq == of.cseq => {
                // RFC 4028 §7.4 [TIMER-03].
                if code == 422 && invitation.wish.raise(response) {
                    self.invite_again(turn, of.leg, &mut invitation);
                    if let Some(device) = self.device(of.leg) {
                        device.state = DeviceState::Inviting(invitation);
                    }
                    return;
                }
                if matches!(code, 300 | 302) {
                    self.on_redirect(turn, of.leg, &invitation, response);
                }
                let mut passed = Vec::new();
                headers::pass_refusal(&mut passed, response);
                let refusal = Refusal {
                    code,
                    headers: passed,
                };
                self.refuse_device(turn, of.leg, refusal, Why::Status(code));
            }
            DeviceState::Cancelling(..) => self.end_device(turn, of.leg),
            other @ (DeviceState::Inviting(_)
            | DeviceState::Accepted(_)
            | DeviceState::Ending(_)
            | DeviceState::Ended) => device.state = other,
        }
    }

    /// Nothing came in time, or nothing could be sent: as 408, or as 480, for the user is not there (settled.md 36).
    pub(super) fn on_invite_failed(
        &mut self,
        turn: &mut Turn,
        of: TxnRef,
        code: u16,
        why: &'static str,
    ) {
        let Some(device) = self.device(of.leg) else {
            return;
        };
        match &device.state {
            DeviceState::Inviting(invitation) if invitation.cseq == of.cseq => {
                let code = if code == 503 { 480 } else { code };
                self.refuse_device(turn, of.leg, Refusal::of(code), why);
            }
            DeviceState::Cancelling(..) => self.end_device(turn, of.leg),
            DeviceState::Inviting(_)
            | DeviceState::Accepted(_)
            | DeviceState::Ending(_)
            | DeviceState::Ended => {}
        }
    }

    /// A device that is invited will not take part. Its state may be taken out already.
    pub(super) fn refuse_device(
        &mut self,
        turn: &mut Turn,
        leg: LegId,
        refusal: Refusal,
        why: impl Into<Why>,
    ) {
        turn.counters.refused += 1;
        let session = self.id;
        if let Some(device) = self.device(leg) {
            device.refusal = Some(Box::new(refusal));
            device.state = DeviceState::Ended;
            device.because(turn, session, why);
        }
        turn.media(crate::msrp::Command::End {
            session,
            leg,
            how: crate::msrp::Finish::Gone,
        });
        self.end_if_alone(turn, leg, b"");
    }

    /// Nobody will take it any more, and nobody knows where else the user is: the best of what was said goes upstream, once [TERM-RSP-16] [B2BUA-03].
    pub(super) fn conclude(&mut self, turn: &mut Turn) {
        if self.has_hope() || self.follow(turn) {
            return;
        }
        let Originator::Inviting(waiting) = self.up.take_if_inviting() else {
            return;
        };
        let refusals = self
            .devices
            .iter_mut()
            .filter_map(|d| d.refusal.take().map(|r| *r));
        let Refusal { code, mut headers } = outcome::best(refusals);
        // What we say ourselves, and what a device says without a word.
        if matches!(code, 405 | 480 | 488) && !headers::has(&headers, b"Warning") {
            let last = self.devices.last().map(|d| d.last_why().of(d.leg));
            let why = last.unwrap_or(Why::Words("no device is there")).to_string();
            headers.extend_from_slice(&turn.warning(&why));
        }
        turn.counters.failed += 1;
        self.ends(Why::Nobody(code));
        turn.respond(
            waiting.txn,
            Reply {
                code,
                tag: waiting.usage.dialog.local_tag().to_vec(),
                headers,
                why: "no device takes it",
                ..Reply::default()
            },
        );
    }
}

/// Which way a leg's media go; nothing to say where the device connects, as nearly all do.
fn explain(peer: &LegPeer) -> Why {
    match peer.role {
        Role::Active => Why::Connects(peer.connect_to.map(Box::new)),
        Role::Passive => Why::Nothing,
    }
}

impl Device {
    /// Acknowledges its 2xx and keeps the ACK for when the 2xx comes again.
    fn acknowledge(&mut self, turn: &mut Turn, usage: &Usage, cseq: u32) {
        let (ack, target) = usage.dialog.ack(cseq);
        self.acks.keep(
            (turn.now, turn.settings.t1),
            usage.dialog.remote_tag(),
            cseq,
            ack.clone(),
        );
        turn.send(target, ack);
    }
}

impl Originator {
    /// Takes the state out if the INVITE waits; else leaves it, and is `Gone`.
    pub(super) fn take_if_inviting(&mut self) -> Self {
        if matches!(self, Self::Inviting(_)) {
            self.take()
        } else {
            Self::Gone
        }
    }
}
