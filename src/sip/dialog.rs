//! Dialogs (RFC 3261 §12): what both sides agreed on to talk again, and the requests that are built of it.
//!
//! The law: a dialog never reads an answer from the network by itself; whoever owns it shows it the messages that belong to it,
//! and it says what is right. One [`Dialog`] a To-tag: an INVITE that a core forks has several. [SIP-DLG-04]

use std::net::{Ipv4Addr, SocketAddr};

use super::{Flow, Hop, Target};
use crate::wire::{
    sip::{Message, Method, Name, NameAddr, Start, unfold},
    uri,
};

/// A dialog, early or confirmed.
#[derive(Clone, Debug)]
pub struct Dialog {
    names: Names,
    local_cseq: u32,
    remote_cseq: Option<u32>,
    /// URIs with their header parameters, brackets included, in the order in which our requests pass them.
    route_set: Box<[Vec<u8>]>,
    remote_target: Box<[u8]>,
    secure: bool,
    confirmed: bool,
    caller: bool,
    pinned: bool,
    flow: Flow,
    /// What the other side says of another host is not believed.
    stranger: bool,
}

/// Call-ID, From and To of our requests, in one piece: they stay the same for the life of a dialog.
#[derive(Clone, Debug)]
struct Names {
    bytes: Box<[u8]>,
    /// Where From and To begin, and where To ends.
    local: u16,
    remote: u16,
    end: u16,
    /// Where in all of that the tags begin and end.
    local_tag: (u16, u16),
    remote_tag: (u16, u16),
}

impl Names {
    /// `local` and `remote`: values of From and To, tags included where there are any. `None`: longer than the head of any message.
    fn new(
        call_id: &[u8],
        (local, local_tag): (&[u8], &[u8]),
        (remote, remote_tag): (&[u8], &[u8]),
    ) -> Option<Self> {
        let place = |at: usize| u16::try_from(at).ok();
        let mut bytes = [call_id, local, remote].concat();
        let ends = [call_id, local, remote].map(<[u8]>::len);
        let mut span = |tag: &[u8]| {
            // As a rule it is the last that From or To says; one that was folded stands behind.
            let found = match tag.len() {
                0 => Some(0),
                n => bytes.windows(n).rposition(|w| w == tag),
            };
            let at = found.unwrap_or_else(|| {
                bytes.extend_from_slice(tag);
                bytes.len() - tag.len()
            });
            Some((place(at)?, place(at + tag.len())?))
        };
        let (local_tag, remote_tag) = (span(local_tag)?, span(remote_tag)?);
        Some(Self {
            bytes: bytes.into(),
            local: place(ends[0])?,
            remote: place(ends[0] + ends[1])?,
            end: place(ends[0] + ends[1] + ends[2])?,
            local_tag,
            remote_tag,
        })
    }

    fn part(&self, from: u16, to: u16) -> &[u8] {
        self.bytes.get(from.into()..to.into()).unwrap_or_default()
    }

    fn call_id(&self) -> &[u8] {
        self.part(0, self.local)
    }

    fn local(&self) -> &[u8] {
        self.part(self.local, self.remote)
    }

    fn remote(&self) -> &[u8] {
        self.part(self.remote, self.end)
    }
}

impl Dialog {
    /// The dialog that a response (101 to 299, with a To-tag and a Contact) to an INVITE of ours makes (RFC 3261 §12.1.2).
    /// `flow`: the way the response came. `None` where the response makes none.
    #[must_use]
    pub fn uac(invite: &Message<'_>, response: &Message<'_>, flow: Flow) -> Option<Self> {
        let Start::Response { code, .. } = response.start() else {
            return None;
        };
        if !(101..300).contains(&code) {
            return None;
        }
        let (from, to) = (invite.from().ok()?, response.to().ok()?);
        let mut route_set = routes(response);
        route_set.reverse();
        Some(Self {
            names: Names::new(
                invite.call_id().ok()?,
                (
                    &unfold(invite.header(Name::From)?),
                    from.tag().unwrap_or_default(),
                ),
                (&unfold(response.header(Name::To)?), to.tag()?),
            )?,
            local_cseq: invite.cseq().ok()?.number,
            remote_cseq: None,
            route_set,
            remote_target: contact(response)?,
            secure: is_secure(invite),
            confirmed: code >= 200,
            caller: true,
            pinned: false,
            flow,
            stranger: false,
        })
    }

