//! What an actor whose mailbox never empties does to its own timer and to a sibling on its thread.
//!
//! The flood feeds itself: each message that is handled sends the next. So the mailbox is never empty, however
//! slow a sender's thread is on a busy machine.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use actix::{Actor, AsyncContext, Handler, Message};
use actix_rt::{Arbiter, System};
use kebne_actors::{ActorSystem, Props};

use crate::numbers::quantile;

/// How long one flood lasts.
const LASTS: Duration = Duration::from_secs(3);
/// How often the flooded actor's timer is due.
const PERIOD: Duration = Duration::from_millis(10);
/// How long a flooded actor is busy with one message.
const WORK: Duration = Duration::from_micros(2);
/// Messages that are under way at any time.
const UNDER_WAY: u64 = 500;

#[derive(Message)]
#[rtype(result = "()")]
struct Work;

#[derive(Clone, Message)]
#[rtype(result = "()")]
struct Tick;

/// Asks a sibling, which answers how many of the flood's messages have been handled.
#[derive(Message)]
#[rtype(result = "u64")]
struct Ping;

/// What the flooded actor notes, and the end of the flood.
#[derive(Clone, Default)]
struct Notes {
    handled: Arc<AtomicU64>,
    ticks: Arc<Mutex<Vec<Instant>>>,
    over: Arc<AtomicBool>,
}

impl Notes {
    /// Handles one message; returns `true` if another is to follow.
    fn work(&self) -> bool {
        let start = Instant::now();
        while start.elapsed() < WORK {
            std::hint::spin_loop();
        }
        self.handled.fetch_add(1, SeqCst);
        !self.over.load(SeqCst)
    }

    fn tick(&self) {
        self.ticks.lock().unwrap().push(Instant::now());
    }
}

struct KebneFlooded(Notes);

impl Actor for KebneFlooded {
    type Context = kebne_actors::Context<Self>;
    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.start_timer_at_fixed_rate("tick", Tick, PERIOD);
    }
}

impl Handler<Work> for KebneFlooded {
    type Result = ();
    fn handle(&mut self, _: Work, ctx: &mut Self::Context) {
        if self.0.work() {
            assert!(ctx.self_ref().tell(Work).is_enqueued());
        }
    }
}

impl Handler<Tick> for KebneFlooded {
    type Result = ();
    fn handle(&mut self, _: Tick, _: &mut Self::Context) {
        self.0.tick();
    }
}

struct KebneSibling(Notes);

impl Actor for KebneSibling {
    type Context = kebne_actors::Context<Self>;
}

impl Handler<Ping> for KebneSibling {
    type Result = u64;
    fn handle(&mut self, _: Ping, _: &mut Self::Context) -> u64 {
        self.0.handled.load(SeqCst)
    }
}

struct Flooded(Notes);

impl Actor for Flooded {
    type Context = actix::Context<Self>;
    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(PERIOD, |actor, _| actor.0.tick());
    }
}

impl Handler<Work> for Flooded {
    type Result = ();
    fn handle(&mut self, _: Work, ctx: &mut Self::Context) {
        if self.0.work() {
            ctx.address().do_send(Work);
        }
    }
}

struct Sibling(Notes);

impl Actor for Sibling {
    type Context = actix::Context<Self>;
}

impl Handler<Ping> for Sibling {
    type Result = u64;
    fn handle(&mut self, _: Ping, _: &mut Self::Context) -> u64 {
        self.0.handled.load(SeqCst)
    }
}

/// What a flood did.
struct Outcome {
    /// Each answer's time; one that never came counts as the whole flood.
    pings: Vec<f64>,
    /// The flood's messages that were handled between each ping and its answer.
    between: Vec<f64>,
    /// How much later than wanted each tick came after the one before.
    late: Vec<f64>,
    ticks: usize,
}

