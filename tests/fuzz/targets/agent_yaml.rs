//! Any bytes as an agent's YAML: a valid agent, or diagnostics that can be shown.
#![no_main]

use puna_spec::AgentSpec;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let variables = |name: &str| (name == "A").then(|| "value".to_owned());
    match AgentSpec::parse(data, "agent.yaml", &variables) {
        Ok(spec) => assert!(!spec.name.is_empty()),
        Err(diagnostics) => assert!(!diagnostics.to_string().is_empty()),
    }
});
