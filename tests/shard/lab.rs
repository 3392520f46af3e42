//! A shard on the bench: datagrams and stream bytes in, datagrams and stream bytes out, a clock that the test moves.

use std::{collections::VecDeque, net::SocketAddr, time::Duration};

use ringfork::{
    buf::Slice,
    config::Config,
    ids::{ConnId, ShardId, SocketId},
    limits::Limits,
    shard::{
        Ask, ConnectError, Desk, Effect, End, Listener, Parts, Places, Shard, SocketRole, World,
        exchange,
        report::{Answer, Question, Report},
    },
    time::Instant,
};
use slotmap::SecondaryMap;

use crate::text::{self, Frame, Sip};

pub(crate) const UDP: SocketId = SocketId(0);
pub(crate) const TCP: SocketId = SocketId(1);
pub(crate) const MEDIA: SocketId = SocketId(2);
pub(crate) const SIP_ADDR: &str = "10.0.0.1:5060";
pub(crate) const MSRP_ADDR: &str = "10.0.0.1:2855";
pub(crate) const TAG: &str =
    "+g.3gpp.icsi-ref=\"urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session\"";

/// Bytes of one connection that a shard is given in a turn.
const SHARE: usize = 64 << 10;

pub(crate) fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// A stream of the bench, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Line(usize);

/// A stream of the bench, seen from its far end.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) out: Vec<u8>,
    /// How many bytes the far end still takes; `None`: any.
    pub(crate) window: Option<usize>,
    pub(crate) closed: Option<bool>,
    /// While its shard reads nothing of it: what waits meanwhile.
    pub(crate) paused: Option<Vec<u8>>,
    /// The shard that has it, and what it calls it there.
    at: Option<(usize, ConnId)>,
    local: SocketAddr,
    peer: SocketAddr,
}

/// What an effect leads to in a later turn.
enum Later {
    /// A connection is closed, with all that it had to send.
    Closed { shard: usize, conn: ConnId },
    /// One that was given away arrives.
    Moved {
        line: Line,
        to: usize,
        bytes: Vec<u8>,
    },
}

pub(crate) struct Lab {
    pub(crate) shards: Vec<Shard>,
    desks: Vec<Desk>,
    pub(crate) now: Instant,
    /// SIP messages that left by datagram, by where to.
    pub(crate) sent: VecDeque<(SocketAddr, Sip)>,
    /// Datagrams that left, and their bytes.
    pub(crate) left: (usize, usize),
    wires: Vec<Wire>,
    /// Each shard's streams by its name for them, as the driver has them: a name that is given anew ends the one before.
    names: Vec<SecondaryMap<ConnId, Line>>,
    /// Connections that a shard wants to open.
    pub(crate) connects: VecDeque<(Line, SocketAddr)>,
    resumed: Vec<(Line, Vec<u8>)>,
    /// The shard that new flows come to; `None`: by their address, as the kernel deals them.
    pub(crate) entry: Option<usize>,
    /// Mail waits in the boxes.
    pub(crate) mail_waits: bool,
    /// What is told is told in one turn, which ends with [`Lab::go`].
    held: bool,
    woken: u64,
    serial: u32,
}

impl Lab {
    pub(crate) fn new() -> Self {
        Self::with(&Config::default())
    }

    pub(crate) fn with(config: &Config) -> Self {
        Self::limited(config, &Limits::new(config, 1))
    }

    /// With several shards.
    pub(crate) fn of(shards: u8) -> Self {
        let config = Config::default();
        Self::limited(&config, &Limits::new(&config, shards))
    }

    pub(crate) fn limited(config: &Config, limits: &Limits) -> Self {
        let listeners = [
            Listener {
                role: SocketRole::SipDatagram,
                addr: addr(SIP_ADDR),
            },
            Listener {
                role: SocketRole::SipStream,
                addr: addr(SIP_ADDR),
            },
            Listener {
                role: SocketRole::Msrp,
                addr: addr(MSRP_ADDR),
            },
        ];
        let places = Places {
            open: limits.mailbox_places,
            reserved: limits.mailbox_reserved,
        };
        let names = (0..limits.shards).map(|_| SecondaryMap::new()).collect();
        let (shards, desks) = exchange(limits.shards, places)
            .into_iter()
            .enumerate()
            .map(|(k, (post, desk))| {
                let id = ShardId(k as u8);
                let parts = Parts::new(id, config, limits, &listeners);
                (Shard::new(parts, post, [7 + id.0; 32]), desk)
            })
            .unzip();
        Self {
            shards,
            desks,
            now: Instant::from_nanos(1_000_000_000),
            sent: VecDeque::new(),
            left: (0, 0),
            wires: Vec::new(),
            names,
            connects: VecDeque::new(),
            resumed: Vec::new(),
            entry: None,
            mail_waits: false,
            held: false,
            woken: 0,
            serial: 0,
        }
    }

