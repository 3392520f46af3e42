//! Responses and REPORTs: what peers say about what we sent them, and what we say about what they sent us.

use super::{
    Failure, account::wants, code_place, core::Core, message::Progress, set::LegSet, slab::Handle,
};
use crate::{
    buf::Outbox,
    ids::{ConnId, LegId, SessionId},
    time::Instant,
    wire::msrp::{ByteRange, Head, Status, write},
};

impl Core {
    /// A response came. One that answers nothing of ours on this connection is ignored.
    pub(super) fn on_response(
        &mut self,
        now: Instant,
        conn: ConnId,
        tid: &[u8],
        code: u16,
        outbox: &mut Outbox,
    ) {
        self.counters.responses_in[code_place(code)] += 1;
        let Some(handle) = self.find_sent(tid) else {
            return;
        };
        let Some(sent) = self.sent.get(handle) else {
            return;
        };
        if sent.conn != conn {
            return;
        }
        let (session, leg) = (sent.session, sent.leg);
        let (message, share) = (sent.message, usize::from(sent.share));
        let success = (200..300).contains(&code);
        if success && sent.open {
            // Nobody can have taken what has not ended.
            return;
        }
        if !sent.open {
            self.drop_sent(handle);
        }
        if success {
            if let Some(message) = message {
                self.acknowledged(now, message, share, outbox);
            }
            self.ease_stalled(now, session, leg, outbox);
            return;
        }
        if let Some(message) = message {
            self.refused(now, (session, leg), message, share, code, outbox);
        } else {
            self.leg_refused(now, session, leg, code, outbox);
        }
        self.ease_stalled(now, session, leg, outbox);
    }

    /// A SEND of a leg was answered: if the leg was stalled, it may go on.
    pub(super) fn ease_stalled(
        &mut self,
        now: Instant,
        session: SessionId,
        leg: LegId,
        outbox: &mut Outbox,
    ) {
        if self
            .leg(session, leg)
            .is_some_and(|l| l.stalled_since().is_some())
        {
            self.ease(now, session, leg, outbox);
        }
    }

    /// A leg has answered an error to a SEND of a message, or reported it.
    fn refused(
        &mut self,
        now: Instant,
        (session, leg): (SessionId, LegId),
        message: Handle,
        share: usize,
        code: u16,
        outbox: &mut Outbox,
    ) {
        if code == 415 {
            // RFC 4975 §10.6: no more of this type in this session. [MSRP-RSP-06]
            let Self {
                sessions, messages, ..
            } = self;
            if let Some(m) = messages.get(message)
                && let Some(l) = sessions.get_mut(session).and_then(|s| s.leg_mut(leg))
            {
                l.refuse_type(&m.types().key);
            }
        }
        if self.leg_refused(now, session, leg, code, outbox) {
            return;
        }
        self.fail_share(now, message, share, code, outbox);
        self.settle(now, message, outbox);
    }

    /// What an error means for the leg as a whole. Whether it has failed by it.
    fn leg_refused(
        &mut self,
        now: Instant,
        session: SessionId,
        leg: LegId,
        code: u16,
        outbox: &mut Outbox,
    ) -> bool {
        let why = match code {
            // RFC 4975 §10.4: as if the response had not come in time. [MSRP-RSP-07]
            408 => Failure::Timeout,
            481 => Failure::SessionUnknown,
            506 => Failure::BoundElsewhere,
            _ => return false,
        };
        self.fail_leg(now, session, leg, why, outbox);
        true
    }

    /// A REPORT came on a leg. It is never answered [MSRP-RPT-02]; one for a message that nobody knows is ignored
    /// [MSRP-RPT-06].
    pub(super) fn on_report(
        &mut self,
        now: Instant,
        session: SessionId,
        leg: LegId,
        head: &Head<'_>,
        outbox: &mut Outbox,
    ) {
        self.counters.reports_in += 1;
        let (Some(id), Some(status)) = (head.message_id, head.status) else {
            return;
        };
        if let Some(message) = self.find_reported(session, leg, id) {
            self.report_on_live(now, message, leg, status, head, outbox);
        } else {
            self.report_on_done(now, session, leg, id, status, head.byte_range, outbox);
        }
    }

    /// The message under way that a REPORT on `leg` is about: one that was sent to this leg.
    fn find_reported(&mut self, session: SessionId, leg: LegId, id: &[u8]) -> Option<Handle> {
        let mut found = None;
        self.each_message(session, |core, message| {
            if found.is_none()
                && let Some(m) = core.messages.get_mut(message)
                && m.id[..] == *id
                && m.share_of(leg).is_some()
            {
                found = Some(message);
            }
        });
        found
    }

