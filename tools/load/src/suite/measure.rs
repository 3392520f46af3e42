//! From a measurement to samples: runs it, pairs what was measured in turn, takes the figures out.

use std::path::PathBuf;

use serde_json::Value;

use super::{
    child::{self, Ran},
    targets::{Before, Measure, Way},
};
use crate::{
    clock::{Clock, Nanos},
    stats,
    tally::as_f64,
    trouble::Trouble,
};

/// What all measurements of a suite have in common.
pub(crate) struct Bench {
    /// `--spawn` of the server under test.
    pub(crate) spawn: String,
    /// The folder of the tree: what commands name is looked for from there.
    pub(crate) root: PathBuf,
    /// For files on the way.
    pub(crate) folder: PathBuf,
    pub(crate) clock: Clock,
    /// When everything has to be over.
    pub(crate) until: Nanos,
    /// Steady state and warm-up of a round, in seconds.
    pub(crate) seconds: (f64, f64),
}

/// A measurement and what it has brought so far.
pub(crate) struct Measured<'a> {
    measure: &'a Measure,
    /// In the order in which they ran.
    pub(crate) runs: Vec<Ran>,
    pairs: Vec<Pair>,
    /// Half of the server's saturation, once that is known.
    rate: Option<f64>,
    /// Pairs without a figure: the machine or the generator was late in one of them.
    late: usize,
}

/// Two neighbours, or one figure alone: rounds or reports as JSON.
struct Pair {
    ours: Value,
    theirs: Option<Value>,
}

/// The samples of one figure.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Samples {
    /// What is judged: ratios, or figures.
    pub(crate) judged: Vec<f64>,
    pub(crate) ours: Vec<f64>,
    pub(crate) theirs: Vec<f64>,
    /// Pairs that the machine disturbed.
    pub(crate) left_out: usize,
}

/// Why a measurement gave no samples that count.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// It could not be carried out.
    NotRun(String),
    /// It was carried out and something was wrong with what the server did.
    Wrong(String),
    /// It was carried out, and says nothing of the server: the generator or the machine did not keep up.
    Late(String),
}

impl<'a> Measured<'a> {
    pub(crate) fn new(measure: &'a Measure) -> Self {
        Self {
            measure,
            runs: Vec::new(),
            pairs: Vec::new(),
            rate: None,
            late: 0,
        }
    }

    /// Makes `rounds` samples more.
    pub(crate) async fn more(
        &mut self,
        rounds: u32,
        bench: &Bench,
    ) -> Result<Option<Fault>, Trouble> {
        match &self.measure.way {
            Way::Baseline => {
                let words =
                    self.words(&self.measure.run, bench, &extras(&self.measure.way, rounds));
                self.rounds(words, bench).await
            }
            Way::HalfLoad => {
                let rate = match self.rate {
                    Some(rate) => rate,
                    None => match self.saturation(bench).await? {
                        Ok(rate) => rate / 2.0,
                        Err(fault) => return Ok(Some(fault)),
                    },
                };
                self.rate = Some(rate);
                let mut more = extras(&self.measure.way, rounds);
                more[1] = format!("{rate:.0}");
                let words = self.words(&self.measure.run, bench, &more);
                self.rounds(words, bench).await
            }
            Way::Against(other) => {
                for _ in 0..rounds {
                    let (ours, theirs) = (
                        self.report(&self.measure.run, false, bench).await?,
                        self.report(other, true, bench).await?,
                    );
                    match (ours, theirs) {
                        (Ok(ours), Ok(theirs)) => self.pairs.push(Pair {
                            ours,
                            theirs: Some(theirs),
                        }),
                        (Err(fault), _) | (_, Err(fault)) => return Ok(Some(fault)),
                    }
                }
                Ok(None)
            }
            Way::Before(before) => self.in_turn(before, rounds, bench).await,
            Way::Missing(why) => Ok(Some(Fault::NotRun(why.clone()))),
            Way::List => {
                let more = extras(&self.measure.way, rounds);
                let words = self.words(&self.measure.run, bench, &more);
                let record = self.run(words, false, bench).await?;
                Ok(self.alone(record.map(|mut r| r["report"].take())))
            }
            Way::Alone => {
                for _ in 0..rounds {
                    let report = self.report(&self.measure.run, false, bench).await?;
                    if let Some(fault) = self.alone(report) {
                        return Ok(Some(fault));
                    }
                }
                Ok(None)
            }
            Way::Page => {
                let report = self.report(&self.measure.run, false, bench).await?;
                Ok(self.alone(report))
            }
        }
    }

