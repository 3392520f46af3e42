//! Each scenario that counts messages finds what it claims to find: a forwarder that is faulty on purpose, with one message
//! in 10,000 dropped, doubled, put behind the next, altered, or given to another session. An open loop sends as many
//! messages as its rate and its seconds say, however slow the machine is: so the 10,000th is there.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test's helpers"
)]

use std::{fs, process::Command, thread};

use serde_json::Value;

/// Exit code, and the names of the checks that were missed, without those that depend on how fast this machine is.
fn run(args: &str, fault: &str) -> (Option<i32>, Vec<String>) {
    // What is lost for certain need not be waited for long.
    let patience = if fault.is_empty() { "10" } else { "1" };
    let out = Command::new(env!("CARGO_BIN_EXE_ringfork-load"))
        .args(args.split_whitespace())
        .args("--forwarder --no-pin --seed 7 --json".split(' '))
        .args(["--patience", patience])
        .args(
            (!fault.is_empty())
                .then_some(["--fault", fault])
                .into_iter()
                .flatten(),
        )
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    let last = text.lines().last().unwrap_or_default();
    let report: Value = serde_json::from_str(last).unwrap_or_else(|e| {
        panic!(
            "{args} {fault}: {e}: {}",
            String::from_utf8_lossy(&out.stderr)
        )
    });
    let missed = report["slo"]["checks"].as_array().unwrap().iter();
    let missed = missed
        .filter(|c| c["met"] == Value::Bool(false))
        .map(|c| c["name"].as_str().unwrap().to_owned())
        .filter(|n| COUNTED.contains(&n.as_str()))
        .collect();
    (out.status.code(), missed)
}

/// What is counted, whatever the pace.
const COUNTED: [&str; 11] = [
    "lost",
    "duplicated",
    "reordered",
    "corrupted",
    "crossed",
    "unanswered",
    "refused",
    "reported_failed",
    "unexpected",
    "connections_lost",
    "slow_device_lost",
];

/// The fault is found by the checks that stand for it, and by none that stands for another. A machine that stalls for longer
/// than patience lasts makes messages late, which then are lost or unanswered as well.
fn finds(scenario: &str, fault: &str, n: u32, checks: &[&str]) {
    let (exit, missed) = run(scenario, &format!("{fault}:{n}"));
    let what = format!("{scenario} {fault}: {missed:?}");
    assert_eq!(exit, Some(1), "{what}");
    assert!(
        checks.iter().all(|c| missed.iter().any(|m| m == c)),
        "{what}"
    );
    let late = ["lost", "unanswered"];
    let others = missed.iter().filter(|m| !late.contains(&m.as_str()));
    let expected = checks.iter().filter(|c| !late.contains(c));
    assert!(others.eq(expected), "{what}");
}

/// Each fault in every `n`-th SEND is found; without one nothing is missed.
fn finds_each(scenario: &str, n: u32, expected: [(&str, &[&str]); 5]) {
    // Runs wait for most of the time, and may do so side by side.
    thread::scope(|s| {
        for (fault, checks) in expected {
            s.spawn(move || finds(scenario, fault, n, checks));
        }
        s.spawn(|| finds_nothing(scenario));
    });
}

/// Each fault is found by its check, whatever else it does.
fn finds_some(scenario: &str, expected: &[(&str, &str)]) {
    thread::scope(|s| {
        for (fault, check) in expected {
            s.spawn(move || {
                let (exit, missed) = run(scenario, &format!("{fault}:10000"));
                assert_eq!(exit, Some(1), "{fault}");
                assert!(missed.iter().any(|m| m == check), "{fault}: {missed:?}");
            });
        }
        s.spawn(|| finds_nothing(scenario));
    });
}

fn finds_nothing(scenario: &str) {
    let (_, missed) = run(scenario, "");
    assert_eq!(missed, Vec::<String>::new(), "{scenario} without a fault");
}

/// Of messages that go in one SEND each.
const WHOLE: [(&str, &[&str]); 5] = [
    ("drop", &["lost"]),
    ("double", &["duplicated"]),
    ("reorder", &["reordered"]),
    ("alter", &["lost", "corrupted"]),
    ("cross", &["lost", "crossed"]),
];

