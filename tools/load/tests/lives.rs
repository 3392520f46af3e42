//! Scenarios about sessions' lives against a server that is not ours: done right, everything is found right; each wrong thing
//! that it can do is found, with the right count, and is exit code 1.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::wildcard_enum_match_arm,
    reason = "a test double with blocking threads"
)]

mod double;

use std::{fmt::Write as _, fs, process::Command, sync::atomic::Ordering, thread};

use double::{Double, Harm, Manner, WELL};
use ringfork::wire::sdp::Setup;
use serde_json::Value;

/// Each scenario, made small.
const REPLY: &str = "reply --sessions 12 --devices 3 --rate 300 --seconds 0.8 --rounds 1";
const RACE: &str = "activity-race --sessions 20 --rate 300 --seconds 0.8 --rounds 1";
const CHURN: &str = "churn --sessions 4 --rate 200 --seconds 1";
const MIXED: &str = "mixed --sessions 8 --rate 300 --seconds 2";
const REGISTER: &str = "register-storm --sessions 50";
const RECONNECT: &str = "reconnect-storm --sessions 8 --rate 200 --seconds 0.4 --rounds 1";
const ALL: [&str; 6] = [REPLY, RACE, CHURN, MIXED, REGISTER, RECONNECT];

/// Seconds that a run waits for what has not come: what is lost for certain need not be waited for long, and on a machine that
/// stalls, what is merely late must be.
const PATIENCE: [&str; 2] = ["1", "30"];

fn run(manner: Manner, scenario: &str) -> (Option<i32>, Value, Double) {
    run_with(manner, scenario, PATIENCE[0])
}

fn run_with(manner: Manner, scenario: &str, patience: &str) -> (Option<i32>, Value, Double) {
    let double = Double::start(manner);
    let out = Command::new(env!("CARGO_BIN_EXE_ringfork-load"))
        .args(scenario.split_whitespace())
        .args(["--target", &format!("sip:{}", double.sip)])
        .args("--warmup 0.1 --seed 5 --no-pin --json".split(' '))
        .args(["--patience", patience])
        .output()
        .unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    let report = text.lines().last().unwrap_or_else(|| panic!("{said}"));
    let report = serde_json::from_str(report).unwrap();
    (out.status.code(), report, double)
}

/// Names and values of the checks that were missed; what a busy test machine misses in time is none of ours.
fn missed(report: &Value) -> Vec<(&str, u64)> {
    let checks = report["slo"]["checks"].as_array().unwrap();
    checks
        .iter()
        .filter(|c| c["met"] == Value::Bool(false))
        .map(|c| {
            (
                c["name"].as_str().unwrap(),
                c["value"].as_u64().unwrap_or(0),
            )
        })
        .filter(|(name, _)| !name.contains("_us") && !name.contains("lag") && *name != "delivered")
        .collect()
}

/// The scenario misses exactly these checks, with these counts (0: some), and says so with exit code 1, at the latest when it
/// is patient.
#[track_caller]
fn finds(manner: Manner, scenario: &str, expected: &[(&str, u64)]) {
    found(manner, scenario, |report, _| {
        let found = missed(report).into_iter();
        let of = expected.iter().map(|(_, n)| *n).chain(std::iter::repeat(1));
        let found = found
            .zip(of)
            .map(|((name, n), of)| (name, if of == 0 { 0 } else { n }));
        found.eq(expected.iter().copied())
    });
}

/// The scenario exits with code 1 and says what is expected, at the latest when it is patient.
#[track_caller]
fn found(manner: Manner, scenario: &str, is_expected: impl Fn(&Value, &Double) -> bool) {
    let mut tried = String::new();
    for patience in PATIENCE {
        let (exit, report, double) = run_with(manner, scenario, patience);
        if exit == Some(1) && is_expected(&report, &double) {
            return;
        }
        let harmed = double.media.harm_done();
        let missed = missed(&report);
        writeln!(
            tried,
            "exit code {exit:?}, harmed {harmed}, missed {missed:?}: {report}"
        )
        .unwrap();
    }
    panic!("{scenario} {manner:?}:\n{tried}");
}

#[track_caller]
fn harmed(harm: Harm, scenario: &str, expected: &[(&str, u64)]) {
    finds(Manner { harm, ..WELL }, scenario, expected);
}

fn count(report: &Value, field: &str) -> u64 {
    report[field]
        .as_u64()
        .unwrap_or_else(|| panic!("{field}: {report}"))
}

#[test]
fn a_server_that_does_right_is_found_right_by_each_over_udp_and_tcp_both_ways() {
    for (transport, answer, setup) in [
        ("udp", Setup::Passive, "active"),
        ("tcp", Setup::Active, "passive"),
    ] {
        at_once(&ALL, |scenario| {
            let manner = Manner { answer, ..WELL };
            let how = format!("{scenario} --transport {transport} --setup {setup}");
            let (_, report, _) = run_with(manner, &how, PATIENCE[1]);
            assert_eq!(missed(&report), [], "{how}: {report}");
        });
    }
}

