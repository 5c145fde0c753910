//! Facts: known once, replaced rather than lost, found, scoped, forgotten for good.

use std::{
    fs,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use futures_util::stream;
use puna_core::{
    CancellationToken, Completion, Embedder, Error, ErrorKind, GenerateRequest, Journal, Lesson, Memory,
    Message, Model, ModelEvent, ModelInfo, ModelStream, Record, Speaker, StopReason, ToolContext,
    TurnOutcome, Usage,
};
use puna_memory::{
    Conversations, EXTRACT_INSTRUCTIONS, FactScope, Facts, Forget, LongTermMemory, LongTermOptions,
    MAX_FACT_BYTES, MemoryScope, NewFact, Remembered, Source, forget,
};
use puna_store::{SledStore, Store, StoreOptions};
use serde_json::json;

use crate::{block_on, said};

fn store(folder: &Path) -> SledStore {
    SledStore::open(folder, &StoreOptions::default()).expect("a store")
}

fn ada() -> FactScope {
    FactScope::of_user("ada")
}

fn new(subject: &str, text: &str) -> NewFact {
    NewFact { subject: subject.to_owned(), text: text.to_owned(), ..NewFact::default() }
}

/// Counts letters: sentences of the same letters are alike, and nothing else.
struct Letters {
    name: &'static str,
    embedded: AtomicUsize,
}

impl Letters {
    fn new(name: &'static str) -> Arc<Self> {
        Arc::new(Self { name, embedded: AtomicUsize::default() })
    }
}

#[async_trait]
impl Embedder for Letters {
    fn dimension(&self) -> usize {
        26
    }

    fn fingerprint(&self) -> String {
        self.name.to_owned()
    }

    async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, Error> {
        self.embedded.fetch_add(texts.len(), Ordering::Relaxed);
        let vector = |text: &String| {
            let mut vector = vec![0.0; 26];
            for letter in text.to_lowercase().bytes().filter(u8::is_ascii_lowercase) {
                vector[usize::from(letter - b'a')] += 1.0;
            }
            vector
        };
        Ok(texts.iter().map(vector).collect())
    }
}

/// A model that gives the same list of facts for every turn, and counts words as tokens.
struct Lister {
    info: ModelInfo,
    answers: Mutex<Vec<String>>,
    requests: Mutex<Vec<GenerateRequest>>,
}

impl Lister {
    fn new(answers: &[serde_json::Value]) -> Arc<Self> {
        let info = ModelInfo { name: "lister".into(), context_length: 4_000, constraints: true };
        let answers = Mutex::new(answers.iter().rev().map(ToString::to_string).collect());
        Arc::new(Self { info, answers, requests: Mutex::default() })
    }
}

#[async_trait]
impl Model for Lister {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    async fn generate(&self, request: GenerateRequest) -> Result<ModelStream, Error> {
        self.requests.lock().unwrap().push(request);
        let text = self.answers.lock().unwrap().pop().expect("an answer in the script");
        let completion = Completion {
            message: Message::assistant(text),
            stop: StopReason::EndOfTurn,
            usage: Usage::default(),
        };
        Ok(Box::pin(stream::iter([Ok(ModelEvent::Finished(completion))])))
    }

    fn count_tokens(&self, text: &str) -> Option<usize> {
        Some(text.split_whitespace().count())
    }
}

/// The texts of what is found.
async fn found(facts: &Facts, scope: &FactScope, question: &str) -> Vec<String> {
    let found = facts.search(scope, question, 10).await.expect("a search");
    found.into_iter().map(|(fact, _)| fact.text).collect()
}

#[test]
fn a_fact_is_known_once() {
    let folder = tempfile::tempdir().expect("a folder");
    block_on(async {
        let store = Arc::new(store(folder.path()));
        let words = Facts::new(store.clone());
        let letters = Facts::new(store).with_embedder(Letters::new("letters")).expect("facts");
        let first = words.remember(&ada(), new("Ada", "likes green tea.")).await.expect("a fact");
        assert!(matches!(first, Remembered::Added(_)));
        for same in [new("ada", "Likes  green tea"), new(" Ada ", "likes green tea!")] {
            let known = words.remember(&ada(), same).await.expect("a fact");
            assert_eq!(known, Remembered::Known(first.fact().clone()));
        }
        // By meaning too; what differs in a number or a negation is another fact, however alike it is.
        let phone = letters.remember(&ada(), new("Ada", "the phone has number 1234")).await.expect("a fact");
        for (text, is_known) in [
            ("has the phone number 1234", true),
            ("the phone has number 1235", false),
            ("the phone has not number 1234", false),
        ] {
            let remembered = letters.remember(&ada(), new("Ada", text)).await.expect("a fact");
            assert_eq!(remembered == Remembered::Known(phone.fact().clone()), is_known, "{text}");
        }
        // Of another subject or scope it is another fact.
        for (scope, subject) in [(ada(), "Bob"), (FactScope::of_user("bob"), "Ada")] {
            let other = words.remember(&scope, new(subject, "likes green tea")).await.expect("a fact");
            assert!(matches!(other, Remembered::Added(_)), "{scope}");
        }
    });
}

#[test]
fn of_many_who_say_the_same_at_once_one_is_first() {
    let folder = tempfile::tempdir().expect("a folder");
    block_on(async {
        let facts = Facts::new(Arc::new(store(folder.path())));
        let tasks: Vec<_> = (0..24)
            .map(|task| {
                let facts = facts.clone();
                let text = format!("fact {}", task % 3);
                tokio::spawn(async move { facts.remember(&ada(), new("Ada", &text)).await.expect("a fact") })
            })
            .collect();
        let mut added = 0;
        for task in tasks {
            added += usize::from(matches!(task.await.expect("no panic"), Remembered::Added(_)));
        }
        assert_eq!(added, 3);
        assert_eq!(facts.list(&ada(), true).await.expect("a list").len(), 3);
    });
}

#[test]
fn a_fact_that_holds_no_longer_is_kept_and_not_found() {
    let folder = tempfile::tempdir().expect("a folder");
    block_on(async {
        let facts = Facts::new(Arc::new(store(folder.path())));
        let old = facts.remember(&ada(), new("Ada", "lives in Paris")).await.expect("a fact").fact().clone();
        let replacing = NewFact { replaces: Some(old.id.clone()), ..new("Ada", "lives in Rome") };
        let remembered = facts.remember(&ada(), replacing).await.expect("a fact");
        let Remembered::Replaced { new: now, old: before } = remembered else { panic!("{remembered:?}") };
        assert_eq!(before.superseded_by.as_ref(), Some(&now.id));
        assert!(before.valid_to_ms >= Some(old.valid_from_ms));
        assert_eq!(found(&facts, &ada(), "Where does Ada live? In Paris?").await, ["lives in Rome"]);
        assert_eq!(facts.list(&ada(), false).await.expect("a list"), vec![now.clone()]);
        assert_eq!(facts.list(&ada(), true).await.expect("a list").len(), 2);
        // And back again: the old one is not taken for the new one.
        let back = NewFact { replaces: Some(now.id.clone()), ..new("Ada", "lives in Paris") };
        facts.remember(&ada(), back).await.expect("a fact");
        assert_eq!(found(&facts, &ada(), "Ada").await, ["lives in Paris"]);
        // Of a fact that says what another says already, that one takes the place; however alike they are, what replaces
        // and what is replaced are two.
        let letters = facts.clone().with_embedder(Letters::new("letters")).expect("facts");
        let other = FactScope::of_user("other");
        let red = letters
            .remember(&other, new("x", "the colour is dark red"))
            .await
            .expect("a fact")
            .fact()
            .id
            .clone();
        let alike = NewFact { replaces: Some(red.clone()), ..new("x", "the colour is dark rede") };
        let remembered = letters.remember(&other, alike).await.expect("a fact");
        let Remembered::Replaced { new: rede, .. } = remembered else { panic!("{remembered:?}") };
        let blue = letters.remember(&other, new("x", "blue it is")).await.expect("a fact").fact().clone();
        let said_again = NewFact { replaces: Some(rede.id), ..new("x", "Blue it is.") };
        let remembered = letters.remember(&other, said_again).await.expect("a fact");
        assert_eq!(remembered.fact().id, blue.id);
        assert_eq!(letters.list(&other, false).await.expect("a list").len(), 1);
        // What is not there cannot be replaced, nor what is another's.
        for (scope, id) in [(ada(), "nothing".to_owned()), (FactScope::of_user("bob"), now.id)] {
            let error = facts
                .remember(&scope, NewFact { replaces: Some(id), ..new("x", "y") })
                .await
                .expect_err("it is not there");
            assert_eq!(error.kind(), ErrorKind::NotFound);
        }
    });
}

#[test]
fn what_bears_on_a_question_comes_first() {
    let folder = tempfile::tempdir().expect("a folder");
    block_on(async {
        let facts = Facts::new(Arc::new(store(folder.path())));
        for (subject, text) in [
            ("Ada", "prefers green tea in the morning"),
            ("Ada", "has a daughter called Byron"),
            ("Ada", "works on the analytical engine"),
            ("에이다", "서울에서 커피를 마신다"),
            ("アダ", "東京で働いている"),
            ("the project", "is due on 24 December"),
        ] {
            facts.remember(&ada(), new(subject, text)).await.expect("a fact");
        }
        for (question, wanted) in [
            ("Which tea does she like?", "prefers green tea in the morning"),
            ("Who is Byron?", "has a daughter called Byron"),
            ("When is the project due?", "is due on 24 December"),
            ("커피 마셔?", "서울에서 커피를 마신다"),
            ("どこで働いていますか", "東京で働いている"),
        ] {
            let found = found(&facts, &ada(), question).await;
            assert_eq!(found.first().map(String::as_str), Some(wanted), "{question}: {found:?}");
        }
        assert_eq!(found(&facts, &ada(), "xyzzy").await, Vec::<String>::new());
        // Of facts that bear on it alike, the one that was used more is first.
        let twins = FactScope::of_user("twins");
        let one = facts.remember(&twins, new("a", "likes apples")).await.expect("a fact").fact().id.clone();
        facts.remember(&twins, new("b", "likes apples")).await.expect("a fact");
        for _ in 0..30 {
            facts.mark_used(&twins, std::slice::from_ref(&one)).await.expect("a use");
        }
        let first = facts.search(&twins, "apples", 1).await.expect("a search").remove(0).0;
        assert_eq!((first.id, first.uses), (one, 30));
    });
}

#[test]
fn meaning_finds_what_words_do_not_and_follows_the_model() {
    let folder = tempfile::tempdir().expect("a folder");
    block_on(async {
        let store = Arc::new(store(folder.path()));
        let words = Facts::new(store.clone());
        words.remember(&ada(), new("a", "listen")).await.expect("a fact");
        assert!(found(&words, &ada(), "silent").await.is_empty());
        let (letters, others) = (Letters::new("letters"), Letters::new("other letters"));
        for embedder in [&letters, &letters, &others] {
            let facts = Facts::new(store.clone()).with_embedder(embedder.clone()).expect("facts");
            assert_eq!(found(&facts, &ada(), "silent").await, ["listen"], "{}", embedder.name);
        }
        // A question each time, and the fact once for each model.
        let embedded = [&letters, &others].map(|embedder| embedder.embedded.load(Ordering::Relaxed));
        assert_eq!(embedded, [2 + 1, 1 + 1]);
    });
}

#[test]
fn no_scope_sees_another() {
    let folder = tempfile::tempdir().expect("a folder");
    block_on(async {
        let store = Arc::new(store(folder.path()));
        let facts = Facts::new(store.clone()).with_embedder(Letters::new("letters")).expect("facts");
        let name = |text: &str| Some(text.to_owned());
        let scopes: Vec<FactScope> = [
            (name("a"), None),
            (name("aa"), None),
            (name("a"), name("a")),
            (None, name("a")),
            (None, None),
            (name("a"), name("aa")),
            (name("aa"), name("a")),
        ]
        .into_iter()
        .map(|(user, agent)| FactScope { user, agent })
        .collect();
        let mut ids = Vec::new();
        for (number, scope) in scopes.iter().enumerate() {
            let text = format!("the secret of scope {number} is number{number}");
            ids.push(facts.remember(scope, new("secret", &text)).await.expect("a fact").fact().id.clone());
        }
        for (number, scope) in scopes.iter().enumerate() {
            let own = [format!("the secret of scope {number} is number{number}")];
            assert_eq!(found(&facts, scope, "What is the secret of the scope?").await, own, "{scope}");
            let listed = facts.list(scope, true).await.expect("a list");
            assert_eq!(
                listed.iter().map(|fact| &fact.text).collect::<Vec<_>>(),
                own.iter().collect::<Vec<_>>()
            );
            for (other, id) in ids.iter().enumerate().filter(|(other, _)| *other != number) {
                for error in [
                    facts.get(scope, id).await.expect_err("another's"),
                    facts.forget(scope, id).await.expect_err("another's"),
                ] {
                    assert_eq!(error.kind(), ErrorKind::NotFound);
                    assert!(!error.report().contains(&format!("number{other}")), "{error}");
                }
                facts.mark_used(scope, std::slice::from_ref(id)).await.expect("nothing to do");
            }
            assert_eq!(facts.get(scope, &ids[number]).await.expect("its own").uses, 0);
        }
        let mut listed = facts.scopes().await.expect("a list");
        let mut wanted = scopes.clone();
        listed.sort_by_key(ToString::to_string);
        wanted.sort_by_key(ToString::to_string);
        assert_eq!(listed, wanted);
        // One is forgotten, the others stay.
        facts.forget_all(&scopes[0]).await.expect("a deletion");
        for (number, scope) in scopes.iter().enumerate() {
            assert_eq!(
                facts.list(scope, true).await.expect("a list").len(),
                usize::from(number > 0),
                "{scope}"
            );
        }
        for wrong in ["", " a", "a\0b", &"a".repeat(300)] {
            let error = facts.list(&FactScope::of_user(wrong), true).await.expect_err("no name");
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        }
    });
}

#[test]
fn what_is_no_fact_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    block_on(async {
        let facts = Facts::new(Arc::new(store(folder.path())));
        for (fact, told) in [
            (new("", "text"), "the subject of a fact is empty"),
            (new("subject", " \n "), "the text of a fact is empty"),
            (new("subject", &"x".repeat(MAX_FACT_BYTES + 1)), "has 2001 bytes, at most 2000 are kept"),
        ] {
            let error = facts.remember(&ada(), fact).await.expect_err(told);
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.to_string().contains(told), "{error}");
        }
        let expired = NewFact { expires_ms: Some(1), ..new("Ada", "was here") };
        facts.remember(&ada(), expired).await.expect("a fact");
        assert!(found(&facts, &ada(), "Ada").await.is_empty());
        assert!(facts.list(&ada(), true).await.expect("a list").is_empty());
        // The next change takes it out.
        facts.remember(&ada(), new("Ada", "is here")).await.expect("a fact");
        assert_eq!(facts.forget_all(&ada()).await.expect("a deletion").len(), 1);
    });
}

