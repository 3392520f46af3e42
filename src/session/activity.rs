//! Media Plane Handling for Multiple Devices: the user is active on one device, the others are told that the session was
//! completed elsewhere [TERM-MEDIA-04] [TERM-MEDIA-14] to [TERM-MEDIA-18].
//!
//! The law: CANCEL and BYE leave in the turn in which the activity came (settled.md 12). The data plane has cut the others
//! off before it told us.

use super::{
    state::{Service, Session},
    turn::Turn,
};
use crate::{ids::LegId, msrp::Command};

/// Reason of the BYE or CANCEL that a device gets when another took the session (RFC 3326 §2) [TERM-MEDIA-15].
pub(super) const ELSEWHERE: &str = "Reason: SIP;cause=200;text=\"Call completed elsewhere\"\r\n";
/// The same for people.
pub(super) const ELSEWHERE_WHY: &str = "Call completed elsewhere";

impl Session {
    /// Whether activity settles this session.
    pub(super) const fn settles(&self) -> bool {
        match self.service {
            Service::Session => true,
            Service::FileTransfer | Service::LargeMessage => false,
        }
    }

    /// The data plane saw the user's activity on `leg`; `cut`: it has ended the other legs' media already.
    pub(super) fn on_activity(&mut self, turn: &mut Turn, leg: LegId, cut: bool) {
        let taking_part = self.accepted().any(|l| l == leg);
        if !taking_part || !self.settles() || self.settled.is_some() {
            return;
        }
        self.settled = Some(leg);
        turn.media(Command::SettleOnActivity {
            session: self.id,
            on: false,
        });
        let others: Vec<LegId> = self
            .devices
            .iter()
            .filter(|d| d.leg != leg && d.is_wanted())
            .map(|d| d.leg)
            .collect();
        turn.counters.settled += 1;
        let session = self.id;
        for other in others {
            turn.counters.elsewhere += 1;
            self.dismiss(turn, other, ELSEWHERE.as_bytes(), ELSEWHERE_WHY, !cut);
        }
        if let Some(device) = self.device(leg) {
            device.because(turn, session, "the user is active here");
        }
    }
}
