//! What one room asks of another, carried out until all are quiet.

use super::{conns::Role, edge::Effect as Edge, mail::Letter, world::Shard};
use crate::{ids::ConnId, msrp, session, sip, time::Instant};

/// Answers that a SIP connection may leave unread, on top of what the system keeps for it; above it the connection is not read.
const SIP_UNREAD_BYTES: usize = 64 << 10;

impl Shard {
    /// Runs events, effects and outputs of all rooms until none is left. Every input ends with it.
    pub(super) fn settle(&mut self, now: Instant) {
        self.clock = now;
        loop {
            if let Some(event) = self.endpoint.poll_event() {
                self.say_event(now, &event);
                self.function.handle_sip(now, &event, &mut self.registrar);
            } else if let Some(event) = self.plane.poll_event() {
                self.say_media(now, &event);
                self.function.handle_media(now, &event);
                if matches!(event, msrp::Event::Activity { .. }) {
                    self.tear_down(now);
                }
            } else if let Some(change) = self.registrar.poll_event() {
                self.say_registration(now, &change);
                self.function.handle_registration(now, &change);
            } else if let Some(note) = self.endpoint.poll_note() {
                self.tally.answered(&note);
                self.say_answer(now, &note);
                continue;
            } else if let Some(output) = self.plane.poll_output() {
                self.media_output(now, output);
                continue;
            } else if let Some(output) = self.endpoint.poll_output() {
                self.sip_output(now, output);
                continue;
            } else if !self.apply_effects(now) {
                return;
            }
            self.apply_effects(now);
        }
    }

    /// Carries out what the first activity of a session asks for, and notes when its devices were told.
    fn tear_down(&mut self, now: Instant) {
        let mut told = false;
        while let Some(effect) = self.function.poll_effect() {
            told |= match &effect {
                session::Effect::Cancel { .. } => true,
                session::Effect::Request(draft) => draft.message.starts_with(b"BYE "),
                session::Effect::Respond { .. }
                | session::Effect::Send { .. }
                | session::Effect::Media(_)
                | session::Effect::Note(_)
                | session::Effect::Ended { .. } => false,
            };
            self.apply(now, effect);
        }
        if told {
            self.tally.teardown(now);
        }
    }

    /// Carries out what the Participating Function asks for; `false`: nothing was asked.
    fn apply_effects(&mut self, now: Instant) -> bool {
        let mut any = false;
        while let Some(effect) = self.function.poll_effect() {
            self.apply(now, effect);
            any = true;
        }
        any
    }

    fn apply(&mut self, now: Instant, effect: session::Effect) {
        match effect {
            session::Effect::Respond { txn, reply } => self.endpoint.respond(now, txn, reply),
            session::Effect::Request(draft) => {
                self.say_request(now, &draft);
                self.endpoint.request(now, draft);
            }
            session::Effect::Cancel { of, headers } => {
                self.say_cancel(now, of, &headers);
                self.endpoint.cancel(now, of, &headers);
            }
            session::Effect::Send { target, message } => self.endpoint.send(now, target, message),
            session::Effect::Media(command) => self.plane.command(now, command, &mut self.outbox),
            session::Effect::Note(note) => self.say_note(now, &note),
            session::Effect::Ended { view, .. } => {
                let mut view = self.view(now, &view);
                view.state = "ended";
                self.say_ended(now, &view);
                self.ended.keep(now, view);
            }
        }
    }

