use std::{cell::RefCell, rc::Rc};

use super::*;
use crate::backoff::Backoff;

fn backoff() -> Backoff {
    Backoff::new(MS * 100, MS * 400, 0.0).unwrap()
}

/// Creates sources that yield their number and fail; notes when each was created.
fn failing(
    made: &Rc<RefCell<Vec<u128>>>,
) -> impl FnMut() -> BoxStream<'static, Result<usize, &'static str>> + use<> {
    let (made, start) = (Rc::clone(made), Instant::now());
    move || {
        made.borrow_mut().push(start.elapsed().as_millis());
        let nth = made.borrow().len();
        stream::iter([Ok(nth), Err("as scripted")]).boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_source_is_made_again_after_a_growing_wait() {
    let made = Rc::default();
    let restarted = restart_source(
        RestartSettings::new(backoff()).max_restarts(4, MS * 10_000),
        failing(&made),
    );
    let items = restarted.collect::<Vec<_>>().await;
    assert_eq!(*made.borrow(), [0, 100, 300, 700, 1100]);
    let expected = [Ok(1), Ok(2), Ok(3), Ok(4), Ok(5), Err("as scripted")];
    assert_eq!(items, expected);
}

#[tokio::test(start_paused = true)]
async fn no_restart_is_left_when_the_maximum_is_zero() {
    let made = Rc::default();
    let settings = RestartSettings::new(backoff()).max_restarts(0, MS);
    let items = restart_source(settings, failing(&made)).collect::<Vec<_>>();
    assert_eq!(items.await, [Ok(1), Err("as scripted")]);
}

#[tokio::test(start_paused = true)]
async fn a_completed_source_is_made_again_too() {
    let settings = RestartSettings::new(backoff());
    let source = || stream::iter([Ok::<u32, Infallible>(1)]);
    let restarted = restart_source(settings, source).take(3);
    assert_eq!(times(restarted).await, [0, 100, 300]);
}

#[tokio::test(start_paused = true)]
async fn on_failures_only_a_completion_completes() {
    let settings = RestartSettings::new(backoff()).on_failures_only();
    let source = || stream::iter([Ok::<u32, Infallible>(1)]);
    let items = restart_source(settings, source).collect::<Vec<_>>();
    assert_eq!(items.await, [Ok(1)]);
}

#[tokio::test(start_paused = true)]
async fn the_wait_starts_small_again_after_a_source_that_lived() {
    let made = Rc::new(RefCell::new(Vec::new()));
    let (count, start) = (Rc::clone(&made), Instant::now());
    let source = move || {
        count.borrow_mut().push(start.elapsed().as_millis());
        // The third source lives longer than the shortest wait.
        let life = if count.borrow().len() == 3 { 150 } else { 0 };
        stream::once(async move {
            sleep(MS * life).await;
            Err::<u32, _>("as scripted")
        })
    };
    let mut restarted = Box::pin(restart_source(RestartSettings::new(backoff()), source));
    let never = tokio::time::timeout(MS * 600, restarted.next()).await;
    assert!(never.is_err());
    // Created after 100 ms, after 200 ms more, and, because that source lived 150 ms, after 100 ms again.
    assert_eq!(*made.borrow(), [0, 100, 300, 550]);
}

#[tokio::test(start_paused = true)]
async fn an_error_that_must_not_restart_fails_at_once() {
    let made = Rc::default();
    let settings = RestartSettings::new(backoff());
    let restarted = restart_source(settings, failing(&made)).restart_on(|_| false);
    let items = restarted.collect::<Vec<_>>().await;
    assert_eq!(items, [Ok(1), Err("as scripted")]);
    assert_eq!(made.borrow().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn dropping_it_while_it_waits_makes_no_more_sources() {
    let made = Rc::default();
    let settings = RestartSettings::new(backoff());
    let mut restarted = restart_source(settings, failing(&made));
    assert_eq!(restarted.next().await, Some(Ok(1)));
    let waiting = tokio::time::timeout(MS * 50, restarted.next()).await;
    assert!(waiting.is_err());
    drop(restarted);
    sleep(MS * 1000).await;
    assert_eq!(made.borrow().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_random_part_repeats_with_its_seed() {
    let run = async |seed| {
        let made = Rc::default();
        let spread = Backoff::new(MS * 100, MS * 400, 1.0).unwrap();
        let settings = RestartSettings::new(spread).max_restarts(3, MS * 10_000);
        let restarted = restart_source(settings.seed(seed), failing(&made));
        times(restarted).await
    };
    assert_eq!(run(3).await, run(3).await);
    assert_ne!(run(3).await, run(4).await);
}