    /// The dialog that our response with `local_tag` to an INVITE of theirs makes (RFC 3261 §12.1.1). Our first request in it
    /// gets the CSeq number 1. `None`: the INVITE has no Contact, no From tag is fine (RFC 2543).
    #[must_use]
    pub fn uas(invite: &Message<'_>, local_tag: &[u8], flow: Flow) -> Option<Self> {
        let (from, to) = (invite.from().ok()?, invite.to().ok()?);
        let mut local = unfold(invite.header(Name::To)?).into_owned();
        if to.tag().is_none() {
            local.extend_from_slice(b";tag=");
            local.extend_from_slice(local_tag);
        }
        Some(Self {
            names: Names::new(
                invite.call_id().ok()?,
                (&local, local_tag),
                (
                    &unfold(invite.header(Name::From)?),
                    from.tag().unwrap_or_default(),
                ),
            )?,
            local_cseq: 0,
            remote_cseq: Some(invite.cseq().ok()?.number),
            route_set: routes(invite),
            remote_target: contact(invite)?,
            secure: is_secure(invite),
            confirmed: false,
            caller: false,
            pinned: false,
            flow,
            stranger: false,
        })
    }

    /// With somebody whom we do not know: what he says of another host, in Contact or Record-Route, is no place to send to; as
    /// behind a NAT, the place that he speaks from is (settled.md 42).
    #[must_use]
    pub fn with_stranger(mut self, stranger: bool) -> Self {
        self.stranger = stranger;
        self
    }

    /// A 2xx of ours or theirs has confirmed it. The route set of a caller is that of the 2xx (RFC 3261 §13.2.2.4).
    pub fn confirm(&mut self, success: Option<&Message<'_>>) {
        self.confirmed = true;
        if let (Some(success), true) = (success, self.caller) {
            self.route_set = routes(success);
            self.route_set.reverse();
            if let Some(target) = contact(success) {
                self.remote_target = target;
            }
        }
    }

