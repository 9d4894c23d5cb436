//! Flights without HTTP, in virtual time.

use std::{future::poll_fn, time::Duration};

use tokio::time::Instant;

use super::*;

fn key() -> Key {
    Key([1; 32])
}

fn flights(size_max: usize) -> Arc<Flights> {
    Arc::new(Flights::new(size_max))
}

fn leads(joined: Joined) -> (Lead, Rider) {
    match joined {
        Joined::Leads(lead, rider) => (lead, rider),
        Joined::Follows(_) => panic!("follows"),
    }
}

fn follows(joined: Joined) -> Rider {
    match joined {
        Joined::Follows(rider) => rider,
        Joined::Leads(..) => panic!("leads"),
    }
}

fn head() -> Begun {
    Begun {
        outcome: Outcome::Miss,
        age: None,
        lane: "a".to_owned(),
        usage: AnswerUsage::default(),
        headers: (Vec::new(), Vec::new()),
    }
}

async fn next(rider: &mut Rider) -> String {
    match poll_fn(|task| rider.poll_next(task)).await {
        RideItem::Part(part) => String::from_utf8(part.to_vec()).unwrap(),
        RideItem::End => "END".to_owned(),
        RideItem::Lost(error) => format!("LOST {}", error.reason()),
    }
}

#[actix::test]
async fn all_riders_read_the_whole_answer_whenever_they_join() {
    let flights = flights(100);
    let (mut lead, mut first) = leads(flights.join(key(), true));
    let mut second = follows(flights.join(key(), true));
    lead.begun(head());
    assert_eq!(second.begun(None).await.unwrap().lane, "a");
    lead.push("one".into()).await;
    assert_eq!(next(&mut first).await, "one");
    let mut third = follows(flights.join(key(), true));
    lead.push("two".into()).await;
    lead.complete();
    let mut fourth = follows(flights.join(key(), true));
    assert_eq!(lead.parts().unwrap().concat(), b"onetwo");
    drop(lead);
    assert_eq!(flights.len(), 0);
    assert_eq!(next(&mut first).await, "two");
    for rider in [&mut second, &mut third, &mut fourth] {
        assert_eq!(next(rider).await, "one");
        assert_eq!(next(rider).await, "two");
        assert_eq!(next(rider).await, "END");
    }
    let (_lead, _rider) = leads(flights.join(key(), true));
}

#[actix::test]
async fn only_when_all_have_left_the_flight_is_given_up() {
    let flights = flights(100);
    let (lead, first) = leads(flights.join(key(), true));
    let second = follows(flights.join(key(), true));
    let left = tokio::spawn(lead.left());
    drop(first);
    tokio::task::yield_now().await;
    assert!(!left.is_finished());
    drop(second);
    left.await.unwrap();
    // Nobody joins a flight that is given up.
    let (_next, _rider) = leads(flights.join(key(), true));
    drop(lead);
    assert_eq!(flights.len(), 1);
}

#[actix::test]
async fn a_leader_that_goes_leaves_the_flight_to_one_of_the_others() {
    let flights = flights(100);
    let (lead, _first) = leads(flights.join(key(), true));
    let riders: Vec<Rider> = (0..3).map(|_| follows(flights.join(key(), true))).collect();
    drop(lead);
    let mut leaders = 0;
    for rider in &riders {
        assert!(matches!(rider.begun(None).await, Err(NotBegun::Gone)));
    }
    let mut joined = Vec::new();
    for _ in &riders {
        match flights.join(key(), true) {
            Joined::Leads(lead, rider) => {
                leaders += 1;
                joined.push((Some(lead), rider));
            }
            Joined::Follows(rider) => joined.push((None, rider)),
        }
    }
    assert_eq!(leaders, 1);
}

#[actix::test]
async fn an_error_reaches_all_and_a_loss_is_told_after_what_came_before() {
    let flights = flights(100);
    let (lead, first) = leads(flights.join(key(), true));
    let second = follows(flights.join(key(), true));
    lead.fail(ApiError::deadline_passed());
    for rider in [first, second] {
        assert!(matches!(rider.begun(None).await, Err(NotBegun::Failed(_))));
    }
    let (mut lead, mut rider) = leads(flights.join(key(), true));
    lead.begun(head());
    lead.push("one".into()).await;
    lead.fail(ApiError::upstream("lost"));
    assert_eq!(next(&mut rider).await, "one");
    assert!(next(&mut rider).await.starts_with("LOST"));
}

#[actix::test]
async fn a_slow_rider_does_not_stop_the_others_and_the_memory_is_bounded() {
    let flights = flights(10);
    let (mut lead, mut fast) = leads(flights.join(key(), true));
    let mut slow = follows(flights.join(key(), true));
    lead.begun(head());
    for number in 0..100 {
        lead.push(format!("{number:05}").into()).await;
        assert_eq!(next(&mut fast).await, format!("{number:05}"));
        assert!(lead.flight().log().held <= 15);
    }
    // It cannot be joined any more, because its start is gone.
    assert_eq!(flights.len(), 0);
    assert_eq!(lead.parts(), None);
    assert!(next(&mut slow).await.starts_with("LOST"));
    // Without a reader the leader waits.
    lead.push("aaaaa".into()).await;
    lead.push("bbbbb".into()).await;
    let third = tokio::time::timeout(Duration::from_millis(10), lead.push("ccccc".into()));
    assert!(third.await.is_err());
    assert_eq!(next(&mut fast).await, "aaaaa");
    lead.push("ddddd".into()).await;
}

#[actix::test]
async fn each_rider_waits_for_its_own_time() {
    tokio::time::pause();
    let flights = flights(100);
    let (mut lead, _first) = leads(flights.join(key(), true));
    let mut second = follows(flights.join(key(), true));
    let began = Instant::now();
    let waited = second.begun(Some(Duration::from_secs(3))).await;
    assert!(matches!(waited, Err(NotBegun::Late)));
    assert_eq!(began.elapsed().as_secs(), 3);
    lead.begun(head());
    lead.push("one".into()).await;
    second.until(Some(Instant::now() + Duration::from_secs(2)));
    assert_eq!(next(&mut second).await, "one");
    assert_eq!(next(&mut second).await, "LOST deadline_exceeded");
    assert_eq!(began.elapsed().as_secs(), 5);
}
