use std::{
    cmp::Reverse,
    env, fs,
    path::{Path, PathBuf},
};

/// The library's file name without a version.
pub(super) const FILE_NAME: &str = if cfg!(target_os = "macos") {
    "libonnxruntime.dylib"
} else if cfg!(windows) {
    "onnxruntime.dll"
} else {
    "libonnxruntime.so"
};

/// What ONNX Runtime loads from its own folder for CUDA.
pub(super) const CUDA_PROVIDERS: &[&str] = if cfg!(windows) {
    &["onnxruntime_providers_shared.dll", "onnxruntime_providers_cuda.dll"]
} else {
    &["libonnxruntime_providers_shared.so", "libonnxruntime_providers_cuda.so"]
};

/// The folders the system's loader searches: those of its variable, then the usual ones.
pub(super) fn folders() -> Vec<PathBuf> {
    let variable = if cfg!(target_os = "macos") { "DYLD_LIBRARY_PATH" } else { "LD_LIBRARY_PATH" };
    let mut folders: Vec<PathBuf> = env::var_os(variable)
        .map(|value| env::split_paths(&value).filter(|dir| dir.is_absolute()).collect())
        .unwrap_or_default();
    let usual: &[&str] = if cfg!(target_os = "macos") {
        &["/opt/homebrew/lib", "/usr/local/lib"]
    } else {
        &["/usr/local/lib", "/usr/local/lib64", "/usr/lib", "/usr/lib64", "/lib"]
    };
    folders.extend(usual.iter().map(PathBuf::from));
    if cfg!(target_os = "linux") {
        folders.push(PathBuf::from(format!("/usr/lib/{}-linux-gnu", env::consts::ARCH)));
    }
    folders
}

/// The ONNX Runtime libraries in the folders, the newest by file name first, each file once.
pub(super) fn candidates(folders: &[PathBuf]) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    for folder in folders {
        let Ok(entries) = fs::read_dir(folder) else { continue };
        let mut files: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| file_version(path).is_some())
            .filter_map(|path| fs::canonicalize(path).ok())
            .collect();
        files.sort();
        for file in files {
            if !found.contains(&file) {
                found.push(file);
            }
        }
    }
    // Stable: folders keep their order among equal versions.
    found.sort_by_key(|path| Reverse(file_version(path)));
    found
}

/// The numbers in `libonnxruntime.so.1.32.0`, `libonnxruntime.1.32.0.dylib`; empty where the name has none.
fn file_version(path: &Path) -> Option<Vec<u32>> {
    let name = path.file_name()?.to_str()?;
    let (stem, extension) = FILE_NAME.rsplit_once('.')?;
    let rest = name.strip_prefix(stem)?.strip_prefix('.')?;
    let numbers = if rest == extension {
        ""
    } else if let Some(numbers) = rest.strip_prefix(extension) {
        numbers.strip_prefix('.')?
    } else {
        rest.strip_suffix(extension)?.strip_suffix('.')?
    };
    numbers.split('.').filter(|number| !number.is_empty()).map(|number| number.parse().ok()).collect()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_file_names() {
        let version = |name: &str| file_version(Path::new(name));
        assert_eq!(version("/usr/lib/libonnxruntime.so.1.32.0"), Some(vec![1, 32, 0]));
        assert_eq!(version("libonnxruntime.so"), Some(vec![]));
        assert_eq!(version("libonnxruntime.so.1"), Some(vec![1]));
        for other in
            ["libonnxruntime_providers_shared.so", "libonnx.so", "libonnxruntime.so.1.x", "libonnxruntime.a"]
        {
            assert_eq!(version(other), None, "{other}");
        }
    }
}
