//! What the services may ask of a shard, and what it answers: plain data, owned, made for people and scrapers.
//!
//! Names are those of the metrics and of the admin interface. A shard keeps plain integers and fills these when asked.

use slotmap::{Key as _, KeyData};

pub use crate::distribution::{BOUNDS_US, Distribution};
use crate::ids::{SessionId, ShardId};

/// What the services ask of one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// Everything that is counted: [`Answer::Counters`].
    Counters,
    /// Sessions in the order of their places in the table, those behind `after`, `max` at most: [`Answer::Sessions`].
    /// A page is bounded because the shard forwards nothing while it writes one.
    Sessions {
        /// The last session of the page before.
        after: Option<SessionId>,
        /// How many at most.
        max: usize,
    },
    /// One session, or one of those that have ended last: [`Answer::Session`].
    Session(SessionId),
    /// The sessions that have ended last, the youngest first: [`Answer::Sessions`] without a next.
    EndedSessions,
    /// Take no new session (503 with Retry-After); with `end`, also end those that are: [`Answer::Draining`].
    /// Asked again, it tells how far the drain has come.
    Drain {
        /// BYE or CANCEL to every leg.
        end: bool,
    },
    /// End one session, BYE to all its legs: [`Answer::Ended`].
    End(SessionId),
}

/// What a shard answers.
#[derive(Clone, Debug)]
pub enum Answer {
    /// To [`Question::Counters`].
    Counters(Box<Report>),
    /// To [`Question::Sessions`] and [`Question::EndedSessions`].
    Sessions {
        /// A page of them.
        page: Vec<SessionView>,
        /// The last of them, if there are more behind it.
        next: Option<SessionId>,
    },
    /// To [`Question::Session`]; `None`: there is none of that name.
    Session(Option<Box<SessionView>>),
    /// To [`Question::Drain`]: sessions that are left.
    Draining {
        /// How many.
        sessions: usize,
    },
    /// To [`Question::End`]: whether there was such a session.
    Ended(bool),
}

/// What came in, and what went out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InOut {
    /// `direction="in"`: received.
    pub received: u64,
    /// `direction="out"`: sent.
    pub sent: u64,
}

impl InOut {
    /// Adds what another shard counted.
    pub fn add(&mut self, other: Self) {
        self.received += other.received;
        self.sent += other.sent;
    }
}

