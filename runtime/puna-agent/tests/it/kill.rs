//! A process that dies at any append, and what the next one makes of it.

use std::collections::BTreeMap;

use proptest::prelude::*;
use puna_agent::{Conversation, EventStream, RunOptions, Unfinished};
use puna_core::{CancellationToken, Content, ErrorKind, Event, Message, Record, TurnOutcome};
use serde_json::json;

use crate::support::{
    Bench, Death, Reply, SESSION, answered, call, collect, outcome, say, transcript, unreadable,
};

type Script = Vec<(String, Vec<Reply>)>;

fn bench(script: &Script) -> Bench {
    let script: Vec<(&str, Vec<Reply>)> =
        script.iter().map(|(input, replies)| (input.as_str(), replies.clone())).collect();
    Bench::new(&script)
}

/// Reads a stream until it ends or the journal's process dies. True if it ended.
async fn run_until_death(bench: &Bench, mut stream: EventStream) -> bool {
    loop {
        tokio::select! {
            biased;
            () = bench.journal.died.notified() => return false,
            event = stream.next() => match event {
                Some(event) => drop(event.expect("no errors")),
                None => return true,
            },
        }
    }
}

fn finished_calls(bench: &Bench) -> Vec<String> {
    let finished = |record| match record {
        Record::ToolFinished { result } => Some(result.call_id),
        _ => None,
    };
    bench.records().into_iter().filter_map(finished).collect()
}

fn performed(bench: &Bench) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for id in bench.log.lock().unwrap().iter() {
        *counts.entry(id.clone()).or_default() += 1;
    }
    counts
}

/// Plays the whole script with processes that die one after the other as `deaths` says, each resuming
/// what the last left. Checks that no finished call is performed again, and gives how many died.
async fn play(bench: &Bench, script: &Script, mut deaths: impl Iterator<Item = Death>) -> usize {
    let mut died = 0;
    bench.journal.die_at(deaths.next());
    for (input, _) in script {
        let mut stream = bench.start(input, &CancellationToken::new());
        loop {
            let (before, finished) = (performed(bench), finished_calls(bench));
            let ended = run_until_death(bench, stream).await;
            check_none_again(&before, &finished, bench);
            if ended {
                break;
            }
            died += 1;
            bench.journal.die_at(deaths.next());
            stream = match bench.agent.resume(SESSION, CancellationToken::new()).await.expect("no errors") {
                Some(resumed) => resumed,
                None if started(bench, input) => break,
                // Died before the input was durable: the user says it again.
                None => bench.start(input, &CancellationToken::new()),
            };
        }
    }
    died
}

fn started(bench: &Bench, input: &str) -> bool {
    let is_it = |record: &Record| match record {
        Record::TurnStarted { message, .. } => message.plain_text() == input,
        _ => false,
    };
    bench.records().iter().any(is_it)
}

fn check_none_again(before: &BTreeMap<String, usize>, finished: &[String], bench: &Bench) {
    let after = performed(bench);
    for id in finished {
        assert_eq!(before.get(id), after.get(id), "finished call `{id}` was performed again");
    }
}

fn summary(conversation: &Conversation) -> (Vec<Message>, Vec<Option<TurnOutcome>>) {
    (conversation.messages(0), conversation.turns.iter().map(|turn| turn.outcome.clone()).collect())
}

fn reply() -> impl Strategy<Value = Reply> {
    let name = prop::sample::select(vec!["wait", "wait", "deny", "nowhere"]);
    let one = (name, prop::option::of(0u64..30)).prop_map(|(name, ms)| match ms {
        Some(ms) => (name, json!({"ms": ms})),
        None => (name, json!({"ms": -1})),
    });
    let calls = prop::collection::vec(one, 1..4).prop_map(|calls| {
        let calls: Vec<_> =
            calls.into_iter().enumerate().map(|(at, (name, ms))| (format!("c{at}"), name, ms)).collect();
        let calls: Vec<_> = calls.iter().map(|(id, name, ms)| (id.as_str(), *name, ms.clone())).collect();
        call(&calls)
    });
    prop_oneof![5 => calls, 1 => Just(unreadable("c", "{"))]
}

