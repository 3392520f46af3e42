//! What a round counted: every message sent, every one that came, and what was wrong with it.

use std::{collections::BTreeMap, ops::Range};

use crate::{
    body::Mark, clock::Nanos, hiccup::Hiccup, hist::Latency, life::counts::Counts, order::Fit,
    series::Series,
};

/// Counts and latencies of one round.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    /// The steady state: deliveries in it make the rate, messages meant for it make the latencies.
    pub(crate) window: Range<Nanos>,
    /// Sessions below this number stand all the time; the others come and go, and are new when they get their messages.
    pub(crate) standing: u32,
    /// Messages written, warm-up included.
    pub(crate) sent: u64,
    /// SENDs beyond one a message.
    pub(crate) more_sends: u64,
    /// Deliveries that `sent` asks for.
    pub(crate) expected: u64,
    /// Messages that reached a device, each device counted, repeats not.
    pub(crate) delivered: u64,
    /// Of these, those within the window.
    pub(crate) delivered_in_window: u64,
    pub(crate) duplicated: u64,
    pub(crate) reordered: u64,
    pub(crate) corrupted: u64,
    pub(crate) crossed: u64,
    /// SENDs that were answered 200, once each.
    pub(crate) answered: u64,
    /// Answers other than 200, by code.
    pub(crate) refused: BTreeMap<u16, u64>,
    /// Failure REPORTs, by code.
    pub(crate) reported: BTreeMap<u16, u64>,
    /// Requests and answers that nothing called for.
    pub(crate) unexpected: u64,
    /// Connections that ended before their time, and why.
    pub(crate) broken: Vec<String>,
    /// From the intended send time to the device's read.
    pub(crate) delivery: Latency,
    /// From the intended to the actual send time.
    pub(crate) lag: Latency,
    /// CPU that the generator's data thread used in the window.
    pub(crate) own_cpu_ns: Option<u64>,
    /// CPU that the server used in the window.
    pub(crate) server_cpu_ns: Option<u64>,
    /// Messages a second that were to be sent, in an open loop.
    pub(crate) offered_per_s: Option<f64>,
    /// Deliveries over the time of the window.
    pub(crate) series: Series,
    /// What the machine did meanwhile, if somebody looked.
    pub(crate) hiccup: Option<Hiccup>,
    /// Of the device that was counted apart, if there was one.
    pub(crate) apart: Option<ApartCounts>,
    /// Of what only sessions with a life of their own do.
    pub(crate) life: Counts,
}

/// What the devices got that were counted apart, all sessions together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct ApartCounts {
    /// Whether they stopped reading.
    pub(crate) stopped: bool,
    pub(crate) delivered: u64,
    /// What they did not get because the server gave their legs up.
    pub(crate) given_up: u64,
    /// Legs that it gave up.
    pub(crate) legs_given_up: u64,
    /// What they did not get although their legs stand.
    pub(crate) lost: u64,
}

impl Tally {
    /// Reasons that are kept; more say nothing new.
    const BROKEN_MAX: usize = 16;

    pub(crate) fn new(window: Range<Nanos>) -> Self {
        Self {
            series: Series::new(window.clone()),
            window,
            standing: u32::MAX,
            sent: 0,
            more_sends: 0,
            expected: 0,
            delivered: 0,
            delivered_in_window: 0,
            duplicated: 0,
            reordered: 0,
            corrupted: 0,
            crossed: 0,
            answered: 0,
            refused: BTreeMap::new(),
            reported: BTreeMap::new(),
            unexpected: 0,
            broken: Vec::new(),
            delivery: Latency::new(),
            lag: Latency::new(),
            own_cpu_ns: None,
            server_cpu_ns: None,
            offered_per_s: None,
            hiccup: None,
            apart: None,
            life: Counts::new(),
        }
    }

    /// Takes over what came between two rounds: it belongs to none and is wrong in each.
    pub(crate) fn carry_over(&mut self, stray: &Self) {
        self.duplicated += stray.duplicated;
        self.corrupted += stray.corrupted;
        self.crossed += stray.crossed;
        self.unexpected += stray.unexpected;
        self.life.leaked += stray.life.leaked;
    }

    /// Messages were written, in `sends` SENDs each.
    pub(crate) fn wrote(&mut self, messages: u32, sends: u32) {
        self.sent += u64::from(messages);
        self.more_sends += u64::from(messages) * u64::from(sends - 1);
    }

    /// A message reached a device at `now`.
    pub(crate) fn arrived(&mut self, mark: Mark, fit: Fit, now: Nanos) {
        match fit {
            Fit::New => {}
            Fit::Late => self.reordered += 1,
            Fit::Again => {
                self.duplicated += 1;
                return;
            }
            Fit::Never => {
                self.corrupted += 1;
                return;
            }
        }
        self.delivered += 1;
        if self.window.contains(&now) {
            self.delivered_in_window += 1;
            self.series.arrived(now, now.saturating_sub(mark.at));
        }
        if self.window.contains(&mark.at) {
            let took = now.saturating_sub(mark.at);
            if mark.session < self.standing {
                self.delivery.record(took);
            } else {
                self.life.in_new_sessions.record(took);
            }
        }
    }