    pub(crate) fn fresh(&mut self, what: &str) -> String {
        self.serial += 1;
        format!("{what}{}", self.serial)
    }

    /// The shard that a flow comes to.
    pub(crate) fn shard_of(&self, from: SocketAddr) -> usize {
        let host = match from.ip() {
            std::net::IpAddr::V4(ip) => usize::from(ip.octets()[3]),
            std::net::IpAddr::V6(_) => 0,
        };
        self.entry
            .unwrap_or((host * 7 + usize::from(from.port())) % self.shards.len())
    }

    /// What the shards have counted for a bound.
    pub(crate) fn reached(&self, limit: &str) -> u64 {
        let all = self.shards.iter().flat_map(|s| s.report().limits_reached);
        all.filter(|(name, _)| *name == limit).map(|(_, n)| n).sum()
    }

    /// A gauge or counter, added up over the shards.
    pub(crate) fn sum(&self, of: impl Fn(&Report) -> u64) -> u64 {
        self.shards.iter().map(|s| of(&s.report())).sum()
    }

    /// Asks a shard as the services do.
    pub(crate) fn ask(&mut self, shard: usize, question: Question) -> Answer {
        let (tell, told) = std::sync::mpsc::channel();
        let reply = Box::new(move |answer| tell.send(answer).expect("the test waits"));
        self.desks[shard]
            .ask(Ask { question, reply })
            .expect("there is a place");
        while self.shards[shard].mail(self.now) {}
        self.turn();
        told.try_recv().expect("an answer")
    }

    pub(crate) fn wire(&self, line: Line) -> &Wire {
        &self.wires[line.0]
    }

    /// The shard that has a stream.
    pub(crate) fn home(&self, line: Line) -> Option<usize> {
        self.wires[line.0].at.map(|(k, _)| k)
    }

    fn line(&self, shard: usize, conn: ConnId) -> Line {
        *self.names[shard].get(conn).expect("a stream of the bench")
    }

    fn new_wire(&mut self, at: (usize, ConnId), local: SocketAddr, peer: SocketAddr) -> Line {
        self.wires.push(Wire {
            out: Vec::new(),
            window: None,
            closed: None,
            paused: None,
            at: None,
            local,
            peer,
        });
        let line = Line(self.wires.len() - 1);
        self.name(at, line);
        line
    }

    /// From here on nobody is asked what he wants: what is told until [`Lab::go`] is told in one turn.
    pub(crate) fn hold(&mut self) {
        self.held = true;
    }

    /// The turn that was held ends.
    pub(crate) fn go(&mut self) {
        self.held = false;
        self.turn();
    }

    /// Turns until everybody is quiet.
    pub(crate) fn turn(&mut self) {
        if self.held {
            return;
        }
        loop {
            let mut over = Vec::new();
            for k in 0..self.shards.len() {
                while let Some(effect) = self.shards[k].poll_effect() {
                    self.effect(k, effect, &mut over);
                }
                while let Some(conn) = self.shards[k].outbox().next_dirty() {
                    self.flush(k, conn);
                }
                self.shards[k].outbox().end_turn();
                self.woken |= self.shards[k].take_wakes();
            }
            // The next turn: of what is closed all was sent.
            let mut again = !over.is_empty();
            for event in over {
                self.tell(event);
            }
            if !self.mail_waits {
                again |= self.woken != 0;
                self.deliver();
            }
            if !again {
                break;
            }
        }
        for (line, waited) in std::mem::take(&mut self.resumed) {
            self.bytes(line, &waited);
        }
    }

