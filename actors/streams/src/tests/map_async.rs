use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use super::*;

type Failed = MapError<&'static str>;

/// Counts the running tasks and their largest number.
#[derive(Clone, Default)]
struct Gauge {
    running: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    begun: Arc<AtomicUsize>,
}

struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl Gauge {
    fn enter(&self) -> Running {
        self.begun.fetch_add(1, SeqCst);
        let running = self.running.fetch_add(1, SeqCst) + 1;
        self.most.fetch_max(running, SeqCst);
        Running(Arc::clone(&self.running))
    }

    fn running(&self) -> usize {
        self.running.load(SeqCst)
    }

    /// Sleeps for the number of milliseconds that the element gives.
    fn work(
        &self,
    ) -> impl FnMut(u32) -> futures_util::future::BoxFuture<'static, Result<u32, &'static str>>
    + Send
    + use<> {
        let gauge = self.clone();
        move |ms| {
            let running = gauge.enter();
            Box::pin(async move {
                sleep(MS * ms).await;
                drop(running);
                Ok(ms)
            })
        }
    }
}

#[tokio::test(start_paused = true)]
async fn elements_come_in_order_whatever_each_takes() {
    let gauge = Gauge::default();
    let mapped = stream::iter([30, 10, 20]).map_async(3, gauge.work());
    let expected = [(30, Ok(30)), (30, Ok(10)), (30, Ok(20))];
    assert_eq!(timed(mapped).await, expected);
}

#[tokio::test(start_paused = true)]
async fn unordered_elements_come_as_they_are_done() {
    let gauge = Gauge::default();
    let mapped = stream::iter([30, 10, 20]).map_async_unordered(3, gauge.work());
    let expected = [(10, Ok(10)), (20, Ok(20)), (30, Ok(30))];
    assert_eq!(timed(mapped).await, expected);
}

#[tokio::test(start_paused = true)]
async fn no_more_run_than_the_parallelism_and_all_of_it_is_used() {
    for unordered in [false, true] {
        let gauge = Gauge::default();
        let source = stream::iter((1..=40).map(|n| n % 7 + 1));
        let options = if unordered {
            MapOptions::unordered(4)
        } else {
            MapOptions::ordered(4)
        };
        let mapped = source.map_async_with(options, gauge.work());
        assert_eq!(mapped.collect::<Vec<_>>().await.len(), 40);
        assert_eq!(gauge.most.load(SeqCst), 4);
    }
}

#[tokio::test(start_paused = true)]
async fn work_advances_while_the_consumer_is_idle() {
    let gauge = Gauge::default();
    let mut mapped = stream::iter([10; 8]).map_async(4, gauge.work());
    assert_eq!(mapped.next().await, Some(Ok(10)));
    sleep(MS * 1000).await;
    // One was emitted and made room for a fifth. All four places are done, and nothing more was started.
    assert_eq!((gauge.begun.load(SeqCst), gauge.running()), (5, 0));
    let start = Instant::now();
    for _ in 0..4 {
        assert_eq!(mapped.next().await, Some(Ok(10)));
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_failure_overtakes_the_elements_before_it() {
    let gauge = Gauge::default();
    let mut work = gauge.work();
    let mapped = stream::iter([500, 10, 500]).map_async(3, move |ms| {
        let slow = work(ms);
        async move { if ms == 10 { Err("ten") } else { slow.await } }
    });
    assert_eq!(timed(mapped).await, [(0, Err(Failed::Failed("ten")))]);
    settle().await;
    assert_eq!(gauge.running(), 0, "the others were aborted");
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_task_is_an_error_of_the_stream() {
    let mapped = stream::iter([1]).map_async(2, |n: u32| async move {
        assert_ne!(n, 1, "as scripted");
        Ok::<_, Infallible>(n)
    });
    let items = mapped.collect::<Vec<_>>().await;
    assert!(matches!(&items[..], [Err(MapError::Panicked(text))] if text.contains("as scripted")));
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_function_is_an_error_of_the_stream() {
    let mapped = stream::iter([1]).map_async(2, |n: u32| {
        assert_ne!(n, 1, "before the future");
        async move { Ok::<_, Infallible>(n) }
    });
    let items = mapped.collect::<Vec<_>>().await;
    assert!(matches!(&items[..], [Err(MapError::Panicked(_))]));
}

#[tokio::test(start_paused = true)]
async fn resuming_skips_failed_elements_and_asks_once_for_each() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let options = MapOptions::ordered(2).resuming(move |_: &MapError<&str>| {
        count.fetch_add(1, SeqCst);
        true
    });
    let mapped = stream::iter(0..6).map_async_with(options, |n: u32| async move {
        match n {
            1 => Err("one"),
            3 => panic!("three"),
            n => Ok(n),
        }
    });
    assert_eq!(oks(mapped.collect().await), [0, 2, 4, 5]);
    assert_eq!(asked.load(SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn the_stream_completes_when_the_last_work_is_done() {
    let empty = stream::iter([]).map_async(2, Gauge::default().work());
    assert_eq!(timed(empty).await, []);
    let one = stream::iter([10]).map_async(1, Gauge::default().work());
    assert_eq!(timed(one).await, [(10, Ok(10))]);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_stream_aborts_the_tasks_and_drops_the_source() {
    let gauge = Gauge::default();
    let (feeder, source) = fed();
    let mut mapped = source.map_async(4, gauge.work());
    for ms in [10, 500, 500] {
        feeder.send(ms).await.unwrap();
    }
    assert_eq!(mapped.next().await, Some(Ok(10)));
    settle().await;
    assert_eq!(gauge.running(), 2);
    drop(mapped);
    settle().await;
    assert_eq!(gauge.running(), 0);
    assert!(feeder.is_closed());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_pulled_before_the_first_poll() {
    let gauge = Gauge::default();
    let mapped = stream::iter([1, 2]).map_async(2, gauge.work());
    sleep(MS * 100).await;
    assert_eq!(gauge.begun.load(SeqCst), 0);
    drop(mapped);
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_the_source_reaches_the_consumer() {
    let source = stream::iter([1, 2]).map(|n| {
        assert_ne!(n, 2, "in the source");
        n
    });
    let mapped = source.map_async(1, |n: u32| async move { Ok::<_, Infallible>(n) });
    let lost = tokio::spawn(mapped.collect::<Vec<_>>()).await;
    assert!(lost.unwrap_err().is_panic());
}