    /// A device's message reached the sender at `now`.
    pub(crate) fn said_arrived(&mut self, at: Nanos, now: Nanos, fit: Fit) {
        match fit {
            Fit::New => {}
            Fit::Late => self.reordered += 1,
            Fit::Again => {
                self.duplicated += 1;
                return;
            }
            Fit::Never => {
                self.corrupted += 1;
                return;
            }
        }
        self.life.heard += 1;
        self.life.reply.record(now.saturating_sub(at));
    }

    /// Deliveries that nobody owes any more.
    pub(crate) fn forgive(&mut self, deliveries: u64) {
        self.expected -= deliveries.min(self.expected);
    }

    /// A message was answered with `code`, which is not 200.
    pub(crate) fn refused(&mut self, code: u16) {
        *self.refused.entry(code).or_default() += 1;
    }

    /// A message was reported with `code`, which is not 200.
    pub(crate) fn reported(&mut self, code: u16) {
        *self.reported.entry(code).or_default() += 1;
    }

    /// A connection ended before its time.
    pub(crate) fn broken(&mut self, why: String) {
        if self.broken.len() < Self::BROKEN_MAX {
            self.broken.push(why);
        }
    }

    /// Whatever should be none and can be told while the round runs.
    pub(crate) fn wrong(&self) -> u64 {
        self.duplicated
            + self.reordered
            + self.corrupted
            + self.crossed
            + self.unexpected
            + self.refused.values().sum::<u64>()
            + self.reported.values().sum::<u64>()
            + self.broken.len() as u64
    }

    /// Deliveries that never came.
    pub(crate) fn lost(&self) -> u64 {
        self.expected - self.delivered.min(self.expected)
    }

    /// SENDs that were never answered at all.
    pub(crate) fn unanswered(&self) -> u64 {
        let answers = self.answered + self.refused.values().sum::<u64>();
        let sends = self.sent + self.more_sends;
        sends - answers.min(sends)
    }

    /// Whether everything that was sent has come and been answered.
    pub(crate) fn is_complete(&self) -> bool {
        self.lost() == 0 && self.unanswered() == 0 && self.life.is_complete()
    }

    /// Length of the window in seconds.
    pub(crate) fn seconds(&self) -> f64 {
        as_f64(self.window.end - self.window.start) / 1e9
    }

    /// Deliveries a second within the window.
    pub(crate) fn deliveries_per_s(&self) -> f64 {
        as_f64(self.delivered_in_window) / self.seconds()
    }

    /// CPU of the server for one delivery, in nanoseconds.
    pub(crate) fn server_cpu_per_delivery(&self) -> Option<f64> {
        let cpu = self.server_cpu_ns?;
        (self.delivered_in_window > 0).then(|| as_f64(cpu) / as_f64(self.delivered_in_window))
    }

    /// Whether the generator, not the server, set the pace: it computed all the time and the server did not.
    pub(crate) fn is_generator_bound(&self) -> bool {
        let busy = |cpu: Option<u64>| cpu.map(|ns| as_f64(ns) / 1e9 / self.seconds());
        busy(self.own_cpu_ns).is_some_and(|own| own > 0.95)
            && busy(self.server_cpu_ns).is_some_and(|server| server < 0.9)
    }

    /// Adds another round's counts; windows and CPU add up, so that rates become means over all rounds.
    pub(crate) fn add(&mut self, other: &Self) {
        self.window.end += other.window.end - other.window.start;
        self.sent += other.sent;
        self.more_sends += other.more_sends;
        self.expected += other.expected;
        self.delivered += other.delivered;
        self.delivered_in_window += other.delivered_in_window;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.corrupted += other.corrupted;
        self.crossed += other.crossed;
        self.answered += other.answered;
        for (&code, &n) in &other.refused {
            *self.refused.entry(code).or_default() += n;
        }
        for (&code, &n) in &other.reported {
            *self.reported.entry(code).or_default() += n;
        }
        self.unexpected += other.unexpected;
        for why in &other.broken {
            self.broken(why.clone());
        }
        self.life.add(&other.life);
        self.delivery.add(&other.delivery);
        self.lag.add(&other.lag);
        let sum = |a: Option<u64>, b: Option<u64>| a.zip(b).map(|(a, b)| a + b);
        self.own_cpu_ns = sum(self.own_cpu_ns, other.own_cpu_ns);
        self.server_cpu_ns = sum(self.server_cpu_ns, other.server_cpu_ns);
    }
}

/// For ratios and rates.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
pub(crate) fn as_f64(n: u64) -> f64 {
    n as f64
}
