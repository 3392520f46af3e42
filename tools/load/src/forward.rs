//! The baseline: a byte forwarder that parses nothing. What a server cannot beat by much, it should not miss by much.
//!
//! # Who is who
//!
//! Two listening ports, no hello. The first (the address of `--listen`) takes senders: the k-th connection is the
//! sender of session k. The second (the next port, or any free one where the first is 0) takes devices: N in a row
//! belong together, so the j-th connection is device j mod N of session j div N. A connection counts in the order in
//! which it was set up, so whoever dials waits for one before the next. When the last connection has gone, counting
//! starts again at 0.
//!
//! # What it does
//!
//! A session runs once its sender and its N devices are there. What the sender writes goes to each of its devices;
//! what device 0 writes goes back to the sender; what other devices write is dropped. The end of any connection ends
//! its session.
//!
//! One thread, level-triggered epoll, reads of 256 KiB, one write a reader and device; what a short write leaves waits
//! in a buffer, and above [`PENDING_BYTES_MAX`] the writer is not read from until it has emptied.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
};

use crate::{
    epoll::{Interest, Poller},
    fault::{Fault, Faulty},
    out::Out,
    pin,
};

/// What one read may take.
const READ_BYTES: usize = 256 * 1024;
/// Bytes that may wait for one receiver before its writer is held back.
const PENDING_BYTES_MAX: usize = 1024 * 1024;
/// The writer is read again below this.
const PENDING_BYTES_LOW: usize = 256 * 1024;

const SENDERS: u64 = u64::MAX;
const DEVICES: u64 = u64::MAX - 1;

/// How to run one.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Where senders connect; devices one port higher.
    pub(crate) listen: SocketAddr,
    /// Devices a session.
    pub(crate) devices: usize,
    /// The core to stay on.
    pub(crate) core: Option<usize>,
    /// A fault to plant.
    pub(crate) fault: Option<Fault>,
    /// End when standard input does, so that no forwarder outlives who started it.
    pub(crate) until_eof: bool,
}

/// Forwards until the process is ended. Says where on the first line of standard output:
/// `senders=ADDR devices=ADDR`.
pub(crate) fn run(options: &Options) -> io::Result<()> {
    if let Some(core) = options.core {
        pin::this_thread(core)?;
    }
    if options.until_eof {
        std::thread::Builder::new()
            .name("until-eof".to_owned())
            .spawn(|| {
                // The error of a closed input is an end as well.
                let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
                std::process::exit(0);
            })?;
    }
    let mut forwarder = Forwarder::bind(options)?;
    let (senders, devices) = forwarder.addresses()?;
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "senders={senders} devices={devices}")?;
    stdout.flush()?;
    drop(stdout);
    loop {
        forwarder.turn()?;
    }
}

#[derive(Clone, Copy, Debug)]
enum Role {
    Sender,
    Device(usize),
}

struct Conn {
    stream: TcpStream,
    session: usize,
    role: Role,
    out: Out,
    interest: Interest,
}

#[derive(Clone)]
struct Session {
    sender: Option<usize>,
    devices: Vec<Option<usize>>,
}

impl Session {
    fn is_whole(&self) -> bool {
        self.sender.is_some() && self.devices.iter().all(Option::is_some)
    }
}

struct Forwarder {
    poller: Poller,
    senders: TcpListener,
    devices: TcpListener,
    devices_a_session: usize,
    conns: Vec<Option<Conn>>,
    sessions: Vec<Session>,
    senders_seen: usize,
    devices_seen: usize,
    open: usize,
    scratch: Vec<u8>,
    faulty: Option<Faulty>,
}

impl Forwarder {
    fn bind(options: &Options) -> io::Result<Self> {
        let senders = TcpListener::bind(options.listen)?;
        let mut next = senders.local_addr()?;
        next.set_port(match options.listen.port() {
            0 => 0,
            port => port.checked_add(1).ok_or(ErrorKind::InvalidInput)?,
        });
        let devices = TcpListener::bind(next)?;
        let poller = Poller::new()?;
        for (listener, token) in [(&senders, SENDERS), (&devices, DEVICES)] {
            listener.set_nonblocking(true)?;
            poller.add(listener, token, Interest::READ)?;
        }
        Ok(Self {
            poller,
            senders,
            devices,
            devices_a_session: options.devices,
            conns: Vec::new(),
            sessions: Vec::new(),
            senders_seen: 0,
            devices_seen: 0,
            open: 0,
            scratch: vec![0; READ_BYTES],
            faulty: options.fault.map(Faulty::new),
        })
    }

    fn addresses(&self) -> io::Result<(SocketAddr, SocketAddr)> {
        Ok((self.senders.local_addr()?, self.devices.local_addr()?))
    }

    /// Waits for events and serves them.
    fn turn(&mut self) -> io::Result<()> {
        let n = self.poller.wait(None)?;
        for i in 0..n {
            let ready = self.poller.ready(i);
            match ready.token {
                SENDERS | DEVICES => self.accept(ready.token)?,
                token => {
                    // A token is an index that we handed out ourselves.
                    let id = usize::try_from(token).unwrap_or(usize::MAX);
                    if ready.write {
                        self.write(id);
                    }
                    if ready.read {
                        self.read(id);
                    }
                }
            }
        }
        Ok(())
    }

