//! Callers and devices as SIP sees them: they register, call, answer, hang up. Runs on tokio-uring; the MSRP connections
//! that come of it are the data plane's.
//!
//! All devices share one place (a datagram socket, or a connection and a listener), all callers another: what an S-CSCF
//! would look like to the server.

use std::{
    cell::{Cell, OnceCell, RefCell},
    collections::BTreeMap,
    future::Future,
    net::{IpAddr, SocketAddr, UdpSocket},
    rc::Rc,
    time::Duration,
};

use rand::{Rng, SeedableRng, rngs::ChaCha12Rng};
use ringfork::wire::{
    sip::{Message, Method, Start},
    uri,
};

use crate::{
    clock::{Clock, Nanos, nanos},
    hist::Latency,
    leg::{How, LegSpec, Role},
    link::Asker,
    media::{self, MediaStyle},
    names,
    report::Check,
    sip_net::{Handler, Listener, Reply, Tcp, Udp},
    sip_text::{self, Answer, Dialog, Here, Ids, Transport},
    spawn,
    transact::Transactions,
    trouble::Trouble,
};

/// How our people speak.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Style {
    pub(crate) transport: Transport,
    pub(crate) media: MediaStyle,
}

/// Who there is to be.
#[derive(Clone, Debug)]
pub(crate) struct PeersOptions {
    pub(crate) server: SocketAddr,
    pub(crate) style: Style,
    pub(crate) sessions: u32,
    pub(crate) devices: u16,
    pub(crate) seed: u64,
    /// Where our data plane takes connections.
    pub(crate) msrp: SocketAddr,
}

/// Requests under way at a time.
const AT_A_TIME: usize = 16;
const EXPIRES: u32 = 3600;
/// How long the server may take to hang up all devices, and to forget what there was.
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
    branches: Cell<u64>,
    dialogs: RefCell<BTreeMap<u32, Dialog>>,
    /// By Call-ID, as a device sees it.
    device_legs: RefCell<BTreeMap<Vec<u8>, DeviceLeg>>,
    /// Of each answered INVITE, by Call-ID: the 200 may come again.
    acks: RefCell<BTreeMap<Vec<u8>, Vec<u8>>>,
    setup: RefCell<Latency>,
    teardown: RefCell<Latency>,
    troubles: RefCell<Vec<String>>,
    trouble_count: Cell<u64>,
}

struct DeviceLeg {
    acked: bool,
    ended: bool,
}

#[derive(Clone, Copy)]
enum Side {
    Caller,
    Device,
}

/// Sockets of one side, and the way to the server.
struct Place {
    here: Here,
    to_server: Reply,
    udp: Option<Udp>,
    tcp: Option<(Listener, Tcp)>,
}

impl Place {
    fn open(world: &Rc<World>, side: Side) -> Result<Self, Trouble> {
        let server = world.options.server;
        let any_port = SocketAddr::new(local_ip_towards(server)?, 0);
        let w = Rc::clone(world);
        let handler: Handler = Rc::new(move |bytes, reply| w.take(side, bytes, reply));
        let transport = world.options.style.transport;
        Ok(match transport {
            Transport::Udp => {
                let udp = Udp::bind(any_port, handler)?;
                Self {
                    here: Here {
                        transport,
                        at: udp.local(),
                    },
                    to_server: udp.towards(server),
                    udp: Some(udp),
                    tcp: None,
                }
            }
            Transport::Tcp => {
                let listener = Listener::bind(any_port, Rc::clone(&handler))?;
                let tcp = Tcp::connect(server, handler)?;
                Self {
                    here: Here {
                        transport,
                        at: listener.local(),
                    },
                    to_server: tcp.reply.clone(),
                    udp: None,
                    tcp: Some((listener, tcp)),
                }
            }
        })
    }

    async fn stop(&self) {
        if let Some(udp) = &self.udp {
            udp.stop().await;
        }
        if let Some((listener, tcp)) = &self.tcp {
            listener.stop();
            tcp.stop();
        }
    }
}

