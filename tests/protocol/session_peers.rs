//! The peers of the session room as they write and read: an originator, devices, their messages and descriptions.

use std::fmt::Write as _;

use crate::world::{ALICE, TAG, World, addr};

/// A message as a peer reads it.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) start: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Message {
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let text = std::str::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").expect("a blank line");
        let mut lines = head.split("\r\n");
        let start = lines.next().unwrap().to_owned();
        let headers: Vec<(String, String)> = lines
            .map(|l| l.split_once(": ").expect("name and value"))
            .map(|(n, v)| (n.to_owned(), v.to_owned()))
            .collect();
        let message = Self {
            start,
            headers,
            body: body.to_owned(),
        };
        assert_eq!(
            message.header("Content-Length"),
            Some(body.len().to_string().as_str()),
            "{text}"
        );
        message
    }

    /// As it was on the wire.
    pub(crate) fn text(&self) -> String {
        let headers: String = self
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        format!("{}\r\n{headers}\r\n{}", self.start, self.body)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
    }

    pub(crate) fn get(&self, name: &str) -> &str {
        self.header(name)
            .unwrap_or_else(|| panic!("no {name} in {self:#?}"))
    }

    pub(crate) fn all<'m>(&'m self, name: &'m str) -> impl Iterator<Item = &'m str> {
        self.headers
            .iter()
            .filter(move |(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
    }

    /// The Request-URI.
    pub(crate) fn uri(&self) -> &str {
        self.start.split(' ').nth(1).unwrap()
    }

    pub(crate) fn tag(&self, name: &str) -> &str {
        self.get(name)
            .split_once(";tag=")
            .unwrap_or_else(|| panic!("no tag in {name}: {self:#?}"))
            .1
            .split(';')
            .next()
            .unwrap()
    }

    /// The URI of Contact.
    pub(crate) fn contact(&self) -> &str {
        let value = self.get("Contact");
        let from = value.find('<').unwrap() + 1;
        &value[from..from + value[from..].find('>').unwrap()]
    }

    pub(crate) fn cseq(&self) -> u32 {
        self.get("CSeq").split(' ').next().unwrap().parse().unwrap()
    }

    /// The values of an SDP line or attribute: `m`, `c`, `a=path`.
    pub(crate) fn sdp<'m>(&'m self, name: &'m str) -> Vec<&'m str> {
        let line = |l: &'m str| {
            let rest = l.strip_prefix(name)?;
            match rest.strip_prefix(['=', ':']) {
                Some(value) => Some(value),
                None if rest.is_empty() => Some(""),
                None => None,
            }
        };
        self.body.split("\r\n").filter_map(line).collect()
    }

    /// A response of a peer to this request, with a tag of its own.
    pub(crate) fn respond(&self, code: u16, tag: &str, more: &str, sdp: &str) -> String {
        let mut out = format!("SIP/2.0 {code} Whatever\r\n");
        for name in ["Via", "Record-Route", "From", "To", "Call-ID", "CSeq"] {
            for value in self.all(name) {
                let tagged = name == "To" && !value.contains(";tag=") && !tag.is_empty();
                let tag = if tagged {
                    format!(";tag={tag}")
                } else {
                    String::new()
                };
                let _ = write!(out, "{name}: {value}{tag}\r\n");
            }
        }
        out.push_str(more);
        end(&mut out, sdp);
        out
    }
}

/// Ends a message with its body.
fn end(out: &mut String, sdp: &str) {
    if !sdp.is_empty() {
        out.push_str("Content-Type: application/sdp\r\n");
    }
    let _ = write!(out, "Content-Length: {}\r\n\r\n{sdp}", sdp.len());
}

/// A description with one MSRP line.
pub(crate) fn sdp(name: &str, port: u16, more: &str) -> String {
    sdp_version(name, 1, port, more)
}

pub(crate) fn sdp_version(name: &str, version: u32, port: u16, more: &str) -> String {
    format!(
        "v=0\r\no={name} 1 {version} IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
         m=message {port} TCP/MSRP *\r\na=accept-types:message/cpim application/im-iscomposing+xml\r\n\
         a=path:msrp://127.0.0.1:{port}/{name};tcp\r\n{more}"
    )
}

/// The originator.
pub(crate) struct Alice {
    pub(crate) call_id: &'static str,
    pub(crate) cseq: u32,
    pub(crate) to: String,
    pub(crate) sdp: String,
    pub(crate) more: String,
    pub(crate) contact: String,
    pub(crate) uri: String,
    pub(crate) from: String,
}

impl Alice {
    pub(crate) fn new() -> Self {
        Self {
            call_id: "call-1",
            cseq: 10,
            to: "<sip:bob@example.com>".into(),
            sdp: sdp("alice", 6002, "a=setup:actpass\r\n"),
            more: String::new(),
            contact: format!("<sip:alice@{ALICE}>"),
            uri: "sip:bob@example.com".into(),
            from: "\"Alice\" <sip:alice@example.com>;tag=alicetag".into(),
        }
    }

    pub(crate) fn request(&self, method: &str, branch: &str, more: &str, sdp: &str) -> String {
        let mut out = format!(
            "{method} {} SIP/2.0\r\nVia: SIP/2.0/UDP {ALICE};branch=z9hG4bK{branch}\r\n\
             Max-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {} {method}\r\n",
            self.uri, self.from, self.to, self.call_id, self.cseq
        );
        if matches!(method, "INVITE" | "UPDATE") {
            let _ = write!(out, "Contact: {}\r\n", self.contact);
        }
        out.push_str(more);
        end(&mut out, sdp);
        out
    }

