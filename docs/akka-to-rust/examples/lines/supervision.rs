//! Chapters 5 and 6.

use std::{io, time::Duration};

use actix::{Actor, Handler, Message};
use kebne_actors::{ActorSystem, Context, Directive, Fault, Props, Recipient, Strategy};
use tokio::time::{Instant, sleep};

use crate::{MS, Part, SECOND, drain, probe, say, settle, words};

#[derive(Debug, thiserror::Error)]
#[error("bad input")]
struct BadInput;

#[derive(Message)]
#[rtype(result = "()")]
enum Work {
    Good,
    Bad,
    Disk,
}

struct Worker {
    done: u32,
    report: Recipient<u32>,
}

impl Actor for Worker {
    type Context = Context<Self>;
}

impl Handler<Work> for Worker {
    type Result = ();

    fn handle(&mut self, work: Work, ctx: &mut Context<Self>) {
        match work {
            Work::Good => {
                self.done += 1;
                let _gone = self.report.tell(self.done);
            }
            Work::Bad => ctx.fail(BadInput),
            Work::Disk => ctx.fail(io::Error::other("disk full")),
        }
    }
}

fn strategy() -> Strategy {
    Strategy::decide(|fault| match fault {
        Fault::Error(error) if error.is::<BadInput>() => Directive::Resume,
        Fault::Error(error) if error.is::<io::Error>() => Directive::Restart,
        _ => Directive::Stop,
    })
    .with_limit(3, Duration::from_hours(1))
}

pub(crate) async fn run() -> Part {
    let system = ActorSystem::new("supervision", 1);
    let (report, mut done) = probe();
    let make = move || Worker {
        done: 0,
        report: report.clone(),
    };
    let worker = system.spawn(Props::new(make.clone()).supervise(strategy()), "worker");
    let give = async |all: Vec<Work>| {
        for work in all {
            let _enqueued = worker.tell(work);
        }
        settle().await;
    };
    give(vec![Work::Good, Work::Bad, Work::Good]).await;
    say(&format!("5 resumed: {}", words(drain(&mut done))))?;
    give(vec![Work::Disk, Work::Good, Work::Good]).await;
    let after = words(drain(&mut done));
    say(&format!("5 restarted, with its mailbox: {after}"))?;
    give(vec![Work::Disk, Work::Disk, Work::Good]).await;
    say(&format!("5 the third restart: {}", words(drain(&mut done))))?;
    give(vec![Work::Disk]).await;
    if !worker.is_alive() {
        say("5 the fourth in the window stops it")?;
    }

    let unsupervised = system.spawn(Props::new(make), "unsupervised");
    let _enqueued = unsupervised.tell(Work::Bad);
    settle().await;
    if !unsupervised.is_alive() {
        say("5 without a strategy a failure stops it")?;
    }
    starts(&system, "without a limit", Strategy::restart()).await?;
    let limited = Strategy::restart().with_limit(3, Duration::from_hours(1));
    starts(&system, "with a limit of 3", limited).await?;
    hooks(&system).await
}

/// Says how often an actor is started whose start fails.
async fn starts(system: &ActorSystem, how: &str, strategy: Strategy) -> Part {
    let (tell, mut started) = probe();
    let props = Props::new(move || Client(tell.clone())).supervise(strategy);
    system.spawn(props, "failing").when_stopped().await;
    let times = drain(&mut started).len();
    say(&format!(
        "5 a restart {how} whose start fails is started {times} times"
    ))?;
    Ok(())
}

/// Says when it was started and ended; `true` makes it fail, `false` stops it.
struct Hooked(Recipient<&'static str>);

#[derive(Message)]
#[rtype(result = "()")]
struct Fail(bool);

impl Actor for Hooked {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Context<Self>) {
        let _gone = self.0.tell("started");
    }

    fn stopped(&mut self, _: &mut Context<Self>) {
        let _gone = self.0.tell("ended");
    }
}

impl Handler<Fail> for Hooked {
    type Result = ();

    fn handle(&mut self, Fail(fail): Fail, ctx: &mut Context<Self>) {
        if fail {
            ctx.fail("on purpose");
        } else {
            ctx.stop();
        }
    }
}

async fn hooks(system: &ActorSystem) -> Part {
    let (tell, mut told) = probe();
    let props = Props::new(move || Hooked(tell.clone())).supervise(Strategy::restart());
    let hooked = system.spawn(props, "hooked");
    for fail in [true, false] {
        let _enqueued = hooked.tell(Fail(fail));
    }
    hooked.when_stopped().await;
    say(&format!("5 hooks: {}", words(drain(&mut told))))?;
    Ok(())
}

/// Cannot connect.
struct Client(Recipient<Instant>);

impl Actor for Client {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let _gone = self.0.tell(Instant::now());
        ctx.fail("connection refused");
    }
}

pub(crate) async fn backoff() -> Part {
    let system = ActorSystem::new("backoff", 1);
    let (tell, mut attempts) = probe();
    let strategy = Strategy::restart()
        .with_backoff(200 * MS, SECOND)
        .with_jitter(0.0);
    let start = Instant::now();
    let props = Props::new(move || Client(tell.clone()));
    system.spawn(props.supervise(strategy), "client");
    sleep(2600 * MS).await;
    // A timer of tokio's is late by a millisecond or two.
    let round = |at: Instant| (at - start).as_millis() / 50 * 50;
    let at = words(drain(&mut attempts).into_iter().map(round));
    say(&format!("6 attempts at ms: {at}"))?;
    system.terminate().await;
    Ok(())
}
