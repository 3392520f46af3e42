//! Whole runs with SIP against a server that is not ours: registered, called, answered, bound, sent, hung up.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::wildcard_enum_match_arm,
    reason = "a test double with blocking threads"
)]

#[allow(dead_code, reason = "what it does wrong is for other tests")]
mod double;

use std::{process::Command, sync::atomic::Ordering};

use double::{Double, Manner, WELL};
use ringfork::wire::sdp::Setup;
use serde_json::Value;

fn run(double: &Double, scenario: &str) -> (Option<i32>, Value) {
    let out = Command::new(env!("CARGO_BIN_EXE_ringfork-load"))
        .args(scenario.split_whitespace())
        .args([
            "--target",
            &format!("sip:{}", double.sip),
            "--no-pin",
            "--json",
        ])
        .output()
        .unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    let report = text
        .lines()
        .last()
        .and_then(|l| serde_json::from_str(l).ok());
    (
        out.status.code(),
        report.unwrap_or_else(|| Value::String(said.into_owned())),
    )
}

/// Names of the checks that were missed, without those that a machine which stands still for a while misses.
fn missed(report: &Value) -> Vec<&str> {
    let checks = report["slo"]["checks"]
        .as_array()
        .unwrap_or_else(|| panic!("no report: {report}"));
    let missed = checks.iter().filter(|c| c["met"] == Value::Bool(false));
    missed
        .map(|c| c["name"].as_str().unwrap())
        .filter(|n| !["send_lag_p99_us", "delivered"].contains(n))
        .collect()
}

#[test]
fn every_way_to_set_up_a_leg_carries_messages() {
    for (transport, answer, setup, cema) in [
        ("udp", Setup::Passive, "active", ""),
        ("udp", Setup::Active, "passive", "--no-cema"),
        ("tcp", Setup::Passive, "passive", ""),
        ("tcp", Setup::Active, "active", "--no-cema"),
    ] {
        let double = Double::start(Manner { answer, ..WELL });
        let (_, report) = run(
            &double,
            &format!(
                "fanout --devices 3 --sessions 5 --body 300 --rate 500 --warmup 0.1 --seconds 0.4 \
                 --transport {transport} --setup {setup} {cema}"
            ),
        );
        let what = format!("{transport} {answer:?} {setup}: {report}");
        assert_eq!(missed(&report), Vec::<&str>::new(), "{what}");
        assert_eq!(
            report["delivered"].as_u64().unwrap(),
            3 * report["sent"].as_u64().unwrap(),
            "{what}"
        );
        assert!(report["setup_us"]["p50"].as_f64().unwrap() > 0.0, "{what}");
        assert!(
            report["teardown_us"]["p50"].as_f64().unwrap() > 0.0,
            "{what}"
        );
        let count = |c: &std::sync::atomic::AtomicU32| c.load(Ordering::Relaxed);
        let c = &double.counts;
        assert_eq!(
            [
                count(&c.registered),
                count(&c.invites),
                count(&c.acks),
                count(&c.byes),
                count(&c.deregistered)
            ],
            [15, 5, 5, 5, 15],
            "{what}"
        );
    }
}

#[test]
fn what_is_lost_on_the_way_is_sent_again() {
    let double = Double::start(Manner {
        deaf_at_first: true,
        ..WELL
    });
    let (_, report) = run(
        &double,
        "fanout --devices 2 --sessions 3 --body 300 --rate 200 --warmup 0 --seconds 0.3",
    );
    assert_eq!(missed(&report), Vec::<&str>::new(), "{report}");
    assert_eq!(
        report["delivered"].as_u64().unwrap(),
        2 * report["sent"].as_u64().unwrap()
    );
    // The INVITE went out again after T1, and so did the first device's 200.
    assert!(
        report["setup_us"]["p50"].as_f64().unwrap() > 900_000.0,
        "{report}"
    );
}

#[test]
fn a_leg_that_is_never_hung_up_is_found() {
    let double = Double::start(Manner {
        forgets_a_bye: true,
        ..WELL
    });
    let (exit, report) = run(
        &double,
        "fanout --devices 2 --body 300 --saturate --window 4 --warmup 0 --seconds 0.2",
    );
    assert_eq!(exit, Some(1));
    assert_eq!(missed(&report), ["legs_without_bye"], "{report}");
}

#[test]
fn a_server_that_refuses_is_not_reachable() {
    let double = Double::start(Manner {
        refuses: Some(480),
        ..WELL
    });
    let (exit, said) = run(
        &double,
        "fanout --devices 2 --body 300 --saturate --seconds 0.2",
    );
    assert_eq!(exit, Some(3));
    assert!(said.as_str().unwrap().contains("answered 480"), "{said}");
    assert_eq!(
        double.counts.acks.load(Ordering::Relaxed),
        1,
        "a refusal is acknowledged too"
    );
}

#[test]
fn idle_sessions_stand_and_are_weighed() {
    let double = Double::start(WELL);
    let pid = std::process::id();
    let (exit, report) = run(
        &double,
        &format!("idle --devices 3 --sessions 10 --seconds 0.1 --pid {pid}"),
    );
    assert_eq!(exit, Some(0), "{report}");
    assert_eq!(report["legs"], 40);
    assert!(report["standing"]["rss_bytes"].as_u64().unwrap() > 0);
    // The kernel counts the whole machine's, so others come and go: these stand for certain, both ends.
    assert!(
        report["standing"]["tcp_sockets"].as_u64().unwrap() >= 80,
        "{report}"
    );
    assert!(report["delivered"].is_null(), "nothing was sent");
}
