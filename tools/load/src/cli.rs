//! The command line.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use rand::TryRng;
use ringfork::wire::sdp::Setup;

use crate::{
    fanout, fault::Fault, forward, idle, media::MediaStyle, pin, round::Load, sip_text::Transport,
    spawn::ServerOptions, trouble::Trouble, ua::Style,
};

/// Load generator for SIP/MSRP servers.
///
/// Exit codes: 0 objectives met, 1 missed, 2 usage, 3 target not reachable.
#[derive(Parser, Debug)]
#[command(name = "ringfork-load", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) scenario: Scenario,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub(crate) enum Scenario {
    /// The baseline: a byte forwarder without any parsing.
    Forward(Forward),
    /// Each session's sender writes, each of its devices gets every message.
    Fanout(Fanout),
    /// Sessions are set up and stand: what does that cost in memory?
    Idle(Idle),
}

/// `ringfork-load forward`.
#[derive(Args, Debug)]
pub(crate) struct Forward {
    /// Where senders connect, in order of sessions; devices connect one port higher, N in a row a session.
    #[arg(long, value_name = "ADDR")]
    listen: SocketAddr,
    /// Devices a session.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    devices: u16,
    /// Stay on this core.
    #[arg(long)]
    core: Option<usize>,
    /// Plant a fault into every N-th message: drop, double, reorder, alter or cross.
    #[arg(long, value_name = "KIND:N", hide = true)]
    fault: Option<Fault>,
    /// End when standard input does.
    #[arg(long, hide = true)]
    until_eof: bool,
}

impl Forward {
    pub(crate) fn options(&self) -> forward::Options {
        forward::Options {
            listen: self.listen,
            devices: usize::from(self.devices),
            core: self.core,
            fault: self.fault,
            until_eof: self.until_eof,
        }
    }
}

/// Which server, and how to speak to it.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("where").required(true))]
pub(crate) struct Against {
    /// A server that runs already.
    #[arg(long, value_name = "sip:HOST:PORT", group = "where")]
    target: Option<String>,
    /// Start this server; {config} stands for the path of a config file that is written for it.
    #[arg(long, value_name = "COMMAND", group = "where")]
    spawn: Option<String>,
    /// Measure the byte forwarder alone: what is this generator good for here?
    #[arg(long, group = "where")]
    forwarder: bool,
    /// Plant a fault into the forwarder.
    #[arg(long, value_name = "KIND:N", hide = true, conflicts_with_all = ["spawn", "target"])]
    fault: Option<String>,
    /// Shards of a server that is started.
    #[arg(long, default_value_t = 1)]
    shards: u16,
    /// A server that is started answers each SEND at once (`ack = "receipt"`).
    #[arg(long)]
    receipt: bool,
    /// SIP over UDP or TCP.
    #[arg(long, value_enum, default_value_t = TransportArg::Udp)]
    transport: TransportArg,
    /// Who opens a device's MSRP connection: the device (active) or the server (passive).
    #[arg(long, value_enum, default_value_t = SetupArg::Active)]
    setup: SetupArg,
    /// What a sender's offer says about who connects.
    #[arg(long, value_enum, default_value_t = SetupArg::Actpass)]
    offer: SetupArg,
    /// Plain RFC 4975 instead of CEMA (RFC 6714).
    #[arg(long)]
    no_cema: bool,
    /// Do not keep server and generator on a core each.
    #[arg(long)]
    no_pin: bool,
    /// The same seed gives the same traffic; one of chance if there is none.
    #[arg(long)]
    seed: Option<u64>,
    /// One JSON object on the last line of standard output.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum TransportArg {
    Udp,
    Tcp,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SetupArg {
    Active,
    Passive,
    Actpass,
}

impl SetupArg {
    fn setup(self) -> Setup {
        match self {
            Self::Active => Setup::Active,
            Self::Passive => Setup::Passive,
            Self::Actpass => Setup::ActPass,
        }
    }
}

impl Against {
    pub(crate) fn json(&self) -> bool {
        self.json
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed.unwrap_or_else(chance)
    }

    /// Server's (or forwarder's) core and generator's. On one core nothing is pinned.
    pub(crate) fn cores(&self) -> Result<Option<(usize, usize)>, Trouble> {
        let cores = pin::cores()?;
        Ok(match cores[..] {
            [first, second, ..] if !self.no_pin => Some((first, second)),
            _ => None,
        })
    }

    pub(crate) fn style(&self) -> Style {
        Style {
            transport: match self.transport {
                TransportArg::Udp => Transport::Udp,
                TransportArg::Tcp => Transport::Tcp,
            },
            media: MediaStyle {
                offer: self.offer.setup(),
                answer: self.setup.setup(),
                cema: !self.no_cema,
            },
        }
    }

