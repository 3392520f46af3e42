//! What comes in: read, checked, matched; or answered on the spot where nothing is kept of it.

use std::rc::Rc;

use super::{
    Endpoint,
    build::{self, Answer},
    key, note,
    room::Standing,
    way::Way,
};
use crate::{
    ids::{LegId, SessionId},
    sip::{Event, Flow, Reply, token},
    time::Instant,
    wire::sip::{Error, Message, Method, Name, Via},
};

impl Endpoint {
    /// See [`Endpoint::handle_message`].
    pub(super) fn receive(&mut self, now: Instant, flow: Flow, bytes: &[u8]) {
        // RFC 3261 §7.5: line ends before a start line mean nothing. A datagram of them alone keeps some NAT open.
        let blank = |b: &u8| matches!(b, b'\r' | b'\n' | 0);
        let start = bytes.iter().take_while(|b| blank(b)).count();
        let bytes = bytes.get(start..).unwrap_or_default();
        if bytes.is_empty() {
            return;
        }
        match Message::parse(bytes) {
            Ok(message) => self.receive_read(now, flow, &message, false),
            Err(error) => self.refuse_malformed(now, flow, bytes, error),
        }
    }

    /// See [`Endpoint::handle_read`].
    pub(super) fn receive_read(
        &mut self,
        now: Instant,
        flow: Flow,
        message: &Message<'_>,
        known: bool,
    ) {
        if !message.is_request() {
            self.receive_response(now, flow, message);
            return;
        }
        let peer = match flow {
            Flow::Udp { peer, .. } | Flow::Stream { peer, .. } => peer,
        };
        let received = message
            .values(Name::Via)
            .next()
            .and_then(|via| build::with_received(message.as_bytes(), via, peer));
        let Some(received) = received else {
            // No Via that can be read: nobody to answer to (RFC 3261 §18.2.2 needs one).
            self.counts.malformed += 1;
            return;
        };
        match Message::parse(&received).and_then(|m| m.check().map(|()| m)) {
            Ok(message) => self.receive_request(now, flow, &message, known),
            Err(error) => self.refuse_malformed(now, flow, &received, error),
        }
    }

    fn receive_request(&mut self, now: Instant, flow: Flow, message: &Message<'_>, known: bool) {
        let (Ok(via), Some(method)) = (message.via(), message.method()) else {
            return;
        };
        // An ACK looks for its INVITE.
        let looked_for = if method == Method::Ack {
            Method::Invite
        } else {
            method
        };
        let mut scratch = std::mem::take(&mut self.scratch);
        key::matching(&mut scratch, message, &via, looked_for);
        let found = self.by_key.get(scratch.as_slice()).copied();
        let key: Rc<[u8]> = if found.is_some() || method == Method::Ack {
            Rc::default()
        } else {
            scratch.as_slice().into()
        };
        self.scratch = scratch;
        match (method, found) {
            (Method::Ack, Some(id)) => {
                self.acknowledge(now, id, (flow, message.as_bytes().into()));
            }
            (Method::Ack, None) => self.receive_ack(flow, message),
            (_, Some(id)) => self.repeat_server(now, id),
            (Method::Cancel, None) => self.receive_cancel(now, flow, message, &via, key),
            (_, None) => self.receive_new(now, flow, message, key, known),
        }
    }

    /// An ACK of a 2xx is the user's. One of an answer that we gave without a transaction, or of none, is nobody's.
    fn receive_ack(&mut self, flow: Flow, message: &Message<'_>) {
        let to = message.to().ok();
        let tag = to.as_ref().and_then(|to| to.tag());
        let nobodys = tag.is_none_or(|tag| {
            token::read(tag).is_some_and(|owned| owned.session == SessionId::default())
        });
        if nobodys {
            self.counts.strays += 1;
            return;
        }
        let message = message.as_bytes().into();
        self.events.push_back(Event::Ack { flow, message });
    }

    /// RFC 3261 §9.2. [SIP-TXN-07]
    fn receive_cancel(
        &mut self,
        now: Instant,
        flow: Flow,
        message: &Message<'_>,
        via: &Via<'_>,
        key: Rc<[u8]>,
    ) {
        let mut scratch = std::mem::take(&mut self.scratch);
        key::matching(&mut scratch, message, via, Method::Invite);
        let invite = self.by_key.get(scratch.as_slice()).copied();
        self.scratch = scratch;
        let Some(id) = self.start_server(now, flow, message, (key, None), (Standing::Begun, false))
        else {
            return;
        };
        let (code, tag) = match invite {
            Some(invite) => (200, self.cancel_server(invite, message.as_bytes().into())),
            None => (481, Vec::new()),
        };
        let reply = Reply {
            code,
            tag,
            ..Reply::default()
        };
        self.answer(now, id, &reply);
    }