/// Our address as the server sees it.
pub(crate) fn local_ip_towards(server: SocketAddr) -> Result<IpAddr, Trouble> {
    let any: SocketAddr = if server.is_ipv4() {
        SocketAddr::from(([0, 0, 0, 0], 0))
    } else {
        SocketAddr::from(([0_u16; 8], 0))
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(server)?;
    Ok(socket.local_addr()?.ip())
}

impl Peers {
    /// Opens the sockets.
    pub(crate) fn start(options: PeersOptions, clock: Clock, legs: Asker) -> Result<Self, Trouble> {
        let world = Rc::new(World {
            options,
            clock,
            transactions: Transactions::new(clock),
            legs,
            callers: OnceCell::new(),
            devices: OnceCell::new(),
            branches: Cell::new(0),
            dialogs: RefCell::default(),
            device_legs: RefCell::default(),
            acks: RefCell::default(),
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

    /// MSRP connections that belong to the sessions.
    pub(crate) fn legs(&self) -> usize {
        let o = &self.0.options;
        o.sessions as usize * (1 + usize::from(o.devices))
    }

    /// Registers all devices.
    pub(crate) async fn register(&self) -> Result<(), Trouble> {
        self.register_for(EXPIRES).await
    }

    /// Takes all registrations back.
    pub(crate) async fn deregister(&self) -> Result<(), Trouble> {
        self.register_for(0).await
    }

    async fn register_for(&self, expires: u32) -> Result<(), Trouble> {
        let world = &self.0;
        let devices = u32::from(world.options.devices);
        let each = |n: u32| {
            let world = Rc::clone(world);
            async move {
                let device = u16::try_from(n % devices).unwrap_or(u16::MAX);
                world.register(n / devices, device, expires).await
            }
        };
        in_turn(world.options.sessions * devices, each).await
    }

    /// Calls every user, with a session to come of it each.
    pub(crate) async fn invite(&self) -> Result<(), Trouble> {
        let world = &self.0;
        in_turn(world.options.sessions, |session| {
            let world = Rc::clone(world);
            async move { world.invite(session).await }
        })
        .await
    }

    /// Ends every call, and waits until the server has ended every leg.
    pub(crate) async fn hang_up(&self) -> Result<(), Trouble> {
        let world = &self.0;
        in_turn(world.options.sessions, |session| {
            let world = Rc::clone(world);
            async move { world.bye(session).await }
        })
        .await?;
        let until = world.clock.now() + nanos(ENDS);
        while world.legs_without_bye() > 0 && world.clock.now() < until {
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
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
async fn in_turn<F, W>(n: u32, work: F) -> Result<(), Trouble>
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
        format!(
            "z9hG4bK{:08x}{:08x}",
            self.chance("run", 0, 0) >> 32,
            self.branches.get()
        )
    }

    /// The same for the same seed, different for everything else.
    fn chance(&self, what: &str, session: u32, device: u16) -> u64 {
        let what = crate::sum::Sum::of(what.as_bytes());
        let place = u64::from(session) << 16 | u64::from(device);
        let mut rng = ChaCha12Rng::seed_from_u64(self.options.seed ^ what.rotate_left(17) ^ place);
        rng.next_u64()
    }

    fn path(&self, session: u32, role: Role) -> String {
        let device = match role {
            Role::Sender => u16::MAX,
            Role::Device(d) => d,
        };
        let (a, b) = (
            self.chance("path", session, device),
            self.chance("path2", session, device),
        );
        format!(
            "msrp://{}/{a:016x}{:04x};tcp",
            self.options.msrp,
            b & 0xffff
        )
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
            .filter(|l| !l.ended)
            .count() as u64
    }

    async fn register(&self, session: u32, device: u16, expires: u32) -> Result<(), Trouble> {
        let place = self.place(Side::Device)?;
        let user = names::user(session);
        let branch = self.branch();
        let tag = self.chance("register", session, device);
        let request = sip_text::register(
            place.here,
            &Ids {
                branch: &branch,
                from: &format!("<{user}>;tag={tag:x}"),
                to: &format!("<{user}>"),
                call_id: &format!("r{:x}", self.chance("register call", session, device)),
                cseq: if expires == 0 { 2 } else { 1 },
            },
            &place.here.contact(&device_user(session, device)),
            &instance(self.chance("instance", session, device)),
            expires,
        )?;
        let answer = self
            .transactions
            .ask(&place.to_server, &branch, request, false)
            .await?;
        expect_2xx(&answer, "REGISTER")
    }

    async fn invite(&self, session: u32) -> Result<(), Trouble> {
        let place = self.place(Side::Caller)?;
        let style = self.options.style.media;
        let path = self.path(session, Role::Sender);
        let sdp = media::describe(&path, self.options.msrp, style.offer, style.cema);
        let branch = self.branch();
        let call_id = format!("c{:016x}", self.chance("call", session, 0));
        let caller = names::caller(session);
        let from = format!("<{caller}>;tag={:x}", self.chance("from", session, 0));
        let user = names::user(session);
        let contact = place.here.contact(&format!("caller{session:05}"));
        let ids = Ids {
            branch: &branch,
            from: &from,
            to: &format!("<{user}>"),
            call_id: &call_id,
            cseq: 1,
        };
        let request = sip_text::invite(place.here, &ids, &user, &contact, &sdp)?;
        let start = self.clock.now();
        let answer = self
            .transactions
            .ask(&place.to_server, &branch, request.clone(), true)
            .await?;
        let answer = Message::parse(&answer)
            .map_err(|e| Trouble::failed(format!("the answer to INVITE: {e:?}")))?;
        let Start::Response { code, .. } = answer.start() else {
            return Err(Trouble::failed("the answer to INVITE is a request"));
        };
        if code >= 300 {
            // RFC 3261 §17.1.1.3: the ACK to a refusal belongs to the INVITE's transaction.
            let to = String::from_utf8_lossy(
                answer
                    .header(ringfork::wire::sip::Name::To)
                    .unwrap_or_default(),
            )
            .into_owned();
            let dialog = Dialog {
                call_id: call_id.clone(),
                from: from.clone(),
                to: to.clone(),
                target: user.clone(),
                routes: Vec::new(),
                cseq: 1,
            };
            let ack = sip_text::within(place.here, &Ids { to: &to, ..ids }, Method::Ack, &dialog)?;
            place.to_server.send(ack);
            return Err(Trouble::unreachable(format!(
                "INVITE of session {session} was answered {code}"
            )));
        }
        let dialog = Dialog::of(&answer, &call_id, &from, 1)
            .ok_or_else(|| Trouble::failed("the 200 to INVITE has no tag or no Contact"))?;
        let branch = self.branch();
        let ids = Ids {
            branch: &branch,
            to: &dialog.to,
            ..ids
        };
        let ack = sip_text::within(place.here, &ids, Method::Ack, &dialog)?;
        self.towards(place, &dialog).send(ack.clone());
        self.setup.borrow_mut().record(self.clock.now() - start);
        self.acks.borrow_mut().insert(call_id.into_bytes(), ack);
        let peer = media::read(answer.body(), style.cema).map_err(Trouble::failed)?;
        self.legs.leg(LegSpec {
            session,
            role: Role::Sender,
            how: media::after_answer(&peer),
            own_path: path,
            peer_path: peer.path,
        })?;
        self.dialogs.borrow_mut().insert(session, dialog);
        Ok(())
    }

    async fn bye(&self, session: u32) -> Result<(), Trouble> {
        let Some(dialog) = self.dialogs.borrow_mut().remove(&session) else {
            return Ok(());
        };
        let place = self.place(Side::Caller)?;
        let branch = self.branch();
        let request = sip_text::within(
            place.here,
            &Ids {
                branch: &branch,
                from: &dialog.from,
                to: &dialog.to,
                call_id: &dialog.call_id,
                cseq: dialog.cseq + 1,
            },
            Method::Bye,
            &dialog,
        )?;
        let start = self.clock.now();
        let way = self.towards(place, &dialog);
        let answer = self.transactions.ask(&way, &branch, request, false).await?;
        self.teardown.borrow_mut().record(self.clock.now() - start);
        expect_2xx(&answer, "BYE")
    }

    /// Where a request inside a dialog goes: its first route, else the peer's contact, where that is an address.
    fn towards(&self, place: &Place, dialog: &Dialog) -> Reply {
        let first = dialog.routes.first().map(|r| {
            let inner = r.split(|&b| b == b'<').nth(1).unwrap_or(r);
            inner.split(|&b| b == b'>').next().unwrap_or(inner).to_vec()
        });
        let target = first.unwrap_or_else(|| dialog.target.clone().into_bytes());
        let at = uri::sip::Uri::parse(&target)
            .ok()
            .and_then(|u| Some(SocketAddr::new(u.host.ip()?, u.port.unwrap_or(5060))));
        place.to_server.towards(at.unwrap_or(self.options.server))
    }

    /// A message came to one of our sides.
    fn take(self: &Rc<Self>, side: Side, bytes: &[u8], reply: &Reply) {
        if bytes.is_empty() {
            return;
        }
        let message = match Message::parse(bytes) {
            Ok(m) => m,
            Err(e) => return self.trouble(format!("unreadable message: {e:?}")),
        };
        match message.start() {
            Start::Response { code, .. } => {
                if !self.transactions.answered(&message) && (200..300).contains(&code) {
                    // The 200 to an INVITE again: our ACK was lost.
                    let acks = self.acks.borrow();
                    if let Some(ack) = message.call_id().ok().and_then(|id| acks.get(id)) {
                        reply.send(ack.clone());
                    }
                }
            }
            Start::Request { method, uri } => {
                if let Some(answer) = self.transactions.served(&message) {
                    return reply.send(answer);
                }
                if let Err(e) = self.serve(side, &message, method, uri, reply) {
                    self.trouble(e.to_string());
                }
            }
        }
    }

    fn serve(
        self: &Rc<Self>,
        side: Side,
        request: &Message<'_>,
        method: Method<'_>,
        uri: &[u8],
        reply: &Reply,
    ) -> Result<(), Trouble> {
        let call_id = request.call_id().unwrap_or_default().to_vec();
        let answer = |code: u16| -> Result<(), Trouble> {
            let answer = sip_text::respond(
                request,
                &Answer {
                    code,
                    tag: "x1",
                    ..Answer::default()
                },
            )?;
            self.transactions.serve(request, &answer);
            reply.send(answer);
            Ok(())
        };
        match (method, side) {
            (Method::Ack, _) => {
                if let Some(leg) = self.device_legs.borrow_mut().get_mut(&call_id) {
                    leg.acked = true;
                }
                Ok(())
            }
            (Method::Bye, Side::Device) => {
                match self.device_legs.borrow_mut().get_mut(&call_id) {
                    Some(leg) => leg.ended = true,
                    None => return answer(481),
                }
                answer(200)
            }
            (Method::Bye, Side::Caller) => {
                self.trouble("the server hung up on a caller".to_owned());
                answer(200)
            }
            (Method::Invite, Side::Device) => {
                if request.to().is_ok_and(|t| t.tag().is_some()) {
                    // A refresh by re-INVITE is not what a run of this length should see.
                    self.trouble("re-INVITE to a device".to_owned());
                    return answer(488);
                }
                self.ring(request, uri, reply)
            }
            (Method::Update | Method::Options, _) => answer(200),
            (Method::Cancel, _) => {
                // Our devices answer at once, so there is never anything left to cancel.
                answer(481)
            }
            (
                Method::Invite
                | Method::Register
                | Method::Prack
                | Method::Message
                | Method::Refer
                | Method::Subscribe
                | Method::Notify
                | Method::Info
                | Method::Publish
                | Method::Other(_),
                _,
            ) => answer(501),
        }
    }

    /// A device is called: it answers at once.
    fn ring(
        self: &Rc<Self>,
        request: &Message<'_>,
        uri: &[u8],
        reply: &Reply,
    ) -> Result<(), Trouble> {
        let style = self.options.style.media;
        let (session, device) = uri::sip::Uri::parse(uri)
            .ok()
            .and_then(|u| device_of(u.user?))
            .ok_or_else(|| {
                Trouble::failed(format!("INVITE for {}", String::from_utf8_lossy(uri)))
            })?;
        let role = Role::Device(device);
        let offer = media::read(request.body(), style.cema).map_err(Trouble::failed)?;
        let (setup, how) = media::answer_to(&offer, style);
        let path = self.path(session, role);
        let sdp = media::describe(&path, self.options.msrp, setup, style.cema && offer.cema);
        let place = self.place(Side::Device)?;
        let tag = format!("{:x}", self.chance("device tag", session, device));
        let answer = sip_text::respond(
            request,
            &Answer {
                code: 200,
                tag: &tag,
                contact: Some(&place.here.contact(&device_user(session, device))),
                sdp: Some(&sdp),
            },
        )?;
        let call_id = request.call_id().unwrap_or_default().to_vec();
        self.device_legs.borrow_mut().insert(
            call_id.clone(),
            DeviceLeg {
                acked: false,
                ended: false,
            },
        );
        let spec = LegSpec {
            session,
            role,
            how,
            own_path: path,
            peer_path: offer.path,
        };
        // Who waits for a connection has to be known before the peer is told to connect; who connects should not do so
        // before the peer knows where from.
        let early = how == How::Passive;
        if early {
            self.legs.leg(spec.clone())?;
        }
        self.transactions.serve(request, &answer);
        reply.send(answer.clone());
        if !early {
            self.legs.leg(spec)?;
        }
        let (world, reply) = (Rc::clone(self), reply.clone());
        tokio_uring::spawn(async move { world.until_acked(&call_id, answer, &reply).await });
        Ok(())
    }

    /// RFC 3261 §13.3.1.4: a 200 to INVITE is sent again, over TCP too, until the ACK comes.
    async fn until_acked(&self, call_id: &[u8], answer: Vec<u8>, reply: &Reply) {
        let mut interval = Duration::from_millis(500);
        let start: Nanos = self.clock.now();
        loop {
            tokio::time::sleep(interval).await;
            match self.device_legs.borrow().get(call_id) {
                Some(leg) if leg.acked || leg.ended => return,
                Some(_) => {}
                None => return,
            }
            if self.clock.now() - start > nanos(Duration::from_secs(32)) {
                return self.trouble("a device's 200 was never acknowledged".to_owned());
            }
            reply.send(answer.clone());
            interval = (interval * 2).min(Duration::from_secs(4));
        }
    }
}

/// The user part of a device's Contact.
fn device_user(session: u32, device: u16) -> String {
    format!("d{session}x{device}")
}

fn device_of(user: &[u8]) -> Option<(u32, u16)> {
    let (session, device) = std::str::from_utf8(user)
        .ok()?
        .strip_prefix('d')?
        .split_once('x')?;
    Some((session.parse().ok()?, device.parse().ok()?))
}

/// A UUID (RFC 4122, version 4) from 64 bits of chance.
fn instance(chance: u64) -> String {
    let hex = format!("{chance:016x}");
    format!(
        "{}-{}-4{}-8{}-000000000000",
        &hex[..8],
        &hex[8..12],
        &hex[12..15],
        &hex[13..16]
    )
}

fn expect_2xx(answer: &[u8], to: &str) -> Result<(), Trouble> {
    match Message::parse(answer).map(|m| m.method().is_none().then(|| m.start())) {
        Ok(Some(Start::Response { code, .. })) if (200..300).contains(&code) => Ok(()),
        Ok(Some(Start::Response { code, .. })) => {
            Err(Trouble::unreachable(format!("{to} was answered {code}")))
        }
        Ok(_) | Err(_) => Err(Trouble::failed(format!("the answer to {to} is unreadable"))),
    }
}

/// What a server that we started still holds after everything has ended: gauges that are not back to 0 in time.
pub(crate) async fn leftovers(admin: SocketAddr, clock: Clock) -> Vec<Check> {
    const GAUGES: [(&str, &str); 5] = [
        ("ringfork_sessions", "left_sessions"),
        ("ringfork_legs", "left_legs"),
        ("ringfork_dialogs", "left_dialogs"),
        ("ringfork_msrp_connections", "left_msrp_connections"),
        ("ringfork_registrations", "left_registrations"),
    ];
    let until = clock.now() + nanos(ENDS);
    loop {
        let text = match spawn::get(admin, "/metrics") {
            Ok((200, text)) => text,
            Ok((code, _)) => return vec![Check::none("metrics_unreadable", u64::from(code))],
            Err(_) => return vec![Check::none("metrics_unreadable", 1)],
        };
        let checks: Vec<Check> = GAUGES
            .iter()
            .filter_map(|(gauge, name)| Some(Check::none(name, gauge_of(&text, gauge)?)))
            .collect();
        if checks.iter().all(|c| c.met) || clock.now() > until {
            return checks;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The sum of a gauge over its labels; nothing if the server does not have it.
fn gauge_of(metrics: &str, gauge: &str) -> Option<u64> {
    let values: Vec<f64> = metrics
        .lines()
        .filter_map(|l| l.strip_prefix(gauge))
        .filter(|rest| rest.starts_with(['{', ' ']))
        .filter_map(|rest| rest.rsplit(' ').next()?.parse().ok())
        .collect();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count"
    )]
    (!values.is_empty()).then(|| values.iter().sum::<f64>() as u64)
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

    #[test]
    fn gauges_add_up_over_their_labels_and_are_absent_where_there_are_none() {
        let text = "# TYPE ringfork_legs gauge\nringfork_legs{shard=\"0\"} 2\nringfork_legs{shard=\"1\"} 3\nringfork_legs_x 9\n";
        assert_eq!(gauge_of(text, "ringfork_legs"), Some(5));
        assert_eq!(gauge_of(text, "ringfork_sessions"), None);
    }
}
