//! What tells a model's vectors from another's.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::Path,
};

use puna_core::{Error, Result};
use sha2::{Digest, Sha256};

use crate::folder::EncoderFolder;

/// Bytes read at each place of a large file.
const BLOCK: u64 = 4 << 10;

/// Places that are read of a large file. Training moves all weights, so that a model differs from its kin in every place;
/// reading all of a large model would take as long as loading it.
const BLOCKS: u64 = 512;

/// A digest of what decides a text's vector: the graph with its weights, the tokenizer, pooling, prompts, and how long
/// texts are read (`reading`).
pub(super) fn of(folder: &EncoderFolder, reading: &str) -> Result<String> {
    let mut digest = Sha256::new();
    let EncoderFolder { architecture, pooling, normalise, query_prompt, document_prompt, .. } = folder;
    digest.update(format!(
        "{architecture}\0{pooling:?}\0{normalise}\0{query_prompt}\0{document_prompt}\0{reading}\0"
    ));
    add(&mut digest, &folder.path.join("tokenizer.json"))?;
    add(&mut digest, &folder.graph)?;
    // Where weights stand beside the graph they are named after it.
    for suffix in ["_data", ".data"] {
        let mut name = folder.graph.clone().into_os_string();
        name.push(suffix);
        let weights = Path::new(&name);
        if weights.is_file() {
            add(&mut digest, weights)?;
        }
    }
    Ok(digest.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect())
}

fn add(digest: &mut Sha256, path: &Path) -> Result<()> {
    let failed = |error| Error::from_io("read", path, error);
    let mut file = File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    digest.update(length.to_be_bytes());
    let mut block = Vec::new();
    for index in 0..BLOCKS {
        let at =
            (u128::from(length.saturating_sub(BLOCK)) * u128::from(index) / u128::from(BLOCKS - 1)) as u64;
        file.seek(SeekFrom::Start(at)).map_err(failed)?;
        block.clear();
        file.by_ref().take(BLOCK).read_to_end(&mut block).map_err(failed)?;
        digest.update(&block);
    }
    Ok(())
}
