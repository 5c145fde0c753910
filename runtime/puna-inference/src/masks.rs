//! Masks of the tokens that may come next, worked out while the model runs.

use std::{
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use puna_core::{Error, Result};
use puna_text::Matcher;

/// The thread that works out masks, from the first that is asked for on.
#[derive(Default)]
pub(crate) struct Masks {
    thread: Option<Thread>,
    /// How many matchers are away.
    away: usize,
}

struct Thread {
    to: mpsc::Sender<(usize, Box<Matcher>)>,
    from: mpsc::Receiver<Worked>,
}

/// A matcher whose mask is known, or whose error is.
pub(crate) struct Worked {
    /// Whose it is.
    pub row: usize,
    pub matcher: Box<Matcher>,
    /// How long it took.
    pub time: Duration,
}

impl Masks {
    /// Sends a matcher away to work out its mask.
    pub(crate) fn send(&mut self, row: usize, matcher: Box<Matcher>) -> Result<()> {
        if self.thread.is_none() {
            self.thread = Some(start()?);
        }
        if let Some(thread) = &self.thread {
            thread.to.send((row, matcher)).map_err(|_| ended())?;
            self.away += 1;
        }
        Ok(())
    }

    /// The next matcher that comes back; none when none is away.
    pub(crate) fn take(&mut self) -> Result<Option<Worked>> {
        let Some(thread) = self.thread.as_ref().filter(|_| self.away > 0) else { return Ok(None) };
        self.away -= 1;
        thread.from.recv().map(Some).map_err(|_| {
            self.thread = None;
            self.away = 0;
            ended()
        })
    }
}

fn start() -> Result<Thread> {
    let (to, requests) = mpsc::channel::<(usize, Box<Matcher>)>();
    let (replies, from) = mpsc::channel();
    let work = move || {
        for (row, mut matcher) in requests {
            let began = Instant::now();
            // What goes wrong here does so again where the mask is asked for.
            let _ = matcher.mask();
            if replies.send(Worked { row, matcher, time: began.elapsed() }).is_err() {
                return;
            }
        }
    };
    thread::Builder::new()
        .name("puna-masks".to_owned())
        .spawn(work)
        .map_err(|error| Error::internal("cannot start the thread for masks").with_source(error))?;
    Ok(Thread { to, from })
}

fn ended() -> Error {
    Error::internal("the thread for masks has ended")
}
