//! How sessions end: BYE and CANCEL from every side in every state [BYE-03] [BYE-04] (ORIG-BYE-02 to -22, settled.md 14, 15).
//!
//! The law: whoever left is told so when the far side is done, after 5 s at the latest; whoever is told to leave gets the
//! Reason that came, unless we have one of our own [B2BUA-06].

use std::time::Duration;

use super::{
    Why, headers,
    state::{DeviceState, Held, Originator, Session},
    turn::Turn,
};
use crate::{
    ids::{LegId, ServerTxnId},
    msrp::{Command, Finish},
    wire::sip::{Message, Name, Reason},
};

/// How long a BYE waits for the far side's answer (settled.md 15).
const HOLD: Duration = Duration::from_secs(5);

/// Reason of the BYE to a device that has unregistered.
pub(super) const UNREGISTERED: &str = "Reason: SIP;cause=480;text=\"Not registered\"\r\n";

/// What a device's BYE says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// The user left: no Reason, or cause 200 (ORIG-BYE-03, -06).
    Left,
    /// This device is lost, somebody in the network says (ORIG-BYE-09).
    Lost,
}

/// The Reason headers of a request, each with CRLF.
pub(super) fn reasons(message: &Message<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    for value in message.headers(Name::Reason) {
        headers::put(&mut out, b"Reason", value);
    }
    out
}

/// settled.md 14. A Q.850 cause 16 is the ordinary clearing of a call; a SIP cause counts before it.
fn meaning(bye: &Message<'_>) -> Meaning {
    let reasons: Vec<_> = bye.each(Name::Reason, Reason::parse).flatten().collect();
    let sip = reasons.iter().find_map(Reason::sip_cause);
    let ordinary = reasons.iter().any(|r| {
        r.protocol.eq_ignore_ascii_case(b"Q.850") && r.params.number::<u16>(b"cause") == Some(16)
    });
    match sip {
        Some(200) => Meaning::Left,
        None if reasons.is_empty() || ordinary => Meaning::Left,
        Some(_) | None => Meaning::Lost,
    }
}

impl Session {
    /// A BYE within a dialog of `leg`; the caller has seen that it is of that dialog, and in order.
    pub(super) fn on_bye(
        &mut self,
        turn: &mut Turn,
        leg: LegId,
        txn: ServerTxnId,
        bye: &Message<'_>,
    ) {
        if leg == LegId::ORIGINATOR {
            self.on_originators_bye(turn, txn, bye);
        } else {
            self.on_devices_bye(turn, leg, txn, bye);
        }
    }

    fn on_originators_bye(&mut self, turn: &mut Turn, txn: ServerTxnId, bye: &Message<'_>) {
        match self.up.take() {
            // RFC 3261 §15: the caller may end an early dialog by BYE [SIP-DLG-06].
            Originator::Inviting(waiting) => {
                turn.respond_code(txn, 200);
                turn.respond_code(waiting.txn, 487);
                turn.counters.cancelled += 1;
                self.ends("the originator left");
                self.dismiss_all(turn, &reasons(bye), "the originator left");
            }
            Originator::Up(mut usage) | Originator::Parting(mut usage, _) => {
                usage.abandon(turn);
                self.lost_until = None;
                self.ends("the originator left");
                self.dismiss_all(turn, &reasons(bye), "the originator left");
                self.hold(turn, LegId::ORIGINATOR, txn);
            }
            // Two BYEs that cross: both are answered; ours ends by its own answer or not at all.
            Originator::Leaving(_) => turn.respond_code(txn, 200),
            Originator::Gone => self.answer_repeat(turn, LegId::ORIGINATOR, txn),
        }
    }

    fn on_devices_bye(&mut self, turn: &mut Turn, leg: LegId, txn: ServerTxnId, bye: &Message<'_>) {
        let Some(device) = self.device(leg) else {
            turn.respond_code(txn, 481);
            return;
        };
        match device.state.take() {
            DeviceState::Accepted(mut usage) => {
                usage.abandon(turn);
                self.on_device_left(turn, leg, txn, bye);
            }
            // Two BYEs that cross.
            ending @ DeviceState::Ending(_) => {
                device.state = ending;
                turn.respond_code(txn, 200);
            }
            // RFC 3261 §15: the callee must not end an early dialog by BYE.
            early @ (DeviceState::Inviting(_) | DeviceState::Cancelling(..)) => {
                device.state = early;
                turn.respond_code(txn, 481);
            }
            DeviceState::Ended => self.answer_repeat(turn, leg, txn),
        }
    }

