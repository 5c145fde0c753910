//! Any bytes as a plugin's component: what it declares, or a typed error.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(inspection) = puna_plugins::inspect(data) {
        assert!(!inspection.manifest.tools.is_empty());
    }
});
