use super::*;

/// Sends 1 to 6 while the consumer does not poll after the first element. Returns what it then receives.
async fn overflowed(policy: BufferPolicy) -> Vec<u32> {
    let (feeder, source) = fed();
    let mut buffered = source.buffer(3, policy);
    feeder.send(0).await.unwrap();
    assert_eq!(buffered.next().await, Some(0));
    for n in 1..=6 {
        feeder.send(n).await.unwrap();
        settle().await;
    }
    drop(feeder);
    buffered.collect().await
}

#[tokio::test(start_paused = true)]
async fn a_full_buffer_drops_by_its_policy_element_by_element() {
    assert_eq!(
        overflowed(BufferPolicy::Backpressure).await,
        [1, 2, 3, 4, 5, 6]
    );
    assert_eq!(overflowed(BufferPolicy::DropHead).await, [4, 5, 6]);
    assert_eq!(overflowed(BufferPolicy::DropTail).await, [1, 2, 6]);
    assert_eq!(overflowed(BufferPolicy::DropBuffer).await, [4, 5, 6]);
    assert_eq!(overflowed(BufferPolicy::DropNew).await, [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn backpressure_reads_so_far_ahead_and_no_further() {
    let (feeder, source) = fed();
    let mut buffered = source.buffer(3, BufferPolicy::Backpressure);
    for n in 0..10 {
        feeder.send(n).await.unwrap();
    }
    assert_eq!(buffered.next().await, Some(0));
    settle().await;
    let taken = feeder.max_capacity() - feeder.capacity();
    assert_eq!(taken, 6, "one was emitted and three are kept");
}

#[tokio::test(start_paused = true)]
async fn an_overflow_fails_the_stream_and_loses_what_was_kept() {
    let (feeder, source) = fed();
    let mut buffered = source.buffer_or_fail(2);
    feeder.send(0).await.unwrap();
    assert_eq!(buffered.next().await, Some(Ok(0)));
    for n in 1..=3 {
        feeder.send(n).await.unwrap();
    }
    settle().await;
    assert!(feeder.is_closed());
    let overflow = BufferOverflow { size: 2 };
    assert_eq!(buffered.next().await, Some(Err(overflow)));
    assert_eq!(buffered.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_buffer_that_never_overflows_passes_everything() {
    let buffered = stream::iter(0..50).buffer(1, BufferPolicy::Backpressure);
    let expected: Vec<_> = (0..50).collect();
    assert_eq!(buffered.collect::<Vec<_>>().await, expected);
    let kept = after((0..20).map(|n| (1, n))).buffer_or_fail(1);
    assert_eq!(oks(kept.collect().await), (0..20).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn an_endless_source_that_is_always_ready_starves_nobody() {
    let mut flood = stream::repeat(1).buffer(2, BufferPolicy::DropHead);
    assert_eq!(flood.next().await, Some(1));
    // No time passes here: paused time advances only when no task can run, and the sending task always can.
    settle().await;
    assert_eq!(flood.next().await, Some(1));
}

#[tokio::test(start_paused = true)]
async fn conflate_folds_what_comes_while_the_consumer_is_away() {
    let (feeder, source) = fed();
    let mut sums = source.conflate(|sum, n| sum + n);
    feeder.send(1).await.unwrap();
    assert_eq!(sums.next().await, Some(1));
    for n in [10, 20, 30] {
        feeder.send(n).await.unwrap();
        settle().await;
    }
    assert_eq!(sums.next().await, Some(60));
    feeder.send(5).await.unwrap();
    drop(feeder);
    assert_eq!(sums.collect::<Vec<_>>().await, [5]);
}

#[tokio::test(start_paused = true)]
async fn conflate_with_seed_starts_anew_after_each_emission() {
    let (feeder, source) = fed();
    let mut lists = source.conflate_with_seed(
        |n| vec![n],
        |mut list, n| {
            list.push(n);
            list
        },
    );
    feeder.send(1).await.unwrap();
    assert_eq!(lists.next().await, Some(vec![1]));
    feeder.send(2).await.unwrap();
    feeder.send(3).await.unwrap();
    settle().await;
    assert_eq!(lists.next().await, Some(vec![2, 3]));
}

#[tokio::test(start_paused = true)]
async fn a_batch_slows_its_source_at_its_maximum() {
    let (feeder, source) = fed();
    let mut sums = source.batch(2, |n| n, |sum, n| sum + n);
    feeder.send(1).await.unwrap();
    assert_eq!(sums.next().await, Some(1));
    for n in [10, 20, 30] {
        feeder.send(n).await.unwrap();
    }
    settle().await;
    assert_eq!(sums.next().await, Some(30));
    assert_eq!(sums.next().await, Some(30));
}

#[tokio::test(start_paused = true)]
async fn a_group_is_emitted_by_count_or_by_time_whichever_is_first() {
    let source = after([(0, 1), (10, 2), (10, 3), (10, 4), (200, 5)]);
    let groups = timed(source.grouped_within(3, MS * 100)).await;
    let expected = [(20, vec![1, 2, 3]), (120, vec![4]), (230, vec![5])];
    assert_eq!(groups, expected);
}

#[tokio::test(start_paused = true)]
async fn no_group_is_empty_and_the_rest_comes_at_the_end() {
    let quiet = after([(1050, 1), (10, 2)]);
    let groups = timed(quiet.grouped_within(10, MS * 100)).await;
    assert_eq!(groups, [(1060, vec![1, 2])]);
    let none = stream::iter(Vec::<u32>::new()).grouped_within(3, MS);
    assert_eq!(none.collect::<Vec<_>>().await, Vec::<Vec<u32>>::new());
}

#[tokio::test(start_paused = true)]
async fn a_group_grows_until_it_is_asked_for_but_not_beyond_its_size() {
    let (feeder, source) = fed();
    let mut groups = source.grouped_within(3, MS * 100);
    feeder.send(0).await.unwrap();
    assert_eq!(groups.next().await, Some(vec![0]));
    for n in 1..=5 {
        feeder.send(n).await.unwrap();
        sleep(MS * 150).await;
    }
    assert_eq!(groups.next().await, Some(vec![1, 2, 3]));
}
