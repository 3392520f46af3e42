//! `perf/targets.toml`: what is to be reached, against what, and how that is measured.
//!
//! A target is a bound on the median of a figure; a measurement is a command of this program and a way to make samples of
//! it. Several targets may share one measurement. Tables that others read from the same file (`[instructions]`) are left
//! alone.

use std::collections::BTreeMap;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::{
    scenario::{Section, Walk},
    stats::Bound,
};

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
    /// The same command in turn, on the server and on an earlier build of it.
    Before(Before),
    /// One run: its figure.
    Alone,
    /// One run whose figure is a list: a sample each, none where the machine disturbed it.
    List,
    /// One run that no target rests on: for the page.
    Page,
    /// It cannot be made yet, and why.
    Missing(String),
}

/// An earlier build of the server that a measurement is held against.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Before {
    /// `--spawn` of it.
    pub(crate) spawn: String,
    /// Offered is half of what the server takes.
    pub(crate) at_half: bool,
    /// The command makes rounds of its own, whose length is ours to say.
    pub(crate) in_rounds: bool,
}

impl Targets {
    /// The same figures, each held against an earlier build: no worse than it was. What is held against another server, or
    /// only drawn on the page, says nothing of two builds but by our side of it.
    pub(crate) fn before(mut self, spawn: &str) -> Self {
        for measure in self.measures.values_mut() {
            let before = |at_half, in_rounds| {
                Way::Before(Before {
                    spawn: spawn.to_owned(),
                    at_half,
                    in_rounds,
                })
            };
            measure.way = match &measure.way {
                Way::Baseline => before(false, true),
                Way::HalfLoad => before(true, true),
                Way::Against(_) | Way::Before(_) | Way::Alone | Way::List => before(false, false),
                Way::Page => Way::Missing("it is for the page alone".to_owned()),
                Way::Missing(why) => Way::Missing(why.clone()),
            };
            measure.needs.clear();
        }
        for target in &mut self.targets {
            target.against = Some("the build before".to_owned());
            target.bound = match target.bound {
                Bound::AtLeast(_) => Bound::AtLeast(1.0),
                Bound::AtMost(_) => Bound::AtMost(1.0),
            };
        }
        self
    }
}

impl Way {
    /// Its samples are ratios of two sides.
    fn is_ratio(&self) -> bool {
        matches!(
            self,
            Self::Baseline | Self::HalfLoad | Self::Against(_) | Self::Before(_)
        )
    }
}

/// Reads the file; `name` is for messages. All that is wrong with it at once, a line each.
pub(crate) fn parse(name: &str, text: &str) -> Result<Targets, String> {
    let mut walk = Walk::new(text);
    let document = walk.document(text);
    let targets = document.as_ref().map(|d| top(&mut walk, d.get_ref()));
    let problems = walk.into_problems();
    match targets {
        Some(targets) if problems.is_empty() => Ok(targets),
        Some(_) | None => {
            let lines: Vec<String> = problems.iter().map(|p| format!("{name}:{p}")).collect();
            Err(lines.join("\n"))
        }
    }
}

type Value<'a> = Spanned<DeValue<'a>>;

fn top<'a>(walk: &mut Walk<'a>, table: &'a DeTable<'a>) -> Targets {
    let mut s = Section::new(walk, "", 0..0, Some(table));
    let measures = s.take("measure");
    let targets = s.take("target");
    // The budgets of the instruction counts, which another program reads.
    s.take("instructions");
    if !s.has("target") {
        s.problem("target", "is missing", "[[target]]");
    }
    s.close();
    let measures = measures_of(walk, measures);
    Targets {
        targets: targets_of(walk, targets, &measures),
        measures,
    }
}

fn measures_of<'a>(walk: &mut Walk<'a>, value: Option<&'a Value<'a>>) -> BTreeMap<String, Measure> {
    let Some(value) = value else {
        return BTreeMap::new();
    };
    let Some(all) = value.get_ref().as_table() else {
        walk.problem(
            "measure",
            &value.span(),
            "tables with a name each are expected",
            "[measure.NAME]",
        );
        return BTreeMap::new();
    };
    all.iter()
        .map(|(key, value)| {
            let (name, table) = (key.get_ref().to_string(), value.get_ref().as_table());
            let mut s = Section::new(walk, format!("measure.{name}"), key.span(), table);
            let it = measure(&mut s);
            s.close();
            (name, it)
        })
        .collect()
}

