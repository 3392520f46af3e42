//! The INVITE usage of a leg (RFC 5057 §4): its dialog, descriptions, session timer, and what waits for the peer.
//!
//! The law: a usage knows one leg and nothing of the others. What a request, a response or a moment means for the session
//! is decided by the procedure that asks it.

use std::{borrow::Cow, rc::Rc, time::Duration};

use super::{
    kept::Kept,
    sdp,
    turn::{self, Turn},
};
use crate::{
    ids::{LegId, ServerTxnId, SessionId},
    msrp::{self, Command},
    sip::{
        Dialog, Draft, Reply, TxnRef,
        glare::Pending,
        retransmit::{Acks, Due, Repeat},
        session_timer::{SessionTimer, Wish},
    },
    time::Instant,
    wire::sip::{Message, Method, Name},
};

/// A leg's INVITE usage.
#[derive(Debug)]
pub(super) struct Usage {
    pub(super) session: SessionId,
    pub(super) leg: LegId,
    pub(super) dialog: Dialog,
    /// Our Contact, the same in every request and response of the leg (ORIG-REINV-03).
    pub(super) contact: Kept,
    pub(super) own: sdp::Own,
    /// What the peer said last: its offer or its answer.
    pub(super) theirs: Option<Kept>,
    /// Whether our last description was the offer.
    pub(super) we_offered: bool,
    pub(super) timer: Option<SessionTimer>,
    /// A 2xx of ours that waits for its ACK.
    pub(super) unacked: Option<Box<Unacked>>,
    /// The INVITE whose 2xx we acknowledge only when the originator's answer has come (a late offer).
    pub(super) ack_held: Option<u32>,
    /// A re-INVITE or UPDATE of ours without final response.
    pub(super) asking: Option<Asking>,
    /// A re-INVITE or UPDATE of theirs that we have not answered.
    pub(super) asked: Option<Box<Asked>>,
    /// When to ask again, after a 491.
    pub(super) again: Option<(Instant, Purpose)>,
    pub(super) wish: Wish,
    pub(super) allows_update: bool,
    /// CEMA is not offered any more [CEMA-04].
    pub(super) plain: bool,
    /// The peer's path and our role, as the data plane knows them.
    pub(super) way: Option<(Rc<[u8]>, msrp::Role)>,
    /// How the peer's connection is matched, for people.
    pub(super) matched: sdp::Matched,
    /// The ACKs of re-INVITEs of ours, for 2xx that come again.
    pub(super) acks: Acks,
    /// When it comes to rest: nothing of how it came about, or was changed, is under way any more.
    rest_at: Option<Instant>,
}

/// What a usage is of: thousands of them stand idle.
const _: () = assert!(size_of::<Usage>() <= 384);

/// A 2xx that is repeated until its ACK comes [SIP-TXN-04].
#[derive(Debug)]
pub(super) struct Unacked {
    pub(super) txn: ServerTxnId,
    reply: Reply,
    repeat: Repeat,
    cseq: u32,
    /// It carries an offer: the ACK must bring the answer.
    pub(super) offers: bool,
}

/// Why we ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A session refresh [TIMER-05].
    Refresh,
    /// The same offer without CEMA [CEMA-04].
    Plain,
    /// To get a lost MSRP connection back (settled.md 8).
    Restore,
    /// What the peer of another leg asks, passed on (ORIG-REINV-02).
    Through(LegId),
}

/// A re-INVITE or UPDATE of ours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asking {
    pub(super) cseq: u32,
    pub(super) invite: bool,
    pub(super) offers: bool,
    pub(super) purpose: Purpose,
}

/// A re-INVITE or UPDATE of theirs.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) txn: ServerTxnId,
    pub(super) invite: bool,
    pub(super) cseq: u32,
    /// The whole request.
    pub(super) message: Rc<[u8]>,
    /// Its offer.
    pub(super) offer: Vec<u8>,
    /// When it must be answered, whatever the far end does.
    pub(super) until: Instant,
}

/// What an ACK has brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Acked {
    /// It belongs to no 2xx that waits: a repeat.
    Nothing,
    /// The 2xx has arrived.
    Success,
    /// The same, and the answer to the offer in it; `None` where the ACK has none.
    Answer(Option<Vec<u8>>),
}

impl Usage {
    pub(super) fn new(
        (session, leg): (SessionId, LegId),
        dialog: Dialog,
        contact: Vec<u8>,
        own: sdp::Own,
        wish: Wish,
    ) -> Self {
        Self {
            session,
            leg,
            dialog,
            contact: contact.into(),
            own,
            theirs: None,
            we_offered: false,
            timer: None,
            unacked: None,
            ack_held: None,
            asking: None,
            asked: None,
            again: None,
            wish,
            allows_update: false,
            plain: false,
            way: None,
            matched: sdp::Matched::Unknown,
            acks: Acks::default(),
            rest_at: None,
        }
    }

