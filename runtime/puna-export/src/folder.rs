//! The folder that an export writes: beside its place, and renamed when it is whole.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use puna_core::{Error, ErrorKind, Result};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    config::{DecoderConfig, Ids},
    files,
};

/// What a folder in the making begins with, behind a dot and the final name.
const PARTIAL: &str = "puna-export";

/// The file that a running export holds locked in its folder.
const LOCK: &str = "lock";

/// Most entries looked at for what interrupted exports left.
const MAX_ENTRIES: usize = 10_000;

/// What goes with a model: configuration and tokenizer, by the names that transformers gives them.
const COPIED: [&str; 11] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
];

/// A folder in the making. Dropped without [`finish`](Self::finish) it is removed.
pub(crate) struct Making {
    folder: TempDir,
    target: PathBuf,
    // Unlocked when the process ends, however it ends.
    _lock: File,
}

impl Making {
    /// Makes a folder beside the target, and removes what exports that were interrupted left there.
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict) when the target exists and is not an empty folder.
    pub(crate) fn begin(target: &Path) -> Result<Self> {
        check_free(target)?;
        let name = target.file_name().ok_or_else(|| {
            Error::invalid_input(format!("`{}` names no folder to write", target.display()))
        })?;
        let parent = match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        fs::create_dir_all(parent).map_err(|error| Error::from_io("make", parent, error))?;
        let prefix = format!(".{}.{PARTIAL}-", name.to_string_lossy());
        remove_stale(parent, &prefix)?;
        let folder = tempfile::Builder::new()
            .prefix(&prefix)
            .tempdir_in(parent)
            .map_err(|error| Error::from_io("make a folder in", parent, error))?;
        let path = folder.path().join(LOCK);
        let failed = |error| Error::from_io("lock", &path, error);
        let lock = File::create_new(&path).map_err(failed)?;
        lock.lock().map_err(failed)?;
        Ok(Self { folder, target: target.to_owned(), _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a small file and waits until it is on the disk.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.path().join(name);
        let failed = |error| Error::from_io("write", &path, error);
        fs::write(&path, bytes).map_err(failed)?;
        File::open(&path).and_then(|file| file.sync_all()).map_err(failed)
    }

    pub(crate) fn write_json(&self, name: &str, value: &Value) -> Result<()> {
        let text = serde_json::to_string_pretty(value)
            .map_err(|error| Error::internal(format!("cannot write `{name}`")).with_source(error))?;
        self.write(name, (text + "\n").as_bytes())
    }

    /// Copies what goes with a model.
    pub(crate) fn copy_from(&self, checkpoint: &Path) -> Result<()> {
        for name in COPIED {
            let path = checkpoint.join(name);
            if path.is_file() {
                fs::copy(&path, self.path().join(name))
                    .map_err(|error| Error::from_io("copy", &path, error))?;
            }
        }
        Ok(())
    }

    /// Puts the folder in its place.
    pub(crate) fn finish(self) -> Result<()> {
        let target = &self.target;
        // An empty folder may be there, which is not renamed over everywhere.
        match fs::remove_dir(target) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::from_io("write over", target, error)),
        }
        let lock = self.path().join(LOCK);
        fs::remove_file(&lock).map_err(|error| Error::from_io("remove", &lock, error))?;
        open_to_others(self.path())?;
        sync_folder(self.path())?;
        fs::rename(self.folder.path(), target).map_err(|error| Error::from_io("write", target, error))?;
        // It has another name now, and nothing is left to remove.
        let _ = self.folder.keep();
        sync_folder(target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))
    }
}

fn check_free(target: &Path) -> Result<()> {
    let taken = match fs::read_dir(target) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => true,
        Err(error) => return Err(Error::from_io("read", target, error)),
    };
    if taken {
        return Err(Error::new(
            ErrorKind::Conflict,
            format!("`{}` exists already; remove it or name another folder", target.display()),
        ));
    }
    Ok(())
}

