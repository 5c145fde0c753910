use std::process::ExitCode;

use puna::{
    Agent, AgentBuilder, AgentSpec, CancellationToken, Error, ErrorKind, Message, OutputSpec, Result,
    RunOptions, Stack,
};
use rustyline::{DefaultEditor, error::ReadlineError};

use crate::{args, plugin::consent, render, run};

/// Lines kept for the arrow keys.
const HISTORY_LINES: usize = 1000;

const HELP: &str = "\
/help      this list
/session   the conversation's name
/exit      leave (so does Ctrl-D)
Ctrl-C stops an answer. A line that ends in \\ goes on in the next one.";

pub(crate) async fn chat(args: args::ChatArgs) -> Result<ExitCode> {
    let mut spec = AgentSpec::from_file(&args.agent)?;
    args.form.clone().apply(&mut spec);
    let stack = run::open_stack(args.data.data.clone())?;
    let agent = builder(&stack, &spec).build().await?;
    converse(&stack, &spec, &args, agent, async || Ok(None)).await?;
    Ok(ExitCode::SUCCESS)
}

/// An agent about to be built, whose plugins' consents are asked of the person at the terminal.
pub(crate) fn builder(stack: &Stack, spec: &AgentSpec) -> AgentBuilder {
    let building = stack.agent(spec.clone());
    if consent::somebody_is_there() { building.ask_consent(consent::ask) } else { building }
}

/// Reads questions and shows answers until the end of the input. Before each question, `renew` may give another agent.
///
/// # Errors
/// Those of the terminal.
pub(crate) async fn converse(
    stack: &Stack,
    spec: &AgentSpec,
    args: &args::ChatArgs,
    mut agent: Agent,
    mut renew: impl AsyncFnMut() -> Result<Option<Agent>>,
) -> Result<()> {
    let (name, output) = (&spec.name, &spec.output);
    let history = stack.data_dir().join("chat-history");
    let mut editor = editor(&history)?;
    anstream::eprintln!(
        "{}{name}, session {}; /help lists the commands{}",
        render::DIM,
        args.session,
        render::RESET
    );

    loop {
        // The editor blocks on the terminal; the runtime's other threads go on.
        let (returned, line) = tokio::task::spawn_blocking(move || {
            let line = read_message(&mut editor);
            (editor, line)
        })
        .await
        .map_err(|error| Error::internal("the line editor broke").with_source(error))?;
        editor = returned;
        let line = match line {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => break,
            Err(error) => {
                return Err(Error::new(ErrorKind::Io, "cannot read the terminal").with_source(error));
            }
        };
        let text = line.trim();
        match text {
            "" => continue,
            "/exit" | "/quit" => break,
            "/help" => anstream::eprintln!("{HELP}"),
            "/session" => anstream::eprintln!("{}", args.session),
            command if command.starts_with('/') => {
                anstream::eprintln!("no command `{command}`; /help lists them");
            }
            question => {
                // The line is worth keeping even if its history file is not writable.
                let _ = editor.add_history_entry(question);
                let _ = editor.save_history(&history);
                match renew().await {
                    Ok(Some(renewed)) => agent = renewed,
                    Ok(None) => {}
                    Err(error) => {
                        let _ = crate::exit::report(&error);
                    }
                }
                answer(&agent, args, question, output).await;
            }
        }
    }
    Ok(())
}

/// One turn. An error is shown and the conversation goes on.
async fn answer(agent: &Agent, args: &args::ChatArgs, question: &str, output: &OutputSpec) {
    let cancel = CancellationToken::new();
    let events = agent.run(
        &args.session,
        Message::user(question),
        RunOptions { cancel: cancel.clone(), user: args.user.clone(), ..Default::default() },
    );
    let showing = run::print_text(events, output.clone(), args.save_files.clone());
    tokio::pin!(showing);
    let result = loop {
        tokio::select! {
            result = &mut showing => break result,
            signal = tokio::signal::ctrl_c() => {
                if signal.is_ok() {
                    cancel.cancel();
                }
            }
        }
    };
    if let Err(error) = result {
        // The exit code is for scripts; a conversation goes on.
        let _ = crate::exit::report(&error);
    }
}

fn editor(history: &std::path::Path) -> Result<DefaultEditor> {
    let broken = |error| Error::new(ErrorKind::Io, "cannot open the line editor").with_source(error);
    let config = rustyline::Config::builder().max_history_size(HISTORY_LINES).map_err(broken)?.build();
    let mut editor = DefaultEditor::with_config(config).map_err(broken)?;
    // The first conversation has no history yet.
    let _ = editor.load_history(history);
    Ok(editor)
}

fn read_message(editor: &mut DefaultEditor) -> Result<String, ReadlineError> {
    let mut text = editor.readline("> ")?;
    while text.ends_with('\\') {
        text.pop();
        text.push('\n');
        text.push_str(&editor.readline("… ")?);
    }
    Ok(text)
}
