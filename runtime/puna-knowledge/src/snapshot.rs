//! The indexes in a file, so that a process does not make them again. What the file says is checked, and where anything is
//! in doubt the indexes are made anew from the store.

use std::{
    fs::{self, File},
    io::{BufWriter, Read, Write},
    path::Path,
};

use puna_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::{
    Embedding, Metric, Precision,
    index::{Graph, Half, KeywordIndex, Matrix, Number, Posting, Row, Rows, VectorIndex, Vectors},
    indexes::Indexes,
};

/// The form of the file that this version writes and reads. It changes with what terms are made of a text, too.
const FORM: u32 = 2;

/// What a file begins with.
const MAGIC: &[u8; 8] = b"PUNAIDX\n";

/// The largest file believed: bounds memory.
const MAX_BYTES: u64 = 64 << 30;

/// What a file must say to be taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Header {
    pub(crate) form: u32,
    pub(crate) embedding: Embedding,
    pub(crate) metric: Metric,
    pub(crate) precision: Precision,
}

impl Header {
    pub(crate) fn new(embedding: Embedding, metric: Metric, precision: Precision) -> Self {
        Self { form: FORM, embedding, metric, precision }
    }
}

/// What stands behind the header.
#[derive(Serialize, Deserialize)]
struct Counts {
    /// Rows.
    rows: usize,
    /// Terms.
    terms: usize,
    /// The first of the rows, which are linked.
    linked: usize,
    /// The number that the next document got: the last that the file knows of.
    next: u64,
}

/// Writes the file whole or not at all. The indexes must be packed.
pub(crate) fn write(path: &Path, header: &Header, next: u64, indexes: &Indexes) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let temporary = path.with_extension("new");
    let failed = |error| Error::from_io("write the snapshot", path, error);
    fs::create_dir_all(folder).map_err(failed)?;
    let file = File::create(&temporary).map_err(failed)?;
    let mut out = Summed { inner: BufWriter::with_capacity(1 << 20, file), sum: crc32fast::Hasher::new() };
    content(&mut out, header, next, indexes).map_err(failed)?;
    let sum = out.sum.finalize();
    out.inner.write_all(&sum.to_le_bytes()).map_err(failed)?;
    let file = out.inner.into_inner().map_err(|error| failed(error.into_error()))?;
    file.sync_all().map_err(failed)?;
    fs::rename(&temporary, path).map_err(failed)?;
    // The name is on the disk with the folder.
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}

fn content(out: &mut impl Write, header: &Header, next: u64, indexes: &Indexes) -> std::io::Result<()> {
    out.write_all(MAGIC)?;
    let terms: Vec<(&str, &[Posting])> = indexes.keywords.terms().collect();
    let counts =
        Counts { rows: indexes.rows.len(), terms: terms.len(), linked: indexes.vectors.graph().rows(), next };
    for json in [serde_json::to_vec(header)?, serde_json::to_vec(&counts)?] {
        out.write_all(&(json.len() as u32).to_le_bytes())?;
        out.write_all(&json)?;
    }
    for (document, chunk) in indexes.rows.chunks() {
        out.write_all(&document.to_le_bytes())?;
        out.write_all(&chunk.to_le_bytes())?;
    }
    write_vectors(out, indexes.vectors.vectors())?;
    for layers in indexes.vectors.graph().parts() {
        let layers: Vec<&[Row]> = layers.collect();
        write_number(out, layers.len() as u64)?;
        for links in layers {
            write_number(out, links.len() as u64)?;
            write_all(out, links, Row::to_le_bytes)?;
        }
    }
    write_all(out, indexes.keywords.lengths(), u32::to_le_bytes)?;
    for (term, postings) in terms {
        write_number(out, term.len() as u64)?;
        out.write_all(term.as_bytes())?;
        write_number(out, postings.len() as u64)?;
        let mut before = 0;
        for (row, times) in postings {
            write_number(out, u64::from(row - before))?;
            write_number(out, u64::from(*times))?;
            before = *row;
        }
    }
    Ok(())
}

fn write_vectors(out: &mut impl Write, vectors: &Vectors) -> std::io::Result<()> {
    match vectors {
        Vectors::F32(all) => write_matrix(out, all, f32::to_le_bytes),
        Vectors::F16(all) => write_matrix(out, all, |half| half.0.to_le_bytes()),
        Vectors::I8(all) => write_matrix(out, all, i8::to_le_bytes),
    }
}

fn write_matrix<T: Copy, const N: usize>(
    out: &mut impl Write,
    matrix: &Matrix<T>,
    bytes: fn(T) -> [u8; N],
) -> std::io::Result<()> {
    write_all(out, &matrix.numbers, bytes)?;
    write_all(out, &matrix.scales, f32::to_le_bytes)
}

