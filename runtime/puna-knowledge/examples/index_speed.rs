//! Measures the vector index for `tests/bench/index.py`: `index_speed VECTORS QUERIES DIMENSION F32|F16|I8 exact|CANDIDATES...`.
//! Files hold floats, little-endian, one vector behind the other. Prints a line of JSON: how long building took and, for the
//! scan (`exact`) and the graph with each number of candidates, queries a second and what each query found.
//!
//! `index_speed bandwidth MIB` reads memory once from front to back, again and again, and prints bytes a second.

use std::time::Instant;

use puna_core::{Error, Result};
use puna_knowledge::{Metric, NearestVectors, Precision, Scan};

/// How often each way is timed; the median counts.
const ROUNDS: usize = 3;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [what, mib] = &arguments[..]
        && what == "bandwidth"
    {
        println!("{}", bandwidth(number(mib)?));
        return Ok(());
    }
    let [vectors, queries, dimension, precision, ways @ ..] = &arguments[..] else {
        return Err(Error::invalid_input(
            "usage: index_speed VECTORS QUERIES DIMENSION F32|F16|I8 exact|CANDIDATES...",
        ));
    };
    let dimension = number(dimension)?;
    let precision = match precision.as_str() {
        "F32" => Precision::F32,
        "F16" => Precision::F16,
        "I8" => Precision::I8,
        other => return Err(Error::invalid_input(format!("`{other}` is no precision"))),
    };
    let (vectors, queries) = (read(vectors)?, read(queries)?);
    let before = resident();
    let begun = Instant::now();
    let mut index = NearestVectors::new(dimension, Metric::Cosine, precision)?;
    for vector in vectors.chunks_exact(dimension) {
        index.add(vector)?;
    }
    let build = begun.elapsed().as_secs_f64();
    let resident = resident().saturating_sub(before);
    let mut found = Vec::new();
    for way in ways {
        let scan = if way == "exact" {
            Scan::Exact
        } else {
            index.set_candidates(number(way)?);
            Scan::Graph
        };
        let mut rates = Vec::new();
        let mut rows = Vec::new();
        for _ in 0..ROUNDS {
            rows.clear();
            let begun = Instant::now();
            for query in queries.chunks_exact(dimension) {
                let nearest = index.search(query, 10, scan)?;
                rows.push(nearest.into_iter().map(|(row, _)| row).collect::<Vec<_>>());
            }
            rates.push(rows.len() as f64 / begun.elapsed().as_secs_f64());
        }
        rates.sort_unstable_by(f64::total_cmp);
        found.push(serde_json::json!({ "way": way, "queries_a_second": rates[ROUNDS / 2], "found": rows }));
    }
    let out = serde_json::json!({ "build_seconds": build, "bytes": index.bytes(), "resident": resident, "ways": found });
    println!("{out}");
    Ok(())
}

/// Bytes a second that one thread reads, at best: the sum of all numbers of a buffer.
fn bandwidth(mib: usize) -> f64 {
    const LANES: usize = 64;
    let numbers = vec![1_u64; mib << 17];
    let mut best = 0.0_f64;
    for _ in 0..10 {
        let begun = Instant::now();
        let mut sums = [0_u64; LANES];
        for part in std::hint::black_box(&numbers).as_chunks::<LANES>().0 {
            sums.iter_mut().zip(part).for_each(|(sum, number)| *sum = sum.wrapping_add(*number));
        }
        std::hint::black_box(sums);
        best = best.max(size_of_val(&*numbers) as f64 / begun.elapsed().as_secs_f64());
    }
    best
}

/// Bytes of the process in memory; 0 where the system does not tell.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.and_then(|text| text.split_whitespace().nth(1)?.parse::<usize>().ok());
    pages.unwrap_or_default() * 4096
}

fn number(text: &str) -> Result<usize> {
    text.parse().map_err(|_| Error::invalid_input(format!("`{text}` is no number")))
}

fn read(path: &str) -> Result<Vec<f32>> {
    let bytes = std::fs::read(path).map_err(|error| Error::from_io("read", path, error))?;
    let (numbers, _) = bytes.as_chunks::<4>();
    Ok(numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}
