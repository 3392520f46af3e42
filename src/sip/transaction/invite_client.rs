//! The INVITE client transaction: RFC 3261 §17.1.1 with the Accepted state of RFC 6026 §7.2 and timer C of RFC 3261 §16.8.

use super::{Action, Timer};

/// States, by the RFCs' names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Sent, nothing heard.
    Calling,
    /// A provisional response has come.
    Proceeding,
    /// A 2xx has come; further ones are passed up.
    Accepted,
    /// A failure has come and is acknowledged, again for each repeat.
    Completed,
    /// Over.
    Terminated,
}

/// What happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A 100.
    Trying,
    /// A 101 to 199.
    Provisional,
    /// A 2xx.
    Success,
    /// A 300 to 699.
    Failure,
    /// The user's CANCEL has been sent.
    Cancel,
    /// The request could not be sent, or its connection is lost.
    TransportError,
    /// A timer fired.
    Fired(Timer),
}

/// What is done when it is made.
pub const ENTRY: &[Action] = &[
    Action::Send,
    Action::Set(Timer::A),
    Action::Set(Timer::B),
    Action::Set(Timer::C),
];

/// The table.
#[must_use]
pub const fn step(state: State, event: Event) -> (State, &'static [Action]) {
    use Action::{
        Clear, Resend, SendAck, SendCancel, SendWaitingCancel, Set, Tell, TellTimedOut,
        TellUnreachable,
    };
    use Event::{Cancel, Failure, Fired, Provisional, Success, TransportError, Trying};
    use State::{Accepted, Calling, Completed, Proceeding, Terminated};
    use Timer::{A, B, C, D, M};
    const CANCELLED: Timer = Timer::Cancelled;

    match (state, event) {
        (Calling, Trying) => (Proceeding, &[Clear(A), Clear(B), Tell, SendWaitingCancel]),
        (Calling, Provisional) => (
            Proceeding,
            &[Clear(A), Clear(B), Set(C), Tell, SendWaitingCancel],
        ),
        (Calling, Success) => (Accepted, &[Clear(A), Clear(B), Clear(C), Set(M), Tell]),
        (Calling, Failure) => (
            Completed,
            &[Clear(A), Clear(B), Clear(C), SendAck, Set(D), Tell],
        ),
        (Calling, Fired(A)) => (Calling, &[Resend, Set(A)]),
        (Calling, Fired(B)) => (Terminated, &[TellTimedOut]),
        (Calling, TransportError) => (Terminated, &[TellUnreachable]),

        (Proceeding, Trying) => (Proceeding, &[Tell]),
        // A cancelled one that goes on ringing ends by its own timer, not by timer C.
        (Proceeding, Provisional) => (Proceeding, &[Set(C), Tell]),
        (Proceeding, Success) => (Accepted, &[Clear(C), Clear(CANCELLED), Set(M), Tell]),
        (Proceeding, Failure) => (
            Completed,
            &[Clear(C), Clear(CANCELLED), SendAck, Set(D), Tell],
        ),
        (Proceeding, Cancel) => (Proceeding, &[Set(CANCELLED)]),
        (Proceeding, Fired(C)) => (Proceeding, &[SendCancel, Set(CANCELLED)]),
        (Proceeding, Fired(Timer::Cancelled)) => (Terminated, &[TellTimedOut]),

        (Accepted, Success) => (Accepted, &[Tell]),
        (Accepted, Fired(M)) => (Terminated, &[]),

        (Completed, Failure) => (Completed, &[SendAck]),
        // RFC 6026 §7.2 tells the user that the ACK could not be sent; ours has its final response and nothing to do.
        (Completed, TransportError) => (Terminated, &[]),
        (Completed, Fired(D)) => (Terminated, &[]),

        (state, _) => (state, &[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [SIP-TXN-01] every state against every event; what is not named does nothing.
    #[test]
    fn table() {
        use Event::{Cancel, Failure, Fired, Provisional, Success, TransportError, Trying};
        let events = [
            Trying,
            Provisional,
            Success,
            Failure,
            Cancel,
            TransportError,
            Fired(Timer::A),
            Fired(Timer::B),
            Fired(Timer::C),
            Fired(Timer::D),
            Fired(Timer::M),
            Fired(Timer::Cancelled),
            Fired(Timer::F),
        ];
        let mut out = format!("entry: {ENTRY:?}\n");
        for state in [
            State::Calling,
            State::Proceeding,
            State::Accepted,
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