    /// Runs of the server and of an earlier build, each first as often as the other.
    async fn in_turn(
        &mut self,
        before: &Before,
        rounds: u32,
        bench: &Bench,
    ) -> Result<Option<Fault>, Trouble> {
        let mut run = self.measure.run.clone();
        if before.at_half {
            let rate = match self.rate {
                Some(rate) => rate,
                None => match self.saturation(bench).await? {
                    Ok(rate) => rate / 2.0,
                    Err(fault) => return Ok(Some(fault)),
                },
            };
            self.rate = Some(rate);
            run.extend(["--rate".to_owned(), format!("{rate:.0}")]);
        }
        if before.in_rounds {
            run.extend(["--rounds", "1"].map(str::to_owned));
            run.extend(lengths(bench));
        }
        let mut theirs = run.clone();
        theirs.extend(["--spawn".to_owned(), before.spawn.clone()]);
        for round in 0..rounds {
            let (ours, theirs) = if round % 2 == 0 {
                let ours = self.report(&run, false, bench).await?;
                (ours, self.report(&theirs, true, bench).await?)
            } else {
                let theirs = self.report(&theirs, true, bench).await?;
                (self.report(&run, false, bench).await?, theirs)
            };
            match (ours, theirs) {
                (Ok(ours), Ok(theirs)) => self.pairs.push(Pair {
                    ours,
                    theirs: Some(theirs),
                }),
                // A run that says nothing of the server is a pair less, no end of the row.
                (Err(Fault::Late(_)), _) | (_, Err(Fault::Late(_))) => self.late += 1,
                (Err(fault), _) | (_, Err(fault)) => return Ok(Some(fault)),
            }
        }
        Ok(None)
    }

    /// A report that is held against no other, or why there is none.
    fn alone(&mut self, report: Result<Value, Fault>) -> Option<Fault> {
        match report {
            Ok(ours) => {
                self.pairs.push(Pair { ours, theirs: None });
                None
            }
            Err(fault) => Some(fault),
        }
    }

    /// The figure at `path`; pairs that were marked as disturbed are left out of a tail.
    pub(crate) fn samples(&self, path: &str, is_tail: bool) -> Samples {
        let mut samples = Samples {
            left_out: self.late,
            ..Samples::default()
        };
        for pair in &self.pairs {
            let disturbed =
                is_disturbed(&pair.ours) || pair.theirs.as_ref().is_some_and(is_disturbed);
            if is_tail && disturbed {
                samples.left_out += 1;
                continue;
            }
            if let (Some(list), None) = (list(&pair.ours, path), &pair.theirs) {
                let numbers = list.iter().filter_map(Value::as_f64);
                samples.left_out += list.len() - numbers.clone().count();
                samples.judged.extend(numbers.clone());
                samples.ours.extend(numbers);
                continue;
            }
            let Some(ours) = figure(&pair.ours, path) else {
                continue;
            };
            match &pair.theirs {
                None => samples.judged.push(ours),
                Some(theirs) => {
                    let Some(theirs) = figure(theirs, path) else {
                        continue;
                    };
                    samples.judged.push(ours / theirs);
                    samples.theirs.push(theirs);
                }
            }
            samples.ours.push(ours);
        }
        samples
    }

    fn words(&self, run: &[String], bench: &Bench, more: &[String]) -> Vec<String> {
        let mut words = run.to_vec();
        words.extend_from_slice(more);
        if let Way::Baseline | Way::HalfLoad = self.measure.way {
            words.extend(lengths(bench));
        }
        if !names_its_place(run) {
            words.extend(["--spawn".to_owned(), bench.spawn.clone()]);
        }
        words
    }

