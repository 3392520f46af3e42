//! The forwarder over plain epoll: one thread, level-triggered, reads of 256 KiB into one buffer that stays warm, one write a
//! read and device; what a short write leaves waits in a buffer of its receiver.

use std::{
    io::{self, ErrorKind, Read},
    net::TcpStream,
};

use super::{
    Listeners, PENDING_BYTES_LOW, PENDING_BYTES_MAX,
    seats::{Role, Seats},
};
use crate::{
    epoll::{Interest, Poller},
    fault::{Fault, Faulty},
    out::{Out, WRITE_BYTES},
};

/// What one read may take.
const READ_BYTES: usize = 256 * 1024;

const SENDERS: u64 = u64::MAX;
const DEVICES: u64 = u64::MAX - 1;

/// Forwards for ever.
pub(super) fn run(listeners: &Listeners, devices: usize, fault: Option<Fault>) -> io::Result<()> {
    let mut forwarder = Forwarder::new(listeners, devices, fault)?;
    listeners.tell()?;
    loop {
        forwarder.turn()?;
    }
}

struct Conn {
    stream: TcpStream,
    session: usize,
    role: Role,
    out: Out,
    interest: Interest,
}

struct Forwarder<'a> {
    poller: Poller,
    listeners: &'a Listeners,
    conns: Vec<Option<Conn>>,
    seats: Seats,
    open: usize,
    scratch: Vec<u8>,
    faulty: Option<Faulty>,
}

impl<'a> Forwarder<'a> {
    fn new(listeners: &'a Listeners, devices: usize, fault: Option<Fault>) -> io::Result<Self> {
        let poller = Poller::new()?;
        for (listener, token) in [(&listeners.senders, SENDERS), (&listeners.devices, DEVICES)] {
            listener.set_nonblocking(true)?;
            poller.add(listener, token, Interest::READ)?;
        }
        Ok(Self {
            poller,
            listeners,
            conns: Vec::new(),
            seats: Seats::new(devices),
            open: 0,
            scratch: vec![0; READ_BYTES],
            faulty: fault.map(Faulty::new),
        })
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
                &self.listeners.senders
            } else {
                &self.listeners.devices
            };
            let stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == ErrorKind::ConnectionAborted => continue,
                Err(e) => return Err(e),
            };
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            self.place(stream, token == SENDERS)?;
        }
    }

    fn place(&mut self, stream: TcpStream, is_sender: bool) -> io::Result<()> {
        let id = self.conns.len();
        let (session, role) = self.seats.take(is_sender, id);
        let whole = self.seats.session(session).is_whole();
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
            if !self.seats.session(session).is_whole() {
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
        let scratch = std::mem::take(&mut self.scratch);
        let receivers = self.seats.session(session).receivers(role).len();
        let faulty = match &mut self.faulty {
            Some(faulty) if role == Role::Sender => Some(faulty.take(session, &scratch[..n])),
            Some(_) | None => None,
        };
        for j in 0..receivers {
            match &faulty {
                // The last device gets what the fault makes of it.
                Some(altered) if j + 1 == receivers => {
                    self.send(self.seats.receiver(session, role, j), &altered.here);
                    let next = (session + 1) % self.seats.len().max(1);
                    self.send(self.seats.receiver(next, role, j), &altered.elsewhere);
                }
                Some(_) | None => self.send(self.seats.receiver(session, role, j), &scratch[..n]),
            }
        }
        self.scratch = scratch;
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
        match conn.out.flush(&conn.stream, WRITE_BYTES, usize::MAX) {
            Ok(()) => self.hold_back(session),
            Err(_) => self.end(session),
        }
    }

    /// Brings what a session's connections wait for in line with what waits for them.
    fn hold_back(&mut self, session: usize) {
        let s = self.seats.session(session);
        let whole = s.is_whole();
        let waiting = |id: &Option<usize>| {
            id.and_then(|id| self.conns[id].as_ref())
                .map_or(0, |c| c.out.len())
        };
        let to_devices = s.devices.iter().map(waiting).max().unwrap_or(0);
        let to_sender = waiting(&s.sender);
        for id in s.ids() {
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
        for id in self.seats.end(session) {
            if self.conns[id].take().is_some() {
                self.open -= 1;
            }
        }
        if self.open == 0 {
            self.conns.clear();
            self.seats.start_again();
        }
    }
}
