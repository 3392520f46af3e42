//! `suite --scenarios`: each scenario that comes with this program against the server, as its file has it, and whether all
//! that it asks for held. No target rests on these; that every scenario can be run and holds is what they show.

use serde_json::{Value, json};

use super::{
    REPEATS,
    child::{self, Ran},
    kept,
    measure::{Bench, Fault, fault_of, is_disturbed},
    row::End,
};
use crate::{
    number::short,
    scenario::{BUILT_IN, Scenario},
    trouble::Trouble,
};

/// What came of a scenario.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Stop {
    name: &'static str,
    /// What it shows, in the words of its file.
    about: String,
    came: Came,
    /// Runs that were needed until one counted.
    runs: u32,
}

#[derive(Clone, PartialEq, Debug)]
enum Came {
    /// All objectives were met, and how many these are.
    Met(usize),
    /// These were missed.
    Missed(Vec<Value>),
    /// It cannot be told, or what must not happen did.
    Without(Fault),
}

/// Whether there are scenarios of these names.
pub(super) fn check(only: &[String]) -> Result<(), Trouble> {
    for name in only {
        Scenario::built_in(name)?;
    }
    Ok(())
}

/// Runs those with these names, or all; their runs go into the record.
pub(super) async fn all(
    only: &[String],
    bench: &Bench,
    runs: &mut Vec<Value>,
) -> Result<Vec<Stop>, Trouble> {
    let chosen: Vec<&(&str, &str)> = BUILT_IN
        .iter()
        .filter(|(name, _)| only.is_empty() || only.iter().any(|o| o == name))
        .collect();
    let mut stops = Vec::new();
    for (i, &&(name, _)) in chosen.iter().enumerate() {
        super::progress(&format!("[{}/{}] {name}", i + 1, chosen.len()));
        let stop = one(name, bench, runs).await?;
        eprintln!("  {name}: {}", stop.verdict());
        stops.push(stop);
    }
    Ok(stops)
}

/// Runs it until it counts: a machine that stood still says nothing of the server. What the server got wrong stays wrong.
async fn one(name: &'static str, bench: &Bench, runs: &mut Vec<Value>) -> Result<Stop, Trouble> {
    let about = Scenario::built_in(name)?.about;
    let words = [name, "--spawn", &bench.spawn].map(str::to_owned);
    let mut stop = Stop {
        name,
        about,
        came: Came::Without(Fault::NotRun("there was no time left for it".to_owned())),
        runs: 0,
    };
    while stop.runs < REPEATS && bench.clock.now() < bench.until {
        let ran = child::run(&words, &bench.root, &bench.folder, bench.clock, bench.until).await?;
        stop.runs += 1;
        stop.came = Came::of(&ran);
        let counts = stop.came.counts(&ran);
        runs.push(kept(name, Some("server"), &ran));
        if counts {
            break;
        }
    }
    Ok(stop)
}

impl Came {
    fn of(ran: &Ran) -> Self {
        if let Some(fault) = fault_of(ran) {
            return Self::Without(fault);
        }
        let missed = ran.missed();
        if missed.is_empty() {
            let checks = ran
                .record
                .as_ref()
                .and_then(|r| r["report"]["slo"]["checks"].as_array());
            Self::Met(checks.map_or(0, Vec::len))
        } else {
            Self::Missed(missed.into_iter().cloned().collect())
        }
    }

    /// Whether another run could not come to something else.
    fn counts(&self, ran: &Ran) -> bool {
        match self {
            Self::Met(_) | Self::Without(Fault::Wrong(_) | Fault::NotRun(_)) => true,
            Self::Without(Fault::Late(_)) => false,
            Self::Missed(_) => !ran
                .record
                .as_ref()
                .is_some_and(|r| is_disturbed(&r["report"])),
        }
    }

    const fn end(&self) -> End {
        match self {
            Self::Met(_) => End::Met,
            Self::Missed(_) | Self::Without(Fault::Wrong(_)) => End::Missed,
            Self::Without(Fault::NotRun(_) | Fault::Late(_)) => End::Undecided,
        }
    }
}

impl Stop {
    pub(super) const fn end(&self) -> End {
        self.came.end()
    }

