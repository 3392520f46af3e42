//! A device of the served user: registers, is invited, answers early, late, wrongly, twice or never, reads and writes MSRP.

#[path = "register.rs"]
mod register;

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use crate::{
    book::Book,
    net::{Net, StreamId},
    peer::{Again, Common, Kind, T1, Todo, device_body},
    text::{self, Frame, Sip, msrp_response, sdp},
};

/// What a device will do, drawn from the seed before anything happens.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) register_at: Duration,
    pub(crate) ring_after: Option<Duration>,
    /// When and with what it answers; `None`: never.
    pub(crate) answer: Option<(Duration, u16)>,
    /// Sends its 200 twice from the start.
    pub(crate) twice: bool,
    /// Its 200 has no description.
    pub(crate) blank: bool,
    pub(crate) setup: &'static str,
    pub(crate) cema: bool,
    /// How it answers a SEND: after this time with this code; `None`: never.
    pub(crate) ack: Option<(Duration, u16)>,
    /// Answers each SEND twice.
    pub(crate) ack_twice: bool,
    /// Answers what nobody has sent, too.
    pub(crate) ack_strange: bool,
    /// After so many whole messages it writes this.
    pub(crate) acts: Option<(usize, Kind)>,
    /// Stops reading its media for a while after so many frames.
    pub(crate) stalls: Option<(usize, Duration)>,
    /// Resets its media stream after so many frames.
    pub(crate) resets: Option<usize>,
    /// Leaves by BYE so long after its 200.
    pub(crate) leaves: Option<Duration>,
    /// Reads on after so many frames and answers nothing any more.
    pub(crate) mute_after: Option<usize>,
    /// When it registers again, and how.
    pub(crate) again: Vec<(Duration, Again)>,
}

/// Where its dialog is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Idle,
    Ringing,
    Answered,
    Refused,
    Ended,
}

pub(crate) struct Device {
    pub(crate) c: Common,
    pub(crate) user: usize,
    pub(crate) plan: Plan,
    pub(crate) state: State,
    invite: Option<Sip>,
    last_response: Vec<u8>,
    tag: String,
    /// The server's path for us, ours for it.
    peer_path: String,
    own_path: String,
    partial: BTreeMap<String, Vec<u8>>,
    frames: usize,
    wholes: usize,
    wrote: usize,
    stalled: bool,
    cseq: u32,
    /// Contacts that it has had before, and for how long it registers the one it has.
    moved: u32,
    expires: u32,
}

impl Device {
    pub(crate) fn new(me: usize, user: usize, addr: SocketAddr, tcp: bool, plan: Plan) -> Self {
        Self {
            c: Common::new(me, addr, tcp),
            user,
            plan,
            state: State::Idle,
            invite: None,
            last_response: Vec::new(),
            tag: format!("dev{me}"),
            peer_path: String::new(),
            own_path: format!("msrp://{}:7000/device{me};tcp", addr.ip()),
            partial: BTreeMap::new(),
            frames: 0,
            wholes: 0,
            wrote: 0,
            stalled: false,
            cseq: 1,
            moved: 0,
            expires: 3600,
        }
    }

    pub(crate) fn start(&mut self, net: &mut Net) {
        self.c.later(net, self.plan.register_at, Todo::Register);
        for (at, how) in self.plan.again.clone() {
            self.c.later(net, at, Todo::Again(how));
        }
    }

    pub(crate) fn todo(&mut self, net: &mut Net, book: &mut Book, todo: Todo) {
        match todo {
            Todo::Register => {
                self.expires = 3600;
                self.register(net);
            }
            Todo::Again(how) => self.again(net, how),
            Todo::Repeat {
                key,
                bytes,
                wait,
                until,
            } => self.c.repeat(net, key, bytes, wait, until),
            Todo::Ring { branch } => self.ring(net, &branch),
            Todo::Answer { branch, code } => self.answer(net, book, &branch, code),
            Todo::Ack { frame, code } => self.acknowledge(net, book, &frame, code),
            Todo::Act => self.act(net, book),
            Todo::Bye => self.bye(net, book),
            Todo::Read => {
                self.stalled = false;
                if let Some((stream, side)) = self.c.media {
                    net.streams[stream.0].half[side].paused = false;
                    crate::lab::note_readable(net, stream, side);
                }
            }
            Todo::GiveUpMedia => {
                if self.c.media.is_none() && self.state == State::Answered {
                    self.bye(net, book);
                }
            }
            Todo::Invite | Todo::Cancel | Todo::Say(_) | Todo::Write(_) | Todo::Reset => {}
        }
    }

