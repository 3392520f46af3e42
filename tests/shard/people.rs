//! Bob with his devices and Alice who invites him, or other users of the same kind: real SIP and MSRP, one step at a time.

use std::time::Duration;

use crate::{
    lab::{Lab, Line, MEDIA, TAG},
    text::{self, Frame, Sip},
};

/// A device of Bob, or of another user: `10.0.1.N`.
#[derive(Clone, Debug)]
pub(crate) struct Device {
    pub(crate) n: u8,
    pub(crate) user: String,
    pub(crate) sip: String,
    pub(crate) path: String,
    pub(crate) invite: Option<Sip>,
    pub(crate) peer_path: String,
    pub(crate) conn: Option<Line>,
}

impl Device {
    /// Registers device `n` of Bob.
    pub(crate) fn register(lab: &mut Lab, n: u8) -> Self {
        Self::register_as(lab, n, TAG)
    }

    pub(crate) fn register_as(lab: &mut Lab, n: u8, tags: &str) -> Self {
        Self::register_for(lab, "bob", n, tags)
    }

    /// Registers device `n`, which is `user`'s.
    pub(crate) fn register_for(lab: &mut Lab, user: &str, n: u8, tags: &str) -> Self {
        let device = Self::new(user, n);
        let m = device.registration(lab, tags);
        lab.datagram(&device.sip, &m);
        assert_eq!(lab.response_to(&device.sip, "REGISTER").code(), Some(200));
        device
    }

    pub(crate) fn new(user: &str, n: u8) -> Self {
        Self {
            n,
            user: user.to_owned(),
            sip: format!("10.0.1.{n}:5060"),
            path: format!("msrp://10.0.1.{n}:7000/dev{n};tcp"),
            invite: None,
            peer_path: String::new(),
            conn: None,
        }
    }

    /// Its REGISTER.
    pub(crate) fn registration(&self, lab: &mut Lab, tags: &str) -> Vec<u8> {
        let Self { n, user, sip, .. } = self;
        let branch = lab.fresh("z9hG4bKr");
        format!(
            "REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/UDP {sip};branch={branch}\r\nMax-Forwards: 70\r\n\
             From: <sip:{user}@example.com>;tag=d{n}\r\nTo: <sip:{user}@example.com>\r\nCall-ID: reg{user}{n}\r\nCSeq: 1 REGISTER\r\n\
             Contact: <sip:{user}@{sip}>;+sip.instance=\"<urn:uuid:{n}>\";{tags}\r\nExpires: 3600\r\nContent-Length: 0\r\n\r\n"
        )
        .into_bytes()
    }

    /// Takes the INVITE that went to it.
    pub(crate) fn invited(&mut self, lab: &mut Lab) -> Sip {
        let invite = lab.request_to(&self.sip, "INVITE");
        self.peer_path = text::sdp(&String::from_utf8_lossy(&invite.body), "path")
            .expect("a path")
            .to_owned();
        self.invite = Some(invite.clone());
        invite
    }

    pub(crate) fn respond(&self, lab: &mut Lab, code: u16, more: &str, body: &str) {
        let invite = self.invite.clone().expect("it was invited");
        let r = invite.answer(code, "Said", &format!("t{}", self.n), more, body);
        lab.datagram(&self.sip, &r);
    }

    pub(crate) fn sdp(&self, setup: &str, more: &str) -> String {
        let n = self.n;
        let port = if setup == "active" { 9 } else { 7000 };
        format!(
            "v=0\r\no=- 1 1 IN IP4 10.0.1.{n}\r\ns=-\r\nc=IN IP4 10.0.1.{n}\r\nt=0 0\r\nm=message {port} TCP/MSRP *\r\n\
             a=accept-types:message/cpim application/im-iscomposing+xml\r\na=accept-wrapped-types:*\r\na=setup:{setup}\r\n{more}a=path:{}\r\n",
            self.path
        )
    }

    /// Answers 200, as active endpoint; its media is up and bound.
    pub(crate) fn accept(&mut self, lab: &mut Lab) {
        let sdp = self.sdp("active", "");
        let more = format!(
            "Contact: <sip:{}@{}>\r\nContent-Type: application/sdp\r\n",
            self.user, self.sip
        );
        self.respond(lab, 200, &more, &sdp);
        let ack = lab.request_to(&self.sip, "ACK");
        assert_eq!(
            ack.get("Call-ID"),
            self.invite.as_ref().expect("invited").get("Call-ID")
        );
        let conn = lab.connect(MEDIA, &format!("10.0.1.{}:30000", self.n));
        self.conn = Some(conn);
        let (tid, id) = (lab.fresh("bind"), lab.fresh("mbind"));
        let bare = text::Send {
            tid: &tid,
            to: &self.peer_path,
            from: &self.path,
            id: &id,
            range: (1, 0, 0),
            flag: b'$',
            ..Default::default()
        }
        .write();
        lab.bytes(conn, &bare);
        let frames = lab.frames(conn);
        assert!(
            frames.iter().any(|f| f.what == "200" && f.tid == tid),
            "the bodiless SEND is answered: {frames:?}"
        );
    }

