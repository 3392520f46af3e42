//! An endpoint on a bench: a clock that moves when told, everything that comes out noted with its time in milliseconds.

use std::{net::SocketAddr, time::Duration};

use ringfork::{
    ids::{ConnId, LegId, ServerTxnId, SessionId, ShardId, SocketId},
    sip::{Draft, Endpoint, Event, Flow, Listening, Output, Reply, Settings, Target, TxnRef},
    time::Instant,
};
use slotmap::SlotMap;

pub(crate) const UDP: SocketId = SocketId(0);
pub(crate) const TCP: SocketId = SocketId(1);

/// What went out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    Datagram(SocketAddr, String),
    Stream(ConnId, String),
    Connect(SocketAddr),
    Close(ConnId),
}

impl Sent {
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Datagram(_, text) | Self::Stream(_, text) => text,
            Self::Connect(_) | Self::Close(_) => "",
        }
    }

    pub(crate) fn first_line(&self) -> &str {
        self.text().split("\r\n").next().unwrap_or_default()
    }
}

/// The value of the first header of that name in a message.
pub(crate) fn header<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    message
        .split("\r\n\r\n")
        .next()?
        .split("\r\n")
        .find_map(|l| l.strip_prefix(name)?.strip_prefix(": "))
}

pub(crate) struct Bench {
    pub(crate) endpoint: Endpoint,
    pub(crate) now: Instant,
    pub(crate) sent: Vec<(u64, Sent)>,
    pub(crate) events: Vec<(u64, Event)>,
    pub(crate) conns: SlotMap<ConnId, ()>,
}

pub(crate) fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub(crate) fn settings() -> Settings {
    Settings {
        shard: ShardId(3),
        host: None,
        listening: vec![
            Listening {
                socket: UDP,
                tcp: false,
                addr: addr("192.0.2.1:5060"),
            },
            Listening {
                socket: TCP,
                tcp: true,
                addr: addr("192.0.2.1:5062"),
            },
        ],
        t1: Duration::from_millis(500),
        servers_max: 1000,
        clients_max: 4000,
        trusted: ringfork::sip::Trusted::default(),
        servers_bytes: 8 << 20,
        clients_bytes: 8 << 20,
        product: "CPM-serv/OMA2.2 Ringfork".to_owned(),
    }
}

