//! Callers and devices as SIP sees them: they register, call, answer, hang up. Runs on tokio-uring; the MSRP connections
//! that come of it are the data plane's.
//!
//! All devices share one place (a datagram socket, or a connection and a listener), all callers another: what an S-CSCF
//! would look like to the server.

mod answer;
mod ask;
mod lives;
mod place;
mod refusal;
mod unacked;

use std::{
    cell::{Cell, OnceCell, RefCell},
    collections::{BTreeMap, HashMap},
    future::Future,
    net::{IpAddr, SocketAddr},
    ops::Range,
    rc::Rc,
    time::Duration,
};

use place::Place;
use rand::{Rng, SeedableRng, rngs::ChaCha12Rng};
use refusal::Refusal;
use ringfork::wire::sdp::Setup;
use unacked::{Looks, Unacked};

use crate::{
    clock::{Clock, nanos},
    hist::Latency,
    leg::Role,
    link::Asker,
    media::MediaStyle,
    post::Departure,
    report::Check,
    sip_text::{Dialog, Transport},
    transact::Transactions,
    trouble::Trouble,
};

pub(crate) use lives::{Bye, Listener, News};
pub(crate) use place::listen_for;

/// How our people speak.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Style {
    pub(crate) transport: Transport,
    pub(crate) media: MediaStyle,
}

impl Style {
    /// As options of the command line.
    pub(crate) fn words(&self) -> [&'static str; 7] {
        let setup = |setup| match setup {
            Setup::Active => "active",
            Setup::Passive => "passive",
            Setup::ActPass => "actpass",
        };
        [
            "--transport",
            match self.transport {
                Transport::Udp => "udp",
                Transport::Tcp => "tcp",
            },
            "--offer",
            setup(self.media.offer),
            "--setup",
            setup(self.media.answer),
            if self.media.cema {
                "--cema"
            } else {
                "--no-cema"
            },
        ]
    }
}

/// Who there is to be.
#[derive(Clone, Debug)]
pub(crate) struct PeersOptions {
    pub(crate) server: SocketAddr,
    pub(crate) style: Style,
    pub(crate) sessions: u32,
    pub(crate) devices: u16,
    /// Number of the first user; the others follow.
    pub(crate) first_user: u32,
    pub(crate) seed: u64,
    /// Where our data plane takes connections; 0.0.0.0 if the server is on loopback.
    pub(crate) msrp: SocketAddr,
    /// After which a request without an answer has failed: 64·T1 if none.
    pub(crate) give_up: Option<Duration>,
    /// Whether the kernel is asked when each datagram came; else it came when it was read.
    pub(crate) arrivals: bool,
}

/// Requests under way at a time.
const AT_A_TIME: usize = 16;
const EXPIRES: u32 = 3600;
/// How long the server may take to hang up all devices.
const ENDS: Duration = Duration::from_secs(8);
const LOOK: Duration = Duration::from_millis(5);

/// Callers and devices.
pub(crate) struct Peers(Rc<World>);

struct World {
    options: PeersOptions,
    clock: Clock,
    transactions: Transactions,
    legs: Asker,
    callers: OnceCell<Place>,
    devices: OnceCell<Place>,
    /// Of this run, in each branch, and how many there have been.
    run: u64,
    branches: Cell<u64>,
    /// The last CSeq of each device's REGISTERs.
    cseqs: RefCell<BTreeMap<(u32, u16), u32>>,
    calls: RefCell<HashMap<u32, Call>>,
    /// The call that each user has, and the one behind each Call-ID of a caller's.
    current: RefCell<HashMap<u32, u32>>,
    by_call_id: RefCell<HashMap<Vec<u8>, u32>>,
    /// By Call-ID, as a device sees it.
    device_legs: RefCell<HashMap<Rc<[u8]>, DeviceLeg>>,
    /// Devices' answers to INVITEs.
    looks: RefCell<Looks>,
    /// Who wants to know what devices learn.
    listener: OnceCell<Listener>,
    /// How long what came waited until it was read.
    waited: RefCell<Latency>,
    setup: RefCell<Latency>,
    teardown: RefCell<Latency>,
    troubles: RefCell<Vec<String>>,
    trouble_count: Cell<u64>,
}

/// A call of ours, from its INVITE on.
struct Call {
    user: u32,
    call_id: String,
    /// While it stands.
    dialog: Option<Dialog>,
    /// The ACK to the 200, which may come again.
    ack: Option<Vec<u8>>,
    /// Call-IDs of the devices that have answered.
    legs: Vec<Rc<[u8]>>,
}

impl Call {
    fn of(user: u32, call_id: String) -> Self {
        Self {
            user,
            call_id,
            dialog: None,
            ack: None,
            legs: Vec::new(),
        }
    }
}

