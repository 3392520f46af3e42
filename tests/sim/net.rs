//! The network of a simulation: datagrams and streams between shards and peers, one virtual clock, faults from the seed.
//!
//! A stream delivers in order what was sent, cut anywhere; it may stall, and be reset. A datagram may be lost, doubled,
//! late, and so reordered. Nothing here knows a protocol.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, VecDeque},
    net::SocketAddr,
    time::Duration,
};

use rand::{RngExt as _, SeedableRng, rngs::ChaCha12Rng};
use ringfork::{
    ids::{ConnId, ShardId},
    time::Instant,
};

/// A side of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// A connection of a shard.
    Shard(ShardId, ConnId),
    /// A connection on its way from one shard to another: what arrives waits.
    Moving,
    /// A peer of the lab, by its number.
    Peer(usize),
    /// Closed by this side.
    Gone,
}

/// The number of a stream, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StreamId(pub(crate) usize);

/// How often what goes wrong, in 1,000.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Faults {
    pub(crate) lose: u32,
    pub(crate) double: u32,
    pub(crate) late: u32,
    pub(crate) stall: u32,
    pub(crate) reset: u32,
    /// A connection that a shard opens does not come up.
    pub(crate) refuse: u32,
    /// After a turn its shard is away for a while: what comes meanwhile waits for one turn.
    pub(crate) away: u32,
    /// For how long at most, most times, in microseconds.
    pub(crate) away_us: usize,
}

/// What happened, and how often.
pub(crate) type Seen = BTreeMap<&'static str, u64>;

/// Something that happens at a time.
#[derive(Debug)]
pub(crate) enum Happening {
    Datagram {
        from: SocketAddr,
        to: SocketAddr,
        bytes: Vec<u8>,
    },
    /// A stream that `side` 0 asked for arrives at its listener.
    Opened { stream: StreamId },
    /// Bytes for this side of the stream.
    Bytes {
        stream: StreamId,
        side: usize,
        bytes: Vec<u8>,
    },
    /// The other side has closed or reset.
    Ended {
        stream: StreamId,
        side: usize,
        reset: bool,
    },
    /// A handed-over connection arrives at its new shard.
    Adopt {
        stream: StreamId,
        side: usize,
        to: ShardId,
        bytes: Vec<u8>,
    },
    /// The network cuts a stream: both sides hear a reset.
    Cut { stream: StreamId },
    /// A stream that side 0 asked for is made, as far as that side knows.
    Made { stream: StreamId },
    /// Mail waits for a shard.
    Mail { from: ShardId, to: ShardId },
    /// A shard has a turn.
    Turn { shard: ShardId },
    /// A peer's own alarm.
    Alarm { peer: usize, token: u64 },
}

struct At(Instant, u64, Happening);

impl PartialEq for At {
    fn eq(&self, o: &Self) -> bool {
        (self.0, self.1) == (o.0, o.1)
    }
}
impl Eq for At {}
impl PartialOrd for At {
    fn partial_cmp(&self, o: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(o))
    }
}
impl Ord for At {
    fn cmp(&self, o: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(o.0, o.1))
    }
}

/// One direction's receiver.
#[derive(Debug)]
pub(crate) struct Half {
    pub(crate) who: Side,
    pub(crate) addr: SocketAddr,
    /// Bytes sent towards this side and not delivered yet.
    pub(crate) in_flight: usize,
    /// No byte arrives before this.
    next_at: Instant,
    /// Delivered but not read: paused, or moving.
    pub(crate) waiting: VecDeque<Vec<u8>>,
    pub(crate) paused: bool,
    /// The other side's end, by reset or not, that comes behind what waits.
    pub(crate) ended: Option<bool>,
    /// The sender of the other side was told that no more fits, and waits to hear that it does.
    pub(crate) wants_room: bool,
}

/// A stream between two sides; side 0 connected, side 1 listened.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) half: [Half; 2],
    /// Its peer's half of the MSRP sessions on it.
    pub(crate) media: Media,
}

