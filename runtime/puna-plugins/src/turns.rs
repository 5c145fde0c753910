//! Who may run, and what makes the running hand their thread back.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use puna_core::{Error, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::{Engine, EngineWeak};

/// How often a running guest hands its thread back: the grain of deadlines and cancellation.
const TICK: Duration = Duration::from_millis(10);

/// Turns to run a guest, as many as the pool has slots: a full pool is waiting, never an error. While
/// anyone runs a thread ticks the engine's epoch; it sleeps while nobody does.
pub struct Turns {
    calls: Arc<Semaphore>,
    /// Instances that are kept between calls: cursors, and those that are used again. They have slots of their own, so
    /// that they keep no call waiting.
    kept: Arc<Semaphore>,
    ticker: Arc<Ticker>,
}

#[derive(Default)]
struct Ticker {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    running: usize,
    ended: bool,
}

/// A turn; it ends when it is dropped.
pub struct Turn {
    _permit: OwnedSemaphorePermit,
    _ticking: Ticking,
}

/// While it lives the epoch ticks.
pub struct Ticking(Arc<Ticker>);

/// Room for an instance that is kept.
pub struct Kept {
    _permit: OwnedSemaphorePermit,
}

impl Turns {
    /// Turns for so many calls at once, and room for as many kept instances.
    ///
    /// # Errors
    /// Internal when the thread does not start.
    pub fn new(engine: &Engine, count: usize) -> Result<Self> {
        let ticker = Arc::new(Ticker::default());
        let (shared, engine) = (Arc::clone(&ticker), engine.weak());
        thread::Builder::new()
            .name("puna-plugin-ticker".to_owned())
            .spawn(move || shared.tick(&engine))
            .map_err(|error| Error::internal(format!("the ticker thread does not start: {error}")))?;
        let permits = || Arc::new(Semaphore::new(count));
        Ok(Self { calls: permits(), kept: permits(), ticker })
    }

    /// Waits for a turn.
    pub async fn take(&self) -> Turn {
        // Nothing closes this semaphore, which is the only way for `acquire` to fail.
        let permit = Arc::clone(&self.calls).acquire_owned().await.expect("an open semaphore");
        Turn { _permit: permit, _ticking: self.ticking() }
    }

    /// Waits for room to keep an instance.
    pub async fn keep(&self) -> Kept {
        // As above.
        let permit = Arc::clone(&self.kept).acquire_owned().await.expect("an open semaphore");
        Kept { _permit: permit }
    }

    /// Room to keep an instance, if there is any.
    pub fn try_keep(&self) -> Option<Kept> {
        let permit = Arc::clone(&self.kept).try_acquire_owned().ok()?;
        Some(Kept { _permit: permit })
    }

    /// Ticks for a guest that runs without a turn.
    pub fn ticking(&self) -> Ticking {
        let mut state = self.ticker.lock();
        state.running += 1;
        if state.running == 1 {
            self.ticker.changed.notify_one();
        }
        Ticking(Arc::clone(&self.ticker))
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        self.ticker.lock().ended = true;
        self.ticker.changed.notify_one();
    }
}

impl Drop for Ticking {
    fn drop(&mut self) {
        self.0.lock().running -= 1;
    }
}

impl Ticker {
    fn tick(&self, engine: &EngineWeak) {
        loop {
            let idle = |state: &mut State| state.running == 0 && !state.ended;
            let state = self.changed.wait_while(self.lock(), idle).unwrap_or_else(PoisonError::into_inner);
            if state.ended {
                return;
            }
            drop(state);
            // Weak: the thread keeps no engine alive.
            let Some(engine) = engine.upgrade() else { return };
            engine.increment_epoch();
            drop(engine);
            thread::sleep(TICK);
        }
    }

    /// A panic elsewhere leaves a counter and a flag, which are sound whatever happened.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
