//! Finding and fetching ONNX Runtime. A shell script stands where pip is; the library is the real one.

use std::{
    cell::RefCell,
    env,
    ffi::OsString,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use puna_core::ErrorKind;
use puna_inference::{
    Device, Runtime,
    provision::{
        Build, CACHE_VARIABLE, LIBRARY_VARIABLE, Places, ProvisionProgress, default_checkpoint, pinned_wheel,
        provision, search,
    },
    report,
};

/// Places in a folder of a test's own: nothing is found there.
pub(crate) fn places(folder: &Path) -> Places {
    Places {
        explicit: None,
        cache: folder.join("cache"),
        system: Vec::new(),
        pip: Vec::new(),
        build: Build::Cpu,
    }
}

/// A program that is run where pip would be, given the folder to download to as `$dest`.
pub(crate) fn pip(folder: &Path, body: &str) -> Vec<OsString> {
    vec![program(folder, "pip", folder, body).into_os_string()]
}

/// Writes a program into a folder. What it is called with goes into the file `runs` of `notes`.
fn program(folder: &Path, name: &str, notes: &Path, body: &str) -> PathBuf {
    let path = folder.join(name);
    let script = format!(
        "#!/bin/sh\nPATH=/usr/bin:/bin\necho \"$@\" >> '{}'\n\
         while [ $# -gt 0 ]; do [ \"$1\" = -d ] && dest=$2; shift; done\n{body}\n",
        notes.join("runs").display()
    );
    // Another process writes it: this one's children could inherit an open file, and nobody can run that.
    let made = Command::new("/bin/sh")
        .args(["-c", "printf %s \"$1\" > \"$0\" && chmod 755 \"$0\""])
        .args([path.as_os_str(), script.as_ref()])
        .status();
    assert!(made.expect("a shell").success(), "a script");
    path
}

/// Shell commands that wait for a file; half a minute at most, so that a test that is wrong fails.
pub(crate) fn wait_for(file: &Path) -> String {
    format!(
        "tries=0; until [ -e '{}' ] || [ $tries -ge 1500 ]; do sleep 0.02; tries=$((tries + 1)); done",
        file.display()
    )
}

/// Waits until something holds; a minute at most.
pub(crate) fn until(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < end, "{what} never came");
        thread::sleep(Duration::from_millis(5));
    }
}

/// How often it ran.
pub(crate) fn runs(folder: &Path) -> usize {
    fs::read_to_string(folder.join("runs")).map_or(0, |runs| runs.lines().count())
}

fn wheel() -> &'static str {
    pinned_wheel(Build::Cpu, std::env::consts::OS, std::env::consts::ARCH)
        .expect("a wheel for this machine")
        .file
}

pub(crate) fn left(folder: &Path) -> Vec<String> {
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
            [told, "by hand", "pip download", Build::Cpu.version(), "ORT_DYLIB_PATH", "PUNA_CACHE_DIR"]
        {
            assert!(message.contains(part), "no `{part}` in {message}");
        }
    }
}

/// What runs on CUDA is another build, with libraries beside it.
#[test]
fn the_build_for_cuda_is_another() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut places = places(folder.path());
    places.build = Build::Cuda;
    let error = provision(&places, &|_| ()).expect_err("no library").report();
    for part in
        ["onnxruntime-gpu==", "libonnxruntime_providers_cuda.so", "providers_shared", Build::Cuda.version()]
    {
        assert!(error.contains(part), "no `{part}` in {error}");
    }
    places.explicit = Some(real());
    let error = search(&places).expect_err("it is for the processor");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("was not built for CUDA"), "{error}");
}

/// Never a silent fall back: what CUDA lacks here is told before anything is fetched. A machine with a GPU and the
/// feature has it all, or a library without it loaded already.
#[test]
fn cuda_is_there_or_an_error() {
    let result = Runtime::get_for(Device::Cuda { index: 0 }, &|_| ());
    if cfg!(feature = "cuda") {
        let Err(error) = result else { return };
        assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Conflict), "{error}");
        assert!(error.to_string().contains("CUDA"), "{error}");
    } else {
        let error = result.expect_err("it was not built for it");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("feature `cuda`"), "{error}");
    }
}

#[test]
fn devices_have_names() {
    for (text, device) in
        [("cpu", Device::Cpu), ("cuda", Device::Cuda { index: 0 }), ("cuda:3", Device::Cuda { index: 3 })]
    {
        assert_eq!(text.parse::<Device>().expect("a device"), device);
        assert_eq!(device.to_string().parse::<Device>().expect("a device"), device);
    }
    for text in ["", "gpu", "cpu:0", "cuda:", "cuda:x", "cuda:-1", "CUDA", "cuda:99999999999"] {
        let error = text.parse::<Device>().expect_err("no device");
        assert!(error.to_string().contains(&format!("`{text}`")), "{error}");
    }
}

