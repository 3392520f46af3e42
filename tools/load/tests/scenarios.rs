//! Scenarios as they are named on the command line: what they say, what they keep, and what a stall of the machine does to
//! them.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test's helpers"
)]

use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    path::PathBuf,
    process::{Command, Output, Stdio},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

fn command(args: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringfork-load"));
    command.args(args.split_whitespace());
    command
}

fn load(args: &str) -> Output {
    command(args).output().unwrap()
}

fn report(out: &Output) -> Value {
    let text = String::from_utf8_lossy(&out.stdout);
    let last = text.lines().last().unwrap_or_default();
    serde_json::from_str(last)
        .unwrap_or_else(|e| panic!("{e}: {text}{}", String::from_utf8_lossy(&out.stderr)))
}

/// A path of our own for what a test keeps.
fn path(name: &str) -> PathBuf {
    let path =
        std::env::temp_dir().join(format!("ringfork-load-test-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&path);
    path
}

#[test]
fn a_record_has_every_round_with_its_curve_its_series_and_what_the_machine_did() {
    let dir = path("record");
    let log = path("hdr");
    let out = load(&format!(
        "oneway --forwarder --sessions 3 --rate 500 --rounds 2 --warmup 0.1 --seconds 0.5 --no-pin --json --record {} --hdr {}",
        dir.display(),
        log.display()
    ));
    let report = report(&out);
    assert_eq!(report["scenario"], "oneway");
    assert_eq!(report["hiccups"]["rounds"], 2);
    let file = fs::read_dir(&dir).unwrap().next().unwrap().unwrap().path();
    let record: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let rounds = record["rounds"].as_array().unwrap();
    assert_eq!(rounds.len(), 2);
    for round in rounds {
        assert_eq!(round["who"], "server");
        let round = &round["round"];
        assert_eq!(round["offered_per_s"], 500.0);
        assert!(round["hiccup"]["marked"].is_boolean());
        assert!(round["hiccup"]["max_us"].as_f64().unwrap() > 0.0);
        let curve = round["curve_us"].as_array().unwrap();
        let curve: Vec<f64> = curve.iter().map(|us| us.as_f64().unwrap()).collect();
        // Ten a nine, of 250 samples, and the longest.
        assert_eq!(curve.len(), 25);
        assert!(curve.is_sorted(), "{curve:?}");
        assert_eq!(round["over_time"]["slot_s"], 0.1);
        let slots = round["over_time"]["deliveries"].as_array().unwrap();
        assert_eq!(slots.len(), 5);
        let deliveries: u64 = slots.iter().map(|n| n.as_u64().unwrap()).sum();
        let rate = round["deliveries_per_s"].as_f64().unwrap();
        assert!(
            (rate * 0.5 - deliveries as f64).abs() < 0.6,
            "{deliveries} {rate}"
        );
    }
    let log = fs::read_to_string(&log).unwrap();
    assert_eq!(log.matches("Tag=server,").count(), 2, "{log}");
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_stall_of_the_machine_marks_its_round_and_is_no_part_of_the_tails() {
    // A machine that stands still by itself meanwhile marks other rounds as well: those runs say nothing of ours.
    let report = (0..10)
        .map(|_| run_that_stands_still())
        .find(|report| report["hiccups"]["marked"] == 1)
        .expect("a run in which only one round was disturbed");
    assert_eq!(report["hiccups"]["rounds"], 3, "{report}");
    assert!(report["hiccups"]["max_us"].as_u64().unwrap() > 350_000);
    // The messages of that round came up to 400 ms late; the medians are of the other two.
    assert!(
        report["delivery_us"]["max"].as_f64().unwrap() < 350_000.0,
        "{report}"
    );
    assert_eq!(
        report["sent"], 1200,
        "and still all rounds count what was sent"
    );
}

/// The report of a run that stands still for 400 ms in its first round.
fn run_that_stands_still() -> Value {
    let child = command(
        "oneway --forwarder --sessions 2 --rate 400 --rounds 3 --warmup 0 --seconds 1 --hiccup-ms 250 --no-pin --json",
    )
    .stdout(Stdio::piped())
    .stderr(Stdio::piped())
    .spawn()
    .unwrap();
    // All of it, meters and all: what others do to a virtual machine.
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    thread::sleep(Duration::from_millis(600));
    kill_process(pid, Signal::STOP).unwrap();
    thread::sleep(Duration::from_millis(400));
    kill_process(pid, Signal::CONT).unwrap();
    report(&child.wait_with_output().unwrap())
}

#[test]
fn without_a_server_each_sender_has_its_device_and_all_is_counted() {
    let traffic = "--sessions 150 --rate 1500 --rounds 1 --warmup 0 --seconds 0.4 --no-pin --json";
    let report_of = |args: &str| report(&load(&format!("{args} {traffic}")));
    let direct = report_of("oneway --direct");
    assert_eq!(direct["sent"], 600);
    assert_eq!(direct["delivered"], 600, "{direct}");
    assert_eq!(direct["unanswered"], 0);
    let cut = report_of("chunked --direct --devices 1 --body 5000");
    assert_eq!(
        (&cut["delivered"], &cut["lost"]),
        (&cut["sent"], &Value::from(0)),
        "{cut}"
    );
    let out = load(&format!("fanout-2 --direct {traffic}"));
    assert_eq!(out.status.code(), Some(2), "a session has one device then");
}

#[test]
fn a_forwarder_that_runs_already_is_found_by_its_address() {
    // Devices connect one port higher: one of the first free pairs will do.
    let mut forwarder = (0..50)
        .find_map(|_| {
            let port = TcpListener::bind("127.0.0.1:0")
                .unwrap()
                .local_addr()
                .unwrap()
                .port();
            let listen = format!("forward --listen 127.0.0.1:{port} --devices 2");
            let mut child = command(&listen).stdout(Stdio::piped()).spawn().unwrap();
            let mut line = String::new();
            BufReader::new(child.stdout.as_mut().unwrap())
                .read_line(&mut line)
                .unwrap();
            if line.is_empty() {
                child.wait().unwrap();
                return None;
            }
            Some((child, port))
        })
        .unwrap();
    let (child, port) = (&mut forwarder.0, forwarder.1);
    let out = load(&format!(
        "fanout-2 --relay 127.0.0.1:{port} --sessions 3 --rate 300 --rounds 1 --warmup 0 --seconds 0.4 --no-pin --json"
    ));
    child.kill().unwrap();
    child.wait().unwrap();
    let report = report(&out);
    assert_eq!(report["sent"], 120, "{report}");
    assert_eq!(report["delivered"], 240, "{report}");
}

#[test]
fn a_file_that_is_wrong_is_told_whole_with_its_lines() {
    let file = path("bad.toml");
    fs::write(&file, "kind = \"fanout\"\n[traffic]\nsessions = 0\nspeed = 3\n[[objective]]\nfigure = \"x\"\nat_most = 1\n").unwrap();
    let out = load(&format!("{} --forwarder", file.display()));
    let said = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(2), "{said}");
    for (line, key) in [
        (3, "traffic.sessions"),
        (4, "traffic.speed"),
        (6, "objective.figure"),
    ] {
        let expected = format!("{}:{line}: `{key}`: ", file.display());
        assert!(said.contains(&expected), "{expected} is not in {said}");
    }
    fs::remove_file(file).unwrap();
}

#[test]
fn a_file_of_ones_own_runs_and_its_objectives_decide() {
    let file = path("own.toml");
    let text = |bound: &str| {
        format!(
            "about = \"Own.\"\nkind = \"fanout\"\n[traffic]\nsessions = 2\ndevices = 2\nbody_bytes = 300\nwindow = 2\n\
             warmup_s = 0\nseconds = 1\nrounds = 1\n[[objective]]\nfigure = \"deliveries_per_s\"\n{bound}\n"
        )
    };
    for (bound, exit) in [("at_least = 1", 0), ("at_most = 1", 1)] {
        fs::write(&file, text(bound)).unwrap();
        let out = load(&format!("{} --forwarder --no-pin --json", file.display()));
        assert_eq!(out.status.code(), Some(exit), "{bound}: {}", report(&out));
    }
    fs::remove_file(file).unwrap();
}
