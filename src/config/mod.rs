//! What the operator wrote: one TOML file, read once, every problem reported with its place.
//!
//! [`Config`] holds values that are right each by itself and together; [`Config::from_toml`] gives it or [`Problems`], all
//! of them. What follows from it in numbers is [`Limits`](crate::limits::Limits). Nothing here touches the file system.
//!
//! Every key has a default, stated with its field, and all defaults together are a standalone server on loopback.

mod problems;
mod read;
mod section;
mod value;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

pub use problems::{Problem, Problems};
pub use value::{Listen, Network, Secret, Transport};

pub use crate::msrp::Ack;

/// Everything that an operator decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `mode`: where registrations come from and where requests go. Default: standalone.
    pub mode: Mode,
    /// `domains`: whose users we serve, in lower case. Default: `example.com`.
    pub domains: Vec<String>,
    /// `shards`, 1 to 64: pinned threads, a ring each. `None`: the cores that the process may run on.
    pub shards: Option<u8>,
    /// `host`: our name in Via, Contact, Warning and MSRP URIs. `None`: the listening address.
    pub host: Option<String>,
    /// `drain_s`, 0 to 3600: how long SIGTERM lets sessions end by themselves. Default: 5 s.
    pub drain: Duration,
    /// `open`: listeners off loopback are meant to take anybody. Default: false.
    pub open: bool,
    /// `[sip]`
    pub sip: Sip,
    /// `[msrp]`
    pub msrp: Msrp,
    /// `[store]`
    pub store: Store,
    /// `[admin]`
    pub admin: Admin,
    /// `[policy]`
    pub policy: Policy,
    /// `[io]`
    pub io: Io,
    /// `[limits]`
    pub limits: Sizes,
    /// `[log]`
    pub log: Log,
    /// `[[user]]`: users known beforehand. Default: none, an open lab.
    pub users: Vec<User>,
}

/// Where registrations come from, and where what we send goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A registrar of our own; devices are reached straight.
    Standalone,
    /// Behind an S-CSCF.
    Ims,
}

/// Signalling: `[sip]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sip {
    /// `listen`: one socket a shard on each. Default: `udp:127.0.0.1:5060`, `tcp:127.0.0.1:5060`.
    pub listen: Vec<Listen>,
    /// `next_hop`: where what we send goes in `ims` mode. No default.
    pub next_hop: Option<String>,
    /// `t1_ms`, 10 to 5000: T1 (RFC 3261 §17.1.1.1). Default: 500 ms.
    pub t1: Duration,
    /// `session_expires_s`, 90 to 86400: Session-Expires that we ask for (RFC 4028 §4). Default: 1800 s.
    pub session_expires: Duration,
    /// `min_expires_s`, 0 to 3600: a shorter registration gets 423 (RFC 3261 §10.3). Default: 60 s.
    pub min_expires: Duration,
    /// `trusted_peers`: whose asserted identities, `maddr` and foreign Contacts we believe (RFC 3325 §5). What is written
    /// replaces the default, so loopback is believed only where it is written. Default: `127.0.0.0/8` and `::1/128`.
    pub trusted_peers: Vec<Network>,
    /// `contact_without_tags`: whether a contact without CPM feature tags is suitable. Default: unsuitable.
    pub contact_without_tags_suitable: bool,
    /// `follow_redirects`: where a device's 300 or 302 may send a call: `own`, its own address and our domains, or `any`. Default:
    /// own.
    pub follow_any: bool,
    /// `no_answer_s`, 1 to 3600: a device that rings longer counts as not answering. Default: 120 s.
    pub no_answer: Duration,
    /// `registrations_max`, 1 to 10,000,000: contacts in the registrar; over it 503. About 1 KiB each. Default: 100,000.
    pub registrations_max: u32,
    /// `registrations_per_source`: contacts that one source address may hold; over it 503. 0: no limit, the default.
    ///
    /// A source is an IPv4 address or an IPv6 /64. Each shard counts its own: a source gets what is written here at least.
    pub registrations_per_source: u32,
    /// `connections_max`: SIP connections that one source may open; over it the newest is reset. 0: no limit, the default.
    pub connections_max: u32,
    /// `requests_per_s`: requests of one source; over it 503 with Retry-After. 0: no limit, the default.
    pub requests_per_s: u32,
}

