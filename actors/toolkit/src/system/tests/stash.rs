//! Messages put aside, and what becomes of them.

use actix::{Handler, Message};

use super::counter::*;
use crate::system::*;

/// Is stashed while the sum is zero, and fails where its number is 13.
#[derive(Message)]
#[rtype(result = "()")]
struct Later(u32);
impl Handler<Later> for Counter {
    type Result = ();
    fn handle(&mut self, Later(n): Later, ctx: &mut Context<Self>) {
        if self.sum == 0 {
            match ctx.stash(Later(n)) {
                Ok(()) => self.log.note(format!("stashed {n}")),
                Err(Later(n)) => self.log.note(format!("no room for {n}")),
            }
            return;
        }
        if n == 13 {
            ctx.fail("thirteen");
            return;
        }
        self.log.note(n.to_string());
    }
}

fn open(actor: &ActorRef<Counter>) {
    act(actor, |actor, ctx| {
        actor.sum = 1;
        ctx.unstash_all();
    });
}

fn stashed(log: &Log, props: Props<Counter>, numbers: &[u32]) -> (ActorSystem, ActorRef<Counter>) {
    let system = ActorSystem::new("test", 1);
    let actor = system.spawn(props, "counter");
    for n in numbers {
        assert!(actor.tell(Later(*n)).is_enqueued());
    }
    assert!(log.entries().is_empty(), "nothing has run yet");
    (system, actor)
}

#[actix::test]
async fn unstashed_messages_come_first_in_their_order() {
    let log = Log::default();
    let (_system, actor) = stashed(&log, counter(&log), &[1, 2]);
    open(&actor);
    assert!(actor.tell(Later(3)).is_enqueued());
    assert_eq!(actor.ask(Add(0), SECOND).await, Ok(1));
    assert_eq!(log.entries()[3..], ["1", "2", "3"]);
}

#[actix::test]
async fn a_full_stash_gives_the_message_back() {
    let log = Log::default();
    let (_system, actor) = stashed(&log, counter(&log).stash(1), &[1, 2]);
    act(&actor, |_, ctx| {
        assert!(ctx.is_stash_full());
        assert_eq!(ctx.stash_len(), 1);
    });
    assert_eq!(actor.ask(Add(0), SECOND).await, Ok(0));
    assert_eq!(log.entries()[1..], ["stashed 1", "no room for 2"]);
}

#[actix::test]
async fn a_message_that_is_stashed_again_is_not_seen_in_the_same_pass() {
    let log = Log::default();
    let (_system, actor) = stashed(&log, counter(&log), &[1, 2]);
    act(&actor, |_, ctx| ctx.unstash_all());
    assert_eq!(actor.ask(Add(0), SECOND).await, Ok(0));
    assert_eq!(actor.ask(Add(0), SECOND).await, Ok(0));
    let twice = ["stashed 1", "stashed 2", "stashed 1", "stashed 2"];
    assert_eq!(log.entries()[1..], twice);
}

#[actix::test]
async fn a_message_that_fails_is_gone_and_the_rest_is_handled() {
    let log = Log::default();
    let props = counter(&log).supervise(Strategy::resume());
    let (_system, actor) = stashed(&log, props, &[1, 13, 2]);
    open(&actor);
    assert_eq!(actor.ask(Add(0), SECOND).await, Ok(1));
    assert_eq!(log.entries()[4..], ["1", "2"]);
}

#[actix::test]
async fn at_a_restart_the_stash_goes_back_to_the_front_of_the_mailbox() {
    let log = Log::default();
    let props = counter(&log).supervise(Strategy::restart());
    let (_system, actor) = stashed(&log, props, &[1, 2]);
    assert!(actor.tell(Fail).is_enqueued());
    assert!(actor.tell(Note("behind")).is_enqueued());
    assert_eq!(actor.ask(Add(0), SECOND).await, Ok(0));
    let expected = ["stopped", "started", "stashed 1", "stashed 2", "behind"];
    assert_eq!(log.entries()[3..], expected);
}

#[actix::test]
async fn at_a_stop_the_stash_becomes_dead_letters_unless_it_was_cleared() {
    let log = Log::default();
    let (system, actor) = stashed(&log, counter(&log), &[1, 2]);
    actor.ask(Add(0), SECOND).await.unwrap();
    actor.stop();
    actor.when_stopped().await;
    assert_eq!(system.dead_letters(), 2);
    let log = Log::default();
    let (system, actor) = stashed(&log, counter(&log), &[1, 2]);
    act(&actor, |_, ctx| {
        ctx.clear_stash();
        ctx.stop();
    });
    actor.when_stopped().await;
    assert_eq!(system.dead_letters(), 0);
}

#[actix::test]
async fn some_of_the_stash_may_be_unstashed() {
    let log = Log::default();
    let (_system, actor) = stashed(&log, counter(&log), &[1, 2, 3]);
    act(&actor, |actor, ctx| {
        actor.sum = 1;
        ctx.unstash(2);
    });
    assert_eq!(actor.ask(Add(0), SECOND).await, Ok(1));
    assert_eq!(log.entries()[4..], ["1", "2"]);
    act(&actor, |_, ctx| ctx.unstash(9));
    assert_eq!(actor.ask(Add(0), SECOND).await, Ok(1));
    assert_eq!(log.entries()[6..], ["3"]);
}