/// Runs mostly wait, so they may run side by side.
fn at_once<T: Sync>(all: &[T], check: impl Fn(&T) + Sync) {
    thread::scope(|s| {
        for one in all {
            s.spawn(|| check(one));
        }
    });
}

#[test]
fn what_happened_is_counted() {
    let (_, report, double) = run_with(WELL, REPLY, PATIENCE[1]);
    assert_eq!(count(&report, "sessions_with_activity"), 12);
    assert_eq!(count(&report, "session_attempts"), 12);
    assert_eq!(count(&report, "leaked_after_activity"), 0);
    assert_eq!(count(&report, "replies"), 12);
    assert_eq!(count(&report, "replies_heard"), 12);
    assert!(report["teardown_us"]["p50"].as_f64().unwrap() > 0.0);
    assert_eq!(double.counts.invites.load(Ordering::Relaxed), 12);
    // Of each session, messages before the activity reach three devices, those behind it one.
    let (sent, delivered) = (count(&report, "sent"), count(&report, "delivered"));
    assert!(sent < delivered && delivered < 3 * sent, "{report}");

    let (_, report, _) = run_with(WELL, RACE, PATIENCE[1]);
    assert_eq!(count(&report, "replies"), 40);
    assert_eq!(count(&report, "replies_heard"), 40);

    let (_, report, double) = run_with(WELL, CHURN, PATIENCE[1]);
    assert_eq!(count(&report, "session_attempts"), 110);
    assert_eq!(double.counts.invites.load(Ordering::Relaxed), 114);
    assert_eq!(double.counts.byes.load(Ordering::Relaxed), 114);
    for delay in [
        "setup_us",
        "session_request_delay_us",
        "session_disconnect_delay_us",
        "signalling_lag_us",
        "signalling_wait_us",
        "delivery_us",
        "delivery_in_new_sessions_us",
    ] {
        assert!(report[delay]["p99"].as_f64().unwrap() > 0.0, "{delay}");
    }

    let (_, report, _) = run_with(WELL, MIXED, PATIENCE[1]);
    for some in [
        "replies",
        "reports_asked",
        "composing",
        "sessions_with_activity",
    ] {
        assert!(count(&report, some) > 0, "{some}: {report}");
    }
    assert_eq!(
        count(&report, "reports_asked"),
        count(&report, "reports_came")
    );

    let (_, report, double) = run_with(WELL, REGISTER, PATIENCE[1]);
    assert_eq!(count(&report, "registration_attempts"), 200);
    assert_eq!(double.counts.registered.load(Ordering::Relaxed), 200);
    assert!(
        report["registration_request_delay_us"]["p99"]
            .as_f64()
            .unwrap()
            > 0.0
    );
    assert!(report.get("delivery_us").is_none(), "no message was sent");

    let (_, report, double) = run_with(WELL, RECONNECT, PATIENCE[1]);
    assert_eq!(double.counts.invites.load(Ordering::Relaxed), 16);
    assert!(report["all_restored_us"]["max"].as_f64().unwrap() > 0.0);
}

#[test]
fn a_message_behind_the_activity_that_reaches_another_device_is_a_leak() {
    // Torn down as they should be, the others still get one message of so many until their connections end.
    at_once(&[REPLY, RACE, MIXED], |scenario| {
        let harm = Harm::Leak(1);
        finds(
            Manner { harm, ..WELL },
            scenario,
            &[("leaked_after_activity", 0)],
        );
    });
    // Where nobody is torn down, every leak arrives, and each is counted.
    let manner = Manner {
        harm: Harm::Leak(9),
        stay_beside: usize::MAX,
        ..WELL
    };
    found(manner, REPLY, |report, double| {
        let leaked = double.media.harm_done();
        count(report, "leaked_after_activity") == leaked
            && missed(report).contains(&("leaked_after_activity", leaked))
    });
}

#[test]
fn two_devices_that_both_stay_are_found() {
    let manner = Manner {
        stay_beside: 1,
        ..WELL
    };
    finds(manner, REPLY, &[("devices_that_stayed_beside", 12)]);
    finds(manner, RACE, &[("devices_that_stayed_beside", 20)]);
    finds(manner, MIXED, &[("devices_that_stayed_beside", 0)]);
}

#[test]
fn a_teardown_for_another_reason_is_found() {
    let manner = Manner { cause: 480, ..WELL };
    finds(manner, REPLY, &[("byes_with_wrong_reason", 24)]);
}

#[test]
fn a_session_that_is_not_torn_down_is_found() {
    let manner = Manner {
        forgets_a_bye: true,
        ..WELL
    };
    finds(
        manner,
        "churn --sessions 1 --rate 50 --seconds 0.1",
        &[("legs_without_bye", 21)],
    );
}

