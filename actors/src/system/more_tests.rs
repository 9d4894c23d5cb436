//! Events, the receptionist, overflow, priority, watches that end, hangs and death pacts.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use actix::{Actor, AsyncContext, Handler, Message, WrapFuture};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

type Log = Arc<Mutex<Vec<u32>>>;
type Act = Box<dyn FnOnce(&mut Context<Plain>) + Send>;

#[derive(Clone, Message)]
#[rtype(result = "()")]
struct Note(u32);
#[derive(Message)]
#[rtype(result = "()")]
struct Do(Act);

struct Plain(Log);

impl Actor for Plain {
    type Context = Context<Self>;
}
impl Handler<Note> for Plain {
    type Result = ();
    fn handle(&mut self, Note(n): Note, _: &mut Context<Self>) {
        self.0.lock().unwrap().push(n);
    }
}
impl Handler<Do> for Plain {
    type Result = ();
    fn handle(&mut self, Do(act): Do, ctx: &mut Context<Self>) {
        act(ctx);
    }
}

fn plain(log: &Log) -> Props<Plain> {
    let log = Arc::clone(log);
    Props::new(move || Plain(Arc::clone(&log)))
}

fn act(actor: &ActorRef<Plain>, act: impl FnOnce(&mut Context<Plain>) + Send + 'static) {
    assert!(actor.tell(Do(Box::new(act))).is_enqueued());
}

fn taken(log: &Log) -> Vec<u32> {
    std::mem::take(&mut *log.lock().unwrap())
}

async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

async fn kept(overflow: Overflow) -> (Vec<u32>, u64, Offer) {
    let (system, log) = (ActorSystem::new("test", 1), Log::default());
    let actor = system.spawn(plain(&log).mailbox(3).overflow(overflow), "a");
    // Nothing runs before the first await, so that the mailbox fills.
    let offers: Vec<_> = (0..4).map(|n| actor.tell(Note(n))).collect();
    settle().await;
    (taken(&log), system.dead_letters(), offers[3])
}

#[actix::test]
async fn each_overflow_strategy_loses_the_message_it_names() {
    tokio::time::pause();
    assert_eq!(
        kept(Overflow::DropNew).await,
        (vec![0, 1, 2], 1, Offer::Dropped)
    );
    assert_eq!(
        kept(Overflow::DropHead).await,
        (vec![1, 2, 3], 1, Offer::Enqueued)
    );
    assert_eq!(
        kept(Overflow::DropTail).await,
        (vec![0, 1, 3], 1, Offer::Enqueued)
    );
    assert_eq!(
        kept(Overflow::DropBuffer).await,
        (vec![3], 3, Offer::Enqueued)
    );
    let (handled, dead, offer) = kept(Overflow::Fail).await;
    assert_eq!((handled, dead, offer), (vec![], 4, Offer::Failed));
}

#[actix::test]
async fn with_backpressure_an_offer_waits_for_room_and_nothing_is_lost() {
    tokio::time::pause();
    let (system, log) = (ActorSystem::new("test", 1), Log::default());
    let props = plain(&log).mailbox(4).overflow(Overflow::Backpressure);
    let actor = system.spawn(props, "a");
    let offers = (0..1000).map(|n| {
        let actor = actor.clone();
        async move {
            assert!(actor.report().mailbox <= 4);
            actor.offer(Note(n)).await
        }
    });
    let offers = futures_util::future::join_all(offers).await;
    assert!(offers.iter().all(|offer| offer.is_enqueued()));
    settle().await;
    let mut handled = taken(&log);
    handled.sort_unstable();
    assert_eq!(handled, (0..1000).collect::<Vec<_>>());
}

#[actix::test]
async fn a_higher_priority_goes_first_and_equal_ones_stay_in_order() {
    tokio::time::pause();
    let (system, log) = (ActorSystem::new("test", 1), Log::default());
    let actor = system.spawn(plain(&log), "a");
    for (n, priority) in [(1, 1), (2, 200), (3, 1), (4, 200), (5, PRIORITY_NORMAL)] {
        assert!(actor.tell_with_priority(Note(n), priority).is_enqueued());
    }
    settle().await;
    assert_eq!(taken(&log), [2, 4, 5, 1, 3]);
}

#[actix::test]
async fn a_dead_letter_is_published_and_a_lost_one_makes_no_other() {
    tokio::time::pause();
    let system = ActorSystem::new("test", 1);
    let letters = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&letters);
    let subscriber = Recipient::new(move |letter: DeadLetter| {
        seen.lock().unwrap().push(letter.path.to_string());
        Offer::Enqueued
    });
    let subscription = system.events().subscribe(subscriber);
    let actor = system.spawn(plain(&Log::default()), "a");
    actor.stop();
    actor.when_stopped().await;
    assert_eq!(actor.tell(Note(1)), Offer::Closed);
    assert!(system.events().unsubscribe(subscription));
    assert_eq!(actor.tell(Note(2)), Offer::Closed);
    assert_eq!(*letters.lock().unwrap(), ["/user/a"]);
    assert_eq!(system.dead_letters(), 2);
}

