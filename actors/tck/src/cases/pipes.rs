//! Futures whose outcome comes back as a message, and futures of an actor.

use super::prelude::*;

pub(super) const CASES: &[Case<dyn Driver>] = cases![dyn Driver, L1;
    a_futures_value_comes_as_a_message => "ActorContextPipeToSelfSpec: handle success", Same;
    a_futures_error_comes_as_a_message => "ActorContextPipeToSelfSpec: handle failure", Same;
    an_actor_handles_others_while_its_future_runs => "ActorContextPipeToSelfSpec: handle success", Same;
    outcomes_come_in_the_order_of_their_ends => "ActorContextPipeToSelfSpec: handle success", Same;
    a_future_that_panics_does_not_fail_the_actor => "ActorContextPipeToSelfSpec: handle failure",
        Different("the panic comes as a value by `try_pipe_to_self`, which is used here; by `pipe_to_self` it is the actor's failure");
    a_message_of_a_future_reaches_the_next_incarnation => "SupervisionSpec: restart when handled exception", Same;
    a_message_of_a_future_after_the_stop_harms_nobody => "MessageAdapterSpec: redirect to DeadLetter after termination", Same;
    a_message_of_a_future_can_fail_the_actor => "SupervisionSpec: apply supervision to adapter function", Same;
    a_future_of_an_actor_sees_its_state => "none", Trap("T8");
    futures_of_an_actor_end_with_their_incarnation => "TimerSpec: cancel timers when restarted", Same;
    futures_of_an_actor_end_when_it_stops => "TimerSpec: cancel timers when stopped", Same;
    a_panic_in_a_future_of_an_actor_is_its_failure => "SupervisionSpec: apply supervision to adapter function", Same;
    ten_thousand_futures_do_not_slow_the_mailbox => "none", Trap("T8"), isolated;
];

async fn a_futures_value_comes_as_a_message(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    a.tell(Pipe(SECOND, PipedOutcome::Value(Note("value").into())))?;
    world.expect_notes(&[]).await?;
    world.pass(SECOND).await?;
    world.expect_notes(&["a value"]).await
}

async fn a_futures_error_comes_as_a_message(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    a.tell(Pipe(SECOND, PipedOutcome::Error(Note("error").into())))?;
    world.pass(SECOND).await?;
    world.expect_notes(&["a error"]).await
}

async fn an_actor_handles_others_while_its_future_runs(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    a.tell(Pipe(SECOND, PipedOutcome::Value(Note("value").into())))?;
    a.tell(Note("meanwhile"))?;
    world.expect_notes(&["a meanwhile"]).await?;
    world.pass(SECOND).await?;
    world.expect_notes(&["a meanwhile", "a value"]).await
}

async fn outcomes_come_in_the_order_of_their_ends(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    for (millis, note) in [(300, "3"), (100, "1"), (200, "2")] {
        a.tell(Pipe(ms(millis), PipedOutcome::Value(Note(note).into())))?;
    }
    world.pass(SECOND).await?;
    world.expect_notes(&["a 1", "a 2", "a 3"]).await
}

async fn a_future_that_panics_does_not_fail_the_actor(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    a.tell([Add(1), Pipe(SECOND, PipedOutcome::Panic)])?;
    world.pass(2 * SECOND).await?;
    ensure_eq("sum", &a.ask_number(Get).await?, &1)?;
    ensure_eq("notes", &world.notes(), &Vec::new())
}

async fn a_message_of_a_future_reaches_the_next_incarnation(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(restarted("a")).await?;
    a.tell([Add(5), Pipe(SECOND, PipedOutcome::Value(NoteSum.into()))])?;
    a.tell(Panic("on purpose"))?;
    world.pass(2 * SECOND).await?;
    world.expect_notes(&["a has 0"]).await
}

async fn a_message_of_a_future_after_the_stop_harms_nobody(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    a.tell([Pipe(SECOND, PipedOutcome::Value(Note("late").into())), Stop])?;
    world.pass(2 * SECOND).await?;
    world.expect_entries(&["a started", "a stopped"]).await
}

async fn a_message_of_a_future_can_fail_the_actor(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(restarted("a")).await?;
    a.tell([
        Add(5),
        Pipe(SECOND, PipedOutcome::Value(Panic("on purpose").into())),
    ])?;
    world.pass(2 * SECOND).await?;
    ensure_eq("sum", &a.ask_number(Get).await?, &0)
}

async fn a_future_of_an_actor_sees_its_state(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    a.tell([Add(5), SpawnFuture(SECOND, NoteSum.into()), Add(1)])?;
    world.pass(SECOND).await?;
    world.expect_notes(&["a has 6"]).await
}

async fn futures_of_an_actor_end_with_their_incarnation(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(restarted("a")).await?;
    a.tell(SpawnFuture(SECOND, Note("of the first").into()))?;
    a.tell(Panic("on purpose"))?;
    a.tell(SpawnFuture(SECOND, Note("of the second").into()))?;
    world.pass(2 * SECOND).await?;
    world.expect_notes(&["a of the second"]).await
}

async fn futures_of_an_actor_end_when_it_stops(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    a.tell([SpawnFuture(SECOND, Note("late").into()), Stop])?;
    world.pass(2 * SECOND).await?;
    world.expect_entries(&["a started", "a stopped"]).await
}

async fn a_panic_in_a_future_of_an_actor_is_its_failure(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(restarted("a")).await?;
    a.tell([Add(5), SpawnFuture(SECOND, Panic("on purpose").into())])?;
    world.pass(2 * SECOND).await?;
    ensure_eq("sum", &a.ask_number(Get).await?, &0)
}

async fn ten_thousand_futures_do_not_slow_the_mailbox(driver: &dyn Driver) -> CaseResult {
    let (world, idle) = driver.with(plain("idle")).await?;
    let busy = world.spawn(plain("busy")).await?;
    for _ in 0..100 {
        let futures = (0..100).map(|_| SpawnFuture(ANSWER_TIMEOUT, Note("never").into()));
        busy.ask(Script(futures.collect())).await?;
    }
    // The only use of the real clock: a ratio of costs, taken as the least of several rounds.
    let of_idle = quickest(&idle).await?;
    let of_busy = quickest(&busy).await?;
    ensure(of_busy < 3 * of_idle, || {
        format!("200 asks took {of_busy:?} with 10 000 futures, {of_idle:?} without")
    })
}

async fn quickest(puppet: &Puppet) -> Result<std::time::Duration, Failure> {
    let mut least = std::time::Duration::MAX;
    for _ in 0..10 {
        let start = std::time::Instant::now();
        for _ in 0..200 {
            puppet.ask_number(Add(1)).await?;
        }
        least = least.min(start.elapsed());
    }
    Ok(least)
}
