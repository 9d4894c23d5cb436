//! Kebne's coordinated shutdown, as the suite sees it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use actix::{Actor, Handler, Message};
use kebne_actors::{
    ActorRef, ActorSystem, Context, Props,
    shutdown::{self, CoordinatedShutdown, Phases, Reason, Report, TaskHandle},
};

use crate::{
    case::SEED,
    driver::{
        Unsupported,
        shutdown::{Act, Driver, Outcome, Phase, Shutdown, Soon, Stopping},
    },
};

/// The driver.
#[derive(Debug)]
pub(super) struct Shutdowns;

impl Driver for Shutdowns {
    fn of(&self, phases: &[Phase]) -> Result<Box<dyn Shutdown>, String> {
        let phases = phases.iter().fold(Phases::empty(), |all, phase| {
            let made = shutdown::Phase::after(phase.after.iter().copied())
                .recover(phase.recover)
                .enabled(phase.enabled);
            let made = match phase.timeout {
                Some(timeout) => made.timeout(timeout),
                None => made,
            };
            all.with(phase.name, made)
        });
        Ok(Box::new(Bench::new(phases)?))
    }

    #[expect(
        clippy::panic,
        reason = "the phases of the library have an order, or it is broken"
    )]
    fn default_phases(&self) -> Box<dyn Shutdown> {
        match Bench::new(Phases::with_cluster()) {
            Ok(bench) => Box::new(bench),
            Err(why) => panic!("{why}"),
        }
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, entry: impl Into<String>) {
        self.lock().push(entry.into());
    }
}

/// Logs its name when it has stopped.
struct Named(Log);

impl Actor for Named {
    type Context = Context<Self>;

