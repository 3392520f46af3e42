//! The non-INVITE server transaction: RFC 3261 §17.2.2 as RFC 4320 amends it. [SIP-TXN-06]

use super::{Action, Timer};

/// States, by the RFC's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing sent.
    Trying,
    /// A 100 is sent.
    Proceeding,
    /// A final response is sent, or it is too late for one.
    Completed,
    /// Over.
    Terminated,
}

/// What happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The request again.
    Request,
    /// The user answers 100. Any other provisional response is forbidden (RFC 4320 §4.1).
    UserProvisional,
    /// The user answers 200 to 699, but not 408.
    UserFinal,
    /// The user answers 408, which is never sent (RFC 4320 §4.2).
    UserTimeout,
    /// A response could not be sent.
    TransportError,
    /// A timer fired.
    Fired(Timer),
}

/// What is done when it is made.
pub const ENTRY: &[Action] = &[
    Action::Set(Timer::TryingLate),
    Action::Set(Timer::Late),
    Action::Tell,
];

/// The table.
#[must_use]
pub const fn step(state: State, event: Event) -> (State, &'static [Action]) {
    use Action::{Clear, Resend, Send, SendTrying, Set, TellFailed};
    use Event::{Fired, Request, TransportError, UserFinal, UserProvisional, UserTimeout};
    use State::{Completed, Proceeding, Terminated, Trying};
    use Timer::{J, Late, TryingLate};

    match (state, event) {
        (Trying, Request) => (Trying, &[]),
        (Trying, Fired(TryingLate)) => (Proceeding, &[SendTrying]),
        (Trying | Proceeding, UserProvisional) => (Proceeding, &[Clear(TryingLate), Send]),
        (Proceeding, Request) => (Proceeding, &[Resend]),
        (Trying | Proceeding, UserFinal) => {
            (Completed, &[Clear(TryingLate), Clear(Late), Set(J), Send])
        }
        (Trying | Proceeding, UserTimeout) => {
            (Completed, &[Clear(TryingLate), Clear(Late), Set(J)])
        }
        // Its sender's timer F has fired: an answer helps nobody any more.
        (Trying | Proceeding, Fired(Late)) => (Terminated, &[TellFailed]),
        (Trying | Proceeding | Completed, TransportError) => (Terminated, &[TellFailed]),
        (Completed, Request) => (Completed, &[Resend]),
        (Completed, Fired(J)) => (Terminated, &[]),
        (state, _) => (state, &[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [SIP-TXN-01] every state against every event; what is not named does nothing.
    #[test]
    fn table() {
        let events = [
            Event::Request,
            Event::UserProvisional,
            Event::UserFinal,
            Event::UserTimeout,
            Event::TransportError,
            Event::Fired(Timer::TryingLate),
            Event::Fired(Timer::Late),
            Event::Fired(Timer::J),
            Event::Fired(Timer::A),
        ];
        let mut out = format!("entry: {ENTRY:?}\n");
        for state in [
            State::Trying,
            State::Proceeding,
            State::Completed,
            State::Terminated,
        ] {
            for event in events {
                let (to, actions) = step(state, event);
                out += &format!("{state:?} + {event:?} -> {to:?} {actions:?}\n");
            }
        }
        insta::assert_snapshot!(out);
    }
}
