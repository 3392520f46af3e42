//! The user who invites: one INVITE, one MSRP session, messages in every shape, BYE or CANCEL in the end.

use std::{net::SocketAddr, time::Duration};

use crate::{
    book::Book,
    net::{Net, StreamId},
    peer::{Chunk, Common, Todo, body},
    text::{self, Frame, Sip, msrp_response, sdp},
};

/// One message that will be sent.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) at: Duration,
    pub(crate) size: usize,
    /// Bytes a chunk; `None`: one SEND.
    pub(crate) chunk: Option<usize>,
    /// Headers of its reports.
    pub(crate) reports: &'static str,
    /// Aborted with `#` half way.
    pub(crate) aborted: bool,
}

/// What a sender will do.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) invite_at: Duration,
    /// Gives up by CANCEL this long after the INVITE, if nobody has answered.
    pub(crate) cancel_after: Option<Duration>,
    pub(crate) setup: &'static str,
    pub(crate) cema: bool,
    pub(crate) lines: Vec<Line>,
    /// Resets its media stream this long after its 200.
    pub(crate) resets: Option<Duration>,
    /// BYE this long after its 200.
    pub(crate) bye_after: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Idle,
    Inviting,
    Cancelled,
    Up,
    Refused,
    Ended,
}

pub(crate) struct Sender {
    pub(crate) c: Common,
    pub(crate) user: usize,
    pub(crate) plan: Plan,
    pub(crate) state: State,
    branch: String,
    cseq: u32,
    to: String,
    target: String,
    ack: Vec<u8>,
    peer_path: String,
    own_path: String,
    provisional: bool,
    wants_cancel: bool,
    /// The message that the last chunk was of.
    last_line: usize,
}

impl Sender {
    pub(crate) fn new(me: usize, user: usize, addr: SocketAddr, tcp: bool, plan: Plan) -> Self {
        Self {
            c: Common::new(me, addr, tcp),
            user,
            plan,
            state: State::Idle,
            branch: String::new(),
            cseq: 1,
            to: format!("<sip:user{user}@example.com>"),
            target: String::new(),
            ack: Vec::new(),
            peer_path: String::new(),
            own_path: format!("msrp://{}:7000/sender{me};tcp", addr.ip()),
            provisional: false,
            wants_cancel: false,
            last_line: 0,
        }
    }

    pub(crate) fn start(&mut self, net: &mut Net) {
        self.c.later(net, self.plan.invite_at, Todo::Invite);
    }

