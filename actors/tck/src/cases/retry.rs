//! L4: attempting again. Source: Pekko `RetrySpec`.

use std::{cell::RefCell, rc::Rc, sync::Arc, time::Duration};

use futures_util::FutureExt;
use tokio::time::{Instant, sleep};

use crate::{
    case::{Case, CaseResult, Failure, SEED, Stance::Same, ensure, ensure_eq},
    cases,
    driver::retry::{Attempt, Delay, Ending, RetryDriver, RetryOn},
};

const MS: Duration = Duration::from_millis(1);

/// The cases.
pub(super) const CASES: &[Case<dyn RetryDriver>] = cases![dyn RetryDriver, L4;
    a_success_is_attempted_once_and_at_once => "RetrySpec: run a successful Future immediately", Same;
    a_success_of_one_attempt_waits_for_no_delay => "RetrySpec: run a successful Future only once", Same;
    a_failure_is_returned_when_no_retry_is_left => "RetrySpec: eventually return a failure for a Future that will never succeed", Same;
    a_success_on_the_way_is_returned => "RetrySpec: return a success for a Future that succeeds eventually", Same;
    the_error_returned_is_the_last => "RetrySpec: return a failure for a Future that would have succeeded but retries were exhausted", Same;
    zero_retries_are_one_attempt => "RetrySpec: retry with zero additional attempts", Same;
    without_a_delay_attempts_follow_at_once => "RetrySpec: attempts with no delay", Same;
    the_delay_starts_when_the_attempt_has_ended => "RetrySpec: delay between attempts", Same;
    the_delay_function_sees_the_number_of_the_retry => "RetrySpec: use the delay function", Same;
    a_backoff_grows_by_doubling_up_to_its_maximum => "RetrySupport: retry with minBackoff, maxBackoff", Same;
    the_random_part_of_a_backoff_stays_in_its_range => "RetrySupport: retry with randomFactor", Same;
    a_predicate_may_refuse_to_retry_an_error => "RetrySpec: predicate on the failure", Same;
    a_predicate_may_retry_a_value => "RetrySpec: predicate on the value", Same;
    the_predicate_sees_each_ending_but_the_last => "RetrySpec: predicate", Same;
    an_attempt_that_is_given_up_is_not_followed_by_another => "RetrySupport: the caller goes away",
        crate::case::Stance::Different("a future that is dropped stops; Pekko's attempts run on");
];

/// What happened to attempts: how they ended, and when each began, in milliseconds.
struct Seen {
    result: Ending,
    began: Vec<u128>,
}

/// Notes the beginning of each attempt and ends it as `ending` says.
fn attempts(began: &Rc<RefCell<Vec<u128>>>, ending: fn(u32) -> Ending) -> Attempt {
    let (began, start) = (Rc::clone(began), Instant::now());
    Rc::new(move |nth| {
        began.borrow_mut().push(start.elapsed().as_millis());
        std::future::ready(ending(nth)).boxed_local()
    })
}

async fn run(
    driver: &dyn RetryDriver,
    retries: u32,
    delay: Delay,
    ending: fn(u32) -> Ending,
    retry_on: Option<RetryOn>,
) -> Result<Seen, Failure> {
    let began = Rc::default();
    let attempt = attempts(&began, ending);
    let result = driver.retry(retries, delay, attempt, retry_on)?.await;
    let began = began.borrow().clone();
    Ok(Seen { result, began })
}

fn never(nth: u32) -> Ending {
    Err(u64::from(nth))
}

fn third(nth: u32) -> Ending {
    if nth >= 3 { Ok(3) } else { never(nth) }
}

async fn a_success_is_attempted_once_and_at_once(driver: &dyn RetryDriver) -> CaseResult {
    let seen = run(driver, 5, Delay::Fixed(MS * 300), |_| Ok(1), None).await?;
    ensure_eq("result", &seen.result, &Ok(1))?;
    ensure_eq("attempts", &seen.began, &vec![0])
}

async fn a_success_of_one_attempt_waits_for_no_delay(driver: &dyn RetryDriver) -> CaseResult {
    let start = Instant::now();
    run(driver, 5, Delay::Fixed(MS * 300), |_| Ok(1), None).await?;
    ensure_eq("time taken", &start.elapsed(), &Duration::ZERO)
}

async fn a_failure_is_returned_when_no_retry_is_left(driver: &dyn RetryDriver) -> CaseResult {
    let seen = run(driver, 2, Delay::Fixed(MS * 300), never, None).await?;
    ensure(seen.result.is_err(), || {
        format!("it succeeded: {:?}", seen.result)
    })?;
    ensure_eq("attempts", &seen.began, &vec![0, 300, 600])
}

async fn a_success_on_the_way_is_returned(driver: &dyn RetryDriver) -> CaseResult {
    let seen = run(driver, 5, Delay::Fixed(MS * 300), third, None).await?;
    ensure_eq("result", &seen.result, &Ok(3))?;
    ensure_eq("attempts", &seen.began, &vec![0, 300, 600])
}

async fn the_error_returned_is_the_last(driver: &dyn RetryDriver) -> CaseResult {
    let seen = run(driver, 1, Delay::Fixed(MS * 300), third, None).await?;
    ensure_eq("result", &seen.result, &Err(2))?;
    ensure_eq("attempts", &seen.began, &vec![0, 300])
}

