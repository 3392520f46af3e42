//! A server of a few hundred lines that does what the scenarios need and no more: it registers, forks an INVITE to every
//! contact, copies each SEND to every device under paths and a transaction id of its own, hangs up all but the device that
//! answers, and all in the end. It retransmits nothing and knows what is retransmitted to it; no timers, threads and blocking
//! sockets: an opinion that shares nothing with the engine but the parsers. It does wrong what it is told to.

mod media;

use std::{
    collections::HashMap,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    thread,
};

use ringfork::wire::{
    sdp::{Session, Setup},
    sip::{Bounds, Frame, Framer, Message, Method, Name, Start, Writer},
    uri,
};

use media::Media;

/// How it behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// What its answer to the caller says.
    pub(crate) answer: Setup,
    /// It never hangs up its last device.
    pub(crate) forgets_a_bye: bool,
    /// It does not hear a datagram (but an ACK) the first time.
    pub(crate) deaf_at_first: bool,
    /// It refuses calls with this code, all or every so many.
    pub(crate) refuses: Option<u16>,
    pub(crate) refuses_every: u32,
    /// What it does to messages.
    pub(crate) harm: Harm,
    /// So many devices stay although another has answered; 0 as it should be.
    pub(crate) stay_beside: usize,
    /// The cause in the Reason of its BYEs after activity.
    pub(crate) cause: u16,
    /// It forgets every so many registrations after it has accepted them.
    pub(crate) forgets_registrations: Option<u32>,
    /// It does not answer every so many REGISTERs at all.
    pub(crate) ignores_registers: Option<u32>,
}

/// A server that does everything right.
pub(crate) const WELL: Manner = Manner {
    answer: Setup::Passive,
    forgets_a_bye: false,
    deaf_at_first: false,
    refuses: None,
    refuses_every: 1,
    harm: Harm::None,
    stay_beside: 0,
    cause: 200,
    forgets_registrations: None,
    ignores_registers: None,
};

/// What becomes of every so many messages of callers (or of what devices send).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Harm {
    None,
    Drop(u64),
    Double(u64),
    /// It comes behind the next of its call; of calls that have said much, so that there is a next one.
    Reorder(u64),
    Alter(u64),
    /// It goes to another call.
    Cross(u64),
    /// Of those behind the activity: the others get it too.
    Leak(u64),
    /// No success REPORT passes.
    EatReports,
    /// Nothing that a device says passes.
    EatReplies,
}

/// A running double; its threads end with the test's process.
pub(crate) struct Double {
    pub(crate) sip: SocketAddr,
    pub(crate) counts: Arc<Counts>,
    pub(crate) media: Arc<Media>,
}

/// What happened.
#[derive(Default, Debug)]
pub(crate) struct Counts {
    pub(crate) registered: AtomicU32,
    pub(crate) deregistered: AtomicU32,
    pub(crate) invites: AtomicU32,
    pub(crate) acks: AtomicU32,
    pub(crate) byes: AtomicU32,
}

#[derive(Clone)]
enum Way {
    Udp(Arc<UdpSocket>, SocketAddr),
    Tcp(Arc<TcpStream>),
}

impl Way {
    fn send(&self, bytes: &[u8]) {
        match self {
            Self::Udp(socket, to) => drop(socket.send_to(bytes, to).unwrap()),
            // The generator may have gone.
            Self::Tcp(stream) => drop((&**stream).write_all(bytes)),
        }
    }

    fn transport(&self) -> &'static str {
        match self {
            Self::Udp(..) => "UDP",
            Self::Tcp(_) => "TCP",
        }
    }
}

struct Device {
    way: Way,
    contact: String,
    /// To, with the device's tag, once it has answered.
    to: String,
    ended: bool,
}

struct Call {
    invite: Vec<u8>,
    way: Way,
    answered: bool,
    devices: Vec<Device>,
}

/// What has become of a message, by its bytes: the same bytes again are a retransmission (RFC 3261 §17.2.3).
enum Heard {
    /// Nothing, as if it had not come.
    Missed,
    /// It was looked at; a request waits for its answer.
    Taken,
    Answered(Vec<u8>),
}

struct World {
    manner: Manner,
    udp: Arc<UdpSocket>,
    sip: SocketAddr,
    media: Arc<Media>,
    counts: Arc<Counts>,
    contacts: Mutex<HashMap<String, Vec<String>>>,
    /// REGISTERs so far.
    registers: Mutex<u32>,
    calls: Mutex<Vec<Call>>,
    connections: Mutex<HashMap<SocketAddr, Way>>,
    heard: Mutex<HashMap<Vec<u8>, Heard>>,
}

