//! Sessions that live: deeds at their times, what devices say, ends that are in time and ends that are not.

use std::time::Duration;

use rustix::net::sockopt;

use super::{Conn, Event, Plane, Session, Who, bodies_back};
use crate::{
    body::{Corrupt, Mark},
    clock::Nanos,
    leg::Role,
    life::{
        act::{Act, Deed},
        talk::{base, device_and_nth},
    },
    post::Post,
    voice::{Voice, Words},
};

impl Plane {
    pub(super) fn ask(&mut self, act: Act) {
        if let Some(s) = self.sessions.get_mut(act.session as usize) {
            s.talk.pending += 1;
        }
        self.acts.ask(act);
    }

    /// Keeps a request until its time.
    pub(super) fn hold(&mut self, call: u32, post: Post) {
        self.acts.ask(Act {
            at: post.departure.at,
            session: call,
            deed: Deed::Post,
        });
        self.posts.insert(call, post);
    }

    /// Does what is due.
    pub(super) fn do_due(&mut self, now: Nanos) {
        while let Some(act) = self.acts.take(now) {
            let speaks = matches!(act.deed, Deed::Say(..) | Deed::Race(..));
            if speaks && self.tally.window.contains(&act.at) {
                self.tally.lag.record(now - act.at);
            }
            let written = match act.deed {
                Deed::Part(device) => {
                    self.part(act.session, device);
                    [None, None]
                }
                Deed::Post => {
                    if let Some(post) = self.posts.remove(&act.session) {
                        post.leave(self.clock.now());
                    }
                    continue;
                }
                Deed::Ring => {
                    self.tell(Event::Rang(act.at));
                    continue;
                }
                Deed::Say(role, words) => [self.say(act, role, words, now), None],
                // Both are written before either is sent: nothing comes between the two.
                Deed::Race(a, b, words) => {
                    [a, b].map(|d| self.say(act, Role::Device(d), words, now))
                }
            };
            for id in written.into_iter().flatten() {
                self.flush(id);
            }
            if let Some(s) = self.sessions.get_mut(act.session as usize) {
                s.talk.pending = s.talk.pending.saturating_sub(1);
            }
            self.look_at(act.session);
        }
    }

    /// Somebody writes a message, if he is there; returns his connection, which has not been flushed.
    fn say(&mut self, act: Act, role: Role, words: Words, now: Nanos) -> Option<usize> {
        let id = self.connection(act.session, role);
        let Some((id, session, conn)) = id.and_then(|id| {
            let session = self.sessions.get_mut(act.session as usize)?;
            Some((id, session, self.conns.get_mut(id)?.as_mut()?))
        }) else {
            self.tally.life.missed += 1;
            return None;
        };
        match &mut conn.who {
            Who::Sender(_, s) => {
                s.say(words, act.at, &self.padding, conn.out.tail());
                session.sent = s.sent();
                self.tally.sent += 1;
                self.tally.expected += session.talk.wrote(now);
                self.tally.life.reports_asked += u64::from(words == Words::Reported);
                self.tally.life.composing += u64::from(words == Words::Composing);
            }
            Who::Device(_, device, d) => {
                let device = *device;
                if !d.has_voice() {
                    let bodies = bodies_back(act.session, d.spec().user, self.settings.body_bytes);
                    // The sender's bodies have room for their marks, so these have.
                    let voice = bodies.map(|b| Voice::new(d.spec(), b'd', b, self.settings.run));
                    if let Ok(voice) = voice {
                        d.give_voice(voice);
                    }
                }
                d.say(words, base(device), act.at, &self.padding, conn.out.tail());
                self.tally.life.said += 1;
                if session.talk.spoke(device, now) {
                    self.tell(Event::Active(act.session, device, act.at));
                }
            }
            Who::Unclaimed(_) => {}
        }
        Some(id)
    }

    fn connection(&self, session: u32, role: Role) -> Option<usize> {
        let session = self.sessions.get(session as usize)?;
        let is = |id: &usize| match self.conns.get(*id) {
            Some(Some(conn)) => conn.who.leg().is_some_and(|(_, r)| r == role),
            Some(None) | None => false,
        };
        match role {
            Role::Sender => session.sender,
            Role::Device(_) => session.devices.iter().copied().find(is),
        }
    }

