//! The `fanout` scenario: each session's sender writes, each of its devices gets every message and answers it.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use serde_json::json;

use crate::{
    baseline::{self, Rounds},
    clock::Clock,
    leftovers,
    link::Link,
    pin,
    plane::{Settings, body_bytes_min},
    proc, record, relay,
    report::{Check, Report, checks_of, round3},
    round::{Load, Plan},
    spawn::{Forwarder, Server, ServerOptions},
    tally::Tally,
    trouble::Trouble,
    ua::{self, Peers, PeersOptions},
};

/// Where the messages go.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// A server that runs already, by its SIP address.
    Running(SocketAddr),
    /// A server that we start.
    Spawned(ServerOptions),
    /// The byte forwarder alone, with a fault if one is asked for.
    Forwarder(Option<String>),
}

/// What to run.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) target: Target,
    pub(crate) sessions: u32,
    pub(crate) devices: u16,
    pub(crate) load: Load,
    pub(crate) body_bytes: usize,
    pub(crate) warmup: Duration,
    /// The steady state of a round.
    pub(crate) steady: Duration,
    pub(crate) patience: Duration,
    pub(crate) rounds: u32,
    /// Measure the forwarder in turn.
    pub(crate) baseline: bool,
    /// Ratio to the forwarder that has to be reached.
    pub(crate) ratio_min: Option<f64>,
    pub(crate) record: Option<PathBuf>,
    pub(crate) seed: u64,
    pub(crate) run: u32,
    /// Cores of the server (or forwarder) and of the generator; none: wherever the kernel puts them.
    pub(crate) cores: Option<(usize, usize)>,
    pub(crate) sip: ua::Style,
}

/// How long a session of legs may take until all its connections are there.
const SET_UP: Duration = Duration::from_secs(60);

/// Runs it.
pub(crate) async fn run(options: &Options) -> Result<Report, Trouble> {
    if options.body_bytes < body_bytes_min() {
        return Err(Trouble::usage(format!(
            "--body {}: at least {} bytes, for the marks that are checked",
            options.body_bytes,
            body_bytes_min()
        )));
    }
    if let Some((_, generator)) = options.cores {
        pin::this_thread(generator)?;
    }
    let clock = Clock::start();
    let mut link = Link::start(
        Settings {
            body_bytes: options.body_bytes,
            devices: options.devices,
            seed: options.seed,
            run: options.run,
        },
        clock,
        listen(&options.target)?,
        options.cores.map(|c| c.1),
    )?;
    let mut report = Report::new("fanout", "");
    report.field("devices", json!(options.devices));
    report.field("sessions", json!(options.sessions));
    report.field("body_bytes", json!(options.body_bytes));
    report.field("seed", json!(options.seed));

    let mut rounds = Rounds::default();
    match &options.target {
        Target::Forwarder(fault) => {
            report.target = "byte forwarder".to_owned();
            let forwarder =
                Forwarder::start(options.devices, server_core(options), fault.as_deref())?;
            relay::set_up(&mut link, &forwarder, 0..options.sessions, options.devices).await?;
            for _ in 0..options.rounds {
                let plan = plan(options, 0..options.sessions, Some(forwarder.process.pid()));
                rounds.server.push(link.run(plan).await?);
            }
            link.close().await?;
        }
        Target::Running(sip) => {
            report.target = format!("sip:{sip}");
            let sip = *sip;
            measure(
                options,
                clock,
                &mut link,
                sip,
                None,
                &mut rounds,
                &mut report,
            )
            .await?;
        }
        Target::Spawned(server) => {
            report.target = server.command.clone();
            let mut server = Server::start(server, clock).await?;
            measure(
                options,
                clock,
                &mut link,
                server.sip,
                Some(&mut server),
                &mut rounds,
                &mut report,
            )
            .await?;
        }
    }
    conclude(options, &rounds, &mut report)?;
    Ok(report)
}

/// Where the peers may connect to us. What we start, we start on loopback.
fn listen(target: &Target) -> Result<SocketAddr, Trouble> {
    match target {
        Target::Running(server) => ua::listen_for(*server),
        Target::Spawned(_) | Target::Forwarder(_) => {
            ua::listen_for(SocketAddr::from((Ipv4Addr::LOCALHOST, 9)))
        }
    }
}

fn server_core(options: &Options) -> Option<usize> {
    options.cores.map(|c| c.0)
}

fn plan(options: &Options, sessions: std::ops::Range<u32>, server: Option<u32>) -> Plan {
    Plan {
        sessions,
        load: options.load,
        warmup: options.warmup,
        steady: options.steady,
        patience: options.patience,
        server,
    }
}

