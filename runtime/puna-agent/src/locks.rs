use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use puna_core::{Error, ErrorKind, Result};

/// Which sessions have a turn in progress in this process. Agents that share a journal share one of
/// these (it clones cheaply), so that a second turn on a session is refused instead of taking the first
/// one's unfinished turn for that of a dead process. Between processes the journal's sequence numbers
/// decide: the loser's append conflicts.
#[derive(Clone, Debug, Default)]
pub struct SessionLocks(Arc<Mutex<HashSet<String>>>);

impl SessionLocks {
    /// Takes the session until the guard is dropped.
    pub(crate) fn acquire(&self, session: &str) -> Result<SessionGuard> {
        // A poisoned set is still right: inserting and removing a string leave no half-made state.
        let mut active = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if active.insert(session.to_owned()) {
            Ok(SessionGuard { locks: self.clone(), session: session.to_owned() })
        } else {
            Err(Error::new(
                ErrorKind::Conflict,
                format!("session `{session}` has a turn in progress; wait for it to end or cancel it"),
            ))
        }
    }
}

pub(crate) struct SessionGuard {
    locks: SessionLocks,
    session: String,
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        self.locks.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.session);
    }
}
