//! Requests that wait for an encoder's thread: at most so many, and none whose caller has gone.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use puna_core::{Error, ErrorKind, Result};

/// What has a place in the queue for as long as somebody waits for it.
pub(super) struct Queue<J> {
    state: Mutex<State<J>>,
    changed: Condvar,
    /// Most that wait.
    room: usize,
}

struct State<J> {
    waiting: VecDeque<(u64, J)>,
    next: u64,
    closed: bool,
}

impl<J> Queue<J> {
    pub(super) fn new(room: usize) -> Self {
        let state = State { waiting: VecDeque::new(), next: 0, closed: false };
        Self { state: Mutex::new(state), changed: Condvar::new(), room }
    }

    /// Puts a job at the end. Dropping the place takes the job out again, unless the thread has it by then.
    ///
    /// # Errors
    /// [`ResourceExhausted`](ErrorKind::ResourceExhausted) when the queue is full;
    /// [`Internal`](ErrorKind::Internal) when it is closed.
    pub(super) fn push(&self, job: J) -> Result<Place<'_, J>> {
        let mut state = self.lock();
        if state.closed {
            return Err(Error::internal("the encoder's thread has ended; load the model again"));
        }
        if state.waiting.len() >= self.room {
            return Err(Error::new(
                ErrorKind::ResourceExhausted,
                format!("{} requests wait for the model already; try again later", self.room),
            ));
        }
        let number = state.next;
        state.next += 1;
        state.waiting.push_back((number, job));
        self.changed.notify_one();
        Ok(Place { queue: self, number })
    }

    /// The first job, waited for; none when the queue is closed.
    pub(super) fn pop(&self) -> Option<J> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some((_, job)) = state.waiting.pop_front() {
                return Some(job);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    /// Lets the thread end, and lets go of what waits.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.waiting.clear();
        self.changed.notify_all();
    }

    /// A panic leaves a whole queue behind, so a poisoned lock is sound to use.
    fn lock(&self) -> MutexGuard<'_, State<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A job's place in a queue.
pub(super) struct Place<'a, J> {
    queue: &'a Queue<J>,
    number: u64,
}

impl<J> Drop for Place<'_, J> {
    fn drop(&mut self) {
        let left = {
            let mut state = self.queue.lock();
            let index = state.waiting.iter().position(|(number, _)| *number == self.number);
            index.and_then(|index| state.waiting.remove(index))
        };
        // Outside the lock: a job may have megabytes to free.
        drop(left);
    }
}
