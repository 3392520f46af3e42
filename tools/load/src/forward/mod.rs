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
//! its session. What a receiver does not take waits, and above [`PENDING_BYTES_MAX`] the writer is not read from until that
//! has gone down to [`PENDING_BYTES_LOW`].
//!
//! # Twice
//!
//! Once over plain epoll (`epoll`), once over a raw io_uring (`ring`, on a reactor of its own, `uring`), since neither is
//! the faster everywhere: a server is held against the one that is. Neither shares a line with the server's ring.

mod epoll;
mod ring;
mod seats;
mod uring;

use std::{
    io::{self, ErrorKind, Write},
    net::{SocketAddr, TcpListener},
};

use crate::{fault::Fault, pin};

/// Bytes that may wait for one receiver before its writer is held back.
const PENDING_BYTES_MAX: usize = 1024 * 1024;
/// The writer is read again below this.
const PENDING_BYTES_LOW: usize = 256 * 1024;

/// What a forwarder runs on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Epoll,
    Ring,
}

impl Kind {
    /// As people call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Epoll => "epoll",
            Self::Ring => "raw ring",
        }
    }
}

/// How to run one.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) kind: Kind,
    /// Where senders connect; devices one port higher.
    pub(crate) listen: SocketAddr,
    /// Devices a session.
    pub(crate) devices: usize,
    /// The core to stay on.
    pub(crate) core: Option<usize>,
    /// A fault to plant; over epoll alone.
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
    let listeners = Listeners::bind(options.listen)?;
    match options.kind {
        Kind::Epoll => epoll::run(&listeners, options.devices, options.fault),
        Kind::Ring => ring::run(&listeners, options.devices),
    }
}

/// Both ports.
struct Listeners {
    senders: TcpListener,
    devices: TcpListener,
}

impl Listeners {
    fn bind(at: SocketAddr) -> io::Result<Self> {
        let senders = TcpListener::bind(at)?;
        let mut next = senders.local_addr()?;
        next.set_port(match at.port() {
            0 => 0,
            port => port.checked_add(1).ok_or(ErrorKind::InvalidInput)?,
        });
        Ok(Self {
            senders,
            devices: TcpListener::bind(next)?,
        })
    }

    /// Says where they are: from now on connections are taken.
    fn tell(&self) -> io::Result<()> {
        let (senders, devices) = (self.senders.local_addr()?, self.devices.local_addr()?);
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "senders={senders} devices={devices}")?;
        stdout.flush()
    }
}
