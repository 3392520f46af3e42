//! The `ringfork` command: reads the configuration, starts a server or talks to one, tells by its exit code how it went.

use std::{
    io::{IsTerminal as _, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use clap::{Args, Parser, Subcommand};
use ringfork::{
    config::Config,
    demo,
    io::{Clock, threads},
    services::{
        Exit, Logging, Setup, Stop, client, control,
        host::{self, CannotStart, Ground, Server},
        run, say, tell_panics,
    },
};
use serde_json::{Value, json};

#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A server did not answer, or a step of the demonstration was not seen.
const FAILED: u8 = 1;
/// The configuration, or the command line, is wrong.
const CONFIG: u8 = 2;
/// A port, the kernel or a limit is in the way.
const START: u8 = 3;

/// The messaging server of an RCS operator: an OMA CPM Participating Function on SIP and MSRP.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Command {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Run the server. Without a file: standalone on loopback, SIP 5060, MSRP 2855, admin 9855.
    Serve(File),
    /// Say each problem of a configuration, and what this machine lacks for it.
    Check(File),
    /// Show the main job on loopback: fork, fan-out, activity, teardown; every step is checked.
    Demo {
        /// Print one JSON object on the last line of standard output.
        #[arg(long)]
        json: bool,
    },
    /// List the sessions of a running server, explain one, or end one.
    Sessions {
        #[command(flatten)]
        at: At,
        /// The session to explain.
        session: Option<String>,
        /// End that session.
        #[arg(long, requires = "session")]
        end: bool,
        /// List those that have ended last, with why.
        #[arg(long, conflicts_with = "session")]
        ended: bool,
        /// Print one JSON object on the last line of standard output.
        #[arg(long)]
        json: bool,
    },
    /// Stop a running server: its sessions may end by themselves for `drain_s`.
    Drain {
        #[command(flatten)]
        at: At,
        /// End all sessions at once.
        #[arg(long)]
        now: bool,
        /// Wait for the last session, however long it takes.
        #[arg(long, conflicts_with = "now")]
        until_empty: bool,
        /// Print one JSON object on the last line of standard output.
        #[arg(long)]
        json: bool,
    },
}

/// The configuration.
#[derive(Args)]
struct File {
    /// The configuration, as TOML; every key has a default.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Which server.
#[derive(Args)]
struct At {
    /// The server's admin interface; by default the one that the configuration names.
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with = "config")]
    admin: Option<SocketAddr>,
    /// The server's configuration.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

fn main() -> ExitCode {
    threads::small_pages();
    let code = match Command::parse().what {
        What::Serve(file) => serve(file.config),
        What::Check(file) => check(file.config.as_deref()),
        What::Demo { json } => demonstrate(json),
        What::Sessions {
            at,
            session,
            end,
            ended,
            json,
        } => sessions(&at, session.as_deref(), end, ended, json),
        What::Drain {
            at,
            now,
            until_empty,
            json,
        } => drain(&at, now, until_empty, json),
    };
    ExitCode::from(code)
}

/// What stands in `file`, or the defaults; problems are told here.
fn read(file: Option<&Path>, to: &mut dyn std::io::Write, colour: bool) -> Option<Config> {
    let Some(path) = file else {
        return Some(Config::default());
    };
    let told = match std::fs::read_to_string(path) {
        Err(e) => writeln!(to, "error: {} cannot be read: {e}", path.display()),
        Ok(text) => match Config::from_toml(&path.display().to_string(), &text) {
            Ok(config) => return Some(config),
            Err(problems) => writeln!(to, "{}", problems.render(colour)),
        },
    };
    // Where nobody reads, the exit code is what is left to tell.
    drop(told);
    None
}

fn check(file: Option<&Path>) -> u8 {
    let mut out = std::io::stdout().lock();
    let colour = out.is_terminal();
    let Some(config) = read(file, &mut out, colour) else {
        return CONFIG;
    };
    let (told, code) = match Ground::probe(&config) {
        Err(missing) => (writeln!(out, "error: {missing}"), CONFIG),
        Ok(ground) => {
            for (feature, why) in &ground.without {
                drop(writeln!(out, "note: without {}: {why}", feature.name()));
            }
            let bytes = ground.limits().total_bytes();
            let lacking = available_bytes().filter(|have| *have < bytes as u64);
            if let Some(have) = lacking {
                let (need, have) = (bytes >> 20, have >> 20);
                let what = format!(
                    "error: with every table full it takes {need} MiB, and {have} MiB are free: lower limits.* or msrp.outbox_bytes, or add memory"
                );
                (writeln!(out, "{what}"), CONFIG)
            } else {
                (writeln!(out, "ok"), 0)
            }
        }
    };
    drop(told);
    code
}

/// Memory that this machine has free, as its kernel says it.
fn available_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

fn serve(file: Option<PathBuf>) -> u8 {
    let colour = std::io::stderr().is_terminal();
    let Some(config) = read(file.as_deref(), &mut std::io::stderr().lock(), colour) else {
        return CONFIG;
    };
    let logging = Logging::start(config.log);
    tell_panics();
    let config = Arc::new(config);
    let (control, wishes) = control();
    let started = start(&config, &control);
    let Server {
        addresses,
        admin,
        shards,
        threads,
    } = match started {
        Ok(server) => server,
        Err(e) => {
            drop(logging); // what waits is written first
            say(format!("error: {e}"));
            return START;
        }
    };
    let ready = Box::new(move || {
        let list = |l: &[ringfork::config::Listen]| {
            let all: Vec<String> = l.iter().map(ToString::to_string).collect();
            all.join(" ")
        };
        tracing::info!(
            sip = list(&addresses.sip),
            msrp = list(&addresses.msrp),
            admin = %addresses.admin,
            "ready"
        );
    });
    let exit = run(Setup {
        admin,
        shards,
        drain: config.drain,
        control,
        wishes,
        signals: true,
        logging,
        reload: Some(Box::new(reload(file, config))),
        ready,
    });
    threads.stop();
    match exit {
        Ok(Exit::Empty | Exit::CutShort(_)) => 0,
        Ok(Exit::Failed(shard)) => {
            say(format!(
                "error: shard {} has ended by itself: this is a bug",
                shard.0
            ));
            FAILED
        }
        Err(e) => {
            say(format!("error: the services cannot start: {e}"));
            START
        }
    }
}

/// A server in this process, whose services do not run yet.
fn start(
    config: &Arc<Config>,
    control: &ringfork::services::Control,
) -> Result<Server, CannotStart> {
    let ground = Ground::probe(config)?;
    for (feature, why) in &ground.without {
        tracing::info!(feature = feature.name(), why, "the ring goes without");
    }
    host::start(
        config,
        &ground,
        Clock::start(),
        control,
        host::Seat::into_shard,
    )
}

/// What SIGHUP does: reads the file again, takes what can change while it runs, and says what cannot.
fn reload(file: Option<PathBuf>, mut now: Arc<Config>) -> impl FnMut(Option<&Logging>) -> Duration {
    move |logging| {
        let mut said = Vec::new();
        match read(file.as_deref(), &mut said, false) {
            None => {
                let said = String::from_utf8_lossy(&said);
                tracing::error!(problems = %said, "reload: the configuration is wrong, nothing was changed");
            }
            Some(new) => {
                for key in now.restart_needed(&new) {
                    tracing::warn!(key, "reload: this takes a restart");
                }
                if let Some(logging) = logging {
                    logging.set_level(new.log.level);
                }
                let taken = Config {
                    drain: new.drain,
                    log: ringfork::config::Log {
                        level: new.log.level,
                        ..now.log
                    },
                    ..(*now).clone()
                };
                tracing::info!("reload: done");
                now = Arc::new(taken);
            }
        }
        now.drain
    }
}

fn demonstrate(json: bool) -> u8 {
    let config = Arc::new(Config::ephemeral());
    let (control, wishes) = control();
    let server = match start(&config, &control) {
        Ok(server) => server,
        Err(e) => {
            complain(&e);
            return START;
        }
    };
    let Server {
        addresses,
        admin,
        shards,
        threads,
    } = server;
    let Some(sip) = addresses.sip.first().map(|l| l.addr) else {
        return START;
    };
    let (is_ready, ready) = std::sync::mpsc::channel();
    let handle = control.clone();
    let services = std::thread::spawn(move || {
        run(Setup {
            admin,
            shards,
            drain: Duration::ZERO,
            control: handle,
            wishes,
            signals: false,
            logging: None,
            reload: None,
            // Nobody waits any more where the demonstration has been given up.
            ready: Box::new(move || is_ready.send(()).unwrap_or(())),
        })
    });
    // An error here means that the services ended before they were ready; they say why below.
    let outcome = ready.recv().ok().map(|()| demo::play(sip, Clock::start()));
    control.stop(Stop::Now);
    let exit = services.join();
    threads.stop();
    let (Some(outcome), Ok(Ok(exit))) = (outcome, exit) else {
        complain(&"the server ended before it was ready");
        return START;
    };
    if json {
        match serde_json::to_string(&outcome) {
            Ok(line) => print(&line),
            Err(e) => complain(&e),
        }
    }
    if outcome.ok && !matches!(exit, Exit::Failed(_)) {
        0
    } else {
        FAILED
    }
}

/// The admin interface that is meant.
fn address(at: &At) -> Result<SocketAddr, u8> {
    if let Some(addr) = at.admin {
        return Ok(addr);
    }
    let colour = std::io::stderr().is_terminal();
    let config = read(at.config.as_deref(), &mut std::io::stderr().lock(), colour);
    config.map(|c| c.admin.listen).ok_or(CONFIG)
}

fn sessions(at: &At, session: Option<&str>, end: bool, ended: bool, json: bool) -> u8 {
    let addr = match address(at) {
        Ok(addr) => addr,
        Err(code) => return code,
    };
    let answer = match session {
        None => {
            let list = if ended {
                client::ended(addr)
            } else {
                client::sessions(addr)
            };
            list.map(|list| json!({ "sessions": list }))
        }
        Some(name) => {
            let method = if end { "DELETE" } else { "GET" };
            if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
                complain(&format!(
                    "{name:?} is no session's name; `ringfork sessions` lists them"
                ));
                return CONFIG;
            }
            client::ask(addr, method, &format!("/v1/sessions/{name}"))
        }
    };
    show(answer, json, |value| match value["sessions"].as_array() {
        Some(list) => list.iter().for_each(|s| print(&session_line(s))),
        None if value["legs"].is_array() => {
            print(&session_line(value));
            for leg in value["legs"].as_array().into_iter().flatten() {
                print(&leg_line(leg));
            }
        }
        None => print("ended"),
    })
}

