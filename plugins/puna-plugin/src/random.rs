//! Randomness for cryptographic use. A plugin that wants it asks for the grant `random`.

use crate::Error;

/// So many random bytes. Natively they are the same in each test thread.
///
/// # Errors
/// Denied when the plugin was not granted randomness; too-large above the host's limit for a call.
pub fn bytes(length: u32) -> Result<Vec<u8>, Error> {
    host_bytes(length)
}

#[cfg(target_arch = "wasm32")]
fn host_bytes(length: u32) -> Result<Vec<u8>, Error> {
    Ok(crate::guest::bindings::host::puna::plugin::random::bytes(length)?)
}

#[cfg(not(target_arch = "wasm32"))]
fn host_bytes(length: u32) -> Result<Vec<u8>, Error> {
    use std::cell::Cell;
    thread_local! {
        static STATE: Cell<u64> = const { Cell::new(0x9e37_79b9_7f4a_7c15) };
    }
    let next = || {
        // xorshift64: any sequence that does not repeat soon serves a test.
        let mut state = STATE.get();
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        STATE.set(state);
        state.to_le_bytes()[0]
    };
    Ok(std::iter::repeat_with(next).take(length as usize).collect())
}
