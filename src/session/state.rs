//! A CPM session as the Participating Function holds it: the originator's leg, a leg for each device that was invited.
//!
//! The law: a leg's state owns what that state needs, and each step consumes the state before. A leg's place is never used
//! again, so whatever is late finds the leg that it was meant for, or nobody.

use std::rc::Rc;

use super::{
    Decision, LegView, SessionView, Why, outcome::Refusal, redirect::Redirects, turn::Turn,
    usage::Usage,
};
use crate::{
    ids::{LegId, ServerTxnId, SessionId},
    msrp::{Command, Finish},
    sip::{
        Binding, Dialog, Flow, Target, TxnRef,
        reliable::{Received, Sent},
        retransmit::Acks,
        session_timer::Wish,
    },
    time::Instant,
};

/// Which CPM service a session is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    /// A 1-1 or group chat.
    Session,
    /// A file: no activity settles it (DISPATCH-06).
    FileTransfer,
    /// One large message: neither.
    LargeMessage,
}

/// A session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) service: Service,
    /// The transaction of the INVITE that began it.
    pub(super) txn: ServerTxnId,
    /// The key of the served user's address of record.
    pub(super) aor: Vec<u8>,
    /// The served user's address, as it was asked for.
    pub(super) user: String,
    /// The originator's, as From says.
    pub(super) from: String,
    /// The INVITE that began it; empty once everybody has answered.
    pub(super) invite: Rc<[u8]>,
    /// Whether we believe what its sender asserts.
    pub(super) trusted: bool,
    pub(super) up: Originator,
    /// Leg n is `devices[n - 1]`.
    pub(super) devices: Vec<Device>,
    /// The device on which the session settled.
    pub(super) settled: Option<LegId>,
    /// BYEs of one side that are answered when the other side is done (settled.md 15).
    pub(super) held: Vec<Held>,
    /// The originator's MSRP connection is lost; until then it must be back.
    pub(super) lost_until: Option<Instant>,
    /// How often it was lost.
    pub(super) losses: u8,
    /// The INVITE had no offer: devices offer, the originator's ACK answers [B2BUA-07].
    pub(super) late_offer: bool,
    /// Its dialogs, as they are counted for the shard.
    pub(super) counted: usize,
    /// Bytes that it holds, likewise.
    pub(super) weight: usize,
    pub(super) began: Instant,
    /// The way that its INVITE came.
    pub(super) flow: Flow,
    /// Why it ends: what was said of that first. See [`Session::ends`].
    pub(super) why: Why,
}

/// The originator's leg.
#[derive(Debug)]
pub(super) enum Originator {
    /// The INVITE has no final response yet.
    Inviting(Box<Waiting>),
    /// Answered 2xx.
    Up(Box<Usage>),
    /// It is to get a BYE with these headers, once it has acknowledged our 2xx (RFC 3261 §15) [SIP-DLG-06].
    Parting(Box<Usage>, Vec<u8>),
    /// Our BYE is out.
    Leaving(Box<Usage>),
    /// Over.
    Gone,
}

/// An INVITE of theirs that waits for its final response.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) txn: ServerTxnId,
    /// The dialog that our answers make: one, whatever the devices say [B2BUA-05].
    pub(super) usage: Usage,
    /// Provisional answers must be reliable: the INVITE requires 100rel.
    pub(super) reliably: bool,
    pub(super) sent: Sent,
    /// The reliable one that is repeated.
    pub(super) repeating: Option<crate::sip::Reply>,
    /// What was said last, and what is to be said once that is acknowledged: a device began to ring meanwhile.
    pub(super) said: u16,
    pub(super) owed: Option<u16>,
    /// Where devices have sent the call.
    pub(super) redirects: Redirects,
    /// The identifiers that the INVITE lacked, as headers: all legs have the same.
    pub(super) made: Vec<u8>,
}

/// A device's leg.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) leg: LegId,
    /// Its Contact: the Request-URI of its INVITE (settled.md 1).
    pub(super) uri: Rc<[u8]>,
    /// Its instance, where its flow is the only way to it: by that it is known again over another flow.
    pub(super) instance: Option<Box<[u8]>>,
    /// What carried its INVITE, for people.
    pub(super) carrier: &'static str,
    pub(super) state: DeviceState,
    /// Why it is in that state: see [`Device::because`].
    why: Why,
    /// How its invitation failed.
    pub(super) refusal: Option<Box<Refusal>>,
    /// The ACKs that it got, for 2xx that come again.
    pub(super) acks: Acks,
}

/// Where a device stands.
#[derive(Debug)]
pub(super) enum DeviceState {
    /// Its INVITE has no final response.
    Inviting(Box<Invitation>),
    /// It is not wanted any more: a CANCEL was asked for; a 2xx that crosses gets ACK and BYE with these headers [B2BUA-11].
    Cancelling(Box<Invitation>, Vec<u8>, Instant),
    /// It accepted.
    Accepted(Box<Usage>),
    /// Our BYE is out.
    Ending(Box<Usage>),
    /// Over.
    Ended,
}

