//! A guest that does with the host what a test asks for: each tool is one function of the host.

use std::cell::Cell;

use puna_plugin::{
    Attachment, Contents, Document, Documents, Error, ErrorKind, Hit, Hits, Query, Source, clock, config,
    files, http, models, progress, random, secrets, sql, store,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Any JSON object.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
struct Any(serde_json::Map<String, Value>);

fn any(value: Value) -> Result<Any, Error> {
    match value {
        Value::Object(map) => Ok(Any(map)),
        _ => Err(Error::internal("no object")),
    }
}

#[derive(Deserialize, JsonSchema)]
struct Nothing {}

fn now(_: Nothing) -> Result<Any, Error> {
    any(json!({"seconds": clock::now()?.as_secs()}))
}

#[derive(Deserialize, JsonSchema)]
struct Length {
    length: u32,
}

fn bytes(arguments: Length) -> Result<Any, Error> {
    any(json!({"bytes": random::bytes(arguments.length)?}))
}

/// The plugin's configuration.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Said back.
    greeting: Option<String>,
}

puna_plugin::config!(Config);

fn configuration(_: Nothing) -> Result<Any, Error> {
    let config: Option<Config> = config::get()?;
    any(json!({"greeting": config.and_then(|config| config.greeting)}))
}

#[derive(Deserialize, JsonSchema)]
struct Name {
    name: String,
}

fn secret(arguments: Name) -> Result<Any, Error> {
    any(json!({"exists": secrets::exists(&arguments.name)}))
}

#[derive(Deserialize, JsonSchema)]
struct Request {
    method: Option<String>,
    url: String,
    headers: Option<Vec<(String, String)>>,
    body: Option<String>,
    /// How often it is sent.
    times: Option<u32>,
}

fn send(arguments: Request) -> Result<Any, Error> {
    let request = http::Request {
        method: arguments.method.unwrap_or_else(|| "GET".to_owned()),
        url: arguments.url,
        headers: arguments.headers.unwrap_or_default(),
        body: arguments.body.unwrap_or_default().into_bytes(),
    };
    for _ in 1..arguments.times.unwrap_or(1) {
        http::send(request.clone())?;
    }
    let response = http::send(request)?;
    any(json!({
        "status": response.status,
        "url": response.url,
        "headers": response.headers,
        "body": String::from_utf8_lossy(&response.body),
    }))
}

#[derive(Deserialize, JsonSchema)]
struct Keep {
    key: String,
    value: Option<String>,
}

fn keep(arguments: Keep) -> Result<Any, Error> {
    store::write(vec![(arguments.key, arguments.value.map(String::into_bytes))])?;
    any(json!({}))
}

fn kept(arguments: Name) -> Result<Any, Error> {
    let value = store::get(&arguments.name)?;
    any(json!({"value": value.map(|value| String::from_utf8_lossy(&value).into_owned())}))
}

#[derive(Deserialize, JsonSchema)]
struct Keys {
    prefix: String,
    after: Option<String>,
    limit: u32,
}

fn keys(arguments: Keys) -> Result<Any, Error> {
    any(json!({"keys": store::keys(&arguments.prefix, arguments.after.as_deref(), arguments.limit)?}))
}

#[derive(Deserialize, JsonSchema)]
struct File {
    path: String,
    content: Option<String>,
}

fn list(arguments: File) -> Result<Any, Error> {
    let entries = files::list(&arguments.path)?;
    let names: Vec<String> = entries.into_iter().map(|entry| entry.name).collect();
    any(json!({"names": names}))
}

fn read(arguments: File) -> Result<Any, Error> {
    let content = files::read(&arguments.path, 1 << 30)?;
    any(json!({"bytes": content.len(), "start": String::from_utf8_lossy(&content[..content.len().min(100)])}))
}

fn write(arguments: File) -> Result<Any, Error> {
    files::write(&arguments.path, arguments.content.unwrap_or_default().as_bytes())?;
    any(json!({"size": files::stat(&arguments.path)?.size}))
}

fn create_folder(arguments: File) -> Result<Any, Error> {
    files::create_folder(&arguments.path)?;
    any(json!({}))
}

fn remove(arguments: File) -> Result<Any, Error> {
    files::remove(&arguments.path)?;
    any(json!({}))
}

#[derive(Deserialize, JsonSchema)]
struct Texts {
    texts: Vec<String>,
}

fn embed(arguments: Texts) -> Result<Any, Error> {
    any(json!({"vectors": models::embed(&arguments.texts)?}))
}

#[derive(Deserialize, JsonSchema)]
struct Prompt {
    prompt: String,
    max_tokens: Option<u32>,
}