    /// What devices said has reached the sender of a session.
    pub(super) fn hear(&mut self, session: u32, heard: Vec<Result<Mark, Corrupt>>, now: Nanos) {
        for mark in heard {
            let Ok(mark) = mark else {
                self.tally.corrupted += 1;
                continue;
            };
            if mark.session != session {
                self.tally.crossed += 1;
                continue;
            }
            let Some((device, nth)) = device_and_nth(mark.seq) else {
                // What he wrote himself.
                self.tally.unexpected += 1;
                continue;
            };
            let fit = self.sessions[session as usize].talk.heard(device, nth);
            self.tally.said_arrived(mark.at, now, fit);
        }
    }

    /// Whether it was time for a connection of a living session to end; accounts for what it need not get any more.
    pub(super) fn ended_in_time(&mut self, session: u32, who: &Who) -> bool {
        let Some(s) = self.sessions.get_mut(session as usize) else {
            return false;
        };
        match who {
            Who::Sender(..) => s.talk.is_ending,
            Who::Device(_, device, d) => {
                if let Some(lacks) = s.talk.lacks(*device, d.order()) {
                    self.tally.life.note(format!("session {session}: {lacks}"));
                }
                match s.talk.ended(*device, d.order()) {
                    Ok(forgiven) => {
                        self.tally.forgive(forgiven);
                        true
                    }
                    Err(_) => false,
                }
            }
            Who::Unclaimed(_) => true,
        }
    }

    /// Says so if a watched session is quiet.
    pub(super) fn look_at(&mut self, session: u32) {
        if self.watched.contains(&session) && self.is_quiet(session) {
            self.watched.remove(&session);
            self.sessions[session as usize].talk.is_ending = true;
            self.tell(Event::Quiet(session));
        }
    }

    fn is_quiet(&self, session: u32) -> bool {
        let Some(s) = self.sessions.get(session as usize) else {
            return false;
        };
        let legs = s.sender.iter().chain(&s.devices);
        s.talk.is_heard()
            && legs
                .filter_map(|&id| self.conns.get(id)?.as_ref())
                .all(|c| match &c.who {
                    Who::Sender(_, s) => s.outstanding() == 0 && s.reports_due() == 0,
                    Who::Device(_, device, d) => {
                        d.unanswered() == 0 && s.talk.is_served(*device, d.order())
                    }
                    Who::Unclaimed(_) => true,
                })
    }

    fn part(&mut self, session: u32, device: u16) {
        if let Some(id) = self.connection(session, Role::Device(device))
            && let Some(Some(conn)) = self.conns.get(id)
        {
            // An error means that the peer was faster.
            let _ = conn.tcp.shutdown(std::net::Shutdown::Write);
        }
    }

    /// Closes and forgets a session.
    pub(super) fn leave(&mut self, session: u32) {
        self.settle(session);
        self.forget(session);
    }

    /// Nobody waits for a session any longer: what its devices need not have got is not expected any more.
    fn settle(&mut self, session: u32) {
        let Some(s) = self.sessions.get(session as usize) else {
            return;
        };
        for &id in &s.devices {
            if let Some(Some(Conn {
                who: Who::Device(_, device, d),
                ..
            })) = self.conns.get(id)
            {
                if let Some(lacks) = s.talk.lacks(*device, d.order()) {
                    self.tally.life.note(format!("session {session}: {lacks}"));
                }
                self.tally.forgive(s.talk.forgiven(*device, d.order()));
            }
        }
    }

    /// The same for all, at the end of a round.
    pub(super) fn settle_all(&mut self) {
        for session in 0..u32::try_from(self.sessions.len()).unwrap_or(u32::MAX) {
            self.settle(session);
        }
    }

    fn forget(&mut self, session: u32) {
        self.awaited.retain(|_, spec| spec.session != session);
        self.watched.remove(&session);
        let Some(s) = self.sessions.get_mut(session as usize) else {
            return;
        };
        let s: Session = std::mem::take(s);
        for id in s.sender.into_iter().chain(s.devices) {
            self.conns[id] = None;
            self.free.push(id);
        }
    }

    /// The network goes: every connection of these sessions is reset at once.
    pub(super) fn cut(&mut self, sessions: &[u32]) {
        let at = self.clock.now();
        for &session in sessions {
            let Some(s) = self.sessions.get(session as usize) else {
                continue;
            };
            for &id in s.sender.iter().chain(&s.devices) {
                if let Some(Some(conn)) = self.conns.get(id) {
                    // Closed without lingering: the peer gets a reset, and what was under way is gone.
                    let _ = sockopt::set_socket_linger(&conn.tcp, Some(Duration::ZERO));
                }
            }
            self.forget(session);
        }
        self.tell(Event::Cut(at));
    }
}