/// Everything that one shard counts, by the names of its metrics without `ringfork_` and `_total`.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Gauge: CPM sessions.
    pub sessions: u64,
    /// Gauge: legs, the originators' among them.
    pub legs: u64,
    /// Gauge: contacts in the registrar.
    pub registrations: u64,
    /// Gauge: dialogs, early ones too.
    pub dialogs: u64,
    /// Gauge: SIP transactions, server and client.
    pub transactions: u64,
    /// Gauge: MSRP connections.
    pub msrp_connections: u64,
    /// Gauge: timers that are armed.
    pub timers: u64,
    /// Gauge: unsent bytes of all legs.
    pub leg_outbox_bytes: u64,
    /// Gauge: bytes of kept messages (settled.md R2).
    pub kept_bytes: u64,
    /// Gauge: bytes of SIP messages and MSRP heads that have not come whole.
    pub framing_bytes: u64,
    /// Requests by method; a method that we do not know counts as `other`.
    pub sip_requests: Vec<(&'static str, InOut)>,
    /// Responses by status code.
    pub sip_responses: Vec<(u16, InOut)>,
    /// Refusals of ours (300 to 699), by status code and reason.
    pub refusals: Vec<((u16, &'static str), u64)>,
    /// Requests whose credentials were wrong.
    pub wrong_credentials: u64,
    /// Connections that we opened: by protocol (`sip`, `msrp`) and outcome (`up`, `refused`, `unreachable`, `exhausted`).
    pub connects: Vec<((&'static str, &'static str), u64)>,
    /// SIP requests that came again: absorbed, or answered by the last response.
    pub sip_repeated: u64,
    /// SIP requests that were answered over their source's share: nothing was kept of them, a repeat is answered anew.
    pub sip_passed: u64,
    /// SIP messages that our timers have sent again.
    pub sip_retransmitted: u64,
    /// SIP responses and ACKs that belong to nothing: dropped.
    pub sip_strays: u64,
    /// Messages begun.
    pub msrp_messages: InOut,
    /// SENDs with a body, received.
    pub msrp_chunks: u64,
    /// Bytes on MSRP connections.
    pub msrp_bytes: InOut,
    /// Responses by status code; 0 is every code that is not counted by itself.
    pub msrp_responses: Vec<(u16, InOut)>,
    /// Messages to legs, by what became of them: `acknowledged`, `refused`, `lost`.
    pub deliveries: Vec<(&'static str, u64)>,
    /// Legs of forks, by what became of them: `accepted`, `refused`, `cancelled`, `unanswered`, ...
    pub fork_legs: Vec<(&'static str, u64)>,
    /// Legs that were given up, by why: `slow`, `timeout`, `connection_lost`, ...
    pub legs_dropped: Vec<(&'static str, u64)>,
    /// Connections closed because their bytes could not be framed.
    pub malformed: u64,
    /// How often each bound was reached, by its name: what was refused or given up for it. Each is one of `overload_rejected`.
    pub limits_reached: Vec<(&'static str, u64)>,
    /// From the first activity of a session until the BYEs and CANCELs to all other devices were in the kernel's hands.
    pub teardown_seconds: Distribution,
    /// From the head of a message until a leg has acknowledged all of it: one each message and leg.
    pub delivery_seconds: Distribution,
    /// MSRP connections given to the shard that their first request named.
    pub handed_over: u64,
    /// Letters sent to each shard, by its number.
    pub mail: Vec<u64>,
    /// What the ring counts, by the names that `io` gives.
    pub ring: Vec<(&'static str, u64)>,
}

/// A session as an operator sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionView {
    /// Its name: see [`session_name`].
    pub id: String,
    /// The served user.
    pub user: String,
    /// Who invited.
    pub originator: String,
    /// `inviting`, `established`, `settled`, `ending`, `ended`.
    pub state: &'static str,
    /// Why it ends or has ended; empty while it does neither.
    pub why: String,
    /// Whole seconds since the INVITE; of one that has ended, those that it lasted.
    pub age_s: u64,
    /// Whole seconds since it ended.
    pub ended_s: Option<u64>,
    /// Messages that are not accounted for yet.
    pub pending_messages: usize,
    /// Its legs, the originator's first; ended ones too, so that why they ended can be read.
    pub legs: Vec<LegView>,
}

/// A leg as an operator sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LegView {
    /// Its place: 0 is the originator.
    pub leg: u8,
    /// The Contact that it was sent to, or that came.
    pub who: String,
    /// `inviting`, `ringing`, `accepted`, `active`, `cancelling`, `ending`, `ended`.
    pub state: &'static str,
    /// Why it is in that state: `486 Busy Here`, `Call completed elsewhere`, ...
    pub why: String,
    /// What carries its SIP: `udp`, `tcp`.
    pub transport: &'static str,
    /// The address of its MSRP connection; empty without one.
    pub peer: String,
    /// How its connection is matched with it, or will be: `path`, `session-id: CEMA`, `session-id: legacy`; empty before its
    /// description is known.
    pub matched: &'static str,
    /// Body bytes of these.
    pub bytes: InOut,
    /// Messages that have come whole from it, and that were put out whole to it.
    pub messages: InOut,
    /// Bytes that wait for it.
    pub outbox_bytes: usize,
    /// SENDs to it without a response yet.
    pub unanswered: usize,
}

/// The name of a session outside its shard: the shard's number, and its place with generation in hexadecimal.
#[must_use]
pub fn session_name(shard: ShardId, session: SessionId) -> String {
    format!("{}-{:x}", shard.0, session.data().as_ffi())
}

/// The session that [`session_name`] gave a name to; `None`: it is no such name.
#[must_use]
pub fn session_of(name: &str) -> Option<(ShardId, SessionId)> {
    let (shard, place) = name.split_once('-')?;
    let canonical = |s: &str| !s.starts_with(['0', '+']) || s == "0";
    if !canonical(shard) || !canonical(place) || place.bytes().any(|b| b.is_ascii_uppercase()) {
        return None;
    }
    let session = KeyData::from_ffi(u64::from_str_radix(place, 16).ok()?).into();
    Some((ShardId(shard.parse().ok()?), session))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_found_by_its_name_and_by_no_other() {
        let mut table = slotmap::SlotMap::<SessionId, ()>::with_key();
        table.insert(());
        let id = table.insert(());
        let name = session_name(ShardId(3), id);
        assert_eq!(session_of(&name), Some((ShardId(3), id)));
        for bad in [
            "", "3", "3-", "-1", "3-xyz", "256-1", "3-+1", "+3-1", "03-1", "3-01", "3-AB",
        ] {
            assert_eq!(session_of(bad), None, "{bad}");
        }
    }
}
