//! Agents that search knowledge bases: what their answers cite is checked, and searches are made as the file says.

use std::{fs, sync::Arc};

use async_trait::async_trait;
use puna::{
    AgentSpec, CitationCheck, Completion, Constraint, Content, Event, GenerateRequest, Message, Model,
    ModelEvent, ModelInfo, ModelStream, Result, Role, Stack, StopReason, ToolCall, ToolOutcome, Verdict,
};
use serde_json::{Value, json};

use crate::support::{Puna, root};

/// Says what a test has it say: calls of a turn one after the other, then the answer; in other words what it is asked to
/// put so.
struct Scripted {
    info: ModelInfo,
    calls: Vec<(&'static str, Value)>,
    answer: &'static str,
    questions: Vec<&'static str>,
}

#[async_trait]
impl Model for Scripted {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    async fn generate(&self, request: GenerateRequest) -> Result<ModelStream> {
        let asked = request.messages.iter().rposition(|message| message.role == Role::User).expect("a user");
        let steps =
            request.messages[asked..].iter().filter(|message| message.role == Role::Assistant).count();
        let (message, stop) = match (&request.constraint, self.calls.get(steps)) {
            (Some(Constraint::JsonSchema(schema)), _) => {
                assert_eq!(schema["properties"]["questions"]["minItems"], self.questions.len());
                (
                    Message::assistant(json!({ "questions": self.questions }).to_string()),
                    StopReason::EndOfTurn,
                )
            }
            (_, Some((name, arguments))) => {
                let call =
                    ToolCall { id: String::new(), name: (*name).to_owned(), arguments: arguments.clone() };
                let message = Message { role: Role::Assistant, content: vec![Content::ToolCall(call)] };
                (message, StopReason::ToolCalls)
            }
            _ => (Message::assistant(self.answer), StopReason::EndOfTurn),
        };
        let end = ModelEvent::Finished(Completion { message, stop, usage: Default::default() });
        Ok(Box::pin(futures_util::stream::iter([Ok(end)])))
    }
}

/// What a turn of the agent came to.
#[derive(Default)]
struct Turn {
    /// What the calls gave.
    results: Vec<Value>,
    check: Option<CitationCheck>,
}

/// Takes turns of an agent in one session, each with a model of its own.
fn turns(puna: &Puna, agent: &str, models: Vec<Scripted>) -> Vec<Turn> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let stack = Stack::builder().data_dir(puna.data()).build().expect("a stack");
        let mut turns = Vec::new();
        for model in models {
            let spec = AgentSpec::from_file(agent).unwrap_or_else(|error| panic!("{}", error.report()));
            let agent = stack.agent(spec).model(Arc::new(model)).build().await;
            let agent = agent.unwrap_or_else(|error| panic!("{}", error.report()));
            let mut events = agent.run("s", Message::user("What do llamas do?"), Default::default());
            let mut turn = Turn::default();
            while let Some(event) = events.next().await {
                match event.expect("no errors") {
                    Event::ToolFinished { result, .. } => match result.outcome {
                        ToolOutcome::Success { value } => turn.results.push(value),
                        ToolOutcome::Failure { error } => panic!("{error}"),
                    },
                    Event::CitationsChecked { check } => turn.check = Some(check),
                    _ => {}
                }
            }
            turns.push(turn);
        }
        turns
    })
}

