//! What indexes need beside searches: rows linked, empty ones taken out. All the work is done on what is only read, so that
//! searches go on; they wait for moments in which what was made is put in its place.

use std::sync::Arc;

use puna_core::{Error, Result};

use crate::{
    KnowledgeBase,
    base::{Inner, read, write},
    record::BaseRecord,
};

impl KnowledgeBase {
    /// After a change, under the right to write: packs what has become sparse and has new rows linked.
    pub(crate) async fn tidy(&self, _writer: &BaseRecord) -> Result<()> {
        if read(&self.0.indexes).is_sparse() {
            let base = Arc::clone(&self.0);
            let packed = tokio::task::spawn_blocking(move || base.pack());
            packed.await.map_err(|error| Error::internal("packing the indexes broke").with_source(error))?;
        }
        self.link_beside();
        Ok(())
    }

    /// Links the rows that are not linked yet. Until a row is, searches compare it one by one.
    pub(crate) async fn link(&self) -> Result<()> {
        if read(&self.0.indexes).vectors.is_linked() {
            return Ok(());
        }
        let base = Arc::clone(&self.0);
        let right = Arc::clone(&self.0.linker).lock_owned().await;
        let linked = tokio::task::spawn_blocking(move || {
            let _right = right;
            while base.link_row() {}
        });
        linked.await.map_err(|error| Error::internal("linking rows broke").with_source(error))
    }

    /// Links rows on a thread of its own, which ends when the base is closed.
    pub(crate) fn link_beside(&self) {
        if read(&self.0.indexes).vectors.is_linked() {
            return;
        }
        // Who links already goes on with the new rows.
        let Ok(right) = Arc::clone(&self.0.linker).try_lock_owned() else { return };
        let base = Arc::downgrade(&self.0);
        let linking = std::thread::Builder::new().name("puna-links".to_owned()).spawn(move || {
            let _right = right;
            let open = || base.upgrade().filter(|base| Arc::strong_count(base) > 1);
            while open().is_some_and(|base| base.link_row()) {}
        });
        if let Err(error) = linking {
            tracing::warn!(%error, "no thread to link rows; they are linked with the next snapshot");
        }
    }
}

impl Inner {
    /// Takes empty rows out, under the right to write.
    pub(crate) fn pack(&self) {
        let packed = {
            let indexes = read(&self.indexes);
            (indexes.empty() > 0).then(|| indexes.packed())
        };
        if let Some(packed) = packed {
            *write(&self.indexes) = packed;
        }
    }

    /// Links a row, under the right to link. Gives whether there was one.
    fn link_row(&self) -> bool {
        let link = read(&self.indexes).vectors.link();
        link.map(|link| write(&self.indexes).vectors.apply(link)).is_some()
    }
}
