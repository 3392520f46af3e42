//! What the endpoint is told, and what it tells: the types between it, the session room and the shard.

use std::{net::SocketAddr, rc::Rc, time::Duration};

use super::Trusted;
use crate::ids::{ConnId, LegId, ServerTxnId, SessionId, ShardId, SocketId};

/// The way that a message came, and that its responses go back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flow {
    /// A datagram.
    Udp {
        /// The socket that it came to (or leaves from).
        socket: SocketId,
        /// The other side.
        peer: SocketAddr,
    },
    /// A stream connection, maybe of another shard (one flow is the normal case in an IMS: design §2).
    Stream {
        /// The shard that owns the connection.
        home: ShardId,
        /// The connection, in that shard's names.
        conn: ConnId,
        /// The other side.
        peer: SocketAddr,
    },
}

impl Flow {
    /// The other side.
    #[must_use]
    pub const fn peer(self) -> SocketAddr {
        match self {
            Self::Udp { peer, .. } | Self::Stream { peer, .. } => peer,
        }
    }

    /// Whether the other side is the host of an address.
    #[must_use]
    pub fn is_of(self, addr: SocketAddr) -> bool {
        self.peer().ip().to_canonical() == addr.ip().to_canonical()
    }
}

/// An address and the transport to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    /// The address.
    pub addr: SocketAddr,
    /// By TCP; else by UDP.
    pub tcp: bool,
}

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Over this very flow and no other way (RFC 5626): where it is closed, nobody can be reached.
    Flow(Flow),
    /// Over this stream while it is open, else to where the URI says: never to the port that the stream came from
    /// (settled.md 36).
    Reuse {
        /// The stream.
        flow: Flow,
        /// What the URI says.
        or: Hop,
    },
    /// To this address by UDP; by TCP where the request is too large for a datagram [SIP-TXN-10], back to UDP if refused.
    Udp(SocketAddr),
    /// To this address by TCP; an open connection to it is used again.
    Tcp(SocketAddr),
}

impl Target {
    /// The address that it goes to first.
    #[must_use]
    pub const fn ip(&self) -> std::net::IpAddr {
        match self {
            Self::Flow(flow) | Self::Reuse { flow, .. } => match flow {
                Flow::Udp { peer, .. } | Flow::Stream { peer, .. } => peer.ip(),
            },
            Self::Udp(addr) | Self::Tcp(addr) => addr.ip(),
        }
    }

    /// Whether its first way is a stream.
    #[must_use]
    pub const fn is_stream(self) -> bool {
        match self {
            Self::Flow(Flow::Stream { .. })
            | Self::Reuse {
                flow: Flow::Stream { .. },
                ..
            }
            | Self::Tcp(_) => true,
            Self::Reuse { or, .. } => or.tcp,
            Self::Flow(Flow::Udp { .. }) | Self::Udp(_) => false,
        }
    }

    /// The address that a connection may be opened to, or a datagram sent, when its flow is no more.
    #[must_use]
    pub const fn hop(self) -> Option<Hop> {
        match self {
            Self::Flow(_) => None,
            Self::Reuse { or, .. } => Some(or),
            Self::Udp(addr) => Some(Hop { addr, tcp: false }),
            Self::Tcp(addr) => Some(Hop { addr, tcp: true }),
        }
    }
}

impl From<Hop> for Target {
    fn from(hop: Hop) -> Self {
        if hop.tcp {
            Self::Tcp(hop.addr)
        } else {
            Self::Udp(hop.addr)
        }
    }
}

/// A socket that listens for SIP, for Via and Contact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listening {
    /// Its name.
    pub socket: SocketId,
    /// Stream or datagram.
    pub tcp: bool,
    /// The address that others reach it by.
    pub addr: SocketAddr,
}

