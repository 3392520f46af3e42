//! One shard's loop: what the kernel says goes to the world, what the world asks goes to the kernel.
//!
//! The order of a turn stands in [`shard::edge`](crate::shard::World). Completions are taken from the ring all at once and
//! then run; sends are gathered, submitted together with everything else, and have come to their end when the wait begins.

/// An operation on a connection: by its slot in the file table where it has one, else by its descriptor.
macro_rules! on_target {
    ($conn:expr, $place:expr, $fd:ident => $entry:expr) => {
        if $conn.fixed {
            let $fd = types::Fixed($place.slot);
            $entry
        } else {
            let $fd = types::Fd($conn.fd.as_raw_fd());
            $entry
        }
    };
}

mod accept;
mod asked;
mod closing;
mod datagrams;
mod fair;
mod hear;
mod idle;
mod receive;
mod send;

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use io_uring::{cqueue, opcode, squeue, types};
use rustix::event::{EventfdFlags, eventfd};

use self::{accept::Listening, send::Batch};
use super::{
    clock::Clock,
    conns::Conns,
    counters::Counters,
    hub::Hub,
    listen::Socket,
    mem::BufferRing,
    ring::{Done, Ring},
    settings::{Feature, Features, Settings},
    token::{Kind, Place, pack, unpack},
};
use crate::{
    buf::Outbox,
    ids::{ConnId, ShardId},
    shard::World,
    time::Instant,
};

/// Buffer group of the stream connections.
const STREAMS: u16 = 0;
/// Buffer group of the datagram sockets.
const DATAGRAMS: u16 = 1;

/// Where a driver stands among its like: everything that is the same for all of a process but the number.
#[derive(Clone, Debug)]
pub struct Post {
    /// This shard.
    pub shard: ShardId,
    /// The desks of all.
    pub hub: Hub,
    /// The one clock.
    pub clock: Clock,
    /// Sizes and bounds.
    pub settings: Settings,
    /// What the kernel was found to have, less what is switched off.
    pub features: Features,
}

/// A shard's world on a shard's ring. Made and run by one thread.
pub struct Driver<W: World> {
    world: W,
    io: Io,
}

/// Everything of a driver but the world.
struct Io {
    post: Post,
    now: Instant,
    turn: u64,
    counters: Counters,
    conns: Conns,
    listening: Vec<Listening>,
    /// Given up and taken again to refuse a connection when no descriptor is left.
    spare: Option<OwnedFd>,
    /// When accepting is tried again after the descriptors ran out.
    accept_retry: Option<Instant>,
    datagram_header: Box<libc::msghdr>,
    connect_limit: Box<types::Timespec>,
    batch: Batch,
    done: Vec<Done>,
    /// Datagrams that wait for their turn.
    unheard: VecDeque<datagrams::Datagram>,
    /// Signalling streams of which something waits: those that say little, and the others.
    fresh: VecDeque<Place>,
    talkers: VecDeque<Place>,
    lane: hear::Lane,
    /// Connections that were accepted and wait to be taken in.
    arrivals: VecDeque<accept::Arrival>,
    /// Connections with received bytes that wait for their turn.
    rotation: VecDeque<Place>,
    /// Connections whose receive may have to be armed at the end of the turn.
    to_arm: Vec<Place>,
    heavy: fair::Heavy,
    starved: VecDeque<Place>,
    pressed: VecDeque<Place>,
    pinned_told: usize,
    deadlines: VecDeque<(Instant, Place)>,
    /// Connections that may have sent all they had to before they end.
    checks: Vec<Place>,
    drained: Vec<ConnId>,
    failed: Vec<Place>,
    /// Letters or connections may have come.
    mail: bool,
    /// Shards that connections were given to.
    wakes: u64,
    idle: idle::Idle,
    /// Descriptors that this turn's file table updates point to.
    table: Vec<i32>,
    streams: BufferRing,
    datagrams: BufferRing,
    ring: Ring,
}

