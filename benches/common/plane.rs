//! Sessions on a data plane, with peers that answer: bytes into the plane, bytes out of the outbox.
//!
//! What is done in a round is a whole delivery: the sender's SEND, its copies on the legs (gathered as the driver would, not
//! copied), each leg's 200, and the 200 to the sender. The figure a leg is the slope between the sizes.

use std::{hint::black_box, time::Duration};

use ringfork::{
    buf::{Outbox, Slice},
    ids::{ConnId, LegId, SessionId, ShardId},
    msrp::{Ack, Command, Direction, LegOffer, LegPeer, Matching, Plane, Role, Settings},
    time::Instant,
};
use slotmap::SlotMap;

use super::{case::Meter, received::received};

/// A plane with some sessions. One of them is talking: [`Bench::next`] gives the word to the next one.
pub(crate) struct Bench {
    pub(crate) plane: Plane,
    outbox: Outbox,
    now: Instant,
    conns: SlotMap<ConnId, ()>,
    sessions: SlotMap<SessionId, ()>,
    talks: Vec<Talk>,
    at: usize,
}

/// A session: a sender, its devices, and what they say.
struct Talk {
    sender: ConnId,
    devices: Vec<ConnId>,
    send: Slice,
    /// The answer of each device, with room for the transaction id.
    answers: Vec<(Vec<u8>, usize)>,
}

/// One side of a session: what it says when it comes.
struct End {
    leg: LegId,
    own: String,
    path: String,
    bare: Vec<u8>,
}

fn settings() -> Settings {
    Settings {
        shard: ShardId(0),
        shards: 1,
        ack: Ack::Held,
        outbox_bytes: 1 << 20,
        max_message_bytes: 1 << 20,
        bind: Duration::from_secs(30),
        stall: Duration::from_secs(10),
        unanswered_max: 4096,
        sessions_max: 2000,
        connections_max: 4000,
        kept_bytes_max: 1 << 24,
        not_activity: b"text/x-msrp-heartbeat"[..].into(),
        idle: Duration::from_secs(60),
    }
}

impl Bench {
    /// One session.
    pub(crate) fn new(devices: u8, body: usize) -> Self {
        Self::many(1, devices, body)
    }

    /// So many sessions of the same kind.
    pub(crate) fn many(sessions: usize, devices: u8, body: usize) -> Self {
        let mut bench = Self {
            plane: Plane::new(settings(), [3; 32]),
            outbox: Outbox::new(1 << 24),
            now: Instant::from_nanos(1),
            conns: SlotMap::with_key(),
            sessions: SlotMap::with_key(),
            talks: Vec::new(),
            at: 0,
        };
        for _ in 0..sessions {
            let (session, ends) = bench.invite(devices);
            let conns = bench.come(session, &ends);
            bench.settle();
            bench.talks.push(Talk::new(&ends, &conns, body));
        }
        bench
    }

    /// A new session, and its sides: the sender first. The plane knows nothing of it but the names.
    fn invite(&mut self, devices: u8) -> (SessionId, Vec<End>) {
        let session = self.sessions.insert(());
        let mut end = |n: u8| {
            let own = format!(
                "msrp://127.0.0.1:2855/{};tcp",
                self.plane.mint(session, LegId(n))
            );
            let path = format!("msrp://peer{n}.example.com:7000/s{n};tcp");
            let bare = format!(
                "MSRP bind{n} SEND\r\nTo-Path: {own}\r\nFrom-Path: {path}\r\nMessage-ID: bare{n}\r\n-------bind{n}$\r\n"
            );
            End {
                leg: LegId(n),
                own,
                path,
                bare: bare.into_bytes(),
            }
        };
        let ends = (0..=devices).map(&mut end).collect();
        (session, ends)
    }

