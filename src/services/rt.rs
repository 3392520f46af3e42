//! The runtime of the services thread, and all that is known about tokio-uring: if it must go, it goes from here alone.
//!
//! A future that owns an operation of the ring is never dropped: the kernel may still use its buffer, and a dropped
//! accept leaks its connection. So nothing here is raced against a timer; to stop, the *socket* is shut down, its
//! operations complete, and the loops end by themselves. hyper, which cannot use owned buffers, gets one end of a pipe in
//! memory; two loops move bytes between its other end and the socket.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    io,
    net::Shutdown,
    os::fd::OwnedFd,
    rc::{Rc, Weak},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf},
    time::Instant,
};
use tokio_uring::net::{TcpListener, TcpStream};

/// Bytes of a read or a write between a socket and its pipe.
const BUFFER_BYTES: usize = 4 << 10;

/// Bytes that a peer may still send after it has been answered, before it is cut off: so that the answer is not lost to a
/// reset while its request is on the way.
const LINGER_BYTES: usize = 64 << 10;

/// Runs `future` on a runtime of this thread's own.
///
/// # Errors
/// What the system says when it has no ring, no descriptor or no memory for us.
pub(super) fn run<T>(future: impl Future<Output = T>) -> io::Result<T> {
    let mut ring = tokio_uring::uring_builder();
    ring.setup_cqsize(1024);
    let mut builder = tokio_uring::builder();
    builder.entries(256).uring_builder(&ring);
    Ok(tokio_uring::Runtime::new(&builder)?.block_on(future))
}

/// Runs `task` beside the others of this thread.
pub(super) fn spawn(task: impl Future<Output = ()> + 'static) {
    drop(tokio_uring::spawn(task));
}

/// What takes care of one connection.
pub(super) trait Serve {
    /// Serves the connection whose bytes go through `pipe`; the connection ends when this does.
    fn serve(self: Rc<Self>, pipe: DuplexStream) -> impl Future<Output = ()>;
}

/// A listener and its connections, all of which end together.
pub(super) struct Listener {
    inner: TcpListener,
    /// The same socket, to shut down.
    handle: TcpHandle,
    /// Each connection, and when it is cut off.
    live: RefCell<Vec<(Weak<TcpStream>, Instant)>>,
    count: Cell<usize>,
    stopped: Cell<bool>,
}

/// A listening socket seen as what has a `shutdown`.
#[derive(Debug)]
struct TcpHandle(std::net::TcpStream);

/// What a connection may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Connections at a time; the newest above it is closed.
    pub(super) connections: usize,
    /// How long one may last.
    pub(super) deadline: Duration,
}

impl Listener {
    /// Takes a socket that listens; it must be a blocking one, since the ring waits for it.
    ///
    /// # Errors
    /// What the system says when no further descriptor can be had.
    pub(super) fn new(socket: std::net::TcpListener) -> io::Result<Self> {
        socket.set_nonblocking(false)?;
        let handle = TcpHandle(OwnedFd::from(socket.try_clone()?).into());
        Ok(Self {
            inner: TcpListener::from_std(socket),
            handle,
            live: RefCell::new(Vec::new()),
            count: Cell::new(0),
            stopped: Cell::new(false),
        })
    }

