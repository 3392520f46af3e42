//! The double's MSRP side: one thread a connection, whole frames.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use ringfork::wire::{
    msrp::{self, EndScan, Head, Kind, Method, Parse, Scan, write},
    sdp::{Origin, Setup, Writer},
    uri,
};

use super::Harm;

#[derive(Default)]
struct Call {
    caller_path: String,
    caller: Option<TcpStream>,
    /// Path and connection of each device.
    devices: BTreeMap<usize, (String, Option<TcpStream>)>,
    /// The device that has answered, and whether the caller has acknowledged that he heard it.
    kept: Option<usize>,
    heard: bool,
    /// Messages that a success REPORT has passed for.
    reported: HashSet<Vec<u8>>,
}

/// Ends the transaction ids of what devices say, as it is passed to the caller.
const HEARD: &[u8] = b"xy";

/// Messages from which on a call is one that goes on: those that come and go say fewer.
const MUCH: u64 = 20;

/// Who is told of a call's first activity: call, device.
type OnActivity = Box<dyn Fn(usize, usize) + Send + Sync>;

pub(crate) struct Media {
    at: SocketAddr,
    calls: Mutex<HashMap<usize, Call>>,
    harm: Harm,
    /// Messages of callers so far, of which every so many are harmed.
    messages: Mutex<u64>,
    /// How many each call has said, and what is held back until its next, by call and device.
    said: Mutex<HashMap<usize, u64>>,
    held: Mutex<HashMap<(usize, usize), Vec<u8>>>,
    /// Harm that was done: messages dropped, doubled, altered, crossed, leaked.
    done: AtomicU64,
    on_activity: OnceLock<OnActivity>,
}