async fn zero_retries_are_one_attempt(driver: &dyn RetryDriver) -> CaseResult {
    let seen = run(driver, 0, Delay::Fixed(MS * 300), never, None).await?;
    ensure_eq("result", &seen.result, &Err(1))?;
    ensure_eq("attempts", &seen.began, &vec![0])
}

async fn without_a_delay_attempts_follow_at_once(driver: &dyn RetryDriver) -> CaseResult {
    let seen = run(driver, 3, Delay::None, never, None).await?;
    ensure_eq("result", &seen.result, &Err(4))?;
    ensure_eq("attempts", &seen.began, &vec![0; 4])
}

async fn the_delay_starts_when_the_attempt_has_ended(driver: &dyn RetryDriver) -> CaseResult {
    let began: Rc<RefCell<Vec<u128>>> = Rc::default();
    let (note, start) = (Rc::clone(&began), Instant::now());
    let attempt: Attempt = Rc::new(move |nth| {
        note.borrow_mut().push(start.elapsed().as_millis());
        let slow = async move {
            sleep(MS * 50).await;
            never(nth)
        };
        slow.boxed_local()
    });
    let ended = driver
        .retry(2, Delay::Fixed(MS * 100), attempt, None)?
        .await;
    ensure_eq("result", &ended, &Err(3))?;
    ensure_eq("attempts", &*began.borrow(), &vec![0, 150, 300])
}

async fn the_delay_function_sees_the_number_of_the_retry(driver: &dyn RetryDriver) -> CaseResult {
    let delay = Delay::Function(Arc::new(|nth| (nth != 2).then_some(MS * 100 * nth)));
    let seen = run(driver, 3, delay, never, None).await?;
    ensure_eq("attempts", &seen.began, &vec![0, 100, 100, 400])
}

fn backoff(random: f64, seed: u64) -> Delay {
    Delay::Backoff {
        min: MS * 100,
        max: MS * 500,
        random,
        seed,
    }
}

async fn a_backoff_grows_by_doubling_up_to_its_maximum(driver: &dyn RetryDriver) -> CaseResult {
    let seen = run(driver, 3, backoff(0.0, 1), never, None).await?;
    // Pekko's formula counts the retry, so the first waits twice the minimum.
    ensure_eq("attempts", &seen.began, &vec![0, 200, 600, 1100])
}

async fn the_random_part_of_a_backoff_stays_in_its_range(driver: &dyn RetryDriver) -> CaseResult {
    let mut first_waits = Vec::new();
    for seed in SEED..SEED + 20 {
        let seen = run(driver, 1, backoff(0.5, seed), never, None).await?;
        let wait = seen.began.last().copied().unwrap_or_default();
        ensure((200..=301).contains(&wait), || {
            format!("seed {seed}: waited {wait} ms, not 200 to 300")
        })?;
        first_waits.push(wait);
    }
    first_waits.dedup();
    ensure(first_waits.len() > 10, || {
        format!("hardly random: {first_waits:?}")
    })
}

async fn a_predicate_may_refuse_to_retry_an_error(driver: &dyn RetryDriver) -> CaseResult {
    let only_first: RetryOn = Rc::new(|ending| *ending == Err(1));
    let seen = run(driver, 9, Delay::None, never, Some(only_first)).await?;
    ensure_eq("result", &seen.result, &Err(2))
}

async fn a_predicate_may_retry_a_value(driver: &dyn RetryDriver) -> CaseResult {
    let small: RetryOn = Rc::new(|ending| matches!(ending, Ok(n) if *n < 4));
    let counting = |nth| Ok(u64::from(nth));
    let seen = run(driver, 9, Delay::None, counting, Some(Rc::clone(&small))).await?;
    ensure_eq("result", &seen.result, &Ok(4))?;
    let seen = run(driver, 1, Delay::None, counting, Some(small)).await?;
    ensure_eq("the last value, though not content", &seen.result, &Ok(2))
}

async fn the_predicate_sees_each_ending_but_the_last(driver: &dyn RetryDriver) -> CaseResult {
    let asked = Rc::new(RefCell::new(Vec::new()));
    let note = Rc::clone(&asked);
    let retry_on: RetryOn = Rc::new(move |ending| {
        note.borrow_mut().push(*ending);
        true
    });
    run(driver, 2, Delay::None, never, Some(retry_on)).await?;
    ensure_eq("asked about", &*asked.borrow(), &vec![Err(1), Err(2)])
}

async fn an_attempt_that_is_given_up_is_not_followed_by_another(
    driver: &dyn RetryDriver,
) -> CaseResult {
    let began = Rc::default();
    let attempt = attempts(&began, never);
    let retrying = driver.retry(5, Delay::Fixed(MS * 100), attempt, None)?;
    let given_up = tokio::time::timeout(MS * 150, retrying).await;
    ensure(given_up.is_err(), || {
        format!("it ended early: {given_up:?}")
    })?;
    sleep(MS * 1000).await;
    ensure_eq("attempts", &*began.borrow(), &vec![0, 100])
}
