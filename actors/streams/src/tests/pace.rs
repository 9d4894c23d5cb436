use super::*;

fn pace(cost: u32, per: Duration, burst: u64) -> Pace {
    Pace::new(cost, per).unwrap().burst(burst)
}

#[tokio::test(start_paused = true)]
async fn elements_keep_the_pace_after_the_first_burst() {
    let paced = stream::iter(0..5).throttle(pace(1, MS * 100, 2));
    assert_eq!(times(paced).await, [0, 0, 100, 200, 300]);
}

#[tokio::test(start_paused = true)]
async fn an_unset_burst_is_a_hundred_milliseconds_worth() {
    let fast = stream::iter(0..6).throttle(Pace::new(40, MS * 1000).unwrap());
    assert_eq!(times(fast).await, [0, 0, 0, 0, 25, 50]);
    let slow = stream::iter(0..3).throttle(Pace::new(1, MS * 500).unwrap());
    assert_eq!(times(slow).await, [0, 500, 1000]);
}

#[tokio::test(start_paused = true)]
async fn without_a_burst_the_first_element_waits_too() {
    let paced = stream::iter(0..2).throttle(pace(1, MS * 100, 0));
    assert_eq!(times(paced).await, [100, 200]);
}

#[tokio::test(start_paused = true)]
async fn a_silence_fills_the_bucket_up_to_the_burst() {
    let source = after([(0, 1), (0, 2), (250, 3), (0, 4), (0, 5), (0, 6)]);
    let paced = source.throttle(pace(1, MS * 100, 2));
    assert_eq!(times(paced).await, [0, 0, 250, 250, 300, 400]);
}

#[tokio::test(start_paused = true)]
async fn cost_is_charged_per_element_and_a_dear_one_waits_in_proportion() {
    let paced = stream::iter([1_u64, 5, 0, 1]).throttle_by(pace(1, MS * 100, 1), |cost| *cost);
    assert_eq!(times(paced).await, [0, 500, 500, 600]);
}