    /// The session opens, its legs start, their connections come and are bound.
    fn come(&mut self, session: SessionId, ends: &[End]) -> Vec<ConnId> {
        let (now, outbox) = (self.now, &mut self.outbox);
        let plane = &mut self.plane;
        let open = Command::Open {
            session,
            user: 1,
            source: Some(1),
        };
        plane.command(now, open, outbox);
        let mut conns = Vec::with_capacity(ends.len());
        for end in ends {
            let leg = end.leg;
            let offer = LegOffer {
                own_uri: end.own.clone().into_bytes().into(),
                accept_types: b"*".to_vec(),
                accept_wrapped_types: b"*".to_vec(),
            };
            let peer = LegPeer {
                path: end.path.clone().into_bytes().into(),
                role: Role::Passive,
                connect_to: None,
                matching: Matching::Strict,
                accept_types: b"message/cpim text/plain".to_vec(),
                accept_wrapped_types: b"*".to_vec(),
                max_size: None,
                direction: Direction {
                    peer_sends: true,
                    peer_receives: true,
                },
            };
            let (offer, start) = (
                Command::Offer {
                    session,
                    leg,
                    offer,
                },
                Command::Start { session, leg, peer },
            );
            plane.command(now, offer, outbox);
            plane.command(now, start, outbox);
            let conn = self.conns.insert(());
            outbox.add(conn);
            plane.handle_accepted(now, conn);
            plane.handle_bytes(now, conn, Slice::copied(&end.bare), outbox);
            conns.push(conn);
        }
        conns
    }

    /// The session closes, then its connections do.
    fn go(&mut self, session: SessionId, conns: &[ConnId]) {
        self.plane
            .command(self.now, Command::Close { session }, &mut self.outbox);
        for &conn in conns {
            self.plane.handle_closed(self.now, conn, &mut self.outbox);
            self.outbox.remove(conn);
        }
    }

    /// What was said so far is sent, and forgotten; the number of connections that got something.
    fn settle(&mut self) -> usize {
        let sent = self.drain(|_, _| ());
        while self.plane.poll_event().is_some() {}
        while self.plane.poll_output().is_some() {}
        sent
    }

    /// Offers what is queued to sockets that take everything; `seen` gets the first bytes of each.
    fn drain(&mut self, mut seen: impl FnMut(ConnId, &[u8])) -> usize {
        let mut sent = 0;
        while let Some(conn) = self.outbox.next_dirty() {
            let mut len = 0;
            for piece in self.outbox.gather(conn) {
                if len == 0 {
                    seen(conn, piece);
                }
                len += black_box(piece).len();
            }
            self.outbox.sent(conn, len, len);
            sent += 1;
        }
        self.outbox.end_turn();
        sent
    }

    /// The sender's SEND alone: out on every leg. The transaction ids go into the answers.
    pub(crate) fn fan_out(&mut self) -> usize {
        self.now += Duration::from_micros(10);
        let mut talks = std::mem::take(&mut self.talks);
        let talk = &mut talks[self.at];
        self.plane
            .handle_bytes(self.now, talk.sender, talk.send.clone(), &mut self.outbox);
        let (devices, answers) = (&talk.devices, &mut talk.answers);
        let sent = self.drain(|conn, head| {
            if let Some(at) = devices.iter().position(|&d| d == conn) {
                let (text, second) = &mut answers[at];
                text[5..21].copy_from_slice(&head[5..21]);
                text[*second..*second + 16].copy_from_slice(&head[5..21]);
            }
        });
        self.talks = talks;
        sent
    }

    /// Every device's 200, and ours to the sender.
    pub(crate) fn answer(&mut self) -> usize {
        let talk = &self.talks[self.at];
        for (conn, (text, _)) in talk.devices.iter().zip(&talk.answers) {
            let answer = Slice::copied(text);
            self.plane
                .handle_bytes(self.now, *conn, answer, &mut self.outbox);
        }
        let sent = self.drain(|_, _| ());
        if self.plane.poll_timeout().is_some_and(|at| at <= self.now) {
            self.plane.handle_timeout(self.now, &mut self.outbox);
        }
        sent
    }

    /// So many SENDs, on every leg in one turn. `seen` gets what each connection sends, piece by piece.
    pub(crate) fn batch_out(&mut self, sends: usize, mut seen: impl FnMut(ConnId, &[u8])) {
        self.now += Duration::from_micros(100);
        let talk = &self.talks[self.at];
        for _ in 0..sends {
            self.plane
                .handle_bytes(self.now, talk.sender, talk.send.clone(), &mut self.outbox);
        }
        while let Some(conn) = self.outbox.next_dirty() {
            let mut len = 0;
            for piece in self.outbox.gather(conn) {
                len += piece.len();
                seen(conn, piece);
            }
            self.outbox.sent(conn, len, len);
        }
        self.outbox.end_turn();
    }

