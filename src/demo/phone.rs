//! A phone of the demonstration: SIP over a datagram socket, MSRP over one stream, both blocking with a time limit.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::mpsc,
    thread,
    time::Duration,
};

use crate::wire::{
    msrp::{self, ByteRange, Kind, Parse},
    sip::{Message, Method, Name, Start, Writer},
};

/// How long a step may take before it counts as not seen.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);

/// How long nothing must come before it counts as nothing.
pub(super) const SILENCE: Duration = Duration::from_millis(250);

/// The CPM session tag, as a feature tag carries it [PREF-02].
const CPM_TAG: &str = "+g.3gpp.icsi-ref=\"urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session\"";

/// What did not go as the script says.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// Nothing came in time.
    #[error("{who}: {what} did not come within {} s", PATIENCE.as_secs())]
    Missing {
        /// Who waited.
        who: String,
        /// For what.
        what: String,
    },
    /// Something else came.
    #[error("{who}: expected {what}, got {got}")]
    Other {
        /// Who.
        who: String,
        /// What was expected.
        what: String,
        /// What came.
        got: String,
    },
    /// A socket failed.
    #[error("{who}: {error}")]
    Socket {
        /// Whose.
        who: String,
        /// How.
        error: io::Error,
    },
}

/// Waits anew where the waiting was interrupted: the kernel's end of a ring that this thread has tried at the start breaks
/// off what the thread waits for, and a wait with a time limit is not taken up again by itself.
fn patiently(mut wait: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match wait() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// One MSRP message that came.
#[derive(Clone, Debug)]
pub(super) struct Received {
    pub(super) content_type: String,
    pub(super) body: Vec<u8>,
}

/// A phone.
pub(super) struct Phone {
    pub(super) name: String,
    user: String,
    server: SocketAddr,
    sip: UdpSocket,
    addr: SocketAddr,
    listener: TcpListener,
    media: Option<TcpStream>,
    buffer: Vec<u8>,
    own_path: String,
    peer_path: String,
    /// The dialog: the request or response that made it, and what we add.
    invite: Option<Vec<u8>>,
    answer: Option<Vec<u8>>,
    cseq: u32,
    serial: u32,
    /// Transaction id of the SEND that waits for its 200.
    posted: String,
}

impl Phone {
    pub(super) fn new(name: &str, user: &str, server: SocketAddr) -> Result<Self, Fault> {
        let fail = |error| Fault::Socket {
            who: name.to_owned(),
            error,
        };
        let sip = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(fail)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(fail)?;
        let addr = sip.local_addr().map_err(fail)?;
        let port = listener.local_addr().map_err(fail)?.port();
        Ok(Self {
            name: name.to_owned(),
            user: user.to_owned(),
            server,
            sip,
            addr,
            listener,
            media: None,
            buffer: Vec::new(),
            own_path: format!("msrp://127.0.0.1:{port}/demo{port};tcp"),
            peer_path: String::new(),
            invite: None,
            answer: None,
            cseq: 0,
            serial: 0,
            posted: String::new(),
        })
    }

    fn fault(&self, what: &str) -> Fault {
        Fault::Missing {
            who: self.name.clone(),
            what: what.to_owned(),
        }
    }

    fn socket(&self, error: io::Error) -> Fault {
        Fault::Socket {
            who: self.name.clone(),
            error,
        }
    }

    fn fresh(&mut self, what: &str) -> String {
        self.serial += 1;
        format!("{what}{}x{}", self.addr.port(), self.serial)
    }

    fn contact(&self) -> String {
        format!("<sip:{}@{}>", self.user, self.addr)
    }

    /// REGISTER as one device of the user, and its 200.
    pub(super) fn register(&mut self, expires: u32) -> Result<(), Fault> {
        self.cseq += 1;
        let (branch, tag) = (self.fresh("z9hG4bK"), self.fresh("r"));
        let contact = format!(
            "{};+sip.instance=\"<urn:uuid:{}>\";{CPM_TAG}",
            self.contact(),
            self.addr.port()
        );
        let mut out = Vec::new();
        let aor = format!("<sip:{}@example.com>", self.user);
        Writer::request(&mut out, Method::Register, b"sip:example.com")
            .header_fmt(
                Name::Via,
                format_args!("SIP/2.0/UDP {};branch={branch};rport", self.addr),
            )
            .header(Name::MaxForwards, b"70")
            .header_fmt(Name::From, format_args!("{aor};tag={tag}"))
            .header(Name::To, aor.as_bytes())
            .header_fmt(Name::CallId, format_args!("reg{}", self.addr.port()))
            .header_fmt(Name::CSeq, format_args!("{} REGISTER", self.cseq))
            .header(Name::Contact, contact.as_bytes())
            .header_fmt(Name::Expires, format_args!("{expires}"))
            .end()
            .map_err(|_| self.fault("a REGISTER that can be written"))?;
        self.send(&out)?;
        self.expect_code(Method::Register, 200).map(|_| ())
    }

    fn send(&self, bytes: &[u8]) -> Result<(), Fault> {
        self.sip
            .send_to(bytes, self.server)
            .map(|_| ())
            .map_err(|e| self.socket(e))
    }

    /// The next SIP message within `wait`, `None` if none comes.
    pub(super) fn next_sip(&self, wait: Duration) -> Result<Option<Vec<u8>>, Fault> {
        self.sip
            .set_read_timeout(Some(wait))
            .map_err(|e| self.socket(e))?;
        let mut buffer = vec![0; 65_536];
        match patiently(|| self.sip.recv(&mut buffer)) {
            Ok(n) => {
                buffer.truncate(n);
                Ok(Some(buffer))
            }
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                ) =>
            {
                Ok(None)
            }
            Err(e) => Err(self.socket(e)),
        }
    }

    /// Waits for a final answer to `method`; provisional ones pass.
    pub(super) fn expect_code(&self, method: Method<'_>, code: u16) -> Result<Vec<u8>, Fault> {
        loop {
            let what = format!("a {code} to {}", String::from_utf8_lossy(method.as_bytes()));
            let Some(bytes) = self.next_sip(PATIENCE)? else {
                return Err(self.fault(&what));
            };
            let Ok(m) = Message::parse(&bytes) else {
                continue;
            };
            let Start::Response { code: got, .. } = m.start() else {
                continue;
            };
            if m.cseq().is_ok_and(|c| c.method == method) && got >= 200 {
                if got == code {
                    return Ok(bytes);
                }
                return Err(Fault::Other {
                    who: self.name.clone(),
                    what,
                    got: got.to_string(),
                });
            }
        }
    }

    /// Waits for a request; repeats and ACKs of what went before pass.
    pub(super) fn expect_request(&self, method: Method<'_>) -> Result<Vec<u8>, Fault> {
        loop {
            let what = String::from_utf8_lossy(method.as_bytes()).into_owned();
            let Some(bytes) = self.next_sip(PATIENCE)? else {
                return Err(self.fault(&what));
            };
            if Message::parse(&bytes).is_ok_and(|m| m.method() == Some(method)) {
                return Ok(bytes);
            }
        }
    }

    /// Answers a request; 200 to an INVITE carries our SDP.
    pub(super) fn answer(
        &mut self,
        request: &[u8],
        code: u16,
        body: Option<&str>,
    ) -> Result<(), Fault> {
        let unreadable = self.fault("a request that can be answered");
        let Ok(m) = Message::parse(request) else {
            return Err(unreadable);
        };
        let mut out = Vec::new();
        let mut w = Writer::status(&mut out, code, b"");
        for via in m.headers(Name::Via) {
            w = w.header(Name::Via, via);
        }
        for route in m.headers(Name::RecordRoute) {
            w = w.header(Name::RecordRoute, route);
        }
        let to = m.header(Name::To).unwrap_or_default();
        let tagged = m.to().is_ok_and(|t| t.tag().is_some());
        let tag = if tagged || code == 100 {
            String::new()
        } else {
            format!(";tag={}", self.addr.port())
        };
        w = w
            .header(Name::From, m.header(Name::From).unwrap_or_default())
            .header_fmt(
                Name::To,
                format_args!("{}{tag}", String::from_utf8_lossy(to)),
            )
            .header(Name::CallId, m.header(Name::CallId).unwrap_or_default())
            .header(Name::CSeq, m.header(Name::CSeq).unwrap_or_default())
            .header(Name::Contact, self.contact().as_bytes());
        match body {
            Some(sdp) => w.body(b"application/sdp", sdp.as_bytes()),
            None => w.end(),
        }
        .map_err(|_| unreadable)?;
        self.send(&out)
    }

    /// Our SDP.
    fn sdp(&self, setup: &str) -> String {
        let port = if setup == "active" {
            9
        } else {
            self.listener.local_addr().map_or(0, |a| a.port())
        };
        format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=message {port} TCP/MSRP *\r\n\
             a=accept-types:message/cpim application/im-iscomposing+xml\r\na=accept-wrapped-types:*\r\na=setup:{setup}\r\n\
             a=path:{}\r\n",
            self.own_path
        )
    }

    /// Accepts an INVITE: ringing, then 200; MSRP comes up as `setup` says.
    pub(super) fn accept(&mut self, invite: &[u8], setup: &str) -> Result<(), Fault> {
        self.answer(invite, 180, None)?;
        let sdp = self.sdp(setup);
        self.answer(invite, 200, Some(&sdp))?;
        self.expect_request(Method::Ack)?;
        self.invite = Some(invite.to_vec());
        let offer = Message::parse(invite)
            .map(|m| m.body().to_vec())
            .unwrap_or_default();
        self.media_up(&offer, setup == "active")
    }

    /// Sends an INVITE to `user`.
    pub(super) fn send_invite(&mut self, user: &str) -> Result<(), Fault> {
        self.cseq += 1;
        let (branch, call) = (self.fresh("z9hG4bK"), self.fresh("call"));
        let mut out = Vec::new();
        let sdp = self.sdp("actpass");
        Writer::request(
            &mut out,
            Method::Invite,
            format!("sip:{user}@example.com").as_bytes(),
        )
        .header_fmt(
            Name::Via,
            format_args!("SIP/2.0/UDP {};branch={branch};rport", self.addr),
        )
        .header(Name::MaxForwards, b"70")
        .header_fmt(
            Name::From,
            format_args!("<sip:{}@example.net>;tag={}", self.user, self.addr.port()),
        )
        .header_fmt(Name::To, format_args!("<sip:{user}@example.com>"))
        .header(Name::CallId, call.as_bytes())
        .header_fmt(Name::CSeq, format_args!("{} INVITE", self.cseq))
        .header_fmt(Name::Contact, format_args!("{};{CPM_TAG}", self.contact()))
        .header_fmt(
            Name::AcceptContact,
            format_args!("*;{CPM_TAG};require;explicit"),
        )
        .header(Name::Supported, b"timer")
        .body(b"application/sdp", sdp.as_bytes())
        .map_err(|_| self.fault("an INVITE that can be written"))?;
        self.send(&out)?;
        self.invite = Some(out);
        Ok(())
    }

    /// The 200 to our INVITE, our ACK, and MSRP up.
    pub(super) fn invited(&mut self) -> Result<(), Fault> {
        let ok = self.expect_code(Method::Invite, 200)?;
        self.answer = Some(ok.clone());
        let ack = self.in_dialog(Method::Ack, self.cseq)?;
        self.send(&ack)?;
        let body = Message::parse(&ok)
            .map(|m| m.body().to_vec())
            .unwrap_or_default();
        // We offered actpass: the answer says who connects (RFC 6135 §4.2.2).
        let passive = sdp_text(&body, "a=setup:") == "passive";
        self.media_up(&body, passive)
    }

    /// A request of ours inside the dialog of our INVITE.
    fn in_dialog(&mut self, method: Method<'_>, cseq: u32) -> Result<Vec<u8>, Fault> {
        let lost = self.fault("a dialog");
        let branch = self.fresh("z9hG4bK");
        let (Some(invite), Some(answer)) = (&self.invite, &self.answer) else {
            return Err(lost);
        };
        let (Ok(invite), Ok(answer)) = (Message::parse(invite), Message::parse(answer)) else {
            return Err(lost);
        };
        let target = match answer.contacts().next() {
            Some(Ok(c)) => c.address().map(|a| a.uri.to_vec()),
            Some(Err(_)) | None => None,
        };
        let Some(target) = target else {
            return Err(lost);
        };
        let mut out = Vec::new();
        Writer::request(&mut out, method, &target)
            .header_fmt(
                Name::Via,
                format_args!("SIP/2.0/UDP {};branch={branch};rport", self.addr),
            )
            .header(Name::MaxForwards, b"70")
            .header(Name::From, invite.header(Name::From).unwrap_or_default())
            .header(Name::To, answer.header(Name::To).unwrap_or_default())
            .header(
                Name::CallId,
                invite.header(Name::CallId).unwrap_or_default(),
            )
            .header_fmt(
                Name::CSeq,
                format_args!("{cseq} {}", String::from_utf8_lossy(method.as_bytes())),
            )
            .end()
            .map_err(|_| lost)?;
        Ok(out)
    }

    /// BYE in the dialog of our INVITE.
    pub(super) fn send_bye(&mut self) -> Result<(), Fault> {
        self.cseq += 1;
        let bye = self.in_dialog(Method::Bye, self.cseq)?;
        self.media = None;
        self.send(&bye)
    }

    /// The 200 to our BYE.
    pub(super) fn bye_answered(&self) -> Result<(), Fault> {
        self.expect_code(Method::Bye, 200).map(|_| ())
    }

    fn media_up(&mut self, peer_sdp: &[u8], connect: bool) -> Result<(), Fault> {
        self.peer_path = sdp_text(peer_sdp, "a=path:");
        let stream = if connect {
            let port = sdp_text(peer_sdp, "m=message ")
                .split(' ')
                .next()
                .unwrap_or_default()
                .to_owned();
            let host = sdp_text(peer_sdp, "c=IN IP4 ");
            TcpStream::connect(format!("{host}:{port}")).map_err(|e| self.socket(e))?
        } else {
            self.incoming()?
        };
        stream.set_nodelay(true).map_err(|e| self.socket(e))?;
        self.media = Some(stream);
        if connect {
            // The active side speaks first, be it without a body (RFC 6135 §4.2.2).
            let (tid, id) = (self.fresh("bind"), self.fresh("b"));
            let mut out = Vec::new();
            let head = send_head(&id, None);
            msrp::write::bare_send(
                &mut out,
                tid.as_bytes(),
                self.peer_path.as_bytes(),
                self.own_path.as_bytes(),
                &head,
            );
            self.write(&out)?;
            self.expect_ok(&tid)?;
        }
        Ok(())
    }

    /// The connection that the server makes to us: accepted on a thread of its own, since `accept` knows no time limit.
    fn incoming(&self) -> Result<TcpStream, Fault> {
        let listener = self.listener.try_clone().map_err(|e| self.socket(e))?;
        let (tx, rx) = mpsc::channel();
        thread::spawn(move || {
            let _ = tx.send(listener.accept());
        });
        match rx.recv_timeout(PATIENCE) {
            Ok(accepted) => accepted
                .map(|(stream, _)| stream)
                .map_err(|e| self.socket(e)),
            Err(_) => Err(self.fault("an MSRP connection")),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let lost = self.fault("an MSRP connection");
        let Some(media) = &mut self.media else {
            return Err(lost);
        };
        media.write_all(bytes).map_err(|error| Fault::Socket {
            who: self.name.clone(),
            error,
        })
    }

    /// Sends one message and waits for its 200.
    pub(super) fn say(&mut self, content_type: &str, body: &[u8]) -> Result<(), Fault> {
        self.post(content_type, body)?;
        self.acknowledged()
    }

    /// Waits for the 200 to the message that was sent last.
    pub(super) fn acknowledged(&mut self) -> Result<(), Fault> {
        let tid = std::mem::take(&mut self.posted);
        self.expect_ok(&tid)
    }

    /// Sends one message.
    pub(super) fn post(&mut self, content_type: &str, body: &[u8]) -> Result<(), Fault> {
        let (tid, id) = (self.fresh("tid"), self.fresh("m"));
        let len = body.len() as u64;
        let mut out = Vec::new();
        let head = send_head(
            &id,
            Some(ByteRange {
                start: 1,
                end: Some(len),
                total: Some(len),
            }),
        );
        let (to, from) = (self.peer_path.as_bytes(), self.own_path.as_bytes());
        msrp::write::send(
            &mut out,
            tid.as_bytes(),
            to,
            from,
            &head,
            content_type.as_bytes(),
        );
        out.extend_from_slice(body);
        msrp::write::end_line(&mut out, tid.as_bytes(), b'$');
        self.write(&out)?;
        self.posted = tid;
        Ok(())
    }

    /// One read of the stream into the buffer; `false`: nothing came within `wait`.
    fn read(&mut self, wait: Duration) -> Result<bool, Fault> {
        let lost = self.fault("an MSRP connection");
        let Some(media) = &mut self.media else {
            return Err(lost);
        };
        let mut chunk = [0; 16_384];
        let read = media
            .set_read_timeout(Some(wait))
            .and_then(|()| patiently(|| media.read(&mut chunk)));
        match read {
            Ok(0) => {
                self.media = None;
                Ok(false)
            }
            Ok(n) => {
                self.buffer.extend_from_slice(&chunk[..n]);
                Ok(true)
            }
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                ) =>
            {
                Ok(false)
            }
            Err(error) => Err(Fault::Socket {
                who: self.name.clone(),
                error,
            }),
        }
    }

    /// Waits for the 200 to a SEND of ours.
    fn expect_ok(&mut self, tid: &str) -> Result<(), Fault> {
        let what = format!("the 200 to its SEND {tid}");
        loop {
            while let Some(frame) = self.frame()? {
                if let Frame::Response { tid: got, code } = frame
                    && got == tid.as_bytes()
                {
                    if code == 200 {
                        return Ok(());
                    }
                    return Err(Fault::Other {
                        who: self.name.clone(),
                        what,
                        got: code.to_string(),
                    });
                }
            }
            if !self.read(PATIENCE)? {
                return Err(self.fault(&what));
            }
        }
    }

    /// The next message with a body within `wait`; it is answered 200.
    pub(super) fn hear(&mut self, wait: Duration) -> Result<Option<Received>, Fault> {
        loop {
            while let Some(frame) = self.frame()? {
                if let Frame::Message(m) = frame {
                    return Ok(Some(m));
                }
            }
            if self.media.is_none() || !self.read(wait)? {
                return Ok(None);
            }
        }
    }

    /// Takes one whole frame off the buffer; a SEND is answered.
    fn frame(&mut self) -> Result<Option<Frame>, Fault> {
        let buffer = std::mem::take(&mut self.buffer);
        let broken = |e| Fault::Other {
            who: self.name.clone(),
            what: "MSRP".to_owned(),
            got: format!("{e:?}"),
        };
        let head = match msrp::parse(&buffer, 0).map_err(broken)? {
            Parse::Partial { .. } => {
                self.buffer = buffer;
                return Ok(None);
            }
            Parse::Complete { head, len } => (head, len),
        };
        let (head, len) = head;
        let tid = head.tid.to_vec();
        let mut scan = msrp::EndScan::new();
        let (body, after) = if head.end_flag.is_some() {
            (None, len)
        } else {
            match scan.scan(&buffer[len..], &tid) {
                msrp::Scan::Found {
                    body_end, after, ..
                } => (Some(buffer[len..len + body_end].to_vec()), len + after),
                msrp::Scan::None { .. } => {
                    self.buffer = buffer;
                    return Ok(None);
                }
            }
        };
        let frame = match head.kind {
            Kind::Response { code, .. } => Frame::Response { tid, code },
            Kind::Request { .. } if head.is_send() => {
                let mut ok = Vec::new();
                msrp::write::response(
                    &mut ok,
                    &tid,
                    200,
                    head.previous_hop(),
                    self.own_path.as_bytes(),
                );
                let content_type =
                    String::from_utf8_lossy(head.content_type.unwrap_or_default()).into_owned();
                let frame = match body {
                    Some(body) => Frame::Message(Received { content_type, body }),
                    None => Frame::Bare,
                };
                let rest = buffer[after..].to_vec();
                self.write(&ok)?;
                self.buffer = rest;
                return Ok(Some(frame));
            }
            Kind::Request { .. } => Frame::Bare,
        };
        self.buffer = buffer[after..].to_vec();
        Ok(Some(frame))
    }

    /// A BYE that ends our leg: answered, the media closed; the Reason that it gave.
    pub(super) fn torn_down(&mut self) -> Result<String, Fault> {
        let bye = self.expect_request(Method::Bye)?;
        let reason = Message::parse(&bye).ok().and_then(|m| {
            m.header(Name::Reason)
                .map(|r| String::from_utf8_lossy(r).into_owned())
        });
        self.answer(&bye, 200, None)?;
        self.media = None;
        Ok(reason.unwrap_or_default())
    }
}

enum Frame {
    Response { tid: Vec<u8>, code: u16 },
    Message(Received),
    Bare,
}

/// The headers of a SEND of ours: every report as the RFC has it by default.
fn send_head(id: &str, byte_range: Option<ByteRange>) -> msrp::write::Send<'_> {
    msrp::write::Send {
        message_id: id.as_bytes(),
        byte_range,
        success_report: false,
        failure_report: msrp::FailureReport::Yes,
    }
}

/// What follows `prefix` on its line of an SDP.
fn sdp_text(body: &[u8], prefix: &str) -> String {
    String::from_utf8_lossy(body)
        .lines()
        .find_map(|l| l.strip_prefix(prefix).map(|v| v.trim_end().to_owned()))
        .unwrap_or_default()
}

/// Text in a CPIM message (RFC 3862).
pub(super) fn cpim(from: &str, to: &str, text: &str) -> Vec<u8> {
    format!("From: <sip:{from}>\r\nTo: <sip:{to}>\r\n\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{text}").into_bytes()
}

/// What a person reads of a CPIM message.
pub(super) fn text(body: &[u8]) -> String {
    String::from_utf8_lossy(body)
        .rsplit("\r\n\r\n")
        .next()
        .unwrap_or_default()
        .to_owned()
}
