//! A round: warm-up, steady state, then waiting for what is still under way. Knows when what is due, sends nothing.

use std::{ops::Range, time::Duration};

use crate::clock::{Nanos, nanos};

/// How much is sent.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Load {
    /// Open loop: this many messages a second over all sessions, each with an intended time that nothing moves.
    Rate(f64),
    /// Closed loop: each sender keeps this many SENDs unanswered. Called saturation; its latencies are queueing times.
    Saturate { window: u32 },
    /// Open loop: what sessions are asked to do, each at its own intended time ([`crate::life::act`]); so many messages a
    /// second on the whole, in sessions of which those below `standing` stand all the time. Ends when it is told that
    /// nothing more will be asked for.
    Script { per_s: f64, standing: u32 },
}

/// What a round is to be.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Plan {
    /// The sessions that take part.
    pub(crate) sessions: Range<u32>,
    pub(crate) load: Load,
    pub(crate) warmup: Duration,
    pub(crate) steady: Duration,
    /// How long nothing may come, after the last message was sent, before what is missing is lost.
    pub(crate) patience: Duration,
    /// The server's process, if it is on this machine.
    pub(crate) server: Option<u32>,
    pub(crate) apart: Option<Apart>,
    /// Open loop: messages that are sent at once. Their rate is that of all of them.
    pub(crate) at_once: u32,
}

/// A device of each session that is counted apart from the others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Apart {
    /// Which, from 0.
    pub(crate) device: u16,
    /// When it does not read, counted from the beginning of the steady state; none: it always reads.
    pub(crate) stops: Option<Range<Duration>>,
}

/// Where a round stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    Warmup,
    Steady,
    /// Nothing more is sent.
    Drain,
}

/// A round that runs.
pub(crate) struct Round {
    pub(crate) plan: Plan,
    pub(crate) phase: Phase,
    start: Nanos,
    /// Events of the open loop that are done.
    events: u64,
    /// When something last arrived, for patience.
    pub(crate) last_arrival: Nanos,
    /// A scripted round has been told everything.
    pub(crate) finished: bool,
}

impl Round {
    /// Begins at `now`.
    pub(crate) fn new(plan: Plan, now: Nanos) -> Self {
        Self {
            plan,
            phase: Phase::Warmup,
            start: now,
            events: 0,
            last_arrival: now,
            finished: false,
        }
    }

    /// Whether more may be asked for: a script that has not ended.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.plan.load, Load::Script { .. }) && !self.finished
    }

    /// The steady state.
    pub(crate) fn window(&self) -> Range<Nanos> {
        let from = self.start + nanos(self.plan.warmup);
        from..from + nanos(self.plan.steady)
    }

    /// How many deliveries a message asks for that are counted with the round.
    pub(crate) fn deliveries(&self, devices: u16) -> u64 {
        u64::from(devices).saturating_sub(u64::from(self.plan.apart.is_some()))
    }

    /// Whether the device that is counted apart is not to read at `now`.
    pub(crate) fn stops_reading(&self, now: Nanos) -> bool {
        let stops = self.plan.apart.as_ref().and_then(|a| a.stops.as_ref());
        stops.is_some_and(|stops| {
            let at = |d: Duration| self.window().start + nanos(d);
            (at(stops.start)..at(stops.end)).contains(&now)
        })
    }

    /// The phase at `now`.
    pub(crate) fn phase_at(&self, now: Nanos) -> Phase {
        let w = self.window();
        if now < w.start {
            Phase::Warmup
        } else if now < w.end {
            Phase::Steady
        } else {
            Phase::Drain
        }
    }

    /// Whether patience is at its end.
    pub(crate) fn is_given_up(&self, now: Nanos) -> bool {
        // Who is not reading has patience until he reads again.
        let stops = self.plan.apart.as_ref().and_then(|a| a.stops.as_ref());
        let reads = stops.map_or(0, |s| self.window().start + nanos(s.end));
        let since = self.last_arrival.max(self.window().end).max(reads);
        now.saturating_sub(since) > nanos(self.plan.patience)
    }

    /// Open loop: when the next event is meant to be, as long as the round sends.
    pub(crate) fn next_event(&self) -> Option<Nanos> {
        let Load::Rate(rate) = self.plan.load else {
            return None;
        };
        let at = self.start + offset(self.events, rate / f64::from(self.plan.at_once));
        (at < self.window().end && self.phase != Phase::Drain).then_some(at)
    }

    /// Open loop: the session of the next event, which is due at `now` at the latest, and its intended time.
    pub(crate) fn take_event(&mut self, now: Nanos) -> Option<(u32, Nanos)> {
        let at = self.next_event().filter(|&at| at <= now)?;
        let n = u64::from(self.plan.sessions.end - self.plan.sessions.start);
        // A remainder by a u32 fits into one.
        let session = self.plan.sessions.start + u32::try_from(self.events % n).unwrap_or(0);
        self.events += 1;
        Some((session, at))
    }

    /// How long the loop may sleep; `act` is when a script's next deed is meant to be.
    pub(crate) fn timeout(&self, now: Nanos, act: Option<Nanos>) -> Duration {
        const LONGEST: Nanos = 10_000_000;
        let phase_end = match self.phase {
            Phase::Warmup => self.window().start,
            Phase::Steady => self.window().end,
            Phase::Drain => now + LONGEST,
        };
        let next = self.next_event().into_iter().chain(act).min();
        let until = next.map_or(phase_end, |at| at.min(phase_end));
        let sleep = match self.plan.load {
            Load::Rate(_) | Load::Saturate { .. } => sleep_alone(until, now),
            Load::Script { .. } => sleep_beside(until, now),
        };
        sleep.min(Duration::from_nanos(LONGEST))
    }
}