    fn tell(&mut self, later: Later) {
        match later {
            Later::Closed { shard, conn } => {
                if let Some(line) = self.known(shard, conn) {
                    self.wires[line.0].at = None;
                }
                self.shards[shard].ended(self.now, conn, End::Ours);
            }
            Later::Moved { line, to, bytes } => {
                let wire = &self.wires[line.0];
                let (local, peer) = (wire.local, wire.peer);
                let conn = self.shards[to].adopted(self.now, MEDIA, local, peer, &bytes);
                let wire = &mut self.wires[line.0];
                match conn {
                    Some(conn) => self.name((to, conn), line),
                    None => wire.closed = Some(false),
                }
            }
        }
    }

    /// A shard names a stream.
    fn name(&mut self, at: (usize, ConnId), line: Line) {
        self.names[at.0].insert(at.1, line);
        self.wires[line.0].at = Some(at);
    }

    /// The stream that a shard means, unless it is over.
    fn known(&self, shard: usize, conn: ConnId) -> Option<Line> {
        let line = *self.names[shard].get(conn)?;
        (self.wires[line.0].at == Some((shard, conn))).then_some(line)
    }

    /// The letters that wait arrive.
    pub(crate) fn deliver(&mut self) {
        let woken = std::mem::take(&mut self.woken);
        for k in (0..self.shards.len()).filter(|k| woken & (1 << k) != 0) {
            while self.shards[k].mail(self.now) {}
        }
    }

    /// Carries out one effect. What it leads to in a later turn is put by.
    fn effect(&mut self, k: usize, effect: Effect, over: &mut Vec<Later>) {
        match effect {
            Effect::Datagram { to, bytes, .. } => {
                let m = Sip::read(&bytes).expect("what is sent is SIP");
                self.left = (self.left.0 + 1, self.left.1 + bytes.len());
                self.sent.push_back((to, m));
            }
            Effect::Connect { conn, to } => {
                let line = self.new_wire((k, conn), addr("10.0.0.1:40000"), to);
                self.connects.push_back((line, to));
            }
            Effect::Close { conn, flush } => {
                let Some(line) = self.known(k, conn) else {
                    return;
                };
                let wire = &mut self.wires[line.0];
                wire.closed = Some(flush);
                if flush {
                    over.push(Later::Closed { shard: k, conn });
                } else {
                    wire.at = None;
                    self.shards[k].ended(self.now, conn, End::Ours);
                }
            }
            Effect::Pause { conn } => {
                if let Some(line) = self.known(k, conn) {
                    self.wires[line.0].paused.get_or_insert_default();
                }
            }
            Effect::Resume { conn } => {
                if let Some(line) = self.known(k, conn)
                    && let Some(waited) = self.wires[line.0].paused.take()
                {
                    self.resumed.push((line, waited));
                }
            }
            Effect::HandOver { conn, to, bytes } => {
                if let Some(line) = self.known(k, conn) {
                    self.wires[line.0].at = None;
                    let to = usize::from(to.0);
                    over.push(Later::Moved { line, to, bytes });
                }
            }
        }
    }

    fn flush(&mut self, k: usize, conn: ConnId) {
        let line = self.line(k, conn);
        let outbox = self.shards[k].outbox();
        let offer: Vec<u8> = outbox.gather(conn).flatten().copied().collect();
        let wire = &mut self.wires[line.0];
        let taken = wire.window.map_or(offer.len(), |w| w.min(offer.len()));
        if let Some(w) = &mut wire.window {
            *w -= taken;
        }
        wire.out.extend(&offer[..taken]);
        outbox.sent(conn, offer.len(), taken);
    }

    /// A datagram from `from`.
    pub(crate) fn datagram(&mut self, from: &str, bytes: &[u8]) {
        let from = addr(from);
        let k = self.shard_of(from);
        self.shards[k].datagram(self.now, UDP, from, Slice::copied(bytes));
        self.turn();
    }

    /// A connection from `from` to a listener.
    pub(crate) fn connect(&mut self, socket: SocketId, from: &str) -> Line {
        self.try_connect(socket, from).expect("there is room")
    }

