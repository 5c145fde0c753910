//! No listing, filter, export or error message of one user, agent or session tells anything of another.

use std::{collections::BTreeMap, sync::Arc};

use proptest::prelude::*;
use puna_core::{ErrorKind, Journal, Record, TurnOutcome};
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

/// Something that is done with a session or with the facts of a scope.
#[derive(Clone, Debug)]
enum Act {
    Append(usize),
    Late(usize),
    Delete(usize),
    Fork(usize, usize),
    Move(usize, usize),
    Remember(usize),
    Search(usize),
    Forget(usize, usize),
    ForgetAll(usize),
    Reopen,
}

const NAMES: [&str; 5] = ["a", "aa", "a/a", "é", "session"];

fn act() -> impl Strategy<Value = Act> {
    let name = || 0..NAMES.len();
    prop_oneof![
        3 => name().prop_map(Act::Append),
        1 => name().prop_map(Act::Late),
        1 => name().prop_map(Act::Delete),
        2 => (name(), name()).prop_map(|(from, to)| Act::Fork(from, to)),
        2 => (name(), name()).prop_map(|(from, to)| Act::Move(from, to)),
        4 => name().prop_map(Act::Remember),
        2 => name().prop_map(Act::Search),
        2 => (name(), any::<usize>()).prop_map(|(scope, which)| Act::Forget(scope, which)),
        1 => name().prop_map(Act::ForgetAll),
        1 => Just(Act::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 100, ..ProptestConfig::default() })]

    /// Whatever is done in whichever order, each session and each scope has what was put there, and errors tell nothing.
    #[test]
    fn nothing_crosses_whatever_is_done(acts in prop::collection::vec(act(), 1..40)) {
        let folder = tempfile::tempdir().expect("a folder");
        block_on(async {
            let open = || SledStore::open(folder.path(), &StoreOptions::default()).expect("a store");
            // The scopes' users and agents are each other's beginnings, too.
            let scope = |at: usize| FactScope {
                user: (at > 0).then(|| NAMES[at].to_owned()),
                agent: at.is_multiple_of(2).then(|| NAMES[(at + 1) % NAMES.len()].to_owned()),
            };
            let mut store = Some(open());
            let mut sessions: BTreeMap<&str, Vec<String>> = BTreeMap::new();
            let mut known: BTreeMap<usize, BTreeMap<String, String>> = BTreeMap::new();
            for (number, act) in acts.into_iter().enumerate() {
                if let Act::Reopen = act {
                    drop(store.take());
                    store = Some(open());
                }
                let shared: Arc<dyn Store> = Arc::new(store.clone().expect("it is open"));
                let (journal, facts) = (Conversations::new(Arc::clone(&shared)), Facts::new(shared));
                match act {
                    Act::Append(at) => {
                        let text = format!("secret {number} of {}", NAMES[at]);
                        let texts = sessions.entry(NAMES[at]).or_default();
                        let next = 2 * texts.len() as u64;
                        let ended = Record::TurnFinished {
                            outcome: TurnOutcome::Answered { text: String::new(), value: None },
                        };
                        journal.append(NAMES[at], next, &[said(&text), ended]).await.expect("an append");
                        texts.push(text);
                    }
                    Act::Late(at) => {
                        let error = journal.append(NAMES[at], 999, &[said("x")]).await.expect_err("too late");
                        prop_assert!(!error.report().contains("secret"), "{error}");
                    }
                    Act::Delete(at) => {
                        let deleted = journal.delete(NAMES[at]).await.expect("a deletion");
                        prop_assert_eq!(deleted, sessions.remove(NAMES[at]).is_some());
                    }
                    Act::Fork(from, to) => {
                        let forked = journal.fork(NAMES[from], None, NAMES[to]).await;
                        match sessions.get(NAMES[from]).cloned() {
                            Some(texts) if !sessions.contains_key(NAMES[to]) => {
                                forked.expect("a fork");
                                sessions.insert(NAMES[to], texts);
                            }
                            _ => {
                                let error = forked.expect_err("nothing to fork, or something in the way");
                                prop_assert!(!error.report().contains("secret"), "{error}");
                            }
                        }
                    }
                    Act::Move(from, to) => {
                        let mut out = Vec::new();
                        let exported = journal.export(NAMES[from], &mut out).await;
                        prop_assert_eq!(exported.is_ok(), sessions.contains_key(NAMES[from]));
                        if exported.is_ok() {
                            let imported = journal.import(&mut out.as_slice(), Some(NAMES[to])).await;
                            prop_assert_eq!(imported.is_ok(), !sessions.contains_key(NAMES[to]));
                            let texts = sessions[NAMES[from]].clone();
                            sessions.entry(NAMES[to]).or_insert(texts);
                        }
                    }
                    Act::Remember(at) => {
                        let text = format!("keeps the secret {number} of scope {at}");
                        let fact = NewFact { subject: "x".to_owned(), text: text.clone(), ..NewFact::default() };
                        let id = facts.remember(&scope(at), fact).await.expect("a fact").fact().id.clone();
                        known.entry(at).or_default().insert(id, text);
                    }
                    Act::Search(at) => {
                        let found = facts.search(&scope(at), "Which secret of which scope?", 100).await;
                        let mut found: Vec<String> =
                            found.expect("a search").into_iter().map(|(fact, _)| fact.text).collect();
                        found.sort_unstable();
                        let mut wanted: Vec<String> =
                            known.get(&at).into_iter().flatten().map(|(_, text)| text.clone()).collect();
                        wanted.sort_unstable();
                        prop_assert_eq!(found, wanted);
                    }
                    Act::Forget(at, which) => {
                        // Of any scope: only one's own is found.
                        let all: Vec<String> = known.values().flat_map(BTreeMap::keys).cloned().collect();
                        if !all.is_empty() {
                            let id = &all[which % all.len()];
                            let forgotten = facts.forget(&scope(at), id).await;
                            let own = known.get_mut(&at).and_then(|facts| facts.remove(id));
                            prop_assert_eq!(forgotten.is_ok(), own.is_some());
                            if let Err(error) = forgotten {
                                prop_assert!(!error.report().contains("secret"), "{error}");
                            }
                        }
                    }
                    Act::ForgetAll(at) => {
                        let forgotten = facts.forget_all(&scope(at)).await.expect("forgotten").len();
                        prop_assert_eq!(forgotten, known.remove(&at).map_or(0, |facts| facts.len()));
                    }
                    Act::Reopen => {}
                }
                let listed = journal.sessions().await.expect("a list");
                prop_assert!(listed.iter().map(|summary| summary.session.as_str()).eq(sessions.keys().copied()));
                for (name, wanted) in &sessions {
                    let entries = journal.read(name, 0).await.expect("entries");
                    let said: Vec<_> = entries.into_iter().step_by(2).collect();
                    prop_assert_eq!(&texts(&said), wanted);
                }
            }
            Ok(())
        })?;
    }
}
