//! What a full mailbox does, and priorities.

use super::plain::*;
use crate::system::*;

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
async fn a_posted_message_that_is_refused_is_a_dead_letter_and_no_more() {
    tokio::time::pause();
    let (system, log) = (ActorSystem::new("test", 1), Log::default());
    let actor = system.spawn(plain(&log).mailbox(2), "a");
    for number in 0..3 {
        actor.post(Note(number));
    }
    actor.recipient().post(Note(3));
    settle().await;
    assert_eq!((taken(&log), system.dead_letters()), (vec![0, 1], 2));
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
async fn no_message_is_dropped_for_one_of_lower_priority() {
    tokio::time::pause();
    for overflow in [Overflow::DropHead, Overflow::DropTail] {
        let (system, log) = (ActorSystem::new("test", 1), Log::default());
        let actor = system.spawn(plain(&log).mailbox(2).overflow(overflow), "a");
        assert!(actor.tell_with_priority(Note(1), 200).is_enqueued());
        assert!(actor.tell_with_priority(Note(2), 100).is_enqueued());
        assert_eq!(actor.tell_with_priority(Note(3), 50), Offer::Dropped);
        assert!(actor.tell_with_priority(Note(4), 150).is_enqueued());
        settle().await;
        assert_eq!(taken(&log), [1, 4], "{overflow:?}");
    }
}

#[actix::test]
async fn an_offer_that_waits_for_room_hears_that_the_actor_has_stopped() {
    tokio::time::pause();
    let system = ActorSystem::new("test", 1);
    let props = plain(&Log::default())
        .mailbox(1)
        .overflow(Overflow::Backpressure);
    let actor = system.spawn(props, "a");
    act(&actor, Context::stop);
    assert_eq!(actor.tell(Note(1)), Offer::Dropped, "a tell never waits");
    assert_eq!(actor.offer(Note(2)).await, Offer::Closed);
}
