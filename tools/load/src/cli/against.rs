//! Which server, and how to speak to it: options that every scenario has.

use std::{
    net::{SocketAddr, ToSocketAddrs},
    path::PathBuf,
};

use clap::{ArgGroup, Args, ValueEnum};
use rand::TryRng;
use ringfork::wire::sdp::Setup;

use crate::{
    forward::Kind,
    hiccup, pin,
    plane::READ_BYTES,
    setting::{Setting, Target},
    sip_text::Transport,
    spawn::ServerOptions,
    trouble::Trouble,
    ua::Style,
};

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
    pub(super) forwarder: bool,
    /// A byte forwarder that runs already (`forward --listen`), here or elsewhere: MSRP without SIP.
    #[arg(long, value_name = "HOST:PORT", group = "where")]
    relay: Option<String>,
    /// No server at all: each sender is connected to its device. What is this generator good for, both ends together?
    #[arg(long, group = "where")]
    pub(super) direct: bool,
    /// Start Kamailio with this configuration: as a proxy for `setups`, else as an MSRP relay; see perf/kamailio.
    #[arg(long, value_name = "FILE", group = "where")]
    kamailio: Option<PathBuf>,
    /// What the byte forwarder runs on. With --baseline the faster of both, unless this is given; alone: epoll.
    #[arg(long, value_enum, value_name = "KIND")]
    forwarder_kind: Option<KindArg>,
    /// Plant a fault into the forwarder.
    #[arg(long, value_name = "KIND:N", hide = true, conflicts_with_all = ["spawn", "target", "relay", "direct"])]
    fault: Option<String>,
    /// The number of the first user, beside another run against the same server.
    #[arg(long, value_name = "N", hide = true, default_value_t = 0)]
    first_user: u32,
    /// Bytes that one read or write hands over at most: what runs on the same core waits for no longer a call.
    #[arg(long, value_name = "BYTES", hide = true, default_value_t = READ_BYTES, value_parser = grain)]
    grain: usize,
    /// Shards of a server that is started.
    #[arg(long, default_value_t = 1)]
    shards: u16,
    /// A server that is started answers each SEND at once (`ack = "receipt"`).
    #[arg(long)]
    receipt: bool,
    /// SIP over UDP or TCP; UDP unless the scenario says otherwise.
    #[arg(long, value_enum)]
    transport: Option<TransportArg>,
    /// Who opens a device's MSRP connection: the device (active, unless the scenario says otherwise) or the server
    /// (passive).
    #[arg(long, value_enum)]
    setup: Option<SetupArg>,
    /// What a sender's offer says about who connects; actpass unless the scenario says otherwise.
    #[arg(long, value_enum)]
    offer: Option<SetupArg>,
    /// CEMA (RFC 6714), where the scenario has it switched off.
    #[arg(long)]
    cema: bool,
    /// Plain RFC 4975 instead of CEMA (RFC 6714).
    #[arg(long, conflicts_with = "cema")]
    no_cema: bool,
    /// Do not keep server and generator on a core each.
    #[arg(long)]
    no_pin: bool,
    /// The same seed gives the same traffic; one of chance if there is none.
    #[arg(long)]
    seed: Option<u64>,
    /// One JSON object on the last line of standard output.
    #[arg(long)]
    pub(crate) json: bool,
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

#[derive(Clone, Copy, Debug, ValueEnum)]
enum KindArg {
    Epoll,
    Ring,
}

impl KindArg {
    fn kind(self) -> Kind {
        match self {
            Self::Epoll => Kind::Epoll,
            Self::Ring => Kind::Ring,
        }
    }
}

impl Against {
    /// A run against what was named, measured alone and kept nowhere; `style` is the one that it will have.
    pub(crate) fn setting(&self, style: &Style) -> Result<Setting, Trouble> {
        Ok(Setting {
            target: self.target(style)?,
            pid: None,
            baseline: false,
            ratio_min: None,
            record: None,
            page: None,
            hdr: None,
            forwarder: self.forwarder_kind.map(KindArg::kind),
            hiccup: hiccup::THRESHOLD,
            seed: self.seed.unwrap_or_else(chance),
            run: u32::try_from(chance() >> 32).unwrap_or(0),
            first_user: self.first_user,
            grain: self.grain,
            cores: self.cores()?,
        })
    }

    /// Server's (or forwarder's) core and generator's. On one core nothing is pinned.
    fn cores(&self) -> Result<Option<(usize, usize)>, Trouble> {
        let cores = pin::cores()?;
        Ok(match cores[..] {
            [first, second, ..] if !self.no_pin => Some((first, second)),
            _ => None,
        })
    }

    /// Overrides what a scenario says.
    pub(super) fn change(&self, style: &mut Style) {
        if let Some(transport) = self.transport {
            style.transport = match transport {
                TransportArg::Udp => Transport::Udp,
                TransportArg::Tcp => Transport::Tcp,
            };
        }
        if let Some(offer) = self.offer {
            style.media.offer = offer.setup();
        }
        if let Some(answer) = self.setup {
            style.media.answer = answer.setup();
        }
        if self.cema || self.no_cema {
            style.media.cema = self.cema;
        }
    }

    fn target(&self, style: &Style) -> Result<Target, Trouble> {
        if let Some(target) = &self.target {
            return Ok(Target::Running(address("--target", target)?));
        }
        if let Some(command) = &self.spawn {
            return Ok(Target::Spawned(ServerOptions {
                command: command.clone(),
                shards: self.shards,
                core: self.cores()?.map(|c| c.0),
                receipt: self.receipt,
                cema: style.media.cema,
                t1_ms: None,
            }));
        }
        if let Some(relay) = &self.relay {
            return Ok(Target::Relay(address("--relay", relay)?));
        }
        if let Some(config) = &self.kamailio {
            return Ok(Target::Kamailio(config.clone()));
        }
        Ok(if self.direct {
            Target::Direct
        } else {
            Target::Forwarder(self.fault.clone())
        })
    }
}

/// `sip:HOST:PORT` or `HOST:PORT`, the host an address or a name of this machine's hosts file or resolver.
fn address(option: &str, target: &str) -> Result<SocketAddr, Trouble> {
    let place = target.strip_prefix("sip:").unwrap_or(target);
    place
        .to_socket_addrs()
        .or_else(|_| (place, 5060).to_socket_addrs())
        .ok()
        .and_then(|mut all| all.next())
        .ok_or_else(|| Trouble::usage(format!("{option} {target}: expected HOST:PORT")))
}

/// From the system: two runs of the same command shall not meet the same identifiers in one server.
fn chance() -> u64 {
    rand::rngs::SysRng
        .try_next_u64()
        .unwrap_or_else(|_| u64::from(std::process::id()))
}

/// 1 KiB at least: the first bytes that name a session come in one go.
fn grain(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(bytes) if (1024..=READ_BYTES).contains(&bytes) => Ok(bytes),
        Ok(_) | Err(_) => Err(format!("1024 to {READ_BYTES}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_addresses() {
        assert_eq!(address("", "sip:127.0.0.1:5070").unwrap().port(), 5070);
        assert_eq!(address("", "127.0.0.1").unwrap().port(), 5060);
        assert!(address("", "sip:").is_err());
    }
}