impl<W: World> Driver<W> {
    /// A driver on the calling thread. `sockets` in the order of their [`SocketId`](crate::ids::SocketId)s.
    ///
    /// # Errors
    /// The ring or its memory cannot be had; [`probe`](super::probe) says why before it comes to this.
    pub fn new(post: Post, sockets: Vec<Socket>, world: W) -> io::Result<Self> {
        let Post {
            settings, features, ..
        } = &post;
        let mut ring = Ring::new(settings, *features)?;
        let incremental = features.has(Feature::Incremental);
        let sizes = if incremental {
            settings.stream_buffers
        } else {
            settings.classic_buffers
        };
        let streams = BufferRing::register(ring.uring(), STREAMS, sizes, incremental)?;
        let datagrams =
            BufferRing::register(ring.uring(), DATAGRAMS, settings.datagram_buffers, false)?;
        if features.has(Feature::FixedFiles) {
            ring.uring()
                .submitter()
                .register_files_sparse(settings.connections)?;
        }
        // SAFETY: the ring's descriptor is open as long as `ring`.
        let ring_fd = unsafe { BorrowedFd::borrow_raw(ring.fd()) };
        post.hub.attach(post.shard, ring_fd)?;
        let mut io = Io {
            now: post.clock.now(),
            turn: 0,
            counters: Counters::default(),
            conns: Conns::new(settings.connections),
            listening: sockets.into_iter().map(Listening::new).collect(),
            spare: Some(eventfd(0, EventfdFlags::CLOEXEC)?),
            accept_retry: None,
            datagram_header: datagrams::header(),
            connect_limit: Box::new(settings.connect_timeout.into()),
            batch: Batch::new(settings),
            done: Vec::with_capacity(settings.cq_entries as usize),
            unheard: VecDeque::with_capacity(settings.datagram_buffers.0.into()),
            fresh: VecDeque::new(),
            talkers: VecDeque::new(),
            lane: hear::Lane::default(),
            arrivals: VecDeque::new(),
            rotation: VecDeque::new(),
            to_arm: Vec::new(),
            heavy: fair::Heavy::default(),
            starved: VecDeque::new(),
            pressed: VecDeque::new(),
            pinned_told: 0,
            deadlines: VecDeque::new(),
            checks: Vec::new(),
            drained: Vec::new(),
            failed: Vec::new(),
            mail: false,
            wakes: 0,
            idle: idle::Idle::new(settings.spin),
            table: Vec::with_capacity(settings.sq_entries as usize),
            streams,
            datagrams,
            ring: {
                ring.enter(0, None, &mut Counters::default())?;
                ring
            },
            post,
        };
        io.listen()?;
        io.watch_bell()?;
        Ok(Self { world, io })
    }

    /// Turns until [`Waker::stop`](super::Waker::stop); what the last turn asked for is carried out and sent.
    ///
    /// # Errors
    /// The ring is lost: no later turn can do anything.
    pub fn run(&mut self) -> io::Result<()> {
        self.run_telling(|_| ())
    }

    /// As [`Driver::run`]; after each turn, `told` sees what was done and met so far.
    ///
    /// # Errors
    /// The ring is lost.
    pub fn run_telling(&mut self, mut told: impl FnMut(&Counters)) -> io::Result<()> {
        while !self.io.post.hub.stopped(self.io.post.shard) {
            self.turn(None)?;
            told(&self.io.counters);
        }
        self.turn(Some(Duration::ZERO))
    }

    /// One turn; `wait_max` bounds its wait.
    ///
    /// # Errors
    /// The ring is lost.
    pub fn turn(&mut self, wait_max: Option<Duration>) -> io::Result<()> {
        let Self { world, io } = self;
        io.begin_turn(world)?;
        io.tell(world)?;
        if world.next_due().is_some_and(|due| due <= io.now) {
            world.due(io.now);
        }
        io.carry_out(world)?;
        io.send_all(world)?;
        io.arm_listed(world)?;
        io.wake_others(world)?;
        io.wait(world, wait_max)
    }