/// An INVITE of ours.
#[derive(Debug)]
pub(super) struct Invitation {
    /// As it was sent, for the dialogs that its responses make, and for another try.
    pub(super) message: Vec<u8>,
    pub(super) target: crate::sip::Target,
    /// That is the only way to the device.
    pub(super) pinned: bool,
    /// What its branch says of the request that it follows from.
    pub(super) key: u32,
    pub(super) cseq: u32,
    pub(super) contact: Vec<u8>,
    pub(super) own: super::sdp::Own,
    pub(super) wish: Wish,
    pub(super) ringing: bool,
    pub(super) early: Vec<Early>,
    /// It counts as not answering then.
    pub(super) give_up: Instant,
    /// Timer C (RFC 3261 §16.6 point 11), begun again by 101 to 199 [SIP-TXN-08].
    pub(super) timer_c: Instant,
}

/// An early dialog of an INVITE of ours; a core that forks makes several [SIP-DLG-04].
#[derive(Debug)]
pub(super) struct Early {
    pub(super) dialog: Dialog,
    pub(super) received: Received,
    /// The answer in a reliable provisional response (RFC 3262 §5).
    pub(super) answer: Option<Vec<u8>>,
}

/// A BYE that is not answered yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) txn: ServerTxnId,
    /// Whose it is.
    pub(super) leg: LegId,
    pub(super) until: Instant,
}

impl Session {
    /// The device on a leg.
    pub(super) fn device(&mut self, leg: LegId) -> Option<&mut Device> {
        self.devices.get_mut(usize::from(leg.0).checked_sub(1)?)
    }

    /// The usage of a leg that has a confirmed one.
    pub(super) fn usage(&mut self, leg: LegId) -> Option<&mut Usage> {
        if leg == LegId::ORIGINATOR {
            return self.up.usage();
        }
        self.device(leg)?.state.usage()
    }

