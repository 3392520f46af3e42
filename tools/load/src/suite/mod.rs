//! `cargo perf`: every target of `perf/targets.toml`, measured, judged, written down.
//!
//! A measurement is a run of this program of its own (`child`), so that the command of a row is what one would type to
//! repeat it. Samples come in pairs that were measured in turn (`measure`); a target is judged by the median of its pairs
//! and the interval around it (`stats`); where that is too wide to tell, the measurement is repeated, up to [`REPEATS`] times
//! and as long as there is time. What could not be measured says so and is never a pass. With `--scenarios` it runs every
//! scenario in their place (`tour`).

mod args;
mod child;
mod measure;
mod row;
mod server;
mod targets;
mod tour;

use std::{
    fs,
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

pub(crate) use args::Args;
use child::Ran;
use measure::{Bench, Fault, Measured};
use row::{End, Outcome, Row};
use serde_json::{Value, json};
use targets::{Target, Targets, Way};
use tour::Stop;

use crate::{
    clock::{Clock, nanos},
    html, record,
    spawn::Home,
    trouble::Trouble,
};

/// How often a measurement is made until its targets are decided.
const REPEATS: u32 = 3;
/// What a whole suite may take, and the quick one; building the server apart.
const FULL: Duration = Duration::from_secs(40 * 60);
const QUICK: Duration = Duration::from_secs(3 * 60);
/// Rounds of the quick one: the fewest that have an interval.
const QUICK_ROUNDS: u32 = 6;

/// What to run.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// A server that is built already; else it is built first.
    pub(crate) server: Option<PathBuf>,
    /// An earlier build, that every figure is held against in place of what the table says.
    pub(crate) before: Option<PathBuf>,
    pub(crate) quick: bool,
    /// Every scenario in place of the targets.
    pub(crate) scenarios: bool,
    /// These targets alone.
    pub(crate) only: Vec<String>,
    pub(crate) targets: Option<PathBuf>,
    /// Where the record goes, unless to `perf/record/<machine>`.
    pub(crate) record: Option<PathBuf>,
    /// Where the page goes, unless beside the record.
    pub(crate) page: Option<PathBuf>,
    /// One JSON object on the last line of standard output.
    pub(crate) json: bool,
}

/// Runs it.
pub(crate) async fn run(options: &Options) -> Result<ExitCode, Trouble> {
    let root = root()?;
    let targets = if options.scenarios {
        tour::check(&options.only)?;
        None
    } else {
        Some(read(options, &root)?)
    };
    if let Some(targets) = &targets {
        choose(targets, &options.only)?;
    }
    let server = match &options.server {
        Some(path) => path.clone(),
        None => server::build(&root)?,
    };
    for (option, path) in [
        ("--server", Some(&server)),
        ("--before", options.before.as_ref()),
    ] {
        if let Some(path) = path.filter(|p| !p.is_file()) {
            return Err(Trouble::usage(format!(
                "{option} {}: there is no such file",
                path.display()
            )));
        }
    }
    let home = Home::make("perf")?;
    let clock = Clock::start();
    let targets = match (targets, &options.before) {
        (Some(targets), Some(before)) => Some(targets.before(&spawn(before, &root)?)),
        (targets, _) => targets,
    };
    let bench = Bench {
        spawn: spawn(&server, &root)?,
        root: root.clone(),
        folder: home.path().to_owned(),
        clock,
        until: clock.now() + nanos(time_for(options)),
        seconds: if options.quick {
            (0.3, 0.15)
        } else {
            (1.0, 0.3)
        },
    };

    let mut runs: Vec<Value> = Vec::new();
    let (report, table, end) = if let Some(targets) = &targets {
        let rows = judge(options, targets, &bench, &mut runs).await?;
        let end = End::of(&rows);
        let report = json!({
            "scenario": "suite",
            "quick": options.quick,
            "targets": rows.iter().map(Row::json).collect::<Vec<_>>(),
            "exit": end.code(),
        });
        (report, row::table(&rows), end)
    } else {
        let stops = tour::all(&options.only, &bench, &mut runs).await?;
        let end = End::worst(stops.iter().map(Stop::end));
        let report = json!({
            "scenario": "scenarios",
            "scenarios": stops.iter().map(Stop::json).collect::<Vec<_>>(),
            "exit": end.code(),
        });
        (report, tour::table(&stops), end)
    };
    conclude(options, &root, &report, &runs, &table)?;
    Ok(ExitCode::from(end.code()))
}

