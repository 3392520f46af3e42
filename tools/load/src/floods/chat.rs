//! A session over real sockets: somebody who writes, and devices that each have a manner. The canary is one of well-behaved
//! people, and most floods on the data plane are one of others.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::Duration,
};

use super::text::{self, Ask};
use crate::{
    clock::{Clock, Nanos, nanos},
    names::DOMAIN,
    trouble::Trouble,
};

/// How long a read waits before its thread looks whether it is to end.
const LOOK: Duration = Duration::from_millis(20);
/// How long a session may take to stand.
const SET_UP: Duration = Duration::from_secs(30);
/// After which a request without an answer is sent again.
const AGAIN: Duration = Duration::from_millis(500);

/// How a device treats what it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// It answers each message with 200.
    Good,
    /// It reads and never answers.
    Mute,
    /// It answers each message with 403.
    Refuses,
    /// It reads a few kilobytes a second.
    Slow,
}

/// Tells threads to end.
#[derive(Clone, Default)]
pub(super) struct Stop(Arc<AtomicBool>);

impl Stop {
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Lets time pass.
pub(super) fn pause(clock: Clock, d: Duration) {
    let until = clock.now() + nanos(d);
    loop {
        let left = until.saturating_sub(clock.now());
        if left == 0 {
            return;
        }
        thread::park_timeout(Duration::from_nanos(left));
    }
}

/// A delivered message: which device, what it begins with, when.
pub(super) struct Got {
    pub(super) device: usize,
    pub(super) text: String,
    pub(super) at: Nanos,
}

/// What a sender was answered.
#[derive(Default)]
pub(super) struct Answers {
    pub(super) ok: AtomicU64,
    pub(super) other: AtomicU64,
}

/// A session that stands.
pub(super) struct Chat {
    pub(super) stream: TcpStream,
    /// To and from, as the sender writes them.
    pub(super) to: String,
    pub(super) own: String,
    pub(super) answers: Arc<Answers>,
    pub(super) got: Receiver<Got>,
}

impl Chat {
    /// Registers `user` with devices of such manners, calls him, and brings all media up.
    pub(super) fn open(
        server: SocketAddr,
        user: &str,
        manners: &[Manner],
        clock: Clock,
        stop: &Stop,
    ) -> Result<Self, Trouble> {
        let devices = socket()?;
        let at = devices.local_addr()?;
        for n in 0..manners.len() {
            let contact = text::contact(user, n, at);
            let ids = (text::fresh("r"), 1);
            let request = text::register(user, at, "UDP", &contact, (&ids.0, 1));
            ask(&devices, server, &request, clock)?;
        }
        let caller = socket()?;
        let here = caller.local_addr()?;
        let own = format!("msrp://{here}/{};tcp", text::fresh("s"));
        let (from, to) = (
            format!("<sip:{user}-friend@elsewhere.example>;tag=c"),
            format!("<sip:{user}@{DOMAIN}>"),
        );
        let call_id = text::fresh("call");
        let invite = Ask {
            method: "INVITE",
            uri: &format!("sip:{user}@{DOMAIN}"),
            here,
            transport: "UDP",
            from: &from,
            to: &to,
            call_id: &call_id,
            cseq: 1,
            more: &format!(
                "Contact: <sip:{user}-friend@{here}>\r\nAccept-Contact: *;{}\r\nContent-Type: application/sdp\r\n",
                crate::sip_text::ICSI
            ),
            body: &text::sdp(&own, here),
        };
        let (tell, got) = channel();
        let mut up = 0;
        let mut peer = None;
        let invite_bytes = invite.write();
        caller.send_to(&invite_bytes, server)?;
        let until = clock.now() + nanos(SET_UP);
        while up < manners.len() || peer.is_none() {
            if clock.now() > until {
                return Err(Trouble::failed(format!(
                    "{user}: {up} of {} devices were called",
                    manners.len()
                )));
            }
            if let Some((m, from)) = heard(&devices)? {
                if m.starts_with("INVITE ") {
                    let device = device_of(&m);
                    let own = format!("msrp://{at}/{user}{device};tcp");
                    let more = format!(
                        "Contact: <sip:{user}-{device}@{at}>\r\nContent-Type: application/sdp\r\n"
                    );
                    let tag = format!("d{device}");
                    let ok = text::answer(&m, 200, &tag, &more, &text::sdp(&own, at));
                    devices.send_to(&ok, from)?;
                    let theirs = text::path(&m).unwrap_or_default().to_owned();
                    let manner = manners.get(device).copied().unwrap_or(Manner::Good);
                    let it = Device {
                        number: device,
                        manner,
                        own,
                        theirs,
                        clock,
                        tell: tell.clone(),
                        stop: stop.clone(),
                    };
                    it.start()?;
                    up += 1;
                } else {
                    answer_any(&devices, &m, from)?;
                }
            }
            if let Some((m, _)) = heard(&caller)?
                && text::code(&m).is_some_and(|c| c >= 200)
                && text::header(&m, "CSeq").is_some_and(|c| c.ends_with("INVITE"))
            {
                if text::code(&m) != Some(200) {
                    let line = m.lines().next().unwrap_or_default();
                    return Err(Trouble::failed(format!("{user}: {line}")));
                }
                let to = text::header(&m, "To").unwrap_or_default().to_owned();
                let contact = text::header(&m, "Contact").unwrap_or_default();
                let target = contact
                    .split(['<', '>'])
                    .nth(1)
                    .unwrap_or_default()
                    .to_owned();
                let ack = Ask {
                    method: "ACK",
                    uri: &target,
                    to: &to,
                    more: "",
                    body: "",
                    ..invite
                };
                caller.send_to(&ack.write(), server)?;
                peer = text::path(&m).map(str::to_owned);
            }
        }
        let to = peer.unwrap_or_default();
        let place = text::place(&to).ok_or_else(|| Trouble::failed(format!("no path: {to}")))?;
        let stream = TcpStream::connect(place)?;
        stream.set_nodelay(true)?;
        (&stream).write_all(&text::bare(&to, &own))?;
        let answers = Arc::new(Answers::default());
        read_answers(&stream, &answers, stop)?;
        keep_answering(vec![devices, caller], stop);
        Ok(Self {
            stream,
            to,
            own,
            answers,
            got,
        })
    }

