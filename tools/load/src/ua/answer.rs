//! What our people do when they are asked: devices answer calls at once, everyone answers what a dialog brings.

use std::{rc::Rc, time::Duration};

use ringfork::wire::{
    sip::{Message, Method, Start},
    uri,
};

use super::{Bye, DeviceLeg, Side, World, device_of, device_user};
use crate::{
    clock::{Nanos, nanos},
    leg::{How, LegSpec, Role},
    media,
    sip_net::Reply,
    sip_text::{self, Answer},
    transact::{Key, Sent},
    trouble::Trouble,
};

/// A request that came.
struct Came<'a> {
    request: &'a Message<'a>,
    at: Nanos,
    key: Option<Key>,
    reply: &'a Reply,
}

impl World {
    /// A message came to one of our sides, at `at`.
    pub(super) fn take(self: &Rc<Self>, side: Side, bytes: &[u8], at: Nanos, reply: &Reply) {
        if bytes.is_empty() {
            return;
        }
        let waited = self.clock.now().saturating_sub(at);
        self.waited.borrow_mut().record(waited);
        let message = match Message::parse(bytes) {
            Ok(m) => m,
            Err(e) => return self.trouble(format!("unreadable message: {e:?}")),
        };
        match message.start() {
            Start::Response { code, .. } => {
                if !self.transactions.answered(&message) && (200..300).contains(&code) {
                    // The 200 to an INVITE again: our ACK was lost.
                    if let Some(ack) = message.call_id().ok().and_then(|id| self.ack_of(id)) {
                        reply.send(&ack);
                    }
                }
            }
            Start::Request { method, uri } => {
                // An ACK has no answer that could be wanted again.
                let key = (!matches!(method, Method::Ack))
                    .then(|| Key::of(&message))
                    .flatten();
                if let Some(answer) = key.as_ref().and_then(|k| self.transactions.served(k)) {
                    return reply.send(&answer);
                }
                let came = Came {
                    request: &message,
                    at,
                    key,
                    reply,
                };
                if let Err(e) = self.serve(side, &came, method, uri) {
                    self.trouble(e.to_string());
                }
            }
        }
    }

    fn serve(
        self: &Rc<Self>,
        side: Side,
        came: &Came<'_>,
        method: Method<'_>,
        uri: &[u8],
    ) -> Result<(), Trouble> {
        let request = came.request;
        let call_id = request.call_id().unwrap_or_default();
        let answer = |code: u16| -> Result<(), Trouble> {
            let answer = Answer {
                code,
                tag: "x1",
                ..Answer::default()
            };
            self.answer(came, sip_text::respond(request, &answer)?.into());
            Ok(())
        };
        match (method, side) {
            (Method::Ack, _) => {
                self.device_acked(call_id);
                Ok(())
            }
            (Method::Bye, Side::Device) => {
                let known = self.device_hung_up(call_id, Bye::of(request, came.at));
                answer(if known { 200 } else { 481 })
            }
            (Method::Bye, Side::Caller) => {
                // RFC 3261 §15.1.2: a call that we know nothing of (any more).
                if self.call_of(call_id).is_none() {
                    return answer(481);
                }
                self.trouble("the server hung up on a caller".to_owned());
                answer(200)
            }
            (Method::Invite, _) if request.to().is_ok_and(|t| t.tag().is_some()) => {
                let known = self.call_of(call_id).is_some()
                    || self.device_legs.borrow().contains_key(call_id);
                if !known {
                    return answer(481);
                }
                // A refresh by re-INVITE is not what a run of this length should see.
                self.trouble("re-INVITE within a call".to_owned());
                answer(488)
            }
            (Method::Invite, Side::Device) => self.ring(came, uri),
            (Method::Update | Method::Options, _) => answer(200),
            (Method::Cancel, _) => {
                // Our devices answer at once, so there is never anything left to cancel.
                answer(481)
            }
            (
                Method::Invite
                | Method::Register
                | Method::Prack
                | Method::Message
                | Method::Refer
                | Method::Subscribe
                | Method::Notify
                | Method::Info
                | Method::Publish
                | Method::Other(_),
                _,
            ) => answer(501),
        }
    }

    /// Sends an answer, and keeps it in case it is asked for again.
    fn answer(&self, came: &Came<'_>, answer: Sent) {
        came.reply.send(&answer);
        if let Some(key) = &came.key {
            self.transactions.serve(key.clone(), answer);
        }
    }

    /// A device is called: it answers at once.
    fn ring(self: &Rc<Self>, came: &Came<'_>, uri: &[u8]) -> Result<(), Trouble> {
        let request = came.request;
        let style = self.options.style.media;
        let (call, user, device) = uri::sip::Uri::parse(uri)
            .ok()
            .and_then(|u| device_of(u.user?))
            .and_then(|(user, device)| Some((self.current_call(user)?, user, device)))
            .ok_or_else(|| {
                Trouble::failed(format!("INVITE for {}", String::from_utf8_lossy(uri)))
            })?;
        let role = Role::Device(device);
        let offer = media::read(request.body(), style.cema).map_err(Trouble::failed)?;
        let (setup, how) = media::answer_to(&offer, style);
        let path = self.path(call, user, role);
        let sdp = media::describe(
            &path,
            self.listens(user, role),
            setup,
            style.cema && offer.cema,
        );
        let place = self.place(Side::Device)?;
        let tag = format!("{:x}", self.chance("device tag", call, device));
        let answer: Sent = sip_text::respond(
            request,
            &Answer {
                code: 200,
                tag: &tag,
                contact: Some(&place.here.contact(&device_user(user, device))),
                sdp: Some(&sdp),
            },
        )?
        .into();
        let call_id = request.call_id().unwrap_or_default().to_vec();
        self.device_legs.borrow_mut().insert(
            call_id.clone(),
            DeviceLeg {
                call,
                device,
                acked: false,
                bye: None,
            },
        );
        if let Some(c) = self.calls.borrow_mut().get_mut(&call) {
            c.legs.push(call_id.clone());
        }
        let spec = LegSpec {
            session: call,
            user,
            role,
            how,
            own_path: path,
            peer_path: offer.path,
        };
        // Who waits for a connection has to be known before the peer is told to connect; who connects should not do so
        // before the peer knows where from.
        let early = how == How::Passive;
        if early {
            self.legs.leg(spec.clone())?;
        }
        self.answer(came, Rc::clone(&answer));
        if !early {
            self.legs.leg(spec)?;
        }
        let (world, reply) = (Rc::clone(self), came.reply.clone());
        tokio_uring::spawn(async move { world.until_acked(&call_id, answer, &reply).await });
        Ok(())
    }

    /// RFC 3261 §13.3.1.4: a 200 to INVITE is sent again, over TCP too, until the ACK comes.
    async fn until_acked(&self, call_id: &[u8], answer: Sent, reply: &Reply) {
        let mut interval = Duration::from_millis(500);
        let start: Nanos = self.clock.now();
        loop {
            tokio::time::sleep(interval).await;
            match self.device_legs.borrow().get(call_id) {
                Some(leg) if leg.acked || leg.bye.is_some() => return,
                Some(_) => {}
                None => return,
            }
            if self.clock.now() - start > nanos(Duration::from_secs(32)) {
                return self.trouble("a device's 200 was never acknowledged".to_owned());
            }
            reply.send(&answer);
            interval = (interval * 2).min(Duration::from_secs(4));
        }
    }
}
