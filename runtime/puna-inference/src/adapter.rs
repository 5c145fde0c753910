//! Adapters beside a model: files of ONNX Runtime's form (a FlatBuffer, `adapter_schema.fbs`), whose tensors are bound
//! to inputs that a graph has for them and that are empty otherwise.
//!
//! ONNX Runtime's own loader serves runs without bindings alone, and a cache in place needs bindings; so files are read
//! here. They are untrusted: every offset is checked before it is followed.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use ort::value::TensorElementType;
use puna_core::{Error, ErrorKind, Result};
use sha2::{Digest, Sha256};

use crate::{buffer::Buffer, prefix::DIGEST};

/// What a file has behind its first offset.
const IDENTIFIER: &[u8; 4] = b"TORT";

/// The version of the form.
const VERSION: u32 = 1;

/// Largest file, in bytes: what offsets of the form reach.
const MAX_BYTES: u64 = (1 << 31) - 1;

/// Where a model's own adapters are, in its folder.
const FOLDER: &str = "adapters";

/// What the names of their files end with.
const EXTENSION: &str = "onnx_adapter";

/// Most files of that folder looked at.
const MAX_LISTED: usize = 10_000;

/// Most tensors: two for each product of a model ten times as deep as the deepest published.
const MAX_PARAMETERS: usize = 1 << 14;

/// The inputs that a graph leaves open for adapters, by name: type, and sizes of which negative ones are open.
pub(crate) type Openings = BTreeMap<String, (TensorElementType, Vec<i64>)>;

/// An adapter, ready to be bound.
pub(crate) struct Adapter {
    /// No other adapter has it; 0 is none's.
    pub(crate) id: u64,
    /// The SHA-256 of its file.
    pub(crate) digest: [u8; DIGEST],
    pub(crate) tensors: Vec<(String, Buffer, Vec<usize>)>,
}

/// The next adapter's number.
static NEXT: AtomicU64 = AtomicU64::new(1);

impl Adapter {
    /// Reads a file and checks that its tensors are a graph's.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) and its like when the file cannot be read; [`Corrupt`](ErrorKind::Corrupt)
    /// when it is none of an adapter; [`InvalidInput`](ErrorKind::InvalidInput) when it is one for another model.
    pub(crate) fn load(path: &Path, openings: &Openings) -> Result<Arc<Self>> {
        let failed = |error| Error::from_io("read", path, error);
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() || metadata.len() > MAX_BYTES {
            return Err(Error::invalid_input(format!(
                "`{}` is no file of at most {MAX_BYTES} bytes",
                path.display()
            )));
        }
        let mut bytes = Vec::new();
        file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(failed)?;
        let parameters = parse(&bytes).map_err(|what| {
            let message = format!("`{}` is not an adapter for ONNX Runtime: {what}", path.display());
            Error::new(ErrorKind::Corrupt, message)
        })?;
        if openings.is_empty() {
            return Err(Error::invalid_input(
                "the model's graph takes no adapters; export it with `--adapters`, or merge the adapter with `--merge`",
            ));
        }
        let tensors = parameters.into_iter().map(|parameter| parameter.fitted(openings));
        let tensors: Result<Vec<_>> = tensors.collect();
        let tensors = tensors.map_err(|error| error.context(format!("the adapter `{}`", path.display())))?;
        check_ranks(&tensors).map_err(|error| error.context(format!("the adapter `{}`", path.display())))?;
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Ok(Arc::new(Self { id, digest: Sha256::digest(&bytes).into(), tensors }))
    }
}

/// The adapters of a model, by the names that requests give.
pub(crate) struct Adapters {
    folder: PathBuf,
    openings: Arc<Openings>,
    loaded: Mutex<BTreeMap<String, Arc<Adapter>>>,
}

impl Adapters {
    /// Those of a model's folder, none of which is loaded yet.
    pub(crate) fn new(model: &Path, openings: Arc<Openings>) -> Self {
        Self { folder: model.join(FOLDER), openings, loaded: Mutex::default() }
    }

    /// The adapter of a name: one that was loaded, else the model's own.
    pub(crate) fn get(&self, name: &str) -> Result<Arc<Adapter>> {
        if let Some(adapter) = self.lock().get(name) {
            return Ok(Arc::clone(adapter));
        }
        let file = self.folder.join(format!("{name}.{EXTENSION}"));
        let plain = Path::new(name).file_name().is_some_and(|plain| plain == name);
        if !plain || !file.is_file() {
            let known = self.names();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(Error::new(
                ErrorKind::NotFound,
                format!(
                    "no adapter `{name}`; there are {known}, those of `{}` among them",
                    self.folder.display()
                ),
            ));
        }
        self.load(name, &file)
    }

