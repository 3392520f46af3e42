//! Reading a connection: heads, to whom they are, and what each method comes to.

use super::{
    Event, Output,
    core::{Core, Deferred},
    leg::{REMEMBERED, State},
    link::{Frame, Link, Mode, Phase},
    message::Rest,
};
use crate::{
    buf::{Outbox, Slice},
    ids::{ConnId, LegId, SessionId, ShardId},
    time::Instant,
    wire::{
        msrp::{
            ByteRange, Error, FailureReport, HEAD_MAX, Head, Kind, Layout, Method, Parse, Reach,
            parse,
        },
        uri::msrp::single,
    },
};

/// Whom a To-Path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whom {
    Leg(SessionId, LegId),
    /// A session of another shard.
    Shard(ShardId),
    Nobody,
}

/// What the head of a SEND said, with what the rest of the reading needs of it.
#[derive(Debug)]
pub(super) struct Sending<'a> {
    pub(super) head: &'a Head<'a>,
    pub(super) rest: Rest,
}

impl Core {
    /// Reads the next bytes of a connection.
    pub(super) fn on_bytes(
        &mut self,
        now: Instant,
        conn: ConnId,
        link: &mut Link,
        bytes: &Slice,
        outbox: &mut Outbox,
    ) {
        let mut at = 0;
        while at < bytes.len() && link.phase == Phase::Open {
            at = if link.in_body {
                self.on_body(now, conn, link, bytes, at, outbox)
            } else {
                self.on_head(now, conn, link, bytes, at, outbox)
            };
        }
    }

    /// Reads a head that begins, or goes on, at `at`. Returns where reading goes on.
    fn on_head(
        &mut self,
        now: Instant,
        conn: ConnId,
        link: &mut Link,
        bytes: &Slice,
        at: usize,
        outbox: &mut Outbox,
    ) -> usize {
        if link.head.is_empty() {
            let window = &bytes[at..];
            let oks = self.plain_oks(now, conn, link, window, outbox);
            if oks > 0 {
                return at + oks;
            }
            if let Some(like) = link.layout.as_ref().and_then(|l| l.read(window)) {
                if let Some(next) = self.plain(now, conn, link, &like, bytes, at, outbox) {
                    return next;
                }
                // The head borrows from what came, not from the layout.
                if let Some(head) = link.layout.as_ref().map(|l| l.head(&like)) {
                    let head = (&head, like.len());
                    return self.on_whole_head(now, conn, link, head, bytes, at, outbox);
                }
            }
            return match parse(window, 0) {
                Ok(Parse::Complete { head, len }) => {
                    if let Some(layout) = Layout::learn(&head, &window[..len]) {
                        link.learn(layout);
                    }
                    self.on_whole_head(now, conn, link, (&head, len), bytes, at, outbox)
                }
                Ok(Parse::Partial { scanned }) => {
                    link.head.extend_from_slice(window);
                    link.scanned = searched(scanned);
                    link.head_at = now;
                    self.deferred.push_back(Deferred::WatchHead { conn });
                    bytes.len()
                }
                Err(error) => {
                    let len = error.len as usize;
                    self.on_error(now, conn, link, &error, window, outbox);
                    at + len.max(1)
                }
            };
        }
        // The head lies in several pieces: it alone is copied together.
        let mut gathered = std::mem::take(&mut link.head);
        let before = gathered.len();
        let take = (bytes.len() - at).min((HEAD_MAX + 1).saturating_sub(before));
        gathered.extend_from_slice(&bytes[at..at + take]);
        let next = match parse(&gathered, link.scanned.into()) {
            Ok(Parse::Complete { head, len }) => {
                let rest = Rest {
                    bytes: Slice::copied(&gathered[head.rest.clone()]),
                    range: range_in_rest(&head),
                };
                let after = at + (len - before);
                self.on_message(now, conn, link, &head, rest, &gathered[..len], outbox);
                let after = self.handed_over(link, &bytes[after..], bytes.len(), after);
                gathered.clear();
                link.scanned = 0;
                after
            }
            Ok(Parse::Partial { scanned }) => {
                link.scanned = searched(scanned);
                at + take
            }
            Err(error) => {
                self.on_error(now, conn, link, &error, &gathered, outbox);
                let after = at + (error.len as usize).saturating_sub(before).max(1);
                gathered.clear();
                link.scanned = 0;
                after
            }
        };
        link.head = gathered;
        next
    }

