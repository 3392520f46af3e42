//! A whole server in this process: what the kernel lets us do, sockets, one pinned thread a shard, the mail to them.
//!
//! `serve`, `demo` and tests start the same one; they differ in their configuration. What a shard's world is, is an argument
//! ([`Seat::into_shard`] where it is the real one): this file knows threads and sockets, no protocol.

use std::{
    cell::Cell,
    fmt, io,
    net::{SocketAddr, TcpListener},
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use super::{ask::Shards, log::within, phase::Control};
use crate::{
    config::{self, Config, Transport},
    ids::ShardId,
    io::{
        self as ring, Clock, Driver, Feature, Features, Hub, Waker, listen, probe, seed, threads,
    },
    limits::Limits,
    shard::{
        self, Ask, Desk, Listener, Parts, Places, Shard, SocketRole, World,
        report::{Answer, Question},
    },
};

/// How long the shards' threads may take to end.
const JOIN_PATIENCE: Duration = Duration::from_secs(2);

/// Why a server cannot start. Each says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum CannotStart {
    /// The kernel, the container or a limit is in the way.
    #[error("{0}")]
    Kernel(#[from] probe::Missing),
    /// An address cannot be had.
    #[error("{0}")]
    Listen(#[from] listen::ListenError),
    /// The admin interface's address cannot be had.
    #[error("cannot listen on admin.listen = {addr}: {source}")]
    Admin {
        /// Which.
        addr: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// A shard's thread or ring cannot be had.
    #[error("shard {} cannot start: {source}", shard.0)]
    Shard {
        /// Which.
        shard: ShardId,
        /// The system's reason.
        source: io::Error,
    },
    /// Something else that the system has none of.
    #[error("{what}: {source}")]
    System {
        /// What was asked for.
        what: &'static str,
        /// The system's reason.
        source: io::Error,
    },
}

/// Everything that a shard's world is made from, on the shard's own thread.
#[derive(Debug)]
pub struct Seat {
    /// Its number.
    pub shard: ShardId,
    /// How many there are.
    pub shards: u8,
    /// What the operator wrote.
    pub config: Arc<Config>,
    /// What follows from it.
    pub limits: Arc<Limits>,
    /// Its sockets, in the order of their [`SocketId`](crate::ids::SocketId)s.
    pub listeners: Vec<Listener>,
    /// Its end of the mail.
    pub post: shard::Post,
    /// Chance, different for each shard.
    pub seed: [u8; 32],
}

impl Seat {
    /// The shard that takes this seat.
    #[must_use]
    pub fn into_shard(self) -> Shard {
        let parts = Parts::new(self.shard, &self.config, &self.limits, &self.listeners);
        Shard::new(parts, self.post, self.seed)
    }
}

/// Where a server can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// `sip.listen`, free ports resolved.
    pub sip: Vec<config::Listen>,
    /// `msrp.listen`, free ports resolved.
    pub msrp: Vec<config::Listen>,
    /// `admin.listen`, a free port resolved.
    pub admin: SocketAddr,
}

/// What the kernel was found to have.
#[derive(Clone, Debug)]
pub struct Ground {
    /// What is used.
    pub features: Features,
    /// What is not, and why.
    pub without: Vec<(Feature, String)>,
    /// The ring's sizes.
    settings: ring::Settings,
    /// The cores of the shards.
    cores: Vec<usize>,
    limits: Limits,
}

impl Ground {
    /// Tries what the kernel, the container and the limits let `config` do.
    ///
    /// # Errors
    /// [`probe::Missing`]: what is lacking, and how to get it.
    pub fn probe(config: &Config) -> Result<Self, probe::Missing> {
        let cores = threads::cores();
        let limits = Limits::new(config, config.shard_count(cores.len()));
        let names = config.io.features_off.iter();
        let off = names
            .filter_map(|name| name.parse::<Feature>().ok())
            .collect();
        let settings = ring::Settings {
            spin: Duration::from_micros(config.io.spin_us),
            ..ring::Settings::new(&limits, off)
        };
        let found = probe::check(&settings, limits.descriptors())?;
        Ok(Self {
            features: found.features,
            without: found.without,
            settings,
            cores,
            limits,
        })
    }

    /// The bounds that hold on this machine.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The core that a shard is pinned to: each its own, and none where there are fewer cores than shards.
    fn core(&self, shard: usize) -> Option<usize> {
        (usize::from(self.limits.shards) <= self.cores.len())
            .then(|| self.cores.get(shard).copied())
            .flatten()
    }
}

/// A server whose shards run; the services do not yet.
pub struct Server {
    /// Where it can be reached.
    pub addresses: Addresses,
    /// The admin interface's socket, for [`Setup`](super::Setup).
    pub admin: TcpListener,
    /// The mail to the shards, for [`Setup`](super::Setup).
    pub shards: Box<dyn Shards>,
    /// To be stopped and joined when the services have ended.
    pub threads: Threads,
}

/// The shards' threads. Dropped, they are stopped.
#[derive(Debug)]
pub struct Threads {
    running: Vec<(Waker, Option<JoinHandle<()>>)>,
}

impl Threads {
    /// Asks every shard to end after its turn, and waits for that.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        for (waker, _) in &self.running {
            waker.stop();
        }
        let threads: Vec<_> = (self.running.iter_mut())
            .filter_map(|(_, thread)| thread.take())
            .collect();
        // A shard that panicked has said so by `Control::failed`. One that is stuck holds up nobody.
        within(JOIN_PATIENCE, "join", || {
            for thread in threads {
                drop(thread.join());
            }
        });
    }
}

