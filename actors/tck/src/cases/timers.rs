//! Timers by key, and the receive timeout.

use super::prelude::*;
use crate::puppet::{Command, Directive};

pub(super) const CASES: &[Case<dyn Driver>] = cases![dyn Driver, L2;
    a_timer_fires_once_and_on_time => "TimerSpec: schedule non-repeated ticks", Same;
    a_repeated_timer_fires_again_and_again => "TimerSpec: schedule repeated ticks", Same;
    a_timer_started_anew_replaces_the_old => "TimerSpec: replace timer", Same;
    a_single_timer_replaces_a_repeated_one_of_its_key => "TimerSpec: replace timer", Same;
    timers_of_two_keys_are_independent => "TimerSpec: schedule repeated ticks", Same;
    timers_of_two_actors_are_independent => "TimerSpec: schedule repeated ticks", Same;
    a_cancelled_timer_never_fires => "TimerSpec: cancel timer", Same;
    cancelling_what_does_not_run_says_so => "TimerSpec: cancel timer",
        Different("the answer says whether there was a timer, where Pekko returns nothing");
    a_timer_runs_until_it_has_fired => "TimerSpec: schedule non-repeated ticks", Same;
    a_repeated_timer_may_cancel_itself => "TimerSpec: cancel timer", Same;
    a_timer_may_start_the_next => "TimerSpec: allow for nested timers", Same;
    a_timer_cancelled_by_another_that_is_due_with_it_never_fires => "TimerSpec: discard timers from old incarnation after restart, alt 2", Same;
    timers_end_at_a_restart => "TimerSpec: cancel timers when restarted", Same;
    a_timer_of_the_old_incarnation_is_not_heard_by_the_next => "TimerSpec: discard timers from old incarnation after restart, alt 1", Same;
    a_start_hook_may_start_timers => "TimerSpec: keep timers when behavior changes", Same;
    timers_go_on_when_an_actor_resumes => "TimerSpec: keep timers when behavior changes", Same;
    timers_end_when_an_actor_stops => "TimerSpec: cancel timers when stopped voluntarily", Same;
    timers_end_when_an_actor_fails_for_good => "TimerSpec: cancel timers when stopped from exception", Same;
    a_timer_may_stop_its_actor => "TimerSpec: not leak timers when PostStop is used", Same;
    a_due_timer_goes_before_the_messages_that_wait => "TimerSpec: schedule non-repeated ticks",
        Different("the timers of a flooded actor stay on time, where Pekko's wait in the mailbox behind the flood");
    ticks_missed_under_a_fixed_delay_are_one => "TimerSpec: schedule repeated ticks", Trap("T16");
    ticks_missed_under_a_fixed_rate_are_made_up_for => "TimerSpec: schedule repeated ticks", Trap("T16");
    a_fixed_rate_keeps_its_beat_after_a_delay => "TimerSpec: schedule repeated ticks", Trap("T16");
    a_receive_timeout_comes_after_the_quiet_time => "ReceiveTimeoutSpec: get timeout", Same;
    a_receive_timeout_comes_again_while_it_stays_quiet => "ReceiveTimeoutSpec: carry the configured timeout duration", Same;
    a_message_starts_the_receive_timeout_anew => "ReceiveTimeoutSpec: reschedule timeout after regular receive", Same;
    a_cancelled_receive_timeout_never_comes => "ReceiveTimeoutSpec: be able to turn off timeout if desired", Same;
    no_receive_timeout_comes_unasked => "ReceiveTimeoutSpec: not receive timeout message when not specified", Same;
    the_last_receive_timeout_counts => "ReceiveTimeoutSpec: work correctly if the timeout is changed multiple times while handling a NotInfluenceReceiveTimeout message", Same;
    timers_do_not_start_the_receive_timeout_anew => "ReceiveTimeoutSpec: get timeout while receiving NotInfluenceReceiveTimeout messages scheduled with Timers",
        Different("no timer does, where in Pekko only those whose message is marked do not");
    a_receive_timeout_set_in_the_start_hook_holds_after_a_restart => "ReceiveTimeoutSpec: get the timeout when scheduled immediately on restart", Same;
    a_receive_timeout_ends_with_its_incarnation => "ReceiveTimeoutSpec: Will cancel receive timeout task if stopped", Same;
    a_receive_timeout_may_stop_its_actor => "ActorContextSpec: set small receive timeout", Same;
];

