//! A host application: the concierge of `agent.yaml`, with one more tool that is a Rust function.

use puna::{AgentSpec, Event, Message, Stack, tool};

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Room {
    /// The number of the room
    room: u32,
}

#[derive(serde::Serialize)]
struct Price {
    price: String,
}

#[tokio::main]
async fn main() -> puna::Result<()> {
    let price = tool("room_price", "Tell the price of a room of the hotel.", |asked: Room| async move {
        Ok(Price { price: format!("{} euros", 80 + asked.room % 100) })
    });
    let stack = Stack::builder().on_progress(|line| eprintln!("{line}")).build()?;
    let spec = AgentSpec::from_file("examples/concierge/agent.yaml")?;
    let agent = stack.agent(spec).tool(price).build().await?;
    for question in
        ["My name is Ada.", "What is the price of room 12?", "What is 92 times 3?", "What is my name?"]
    {
        println!("> {question}");
        let mut events = agent.run("embed", Message::user(question), Default::default());
        while let Some(event) = events.next().await {
            match event? {
                Event::ToolStarted { call } => println!("[{} {}]", call.name, call.arguments),
                Event::TextDelta { text } => print!("{text}"),
                Event::TurnFinished { .. } => println!(),
                _ => {}
            }
        }
    }
    Ok(())
}
