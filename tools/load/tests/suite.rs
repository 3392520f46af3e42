//! The suite from end to end, with targets of its own over the byte forwarder: verdicts, exit codes, record and page.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test's helpers"
)]

use std::{
    fs,
    path::PathBuf,
    process::{Command, Output},
};

use serde_json::Value;

/// A folder that goes when it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("suite-test-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Runs the suite over these targets.
    fn suite(&self, targets: &str, more: &str) -> Output {
        let file = self.0.join("targets.toml");
        fs::write(&file, targets).unwrap();
        let tool = env!("CARGO_BIN_EXE_ringfork-load");
        Command::new(tool)
            .args(["suite", "--quick", "--json", "--server", tool, "--targets"])
            .arg(&file)
            .arg("--record")
            .arg(self.0.join("record"))
            .args(more.split_whitespace())
            .output()
            .unwrap()
    }

    fn written(&self, ending: &str) -> String {
        let mut found = fs::read_dir(self.0.join("record"))
            .unwrap()
            .map(|e| e.unwrap().path())
            .filter(|p| p.extension().is_some_and(|e| e == ending));
        fs::read_to_string(found.next().unwrap()).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const MEASURE: &str = r#"
[measure.forwarder]
by = "alone"
run = "fanout --forwarder --devices 2 --body 260 --saturate --warmup 0.05 --seconds 0.3 --no-pin"

[measure.faulty]
by = "alone"
run = "fanout --forwarder --fault drop:50 --devices 2 --body 260 --saturate --warmup 0 --seconds 0.1 --patience 0.2 --no-pin"

[measure.nobody]
by = "alone"
run = "fanout --target sip:127.0.0.1:1 --transport tcp --devices 2 --body 260 --saturate"

[measure.missing]
by = "alone"
run = "fanout --forwarder --devices 2 --body 260 --saturate"
needs = "no-such-program"
"#;

fn target(measure: &str, bound: &str) -> String {
    format!(
        "[[target]]\nid = \"{measure}\"\nwhat = \"deliveries\"\n{bound}\nrounds = 6\nmeasure = \"{measure}\"\nfigure = \"deliveries_per_s\"\n\n"
    )
}

fn verdicts(out: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&out.stdout);
    let Some(report) = text
        .lines()
        .last()
        .and_then(|l| serde_json::from_str::<Value>(l).ok())
    else {
        panic!("{text}\n{}", String::from_utf8_lossy(&out.stderr));
    };
    let rows = report["targets"].as_array().unwrap();
    rows.iter()
        .map(|r| r["verdict"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_target_that_is_met_gives_exit_code_0_a_record_and_a_page() {
    let folder = Folder::new("met");
    let out = folder.suite(
        &format!("{MEASURE}{}", target("forwarder", "at_least = 10")),
        "",
    );
    assert_eq!(
        out.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    assert_eq!(verdicts(&out), ["met"]);
    let record: Value = serde_json::from_str(&folder.written("json")).unwrap();
    let runs = record["runs"].as_array().unwrap();
    assert!(
        runs.len() >= 6,
        "every run is kept, those that the machine disturbed too: {}",
        runs.len()
    );
    for run in runs {
        let command = run["command"].as_str().unwrap();
        assert!(
            command.starts_with("ringfork-load fanout --forwarder"),
            "{command}"
        );
        assert!(!command.contains("--record"), "{command}");
        assert_eq!(run["record"]["rounds"][0]["who"], "server");
    }
    let page = folder.written("html");
    assert!(
        page.contains("1 of 1 met") && page.contains("<polyline"),
        "{page}"
    );
}

#[test]
fn each_way_to_fall_short_is_told_apart() {
    let folder = Folder::new("short");
    let targets = [
        MEASURE,
        &target("forwarder", "at_least = 1e12"),
        &target("faulty", "at_least = 10"),
        &target("nobody", "at_least = 10"),
        &target("missing", "at_least = 10"),
    ]
    .concat();
    let out = folder.suite(&targets, "");
    assert_eq!(verdicts(&out), ["missed", "wrong", "not run", "not run"]);
    assert_eq!(out.status.code(), Some(1));
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(text.contains("no-such-program is not installed"), "{text}");
    assert!(text.contains("MISSED, wrong: lost"), "{text}");
}

#[test]
fn what_was_not_run_is_no_pass() {
    let folder = Folder::new("open");
    let targets = [
        MEASURE,
        &target("forwarder", "at_least = 10"),
        &target("missing", "at_least = 10"),
    ]
    .concat();
    let out = folder.suite(&targets, "");
    assert_eq!(verdicts(&out), ["met", "not run"]);
    assert_eq!(out.status.code(), Some(3));
}

#[test]
fn usage_is_checked_before_anything_runs() {
    let folder = Folder::new("usage");
    let good = format!("{MEASURE}{}", target("forwarder", "at_least = 10"));
    assert_eq!(
        folder.suite(&good, "--only no-such-target").status.code(),
        Some(2)
    );
    let out = folder.suite(&good.replace("rounds = 6", "rounds = 1"), "");
    assert_eq!(out.status.code(), Some(2));
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(
        said.contains("targets.toml:") && said.contains("`target.rounds`"),
        "{said}"
    );
}
