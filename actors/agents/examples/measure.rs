//! What agents cost without their models: `cargo run --release -p kebne-agents --example measure`
//!
//! A step is an answer of a model that takes no time, or the result of a tool that takes none; each is confirmed in the store. The memory of an agent is
//! that of the process with so many agents whose models do not answer, above that without them.

use std::{
    error::Error,
    fs,
    io::Write as _,
    sync::Arc,
    time::{Duration, Instant},
};

use kebne_actors::ActorSystem;
use kebne_agents::{
    AgentSpec, AgentStoreSettings, Agents, AgentsParts, Ask, FnTool, Keyring, Kit, Message, Model,
    ModelError, Reply, RunStore, SqliteStore, Start, ToolSpec, Work,
};
use serde_json::json;

/// The rounds of each run: an answer and a result of a tool.
const ROUNDS: usize = 10;

/// Calls a tool in each round, and ends.
struct Rounds;

impl Model for Rounds {
    fn ask<'a>(&'a self, ask: &'a Ask) -> Work<'a, Result<Reply, ModelError>> {
        Box::pin(async move {
            let is_result = |message: &&Message| matches!(message, Message::Tool { .. });
            let round = ask.messages.iter().filter(is_result).count();
            Ok(if round < ROUNDS {
                Reply::call("1", "tool", &json!({"round": round}))
            } else {
                Reply::text("Done.")
            })
        })
    }
}

/// Never answers.
struct Silent;

impl Model for Silent {
    fn ask<'a>(&'a self, _: &'a Ask) -> Work<'a, Result<Reply, ModelError>> {
        Box::pin(std::future::pending())
    }
}

fn kit() -> Kit {
    let tool = ToolSpec::new("tool", "Does nothing.").read_only();
    Kit::default()
        .model("rounds", Rounds)
        .model("silent", Silent)
        .tool(FnTool::new(tool, |_| Ok("ok".to_owned())))
        .agent(AgentSpec::new("worker", "rounds", "Work.").tool("tool"))
        .agent(AgentSpec::new("idle", "silent", "Wait."))
}

fn settings() -> AgentStoreSettings {
    AgentStoreSettings {
        at_once: 100_000,
        open_max: 1_000_000,
        ..AgentStoreSettings::default()
    }
}

fn in_memory() -> AgentsParts {
    AgentsParts {
        settings: settings(),
        ..AgentsParts::in_memory()
    }
}

fn in_file(folder: &tempfile::TempDir) -> Result<AgentsParts, Box<dyn Error>> {
    let settings = AgentStoreSettings {
        path: folder.path().join("agents.sqlite"),
        ..settings()
    };
    let key = Keyring::from_hex(&"a1".repeat(32))?;
    let store: Arc<dyn RunStore> = Arc::new(SqliteStore::new(&settings, Some(key)));
    Ok(AgentsParts {
        settings,
        store,
        ..AgentsParts::in_memory()
    })
}

async fn start(agents: &Agents, agent: &str) -> Result<String, Box<dyn Error>> {
    let start = Start {
        agent: agent.to_owned(),
        messages: vec![Message::user("Go.")],
        ..Start::default()
    };
    Ok(agents.start("ann", start).await?)
}

/// Has so many runs end that begin at once; returns the time and the steps.
async fn work(parts: AgentsParts, runs: usize) -> Result<(Duration, usize), Box<dyn Error>> {
    let system = ActorSystem::new("measure", 1);
    let agents = Agents::in_system(&system, parts, kit()).await?;
    let began = Instant::now();
    let mut ids = Vec::with_capacity(runs);
    for _ in 0..runs {
        ids.push(start(&agents, "worker").await?);
    }
    for id in &ids {
        agents.when_ended("ann", id).await?;
    }
    let time = began.elapsed();
    system.terminate().await;
    agents.stop();
    // The begin and the end of a run are steps too.
    Ok((time, runs * (2 * ROUNDS + 3)))
}

/// Returns the bytes of this process that are in memory.
fn resident() -> Result<u64, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(kib.ok_or("no VmRSS")?.parse::<u64>()? * 1024)
}

async fn idle(runs: u32) -> Result<u64, Box<dyn Error>> {
    let system = ActorSystem::new("idle", 1);
    let agents = Agents::in_system(&system, in_memory(), kit()).await?;
    let before = resident()?;
    for _ in 0..runs {
        start(&agents, "idle").await?;
    }
    while agents.counts().running() < usize::try_from(runs)? {
        actix_rt::time::sleep(Duration::from_millis(20)).await;
    }
    actix_rt::time::sleep(Duration::from_secs(1)).await;
    let bytes = resident()?.saturating_sub(before) / u64::from(runs);
    system.terminate().await;
    agents.stop();
    Ok(bytes)
}

#[actix::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut out = std::io::stdout();
    let bytes = idle(10_000).await?;
    writeln!(out, "| what | runs | result |\n|---|---|---|")?;
    writeln!(
        out,
        "| memory of an agent whose model does not answer, with its events in memory | 10000 | {bytes} bytes |"
    )?;
    for (name, runs, is_file) in [
        ("in memory, one after another", 1, false),
        ("in memory, at once", 1000, false),
        ("in an encrypted file, one run", 1, true),
        ("in an encrypted file, at once", 1000, true),
    ] {
        let folder = tempfile::tempdir()?;
        let parts = if is_file {
            in_file(&folder)?
        } else {
            in_memory()
        };
        let (time, steps) = work(parts, runs).await?;
        let each = time.as_micros() / u128::try_from(steps)?;
        let second = u128::try_from(steps)? * 1_000_000 / time.as_micros().max(1);
        writeln!(
            out,
            "| a step, {name} | {runs} | {each} µs, {second} steps a second |"
        )?;
    }
    Ok(())
}