    /// Accepts until [`Listener::stop`], each connection served by itself.
    pub(super) async fn accept<S: Serve + 'static>(self: Rc<Self>, bounds: Bounds, serve: Rc<S>) {
        while !self.stopped.get() {
            match self.inner.accept().await {
                Ok((stream, _)) => self.begin(stream, bounds, &serve),
                Err(_) if self.stopped.get() => return,
                // Of the peer: it has gone again (ECONNABORTED) or its network has failed. Of ours: no descriptor, no
                // memory. Both pass; waiting keeps the second from spinning.
                Err(e) => {
                    if super::voice::may(crate::shard::Kind::Admin) {
                        tracing::warn!(error = %e, "admin: a connection could not be accepted");
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn begin<S: Serve + 'static>(
        self: &Rc<Self>,
        stream: TcpStream,
        bounds: Bounds,
        serve: &Rc<S>,
    ) {
        if self.count.get() >= bounds.connections || self.stopped.get() {
            return; // dropped, and so closed: the newest gives way
        }
        self.count.set(self.count.get() + 1);
        let stream = Rc::new(stream);
        let mut live = self.live.borrow_mut();
        live.retain(|(s, _)| s.strong_count() > 0);
        live.push((Rc::downgrade(&stream), Instant::now() + bounds.deadline));
        let (this, serve) = (Rc::clone(self), Rc::clone(serve));
        spawn(async move {
            let (near, far) = tokio::io::duplex(BUFFER_BYTES);
            let (from_near, to_near) = tokio::io::split(near);
            let outgoing = tokio_uring::spawn(outgoing(Rc::clone(&stream), from_near));
            spawn(async move { serve.serve(far).await });
            incoming(&stream, to_near).await;
            drop(outgoing.await);
            this.count.set(this.count.get() - 1);
        });
    }

    /// Accepts nothing more. Connections that are there get `patience` to finish, then they are ended.
    pub(super) async fn stop(&self, patience: Duration) {
        self.stopped.set(true);
        // A listener that is shut down answers its accept with EINVAL. Failure means it already is.
        drop(self.handle.0.shutdown(Shutdown::Both));
        for patience in [patience, patience] {
            let by = Instant::now() + patience;
            while self.count.get() > 0 && Instant::now() < by {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            self.cut_off(|_| true);
        }
    }

    /// Ends each connection that is past its deadline, until the listener is stopped. One task for all of them, so that
    /// a flood of short connections leaves no timers behind.
    pub(super) async fn watch(self: Rc<Self>) {
        while !self.stopped.get() {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let now = Instant::now();
            self.cut_off(|deadline| deadline <= now);
        }
    }

    fn cut_off(&self, which: impl Fn(Instant) -> bool) {
        for (stream, deadline) in self.live.borrow().iter() {
            if which(*deadline)
                && let Some(stream) = stream.upgrade()
            {
                // Failure means that the peer was faster.
                drop(stream.shutdown(Shutdown::Both));
            }
        }
    }
}

/// Moves what the peer sends into the pipe; once nobody reads there any more, a little of it to nowhere.
async fn incoming(stream: &TcpStream, mut pipe: WriteHalf<DuplexStream>) {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut beyond = 0;
    let mut read_by_somebody = true;
    loop {
        let (outcome, returned) = stream.read(buffer).await;
        buffer = returned;
        let n = match outcome {
            Ok(0) | Err(_) => break,
            Ok(n) => n,
        };
        if read_by_somebody {
            read_by_somebody = pipe.write_all(&buffer[..n]).await.is_ok();
        }
        if !read_by_somebody {
            beyond += n;
            if beyond > LINGER_BYTES {
                drop(stream.shutdown(Shutdown::Both));
                break;
            }
        }
    }
    // The end of what the peer says; an error means that nobody listens any more.
    drop(pipe.shutdown().await);
}

/// Moves what comes out of the pipe to the peer, then tells it that there is no more.
async fn outgoing(stream: Rc<TcpStream>, mut pipe: ReadHalf<DuplexStream>) {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        // The pipe's other end was given up: hyper is done, or has given up on the peer.
        let n = match pipe.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(n) => n,
        };
        buffer.truncate(n);
        let (outcome, returned) = stream.write_all(buffer).await;
        buffer = returned;
        buffer.resize(BUFFER_BYTES, 0);
        if outcome.is_err() {
            // Nothing more reaches the peer; what it still sends interests nobody.
            drop(stream.shutdown(Shutdown::Both));
            return;
        }
    }
    drop(stream.shutdown(Shutdown::Write));
}
