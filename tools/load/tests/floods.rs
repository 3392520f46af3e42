//! Each flood against Ringfork itself, for a second: whatever the pace of this machine, the canary loses nothing, the server
//! stays within its memory, and the log is not flooded. Delays are measured by `cargo perf`.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test's helpers"
)]

use std::{path::Path, process::Command, thread};

use serde_json::Value;

/// Resident bytes of a server under any of them: without bounds in bytes, one second of the largest requests takes more. What all
/// tables together take when they are full, `perf/budget.md` says.
const RESIDENT_MAX: u64 = 256 << 20;

/// Runs some floods, a server each, one after the other; what was missed of them.
fn missed(floods: &[&str]) -> Vec<String> {
    let server = Path::new(env!("CARGO_BIN_EXE_ringfork-load")).with_file_name("ringfork");
    assert!(
        server.exists(),
        "{} is built by `cargo test --workspace`",
        server.display()
    );
    let out = Command::new(env!("CARGO_BIN_EXE_ringfork-load"))
        .args(["floods", "--no-pin", "--json", "--seconds", "1"])
        .args(floods.iter().flat_map(|f| ["--flood", f]))
        .args(["--resident-max", &RESIDENT_MAX.to_string()])
        .arg("--spawn")
        .arg(format!("{} serve --config {{config}}", server.display()))
        .output()
        .unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    let report: Value = text
        .lines()
        .last()
        .and_then(|l| serde_json::from_str(l).ok())
        .unwrap_or_else(|| panic!("no report: {said}"));
    assert_eq!(report["floods"].as_array().unwrap().len(), floods.len());
    let checks = report["slo"]["checks"].as_array().unwrap();
    checks
        .iter()
        .filter(|c| c["met"] == Value::Bool(false))
        .map(ToString::to_string)
        .collect()
}

#[test]
fn a_well_behaved_session_loses_nothing_to_a_flood() {
    let lanes: [&[&str]; 2] = [
        &[
            "mute",
            "mutes",
            "slow-readers",
            "falling",
            "options-unread",
            "options-100",
        ],
        &[
            "contacts",
            "bodies",
            "refused",
            "registers",
            "refusals",
            "half-open",
            "options-10",
        ],
    ];
    let all: Vec<String> = thread::scope(|s| {
        let running: Vec<_> = lanes.map(|l| s.spawn(|| missed(l))).into_iter().collect();
        let outcomes = running.into_iter().map(|r| r.join().unwrap());
        outcomes.flatten().collect()
    });
    assert!(all.is_empty(), "{all:#?}");
}