fn speaker(user: &str) -> Speaker {
    Speaker { user: Some(user.to_owned()), agent: "concierge".to_owned() }
}

fn memory(facts: &Facts, model: &Arc<Lister>, options: LongTermOptions) -> LongTermMemory {
    LongTermMemory::new(facts.clone(), model.clone(), options)
}

#[test]
fn recall_keeps_to_its_budget() {
    let folder = tempfile::tempdir().expect("a folder");
    block_on(async {
        let facts = Facts::new(Arc::new(store(folder.path())));
        let scope = FactScope { user: Some("ada".to_owned()), agent: Some("concierge".to_owned()) };
        for number in 0..10 {
            facts.remember(&scope, new("tea", &format!("kind {number} is good"))).await.expect("a fact");
        }
        // Each is shown in six words.
        for (recall_tokens, wanted) in [(0, 0), (5, 0), (6, 1), (35, 5), (1_000, 10)] {
            let options = LongTermOptions { recall_tokens, ..LongTermOptions::default() };
            let memory = memory(&facts, &Lister::new(&[]), options);
            let recall = memory.recall(&speaker("ada"), &Message::user("tea?")).await.expect("a recall");
            assert_eq!(recall.facts.len(), wanted, "{recall_tokens}");
            let left_out = if recall_tokens == 0 { 0 } else { 10 - wanted as u32 };
            assert_eq!(recall.left_out, left_out, "{recall_tokens}");
            let others = memory.recall(&speaker("bob"), &Message::user("tea?")).await.expect("a recall");
            assert_eq!(others.facts, []);
        }
    });
}

