//! Conversations: durable journals of sessions on puna-store.
