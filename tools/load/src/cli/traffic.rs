//! Scenarios from the command line: a file's with what is said otherwise, or one that the options alone describe.

use std::{path::PathBuf, time::Duration};

use clap::{ArgGroup, Args};

use super::{against::Against, lives::Lives};
use crate::{
    idle,
    scenario::{Kind, Pace, Scenario, Traffic},
    setting::Setting,
    trouble::Trouble,
    ua::Style,
};

/// `ringfork-load NAME`.
#[derive(Args, Debug)]
pub(crate) struct Play {
    /// A scenario: oneway, fanout-4, … or the path of a .toml file. What follows goes before what it says.
    #[arg(value_name = "SCENARIO", required = true)]
    scenario: Option<String>,
    /// Sessions, one user each.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=99_999))]
    sessions: Option<u32>,
    /// Devices a session.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=64))]
    devices: Option<u16>,
    /// Bytes of a message, CPIM headers included.
    #[arg(long)]
    body: Option<usize>,
    /// Open loop: messages a second over all sessions.
    #[arg(long, value_parser = rate)]
    rate: Option<f64>,
    /// Closed loop: as much as the server takes.
    #[arg(long, conflicts_with = "rate")]
    saturate: bool,
    /// Closed loop with this many unanswered SENDs a session.
    #[arg(long, conflicts_with = "rate", value_parser = clap::value_parser!(u32).range(1..))]
    window: Option<u32>,
    #[command(flatten)]
    lives: Lives,
    #[command(flatten)]
    rounds: Rounds,
    /// The process of the server, for --target: its CPU and memory are measured.
    #[arg(long)]
    pid: Option<u32>,
    #[command(flatten)]
    against: Against,
}

/// `ringfork-load fanout`: the kind without a file.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("load").required(true))]
pub(crate) struct Fanout {
    /// Devices a session.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=64))]
    devices: u16,
    /// Sessions, one user each.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=99_999))]
    sessions: u32,
    /// Open loop: messages a second over all sessions.
    #[arg(long, group = "load", value_parser = rate)]
    rate: Option<f64>,
    /// Closed loop: as much as the server takes.
    #[arg(long, group = "load")]
    saturate: bool,
    /// With --saturate: unanswered SENDs a session. Unless given: 64 divided among the sessions, and no more than 1 MiB of
    /// bodies; one at least, two for a single session.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    window: Option<u32>,
    /// Bytes of a message, CPIM headers included.
    #[arg(long)]
    body: usize,
    #[command(flatten)]
    rounds: Rounds,
    #[command(flatten)]
    against: Against,
}

/// `ringfork-load idle`: the scenario of that name, or, with sessions and devices, a look at so many.
#[derive(Args, Debug)]
pub(crate) struct Idle {
    /// Devices a session.
    #[arg(long, requires = "sessions", value_parser = clap::value_parser!(u16).range(1..=64))]
    devices: Option<u16>,
    /// Sessions, one user each.
    #[arg(long, requires = "devices", value_parser = clap::value_parser!(u32).range(1..=99_999))]
    sessions: Option<u32>,
    /// How long they stand before they are looked at, in seconds; 3 unless the scenario says otherwise.
    #[arg(long, value_parser = seconds)]
    seconds: Option<Duration>,
    /// Write a record of the run into this folder.
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
    /// The process of the server, for --target.
    #[arg(long)]
    pid: Option<u32>,
    #[command(flatten)]
    against: Against,
}

/// What rounds are like, and where the result goes.
#[derive(Args, Debug)]
struct Rounds {
    /// Steady state of a round, in seconds; 3 unless the scenario says otherwise.
    #[arg(long, value_parser = seconds)]
    seconds: Option<Duration>,
    /// Warm-up of a round, in seconds; 0.5 unless the scenario says otherwise.
    #[arg(long, value_parser = seconds)]
    warmup: Option<Duration>,
    /// How long nothing may come, after the last message was sent, before what is missing is lost, in seconds; 3 unless the
    /// scenario says otherwise.
    #[arg(long, value_parser = seconds)]
    patience: Option<Duration>,
    /// Rounds. Without a scenario's file: 5 with --baseline, else 1.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Measure the byte forwarder in turn and print the ratio.
    #[arg(long, conflicts_with_all = ["forwarder", "relay", "direct"])]
    baseline: bool,
    /// With --baseline: the ratio that has to be reached.
    #[arg(long, value_name = "RATIO", requires = "baseline")]
    ratio_min: Option<f64>,
    /// Write the latencies of each round to this file: an interval log of HdrHistogram, V2.
    #[arg(long, value_name = "FILE")]
    hdr: Option<PathBuf>,
    /// A round in which the machine itself stalls for longer, in milliseconds, is no part of tail figures; 5 by itself.
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    hiccup_ms: Option<u64>,
    /// Write a record of the run into this folder.
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
    /// Write a page about the run: one HTML file that stands alone.
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
}

