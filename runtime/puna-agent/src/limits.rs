use std::time::Duration;

use puna_core::{Error, Result};

/// Steps a turn may take unless told otherwise: a model that has not answered after this many rounds of
/// tools is going in circles.
pub const DEFAULT_STEPS: u32 = 16;
/// Tokens a turn may generate unless told otherwise: several long answers, yet bounded.
pub const DEFAULT_TOKENS: u64 = 16_384;
/// Time a turn may take unless told otherwise.
pub const DEFAULT_TURN_TIME: Duration = Duration::from_secs(600);
/// Time one tool call may take unless told otherwise.
pub const DEFAULT_CALL_TIME: Duration = Duration::from_secs(60);
/// Calls that run at the same time unless told otherwise: more rarely helps one answer and crowds the host.
pub const DEFAULT_PARALLEL_CALLS: usize = 8;
/// Calls of one step that are performed unless told otherwise: bounds what one answer can set off.
pub const DEFAULT_CALLS_PER_STEP: usize = 32;
/// Bytes of a result (as JSON) that the model is shown unless told otherwise: some 16,000 tokens, beyond
/// which a result crowds out the conversation.
pub const DEFAULT_RESULT_BYTES: usize = 64 * 1024;
/// How long a model may take to stop after it was cancelled or its deadline passed, before its stream is
/// dropped: long enough for one decoding step, short enough for a person who pressed Ctrl-C.
pub const STOP_GRACE: Duration = Duration::from_secs(2);

/// What a turn may use. Reaching a limit of the turn ends it with a typed
/// [`TurnOutcome`](puna_core::TurnOutcome); reaching a limit of a call fails that call, and the model is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Times the model is asked in one turn. Calls of the last step are not performed, since the model
    /// could not see their results.
    pub steps: u32,
    /// Tokens generated in one turn, over all its steps and across resumptions.
    pub tokens: u64,
    /// Time from the turn's start, or from its resumption: the time between a kill and the resumption
    /// does not count.
    pub turn_time: Duration,
    /// Time of one tool call, from its start (waiting for a place among the parallel ones does not count).
    pub call_time: Duration,
    /// Tool calls at the same time.
    pub parallel_calls: usize,
    /// Tool calls performed of one step; the ones after get a failure as their result.
    pub calls_per_step: usize,
    /// Bytes of a result, or of a failure's message, written as JSON; a larger one is replaced with a
    /// `too_large` failure, never cut.
    pub result_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            steps: DEFAULT_STEPS,
            tokens: DEFAULT_TOKENS,
            turn_time: DEFAULT_TURN_TIME,
            call_time: DEFAULT_CALL_TIME,
            parallel_calls: DEFAULT_PARALLEL_CALLS,
            calls_per_step: DEFAULT_CALLS_PER_STEP,
            result_bytes: DEFAULT_RESULT_BYTES,
        }
    }
}

impl Limits {
    /// Refuses limits under which no turn could do anything.
    pub(crate) fn check(&self) -> Result<()> {
        let zero = [
            ("steps", self.steps == 0),
            ("tokens", self.tokens == 0),
            ("turn_time", self.turn_time.is_zero()),
            ("call_time", self.call_time.is_zero()),
            ("parallel_calls", self.parallel_calls == 0),
            ("calls_per_step", self.calls_per_step == 0),
            ("result_bytes", self.result_bytes == 0),
        ];
        match zero.iter().find(|(_, is_zero)| *is_zero) {
            Some((name, _)) => {
                Err(Error::invalid_input(format!("limit `{name}` is 0; it must be at least 1")))
            }
            None => Ok(()),
        }
    }
}
