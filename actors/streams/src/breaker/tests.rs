use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use tokio::time::{advance, sleep};

use super::*;

const MS: Duration = Duration::from_millis(1);
const RESET: Duration = Duration::from_secs(1);

fn settings() -> BreakerSettings {
    BreakerSettings {
        max_failures: 2,
        call_timeout: MS * 100,
        reset_timeout: RESET,
        ..BreakerSettings::default()
    }
}

fn breaker() -> CircuitBreaker {
    CircuitBreaker::new(settings()).unwrap()
}

async fn good(breaker: &CircuitBreaker) -> Result<u32, BreakerError<u32>> {
    breaker.call(async { Ok(1) }).await
}

async fn bad(breaker: &CircuitBreaker) -> Result<u32, BreakerError<u32>> {
    breaker.call(async { Err(7) }).await
}

async fn open(breaker: &CircuitBreaker) {
    while breaker.state() == BreakerState::Closed {
        breaker.fail();
    }
    tokio::task::yield_now().await;
}

/// Opens the breaker, and waits until the timer has made it half-open.
async fn half_open(breaker: &CircuitBreaker) {
    open(breaker).await;
    sleep(breaker.next_reset_timeout()).await;
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
}

fn count(register: impl FnOnce(Box<dyn Fn() + Send + Sync>)) -> Arc<AtomicUsize> {
    let heard = Arc::new(AtomicUsize::new(0));
    let listener = Arc::clone(&heard);
    register(Box::new(move || {
        listener.fetch_add(1, SeqCst);
    }));
    heard
}