    /// Reads a file under a name. The same file again is the same adapter.
    pub(crate) fn load(&self, name: &str, file: &Path) -> Result<Arc<Adapter>> {
        let adapter = Adapter::load(file, &self.openings)?;
        match self.lock().entry(name.to_owned()) {
            Entry::Vacant(entry) => Ok(Arc::clone(entry.insert(adapter))),
            Entry::Occupied(entry) if entry.get().digest == adapter.digest => Ok(Arc::clone(entry.get())),
            Entry::Occupied(_) => Err(Error::new(
                ErrorKind::Conflict,
                format!("another adapter is loaded as `{name}`; give `{}` another name", file.display()),
            )),
        }
    }

    pub(crate) fn unload(&self, name: &str) -> bool {
        self.lock().remove(name).is_some()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: BTreeSet<String> = self.lock().keys().cloned().collect();
        let files = fs::read_dir(&self.folder).into_iter().flatten().take(MAX_LISTED).flatten();
        names.extend(files.filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            Some(name.strip_suffix(EXTENSION)?.strip_suffix('.')?.to_owned())
        }));
        names.into_iter().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Adapter>>> {
        // A panic elsewhere leaves a whole map behind.
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A graph multiplies a product's two tensors: one without the other, or of another rank, would fail in every step.
fn check_ranks(tensors: &[(String, Buffer, Vec<usize>)]) -> Result<()> {
    let shapes: BTreeMap<&str, &[usize]> =
        tensors.iter().map(|(name, _, shape)| (&**name, &shape[..])).collect();
    for (name, shape) in &shapes {
        let Some((product, end)) = name.rsplit_once(".lora_A") else { continue };
        let other = format!("{product}.lora_B{end}");
        let found = shapes.get(&*other).copied();
        if shape.last() != found.and_then(<[usize]>::first) {
            return Err(Error::invalid_input(format!(
                "`{name}` is {shape:?} and `{other}` is {found:?}; both must be there and of one rank"
            )));
        }
    }
    let (downs, ups) = [".lora_A", ".lora_B"]
        .map(|part| tensors.iter().filter(|(name, ..)| name.contains(part)).count())
        .into();
    if downs != ups {
        return Err(Error::invalid_input(format!("it has {downs} `lora_A` and {ups} `lora_B`")));
    }
    Ok(())
}

/// A tensor in a file.
#[derive(Debug, PartialEq, Eq)]
struct Parameter<'a> {
    name: &'a str,
    element: TensorElementType,
    shape: Vec<usize>,
    data: &'a [u8],
}

impl Parameter<'_> {
    /// As a graph takes it.
    fn fitted(self, openings: &Openings) -> Result<(String, Buffer, Vec<usize>)> {
        let Self { name, element, shape, data } = self;
        let Some((wanted, sizes)) = openings.get(name) else {
            return Err(Error::invalid_input(format!("`{name}` is no input of the model's graph")));
        };
        let fits = sizes.len() == shape.len()
            && sizes
                .iter()
                .zip(&shape)
                .all(|(size, found)| usize::try_from(*size).map_or(true, |size| size == *found));
        if *wanted != element || !fits {
            return Err(Error::invalid_input(format!(
                "`{name}` is {element} {shape:?} and the graph takes {wanted} {sizes:?}; it is of another model"
            )));
        }
        let mut buffer = Buffer::new(element, &shape)?;
        buffer.bytes_mut().copy_from_slice(data);
        Ok((name.to_owned(), buffer, shape))
    }
}

/// Reads a file's tensors.
fn parse(bytes: &[u8]) -> Result<Vec<Parameter<'_>>, String> {
    let reader = Reader(bytes);
    if reader.bytes(4, 4)? != IDENTIFIER {
        return Err("it does not begin like one".to_owned());
    }
    let root = reader.follow(0)?;
    let version = reader.field(root, 0)?.map_or(Ok(0), |at| reader.u32(at))?;
    if version != VERSION {
        return Err(format!("it is of version {version}, not {VERSION}"));
    }
    let list = match reader.field(root, 3)? {
        None => return Ok(Vec::new()),
        Some(at) => reader.follow(at)?,
    };
    let count = reader.u32(list)? as usize;
    if count > MAX_PARAMETERS {
        return Err(format!("it has {count} tensors, more than {MAX_PARAMETERS}"));
    }
    let mut parameters: Vec<Parameter> = Vec::new();
    let mut names = BTreeSet::new();
    let mut total = 0_usize;
    for index in 0..count {
        let table = reader.follow(reader.after(list, 4 + 4 * index)?)?;
        let parameter = parameter(reader, table).map_err(|what| format!("tensor {index} {what}"))?;
        // Tables may point at the same bytes: what is copied is bounded by the file all the same.
        total = total.saturating_add(parameter.data.len());
        if total > bytes.len() || !names.insert(parameter.name) {
            return Err(format!("tensor {index} is there twice"));
        }
        parameters.push(parameter);
    }
    Ok(parameters)
}

