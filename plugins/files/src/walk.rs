//! What lies below a folder.

use puna_plugin::{
    Error,
    files::{self, Entry, Kind},
};

/// Deepest folder below the one asked for: what lies deeper is asked for by its own path.
const MAX_DEPTH: usize = 16;

/// Most entries seen in one call: bounds its time whatever the folder holds.
const MAX_ENTRIES: usize = 20_000;

/// The entries below a folder with their paths, depth first and by name, folders before what they hold. What is hidden
/// (`.git`) is passed over.
pub struct Walk {
    /// What is still to be shown, last first.
    pending: Vec<(usize, String, Entry)>,
    deep: bool,
    seen: usize,
    /// Whether something was left out because of a limit.
    pub cut: bool,
}

impl Walk {
    /// Begins below `path`; not below its folders unless `deep`.
    pub fn new(path: &str, deep: bool) -> Result<Self, Error> {
        let mut walk = Self { pending: Vec::new(), deep, seen: 0, cut: false };
        walk.push(0, path)?;
        Ok(walk)
    }

    fn push(&mut self, depth: usize, path: &str) -> Result<(), Error> {
        let entries = files::list(path)?.into_iter().filter(|entry| !entry.name.starts_with('.'));
        self.pending.extend(entries.rev().map(|entry| (depth, joined(path, &entry.name), entry)));
        Ok(())
    }
}

impl Iterator for Walk {
    type Item = Result<(String, Entry), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let (depth, path, entry) = self.pending.pop()?;
        self.seen += 1;
        if self.seen > MAX_ENTRIES {
            self.pending.clear();
            self.cut = true;
            return None;
        }
        if self.deep && entry.kind == Kind::Folder {
            if depth == MAX_DEPTH {
                self.cut = true;
            } else if let Err(error) = self.push(depth + 1, &path) {
                return Some(Err(error));
            }
        }
        Some(Ok((path, entry)))
    }
}

/// A path without what says nothing: `./notes//a/` is `notes/a`.
pub fn tidy(path: &str) -> String {
    let parts: Vec<&str> = path.trim().split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    parts.join("/")
}

fn joined(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") }
}