    fn request(
        &mut self,
        method: &str,
        uri: &str,
        branch: &str,
        cseq: u32,
        more: &str,
        body: &str,
    ) -> Vec<u8> {
        let me = self.c.me;
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/{} {};branch={branch};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:sender{}@other.example>;tag=s{me}\r\nTo: {}\r\nCall-ID: call{me}\r\nCSeq: {cseq} {method}\r\n{more}\
             Content-Length: {}\r\n\r\n{body}",
            self.c.transport(),
            self.c.addr,
            self.user,
            self.to,
            body.len()
        )
        .into_bytes()
    }

    pub(crate) fn todo(&mut self, net: &mut Net, book: &mut Book, todo: Todo) {
        match todo {
            Todo::Invite => {
                self.state = State::Inviting;
                book.sender_invited(self.user);
                self.branch = self.c.id("z9hG4bKinv");
                let offer =
                    self.c
                        .sdp(500, self.plan.setup, self.plan.cema, &self.own_path.clone());
                let more = format!(
                    "Contact: <sip:sender{}@{};transport={}>\r\nSupported: timer\r\nSubject: chat\r\n\
                     Accept-Contact: *;+g.3gpp.icsi-ref=\"urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session\";require;explicit\r\n\
                     Content-Type: application/sdp\r\n",
                    self.user,
                    self.c.addr,
                    self.c.transport().to_lowercase()
                );
                let (uri, branch) = (
                    format!("sip:user{}@example.com", self.user),
                    self.branch.clone(),
                );
                let m = self.request("INVITE", &uri, &branch, 1, &more, &offer);
                self.c.send_until(net, branch, m, false);
                if let Some(d) = self.plan.cancel_after {
                    self.c.later(net, d, Todo::Cancel);
                }
            }
            Todo::Cancel => {
                self.wants_cancel = true;
                self.cancel(net);
            }
            Todo::Repeat {
                key,
                bytes,
                wait,
                until,
            } => self.c.repeat(net, key, bytes, wait, until),
            Todo::Say(n) => self.say(net, book, n),
            Todo::Write(chunk) => self.write(net, book, &chunk),
            Todo::Reset => {
                if self.c.media.is_some() {
                    net.saw("sender resets");
                    book.sender_media_lost(self.user, net.now);
                    self.c.close_media(net, true);
                }
            }
            Todo::Ack { frame, code } => {
                if self.c.media.is_some() {
                    let r = msrp_response(&frame, code, &self.own_path);
                    self.c.say(net, &r);
                }
            }
            Todo::Bye => self.bye(net, book),
            Todo::Register
            | Todo::Answer { .. }
            | Todo::Ring { .. }
            | Todo::Act
            | Todo::Read
            | Todo::Again(_)
            | Todo::GiveUpMedia => {}
        }
    }

    fn cancel(&mut self, net: &mut Net) {
        if self.state != State::Inviting || !self.provisional {
            return;
        }
        self.state = State::Cancelled;
        self.c.settled.insert(self.branch.clone());
        let (uri, branch) = (
            format!("sip:user{}@example.com", self.user),
            self.branch.clone(),
        );
        let m = self.request("CANCEL", &uri, &branch, 1, "", "");
        self.c.send_until(net, format!("cancel {branch}"), m, false);
    }

    pub(crate) fn sip(&mut self, net: &mut Net, book: &mut Book, bytes: &[u8]) {
        let m = Sip::read(bytes)
            .unwrap_or_else(|| panic!("the server writes SIP: {}", String::from_utf8_lossy(bytes)));
        match (m.code(), m.method()) {
            (Some(code), "INVITE") => self.invite_answered(net, book, &m, code),
            (Some(code), "CANCEL") => {
                if code >= 200 {
                    self.c.settled.insert(format!("cancel {}", m.branch()));
                }
            }
            (Some(code), _) => {
                if code >= 200 {
                    self.c.settled.insert(m.branch());
                }
            }
            (None, "BYE") => {
                let known = self.state == State::Up || self.state == State::Ended;
                let r = m.answer(if known { 200 } else { 481 }, "OK", "", "", "");
                self.c.send(net, &r);
                if self.state == State::Up {
                    book.sender_dismissed(self.user);
                    self.ended(net, book);
                }
            }
            (None, "INVITE") => {
                if self.state == State::Up {
                    let answer = self.c.sdp(500, "passive", false, &self.own_path.clone());
                    let more = format!(
                        "Contact: <sip:sender@{}>\r\nContent-Type: application/sdp\r\n",
                        self.c.addr
                    );
                    let r = m.answer(200, "OK", "", &more, &answer);
                    self.c
                        .send_until(net, format!("200 {}", m.get("CSeq")), r, true);
                } else {
                    let r = m.answer(481, "Gone", "", "", "");
                    self.c.send(net, &r);
                }
            }
            (None, "ACK") => {
                let cseq = format!("200 {} INVITE", m.cseq());
                self.c.settled.insert(cseq);
            }
            (None, "UPDATE" | "OPTIONS") => {
                let r = m.answer(
                    200,
                    "OK",
                    "",
                    &format!("Contact: <sip:sender@{}>\r\n", self.c.addr),
                    "",
                );
                self.c.send(net, &r);
            }
            (None, other) => panic!("a sender does not expect {other}"),
        }
    }

    fn invite_answered(&mut self, net: &mut Net, book: &mut Book, m: &Sip, code: u16) {
        if code < 200 {
            self.provisional = true;
            if self.wants_cancel {
                self.cancel(net);
            }
            // A provisional answer stops the repetition (RFC 3261 §17.1.1.2).
            self.c.settled.insert(m.branch());
            return;
        }
        self.c.settled.insert(m.branch());
        if code >= 300 {
            let (uri, branch, to) = (
                format!("sip:user{}@example.com", self.user),
                m.branch(),
                m.get("To").to_owned(),
            );
            let old = std::mem::replace(&mut self.to, to);
            let ack = self.request("ACK", &uri, &branch, 1, "", "");
            self.to = old;
            self.c.send(net, &ack);
            if matches!(self.state, State::Inviting | State::Cancelled) {
                self.state = State::Refused;
                book.sender_refused(self.user, code);
            }
            return;
        }
        if matches!(self.state, State::Inviting | State::Cancelled) {
            self.to = m.get("To").to_owned();
            self.target = m.uri("Contact");
            let branch = self.c.id("z9hG4bKack");
            let target = self.target.clone();
            self.ack = self.request("ACK", &target, &branch, 1, "", "");
            let answer = String::from_utf8_lossy(&m.body).into_owned();
            self.peer_path = sdp(&answer, "path")
                .expect("an answer has a path")
                .to_owned();
            let setup = sdp(&answer, "setup").expect("an answer has a=setup");
            let crossed = self.state == State::Cancelled;
            self.state = State::Up;
            book.sender_up(self.user, net.now);
            let ack = self.ack.clone();
            self.c.send(net, &ack);
            if setup == "passive" {
                self.c.connect_media(net, &answer);
                self.bind(net);
            }
            if crossed {
                self.bye(net, book);
                return;
            }
            for (n, line) in self.plan.lines.clone().iter().enumerate() {
                self.c.later(net, line.at, Todo::Say(n));
            }
            if let Some(d) = self.plan.resets {
                self.c.later(net, d, Todo::Reset);
            }
            self.c.later(net, self.plan.bye_after, Todo::Bye);
        } else if !self.ack.is_empty() {
            assert_eq!(
                m.get("To"),
                self.to,
                "there is one 200 towards the sender, repeated at most"
            );
            let ack = self.ack.clone();
            self.c.send(net, &ack);
        }
    }

    fn bind(&mut self, net: &mut Net) {
        let (tid, id) = (self.c.id("bind"), self.c.id("s-bind"));
        let send = text::Send {
            tid: &tid,
            to: &self.peer_path,
            from: &self.own_path,
            id: &id,
            range: (1, 0, 0),
            flag: b'$',
            ..Default::default()
        };
        let bytes = send.write();
        self.c.say(net, &bytes);
    }

    fn say(&mut self, net: &mut Net, book: &mut Book, n: usize) {
        if self.state != State::Up || self.c.media.is_none() {
            return;
        }
        let line = self.plan.lines[n].clone();
        let whole = body(self.user, n, line.size);
        let id = format!("u{}m{n}", self.user);
        book.sent(self.user, n, &id, &whole, &line, net.now);
        net.saw(match line.reports {
            "Failure-Report: yes\r\n" => "Failure-Report yes",
            r if r.contains("Failure-Report: no") => "Failure-Report no",
            r if r.contains("partial") => "Failure-Report partial",
            _ => "Failure-Report left out",
        });
        if line.chunk.is_some() {
            net.saw("message in chunks");
        }
        if line.size > 8 * 1024 && line.chunk.is_none_or(|c| c > 8 * 1024) {
            net.saw("chunk above 8 KiB");
        }
        if line.aborted {
            net.saw("message aborted");
        }
        let chunk = line.chunk.unwrap_or(whole.len()).max(1);
        let mut at = 0;
        let mut wait = Duration::ZERO;
        loop {
            let end = (at + chunk).min(whole.len());
            let last = end == whole.len();
            let cut = line.aborted && (end * 2 >= whole.len());
            let flag = if cut {
                b'#'
            } else if last {
                b'$'
            } else {
                b'+'
            };
            let tid = self.c.id("snd");
            let send = text::Send {
                tid: &tid,
                to: &self.peer_path,
                from: &self.own_path,
                id: &id,
                range: (at + 1, end, whole.len()),
                reports: line.reports,
                content_type: "message/cpim",
                body: Some(&whole[at..end]),
                flag,
            };
            let bytes = send.write();
            let last = flag == b'$';
            let chunk = Chunk {
                stream: self.c.media.map(|(stream, _)| stream),
                bytes,
                tid,
                seq: n,
                last,
            };
            if wait.is_zero() {
                self.write(net, book, &chunk);
            } else {
                self.c.later(net, wait, Todo::Write(Box::new(chunk)));
            }
            at = end;
            if flag != b'+' {
                return;
            }
            // Same order always: later chunks never overtake.
            wait += Duration::from_millis(2);
        }
    }

    /// Writes one chunk, unless the stream that its message began on is gone.
    fn write(&mut self, net: &mut Net, book: &mut Book, chunk: &Chunk) {
        if self.c.media.is_none() || self.c.media.map(|(stream, _)| stream) != chunk.stream {
            return;
        }
        if std::mem::replace(&mut self.last_line, chunk.seq) > chunk.seq {
            net.saw("messages interleaved");
        }
        net.trace(|| {
            let (tid, bytes) = (&chunk.tid, chunk.bytes.len());
            format!(
                "sender {} writes {tid} of m{}, {bytes} bytes",
                self.c.me, chunk.seq
            )
        });
        book.frame_sent(&chunk.tid, self.user, chunk.seq, chunk.last, net.now);
        self.c.say(net, &chunk.bytes);
    }

    /// Somebody has connected. Who has left listens no more: what he had not acknowledged by then would come again.
    pub(crate) fn accepted(&mut self, net: &mut Net, stream: StreamId) {
        if self.state == State::Ended {
            net.saw("connection to a sender who has left");
            net.close(stream, 1, true);
            return;
        }
        self.c.joins_media(net, stream, 1);
    }

    /// Whether a frame to this path is for this peer.
    pub(crate) fn is_at(&self, path: &str) -> bool {
        self.own_path == path
    }

    pub(crate) fn frame(&mut self, net: &mut Net, book: &mut Book, frame: Frame) {
        net.trace(|| format!("sender {} gets {frame}", self.c.me));
        match frame.what.as_str() {
            "SEND" => {
                if let Some(b) = &frame.body
                    && frame.flag == b'$'
                {
                    book.sender_got(self.user, frame.get("Message-ID"), b, net.now);
                }
                if frame.get("Failure-Report") != "no" {
                    self.c.later(
                        net,
                        Duration::from_micros(100),
                        Todo::Ack {
                            frame: Box::new(frame),
                            code: 200,
                        },
                    );
                }
            }
            "REPORT" => book.reported(
                self.user,
                frame.get("Message-ID"),
                frame.get("Status"),
                net.now,
            ),
            code => book.answered(&frame.tid, code.parse().unwrap_or(0), net.now),
        }
    }

    fn bye(&mut self, net: &mut Net, book: &mut Book) {
        if self.state != State::Up {
            return;
        }
        self.cseq += 1;
        let branch = self.c.id("z9hG4bKbye");
        let (target, cseq) = (self.target.clone(), self.cseq);
        let m = self.request("BYE", &target, &branch, cseq, "", "");
        self.c.send_until(net, branch, m, false);
        self.ended(net, book);
    }

    fn ended(&mut self, net: &mut Net, book: &mut Book) {
        self.state = State::Ended;
        book.sender_ended(self.user, net.now);
        self.c.close_media(net, false);
    }

    pub(crate) fn media_ended(&mut self, net: &mut Net, book: &mut Book) {
        self.c.media_lost();
        book.sender_media_lost(self.user, net.now);
    }
}