fn parameter(reader: Reader<'_>, table: usize) -> Result<Parameter<'_>, String> {
    let vector = |field: usize, width: usize| -> Result<&[u8], String> {
        let Some(at) = reader.field(table, field)? else { return Ok(&[]) };
        let at = reader.follow(at)?;
        let count = reader.u32(at)? as usize;
        reader.bytes(reader.after(at, 4)?, count.checked_mul(width).ok_or("is too large")?)
    };
    let name = std::str::from_utf8(vector(0, 1)?).map_err(|_| "has a name that is not UTF-8")?;
    let (dims, _) = vector(1, 8)?.as_chunks::<8>();
    let shape: Option<Vec<usize>> =
        dims.iter().map(|size| usize::try_from(i64::from_le_bytes(*size)).ok()).collect();
    let shape = shape.ok_or("has a size below 0")?;
    // ONNX's numbers of types.
    let (element, width) = match reader.field(table, 2)?.map_or(Ok(0), |at| reader.u32(at))? {
        1 => (TensorElementType::Float32, 4),
        10 => (TensorElementType::Float16, 2),
        other => return Err(format!("`{name}` is of type {other}; floats of 32 and 16 bits are supported")),
    };
    let data = vector(3, 1)?;
    let wanted = shape.iter().try_fold(width, |product: usize, size| product.checked_mul(*size));
    if wanted != Some(data.len()) {
        return Err(format!("`{name}` has {} bytes for the shape {shape:?}", data.len()));
    }
    Ok(Parameter { name, element, shape, data })
}

/// A FlatBuffer's bytes.
#[derive(Clone, Copy)]
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(self, at: usize, count: usize) -> Result<&'a [u8], String> {
        let end = self.after(at, count)?;
        self.0
            .get(at..end)
            .ok_or_else(|| format!("points at {count} bytes at {at}, of {} in all", self.0.len()))
    }

    fn after(self, at: usize, more: usize) -> Result<usize, String> {
        at.checked_add(more).ok_or_else(|| "points beyond any file".to_owned())
    }

    fn u32(self, at: usize) -> Result<u32, String> {
        let bytes = self.bytes(at, 4)?;
        Ok(u32::from_le_bytes(bytes.try_into().unwrap_or_default()))
    }

    fn u16(self, at: usize) -> Result<usize, String> {
        let bytes = self.bytes(at, 2)?;
        Ok(u16::from_le_bytes(bytes.try_into().unwrap_or_default()).into())
    }

    /// Where an offset leads.
    fn follow(self, at: usize) -> Result<usize, String> {
        self.after(at, self.u32(at)? as usize)
    }

    /// Where a table's field is, if it has it.
    fn field(self, table: usize, number: usize) -> Result<Option<usize>, String> {
        let back = self.u32(table)?.cast_signed();
        let places = i64::try_from(table).unwrap_or(i64::MAX).saturating_sub(back.into());
        let places = usize::try_from(places).map_err(|_| "points before the file".to_owned())?;
        let place = 4 + 2 * number;
        if place + 2 > self.u16(places)? {
            return Ok(None);
        }
        match self.u16(self.after(places, place)?)? {
            0 => Ok(None),
            offset => self.after(table, offset).map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Written by ONNX Runtime 1.32's own `AdapterFormat`: `b` of [1, 2] and `a` of [2, 1] in 32-bit floats.
    const WRITTEN: &[u8] = include_bytes!("../tests/references/two.onnx_adapter");

    #[test]
    fn what_onnx_runtime_writes_is_read() {
        let mut found = parse(WRITTEN).expect("an adapter");
        found.sort_by_key(|parameter| parameter.name);
        let shown: Vec<_> = found
            .iter()
            .map(|parameter| {
                let (values, _) = parameter.data.as_chunks::<4>();
                let values: Vec<f32> = values.iter().map(|value| f32::from_le_bytes(*value)).collect();
                (parameter.name, parameter.element, parameter.shape.clone(), values)
            })
            .collect();
        let float = TensorElementType::Float32;
        assert_eq!(
            shown,
            [("a", float, vec![2, 1], vec![1.0, 2.0]), ("b", float, vec![1, 2], vec![3.0, 4.0])]
        );
    }

    proptest! {
        #[test]
        fn damaged_files_end_in_an_error_or_an_adapter(
            changes in proptest::collection::vec((0..WRITTEN.len(), any::<u8>()), 0..6),
            length in 0..=WRITTEN.len(),
        ) {
            let mut bytes = WRITTEN.to_vec();
            changes.into_iter().for_each(|(place, value)| bytes[place] = value);
            bytes.truncate(length);
            let _ = parse(&bytes);
        }

        #[test]
        fn any_bytes_end_in_an_error_or_an_adapter(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut begun = vec![12, 0, 0, 0, b'T', b'O', b'R', b'T'];
            begun.extend(bytes);
            let _ = parse(&begun);
        }
    }
}
