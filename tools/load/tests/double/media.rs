//! The double's MSRP side: one thread a connection, whole frames.

use std::{
    collections::HashMap,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use ringfork::wire::{
    msrp::{self, EndScan, Parse, Scan, write},
    sdp::{Origin, Setup, Writer},
    uri,
};

#[derive(Default)]
struct Call {
    caller_path: String,
    /// Path and connection of each device.
    devices: HashMap<usize, (String, Option<TcpStream>)>,
}

pub(crate) struct Media {
    at: SocketAddr,
    calls: Mutex<HashMap<usize, Call>>,
}

impl Media {
    pub(crate) fn start() -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let media = Arc::new(Self {
            at: listener.local_addr().unwrap(),
            calls: Mutex::default(),
        });
        let m = Arc::clone(&media);
        thread::spawn(move || {
            for stream in listener.incoming() {
                m.read(stream.unwrap());
            }
        });
        media
    }

    fn path(&self, id: &str) -> String {
        format!("msrp://{}/{id};tcp", self.at)
    }

    pub(crate) fn describe(&self, id: &str, setup: Setup) -> Vec<u8> {
        let mut out = Vec::new();
        let address = self.at.ip().to_string();
        Writer::new(&mut out)
            .origin(&Origin {
                username: b"-",
                session_id: b"1",
                version: b"1",
                nettype: b"IN",
                addrtype: b"IP4",
                address: address.as_bytes(),
            })
            .line(b's', b"-")
            .connection(address.as_bytes())
            .time()
            .media(b"message", self.at.port(), b"TCP/MSRP", b"*")
            .attribute("accept-types", b"*")
            .attribute("path", self.path(id).as_bytes())
            .setup(setup);
        out
    }

    pub(crate) fn caller(&self, call: usize, path: String) {
        self.calls
            .lock()
            .unwrap()
            .entry(call)
            .or_default()
            .caller_path = path;
    }

    /// A device has answered; if it waits for us, we connect.
    pub(crate) fn device(self: &Arc<Self>, call: usize, j: usize, path: String, connect: bool) {
        let stream = connect.then(|| self.dial(&path, &format!("s{call}d{j}")));
        let mut calls = self.calls.lock().unwrap();
        let device = calls.entry(call).or_default().devices.entry(j).or_default();
        device.0 = path;
        if stream.is_some() {
            device.1 = stream;
        }
    }

    pub(crate) fn connect_to_caller(self: &Arc<Self>, call: usize) {
        let path = self.calls.lock().unwrap()[&call].caller_path.clone();
        self.dial(&path, &format!("s{call}"));
    }

    /// Connects, and binds with a bodiless SEND.
    fn dial(self: &Arc<Self>, path: &str, id: &str) -> TcpStream {
        let u = uri::msrp::Uri::parse(path.as_bytes()).unwrap();
        let uri::msrp::Host::Ip(ip) = u.host else {
            panic!("{path}")
        };
        let mut stream = TcpStream::connect((ip, u.port.unwrap())).unwrap();
        let mut out = Vec::new();
        let headers = write::Send {
            message_id: b"bind0001",
            byte_range: None,
            success_report: false,
            failure_report: msrp::FailureReport::Yes,
        };
        write::bare_send(
            &mut out,
            b"bind0001",
            path.as_bytes(),
            self.path(id).as_bytes(),
            &headers,
        );
        stream.write_all(&out).unwrap();
        self.read(stream.try_clone().unwrap());
        stream
    }

    fn read(self: &Arc<Self>, mut stream: TcpStream) {
        let media = Arc::clone(self);
        thread::spawn(move || {
            let (mut have, mut buf) = (Vec::new(), vec![0; 65_536]);
            while let Ok(n @ 1..) = stream.read(&mut buf) {
                have.extend_from_slice(&buf[..n]);
                let mut taken = 0;
                while let Some(len) = media.frame(&have[taken..], &stream) {
                    taken += len;
                }
                have.drain(..taken);
            }
        });
    }

    /// Serves the first frame, if it is whole.
    fn frame(&self, bytes: &[u8], stream: &TcpStream) -> Option<usize> {
        let Parse::Complete { head, len } = msrp::parse(bytes, 0).unwrap() else {
            return None;
        };
        let whole = match head.end_flag {
            Some(_) => len,
            None => match EndScan::new().scan(&bytes[len..], head.tid) {
                Scan::Found { after, .. } => len + after,
                Scan::None { .. } => return None,
            },
        };
        if !head.is_send() {
            return Some(whole);
        }
        let mut answer = Vec::new();
        write::response(
            &mut answer,
            head.tid,
            200,
            head.previous_hop(),
            head.to_path,
        );
        let mut stream = stream;
        // The generator may have gone.
        let _ = stream.write_all(&answer);
        let u = uri::msrp::Uri::parse(head.to_path).unwrap();
        let id = std::str::from_utf8(u.session_id.unwrap()).unwrap();
        let id = id.strip_prefix('s').unwrap();
        let mut calls = self.calls.lock().unwrap();
        if let Some((call, j)) = id.split_once('d') {
            let call = calls.entry(call.parse().unwrap()).or_default();
            let device = call.devices.entry(j.parse().unwrap()).or_default();
            device.1 = Some(stream.try_clone().unwrap());
        } else if head.content_type.is_some() {
            let number: usize = id.parse().unwrap();
            let end = whole - (head.tid.len() + b"$\r\n".len());
            for (j, (path, stream)) in &calls[&number].devices {
                let tid = [head.tid, b"x", &[b'a' + u8::try_from(*j).unwrap()]].concat();
                let mut out = Vec::new();
                write::request(
                    &mut out,
                    &tid,
                    b"SEND",
                    path.as_bytes(),
                    self.path(&format!("s{number}d{j}")).as_bytes(),
                );
                out.extend_from_slice(&bytes[head.rest.start..end]);
                out.extend_from_slice(&tid);
                out.extend_from_slice(b"$\r\n");
                if let Some(mut stream) = stream.as_ref() {
                    let _ = stream.write_all(&out);
                }
            }
        }
        Some(whole)
    }
}
