//! What the data plane reports: connections that come up and go, the user's activity, messages that nobody took.
//!
//! The law: a device that is lost ends alone while others stand; a lost originator gets one attempt to come back, and
//! everything is over within 6 s if it fails (settled.md 7, 8).

use std::time::Duration;

use super::{
    Why,
    state::{DeviceState, Originator, Session},
    turn::Turn,
    usage::Purpose,
};
use crate::{
    ids::LegId,
    msrp::{Event, Failure, Role},
};

/// How long the originator's connection may be away: 6 s less what BYEs need.
const RESTORE: Duration = Duration::from_secs(5);
/// How often in a session.
const LOSSES_MAX: u8 = 3;

/// Reason of the BYE that a lost connection causes.
const LOST: &str = "Reason: SIP;cause=503;text=\"Media connection lost\"\r\n";

impl Session {
    /// An event of the data plane.
    pub(super) fn on_media(&mut self, turn: &mut Turn, event: &Event) {
        match event {
            Event::Bound { leg, .. } => self.on_bound(*leg),
            Event::Activity { leg, settled, .. } => self.on_activity(turn, *leg, *settled),
            Event::Failed { leg, why, .. } if *leg == LegId::ORIGINATOR => {
                self.on_originator_lost(turn, *why);
            }
            Event::Failed { leg, why, .. } => self.on_device_lost(turn, *leg, *why),
            // With a store, deferral begins here.
            Event::Undelivered { .. } => turn.counters.undelivered += 1,
        }
    }

    fn on_bound(&mut self, leg: LegId) {
        if leg == LegId::ORIGINATOR {
            self.lost_until = None;
        }
    }

    fn on_device_lost(&mut self, turn: &mut Turn, leg: LegId, why: Failure) {
        let takes_part = self
            .device(leg)
            .is_some_and(|d| matches!(d.state, DeviceState::Accepted(_)));
        if takes_part {
            turn.counters.media_lost += 1;
            self.end_leg(turn, leg, LOST, why.text());
        }
    }

    fn on_originator_lost(&mut self, turn: &mut Turn, why: Failure) {
        let Originator::Up(usage) = &mut self.up else {
            return;
        };
        turn.counters.media_lost += 1;
        self.losses += 1;
        let hopeless = match why {
            Failure::ConnectionLost | Failure::SessionUnknown => self.losses > LOSSES_MAX,
            Failure::NotConnected
            | Failure::Timeout
            | Failure::Slow
            | Failure::BoundElsewhere
            | Failure::Malformed => true,
        };
        // A second loss while the first is being mended, or one that no attempt mends.
        if hopeless || self.lost_until.is_some() {
            let why = Why::Of(LegId::ORIGINATOR, why.text());
            self.end_all(turn, 480, LOST.as_bytes(), why);
            return;
        }
        self.lost_until = Some(turn.now + RESTORE);
        match usage.peer(turn) {
            Some(peer) if peer.0.role == Role::Active => usage.start_media_with(turn, peer),
            Some(_) | None => self.offer_anew(turn, LegId::ORIGINATOR, Purpose::Restore),
        }
    }
}
