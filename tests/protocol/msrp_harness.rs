//! One plane, its sender and its devices: bytes in, bytes out, a virtual clock. The peers here read MSRP by themselves, not by
//! the engine's own parser, so that they are a second opinion of what is on the wire.

use std::{collections::HashMap, net::SocketAddr, rc::Rc, time::Duration};

use ringfork::{
    buf::{Outbox, Region, Slice},
    ids::{ConnId, LegId, SessionId, ShardId},
    msrp::{
        Ack, Command, Direction, Event, LegOffer, LegPeer, Matching, Output, Plane, Role, Settings,
    },
    time::Instant,
};
use slotmap::{SecondaryMap, SlotMap};

/// How a peer's bytes are cut into segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cuts {
    /// As they were written.
    None,
    /// One byte at a time.
    Bytes,
    /// At places from a seed.
    Random(u64),
}

/// Runs a scenario with each way to cut the input. `[MSRP-FRAME-07]`
pub(crate) fn each_way(scenario: impl Fn(&mut World)) {
    each_way_with(settings(), scenario);
}

/// As [`each_way`], with settings of its own.
pub(crate) fn each_way_with(settings: Settings, scenario: impl Fn(&mut World)) {
    let seeds = (1..=6).map(Cuts::Random);
    for cuts in [Cuts::None, Cuts::Bytes].into_iter().chain(seeds) {
        let mut world = World::new(settings.clone(), cuts);
        scenario(&mut world);
    }
}

pub(crate) fn settings() -> Settings {
    Settings {
        shard: ShardId(1),
        shards: 4,
        ack: Ack::Held,
        outbox_bytes: 1 << 20,
        max_message_bytes: 100 << 20,
        bind: Duration::from_secs(30),
        stall: Duration::from_secs(10),
        unanswered_max: 4096,
        sessions_max: 100,
        connections_max: 1000,
        kept_bytes_max: 64 << 20,
        not_activity: b"text/x-msrp-heartbeat"[..].into(),
        idle: Duration::from_secs(60),
    }
}

/// A message as a peer reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Msg {
    pub(crate) tid: String,
    /// `SEND`, `REPORT`, or a code with its comment.
    pub(crate) what: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Option<Vec<u8>>,
    pub(crate) flag: u8,
    /// All of it, as it was on the wire.
    pub(crate) raw: Vec<u8>,
}

impl Msg {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }

    pub(crate) fn is_send(&self) -> bool {
        self.what == "SEND"
    }

    pub(crate) fn code(&self) -> Option<u16> {
        self.what.get(..3)?.parse().ok()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(self.body.as_deref().unwrap_or_default()).into_owned()
    }
}

/// Reads messages by RFC 4975 §9, and nothing that is not one. What is incomplete stays.
pub(crate) fn read_messages(bytes: &mut Vec<u8>) -> Vec<Msg> {
    let mut all = Vec::new();
    while let Some((msg, len)) = read_message(bytes) {
        bytes.drain(..len);
        all.push(msg);
    }
    all
}

fn find(bytes: &[u8], from: usize, what: &[u8]) -> Option<usize> {
    bytes[from..]
        .windows(what.len())
        .position(|w| w == what)
        .map(|i| from + i)
}

