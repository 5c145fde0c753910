//! Checkpoints: tensors by their names, read piece by piece.
//!
//! Files are read at positions and not mapped into memory: a file that is cut while it is read is an error and no
//! signal, no `unsafe` is needed, and what was read does not count as this process's memory.

mod header;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    path::{Path, PathBuf},
    sync::Mutex,
};

use half::{bf16, f16};
use puna_core::{Error, ErrorKind, Result};
use serde::Deserialize;

pub(crate) use self::header::Float;
use self::header::{MAX_HEADER_BYTES, MAX_TENSORS, Placed};
use crate::files;

/// The one file of a small checkpoint.
const SINGLE: &str = "model.safetensors";

/// The list of a large checkpoint's files.
const INDEX: &str = "model.safetensors.index.json";

/// Most names in a message.
const MAX_SHOWN: usize = 10;

/// Most files of a checkpoint: five times those of the largest published model.
const MAX_FILES: usize = 1024;

/// Tensors by their names.
pub(crate) trait Source: Send + Sync {
    /// A tensor's shape.
    fn shape(&self, name: &str) -> Option<&[usize]>;

    /// Reads elements of a tensor in row-major order from a place on, as many as `out` holds, as 32-bit floats.
    fn read(&self, name: &str, from: u64, out: &mut [f32]) -> Result<()>;

    /// The names of all tensors.
    fn names(&self) -> Vec<&str>;
}

/// A checkpoint of one `*.safetensors` file or of several with an index.
///
/// ```no_run
/// use puna_export::Checkpoint;
///
/// let checkpoint = Checkpoint::open("models/llama-3.2-1b".as_ref())?;
/// println!("{} tensors, {} bytes", checkpoint.tensors(), checkpoint.bytes());
/// # Ok::<(), puna_core::Error>(())
/// ```
pub struct Checkpoint {
    files: Vec<(PathBuf, File)>,
    tensors: BTreeMap<String, (usize, Placed)>,
    /// Those that were asked for.
    used: Mutex<BTreeSet<String>>,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Checkpoint {
    /// Opens the files of a folder and checks their headers; no tensor is read.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) when there are no such files, or one that the index names is missing;
    /// [`Corrupt`](ErrorKind::Corrupt) when a header does not fit its file or the index;
    /// [`InvalidInput`](ErrorKind::InvalidInput) when the index is not one or names paths out of the folder.
    pub fn open(folder: &Path) -> Result<Self> {
        let index = folder.join(INDEX);
        let (map, names) = match files::read_bounded(&index)? {
            None => (None, vec![SINGLE.to_owned()]),
            Some(bytes) => {
                let map = read_index(&index, &bytes)?;
                let names: BTreeSet<String> = map.values().cloned().collect();
                (Some(map), names.into_iter().collect())
            }
        };
        let mut checkpoint = Self { files: Vec::new(), tensors: BTreeMap::new(), used: Mutex::default() };
        for name in names {
            let path = folder.join(&name);
            let file = File::open(&path).map_err(|error| missing(folder, &path, map.is_some(), error))?;
            let corrupt =
                |what: String| Error::new(ErrorKind::Corrupt, format!("`{}` {what}", path.display()));
            for (tensor, placed) in read_header(&file, &path)? {
                let number = checkpoint.files.len();
                if map.as_ref().is_some_and(|map| map.get(&tensor) != Some(&name)) {
                    return Err(corrupt(format!("has `{tensor}`, which `{INDEX}` does not place there")));
                }
                checkpoint.tensors.insert(tensor, (number, placed));
            }
            checkpoint.files.push((path, file));
        }
        let lost: Vec<&str> = map
            .iter()
            .flat_map(BTreeMap::keys)
            .map(String::as_str)
            .filter(|name| !checkpoint.tensors.contains_key(*name))
            .collect();
        if !lost.is_empty() {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!("`{}` names {}, and no file has them", index.display(), listed(&lost)),
            ));
        }
        Ok(checkpoint)
    }

    /// Opens one file of tensors, whatever its name.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    pub(crate) fn open_file(path: &Path) -> Result<Self> {
        let folder = path.parent().unwrap_or(Path::new("."));
        let file = File::open(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                Error::new(ErrorKind::NotFound, format!("no `{name}` in `{}`", folder.display()))
            }
            _ => Error::from_io("open", path, error),
        })?;
        let tensors =
            read_header(&file, path)?.into_iter().map(|(name, placed)| (name, (0, placed))).collect();
        Ok(Self { files: vec![(path.to_owned(), file)], tensors, used: Mutex::default() })
    }

    /// A tensor's shape, which does not count as asking for it.
    pub(crate) fn peek(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|(_, placed)| &*placed.shape)
    }

    /// How many tensors there are.
    pub fn tensors(&self) -> usize {
        self.tensors.len()
    }

    /// What the tensors take up, in bytes.
    pub fn bytes(&self) -> u64 {
        let bytes = |placed: &Placed| placed.elements * placed.float.map_or(1, Float::bytes) as u64;
        self.tensors.values().map(|(_, placed)| bytes(placed)).sum()
    }
}

impl Source for Checkpoint {
    fn shape(&self, name: &str) -> Option<&[usize]> {
        let (_, placed) = self.tensors.get(name)?;
        // A panic elsewhere leaves a set of names behind, which is sound to use.
        self.used.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(name.to_owned());
        Some(&placed.shape)
    }

