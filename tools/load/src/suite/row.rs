//! A row of the suite's table: what came of one target.

use serde_json::{Map, Value, json};

use super::{
    measure::{Fault, Samples},
    targets::Target,
};
use crate::{
    number::short,
    report::round3,
    stats::{Bound, Estimate, Verdict, median},
};

/// What came of a target.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Outcome {
    Judged {
        estimate: Estimate,
        verdict: Verdict,
        /// Medians of both sides; the second only where there is one.
        ours: f64,
        theirs: Option<f64>,
        left_out: usize,
    },
    /// There were no samples, and why.
    Without(Fault),
}

/// A target and what came of it.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Row {
    pub(crate) target: Target,
    pub(crate) outcome: Outcome,
}

/// How the suite as a whole ends.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum End {
    Met,
    Undecided,
    Missed,
}

impl End {
    /// One target that was missed decides; then one that nothing can be said about.
    pub(crate) fn of(rows: &[Row]) -> Self {
        Self::worst(rows.iter().map(|r| r.outcome.end()))
    }

    /// The worst of these; nothing can be said about none.
    pub(crate) fn worst(ends: impl Iterator<Item = Self>) -> Self {
        ends.max().unwrap_or(Self::Undecided)
    }

    /// The exit code.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Met => 0,
            Self::Missed => 1,
            Self::Undecided => 3,
        }
    }
}

impl Outcome {
    pub(crate) fn of(target: &Target, samples: &Samples) -> Self {
        match Estimate::of(&samples.judged) {
            None if samples.left_out > 0 => Self::Without(Fault::Late(format!(
                "the machine disturbed all {} rounds",
                samples.left_out
            ))),
            None => Self::Without(Fault::NotRun(format!("no round has {}", target.figure))),
            Some(estimate) => Self::Judged {
                verdict: Verdict::of(&estimate, target.bound),
                estimate,
                ours: median(samples.ours.iter().copied()),
                theirs: (!samples.theirs.is_empty())
                    .then(|| median(samples.theirs.iter().copied())),
                left_out: samples.left_out,
            },
        }
    }

    /// Whether more rounds would help.
    pub(crate) fn is_open(&self) -> bool {
        match self {
            Self::Judged { verdict, .. } => *verdict == Verdict::Undecided,
            // A late generator may be on time in another run; the rest stays as it is.
            Self::Without(Fault::Late(_)) => true,
            Self::Without(Fault::NotRun(_) | Fault::Wrong(_)) => false,
        }
    }

    fn end(&self) -> End {
        match self {
            Self::Judged { verdict, .. } => match verdict {
                Verdict::Met | Verdict::Touched => End::Met,
                Verdict::Missed => End::Missed,
                Verdict::Undecided => End::Undecided,
            },
            Self::Without(Fault::Wrong(_)) => End::Missed,
            Self::Without(Fault::NotRun(_) | Fault::Late(_)) => End::Undecided,
        }
    }

    /// In a word or a sentence.
    pub(crate) fn verdict(&self) -> String {
        match self {
            Self::Judged { verdict, .. } => match verdict {
                Verdict::Met => "met".to_owned(),
                Verdict::Touched => "met: the target lies within the interval".to_owned(),
                Verdict::Missed => "MISSED".to_owned(),
                Verdict::Undecided => "undecided".to_owned(),
            },
            Self::Without(Fault::Wrong(why)) => format!("MISSED, wrong: {why}"),
            Self::Without(Fault::NotRun(why) | Fault::Late(why)) => format!("not run: {why}"),
        }
    }

    /// One word for programs.
    fn word(&self) -> &'static str {
        match self {
            Self::Judged { verdict, .. } => match verdict {
                Verdict::Met => "met",
                Verdict::Touched => "met within the interval",
                Verdict::Missed => "missed",
                Verdict::Undecided => "undecided",
            },
            Self::Without(Fault::Wrong(_)) => "wrong",
            Self::Without(Fault::NotRun(_) | Fault::Late(_)) => "not run",
        }
    }
}

impl Row {
    /// For the record and the page.
    pub(crate) fn json(&self) -> Value {
        let t = &self.target;
        let mut all = Map::new();
        let mut put = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                all.insert(key.to_owned(), value);
            }
        };
        put("id", Some(json!(t.id)));
        put("what", Some(json!(t.what)));
        put("against", t.against.as_ref().map(|a| json!(a)));
        let (bound, value) = match t.bound {
            Bound::AtLeast(b) => ("at_least", b),
            Bound::AtMost(b) => ("at_most", b),
        };
        put(bound, Some(json!(value)));
        put("measure", Some(json!(t.measure)));
        put("figure", Some(json!(t.figure)));
        put("unit", (!t.unit.is_empty()).then(|| json!(t.unit)));
        put("verdict", Some(json!(self.outcome.word())));
        match &self.outcome {
            Outcome::Judged {
                estimate,
                ours,
                theirs,
                left_out,
                ..
            } => {
                put("median", Some(round3(estimate.median)));
                put(
                    "interval",
                    estimate
                        .interval
                        .map(|(low, high)| json!([round3(low), round3(high)])),
                );
                put("samples", Some(json!(estimate.samples)));
                put("ours", Some(round3(*ours)));
                put("theirs", theirs.map(round3));
                put("left_out", (*left_out > 0).then(|| json!(left_out)));
            }
            Outcome::Without(Fault::Wrong(why) | Fault::NotRun(why) | Fault::Late(why)) => {
                put("why", Some(json!(why)));
            }
        }
        Value::Object(all)
    }

    fn cells(&self) -> [String; 8] {
        let t = &self.target;
        let bound = match t.bound {
            Bound::AtLeast(b) => format!(">= {}", short(b)),
            Bound::AtMost(b) => format!("<= {}", short(b)),
        };
        let (mut ours, mut theirs, mut median, mut interval, mut rounds) = Default::default();
        if let Outcome::Judged {
            estimate,
            ours: o,
            theirs: b,
            left_out,
            ..
        } = &self.outcome
        {
            ours = short(*o);
            theirs = b.map(short).unwrap_or_default();
            median = short(estimate.median);
            interval = estimate.interval.map_or_else(
                || "none".to_owned(),
                |(low, high)| format!("{} to {}", short(low), short(high)),
            );
            rounds = match left_out {
                0 => estimate.samples.to_string(),
                n => format!("{} (+{n} disturbed)", estimate.samples),
            };
        }
        [
            t.id.clone(),
            ours,
            theirs,
            median,
            interval,
            rounds,
            bound,
            self.outcome.verdict(),
        ]
    }
}

