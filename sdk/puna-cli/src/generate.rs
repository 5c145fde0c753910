use std::{io::Write, path::Path, process::ExitCode};

use futures_util::StreamExt;
use puna::{
    BeamOptions, Completion, DryOptions, Error, GenerateOptions, GenerateRequest, Message, Model, ModelEvent,
    ModelStream, Result, StopReason,
    inference::{CompletionRequest, LoadOptions},
};
use serde::Serialize;

use crate::{
    args::{GenerateArgs, SamplingArgs},
    exit, model, render,
    run::{self, closed_output},
    sessions::print_json,
};

/// An answer, as JSON shows it.
#[derive(Serialize)]
struct Choice {
    message: Message,
    stop: StopReason,
    usage: puna::Usage,
}

pub(crate) async fn generate(args: GenerateArgs) -> Result<ExitCode> {
    let input = run::input(args.input.as_deref())?;
    let options = LoadOptions { needs_template: !args.raw, ..args.load.options() };
    let model = model::open(&args.folder, options)?;
    let adapter = args.adapter;
    if let Some(file) = adapter.as_deref().filter(|name| Path::new(name).is_file()) {
        model.load_adapter(file, Path::new(file))?;
    }
    let cancel = run::cancel_on_ctrl_c();
    let options = args.sampling.options();
    let streams = if args.raw {
        let prompt = model.tokens(&input)?;
        let request = CompletionRequest { prompt, options, adapter, cancel, ..CompletionRequest::default() };
        vec![model.complete(request)?]
    } else {
        let mut messages = vec![Message::user(input)];
        if let Some(system) = args.system {
            messages.insert(0, Message::system(system));
        }
        let request = GenerateRequest { messages, options, adapter, cancel, ..GenerateRequest::default() };
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
        choices.push(read(stream, !args.json).await?);
    }
    let cancelled = choices.iter().any(|choice| choice.stop == StopReason::Cancelled);
    if args.json {
        let choices =
            choices.into_iter().map(|Completion { message, stop, usage }| Choice { message, stop, usage });
        print_json(&choices.collect::<Vec<_>>())?;
    }
    Ok(if cancelled { exit::cancelled() } else { ExitCode::SUCCESS })
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