/// Starts a server: sockets first, so that what cannot be had stops it before anything runs.
///
/// # Errors
/// [`CannotStart`]; nothing runs and nothing stays bound.
pub fn start<W: World>(
    config: &Arc<Config>,
    ground: &Ground,
    clock: Clock,
    control: &Control,
    make: impl Fn(Seat) -> W + Clone + Send + 'static,
) -> Result<Server, CannotStart> {
    let limits = Arc::new(ground.limits.clone());
    let n = usize::from(limits.shards);
    let mut sockets = open(config, n)?;
    let admin = TcpListener::bind(config.admin.listen).map_err(|source| CannotStart::Admin {
        addr: config.admin.listen,
        source,
    })?;
    let system = |what| move |source| CannotStart::System { what, source };
    let admin_addr = admin.local_addr().map_err(system("no address"))?;
    let hub = Hub::new(limits.shards).map_err(system("no eventfd for a shard"))?;
    let seed = seed::from_system().map_err(system("no randomness"))?;
    let addresses = addresses(&sockets, admin_addr);

    let mail = shard::exchange(
        limits.shards,
        Places {
            open: limits.mailbox_places,
            reserved: limits.mailbox_reserved,
        },
    );
    let mut desks = Vec::with_capacity(n);
    let mut threads = Threads {
        running: Vec::with_capacity(n),
    };
    let (started, starts) = mpsc::channel();
    for ((post, desk), shard) in mail.into_iter().zip((0..limits.shards).map(ShardId)) {
        let Some(waker) = hub.waker(shard) else {
            continue;
        };
        desks.push((desk, waker.clone()));
        let own: Vec<_> = sockets.iter_mut().filter_map(Bound::take).collect();
        let seat = Seat {
            shard,
            shards: limits.shards,
            config: Arc::clone(config),
            limits: Arc::clone(&limits),
            listeners: own.iter().map(|(listener, _)| *listener).collect(),
            post,
            seed: for_shard(seed, shard),
        };
        let body = Body {
            seat,
            sockets: own.into_iter().map(|(_, socket)| socket).collect(),
            post: ring::Post {
                shard,
                hub: hub.clone(),
                clock,
                settings: ground.settings.clone(),
                features: ground.features,
            },
            started: started.clone(),
            control: control.clone(),
        };
        let make = make.clone();
        let core = ground.core(usize::from(shard.0));
        let name = format!("shard-{}", shard.0);
        let thread = threads::spawn(&name, core, move |pinned| body.run(pinned, make))
            .map_err(|source| CannotStart::Shard { shard, source })?;
        threads.running.push((waker, Some(thread)));
    }
    drop(started);
    // Each says once how its start went; on an error, `threads` stops the others.
    for (shard, outcome) in starts {
        outcome.map_err(|source| CannotStart::Shard { shard, source })?;
    }
    Ok(Server {
        addresses,
        admin,
        shards: Box::new(Mailroom { desks }),
        threads,
    })
}

thread_local! {
    /// What the ring of this thread's shard counts, as of the turn before: the shard itself knows no ring.
    static RING: Cell<ring::Counters> = Cell::new(ring::Counters::default());
}

/// A shard's thread from start to end.
struct Body {
    seat: Seat,
    sockets: Vec<listen::Socket>,
    post: ring::Post,
    started: mpsc::Sender<(ShardId, io::Result<()>)>,
    control: Control,
}

