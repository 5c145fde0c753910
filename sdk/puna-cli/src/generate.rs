use std::{
    fs::File,
    io::{Read, Write},
    process::ExitCode,
};

use futures_util::StreamExt;
use puna::{
    BeamOptions, Completion, Constraint, DryOptions, Error, ErrorKind, GenerateOptions, GenerateRequest,
    Message, Model, ModelEvent, ModelStream, OutputSchema, Result, StopReason,
    inference::{CompletionRequest, LoadOptions},
};
use serde::Serialize;
use serde_json::Value;

use crate::{
    args::{GenerateArgs, SamplingArgs},
    exit, model, render,
    run::{self, closed_output},
    sessions::print_json,
    spec::print_line,
};

/// An answer, as JSON shows it.
#[derive(Serialize)]
struct Choice {
    message: Message,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Value>,
    stop: StopReason,
    usage: puna::Usage,
}

pub(crate) async fn generate(args: GenerateArgs) -> Result<ExitCode> {
    let input = run::input(args.input.as_deref())?;
    let constraint = constraint(&args)?;
    let schema = match &constraint {
        Some(Constraint::JsonSchema(schema)) => Some(OutputSchema::new(schema)?),
        _ => None,
    };
    let options = LoadOptions { needs_template: !args.raw, ..args.load.options() };
    let model = model::open(&args.folder, options)?;
    let adapter = args.adapter;
    model::load_adapter(&model, adapter.as_deref())?;
    let cancel = run::cancel_on_ctrl_c();
    let options = args.sampling.options();
    let streams = if args.raw {
        let prompt = model.tokens(&input)?;
        let request = CompletionRequest {
            prompt,
            options,
            constraint,
            adapter,
            cancel,
            ..CompletionRequest::default()
        };
        vec![model.complete(request)?]
    } else {
        let mut messages = vec![Message::user(input)];
        if let Some(system) = args.system {
            messages.insert(0, Message::system(system));
        }
        let request =
            GenerateRequest { messages, options, constraint, adapter, cancel, ..GenerateRequest::default() };
        match args.choices {
            1 => vec![model.generate(request).await?],
            count => model.choices(&request, count)?,
        }
    };
    let several = streams.len() > 1;
    let mut choices = Vec::new();
    // Read one after the other; they are all written meanwhile.
    for (index, stream) in streams.into_iter().enumerate() {
        if several && !args.json {
            anstream::eprintln!("{}choice {}{}", render::DIM, index + 1, render::RESET);
        }
        // A value is shown once it is whole and right.
        let completion = read(stream, !args.json && schema.is_none()).await?;
        let value = schema.as_ref().map(|schema| value_of(&completion, schema));
        let value = value.transpose()?.flatten();
        if let Some(value) = value.as_ref().filter(|_| !args.json) {
            print_line(&value.to_string())?;
        }
        choices.push((completion, value));
    }
    let cancelled = choices.iter().any(|(choice, _)| choice.stop == StopReason::Cancelled);
    if args.json {
        let shown = |(Completion { message, stop, usage }, value)| Choice { message, value, stop, usage };
        print_json(&choices.into_iter().map(shown).collect::<Vec<_>>())?;
    }
    Ok(if cancelled { exit::cancelled() } else { ExitCode::SUCCESS })
}

/// Largest grammar that is read, in bytes; the model takes less.
const MAX_GRAMMAR_BYTES: u64 = 1 << 20;

/// The form that the answer is asked to have.
fn constraint(args: &GenerateArgs) -> Result<Option<Constraint>> {
    if let Some(file) = &args.schema {
        return Ok(Some(Constraint::JsonSchema(puna::read_schema(file)?)));
    }
    if let Some(file) = &args.grammar {
        let fail = |error| Error::from_io("read the grammar", file, error);
        let mut grammar = String::new();
        let opened = File::open(file).map_err(fail)?;
        opened.take(MAX_GRAMMAR_BYTES).read_to_string(&mut grammar).map_err(fail)?;
        return Ok(Some(Constraint::Lark(grammar)));
    }
    Ok(args.regex.clone().map(Constraint::Regex))
}

/// The value of an answer; none for one that was cancelled.
///
/// # Errors
/// For an answer that was cut off, or does not satisfy what constraints do not hold.
fn value_of(completion: &Completion, schema: &OutputSchema) -> Result<Option<Value>> {
    if completion.stop == StopReason::Cancelled {
        return Ok(None);
    }
    let wrong = |error: Error| {
        let cut = matches!(completion.stop, StopReason::MaxTokens | StopReason::ContextFull);
        let what = if cut { "the answer was cut; raise `--max-tokens`" } else { "the answer is wrong" };
        // What an answer that used up its limit gives.
        Error::new(ErrorKind::Timeout, what).with_source(error)
    };
    schema.read(&completion.message.plain_text()).map(Some).map_err(wrong)
}

/// Reads an answer, and shows its text as it comes.
async fn read(mut stream: ModelStream, show: bool) -> Result<Completion> {
    let mut out = anstream::stdout();
    while let Some(event) = stream.next().await {
        match event? {
            ModelEvent::TextDelta(text) if show => {
                write!(out, "{}", render::printable(&text))
                    .and_then(|()| out.flush())
                    .map_err(closed_output)?;
            }
            ModelEvent::Finished(completion) => {
                if show {
                    writeln!(out).map_err(closed_output)?;
                }
                return Ok(completion);
            }
            _ => {}
        }
    }
    Err(Error::internal("the answer ended without an end"))
}

impl SamplingArgs {
    fn options(&self) -> GenerateOptions {
        GenerateOptions {
            max_tokens: self.max_tokens,
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            typical_p: self.typical_p,
            frequency_penalty: self.frequency_penalty,
            presence_penalty: self.presence_penalty,
            dry: self.dry.map(|multiplier| DryOptions { multiplier, ..DryOptions::default() }),
            beam: self.beams.map(|beams| BeamOptions {
                beams,
                length_penalty: self.length_penalty,
                ..BeamOptions::default()
            }),
            seed: self.seed,
            stop: self.stop.clone(),
        }
    }
}
