//! The bound, the closing and the supervisor under several threads, with chance from a seed.
//!
//! What is checked holds in every order of events, so that a failure is a fault whatever the order was. The
//! seed is printed; `KEBNE_STRESS_SEED` sets another. A seed repeats what is done, not how the threads meet.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test ends at the first surprise, and says its seed"
)]

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use actix::{Actor, Handler, Message};
use actix_rt::Arbiter;
use kebne_actors::{
    ActorRef, ActorSystem, AskError, Context, Offer, Overflow, Props, Strategy, Terminated,
};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

/// Threads that send at once: more than a small machine has cores.
const SENDERS: u64 = 4;
/// Rounds of each test; all of them take a second or two.
const ROUNDS: u64 = 100;
/// Longer than anything here takes.
const LONG: Duration = Duration::from_mins(5);

fn seed() -> u64 {
    let seed = std::env::var("KEBNE_STRESS_SEED").map_or(1, |text| text.parse().unwrap());
    println!("KEBNE_STRESS_SEED={seed}");
    seed
}

#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
enum Job {
    Count,
    Panic,
    Fail,
}

impl Job {
    fn by_chance(chance: &mut fastrand::Rng) -> Self {
        match chance.u32(..100) {
            0 => Self::Panic,
            1 => Self::Fail,
            _ => Self::Count,
        }
    }
}

/// Counts what it was given, before it fails.
struct Counter {
    given: Arc<AtomicU64>,
}

impl Actor for Counter {
    type Context = Context<Self>;
}

impl Handler<Job> for Counter {
    type Result = ();
    fn handle(&mut self, job: Job, ctx: &mut Context<Self>) {
        self.given.fetch_add(1, SeqCst);
        match job {
            Job::Count => {}
            Job::Panic => panic!("by chance"),
            Job::Fail => ctx.fail("by chance"),
        }
    }
}

fn counter(given: &Arc<AtomicU64>) -> Props<Counter> {
    let given = Arc::clone(given);
    Props::new(move || Counter {
        given: Arc::clone(&given),
    })
}

/// What one sender saw.
#[derive(Default)]
struct Sent {
    offered: u64,
    enqueued: u64,
}

/// Tells so many jobs from a thread of its own; sees that the mailbox never exceeds its bound.
fn sender(
    actor: ActorRef<Counter>,
    capacity: usize,
    jobs: u64,
    mut chance: fastrand::Rng,
) -> thread::JoinHandle<Sent> {
    thread::spawn(move || {
        let mut sent = Sent::default();
        for _ in 0..jobs {
            // Each from a clone of its own, which in actix has a free slot.
            let offer = actor.clone().tell(Job::by_chance(&mut chance));
            sent.offered += 1;
            sent.enqueued += u64::from(offer.is_enqueued());
            let waiting = actor.report().mailbox;
            assert!(waiting <= capacity, "{waiting} of {capacity} wait");
            if offer == Offer::Dropped && chance.bool() {
                thread::yield_now();
            }
        }
        sent
    })
}

#[actix::test]
async fn every_offered_message_is_handled_or_a_dead_letter_and_the_bound_holds() {
    let mut chance = fastrand::Rng::with_seed(seed());
    let arbiters = [Arbiter::new(), Arbiter::new()];
    let overflows = [
        Overflow::DropNew,
        Overflow::DropHead,
        Overflow::DropTail,
        Overflow::DropBuffer,
        Overflow::Backpressure,
    ];
    for round in 0..ROUNDS {
        let system = ActorSystem::new("stress", round);
        let given = Arc::new(AtomicU64::new(0));
        let capacity = chance.usize(1..32);
        let overflow = *chance.choice(&overflows).unwrap();
        let strategy = if chance.bool() {
            Strategy::restart()
        } else {
            Strategy::resume()
        };
        let props = counter(&given)
            .mailbox(capacity)
            .overflow(overflow)
            .supervise(strategy)
            .throughput(chance.usize(1..64));
        let arbiter = chance.choice(&arbiters).unwrap().handle();
        let actor = system.spawn(props.on_arbiter(arbiter), "counter");
        let senders: Vec<_> = (0..SENDERS)
            .map(|_| sender(actor.clone(), capacity, 1_000, chance.fork()))
            .collect();
        // In half of the rounds it is closed while they send.
        if chance.bool() {
            actor.stop();
        }
        let (mut offered, mut enqueued) = (0, 0);
        for sender in senders {
            let sent = sender.join().unwrap();
            offered += sent.offered;
            enqueued += sent.enqueued;
        }
        actor.stop();
        actor.when_stopped().await;
        system.terminate().await;
        let (given, dead) = (given.load(SeqCst), system.dead_letters());
        assert_eq!(
            offered,
            given + dead,
            "round {round}, {overflow:?}, {capacity}"
        );
        assert!(given <= enqueued, "round {round}, {overflow:?}, {capacity}");
    }
    for arbiter in arbiters {
        arbiter.stop();
        arbiter.join().unwrap();
    }
}

