//! Changes within a session: re-INVITE and UPDATE of either side, and our own (ORIG-REINV-02, -03, -08, -09).
//!
//! The law: what concerns one leg alone (a refresh, another address) is answered by us; what the far end has a say in is asked
//! of it first, and its answer decides [SIP-DLG-03] [SIP-DLG-08]. A refused change changes nothing.

use std::rc::Rc;

use super::{
    Why, body,
    early::refuse_conflict,
    headers,
    responses::NO_MEDIA,
    sdp::{self, Change, Unusable},
    state::{DeviceState, Originator, Session},
    turn::{self, Turn},
    usage::{Asked, Asking, Purpose, Usage, patience},
};
use crate::{
    ids::{LegId, ServerTxnId},
    msrp::Command,
    sip::{
        Reply, TxnRef,
        effect::{Reach, reach},
        glare,
        session_timer::TooSmall,
    },
    wire::sip::{Message, Method, Start},
};

/// Reason of the BYE after a refresh that found nobody (RFC 4028 §10).
const NO_LIFE: &str = "Reason: SIP;cause=408;text=\"Session refresh failed\"\r\n";

impl Session {
    /// A re-INVITE or UPDATE within the dialog of `leg`, in order.
    pub(super) fn on_change(
        &mut self,
        turn: &mut Turn,
        leg: LegId,
        txn: ServerTxnId,
        bytes: &Rc<[u8]>,
        request: &Message<'_>,
    ) {
        let invite = request.method() == Some(Method::Invite);
        let parting = matches!(self.up, Originator::Parting(..));
        if parting || self.usage(leg).is_none() {
            turn.respond_code(txn, 481);
            return;
        }
        if !turn.has_memory() {
            turn.counters.refused_bytes += 1;
            turn.respond(txn, super::terminating::busy());
            return;
        }
        let Some(usage) = self.usage(leg) else {
            return;
        };
        // Of the transaction alone: what stands goes on as it was.
        if let Err(why) = usage.dialog.could_follow(request) {
            let (code, text) = why.warning();
            turn.respond_with(txn, 400, turn.warn(code, text));
            return;
        }
        let offer = body::description(request).map(<[u8]>::to_vec);
        let pending = usage.pending();
        let crossing = if invite {
            pending.their_reinvite(&mut turn.rng)
        } else {
            pending.their_update(offer.is_some(), &mut turn.rng)
        };
        if let Err(conflict) = crossing {
            refuse_conflict(turn, txn, conflict);
            return;
        }
        if let Err(TooSmall { min_se_s }) = usage.wish.answer(turn.now, request) {
            turn.respond_with(txn, 422, format!("Min-SE: {min_se_s}\r\n").into_bytes());
            return;
        }
        let cseq = request.cseq().map(|c| c.number).unwrap_or_default();
        let asked = Asked {
            txn,
            invite,
            cseq,
            message: Rc::clone(bytes),
            offer: offer.clone().unwrap_or_default(),
            until: turn.now + patience(turn.settings.t1),
        };
        let Some(offer) = offer else {
            usage.agree_without_offer(turn, &asked);
            return;
        };
        if let Err(why) = sdp::check_offer(&offer, turn.terms(), &turn.policy) {
            let (warn, text) = sdp::warning(&offer, why);
            let reply = Reply {
                code: 488,
                headers: turn.warn(warn, &text),
                why: why.text(),
                ..Reply::default()
            };
            turn.respond(txn, reply);
            return;
        }
        let before = usage.theirs().unwrap_or_default();
        let change = sdp::change(&before, &offer);
        usage.asked = Some(Box::new(asked));
        match change {
            Change::Nothing | Change::Transport => self.agree_alone(turn, leg, change),
            Change::Media => self.ask_far_end(turn, leg, &offer),
        }
    }

    /// Answers a change of one leg with what we said there before.
    fn agree_alone(&mut self, turn: &mut Turn, leg: LegId, change: Change) {
        let Some(usage) = self.usage(leg) else {
            return;
        };
        let said = usage.own.last().unwrap_or_default().into_owned();
        usage.agree(turn, &said, change != Change::Nothing);
    }

