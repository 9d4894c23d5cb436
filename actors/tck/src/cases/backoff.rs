//! Waits before restarts.

use std::time::Duration;

use super::prelude::*;

pub(super) const CASES: &[Case<dyn Driver>] = cases![dyn Driver, L2;
    the_first_wait_is_the_least => "BackoffSupervisorSpec: correctly calculate the delay", Same;
    waits_double => "SupervisionSpec: restart after exponential backoff", Same;
    waits_do_not_grow_beyond_the_greatest => "BackoffSupervisorSpec: correctly calculate the delay", Same;
    jitter_adds_up_to_its_share => "BackoffSupervisorSpec: correctly calculate the delay", Same;
    jitter_may_exceed_the_greatest_wait => "BackoffSupervisorSpec: correctly calculate the delay", Same;
    jitter_differs_from_wait_to_wait => "BackoffSupervisorSpec: correctly calculate the delay", Same;
    jitter_repeats_for_the_same_seed => "none",
        Different("chance is seeded, so that a failing run can be repeated");
    waits_start_over_after_the_quiet_time => "SupervisionSpec: reset exponential backoff count after reset timeout", Same;
    waits_do_not_start_over_before_the_quiet_time => "SupervisionSpec: reset exponential backoff count after reset timeout", Same;
    the_quiet_time_is_the_mean_of_both_waits_by_default => "SupervisionSpec: default resetBackoffAfter to average of min and max backoff", Same;
    the_old_incarnation_ends_before_the_wait_and_the_next_starts_after => "SupervisionSpec: restart after exponential backoff", Same;
    nothing_is_handled_during_the_wait => "SupervisionSpec: restart after exponential backoff", Same;
    messages_told_during_the_wait_are_handled_in_order_after_it => "SupervisionSpec: restart after exponential backoff", Same;
    messages_beyond_the_bound_during_the_wait_are_dead_letters => "SupervisionSpec: publish dropped messages while backing off and stash is full", Same;
    the_state_after_the_wait_is_fresh => "SupervisionSpec: restart after exponential backoff", Same;
    an_actor_may_be_stopped_during_the_wait => "BackoffSupervisorSpec: stop restarting the child if final stop message received", Same;
    an_actor_stopped_during_the_wait_is_never_made_again => "BackoffSupervisorSpec: stop restarting the child if final stop message received", Same;
    timers_of_the_old_incarnation_are_silent_during_the_wait => "TimerSpec: discard TimerMsg on restart", Same;
    one_failure_more_than_the_limit_ends_the_backoff => "SupervisionSpec: fail if reaching maximum number of restarts with backoff", Same;
    failures_up_to_the_limit_back_off => "BackoffSupervisorSpec: stop restarting the child after reaching maxNrOfRetries limit (Backoff.onFailure)", Same;
    each_actor_has_a_backoff_of_its_own => "SupervisionSpec: handle reset backoff count for more than one nested restartWithBackoff", Same;
    a_parent_that_stops_ends_its_childs_wait => "GracefulStopSpec: properly stop the children and perform the cleanup", Same;
];

/// A puppet that waits for 1, 2, 4, 8, 8 … seconds.
fn patient(name: &'static str) -> Spec {
    plain(name).supervised(Supervision::backoff(SECOND, 8 * SECOND))
}

/// Fails the puppet once and returns how long it was away.
async fn wait_of(world: &World, puppet: &Puppet) -> Result<Duration, Failure> {
    let before = world.shared.millis();
    puppet.tell(Panic("on purpose"))?;
    puppet.ask_number(Incarnation).await?;
    let millis = u64::try_from(world.shared.millis() - before).unwrap_or(u64::MAX);
    Ok(ms(millis))
}

async fn waits_of(world: &World, puppet: &Puppet, count: usize) -> Result<Vec<Duration>, Failure> {
    let mut waits = Vec::new();
    for _ in 0..count {
        waits.push(wait_of(world, puppet).await?);
    }
    Ok(waits)
}

/// Tokio's timers end within a millisecond after their time.
fn whole_seconds(waits: &[Duration]) -> Vec<u64> {
    waits.iter().map(Duration::as_secs).collect()
}

async fn the_first_wait_is_the_least(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(patient("a")).await?;
    let wait = wait_of(&world, &a).await?;
    ensure(wait >= SECOND && wait <= SECOND + ms(2), || {
        format!("waited {wait:?}")
    })
}

