//! Log, progress, configuration, clock, randomness.

use puna_core::ToolReport;
use sha2::{Digest as _, Sha256};

use super::{GuestState, failure, limit_reached, scrub};
use crate::{
    Clock, Grant, Random,
    contract::bindings::puna::plugin::{clock, config, log, progress, random, types},
};

/// Longest line of a guest in the log, and longest message of progress.
const MAX_LINE_BYTES: usize = 2_000;

/// What a line costs beside its length, so that a flood of empty lines ends too.
const LOG_LINE_COST: usize = 64;

impl log::Host for GuestState {
    fn write(&mut self, level: log::Level, message: String) -> wasmtime::Result<()> {
        let left = &mut self.left.log_bytes;
        if *left == 0 {
            return Ok(());
        }
        *left = left.saturating_sub(message.len() + LOG_LINE_COST);
        if *left == 0 {
            tracing::warn!(
                plugin = &*self.plugin,
                "the plugin logs too much; the rest of this call's log is dropped"
            );
            return Ok(());
        }
        let message = scrub(&message, MAX_LINE_BYTES);
        match level {
            log::Level::Debug => tracing::debug!(plugin = &*self.plugin, "{message}"),
            log::Level::Info => tracing::info!(plugin = &*self.plugin, "{message}"),
            log::Level::Warn => tracing::warn!(plugin = &*self.plugin, "{message}"),
            log::Level::Error => tracing::error!(plugin = &*self.plugin, "{message}"),
        }
        Ok(())
    }
}

impl progress::Host for GuestState {
    fn report(&mut self, done: Option<f32>, message: String) -> wasmtime::Result<()> {
        let Some(left) = self.left.progress_reports.checked_sub(1) else { return Ok(()) };
        self.left.progress_reports = left;
        let done = done.filter(|done| done.is_finite()).map(|done| done.clamp(0.0, 1.0));
        self.reports.send(ToolReport::Progress { done, message: scrub(&message, MAX_LINE_BYTES) });
        Ok(())
    }
}

impl config::Host for GuestState {
    fn get(&mut self) -> wasmtime::Result<String> {
        Ok(self.setup.config_text.clone())
    }
}

impl clock::Host for GuestState {
    fn now(&mut self) -> wasmtime::Result<Result<u64, types::Error>> {
        Ok(self.need(Grant::Clock).map(|()| {
            let clock: Clock = self.setup.services.clock;
            u64::try_from(clock.now().as_nanos()).unwrap_or(u64::MAX)
        }))
    }
}

impl random::Host for GuestState {
    fn bytes(&mut self, length: u32) -> wasmtime::Result<Result<Vec<u8>, types::Error>> {
        if let Err(denied) = self.need(Grant::Random) {
            return Ok(Err(denied));
        }
        let length = length as usize;
        let Some(left) = self.left.random_bytes.checked_sub(length) else {
            let most = self.setup.limits.random_bytes as u64;
            return Ok(Err(limit_reached(&self.plugin, "random_bytes", most)));
        };
        self.left.random_bytes = left;
        let mut bytes = vec![0; length];
        match self.setup.services.random {
            Random::System => {
                if let Err(error) = getrandom::fill(&mut bytes) {
                    return Ok(Err(failure(
                        types::ErrorKind::Unavailable,
                        format!("no randomness: {error}"),
                    )));
                }
            }
            Random::Seed(seed) => {
                for chunk in bytes.chunks_mut(32) {
                    let block =
                        Sha256::digest([seed.to_le_bytes(), self.left.random_drawn.to_le_bytes()].concat());
                    chunk.copy_from_slice(&block[..chunk.len()]);
                    self.left.random_drawn += 1;
                }
            }
        }
        Ok(Ok(bytes))
    }
}
