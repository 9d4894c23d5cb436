//! Solution of exercise 7. A worker fails at job 13 and loses the jobs in its mailbox. The dispatcher must watch its worker and give
//! the unfinished jobs, except the failing one, to a new worker.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use actix::{Actor, Handler, Message};
use kebne_actors::{ActorRef, ActorSystem, Context, Props, Recipient, Terminated};

#[derive(Clone, Copy, Message)]
#[rtype(result = "()")]
struct Job(u32);

#[derive(Message)]
#[rtype(result = "()")]
struct Done(u32);

/// Does its jobs in order and reports each.
struct Worker(Recipient<Done>);

impl Actor for Worker {
    type Context = Context<Self>;
}

impl Handler<Job> for Worker {
    type Result = ();

    fn handle(&mut self, Job(number): Job, _: &mut Context<Self>) {
        assert_ne!(number, 13, "a deadly job");
        let _gone = self.0.tell(Done(number));
    }
}

/// Keeps the unfinished jobs and gives all of them to one worker.
struct Dispatcher {
    worker: Option<ActorRef<Worker>>,
    unfinished: BTreeSet<u32>,
    done: Arc<Mutex<Vec<u32>>>,
}

impl Dispatcher {
    fn hire(&mut self, ctx: &mut Context<Self>) {
        let report = ctx.self_ref().recipient();
        let worker = ctx.spawn_child(Props::new(move || Worker(report.clone())), "worker");
        ctx.watch(&worker);
        for job in &self.unfinished {
            let _gone = worker.tell(Job(*job));
        }
        self.worker = Some(worker);
    }
}

impl Actor for Dispatcher {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.hire(ctx);
    }
}

impl Handler<Job> for Dispatcher {
    type Result = ();

    fn handle(&mut self, job: Job, _: &mut Context<Self>) {
        self.unfinished.insert(job.0);
        if let Some(worker) = &self.worker {
            let _gone = worker.tell(job);
        }
    }
}

impl Handler<Done> for Dispatcher {
    type Result = ();

    fn handle(&mut self, Done(number): Done, _: &mut Context<Self>) {
        self.unfinished.remove(&number);
        self.done.lock().unwrap().push(number);
    }
}

impl Handler<Terminated> for Dispatcher {
    type Result = ();

    fn handle(&mut self, _: Terminated, ctx: &mut Context<Self>) {
        // A worker does its jobs in order, so the first unfinished job is the one that failed.
        self.unfinished.pop_first();
        self.hire(ctx);
    }
}

// The check: leave it as it is.

pub(crate) async fn check() {
    tokio::time::pause();
    let system = ActorSystem::new("exercise", 1);
    let done = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&done);
    let props = Props::new(move || Dispatcher {
        worker: None,
        unfinished: BTreeSet::new(),
        done: Arc::clone(&log),
    });
    let dispatcher = system.spawn(props, "dispatcher");
    for number in 11..16 {
        assert!(dispatcher.tell(Job(number)).is_enqueued());
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut done = done.lock().unwrap().clone();
    done.sort_unstable();
    assert_eq!(
        done,
        [11, 12, 14, 15],
        "exercise 7: only the deadly job is lost"
    );
}