#[actix::test]
async fn senders_that_wait_for_room_all_get_in_or_hear_that_it_closed() {
    let mut chance = fastrand::Rng::with_seed(seed());
    let arbiter = Arbiter::new();
    for round in 0..ROUNDS {
        let system = ActorSystem::new("stress", round);
        let given = Arc::new(AtomicU64::new(0));
        let capacity = chance.usize(1..4);
        let props = counter(&given)
            .mailbox(capacity)
            .overflow(Overflow::Backpressure)
            .supervise(Strategy::restart());
        let actor = system.spawn(props.on_arbiter(arbiter.handle()), "counter");
        let closes = chance.bool();
        let waiting: Vec<_> = (0..SENDERS)
            .map(|_| {
                let (actor, mut chance) = (actor.clone(), chance.fork());
                let sender = Arbiter::new();
                let (ended, end) = tokio::sync::oneshot::channel();
                assert!(sender.spawn(async move {
                    let mut closed = 0_u64;
                    for _ in 0..250 {
                        match actor.offer(Job::by_chance(&mut chance)).await {
                            Offer::Enqueued => {}
                            Offer::Closed => closed += 1,
                            other => panic!("an offer that waits was {other:?}"),
                        }
                    }
                    ended.send(closed).unwrap();
                }));
                (sender, end)
            })
            .collect();
        if closes {
            actor.stop();
        }
        let mut closed = 0;
        for (sender, end) in waiting {
            closed += tokio::time::timeout(LONG, end).await.unwrap().unwrap();
            sender.stop();
            sender.join().unwrap();
        }
        assert!(closes || closed == 0, "round {round}");
        actor.stop();
        actor.when_stopped().await;
        let (given, dead) = (given.load(SeqCst), system.dead_letters());
        assert_eq!(
            SENDERS * 250,
            given + dead,
            "round {round}, {closed} closed"
        );
        system.terminate().await;
    }
    arbiter.stop();
    arbiter.join().unwrap();
}

