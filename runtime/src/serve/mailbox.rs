//! A bounded queue into a thread.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Messages from any thread to one. Its memory is there from the start.
pub(super) struct Mailbox<T> {
    messages: Mutex<VecDeque<T>>,
    arrival: Condvar,
    capacity: usize,
}

/// What was locked by a thread that panicked is whole: nothing here panics in between.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> Mailbox<T> {
    /// Room for `capacity` messages, and for `spare` that are sent in any case.
    pub(super) fn new(capacity: usize, spare: usize) -> Self {
        Self {
            messages: Mutex::new(VecDeque::with_capacity(capacity + spare)),
            arrival: Condvar::new(),
            capacity,
        }
    }

    /// Sends a message, or gives it back if there is no room.
    pub(super) fn try_send(&self, message: T) -> Result<(), T> {
        let mut messages = lock(&self.messages);
        if messages.len() >= self.capacity {
            return Err(message);
        }
        messages.push_back(message);
        drop(messages);
        self.arrival.notify_one();
        Ok(())
    }

    /// Sends a message in any case.
    pub(super) fn send(&self, message: T) {
        lock(&self.messages).push_back(message);
        self.arrival.notify_one();
    }

    /// The next message, if one is there.
    pub(super) fn try_receive(&self) -> Option<T> {
        lock(&self.messages).pop_front()
    }

    /// The next message.
    pub(super) fn receive(&self) -> T {
        let mut messages = lock(&self.messages);
        loop {
            if let Some(message) = messages.pop_front() {
                return message;
            }
            let woken = self.arrival.wait(messages);
            messages = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }
}
