//! The commands' side of the admin interface: one small request, one answer, over a plain socket.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use serde_json::Value;

/// How long a server may take to answer; longer than a shard's patience, shorter than a person's.
const PATIENCE: Duration = Duration::from_secs(5);

/// An answer is at most this long: a page of sessions with all their legs.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// Why a command has nothing to show.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Nobody answers.
    #[error(
        "{addr} does not answer ({source}); is `ringfork serve` running, and is [admin] listen there?"
    )]
    Silent {
        /// Who was asked.
        addr: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// What answers is not Ringfork.
    #[error("what answers on {addr} is not Ringfork's admin interface")]
    Strange {
        /// Who was asked.
        addr: SocketAddr,
    },
    /// The server says no.
    #[error("{addr} says {status}: {why}")]
    Refused {
        /// Who was asked.
        addr: SocketAddr,
        /// HTTP's status code.
        status: u16,
        /// The server's reason.
        why: String,
    },
}

/// What the server at `addr` answers to `method` on `path`, as JSON.
///
/// # Errors
/// [`Failure`]: it does not answer, or it answers no.
pub fn ask(addr: SocketAddr, method: &str, path: &str) -> Result<Value, Failure> {
    let silent = |source| Failure::Silent { addr, source };
    let text = exchange(addr, method, path).map_err(silent)?;
    let strange = || Failure::Strange { addr };
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(strange)?;
    let status: u16 = head
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3)?.parse().ok())
        .ok_or_else(strange)?;
    let value: Value = serde_json::from_str(body).map_err(|_| strange())?;
    if (200..300).contains(&status) {
        return Ok(value);
    }
    let why = value["error"].as_str().unwrap_or("no reason given");
    Err(Failure::Refused {
        addr,
        status,
        why: why.to_owned(),
    })
}

fn exchange(addr: SocketAddr, method: &str, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&addr, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: {addr}\r\n\r\n")?;
    let mut text = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// The sessions of the server at `addr` that have ended last, the youngest first.
///
/// # Errors
/// As [`ask`].
pub fn ended(addr: SocketAddr) -> Result<Vec<Value>, Failure> {
    let mut all = ask(addr, "GET", "/v1/sessions?ended")?;
    let Value::Array(list) = all["sessions"].take() else {
        return Err(Failure::Strange { addr });
    };
    Ok(list)
}

/// Every session of the server at `addr`, page after page.
///
/// # Errors
/// As [`ask`].
pub fn sessions(addr: SocketAddr) -> Result<Vec<Value>, Failure> {
    let mut all = Vec::new();
    let mut path = "/v1/sessions".to_owned();
    loop {
        let mut page = ask(addr, "GET", &path)?;
        let Some(list) = page["sessions"].as_array_mut() else {
            return Err(Failure::Strange { addr });
        };
        all.append(list);
        match page["next"].as_str() {
            Some(next) => path = format!("/v1/sessions?after={next}"),
            None => return Ok(all),
        }
    }
}
