//! Tells whoever waits how far the call is. Needs no grant; the host bounds the number of reports.

/// Reports: `done` is a share from 0 to 1, where it is known. Natively nobody hears it.
pub fn report(done: Option<f32>, message: impl AsRef<str>) {
    #[cfg(target_arch = "wasm32")]
    crate::guest::bindings::host::puna::plugin::progress::report(done, message.as_ref());
    #[cfg(not(target_arch = "wasm32"))]
    let _ = (done, message.as_ref());
}
