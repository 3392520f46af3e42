//! The floods: each what one peer, or some, can do to a server, without end but for the time and the bytes that it has.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{
    chat::{Chat, Manner, Stop, is_timeout, pause, push, socket},
    text::{self, Ask},
};
use crate::{
    clock::{Clock, Nanos},
    names::DOMAIN,
    trouble::Trouble,
};

/// Bytes of one flood, at most.
const BYTES_MAX: u64 = 512 << 20;
/// Connections of a flood of connections.
const CONNECTIONS: usize = 400;

/// A kind of flood.
pub(super) struct Kind {
    pub(super) name: &'static str,
    /// What it is, in a line.
    pub(super) about: &'static str,
    start: fn(&Flood) -> Result<(), Trouble>,
}

/// All of them.
pub(super) const KINDS: &[Kind] = &[
    Kind {
        name: "mute",
        about: "8 MB/s of 30 KB messages in a session whose device never answers",
        start: |f| mute(f, 1),
    },
    Kind {
        name: "mutes",
        about: "the same over twenty sessions",
        start: |f| mute(f, 20),
    },
    Kind {
        name: "slow-readers",
        about: "8 MB/s of 30 KB messages in ten sessions whose devices read a little",
        start: |f| written(f, 10, Manner::Slow, 30_000, 8 << 20),
    },
    Kind {
        name: "contacts",
        about: "REGISTERs with contacts of 60 KB, a user each",
        start: contacts,
    },
    Kind {
        name: "bodies",
        about: "INVITEs with bodies of 58 KB to a user whose device does not answer",
        start: bodies,
    },
    Kind {
        name: "refused",
        about: "REGISTERs of 58 KB for a domain that is not served",
        start: refused,
    },
    Kind {
        name: "registers",
        about: "2,900 small REGISTERs a second, a user each",
        start: registers,
    },
    Kind {
        name: "options-10",
        about: "OPTIONS without a pause on 10 TCP connections",
        start: |f| options(f, 10, true),
    },
    Kind {
        name: "options-100",
        about: "the same on 100",
        start: |f| options(f, 100, true),
    },
    Kind {
        name: "options-unread",
        about: "OPTIONS without a pause on 100 TCP connections that do not read the answers",
        start: |f| options(f, 100, false),
    },
    Kind {
        name: "falling",
        about: "2 MB/s of messages in chunks of a byte, the last byte first",
        start: falling,
    },
    Kind {
        name: "refusals",
        about: "5,000 messages a second to a device that answers 403 to each",
        start: |f| written(f, 1, Manner::Refuses, 200, 2 << 20),
    },
    Kind {
        name: "half-open",
        about: "connections that say nothing, or begin what never ends",
        start: half_open,
    },
];

/// What a flood works with.
pub(super) struct Flood {
    pub(super) server: SocketAddr,
    /// Where MSRP is taken.
    pub(super) msrp: SocketAddr,
    pub(super) clock: Clock,
    pub(super) stop: Stop,
    count: Arc<Count>,
    threads: std::cell::RefCell<Vec<JoinHandle<()>>>,
}

/// What a flood has written.
#[derive(Default)]
struct Count {
    units: AtomicU64,
    bytes: AtomicU64,
}

impl Count {
    /// Counts what was written; `false`: it was enough.
    fn add(&self, bytes: usize) -> bool {
        self.units.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed) < BYTES_MAX
    }
}

impl Flood {
    /// Begins a flood; it goes on until `stop` is set.
    pub(super) fn start(
        kind: &Kind,
        server: SocketAddr,
        msrp: SocketAddr,
        clock: Clock,
    ) -> Result<Self, Trouble> {
        let flood = Self {
            server,
            msrp,
            clock,
            stop: Stop::default(),
            count: Arc::default(),
            threads: std::cell::RefCell::default(),
        };
        (kind.start)(&flood)?;
        Ok(flood)
    }

    /// Ends it: what it wrote, in units of its kind and in bytes.
    pub(super) fn end(self) -> (u64, u64) {
        self.stop.set();
        for thread in self.threads.take() {
            // One that panicked has said so.
            drop(thread.join());
        }
        let of = |n: &AtomicU64| n.load(Ordering::Relaxed);
        (of(&self.count.units), of(&self.count.bytes))
    }

