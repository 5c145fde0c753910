//! The turn loop of an agent as a resumable state machine.
