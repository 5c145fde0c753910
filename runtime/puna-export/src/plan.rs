//! What the files of weights hold, decided before any weight is read, and then written piece by piece.

use std::{
    collections::BTreeMap,
    fs::File,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use half::{bf16, f16};
use puna_core::{Error, ErrorKind, Result};
use rayon::prelude::*;

use crate::{
    Progress,
    checkpoint::Source,
    files,
    matrix::Matrix,
    onnx::{Entry, Tensor, Type},
    quantise::{Blocks, channels},
    rope::{Function, Table},
};

/// Weights that a thread holds at a time. Large enough that a transposed piece has runs of some hundred bytes, small
/// enough that all threads' pieces are a part of a large model's largest tensor.
const PIECE: usize = 2 << 20;

/// Where tensors of a page and more begin: a multiple of this, so that they can be mapped on their own.
const PAGE: u64 = 4096;

/// Where smaller tensors begin: what vector instructions like.
const ALIGNMENT: u64 = 64;

/// A place in one of the files.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    file: usize,
    offset: u64,
}

/// A tensor, or several of one matrix, still to be written.
pub(crate) enum Job {
    /// The matrix as it is.
    Rows { matrix: Matrix, element: Type, slot: Slot },
    /// Its columns one after the other, which is how ONNX's products take it.
    Columns { matrix: Matrix, element: Type, slot: Slot },
    /// In few bits by blocks.
    Blocks { matrix: Matrix, blocks: Blocks, values: Slot, scales: Slot, zeros: Option<Slot> },
    /// In signed 8 bits with a scale for each row, its columns one after the other.
    Channels { matrix: Matrix, values: Slot, scales: Slot },
    /// Cosines or sines of places.
    Table { table: Table, function: Function, slot: Slot },
}

struct DataFile {
    name: String,
    bytes: u64,
}

/// All jobs, and where their results will be.
#[derive(Default)]
pub(crate) struct Plan {
    files: Vec<DataFile>,
    jobs: Vec<Job>,
    tensors: BTreeMap<String, Tensor>,
    /// Bytes of tensors, without the gaps between them.
    bytes: u64,
}

impl Plan {
    /// Adds a file of weights and gives its number.
    pub(crate) fn file(&mut self, name: &str) -> usize {
        self.files.push(DataFile { name: name.to_owned(), bytes: 0 });
        self.files.len() - 1
    }

    /// Finds room for a tensor. What another graph placed already stays where it is: `None`.
    pub(crate) fn place(&mut self, file: usize, name: &str, element: Type, dims: &[usize]) -> Option<Slot> {
        if self.tensors.contains_key(name) {
            return None;
        }
        // What no disk has room for is refused before it is written; until then it must not wrap around.
        let elements = dims.iter().fold(1, |product: u64, size| product.saturating_mul(*size as u64));
        let length = element.bytes(elements);
        let target = &mut self.files[file];
        let multiple = if length >= PAGE { PAGE } else { ALIGNMENT };
        let offset = target.bytes.checked_next_multiple_of(multiple).unwrap_or(u64::MAX);
        target.bytes = offset.saturating_add(length);
        self.bytes = self.bytes.saturating_add(length);
        let entry = |key: &str, value: String| Entry { key: key.to_owned(), value };
        let tensor = Tensor {
            dims: dims.iter().filter_map(|size| i64::try_from(*size).ok()).collect(),
            data_type: Some(element as i32),
            name: name.to_owned(),
            external_data: vec![
                entry("location", target.name.clone()),
                entry("offset", offset.to_string()),
                entry("length", length.to_string()),
            ],
            data_location: Some(1),
            raw_data: None,
        };
        self.tensors.insert(name.to_owned(), tensor);
        Some(Slot { file, offset })
    }

    /// A placed tensor, as a graph names it.
    pub(crate) fn tensor(&self, name: &str) -> Option<Tensor> {
        self.tensors.get(name).cloned()
    }

    pub(crate) fn job(&mut self, job: Job) {
        self.jobs.push(job);
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Refuses what the folder's disk has no room for.
    ///
    /// # Errors
    /// [`ResourceExhausted`](ErrorKind::ResourceExhausted) with the bytes that are needed and those that are free.
    pub(crate) fn check_room(&self, folder: &Path) -> Result<()> {
        let free = fs4::available_space(folder)
            .map_err(|error| Error::from_io("ask how much is free for", folder, error))?;
        let needed = self.files.iter().fold(0, |sum: u64, file| sum.saturating_add(file.bytes));
        if needed <= free {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::ResourceExhausted,
            format!(
                "the weights take {needed} bytes, and {free} are free on the disk; free {}, choose fewer bits, or name a folder on another disk",
                needed - free
            ),
        ))
    }

