//! Turns whose answer must have a form, and whose calls are chosen.

use puna_agent::{Agent, AgentOptions, OutputSchema, RunOptions};
use puna_core::{
    Constraint, ErrorKind, Event, Message, OutputForm, Record, Role, StopReason, ToolChoice, TurnForm,
    TurnOutcome,
};
use serde_json::{Value, json};

use crate::support::{
    Bench, Death, Reply, SESSION, ScriptedModel, answered, call, collect, outcome, say, transcript,
};

/// A schema with a keyword that constraints do not hold.
fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "city": { "type": "string" },
            "nights": { "type": "array", "items": { "type": "integer" }, "uniqueItems": true },
        },
        "required": ["city"],
        "additionalProperties": false,
    })
}

fn form() -> Option<OutputForm> {
    Some(OutputForm::new(schema()))
}

fn bench(script: &[(&str, Vec<Reply>)], change: impl FnOnce(&mut AgentOptions)) -> Bench {
    Bench::with(ScriptedModel::new(script), |options| {
        options.output = form();
        change(options);
    })
}

fn value(text: &str) -> TurnOutcome {
    TurnOutcome::Answered { text: text.into(), value: Some(serde_json::from_str(text).expect("JSON")) }
}

fn refusals(events: &[Event]) -> Vec<(u32, &str)> {
    let mut found = Vec::new();
    for event in events {
        if let Event::OutputRefused { repair, reason } = event {
            found.push((*repair, reason.as_str()));
        }
    }
    found
}

#[tokio::test(start_paused = true)]
async fn an_answer_comes_with_its_value_and_its_parts() {
    let text = r#"{"city": "Paris", "nights": [1, 2]}"#;
    let bench = bench(&[("go", vec![say(text)])], |_| {});
    let events = bench.run("go").await;
    assert_eq!(outcome(&events), &value(text));
    let parts: Vec<&Value> = events
        .iter()
        .filter_map(|event| match event {
            Event::PartialOutput { value } => Some(value),
            _ => None,
        })
        .collect();
    assert_eq!(parts.first(), Some(&&json!({})));
    assert!(parts.contains(&&json!({"city": "Par"})), "{parts:?}");
    assert_eq!(parts.last(), Some(&&json!({"city": "Paris", "nights": [1, 2]})));
    let deltas = events.iter().filter(|event| matches!(event, Event::TextDelta { .. })).count();
    assert!(parts.len() <= deltas, "at most one for each piece of text");
}