fn targets_of<'a>(
    walk: &mut Walk<'a>,
    value: Option<&'a Value<'a>>,
    measures: &BTreeMap<String, Measure>,
) -> Vec<Target> {
    let list = value.and_then(|v| v.get_ref().as_array());
    if let (Some(value), None) = (value, list) {
        walk.problem(
            "target",
            &value.span(),
            "a list of tables is expected",
            "[[target]]",
        );
    }
    let mut targets: Vec<Target> = Vec::new();
    for value in list.into_iter().flat_map(|l| l.iter()) {
        let mut s = Section::new(walk, "target", value.span(), value.get_ref().as_table());
        let row = target(&mut s, measures);
        if !row.id.is_empty() && targets.iter().any(|t| t.id == row.id) {
            s.problem("id", format!("{:?} stands twice", row.id), "another name");
        }
        s.close();
        targets.push(row);
    }
    targets
}

fn target(s: &mut Section<'_, '_>, measures: &BTreeMap<String, Measure>) -> Target {
    let measure = needed(s, "measure", "a name of [measure.NAME]");
    match measures.get(&measure) {
        None if !measure.is_empty() => {
            let names: Vec<&str> = measures.keys().map(String::as_str).collect();
            s.problem(
                "measure",
                format!("there is no [measure.{measure}]"),
                names.join(", "),
            );
        }
        Some(m) if m.way.is_ratio() && !s.has("against") => {
            s.problem("against", "is missing", "what the figure is divided by");
        }
        Some(_) | None => {}
    }
    let against = text(s, "against", "a text");
    let mut rounds = 0;
    s.number("rounds", 6..=99, &mut rounds);
    if !s.has("rounds") {
        s.problem("rounds", "is missing", "6 to 99");
    }
    Target {
        id: needed(s, "id", "a short name"),
        what: needed(s, "what", "a text"),
        against: (!against.is_empty()).then_some(against),
        bound: bound(s),
        rounds,
        measure,
        figure: needed(s, "figure", "a path with dots"),
        unit: text(s, "unit", "a text"),
    }
}

fn bound(s: &mut Section<'_, '_>) -> Bound {
    let any = f64::MIN_POSITIVE..=f64::MAX;
    let at_least = s.real_if_any("at_least", any.clone());
    let at_most = s.real_if_any("at_most", any);
    match (at_least, at_most) {
        (Some(b), None) => Bound::AtLeast(b),
        (None, Some(b)) => Bound::AtMost(b),
        (least, most) => {
            let told = least.is_none() && most.is_none() && (s.has("at_least") || s.has("at_most"));
            if !told {
                s.problem(
                    "at_most",
                    "one bound is expected",
                    "at_least or at_most, a number above 0",
                );
            }
            Bound::AtLeast(0.0)
        }
    }
}

