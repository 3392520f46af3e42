//! What the data plane is asked to do, in order, behind a lock for which who waits sleeps. A channel of the standard library waits
//! awake for a sender that was interrupted in the middle: where the data plane is a real-time task on the sender's core, that
//! sender does not come back to its end until the kernel takes the core away from the one who waits, after most of a second.
#![expect(
    clippy::disallowed_types,
    reason = "two threads of a tool, no shard: the one who waits has to sleep"
)]

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::Command;

/// For those who ask.
#[derive(Default)]
pub(crate) struct Orders(Mutex<Queue>);

#[derive(Default)]
struct Queue {
    commands: Vec<Command>,
    /// Nobody takes them any more.
    is_closed: bool,
}

/// For the one who is asked.
pub(crate) struct Taker(Weak<Orders>);

/// The data plane has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ended;

/// A queue and the one who takes from it. It lasts as long as somebody may ask.
pub(crate) fn orders() -> (Arc<Orders>, Taker) {
    let orders = Arc::new(Orders::default());
    let taker = Taker(Arc::downgrade(&orders));
    (orders, taker)
}

impl Orders {
    pub(crate) fn put(&self, command: Command) -> Result<(), Ended> {
        let mut queue = self.lock();
        if queue.is_closed {
            return Err(Ended);
        }
        queue.commands.push(command);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing in here can be half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taker {
    /// Puts all that was asked for into `into`, which is empty; false once nobody can ask any more.
    pub(crate) fn take(&self, into: &mut Vec<Command>) -> bool {
        let Some(orders) = self.0.upgrade() else {
            return false;
        };
        std::mem::swap(&mut orders.lock().commands, into);
        true
    }
}

impl Drop for Taker {
    fn drop(&mut self) {
        if let Some(orders) = self.0.upgrade() {
            orders.lock().is_closed = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_comes_in_its_order_until_nobody_can_ask() {
        let (asks, taker) = orders();
        for session in [3, 1, 2] {
            assert_eq!(asks.put(Command::Leave(session)), Ok(()));
        }
        let mut taken = Vec::new();
        assert!(taker.take(&mut taken));
        let is = |(c, s): (Command, u32)| matches!(c, Command::Leave(session) if session == s);
        assert_eq!(taken.len(), 3);
        assert!(taken.drain(..).zip([3, 1, 2]).all(is));
        assert!(taker.take(&mut taken) && taken.is_empty());
        drop(asks);
        assert!(!taker.take(&mut taken));
    }

    #[test]
    fn who_asks_nobody_is_told() {
        let (asks, taker) = orders();
        drop(taker);
        assert_eq!(asks.put(Command::Finish), Err(Ended));
    }
}
