//! Two agents with a tool: a writer gives a task to a clerk, who reads the stock.
//!
//! `cargo run -p kebne-agents --example two_agents`

use std::{error::Error, io::Write as _};

use kebne_actors::ActorSystem;
use kebne_agents::{
    AgentSpec, Agents, AgentsParts, Ask, FnTool, Kit, Message, Model, ModelError, Reply, Start,
    ToolSpec, Work,
};
use serde_json::{Value, json};

/// In place of a model: calls one tool and reports its result.
struct Calls(&'static str, Value);

impl Model for Calls {
    fn ask<'a>(&'a self, ask: &'a Ask) -> Work<'a, Result<Reply, ModelError>> {
        Box::pin(async move {
            Ok(match ask.messages.last() {
                Some(Message::Tool { text, .. }) => Reply::text(format!("Found: {text}")),
                _ => Reply::call("1", self.0, &self.1),
            })
        })
    }
}

pub(crate) async fn ask() -> Result<String, Box<dyn Error>> {
    let system = ActorSystem::new("example", 1);
    let stock = ToolSpec::new("stock", "Counts an article.").read_only();
    let stock = FnTool::new(stock, |arguments| Ok(format!("7 {}", arguments["article"])));
    let kit = Kit::default()
        .model(
            "writer",
            Calls("ask_clerk", json!({"task": "Count the skis."})),
        )
        .model("clerk", Calls("stock", json!({"article": "skis"})))
        .tool(stock)
        .agent(AgentSpec::new("writer", "writer", "You write.").agent("clerk"))
        .agent(AgentSpec::new("clerk", "clerk", "You count.").tool("stock"));
    let agents = Agents::in_system(&system, AgentsParts::in_memory(), kit).await?;
    let start = Start {
        agent: "writer".to_owned(),
        messages: vec![Message::user("How many skis are there?")],
        ..Start::default()
    };
    let id = agents.start("ann", start).await?;
    let run = agents.when_ended("ann", &id).await?;
    system.terminate().await;
    Ok(run.output().unwrap_or_default().to_owned())
}

#[actix::main]
async fn main() -> Result<(), Box<dyn Error>> {
    Ok(writeln!(std::io::stdout(), "{}", ask().await?)?)
}