/// Pings a sibling, one after the other, until the flood is over.
#[expect(clippy::cast_precision_loss, reason = "a count of some millions")]
async fn pings(notes: &Notes, ping: impl AsyncFn() -> u64) -> Outcome {
    let started = Instant::now();
    let (mut pings, mut between) = (Vec::new(), Vec::new());
    while started.elapsed() < LASTS {
        let (sent, before) = (Instant::now(), notes.handled.load(SeqCst));
        let left = LASTS.saturating_sub(started.elapsed());
        let answer = tokio::time::timeout(left, ping()).await;
        let after = answer.unwrap_or_else(|_| notes.handled.load(SeqCst));
        pings.push(sent.elapsed().as_secs_f64());
        between.push((after - before) as f64);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let ticks = notes.ticks.lock().unwrap();
    let gaps = ticks.iter().zip(ticks.iter().skip(1));
    let late = gaps.map(|(before, tick)| {
        let gap = tick.duration_since(*before);
        gap.saturating_sub(PERIOD).as_secs_f64()
    });
    let outcome = Outcome {
        pings,
        between,
        late: late.collect(),
        ticks: ticks.len(),
    };
    notes.over.store(true, SeqCst);
    outcome
}

fn kebne(under_way: u64) -> Outcome {
    System::new().block_on(async {
        let system = ActorSystem::new("flood", 1);
        let arbiter = Arbiter::new();
        let notes = Notes::default();
        let kept = notes.clone();
        let props = Props::new(move || KebneFlooded(kept.clone()));
        let flooded = system.spawn(props.on_arbiter(arbiter.handle()), "flooded");
        let kept = notes.clone();
        let props = Props::new(move || KebneSibling(kept.clone()));
        let sibling = system.spawn(props.on_arbiter(arbiter.handle()), "sibling");
        sibling.ask(Ping, LASTS).await.unwrap();
        for _ in 0..under_way {
            assert!(flooded.tell(Work).is_enqueued());
        }
        let ping = async || sibling.ask(Ping, 2 * LASTS).await.unwrap();
        let outcome = pings(&notes, ping).await;
        system.terminate().await;
        arbiter.stop();
        arbiter.join().unwrap();
        outcome
    })
}

fn stock(under_way: u64) -> Outcome {
    System::new().block_on(async {
        let arbiter = Arbiter::new();
        let notes = Notes::default();
        let kept = notes.clone();
        let flooded = Flooded::start_in_arbiter(&arbiter.handle(), |_| Flooded(kept));
        let kept = notes.clone();
        let sibling = Sibling::start_in_arbiter(&arbiter.handle(), |_| Sibling(kept));
        sibling.send(Ping).await.unwrap();
        for _ in 0..under_way {
            flooded.do_send(Work);
        }
        let outcome = pings(&notes, async || sibling.send(Ping).await.unwrap()).await;
        arbiter.stop();
        arbiter.join().unwrap();
        outcome
    })
}

/// Runs one flood each, and as long without one, and prints what it did.
pub(crate) fn print() {
    eprintln!("flood: {LASTS:?} each, and {LASTS:?} each without");
    let (calm, calm_stock) = (kebne(0), stock(0));
    let (ours, theirs) = (kebne(UNDER_WAY), stock(UNDER_WAY));
    let wanted = LASTS.as_millis() / PERIOD.as_millis();
    let line =
        |name: &str, goal: &str, shown: &dyn Fn(&Outcome) -> String, sides: [&Outcome; 2]| {
            let name = format!("flood: {name}");
            println!(
                "{name:<44} {:>28} {:>28} {:>19}  {goal}",
                shown(sides[0]),
                shown(sides[1]),
                "-"
            );
        };
    let answer = |at: f64| {
        move |o: &Outcome| {
            format!(
                "{:.2} ms of {}",
                quantile(&mut o.pings.clone(), at) * 1e3,
                o.pings.len()
            )
        }
    };
    let between =
        |at: f64| move |o: &Outcome| format!("{:.0}", quantile(&mut o.between.clone(), at));
    let late = |at: f64| {
        move |o: &Outcome| {
            let late = quantile(&mut o.late.clone(), at) * 1e3;
            if late.is_nan() {
                return format!("never, {} of {wanted}", o.ticks);
            }
            format!("{late:.2} ms of {}/{wanted}", o.ticks)
        }
    };
    line(
        "sibling's answer without it, p99",
        "",
        &answer(0.99),
        [&calm, &calm_stock],
    );
    line(
        "sibling's answer, median",
        "",
        &answer(0.5),
        [&ours, &theirs],
    );
    line(
        "sibling's answer, p99",
        "kebne < 5 ms",
        &answer(0.99),
        [&ours, &theirs],
    );
    line(
        "messages before the answer, p99",
        "",
        &between(0.99),
        [&ours, &theirs],
    );
    line(
        "own timer's lateness without it, p99",
        "",
        &late(0.99),
        [&calm, &calm_stock],
    );
    line(
        "own timer's lateness, p99",
        "on time",
        &late(0.99),
        [&ours, &theirs],
    );
}