#[tokio::test(start_paused = true)]
async fn a_wrong_answer_is_told_and_asked_for_again() {
    let replies = vec![
        say("Paris!"),
        say(r#"{"city": 3, "nights": [1, 1]}"#),
        say(r#"{"city": "Paris", "nights": [1]}"#),
    ];
    let bench = bench(&[("go", replies)], |_| {});
    let events = bench.run("go").await;
    assert_eq!(outcome(&events), &value(r#"{"city": "Paris", "nights": [1]}"#));
    let refused = refusals(&events);
    assert_eq!(refused[0], (1, "not JSON: character 1: expected a value, got 'P'"));
    assert_eq!(refused[1].0, 2);
    for part in ["at `/city`", "string", "at `/nights`", "unique"] {
        assert!(refused[1].1.contains(part), "no `{part}` in {}", refused[1].1);
    }
    assert!(
        matches!(&events[events.len() - 1], Event::TurnFinished { usage, .. } if usage.completion_tokens == 30)
    );
    let told = transcript(&bench.model.last_messages());
    assert!(told[0].starts_with("system: when you answer") && told[0].contains("uniqueitems"), "{told:?}");
    assert_eq!(told[2], "assistant: paris!");
    assert!(told[3].starts_with("user: your answer does not have the form"), "{told:?}");
    // A later turn reads the session as it was.
    let kinds: Vec<bool> =
        bench.records().iter().map(|record| matches!(record, Record::OutputRefused { .. })).collect();
    assert_eq!(kinds, [false, false, true, false, true, false, false]);
}

#[tokio::test(start_paused = true)]
async fn a_turn_whose_answer_stays_wrong_is_no_success() {
    type Change = fn(&mut AgentOptions);
    let cases: [(usize, Change); 4] = [
        (3, |_| {}),
        (1, |options| options.output.as_mut().expect("a form").repairs = 0),
        (2, |options| options.limits.steps = 2),
        (2, |options| options.limits.tokens = 20),
    ];
    for (asked, change) in cases {
        let bench = bench(&[("go", vec![say("no"), say("no"), say("no")])], change);
        let events = bench.run("go").await;
        let TurnOutcome::InvalidOutput { text, reason } = outcome(&events) else {
            panic!("{:?}", outcome(&events));
        };
        assert_eq!((text.as_str(), reason.contains("not JSON")), ("no", true), "{reason}");
        assert_eq!(bench.model.requests.lock().unwrap().len(), asked);
    }
    // An answer that was cut is told as that, whatever it holds.
    let cut = Reply { stop: StopReason::MaxTokens, ..say("{}") };
    let events = bench(&[("go", vec![cut])], |_| {}).run("go").await;
    assert_eq!(outcome(&events), &TurnOutcome::TokenLimit { text: "{}".into() });
}

#[tokio::test(start_paused = true)]
async fn a_model_is_given_what_it_can_hold() {
    let mut model = ScriptedModel::new(&[("go", vec![say(r#"{"city": "x"}"#)])]);
    model.info.constraints = true;
    let bench = Bench::with(model, |options| options.output = form());
    assert_eq!(outcome(&bench.run("go").await), &value(r#"{"city": "x"}"#));
    let request = bench.model.requests.lock().unwrap()[0].clone();
    assert_eq!(request.constraint, Some(Constraint::JsonSchema(schema())));
    assert!(request.messages.iter().all(|message| message.role != Role::System), "it is not told in words");
}

#[tokio::test(start_paused = true)]
async fn a_call_is_required_of_the_first_step_alone() {
    let script = [("go", vec![call(&[("a", "wait", json!({}))]), say("done")])];
    let choices = |bench: &Bench| -> Vec<ToolChoice> {
        bench.model.requests.lock().unwrap().iter().map(|request| request.tool_choice.clone()).collect()
    };
    for choice in [ToolChoice::Required, ToolChoice::Named("wait".into()), ToolChoice::None] {
        let bench = Bench::with(ScriptedModel::new(&script), |options| {
            options.tool_choice = choice.clone();
            options.parallel_tool_calls = false;
        });
        assert_eq!(outcome(&bench.run("go").await), &answered("done"));
        let then = if choice == ToolChoice::None { ToolChoice::None } else { ToolChoice::Auto };
        assert_eq!(choices(&bench), [choice, then]);
        assert!(bench.model.requests.lock().unwrap().iter().all(|request| !request.parallel_tool_calls));
    }
    // A run has its own.
    let bench = Bench::new(&script);
    let options = RunOptions {
        tool_choice: Some(ToolChoice::Required),
        parallel_tool_calls: Some(false),
        ..RunOptions::default()
    };
    let events = collect(bench.agent.run(SESSION, Message::user("go"), options)).await.expect("no errors");
    assert_eq!(outcome(&events), &answered("done"));
    assert_eq!(choices(&bench), [ToolChoice::Required, ToolChoice::Auto]);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_is_refused_before_anything_begins() {
    let deep = (0..100).fold(json!({}), |inner, _| json!({"items": inner}));
    let wide = json!({"enum": (0..20_000).collect::<Vec<_>>()});
    let doubling: serde_json::Map<String, Value> = (0..40)
        .map(|at| {
            let next = json!({"$ref": format!("#/$defs/d{}", at + 1)});
            (format!("d{at}"), json!({"allOf": [next, next]}))
        })
        .chain([("d40".to_owned(), json!({"type": "string"}))])
        .collect();
    let chain: serde_json::Map<String, Value> = (0..3000)
        .map(|at| (format!("d{at}"), json!({"$ref": format!("#/$defs/d{}", at + 1)})))
        .chain([("d3000".to_owned(), json!({"type": "string"}))])
        .collect();
    let cases = [
        (json!({"type": "strin"}), ErrorKind::InvalidInput, "at `/type`"),
        (json!({"$ref": "https://example.com/s.json"}), ErrorKind::InvalidInput, "not fetched"),
        (json!({"$ref": "file:///etc/passwd"}), ErrorKind::InvalidInput, "not fetched"),
        (json!({"$ref": "#/$defs/none"}), ErrorKind::InvalidInput, "none"),
        (json!([1]), ErrorKind::InvalidInput, "JSON object"),
        (json!({"pattern": "("}), ErrorKind::InvalidInput, "regex"),
        (deep, ErrorKind::ResourceExhausted, "nested deeper"),
        (wide, ErrorKind::ResourceExhausted, "more than 10000 values"),
        (json!({"description": "x".repeat(1 << 20)}), ErrorKind::ResourceExhausted, "bytes"),
        (json!({"$defs": doubling, "$ref": "#/$defs/d0"}), ErrorKind::ResourceExhausted, "references"),
        (json!({"$defs": chain, "$ref": "#/$defs/d0"}), ErrorKind::ResourceExhausted, "references"),
    ];
    for (schema, kind, part) in cases {
        let bench = Bench::new(&[]);
        let options = RunOptions { output: Some(OutputForm::new(schema.clone())), ..RunOptions::default() };
        let error = collect(bench.agent.run(SESSION, Message::user("go"), options)).await.expect_err(part);
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(part), "no `{part}` in {error}");
        assert!(bench.records().is_empty(), "nothing began");
        let mut options = AgentOptions::new("a", bench.model.clone(), bench.journal.clone());
        options.output = Some(OutputForm::new(schema));
        assert_eq!(Agent::new(options).expect_err(part).kind(), kind);
    }
    for (choice, kind) in [
        (ToolChoice::Required, ErrorKind::InvalidInput),
        (ToolChoice::Named("wait".into()), ErrorKind::NotFound),
    ] {
        let bench = Bench::new(&[]);
        let mut options = AgentOptions::new("a", bench.model.clone(), bench.journal.clone());
        options.tool_choice = choice;
        assert_eq!(Agent::new(options).expect_err("no tools").kind(), kind);
    }
}

/// Definitions that refer to themselves are no doubling.
#[tokio::test(start_paused = true)]
async fn trees_are_fine() {
    let node = json!({
        "type": "object",
        "properties": { "left": { "$ref": "#" }, "right": { "$ref": "#/$defs/node" } },
        "additionalProperties": false,
    });
    let mut schema = node.clone();
    schema["$defs"] = json!({ "node": node });
    let text = r#"{"left": {"right": {}}}"#;
    let bench = Bench::with(ScriptedModel::new(&[("go", vec![say(text)])]), |options| {
        options.output = Some(OutputForm::new(schema));
    });
    assert_eq!(outcome(&bench.run("go").await), &value(text));
}

/// Schemas whose check would take time that doubles with each level of a value: the check ends, and says why.
#[tokio::test(start_paused = true)]
async fn checks_that_would_take_for_ever_are_refused() {
    let twice = |keyword: &str, reference: Value| {
        let below = json!({"properties": {"x": reference}});
        json!({"properties": {"x": reference}, keyword: [below, below, below]})
    };
    let schemas = [
        twice("allOf", json!({"$ref": "#"})),
        twice("anyOf", json!({"$ref": "#/$defs/none"})),
        json!({"$ref": "#/$defs/a", "$defs": {"a": twice("allOf", json!({"$ref": "#/$defs/a"}))}}),
        json!({"$ref": "#a", "$defs": {"a": {"$anchor": "a", "allOf": [
            {"properties": {"x": {"$ref": "#a"}}}, {"additionalProperties": {"$ref": "#a"}},
        ]}}}),
        json!({"$dynamicRef": "#a", "$dynamicAnchor": "a", "allOf": [
            {"properties": {"x": {"$dynamicRef": "#a"}}}, {"patternProperties": {"^x": {"$dynamicRef": "#a"}}},
        ]}),
        json!({"$id": "https://example.com/a", "oneOf": [
            {"properties": {"x": {"$ref": "https://example.com/a"}}},
            {"properties": {"x": {"$ref": "https://example.com/a"}}, "required": ["x", "y"]},
        ]}),
        json!({"if": {"properties": {"x": {"$ref": "#"}}}, "then": {"properties": {"x": {"$ref": "#"}}}}),
        // Names of data and of definitions that look like keywords.
        json!({"$ref": "#/properties/const", "properties": {"const": {
            "not": {"not": {"properties": {"x": {"$ref": "#/properties/const"}}}},
            "properties": {"x": {"$ref": "#/properties/const"}},
        }}}),
    ];
    let text = (0..100).fold("7".to_owned(), |inner, _| format!("{{\"x\": {inner}}}"));
    let mut refused = Vec::new();
    for mut schema in schemas {
        if schema.to_string().contains("/none") {
            schema["$defs"] = json!({"none": schema.clone()});
        }
        // As it is, which anything satisfies, and with each level an object, which the innermost is not.
        let mut strict: Value = serde_json::from_str(
            &schema.to_string().replace(r#"{"properties""#, r#"{"type":"object","properties""#),
        )
        .expect("JSON");
        strict["type"] = json!("object");
        for schema in [schema, strict] {
            let output = OutputSchema::new(&schema).unwrap_or_else(|error| panic!("{schema}: {error}"));
            match output.read(&text).map_err(|error| (error.kind(), error.to_string())) {
                Err((ErrorKind::InvalidInput, reason)) => refused.push(reason),
                read => assert!(read.is_ok(), "{schema}: {read:?}"),
            }
        }
    }
    // What is wrong with these would take too long to tell.
    assert!(refused.iter().filter(|reason| **reason == "it does not satisfy the schema").count() > 5);
    let many = json!({"items": {"allOf": vec![json!({"type": "integer"}); 200]}});
    let output = OutputSchema::new(&many).expect("a schema");
    let error = output.read(&json!(vec![7; 100_000]).to_string()).expect_err("too much");
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    assert!(error.to_string().contains("more than 10000000 steps"), "{error}");
    assert_eq!(output.read("[7, 7]").expect("a value"), json!([7, 7]), "what is checked in time still is");
    // Data is data, whatever it looks like.
    let data = json!({"enum": [{"$id": 1, "properties": {}}], "default": {"allOf": [{}]}});
    OutputSchema::new(&data).expect("a schema").read(r#"{"$id": 1, "properties": {}}"#).expect("the value");
    // A large answer is none that takes too long.
    let items =
        json!({"type": "array", "items": {"type": "object", "properties": {"n": {"type": "integer"}}}});
    let answer = json!((0..100_000).map(|n| json!({"n": n})).collect::<Vec<_>>()).to_string();
    OutputSchema::new(&items).expect("a schema").read(&answer).expect("the value");
}

/// JSON in a code fence is as good as alone; other text around it is not.
#[tokio::test(start_paused = true)]
async fn a_code_fence_is_taken_off() {
    let json = "{\"city\": \"a ``` b\",\n \"nights\": [1]}";
    let wanted: Value = serde_json::from_str(json).expect("JSON");
    let output = OutputSchema::new(&schema()).expect("a schema");
    for (text, read) in [
        (format!("```json\n{json}\n```"), true),
        (format!("\n ```JSON \r\n{json}```  \n"), true),
        (format!("```\n{json}\n```"), true),
        (format!("```json\n\n{json}\n"), true),
        (json.to_owned(), true),
        (format!("``\n{json}\n``"), false),
        (format!("````json\n{json}\n````"), false),
        (format!("```json\n{json}\n````"), false),
        (format!("```json\n{json}\n``` Done."), false),
        (format!("```json\n{json}\n```\n```json\n{json}\n```"), false),
        (format!("```json\n{json}\n``"), true),
        (format!("```json\n{json} x\n```"), false),
        (format!("Here it is:\n```json\n{json}\n```"), false),
        (format!("```{json}```"), false),
        (format!("```json {json}```"), false),
        ("```json\n```".to_owned(), false),
        ("```".to_owned(), false),
        ("`".to_owned(), false),
        ("```json\n{\"city\": ```".to_owned(), false),
        (format!("```a_name_that_is_too_long_for_one\n{json}\n```"), false),
    ] {
        let value = output.read(&text);
        assert_eq!(value.is_ok(), read, "{text}: {value:?}");
        value.into_iter().for_each(|value| assert_eq!(value, wanted, "{text}"));
    }
    // No repair is needed, the value is shown while it is written, and the record keeps what was said.
    let fenced = format!("```json\n{json}\n```");
    let bench = bench(&[("go", vec![say(&fenced)])], |_| {});
    let events = bench.run("go").await;
    assert_eq!(outcome(&events), &TurnOutcome::Answered { text: fenced, value: Some(wanted.clone()) });
    assert!(refusals(&events).is_empty());
    let mut shown = events.iter().filter_map(|event| match event {
        Event::PartialOutput { value } => Some(value),
        _ => None,
    });
    assert_eq!(shown.next_back(), Some(&wanted));
}

/// A process that dies at any append, before or after it is durable: the next one goes on in the turn's own form, even
/// where its agent has another.
#[tokio::test(start_paused = true)]
async fn a_turn_keeps_its_form_across_processes() {
    let script = [("go", vec![call(&[("a", "wait", json!({}))]), say("wrong"), say(r#"{"city": "Paris"}"#)])];
    let mut died = 0;
    for at in 0..6 {
        for durable in [false, true] {
            let bench = Bench::new(&script);
            bench.journal.die_at(Some(Death { at, durable }));
            let options = RunOptions {
                output: form(),
                tool_choice: Some(ToolChoice::Required),
                ..RunOptions::default()
            };
            let stream = bench.agent.run(SESSION, Message::user("go"), options);
            let ended = tokio::select! {
                biased;
                () = bench.journal.died.notified() => None,
                events = collect(stream) => Some(events.expect("no errors")),
            };
            died += usize::from(ended.is_none());
            bench.journal.die_at(None);
            let resumed = bench.agent.resume(SESSION, Default::default()).await.expect("no errors");
            let events = match (ended, resumed) {
                (Some(events), None) => events,
                (None, Some(stream)) => collect(stream).await.expect("no errors"),
                // Died before the input was durable, or after the end was.
                (None, None) if bench.records().is_empty() => continue,
                (None, None) => {
                    let turns = bench.agent.conversation(SESSION).await.expect("a session").turns;
                    assert_eq!(turns[0].outcome, Some(value(r#"{"city": "Paris"}"#)));
                    continue;
                }
                (Some(_), Some(_)) => panic!("a turn that ended goes on"),
            };
            assert_eq!(outcome(&events), &value(r#"{"city": "Paris"}"#), "{at} {durable}");
            let wanted =
                TurnForm { output: form(), tool_choice: ToolChoice::Required, ..TurnForm::default() };
            let turns = bench.agent.conversation(SESSION).await.expect("a session").turns;
            assert_eq!(turns[0].form, wanted);
            assert_eq!(turns[0].steps[1].refused.as_deref().map(|reason| reason.len() > 5), Some(true));
        }
    }
    assert!(died >= 8, "{died} died");
}

/// What a journal holds that an older version, or somebody's hand, wrote.
#[tokio::test(start_paused = true)]
async fn journals_that_end_before_the_answer_was_checked() {
    let started = |schema: Value| Record::TurnStarted {
        turn: "t".into(),
        agent: "tester".into(),
        message: Message::user("go"),
        form: TurnForm { output: Some(OutputForm::new(schema)), ..TurnForm::default() },
        user: None,
    };
    let step = |text: &str| Record::Step { message: Message::assistant(text), usage: Default::default() };
    let bench = Bench::new(&[("go", vec![say("wrong"), say(r#"{"city": "x"}"#)])]);
    bench.journal.write(SESSION, &[started(schema()), step("wrong")]);
    let stream = bench.agent.resume(SESSION, Default::default()).await.expect("no errors").expect("a turn");
    let events = collect(stream).await.expect("no errors");
    assert_eq!(refusals(&events).len(), 1);
    assert_eq!(outcome(&events), &value(r#"{"city": "x"}"#));

    let bench = Bench::new(&[]);
    bench.journal.write(SESSION, &[started(json!({"type": 1}))]);
    let stream = bench.agent.resume(SESSION, Default::default()).await.expect("no errors").expect("a turn");
    let events = collect(stream).await.expect("no errors");
    assert!(matches!(outcome(&events), TurnOutcome::Failed { kind, .. } if kind == "invalid_input"));

    let refused = Record::OutputRefused { reason: "no".into() };
    for records in [
        vec![refused.clone()],
        vec![started(schema()), refused.clone()],
        vec![started(schema()), step("x"), refused.clone(), refused.clone()],
    ] {
        let bench = Bench::new(&[]);
        bench.journal.write(SESSION, &records);
        let error = bench.agent.conversation(SESSION).await.expect_err("what does not follow");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
}

#[derive(Debug, PartialEq, serde::Deserialize, schemars::JsonSchema)]
struct Stay {
    city: String,
    #[serde(default)]
    nights: Vec<u8>,
}

#[tokio::test(start_paused = true)]
async fn typed_answers() {
    let run = |replies: Vec<Reply>| {
        let bench = Bench::new(&[("go", replies)]);
        bench.agent.run_typed::<Stay>(SESSION, Message::user("go"), RunOptions::default())
    };
    let mut stream = run(vec![say("no"), say(r#"{"city": "Paris", "nights": [3]}"#)]);
    let mut parts = 0;
    while let Some(event) = stream.next().await {
        parts += usize::from(matches!(event.expect("no errors"), Event::PartialOutput { .. }));
    }
    assert!(parts > 3, "{parts} parts");
    assert_eq!(stream.value().await.expect("a value"), Stay { city: "Paris".into(), nights: vec![3] });

    let stream = run(vec![say(r#"{"city": "Paris"}"#)]);
    assert_eq!(stream.value().await.expect("a value").nights, [0; 0]);
    let error = run(vec![say("no"), say("no"), say("no")]).value().await.expect_err("no value");
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    assert!(error.to_string().contains("not JSON"), "{error}");
    let failing = Reply { end: crate::support::End::Error(ErrorKind::Unavailable), ..say("") };
    assert_eq!(run(vec![failing]).value().await.expect_err("no value").kind(), ErrorKind::Unavailable);
}