    fn read(&self, name: &str, from: u64, out: &mut [f32]) -> Result<()> {
        let (file, placed) = self
            .tensors
            .get(name)
            .ok_or_else(|| Error::internal(format!("no tensor `{name}`, though it was planned")))?;
        let (path, file) = &self.files[*file];
        let float = placed.float.ok_or_else(|| {
            Error::invalid_input(format!(
                "`{name}` in `{}` is of type `{}`; weights must be F32, F16 or BF16",
                path.display(),
                placed.type_name
            ))
        })?;
        let size = float.bytes();
        let mut bytes = vec![0; out.len() * size];
        files::read_at(file, placed.offset + from * size as u64, &mut bytes)
            .map_err(|error| Error::from_io(format!("read `{name}` in"), path, error))?;
        match float {
            Float::F32 => {
                for (out, bytes) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
                    *out = f32::from_le_bytes(*bytes);
                }
            }
            Float::F16 => {
                for (out, bytes) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                    *out = f16::from_le_bytes(*bytes).to_f32();
                }
            }
            Float::Bf16 => {
                for (out, bytes) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                    *out = bf16::from_le_bytes(*bytes).to_f32();
                }
            }
        }
        Ok(())
    }

    fn names(&self) -> Vec<&str> {
        self.tensors.keys().map(String::as_str).collect()
    }
}

impl Checkpoint {
    /// Refuses tensors that nobody asked for, but for needless ones: the model would not be the checkpoint's.
    pub(crate) fn check_used(&self, is_needless: impl Fn(&str) -> bool, model_type: &str) -> Result<()> {
        let used = self.used.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let left = |name: &&str| !used.contains(*name) && !is_needless(name);
        let unused: Vec<&str> = self.names().into_iter().filter(left).collect();
        if unused.is_empty() {
            return Ok(());
        }
        let folder = self.files.first().and_then(|(file, _)| file.parent()).unwrap_or(Path::new("."));
        Err(Error::invalid_input(format!(
            "the checkpoint in `{}` has {}, which a `{model_type}` does not have",
            folder.display(),
            listed(&unused)
        )))
    }
}

/// Names for a message, the first few.
pub(crate) fn listed(names: &[&str]) -> String {
    let shown: Vec<String> = names.iter().take(MAX_SHOWN).map(|name| format!("`{name}`")).collect();
    match names.len().saturating_sub(MAX_SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn missing(folder: &Path, path: &Path, named: bool, error: std::io::Error) -> Error {
    if error.kind() != std::io::ErrorKind::NotFound {
        return Error::from_io("open", path, error);
    }
    let message = if named {
        format!("`{}` is missing, and `{INDEX}` names it", path.display())
    } else if folder.join("pytorch_model.bin").is_file() {
        format!(
            "`{}` has weights in `pytorch_model.bin` alone; save them as safetensors first",
            folder.display()
        )
    } else {
        format!("no `{SINGLE}` and no `{INDEX}` in `{}`", folder.display())
    };
    Error::new(ErrorKind::NotFound, message)
}

fn read_index(path: &Path, bytes: &[u8]) -> Result<BTreeMap<String, String>> {
    let invalid = |what: String| Error::invalid_input(format!("`{}` {what}", path.display()));
    let index: Index = serde_json::from_slice(bytes)
        .map_err(|error| invalid(format!("is not an index of tensors: {error}")).with_source(error))?;
    let map = index.weight_map;
    if map.len() > MAX_TENSORS {
        return Err(invalid(format!("names {} tensors, more than {MAX_TENSORS}", map.len())));
    }
    if let Some(name) = map.values().find(|name| !files::is_plain_name(name)) {
        return Err(invalid(format!("names the file `{name}`; files must lie beside it")));
    }
    let files = map.values().collect::<BTreeSet<_>>().len();
    if files == 0 || files > MAX_FILES {
        return Err(invalid(format!("names {files} files; there must be 1 to {MAX_FILES}")));
    }
    Ok(map)
}

fn read_header(file: &File, path: &Path) -> Result<BTreeMap<String, Placed>> {
    let failed = |error| Error::from_io("read", path, error);
    let corrupt = |what: String| Error::new(ErrorKind::Corrupt, format!("`{}` {what}", path.display()));
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(Error::invalid_input(format!("`{}` is not a file", path.display())));
    }
    let bytes = metadata.len();
    if bytes < 8 {
        return Err(corrupt(format!("has {bytes} bytes, too few for a header")));
    }
    let mut length = [0; 8];
    files::read_at(file, 0, &mut length).map_err(failed)?;
    let length = u64::from_le_bytes(length);
    if length > bytes - 8 {
        return Err(corrupt(format!(
            "says that its header has {length} bytes, and has {} in all",
            bytes - 8
        )));
    }
    if length > MAX_HEADER_BYTES {
        return Err(corrupt(format!("has a header of {length} bytes, more than {MAX_HEADER_BYTES}")));
    }
    // Below the limit just checked.
    let mut json = vec![0; usize::try_from(length).unwrap_or_default()];
    files::read_at(file, 8, &mut json).map_err(failed)?;
    header::parse(&json, bytes).map_err(corrupt)
}
