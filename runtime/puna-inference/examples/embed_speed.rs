//! How fast texts become vectors: tokens, batches, graph, pooling, scaling.
//!
//! ```text
//! cargo run --release -p puna-inference --example embed_speed -- MODEL_FOLDER THREADS FILE
//! ```
//!
//! Each line of the file is a text; all are asked for at once. Prints one line of JSON. Some texts are embedded before, which
//! warms up; loading is left out.

use std::{error::Error, fs, path::Path, time::Instant};

use puna_inference::{EncoderOptions, OnnxEmbedder, Runtime};
use serde_json::json;

/// Texts that warm up.
const WARMING: usize = 16;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, threads, file] = &arguments[..] else {
        return Err("usage: embed_speed MODEL_FOLDER THREADS FILE".into());
    };
    let texts: Vec<String> = fs::read_to_string(file)?.lines().map(str::to_owned).collect();
    let runtime = Runtime::get(&|progress| progress.line().iter().for_each(|line| eprintln!("{line}")))?;
    let options = EncoderOptions { threads: Some(threads.parse()?), ..EncoderOptions::default() };
    let model = OnnxEmbedder::load(&runtime, Path::new(folder), &options)?;
    model.documents(&texts[..WARMING.min(texts.len())]).await?;
    let before = model.stats();
    let began = Instant::now();
    let vectors = model.documents(&texts).await?;
    let seconds = began.elapsed().as_secs_f64();
    let after = model.stats();
    let report = json!({
        "texts": vectors.len(),
        "tokens": after.tokens - before.tokens,
        "batches": after.batches - before.batches,
        "seconds": seconds,
        "texts_per_second": vectors.len() as f64 / seconds,
    });
    println!("{report}");
    Ok(())
}
