//! Any sequence of calls gives what a map of lists gives, on disk and in memory.

use std::{collections::BTreeMap, sync::Arc};

use proptest::prelude::*;
use puna_core::{ErrorKind, Journal};
use puna_memory::EphemeralJournal;

use crate::{block_on, durable, said, texts};

#[derive(Clone, Debug)]
enum Step {
    /// So many entries, at the next place or at one that is wrong by so much.
    Append(String, usize, u64),
    Read(String, u64),
    Delete(String),
    List,
    Reopen,
}

/// Few letters, so that names begin alike and repeat; some are more than one byte long.
fn name() -> impl Strategy<Value = String> {
    "[aä日.:/@+_-][ aä日./-]{0,3}".prop_map(|name| name.trim_end().to_owned())
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (name(), 0usize..4, prop_oneof![4 => Just(0u64), 1 => 1u64..3])
            .prop_map(|(name, count, off)| Step::Append(name, count, off)),
        3 => (name(), 0u64..6).prop_map(|(name, from)| Step::Read(name, from)),
        2 => name().prop_map(Step::Delete),
        1 => Just(Step::List),
        1 => Just(Step::Reopen),
    ]
}

/// Runs the steps; `reopen` gives a journal with the same entries.
async fn check(
    steps: &[Step],
    mut journal: Arc<dyn Journal>,
    reopen: impl Fn(Arc<dyn Journal>) -> Arc<dyn Journal>,
) {
    let mut model: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (number, step) in steps.iter().enumerate() {
        match step {
            Step::Append(name, count, off) => {
                let found = model.get(name.as_str()).map_or(0, Vec::len) as u64;
                let new: Vec<String> = (0..*count).map(|entry| format!("{name} {number} {entry}")).collect();
                let records: Vec<_> = new.iter().map(|text| said(text)).collect();
                match journal.append(name, found + off, &records).await {
                    Ok(next) => {
                        assert_eq!((*off, next), (0, found + *count as u64), "`{name}`");
                        if *count > 0 {
                            model.entry(name).or_default().extend(new);
                        }
                    }
                    Err(error) => assert!(*off > 0 && error.kind() == ErrorKind::Conflict, "{error}"),
                }
            }
            Step::Read(name, from) => {
                let entries = journal.read(name, *from).await.expect("entries");
                let wanted = model.get(name.as_str()).map_or(&[][..], Vec::as_slice);
                assert_eq!(
                    texts(&entries),
                    wanted[wanted.len().min(*from as usize)..],
                    "`{name}` from {from}"
                );
                assert!(entries.iter().zip(*from..).all(|(entry, place)| entry.sequence == place));
            }
            Step::Delete(name) => {
                let was_there = model.remove(name.as_str()).is_some();
                assert_eq!(journal.delete(name).await.expect("a deletion"), was_there, "`{name}`");
            }
            Step::List => {
                let listed = journal.sessions().await.expect("a list");
                assert!(listed.iter().all(|summary| summary.created_ms <= summary.updated_ms));
                let listed: Vec<_> =
                    listed.iter().map(|summary| (summary.session.as_str(), summary.records)).collect();
                let wanted: Vec<_> =
                    model.iter().map(|(name, entries)| (*name, entries.len() as u64)).collect();
                assert_eq!(listed, wanted);
            }
            Step::Reopen => journal = reopen(journal),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_map_of_lists(mut steps in prop::collection::vec(step(), 1..40)) {
        steps.push(Step::List);
        let folder = tempfile::tempdir().expect("a folder");
        block_on(async {
            check(&steps, Arc::new(EphemeralJournal::new()), |journal| journal).await;
            check(&steps, Arc::new(durable(folder.path())), |journal| {
                drop(journal);
                Arc::new(durable(folder.path()))
            })
            .await;
        });
    }
}
