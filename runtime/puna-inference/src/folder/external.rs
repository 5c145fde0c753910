//! Which files of weights a graph needs, read from the graph's own file.
//!
//! ONNX Runtime finds out that a file of weights is missing or short in the middle of loading, minutes in for
//! a large model, and some of its messages name no file. The names, offsets and lengths stand in the graph
//! (`TensorProto.external_data` in `onnx.proto`), so a scan of its fields, which skips what it does not need,
//! tells the same in milliseconds.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{BufReader, Read},
    path::{Path, PathBuf},
};

use puna_core::{Error, ErrorKind, Result};

use super::config::is_inside;

/// Longest name of a file of weights, and longest number or key beside it, in bytes.
const MAX_TEXT_BYTES: u64 = 4096;

/// Most files of weights a graph may name: exporters split at gigabytes, or write a file for each tensor.
const MAX_DATA_FILES: usize = 1 << 14;

/// How deep graphs may lie inside graphs: exporters nest two or three.
const MAX_DEPTH: usize = 32;

/// Numbers of element types above this are of no known type, and counted together.
const MAX_ELEMENT: u64 = 64;

/// What a downloaded file begins with when only its place in Git's large file storage was downloaded.
const LFS_POINTER: &[u8] = b"version https://git-lfs";

/// A file of weights, and how long the graph takes it to be.
struct DataFile {
    path: PathBuf,
    needed: u64,
}

/// What a graph and its files of weights take up, in bytes.
///
/// # Errors
/// [`NotFound`](ErrorKind::NotFound) when a file is missing; [`Corrupt`](ErrorKind::Corrupt) when one is cut,
/// is a pointer of Git's large file storage, or when the graph's file is none;
/// [`InvalidInput`](ErrorKind::InvalidInput) for a file outside the graph's folder.
pub(super) fn check(graph: &Path) -> Result<Contents> {
    let mut files = BTreeMap::from([(graph.to_owned(), length(graph)?)]);
    let scan = scan(graph)?;
    let weights = scan.weights();
    for file in scan.data_files(graph)? {
        let found = match length(&file.path) {
            Ok(found) => found,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(Error::new(
                    ErrorKind::NotFound,
                    format!(
                        "`{}` is missing, and the graph `{}` keeps weights in it; download it beside the graph",
                        file.path.display(),
                        graph.display()
                    ),
                ));
            }
            Err(error) => return Err(error),
        };
        if found < file.needed {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!(
                    "`{}` has {found} bytes and the graph `{}` needs {} of it: it is cut, or another export's; download it again",
                    file.path.display(),
                    graph.display(),
                    file.needed
                ),
            ));
        }
        files.insert(file.path, found);
    }
    Ok(Contents { files, weights })
}

/// What a graph holds.
#[derive(Clone)]
pub(super) struct Contents {
    /// Its own file and those of its weights, with their sizes in bytes.
    pub files: BTreeMap<PathBuf, u64>,
    /// The type of most of its weights.
    pub weights: String,
}

impl Contents {
    /// What it takes up with its weights, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.files.values().fold(0, |sum, bytes| sum.saturating_add(*bytes))
    }
}

/// What a graph and those of its files of weights that are there take up, in bytes: for a list, in which a
/// broken file is no reason to fail.
pub(super) fn bytes_present(graph: &Path) -> u64 {
    let size = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
    let weights = scan(graph).and_then(|scan| scan.data_files(graph)).unwrap_or_default();
    weights.iter().fold(size(graph), |sum, file| sum.saturating_add(size(&file.path)))
}

/// A file's length, if it is a file and no pointer to one.
fn length(path: &Path) -> Result<u64> {
    let failed = |error| Error::from_io("read", path, error);
    let metadata = fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        return Err(Error::invalid_input(format!("`{}` is not a file", path.display())));
    }
    let mut start = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(LFS_POINTER.len() as u64).read_to_end(&mut start).map_err(failed)?;
    if start == LFS_POINTER {
        return Err(Error::new(
            ErrorKind::Corrupt,
            format!(
                "`{}` is a pointer of Git's large file storage, not the file; run `git lfs pull` in its folder",
                path.display()
            ),
        ));
    }
    Ok(metadata.len())
}

fn scan(graph: &Path) -> Result<Scan> {
    let failed = |error| Error::from_io("read", graph, error);
    let file = File::open(graph).map_err(failed)?;
    let end = file.metadata().map_err(failed)?.len();
    let mut scan = Scan {
        file: BufReader::new(file),
        position: 0,
        files: BTreeMap::new(),
        types: BTreeMap::new(),
        bits: BTreeSet::new(),
    };
    scan.message(Kind::Model, end, 0).map_err(|broken| match broken {
        Broken::Io(error) => failed(error),
        Broken::Format(what) => Error::new(
            ErrorKind::Corrupt,
            format!(
                "`{}` is not an ONNX graph, or is cut: {what} near byte {} of {end}; download it again",
                graph.display(),
                scan.position
            ),
        ),
    })?;
    Ok(scan)
}

