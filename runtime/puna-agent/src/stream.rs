use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use futures_util::{Stream, future::BoxFuture};
use puna_core::{Event, Result};

/// The events of a run. The turn is driven by polling the stream, inside the caller's task: nothing
/// happens before the first poll, an event is delivered before the work after it begins, and dropping the
/// stream stops everything at once and leaves the journal as a kill would: the turn stays unfinished and
/// can be resumed. To end a turn for good, cancel the run's token and read the stream to its end.
///
/// An `Err` is the last item.
pub struct EventStream {
    driver: Option<BoxFuture<'static, Result<()>>>,
    emitter: Emitter,
}

impl EventStream {
    pub(crate) fn new<F>(drive: impl FnOnce(Emitter) -> F) -> Self
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let emitter = Emitter::default();
        Self { driver: Some(Box::pin(drive(emitter.clone()))), emitter }
    }

    /// The next event, or `None` after the last one: `StreamExt::next` without the import.
    pub async fn next(&mut self) -> Option<Result<Event>> {
        poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }
}

impl Stream for EventStream {
    type Item = Result<Event>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(driver) = &mut self.driver else { return Poll::Ready(None) };
        let finished = driver.as_mut().poll(context);
        if let Poll::Ready(result) = finished {
            self.driver = None;
            return Poll::Ready(result.err().map(Err));
        }
        match self.emitter.slot().take() {
            Some(event) => Poll::Ready(Some(Ok(event))),
            None => Poll::Pending,
        }
    }
}

impl std::fmt::Debug for EventStream {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("EventStream").field("finished", &self.driver.is_none()).finish()
    }
}

/// The driver's end of the stream: one slot, empty whenever the driver is polled.
#[derive(Clone, Default)]
pub(crate) struct Emitter(Arc<Mutex<Option<Event>>>);

impl Emitter {
    /// Hands an event over and waits until the caller has taken it.
    pub(crate) async fn emit(&self, event: Event) {
        let mut event = Some(event);
        poll_fn(|context| {
            if let Some(event) = event.take() {
                *self.slot() = Some(event);
                // The stream turns this `Pending` into the event; the wake covers drivers that poll
                // their parts by their own wakers.
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Event>> {
        // A poisoned slot is still right: it is only ever replaced as a whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
