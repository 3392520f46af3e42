//! Every scenario of `perf/scenarios` against Ringfork itself, made small: whatever the pace of this machine, nothing is lost,
//! doubled, altered or left behind. How fast it is, `ringfork-load suite --scenarios` tells with the files as they are.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test's helpers"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use serde_json::Value;

/// Runs side by side: each waits for most of the time.
const AT_ONCE: usize = 4;
/// Runs alone: the sender of its large messages has only the time that nobody else wants, and comes to nothing where that is
/// none.
const ALONE: &str = "beside-large";

/// What is changed of a file so that it is small.
fn small(name: &str) -> &'static [(&'static str, &'static str)] {
    match name {
        "sweep" | "goodput" => &[
            ("sessions", "4"),
            ("rounds", "1"),
            ("warmup_s", "0.1"),
            ("seconds", "0.3"),
            ("saturation_rounds", "1"),
            ("percent", "[50, 100, 120]"),
        ],
        "idle" => &[
            ("sessions", "12"),
            ("first_sessions", "6"),
            ("seconds", "2"),
            ("t1_ms", "20"),
        ],
        "mixed" | "churn" => &[
            ("sessions", "10"),
            ("rate_per_s", "200"),
            ("per_s", "10"),
            ("churn_per_s", "10"),
            ("warmup_s", "0.2"),
            ("seconds", "2"),
        ],
        "register-storm" | "register-burst" => &[("sessions", "60")],
        // Smaller than what a device may lag behind another: on a machine that stalls, 8 MiB would be for the faster alone.
        "large-frame-8m" => &[("body_bytes", "1048576"), ("rounds", "1"), ("seconds", "1")],
        "beside-large" => &[("sessions", "10"), ("rounds", "1"), ("seconds", "1")],
        _ => &[
            ("sessions", "10"),
            ("rate_per_s", "300"),
            ("rounds", "1"),
            ("warmup_s", "0.2"),
            ("seconds", "0.8"),
        ],
    }
}

/// The file with other numbers: those that it has, and those of its traffic that it leaves to the defaults.
fn made_small(text: &str, changes: &[(&str, &str)]) -> String {
    let mut out: Vec<String> = text.lines().map(str::to_owned).collect();
    for (key, value) in changes {
        let line = format!("{key} = {value}");
        let is_it = |l: &&mut String| l.split('=').next().is_some_and(|k| k.trim() == *key);
        if let Some(old) = out.iter_mut().find(is_it) {
            *old = line;
        } else if ["rounds", "warmup_s", "seconds", "sessions"].contains(key) {
            let traffic = out.iter().position(|l| l == "[traffic]").unwrap();
            out.insert(traffic + 1, line);
        }
    }
    out.join("\n")
}

/// The server, which the test command builds beside this tool.
fn server() -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_ringfork-load")).with_file_name("ringfork");
    assert!(
        path.is_file(),
        "{}: build it first (cargo build)",
        path.display()
    );
    path
}

/// Runs one; what it says if anything was wrong.
fn run(name: &str, text: &str) -> Result<(), String> {
    let file =
        std::env::temp_dir().join(format!("ringfork-load-{}-{name}.toml", std::process::id()));
    fs::write(&file, made_small(text, small(name))).unwrap();
    let out = Command::new(env!("CARGO_BIN_EXE_ringfork-load"))
        .arg(&file)
        .args(["--no-pin", "--json", "--seed", "11", "--patience", "30"])
        .arg("--spawn")
        .arg(format!("{} serve --config {{config}}", server().display()))
        .output()
        .unwrap();
    fs::remove_file(&file).unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let report: Value = text
        .lines()
        .last()
        .and_then(|l| serde_json::from_str(l).ok())
        .ok_or_else(|| format!("{name}: {:?}: {text}{said}", out.status.code()))?;
    let checks = report["slo"]["checks"].as_array().unwrap();
    // What must not happen at all; the rest is for a machine that is ours alone.
    let wrong: Vec<String> = checks
        .iter()
        .filter(|c| c["bound"].as_f64() == Some(0.0) && c["met"] == Value::Bool(false))
        .map(|c| format!("{} {}", c["name"], c["value"]))
        .collect();
    let none = checks.iter().filter(|c| c["bound"].as_f64() == Some(0.0));
    if none.count() < 3 {
        return Err(format!("{name} has counted next to nothing: {report}"));
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(format!("{name}: {}: {report}\n{said}", wrong.join(", ")))
    }
}

#[test]
fn every_scenario_runs_against_ringfork_and_nothing_is_lost() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../perf/scenarios");
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|f| f.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() >= 19, "{files:?}");
    let (alone, files): (Vec<_>, Vec<_>) = files
        .into_iter()
        .partition(|f| f.file_stem().is_some_and(|s| s == ALONE));
    let next = AtomicUsize::new(0);
    let work = || {
        let mut faults = Vec::new();
        while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            let name = file.file_stem().unwrap().to_str().unwrap();
            faults.extend(run(name, &fs::read_to_string(file).unwrap()).err());
        }
        faults
    };
    let mut faults: Vec<String> = thread::scope(|s| {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| s.spawn(work)).collect();
        let all = workers.into_iter().map(|w| w.join().unwrap());
        all.flatten().collect()
    });
    let text = fs::read_to_string(&alone[0]).unwrap();
    let tries = (0..3).map(|_| run(ALONE, &text));
    let mut tries = tries.skip_while(|t| matches!(t, Err(why) if why.contains(" came to nothing")));
    match tries.next() {
        Some(ran) => faults.extend(ran.err()),
        None => faults.push(format!("{ALONE}: its large sender never came to anything")),
    }
    assert!(faults.is_empty(), "{}", faults.join("\n\n"));
}

#[test]
fn the_suite_tells_and_keeps_what_each_scenario_came_to() {
    let folder = std::env::temp_dir().join(format!("ringfork-load-{}-tour", std::process::id()));
    let suite = |args: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_ringfork-load"))
            .args(["suite", "--scenarios", "--json", "--server"])
            .arg(server())
            .arg("--record")
            .arg(&folder)
            .args(args)
            .output()
            .unwrap()
    };
    let out = suite(&["--only", "register-burst"]);
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let report: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    let all = report["scenarios"].as_array().unwrap();
    assert_eq!(all.len(), 1, "{report}");
    assert_eq!(all[0]["scenario"], "register-burst");
    // How fast it is is for a machine that is ours alone.
    let verdict = all[0]["verdict"].as_str().unwrap();
    let expected = match verdict {
        "met" => 0,
        "missed" => 1,
        "not run" => 3,
        wrong => panic!("{wrong}: {report}"),
    };
    assert_eq!(out.status.code(), Some(expected), "{report}");
    assert_eq!(report["exit"], expected);
    let written = |ending: &str| {
        let mut files = fs::read_dir(&folder).unwrap().map(|f| f.unwrap().path());
        let file = files.find(|p| p.extension().is_some_and(|e| e == ending));
        fs::read_to_string(file.unwrap()).unwrap()
    };
    let record: Value = serde_json::from_str(&written("json")).unwrap();
    assert_eq!(
        record["runs"][0]["record"]["report"]["registration_attempts"],
        2000
    );
    assert!(written("html").contains("<h2>Scenarios</h2>"));
    fs::remove_dir_all(&folder).unwrap();

    let out = suite(&["--only", "no-such-scenario"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&out.stderr).contains("register-burst"));
}
