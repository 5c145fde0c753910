//! The whole of Puna: the real binary, the bundled model, the first-party plugins, a store on disk.

mod answers;
mod chat;
mod concierge;
mod consent;
mod dependencies;
mod encoders;
mod export;
mod files;
mod kill;
mod knowledge;
mod memory;
mod model;
mod pages;
mod plugin;
mod readme;
mod sessions;
mod store;
mod structured;
mod support;
mod wrong_input;
