//! What our people do when they are asked: devices answer calls at once, everyone answers what a dialog brings.

use std::rc::Rc;

use ringfork::wire::{
    sip::{Message, Method, Start},
    uri,
};

use super::{Bye, DeviceLeg, Side, World, device_of, device_user, unacked::Unacked};
use crate::{
    clock::Nanos,
    leg::{How, LegSpec, Role},
    media,
    sip_net::Reply,
    sip_text::{self, Answer},
    transact::{Given, Key},
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
                    .then(|| self.transactions.key(&message))
                    .flatten();
                let came = Came {
                    request: &message,
                    at,
                    key,
                    reply,
                };
                let done = match key.and_then(|k| self.transactions.served(k)) {
                    Some(given) => self.answer_again(&came, given),
                    None => self.serve(side, &came, method, uri),
                };
                if let Err(e) = done {
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
            self.answer(came, &plain(request, code)?, Given::Code(code));
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

    /// Sends an answer, and keeps what it was in case it is asked for again.
    fn answer(&self, came: &Came<'_>, answer: &[u8], given: Given) {
        came.reply.send(answer);
        if let Some(key) = came.key {
            self.transactions.serve(key, given);
        }
    }

    /// A request that was answered has come again (RFC 3261 §17.2): the same answer.
    fn answer_again(&self, came: &Came<'_>, given: Given) -> Result<(), Trouble> {
        let answer = match given {
            Given::Code(code) => plain(came.request, code)?,
            Given::Taken { call, user, device } => {
                self.taking(came.request, call, user, device)?.answer
            }
        };
        came.reply.send(&answer);
        Ok(())
    }

    /// A device is called: it answers at once.
    fn ring(self: &Rc<Self>, came: &Came<'_>, uri: &[u8]) -> Result<(), Trouble> {
        let request = came.request;
        let (call, user, device) = uri::sip::Uri::parse(uri)
            .ok()
            .and_then(|u| device_of(u.user?))
            .and_then(|(user, device)| Some((self.current_call(user)?, user, device)))
            .ok_or_else(|| {
                Trouble::failed(format!("INVITE for {}", String::from_utf8_lossy(uri)))
            })?;
        let Taking { answer, spec } = self.taking(request, call, user, device)?;
        // Who waits for a connection has to be known before the peer is told to connect; who connects should not do so
        // before the peer knows where from.
        let (early, late) = match spec.how {
            How::Passive => (Some(spec), None),
            How::Active { .. } => (None, Some(spec)),
        };
        if let Some(spec) = early {
            self.legs.leg(spec)?;
        }
        self.answer(came, &answer, Given::Taken { call, user, device });
        if let Some(spec) = late {
            self.legs.leg(spec)?;
        }
        let now = self.clock.now();
        let call_id: Rc<[u8]> = request.call_id().unwrap_or_default().into();
        let leg = DeviceLeg {
            call,
            device,
            acked: false,
            unacked: Some(Box::new(Unacked::new(answer, came.reply.clone(), now))),
            bye: None,
        };
        self.device_legs
            .borrow_mut()
            .insert(Rc::clone(&call_id), leg);
        if let Some(c) = self.calls.borrow_mut().get_mut(&call) {
            c.legs.push(Rc::clone(&call_id));
        }
        self.expect_ack(call_id, now);
        Ok(())
    }

    /// How a device takes this INVITE: the same each time.
    fn taking(
        &self,
        request: &Message<'_>,
        call: u32,
        user: u32,
        device: u16,
    ) -> Result<Taking, Trouble> {
        let role = Role::Device(device);
        let style = self.options.style.media;
        let offer = media::read(request.body(), style.cema).map_err(Trouble::failed)?;
        let (setup, how) = media::answer_to(&offer, style);
        let own_path = self.path(call, user, role);
        let sdp = media::describe(
            &own_path,
            self.listens(user, role),
            setup,
            style.cema && offer.cema,
        );
        let place = self.place(Side::Device)?;
        let tag = format!("{:x}", self.chance("device tag", call, device));
        let answer = sip_text::respond(
            request,
            &Answer {
                code: 200,
                tag: &tag,
                contact: Some(&place.here.contact(&device_user(user, device))),
                sdp: Some(&sdp),
            },
        )?;
        let spec = LegSpec {
            session: call,
            user,
            role,
            how,
            own_path,
            peer_path: offer.path,
        };
        Ok(Taking { answer, spec })
    }
}

/// What a device does about an INVITE.
struct Taking {
    /// Its 200.
    answer: Vec<u8>,
    spec: LegSpec,
}

/// An answer that says no more than its code.
fn plain(request: &Message<'_>, code: u16) -> Result<Vec<u8>, Trouble> {
    sip_text::respond(
        request,
        &Answer {
            code,
            tag: "x1",
            ..Answer::default()
        },
    )
}

#[cfg(test)]
mod tests {
    use std::{
        io::ErrorKind,
        net::{SocketAddr, TcpListener, UdpSocket},
        time::Duration,
    };

    use ringfork::wire::sdp::Setup;

    use super::*;
    use crate::{
        clock::Clock,
        link::Link,
        plane::{READ_BYTES, Settings, body_bytes_min},
        sip_text::{Here, Ids, Transport},
        ua::{Call, Peers, PeersOptions, Style},
    };

    /// What the peer gets of the answers to so many requests.
    async fn answers(socket: &tokio::net::UdpSocket, n: usize) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        let mut buffer = [0; 4096];
        while all.len() < n {
            let came = socket.recv_from(&mut buffer);
            let (len, _) = tokio::time::timeout(Duration::from_secs(10), came)
                .await
                .expect("an answer")
                .unwrap();
            all.push(buffer[..len].to_vec());
        }
        all
    }

    #[test]
    fn a_request_that_comes_again_gets_the_answer_that_it_had_and_a_call_is_taken_once() {
        tokio_uring::start(async {
            let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
            let server = UdpSocket::bind(any).unwrap();
            server.set_nonblocking(true).unwrap();
            let server = tokio::net::UdpSocket::from_std(server).unwrap();
            let msrp = TcpListener::bind(any).unwrap();
            msrp.set_nonblocking(true).unwrap();
            let clock = Clock::start();
            let settings = Settings {
                body_bytes: body_bytes_min(),
                devices: 1,
                seed: 1,
                chunking: None,
                run: 1,
                grain: READ_BYTES,
            };
            let link = Link::start(settings, clock, any, None).unwrap();
            let options = PeersOptions {
                server: server.local_addr().unwrap(),
                style: Style::default(),
                sessions: 1,
                devices: 1,
                first_user: 0,
                seed: 1,
                msrp: link.listens(),
                give_up: None,
                arrivals: false,
            };
            let peers = Peers::start(options, clock, link.asker().unwrap()).unwrap();
            peers.0.begin_call(0, Call::of(0, "a-call".to_owned()));
            let devices = peers.0.place(Side::Device).unwrap().here.at;

            let at = msrp.local_addr().unwrap();
            let sdp = media::describe(&format!("msrp://{at}/s;tcp"), at, Setup::Passive, true);
            let here = Here {
                transport: Transport::Udp,
                at: server.local_addr().unwrap(),
            };
            let ids = |branch| Ids {
                branch,
                from: "<sip:a@example.net>;tag=1",
                to: "<sip:b@example.com>",
                call_id: "at-a-device",
                cseq: 1,
            };
            let uri = format!("sip:{}@{devices}", device_user(0, 0));
            let contact = here.contact("server");
            let ask = |branch| sip_text::invite(here, &ids(branch), &uri, &contact, &sdp).unwrap();
            let invite = ask("z9hG4bK1");
            server.send_to(&invite, devices).await.unwrap();
            let first = answers(&server, 1).await;
            assert!(first[0].starts_with(b"SIP/2.0 200 "));
            for _ in 0..2 {
                server.send_to(&invite, devices).await.unwrap();
            }
            // Behind them, so that what they led to is there when it is answered.
            let options = String::from_utf8(ask("z9hG4bK2")).unwrap();
            let options = options.replace("INVITE", "OPTIONS");
            server.send_to(options.as_bytes(), devices).await.unwrap();
            let again = answers(&server, 3).await;
            assert_eq!(again[..2], [first[0].clone(), first[0].clone()]);
            assert!(again[2].windows(13).any(|w| w == b"CSeq: 1 OPTIO"));

            // One comes sooner or later; a second would be right behind it.
            let mut connections = Vec::new();
            let (mut looks, mut left) = (0, 20);
            while looks < 2000 && left > 0 {
                match msrp.accept() {
                    Ok(connection) => connections.push(connection),
                    Err(e) => assert_eq!(e.kind(), ErrorKind::WouldBlock),
                }
                looks += 1;
                left -= usize::from(!connections.is_empty());
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            assert_eq!(connections.len(), 1);
            assert_eq!(peers.0.unacked(), 1);
            peers.stop().await;
        });
    }
}
