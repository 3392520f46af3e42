//! A round runs: its beginning, what is due, its phases, its end.

use super::{ApartTally, Conn, Event, Plane, Who};
use crate::{
    clock::Nanos,
    proc,
    round::{Load, Phase, Plan, Round},
    series,
    tally::Tally,
};

impl Plane {
    pub(super) fn begin(&mut self, plan: Plan) {
        let now = self.clock.now();
        let round = Round::new(plan, now);
        let mut tally = Tally::new(round.window());
        match round.plan.load {
            Load::Rate(per_s) | Load::Script { per_s, .. } => {
                tally.offered_per_s = Some(per_s);
                tally.series = tally.series.with_latencies();
            }
            Load::Saturate { .. } => {}
        }
        self.apart = ApartTally::new(Tally::new(tally.window.clone()));
        let stray = std::mem::replace(&mut self.tally, tally);
        self.tally.carry_over(&stray);
        if let Load::Script { standing, .. } = round.plan.load {
            self.tally.standing = standing;
        }
        let there = u32::try_from(self.sessions.len()).unwrap_or(u32::MAX);
        let sessions = round.plan.sessions.start..round.plan.sessions.end.min(there);
        let window = round.plan.load;
        self.round = Some(round);
        for session in sessions {
            let Some(s) = self.sessions.get_mut(session as usize) else {
                continue;
            };
            s.talk.is_ending = false;
            let (sender, next) = (s.sender, s.sent);
            for id in s.devices.clone() {
                if let Some(Conn {
                    who: Who::Device(_, _, d),
                    ..
                }) = &mut self.conns[id]
                {
                    d.expect_from(next);
                }
            }
            let Some(id) = sender else { continue };
            if let Some(Conn {
                who: Who::Sender(_, s),
                ..
            }) = &mut self.conns[id]
            {
                s.begin_round();
            }
            if matches!(window, Load::Saturate { .. }) {
                self.refill(id, now);
                self.flush(id);
            }
        }
    }

    /// What the clock asks for: the open loop's events, the ends of phases, the end of the round.
    pub(super) fn keep_time(&mut self) {
        let now = self.clock.now();
        self.send_due(now);
        self.do_due(now);
        self.stop_and_go(now);
        let Some(round) = &mut self.round else {
            return;
        };
        if now >= self.next_pulse {
            self.pulse.show(&self.tally);
            self.next_pulse = now + series::SLOT;
        }
        let phase = round.phase_at(now);
        if phase != round.phase {
            let cpu = |server: Option<u32>| {
                (
                    proc::thread_cpu_ns().ok(),
                    server.and_then(|pid| proc::cpu_ns(pid).ok()),
                )
            };
            let (own, server) = cpu(round.plan.server);
            match phase {
                Phase::Warmup => {}
                // The reading at the start is kept where the difference will stand.
                Phase::Steady => (self.tally.own_cpu_ns, self.tally.server_cpu_ns) = (own, server),
                Phase::Drain => {
                    let spent =
                        |from: Option<u64>, to: Option<u64>| Some(to?.saturating_sub(from?));
                    self.tally.own_cpu_ns = spent(self.tally.own_cpu_ns, own);
                    self.tally.server_cpu_ns = spent(self.tally.server_cpu_ns, server);
                }
            }
            round.phase = phase;
        }
        let is_over = round.phase == Phase::Drain && !round.is_open() && self.acts.next().is_none();
        if !is_over {
            return;
        }
        let given_up = round.is_given_up(now);
        if given_up || self.tally.is_complete() && self.apart_is_complete() {
            self.settle_all();
            let mut done = std::mem::replace(&mut self.tally, Tally::new(0..0));
            self.settle_apart(&mut done);
            self.round = None;
            done.series.finish();
            self.tell(Event::Done(Box::new(done)));
        }
    }

    pub(super) fn send_due(&mut self, now: Nanos) {
        let Some(round) = &mut self.round else {
            return;
        };
        let expected = round.deliveries(self.settings.devices);
        let mut touched: Vec<usize> = Vec::new();
        while let Some((session, at)) = round.take_event(now) {
            let entry = &mut self.sessions[session as usize];
            let Some(id) = entry.sender else { continue };
            let Some(Conn {
                who: Who::Sender(_, s),
                out,
                ..
            }) = &mut self.conns[id]
            else {
                continue;
            };
            let n = s.send(at, &self.padding, out.tail());
            entry.sent = s.sent();
            self.tally.wrote(n, s.per_message());
            self.tally.expected += u64::from(n) * expected;
            if self.tally.window.contains(&at) {
                self.tally.lag.record(now - at);
            }
            if touched.last() != Some(&id) {
                touched.push(id);
            }
        }
        // One write a connection, however many messages of it were due.
        touched.sort_unstable();
        touched.dedup();
        for id in touched {
            self.flush(id);
        }
    }

    /// Closed loop: the sender's window.
    pub(super) fn refill(&mut self, id: usize, now: Nanos) {
        let (Some(Some(conn)), Some(round)) = (self.conns.get_mut(id), &self.round) else {
            return;
        };
        let Load::Saturate { window } = round.plan.load else {
            return;
        };
        let expected = round.deliveries(self.settings.devices);
        if let Who::Sender(session, s) = &mut conn.who
            && round.phase != Phase::Drain
            && round.plan.sessions.contains(session)
        {
            let waiting = conn.out.len();
            let n = s.fill(window, now, &self.padding, waiting, conn.out.tail());
            self.sessions[*session as usize].sent = s.sent();
            self.tally.wrote(n, s.per_message());
            self.tally.expected += u64::from(n) * expected;
        }
    }
}