fn timer(key: &'static str, millis: u64, repeat: Repeat, note: &'static str) -> Command {
    StartTimer(key, ms(millis), repeat, Note(note).into())
}

/// Runs a script at once and expects these notes after two and a half seconds.
async fn expect_by_then(
    driver: &dyn Driver,
    script: impl Into<Script>,
    expected: &[&str],
) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    a.tell(script)?;
    world.pass(ms(2500)).await?;
    world.expect_notes(expected).await
}

async fn a_timer_fires_once_and_on_time(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    a.tell(timer("t", 1000, Repeat::Once, "tick"))?;
    world.pass(ms(990)).await?;
    world.expect_notes(&[]).await?;
    world.pass(ms(15)).await?;
    world.expect_notes(&["a tick"]).await?;
    world.pass(10 * SECOND).await?;
    world.expect_notes(&["a tick"]).await
}

async fn a_repeated_timer_fires_again_and_again(driver: &dyn Driver) -> CaseResult {
    expect_by_then(
        driver,
        timer("t", 1000, Repeat::Delay, "tick"),
        &["a tick", "a tick"],
    )
    .await
}

async fn a_timer_started_anew_replaces_the_old(driver: &dyn Driver) -> CaseResult {
    let first = timer("t", 1000, Repeat::Once, "old");
    let second = timer("t", 1500, Repeat::Once, "new");
    expect_by_then(driver, [first, second], &["a new"]).await
}

async fn a_single_timer_replaces_a_repeated_one_of_its_key(driver: &dyn Driver) -> CaseResult {
    let first = timer("t", 400, Repeat::Delay, "old");
    let second = timer("t", 1000, Repeat::Once, "new");
    expect_by_then(driver, [first, second], &["a new"]).await
}

async fn timers_of_two_keys_are_independent(driver: &dyn Driver) -> CaseResult {
    let first = timer("1", 1000, Repeat::Once, "first");
    let second = timer("2", 2000, Repeat::Once, "second");
    let third = timer("3", 1500, Repeat::Once, "never");
    let expected = ["a first", "a second"];
    expect_by_then(driver, [first, second, third, CancelTimer("3")], &expected).await
}

async fn timers_of_two_actors_are_independent(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    let b = world.spawn(plain("b")).await?;
    a.tell(timer("t", 1000, Repeat::Once, "tick"))?;
    b.tell(timer("t", 2000, Repeat::Once, "tick"))?;
    world.settle().await?;
    a.tell(CancelTimer("t"))?;
    world.pass(3 * SECOND).await?;
    world.expect_notes(&["b tick"]).await
}

async fn a_cancelled_timer_never_fires(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    a.tell(timer("t", 1000, Repeat::Delay, "tick"))?;
    world.pass(ms(1500)).await?;
    a.tell(CancelTimer("t"))?;
    world.pass(5 * SECOND).await?;
    world.expect_notes(&["a tick"]).await
}

async fn cancelling_what_does_not_run_says_so(driver: &dyn Driver) -> CaseResult {
    let (_world, a) = driver.with(plain("a")).await?;
    ensure_eq("none", &a.ask(CancelTimer("t")).await?, &Answer::Yes(false))?;
    a.tell(timer("t", 1000, Repeat::Once, "never"))?;
    ensure_eq("one", &a.ask(CancelTimer("t")).await?, &Answer::Yes(true))?;
    ensure_eq(
        "none any more",
        &a.ask(CancelTimer("t")).await?,
        &Answer::Yes(false),
    )
}

async fn a_timer_runs_until_it_has_fired(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    ensure_eq(
        "before",
        &a.ask(IsTimerActive("t")).await?,
        &Answer::Yes(false),
    )?;
    a.tell(timer("t", 1000, Repeat::Once, "tick"))?;
    ensure_eq(
        "started",
        &a.ask(IsTimerActive("t")).await?,
        &Answer::Yes(true),
    )?;
    world.pass(ms(1500)).await?;
    ensure_eq(
        "fired",
        &a.ask(IsTimerActive("t")).await?,
        &Answer::Yes(false),
    )
}

async fn a_repeated_timer_may_cancel_itself(driver: &dyn Driver) -> CaseResult {
    let script = [Note("tick"), CancelTimer("t")];
    expect_by_then(
        driver,
        StartTimer("t", ms(500), Repeat::Delay, script.into()),
        &["a tick"],
    )
    .await
}

