//! The memory total of `limits.rs` beside what a process really takes: a server with default limits under floods of each kind that
//! strangers can send, one after the other, nothing given time to end.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests: a process is fed and watched by the wall clock"
)]

use std::{
    fmt::Write as _,
    io::{BufRead as _, BufReader, ErrorKind, Write as _},
    net::{SocketAddr, TcpStream, UdpSocket},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use ringfork::{config::Config, limits::Limits};

const CONFIG: &str = "shards = 2\n[sip]\nlisten = [\"udp:127.0.0.1:0\", \"tcp:127.0.0.1:0\"]\n\
    [msrp]\nlisten = [\"tcp:127.0.0.1:0\"]\n[admin]\nlisten = \"127.0.0.1:0\"\n";

const TAG: &str = "+g.3gpp.icsi-ref=\"urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session\"";

struct Serve {
    child: Child,
    _folder: tempfile::TempDir,
    udp: SocketAddr,
    tcp: SocketAddr,
}

impl Drop for Serve {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Serve {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("pf.toml"), CONFIG).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_ringfork"))
            .args(["serve", "--config", "pf.toml"])
            .current_dir(folder.path())
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut listening = Vec::new();
        let address = |line: &str, kind: &str| {
            let line = &line[line.find("\"sip\":")?..];
            let at = line.find(kind)? + kind.len();
            let end = line[at..].find(|c: char| !(c.is_ascii_digit() || ".:".contains(c)));
            line[at..][..end.unwrap_or(line.len() - at)].parse().ok()
        };
        let (mut udp, mut tcp) = (None, None);
        for line in lines.by_ref().map_while(Result::ok) {
            udp = udp.or(address(&line, "udp:"));
            tcp = tcp.or(address(&line, "tcp:"));
            listening.push(line);
            if udp.is_some() && tcp.is_some() {
                break;
            }
        }
        std::thread::spawn(move || lines.for_each(drop));
        let found = |a: Option<SocketAddr>| a.unwrap_or_else(|| panic!("{listening:?}"));
        Self {
            child,
            _folder: folder,
            udp: found(udp),
            tcp: found(tcp),
        }
    }

    /// Resident bytes of the process, its peak.
    fn resident(&self) -> usize {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).expect("it lives");
        let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap();
        line.split_whitespace()
            .nth(1)
            .unwrap()
            .parse::<usize>()
            .unwrap()
            << 10
    }
}

/// A peer who sends without end and lets a few of his requests be answered before the next, so that no kernel buffer drops them.
struct Flood {
    socket: UdpSocket,
    to: SocketAddr,
    n: usize,
    answers: usize,
    codes: std::collections::BTreeMap<String, usize>,
}

impl Flood {
    fn new(to: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(40)))
            .unwrap();
        Self {
            socket,
            to,
            n: 0,
            answers: 0,
            codes: std::collections::BTreeMap::new(),
        }
    }

    fn here(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    /// Requests of this kind, as many as `times`, or until `until`.
    fn send(
        &mut self,
        times: usize,
        until: Instant,
        (method, uri, to): (&str, &str, &str),
        rest: &str,
    ) {
        let mut out = String::new();
        for k in 0..times {
            if Instant::now() > until {
                return;
            }
            self.n += 1;
            let (n, here) = (self.n, self.here());
            let port = here.port();
            let (uri, to) = (
                uri.replace("{}", &n.to_string()),
                to.replace("{}", &n.to_string()),
            );
            out.clear();
            write!(
                out,
                "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {here};branch=z9hG4bK{port}x{n}\r\nMax-Forwards: 70\r\n\
                 From: <sip:x@other.example>;tag=f\r\nTo: {to}\r\nCall-ID: c{port}x{n}\r\nCSeq: 1 {method}\r\n{rest}"
            )
            .unwrap();
            self.socket.send_to(out.as_bytes(), self.to).unwrap();
            if k % 2 == 1 {
                self.listen();
            }
        }
    }

    /// Takes what has come; waits for something.
    fn listen(&mut self) {
        let mut buffer = vec![0; 65_536];
        self.socket.set_nonblocking(false).unwrap();
        loop {
            match self.socket.recv_from(&mut buffer) {
                Ok((len, _)) => {
                    let text = String::from_utf8_lossy(&buffer[..len.min(11)]).into_owned();
                    *self.codes.entry(text).or_default() += 1;
                    self.answers += 1;
                }
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return,
                Err(e) => panic!("{e}"),
            }
            self.socket.set_nonblocking(true).unwrap();
        }
    }
}

