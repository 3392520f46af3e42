//! What our people ask for: registrations, calls, their ends.

use std::net::SocketAddr;

use ringfork::wire::{
    sip::{Message, Method, Name, Start},
    uri,
};

use super::{Side, World, device_user, place::Place};
use crate::{
    leg::{LegSpec, Role},
    media, names,
    sip_net::Reply,
    sip_text::{self, Dialog, Ids},
    trouble::Trouble,
};

impl World {
    pub(super) async fn register(
        &self,
        session: u32,
        device: u16,
        expires: u32,
    ) -> Result<(), Trouble> {
        let place = self.place(Side::Device)?;
        let user = names::user(session);
        let branch = self.branch();
        let tag = self.chance("register", session, device);
        let request = sip_text::register(
            place.here,
            &Ids {
                branch: &branch,
                from: &format!("<{user}>;tag={tag:x}"),
                to: &format!("<{user}>"),
                call_id: &format!("r{:x}", self.chance("register call", session, device)),
                cseq: if expires == 0 { 2 } else { 1 },
            },
            &place.here.contact(&device_user(session, device)),
            &instance(self.chance("instance", session, device)),
            expires,
        )?;
        let answer = self
            .transactions
            .ask(&place.to_server, &branch, request, false)
            .await?;
        expect_2xx(&answer, "REGISTER")
    }

    pub(super) async fn invite(&self, session: u32) -> Result<(), Trouble> {
        let place = self.place(Side::Caller)?;
        let style = self.options.style.media;
        let path = self.path(session, Role::Sender);
        let sdp = media::describe(
            &path,
            self.listens(session, Role::Sender),
            style.offer,
            style.cema,
        );
        let branch = self.branch();
        let call_id = format!("c{:016x}", self.chance("call", session, 0));
        let caller = names::caller(session);
        let from = format!("<{caller}>;tag={:x}", self.chance("from", session, 0));
        let user = names::user(session);
        let contact = place.here.contact(&format!("caller{session:05}"));
        let ids = Ids {
            branch: &branch,
            from: &from,
            to: &format!("<{user}>"),
            call_id: &call_id,
            cseq: 1,
        };
        let request = sip_text::invite(place.here, &ids, &user, &contact, &sdp)?;
        let start = self.clock.now();
        let answer = self
            .transactions
            .ask(&place.to_server, &branch, request.clone(), true)
            .await?;
        let answer = Message::parse(&answer)
            .map_err(|e| Trouble::failed(format!("the answer to INVITE: {e:?}")))?;
        let Start::Response { code, .. } = answer.start() else {
            return Err(Trouble::failed("the answer to INVITE is a request"));
        };
        if code >= 300 {
            // RFC 3261 §17.1.1.3: the ACK to a refusal belongs to the INVITE's transaction.
            let to =
                String::from_utf8_lossy(answer.header(Name::To).unwrap_or_default()).into_owned();
            let dialog = Dialog {
                call_id: call_id.clone(),
                from: from.clone(),
                to: to.clone(),
                target: user.clone(),
                routes: Vec::new(),
                cseq: 1,
            };
            let ack = sip_text::within(place.here, &Ids { to: &to, ..ids }, Method::Ack, &dialog)?;
            place.to_server.send(ack);
            return Err(Trouble::unreachable(format!(
                "INVITE of session {session} was answered {code}"
            )));
        }
        let dialog = Dialog::of(&answer, &call_id, &from, 1)
            .ok_or_else(|| Trouble::failed("the 200 to INVITE has no tag or no Contact"))?;
        let branch = self.branch();
        let ids = Ids {
            branch: &branch,
            to: &dialog.to,
            ..ids
        };
        let ack = sip_text::within(place.here, &ids, Method::Ack, &dialog)?;
        self.towards(place, &dialog).send(ack.clone());
        self.setup.borrow_mut().record(self.clock.now() - start);
        self.acks.borrow_mut().insert(call_id.into_bytes(), ack);
        let peer = media::read(answer.body(), style.cema).map_err(Trouble::failed)?;
        self.legs.leg(LegSpec {
            session,
            user: session,
            role: Role::Sender,
            how: media::after_answer(&peer),
            own_path: path,
            peer_path: peer.path,
        })?;
        self.dialogs.borrow_mut().insert(session, dialog);
        Ok(())
    }

    pub(super) async fn bye(&self, session: u32) -> Result<(), Trouble> {
        let Some(dialog) = self.dialogs.borrow_mut().remove(&session) else {
            return Ok(());
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
        let answer = self.transactions.ask(&way, &branch, request, false).await?;
        self.teardown.borrow_mut().record(self.clock.now() - start);
        expect_2xx(&answer, "BYE")
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

fn expect_2xx(answer: &[u8], to: &str) -> Result<(), Trouble> {
    match Message::parse(answer).map(|m| m.method().is_none().then(|| m.start())) {
        Ok(Some(Start::Response { code, .. })) if (200..300).contains(&code) => Ok(()),
        Ok(Some(Start::Response { code, .. })) => {
            Err(Trouble::unreachable(format!("{to} was answered {code}")))
        }
        Ok(_) | Err(_) => Err(Trouble::failed(format!("the answer to {to} is unreadable"))),
    }
}