    /// The world, with the ring closed and everything in flight brought to its end.
    #[must_use]
    pub fn into_world(self) -> W {
        let Self { world, io } = self;
        drop(io);
        world
    }

    /// The world.
    pub fn world(&mut self) -> &mut W {
        &mut self.world
    }

    /// What was done and met so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.io.counters
    }

    /// Connections that take a place in the table, those included that are about to close.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.io.conns.len()
    }

    /// Receive buffers of the streams: held, and in all.
    #[must_use]
    pub fn pinned(&self) -> (usize, usize) {
        (self.io.streams.pinned(), self.io.streams.total())
    }
}

impl Io {
    fn begin_turn<W: World>(&mut self, world: &mut W) -> io::Result<()> {
        self.now = self.post.clock.now();
        self.turn += 1;
        self.heavy.begin_turn(self.now);
        self.counters.turns += 1;
        self.give_back();
        self.relieve(world)
    }

    /// Step 1 of a turn: everything that happened, in the order in which it did.
    fn tell<W: World>(&mut self, world: &mut W) -> io::Result<()> {
        self.end_failed(world)?;
        for id in std::mem::take(&mut self.drained) {
            world.drained(self.now, id);
        }
        self.rotate(world)?;
        let mut done = std::mem::take(&mut self.done);
        for it in done.drain(..) {
            self.complete(world, it)?;
        }
        self.done = done;
        self.take_arrivals(world);
        self.hear(world)?;
        self.check(world)?;
        self.expire(world)?;
        if std::mem::take(&mut self.mail) {
            self.counters.wakes += 1;
            let more = self.take_handed(world);
            self.mail = self.read_letters(world) || more;
        }
        Ok(())
    }

    fn complete<W: World>(&mut self, world: &mut W, done: Done) -> io::Result<()> {
        let Some((kind, place)) = unpack(done.name) else {
            self.counters.impossible += 1;
            return Ok(());
        };
        let more = cqueue::more(done.flags);
        match kind {
            Kind::Accept => {
                self.on_accept(place, done.result, more);
                Ok(())
            }
            Kind::Receive => self.on_receive(world, place, done),
            Kind::Datagram => {
                self.on_datagram(place, done);
                Ok(())
            }
            Kind::Writable => self.on_writable(world, place, done.result),
            Kind::Connect => self.on_connect(world, place, done.result),
            Kind::ConnectLimit => self.on_connect_limit(place),
            Kind::Event => {
                self.post.hub.awake(self.post.shard);
                self.mail = true;
                if more { Ok(()) } else { self.watch_bell() }
            }
            Kind::Message => {
                self.mail = true;
                Ok(())
            }
            Kind::Wake => {
                // The message did not arrive (its ring is full or gone): the bell does.
                if let Ok(shard) = u8::try_from(place.slot) {
                    self.post.hub.ring_bell(ShardId(shard));
                }
                Ok(())
            }
            // ENOENT: it was over already; EALREADY: it is just being run. Its own completion says the rest.
            Kind::Cancel => Ok(()),
            // Only failures are told: a descriptor or slot of ours that the kernel does not know. A send's outcome was
            // settled before the turn began.
            Kind::Close | Kind::Files | Kind::Send => {
                self.counters.impossible += 1;
                Ok(())
            }
        }
    }

    /// Step 5: wakes the shards that got mail.
    fn wake_others<W: World>(&mut self, world: &mut W) -> io::Result<()> {
        let mut bits = world.take_wakes() | std::mem::take(&mut self.wakes);
        while bits != 0 {
            let number = bits.trailing_zeros();
            bits &= bits - 1;
            let shard = ShardId(u8::try_from(number).unwrap_or_default());
            if shard == self.post.shard {
                self.mail = true;
                continue;
            }
            self.counters.wakes_sent += 1;
            let ring = self.post.hub.ring(shard);
            let Some(fd) = ring.filter(|_| self.has(Feature::RingMessages)) else {
                self.post.hub.ring_bell(shard);
                continue;
            };
            let place = Place {
                slot: number,
                generation: 0,
            };
            let entry =
                opcode::MsgRingData::new(types::Fd(fd), 0, pack(Kind::Message, place), None)
                    .build()
                    .flags(squeue::Flags::SKIP_SUCCESS)
                    .user_data(pack(Kind::Wake, place));
            // SAFETY: it points to nothing.
            unsafe { self.push(&entry)? };
        }
        Ok(())
    }

