//! Kebne's routers, as the suite sees them.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use actix::{Actor, AsyncContext, Handler, Message, dev::MessageResponse, fut::wrap_future};
use kebne_actors::{
    ActorRef, ActorSystem, AskError, Context, Props, ServiceKey, Strategy,
    router::{Router, RouterBuilder, Routing},
};
use tokio::sync::oneshot;

use crate::{
    case::SEED,
    driver::{
        Unsupported,
        routers::{self as suite, Act, Choice, Claim, Handled, Job, Member, Soon, Spec, Stage},
    },
};

/// Points of each routee on the ring.
const POINTS: u32 = 50;

/// The driver.
#[derive(Debug)]
pub(super) struct Routers;

impl suite::Driver for Routers {
    fn open(&self) -> Box<dyn Stage> {
        Box::new(World {
            system: ActorSystem::new("tck", SEED),
            log: Log::default(),
        })
    }

    fn claims(&self, claim: Claim) -> Result<(), Unsupported> {
        match claim {
            Claim::TurnsByDefault | Claim::RouteesLeave | Claim::AddsNoRoom => Ok(()),
        }
    }
}

type Log = Arc<Mutex<Vec<Handled>>>;

#[derive(Clone, Message)]
#[rtype(result = "String")]
struct Do(Job);

struct Routee(Log);

impl Actor for Routee {
    type Context = Context<Self>;
}

/// What a routee answers, and when.
enum Reply {
    Now(String),
    After(Duration, String),
    Never,
}

impl MessageResponse<Routee, Do> for Reply {
    fn handle(self, ctx: &mut Context<Routee>, answer: Option<oneshot::Sender<String>>) {
        let send = |name| {
            if let Some(answer) = answer {
                let _nobody_waits = answer.send(name);
            }
        };
        match self {
            Self::Never => {}
            Self::Now(name) => send(name),
            Self::After(time, name) => ctx.wait(wrap_future(async move {
                tokio::time::sleep(time).await;
                send(name);
            })),
        }
    }
}

impl Handler<Do> for Routee {
    type Result = Reply;

    #[expect(
        clippy::panic,
        reason = "a routee that panics is what the case is about"
    )]
    fn handle(&mut self, Do(job): Do, ctx: &mut Context<Self>) -> Reply {
        let name = ctx.path().rsplit('/').next().unwrap_or_default();
        let name = name.trim_start_matches("routee-").to_owned();
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        log.push((name.clone(), job.key));
        drop(log);
        match job.act {
            Act::Answer => Reply::Now(name),
            Act::Panic => panic!("on purpose"),
            Act::Stop => {
                ctx.stop();
                Reply::Now(name)
            }
            Act::Hold(time) => Reply::After(time, name),
            Act::NoAnswerFrom(silent) if silent == name => Reply::Never,
            Act::NoAnswerFrom(_) => Reply::Now(name),
        }
    }
}

struct World {
    system: ActorSystem,
    log: Log,
}

impl World {
    fn key() -> ServiceKey<Do> {
        ServiceKey::new("routees")
    }

    fn start(&self, builder: RouterBuilder<Do>, spec: Spec) -> Box<dyn suite::Router> {
        let mut builder = match spec.choice {
            Choice::Default => builder,
            Choice::RoundRobin => builder.routing(Routing::round_robin()),
            Choice::Random(seed) => builder.routing(Routing::random(seed)),
            Choice::ByKey => {
                builder.routing(Routing::consistent_hash(POINTS, |Do(job): &Do| job.key))
            }
            Choice::LeastLoaded => builder.routing(Routing::least_loaded(SEED)),
        };
        if let Some(first) = spec.broadcast_from {
            builder = builder.broadcast_when(move |Do(job)| job.key >= first);
        }
        Box::new(Handle(builder.spawn(&self.system, "router")))
    }
}

impl Stage for World {
    fn pool(&self, size: usize, spec: Spec) -> Result<Box<dyn suite::Router>, Unsupported> {
        let log = Arc::clone(&self.log);
        let builder = Router::pool(size, move |_| {
            let log = Arc::clone(&log);
            let strategy = if spec.restarted {
                Strategy::restart()
            } else {
                Strategy::stop()
            };
            Props::new(move || Routee(Arc::clone(&log)))
                .mailbox(spec.mailbox)
                .supervise(strategy)
        });
        Ok(self.start(builder, spec))
    }

    fn group(&self, spec: Spec) -> Result<Box<dyn suite::Router>, Unsupported> {
        Ok(self.start(Router::group(&Self::key()), spec))
    }

    fn member(&self, name: &'static str) -> Result<Box<dyn Member>, Unsupported> {
        let log = Arc::clone(&self.log);
        let props = Props::new(move || Routee(Arc::clone(&log)));
        let actor = self.system.spawn(props, name);
        self.system.receptionist().register(&Self::key(), &actor);
        let system = self.system.clone();
        Ok(Box::new(Registered { actor, system }))
    }

    fn handled(&self) -> Vec<Handled> {
        std::mem::take(&mut self.log.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn dead_letters(&self) -> Result<u64, Unsupported> {
        Ok(self.system.dead_letters())
    }

    fn living(&self) -> Result<usize, Unsupported> {
        let tree = self.system.tree();
        Ok(tree
            .iter()
            .filter(|actor| *actor.path != *"/user/router")
            .count())
    }
}

struct Registered {
    actor: ActorRef<Routee>,
    system: ActorSystem,
}

impl Member for Registered {
    fn stop(&self) {
        self.actor.stop();
    }

    fn leave(&self) {
        let receptionist = self.system.receptionist();
        receptionist.deregister(&World::key(), &self.actor);
    }
}

struct Handle(Router<Do>);

type Asked<'a> = Pin<Box<dyn Future<Output = Result<String, AskError>> + 'a>>;

fn soon(asked: Asked<'_>) -> Soon<'_, Result<Option<String>, Unsupported>> {
    Box::pin(async move { Ok(asked.await.ok()) })
}

impl suite::Router for Handle {
    fn tell(&self, job: Job) -> bool {
        self.0.tell(Do(job)).is_enqueued()
    }

    fn ask(&self, job: Job, timeout: Duration) -> Soon<'_, Result<Option<String>, Unsupported>> {
        soon(Box::pin(self.0.ask(Do(job), timeout)))
    }

    fn ask_first(
        &self,
        job: Job,
        timeout: Duration,
    ) -> Soon<'_, Result<Option<String>, Unsupported>> {
        soon(Box::pin(self.0.ask_first(Do(job), timeout)))
    }

    fn ask_tail_chopping(
        &self,
        job: Job,
        interval: Duration,
        timeout: Duration,
    ) -> Soon<'_, Result<Option<String>, Unsupported>> {
        soon(Box::pin(self.0.ask_tail_chopping(
            Do(job),
            interval,
            timeout,
        )))
    }

    fn broadcast(&self, job: Job) -> Result<(), Unsupported> {
        self.0.broadcast(&Do(job));
        Ok(())
    }

    fn stop(&self) {
        self.0.stop();
    }

    fn is_alive(&self) -> bool {
        self.0.is_alive()
    }
}
