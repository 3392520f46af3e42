//! Sessions that stand, so that rounds can be run over them: server or forwarder started, everyone registered and called,
//! every leg bound; in the end everyone hung up and nothing left behind.

use std::{
    net::{Ipv4Addr, SocketAddr},
    ops::Range,
    time::Duration,
};

use serde_json::json;

use crate::{
    clock::Clock,
    contest,
    forward::Kind,
    hiccup::Meter,
    kamailio::Kamailio,
    leftovers,
    link::Link,
    metrics, pin,
    plane::{Settings, body_bytes_min},
    proc,
    relay::{self, Doors},
    report::Report,
    round::{Load, Plan},
    scenario::{Scenario, Traffic},
    setting::{Setting, Target},
    spawn::{Forwarder, Server},
    tally::Tally,
    trouble::Trouble,
    ua::{self, Peers, PeersOptions},
};

/// How long it may take until all connections of all sessions are there.
const SET_UP: Duration = Duration::from_secs(60);

/// Whose sessions a round is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Who {
    /// What is measured.
    Server,
    /// The byte forwarder that it is held against.
    Forwarder,
}

impl Who {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Forwarder => "forwarder",
        }
    }
}

/// Standing sessions.
pub(crate) struct Stage<'a> {
    traffic: &'a Traffic,
    /// On either side.
    sessions: u32,
    clock: Clock,
    link: Link,
    meter: Meter,
    /// None if there is no SIP.
    peers: Option<Peers>,
    /// Where the server takes it.
    sip: Option<SocketAddr>,
    server: Option<Server>,
    kamailio: Option<Kamailio>,
    /// The process that is measured, if it is on this machine.
    pid: Option<u32>,
    /// What the server's rings had turned when the sessions stood.
    calls: Option<u64>,
    /// Ends when it is dropped.
    forwarder: Option<Forwarder>,
}

impl<'a> Stage<'a> {
    /// Sets up `sessions` sessions at the target, and as many at the forwarder if that is asked for, and says in `report`
    /// against what.
    pub(crate) async fn set_up(
        scenario: &'a Scenario,
        setting: &Setting,
        sessions: u32,
        report: &mut Report,
    ) -> Result<Self, Trouble> {
        let traffic = &scenario.traffic;
        if traffic.body_bytes < body_bytes_min() {
            return Err(Trouble::usage(format!(
                "--body {}: at least {} bytes, for the marks that are checked",
                traffic.body_bytes,
                body_bytes_min()
            )));
        }
        if let Some(core) = setting.own_core() {
            pin::this_thread(core)?;
        }
        let clock = Clock::start();
        let link = Link::start(
            Settings {
                body_bytes: traffic.body_bytes,
                devices: traffic.devices,
                chunking: traffic.chunking,
                seed: setting.seed,
                run: setting.run,
                grain: setting.grain,
            },
            clock,
            listen(&setting.target)?,
            setting.own_core(),
        )?;
        report.field("devices", json!(traffic.devices));
        report.field("sessions", json!(sessions));
        report.field("body_bytes", json!(traffic.body_bytes));
        if let Some(c) = traffic.chunking {
            report.field("chunk_bytes", json!(c.bytes));
            report.field("interleaved", json!(c.interleave));
        }
        report.field("seed", json!(setting.seed));

        let mut stage = Self {
            traffic,
            sessions,
            clock,
            link,
            meter: Meter::start(clock, setting.cores_used()?, setting.hiccup)?,
            peers: None,
            sip: None,
            server: None,
            kamailio: None,
            pid: setting.pid,
            calls: None,
            forwarder: None,
        };
        let kind = match setting.forwarder {
            Some(kind) => kind,
            None if setting.baseline => stage.faster(setting, report).await?,
            None => Kind::Epoll,
        };
        match &setting.target {
            Target::Forwarder(fault) => {
                report.target = format!("byte forwarder over {}", kind.name());
                let forwarder = stage
                    .relayed(setting, kind, 0..sessions, fault.as_deref())
                    .await?;
                stage.pid = Some(forwarder.process.pid());
                stage.forwarder = Some(forwarder);
            }
            Target::Relay(at) => {
                report.target = format!("byte forwarder at {at}");
                let (doors, all) = (Doors::at(*at)?, 0..sessions);
                relay::set_up(&mut stage.link, doors, all, traffic.devices).await?;
            }
            Target::Direct => {
                if traffic.devices != 1 {
                    let why = "--direct: with nobody between, a session has one device";
                    return Err(Trouble::usage(why));
                }
                report.target = "nobody: each sender is connected to its device".to_owned();
                relay::directly(&mut stage.link, sessions).await?;
            }
            Target::Kamailio(config) => {
                report.target = format!("kamailio -f {}", config.display());
                let relay = Kamailio::start(config, setting.server_core(), clock).await?;
                relay::set_up_by(&mut stage.link, relay.msrp, sessions, traffic.devices).await?;
                stage.pid = Some(relay.process.pid());
                stage.kamailio = Some(relay);
            }
            Target::Running(sip) => {
                report.target = format!("sip:{sip}");
                stage.called(scenario, setting, sessions, *sip).await?;
            }
            Target::Spawned(options) => {
                report.target = options.command.clone();
                let server = Server::start(options, clock).await?;
                let sip = server.sip;
                stage.pid = Some(server.process.pid());
                stage.server = Some(server);
                stage.called(scenario, setting, sessions, sip).await?;
            }
        }
        if setting.baseline {
            // The forwarder's sessions come behind the server's, with numbers of their own.
            let all = sessions..2 * sessions;
            stage.forwarder = Some(stage.relayed(setting, kind, all, None).await?);
        }
        stage.calls = stage.ring_calls();
        Ok(stage)
    }

