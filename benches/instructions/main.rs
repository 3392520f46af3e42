//! Every case in instructions under callgrind, a unit at a time, against the budgets of `perf/targets.toml`.
//!
//! `cargo count` counts all, `cargo count fanout` those whose name has that in it and says where their profiles are,
//! `cargo count --rebase` makes what it counts the budgets. It needs `valgrind` and `gungraun-runner` (`.ci/run` installs both). A count repeats to the instruction on one
//! machine: seeds are fixed, addresses are not randomised, the environment is empty. Exit code 1: a budget was missed.
//!
//! Under `cargo test` each case does two rounds, uncounted, and checks its answer.

#[path = "../common/mod.rs"]
mod common;

mod budgets;

use std::{
    env,
    path::Path,
    process::{Command, ExitCode, Stdio},
};

use budgets::{Budgets, Count};
use common::{
    calls,
    case::{Case, Meter},
    fanout, msrp, sdp, sip, timers, transactions, turns,
};

/// Set in the process that gungraun's harness runs in: it describes the cases to the runner, which starts it once a case,
/// under valgrind and with an empty environment.
const HARNESS: &str = "RINGFORK_COUNT";
/// What the runner calls itself with, before which case.
const COUNTED: &str = "--gungraun-run";

fn cases() -> Vec<Case> {
    [
        msrp::cases(),
        sip::cases(),
        sdp::cases(),
        fanout::cases(),
        turns::cases(),
        timers::cases(),
        transactions::cases(),
        calls::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

mod harness {
    use gungraun::{Callgrind, EntryPoint, prelude::*};

    use super::{
        Meter, cases,
        common::case::{COUNTED_BELOW, Rounds},
    };

    /// A case that has run as often as it will be counted.
    fn warm(at: usize) -> (u64, Rounds) {
        let case = cases().swap_remove(at);
        let n = case.rounds;
        let mut rounds = case.ready();
        rounds(n, &mut Meter::default());
        (n, rounds)
    }

    #[library_benchmark]
    #[benches::case(iter = 0..cases().len(), setup = warm)]
    fn count((n, mut rounds): (u64, Rounds)) {
        rounds(n, &mut Meter::counting());
    }

    library_benchmark_group!(name = all; benchmarks = count);

    main!(
        config = LibraryBenchmarkConfig::default().tool(
            Callgrind::with_args(["--cache-sim=no"])
                .entry_point(EntryPoint::Custom(COUNTED_BELOW.to_owned()))
        );
        library_benchmark_groups = all
    );

    pub(super) fn run() {
        main();
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    if args.first().is_some_and(|a| a == COUNTED) || env::var_os(HARNESS).is_some() {
        harness::run();
        return ExitCode::SUCCESS;
    }
    // Cargo says `--bench` to a benchmark, and nothing to a test.
    if !args.iter().any(|a| a == "--bench") {
        let n = cases().len();
        for case in cases() {
            case.ready()(2, &mut Meter::default());
        }
        println!("{n} passed, 0 failed");
        return ExitCode::SUCCESS;
    }
    let filter = args.iter().find(|a| !a.starts_with('-'));
    let rebase = args.iter().any(|a| a == "--rebase");
    match count(filter.map(String::as_str)).and_then(|counts| judge(&counts, rebase)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::from(2)
        }
    }
}

/// Counts the cases that have `filter` in their name.
fn count(filter: Option<&str>) -> Result<Vec<Count>, String> {
    let cases = cases();
    let chosen: Vec<usize> = (0..cases.len())
        .filter(|&n| filter.is_none_or(|f| cases[n].name.contains(f)))
        .collect();
    if chosen.is_empty() {
        return Err("no case has that in its name".to_owned());
    }
    let mut counts: Vec<Counted> = Vec::new();
    if chosen.len() == cases.len() {
        counts.extend(run(&[])?);
    } else {
        for n in chosen {
            counts.extend(run(&[format!("*::count::case_{n}")])?);
        }
    }
    let one = |counted: Counted| {
        let case = cases.get(counted.at).ok_or("a case that is not there")?;
        // Where the name of what is counted fits nothing, callgrind is content.
        if counted.instructions < case.rounds {
            return Err(format!("{}: nothing was counted", case.name));
        }
        if filter.is_some() {
            println!("callgrind_annotate {}/*.out", counted.profile);
        }
        Ok(Count {
            name: case.name.clone(),
            unit: case.unit,
            instructions: counted.instructions as f64 / (case.rounds * case.units) as f64,
        })
    };
    counts.into_iter().map(one).collect()
}

/// What the runner says of a case.
struct Counted {
    /// Its place among the cases.
    at: usize,
    /// Of all rounds.
    instructions: u64,
    /// The folder with callgrind's own output.
    profile: String,
}

/// Runs the harness.
fn run(filter: &[String]) -> Result<Vec<Counted>, String> {
    let out = env::current_exe()
        .and_then(|me| {
            Command::new(me)
                .args(["--bench", "--output-format=json", "--parallel=auto"])
                .args(filter)
                .env(HARNESS, "1")
                .stderr(Stdio::inherit())
                .output()
        })
        .map_err(|e| format!("the harness does not start: {e}"))?;
    if !out.status.success() {
        return Err("counting failed; `.ci/run` says what it needs".to_owned());
    }
    let text = String::from_utf8_lossy(&out.stdout);
    text.lines()
        .map(|line| read(line).ok_or_else(|| format!("not understood: {line}")))
        .collect()
}

/// A line of the runner: one case.
fn read(line: &str) -> Option<Counted> {
    let summary: serde_json::Value = serde_json::from_str(line).ok()?;
    let metrics = &summary["profiles"][0]["data"]["total"]["metrics"];
    Some(Counted {
        at: summary["id"]
            .as_str()?
            .strip_prefix("case_")?
            .parse()
            .ok()?,
        instructions: metrics["Ir"]["values"]["new"].as_u64()?,
        profile: summary["output_dir"].as_str()?.to_owned(),
    })
}

/// Prints the table; whether all of it is within the budgets. With `rebase` the counts become the budgets.
fn judge(counts: &[Count], rebase: bool) -> Result<bool, String> {
    let at = Path::new(env!("CARGO_MANIFEST_DIR")).join("perf/targets.toml");
    let text = std::fs::read_to_string(&at).map_err(|e| format!("{}: {e}", at.display()))?;
    let mut budgets = Budgets::read(&text)?;
    let verdict = budgets.judge(counts);
    print!("{}", verdict.table);
    if !rebase {
        return Ok(verdict.kept);
    }
    let known: Vec<String> = cases().into_iter().map(|c| c.name).collect();
    budgets.rebase(counts, &known);
    std::fs::write(&at, budgets.written(&text)).map_err(|e| format!("{}: {e}", at.display()))?;
    println!("these are the budgets now, in {}", at.display());
    Ok(true)
}