    /// Passes a change on: to the originator, or to the device on which the session settled, or to all that take part.
    fn ask_far_end(&mut self, turn: &mut Turn, leg: LegId, offer: &[u8]) {
        let far: Vec<LegId> = if leg == LegId::ORIGINATOR {
            self.accepted().collect()
        } else if self.accepted().count() == 1 {
            vec![LegId::ORIGINATOR]
        } else {
            // Nothing is decided for the user while several devices stand: his device's change is its own.
            Vec::new()
        };
        if far.is_empty() {
            self.agree_alone(turn, leg, Change::Media);
            return;
        }
        let free = far
            .iter()
            .all(|l| self.usage(*l).is_some_and(|u| u.may_ask()));
        if !free {
            self.refuse_change(turn, leg, 491);
            return;
        }
        for to in far {
            let terms = turn.terms();
            let asked = self.usage(to).is_some_and(|usage| {
                let cema = turn.settings.cema && !usage.plain;
                match usage.own.offer(offer, cema, terms) {
                    Ok(offer) => {
                        usage.ask(turn, Purpose::Through(leg), Some(offer));
                        true
                    }
                    Err(_) => false,
                }
            });
            if !asked {
                self.refuse_change(turn, leg, 488);
                return;
            }
        }
    }

    fn refuse_change(&mut self, turn: &mut Turn, leg: LegId, code: u16) {
        if let Some(asked) = self.usage(leg).and_then(|u| u.asked.take()) {
            turn.refuse_saying(asked.txn, code, "the other side does not agree");
        }
    }

    /// Offers something anew on a leg: without CEMA [CEMA-04], or to get a lost connection back (settled.md 8).
    pub(super) fn offer_anew(&mut self, turn: &mut Turn, leg: LegId, purpose: Purpose) {
        let terms = turn.terms();
        let Some(usage) = self.usage(leg) else {
            return;
        };
        usage.plain |= purpose == Purpose::Plain;
        if !usage.may_ask() {
            usage.again = Some((turn.now + std::time::Duration::from_secs(1), purpose));
            return;
        }
        let said = usage.own.last().unwrap_or_default().into_owned();
        let cema = turn.settings.cema && !usage.plain;
        if let Ok(offer) = usage.own.offer(&said, cema, terms) {
            usage.ask(turn, purpose, Some(offer));
        }
    }

    /// Refreshes the session timer of a leg: by UPDATE where the peer allows it [TIMER-05].
    pub(super) fn refresh(&mut self, turn: &mut Turn, leg: LegId) {
        let terms = turn.terms();
        let Some(usage) = self.usage(leg) else {
            return;
        };
        if usage.allows_update && usage.pending().may_update(false) {
            usage.ask(turn, Purpose::Refresh, None);
        } else if usage.may_ask() {
            let said = usage.own.last().unwrap_or_default().into_owned();
            let cema = turn.settings.cema && !usage.plain;
            if let Ok(offer) = usage.own.offer(&said, cema, terms) {
                usage.ask(turn, Purpose::Refresh, Some(offer));
            }
        } else {
            usage.again = Some((
                turn.now + std::time::Duration::from_secs(1),
                Purpose::Refresh,
            ));
        }
    }

    /// Whether a response is one to a change of ours.
    pub(super) fn awaits(&mut self, of: TxnRef) -> bool {
        self.usage(of.leg)
            .is_some_and(|u| u.asking.is_some_and(|a| a.cseq == of.cseq))
    }

    /// A response to a re-INVITE or UPDATE of ours.
    pub(super) fn on_change_response(
        &mut self,
        turn: &mut Turn,
        of: TxnRef,
        response: &Message<'_>,
    ) {
        let Start::Response { code, .. } = response.start() else {
            return;
        };
        if code < 200 {
            return;
        }
        let Some(asking) = self.usage(of.leg).and_then(|u| u.asking.take()) else {
            return;
        };
        if code < 300 {
            self.on_change_agreed(turn, of, asking, response);
        } else {
            self.on_change_refused(turn, of, asking, code, Some(response));
        }
    }