impl Body {
    fn run<W: World>(self, pinned: io::Result<()>, make: impl FnOnce(Seat) -> W) {
        let shard = self.seat.shard;
        if let Err(e) = pinned {
            tracing::warn!(shard = shard.0, error = %e, "not pinned to a core");
        }
        // Dropped in a panic too: a server that has lost a shard has lost its users, and must not seem well.
        let lost = Lost {
            shard,
            control: self.control,
        };
        let mut driver = match Driver::new(self.post, self.sockets, make(self.seat)) {
            Ok(driver) => driver,
            Err(e) => {
                std::mem::forget(lost);
                drop(self.started.send((shard, Err(e))));
                return;
            }
        };
        drop(self.started.send((shard, Ok(()))));
        drop(self.started);
        match driver.run_telling(|counters| RING.set(*counters)) {
            Ok(()) => std::mem::forget(lost),
            Err(e) => tracing::error!(shard = shard.0, error = %e, "the ring is lost"),
        }
    }
}

/// Tells that a shard has ended without having been asked to.
struct Lost {
    shard: ShardId,
    control: Control,
}

impl Drop for Lost {
    fn drop(&mut self) {
        self.control.failed(self.shard);
    }
}

/// One address of the configuration, bound once for each shard.
struct Bound {
    listener: Listener,
    sockets: Vec<listen::Socket>,
}

impl Bound {
    /// The next shard's socket.
    fn take(&mut self) -> Option<(Listener, listen::Socket)> {
        Some((self.listener, self.sockets.pop()?))
    }
}

/// Binds every address for `shards` shards, SIP first. The order is that of the sockets' names.
fn open(config: &Config, shards: usize) -> Result<Vec<Bound>, listen::ListenError> {
    let mut bound: Vec<Bound> = Vec::new();
    let mut add = |role, sockets: Vec<listen::Socket>| {
        if let Some(addr) = sockets.first().map(|s| s.local) {
            let listener = Listener { role, addr };
            bound.push(Bound { listener, sockets });
        }
    };
    let mut paired = Vec::new();
    for l in &config.sip.listen {
        // SIP over UDP and TCP of one address wants one port: RFC 3261 §18.1.1 goes from one to the other there.
        let twin = config::Listen {
            transport: Transport::Tcp,
            ..*l
        };
        match l.transport {
            Transport::Udp if l.addr.port() == 0 && config.sip.listen.contains(&twin) => {
                let (udp, tcp) = listen::open_both(l.addr, shards)?;
                add(SocketRole::SipDatagram, udp);
                add(SocketRole::SipStream, tcp);
                paired.push(twin);
            }
            Transport::Udp => {
                let udp = listen::open(listen::Transport::Udp, l.addr, shards)?;
                add(SocketRole::SipDatagram, udp);
            }
            Transport::Tcp if paired.contains(l) => {}
            Transport::Tcp => {
                let tcp = listen::open(listen::Transport::Tcp, l.addr, shards)?;
                add(SocketRole::SipStream, tcp);
            }
            Transport::Tls => {} // refused by the configuration
        }
    }
    for l in &config.msrp.listen {
        let tcp = listen::open(listen::Transport::Tcp, l.addr, shards)?;
        add(SocketRole::Msrp, tcp);
    }
    Ok(bound)
}

fn addresses(bound: &[Bound], admin: SocketAddr) -> Addresses {
    let (mut sip, mut msrp) = (Vec::new(), Vec::new());
    for Bound { listener, .. } in bound {
        let (list, transport) = match listener.role {
            SocketRole::SipDatagram => (&mut sip, Transport::Udp),
            SocketRole::SipStream => (&mut sip, Transport::Tcp),
            SocketRole::Msrp => (&mut msrp, Transport::Tcp),
        };
        list.push(config::Listen {
            transport,
            addr: listener.addr,
        });
    }
    Addresses { sip, msrp, admin }
}

/// Chance for one shard, from what the system gave for all: a seed expands by a cipher, so one byte is enough to part them.
const fn for_shard(mut seed: [u8; 32], shard: ShardId) -> [u8; 32] {
    seed[0] ^= shard.0;
    seed
}

/// The services' mail to every shard.
struct Mailroom {
    desks: Vec<(Desk, Waker)>,
}

impl fmt::Debug for Mailroom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mailroom({} shards)", self.desks.len())
    }
}

impl Shards for Mailroom {
    fn count(&self) -> usize {
        self.desks.len()
    }

    fn ask(
        &self,
        shard: ShardId,
        question: Question,
        reply: Box<dyn FnOnce(Answer) + Send>,
    ) -> bool {
        let Some((desk, waker)) = self.desks.get(usize::from(shard.0)) else {
            return false;
        };
        // Called on the shard's thread, where its ring's counts are.
        let reply = Box::new(move |mut answer: Answer| {
            if let Answer::Counters(report) = &mut answer {
                report.ring = RING.get().named();
            }
            reply(answer);
        });
        let taken = desk.ask(Ask { question, reply }).is_ok();
        // Woken also where there was no place: the shard empties its mailbox then.
        waker.wake();
        taken
    }
}

#[cfg(test)]
mod tests;
