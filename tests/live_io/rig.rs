//! A driver on a thread of its own, and a world that does what its plan says with what comes in.

use std::{collections::VecDeque, net::SocketAddr, rc::Rc, thread::JoinHandle};

use ringfork::{
    buf::{Outbox, Slice},
    ids::{ConnId, ShardId, SocketId},
    io::{Clock, Counters, Driver, Features, Hub, Post, Settings, Waker, listen},
    shard::{ConnectError, Effect, End, World},
    time::Instant,
};
use slotmap::SlotMap;

/// What a test changes.
#[derive(Clone, Debug)]
pub(crate) struct Tune {
    pub(crate) settings: Settings,
    pub(crate) features: Features,
}

impl Tune {
    pub(crate) fn new(features: Features) -> Self {
        let settings = Settings {
            connections: 1024,
            ..Settings::default()
        };
        Self { settings, features }
    }

    /// With everything that this kernel has, and with what Linux 6.1 has.
    pub(crate) fn both() -> [Self; 2] {
        [Self::new(Features::all()), Self::new(Features::NONE)]
    }
}

/// A world that records what it is told and echoes.
pub(crate) struct Echo {
    pub(crate) names: SlotMap<ConnId, ()>,
    pub(crate) outbox: Outbox,
    pub(crate) effects: VecDeque<Effect>,
    pub(crate) settled: bool,
    pub(crate) ended: Vec<(ConnId, End)>,
}

impl Echo {
    pub(crate) fn new() -> Self {
        Self {
            names: SlotMap::with_key(),
            outbox: Outbox::new(64 << 20),
            effects: VecDeque::new(),
            settled: false,
            ended: Vec::new(),
        }
    }
}

impl World for Echo {
    fn accepted(
        &mut self,
        _: Instant,
        _: SocketId,
        _: SocketAddr,
        _: SocketAddr,
    ) -> Option<ConnId> {
        let id = self.names.insert(());
        self.outbox.add(id);
        Some(id)
    }

    fn adopted(
        &mut self,
        now: Instant,
        socket: SocketId,
        local: SocketAddr,
        peer: SocketAddr,
        bytes: &[u8],
    ) -> Option<ConnId> {
        let id = self.accepted(now, socket, local, peer)?;
        self.received(now, id, Slice::copied(bytes));
        Some(id)
    }

    fn settled(&self, _: ConnId) -> bool {
        self.settled
    }

    fn connected(&mut self, _: Instant, _: ConnId, _: Result<SocketAddr, ConnectError>) {}

    fn received(&mut self, _: Instant, conn: ConnId, bytes: Slice) {
        self.settled = true;
        self.outbox.shared(conn, bytes);
    }

    fn ended(&mut self, _: Instant, conn: ConnId, how: End) {
        self.ended.push((conn, how));
        self.names.remove(conn);
        self.outbox.remove(conn);
    }

    fn datagram(&mut self, _: Instant, socket: SocketId, from: SocketAddr, bytes: Slice) {
        self.effects.push_back(Effect::Datagram {
            socket,
            to: from,
            bytes: Rc::from(&*bytes),
        });
    }

    fn drained(&mut self, _: Instant, _: ConnId) {}
    fn mail(&mut self, _: Instant) {}
    fn due(&mut self, _: Instant) {}

    fn next_due(&self) -> Option<Instant> {
        None
    }

    fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    fn pressure(&mut self, _: Instant, _: usize, _: usize) {}

    fn take_wakes(&mut self) -> u64 {
        0
    }
}

pub(crate) struct Report {
    pub(crate) counters: Counters,
}

pub(crate) struct Rig {
    pub(crate) addr: SocketAddr,
    waker: Waker,
    thread: JoinHandle<Report>,
}

impl Rig {
    pub(crate) fn echo(tune: Tune) -> Self {
        let sockets =
            listen::open(listen::Transport::Tcp, "127.0.0.1:0".parse().unwrap(), 1).unwrap();
        let addr = sockets[0].local;
        let hub = Hub::new(1).unwrap();
        let waker = hub.waker(ShardId(0)).unwrap();
        let thread = std::thread::spawn(move || {
            let post = Post {
                shard: ShardId(0),
                hub,
                clock: Clock::start(),
                settings: tune.settings,
                features: tune.features,
            };
            let mut driver = Driver::new(post, sockets, Echo::new()).unwrap();
            driver.run().unwrap();
            Report {
                counters: driver.counters(),
            }
        });
        Self {
            addr,
            waker,
            thread,
        }
    }

    pub(crate) fn stop(self) -> Report {
        self.waker.stop();
        self.thread.join().unwrap()
    }
}
