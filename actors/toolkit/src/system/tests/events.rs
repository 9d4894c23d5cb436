//! Dead letters, the event stream and the receptionist.

use std::sync::{Arc, Mutex};

use super::plain::*;
use crate::system::*;

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

fn heard<E: Clone + Send + 'static>(system: &ActorSystem) -> Arc<Mutex<Vec<E>>> {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&heard);
    let subscriber = Recipient::new(move |event: E| {
        log.lock().unwrap().push(event);
        Offer::Enqueued
    });
    system.events().subscribe(subscriber);
    heard
}

#[actix::test]
async fn a_dead_letter_says_whether_the_actor_had_stopped_or_the_message_was_dropped() {
    tokio::time::pause();
    let system = ActorSystem::new("test", 1);
    let letters = heard::<DeadLetter>(&system);
    let actor = system.spawn(plain(&Log::default()).mailbox(1), "a");
    assert_eq!(actor.tell(Note(1)), Offer::Enqueued);
    assert_eq!(actor.tell(Note(2)), Offer::Dropped);
    settle().await;
    actor.stop();
    actor.when_stopped().await;
    assert_eq!(actor.tell(Note(3)), Offer::Closed);
    let reasons: Vec<_> = letters.lock().unwrap().iter().map(|l| l.reason).collect();
    assert_eq!(reasons, [Undelivered::Dropped, Undelivered::Stopped]);
}

#[actix::test]
async fn a_suppressed_dead_letter_is_published_as_such_and_not_counted() {
    tokio::time::pause();
    let system = ActorSystem::new("test", 1);
    let letters = heard::<DeadLetter>(&system);
    let suppressed = heard::<SuppressedDeadLetter>(&system);
    system.suppress_dead_letters::<Note>();
    let actor = system.spawn(plain(&Log::default()), "a");
    actor.stop();
    actor.when_stopped().await;
    assert_eq!(actor.tell(Note(1)), Offer::Closed);
    assert_eq!(actor.tell(Do(Box::new(|_| {}))), Offer::Closed);
    assert_eq!(suppressed.lock().unwrap().len(), 1);
    assert_eq!(letters.lock().unwrap().len(), 1);
    assert_eq!(system.dead_letters(), 1);
}

#[actix::test]
async fn a_subscriber_that_panics_harms_neither_the_publisher_nor_the_others() {
    tokio::time::pause();
    let system = ActorSystem::new("test", 1);
    let panics = Recipient::new(|_: Restarted| panic!("on purpose"));
    system.events().subscribe(panics);
    let restarts = heard::<Restarted>(&system);
    let log = Log::default();
    let actor = system.spawn(plain(&log).supervise(Strategy::restart()), "a");
    act(&actor, |ctx| ctx.fail("on purpose"));
    assert!(actor.tell(Note(1)).is_enqueued());
    settle().await;
    assert_eq!((taken(&log), restarts.lock().unwrap().len()), (vec![1], 1));
}

#[actix::test]
async fn an_actor_serves_many_keys_and_a_key_is_served_by_many() {
    tokio::time::pause();
    let system = ActorSystem::new("test", 1);
    let receptionist = system.receptionist();
    let [red, blue] = ["red", "blue"].map(ServiceKey::<Note>::new);
    let [a, b] = ["a", "b"].map(|name| system.spawn(plain(&Log::default()), name));
    receptionist.register(&red, &a);
    receptionist.register(&red, &b);
    receptionist.register(&red, &b);
    receptionist.register(&blue, &a);
    let paths = |key: &ServiceKey<Note>| -> Vec<_> {
        let services = receptionist.find(key).0;
        services.iter().map(|s| s.path.to_string()).collect()
    };
    assert_eq!(paths(&red), ["/user/a", "/user/b"]);
    assert_eq!(paths(&blue), ["/user/a"]);
    receptionist.deregister(&red, &a);
    assert_eq!(paths(&red), ["/user/b"]);
    assert_eq!(paths(&blue), ["/user/a"]);
    a.stop();
    b.stop();
    a.when_stopped().await;
    b.when_stopped().await;
    assert!(paths(&red).is_empty() && paths(&blue).is_empty());
}

#[actix::test]
async fn the_end_of_a_former_actor_leaves_the_listing_of_its_namesake() {
    tokio::time::pause();
    let system = ActorSystem::new("test", 1);
    let key = ServiceKey::<Note>::new("notes");
    let former = system.spawn(plain(&Log::default()), "a");
    system.receptionist().register(&key, &former);
    former.stop();
    former.when_stopped().await;
    let later = system.spawn(plain(&Log::default()), "a");
    assert_eq!(later.path(), former.path());
    system.receptionist().register(&key, &later);
    settle().await;
    assert_eq!(system.receptionist().find(&key).0.len(), 1);
}
