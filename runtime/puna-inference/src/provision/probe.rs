use std::{
    ffi::{CStr, OsStr},
    path::Path,
};

use ort::sys::OrtApiBase;

/// The version an ONNX Runtime library says it has, for example `1.32.0`.
///
/// The library is loaded for it, which runs its initialisers: ask only about files that are trusted
/// as much as this program.
///
/// # Errors
/// The loader's words when the file is no library for this machine or no ONNX Runtime.
pub fn library_version(path: &Path) -> Result<String, String> {
    // SAFETY: loading runs the library's initialisers; callers name only files that the user or the
    // system's administrator put in the loader's way, or that carry the pinned checksum.
    let library =
        unsafe { libloading::Library::new(AsRef::<OsStr>::as_ref(path)) }.map_err(|e| e.to_string())?;
    // SAFETY: `OrtGetApiBase` has had this signature in every release of ONNX Runtime; its result
    // is a static of the library, valid while `library` is loaded.
    let base = unsafe {
        let base = library
            .get::<unsafe extern "C" fn() -> *const OrtApiBase>(b"OrtGetApiBase\0")
            .map_err(|_| "it does not export `OrtGetApiBase`".to_owned())?;
        base().as_ref()
    };
    let base = base.ok_or_else(|| "`OrtGetApiBase` gives nothing".to_owned())?;
    // SAFETY: the function is a field of the static above and gives a static C string.
    let version = unsafe { CStr::from_ptr((base.GetVersionString)()) };
    let version = version.to_string_lossy().into_owned();
    // Unloading ONNX Runtime while its threads or statics are alive can crash at exit. The library
    // is nearly always the one that is used next, so it stays loaded.
    std::mem::forget(library);
    Ok(version)
}
