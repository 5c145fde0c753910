//! Secrets, which no plugin reads: see [`http`](crate::http).

/// Whether the secret was granted and has a value. Natively no secret has.
pub fn exists(name: &str) -> bool {
    #[cfg(target_arch = "wasm32")]
    return crate::guest::bindings::host::puna::plugin::secrets::exists(name);
    #[cfg(not(target_arch = "wasm32"))]
    {
        let _ = name;
        false
    }
}
