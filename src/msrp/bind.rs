//! How legs come to their connections: the peer connects and names the session, or we connect and send a SEND at once
//! (RFC 4975 §5.4, RFC 6135 §4.2).

use std::{net::SocketAddr, time::Duration};

use super::{
    Failure, LegPeer, Output, Role,
    core::{Core, Deferred},
    leg::{Again, State},
    link::Phase,
    message::Progress,
    plane::Plane,
    unanswered::{Expects, SENT_BYTES},
};
use crate::{
    buf::Outbox,
    ids::{ConnId, LegId, SessionId},
    time::Instant,
    wire::msrp::{FailureReport, write},
};
use rand::Rng;

impl Plane {
    /// The peer's half of a leg is known, or has changed. Where its path and role are the same nothing on the connection is
    /// touched [MSRP-SDP-02]; a leg whose media has failed is brought back (settled.md 8).
    pub(super) fn start(
        &mut self,
        now: Instant,
        session: SessionId,
        leg: LegId,
        peer: LegPeer,
        outbox: &mut Outbox,
    ) {
        let bind = self.core.settings.bind;
        let Core {
            sessions, types, ..
        } = &mut self.core;
        let Some(l) = sessions.get_mut(session).and_then(|s| s.leg_mut(leg)) else {
            return;
        };
        match l.state {
            State::Offered | State::Started | State::Failed => {}
            State::Aborted | State::Ended => return,
        }
        let same = l
            .peer
            .as_ref()
            .is_some_and(|p| p.path == peer.path && p.role == peer.role);
        let (role, to) = (peer.role, peer.connect_to);
        l.restored |= l.state == State::Failed;
        let was_started = l.state == State::Started;
        l.state = State::Started;
        l.set_peer(peer, types);
        let relayed = l.is_relayed();
        if was_started
            && !same
            && let Some(conn) = l.conn.take()
        {
            // A new path is a new connection; what was put out on the old one is sent again.
            outbox.abort(conn, super::leg::owner(session, leg));
            self.core.deferred.push_back(Deferred::Unbind {
                conn,
                session,
                leg,
                close: false,
            });
            self.core.take_back(session, leg);
        }
        if let Some(s) = self.core.sessions.get_mut(session) {
            s.relayed |= relayed;
        }
        if was_started
            && !same
            && self
                .core
                .leg(session, leg)
                .is_some_and(|l| l.connecting && l.conn.is_none())
        {
            self.forget_connecting(session, leg);
        }
        let unbound = self
            .core
            .leg(session, leg)
            .is_some_and(|l| l.conn.is_none() && !l.connecting);
        if unbound {
            if let Some(l) = self.core.leg_mut(session, leg) {
                l.bind_by = Some(now + bind);
            }
            self.core.arm(session, now + bind);
            match (role, to) {
                (Role::Passive, _) => {}
                (Role::Active, Some(to)) => self.connect(now, session, leg, to, outbox),
                (Role::Active, None) => {
                    self.core
                        .fail_leg(now, session, leg, Failure::NotConnected, outbox);
                }
            }
        }
        self.core.claim(session, leg);
        self.core
            .deferred
            .push_back(Deferred::Flush { session, leg });
    }

    /// A leg that waits for a connection to where its peer was goes elsewhere.
    fn forget_connecting(&mut self, session: SessionId, leg: LegId) {
        if let Some(l) = self.core.leg_mut(session, leg) {
            l.stop_connecting();
        }
        for link in self.links.values_mut() {
            if link.waiting.contains(&(session, leg)) {
                let mut waiting = std::mem::take(&mut link.waiting).into_vec();
                waiting.retain(|w| *w != (session, leg));
                link.waiting = waiting.into();
            }
        }
    }

    /// Connects a leg: by the connection that already goes there, or a new one. [MSRP-CONN-01]
    pub(super) fn connect(
        &mut self,
        now: Instant,
        session: SessionId,
        leg: LegId,
        to: SocketAddr,
        outbox: &mut Outbox,
    ) {
        if let Some(l) = self.core.leg_mut(session, leg) {
            l.connecting = true;
        }
        if let Some(&conn) = self.opened.get(&to)
            && let Some(link) = self.links.get_mut(conn)
        {
            match link.phase {
                Phase::Open => {
                    self.join(now, conn, session, leg, outbox);
                    return;
                }
                Phase::Connecting => {
                    link.wait(session, leg);
                    return;
                }
                Phase::Closing | Phase::HandedOver => {}
            }
        }
        self.core
            .outputs
            .push_back(Output::Connect { session, leg, to });
    }

