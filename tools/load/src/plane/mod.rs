//! The data plane: one thread with an epoll loop of its own that holds every MSRP connection of the run, senders and
//! devices alike, and carries out rounds.
//!
//! Set-up and control are elsewhere (tokio-uring, see `sip_client`) and talk to it by two queues. It is a plain loop
//! because it has to drive 1.3 times what a shard can do from one core: many connections with small reads are the hard case,
//! and a loop that reads 256 KiB at a time, answers what it read in one write and holds no buffer for an idle connection
//! does it. A turn: wait, read each ready connection once, answer, refill, write; then what the clock asks for.

mod apart;
mod legs;
mod lives;
mod orders;
mod rounds;
mod wake;

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    io::{self, ErrorKind, Read},
    net::{SocketAddr, TcpListener, TcpStream},
    num::NonZeroU64,
    sync::{Arc, mpsc::Sender as Queue},
    time::Duration,
};

use apart::ApartTally;
use orders::Taker;
pub(crate) use orders::{Ended, Orders, orders};
pub(crate) use wake::Wake;

use crate::{
    bell::Ringer,
    body::{Bodies, Padding},
    chunks::Chunking,
    clock::{Clock, Nanos, nanos},
    device::{Arrivals, Device},
    epoll::{Interest, Poller, Ready},
    leg::{LegSpec, Role},
    life::{
        act::{Act, Acts},
        talk::Talk,
    },
    names,
    out::Out,
    post::Post,
    progress::Pulse,
    round::{self, Load, Plan, Round},
    sender::Sender,
    tally::Tally,
};

/// What one read may take: at saturation, hundreds of frames.
pub(crate) const READ_BYTES: usize = 256 * 1024;
/// What one read and one turn's writes of a connection may take in an open loop: a fraction of the time that a send may be
/// late.
const OPEN_LOOP_BYTES: usize = 64 * 1024;
/// How long a connection of ours may take to come up.
const CONNECT: Duration = Duration::from_secs(5);
/// Bytes that a connection may send before it has named its session.
const UNCLAIMED_BYTES_MAX: usize = 64 * 1024;

const WAKE: u64 = u64::MAX;
const LISTENER: u64 = u64::MAX - 1;

/// What the data plane is asked to do.
pub(crate) enum Command {
    /// Set up a leg; answered by [`Event::Up`] or [`Event::Down`].
    Leg(Box<LegSpec>),
    /// Carry out a round; answered by [`Event::Done`].
    Run(Box<Plan>),
    /// Close the connections of all sessions; answered by [`Event::Closed`].
    Close,
    /// Do this at its time, during a scripted round.
    Act(Act),
    /// Send a call's request at its time.
    Post(u32, Box<Post>),
    /// Say when a session has done all that it was asked to and nothing is under way: [`Event::Quiet`], from which on its
    /// connections may end.
    Watch(u32),
    /// A session's connections may end from now on.
    Ending(u32),
    /// Close a session's connections, if any are left, and forget it.
    Leave(u32),
    /// Reset all connections of these sessions at once, and forget them; answered by [`Event::Cut`].
    Cut(Vec<u32>),
    /// Nothing more will be asked for in this scripted round.
    Finish,
}

/// By when the data plane has to know of a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Due {
    At(Nanos),
    /// As soon as who asks has done what he is about: more of the kind may follow.
    Soon,
    /// So long after it was asked for, at the latest.
    Within(Nanos),
}

impl Command {
    /// By when the data plane has to know. Each time that it is woken it takes the core from who asks.
    pub(crate) fn due(&self) -> Due {
        match self {
            Self::Act(act) => Due::At(act.at),
            Self::Post(_, post) => Due::At(post.departure.at),
            // Before the next connection ends, so before it looks at any.
            Self::Ending(_) => Due::At(Nanos::MAX),
            // A fork is four of them.
            Self::Leg(_) => Due::Soon,
            // Nobody's time counts from these.
            Self::Watch(_) => Due::Within(1_000_000),
            Self::Leave(_) => Due::Within(5_000_000),
            Self::Run(_) | Self::Close | Self::Cut(_) | Self::Finish => Due::At(0),
        }
    }
}

/// Whether something was asked for, and whether it still can be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Asked {
    Nothing,
    Something,
    /// Nobody can ask any more.
    Gone,
}

/// What the data plane has to say.
pub(crate) enum Event {
    /// The leg's connection is there and bound.
    Up(u32),
    /// The leg's connection has ended, or never came up.
    Down(u32, Role, String),
    /// The round is over.
    Done(Box<Tally>),
    Closed,
    /// The first device of a session has spoken: which, and when it was meant to.
    Active(u32, u16, Nanos),
    /// The time of a [`crate::life::act::Deed::Ring`] has come.
    Rang(Nanos),
    /// As [`Command::Watch`] asked.
    Quiet(u32),
    /// As [`Command::Cut`] asked: when it began.
    Cut(Nanos),
}