async fn waits_double(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(patient("a")).await?;
    let waits = waits_of(&world, &a, 4).await?;
    ensure_eq("seconds", &whole_seconds(&waits), &vec![1, 2, 4, 8])
}

async fn waits_do_not_grow_beyond_the_greatest(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(patient("a")).await?;
    let waits = waits_of(&world, &a, 40).await?;
    ensure_eq("seconds", &whole_seconds(&waits[4..]), &vec![8; 36])
}

/// Twenty waits of 10 s with this jitter.
async fn jittered(driver: &dyn Driver, jitter: f64) -> Result<Vec<Duration>, Failure> {
    let supervision = Supervision::backoff(10 * SECOND, 10 * SECOND).jitter(jitter);
    let (world, a) = driver.with(plain("a").supervised(supervision)).await?;
    waits_of(&world, &a, 20).await
}

async fn jitter_adds_up_to_its_share(driver: &dyn Driver) -> CaseResult {
    for wait in jittered(driver, 0.5).await? {
        let in_range = wait >= 10 * SECOND && wait <= 15 * SECOND + ms(2);
        ensure(in_range, || format!("waited {wait:?}"))?;
    }
    Ok(())
}

async fn jitter_may_exceed_the_greatest_wait(driver: &dyn Driver) -> CaseResult {
    let waits = jittered(driver, 0.5).await?;
    ensure(waits.iter().any(|wait| *wait > 11 * SECOND), || {
        format!("{waits:?}")
    })
}

async fn jitter_differs_from_wait_to_wait(driver: &dyn Driver) -> CaseResult {
    let mut waits = jittered(driver, 0.5).await?;
    waits.sort();
    waits.dedup();
    ensure(waits.len() > 10, || {
        format!("only {} different waits", waits.len())
    })
}

async fn jitter_repeats_for_the_same_seed(driver: &dyn Driver) -> CaseResult {
    let first = jittered(driver, 0.5).await?;
    ensure_eq("waits", &jittered(driver, 0.5).await?, &first)
}

async fn waits_start_over_after_the_quiet_time(driver: &dyn Driver) -> CaseResult {
    let supervision = Supervision::backoff(SECOND, 8 * SECOND).reset_after(20 * SECOND);
    let (world, a) = driver.with(plain("a").supervised(supervision)).await?;
    waits_of(&world, &a, 2).await?;
    world.pass(21 * SECOND).await?;
    let wait = wait_of(&world, &a).await?;
    ensure_eq("seconds", &wait.as_secs(), &1)
}

async fn waits_do_not_start_over_before_the_quiet_time(driver: &dyn Driver) -> CaseResult {
    let supervision = Supervision::backoff(SECOND, 8 * SECOND).reset_after(20 * SECOND);
    let (world, a) = driver.with(plain("a").supervised(supervision)).await?;
    waits_of(&world, &a, 2).await?;
    world.pass(19 * SECOND).await?;
    let wait = wait_of(&world, &a).await?;
    ensure_eq("seconds", &wait.as_secs(), &4)
}

async fn the_quiet_time_is_the_mean_of_both_waits_by_default(driver: &dyn Driver) -> CaseResult {
    let mut seen = Vec::new();
    for quiet in [4300, 4700] {
        let (world, a) = driver.with(patient("a")).await?;
        waits_of(&world, &a, 1).await?;
        world.pass(ms(quiet)).await?;
        seen.push(wait_of(&world, &a).await?.as_secs());
    }
    ensure_eq("seconds after less and more than 4.5 s", &seen, &vec![2, 1])
}

async fn the_old_incarnation_ends_before_the_wait_and_the_next_starts_after(
    driver: &dyn Driver,
) -> CaseResult {
    let (world, a) = driver.with(patient("a")).await?;
    a.tell(Panic("on purpose"))?;
    world.pass(ms(900)).await?;
    world.expect_entries(&["a started", "a stopped"]).await?;
    world.pass(ms(200)).await?;
    world
        .expect_entries(&["a started", "a stopped", "a started"])
        .await
}

async fn nothing_is_handled_during_the_wait(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(patient("a")).await?;
    a.tell_all([Panic("on purpose"), Note("1")])?;
    world.pass(ms(900)).await?;
    world.expect_notes(&[]).await?;
    ensure(a.is_alive(), || "it has stopped".to_owned())
}