/// Two that install at once, in one process: one waits for the other.
#[test]
fn one_waits_for_the_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut places = places(folder.path());
    // Ends when the other one waits; its own run, where nobody waits any more, ends at once.
    let waiting = folder.path().join("waiting");
    places.pip = vec![pip(folder.path(), &format!("{}; exit 1", wait_for(&waiting)))];
    let barrier = Barrier::new(2);
    thread::scope(|scope| {
        let install = || {
            let waited = RefCell::new(false);
            barrier.wait();
            let error = provision(&places, &|progress| {
                if matches!(progress, ProvisionProgress::Waiting { .. }) {
                    *waited.borrow_mut() = true;
                    fs::write(&waiting, "").expect("a file");
                }
            });
            assert_eq!(error.expect_err("pip fails").kind(), ErrorKind::Unavailable);
            waited.into_inner()
        };
        let (one, two) = (scope.spawn(install), scope.spawn(install));
        let (one, two) = (one.join().expect("no panic"), two.join().expect("no panic"));
        assert!(one != two, "one waits for the other: {one} {two}");
    });
    assert_eq!(runs(folder.path()), 2, "who waited tries too");
}

/// Two processes install at once. The one that waited takes the library that came meanwhile, and fetches nothing.
#[test]
fn two_processes_fetch_once() {
    let folder = tempfile::tempdir().expect("a folder");
    // No script can make a wheel of the pinned checksum, so this one puts the library where the first process would.
    let go = folder.path().join("go");
    let body = format!(
        "{}; cp '{}' \"$dest/../{}\"; exit 1",
        wait_for(&go),
        real().display(),
        places(folder.path()).installed_library().file_name().expect("a name").display(),
    );
    let programs = path_with_python(folder.path(), &body);
    let start = || child("install", folder.path(), &programs);
    let mut first = Child::start(start());
    first.until("PROGRESS fetching");
    let mut second = Child::start(start());
    second.until("PROGRESS waiting");
    fs::write(&go, "").expect("a file");
    assert!(first.until("RESULT").starts_with("RESULT Unavailable"), "its own wheel never came");
    let installed = places(folder.path()).installed_library();
    assert_eq!(second.until("RESULT"), format!("RESULT Ok {}", installed.display()));
    assert_eq!(runs(folder.path()), 1);
    assert_eq!(left(&places(folder.path()).install_dir()).len(), 2, "the lock and the library");
}

/// A process is killed while it installs: the next one neither waits for it nor trips over what it left.
#[test]
fn a_killed_process_leaves_nothing_in_the_way() {
    let folder = tempfile::tempdir().expect("a folder");
    let go = folder.path().join("go");
    let body = format!("echo half > \"$dest/{}\"; {}; exit 1", wheel(), wait_for(&go));
    let mut killed = Child::start(child("install", folder.path(), &path_with_python(folder.path(), &body)));
    killed.until("PROGRESS fetching");
    until("pip", || runs(folder.path()) > 0);
    killed.kill();
    let install_dir = places(folder.path()).install_dir();
    let partial = |names: Vec<String>| names.iter().filter(|name| name.starts_with(".partial-")).count();
    assert_eq!(partial(left(&install_dir)), 1, "a half installation");
    // The killed one's pip runs on; it has no part in the lock.
    let next = folder.path().join("next");
    fs::create_dir(&next).expect("a folder");
    let programs = path_with_python(&next, "echo 'no network' >&2; exit 1");
    let mut next = Child::start(child("install", folder.path(), &programs));
    let result = next.until("RESULT");
    assert!(result.starts_with("RESULT Unavailable") && result.contains("no network"), "{result}");
    assert_eq!(left(&install_dir), [".lock"]);
    fs::write(&go, "").expect("a file");
}

/// What the environment says of pip: the commands, their order and their arguments.
#[test]
fn pip_is_looked_for_on_the_path() {
    let folder = tempfile::tempdir().expect("a folder");
    let nothing = folder.path().join("nothing");
    fs::create_dir(&nothing).expect("a folder");
    let result = Child::start(child("install", folder.path(), &nothing)).until("RESULT");
    for part in [
        "RESULT Unavailable",
        "`python3 -m pip` is not installed",
        "`python -m pip` is not",
        "`pip3` is",
        "`pip` is",
        "by hand",
    ] {
        assert!(result.contains(part), "no `{part}` in {result}");
    }
    // One after the other is tried; a Python without pip is none.
    let programs = path_with_python(folder.path(), "echo 'No module named pip' >&2; exit 1");
    program(&programs, "pip3", folder.path(), &format!("echo wrong > \"$dest/{}\"", wheel()));
    let result = Child::start(child("install", folder.path(), &programs)).until("RESULT");
    assert!(result.starts_with("RESULT Corrupt"), "{result}");
    let arguments = fs::read_to_string(folder.path().join("runs")).expect("what ran");
    let [python, pip3] = &arguments.lines().collect::<Vec<_>>()[..] else { panic!("{arguments}") };
    assert!(python.starts_with("-m pip --disable-pip-version-check --no-input"), "{python}");
    let requirement = format!("onnxruntime=={}", Build::Cpu.version());
    for part in ["download", "--no-deps", "--only-binary=:all:", "--platform", &requirement] {
        assert!(python.contains(part) && pip3.contains(part), "no `{part}` in {arguments}");
    }
    assert_eq!(left(&places(folder.path()).install_dir()), [".lock"], "nothing of it stays");
}