struct DeviceLeg {
    call: u32,
    device: u16,
    acked: bool,
    /// Its answer, as long as that may have to be sent again.
    unacked: Option<Box<Unacked>>,
    bye: Option<Bye>,
}

#[derive(Clone, Copy)]
enum Side {
    Caller,
    Device,
}

impl Peers {
    /// Opens the sockets.
    pub(crate) fn start(options: PeersOptions, clock: Clock, legs: Asker) -> Result<Self, Trouble> {
        let world = Rc::new(World {
            transactions: Transactions::new(clock, options.give_up),
            run: chances(options.seed, "run", 0, 0).next_u64() >> 32,
            options,
            clock,
            legs,
            callers: OnceCell::new(),
            devices: OnceCell::new(),
            branches: Cell::new(0),
            cseqs: RefCell::default(),
            calls: RefCell::default(),
            current: RefCell::default(),
            by_call_id: RefCell::default(),
            device_legs: RefCell::default(),
            looks: RefCell::default(),
            listener: OnceCell::new(),
            waited: RefCell::new(Latency::new()),
            setup: RefCell::new(Latency::new()),
            teardown: RefCell::new(Latency::new()),
            troubles: RefCell::default(),
            trouble_count: Cell::new(0),
        });
        for side in [Side::Caller, Side::Device] {
            let place = Place::open(&world, side)?;
            // Nobody else sets them.
            let _ = world.cell(side).set(place);
        }
        Ok(Self(world))
    }

    /// MSRP connections that belong to so many sessions.
    pub(crate) fn legs_of(&self, sessions: u32) -> usize {
        sessions as usize * (1 + usize::from(self.0.options.devices))
    }