    /// Writes what `next` gives, at `per_s` bytes a second if that is bounded, until it is time to end.
    fn write(
        &self,
        per_s: Option<u64>,
        mut next: impl FnMut() -> std::io::Result<usize> + Send + 'static,
    ) {
        let (clock, stop, count) = (self.clock, self.stop.clone(), Arc::clone(&self.count));
        self.threads.borrow_mut().push(thread::spawn(move || {
            let begun = clock.now();
            let mut written: u64 = 0;
            while !stop.is_set() {
                let Ok(n) = next() else {
                    // The server has closed it: that is a way to bear a flood.
                    return;
                };
                written += n as u64;
                if !count.add(n) {
                    return;
                }
                if let Some(per_s) = per_s {
                    let due: Nanos = begun + written * 1_000_000_000 / per_s;
                    pause(clock, Duration::from_nanos(due.saturating_sub(clock.now())));
                }
            }
        }));
    }
}

fn mute(flood: &Flood, sessions: u64) -> Result<(), Trouble> {
    written(flood, sessions, Manner::Mute, 30_000, 8 << 20)
}

/// `per_s` bytes a second of messages, over some sessions whose device has a manner.
fn written(
    flood: &Flood,
    sessions: u64,
    manner: Manner,
    len: usize,
    per_s: u64,
) -> Result<(), Trouble> {
    for n in 0..sessions {
        let user = format!("flooded{n}");
        let chat = Chat::open(flood.server, &user, &[manner], flood.clock, &flood.stop)?;
        let body = text::cpim("flood", len);
        let stop = flood.stop.clone();
        flood.write(Some(per_s / sessions), move || {
            let id = text::fresh("m");
            let bytes = text::send(chat.paths(), &id, (1, body.len()), &body, '$');
            push(&chat.stream, &bytes, &stop)
        });
    }
    Ok(())
}

/// A socket of the flood's own, and what to do with the answers: nothing, but to take them.
fn datagrams(
    flood: &Flood,
    per_s: Option<u64>,
    mut request: impl FnMut(SocketAddr) -> Vec<u8> + Send + 'static,
) -> Result<(), Trouble> {
    let socket = socket()?;
    socket.set_nonblocking(true)?;
    let here = socket.local_addr()?;
    let server = flood.server;
    let mut buffer = vec![0; 65_536];
    flood.write(per_s, move || {
        while socket.recv(&mut buffer).is_ok() {}
        let bytes = request(here);
        match socket.send_to(&bytes, server) {
            Err(e) if !is_timeout(&e) => Err(e),
            Ok(_) | Err(_) => Ok(bytes.len()),
        }
    });
    Ok(())
}

fn contacts(flood: &Flood) -> Result<(), Trouble> {
    let long = "c".repeat(60_000);
    datagrams(flood, Some(40 << 20), move |here| {
        let user = text::fresh("u");
        let contact = format!("<sip:{user}@{here};x={long}>");
        text::register(&user, here, "UDP", &contact, (&text::fresh("r"), 1))
    })
}

fn bodies(flood: &Flood) -> Result<(), Trouble> {
    // A device that is there and never says anything.
    let silent = socket()?;
    let at = silent.local_addr()?;
    let contact = text::contact("silent", 0, at);
    let request = text::register("silent", at, "UDP", &contact, (&text::fresh("r"), 1));
    silent.send_to(&request, flood.server)?;
    let mut kept = Some(silent);
    let body = "b".repeat(58_000);
    datagrams(flood, Some(40 << 20), move |here| {
        // Its socket is open as long as the flood goes on.
        let _ = &mut kept;
        Ask {
            method: "INVITE",
            uri: &format!("sip:silent@{DOMAIN}"),
            here,
            transport: "UDP",
            from: "<sip:f@elsewhere.example>;tag=f",
            to: &format!("<sip:silent@{DOMAIN}>"),
            call_id: &text::fresh("i"),
            cseq: 1,
            more: &format!(
                "Contact: <sip:f@{here}>\r\nContent-Type: multipart/mixed;boundary=b\r\n"
            ),
            body: &format!(
                "--b\r\nContent-Type: application/sdp\r\n\r\n{}\r\n--b\r\nContent-Type: text/plain\r\n\r\n{body}\r\n--b--\r\n",
                text::sdp(&format!("msrp://{here}/f;tcp"), here)
            ),
        }
        .write()
    })
}

fn refused(flood: &Flood) -> Result<(), Trouble> {
    let long = "p".repeat(57_000);
    datagrams(flood, Some(40 << 20), move |here| {
        let aor = "<sip:x@not-served.example>";
        Ask {
            method: "REGISTER",
            uri: "sip:not-served.example",
            here,
            transport: "UDP",
            from: &format!("{aor};tag=x"),
            to: aor,
            call_id: &text::fresh("r"),
            cseq: 1,
            more: &format!("Contact: <sip:x@{here}>\r\nX-Padding: {long}\r\n"),
            body: "",
        }
        .write()
    })
}