#[test]
fn a_process_under_floods_takes_no_more_than_limits_says() {
    let total = Limits::new(&Config::default(), 2).total_bytes();
    assert!(total < 1 << 30);
    let serve = Serve::start();
    let at_start = serve.resident();
    let mut flood = Flood::new(serve.udp);
    let end = Instant::now() + Duration::from_secs(18);
    let fill = |n: usize| "x".repeat(n);
    let none = "Content-Length: 0\r\n\r\n";
    // Users with devices, one of them to be invited by the next floods.
    let here = flood.here();
    for user in 0..8 {
        for device in 0..4 {
            let contact = format!(
                "Contact: <sip:d{device}@{here}>;+sip.instance=\"<urn:{device}>\";{TAG}\r\nExpires: 3600\r\n{none}"
            );
            let to = format!("<sip:user{user}@example.com>");
            flood.send(1, end, ("REGISTER", "sip:example.com", &to), &contact);
        }
    }
    flood.listen();
    let mut table = String::new();
    let mut note = |what: &str, flood: &mut Flood| {
        let resident = serve.resident();
        let codes = std::mem::take(&mut flood.codes);
        writeln!(table, "{what}: {} MiB; {codes:?}", resident >> 20).unwrap();
        assert!(
            resident < total,
            "{} of {} MiB\n{table}",
            resident >> 20,
            total >> 20
        );
        resident
    };
    let seconds = |n: u64| end.min(Instant::now() + Duration::from_secs(n));
    let long_contact = format!("Contact: <sip:{}@h>\r\n{none}", fill(55_000));
    flood.send(
        800,
        seconds(2),
        ("REGISTER", "sip:example.com", "<sip:l{}@example.com>"),
        &long_contact,
    );
    note("contacts of 55 KB", &mut flood);
    let body = format!(
        "Content-Type: text/plain\r\nContent-Length: 55000\r\n\r\n{}",
        fill(55_000)
    );
    flood.send(
        800,
        seconds(2),
        ("REGISTER", "sip:other.example", "<sip:l{}@other.example>"),
        &body,
    );
    note("refused REGISTERs with 55 KB", &mut flood);
    let via = format!("Via: SIP/2.0/UDP h;x={}\r\n{none}", fill(30_000));
    flood.send(
        4_000,
        seconds(3),
        ("OPTIONS", "sip:example.com", "<sip:example.com>"),
        &via,
    );
    note("OPTIONS with Vias of 30 KB", &mut flood);
    let sdp = format!(
        "v=0\r\no=- 5 5 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=message 9 TCP/MSRP *\r\n\
         a=accept-types:message/cpim\r\na=setup:active\r\na=path:msrp://127.0.0.1:9/a;tcp\r\na=x:{}\r\n",
        fill(45_000)
    );
    let offer = format!(
        "Contact: <sip:a@{here}>\r\nAccept-Contact: *;{TAG};require;explicit\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
        sdp.len()
    );
    let before = flood.answers;
    for round in 0..400 {
        let user = format!("sip:user{}@example.com", round % 8);
        flood.send(
            1,
            seconds(4),
            ("INVITE", &user, &format!("<{user}>")),
            &offer,
        );
        flood.listen();
    }
    let invited = note("INVITEs of 46 KB to four devices", &mut flood);
    assert!(flood.answers > before);
    let mut five = String::new();
    for n in 0..5 {
        write!(
            five,
            "Contact: <sip:d{n}@{here}>;{TAG};p={}\r\n",
            fill(1_350)
        )
        .unwrap();
    }
    let five = format!("{five}Expires: 3600\r\n{none}");
    flood.send(
        5_000,
        seconds(4),
        ("REGISTER", "sip:example.com", "<sip:five{}@example.com>"),
        &five,
    );
    note("contacts of 1.4 KB", &mut flood);
    // Streams that never bring a whole message.
    let part = format!(
        "OPTIONS sip:example.com SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bKp\r\nContent-Length: 250000\r\n\r\n{}",
        fill(200_000)
    );
    let mut streams = Vec::new();
    for _ in 0..120 {
        let mut stream = TcpStream::connect(serve.tcp).unwrap();
        stream
            .set_write_timeout(Some(Duration::from_millis(500)))
            .unwrap();
        // It may be closed for holding most.
        let _ = stream.write_all(part.as_bytes());
        streams.push(stream);
    }
    let last = note("streams with 200 KB of a message", &mut flood);
    eprintln!(
        "at start {} MiB, the total {} MiB\n{table}",
        at_start >> 20,
        total >> 20
    );
    assert!(
        last > at_start + (60 << 20) && invited > at_start,
        "the floods have filled something:\n{table}"
    );
}
