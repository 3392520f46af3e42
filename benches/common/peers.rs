//! Alice, and Bob's devices, over a whole shard: the least that real ones say. What they do is never measured.

use std::net::SocketAddr;

use ringfork::ids::ConnId;

use super::{
    case::Meter,
    driver::{Driver, addr},
    text::{self, Sip},
};

const TAG: &str = "+g.3gpp.icsi-ref=\"urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session\"";

/// A side of a session: Alice is 0, Bob's devices are 1 and up.
#[derive(Clone)]
pub(crate) struct Peer {
    n: u8,
    sip: SocketAddr,
    /// Its MSRP URI, and the one that it was given for us.
    pub(crate) own: String,
    pub(crate) theirs: String,
    pub(crate) conn: Option<ConnId>,
}

impl Peer {
    pub(crate) fn new(n: u8) -> Self {
        Self {
            n,
            sip: addr(&format!("10.0.1.{n}:5060")),
            own: format!("msrp://10.0.1.{n}:7000/peer{n};tcp"),
            theirs: String::new(),
            conn: None,
        }
    }

    /// A request, complete. `more`: further headers, with a Content-Type where there is a body.
    fn request(
        &self,
        line: &str,
        to: &str,
        call: &str,
        cseq: u64,
        more: &str,
        body: &str,
    ) -> Vec<u8> {
        let Self { n, sip, .. } = self;
        let method = line.split(' ').next().unwrap_or_default();
        let user = if *n == 0 { "alice" } else { "bob" };
        format!(
            "{line} SIP/2.0\r\nVia: SIP/2.0/UDP {sip};branch=z9hG4bK{method}{n}{call}{cseq};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:{user}@example.com>;tag=t{n}{call}\r\nTo: {to}\r\nCall-ID: {call}\r\nCSeq: {cseq} {method}\r\n\
             Contact: <sip:{user}@{sip}>;+sip.instance=\"<urn:uuid:{n}>\";{TAG}\r\n{more}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    }

    fn sdp(&self) -> String {
        let (ip, own) = (self.sip.ip(), &self.own);
        format!(
            "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=message 9 TCP/MSRP *\r\n\
             a=accept-types:message/cpim application/im-iscomposing+xml\r\na=accept-wrapped-types:*\r\na=setup:active\r\na=path:{own}\r\n"
        )
    }

    /// Registers, or does so again; whether that was taken.
    pub(crate) fn register(&self, driver: &mut Driver, meter: &mut Meter, cseq: u64) -> bool {
        let (to, call) = ("<sip:bob@example.com>", format!("reg{}", self.n));
        let more = "Expires: 3600\r\n";
        let m = self.request("REGISTER sip:example.com", to, &call, cseq, more, "");
        driver.datagram(meter, self.sip, &m);
        driver.to(self.sip).is_some_and(|m| m.code() == Some(200))
    }

    /// Answers a request.
    fn respond(&self, driver: &mut Driver, meter: &mut Meter, to: &Sip, code: u16, body: &str) {
        let mut more = format!("Contact: <sip:bob@{}>\r\n", self.sip);
        if !body.is_empty() {
            more.push_str("Content-Type: application/sdp\r\n");
        }
        let tag = format!("d{}", self.n);
        let m = to.answer(code, "Said", &tag, &more, body);
        driver.datagram(meter, self.sip, &m);
    }

    /// Takes the path that an SDP of ours names.
    fn learn(&mut self, m: &Sip) {
        let path = text::sdp(std::str::from_utf8(&m.body).expect("text"), "path");
        path.expect("a path").clone_into(&mut self.theirs);
    }

    /// Connects its leg, and is answered.
    fn connect(&mut self, driver: &mut Driver, meter: &mut Meter) {
        let Self { n, own, theirs, .. } = self;
        let bare = format!(
            "MSRP bind{n} SEND\r\nTo-Path: {theirs}\r\nFrom-Path: {own}\r\nMessage-ID: bare{n}\r\n-------bind{n}$\r\n"
        );
        let conn = driver.connect(meter, self.sip, bare.as_bytes());
        let conn = conn.expect("there is room");
        assert!(driver.got(conn).windows(7).any(|w| w == b" 200 OK"));
        self.conn = Some(conn);
    }
}

/// A session that is up: Alice's dialog.
pub(crate) struct Call {
    id: String,
    ok: Sip,
}

/// Alice invites Bob; all his devices ring and answer, the first at once. With `media`, everybody connects.
pub(crate) fn set_up(
    driver: &mut Driver,
    meter: &mut Meter,
    (alice, devices): (&mut Peer, &mut [Peer]),
    id: &str,
    media: bool,
) -> Call {
    let more = format!(
        "Accept-Contact: *;{TAG};require;explicit\r\nSupported: timer\r\nContent-Type: application/sdp\r\n"
    );
    let (line, to) = ("INVITE sip:bob@example.com", "<sip:bob@example.com>");
    let m = alice.request(line, to, id, 1, &more, &alice.sdp());
    driver.datagram(meter, alice.sip, &m);
    let mut call = None;
    let invites: Vec<Sip> = devices
        .iter()
        .map(|d| driver.to(d.sip).expect("it is invited"))
        .collect();
    for (d, invite) in devices.iter().zip(&invites) {
        d.respond(driver, meter, invite, 180, "");
    }
    for (d, invite) in devices.iter_mut().zip(&invites) {
        d.learn(invite);
        d.respond(driver, meter, invite, 200, &d.sdp());
        assert_eq!(driver.to(d.sip).map(|m| m.method() == "ACK"), Some(true));
        if call.is_none() {
            let ok = std::iter::from_fn(|| driver.to(alice.sip)).find(|m| m.code() == Some(200));
            let ok = ok.expect("the first 200 is passed on");
            alice.learn(&ok);
            let line = format!("ACK {}", ok.uri("Contact"));
            let ack = alice.request(&line, ok.get("To"), id, 1, "", "");
            driver.datagram(meter, alice.sip, &ack);
            if media {
                alice.connect(driver, meter);
            }
            call = Some(Call {
                id: id.to_owned(),
                ok,
            });
        }
        if media {
            d.connect(driver, meter);
        }
    }
    call.expect("somebody answered")
}

/// Alice hangs up; whether everybody heard it and answered.
pub(crate) fn hang_up(
    driver: &mut Driver,
    meter: &mut Meter,
    (alice, devices): (&Peer, &[Peer]),
    call: &Call,
) -> bool {
    driver.clear();
    let line = format!("BYE {}", call.ok.uri("Contact"));
    let bye = alice.request(&line, call.ok.get("To"), &call.id, 2, "", "");
    driver.datagram(meter, alice.sip, &bye);
    let mut heard = true;
    for d in devices {
        let bye = driver.to(d.sip).filter(|m| m.method() == "BYE");
        heard &= bye.is_some();
        if let Some(bye) = bye {
            d.respond(driver, meter, &bye, 200, "");
        }
    }
    // Hers comes when theirs have.
    heard && driver.to(alice.sip).is_some_and(|m| m.code() == Some(200))
}
