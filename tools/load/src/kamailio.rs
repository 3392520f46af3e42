//! Kamailio, as a second server to hold ours against: started on loopback with a configuration of `perf/kamailio`, on free
//! ports, in a folder of its own, and ended with the run.

use std::{
    fs,
    net::{SocketAddr, UdpSocket},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use crate::{
    clock::{Clock, nanos},
    pin,
    spawn::{Home, Process, free_port, free_sip_port},
    trouble::Trouble,
};

const READY: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(50);

/// A Kamailio of ours, ready.
pub(crate) struct Kamailio {
    pub(crate) process: Process,
    /// SIP over UDP.
    pub(crate) sip: SocketAddr,
    /// MSRP over TCP, where the configuration has it.
    pub(crate) msrp: SocketAddr,
    _home: Home,
}

impl Kamailio {
    /// Starts it; in the configuration `{sip}` and `{msrp}` stand for the addresses that it is to have. Ready once it
    /// answers OPTIONS.
    pub(crate) async fn start(
        config: &Path,
        core: Option<usize>,
        clock: Clock,
    ) -> Result<Self, Trouble> {
        let home = Home::make("kamailio")?;
        let (sip, msrp) = (free_sip_port()?, free_port()?);
        let text = fs::read_to_string(config)
            .map_err(|e| Trouble::usage(format!("--kamailio {}: {e}", config.display())))?
            .replace("{sip}", &sip.to_string())
            .replace("{msrp}", &msrp.to_string());
        let file = home.path().join("kamailio.cfg");
        fs::write(&file, text)?;
        let mut command = Command::new("kamailio");
        // In the foreground, with its workers, what it says to standard error, and nothing outside its folder.
        command
            .args(["-DD", "-E", "-m", "256", "-M", "16"])
            .arg("-f")
            .arg(&file)
            .arg("-Y")
            .arg(home.path())
            .arg("-P")
            .arg(home.path().join("pid"))
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let child = pin::with_core(core, || command.spawn()).map_err(|e| {
            Trouble::unreachable(format!("kamailio: {e}; see perf/kamailio/install"))
        })?;
        let mut kamailio = Self {
            process: Process::of(child),
            sip,
            msrp,
            _home: home,
        };
        let until = clock.now() + nanos(READY);
        while !answers(sip)? {
            if let Some(status) = kamailio.process.has_ended()? {
                return Err(Trouble::unreachable(format!(
                    "kamailio ended with {status}"
                )));
            }
            if clock.now() > until {
                return Err(Trouble::unreachable(format!(
                    "kamailio is not ready after {READY:?}"
                )));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(kamailio)
    }
}

/// Whether something answers an OPTIONS at `sip`.
fn answers(sip: SocketAddr) -> Result<bool, Trouble> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(sip)?;
    socket.set_read_timeout(Some(LOOK))?;
    let at = socket.local_addr()?;
    let port = at.port();
    let options = format!(
        "OPTIONS sip:{sip} SIP/2.0\r\nVia: SIP/2.0/UDP {at};branch=z9hG4bKready{port}\r\nMax-Forwards: 70\r\n\
         From: <sip:ready@example.net>;tag=r{port}\r\nTo: <sip:{sip}>\r\nCall-ID: ready-{port}\r\nCSeq: 1 OPTIONS\r\n\
         Content-Length: 0\r\n\r\n"
    );
    // Refused, as long as nobody listens.
    let mut answer = [0; 2048];
    Ok(socket.send(options.as_bytes()).is_ok()
        && socket
            .recv(&mut answer)
            .is_ok_and(|n| answer[..n].starts_with(b"SIP/2.0 ")))
}