fn drain(at: &At, now: bool, until_empty: bool, json: bool) -> u8 {
    let addr = match address(at) {
        Ok(addr) => addr,
        Err(code) => return code,
    };
    let path = match (now, until_empty) {
        (true, _) => "/v1/drain?now",
        (_, true) => "/v1/drain?until-empty",
        _ => "/v1/drain",
    };
    show(client::ask(addr, "POST", path), json, |_| print("draining"))
}

/// A line on standard output. Where nobody reads (`| head`), the exit code is what is left to tell.
fn print(line: &str) {
    drop(writeln!(std::io::stdout(), "{line}"));
}

/// A line on standard error.
fn complain(what: &dyn std::fmt::Display) {
    drop(writeln!(std::io::stderr(), "error: {what}"));
}

/// Prints an answer for a person or a script.
fn show(answer: Result<Value, client::Failure>, json: bool, human: impl FnOnce(&Value)) -> u8 {
    match answer {
        Ok(value) if json => {
            print(&value.to_string());
            0
        }
        Ok(value) => {
            human(&value);
            0
        }
        Err(e) => {
            complain(&e);
            FAILED
        }
    }
}

fn word(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), ToOwned::to_owned)
}

fn session_line(s: &Value) -> String {
    let legs = s["legs"].as_array().map_or(0, Vec::len);
    let mut line = format!(
        "{:<12} {:<12} {:>6} s  {} <- {}  ({legs} legs)",
        word(&s["id"]),
        word(&s["state"]),
        word(&s["age_s"]),
        word(&s["user"]),
        word(&s["originator"]),
    );
    if let Some(ago) = s["ended_s"].as_u64() {
        line += &format!(", {ago} s ago");
    }
    if let Some(why) = s["why"].as_str() {
        line = line + ": " + why;
    }
    line
}