    /// Binds a leg to a connection of our making and says so to the peer by a SEND. [MSRP-BARE-01]
    pub(super) fn join(
        &mut self,
        now: Instant,
        conn: ConnId,
        session: SessionId,
        leg: LegId,
        outbox: &mut Outbox,
    ) {
        let wanted = self
            .core
            .leg(session, leg)
            .is_some_and(|l| l.state == State::Started && l.conn.is_none());
        if !wanted {
            return;
        }
        if let Some(link) = self.links.get_mut(conn) {
            link.bind(session, leg);
        }
        self.core.bound(session, leg, conn);
        self.core.send_bare(now, session, leg, outbox);
    }
}

/// How long a connect that was refused waits at first, and at most: a peer may open its listener only once its answer is out.
const AGAIN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

impl Core {
    /// A connect was refused, or failed in another way: it is tried again for as long as the leg's connection may take to come
    /// up (settled.md 38); then the leg fails.
    pub(super) fn not_connected(
        &mut self,
        now: Instant,
        session: SessionId,
        leg: LegId,
        to: Option<SocketAddr>,
        outbox: &mut Outbox,
    ) {
        let Some(l) = self.leg_mut(session, leg) else {
            return;
        };
        let (Some(to), Some(_)) = (to, l.bind_by) else {
            self.fail_leg(now, session, leg, Failure::NotConnected, outbox);
            return;
        };
        let again = &mut l.trouble().again;
        let wait = again.map_or(AGAIN.0, |a| (a.wait * 2).min(AGAIN.1));
        let at = now + wait;
        *again = Some(Again {
            to,
            wait,
            at: Some(at),
        });
        self.arm(session, at);
    }

    /// Sends a SEND without a body; its answer is awaited like any other.
    fn send_bare(&mut self, now: Instant, session: SessionId, leg: LegId, outbox: &mut Outbox) {
        let Some(conn) = self.leg(session, leg).and_then(|l| l.conn) else {
            return;
        };
        let (handle, tid) = self.new_sent(&[]);
        let rng = &mut self.rng;
        let id: [u8; 16] = write::ident(|| rng.next_u64());
        let mut bytes = std::mem::take(&mut self.scratch);
        bytes.clear();
        if let Some(l) = self.leg(session, leg)
            && let Some(peer) = &l.peer
        {
            let headers = write::Send {
                message_id: &id,
                byte_range: None,
                success_report: false,
                failure_report: FailureReport::Yes,
            };
            write::bare_send(&mut bytes, &tid, &peer.path, &l.own_uri, &headers);
        }
        if let Some(sent) = self.sent.get_mut(handle) {
            sent.tid = tid;
            sent.conn = conn;
            sent.session = session;
            sent.leg = leg;
            sent.message = None;
            sent.expects = Expects::Response;
            sent.counted = true;
        }
        self.take(session, SENT_BYTES);
        self.put(now, conn, &bytes, outbox);
        self.scratch = bytes;
        self.sent_ended(now, handle, outbox);
    }

    /// A leg changes its connection: what was put out and not acknowledged waits to be sent again, if it is kept.
    pub(super) fn take_back(&mut self, session: SessionId, leg: LegId) {
        self.drop_open(session, leg);
        self.drop_all_sent(session, leg);
        self.keep_for_later(session, leg);
        self.each_message(session, |core, message| {
            let Some(share) = core.messages.get_mut(message).and_then(|m| m.share_of(leg)) else {
                return;
            };
            match share.progress {
                // It cannot be sent again: whoever asked for it gets no answer on this leg.
                Progress::Sent | Progress::Sending => share.progress = Progress::Failed(408),
                Progress::Waiting | Progress::Acked | Progress::Failed(_) => {}
            }
        });
    }

    /// A message that is being passed on to a leg that takes no more, from a peer whose reading cannot stop: refused.
    pub(super) fn refuse_streaming(
        &mut self,
        now: Instant,
        session: SessionId,
        from: LegId,
        leg: LegId,
        outbox: &mut Outbox,
    ) {
        self.each_message(session, |core, message| {
            let Some(share) = core
                .messages
                .get(message)
                .filter(|m| m.from == from && !m.complete)
                .and_then(|m| {
                    m.shares
                        .iter()
                        .position(|s| s.leg == leg && s.progress == Progress::Sending)
                })
            else {
                return;
            };
            core.abort_share(now, message, share, outbox);
            core.fail_share(now, message, share, 408, outbox);
            core.settle(now, message, outbox);
        });
    }
}
