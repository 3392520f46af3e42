//! A device that is counted apart, and does not read for a while: what the others get is measured, what it gets is told.

use rustix::net::sockopt;

use super::{Conn, Plane, Who};
use crate::{
    clock::Nanos,
    leg::Role,
    tally::{ApartCounts, Tally},
};

/// The kernel shall not read in its place: the receive buffer of a device that stops, in bytes.
const RECEIVE_BYTES: usize = 16 * 1024;

/// The other tally of a round.
pub(super) struct ApartTally {
    pub(super) tally: Tally,
    legs_given_up: u64,
    /// Messages that the senders of those legs had written.
    given_up: u64,
    stops: bool,
    has_stopped: bool,
}

impl ApartTally {
    pub(super) fn new(tally: Tally) -> Self {
        Self {
            tally,
            legs_given_up: 0,
            given_up: 0,
            stops: false,
            has_stopped: false,
        }
    }
}

impl Plane {
    /// Whether a leg is one of those that are counted apart in the round that runs.
    pub(super) fn is_apart(&self, session: u32, role: Role) -> bool {
        let Some(round) = &self.round else {
            return false;
        };
        let apart = round.plan.apart.as_ref();
        apart.is_some_and(|a| role == Role::Device(a.device))
            && round.plan.sessions.contains(&session)
    }

    /// Lets the devices that are counted apart stop reading and begin again.
    pub(super) fn stop_and_go(&mut self, now: Nanos) {
        let Some(stops) = self.round.as_ref().map(|r| r.stops_reading(now)) else {
            return;
        };
        if stops == self.apart.stops {
            return;
        }
        self.apart.stops = stops;
        self.apart.has_stopped |= stops;
        for id in self.apart_legs() {
            if let Some(Some(conn)) = self.conns.get_mut(id) {
                conn.reads = !stops;
                if stops {
                    // A larger buffer would only make it a less slow device.
                    let _ = sockopt::set_socket_recv_buffer_size(&conn.tcp, RECEIVE_BYTES);
                }
            }
            self.flush(id);
        }
    }

    /// A leg that is counted apart has ended: how much its sender has written is not owed to it any more.
    pub(super) fn gave_up(&mut self, conn: &Conn) {
        let Who::Device(session, _, device) = &conn.who else {
            return;
        };
        let sent = self.sessions[*session as usize].sent;
        self.apart.legs_given_up += 1;
        self.apart.given_up += u64::from(device.order().missing_of(sent));
    }

    /// Whether nothing is under way any more to the devices that are counted apart.
    pub(super) fn apart_is_complete(&self) -> bool {
        self.apart_missing() == 0
    }

    /// What is in the round's other tally goes where it belongs: faults to the round, the rest beside it.
    pub(super) fn settle_apart(&mut self, done: &mut Tally) {
        if self.round.as_ref().is_none_or(|r| r.plan.apart.is_none()) {
            return;
        }
        let lost = self.apart_missing();
        let apart = std::mem::replace(&mut self.apart, ApartTally::new(Tally::new(0..0)));
        done.carry_over(&apart.tally);
        done.reordered += apart.tally.reordered;
        done.apart = Some(ApartCounts {
            stopped: apart.has_stopped,
            delivered: apart.tally.delivered,
            given_up: apart.given_up,
            legs_given_up: apart.legs_given_up,
            lost,
        });
    }

    /// Messages that were written and have not come to the devices that are counted apart and whose legs stand.
    fn apart_missing(&self) -> u64 {
        let missing = |id: usize| match self.conns.get(id) {
            Some(Some(Conn {
                who: Who::Device(session, _, device),
                ..
            })) => u64::from(
                device
                    .order()
                    .missing_of(self.sessions[*session as usize].sent),
            ),
            Some(_) | None => 0,
        };
        self.apart_legs().into_iter().map(missing).sum()
    }

    fn apart_legs(&self) -> Vec<usize> {
        let Some(round) = &self.round else {
            return Vec::new();
        };
        let Some(apart) = &round.plan.apart else {
            return Vec::new();
        };
        let sessions = round.plan.sessions.clone();
        let sessions = sessions.filter_map(|s| self.sessions.get(s as usize));
        sessions
            .flat_map(|s| &s.devices)
            .copied()
            .filter(|&id| {
                matches!(self.conns.get(id), Some(Some(Conn { who: Who::Device(session, device, _), .. }))
                    if *device == apart.device && round.plan.sessions.contains(session))
            })
            .collect()
    }
}
