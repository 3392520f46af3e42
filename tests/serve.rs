//! The server as a process: ready, signals, reload, exit codes.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests: a process is waited for by the wall clock"
)]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use rustix::{
    fs::{OFlags, fcntl_setfl},
    process::{Pid, Signal, kill_process},
};

/// A server process, killed when it is dropped.
struct Serve {
    child: Child,
    folder: tempfile::TempDir,
    /// Each line of its log.
    log: mpsc::Receiver<String>,
    seen: Vec<String>,
}

const QUIET: &str = "shards = 2\ndrain_s = 1\n[sip]\nlisten = [\"udp:127.0.0.1:0\", \"tcp:127.0.0.1:0\"]\n\
    [msrp]\nlisten = [\"tcp:127.0.0.1:0\"]\n[admin]\nlisten = \"127.0.0.1:0\"\n\
    [limits]\nconnections = 200\nreceive_bytes = 1048576\n";

impl Serve {
    fn start(config: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("pf.toml"), config).expect("written");
        Self::in_folder(folder, &[])
    }

    fn in_folder(folder: tempfile::TempDir, env: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ringfork"))
            .args(["serve", "--config", "pf.toml"])
            .current_dir(folder.path())
            .envs(env.iter().copied())
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("ringfork starts");
        let stderr = child.stderr.take().expect("piped");
        let (tx, log) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if tx.send(line).is_err() {
                    break;
                }
            }
        });
        Self {
            child,
            folder,
            log,
            seen: Vec::new(),
        }
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("pf.toml")
    }

    /// The next line of the log that holds `what`.
    fn line(&mut self, what: &str) -> String {
        let by = Instant::now() + Duration::from_secs(10);
        loop {
            let left = by.saturating_duration_since(Instant::now());
            let Ok(line) = self.log.recv_timeout(left) else {
                panic!("no line with {what:?} in {:#?}", self.seen);
            };
            self.seen.push(line.clone());
            if line.contains(what) {
                return line;
            }
        }
    }

    /// The addresses that it says when it is ready: SIP over UDP, and the admin interface.
    fn ready(&mut self) -> (SocketAddr, SocketAddr) {
        let line = self.line("\"ready\"");
        let said: serde_json::Value =
            serde_json::from_str(&line).expect("the log is JSON off a terminal");
        let admin = said["admin"]
            .as_str()
            .expect("admin")
            .parse()
            .expect("an address");
        let sip = said["sip"].as_str().expect("sip");
        let udp = sip
            .split(' ')
            .find_map(|l| l.strip_prefix("udp:"))
            .expect("udp");
        (udp.parse().expect("an address"), admin)
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it is there");
    }

    fn wait(&mut self) -> ExitStatus {
        let by = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(status) = self.child.try_wait().expect("a child of ours") {
                return status;
            }
            assert!(Instant::now() < by, "it ends");
            std::thread::yield_now();
        }
    }

    fn stopped(mut self) -> i32 {
        self.wait().code().expect("no signal killed it")
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        // It has ended already where the test went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn get(admin: SocketAddr, path: &str) -> String {
    use std::io::Write as _;
    let mut stream = TcpStream::connect(admin).expect("admin listens");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {admin}\r\n\r\n").expect("written");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    text
}

#[test]
fn it_is_ready_and_a_signal_ends_it_with_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut serve = Serve::start(QUIET);
        let (_, admin) = serve.ready();
        assert!(get(admin, "/readyz").starts_with("HTTP/1.1 200"));
        let metrics = get(admin, "/metrics");
        for line in [
            "ringfork_shard_up{shard=\"1\"} 1",
            "ringfork_sessions 0",
            "ringfork_ring_events_total{event=\"turns\"} ",
        ] {
            assert!(metrics.contains(line), "{line}: {metrics}");
        }
        serve.signal(signal);
        serve.line("no session left");
        assert_eq!(serve.stopped(), 0);
    }
}

