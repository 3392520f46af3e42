//! SIP's sockets: whole messages in, whole messages out, over UDP or TCP.
//!
//! A datagram socket is asked when it is ready, and then for all that has come: with an operation of its own for each datagram, in and
//! out, a core did not carry the signalling of 500 calls a second beside their messages. Streams are on tokio-uring, few and with much in a read:
//! each has a task that reads and one that writes, and a read owns its buffer until it completes. No future that owns an
//! operation is ever dropped: to stop, a stream is shut down, a datagram socket and a listener are sent something, and their
//! loops end by themselves.

use std::{
    cell::Cell,
    io,
    net::{Shutdown, SocketAddr, TcpStream as StdStream, UdpSocket as StdSocket},
    rc::Rc,
    sync::Arc,
};

use ringfork::wire::sip::{Bounds, Frame, Framer};
use rustix::net::sockopt;
use tokio::{io::Interest, net::UdpSocket};
use tokio_uring::net::{TcpListener, TcpStream};

use crate::{
    arrival,
    clock::{Clock, Nanos, nanos},
    slot::Slot,
};

/// What is done with a message that came: its bytes, when it came, and where an answer goes.
pub(crate) type Handler = Rc<dyn Fn(&[u8], Nanos, &Reply)>;

/// The way back to where a message came from.
#[derive(Clone)]
pub(crate) struct Reply {
    out: Out,
    to: SocketAddr,
}

#[derive(Clone)]
enum Out {
    Datagrams(Rc<Datagrams>),
    Stream(Slot<Outgoing>),
}

enum Outgoing {
    Bytes(Vec<u8>),
    End,
}

impl Reply {
    pub(crate) fn send(&self, bytes: &[u8]) {
        match &self.out {
            Out::Datagrams(socket) => socket.send(bytes, self.to),
            Out::Stream(out) => out.put(Outgoing::Bytes(bytes.to_vec())),
        }
    }

    /// The same socket, another peer. On a stream there is one peer.
    pub(crate) fn towards(&self, to: SocketAddr) -> Self {
        Self { to, ..self.clone() }
    }

    /// For who sends from another thread; none on a stream, where bytes have their order.
    pub(crate) fn way(&self) -> Option<Way> {
        match &self.out {
            Out::Datagrams(socket) => Some(Way {
                socket: Arc::clone(&socket.same),
                to: self.to,
            }),
            Out::Stream(_) => None,
        }
    }

    /// A stream does not lose what it was given.
    pub(crate) fn is_reliable(&self) -> bool {
        matches!(self.out, Out::Stream(_))
    }
}

/// Where datagrams leave and to whom, for any thread.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    socket: Arc<StdSocket>,
    to: SocketAddr,
}

impl Way {
    pub(crate) fn send(&self, bytes: &[u8]) {
        // Lost, as a datagram may be.
        let _ = self.socket.send_to(bytes, self.to);
    }
}

/// Bytes that the kernel may keep for a datagram socket while we are busy: a burst of forks.
const RECEIVE_BYTES: usize = 4 << 20;
/// The largest datagram.
const DATAGRAM_BYTES: usize = 65_536;
/// Datagrams that are taken before other tasks have their turn: answering one takes 50 µs, and an INVITE may be due.
const AT_A_TIME: usize = 4;
/// What a stream is read by.
const READ_BYTES: usize = 64 * 1024;

/// A socket and what it did not take at once.
struct Datagrams {
    socket: UdpSocket,
    /// The same socket, for other threads.
    same: Arc<StdSocket>,
    clock: Clock,
    waiting: Slot<Option<(Vec<u8>, SocketAddr)>>,
}

