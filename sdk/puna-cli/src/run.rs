use std::{
    io::{IsTerminal, Read, Write},
    path::PathBuf,
    process::ExitCode,
};

use puna::{
    AgentSpec, CancellationToken, Error, ErrorKind, Event, EventStream, Message, OutputSpec, Result,
    RunOptions, Stack,
};

use crate::{args, exit, render, setup};

/// Longest input taken from standard input: far beyond any context, and bounds memory.
const MAX_INPUT_BYTES: u64 = 16 << 20;

pub(crate) async fn run(args: args::RunArgs) -> Result<ExitCode> {
    let mut spec = AgentSpec::from_file(&args.agent)?;
    args.form.apply(&mut spec);
    let input = input(args.input.as_deref())?;
    let session = args.session.clone().unwrap_or_else(|| crate::time::new_session_name(&spec.name));
    let output = spec.output.clone();
    let stack = open_stack(args.data.data)?;
    let agent = stack.agent(spec).build().await?;

    let cancel = cancel_on_ctrl_c();
    if args.session.is_none() && !args.json && std::io::stderr().is_terminal() {
        anstream::eprintln!("{}session {session}{}", render::DIM, render::RESET);
    }
    let events = agent.run(
        &session,
        Message::user(input),
        RunOptions { cancel, user: args.user, ..Default::default() },
    );
    if args.json { print_json(events).await } else { print_text(events, output, args.save_files).await }
}

/// Is cancelled by Ctrl-C.
pub(crate) fn cancel_on_ctrl_c() -> CancellationToken {
    let cancel = CancellationToken::new();
    tokio::spawn({
        let cancel = cancel.clone();
        async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                cancel.cancel();
            }
        }
    });
    cancel
}

/// The stack of a command: its data folder, and progress on standard error.
pub(crate) fn open_stack(data: Option<std::path::PathBuf>) -> Result<Stack> {
    let mut builder = Stack::builder().on_setup(setup::shown());
    if let Some(data) = data {
        builder = builder.data_dir(data);
    }
    builder.build()
}

/// Shows a turn's events as text, and gives the turn's exit code.
pub(crate) async fn print_text(
    mut events: EventStream,
    output: OutputSpec,
    files: Option<PathBuf>,
) -> Result<ExitCode> {
    let mut renderer = render::Renderer::new(output, files);
    let mut code = None;
    while let Some(event) = events.next().await {
        let event = event?;
        renderer.show(&event).map_err(closed_output)?;
        if let Event::TurnFinished { outcome, .. } = &event {
            code = Some(exit::of_outcome(outcome));
        }
    }
    code.ok_or_else(|| Error::internal("the turn ended without an outcome"))
}

async fn print_json(mut events: EventStream) -> Result<ExitCode> {
    let mut code = None;
    let mut out = std::io::stdout().lock();
    while let Some(event) = events.next().await {
        let event = event?;
        let line = serde_json::to_string(&event)
            .map_err(|error| Error::internal("an event does not serialise").with_source(error))?;
        writeln!(out, "{line}").and_then(|()| out.flush()).map_err(closed_output)?;
        if let Event::TurnFinished { outcome, .. } = &event {
            code = Some(exit::of_outcome(outcome));
        }
    }
    code.ok_or_else(|| Error::internal("the turn ended without an outcome"))
}

pub(crate) fn closed_output(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, "cannot write to standard output").with_source(error)
}

/// What a command is given as an argument, or on standard input.
///
/// # Errors
/// For none.
pub(crate) fn input(argument: Option<&str>) -> Result<String> {
    let input = match argument {
        Some("-") | None => read_input()?,
        Some(text) => text.to_owned(),
    };
    if input.trim().is_empty() {
        return Err(Error::invalid_input("no question: give it as the second argument or on standard input"));
    }
    Ok(input)
}

fn read_input() -> Result<String> {
    if std::io::stdin().is_terminal() {
        anstream::eprintln!(
            "{}reading the question from the terminal; end it with Ctrl-D{}",
            render::DIM,
            render::RESET
        );
    }
    let mut text = String::new();
    std::io::stdin().lock().take(MAX_INPUT_BYTES).read_to_string(&mut text).map_err(|error| {
        Error::new(ErrorKind::InvalidInput, "cannot read the question").with_source(error)
    })?;
    Ok(text.trim().to_owned())
}
