//! Exact match of a model on evaluation cases, through the whole loop: chat template, greedy decoding, tool-call
//! parsing.
//!
//! ```text
//! cargo run --release -p puna-inference --example evaluate -- MODEL_FOLDER CASES.jsonl [WRONG.jsonl] [--json SCORES.json] [--free]
//! ```
//!
//! Calls are held to their tools while they are generated; with `--free` nothing is.
//!
//! A case is a line of JSON: `suite`, `held_out` (`values` or `names`: what the training never saw), `messages` and
//! `tools` in the form of OpenAI's chat requests, and `expect`, a `text` or a `call` with `name` and `arguments`.
//! Prints Markdown tables; writes the cases that were answered wrongly to the third file, and what was counted to the
//! one after `--json`.

use std::{
    collections::BTreeMap,
    error::Error,
    fs::{self, File},
    io::{IsTerminal, Write},
    path::Path,
};

use futures_util::StreamExt;
use puna_core::{
    Content, GenerateOptions, GenerateRequest, Message, Model, ModelEvent, Role, ToolCall, ToolError,
    ToolErrorKind, ToolOutcome, ToolResult, ToolSchema,
};
use puna_inference::{LoadOptions, OnnxModel, Runtime};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Longer than any expected answer, so that a wrong one ends.
const MAX_TOKENS: u32 = 160;

#[derive(Deserialize)]
struct Case {
    id: String,
    suite: String,
    held_out: String,
    messages: Vec<Value>,
    tools: Vec<Value>,
    expect: Expect,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Expect {
    Text(String),
    Call { name: String, arguments: Value },
}

/// How many cases of a suite were right, and of its calls how many had each part right.
#[derive(Clone, Default, Serialize)]
struct Score {
    cases: u32,
    exact: u32,
    calls: u32,
    name: u32,
    keys: u32,
    values: u32,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    const USAGE: &str =
        "usage: evaluate MODEL_FOLDER CASES.jsonl [WRONG.jsonl] [--json SCORES.json] [--free]";
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let free =
        arguments.iter().position(|argument| argument == "--free").map(|place| arguments.remove(place));
    let scores_file = match arguments.iter().position(|argument| argument == "--json") {
        Some(place) => Some(arguments.drain(place..).nth(1).ok_or(USAGE)?),
        None => None,
    };
    let (folder, cases, wrong) = match &arguments[..] {
        [folder, cases] => (folder, cases, None),
        [folder, cases, wrong] => (folder, cases, Some(wrong)),
        _ => return Err(USAGE.into()),
    };
    let mut wrong = wrong.map(File::create).transpose()?;
    let cases = fs::read_to_string(cases)?;
    let cases = cases.lines().map(serde_json::from_str).collect::<Result<Vec<Case>, _>>()?;

    let runtime = Runtime::get(&|progress| progress.line().iter().for_each(|line| eprintln!("{line}")))?;
    let model = OnnxModel::load(
        &runtime,
        Path::new(folder),
        LoadOptions { constrain_calls: free.is_none(), ..LoadOptions::default() },
    )?;
    let mut suites: Vec<String> = Vec::new();
    let mut scores: BTreeMap<(String, String), Score> = BTreeMap::new();
    for (done, case) in cases.iter().enumerate() {
        if std::io::stderr().is_terminal() {
            eprint!("\r{} of {} cases", done + 1, cases.len());
        }
        let answer = answer(&model, case).await?;
        if !suites.contains(&case.suite) {
            suites.push(case.suite.clone());
        }
        let score = scores.entry((case.suite.clone(), case.held_out.clone())).or_default();
        if !judge(&case.expect, &answer, score)
            && let Some(wrong) = &mut wrong
        {
            writeln!(
                wrong,
                "{}",
                json!({ "id": case.id, "expected": expected(&case.expect), "got": answer })
            )?;
        }
    }
    eprintln!();

