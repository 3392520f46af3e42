//! Requests for a user that are passed on and not served: OPTIONS [B2BUA-10]. A transaction on each side, nothing more.

use super::{
    fork::without,
    function::{Function, RELAY, RELAYS_MAX},
    headers,
    suitable::Asked,
    terminating::busy,
};
use crate::{
    ids::{ServerTxnId, SessionId},
    sip::{Draft, Flow, Registrar, Reply, TxnRef, route_key::address_of_record},
    timer::TimerId,
    wire::sip::{Message, Name, Start},
};

/// A request that waits for the far side's answer.
#[derive(Debug)]
pub(super) struct Relay {
    txn: ServerTxnId,
    /// Our Contact towards whoever asked.
    contact: String,
    /// When it is given up.
    pub(super) timer: Option<TimerId>,
}

impl Function {
    /// Passes a request on to the best device of its user: 480 without one.
    pub(super) fn relay(
        &mut self,
        txn: ServerTxnId,
        flow: Flow,
        request: &Message<'_>,
        registrar: &Registrar,
    ) {
        let Start::Request { uri, method } = request.start() else {
            return;
        };
        if self.relays.len() >= RELAYS_MAX {
            self.turn.respond(txn, busy());
            return;
        }
        if self.turn.is_loop(request) {
            self.turn.respond_code(txn, 482);
            return;
        }
        // RFC 3261 §16.3: passing it on spends a hop.
        let hops = request.max_forwards().unwrap_or(71);
        if hops == 0 {
            self.turn.respond_code(txn, 483);
            return;
        }
        let aor = address_of_record(uri).unwrap_or_default();
        let asked = Asked::of(request, None, true);
        let bindings = registrar.bindings(self.turn.now, &aor);
        let Some(device) = asked.devices(bindings, 1).devices.into_iter().next() else {
            self.turn.refuse_saying(txn, 480, "no suitable contact");
            return;
        };
        // Below what its sender waits, so that our answer is in time (RFC 4320 §4).
        let until = self.turn.now + self.turn.settings.t1 * 60;
        let id = self.relays.insert(Relay {
            txn,
            contact: String::new(),
            timer: None,
        });
        let timer = self.arm_relay(id, until);
        let turn = &mut self.turn;
        let (tag, call_id, user) = (
            turn.mint(SessionId::default(), RELAY),
            turn.mint(SessionId::default(), RELAY),
            turn.mint(SessionId::default(), RELAY),
        );
        let contact = turn.contact_uri(&user, crate::sip::Target::Flow(flow));
        if let Some(relay) = self.relays.get_mut(id) {
            relay.contact = contact;
            relay.timer = Some(timer);
        }
        let mut out = Vec::with_capacity(1024);
        for part in [method.as_bytes(), b" ", &*device.uri, b" SIP/2.0\r\n"] {
            out.extend_from_slice(part);
        }
        for hop in &device.path {
            headers::put(&mut out, b"Route", hop);
        }
        let address = |a: Result<crate::wire::sip::NameAddr<'_>, _>| {
            a.map(|a| super::fork::untagged(&a)).unwrap_or_default()
        };
        let from = [address(request.from()).as_slice(), b";tag=", &tag].concat();
        let own = turn.contact_uri(&user, device.target);
        let cseq = format!("1 {}", method.as_bytes().escape_ascii());
        let mut line = |name: &str, value: &[u8]| headers::put(&mut out, name.as_bytes(), value);
        line("Max-Forwards", (hops - 1).to_string().as_bytes());
        line("From", &from);
        line("To", &address(request.to()));
        line("Call-ID", &call_id);
        line("CSeq", cseq.as_bytes());
        line("Contact", format!("<{own}>").as_bytes());
        line("User-Agent", turn.settings.product.as_bytes());
        for accepted in request.headers(Name::Accept) {
            line("Accept", accepted);
        }
        line("Supported", b"timer");
        let trusted = turn.trusted.believes(flow);
        headers::pass_request(&mut out, request, trusted);
        out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
        turn.request(Draft {
            of: TxnRef {
                session: id,
                leg: RELAY,
                cseq: 1,
            },
            target: device.target,
            key: turn.key(request),
            message: out,
        });
    }

    /// The far side's answer goes back, its Contact ours but for what it says of the device (RFC 3840 §5).
    pub(super) fn on_relay_response(&mut self, id: SessionId, response: &Message<'_>) {
        let Start::Response { code, .. } = response.start() else {
            return;
        };
        if code < 200 {
            return;
        }
        let Some(relay) = self.take_relay(id) else {
            return;
        };
        let mut out = Vec::new();
        headers::pass_refusal(&mut out, response);
        for (name, value) in response.named() {
            if matches!(name, Name::Allow | Name::Supported | Name::AllowEvents) {
                headers::put(&mut out, name.as_bytes(), value);
            }
        }
        let params = response
            .contacts()
            .next()
            .and_then(Result::ok)
            .and_then(|c| c.address().map(|a| without(&a.params, &[b"expires", b"q"])));
        if let (Some(params), 200..300) = (params, code) {
            let contact = [b"<", relay.contact.as_bytes(), b">", params.as_slice()].concat();
            headers::put(&mut out, b"Contact", &contact);
        }
        // What it can do, and nothing of where it is (settled.md 32).
        let own = self.turn.own_sdp(SessionId::default(), RELAY);
        let body = super::body::description(response)
            .and_then(|d| super::sdp::capabilities(d, &own, self.turn.terms()))
            .map(|d| (super::sdp::SDP, d));
        self.turn.respond(
            relay.txn,
            Reply {
                code,
                headers: out,
                body,
                ..Reply::default()
            },
        );
    }

    /// Nothing came back, or nothing could be sent. Never 408: RFC 4320 §4.2.
    pub(super) fn on_relay_failed(&mut self, id: SessionId, code: u16) {
        if let Some(relay) = self.take_relay(id) {
            let code = if code == 408 { 504 } else { 480 };
            self.turn.respond_code(relay.txn, code);
        }
    }

    /// It has waited as long as its sender can be told.
    pub(super) fn on_relay_late(&mut self, id: SessionId) {
        if let Some(relay) = self.relays.remove(id) {
            self.turn.respond_code(relay.txn, 504);
        }
    }
}
