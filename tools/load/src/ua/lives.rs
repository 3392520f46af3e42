//! Calls one by one, each with a life of its own: begun, ended and forgotten at their own times. Scenarios in which all
//! sessions stand from beginning to end need none of this.

use std::rc::Rc;

use ringfork::wire::sip::{Message, Name, Reason};

use super::{Call, Peers, Refusal, World};
use crate::{clock::Nanos, hist::Latency, post::Departure};

/// A BYE that reached a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Bye {
    pub(crate) at: Nanos,
    /// The cause of its Reason for SIP (RFC 3326).
    pub(crate) cause: Option<u16>,
}

/// Who is told what devices learn: call, device, news.
pub(crate) type Listener = Rc<dyn Fn(u32, u16, News)>;

/// What a device learns of its call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum News {
    /// The ACK to its 200: the server knows that it has answered.
    Acked,
    HungUp(Bye),
}

impl Bye {
    pub(super) fn of(request: &Message<'_>, at: Nanos) -> Self {
        let reasons = request.each(Name::Reason, Reason::parse).flatten();
        Self {
            at,
            cause: reasons.filter_map(|r| r.sip_cause()).next(),
        }
    }
}

impl Peers {
    /// Says who is told what devices learn.
    pub(crate) fn listen(&self, listener: Listener) {
        // There is one.
        let _ = self.0.listener.set(listener);
    }

    /// Registers one device for an hour.
    pub(crate) async fn register_one(&self, user: u32, device: u16) -> Result<(), Refusal> {
        self.0.register(user, device, super::EXPIRES).await
    }

    /// Which of a user's devices the registrar knows.
    pub(crate) async fn registered(&self, user: u32) -> Result<Vec<u16>, Refusal> {
        self.0.registered(user).await
    }

    /// Calls a user: INVITE, 200, ACK. Returns when the 200 came and when the ACK went. `call` is a number that no other call
    /// of the run has; a user has one call at a time.
    pub(crate) async fn call(
        &self,
        call: u32,
        user: u32,
        departure: &Departure,
    ) -> Result<(Nanos, Nanos), Refusal> {
        self.0.call(call, user, departure).await
    }

    /// Whether an INVITE can be written before its time, to leave at it.
    pub(crate) fn write_ahead(&self) -> bool {
        let callers = self.0.callers.get();
        callers.is_some_and(|place| place.to_server.way().is_some())
    }

    /// How long what came waited until it was read, since this was last asked.
    pub(crate) fn take_waited(&self) -> Latency {
        self.0.waited.replace(Latency::new())
    }

    /// Hangs up. Returns how long the answer to BYE took.
    pub(crate) async fn hang_up_one(&self, call: u32) -> Result<Option<Nanos>, Refusal> {
        self.0.bye(call).await
    }

    /// Devices of a call that have answered it and have got no BYE.
    pub(crate) fn standing(&self, call: u32) -> usize {
        let (calls, legs) = (self.0.calls.borrow(), self.0.device_legs.borrow());
        let ids = calls.get(&call).into_iter().flat_map(|c| &c.legs);
        ids.filter_map(|id| legs.get(id))
            .filter(|l| l.bye.is_none())
            .count()
    }

    /// Forgets a call, as a phone that lost the network would: what still comes of it gets 481.
    pub(crate) fn forget(&self, call: u32) {
        let world = &self.0;
        let Some(gone) = world.calls.borrow_mut().remove(&call) else {
            return;
        };
        world
            .by_call_id
            .borrow_mut()
            .remove(gone.call_id.as_bytes());
        let mut current = world.current.borrow_mut();
        if current.get(&gone.user) == Some(&call) {
            current.remove(&gone.user);
        }
        let mut legs = world.device_legs.borrow_mut();
        for id in &gone.legs {
            legs.remove(id);
        }
    }

    /// A finding of signalling.
    pub(crate) fn trouble(&self, what: String) {
        self.0.trouble(what);
    }
}

impl World {
    pub(super) fn begin_call(&self, number: u32, call: Call) {
        self.current.borrow_mut().insert(call.user, number);
        let id = call.call_id.clone().into_bytes();
        self.by_call_id.borrow_mut().insert(id, number);
        self.calls.borrow_mut().insert(number, call);
    }

    pub(super) fn current_call(&self, user: u32) -> Option<u32> {
        self.current.borrow().get(&user).copied()
    }

    /// The call behind a Call-ID of a caller's.
    pub(super) fn call_of(&self, call_id: &[u8]) -> Option<u32> {
        self.by_call_id.borrow().get(call_id).copied()
    }

    /// The ACK that was sent in this call.
    pub(super) fn ack_of(&self, call_id: &[u8]) -> Option<Vec<u8>> {
        let call = self.call_of(call_id)?;
        self.calls.borrow().get(&call)?.ack.clone()
    }

    /// A device got a BYE; false if it knows no such call.
    pub(super) fn device_hung_up(&self, call_id: &[u8], bye: Bye) -> bool {
        let (call, device) = {
            let mut legs = self.device_legs.borrow_mut();
            let Some(leg) = legs.get_mut(call_id) else {
                return false;
            };
            if leg.bye.is_some() {
                return true;
            }
            leg.bye = Some(bye);
            leg.unacked = None;
            (leg.call, leg.device)
        };
        self.tell(call, device, News::HungUp(bye));
        true
    }

    /// Devices that have answered and have got no ACK.
    pub(super) fn unacked(&self) -> usize {
        let legs = self.device_legs.borrow();
        legs.values().filter(|leg| !leg.acked).count()
    }

    /// A device got an ACK.
    pub(super) fn device_acked(&self, call_id: &[u8]) {
        let leg = match self.device_legs.borrow_mut().get_mut(call_id) {
            Some(leg) if !leg.acked => {
                leg.acked = true;
                leg.unacked = None;
                (leg.call, leg.device)
            }
            Some(_) | None => return,
        };
        self.tell(leg.0, leg.1, News::Acked);
    }

    fn tell(&self, call: u32, device: u16, news: News) {
        if let Some(listener) = self.listener.get() {
            listener(call, device, news);
        }
    }

    pub(super) fn next_cseq(&self, user: u32, device: u16) -> u32 {
        let mut cseqs = self.cseqs.borrow_mut();
        let last = cseqs.entry((user, device)).or_default();
        *last += 1;
        *last
    }
}
