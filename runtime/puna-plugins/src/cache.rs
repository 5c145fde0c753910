//! Compiled code on disk, so that a component is compiled once.
//!
//! Loading compiled code is running it: the engine trusts what it deserialises. So an entry counts only
//! if the folder and the file belong to this user and nobody else can write them, the file is no link,
//! and the digest at its end fits both its contents and the key. Any doubt means compiling again, never
//! an error.
//!
//! What was checked is mapped into memory and not copied: the code of a Python guest takes 35 MB, most of
//! which no call touches, and processes that run the same plugin share it. A file that has its name is never
//! written again, only replaced, so what is mapped stays what was checked.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    hash::{Hash as _, Hasher},
    io::{self, Read as _, Write as _},
    os::{
        fd::AsRawFd as _,
        unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};
use wasmtime::Engine;

/// Largest compiled component that is read back; machine code takes a few times the component's size.
const MAX_ENTRY_BYTES: u64 = 256 << 20;

const DIGEST_BYTES: usize = 32;

/// Bytes that are digested at a time: few enough to stay in a processor's cache.
const BLOCK_BYTES: usize = 128 << 10;

/// An entry to trust: a file of compiled code with its digest behind it, which the code's own format leaves unread.
pub struct Entry(File);

impl Entry {
    /// A path of the very file that was checked, whatever has its name by now; good for as long as the entry is kept.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/dev/fd/{}", self.0.as_raw_fd()))
    }
}

/// A folder of compiled components.
pub struct Cache {
    folder: PathBuf,
    /// What an entry depends on beside its component: the engine's version, settings and processor.
    engine: [u8; DIGEST_BYTES],
}

impl Cache {
    /// Opens the folder, making it for this user alone. None where it cannot be trusted; the log says why.
    pub fn open(folder: &Path, engine: &Engine) -> Option<Self> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        match made.and_then(|()| check_folder(folder)) {
            Ok(()) => Some(Self { folder: folder.to_owned(), engine: fingerprint(engine) }),
            Err(error) => {
                tracing::warn!(folder = %folder.display(), %error, "compiled plugins are not cached");
                None
            }
        }
    }

    /// The compiled code of the component with this digest, if there is any to trust.
    pub fn get(&self, component: &str) -> Option<Entry> {
        let path = self.path(component);
        match self.read(&path, component) {
            Ok(entry) => Some(entry),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a cached plugin is not trusted; compiling again");
                None
            }
        }
    }

    /// Stores compiled code. A failure costs only the time to compile again.
    pub fn put(&self, component: &str, code: &[u8]) {
        let path = self.path(component);
        if let Err(error) = self.write(&path, component, code) {
            tracing::warn!(path = %path.display(), %error, "a compiled plugin cannot be cached");
        }
    }

    fn path(&self, component: &str) -> PathBuf {
        let mut name = String::new();
        for byte in &Sha256::digest([&self.engine[..], component.as_bytes()].concat())[..16] {
            name.push_str(&format!("{byte:02x}"));
        }
        self.folder.join(format!("{name}.compiled"))
    }

    fn read(&self, path: &Path, component: &str) -> io::Result<Entry> {
        let mut file = OpenOptions::new()
            .read(true)
            .custom_flags((rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits().cast_signed())
            .open(path)?;
        check_file(&file)?;
        let length = file.metadata()?.len();
        let Some(mut left) = length.checked_sub(DIGEST_BYTES as u64).filter(|_| length <= MAX_ENTRY_BYTES)
        else {
            return Err(doubt("its length is wrong"));
        };
        let mut digest = self.digester(component);
        let mut block = vec![0; BLOCK_BYTES];
        while left > 0 {
            let next = BLOCK_BYTES.min(usize::try_from(left).unwrap_or(BLOCK_BYTES));
            file.read_exact(&mut block[..next])?;
            digest.update(&block[..next]);
            left -= next as u64;
        }
        let mut recorded = [0; DIGEST_BYTES];
        file.read_exact(&mut recorded)?;
        if recorded != digest.finalize()[..] {
            return Err(doubt("its digest is wrong"));
        }
        Ok(Entry(file))
    }

    fn write(&self, path: &Path, component: &str, code: &[u8]) -> io::Result<()> {
        // A temporary file is made for this user alone, and renaming replaces a link, never its target.
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        file.write_all(code)?;
        file.write_all(&self.digester(component).chain_update(code).finalize())?;
        file.as_file().sync_data()?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    }

    /// Begun with the key: an entry renamed to another key is no entry.
    fn digester(&self, component: &str) -> Sha256 {
        Sha256::new_with_prefix(self.engine).chain_update(component.as_bytes())
    }
}

fn check_folder(folder: &Path) -> io::Result<()> {
    let metadata = fs::symlink_metadata(folder)?;
    if !metadata.is_dir() {
        return Err(doubt("it is no folder"));
    }
    check_owner(&metadata)
}

fn check_file(file: &File) -> io::Result<()> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(doubt("it is no file"));
    }
    check_owner(&metadata)
}

fn check_owner(metadata: &fs::Metadata) -> io::Result<()> {
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(doubt("it belongs to another user"));
    }
    if metadata.permissions().mode() & 0o022 != 0 {
        return Err(doubt("other users can write it"));
    }
    Ok(())
}

fn doubt(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// A digest of everything that compiled code depends on beside its source.
fn fingerprint(engine: &Engine) -> [u8; DIGEST_BYTES] {
    struct Digester(Sha256);
    impl Hasher for Digester {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
        fn finish(&self) -> u64 {
            0 // The digest is taken whole.
        }
    }
    let mut digester = Digester(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut digester);
    digester.0.finalize().into()
}
