//! Handlers that are `async fn`s. Pekko has none: it pipes a future's result to the actor.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use crate::{
    case::{
        Case, CaseResult, Failure,
        Stance::{Different, Trap},
        ensure, ensure_eq,
    },
    cases,
    driver::handlers::{
        Driver, Notes,
        Work::{AskItself, Wait, WaitAndPanic},
        Worker,
    },
};

const SECOND: Duration = Duration::from_secs(1);

pub(super) const CASES: &[Case<dyn Driver>] = cases![dyn Driver, L1;
    an_async_handler_keeps_its_state_across_an_await => "PipeToSelfSpec: the state behind a future", Different("a handler may be an `async fn`; Pekko handles the future's result as a message");
    messages_wait_while_an_async_handler_waits => "PipeToSelfSpec: others are handled meanwhile", Different("an `async fn` with `&mut self` is one message");
    another_actor_runs_while_an_async_handler_waits => "PipeToSelfSpec: others are handled meanwhile", Trap("actix: a handler that blocks");
    a_panic_behind_an_await_fails_its_ask => "PipeToSelfSpec: failure", Different("the panic is the actor's");
    an_actor_goes_on_with_its_mailbox_after_a_panic_behind_an_await => "SupervisionSpec: restart", Different("the actor restarts, as after any panic");
    a_stop_does_not_wait_for_an_async_handler_that_waits => "ActorContextSpec: stop", Different("the handler is dropped at its `await`");
    an_actor_that_waits_for_itself_waits_in_vain => "AskPattern: ask oneself", Different("the ask ends at its timeout");
    handlers_that_take_turns_run_at_the_same_time => "PipeToSelfSpec: several futures", Different("each handler goes on where it was");
    no_more_handlers_take_turns_than_were_allowed => "PipeToSelfSpec: several futures", Different("their number has a bound");
    an_actor_whose_handlers_take_turns_may_ask_itself => "AskPattern: ask oneself", Different("one handler waits for another");
];

async fn worker(driver: &dyn Driver, turns: Option<usize>) -> Result<Box<dyn Worker>, Failure> {
    Ok(driver.spawn(turns).await?)
}

fn noted(notes: &Notes, expected: &[&str]) -> CaseResult {
    let expected = expected.iter().map(|&note| note.to_owned()).collect();
    ensure_eq("notes", notes, &Some(expected))
}

async fn an_async_handler_keeps_its_state_across_an_await(driver: &dyn Driver) -> CaseResult {
    let worker = worker(driver, None).await?;
    noted(&worker.work("a", Wait(SECOND)).await, &["a+", "a-"])
}

async fn messages_wait_while_an_async_handler_waits(driver: &dyn Driver) -> CaseResult {
    let worker = worker(driver, None).await?;
    let both = [
        worker.work("a", Wait(SECOND)),
        worker.work("b", Wait(SECOND)),
    ];
    let notes = join_all(both).await;
    noted(&notes[1], &["a+", "a-", "b+", "b-"])
}

async fn another_actor_runs_while_an_async_handler_waits(driver: &dyn Driver) -> CaseResult {
    let (one, other) = (worker(driver, None).await?, worker(driver, None).await?);
    let begun = Instant::now();
    join_all([one.work("a", Wait(SECOND)), other.work("b", Wait(SECOND))]).await;
    ensure_eq("seconds", &begun.elapsed().as_secs(), &1)
}

async fn a_panic_behind_an_await_fails_its_ask(driver: &dyn Driver) -> CaseResult {
    let worker = worker(driver, None).await?;
    let begun = Instant::now();
    ensure_eq(
        "notes",
        &worker.work("a", WaitAndPanic(SECOND)).await,
        &None,
    )?;
    ensure(begun.elapsed() < 2 * SECOND, || "it waited".to_owned())
}

async fn an_actor_goes_on_with_its_mailbox_after_a_panic_behind_an_await(
    driver: &dyn Driver,
) -> CaseResult {
    driver.restarts()?;
    let worker = worker(driver, None).await?;
    let both = [
        worker.work("a", WaitAndPanic(SECOND)),
        worker.work("b", Wait(SECOND)),
    ];
    let notes = join_all(both).await;
    noted(&notes[1], &["b+", "b-"])
}

async fn a_stop_does_not_wait_for_an_async_handler_that_waits(driver: &dyn Driver) -> CaseResult {
    let worker = worker(driver, None).await?;
    let begun = Instant::now();
    let stop = async {
        sleep(SECOND).await;
        worker.stop()?.await;
        Ok::<_, Failure>(begun.elapsed().as_secs())
    };
    let (notes, stopped) = tokio::join!(worker.work("a", Wait(60 * SECOND)), stop);
    ensure_eq("notes", &notes, &None)?;
    ensure_eq("seconds", &stopped?, &1)
}

async fn an_actor_that_waits_for_itself_waits_in_vain(driver: &dyn Driver) -> CaseResult {
    let worker = worker(driver, None).await?;
    let notes = worker.work("a", AskItself).await;
    noted(&notes, &["a+", "a does not answer", "a-"])
}

async fn handlers_that_take_turns_run_at_the_same_time(driver: &dyn Driver) -> CaseResult {
    let worker = worker(driver, Some(2)).await?;
    let begun = Instant::now();
    let both = [
        worker.work("a", Wait(SECOND)),
        worker.work("b", Wait(SECOND)),
    ];
    let notes = join_all(both).await;
    noted(&notes[1], &["a+", "b+", "a-", "b-"])?;
    ensure_eq("seconds", &begun.elapsed().as_secs(), &1)
}

async fn no_more_handlers_take_turns_than_were_allowed(driver: &dyn Driver) -> CaseResult {
    let worker = worker(driver, Some(2)).await?;
    let begun = Instant::now();
    join_all(["a", "b", "c"].map(|name| worker.work(name, Wait(SECOND)))).await;
    ensure_eq("seconds", &begun.elapsed().as_secs(), &2)
}

async fn an_actor_whose_handlers_take_turns_may_ask_itself(driver: &dyn Driver) -> CaseResult {
    let worker = worker(driver, Some(2)).await?;
    let notes = worker.work("a", AskItself).await;
    noted(&notes, &["a+", "itself+", "itself-", "a answers", "a-"])
}
