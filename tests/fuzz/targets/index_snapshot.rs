//! Any bytes as the file of a knowledge base's indexes. Where the checksum does not hold, the base is as if there were no file;
//! where it holds, the base opens and answers, whatever the file says.
#![no_main]

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, LazyLock},
};

use futures_util::stream;
use puna_core::{Document, Embedder, Result};
use puna_knowledge::{
    BaseOptions, Format, IngestOptions, Input, Knowledge, KnowledgeBase, SearchOptions, SplitOptions, Unit,
};
use puna_store::{SledStore, StoreOptions};
use tokio::runtime::{Builder, Runtime};

const DOCUMENTS: usize = 12;

/// A text's letters, counted: near enough to a meaning for this.
struct Letters;

#[async_trait::async_trait]
impl Embedder for Letters {
    fn dimension(&self) -> usize {
        8
    }

    async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>> {
        let count = |text: &String, letter: u8| text.bytes().filter(|byte| byte % 8 == letter).count() as f32;
        Ok(texts.iter().map(|text| (0..8).map(|letter| count(text, letter)).collect()).collect())
    }

    fn fingerprint(&self) -> String {
        "letters".to_owned()
    }
}

struct Place {
    _folder: tempfile::TempDir,
    runtime: Runtime,
    knowledge: Knowledge,
    /// The file and what is rightly in it, without its checksum.
    file: PathBuf,
    sound: Vec<u8>,
}

impl Place {
    fn base(&self) -> KnowledgeBase {
        let split = SplitOptions { unit: Unit::Words, ..SplitOptions::default() };
        let options = BaseOptions { split: Some(split), ..BaseOptions::default() };
        let opened = self.knowledge.open("fuzz", "base", &options, Arc::new(Letters));
        self.runtime.block_on(opened).expect("a base opens with any file")
    }
}

static PLACE: LazyLock<Place> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let store = SledStore::open(&folder.path().join("store"), &StoreOptions::default()).expect("a store");
    let indexes = folder.path().join("indexes");
    let knowledge = Knowledge::new(Arc::new(store), Some(indexes.clone()));
    let mut place = Place { _folder: folder, runtime, knowledge, file: PathBuf::new(), sound: Vec::new() };
    let base = place.base();
    place.runtime.block_on(async {
        let document = |number: usize| Document {
            id: number.to_string(),
            text: format!("Document {number} tells of llamas. {}", "wool ".repeat(number)),
            metadata: Default::default(),
        };
        let inputs =
            (0..DOCUMENTS).map(|number| Ok(Input { document: document(number), format: Format::Text }));
        base.ingest(stream::iter(inputs), &IngestOptions::default(), &|_| ()).await.expect("documents");
        base.snapshot(true).await.expect("a snapshot");
    });
    drop(base);
    place.file = fs::read_dir(indexes).expect("a folder").next().expect("a file").expect("a file").path();
    place.sound = fs::read(&place.file).expect("the file");
    place.sound.truncate(place.sound.len() - 4);
    place
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let place = &*PLACE;
    let Some((how, rest)) = data.split_first() else { return };
    let mut bytes = if how & 1 == 0 {
        rest.to_vec()
    } else {
        // Changes of what is sound: a place and a byte each.
        let mut bytes = place.sound.clone();
        for [high, low, byte] in rest.as_chunks::<3>().0 {
            let at = usize::from(u16::from_be_bytes([*high, *low])) % bytes.len();
            bytes[at] = *byte;
        }
        bytes
    };
    let vouched = how & 2 == 0;
    if vouched {
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
    }
    fs::write(&place.file, &bytes).expect("written");
    let base = place.base();
    place.runtime.block_on(async {
        assert_eq!(base.documents().len(), DOCUMENTS);
        let options = SearchOptions::default();
        base.search("llamas and wool", 5, &options, None).await.expect("an answer");
        if !vouched {
            assert!(
                base.verify().await.expect("all reads").is_sound(),
                "a file that is not vouched for was taken"
            );
        }
    });
});
