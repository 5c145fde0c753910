use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use puna_agent::{AgentOptions, Limits};
use puna_core::{
    Event, GenerateOptions, StopReason, Tool, ToolContext, ToolError, ToolOutcome, ToolSchema, TurnOutcome,
};
use serde_json::{Value, json};

use crate::support::{Bench, End, Reply, ScriptedModel, answered, call, outcome, say, transcript};

fn bench(replies: Vec<Reply>, change: impl FnOnce(&mut AgentOptions)) -> Bench {
    Bench::with(ScriptedModel::new(&[("go", replies)]), change)
}

fn one_call(id: &str, ms: u64) -> Reply {
    call(&[(id, "wait", json!({"ms": ms}))])
}

#[tokio::test(start_paused = true)]
async fn the_last_steps_calls_are_not_performed() {
    let replies = vec![one_call("a", 0), one_call("b", 0), say("never")];
    let bench = bench(replies, |options| options.limits.steps = 2);
    assert_eq!(outcome(&bench.run("go").await), &TurnOutcome::StepLimit { limit: 2 });
    assert_eq!(*bench.log.lock().unwrap(), ["a"]);
    assert_eq!(transcript(&bench.messages().await).last().unwrap(), r#"tool: a->{"ms":0}"#);
}

#[tokio::test(start_paused = true)]
async fn an_answer_at_the_last_step_is_an_answer() {
    let bench = bench(vec![one_call("a", 0), say("done")], |options| options.limits.steps = 2);
    assert_eq!(outcome(&bench.run("go").await), &answered("done"));
}

#[tokio::test(start_paused = true)]
async fn tokens_are_counted_over_the_turn() {
    let replies = vec![one_call("a", 0), Reply { tokens: 15, ..one_call("b", 0) }, say("never")];
    let bench = bench(replies, |options| options.limits.tokens = 25);
    assert_eq!(outcome(&bench.run("go").await), &TurnOutcome::TokenLimit { text: String::new() });
    assert_eq!(*bench.log.lock().unwrap(), ["a"]);
    let asked: Vec<_> =
        bench.model.requests.lock().unwrap().iter().map(|request| request.options.max_tokens).collect();
    assert_eq!(asked, [Some(25), Some(15)]);
}

#[tokio::test(start_paused = true)]
async fn the_turns_tokens_bound_the_agents_own_limit_and_need_no_room_of_their_own() {
    // (the agent's max_tokens, the turn's tokens, the context's length) -> what the model is asked for.
    let cases = [
        (Some(7), 100, 1000, vec![Some(7)]),
        (Some(700), 100, 1000, vec![Some(100)]),
        (None, 100, 1000, vec![Some(100)]),
        (None, 1000, 1000, vec![None]),
        (None, 999, 1000, vec![Some(999), None]),
    ];
    for (max_tokens, tokens, context_length, expect) in cases {
        let mut model = ScriptedModel::new(&[("go", vec![say("ok")])]);
        model.info.context_length = context_length;
        let bench = Bench::with(model, |options| {
            options.options = GenerateOptions { max_tokens, ..GenerateOptions::default() };
            options.limits.tokens = tokens;
        });
        assert_eq!(outcome(&bench.run("go").await), &answered("ok"));
        let requests = bench.model.requests.lock().unwrap();
        let asked: Vec<_> = requests.iter().map(|request| request.options.max_tokens).collect();
        assert_eq!(asked, expect, "{max_tokens:?} {tokens} {context_length}");
    }
}

#[tokio::test(start_paused = true)]
async fn time_ends_a_turn_wherever_it_is() {
    let hang = |polite| {
        let mut model = ScriptedModel::new(&[("go", vec![Reply { end: End::Hang, ..say("half") }])]);
        model.polite = polite;
        model
    };
    let slow_start = ScriptedModel::new(&[("go", vec![Reply { before_ms: 60_000, ..say("late") }])]);
    let slow_tool = ScriptedModel::new(&[("go", vec![one_call("a", 60_000), say("late")])]);
    let cases = [
        ("a model that stops", hang(true), vec!["user: go", "assistant: half"]),
        ("a model that does not stop", hang(false), vec!["user: go", "assistant: half"]),
        ("a model that has not begun", slow_start, vec!["user: go"]),
        ("a tool", slow_tool, vec!["user: go"]),
    ];
    for (name, model, expect) in cases {
        let bench = Bench::with(model, |options| options.limits.turn_time = Duration::from_millis(1500));
        let events = bench.run("go").await;
        assert_eq!(outcome(&events), &TurnOutcome::TimeLimit { limit_ms: 1500 }, "{name}");
        assert_eq!(transcript(&bench.messages().await), expect, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_call_fails_and_the_others_do_not() {
    let calls = call(&[("a", "wait", json!({"ms": 5000})), ("b", "wait", json!({"ms": 10}))]);
    let bench = bench(vec![calls, say("ok")], |options| {
        options.limits.call_time = Duration::from_secs(1);
    });
    assert_eq!(outcome(&bench.run("go").await), &answered("ok"));
    let transcript = transcript(&bench.messages().await);
    assert_eq!(transcript[2], "tool: a->timeout: tool `wait` took longer than 1s");
    assert_eq!(transcript[3], r#"tool: b->{"ms":10}"#);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_its_place_is_not_late() {
    let calls = call(&[("a", "wait", json!({"ms": 900})), ("b", "wait", json!({"ms": 900}))]);
    let bench = bench(vec![calls, say("ok")], |options| {
        options.limits.call_time = Duration::from_secs(1);
        options.limits.parallel_calls = 1;
    });
    bench.run("go").await;
    let transcript = transcript(&bench.messages().await);
    assert_eq!(transcript[2..4], [r#"tool: a->{"ms":900}"#, r#"tool: b->{"ms":900}"#]);
}

#[tokio::test(start_paused = true)]
async fn calls_beyond_the_most_of_a_step_are_refused() {
    let ids = ["a", "b", "c"].map(|id| (id, "wait", json!({})));
    let bench = bench(vec![call(&ids), say("ok")], |options| options.limits.calls_per_step = 2);
    assert_eq!(outcome(&bench.run("go").await), &answered("ok"));
    let mut log = bench.log.lock().unwrap().clone();
    log.sort();
    assert_eq!(log, ["a", "b"]);
    let refusal = "tool: c->rate_limited: call 3 of one answer, of which 2 are performed; \
                   ask for it again in the next answer";
    assert_eq!(transcript(&bench.messages().await)[4], refusal);
}

#[tokio::test(start_paused = true)]
async fn a_result_too_large_is_a_failure() {
    let bench = bench(vec![call(&[("a", "flood", json!({}))]), say("ok")], |options| {
        options.limits.result_bytes = 1001;
    });
    bench.run("go").await;
    let expect =
        "tool: a->too_large: the result of `flood` has 1002 bytes, at most 1001 are shown; ask for less";
    assert_eq!(transcript(&bench.messages().await)[2], expect);
}

/// Counts how many of its calls run at once.
struct Crowd {
    schema: ToolSchema,
    now: AtomicUsize,
    most: AtomicUsize,
}

#[async_trait]
impl Tool for Crowd {
    fn schema(&self) -> &ToolSchema {
        &self.schema
    }

    async fn call(&self, _: Value, _: &ToolContext) -> Result<Value, ToolError> {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(10)).await;
        self.now.fetch_sub(1, Ordering::SeqCst);
        Ok(json!(now))
    }
}

#[tokio::test(start_paused = true)]
async fn as_many_calls_run_at_once_as_allowed() {
    for parallel in [1, 3, 10] {
        let parameters = json!({"type": "object"});
        let (name, description) = ("crowd".to_owned(), "Counts.".to_owned());
        let schema = ToolSchema { name, description, parameters, output: None };
        let crowd = Arc::new(Crowd { schema, now: AtomicUsize::new(0), most: AtomicUsize::new(0) });
        let ids = ["a", "b", "c", "d", "e", "f"].map(|id| (id, "crowd", json!({})));
        let bench = bench(vec![call(&ids), say("ok")], |options| {
            options.tools = vec![crowd.clone()];
            options.limits.parallel_calls = parallel;
        });
        let events = bench.run("go").await;
        assert_eq!(crowd.most.load(Ordering::SeqCst), parallel.min(6));
        let good = |event: &&Event| {
            matches!(event, Event::ToolFinished { result, .. }
                if matches!(result.outcome, ToolOutcome::Success { .. }))
        };
        assert_eq!(events.iter().filter(good).count(), 6);
    }
}

#[tokio::test(start_paused = true)]
async fn tokens_spent_before_a_kill_count() {
    // The first process spends 10 of 15 and dies; the second may spend what is left.
    let bench =
        bench(vec![one_call("a", 0), Reply { stop: StopReason::MaxTokens, ..say("cut") }], |options| {
            options.limits = Limits { tokens: 15, ..Limits::default() };
        });
    let mut stream = bench.start("go", &Default::default());
    loop {
        let event = futures_util::StreamExt::next(&mut stream).await.unwrap().unwrap();
        if matches!(event, Event::StepFinished { .. }) {
            break;
        }
    }
    drop(stream);
    let stream = bench.agent.resume(crate::support::SESSION, Default::default()).await.unwrap().unwrap();
    let events = crate::support::collect(stream).await.unwrap();
    assert_eq!(outcome(&events), &TurnOutcome::TokenLimit { text: "cut".into() });
    assert_eq!(bench.model.requests.lock().unwrap().last().unwrap().options.max_tokens, Some(5));
}