fn write_all<T: Copy, const N: usize>(
    out: &mut impl Write,
    all: &[T],
    bytes: fn(T) -> [u8; N],
) -> std::io::Result<()> {
    let mut buffer = Vec::with_capacity(N * 4096);
    for part in all.chunks(4096) {
        buffer.clear();
        part.iter().for_each(|one| buffer.extend_from_slice(&bytes(*one)));
        out.write_all(&buffer)?;
    }
    Ok(())
}

/// Seven bits a byte, the lowest first.
fn write_number(out: &mut impl Write, mut number: u64) -> std::io::Result<()> {
    let mut bytes = [0; 10];
    let mut length = 0;
    while number >= 0x80 {
        bytes[length] = number as u8 | 0x80;
        number >>= 7;
        length += 1;
    }
    bytes[length] = number as u8;
    out.write_all(&bytes[..=length])
}

/// Counts a checksum while it writes.
struct Summed<W> {
    inner: W,
    sum: crc32fast::Hasher,
}

impl<W: Write> Write for Summed<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.sum.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

/// The indexes of a file and the number of the next document when it was written; why not, where the file is not there,
/// not whole, or of something else.
pub(crate) fn read(path: &Path, wanted: &Header) -> Result<(Indexes, u64), String> {
    let mut file = File::open(path).map_err(|error| error.to_string())?;
    let length = file.metadata().map_err(|error| error.to_string())?.len();
    if length > MAX_BYTES {
        return Err(format!("it has {length} bytes"));
    }
    let mut bytes = Vec::with_capacity(length as usize);
    file.read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    let (content, sum) = bytes.split_last_chunk::<4>().ok_or("it is cut short")?;
    if crc32fast::hash(content) != u32::from_le_bytes(*sum) {
        return Err("its checksum is wrong".to_owned());
    }
    decode(content, wanted).ok_or_else(|| "it is of another form, model or precision".to_owned())
}

/// Reads what the checksum vouches for. Still no number in it is believed beyond the bytes that there are.
fn decode(content: &[u8], wanted: &Header) -> Option<(Indexes, u64)> {
    let mut from = Source(content.strip_prefix(MAGIC)?);
    let header: Header = from.json()?;
    if header != *wanted {
        return None;
    }
    let Counts { rows, terms, linked, next } = from.json()?;
    let dimension = header.embedding.dimension;
    let chunks = from.all(rows, |bytes: [u8; 12]| {
        let (document, chunk) = bytes.split_at(8);
        (
            u64::from_le_bytes(document.try_into().expect("8")),
            u32::from_le_bytes(chunk.try_into().expect("4")),
        )
    })?;
    let vectors = match header.precision {
        Precision::F32 => Vectors::F32(matrix(&mut from, rows, dimension, f32::from_le_bytes)?),
        Precision::F16 => {
            Vectors::F16(matrix(&mut from, rows, dimension, |bytes| Half(u16::from_le_bytes(bytes)))?)
        }
        Precision::I8 => Vectors::I8(matrix(&mut from, rows, dimension, i8::from_le_bytes)?),
    };
    let graph = links(&mut from, linked).filter(|graph| graph.rows() <= rows)?;
    let vectors = VectorIndex::from_parts(header.metric, vectors, graph);
    let lengths = from.all(rows, u32::from_le_bytes)?;
    let mut words = Vec::new();
    for _ in 0..terms {
        let length = usize::try_from(from.number()?).ok()?;
        let term = std::str::from_utf8(from.take(length)?).ok()?.into();
        let count = usize::try_from(from.number()?).ok()?;
        // Each takes two bytes at least.
        let mut postings = Vec::with_capacity(count.min(from.0.len() / 2));
        let mut row = 0_u32;
        for _ in 0..count {
            row = row.checked_add(u32::try_from(from.number()?).ok()?)?;
            if row as usize >= rows {
                return None;
            }
            postings.push((row, u32::try_from(from.number()?).ok()?));
        }
        words.push((term, postings));
    }
    let keywords = KeywordIndex::from_parts(words, lengths);
    from.0.is_empty().then_some(())?;
    Some((Indexes::from_parts(Rows::from_chunks(chunks)?, vectors, keywords), next))
}

fn matrix<T: Number, const N: usize>(
    from: &mut Source<'_>,
    rows: usize,
    dimension: usize,
    read: impl Fn([u8; N]) -> T,
) -> Option<Matrix<T>> {
    let numbers = from.all(rows.checked_mul(dimension)?, read)?;
    let scales = if T::LARGEST.is_some() { from.all(rows, f32::from_le_bytes)? } else { Vec::new() };
    Some(Matrix::new(dimension, numbers, scales))
}

