use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

/// Time that a call spent on a processor: the time within polls of its future, so that waiting for the host's
/// asynchronous functions does not count.
#[derive(Default)]
pub struct CpuClock {
    /// Microseconds of the polls that have ended.
    spent: AtomicU64,
    /// When the present poll began, in microseconds since [`epoch`]; 0 outside.
    since: AtomicU64,
}

impl CpuClock {
    /// The time so far; to be asked within a poll or outside.
    pub fn spent(&self) -> Duration {
        let since = self.since.load(Ordering::Relaxed);
        let present = if since == 0 { 0 } else { now().saturating_sub(since) };
        Duration::from_micros(self.spent.load(Ordering::Relaxed) + present)
    }

    /// Begins anew.
    pub fn reset(&self) {
        self.spent.store(0, Ordering::Relaxed);
        if self.since.load(Ordering::Relaxed) != 0 {
            self.since.store(now(), Ordering::Relaxed);
        }
    }
}

/// Microseconds since the first question; never 0 after it.
fn now() -> u64 {
    static EPOCH: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let elapsed = EPOCH.get_or_init(Instant::now).elapsed();
    u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX).saturating_add(1)
}

/// A future whose polls a [`CpuClock`] measures.
pub struct Metered<F> {
    future: Pin<Box<F>>,
    clock: Arc<CpuClock>,
}

impl<F> Metered<F> {
    /// Measures `future`.
    pub fn new(clock: Arc<CpuClock>, future: F) -> Self {
        Self { future: Box::pin(future), clock }
    }
}

impl<F: Future> Future for Metered<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.clock.since.store(now(), Ordering::Relaxed);
        let outcome = self.future.as_mut().poll(context);
        let spent = now().saturating_sub(self.clock.since.swap(0, Ordering::Relaxed));
        self.clock.spent.fetch_add(spent, Ordering::Relaxed);
        outcome
    }
}