/// What all rounds have in common.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) body_bytes: usize,
    /// Devices a session: how many deliveries a message is expected to make.
    pub(crate) devices: u16,
    pub(crate) seed: u64,
    /// Whether senders cut their messages.
    pub(crate) chunking: Option<Chunking>,
    /// Distinguishes this run's Message-IDs from those of another.
    pub(crate) run: u32,
    /// Bytes that one read or write hands over at most.
    pub(crate) grain: usize,
}

struct Conn {
    tcp: TcpStream,
    out: Out,
    interest: Interest,
    /// Whether we read from it.
    reads: bool,
    who: Who,
}

enum Who {
    /// It came to our listener and has not named its session yet: what it said so far.
    Unclaimed(Vec<u8>),
    Sender(u32, Box<Sender>),
    Device(u32, u16, Box<Device>),
}

impl Who {
    fn leg(&self) -> Option<(u32, Role)> {
        match self {
            Self::Unclaimed(_) => None,
            Self::Sender(session, _) => Some((*session, Role::Sender)),
            Self::Device(session, device, _) => Some((*session, Role::Device(*device))),
        }
    }

    fn is_bound(&self) -> bool {
        match self {
            Self::Unclaimed(_) => false,
            Self::Sender(_, s) => s.is_bound(),
            Self::Device(_, _, d) => d.is_bound(),
        }
    }
}

/// Its connections are there as long as they are in here.
#[derive(Clone, Debug, Default)]
struct Session {
    sender: Option<usize>,
    devices: Vec<usize>,
    /// Sequence numbers given out.
    sent: u32,
    talk: Talk,
}

impl Session {
    fn is_new(&self) -> bool {
        self.sender.is_none() && self.devices.is_empty()
    }
}

/// The thread's world.
pub(crate) struct Plane {
    settings: Settings,
    clock: Clock,
    poller: Poller,
    listener: TcpListener,
    wake: Arc<Wake>,
    commands: Taker,
    /// Where they are while they are carried out.
    asked: Vec<Command>,
    events: Queue<Event>,
    /// What says that there are events, and whether it has to.
    bell: Ringer,
    told: Cell<bool>,
    conns: Vec<Option<Conn>>,
    /// Places in `conns` that nobody has.
    free: Vec<usize>,
    sessions: Vec<Session>,
    /// Legs whose connection the peer opens, by our path.
    awaited: BTreeMap<String, LegSpec>,
    padding: Padding,
    round: Option<Round>,
    /// What a scripted round still has to do.
    acts: Acts,
    /// Requests that leave at their times, by call.
    posts: BTreeMap<u32, Post>,
    /// Sessions that are to be quiet.
    watched: BTreeSet<u32>,
    tally: Tally,
    /// Of the devices that are counted apart.
    apart: ApartTally,
    /// Where a round shows how it goes, and when it does so next.
    pulse: Arc<Pulse>,
    next_pulse: Nanos,
    scratch: Vec<u8>,
}

impl Plane {
    /// `wake` says that there are commands, `bell` that there are events.
    pub(crate) fn new(
        settings: Settings,
        clock: Clock,
        pulse: Arc<Pulse>,
        listener: TcpListener,
        (wake, commands): (Arc<Wake>, Taker),
        (bell, events): (Ringer, Queue<Event>),
    ) -> io::Result<Self> {
        // A sleep shall end when it was asked to, not up to 50 µs later, as the kernel may else have it.
        rustix::thread::set_current_timer_slack(NonZeroU64::new(1))?;
        let poller = Poller::new()?;
        listener.set_nonblocking(true)?;
        poller.add(&listener, LISTENER, Interest::READ)?;
        poller.add(wake.fd(), WAKE, Interest::READ)?;
        let padding_len = bodies(0, 0, settings.body_bytes)?.padding_len();
        let padding = Padding::new(padding_len, settings.seed);
        Ok(Self {
            settings,
            clock,
            poller,
            listener,
            wake,
            commands,
            asked: Vec::new(),
            events,
            bell,
            told: Cell::new(false),
            conns: Vec::new(),
            free: Vec::new(),
            sessions: Vec::new(),
            awaited: BTreeMap::new(),
            padding,
            round: None,
            acts: Acts::default(),
            posts: BTreeMap::new(),
            watched: BTreeSet::new(),
            tally: Tally::new(0..0),
            apart: ApartTally::new(Tally::new(0..0)),
            pulse,
            next_pulse: 0,
            scratch: vec![0; READ_BYTES],
        })
    }

