//! `perf/targets.toml`: what is to be reached, against what, and how that is measured.
//!
//! A target is a bound on the median of a figure; a measurement is a command of this program and a way to make samples of
//! it. Several targets may share one measurement. Tables that others read from the same file (`[instructions]`) are left
//! alone.

use std::collections::BTreeMap;

use super::keys::{Problems, Table};
use crate::stats::Bound;

/// The whole file.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Targets {
    /// In the order of the file.
    pub(crate) targets: Vec<Target>,
    pub(crate) measures: BTreeMap<String, Measure>,
}

/// One row of the table of targets.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Target {
    pub(crate) id: String,
    pub(crate) what: String,
    /// What the figure is divided by; without it the figure itself is bounded.
    pub(crate) against: Option<String>,
    pub(crate) bound: Bound,
    /// Samples at least.
    pub(crate) rounds: u32,
    /// Key in [`Targets::measures`].
    pub(crate) measure: String,
    /// Where in a round's or a report's JSON the figure stands, with dots: `delivery_us.p99`.
    pub(crate) figure: String,
    /// Of the figure.
    pub(crate) unit: String,
}

impl Target {
    /// A figure of the tail: rounds that the machine disturbed do not count.
    pub(crate) fn is_tail(&self) -> bool {
        self.figure.contains("_us.")
    }
}

/// How samples come about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Measure {
    pub(crate) way: Way,
    /// The command of this program, without target and record.
    pub(crate) run: Vec<String>,
    /// Programs without which it cannot be measured.
    pub(crate) needs: Vec<String>,
    /// Whether `--quick` has time for it.
    pub(crate) quick: bool,
}

/// What a sample is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    /// One run, rounds of server and byte forwarder in turn: each pair's ratio.
    Baseline,
    /// A run that saturates the server alone, then one at half of that rate, server and byte forwarder in turn: each pair's
    /// ratio.
    HalfLoad,
    /// Two runs in turn, a server each: the ratio of the first's figure to the second's.
    Against(Vec<String>),
    /// One run: its figure.
    Alone,
}

/// Reads the file; `name` is for messages. All that is wrong with it at once.
pub(crate) fn parse(name: &str, text: &str) -> Result<Targets, Problems> {
    let mut problems = Problems::new(name, text);
    let document = problems.document(text);
    let mut top = Table::new("", document.get_ref(), 0..0);
    let measures: BTreeMap<String, Measure> = top
        .tables_by_name("measure", &mut problems)
        .into_iter()
        .map(|(key, table)| (key, measure(table, &mut problems)))
        .collect();
    let rows = top.tables("target", &mut problems);
    if rows.is_empty() {
        problems.add(0..0, "target", "there is none");
    }
    let mut targets: Vec<Target> = Vec::new();
    for table in rows {
        let id_at = table.place("id");
        let row = target(table, &measures, &mut problems);
        if targets.iter().any(|t| t.id == row.id) && !row.id.is_empty() {
            problems.add(id_at, "target.id", format!("{:?} stands twice", row.id));
        }
        targets.push(row);
    }
    for (name, place) in top.names("measure") {
        if !targets.iter().any(|t| t.measure == name) {
            problems.add(place, &format!("measure.{name}"), "no target uses it");
        }
    }
    top.leave("instructions");
    top.end(&mut problems);
    problems.or(Targets { targets, measures })
}

fn target(
    mut t: Table<'_>,
    measures: &BTreeMap<String, Measure>,
    problems: &mut Problems,
) -> Target {
    let id = t.text("id", problems);
    let what = t.text("what", problems);
    let against = t.optional_text("against", problems);
    let least = t.optional_number("at_least", problems);
    let most = t.optional_number("at_most", problems);
    let bound = match (least, most) {
        (Some(b), None) => Bound::AtLeast(b),
        (None, Some(b)) => Bound::AtMost(b),
        (None, None) | (Some(_), Some(_)) => {
            // A bound that is no number has been told already.
            if !t.has("at_least") && !t.has("at_most") || t.has("at_least") && t.has("at_most") {
                problems.add(
                    t.place("at_most"),
                    "target.at_least",
                    "expected at_least or at_most, one of them",
                );
            }
            Bound::AtLeast(0.0)
        }
    };
    let rounds = t.whole("rounds", 6..=99, problems);
    let measure = t.text("measure", problems);
    if !measure.is_empty() && !measures.contains_key(&measure) {
        let place = t.place("measure");
        problems.add(
            place,
            "target.measure",
            format!("there is no [measure.{measure}]"),
        );
    }
    let figure = t.text("figure", problems);
    let unit = t.optional_text("unit", problems).unwrap_or_default();
    if against.is_none()
        && let Some(m) = measures.get(&measure)
        && m.way != Way::Alone
    {
        problems.add(
            t.place("id"),
            "target.against",
            "missing: its measurement gives a ratio, of what to what?",
        );
    }
    t.end(problems);
    Target {
        id,
        what,
        against,
        bound,
        rounds,
        measure,
        figure,
        unit,
    }
}