    pub(crate) fn conn(&self) -> Line {
        self.conn.expect("its media is up")
    }

    /// Sends one whole message; its transaction id.
    pub(crate) fn say(&self, lab: &mut Lab, content_type: &str, body: &[u8]) -> String {
        let (tid, id) = (lab.fresh("dtid"), lab.fresh("dmsg"));
        let send = text::Send {
            tid: &tid,
            to: &self.peer_path,
            from: &self.path,
            id: &id,
            range: (1, body.len(), body.len()),
            content_type,
            body: Some(body),
            flag: b'$',
            ..Default::default()
        };
        lab.bytes(self.conn(), &send.write());
        tid
    }

    /// Answers a SEND.
    pub(crate) fn ok(&self, lab: &mut Lab, f: &Frame, code: u16) {
        lab.bytes(self.conn(), &text::msrp_response(f, code, &self.path));
    }
}

/// Alice, who invites Bob: `10.0.2.1`; or another, who invites somebody else.
#[derive(Clone, Debug)]
pub(crate) struct Alice {
    n: u16,
    /// Whom she invites.
    pub(crate) callee: String,
    pub(crate) sip: String,
    pub(crate) path: String,
    pub(crate) peer_path: String,
    pub(crate) conn: Option<Line>,
    pub(crate) ok: Option<Sip>,
    cseq: u32,
}

impl Alice {
    pub(crate) fn new() -> Self {
        Self::calling("bob", 1)
    }

    /// Who invites `callee`, from `10.0.2.N`.
    pub(crate) fn calling(callee: &str, n: u8) -> Self {
        Self::one_of_many(callee, n.into())
    }

    /// One of more than a hundred.
    pub(crate) fn one_of_many(callee: &str, n: u16) -> Self {
        let host = format!("10.{}.2.{}", n >> 8, n & 255);
        Self {
            n,
            callee: callee.to_owned(),
            sip: format!("{host}:5060"),
            path: format!("msrp://{host}:7000/alice{n};tcp"),
            peer_path: String::new(),
            conn: None,
            ok: None,
            cseq: 1,
        }
    }

    fn host(&self) -> &str {
        self.sip.split(':').next().unwrap_or_default()
    }

    pub(crate) fn sdp(&self) -> String {
        format!(
            "v=0\r\no=- 5 5 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\nm=message 9 TCP/MSRP *\r\n\
             a=accept-types:message/cpim application/im-iscomposing+xml\r\na=accept-wrapped-types:*\r\na=setup:active\r\na=path:{}\r\n",
            self.path,
            host = self.host(),
        )
    }

