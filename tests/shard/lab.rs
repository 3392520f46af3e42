//! A shard on the bench: datagrams and stream bytes in, datagrams and stream bytes out, a clock that the test moves.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    time::Duration,
};

use ringfork::{
    buf::Slice,
    config::Config,
    ids::{ConnId, ShardId, SocketId},
    limits::Limits,
    shard::{
        ConnectError, Effect, End, Listener, Parts, Places, Shard, SocketRole, World, exchange,
    },
    time::Instant,
};

use crate::text::{self, Frame, Sip};

pub(crate) const UDP: SocketId = SocketId(0);
pub(crate) const TCP: SocketId = SocketId(1);
pub(crate) const MEDIA: SocketId = SocketId(2);
pub(crate) const SIP_ADDR: &str = "10.0.0.1:5060";
pub(crate) const MSRP_ADDR: &str = "10.0.0.1:2855";
pub(crate) const TAG: &str =
    "+g.3gpp.icsi-ref=\"urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session\"";

pub(crate) fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// A stream of the bench, seen from its far end.
#[derive(Debug, Default)]
pub(crate) struct Wire {
    pub(crate) out: Vec<u8>,
    /// How many bytes the far end still takes; `None`: any.
    pub(crate) window: Option<usize>,
    pub(crate) closed: Option<bool>,
}

pub(crate) struct Lab {
    pub(crate) shard: Shard,
    pub(crate) now: Instant,
    /// SIP messages that left by datagram, by where to.
    pub(crate) sent: VecDeque<(SocketAddr, Sip)>,
    pub(crate) wires: BTreeMap<ConnId, Wire>,
    /// Connections that the shard wants to open.
    pub(crate) connects: VecDeque<(ConnId, SocketAddr)>,
    pub(crate) paused: Vec<ConnId>,
    serial: u32,
}

impl Lab {
    pub(crate) fn new() -> Self {
        Self::with(&Config::default())
    }

    pub(crate) fn with(config: &Config) -> Self {
        Self::limited(config, &Limits::new(config, 1))
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
        let (post, _desk) = exchange(1, places).pop().expect("one shard");
        let parts = Parts::new(ShardId(0), config, limits, &listeners);
        Self {
            shard: Shard::new(parts, post, [7; 32]),
            now: Instant::from_nanos(1_000_000_000),
            sent: VecDeque::new(),
            wires: BTreeMap::new(),
            connects: VecDeque::new(),
            paused: Vec::new(),
            serial: 0,
        }
    }

    pub(crate) fn fresh(&mut self, what: &str) -> String {
        self.serial += 1;
        format!("{what}{}", self.serial)
    }

    pub(crate) fn turn(&mut self) {
        loop {
            let mut again = false;
            while let Some(effect) = self.shard.poll_effect() {
                match effect {
                    Effect::Datagram { to, bytes, .. } => {
                        let m = Sip::read(&bytes).expect("what is sent is SIP");
                        self.sent.push_back((to, m));
                    }
                    Effect::Connect { conn, to } => self.connects.push_back((conn, to)),
                    Effect::Close { conn, flush } => {
                        if flush {
                            self.flush(conn);
                        }
                        self.wires.entry(conn).or_default().closed = Some(flush);
                        self.shard.ended(self.now, conn, End::Ours);
                        again = true;
                    }
                    Effect::Pause { conn } => self.paused.push(conn),
                    Effect::Resume { conn } => self.paused.retain(|c| *c != conn),
                    Effect::HandOver { .. } => panic!("one shard hands nothing over"),
                }
            }
            while let Some(conn) = self.shard.outbox().next_dirty() {
                self.flush(conn);
            }
            self.shard.outbox().end_turn();
            if !again {
                return;
            }
        }
    }

    fn flush(&mut self, conn: ConnId) {
        let offer: Vec<u8> = self
            .shard
            .outbox()
            .gather(conn)
            .flatten()
            .copied()
            .collect();
        let wire = self.wires.entry(conn).or_default();
        let taken = wire.window.map_or(offer.len(), |w| w.min(offer.len()));
        if let Some(w) = &mut wire.window {
            *w -= taken;
        }
        wire.out.extend(&offer[..taken]);
        self.shard.outbox().sent(conn, offer.len(), taken);
    }

    /// A datagram from `from`.
    pub(crate) fn datagram(&mut self, from: &str, bytes: &[u8]) {
        self.shard
            .datagram(self.now, UDP, addr(from), Slice::copied(bytes));
        self.turn();
    }

