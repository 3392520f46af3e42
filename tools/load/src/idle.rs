//! The kind `idle`: sessions are set up and stand. What do they cost the server in memory, and the kernel?

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    clock::Clock,
    leftovers,
    link::Link,
    outcome, pin,
    plane::{Settings, body_bytes_min},
    proc::{self, Memory, Sockets},
    report::{Report, round3},
    scenario::{Scenario, Section},
    setting::{Setting, Target},
    spawn::{Server, ServerOptions},
    tally::as_f64,
    trouble::Trouble,
    ua::{self, Peers, PeersOptions},
};

/// The settings that only this kind has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Idle {
    /// So many sessions are looked at first, then all of them: what lies between is the cost of a leg without what a
    /// server has once. None, or not fewer than all: one look.
    pub(crate) first_sessions: Option<u32>,
    /// T1 of a server that is started, in milliseconds: how long transactions last that its looks are to come after.
    pub(crate) t1_ms: Option<u32>,
}

impl Idle {
    /// `[idle]` of a scenario's file.
    pub(crate) fn read(s: &mut Section<'_, '_>) -> Self {
        let (mut first, mut t1_ms) = (0, 0);
        s.number("first_sessions", 1..=99_999, &mut first);
        s.number("t1_ms", 10..=5000, &mut t1_ms);
        Self {
            first_sessions: (first > 0).then_some(first),
            t1_ms: (t1_ms > 0).then_some(t1_ms),
        }
    }
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

/// Runs it. The steady state is how long sessions stand before they are looked at.
pub(crate) async fn run(
    scenario: &Scenario,
    idle: &Idle,
    setting: &Setting,
) -> Result<Report, Trouble> {
    if let Some(core) = setting.own_core() {
        pin::this_thread(core)?;
    }
    let traffic = &scenario.traffic;
    let clock = Clock::start();
    let mut report = Report::new(scenario.name.clone(), "");
    let mut server = None;
    let sip = match &setting.target {
        Target::Running(sip) => {
            report.target = format!("sip:{sip}");
            *sip
        }
        Target::Spawned(s) => {
            report.target = s.command.clone();
            let options = ServerOptions {
                t1_ms: idle.t1_ms,
                ..s.clone()
            };
            server.insert(Server::start(&options, clock).await?).sip
        }
        Target::Forwarder(_) | Target::Relay(_) | Target::Direct | Target::Kamailio(_) => {
            return Err(Trouble::usage("idle needs --target or --spawn"));
        }
    };
    let pid = server.as_ref().map(|s| s.process.pid()).or(setting.pid);
    let mut link = Link::start(
        Settings {
            body_bytes: body_bytes_min(),
            devices: traffic.devices,
            chunking: None,
            seed: setting.seed,
            run: 0,
            grain: setting.grain,
        },
        clock,
        ua::listen_for(sip)?,
        setting.own_core(),
    )?;
    let peers = Peers::start(
        PeersOptions {
            server: sip,
            style: scenario.signalling,
            sessions: traffic.sessions,
            devices: traffic.devices,
            first_user: 0,
            seed: setting.seed,
            msrp: link.listens(),
            give_up: None,
            arrivals: false,
        },
        clock,
        link.asker()?,
    )?;
    let before = Look::at(pid)?;
    peers.register().await?;
    let mut looks = Looks {
        before,
        registered: Look::at(pid)?,
        standing: Vec::new(),
    };
    let first = idle.first_sessions.filter(|&n| n < traffic.sessions);
    let mut called = 0;
    for sessions in first.into_iter().chain([traffic.sessions]) {
        peers.invite(called..sessions).await?;
        let more = peers.legs_of(sessions) - peers.legs_of(called);
        link.legs_up(more, SET_UP).await?;
        tokio::time::sleep(traffic.steady).await;
        looks
            .standing
            .push((peers.legs_of(sessions) as u64, Look::at(pid)?));
        called = sessions;
    }

    peers.hang_up().await;
    link.close().await?;
    peers.deregister().await;
    report.checks = peers.checks();
    if let Some(server) = &mut server {
        report
            .checks
            .extend(leftovers::check(server.admin, clock).await);
        report.field("after", Look::at(pid)?.json());
        report.checks.extend(server.process.end_well(clock).await);
    }
    report.field("sessions", json!(traffic.sessions));
    report.field("devices", json!(traffic.devices));
    let devices = u64::from(traffic.sessions) * u64::from(traffic.devices);
    looks.tell(&mut report, devices);
    report.times("setup_us", &peers.setup());
    report.times("teardown_us", &peers.teardown());
    peers.stop().await;
    outcome::conclude(scenario, setting, &[], &mut report)?;
    Ok(report)
}

/// All looks of a run.
struct Looks {
    before: Look,
    registered: Look,
    /// Legs, and what was seen with them.
    standing: Vec<(u64, Look)>,
}

impl Looks {
    /// `devices` are registered.
    fn tell(&self, report: &mut Report, devices: u64) {
        let Some((legs, standing)) = self.standing.last() else {
            return;
        };
        report.field("legs", json!(legs));
        report.field("before", self.before.json());
        report.field("registered", self.registered.json());
        report.field("standing", standing.json());
        let each = |from: u64, to: u64, n: u64| as_f64(to.saturating_sub(from)) / as_f64(n);
        if let (Some(b), Some(r), Some(s)) =
            (self.before.server, self.registered.server, standing.server)
        {
            report.field("server", json!({"rss_bytes": s.rss}));
            report.field("rss_bytes_per_leg", round3(each(b.rss, s.rss, *legs)));
            report.field("pss_bytes_per_leg", round3(each(b.pss, s.pss, *legs)));
            report.field(
                "pss_bytes_per_leg_without_registrations",
                round3(each(r.pss, s.pss, *legs)),
            );
            report.field(
                "pss_bytes_per_registration",
                round3(each(b.pss, r.pss, devices)),
            );
            report.line(format!(
                "server resident: {:.1} MB at start, {:.1} MB with {devices} devices registered, {:.1} MB with {legs} legs: {:.0} bytes a leg (PSS {:.0})",
                as_f64(b.rss) / 1e6,
                as_f64(r.rss) / 1e6,
                as_f64(s.rss) / 1e6,
                each(b.rss, s.rss, *legs),
                each(b.pss, s.pss, *legs),
            ));
        }
        if let [(fewer, first), (more, last)] = self.standing[..]
            && let (Some(from), Some(to)) = (first.server, last.server)
        {
            let slope = each(from.pss, to.pss, more - fewer);
            report.field("first", first.json());
            report.field("first_legs", json!(fewer));
            report.field("pss_bytes_per_leg_slope", round3(slope));
            report.line(format!(
                "slope between {fewer} and {more} legs: {slope:.0} bytes a leg (PSS)"
            ));
        }
        // Both ends of each connection are on this machine.
        let slab = each(self.before.kernel.slab, standing.kernel.slab, *legs);
        report.field("kernel_slab_bytes_per_leg_both_ends", round3(slab));
        report.line(format!(
            "kernel: {} TCP sockets (before: {}), {} bytes buffered, slab {slab:.0} bytes a leg, both ends",
            standing.kernel.tcp, self.before.kernel.tcp, standing.kernel.tcp_buffered
        ));
    }
}
