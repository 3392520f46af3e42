//! The session room between a real endpoint and a real registrar, peers as bytes: what a datagram causes, on a virtual clock.
//!
//! The data plane is not here: what it is told is kept, what it tells is said by the test.

use std::{collections::VecDeque, fmt::Write as _, net::SocketAddr, time::Duration};

use ringfork::{
    ids::{LegId, SessionId, ShardId, SocketId},
    msrp::{Command, Event, Failure, LegPeer},
    policy::Policy,
    session::{Counters, Effect, Function, SessionView, Settings},
    sip::{Endpoint, Flow, Listening, Output, Registrar, RegistrarSettings},
    time::Instant,
};

pub(crate) const SERVER: &str = "127.0.0.1:5060";
pub(crate) const ALICE: &str = "127.0.0.1:6000";
pub(crate) const MSRP: &str = "127.0.0.1:2855";
/// The feature tag of a CPM session, as a device registers it.
pub(crate) const TAG: &str =
    "+g.3gpp.icsi-ref=\"urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session\"";
pub(crate) const ELSEWHERE: &str = "SIP;cause=200;text=\"Call completed elsewhere\"";

pub(crate) fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub(crate) fn seconds(s: u64) -> Duration {
    Duration::from_secs(s)
}

pub(crate) fn settings() -> Settings {
    Settings {
        shard: ShardId(3),
        domains: vec!["example.com".into()],
        host: None,
        msrp_addr: addr(MSRP),
        sip_udp: Some(addr(SERVER)),
        sip_tcp: None,
        t1: Duration::from_millis(500),
        session_expires: seconds(1800),
        no_answer: seconds(120),
        cema: true,
        legacy_session_match: false,
        max_message_bytes: 1_000_000,
        contact_without_tags_suitable: false,
        trusted_peers: Vec::new(),
        sessions_max: 100,
        devices_max: 16,
        product: "CPM-serv/OMA2.2 Ringfork/test".into(),
    }
}

pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) endpoint: Endpoint,
    pub(crate) function: Function,
    pub(crate) registrar: Registrar,
    /// What left, in order: where to, when, what.
    pub(crate) sent: VecDeque<(SocketAddr, Instant, Message)>,
    /// What the data plane was told.
    pub(crate) media: Vec<Command>,
    pub(crate) ended: Vec<SessionId>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(|_, _| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Settings, &mut Policy)) -> Self {
        let (mut settings, mut policy) = (settings(), Policy::default());
        change(&mut settings, &mut policy);
        let endpoint = Endpoint::new(
            ringfork::sip::Settings {
                shard: settings.shard,
                host: None,
                listening: vec![Listening {
                    socket: SocketId(0),
                    tcp: false,
                    addr: addr(SERVER),
                }],
                t1: settings.t1,
                transactions_max: 1000,
                product: settings.product.clone(),
            },
            [1; 32],
        );
        let registrar = Registrar::new(RegistrarSettings::new(settings.domains.clone()), [2; 32]);
        Self {
            now: Instant::START + seconds(1),
            endpoint,
            function: Function::new(settings, policy, [3; 32]),
            registrar,
            sent: VecDeque::new(),
            media: Vec::new(),
            ended: Vec::new(),
        }
    }

    /// A datagram comes in.
    pub(crate) fn receive(&mut self, from: &str, bytes: impl AsRef<[u8]>) {
        let flow = Flow::Udp {
            socket: SocketId(0),
            peer: addr(from),
        };
        self.endpoint.handle_message(self.now, flow, bytes.as_ref());
        self.pump();
    }

    /// The data plane tells something.
    pub(crate) fn tell(&mut self, event: &Event) {
        self.function.handle_media(self.now, event);
        self.pump();
    }

    pub(crate) fn bound(&mut self, leg: u8) {
        let session = self.session();
        self.tell(&Event::Bound {
            session,
            leg: LegId(leg),
        });
    }

    pub(crate) fn activity(&mut self, leg: u8) {
        let session = self.session();
        self.tell(&Event::Activity {
            session,
            leg: LegId(leg),
            settled: true,
        });
    }

    pub(crate) fn failed(&mut self, leg: u8, why: Failure) {
        let session = self.session();
        self.tell(&Event::Failed {
            session,
            leg: LegId(leg),
            why,
        });
    }

    /// The operator ends the session.
    pub(crate) fn end(&mut self) {
        let session = self.session();
        assert!(self.function.end(self.now, session));
        self.pump();
    }

    /// The shard goes down.
    pub(crate) fn drain(&mut self) {
        self.function.drain(self.now);
        self.pump();
    }

    fn pump(&mut self) {
        loop {
            let mut idle = true;
            while let Some(event) = self.endpoint.poll_event() {
                idle = false;
                self.function
                    .handle_sip(self.now, &event, &mut self.registrar);
            }
            while let Some(event) = self.registrar.poll_event() {
                idle = false;
                self.function.handle_registration(self.now, &event);
            }
            while let Some(effect) = self.function.poll_effect() {
                idle = false;
                self.apply(effect);
            }
            if idle {
                break;
            }
        }
        while let Some(output) = self.endpoint.poll_output() {
            match output {
                Output::Datagram { to, bytes, .. } => {
                    self.sent.push_back((to, self.now, Message::read(&bytes)));
                }
                other => panic!("only datagrams here: {other:?}"),
            }
        }
    }

    fn apply(&mut self, effect: Effect) {
        match effect {
            Effect::Respond { txn, reply } => self.endpoint.respond(self.now, txn, reply),
            Effect::Request(draft) => self.endpoint.request(self.now, draft),
            Effect::Cancel { of, headers } => self.endpoint.cancel(self.now, of, &headers),
            Effect::Send { target, message } => self.endpoint.send(self.now, target, message),
            Effect::Media(command) => self.media.push(command),
            Effect::Ended { session } => self.ended.push(session),
        }
    }

    /// Lets time pass, every timer at its time.
    pub(crate) fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        loop {
            let next = [
                self.endpoint.poll_timeout(),
                self.function.poll_timeout(),
                self.registrar.poll_timeout(),
            ]
            .into_iter()
            .flatten()
            .min()
            .filter(|at| *at <= end);
            let Some(at) = next else { break };
            self.now = self.now.max(at);
            self.endpoint.handle_timeout(self.now);
            self.registrar.handle_timeout(self.now);
            self.function.handle_timeout(self.now);
            self.pump();
        }
        self.now = end;
    }

    /// The next message to a peer whose start line begins so; what else it got before is dropped only if it is a 100 or a
    /// repeat of what is waited for.
    pub(crate) fn expect(&mut self, to: &str, start: &str) -> Message {
        let at = self
            .sent
            .iter()
            .position(|(a, _, m)| *a == addr(to) && m.start.starts_with(start));
        let Some(at) = at else {
            panic!("nothing to {to} begins with {start:?}: {}", self.listing());
        };
        self.sent.remove(at).unwrap().2
    }

    /// Nothing (more) for a peer that begins so.
    pub(crate) fn expect_none(&self, to: &str, start: &str) {
        let found = self
            .sent
            .iter()
            .any(|(a, _, m)| *a == addr(to) && m.start.starts_with(start));
        assert!(!found, "{to} got {start:?}: {}", self.listing());
    }

    /// Forgets what was sent.
    pub(crate) fn forget(&mut self) {
        self.sent.clear();
    }

    /// The messages to a peer that begin so, taken out.
    pub(crate) fn all(&mut self, to: &str, start: &str) -> Vec<Message> {
        let mut found = Vec::new();
        self.sent.retain(|(a, _, m)| {
            let hit = *a == addr(to) && m.start.starts_with(start);
            if hit {
                found.push(m.clone());
            }
            !hit
        });
        found
    }

    fn listing(&self) -> String {
        self.sent
            .iter()
            .fold(String::new(), |mut out, (to, at, m)| {
                let _ = write!(out, "\n  {at:?} to {to}: {}", m.start);
                out
            })
    }

    /// The one session.
    pub(crate) fn session(&self) -> SessionId {
        self.view().session
    }

    pub(crate) fn view(&self) -> SessionView {
        let mut views = self.function.views();
        assert_eq!(views.len(), 1, "one session");
        views.remove(0)
    }

    /// The state and the reason of a leg.
    pub(crate) fn leg(&self, leg: u8) -> (&'static str, String) {
        let view = self.view().legs.swap_remove(usize::from(leg));
        (view.state, view.why)
    }

    /// What the data plane knows of the peer of a leg: the last word.
    pub(crate) fn peer(&self, leg: u8) -> LegPeer {
        self.media
            .iter()
            .rev()
            .find_map(|c| match c {
                Command::Start { leg: l, peer, .. } | Command::Update { leg: l, peer, .. }
                    if *l == LegId(leg) =>
                {
                    Some(peer.clone())
                }
                _ => None,
            })
            .unwrap_or_else(|| panic!("leg {leg} was never started"))
    }

    pub(crate) fn counters(&self) -> Counters {
        self.function.counters()
    }

    /// Everything has returned to zero.
    pub(crate) fn assert_empty(&mut self) {
        assert!(
            self.function.is_empty(),
            "left: {:?} {:?}",
            self.function.views(),
            self.counters()
        );
        let c = self.counters();
        assert_eq!((c.sessions, c.legs, c.dialogs, c.relays), (0, 0, 0, 0));
        let opened = self
            .media
            .iter()
            .filter(|c| matches!(c, Command::Open { .. }));
        let closed = self
            .media
            .iter()
            .filter(|c| matches!(c, Command::Close { .. }));
        assert_eq!(opened.count(), closed.count(), "the data plane has let go");
        // Timers B, D, F, H, I, J, K, L and M are over by then.
        self.advance(seconds(70));
        assert!(self.endpoint.is_empty(), "{:?}", self.endpoint.counts());
    }
}

