//! Any bytes as a PDF file: documents, or a typed error that can be shown.
#![no_main]

#[path = "support/loading.rs"]
mod loading;

libfuzzer_sys::fuzz_target!(|data: &[u8]| loading::check(puna_plugin_pdf::open, "pdf", "a.pdf", data));