    fn on_change_agreed(
        &mut self,
        turn: &mut Turn,
        of: TxnRef,
        asking: Asking,
        response: &Message<'_>,
    ) {
        let Some(usage) = self.usage(of.leg) else {
            return;
        };
        let answer = usage.answer_in(response);
        usage.learn(response);
        // A Contact that we could not send to changes nothing.
        if usage.dialog.could_follow(response).is_ok() {
            usage.dialog.refresh_target(response);
        }
        usage.timer = usage.wish.accepted(turn.now, response, true);
        if asking.invite {
            let (ack, target) = usage.dialog.ack(of.cseq);
            let tag = usage.dialog.remote_tag().to_vec();
            usage
                .acks
                .keep((turn.now, turn.settings.t1), &tag, of.cseq, ack.clone());
            turn.send(target, ack);
        }
        // What is ours alone (a refresh, a way back) stands as it was without one; what somebody else asked for does not.
        let wanted = asking.offers && matches!(asking.purpose, Purpose::Through(_));
        let answer = match answer {
            Ok(None) if wanted => Err(Unusable::NotSdp.text()),
            answer => answer,
        };
        let answer = match answer {
            Ok(answer) => answer,
            // RFC 3261 §13.2.2.4: an answer that cannot be used is acknowledged, and the dialog ends (settled.md 33).
            Err(why) if asking.offers => {
                let others_asked = |session: &Self, asker| {
                    session
                        .accepted()
                        .any(|l| l != of.leg && session.asks_for(l, asker))
                };
                if let Purpose::Through(asker) = asking.purpose
                    && !others_asked(self, asker)
                {
                    self.refuse_change(turn, asker, 488);
                }
                self.end_leg(turn, of.leg, NO_MEDIA, why);
                return;
            }
            Err(_) => None,
        };
        if asking.offers {
            let before = usage.theirs().unwrap_or_default();
            let changed = answer
                .as_ref()
                .is_some_and(|a| sdp::change(&before, a) != Change::Nothing);
            if let Some(answer) = &answer {
                usage.theirs = Some(answer.clone().into());
                usage.we_offered = true;
            }
            match asking.purpose {
                Purpose::Refresh if !changed => {}
                Purpose::Refresh | Purpose::Through(_) => usage.update_media(turn),
                // The connection is made anew.
                Purpose::Plain | Purpose::Restore => {
                    usage.start_media(turn);
                }
            }
        }
        if let Purpose::Through(asker) = asking.purpose
            && let Some(usage) = self.usage(asker)
        {
            let from = answer.unwrap_or_else(|| usage.own.last().unwrap_or_default().into_owned());
            usage.agree(turn, &from, true);
        }
    }

    /// A change of ours was refused, or nobody answered it. [SIP-DLG-05]
    fn on_change_refused(
        &mut self,
        turn: &mut Turn,
        of: TxnRef,
        asking: Asking,
        code: u16,
        response: Option<&Message<'_>>,
    ) {
        let method = if asking.invite {
            Method::Invite
        } else {
            Method::Update
        };
        if let Purpose::Through(asker) = asking.purpose {
            let others_asked = self
                .accepted()
                .any(|l| l != of.leg && self.asks_for(l, asker));
            // One device that will not follow does not stop the others (ORIG-REINV-08).
            if !others_asked {
                self.refuse_change(turn, asker, code);
            }
        }
        if reach(method, code) != Reach::Transaction {
            self.end_leg(
                turn,
                of.leg,
                NO_LIFE,
                "it does not know the session any more",
            );
            return;
        }
        let Some(usage) = self.usage(of.leg) else {
            return;
        };
        let again = match (code, response) {
            (491, _) => {
                let ours = usage.dialog.is_caller();
                Some(glare::wait_after_491(ours, &mut turn.rng))
            }
            (422, Some(response)) if usage.wish.raise(response) => Some(std::time::Duration::ZERO),
            (500, Some(_)) if asking.purpose == Purpose::Refresh => {
                Some(std::time::Duration::from_secs(10))
            }
            _ => None,
        };
        if let (Some(wait), false) = (again, matches!(asking.purpose, Purpose::Through(_))) {
            usage.again = Some((turn.now + wait, asking.purpose));
        }
    }