    /// One run whose rounds come in pairs.
    async fn rounds(
        &mut self,
        words: Vec<String>,
        bench: &Bench,
    ) -> Result<Option<Fault>, Trouble> {
        let record = match self.run(words, false, bench).await? {
            Ok(record) => record,
            Err(fault) => return Ok(Some(fault)),
        };
        let rounds = record["rounds"].as_array().map_or(&[][..], Vec::as_slice);
        for two in rounds.chunks(2) {
            if let [ours, theirs] = two
                && ours["who"] == "server"
                && theirs["who"] == "forwarder"
            {
                self.pairs.push(Pair {
                    ours: ours["round"].clone(),
                    theirs: Some(theirs["round"].clone()),
                });
            }
        }
        Ok(None)
    }

    /// One run, its report.
    async fn report(
        &mut self,
        run: &[String],
        is_other: bool,
        bench: &Bench,
    ) -> Result<Result<Value, Fault>, Trouble> {
        let words = self.words(run, bench, &[]);
        let record = self.run(words, is_other, bench).await?;
        Ok(record.map(|mut r| r["report"].take()))
    }

    /// Messages a second that the server takes.
    async fn saturation(&mut self, bench: &Bench) -> Result<Result<f64, Fault>, Trouble> {
        let more = ["--saturate", "--rounds", "3"].map(str::to_owned);
        let words = self.words(&self.measure.run, bench, &more);
        Ok(self.run(words, false, bench).await?.and_then(|record| {
            let report = &record["report"];
            let rounds = record["rounds"].as_array().map_or(&[][..], Vec::as_slice);
            let rates = rounds
                .iter()
                .filter_map(|r| r["round"]["deliveries_per_s"].as_f64());
            let rate = stats::median(rates) / report["devices"].as_u64().map_or(1.0, as_f64);
            if rate.is_finite() && rate >= 2.0 {
                Ok(rate)
            } else {
                Err(Fault::NotRun(
                    "its saturation could not be found".to_owned(),
                ))
            }
        }))
    }

    async fn run(
        &mut self,
        words: Vec<String>,
        is_other: bool,
        bench: &Bench,
    ) -> Result<Result<Value, Fault>, Trouble> {
        let mut ran =
            child::run(&words, &bench.root, &bench.folder, bench.clock, bench.until).await?;
        ran.is_other = is_other;
        let fault = fault_of(&ran);
        let record = ran.record.clone();
        self.runs.push(ran);
        Ok(match (fault, record) {
            (Some(fault), _) => Err(fault),
            (None, Some(record)) => Ok(record),
            (None, None) => Err(Fault::NotRun("it left no record".to_owned())),
        })
    }
}

/// Whether a command says itself what it is measured against.
pub(crate) fn names_its_place(run: &[String]) -> bool {
    const PLACES: [&str; 4] = ["--forwarder", "--target", "--spawn", "--kamailio"];
    run.iter().any(|w| PLACES.contains(&w.as_str()))
}

/// What the suite adds to a command that makes its own rounds.
pub(crate) fn extras(way: &Way, rounds: u32) -> Vec<String> {
    let rounds = rounds.to_string();
    let words: &[&str] = match way {
        Way::Baseline => &["--baseline", "--rounds", &rounds],
        Way::HalfLoad => &["--rate", "1", "--baseline", "--rounds", &rounds],
        Way::List => &["--rounds", &rounds],
        Way::Against(_) | Way::Before(_) | Way::Alone | Way::Page | Way::Missing(_) => &[],
    };
    words.iter().map(|w| (*w).to_owned()).collect()
}

/// How objectives are named that say something of the machine, the generator or the baseline.
const NOT_THE_SERVERS: [&str; 5] = [
    "carried_beyond",
    "send_lag_p99_us",
    "signalling_lag",
    "baseline_rounds_with_faults",
    "delivered",
];

