use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use actix::{Actor, Handler, Message};
use tokio::time::Instant;

use super::*;
use crate::system::{ActorRef, ActorSystem, AskError, Context, DeadLetter, Props, StopCause};

const SECOND: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, PartialEq, Message)]
#[rtype(result = "u32")]
struct Number(u32);

#[derive(Clone, Debug, PartialEq, Message)]
#[rtype(result = "()")]
struct Text(&'static str);

#[actix::test]
async fn a_probe_receives_in_order_and_says_what_did_not_come() {
    tokio::time::pause();
    let system = ActorSystem::new("test", 1);
    let mut probe = Probe::<Text>::new(&system, "probe");
    for text in ["a", "b", "c", "d", "e", "f"] {
        assert!(probe.actor_ref().tell(Text(text)).is_enqueued());
    }
    assert_eq!(probe.expect_message(SECOND).await, Text("a"));
    probe.expect_eq(&Text("b"), SECOND).await;
    let both = probe.receive_messages(2, SECOND).await;
    assert_eq!(both, [Text("c"), Text("d")]);
    let fished = probe.fish_for(SECOND, |text| match text.0 {
        "e" => Fish::Skip,
        _ => Fish::Done,
    });
    assert_eq!(fished.await, [Text("f")]);
    probe.expect_no_message(SECOND).await;
    probe.assert_quiet();
    assert_eq!(probe.try_receive(), None);
}

#[actix::test]
#[should_panic(expected = "but none was expected")]
async fn a_probe_that_was_to_hear_nothing_fails_at_a_message() {
    tokio::time::pause();
    let system = ActorSystem::new("test", 1);
    let mut probe = Probe::<Text>::new(&system, "probe");
    assert!(probe.recipient().tell(Text("a")).is_enqueued());
    probe.expect_no_message(SECOND).await;
}

#[actix::test]
#[should_panic(expected = "1 of 2 kebne_actors::testkit::tests::Text came within 1s")]
async fn a_probe_fails_when_fewer_come() {
    tokio::time::pause();
    let system = ActorSystem::new("test", 1);
    let mut probe = Probe::<Text>::new(&system, "probe");
    assert!(probe.recipient().tell(Text("a")).is_enqueued());
    probe.receive_messages(2, SECOND).await;
}

#[actix::test]
async fn a_probe_answers_asks_when_the_test_says_so() {
    tokio::time::pause();
    let system = ActorSystem::new("test", 1);
    let mut probe = Probe::<Number>::new(&system, "probe");
    let actor = probe.actor_ref().clone();
    let asking = actix_rt::spawn(async move { actor.ask(Number(1), SECOND).await });
    let asked = probe.expect_asked(SECOND).await;
    assert!(asked.has_asker());
    assert_eq!(asked.message, Number(1));
    asked.reply(7);
    assert_eq!(asking.await.unwrap(), Ok(7));
    let actor = probe.actor_ref().clone();
    let asking = actix_rt::spawn(async move { actor.ask(Number(2), SECOND).await });
    probe.expect_eq(&Number(2), SECOND).await;
    assert_eq!(asking.await.unwrap(), Err(AskError::Failed));
}

#[actix::test]
async fn a_probe_sees_ends_and_events() {
    tokio::time::pause();
    let system = ActorSystem::new("test", 1);
    let mut letters = Probe::<DeadLetter>::of_events(&system, "letters");
    let other = Probe::<Text>::new(&system, "other");
    other.stop();
    let cause = letters.expect_terminated(other.actor_ref(), SECOND).await;
    assert_eq!(cause, StopCause::Stopped);
    let again = letters.expect_terminated(other.actor_ref(), SECOND).await;
    assert_eq!(again, StopCause::Stopped);
    assert!(!other.recipient().tell(Text("late")).is_enqueued());
    let letter = letters.expect_message(SECOND).await;
    assert_eq!(&*letter.path, "/user/other");
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn note(&self, entry: String) {
        self.0.lock().unwrap().push(entry);
    }
}

/// Passes each number on to the next in the ring, until it is used up, and ticks by a timer.
struct Ring {
    name: &'static str,
    log: Log,
    next: Option<ActorRef<Ring>>,
    born: Instant,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Join(ActorRef<Ring>);

#[derive(Clone, Message)]
#[rtype(result = "()")]
struct Tick;

impl Ring {
    fn note(&self, what: &str) {
        let at = self.born.elapsed().as_millis();
        self.log.note(format!("{at} {} {what}", self.name));
    }
}

impl Actor for Ring {
    type Context = Context<Self>;
    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.start_timer_at_fixed_rate("tick", Tick, Duration::from_millis(10));
    }
}

impl Handler<Join> for Ring {
    type Result = ();
    fn handle(&mut self, Join(next): Join, _: &mut Context<Self>) {
        self.next = Some(next);
    }
}

impl Handler<Number> for Ring {
    type Result = u32;
    fn handle(&mut self, Number(n): Number, _: &mut Context<Self>) -> u32 {
        self.note(&format!("number {n}"));
        if let (Some(next), Some(less)) = (&self.next, n.checked_sub(1)) {
            assert!(next.tell(Number(less)).is_enqueued());
        }
        n
    }
}

impl Handler<Tick> for Ring {
    type Result = ();
    fn handle(&mut self, _: Tick, ctx: &mut Context<Self>) {
        self.note("tick");
        let (next, nap) = (self.next.clone(), Duration::from_millis(3));
        ctx.pipe_to_self(tokio::time::sleep(nap), |()| Slept);
        if let Some(next) = next {
            assert!(next.tell(Number(1)).is_enqueued());
        }
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Slept;

impl Handler<Slept> for Ring {
    type Result = ();
    fn handle(&mut self, _: Slept, _: &mut Context<Self>) {
        self.note("slept");
    }
}

/// Runs a ring over three arbiters and the test's own; returns what happened, in order.
fn ring(seed: u64) -> Vec<String> {
    let log = Log::default();
    let kept = log.clone();
    ManualClock::run(seed, async move |clock| {
        let system = ActorSystem::new("ring", 1);
        let born = Instant::now();
        let spawn = |name, arbiter: Option<_>| {
            let log = log.clone();
            let props = Props::new(move || Ring {
                name,
                log: log.clone(),
                next: None,
                born,
            });
            match arbiter {
                Some(arbiter) => system.spawn(props.on_arbiter(arbiter), name),
                None => system.spawn(props, name),
            }
        };
        let ring = [
            spawn("a", None),
            spawn("b", Some(clock.arbiter())),
            spawn("c", Some(clock.arbiter())),
            spawn("d", Some(clock.arbiter())),
        ];
        for (actor, next) in ring.iter().zip(ring.iter().cycle().skip(1)) {
            assert!(actor.tell(Join(next.clone())).is_enqueued());
        }
        for actor in &ring {
            assert!(actor.tell(Number(5)).is_enqueued());
        }
        clock.time_passes(Duration::from_millis(100)).await;
        assert_eq!(born.elapsed(), Duration::from_millis(100));
        log.note("end".to_owned());
        system.terminate().await;
    });
    let entries = kept.0.lock().unwrap();
    let end = entries.iter().position(|entry| entry == "end").unwrap();
    entries[..end].to_vec()
}

#[test]
fn twenty_runs_over_three_arbiters_have_one_order_of_events() {
    let first = ring(7);
    // Ten ticks of four actors, each with a nap that may not be over, and what they tell.
    assert!(first.iter().filter(|e| e.contains("tick")).count() == 40);
    assert!(first.iter().filter(|e| e.contains("slept")).count() == 36);
    assert_eq!(
        first.iter().filter(|e| e.contains("number")).count(),
        4 * 6 + 40 * 2
    );
    let times = first
        .iter()
        .map(|e| e.split(' ').next().unwrap().parse::<u64>().unwrap());
    assert!(times.is_sorted(), "time went back");
    for _ in 0..20 {
        assert_eq!(ring(7), first);
    }
    let mut other = ring(8);
    assert_ne!(
        other, first,
        "another seed has another order among the arbiters"
    );
    let mut sorted = first;
    sorted.sort();
    other.sort();
    assert_eq!(other, sorted, "but the same events at the same times");
}

#[test]
fn time_passes_to_the_due_instant_of_any_arbiter_and_no_further() {
    ManualClock::run(1, async |clock| {
        let system = ActorSystem::new("test", 1);
        let mut probe = Probe::<Text>::new(&system, "probe");
        let recipient = probe.recipient();
        let far = clock.arbiter();
        assert!(far.spawn(async move {
            tokio::time::sleep(3600 * SECOND).await;
            assert!(recipient.tell(Text("an hour")).is_enqueued());
        }));
        let start = Instant::now();
        clock
            .expect_no_message_for(3599 * SECOND, &mut [&mut probe])
            .await;
        assert_eq!(start.elapsed(), 3599 * SECOND);
        assert_eq!(probe.expect_message(2 * SECOND).await, Text("an hour"));
        assert_eq!(start.elapsed(), 3600 * SECOND);
        clock.settle().await;
        assert_eq!(start.elapsed(), 3600 * SECOND);
    });
}

#[test]
#[should_panic(expected = "waits for something that cannot happen")]
fn a_wait_that_nothing_can_end_panics() {
    ManualClock::run(1, async |clock| {
        clock.arbiter();
        std::future::pending::<()>().await;
    });
}

#[test]
fn a_wait_of_no_time_sees_what_happens_without_time_passing_on_every_arbiter() {
    for seed in 1..=20 {
        ManualClock::run(seed, async |clock| {
            let system = ActorSystem::new("test", seed);
            let mut probe = Probe::<Text>::new(&system, "probe");
            for _ in 0..3 {
                let (recipient, far) = (probe.recipient(), clock.arbiter());
                let relay = clock.arbiter();
                assert!(far.spawn(async move {
                    assert!(relay.spawn(async move {
                        assert!(recipient.tell(Text("here")).is_enqueued());
                    }));
                }));
                let message = probe.expect_message(Duration::ZERO).await;
                assert_eq!(message, Text("here"));
            }
            probe.expect_no_message(Duration::ZERO).await;
        });
    }
}

#[test]
#[should_panic(expected = "on purpose")]
fn a_panic_in_the_body_ends_all_threads_and_is_the_tests() {
    ManualClock::run(1, async |clock| {
        let system = ActorSystem::new("test", 1);
        let props = Props::new(|| Ring {
            name: "a",
            log: Log::default(),
            next: None,
            born: Instant::now(),
        });
        system.spawn(props.on_arbiter(clock.arbiter()), "a");
        clock.time_passes(SECOND).await;
        panic!("on purpose");
    });
}

#[test]
fn blocking_work_holds_the_time() {
    ManualClock::run(1, async |clock| {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let start = Instant::now();
        assert!(clock.arbiter().spawn(async move {
            let work = tokio::task::spawn_blocking(|| (0..1_000_000_u64).sum::<u64>());
            sender.send(work.await.unwrap()).unwrap();
        }));
        let sum = tokio::time::timeout(SECOND, receiver).await;
        assert_eq!(sum.unwrap().unwrap(), 499_999_500_000);
        assert_eq!(start.elapsed(), Duration::ZERO);
    });
}
