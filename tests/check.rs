//! What the command line says: `check` about a configuration, `--help` about itself, and the exit codes of both.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests: a process is waited for by the wall clock"
)]

use std::process::{Command, Output};

/// Runs the command in a folder of its own that holds `pf.toml`.
fn ringfork(args: &[&str], config: &str) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("pf.toml"), config).expect("written");
    Command::new(env!("CARGO_BIN_EXE_ringfork"))
        .args(args)
        .current_dir(folder.path())
        .output()
        .expect("ringfork runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// What `check` says about a configuration, and its exit code.
fn check(config: &str) -> (Option<i32>, String) {
    let out = ringfork(&["check", "--config", "pf.toml"], config);
    assert_eq!(text(&out.stderr), "", "everything is on standard output");
    (out.status.code(), text(&out.stdout))
}

#[test]
fn a_right_configuration_is_ok() {
    let (code, said) = check("shards = 1\n[limits]\nconnections = 100\n");
    assert_eq!((code, said.lines().last()), (Some(0), Some("ok")), "{said}");
    let without = ringfork(&["check"], "");
    assert_eq!(
        text(&without.stdout).lines().last(),
        Some("ok"),
        "the defaults fit this machine"
    );
}

#[test]
fn what_is_switched_off_is_a_note() {
    let (code, said) =
        check("shards = 1\n[io]\nfeatures_off = [\"incremental\"]\n[limits]\nconnections = 100\n");
    assert_eq!(code, Some(0));
    assert!(said.starts_with("note: without incremental: "), "{said}");
}

#[test]
fn each_problem_is_shown_in_its_place() {
    let (code, said) = check(
        "shards = 200\nmod = \"ims\"\n\n[sip]\nlisten = [\"udp:0.0.0.0:5060\", \"tls:127.0.0.1:5061\"]\nt1_ms = \"500\"\n\n[msrp]\nt1_ms = 5\n\n[[user]]\naor = \"sip:bob@example.org\"\n",
    );
    assert_eq!(code, Some(2));
    insta::assert_snapshot!("problems", said);
}

#[test]
fn what_is_no_toml_is_shown_in_its_place() {
    let (code, said) = check("[sip\nlisten = 5\n");
    assert_eq!(code, Some(2));
    insta::assert_snapshot!("syntax", said);
}

#[test]
fn a_file_that_is_not_there_is_said() {
    let out = ringfork(&["check", "--config", "nowhere.toml"], "");
    assert_eq!(out.status.code(), Some(2));
    let said = text(&out.stdout);
    assert!(
        said.starts_with("error: nowhere.toml cannot be read: "),
        "{said}"
    );
}

#[test]
fn more_open_files_than_allowed_says_how_to_get_them() {
    let (code, said) = check("[limits]\nconnections = 4000000\n");
    assert_eq!(code, Some(2));
    assert!(
        said.contains("open files") && said.contains("LimitNOFILE"),
        "{said}"
    );
}

#[test]
fn help_and_usage() {
    let out = ringfork(&["--help"], "");
    assert_eq!(out.status.code(), Some(0));
    insta::assert_snapshot!("help", text(&out.stdout));
    let wrong = ringfork(&["srve"], "");
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong.stderr).contains("serve"), "did you mean");
}

#[test]
fn a_command_without_a_server_says_so() {
    // A port that was free a moment ago: nobody listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|l| l.local_addr())
        .expect("a port")
        .port();
    for args in [["sessions"].as_slice(), &["drain"], &["sessions", "0-1"]] {
        let admin = format!("127.0.0.1:{port}");
        let all: Vec<&str> = args.iter().copied().chain(["--admin", &admin]).collect();
        let out = ringfork(&all, "");
        assert_eq!(out.status.code(), Some(1), "{args:?}");
        assert!(text(&out.stderr).contains("does not answer"), "{args:?}");
    }
    let odd = ringfork(&["sessions", "a/../b"], "");
    assert_eq!(odd.status.code(), Some(2));
}