fn registers(flood: &Flood) -> Result<(), Trouble> {
    let length = 330;
    datagrams(flood, Some(2900 * length), |here| {
        let user = text::fresh("u");
        let contact = format!("<sip:{user}@{here}>");
        text::register(&user, here, "UDP", &contact, (&text::fresh("r"), 1))
    })
}

/// One connection of a flood of requests, and what of its last requests is not out.
struct Pipe {
    stream: TcpStream,
    here: SocketAddr,
    left: Vec<u8>,
}

impl Pipe {
    /// Writes what the socket takes, reads what is there if it is to. Bytes written.
    fn go_on(&mut self, read: bool, buffer: &mut [u8]) -> std::io::Result<usize> {
        if read {
            while let Ok(1..) = self.stream.read(buffer) {}
        }
        if self.left.is_empty() {
            let request = Ask {
                method: "OPTIONS",
                uri: &format!("sip:{DOMAIN}"),
                here: self.here,
                transport: "TCP",
                from: "<sip:o@elsewhere.example>;tag=o",
                to: &format!("<sip:{DOMAIN}>"),
                call_id: &text::fresh("o"),
                cseq: 1,
                more: "",
                body: "",
            };
            self.left = (0..20).flat_map(|_| request.write()).collect();
        }
        match self.stream.write(&self.left) {
            Ok(n) => {
                self.left.drain(..n);
                Ok(n)
            }
            Err(e) if is_timeout(&e) => Ok(0),
            Err(e) => Err(e),
        }
    }
}

/// All by one thread, so that the canary has not hundreds beside it that want its core.
fn options(flood: &Flood, connections: usize, read: bool) -> Result<(), Trouble> {
    let mut pipes = Vec::new();
    for _ in 0..connections {
        let stream = TcpStream::connect(flood.server)?;
        stream.set_nonblocking(true)?;
        let here = stream.local_addr()?;
        let left = Vec::new();
        pipes.push(Pipe { stream, here, left });
    }
    let mut buffer = vec![0; 64 << 10];
    let clock = flood.clock;
    flood.write(None, move || {
        let mut all = 0;
        // Those that the server has closed have borne it.
        pipes.retain_mut(|p| p.go_on(read, &mut buffer).map(|n| all += n).is_ok());
        if all == 0 {
            pause(clock, Duration::from_millis(1));
        }
        Ok(all)
    });
    Ok(())
}

fn falling(flood: &Flood) -> Result<(), Trouble> {
    let chat = Chat::open(
        flood.server,
        "flooded",
        &[Manner::Good],
        flood.clock,
        &flood.stop,
    )?;
    let body = text::cpim("falling", 20_000);
    let (mut left, mut id) = (0, String::new());
    let stop = flood.stop.clone();
    flood.write(Some(2 << 20), move || {
        if left == 0 {
            (left, id) = (body.len(), text::fresh("m"));
        }
        let byte = body.get(left - 1..left).unwrap_or_default();
        let flag = if left == body.len() { '$' } else { '+' };
        let bytes = text::send(chat.paths(), &id, (left, body.len()), byte, flag);
        left -= 1;
        push(&chat.stream, &bytes, &stop)
    });
    Ok(())
}

fn half_open(flood: &Flood) -> Result<(), Trouble> {
    let (server, msrp, stop) = (flood.server, flood.msrp, flood.stop.clone());
    let mut open = Vec::new();
    let mut n = 0;
    let clock = flood.clock;
    flood.write(None, move || {
        if open.len() >= CONNECTIONS {
            // They stand; a byte now and then on one of them.
            pause(clock, Duration::from_millis(5));
            n += 1;
            let all = open.len();
            let one: &mut Option<TcpStream> = &mut open[n % all];
            let said = one.as_mut().map(|s| s.write(b"x").is_ok());
            if said == Some(false) {
                *one = None;
            }
            return Ok(1);
        }
        let sip = open.len() % 2 == 0;
        let stream = TcpStream::connect(if sip { server } else { msrp })?;
        let begun: &[u8] = match open.len() % 4 {
            0 => b"OPTIONS sip:example.com SIP/2.0\r\nVia: ",
            1 => b"MSRP abcdef SEND\r\nTo-Path: msrp://",
            _ => b"",
        };
        push(&stream, begun, &stop)?;
        open.push(Some(stream));
        Ok(begun.len())
    });
    Ok(())
}