    /// Writes all files into a folder, each piece by one of several threads, and waits until they are on the disk.
    pub(crate) fn write(
        &self,
        source: &dyn Source,
        folder: &Path,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<()> {
        let mut targets = Vec::new();
        for file in &self.files {
            let path = folder.join(&file.name);
            let failed = |error| Error::from_io("write", &path, error);
            let target = File::create_new(&path).map_err(failed)?;
            target.set_len(file.bytes).map_err(failed)?;
            targets.push((path.clone(), target));
        }
        let done = AtomicU64::new(0);
        let put = |slot: Slot, offset: u64, bytes: &[u8]| {
            let (path, file) = &targets[slot.file];
            files::write_at(file, slot.offset + offset, bytes)
                .map_err(|error| Error::from_io("write", path, error))?;
            let bytes = bytes.len() as u64;
            let done = done.fetch_add(bytes, Ordering::Relaxed) + bytes;
            progress(Progress { done, total: self.bytes });
            Ok(())
        };
        for job in &self.jobs {
            job.run(source, &put)?;
        }
        for (path, file) in &targets {
            file.sync_all().map_err(|error| Error::from_io("write", path, error))?;
        }
        Ok(())
    }
}

type Put<'a> = dyn Fn(Slot, u64, &[u8]) -> Result<()> + Sync + 'a;

impl Job {
    fn run(&self, source: &dyn Source, put: &Put) -> Result<()> {
        match self {
            Self::Rows { matrix, element, slot } => pieces(matrix, source, |first, values| {
                check_range(matrix, *element, values)?;
                let bytes = encode(*element, values.iter().copied());
                put(*slot, element.bytes((first * matrix.columns) as u64), &bytes)
            }),
            Self::Columns { matrix, element, slot } => pieces(matrix, source, |first, values| {
                check_range(matrix, *element, values)?;
                let (rows, width) = (matrix.rows(), element.bytes(1));
                for column in 0..matrix.columns {
                    let of_column = values.iter().skip(column).step_by(matrix.columns).copied();
                    let place = (column * rows + first) as u64;
                    put(*slot, place * width, &encode(*element, of_column))?;
                }
                Ok(())
            }),
            Self::Blocks { matrix, blocks, values, scales, zeros } => {
                pieces(matrix, source, |first, floats| {
                    let packed = blocks.pack(floats, matrix.columns);
                    put(*values, (first * blocks.value_bytes(matrix.columns)) as u64, &packed.values)?;
                    let bytes = encode(Type::Float32, packed.scales.iter().copied());
                    put(*scales, (first * blocks.count(matrix.columns) * 4) as u64, &bytes)?;
                    match zeros {
                        Some(zeros) => {
                            put(*zeros, (first * blocks.zero_bytes(matrix.columns)) as u64, &packed.zeros)
                        }
                        None => Ok(()),
                    }
                })
            }
            Self::Channels { matrix, values, scales } => pieces(matrix, source, |first, floats| {
                let rows = matrix.rows();
                let (levels, of_rows) = channels(floats, matrix.columns);
                put(*scales, first as u64 * 4, &encode(Type::Float32, of_rows.into_iter()))?;
                for column in 0..matrix.columns {
                    let of_column: Vec<u8> = levels
                        .iter()
                        .skip(column)
                        .step_by(matrix.columns)
                        .map(|level| level.cast_unsigned())
                        .collect();
                    put(*values, (column * rows + first) as u64, &of_column)?;
                }
                Ok(())
            }),
            Self::Table { table, function, slot } => {
                let step = (PIECE / table.columns()).max(1);
                (0..table.rows().div_ceil(step)).into_par_iter().try_for_each(|piece| {
                    let first = piece * step;
                    let mut values = Vec::new();
                    for position in first..(first + step).min(table.rows()) {
                        table.row(position, *function, &mut values);
                    }
                    let bytes = encode(Type::Float32, values.into_iter());
                    put(*slot, (first * table.columns() * 4) as u64, &bytes)
                })
            }
        }
    }
}

/// Reads a matrix in pieces of whole rows, several at a time, each with the number of its first row.
fn pieces(
    matrix: &Matrix,
    source: &dyn Source,
    each: impl Fn(usize, &[f32]) -> Result<()> + Sync,
) -> Result<()> {
    let rows = matrix.rows();
    let step = (PIECE / matrix.columns).max(1);
    let matrix = matrix.prepared(source)?;
    (0..rows.div_ceil(step)).into_par_iter().try_for_each(|piece| {
        let first = piece * step;
        let mut values = Vec::new();
        matrix.read(source, first, step.min(rows - first), &mut values)?;
        each(first, &values)
    })
}

/// Refuses what would become infinite.
fn check_range(matrix: &Matrix, element: Type, values: &[f32]) -> Result<()> {
    let most = f16::MAX.to_f32();
    match values.iter().find(|value| element == Type::Float16 && value.abs() > most) {
        None => Ok(()),
        Some(value) => Err(Error::invalid_input(format!(
            "{} has a weight of `{value}`, beyond the largest in fp16, {most}; export it as bf16 or fp32",
            matrix.names()
        ))),
    }
}

/// Numbers as bytes; only floats come here.
fn encode(element: Type, values: impl ExactSizeIterator<Item = f32>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(values.len() * 4);
    match element {
        Type::Float16 => bytes.extend(values.flat_map(|value| f16::from_f32(value).to_le_bytes())),
        Type::Bfloat16 => bytes.extend(values.flat_map(|value| bf16::from_f32(value).to_le_bytes())),
        _ => bytes.extend(values.flat_map(f32::to_le_bytes)),
    }
    bytes
}
