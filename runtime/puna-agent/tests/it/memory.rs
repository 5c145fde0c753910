//! What a turn has to do with the memory.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use puna_agent::{AgentOptions, RunOptions};
use puna_core::{
    CancellationToken, Error, ErrorKind, Event, Lesson, Memory, Message, Recall, RecalledFact, Record,
    Result, Speaker,
};

use crate::support::{
    Bench, Death, End, Reply, SESSION, ScriptedModel, answered, collect, outcome, say, transcript,
};

/// Remembers one fact of each user, and notes what it is given.
#[derive(Default)]
struct Notebook {
    lessons: Mutex<Vec<Lesson>>,
    fails: bool,
}

fn fact(user: &str) -> RecalledFact {
    RecalledFact { id: format!("of-{user}"), subject: user.to_owned(), text: "likes tea".to_owned() }
}

#[async_trait]
impl Memory for Notebook {
    async fn recall(&self, speaker: &Speaker, _: &Message) -> Result<Recall> {
        if self.fails {
            return Err(Error::new(ErrorKind::Unavailable, "the notebook is shut"));
        }
        assert_eq!(speaker.agent, "tester");
        let facts = speaker.user.iter().map(|user| fact(user)).collect();
        Ok(Recall { facts, left_out: 2 })
    }

    fn learns(&self) -> bool {
        true
    }

    async fn learn(&self, lesson: &Lesson) -> Result<Vec<RecalledFact>> {
        if self.fails {
            return Err(Error::new(ErrorKind::Unavailable, "the notebook is shut"));
        }
        self.lessons.lock().unwrap().push(lesson.clone());
        Ok(lesson.speaker.user.iter().map(|user| fact(user)).collect())
    }
}

fn bench(notebook: &Arc<Notebook>) -> Bench {
    let broken = Reply { end: End::Error(ErrorKind::Unavailable), ..say("") };
    let script = [("hello", vec![say("hi")]), ("more", vec![say("ok")]), ("break", vec![broken])];
    let memory: Arc<dyn Memory> = notebook.clone();
    Bench::with(ScriptedModel::new(&script), |options: &mut AgentOptions| {
        options.memory = Some(memory);
        options.instructions = "be brief".into();
    })
}

async fn run(bench: &Bench, input: &str, user: Option<&str>) -> Vec<Event> {
    let options = RunOptions { user: user.map(str::to_owned), ..RunOptions::default() };
    collect(bench.agent.run(SESSION, Message::user(input), options)).await.expect("a turn")
}

/// What the records say of the memory.
fn noted(bench: &Bench) -> Vec<String> {
    let note = |record: Record| match record {
        Record::FactsRecalled { facts } => Some(format!("recalled {}", facts.join(","))),
        Record::FactsLearned { facts } => Some(format!("learnt {}", facts.join(","))),
        _ => None,
    };
    bench.records().into_iter().filter_map(note).collect()
}

#[tokio::test(start_paused = true)]
async fn facts_come_with_the_question_and_stay_out_of_the_journal() {
    let notebook = Arc::new(Notebook::default());
    let bench = bench(&notebook);
    let events = run(&bench, "hello", Some("ada")).await;
    let recalled = Event::FactsRecalled { facts: vec![fact("ada")], left_out: 2 };
    assert!(events.contains(&recalled) && events.contains(&Event::FactsLearned { facts: vec![fact("ada")] }));
    assert_eq!(outcome(&events), &answered("hi"), "the turn's end comes last");
    let shown = transcript(&bench.model.last_messages());
    let question = "user: what you remember that may matter here:\n[of-ada] ada: likes tea\n\n hello";
    assert_eq!(shown, ["system: be brief", question]);
    // Of the turn before, the model is shown what was said alone.
    run(&bench, "more", None).await;
    let shown = transcript(&bench.model.last_messages());
    assert_eq!(shown, ["system: be brief", "user: hello", "assistant: hi", "user: more"]);
    assert_eq!(noted(&bench), ["recalled of-ada", "learnt of-ada", "learnt "]);
    let journal = serde_json::to_string(&bench.records()).expect("JSON");
    assert!(!journal.contains("likes tea"), "{journal}");
    let lessons = notebook.lessons.lock().unwrap().clone();
    let told: Vec<_> = lessons
        .iter()
        .map(|lesson| (&*lesson.session, &*lesson.turn, transcript(&lesson.messages)))
        .collect();
    assert_eq!(told[0], (SESSION, "turn-0", vec!["user: hello".to_owned(), "assistant: hi".to_owned()]));
    assert_eq!(told.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_memory_that_fails_ends_no_turn() {
    let bench = bench(&Arc::new(Notebook { fails: true, ..Notebook::default() }));
    let events = run(&bench, "hello", Some("ada")).await;
    let failed: Vec<(&str, &str)> = events
        .iter()
        .filter_map(|event| match event {
            Event::MemoryFailed { during, kind, .. } => Some((during.as_str(), kind.as_str())),
            _ => None,
        })
        .collect();
    assert_eq!(failed, [("recall", "unavailable"), ("learn", "unavailable")]);
    assert_eq!(outcome(&events), &answered("hi"));
    assert_eq!(noted(&bench), ["learnt "], "it is not gone through again");
}

#[tokio::test(start_paused = true)]
async fn only_answered_turns_are_learnt_from() {
    let notebook = Arc::new(Notebook::default());
    let bench = bench(&notebook);
    run(&bench, "break", Some("ada")).await;
    assert!(notebook.lessons.lock().unwrap().is_empty());
    assert_eq!(noted(&bench), ["recalled of-ada"]);
}

#[tokio::test(start_paused = true)]
async fn after_a_kill_no_turn_is_missed_and_none_is_recorded_twice() {
    // A turn appends: its start, what was recalled, the answer with the end, what was learnt.
    for at in 0..4 {
        for durable in [false, true] {
            let case = format!("dead at {at}, durable: {durable}");
            let notebook = Arc::new(Notebook::default());
            let bench = bench(&notebook);
            bench.journal.die_at(Some(Death { at, durable }));
            tokio::select! {
                events = async { run(&bench, "hello", Some("ada")).await } => panic!("{case}: {events:?}"),
                () = bench.journal.died.notified() => {}
            }
            bench.journal.die_at(None);
            if let Some(stream) =
                bench.agent.resume(SESSION, CancellationToken::new()).await.expect("a session")
            {
                collect(stream).await.expect("a turn");
            }
            run(&bench, "more", Some("bob")).await;
            let mut wanted = vec!["recalled of-ada", "learnt of-ada", "recalled of-bob", "learnt of-bob"];
            if at == 0 && !durable {
                // Nobody was told that it began.
                wanted.drain(..2);
            }
            assert_eq!(noted(&bench), wanted, "{case}");
            let conversation = bench.agent.conversation(SESSION).await.expect("a session");
            assert!(conversation.turns.iter().all(|turn| turn.learned), "{case}");
        }
    }
}