    /// Whether a re-INVITE of ours on a device's leg carries what `asker` wants.
    fn asks_for(&self, leg: LegId, asker: LegId) -> bool {
        let device = usize::from(leg.0)
            .checked_sub(1)
            .and_then(|at| self.devices.get(at));
        matches!(
            device.map(|d| &d.state),
            Some(DeviceState::Accepted(usage))
                if usage.asking.is_some_and(|a| a.purpose == Purpose::Through(asker))
        )
    }

    /// Nothing came in time, or nothing could be sent.
    pub(super) fn on_change_failed(&mut self, turn: &mut Turn, of: TxnRef, code: u16) {
        if let Some(asking) = self.usage(of.leg).and_then(|u| u.asking.take()) {
            self.on_change_refused(turn, of, asking, code, None);
        }
    }

    /// A leg that took part is over: a device's alone, the originator's with everything.
    pub(super) fn end_leg(&mut self, turn: &mut Turn, leg: LegId, reason: &str, why: &'static str) {
        if leg == LegId::ORIGINATOR {
            self.end_all(turn, 480, reason.as_bytes(), Why::Of(leg, why));
        } else {
            self.dismiss(turn, leg, reason.as_bytes(), why, true);
            self.end_if_alone(turn, leg, reason.as_bytes());
        }
    }

    /// Asks again what got 491 or could not be asked before.
    pub(super) fn ask_again(&mut self, turn: &mut Turn, leg: LegId) {
        let due = self
            .usage(leg)
            .and_then(|u| u.again.take_if(|(at, _)| *at <= turn.now));
        match due {
            Some((_, Purpose::Refresh)) => self.refresh(turn, leg),
            Some((_, purpose @ (Purpose::Plain | Purpose::Restore))) => {
                self.offer_anew(turn, leg, purpose);
            }
            Some((_, Purpose::Through(_))) | None => {}
        }
    }

    /// A CANCEL has met a re-INVITE: 487, and what was asked of the far end is taken back.
    pub(super) fn on_reinvite_cancelled(&mut self, turn: &mut Turn, txn: ServerTxnId) {
        let legs: Vec<LegId> = std::iter::once(LegId::ORIGINATOR)
            .chain(self.accepted())
            .collect();
        for leg in &legs {
            let asked = self
                .usage(*leg)
                .and_then(|u| u.asked.take_if(|a| a.txn == txn));
            if asked.is_none() {
                continue;
            }
            turn.respond_code(txn, 487);
            for far in &legs {
                if let Some(usage) = self.usage(*far)
                    && let Some(asking) = usage.asking
                    && asking.purpose == Purpose::Through(*leg)
                    && asking.invite
                {
                    turn.cancel(usage.txn(asking.cseq), Vec::new());
                }
            }
        }
    }
}

impl Usage {
    /// Whether an offer of ours may go now.
    fn may_ask(&self) -> bool {
        self.pending().may_reinvite() && self.unacked.is_none() && self.ack_held.is_none()
    }

    /// Sends a re-INVITE with an offer, or an UPDATE without.
    fn ask(&mut self, turn: &mut Turn, purpose: Purpose, offer: Option<Vec<u8>>) {
        let mut extra = Vec::new();
        match &self.timer {
            // A 422 may have asked for more than was agreed.
            Some(timer) if u64::from(self.wish.min_se_s) <= timer.interval().as_secs() => {
                extra.extend_from_slice(timer.refresh_headers().as_bytes());
                headers::put(
                    &mut extra,
                    b"Min-SE",
                    self.wish.min_se_s.to_string().as_bytes(),
                );
            }
            Some(_) | None => extra.extend_from_slice(self.wish.headers().as_bytes()),
        }
        let invite = offer.is_some();
        let method = if invite {
            Method::Invite
        } else {
            Method::Update
        };
        let cseq = self.request(turn, method, &extra, offer.as_deref());
        self.asking = Some(Asking {
            cseq,
            invite,
            offers: offer.is_some(),
            purpose,
        });
    }

