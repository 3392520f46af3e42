//! SIP requests and responses as our callers and devices write them.

use std::net::SocketAddr;

use ringfork::wire::sip::{Message, Method, Name, Writer};

use crate::trouble::Trouble;

/// The service that every registration and request names (OMA CPM, session mode).
pub(crate) const ICSI: &str =
    "+g.3gpp.icsi-ref=\"urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session\"";
const SERVICE: &[u8] = b"urn:urn-7:3gpp-service.ims.icsi.oma.cpm.session";
const ALLOW: &[u8] = b"INVITE, ACK, CANCEL, BYE, UPDATE, OPTIONS";
const AGENT: &[u8] = b"ringfork-load";

/// Room for any text of ours, from the start: one that grows is copied each time.
const TEXT_BYTES: usize = 1536;

/// How requests leave and answers come back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Transport {
    #[default]
    Udp,
    Tcp,
}

impl Transport {
    fn in_via(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        }
    }

    fn in_uri(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }
}

/// Our side of a place where requests come from and go to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Here {
    pub(crate) transport: Transport,
    pub(crate) at: SocketAddr,
}

impl Here {
    fn via(self, branch: &str) -> String {
        format!(
            "SIP/2.0/{} {};branch={branch};rport",
            self.transport.in_via(),
            self.at
        )
    }

    /// A Contact URI for one of ours.
    pub(crate) fn contact(self, user: &str) -> String {
        format!(
            "sip:{user}@{};transport={}",
            self.at,
            self.transport.in_uri()
        )
    }
}

/// What each request needs beside its own headers.
pub(crate) struct Ids<'a> {
    pub(crate) branch: &'a str,
    /// From, with tag.
    pub(crate) from: &'a str,
    /// To, with tag inside a dialog.
    pub(crate) to: &'a str,
    pub(crate) call_id: &'a str,
    pub(crate) cseq: u32,
}

fn begin<'v>(
    out: &'v mut Vec<u8>,
    here: Here,
    method: Method<'_>,
    uri: &str,
    ids: &Ids<'_>,
) -> Writer<'v> {
    let name = std::str::from_utf8(method.as_bytes()).unwrap_or_default();
    out.reserve(TEXT_BYTES);
    Writer::request(out, method, uri.as_bytes())
        .header(Name::Via, here.via(ids.branch).as_bytes())
        .header(Name::MaxForwards, b"70")
        .header(Name::From, ids.from.as_bytes())
        .header(Name::To, ids.to.as_bytes())
        .header(Name::CallId, ids.call_id.as_bytes())
        .header_fmt(Name::CSeq, format_args!("{} {name}", ids.cseq))
        .header(Name::UserAgent, AGENT)
}

/// What a REGISTER binds.
pub(crate) struct Binding<'a> {
    pub(crate) contact: &'a str,
    /// A UUID.
    pub(crate) instance: &'a str,
    /// Seconds; 0 takes it back.
    pub(crate) expires: u32,
}

/// REGISTER of one device; without a binding it asks which there are.
pub(crate) fn register(
    here: Here,
    ids: &Ids<'_>,
    binding: Option<&Binding<'_>>,
) -> Result<Vec<u8>, Trouble> {
    let mut out = Vec::new();
    let registrar = format!("sip:{}", crate::names::DOMAIN);
    let mut w = begin(&mut out, here, Method::Register, &registrar, ids);
    if let Some(b) = binding {
        let (contact, instance, expires) = (b.contact, b.instance, b.expires);
        w = w
            .header_fmt(
                Name::Contact,
                format_args!(
                    "<{contact}>;+sip.instance=\"<urn:uuid:{instance}>\";{ICSI};expires={expires}"
                ),
            )
            .header_fmt(Name::Expires, format_args!("{expires}"));
    }
    w.header(Name::Allow, ALLOW).end().map_err(refused)?;
    Ok(out)
}

/// INVITE of a caller.
pub(crate) fn invite(
    here: Here,
    ids: &Ids<'_>,
    uri: &str,
    contact: &str,
    sdp: &[u8],
) -> Result<Vec<u8>, Trouble> {
    let mut out = Vec::new();
    begin(&mut out, here, Method::Invite, uri, ids)
        .header_fmt(Name::Contact, format_args!("<{contact}>;{ICSI}"))
        .header_fmt(Name::AcceptContact, format_args!("*;{ICSI}"))
        .header(Name::PPreferredService, SERVICE)
        .header_fmt(Name::ConversationId, format_args!("{}", ids.call_id))
        .header_fmt(Name::ContributionId, format_args!("{}", ids.call_id))
        .header(Name::Allow, ALLOW)
        .body(b"application/sdp", sdp)
        .map_err(refused)?;
    Ok(out)
}

/// A request without a body inside a dialog: ACK, BYE.
pub(crate) fn within(
    here: Here,
    ids: &Ids<'_>,
    method: Method<'_>,
    dialog: &Dialog,
) -> Result<Vec<u8>, Trouble> {
    let mut out = Vec::new();
    let mut w = begin(&mut out, here, method, &dialog.target, ids);
    for route in &dialog.routes {
        w = w.header(Name::Route, route);
    }
    w.end().map_err(refused)?;
    Ok(out)
}

