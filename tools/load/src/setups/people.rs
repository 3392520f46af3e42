//! Callers and devices of `setups`: datagram sockets, each with all the roles of its users, and one loop that answers
//! whatever comes. No state for a device: each of its answers follows from what it answers to.

use std::{
    collections::BTreeMap,
    io::{self, ErrorKind},
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    time::Duration,
};

use ringfork::wire::{
    sdp::Setup,
    sip::{Message, Method, Start},
    uri,
};
use rustix::net::sockopt;

use super::Options;
use crate::{
    clock::{Clock, Nanos},
    epoll::{Interest, Poller},
    hist::Latency,
    media, names,
    sip_text::{self, Answer, Binding, Dialog, Here, Ids, Transport},
    trouble::Trouble,
};

/// T1 of RFC 3261: what has no answer by then is sent again, and given up after 64 of it.
const T1: Nanos = 500_000_000;
/// Room for what waits in a socket.
const SOCKET_BYTES: usize = 8 << 20;
const DATAGRAM_BYTES: usize = 65_536;
/// Registrations under way at a time.
const REGISTERING: usize = 32;
/// The media that is described is never connected to: discard's port.
const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9);

/// A request of ours that has no final answer yet.
struct Waiting {
    bytes: Vec<u8>,
    source: usize,
    first: Nanos,
    last: Nanos,
    user: u32,
    is_call: bool,
}

/// All of them.
pub(super) struct People {
    server: SocketAddr,
    clock: Clock,
    poller: Poller,
    sockets: Vec<(UdpSocket, Here)>,
    users: u32,
    devices: u16,
    at_a_time: usize,
    /// Of this run, so that two runs share no name.
    run: u64,
    /// By Call-ID and CSeq.
    waiting: BTreeMap<(u32, u32), Waiting>,
    next: u32,
    /// Whether a call that has ended is followed by the next.
    calling: bool,
    done: u64,
    setup: Latency,
    refused: u64,
    unanswered: u64,
    unexpected: u64,
    sent_again: u64,
    buffer: Vec<u8>,
}

impl People {
    pub(super) fn open(
        options: &Options,
        server: SocketAddr,
        clock: Clock,
    ) -> Result<Self, Trouble> {
        let poller = Poller::new()?;
        let mut sockets = Vec::new();
        for i in 0..options.sources {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            socket.set_nonblocking(true)?;
            // The kernel gives what it may.
            sockopt::set_socket_recv_buffer_size(&socket, SOCKET_BYTES).map_err(io::Error::from)?;
            poller.add(&socket, u64::from(i), Interest::READ)?;
            let here = Here {
                transport: Transport::Udp,
                at: socket.local_addr()?,
            };
            sockets.push((socket, here));
        }
        Ok(Self {
            server,
            clock,
            poller,
            sockets,
            users: options.users,
            devices: options.devices,
            at_a_time: options.at_a_time as usize,
            run: options.seed,
            waiting: BTreeMap::new(),
            next: 0,
            calling: false,
            done: 0,
            setup: Latency::new(),
            refused: 0,
            unanswered: 0,
            unexpected: 0,
            sent_again: 0,
            buffer: vec![0; DATAGRAM_BYTES],
        })
    }

    /// Set-ups so far: INVITEs that were answered 200 and acknowledged.
    pub(super) fn done(&self) -> u64 {
        self.done
    }

    pub(super) fn setup(&self) -> &Latency {
        &self.setup
    }