    fn ring_calls(&self) -> Option<u64> {
        metrics::ring_calls(self.server.as_ref()?.admin)
    }

    /// The forwarder that is faster with this traffic.
    async fn faster(&mut self, setting: &Setting, report: &mut Report) -> Result<Kind, Trouble> {
        let core = setting.server_core();
        let outcome = contest::hold(&mut self.link, self.traffic, core).await?;
        report.field("forwarder", outcome.json());
        report.line(outcome.line());
        Ok(outcome.kind)
    }

    /// Sessions by SIP.
    async fn called(
        &mut self,
        scenario: &Scenario,
        setting: &Setting,
        sessions: u32,
        sip: SocketAddr,
    ) -> Result<(), Trouble> {
        self.sip = Some(sip);
        let peers = self.peers.insert(Peers::start(
            PeersOptions {
                server: sip,
                style: scenario.signalling,
                sessions,
                devices: self.traffic.devices,
                first_user: setting.first_user,
                seed: setting.seed,
                msrp: self.link.listens(),
                give_up: None,
                arrivals: false,
            },
            self.clock,
            self.link.asker()?,
        )?);
        peers.register().await?;
        peers.invite(0..sessions).await?;
        self.link.legs_up(peers.legs_of(sessions), SET_UP).await?;
        peers.acked(SET_UP).await
    }

    /// Sessions at a forwarder that we start.
    async fn relayed(
        &mut self,
        setting: &Setting,
        kind: Kind,
        sessions: Range<u32>,
        fault: Option<&str>,
    ) -> Result<Forwarder, Trouble> {
        let devices = self.traffic.devices;
        let forwarder = Forwarder::start(kind, devices, setting.server_core(), fault)?;
        relay::set_up(&mut self.link, forwarder.doors(), sessions, devices).await?;
        Ok(forwarder)
    }

    /// What a round with `load` over `sessions` is, counted from 0 on either side.
    pub(crate) fn plan(&self, who: Who, sessions: Range<u32>, load: Load) -> Plan {
        let (from, server) = match (who, &self.forwarder) {
            (Who::Forwarder, Some(forwarder)) => (self.sessions, Some(forwarder.process.pid())),
            (Who::Server, _) | (Who::Forwarder, None) => (0, self.pid),
        };
        Plan {
            sessions: from + sessions.start..from + sessions.end,
            load,
            warmup: self.traffic.warmup,
            steady: self.traffic.steady,
            patience: self.traffic.patience,
            server,
            apart: None,
            at_once: self.traffic.chunking.map_or(1, |c| c.interleave),
        }
    }

    /// Where the server takes SIP, if it does.
    pub(crate) fn sip(&self) -> Option<SocketAddr> {
        self.sip
    }

    /// Carries out a round over all sessions of `who`.
    pub(crate) async fn round(&mut self, who: Who, load: Load) -> Result<Tally, Trouble> {
        self.run(self.plan(who, 0..self.sessions, load)).await
    }

    /// Carries out a round.
    pub(crate) async fn run(&mut self, plan: Plan) -> Result<Tally, Trouble> {
        self.meter.begin();
        let mut tally = self.link.run(plan).await?;
        tally.hiccup = Some(self.meter.end());
        Ok(tally)
    }

    /// Hangs everyone up; what is left behind and what went wrong on the way are checks of `report`.
    pub(crate) async fn end(mut self, report: &mut Report) -> Result<(), Trouble> {
        if !self.measures_a_forwarder()
            && let Some(memory) = self.pid.and_then(|pid| proc::memory(pid).ok())
        {
            report.rss = Some(memory.rss);
        }
        if let (Some(before), Some(after)) = (self.calls, self.ring_calls()) {
            report.ring_calls = Some(after.saturating_sub(before));
        }
        if let Some(peers) = &self.peers {
            peers.hang_up().await;
        }
        self.link.close().await?;
        if let Some(peers) = &self.peers {
            peers.deregister().await;
            report.times("setup_us", &peers.setup());
            report.times("teardown_us", &peers.teardown());
            report.checks.extend(peers.checks());
        }
        if let Some(server) = &mut self.server {
            report
                .checks
                .extend(leftovers::check(server.admin, self.clock).await);
            report
                .checks
                .extend(server.process.end_well(self.clock).await);
        }
        if let Some(kamailio) = &mut self.kamailio {
            report
                .checks
                .extend(kamailio.process.end_well(self.clock).await);
        }
        if let Some(peers) = &self.peers {
            peers.stop().await;
        }
        Ok(())
    }

    fn measures_a_forwarder(&self) -> bool {
        self.peers.is_none()
    }
}

/// Where the peers may connect to us. What we start, we start on loopback.
fn listen(target: &Target) -> Result<SocketAddr, Trouble> {
    match target {
        Target::Running(at) | Target::Relay(at) => ua::listen_for(*at),
        Target::Spawned(_) | Target::Forwarder(_) | Target::Direct | Target::Kamailio(_) => {
            ua::listen_for(SocketAddr::from((Ipv4Addr::LOCALHOST, 9)))
        }
    }
}
