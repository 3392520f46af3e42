//! An INVITE without offer: the devices offer, the first one's offer goes up in our 200, the originator's answer comes down
//! in its ACK (RFC 3261 §13.2.1) [B2BUA-07] [TERM-RSP-17].
//!
//! The law: no ACK goes to a device without an answer to its offer, unless its BYE follows at once.

use super::{
    Why,
    responses::NO_MEDIA,
    state::{Originator, Session, Waiting},
    turn::Turn,
};
use crate::{ids::LegId, wire::sip::Message};

impl Session {
    /// A device has accepted, with an offer of its own.
    pub(super) fn join_late(&mut self, turn: &mut Turn, leg: LegId, response: &Message<'_>) {
        let far = self.device(leg).and_then(|d| d.state.usage()?.theirs());
        if let Originator::Inviting(waiting) = self.up.take_if_inviting() {
            let Waiting { txn, mut usage, .. } = *waiting;
            let cema = turn.settings.cema;
            let offer = far.and_then(|far| usage.own.offer(&far, cema, turn.terms()).ok());
            let Some(offer) = offer else {
                turn.respond_code(txn, 500);
                let why = Why::Of(leg, "its offer cannot be passed on");
                self.ends(why.clone());
                self.dismiss_all(turn, b"", why);
                return;
            };
            usage.we_offered = true;
            usage.open_media(turn);
            self.succeed_upstream(turn, txn, usage, response, offer, true);
            return;
        }
        // Before the originator's ACK there is no answer to give; with it, everyone who waits gets his.
        let answer = self.up.usage().filter(|u| u.unacked.is_none());
        if let Some(answer) = answer.and_then(|u| u.theirs()) {
            self.answer_device(turn, leg, &answer);
        }
    }

    /// The ACK of the originator's 200 has brought its answer, or should have.
    pub(super) fn on_late_answer(&mut self, turn: &mut Turn, answer: Option<Vec<u8>>) {
        let Originator::Up(usage) = &mut self.up else {
            return;
        };
        usage.theirs = answer
            .and_then(|answer| usage.fitted(&answer).ok())
            .map(Into::into);
        if !usage.start_media(turn) {
            let why = Why::Of(LegId::ORIGINATOR, "its ACK brought no answer that fits");
            self.end_all(turn, 500, NO_MEDIA.as_bytes(), why);
            return;
        }
        let answer = usage.theirs().unwrap_or_default();
        let waiting: Vec<LegId> = self.accepted().collect();
        for leg in waiting {
            self.answer_device(turn, leg, &answer);
        }
    }

    /// Answers the offer in a device's 200, in its ACK [TERM-RSP-17].
    fn answer_device(&mut self, turn: &mut Turn, leg: LegId, from: &[u8]) {
        let terms = turn.terms();
        let Some(device) = self.device(leg) else {
            return;
        };
        let Some(usage) = device.state.usage() else {
            return;
        };
        let (Some(cseq), Some(offer)) = (usage.ack_held.take(), usage.theirs()) else {
            return;
        };
        match usage.own.answer(&offer, from, terms) {
            Ok(answer) => {
                usage.acknowledge(turn, cseq, Some(&answer));
                usage.open_media(turn);
                usage.start_media(turn);
            }
            Err(_) => {
                usage.ack_held = Some(cseq);
                self.dismiss(
                    turn,
                    leg,
                    NO_MEDIA.as_bytes(),
                    "no answer fits its offer",
                    false,
                );
                self.end_if_alone(turn, leg, b"");
            }
        }
    }
}