    /// A device that took part has left; it is in state `Ended`.
    fn on_device_left(&mut self, turn: &mut Turn, leg: LegId, txn: ServerTxnId, bye: &Message<'_>) {
        let lost = meaning(bye) == Meaning::Lost;
        let why = if lost {
            "the network lost it"
        } else {
            "the user left"
        };
        let session = self.id;
        if let Some(device) = self.device(leg) {
            device.because(turn, session, why);
        }
        // ORIG-BYE-10: nothing goes to it any more. What the user said last is still read until its BYE is answered.
        turn.media(Command::End {
            session: self.id,
            leg,
            how: if lost { Finish::Gone } else { Finish::Abort },
        });
        if lost && self.has_hope() {
            turn.respond_code(txn, 200);
            return;
        }
        let reasons = reasons(bye);
        self.ends(Why::Of(leg, why));
        self.dismiss_all(turn, &reasons, "the user left on another device");
        self.part_originator(turn, reasons);
        self.hold(turn, leg, txn);
    }

    /// A BYE for a leg that is over: a second one while the first waits gets 200 too, any later 481.
    fn answer_repeat(&self, turn: &mut Turn, leg: LegId, txn: ServerTxnId) {
        let waits = self.held.iter().any(|h| h.leg == leg);
        turn.respond_code(txn, if waits { 200 } else { 481 });
    }

    /// Answers a BYE later: see [`Session::release_held`].
    fn hold(&mut self, turn: &Turn, leg: LegId, txn: ServerTxnId) {
        self.held.push(Held {
            txn,
            leg,
            until: turn.now + HOLD,
        });
    }

    /// Answers the BYEs whose far side is done, or that have waited long enough.
    pub(super) fn release_held(&mut self, turn: &mut Turn) {
        let session = self.id;
        let originator_gone = matches!(self.up, Originator::Gone);
        let devices_gone = self
            .devices
            .iter()
            .all(|d| !matches!(d.state, DeviceState::Ending(_) | DeviceState::Accepted(_)));
        self.held.retain(|held| {
            let done = if held.leg == LegId::ORIGINATOR {
                devices_gone
            } else {
                originator_gone
            };
            let answer = done || turn.now >= held.until;
            if answer {
                turn.respond_code(held.txn, 200);
                if held.leg != LegId::ORIGINATOR {
                    turn.media(Command::End {
                        session,
                        leg: held.leg,
                        how: Finish::Gone,
                    });
                }
            }
            !answer
        });
    }

    /// A CANCEL has met the originator's INVITE [SIP-TXN-07] [B2BUA-11].
    pub(super) fn on_cancelled(&mut self, turn: &mut Turn, txn: ServerTxnId, cancel: &Message<'_>) {
        match self.up.take() {
            Originator::Inviting(waiting) if waiting.txn == txn => {
                turn.respond_code(txn, 487);
                turn.counters.cancelled += 1;
                self.ends("the originator cancelled");
                self.dismiss_all(turn, &reasons(cancel), "the originator cancelled");
            }
            other @ (Originator::Inviting(_)
            | Originator::Up(_)
            | Originator::Parting(..)
            | Originator::Leaving(_)
            | Originator::Gone) => {
                self.up = other;
                self.on_reinvite_cancelled(turn, txn);
            }
        }
    }

    /// A device is not wanted any more: CANCEL where it has not answered, BYE where it has. `headers`: Reason, each with CRLF.
    /// `cut`: its media end before the BYE is answered.
    pub(super) fn dismiss(
        &mut self,
        turn: &mut Turn,
        leg: LegId,
        headers: &[u8],
        why: impl Into<Why>,
        cut: bool,
    ) {
        let session = self.id;
        let Some(device) = self.device(leg) else {
            return;
        };
        let before = device.state.take();
        if matches!(before, DeviceState::Inviting(_) | DeviceState::Accepted(_)) {
            device.because(turn, session, why);
        }
        device.state = match before {
            DeviceState::Inviting(invitation) => {
                turn.cancel(invitation.txn(session, leg), headers.to_vec());
                let until = turn.now + turn.settings.t1 * 64;
                DeviceState::Cancelling(invitation, headers.to_vec(), until)
            }
            DeviceState::Accepted(mut usage) => {
                if cut {
                    turn.media(Command::End {
                        session,
                        leg,
                        how: Finish::Abort,
                    });
                }
                usage.bye(turn, headers);
                DeviceState::Ending(usage)
            }
            over @ (DeviceState::Cancelling(..) | DeviceState::Ending(_) | DeviceState::Ended) => {
                over
            }
        };
    }

