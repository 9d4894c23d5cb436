//! Chapter 12.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
};

use actix::{Actor, Handler};
use kebne_actors::{
    ActorSystem, Context, Props, Recipient, Strategy,
    work_pulling::{Delivery, WorkPulling},
};

use crate::{Part, SECOND, drain, probe, say, settle, words};

struct Job(u32);

/// The first worker that gets job 3 fails of it.
struct Worker {
    done: Recipient<u32>,
    sabotage: Arc<AtomicBool>,
    deliveries: Arc<AtomicU32>,
}

impl Actor for Worker {
    type Context = Context<Self>;
}

impl Handler<Delivery<Job>> for Worker {
    type Result = ();

    fn handle(&mut self, delivery: Delivery<Job>, ctx: &mut Context<Self>) {
        let number = delivery.job().0;
        if number == 3 {
            self.deliveries.fetch_add(1, SeqCst);
            if self.sabotage.swap(false, SeqCst) {
                return ctx.fail("the worker dies");
            }
        }
        let _gone = self.done.tell(number);
        delivery.confirm();
    }
}

/// Keeps what it gets.
struct Slow {
    begun: Recipient<u32>,
    held: Vec<Delivery<Job>>,
}

impl Actor for Slow {
    type Context = Context<Self>;
}

impl Handler<Delivery<Job>> for Slow {
    type Result = ();

    fn handle(&mut self, delivery: Delivery<Job>, _: &mut Context<Self>) {
        let _gone = self.begun.tell(delivery.job().0);
        self.held.push(delivery);
    }
}

pub(crate) async fn run() -> Part {
    let system = ActorSystem::new("conversion", 1);
    let desk = WorkPulling::<Job>::builder().spawn(&system, "desk");
    let (tell, mut done) = probe();
    let sabotage = Arc::new(AtomicBool::new(true));
    let deliveries = Arc::new(AtomicU32::new(0));
    for _ in 0..2 {
        let (done, sabotage) = (tell.clone(), Arc::clone(&sabotage));
        let deliveries = Arc::clone(&deliveries);
        let props = Props::new(move || Worker {
            done: done.clone(),
            sabotage: Arc::clone(&sabotage),
            deliveries: Arc::clone(&deliveries),
        });
        desk.register(&system.spawn(props.supervise(Strategy::restart()), "worker"));
    }
    let receipts: Vec<_> = (1..=6).map(|number| desk.submit(Job(number))).collect();
    for receipt in receipts {
        let mut receipt = receipt.map_err(|(error, _)| error)?;
        receipt.confirmed_within(60 * SECOND).await?;
    }
    let mut all = drain(&mut done);
    all.sort_unstable();
    say(&format!("12 done though a worker died: {}", words(all)))?;
    let deliveries = deliveries.load(SeqCst);
    say(&format!(
        "12 deliveries of the job it died of: {deliveries}"
    ))?;

    let desk = WorkPulling::<Job>::builder()
        .buffer(1000)
        .spawn(&system, "slow-desk");
    let (begun, mut beginnings) = probe();
    let props = Props::new(move || Slow {
        begun: begun.clone(),
        held: Vec::new(),
    });
    desk.register(&system.spawn(props, "slow"));
    for number in 0..1000 {
        let _enqueued = desk.offer(Job(number));
    }
    settle().await;
    let another = drain(&mut beginnings).len() > 1;
    say(&format!(
        "12 a worker that does not confirm begins another: {another}"
    ))?;
    let waiting = desk.stats().await?.in_work - 1;
    say(&format!(
        "differs: 12 jobs that wait behind it, at the worker: {waiting}"
    ))?;
    system.terminate().await;
    Ok(())
}
