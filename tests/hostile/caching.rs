use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use puna_plugins::{Grants, HostOptions, Limits, PluginHost};
use serde_json::json;

use crate::guests::{Guest, context, tools};

/// Loads the echoing guest with this cache and calls it.
async fn echo_with(cache: &Path) {
    let host = PluginHost::new(HostOptions { cache_dir: Some(cache.to_owned()), max_concurrent_calls: 1 });
    let plugin = host.expect("a host").load_bytes(Guest::echo().plugin()).await.expect("a plugin");
    let tool = &tools(&plugin, &Grants::default(), &Limits::default())[0];
    assert_eq!(tool.call(json!({"a": 1}), &context()).await, Ok(json!({"a": 1})));
}

fn entries(cache: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(cache).expect("a folder");
    files.map(|file| file.expect("an entry").path()).collect()
}

fn the_entry(cache: &Path) -> PathBuf {
    let found = entries(cache);
    assert_eq!(found.len(), 1, "{found:?}");
    found.into_iter().next().expect("one entry")
}

#[tokio::test]
async fn compiled_code_is_written_once_and_read_after() {
    let folder = tempfile::tempdir().expect("a folder");
    let cache = folder.path().join("plugins/compiled");
    echo_with(&cache).await;
    let entry = the_entry(&cache);
    let first = fs::metadata(&entry).expect("metadata");
    assert_eq!(first.permissions().mode() & 0o077, 0);
    assert_eq!(fs::metadata(&cache).expect("metadata").permissions().mode() & 0o777, 0o700);
    echo_with(&cache).await;
    // The same file: the second host found it good, for it would have replaced it.
    assert_eq!(fs::metadata(the_entry(&cache)).expect("metadata").ino(), first.ino());
}

/// After `poison` the guest still runs, and the entry is a sound one again.
async fn check_replaced(poison: impl FnOnce(&Path)) {
    let folder = tempfile::tempdir().expect("a folder");
    let cache = folder.path().join("compiled");
    echo_with(&cache).await;
    let entry = the_entry(&cache);
    let sound = fs::read(&entry).expect("an entry");
    poison(&entry);
    echo_with(&cache).await;
    let metadata = fs::symlink_metadata(&entry).expect("an entry");
    assert!(metadata.is_file() && metadata.permissions().mode() & 0o077 == 0, "{metadata:?}");
    assert_eq!(fs::read(&entry).expect("an entry").len(), sound.len());
    let replaced = metadata.ino();
    echo_with(&cache).await;
    assert_eq!(fs::metadata(&entry).expect("an entry").ino(), replaced);
}

#[tokio::test]
async fn doubtful_entries_are_compiled_again() {
    check_replaced(|entry| {
        // One bit in the middle of the machine code.
        let mut code = fs::read(entry).expect("an entry");
        let middle = code.len() / 2;
        code[middle] ^= 1;
        fs::write(entry, code).expect("a write");
    })
    .await;
    check_replaced(|entry| fs::write(entry, b"").expect("a write")).await;
    check_replaced(|entry| fs::write(entry, vec![0; 1 << 20]).expect("a write")).await;
    check_replaced(|entry| {
        let code = fs::read(entry).expect("an entry");
        fs::write(entry, &code[..code.len() - 1]).expect("a write");
    })
    .await;
    check_replaced(|entry| {
        // A link to the very same bytes elsewhere.
        let elsewhere = entry.parent().expect("a folder").parent().expect("a folder").join("elsewhere");
        fs::rename(entry, &elsewhere).expect("a rename");
        symlink(elsewhere, entry).expect("a link");
    })
    .await;
    check_replaced(|entry| {
        fs::set_permissions(entry, fs::Permissions::from_mode(0o666)).expect("permissions");
    })
    .await;
}

#[tokio::test]
async fn the_code_of_another_component_is_not_taken() {
    let folder = tempfile::tempdir().expect("a folder");
    echo_with(folder.path()).await;
    let echo = the_entry(folder.path());
    let host =
        PluginHost::new(HostOptions { cache_dir: Some(folder.path().to_owned()), max_concurrent_calls: 1 });
    host.expect("a host").load_bytes(Guest::saying(b"\"poison\"").plugin()).await.expect("a plugin");
    let other = entries(folder.path()).into_iter().find(|path| *path != echo).expect("two entries");
    fs::rename(other, echo).expect("a rename");
    echo_with(folder.path()).await;
}

#[tokio::test]
async fn folders_of_doubt_are_not_used() {
    let folder = tempfile::tempdir().expect("a folder");
    let open = folder.path().join("open");
    fs::create_dir(&open).expect("a folder");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).expect("permissions");
    let link = folder.path().join("link");
    let target = folder.path().join("target");
    fs::create_dir(&target).expect("a folder");
    symlink(&target, &link).expect("a link");
    let file = folder.path().join("file");
    fs::write(&file, b"").expect("a file");
    for cache in [&open, &link, &file] {
        echo_with(cache).await;
    }
    assert_eq!(entries(&open), Vec::<PathBuf>::new());
    assert_eq!(entries(&target), Vec::<PathBuf>::new());
}