/// How long to sleep at `now` for what is due at `until`, where nobody else needs the core: a sleep may end half a millisecond
/// late, more on a virtual machine, so what is due sooner is waited for awake.
fn sleep_alone(until: Nanos, now: Nanos) -> Duration {
    const AWAKE: Nanos = 1_000_000;
    Duration::from_nanos(until.saturating_sub(now).saturating_sub(AWAKE))
}

/// The same beside signalling, which works on the same core all the time: who waits awake takes the core from it, and what he
/// took counts against him when he has something to do. The thread's timers are exact ([`crate::plane::Plane`]).
pub(crate) fn sleep_beside(until: Nanos, now: Nanos) -> Duration {
    Duration::from_nanos(until.saturating_sub(now))
}

/// When event `n` is meant to be, counted from the start. From the count, not from the event before: errors do not add up.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a positive time of hours at most, in nanoseconds: below 2^53"
)]
fn offset(n: u64, rate: f64) -> Nanos {
    (n as f64 / rate * 1e9) as Nanos
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(load: Load) -> Plan {
        Plan {
            sessions: 3..6,
            load,
            warmup: Duration::from_secs(1),
            steady: Duration::from_secs(2),
            patience: Duration::from_secs(3),
            server: None,
            apart: None,
            at_once: 1,
        }
    }

    #[test]
    fn events_keep_their_intended_times_however_late_they_are_taken() {
        let mut r = Round::new(plan(Load::Rate(1000.0)), 500);
        assert_eq!(r.take_event(499), None);
        assert_eq!(r.take_event(500), Some((3, 500)));
        assert_eq!(r.take_event(500), None);
        let late = 500 + 10_000_000;
        let taken: Vec<_> = std::iter::from_fn(|| r.take_event(late)).collect();
        assert_eq!(taken.len(), 10);
        assert_eq!(taken[0], (4, 500 + 1_000_000));
        assert_eq!(taken[9], (4, late));
    }

    #[test]
    fn a_round_sends_as_many_as_its_rate_and_length_say() {
        let mut r = Round::new(plan(Load::Rate(333.0)), 0);
        let n = std::iter::from_fn(|| r.take_event(u64::MAX)).count();
        assert_eq!(n, 999);
        assert_eq!(r.next_event(), None);
    }

    #[test]
    fn phases_follow_each_other_and_patience_counts_from_the_last_arrival() {
        let mut r = Round::new(plan(Load::Saturate { window: 1 }), 0);
        let s = 1_000_000_000;
        assert_eq!(r.phase_at(s - 1), Phase::Warmup);
        assert_eq!(r.phase_at(s), Phase::Steady);
        assert_eq!(r.phase_at(3 * s), Phase::Drain);
        r.phase = Phase::Drain;
        assert!(!r.is_given_up(6 * s));
        assert!(r.is_given_up(6 * s + 1));
        r.last_arrival = 4 * s;
        assert!(!r.is_given_up(7 * s));
        assert!(r.is_given_up(7 * s + 1));
    }

    #[test]
    fn a_device_stops_within_its_time_of_the_steady_state_and_never_by_itself() {
        let s = 1_000_000_000;
        let stops = |stops| {
            let mut p = plan(Load::Rate(1.0));
            p.apart = Some(Apart { device: 1, stops });
            Round::new(p, 0)
        };
        let half = Duration::from_millis(500);
        let r = stops(Some(half..2 * half));
        let seen = [0, s + s / 2 - 1, s + s / 2, 2 * s - 1, 2 * s].map(|t| r.stops_reading(t));
        assert_eq!(seen, [false, false, true, true, false]);
        assert!(!stops(None).stops_reading(s + s / 2));
        // The plan's patience is 3 s, the steady state ends at 3 s.
        let late = Duration::from_secs(4);
        assert!(!stops(Some(half..late)).is_given_up(8 * s));
        assert!(stops(Some(half..late)).is_given_up(8 * s + 1));
    }

    #[test]
    fn the_loop_never_sleeps_past_an_event() {
        let r = Round::new(plan(Load::Rate(1.0)), 0);
        assert_eq!(r.timeout(0, None), Duration::ZERO);
        let mut r = Round::new(plan(Load::Rate(1.0)), 0);
        r.take_event(0);
        assert!(r.timeout(999_100_000, None) == Duration::ZERO);
        assert!(r.timeout(990_000_000, None) < Duration::from_millis(10));
    }
}
