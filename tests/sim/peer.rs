//! What devices and senders have in common: a SIP leg over UDP or TCP that repeats what must be repeated, one MSRP stream.

use std::{net::SocketAddr, time::Duration};

use ringfork::time::Instant;

use crate::{
    host::SIP,
    net::{Happening, Net, Side, StreamId},
    text::{self, Frame, Sip},
};

/// T1 and T2 of the lab.
pub(crate) const T1: Duration = Duration::from_millis(500);
const T2: Duration = Duration::from_secs(4);

/// Something that a peer does later.
#[derive(Clone, Debug)]
pub(crate) enum Todo {
    Register,
    /// Repeat a message until it is settled (by `key`), or 64·T1 have passed.
    Repeat {
        key: String,
        bytes: Vec<u8>,
        wait: Duration,
        until: Instant,
    },
    Answer {
        branch: String,
        code: u16,
    },
    Ring {
        branch: String,
    },
    Ack {
        frame: Box<Frame>,
        code: u16,
    },
    Act,
    Invite,
    Cancel,
    Say(usize),
    /// A chunk of a message that is written in pieces.
    Write(Box<Chunk>),
    /// Resets the media stream.
    Reset,
    Bye,
    /// A stalled reader reads again.
    Read,
    /// A device registers again, in the middle of whatever it does.
    Again(Again),
    GiveUpMedia,
}

/// How a device registers again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    /// The same contact.
    Refresh,
    /// Another contact of the same instance.
    Elsewhere,
    /// It is gone, and comes back after this.
    Gone(Duration),
}

/// A chunk of a message that is written in pieces.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    /// The stream that the message began on: on another the rest of it would mean nothing.
    pub(crate) stream: Option<StreamId>,
    pub(crate) bytes: Vec<u8>,
    pub(crate) tid: String,
    pub(crate) seq: usize,
    pub(crate) last: bool,
}

/// The common half of a peer.
pub(crate) struct Common {
    pub(crate) me: usize,
    pub(crate) addr: SocketAddr,
    pub(crate) tcp: bool,
    sip_stream: Option<StreamId>,
    sip_buffer: Vec<u8>,
    sip_out: Vec<u8>,
    pub(crate) todos: Vec<Option<Todo>>,
    /// What is settled and need not be repeated.
    pub(crate) settled: std::collections::BTreeSet<String>,
    pub(crate) media: Option<(StreamId, usize)>,
    /// Those of a group have their sessions on one connection (RFC 4975 §5.4).
    pub(crate) group: Option<usize>,
    serial: u64,
}

impl Common {
    pub(crate) fn new(me: usize, addr: SocketAddr, tcp: bool) -> Self {
        Self {
            me,
            addr,
            tcp,
            sip_stream: None,
            sip_buffer: Vec::new(),
            sip_out: Vec::new(),
            todos: Vec::new(),
            settled: Default::default(),
            media: None,
            group: None,
            serial: 0,
        }
    }

    pub(crate) fn id(&mut self, what: &str) -> String {
        self.serial += 1;
        format!("{what}{}x{}", self.me, self.serial)
    }