/// The bounds and choices of the endpoint; from `Config` and `Limits`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The shard that runs it: part of each branch and tag that it mints.
    pub shard: ShardId,
    /// Our name in Via, Contact and Warning; `None`: the listening address.
    pub host: Option<String>,
    /// What we listen on.
    pub listening: Vec<Listening>,
    /// T1 (RFC 3261 §17.1.1.1); T2 is 4 s, T4 5 s, as the RFC has them.
    pub t1: Duration,
    /// Server transactions that this shard keeps, half of them for those who are not registered; over it a request is answered and
    /// not kept (a repeat is answered anew). What cannot be answered at once finds a quarter more places; over that it gets 503
    /// with Retry-After.
    pub servers_max: usize,
    /// Bytes that they hold beside their places in the tables, by the same shares.
    pub servers_bytes: usize,
    /// INVITEs and other first requests of ours that are under way; over it a further one counts as 503. What ends something
    /// has as many again.
    pub clients_max: usize,
    /// Bytes that requests of ours hold while they may have to be sent again; a quarter is for what ends something.
    pub clients_bytes: usize,
    /// Whose `maddr` is followed (settled.md 42), and who has no share as a source: a core is one source.
    pub trusted: Trusted,
    /// User-Agent and Server (cpm-notes.md §7).
    pub product: String,
}

/// The bounds and choices of a registrar.
#[derive(Clone, Debug)]
pub struct RegistrarSettings {
    /// The domains whose users may register.
    pub domains: Vec<String>,
    /// Users with a password: address of record and password. Others register without.
    pub users: Vec<(String, String)>,
    /// Contacts in all; over it 503.
    pub registrations_max: usize,
    /// Contacts of one user; over it 403.
    pub contacts_max: usize,
    /// Bytes of all contacts, with what is kept beside each; over it 503, and for a source of strangers over half of what is free.
    pub bytes_max: usize,
    /// Contacts that came from one source address; over it 503. `None`: no limit.
    pub source_max: Option<usize>,
    /// Whose Contacts are taken as they are written (settled.md 42).
    pub trusted: Trusted,
    /// The shortest expiry; less gets 423.
    pub min_expires: Duration,
    /// The longest expiry; more is shortened.
    pub max_expires: Duration,
}

impl RegistrarSettings {
    /// Min-Expires 60 s, at most a day, 32 contacts a user, 100,000 in all.
    #[must_use]
    pub fn new(domains: Vec<String>) -> Self {
        Self {
            domains,
            users: Vec::new(),
            registrations_max: 100_000,
            contacts_max: 32,
            bytes_max: 64 << 20,
            source_max: None,
            trusted: Trusted::default(),
            min_expires: Duration::from_secs(60),
            max_expires: Duration::from_secs(86_400),
        }
    }
}

/// What a client transaction belongs to; the endpoint stores it and gives it back, unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TxnRef {
    /// Whose request it is.
    pub session: SessionId,
    /// On which leg.
    pub leg: LegId,
    /// Which of the leg's requests: its CSeq number, which grows by one a request.
    pub cseq: u32,
}

/// A request that goes out: everything but the topmost Via, which the endpoint adds with a fresh branch.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Whose it is.
    pub of: TxnRef,
    /// Where to.
    pub target: Target,
    /// What its branch says of the request that it follows from, to know that again when it comes back (RFC 3261 §16.6
    /// point 8): 30 bits. 0: of none.
    pub key: u32,
    /// Request line, headers from behind Via on, blank line, body: complete but for Via.
    pub message: Vec<u8>,
}

/// A response that goes out: status, and what follows the headers that the endpoint copies from the request (Via, From, To
/// with our tag, Call-ID, CSeq; Record-Route in 1xx and 2xx of INVITE).
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// The status code.
    pub code: u16,
    /// Our To-tag where the request had none; empty: the endpoint makes one (100 gets none).
    pub tag: Vec<u8>,
    /// Further headers, each with its CRLF.
    pub headers: Vec<u8>,
    /// Content-Type and body.
    pub body: Option<(&'static str, Vec<u8>)>,
    /// Why it is this, for logs and metrics; it is not sent. Empty: its status says all.
    pub why: &'static str,
}

