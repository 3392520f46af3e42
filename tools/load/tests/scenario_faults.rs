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

/// How a run ended.
struct Ran {
    exit: Option<i32>,
    /// The checks that were missed, without those that depend on how fast this machine is.
    missed: Vec<String>,
    /// Messages sent, over all rounds.
    sent: u64,
}

/// What comes later than `patience`, in seconds, counts as lost.
fn run(args: &str, fault: &str, patience: &str) -> Ran {
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
    let said = String::from_utf8_lossy(&out.stderr);
    if said.contains("saturation: nothing was delivered") {
        // Rounds that were shorter than the machine's stalls.
        return Ran {
            exit: out.status.code(),
            missed: Vec::new(),
            sent: 0,
        };
    }
    let report: Value =
        serde_json::from_str(last).unwrap_or_else(|e| panic!("{args} {fault}: {e}: {said}"));
    let missed = report["slo"]["checks"].as_array().unwrap().iter();
    let missed = missed
        .filter(|c| c["met"] == Value::Bool(false))
        .map(|c| c["name"].as_str().unwrap().to_owned())
        .filter(|n| COUNTED.contains(&n.as_str()))
        .collect();
    Ran {
        exit: out.status.code(),
        missed,
        sent: report["sent"].as_u64().unwrap(),
    }
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

/// Seconds that a run waits for what has not come: what is lost for certain need not be waited for long, and on a machine that
/// stalls, what is merely late must be.
const PATIENCE: [&str; 2] = ["1", "30"];

/// What a run with a fault misses: `as_expected`, at the latest when it is patient.
fn misses(scenario: &str, fault: &str, as_expected: impl Fn(&[String]) -> bool) {
    let mut tried = Vec::new();
    for patience in PATIENCE {
        let Ran { exit, missed, .. } = run(scenario, fault, patience);
        if exit == Some(1) && as_expected(&missed) {
            return;
        }
        tried.push((exit, missed));
    }
    panic!("{scenario} {fault}: {tried:?}");
}

/// The fault is found by the checks that stand for it, and by none that stands for another.
fn finds(scenario: &str, fault: &str, n: u32, checks: &[&str]) {
    misses(scenario, &format!("{fault}:{n}"), |missed| missed == checks);
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
                misses(scenario, &format!("{fault}:10000"), |missed| {
                    missed.iter().any(|m| m == check)
                });
            });
        }
        s.spawn(|| finds_nothing(scenario));
    });
}

fn finds_nothing(scenario: &str) {
    let Ran { missed, .. } = run(scenario, "", PATIENCE[1]);
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
    let expected = [
        ("drop", "lost"),
        ("double", "duplicated"),
        ("reorder", "reordered"),
        ("alter", "corrupted"),
        ("cross", "crossed"),
    ];
    // One after the other: each saturates what it runs on.
    for (fault, check) in expected {
        let fault = format!("{fault}:10000");
        let missed = sweep(&fault, PATIENCE[0]);
        assert!(missed.iter().any(|m| m == check), "{fault}: {missed:?}");
    }
    assert_eq!(sweep("", PATIENCE[1]), Vec::<String>::new());
}

#[test]
fn a_sweep_over_what_delivers_nothing_says_so() {
    let name = format!("ringfork-load-{}-nothing.toml", std::process::id());
    let file = std::env::temp_dir().join(name);
    fs::write(&file, "kind = \"sweep\"\n[sweep]\nsaturation_rounds = 1\n[traffic]\nsessions = 2\nrounds = 1\nwarmup_s = 0.0\nseconds = 0.05\n").unwrap();
    let Ran { exit, sent, .. } = run(file.to_str().unwrap(), "drop:1", "0.1");
    fs::remove_file(&file).unwrap();
    assert_eq!((exit, sent), (Some(1), 0));
}

/// What a sweep of at least 12,000 messages misses. How many it sends is for the machine to say, since a part of it saturates:
/// one that sends too few is done again with longer rounds.
fn sweep(fault: &str, patience: &str) -> Vec<String> {
    let name = format!("ringfork-load-{}-sweep.toml", std::process::id());
    let file = std::env::temp_dir().join(name);
    let mut seconds = 0.05;
    loop {
        fs::write(
            &file,
            format!("kind = \"sweep\"\n[sweep]\npercent = [50, 120]\nsaturation_rounds = 1\n[traffic]\ndevices = 2\nsessions = 4\nrounds = 1\nwarmup_s = 0.1\nseconds = {seconds}\n"),
        )
        .unwrap();
        let ran = run(file.to_str().unwrap(), fault, patience);
        fs::remove_file(&file).unwrap();
        if ran.sent >= 12_000 {
            assert!(fault.is_empty() || ran.exit == Some(1), "{fault}");
            return ran.missed;
        }
        assert!(seconds < 20.0, "{fault}: {} messages only", ran.sent);
        seconds *= 2.0;
    }
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