    pub(crate) fn target(&self) -> Result<fanout::Target, Trouble> {
        if let Some(target) = &self.target {
            return Ok(fanout::Target::Running(address(target)?));
        }
        if let Some(command) = &self.spawn {
            return Ok(fanout::Target::Spawned(ServerOptions {
                command: command.clone(),
                shards: self.shards,
                core: self.cores()?.map(|c| c.0),
                receipt: self.receipt,
                cema: !self.no_cema,
            }));
        }
        Ok(fanout::Target::Forwarder(self.fault.clone()))
    }
}

/// `sip:HOST:PORT` or `HOST:PORT`, the host an address or a name of this machine's hosts file or resolver.
fn address(target: &str) -> Result<SocketAddr, Trouble> {
    use std::net::ToSocketAddrs;
    let place = target.strip_prefix("sip:").unwrap_or(target);
    place
        .to_socket_addrs()
        .or_else(|_| (place, 5060).to_socket_addrs())
        .ok()
        .and_then(|mut all| all.next())
        .ok_or_else(|| Trouble::usage(format!("--target {target}: expected sip:HOST:PORT")))
}

/// `ringfork-load fanout`.
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
    /// Steady state of a round, in seconds.
    #[arg(long, default_value = "3", value_parser = seconds)]
    seconds: Duration,
    /// Warm-up of a round, in seconds.
    #[arg(long, default_value = "0.5", value_parser = seconds)]
    warmup: Duration,
    /// How long nothing may come, after the last message was sent, before what is missing is lost, in seconds.
    #[arg(long, default_value = "3", value_parser = seconds)]
    patience: Duration,
    /// Rounds; 5 with --baseline, else 1.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Measure the byte forwarder in turn and print the ratio.
    #[arg(long, conflicts_with = "forwarder")]
    baseline: bool,
    /// With --baseline: the ratio that has to be reached.
    #[arg(long, value_name = "RATIO", requires = "baseline")]
    ratio_min: Option<f64>,
    /// Write a record of the run into this folder.
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
    #[command(flatten)]
    against: Against,
}

impl Fanout {
    pub(crate) fn options(&self) -> Result<fanout::Options, Trouble> {
        let seed = self.against.seed();
        Ok(fanout::Options {
            target: self.against.target()?,
            sessions: self.sessions,
            devices: self.devices,
            load: match self.rate {
                Some(rate) => Load::Rate(rate),
                None => Load::Saturate {
                    window: self.window.unwrap_or(window(self.sessions, self.body)),
                },
            },
            body_bytes: self.body,
            warmup: self.warmup,
            steady: self.seconds,
            patience: self.patience,
            rounds: self.rounds.unwrap_or(if self.baseline { 5 } else { 1 }),
            baseline: self.baseline,
            ratio_min: self.ratio_min,
            record: self.record.clone(),
            seed,
            run: u32::try_from(chance() >> 32).unwrap_or(0),
            cores: self.against.cores()?,
            sip: self.against.style(),
        })
    }

    pub(crate) fn json(&self) -> bool {
        self.against.json()
    }
}

/// `ringfork-load idle`.
#[derive(Args, Debug)]
pub(crate) struct Idle {
    /// Devices a session.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=64))]
    devices: u16,
    /// Sessions, one user each.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=99_999))]
    sessions: u32,
    /// How long they stand before the second look, in seconds.
    #[arg(long, default_value = "3", value_parser = seconds)]
    seconds: Duration,
    /// Write a record of the run into this folder.
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
    /// The process of the server, for --target.
    #[arg(long)]
    pid: Option<u32>,
    #[command(flatten)]
    against: Against,
}

impl Idle {
    pub(crate) fn options(&self) -> Result<idle::Options, Trouble> {
        Ok(idle::Options {
            target: self.against.target()?,
            pid: self.pid,
            sessions: self.sessions,
            devices: self.devices,
            stand: self.seconds,
            record: self.record.clone(),
            seed: self.against.seed(),
            cores: self.against.cores()?,
            sip: self.against.style(),
        })
    }

    pub(crate) fn json(&self) -> bool {
        self.against.json()
    }
}

/// What `--window` is by itself. The rate of a byte forwarder grows with the window, since it moves what has gathered in one
/// go: so the window is part of the result, and told with it.
fn window(sessions: u32, body_bytes: usize) -> u32 {
    let by_bytes = u32::try_from((1 << 20) / body_bytes.max(1)).unwrap_or(u32::MAX);
    (64 / sessions)
        .min(by_bytes)
        .max(if sessions == 1 { 2 } else { 1 })
}

/// From the system: two runs of the same command shall not meet the same identifiers in one server.
fn chance() -> u64 {
    rand::rngs::SysRng
        .try_next_u64()
        .unwrap_or_else(|_| u64::from(std::process::id()))
}

fn seconds(text: &str) -> Result<Duration, String> {
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_load_and_a_place_are_needed() {
        let parse = |args: &str| {
            Cli::try_parse_from(std::iter::once("ringfork-load").chain(args.split_whitespace()))
        };
        assert!(parse("fanout --devices 2 --body 200 --saturate --forwarder").is_ok());
        assert!(
            parse("fanout --devices 2 --body 200 --rate 10 --target sip:127.0.0.1:5060").is_ok()
        );
        for bad in [
            "fanout --devices 2 --body 200 --forwarder",
            "fanout --devices 2 --body 200 --saturate",
            "fanout --devices 0 --body 200 --saturate --forwarder",
            "fanout --devices 2 --body 200 --saturate --rate 3 --forwarder",
            "fanout --devices 2 --body 200 --rate 0 --forwarder",
            "fanout --devices 2 --body 200 --rate 1 --forwarder --baseline",
            "fanout --devices 2 --body 200 --saturate --spawn x --fault drop:3",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn windows_are_bounded_in_number_and_in_bytes() {
        assert_eq!(window(1, 200), 64);
        assert_eq!(window(1, 65_536), 16);
        assert_eq!(window(1, 8 << 20), 2);
        assert_eq!(window(16, 200), 4);
        assert_eq!(window(1000, 200), 1);
    }

    #[test]
    fn targets_are_addresses() {
        assert_eq!(address("sip:127.0.0.1:5070").unwrap().port(), 5070);
        assert_eq!(address("127.0.0.1").unwrap().port(), 5060);
        assert!(address("sip:").is_err());
    }
}
