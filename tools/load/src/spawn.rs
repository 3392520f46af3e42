//! Processes that the generator starts: the server under test and the forwarder. Each on its core from its first
//! instruction on, and gone when the generator is.

use std::{
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    clock::{Clock, nanos},
    forward::Kind,
    names, pin, proc,
    relay::Doors,
    report::Check,
    trouble::Trouble,
};

/// How long a server may take until it is ready, and until it has ended.
const READY: Duration = Duration::from_secs(15);
const END: Duration = Duration::from_secs(15);
const LOOK: Duration = Duration::from_millis(20);

/// A process of ours; ended when dropped.
pub(crate) struct Process {
    child: Child,
    ended: bool,
}

impl Process {
    pub(crate) fn of(child: Child) -> Self {
        Self {
            child,
            ended: false,
        }
    }

    /// How it has ended, if it has.
    pub(crate) fn has_ended(&mut self) -> io::Result<Option<ExitStatus>> {
        let status = self.child.try_wait()?;
        self.ended = status.is_some();
        Ok(status)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end, as an objective: within its time, with exit code 0.
    pub(crate) async fn end_well(&mut self, clock: Clock) -> Option<Check> {
        let trouble = self.end(clock).await.err()?;
        eprintln!("{trouble}");
        Some(Check::none("server_did_not_end_well", 1))
    }

    /// Asks it to end (SIGTERM) and waits. An error if it does not, or not with exit code 0.
    async fn end(&mut self, clock: Clock) -> Result<(), Trouble> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            kill_process(pid, Signal::TERM).map_err(io::Error::from)?;
        }
        let until = clock.now() + nanos(END);
        loop {
            if let Some(status) = self.child.try_wait()? {
                self.ended = true;
                return if status.success() {
                    Ok(())
                } else {
                    Err(Trouble::failed(format!("the server ended with {status}")))
                };
            }
            if clock.now() > until {
                return Err(Trouble::failed("the server does not end at SIGTERM"));
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.ended {
            // Its own children first: nobody else knows them once it has gone. Any may have ended by itself.
            for pid in proc::children(self.child.id()) {
                if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                    let _ = kill_process(pid, Signal::KILL);
                }
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// A forwarder in a process of its own.
pub(crate) struct Forwarder {
    pub(crate) process: Process,
    pub(crate) senders: SocketAddr,
    pub(crate) devices: SocketAddr,
}

impl Forwarder {
    pub(crate) fn doors(&self) -> Doors {
        Doors {
            senders: self.senders,
            devices: self.devices,
        }
    }

    /// Starts this program once more, as `forward`.
    pub(crate) fn start(
        kind: Kind,
        devices: u16,
        core: Option<usize>,
        fault: Option<&str>,
    ) -> Result<Self, Trouble> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args([
                "forward",
                "--listen",
                "127.0.0.1:0",
                "--until-eof",
                "--devices",
            ])
            .arg(devices.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if kind == Kind::Ring {
            command.arg("--ring");
        }
        if let Some(fault) = fault {
            command.args(["--fault", fault]);
        }
        let mut child = pin::with_core(core, || command.spawn())?;
        let mut line = String::new();
        if let Some(out) = &mut child.stdout {
            BufReader::new(out).read_line(&mut line)?;
        }
        let process = Process {
            child,
            ended: false,
        };
        let address = |key| {
            line.split_whitespace()
                .find_map(|w| w.strip_prefix(key)?.parse().ok())
                .ok_or_else(|| Trouble::unreachable(format!("the forwarder says {line:?}")))
        };
        Ok(Self {
            senders: address("senders=")?,
            devices: address("devices=")?,
            process,
        })
    }
}

/// What a server that we start is to be like.
#[derive(Clone, Debug)]
pub(crate) struct ServerOptions {
    /// The command, `{config}` standing for the file's path.
    pub(crate) command: String,
    pub(crate) shards: u16,
    pub(crate) core: Option<usize>,
    /// `ack = "receipt"` instead of `"held"`.
    pub(crate) receipt: bool,
    pub(crate) cema: bool,
    /// T1 in milliseconds, unless it is the server's own.
    pub(crate) t1_ms: Option<u32>,
}

/// A server that we started, ready.
pub(crate) struct Server {
    pub(crate) process: Process,
    /// UDP and TCP.
    pub(crate) sip: SocketAddr,
    pub(crate) admin: SocketAddr,
    _home: Home,
}

/// A folder of this process's own that goes when it is dropped.
pub(crate) struct Home(PathBuf);

impl Home {
    /// Makes it; `what` tells it from others of this process.
    pub(crate) fn make(what: &str) -> io::Result<Self> {
        let name = format!("ringfork-{what}-{}", std::process::id());
        let home = Self(std::env::temp_dir().join(name));
        fs::create_dir_all(&home.0)?;
        Ok(home)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // What cannot be removed stays in the folder for temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Server {
    /// Starts a server with a config of our own and waits until `/readyz` says 200.
    pub(crate) async fn start(options: &ServerOptions, clock: Clock) -> Result<Self, Trouble> {
        Self::start_saying(options, clock, Stdio::inherit()).await
    }

    /// As [`Server::start`]; what it says goes to `log`.
    pub(crate) async fn start_saying(
        options: &ServerOptions,
        clock: Clock,
        log: Stdio,
    ) -> Result<Self, Trouble> {
        let home = Home::make("load")?;
        let (sip, msrp, admin) = (free_sip_port()?, free_port()?, free_port()?);
        let config = home.path().join("ringfork.toml");
        fs::File::create(&config)?.write_all(
            config_text(
                options,
                sip,
                msrp,
                admin,
                &home.path().join("data").to_string_lossy(),
            )
            .as_bytes(),
        )?;

        let words = options
            .command
            .replace("{config}", &config.to_string_lossy());
        let mut words = words.split_whitespace();
        let program = words
            .next()
            .ok_or_else(|| Trouble::usage("--spawn names no command"))?;
        let mut command = Command::new(program);
        command
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let child = pin::with_core(options.core, || command.spawn())
            .map_err(|e| Trouble::unreachable(format!("{program}: {e}")))?;
        let mut server = Self {
            process: Process {
                child,
                ended: false,
            },
            sip,
            admin,
            _home: home,
        };
        let until = clock.now() + nanos(READY);
        while !get(admin, "/readyz").is_ok_and(|(code, _)| code == 200) {
            if let Some(status) = server.process.child.try_wait()? {
                server.process.ended = true;
                return Err(Trouble::unreachable(format!(
                    "the server ended with {status}"
                )));
            }
            if clock.now() > until {
                return Err(Trouble::unreachable(format!(
                    "the server is not ready after {READY:?}"
                )));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(server)
    }
}

fn config_text(
    options: &ServerOptions,
    sip: SocketAddr,
    msrp: SocketAddr,
    admin: SocketAddr,
    store: &str,
) -> String {
    let ServerOptions {
        shards,
        receipt,
        cema,
        ..
    } = options;
    let ack = if *receipt { "receipt" } else { "held" };
    let domain = names::DOMAIN;
    let t1 = options
        .t1_ms
        .map_or_else(String::new, |t1| format!("t1_ms = {t1}\n"));
    format!(
        r#"mode = "standalone"
domains = ["{domain}"]
shards = {shards}
drain_s = 5

[sip]
listen = ["udp:{sip}", "tcp:{sip}"]
connections_max = 0
requests_per_s = 0
registrations_per_source = 0
{t1}
[msrp]
listen = ["tcp:{msrp}"]
ack = "{ack}"
cema = {cema}

[store]
path = "{store}"

[admin]
listen = "{admin}"
"#
    )
}

/// A loopback port that nobody uses at the moment.
pub(crate) fn free_port() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

/// One that is free for UDP and TCP.
pub(crate) fn free_sip_port() -> io::Result<SocketAddr> {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0")?;
        let at = tcp.local_addr()?;
        if UdpSocket::bind(at).is_ok() {
            return Ok(at);
        }
    }
}

/// One HTTP request: status code and body. Blocks for a second at most.
pub(crate) fn get(from: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    let patience = Duration::from_secs(1);
    let mut stream = TcpStream::connect_timeout(&from, patience)?;
    stream.set_read_timeout(Some(patience))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {from}\r\nConnection: close\r\n\r\n"
    )?;
    let mut all = String::new();
    stream.take(16 << 20).read_to_string(&mut all)?;
    let bad = || io::Error::new(io::ErrorKind::InvalidData, "no HTTP response");
    let code = all
        .split_whitespace()
        .nth(1)
        .and_then(|c| c.parse().ok())
        .ok_or_else(bad)?;
    let body = all.split_once("\r\n\r\n").ok_or_else(bad)?.1.to_owned();
    Ok((code, body))
}