/// The process's runtime: what `ORT_DYLIB_PATH` names or nothing, and what the cache holds without pip.
#[test]
fn the_runtime_takes_what_the_environment_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut wrong = child("runtime", folder.path(), folder.path());
    wrong.env(LIBRARY_VARIABLE, folder.path().join("nowhere.so"));
    let result = Child::start(wrong).until("RESULT");
    for part in ["RESULT NotFound", LIBRARY_VARIABLE, "nowhere.so", "unset"] {
        assert!(result.contains(part), "no `{part}` in {result}");
    }
    let mut named = child("runtime", folder.path(), folder.path());
    named.env(LIBRARY_VARIABLE, real());
    assert_eq!(Child::start(named).until("RESULT"), format!("RESULT Ok {} Environment", real().display()));
    let installed = places(folder.path()).installed_library();
    fs::create_dir_all(places(folder.path()).install_dir()).expect("a folder");
    fs::copy(real(), &installed).expect("a copy");
    let result = Child::start(child("runtime", folder.path(), folder.path())).until("RESULT");
    assert_eq!(result, format!("RESULT Ok {} Cache", installed.display()));
}

#[test]
fn the_report_tells_what_runs() {
    let library = Runtime::get(&|_| ()).expect("ONNX Runtime").library().clone();
    let report = report().expect("a report");
    assert_eq!(report.library.expect("a library").path, library.path);
    assert!(report.execution_providers.contains(&"CPUExecutionProvider".to_owned()));
    assert!(report.build.is_some());
}

/// Does what a parent test asks of its child process; does nothing as a test of its own.
#[test]
fn child_process() {
    let Some(wanted) = env::var_os(CHILD) else { return };
    let places = || {
        let mut places = Places::from_environment().expect("places");
        places.system.clear();
        places
    };
    let told = |progress: ProvisionProgress| {
        if let Some(line) = progress.line() {
            println!("\nPROGRESS {line}");
        }
    };
    let result = match wanted.to_str().expect("a name") {
        "runtime" => Runtime::get(&|_| ())
            .map(|runtime| format!("{} {:?}", runtime.library().path.display(), runtime.library().origin)),
        "embedder" => default_checkpoint(&places(), &told).map(|folder| folder.display().to_string()),
        _ => provision(&places(), &told).map(|library| library.path.display().to_string()),
    };
    match result {
        Ok(done) => println!("\nRESULT Ok {done}"),
        Err(error) => println!("\nRESULT {:?} {}", error.kind(), error.report()),
    }
}

/// The variable that makes [`child_process`] a child.
const CHILD: &str = "PUNA_TEST_CHILD";

/// This program again, with an environment of its own: a cache in `folder`, and `programs` alone to run.
pub(crate) fn child(wanted: &str, folder: &Path, programs: &Path) -> Command {
    let mut command = Command::new(env::current_exe().expect("this program"));
    command.args(["--exact", "provision::child_process", "--nocapture"]);
    command.env(CHILD, wanted).env(CACHE_VARIABLE, folder.join("cache")).env("PATH", programs);
    command.env_remove(LIBRARY_VARIABLE);
    command
}

pub(crate) struct Child {
    process: process::Child,
    output: BufReader<process::ChildStdout>,
}

impl Child {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).spawn().expect("a child");
        let output = BufReader::new(process.stdout.take().expect("its output"));
        Self { process, output }
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill().expect("it ran");
        self.process.wait().expect("it ran");
    }

    /// The first line that begins so.
    pub(crate) fn until(&mut self, begin: &str) -> String {
        let mut said = String::new();
        loop {
            let mut line = String::new();
            let read = self.output.read_line(&mut line).expect("its output");
            assert!(read > 0, "no `{begin}` in {said}");
            if line.starts_with(begin) {
                return line.trim_end().to_owned();
            }
            said += &line;
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Ended already, or of no use any more.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A folder of programs that has a `python3` and nothing else.
pub(crate) fn path_with_python(folder: &Path, body: &str) -> PathBuf {
    let programs = folder.join("programs");
    fs::create_dir(&programs).expect("a folder");
    program(&programs, "python3", folder, body);
    programs
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
    for (build, os, arch) in [
        (Build::Cpu, "linux", "x86_64"),
        (Build::Cpu, "linux", "aarch64"),
        (Build::Cpu, "macos", "aarch64"),
        (Build::Cpu, "windows", "x86_64"),
        (Build::Cuda, "linux", "x86_64"),
        (Build::Cuda, "windows", "x86_64"),
    ] {
        let wheel = pinned_wheel(build, os, arch).expect("pinned");
        assert!(wheel.file.contains(build.version()) && wheel.file.contains(wheel.platform), "{wheel:?}");
        assert!(wheel.sha256.len() == 64 && wheel.bytes > 10_000_000, "{wheel:?}");
    }
    assert!(pinned_wheel(Build::Cpu, "plan9", "x86_64").is_none());
}