    pub(crate) fn message(
        &self,
        method: &str,
        uri: &str,
        branch: &str,
        cseq: u32,
        more: &str,
        body: &str,
    ) -> Vec<u8> {
        let to = self.ok.as_ref().map_or_else(
            || format!("<sip:{}@example.com>", self.callee),
            |ok| ok.get("To").to_owned(),
        );
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch={branch}\r\nMax-Forwards: 70\r\nFrom: <sip:alice@other.example>;tag=a\r\n\
             To: {to}\r\nCall-ID: alicecall{}\r\nCSeq: {cseq} {method}\r\n{more}Content-Length: {}\r\n\r\n{body}",
            self.sip,
            self.n,
            body.len()
        )
        .into_bytes()
    }

    pub(crate) fn invite(&self, lab: &mut Lab) {
        self.invite_with(lab, "");
    }

    pub(crate) fn invite_with(&self, lab: &mut Lab, more: &str) {
        let more = format!(
            "Contact: <sip:alice@{}>;{TAG}\r\nAccept-Contact: *;{TAG};require;explicit\r\nSupported: timer\r\nContent-Type: application/sdp\r\n{more}",
            self.sip
        );
        let m = self.message(
            "INVITE",
            &format!("sip:{}@example.com", self.callee),
            "z9hG4bKalice",
            1,
            &more,
            &self.sdp(),
        );
        lab.datagram(&self.sip, &m);
    }

    /// Takes the 200, acknowledges it, brings the media up.
    pub(crate) fn up(&mut self, lab: &mut Lab) {
        let ok = loop {
            let r = lab.response_to(&self.sip, "INVITE");
            if r.code() == Some(200) {
                break r;
            }
        };
        self.peer_path = text::sdp(&String::from_utf8_lossy(&ok.body), "path")
            .expect("a path")
            .to_owned();
        self.ok = Some(ok.clone());
        let ack = self.message("ACK", &ok.uri("Contact"), "z9hG4bKack", 1, "", "");
        lab.datagram(&self.sip, &ack);
        let conn = lab.connect(MEDIA, &format!("{}:30000", self.host()));
        self.conn = Some(conn);
        let (tid, id) = (lab.fresh("bind"), lab.fresh("abind"));
        let bare = text::Send {
            tid: &tid,
            to: &self.peer_path,
            from: &self.path,
            id: &id,
            range: (1, 0, 0),
            flag: b'$',
            ..Default::default()
        }
        .write();
        lab.bytes(conn, &bare);
        assert!(
            lab.frames(conn).iter().any(|f| f.what == "200"),
            "the bodiless SEND is answered"
        );
    }

    pub(crate) fn conn(&self) -> Line {
        self.conn.expect("her media is up")
    }

    /// The bytes of one whole message.
    pub(crate) fn send(&self, tid: &str, id: &str, body: &[u8], reports: &str) -> Vec<u8> {
        text::Send {
            tid,
            to: &self.peer_path,
            from: &self.path,
            id,
            range: (1, body.len(), body.len()),
            reports,
            content_type: "message/cpim",
            body: Some(body),
            flag: b'$',
        }
        .write()
    }

    /// Sends one whole message; its transaction id.
    pub(crate) fn say(&self, lab: &mut Lab, id: &str, body: &[u8]) -> String {
        let tid = lab.fresh("atid");
        let bytes = self.send(&tid, id, body, "");
        lab.bytes(self.conn(), &bytes);
        tid
    }

    pub(crate) fn bye(&mut self, lab: &mut Lab) {
        self.cseq += 1;
        let uri = self.ok.as_ref().expect("a dialog").uri("Contact");
        let m = self.message(
            "BYE",
            &uri,
            &format!("z9hG4bKbye{}", self.cseq),
            self.cseq,
            "",
            "",
        );
        lab.datagram(&self.sip, &m);
    }
}

/// Text in CPIM.
pub(crate) fn cpim(text: &str) -> Vec<u8> {
    format!("From: <sip:anonymous@anonymous.invalid>\r\nTo: <sip:anonymous@anonymous.invalid>\r\n\r\nContent-Type: text/plain\r\n\r\n{text}").into_bytes()
}

pub(crate) const COMPOSING: &str = "<?xml version=\"1.0\"?><isComposing xmlns=\"urn:ietf:params:xml:ns:im-iscomposing\"><state>active</state></isComposing>";

/// An established session of Alice with `n` devices of Bob.
pub(crate) fn session(lab: &mut Lab, n: u8) -> (Alice, Vec<Device>) {
    let devices = (1..=n).map(|k| Device::register(lab, k)).collect();
    established(lab, Alice::new(), devices)
}

/// An established session of somebody else with one device of `user`; `n` tells her and the device from others.
pub(crate) fn session_of(lab: &mut Lab, user: &str, n: u8) -> (Alice, Vec<Device>) {
    let device = Device::register_for(lab, user, n, TAG);
    established(lab, Alice::calling(user, n), vec![device])
}

pub(crate) fn established(
    lab: &mut Lab,
    mut alice: Alice,
    mut devices: Vec<Device>,
) -> (Alice, Vec<Device>) {
    alice.invite(lab);
    for d in &mut devices {
        d.invited(lab);
    }
    for (k, d) in devices.iter_mut().enumerate() {
        d.accept(lab);
        if k == 0 {
            alice.up(lab);
        }
    }
    (alice, devices)
}

/// Everybody answers what is asked, and all ends.
pub(crate) fn hang_up(lab: &mut Lab, alice: &mut Alice, devices: &[Device]) {
    alice.bye(lab);
    for _ in 0..40 {
        for d in devices {
            while let Some(m) = lab.to(&d.sip) {
                if m.code().is_none() && m.method() != "ACK" {
                    let r = m.answer(200, "OK", "", "", "");
                    lab.datagram(&d.sip, &r);
                }
            }
        }
        lab.pass(Duration::from_secs(2));
    }
}