/// Measures the targets that were asked for, and the rest of what the page shows.
async fn judge(
    options: &Options,
    targets: &Targets,
    bench: &Bench,
    runs: &mut Vec<Value>,
) -> Result<Vec<Row>, Trouble> {
    let chosen = choose(targets, &options.only)?;
    let mut rows: Vec<Row> = Vec::new();
    let mut names: Vec<&str> = Vec::new();
    for t in &chosen {
        if !names.contains(&t.measure.as_str()) {
            names.push(&t.measure);
        }
    }
    for (i, name) in names.iter().enumerate() {
        progress(&format!("[{}/{}] {name}", i + 1, names.len()));
        let of: Vec<&Target> = chosen
            .iter()
            .copied()
            .filter(|t| t.measure == *name)
            .collect();
        let outcomes = one(options, targets, name, &of, bench, runs).await?;
        for (target, outcome) in of.into_iter().zip(outcomes) {
            eprintln!("  {}: {}", target.id, outcome.verdict());
            rows.push(Row {
                target: target.clone(),
                outcome,
            });
        }
    }
    if options.only.is_empty() && !options.quick {
        for (name, measure) in targets.measures.iter().filter(|m| m.1.way == Way::Page) {
            progress(&format!("{name}, for the page"));
            let mut measured = Measured::new(measure);
            if let Some(fault) = measured.more(1, bench).await? {
                eprintln!("  {name}: {}", Outcome::Without(fault).verdict());
            }
            keep(name, None, &measured, runs);
        }
    }
    Ok(rows)
}

/// Makes one measurement until the targets that rest on it are decided.
async fn one(
    options: &Options,
    targets: &Targets,
    name: &str,
    of: &[&Target],
    bench: &Bench,
    runs: &mut Vec<Value>,
) -> Result<Vec<Outcome>, Trouble> {
    let all = |fault: Fault| vec![Outcome::Without(fault); of.len()];
    let not_run = |why: String| all(Fault::NotRun(why));
    let measure = &targets.measures[name];
    if options.quick && !measure.quick && !matches!(measure.way, Way::Missing(_)) {
        return Ok(not_run("--quick has no time for it".to_owned()));
    }
    if let Some(program) = measure.needs.iter().find(|p| !server::is_installed(p)) {
        return Ok(not_run(format!("{program} is not installed")));
    }
    if bench.clock.now() > bench.until {
        return Ok(not_run("there was no time left for it".to_owned()));
    }
    let rounds = if options.quick {
        QUICK_ROUNDS
    } else {
        of.iter().map(|t| t.rounds).max().unwrap_or(QUICK_ROUNDS)
    };
    let mut measured = Measured::new(measure);
    let mut outcomes = Vec::new();
    for _ in 0..REPEATS {
        let fault = measured.more(rounds, bench).await?;
        outcomes = match fault {
            // What the server got wrong stays wrong, whatever else was measured.
            Some(fault @ Fault::Wrong(_)) => all(fault),
            Some(fault @ (Fault::NotRun(_) | Fault::Late(_))) if outcomes.is_empty() => all(fault),
            Some(Fault::NotRun(_) | Fault::Late(_)) => break,
            None => of
                .iter()
                .map(|t| Outcome::of(t, &measured.samples(&t.figure, t.is_tail())))
                .collect(),
        };
        if !outcomes.iter().any(Outcome::is_open) || bench.clock.now() > bench.until {
            break;
        }
    }
    keep(name, of[0].against.as_deref(), &measured, runs);
    Ok(outcomes)
}