    /// Takes from a message of the peer what it says of the peer's abilities.
    pub(super) fn learn(&mut self, message: &Message<'_>) {
        if message.header(Name::Allow).is_some() {
            self.allows_update = message
                .tokens(Name::Allow)
                .any(|m| m == Method::Update.as_bytes());
        }
    }

    /// Whose a request of ours is.
    pub(super) const fn txn(&self, cseq: u32) -> TxnRef {
        TxnRef {
            session: self.session,
            leg: self.leg,
            cseq,
        }
    }

    /// Sends a request in the dialog; its CSeq number.
    pub(super) fn request(
        &mut self,
        turn: &mut Turn,
        method: Method<'_>,
        headers: &[u8],
        body: Option<&[u8]>,
    ) -> u32 {
        let (mut message, target) = self.dialog.request(method);
        if matches!(method, Method::Invite | Method::Update) {
            super::headers::put(&mut message, b"Contact", &self.contact.text());
            message.extend_from_slice(&turn::abilities(Some(&turn.settings.product)));
        } else {
            let product = &turn.settings.product;
            // RFC 4028 §5: `timer` in every request but ACK [TIMER-01].
            message.extend_from_slice(
                format!("Supported: timer\r\nUser-Agent: {product}\r\n").as_bytes(),
            );
        }
        message.extend_from_slice(headers);
        finish(&mut message, body);
        let cseq = self.dialog.local_cseq();
        turn.request(Draft {
            of: self.txn(cseq),
            target,
            key: 0,
            message,
        });
        cseq
    }

    /// Ends the dialog. `headers`: Reason, with CRLF. What the peer asked is over.
    pub(super) fn bye(&mut self, turn: &mut Turn, headers: &[u8]) {
        self.abandon(turn);
        self.request(turn, Method::Bye, headers, None);
    }

    /// The usage is over, whoever says BYE: a held ACK goes out (RFC 3261 §13.2.2.4: each 2xx gets one), a request of theirs that
    /// waits gets its answer, nothing is repeated or tried again.
    pub(super) fn abandon(&mut self, turn: &mut Turn) {
        if let Some(cseq) = self.ack_held.take() {
            self.acknowledge(turn, cseq, None);
        }
        self.part(turn);
        self.unacked = None;
    }

    /// The usage is over as soon as our 2xx is acknowledged: the same, but for that 2xx, which is still repeated.
    pub(super) fn part(&mut self, turn: &mut Turn) {
        if let Some(asked) = self.asked.take() {
            turn.respond_code(asked.txn, if asked.invite { 487 } else { 481 });
        }
        self.asking = None;
        self.again = None;
        self.timer = None;
    }

    /// Acknowledges a 2xx to the INVITE with this CSeq number [TERM-RSP-11] [SIP-TXN-05].
    pub(super) fn acknowledge(&mut self, turn: &mut Turn, cseq: u32, answer: Option<&[u8]>) {
        let (mut message, target) = self.dialog.ack(cseq);
        if answer.is_some() {
            let bare = message
                .strip_suffix(NO_BODY.as_bytes())
                .map_or(message.len(), <[u8]>::len);
            message.truncate(bare);
            finish(&mut message, answer);
        }
        turn.send(target, message);
    }

    /// Answers an INVITE 2xx and repeats that until the ACK comes.
    pub(super) fn succeed(
        &mut self,
        turn: &mut Turn,
        (txn, cseq): (ServerTxnId, u32),
        reply: Reply,
        offers: bool,
    ) {
        self.unacked = Some(Box::new(Unacked {
            txn,
            reply: reply.clone(),
            repeat: Repeat::success(turn.now, turn.settings.t1),
            cseq,
            offers,
        }));
        turn.respond(txn, reply);
    }

    /// An ACK has come.
    pub(super) fn on_ack(&mut self, ack: &Message<'_>) -> Acked {
        let number = ack.cseq().map(|c| c.number);
        let Some(unacked) = self.unacked.take_if(|u| number == Ok(u.cseq)) else {
            return Acked::Nothing;
        };
        if unacked.offers {
            return Acked::Answer(super::body::description(ack).map(<[u8]>::to_vec));
        }
        Acked::Success
    }