/// Whose concern an objective is that was missed.
fn fault_in(check: &Value) -> Option<Fault> {
    let name = check["name"].as_str().unwrap_or("?");
    let told = format!("{name} {}", check["value"]);
    match name {
        // The generator's, the machine's, or the baseline's.
        _ if NOT_THE_SERVERS.iter().any(|n| name.starts_with(n)) => {
            Some(Fault::Late(format!("the rounds are not valid: {told}")))
        }
        // What must not happen at all: lost, doubled, left behind.
        _ if check["bound"].as_f64() == Some(0.0) => Some(Fault::Wrong(told)),
        // A bound on a figure: that is what targets are for.
        _ => None,
    }
}

/// Exit code 0 gives samples; the rest of `interface.md`'s codes say why not.
pub(crate) fn fault_of(ran: &Ran) -> Option<Fault> {
    match ran.exit {
        Some(0) => None,
        Some(1) if ran.record.is_some() => {
            // Late because the machine was: such a run is left out like a round, and says nothing of the others.
            let disturbed = ran
                .record
                .as_ref()
                .is_some_and(|r| is_disturbed(&r["report"]));
            let is_ours = |f: &Fault| !(disturbed && matches!(f, Fault::Late(_)));
            let missed = ran.missed().into_iter();
            let faults: Vec<Fault> = missed.filter_map(fault_in).filter(is_ours).collect();
            let wrong = faults.iter().find(|f| matches!(f, Fault::Wrong(_)));
            wrong.or(faults.first()).cloned()
        }
        Some(1) => Some(Fault::Wrong(ran.last_line.clone())),
        Some(_) | None => Some(Fault::NotRun(ran.last_line.clone())),
    }
}

/// Marked by the hiccup meter: a round, or a report all of whose rounds are.
pub(crate) fn is_disturbed(it: &Value) -> bool {
    let all = it["hiccups"]["rounds"].as_u64();
    let disturbed = it["hiccups"]["marked"].as_u64();
    it["hiccup"]["marked"] == Value::Bool(true)
        || all.is_some_and(|n| n > 0 && disturbed == Some(n))
}

/// Steady state and warm-up of each round of a command that makes its own.
fn lengths(bench: &Bench) -> [String; 4] {
    let (steady, warmup) = bench.seconds;
    [
        "--seconds",
        &steady.to_string(),
        "--warmup",
        &warmup.to_string(),
    ]
    .map(str::to_owned)
}

/// The number at a path with dots, the median where there is a list; nothing where it was not measured.
fn figure(of: &Value, path: &str) -> Option<f64> {
    match list(of, path) {
        Some(all) => {
            let numbers: Vec<f64> = all.iter().filter_map(Value::as_f64).collect();
            (!numbers.is_empty()).then(|| stats::median(numbers.into_iter()))
        }
        None => found(of, path)?.as_f64(),
    }
}

fn list<'v>(of: &'v Value, path: &str) -> Option<&'v Vec<Value>> {
    found(of, path)?.as_array()
}