enum Broken {
    Io(std::io::Error),
    Format(&'static str),
}

impl From<std::io::Error> for Broken {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::UnexpectedEof => Self::Format("it ends inside a field"),
            _ => Self::Io(error),
        }
    }
}

/// The messages of `onnx.proto` on the way to a tensor.
#[derive(Clone, Copy)]
enum Kind {
    Model,
    Graph,
    Node,
    Attribute,
    Function,
    SparseTensor,
    Tensor,
}

impl Kind {
    /// The message in a field, by the numbers in `onnx.proto`.
    fn child(self, field: u64) -> Option<Self> {
        match (self, field) {
            (Self::Model, 7) | (Self::Attribute, 6 | 11) => Some(Self::Graph),
            (Self::Model, 25) => Some(Self::Function),
            (Self::Graph, 1) | (Self::Function, 7) => Some(Self::Node),
            (Self::Node, 5) => Some(Self::Attribute),
            (Self::Graph, 5) | (Self::Attribute, 5 | 10) | (Self::SparseTensor, 1 | 2) => Some(Self::Tensor),
            (Self::Graph, 15) | (Self::Attribute, 22 | 23) => Some(Self::SparseTensor),
            _ => None,
        }
    }
}

/// `TensorProto.external_data`, a list of pairs of texts.
const EXTERNAL_DATA: u64 = 13;
/// `TensorProto.data_location`: 1 where the data is in another file.
const DATA_LOCATION: u64 = 14;

/// Walks a file of Protocol Buffers without holding it: a graph with its weights inside has gigabytes.
struct Scan {
    file: BufReader<File>,
    position: u64,
    /// The files named and the length that each must have.
    files: BTreeMap<String, u64>,
    /// How many bytes of tensors there are of each type, by its number in `onnx.proto`.
    types: BTreeMap<u64, u64>,
    /// The widths of weights that nodes unpack.
    bits: BTreeSet<u64>,
}

/// `TensorProto.data_type` and `TensorProto.raw_data`.
const DATA_TYPE: u64 = 2;
const RAW_DATA: u64 = 9;
/// `AttributeProto.name` and `AttributeProto.i`.
const ATTRIBUTE_NAME: u64 = 1;
const ATTRIBUTE_NUMBER: u64 = 3;

/// The attribute of nodes that unpack weights, as `MatMulNBits`, which says of how many bits they are.
const BITS: &str = "bits";

/// Where a tensor says its data is.
#[derive(Default)]
struct Place {
    location: Option<String>,
    offset: u64,
    length: u64,
}

impl Scan {
    fn data_files(self, graph: &Path) -> Result<Vec<DataFile>> {
        let folder = graph.parent().unwrap_or(Path::new(""));
        self.files
            .into_iter()
            .map(|(name, needed)| {
                if is_inside(&name) {
                    return Ok(DataFile { path: folder.join(name), needed });
                }
                Err(Error::invalid_input(format!(
                    "the graph `{}` keeps weights in `{name}`; it must be a path inside the graph's folder",
                    graph.display()
                )))
            })
            .collect()
    }

    /// The type of most of the weights.
    fn weights(&self) -> String {
        let packed = self.bits.first().copied().unwrap_or(8);
        let weights = |element: u64, bytes: u64| match element {
            1 => bytes / 4,
            10 | 16 => bytes / 2,
            2 | 3 => bytes.saturating_mul(8) / packed,
            21 | 22 => bytes.saturating_mul(2),
            _ => 0,
        };
        let most = self.types.iter().max_by_key(|(element, bytes)| weights(**element, **bytes));
        let most = most.map(|(element, _)| *element);
        let name = match most {
            Some(1) => "fp32",
            Some(10) => "fp16",
            Some(16) => "bf16",
            // Packed: the nodes tell how.
            Some(2 | 3) if !self.bits.is_empty() => {
                let widths: Vec<String> = self.bits.iter().map(|bits| format!("int{bits}")).collect();
                return widths.join(" and ");
            }
            Some(2 | 3) => "int8",
            Some(21 | 22) => "int4",
            _ => "unknown",
        };
        name.to_owned()
    }

