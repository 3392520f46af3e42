//! What a run says: one JSON object for programs, some lines for people, and whether its objectives were met.

use std::{
    borrow::Cow,
    io::{self, Write},
    process::ExitCode,
};

use serde_json::{Map, Value, json};

use crate::{
    hist::Latency,
    round::Load,
    scenario::Objective,
    tally::{Tally, as_f64},
};

/// Send lag above which the generator, not the server, decided the latencies.
pub(crate) const LAG_P99_US_MAX: f64 = 1000.0;
/// How late they were, as it is named among the checks.
pub(crate) const SEND_LAG: &str = "send_lag_p99_us";

/// One objective.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Check {
    pub(crate) name: Cow<'static, str>,
    pub(crate) met: bool,
    pub(crate) value: Value,
    pub(crate) bound: Value,
}

impl Check {
    /// `value` may be at most `bound`.
    pub(crate) fn at_most(name: impl Into<Cow<'static, str>>, value: f64, bound: f64) -> Self {
        Self {
            name: name.into(),
            met: value <= bound,
            value: round3(value),
            bound: round3(bound),
        }
    }

    /// `value` has to be at least `bound`.
    pub(crate) fn at_least(name: impl Into<Cow<'static, str>>, value: f64, bound: f64) -> Self {
        Self {
            name: name.into(),
            met: value >= bound,
            value: round3(value),
            bound: round3(bound),
        }
    }

    /// There may be none.
    pub(crate) fn none(name: impl Into<Cow<'static, str>>, count: u64) -> Self {
        Self {
            name: name.into(),
            met: count == 0,
            value: json!(count),
            bound: json!(0),
        }
    }

    fn json(&self) -> Value {
        json!({"name": self.name, "met": self.met, "value": self.value, "bound": self.bound})
    }
}

/// What every measurement of messages has to satisfy.
pub(crate) fn checks_of(tally: &Tally, load: Load) -> Vec<Check> {
    let mut checks = vec![
        Check::none("lost", tally.lost()),
        Check::none("duplicated", tally.duplicated),
        Check::none("reordered", tally.reordered),
        Check::none("corrupted", tally.corrupted),
        Check::none("crossed", tally.crossed),
        Check::none("unanswered", tally.unanswered()),
        Check::none("refused", tally.refused.values().sum()),
        Check::none("reported_failed", tally.reported.values().sum()),
        Check::none("unexpected", tally.unexpected),
        Check::none("connections_lost", tally.broken.len() as u64),
        Check::at_least("delivered", as_f64(tally.delivered_in_window), 1.0),
    ];
    if matches!(load, Load::Rate(_) | Load::Script { .. }) {
        checks.push(Check::at_most(SEND_LAG, tally.lag.us(0.99), LAG_P99_US_MAX));
    }
    checks
}

/// A finished run.
pub(crate) struct Report {
    pub(crate) scenario: String,
    pub(crate) target: String,
    /// In the order in which they are told, behind the fields that all scenarios have.
    pub(crate) fields: Map<String, Value>,
    pub(crate) checks: Vec<Check>,
    /// Lines for people, beside the checks.
    pub(crate) lines: Vec<String>,
    /// Resident memory of the server while its sessions stood, in bytes.
    pub(crate) rss: Option<u64>,
    /// Turns of the server's rings over all of its rounds: its system calls.
    pub(crate) ring_calls: Option<u64>,
}

impl Report {
    pub(crate) fn new(scenario: impl Into<String>, target: impl Into<String>) -> Self {
        Self {
            scenario: scenario.into(),
            target: target.into(),
            fields: Map::new(),
            checks: Vec::new(),
            lines: Vec::new(),
            rss: None,
            ring_calls: None,
        }
    }

    /// Holds objectives against what has been reported by now.
    pub(crate) fn judge(&mut self, objectives: &[Objective]) {
        let so_far = self.json();
        self.checks
            .extend(objectives.iter().map(|o| o.check(&so_far)));
    }