    fn ring(&mut self, net: &mut Net, branch: &str) {
        if self.state == State::Ringing
            && let Some(invite) = self.invite.clone()
            && invite.branch() == branch
        {
            let r = invite.answer(
                180,
                "Ringing",
                &self.tag,
                &format!("Contact: {}\r\n", self.contact()),
                "",
            );
            self.last_response.clone_from(&r);
            self.c.send(net, &r);
        }
    }

    fn answer(&mut self, net: &mut Net, book: &mut Book, branch: &str, code: u16) {
        let Some(invite) = self.invite.clone() else {
            return;
        };
        if self.state != State::Ringing || invite.branch() != branch {
            return;
        }
        let offer = String::from_utf8_lossy(&invite.body).into_owned();
        if code == 200 {
            self.state = State::Answered;
            book.device_answered(self.c.me, net.now);
            self.peer_path = sdp(&offer, "path").expect("an offer has a path").to_owned();
            let cema = self.plan.cema && sdp(&offer, "msrp-cema").is_some();
            let answer = self.c.sdp(
                900 + self.c.me as u32,
                self.plan.setup,
                cema,
                &self.own_path.clone(),
            );
            let mut more = format!("Contact: {}\r\nSupported: timer\r\n", self.contact());
            let answer = if self.plan.blank {
                net.saw("200 without description");
                String::new()
            } else {
                more.push_str("Content-Type: application/sdp\r\n");
                answer
            };
            let r = invite.answer(200, "OK", &self.tag, &more, &answer);
            self.last_response.clone_from(&r);
            self.c
                .send_until(net, format!("200 {branch}"), r.clone(), true);
            if self.plan.twice {
                net.saw("200 twice");
                self.c.send(net, &r);
            }
            if self.plan.blank {
                book.device_media_lost(self.c.me);
                return;
            }
            if self.plan.setup == "active" {
                self.c.connect_media(net, &offer);
                self.bind(net);
            } else {
                self.c
                    .later(net, Duration::from_secs(40), Todo::GiveUpMedia);
            }
            if let Some(after) = self.plan.leaves {
                self.c.later(net, after, Todo::Bye);
            }
        } else {
            self.state = State::Refused;
            let r = invite.answer(code, "Refused", &self.tag, "", "");
            self.last_response.clone_from(&r);
            self.c.send_until(net, format!("final {branch}"), r, false);
        }
    }