    /// Bytes that it holds beside itself.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let routes: usize = self
            .route_set
            .iter()
            .map(|r| size_of::<Vec<u8>>() + r.len())
            .sum();
        self.names.bytes.len() + routes + self.remote_target.len()
    }

    /// Whether a 2xx has confirmed it.
    #[must_use]
    pub const fn is_confirmed(&self) -> bool {
        self.confirmed
    }

    /// Whether we sent the INVITE that made it: then the Call-ID is ours too, and glare is waited for longer.
    #[must_use]
    pub const fn is_caller(&self) -> bool {
        self.caller
    }

    /// Whether it is a `sips` one: then only `sips` may be its remote target (RFC 3261 §12.1.1).
    #[must_use]
    pub const fn is_secure(&self) -> bool {
        self.secure
    }

    /// Call-ID.
    #[must_use]
    pub fn call_id(&self) -> &[u8] {
        self.names.call_id()
    }

    /// Our tag.
    #[must_use]
    pub fn local_tag(&self) -> &[u8] {
        let (from, to) = self.names.local_tag;
        self.names.part(from, to)
    }

    /// Their tag; empty of an RFC 2543 caller.
    #[must_use]
    pub fn remote_tag(&self) -> &[u8] {
        let (from, to) = self.names.remote_tag;
        self.names.part(from, to)
    }

    /// The URI that our requests are for.
    #[must_use]
    pub fn remote_target(&self) -> &[u8] {
        &self.remote_target
    }

    /// The CSeq number of our last request; 0 before the first where they sent the INVITE.
    #[must_use]
    pub const fn local_cseq(&self) -> u32 {
        self.local_cseq
    }

    /// Whether a message belongs to this dialog: Call-ID and both tags (RFC 3261 §12.2.2). In requests of theirs and in
    /// responses to ours alike.
    #[must_use]
    pub fn matches(&self, message: &Message<'_>) -> bool {
        let (Ok(call_id), Ok(from), Ok(to)) = (message.call_id(), message.from(), message.to())
        else {
            return false;
        };
        let (theirs, ours) = if message.is_request() {
            (from.tag(), to.tag())
        } else {
            (to.tag(), from.tag())
        };
        call_id == self.call_id()
            && theirs.unwrap_or_default() == self.remote_tag()
            && ours.unwrap_or_default() == self.local_tag()
    }

    /// Checks the order of a request of theirs and keeps its CSeq number: a lower one than seen gets 500
    /// (RFC 3261 §12.2.2). ACK and CANCEL bring the number of their INVITE and change nothing. [SIP-DLG-01]
    ///
    /// # Errors
    /// The status to answer with.
    pub fn check_request(&mut self, request: &Message<'_>) -> Result<(), u16> {
        let cseq = request.cseq().map_err(|_| 400u16)?;
        if matches!(cseq.method, Method::Ack | Method::Cancel) {
            return Ok(());
        }
        if self.remote_cseq.is_some_and(|seen| cseq.number < seen) {
            return Err(500);
        }
        self.remote_cseq = Some(cseq.number);
        Ok(())
    }

    /// Takes the remote target over from a re-INVITE or UPDATE that we have answered 2xx, and from the 2xx (or reliable
    /// provisional response) to one of ours; any other message changes nothing (RFC 3261 §12.2, RFC 6141 §4.6).
    /// [SIP-DLG-02]
    pub fn refresh_target(&mut self, message: &Message<'_>) {
        let Ok(cseq) = message.cseq() else {
            return;
        };
        if !matches!(cseq.method, Method::Invite | Method::Update) {
            return;
        }
        if let Some(target) = contact(message)
            && (!self.secure
                || target
                    .get(..5)
                    .is_some_and(|s| s.eq_ignore_ascii_case(b"sips:")))
        {
            self.remote_target = target;
        }
    }

    /// A request in this dialog: request line, Route, Max-Forwards, From, To, Call-ID and CSeq, each with CRLF; and where it
    /// goes. The CSeq number grows by one. What is left for the caller: further headers, Content-Length, blank line, body.
    /// (RFC 3261 §12.2.1.1; strict routes too.)
    pub fn request(&mut self, method: Method<'_>) -> (Vec<u8>, Target) {
        self.local_cseq += 1;
        (self.build(method, self.local_cseq, b""), self.target())
    }

    /// The PRACK of a reliable provisional response, or any other request that needs further headers: as
    /// [`Dialog::request`], with `headers` (each with CRLF) and no body, complete.
    pub fn bodiless(&mut self, method: Method<'_>, headers: &[u8]) -> (Vec<u8>, Target) {
        let (mut out, target) = self.request(method);
        out.extend_from_slice(headers);
        out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
        (out, target)
    }

    /// The ACK of a 2xx to the INVITE with this CSeq number, complete but for Via (RFC 3261 §13.2.2.4). [SIP-TXN-05]
    #[must_use]
    pub fn ack(&self, cseq: u32) -> (Vec<u8>, Target) {
        let ack = self.build(Method::Ack, cseq, b"Content-Length: 0\r\n\r\n");
        (ack, self.target())
    }

    fn build(&self, method: Method<'_>, cseq: u32, tail: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(512 + tail.len());
        let strict = self.strict_router();
        let uri = strict.as_deref().unwrap_or(&self.remote_target);
        for part in [method.as_bytes(), b" ", uri, b" SIP/2.0\r\n"] {
            out.extend_from_slice(part);
        }
        let mut line = |name: &str, value: &[u8]| {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value);
            out.extend_from_slice(b"\r\n");
        };
        for route in self.route_set.iter().skip(usize::from(strict.is_some())) {
            line("Route", route);
        }
        if strict.is_some() {
            line("Route", &[b"<", &*self.remote_target, b">"].concat());
        }
        line("Max-Forwards", b"70");
        line("From", self.names.local());
        line("To", self.names.remote());
        line("Call-ID", self.names.call_id());
        line(
            "CSeq",
            &[cseq.to_string().as_bytes(), b" ", method.as_bytes()].concat(),
        );
        out.extend_from_slice(tail);
        out
    }

    /// The URI of the first route where it is a strict router: it becomes the Request-URI, without what a Request-URI must
    /// not have (RFC 3261 §12.2.1.1, §19.1.1 table 1).
    fn strict_router(&self) -> Option<Vec<u8>> {
        let first = NameAddr::parse_route(self.route_set.first()?).ok()?;
        let parsed = uri::sip::Uri::parse(first.uri).ok()?;
        if parsed.is_loose_router() {
            return None;
        }
        let without_headers = first.uri.split(|b| *b == b'?').next()?;
        let mut parts = without_headers.split(|b| *b == b';');
        let mut out = parts.next()?.to_vec();
        for part in parts {
            if part
                .get(..7)
                .is_none_or(|p| !p.eq_ignore_ascii_case(b"method="))
            {
                out.push(b';');
                out.extend_from_slice(part);
            }
        }
        Some(out)
    }

    /// A message of theirs came by another way than those before: by that we reach them now.
    pub fn heard(&mut self, flow: Flow) {
        self.flow = flow;
    }

    /// The device registered with a flow that is the only way to it (RFC 5626): so it is within the dialog.
    pub fn pin(&mut self) {
        self.pinned = true;
    }

    /// Where requests of this dialog go: to the first route or to the remote target, by its transport; by the dialog's own
    /// flow where that is a stream to the same host and open (its peer may not listen: RFC 5923, settled.md 36).
    ///
    /// Where the URI names no place that we can send to ([`Dialog::hop`] says why) there is the flow alone: good for the ACK
    /// and BYE of a dialog that is refused for that.
    #[must_use]
    pub fn target(&self) -> Target {
        if self.pinned && self.route_set.is_empty() {
            return Target::Flow(self.flow);
        }
        match self.hop() {
            Ok(to) if self.stranger && !self.flow.is_of(to.addr) => Target::Flow(self.flow),
            Ok(to) => reach_by(self.flow, to),
            Err(_) => Target::Flow(self.flow),
        }
    }

    /// Whether our requests reach them.
    ///
    /// # Errors
    /// Why not.
    pub fn reaches(&self) -> Result<(), NoWay> {
        if self.pinned && self.route_set.is_empty() {
            return Ok(());
        }
        self.known(self.hop())
    }

    /// The place that the first route or the remote target names.
    ///
    /// # Errors
    /// Why we cannot send there.
    pub fn hop(&self) -> Result<Hop, NoWay> {
        next_hop(
            self.route_set.first().map(Vec::as_slice),
            &self.remote_target,
        )
    }

    /// Whether we could still send to them if the Contact of this message became the remote target.
    ///
    /// # Errors
    /// Why we could not.
    pub fn could_follow(&self, message: &Message<'_>) -> Result<(), NoWay> {
        let Some(target) = contact(message) else {
            return Ok(());
        };
        if self.pinned && self.route_set.is_empty() {
            return Ok(());
        }
        self.known(next_hop(self.route_set.first().map(Vec::as_slice), &target))
    }

    /// A name that a stranger writes in Contact is no other place than where he speaks from.
    fn known(&self, hop: Result<Hop, NoWay>) -> Result<(), NoWay> {
        match hop {
            Err(NoWay::Name) if self.stranger && self.route_set.is_empty() => Ok(()),
            hop => hop.map(|_| ()),
        }
    }
}

