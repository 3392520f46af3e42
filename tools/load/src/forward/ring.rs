//! The forwarder over a raw io_uring: bytes are received into a buffer of the kernel's choice and sent to each receiver from
//! there; nothing is copied here. A turn takes all that is done, then sends to each connection what has gathered for it, as
//! one vectored send. A sender is not received from before its session is whole; that it has gone is seen only then.

use std::{
    collections::VecDeque,
    io,
    net::{Shutdown, TcpStream},
};

use super::{
    Listeners, PENDING_BYTES_LOW, PENDING_BYTES_MAX,
    seats::{Role, Seats},
    uring::{Done, PIECES_MAX, Piece, Uring},
};

/// Pieces that may wait for one receiver, however small: each holds a buffer.
const PENDING_PIECES_MAX: usize = 64;
const PENDING_PIECES_LOW: usize = 16;

const SENDERS: u32 = u32::MAX;
const DEVICES: u32 = u32::MAX - 1;

/// Forwards for ever.
pub(super) fn run(listeners: &Listeners, devices: usize) -> io::Result<()> {
    let mut uring = Uring::new()?;
    uring.accept(&listeners.senders, SENDERS)?;
    uring.accept(&listeners.devices, DEVICES)?;
    let mut forwarder = Forwarder {
        uring,
        conns: Vec::new(),
        seats: Seats::new(devices),
        open: 0,
        dirty: Vec::new(),
        starved: Vec::new(),
    };
    listeners.tell()?;
    let mut done = Vec::new();
    loop {
        forwarder.uring.turn(&mut done)?;
        for d in done.drain(..) {
            if let Done::Accepted {
                token, more: false, ..
            } = d
            {
                let listener = if token == SENDERS {
                    &listeners.senders
                } else {
                    &listeners.devices
                };
                forwarder.uring.accept(listener, token)?;
            }
            forwarder.take(d)?;
        }
        forwarder.settle()?;
    }
}

struct Conn {
    stream: TcpStream,
    session: usize,
    role: Role,
    /// What waits to be sent to it.
    queue: VecDeque<Piece>,
    /// Bytes and pieces of it, those in flight included.
    waiting: (usize, usize),
    receiving: Receiving,
    sending: bool,
    ended: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Receiving {
    Yes,
    /// It has been asked to end.
    Stopping,
    No,
}

struct Forwarder {
    uring: Uring,
    /// An index is never used again before all connections have gone.
    conns: Vec<Option<Conn>>,
    seats: Seats,
    open: usize,
    /// Connections for which something has gathered in this turn.
    dirty: Vec<usize>,
    /// Connections whose receiving ended for want of a buffer.
    starved: Vec<usize>,
}

impl Forwarder {
    fn take(&mut self, done: Done) -> io::Result<()> {
        match done {
            Done::Accepted { token, stream, .. } => match stream {
                Some(stream) => self.place(stream, token == SENDERS),
                None => Ok(()),
            },
            Done::Received { token, piece, more } => {
                let id = token as usize;
                if !more && let Some(Some(conn)) = self.conns.get_mut(id) {
                    conn.receiving = Receiving::No;
                }
                self.forward(id, &piece);
                self.steer(id)
            }
            Done::Starved { token } => {
                let id = token as usize;
                if let Some(Some(conn)) = self.conns.get_mut(id) {
                    conn.receiving = Receiving::No;
                    self.starved.push(id);
                }
                self.close(id);
                Ok(())
            }
            Done::Ended { token, asked } => {
                let id = token as usize;
                let Some(Some(conn)) = self.conns.get_mut(id) else {
                    return Ok(());
                };
                conn.receiving = Receiving::No;
                if !asked {
                    let session = conn.session;
                    self.end(session);
                }
                self.close(id);
                self.steer(id)
            }
            Done::Sent {
                token,
                result,
                rest,
            } => self.sent(token as usize, &result, rest),
        }
    }

    fn place(&mut self, stream: TcpStream, is_sender: bool) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let id = self.conns.len();
        let (session, role) = self.seats.take(is_sender, id);
        self.conns.push(Some(Conn {
            stream,
            session,
            role,
            queue: VecDeque::new(),
            waiting: (0, 0),
            receiving: Receiving::No,
            sending: false,
            ended: false,
        }));
        self.open += 1;
        if role != Role::Sender {
            self.steer(id)?;
        }
        // The sender is not read before its devices are there: they get each byte or none.
        match self.seats.session(session).sender {
            Some(sender) if self.seats.session(session).is_whole() => self.steer(sender),
            Some(_) | None => Ok(()),
        }
    }