fn read_message(bytes: &[u8]) -> Option<(Msg, usize)> {
    let line_end = find(bytes, 0, b"\r\n")?;
    let start = std::str::from_utf8(&bytes[..line_end]).expect("a start line is text");
    let mut words = start.splitn(3, ' ');
    assert_eq!(words.next(), Some("MSRP"), "start line {start:?}");
    let tid = words.next().expect("a transaction id").to_owned();
    let what = words.next().expect("a method or code").to_owned();
    assert!(
        (4..=32).contains(&tid.len())
            && tid.as_bytes()[0].is_ascii_alphanumeric()
            && tid
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b".-+%=".contains(&b)),
        "an ident: {tid:?}"
    );
    let mut headers = Vec::new();
    let mut at = line_end + 2;
    let end_line = format!("-------{tid}");
    let closes = |at: usize| -> Option<u8> {
        let rest = bytes.get(at..)?;
        let tail = rest.strip_prefix(end_line.as_bytes())?;
        match tail {
            [flag @ (b'$' | b'+' | b'#'), b'\r', b'\n', ..] => Some(*flag),
            _ => None,
        }
    };
    let done = |headers, body, flag, len: usize| {
        Some((
            Msg {
                tid: tid.clone(),
                what: what.clone(),
                headers,
                body,
                flag,
                raw: bytes[..len].to_vec(),
            },
            len,
        ))
    };
    loop {
        let end = find(bytes, at, b"\r\n")?;
        if end == at {
            // The blank line: a body follows, which ends with CRLF and the end-line.
            let body_at = at + 2;
            let mut from = body_at;
            loop {
                let hit = find(bytes, from, b"\r\n-------")?;
                if bytes.len() < hit + 2 + end_line.len() + 3 {
                    return None;
                }
                if let Some(flag) = closes(hit + 2) {
                    let body = bytes[body_at..hit].to_vec();
                    return done(headers, Some(body), flag, hit + 2 + end_line.len() + 3);
                }
                from = hit + 1;
            }
        }
        if let Some(flag) = closes(at) {
            return done(headers, None, flag, at + end_line.len() + 3);
        }
        let line = std::str::from_utf8(&bytes[at..end]).expect("a header is text");
        let (name, value) = line.split_once(": ").expect("a header line");
        headers.push((name.to_owned(), value.to_owned()));
        at = end + 2;
    }
}

/// The other end of a connection.
#[derive(Debug, Default)]
pub(crate) struct Peer {
    /// What came and was not read yet.
    pub(crate) inbox: Vec<u8>,
    /// How many bytes it still takes; `None`: all.
    pub(crate) takes: Option<usize>,
    blocked: bool,
    pub(crate) closed: bool,
}

/// Memory as a receive buffer would be: holding a slice of it is seen as pinning.
struct Ring(Box<[u8]>);

impl Region for Ring {
    fn bytes(&self, start: usize, len: usize) -> &[u8] {
        &self.0[start..start + len]
    }
    fn pinned(&self) -> bool {
        true
    }
}

/// A leg as a test sees it.
#[derive(Clone, Debug)]
pub(crate) struct Leg {
    pub(crate) session: SessionId,
    pub(crate) leg: LegId,
    /// Our URI on it.
    pub(crate) own: String,
    /// The peer's path.
    pub(crate) path: String,
    pub(crate) conn: ConnId,
}

pub(crate) struct World {
    pub(crate) plane: Plane,
    pub(crate) outbox: Outbox,
    pub(crate) now: Instant,
    pub(crate) peers: SecondaryMap<ConnId, Peer>,
    pub(crate) events: Vec<Event>,
    pub(crate) outputs: Vec<Output>,
    /// Where the plane asked to connect a leg to, last.
    asked: HashMap<(SessionId, LegId), SocketAddr>,
    conns: SlotMap<ConnId, ()>,
    sessions: SlotMap<SessionId, ()>,
    cuts: Cuts,
    chance: u64,
    next_id: u32,
}

pub(crate) const ADDRESS: &str = "127.0.0.1:2855";

impl World {
    pub(crate) fn new(settings: Settings, cuts: Cuts) -> Self {
        let chance = match cuts {
            Cuts::Random(seed) => seed,
            Cuts::None | Cuts::Bytes => 1,
        };
        Self {
            plane: Plane::new(settings, [7; 32]),
            outbox: Outbox::new(64 << 20),
            now: Instant::from_nanos(1_000_000_000),
            peers: SecondaryMap::new(),
            events: Vec::new(),
            outputs: Vec::new(),
            asked: HashMap::new(),
            conns: SlotMap::with_key(),
            sessions: SlotMap::with_key(),
            cuts,
            chance,
            next_id: 0,
        }
    }

    /// Uncut, with the usual settings.
    pub(crate) fn plain() -> Self {
        Self::new(settings(), Cuts::None)
    }