/// Over a stream from the host that `to` names, while it is open; else there.
#[must_use]
pub fn reach_by(flow: Flow, to: Hop) -> Target {
    match flow {
        Flow::Stream { peer, .. } if peer.ip().to_canonical() == to.addr.ip().to_canonical() => {
            Target::Reuse { flow, or: to }
        }
        Flow::Stream { .. } | Flow::Udp { .. } => to.into(),
    }
}

/// The place that the first route names, or without one the Request-URI.
///
/// # Errors
/// Why we cannot send there. A `sips` Request-URI is for TLS all the way, whoever comes first (RFC 5630 §3.1.4).
pub fn next_hop(route: Option<&[u8]>, uri: &[u8]) -> Result<Hop, NoWay> {
    let is_sips = |uri: &[u8]| {
        uri.get(..5)
            .is_some_and(|s| s.eq_ignore_ascii_case(b"sips:"))
    };
    if is_sips(uri) {
        return Err(NoWay::Secure);
    }
    match route {
        Some(route) => hop(NameAddr::parse_route(route).map_err(|_| NoWay::Scheme)?.uri),
        None => hop(uri),
    }
}

/// Why a URI names no place that we can send to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoWay {
    /// It is no SIP URI.
    Scheme,
    /// `sips` or `transport=tls`: in clear it must not go, and we have no TLS.
    Secure,
    /// A transport other than UDP and TCP.
    Transport,
    /// A name: we ask no DNS.
    Name,
}