#[test]
fn a_reload_takes_what_it_can_and_says_what_it_cannot() {
    let mut serve = Serve::start(QUIET);
    serve.ready();
    std::fs::write(serve.config(), QUIET.replace("shards = 2", "shards = 1")).expect("written");
    serve.signal(Signal::HUP);
    let line = serve.line("takes a restart");
    assert!(line.contains("\"shards\""), "{line}");
    serve.line("reload: done");
    std::fs::write(serve.config(), "shards = \"x\"\n").expect("written");
    serve.signal(Signal::HUP);
    let line = serve.line("nothing was changed");
    assert!(line.contains("a whole number is expected"), "{line}");
    std::fs::write(serve.config(), format!("{QUIET}[log]\nlevel = \"error\"\n")).expect("written");
    serve.signal(Signal::HUP);
    serve.signal(Signal::TERM);
    assert_eq!(serve.wait().code(), Some(0));
    let rest: Vec<String> = serve.log.iter().collect();
    assert!(
        rest.iter().all(|l| !l.contains("no session left")),
        "info is not logged any more: {rest:?}"
    );
}

#[test]
fn a_manager_is_told_ready_watchdog_and_stopping() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("pf.toml"), QUIET).expect("written");
    let path = folder.path().join("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).expect("bound");
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("set");
    let path = path.to_str().expect("UTF-8").to_owned();
    let mut serve = Serve::in_folder(
        folder,
        &[("NOTIFY_SOCKET", &path), ("WATCHDOG_USEC", "200000")],
    );
    let said = || {
        let mut buffer = [0; 256];
        let n = socket.recv(&mut buffer).expect("it says something");
        String::from_utf8_lossy(&buffer[..n]).trim().to_owned()
    };
    assert_eq!(said(), "READY=1");
    assert_eq!(said(), "WATCHDOG=1");
    assert_eq!(said(), "WATCHDOG=1");
    serve.signal(Signal::TERM);
    let by = Instant::now() + Duration::from_secs(10);
    while said() != "STOPPING=1" {
        assert!(Instant::now() < by);
    }
    assert_eq!(serve.wait().code(), Some(0));
}

#[test]
fn what_is_in_the_way_is_said_with_3_and_what_is_wrong_with_2() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = taken.local_addr().expect("bound");
    let mut serve = Serve::start(&QUIET.replace(
        "[msrp]\nlisten = [\"tcp:127.0.0.1:0\"]",
        &format!("[msrp]\nlisten = [\"tcp:{addr}\"]"),
    ));
    let line = serve.line("error: ");
    assert!(line.contains(&addr.to_string()), "{line}");
    assert_eq!(serve.stopped(), 3);

    let mut serve = Serve::start("[limits]\nconnections = 4000000\n");
    serve.line("open files");
    assert_eq!(serve.stopped(), 3);

    let mut serve = Serve::start("shards = 0\n");
    serve.line("`shards`: 0 is out of range");
    assert_eq!(serve.stopped(), 2);
}

#[test]
fn garbage_does_not_harm_it() {
    let mut serve = Serve::start(QUIET);
    let (sip, admin) = serve.ready();
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    for bytes in [&b""[..], b"\r\n\r\n", b"\0", b"INVITE", &[0xff; 60_000]] {
        socket.send_to(bytes, sip).expect("sent");
    }
    assert!(get(admin, "/readyz").starts_with("HTTP/1.1 200"));
    serve.signal(Signal::TERM);
    assert_eq!(serve.stopped(), 0);
}