fn lesson(user: &str, text: &str) -> Lesson {
    Lesson {
        speaker: speaker(user),
        session: "s".to_owned(),
        turn: "turn-0".to_owned(),
        messages: vec![Message::user(text), Message::assistant("I see.")],
        cancel: CancellationToken::new(),
        deadline: None,
    }
}

#[test]
fn turns_are_learnt_from() {
    let folder = tempfile::tempdir().expect("a folder");
    block_on(async {
        let facts = Facts::new(Arc::new(store(folder.path())));
        let scope = FactScope::of_user("ada");
        let first = json!({"facts": [{"subject": "Ada", "text": "lives in Paris", "kind": "profile", "replaces": null}]});
        let model = Lister::new(&[first.clone(), first]);
        let options =
            LongTermOptions { scope: MemoryScope::User, extract: true, ..LongTermOptions::default() };
        let memory_of = |model: &Arc<Lister>| memory(&facts, model, options.clone());
        let learnt = memory_of(&model).learn(&lesson("ada", "I live in Paris.")).await.expect("facts");
        assert_eq!(learnt.len(), 1);
        let again = memory_of(&model).learn(&lesson("ada", "I live in Paris.")).await.expect("facts");
        assert_eq!(again, [], "it is known");
        let fact = facts.get(&scope, &learnt[0].id).await.expect("the fact");
        let source = Source { session: "s".to_owned(), turn: "turn-0".to_owned() };
        assert_eq!((fact.kind.as_str(), fact.source), ("profile", Some(source)));
        let request = model.requests.lock().unwrap()[1].clone();
        assert!(request.constraint.is_some(), "the form is held while it is written");
        assert_eq!(request.messages[0].plain_text(), EXTRACT_INSTRUCTIONS);
        let asked = request.messages[1].plain_text();
        assert!(
            asked.starts_with(&format!("Known facts:\n[{}] Ada: lives in Paris\n\n", fact.id)),
            "{asked}"
        );
        assert!(asked.ends_with("Conversation:\nUser: I live in Paris.\nAssistant: I see.\n"), "{asked}");
        // A contradiction supersedes; an identifier that it was not shown replaces nothing.
        let moved = json!({"facts": [
            {"subject": "Ada", "text": "lives in Rome", "kind": "profile", "replaces": fact.id},
            {"subject": "Ada", "text": "has a cat", "kind": "profile", "replaces": "made up"},
        ]});
        let learnt =
            memory_of(&Lister::new(&[moved])).learn(&lesson("ada", "I live in Rome now, with a cat.")).await;
        assert_eq!(learnt.expect("facts").len(), 2);
        let old = facts.get(&scope, &fact.id).await.expect("it is kept");
        assert!(old.superseded_by.is_some());
        // What does not have its form is an error, and keeps nothing.
        for wrong in [
            json!("no list"),
            json!({"facts": [{"subject": "x"}]}),
            json!({"facts": vec![json!({"subject": "x", "text": "y", "kind": "z"}); 9]}),
        ] {
            let error =
                memory_of(&Lister::new(&[wrong])).learn(&lesson("eve", "hi")).await.expect_err("no form");
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        }
        assert!(facts.list(&FactScope::of_user("eve"), true).await.expect("a list").is_empty());
    });
}

