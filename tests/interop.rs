//! Peers that are not ours: SIPp as sender and as device over UDP and TCP, and tshark's opinion of everything on the wire.
//!
//! Run by `cargo interop`; needs the packages `sip-tester` and `tshark`, and the right to capture on loopback.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

const RINGFORK: &str = env!("CARGO_BIN_EXE_ringfork");

/// A port that is free for both transports at this moment.
fn free_port() -> u16 {
    loop {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = tcp.local_addr().expect("bound").port();
        if UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

fn scenario(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/interop")
        .join(name)
}

/// A server that runs until it is dropped.
struct Server {
    child: Child,
    sip: u16,
    admin: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let (sip, msrp, admin) = (free_port(), free_port(), free_port());
        let config = dir.path().join("ringfork.toml");
        let text = format!(
            "shards = 2\n[sip]\nlisten = [\"udp:127.0.0.1:{sip}\", \"tcp:127.0.0.1:{sip}\"]\n\
             [msrp]\nlisten = [\"tcp:127.0.0.1:{msrp}\"]\n[admin]\nlisten = \"127.0.0.1:{admin}\"\n\
             [store]\npath = {:?}\n",
            dir.path().join("data")
        );
        std::fs::write(&config, text).expect("the configuration is written");
        let child = Command::new(RINGFORK)
            .args(["serve", "--config"])
            .arg(&config)
            .stdout(Stdio::null())
            .spawn()
            .expect("ringfork starts");
        let server = Self {
            child,
            sip,
            admin: SocketAddr::from(([127, 0, 0, 1], admin)),
            _dir: dir,
        };
        let until = Instant::now() + Duration::from_secs(10);
        while !server.get("/readyz").starts_with("HTTP/1.1 200") {
            assert!(Instant::now() < until, "ready within 10 s");
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    fn get(&self, path: &str) -> String {
        let Ok(mut s) = TcpStream::connect(self.admin) else {
            return String::new();
        };
        let _ = write!(
            s,
            "GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n"
        );
        let mut text = String::new();
        let _ = s.read_to_string(&mut text);
        text
    }

    /// The value of a metric without labels, summed over shards.
    fn metric(&self, name: &str) -> f64 {
        self.get("/metrics")
            .lines()
            .filter(|l| {
                l.strip_prefix(name)
                    .is_some_and(|r| r.starts_with(' ') || r.starts_with('{'))
            })
            .filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// SIPp with a scenario against the server; it ends by itself, or is ended after 20 s.
fn sipp(name: &str, server: u16, local: u16, transport: &str, more: &[&str]) -> Child {
    Command::new("sipp")
        .arg(format!("127.0.0.1:{server}"))
        .args(["-sf"])
        .arg(scenario(name))
        .args([
            "-i",
            "127.0.0.1",
            "-p",
            &local.to_string(),
            "-t",
            transport,
            "-m",
            "1",
            "-timeout",
            "20",
            "-timeout_error",
            "-nostdin",
        ])
        .args(more)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("sipp is installed")
}

fn succeeds(who: &str, child: Child) {
    let out = child.wait_with_output().expect("it ends");
    assert!(
        out.status.success(),
        "{who}: {}\n{}",
        out.status,
        String::from_utf8_lossy(&out.stderr)
    );
}

fn call(device: &str, sender: &str) {
    let server = Server::start();
    let port = free_port();
    let fields = server._dir.path().join("fields.csv");
    let kind = if device == "t1" { "tcp" } else { "udp" };
    std::fs::write(&fields, format!("SEQUENTIAL\n{port};{kind};\n")).expect("written");
    succeeds(
        "registering",
        sipp(
            "register.xml",
            server.sip,
            free_port(),
            "u1",
            &["-inf", fields.to_str().expect("a plain path")],
        ),
    );
    let waits = sipp("device.xml", server.sip, port, device, &[]);
    std::thread::sleep(Duration::from_millis(400));
    succeeds(
        "the sender",
        sipp("sender.xml", server.sip, free_port(), sender, &[]),
    );
    succeeds("the device", waits);
    let until = Instant::now() + Duration::from_secs(5);
    for gauge in ["ringfork_sessions", "ringfork_legs"] {
        while server.metric(gauge) > 0.0 {
            assert!(
                Instant::now() < until,
                "{gauge} is 0 within 5 s after the last session"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn sipp_over_udp() {
    call("u1", "u1");
}

#[test]
fn sipp_over_tcp() {
    call("t1", "t1");
}

#[test]
fn sipp_sender_over_tcp_device_over_udp() {
    call("u1", "t1");
}

/// A capture of `demo`, decoded: MSRP, SIP and SDP are all there, and not one packet of them is malformed.
#[test]
fn tshark_finds_nothing_malformed_in_the_demo() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("demo.pcapng");
    let mut tshark = Command::new("tshark")
        .args(["-i", "lo", "-q", "-w"])
        .arg(&file)
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("tshark is installed");
    let until = Instant::now() + Duration::from_secs(10);
    while !file.exists() {
        assert!(Instant::now() < until, "tshark captures");
        std::thread::sleep(Duration::from_millis(50));
    }
    std::thread::sleep(Duration::from_millis(500));
    let demo = Command::new(RINGFORK)
        .args(["demo", "--json"])
        .output()
        .expect("the demo runs");
    assert!(
        demo.status.success(),
        "{}",
        String::from_utf8_lossy(&demo.stderr)
    );
    std::thread::sleep(Duration::from_millis(500));
    // Ended politely, so that the file is whole.
    let _ = Command::new("kill")
        .args(["-INT", &tshark.id().to_string()])
        .status();
    let _ = tshark.wait();
    let count = |filter: &str| {
        let out = Command::new("tshark")
            .args(["-r"])
            .arg(&file)
            // The demonstration speaks on ephemeral ports: SIP is all that it sends in datagrams.
            .args([
                "-d",
                "udp.port==1024-65535,sip",
                "-o",
                "tcp.try_heuristic_first:TRUE",
            ])
            .args(["-Y", filter, "-T", "fields", "-e", "frame.number"])
            .output()
            .expect("tshark reads");
        assert!(
            out.status.success(),
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
        String::from_utf8_lossy(&out.stdout).lines().count()
    };
    for (what, at_least) in [
        ("sip.Method == \"INVITE\"", 4),
        ("sip.Status-Code == 200", 8),
        ("sdp", 8),
        ("msrp.method == \"SEND\"", 6),
        ("msrp.status.code == 200", 6),
    ] {
        let n = count(what);
        assert!(
            n >= at_least,
            "{what}: {n} packets, at least {at_least} expected"
        );
    }
    assert_eq!(
        count("(msrp || sip || sdp) && _ws.malformed"),
        0,
        "malformed packets"
    );
    assert_eq!(
        count("(msrp || sip || sdp) && _ws.expert.severity == error"),
        0,
        "packets with errors"
    );
}
