//! Where a scenario runs and against what: all that is no part of the scenario itself.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use crate::{forward::Kind, pin, spawn::ServerOptions, trouble::Trouble};

/// Where the messages go.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// A server that runs already, by its SIP address.
    Running(SocketAddr),
    /// A server that we start.
    Spawned(ServerOptions),
    /// The byte forwarder alone, with a fault if one is asked for.
    Forwarder(Option<String>),
    /// A byte forwarder that runs already: where it takes senders; devices one port higher.
    Relay(SocketAddr),
    /// Nobody: each sender is connected to its one device.
    Direct,
    /// Kamailio as an MSRP relay, with this configuration; without SIP.
    Kamailio(PathBuf),
}

/// Circumstances of a run.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) target: Target,
    /// The server's process, if we did not start it and it is on this machine.
    pub(crate) pid: Option<u32>,
    /// Measure the byte forwarder in turn.
    pub(crate) baseline: bool,
    /// What a forwarder runs on; none: the faster as a baseline, else epoll.
    pub(crate) forwarder: Option<Kind>,
    /// Ratio to the forwarder that has to be reached.
    pub(crate) ratio_min: Option<f64>,
    /// The folder that a record of the run goes to.
    pub(crate) record: Option<PathBuf>,
    /// The file that a page about the run goes to.
    pub(crate) page: Option<PathBuf>,
    /// The file that latencies go to as an interval log.
    pub(crate) hdr: Option<PathBuf>,
    /// A round in which the machine stalls for longer is no part of tail figures.
    pub(crate) hiccup: Duration,
    /// The same seed gives the same traffic.
    pub(crate) seed: u64,
    /// Distinguishes this run's Message-IDs from those of another.
    pub(crate) run: u32,
    /// The number of the first user: two runs against one server must not share any.
    pub(crate) first_user: u32,
    /// Bytes that one read or write hands over at most.
    pub(crate) grain: usize,
    /// Cores of the server (or forwarder) and of the generator; none: wherever the kernel puts them.
    pub(crate) cores: Option<(usize, usize)>,
}

impl Setting {
    /// The core of the server and of the forwarder.
    pub(crate) fn server_core(&self) -> Option<usize> {
        self.cores.map(|c| c.0)
    }

    /// The cores that the run is on.
    pub(crate) fn cores_used(&self) -> Result<Vec<usize>, Trouble> {
        match self.cores {
            Some((server, generator)) => Ok(vec![server, generator]),
            None => Ok(pin::cores()?),
        }
    }

    /// The core of the generator.
    pub(crate) fn own_core(&self) -> Option<usize> {
        self.cores.map(|c| c.1)
    }
}