    /// Devices that take part.
    pub(super) fn accepted(&self) -> impl Iterator<Item = LegId> + '_ {
        self.devices
            .iter()
            .filter(|d| matches!(d.state, DeviceState::Accepted(_)))
            .map(|d| d.leg)
    }

    /// Whether a device takes part or may still come to.
    pub(super) fn has_hope(&self) -> bool {
        self.devices.iter().any(|d| d.is_wanted())
    }

    /// Whether nothing is left of it.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.up, Originator::Gone)
            && self.held.is_empty()
            && self
                .devices
                .iter()
                .all(|d| matches!(d.state, DeviceState::Ended))
    }

    /// Legs that are not over, and dialogs, early ones too.
    pub(super) fn census(&self) -> (usize, usize) {
        let mut sum = match self.up {
            // Its dialog is there from our first provisional answer on.
            Originator::Inviting(_)
            | Originator::Up(_)
            | Originator::Parting(..)
            | Originator::Leaving(_) => (1, 1),
            Originator::Gone => (0, 0),
        };
        for device in &self.devices {
            let (legs, dialogs) = match &device.state {
                DeviceState::Inviting(i) | DeviceState::Cancelling(i, ..) => (1, i.early.len()),
                DeviceState::Accepted(_) | DeviceState::Ending(_) => (1, 1),
                DeviceState::Ended => (0, 0),
            };
            sum = (sum.0 + legs, sum.1 + dialogs);
        }
        sum
    }

    /// A device has registered again, over this stream.
    pub(super) fn on_registered_again(&mut self, binding: &Binding) {
        let instance = binding.instance.as_deref().filter(|_| binding.outbound);
        for device in &mut self.devices {
            let same = instance.is_some() && device.instance.as_deref() == instance;
            if same || *device.uri == *binding.contact {
                device.heard(binding.flow);
            }
        }
    }

    /// Bytes that it holds beside its place in the table.
    pub(super) fn bytes(&self) -> usize {
        let up = match &self.up {
            Originator::Inviting(waiting) => {
                let repeating = waiting.repeating.as_ref();
                size_of::<Waiting>() + waiting.usage.bytes() + repeating.map_or(0, reply_bytes)
            }
            Originator::Parting(usage, reason) => usage.bytes() + reason.len(),
            Originator::Up(usage) | Originator::Leaving(usage) => usage.bytes(),
            Originator::Gone => 0,
        };
        let texts = self.aor.len() * 2 + self.user.len() + self.from.len() + self.invite.len();
        let held = self.held.capacity() * size_of::<Held>();
        let devices: usize = self.devices.iter().map(Device::bytes).sum();
        BESIDE + up + texts + held + devices
    }

    /// When something is due next.
    pub(super) fn at(&self) -> Option<Instant> {
        let up = match &self.up {
            Originator::Inviting(waiting) => waiting.sent.at(),
            Originator::Up(usage) => usage.at(),
            Originator::Parting(usage, _) => usage.repeat_at(),
            Originator::Leaving(_) | Originator::Gone => None,
        };
        let devices = self.devices.iter().filter_map(Device::at);
        let held = self.held.iter().map(|h| h.until);
        devices.chain(held).chain(up).chain(self.lost_until).min()
    }

    /// Ends the media of a leg and forgets its usage.
    pub(super) fn end_device(&mut self, turn: &mut Turn, leg: LegId) {
        let session = self.id;
        if let Some(device) = self.device(leg) {
            turn.media(Command::End {
                session,
                leg,
                how: Finish::Gone,
            });
            device.state = DeviceState::Ended;
        }
    }

    /// It begins to end, for this reason; what is said later follows from that.
    pub(super) fn ends(&mut self, why: impl Into<Why>) {
        if self.why.is_nothing() {
            self.why = why.into();
        }
    }

    /// As an operator sees it.
    pub(super) fn view(&self) -> SessionView {
        let state = match (&self.up, self.settled) {
            (Originator::Inviting(_), _) => "inviting",
            (Originator::Up(_), None) => "established",
            (Originator::Up(_), Some(_)) => "settled",
            (Originator::Parting(..) | Originator::Leaving(_) | Originator::Gone, _) => "ending",
        };
        let originator = LegView {
            leg: LegId::ORIGINATOR,
            contact: self.from.clone(),
            state: match &self.up {
                Originator::Inviting(_) => "inviting",
                Originator::Up(_) => "active",
                Originator::Parting(..) | Originator::Leaving(_) => "ending",
                Originator::Gone => "ended",
            },
            why: if self.lost_until.is_some() {
                "connection lost, trying to get it back".to_owned()
            } else {
                self.why.seen_from(LegId::ORIGINATOR).to_string()
            },
            transport: carrier(
                self.up
                    .any_usage()
                    .map_or(Target::Flow(self.flow), |u| u.dialog.target()),
            ),
            matched: self.up.any_usage().map_or("", |u| u.matched.text()),
        };
        let devices = self.devices.iter().map(|d| LegView {
            leg: d.leg,
            contact: String::from_utf8_lossy(&d.uri).into_owned(),
            state: d.state_name(self.settled),
            why: d.why(),
            transport: d
                .any_usage()
                .map_or(d.carrier, |u| carrier(u.dialog.target())),
            matched: d.any_usage().map_or("", |u| u.matched.text()),
        });
        SessionView {
            session: self.id,
            user: self.user.clone(),
            originator: self.from.clone(),
            state,
            why: self.why.to_string(),
            began: self.began,
            legs: std::iter::once(originator).chain(devices).collect(),
        }
    }
}

/// What the places of a session in other tables take (by user, by INVITE, timers), and what allocations cost.
const BESIDE: usize = 512;

/// Bytes of an answer that is kept.
pub(super) fn reply_bytes(reply: &crate::sip::Reply) -> usize {
    let body = reply.body.as_ref().map_or(0, |(_, body)| body.len());
    size_of::<crate::sip::Reply>() + reply.tag.len() + reply.headers.len() + body
}

/// What carries a leg's SIP, for people.
pub(super) const fn carrier(target: Target) -> &'static str {
    if target.is_stream() { "tcp" } else { "udp" }
}

impl Originator {
    /// The usage, once there is a dialog that is not being left.
    pub(super) fn usage(&mut self) -> Option<&mut Usage> {
        match self {
            Self::Up(usage) | Self::Parting(usage, _) => Some(usage),
            Self::Inviting(_) | Self::Leaving(_) | Self::Gone => None,
        }
    }

    /// The usage, whatever is being done with it.
    pub(super) const fn any_usage(&self) -> Option<&Usage> {
        match self {
            Self::Inviting(waiting) => Some(&waiting.usage),
            Self::Up(usage) | Self::Parting(usage, _) | Self::Leaving(usage) => Some(usage),
            Self::Gone => None,
        }
    }

    /// Takes the state out, to put the next one in.
    pub(super) fn take(&mut self) -> Self {
        std::mem::replace(self, Self::Gone)
    }
}

impl Device {
    /// It has registered over this flow: by that its dialogs go on.
    fn heard(&mut self, flow: Flow) {
        match &mut self.state {
            DeviceState::Inviting(invitation) | DeviceState::Cancelling(invitation, ..) => {
                for early in &mut invitation.early {
                    early.dialog.heard(flow);
                }
            }
            DeviceState::Accepted(usage) | DeviceState::Ending(usage) => usage.dialog.heard(flow),
            DeviceState::Ended => {}
        }
    }
}