    /// No device is wanted any more.
    pub(super) fn dismiss_all(&mut self, turn: &mut Turn, headers: &[u8], why: impl Into<Why>) {
        turn.media(Command::Parting { session: self.id });
        let why = why.into();
        let legs: Vec<LegId> = self
            .devices
            .iter()
            .filter(|d| d.is_wanted())
            .map(|d| d.leg)
            .collect();
        for leg in legs {
            self.dismiss(turn, leg, headers, why.clone(), false);
        }
    }

    /// The originator that we answered gets BYE: at once, or when it has acknowledged our 2xx.
    pub(super) fn part_originator(&mut self, turn: &mut Turn, headers: Vec<u8>) {
        turn.media(Command::Parting { session: self.id });
        self.lost_until = None;
        self.up = match self.up.take() {
            Originator::Up(mut usage) if usage.unacked.is_some() => {
                usage.part(turn);
                Originator::Parting(usage, headers)
            }
            Originator::Up(mut usage) => {
                usage.bye(turn, &headers);
                Originator::Leaving(usage)
            }
            other @ (Originator::Inviting(_)
            | Originator::Parting(..)
            | Originator::Leaving(_)
            | Originator::Gone) => other,
        };
    }

    /// Ends it by our own doing: whoever takes part gets BYE, whoever is invited CANCEL, an INVITE that waits `code`.
    pub(super) fn end_all(
        &mut self,
        turn: &mut Turn,
        code: u16,
        headers: &[u8],
        why: impl Into<Why>,
    ) {
        let why = why.into();
        self.ends(why.clone());
        self.dismiss_all(turn, headers, why);
        match self.up.take() {
            Originator::Inviting(waiting) => turn.respond_code(waiting.txn, code),
            other @ (Originator::Up(_)
            | Originator::Parting(..)
            | Originator::Leaving(_)
            | Originator::Gone) => {
                self.up = other;
                self.part_originator(turn, headers.to_vec());
            }
        }
    }

    /// A leg that took part is over without a BYE of its own; if it was the last, the session is.
    pub(super) fn end_if_alone(&mut self, turn: &mut Turn, leg: LegId, headers: &[u8]) {
        if self.has_hope() {
            return;
        }
        match &self.up {
            Originator::Inviting(_) => self.conclude(turn),
            Originator::Up(_) => {
                if let Some(last) = self.device(leg) {
                    let why = last.last_why().of(leg);
                    self.ends(why);
                }
                self.part_originator(turn, headers.to_vec());
            }
            Originator::Parting(..) | Originator::Leaving(_) | Originator::Gone => {}
        }
    }

    /// Our BYE has its answer, or never will.
    pub(super) fn on_bye_answered(&mut self, turn: &mut Turn, leg: LegId) {
        if leg == LegId::ORIGINATOR {
            if matches!(self.up, Originator::Leaving(_)) {
                self.up = Originator::Gone;
            }
            return;
        }
        let ending = self
            .device(leg)
            .is_some_and(|d| matches!(d.state, DeviceState::Ending(_)));
        if ending {
            self.end_device(turn, leg);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(reason: &str, expected: Meaning) {
        let bye = format!(
            "BYE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\n{reason}Content-Length: 0\r\n\r\n"
        );
        let bye = Message::parse(bye.as_bytes()).unwrap();
        assert_eq!(meaning(&bye), expected, "{reason}");
    }

    // [BYE-03]: settled.md 14.
    #[test]
    fn the_reason_says_who_is_gone() {
        check("", Meaning::Left);
        check(
            "Reason: SIP;cause=200;text=\"Call completed\"\r\n",
            Meaning::Left,
        );
        check("Reason: sip ;text=\"x, y\" ;CAUSE=200\r\n", Meaning::Left);
        check("Reason: Q.850;cause=16\r\n", Meaning::Left);
        check("Reason: Q.850;cause=16, SIP;cause=503\r\n", Meaning::Lost);
        check(
            "Reason: SIP;cause=480;text=\"Bearer unavailable\"\r\n",
            Meaning::Lost,
        );
        check("Reason: SIP;cause=503\r\n", Meaning::Lost);
        check("Reason: Q.850;cause=27\r\n", Meaning::Lost);
        check("Reason: SIP\r\n", Meaning::Lost);
    }
}
