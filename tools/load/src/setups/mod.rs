//! `setups`: sessions are set up and ended as fast as the server lets us, by SIP alone: what does one cost? Calls to users with
//! some devices each, every device answers at once; from INVITE to ACK is a set-up, and the BYE follows it.
//!
//! It has its own loop (`people`), since the one that holds MSRP connections is slower than a server at this: what is
//! reported is the server's CPU for a set-up, and with that set-ups a second and core, which holds whoever sets the pace.
//! MSRP connections are described and never made: what owning the media costs at set-up is in, what it costs later is not.
//!
//! Also against Kamailio as a stateful proxy that forks in parallel (`kamailio`): the same INVITE, the same answers.

mod args;
mod people;

use std::{path::PathBuf, time::Duration};

pub(crate) use args::Args;
use people::People;
use serde_json::json;

use crate::{
    clock::{Clock, nanos},
    kamailio::Kamailio,
    leftovers, pin, proc,
    proc::ThreadTime,
    record,
    report::{Check, Report, round3},
    setting::Target,
    spawn::Server,
    tally::as_f64,
    trouble::Trouble,
};

/// What to run.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Whom it calls: a server, or Kamailio as a proxy.
    pub(crate) target: Target,
    pub(crate) users: u32,
    pub(crate) devices: u16,
    /// Addresses that everything comes from and goes to, users divided among them.
    pub(crate) sources: u16,
    /// Calls under way at a time.
    pub(crate) at_a_time: u32,
    pub(crate) warmup: Duration,
    pub(crate) steady: Duration,
    pub(crate) record: Option<PathBuf>,
    pub(crate) seed: u64,
    /// Cores of the server and of the generator.
    pub(crate) cores: Option<(usize, usize)>,
}

/// What was started, until it is ended.
enum Started {
    Nothing,
    Server(Box<Server>),
    Kamailio(Box<Kamailio>),
}

/// Runs it.
pub(crate) async fn run(options: &Options) -> Result<Report, Trouble> {
    let clock = Clock::start();
    let mut report = Report::new("setups", "");
    let core = options.cores.map(|c| c.0);
    let (mut started, sip) = match &options.target {
        Target::Running(sip) => {
            report.target = format!("sip:{sip}");
            (Started::Nothing, *sip)
        }
        Target::Spawned(server) => {
            report.target = server.command.clone();
            let server = Server::start(server, clock).await?;
            let sip = server.sip;
            (Started::Server(Box::new(server)), sip)
        }
        Target::Forwarder(_) | Target::Relay(_) | Target::Direct => {
            return Err(Trouble::usage(
                "setups needs --target, --spawn or --kamailio",
            ));
        }
        Target::Kamailio(config) => {
            report.target = format!("kamailio -f {}", config.display());
            let kamailio = Kamailio::start(config, core, clock).await?;
            let sip = kamailio.sip;
            (Started::Kamailio(Box::new(kamailio)), sip)
        }
    };
    let pid = match &started {
        Started::Nothing => None,
        Started::Server(s) => Some(s.process.pid()),
        Started::Kamailio(k) => Some(k.process.pid()),
    };
    if let Some((_, generator)) = options.cores {
        pin::this_thread(generator)?;
    }
    let mut people = People::open(options, sip, clock)?;
    people.register_all(3600)?;

    let begin = clock.now() + nanos(options.warmup);
    people.call_until(begin)?;
    let times = pid.map(proc::thread_times).transpose()?;
    let (before, from) = (people.done(), clock.now());
    people.call_until(from + nanos(options.steady))?;
    let (after, to) = (people.done(), clock.now());
    let spent = match (pid, times) {
        (Some(pid), Some(times)) => Some(ThreadTime::spent(&times, &proc::thread_times(pid)?)),
        _ => None,
    };
    people.finish()?;
    people.register_all(0)?;

    tell(
        &mut report,
        &people,
        after - before,
        to - from,
        spent.as_deref(),
    );
    match &mut started {
        Started::Nothing => {}
        Started::Server(server) => {
            report
                .checks
                .extend(leftovers::check(server.admin, clock).await);
            report.checks.extend(server.process.end_well(clock).await);
        }
        Started::Kamailio(kamailio) => {
            report.checks.extend(kamailio.process.end_well(clock).await);
        }
    }
    if let Some(dir) = &options.record {
        let path = record::write(dir, &record::of(&report.json(), &[]))?;
        report.line(format!("record written to {}", path.display()));
    }
    Ok(report)
}

fn tell(report: &mut Report, people: &People, setups: u64, ns: u64, spent: Option<&[u64]>) {
    let seconds = as_f64(ns) / 1e9;
    report.field("seconds", round3(seconds));
    report.field("setups", json!(setups));
    report.field("setups_per_s", round3(as_f64(setups) / seconds));
    report.line(format!("{setups} set-ups in {seconds:.1} s"));
    report.times("setup_us", people.setup());
    report.field("sent_again", json!(people.sent_again()));
    if let Some(spent) = spent.filter(|_| setups > 0) {
        let all: u64 = spent.iter().sum();
        let each = as_f64(all) / as_f64(setups);
        let busiest = spent.iter().copied().max().unwrap_or(0);
        report.field(
            "server",
            json!({
                "cpu_ns_per_setup": round3(each),
                "setups_per_s_and_core": round3(1e9 / each),
                "busy": round3(as_f64(all) / as_f64(ns)),
                "busiest_thread_share": round3(as_f64(busiest) / as_f64(all)),
            }),
        );
        report.line(format!(
            "server    {:.1} us CPU a set-up: {:.0} set-ups a second and core; its busiest thread did {:.0} % of it",
            each / 1e3,
            1e9 / each,
            100.0 * as_f64(busiest) / as_f64(all)
        ));
    }
    report
        .checks
        .push(Check::at_least("setups", as_f64(setups), 1.0));
    report.checks.push(Check::none("refused", people.refused()));
    report
        .checks
        .push(Check::none("unanswered", people.unanswered()));
    report
        .checks
        .push(Check::none("unexpected", people.unexpected()));
}
