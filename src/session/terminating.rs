//! Handle a CPM Session Invitation: the checks of 8.3.2.1, in their order; the first that rejects ends the procedure
//! [TERM-INV-01].

use std::rc::Rc;

use super::{
    Decision, Unfit, Why, body,
    function::Function,
    headers,
    redirect::Redirects,
    sdp,
    state::{Originator, Service, Session, Waiting},
    suitable::{self, Asked, Found, is_session_service},
    turn::Turn,
    usage::Usage,
};
use crate::{
    ids::{LegId, ServerTxnId, SessionId},
    msrp::Command,
    policy::{LateOffer, Unreachable},
    sip::{
        Dialog, Flow, Registrar, Reply, Target, reliable, route_key::address_of_record,
        session_timer::TooSmall,
    },
    wire::sip::{Message, Name, NameAddr, Start},
};

/// What a session and a leg weigh at their beginning, beside the INVITE.
const SESSION_WEIGHT: usize = 4 << 10;
const LEG_WEIGHT: usize = 1 << 10;

/// What the checks found in order.
struct Admitted {
    service: Service,
    trusted: bool,
    offer: Option<Vec<u8>>,
}

impl Function {
    /// An initial INVITE for a user of ours.
    pub(super) fn on_invite(
        &mut self,
        txn: ServerTxnId,
        flow: Flow,
        bytes: &Rc<[u8]>,
        registrar: &mut Registrar,
    ) {
        let Ok(invite) = Message::parse(bytes) else {
            self.turn.respond_code(txn, 400);
            return;
        };
        self.turn.counters.invites += 1;
        if let Err(reply) = self.admit(txn, flow, bytes, &invite, registrar) {
            self.turn.counters.rejected += 1;
            self.turn.respond(txn, reply);
        }
    }

    fn admit(
        &mut self,
        txn: ServerTxnId,
        flow: Flow,
        bytes: &Rc<[u8]>,
        invite: &Message<'_>,
        registrar: &mut Registrar,
    ) -> Result<(), Reply> {
        let Start::Request { uri, .. } = invite.start() else {
            return Err(refuse(400));
        };
        if self.turn.is_loop(invite) {
            return Err(Reply {
                why: "it comes back unchanged",
                ..refuse(482)
            });
        }
        if self.is_full() {
            return Err(busy());
        }
        // RFC 3261 §8.1.1.8: a dialog needs a Contact.
        if invite.contacts().next().is_none() {
            return Err(Reply {
                why: "no Contact",
                ..refuse(400)
            });
        }
        let aor = address_of_record(uri)
            .filter(|_| registrar.serves(uri))
            .ok_or(Reply {
                why: "no user of ours",
                ..refuse(404)
            })?;
        if let Some(from) = invite.from().ok().and_then(|f| address_of_record(f.uri)) {
            registrar.authenticate(self.turn.now, &from, invite)?;
        }
        let trusted = self.turn.trusted.believes(flow);
        let offer = check(&self.turn, trusted, invite)?;
        self.turn
            .wish()
            .answer(self.turn.now, invite)
            .map_err(too_small)?;
        let asserted: Vec<String> = invite
            .values(Name::PAssertedService)
            .filter(|_| trusted)
            .map(suitable::service_header)
            .collect();
        // `.deferred` asks for what comes with the store (settled.md 21).
        let (service, urn) = service_of(invite, &asserted)
            .ok_or_else(|| saying(&self.turn, 480, "deferred messages are not kept here"))?;
        let asked = Asked::of(
            invite,
            Some(&urn),
            self.turn.settings.contact_without_tags_suitable,
        );
        let Found { devices, unfit } = asked.devices(
            registrar.bindings(self.turn.now, &aor),
            self.turn.settings.devices_max,
        );
        // Steps 6 and 8.c, 8.d [TERM-INV-07] [TERM-INV-08] [TERM-INV-26].
        if devices.is_empty() {
            let reply = unreachable(&mut self.turn, &unfit);
            self.note_unfit(None, unfit);
            return Err(reply);
        }
        // Step 7 [TERM-INV-10] [TERM-INV-11], behind step 6 (settled.md 31).
        let ours = asserted.iter().all(|urn| is_ours(urn));
        if !ours && !self.turn.policy.foreign_services_allowed {
            return Err(forbidden(&self.turn, "122 Function not allowed"));
        }
        let admitted = Admitted {
            service,
            trusted,
            offer,
        };
        // Each leg's INVITE is about as long as the one that began it.
        let weight = SESSION_WEIGHT + bytes.len() + devices.len() * (bytes.len() + LEG_WEIGHT);
        if !self.has_memory(&aor, flow, weight) {
            return Err(busy());
        }
        for device in &devices {
            registrar.used(self.turn.now, &aor, &device.uri);
        }
        let session = self.begin(txn, flow, bytes, invite, &admitted, aor)?;
        let begun = Decision::Begun {
            devices: devices.len(),
        };
        self.turn.note(Some(session), begun);
        self.note_unfit(Some(session), unfit);
        self.fork(session, devices);
        self.settle(session);
        Ok(())
    }