/// Media: `[msrp]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Msrp {
    /// `listen`: one listener a shard on each. Default: `tcp:127.0.0.1:2855`.
    pub listen: Vec<Listen>,
    /// `ack`: when a SEND gets its 200 (settled.md R1). Default: held.
    pub ack: Ack,
    /// `cema`: offers carry `a=msrp-cema` (RFC 6714). Default: true.
    pub cema: bool,
    /// `legacy_session_match`: match by session-id where a middlebox rewrote addresses. Default: false.
    pub legacy_session_match: bool,
    /// `not_activity`: media types, inside CPIM or not, that pass and are no activity, so that no other device is torn down by
    /// them; case and parameters do not count (settled.md 40). Default: `text/x-msrp-heartbeat`.
    pub not_activity: Vec<String>,
    /// `outbox_bytes`, 64 KiB to 1 GiB: what a slow leg may lag behind before its sender is stopped and, if it stays so far behind
    /// another device, it is dropped. Default: 1 MiB.
    pub outbox_bytes: usize,
    /// `max_message_bytes`, 1 KiB to 1 TiB: `a=max-size` of ours (RFC 4975 §8.6); larger: 413. Default: 100 MiB.
    pub max_message_bytes: u64,
    /// `bind_s`, 1 to 300: until a connection must have named its session. Default: 30 s.
    pub bind: Duration,
    /// `stall_s`, 1 to 60: how long reading may stop for the only leg (settled.md R3). Default: 10 s.
    pub stall: Duration,
    /// `connections_max`: MSRP connections that one source may open; over it the newest is reset. 0: no limit, the default.
    pub connections_max: u32,
}

/// The deferred queue: `[store]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// `path`: the embedded store's directory. Default: `./ringfork-data`.
    pub path: PathBuf,
    /// `expiry_s`: how long a deferred message is kept. Default: 604,800 s, a week.
    pub expiry: Duration,
    /// `quota_messages`: of one user. Default: 1000.
    pub quota_messages: u32,
    /// `quota_bytes`: of one user. Default: 100 MiB.
    pub quota_bytes: u64,
}

/// The operator's own interface: `[admin]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admin {
    /// `listen`: HTTP without authentication, so off loopback only with `open = true`. Default: `127.0.0.1:9855`.
    pub listen: SocketAddr,
}

/// The operator's defaults for every user: `[policy]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// `unreachable`: what becomes of a 1-1 session that nobody can take. Default: defer.
    pub unreachable: Unreachable,
    /// `anonymity`: whether a sender may hide who it is. Default: allow.
    pub anonymity_allowed: bool,
    /// `required_release`: CPM releases of which a request must name one, else 403. Default: empty, any.
    pub required_release: Vec<String>,
}

/// What becomes of a session that no device of the user can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreachable {
    /// We take it and keep the messages. Until the store is there: as [`Unreachable::Reject`], with 480.
    Defer,
    /// It is refused.
    Reject,
    /// It goes to an interworking function.
    Interwork,
}

/// The shards' rings: `[io]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Io {
    /// `spin_us`: how long a shard that expects more at once stays awake before it sleeps, in µs; 0: it sleeps at once.
    /// Default: 20.
    pub spin_us: u64,
    /// `features_off`: names of [`FEATURES`] that are left alone even where the kernel has them. Default: none.
    pub features_off: Vec<&'static str>,
}

impl Default for Io {
    fn default() -> Self {
        Self {
            spin_us: 20,
            features_off: Vec::new(),
        }
    }
}

/// What later kernels than Linux 6.1 have or a container may forbid: each can be switched off.
pub const FEATURES: [&str; 6] = [
    "incremental",
    "quiet_sends",
    "fixed_files",
    "ring_messages",
    "registered_ring",
    "defer_taskrun",
];

/// How large the tables are: `[limits]`. For the whole process; a shard gets its share and an eighth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// `sessions`, 1 to 1,000,000: over it 503 with Retry-After. Default: 8192.
    pub sessions: u32,
    /// `connections`, 2 to 4,000,000: stream connections, a descriptor each; over it the newest is reset. Default: 16,384.
    pub connections: u32,
    /// `receive_bytes`, 1 MiB to 16 GiB: receive buffers of each shard's ring. Default: 32 MiB.
    pub receive_bytes: usize,
    /// `kept_bytes`, 64 KiB to 64 GiB: messages kept until acknowledged (settled.md R2), in each shard. Default: 64 MiB.
    pub kept_bytes: usize,
}

/// What is logged, and how: `[log]`. On standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// `level`. Default: info. SIGHUP changes it without a restart.
    pub level: Level,
    /// `format`. Default: auto.
    pub format: Format,
}

/// The least severity that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Something has been given up.
    Error,
    /// Worth waking someone for.
    Warn,
    /// Starts, stops, what an operator did.
    Info,
    /// Each session.
    Debug,
    /// Each chunk.
    Trace,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Human on a terminal, else JSON.
    Auto,
    /// One JSON object a line.
    Json,
    /// For a person.
    Human,
}

/// A user known beforehand: one `[[user]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// `aor`: `sip:` address of record, its domain in lower case and one of [`Config::domains`].
    pub aor: String,
    /// `password`: with it, requests from this user are asked for digest (RFC 8760). Never printed.
    pub password: Option<Secret>,
}