/// Half-open connections and heads without end, of both kinds, over real sockets: the main job is done beside them, they are
/// closed when their time is over or their bound is reached, and counters say so.
#[test]
fn half_open_connections_and_endless_heads_do_not_harm_it() {
    use std::io::Write as _;
    let mut serve = Serve::start(&QUIET.replace("[msrp]\n", "[msrp]\nbind_s = 2\n"));
    let line = serve.line("\"ready\"");
    let said: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    let address = |key: &str, kind: &str| -> SocketAddr {
        let list = said[key].as_str().expect("a list");
        let one = list.split(' ').find_map(|l| l.strip_prefix(kind));
        one.expect(kind).parse().expect("an address")
    };
    let (udp, admin) = (
        address("sip", "udp:"),
        said["admin"].as_str().expect("admin"),
    );
    let admin: SocketAddr = admin.parse().expect("an address");
    let kinds = [
        (
            address("sip", "tcp:"),
            &b"OPTIONS sip:a SIP/2.0\r\nX-Long: "[..],
        ),
        (address("msrp", "tcp:"), b"MSRP abcd1234 SEND\r\nTo-Path: "),
    ];
    let mut silent = Vec::new();
    let mut endless = Vec::new();
    for (to, start) in kinds {
        for _ in 0..40 {
            silent.push(TcpStream::connect(to).expect("there is room"));
        }
        for _ in 0..5 {
            let mut stream = TcpStream::connect(to).expect("there is room");
            stream.write_all(start).expect("written");
            stream
                .set_read_timeout(Some(Duration::from_secs(10)))
                .expect("set");
            endless.push(stream);
        }
    }
    // Each of them is answered where it can be, and cut off: what it still says is not kept, and not listened to for long.
    let by = Instant::now() + Duration::from_secs(10);
    while !endless.is_empty() {
        assert!(Instant::now() < by, "they are listened to for ever");
        endless.retain_mut(|stream| stream.write_all(&[b'x'; 4096]).is_ok());
    }
    let outcome = ringfork::demo::play(udp, ringfork::io::Clock::start());
    assert!(outcome.ok, "{outcome:?}");
    // The others are closed when they have named nothing for two seconds.
    for stream in &mut silent {
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .expect("set");
        let told = stream.read(&mut [0]);
        assert!(
            matches!(&told, Ok(0))
                || told.is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset),
            "it is closed"
        );
    }
    let metrics = get(admin, "/metrics");
    let count = |name: &str| -> u64 {
        let row = metrics.lines().find_map(|l| l.strip_prefix(name));
        row.expect(name).trim().parse().expect("a number")
    };
    assert_eq!(
        count("ringfork_limit_reached_total{limit=\"half_open\"} "),
        80
    );
    assert_eq!(count("ringfork_malformed_connections_total "), 10);
    assert_eq!(count("ringfork_framing_bytes "), 0);
    serve.signal(Signal::TERM);
    assert_eq!(serve.stopped(), 0);
}

#[test]
fn the_demonstration_holds_and_says_so_in_one_line_of_json() {
    let out = Command::new(env!("CARGO_BIN_EXE_ringfork"))
        .args(["demo", "--json"])
        .output()
        .expect("ringfork runs");
    let told = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(0), "{told}");
    let text = String::from_utf8(out.stdout).expect("UTF-8");
    assert_eq!(
        text.lines().count(),
        1,
        "everything else is on standard error"
    );
    let said: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(said["ok"], true, "{said}");
    assert_eq!(
        (&said["devices"], &said["torn_down"]),
        (&3.into(), &2.into())
    );
    assert!(
        said["steps"]
            .as_array()
            .is_some_and(|s| s.len() >= 8 && s.iter().all(|s| s["ok"] == true))
    );
}

/// A pipe that is full.
fn full_pipe() -> (std::io::PipeReader, std::io::PipeWriter) {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    fcntl_setfl(&writer, OFlags::NONBLOCK).expect("set");
    while writer.write(&[b'.'; 512]).is_ok() {}
    while writer.write(b".").is_ok() {}
    fcntl_setfl(&writer, OFlags::empty()).expect("set");
    (reader, writer)
}