    pub(crate) fn chance(&mut self, below: u64) -> u64 {
        self.chance = self
            .chance
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.chance >> 33) % below
    }

    /// A fresh id for a transaction or message of a peer.
    pub(crate) fn id(&mut self, prefix: &str) -> String {
        self.next_id += 1;
        format!("{prefix}{:06}", self.next_id)
    }

    pub(crate) fn command(&mut self, command: Command) {
        self.plane.command(self.now, command, &mut self.outbox);
        self.settle();
    }

    /// A connection that a peer opens to us.
    pub(crate) fn accept(&mut self) -> ConnId {
        let conn = self.conns.insert(());
        self.outbox.add(conn);
        self.peers.insert(conn, Peer::default());
        self.plane.handle_accepted(self.now, conn);
        self.settle();
        conn
    }

    /// A session without legs.
    pub(crate) fn open(&mut self) -> SessionId {
        self.open_for(0, None)
    }

    /// The same, for a user, from a source.
    pub(crate) fn open_for(&mut self, user: u64, source: Option<u64>) -> SessionId {
        let session = self.sessions.insert(());
        self.command(Command::Open {
            session,
            user,
            source,
        });
        session
    }

    pub(crate) fn offer(
        &mut self,
        session: SessionId,
        leg: LegId,
        types: &str,
        wrapped: &str,
    ) -> String {
        let id = self.plane.mint(session, leg);
        let own = format!("msrp://{ADDRESS}/{id};tcp");
        self.command(Command::Offer {
            session,
            leg,
            offer: LegOffer {
                own_uri: own.clone().into_bytes().into(),
                accept_types: types.as_bytes().to_vec(),
                accept_wrapped_types: wrapped.as_bytes().to_vec(),
            },
        });
        own
    }

    pub(crate) fn peer(path: &str) -> LegPeer {
        LegPeer {
            path: path.as_bytes().into(),
            role: Role::Passive,
            connect_to: None,
            matching: Matching::Strict,
            accept_types: b"*".to_vec(),
            accept_wrapped_types: b"*".to_vec(),
            max_size: None,
            direction: Direction {
                peer_sends: true,
                peer_receives: true,
            },
        }
    }

    /// A leg whose peer has connected and named it by a SEND without a body.
    pub(crate) fn leg(&mut self, session: SessionId, leg: u8) -> Leg {
        self.leg_like(session, leg, |_| ())
    }

    pub(crate) fn leg_like(
        &mut self,
        session: SessionId,
        leg: u8,
        change: impl FnOnce(&mut LegPeer),
    ) -> Leg {
        let mut leg = self.unbound_leg(session, leg, change);
        leg.conn = self.accept();
        self.bind(&leg);
        leg
    }

    /// As [`World::leg`], for one to which something may be sent as soon as it is bound.
    pub(crate) fn leg_after(&mut self, session: SessionId, leg: u8) -> Leg {
        let mut leg = self.unbound_leg(session, leg, |_| ());
        leg.conn = self.accept();
        let tid = self.id("bind");
        let bytes = bare(&tid, &leg);
        self.feed(leg.conn, &bytes);
        leg
    }

    /// A leg that has no connection yet.
    pub(crate) fn unbound_leg(
        &mut self,
        session: SessionId,
        leg: u8,
        change: impl FnOnce(&mut LegPeer),
    ) -> Leg {
        let id = LegId(leg);
        let own = self.offer(session, id, "*", "*");
        let path = format!("msrp://peer{leg}.example.com:7{leg:03}/peersession{leg};tcp");
        let mut peer = Self::peer(&path);
        change(&mut peer);
        let path = String::from_utf8(peer.path.to_vec()).unwrap();
        self.command(Command::Start {
            session,
            leg: id,
            peer,
        });
        Leg {
            session,
            leg: id,
            own,
            path,
            conn: ConnId::default(),
        }
    }

    /// The peer of a leg sends a SEND without a body on its connection, and reads the answer.
    pub(crate) fn bind(&mut self, leg: &Leg) {
        let tid = self.id("bind");
        let bytes = bare(&tid, leg);
        self.feed(leg.conn, &bytes);
        let answers = self.read(leg.conn);
        assert!(
            answers.iter().any(|m| m.tid == tid && m.what == "200 OK"),
            "bound: {answers:?}"
        );
    }

    /// A session of one sender and `devices` devices, all connected. The legs, the sender first.
    pub(crate) fn session(&mut self, devices: u8) -> Vec<Leg> {
        let session = self.open();
        let legs: Vec<Leg> = (0..=devices).map(|n| self.leg(session, n)).collect();
        self.events.clear();
        legs
    }

    /// Bytes from a peer, cut as this world cuts.
    pub(crate) fn feed(&mut self, conn: ConnId, bytes: &[u8]) {
        let mut at = 0;
        while at < bytes.len() {
            let left = bytes.len() - at;
            let take = match self.cuts {
                Cuts::None => left,
                Cuts::Bytes => 1,
                Cuts::Random(_) => {
                    let most = match self.chance(4) {
                        0 => 4,
                        1 => 60,
                        2 => 1500,
                        _ => 20_000,
                    };
                    (1 + self.chance(most) as usize).min(left)
                }
            };
            self.feed_once(conn, &bytes[at..at + take]);
            at += take;
        }
    }

    /// Bytes from a peer in one segment.
    pub(crate) fn feed_once(&mut self, conn: ConnId, bytes: &[u8]) {
        let len = u32::try_from(bytes.len()).unwrap();
        let region: Rc<dyn Region> = Rc::new(Ring(bytes.into()));
        let slice = Slice::new(region, 0, len);
        self.plane
            .handle_bytes(self.now, conn, slice, &mut self.outbox);
        self.settle();
    }

    /// Carries bytes to the peers and collects what the plane says.
    pub(crate) fn settle(&mut self) {
        loop {
            while let Some(event) = self.plane.poll_event() {
                self.events.push(event);
            }
            while let Some(output) = self.plane.poll_output() {
                match &output {
                    Output::Close { conn, .. } => {
                        if let Some(peer) = self.peers.get_mut(*conn) {
                            peer.closed = true;
                        }
                    }
                    Output::Connect { session, leg, to } => {
                        self.asked.insert((*session, *leg), *to);
                    }
                    Output::Pause { .. }
                    | Output::Resume { .. }
                    | Output::HandOver { .. }
                    | Output::Foreign { .. } => {}
                }
                self.outputs.push(output);
            }
            self.carry();
            let closed: Vec<ConnId> = self
                .peers
                .iter()
                .filter(|(c, p)| p.closed && self.conns.contains_key(*c))
                .map(|(c, _)| c)
                .collect();
            if closed.is_empty() {
                return;
            }
            for conn in closed {
                self.drop_conn(conn);
            }
        }
    }

    fn carry(&mut self) {
        while let Some(conn) = self.outbox.next_dirty() {
            let all: Vec<u8> = self.outbox.gather(conn).flatten().copied().collect();
            let peer = self.peers.get_mut(conn).expect("a known connection");
            let taken = peer.takes.map_or(all.len(), |t| t.min(all.len()));
            if let Some(t) = &mut peer.takes {
                *t -= taken;
            }
            peer.blocked = taken < all.len();
            peer.inbox.extend_from_slice(&all[..taken]);
            self.outbox.sent(conn, all.len(), taken);
        }
        self.outbox.end_turn();
    }

    /// A peer that was slow takes `bytes` more.
    pub(crate) fn take(&mut self, conn: ConnId, bytes: usize) {
        let peer = &mut self.peers[conn];
        peer.takes = Some(bytes);
        peer.blocked = false;
        self.outbox.writable(conn);
        self.carry();
        self.plane.handle_drained(self.now, conn, &mut self.outbox);
        self.settle();
    }

    /// A connection goes down, from the peer's side.
    pub(crate) fn drop_conn(&mut self, conn: ConnId) {
        self.conns.remove(conn);
        self.peers[conn].closed = true;
        self.plane.handle_closed(self.now, conn, &mut self.outbox);
        self.outbox.remove(conn);
        self.settle();
    }

    /// The shard opens the connection that the plane asked for last; it is not up yet.
    pub(crate) fn connecting(&mut self, session: SessionId, leg: LegId) -> ConnId {
        let conn = self.conns.insert(());
        self.outbox.add(conn);
        self.peers.insert(conn, Peer::default());
        let to = self.asked[&(session, leg)];
        self.plane.handle_connecting((session, leg), to, conn);
        conn
    }

    /// The connection that the plane asked for last is up; the peer sees it.
    pub(crate) fn connected(&mut self, session: SessionId, leg: LegId) -> ConnId {
        let conn = self.connecting(session, leg);
        self.up(conn);
        conn
    }

    /// A connection that was being opened is up.
    pub(crate) fn up(&mut self, conn: ConnId) {
        let ours: SocketAddr = "127.0.0.1:50000".parse().unwrap();
        self.plane
            .handle_connected(self.now, conn, Ok(ours), &mut self.outbox);
        self.settle();
    }

    /// It could not be opened.
    pub(crate) fn not_connected(&mut self, session: SessionId, leg: LegId) {
        let conn = self.conns.insert(());
        let to = self.asked[&(session, leg)];
        self.plane.handle_connecting((session, leg), to, conn);
        self.plane
            .handle_connected(self.now, conn, Err(()), &mut self.outbox);
        self.conns.remove(conn);
        self.settle();
    }

    /// Lets time pass, timer by timer.
    pub(crate) fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(next) = self.plane.poll_timeout()
            && next <= until
        {
            self.now = self.now.max(next);
            self.plane.handle_timeout(self.now, &mut self.outbox);
            self.settle();
        }
        self.now = until;
        self.plane.handle_timeout(self.now, &mut self.outbox);
        self.settle();
    }

    /// The whole messages that a peer has got since it last read.
    pub(crate) fn read(&mut self, conn: ConnId) -> Vec<Msg> {
        read_messages(&mut self.peers[conn].inbox)
    }

    /// The SENDs that a peer has got; nothing else may have come.
    pub(crate) fn sends(&mut self, conn: ConnId) -> Vec<Msg> {
        let all = self.read(conn);
        assert!(all.iter().all(Msg::is_send), "only SENDs: {all:?}");
        all
    }

    /// The one message that a peer has got.
    pub(crate) fn one(&mut self, conn: ConnId) -> Msg {
        let mut all = self.read(conn);
        assert_eq!(all.len(), 1, "one message: {all:?}");
        all.remove(0)
    }

    /// The code of the one response that a peer has got for `tid`.
    pub(crate) fn answer(&mut self, conn: ConnId, tid: &str) -> Option<u16> {
        self.read(conn)
            .iter()
            .find(|m| m.tid == tid)
            .and_then(Msg::code)
    }

    /// A device answers a SEND.
    pub(crate) fn respond(&mut self, leg: &Leg, send: &Msg, code: u16) {
        let bytes = format!(
            "MSRP {} {code} x\r\nTo-Path: {}\r\nFrom-Path: {}\r\n-------{}$\r\n",
            send.tid, leg.own, leg.path, send.tid
        );
        self.feed(leg.conn, bytes.as_bytes());
    }

    /// A device reads every SEND that came and answers each 200; what it read.
    pub(crate) fn ack_all(&mut self, leg: &Leg) -> Vec<Msg> {
        let sends: Vec<Msg> = self
            .read(leg.conn)
            .into_iter()
            .filter(Msg::is_send)
            .collect();
        for send in &sends {
            self.respond(leg, send, 200);
        }
        sends
    }

    /// A device reports.
    pub(crate) fn report(&mut self, leg: &Leg, id: &str, range: Option<&str>, status: &str) {
        let tid = self.id("rep");
        let range = range.map_or(String::new(), |r| format!("Byte-Range: {r}\r\n"));
        let bytes = format!(
            "MSRP {tid} REPORT\r\nTo-Path: {}\r\nFrom-Path: {}\r\nMessage-ID: {id}\r\n{range}Status: {status}\r\n-------{tid}$\r\n",
            leg.own, leg.path
        );
        self.feed(leg.conn, bytes.as_bytes());
    }

    /// Everything ends: the session is closed and its connections with it; then nothing may be left.
    pub(crate) fn end(&mut self, session: SessionId) {
        self.end_all(&[session]);
    }

    /// As [`World::end`], for several.
    pub(crate) fn end_all(&mut self, sessions: &[SessionId]) {
        for &session in sessions {
            self.command(Command::Close { session });
        }
        self.pass(Duration::from_secs(70));
        assert!(self.plane.is_empty(), "{:?}", self.plane.gauges());
        assert_eq!(self.outbox.spilled(), 0);
    }
}