    fn receive_new(
        &mut self,
        now: Instant,
        flow: Flow,
        message: &Message<'_>,
        key: Rc<[u8]>,
        known: bool,
    ) {
        let in_dialog = message.to().is_ok_and(|to| to.tag().is_some());
        let standing = match (in_dialog, known) {
            (true, _) => Standing::Begun,
            (false, true) => Standing::Known,
            (false, false) => Standing::Stranger,
        };
        let mut scratch = std::mem::take(&mut self.scratch);
        let may_merge = key::merging(&mut scratch, message);
        let merged = may_merge && self.merging.contains_key(scratch.as_slice());
        let merging: Option<Rc<[u8]>> = (may_merge && !merged).then(|| scratch.as_slice().into());
        self.scratch = scratch;

        let refusal = if merged {
            Some((482, "it came before by another way"))
        } else if spent(message, in_dialog) {
            Some((483, "its hops are spent"))
        } else {
            None
        };
        let told = refusal.is_none();
        let id = self.start_server(now, flow, message, (key, merging), (standing, told));
        if let (Some(id), Some((code, why))) = (id, refusal) {
            let reply = Reply {
                code,
                why,
                ..Reply::default()
            };
            self.answer(now, id, &reply);
        }
    }

    /// Full: 503, and nothing is kept of it.
    pub(super) fn refuse_busy(&mut self, now: Instant, flow: Flow, message: &Message<'_>) {
        self.counts.refused += 1;
        self.refuse_for_now(now, flow, message);
    }

    /// 503 with Retry-After, without a transaction.
    pub(super) fn refuse_for_now(&mut self, now: Instant, flow: Flow, message: &Message<'_>) {
        // Not all at the same moment again.
        let after = 5 + rand::Rng::next_u32(&mut self.rng) % 6;
        let headers = format!("Retry-After: {after}\r\n");
        let why = (503, "no room for it, or its source asks too often");
        self.answer_stateless(now, flow, message, why, b"", headers.as_bytes());
    }

    /// A request that breaks a rule: by its own status where it can be answered, else nothing.
    pub(super) fn refuse_malformed(
        &mut self,
        now: Instant,
        flow: Flow,
        bytes: &[u8],
        error: Error,
    ) {
        self.counts.malformed += 1;
        let Some(code) = error.status() else {
            return;
        };
        let salvaged = Message::salvage(bytes);
        let reason = if code == 400 {
            format!("Bad Request ({error})")
        } else {
            String::new()
        };
        let why = (code, "it breaks a rule of SIP");
        self.answer_stateless(now, flow, &salvaged, why, reason.as_bytes(), b"");
    }

    /// Answers without a transaction. The To-tag is the same for each repeat of the request (RFC 3261 §8.2.7).
    fn answer_stateless(
        &mut self,
        now: Instant,
        flow: Flow,
        request: &Message<'_>,
        (code, why): (u16, &'static str),
        reason: &[u8],
        headers: &[u8],
    ) {
        // An ACK is never answered.
        let acknowledges = request.method() == Some(Method::Ack)
            || request.cseq().is_ok_and(|c| c.method == Method::Ack);
        let Ok(via) = request.via() else {
            return;
        };
        if acknowledges || !request.is_request() {
            return;
        }
        let way = match flow {
            Flow::Udp { socket, peer } => Way::Datagram {
                socket,
                to: build::response_address(
                    &via,
                    peer,
                    (false, self.settings.trusted.believes(flow)),
                ),
            },
            Flow::Stream { home, conn, peer } => Way::Stream {
                place: (home, conn),
                to: peer,
            },
        };
        let chance = token::hash(self.secret, |add| {
            add(via.branch().unwrap_or_default());
            add(request.header(Name::CallId).unwrap_or_default());
            add(request.header(Name::CSeq).unwrap_or_default());
        });
        let tag = token::encode(self.settings.shard, SessionId::default(), LegId(0), chance);
        let response: Rc<[u8]> = build::response(
            request,
            &Answer {
                code,
                reason,
                tag: &tag,
                headers,
                product: &self.settings.product,
                body: None,
            },
        )
        .into();
        note::note(&mut self.notes, request, (code, b"", why), note::peer(way));
        self.hand_out(now, way, response);
    }
}

/// Whether Max-Forwards forbids to act on a request. A B2BUA spends it as a proxy does; what ends here (OPTIONS, REGISTER,
/// requests within a dialog) is answered whatever it says (RFC 3261 §16.3 point 3, §11). [SIP-MSG-06]
fn spent(message: &Message<'_>, in_dialog: bool) -> bool {
    let ends_here =
        in_dialog || matches!(message.method(), Some(Method::Options | Method::Register));
    !ends_here && message.max_forwards() == Some(0)
}
