use std::time::Duration;

use puna_core::{CancellationToken, TurnOutcome};
use serde_json::json;

use crate::support::{
    Bench, Death, End, Reply, SESSION, ScriptedModel, answered, call, collect, outcome, say, transcript,
};

fn script() -> Vec<(&'static str, Vec<Reply>)> {
    let calls = call(&[("a", "wait", json!({"ms": 10})), ("b", "wait", json!({"ms": 20}))]);
    vec![("go", vec![calls, say("done")]), ("next", vec![say("fine")])]
}

#[tokio::test(start_paused = true)]
async fn after_any_event() {
    let count = Bench::new(&script()).run("go").await.len();
    for cancel_after in 0..count {
        let (bench, cancel) = (Bench::new(&script()), CancellationToken::new());
        let mut stream = bench.start("go", &cancel);
        for _ in 0..cancel_after {
            stream.next().await.unwrap().unwrap();
        }
        cancel.cancel();
        let events = collect(stream).await.unwrap();
        // Once the model was heard to the end, its answer stands.
        let late = outcome(&events) == &answered("done");
        assert!(
            late || outcome(&events) == &TurnOutcome::Cancelled,
            "after {cancel_after} events: {events:?}"
        );
        let recorded = bench.agent.conversation(SESSION).await.unwrap().turns.remove(0).outcome;
        assert_eq!(recorded.as_ref(), Some(outcome(&events)));
        if cancel_after + 3 < count - "done".len() {
            assert!(!late, "after {cancel_after} of {count} events");
        }
        check_next_turn(&bench).await;
    }
}

/// The cancelled turn's open calls do not reach the model.
async fn check_next_turn(bench: &Bench) {
    assert_eq!(outcome(&bench.run("next").await), &answered("fine"));
    let transcript = transcript(&bench.model.last_messages());
    for id in ["a", "b"] {
        let calls = transcript.iter().filter(|line| line.contains(&format!("{id}=wait"))).count();
        let results = transcript.iter().filter(|line| line.contains(&format!("{id}->"))).count();
        assert_eq!(calls, results, "{transcript:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn at_any_time() {
    // 10 ms to the calls, whose results come after 20 and 40 more, and 10 ms to the answer. Odd
    // milliseconds, so that it is certain which comes first.
    let calls = call(&[("a", "wait", json!({"ms": 20})), ("b", "wait", json!({"ms": 40}))]);
    let replies = vec![Reply { before_ms: 10, ..calls }, Reply { before_ms: 10, ..say("done") }];
    for cancel_ms in (1..80).step_by(2) {
        let bench = Bench::new(&[("go", replies.clone()), ("next", vec![say("fine")])]);
        let cancel = CancellationToken::new();
        let (events, ()) = tokio::join!(collect(bench.start("go", &cancel)), async {
            tokio::time::sleep(Duration::from_millis(cancel_ms)).await;
            cancel.cancel();
        });
        // This model does not look at the token before it speaks, and has the grace to be heard to its
        // end: once it is asked, its answer stands.
        let expected = if cancel_ms > 50 { answered("done") } else { TurnOutcome::Cancelled };
        assert_eq!(outcome(&events.unwrap()), &expected, "cancelled after {cancel_ms} ms");
        let finished = transcript(&bench.messages().await).iter().filter(|line| line.contains("->")).count();
        assert_eq!(finished, usize::from(cancel_ms > 30) + usize::from(cancel_ms > 50), "{cancel_ms} ms");
        check_next_turn(&bench).await;
    }
}

#[tokio::test(start_paused = true)]
async fn keeps_the_text_so_far() {
    for polite in [true, false] {
        let mut model = ScriptedModel::new(&[("go", vec![Reply { end: End::Hang, ..say("half") }])]);
        model.polite = polite;
        let (bench, cancel) = (Bench::with(model, |_| {}), CancellationToken::new());
        let (events, ()) = tokio::join!(collect(bench.start("go", &cancel)), async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            cancel.cancel();
        });
        assert_eq!(outcome(&events.unwrap()), &TurnOutcome::Cancelled);
        assert_eq!(transcript(&bench.messages().await), ["user: go", "assistant: half"]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_append_under_way_is_not_torn() {
    let (bench, cancel) = (Bench::new(&script()), CancellationToken::new());
    // The token is cancelled while each append is under way: the double yields inside it.
    cancel.cancel();
    let events = collect(bench.start("go", &cancel)).await.unwrap();
    assert_eq!(outcome(&events), &TurnOutcome::Cancelled);
    assert_eq!(bench.records().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn cancelling_a_resumed_turn_does_not_begin_the_next() {
    let bench = Bench::new(&script());
    bench.journal.die_at(Some(Death { at: 1, durable: true }));
    let mut stream = bench.start("go", &CancellationToken::new());
    tokio::select! {
        biased;
        () = bench.journal.died.notified() => {}
        () = async { while stream.next().await.is_some() {} } => panic!("it dies"),
    }
    drop(stream);
    bench.journal.die_at(None);
    let cancel = CancellationToken::new();
    cancel.cancel();
    let events = collect(bench.start("next", &cancel)).await.unwrap();
    assert_eq!(outcome(&events), &TurnOutcome::Cancelled);
    assert_eq!(bench.agent.conversation(SESSION).await.unwrap().turns.len(), 1);
    check_next_turn(&bench).await;
}