    /// The same; `None`: it was refused.
    pub(crate) fn try_connect(&mut self, socket: SocketId, from: &str) -> Option<Line> {
        let local = addr(if socket == MEDIA { MSRP_ADDR } else { SIP_ADDR });
        let peer = addr(from);
        let k = self.shard_of(peer);
        let conn = self.shards[k].accepted(self.now, socket, local, peer);
        let line = conn.map(|conn| self.new_wire((k, conn), local, peer));
        self.turn();
        line
    }

    /// The connection that a shard wants to open to `to` comes up, or not.
    pub(crate) fn connected(&mut self, to: &str, up: bool) -> Line {
        let (line, at) = self.connects.pop_front().expect("a connection is wanted");
        assert_eq!(at, addr(to));
        let (k, conn) = self.wires[line.0].at.expect("it is being opened");
        let outcome = if up {
            Ok(addr("10.0.0.1:40000"))
        } else {
            self.wires[line.0].at = None;
            Err(ConnectError::Refused)
        };
        self.shards[k].connected(self.now, conn, outcome);
        self.turn();
        line
    }

    /// Bytes from the far end: a share of a turn each, none while the stream is paused. One that is closed takes none.
    pub(crate) fn bytes(&mut self, line: Line, bytes: &[u8]) {
        for share in bytes.chunks(SHARE) {
            let wire = &mut self.wires[line.0];
            if let Some(waiting) = &mut wire.paused {
                waiting.extend(share);
            } else if let Some((k, conn)) = wire.at {
                self.shards[k].received(self.now, conn, Slice::copied(share));
            }
            self.turn();
        }
    }

    /// The far end closes.
    pub(crate) fn hang_up(&mut self, line: Line) {
        if let Some((k, conn)) = self.wires[line.0].at.take() {
            self.shards[k].ended(self.now, conn, End::Closed);
        }
        self.turn();
    }

    /// The far end takes `more` bytes.
    pub(crate) fn widen(&mut self, line: Line, more: Option<usize>) {
        self.wires[line.0].window = more;
        let Some((k, conn)) = self.wires[line.0].at else {
            return;
        };
        self.shards[k].outbox().writable(conn);
        self.turn();
        self.shards[k].drained(self.now, conn);
        self.turn();
    }

    /// Lets time pass, timer by timer.
    pub(crate) fn pass(&mut self, d: Duration) {
        let until = self.now + d;
        loop {
            let next = self.shards.iter().enumerate();
            let next = next.filter_map(|(k, s)| Some((s.next_due()?, k))).min();
            let Some((at, k)) = next.filter(|(at, _)| *at <= until) else {
                break;
            };
            self.now = self.now.max(at);
            self.shards[k].due(self.now);
            self.turn();
        }
        self.now = until;
    }

    /// Takes the first SIP message to `to`.
    pub(crate) fn to(&mut self, to: &str) -> Option<Sip> {
        let at = self.sent.iter().position(|(a, _)| *a == addr(to))?;
        self.sent.remove(at).map(|(_, m)| m)
    }

    /// Takes SIP messages to `to` until one is of this method (requests) or code (responses).
    pub(crate) fn request_to(&mut self, to: &str, method: &str) -> Sip {
        while let Some(m) = self.to(to) {
            if m.code().is_none() && m.method() == method {
                return m;
            }
        }
        panic!("no {method} went to {to}");
    }

    pub(crate) fn response_to(&mut self, to: &str, method: &str) -> Sip {
        while let Some(m) = self.to(to) {
            if m.code().is_some_and(|c| c > 100) && m.method() == method {
                return m;
            }
        }
        panic!("no response to {method} went to {to}");
    }

    /// Takes everything off a wire.
    pub(crate) fn take(&mut self, line: Line) -> Vec<u8> {
        std::mem::take(&mut self.wires[line.0].out)
    }

    /// Takes every whole MSRP frame off a wire.
    pub(crate) fn frames(&mut self, line: Line) -> Vec<Frame> {
        let out = &mut self.wires[line.0].out;
        let mut all = Vec::new();
        while let Some(f) = text::frame(out).expect("what is sent is MSRP") {
            all.push(f);
        }
        all
    }

    /// The SENDs with a body among them.
    pub(crate) fn sends(&mut self, line: Line) -> Vec<Frame> {
        self.frames(line)
            .into_iter()
            .filter(|f| f.what == "SEND" && f.body.is_some())
            .collect()
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.shards.iter().all(Shard::is_idle)
    }
}
