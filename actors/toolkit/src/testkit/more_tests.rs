use std::time::Duration;

use actix::{Actor, ActorContext, AsyncContext, Handler, Message, fut::wrap_future};
use tracing::Level;

use super::*;
use crate::system::{ActorRef, ActorSystem, AskError, Context, Props, Recipient, Strategy};

const SECOND: Duration = Duration::from_secs(1);

/// Runs the functions that it receives on its context.
struct Clerk {
    owner: Recipient<Done>,
    handled: u32,
}

#[derive(Clone, Debug, PartialEq, Message)]
#[rtype(result = "()")]
struct Done(u32);

#[derive(Clone, Message)]
#[rtype(result = "u32")]
enum Order {
    Hire,
    Remind,
    Forget,
    Later,
    Resume,
    TellOneself,
    Wait,
    Fail,
    Panic,
    Stop,
    Count,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Watch(ActorRef<ProbeActor<Done>>, bool);

impl Actor for Clerk {
    type Context = Context<Self>;
    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_receive_timeout(60 * SECOND, Order::Count);
    }
}

impl Handler<Order> for Clerk {
    type Result = u32;
    fn handle(&mut self, order: Order, ctx: &mut Context<Self>) -> u32 {
        self.handled += 1;
        match order {
            Order::Hire => {
                let owner = self.owner.clone();
                let props = Props::new(move || Self {
                    owner: owner.clone(),
                    handled: 0,
                });
                let child = ctx.spawn_child(props, "junior");
                assert!(child.tell(Order::Count).is_enqueued());
            }
            Order::Remind => ctx.start_timer("reminder", Done(7), 5 * SECOND),
            Order::Forget => assert!(ctx.cancel_timer("reminder")),
            Order::Later => assert!(ctx.stash(Order::Count).is_ok()),
            Order::Resume => ctx.unstash_all(),
            Order::TellOneself => assert!(ctx.self_ref().tell(Done(1)).is_enqueued()),
            Order::Wait => {
                ctx.wait(wrap_future(std::future::pending()));
                AsyncContext::spawn(ctx, wrap_future(std::future::pending()));
            }
            Order::Fail => ctx.fail("on purpose"),
            Order::Panic => panic!("on purpose"),
            Order::Stop => ActorContext::stop(ctx),
            Order::Count => {}
        }
        self.handled
    }
}

impl Handler<Done> for Clerk {
    type Result = ();
    fn handle(&mut self, done: Done, _: &mut Context<Self>) {
        assert!(self.owner.tell(done).is_enqueued());
    }
}

impl Handler<Watch> for Clerk {
    type Result = ();
    fn handle(&mut self, Watch(other, on): Watch, ctx: &mut Context<Self>) {
        if on {
            ctx.watch_with(&other, Done(9));
        } else {
            ctx.unwatch(&other);
        }
    }
}

#[test]
fn a_handlers_effects_are_seen_without_a_turn_of_anything() {
    // The clerk's owner is known before the kit that makes its inbox.
    let system = ActorSystem::new("outside", 1);
    let mut owner = Inbox::<Done>::new(&system, "owner");
    let recipient = owner.recipient();
    let mut kit = BehaviourKit::new("clerk", move || Clerk {
        owner: recipient,
        handled: 0,
    });
    assert_eq!(
        kit.take_effects(),
        [Effect::ReceiveTimeout(Some(60 * SECOND))]
    );
    assert_eq!(kit.ask(Order::Count), (Some(1), vec![]));
    let junior = "/user/clerk/junior".to_owned();
    assert_eq!(
        kit.run(Order::Hire),
        [
            Effect::Spawned {
                path: junior.clone()
            },
            Effect::Told {
                path: junior,
                messages: 1
            },
        ]
    );
    let reminder = "reminder".to_owned();
    assert_eq!(
        kit.run(Order::Remind),
        [Effect::TimerStarted {
            key: reminder.clone(),
            after: 5 * SECOND
        }]
    );
    assert_eq!(
        kit.run(Order::Forget),
        [Effect::TimerCancelled { key: reminder }]
    );
    assert_eq!(kit.run(Order::Later), [Effect::Stashed(1)]);
    assert_eq!(kit.run(Order::Resume), [Effect::Unstashed(1)]);
    assert_eq!(kit.run_one(), Some(vec![]));
    assert_eq!(kit.run_one(), None);
    let path = "/user/clerk".to_owned();
    assert_eq!(
        kit.run(Order::TellOneself),
        [Effect::Told { path, messages: 1 }]
    );
    assert_eq!(kit.run_one(), Some(vec![]));
    assert_eq!(owner.take_all(), [Done(1)]);
    assert_eq!(
        kit.run(Order::Wait),
        [Effect::FuturesSpawned(1), Effect::Waits(1)]
    );
    assert_eq!(
        kit.run(Order::Fail),
        [Effect::Failed("on purpose".to_owned())]
    );
    assert_eq!(
        kit.run(Order::Panic),
        [Effect::Failed("panicked: on purpose".to_owned())]
    );
    assert_eq!(kit.run(Order::Stop), [Effect::Stopped]);
    assert_eq!(kit.actor().handled, 12);
}