impl Default for Config {
    /// Standalone on loopback, open to whoever is on this machine.
    fn default() -> Self {
        let loopback = [127, 0, 0, 1];
        Self {
            mode: Mode::Standalone,
            domains: vec!["example.com".to_owned()],
            shards: None,
            host: None,
            drain: Duration::from_secs(5),
            open: false,
            sip: Sip {
                listen: [Transport::Udp, Transport::Tcp]
                    .map(|transport| Listen {
                        transport,
                        addr: (loopback, 5060).into(),
                    })
                    .into(),
                next_hop: None,
                t1: Duration::from_millis(500),
                session_expires: Duration::from_secs(1800),
                min_expires: Duration::from_secs(60),
                trusted_peers: Network::LOOPBACK.into(),
                contact_without_tags_suitable: false,
                follow_any: false,
                no_answer: Duration::from_secs(120),
                registrations_max: 100_000,
                registrations_per_source: 0,
                connections_max: 0,
                requests_per_s: 0,
            },
            msrp: Msrp {
                listen: vec![Listen {
                    transport: Transport::Tcp,
                    addr: (loopback, 2855).into(),
                }],
                ack: Ack::Held,
                cema: true,
                legacy_session_match: false,
                not_activity: vec!["text/x-msrp-heartbeat".to_owned()],
                outbox_bytes: 1 << 20,
                max_message_bytes: 100 << 20,
                bind: Duration::from_secs(30),
                stall: Duration::from_secs(10),
                connections_max: 0,
            },
            store: Store {
                path: PathBuf::from("./ringfork-data"),
                expiry: Duration::from_secs(604_800),
                quota_messages: 1000,
                quota_bytes: 100 << 20,
            },
            admin: Admin {
                listen: (loopback, 9855).into(),
            },
            policy: Policy {
                unreachable: Unreachable::Defer,
                anonymity_allowed: true,
                required_release: Vec::new(),
            },
            io: Io::default(),
            limits: Sizes {
                sessions: 8192,
                connections: 16_384,
                receive_bytes: 32 << 20,
                kept_bytes: 64 << 20,
            },
            log: Log {
                level: Level::Info,
                format: Format::Auto,
            },
            users: Vec::new(),
        }
    }
}

impl Config {
    /// Reads the text of a configuration file; `name` is what problems call it.
    ///
    /// # Errors
    /// Every problem that the text has: what is no TOML, unknown keys, wrong values, values that do not go together.
    pub fn from_toml(name: &str, text: &str) -> Result<Self, Problems> {
        read::read(name, text)
    }

    /// What a demonstration or a test runs with: the defaults, on free ports of loopback.
    #[must_use]
    pub fn ephemeral() -> Self {
        let mut config = Self::default();
        let listeners = config.sip.listen.iter_mut().chain(&mut config.msrp.listen);
        for addr in listeners
            .map(|l| &mut l.addr)
            .chain([&mut config.admin.listen])
        {
            addr.set_port(0);
        }
        config
    }

    /// The keys and sections that `new` changes and that a running server cannot take. It takes `drain_s` and `log.level`.
    #[must_use]
    pub fn restart_needed(&self, new: &Self) -> Vec<&'static str> {
        // Taken apart whole, so that a further key is not forgotten here.
        let Self {
            mode,
            domains,
            shards,
            host,
            drain: _,
            open,
            sip,
            msrp,
            store,
            admin,
            policy,
            io,
            limits,
            log: Log { level: _, format },
            users,
        } = self;
        let rows = [
            ("mode", *mode != new.mode),
            ("domains", *domains != new.domains),
            ("shards", *shards != new.shards),
            ("host", *host != new.host),
            ("open", *open != new.open),
            ("sip", *sip != new.sip),
            ("msrp", *msrp != new.msrp),
            ("store", *store != new.store),
            ("admin", *admin != new.admin),
            ("policy", *policy != new.policy),
            ("io", *io != new.io),
            ("limits", *limits != new.limits),
            ("log.format", *format != new.log.format),
            ("user", *users != new.users),
        ];
        let changed = rows.into_iter().filter(|(_, changed)| *changed);
        changed.map(|(key, _)| key).collect()
    }

    /// The number of shards on a machine that lets us run on `cores`: as configured, else one a core, 64 at most.
    #[must_use]
    pub fn shard_count(&self, cores: usize) -> u8 {
        self.shards.unwrap_or_else(|| {
            u8::try_from(cores.clamp(1, SHARDS_MAX.into())).unwrap_or(SHARDS_MAX)
        })
    }
}

/// Shards of one process: their number has a byte in what we hand out, and a set of them is one word.
pub const SHARDS_MAX: u8 = 64;