    /// A head that lies whole in what came, at `at`.
    #[expect(clippy::too_many_arguments, reason = "a head and where it lies")]
    fn on_whole_head(
        &mut self,
        now: Instant,
        conn: ConnId,
        link: &mut Link,
        (head, len): (&Head<'_>, usize),
        bytes: &Slice,
        at: usize,
        outbox: &mut Outbox,
    ) -> usize {
        let rest = Rest {
            bytes: bytes.part(at + head.rest.start, at + head.rest.end),
            range: range_in_rest(head),
        };
        let raw = &bytes[at..at + len];
        self.on_message(now, conn, link, head, rest, raw, outbox);
        self.handed_over(link, &bytes[at + len..], bytes.len(), at + len)
    }

    /// After a hand-over the bytes that follow the head go with the connection.
    fn handed_over(&mut self, link: &Link, follow: &[u8], all: usize, next: usize) -> usize {
        if link.phase == Phase::HandedOver
            && let Some(Output::HandOver { bytes, .. }) = self.outputs.back_mut()
        {
            bytes.extend_from_slice(follow);
            return all;
        }
        next
    }

    /// A head that breaks a rule: answered where that is possible; where the stream can no longer be framed, the connection
    /// is closed. [MSRP-FRAME-09]
    pub(super) fn on_error(
        &mut self,
        now: Instant,
        conn: ConnId,
        link: &mut Link,
        error: &Error,
        bytes: &[u8],
        outbox: &mut Outbox,
    ) {
        let tid = error.tid.map(|s| s.of(bytes)).unwrap_or_default();
        let from = error.from_path.map(|s| s.of(bytes)).unwrap_or_default();
        let to = error.to_path.map(|s| s.of(bytes)).unwrap_or_default();
        if let Some(code) = error.status
            && !to.is_empty()
        {
            let hop = from.split(|&b| b == b' ').next().unwrap_or_default();
            self.respond(now, conn, tid, code, hop, to, outbox);
        }
        match error.reach {
            Reach::Connection => {
                self.counters.malformed += 1;
                link.phase = Phase::Closing;
                self.deferred.push_back(Deferred::Malformed { conn });
            }
            Reach::Chunk if error.end_flag.is_none() => {
                let frame = self.frame(link);
                frame.begin(tid, &[], Mode::Discard);
                frame.refused_at = Some(now);
                self.deferred.push_back(Deferred::WatchRefused { conn });
                link.in_body = true;
            }
            Reach::Chunk => {}
        }
    }

    /// A whole head; `raw` is all of its bytes.
    #[expect(clippy::too_many_arguments, reason = "a head and where it came from")]
    fn on_message(
        &mut self,
        now: Instant,
        conn: ConnId,
        link: &mut Link,
        head: &Head<'_>,
        rest: Rest,
        raw: &[u8],
        outbox: &mut Outbox,
    ) {
        let has_body = head.end_flag.is_none();
        link.in_body = has_body;
        let whom = self.whom(link, head.to_path);
        if let Whom::Shard(to) = whom {
            self.on_foreign(conn, link, head, to, raw);
            return;
        }
        if has_body {
            let frame = self.frame(link);
            frame.begin(head.tid, head.previous_hop(), Mode::Discard);
            frame.failure_report = head.failure_report;
        }
        let method = match head.kind {
            Kind::Response { code, .. } => {
                self.on_response(now, conn, head.tid, code, outbox);
                return;
            }
            Kind::Request { method } => method,
        };
        match (method, whom) {
            (Method::Send, Whom::Leg(session, leg)) => {
                if let Err(code) = self.check_binding(conn, link, session, leg) {
                    if head.failure_report != FailureReport::No {
                        let hop = head.previous_hop();
                        self.respond(now, conn, head.tid, code, hop, head.to_path, outbox);
                    }
                    return;
                }
                self.on_send(
                    now,
                    conn,
                    link,
                    (session, leg),
                    &Sending { head, rest },
                    outbox,
                );
            }
            (Method::Send, Whom::Nobody | Whom::Shard(_)) => {
                // RFC 4975 §7.3. [MSRP-URI-03]
                if head.failure_report != FailureReport::No {
                    let hop = head.previous_hop();
                    self.respond(now, conn, head.tid, 481, hop, head.to_path, outbox);
                }
            }
            (Method::Report, Whom::Leg(session, leg)) => {
                if self.leg(session, leg).is_some_and(|l| l.conn == Some(conn)) {
                    self.on_report(now, session, leg, head, outbox);
                }
            }
            // Ignored without an answer. [MSRP-RPT-02] [MSRP-RPT-06]
            (Method::Report, Whom::Nobody | Whom::Shard(_)) => self.counters.reports_in += 1,
            // We are no relay and no chat room. [MSRP-FRAME-10]
            (Method::Auth | Method::Nickname | Method::Other(_), _) => {
                if head.failure_report != FailureReport::No {
                    self.respond(
                        now,
                        conn,
                        head.tid,
                        501,
                        head.from_path,
                        head.to_path,
                        outbox,
                    );
                }
            }
        }
    }

    /// A message of another shard's session: before anything of ours came, the whole connection goes there; afterwards its
    /// messages alone.
    fn on_foreign(
        &mut self,
        conn: ConnId,
        link: &mut Link,
        head: &Head<'_>,
        to: ShardId,
        raw: &[u8],
    ) {
        if !link.settled && link.bound.is_empty() {
            link.phase = Phase::HandedOver;
            link.in_body = false;
            self.outputs.push_back(Output::HandOver {
                conn,
                to,
                bytes: raw.to_vec(),
            });
            return;
        }
        link.lent = true;
        self.outputs.push_back(Output::Foreign {
            conn,
            to,
            bytes: raw.to_vec(),
        });
        if head.end_flag.is_none() {
            self.frame(link).begin(head.tid, &[], Mode::Foreign(to));
        }
    }

    /// The leg whose SENDs a head is one of: named, bound to this connection, and with that peer.
    pub(super) fn sender_of(
        &self,
        conn: ConnId,
        link: &mut Link,
        head: &Head<'_>,
    ) -> Option<(SessionId, LegId)> {
        let Whom::Leg(session, leg) = self.whom(link, head.to_path) else {
            return None;
        };
        let l = self.leg(session, leg)?;
        (l.conn == Some(conn) && l.is_peer(head.from_path)).then_some((session, leg))
    }

    /// Whom a To-Path names. The last one of a connection is compared byte for byte; any other is parsed, and found by what
    /// its session-id says.
    fn whom(&self, link: &mut Link, to_path: &[u8]) -> Whom {
        if let Some((session, leg)) = link.memo_leg {
            let same = if link.memo.is_empty() {
                self.leg(session, leg)
                    .is_some_and(|l| *l.own_uri == *to_path)
            } else {
                link.memo == to_path
            };
            if same {
                return self.named(session, leg);
            }
        }
        let Some(uri) = single(to_path) else {
            return Whom::Nobody;
        };
        let Some(named) = uri.session_id.and_then(super::read_session_id) else {
            return Whom::Nobody;
        };
        if named.shard != self.settings.shard {
            return if named.shard.0 < self.settings.shards {
                Whom::Shard(named.shard)
            } else {
                Whom::Nobody
            };
        }
        let Some(l) = self
            .leg(named.session, named.leg)
            .filter(|l| l.is_named_by(&uri))
        else {
            return Whom::Nobody;
        };
        link.memo.clear();
        if *l.own_uri != *to_path {
            if to_path.len() > REMEMBERED {
                link.memo_leg = None;
                return self.named(named.session, named.leg);
            }
            link.memo.extend_from_slice(to_path);
        }
        link.memo_leg = Some((named.session, named.leg));
        self.named(named.session, named.leg)
    }

    fn named(&self, session: SessionId, leg: LegId) -> Whom {
        match self.leg(session, leg).map(|l| l.state) {
            Some(State::Offered | State::Started | State::Aborted) => Whom::Leg(session, leg),
            // A failed session is brought back by signalling alone (RFC 4975 §5.4).
            Some(State::Failed | State::Ended) | None => Whom::Nobody,
        }
    }

    /// Whether a request may come on this connection; the first of a leg binds it (RFC 4975 §5.4). [MSRP-URI-04]
    fn check_binding(
        &mut self,
        conn: ConnId,
        link: &mut Link,
        session: SessionId,
        leg: LegId,
    ) -> Result<(), u16> {
        let Some(l) = self.leg_mut(session, leg) else {
            return Err(481);
        };
        match l.conn {
            Some(bound) if bound == conn => Ok(()),
            Some(_) => Err(506),
            None if l.state == State::Aborted => Err(481),
            None => {
                link.bind(session, leg);
                self.bound(session, leg, conn);
                Ok(())
            }
        }
    }

    /// A leg's connection is up and known to be its.
    pub(super) fn bound(&mut self, session: SessionId, leg: LegId, conn: ConnId) {
        if let Some(l) = self.leg_mut(session, leg) {
            l.conn = Some(conn);
            l.stop_connecting();
            if let Some(trouble) = &mut l.trouble {
                (trouble.drained_at, trouble.drained) = (0, None);
            }
            self.events.push_back(Event::Bound { session, leg });
            self.deferred.push_back(Deferred::Flush { session, leg });
        }
    }
}

/// How far a head was searched; what does not fit is searched again.
fn searched(bytes: usize) -> u16 {
    u16::try_from(bytes).unwrap_or_default()
}

/// Where Byte-Range stands in what follows From-Path, its whole line.
pub(super) fn range_in_rest(head: &Head<'_>) -> Option<(usize, usize)> {
    head.range_at
        .map(|at| (at.line - head.rest.start, at.end + 2 - head.rest.start))
}

/// What a chunk without Byte-Range means.
pub(super) fn declared_or_whole(range: Option<ByteRange>) -> ByteRange {
    range.unwrap_or(ByteRange::WHOLE)
}

impl Core {
    /// The frame that is being read, or begins to be.
    pub(super) fn frame<'a>(&mut self, link: &'a mut Link) -> &'a mut Frame {
        link.frame.get_or_insert_with(|| self.frames.take())
    }

    /// No frame is being read any more.
    pub(super) fn end_frame_of(&mut self, link: &mut Link) {
        if let Some(frame) = link.frame.take() {
            self.frames.put_by(frame);
        }
    }
}