async fn a_timer_may_start_the_next(driver: &dyn Driver) -> CaseResult {
    let next = [Note("first"), timer("t", 1000, Repeat::Once, "second")];
    let first = StartTimer("t", ms(1000), Repeat::Once, next.into());
    expect_by_then(driver, first, &["a first", "a second"]).await
}

async fn a_timer_cancelled_by_another_that_is_due_with_it_never_fires(
    driver: &dyn Driver,
) -> CaseResult {
    driver.needs(Claim::TimerGenerations)?;
    let cancel = StartTimer(
        "1",
        SECOND,
        Repeat::Once,
        [Note("first"), CancelTimer("2")].into(),
    );
    expect_by_then(
        driver,
        [cancel, timer("2", 1000, Repeat::Once, "second")],
        &["a first"],
    )
    .await
}

async fn timers_end_at_a_restart(driver: &dyn Driver) -> CaseResult {
    driver.needs(Claim::TimersEndWithIncarnation)?;
    let (world, a) = driver.with(restarted("a")).await?;
    a.tell(timer("t", 1000, Repeat::Delay, "tick"))?;
    world.pass(ms(1500)).await?;
    a.tell(Panic("on purpose"))?;
    world.pass(5 * SECOND).await?;
    world.expect_notes(&["a tick"]).await
}

async fn a_timer_of_the_old_incarnation_is_not_heard_by_the_next(
    driver: &dyn Driver,
) -> CaseResult {
    driver.needs(Claim::TimersEndWithIncarnation)?;
    let (world, a) = driver.with(restarted("a")).await?;
    // Due within the hold, so that in a library whose timers use the mailbox the message waits there.
    a.tell([
        timer("t", 100, Repeat::Once, "old"),
        Hold(ms(50)),
        TellMyself(Urgent.into()),
    ])?;
    a.tell(Panic("on purpose"))?;
    a.tell(timer("t", 1000, Repeat::Once, "new"))?;
    world.pass(2 * SECOND).await?;
    world.expect_notes(&["a new"]).await
}

async fn a_start_hook_may_start_timers(driver: &dyn Driver) -> CaseResult {
    let spec = restarted("a").starting(|_| timer("t", 1000, Repeat::Once, "tick"));
    let (world, a) = driver.with(spec).await?;
    world.pass(ms(1500)).await?;
    a.tell(Panic("on purpose"))?;
    world.pass(ms(1500)).await?;
    world.expect_notes(&["a tick", "a tick"]).await
}

async fn timers_go_on_when_an_actor_resumes(driver: &dyn Driver) -> CaseResult {
    let spec = plain("a").supervised(Supervision::always(Directive::Resume));
    let (world, a) = driver.with(spec).await?;
    a.tell(timer("t", 1000, Repeat::Delay, "tick"))?;
    a.tell(Panic("on purpose"))?;
    world.pass(ms(2500)).await?;
    world.expect_notes(&["a tick", "a tick"]).await
}

async fn expect_timers_ended(driver: &dyn Driver, ending: Command) -> CaseResult {
    driver.needs(Claim::TimersEndWithIncarnation)?;
    let (world, a) = driver.with(plain("a")).await?;
    a.tell(timer("t", 1000, Repeat::Delay, "tick"))?;
    world.pass(ms(1500)).await?;
    a.tell(ending)?;
    world.pass(5 * SECOND).await?;
    world.expect_notes(&["a tick"]).await
}

async fn timers_end_when_an_actor_stops(driver: &dyn Driver) -> CaseResult {
    expect_timers_ended(driver, Stop).await
}

async fn timers_end_when_an_actor_fails_for_good(driver: &dyn Driver) -> CaseResult {
    expect_timers_ended(driver, Panic("on purpose")).await
}

async fn a_timer_may_stop_its_actor(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    a.tell(StartTimer(
        "t",
        SECOND,
        Repeat::Delay,
        [Note("last"), Stop].into(),
    ))?;
    world.pass(5 * SECOND).await?;
    world
        .expect_entries(&["a started", "a last", "a stopped"])
        .await
}

async fn a_due_timer_goes_before_the_messages_that_wait(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    a.tell([timer("t", 100, Repeat::Once, "tick"), Hold(SECOND)])?;
    a.tell_all([Note("1"), Note("2")])?;
    world.pass(2 * SECOND).await?;
    world.expect_notes(&["a tick", "a 1", "a 2"]).await
}

