use std::{fmt, marker::PhantomData};

use puna_core::{Error, ErrorKind, Event, Result, TurnOutcome};
use serde::de::DeserializeOwned;

use crate::EventStream;

/// A run whose answer is a `T`: its events as they come, [`PartialOutput`](Event::PartialOutput)s among them, then the
/// value. Dropping it stops everything, as dropping an [`EventStream`] does.
pub struct TypedStream<T> {
    events: EventStream,
    outcome: Option<TurnOutcome>,
    answer: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> TypedStream<T> {
    pub(crate) fn new(events: EventStream) -> Self {
        Self { events, outcome: None, answer: PhantomData }
    }

    /// The next event, or `None` after the last one.
    pub async fn next(&mut self) -> Option<Result<Event>> {
        let event = self.events.next().await?;
        if let Ok(Event::TurnFinished { outcome, .. }) = &event {
            self.outcome = Some(outcome.clone());
        }
        Some(event)
    }

    /// Reads what is left of the events, and gives the answer.
    ///
    /// # Errors
    /// The stream's own, and whatever ended the turn without an answer:
    /// [`ResourceExhausted`](ErrorKind::ResourceExhausted) for its steps, tokens and repairs,
    /// [`Timeout`](ErrorKind::Timeout), [`Cancelled`](ErrorKind::Cancelled), what the model failed with;
    /// [`InvalidInput`](ErrorKind::InvalidInput) for a value that satisfies the type's schema and is no `T`: the type
    /// is read more strictly than its schema says.
    pub async fn value(mut self) -> Result<T> {
        while let Some(event) = self.next().await {
            event?;
        }
        match self.outcome {
            Some(TurnOutcome::Answered { value: Some(value), .. }) => {
                serde_json::from_value(value).map_err(|error| {
                    let name = std::any::type_name::<T>();
                    Error::invalid_input(format!("the answer satisfies the schema of `{name}` and is none"))
                        .with_source(error)
                })
            }
            Some(outcome) => Err(error_of(&outcome)),
            None => Err(Error::internal("the turn ended without an outcome")),
        }
    }
}

impl<T> fmt::Debug for TypedStream<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TypedStream").field("outcome", &self.outcome).finish_non_exhaustive()
    }
}

/// Why there is no answer.
fn error_of(outcome: &TurnOutcome) -> Error {
    let (kind, message) = match outcome {
        TurnOutcome::StepLimit { limit } => {
            (ErrorKind::ResourceExhausted, format!("no answer after {limit} steps"))
        }
        TurnOutcome::TokenLimit { .. } => {
            (ErrorKind::ResourceExhausted, "the answer was cut at the most tokens it may have".to_owned())
        }
        TurnOutcome::InvalidOutput { reason, .. } => {
            (ErrorKind::ResourceExhausted, format!("no repair is left and the answer is wrong: {reason}"))
        }
        TurnOutcome::TimeLimit { limit_ms } => {
            (ErrorKind::Timeout, format!("no answer within {limit_ms} ms"))
        }
        TurnOutcome::Cancelled => (ErrorKind::Cancelled, "the turn was cancelled".to_owned()),
        TurnOutcome::Failed { kind, message } => {
            (ErrorKind::from_name(kind).unwrap_or(ErrorKind::Internal), message.clone())
        }
        _ => (ErrorKind::Internal, "the turn ended without a value".to_owned()),
    };
    Error::new(kind, message)
}