/// Sets up by SIP, runs the rounds, with the forwarder in turn if asked for, and tears down.
async fn measure(
    options: &Options,
    clock: Clock,
    link: &mut Link,
    sip: SocketAddr,
    mut server: Option<&mut Server>,
    rounds: &mut Rounds,
    report: &mut Report,
) -> Result<(), Trouble> {
    let pid = server.as_ref().map(|s| s.process.pid());
    let n = options.sessions;
    let peers = Peers::start(
        PeersOptions {
            server: sip,
            style: options.sip,
            sessions: n,
            devices: options.devices,
            seed: options.seed,
            msrp: link.listens(),
        },
        clock,
        link.asker()?,
    )?;
    peers.register().await?;
    peers.invite().await?;
    link.legs_up(peers.legs(), SET_UP).await?;

    // The forwarder's sessions come behind the server's, with numbers of their own.
    let forwarder = if options.baseline {
        let forwarder = Forwarder::start(options.devices, server_core(options), None)?;
        relay::set_up(link, &forwarder, n..2 * n, options.devices).await?;
        Some(forwarder)
    } else {
        None
    };
    for i in 0..options.rounds {
        rounds
            .server
            .push(link.run(plan(options, 0..n, pid)).await?);
        progress(i, "server", rounds.server.last());
        if let Some(forwarder) = &forwarder {
            let pid = Some(forwarder.process.pid());
            rounds
                .forwarder
                .push(link.run(plan(options, n..2 * n, pid)).await?);
            progress(i, "forwarder", rounds.forwarder.last());
        }
    }
    if let Some(memory) = pid.and_then(|pid| proc::memory(pid).ok()) {
        report.field("server_rss_bytes", json!(memory.rss));
    }
    peers.hang_up().await;
    link.close().await?;
    peers.deregister().await;
    report.times("setup_us", &peers.setup());
    report.times("teardown_us", &peers.teardown());
    report.checks.extend(peers.checks());
    if let Some(server) = &mut server {
        report
            .checks
            .extend(leftovers::check(server.admin, clock).await);
        report.checks.extend(server.process.end_well(clock).await);
    }
    peers.stop().await;
    Ok(())
}

fn progress(i: u32, what: &str, tally: Option<&Tally>) {
    if let Some(t) = tally {
        eprintln!(
            "round {} {what}: {:.0} deliveries/s",
            i + 1,
            t.deliveries_per_s()
        );
    }
}

/// Sums up the rounds and writes the record.
fn conclude(options: &Options, rounds: &Rounds, report: &mut Report) -> Result<(), Trouble> {
    let mut all = Tally::new(0..0);
    for (i, tally) in rounds.server.iter().enumerate() {
        if i == 0 {
            (all.own_cpu_ns, all.server_cpu_ns) = (Some(0), Some(0));
        }
        all.add(tally);
    }
    report.messages(&all, options.load);
    let mut server = serde_json::Map::new();
    if let Some(cpu) = all.server_cpu_per_delivery() {
        server.insert("cpu_ns_per_delivery".to_owned(), round3(cpu));
        report.line(format!("server    {cpu:.0} ns CPU a delivery"));
    }
    if let Some(rss) = report.fields.remove("server_rss_bytes") {
        server.insert("rss_bytes".to_owned(), rss);
    }
    if !server.is_empty() {
        report.field("server", serde_json::Value::Object(server));
    }
    let mut checks = checks_of(&all, options.load);
    if !rounds.forwarder.is_empty() {
        report.field("baseline", rounds.json());
        for line in rounds.lines() {
            report.line(line);
        }
        if let Some(min) = options.ratio_min {
            checks.push(Check::at_least("ratio", rounds.ratio(), min));
        }
        let wrong = rounds
            .forwarder
            .iter()
            .filter(|t| checks_of(t, options.load).iter().any(|c| !c.met));
        checks.push(Check::none(
            "baseline_rounds_with_faults",
            wrong.count() as u64,
        ));
    }
    checks.append(&mut report.checks);
    report.checks = checks;
    if let Some(dir) = &options.record {
        let in_order: Vec<_> = rounds
            .server
            .iter()
            .enumerate()
            .flat_map(|(i, s)| {
                let server = json!({"who": "server", "round": baseline::round(s)});
                let forwarder = rounds
                    .forwarder
                    .get(i)
                    .map(|f| json!({"who": "forwarder", "round": baseline::round(f)}));
                std::iter::once(server).chain(forwarder)
            })
            .collect();
        let path = record::write(dir, &report.json(), &in_order)?;
        report.line(format!("record written to {}", path.display()));
    }
    Ok(())
}