/// A message as a peer reads it.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) start: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Message {
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let text = std::str::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").expect("a blank line");
        let mut lines = head.split("\r\n");
        let start = lines.next().unwrap().to_owned();
        let headers: Vec<(String, String)> = lines
            .map(|l| l.split_once(": ").expect("name and value"))
            .map(|(n, v)| (n.to_owned(), v.to_owned()))
            .collect();
        let message = Self {
            start,
            headers,
            body: body.to_owned(),
        };
        assert_eq!(
            message.header("Content-Length"),
            Some(body.len().to_string().as_str()),
            "{text}"
        );
        message
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
    }

    pub(crate) fn get(&self, name: &str) -> &str {
        self.header(name)
            .unwrap_or_else(|| panic!("no {name} in {self:#?}"))
    }

    pub(crate) fn all<'m>(&'m self, name: &'m str) -> impl Iterator<Item = &'m str> {
        self.headers
            .iter()
            .filter(move |(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
    }

    /// The Request-URI.
    pub(crate) fn uri(&self) -> &str {
        self.start.split(' ').nth(1).unwrap()
    }

    pub(crate) fn tag(&self, name: &str) -> &str {
        self.get(name)
            .split_once(";tag=")
            .unwrap_or_else(|| panic!("no tag in {name}: {self:#?}"))
            .1
            .split(';')
            .next()
            .unwrap()
    }

    /// The URI of Contact.
    pub(crate) fn contact(&self) -> &str {
        let value = self.get("Contact");
        let from = value.find('<').unwrap() + 1;
        &value[from..from + value[from..].find('>').unwrap()]
    }

    pub(crate) fn cseq(&self) -> u32 {
        self.get("CSeq").split(' ').next().unwrap().parse().unwrap()
    }

    /// The values of an SDP line or attribute: `m`, `c`, `a=path`.
    pub(crate) fn sdp<'m>(&'m self, name: &'m str) -> Vec<&'m str> {
        let line = |l: &'m str| {
            let rest = l.strip_prefix(name)?;
            match rest.strip_prefix(['=', ':']) {
                Some(value) => Some(value),
                None if rest.is_empty() => Some(""),
                None => None,
            }
        };
        self.body.split("\r\n").filter_map(line).collect()
    }

    /// A response of a peer to this request, with a tag of its own.
    pub(crate) fn respond(&self, code: u16, tag: &str, more: &str, sdp: &str) -> String {
        let mut out = format!("SIP/2.0 {code} Whatever\r\n");
        for name in ["Via", "Record-Route", "From", "To", "Call-ID", "CSeq"] {
            for value in self.all(name) {
                let tagged = name == "To" && !value.contains(";tag=") && !tag.is_empty();
                let tag = if tagged {
                    format!(";tag={tag}")
                } else {
                    String::new()
                };
                let _ = write!(out, "{name}: {value}{tag}\r\n");
            }
        }
        out.push_str(more);
        end(&mut out, sdp);
        out
    }
}

