//! What observed actors have done.

use super::counter::*;
use crate::system::*;

#[actix::test]
async fn an_observed_actor_counts_messages_their_waits_and_restarts() {
    tokio::time::pause();
    let system = ActorSystem::new("test", 1);
    let before = system.spawn(counter(&Log::default()), "before");
    let metrics = system.observe();
    let props = counter(&Log::default()).supervise(Strategy::restart());
    let actor = system.spawn(props, "observed");
    assert_eq!(before.ask(Add(1), SECOND).await, Ok(1));
    // The first holds the mailbox for a second, for which the others wait.
    act(&actor, |_, ctx| {
        use actix::{AsyncContext as _, fut::wrap_future};
        ctx.wait(wrap_future(tokio::time::sleep(SECOND)));
    });
    for _ in 0..3 {
        assert!(actor.tell(Add(1)).is_enqueued());
    }
    assert_eq!(actor.ask(Panic, 9 * SECOND).await, Err(AskError::Failed));
    assert_eq!(actor.ask(Add(1), 9 * SECOND).await, Ok(1));

    let messages = metrics.messages();
    let of = |name: &str| {
        let mut found = messages.iter().filter(|one| one.message.ends_with(name));
        let one = found.next().unwrap();
        assert!(found.next().is_none() && one.actor.ends_with("Counter"));
        one
    };
    assert_eq!((of("Add").handled, of("Panic").handled), (4, 1));
    assert_eq!(of("Add").waited.as_secs(), 3);
    assert_eq!(of("Add").waited_max.as_secs(), 1);
    assert_eq!(metrics.restarts().values().copied().sum::<u64>(), 1);
}
