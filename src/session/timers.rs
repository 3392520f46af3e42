//! What is due: session timers of each leg, 2xx without ACK, devices that ring for ever, whatever waits too long
//! [TIMER-05] [TIMER-06] [SIP-TXN-04] [SIP-TXN-08].

use std::rc::Rc;

use super::{
    Why,
    outcome::Refusal,
    state::{Device, DeviceState, Originator, Session},
    turn::Turn,
    usage::Usage,
};
use crate::{
    ids::LegId,
    sip::{retransmit, session_timer::Due},
};

/// Reason of the BYE at the end of a session interval.
const EXPIRED: &str = "Reason: SIP;cause=408;text=\"Session timer expired\"\r\n";
/// Reason of the BYE when nobody acknowledged our 2xx.
const NO_ACK: &str = "Reason: SIP;cause=408;text=\"No ACK\"\r\n";

/// What a usage asks of its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    Nothing,
    Refresh,
    /// It is over; the Reason, and why.
    End(&'static str, &'static str),
}

impl Session {
    /// Does what is due.
    pub(super) fn on_time(&mut self, turn: &mut Turn) {
        self.originator_on_time(turn);
        for at in 0..self.devices.len() {
            if let Some(leg) = self.devices.get(at).map(|d| d.leg) {
                self.device_on_time(turn, leg);
            }
        }
        self.rest();
        if self.lost_until.is_some_and(|until| until <= turn.now) {
            let lost = "Reason: SIP;cause=503;text=\"Media connection lost\"\r\n";
            self.end_all(
                turn,
                480,
                lost.as_bytes(),
                Why::Of(
                    LegId::ORIGINATOR,
                    "its MSRP connection was lost and did not come back",
                ),
            );
        }
    }

    /// Once everybody has answered the INVITE, nobody asks what it said.
    fn rest(&mut self) {
        let inviting = |d: &Device| matches!(d.state, DeviceState::Inviting(_));
        if matches!(self.up, Originator::Up(_))
            && !self.invite.is_empty()
            && !self.devices.iter().any(inviting)
        {
            self.invite = Rc::default();
        }
    }

    fn originator_on_time(&mut self, turn: &mut Turn) {
        match &mut self.up {
            Originator::Inviting(waiting) => match waiting.sent.poll(turn.now) {
                retransmit::Due::Wait => {}
                retransmit::Due::Again => {
                    if let Some(reply) = waiting.repeating.clone() {
                        turn.respond(waiting.txn, reply);
                    }
                }
                // RFC 3262 §3: nobody acknowledged the provisional answer.
                retransmit::Due::GiveUp => {
                    self.end_all(turn, 504, b"", "no PRACK from the originator");
                }
            },
            Originator::Up(usage) => {
                let need = usage.on_time(turn);
                self.serve(turn, LegId::ORIGINATOR, need);
            }
            Originator::Parting(usage, _) => {
                if usage.repeat_success(turn) {
                    self.bye_parting(turn);
                }
            }
            Originator::Leaving(_) | Originator::Gone => {}
        }
    }

    /// The originator that is to leave has acknowledged our 2xx, or never will: now it may get its BYE [SIP-DLG-06].
    pub(super) fn bye_parting(&mut self, turn: &mut Turn) {
        match self.up.take() {
            Originator::Parting(mut usage, headers) => {
                usage.bye(turn, &headers);
                self.up = Originator::Leaving(usage);
            }
            other @ (Originator::Inviting(_)
            | Originator::Up(_)
            | Originator::Leaving(_)
            | Originator::Gone) => self.up = other,
        }
    }

    fn device_on_time(&mut self, turn: &mut Turn, leg: LegId) {
        let Some(device) = self.device(leg) else {
            return;
        };
        device.acks.forget(turn.now);
        match &mut device.state {
            DeviceState::Inviting(invitation) => {
                if invitation.give_up <= turn.now || invitation.timer_c <= turn.now {
                    // As 408 (RFC 3261 §16.8).
                    device.refusal = Some(Box::new(Refusal::of(408)));
                    turn.counters.no_answer += 1;
                    self.dismiss(turn, leg, b"", "no answer", false);
                    self.end_if_alone(turn, leg, b"");
                }
            }
            DeviceState::Cancelling(_, _, until) => {
                // RFC 3261 §9.1: no final response in 64·T1 after a CANCEL, so none will come.
                if *until <= turn.now {
                    self.end_device(turn, leg);
                }
            }
            DeviceState::Accepted(usage) => {
                let need = usage.on_time(turn);
                self.serve(turn, leg, need);
            }
            DeviceState::Ending(_) | DeviceState::Ended => {}
        }
    }

    fn serve(&mut self, turn: &mut Turn, leg: LegId, need: Need) {
        match need {
            Need::Nothing => {}
            Need::Refresh => self.refresh(turn, leg),
            Need::End(reason, why) => {
                self.end_leg(turn, leg, reason, why);
                return;
            }
        }
        self.ask_again(turn, leg);
    }
}

impl Usage {
    /// Does what is due in the leg itself; what it needs of the session.
    fn on_time(&mut self, turn: &mut Turn) -> Need {
        self.rest(turn);
        if self.repeat_success(turn) {
            return Need::End(NO_ACK, "nobody acknowledged our 200");
        }
        // The far end says nothing to what the peer asked.
        if let Some(asked) = self.asked.take_if(|a| a.until <= turn.now) {
            turn.respond_code(asked.txn, 504);
        }
        let Some(timer) = &mut self.timer else {
            return Need::Nothing;
        };
        match timer.poll(turn.now) {
            Due::Wait => Need::Nothing,
            Due::Refresh => Need::Refresh,
            Due::End => Need::End(EXPIRED, "its session timer ran out"),
        }
    }
}