    /// A field, if there is something to say in it.
    pub(crate) fn field(&mut self, name: &str, value: impl Into<Option<Value>>) {
        if let Some(value) = value.into() {
            self.fields.insert(name.to_owned(), value);
        }
    }

    pub(crate) fn line(&mut self, line: impl Into<String>) {
        self.lines.push(line.into());
    }

    /// The counts of `interface.md`.
    pub(crate) fn counts(&mut self, tally: &Tally) {
        self.field("seconds", round3(tally.seconds()));
        for (name, n) in [
            ("sent", tally.sent),
            ("expected", tally.expected),
            ("delivered", tally.delivered),
            ("lost", tally.lost()),
            ("duplicated", tally.duplicated),
            ("reordered", tally.reordered),
            ("corrupted", tally.corrupted),
            ("crossed", tally.crossed),
            ("answered", tally.answered),
            ("unanswered", tally.unanswered()),
            ("unexpected", tally.unexpected),
        ] {
            self.field(name, json!(n));
        }
        let by_code = |codes: &std::collections::BTreeMap<u16, u64>| {
            (!codes.is_empty()).then(|| {
                let map = codes.iter().map(|(code, n)| (code.to_string(), json!(n)));
                Value::Object(map.collect())
            })
        };
        self.field("refused", by_code(&tally.refused));
        self.field("reported_failed", by_code(&tally.reported));
        if !tally.broken.is_empty() {
            self.field("connections_lost", json!(tally.broken));
        }
        for why in &tally.broken {
            self.line(format!("lost connection: {why}"));
        }
    }

    /// The fields of `interface.md` that a tally fills, and the lines that go with them.
    pub(crate) fn messages(&mut self, tally: &Tally, load: Load) {
        self.counts(tally);
        match load {
            Load::Rate(rate) | Load::Script { per_s: rate, .. } => {
                self.field("offered_per_s", round3(rate))
            }
            Load::Saturate { window } => self.field("window", json!(window)),
        }
        self.field("deliveries_per_s", round3(tally.deliveries_per_s()));
        self.field("delivery_us", tally.delivery.json());
        self.field("send_lag_us", tally.lag.json());
        self.field("generator_busy", busy(tally.own_cpu_ns, tally));
        self.line(format!(
            "{} messages sent, {} of {} deliveries in all; {:.0} deliveries/s over {:.1} s",
            tally.sent,
            tally.delivered,
            tally.expected,
            tally.deliveries_per_s(),
            tally.seconds()
        ));
        // An open loop waits awake for what is due: it is busy whatever the pace.
        if matches!(load, Load::Saturate { .. }) && tally.is_generator_bound() {
            self.field("generator_bound", json!(true));
            self.line("the generator, not the server, set the pace: this rate is a lower bound");
        }
        if !tally.delivery.is_empty() {
            let from = match load {
                Load::Rate(_) | Load::Script { .. } => "from intended send time",
                Load::Saturate { .. } => "queueing included: closed loop",
            };
            self.line(format!("delivery  {}  ({from})", tally.delivery.text()));
        }
        if !tally.lag.is_empty() {
            self.line(format!("send lag  {}", tally.lag.text()));
        }
    }

    /// Set-up and teardown times.
    pub(crate) fn times(&mut self, name: &str, times: &Latency) {
        self.field(name, times.json());
        if !times.is_empty() {
            self.line(format!("{name}  {}", times.text()));
        }
    }

    pub(crate) fn is_met(&self) -> bool {
        self.checks.iter().all(|c| c.met)
    }

    /// The object of `interface.md`.
    pub(crate) fn json(&self) -> Value {
        let mut all = Map::new();
        all.insert("scenario".to_owned(), json!(self.scenario));
        all.insert("target".to_owned(), json!(self.target));
        all.extend(self.fields.clone());
        all.insert(
            "slo".to_owned(),
            json!({
                "met": self.is_met(),
                "checks": self.checks.iter().map(Check::json).collect::<Vec<_>>(),
            }),
        );
        Value::Object(all)
    }