    fn message(&mut self, kind: Kind, end: u64, depth: usize) -> Result<(), Broken> {
        if depth > MAX_DEPTH {
            return Err(Broken::Format("graphs are nested too deeply"));
        }
        let mut place = Place::default();
        let mut external = false;
        let (mut element, mut raw) = (0, 0);
        let (mut name, mut number) = (String::new(), 0);
        while self.position < end {
            let tag = self.varint()?;
            match (tag >> 3, tag & 7) {
                (DATA_LOCATION, 0) => external = self.varint()? == 1,
                (DATA_TYPE, 0) if matches!(kind, Kind::Tensor) => element = self.varint()?,
                (ATTRIBUTE_NUMBER, 0) if matches!(kind, Kind::Attribute) => number = self.varint()?,
                (_, 0) => {
                    self.varint()?;
                }
                (_, 1) => self.skip(8)?,
                (_, 5) => self.skip(4)?,
                (field, 2) => {
                    let inner = self.inner_end(end)?;
                    match kind.child(field) {
                        Some(child) => self.message(child, inner, depth + 1)?,
                        None if matches!(kind, Kind::Tensor) && field == EXTERNAL_DATA => {
                            self.entry(&mut place, inner)?;
                        }
                        None if matches!(kind, Kind::Attribute)
                            && field == ATTRIBUTE_NAME
                            && inner - self.position == BITS.len() as u64 =>
                        {
                            name = self.text(inner)?;
                        }
                        None => {
                            if field == RAW_DATA {
                                raw = inner - self.position;
                            }
                            self.skip(inner - self.position)?;
                        }
                    }
                }
                _ => return Err(Broken::Format("a field of no known type")),
            }
        }
        if self.position > end {
            return Err(Broken::Format("a field ends beyond its message"));
        }
        if name == BITS && (1..=8).contains(&number) {
            self.bits.insert(number);
        }
        if matches!(kind, Kind::Tensor) {
            let bytes = if external { place.length } else { raw };
            let sum = self.types.entry(element.min(MAX_ELEMENT)).or_default();
            *sum = sum.saturating_add(bytes);
        }
        match place.location {
            Some(location) if external && matches!(kind, Kind::Tensor) => {
                let needed = place.offset.saturating_add(place.length);
                let known = self.files.entry(location).or_default();
                *known = needed.max(*known);
                if self.files.len() > MAX_DATA_FILES {
                    return Err(Broken::Format("more files of weights than any exporter writes"));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// One pair of `external_data`: key and value are its fields 1 and 2.
    fn entry(&mut self, place: &mut Place, end: u64) -> Result<(), Broken> {
        let (mut key, mut value) = (String::new(), String::new());
        while self.position < end {
            let tag = self.varint()?;
            if tag & 7 != 2 {
                return Err(Broken::Format("a pair of external data that is no text"));
            }
            let inner = self.inner_end(end)?;
            match tag >> 3 {
                1 => key = self.text(inner)?,
                2 => value = self.text(inner)?,
                _ => self.skip(inner - self.position)?,
            }
        }
        let number = || value.parse().map_err(|_| Broken::Format("an offset or length that is no number"));
        match key.as_str() {
            "location" => place.location = Some(value),
            "offset" => place.offset = number()?,
            "length" => place.length = number()?,
            _ => (),
        }
        Ok(())
    }

    /// Where the length-delimited field that begins here ends.
    fn inner_end(&mut self, end: u64) -> Result<u64, Broken> {
        let length = self.varint()?;
        match self.position.checked_add(length) {
            Some(inner) if inner <= end => Ok(inner),
            _ => Err(Broken::Format("a field longer than what holds it")),
        }
    }

    fn text(&mut self, end: u64) -> Result<String, Broken> {
        let length = end - self.position;
        if length > MAX_TEXT_BYTES {
            return Err(Broken::Format("a file's name longer than any system takes"));
        }
        let mut bytes = Vec::new();
        self.file.by_ref().take(length).read_to_end(&mut bytes)?;
        self.position = end;
        String::from_utf8(bytes).map_err(|_| Broken::Format("a file's name that is not UTF-8"))
    }

    fn skip(&mut self, bytes: u64) -> Result<(), Broken> {
        let step = i64::try_from(bytes).map_err(|_| Broken::Format("a field longer than any file"))?;
        self.file.seek_relative(step)?;
        self.position += bytes;
        Ok(())
    }

    fn varint(&mut self) -> Result<u64, Broken> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let mut byte = [0];
            self.file.read_exact(&mut byte)?;
            self.position += 1;
            value |= u64::from(byte[0] & 0x7f) << shift;
            if byte[0] & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Broken::Format("a number of more than 64 bits"))
    }
}