/// The table for people; blank-separated columns, the figures to the right.
pub(crate) fn table(rows: &[Row]) -> Vec<String> {
    let head = [
        "target",
        "ours",
        "theirs",
        "median",
        "95 % interval",
        "rounds",
        "bound",
        "",
    ]
    .map(str::to_owned);
    let cells: Vec<[String; 8]> = std::iter::once(head)
        .chain(rows.iter().map(Row::cells))
        .collect();
    let widths: Vec<usize> = (0..8)
        .map(|i| {
            cells
                .iter()
                .map(|row| row[i].chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    cells
        .iter()
        .map(|row| {
            let columns = row
                .iter()
                .zip(&widths)
                .enumerate()
                .map(|(i, (cell, width))| {
                    if (1..=5).contains(&i) {
                        format!("{cell:>width$}")
                    } else {
                        format!("{cell:<width$}")
                    }
                });
            columns.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> Target {
        Target {
            id: "rate".to_owned(),
            what: "deliveries a second".to_owned(),
            against: Some("byte forwarder".to_owned()),
            bound: Bound::AtLeast(0.9),
            rounds: 7,
            measure: "m".to_owned(),
            figure: "deliveries_per_s".to_owned(),
            unit: String::new(),
        }
    }

    fn row(ratios: &[f64]) -> Row {
        let samples = Samples {
            judged: ratios.to_vec(),
            ours: ratios.iter().map(|r| r * 1e6).collect(),
            theirs: vec![1e6; ratios.len()],
            left_out: 0,
        };
        Row {
            outcome: Outcome::of(&target(), &samples),
            target: target(),
        }
    }

    fn without(fault: Fault) -> Row {
        Row {
            target: target(),
            outcome: Outcome::Without(fault),
        }
    }

    #[test]
    fn the_end_is_that_of_the_worst_row() {
        let met = row(&[1.0; 7]);
        let missed = row(&[0.5; 7]);
        let open = row(&[0.5, 0.9, 0.9, 0.9, 0.9, 0.9, 1.5]);
        let not_run = without(Fault::NotRun("kamailio is not installed".to_owned()));
        let wrong = without(Fault::Wrong("lost 3".to_owned()));
        let late = without(Fault::Late("late".to_owned()));
        let end =
            |rows: &[&Row]| End::of(&rows.iter().map(|r| (*r).clone()).collect::<Vec<_>>()).code();
        assert_eq!(end(&[&met, &met]), 0);
        assert_eq!(end(&[&met, &missed, &open]), 1);
        assert_eq!(end(&[&met, &wrong]), 1);
        assert_eq!(end(&[&met, &open]), 3);
        assert_eq!(end(&[&met, &not_run]), 3, "what was not run has not passed");
        assert_eq!(end(&[&late]), 3);
        assert_eq!(end(&[]), 3);
        assert!(open.outcome.is_open() && late.outcome.is_open());
        assert!(!missed.outcome.is_open() && !not_run.outcome.is_open());
    }

    #[test]
    fn no_samples_are_not_a_pass() {
        let none = Outcome::of(&target(), &Samples::default());
        assert_eq!(none.verdict(), "not run: no round has deliveries_per_s");
        let disturbed = Samples {
            left_out: 7,
            ..Samples::default()
        };
        assert!(
            Outcome::of(&target(), &disturbed)
                .verdict()
                .contains("all 7 rounds")
        );
    }

    #[test]
    fn the_table_says_it_all() {
        let lines = table(&[
            row(&[0.5, 0.51, 0.52, 0.53, 0.54, 0.55, 0.56]),
            without(Fault::NotRun("why".to_owned())),
        ]);
        assert_eq!(
            lines[0],
            "target  ours  theirs  median  95 % interval  rounds  bound"
        );
        assert_eq!(
            lines[1],
            "rate    530k      1M    0.53    0.5 to 0.56       7  >= 0.9  MISSED"
        );
        assert_eq!(lines[2].find(">="), lines[1].find(">="));
        assert!(lines[2].ends_with(">= 0.9  not run: why"));
    }

    #[test]
    fn what_is_written_has_the_figures_and_no_endless_ones() {
        let j = row(&[0.5; 3]).json();
        assert_eq!(j["verdict"], "undecided");
        assert!(j.get("interval").is_none(), "three samples have none");
        let j = row(&[0.95; 7]).json();
        assert_eq!(
            (&j["at_least"], &j["interval"]),
            (&json!(0.9), &json!([0.95, 0.95]))
        );
        assert_eq!(
            without(Fault::Wrong("lost 1".to_owned())).json()["why"],
            "lost 1"
        );
    }
}
