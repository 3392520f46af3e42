//! `ringfork-load`: the load generator. Its own SIP and MSRP peers over `ringfork::wire` alone, so that it stays an
//! independent opinion on any server: a bug in our ring cannot hide in the tool that judges it.
//!
//! # Two threads
//!
//! *Control* (`ua`, `sip_net`, `fanout`, `idle`) runs on tokio-uring: set-up, teardown, SIP. It is asynchronous by nature
//! and never hot. The *data plane* (`plane`, with `sender`, `device`, `stream`, `layout`) is a plain epoll loop on a thread of
//! its own and holds every MSRP connection: with a read that owns its buffer on each of thousands of connections,
//! tokio-uring reached a half to two thirds of what a byte forwarder does, and a generator has to be faster than what it
//! measures. Two queues join them (`link`).
//!
//! # What is trusted
//!
//! A body carries session, sequence number, length, intended send time and a checksum (`body`, `sum`); a leg holds the
//! numbers against those that were sent (`order`); a round counts it all (`tally`). That these find what they claim to is
//! shown with a forwarder that is faulty on purpose (`fault`, `tests/faults.rs`).

mod arrival;
mod assembly;
mod baseline;
mod bell;
mod beside;
mod body;
mod chunks;
mod cli;
mod clock;
mod contest;
mod device;
mod epoll;
mod fanout;
mod fault;
mod floods;
mod forward;
mod hdr_log;
mod hiccup;
mod hist;
mod html;
mod idle;
mod kamailio;
mod layout;
mod leftovers;
mod leg;
mod life;
mod link;
mod media;
mod metrics;
mod names;
mod number;
mod order;
mod out;
mod outcome;
mod pin;
mod plane;
mod post;
mod proc;
mod progress;
mod realtime;
mod record;
mod relay;
mod report;
mod round;
mod saturation;
mod scenario;
mod sender;
mod series;
mod setting;
mod setups;
mod sip_net;
mod sip_text;
mod slot;
mod slow;
mod spawn;
mod stage;
mod stats;
mod stream;
mod suite;
mod sum;
mod sweep;
mod tails;
mod tally;
mod transact;
mod trouble;
mod ua;
mod voice;

use std::process::ExitCode;

use clap::Parser;
use cli::{Cli, Command};
use life::{
    answering::{self, First},
    chat, reconnect, registrations,
};
use report::Report;
use scenario::{Kind, Scenario};
use setting::Setting;
use trouble::Trouble;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // A huge page is cleared whole at its first byte, for milliseconds on some virtual machines: they would be counted against
    // the server. A kernel without huge pages refuses.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    run(&Cli::parse()).unwrap_or_else(|trouble| {
        eprintln!("ringfork-load: {trouble}");
        trouble.exit_code()
    })
}

fn run(cli: &Cli) -> Result<ExitCode, Trouble> {
    match &cli.command {
        Some(Command::Forward(f)) => {
            forward::run(&f.options())?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Fanout(f)) => {
            let scenario = f.scenario();
            play(&scenario, &f.setting(&scenario)?, f.json())
        }
        Some(Command::Setups(s)) => {
            let report = tokio_uring::start(setups::run(&s.options()?))?;
            tell(&report, s.against.json)
        }
        Some(Command::Floods(f)) => tell(&floods::run(f)?, f.against.json),
        Some(Command::Page(p)) => draw(p),
        Some(Command::Suite(s)) => tokio_uring::start(suite::run(&s.options())),
        Some(Command::Idle(i)) => {
            let scenario = i.scenario()?;
            play(&scenario, &i.setting(&scenario)?, i.json())
        }
        None => {
            let scenario = cli.play.scenario()?;
            let setting = cli.play.setting(&scenario)?;
            play(&scenario, &setting, cli.play.json())
        }
    }
}

fn play(scenario: &Scenario, setting: &Setting, json: bool) -> Result<ExitCode, Trouble> {
    if !scenario.about.is_empty() {
        eprintln!("{}: {}", scenario.name, scenario.about);
    }
    let report = tokio_uring::start(async {
        match &scenario.kind {
            Kind::Fanout => fanout::run(scenario, setting).await,
            Kind::SlowDevice(slow) => slow::run(scenario, slow, setting).await,
            Kind::Idle(idle) => idle::run(scenario, idle, setting).await,
            Kind::Beside(beside) => beside::run(scenario, beside, setting).await,
            Kind::Sweep(sweep) => sweep::run(scenario, sweep, setting).await,
            Kind::Reply => answering::run(scenario, setting, First::One).await,
            Kind::ActivityRace => answering::run(scenario, setting, First::Two).await,
            Kind::Churn(chat) | Kind::Mixed(chat) => chat::run(scenario, setting, chat).await,
            Kind::RegisterStorm(storm) => registrations::run(scenario, setting, storm).await,
            Kind::ReconnectStorm => reconnect::run(scenario, setting).await,
        }
    })?;
    tell(&report, json)
}

/// The page of a record.
fn draw(page: &cli::Page) -> Result<ExitCode, Trouble> {
    let unreadable = |why: String| Trouble::usage(format!("{}: {why}", page.record.display()));
    let text = std::fs::read(&page.record).map_err(|e| unreadable(e.to_string()))?;
    let record = serde_json::from_slice(&text).map_err(|e| unreadable(e.to_string()))?;
    let beside = || page.record.with_extension("html");
    let path = page.report.clone().unwrap_or_else(beside);
    html::write(&path, &record)?;
    eprintln!("page written to {}", path.display());
    Ok(ExitCode::SUCCESS)
}

fn tell(report: &Report, json: bool) -> Result<ExitCode, Trouble> {
    Ok(report.tell(json)?)
}