/// What a caller has to remember of an answered INVITE (RFC 3261 §12.1.2).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Dialog {
    pub(crate) call_id: String,
    pub(crate) from: String,
    /// To with the peer's tag.
    pub(crate) to: String,
    /// The peer's Contact.
    pub(crate) target: String,
    /// Record-Route, turned round.
    pub(crate) routes: Vec<Vec<u8>>,
    pub(crate) cseq: u32,
}

impl Dialog {
    /// From a 2xx to our INVITE.
    pub(crate) fn of(answer: &Message<'_>, call_id: &str, from: &str, cseq: u32) -> Option<Self> {
        let to = String::from_utf8(answer.header(Name::To)?.to_vec()).ok()?;
        answer.to().ok()?.tag()?;
        let contact = answer.contacts().next()?.ok()?;
        let mut routes: Vec<Vec<u8>> = answer
            .values(Name::RecordRoute)
            .map(<[u8]>::to_vec)
            .collect();
        routes.reverse();
        Some(Self {
            call_id: call_id.to_owned(),
            from: from.to_owned(),
            to,
            target: String::from_utf8(contact.address()?.uri.to_vec()).ok()?,
            routes,
            cseq,
        })
    }
}

/// What a response adds to what it copies from its request.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Answer<'a> {
    pub(crate) code: u16,
    /// Our tag, where To has none yet.
    pub(crate) tag: &'a str,
    pub(crate) contact: Option<&'a str>,
    pub(crate) sdp: Option<&'a [u8]>,
}

/// A response to a request (RFC 3261 §8.2.6).
pub(crate) fn respond(request: &Message<'_>, answer: &Answer<'_>) -> Result<Vec<u8>, Trouble> {
    let mut out = Vec::with_capacity(TEXT_BYTES);
    let mut w = Writer::status(&mut out, answer.code, b"");
    for name in [Name::Via, Name::RecordRoute, Name::From] {
        for value in request.headers(name) {
            w = w.header(name, value);
        }
    }
    let to = request.header(Name::To).unwrap_or_default();
    w = if request.to().is_ok_and(|t| t.tag().is_some()) || answer.tag.is_empty() {
        w.header(Name::To, to)
    } else {
        w.header(Name::To, &[to, b";tag=", answer.tag.as_bytes()].concat())
    };
    for name in [Name::CallId, Name::CSeq] {
        w = w.header(name, request.header(name).unwrap_or_default());
    }
    if let Some(contact) = answer.contact {
        w = w
            .header_fmt(Name::Contact, format_args!("<{contact}>;{ICSI}"))
            .header(Name::Allow, ALLOW);
    }
    match answer.sdp {
        Some(sdp) => w.body(b"application/sdp", sdp),
        None => w.end(),
    }
    .map_err(refused)?;
    Ok(out)
}

fn refused(e: ringfork::wire::sip::Refused) -> Trouble {
    Trouble::failed(format!("a SIP message of ours: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here() -> Here {
        Here {
            transport: Transport::Udp,
            at: "127.0.0.1:5070".parse().unwrap(),
        }
    }

    fn ids() -> Ids<'static> {
        Ids {
            branch: "z9hG4bKx1",
            from: "<sip:c@example.net>;tag=f1",
            to: "<sip:u@example.com>",
            call_id: "call-1",
            cseq: 7,
        }
    }

    #[test]
    fn an_answer_carries_what_its_request_brought_and_makes_a_dialog() {
        let invite = invite(
            here(),
            &ids(),
            "sip:u@example.com",
            &here().contact("c"),
            b"v=0\r\n",
        )
        .unwrap();
        let request = Message::parse(&invite).unwrap();
        assert_eq!(request.check(), Ok(()));
        let answer = respond(
            &request,
            &Answer {
                code: 200,
                tag: "t9",
                contact: Some("sip:srv@127.0.0.1:5060"),
                sdp: Some(b"v=0\r\n"),
            },
        )
        .unwrap();
        let response = Message::parse(&answer).unwrap();
        assert_eq!(response.via().unwrap().branch(), Some(&b"z9hG4bKx1"[..]));
        assert_eq!(response.cseq().unwrap().number, 7);
        let dialog = Dialog::of(&response, "call-1", "<sip:c@example.net>;tag=f1", 7).unwrap();
        assert_eq!(dialog.target, "sip:srv@127.0.0.1:5060");
        assert_eq!(dialog.to, "<sip:u@example.com>;tag=t9");
        let bye = within(
            here(),
            &Ids {
                to: &dialog.to,
                cseq: 8,
                ..ids()
            },
            Method::Bye,
            &dialog,
        )
        .unwrap();
        assert!(bye.starts_with(b"BYE sip:srv@127.0.0.1:5060 SIP/2.0\r\n"));
        assert_eq!(Message::parse(&bye).unwrap().check(), Ok(()));
    }

    #[test]
    fn a_registration_names_service_and_instance() {
        let binding = Binding {
            contact: &here().contact("d1"),
            instance: "0000-1",
            expires: 3600,
        };
        let text = register(here(), &ids(), Some(&binding)).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains("<sip:d1@127.0.0.1:5070;transport=udp>;+sip.instance=\"<urn:uuid:0000-1>\";+g.3gpp.icsi-ref=\"urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session\";expires=3600"));
    }
}