fn measure(s: &mut Section<'_, '_>) -> Measure {
    let words = |text: String| {
        text.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    const WAYS: [&str; 7] = [
        "baseline",
        "half-load",
        "against",
        "alone",
        "list",
        "page",
        "missing",
    ];
    let by = WAYS.map(|word| (word, word));
    let mut way = "";
    s.choice("by", &by, &mut way);
    if !s.has("by") {
        s.problem(
            "by",
            "is missing",
            WAYS.map(|w| format!("{w:?}")).join(", "),
        );
    }
    let other = words(text(s, "against", "a command"));
    if way == "against" && other.is_empty() {
        s.problem(
            "against",
            "is missing",
            "the command that it is measured against",
        );
    } else if way != "against" && s.has("against") {
        s.problem("against", "belongs to by = \"against\"", "no key");
    }
    let (run, why) = if way == "missing" {
        (Vec::new(), needed(s, "why", "a sentence"))
    } else {
        let run = words(needed(s, "run", "a command of ringfork-load"));
        (run, String::new())
    };
    let needs = words(text(s, "needs", "names of programs"));
    let mut quick = true;
    s.flag("quick", &mut quick);
    Measure {
        way: match way {
            "baseline" => Way::Baseline,
            "half-load" => Way::HalfLoad,
            "against" => Way::Against(other),
            "missing" => Way::Missing(why),
            "list" => Way::List,
            "page" => Way::Page,
            _ => Way::Alone,
        },
        run,
        needs,
        quick,
    }
}

/// A text that is not empty; an empty one where there is none.
fn text(s: &mut Section<'_, '_>, key: &'static str, allowed: &str) -> String {
    let mut it = String::new();
    s.text(key, allowed, &mut it, |t| {
        (!t.is_empty()).then(|| t.to_owned())
    });
    it
}

/// The same, and it has to be there.
fn needed(s: &mut Section<'_, '_>, key: &'static str, allowed: &str) -> String {
    if !s.has(key) {
        s.problem(key, "is missing", allowed);
    }
    text(s, key, allowed)
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

    /// Lines and keys of what is wrong with the good file after a change: `20 target.at_least`.
    fn wrong(from: &str, to: &str) -> Vec<String> {
        assert!(GOOD.contains(from), "{from}");
        let Err(said) = parse("t.toml", &GOOD.replacen(from, to, 1)) else {
            return Vec::new();
        };
        let each = said
            .lines()
            .map(|l| l.split(": ").take(2).collect::<Vec<_>>());
        each.map(|l| l.join(" ").replace("t.toml:", "").replace('`', ""))
            .collect()
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
    fn held_against_the_build_before_nothing_may_be_worse() {
        let t = parse("t.toml", GOOD).unwrap().before("old serve");
        let bounds: Vec<Bound> = t.targets.iter().map(|t| t.bound).collect();
        assert_eq!(bounds, [Bound::AtLeast(1.0), Bound::AtMost(1.0)]);
        let way = |in_rounds| {
            Way::Before(Before {
                spawn: "old serve".to_owned(),
                at_half: false,
                in_rounds,
            })
        };
        assert_eq!(t.measures["many"].way, way(true));
        assert_eq!(t.measures["two"].way, way(false), "our side of it alone");
        assert!(
            t.measures["two"].needs.is_empty(),
            "the other side is not run"
        );
    }

    #[test]
    fn each_problem_has_its_line_and_key() {
        for (from, to, places) in [
            (
                "at_least = 0.9",
                "at_least = \"0.9\"",
                &["20 target.at_least"][..],
            ),
            ("at_least = 0.9", "at_least = -1", &["20 target.at_least"]),
            ("at_least = 0.9", "", &["16 target.at_most"]),
            (
                "at_least = 0.9",
                "at_least = 1\nat_most = 2",
                &["21 target.at_most"],
            ),
            ("rounds = 7", "rounds = 3", &["21 target.rounds"]),
            (
                "rounds = 7",
                "round = 7",
                &["16 target.rounds", "21 target.round"],
            ),
            (
                "measure = \"many\"",
                "measure = \"few\"",
                &["22 target.measure"],
            ),
            ("id = \"tail\"", "id = \"rate\"", &["26 target.id"]),
            (
                "by = \"baseline\"",
                "by = \"chance\"",
                &["6 measure.many.by"],
            ),
            ("against = \"b 2\"", "", &["9 measure.two.against"]),
            (
                "by = \"against\"",
                "by = \"alone\"",
                &["12 measure.two.against"],
            ),
            ("quick = false", "quick = \"no\"", &["14 measure.two.quick"]),
            ("against = \"without\"\n", "", &["25 target.against"]),
            ("[instructions]", "[instruction]", &["2 instruction"]),
            (
                "by = \"baseline\"",
                "by = \"missing\"",
                &["5 measure.many.why", "7 measure.many.run"],
            ),
        ] {
            assert_eq!(wrong(from, to), places, "{to}");
        }
        assert!(
            wrong("rounds = 7", "rounds = = 7")[0].starts_with("21 "),
            "no TOML at all"
        );
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let text = GOOD
            .replace("rounds = 7", "rounds = 0")
            .replace("what", "waht");
        let said = parse("t.toml", &text).unwrap_err();
        assert_eq!(said.lines().count(), 6, "{said}");
        assert!(
            said.contains("t.toml:18: `target.waht`: unknown key"),
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
            let commands = match &m.way {
                Way::Missing(_) => Vec::new(),
                Way::Against(other) => vec![m.run.clone(), other.clone()],
                Way::Baseline
                | Way::HalfLoad
                | Way::Before(_)
                | Way::Alone
                | Way::List
                | Way::Page => vec![m.run.clone()],
            };
            for mut words in commands {
                if !super::super::measure::names_its_place(&words) {
                    words.extend(["--spawn", "x {config}"].map(str::to_owned));
                }
                words.extend(["--record", "y"].map(str::to_owned));
                words.extend(super::super::measure::extras(&m.way, 7));
                crate::cli::check(&words).unwrap_or_else(|e| panic!("{words:?}: {e}"));
            }
        }
    }
}
