//! The command line.

use std::net::SocketAddr;

use clap::{Args, Parser, Subcommand};

use crate::{fault::Fault, forward};

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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
