//! Models that are asked for a value.

use std::sync::Mutex;

use async_trait::async_trait;
use futures_util::{FutureExt, stream};
use puna_core::{
    Ask, CancellationToken, Completion, ErrorKind, GenerateRequest, Message, Model, ModelEvent, ModelInfo,
    ModelStream, Result, StopReason, Usage,
};
use serde_json::{Value, json};

/// A model that answers one thing, and ends so; without a reason, it does not end.
struct Scripted {
    info: ModelInfo,
    answer: &'static str,
    stop: Option<StopReason>,
    asked: Mutex<Vec<GenerateRequest>>,
}

#[async_trait]
impl Model for Scripted {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    async fn generate(&self, request: GenerateRequest) -> Result<ModelStream> {
        self.asked.lock().unwrap().push(request);
        let message = Message::assistant(self.answer);
        let events = self
            .stop
            .map(|stop| Ok(ModelEvent::Finished(Completion { message, stop, usage: Usage::default() })));
        Ok(Box::pin(stream::iter(events)))
    }
}

fn scripted(answer: &'static str, stop: Option<StopReason>, constraints: bool) -> Scripted {
    let info = ModelInfo { name: "scripted".to_owned(), context_length: 100, constraints };
    Scripted { info, answer, stop, asked: Mutex::default() }
}

fn ask(model: &Scripted) -> Result<Vec<u32>> {
    let ask = Ask {
        what: "list of numbers",
        instructions: "Count.".to_owned(),
        text: "To three.".to_owned(),
        schema: json!({"type": "array"}),
        max_tokens: 7,
        cancel: CancellationToken::new(),
        deadline: None,
    };
    ask.of(model).now_or_never().expect("a scripted model does not wait")
}

#[test]
fn values_are_read_and_what_is_none_is_told() {
    use StopReason::{Cancelled, ContextFull, Deadline, EndOfTurn, MaxTokens};
    for answer in ["[1, 2]", " [1,2]\n", "```json\n[1, 2]\n```", "```\n[1, 2]\n```\n", "```json\n[1, 2]"] {
        assert_eq!(ask(&scripted(answer, Some(EndOfTurn), true)).expect("numbers"), [1, 2], "{answer:?}");
    }
    for (answer, stop, kind, message) in [
        ("[1, -2]", Some(EndOfTurn), ErrorKind::InvalidInput, "does not have its form"),
        ("Here: [1]", Some(EndOfTurn), ErrorKind::InvalidInput, "does not have its form"),
        ("[1", Some(MaxTokens), ErrorKind::ResourceExhausted, "longer than the 7 tokens"),
        ("[1", Some(ContextFull), ErrorKind::ResourceExhausted, "longer than the 7 tokens"),
        ("[1", Some(Cancelled), ErrorKind::Cancelled, "was stopped"),
        ("[1", Some(Deadline), ErrorKind::Cancelled, "was stopped"),
        ("[1", None, ErrorKind::Internal, "without finishing"),
    ] {
        let error = ask(&scripted(answer, stop, true)).expect_err("no numbers");
        assert_eq!(error.kind(), kind, "{answer} {stop:?}");
        let told = error.to_string();
        assert!(told.contains(message) && told.contains("list of numbers"), "{told}");
    }
}

/// A model that can be held to a form is, and is not told it; another is told.
#[test]
fn the_form_is_held_or_told() {
    for constraints in [true, false] {
        let model = scripted("[]", Some(StopReason::EndOfTurn), constraints);
        assert_eq!(ask(&model).expect("numbers"), Vec::<u32>::new());
        let asked = model.asked.lock().unwrap();
        let (told, said) = (asked[0].messages[0].plain_text(), asked[0].messages[1].plain_text());
        assert_eq!(asked[0].constraint.is_some(), constraints);
        assert_eq!(told.contains(&Value::to_string(&json!({"type": "array"}))), !constraints, "{told}");
        assert!(told.starts_with("Count.") && said == "To three.", "{told} {said}");
        assert_eq!((asked[0].options.max_tokens, asked[0].options.temperature), (Some(7), Some(0.0)));
    }
}