    /// For the record and the page.
    pub(super) fn json(&self) -> Value {
        let (verdict, missed, why) = match &self.came {
            Came::Met(_) => ("met", None, None),
            Came::Missed(missed) => ("missed", Some(missed), None),
            Came::Without(Fault::Wrong(why)) => ("wrong", None, Some(why)),
            Came::Without(Fault::NotRun(why) | Fault::Late(why)) => ("not run", None, Some(why)),
        };
        let mut it = json!({
            "scenario": self.name,
            "about": self.about,
            "verdict": verdict,
            "runs": self.runs,
        });
        if let Came::Met(objectives) = self.came {
            it["objectives"] = json!(objectives);
        }
        if let Some(missed) = missed {
            it["missed"] = json!(missed);
        }
        if let Some(why) = why {
            it["why"] = json!(why);
        }
        it
    }

    /// In a line.
    fn verdict(&self) -> String {
        match &self.came {
            Came::Met(objectives) => format!("met, all {objectives} objectives"),
            Came::Missed(missed) => {
                let told = |c: &Value| {
                    let number = |v: &Value| v.as_f64().map_or_else(|| v.to_string(), short);
                    let name = c["name"].as_str().unwrap_or("?");
                    format!(
                        "{name} {} (bound {})",
                        number(&c["value"]),
                        number(&c["bound"])
                    )
                };
                format!(
                    "MISSED: {}",
                    missed.iter().map(told).collect::<Vec<_>>().join(", ")
                )
            }
            Came::Without(Fault::Wrong(why)) => format!("MISSED, wrong: {why}"),
            Came::Without(Fault::NotRun(why) | Fault::Late(why)) => format!("not run: {why}"),
        }
    }
}

/// The table for people.
pub(super) fn table(stops: &[Stop]) -> Vec<String> {
    let width = stops.iter().map(|s| s.name.len()).max().unwrap_or(0);
    let line = |s: &Stop| format!("{:<width$}  {}", s.name, s.verdict());
    stops.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(exit: i32, checks: &Value, marked: u64) -> Ran {
        Ran {
            command: String::new(),
            exit: Some(exit),
            is_other: false,
            record: Some(json!({"report": {
                "slo": {"checks": checks},
                "hiccups": {"rounds": 1, "marked": marked},
            }})),
            last_line: String::new(),
        }
    }

    fn check(name: &str, value: f64, bound: f64) -> Value {
        json!({"name": name, "met": value <= bound, "value": value, "bound": bound})
    }

    #[test]
    fn what_held_what_was_missed_and_what_counts_are_told_apart() {
        let lost = check("lost", 3.0, 0.0);
        let slow = check("delivery_us.p99", 9000.0, 5000.0);
        let lag = check("send_lag_p99_us", 1200.0, 1000.0);
        let fine = check("duplicated", 0.0, 0.0);
        for (exit, checks, marked, verdict, end, counts) in [
            (0, json!([fine]), 0, "met, all 1 objectives", End::Met, true),
            (0, json!([fine]), 1, "met, all 1 objectives", End::Met, true),
            (
                1,
                json!([slow]),
                0,
                "MISSED: delivery_us.p99 9,000 (bound 5,000)",
                End::Missed,
                true,
            ),
            (
                1,
                json!([slow]),
                1,
                "MISSED: delivery_us.p99 9,000 (bound 5,000)",
                End::Missed,
                false,
            ),
            (
                1,
                json!([slow, lost]),
                1,
                "MISSED, wrong: lost 3.0",
                End::Missed,
                true,
            ),
            (
                1,
                json!([lag]),
                0,
                "not run: the rounds are not valid: send_lag_p99_us 1200.0",
                End::Undecided,
                false,
            ),
        ] {
            let ran = ran(exit, &checks, marked);
            let came = Came::of(&ran);
            assert_eq!(came.counts(&ran), counts, "{checks}");
            let stop = Stop {
                name: "x",
                about: String::new(),
                came,
                runs: 1,
            };
            assert_eq!(
                (stop.verdict().as_str(), stop.end()),
                (verdict, end),
                "{checks}"
            );
        }
    }
}
