//! The non-INVITE client transaction: RFC 3261 §17.1.2.

use super::{Action, Timer};

/// States, by the RFC's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Sent, nothing heard.
    Trying,
    /// A provisional response has come; the request is repeated every T2 (on an unreliable transport).
    Proceeding,
    /// A final response has come; repeats are absorbed.
    Completed,
    /// Over.
    Terminated,
}

/// What happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A 1xx.
    Provisional,
    /// A 200 to 699.
    Final,
    /// The request could not be sent, or its connection is lost.
    TransportError,
    /// A timer fired.
    Fired(Timer),
}

/// What is done when it is made.
pub const ENTRY: &[Action] = &[Action::Send, Action::Set(Timer::E), Action::Set(Timer::F)];

/// The table.
#[must_use]
pub const fn step(state: State, event: Event) -> (State, &'static [Action]) {
    use Action::{Clear, Resend, Set, Tell, TellTimedOut, TellUnreachable};
    use Event::{Final, Fired, Provisional, TransportError};
    use State::{Completed, Proceeding, Terminated, Trying};
    use Timer::{E, F, K};

    match (state, event) {
        (Trying | Proceeding, Provisional) => (Proceeding, &[Tell]),
        (Trying | Proceeding, Final) => (Completed, &[Clear(E), Clear(F), Set(K), Tell]),
        // In Proceeding the interval is T2: whoever runs it keeps the interval there.
        (Trying | Proceeding, Fired(E)) => (state, &[Resend, Set(E)]),
        (Trying | Proceeding, Fired(F)) => (Terminated, &[TellTimedOut]),
        (Trying | Proceeding, TransportError) => (Terminated, &[TellUnreachable]),
        (Completed, Fired(K)) => (Terminated, &[]),
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
            Event::Provisional,
            Event::Final,
            Event::TransportError,
            Event::Fired(Timer::E),
            Event::Fired(Timer::F),
            Event::Fired(Timer::K),
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
