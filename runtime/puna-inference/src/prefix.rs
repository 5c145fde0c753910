//! Computed beginnings of prompts on the disk, so that a fresh process does not compute them again.

use std::{
    fs::{self, File},
    io::{Read, Write},
    path::{Path, PathBuf},
};

use puna_core::{Error, ErrorKind, Result};
use sha2::{Digest, Sha256};

/// What a file begins with; the last character is the form's version.
const MAGIC: &[u8; 8] = b"PUNAKV-1";

/// A SHA-256.
pub(crate) const DIGEST: usize = 32;

/// How much of each end of a large file counts for the fingerprint: exporters write other weights all over a file, and
/// reading gigabytes would take longer than the prompt that is saved.
const SAMPLE: u64 = 1 << 20;

/// What a model is, as far as its keys and values depend on it: ONNX Runtime's version, the graphs, the tokenizer.
pub(crate) fn fingerprint(version: &str, graphs: &[&Path], tokenizer: &Path) -> Result<[u8; DIGEST]> {
    let mut hash = Sha256::new();
    hash.update(version.as_bytes());
    for graph in graphs {
        let name = graph.file_name().unwrap_or_default().to_string_lossy();
        let folder = graph.parent().unwrap_or(Path::new("."));
        let entries = fs::read_dir(folder).map_err(|error| Error::from_io("read", folder, error))?;
        let mut files: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            // Weights are beside the graph, under its name.
            .filter(|path| path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(&*name)))
            .collect();
        files.sort();
        for file in files {
            sample(&file, &mut hash).map_err(|error| Error::from_io("read", &file, error))?;
        }
    }
    sample(tokenizer, &mut hash).map_err(|error| Error::from_io("read", tokenizer, error))?;
    Ok(hash.finalize().into())
}

fn sample(path: &Path, hash: &mut Sha256) -> std::io::Result<()> {
    use std::io::{Seek, SeekFrom};

    let file = File::open(path)?;
    let length = file.metadata()?.len();
    hash.update(path.file_name().unwrap_or_default().as_encoded_bytes());
    hash.update(length.to_le_bytes());
    let mut part = Vec::new();
    (&file).take(SAMPLE).read_to_end(&mut part)?;
    if length > SAMPLE {
        (&file).seek(SeekFrom::Start(length.saturating_sub(SAMPLE).max(SAMPLE)))?;
        (&file).take(SAMPLE).read_to_end(&mut part)?;
    }
    hash.update(&part);
    Ok(())
}

/// What an adapted model is.
pub(crate) fn adapted(model: &[u8; DIGEST], adapter: Option<&[u8; DIGEST]>) -> [u8; DIGEST] {
    match adapter {
        None => *model,
        Some(adapter) => Sha256::new().chain_update(model).chain_update(adapter).finalize().into(),
    }
}

/// The name of the file that holds a prefix.
pub(crate) fn file_name(fingerprint: &[u8; DIGEST], tokens: &[u32]) -> String {
    let mut hash = Sha256::new();
    hash.update(fingerprint);
    tokens.iter().for_each(|token| hash.update(token.to_le_bytes()));
    let digest: [u8; DIGEST] = hash.finalize().into();
    digest[..16].iter().map(|byte| format!("{byte:02x}")).collect::<String>() + ".kv"
}

/// Writes tokens and their keys and values: all or nothing of a file.
pub(crate) fn write(path: &Path, fingerprint: &[u8; DIGEST], tokens: &[u32], values: &[u8]) -> Result<()> {
    let failed = |error| Error::from_io("write", path, error);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(failed)?;
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    let mut head = Vec::from(MAGIC);
    head.extend_from_slice(fingerprint);
    head.extend_from_slice(&u32::try_from(tokens.len()).unwrap_or(u32::MAX).to_le_bytes());
    tokens.iter().for_each(|token| head.extend_from_slice(&token.to_le_bytes()));
    let mut hash = Sha256::new();
    hash.update(&head);
    hash.update(values);
    let digest: [u8; DIGEST] = hash.finalize().into();
    for part in [&head[..], values, &digest] {
        file.write_all(part).map_err(failed)?;
    }
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

/// Reads what [`write`] wrote of this model: the tokens, and their keys and values of `bytes_per_token` each.
///
/// A file of another length than its tokens need is refused before it is read, so that no file takes more memory
/// than `most` tokens do.
pub(crate) fn read(
    path: &Path,
    fingerprint: &[u8; DIGEST],
    bytes_per_token: u64,
    most: usize,
) -> Result<(Vec<u32>, Vec<u8>)> {
    let failed = |error| Error::from_io("read", path, error);
    let corrupt = |what: &str| {
        Error::new(ErrorKind::Corrupt, format!("`{}` {what}; delete it to compute it again", path.display()))
    };
    let mut file = File::open(path).map_err(failed)?;
    let mut head = [0; MAGIC.len() + DIGEST + 4];
    file.read_exact(&mut head).map_err(|_| corrupt("is no saved prefix"))?;
    let (magic, rest) = head.split_at(MAGIC.len());
    let (of, count) = rest.split_at(DIGEST);
    if magic != MAGIC {
        return Err(corrupt("is no saved prefix"));
    }
    if of != fingerprint {
        return Err(Error::invalid_input(format!("`{}` is the prefix of another model", path.display())));
    }
    let count = u32::from_le_bytes(count.try_into().unwrap_or_default()) as usize;
    let metadata = file.metadata().map_err(failed)?;
    let values = (count as u64).saturating_mul(bytes_per_token);
    let needed = (head.len() + DIGEST + count * 4) as u64 + values;
    if count == 0 || count > most || !metadata.is_file() || metadata.len() != needed {
        return Err(corrupt("is cut or damaged"));
    }
    let mut body = Vec::new();
    file.take(needed).read_to_end(&mut body).map_err(failed)?;
    let split = body.len().checked_sub(DIGEST).ok_or_else(|| corrupt("is cut or damaged"))?;
    let digest = body.split_off(split);
    let mut hash = Sha256::new();
    hash.update(head);
    hash.update(&body);
    if digest[..] != hash.finalize()[..] || body.len() < count * 4 {
        return Err(corrupt("is cut or damaged"));
    }
    let values = body.split_off(count * 4);
    let (tokens, _) = body.as_chunks();
    Ok((tokens.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect(), values))
}