    pub(crate) fn invite(&self) -> String {
        self.request("INVITE", "invite", &self.more, &self.sdp)
    }

    /// Takes the dialog from our 200.
    pub(crate) fn answered(&mut self, ok: &Message) {
        self.uri = ok.contact().to_owned();
        self.to = ok.get("To").to_owned();
    }

    pub(crate) fn ack(&self) -> String {
        self.request("ACK", &format!("ack{}", self.cseq), "", "")
    }

    /// A request with the next number.
    pub(crate) fn next(&mut self, method: &str, more: &str, sdp: &str) -> String {
        self.cseq += 1;
        self.request(method, &format!("{method}{}", self.cseq), more, sdp)
    }
}

/// A device of the user.
#[derive(Clone)]
pub(crate) struct Phone {
    pub(crate) addr: String,
    pub(crate) name: String,
    pub(crate) tag: String,
    pub(crate) invite: Option<Message>,
    pub(crate) cseq: u32,
}

impl Phone {
    /// Device `n` of Bob's, at a port of its own.
    pub(crate) fn new(n: u16) -> Self {
        Self {
            addr: format!("127.0.0.1:{}", 7000 + n),
            name: format!("dev{n}"),
            tag: format!("devtag{n}"),
            invite: None,
            cseq: 100,
        }
    }

    pub(crate) fn contact(&self) -> String {
        format!("<sip:bob-{}@{}>", self.name, self.addr)
    }

    pub(crate) fn register(&self, world: &mut World, params: &str) {
        self.register_for(world, params, 3600, 1);
    }

    pub(crate) fn register_for(&self, world: &mut World, params: &str, expires: u32, cseq: u32) {
        let text = format!(
            "REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=z9hG4bKreg{}{cseq}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:bob@example.com>;tag={}\r\nTo: <sip:bob@example.com>\r\n\
             Call-ID: reg-{}\r\nCSeq: {cseq} REGISTER\r\nContact: {}{params};expires={expires}\r\n\
             Content-Length: 0\r\n\r\n",
            self.addr,
            self.name,
            self.name,
            self.name,
            self.contact()
        );
        world.receive(&self.addr, text);
        world.expect(&self.addr, "SIP/2.0 200");
    }

    /// Takes the INVITE that it got.
    pub(crate) fn invited(&mut self, world: &mut World) -> Message {
        let invite = world.expect(&self.addr, "INVITE ");
        self.invite = Some(invite.clone());
        invite
    }

    pub(crate) fn answer(&self, world: &mut World, code: u16, more: &str, sdp: &str) {
        let invite = self.invite.as_ref().expect("an INVITE");
        let contact = format!("Contact: {}\r\n{more}", self.contact());
        let text = invite.respond(code, &self.tag, &contact, sdp);
        world.receive(&self.addr, text);
    }

    pub(crate) fn port(&self) -> u16 {
        addr(&self.addr).port() + 1000
    }

    /// Its usual answer: passive.
    pub(crate) fn sdp(&self) -> String {
        sdp(&self.name, self.port(), "a=setup:passive\r\n")
    }

    /// Accepts, and takes the ACK.
    pub(crate) fn accept(&self, world: &mut World) -> Message {
        self.answer(world, 200, "", &self.sdp());
        world.expect(&self.addr, "ACK ")
    }

    /// A request of its own within the dialog.
    pub(crate) fn next(&mut self, method: &str, more: &str, sdp: &str) -> String {
        let invite = self.invite.as_ref().expect("an INVITE");
        self.cseq += 1;
        let mut out = format!(
            "{method} {} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=z9hG4bK{}{}\r\nMax-Forwards: 70\r\n\
             From: {};tag={}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {} {method}\r\n",
            invite.contact(),
            self.addr,
            self.name,
            self.cseq,
            invite.get("To"),
            self.tag,
            invite.get("From"),
            invite.get("Call-ID"),
            self.cseq
        );
        if matches!(method, "INVITE" | "UPDATE") {
            let _ = write!(out, "Contact: {}\r\n", self.contact());
        }
        out.push_str(more);
        end(&mut out, sdp);
        out
    }
}

/// `n` devices of Bob's, registered with the CPM tag, and Alice's INVITE sent: each has it.
pub(crate) fn invited(world: &mut World, n: u16, alice: &Alice) -> Vec<Phone> {
    let mut phones: Vec<Phone> = (1..=n).map(Phone::new).collect();
    for phone in &phones {
        phone.register(world, &format!(";{TAG}"));
    }
    world.receive(ALICE, alice.invite());
    for phone in &mut phones {
        phone.invited(world);
    }
    phones
}

/// The same, all have accepted in order and Alice has acknowledged.
pub(crate) fn established(world: &mut World, n: u16, alice: &mut Alice) -> Vec<Phone> {
    let phones = invited(world, n, alice);
    for phone in &phones {
        phone.accept(world);
    }
    let ok = world.expect(ALICE, "SIP/2.0 200");
    alice.answered(&ok);
    let ack = alice.ack();
    world.receive(ALICE, ack);
    world.forget();
    phones
}