    /// Tells the log which of the user's contacts are not invited.
    fn note_unfit(&mut self, session: Option<SessionId>, unfit: Vec<(Rc<[u8]>, Unfit)>) {
        for (contact, why) in unfit {
            self.turn.note(session, Decision::Unfit { contact, why });
        }
    }

    /// Makes the session, its originator's leg waiting for us.
    fn begin(
        &mut self,
        txn: ServerTxnId,
        flow: Flow,
        bytes: &Rc<[u8]>,
        invite: &Message<'_>,
        admitted: &Admitted,
        aor: Vec<u8>,
    ) -> Result<crate::ids::SessionId, Reply> {
        let turn = &mut self.turn;
        let key = aor.clone();
        let made = self.sessions.try_insert_with_key(|id| {
            let leg = LegId::ORIGINATOR;
            let tag = turn.mint(id, leg);
            let dialog = Dialog::uas(invite, &tag, flow)
                .ok_or(refuse(400))?
                .with_stranger(!admitted.trusted);
            dialog.reaches().map_err(|why| {
                let (code, text) = why.warning();
                Reply {
                    headers: turn.warn(code, text),
                    why: text,
                    ..refuse(480)
                }
            })?;
            let user = turn.mint(id, leg);
            let contact = format!("<{}>", turn.contact_uri(&user, Target::Flow(flow)));
            let own = turn.own_sdp(id, leg);
            let wish = turn.wish();
            let mut usage = Usage::new((id, leg), dialog, contact.into_bytes(), own, wish);
            usage.learn(invite);
            usage.theirs = admitted.offer.clone().map(Into::into);
            let uri = |address: Result<NameAddr<'_>, _>| {
                address
                    .map(|a: NameAddr<'_>| String::from_utf8_lossy(a.uri).into_owned())
                    .unwrap_or_default()
            };
            Ok(Session {
                id,
                service: admitted.service,
                txn,
                aor,
                user: match invite.start() {
                    Start::Request { uri, .. } => String::from_utf8_lossy(uri).into_owned(),
                    Start::Response { .. } => String::new(),
                },
                from: uri(invite.from()),
                invite: Rc::clone(bytes),
                trusted: admitted.trusted,
                up: Originator::Inviting(Box::new(Waiting {
                    txn,
                    usage,
                    reliably: reliable::requires_100rel(invite),
                    sent: reliable::Sent::default(),
                    repeating: None,
                    said: 100,
                    owed: None,
                    redirects: Redirects::default(),
                    made: Vec::new(),
                })),
                devices: Vec::new(),
                settled: None,
                held: Vec::new(),
                lost_until: None,
                losses: 0,
                late_offer: admitted.offer.is_none(),
                counted: 0,
                weight: 0,
                began: turn.now,
                flow,
                why: Why::Nothing,
            })
        });
        let id = made?;
        // An opaque number for the data plane: what the user's sessions hold is counted together.
        let user = self.turn.user_number(&key);
        let source = (!admitted.trusted).then(|| source_number(flow));
        self.turn.media(Command::Open {
            session: id,
            user,
            source,
        });
        self.keep(id, txn, key);
        self.turn.counters.sessions_begun += 1;
        Ok(id)
    }
}

/// Steps 1 to 5; the offer, if there is one.
fn check(turn: &Turn, trusted: bool, invite: &Message<'_>) -> Result<Option<Vec<u8>>, Reply> {
    // 1 [TERM-INV-02]
    if !turn.policy.supports_release(invite.header(Name::UserAgent)) {
        return Err(forbidden(turn, "132 Version not supported"));
    }
    // 2 [TERM-INV-03]
    if !turn.policy.anonymity_allowed && is_anonymous(invite, trusted) {
        return Err(forbidden(turn, "119 Anonymity not allowed"));
    }
    // 3 and 4, the user's lists, come with the XDM documents.
    // 5 [TERM-INV-06] [CEMA-05]
    let offer = body::description(invite).map(<[u8]>::to_vec);
    match &offer {
        Some(offer) => sdp::check_offer(offer, turn.terms(), &turn.policy).map_err(|why| {
            let (warn, text) = sdp::warning(offer, why);
            Reply {
                code: 488,
                headers: turn.warn(warn, &text),
                why: why.text(),
                ..Reply::default()
            }
        })?,
        // RFC 3261 §13.2.1 [B2BUA-07].
        None if turn.policy.late_offer == LateOffer::Reject => {
            return Err(saying(turn, 488, "an offer is needed in the INVITE"));
        }
        None => {}
    }
    Ok(offer)
}