impl Double {
    pub(crate) fn start(manner: Manner) -> Self {
        let (tcp, udp) = loop {
            let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
            if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()) {
                break (tcp, udp);
            }
        };
        let sip = tcp.local_addr().unwrap();
        let counts = Arc::new(Counts::default());
        let world = Arc::new(World {
            manner,
            udp: Arc::new(udp),
            sip,
            media: Media::start(manner.harm),
            counts: Arc::clone(&counts),
            contacts: Mutex::default(),
            registers: Mutex::default(),
            calls: Mutex::default(),
            connections: Mutex::default(),
            heard: Mutex::default(),
        });
        let w = Arc::downgrade(&world);
        world.media.on_activity(Box::new(move |call, kept| {
            if let Some(world) = w.upgrade() {
                world.tear_down(call, kept);
            }
        }));
        let media = Arc::clone(&world.media);
        let w = Arc::clone(&world);
        thread::spawn(move || {
            let mut buf = vec![0; 65_536];
            loop {
                let (n, from) = w.udp.recv_from(&mut buf).unwrap();
                w.take(&buf[..n], &Way::Udp(Arc::clone(&w.udp), from));
            }
        });
        thread::spawn(move || {
            for stream in tcp.incoming() {
                world.read(stream.unwrap());
            }
        });
        Self { sip, counts, media }
    }
}

impl World {
    /// A thread for a SIP stream.
    fn read(self: &Arc<Self>, stream: TcpStream) -> Way {
        let way = Way::Tcp(Arc::new(stream.try_clone().unwrap()));
        let (world, w) = (Arc::clone(self), way.clone());
        thread::spawn(move || {
            let (mut framer, mut have, mut buf) =
                (Framer::new(Bounds::default()), Vec::new(), vec![0; 65_536]);
            let mut stream = stream;
            while let Ok(n @ 1..) = stream.read(&mut buf) {
                have.extend_from_slice(&buf[..n]);
                while let Frame::Message { len, .. } = framer.frame(&have) {
                    let message: Vec<u8> = have.drain(..len).collect();
                    world.take(&message, &w);
                }
            }
        });
        way
    }

    fn take(self: &Arc<Self>, bytes: &[u8], way: &Way) {
        let message = Message::parse(bytes).unwrap();
        if message.method() != Some(Method::Ack) && !self.is_to_be_taken(&message, way) {
            return;
        }
        match message.start() {
            Start::Request {
                method: Method::Register,
                ..
            } => self.register(&message, way),
            Start::Request {
                method: Method::Invite,
                ..
            } => self.invite(&message, way),
            Start::Request {
                method: Method::Ack,
                ..
            } => {
                self.counts.acks.fetch_add(1, Ordering::Relaxed);
            }
            Start::Request {
                method: Method::Bye,
                ..
            } => self.bye(&message, way),
            Start::Request { method, .. } => panic!("{method:?} to the double"),
            Start::Response { code: 200, .. }
                if message.cseq().unwrap().method == Method::Invite =>
            {
                self.device_answers(&message);
            }
            Start::Response { code, .. } => {
                // A phone that has lost its call may say that it knows of none.
                assert!(
                    [200, 481].contains(&code),
                    "{}",
                    String::from_utf8_lossy(bytes)
                );
            }
        }
    }

    /// Whether a message has to be looked at: a request once, a response each time, since it wants its ACK again. A request
    /// that was answered gets its answer again.
    fn is_to_be_taken(&self, m: &Message<'_>, way: &Way) -> bool {
        let mut heard = self.heard.lock().unwrap();
        let is_deaf = self.manner.deaf_at_first && matches!(way, Way::Udp(..));
        match heard.get_mut(m.as_bytes()) {
            None => {
                let first = if is_deaf { Heard::Missed } else { Heard::Taken };
                heard.insert(m.as_bytes().to_vec(), first);
                !is_deaf
            }
            Some(missed @ Heard::Missed) => {
                *missed = Heard::Taken;
                true
            }
            Some(Heard::Taken) => m.method().is_none(),
            Some(Heard::Answered(response)) => {
                way.send(response);
                false
            }
        }
    }

    fn answer(&self, m: &Message<'_>, way: &Way, response: Vec<u8>) {
        way.send(&response);
        self.remember(m, Heard::Answered(response));
    }

    fn remember(&self, m: &Message<'_>, what: Heard) {
        let mut heard = self.heard.lock().unwrap();
        heard.insert(m.as_bytes().to_vec(), what);
    }