    fn forward(&mut self, id: usize, piece: &Piece) {
        let Some(Some(conn)) = self.conns.get(id) else {
            return;
        };
        let (session, role) = (conn.session, conn.role);
        for to in self.seats.session(session).receivers(role).iter().flatten() {
            if let Some(Some(conn)) = self.conns.get_mut(*to) {
                if conn.queue.is_empty() {
                    self.dirty.push(*to);
                }
                conn.waiting.0 += piece.len();
                conn.waiting.1 += 1;
                conn.queue.push_back(piece.clone());
            }
        }
    }

    fn sent(&mut self, id: usize, result: &io::Result<()>, rest: Vec<Piece>) -> io::Result<()> {
        let Some(Some(conn)) = self.conns.get_mut(id) else {
            return Ok(());
        };
        conn.sending = false;
        for piece in rest.into_iter().rev() {
            conn.queue.push_front(piece);
        }
        let bytes = conn.queue.iter().map(Piece::len).sum();
        conn.waiting = (bytes, conn.queue.len());
        let (session, role) = (conn.session, conn.role);
        if result.is_err() {
            self.end(session);
        } else {
            self.dirty.push(id);
        }
        self.close(id);
        // Whoever writes to it may be held back.
        let s = match self.conns.get(id) {
            Some(Some(_)) => self.seats.session(session),
            Some(None) | None => return Ok(()),
        };
        let writer = match role {
            Role::Sender => s.devices.first().copied().flatten(),
            Role::Device(_) => s.sender,
        };
        match writer {
            Some(writer) => self.steer(writer),
            None => Ok(()),
        }
    }

    /// Brings a connection's receiving in line with what waits for those who get what it writes.
    fn steer(&mut self, id: usize) -> io::Result<()> {
        let Some(Some(conn)) = self.conns.get(id) else {
            return Ok(());
        };
        let session = self.seats.session(conn.session);
        if conn.ended || conn.role == Role::Sender && !session.is_whole() {
            return Ok(());
        }
        let receivers = session.receivers(conn.role).iter().flatten();
        let waiting = receivers
            .filter_map(|to| self.conns.get(*to)?.as_ref())
            .map(|c| c.waiting)
            .fold((0, 0), |a, b| (a.0.max(b.0), a.1.max(b.1)));
        let full = waiting.0 >= PENDING_BYTES_MAX || waiting.1 >= PENDING_PIECES_MAX;
        let low = waiting.0 < PENDING_BYTES_LOW && waiting.1 < PENDING_PIECES_LOW;
        let token = token(id)?;
        let Some(Some(conn)) = self.conns.get_mut(id) else {
            return Ok(());
        };
        match conn.receiving {
            Receiving::Yes if full => {
                conn.receiving = Receiving::Stopping;
                self.uring.stop_receiving(token)
            }
            Receiving::No if low => {
                conn.receiving = Receiving::Yes;
                self.uring.receive(&conn.stream, token)
            }
            Receiving::Yes | Receiving::No | Receiving::Stopping => Ok(()),
        }
    }

    /// The end of a turn: sends what has gathered, and receives again where there was no buffer.
    fn settle(&mut self) -> io::Result<()> {
        let mut dirty = std::mem::take(&mut self.dirty);
        for id in dirty.drain(..) {
            let token = token(id)?;
            let Some(Some(conn)) = self.conns.get_mut(id) else {
                continue;
            };
            if !conn.sending && !conn.ended && !conn.queue.is_empty() {
                let n = conn.queue.len().min(PIECES_MAX);
                let pieces = conn.queue.drain(..n).collect();
                conn.sending = true;
                self.uring.send(&conn.stream, token, pieces)?;
            }
        }
        self.dirty = dirty;
        if self.uring.has_offers() {
            for id in std::mem::take(&mut self.starved) {
                self.steer(id)?;
            }
        }
        Ok(())
    }

    /// Ends all connections of a session. Each goes once the kernel has let go of it.
    fn end(&mut self, session: usize) {
        for id in self.seats.end(session) {
            if let Some(Some(conn)) = self.conns.get_mut(id) {
                conn.ended = true;
                conn.queue.clear();
                conn.waiting = (0, 0);
                // What is in flight ends by it; an error means that the peer was faster.
                let _ = conn.stream.shutdown(Shutdown::Both);
            }
            self.close(id);
        }
    }

    fn close(&mut self, id: usize) {
        let Some(place) = self.conns.get_mut(id) else {
            return;
        };
        let idle = |c: &Conn| c.ended && c.receiving == Receiving::No && !c.sending;
        if place.as_ref().is_some_and(idle) {
            *place = None;
            self.open -= 1;
        }
        if self.open == 0 {
            self.conns.clear();
            self.seats.start_again();
        }
    }
}

/// The name of a connection in the ring.
fn token(id: usize) -> io::Result<u32> {
    u32::try_from(id)
        .ok()
        .filter(|t| *t < DEVICES)
        .ok_or_else(|| io::Error::other("too many connections"))
}