fn links(from: &mut Source<'_>, rows: usize) -> Option<Graph> {
    let mut parts = Vec::new();
    for _ in 0..rows {
        let mut layers = Vec::new();
        for _ in 0..from.number()? {
            let count = usize::try_from(from.number()?).ok()?;
            layers.push(from.all(count, Row::from_le_bytes)?);
        }
        parts.push(layers);
    }
    Graph::from_parts(parts)
}

/// Bytes that are read from the front.
struct Source<'a>(&'a [u8]);

impl<'a> Source<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn json<T: serde::de::DeserializeOwned>(&mut self) -> Option<T> {
        let length = u32::from_le_bytes(self.take(4)?.try_into().ok()?);
        serde_json::from_slice(self.take(length as usize)?).ok()
    }

    fn all<T, const N: usize>(&mut self, count: usize, read: impl Fn([u8; N]) -> T) -> Option<Vec<T>> {
        let (all, _) = self.take(count.checked_mul(N)?)?.as_chunks::<N>();
        Some(all.iter().map(|bytes| read(*bytes)).collect())
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.take(1)?.first()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Scan;

    const DIMENSION: usize = 6;
    const PRECISIONS: [Precision; 3] = [Precision::F32, Precision::F16, Precision::I8];

    fn header(precision: Precision) -> Header {
        let embedding = Embedding { fingerprint: "test".to_owned(), dimension: DIMENSION };
        Header::new(embedding, Metric::Cosine, precision)
    }

    /// Two documents with 60 chunks, of which 50 are linked.
    fn indexes(precision: Precision) -> Indexes {
        let (mut rows, mut vectors) = (Rows::default(), Vectors::new(DIMENSION, precision));
        let (mut graph, mut keywords) = (Graph::default(), KeywordIndex::default());
        rows.add(3, 45);
        rows.add(7, 15);
        for row in 0..60_usize {
            let number = |at: usize| ((row * 31 + at * 17) % 23) as f32 / 23.0 - 0.4;
            vectors.push(&(0..DIMENSION).map(number).collect::<Vec<_>>());
            keywords.add(&[format!("word{}", row % 9), "chunk".to_owned()]);
        }
        for _ in 0..50 {
            graph.apply(graph.plan(&vectors));
        }
        Indexes::from_parts(rows, VectorIndex::from_parts(Metric::Cosine, vectors, graph), keywords)
    }

    fn written(precision: Precision, indexes: &Indexes) -> Vec<u8> {
        let mut bytes = Vec::new();
        content(&mut bytes, &header(precision), 8, indexes).expect("written");
        bytes
    }

    /// Whatever was read can be searched, packed and written.
    fn use_all(indexes: &Indexes, precision: Precision) {
        let alive = indexes.rows.alive();
        for scan in [Scan::Graph, Scan::Exact] {
            let found = indexes.vectors.search(&[0.5; DIMENSION], 5, alive, None, scan, None);
            assert!(found.iter().all(|(row, _)| alive.has(*row)));
        }
        let found = indexes.keywords.search(&["chunk".to_owned(), "word3".to_owned()], 5, alive, None);
        assert!(found.iter().all(|(row, _)| alive.has(*row)));
        written(precision, &indexes.packed());
    }

    #[test]
    fn what_is_written_is_read() {
        for precision in PRECISIONS {
            let indexes = indexes(precision);
            let bytes = written(precision, &indexes);
            let (read, next) = decode(&bytes, &header(precision)).expect("sound");
            assert_eq!((next, read.rows.len(), read.vectors.graph().rows()), (8, 60, 50));
            use_all(&read, precision);
            // The words of a table come in any order.
            assert_eq!(written(precision, &read).len(), bytes.len());
            for other in PRECISIONS.into_iter().filter(|other| *other != precision) {
                assert!(decode(&bytes, &header(other)).is_none());
            }
        }
    }

    proptest! {
        /// The checksum keeps damage out; should it ever vouch for what is wrong, nothing breaks.
        #[test]
        fn no_content_breaks_the_reader(
            precision in prop::sample::select(PRECISIONS.to_vec()),
            edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            cut in prop::option::of(any::<prop::sample::Index>()),
        ) {
            let mut bytes = written(precision, &indexes(precision));
            for (at, byte) in edits {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            if let Some((read, _)) = decode(&bytes, &header(precision)) {
                use_all(&read, precision);
            }
        }
    }
}