impl Play {
    /// The scenario as it is to run.
    pub(crate) fn scenario(&self) -> Result<Scenario, Trouble> {
        let name = self.scenario.as_deref();
        let name = name.ok_or_else(|| Trouble::usage("no scenario is named"))?;
        let mut scenario = Scenario::named(name)?;
        let t = &mut scenario.traffic;
        set(&mut t.sessions, self.sessions);
        set(&mut t.devices, self.devices);
        set(&mut t.body_bytes, self.body);
        if let Some(pace) = pace(self.rate, self.saturate, self.window) {
            t.pace = pace;
        }
        self.rounds.change(t);
        self.lives.change(&mut scenario)?;
        self.against.change(&mut scenario.signalling);
        Ok(scenario)
    }

    pub(crate) fn setting(&self, scenario: &Scenario) -> Result<Setting, Trouble> {
        self.rounds
            .setting(&self.against, &scenario.signalling, self.pid)
    }

    pub(crate) fn json(&self) -> bool {
        self.against.json
    }
}

impl Fanout {
    /// The scenario that the options describe.
    pub(crate) fn scenario(&self) -> Scenario {
        let mut traffic = Traffic {
            sessions: self.sessions,
            devices: self.devices,
            body_bytes: self.body,
            pace: pace(self.rate, self.saturate, self.window).unwrap_or(Pace::Saturate(None)),
            rounds: if self.rounds.baseline { 5 } else { 1 },
            ..Traffic::default()
        };
        self.rounds.change(&mut traffic);
        let mut signalling = Style::default();
        self.against.change(&mut signalling);
        Scenario {
            name: "fanout".to_owned(),
            about: String::new(),
            kind: Kind::Fanout,
            traffic,
            signalling,
            objectives: Vec::new(),
        }
    }

    pub(crate) fn setting(&self, scenario: &Scenario) -> Result<Setting, Trouble> {
        self.rounds
            .setting(&self.against, &scenario.signalling, None)
    }

    pub(crate) fn json(&self) -> bool {
        self.against.json
    }
}

impl Idle {
    /// The scenario as it is to run.
    pub(crate) fn scenario(&self) -> Result<Scenario, Trouble> {
        let mut scenario = Scenario::named("idle")?;
        let t = &mut scenario.traffic;
        if let (Some(sessions), Some(devices)) = (self.sessions, self.devices) {
            (t.sessions, t.devices) = (sessions, devices);
            t.steady = Traffic::default().steady;
            // A look at so many, not the measurement that the objectives are about.
            scenario.kind = Kind::Idle(idle::Idle {
                first_sessions: None,
                t1_ms: None,
            });
            scenario.objectives.clear();
        }
        set(&mut scenario.traffic.steady, self.seconds);
        self.against.change(&mut scenario.signalling);
        Ok(scenario)
    }

    pub(crate) fn setting(&self, scenario: &Scenario) -> Result<Setting, Trouble> {
        let mut setting = self.against.setting(&scenario.signalling)?;
        setting.pid = self.pid;
        setting.record = self.record.clone();
        Ok(setting)
    }

    pub(crate) fn json(&self) -> bool {
        self.against.json
    }
}

impl Rounds {
    fn change(&self, traffic: &mut Traffic) {
        set(&mut traffic.steady, self.seconds);
        set(&mut traffic.warmup, self.warmup);
        set(&mut traffic.patience, self.patience);
        set(&mut traffic.rounds, self.rounds);
    }

    fn setting(
        &self,
        against: &Against,
        style: &Style,
        pid: Option<u32>,
    ) -> Result<Setting, Trouble> {
        let mut setting = against.setting(style)?;
        setting.pid = pid;
        setting.baseline = self.baseline;
        setting.ratio_min = self.ratio_min;
        setting.record = self.record.clone();
        setting.page = self.report.clone();
        setting.hdr = self.hdr.clone();
        set(
            &mut setting.hiccup,
            self.hiccup_ms.map(Duration::from_millis),
        );
        Ok(setting)
    }
}

fn set<T>(slot: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *slot = value;
    }
}

/// What is said about the pace, if anything is.
fn pace(rate: Option<f64>, saturate: bool, window: Option<u32>) -> Option<Pace> {
    match rate {
        Some(rate) => Some(Pace::Rate(rate)),
        None => (saturate || window.is_some()).then_some(Pace::Saturate(window)),
    }
}

pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .and_then(|s| Duration::try_from_secs_f64(s).ok())
        .filter(|d| *d <= Duration::from_secs(86_400))
        .ok_or_else(|| "expected seconds, at most 86400".to_owned())
}

fn rate(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|r: &f64| r.is_finite() && *r > 0.0 && *r <= 1e8)
        .ok_or_else(|| "expected messages a second, above 0".to_owned())
}
