//! A host application whose agent answers with a value of a Rust type, shown while it is written.

use puna::{AgentSpec, Event, Message, Stack};

/// What the answer is: its JSON Schema holds the model, and checks what it says.
#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Reply {
    /// A sentence; the bundled model ends all of its own with a full stop
    #[schemars(regex(pattern = r"^[0-9A-Za-z ,]{1,80}\.$"))]
    answer: String,
}

#[tokio::main]
async fn main() -> puna::Result<()> {
    let stack = Stack::builder().on_progress(|line| eprintln!("{line}")).build()?;
    let mut spec = AgentSpec::from_file("examples/concierge/agent.yaml")?;
    spec.memory.conversation = false;
    let agent = stack.agent(spec).build().await?;
    let question = Message::user("What is 1234 times 5678?");
    let mut run = agent.run_typed::<Reply>("typed", question, Default::default());
    while let Some(event) = run.next().await {
        match event? {
            Event::ToolStarted { call } => println!("[{} {}]", call.name, call.arguments),
            Event::PartialOutput { value } => println!("so far: {value}"),
            Event::OutputRefused { reason, .. } => println!("refused: {reason}"),
            _ => {}
        }
    }
    let reply: Reply = run.value().await?;
    println!("{}", reply.answer);
    Ok(())
}
