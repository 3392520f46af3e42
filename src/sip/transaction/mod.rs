//! The four transaction machines of RFC 3261 §17 as RFC 6026 and RFC 4320 amend them: each one pure table.
//!
//! A machine is a small `Copy` state. A table maps (state, event) to (state, actions); a pair that a table does not name
//! changes nothing and does nothing (a late timer, a repeated response). Who runs a machine carries the actions out in order:
//! see [`Endpoint`](crate::sip::Endpoint). Entering `Terminated` clears all timers. [SIP-TXN-01]

pub mod invite_client;
pub mod invite_server;
pub mod non_invite_client;
pub mod non_invite_server;

use std::time::Duration;

/// The timers of RFC 3261 §17 (table 4) and RFC 6026, and four that the RFCs describe without a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Timer {
    /// INVITE request again: T1, doubling. Not on a reliable transport.
    A,
    /// INVITE without any response: 64·T1.
    B,
    /// INVITE that rings without end, refreshed by 101 to 199 (RFC 3261 §16.8). [SIP-TXN-08]
    C,
    /// Wait for response repeats after a failure of INVITE: 32 s; 0 on a reliable transport.
    D,
    /// Non-INVITE request again: T1, doubling up to T2. Not on a reliable transport.
    E,
    /// Non-INVITE without a final response: 64·T1.
    F,
    /// INVITE failure response again: T1, doubling up to T2. Not on a reliable transport.
    G,
    /// INVITE failure response without ACK: 64·T1.
    H,
    /// Wait for ACK repeats: T4; 0 on a reliable transport.
    I,
    /// Wait for non-INVITE request repeats: 64·T1; 0 on a reliable transport.
    J,
    /// Wait for non-INVITE response repeats: T4; 0 on a reliable transport.
    K,
    /// Accepted INVITE server transaction: 64·T1 (RFC 6026 §8.6).
    L,
    /// Accepted INVITE client transaction: 64·T1 (RFC 6026 §8.6).
    M,
    /// 100 (Trying) to an INVITE that nobody answers: 200 ms (RFC 3261 §17.2.1). [SIP-TXN-03]
    Trying,
    /// 100 to a non-INVITE request that nobody answers: when its sender's timer E reaches T2 (RFC 4320 §4.1). [SIP-TXN-06]
    TryingLate,
    /// No final response in 64·T1 after a CANCEL (RFC 3261 §9.1).
    Cancelled,
    /// A non-INVITE request that nobody answered while its sender's timer F ran: 64·T1 (RFC 4320 §4.2).
    Late,
}

impl Timer {
    /// How many there are: the size of a transaction's timer table.
    pub const COUNT: usize = 17;

    /// Its place in such a table.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// What whoever runs a machine does, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send what the event carries: the request of a client, the response that the user gave to a server.
    Send,
    /// Send again what was sent last.
    Resend,
    /// Send 100 (Trying).
    SendTrying,
    /// Send the ACK of a failure response, made from the INVITE and that response (RFC 3261 §17.1.1.3).
    SendAck,
    /// Send a CANCEL now if one is waiting for the first provisional response (settled.md 5).
    SendWaitingCancel,
    /// Send a CANCEL: timer C has fired (RFC 3261 §16.8).
    SendCancel,
    /// Give the message of this event to the user.
    Tell,
    /// Give the ACK to the user.
    TellAck,
    /// Tell the user that no final response came in time.
    TellTimedOut,
    /// Tell the user that the request could not be sent.
    TellUnreachable,
    /// Tell the user that its response was not acknowledged, could not be sent, or is too late.
    TellFailed,
    /// Start (or start anew) a timer.
    Set(Timer),
    /// Stop a timer.
    Clear(Timer),
}

/// T2 of RFC 3261 §17.1.2.2.
pub const T2: Duration = Duration::from_secs(4);
/// T4 of RFC 3261 §17.1.2.2.
pub const T4: Duration = Duration::from_secs(5);

/// How long a timer runs; `None`: it is not used on this transport. Zero: it fires at once.
///
/// `interval` is the running interval of the retransmission timers A, E and G: what was last waited, zero at first.
#[must_use]
pub fn duration(
    timer: Timer,
    t1: Duration,
    reliable: bool,
    interval: Duration,
) -> Option<Duration> {
    let unreliable_only = |d: Duration| if reliable { Duration::ZERO } else { d };
    let doubled = if interval.is_zero() { t1 } else { interval * 2 };
    match timer {
        Timer::A => (!reliable).then_some(doubled),
        Timer::E | Timer::G => (!reliable).then_some(doubled.min(T2)),
        Timer::B | Timer::F | Timer::H | Timer::L | Timer::M | Timer::Cancelled | Timer::Late => {
            Some(t1 * 64)
        }
        // More than three minutes.
        Timer::C => Some(Duration::from_secs(181)),
        Timer::D => Some(unreliable_only((t1 * 64).max(Duration::from_secs(32)))),
        Timer::I | Timer::K => Some(unreliable_only(T4)),
        Timer::J => Some(unreliable_only(t1 * 64)),
        Timer::Trying => Some(Duration::from_millis(200)),
        Timer::TryingLate => Some(until_t2(t1)),
    }
}

/// The time until a client's timer E is set to T2: T1 + 2·T1 + ... while smaller than T2 (3.5 s with the usual T1).
fn until_t2(t1: Duration) -> Duration {
    let mut step = t1.max(Duration::from_millis(1));
    let mut sum = Duration::ZERO;
    while step < T2 {
        sum += step;
        step *= 2;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    const T1: Duration = Duration::from_millis(500);

    #[test]
    fn timer_values_are_those_of_table_4() {
        let table: String = [
            Timer::A,
            Timer::B,
            Timer::C,
            Timer::D,
            Timer::E,
            Timer::F,
            Timer::G,
            Timer::H,
            Timer::I,
            Timer::J,
            Timer::K,
            Timer::L,
            Timer::M,
            Timer::Trying,
            Timer::TryingLate,
            Timer::Cancelled,
            Timer::Late,
        ]
        .map(|t| {
            format!(
                "{t:?}: {:?} / {:?}\n",
                duration(t, T1, false, Duration::ZERO),
                duration(t, T1, true, Duration::ZERO)
            )
        })
        .concat();
        insta::assert_snapshot!(table);
    }

    #[test]
    fn e_and_g_stop_growing_at_t2_and_a_does_not() {
        let series = |timer| {
            let mut waited = Duration::ZERO;
            std::iter::from_fn(|| {
                waited = duration(timer, T1, false, waited)?;
                Some(waited.as_millis())
            })
            .take(6)
            .collect::<Vec<_>>()
        };
        assert_eq!(series(Timer::A), [500, 1000, 2000, 4000, 8000, 16000]);
        assert_eq!(series(Timer::E), [500, 1000, 2000, 4000, 4000, 4000]);
        assert_eq!(series(Timer::G), [500, 1000, 2000, 4000, 4000, 4000]);
    }
}