    fn sip_output(&mut self, now: Instant, output: sip::Output) {
        match output {
            sip::Output::Datagram { socket, to, bytes } => {
                self.tally.sip_out(&bytes);
                self.effects.push_back(Edge::Datagram { socket, to, bytes });
            }
            sip::Output::Stream { home, conn, bytes } if home == self.id => {
                self.tally.sip_out(&bytes);
                self.send_stream(conn, &bytes);
            }
            sip::Output::Stream { home, conn, bytes } => {
                self.tally.sip_out(&bytes);
                // A response or a request on a flow of another shard: it belongs to something that has begun.
                let letter = Letter::Stream {
                    conn,
                    bytes: (&*bytes).into(),
                };
                if self.post.send(home, letter).is_err() {
                    // Not even a reserved place: to whoever waits for an answer on it, the connection is as good as gone.
                    self.tally.mail_full += 1;
                    self.endpoint.handle_closed(now, home, conn);
                }
            }
            sip::Output::Connect { to } => {
                let role = Role::Sip(self.sip_stream());
                let Some(conn) = self.conns.insert(role, to) else {
                    self.tally.connections_refused += 1;
                    // A name that stands for nothing: the endpoint hears that it did not come up.
                    self.endpoint.handle_connecting(to, ConnId::default());
                    self.endpoint
                        .handle_connected(now, ConnId::default(), false);
                    return;
                };
                self.outbox.add(conn);
                self.endpoint.handle_connecting(to, conn);
                self.effects.push_back(Edge::Connect { conn, to });
            }
            sip::Output::Close { conn } => self.close(conn, true),
        }
    }

    /// Queues a SIP message on a connection of ours; one that reads nothing at all is closed.
    pub(super) fn send_stream(&mut self, conn: ConnId, bytes: &[u8]) {
        if self.outbox.whole(conn, bytes).is_err() {
            self.tally.connections_overrun += 1;
            self.close(conn, false);
            return;
        }
        let (slow, waits) = (self.outbox.slow(conn), self.outbox.backlog(conn));
        let by = self.clock + self.bind;
        if let Some(entry) = self.conns.get_mut(conn)
            && slow
            && waits > SIP_UNREAD_BYTES
            && !std::mem::replace(&mut entry.stalled, true)
        {
            // Whoever does not read what we answer is not asked for more.
            self.tally.sip_stalled += 1;
            self.effects.push_back(Edge::Pause { conn });
            self.wait_for_it(conn, Some(by));
        }
    }

    /// A SIP connection takes bytes again: it is read again once little of what it was to read is left.
    pub(super) fn stream_drained(&mut self, now: Instant, conn: ConnId) {
        let waits = self.outbox.backlog(conn);
        let by = now + self.bind;
        let Some(entry) = self.conns.get_mut(conn) else {
            return;
        };
        if waits > SIP_UNREAD_BYTES / 2 || !std::mem::take(&mut entry.stalled) {
            return;
        }
        let begun = matches!(&entry.role, Role::Sip(stream) if stream.held() > 0);
        self.effects.push_back(Edge::Resume { conn });
        self.wait_for_it(conn, begun.then_some(by));
    }

    /// Has a SIP connection closed at `by`, in place of what was set.
    fn wait_for_it(&mut self, conn: ConnId, by: Option<Instant>) {
        if let Some(entry) = self.conns.get_mut(conn) {
            if let Some(timer) = entry.half_open.take() {
                self.half_open.cancel(timer);
            }
            entry.half_open = by.map(|by| self.half_open.insert(by, conn));
        }
    }

    fn media_output(&mut self, now: Instant, output: msrp::Output) {
        match output {
            msrp::Output::Connect { session, leg, to } => {
                let Some(conn) = self.conns.insert(Role::Msrp, to) else {
                    self.tally.connections_refused += 1;
                    self.plane
                        .handle_connecting((session, leg), to, ConnId::default());
                    self.plane
                        .handle_connected(now, ConnId::default(), Err(()), &mut self.outbox);
                    return;
                };
                self.outbox.add(conn);
                self.plane.handle_connecting((session, leg), to, conn);
                self.say_connect(now, session, leg, to);
                self.effects.push_back(Edge::Connect { conn, to });
            }
            msrp::Output::Close { conn, flush } => self.close(conn, flush),
            msrp::Output::Pause { conn } => self.effects.push_back(Edge::Pause { conn }),
            msrp::Output::Resume { conn } => self.effects.push_back(Edge::Resume { conn }),
            msrp::Output::HandOver { conn, to, bytes } => self.hand_over(conn, to, bytes),
            msrp::Output::Foreign { conn, to, bytes } => self.mail_frames(conn, to, bytes),
        }
    }
}