    /// Runs until the other side of its queues has gone.
    pub(crate) fn run(mut self) -> io::Result<()> {
        loop {
            let mut timeout = self.timeout();
            self.wake.will_sleep(self.wakes_at(timeout));
            match self.obey() {
                Asked::Gone => return Ok(()),
                // It may be due before what there was.
                Asked::Something => timeout = self.timeout().into_iter().chain(timeout).min(),
                Asked::Nothing => {}
            }
            self.ring_bell()?;
            let n = self.poller.wait(timeout)?;
            self.wake.is_awake();
            // Before what has come: it may have been asked to expect it.
            if self.obey() == Asked::Gone {
                return Ok(());
            }
            for i in 0..n {
                let ready = self.poller.ready(i);
                match ready.token {
                    WAKE => self.wake.heard()?,
                    LISTENER => self.accept()?,
                    _ => {
                        self.serve(ready);
                        // A turn over connections with much to read is longer than a send may be late.
                        let now = self.clock.now();
                        self.send_due(now);
                        self.do_due(now);
                    }
                }
            }
            if n == 0 && timeout == Some(Duration::ZERO) {
                // Awake because something is due soon: signalling, on the same core, may use the time.
                rustix::thread::sched_yield();
            }
            self.keep_time();
        }
    }

    /// Says that there are events, if there are.
    fn ring_bell(&self) -> io::Result<()> {
        match self.told.take() {
            true => self.bell.ring(),
            false => Ok(()),
        }
    }

    /// When a wait that begins now and lasts so long ends by itself.
    fn wakes_at(&self, timeout: Option<Duration>) -> Nanos {
        timeout.map_or(Nanos::MAX, |t| self.clock.now() + nanos(t))
    }

    /// How long the loop may sleep.
    fn timeout(&self) -> Option<Duration> {
        let (now, act) = (self.clock.now(), self.acts.next());
        match &self.round {
            Some(round) => Some(round.timeout(now, act)),
            None => act.map(|at| round::sleep_beside(at, now)),
        }
    }

    /// Carries out what has been asked for.
    fn obey(&mut self) -> Asked {
        let mut commands = std::mem::take(&mut self.asked);
        let is_open = self.commands.take(&mut commands);
        let asked = match (is_open, commands.is_empty()) {
            (false, _) => Asked::Gone,
            (true, true) => Asked::Nothing,
            (true, false) => Asked::Something,
        };
        for command in commands.drain(..) {
            self.carry_out(command);
            // Four connections in a row are longer than what is due may be late.
            self.do_due(self.clock.now());
        }
        self.asked = commands;
        asked
    }

    fn carry_out(&mut self, command: Command) {
        match command {
            Command::Leg(spec) => self.set_up(*spec),
            Command::Run(plan) => self.begin(*plan),
            Command::Close => {
                self.conns.clear();
                self.free.clear();
                self.sessions.clear();
                self.awaited.clear();
                self.watched.clear();
                self.acts.clear();
                self.posts.clear();
                self.tell(Event::Closed);
            }
            Command::Act(act) => self.ask(act),
            Command::Post(call, post) => self.hold(call, *post),
            Command::Watch(session) => {
                self.watched.insert(session);
                self.look_at(session);
            }
            Command::Ending(session) => {
                if let Some(s) = self.sessions.get_mut(session as usize) {
                    s.talk.is_ending = true;
                }
            }
            Command::Leave(session) => self.leave(session),
            Command::Cut(sessions) => self.cut(&sessions),
            Command::Finish => {
                if let Some(round) = &mut self.round {
                    round.finished = true;
                }
            }
        }
    }

    fn tell(&self, event: Event) {
        // Nobody listens any more: the next look at the commands ends the thread.
        let _ = self.events.send(event);
        self.told.set(true);
    }

    fn serve(&mut self, ready: Ready) {
        // A token is an index that we handed out ourselves.
        let id = usize::try_from(ready.token).unwrap_or(usize::MAX);
        if ready.write {
            self.flush(id);
        }
        if ready.read {
            self.read(id);
        }
    }