#[actix::test]
async fn a_restart_is_published_with_its_cause() {
    tokio::time::pause();
    let system = ActorSystem::new("test", 1);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let events = Arc::clone(&seen);
    system
        .events()
        .subscribe(Recipient::new(move |event: Restarted| {
            events.lock().unwrap().push((event.fault, event.restarts));
            Offer::Enqueued
        }));
    let props = plain(&Log::default()).supervise(Strategy::restart());
    let actor = system.spawn(props, "a");
    act(&actor, |ctx| ctx.fail("one"));
    act(&actor, |_| panic!("two"));
    settle().await;
    let expected = [("one".to_owned(), 1), ("panicked: two".to_owned(), 2)];
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[actix::test]
async fn the_receptionist_forgets_who_stopped_but_not_who_restarted() {
    tokio::time::pause();
    let system = ActorSystem::new("test", 1);
    let key = ServiceKey::<Note>::new("notes");
    let sizes = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&sizes);
    let subscriber = Recipient::new(move |listing: Listing<Note>| {
        seen.lock().unwrap().push(listing.0.len());
        Offer::Enqueued
    });
    system.receptionist().subscribe(&key, subscriber);
    let props = plain(&Log::default()).supervise(Strategy::restart());
    let actor = system.spawn(props, "a");
    system.receptionist().register(&key, &actor);
    act(&actor, |ctx| ctx.fail("on purpose"));
    settle().await;
    assert_eq!(&*system.receptionist().find(&key).0[0].path, "/user/a");
    actor.stop();
    actor.when_stopped().await;
    assert!(system.receptionist().find(&key).0.is_empty());
    assert_eq!(*sizes.lock().unwrap(), [0, 1, 0]);
}

#[actix::test]
async fn an_ended_watch_is_silent_even_when_its_message_is_queued() {
    tokio::time::pause();
    let (system, log) = (ActorSystem::new("test", 1), Log::default());
    let watcher = system.spawn(plain(&log), "watcher");
    let watched = system.spawn(plain(&Log::default()), "watched");
    watched.stop();
    watched.when_stopped().await;
    let other = watched.clone();
    act(&watcher, move |ctx| {
        // Already stopped: the message is queued at once, and taken back.
        ctx.watch_with(&other, Note(1));
        ctx.unwatch(&other);
    });
    settle().await;
    assert!(taken(&log).is_empty());
    act(&watcher, move |ctx| ctx.watch_with(&watched, Note(2)));
    settle().await;
    assert_eq!(taken(&log), [2]);
}

#[actix::test]
async fn a_death_pact_fails_the_one_who_made_it() {
    tokio::time::pause();
    let system = ActorSystem::new("test", 1);
    let watcher = system.spawn(plain(&Log::default()), "watcher");
    let watched = system.spawn(plain(&Log::default()), "watched");
    let other = watched.clone();
    act(&watcher, move |ctx| ctx.watch_or_die(&other));
    settle().await;
    assert!(watcher.is_alive());
    watched.stop();
    watcher.when_stopped().await;
    assert!(system.tree().is_empty());
}

#[actix::test]
async fn an_actor_that_waits_beyond_its_deadline_fails_and_goes_on_with_its_mailbox() {
    tokio::time::pause();
    let (system, log) = (ActorSystem::new("test", 1), Log::default());
    let props = plain(&log)
        .supervise(Strategy::restart())
        .hang_after(SECOND);
    let actor = system.spawn(props, "a");
    act(&actor, |ctx| {
        ctx.wait(std::future::pending().into_actor(&Plain(Log::default())));
    });
    assert!(actor.tell(Note(1)).is_enqueued());
    tokio::time::sleep(Duration::from_millis(999)).await;
    assert_eq!((taken(&log), actor.report().restarts), (vec![], 0));
    tokio::time::sleep(Duration::from_millis(2)).await;
    assert_eq!((taken(&log), actor.report().restarts), (vec![1], 1));
}

#[actix::test]
async fn the_token_of_an_ask_is_cancelled_when_the_asker_waits_no_more() {
    tokio::time::pause();
    let system = ActorSystem::new("test", 1);
    let actor = system.spawn(plain(&Log::default()), "a");
    let (tell, mut told) = tokio::sync::oneshot::channel();
    let message = Do(Box::new(move |ctx| {
        let token = ctx.asker();
        let _nobody_else_receives = tell.send((token.is_cancelled(), token));
    }));
    assert_eq!(actor.ask(message, SECOND).await, Ok(()));
    let (cancelled_when_handled, token) = told.try_recv().unwrap();
    assert!(!cancelled_when_handled && token.is_cancelled());
}