fn generate(arguments: Prompt) -> Result<Any, Error> {
    let text = models::generate(None, &arguments.prompt, arguments.max_tokens.unwrap_or(16))?;
    any(json!({"text": text}))
}

#[derive(Deserialize, JsonSchema)]
struct Statement {
    database: String,
    statement: Option<String>,
    parameters: Option<Vec<Value>>,
    rows: Option<u32>,
}

fn query(arguments: Statement) -> Result<Any, Error> {
    let Some(statement) = arguments.statement else {
        return any(json!({"tables": sql::describe(&arguments.database)?}));
    };
    let parameters = arguments.parameters.unwrap_or_default();
    let rows = sql::query(&arguments.database, &statement, &parameters, arguments.rows.unwrap_or(100))?;
    any(json!({"columns": rows.columns, "rows": rows.rows, "more": rows.more}))
}

fn report(arguments: Length) -> Result<Contents, Error> {
    for step in 0..arguments.length {
        progress::report(Some(step as f32 / arguments.length as f32), format!("step {step}"));
    }
    let file = |name: &str, media_type: &str| Attachment {
        name: name.to_owned(),
        media_type: media_type.to_owned(),
        content: b"abc".to_vec(),
    };
    Ok(Contents::default().text("done").image(file("a.png", "image/png")).file(file("b.csv", "text/csv")))
}

thread_local! {
    static CALLS: Cell<u32> = const { Cell::new(0) };
}

fn count(_: Nothing) -> Result<Any, Error> {
    CALLS.set(CALLS.get() + 1);
    any(json!({"calls": CALLS.get()}))
}

#[derive(Deserialize, JsonSchema)]
struct Loaded {
    documents: u32,
    /// Length of each text.
    length: u32,
    /// The document in whose place there is an error.
    fails_at: Option<u32>,
}

fn numbers(source: Source, options: Loaded) -> Result<Documents, Error> {
    let size = source.content.as_ref().map_or(0, puna_plugin::loader::Blob::size);
    let text = "x".repeat(options.length as usize);
    Ok(Box::new((0..options.documents).map(move |number| {
        if options.fails_at == Some(number) {
            return Err(Error::new(ErrorKind::InvalidInput, format!("document {number} is broken")));
        }
        Ok(Document::new(number.to_string(), text.clone()).with("source bytes", size))
    })))
}

fn lines(source: Source, _: Nothing) -> Result<Documents, Error> {
    use std::io::{BufRead as _, BufReader};
    let lines = BufReader::new(source.blob()?).lines().enumerate();
    Ok(Box::new(lines.map(|(number, line)| Ok(Document::new(format!("line {}", number + 1), line?)))))
}

puna_plugin::loaders! {
    "numbers": numbers => { description: "As many documents as it is told.", media_types: [], extensions: [] },
    "lines": lines => { description: "One document a line.", media_types: ["text/plain"], extensions: ["txt"] },
}

#[derive(Deserialize, JsonSchema)]
struct Echoed {
    /// The score of the first hit.
    score: Option<f64>,
}

fn echo(query: Query, options: Echoed) -> Result<Hits, Error> {
    let from: usize = query.page.as_deref().unwrap_or("0").parse().unwrap_or_default();
    let hit = |rank: usize| Hit {
        document: format!("document {}", from + rank),
        text: query.text.clone(),
        span: Some((0, query.text.len() as u64)),
        score: options.score.unwrap_or(1.0) - rank as f64 * 0.01,
        ..Hit::default()
    };
    let next = from + query.k;
    Ok(Hits { hits: (0..query.k).map(hit).collect(), next: (next < 6).then(|| next.to_string()) })
}

puna_plugin::retrievers! {
    "echo": echo => "Finds the question itself, six times.",
}

puna_plugin::tools! {
    "now": now => "Tell the time.",
    "bytes": bytes => "Draw random bytes.",
    "configuration": configuration => "Tell the configuration.",
    "secret": secret => "Tell whether a secret exists.",
    "send": send => "Send a request.",
    "keep": keep => "Keep a value.",
    "kept": kept => "Tell a kept value.",
    "keys": keys => "Tell the keys.",
    "list": list => "Tell what a folder holds.",
    "read": read => "Read a file.",
    "write": write => "Write a file.",
    "create_folder": create_folder => "Make a folder.",
    "remove": remove => "Remove a file.",
    "embed": embed => "Embed texts.",
    "generate": generate => "Ask the model.",
    "query": query => "Ask a database.",
    "report": report => "Report progress and give files.",
    "count": count => "Count the calls of this instance.",
}