fn leg_line(l: &Value) -> String {
    let mut line = format!(
        "  {:>2} {:<10} {:<10} {}  messages {} in {} out, waiting {} bytes",
        word(&l["leg"]),
        word(&l["role"]),
        word(&l["state"]),
        word(&l["who"]),
        word(&l["messages_from"]),
        word(&l["messages_to"]),
        word(&l["outbox_bytes"]),
    );
    for (key, before) in [("why", ": "), ("matched", "; matched by ")] {
        if let Some(text) = l[key].as_str() {
            line = line + before + text;
        }
    }
    line
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// Found with an operator: "matched by path; matched by path".
    #[test]
    fn a_leg_says_once_how_it_is_matched() {
        let leg = json!({
            "leg": 1, "role": "device", "state": "accepted", "who": "sip:bob@192.0.2.7", "messages_from": 0,
            "messages_to": 3, "outbox_bytes": 0, "why": "accepted; it connects to us", "matched": "path",
        });
        assert_eq!(
            leg_line(&leg),
            "   1 device     accepted   sip:bob@192.0.2.7  messages 0 in 3 out, waiting 0 bytes: \
             accepted; it connects to us; matched by path"
        );
    }

    #[test]
    fn a_session_that_has_ended_says_when_and_why() {
        let session = json!({
            "id": "0-100000001", "state": "ended", "age_s": 7, "ended_s": 3, "user": "sip:bob@example.com",
            "originator": "sip:alice@example.com", "why": "the originator left", "legs": [],
        });
        let line = session_line(&session);
        assert!(
            line.ends_with("(0 legs), 3 s ago: the originator left"),
            "{line}"
        );
        assert!(line.contains("     7 s  sip:bob"), "{line}");
    }

    /// SIGHUP takes `drain_s`, keeps it where the file has become wrong, and needs no file.
    #[test]
    fn a_reload_gives_the_drain_time_that_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pf.toml");
        let before = Arc::new(Config::default());
        let mut again = reload(Some(path.clone()), Arc::clone(&before));
        let mut after = |text: &str| {
            std::fs::write(&path, text).unwrap();
            again(None)
        };
        assert_eq!(after("drain_s = 77\n"), Duration::from_secs(77));
        assert_eq!(after("drain_s = \"x\"\n"), Duration::from_secs(77));
        assert_eq!(after("drain_s = 3\nshards = 2\n"), Duration::from_secs(3));
        assert_eq!(reload(None, before)(None), Config::default().drain);
    }
}
