//! Any bytes as a workbook of Excel: documents, or a typed error that can be shown.
#![no_main]

#[path = "support/loading.rs"]
mod loading;

libfuzzer_sys::fuzz_target!(|data: &[u8]| loading::check(puna_plugin_tables::open, "xlsx", "a.xlsx", data));
