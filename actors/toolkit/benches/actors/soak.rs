//! Ten million messages with panics by chance: is any lost, and does memory grow?

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Instant,
};

use actix::{Actor, Handler, Message};
use actix_rt::{Arbiter, System};
use kebne_actors::{ActorRef, ActorSystem, Context, Overflow, Props, Strategy, testkit::Faults};

/// Messages in all, from the goal.
const MESSAGES: u64 = 10_000_000;
/// Messages between two looks at the memory.
const STEP: u64 = 1_000_000;
/// The share of messages at which the actor panics.
const PANICS: f64 = 0.001;
/// The chance of the faults; any number would do.
const SEED: u64 = 2_026;

struct Counter(Arc<AtomicU64>);

#[derive(Message)]
#[rtype(result = "()")]
struct Count;

impl Actor for Counter {
    type Context = Context<Self>;
}

impl Handler<Count> for Counter {
    type Result = ();
    fn handle(&mut self, _: Count, _: &mut Context<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// Returns this process's resident memory in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Tells as the mailbox has room; returns how many were accepted.
async fn step(counter: &ActorRef<Counter>) -> u64 {
    let mut accepted = 0;
    for _ in 0..STEP {
        accepted += u64::from(counter.offer(Count).await.is_enqueued());
    }
    accepted
}

pub(crate) fn print() {
    let handled = Arc::new(AtomicU64::new(0));
    let mut faults = Faults::new(SEED).panics(PANICS);
    let mut memory = Vec::new();
    let mut accepted = 0;
    let start = Instant::now();
    let dead = System::new().block_on(async {
        let system = ActorSystem::new("soak", SEED);
        let arbiter = Arbiter::new();
        let kept = Arc::clone(&handled);
        let props = Props::new(move || Counter(Arc::clone(&kept)))
            .supervise(Strategy::restart())
            .overflow(Overflow::Backpressure)
            .on_arbiter(arbiter.handle());
        let counter = system.spawn(faults.inject(props), "counter");
        for done in 1..=MESSAGES / STEP {
            accepted += step(&counter).await;
            memory.push(resident());
            eprintln!(
                "soak: {done} of {} million, {} KiB",
                MESSAGES / STEP,
                resident()
            );
        }
        // What waits now is handled before the stop, or is a dead letter.
        counter.stop();
        counter.when_stopped().await;
        system.terminate().await;
        arbiter.stop();
        arbiter.join().unwrap();
        system.dead_letters()
    });
    let (handled, failed) = (handled.load(SeqCst), faults.counts().panics);
    let took = start.elapsed();
    println!(
        "soak: {accepted} accepted of {MESSAGES} = {handled} handled + {failed} failed + {dead} dead letters, in {:.1} s (seed {SEED})",
        took.as_secs_f64()
    );
    assert_eq!(
        accepted,
        handled + failed + dead,
        "accepted messages were lost"
    );
    let shown: Vec<String> = memory
        .iter()
        .map(|kib| format!("{:.1}", f64::from(u32::try_from(*kib).unwrap()) / 1024.0))
        .collect();
    println!("soak: resident MiB after each million: {}", shown.join(" "));
}