/// What the peers of a stream keep of it: one peer mostly, several where their sessions share a connection.
#[derive(Debug, Default)]
pub(crate) struct Media {
    /// Peers whose sessions are on it now.
    pub(crate) peers: Vec<usize>,
    /// It had several once: a frame may be for one that has left.
    pub(crate) shared: bool,
    /// What has come and is no whole frame yet.
    pub(crate) input: Vec<u8>,
    /// What is written and has no room yet.
    pub(crate) out: Vec<u8>,
}

/// Bytes that fit in a direction of a stream before its sender must wait.
const WINDOW: usize = 48 * 1024;

/// The network.
pub(crate) struct Net {
    pub(crate) now: Instant,
    pub(crate) rng: ChaCha12Rng,
    pub(crate) faults: Faults,
    /// What happened, and how often.
    pub(crate) seen: Seen,
    traces: bool,
    last_arrival: BTreeMap<(SocketAddr, SocketAddr), Instant>,
    queue: BinaryHeap<Reverse<At>>,
    serial: u64,
    pub(crate) streams: Vec<Stream>,
    /// The last MSRP connection that somebody of each group has made.
    pub(crate) groups: BTreeMap<usize, StreamId>,
}

impl Net {
    pub(crate) fn new(seed: u64, faults: Faults) -> Self {
        Self {
            now: Instant::from_nanos(1_000_000_000),
            rng: ChaCha12Rng::seed_from_u64(seed),
            faults,
            seen: Seen::new(),
            traces: std::env::var_os("TRACE").is_some(),
            last_arrival: BTreeMap::new(),
            queue: BinaryHeap::new(),
            serial: 0,
            streams: Vec::new(),
            groups: BTreeMap::new(),
        }
    }

    /// Whether a fault of this many in 1,000 happens now.
    pub(crate) fn chance(&mut self, per_mille: u32) -> bool {
        per_mille > 0 && self.rng.random_range(0..1000) < per_mille
    }

    pub(crate) fn at(&mut self, at: Instant, what: Happening) {
        self.serial += 1;
        self.queue
            .push(Reverse(At(at.max(self.now), self.serial, what)));
    }

    pub(crate) fn after(&mut self, d: Duration, what: Happening) {
        self.at(self.now + d, what);
    }

    /// The next thing that happens; moves the clock.
    pub(crate) fn next(&mut self, until: Instant) -> Option<Happening> {
        if self.queue.peek().is_none_or(|Reverse(at)| at.0 > until) {
            self.now = until;
            return None;
        }
        let Reverse(At(at, _, what)) = self.queue.pop()?;
        self.now = at;
        Some(what)
    }

    fn latency(&mut self) -> Duration {
        Duration::from_micros(self.rng.random_range(50..3_000))
    }

    pub(crate) fn send_datagram(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        let copies = if self.chance(self.faults.lose) {
            self.saw("datagram lost");
            0
        } else if self.chance(self.faults.double) {
            self.saw("datagram doubled");
            2
        } else {
            1
        };
        for _ in 0..copies {
            let mut d = self.latency();
            if self.chance(self.faults.late) {
                self.saw("datagram late");
                d += Duration::from_millis(self.rng.random_range(5..900));
            }
            let arrives = self.now + d;
            let before = self.last_arrival.entry((from, to)).or_insert(arrives);
            let overtakes = arrives < *before;
            *before = arrives.max(*before);
            if overtakes {
                self.saw("datagram overtaken");
            }
            self.after(
                d,
                Happening::Datagram {
                    from,
                    to,
                    bytes: bytes.to_vec(),
                },
            );
        }
    }