    fn report_on_live(
        &mut self,
        now: Instant,
        message: Handle,
        leg: LegId,
        status: Status,
        head: &Head<'_>,
        outbox: &mut Outbox,
    ) {
        let Some(m) = self.messages.get_mut(message) else {
            return;
        };
        let (session, from) = (m.session, m.from);
        if status.namespace != 0 {
            let id = m.id.clone();
            self.pass_report(now, session, from, &id, status, head.byte_range, outbox);
            return;
        }
        if (200..300).contains(&status.code) {
            if !m.success_report {
                return;
            }
            let end = m.received.end();
            let (start, stop) = head
                .byte_range
                .map_or((1, end), |r| (r.start, r.end.map_or(end, |e| e + 1)));
            // Of several success REPORTs for a range the first passes. [MSRP-RPT-04]
            let Some((start, stop)) = m.reported.missing(start, stop.min(end)) else {
                return;
            };
            if m.reported.add(start, stop).is_err() {
                return;
            }
            let range = ByteRange {
                start,
                end: Some(stop - 1),
                total: m.total.or(head.byte_range.and_then(|r| r.total)),
            };
            let id = m.id.clone();
            self.pass_report(now, session, from, &id, status, Some(range), outbox);
            return;
        }
        let Some(share) = m.shares.iter().position(|s| s.leg == leg) else {
            return;
        };
        // A failure REPORT reads as a response with its code. [MSRP-RPT-07]
        if let Some(s) = m.shares.get_mut(share)
            && s.progress == Progress::Acked
        {
            s.progress = Progress::Sent;
            m.delivered = false;
        }
        self.refused(now, (session, leg), message, share, status.code, outbox);
    }

    #[expect(clippy::too_many_arguments, reason = "what a REPORT says")]
    fn report_on_done(
        &mut self,
        now: Instant,
        session: SessionId,
        leg: LegId,
        id: &[u8],
        status: Status,
        range: Option<ByteRange>,
        outbox: &mut Outbox,
    ) {
        let hash = self.id_hash(id);
        let Some(done) = self.sessions.get_mut(session).and_then(|s| {
            s.done.iter_mut().rev().find(|d| {
                d.id == hash && (d.from == LegId::ORIGINATOR) != (leg == LegId::ORIGINATOR)
            })
        }) else {
            return;
        };
        let from = done.from;
        if status.namespace != 0 {
            self.pass_report(now, session, from, id, status, range, outbox);
            return;
        }
        let whole = ByteRange {
            start: 1,
            end: Some(done.total),
            total: Some(done.total),
        };
        if (200..300).contains(&status.code) {
            if !done.success_report {
                return;
            }
            let asked = range.unwrap_or(whole);
            let end = asked.end.unwrap_or(done.total).min(done.total);
            let reported = done.reported.get_or_insert_default();
            let Some((start, stop)) = reported.missing(asked.start, end + 1) else {
                return;
            };
            if reported.add(start, stop).is_err() {
                return;
            }
            let range = ByteRange {
                start,
                end: Some(stop - 1),
                total: Some(done.total),
            };
            self.pass_report(now, session, from, id, status, Some(range), outbox);
            return;
        }
        // A late failure counts only if nobody else has the message.
        let had = done.acked != LegSet::default();
        done.acked.remove(leg);
        let lost = had && done.acked.is_empty();
        let told = wants(done.failure_report, status.code);
        if lost && told {
            self.pass_report(now, session, from, id, status, Some(whole), outbox);
        }
        self.leg_refused(now, session, leg, status.code, outbox);
    }

    /// Makes a REPORT in namespace 000 to a leg. [MSRP-RPT-01]
    #[expect(clippy::too_many_arguments, reason = "what a REPORT says")]
    pub(super) fn report(
        &mut self,
        now: Instant,
        session: SessionId,
        to: LegId,
        id: &[u8],
        range: Option<ByteRange>,
        code: u16,
        outbox: &mut Outbox,
    ) {
        let status = Status { namespace: 0, code };
        self.pass_report(now, session, to, id, status, range, outbox);
    }

    /// Puts a REPORT on a leg: new paths and transaction id, the same Message-ID and Status. [MSRP-RPT-08]
    #[expect(clippy::too_many_arguments, reason = "what a REPORT says")]
    fn pass_report(
        &mut self,
        now: Instant,
        session: SessionId,
        to: LegId,
        id: &[u8],
        status: Status,
        range: Option<ByteRange>,
        outbox: &mut Outbox,
    ) {
        let tid = self.tids.make_nameless();
        let mut bytes = std::mem::take(&mut self.scratch);
        bytes.clear();
        let conn = match self.leg(session, to) {
            Some(l) => match (&l.peer, l.conn) {
                (Some(_), Some(conn)) => {
                    write::request(&mut bytes, &tid, b"REPORT", l.way_back(), &l.own_uri);
                    Some(conn)
                }
                // RFC 4975 §7.1.2: no REPORT where it will not be delivered.
                _ => None,
            },
            None => None,
        };
        if let Some(conn) = conn {
            bytes.extend_from_slice(b"Message-ID: ");
            bytes.extend_from_slice(id);
            bytes.extend_from_slice(b"\r\n");
            if let Some(range) = range {
                write::range_line(&mut bytes, range);
            }
            bytes.extend_from_slice(b"Status: ");
            three_digits(&mut bytes, status.namespace);
            bytes.push(b' ');
            three_digits(&mut bytes, status.code);
            let reason = write::reason(status.code);
            if status.namespace == 0 && !reason.is_empty() {
                bytes.push(b' ');
                bytes.extend_from_slice(reason.as_bytes());
            }
            bytes.extend_from_slice(b"\r\n");
            write::last_line(&mut bytes, &tid, b'$');
            self.counters.reports_out += 1;
            self.put(now, conn, &bytes, outbox);
        }
        self.scratch = bytes;
    }
}

fn three_digits(out: &mut Vec<u8>, n: u16) {
    let n = n.min(999);
    for digit in [n / 100, n / 10 % 10, n % 10] {
        out.push(b'0' + (digit % 10) as u8);
    }
}