    /// Agrees to what the peer asked, with a description made from `from`.
    fn agree(&mut self, turn: &mut Turn, from: &[u8], changed: bool) {
        let Some(asked) = self.asked.take() else {
            return;
        };
        let Ok(answer) = self.own.answer(&asked.offer, from, turn.terms()) else {
            turn.refuse_saying(asked.txn, 488, "it does not meet what the other side says");
            return;
        };
        self.theirs = Some(asked.offer.clone().into());
        self.we_offered = false;
        let headers = self.agreed_headers(turn, &asked);
        if changed {
            self.update_media(turn);
        }
        let reply = Reply {
            code: 200,
            headers,
            body: Some((sdp::SDP, answer)),
            ..Reply::default()
        };
        if asked.invite {
            self.succeed(turn, (asked.txn, asked.cseq), reply, false);
        } else {
            turn.respond(asked.txn, reply);
        }
    }

    /// Agrees to a request without offer: an UPDATE is a refresh; a re-INVITE gets our offer, as things stand
    /// (RFC 3261 §14.2).
    fn agree_without_offer(&mut self, turn: &mut Turn, asked: &Asked) {
        let headers = self.agreed_headers(turn, asked);
        let mut reply = Reply {
            code: 200,
            headers,
            ..Reply::default()
        };
        if !asked.invite {
            turn.respond(asked.txn, reply);
            return;
        }
        let said = self.own.last().unwrap_or_default().into_owned();
        let cema = turn.settings.cema && !self.plain;
        match self.own.offer(&said, cema, turn.terms()) {
            Ok(offer) => {
                reply.body = Some((sdp::SDP, offer));
                self.succeed(turn, (asked.txn, asked.cseq), reply, true);
            }
            Err(_) => turn.refuse_saying(asked.txn, 488, "nothing can be offered any more"),
        }
    }

    /// Contact, abilities and session timer of a 2xx within the dialog; the timer begins anew.
    fn agreed_headers(&mut self, turn: &mut Turn, asked: &Asked) -> Vec<u8> {
        let mut headers = Vec::new();
        headers::put(&mut headers, b"Contact", &self.contact.text());
        headers.extend_from_slice(&turn::abilities(None));
        if let Ok(request) = Message::parse(&asked.message) {
            self.dialog.refresh_target(&request);
            self.learn(&request);
            if let Ok(agreed) = self.wish.answer(turn.now, &request) {
                headers.extend_from_slice(agreed.headers.as_bytes());
                self.timer = agreed.timer;
            }
        }
        headers
    }

    /// The answer in a 2xx to our last offer, with a line for each of the offer's; `None` without one.
    ///
    /// # Errors
    /// It cannot be used; why, for people.
    pub(super) fn answer_in(
        &self,
        response: &Message<'_>,
    ) -> Result<Option<Vec<u8>>, &'static str> {
        match body::read(response) {
            Ok(None) => Ok(None),
            Ok(Some(answer)) => self.fitted(answer).map(Some).map_err(Unusable::text),
            Err(why) => Err(why.text()),
        }
    }

    /// An answer to our last offer, with a line for each of the offer's, MSRP among them.
    pub(super) fn fitted(&self, answer: &[u8]) -> Result<Vec<u8>, Unusable> {
        let offer = self.own.last().ok_or(Unusable::NotSdp)?;
        sdp::fitted(&offer, answer)
    }

    /// The answer to an offer that stood in a 2xx of ours to a re-INVITE. `false`: it cannot be used.
    pub(super) fn on_answer(&mut self, turn: &mut Turn, answer: Option<Vec<u8>>) -> bool {
        let Some(answer) = answer else {
            // RFC 3261 §13.2.1 wants one; without it everything stays as it was.
            return true;
        };
        let Ok(answer) = self.fitted(&answer) else {
            return false;
        };
        let before = self.theirs().unwrap_or_default();
        self.theirs = Some(answer.clone().into());
        self.we_offered = true;
        if sdp::change(&before, &answer) != Change::Nothing {
            self.update_media(turn);
        }
        true
    }

    /// Tells the data plane what has changed: our half, and the peer's.
    fn update_media(&mut self, turn: &mut Turn) {
        self.rest_later(turn);
        self.open_media(turn);
        let Some((peer, _)) = self.peer(turn) else {
            return;
        };
        let same_way = self
            .way
            .as_ref()
            .is_some_and(|(path, role)| *path == peer.path && *role == peer.role);
        self.set_way(&peer);
        let (session, leg) = (self.session, self.leg);
        turn.media(if same_way {
            Command::Update { session, leg, peer }
        } else {
            Command::Start { session, leg, peer }
        });
    }
}
