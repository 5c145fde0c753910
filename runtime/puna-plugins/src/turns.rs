//! Who may run, and what makes the running hand their thread back.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use puna_core::{Error, Result};
use tokio::sync::{Semaphore, SemaphorePermit};
use wasmtime::{Engine, EngineWeak};

/// How often a running guest hands its thread back: the grain of deadlines and cancellation.
const TICK: Duration = Duration::from_millis(10);

/// Turns to run a guest, as many as the pool has slots: a full pool is waiting, never an error. While
/// anyone has a turn a thread ticks the engine's epoch; it sleeps while nobody does.
pub struct Turns {
    permits: Semaphore,
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
pub struct Turn<'a> {
    _permit: SemaphorePermit<'a>,
    ticker: &'a Ticker,
}

impl Turns {
    /// # Errors
    /// Internal when the thread does not start.
    pub fn new(engine: &Engine, count: usize) -> Result<Self> {
        let ticker = Arc::new(Ticker::default());
        let (shared, engine) = (Arc::clone(&ticker), engine.weak());
        thread::Builder::new()
            .name("puna-plugin-ticker".to_owned())
            .spawn(move || shared.tick(&engine))
            .map_err(|error| Error::internal(format!("the ticker thread does not start: {error}")))?;
        Ok(Self { permits: Semaphore::new(count), ticker })
    }

    /// Waits for a turn.
    pub async fn take(&self) -> Turn<'_> {
        // Nothing closes this semaphore, which is the only way for `acquire` to fail.
        let permit = self.permits.acquire().await.expect("an open semaphore");
        let mut state = self.ticker.lock();
        state.running += 1;
        if state.running == 1 {
            self.ticker.changed.notify_one();
        }
        drop(state);
        Turn { _permit: permit, ticker: &self.ticker }
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        self.ticker.lock().ended = true;
        self.ticker.changed.notify_one();
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.ticker.lock().running -= 1;
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
