//! The `idle` scenario: sessions are set up and stand. What do they cost the server in memory, and the kernel?

use std::{path::PathBuf, time::Duration};

use serde_json::{Value, json};

use crate::{
    clock::Clock,
    leftovers,
    link::Link,
    pin,
    plane::{Settings, body_bytes_min},
    proc::{self, Memory, Sockets},
    record,
    report::{Report, round3},
    setting::Target,
    spawn::Server,
    tally::as_f64,
    trouble::Trouble,
    ua::{self, Peers, PeersOptions},
};

/// What to run.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) target: Target,
    /// The server's process, if we did not start it.
    pub(crate) pid: Option<u32>,
    pub(crate) sessions: u32,
    pub(crate) devices: u16,
    pub(crate) stand: Duration,
    pub(crate) record: Option<PathBuf>,
    pub(crate) seed: u64,
    pub(crate) cores: Option<(usize, usize)>,
    pub(crate) sip: ua::Style,
}

const SET_UP: Duration = Duration::from_secs(120);

/// One look at the server and the kernel.
#[derive(Clone, Copy, Debug)]
struct Look {
    server: Option<Memory>,
    kernel: Sockets,
}

impl Look {
    fn at(pid: Option<u32>) -> Result<Self, Trouble> {
        Ok(Self {
            server: pid.map(proc::memory).transpose()?,
            kernel: proc::sockets()?,
        })
    }

    fn json(&self) -> Value {
        let mut all = json!({
            "tcp_sockets": self.kernel.tcp,
            "tcp_buffered_bytes": self.kernel.tcp_buffered,
            "slab_bytes": self.kernel.slab,
        });
        if let (Some(m), Some(map)) = (self.server, all.as_object_mut()) {
            map.insert("rss_bytes".to_owned(), json!(m.rss));
            map.insert("pss_bytes".to_owned(), json!(m.pss));
            map.insert("peak_bytes".to_owned(), json!(m.peak));
        }
        all
    }
}

/// Runs it.
pub(crate) async fn run(options: &Options) -> Result<Report, Trouble> {
    if let Some((_, generator)) = options.cores {
        pin::this_thread(generator)?;
    }
    let clock = Clock::start();
    let mut report = Report::new("idle", "");
    let mut server = None;
    let sip = match &options.target {
        Target::Running(sip) => {
            report.target = format!("sip:{sip}");
            *sip
        }
        Target::Spawned(s) => {
            report.target = s.command.clone();
            server.insert(Server::start(s, clock).await?).sip
        }
        Target::Forwarder(_) => return Err(Trouble::usage("idle needs --target or --spawn")),
    };
    let pid = server.as_ref().map(|s| s.process.pid()).or(options.pid);
    let mut link = Link::start(
        Settings {
            body_bytes: body_bytes_min(),
            devices: options.devices,
            seed: options.seed,
            run: 0,
        },
        clock,
        ua::listen_for(sip)?,
        options.cores.map(|c| c.1),
    )?;
    let peers = Peers::start(
        PeersOptions {
            server: sip,
            style: options.sip,
            sessions: options.sessions,
            devices: options.devices,
            seed: options.seed,
            msrp: link.listens(),
            give_up: None,
        },
        clock,
        link.asker()?,
    )?;
    let before = Look::at(pid)?;
    peers.register().await?;
    let registered = Look::at(pid)?;
    peers.invite().await?;
    link.legs_up(peers.legs(), SET_UP).await?;
    tokio::time::sleep(options.stand).await;
    let standing = Look::at(pid)?;

    peers.hang_up().await;
    link.close().await?;
    peers.deregister().await;
    let checks = match &mut server {
        Some(server) => {
            let mut checks = leftovers::check(server.admin, clock).await;
            let after = Look::at(pid)?;
            report.field("after", after.json());
            checks.extend(server.process.end_well(clock).await);
            checks
        }
        None => Vec::new(),
    };
    let legs = peers.legs();
    report.checks = peers.checks();
    report.checks.extend(checks);
    report.field("sessions", json!(options.sessions));
    report.field("devices", json!(options.devices));
    report.field("legs", json!(legs));
    report.field("before", before.json());
    report.field("registered", registered.json());
    report.field("standing", standing.json());
    report.times("setup_us", &peers.setup());
    report.times("teardown_us", &peers.teardown());
    tell(&mut report, &before, &registered, &standing, legs as u64);
    peers.stop().await;
    if let Some(dir) = &options.record {
        let path = record::write(dir, &record::of(&report.json(), &[]))?;
        report.line(format!("record written to {}", path.display()));
    }
    Ok(report)
}

fn tell(report: &mut Report, before: &Look, registered: &Look, standing: &Look, legs: u64) {
    let per_leg = |from: u64, to: u64| as_f64(to.saturating_sub(from)) / as_f64(legs);
    if let (Some(b), Some(r), Some(s)) = (before.server, registered.server, standing.server) {
        report.field("server", json!({"rss_bytes": s.rss}));
        report.field("rss_bytes_per_leg", round3(per_leg(b.rss, s.rss)));
        report.field("pss_bytes_per_leg", round3(per_leg(b.pss, s.pss)));
        report.field(
            "pss_bytes_per_leg_without_registrations",
            round3(per_leg(r.pss, s.pss)),
        );
        report.line(format!(
            "server resident: {:.1} MB at start, {:.1} MB registered, {:.1} MB with {legs} legs: {:.0} bytes a leg (PSS {:.0})",
            as_f64(b.rss) / 1e6,
            as_f64(r.rss) / 1e6,
            as_f64(s.rss) / 1e6,
            per_leg(b.rss, s.rss),
            per_leg(b.pss, s.pss),
        ));
    }
    // Both ends of each connection are on this machine.
    let slab = per_leg(before.kernel.slab, standing.kernel.slab);
    report.field("kernel_slab_bytes_per_leg_both_ends", round3(slab));
    report.line(format!(
        "kernel: {} TCP sockets (before: {}), {} bytes buffered, slab {slab:.0} bytes a leg, both ends",
        standing.kernel.tcp, before.kernel.tcp, standing.kernel.tcp_buffered
    ));
}