    fn has(&self, feature: Feature) -> bool {
        self.post.features.has(feature)
    }

    /// # Safety
    /// As [`Ring::push`].
    unsafe fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        // SAFETY: the caller's promise.
        unsafe { self.ring.push(entry, &mut self.counters) }
    }

    fn watch_bell(&mut self) -> io::Result<()> {
        let hub = self.post.hub.clone();
        let Some(event) = hub.event(self.post.shard) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let place = Place {
            slot: 0,
            generation: 0,
        };
        let entry = opcode::PollAdd::new(types::Fd(event.as_raw_fd()), POLLIN)
            .multi(true)
            .build()
            .user_data(pack(Kind::Event, place));
        // SAFETY: it points to nothing; the hub keeps the eventfd open.
        unsafe { self.push(&entry) }
    }

    /// Cancels the operation `kind` of `place`; its own completion tells the outcome.
    fn cancel(&mut self, kind: Kind, place: Place) -> io::Result<()> {
        let entry = opcode::AsyncCancel::new(pack(kind, place))
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(pack(Kind::Cancel, place));
        // SAFETY: it points to nothing.
        unsafe { self.push(&entry) }
    }
}

const POLLIN: u32 = libc::POLLIN.cast_unsigned() as u32;

impl Drop for Io {
    /// Cancels everything in flight and waits for it, so that the memory that operations use outlives them.
    fn drop(&mut self) {
        self.post.hub.detach(self.post.shard);
        let place = Place {
            slot: 0,
            generation: 0,
        };
        let all = opcode::AsyncCancel2::new(types::CancelBuilder::any())
            .build()
            .user_data(pack(Kind::Cancel, place));
        // SAFETY: it points to nothing.
        if unsafe { self.push(&all) }.is_err() {
            return;
        }
        let mut left = self.operations();
        for _ in 0..100 {
            let wait = Some(Duration::from_millis(10));
            if self
                .ring
                .enter(u32::from(left > 0), wait, &mut self.counters)
                .is_err()
                || self.ring.reap(&mut self.done, &mut self.counters).is_err()
            {
                return;
            }
            for done in self.done.drain(..) {
                let ends = matches!(
                    unpack(done.name),
                    Some((
                        Kind::Accept
                            | Kind::Receive
                            | Kind::Writable
                            | Kind::Connect
                            | Kind::ConnectLimit
                            | Kind::Datagram
                            | Kind::Event,
                        _
                    ))
                );
                if ends && !cqueue::more(done.flags) {
                    left = left.saturating_sub(1);
                }
            }
            if left == 0 {
                // Nothing receives any more: the kernel lets go of the memory. Otherwise it is kept for ever.
                self.streams.unregister(self.ring.uring());
                self.datagrams.unregister(self.ring.uring());
                // What the table holds would stay open as long as anyone holds the ring.
                let _ = self.ring.uring().submitter().unregister_files();
                return;
            }
        }
    }
}

impl Io {
    /// Operations whose last completion is to come, sends aside (they are over when they are submitted).
    fn operations(&self) -> usize {
        let of_conns: usize = self
            .conns
            .iter()
            .map(|(_, c)| {
                usize::from(c.receive != super::conns::Receive::Idle)
                    + usize::from(c.polling)
                    + usize::from(c.connects)
            })
            .sum();
        // The eventfd's poll is one more.
        of_conns + self.listening.iter().filter(|l| l.armed).count() + 1
    }
}

/// The outbox's view of a turn's end, kept here so that `send` reads as a whole.
fn drop_all(outbox: &mut Outbox, id: ConnId) {
    let waiting = outbox.backlog(id);
    outbox.sent(id, waiting, waiting);
}
