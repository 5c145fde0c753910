//! Reads a file with a loader of a component and prints its documents, one a line, or what reading it took:
//!
//! ```sh
//! cargo run -p puna-plugins --example load_file -- plugins/text/text.wasm text README.md
//! cargo run -p puna-plugins --example load_file -- plugins/tables/tables.wasm csv large.csv --figures
//! ```

use std::{env, path::PathBuf, time::Instant};

use puna_core::{Error, Result};
use puna_plugins::{HostOptions, Limits, LoaderSource, PluginHost, Setup};
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [component, loader, file, rest @ ..] = &arguments[..] else {
        return Err(Error::invalid_input(
            "give a component, a loader of it, a file, and `--figures` or nothing",
        ));
    };
    let figures = rest.iter().any(|argument| argument == "--figures");
    let host = PluginHost::new(HostOptions::default())?;
    let plugin = host.load(PathBuf::from(component)).await?;
    let plugin = plugin.ready(Setup { limits: Limits::for_loaders(), ..Setup::default() })?;
    let loader = plugin.loader(loader)?;
    let before = peak_bytes();
    let begun = Instant::now();
    let mut cursor = loader.open(LoaderSource::file(file)?, &Value::Null, None).await?;
    let (mut documents, mut bytes, mut last_row) = (0_u64, 0_u64, 0_u64);
    while let Some(page) = cursor.next().await? {
        for document in page.documents {
            documents += 1;
            bytes += document.text.len() as u64;
            last_row = document.metadata.get("last row").and_then(Value::as_u64).unwrap_or(last_row);
            if !figures {
                println!(
                    "{}",
                    json!({"id": document.id, "text": document.text, "metadata": document.metadata})
                );
            }
        }
    }
    if figures {
        let seconds = begun.elapsed().as_secs_f64();
        let figures = json!({
            "documents": documents, "text_bytes": bytes, "last_row": last_row, "seconds": seconds,
            "peak_bytes": peak_bytes(), "peak_bytes_before": before,
        });
        println!("{figures}");
    }
    Ok(())
}

/// The most memory that this process had at a time, where the system tells.
fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? << 10)
}
