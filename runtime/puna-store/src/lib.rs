//! A durable, ordered key-value store with transactions; sled behind it.