    /// A connection from `from` to a listener.
    pub(crate) fn connect(&mut self, socket: SocketId, from: &str) -> ConnId {
        let local = if socket == MEDIA { MSRP_ADDR } else { SIP_ADDR };
        let conn = self
            .shard
            .accepted(self.now, socket, addr(local), addr(from))
            .expect("there is room");
        self.wires.insert(conn, Wire::default());
        self.turn();
        conn
    }

    /// The connection that the shard wants to open to `to` comes up, or not.
    pub(crate) fn connected(&mut self, to: &str, up: bool) -> ConnId {
        let (conn, at) = self.connects.pop_front().expect("a connection is wanted");
        assert_eq!(at, addr(to));
        self.wires.insert(conn, Wire::default());
        let outcome = if up {
            Ok(addr("10.0.0.1:40000"))
        } else {
            Err(ConnectError::Refused)
        };
        self.shard.connected(self.now, conn, outcome);
        self.turn();
        conn
    }

    pub(crate) fn bytes(&mut self, conn: ConnId, bytes: &[u8]) {
        self.shard.received(self.now, conn, Slice::copied(bytes));
        self.turn();
    }

    /// The far end closes.
    pub(crate) fn hang_up(&mut self, conn: ConnId) {
        self.shard.ended(self.now, conn, End::Closed);
        self.turn();
    }

    /// The far end takes `more` bytes.
    pub(crate) fn widen(&mut self, conn: ConnId, more: Option<usize>) {
        self.wires.entry(conn).or_default().window = more;
        self.shard.outbox().writable(conn);
        self.turn();
        self.shard.drained(self.now, conn);
        self.turn();
    }

    /// Lets time pass, timer by timer.
    pub(crate) fn pass(&mut self, d: Duration) {
        let until = self.now + d;
        while let Some(at) = self.shard.next_due().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.shard.due(self.now);
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

    /// Takes every whole MSRP frame off a wire.
    pub(crate) fn frames(&mut self, conn: ConnId) -> Vec<Frame> {
        let out = &mut self.wires.entry(conn).or_default().out;
        let mut all = Vec::new();
        while let Some(f) = text::frame(out).expect("what is sent is MSRP") {
            all.push(f);
        }
        all
    }

    /// The SENDs with a body among them.
    pub(crate) fn sends(&mut self, conn: ConnId) -> Vec<Frame> {
        self.frames(conn)
            .into_iter()
            .filter(|f| f.what == "SEND" && f.body.is_some())
            .collect()
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.shard.is_idle()
    }
}

/// A device of Bob: `10.0.1.N`.
#[derive(Clone, Debug)]
pub(crate) struct Device {
    pub(crate) n: u8,
    pub(crate) sip: String,
    pub(crate) path: String,
    pub(crate) invite: Option<Sip>,
    pub(crate) peer_path: String,
    pub(crate) conn: Option<ConnId>,
}

impl Device {
    /// Registers device `n` of Bob.
    pub(crate) fn register(lab: &mut Lab, n: u8) -> Self {
        Self::register_as(lab, n, TAG)
    }

    pub(crate) fn register_as(lab: &mut Lab, n: u8, tags: &str) -> Self {
        let sip = format!("10.0.1.{n}:5060");
        let branch = lab.fresh("z9hG4bKr");
        let m = format!(
            "REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/UDP {sip};branch={branch}\r\nMax-Forwards: 70\r\n\
             From: <sip:bob@example.com>;tag=d{n}\r\nTo: <sip:bob@example.com>\r\nCall-ID: reg{n}\r\nCSeq: 1 REGISTER\r\n\
             Contact: <sip:bob@{sip}>;+sip.instance=\"<urn:uuid:{n}>\";{tags}\r\nExpires: 3600\r\nContent-Length: 0\r\n\r\n"
        );
        lab.datagram(&sip, m.as_bytes());
        assert_eq!(lab.response_to(&sip, "REGISTER").code(), Some(200));
        Self {
            n,
            sip,
            path: format!("msrp://10.0.1.{n}:7000/dev{n};tcp"),
            invite: None,
            peer_path: String::new(),
            conn: None,
        }
    }

    /// Takes the INVITE that went to it.
    pub(crate) fn invited(&mut self, lab: &mut Lab) -> Sip {
        let invite = lab.request_to(&self.sip, "INVITE");
        self.peer_path = text::sdp(&String::from_utf8_lossy(&invite.body), "path")
            .expect("a path")
            .to_owned();
        self.invite = Some(invite.clone());
        invite
    }

    pub(crate) fn respond(&self, lab: &mut Lab, code: u16, more: &str, body: &str) {
        let invite = self.invite.clone().expect("it was invited");
        let r = invite.answer(code, "Said", &format!("t{}", self.n), more, body);
        lab.datagram(&self.sip, &r);
    }