fn found<'v>(of: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(of, |v, key| v.get(key))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ran(exit: i32, checks: &Value) -> Ran {
        Ran {
            command: String::new(),
            exit: Some(exit),
            is_other: false,
            record: Some(json!({"report": {"slo": {"checks": checks}}})),
            last_line: "last words".to_owned(),
        }
    }

    #[test]
    fn faults_say_whose_they_are() {
        assert_eq!(fault_of(&ran(0, &json!([]))), None);
        let lost = json!({"name": "lost", "met": false, "value": 3, "bound": 0});
        let lag =
            json!({"name": "send_lag_p99_us", "met": false, "value": 1200.0, "bound": 1000.0});
        let slow = json!({"name": "delivery_us.p99", "met": false, "value": 9.0, "bound": 5.0});
        assert_eq!(
            fault_of(&ran(1, &json!([slow, lag, lost]))),
            Some(Fault::Wrong("lost 3".to_owned()))
        );
        assert!(matches!(
            fault_of(&ran(1, &json!([lag]))),
            Some(Fault::Late(_))
        ));
        assert_eq!(
            fault_of(&ran(1, &json!([slow]))),
            None,
            "the target judges that"
        );
        let mut died = ran(1, &json!([]));
        died.record = None;
        assert_eq!(fault_of(&died), Some(Fault::Wrong("last words".to_owned())));
        assert_eq!(
            fault_of(&ran(3, &json!([]))),
            Some(Fault::NotRun("last words".to_owned()))
        );
    }

    #[test]
    fn late_on_a_machine_that_was_late_is_left_out_and_ends_no_row() {
        let lag = json!({"name": "signalling_lag_p99_us", "met": false, "value": 1200.0, "bound": 1000.0});
        let lost = json!({"name": "lost", "met": false, "value": 3, "bound": 0});
        let with = |checks: Value, marked: u64| {
            let mut it = ran(1, &checks);
            if let Some(record) = &mut it.record {
                record["report"]["hiccups"] = json!({"rounds": 2, "marked": marked});
                record["report"]["setup_us"] = json!({"p99": 7.0});
            }
            it
        };
        assert_eq!(fault_of(&with(json!([lag]), 2)), None);
        assert!(matches!(
            fault_of(&with(json!([lag]), 1)),
            Some(Fault::Late(_))
        ));
        assert_eq!(
            fault_of(&with(json!([lag, lost]), 2)),
            Some(Fault::Wrong("lost 3".to_owned())),
            "a stall excuses no loss"
        );
        let measure = Measure {
            way: Way::Alone,
            run: Vec::new(),
            needs: Vec::new(),
            quick: true,
        };
        let mut m = Measured::new(&measure);
        for marked in [0, 2, 1] {
            let record = with(json!([]), marked).record;
            assert_eq!(m.alone(Ok(record.unwrap()["report"].take())), None);
        }
        let tail = m.samples("setup_us.p99", true);
        assert_eq!((tail.judged, tail.left_out), (vec![7.0, 7.0], 1));
    }

    #[test]
    fn tails_leave_disturbed_pairs_out_and_rates_do_not() {
        let measure = Measure {
            way: Way::Baseline,
            run: Vec::new(),
            needs: Vec::new(),
            quick: true,
        };
        let mut m = Measured::new(&measure);
        let round = |p99: f64, marked: bool| json!({"deliveries_per_s": 100.0, "delivery_us": {"p99": p99}, "hiccup": {"marked": marked}});
        for (ours, theirs, marked) in [(3.0, 2.0, false), (9.0, 2.0, true), (2.0, 4.0, false)] {
            m.pairs.push(Pair {
                ours: round(ours, false),
                theirs: Some(round(theirs, marked)),
            });
        }
        let tail = m.samples("delivery_us.p99", true);
        assert_eq!((tail.judged, tail.left_out), (vec![1.5, 0.5], 1));
        assert_eq!(m.samples("deliveries_per_s", false).judged.len(), 3);
        assert_eq!(m.samples("setup_us.p99", true).judged, Vec::<f64>::new());
    }

    #[test]
    fn a_list_that_is_held_against_another_counts_by_its_median() {
        let measure = Measure {
            way: Way::List,
            run: Vec::new(),
            needs: Vec::new(),
            quick: true,
        };
        let mut m = Measured::new(&measure);
        m.late = 1;
        m.pairs.push(Pair {
            ours: json!({"each": [1.0, null, 3.0, 8.0]}),
            theirs: Some(json!({"each": [2.0, 2.0, 1.0]})),
        });
        let samples = m.samples("each", false);
        assert_eq!((samples.judged, samples.left_out), (vec![1.5], 1));
    }

    #[test]
    fn a_list_is_a_sample_each_but_for_what_the_machine_disturbed() {
        let measure = Measure {
            way: Way::List,
            run: Vec::new(),
            needs: Vec::new(),
            quick: true,
        };
        let mut m = Measured::new(&measure);
        for list in [json!([0.5, null, 2.0]), json!([3.0])] {
            let report = json!({"beside": {"p99_ratio_each": list}});
            assert_eq!(m.alone(Ok(report)), None);
        }
        let samples = m.samples("beside.p99_ratio_each", true);
        assert_eq!(samples.judged, [0.5, 2.0, 3.0]);
        assert_eq!(samples.left_out, 1);
    }
}
