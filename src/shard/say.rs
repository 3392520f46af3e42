//! What a shard says in its log: a line a session at its end, and at `debug` a line a decision.
//!
//! The law: everything that is said here, peers can cause, so it goes through [`Lines`](super::lines::Lines); nothing is
//! written, read or allocated for a line that the level leaves out. Sessions are called as `ringfork sessions` calls them.
//! Of people and devices only what [`Redacted`] leaves is said; whoever may see more asks the admin interface.

use std::{fmt, net::SocketAddr};

use tracing::{Level, enabled};

use super::{
    conns::Role,
    edge::{ConnectError, End},
    lines::{Count, Kind},
    report::{SessionView, session_name},
    world::Shard,
};
use crate::{
    ids::{ConnId, LegId, SessionId, ShardId},
    msrp,
    redact::Redacted,
    session::{Decision, Note},
    sip::{self, Draft, Flow, RegistrarEvent, Target, TxnRef, token},
    time::Instant,
    wire::sip::{Message, Name, Start},
};

/// The name of a session, written when it is said; `-` where there is none.
struct Session(ShardId, Option<SessionId>);

impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Some(session) => f.write_str(&session_name(self.0, session)),
            None => f.write_str("-"),
        }
    }
}

/// Text of a peer: printable, and not longer than a line bears.
struct Theirs<'a>(&'a [u8]);

/// Octets of a peer's text that are said.
const THEIRS_MAX: usize = 100;

impl fmt::Display for Theirs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = self.0.get(..THEIRS_MAX).unwrap_or(self.0);
        write!(f, "{}", said.escape_ascii())?;
        f.write_str(if said.len() < self.0.len() { "..." } else { "" })
    }
}

/// An address of a peer's message.
fn person(uri: &[u8]) -> String {
    Redacted(&String::from_utf8_lossy(uri)).to_string()
}

/// The headers `Reason` of a message or of some lines, as they came.
fn reason(message: &Message<'_>) -> Vec<u8> {
    message.header(Name::Reason).unwrap_or_default().to_vec()
}

fn reason_line(headers: &[u8]) -> &[u8] {
    let mut lines = headers.split(|b| *b == b'\n');
    let line = lines.find_map(|l| l.strip_prefix(b"Reason: "));
    line.map_or(&[], <[u8]>::trim_ascii)
}

const fn peer_of(flow: Flow) -> SocketAddr {
    match flow {
        Flow::Udp { peer, .. } | Flow::Stream { peer, .. } => peer,
    }
}

const fn carrier(flow: Flow) -> &'static str {
    match flow {
        Flow::Udp { .. } => "udp",
        Flow::Stream { .. } => "tcp",
    }
}

impl Shard {
    /// Whether a line at `debug` may be said.
    fn details(&mut self, now: Instant, kind: Kind, about: Option<SessionId>) -> bool {
        enabled!(Level::DEBUG) && self.lines.admit(now, kind, about)
    }

    /// Says how many lines were not said.
    pub(super) fn say_counts(&mut self, now: Instant) {
        while let Some(count) = self.lines.poll(now) {
            match count {
                Count::More { kind, about, lines } => {
                    let session = Session(self.id, about);
                    tracing::info!(shard = self.id.0, %session, kind = kind.name(), lines, "more of the same within a second");
                }
                Count::LeftOut { kinds, lines } => {
                    tracing::info!(
                        shard = self.id.0,
                        kinds,
                        lines,
                        "lines left out, for there were too many"
                    );
                }
            }
        }
    }

    /// A session is over.
    pub(super) fn say_ended(&mut self, now: Instant, view: &SessionView) {
        if !enabled!(Level::INFO) || !self.lines.admit(now, Kind::Ended, None) {
            return;
        }
        let messages = view.legs.first().map(|l| l.messages).unwrap_or_default();
        tracing::info!(
            session = view.id,
            user = %Redacted(&view.user),
            from = %Redacted(&view.originator),
            seconds = view.age_s,
            devices = view.legs.len().saturating_sub(1),
            messages_from_originator = messages.received,
            messages_to_originator = messages.sent,
            why = view.why,
            "session ended"
        );
    }

    /// A decision of the session room.
    pub(super) fn say_note(&mut self, now: Instant, note: &Note) {
        let kind = match &note.what {
            Decision::Begun { .. } | Decision::Leg { .. } => Kind::Leg,
            Decision::Unfit { .. } => Kind::Fork,
        };
        if !self.details(now, kind, note.session) {
            return;
        }
        let session = Session(self.id, note.session);
        match &note.what {
            Decision::Begun { devices } => {
                tracing::debug!(%session, devices, "session begun: these devices are invited");
            }
            Decision::Unfit { contact, why } => {
                let contact = person(contact);
                tracing::debug!(%session, contact, why = why.text(), "contact not invited");
            }
            Decision::Leg { leg, why } => {
                tracing::debug!(%session, leg = leg.0, %why, "leg");
            }
        }
    }