async fn messages_told_during_the_wait_are_handled_in_order_after_it(
    driver: &dyn Driver,
) -> CaseResult {
    let (world, a) = driver.with(patient("a")).await?;
    a.tell(Panic("on purpose"))?;
    world.settle().await?;
    a.tell_all([Note("1"), Note("2"), Note("3")])?;
    world.pass(2 * SECOND).await?;
    world.expect_notes(&["a 1", "a 2", "a 3"]).await
}

async fn messages_beyond_the_bound_during_the_wait_are_dead_letters(
    driver: &dyn Driver,
) -> CaseResult {
    let spec = patient("a").mailbox(2).overflow(Overflow::DropNew);
    let (world, a) = driver.with(spec).await?;
    a.tell(Panic("on purpose"))?;
    world.settle().await?;
    a.tell_all([Note("1"), Note("2"), Note("3")])?;
    ensure_eq("dead letters", &world.dead_letters()?, &1)?;
    world.pass(2 * SECOND).await?;
    world.expect_notes(&["a 1", "a 2"]).await
}

async fn the_state_after_the_wait_is_fresh(driver: &dyn Driver) -> CaseResult {
    let (_world, a) = driver.with(patient("a")).await?;
    a.tell_all([Add(5), Panic("on purpose")])?;
    ensure_eq("sum", &a.ask_number(Get).await?, &0)
}

async fn an_actor_may_be_stopped_during_the_wait(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(patient("a")).await?;
    a.tell(Panic("on purpose"))?;
    world.settle().await?;
    a.stop()?;
    world.settle().await?;
    ensure(!a.is_alive(), || "it lives".to_owned())
}

async fn an_actor_stopped_during_the_wait_is_never_made_again(driver: &dyn Driver) -> CaseResult {
    let spec = patient("a");
    let (world, a) = driver.with(spec.clone()).await?;
    a.tell(Panic("on purpose"))?;
    world.settle().await?;
    a.stop()?;
    world.pass(ANSWER_TIMEOUT).await?;
    ensure_eq("incarnations", &spec.incarnations(), &1)
}

async fn timers_of_the_old_incarnation_are_silent_during_the_wait(
    driver: &dyn Driver,
) -> CaseResult {
    let (world, a) = driver.with(patient("a")).await?;
    a.tell(StartTimer("t", ms(100), Repeat::Delay, Note("tick").into()))?;
    world.pass(ms(150)).await?;
    a.tell(Panic("on purpose"))?;
    world.pass(5 * SECOND).await?;
    world.expect_notes(&["a tick"]).await
}

async fn one_failure_more_than_the_limit_ends_the_backoff(driver: &dyn Driver) -> CaseResult {
    let supervision = Supervision::backoff(SECOND, 8 * SECOND).limit(3, ANSWER_TIMEOUT);
    let (world, a) = driver.with(plain("a").supervised(supervision)).await?;
    waits_of(&world, &a, 3).await?;
    a.tell(Panic("on purpose"))?;
    world.settle().await?;
    ensure(!a.is_alive(), || "it lives".to_owned())
}

async fn failures_up_to_the_limit_back_off(driver: &dyn Driver) -> CaseResult {
    let supervision = Supervision::backoff(SECOND, 8 * SECOND).limit(3, ANSWER_TIMEOUT);
    let (world, a) = driver.with(plain("a").supervised(supervision)).await?;
    let waits = waits_of(&world, &a, 3).await?;
    ensure_eq("seconds", &whole_seconds(&waits), &vec![1, 2, 4])
}

async fn each_actor_has_a_backoff_of_its_own(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(patient("a")).await?;
    let b = world.spawn(patient("b")).await?;
    waits_of(&world, &a, 3).await?;
    ensure_eq("seconds", &wait_of(&world, &b).await?.as_secs(), &1)
}

async fn a_parent_that_stops_ends_its_childs_wait(driver: &dyn Driver) -> CaseResult {
    let (world, parent) = driver.with(plain("parent")).await?;
    let supervision = Supervision::backoff(ANSWER_TIMEOUT, ANSWER_TIMEOUT);
    let child = parent
        .ask_puppet(plain("child").supervised(supervision).child())
        .await?;
    child.tell(Panic("on purpose"))?;
    world.settle().await?;
    parent.tell(Stop)?;
    world.settle().await?;
    ensure_eq("alive", &[parent.is_alive(), child.is_alive()], &[false; 2])
}
