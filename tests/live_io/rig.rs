//! A driver, a world that does what a test tells it to with what comes in, and the loop between them.

use std::{
    cell::Cell,
    collections::{BTreeSet, VecDeque},
    io::{Read, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    rc::Rc,
    sync::mpsc::Sender,
    time::Duration,
};

use ringfork::{
    buf::{Outbox, Slice},
    ids::{ConnId, ShardId, SocketId},
    io::{Clock, Driver, Features, Hub, Post, Settings, listen},
    shard::{ConnectError, Effect, End, World},
    time::Instant,
};
use slotmap::SlotMap;

/// What a test's world does with received bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Sends them back, uncopied.
    Echo,
    /// Holds on to the slices.
    Keep,
    /// Copies them down.
    Note,
    /// Sends them back and closes in order.
    EchoThenClose,
    /// Gives the connection to that shard.
    Give(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Accepted(ConnId),
    Adopted(ConnId),
    Connected(ConnId, Result<SocketAddr, ConnectError>),
    Ended(ConnId, End),
    Drained(ConnId),
    Pressure(usize, usize),
    Mail,
}

#[derive(Default)]
pub(crate) struct Kept {
    pub(crate) bytes: Vec<u8>,
    pub(crate) slices: Vec<Slice>,
}

/// A world by script.
pub(crate) struct Script {
    pub(crate) mode: Mode,
    /// Whether connections get a multishot receive.
    pub(crate) settled: bool,
    pub(crate) names: SlotMap<ConnId, Kept>,
    pub(crate) outbox: Outbox,
    pub(crate) effects: VecDeque<Effect>,
    pub(crate) events: Vec<Event>,
    /// Each `received`: when, whose, how much.
    pub(crate) log: Option<Vec<(Instant, ConnId, usize)>>,
    pub(crate) datagrams: Vec<Slice>,
    /// Whether connections carry signalling.
    pub(crate) signals: bool,
    /// Letters that wait.
    pub(crate) letters: usize,
    /// Whether bytes of any connection take their time.
    pub(crate) slow: bool,
    /// What a datagram takes, a letter, and bytes of a connection that signals; and the turn of each.
    pub(crate) takes: Option<Duration>,
    pub(crate) heard: Vec<Instant>,
    pub(crate) wakes: u64,
    pub(crate) due: Option<Instant>,
    pub(crate) dues: u32,
    pub(crate) total: u64,
    /// The pages that received bytes lay in.
    pub(crate) pages: Option<BTreeSet<usize>>,
    /// Hears of every call of `mail`.
    pub(crate) mailed: Option<Sender<()>>,
}

impl Script {
    pub(crate) fn new(mode: Mode) -> Self {
        Self {
            mode,
            settled: true,
            signals: false,
            letters: 0,
            slow: false,
            names: SlotMap::with_key(),
            outbox: Outbox::new(64 << 20),
            effects: VecDeque::new(),
            events: Vec::with_capacity(1024),
            log: None,
            datagrams: Vec::new(),
            takes: None,
            heard: Vec::new(),
            wakes: 0,
            due: None,
            dues: 0,
            total: 0,
            pages: None,
            mailed: None,
        }
    }

    /// A piece of work that takes its time, if the test says so.
    fn spend(&mut self, now: Instant) {
        if let Some(takes) = self.takes {
            self.heard.push(now);
            #[expect(clippy::disallowed_methods, reason = "a world that takes its time")]
            std::thread::sleep(takes);
        }
    }

    pub(crate) fn accepted_ids(&self) -> Vec<ConnId> {
        self.events
            .iter()
            .filter_map(|e| match e {
                Event::Accepted(id) | Event::Adopted(id) => Some(*id),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn has(&self, event: Event) -> bool {
        self.events.contains(&event)
    }
}

impl World for Script {
    fn accepted(
        &mut self,
        _: Instant,
        _: SocketId,
        local: SocketAddr,
        peer: SocketAddr,
    ) -> Option<ConnId> {
        assert_ne!(local, peer);
        let id = self.names.insert(Kept::default());
        self.outbox.add(id);
        self.events.push(Event::Accepted(id));
        Some(id)
    }

    fn adopted(
        &mut self,
        now: Instant,
        _: SocketId,
        _: SocketAddr,
        _: SocketAddr,
        bytes: &[u8],
    ) -> Option<ConnId> {
        let id = self.names.insert(Kept::default());
        self.outbox.add(id);
        self.events.push(Event::Adopted(id));
        self.received(now, id, Slice::copied(bytes));
        Some(id)
    }

    fn settled(&self, _: ConnId) -> bool {
        self.settled
    }

    fn connected(&mut self, _: Instant, conn: ConnId, outcome: Result<SocketAddr, ConnectError>) {
        self.events.push(Event::Connected(conn, outcome));
    }

    fn received(&mut self, now: Instant, conn: ConnId, bytes: Slice) {
        assert!(
            self.names.contains_key(conn),
            "bytes for a connection that is over"
        );
        if let Some(log) = &mut self.log {
            log.push((now, conn, bytes.len()));
        }
        if self.slow {
            self.spend(now);
        }
        let Some(kept) = self.names.get_mut(conn) else {
            return;
        };
        self.total += bytes.len() as u64;
        if let Some(pages) = &mut self.pages {
            let lies = bytes.as_ptr_range();
            pages.extend((lies.start as usize >> 12)..=(lies.end as usize - 1) >> 12);
        }
        match self.mode {
            Mode::Echo => self.outbox.shared(conn, bytes),
            Mode::Keep => kept.slices.push(bytes),
            Mode::Note => kept.bytes.extend_from_slice(&bytes),
            Mode::EchoThenClose => {
                self.outbox.shared(conn, bytes);
                self.effects.push_back(Effect::Close { conn, flush: true });
            }
            Mode::Give(to) => {
                self.names.remove(conn);
                self.outbox.remove(conn);
                self.effects.push_back(Effect::HandOver {
                    conn,
                    to: ShardId(to),
                    bytes: bytes.to_vec(),
                });
            }
        }
    }

    fn ended(&mut self, _: Instant, conn: ConnId, how: End) {
        assert!(self.names.remove(conn).is_some(), "it ends once");
        self.outbox.remove(conn);
        if self.events.len() < self.events.capacity() {
            self.events.push(Event::Ended(conn, how));
        }
    }

    fn datagram(&mut self, now: Instant, socket: SocketId, from: SocketAddr, bytes: Slice) {
        self.spend(now);
        if self.mode == Mode::Echo {
            self.effects.push_back(Effect::Datagram {
                socket,
                to: from,
                bytes: Rc::from(&*bytes),
            });
        } else {
            self.datagrams.push(bytes);
        }
    }

    fn drained(&mut self, _: Instant, conn: ConnId) {
        self.events.push(Event::Drained(conn));
    }

    fn signals(&self, _: ConnId) -> bool {
        self.signals
    }

    fn mail(&mut self, now: Instant) -> bool {
        self.events.push(Event::Mail);
        if let Some(mailed) = &self.mailed {
            let _ = mailed.send(());
        }
        if self.letters == 0 {
            return false;
        }
        self.letters -= 1;
        self.spend(now);
        self.letters > 0
    }

    fn due(&mut self, now: Instant) {
        assert!(self.due.is_some_and(|at| at <= now), "not before its time");
        self.due = None;
        self.dues += 1;
    }

    fn next_due(&self) -> Option<Instant> {
        self.due
    }

    fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    fn pressure(&mut self, _: Instant, pinned: usize, total: usize) {
        self.events.push(Event::Pressure(pinned, total));
    }

    fn take_wakes(&mut self) -> u64 {
        std::mem::take(&mut self.wakes)
    }
}

/// A driver on the test's own thread, turned while something is waited for.
pub(crate) struct Rig {
    pub(crate) driver: Driver<Script>,
    pub(crate) tcp: SocketAddr,
    pub(crate) udp: SocketAddr,
}

pub(crate) fn settings() -> Settings {
    Settings {
        connections: 256,
        stream_buffers: (32, 256 << 10),
        classic_buffers: (512, 16 << 10),
        datagram_buffers: (8, (64 << 10) + 64),
        ..Settings::default()
    }
}

/// With everything that this kernel has, and with what Linux 6.1 has.
pub(crate) fn both_ways() -> [Features; 2] {
    let found = ringfork::io::probe::check(&settings(), 1024).unwrap();
    [found.features, Features::NONE]
}

impl Rig {
    pub(crate) fn new(settings: Settings, features: Features, script: Script) -> Self {
        let hub = Hub::new(1).unwrap();
        let any = "127.0.0.1:0".parse().unwrap();
        let (udp, tcp) = listen::open_both(any, 1).unwrap();
        Self::at(hub, 0, settings, features, script, [tcp, udp])
    }

    pub(crate) fn at(
        hub: Hub,
        shard: u8,
        settings: Settings,
        features: Features,
        script: Script,
        sockets: [Vec<listen::Socket>; 2],
    ) -> Self {
        let [tcp, udp] = [sockets[0][0].local, sockets[1][0].local];
        let post = Post {
            shard: ShardId(shard),
            hub,
            clock: Clock::start(),
            settings,
            features,
        };
        let sockets = sockets.into_iter().flatten().collect();
        let driver = Driver::new(post, sockets, script).unwrap();
        Self { driver, tcp, udp }
    }

    /// Turns until `done` says so; fails after two seconds.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, mut done: impl FnMut(&mut Driver<Script>) -> bool) {
        let clock = Clock::start();
        while !done(&mut self.driver) {
            assert!(
                clock.now().as_nanos() < 2_000_000_000,
                "not in two seconds: {what}; {:?}; {:?}",
                self.driver.counters(),
                self.driver.world().events,
            );
            self.driver.turn(Some(Duration::from_millis(5))).unwrap();
        }
    }

    /// Turns for as long as it takes to see that nothing happens.
    pub(crate) fn idle(&mut self) {
        for _ in 0..10 {
            self.driver.turn(Some(Duration::from_millis(5))).unwrap();
        }
    }

    /// Turns while `body` runs on another thread, and gives its outcome.
    pub(crate) fn during<T: Send>(&mut self, body: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(body);
            let clock = Clock::start();
            while !thread.is_finished() {
                assert!(
                    clock.now().as_nanos() < 10_000_000_000,
                    "stuck: {:?}",
                    self.driver.counters()
                );
                self.driver.turn(Some(Duration::from_millis(5))).unwrap();
            }
            thread.join().unwrap()
        })
    }

    /// A client connection and the world's name for it.
    pub(crate) fn client(&mut self) -> (TcpStream, ConnId) {
        let before = self.driver.world().accepted_ids().len();
        let stream = client(self.tcp);
        self.until("accepted", |d| d.world().accepted_ids().len() > before);
        let id = self.driver.world().accepted_ids()[before];
        (stream, id)
    }

    pub(crate) fn datagram_client(&self) -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(self.udp).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(2)))
            .unwrap();
        socket
    }

    /// Queues bytes of the world's own for a connection, whatever waits already.
    pub(crate) fn say(&mut self, id: ConnId, bytes: &[u8]) {
        self.driver.world().outbox.whole(id, bytes).unwrap();
    }
}