    /// What SIP has brought.
    pub(super) fn say_event(&mut self, now: Instant, event: &sip::Event) {
        if !enabled!(Level::DEBUG) {
            return;
        }
        match event {
            sip::Event::Request { flow, message, .. } => {
                self.say_message(now, Some(*flow), message, "request");
            }
            sip::Event::Cancelled { message, .. } => {
                self.say_message(now, None, message, "request");
            }
            // What an ACK acknowledges has been said.
            sip::Event::Ack { .. } | sip::Event::ServerFailed { .. } => {}
            sip::Event::Response {
                of, flow, message, ..
            } => self.say_response(now, *of, *flow, message),
            sip::Event::TimedOut { of } => self.say_failed(now, *of, "no final response in time"),
            sip::Event::Unreachable { of } => self.say_failed(now, *of, "it could not be sent"),
        }
    }

    fn say_message(&mut self, now: Instant, flow: Option<Flow>, bytes: &[u8], what: &str) {
        let Ok(message) = Message::parse(bytes) else {
            return;
        };
        let Start::Request { method, .. } = message.start() else {
            return;
        };
        let owned = message.to().ok().and_then(|to| token::read(to.tag()?));
        let about = owned.map(|o| o.session);
        if !self.details(now, Kind::Signalling, about) {
            return;
        }
        let uri = |address: Result<crate::wire::sip::NameAddr<'_>, _>| {
            address.map(|a| person(a.uri)).unwrap_or_default()
        };
        let reason = reason(&message);
        tracing::debug!(
            session = %Session(self.id, about),
            leg = owned.map(|o| o.leg.0),
            method = %Theirs(method.as_bytes()),
            from = uri(message.from()),
            to = uri(message.to()),
            peer = flow.map(|f| tracing::field::display(peer_of(f))),
            transport = flow.map(carrier),
            call_id = %Theirs(message.header(Name::CallId).unwrap_or_default()),
            reason = %Theirs(&reason),
            "{what} received"
        );
    }

    fn say_response(&mut self, now: Instant, of: TxnRef, flow: Flow, bytes: &[u8]) {
        let Ok(message) = Message::parse(bytes) else {
            return;
        };
        let Start::Response { code, .. } = message.start() else {
            return;
        };
        if !self.details(now, Kind::Signalling, Some(of.session)) {
            return;
        }
        let cseq = message.cseq();
        let method = cseq
            .as_ref()
            .map(|c| c.method.as_bytes())
            .unwrap_or_default();
        tracing::debug!(
            session = %Session(self.id, Some(of.session)),
            leg = of.leg.0,
            method = %Theirs(method),
            code,
            peer = %peer_of(flow),
            warning = %Theirs(message.header(Name::Warning).unwrap_or_default()),
            "response received"
        );
    }

    fn say_failed(&mut self, now: Instant, of: TxnRef, why: &str) {
        if self.details(now, Kind::Signalling, Some(of.session)) {
            let session = Session(self.id, Some(of.session));
            tracing::debug!(%session, leg = of.leg.0, why, "request failed");
        }
    }

    /// A final answer of ours, and why.
    pub(super) fn say_answer(&mut self, now: Instant, note: &sip::Note) {
        let about = note.about.map(|(session, _)| session);
        if !self.details(now, Kind::Answer, about) {
            return;
        }
        tracing::debug!(
            session = %Session(self.id, about),
            leg = note.about.map(|(_, leg)| leg.0),
            method = note.method,
            code = note.code,
            peer = %note.peer,
            why = note.why,
            "answered"
        );
    }

    /// A request of ours goes out.
    pub(super) fn say_request(&mut self, now: Instant, draft: &Draft) {
        if !self.details(now, Kind::Signalling, Some(draft.of.session)) {
            return;
        }
        let message = &draft.message;
        let method = message.split(|b| *b == b' ').next().unwrap_or_default();
        tracing::debug!(
            session = %Session(self.id, Some(draft.of.session)),
            leg = draft.of.leg.0,
            method = %Theirs(method),
            to = %Way(draft.target),
            reason = %Theirs(reason_line(message)),
            "request sent"
        );
    }

    /// An INVITE of ours is taken back.
    pub(super) fn say_cancel(&mut self, now: Instant, of: TxnRef, headers: &[u8]) {
        if !self.details(now, Kind::Signalling, Some(of.session)) {
            return;
        }
        tracing::debug!(
            session = %Session(self.id, Some(of.session)),
            leg = of.leg.0,
            method = "CANCEL",
            reason = %Theirs(reason_line(headers)),
            "request sent, once a provisional response has come"
        );
    }

    /// A device has come or gone.
    pub(super) fn say_registration(&mut self, now: Instant, event: &RegistrarEvent) {
        if !self.details(now, Kind::Registration, None) {
            return;
        }
        let (aor, contact, what) = match event {
            RegistrarEvent::Bound { aor, contact, .. } => (aor, contact, "device registered"),
            RegistrarEvent::Gone { aor, contact, .. } => {
                (aor, contact, "device not registered any more")
            }
        };
        tracing::debug!(
            shard = self.id.0,
            user = person(aor),
            contact = person(contact),
            "{what}"
        );
    }

    /// What the data plane has told.
    pub(super) fn say_media(&mut self, now: Instant, event: &msrp::Event) {
        if let msrp::Event::Undelivered {
            session,
            message_id,
            ..
        } = event
        {
            if enabled!(Level::INFO) && self.lines.admit(now, Kind::Undelivered, Some(*session)) {
                let session = Session(self.id, Some(*session));
                tracing::info!(%session, id = %Theirs(message_id), "no device took this message");
            }
            return;
        }
        let (msrp::Event::Bound { session, leg }
        | msrp::Event::Activity { session, leg, .. }
        | msrp::Event::Failed { session, leg, .. }) = event
        else {
            return;
        };
        if !self.details(now, Kind::Media, Some(*session)) {
            return;
        }
        let session = Session(self.id, Some(*session));
        let leg = leg.0;
        match event {
            msrp::Event::Bound { .. } => tracing::debug!(%session, leg, "MSRP connection bound"),
            msrp::Event::Activity { settled, .. } => {
                tracing::debug!(%session, leg, settled, "activity: this device stays, the others are torn down");
            }
            msrp::Event::Failed { why, .. } => {
                tracing::debug!(%session, leg, why = why.text(), "media failed");
            }
            msrp::Event::Undelivered { .. } => {}
        }
    }

    /// We connect for a leg.
    pub(super) fn say_connect(
        &mut self,
        now: Instant,
        session: SessionId,
        leg: LegId,
        to: SocketAddr,
    ) {
        if self.details(now, Kind::Connection, Some(session)) {
            let session = Session(self.id, Some(session));
            tracing::debug!(%session, leg = leg.0, protocol = "msrp", %to, "connecting");
        }
    }

    /// A connection that we open is up, or is not.
    pub(super) fn say_connected(
        &mut self,
        now: Instant,
        conn: ConnId,
        outcome: &Result<SocketAddr, ConnectError>,
    ) {
        let outcome_name = outcome.map_or_else(ConnectError::name, |_| "up");
        if let Some((protocol, _)) = self.protocol_of(conn) {
            self.tally.connected(protocol, outcome_name);
        }
        if !self.details(now, Kind::Connection, None) {
            return;
        }
        let Some((protocol, peer)) = self.protocol_of(conn) else {
            return;
        };
        match outcome {
            Ok(_) => tracing::debug!(shard = self.id.0, protocol, %peer, "connected"),
            Err(why) => {
                tracing::debug!(shard = self.id.0, protocol, %peer, why = why.name(), "connect failed");
            }
        }
    }

    /// A connection came in.
    pub(super) fn say_accepted(&mut self, now: Instant, peer: SocketAddr, conn: Option<ConnId>) {
        if !self.details(now, Kind::Connection, None) {
            return;
        }
        match conn.and_then(|c| self.protocol_of(c)) {
            Some((protocol, peer)) => {
                tracing::debug!(shard = self.id.0, protocol, %peer, "connection accepted");
            }
            None => {
                tracing::debug!(shard = self.id.0, %peer, "connection refused: too many, in all or of its source");
            }
        }
    }

    /// A connection is over.
    pub(super) fn say_closed(&mut self, now: Instant, conn: ConnId, how: End) {
        if !self.details(now, Kind::Connection, None) {
            return;
        }
        if let Some((protocol, peer)) = self.protocol_of(conn) {
            tracing::debug!(shard = self.id.0, protocol, %peer, how = how.name(), "connection over");
        }
    }

    fn protocol_of(&self, conn: ConnId) -> Option<(&'static str, SocketAddr)> {
        let conn = self.conns.get(conn)?;
        let protocol = match conn.role {
            Role::Sip(_) => "sip",
            Role::Msrp | Role::Far { .. } => "msrp",
        };
        Some((protocol, conn.peer))
    }

    /// A letter found no place.
    pub(super) fn say_mail(&mut self, to: ShardId, what: &str) {
        let now = self.clock;
        if enabled!(Level::WARN) && self.lines.admit(now, Kind::Mail, None) {
            tracing::warn!(shard = self.id.0, to = to.0, "{what}");
        }
    }
}

/// Where a request goes, for people.
struct Way(Target);

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Target::Flow(flow) => write!(f, "{} {} (as it came)", carrier(flow), peer_of(flow)),
            Target::Reuse { flow, or } => {
                let to = Self(or.into());
                write!(
                    f,
                    "{} {} (as it came), or {to}",
                    carrier(flow),
                    peer_of(flow)
                )
            }
            Target::Udp(to) => write!(f, "udp {to}"),
            Target::Tcp(to) => write!(f, "tcp {to}"),
        }
    }
}