#[test]
fn models_remember_recall_and_forget_by_tools() {
    let folder = tempfile::tempdir().expect("a folder");
    block_on(async {
        let facts = Facts::new(Arc::new(store(folder.path())));
        let memory = memory(&facts, &Lister::new(&[]), LongTermOptions::default());
        let tools = memory.tools("concierge");
        let names: Vec<&str> = tools.iter().map(|tool| tool.schema().name.as_str()).collect();
        assert_eq!(names, ["remember", "recall", "forget"]);
        let context = |user: &str| ToolContext {
            call_id: "c".to_owned(),
            session: "s".to_owned(),
            turn: "turn-3".to_owned(),
            user: Some(user.to_owned()),
            deadline: None,
            cancel: CancellationToken::new(),
            reports: Default::default(),
        };
        let [remember, recall, forget] = &tools[..] else { panic!("{names:?}") };
        let arguments = json!({"subject": "Ada", "text": "likes tea", "kind": "preference"});
        let first = remember.call(arguments.clone(), &context("ada")).await.expect("a fact");
        assert_eq!(first["outcome"], "added");
        let known = remember.call(arguments, &context("ada")).await.expect("a fact");
        assert_eq!(known, json!({"id": first["id"], "outcome": "known"}));
        let replacing = json!({"subject": "Ada", "text": "likes coffee", "replaces": first["id"]});
        assert_eq!(remember.call(replacing, &context("ada")).await.expect("a fact")["outcome"], "replaced");
        let found = recall.call(json!({"query": "Ada"}), &context("ada")).await.expect("facts");
        assert_eq!(found["facts"][0]["text"], "likes coffee");
        assert_eq!(
            recall.call(json!({"query": "Ada"}), &context("bob")).await.expect("none"),
            json!({"facts": []})
        );
        let id = found["facts"][0]["id"].clone();
        let error = forget.call(json!({"id": id}), &context("bob")).await.expect_err("another's");
        assert_eq!(error.kind.as_str(), "not_found");
        let forgotten = forget.call(json!({"id": id}), &context("ada")).await.expect("it is forgotten");
        assert_eq!(forgotten, json!({"forgotten": 2}), "with what it replaced");
    });
}