    /// Tells it: people on standard error, programs on the last line of standard output.
    pub(crate) fn tell(&self, as_json: bool) -> io::Result<ExitCode> {
        let mut err = io::stderr().lock();
        writeln!(err, "{} against {}", self.scenario, self.target)?;
        for line in &self.lines {
            writeln!(err, "  {line}")?;
        }
        for c in self.checks.iter().filter(|c| !c.met) {
            writeln!(err, "  MISSED {}: {} (bound {})", c.name, c.value, c.bound)?;
            if c.name.starts_with("send_lag_p99_us") {
                writeln!(
                    err,
                    "  the generator could not keep its schedule: this result is invalid"
                )?;
            }
        }
        writeln!(
            err,
            "  {}",
            if self.is_met() {
                "objectives met"
            } else {
                "objectives missed"
            }
        )?;
        if as_json {
            let mut out = io::stdout().lock();
            writeln!(out, "{}", self.json())?;
            out.flush()?;
        }
        Ok(if self.is_met() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

/// Share of the window that a thread or process computed.
pub(crate) fn busy(cpu_ns: Option<u64>, tally: &Tally) -> Option<Value> {
    Some(round3(as_f64(cpu_ns?) / 1e9 / tally.seconds()))
}

/// Three decimals: more would only look exact.
pub(crate) fn round3(x: f64) -> Value {
    json!((x * 1000.0).round() / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally() -> Tally {
        let mut t = Tally::new(0..2_000_000_000);
        t.sent = 10;
        t.expected = 20;
        t.delivered = 20;
        t.delivered_in_window = 20;
        t.answered = 10;
        t
    }

    fn report(t: &Tally, load: Load) -> Report {
        let mut r = Report::new("fanout", "here");
        r.messages(t, load);
        r.checks = checks_of(t, load);
        r
    }

    #[test]
    fn what_was_not_measured_is_absent() {
        let j = report(&tally(), Load::Saturate { window: 1 }).json();
        for absent in [
            "offered_per_s",
            "delivery_us",
            "leaked_after_activity",
            "server",
            "baseline",
            "setup_us",
        ] {
            assert!(j.get(absent).is_none(), "{absent}");
        }
        assert_eq!(j["deliveries_per_s"], json!(10.0));
        assert_eq!(j["slo"]["met"], json!(true));
        assert_eq!(
            report(&tally(), Load::Rate(5.0)).json()["offered_per_s"],
            json!(5.0)
        );
    }

    #[test]
    fn anything_wrong_misses_its_own_check() {
        type Wrong = (&'static str, fn(&mut Tally));
        let wrong: [Wrong; 9] = [
            ("lost", |t| t.delivered -= 1),
            ("duplicated", |t| t.duplicated = 1),
            ("reordered", |t| t.reordered = 1),
            ("corrupted", |t| t.corrupted = 1),
            ("crossed", |t| t.crossed = 1),
            ("unanswered", |t| t.answered -= 1),
            ("unexpected", |t| t.unexpected = 1),
            ("connections_lost", |t| t.broken("why".to_owned())),
            ("reported_failed", |t| t.reported(408)),
        ];
        for (name, make) in wrong {
            let mut t = tally();
            make(&mut t);
            let r = report(&t, Load::Saturate { window: 1 });
            let missed: Vec<_> = r
                .checks
                .iter()
                .filter(|c| !c.met)
                .map(|c| c.name.clone())
                .collect();
            assert_eq!(missed, [name]);
            assert!(!r.is_met());
        }
    }

    #[test]
    fn a_generator_that_is_late_makes_the_result_invalid() {
        let mut t = tally();
        t.lag.record(2_000_000);
        assert!(!report(&t, Load::Rate(5.0)).is_met());
        assert!(
            report(&t, Load::Saturate { window: 1 }).is_met(),
            "a closed loop has no schedule"
        );
    }
}
