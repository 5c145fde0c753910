//! Exit codes: one for each kind of error, so that scripts can tell them apart.

use std::process::ExitCode;

use puna::{ErrorKind, TurnOutcome};

/// A defect in Puna.
pub(crate) const INTERNAL: u8 = 1;
/// A turn that reached one of its limits without an answer.
const LIMIT: u8 = 7;
/// What shells use for a program that Ctrl-C ended: 128 + SIGINT.
const CANCELLED: u8 = 130;

/// The exit code of a kind of error. `puna --help` prints this table.
pub(crate) fn code(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::InvalidInput => 2,
        ErrorKind::NotFound => 3,
        ErrorKind::Denied => 4,
        ErrorKind::Conflict => 5,
        ErrorKind::ResourceExhausted => 6,
        ErrorKind::Timeout => LIMIT,
        ErrorKind::ContextOverflow => 8,
        ErrorKind::Unavailable => 9,
        ErrorKind::Corrupt => 10,
        ErrorKind::Io => 11,
        ErrorKind::Cancelled => CANCELLED,
        _ => INTERNAL,
    }
}

/// The exit code of what Ctrl-C ended.
pub(crate) fn cancelled() -> ExitCode {
    ExitCode::from(CANCELLED)
}

/// What `puna --help` says of exit codes.
pub(crate) const HELP: &str = "\
Exit codes:
  0   done          4  denied               8   context overflow
  1   internal      5  conflict             9   unavailable
  2   invalid input 6  resource exhausted   10  corrupt data
  3   not found     7  limit or timeout     11  input/output
  130 cancelled";

/// Prints an error and gives its exit code.
pub(crate) fn report(error: &puna::Error) -> ExitCode {
    anstream::eprintln!("{}error{}: {}", crate::render::RED, crate::render::RESET, error.report());
    ExitCode::from(code(error.kind()))
}

/// The exit code of a finished turn, with a line on standard error for what is not an answer.
pub(crate) fn of_outcome(outcome: &TurnOutcome) -> ExitCode {
    let (code, reason) = match outcome {
        TurnOutcome::Answered { .. } => return ExitCode::SUCCESS,
        TurnOutcome::StepLimit { limit } => {
            (LIMIT, format!("no answer after {limit} steps; raise `limits.steps` in the agent's YAML"))
        }
        TurnOutcome::TokenLimit { .. } => (
            LIMIT,
            "the answer was cut at the most tokens it may have; raise `max_tokens` or `limits.tokens`"
                .to_owned(),
        ),
        TurnOutcome::TimeLimit { limit_ms } => (
            LIMIT,
            format!(
                "no answer within {} s; raise `limits.time` in the agent's YAML",
                *limit_ms as f64 / 1000.0
            ),
        ),
        TurnOutcome::InvalidOutput { reason, .. } => (
            LIMIT,
            format!(
                "the answer does not have its form: {reason}; raise `output.repairs`, or simplify the schema"
            ),
        ),
        TurnOutcome::Cancelled => (CANCELLED, "cancelled".to_owned()),
        TurnOutcome::Failed { kind, message } => {
            (ErrorKind::from_name(kind).map_or(INTERNAL, code), message.clone())
        }
        _ => (INTERNAL, "the turn ended in a way this version does not know".to_owned()),
    };
    anstream::eprintln!("{}error{}: {reason}", crate::render::RED, crate::render::RESET);
    ExitCode::from(code)
}