fn measure(mut t: Table<'_>, problems: &mut Problems) -> Measure {
    let words = |text: String| text.split_whitespace().map(str::to_owned).collect();
    let by = t.text("by", problems);
    let run = words(t.text("run", problems));
    let against = t.optional_text("against", problems);
    let way = match (by.as_str(), against) {
        ("baseline", None) => Way::Baseline,
        ("half-load", None) => Way::HalfLoad,
        ("alone", None) => Way::Alone,
        ("against", Some(other)) => Way::Against(words(other)),
        ("against", None) => {
            problems.add(
                t.place("by"),
                &t.key("against"),
                "missing: what it is measured against",
            );
            Way::Alone
        }
        ("baseline" | "half-load" | "alone", Some(_)) => {
            problems.add(
                t.place("against"),
                &t.key("against"),
                "belongs to by = \"against\" only",
            );
            Way::Alone
        }
        ("", _) => Way::Alone,
        (other, _) => {
            problems.add(
                t.place("by"),
                &t.key("by"),
                format!(
                    "{other:?}: expected \"baseline\", \"half-load\", \"against\" or \"alone\""
                ),
            );
            Way::Alone
        }
    };
    let needs = words(t.optional_text("needs", problems).unwrap_or_default());
    let quick = t.optional_flag("quick", problems).unwrap_or(true);
    t.end(problems);
    Measure {
        way,
        run,
        needs,
        quick,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
[instructions]
anything = { goes = 1 }

[measure.many]
by = "baseline"
run = "fanout --devices 4"

[measure.two]
by = "against"
run = "a 1"
against = "b 2"
needs = "kamailio"
quick = false

[[target]]
id = "rate"
what = "deliveries a second"
against = "byte forwarder"
at_least = 0.9
rounds = 7
measure = "many"
figure = "deliveries_per_s"

[[target]]
id = "tail"
what = "p99"
against = "without"
at_most = 1.25
rounds = 7
measure = "two"
figure = "delivery_us.p99"
"#;

    /// Lines and keys of what is wrong with the good file after a change.
    fn wrong(from: &str, to: &str) -> Vec<(usize, String)> {
        assert!(GOOD.contains(from), "{from}");
        match parse("t.toml", &GOOD.replacen(from, to, 1)) {
            Ok(_) => Vec::new(),
            Err(p) => p.places(),
        }
    }

    #[test]
    fn a_good_file_is_read_whole() {
        let t = parse("t.toml", GOOD).unwrap();
        assert_eq!(t.targets.len(), 2);
        assert_eq!(t.targets[0].bound, Bound::AtLeast(0.9));
        assert_eq!(t.targets[1].bound, Bound::AtMost(1.25));
        assert!(t.targets[1].is_tail() && !t.targets[0].is_tail());
        assert_eq!(t.measures["many"].run, ["fanout", "--devices", "4"]);
        assert!(t.measures["many"].quick && !t.measures["two"].quick);
        assert_eq!(t.measures["two"].needs, ["kamailio"]);
        assert_eq!(
            t.measures["two"].way,
            Way::Against(vec!["b".to_owned(), "2".to_owned()])
        );
    }

    #[test]
    fn each_problem_has_its_line_and_key() {
        let at = |line: usize, key: &str| vec![(line, key.to_owned())];
        assert_eq!(
            wrong("at_least = 0.9", "at_least = \"0.9\""),
            at(20, "target.at_least")
        );
        assert_eq!(
            wrong("at_least = 0.9", "at_least = -1"),
            at(20, "target.at_least")
        );
        assert_eq!(wrong("at_least = 0.9", ""), at(16, "target.at_least"));
        assert_eq!(
            wrong("at_least = 0.9", "at_least = 1\nat_most = 2"),
            at(21, "target.at_least")
        );
        assert_eq!(wrong("rounds = 7", "rounds = 3"), at(21, "target.rounds"));
        assert_eq!(
            wrong("rounds = 7", "round = 7"),
            [at(16, "target.rounds"), at(21, "target.round")].concat()
        );
        assert_eq!(
            wrong("measure = \"many\"", "measure = \"few\""),
            [at(5, "measure.many"), at(22, "target.measure")].concat()
        );
        assert_eq!(wrong("id = \"tail\"", "id = \"rate\""), at(26, "target.id"));
        assert_eq!(
            wrong("by = \"baseline\"", "by = \"chance\""),
            at(6, "measure.many.by")
        );
        assert_eq!(
            wrong("against = \"b 2\"", ""),
            at(10, "measure.two.against")
        );
        assert_eq!(
            wrong("quick = false", "quick = \"no\""),
            at(14, "measure.two.quick")
        );
        assert_eq!(
            wrong("against = \"without\"\n", ""),
            at(26, "target.against")
        );
        assert_eq!(
            wrong("[instructions]", "[instruction]"),
            at(2, "instruction")
        );
        assert_eq!(
            wrong("rounds = 7", "rounds = = 7")[0].0,
            21,
            "no TOML at all"
        );
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let text = GOOD
            .replace("rounds = 7", "rounds = 0")
            .replace("what", "waht");
        let Err(problems) = parse("t.toml", &text) else {
            panic!("it was taken");
        };
        assert_eq!(problems.places().len(), 6, "{problems}");
        let said = problems.to_string();
        assert!(
            said.contains("t.toml:18: target.waht: unknown key; did you mean `what`?"),
            "{said}"
        );
    }

    #[test]
    fn the_targets_of_the_tree_are_good() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../perf/targets.toml");
        let text = std::fs::read_to_string(path).unwrap();
        let t = parse("perf/targets.toml", &text).unwrap_or_else(|p| panic!("{p}"));
        // Each command is one that this program takes.
        for m in t.measures.values() {
            let mut commands = vec![m.run.clone()];
            if let Way::Against(other) = &m.way {
                commands.push(other.clone());
            }
            for mut words in commands {
                words.extend(["--spawn", "x {config}", "--record", "y"].map(str::to_owned));
                words.extend(super::super::measure::extras(&m.way, 7));
                crate::cli::check(&words).unwrap_or_else(|e| panic!("{words:?}: {e}"));
            }
        }
    }
}
