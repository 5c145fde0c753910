//! Guest SDK for Puna plugins written in Rust.
