//! The `ringfork` command: reads the configuration, starts a server or talks to one, tells by its exit code how it went.

use std::{
    io::{IsTerminal as _, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand};
use ringfork::{
    config::Config,
    services::{client, host::Ground},
};
use serde_json::{Value, json};

#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A server did not answer, or a step of the demonstration was not seen.
const FAILED: u8 = 1;
/// The configuration, or the command line, is wrong.
const CONFIG: u8 = 2;

/// The messaging server of an RCS operator: an OMA CPM Participating Function on SIP and MSRP.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Command {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Say each problem of a configuration, and what this machine lacks for it.
    Check(File),
    /// List the sessions of a running server, explain one, or end one.
    Sessions {
        #[command(flatten)]
        at: At,
        /// The session to explain.
        session: Option<String>,
        /// End that session.
        #[arg(long, requires = "session")]
        end: bool,
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
    let code = match Command::parse().what {
        What::Check(file) => check(file.config.as_deref()),
        What::Sessions {
            at,
            session,
            end,
            json,
        } => sessions(&at, session.as_deref(), end, json),
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

/// The admin interface that is meant.
fn address(at: &At) -> Result<SocketAddr, u8> {
    if let Some(addr) = at.admin {
        return Ok(addr);
    }
    let colour = std::io::stderr().is_terminal();
    let config = read(at.config.as_deref(), &mut std::io::stderr().lock(), colour);
    config.map(|c| c.admin.listen).ok_or(CONFIG)
}

fn sessions(at: &At, session: Option<&str>, end: bool, json: bool) -> u8 {
    let addr = match address(at) {
        Ok(addr) => addr,
        Err(code) => return code,
    };
    let answer = match session {
        None => client::sessions(addr).map(|list| json!({ "sessions": list })),
        Some(name) => {
            let method = if end { "DELETE" } else { "GET" };
            if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
                eprintln!("error: {name:?} is no session's name; `ringfork sessions` lists them");
                return CONFIG;
            }
            client::ask(addr, method, &format!("/v1/sessions/{name}"))
        }
    };
    show(answer, json, |value| match value["sessions"].as_array() {
        Some(list) => list.iter().for_each(|s| println!("{}", session_line(s))),
        None if value["legs"].is_array() => {
            println!("{}", session_line(value));
            for leg in value["legs"].as_array().into_iter().flatten() {
                println!("{}", leg_line(leg));
            }
        }
        None => println!("ended"),
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
    show(client::ask(addr, "POST", path), json, |_| {
        println!("draining")
    })
}

/// Prints an answer for a person or a script.
fn show(answer: Result<Value, client::Failure>, json: bool, human: impl FnOnce(&Value)) -> u8 {
    match answer {
        Ok(value) if json => {
            println!("{value}");
            0
        }
        Ok(value) => {
            human(&value);
            0
        }
        Err(e) => {
            eprintln!("error: {e}");
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
    format!(
        "{:<12} {:<12} {:>6} s  {} <- {}  ({legs} legs)",
        word(&s["id"]),
        word(&s["state"]),
        word(&s["age_s"]),
        word(&s["user"]),
        word(&s["originator"]),
    )
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