impl Media {
    pub(crate) fn start(harm: Harm) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let media = Arc::new(Self {
            at: listener.local_addr().unwrap(),
            calls: Mutex::default(),
            harm,
            messages: Mutex::default(),
            said: Mutex::default(),
            held: Mutex::default(),
            done: AtomicU64::new(0),
            on_activity: OnceLock::new(),
        });
        let m = Arc::clone(&media);
        thread::spawn(move || {
            for stream in listener.incoming() {
                m.read(stream.unwrap());
            }
        });
        media
    }

    /// How much harm has been done so far.
    pub(crate) fn harm_done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    pub(crate) fn on_activity(&self, tell: OnActivity) {
        assert!(self.on_activity.set(tell).is_ok());
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
        let stream = self.dial(&path, &format!("s{call}"));
        let mut calls = self.calls.lock().unwrap();
        calls.entry(call).or_default().caller = Some(stream);
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
            // Others may hold it too: it ends for all.
            let _ = stream.shutdown(Shutdown::Both);
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
        let u = uri::msrp::Uri::parse(head.to_path).unwrap();
        let id = std::str::from_utf8(u.session_id.unwrap()).unwrap();
        let id = id.strip_prefix('s').unwrap();
        let (call, device) = match id.split_once('d') {
            Some((call, j)) => (call.parse().unwrap(), Some(j.parse().unwrap())),
            None => (id.parse().unwrap(), None),
        };
        let Kind::Request { method } = head.kind else {
            if device.is_none() && head.tid.ends_with(HEARD) {
                // What the caller writes from here on he writes after he has got the activity message.
                let mut calls = self.calls.lock().unwrap();
                calls.entry(call).or_default().heard = true;
            }
            return Some(whole);
        };
        if method == Method::Report {
            self.report(call, &head);
            return Some(whole);
        }
        if head.content_type.is_none() {
            // Known before it is answered: who has its answer may be sent messages.
            let mut calls = self.calls.lock().unwrap();
            let entry = calls.entry(call).or_default();
            let stream = Some(stream.try_clone().unwrap());
            match device {
                Some(j) => entry.devices.entry(j).or_default().1 = stream,
                None => entry.caller = stream,
            }
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
        // From behind the paths to the last transaction id.
        let rest = &bytes[head.rest.start..whole - (head.tid.len() + b"$\r\n".len())];
        match device {
            _ if head.content_type.is_none() => {}
            Some(j) => self.device_says(call, j, &head, rest),
            None => self.caller_says(call, &head, rest),
        }
        Some(whole)
    }

    /// A success REPORT passes, the first for each message.
    fn report(&self, call: usize, head: &Head<'_>) {
        let mut calls = self.calls.lock().unwrap();
        let call_entry = calls.entry(call).or_default();
        let message_id = head.message_id.unwrap();
        if !call_entry.reported.insert(message_id.to_vec()) || self.harm == Harm::EatReports {
            return;
        }
        let mut out = Vec::new();
        write::report(
            &mut out,
            head.tid,
            call_entry.caller_path.as_bytes(),
            self.path(&format!("s{call}")).as_bytes(),
            &write::Report {
                message_id,
                byte_range: head.byte_range,
                code: 200,
            },
        );
        if let Some(mut caller) = call_entry.caller.as_ref() {
            let _ = caller.write_all(&out);
        }
    }

    /// The device stays, whoever else says something is heard too.
    fn device_says(&self, call: usize, j: usize, head: &Head<'_>, rest: &[u8]) {
        let first = {
            let mut calls = self.calls.lock().unwrap();
            let entry = calls.entry(call).or_default();
            let first = entry.kept.is_none();
            entry.kept.get_or_insert(j);
            if let (Some(mut caller), true) = (entry.caller.as_ref(), self.harm != Harm::EatReplies)
            {
                let to = (entry.caller_path.as_str(), format!("s{call}"));
                let _ = caller.write_all(&self.copy(head.tid, &HEARD[1..], to, rest));
            }
            first
        };
        if first && let Some(tell) = self.on_activity.get() {
            tell(call, j);
        }
    }

    /// Every device gets it; once one has answered, that one.
    fn caller_says(&self, call: usize, head: &Head<'_>, rest: &[u8]) {
        let calls = self.calls.lock().unwrap();
        let entry = &calls[&call];
        let last = entry.kept.or(entry.devices.keys().copied().max());
        let leaks = entry.heard && matches!(self.harm, Harm::Leak(_));
        let said = {
            let mut said = self.said.lock().unwrap();
            let said = said.entry(call).or_default();
            *said += 1;
            *said
        };
        // What cannot be harmed so is not counted.
        let may_be = match self.harm {
            Harm::Leak(_) => leaks,
            Harm::Reorder(_) => said > MUCH,
            _ => true,
        };
        let harmed = may_be && self.is_harmed();
        for (j, (path, stream)) in &entry.devices {
            let Some(mut stream) = stream.as_ref() else {
                continue;
            };
            let is_last = Some(*j) == last;
            let gets = match entry.kept {
                Some(kept) => *j == kept || leaks && harmed,
                None => true,
            };
            let letter = [b'a' + u8::try_from(*j).unwrap()];
            let to = (path.as_str(), format!("s{call}d{j}"));
            let mut out = self.copy(head.tid, &letter, to, rest);
            let is_leak = entry.kept.is_some_and(|kept| kept != *j);
            if harmed && if leaks { is_leak } else { is_last } {
                self.done.fetch_add(1, Ordering::Relaxed);
            }
            match self.harm {
                Harm::Drop(_) if is_last && harmed => continue,
                Harm::Reorder(_) if is_last && harmed => {
                    self.held.lock().unwrap().insert((call, *j), out);
                    continue;
                }
                Harm::Double(_) if is_last && harmed => out.extend_from_within(..),
                Harm::Alter(_) if is_last && harmed => {
                    let last = out.len() - (b"\r\n-------$\r\n".len() + head.tid.len() + 2) - 1;
                    out[last] ^= 1;
                }
                Harm::Cross(_) if is_last && harmed => {
                    // The same device of some other call gets what this one should.
                    let other = calls
                        .iter()
                        .filter(|(c, _)| **c != call)
                        .find_map(|(_, e)| {
                            let (path, stream) = e.devices.get(j)?;
                            Some((path, stream.as_ref()?))
                        });
                    if let Some((_, mut stream)) = other {
                        let _ = stream.write_all(&out);
                        continue;
                    }
                }
                Harm::None
                | Harm::Leak(_)
                | Harm::EatReports
                | Harm::EatReplies
                | Harm::Drop(_)
                | Harm::Double(_)
                | Harm::Reorder(_)
                | Harm::Alter(_)
                | Harm::Cross(_) => {}
            }
            if gets {
                let _ = stream.write_all(&out);
            }
            if let Some(late) = self.held.lock().unwrap().remove(&(call, *j)) {
                let _ = stream.write_all(&late);
            }
        }
    }

    fn is_harmed(&self) -> bool {
        let (Harm::Drop(every)
        | Harm::Double(every)
        | Harm::Reorder(every)
        | Harm::Alter(every)
        | Harm::Cross(every)
        | Harm::Leak(every)) = self.harm
        else {
            return false;
        };
        let mut messages = self.messages.lock().unwrap();
        *messages += 1;
        messages.is_multiple_of(every)
    }

    /// A SEND again, to another path from one of ours, with a transaction id of its own.
    fn copy(&self, tid: &[u8], letter: &[u8], (to, from): (&str, String), rest: &[u8]) -> Vec<u8> {
        let tid = [tid, b"x", letter].concat();
        let mut out = Vec::new();
        write::request(
            &mut out,
            &tid,
            b"SEND",
            to.as_bytes(),
            self.path(&from).as_bytes(),
        );
        out.extend_from_slice(rest);
        out.extend_from_slice(&tid);
        out.extend_from_slice(b"$\r\n");
        out
    }
}