    fn register(&self, m: &Message<'_>, way: &Way) {
        let aor = String::from_utf8(m.to().unwrap().uri.to_vec()).unwrap();
        let nth = {
            let mut registers = self.registers.lock().unwrap();
            *registers += 1;
            *registers
        };
        let is = |every: Option<u32>| every.is_some_and(|n| nth.is_multiple_of(n));
        let mut all = self.contacts.lock().unwrap();
        let list = all.entry(aor).or_default();
        let Some(contact) = m.contacts().next() else {
            // Which are there?
            return self.answer(m, way, respond_with(m, 200, list, None));
        };
        if is(self.manner.ignores_registers) {
            return self.remember(m, Heard::Missed);
        }
        let contact = contact.unwrap();
        let uri = String::from_utf8(contact.address().unwrap().uri.to_vec()).unwrap();
        list.retain(|u| *u != uri);
        if contact.expires() == Some(0) {
            self.counts.deregistered.fetch_add(1, Ordering::Relaxed);
        } else {
            list.push(uri);
            self.counts.registered.fetch_add(1, Ordering::Relaxed);
        }
        self.answer(m, way, respond_with(m, 200, list, None));
        if is(self.manner.forgets_registrations) {
            list.pop();
        }
    }

    fn invite(self: &Arc<Self>, m: &Message<'_>, way: &Way) {
        self.counts.invites.fetch_add(1, Ordering::Relaxed);
        let nth = self.counts.invites.load(Ordering::Relaxed);
        if let Some(code) = self.manner.refuses
            && nth.is_multiple_of(self.manner.refuses_every)
        {
            return self.answer(m, way, respond(m, code, self.sip, None));
        }
        let aor = String::from_utf8(m.to().unwrap().uri.to_vec()).unwrap();
        let contacts = self.contacts.lock().unwrap()[&aor].clone();
        let (call, devices) = {
            let mut calls = self.calls.lock().unwrap();
            let call = calls.len();
            let devices: Vec<Device> = contacts
                .into_iter()
                .map(|contact| Device {
                    way: self.way_to(&contact),
                    to: format!("<{aor}>"),
                    contact,
                    ended: false,
                })
                .collect();
            let ways: Vec<_> = devices
                .iter()
                .map(|d| (d.way.clone(), d.contact.clone(), d.to.clone()))
                .collect();
            calls.push(Call {
                invite: m.as_bytes().to_vec(),
                way: way.clone(),
                answered: false,
                devices,
            });
            (call, ways)
        };
        self.media.caller(call, self.peer_path(m.body()));
        for (j, (way, contact, to)) in devices.iter().enumerate() {
            let sdp = self.media.describe(&format!("s{call}d{j}"), Setup::ActPass);
            way.send(&self.request(Method::Invite, call, j, way, contact, to, Some(&sdp)));
        }
    }

    fn peer_path(&self, sdp: &[u8]) -> String {
        let session = Session::parse(sdp).unwrap();
        let media = session.media().next().unwrap();
        String::from_utf8(media.path().unwrap().to_vec()).unwrap()
    }

    fn device_answers(self: &Arc<Self>, m: &Message<'_>) {
        let call_id = std::str::from_utf8(m.call_id().unwrap()).unwrap();
        let (call, j) = place_of(call_id);
        let mut calls = self.calls.lock().unwrap();
        let c = &mut calls[call];
        let device = &mut c.devices[j];
        let is_new = !device.to.contains(";tag=");
        device.to = String::from_utf8(m.header(Name::To).unwrap().to_vec()).unwrap();
        let (way, contact, to) = (
            device.way.clone(),
            device.contact.clone(),
            device.to.clone(),
        );
        if is_new {
            let session = Session::parse(m.body()).unwrap();
            let passive = session.media().next().unwrap().setup() == Some(Setup::Passive);
            self.media
                .device(call, j, self.peer_path(m.body()), passive);
        }
        // Who has its ACK may be sent messages.
        way.send(&self.request(Method::Ack, call, j, &way, &contact, &to, None));
        if !c.answered {
            c.answered = true;
            let sdp = self.media.describe(&format!("s{call}"), self.manner.answer);
            let invite = Message::parse(&c.invite).unwrap();
            self.answer(&invite, &c.way, respond(&invite, 200, self.sip, Some(&sdp)));
            if self.manner.answer == Setup::Active {
                self.media.connect_to_caller(call);
            }
        }
    }