/// Removes folders that an export began and nobody works in.
fn remove_stale(parent: &Path, prefix: &str) -> Result<()> {
    let failed = |error| Error::from_io("read", parent, error);
    for entry in fs::read_dir(parent).map_err(failed)?.take(MAX_ENTRIES) {
        let entry = entry.map_err(failed)?;
        if !entry.file_name().to_string_lossy().starts_with(prefix) {
            continue;
        }
        let path = entry.path();
        // Without a lock's file it was interrupted in its first or last moment.
        let idle = File::open(path.join(LOCK)).map_or(true, |lock| lock.try_lock().is_ok());
        if idle {
            fs::remove_dir_all(&path).map_err(|error| Error::from_io("remove", &path, error))?;
        }
    }
    Ok(())
}

/// A temporary folder is for its owner alone; what it becomes is like any other.
#[cfg(unix)]
fn open_to_others(folder: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))
        .map_err(|error| Error::from_io("open", folder, error))
}

#[cfg(not(unix))]
fn open_to_others(_folder: &Path) -> Result<()> {
    Ok(())
}

#[cfg(unix)]
fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| Error::from_io("write", folder, error))
}

#[cfg(not(unix))]
fn sync_folder(_folder: &Path) -> Result<()> {
    Ok(())
}

/// What `generation_config.json` says, for `genai_config.json`.
pub(crate) fn generation(folder: &Path) -> Result<Value> {
    let path = folder.join("generation_config.json");
    let Some(bytes) = files::read_bounded(&path)? else { return Ok(Value::Null) };
    serde_json::from_slice(&bytes)
        .map_err(|error| Error::invalid_input(format!("`{}` is not JSON", path.display())).with_source(error))
}

/// What onnxruntime-genai and Puna's engine want to know of a model.
pub(crate) fn genai_config(
    config: &DecoderConfig,
    generation: &Value,
    context: usize,
    file: &str,
    standard: bool,
) -> Value {
    let ids = |name: &str| -> Vec<u32> {
        serde_json::from_value(generation[name].clone()).map(Ids::list).unwrap_or_default()
    };
    let mut eos = ids("eos_token_id");
    for id in &config.eos {
        if !eos.contains(id) {
            eos.push(*id);
        }
    }
    let bos = ids("bos_token_id").first().copied().or(config.bos);
    let pad = ids("pad_token_id").first().copied().or(config.pad).or(eos.first().copied());
    let said = |name: &str, default: Value| match &generation[name] {
        Value::Null => default,
        value => value.clone(),
    };
    let mut inputs = json!({
        "input_ids": "input_ids",
        "attention_mask": "attention_mask",
        "past_key_names": "past_key_values.%d.key",
        "past_value_names": "past_key_values.%d.value",
    });
    if standard {
        inputs["position_ids"] = json!("position_ids");
    }
    json!({
        "model": {
            "type": config.architecture.name(),
            "bos_token_id": bos.unwrap_or(0),
            "eos_token_id": eos,
            "pad_token_id": pad.unwrap_or(0),
            "context_length": context,
            "vocab_size": config.vocab_size,
            "decoder": {
                "session_options": { "log_id": "onnxruntime-genai", "provider_options": [] },
                "filename": file,
                "head_size": config.head_dim,
                "hidden_size": config.hidden_size,
                "num_attention_heads": config.heads,
                "num_hidden_layers": config.layers,
                "num_key_value_heads": config.kv_heads,
                "inputs": inputs,
                "outputs": {
                    "logits": "logits",
                    "present_key_names": "present.%d.key",
                    "present_value_names": "present.%d.value",
                },
            },
        },
        "search": {
            "do_sample": said("do_sample", json!(false)),
            "early_stopping": true,
            "length_penalty": 1.0,
            "max_length": context,
            "min_length": 0,
            "num_beams": 1,
            "num_return_sequences": 1,
            "past_present_share_buffer": !standard,
            "repetition_penalty": said("repetition_penalty", json!(1.0)),
            "temperature": said("temperature", json!(1.0)),
            "top_k": said("top_k", json!(50)),
            "top_p": said("top_p", json!(1.0)),
        },
    })
}
