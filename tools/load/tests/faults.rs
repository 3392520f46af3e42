//! The checks find what they claim to find: a forwarder that is faulty on purpose, one fault at a time, and one that is not.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test's helpers"
)]

use std::{
    process::{Command, Output, Stdio},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

fn load(args: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringfork-load"))
        .args(args.split_whitespace())
        .output()
        .unwrap()
}

/// Steady state and patience, in seconds: short ones first. On a machine that stands still for so long, the fault does not
/// come up within the one, and what is merely late counts as lost after the other.
const SPANS: [(&str, &str); 2] = [("0.4", "1"), ("3", "30")];
/// For runs that come to the same however long they are.
const LONG: (&str, &str) = ("1", "30");

/// Three sessions of two devices, both loads; exit code and report.
fn fanout(
    load_args: &str,
    fault: Option<&str>,
    (steady, patience): (&str, &str),
) -> (Option<i32>, Value) {
    let mut args = format!(
        "fanout --forwarder --devices 2 --sessions 3 --body 260 {load_args} --warmup 0.1 --seconds {steady} --patience {patience} --seed 7 --no-pin --json"
    );
    if let Some(fault) = fault {
        args.push_str(" --fault ");
        args.push_str(fault);
    }
    let out = load(&args);
    let text = String::from_utf8(out.stdout).unwrap();
    let last = text.lines().last().unwrap_or_else(|| {
        panic!(
            "nothing on standard output; on standard error: {}",
            String::from_utf8_lossy(&out.stderr)
        )
    });
    (out.status.code(), serde_json::from_str(last).unwrap())
}

/// Names of the checks that were missed; what a machine that stands still for a while misses is none of ours.
fn missed(report: &Value) -> Vec<String> {
    let checks = report["slo"]["checks"].as_array().unwrap();
    checks
        .iter()
        .filter(|c| c["met"] == Value::Bool(false))
        .map(|c| c["name"].as_str().unwrap().to_owned())
        .filter(|n| !["send_lag_p99_us", "delivered"].contains(&n.as_str()))
        .collect()
}

fn finds(fault: &str, expected: &[&str]) {
    for load in ["--rate 3000", "--saturate --window 8"] {
        let mut tried = Vec::new();
        let found = SPANS.iter().any(|&spans| {
            let (exit, report) = fanout(load, Some(fault), spans);
            let missed = missed(&report);
            let is_it = exit == Some(1) && missed == expected;
            tried.push((exit, missed, report));
            is_it
        });
        assert!(found, "{fault} {load}: {tried:?}");
    }
}

#[test]
fn a_dropped_message_is_lost() {
    finds("drop:300", &["lost"]);
}

#[test]
fn a_doubled_message_is_duplicated() {
    finds("double:300", &["duplicated"]);
}

#[test]
fn an_altered_message_is_corrupted_and_the_right_one_lost() {
    finds("alter:300", &["lost", "corrupted"]);
}

#[test]
fn a_message_for_another_session_has_crossed_and_is_lost_where_it_belongs() {
    finds("cross:300", &["lost", "crossed"]);
}

#[test]
fn a_message_behind_its_successor_is_reordered() {
    for load in ["--rate 3000", "--saturate --window 8"] {
        let (exit, report) = fanout(load, Some("reorder:300"), ("1", "3"));
        assert_eq!(exit, Some(1));
        assert!(report["reordered"].as_u64().unwrap() > 0, "{report}");
        // One that was held back at the very end has no successor: it never comes.
        assert!(report["lost"].as_u64().unwrap() <= 3, "{report}");
    }
}

#[test]
fn without_a_fault_everything_is_found_right() {
    for load in ["--rate 3000", "--saturate --window 8"] {
        let (_, report) = fanout(load, None, LONG);
        assert_eq!(missed(&report), Vec::<String>::new(), "{report}");
        assert_eq!(report["delivered"], report["expected"]);
        assert_eq!(
            report["expected"].as_u64().unwrap(),
            2 * report["sent"].as_u64().unwrap()
        );
        assert!(report["deliveries_per_s"].as_f64().unwrap() > 100.0);
        assert!(
            report["delivery_us"]["p99"].as_f64().unwrap()
                >= report["delivery_us"]["p50"].as_f64().unwrap()
        );
    }
}

#[test]
fn a_generator_that_was_held_up_counts_from_the_intended_times_and_says_that_it_is_no_measure() {
    let child = Command::new(env!("CARGO_BIN_EXE_ringfork-load"))
        .args("fanout --forwarder --devices 1 --body 260 --rate 500 --warmup 0 --seconds 1.5 --no-pin --json".split(' '))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    thread::sleep(Duration::from_millis(600));
    kill_process(pid, Signal::STOP).unwrap();
    thread::sleep(Duration::from_millis(400));
    kill_process(pid, Signal::CONT).unwrap();
    let out = child.wait_with_output().unwrap();
    let report: Value = serde_json::from_slice(&out.stdout).unwrap();
    // All that was meant to be sent was sent, late, and each was late by what it waited.
    assert_eq!(report["sent"], 750, "{report}");
    assert!(
        report["delivery_us"]["max"].as_f64().unwrap() > 350_000.0,
        "{report}"
    );
    assert!(
        report["send_lag_us"]["max"].as_f64().unwrap() > 350_000.0,
        "{report}"
    );
    assert_eq!(out.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&out.stderr).contains("this result is invalid"));
}

#[test]
fn large_messages_come_through_whole() {
    let out = load(
        "fanout --forwarder --devices 2 --body 3000000 --saturate --window 2 --warmup 0 --seconds 1 --no-pin --json",
    );
    let report: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(missed(&report), Vec::<String>::new(), "{report}");
    assert_eq!(out.status.code(), Some(0));
}

#[test]
fn the_report_has_what_was_measured_and_nothing_else() {
    let (_, report) = fanout("--rate 1000", None, LONG);
    for field in [
        "scenario",
        "target",
        "seconds",
        "offered_per_s",
        "sent",
        "expected",
        "delivered",
        "lost",
        "duplicated",
        "reordered",
        "corrupted",
        "crossed",
        "delivery_us",
        "send_lag_us",
        "slo",
    ] {
        assert!(
            report.get(field).is_some(),
            "{field} is missing in {report}"
        );
    }
    for field in [
        "leaked_after_activity",
        "setup_us",
        "teardown_us",
        "baseline",
    ] {
        assert!(report.get(field).is_none(), "{field} was not measured");
    }
    for quantile in ["p50", "p90", "p99", "p999", "max"] {
        assert!(report["delivery_us"][quantile].is_f64());
    }
    assert_eq!(report["scenario"], "fanout");
}

#[test]
fn exit_codes_say_what_happened() {
    let code = |args| load(args).status.code();
    assert_eq!(
        code("fanout --devices 2 --body 200 --saturate"),
        Some(2),
        "no target"
    );
    assert_eq!(
        code("fanout --forwarder --devices 2 --body 20 --saturate"),
        Some(2),
        "no room for the marks"
    );
    assert_eq!(
        code("fanout --target sip:127.0.0.1:1 --transport tcp --devices 2 --body 200 --saturate"),
        Some(3)
    );
    assert_eq!(
        code("fanout --spawn /nowhere/server --devices 2 --body 200 --saturate"),
        Some(3)
    );
    assert_eq!(
        code("fanout --spawn false --devices 2 --body 200 --saturate"),
        Some(3)
    );
    assert_eq!(
        code("forward --listen 203.0.113.1:1"),
        Some(3),
        "no such address here"
    );
}