#[tokio::test(start_paused = true)]
async fn a_throttle_pulls_nothing_before_it_is_asked() {
    let pulled = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = std::sync::Arc::clone(&pulled);
    let source = stream::iter(0..5).inspect(move |_| {
        count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    });
    let mut paced = source.throttle(pace(1, MS * 100, 1));
    sleep(MS * 1000).await;
    assert_eq!(paced.next().await, Some(0));
    sleep(MS * 1000).await;
    assert_eq!(pulled.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn enforcing_fails_on_what_comes_too_early_and_ends() {
    let source = after([(0, 1), (100, 2), (40, 3), (0, 4)]);
    let enforced = source.throttle_enforcing(pace(1, MS * 100, 1), |_| 1);
    let early = MS * 60;
    let expected = [Ok(1), Ok(2), Err(RateExceeded { cost: 1, early })];
    assert_eq!(enforced.collect::<Vec<_>>().await, expected);
}

#[tokio::test(start_paused = true)]
async fn enforcing_never_passes_what_is_dearer_than_the_burst() {
    let enforced = stream::iter([3_u64]).throttle_enforcing(pace(1, MS, 2), |cost| *cost);
    let items = enforced.collect::<Vec<_>>().await;
    assert!(matches!(items[..], [Err(RateExceeded { cost: 3, .. })]));
}

#[tokio::test(start_paused = true)]
async fn shaping_before_enforcing_satisfies_it() {
    let shaped = stream::iter(0..20).throttle(pace(1, MS * 10, 3));
    let enforced = shaped.throttle_enforcing(pace(1, MS * 10, 4), |_| 1);
    assert_eq!(oks(enforced.collect().await), (0..20).collect::<Vec<_>>());
}

#[test]
fn a_pace_out_of_range_is_named() {
    assert_eq!(Pace::new(0, MS).unwrap_err().field, "cost");
    assert_eq!(
        Pace::new(2, Duration::from_nanos(1)).unwrap_err().field,
        "per"
    );
}

#[tokio::test(start_paused = true)]
async fn keep_alive_injects_into_each_silence_only() {
    let source = after([(50, 1), (250, 2), (99, 3), (1, 4)]);
    let kept = timed(source.keep_alive(MS * 100, || 0)).await;
    let expected = [(50, 1), (150, 0), (250, 0), (300, 2), (399, 3), (400, 4)];
    assert_eq!(kept, expected);
}

#[tokio::test(start_paused = true)]
async fn keep_alive_queues_nothing_while_the_consumer_is_away() {
    let (feeder, source) = fed();
    let mut kept = source.keep_alive(MS * 100, || 0);
    feeder.send(1).await.unwrap();
    assert_eq!(kept.next().await, Some(1));
    sleep(MS * 1000).await;
    feeder.send(2).await.unwrap();
    assert_eq!(
        kept.next().await,
        Some(2),
        "an element of the source takes precedence"
    );
    drop(feeder);
    assert_eq!(kept.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn the_initial_timeout_is_over_with_the_first_element() {
    let kept = after([(90, 1), (500, 2)]).initial_timeout(MS * 100);
    assert_eq!(oks(kept.collect().await), [1, 2]);
    let missed = timed(after([(110, 1)]).initial_timeout(MS * 100)).await;
    let kind = TimeoutKind::Initial;
    let limit = MS * 100;
    assert_eq!(missed, [(100, Err(StreamTimeout { kind, limit }))]);
}

#[tokio::test(start_paused = true)]
async fn the_idle_timeout_starts_again_with_each_element() {
    let kept = after([(90, 1), (90, 2), (90, 3)]).idle_timeout(MS * 100);
    assert_eq!(oks(kept.collect().await), [1, 2, 3]);
    let missed = timed(after([(90, 1), (110, 2)]).idle_timeout(MS * 100)).await;
    let kind = TimeoutKind::Idle;
    let limit = MS * 100;
    assert_eq!(
        missed,
        [(90, Ok(1)), (190, Err(StreamTimeout { kind, limit }))]
    );
}

#[tokio::test(start_paused = true)]
async fn the_completion_timeout_is_over_all_elements() {
    let kept = after([(40, 1), (40, 2)]).completion_timeout(MS * 100);
    assert_eq!(oks(kept.collect().await), [1, 2]);
    let missed = timed(after([(40, 1), (40, 2), (40, 3)]).completion_timeout(MS * 100)).await;
    let kind = TimeoutKind::Completion;
    let limit = MS * 100;
    let failed = Err(StreamTimeout { kind, limit });
    assert_eq!(missed, [(40, Ok(1)), (80, Ok(2)), (100, failed)]);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_starts_with_the_first_poll_and_not_before() {
    let late = after([(90, 1)]).initial_timeout(MS * 100);
    sleep(MS * 1000).await;
    assert_eq!(oks(late.collect().await), [1]);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_drops_the_source_before_it_is_told() {
    let (feeder, source) = fed();
    let mut stream = source.idle_timeout(MS * 100);
    assert!(stream.next().await.unwrap().is_err());
    assert!(feeder.is_closed());
    assert_eq!(stream.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn the_backpressure_timeout_drops_the_source_while_the_consumer_is_away() {
    let (feeder, source) = fed();
    for n in 0..5 {
        feeder.send(n).await.unwrap();
    }
    let mut stream = source.backpressure_timeout(MS * 100);
    assert_eq!(stream.next().await, Some(Ok(0)));
    sleep(MS * 90).await;
    assert_eq!(stream.next().await, Some(Ok(1)), "in time");
    sleep(MS * 110).await;
    settle().await;
    assert!(feeder.is_closed());
    let kind = TimeoutKind::Backpressure;
    let limit = MS * 100;
    assert_eq!(
        stream.next().await,
        Some(Err(StreamTimeout { kind, limit }))
    );
    assert_eq!(stream.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_slow_source_is_no_backpressure() {
    let stream = after([(500, 1), (500, 2)]).backpressure_timeout(MS * 100);
    assert_eq!(oks(stream.collect().await), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn nobody_is_late_for_a_stream_that_has_ended() {
    let mut stream = stream::iter([1]).backpressure_timeout(MS * 100);
    assert_eq!(stream.next().await, Some(Ok(1)));
    sleep(MS * 500).await;
    assert_eq!(stream.next().await, None);
}