    /// Repeats the 2xx if that is due. `true`: nobody has acknowledged it in 64·T1.
    pub(super) fn repeat_success(&mut self, turn: &mut Turn) -> bool {
        let Some(unacked) = &mut self.unacked else {
            return false;
        };
        match unacked.repeat.poll(turn.now) {
            Due::Wait => false,
            Due::Again => {
                turn.respond(unacked.txn, unacked.reply.clone());
                false
            }
            Due::GiveUp => {
                self.unacked = None;
                true
            }
        }
    }

    /// When our 2xx is due again, or given up.
    pub(super) fn repeat_at(&self) -> Option<Instant> {
        self.unacked.as_ref().map(|u| u.repeat.at())
    }

    /// When something of this usage is due next.
    pub(super) fn at(&self) -> Option<Instant> {
        [
            self.timer.as_ref().map(SessionTimer::at),
            self.repeat_at(),
            self.asked.as_ref().map(|a| a.until),
            self.again.as_ref().map(|(at, _)| *at),
            self.acks.at(),
            self.rest_at,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Bytes that it holds, its own place among them.
    pub(super) fn bytes(&self) -> usize {
        let unacked = self.unacked.as_ref().map_or(0, |u| {
            size_of::<Unacked>() + super::state::reply_bytes(&u.reply)
        });
        let asked = self
            .asked
            .as_ref()
            .map_or(0, |a| size_of::<Asked>() + a.message.len() + a.offer.len());
        size_of::<Self>()
            + self.dialog.bytes()
            + self.contact.bytes()
            + self.own.bytes()
            + self.theirs.as_ref().map_or(0, Kept::bytes)
            // The data plane has it too, and heads that begin with it.
            + 4 * self.path().len()
            + unacked
            + asked
            + self.acks.bytes()
    }

    /// What the peer said last.
    pub(super) fn theirs(&self) -> Option<Vec<u8>> {
        Some(self.theirs_text()?.into_owned())
    }

    fn theirs_text(&self) -> Option<Cow<'_, [u8]>> {
        Some(self.theirs.as_ref()?.text_with(self.path()))
    }

    /// The peer's path, as the data plane knows it; empty before it does.
    fn path(&self) -> &[u8] {
        self.way.as_ref().map_or(&[], |(path, _)| path)
    }

    /// The peer's path and our role, as the data plane knows them from now on.
    pub(super) fn set_way(&mut self, peer: &msrp::LegPeer) {
        // What is at rest holds by the path of before.
        if self.theirs.as_ref().is_some_and(Kept::rests) {
            self.theirs = self.theirs().map(Into::into);
        }
        self.way = Some((Rc::clone(&peer.path), peer.role));
    }

    /// Something has changed: it comes to rest once what that needed is over.
    pub(super) fn rest_later(&mut self, turn: &Turn) {
        self.rest_at = Some(turn.now + turn.settings.t1 * 64);
    }

    /// Nothing is under way: what only a change needs is kept as small as it goes. A change finds it as it was.
    pub(super) fn rest(&mut self, turn: &mut Turn) {
        self.acks.forget(turn.now);
        if self.rest_at.take_if(|at| *at <= turn.now).is_none() {
            return;
        }
        let shapes = &mut turn.shapes;
        self.own.rest(shapes);
        self.contact.rest_contact(shapes);
        let path = self.way.as_ref().map_or(&[][..], |(path, _)| path);
        if let Some(theirs) = &mut self.theirs {
            theirs.rest_theirs(shapes, path);
        }
    }

    /// What crosses what (RFC 3261 §14, RFC 3311 §5).
    pub(super) fn pending(&self) -> Pending {
        let ours = self.asking.as_ref();
        let theirs = self.asked.as_ref();
        Pending {
            our_invite: ours.is_some_and(|a| a.invite),
            our_update: ours.is_some_and(|a| !a.invite),
            our_offer: ours.is_some_and(|a| a.offers)
                || self.unacked.as_ref().is_some_and(|u| u.offers),
            // RFC 3261 §14.2: open until its final response; a 2xx whose ACK is missing keeps us from asking, not them.
            their_invite: theirs.is_some_and(|a| a.invite),
            their_update: theirs.is_some_and(|a| !a.invite),
            their_offer: theirs.is_some_and(|a| !a.offer.is_empty()),
        }
    }

    /// Tells the data plane our half of the leg.
    pub(super) fn open_media(&self, turn: &mut Turn) {
        turn.media(Command::Offer {
            session: self.session,
            leg: self.leg,
            offer: self.own.leg_offer(),
        });
    }

    /// The peer's half, as far as both descriptions make one, and how it is matched.
    pub(super) fn peer(&self, turn: &Turn) -> Option<(msrp::LegPeer, sdp::Matched)> {
        sdp::peer(
            &self.own,
            &self.theirs_text()?,
            self.we_offered,
            turn.terms(),
        )
    }

    /// Tells the data plane the peer's half: the leg takes part. `false` where there is none.
    pub(super) fn start_media(&mut self, turn: &mut Turn) -> bool {
        let Some(peer) = self.peer(turn) else {
            return false;
        };
        self.start_media_with(turn, peer);
        true
    }

    /// The same with the half that [`Usage::peer`] has just given.
    pub(super) fn start_media_with(
        &mut self,
        turn: &mut Turn,
        (peer, matched): (msrp::LegPeer, sdp::Matched),
    ) {
        self.set_way(&peer);
        self.matched = matched;
        self.rest_later(turn);
        turn.media(Command::Start {
            session: self.session,
            leg: self.leg,
            peer,
        });
    }
}

const NO_BODY: &str = "Content-Length: 0\r\n\r\n";

/// How long a request within a dialog may wait for the far end before we answer it ourselves: well below what its sender
/// waits, 64·T1.
pub(super) fn patience(t1: Duration) -> Duration {
    t1 * 40
}

/// Ends a message: Content-Length, blank line, and the description if there is one.
fn finish(message: &mut Vec<u8>, body: Option<&[u8]>) {
    let Some(body) = body else {
        message.extend_from_slice(NO_BODY.as_bytes());
        return;
    };
    let head = format!(
        "Content-Type: {}\r\nContent-Length: {}\r\n\r\n",
        sdp::SDP,
        body.len()
    );
    message.extend_from_slice(head.as_bytes());
    message.extend_from_slice(body);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ids::ShardId, policy::Policy, session::Settings, sip::Flow};

