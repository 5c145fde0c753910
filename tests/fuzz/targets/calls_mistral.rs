//! Any text as the answer of a model that writes its calls in Mistral's marks.
#![no_main]

#[path = "support/calls.rs"]
mod calls;

libfuzzer_sys::fuzz_target!(|text: &str| calls::check(puna_text::Dialect::Mistral, text));