#[tokio::test(start_paused = true)]
async fn failures_in_a_row_open_the_breaker() {
    let breaker = breaker();
    assert_eq!(bad(&breaker).await, Err(BreakerError::Failed(7)));
    assert_eq!(breaker.state(), BreakerState::Closed);
    assert_eq!(bad(&breaker).await, Err(BreakerError::Failed(7)));
    assert_eq!(breaker.state(), BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn a_success_while_closed_sets_the_count_to_zero() {
    let breaker = breaker();
    for _ in 0..5 {
        bad(&breaker).await.unwrap_err();
        assert_eq!(breaker.failures(), 1);
        good(&breaker).await.unwrap();
        assert_eq!(breaker.failures(), 0);
    }
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_refuses_with_the_time_that_remains() {
    let breaker = breaker();
    open(&breaker).await;
    advance(MS * 300).await;
    let called = AtomicUsize::new(0);
    let refused: Result<(), BreakerError<()>> = breaker
        .call(async {
            called.fetch_add(1, SeqCst);
            Ok(())
        })
        .await;
    let remaining = MS * 700;
    assert_eq!(refused, Err(BreakerError::Open { remaining }));
    assert_eq!(called.load(SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_becomes_half_open_by_its_timer_without_a_call() {
    let breaker = breaker();
    let heard = count(|listener| breaker.on_half_open(listener));
    open(&breaker).await;
    sleep(MS * 999).await;
    assert_eq!(heard.load(SeqCst), 0);
    sleep(MS * 2).await;
    assert_eq!(heard.load(SeqCst), 1);
}

#[test]
fn without_a_runtime_the_breaker_still_opens_and_counts() {
    let breaker = breaker();
    for _ in 0..2 {
        breaker.call_sync(|| Err::<(), _>(())).unwrap_err();
    }
    assert_eq!(breaker.state(), BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn a_manual_mark_changes_nothing_while_open() {
    let breaker = breaker();
    open(&breaker).await;
    advance(MS * 10).await;
    breaker.succeed();
    breaker.fail();
    let remaining = MS * 990;
    assert_eq!(good(&breaker).await, Err(BreakerError::Open { remaining }));
}

#[tokio::test(start_paused = true)]
async fn half_open_lets_one_call_through_and_refuses_the_others() {
    let breaker = breaker();
    half_open(&breaker).await;
    let probe = breaker.call(async {
        sleep(MS * 10).await;
        Ok::<_, u32>(1)
    });
    let other = async {
        sleep(MS).await;
        good(&breaker).await
    };
    let (probe, other) = tokio::join!(probe, other);
    assert_eq!(probe, Ok(1));
    let remaining = Duration::ZERO;
    assert_eq!(other, Err(BreakerError::Open { remaining }));
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_failed_probe_opens_again() {
    let breaker = breaker();
    half_open(&breaker).await;
    bad(&breaker).await.unwrap_err();
    assert_eq!(breaker.state(), BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_probe_lets_the_next_call_probe() {
    let breaker = breaker();
    half_open(&breaker).await;
    let hang = breaker.call(std::future::pending::<Result<u32, u32>>());
    assert!(tokio::time::timeout(MS, hang).await.is_err());
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
    assert_eq!(good(&breaker).await, Ok(1));
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_counts_when_it_passes_and_tells_its_limit() {
    let breaker = breaker();
    breaker.fail();
    let start = Instant::now();
    let hang = breaker.call(std::future::pending::<Result<u32, u32>>());
    let limit = MS * 100;
    assert_eq!(hang.await, Err(BreakerError::Timeout { limit }));
    assert_eq!(start.elapsed(), limit);
    assert_eq!(breaker.state(), BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn a_slow_answer_reaches_the_caller_and_counts_as_a_failure() {
    let breaker = breaker();
    for _ in 0..2 {
        let busy = async {
            // Time passes while the call is not suspended, so no timer can end it.
            advance(MS * 101).await;
            Ok::<_, u32>(5)
        };
        let answer = breaker.call(busy).await;
        assert!(matches!(answer, Ok(5) | Err(BreakerError::Timeout { .. })));
    }
    assert_eq!(breaker.state(), BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn a_zero_call_timeout_never_times_out_and_still_asks_the_decider() {
    let breaker = CircuitBreaker::new(BreakerSettings {
        call_timeout: Duration::ZERO,
        ..settings()
    })
    .unwrap();
    for _ in 0..3 {
        let slow = async {
            sleep(RESET * 100).await;
            Err::<u32, _>(4)
        };
        let excused = breaker.call_deciding(slow, |_| false).await;
        assert_eq!(excused, Err(BreakerError::Failed(4)));
    }
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn the_decider_may_excuse_an_error_and_accuse_a_value() {
    let breaker = breaker();
    let even = |result: &Result<u32, u32>| matches!(result, Ok(n) if n % 2 == 0);
    for _ in 0..3 {
        let excused = breaker.call_deciding(async { Err(7) }, even).await;
        assert_eq!(excused, Err(BreakerError::Failed(7)));
    }
    assert_eq!(breaker.state(), BreakerState::Closed);
    for _ in 0..2 {
        assert_eq!(breaker.call_deciding(async { Ok(2) }, even).await, Ok(2));
    }
    assert_eq!(breaker.state(), BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn a_late_result_from_before_the_opening_changes_nothing() {
    for late in [Ok(1), Err(7)] {
        let breaker = breaker();
        let slow = breaker.clone();
        let (answer, wait) = tokio::sync::oneshot::channel::<Result<u32, u32>>();
        let old = tokio::spawn(async move {
            let body = async move { wait.await.unwrap() };
            slow.call(body).await
        });
        tokio::task::yield_now().await;
        open(&breaker).await;
        answer.send(late).unwrap();
        assert_eq!(old.await.unwrap(), late.map_err(BreakerError::Failed));
        assert_eq!(breaker.state(), BreakerState::Open);
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_failure_of_an_earlier_closed_spell_is_not_counted_in_this_one() {
    let long = BreakerSettings {
        call_timeout: RESET * 10,
        ..settings()
    };
    let breaker = CircuitBreaker::new(long).unwrap();
    let slow = breaker.clone();
    let old = tokio::spawn(async move {
        let body = async {
            sleep(RESET * 3).await;
            Err::<u32, u32>(7)
        };
        slow.call(body).await
    });
    tokio::task::yield_now().await;
    half_open(&breaker).await;
    good(&breaker).await.unwrap();
    old.await.unwrap().unwrap_err();
    assert_eq!(
        (breaker.state(), breaker.failures()),
        (BreakerState::Closed, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_call_is_a_failure() {
    let breaker = breaker();
    for _ in 0..2 {
        let guarded = breaker.clone();
        let lost = tokio::spawn(async move {
            let body = async { panic!("as scripted") };
            guarded.call::<(), ()>(body).await
        });
        assert!(lost.await.unwrap_err().is_panic());
    }
    assert_eq!(breaker.state(), BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn the_opening_grows_until_the_next_would_reach_the_maximum() {
    let growing = settings().with_exponential_backoff(RESET * 5);
    let breaker = CircuitBreaker::new(growing).unwrap();
    let mut lasted = Vec::new();
    open(&breaker).await;
    for _ in 0..4 {
        let Err(BreakerError::Open { remaining }) = good(&breaker).await else {
            panic!("the breaker is not open");
        };
        lasted.push(remaining);
        sleep(remaining).await;
        bad(&breaker).await.unwrap_err();
    }
    // 8 s would reach the maximum, so it stays at 4 s; it is not clamped to 5 s.
    assert_eq!(lasted, [RESET, RESET * 2, RESET * 4, RESET * 4]);
}

#[tokio::test(start_paused = true)]
async fn closing_restores_the_first_reset_timeout() {
    let growing = settings().with_exponential_backoff(RESET * 100);
    let breaker = CircuitBreaker::new(growing).unwrap();
    half_open(&breaker).await;
    assert_eq!(breaker.next_reset_timeout(), RESET * 2);
    good(&breaker).await.unwrap();
    assert_eq!(breaker.next_reset_timeout(), RESET);
}

#[tokio::test(start_paused = true)]
async fn the_random_factor_stays_in_range_and_repeats_with_its_seed() {
    let drawn = async |seed| {
        let spread = BreakerSettings {
            random_factor: 0.5,
            seed,
            ..settings().with_exponential_backoff(RESET * 100)
        };
        let breaker = CircuitBreaker::new(spread).unwrap();
        open(&breaker).await;
        breaker.next_reset_timeout()
    };
    let first = drawn(3).await;
    assert!(first > RESET * 2 && first < RESET * 3, "{first:?}");
    assert_eq!(first, drawn(3).await);
    assert_ne!(first, drawn(4).await);
}

#[tokio::test(start_paused = true)]
async fn each_listener_hears_its_event_once() {
    let breaker = breaker();
    let opened = count(|listener| breaker.on_open(listener));
    let half = count(|listener| breaker.on_half_open(listener));
    let closed = count(|listener| breaker.on_close(listener));
    half_open(&breaker).await;
    good(&breaker).await.unwrap();
    let heard = [opened, half, closed].map(|heard| heard.load(SeqCst));
    assert_eq!(heard, [1, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn call_listeners_hear_each_result_with_its_time() {
    let breaker = breaker();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let events = Arc::clone(&heard);
    breaker.on_call(move |event| events.lock().unwrap().push(event));
    let slow = async {
        sleep(MS * 20).await;
        Ok::<_, u32>(1)
    };
    breaker.call(slow).await.unwrap();
    bad(&breaker).await.unwrap_err();
    let hang = std::future::pending::<Result<u32, u32>>();
    breaker.call(hang).await.unwrap_err();
    bad(&breaker).await.unwrap_err();
    let expected = [
        CallEvent::Success(MS * 20),
        CallEvent::Failure(Duration::ZERO),
        CallEvent::Timeout(MS * 100),
        CallEvent::Refused,
    ];
    assert_eq!(*heard.lock().unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_listener_that_panics_does_not_harm_the_call() {
    let breaker = breaker();
    breaker.on_call(|_| panic!("as scripted"));
    assert_eq!(good(&breaker).await, Ok(1));
}

#[test]
fn concurrent_failures_open_once() {
    let breaker = breaker();
    let opened = count(|listener| breaker.on_open(listener));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..100 {
                    breaker.fail();
                }
            });
        }
    });
    assert_eq!(opened.load(SeqCst), 1);
}

#[test]
fn settings_out_of_range_are_named() {
    let field = |change: fn(&mut BreakerSettings)| {
        let mut settings = settings();
        change(&mut settings);
        CircuitBreaker::new(settings).unwrap_err().field
    };
    assert_eq!(field(|s| s.max_failures = 0), "max_failures");
    assert_eq!(field(|s| s.reset_timeout = Duration::ZERO), "reset_timeout");
    assert_eq!(field(|s| s.max_reset_timeout = MS), "max_reset_timeout");
    assert_eq!(field(|s| s.backoff_factor = 0.5), "backoff_factor");
    assert_eq!(field(|s| s.random_factor = f64::NAN), "random_factor");
}