    /// The paths of a SEND.
    pub(super) fn paths(&self) -> (&str, &str) {
        (&self.to, &self.own)
    }
}

/// Writes all of it, however slowly it is taken, unless it is time to end.
pub(super) fn push(mut stream: &TcpStream, bytes: &[u8], stop: &Stop) -> io::Result<usize> {
    stream.set_write_timeout(Some(LOOK))?;
    let mut at = 0;
    while at < bytes.len() && !stop.is_set() {
        match stream.write(&bytes[at..]) {
            Ok(0) => break,
            Ok(n) => at += n,
            Err(e) if is_timeout(&e) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(at)
}

pub(super) fn is_timeout(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

/// A datagram socket whose reads end soon.
pub(super) fn socket() -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(LOOK))?;
    Ok(socket)
}

/// The next datagram, if one comes soon.
pub(super) fn heard(socket: &UdpSocket) -> io::Result<Option<(String, SocketAddr)>> {
    let mut buffer = vec![0; 65_536];
    match socket.recv_from(&mut buffer) {
        Ok((n, from)) => {
            let text = String::from_utf8_lossy(buffer.get(..n).unwrap_or_default()).into_owned();
            Ok(Some((text, from)))
        }
        Err(e) if is_timeout(&e) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Asks until an answer comes: a 200, or it is no use.
fn ask(
    socket: &UdpSocket,
    server: SocketAddr,
    request: &[u8],
    clock: Clock,
) -> Result<(), Trouble> {
    let until = clock.now() + nanos(SET_UP);
    let mut again = 0;
    while clock.now() < until {
        if clock.now() >= again {
            socket.send_to(request, server)?;
            again = clock.now() + nanos(AGAIN);
        }
        if let Some((m, _)) = heard(socket)? {
            match text::code(&m) {
                Some(200) => return Ok(()),
                Some(code) if code >= 300 => {
                    return Err(Trouble::failed(format!("REGISTER was answered {code}")));
                }
                Some(_) | None => {}
            }
        }
    }
    Err(Trouble::unreachable("REGISTER was not answered"))
}

/// Which device an INVITE is for: its Request-URI is the device's contact.
fn device_of(invite: &str) -> usize {
    invite
        .split(['-', '@'])
        .nth(1)
        .and_then(|n| n.parse().ok())
        .unwrap_or(0)
}

fn answer_any(socket: &UdpSocket, m: &str, from: SocketAddr) -> io::Result<()> {
    if text::code(m).is_none() && !m.starts_with("ACK ") && m.len() > 4 {
        socket.send_to(&text::answer(m, 200, "x", "", ""), from)?;
    }
    Ok(())
}

/// Answers whatever still comes, BYEs above all.
fn keep_answering(sockets: Vec<UdpSocket>, stop: &Stop) {
    for socket in sockets {
        let stop = stop.clone();
        thread::spawn(move || {
            while !stop.is_set() {
                match heard(&socket) {
                    Ok(Some((m, from))) => drop(answer_any(&socket, &m, from)),
                    Ok(None) => {}
                    Err(_) => return,
                }
            }
        });
    }
}

/// Reads frames until it is time to end or the connection is over.
fn each_frame(
    mut stream: TcpStream,
    stop: &Stop,
    grain: usize,
    mut each: impl FnMut(&TcpStream, &text::Frame<'_>) -> io::Result<()>,
) -> io::Result<()> {
    stream.set_read_timeout(Some(LOOK))?;
    let mut buffer = vec![0; grain];
    let mut held = Vec::new();
    while !stop.is_set() {
        let n = match stream.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => n,
            Err(e) if is_timeout(&e) => continue,
            Err(e) => return Err(e),
        };
        held.extend_from_slice(buffer.get(..n).unwrap_or_default());
        let mut at = 0;
        while let Some(frame) = held.get(at..).and_then(text::frame) {
            at += frame.len;
            each(&stream, &frame)?;
        }
        held.drain(..at);
    }
    Ok(())
}

fn read_answers(stream: &TcpStream, answers: &Arc<Answers>, stop: &Stop) -> io::Result<()> {
    let (stream, answers, stop) = (stream.try_clone()?, Arc::clone(answers), stop.clone());
    thread::spawn(move || {
        let mut bound = false;
        each_frame(stream, &stop, 64 << 10, |_, frame| {
            let count = match frame.what {
                // The first is of the SEND that named the session.
                "200" if !bound => {
                    bound = true;
                    return Ok(());
                }
                "200" => &answers.ok,
                "REPORT" | "SEND" => return Ok(()),
                _ => &answers.other,
            };
            count.fetch_add(1, Ordering::Relaxed);
            Ok(())
        })
    });
    Ok(())
}

struct Device {
    number: usize,
    manner: Manner,
    own: String,
    theirs: String,
    clock: Clock,
    tell: Sender<Got>,
    stop: Stop,
}

impl Device {
    fn start(self) -> Result<(), Trouble> {
        let place = text::place(&self.theirs)
            .ok_or_else(|| Trouble::failed(format!("no path: {}", self.theirs)))?;
        let stream = TcpStream::connect(place)?;
        stream.set_nodelay(true)?;
        (&stream).write_all(&text::bare(&self.theirs, &self.own))?;
        thread::spawn(move || drop(self.live(stream)));
        Ok(())
    }

    fn live(&self, stream: TcpStream) -> io::Result<()> {
        let grain = if self.manner == Manner::Slow {
            512
        } else {
            64 << 10
        };
        each_frame(stream, &self.stop, grain, |mut stream, frame| {
            if frame.what != "SEND" {
                return Ok(());
            }
            let code = match self.manner {
                Manner::Good => 200,
                Manner::Mute => return Ok(()),
                Manner::Refuses => 403,
                Manner::Slow => {
                    pause(self.clock, Duration::from_millis(250));
                    200
                }
            };
            if self.manner == Manner::Good {
                let body = String::from_utf8_lossy(frame.body);
                let text = body.split("\r\n\r\n").nth(2).unwrap_or_default();
                let text = text.split(' ').next().unwrap_or_default().to_owned();
                let got = Got {
                    device: self.number,
                    text,
                    at: self.clock.now(),
                };
                // Nobody counts what a flood delivers.
                drop(self.tell.send(got));
            }
            stream.write_all(&text::msrp_answer(frame, code, &self.own))
        })
    }
}