/// Ends a message with its body.
fn end(out: &mut String, sdp: &str) {
    if !sdp.is_empty() {
        out.push_str("Content-Type: application/sdp\r\n");
    }
    let _ = write!(out, "Content-Length: {}\r\n\r\n{sdp}", sdp.len());
}

/// A description with one MSRP line.
pub(crate) fn sdp(name: &str, port: u16, more: &str) -> String {
    sdp_version(name, 1, port, more)
}

pub(crate) fn sdp_version(name: &str, version: u32, port: u16, more: &str) -> String {
    format!(
        "v=0\r\no={name} 1 {version} IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
         m=message {port} TCP/MSRP *\r\na=accept-types:message/cpim application/im-iscomposing+xml\r\n\
         a=path:msrp://127.0.0.1:{port}/{name};tcp\r\n{more}"
    )
}

/// The originator.
pub(crate) struct Alice {
    pub(crate) call_id: &'static str,
    pub(crate) cseq: u32,
    pub(crate) to: String,
    pub(crate) sdp: String,
    pub(crate) more: String,
    pub(crate) contact: String,
    pub(crate) uri: String,
    pub(crate) from: String,
}

impl Alice {
    pub(crate) fn new() -> Self {
        Self {
            call_id: "call-1",
            cseq: 10,
            to: "<sip:bob@example.com>".into(),
            sdp: sdp("alice", 6002, "a=setup:actpass\r\n"),
            more: String::new(),
            contact: format!("<sip:alice@{ALICE}>"),
            uri: "sip:bob@example.com".into(),
            from: "\"Alice\" <sip:alice@example.com>;tag=alicetag".into(),
        }
    }

    pub(crate) fn request(&self, method: &str, branch: &str, more: &str, sdp: &str) -> String {
        let mut out = format!(
            "{method} {} SIP/2.0\r\nVia: SIP/2.0/UDP {ALICE};branch=z9hG4bK{branch}\r\n\
             Max-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {} {method}\r\n",
            self.uri, self.from, self.to, self.call_id, self.cseq
        );
        if matches!(method, "INVITE" | "UPDATE") {
            let _ = write!(out, "Contact: {}\r\n", self.contact);
        }
        out.push_str(more);
        end(&mut out, sdp);
        out
    }

    pub(crate) fn invite(&self) -> String {
        self.request("INVITE", "invite", &self.more, &self.sdp)
    }

    /// Takes the dialog from our 200.
    pub(crate) fn answered(&mut self, ok: &Message) {
        self.uri = ok.contact().to_owned();
        self.to = ok.get("To").to_owned();
    }

    pub(crate) fn ack(&self) -> String {
        self.request("ACK", &format!("ack{}", self.cseq), "", "")
    }

    /// A request with the next number.
    pub(crate) fn next(&mut self, method: &str, more: &str, sdp: &str) -> String {
        self.cseq += 1;
        self.request(method, &format!("{method}{}", self.cseq), more, sdp)
    }
}

/// A device of the user.
#[derive(Clone)]
pub(crate) struct Phone {
    pub(crate) addr: String,
    pub(crate) name: String,
    pub(crate) tag: String,
    pub(crate) invite: Option<Message>,
    pub(crate) cseq: u32,
}