    pub(crate) fn sdp(&self, setup: &str, more: &str) -> String {
        let n = self.n;
        let port = if setup == "active" { 9 } else { 7000 };
        format!(
            "v=0\r\no=- 1 1 IN IP4 10.0.1.{n}\r\ns=-\r\nc=IN IP4 10.0.1.{n}\r\nt=0 0\r\nm=message {port} TCP/MSRP *\r\n\
             a=accept-types:message/cpim application/im-iscomposing+xml\r\na=accept-wrapped-types:*\r\na=setup:{setup}\r\n{more}a=path:{}\r\n",
            self.path
        )
    }

    /// Answers 200, as active endpoint; its media is up and bound.
    pub(crate) fn accept(&mut self, lab: &mut Lab) {
        let sdp = self.sdp("active", "");
        let more = format!(
            "Contact: <sip:bob@{}>\r\nContent-Type: application/sdp\r\n",
            self.sip
        );
        self.respond(lab, 200, &more, &sdp);
        let ack = lab.request_to(&self.sip, "ACK");
        assert_eq!(
            ack.get("Call-ID"),
            self.invite.as_ref().expect("invited").get("Call-ID")
        );
        let conn = lab.connect(MEDIA, &format!("10.0.1.{}:30000", self.n));
        self.conn = Some(conn);
        let (tid, id) = (lab.fresh("bind"), lab.fresh("mbind"));
        let bare = text::Send {
            tid: &tid,
            to: &self.peer_path,
            from: &self.path,
            id: &id,
            range: (1, 0, 0),
            flag: b'$',
            ..Default::default()
        }
        .write();
        lab.bytes(conn, &bare);
        let frames = lab.frames(conn);
        assert!(
            frames.iter().any(|f| f.what == "200" && f.tid == tid),
            "the bodiless SEND is answered: {frames:?}"
        );
    }

    pub(crate) fn conn(&self) -> ConnId {
        self.conn.expect("its media is up")
    }

    /// Sends one whole message; its transaction id.
    pub(crate) fn say(&self, lab: &mut Lab, content_type: &str, body: &[u8]) -> String {
        let (tid, id) = (lab.fresh("dtid"), lab.fresh("dmsg"));
        let send = text::Send {
            tid: &tid,
            to: &self.peer_path,
            from: &self.path,
            id: &id,
            range: (1, body.len(), body.len()),
            content_type,
            body: Some(body),
            flag: b'$',
            ..Default::default()
        };
        lab.bytes(self.conn(), &send.write());
        tid
    }

    /// Answers a SEND.
    pub(crate) fn ok(&self, lab: &mut Lab, f: &Frame, code: u16) {
        lab.bytes(self.conn(), &text::msrp_response(f, code, &self.path));
    }
}

/// Alice, who invites Bob: `10.0.2.1`.
#[derive(Clone, Debug)]
pub(crate) struct Alice {
    pub(crate) sip: String,
    pub(crate) path: String,
    pub(crate) peer_path: String,
    pub(crate) conn: Option<ConnId>,
    pub(crate) ok: Option<Sip>,
    cseq: u32,
}

impl Alice {
    pub(crate) fn new() -> Self {
        Self {
            sip: "10.0.2.1:5060".to_owned(),
            path: "msrp://10.0.2.1:7000/alice;tcp".to_owned(),
            peer_path: String::new(),
            conn: None,
            ok: None,
            cseq: 1,
        }
    }

    pub(crate) fn sdp(&self) -> String {
        format!(
            "v=0\r\no=- 5 5 IN IP4 10.0.2.1\r\ns=-\r\nc=IN IP4 10.0.2.1\r\nt=0 0\r\nm=message 9 TCP/MSRP *\r\n\
             a=accept-types:message/cpim application/im-iscomposing+xml\r\na=accept-wrapped-types:*\r\na=setup:active\r\na=path:{}\r\n",
            self.path
        )
    }

    pub(crate) fn message(
        &self,
        method: &str,
        uri: &str,
        branch: &str,
        cseq: u32,
        more: &str,
        body: &str,
    ) -> Vec<u8> {
        let to = self.ok.as_ref().map_or_else(
            || "<sip:bob@example.com>".to_owned(),
            |ok| ok.get("To").to_owned(),
        );
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch={branch}\r\nMax-Forwards: 70\r\nFrom: <sip:alice@other.example>;tag=a\r\n\
             To: {to}\r\nCall-ID: alicecall\r\nCSeq: {cseq} {method}\r\n{more}Content-Length: {}\r\n\r\n{body}",
            self.sip,
            body.len()
        )
        .into_bytes()
    }

