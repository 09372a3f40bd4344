//! A bounded queue into a thread.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Messages from any thread to one. Its memory is there from the start.
pub(super) struct Mailbox<T> {
    queue: Mutex<Queue<T>>,
    arrival: Condvar,
    capacity: usize,
    /// How many messages there are, for who looks again and again: a lock would be in the senders' way.
    n: AtomicUsize,
}

struct Queue<T> {
    messages: VecDeque<T>,
    /// Whether the receiver waits to be woken, which is a call of the system.
    sleeps: bool,
}

/// What was locked by a thread that panicked is whole: nothing here panics in between.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> Mailbox<T> {
    /// Room for `capacity` messages, and for `spare` that are sent in any case.
    pub(super) fn new(capacity: usize, spare: usize) -> Self {
        Self {
            queue: Mutex::new(Queue {
                messages: VecDeque::with_capacity(capacity + spare),
                sleeps: false,
            }),
            arrival: Condvar::new(),
            capacity,
            n: AtomicUsize::new(0),
        }
    }

    /// Sends a message, or gives it back if there is no room.
    pub(super) fn try_send(&self, message: T) -> Result<(), T> {
        let queue = lock(&self.queue);
        if queue.messages.len() >= self.capacity {
            return Err(message);
        }
        self.put(queue, message);
        Ok(())
    }

    /// Sends a message in any case.
    pub(super) fn send(&self, message: T) {
        self.put(lock(&self.queue), message);
    }

    fn put(&self, mut queue: MutexGuard<'_, Queue<T>>, message: T) {
        queue.messages.push_back(message);
        self.n.store(queue.messages.len(), Ordering::Release);
        let sleeps = queue.sleeps;
        drop(queue);
        if sleeps {
            self.arrival.notify_one();
        }
    }

    fn take(&self, queue: &mut Queue<T>) -> Option<T> {
        let message = queue.messages.pop_front();
        self.n.store(queue.messages.len(), Ordering::Release);
        message
    }

    /// The next message, if one is there.
    pub(super) fn try_receive(&self) -> Option<T> {
        if self.n.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.take(&mut lock(&self.queue))
    }

    /// The next message: looked for without a pause for as long as `spin`, then slept for.
    pub(super) fn receive(&self, spin: Duration) -> T {
        if !spin.is_zero() {
            let began = Instant::now();
            loop {
                if let Some(message) = self.try_receive() {
                    return message;
                }
                if began.elapsed() >= spin {
                    break;
                }
                std::hint::spin_loop();
            }
        }
        let mut queue = lock(&self.queue);
        loop {
            if let Some(message) = self.take(&mut queue) {
                queue.sleeps = false;
                return message;
            }
            queue.sleeps = true;
            let woken = self.arrival.wait(queue);
            queue = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    /// Messages come in order, whether the receiver looks for them or sleeps.
    #[test]
    fn no_message_is_lost() {
        const N: u32 = 20_000;
        for spin in [Duration::ZERO, Duration::from_micros(3), Duration::MAX] {
            let mail = Arc::new(Mailbox::new(4, 1));
            let sender = {
                let mail = Arc::clone(&mail);
                std::thread::spawn(move || {
                    for i in 0..N {
                        while mail.try_send(i).is_err() {
                            std::thread::yield_now();
                        }
                    }
                    mail.send(N);
                })
            };
            for i in 0..=N {
                assert_eq!(mail.receive(spin), i);
            }
            assert_eq!(mail.try_receive(), None);
            sender.join().unwrap();
        }
    }

    #[test]
    fn a_full_mailbox_gives_back_what_was_sent() {
        let mail = Mailbox::new(1, 1);
        assert_eq!(mail.try_send(1), Ok(()));
        assert_eq!(mail.try_send(2), Err(2));
        mail.send(3);
        assert_eq!((mail.try_receive(), mail.try_receive()), (Some(1), Some(3)));
    }
}