/// A server with such standard streams, and where its admin interface is.
fn speaking_to(config: &str, to: impl Fn() -> Stdio) -> (Serve, SocketAddr) {
    let folder = tempfile::tempdir().expect("a folder");
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let admin = free.local_addr().expect("its address");
    drop(free);
    let config = config.replace(
        "[admin]\nlisten = \"127.0.0.1:0\"",
        &format!("[admin]\nlisten = \"{admin}\""),
    );
    std::fs::write(folder.path().join("pf.toml"), config).expect("written");
    let child = Command::new(env!("CARGO_BIN_EXE_ringfork"))
        .args(["serve", "--config", "pf.toml"])
        .current_dir(folder.path())
        .stdout(to())
        .stderr(to())
        .spawn()
        .expect("ringfork starts");
    let serve = Serve {
        child,
        folder,
        log: mpsc::channel().1,
        seen: Vec::new(),
    };
    (serve, admin)
}

/// One whose words go to a pipe that is full and that nobody reads.
fn unread(config: &str) -> (Serve, std::io::PipeReader, SocketAddr) {
    let (reader, writer) = full_pipe();
    let (serve, admin) = speaking_to(config, || writer.try_clone().expect("a copy").into());
    (serve, reader, admin)
}

/// Waits until the admin interface answers.
fn up(admin: SocketAddr) {
    let by = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(admin).is_err() {
        assert!(Instant::now() < by, "it is never up");
        std::thread::yield_now();
    }
    assert!(get(admin, "/healthz").starts_with("HTTP/1.1 200"));
}

/// Nobody reads what it says: one signal is enough all the same.
#[test]
fn a_signal_ends_it_although_nobody_reads_what_it_says() {
    let free = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let sip = free.local_addr().expect("its address");
    drop(free);
    let quiet = QUIET.replace("udp:127.0.0.1:0", &format!("udp:{sip}"));
    let (mut serve, _reader, admin) = unread(&format!("{quiet}[log]\nlevel = \"trace\"\n"));
    up(admin);
    // More lines than wait to be written: some for each request, and no more in a second than are allowed.
    let client = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let by = Instant::now() + Duration::from_secs(60);
    let mut n = 0;
    while !get(admin, "/metrics").lines().any(|l| {
        l.strip_prefix("ringfork_log_dropped_lines_total ")
            .is_some_and(|n| n != "0")
    }) {
        assert!(Instant::now() < by, "its log is never full");
        for _ in 0..100 {
            n += 1;
            let options = format!(
                "OPTIONS sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;rport;branch=z9hG4bK-{n}\r\n\
                 From: <sip:alice@example.org>;tag=a\r\nTo: <sip:bob@example.com>\r\nCall-ID: unread-{n}\r\n\
                 CSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
            );
            client.send_to(options.as_bytes(), sip).expect("it leaves");
        }
    }
    serve.signal(Signal::TERM);
    assert_eq!(serve.wait().code(), Some(0));
}

/// And a second one ends it at once, whatever it does: here it waits for the last session, for ever.
#[test]
fn a_second_signal_ends_it_at_once_although_nobody_reads_what_it_says() {
    let (mut serve, _reader, admin) = unread(&QUIET.replace("drain_s = 1", "drain_s = 600"));
    up(admin);
    serve.signal(Signal::TERM);
    serve.signal(Signal::INT);
    assert_eq!(serve.wait().code(), Some(0));
}

/// What is wrong with its start is said to nobody; the exit code says it.
#[test]
fn a_start_that_fails_ends_although_nobody_reads_why() {
    let taken = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let at = taken.local_addr().expect("its address");
    let (mut serve, _reader, _) =
        unread(&QUIET.replace("\"udp:127.0.0.1:0\"", &format!("\"udp:{at}\"")));
    assert_eq!(serve.wait().code(), Some(3));
}

/// Its standard streams are closed, a device that is full, or a pipe whose reader has gone.
#[test]
fn it_serves_and_ends_wherever_its_log_goes() {
    let broken = || {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        Stdio::from(writer)
    };
    let full = || Stdio::from(std::fs::File::create("/dev/full").expect("it is there"));
    for to in [broken as fn() -> Stdio, full, Stdio::null] {
        let (mut serve, admin) = speaking_to(QUIET, to);
        up(admin);
        serve.signal(Signal::TERM);
        assert_eq!(serve.wait().code(), Some(0));
    }
}
