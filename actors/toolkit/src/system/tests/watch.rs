//! Watches and death pacts.

use super::plain::*;
use crate::system::*;

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

fn told(watcher: &ActorRef<Plain>, watched: &ActorRef<Plain>, number: u32) {
    let watched = watched.clone();
    act(watcher, move |ctx| ctx.watch_with(&watched, Note(number)));
}

#[actix::test]
async fn news_of_an_end_comes_behind_what_the_dead_one_told() {
    tokio::time::pause();
    let (system, log) = (ActorSystem::new("test", 1), Log::default());
    let watcher = system.spawn(plain(&log), "watcher");
    let watched = system.spawn(plain(&Log::default()), "watched");
    told(&watcher, &watched, 3);
    settle().await;
    let receiver = watcher.clone();
    act(&watched, move |ctx| {
        assert!(receiver.tell(Note(1)).is_enqueued());
        assert!(receiver.tell(Note(2)).is_enqueued());
        ctx.stop();
    });
    settle().await;
    assert_eq!(taken(&log), [1, 2, 3]);
}

#[actix::test]
async fn news_of_an_end_is_not_dropped_for_room() {
    tokio::time::pause();
    for overflow in [Overflow::DropHead, Overflow::DropTail, Overflow::DropBuffer] {
        let (system, log) = (ActorSystem::new("test", 1), Log::default());
        let props = plain(&log).mailbox(2).overflow(overflow);
        let watcher = system.spawn(props, "watcher");
        let watched = system.spawn(plain(&Log::default()), "watched");
        told(&watcher, &watched, 9);
        settle().await;
        watched.stop();
        watched.when_stopped().await;
        for n in 0..5 {
            assert!(watcher.tell(Note(n)).is_enqueued());
        }
        settle().await;
        assert!(taken(&log).contains(&9), "{overflow:?}");
    }
}

#[actix::test]
async fn all_watchers_hear_once_and_a_second_watch_replaces_the_first() {
    tokio::time::pause();
    let (system, log) = (ActorSystem::new("test", 1), Log::default());
    let watched = system.spawn(plain(&Log::default()), "watched");
    let watchers = [1, 2].map(|n| (n, system.spawn(plain(&log), "watcher")));
    for (n, watcher) in &watchers {
        told(watcher, &watched, n + 10);
        told(watcher, &watched, *n);
    }
    settle().await;
    watched.stop();
    settle().await;
    assert_eq!(taken(&log), [1, 2]);
    settle().await;
    assert!(taken(&log).is_empty());
}

#[actix::test]
async fn a_watcher_that_ends_is_forgotten_by_whom_it_watched() {
    tokio::time::pause();
    let system = ActorSystem::new("test", 1);
    let watched = system.spawn(plain(&Log::default()), "watched");
    for n in 0..10 {
        let watcher = system.spawn(plain(&Log::default()), "watcher");
        told(&watcher, &watched, n);
        settle().await;
        assert_eq!(watched.core.watchers(), 1);
        watcher.stop();
        watcher.when_stopped().await;
    }
    assert_eq!(watched.core.watchers(), 0);
}

#[actix::test]
async fn a_watch_outlives_the_watchers_restart() {
    tokio::time::pause();
    let (system, log) = (ActorSystem::new("test", 1), Log::default());
    let watcher = system.spawn(plain(&log).supervise(Strategy::restart()), "watcher");
    let watched = system.spawn(plain(&Log::default()), "watched");
    told(&watcher, &watched, 1);
    act(&watcher, |ctx| ctx.fail("on purpose"));
    settle().await;
    watched.stop();
    settle().await;
    assert_eq!((taken(&log), watcher.report().restarts), (vec![1], 1));
}

#[actix::test]
async fn a_death_pact_that_was_ended_kills_nobody_even_when_the_end_is_known() {
    tokio::time::pause();
    let system = ActorSystem::new("test", 1);
    let watcher = system.spawn(plain(&Log::default()), "watcher");
    let watched = system.spawn(plain(&Log::default()), "watched");
    watched.stop();
    watched.when_stopped().await;
    act(&watcher, move |ctx| {
        ctx.watch_or_die(&watched);
        ctx.unwatch(&watched);
    });
    settle().await;
    assert!(watcher.is_alive());
}

#[actix::test]
async fn a_death_pact_is_a_failure_from_which_a_strategy_may_recover() {
    tokio::time::pause();
    let (system, log) = (ActorSystem::new("test", 1), Log::default());
    let pact = Strategy::restart().when(|fault| matches!(fault, Fault::DeathPact(_)));
    let watcher = system.spawn(plain(&log).supervise(pact), "watcher");
    let watched = system.spawn(plain(&Log::default()), "watched");
    let other = watched.clone();
    act(&watcher, move |ctx| ctx.watch_or_die(&other));
    settle().await;
    watched.stop();
    settle().await;
    assert!(watcher.tell(Note(1)).is_enqueued());
    settle().await;
    assert_eq!((taken(&log), watcher.report().restarts), (vec![1], 1));
}

#[actix::test]
async fn a_death_pact_that_falls_due_in_the_backoff_fails_the_next_instance() {
    tokio::time::pause();
    let system = ActorSystem::new("test", 1);
    let strategy = Strategy::restart()
        .when(|fault| matches!(fault, Fault::Error(_)))
        .with_backoff(SECOND, SECOND);
    let props = plain(&Log::default()).supervise(strategy);
    let watcher = system.spawn(props, "watcher");
    let watched = system.spawn(plain(&Log::default()), "watched");
    let other = watched.clone();
    act(&watcher, move |ctx| {
        ctx.watch_or_die(&other);
        ctx.fail("on purpose");
    });
    settle().await;
    watched.stop();
    settle().await;
    assert!(watcher.is_alive());
    tokio::time::sleep(2 * SECOND).await;
    assert!(!watcher.is_alive());
}

#[actix::test]
async fn a_restart_is_not_disturbed_by_the_end_of_a_watched_child() {
    tokio::time::pause();
    let (system, log) = (ActorSystem::new("test", 1), Log::default());
    let parent = system.spawn(plain(&log).supervise(Strategy::restart()), "parent");
    act(&parent, |ctx| {
        let child = ctx.spawn_child(plain(&Log::default()), "child");
        ctx.watch_with(&child, Note(1));
        ctx.fail("on purpose");
    });
    assert!(parent.tell(Note(2)).is_enqueued());
    settle().await;
    assert_eq!(taken(&log), [2]);
}