/// A client whose reads end after two seconds.
pub(crate) fn client(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(2)))
        .unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Waits anew where the kernel's end of an earlier ring breaks off the wait.
pub(crate) fn patiently<T>(mut wait: impl FnMut() -> std::io::Result<T>) -> std::io::Result<T> {
    loop {
        match wait() {
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Bytes that tell where they belong: a counter from `seed` on.
pub(crate) fn pattern(seed: u32, len: usize) -> Vec<u8> {
    (seed..).flat_map(u32::to_le_bytes).take(len).collect()
}

/// What comes back for `bytes`, sent and read at the same time.
pub(crate) fn echoed(stream: &TcpStream, bytes: &[u8]) -> Vec<u8> {
    std::thread::scope(|scope| {
        scope.spawn(|| (&*stream).write_all(bytes).unwrap());
        let mut back = vec![0; bytes.len()];
        (&*stream).read_exact(&mut back).unwrap();
        back
    })
}

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// Counts the allocations of each thread.
pub(crate) struct Counting;

/// Allocations of the calling thread so far.
pub(crate) fn allocations() -> u64 {
    ALLOCATIONS.with(Cell::get)
}

#[allow(
    unsafe_code,
    reason = "an allocator is unsafe by its nature; this one counts and passes on"
)]
// SAFETY: the system's allocator, with a count beside it that allocates nothing itself.
unsafe impl std::alloc::GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: std::alloc::Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|n| n.set(n.get() + 1));
        // SAFETY: the caller's promise.
        unsafe { std::alloc::System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: std::alloc::Layout) {
        // SAFETY: the caller's promise.
        unsafe { std::alloc::System.dealloc(at, layout) }
    }
}