    /// Waits until every device that has answered got its ACK. Before that the server may not know that it has: a device's
    /// connection can be there sooner than its 200, and what is sent meanwhile is not meant for it.
    pub(crate) async fn acked(&self, within: Duration) -> Result<(), Trouble> {
        let end = self.0.clock.now() + nanos(within);
        loop {
            let waiting = self.0.unacked();
            if waiting == 0 {
                return Ok(());
            }
            if self.0.clock.now() > end {
                let what = format!("{waiting} devices got no ACK within {within:?}");
                return Err(Trouble::unreachable(what));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Registers all devices.
    pub(crate) async fn register(&self) -> Result<(), Trouble> {
        self.register_for(EXPIRES).await
    }

    /// Takes all registrations back. What goes wrong is a finding, as when hanging up.
    pub(crate) async fn deregister(&self) {
        if let Err(e) = self.register_for(0).await {
            self.0.trouble(e.to_string());
        }
    }

    async fn register_for(&self, expires: u32) -> Result<(), Trouble> {
        let world = &self.0;
        let devices = u32::from(world.options.devices);
        let each = |n: u32| {
            let world = Rc::clone(world);
            async move {
                let device = u16::try_from(n % devices).unwrap_or(u16::MAX);
                let user = world.options.first_user + n / devices;
                Ok(world.register(user, device, expires).await?)
            }
        };
        in_turn(world.options.sessions * devices, each).await
    }

    /// Calls these users, with a session to come of it each.
    pub(crate) async fn invite(&self, sessions: Range<u32>) -> Result<(), Trouble> {
        let world = &self.0;
        in_turn(sessions.end - sessions.start, |nth| {
            let (world, session) = (Rc::clone(world), sessions.start + nth);
            async move {
                let start = world.clock.now();
                let user = world.options.first_user + session;
                let (_, acked) = world.call(session, user, &Departure::at(start)).await?;
                world.setup.borrow_mut().record(acked - start);
                Ok(())
            }
        })
        .await
    }

    /// Ends every call, and waits until the server has ended every leg. What goes wrong here does not unmake what was
    /// measured before: it is a finding of its own.
    pub(crate) async fn hang_up(&self) {
        let world = &self.0;
        let byes = in_turn(world.options.sessions, |session| {
            let world = Rc::clone(world);
            async move {
                match world.bye(session).await {
                    Ok(Some(took)) => world.teardown.borrow_mut().record(took),
                    Ok(None) => {}
                    Err(e) => world.trouble(format!("session {session}: {e}")),
                }
                Ok(())
            }
        });
        if let Err(e) = byes.await {
            world.trouble(e.to_string());
        }
        let until = world.clock.now() + nanos(ENDS);
        while world.legs_without_bye() > 0 && world.clock.now() < until {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// From INVITE to ACK.
    pub(crate) fn setup(&self) -> Latency {
        self.0.setup.borrow().clone()
    }

    /// From BYE to its 200.
    pub(crate) fn teardown(&self) -> Latency {
        self.0.teardown.borrow().clone()
    }

    /// What signalling has to satisfy once all calls have ended.
    pub(crate) fn checks(&self) -> Vec<Check> {
        let w = &self.0;
        for t in w.troubles.borrow().iter() {
            eprintln!("signalling: {t}");
        }
        vec![
            Check::none("signalling_errors", w.trouble_count.get()),
            Check::none("legs_without_bye", w.legs_without_bye()),
        ]
    }

    /// Closes the sockets.
    pub(crate) async fn stop(&self) {
        for side in [Side::Caller, Side::Device] {
            if let Some(place) = self.0.cell(side).get() {
                place.stop().await;
            }
        }
    }
}

/// Runs `work` for 0 to `n`, some at a time; the first error ends it.
pub(crate) async fn in_turn<F, W>(n: u32, work: F) -> Result<(), Trouble>
where
    F: Fn(u32) -> W,
    W: Future<Output = Result<(), Trouble>> + 'static,
{
    let mut running = std::collections::VecDeque::new();
    for i in 0..n {
        if running.len() == AT_A_TIME
            && let Some(first) = running.pop_front()
        {
            joined(first).await?;
        }
        running.push_back(tokio_uring::spawn(work(i)));
    }
    for task in running {
        joined(task).await?;
    }
    Ok(())
}

async fn joined(
    task: impl Future<Output = Result<Result<(), Trouble>, impl std::fmt::Display>>,
) -> Result<(), Trouble> {
    match task.await {
        Ok(done) => done,
        Err(e) => Err(Trouble::failed(format!("a task: {e}"))),
    }
}

impl World {
    fn cell(&self, side: Side) -> &OnceCell<Place> {
        match side {
            Side::Caller => &self.callers,
            Side::Device => &self.devices,
        }
    }

    fn place(&self, side: Side) -> Result<&Place, Trouble> {
        self.cell(side)
            .get()
            .ok_or_else(|| Trouble::failed("no socket is open"))
    }

    fn branch(&self) -> String {
        self.branches.set(self.branches.get() + 1);
        format!("z9hG4bK{:08x}{:08x}", self.run, self.branches.get())
    }

    /// The same for the same seed, different for everything else.
    fn chance(&self, what: &str, session: u32, device: u16) -> u64 {
        chances(self.options.seed, what, session, device).next_u64()
    }

    fn path(&self, call: u32, user: u32, role: Role) -> String {
        let device = match role {
            Role::Sender => u16::MAX,
            Role::Device(d) => d,
        };
        let mut chances = chances(self.options.seed, "path", call, device);
        let (a, b) = (chances.next_u64(), chances.next_u64());
        let at = self.listens(user, role);
        format!("msrp://{at}/{a:016x}{:04x};tcp", b & 0xffff)
    }

    /// Where a leg takes its connection. On loopback each leg has an address of its own, as each phone has one; elsewhere
    /// they share ours, and a server that connects to several legs may use one connection for all (RFC 4975 §5.4), which
    /// this tool does not do.
    fn listens(&self, user: u32, role: Role) -> SocketAddr {
        let at = self.options.msrp;
        let device = match role {
            Role::Sender => 0,
            Role::Device(d) => 1 + u32::from(d),
        };
        let leg = user * (1 + u32::from(self.options.devices)) + device;
        match at.ip() {
            // 127.1.0.0 is the first.
            IpAddr::V4(ip) if ip.is_unspecified() => {
                let [_, a, b, c] = leg.to_be_bytes();
                SocketAddr::new(IpAddr::from([127, 1 + a % 254, b, c]), at.port())
            }
            IpAddr::V4(_) | IpAddr::V6(_) => at,
        }
    }

    fn trouble(&self, what: String) {
        const KEPT: usize = 16;
        self.trouble_count.set(self.trouble_count.get() + 1);
        let mut all = self.troubles.borrow_mut();
        if all.len() < KEPT {
            all.push(what);
        }
    }

    fn legs_without_bye(&self) -> u64 {
        self.device_legs
            .borrow()
            .values()
            .filter(|l| l.bye.is_none())
            .count() as u64
    }
}

/// What chance says about something of a session's device.
fn chances(seed: u64, what: &str, session: u32, device: u16) -> ChaCha12Rng {
    let what = crate::sum::Sum::of(what.as_bytes());
    let place = u64::from(session) << 16 | u64::from(device);
    ChaCha12Rng::seed_from_u64(seed ^ what.rotate_left(17) ^ place)
}

/// The user part of a device's Contact.
fn device_user(user: u32, device: u16) -> String {
    format!("d{user}x{device}")
}

fn device_of(user: &[u8]) -> Option<(u32, u16)> {
    let (number, device) = std::str::from_utf8(user)
        .ok()?
        .strip_prefix('d')?
        .split_once('x')?;
    Some((number.parse().ok()?, device.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_found_by_its_contact() {
        assert_eq!(device_of(device_user(12, 3).as_bytes()), Some((12, 3)));
        assert_eq!(device_of(b"somebody"), None);
        assert_eq!(device_of(b"d1xx"), None);
    }
}
