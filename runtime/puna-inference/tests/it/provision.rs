//! Finding and fetching ONNX Runtime. A shell script stands where pip is; the library is the real one.

use std::{
    cell::RefCell,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Barrier,
    thread,
};

use puna_core::ErrorKind;
use puna_inference::{
    Runtime,
    provision::{ONNX_RUNTIME_VERSION, Places, ProvisionProgress, pinned_wheel, provision, search},
};

/// Places in a folder of a test's own: nothing is found there.
fn places(folder: &Path) -> Places {
    Places { explicit: None, cache: folder.join("cache"), system: Vec::new(), pip: Vec::new() }
}

/// A program that is run where pip would be, given the folder to download to as `$dest`.
fn pip(folder: &Path, body: &str) -> Vec<std::ffi::OsString> {
    let path = folder.join("pip");
    let script = format!(
        "#!/bin/sh\nwhile [ $# -gt 0 ]; do [ \"$1\" = -d ] && dest=$2; shift; done\necho run >> '{}'\n{body}\n",
        folder.join("runs").display()
    );
    fs::write(&path, script).expect("a script");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a script");
    vec![path.into_os_string()]
}

fn wheel() -> &'static str {
    pinned_wheel(std::env::consts::OS, std::env::consts::ARCH).expect("a wheel for this machine").file
}

fn left(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.map(|entry| entry.expect("a folder").file_name().to_string_lossy().into_owned()).collect()
}

/// The library that the other tests run on.
fn real() -> PathBuf {
    Runtime::get(&|_| ()).expect("ONNX Runtime").library().path.clone()
}

#[test]
fn a_wheel_that_is_not_the_pinned_one_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut places = places(folder.path());
    places.pip = vec![pip(folder.path(), &format!("echo something else > \"$dest/{}\"", wheel()))];
    let error = provision(&places, &|_| ()).expect_err("a wrong wheel");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("SHA-256"), "{error}");
    assert_eq!(left(&places.install_dir()), [".lock"], "nothing of it stays");
}

#[test]
fn without_pip_or_network_the_steps_are_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut places = places(folder.path());
    let missing = vec![folder.path().join("no-such-program").into_os_string()];
    let offline = pip(folder.path(), "echo 'no connection could be made' >&2; exit 1");
    for (pip, told) in [
        (Vec::new(), "cannot fetch ONNX Runtime"),
        (vec![missing.clone()], "is not installed"),
        (vec![missing, offline], "no connection could be made"),
    ] {
        places.pip = pip;
        let error = provision(&places, &|_| ()).expect_err("no library");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        let message = error.report();
        for part in
            [told, "by hand", "pip download", ONNX_RUNTIME_VERSION, "ORT_DYLIB_PATH", "PUNA_CACHE_DIR"]
        {
            assert!(message.contains(part), "no `{part}` in {message}");
        }
    }
}

/// Two that install at once: one waits, and takes what the other installed.
#[test]
fn two_at_once_fetch_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut places = places(folder.path());
    // The first run of pip takes its time and fails; the lock makes the second come after it.
    places.pip = vec![pip(folder.path(), "sleep 0.3; exit 1")];
    let barrier = Barrier::new(2);
    thread::scope(|scope| {
        let install = || {
            let waited = RefCell::new(false);
            barrier.wait();
            let error = provision(&places, &|progress| {
                *waited.borrow_mut() |= progress == ProvisionProgress::Waiting;
            });
            assert_eq!(error.expect_err("pip fails").kind(), ErrorKind::Unavailable);
            waited.into_inner()
        };
        let (one, two) = (scope.spawn(install), scope.spawn(install));
        let (one, two) = (one.join().expect("no panic"), two.join().expect("no panic"));
        assert!(one != two, "one waits for the other: {one} {two}");
    });
    // While one installs, another puts the library there: nothing is fetched.
    let library = real();
    let installed = places.installed_library();
    let runs = || fs::read_to_string(folder.path().join("runs")).expect("pip ran").lines().count();
    fs::copy(&library, &installed).expect("a copy");
    let before = runs();
    let found = provision(&places, &|_| ()).expect("it is there");
    assert_eq!((found.path, runs()), (installed, before));
}

#[test]
fn what_a_killed_installation_left_is_removed() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut places = places(folder.path());
    let leftover = places.install_dir().join(".partial-abc");
    fs::create_dir_all(&leftover).expect("a folder");
    fs::write(leftover.join("half.whl"), "half").expect("a file");
    places.pip = vec![pip(folder.path(), "exit 1")];
    provision(&places, &|_| ()).expect_err("pip fails");
    assert_eq!(left(&places.install_dir()), [".lock"]);
}

#[test]
fn libraries_are_looked_for_in_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut places = places(folder.path());
    assert_eq!(search(&places).expect("nothing"), puna_inference::provision::Search::default());
    // What is no library is told and passed over.
    let system = folder.path().join("system");
    fs::create_dir_all(&system).expect("a folder");
    let name = places.installed_library().file_name().expect("a name").to_owned();
    fs::write(system.join(&name), "no library").expect("a file");
    places.system = vec![system.clone()];
    let found = search(&places).expect("a search");
    assert!(found.library.is_none() && found.rejected.len() == 1, "{found:?}");
    assert!(found.rejected[0].reason.contains("cannot be loaded"), "{found:?}");
    fs::copy(real(), system.join(&name)).expect("a copy");
    let found = search(&places).expect("a search").library.expect("the system's");
    assert_eq!(found.path, system.join(&name));
    // The cache comes first.
    fs::create_dir_all(places.install_dir()).expect("a folder");
    fs::copy(real(), places.installed_library()).expect("a copy");
    let found = search(&places).expect("a search").library.expect("the cache's");
    assert_eq!(found.path, places.installed_library());
    // What is named is taken or nothing.
    for (path, kind) in [
        (folder.path().join("nowhere.so"), ErrorKind::NotFound),
        (folder.path().to_owned(), ErrorKind::Unavailable),
        (PathBuf::from("/bin/sh"), ErrorKind::Unavailable),
    ] {
        places.explicit = Some(path.clone());
        let error = search(&places).expect_err("no library");
        assert_eq!(error.kind(), kind, "{error}");
        for part in ["ORT_DYLIB_PATH", path.to_str().expect("UTF-8"), "unset"] {
            assert!(error.to_string().contains(part), "{error}");
        }
    }
}

#[test]
fn every_pinned_wheel_is_complete() {
    for (os, arch) in [("linux", "x86_64"), ("linux", "aarch64"), ("macos", "aarch64"), ("windows", "x86_64")]
    {
        let wheel = pinned_wheel(os, arch).expect("pinned");
        assert!(
            wheel.file.contains(ONNX_RUNTIME_VERSION) && wheel.file.contains(wheel.platform),
            "{wheel:?}"
        );
        assert!(wheel.sha256.len() == 64 && wheel.bytes > 10_000_000, "{wheel:?}");
    }
    assert!(pinned_wheel("plan9", "x86_64").is_none());
}
