//! The INVITE server transaction: RFC 3261 §17.2.1 with the Accepted state of RFC 6026 §7.1.

use super::{Action, Timer};

/// States, by the RFCs' names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No final response yet.
    Proceeding,
    /// The user has sent a 2xx and repeats it itself until it is acknowledged.
    Accepted,
    /// A failure is sent, again until it is acknowledged.
    Completed,
    /// The failure is acknowledged.
    Confirmed,
    /// Over.
    Terminated,
}

/// What happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The INVITE again.
    Invite,
    /// An ACK that matches it.
    Ack,
    /// The user answers 101 to 199 (or 100).
    UserProvisional,
    /// The user answers 2xx.
    UserSuccess,
    /// The user answers 300 to 699.
    UserFailure,
    /// A response could not be sent.
    TransportError,
    /// A timer fired.
    Fired(Timer),
}

/// What is done when it is made.
pub const ENTRY: &[Action] = &[Action::Set(Timer::Trying), Action::Tell];

/// The table.
#[must_use]
pub const fn step(state: State, event: Event) -> (State, &'static [Action]) {
    use Action::{Clear, Resend, Send, SendTrying, Set, TellAck, TellFailed};
    use Event::{Ack, Fired, Invite, TransportError, UserFailure, UserProvisional, UserSuccess};
    use State::{Accepted, Completed, Confirmed, Proceeding, Terminated};
    use Timer::{G, H, I, L};
    const TRYING: Timer = Timer::Trying;

    match (state, event) {
        (Proceeding, Invite) => (Proceeding, &[Resend]),
        (Proceeding, Fired(Timer::Trying)) => (Proceeding, &[SendTrying]),
        (Proceeding, UserProvisional) => (Proceeding, &[Clear(TRYING), Send]),
        (Proceeding, UserSuccess) => (Accepted, &[Clear(TRYING), Set(L), Send]),
        (Proceeding, UserFailure) => (Completed, &[Clear(TRYING), Set(G), Set(H), Send]),
        // RFC 6026 §7.1: a response that could not be sent is told, and ends nothing: the next may go through.
        (Proceeding | Accepted, TransportError) => (state, &[TellFailed]),
        // Absorbed: the user repeats the 2xx by its own timer.
        (Accepted, Invite) => (Accepted, &[]),
        (Accepted, UserSuccess) => (Accepted, &[Send]),
        (Accepted, Ack) => (Accepted, &[TellAck]),
        (Accepted, Fired(L)) => (Terminated, &[]),

        (Completed, Invite) => (Completed, &[Resend]),
        (Completed, Fired(G)) => (Completed, &[Resend, Set(G)]),
        (Completed, Ack) => (Confirmed, &[Clear(G), Clear(H), Set(I)]),
        (Completed, Fired(H)) => (Terminated, &[TellFailed]),
        // Timer G sends it again: the user has nothing to add.
        (Completed, TransportError) => (Completed, &[]),

        (Confirmed, Fired(I)) => (Terminated, &[]),
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
            Event::Invite,
            Event::Ack,
            Event::UserProvisional,
            Event::UserSuccess,
            Event::UserFailure,
            Event::TransportError,
            Event::Fired(Timer::Trying),
            Event::Fired(Timer::G),
            Event::Fired(Timer::H),
            Event::Fired(Timer::I),
            Event::Fired(Timer::L),
            Event::Fired(Timer::A),
        ];
        let mut out = format!("entry: {ENTRY:?}\n");
        for state in [
            State::Proceeding,
            State::Accepted,
            State::Completed,
            State::Confirmed,
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