    fn bind(&mut self, net: &mut Net) {
        let (tid, id) = (self.c.id("bind"), self.c.id("m-bind"));
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

    pub(crate) fn sip(&mut self, net: &mut Net, book: &mut Book, bytes: &[u8]) {
        let m = Sip::read(bytes)
            .unwrap_or_else(|| panic!("the server writes SIP: {}", String::from_utf8_lossy(bytes)));
        if let Some(code) = m.code() {
            if code >= 200 && self.c.settled.insert(m.branch()) && code == 503 {
                // Nobody had a place for it: once more (RFC 3261 §21.5.4).
                if m.get("CSeq").ends_with("REGISTER") {
                    net.saw("REGISTER answered 503");
                    self.c.later(net, Duration::from_secs(1), Todo::Register);
                }
            }
            return;
        }
        match m.method() {
            "INVITE" if m.get("To").contains(";tag=") => {
                // A re-INVITE: refresh or restored media; the same answer again.
                let cema =
                    self.plan.cema && sdp(&String::from_utf8_lossy(&m.body), "msrp-cema").is_some();
                let answer = self.c.sdp(
                    900 + self.c.me as u32,
                    self.plan.setup,
                    cema,
                    &self.own_path.clone(),
                );
                let more = format!(
                    "Contact: {}\r\nContent-Type: application/sdp\r\n",
                    self.contact()
                );
                let code = if self.state == State::Answered {
                    200
                } else {
                    481
                };
                let r = if code == 200 {
                    m.answer(200, "OK", &self.tag, &more, &answer)
                } else {
                    m.answer(481, "Gone", &self.tag, "", "")
                };
                self.c
                    .send_until(net, format!("final re{}", m.cseq()), r, code == 200);
            }
            "INVITE" => self.invited(net, book, m),
            "ACK" => {
                let b = m.branch();
                self.c.settled.insert(format!("final {b}"));
                self.c.settled.insert(format!("final re{}", m.cseq()));
                // The ACK of a 2xx has a branch of its own: by Call-ID and CSeq.
                if let Some(invite) = &self.invite
                    && invite.get("Call-ID") == m.get("Call-ID")
                {
                    let key = format!("200 {}", invite.branch());
                    self.c.settled.insert(key);
                }
            }
            "CANCEL" => {
                let ok = m.answer(200, "OK", &self.tag, "", "");
                self.c.send(net, &ok);
                if self.state == State::Ringing
                    && let Some(invite) = self.invite.clone()
                    && invite.branch() == m.branch()
                {
                    self.state = State::Refused;
                    book.device_ended(self.c.me, net.now, m.get("Reason"));
                    let r = invite.answer(487, "Request Terminated", &self.tag, "", "");
                    self.last_response.clone_from(&r);
                    self.c
                        .send_until(net, format!("final {}", invite.branch()), r, false);
                }
            }
            "BYE" => {
                let known = self.state == State::Answered
                    && self
                        .invite
                        .as_ref()
                        .is_some_and(|i| i.get("Call-ID") == m.get("Call-ID"));
                let r = m.answer(if known { 200 } else { 481 }, "OK", &self.tag, "", "");
                self.c.send(net, &r);
                if known {
                    self.ended(net, book, m.get("Reason"));
                }
            }
            "UPDATE" | "OPTIONS" => {
                let r = m.answer(
                    200,
                    "OK",
                    &self.tag,
                    &format!("Contact: {}\r\n", self.contact()),
                    "",
                );
                self.c.send(net, &r);
            }
            other => panic!("a device does not expect {other}"),
        }
    }

    fn invited(&mut self, net: &mut Net, book: &mut Book, m: Sip) {
        if let Some(known) = &self.invite
            && known.branch() == m.branch()
        {
            if !self.last_response.is_empty() {
                let r = self.last_response.clone();
                self.c.send(net, &r);
            }
            return;
        }
        if self.state != State::Idle {
            book.device_invited_again(self.c.me);
            let r = m.answer(486, "Busy Here", &self.tag, "", "");
            self.c.send(net, &r);
            return;
        }
        book.device_invited(self.c.me, &m);
        self.state = State::Ringing;
        let branch = m.branch();
        self.invite = Some(m);
        if self.plan.answer.is_none() {
            net.saw("INVITE never answered");
        }
        if self.plan.ack.is_none() {
            net.saw("SENDs never answered");
        }
        if let Some(d) = self.plan.ring_after {
            self.c.later(
                net,
                d,
                Todo::Ring {
                    branch: branch.clone(),
                },
            );
        }
        if let Some((d, code)) = self.plan.answer {
            self.c.later(net, d, Todo::Answer { branch, code });
        }
    }

    pub(crate) fn accepted(&mut self, net: &mut Net, stream: StreamId) {
        self.c.joins_media(net, stream, 1);
    }

    /// Whether a frame to this path is for this peer.
    pub(crate) fn is_at(&self, path: &str) -> bool {
        self.own_path == path
    }

    pub(crate) fn frame(&mut self, net: &mut Net, book: &mut Book, frame: Frame) {
        net.trace(|| format!("device {} gets {frame}", self.c.me));
        match frame.what.as_str() {
            "SEND" => {}
            "REPORT" => return,
            code => {
                if code == "200" {
                    book.device_acknowledged(self.c.me, &frame.tid, net.now);
                }
                return;
            }
        }
        assert_eq!(
            frame.get("To-Path"),
            self.own_path,
            "To-Path is the device's path"
        );
        assert_eq!(
            frame.get("From-Path"),
            self.peer_path,
            "From-Path is what the server offered"
        );
        self.frames += 1;
        if let Some(body) = &frame.body {
            let id = frame.get("Message-ID").to_owned();
            let (start, _, total) =
                frame
                    .range()
                    .unwrap_or((1, Some(body.len()), Some(body.len())));
            let partial = self.partial.entry(id.clone()).or_default();
            assert!(
                start == partial.len() + 1,
                "device {}: {id} goes on at {start}, had {}",
                self.c.me,
                partial.len()
            );
            partial.extend(body);
            match frame.flag {
                b'$' => {
                    let whole = self.partial.remove(&id).unwrap_or_default();
                    if let Some(total) = total {
                        assert_eq!(whole.len(), total, "the total is what came");
                    }
                    self.wholes += 1;
                    book.delivered(self.c.me, self.user, &id, &whole, net.now);
                    if let Some((after, _)) = self.plan.acts
                        && self.wholes == after
                    {
                        self.c.later(net, Duration::from_micros(200), Todo::Act);
                    }
                }
                b'#' => {
                    self.partial.remove(&id);
                    net.saw("message ended by #");
                }
                _ => net.saw("chunk with +"),
            }
        }
        let mute = self.plan.mute_after.is_some_and(|n| self.frames > n);
        if mute {
            net.saw("device mute for good");
        }
        if frame.get("Failure-Report") != "no"
            && let Some((d, code)) = self.plan.ack
            && !mute
        {
            self.c.later(
                net,
                d,
                Todo::Ack {
                    frame: Box::new(frame),
                    code,
                },
            );
        }
        if self.plan.resets == Some(self.frames) {
            net.saw("device resets");
            book.device_media_lost(self.c.me);
            self.c.close_media(net, true);
            return;
        }
        if let Some((after, d)) = self.plan.stalls
            && self.frames == after
            && let Some((stream, side)) = self.c.media
        {
            self.stalled = true;
            net.trace(|| format!("device {} reads nothing for {d:?}", self.c.me));
            net.saw("device reads nothing");
            net.streams[stream.0].half[side].paused = true;
            self.c.later(net, d, Todo::Read);
        }
    }

    fn acknowledge(&mut self, net: &mut Net, book: &mut Book, frame: &Frame, code: u16) {
        if self.c.media.is_none() {
            return;
        }
        if code == 200 && frame.flag == b'$' {
            book.device_took(self.c.me, frame.get("Message-ID"));
        }
        if code == 200 && frame.get("Failure-Report") == "partial" {
            return;
        }
        let r = msrp_response(frame, code, &self.own_path);
        net.trace(|| format!("device {} answers {} {code}", self.c.me, frame.tid));
        self.c.say(net, &r);
        if self.plan.ack_twice {
            net.saw("SEND answered twice");
            self.c.say(net, &r);
        }
        if self.plan.ack_strange {
            net.saw("answer to nothing");
            let mut strange = frame.clone();
            strange.tid = self.c.id("strange");
            let r = msrp_response(&strange, code, &self.own_path);
            self.c.say(net, &r);
        }
        if code != 200 {
            net.saw("SEND refused");
        }
    }

    fn act(&mut self, net: &mut Net, book: &mut Book) {
        let Some((_, kind)) = self.plan.acts else {
            return;
        };
        if self.c.media.is_none() || self.state != State::Answered {
            return;
        }
        self.wrote += 1;
        let (tid, id) = (self.c.id("dev"), self.c.id("dm"));
        let (content_type, body) = device_body(kind, self.c.me, self.wrote);
        book.device_wrote(self.c.me, self.user, &id, &body, kind, &tid, net.now);
        let send = text::Send {
            tid: &tid,
            to: &self.peer_path,
            from: &self.own_path,
            id: &id,
            range: (1, body.len(), body.len()),
            content_type,
            body: Some(&body),
            flag: b'$',
            ..Default::default()
        };
        let bytes = send.write();
        self.c.say(net, &bytes);
    }

    fn bye(&mut self, net: &mut Net, book: &mut Book) {
        let Some(invite) = self.invite.clone() else {
            return;
        };
        if self.state != State::Answered {
            return;
        }
        // Not before the ACK (RFC 3261 §15).
        if !self.c.settled.contains(&format!("200 {}", invite.branch())) {
            self.c.later(net, T1, Todo::Bye);
            return;
        }
        let branch = self.c.id("z9hG4bKbye");
        self.cseq += 1;
        let message = format!(
            "BYE {} SIP/2.0\r\nVia: SIP/2.0/{} {};branch={branch};rport\r\nMax-Forwards: 70\r\nFrom: {};tag={}\r\nTo: {}\r\n\
             Call-ID: {}\r\nCSeq: {} BYE\r\nContent-Length: 0\r\n\r\n",
            invite.uri("Contact"),
            self.c.transport(),
            self.c.addr,
            invite.get("To"),
            self.tag,
            invite.get("From"),
            invite.get("Call-ID"),
            self.cseq,
        );
        book.device_left(self.user, net.now);
        self.c.send_until(net, branch, message.into_bytes(), false);
        self.ended(net, book, "left by itself");
    }

    fn ended(&mut self, net: &mut Net, book: &mut Book, reason: &str) {
        self.state = State::Ended;
        net.trace(|| format!("device {} is over: {reason}", self.c.me));
        book.device_ended(self.c.me, net.now, reason);
        self.c.close_media(net, false);
    }

    pub(crate) fn media_ended(&mut self, book: &mut Book) {
        book.device_media_lost(self.c.me);
        self.c.media_lost();
    }
}