    if let Some(file) = scores_file {
        let rows: Vec<Value> = scores
            .iter()
            .map(|((suite, held_out), score)| json!({ "suite": suite, "held_out": held_out, "score": score }))
            .collect();
        fs::write(file, serde_json::to_string_pretty(&rows)?)?;
    }
    let score = |suite: &str, held_out: &str| scores.get(&(suite.to_owned(), held_out.to_owned()));
    println!("| suite | held-out values | cases | held-out names | cases |\n|---|---|---|---|---|");
    for suite in &suites {
        let cells = ["values", "names"].map(|held_out| match score(suite, held_out) {
            Some(score) => format!("{} | {}", percent(score.exact, score.cases), score.cases),
            None => " | ".to_owned(),
        });
        println!("| {suite} | {} |", cells.join(" | "));
    }
    println!("\n| calls of | held out | exact | name | keys | values |\n|---|---|---|---|---|---|");
    for suite in &suites {
        for held_out in ["values", "names"] {
            if let Some(s) = score(suite, held_out).filter(|score| score.calls > 0) {
                let [exact, name, keys, values] =
                    [s.exact, s.name, s.keys, s.values].map(|right| percent(right, s.calls));
                println!("| {suite} | {held_out} | {exact} | {name} | {keys} | {values} |");
            }
        }
    }
    Ok(())
}

fn percent(part: u32, whole: u32) -> String {
    format!("{:.1} %", 100.0 * f64::from(part) / f64::from(whole.max(1)))
}

async fn answer(model: &OnnxModel, case: &Case) -> Result<Message, Box<dyn Error>> {
    let tool = |tool: &Value| serde_json::from_value::<ToolSchema>(tool["function"].clone());
    let request = GenerateRequest {
        messages: case.messages.iter().map(message).collect::<Result<_, _>>()?,
        tools: case.tools.iter().map(tool).collect::<Result<_, _>>()?,
        options: GenerateOptions {
            max_tokens: Some(MAX_TOKENS),
            temperature: Some(0.0),
            ..Default::default()
        },
        ..Default::default()
    };
    let mut events = model.generate(request).await?;
    while let Some(event) = events.next().await {
        if let ModelEvent::Finished(completion) = event? {
            return Ok(completion.message);
        }
    }
    Err(format!("case `{}` ended without an answer", case.id).into())
}

fn message(value: &Value) -> Result<Message, Box<dyn Error>> {
    let text = value["content"].as_str().ok_or("a message without content")?;
    Ok(match value["role"].as_str() {
        Some("system") => Message::system(text),
        Some("user") => Message::user(text),
        Some("tool") => Message::tool(ToolResult {
            call_id: String::new(),
            name: String::new(),
            outcome: outcome(serde_json::from_str(text)?),
        }),
        Some("assistant") => {
            let calls = value["tool_calls"].as_array().into_iter().flatten().map(|call| {
                Content::ToolCall(ToolCall {
                    id: call["id"].as_str().unwrap_or_default().to_owned(),
                    name: call["function"]["name"].as_str().unwrap_or_default().to_owned(),
                    arguments: call["function"]["arguments"].clone(),
                })
            });
            let text = (!text.is_empty()).then(|| Content::text(text));
            Message { role: Role::Assistant, content: text.into_iter().chain(calls).collect() }
        }
        role => return Err(format!("an unknown role {role:?}").into()),
    })
}

fn outcome(value: Value) -> ToolOutcome {
    match value["error"].as_str() {
        Some(error) => {
            ToolOutcome::Failure { error: ToolError::new(ToolErrorKind::Internal, error.to_owned()) }
        }
        None => ToolOutcome::Success { value },
    }
}

fn expected(expect: &Expect) -> Value {
    match expect {
        Expect::Text(text) => json!(text),
        Expect::Call { name, arguments } => json!({ "name": name, "arguments": arguments }),
    }
}

/// Notes what is right of an answer. True if all is.
fn judge(expect: &Expect, answer: &Message, score: &mut Score) -> bool {
    score.cases += 1;
    let exact = match expect {
        Expect::Text(text) => answer.tool_calls().count() == 0 && answer.plain_text() == *text,
        Expect::Call { name, arguments } => {
            score.calls += 1;
            let call = answer.tool_calls().next();
            let keys = |value: &Value| {
                let mut keys: Vec<String> =
                    value.as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect();
                keys.sort();
                keys
            };
            let named = call.is_some_and(|call| call.name == *name);
            let keyed = call.is_some_and(|call| keys(&call.arguments) == keys(arguments));
            let filled = call.is_some_and(|call| call.arguments == *arguments);
            score.name += u32::from(named);
            score.keys += u32::from(keyed);
            score.values += u32::from(filled);
            named && filled && answer.content.len() == 1
        }
    };
    score.exact += u32::from(exact);
    exact
}