    fn accept(&mut self, token: u64) -> io::Result<()> {
        loop {
            let listener = if token == SENDERS {
                &self.senders
            } else {
                &self.devices
            };
            let stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == ErrorKind::ConnectionAborted => continue,
                Err(e) => return Err(e),
            };
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let (session, role) = if token == SENDERS {
                self.senders_seen += 1;
                (self.senders_seen - 1, Role::Sender)
            } else {
                self.devices_seen += 1;
                let j = self.devices_seen - 1;
                (
                    j / self.devices_a_session,
                    Role::Device(j % self.devices_a_session),
                )
            };
            self.place(stream, session, role)?;
        }
    }

    fn place(&mut self, stream: TcpStream, session: usize, role: Role) -> io::Result<()> {
        let id = self.conns.len();
        if self.sessions.len() <= session {
            let empty = Session {
                sender: None,
                devices: vec![None; self.devices_a_session],
            };
            self.sessions.resize(session + 1, empty);
        }
        let s = &mut self.sessions[session];
        match role {
            Role::Sender => s.sender = Some(id),
            Role::Device(j) => s.devices[j] = Some(id),
        }
        let whole = s.is_whole();
        // The sender is not read before its devices are there: they get each byte or none.
        let interest = Interest {
            read: whole || matches!(role, Role::Device(_)),
            write: false,
        };
        self.poller.add(&stream, id as u64, interest)?;
        self.conns.push(Some(Conn {
            stream,
            session,
            role,
            out: Out::default(),
            interest,
        }));
        self.open += 1;
        if whole {
            self.hold_back(session);
        }
        Ok(())
    }

    fn read(&mut self, id: usize) {
        let Some(Some(conn)) = self.conns.get(id) else {
            return;
        };
        if !conn.interest.read {
            // An error or a hang-up shows even where we do not read. A session that runs meets it at its next write or
            // read; one that never began would not.
            let session = conn.session;
            if !self.sessions[session].is_whole() {
                self.end(session);
            }
            return;
        }
        let (session, role) = (conn.session, conn.role);
        match (&conn.stream).read(&mut self.scratch) {
            Ok(0) => self.end(session),
            Ok(n) => self.forward(session, role, n),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => self.end(session),
        }
    }

    /// Passes on the first `n` bytes of the scratch buffer.
    fn forward(&mut self, session: usize, role: Role, n: usize) {
        match role {
            Role::Sender => {
                let last = self.devices_a_session - 1;
                if let Some(faulty) = &mut self.faulty {
                    let altered = faulty.take(session, &self.scratch[..n]);
                    self.send(self.sessions[session].devices[last], &altered.here);
                    let next = (session + 1) % self.sessions.len();
                    self.send(self.sessions[next].devices[last], &altered.elsewhere);
                }
                let scratch = std::mem::take(&mut self.scratch);
                for j in 0..self.devices_a_session {
                    if self.faulty.is_none() || j != last {
                        self.send(self.sessions[session].devices[j], &scratch[..n]);
                    }
                }
                self.scratch = scratch;
            }
            Role::Device(0) => {
                let scratch = std::mem::take(&mut self.scratch);
                self.send(self.sessions[session].sender, &scratch[..n]);
                self.scratch = scratch;
            }
            Role::Device(_) => {}
        }
    }

    fn send(&mut self, to: Option<usize>, bytes: &[u8]) {
        let Some(Some(conn)) = to.and_then(|id| self.conns.get_mut(id)) else {
            return;
        };
        let (session, before) = (conn.session, conn.out.len());
        match conn.out.write(&conn.stream, bytes) {
            Ok(()) if before == 0 && conn.out.is_empty() => {}
            Ok(()) => self.hold_back(session),
            Err(_) => self.end(session),
        }
    }

    fn write(&mut self, id: usize) {
        let Some(Some(conn)) = self.conns.get_mut(id) else {
            return;
        };
        let session = conn.session;
        match conn.out.flush(&conn.stream) {
            Ok(()) => self.hold_back(session),
            Err(_) => self.end(session),
        }
    }

    /// Brings what a session's connections wait for in line with what waits for them.
    fn hold_back(&mut self, session: usize) {
        let s = &self.sessions[session];
        let whole = s.is_whole();
        let waiting = |id: &Option<usize>| {
            id.and_then(|id| self.conns[id].as_ref())
                .map_or(0, |c| c.out.len())
        };
        let to_devices = s.devices.iter().map(waiting).max().unwrap_or(0);
        let to_sender = waiting(&s.sender);
        let ids: Vec<usize> = s
            .sender
            .iter()
            .chain(s.devices.iter().flatten())
            .copied()
            .collect();
        for id in ids {
            let Some(conn) = &mut self.conns[id] else {
                continue;
            };
            let waits = match conn.role {
                Role::Sender => to_devices,
                Role::Device(0) => to_sender,
                Role::Device(_) => 0,
            };
            let room = if conn.interest.read {
                waits < PENDING_BYTES_MAX
            } else {
                waits < PENDING_BYTES_LOW
            };
            let interest = Interest {
                read: room && (whole || matches!(conn.role, Role::Device(_))),
                write: !conn.out.is_empty(),
            };
            if interest != conn.interest
                && self
                    .poller
                    .modify(&conn.stream, id as u64, interest)
                    .is_ok()
            {
                conn.interest = interest;
            }
        }
    }

    /// Closes all connections of a session.
    fn end(&mut self, session: usize) {
        let s = &mut self.sessions[session];
        let ids = s.sender.take().into_iter().chain(
            s.devices
                .iter_mut()
                .filter_map(Option::take)
                .collect::<Vec<_>>(),
        );
        for id in ids {
            if self.conns[id].take().is_some() {
                self.open -= 1;
            }
        }
        if self.open == 0 {
            self.conns.clear();
            self.sessions.clear();
            self.senders_seen = 0;
            self.devices_seen = 0;
        }
    }
}