    fn stopped(&mut self, ctx: &mut Context<Self>) {
        let name = ctx.path().trim_start_matches("/user/").to_owned();
        self.0.note(name);
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Finish;

impl Handler<Finish> for Named {
    type Result = ();

    fn handle(&mut self, _: Finish, ctx: &mut Context<Self>) {
        self.0.note("told");
        ctx.stop();
    }
}

/// A task's handle, by its name; the first added comes first.
type Handles = Arc<Mutex<Vec<(&'static str, TaskHandle)>>>;

/// What tasks need too.
#[derive(Clone)]
struct Shared {
    shutdown: CoordinatedShutdown,
    log: Log,
    handles: Handles,
}

struct Bench {
    shared: Shared,
    system: ActorSystem,
    actors: Mutex<BTreeMap<&'static str, ActorRef<Named>>>,
}

impl Bench {
    fn new(phases: Phases) -> Result<Self, String> {
        let shutdown = CoordinatedShutdown::new(phases).map_err(|error| error.to_string())?;
        Ok(Self {
            shared: Shared {
                shutdown,
                log: Log::default(),
                handles: Handles::default(),
            },
            system: ActorSystem::new("tck", SEED),
            actors: Mutex::default(),
        })
    }

    fn actor(&self, name: &str) -> Result<ActorRef<Named>, Unsupported> {
        let actors = self.actors.lock().unwrap_or_else(PoisonError::into_inner);
        let actor = actors.get(name).cloned();
        actor.ok_or(Unsupported("actor that was not started"))
    }
}

impl Shared {
    fn add(&self, phase: &str, name: &'static str, act: Act) -> Result<(), String> {
        let shared = self.clone();
        let task = move || async move { shared.act(name, act).await };
        let handle = self.shutdown.add_task(phase, name, task);
        let handle = handle.map_err(|error| error.to_string())?;
        self.handles().push((name, handle));
        Ok(())
    }

    fn handles(&self) -> MutexGuard<'_, Vec<(&'static str, TaskHandle)>> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cancel(&self, name: &str) -> bool {
        let handles = self.handles();
        let handle = handles.iter().find(|(added, _)| *added == name);
        handle.is_some_and(|(_, handle)| handle.cancel())
    }

    #[expect(clippy::panic, reason = "a task that panics is what the case is about")]
    async fn act(self, name: &'static str, act: Act) -> Result<(), shutdown::TaskError> {
        if let Act::Work(time) = act {
            tokio::time::sleep(time).await;
        }
        self.log.note(name);
        match act {
            Act::Done | Act::Work(_) => {}
            Act::Fail => return Err("on purpose".into()),
            Act::Panic => panic!("on purpose"),
            Act::Hang => std::future::pending().await,
            Act::Add(phase, task) => self.add(phase, task, Act::Done)?,
            Act::Cancel(task) => {
                self.cancel(task);
            }
        }
        Ok(())
    }
}

fn outcome(report: &Report) -> Outcome {
    Outcome {
        aborted_in: report.aborted_in.clone(),
        failed: report.failed().map(|(_, task)| task.name.clone()).collect(),
        cut_off: report
            .cut_off()
            .map(|(_, task)| task.name.clone())
            .collect(),
    }
}

impl Shutdown for Bench {
    fn phases(&self) -> Vec<(String, Duration)> {
        let shutdown = &self.shared.shutdown;
        let phases = shutdown.phases().map(|name| {
            let timeout = shutdown.timeout(name).unwrap_or_default();
            (name.to_owned(), timeout)
        });
        phases.collect()
    }

    fn add(&self, phase: &str, name: &'static str, act: Act) -> Result<(), String> {
        self.shared.add(phase, name, act)
    }

    fn cancel(&self, name: &str) -> Result<bool, Unsupported> {
        Ok(self.shared.cancel(name))
    }

    fn spawn(&self, name: &'static str) {
        let log = self.shared.log.clone();
        let actor = self
            .system
            .spawn(Props::new(move || Named(log.clone())), name);
        let mut actors = self.actors.lock().unwrap_or_else(PoisonError::into_inner);
        actors.insert(name, actor);
    }

    fn add_termination(
        &self,
        phase: &str,
        actor: &'static str,
        stopping: Stopping,
    ) -> Result<(), Unsupported> {
        let by_message = |actor: &ActorRef<Named>| actor.inform(Finish);
        let stop = match stopping {
            Stopping::Stop => ActorRef::stop,
            Stopping::Message => by_message,
        };
        let shutdown = &self.shared.shutdown;
        let added = shutdown.add_actor_termination(phase, actor, &self.actor(actor)?, stop);
        added.map(drop).map_err(|_| Unsupported("such phase"))
    }

    fn stop<'a>(&'a self, actor: &'a str) -> Soon<'a, ()> {
        Box::pin(async move {
            if let Ok(actor) = self.actor(actor) {
                actor.stop();
                actor.when_stopped().await;
            }
        })
    }

    fn add_system(&self) -> Result<(), Unsupported> {
        let added = self.shared.shutdown.add_system(&self.system);
        added.map(drop).map_err(|_| Unsupported("last phase"))
    }

    fn run(
        &self,
        from: Option<&'static str>,
        reason: &'static str,
    ) -> Soon<'_, Result<Outcome, String>> {
        let reason = Reason::Other(reason.into());
        let shutdown = &self.shared.shutdown;
        Box::pin(async move {
            let report = match from {
                None => shutdown.run(reason).await,
                Some(phase) => {
                    let ran = shutdown.run_from(phase, reason).await;
                    ran.map_err(|error| error.to_string())?
                }
            };
            Ok(outcome(&report))
        })
    }

    fn reason(&self) -> Option<String> {
        match self.shared.shutdown.reason()? {
            Reason::Other(reason) => Some(reason.into_owned()),
            reason => Some(format!("{reason:?}")),
        }
    }

    fn total_timeout(&self) -> Result<Duration, Unsupported> {
        Ok(self.shared.shutdown.total_timeout())
    }

    fn log(&self) -> Vec<String> {
        self.shared.log.lock().clone()
    }
}
