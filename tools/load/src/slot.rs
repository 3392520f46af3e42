//! A value that one task leaves for another on the same thread.

use std::{
    cell::RefCell,
    collections::VecDeque,
    rc::Rc,
    task::{Poll, Waker},
};

struct Inner<T> {
    values: VecDeque<T>,
    waker: Option<Waker>,
}

/// Where values wait, first in first out, for one taker. Clones are the same slot.
pub(crate) struct Slot<T>(Rc<RefCell<Inner<T>>>);

impl<T> Clone for Slot<T> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<T> Slot<T> {
    pub(crate) fn new() -> Self {
        Self(Rc::new(RefCell::new(Inner {
            values: VecDeque::new(),
            waker: None,
        })))
    }

    /// Leaves a value.
    pub(crate) fn put(&self, value: T) {
        let waker = {
            let mut inner = self.0.borrow_mut();
            inner.values.push_back(value);
            inner.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Leaves a value unless one waits already: enough to say that something has changed.
    pub(crate) fn nudge(&self, value: T) {
        if self.0.borrow().values.is_empty() {
            self.put(value);
        }
    }

    /// A value, if one waits.
    #[cfg(test)]
    pub(crate) fn try_take(&self) -> Option<T> {
        self.0.borrow_mut().values.pop_front()
    }

    /// Waits for a value. May be dropped while it waits: nothing is lost.
    pub(crate) async fn take(&self) -> T {
        std::future::poll_fn(|cx| {
            let mut inner = self.0.borrow_mut();
            match inner.values.pop_front() {
                Some(value) => Poll::Ready(value),
                None => {
                    inner.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}