impl NoWay {
    /// Code and text of the Warning that tells it (RFC 3261 §20.43, RFC 5630 §5.1.2).
    #[must_use]
    pub const fn warning(self) -> (u16, &'static str) {
        match self {
            Self::Scheme => (399, "a SIP URI with an IP address is needed"),
            Self::Secure => (380, "SIPS Not Allowed"),
            Self::Transport => (399, "a URI with transport UDP or TCP is needed"),
            Self::Name => (
                399,
                "a URI with an IP address is needed: names are not looked up",
            ),
        }
    }
}

/// The address and transport that a SIP URI names: `maddr` before host, 5060 where no port is written, UDP where no transport
/// is (RFC 3263 §4.1, §4.2). `localhost` is a loopback address without DNS (RFC 6761 §6.3).
///
/// # Errors
/// Why we cannot send there.
pub fn hop(uri: &[u8]) -> Result<Hop, NoWay> {
    let uri = uri::sip::Uri::parse(uri).map_err(|_| NoWay::Scheme)?;
    let tcp = match uri.transport() {
        _ if uri.secure => return Err(NoWay::Secure),
        None => false,
        Some(t) if t.eq_ignore_ascii_case(b"udp") => false,
        Some(t) if t.eq_ignore_ascii_case(b"tcp") => true,
        Some(t) if t.eq_ignore_ascii_case(b"tls") => return Err(NoWay::Secure),
        Some(_) => return Err(NoWay::Transport),
    };
    let host = uri.maddr().unwrap_or(uri.host);
    let ip = match host.ip() {
        Some(ip) => ip,
        None if host.to_string().eq_ignore_ascii_case("localhost") => Ipv4Addr::LOCALHOST.into(),
        None => return Err(NoWay::Name),
    };
    Ok(Hop {
        addr: SocketAddr::new(ip, uri.port.unwrap_or(5060)),
        tcp,
    })
}

/// The values of Record-Route, as written.
fn routes(message: &Message<'_>) -> Box<[Vec<u8>]> {
    message
        .values(Name::RecordRoute)
        .map(|r| unfold(r).into_owned())
        .collect()
}

/// The URI of the Contact.
fn contact(message: &Message<'_>) -> Option<Box<[u8]>> {
    let contact = message.contacts().next()?.ok()?;
    Some(contact.address()?.uri.into())
}

fn is_secure(invite: &Message<'_>) -> bool {
    match invite.start() {
        Start::Request { uri, .. } => uri
            .get(..5)
            .is_some_and(|s| s.eq_ignore_ascii_case(b"sips:")),
        Start::Response { .. } => false,
    }
}
