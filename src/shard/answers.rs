//! What the services ask, answered from the rooms' own counters and views.

use super::{
    report::{self, Answer, InOut, Question, Report},
    world::Shard,
};
use crate::{
    ids::SessionId,
    msrp::{CODES, Failure, failure_place},
    session,
    time::Instant,
};

/// Why a leg was given up, by its metric label.
const FAILURES: [(Failure, &str); 7] = [
    (Failure::NotConnected, "not_connected"),
    (Failure::ConnectionLost, "connection_lost"),
    (Failure::Timeout, "timeout"),
    (Failure::Slow, "slow"),
    (Failure::SessionUnknown, "session_unknown"),
    (Failure::BoundElsewhere, "bound_elsewhere"),
    (Failure::Malformed, "malformed"),
];

impl Shard {
    /// Answers a question, if one waits. Whether there are more.
    pub(super) fn answer_question(&mut self, now: Instant) -> bool {
        if let Some(ask) = self.post.question() {
            let answer = self.answer(now, ask.question);
            (ask.reply)(answer);
        }
        self.post.is_asked()
    }

    fn answer(&mut self, now: Instant, question: Question) -> Answer {
        match question {
            Question::Counters => Answer::Counters(Box::new(self.report())),
            Question::Sessions { after, max } => {
                let (page, more) = self.function.page(after, max);
                Answer::Sessions {
                    next: page.last().filter(|_| more).map(|v| v.session),
                    page: page.iter().map(|v| self.view(now, v)).collect(),
                }
            }
            Question::Session(id) => {
                let lives = self.function.session_view(id);
                let view = lives
                    .map(|v| self.view(now, &v))
                    .or_else(|| self.ended.find(now, self.id, id));
                Answer::Session(view.map(Box::new))
            }
            Question::EndedSessions => Answer::Sessions {
                page: self.ended.list(now),
                next: None,
            },
            Question::Drain { end } => {
                self.function.refuse_new();
                if end {
                    self.function.drain(now);
                }
                Answer::Draining {
                    sessions: self.function.counters().sessions,
                }
            }
            Question::End(id) => Answer::Ended(self.function.end(now, id)),
        }
    }

    /// Everything that this shard counts.
    #[must_use]
    pub fn report(&self) -> Report {
        let (media, held) = (self.plane.counters(), self.plane.gauges());
        let (sip, pf) = (self.endpoint.counts(), self.function.counters());
        let refused = self.registrar.refused();
        let n = |n: usize| n as u64;
        let responses = (CODES.iter().copied().chain([0]))
            .zip(media.responses_in.iter().zip(media.responses_out))
            .map(|(code, (received, sent))| {
                (
                    code,
                    InOut {
                        received: *received,
                        sent,
                    },
                )
            })
            .filter(|(_, c)| *c != InOut::default())
            .collect();
        Report {
            sessions: n(pf.sessions),
            legs: n(pf.legs),
            registrations: n(self.registrar.len()),
            dialogs: n(pf.dialogs),
            transactions: n(sip.clients + sip.servers),
            msrp_connections: n(self.conns.msrp()),
            timers: n(sip.timers
                + self.plane.timers()
                + self.function.timers()
                + self.registrar.timers()
                + self.half_open.len()),
            leg_outbox_bytes: n(self.outbox.spilled()),
            kept_bytes: n(held.kept_bytes),
            framing_bytes: n(self.framing + self.plane.heads()),
            sip_requests: self.tally.requests(),
            sip_responses: self.tally.responses(),
            refusals: self.tally.refusals(),
            wrong_credentials: self.tally.wrong_credentials,
            connects: self.tally.connects(),
            sip_repeated: sip.repeated,
            sip_passed: sip.passed,
            sip_retransmitted: sip.retransmitted,
            sip_strays: sip.strays,
            msrp_messages: InOut {
                received: media.messages_in,
                sent: media.messages_out,
            },
            msrp_chunks: media.chunks_in,
            msrp_bytes: InOut {
                received: media.bytes_in,
                sent: media.bytes_out,
            },
            msrp_responses: responses,
            deliveries: vec![
                ("acknowledged", media.deliveries_acknowledged),
                ("refused", media.deliveries_refused),
                ("lost", media.deliveries_lost),
                ("undelivered", media.undelivered),
                ("incomplete", media.incomplete),
            ],
            fork_legs: vec![
                ("invited", pf.forked),
                ("accepted", pf.accepted),
                ("refused", pf.refused),
                ("no_answer", pf.no_answer),
                ("elsewhere", pf.elsewhere),
                ("unregistered", pf.unregistered),
            ],
            legs_dropped: FAILURES
                .map(|(why, name)| (name, media.legs_dropped[failure_place(why)]))
                .to_vec(),
            malformed: media.malformed + sip.malformed,
            limits_reached: vec![
                ("sessions", pf.refused_full),
                ("dialogs", pf.refused_dialogs),
                ("legs_per_session", pf.not_invited),
                ("connections", self.tally.connections_refused),
                ("connections_per_source", self.tally.source_connections),
                ("requests_per_s", self.tally.source_requests),
                ("registrations", refused.full),
                ("registrations_per_user", refused.user),
                ("registrations_per_source", refused.source),
                ("registration_bytes", refused.bytes),
                ("binding_bytes", refused.size),
                ("session_bytes", pf.refused_bytes),
                ("answer_bytes", sip.unsendable),
                ("server_transactions", sip.refused),
                ("client_transactions", sip.unsent),
                ("messages", media.refused_full),
                ("outbox_bytes", self.tally.connections_overrun),
                ("spill_bytes", self.tally.spill_dropped),
                ("framing_bytes", self.tally.framing_dropped),
                ("mailbox", self.tally.mail_full),
                ("sip_unread", self.tally.sip_stalled),
                ("half_open", self.tally.half_open_closed + media.unbound),
            ],
            teardown_seconds: self.tally.teardown,
            delivery_seconds: media.delivery,
            handed_over: self.tally.handed_over,
            mail: self.post.sent.clone(),
            ring: Vec::new(),
        }
    }

    /// A session as the services show it: the Participating Function's view, with what the data plane knows of each leg.
    pub(super) fn view(&self, now: Instant, v: &session::SessionView) -> report::SessionView {
        report::SessionView {
            id: report::session_name(self.id, v.session),
            user: v.user.clone(),
            originator: v.originator.clone(),
            state: v.state,
            why: v.why.clone(),
            age_s: now.since(v.began).as_secs(),
            ended_s: None,
            pending_messages: self.plane.pending(v.session),
            legs: v.legs.iter().map(|l| self.leg(v.session, l)).collect(),
        }
    }

    fn leg(&self, session: SessionId, l: &session::LegView) -> report::LegView {
        let media = self.plane.leg_view(session, l.leg);
        let conn = media.as_ref().and_then(|m| m.conn);
        let (from, to) = media.as_ref().map(|m| (m.from, m.to)).unwrap_or_default();
        report::LegView {
            leg: l.leg.0,
            who: l.contact.clone(),
            state: l.state,
            why: l.why.clone(),
            transport: l.transport,
            peer: conn
                .and_then(|c| self.conns.get(c))
                .map_or_else(String::new, |c| c.peer.to_string()),
            matched: l.matched,
            bytes: InOut {
                received: from.bytes,
                sent: to.bytes,
            },
            messages: InOut {
                received: from.messages,
                sent: to.messages,
            },
            outbox_bytes: conn.map_or(0, |c| self.outbox.backlog(c)),
            unanswered: media.as_ref().map_or(0, |m| m.unanswered),
        }
    }
}
