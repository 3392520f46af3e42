//! SIP's sockets, on tokio-uring: whole messages in, whole messages out, over UDP or TCP.
//!
//! Signalling is where an async style pays and nothing is hot: each socket has a task that reads and one that writes, and
//! a read owns its buffer until it completes. No future that owns an operation is ever dropped: to stop, a stream is shut
//! down, a datagram socket and a listener are sent something, and their loops end by themselves.

use std::{
    cell::Cell,
    io,
    net::{Shutdown, SocketAddr, TcpStream as StdStream, UdpSocket as StdSocket},
    rc::Rc,
};

use ringfork::wire::sip::{Bounds, Frame, Framer};
use rustix::net::sockopt;
use tokio_uring::net::{TcpListener, TcpStream, UdpSocket};

use crate::slot::Slot;

/// What is done with a message that came: its bytes, and where an answer goes.
pub(crate) type Handler = Rc<dyn Fn(&[u8], &Reply)>;

/// The way back to where a message came from.
#[derive(Clone)]
pub(crate) struct Reply {
    out: Slot<Outgoing>,
    to: SocketAddr,
    /// A stream does not lose what it was given.
    pub(crate) reliable: bool,
}

enum Outgoing {
    Bytes(Vec<u8>, SocketAddr),
    End,
}

impl Reply {
    pub(crate) fn send(&self, bytes: Vec<u8>) {
        self.out.put(Outgoing::Bytes(bytes, self.to));
    }

    /// The same socket, another peer. On a stream there is one peer.
    pub(crate) fn towards(&self, to: SocketAddr) -> Self {
        Self { to, ..self.clone() }
    }
}

/// Bytes that the kernel may keep for a datagram socket while we are busy: a burst of forks.
const RECEIVE_BYTES: usize = 4 << 20;
/// The largest datagram.
const DATAGRAM_BYTES: usize = 65_536;
/// What a stream is read by.
const READ_BYTES: usize = 64 * 1024;

/// A datagram socket.
pub(crate) struct Udp {
    socket: Rc<UdpSocket>,
    local: SocketAddr,
    stopping: Rc<Cell<bool>>,
    reply: Reply,
}

impl Udp {
    /// Binds to `at` and hands each datagram to `handler`.
    pub(crate) fn bind(at: SocketAddr, handler: Handler) -> io::Result<Self> {
        let socket = StdSocket::bind(at)?;
        // As much as the system allows: what is lost in spite of it is sent again.
        let _ = sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BYTES);
        let local = socket.local_addr()?;
        let socket = Rc::new(UdpSocket::from_std(socket));
        let out = Slot::new();
        let reply = Reply {
            out: out.clone(),
            to: local,
            reliable: false,
        };
        let stopping = Rc::new(Cell::new(false));
        let (s, r, stop) = (Rc::clone(&socket), reply.clone(), Rc::clone(&stopping));
        tokio_uring::spawn(async move {
            let mut buf = Vec::with_capacity(DATAGRAM_BYTES);
            while !stop.get() {
                let (result, back) = s.recv_from(buf).await;
                buf = back;
                // An error is an ICMP message about an earlier datagram of ours: that one is sent again, or times out.
                if let Ok((n, from)) = result {
                    handler(&buf[..n], &r.towards(from));
                    // A burst of them shall not keep the data plane, on the same core, from what is due.
                    rustix::thread::sched_yield();
                }
                buf.clear();
            }
        });
        let s = Rc::clone(&socket);
        tokio_uring::spawn(async move {
            while let Outgoing::Bytes(bytes, to) = out.take().await {
                // Lost, as a datagram may be.
                let _ = s.send_to(bytes, to).await;
            }
        });
        Ok(Self {
            socket,
            local,
            stopping,
            reply,
        })
    }

    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    pub(crate) fn towards(&self, to: SocketAddr) -> Reply {
        self.reply.towards(to)
    }

    /// Lets both loops end.
    pub(crate) async fn stop(&self) {
        self.stopping.set(true);
        // An empty datagram to ourselves completes the read.
        let _ = self.socket.send_to(Vec::new(), self.local).await;
        self.reply.out.put(Outgoing::End);
    }
}

/// A stream to or from a peer.
pub(crate) struct Tcp {
    stream: Rc<TcpStream>,
    pub(crate) reply: Reply,
}

impl Tcp {
    pub(crate) fn connect(to: SocketAddr, handler: Handler) -> io::Result<Self> {
        let stream = StdStream::connect(to)?;
        stream.set_nodelay(true)?;
        Ok(Self::over(TcpStream::from_std(stream), to, handler))
    }

    fn over(stream: TcpStream, peer: SocketAddr, handler: Handler) -> Self {
        let stream = Rc::new(stream);
        let out = Slot::new();
        let reply = Reply {
            out: out.clone(),
            to: peer,
            reliable: true,
        };
        let (s, r) = (Rc::clone(&stream), reply.clone());
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
                if !take_frames(&mut framer, &mut have, &handler, &r) {
                    let _ = s.shutdown(Shutdown::Both);
                    break;
                }
            }
            r.out.put(Outgoing::End);
        });
        let s = Rc::clone(&stream);
        tokio_uring::spawn(async move {
            while let Outgoing::Bytes(bytes, _) = out.take().await {
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
fn take_frames(framer: &mut Framer, have: &mut Vec<u8>, handler: &Handler, r: &Reply) -> bool {
    let mut taken = 0;
    let good = loop {
        match framer.frame(&have[taken..]) {
            Frame::More => break true,
            Frame::Message { len, .. } => {
                handler(&have[taken..taken + len], r);
                taken += len;
            }
            Frame::KeepAlive { len, ping } => {
                if ping {
                    r.send(b"\r\n".to_vec());
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
    pub(crate) fn bind(at: SocketAddr, handler: Handler) -> io::Result<Self> {
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
                open.push(Tcp::over(stream, peer, Rc::clone(&handler)));
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
