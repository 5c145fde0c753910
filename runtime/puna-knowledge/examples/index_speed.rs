//! Measures the vector index for `tests/bench/index.py`: `index_speed VECTORS QUERIES DIMENSION F32|F16|I8 auto|exact|graph`.
//! Files hold floats, little-endian, one vector behind the other. Prints a line of JSON with what each query found.

use std::time::Instant;

use puna_core::{Error, Result};
use puna_knowledge::{Metric, NearestVectors, Precision, Scan};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [vectors, queries, dimension, precision, scan] = &arguments[..] else {
        return Err(Error::invalid_input(
            "usage: index_speed VECTORS QUERIES DIMENSION F32|F16|I8 auto|exact|graph",
        ));
    };
    let dimension: usize =
        dimension.parse().map_err(|_| Error::invalid_input(format!("`{dimension}` is no dimension")))?;
    let precision = match precision.as_str() {
        "F32" => Precision::F32,
        "F16" => Precision::F16,
        "I8" => Precision::I8,
        other => return Err(Error::invalid_input(format!("`{other}` is no precision"))),
    };
    let scan = match scan.as_str() {
        "auto" => Scan::Auto,
        "exact" => Scan::Exact,
        "graph" => Scan::Graph,
        other => return Err(Error::invalid_input(format!("`{other}` is no scan"))),
    };
    let (vectors, queries) = (read(vectors)?, read(queries)?);
    let begun = Instant::now();
    let mut index = NearestVectors::new(dimension, Metric::Cosine, precision)?;
    for vector in vectors.chunks_exact(dimension) {
        index.add(vector)?;
    }
    let build = begun.elapsed().as_secs_f64();
    drop(vectors);
    // Once to warm up.
    for query in queries.chunks_exact(dimension).take(20) {
        index.search(query, 10, scan)?;
    }
    let begun = Instant::now();
    let mut found = Vec::new();
    for query in queries.chunks_exact(dimension) {
        found.push(index.search(query, 10, scan)?.into_iter().map(|(row, _)| row).collect::<Vec<_>>());
    }
    let seconds = begun.elapsed().as_secs_f64();
    let rate = found.len() as f64 / seconds;
    println!(
        "{}",
        serde_json::json!({ "build_seconds": build, "queries_a_second": rate, "bytes": index.bytes(), "found": found })
    );
    Ok(())
}

fn read(path: &str) -> Result<Vec<f32>> {
    let bytes = std::fs::read(path).map_err(|error| Error::from_io("read", path, error))?;
    let (numbers, _) = bytes.as_chunks::<4>();
    Ok(numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}