/// Tells the test of each end that it hears of.
struct Watcher {
    ends: UnboundedSender<String>,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Watch(ActorRef<Counter>);

impl Actor for Watcher {
    type Context = Context<Self>;
}

impl Handler<Watch> for Watcher {
    type Result = ();
    fn handle(&mut self, Watch(victim): Watch, ctx: &mut Context<Self>) {
        ctx.watch(&victim);
    }
}

impl Handler<Terminated> for Watcher {
    type Result = ();
    fn handle(&mut self, ended: Terminated, _: &mut Context<Self>) {
        self.ends.send(ended.path.to_string()).unwrap();
    }
}

#[actix::test]
async fn each_end_is_heard_of_once_by_each_watcher_whatever_the_order() {
    let mut chance = fastrand::Rng::with_seed(seed());
    let arbiters = [Arbiter::new(), Arbiter::new(), Arbiter::new()];
    for round in 0..ROUNDS {
        let system = ActorSystem::new("stress", round);
        let (ends, mut heard) = unbounded_channel();
        let watchers: Vec<_> = arbiters
            .iter()
            .map(|arbiter| {
                let ends = ends.clone();
                let props = Props::new(move || Watcher { ends: ends.clone() });
                system.spawn(props.on_arbiter(arbiter.handle()), "watcher")
            })
            .collect();
        let victims: Vec<_> = (0..20)
            .map(|_| {
                let props = counter(&Arc::default());
                let strategy = match chance.u32(..3) {
                    0 => Strategy::stop(),
                    1 => Strategy::restart().with_limit(2, LONG),
                    _ => Strategy::resume(),
                };
                let arbiter = chance.choice(&arbiters).unwrap().handle();
                system.spawn(props.supervise(strategy).on_arbiter(arbiter), "victim")
            })
            .collect();
        // One thread asks for the watches while others end the victims, twice and in two ways.
        let threads: Vec<_> = (0..3)
            .map(|part| {
                let (victims, watchers) = (victims.clone(), watchers.clone());
                let mut chance = chance.fork();
                thread::spawn(move || {
                    for victim in &victims {
                        if part == 0 {
                            for watcher in &watchers {
                                assert!(watcher.tell(Watch(victim.clone())).is_enqueued());
                            }
                            continue;
                        }
                        for _ in 0..chance.u32(..4) {
                            // A victim that is gone already is what this is about.
                            let _it_may_be_gone = victim.tell(Job::Panic);
                        }
                        victim.stop();
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        let mut times = BTreeMap::new();
        for _ in 0..victims.len() * watchers.len() {
            let path = tokio::time::timeout(LONG, heard.recv()).await.unwrap();
            *times.entry(path.unwrap()).or_insert(0) += 1;
        }
        system.terminate().await;
        assert!(heard.try_recv().is_err(), "round {round}: heard once more");
        assert_eq!(times.len(), victims.len(), "round {round}");
        assert!(times.values().all(|count| *count == watchers.len()));
    }
    for arbiter in arbiters {
        arbiter.stop();
        arbiter.join().unwrap();
    }
}

/// A parent whose children fail, stop and are made anew on other threads.
struct Parent {
    arbiters: Vec<actix_rt::ArbiterHandle>,
    chance: fastrand::Rng,
    alive: Arc<AtomicUsize>,
}

/// Says how many of its kind live.
struct Child {
    alive: Arc<AtomicUsize>,
}

#[derive(Clone, Copy, Message)]
#[rtype(result = "usize")]
struct Breed(usize);

impl Actor for Parent {
    type Context = Context<Self>;
}

impl Actor for Child {
    type Context = Context<Self>;
    fn started(&mut self, _: &mut Context<Self>) {
        self.alive.fetch_add(1, SeqCst);
    }
    fn stopped(&mut self, _: &mut Context<Self>) {
        self.alive.fetch_sub(1, SeqCst);
    }
}

impl Handler<Job> for Child {
    type Result = ();
    fn handle(&mut self, job: Job, _: &mut Context<Self>) {
        assert!(matches!(job, Job::Count), "by chance");
    }
}

impl Handler<Breed> for Parent {
    type Result = usize;
    fn handle(&mut self, Breed(children): Breed, ctx: &mut Context<Self>) -> usize {
        for _ in 0..children {
            let alive = Arc::clone(&self.alive);
            let props = Props::new(move || Child {
                alive: Arc::clone(&alive),
            });
            let arbiter = self.chance.choice(&self.arbiters).unwrap().clone();
            let strategy = match self.chance.u32(..3) {
                0 => Strategy::restart(),
                1 => Strategy::stop(),
                _ => Strategy::escalate(),
            };
            let child = ctx.spawn_child(props.supervise(strategy).on_arbiter(arbiter), "child");
            if self.chance.u32(..4) == 0 {
                assert!(child.tell(Job::Panic).is_enqueued());
            }
        }
        children
    }
}

#[actix::test]
async fn no_child_outlives_a_parent_that_fails_and_is_stopped_meanwhile() {
    let seed = seed();
    let arbiters = [Arbiter::new(), Arbiter::new(), Arbiter::new()];
    let handles: Vec<_> = arbiters.iter().map(Arbiter::handle).collect();
    for round in 0..ROUNDS {
        let system = ActorSystem::new("stress", round);
        let alive = Arc::new(AtomicUsize::new(0));
        let (kept, hands) = (Arc::clone(&alive), handles.clone());
        let mut chance = fastrand::Rng::with_seed(seed ^ (round << 8));
        let mut own = chance.fork();
        let props = Props::new(move || Parent {
            arbiters: hands.clone(),
            chance: own.fork(),
            alive: Arc::clone(&kept),
        });
        let props = props.supervise(Strategy::restart());
        let parent = system.spawn(props.on_arbiter(handles[0].clone()), "parent");
        for _ in 0..chance.u32(1..20) {
            // A failing child makes the parent fail, at any time.
            match parent.ask(Breed(chance.usize(..4)), LONG).await {
                Ok(_) | Err(AskError::Failed) => {}
                Err(error) => panic!("round {round}: {error}"),
            }
        }
        parent.stop();
        parent.when_stopped().await;
        assert_eq!(alive.load(SeqCst), 0, "round {round}: a child outlived it");
        system.terminate().await;
        assert!(system.tree().is_empty(), "round {round}");
    }
    for arbiter in arbiters {
        arbiter.stop();
        arbiter.join().unwrap();
    }
}

/// Never has an empty mailbox; in its hundredth message another thread pings its sibling.
struct Flooded {
    handled: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    sibling: ActorRef<Sibling>,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Work;

#[derive(Message)]
#[rtype(result = "()")]
struct Ping(u64);

struct Sibling {
    handled: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    waited: UnboundedSender<u64>,
}

impl Actor for Flooded {
    type Context = Context<Self>;
}

impl Actor for Sibling {
    type Context = Context<Self>;
}

impl Handler<Work> for Flooded {
    type Result = ();
    fn handle(&mut self, _: Work, ctx: &mut Context<Self>) {
        let handled = self.handled.fetch_add(1, SeqCst) + 1;
        if handled == 100 {
            let sibling = self.sibling.clone();
            let other = thread::spawn(move || sibling.tell(Ping(handled)));
            assert!(other.join().unwrap().is_enqueued());
        }
        // Without an end this would not end where the sibling is starved.
        if !self.over.load(SeqCst) && handled < 1_000_000 {
            assert!(ctx.self_ref().tell(Work).is_enqueued());
        }
    }
}

impl Handler<Ping> for Sibling {
    type Result = ();
    fn handle(&mut self, Ping(sent): Ping, _: &mut Context<Self>) {
        self.over.store(true, SeqCst);
        let waited = self.handled.load(SeqCst) - sent;
        self.waited.send(waited).unwrap();
    }
}

#[actix::test]
async fn a_flooded_actors_sibling_waits_for_one_turn_when_another_thread_tells_it() {
    const TURN: usize = 16;
    let system = ActorSystem::new("stress", 1);
    let arbiter = Arbiter::new();
    let (handled, over) = (
        Arc::new(AtomicU64::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let (sender, mut waited) = unbounded_channel();
    let (seen, ends) = (Arc::clone(&handled), Arc::clone(&over));
    let props = Props::new(move || Sibling {
        handled: Arc::clone(&seen),
        over: Arc::clone(&ends),
        waited: sender.clone(),
    });
    let sibling = system.spawn(props.on_arbiter(arbiter.handle()), "sibling");
    let props = Props::new(move || Flooded {
        handled: Arc::clone(&handled),
        over: Arc::clone(&over),
        sibling: sibling.clone(),
    });
    let props = props.throughput(TURN).on_arbiter(arbiter.handle());
    let flooded = system.spawn(props, "flooded");
    for _ in 0..50 {
        assert!(flooded.tell(Work).is_enqueued());
    }
    let waited = tokio::time::timeout(LONG, waited.recv()).await.unwrap();
    // The rest of the turn in which it was told, and at most one more.
    assert!(waited.unwrap() <= 2 * TURN as u64, "{waited:?}");
    system.terminate().await;
    arbiter.stop();
    arbiter.join().unwrap();
}