/// Puts the runs of a measurement into the record; `against` is what the other side is called.
fn keep(name: &str, against: Option<&str>, measured: &Measured<'_>, runs: &mut Vec<Value>) {
    let kept = |ran: &Ran| {
        kept(
            name,
            if ran.is_other {
                against
            } else {
                Some("server")
            },
            ran,
        )
    };
    runs.extend(measured.runs.iter().map(kept));
}

/// A run as the record has it.
fn kept(name: &str, side: Option<&str>, ran: &Ran) -> Value {
    json!({
        "measure": name,
        "side": side,
        "command": ran.command,
        "exit": ran.exit,
        "record": ran.record.clone().map(record::within),
    })
}

/// Tells and keeps what came of it.
fn conclude(
    options: &Options,
    root: &Path,
    report: &Value,
    runs: &[Value],
    table: &[String],
) -> Result<(), Trouble> {
    let folder = match &options.record {
        Some(folder) => folder.clone(),
        None => root.join("perf/record").join(record::machine_folder()),
    };
    let record = record::of_list(report, "runs", runs);
    let path = record::write(&folder, &record)?;
    let page = options
        .page
        .clone()
        .unwrap_or_else(|| path.with_extension("html"));
    html::write(&page, &record)?;
    let mut out = io::stdout().lock();
    for line in table {
        writeln!(out, "{line}")?;
    }
    eprintln!(
        "record written to {}, page to {}",
        path.display(),
        page.display()
    );
    if options.json {
        writeln!(out, "{report}")?;
    }
    out.flush()?;
    Ok(())
}

/// How long it may take: against an earlier build each sample is two runs, with a server started for each.
fn time_for(options: &Options) -> Duration {
    let alone = if options.quick { QUICK } else { FULL };
    alone * if options.before.is_some() { 2 } else { 1 }
}

/// How a server is started. Its name is short, and the same wherever the tree lies.
fn spawn(server: &Path, root: &Path) -> io::Result<String> {
    let server = std::path::absolute(server)?;
    let named = server.strip_prefix(root).unwrap_or(&server);
    Ok(format!("{} serve --config {{config}}", named.display()))
}

/// The folder of the tree: the nearest that has the targets.
fn root() -> Result<PathBuf, Trouble> {
    let here = std::env::current_dir()?;
    let found = here
        .ancestors()
        .find(|f| f.join("perf/targets.toml").is_file());
    Ok(found.unwrap_or(&here).to_owned())
}

fn read(options: &Options, root: &Path) -> Result<Targets, Trouble> {
    let path = match &options.targets {
        Some(path) => path.clone(),
        None => root.join("perf/targets.toml"),
    };
    let name = path.display().to_string();
    let text = fs::read_to_string(&path).map_err(|e| Trouble::usage(format!("{name}: {e}")))?;
    targets::parse(&name, &text).map_err(Trouble::usage)
}

fn choose<'t>(targets: &'t Targets, only: &[String]) -> Result<Vec<&'t Target>, Trouble> {
    if let Some(unknown) = only
        .iter()
        .find(|id| targets.targets.iter().all(|t| t.id != **id))
    {
        let known: Vec<&str> = targets.targets.iter().map(|t| t.id.as_str()).collect();
        return Err(Trouble::usage(format!(
            "--only {unknown}: expected one of {}",
            known.join(", ")
        )));
    }
    let is_chosen = |t: &&Target| only.is_empty() || only.contains(&t.id);
    Ok(targets.targets.iter().filter(is_chosen).collect())
}

/// What is being done, on a line of its own.
fn progress(what: &str) {
    let (on, off) = if io::stderr().is_terminal() {
        ("\x1b[1m", "\x1b[0m")
    } else {
        ("", "")
    };
    eprintln!("{on}{what}{off}");
}
