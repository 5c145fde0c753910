//! Exact arithmetic, percentages and units.