    pub(crate) fn transport(&self) -> &'static str {
        if self.tcp { "TCP" } else { "UDP" }
    }

    pub(crate) fn later(&mut self, net: &mut Net, d: Duration, todo: Todo) {
        self.todos.push(Some(todo));
        net.after(
            d,
            Happening::Alarm {
                peer: self.me,
                token: self.todos.len() as u64 - 1,
            },
        );
    }

    pub(crate) fn todo(&mut self, token: u64) -> Option<Todo> {
        self.todos.get_mut(token as usize).and_then(Option::take)
    }

    pub(crate) fn send(&mut self, net: &mut Net, bytes: &[u8]) {
        net.trace(|| format!("peer {} writes {}", self.me, gist(bytes)));
        if self.tcp {
            let stream = *self
                .sip_stream
                .get_or_insert_with(|| net.connect(Side::Peer(self.me), self.addr, SIP));
            self.sip_out.extend(bytes);
            let n = net.send(stream, 0, &self.sip_out);
            self.sip_out.drain(..n);
        } else {
            net.send_datagram(self.addr, SIP, bytes);
        }
    }

    /// Sends, and repeats until `key` is settled: requests over UDP, final answers to INVITE over both (RFC 3261 §13.3.1.4).
    pub(crate) fn send_until(
        &mut self,
        net: &mut Net,
        key: String,
        bytes: Vec<u8>,
        over_tcp_too: bool,
    ) {
        self.send(net, &bytes);
        if !self.tcp || over_tcp_too {
            let until = net.now + T1 * 64;
            self.later(
                net,
                T1,
                Todo::Repeat {
                    key,
                    bytes,
                    wait: T1,
                    until,
                },
            );
        }
    }

    pub(crate) fn repeat(
        &mut self,
        net: &mut Net,
        key: String,
        bytes: Vec<u8>,
        wait: Duration,
        until: Instant,
    ) {
        if self.settled.contains(&key) || net.now >= until {
            return;
        }
        self.send(net, &bytes);
        let wait = (wait * 2).min(T2);
        self.later(
            net,
            wait,
            Todo::Repeat {
                key,
                bytes,
                wait,
                until,
            },
        );
    }

    /// Whole SIP messages out of stream bytes.
    pub(crate) fn sip_bytes(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        self.sip_buffer.extend(bytes);
        let mut whole = Vec::new();
        loop {
            while self.sip_buffer.starts_with(b"\r\n") {
                self.sip_buffer.drain(..2);
            }
            let Some(head) = text::find(&self.sip_buffer, b"\r\n\r\n") else {
                return whole;
            };
            let message = Sip::read(&self.sip_buffer).expect("the server writes SIP");
            let length: usize = message
                .get("Content-Length")
                .parse()
                .expect("on streams Content-Length is there");
            if self.sip_buffer.len() < head + 4 + length {
                return whole;
            }
            whole.push(self.sip_buffer.drain(..head + 4 + length).collect());
        }
    }

    pub(crate) fn is_sip(&self, stream: StreamId) -> bool {
        self.sip_stream == Some(stream)
    }

    pub(crate) fn is_media(&self, stream: StreamId) -> bool {
        self.media.is_some_and(|(s, _)| s == stream)
    }

    pub(crate) fn sip_lost(&mut self) {
        self.sip_stream = None;
        self.sip_buffer.clear();
        self.sip_out.clear();
    }

    /// Opens the media stream to the address in an SDP of the server.
    pub(crate) fn connect_media(&mut self, net: &mut Net, body: &str) {
        if self.media.is_some() {
            return;
        }
        let known = self.group.and_then(|g| net.groups.get(&g).copied());
        if let Some(stream) = known
            && let Side::Peer(_) = net.streams[stream.0].half[0].who
            && !net.streams[stream.0].media.peers.is_empty()
        {
            net.saw("several sessions on a connection");
            let media = &mut net.streams[stream.0].media;
            media.peers.push(self.me);
            media.shared = true;
            self.media = Some((stream, 0));
            return;
        }
        let host = body
            .lines()
            .find_map(|l| l.strip_prefix("c=IN IP4 "))
            .expect("the server says c=")
            .trim();
        let port = body
            .lines()
            .find_map(|l| l.strip_prefix("m=message "))
            .and_then(|l| l.split(' ').next())
            .expect("the server says m=");
        let to: SocketAddr = format!("{host}:{port}")
            .parse()
            .expect("the server's address is numeric");
        let from = SocketAddr::new(self.addr.ip(), 30_000);
        let stream = net.connect(Side::Peer(self.me), from, to);
        if let Some(g) = self.group {
            net.groups.insert(g, stream);
        }
        self.joins_media(net, stream, 0);
    }

    /// This peer's session is on this stream.
    pub(crate) fn joins_media(&mut self, net: &mut Net, stream: StreamId, side: usize) {
        net.streams[stream.0].media.peers.push(self.me);
        self.media = Some((stream, side));
    }

    pub(crate) fn say(&mut self, net: &mut Net, bytes: &[u8]) {
        if let Some((stream, side)) = self.media {
            net.streams[stream.0].media.out.extend(bytes);
            push_media(net, stream, side);
        }
    }

    /// A stream takes bytes again.
    pub(crate) fn push(&mut self, net: &mut Net, stream: StreamId, side: usize) {
        if self.is_sip(stream) {
            let n = net.send(stream, 0, &self.sip_out);
            self.sip_out.drain(..n);
        } else {
            push_media(net, stream, side);
        }
    }

    pub(crate) fn close_media(&mut self, net: &mut Net, reset: bool) {
        let Some((stream, side)) = self.media.take() else {
            return;
        };
        let me = self.me;
        let media = &mut net.streams[stream.0].media;
        media.peers.retain(|p| *p != me);
        if media.peers.is_empty() {
            net.close(stream, side, reset);
        } else if reset {
            // The others' sessions end with it.
            net.after(Duration::ZERO, Happening::Cut { stream });
        } else {
            net.saw("session over on a connection with others");
            // Whoever reads nothing stops the others with it, and only as long as it is there.
            net.streams[stream.0].half[side].paused = false;
            crate::lab::note_readable(net, stream, side);
        }
    }

    /// The media stream is gone, by the server or by the network.
    pub(crate) fn media_lost(&mut self) {
        self.media = None;
    }

    /// An SDP of ours.
    pub(crate) fn sdp(&self, session: u32, setup: &str, cema: bool, path: &str) -> String {
        let port = if setup == "active" { 9 } else { 7000 };
        let ip = self.addr.ip();
        format!(
            "v=0\r\no=- {session} 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=message {port} TCP/MSRP *\r\n\
             a=accept-types:message/cpim application/im-iscomposing+xml\r\na=accept-wrapped-types:*\r\n\
             a=setup:{setup}\r\n{}a=path:{path}\r\n",
            if cema { "a=msrp-cema\r\n" } else { "" }
        )
    }
}