/// A SEND without a body.
pub(crate) fn bare(tid: &str, leg: &Leg) -> Vec<u8> {
    format!(
        "MSRP {tid} SEND\r\nTo-Path: {}\r\nFrom-Path: {}\r\nMessage-ID: m{tid}\r\n-------{tid}$\r\n",
        leg.own, leg.path
    )
    .into_bytes()
}

/// A SEND that a test puts together.
#[derive(Clone, Debug)]
pub(crate) struct Send {
    pub(crate) tid: String,
    pub(crate) id: String,
    /// Further headers, each with its CRLF.
    pub(crate) extra: String,
    pub(crate) range: Option<String>,
    pub(crate) content_type: String,
    pub(crate) body: Vec<u8>,
    pub(crate) flag: char,
}

impl Send {
    pub(crate) fn new(world: &mut World, body: impl AsRef<[u8]>) -> Self {
        Self {
            tid: world.id("tid"),
            id: world.id("msg"),
            extra: String::new(),
            range: None,
            content_type: "text/plain".to_owned(),
            body: body.as_ref().to_vec(),
            flag: '$',
        }
    }

    pub(crate) fn id(mut self, id: &str) -> Self {
        self.id = id.to_owned();
        self
    }

    pub(crate) fn extra(mut self, line: &str) -> Self {
        self.extra.push_str(line);
        self.extra.push_str("\r\n");
        self
    }