    fn bye(&self, m: &Message<'_>, way: &Way) {
        self.counts.byes.fetch_add(1, Ordering::Relaxed);
        self.answer(m, way, respond(m, 200, self.sip, None));
        let mut calls = self.calls.lock().unwrap();
        let id = m.call_id().unwrap();
        let call = calls
            .iter()
            .position(|c| Message::parse(&c.invite).unwrap().call_id().unwrap() == id)
            .unwrap();
        let last = calls[call].devices.iter().rposition(|d| !d.ended);
        for j in 0..calls[call].devices.len() {
            if !(self.manner.forgets_a_bye && Some(j) == last) {
                self.hang_up(&mut calls, call, j, None);
            }
        }
    }

    /// A device has answered: the others go.
    fn tear_down(&self, call: usize, kept: usize) {
        let mut calls = self.calls.lock().unwrap();
        let others: Vec<usize> = (0..calls[call].devices.len())
            .filter(|j| *j != kept)
            .collect();
        for &j in &others[self.manner.stay_beside.min(others.len())..] {
            self.hang_up(&mut calls, call, j, Some(self.manner.cause));
        }
    }

    fn hang_up(&self, calls: &mut [Call], call: usize, j: usize, cause: Option<u16>) {
        let d = &mut calls[call].devices[j];
        if !std::mem::replace(&mut d.ended, true) {
            let mut bye = self.request(Method::Bye, call, j, &d.way, &d.contact, &d.to, None);
            if let Some(cause) = cause {
                let end = bye.len() - b"\r\n".len();
                let reason = format!("Reason: SIP;cause={cause};text=\"elsewhere\"\r\n");
                bye.splice(end..end, reason.into_bytes());
            }
            d.way.send(&bye);
        }
    }

    fn way_to(self: &Arc<Self>, contact: &str) -> Way {
        let u = uri::sip::Uri::parse(contact.as_bytes()).unwrap();
        let to = SocketAddr::new(u.host.ip().unwrap(), u.port.unwrap());
        if u.transport() == Some(b"udp") {
            return Way::Udp(Arc::clone(&self.udp), to);
        }
        let mut all = self.connections.lock().unwrap();
        all.entry(to)
            .or_insert_with(|| self.read(TcpStream::connect(to).unwrap()))
            .clone()
    }

    #[expect(clippy::too_many_arguments, reason = "a request has so many parts")]
    fn request(
        &self,
        method: Method<'_>,
        call: usize,
        j: usize,
        way: &Way,
        contact: &str,
        to: &str,
        sdp: Option<&[u8]>,
    ) -> Vec<u8> {
        let mut out = Vec::new();
        let name = std::str::from_utf8(method.as_bytes()).unwrap();
        let cseq = if method == Method::Bye { 2 } else { 1 };
        let w = Writer::request(&mut out, method, contact.as_bytes())
            .header_fmt(
                Name::Via,
                format_args!(
                    "SIP/2.0/{} {};branch=z9hG4bK{name}{call}x{j};rport",
                    way.transport(),
                    self.sip
                ),
            )
            .header(Name::MaxForwards, b"70")
            .header_fmt(Name::From, format_args!("<sip:double@example.com>;tag=dbl"))
            .header(Name::To, to.as_bytes())
            .header_fmt(Name::CallId, format_args!("fork{call}x{j}"))
            .header_fmt(Name::CSeq, format_args!("{cseq} {name}"))
            .header_fmt(Name::Contact, format_args!("<sip:double@{}>", self.sip));
        match sdp {
            Some(sdp) => w.body(b"application/sdp", sdp).unwrap(),
            None => w.end().unwrap(),
        }
        out
    }
}

fn place_of(call_id: &str) -> (usize, usize) {
    let (call, j) = call_id
        .strip_prefix("fork")
        .unwrap()
        .split_once('x')
        .unwrap();
    (call.parse().unwrap(), j.parse().unwrap())
}

fn respond(m: &Message<'_>, code: u16, sip: SocketAddr, sdp: Option<&[u8]>) -> Vec<u8> {
    respond_with(m, code, &[format!("sip:double@{sip}")], sdp)
}

fn respond_with(m: &Message<'_>, code: u16, contacts: &[String], sdp: Option<&[u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut w = Writer::status(&mut out, code, b"");
    for name in [Name::Via, Name::From, Name::CallId, Name::CSeq] {
        w = w.header(name, m.header(name).unwrap());
    }
    let to = m.header(Name::To).unwrap();
    w = if m.to().unwrap().tag().is_some() {
        w.header(Name::To, to)
    } else {
        w.header(Name::To, &[to, b";tag=srv"].concat())
    };
    for contact in contacts {
        w = w.header_fmt(Name::Contact, format_args!("<{contact}>"));
    }
    match sdp {
        Some(sdp) => w.body(b"application/sdp", sdp).unwrap(),
        None => w.end().unwrap(),
    }
    out
}
