use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use super::*;

#[tokio::test(start_paused = true)]
async fn a_delay_holds_elements_back_in_their_order() {
    let source = after([(10, 1), (20, 2), (200, 3)]).delay(MS * 100);
    assert_eq!(timed(source).await, [(110, 1), (130, 2), (330, 3)]);
    let by_item = stream::iter([100, 10, 200]);
    let delayed = by_item.delay_with(16, BufferPolicy::Backpressure, |ms| MS * *ms);
    assert_eq!(timed(delayed).await, [(100, 100), (100, 10), (200, 200)]);
}

#[tokio::test(start_paused = true)]
async fn a_full_delay_drops_by_its_policy_or_reads_no_further() {
    let held = |policy| {
        let delayed = stream::iter(0..6).delay_with(2, policy, |_| MS * 100);
        delayed.collect::<Vec<_>>()
    };
    assert_eq!(held(BufferPolicy::DropHead).await, [4, 5]);
    assert_eq!(held(BufferPolicy::DropNew).await, [0, 1]);
    assert_eq!(held(BufferPolicy::Backpressure).await, [0, 1, 2, 3, 4, 5]);
}

#[tokio::test(start_paused = true)]
async fn a_delay_beyond_the_clock_is_never_over() {
    let mut never = stream::iter([1]).delay(Duration::MAX);
    let waited = tokio::time::timeout(Duration::from_hours(1), never.next()).await;
    assert!(waited.is_err());
}

#[tokio::test(start_paused = true)]
async fn one_element_of_each_key_is_worked_on_at_a_time() {
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (gauge, highest) = (Arc::clone(&running), Arc::clone(&most));
    let mapped = stream::iter(0..40_u32).map_async_partitioned(
        MapOptions::ordered(3),
        |n| n % 5,
        move |n, _| {
            highest.fetch_max(gauge.fetch_add(1, SeqCst) + 1, SeqCst);
            let gauge = Arc::clone(&gauge);
            async move {
                sleep(MS * 10).await;
                gauge.fetch_sub(1, SeqCst);
                Ok::<_, Infallible>(n)
            }
        },
    );
    assert_eq!(oks(mapped.collect().await), (0..40).collect::<Vec<_>>());
    assert_eq!(most.load(SeqCst), 3);
    let same = stream::iter([10, 20, 30]);
    let serial = same.map_async_partitioned(
        MapOptions::unordered(8),
        |_| (),
        |ms, ()| async move {
            sleep(MS * ms).await;
            Ok::<_, Infallible>(ms)
        },
    );
    assert_eq!(times(serial).await, [10, 30, 60]);
}

#[tokio::test(start_paused = true)]
async fn a_partitioned_failure_ends_the_stream_when_it_happens() {
    let mapped = stream::iter([1, 2, 3]).map_async_partitioned(
        MapOptions::ordered(3),
        |n| *n,
        |n: u32, _| async move {
            assert_ne!(n, 3, "as scripted");
            sleep(MS * 100).await;
            Ok::<_, Infallible>(n)
        },
    );
    let items = timed(mapped).await;
    assert!(matches!(&items[..], [(0, Err(MapError::Panicked(_)))]));
}

#[tokio::test(start_paused = true)]
async fn a_failed_stream_goes_on_as_often_as_it_may() {
    let failing = |n| stream::iter([Ok(n), Err(n)]);
    let run = async |attempts, given_up: u32| {
        let recovered = failing(0).recover_with_retries(attempts, |error| {
            (*error != given_up).then(|| failing(error + 1))
        });
        recovered.collect::<Vec<_>>().await
    };
    assert_eq!(run(Some(0), 9).await, [Ok(0), Err(0)]);
    assert_eq!(run(Some(2), 9).await, [Ok(0), Ok(1), Ok(2), Err(2)]);
    assert_eq!(run(None, 1).await, [Ok(0), Ok(1), Err(1)]);
}

#[tokio::test(start_paused = true)]
async fn a_supervised_stage_stops_resumes_or_restarts() {
    let run = async |directive| {
        let step = |sum: &i32, n| if n < 0 { Err(n) } else { Ok(sum + n) };
        let sums = stream::iter([1, 3, -1, 5]).scan_supervised(0, step, move |_| directive);
        sums.collect::<Vec<_>>().await
    };
    assert_eq!(run(Directive::Stop).await, [Ok(0), Ok(1), Ok(4), Err(-1)]);
    assert_eq!(run(Directive::Resume).await, [0, 1, 4, 9].map(Ok));
    assert_eq!(run(Directive::Restart).await, [0, 1, 4, 0, 5].map(Ok));
}

#[tokio::test(start_paused = true)]
async fn errors_are_skipped_until_one_stops_the_stream() {
    let mixed = stream::iter([Ok(1), Err(2), Ok(3), Err(0), Ok(4)]);
    let decide = |error: &i32| match error {
        0 => Directive::Stop,
        _ => Directive::Resume,
    };
    let kept = mixed.supervise(decide).collect::<Vec<_>>().await;
    assert_eq!(kept, [Ok(1), Ok(3), Err(0)]);
}