fn push_media(net: &mut Net, stream: StreamId, side: usize) {
    let mut out = std::mem::take(&mut net.streams[stream.0].media.out);
    if !out.is_empty() {
        let n = net.send(stream, side, &out);
        out.drain(..n);
    }
    net.streams[stream.0].media.out = out;
}

/// The start line of a SIP message and its CSeq, for people.
pub(crate) fn gist(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let cseq = text.lines().find(|l| l.starts_with("CSeq")).unwrap_or("");
    format!("{} | {cseq}", text.lines().next().unwrap_or(""))
}

/// The body of message `seq` of a session: CPIM around text that is full of what could be taken for an end-line.
pub(crate) fn body(user: usize, seq: usize, size: usize) -> Vec<u8> {
    let mut b = format!(
        "From: <sip:sender{user}@other.example>\r\nTo: <sip:user{user}@example.com>\r\n\r\nContent-Type: text/plain\r\n\r\n[{user}/{seq}/{size}]"
    )
    .into_bytes();
    let filler: &[u8] = match seq % 4 {
        0 => b"abcdefghijklmnopqrstuvwxyz ",
        1 => b"\r\n-------",
        2 => b"\r\n-------tid9999$\r\n",
        _ => b"\r\n\r\n\0\n--\r",
    };
    while b.len() < size {
        let n = (size - b.len()).min(filler.len());
        b.extend(&filler[..n]);
    }
    b
}

/// What a device writes: `kind` decides whether it is activity.
pub(crate) fn device_body(kind: Kind, device: usize, n: usize) -> (&'static str, Vec<u8>) {
    let cpim = |inner: &str, text: String| {
        format!("From: <sip:anonymous@anonymous.invalid>\r\nTo: <sip:anonymous@anonymous.invalid>\r\n\r\nContent-Type: {inner}\r\n\r\n{text}").into_bytes()
    };
    let composing = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><isComposing xmlns=\"urn:ietf:params:xml:ns:im-iscomposing\"><state>active</state></isComposing>";
    match kind {
        Kind::Chat => (
            "message/cpim",
            cpim("text/plain", format!("answer {n} of device {device}")),
        ),
        Kind::Composing => (
            "application/im-iscomposing+xml",
            composing.as_bytes().to_vec(),
        ),
        Kind::WrappedComposing => (
            "message/cpim",
            cpim("application/im-iscomposing+xml", composing.to_owned()),
        ),
        Kind::Imdn => (
            "message/cpim",
            cpim(
                "message/imdn+xml",
                format!(
                    "<?xml version=\"1.0\"?><imdn xmlns=\"urn:ietf:params:xml:ns:imdn\"><message-id>m{n}</message-id><datetime>2026-11-21T00:00:00Z</datetime><delivery-notification><status><delivered/></status></delivery-notification></imdn>"
                ),
            ),
        ),
    }
}

/// What a device may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Chat,
    Composing,
    WrappedComposing,
    Imdn,
}

impl Kind {
    pub(crate) fn is_activity(self) -> bool {
        !matches!(self, Self::Imdn)
    }
}