    const INVITE: &str = "INVITE sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:6000;branch=z9hG4bK1\r\n\
        From: <sip:alice@example.com>;tag=a\r\nTo: <sip:bob@example.com>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n\
        Contact: <sip:alice@127.0.0.1:6000>\r\nContent-Length: 0\r\n\r\n";
    const PATH: &[u8] = b"msrp://127.0.0.1:6002/alice;tcp";

    fn turn() -> Turn {
        let settings = Settings {
            shard: ShardId(0),
            domains: Vec::new(),
            host: None,
            msrp_addr: "127.0.0.1:2855".parse().unwrap(),
            sip_udp: None,
            sip_tcp: None,
            t1: Duration::from_millis(500),
            session_expires: Duration::from_secs(1800),
            no_answer: Duration::from_secs(120),
            cema: true,
            legacy_session_match: false,
            max_message_bytes: 1000,
            contact_without_tags_suitable: false,
            follow_any: false,
            trusted_peers: Vec::new(),
            sessions_max: 1,
            devices_max: 1,
            legs_max: 2,
            dialogs_max: 2,
            bytes_max: 1 << 20,
            product: String::new(),
        };
        Turn::new(settings, Policy::default(), [7; 32])
    }

    // What only a change needs is kept small 64·T1 after the last one, and comes back as it was.
    #[test]
    fn a_usage_rests_after_a_change_and_knows_what_was_said() {
        let mut turn = turn();
        let leg = (SessionId::default(), LegId::ORIGINATOR);
        let invite = Message::parse(INVITE.as_bytes()).unwrap();
        let flow = Flow::Udp {
            socket: crate::ids::SocketId(0),
            peer: "127.0.0.1:6000".parse().unwrap(),
        };
        let dialog = Dialog::uas(&invite, b"tag", flow).unwrap();
        let own = turn.own_sdp(leg.0, leg.1);
        let wish = turn.wish();
        let mut usage = Usage::new(leg, dialog, b"<sip:x@h>".to_vec(), own, wish);
        let offer = [
            &b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=message 6002 TCP/MSRP *\r\n\
               a=accept-types:*\r\na=path:"[..],
            PATH,
            b"\r\n",
        ]
        .concat();
        usage.own.offer(&offer, true, turn.terms()).unwrap();
        usage.theirs = Some(offer.clone().into());
        assert!(usage.path().is_empty());
        assert!(usage.start_media(&mut turn));
        assert_eq!(usage.path(), PATH);
        for _ in 0..2 {
            let due = turn.now + Duration::from_secs(32);
            assert_eq!(usage.at(), Some(due));
            usage.rest(&mut turn);
            assert!(!usage.theirs.as_ref().unwrap().rests(), "too early");
            turn.now = due;
            usage.rest(&mut turn);
            assert!(usage.theirs.as_ref().unwrap().rests());
            assert_eq!(usage.at(), None);
            assert_eq!(usage.theirs(), Some(offer.clone()));
            // The next change.
            usage.theirs = Some(offer.clone().into());
            usage.rest_later(&turn);
        }
    }
}
