use super::*;

type Queue = (
    SourceQueue<u32, &'static str>,
    QueueSource<u32, &'static str>,
);

fn queue(size: usize) -> Queue {
    source_queue(size)
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_completes_every_stream_of_the_switch_and_drops_the_sources() {
    let switch = KillSwitch::<u8>::new();
    let (first_feeder, first) = fed();
    let (second_feeder, second) = fed();
    let streams = [first, second].map(|source| source.via_kill_switch(&switch));
    let ended = tokio::spawn(async move {
        let [first, second] = streams;
        tokio::join!(first.collect::<Vec<_>>(), second.collect::<Vec<_>>())
    });
    first_feeder.send(1).await.unwrap();
    settle().await;
    assert!(switch.shutdown());
    assert_eq!(ended.await.unwrap(), (vec![Ok(1)], vec![]));
    assert!(first_feeder.is_closed() && second_feeder.is_closed());
}

#[tokio::test(start_paused = true)]
async fn an_abort_fails_the_streams() {
    let switch = KillSwitch::new();
    let mut stream = stream::pending::<u32>().via_kill_switch(&switch);
    switch.abort("stop");
    assert_eq!(stream.next().await, Some(Err("stop")));
    assert_eq!(stream.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn the_first_pull_of_a_switch_wins() {
    let switch = KillSwitch::new();
    assert!(!switch.is_pulled());
    assert!(switch.shutdown());
    assert!(!switch.shutdown() && !switch.abort("late"));
    let stream = stream::iter([1]).via_kill_switch(&switch);
    assert_eq!(
        stream.collect::<Vec<_>>().await,
        [],
        "later streams end at once"
    );
}

#[tokio::test(start_paused = true)]
async fn one_switch_does_not_end_the_streams_of_another() {
    let (first, second) = (KillSwitch::<&str>::new(), KillSwitch::<&str>::new());
    let stream = stream::iter([1, 2]).via_kill_switch(&second);
    first.shutdown();
    assert_eq!(oks(stream.collect().await), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_queue_takes_no_more_than_its_size_under_any_number_of_clones() {
    let (queue, source) = queue(4);
    let clones: Vec<_> = (0..1000).map(|_| queue.clone()).collect();
    let taken = clones.iter().filter(|clone| clone.offer(1).is_enqueued());
    assert_eq!(taken.count(), 4);
    assert_eq!(queue.len(), 4);
    assert_eq!(queue.offer(9), QueueOffer::Dropped(9));
    drop(source);
}

#[tokio::test(start_paused = true)]
async fn what_was_enqueued_is_delivered_before_the_completion() {
    let (queue, source) = queue(4);
    for n in 0..3 {
        assert!(queue.offer(n).is_enqueued());
    }
    queue.complete().unwrap();
    assert_eq!(queue.offer(9), QueueOffer::Closed(9));
    assert_eq!(oks(source.collect().await), [0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_burst_to_a_waiting_consumer_arrives_in_order() {
    let (queue, source) = queue(100);
    let consumer = tokio::spawn(source.collect::<Vec<_>>());
    settle().await;
    for n in 0..100 {
        assert!(queue.offer(n).is_enqueued());
    }
    drop(queue);
    assert_eq!(oks(consumer.await.unwrap()), (0..100).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_failure_overtakes_what_was_enqueued_and_is_told_to_later_offers() {
    let (queue, mut source) = queue(4);
    assert!(queue.offer(1).is_enqueued());
    queue.fail("as scripted").unwrap();
    assert_eq!(source.next().await, Some(Err("as scripted")));
    assert_eq!(source.next().await, None);
    assert_eq!(queue.offer(2), QueueOffer::Failed(2, "as scripted"));
}

#[test]
fn completing_twice_is_an_error() {
    let (queue, _source) = queue(1);
    queue.complete().unwrap();
    assert_eq!(queue.complete(), Err(AlreadyCompleted));
    assert_eq!(queue.fail("late"), Err(AlreadyCompleted));
}

#[test]
fn a_queue_whose_stream_is_gone_is_closed() {
    let (queue, source) = queue(2);
    assert!(queue.offer(1).is_enqueued());
    drop(source);
    assert_eq!(queue.offer(2), QueueOffer::Closed(2));
    assert!(queue.is_empty());
}

#[test]
fn a_queue_without_room_still_holds_one() {
    let (queue, _source) = queue(0);
    assert!(queue.offer(1).is_enqueued());
    assert_eq!(queue.offer(2), QueueOffer::Dropped(2));
}

#[tokio::test(start_paused = true)]
async fn fail_fast_ends_with_the_first_error() {
    let mixed = stream::iter([Ok(1), Err("one"), Ok(2), Err("two")]);
    assert_eq!(
        mixed.fail_fast().collect::<Vec<_>>().await,
        [Ok(1), Err("one")]
    );
}

#[derive(Debug, PartialEq)]
enum Either {
    Switch(&'static str),
    Timeout(StreamTimeout),
}

impl From<&'static str> for Either {
    fn from(error: &'static str) -> Self {
        Self::Switch(error)
    }
}

impl From<StreamTimeout> for Either {
    fn from(error: StreamTimeout) -> Self {
        Self::Timeout(error)
    }
}

#[tokio::test(start_paused = true)]
async fn the_errors_of_two_stages_become_one() {
    let switch = KillSwitch::new();
    let stages = || {
        let slow = after([(10, 1), (500, 2)]).idle_timeout(MS * 100);
        slow.via_kill_switch(&switch)
            .flatten_errors::<_, StreamTimeout, &str, Either>()
    };
    let limit = MS * 100;
    let kind = TimeoutKind::Idle;
    let timeout = Either::Timeout(StreamTimeout { kind, limit });
    assert_eq!(stages().collect::<Vec<_>>().await, [Ok(1), Err(timeout)]);
    switch.abort("stop");
    let switched = Err(Either::Switch("stop"));
    assert_eq!(stages().collect::<Vec<_>>().await, [switched]);
}