impl DeviceState {
    /// The usage, while the device takes part.
    pub(super) fn usage(&mut self) -> Option<&mut Usage> {
        match self {
            Self::Accepted(usage) => Some(usage),
            Self::Inviting(_) | Self::Cancelling(..) | Self::Ending(_) | Self::Ended => None,
        }
    }

    /// Takes the state out, to put the next one in.
    pub(super) fn take(&mut self) -> Self {
        std::mem::replace(self, Self::Ended)
    }
}

impl Device {
    /// The leg of a device that is invited.
    pub(super) fn invited(
        leg: LegId,
        (uri, instance): (Rc<[u8]>, Option<Box<[u8]>>),
        carrier: &'static str,
        invitation: Box<Invitation>,
    ) -> Self {
        Self {
            leg,
            uri,
            instance,
            carrier,
            state: DeviceState::Inviting(invitation),
            why: "suitable: its feature tags match".into(),
            refusal: None,
            acks: Acks::default(),
        }
    }

    /// What was said of it last.
    pub(super) fn last_why(&self) -> Why {
        self.why.clone()
    }

    /// Says why it is in its state, or will be in a moment.
    pub(super) fn because(&mut self, turn: &mut Turn, session: SessionId, why: impl Into<Why>) {
        self.why = why.into();
        turn.note(
            Some(session),
            Decision::Leg {
                leg: self.leg,
                why: self.why.seen_from(self.leg),
            },
        );
    }

    /// Whether it takes part or may still come to.
    pub(super) const fn is_wanted(&self) -> bool {
        matches!(
            self.state,
            DeviceState::Inviting(_) | DeviceState::Accepted(_)
        )
    }

    /// The usage, whatever is being done with it.
    pub(super) const fn any_usage(&self) -> Option<&Usage> {
        match &self.state {
            DeviceState::Accepted(usage) | DeviceState::Ending(usage) => Some(usage),
            DeviceState::Inviting(_) | DeviceState::Cancelling(..) | DeviceState::Ended => None,
        }
    }

    /// Why it is in its state, for people.
    fn why(&self) -> String {
        match &self.state {
            DeviceState::Accepted(_) if self.why.is_nothing() => {
                "accepted; it connects to us".to_owned()
            }
            DeviceState::Accepted(_)
            | DeviceState::Inviting(_)
            | DeviceState::Cancelling(..)
            | DeviceState::Ending(_)
            | DeviceState::Ended => self.why.seen_from(self.leg).to_string(),
        }
    }

    /// Bytes that it holds.
    fn bytes(&self) -> usize {
        let state = match &self.state {
            DeviceState::Inviting(invitation) => invitation.bytes(),
            DeviceState::Cancelling(invitation, reason, _) => invitation.bytes() + reason.len(),
            DeviceState::Accepted(usage) | DeviceState::Ending(usage) => usage.bytes(),
            DeviceState::Ended => 0,
        };
        let refusal = self.refusal.as_ref().map_or(0, |r| r.headers.len() + 64);
        let instance = self.instance.as_ref().map_or(0, |i| i.len());
        size_of::<Self>() + self.uri.len() + instance + refusal + self.acks.bytes() + state
    }

    fn at(&self) -> Option<Instant> {
        let state = match &self.state {
            DeviceState::Inviting(invitation) => Some(invitation.give_up.min(invitation.timer_c)),
            DeviceState::Cancelling(_, _, until) => Some(*until),
            DeviceState::Accepted(usage) => usage.at(),
            DeviceState::Ending(_) | DeviceState::Ended => None,
        };
        state.into_iter().chain(self.acks.at()).min()
    }

    fn state_name(&self, settled: Option<LegId>) -> &'static str {
        match &self.state {
            DeviceState::Inviting(invitation) if invitation.ringing => "ringing",
            DeviceState::Inviting(_) => "inviting",
            DeviceState::Cancelling(..) => "cancelling",
            DeviceState::Accepted(_) if settled == Some(self.leg) => "active",
            DeviceState::Accepted(_) => "accepted",
            DeviceState::Ending(_) => "ending",
            DeviceState::Ended => "ended",
        }
    }
}

impl Invitation {
    /// Bytes that it holds.
    fn bytes(&self) -> usize {
        let early: usize = self
            .early
            .iter()
            .map(|e| size_of::<Early>() + e.dialog.bytes() + e.answer.as_ref().map_or(0, Vec::len))
            .sum();
        size_of::<Self>() + self.message.len() + self.contact.len() + self.own.bytes() + early
    }

    /// Whose it is.
    pub(super) const fn txn(&self, session: SessionId, leg: LegId) -> TxnRef {
        TxnRef {
            session,
            leg,
            cseq: self.cseq,
        }
    }
}