/// The files below a folder that hold some bytes.
fn holding(folder: &Path, bytes: &[u8]) -> usize {
    let mut count = 0;
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        count += if path.is_dir() {
            holding(&path, bytes)
        } else {
            usize::from(fs::read(&path).expect("a file").windows(bytes.len()).any(|window| window == bytes))
        };
    }
    count
}

#[test]
fn what_is_forgotten_leaves_the_disk() {
    let folder = tempfile::tempdir().expect("a folder");
    block_on(async {
        let store = store(folder.path());
        let embedder = Letters::new("letters");
        let facts = Facts::new(Arc::new(store.clone())).with_embedder(embedder.clone()).expect("facts");
        let conversations = Conversations::new(Arc::new(store.clone()));
        // A session whose summary tells the secret too, and a fork of it.
        let summary = |text: &str| Record::HistorySummarized {
            turns: 1,
            through: "turn".to_owned(),
            text: text.to_owned(),
            cut: false,
            model: "m".to_owned(),
            usage: Usage::default(),
        };
        let ended =
            || Record::TurnFinished { outcome: TurnOutcome::Answered { text: String::new(), value: None } };
        for (session, secret) in [("hers", "xylophone"), ("his", "bassoon")] {
            let records =
                [said("hello"), ended(), said("go on"), summary(&format!("It is a {secret}.")), ended()];
            conversations.append(session, 0, &records).await.expect("a session");
        }
        conversations.fork("hers", None, "fork").await.expect("a fork");
        let of = |session: &str, text: &str| NewFact {
            source: Some(Source { session: session.to_owned(), turn: "turn".to_owned() }),
            ..new("the instrument", text)
        };
        let old = facts
            .remember(&ada(), of("hers", "is an old xylophone"))
            .await
            .expect("a fact")
            .fact()
            .id
            .clone();
        let newer = NewFact { replaces: Some(old), ..of("hers", "is a new xylophone") };
        let id = facts.remember(&ada(), newer).await.expect("a fact").fact().id.clone();
        let bob = FactScope::of_user("bob");
        facts.remember(&bob, of("his", "is a bassoon")).await.expect("a fact");
        let vector: Vec<u8> =
            embedder.embed(&["the instrument: is a new xylophone".to_owned()]).await.expect("a vector")[0]
                .iter()
                .flat_map(|number| number.to_le_bytes())
                .collect();
        for secret in [&b"xylophone"[..], &vector] {
            assert!(holding(folder.path(), secret) > 0, "`{}` is there", secret.escape_ascii());
        }
        let what = Forget::Fact(ada(), id);
        let forgotten = forget(&facts, &conversations, &what, false).await.expect("it is forgotten");
        assert_eq!((forgotten.facts, forgotten.summaries, forgotten.sessions.len()), (2, 2, 0));
        let again = forget(&facts, &conversations, &what, false).await.expect_err("it is gone");
        assert_eq!(again.kind(), ErrorKind::NotFound);
        store.compact(|_| {}).await.expect("a compaction");
        for secret in [&b"xylophone"[..], &vector] {
            assert_eq!(holding(folder.path(), secret), 0, "it is gone from the files");
        }
        // What is not his stays, and the sessions read as before but for the summary.
        assert!(holding(folder.path(), b"bassoon") > 0);
        assert_eq!(facts.list(&bob, true).await.expect("a list").len(), 1);
        assert_eq!(conversations.read("hers", 0).await.expect("a session").len(), 5);
        // A user as a whole, with the sessions.
        let all =
            forget(&facts, &conversations, &Forget::User("bob".to_owned()), true).await.expect("forgotten");
        assert_eq!((all.facts, all.sessions), (1, vec!["his".to_owned()]));
        store.compact(|_| {}).await.expect("a compaction");
        assert_eq!(holding(folder.path(), b"bassoon"), 0);
        let namespaces = store.namespaces().await.expect("a list");
        let names: Vec<&str> = namespaces.iter().map(|found| found.namespace.as_str()).collect();
        assert_eq!(names, ["fact-count", "session", "session-entry"], "no fact and no vector is left");
    });
}
