//! Agents with scripted models and tools, in virtual time.

mod awaiting;
mod crashes;
mod humans;
mod loop_of_run;
mod teams;

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use actix::{Actor, Handler};
use kebne_actors::{ActorRef, ActorSystem, Context, Props, Spawn};
use kebne_settings::HumanDuration;
use serde_json::{Value, json};

use super::*;

pub(crate) struct Parent;

impl Actor for Parent {
    type Context = Context<Self>;
}

impl Handler<Spawn> for Parent {
    type Result = ();

    fn handle(&mut self, spawn: Spawn, ctx: &mut Context<Self>) {
        spawn.perform(ctx);
    }
}

/// What a scripted model does.
#[derive(Clone)]
pub(super) enum Line {
    Say(Reply),
    Fail(ModelError),
    Panic,
    Hang,
}

/// A model that says its lines in order, and its last one again and again.
#[derive(Clone, Default)]
pub(super) struct Script {
    lines: Arc<Mutex<VecDeque<Line>>>,
    pub(super) asks: Arc<Mutex<Vec<Ask>>>,
}

impl Script {
    pub(super) fn new(lines: impl IntoIterator<Item = Line>) -> Self {
        Self {
            lines: Arc::new(Mutex::new(lines.into_iter().collect())),
            asks: Arc::default(),
        }
    }

    pub(super) fn asked(&self) -> usize {
        self.asks.lock().unwrap().len()
    }
}

impl Model for Script {
    fn ask<'a>(&'a self, ask: &'a Ask) -> Work<'a, Result<Reply, ModelError>> {
        self.asks.lock().unwrap().push(ask.clone());
        let line = {
            let mut lines = self.lines.lock().unwrap();
            if lines.len() > 1 {
                lines.pop_front().unwrap()
            } else {
                lines.front().unwrap().clone()
            }
        };
        Box::pin(async move {
            match line {
                Line::Say(reply) => Ok(reply),
                Line::Fail(error) => Err(error),
                Line::Panic => panic!("as the test says"),
                Line::Hang => std::future::pending().await,
            }
        })
    }
}

/// A tool that notes the keys of its calls, and answers after a time.
#[derive(Clone)]
pub(super) struct Noting {
    spec: ToolSpec,
    time: Duration,
    pub(super) keys: Arc<Mutex<Vec<String>>>,
    pub(super) busy: Arc<AtomicU32>,
    pub(super) busy_max: Arc<AtomicU32>,
}

impl Noting {
    pub(super) fn new(spec: ToolSpec, time: Duration) -> Self {
        Self {
            spec,
            time,
            keys: Arc::default(),
            busy: Arc::default(),
            busy_max: Arc::default(),
        }
    }

    pub(super) fn calls(&self) -> usize {
        self.keys.lock().unwrap().len()
    }
}

impl Tool for Noting {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn call<'a>(&'a self, call: &'a Call) -> Work<'a, Result<String, ToolError>> {
        Box::pin(async move {
            self.keys.lock().unwrap().push(call.key.clone());
            let busy = self.busy.fetch_add(1, SeqCst) + 1;
            self.busy_max.fetch_max(busy, SeqCst);
            tokio::time::sleep(self.time).await;
            self.busy.fetch_sub(1, SeqCst);
            match call.arguments.get("fail") {
                Some(why) => Err(ToolError(why.to_string())),
                // Without the arguments, whose order is not always the same.
                None => Ok(format!("{} is done", self.spec.name)),
            }
        })
    }
}

/// A process with agents; the next one has the same store.
pub(super) struct World {
    pub(super) system: ActorSystem,
    pub(super) agents: Agents,
    pub(super) store: Arc<MemoryStore>,
}

/// Wall time that passes as the time of tokio does.
fn clock() -> WallClock {
    let began = tokio::time::Instant::now();
    Arc::new(move || 1_000_000 + u64::try_from(began.elapsed().as_millis()).unwrap())
}

impl World {
    pub(super) async fn new(kit: Kit) -> Self {
        Self::of_size(2000, kit).await
    }

    /// A process in which so many runs go on at once.
    pub(super) async fn of_size(at_once: usize, kit: Kit) -> Self {
        let store = Arc::new(MemoryStore::default());
        Self::made(kit, store, clock(), at_once).await
    }

    pub(super) async fn with(kit: Kit, store: Arc<MemoryStore>, clock: WallClock) -> Self {
        Self::made(kit, store, clock, 2000).await
    }

    async fn made(kit: Kit, store: Arc<MemoryStore>, clock: WallClock, at_once: usize) -> Self {
        let system = ActorSystem::new("test", 7);
        let parent: ActorRef<Parent> = system.spawn(Props::new(|| Parent), "parent");
        let settings = AgentStoreSettings {
            open_max: 2000,
            at_once,
            ..AgentStoreSettings::default()
        };
        let parts = AgentsParts {
            settings,
            store: Arc::clone(&store) as Arc<dyn RunStore>,
            clock,
        };
        let agents = Agents::new(&parent, parts).on_this_thread();
        agents.connect(Arc::new(kit), true).await.unwrap();
        Self {
            system,
            agents,
            store,
        }
    }

    pub(super) async fn start(&self, agent: &str) -> String {
        let start = Start {
            agent: agent.to_owned(),
            messages: vec![Message::user("Go.")],
            ..Start::default()
        };
        self.agents.start("ann", start).await.unwrap()
    }

    pub(super) async fn ended(&self, id: &str) -> Run {
        let ended = self.agents.when_ended("ann", id);
        let ended = tokio::time::timeout(Duration::from_hours(48), ended).await;
        ended.expect("the run ends").unwrap()
    }

    pub(super) async fn rests(&self, id: &str) -> Run {
        let resting = self.agents.when_resting("ann", id);
        let resting = tokio::time::timeout(Duration::from_hours(48), resting).await;
        resting.expect("the run rests").unwrap()
    }
}

pub(super) fn say(text: &str) -> Line {
    Line::Say(Reply::text(text))
}

pub(super) fn calls<'a>(calls: impl IntoIterator<Item = (&'a str, Value)>) -> Line {
    let calls = calls.into_iter().enumerate();
    let calls: Vec<_> = calls
        .map(|(at, (name, arguments))| (at.to_string(), name, arguments))
        .collect();
    let calls = calls
        .iter()
        .map(|(id, name, arguments)| (id.as_str(), *name, arguments));
    Line::Say(Reply::calls(calls).using(10, 5))
}

pub(super) fn ending(run: &Run) -> Ending {
    run.ended.as_ref().expect("the run has ended").1
}

pub(super) fn results(run: &Run) -> Vec<&str> {
    let texts = run.messages.iter().filter_map(|message| match message {
        Message::Tool { text, .. } => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}
