//! No listing, filter, export or error message of one user, agent or session tells anything of another.

use std::sync::Arc;

use proptest::prelude::*;
use puna_core::{ErrorKind, Journal};
use puna_memory::{Conversations, FactScope, Facts, Forget, NewFact, Source, forget};
use puna_store::{SledStore, Store, StoreOptions};

use crate::{block_on, said, texts};

/// Names that are the beginning of each other, or look like a key's other parts.
fn name() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "a", "aa", "a/a", "ab", "b", "a-entry", "session", "fact", "é", "日本", "a:b", "0",
    ])
    .prop_map(str::to_owned)
}

fn scope() -> impl Strategy<Value = FactScope> {
    (prop::option::of(name()), prop::option::of(name())).prop_map(|(user, agent)| FactScope { user, agent })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn sessions_and_facts_stay_apart(
        names in prop::collection::btree_set(name(), 2..6),
        scopes in prop::collection::vec(scope(), 2..6),
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        block_on(async {
            let store = SledStore::open(folder.path(), &StoreOptions::default()).expect("a store");
            let journal = Conversations::new(Arc::new(store.clone()));
            let facts = Facts::new(Arc::new(store.clone()));
            for name in &names {
                let text = |part| said(&format!("secret of {name}, part {part}"));
                journal.append(name, 0, &[text(1), text(2)]).await.expect("a session");
            }
            for name in &names {
                let wanted = [1, 2].map(|part| format!("secret of {name}, part {part}"));
                assert_eq!(texts(&journal.read(name, 0).await.expect("entries")), wanted);
                let mut out = Vec::new();
                journal.export(name, &mut out).await.expect("an export");
                let exported = String::from_utf8(out).expect("UTF-8");
                assert_eq!(exported.matches("secret of").count(), 2);
                // An error names what was asked for, and nothing that is there.
                let error = journal.append(name, 7, &[said("late")]).await.expect_err("too late");
                assert!(!error.report().contains("secret"), "{error}");
            }
            let gone = names.first().expect("a name");
            assert!(journal.delete(gone).await.expect("a deletion"));
            for name in names.iter().skip(1) {
                assert_eq!(journal.read(name, 0).await.expect("entries").len(), 2);
            }

            let mut known: Vec<(FactScope, String)> = Vec::new();
            for scope in scopes {
                if known.iter().any(|(other, _)| *other == scope) {
                    continue;
                }
                let text = format!("keeps the secret number {}", known.len());
                let source = Some(Source { session: "nowhere".to_owned(), turn: "t".to_owned() });
                let fact = NewFact { subject: "x".to_owned(), text, source, ..NewFact::default() };
                let id = facts.remember(&scope, fact).await.expect("a fact").fact().id.clone();
                known.push((scope, id));
            }
            for (number, (scope, id)) in known.iter().enumerate() {
                let own = format!("keeps the secret number {number}");
                let found = facts.search(scope, "Which secret number is kept?", 50).await.expect("a search");
                assert_eq!(found.iter().map(|(fact, _)| &fact.text).collect::<Vec<_>>(), [&own]);
                let listed = facts.list(scope, true).await.expect("a list");
                assert_eq!(listed.iter().map(|fact| &fact.id).collect::<Vec<_>>(), [id]);
                for (_, other) in known.iter().filter(|(_, other)| other != id) {
                    let error = facts.get(scope, other).await.expect_err("another's");
                    assert_eq!(error.kind(), ErrorKind::NotFound);
                    assert!(!error.report().contains("secret"), "{error}");
                    let what = Forget::Fact(scope.clone(), other.clone());
                    let error = forget(&facts, &journal, &what, true).await.expect_err("another's");
                    assert_eq!(error.kind(), ErrorKind::NotFound);
                }
            }
            // Of one user everything, of the others nothing.
            if let Some(user) = known[0].0.user.clone() {
                forget(&facts, &journal, &Forget::User(user.clone()), true).await.expect("forgotten");
                for (scope, _) in &known {
                    let left = facts.list(scope, true).await.expect("a list").len();
                    assert_eq!(left, usize::from(scope.user.as_ref() != Some(&user)), "{scope}");
                }
            }
            for name in names.iter().skip(1) {
                assert_eq!(journal.read(name, 0).await.expect("entries").len(), 2, "sessions are others' too");
            }
            // Below both, the store's own namespaces are as far apart.
            for namespace in store.namespaces().await.expect("a list") {
                let keys = store.keys(&namespace.namespace, &[], &[], usize::MAX).await.expect("keys");
                assert_eq!(keys.len() as u64, namespace.entries);
            }
        });
    }
}
