//! What takes long the first time, on standard error: lines, and below the last one a bar with bytes.

use std::sync::{Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressStyle};
use puna::SetupProgress;

use crate::render;

/// Shows what is prepared.
pub(crate) fn shown() -> impl Fn(SetupProgress) + Send + Sync + 'static {
    let current = Mutex::new(None);
    move |step| {
        // Whoever panicked with the bar in hand left a bar.
        let mut current = current.lock().unwrap_or_else(PoisonError::into_inner);
        match step {
            SetupProgress::Bytes { done, total } if done < total => {
                let bar = current.get_or_insert_with(|| bytes_bar(total));
                bar.set_length(total);
                bar.set_position(done);
            }
            other => {
                if let Some(bar) = current.take() {
                    bar.finish_and_clear();
                }
                if let SetupProgress::Line(line) = other {
                    note(&line);
                }
            }
        }
    }
}

/// A bar of bytes with the time left.
pub(crate) fn bytes_bar(total: u64) -> ProgressBar {
    let bar = ProgressBar::new(total);
    match ProgressStyle::with_template("{bar:24} {bytes} of {total_bytes}, {eta} left") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// A line about what is done.
pub(crate) fn note(text: &str) {
    anstream::eprintln!("{}{text}{}", render::DIM, render::RESET);
}
