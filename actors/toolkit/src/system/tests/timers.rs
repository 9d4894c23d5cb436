//! Timers and the receive timeout.

use std::time::Duration;

use actix::{AsyncContext, Handler, Message, WrapFuture};

use super::counter::*;
use crate::system::*;

#[actix::test]
async fn timers_fire_by_key_and_a_cancelled_one_never_does() {
    tokio::time::pause();
    let log = Log::default();
    let system = ActorSystem::new("test", 1);
    let actor = system.spawn(counter(&log), "counter");
    act(&actor, |_, ctx| {
        ctx.start_timer("a", Note("replaced"), SECOND);
        ctx.start_timer("a", Note("a"), 2 * SECOND);
        ctx.start_timer("b", Note("cancelled"), SECOND);
        ctx.cancel_timer("b");
        ctx.start_timer_with_fixed_delay("c", Note("c"), SECOND);
    });
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(log.entries(), ["started", "c", "a", "c"]);
}

#[actix::test]
async fn a_timer_that_fires_once_is_over_before_its_message_is_handled() {
    tokio::time::pause();
    let log = Log::default();
    let system = ActorSystem::new("test", 1);
    let actor = system.spawn(counter(&log), "counter");
    act(&actor, |_, ctx| ctx.start_timer("t", Again, SECOND));
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(log.entries(), ["started", "again", "again"]);
}

/// Starts its own timer anew.
#[derive(Message)]
#[rtype(result = "()")]
struct Again;
impl Handler<Again> for Counter {
    type Result = ();
    fn handle(&mut self, _: Again, ctx: &mut Context<Self>) {
        assert!(!ctx.is_timer_active("t"));
        self.log.note("again");
        ctx.start_timer("t", Again, SECOND);
    }
}

#[actix::test]
async fn timers_fire_by_time_and_then_by_age() {
    tokio::time::pause();
    let log = Log::default();
    let system = ActorSystem::new("test", 1);
    let actor = system.spawn(counter(&log), "counter");
    act(&actor, |_, ctx| {
        ctx.start_timer("a", Note("4"), 3 * SECOND);
        ctx.start_timer("z", Note("2"), 2 * SECOND);
        ctx.start_timer("b", Note("3"), 2 * SECOND);
        ctx.start_timer("c", Note("1"), SECOND);
        ctx.start_timer("d", Note("never"), Duration::MAX);
    });
    tokio::time::sleep(4 * SECOND).await;
    assert_eq!(log.entries(), ["started", "1", "2", "3", "4"]);
}

/// T16: actix's interval always makes up for what it missed.
#[actix::test]
async fn a_rate_makes_up_for_missed_times_and_a_delay_does_not() {
    tokio::time::pause();
    let log = Log::default();
    let system = ActorSystem::new("test", 1);
    let actor = system.spawn(counter(&log), "counter");
    act(&actor, |actor, ctx| {
        ctx.start_timer_at_fixed_rate("rate", Note("rate"), SECOND);
        ctx.start_timer_with_fixed_delay("delay", Note("delay"), SECOND);
        // Nothing is handled for three and a half seconds.
        let held_up = tokio::time::sleep(Duration::from_millis(3500));
        ctx.wait(held_up.into_actor(actor));
    });
    tokio::time::sleep(Duration::from_millis(3600)).await;
    let mut entries = log.entries();
    entries.sort_unstable();
    assert_eq!(entries, ["delay", "rate", "rate", "rate", "started"]);
    tokio::time::sleep(SECOND / 2).await;
    // The rate keeps its beat, and the delay begins anew from its last time.
    assert_eq!(log.entries().last().unwrap(), "rate");
    assert_eq!(log.entries().len(), 6);
    tokio::time::sleep(SECOND / 2).await;
    assert_eq!(log.entries().last().unwrap(), "delay");
}

#[actix::test]
async fn timers_end_at_a_restart_and_at_a_stop() {
    tokio::time::pause();
    let log = Log::default();
    let system = ActorSystem::new("test", 1);
    let actor = system.spawn(counter(&log).supervise(Strategy::restart()), "counter");
    act(&actor, |_, ctx| {
        ctx.start_timer("t", Note("of the first"), SECOND);
        ctx.set_receive_timeout(SECOND, Note("idle"));
        ctx.fail("on purpose");
    });
    tokio::time::sleep(3 * SECOND).await;
    act(&actor, |_, ctx| {
        ctx.start_timer("t", Note("of the second"), SECOND);
        ctx.stop();
    });
    tokio::time::sleep(3 * SECOND).await;
    let expected = ["started", "stopped", "started", "stopped"];
    assert_eq!(log.entries(), expected);
}

#[actix::test]
async fn the_receive_timeout_starts_anew_with_each_message_but_an_unnoticed_one() {
    tokio::time::pause();
    let log = Log::default();
    let system = ActorSystem::new("test", 1);
    let actor = system.spawn(counter(&log), "counter");
    act(&actor, |_, ctx| {
        ctx.set_receive_timeout(2 * SECOND, Note("idle"));
        ctx.start_timer_with_fixed_delay("tick", Note("tick"), 5 * SECOND);
    });
    tokio::time::sleep(SECOND).await;
    assert!(actor.tell(Note("noticed")).is_enqueued());
    tokio::time::sleep(SECOND + SECOND / 2).await;
    assert_eq!(log.entries(), ["started", "noticed"]);
    assert!(actor.tell_unnoticed(Note("unnoticed")).is_enqueued());
    tokio::time::sleep(SECOND).await;
    let expected = ["started", "noticed", "unnoticed", "idle"];
    assert_eq!(log.entries(), expected);
    // It comes again until it is cancelled, and a timer does not put it off.
    tokio::time::sleep(2 * SECOND).await;
    assert_eq!(log.entries()[4..], ["tick", "idle"]);
    act(&actor, |_, ctx| ctx.cancel_receive_timeout());
    tokio::time::sleep(4 * SECOND).await;
    assert_eq!(log.entries().len(), 6);
}