/// With one device a message that did not reach it is not answered either, and what it says too much reaches a sender.
const TO_ONE: [(&str, &[&str]); 5] = [
    ("drop", &["lost", "unanswered"]),
    ("double", &["duplicated", "unexpected"]),
    ("reorder", &["reordered"]),
    ("alter", &["lost", "corrupted"]),
    // The stranger's answer names a path that its sender does not have: that ends the connection.
    (
        "cross",
        &["lost", "crossed", "unanswered", "connections_lost"],
    ),
];

/// 12,000 messages in one round.
const TWELVE_THOUSAND: &str = "--sessions 4 --rate 12000 --rounds 1 --warmup 0 --seconds 1";

#[test]
fn oneway_finds_one_message_in_ten_thousand() {
    finds_each(&format!("oneway {TWELVE_THOUSAND}"), 10_000, TO_ONE);
}

#[test]
fn fanout_2_finds_one_message_in_ten_thousand() {
    finds_each(&format!("fanout-2 {TWELVE_THOUSAND}"), 10_000, WHOLE);
}

#[test]
fn fanout_4_finds_one_message_in_ten_thousand() {
    finds_each(&format!("fanout-4 {TWELVE_THOUSAND}"), 10_000, WHOLE);
}

#[test]
fn fanout_8_finds_one_message_in_ten_thousand() {
    finds_each(&format!("fanout-8 {TWELVE_THOUSAND}"), 10_000, WHOLE);
}

#[test]
fn slow_device_finds_one_message_in_ten_thousand_at_the_others() {
    // Two rounds of 6,000 messages: without and with it.
    let scenario = "slow-device --devices 3 --sessions 2 --body 300 --rate 6000 --rounds 1 --warmup 0 --seconds 1";
    finds_each(scenario, 10_000, WHOLE);
}

#[test]
fn sweep_finds_one_message_in_ten_thousand() {
    // Three rounds of saturation, half of it, and more than it: some tens of thousands of messages.
    let file =
        std::env::temp_dir().join(format!("ringfork-load-{}-sweep.toml", std::process::id()));
    fs::write(
        &file,
        "kind = \"sweep\"\n[sweep]\npercent = [50, 120]\nsaturation_rounds = 1\n[traffic]\ndevices = 2\nsessions = 4\nrounds = 1\nwarmup_s = 0.1\nseconds = 0.6\n",
    )
    .unwrap();
    let scenario = file.to_str().unwrap();
    finds_some(
        scenario,
        &[
            ("drop", "lost"),
            ("double", "duplicated"),
            ("reorder", "reordered"),
            ("alter", "corrupted"),
            ("cross", "crossed"),
        ],
    );
    fs::remove_file(&file).unwrap();
}

#[test]
fn chunked_finds_one_chunk_in_ten_thousand() {
    // 800 messages of 16 chunks.
    let scenario = "chunked --sessions 4 --rate 400 --rounds 1 --warmup 0 --seconds 2";
    // A message whose last chunk is missing is lost; one that lacks another is torn, and so corrupted, too.
    finds_some(
        scenario,
        &[
            ("drop", "lost"),
            ("double", "duplicated"),
            ("alter", "corrupted"),
            ("cross", "crossed"),
        ],
    );
}

#[test]
fn chunked_finds_a_message_that_ends_behind_its_successor() {
    // A chunk behind one of another message is no fault. In bursts of 4 × 16 chunks every 64th, counted from the 61st, ends
    // the first message of its burst: held back, it lets the second overtake. 61 + 156 × 64 = 10,045.
    let scenario = "chunked --sessions 1 --rate 400 --rounds 1 --warmup 0 --seconds 2";
    finds(scenario, "reorder", 10_045, &["reordered"]);
}

#[test]
fn large_frames_find_one_message_in_a_hundred_and_one_in_five() {
    // 10,000 of them would be 0.6 and 80 GiB.
    let of_64k = "large-frame-64k --sessions 2 --rate 100 --rounds 1 --warmup 0 --seconds 1.2";
    finds_each(of_64k, 100, WHOLE);
    let of_8m = "large-frame-8m --sessions 2 --rate 6 --rounds 1 --warmup 0 --seconds 1";
    for (fault, checks) in [WHOLE[0], WHOLE[3]] {
        finds(of_8m, fault, 5, checks);
    }
}