#[test]
fn a_call_that_is_refused_is_a_failed_attempt() {
    let manner = Manner {
        refuses: Some(503),
        refuses_every: 50,
        ..WELL
    };
    // 4 stand, then 110 come and go: of 114, the 50th and the 100th.
    found(manner, CHURN, |report, _| {
        missed(report) == [("session_attempt_failures", 2)]
            && report["failures_by_code"]["503"] == 2
    });
}

#[test]
fn a_lost_registration_is_found() {
    let forgets = Manner {
        forgets_registrations: Some(70),
        ..WELL
    };
    finds(forgets, REGISTER, &[("registrations_lost", 2)]);
    let ignores = Manner {
        ignores_registers: Some(130),
        ..WELL
    };
    // Over TCP nothing is sent again: it fails, and is not there.
    finds(
        ignores,
        &format!("{REGISTER} --transport tcp"),
        &[
            ("registration_failures", 1),
            ("registrations_lost", 1),
            ("signalling_errors", 0),
        ],
    );
    // Over UDP it is sent again, and is no failure.
    let (_, report, _) = run(ignores, REGISTER);
    assert!(
        report["registration_request_delay_us"]["max"]
            .as_f64()
            .unwrap()
            > 499_000.0
    );
}

/// The scenarios in which callers send messages, with 11,000 of them and more.
const MANY: [&str; 5] = [
    "reply --sessions 12 --devices 2 --rate 4000 --seconds 2.8 --rounds 1",
    "activity-race --sessions 12 --devices 2 --rate 4000 --seconds 2.8 --rounds 1",
    "churn --sessions 4 --devices 2 --rate 4000 --seconds 2.8 --churn 5",
    "mixed --sessions 8 --devices 2 --rate 4000 --seconds 4.2 --churn 5",
    "reconnect-storm --sessions 8 --devices 2 --rate 4000 --seconds 1.4 --rounds 1",
];

#[test]
fn one_message_in_ten_thousand_dropped_doubled_reordered_or_altered_is_found_by_each_that_sends() {
    let harms: [(Harm, &[(&str, u64)]); 4] = [
        (Harm::Drop(10_000), &[("lost", 1)]),
        (Harm::Double(10_000), &[("duplicated", 1)]),
        (Harm::Reorder(10_000), &[("reordered", 1)]),
        (Harm::Alter(10_000), &[("lost", 1), ("corrupted", 1)]),
    ];
    for (scenario, harms) in MANY
        .into_iter()
        .flat_map(|s| harms.chunks(2).map(move |h| (s, h)))
    {
        // Two at a time: these compute.
        at_once(harms, |(harm, expected)| {
            let manner = Manner {
                harm: *harm,
                ..WELL
            };
            found(manner, scenario, |report, double| {
                // Where the one device that stands does not get a message, nobody reports on it.
                let mut missed = missed(report);
                missed.retain(|(name, _)| *name != "reports_missing");
                double.media.harm_done() == 1 && missed == *expected
            });
        });
    }
}

#[test]
fn one_leak_in_ten_thousand_messages_behind_the_activity_is_found() {
    // Nobody is torn down, so that what leaks arrives. In `mixed` the activity comes at any time: in every session here, so
    // that 10,000 of 22,500 messages lie behind it.
    let file =
        std::env::temp_dir().join(format!("ringfork-load-{}-mixed.toml", std::process::id()));
    fs::write(
        &file,
        "kind = \"mixed\"\n[mixed]\nanswered = 1\nreplies = 0.05\nchurn_per_s = 5\n\
         [traffic]\nsessions = 24\ndevices = 2\nbody_bytes = 260\nrate_per_s = 5000\nseconds = 4.5\nrounds = 1\n",
    )
    .unwrap();
    let many = [
        "reply --sessions 12 --devices 2 --rate 4000 --seconds 4.2 --rounds 1",
        "activity-race --sessions 12 --devices 2 --rate 4000 --seconds 4.2 --rounds 1",
        file.to_str().unwrap(),
    ];
    at_once(&many, |scenario| {
        let manner = Manner {
            harm: Harm::Leak(10_000),
            stay_beside: usize::MAX,
            ..WELL
        };
        found(manner, scenario, |report, double| {
            let leaked = count(report, "leaked_after_activity");
            leaked > 0 && leaked == double.media.harm_done()
        });
    });
    fs::remove_file(&file).unwrap();
}

#[test]
fn a_message_that_reaches_another_call_is_found() {
    harmed(Harm::Cross(97), RECONNECT, &[("lost", 0), ("crossed", 0)]);
}

#[test]
fn replies_and_reports_that_do_not_pass_are_found() {
    harmed(Harm::EatReports, MIXED, &[("reports_missing", 0)]);
    let manner = Manner {
        harm: Harm::EatReplies,
        ..WELL
    };
    found(manner, REPLY, |report, _| {
        missed(report).contains(&("replies_lost", 12))
    });
}