    /// A stream from `who` at `from` to the listener at `to`; the listener hears of it by `Opened`.
    pub(crate) fn connect(&mut self, who: Side, from: SocketAddr, to: SocketAddr) -> StreamId {
        let half = |who, addr| Half {
            who,
            addr,
            in_flight: 0,
            next_at: Instant::START,
            waiting: VecDeque::new(),
            paused: false,
            ended: None,
            wants_room: false,
        };
        let id = StreamId(self.streams.len());
        self.streams.push(Stream {
            half: [half(who, from), half(Side::Moving, to)],
            media: Media::default(),
        });
        let d = self.latency();
        self.after(d, Happening::Opened { stream: id });
        // SIP streams are left alone: what a peer of ours says there is said once.
        if to.port() != 5060 && self.chance(self.faults.reset) {
            let d = Duration::from_millis(self.rng.random_range(1..15_000));
            self.after(d, Happening::Cut { stream: id });
        }
        id
    }

    /// How many bytes the sender on `side` could send now.
    pub(crate) fn room(&self, stream: StreamId, side: usize) -> usize {
        let to = &self.streams[stream.0].half[1 - side];
        let held: usize = to.waiting.iter().map(Vec::len).sum();
        WINDOW.saturating_sub(to.in_flight + held)
    }

    /// Whether the sender on `side` waits for room, and there is enough to tell it: half of what fits.
    pub(crate) fn take_room(&mut self, stream: StreamId, side: usize) -> bool {
        let enough = self.room(stream, side) >= WINDOW / 2;
        let to = &mut self.streams[stream.0].half[1 - side];
        enough && std::mem::take(&mut to.wants_room)
    }

    /// Sends from `side`, as much as fits; the number of bytes taken.
    pub(crate) fn send(&mut self, stream: StreamId, side: usize, bytes: &[u8]) -> usize {
        let mut take = self.room(stream, side).min(bytes.len());
        // Now and then a socket takes less than it could.
        if take > 1 && self.chance(20) {
            take = self.rng.random_range(1..take);
            self.saw("short write");
        }
        if take < bytes.len() {
            self.streams[stream.0].half[1 - side].wants_room = true;
        }
        let mut stall = Duration::ZERO;
        if self.chance(self.faults.stall) {
            self.saw("stream stalled");
            stall = Duration::from_millis(self.rng.random_range(5..1_500));
        }
        let mut rest = &bytes[..take];
        // Into crumbs, where that is not a matter of thousands.
        let cut_much = take < 4_000 && self.chance(150);
        while !rest.is_empty() {
            let n = if cut_much {
                self.rng.random_range(1..=rest.len().min(40))
            } else {
                self.rng.random_range(1..=rest.len())
            };
            let d =
                Duration::from_micros(self.rng.random_range(1..400)) + std::mem::take(&mut stall);
            let now = self.now;
            let to = &mut self.streams[stream.0].half[1 - side];
            let at = to.next_at.max(now) + d;
            to.next_at = at;
            to.in_flight += n;
            let piece = rest[..n].to_vec();
            rest = &rest[n..];
            self.at(
                at,
                Happening::Bytes {
                    stream,
                    side: 1 - side,
                    bytes: piece,
                },
            );
        }
        take
    }

    /// `side` closes: the other side hears it after all that was sent, or at once by a reset.
    pub(crate) fn close(&mut self, stream: StreamId, side: usize, reset: bool) {
        self.streams[stream.0].half[side].who = Side::Gone;
        self.streams[stream.0].half[side].waiting.clear();
        let now = self.now;
        let to = &mut self.streams[stream.0].half[1 - side];
        let at = if reset { now } else { to.next_at.max(now) } + Duration::from_micros(300);
        self.at(
            at,
            Happening::Ended {
                stream,
                side: 1 - side,
                reset,
            },
        );
    }

    /// Counts something that a run should have seen.
    pub(crate) fn saw(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    /// Says what happens, where somebody reads it: `TRACE=1 SEED=7 cargo sim`.
    pub(crate) fn trace(&self, what: impl FnOnce() -> String) {
        if self.traces {
            println!("{:?} {}", self.now, what());
        }
    }

    pub(crate) fn pick(&mut self, n: usize) -> usize {
        self.rng.random_range(0..n)
    }
}