fn script() -> impl Strategy<Value = Script> {
    let turn = prop::collection::vec(reply(), 0..3);
    prop::collection::vec(turn, 1..3).prop_map(|turns| {
        let turn = |(number, mut replies): (usize, Vec<Reply>)| {
            replies.push(say(&format!("answer {number}")));
            (format!("question {number}"), replies)
        };
        turns.into_iter().enumerate().map(turn).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_kill_at_any_append_changes_nothing(script in script()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(async {
            let whole = bench(&script);
            play(&whole, &script, std::iter::empty()).await;
            let expected = summary(&whole.agent.conversation(SESSION).await.unwrap());
            let once = performed(&whole);
            for durable in [false, true] {
                for at in 0.. {
                    let cut = bench(&script);
                    let died = play(&cut, &script, [Death { at, durable }].into_iter()).await;
                    let conversation = cut.agent.conversation(SESSION).await.unwrap();
                    assert_eq!(summary(&conversation), expected, "after a kill at append {at}, durable: {durable}");
                    let twice = performed(&cut);
                    assert_eq!(twice.keys().collect::<Vec<_>>(), once.keys().collect::<Vec<_>>());
                    assert!(twice.values().all(|count| *count <= 1 + died), "{twice:?}");
                    if died == 0 {
                        break;
                    }
                }
            }
            // Every process manages one append and dies.
            let cut = bench(&script);
            let died = play(&cut, &script, std::iter::repeat_n(Death { at: 0, durable: true }, 200)).await;
            assert!(died > 0);
            let conversation = cut.agent.conversation(SESSION).await.unwrap();
            assert_eq!(summary(&conversation), expected);
        });
    }
}

fn two_turns() -> Vec<(&'static str, Vec<Reply>)> {
    let calls = call(&[
        ("a", "wait", json!({"ms": 5})),
        ("b", "wait", json!({"ms": 50})),
        ("c", "deny", json!({"ms": 50})),
    ]);
    vec![("one", vec![calls, say("first")]), ("two", vec![say("second")])]
}

/// A bench whose turn `one` died when the result of `a` was durable.
async fn died_in_turn_one() -> Bench {
    let bench = Bench::new(&two_turns());
    bench.journal.die_at(Some(Death { at: 2, durable: true }));
    assert!(!run_until_death(&bench, bench.start("one", &CancellationToken::new())).await);
    bench.journal.die_at(None);
    assert_eq!(finished_calls(&bench), ["a"]);
    bench
}

#[tokio::test(start_paused = true)]
async fn the_stream_may_be_dropped_after_any_event() {
    let whole = Bench::new(&two_turns());
    let count = whole.run("one").await.len();
    let expected = transcript(&whole.messages().await);
    for events in 1..count {
        let bench = Bench::new(&two_turns());
        let mut stream = bench.start("one", &CancellationToken::new());
        for _ in 0..events {
            stream.next().await.unwrap().unwrap();
        }
        drop(stream);
        if let Some(stream) = bench.agent.resume(SESSION, CancellationToken::new()).await.unwrap() {
            let resumed = collect(stream).await.unwrap();
            assert!(matches!(&resumed[0], Event::TurnStarted { resumed: true, .. }));
            assert_eq!(outcome(&resumed), &answered("first"));
        }
        assert_eq!(transcript(&bench.messages().await), expected, "dropped after {events} events");
        assert!(bench.agent.resume(SESSION, CancellationToken::new()).await.unwrap().is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn run_finishes_an_unfinished_turn_first() {
    let bench = died_in_turn_one().await;
    let events = bench.run("two").await;
    let ends = events.iter().filter_map(|event| match event {
        Event::TurnFinished { outcome, .. } => Some(outcome.clone()),
        _ => None,
    });
    assert_eq!(ends.collect::<Vec<_>>(), [answered("first"), answered("second")]);
    assert_eq!(performed(&bench)["a"], 1);
    assert_eq!(performed(&bench)["b"], 2);
}

#[tokio::test(start_paused = true)]
async fn run_abandons_or_refuses_an_unfinished_turn_when_told() {
    let run = |bench: &Bench, unfinished| {
        let options = RunOptions { unfinished, ..RunOptions::default() };
        collect(bench.agent.run(SESSION, Message::user("two"), options))
    };
    let bench = died_in_turn_one().await;
    let before = bench.records();
    let error = run(&bench, Unfinished::Refuse).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let message = "turn `turn-0` of agent `tester` in session `s` is unfinished; finish or abandon it first";
    assert_eq!(error.to_string(), message);
    assert_eq!(bench.records(), before);

    assert_eq!(outcome(&run(&bench, Unfinished::Abandon).await.unwrap()), &answered("second"));
    // The calls that never got a result are gone, the one that did stays.
    let expect = ["user: one", r#"assistant: a=wait{"ms":5}"#, r#"tool: a->{"ms":5}"#, "user: two"];
    assert_eq!(transcript(&bench.model.last_messages()), expect);
    let outcomes = bench.agent.conversation(SESSION).await.unwrap().turns;
    assert_eq!(outcomes[0].outcome, Some(TurnOutcome::Cancelled));
}

#[tokio::test(start_paused = true)]
async fn another_agents_turn_is_not_resumed() {
    let bench = died_in_turn_one().await;
    let mut options = puna_agent::AgentOptions::new("other", bench.model.clone(), bench.journal.clone());
    options.tools = crate::support::tools(&bench.log);
    let other = puna_agent::Agent::new(options).unwrap();
    let error = collect(other.run(SESSION, Message::user("two"), RunOptions::default())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().ends_with("resume it with that agent or abandon it"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn the_second_of_two_turns_at_once_conflicts() {
    let bench = Bench::new(&two_turns());
    let mut first = bench.start("one", &CancellationToken::new());
    first.next().await.unwrap().unwrap();
    let error = collect(bench.start("two", &CancellationToken::new())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(error.to_string(), "session `s` has a turn in progress; wait for it to end or cancel it");
    let error = bench.agent.resume(SESSION, CancellationToken::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    // Another session is free, and so is this one as soon as the end is seen.
    let elsewhere = bench.agent.run("t", Message::user("two"), RunOptions::default());
    assert_eq!(outcome(&collect(elsewhere).await.unwrap()), &answered("second"));
    while !matches!(first.next().await.unwrap().unwrap(), Event::TurnFinished { .. }) {}
    assert_eq!(outcome(&bench.run("two").await), &answered("second"));
}

#[tokio::test(start_paused = true)]
async fn another_process_that_appends_first_wins() {
    let bench = Bench::new(&two_turns());
    let mut stream = bench.start("one", &CancellationToken::new());
    stream.next().await.unwrap().unwrap();
    bench.journal.write(SESSION, &[Record::TurnFinished { outcome: TurnOutcome::Cancelled }]);
    let error = collect(stream).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    // The loser recorded nothing.
    assert_eq!(bench.records().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn only_a_user_message_begins_a_turn() {
    let bench = Bench::new(&two_turns());
    let input = Message { role: puna_core::Role::Assistant, content: vec![Content::text("one")] };
    let error = collect(bench.agent.run(SESSION, input, RunOptions::default())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(bench.records().is_empty());
}