/// The device or caller that the tests speak as.
pub(crate) const PEER: &str = "192.0.2.7:5070";

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(settings())
    }

    pub(crate) fn with(settings: Settings) -> Self {
        Self {
            endpoint: Endpoint::new(settings, [7; 32]),
            now: Instant::START,
            sent: Vec::new(),
            events: Vec::new(),
            conns: SlotMap::with_key(),
        }
    }

    pub(crate) fn ms(&self) -> u64 {
        u64::try_from(self.now.since(Instant::START).as_millis()).unwrap()
    }

    /// Notes what has come out.
    pub(crate) fn collect(&mut self) {
        let ms = self.ms();
        while let Some(output) = self.endpoint.poll_output() {
            let text = |b: &[u8]| String::from_utf8(b.to_vec()).unwrap();
            let sent = match output {
                Output::Datagram { socket, to, bytes } => {
                    assert_eq!(socket, UDP);
                    Sent::Datagram(to, text(&bytes))
                }
                Output::Stream { home, conn, bytes } => {
                    assert_eq!(home, ShardId(3));
                    Sent::Stream(conn, text(&bytes))
                }
                Output::Connect { to } => Sent::Connect(to),
                Output::Close { conn } => Sent::Close(conn),
            };
            self.sent.push((ms, sent));
        }
        while let Some(event) = self.endpoint.poll_event() {
            self.events.push((ms, event));
        }
    }

    /// Moves the clock, timer by timer.
    pub(crate) fn run_to(&mut self, ms: u64) {
        let end = Instant::START + Duration::from_millis(ms);
        assert!(self.now <= end, "time goes on only");
        while let Some(next) = self.endpoint.poll_timeout().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            self.endpoint.handle_timeout(self.now);
            self.collect();
        }
        self.now = end;
    }

    pub(crate) fn udp(&mut self, message: &str) {
        self.udp_from(PEER, message);
    }

    pub(crate) fn udp_from(&mut self, peer: &str, message: &str) {
        let flow = Flow::Udp {
            socket: UDP,
            peer: addr(peer),
        };
        self.endpoint
            .handle_message(self.now, flow, message.as_bytes());
        self.collect();
    }

    pub(crate) fn stream_flow(&self, conn: ConnId, peer: &str) -> Flow {
        Flow::Stream {
            home: ShardId(3),
            conn,
            peer: addr(peer),
        }
    }

    pub(crate) fn tcp(&mut self, conn: ConnId, message: &str) {
        let flow = self.stream_flow(conn, PEER);
        self.endpoint
            .handle_message(self.now, flow, message.as_bytes());
        self.collect();
    }

    pub(crate) fn respond(&mut self, txn: ServerTxnId, code: u16) {
        self.reply(
            txn,
            Reply {
                code,
                tag: b"ours".to_vec(),
                ..Reply::default()
            },
        );
    }

    pub(crate) fn reply(&mut self, txn: ServerTxnId, reply: Reply) {
        self.endpoint.respond(self.now, txn, reply);
        self.collect();
    }

    pub(crate) fn request(&mut self, cseq: u32, target: Target, message: &str) -> TxnRef {
        let of = of(cseq);
        let draft = Draft {
            of,
            target,
            key: 0,
            message: message.as_bytes().to_vec(),
        };
        self.endpoint.request(self.now, draft);
        self.collect();
        of
    }

    /// The peer answers a request of ours, as it has often done: its place is known.
    pub(crate) fn acquainted(mut self) -> Self {
        self.request(99, to_udp(), &draft("OPTIONS"));
        let request = self.last().text().to_owned();
        self.udp(&Self::answer(&request, "200 OK"));
        self.sent.clear();
        self.events.clear();
        self
    }

    /// The last thing sent.
    pub(crate) fn last(&self) -> &Sent {
        &self.sent.last().expect("nothing was sent").1
    }

    /// When messages that begin so went out.
    pub(crate) fn times(&self, start: &str) -> Vec<u64> {
        self.sent
            .iter()
            .filter(|(_, s)| s.text().starts_with(start))
            .map(|(ms, _)| *ms)
            .collect()
    }

    /// The transaction of the n-th request event.
    pub(crate) fn txn(&self, n: usize) -> ServerTxnId {
        let mut requests = self.events.iter().filter_map(|(_, e)| match e {
            Event::Request { txn, .. } => Some(*txn),
            Event::Ack { .. }
            | Event::Cancelled { .. }
            | Event::ServerFailed { .. }
            | Event::Response { .. }
            | Event::TimedOut { .. }
            | Event::Unreachable { .. } => None,
        });
        requests.nth(n).expect("no such request")
    }

    /// Events in short, with their time.
    pub(crate) fn heard(&self) -> Vec<(u64, String)> {
        let line = |m: &[u8]| {
            let text = String::from_utf8_lossy(m);
            text.split("\r\n").next().unwrap().to_owned()
        };
        let short = |e: &Event| match e {
            Event::Request { message, .. } => line(message),
            Event::Ack { .. } => "ACK".to_owned(),
            Event::Cancelled { .. } => "cancelled".to_owned(),
            Event::ServerFailed { .. } => "failed".to_owned(),
            Event::Response { message, .. } => line(message),
            Event::TimedOut { .. } => "timed out".to_owned(),
            Event::Unreachable { .. } => "unreachable".to_owned(),
        };
        self.events.iter().map(|(ms, e)| (*ms, short(e))).collect()
    }

    /// A response to a request that we sent: its Via, From, Call-ID and CSeq, a To-tag.
    pub(crate) fn answer(request: &str, status: &str) -> String {
        Self::answer_as(request, status, "theirs")
    }

    pub(crate) fn answer_as(request: &str, status: &str, tag: &str) -> String {
        let get = |name| header(request, name).unwrap();
        format!(
            "SIP/2.0 {status}\r\nVia: {}\r\nFrom: {}\r\nTo: {};tag={tag}\r\nCall-ID: {}\r\nCSeq: {}\r\n\
             Contact: <sip:dev@192.0.2.7:5070>\r\nContent-Length: 0\r\n\r\n",
            get("Via"),
            get("From"),
            get("To"),
            get("Call-ID"),
            get("CSeq")
        )
    }
}

pub(crate) fn of(cseq: u32) -> TxnRef {
    TxnRef {
        session: SessionId::default(),
        leg: LegId(1),
        cseq,
    }
}

/// A request of ours, without Via.
pub(crate) fn draft(method: &str) -> String {
    format!(
        "{method} sip:dev@192.0.2.7:5070 SIP/2.0\r\nMax-Forwards: 70\r\nRoute: <sip:192.0.2.9;lr>\r\n\
         From: <sip:alice@example.com>;tag=mine\r\nTo: <sip:bob@example.com>\r\nCall-ID: call-1\r\n\
         CSeq: 1 {method}\r\nContact: <sip:pf@192.0.2.1>\r\nContent-Length: 0\r\n\r\n"
    )
}

/// A request of theirs.
pub(crate) fn incoming(method: &str, branch: &str) -> String {
    format!(
        "{method} sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7:5070;branch={branch}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:alice@example.com>;tag=theirs\r\nTo: <sip:bob@example.com>\r\n\
         Call-ID: call-2\r\nCSeq: 7 {method}\r\nContact: <sip:alice@192.0.2.7:5070>\r\nContent-Length: 0\r\n\r\n"
    )
}

pub(crate) fn to_udp() -> Target {
    Target::Udp(addr(PEER))
}
