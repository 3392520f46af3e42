//! What our people ask for: registrations, calls, their ends.

use std::net::SocketAddr;

use ringfork::wire::{
    sip::{Message, Method, Name, Start},
    uri,
};

use super::{Call, Refusal, Side, World, device_user, place::Place};
use crate::{
    clock::Nanos,
    leg::{LegSpec, Role},
    media, names,
    post::{Departure, Post},
    sip_net::Reply,
    sip_text::{self, Dialog, Ids},
    transact::Asks,
    trouble::Trouble,
};

impl World {
    /// Registers a device, or takes its registration back (`expires` 0).
    pub(super) async fn register(
        &self,
        user: u32,
        device: u16,
        expires: u32,
    ) -> Result<(), Refusal> {
        let place = self.place(Side::Device)?;
        let contact = place.here.contact(&device_user(user, device));
        let binding = sip_text::Binding {
            contact: &contact,
            instance: &instance(self.chance("instance", user, device)),
            expires,
        };
        let answer = self.ask_registrar(user, device, Some(&binding)).await?;
        let answer = read(&answer, "REGISTER")?;
        // RFC 3261 §10.3: the 200 lists every binding of the address of record.
        let is_there = binds(&answer, &contact);
        if is_there != (expires > 0) {
            return Err(Refusal::other(format!(
                "REGISTER for {contact} with expires={expires}: the 200 {} it",
                if is_there {
                    "still lists"
                } else {
                    "does not list"
                }
            )));
        }
        Ok(())
    }

    /// Which of a user's devices are registered, by their own account (a REGISTER without Contact, RFC 3261 §10.2.3).
    pub(super) async fn registered(&self, user: u32) -> Result<Vec<u16>, Refusal> {
        let place = self.place(Side::Device)?;
        let answer = self.ask_registrar(user, u16::MAX, None).await?;
        let answer = read(&answer, "REGISTER")?;
        let is_there =
            |device: &u16| binds(&answer, &place.here.contact(&device_user(user, *device)));
        Ok((0..self.options.devices).filter(is_there).collect())
    }

    async fn ask_registrar(
        &self,
        user: u32,
        device: u16,
        binding: Option<&sip_text::Binding<'_>>,
    ) -> Result<Vec<u8>, Refusal> {
        let place = self.place(Side::Device)?;
        let name = names::user(user);
        let branch = self.branch();
        let tag = self.chance("register", user, device);
        let request = sip_text::register(
            place.here,
            &Ids {
                branch: &branch,
                from: &format!("<{name}>;tag={tag:x}"),
                to: &format!("<{name}>"),
                call_id: &format!("r{:x}", self.chance("register call", user, device)),
                cseq: self.next_cseq(user, device),
            },
            binding,
        )?;
        self.transactions
            .ask(&place.to_server, &branch, request, Asks::default())
            .await
            .ok_or_else(|| Refusal::silence("REGISTER"))
    }

    /// Calls a user. Returns when the 200 came and when the ACK was sent. Where the departure is still to come, the data plane
    /// sends the INVITE; over a stream it leaves at once.
    pub(super) async fn call(
        &self,
        call: u32,
        user: u32,
        departure: &Departure,
    ) -> Result<(Nanos, Nanos), Refusal> {
        let place = self.place(Side::Caller)?;
        let style = self.options.style.media;
        let path = self.path(call, user, Role::Sender);
        let sdp = media::describe(
            &path,
            self.listens(user, Role::Sender),
            style.offer,
            style.cema,
        );
        let branch = self.branch();
        let call_id = format!("c{:016x}", self.chance("call", call, 0));
        let caller = names::caller(user);
        let from = format!("<{caller}>;tag={:x}", self.chance("from", call, 0));
        let callee = names::user(user);
        let contact = place.here.contact(&format!("caller{user:05}"));
        let ids = Ids {
            branch: &branch,
            from: &from,
            to: &format!("<{callee}>"),
            call_id: &call_id,
            cseq: 1,
        };
        let request = sip_text::invite(place.here, &ids, &callee, &contact, &sdp)?;
        self.begin_call(call, Call::of(user, call_id.clone()));
        let now = self.clock.now();
        let way = place.to_server.way().filter(|_| departure.at > now);
        let asks = Asks {
            is_invite: true,
            held: way.is_some().then(|| departure.at - now),
        };
        match way {
            Some(way) => self.legs.post(
                call,
                Post {
                    departure: departure.clone(),
                    way,
                    bytes: request.clone(),
                },
            )?,
            None => departure.leaves(now),
        }
        let answer = self
            .transactions
            .ask(&place.to_server, &branch, request, asks)
            .await
            .ok_or_else(|| Refusal::silence("INVITE"))?;
        let answered = self.clock.now();
        let message = Message::parse(&answer)
            .map_err(|e| Trouble::failed(format!("the answer to INVITE: {e:?}")))?;
        let Start::Response { code, .. } = message.start() else {
            return Err(Refusal::other("the answer to INVITE is a request"));
        };
        if code >= 300 {
            // RFC 3261 §17.1.1.3: the ACK to a refusal belongs to the INVITE's transaction.
            let to =
                String::from_utf8_lossy(message.header(Name::To).unwrap_or_default()).into_owned();
            let dialog = Dialog {
                call_id: call_id.clone(),
                from: from.clone(),
                to: to.clone(),
                target: callee.clone(),
                routes: Vec::new(),
                cseq: 1,
            };
            let ack = sip_text::within(place.here, &Ids { to: &to, ..ids }, Method::Ack, &dialog)?;
            place.to_server.send(&ack);
            return Err(Refusal::by(code, format!("INVITE of session {call}")));
        }
        let dialog = Dialog::of(&message, &call_id, &from, 1)
            .ok_or_else(|| Refusal::other("the 200 to INVITE has no tag or no Contact"))?;
        let branch = self.branch();
        let ids = Ids {
            branch: &branch,
            to: &dialog.to,
            ..ids
        };
        let ack = sip_text::within(place.here, &ids, Method::Ack, &dialog)?;
        self.towards(place, &dialog).send(&ack);
        let acked = self.clock.now();
        let peer = media::read(message.body(), style.cema).map_err(Trouble::failed)?;
        self.legs.leg(LegSpec {
            session: call,
            user,
            role: Role::Sender,
            how: media::after_answer(&peer),
            own_path: path,
            peer_path: peer.path,
        })?;
        if let Some(c) = self.calls.borrow_mut().get_mut(&call) {
            c.ack = Some(ack);
            c.dialog = Some(dialog);
        }
        Ok((answered, acked))
    }

