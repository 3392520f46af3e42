//! The command line.

mod against;
mod lives;
mod traffic;

use std::{net::SocketAddr, path::PathBuf};

pub(crate) use against::Against;
use clap::{Args, Parser, Subcommand};
pub(crate) use traffic::{Fanout, Idle, Play, seconds};

use crate::{fault::Fault, floods, forward, setups, suite};

/// Load generator for SIP/MSRP servers.
///
/// Exit codes: 0 objectives met, 1 missed, 2 usage, 3 target not reachable.
#[derive(Parser, Debug)]
#[command(
    name = "ringfork-load",
    version,
    arg_required_else_help = true,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) play: Play,
}

/// What to do, if it is not a scenario.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// The baseline: a byte forwarder without any parsing.
    Forward(Forward),
    /// Each session's sender writes, each of its devices gets every message.
    Fanout(Fanout),
    /// Sessions are set up and stand: what does that cost in memory?
    Idle(Idle),
    /// Sessions are set up and ended by SIP alone: what does a set-up cost?
    Setups(setups::Args),
    /// What one peer does so that others suffer, beside a session that must lose nothing.
    Floods(floods::Args),
    /// Draws the page of a record again.
    Page(Page),
    /// Every target of perf/targets.toml, measured and judged: `cargo perf`.
    Suite(suite::Args),
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
    /// Over a raw io_uring of its own instead of epoll.
    #[arg(long, conflicts_with = "fault")]
    ring: bool,
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
            kind: if self.ring {
                forward::Kind::Ring
            } else {
                forward::Kind::Epoll
            },
            listen: self.listen,
            devices: usize::from(self.devices),
            core: self.core,
            fault: self.fault,
            until_eof: self.until_eof,
        }
    }
}

/// `ringfork-load page`.
#[derive(Args, Debug)]
pub(crate) struct Page {
    /// A record that was written with --record.
    #[arg(value_name = "RECORD.json")]
    pub(crate) record: PathBuf,
    /// Where the page goes, unless beside the record.
    #[arg(long, value_name = "FILE.html")]
    pub(crate) report: Option<PathBuf>,
}

/// Whether a command is one that this program takes.
#[cfg(test)]
pub(crate) fn check(words: &[String]) -> Result<(), String> {
    let words = std::iter::once("ringfork-load").chain(words.iter().map(String::as_str));
    Cli::try_parse_from(words)
        .map(|_| ())
        .map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::{round::Load, sip_text::Transport};

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_scenario_is_named_first_and_the_options_change_it() {
        let parse = |args: &str| {
            Cli::try_parse_from(std::iter::once("ringfork-load").chain(args.split_whitespace()))
        };
        let cli = parse("oneway --forwarder --sessions 7 --window 3 --transport tcp").unwrap();
        assert!(cli.command.is_none());
        let scenario = cli.play.scenario().unwrap();
        assert_eq!(scenario.name, "oneway");
        assert_eq!(scenario.traffic.sessions, 7);
        assert_eq!(scenario.traffic.load(), Load::Saturate { window: 3 });
        assert_eq!(scenario.signalling.transport, Transport::Tcp);
        assert!(parse("oneway").is_err(), "against what?");
        assert!(parse("--forwarder").is_err(), "what?");
        assert!(parse("oneway --forwarder --rate 3 --window 3").is_err());
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
}
