//! Chapter 11.

use actix::{Actor, Handler, Message, MessageResult};
use kebne_actors::{
    ActorSystem, Context, Props, ServiceKey, Strategy,
    router::{Router, Routing},
};

use crate::{Part, SECOND, say, settle, words};

#[derive(Clone, Message)]
#[rtype(result = "usize")]
enum Work {
    Of(&'static str),
    Fail,
    End,
}

struct Worker(usize);

impl Actor for Worker {
    type Context = Context<Self>;
}

impl Handler<Work> for Worker {
    type Result = MessageResult<Work>;

    fn handle(&mut self, work: Work, ctx: &mut Context<Self>) -> Self::Result {
        match work {
            Work::Of(_) => {}
            Work::Fail => ctx.fail("a bug"),
            Work::End => ctx.stop(),
        }
        MessageResult(self.0)
    }
}

fn worker(number: usize) -> Props<Worker> {
    Props::new(move || Worker(number)).supervise(Strategy::restart())
}

/// Asks one after another, and returns who answered.
async fn ask(router: &Router<Work>, times: u32) -> Result<Vec<usize>, kebne_actors::AskError> {
    let mut seen = Vec::new();
    for _ in 0..times {
        seen.push(router.ask(Work::Of("ann"), SECOND).await?);
    }
    Ok(seen)
}

fn distinct(mut seen: Vec<usize>) -> usize {
    seen.sort_unstable();
    seen.dedup();
    seen.len()
}

pub(crate) async fn run() -> Part {
    let system = ActorSystem::new("routers", 1);
    let pool = Router::<Work>::pool(4, worker).spawn(&system, "pool");
    say(&format!("11 in turn: {}", words(ask(&pool, 8).await?)))?;
    let _enqueued = pool.tell(Work::Fail);
    settle().await;
    let routees = distinct(ask(&pool, 8).await?);
    say(&format!("11 routees after a failure: {routees}"))?;

    let by_user = Routing::consistent_hash(10, |work: &Work| match work {
        Work::Of(user) => *user,
        _ => "",
    });
    let hashed = Router::pool(4, worker)
        .routing(by_user)
        .spawn(&system, "by-user");
    let routees = distinct(ask(&hashed, 8).await?);
    say(&format!("11 routees that meet one user: {routees}"))?;

    for _ in 0..4 {
        let _enqueued = pool.tell(Work::End);
    }
    settle().await;
    if !pool.is_alive() {
        say("11 a pool whose routees have all stopped stops")?;
    }

    let key = ServiceKey::<Work>::new("log-worker");
    let listed: Vec<_> = (0..2)
        .map(|number| system.spawn(worker(number), "listed"))
        .collect();
    for worker in &listed {
        system.receptionist().register(&key, worker);
    }
    let group = Router::group(&key).spawn(&system, "group");
    settle().await;
    let routees = distinct(ask(&group, 4).await?);
    say(&format!("11 routees of a group: {routees}"))?;
    listed[0].stop();
    settle().await;
    let routees = distinct(ask(&group, 4).await?);
    say(&format!("11 after one has stopped: {routees}"))?;
    system.terminate().await;
    Ok(())
}
