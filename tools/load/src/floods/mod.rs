//! `floods`: what one peer does to a server so that others suffer, beside a canary, a well-behaved session on the same shard
//! that must lose nothing. Each flood has a server of its own, unless one runs already, so that memory is each one's.

mod canary;
mod chat;
mod kinds;
mod text;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use canary::{Canary, Song};
use chat::{Stop, pause};
use kinds::{Flood, KINDS, Kind};
use serde_json::{Value, json};

use crate::{
    cli::{Against, seconds},
    clock::Clock,
    pin, proc, record,
    report::{Check, Report, round3},
    setting::Target,
    spawn::{Home, Server},
    tally::as_f64,
    trouble::Trouble,
    ua::Style,
};

/// How long the canary sings alone.
const QUIET: Duration = Duration::from_millis(2100);
/// Lines of the log that a flood may make in a second.
const LINES_PER_S: f64 = 100.0;
/// Lines beside: of the start, the canary and the flood's own sessions.
const LINES_BESIDE: f64 = 100.0;

/// `ringfork-load floods`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Only this one; several times for several.
    #[arg(long, value_name = "NAME", value_parser = known)]
    flood: Vec<String>,
    /// How long each goes on.
    #[arg(long, default_value = "5", value_parser = seconds)]
    seconds: Duration,
    /// Bytes that the server may have resident at most.
    #[arg(long, value_name = "BYTES")]
    resident_max: Option<u64>,
    /// Write a record of the run into this folder.
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) against: Against,
}

fn known(name: &str) -> Result<String, String> {
    if KINDS.iter().any(|k| k.name == name) {
        return Ok(name.to_owned());
    }
    let all: Vec<String> = KINDS
        .iter()
        .map(|k| format!("{}: {}", k.name, k.about))
        .collect();
    Err(format!("there are\n  {}", all.join("\n  ")))
}

impl Args {
    fn kinds(&self) -> impl Iterator<Item = &'static Kind> {
        let wanted = |k: &&Kind| self.flood.is_empty() || self.flood.iter().any(|n| n == k.name);
        KINDS.iter().filter(wanted)
    }
}

/// Runs them, one after the other.
pub(crate) fn run(args: &Args) -> Result<Report, Trouble> {
    let setting = args.against.setting(&Style::default())?;
    let clock = Clock::start();
    let mut report = Report::new("floods", "");
    let mut all = Vec::new();
    for kind in args.kinds() {
        let outcome = match &setting.target {
            Target::Running(sip) => {
                report.target = format!("sip:{sip}");
                one(kind, args, *sip, None, clock)?
            }
            Target::Spawned(options) => {
                report.target.clone_from(&options.command);
                let home = Home::make("floods")?;
                let log = home.path().join("log");
                let file = fs::File::create(&log)?;
                let started = Server::start_saying(options, clock, file.into());
                let mut server = tokio_uring::start(started)?;
                if let Some((_, own)) = setting.cores {
                    pin::this_thread(own)?;
                }
                let beside = Beside {
                    pid: server.process.pid(),
                    log: &log,
                };
                let outcome = one(kind, args, server.sip, Some(&beside), clock)?;
                let ended = tokio_uring::start(server.process.end_well(clock));
                report.checks.extend(ended);
                outcome
            }
            Target::Forwarder(_) | Target::Relay(_) | Target::Direct | Target::Kamailio(_) => {
                return Err(Trouble::usage("floods needs --target or --spawn"));
            }
        };
        outcome.judge(&mut report, args);
        all.push(outcome);
    }
    if let [only] = &all[..] {
        report.field("delay_ratio", round3(only.song.ratio()));
    }
    let all = all.iter().map(Outcome::json).collect();
    report.field("floods", Value::Array(all));
    if let Some(dir) = &args.record {
        let path = record::write(dir, &record::of(&report.json(), &[]))?;
        report.line(format!("record written to {}", path.display()));
    }
    Ok(report)
}

/// What is seen of a server that we started.
struct Beside<'a> {
    pid: u32,
    log: &'a Path,
}

impl Beside<'_> {
    fn lines(&self) -> u64 {
        let text = fs::read(self.log).unwrap_or_default();
        text.iter().filter(|b| **b == b'\n').count() as u64
    }
}

/// What came of one flood.
struct Outcome {
    kind: &'static Kind,
    song: Song,
    units: u64,
    bytes: u64,
    /// Resident before, and at most, in bytes.
    memory: Option<(u64, u64)>,
    lines: Option<u64>,
}

fn one(
    kind: &'static Kind,
    args: &Args,
    server: SocketAddr,
    beside: Option<&Beside<'_>>,
    clock: Clock,
) -> Result<Outcome, Trouble> {
    let loud = Stop::default();
    let canary = Canary::start(server, clock, &loud)?;
    pause(clock, QUIET);
    let before = beside.map(|b| proc::memory(b.pid)).transpose()?;
    let lines = beside.map(Beside::lines);
    loud.set();
    let flood = Flood::start(kind, server, canary.msrp, clock)?;
    pause(clock, args.seconds);
    let (units, bytes) = flood.end();
    let song = canary.end()?;
    let after = beside.map(|b| proc::memory(b.pid)).transpose()?;
    Ok(Outcome {
        kind,
        song,
        units,
        bytes,
        memory: before.zip(after).map(|(b, a)| (b.rss, a.peak)),
        lines: beside.map(Beside::lines).zip(lines).map(|(a, b)| a - b),
    })
}

impl Outcome {
    fn judge(&self, report: &mut Report, args: &Args) {
        let name = |what| format!("{}_{what}", self.kind.name);
        let song = &self.song;
        report.checks.extend([
            Check::none(name("canary_lost"), song.lost()),
            Check::none(name("canary_unanswered"), song.unanswered()),
            Check::none(name("canary_refused"), song.refused),
            Check::none(name("canary_registers_lost"), song.registers_lost),
            Check::at_least(name("canary_sent"), as_f64(song.sent), 10.0),
            Check::at_least(name("units"), as_f64(self.units), 1.0),
        ]);
        if let Some(lines) = self.lines {
            let most = LINES_PER_S * args.seconds.as_secs_f64() + LINES_BESIDE;
            let check = Check::at_most(name("log_lines"), as_f64(lines), most);
            report.checks.push(check);
        }
        if let (Some((_, peak)), Some(most)) = (self.memory, args.resident_max) {
            let check = Check::at_most(name("resident"), as_f64(peak), as_f64(most));
            report.checks.push(check);
        }
        report.line(format!(
            "{}: {} units, {} MB; the canary sent {}, lost {}, {} of {} REGISTERs; delays {:.2} of those before; {} MB resident, {} lines",
            self.kind.name,
            self.units,
            self.bytes >> 20,
            song.sent,
            song.lost(),
            song.registers_lost,
            song.registers,
            song.ratio(),
            self.memory.map_or(0, |m| m.1 >> 20),
            self.lines.unwrap_or(0),
        ));
    }

    fn json(&self) -> Value {
        json!({
            "flood": self.kind.name,
            "about": self.kind.about,
            "units": self.units,
            "bytes": self.bytes,
            "canary": self.song.json(),
            "resident_before": self.memory.map(|m| m.0),
            "resident_peak": self.memory.map(|m| m.1),
            "log_lines": self.lines,
        })
    }
}