impl Phone {
    /// Device `n` of Bob's, at a port of its own.
    pub(crate) fn new(n: u16) -> Self {
        Self {
            addr: format!("127.0.0.1:{}", 7000 + n),
            name: format!("dev{n}"),
            tag: format!("devtag{n}"),
            invite: None,
            cseq: 100,
        }
    }

    pub(crate) fn contact(&self) -> String {
        format!("<sip:bob-{}@{}>", self.name, self.addr)
    }

    pub(crate) fn register(&self, world: &mut World, params: &str) {
        self.register_for(world, params, 3600, 1);
    }

    pub(crate) fn register_for(&self, world: &mut World, params: &str, expires: u32, cseq: u32) {
        let text = format!(
            "REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=z9hG4bKreg{}{cseq}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:bob@example.com>;tag={}\r\nTo: <sip:bob@example.com>\r\n\
             Call-ID: reg-{}\r\nCSeq: {cseq} REGISTER\r\nContact: {}{params};expires={expires}\r\n\
             Content-Length: 0\r\n\r\n",
            self.addr,
            self.name,
            self.name,
            self.name,
            self.contact()
        );
        world.receive(&self.addr, text);
        world.expect(&self.addr, "SIP/2.0 200");
    }

    /// Takes the INVITE that it got.
    pub(crate) fn invited(&mut self, world: &mut World) -> Message {
        let invite = world.expect(&self.addr, "INVITE ");
        self.invite = Some(invite.clone());
        invite
    }

    pub(crate) fn answer(&self, world: &mut World, code: u16, more: &str, sdp: &str) {
        let invite = self.invite.as_ref().expect("an INVITE");
        let contact = format!("Contact: {}\r\n{more}", self.contact());
        let text = invite.respond(code, &self.tag, &contact, sdp);
        world.receive(&self.addr, text);
    }

    pub(crate) fn port(&self) -> u16 {
        addr(&self.addr).port() + 1000
    }

    /// Its usual answer: passive.
    pub(crate) fn sdp(&self) -> String {
        sdp(&self.name, self.port(), "a=setup:passive\r\n")
    }

    /// Accepts, and takes the ACK.
    pub(crate) fn accept(&self, world: &mut World) -> Message {
        self.answer(world, 200, "", &self.sdp());
        world.expect(&self.addr, "ACK ")
    }

    /// A request of its own within the dialog.
    pub(crate) fn next(&mut self, method: &str, more: &str, sdp: &str) -> String {
        let invite = self.invite.as_ref().expect("an INVITE");
        self.cseq += 1;
        let mut out = format!(
            "{method} {} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=z9hG4bK{}{}\r\nMax-Forwards: 70\r\n\
             From: {};tag={}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {} {method}\r\n",
            invite.contact(),
            self.addr,
            self.name,
            self.cseq,
            invite.get("To"),
            self.tag,
            invite.get("From"),
            invite.get("Call-ID"),
            self.cseq
        );
        if matches!(method, "INVITE" | "UPDATE") {
            let _ = write!(out, "Contact: {}\r\n", self.contact());
        }
        out.push_str(more);
        end(&mut out, sdp);
        out
    }
}

/// `n` devices of Bob's, registered with the CPM tag, and Alice's INVITE sent: each has it.
pub(crate) fn invited(world: &mut World, n: u16, alice: &Alice) -> Vec<Phone> {
    let mut phones: Vec<Phone> = (1..=n).map(Phone::new).collect();
    for phone in &phones {
        phone.register(world, &format!(";{TAG}"));
    }
    world.receive(ALICE, alice.invite());
    for phone in &mut phones {
        phone.invited(world);
    }
    phones
}

/// The same, all have accepted in order and Alice has acknowledged.
pub(crate) fn established(world: &mut World, n: u16, alice: &mut Alice) -> Vec<Phone> {
    let phones = invited(world, n, alice);
    for phone in &phones {
        phone.accept(world);
    }
    let ok = world.expect(ALICE, "SIP/2.0 200");
    alice.answered(&ok);
    let ack = alice.ack();
    world.receive(ALICE, ack);
    world.forget();
    phones
}