/// Which service an INVITE is for (DISPATCH-02 to -06): by Accept-Contact, in the order of cpm-notes.md §13. `None`: deferred
/// messages.
fn service_of(invite: &Message<'_>, asserted: &[String]) -> Option<(Service, String)> {
    let named = suitable::services(invite);
    let has = |name: &str| {
        named
            .iter()
            .chain(asserted)
            .find(|urn| suitable::is_cpm(urn, name))
            .map(|urn| urn.strip_suffix(".group").unwrap_or(urn).to_owned())
    };
    if let Some(urn) = has("largemsg") {
        return Some((Service::LargeMessage, urn));
    }
    if let Some(urn) = has("filetransfer") {
        return Some((Service::FileTransfer, urn));
    }
    if has("deferred").is_some() {
        return None;
    }
    Some((Service::Session, suitable::SESSION.to_owned()))
}

fn is_ours(urn: &str) -> bool {
    is_session_service(urn)
        || ["largemsg", "filetransfer", "deferred"]
            .iter()
            .any(|name| suitable::is_cpm(urn, name))
}

/// TERM-INV-03's note: Privacy asks for it, or From is anonymous and no identity is shown. What somebody asserts whom we do not
/// trust is as if absent [ASSERT-04].
fn is_anonymous(invite: &Message<'_>, trusted: bool) -> bool {
    let private = invite.headers(Name::Privacy).any(|value| {
        value
            .split(|b| matches!(b, b';' | b',' | b' ' | b'\t'))
            .any(|v| {
                [&b"id"[..], b"user", b"header"]
                    .iter()
                    .any(|p| v.eq_ignore_ascii_case(p))
            })
    });
    let anonymous = invite.from().is_ok_and(|from| {
        crate::wire::uri::sip::Uri::parse(from.uri).is_ok_and(|uri| {
            uri.host
                .to_string()
                .eq_ignore_ascii_case("anonymous.invalid")
        })
    });
    let shown = trusted && invite.header(Name::PAssertedIdentity).is_some();
    private || anonymous && !shown
}

/// The number of the address that a request comes from, as [`crate::sip::source`] has it.
fn source_number(flow: Flow) -> u64 {
    let (Flow::Udp { peer, .. } | Flow::Stream { peer, .. }) = flow;
    match crate::sip::source(peer.ip()) {
        std::net::IpAddr::V4(ip) => u64::from(ip.to_bits()),
        // A /64: its lower half says nothing. No address that is routed has zeros alone in the upper one.
        std::net::IpAddr::V6(ip) => (ip.to_bits() >> 64) as u64,
    }
}

/// No device can take it. Until the store and the ISF are there, every policy ends in 480 [TERM-INV-08] [TERM-INV-26].
fn unreachable(turn: &mut Turn, unfit: &[(Rc<[u8]>, Unfit)]) -> Reply {
    match turn.policy.unreachable {
        Unreachable::Reject => {}
        Unreachable::Defer => turn.counters.would_defer += 1,
        Unreachable::Interwork => turn.counters.would_interwork += 1,
    }
    let mut whys: Vec<&str> = unfit.iter().map(|(_, why)| why.text()).collect();
    whys.sort_unstable();
    whys.dedup();
    // One reason is a reason; several are counted together.
    let why = match whys[..] {
        [] => "no registered contact",
        [one] => one,
        [..] => "no suitable contact",
    };
    let all = whys.join("; ");
    let text = if whys.len() > 1 { &all } else { why };
    Reply {
        headers: turn.warning(text),
        why,
        ..refuse(480)
    }
}

/// A refusal that says in a Warning what would have helped.
fn saying(turn: &Turn, code: u16, why: &'static str) -> Reply {
    Reply {
        headers: turn.warning(why),
        why,
        ..refuse(code)
    }
}

fn too_small(TooSmall { min_se_s }: TooSmall) -> Reply {
    Reply {
        headers: format!("Min-SE: {min_se_s}\r\n").into_bytes(),
        ..refuse(422)
    }
}

fn forbidden(turn: &Turn, text: &'static str) -> Reply {
    saying(turn, 403, text)
}

/// Full, or going down.
pub(super) fn busy() -> Reply {
    let mut headers = Vec::new();
    headers::put(&mut headers, b"Retry-After", b"5");
    Reply {
        headers,
        why: "no room for another session, or the server goes down",
        ..refuse(503)
    }
}

fn refuse(code: u16) -> Reply {
    Reply {
        code,
        ..Reply::default()
    }
}