    /// Hangs up, if the call stands. Returns how long the answer to BYE took.
    pub(super) async fn bye(&self, call: u32) -> Result<Option<Nanos>, Refusal> {
        let dialog = self
            .calls
            .borrow_mut()
            .get_mut(&call)
            .and_then(|c| c.dialog.take());
        let Some(dialog) = dialog else {
            return Ok(None);
        };
        let place = self.place(Side::Caller)?;
        let branch = self.branch();
        let request = sip_text::within(
            place.here,
            &Ids {
                branch: &branch,
                from: &dialog.from,
                to: &dialog.to,
                call_id: &dialog.call_id,
                cseq: dialog.cseq + 1,
            },
            Method::Bye,
            &dialog,
        )?;
        let start = self.clock.now();
        let way = self.towards(place, &dialog);
        let answer = self
            .transactions
            .ask(&way, &branch, request, Asks::default())
            .await;
        let took = self.clock.now() - start;
        read(&answer.ok_or_else(|| Refusal::silence("BYE"))?, "BYE")?;
        Ok(Some(took))
    }

    /// Where a request inside a dialog goes: its first route, else the peer's contact, where that is an address.
    fn towards(&self, place: &Place, dialog: &Dialog) -> Reply {
        let first = dialog.routes.first().map(|r| {
            let inner = r.split(|&b| b == b'<').nth(1).unwrap_or(r);
            inner.split(|&b| b == b'>').next().unwrap_or(inner).to_vec()
        });
        let target = first.unwrap_or_else(|| dialog.target.clone().into_bytes());
        let at = uri::sip::Uri::parse(&target)
            .ok()
            .and_then(|u| Some(SocketAddr::new(u.host.ip()?, u.port.unwrap_or(5060))));
        place.to_server.towards(at.unwrap_or(self.options.server))
    }
}

/// A UUID (RFC 4122, version 4) from 64 bits of chance.
fn instance(chance: u64) -> String {
    let hex = format!("{chance:016x}");
    format!(
        "{}-{}-4{}-8{}-000000000000",
        &hex[..8],
        &hex[8..12],
        &hex[12..15],
        &hex[13..16]
    )
}

/// A 2xx.
fn read<'a>(answer: &'a [u8], to: &str) -> Result<Message<'a>, Refusal> {
    match Message::parse(answer) {
        Ok(m) => match m.start() {
            Start::Response { code, .. } if (200..300).contains(&code) => Ok(m),
            Start::Response { code, .. } => Err(Refusal::by(code, to)),
            Start::Request { .. } => {
                Err(Refusal::other(format!("the answer to {to} is a request")))
            }
        },
        Err(_) => Err(Refusal::other(format!("the answer to {to} is unreadable"))),
    }
}

/// Whether the answer to a REGISTER lists this contact with time to live.
fn binds(answer: &Message<'_>, contact: &str) -> bool {
    answer.contacts().flatten().any(|c| {
        c.expires() != Some(0)
            && c.address()
                .is_some_and(|a| uri::compare::equal(a.uri, contact.as_bytes()))
    })
}