    /// What each device answers to what it was sent.
    pub(crate) fn answers_to(&self, sent: &[(ConnId, Vec<u8>)]) -> Vec<(ConnId, Slice)> {
        let talk = &self.talks[self.at];
        let devices = talk.devices.iter().zip(&talk.answers);
        let answers = devices.map(|(&conn, (text, second))| {
            let mut all = Vec::new();
            for id in sent
                .iter()
                .filter(|(to, _)| *to == conn)
                .flat_map(|(_, bytes)| ids(bytes))
            {
                let at = all.len();
                all.extend_from_slice(text);
                all[at + 5..at + 21].copy_from_slice(id);
                all[at + second..at + second + 16].copy_from_slice(id);
            }
            (conn, Slice::copied(&all))
        });
        answers.collect()
    }

    /// Where the session's devices are.
    pub(crate) fn devices(&self) -> &[ConnId] {
        &self.talks[self.at].devices
    }

    /// The devices' 200s to a batch, and ours to the sender: the number of connections that got something.
    pub(crate) fn batch_answered(&mut self, answers: Vec<(ConnId, Slice)>) -> usize {
        for (conn, bytes) in answers {
            self.plane
                .handle_bytes(self.now, conn, bytes, &mut self.outbox);
        }
        self.drain(|_, _| ())
    }

    /// The next session has the word.
    pub(crate) fn next(&mut self) {
        self.at = (self.at + 1) % self.talks.len();
    }
}

/// The transaction ids of the SENDs in `bytes`.
pub(crate) fn ids(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = bytes.split_inclusive(|&b| b == b'\n');
    lines
        .filter_map(|line| line.strip_prefix(b"MSRP "))
        .filter_map(|line| line.get(..16))
}

impl Talk {
    fn new(ends: &[End], conns: &[ConnId], body: usize) -> Self {
        let cpim = "From: <sip:alice@example.com>\r\nTo: <sip:bob@example.com>\r\nDateTime: 2026-01-01T00:00:00Z\r\n\r\nContent-Type: text/plain;charset=utf-8\r\n\r\n";
        let content = format!("{cpim}{}", "x".repeat(body - cpim.len()));
        let send = format!(
            "MSRP tid12345 SEND\r\nTo-Path: {}\r\nFrom-Path: {}\r\nMessage-ID: mid12345\r\nByte-Range: 1-{body}/{body}\r\nContent-Type: message/cpim\r\n\r\n{content}\r\n-------tid12345$\r\n",
            ends[0].own, ends[0].path,
        );
        let answer = |end: &End| {
            let (own, path) = (&end.own, &end.path);
            let text = format!(
                "MSRP ################ 200 OK\r\nTo-Path: {own}\r\nFrom-Path: {path}\r\n-------################$\r\n"
            );
            let second = text.rfind("####").expect("a place for the id") - 12;
            (text.into_bytes(), second)
        };
        Self {
            sender: conns[0],
            devices: conns[1..].to_vec(),
            send: received(send.as_bytes()),
            answers: ends[1..].iter().map(answer).collect(),
        }
    }
}

/// Legs that come and go beside others that stay.
pub(crate) struct Coming {
    bench: Bench,
    devices: u8,
}

impl Coming {
    pub(crate) fn beside(sessions: usize, devices: u8) -> Self {
        Self {
            bench: Bench::many(sessions, 1, 200),
            devices,
        }
    }

    /// A session with its legs comes and goes; whether its peers heard of it and nothing is left.
    pub(crate) fn round(&mut self, meter: &mut Meter) -> bool {
        let bench = &mut self.bench;
        bench.now += Duration::from_millis(1);
        let before = bench.plane.gauges();
        let (session, ends) = bench.invite(self.devices);
        let conns = meter.measure(|| bench.come(session, &ends));
        let greeted = bench.settle();
        meter.measure(|| bench.go(session, &conns));
        bench.settle();
        bench.sessions.remove(session);
        for conn in conns {
            bench.conns.remove(conn);
        }
        greeted == ends.len() && bench.plane.gauges() == before
    }
}