#[test]
fn watches_and_due_timers_are_effects_too() {
    let system = ActorSystem::new("outside", 1);
    let mut owner = Inbox::<Done>::new(&system, "owner");
    let recipient = owner.recipient();
    let mut kit = BehaviourKit::new("clerk", move || Clerk {
        owner: recipient,
        handled: 0,
    });
    let other = kit.inbox::<Done>("other");
    let path = "/user/other".to_owned();
    assert_eq!(
        kit.run(Watch(other.actor_ref(), true)).last(),
        Some(&Effect::Watched { path: path.clone() })
    );
    assert_eq!(
        kit.run(Watch(other.actor_ref(), false)),
        [Effect::Unwatched { path }]
    );
    kit.run(Order::Remind);
    assert_eq!(kit.time_passes(4 * SECOND), []);
    assert!(owner.take_all().is_empty());
    assert_eq!(kit.time_passes(SECOND), []);
    assert_eq!(owner.take_all(), [Done(7)]);
}

/// Runs a clerk among faults; returns what struck and how its asks ended.
fn faulty(seed: u64) -> (FaultCounts, Vec<Result<u32, AskError>>) {
    let mut ends = Vec::new();
    let mut faults = Faults::new(seed)
        .panics(0.1)
        .errors(0.1)
        .drops(0.1)
        .hangs(0.1, SECOND);
    let counted = faults.clone();
    ManualClock::run(seed, async |clock| {
        let system = ActorSystem::new("test", seed);
        let probe = Probe::<Done>::new(&system, "owner");
        let owner = probe.recipient();
        let props = Props::new(move || Clerk {
            owner: owner.clone(),
            handled: 0,
        });
        let props = props
            .supervise(Strategy::resume())
            .on_arbiter(clock.arbiter());
        let clerk = system.spawn(faults.inject(props), "clerk");
        for _ in 0..200 {
            ends.push(clerk.ask(Order::Count, 60 * SECOND).await);
        }
    });
    (counted.counts(), ends)
}

#[test]
fn faults_strike_by_their_seed_and_every_message_is_accounted_for() {
    let (counts, ends) = faulty(5);
    for struck in [counts.panics, counts.errors, counts.drops, counts.hangs] {
        assert!((5..=40).contains(&struck), "{counts:?}");
    }
    let lost = ends
        .iter()
        .filter(|end| **end == Err(AskError::Failed))
        .count();
    assert_eq!(lost as u64, counts.panics + counts.errors + counts.drops);
    let handled = ends.iter().filter(|end| end.is_ok()).count();
    assert_eq!(handled as u64, counts.spared + counts.hangs);
    assert_eq!(ends.len(), 200);
    assert_eq!(faulty(5), (counts, ends.clone()));
    assert_ne!(faulty(6).1, ends);
}

#[test]
fn a_struck_call_fails_panics_or_takes_longer() {
    ManualClock::run(1, async |_| {
        assert_eq!(Faults::new(1).strike().await, Ok(()));
        assert_eq!(Faults::new(1).errors(1.0).strike().await, Err(Injected));
        let start = tokio::time::Instant::now();
        assert_eq!(Faults::new(1).hangs(1.0, SECOND).strike().await, Ok(()));
        assert_eq!(start.elapsed(), SECOND);
        let lost = Faults::new(1).drops(1.0);
        assert!(tokio::time::timeout(SECOND, lost.strike()).await.is_err());
        let panics = Faults::new(1).panics(1.0);
        let panicked = actix_rt::spawn(async move { panics.strike().await }).await;
        assert!(panicked.unwrap_err().is_panic());
    });
}

#[actix::test]
async fn the_log_is_expected_of() {
    tokio::time::pause();
    let logs = LogProbe::start();
    let system = ActorSystem::new("test", 1);
    let props = Props::new(|| Clerk {
        owner: Recipient::new(|_| crate::system::Offer::Enqueued),
        handled: 0,
    });
    let clerk = system.spawn(props, "clerk");
    assert_eq!(clerk.ask(Order::Panic, SECOND).await, Err(AskError::Failed));
    clerk.when_stopped().await;
    logs.expect(Level::ERROR, "an actor failed actor=/user/clerk", 1);
    logs.expect(Level::WARN, "", 0);
    drop(logs);
    let later = LogProbe::start();
    assert_eq!(later.events(), []);
}