impl Datagrams {
    fn send(&self, bytes: &[u8], to: SocketAddr) {
        match self.socket.try_send_to(bytes, to) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                self.waiting.put(Some((bytes.to_vec(), to)));
            }
            // Lost, as a datagram may be.
            Ok(_) | Err(_) => {}
        }
    }

    /// Hands each datagram that comes to `handler`.
    async fn receive(self: Rc<Self>, handler: Handler, stop: Rc<Cell<bool>>) {
        let mut buf = vec![0; DATAGRAM_BYTES];
        while !stop.get() {
            if self.socket.readable().await.is_err() {
                return;
            }
            let mut taken = 0;
            while taken < AT_A_TIME {
                let receive = || arrival::receive(&*self.same, &mut buf);
                match self.socket.try_io(Interest::READABLE, receive) {
                    Ok(came) => {
                        let age = nanos(came.age.unwrap_or_default());
                        let at = self.clock.now().saturating_sub(age);
                        let reply = Reply {
                            out: Out::Datagrams(Rc::clone(&self)),
                            to: came.from,
                        };
                        handler(&buf[..came.len], at, &reply);
                    }
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                    // An ICMP message about an earlier datagram of ours: that one is sent again, or times out.
                    Err(_) => {}
                }
                taken += 1;
            }
            if taken == AT_A_TIME {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Sends what had to wait.
    async fn send_rest(self: Rc<Self>) {
        while let Some((bytes, to)) = self.waiting.take().await {
            // Lost, as a datagram may be.
            let _ = self.socket.send_to(&bytes, to).await;
        }
    }
}

/// A datagram socket.
pub(crate) struct Udp {
    socket: Rc<Datagrams>,
    local: SocketAddr,
    stopping: Rc<Cell<bool>>,
}

impl Udp {
    /// Binds to `at` and hands each datagram to `handler`, with the kernel's time of its arrival if that is asked for, else
    /// with that of its being read.
    pub(crate) fn bind(
        at: SocketAddr,
        clock: Clock,
        arrivals: bool,
        handler: Handler,
    ) -> io::Result<Self> {
        let socket = StdSocket::bind(at)?;
        if arrivals {
            arrival::note(&socket)?;
        }
        // As much as the system allows: what is lost in spite of it is sent again.
        let _ = sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BYTES);
        socket.set_nonblocking(true)?;
        let local = socket.local_addr()?;
        let socket = Rc::new(Datagrams {
            same: Arc::new(socket.try_clone()?),
            socket: UdpSocket::from_std(socket)?,
            clock,
            waiting: Slot::new(),
        });
        let stopping = Rc::new(Cell::new(false));
        tokio_uring::spawn(Rc::clone(&socket).receive(handler, Rc::clone(&stopping)));
        tokio_uring::spawn(Rc::clone(&socket).send_rest());
        Ok(Self {
            socket,
            local,
            stopping,
        })
    }

    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    pub(crate) fn towards(&self, to: SocketAddr) -> Reply {
        Reply {
            out: Out::Datagrams(Rc::clone(&self.socket)),
            to,
        }
    }

    /// Lets both loops end.
    pub(crate) fn stop(&self) {
        self.stopping.set(true);
        // An empty datagram to ourselves ends the wait.
        self.socket.send(&[], self.local);
        self.socket.waiting.put(None);
    }
}

/// A stream to or from a peer.
pub(crate) struct Tcp {
    stream: Rc<TcpStream>,
    pub(crate) reply: Reply,
}

impl Tcp {
    pub(crate) fn connect(to: SocketAddr, clock: Clock, handler: Handler) -> io::Result<Self> {
        let stream = StdStream::connect(to)?;
        stream.set_nodelay(true)?;
        Ok(Self::over(TcpStream::from_std(stream), to, clock, handler))
    }

    fn over(stream: TcpStream, peer: SocketAddr, clock: Clock, handler: Handler) -> Self {
        let stream = Rc::new(stream);
        let out = Slot::new();
        let reply = Reply {
            out: Out::Stream(out.clone()),
            to: peer,
        };
        let (s, r, ends) = (Rc::clone(&stream), reply.clone(), out.clone());
        tokio_uring::spawn(async move {
            let mut framer = Framer::new(Bounds::default());
            let mut have = Vec::new();
            let mut buf = Vec::with_capacity(READ_BYTES);
            loop {
                let (result, back) = s.read(buf).await;
                buf = back;
                match result {
                    Ok(n) if n > 0 => have.extend_from_slice(&buf[..n]),
                    Ok(_) | Err(_) => break,
                }
                buf.clear();
                if !take_frames(&mut framer, &mut have, clock.now(), &handler, &r) {
                    let _ = s.shutdown(Shutdown::Both);
                    break;
                }
            }
            ends.put(Outgoing::End);
        });
        let s = Rc::clone(&stream);
        tokio_uring::spawn(async move {
            while let Outgoing::Bytes(bytes) = out.take().await {
                if s.write_all(bytes).await.0.is_err() {
                    break;
                }
            }
        });
        Self { stream, reply }
    }

    /// Lets both loops end.
    pub(crate) fn stop(&self) {
        // An error means that the peer was faster.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// Hands over the whole messages at the front; false if there can be no more.
fn take_frames(
    framer: &mut Framer,
    have: &mut Vec<u8>,
    now: Nanos,
    handler: &Handler,
    r: &Reply,
) -> bool {
    let mut taken = 0;
    let good = loop {
        match framer.frame(&have[taken..]) {
            Frame::More => break true,
            Frame::Message { len, .. } => {
                handler(&have[taken..taken + len], now, r);
                taken += len;
            }
            Frame::KeepAlive { len, ping } => {
                if ping {
                    r.send(b"\r\n");
                }
                taken += len;
            }
            Frame::Error(_) => break false,
        }
    };
    have.drain(..taken);
    good
}

/// Takes connections of peers.
pub(crate) struct Listener {
    local: SocketAddr,
    stopping: Rc<Cell<bool>>,
}

impl Listener {
    pub(crate) fn bind(at: SocketAddr, clock: Clock, handler: Handler) -> io::Result<Self> {
        let listener = TcpListener::bind(at)?;
        let local = listener.local_addr()?;
        let stopping = Rc::new(Cell::new(false));
        let stop = Rc::clone(&stopping);
        tokio_uring::spawn(async move {
            let mut open = Vec::new();
            while let Ok((stream, peer)) = listener.accept().await {
                if stop.get() {
                    break;
                }
                // Without it answers are late, not wrong.
                let _ = stream.set_nodelay(true);
                open.push(Tcp::over(stream, peer, clock, Rc::clone(&handler)));
            }
            open.iter().for_each(Tcp::stop);
        });
        Ok(Self { local, stopping })
    }

    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    /// Lets the loop end, and with it those of all connections that it took.
    pub(crate) fn stop(&self) {
        self.stopping.set(true);
        // A connection of our own completes the accept.
        let _ = StdStream::connect(self.local);
    }
}