    /// Requests that were answered otherwise than with 2xx.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    pub(super) fn unanswered(&self) -> u64 {
        self.unanswered
    }

    /// Messages that make no sense.
    pub(super) fn unexpected(&self) -> u64 {
        self.unexpected
    }

    /// Requests that were sent more than once.
    pub(super) fn sent_again(&self) -> u64 {
        self.sent_again
    }

    /// Registers all devices, or takes that back with `expires` 0.
    pub(super) fn register_all(&mut self, expires: u32) -> Result<(), Trouble> {
        for user in 0..self.users {
            for device in 0..self.devices {
                while self.waiting.len() >= REGISTERING {
                    self.turn()?;
                }
                self.register(user, device, expires)?;
            }
        }
        self.settle()
    }

    /// Calls until `end`, then lets what is under way go on.
    pub(super) fn call_until(&mut self, end: Nanos) -> Result<(), Trouble> {
        self.calling = true;
        while self.waiting.len() < self.at_a_time {
            self.call()?;
        }
        while self.clock.now() < end {
            self.turn()?;
        }
        Ok(())
    }

    /// Lets all calls end, and the server hang up on the devices.
    pub(super) fn finish(&mut self) -> Result<(), Trouble> {
        self.calling = false;
        self.settle()?;
        let end = self.clock.now() + 2 * T1;
        while self.clock.now() < end {
            self.turn()?;
        }
        Ok(())
    }

    fn settle(&mut self) -> Result<(), Trouble> {
        while !self.waiting.is_empty() {
            self.turn()?;
        }
        Ok(())
    }

    /// One look at the sockets, and at what has waited too long.
    fn turn(&mut self) -> Result<(), Trouble> {
        let n = self.poller.wait(Some(Duration::from_millis(10)))?;
        for i in 0..n {
            let source = usize::try_from(self.poller.ready(i).token).unwrap_or(0);
            self.read(source)?;
        }
        self.send_again()
    }

    fn read(&mut self, source: usize) -> Result<(), Trouble> {
        let mut buffer = std::mem::take(&mut self.buffer);
        loop {
            match self.sockets[source].0.recv_from(&mut buffer) {
                Ok((n, from)) => self.take(source, &buffer[..n], from)?,
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                // An ICMP error of something sent before, or a signal.
                Err(e)
                    if matches!(
                        e.kind(),
                        ErrorKind::ConnectionRefused | ErrorKind::Interrupted
                    ) => {}
                Err(e) => return Err(e.into()),
            }
        }
        self.buffer = buffer;
        Ok(())
    }

    fn take(&mut self, source: usize, bytes: &[u8], from: SocketAddr) -> Result<(), Trouble> {
        let Ok(message) = Message::parse(bytes) else {
            self.unexpected += 1;
            return Ok(());
        };
        match message.start() {
            Start::Request { method, uri } => self.serve(source, &message, method, uri, from),
            Start::Response { code, .. } if code < 200 => Ok(()),
            Start::Response { code, .. } => self.answered(source, &message, code),
        }
    }

    /// A device's part.
    fn serve(
        &mut self,
        source: usize,
        request: &Message<'_>,
        method: Method<'_>,
        uri: &[u8],
        from: SocketAddr,
    ) -> Result<(), Trouble> {
        let here = self.sockets[source].1;
        let answer = match method {
            Method::Ack => return Ok(()),
            Method::Invite => {
                let parsed = uri::sip::Uri::parse(uri).ok();
                let user = parsed.and_then(|u| u.user).unwrap_or_default();
                let user = String::from_utf8_lossy(user).into_owned();
                let sdp = media::describe(
                    &format!("msrp://127.0.0.1:9/{user};tcp"),
                    NOWHERE,
                    Setup::Active,
                    true,
                );
                sip_text::respond(
                    request,
                    &Answer {
                        code: 200,
                        tag: &format!("t{user}"),
                        contact: Some(&here.contact(&user)),
                        sdp: Some(&sdp),
                    },
                )?
            }
            Method::Bye | Method::Cancel | Method::Options | Method::Update => sip_text::respond(
                request,
                &Answer {
                    code: 200,
                    tag: "x1",
                    ..Answer::default()
                },
            )?,
            Method::Register
            | Method::Prack
            | Method::Message
            | Method::Refer
            | Method::Subscribe
            | Method::Notify
            | Method::Info
            | Method::Publish
            | Method::Other(_) => {
                self.unexpected += 1;
                return Ok(());
            }
        };
        self.send(source, &answer, from)
    }

    /// A final answer to a request of ours.
    fn answered(&mut self, source: usize, answer: &Message<'_>, code: u16) -> Result<(), Trouble> {
        let (Some(n), Ok(cseq)) = (answer.call_id().ok().and_then(number_of), answer.cseq()) else {
            self.unexpected += 1;
            return Ok(());
        };
        let is_invite = cseq.method == Method::Invite;
        let waiting = self.waiting.remove(&(n, cseq.number));
        if is_invite && (200..300).contains(&code) {
            // Each 200 is a dialog of its own, and each again when its ACK was lost.
            return self.stands(source, n, answer, waiting);
        }
        let Some(waiting) = waiting else {
            // The answer to what was sent twice, or to the BYE of a second dialog.
            return Ok(());
        };
        if code >= 300 {
            self.refused += 1;
        }
        if waiting.is_call && self.calling {
            self.call()?;
        }
        Ok(())
    }

    /// A call stands: acknowledge it and end it.
    fn stands(
        &mut self,
        source: usize,
        n: u32,
        answer: &Message<'_>,
        waiting: Option<Waiting>,
    ) -> Result<(), Trouble> {
        let from = self.from(n);
        let Some(dialog) = Dialog::of(answer, &self.call_id(n), &from, 1) else {
            self.unexpected += 1;
            return Ok(());
        };
        let here = self.sockets[source].1;
        let tag =
            String::from_utf8_lossy(answer.to().ok().and_then(|t| t.tag()).unwrap_or_default())
                .into_owned();
        let within = |method: Method<'_>, cseq: u32, branch: &str| {
            let ids = Ids {
                branch,
                from: &dialog.from,
                to: &dialog.to,
                call_id: &dialog.call_id,
                cseq,
            };
            sip_text::within(here, &ids, method, &dialog)
        };
        let ack = within(Method::Ack, 1, &format!("z9hG4bKa{n:08x}{tag}"))?;
        self.send(source, &ack, self.server)?;
        let bye = within(Method::Bye, 2, &format!("z9hG4bKb{n:08x}{tag}"))?;
        let now = self.clock.now();
        if let Some(waiting) = waiting {
            self.setup.record(now - waiting.first);
            self.done += 1;
            self.ask(n, 2, source, waiting.user, bye, true)
        } else {
            // A second dialog of the same INVITE, as a forking proxy makes them.
            self.send(source, &bye, self.server)
        }
    }

    fn register(&mut self, user: u32, device: u16, expires: u32) -> Result<(), Trouble> {
        let n = self.number();
        let source = self.source(user);
        let here = self.sockets[source].1;
        let aor = names::user(user);
        let cseq = if expires == 0 { 2 } else { 1 };
        let request = sip_text::register(
            here,
            &Ids {
                branch: &format!("z9hG4bKr{:x}{n:08x}", self.run),
                from: &format!("<{aor}>;tag=r{n:x}"),
                to: &format!("<{aor}>"),
                call_id: &self.call_id(n),
                cseq,
            },
            Some(&Binding {
                contact: &here.contact(&format!("d{user}x{device}")),
                instance: &format!("00000000-0000-4000-8000-{user:06x}{device:06x}"),
                expires,
            }),
        )?;
        self.ask(n, cseq, source, user, request, false)
    }

    /// Calls the next user.
    fn call(&mut self) -> Result<(), Trouble> {
        let n = self.number();
        let user = n % self.users;
        let source = self.source(user);
        let here = self.sockets[source].1;
        let aor = names::user(user);
        let sdp = media::describe(
            &format!("msrp://127.0.0.1:9/c{n:08x};tcp"),
            NOWHERE,
            Setup::Active,
            true,
        );
        let request = sip_text::invite(
            here,
            &Ids {
                branch: &format!("z9hG4bKi{:x}{n:08x}", self.run),
                from: &self.from(n),
                to: &format!("<{aor}>"),
                call_id: &self.call_id(n),
                cseq: 1,
            },
            &aor,
            &here.contact(&format!("c{user}")),
            &sdp,
        )?;
        self.ask(n, 1, source, user, request, true)
    }

    fn ask(
        &mut self,
        n: u32,
        cseq: u32,
        source: usize,
        user: u32,
        bytes: Vec<u8>,
        is_call: bool,
    ) -> Result<(), Trouble> {
        self.send(source, &bytes, self.server)?;
        let now = self.clock.now();
        let waiting = Waiting {
            bytes,
            source,
            first: now,
            last: now,
            user,
            is_call,
        };
        self.waiting.insert((n, cseq), waiting);
        Ok(())
    }

    /// RFC 3261 §17.1: what may have been lost goes again; what was never answered is given up.
    fn send_again(&mut self) -> Result<(), Trouble> {
        let now = self.clock.now();
        let late: Vec<(u32, u32)> = self
            .waiting
            .iter()
            .filter(|(_, w)| now.saturating_sub(w.last) > T1)
            .map(|(key, _)| *key)
            .collect();
        for key in late {
            let Some(w) = self.waiting.get_mut(&key) else {
                continue;
            };
            if now - w.first > 64 * T1 {
                self.unanswered += 1;
                let gone = self.waiting.remove(&key);
                if gone.is_some_and(|w| w.is_call) && self.calling {
                    self.call()?;
                }
                continue;
            }
            w.last = now;
            let (source, bytes) = (w.source, w.bytes.clone());
            self.sent_again += 1;
            self.send(source, &bytes, self.server)?;
        }
        Ok(())
    }

    fn send(&self, source: usize, bytes: &[u8], to: SocketAddr) -> Result<(), Trouble> {
        match self.sockets[source].0.send_to(bytes, to) {
            Ok(_) => Ok(()),
            // Lost, as a datagram may be.
            Err(e)
                if matches!(
                    e.kind(),
                    ErrorKind::WouldBlock | ErrorKind::ConnectionRefused
                ) =>
            {
                Ok(())
            }
            Err(e) => Err(e.into()),
        }
    }

    fn number(&mut self) -> u32 {
        self.next += 1;
        self.next
    }

    fn source(&self, user: u32) -> usize {
        user as usize % self.sockets.len()
    }

    fn call_id(&self, n: u32) -> String {
        format!("s{:016x}-{n:08x}", self.run)
    }

    fn from(&self, n: u32) -> String {
        format!("<{}>;tag=f{n:x}", names::caller(n % self.users))
    }
}

/// The number in a Call-ID of ours.
fn number_of(call_id: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(call_id).ok()?;
    u32::from_str_radix(text.rsplit_once('-')?.1, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_known_by_its_call_id() {
        assert_eq!(number_of(b"s00000000000000ff-0000002a"), Some(42));
        assert_eq!(number_of(b"somebody's"), None);
    }
}