/// Holds for half a period more than five, and returns the ticks heard by then and half a period later.
async fn missed(driver: &dyn Driver, repeat: Repeat) -> Result<[usize; 2], Failure> {
    let (world, a) = driver.with(plain("a")).await?;
    a.tell([timer("t", 100, repeat, "tick"), Hold(ms(550))])?;
    world.pass(ms(560)).await?;
    let at_the_end = world.times("a tick");
    world.pass(ms(55)).await?;
    Ok([at_the_end, world.times("a tick")])
}

async fn ticks_missed_under_a_fixed_delay_are_one(driver: &dyn Driver) -> CaseResult {
    driver.needs(Claim::FixedDelay)?;
    ensure_eq("ticks", &missed(driver, Repeat::Delay).await?[0], &1)
}

async fn ticks_missed_under_a_fixed_rate_are_made_up_for(driver: &dyn Driver) -> CaseResult {
    driver.needs(Claim::FixedRate)?;
    ensure_eq("ticks", &missed(driver, Repeat::Rate).await?[0], &5)
}

async fn a_fixed_rate_keeps_its_beat_after_a_delay(driver: &dyn Driver) -> CaseResult {
    driver.needs(Claim::FixedRate)?;
    // The sixth is due at 600 ms, 50 ms after the hold.
    ensure_eq("ticks", &missed(driver, Repeat::Rate).await?[1], &6)
}

fn timeout(millis: u64) -> Command {
    ReceiveTimeout(ms(millis), Note("quiet").into())
}

async fn a_receive_timeout_comes_after_the_quiet_time(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    a.tell(timeout(1000))?;
    world.pass(ms(990)).await?;
    world.expect_notes(&[]).await?;
    world.pass(ms(20)).await?;
    world.expect_notes(&["a quiet"]).await
}

async fn a_receive_timeout_comes_again_while_it_stays_quiet(driver: &dyn Driver) -> CaseResult {
    expect_by_then(driver, timeout(1000), &["a quiet", "a quiet"]).await
}

async fn a_message_starts_the_receive_timeout_anew(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    a.tell(timeout(1000))?;
    for _ in 0..5 {
        world.pass(ms(900)).await?;
        a.tell(Add(1))?;
    }
    world.expect_notes(&[]).await?;
    world.pass(ms(1010)).await?;
    world.expect_notes(&["a quiet"]).await
}

async fn a_cancelled_receive_timeout_never_comes(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    a.tell(timeout(1000))?;
    world.pass(ms(500)).await?;
    a.tell(NoReceiveTimeout)?;
    world.pass(5 * SECOND).await?;
    world.expect_notes(&[]).await
}

async fn no_receive_timeout_comes_unasked(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    a.tell([timeout(1000), NoReceiveTimeout])?;
    world.pass(ANSWER_TIMEOUT).await?;
    world.expect_notes(&[]).await
}

async fn the_last_receive_timeout_counts(driver: &dyn Driver) -> CaseResult {
    let script = [timeout(300), timeout(500), timeout(2000)];
    expect_by_then(driver, script, &["a quiet"]).await
}

async fn timers_do_not_start_the_receive_timeout_anew(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    a.tell([
        timeout(1000),
        StartTimer("t", ms(400), Repeat::Delay, Add(1).into()),
    ])?;
    world.pass(ms(1100)).await?;
    world.expect_notes(&["a quiet"]).await
}

async fn a_receive_timeout_set_in_the_start_hook_holds_after_a_restart(
    driver: &dyn Driver,
) -> CaseResult {
    let spec = restarted("a").starting(|_| timeout(1000));
    let (world, a) = driver.with(spec).await?;
    world.pass(ms(500)).await?;
    a.tell(Panic("on purpose"))?;
    world.pass(ms(1100)).await?;
    world.expect_notes(&["a quiet"]).await
}

async fn a_receive_timeout_ends_with_its_incarnation(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(restarted("a")).await?;
    a.tell(timeout(1000))?;
    a.tell(Panic("on purpose"))?;
    world.pass(5 * SECOND).await?;
    world.expect_notes(&[]).await
}

async fn a_receive_timeout_may_stop_its_actor(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    a.tell(ReceiveTimeout(SECOND, Stop.into()))?;
    world.pass(2 * SECOND).await?;
    world.expect_entries(&["a started", "a stopped"]).await
}