    pub(crate) fn invite(&self, lab: &mut Lab) {
        self.invite_with(lab, "");
    }

    pub(crate) fn invite_with(&self, lab: &mut Lab, more: &str) {
        let more = format!(
            "Contact: <sip:alice@{}>;{TAG}\r\nAccept-Contact: *;{TAG};require;explicit\r\nSupported: timer\r\nContent-Type: application/sdp\r\n{more}",
            self.sip
        );
        let m = self.message(
            "INVITE",
            "sip:bob@example.com",
            "z9hG4bKalice",
            1,
            &more,
            &self.sdp(),
        );
        lab.datagram(&self.sip, &m);
    }

    /// Takes the 200, acknowledges it, brings the media up.
    pub(crate) fn up(&mut self, lab: &mut Lab) {
        let ok = loop {
            let r = lab.response_to(&self.sip, "INVITE");
            if r.code() == Some(200) {
                break r;
            }
        };
        self.peer_path = text::sdp(&String::from_utf8_lossy(&ok.body), "path")
            .expect("a path")
            .to_owned();
        self.ok = Some(ok.clone());
        let ack = self.message("ACK", &ok.uri("Contact"), "z9hG4bKack", 1, "", "");
        lab.datagram(&self.sip, &ack);
        let conn = lab.connect(MEDIA, "10.0.2.1:30000");
        self.conn = Some(conn);
        let (tid, id) = (lab.fresh("bind"), lab.fresh("abind"));
        let bare = text::Send {
            tid: &tid,
            to: &self.peer_path,
            from: &self.path,
            id: &id,
            range: (1, 0, 0),
            flag: b'$',
            ..Default::default()
        }
        .write();
        lab.bytes(conn, &bare);
        assert!(
            lab.frames(conn).iter().any(|f| f.what == "200"),
            "the bodiless SEND is answered"
        );
    }

    pub(crate) fn conn(&self) -> ConnId {
        self.conn.expect("her media is up")
    }

    /// The bytes of one whole message.
    pub(crate) fn send(&self, tid: &str, id: &str, body: &[u8], reports: &str) -> Vec<u8> {
        text::Send {
            tid,
            to: &self.peer_path,
            from: &self.path,
            id,
            range: (1, body.len(), body.len()),
            reports,
            content_type: "message/cpim",
            body: Some(body),
            flag: b'$',
        }
        .write()
    }

    /// Sends one whole message; its transaction id.
    pub(crate) fn say(&self, lab: &mut Lab, id: &str, body: &[u8]) -> String {
        let tid = lab.fresh("atid");
        let bytes = self.send(&tid, id, body, "");
        lab.bytes(self.conn(), &bytes);
        tid
    }

    pub(crate) fn bye(&mut self, lab: &mut Lab) {
        self.cseq += 1;
        let uri = self.ok.as_ref().expect("a dialog").uri("Contact");
        let m = self.message(
            "BYE",
            &uri,
            &format!("z9hG4bKbye{}", self.cseq),
            self.cseq,
            "",
            "",
        );
        lab.datagram(&self.sip, &m);
    }
}

/// Text in CPIM.
pub(crate) fn cpim(text: &str) -> Vec<u8> {
    format!("From: <sip:anonymous@anonymous.invalid>\r\nTo: <sip:anonymous@anonymous.invalid>\r\n\r\nContent-Type: text/plain\r\n\r\n{text}").into_bytes()
}

pub(crate) const COMPOSING: &str = "<?xml version=\"1.0\"?><isComposing xmlns=\"urn:ietf:params:xml:ns:im-iscomposing\"><state>active</state></isComposing>";

/// An established session of Alice with `n` devices of Bob.
pub(crate) fn session(lab: &mut Lab, n: u8) -> (Alice, Vec<Device>) {
    let mut devices: Vec<Device> = (1..=n).map(|k| Device::register(lab, k)).collect();
    let mut alice = Alice::new();
    alice.invite(lab);
    for d in &mut devices {
        d.invited(lab);
    }
    for (k, d) in devices.iter_mut().enumerate() {
        d.accept(lab);
        if k == 0 {
            alice.up(lab);
        }
    }
    (alice, devices)
}

/// Everybody answers what is asked, and all ends.
pub(crate) fn hang_up(lab: &mut Lab, alice: &mut Alice, devices: &[Device]) {
    alice.bye(lab);
    for _ in 0..40 {
        for d in devices {
            while let Some(m) = lab.to(&d.sip) {
                if m.code().is_none() && m.method() != "ACK" {
                    let r = m.answer(200, "OK", "", "", "");
                    lab.datagram(&d.sip, &r);
                }
            }
        }
        lab.pass(Duration::from_secs(2));
    }
}
