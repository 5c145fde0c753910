//! sled's flush, such that it comes back when the disk fails.
//!
//! Who flushes waits until another thread of sled's has written. sled looks for that thread's failure before it takes the lock
//! under which it waits: a write that fails in between wakes nobody, and the wait has no end. Any later flush finds the failure
//! and wakes everybody, so a flush that takes long is followed by another one from a thread that watches.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use puna_core::Result;

use crate::files::sled_error;

/// How long a flush may take before another one follows: far longer than a disk takes, and soon enough for who waits.
const PATIENCE: Duration = Duration::from_secs(1);

/// The flushes that are under way in this process.
static UNDER_WAY: Mutex<UnderWay> = Mutex::new(UnderWay { flushes: Vec::new(), next: 0, watched: false });

struct UnderWay {
    flushes: Vec<(u64, Instant, sled::Db)>,
    next: u64,
    /// Whether the thread runs that watches them.
    watched: bool,
}

/// Hands what was written to the system.
///
/// # Errors
/// Those of the disk.
pub(crate) fn flush(db: &sled::Db) -> Result<()> {
    let _flush = Flush::begin(db);
    db.flush().map(|_| ()).map_err(sled_error)
}

/// One of them.
struct Flush(u64);

impl Flush {
    fn begin(db: &sled::Db) -> Self {
        let mut under_way = lock();
        let number = under_way.next;
        under_way.next += 1;
        under_way.flushes.push((number, Instant::now(), db.clone()));
        if !under_way.watched {
            // Without a thread it is sled's flush as it is.
            under_way.watched =
                thread::Builder::new().name("puna-flush-watch".to_owned()).spawn(watch).is_ok();
        }
        Self(number)
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        let mut under_way = lock();
        let at = under_way.flushes.iter().position(|(number, ..)| *number == self.0);
        let ended = at.map(|at| under_way.flushes.swap_remove(at));
        // Not under the lock: the last one to let go of a store closes it.
        drop(under_way);
        drop(ended);
    }
}

/// Follows flushes that take long with others. Ends when for a while there is none.
fn watch() {
    loop {
        thread::sleep(PATIENCE);
        let late: Vec<sled::Db> = {
            let mut under_way = lock();
            if under_way.flushes.is_empty() {
                under_way.watched = false;
                return;
            }
            let late = under_way.flushes.iter().filter(|(_, begun, _)| begun.elapsed() >= PATIENCE);
            late.map(|(.., db)| db.clone()).collect()
        };
        for db in late {
            // Its failure is for those who wait; sled panics on some, also where this is the last to let go of it.
            let _ = catch_unwind(AssertUnwindSafe(move || db.flush()));
        }
    }
}

fn lock() -> MutexGuard<'static, UnderWay> {
    // Nothing panics while it is held.
    UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner)
}