    fn read(&mut self, id: usize) {
        let Some(Some(conn)) = self.conns.get(id) else {
            return;
        };
        let most = self.most(self.settings.grain);
        match (&conn.tcp).read(&mut self.scratch[..most]) {
            Ok(0) => self.end(id, "closed by the peer"),
            Ok(n) => {
                let scratch = std::mem::take(&mut self.scratch);
                self.receive(id, &scratch[..n]);
                self.scratch = scratch;
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(e) => self.end(id, &e.to_string()),
        }
    }

    /// What was read on a connection goes to its leg; what the leg has to say goes out at once.
    fn receive(&mut self, id: usize, bytes: &[u8]) {
        let Some(Some(conn)) = self.conns.get_mut(id) else {
            return;
        };
        let now = self.clock.now();
        let bound = conn.who.is_bound();
        let leg = conn.who.leg();
        let is_apart = leg.is_some_and(|(session, role)| self.is_apart(session, role));
        let Some(Some(conn)) = self.conns.get_mut(id) else {
            return;
        };
        let broken = match &mut conn.who {
            Who::Unclaimed(said) => {
                said.extend_from_slice(bytes);
                let too_much = said.len() > UNCLAIMED_BYTES_MAX;
                return if too_much {
                    self.end(id, "it names no session");
                } else if let Err(e) = self.claim(id) {
                    self.end(id, &e.to_string());
                };
            }
            Who::Sender(_, s) => s.receive(bytes, conn.out.tail(), &mut self.tally),
            Who::Device(session, device, d) => {
                let session = &self.sessions[*session as usize];
                d.receive(
                    bytes,
                    conn.out.tail(),
                    &mut Arrivals {
                        now,
                        sent: session.sent,
                        not_from: session.talk.not_from(*device),
                        tally: if is_apart {
                            &mut self.apart.tally
                        } else {
                            &mut self.tally
                        },
                    },
                )
            }
        };
        if let Some(round) = &mut self.round {
            round.last_arrival = now;
        }
        let heard = match &mut conn.who {
            Who::Sender(_, s) => s.take_heard(),
            Who::Unclaimed(_) | Who::Device(..) => Vec::new(),
        };
        let is_up = !bound && conn.who.is_bound();
        if let Some((session, _)) = leg {
            if is_up {
                self.tell(Event::Up(session));
            }
            self.hear(session, heard, now);
        }
        if let Err(b) = broken {
            return self.end(id, &b.0);
        }
        self.refill(id, now);
        self.flush(id);
        if let Some((session, _)) = leg {
            self.look_at(session);
        }
    }

    /// So many bytes at a time, or fewer where sends are due meanwhile.
    fn most(&self, bytes: usize) -> usize {
        let is_open = |r: &Round| matches!(r.plan.load, Load::Rate(_));
        if self.round.as_ref().is_some_and(is_open) {
            bytes.min(OPEN_LOOP_BYTES)
        } else {
            bytes
        }
    }

    fn flush(&mut self, id: usize) {
        let most = self.most(usize::MAX);
        let Some(Some(conn)) = self.conns.get_mut(id) else {
            return;
        };
        if let Err(e) = conn.out.flush(&conn.tcp, self.settings.grain, most) {
            return self.end(id, &e.to_string());
        }
        let interest = Interest {
            read: conn.reads,
            write: !conn.out.is_empty(),
        };
        if interest != conn.interest {
            conn.interest = interest;
            if let Err(e) = self.poller.modify(&conn.tcp, id as u64, interest) {
                self.end(id, &e.to_string());
            }
        }
    }

    fn end(&mut self, id: usize, why: &str) {
        let Some(conn) = self.conns.get_mut(id).and_then(Option::take) else {
            return;
        };
        self.free.push(id);
        let Some((session, role)) = conn.who.leg() else {
            return;
        };
        if let Some(s) = self.sessions.get_mut(session as usize) {
            s.sender = s.sender.filter(|s| *s != id);
            s.devices.retain(|d| *d != id);
        }
        if self.is_apart(session, role) {
            return self.gave_up(&conn);
        }
        if self.ended_in_time(session, &conn.who) {
            return self.look_at(session);
        }
        if self
            .round
            .as_ref()
            .is_some_and(|r| r.plan.sessions.contains(&session))
        {
            self.tally
                .broken(format!("session {session} {role:?}: {why}"));
        }
        self.tell(Event::Down(session, role, why.to_owned()));
    }
}

/// The bodies of a session that the sender writes.
fn bodies(session: u32, user: u32, bytes: usize) -> io::Result<Bodies> {
    bodies_between(session, &names::caller(user), &names::user(user), bytes)
}

/// Those that a device writes: as long, but for the two names.
fn bodies_back(session: u32, user: u32, bytes: usize) -> io::Result<Bodies> {
    bodies_between(session, &names::user(user), &names::caller(user), bytes)
}

fn bodies_between(session: u32, from: &str, to: &str, bytes: usize) -> io::Result<Bodies> {
    Bodies::new(session, from, to, bytes).map_err(|least| {
        io::Error::new(
            ErrorKind::InvalidInput,
            format!("a body of {bytes} bytes has no room for its marks: at least {least}"),
        )
    })
}

/// Least number of bytes that a body may have.
pub(crate) fn body_bytes_min() -> usize {
    Bodies::new(0, &names::caller(0), &names::user(0), 0)
        .err()
        .unwrap_or(0)
}

/// The listener for connections that the peers open.
pub(crate) fn listen(on: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(on)
}
