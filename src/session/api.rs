//! What the Participating Function asks for, and what can be seen of it.

use std::{net::SocketAddr, time::Duration};

use super::Note;
use crate::{
    ids::{LegId, ServerTxnId, SessionId, ShardId},
    msrp,
    sip::{Draft, Reply, Target, TxnRef},
    time::Instant,
};

/// The bounds and choices of the Participating Function; from `Config` and `Limits`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The shard that runs it.
    pub shard: ShardId,
    /// Whose users we serve.
    pub domains: Vec<String>,
    /// Our name in Contact, Warning and MSRP URIs; `None`: the listening address.
    pub host: Option<String>,
    /// Where MSRP peers reach us: `c=`, `m=` and path say it, with `host` in the place of the address where there is one.
    pub msrp_addr: SocketAddr,
    /// The addresses that SIP peers reach us by, for Contact: UDP and TCP.
    pub sip_udp: Option<SocketAddr>,
    /// TCP.
    pub sip_tcp: Option<SocketAddr>,
    /// T1, for 2xx retransmission (RFC 3261 §13.3.1.4).
    pub t1: Duration,
    /// Session-Expires that we ask for; Min-SE is 90 s.
    pub session_expires: Duration,
    /// A device that rings longer counts as not answering.
    pub no_answer: Duration,
    /// Whether our offers carry `a=msrp-cema`.
    pub cema: bool,
    /// Match by session-id where a peer's addresses differ without CEMA.
    pub legacy_session_match: bool,
    /// `a=max-size` of ours.
    pub max_message_bytes: u64,
    /// Contacts without any CPM feature tag are suitable.
    pub contact_without_tags_suitable: bool,
    /// Whether a device may send the call to anybody, not only to where it could have registered (settled.md 34).
    pub follow_any: bool,
    /// Networks that we believe, and no others; loopback only where it is one of them (settled.md 2): (address, prefix length).
    pub trusted_peers: Vec<(std::net::IpAddr, u8)>,
    /// Sessions of this shard; over it 503 with Retry-After.
    pub sessions_max: usize,
    /// Devices of one session.
    pub devices_max: usize,
    /// Legs of one session, the originator's among them; a place is used once. A device beyond is not invited.
    pub legs_max: usize,
    /// Dialogs of this shard, early ones too; over it a new session gets 503 with Retry-After, a device that answers a BYE.
    pub dialogs_max: usize,
    /// Bytes that sessions hold: INVITEs, descriptions, dialogs. Over it, and for one user over a quarter of what is free (a source of
    /// strangers: half), a new session gets 503 with Retry-After; an eighth is for what those that stand still need.
    pub bytes_max: usize,
    /// User-Agent and Server: `CPM-serv/OMA2.2 ...` (cpm-notes.md §7).
    pub product: String,
}

/// What the Participating Function asks of the shard; applied in order.
#[derive(Debug)]
pub enum Effect {
    /// Answer a request.
    Respond {
        /// Which.
        txn: ServerTxnId,
        /// With what.
        reply: Reply,
    },
    /// Send a request in a new client transaction.
    Request(Draft),
    /// CANCEL the INVITE `of`, once a provisional response has come (settled.md 5); `headers`: Reason, each with CRLF.
    Cancel {
        /// The INVITE.
        of: TxnRef,
        /// Further headers of the CANCEL.
        headers: Vec<u8>,
    },
    /// Send without a transaction: an ACK of a 2xx, or the repeated 2xx itself.
    Send {
        /// Where to.
        target: Target,
        /// Complete but for Via where it is a request (the endpoint adds one); a response is complete.
        message: Vec<u8>,
    },
    /// Rule the data plane.
    Media(msrp::Command),
    /// A decision, for the log.
    Note(Note),
    /// The session is over. Everything of it is released; that its media are closed is the next effect, so that what they
    /// have counted can still be read.
    Ended {
        /// Which.
        session: SessionId,
        /// What it was in the end.
        view: Box<SessionView>,
    },
}

/// A session as an operator sees it.
#[derive(Clone, Debug)]
pub struct SessionView {
    /// Its name.
    pub session: SessionId,
    /// The served user.
    pub user: String,
    /// Who invited.
    pub originator: String,
    /// `inviting`, `established`, `settled`, `ending`.
    pub state: &'static str,
    /// Why it ends; empty while it does not.
    pub why: String,
    /// When its INVITE came.
    pub began: Instant,
    /// Its legs.
    pub legs: Vec<LegView>,
}

/// A leg as an operator sees it.
#[derive(Clone, Debug)]
pub struct LegView {
    /// Its place.
    pub leg: LegId,
    /// The Contact that it was sent to, or that came.
    pub contact: String,
    /// `inviting`, `ringing`, `accepted`, `active`, `cancelling`, `ending`, `ended`.
    pub state: &'static str,
    /// Why it is in that state: `"Call completed elsewhere"`, `"486 Busy Here"`, ...
    pub why: String,
    /// What carries its SIP: `udp`, `tcp`.
    pub transport: &'static str,
    /// How its MSRP connection is matched with it: `path`, `session-id: CEMA`, `session-id: legacy`; empty before it is known.
    pub matched: &'static str,
}

/// What the Participating Function has done (counts) and what is there now (gauges, which return to 0).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Gauge: sessions.
    pub sessions: usize,
    /// Gauge: legs that are not over, originators' included.
    pub legs: usize,
    /// Gauge: dialogs, early ones too.
    pub dialogs: usize,
    /// Gauge: requests that are passed on and wait for their answer.
    pub relays: usize,
    /// Initial INVITEs that came.
    pub invites: u64,
    /// Of them, refused before any device was asked.
    pub rejected: u64,
    /// Of those, because there were too many sessions.
    pub refused_full: u64,
    /// Invitations and answers refused because there were too many dialogs.
    pub refused_dialogs: u64,
    /// Invitations and answers refused because sessions held too many bytes.
    pub refused_bytes: u64,
    /// Gauge: bytes that sessions hold.
    pub bytes: usize,
    /// Devices that were not invited because the session had too many.
    pub not_invited: u64,
    /// Of them, become sessions.
    pub sessions_begun: u64,
    /// Sessions that one device at least has taken.
    pub established: u64,
    /// Sessions that no device has taken.
    pub failed: u64,
    /// Sessions that their originator took back before that.
    pub cancelled: u64,
    /// Sessions that settled on one device.
    pub settled: u64,
    /// INVITEs to devices.
    pub forked: u64,
    /// Of them, accepted.
    pub accepted: u64,
    /// Of them, refused, or never answered.
    pub refused: u64,
    /// Of them, given up because they rang too long.
    pub no_answer: u64,
    /// Device legs that ended because the user was active on another device.
    pub elsewhere: u64,
    /// Device legs that ended because the device is not registered any more.
    pub unregistered: u64,
    /// Legs whose media failed.
    pub media_lost: u64,
    /// Messages that no device took.
    pub undelivered: u64,
    /// 2xx that nobody waited for: acknowledged and ended.
    pub strays: u64,
    /// Sessions that would be deferred, were there a store.
    pub would_defer: u64,
    /// Sessions that would go to another service, were one configured.
    pub would_interwork: u64,
}