fn scripted(calls: Vec<(&'static str, Value)>, answer: &'static str) -> Scripted {
    let info = ModelInfo { name: "scripted".to_owned(), context_length: 100_000, constraints: true };
    Scripted { info, calls, answer, questions: Vec::new() }
}

fn notes(puna: &Puna) {
    for (name, text) in [
        ("llama.md", "# Llamas\n\nLlamas hum when they are tired, and carry wool over the mountains.\n"),
        ("salt.md", "# Salt\n\nThe salt flat of Uyuni is the largest of the world.\n"),
    ] {
        fs::write(puna.path(name), text).expect("written");
    }
}

const NOTES: &str = "knowledge:\n  - { name: notes, sources: [\"*.md\"], results: 1, mode: keyword }\n";

/// The concierge with these lines added to its file.
fn agent(puna: &Puna, lines: &str) -> String {
    puna.agent(|text| format!("{text}\n{lines}"))
}

fn search(query: &str) -> (&'static str, Value) {
    ("search_notes", json!({ "query": query }))
}

#[test]
fn what_an_answer_cites_is_held_against_what_it_was_given() {
    let puna = Puna::new();
    notes(&puna);
    let first = scripted(
        vec![search("llamas"), search("uyuni")],
        "They “hum when they are tired” [1]. Uyuni is “the largest of the world” [1], not of the moon [7]. \
         They “sing all night long” [2].",
    );
    // A later turn may cite what an earlier one was given.
    let second = scripted(Vec::new(), "As I said, they “carry wool over the mountains” [1].");
    let third = scripted(Vec::new(), "Hello “my dear old friend”.");
    let turns = turns(&puna, &agent(&puna, NOTES), vec![first, second, third]);
    let numbers: Vec<&Value> = turns[0].results.iter().map(|found| &found["sources"][0]["number"]).collect();
    assert_eq!(numbers, [1, 2], "within a turn no number stands for two: {:?}", turns[0].results);
    let check = turns[0].check.as_ref().expect("a check");
    assert!(!check.holds());
    let markers: Vec<(usize, Option<bool>)> = check
        .markers
        .iter()
        .map(|marker| {
            (marker.number, marker.document.as_ref().map(|document| document.ends_with("llama.md")))
        })
        .collect();
    assert_eq!(markers, [(1, Some(true)), (1, Some(true)), (7, None), (2, Some(false))]);
    let verdicts: Vec<&Verdict> = check.quotes.iter().map(|quote| &quote.verdict).collect();
    let [Verdict::Found { source: 1, citation }, Verdict::Misattributed { source: 2 }, Verdict::NotFound] =
        verdicts[..]
    else {
        panic!("{verdicts:?}");
    };
    let span = citation.span.expect("a span");
    let text = fs::read_to_string(puna.path("llama.md")).expect("the file");
    assert_eq!(&text[span.start as usize..span.end as usize], "hum when they are tired");
    assert!(turns[1].check.as_ref().expect("a check").holds(), "{:?}", turns[1].check);
    assert_eq!(turns[2].check, None, "what cites nothing and was given nothing is not checked");
}

#[test]
fn checks_can_be_left_out() {
    let puna = Puna::new();
    notes(&puna);
    let answer = scripted(vec![search("llamas")], "They fly [9].");
    let agent = agent(&puna, &format!("{NOTES}output: {{ citations: false }}\n"));
    let turns = turns(&puna, &agent, vec![answer]);
    assert_eq!(turns[0].check, None);
}

#[test]
fn a_search_is_made_as_the_file_says() {
    let puna = Puna::new();
    notes(&puna);
    fs::write(puna.path("wool.md"), "# Wool\n\nThe fibre of camelids is spun by hand.\n").expect("written");
    let plugin =
        format!("{{ plugin: {}, grants: [store] }}", root().join("plugins/keyword/keyword.wasm").display());
    let knowledge = format!(
        "knowledge:
  - name: notes
    sources: [\"*.md\"]
    mode: keyword
    split: {{ by: recursive, unit: words, size: 8, overlap: 0, parent_size: 60 }}
    parents: true
    filter: {{ not: {{ contains: [_id, salt] }} }}
    rewrites: 2
    retrievers: [{plugin}]
    rerank: late_interaction
    results: 4
    budget: 200
    pack: whole
"
    );
    let agent = puna.agent(|text| {
        // The plugin's tools keep documents, which its retriever finds.
        let text = text.replacen("tools:\n", &format!("tools:\n  - {plugin}\n"), 1);
        format!("{text}\n{knowledge}")
    });
    puna.ok(&["validate", &agent]);
    let herd = json!({ "id": "herd", "text": "A herd of camelids walks to the pasture at dawn." });
    let calls = vec![("index_document", herd), search("What do llamas carry?")];
    let rewrites = ["camelids fibre", "animals carry wool mountains uyuni"];
    let model = Scripted { questions: rewrites.to_vec(), ..scripted(calls, "They carry wool [1].") };
    let turn = turns(&puna, &agent, vec![model]).remove(0);
    let found = &turn.results[1];
    let sources = found["sources"].as_array().expect("sources");
    let of = |end: &str| {
        let is = |source: &&Value| source["document"].as_str().is_some_and(|id| id.ends_with(end));
        sources.iter().find(is)
    };
    let llama = of("llama.md").unwrap_or_else(|| panic!("its own: {found}"));
    assert!(of("wool.md").is_some(), "what only a rewrite finds: {found}");
    assert!(of("herd").is_some(), "what the plugin's retriever finds: {found}");
    assert!(of("salt.md").is_none(), "what the filter leaves out: {found}");
    assert_eq!(found["also_searched"], json!(rewrites));
    let text = llama["text"].as_str().expect("a text");
    assert!(text.starts_with("# Llamas") && text.ends_with("mountains."), "a parent, not its chunk: {text}");
    assert!(turn.check.expect("a check").holds());
}
