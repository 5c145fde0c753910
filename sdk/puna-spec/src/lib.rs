//! agent.yaml: parsed, validated and explained.
