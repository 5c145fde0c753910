//! The agent through its public interface, over scripted models, small tools and a journal in memory.

mod cancel;
mod construct;
mod form;
mod history;
mod kill;
mod limits;
mod memory;
mod partial;
mod state;
mod summary;
mod support;
mod turns;