    pub(crate) fn range(mut self, range: &str) -> Self {
        self.range = Some(range.to_owned());
        self
    }

    pub(crate) fn content_type(mut self, value: &str) -> Self {
        self.content_type = value.to_owned();
        self
    }

    pub(crate) fn flag(mut self, flag: char) -> Self {
        self.flag = flag;
        self
    }

    /// Its bytes on a leg.
    pub(crate) fn on(&self, leg: &Leg) -> Vec<u8> {
        let mut bytes = self.head(leg).into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes.extend_from_slice(self.end().as_bytes());
        bytes
    }

    pub(crate) fn head(&self, leg: &Leg) -> String {
        let range = self
            .range
            .as_ref()
            .map_or(String::new(), |r| format!("Byte-Range: {r}\r\n"));
        format!(
            "MSRP {} SEND\r\nTo-Path: {}\r\nFrom-Path: {}\r\nMessage-ID: {}\r\n{range}{}Content-Type: {}\r\n\r\n",
            self.tid, leg.own, leg.path, self.id, self.extra, self.content_type
        )
    }

    pub(crate) fn end(&self) -> String {
        format!("\r\n-------{}{}\r\n", self.tid, self.flag)
    }
}

/// A CPIM message around `body`.
pub(crate) fn cpim(content_type: &str, body: &str) -> String {
    format!(
        "From: <sip:anonymous@anonymous.invalid>\r\nTo: <sip:anonymous@anonymous.invalid>\r\nNS: imdn <urn:ietf:params:imdn>\r\nimdn.Message-ID: Xy7\r\nDateTime: 2026-01-01T00:00:00Z\r\n\r\nContent-Type: {content_type}\r\n\r\n{body}"
    )
}

pub(crate) const IS_COMPOSING: &str = "<?xml version=\"1.0\"?><isComposing xmlns=\"urn:ietf:params:xml:ns:im-iscomposing\"><state>active</state></isComposing>";

/// A body of `n` bytes that shows loss, doubling and disorder.
pub(crate) fn pattern(n: usize) -> Vec<u8> {
    (0..n)
        .map(|i| b'a' + u8::try_from((i + i / 251) % 26).unwrap())
        .collect()
}

/// The body that SENDs put together by their Byte-Ranges.
pub(crate) fn assemble(sends: &[Msg]) -> Vec<u8> {
    let mut all: Vec<u8> = Vec::new();
    for send in sends {
        let start = send.header("Byte-Range").map_or(1, |r| {
            r.split('-').next().unwrap().parse::<usize>().unwrap()
        });
        assert_eq!(start, all.len() + 1, "chunks follow one another");
        all.extend_from_slice(send.body.as_deref().unwrap_or_default());
    }
    all
}