/// A final answer of ours, for logs and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note {
    /// Whose request it was; `None`: of no session.
    pub about: Option<(SessionId, LegId)>,
    /// Whom it was given to.
    pub peer: SocketAddr,
    /// What was asked.
    pub method: &'static str,
    /// The status code.
    pub code: u16,
    /// Why it is that.
    pub why: &'static str,
}

/// What the endpoint tells its user.
#[derive(Clone, Debug)]
pub enum Event {
    /// A new request: not a retransmission, not merged, well-formed, Max-Forwards not spent. It must be answered by
    /// `respond` (100 Trying goes out by itself for an INVITE).
    Request {
        /// The transaction to answer.
        txn: ServerTxnId,
        /// The way it came.
        flow: Flow,
        /// The whole message, topmost Via already with received and rport.
        message: Rc<[u8]>,
    },
    /// An ACK of a 2xx (no transaction).
    Ack {
        /// The way it came.
        flow: Flow,
        /// The whole message.
        message: Rc<[u8]>,
    },
    /// A CANCEL has met this pending INVITE; the CANCEL is answered, the INVITE is still to be (487).
    Cancelled {
        /// The INVITE.
        txn: ServerTxnId,
        /// The CANCEL (its Reason).
        message: Rc<[u8]>,
    },
    /// A server transaction ended badly: no ACK to a non-2xx final response, or its flow is gone.
    ServerFailed {
        /// Which.
        txn: ServerTxnId,
    },
    /// A response to a request of ours: each provisional, each final one, each repeated 2xx of an INVITE (RFC 6026).
    Response {
        /// Whose.
        of: TxnRef,
        /// The way it came.
        flow: Flow,
        /// The request had a To-tag: it was of a dialog.
        in_dialog: bool,
        /// The whole message, our Via still on top.
        message: Rc<[u8]>,
    },
    /// No final response in time (timer B or F): as 408.
    TimedOut {
        /// Whose.
        of: TxnRef,
    },
    /// It could not be sent (ICMP, refused, lost connection): as 503.
    Unreachable {
        /// Whose.
        of: TxnRef,
    },
}

/// What the endpoint asks of the shard.
#[derive(Clone, Debug)]
pub enum Output {
    /// Send a datagram.
    Datagram {
        /// From this socket.
        socket: SocketId,
        /// To here.
        to: SocketAddr,
        /// The whole message.
        bytes: Rc<[u8]>,
    },
    /// Queue on a stream, here or at the shard that owns it.
    Stream {
        /// The owner.
        home: ShardId,
        /// The connection.
        conn: ConnId,
        /// The whole message.
        bytes: Rc<[u8]>,
    },
    /// Open a connection; the shard answers with `handle_connecting(to, conn)`, then `handle_connected`; messages for
    /// it are handed out as `Stream` after that.
    Connect {
        /// Where to.
        to: SocketAddr,
    },
    /// Close a connection of this shard.
    Close {
        /// Which.
        conn: ConnId,
    },
}

/// What the endpoint holds and has seen; for gauges and counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Client transactions (gauge).
    pub clients: usize,
    /// Server transactions (gauge).
    pub servers: usize,
    /// Stream connections that the endpoint knows of (gauge).
    pub connections: usize,
    /// Timers that are set (gauge).
    pub timers: usize,
    /// Bytes that transactions hold beside their places, and what waits for a connection without one (gauge).
    pub bytes: usize,
    /// Messages that could not be read; answered 400 where they let themselves be answered.
    pub malformed: u64,
    /// Responses that belong to no transaction: dropped.
    pub strays: u64,
    /// Requests refused with 503 because the tables were full.
    pub refused: u64,
    /// Requests whose answer was given and not kept: they were over their share.
    pub passed: u64,
    /// Answers that no datagram could carry: others went in their place.
    pub unsendable: u64,
    /// Requests of ours that were not sent because the tables were full.
    pub unsent: u64,
    /// Requests or responses that were sent again by a timer.
    pub retransmitted: u64,
    /// Requests that came again and were absorbed or answered with the last response.
    pub repeated: u64,
}
