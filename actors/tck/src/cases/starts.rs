//! Failures while an actor is made or starts, and actors that stop while they start, under every strategy.

use super::prelude::*;
use crate::puppet::{Class, Directive};

pub(super) const CASES: &[Case<dyn Driver>] = cases![dyn Driver, L2;
    an_unsupervised_actor_stops_when_its_factory_fails => "SupervisionSpec: stop when strategy is stop - exception in setup", Same;
    an_unsupervised_actor_stops_when_its_start_hook_panics => "SupervisionSpec: stop when strategy is stop - exception in setup", Same;
    an_unsupervised_actor_stops_when_its_start_hook_reports_an_error => "SupervisionSpec: stop when strategy is stop - exception in setup", Same;
    restart_without_limit_stops_when_the_first_start_fails => "SupervisionSpec: fail instead of restart when deferred factory throws", Same;
    restart_without_limit_stops_when_the_factory_fails => "SupervisionSpec: fail instead of restart when deferred factory throws", Same;
    restart_without_limit_stops_when_a_later_start_fails => "SupervisionSpec: fail to restart when deferred factory throws unhandled",
        Different("the rule that a start without a limit is not tried again holds for every start, where in Pekko for the first only");
    restart_with_limit_tries_a_failed_start_again => "SupervisionSpec: restart.withLimit when deferred factory throws", Same;
    restart_with_limit_tries_a_failed_factory_again => "SupervisionSpec: restart.withLimit when deferred factory throws", Same;
    restart_with_limit_gives_up_on_starts_that_fail => "SupervisionSpec: fail after more than limit in restart.withLimit when deferred factory throws", Same;
    backoff_tries_a_failed_start_again => "SupervisionSpec: restart with exponential backoff when deferred factory throws", Same;
    backoff_tries_a_failed_factory_again => "SupervisionSpec: restart with exponential backoff when deferred factory throws", Same;
    backoff_waits_longer_with_each_failed_start => "SupervisionSpec: restart with exponential backoff when deferred factory throws", Same;
    resume_stops_when_the_start_hook_panics => "SupervisionSpec: fail to resume when deferred factory throws", Same;
    resume_stops_when_the_factory_fails => "SupervisionSpec: fail to resume when deferred factory throws", Same;
    a_class_without_a_rule_stops_at_a_failed_start => "SupervisionSpec: fail to restart when deferred factory throws unhandled", Same;
    messages_told_before_a_failed_start_are_kept_for_the_next => "SupervisionSpec: ensure stash message retention on start exception when restart", Same;
    messages_told_before_a_failed_start_are_kept_through_the_backoff => "SupervisionSpec: ensure stash message retention on start exception when backoff", Same;
    messages_told_before_the_start_outlive_the_failure_of_the_first_of_them => "SupervisionSpec: restart when handled exception", Same;
    messages_told_before_the_start_are_handled_in_order => "DeferredSpec: must create underlying", Same;
    an_actor_to_restart_that_stops_in_its_start_stays_stopped => "SupervisionSpec: that is initially stopped should be stopped", Same, isolated;
    a_limited_actor_that_stops_in_its_start_stays_stopped => "SupervisionSpec: that is initially stopped should be stopped", Same;
    an_actor_to_back_off_that_stops_in_its_start_stays_stopped => "SupervisionSpec: that is initially stopped should be stopped", Same;
    an_actor_to_resume_that_stops_in_its_start_stays_stopped => "SupervisionSpec: that is initially stopped should be stopped", Same;
    an_actor_to_restart_that_stops_later_stays_stopped => "SupervisionSpec: that is stopped after setup should be stopped", Same;
    a_limited_actor_that_stops_later_stays_stopped => "SupervisionSpec: that is stopped after setup should be stopped", Same;
    an_actor_to_back_off_that_stops_later_stays_stopped => "SupervisionSpec: that is stopped after setup should be stopped", Same;
    an_actor_to_resume_that_stops_later_stays_stopped => "SupervisionSpec: that is stopped after setup should be stopped", Same;
    an_actor_to_restart_that_stops_after_its_restart_stays_stopped => "SupervisionSpec: that is stopped after restart should be stopped", Same;
    a_limited_actor_that_stops_after_its_restart_stays_stopped => "SupervisionSpec: that is stopped after restart should be stopped", Same;
    an_actor_to_back_off_that_stops_after_its_restart_stays_stopped => "SupervisionSpec: that is stopped after restart should be stopped", Same;
];

fn limited() -> Supervision {
    Supervision::restart().limit(3, ANSWER_TIMEOUT)
}

fn backoff() -> Supervision {
    Supervision::backoff(SECOND, 10 * SECOND)
}

fn resume() -> Supervision {
    Supervision::always(Directive::Resume)
}

/// Has the start hook panic in the incarnations up to this one.
fn fails_to_start(spec: Spec, until: u32) -> Spec {
    spec.starting(move |incarnation| {
        if incarnation <= until {
            Panic("in the start hook")
        } else {
            Urgent
        }
    })
}

/// Has the factory panic in the incarnations up to this one.
fn fails_to_make(spec: Spec, until: u32) -> Spec {
    spec.making_fails(move |incarnation| incarnation <= until)
}

/// Expects that the actor stops in this incarnation.
async fn expect_ended(driver: &dyn Driver, spec: Spec, incarnations: u32) -> CaseResult {
    let (world, a) = driver.with(spec.clone()).await?;
    world.pass(ANSWER_TIMEOUT).await?;
    ensure(!a.is_alive(), || {
        format!("it lives, in incarnation {}", spec.incarnations())
    })?;
    ensure_eq("incarnations", &spec.incarnations(), &incarnations)
}

/// Expects that the actor lives, in this incarnation.
async fn expect_alive(driver: &dyn Driver, spec: Spec, incarnation: i64) -> CaseResult {
    let (world, a) = driver.with(spec).await?;
    world.pass(ANSWER_TIMEOUT).await?;
    ensure_eq(
        "incarnation",
        &a.ask_number(Incarnation).await?,
        &incarnation,
    )
}

async fn an_unsupervised_actor_stops_when_its_factory_fails(driver: &dyn Driver) -> CaseResult {
    expect_ended(driver, fails_to_make(plain("a"), 1), 1).await
}

async fn an_unsupervised_actor_stops_when_its_start_hook_panics(driver: &dyn Driver) -> CaseResult {
    expect_ended(driver, fails_to_start(plain("a"), 1), 1).await
}

async fn an_unsupervised_actor_stops_when_its_start_hook_reports_an_error(
    driver: &dyn Driver,
) -> CaseResult {
    expect_ended(driver, plain("a").starting(|_| Fail(Class::A)), 1).await
}

async fn restart_without_limit_stops_when_the_first_start_fails(driver: &dyn Driver) -> CaseResult {
    driver.needs(Claim::UnlimitedRestarts)?;
    expect_ended(driver, fails_to_start(restarted("a"), 1), 1).await
}

async fn restart_without_limit_stops_when_the_factory_fails(driver: &dyn Driver) -> CaseResult {
    driver.needs(Claim::UnlimitedRestarts)?;
    expect_ended(driver, fails_to_make(restarted("a"), 1), 1).await
}

async fn restart_without_limit_stops_when_a_later_start_fails(driver: &dyn Driver) -> CaseResult {
    driver.needs(Claim::UnlimitedRestarts)?;
    let spec = restarted("a").starting(|incarnation| match incarnation {
        2 => Panic("in the start hook"),
        _ => Urgent,
    });
    let (world, a) = driver.with(spec.clone()).await?;
    a.tell(Panic("on purpose"))?;
    world.settle().await?;
    ensure(!a.is_alive(), || {
        format!("it lives, in incarnation {}", spec.incarnations())
    })?;
    ensure_eq("incarnations", &spec.incarnations(), &2)
}

async fn restart_with_limit_tries_a_failed_start_again(driver: &dyn Driver) -> CaseResult {
    expect_alive(
        driver,
        fails_to_start(plain("a").supervised(limited()), 2),
        3,
    )
    .await
}

async fn restart_with_limit_tries_a_failed_factory_again(driver: &dyn Driver) -> CaseResult {
    expect_alive(
        driver,
        fails_to_make(plain("a").supervised(limited()), 2),
        3,
    )
    .await
}

async fn restart_with_limit_gives_up_on_starts_that_fail(driver: &dyn Driver) -> CaseResult {
    let spec = fails_to_start(plain("a").supervised(limited()), 100);
    let (world, a) = driver.with(spec.clone()).await?;
    world.settle().await?;
    ensure(!a.is_alive(), || "it lives".to_owned())?;
    ensure_eq("incarnations", &spec.incarnations(), &4)
}

async fn backoff_tries_a_failed_start_again(driver: &dyn Driver) -> CaseResult {
    expect_alive(
        driver,
        fails_to_start(plain("a").supervised(backoff()), 2),
        3,
    )
    .await
}

async fn backoff_tries_a_failed_factory_again(driver: &dyn Driver) -> CaseResult {
    expect_alive(
        driver,
        fails_to_make(plain("a").supervised(backoff()), 2),
        3,
    )
    .await
}

async fn backoff_waits_longer_with_each_failed_start(driver: &dyn Driver) -> CaseResult {
    let spec = fails_to_start(plain("a").supervised(backoff()), 3);
    let (world, _a) = driver.with(spec.clone()).await?;
    let mut seen = Vec::new();
    for _ in 0..4 {
        world.pass(ms(2000)).await?;
        seen.push(spec.incarnations());
    }
    // Starts at 0, 1, 3 and 7 s; looked at after 2, 4, 6 and 8 s.
    ensure_eq("incarnations", &seen, &vec![2, 3, 3, 4])
}

async fn resume_stops_when_the_start_hook_panics(driver: &dyn Driver) -> CaseResult {
    expect_ended(
        driver,
        fails_to_start(plain("a").supervised(resume()), 1),
        1,
    )
    .await
}

async fn resume_stops_when_the_factory_fails(driver: &dyn Driver) -> CaseResult {
    expect_ended(driver, fails_to_make(plain("a").supervised(resume()), 1), 1).await
}

async fn a_class_without_a_rule_stops_at_a_failed_start(driver: &dyn Driver) -> CaseResult {
    driver.needs(Claim::StartFailuresHaveClasses)?;
    let rules = [
        (Class::A, Directive::Restart),
        (Class::Panic, Directive::Restart),
    ];
    let rules = Supervision::by_class(&rules).limit(3, ANSWER_TIMEOUT);
    expect_ended(driver, fails_to_make(plain("a").supervised(rules), 1), 1).await
}

async fn expect_messages_kept(driver: &dyn Driver, supervision: Supervision) -> CaseResult {
    let spec = fails_to_start(plain("a").supervised(supervision), 1);
    let (world, a) = driver.with(spec).await?;
    a.tell_all([Note("1"), Note("2")])?;
    world.pass(ANSWER_TIMEOUT).await?;
    world.expect_notes(&["a 1", "a 2"]).await
}

async fn messages_told_before_a_failed_start_are_kept_for_the_next(
    driver: &dyn Driver,
) -> CaseResult {
    expect_messages_kept(driver, limited()).await
}

async fn messages_told_before_a_failed_start_are_kept_through_the_backoff(
    driver: &dyn Driver,
) -> CaseResult {
    expect_messages_kept(driver, backoff()).await
}

async fn messages_told_before_the_start_outlive_the_failure_of_the_first_of_them(
    driver: &dyn Driver,
) -> CaseResult {
    let (world, a) = driver.with(restarted("a").early()).await?;
    a.tell_all([Panic("on purpose"), Note("1"), Note("2")])?;
    world.expect_notes(&["a 1", "a 2"]).await
}

async fn messages_told_before_the_start_are_handled_in_order(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a").early()).await?;
    a.tell_all([Note("1"), Note("2"), Note("3")])?;
    world.expect_notes(&["a 1", "a 2", "a 3"]).await
}

async fn expect_stopped_in_start(driver: &dyn Driver, supervision: Supervision) -> CaseResult {
    expect_ended(
        driver,
        plain("a").supervised(supervision).starting(|_| Stop),
        1,
    )
    .await
}

async fn an_actor_to_restart_that_stops_in_its_start_stays_stopped(
    driver: &dyn Driver,
) -> CaseResult {
    expect_stopped_in_start(driver, Supervision::restart()).await
}

async fn a_limited_actor_that_stops_in_its_start_stays_stopped(driver: &dyn Driver) -> CaseResult {
    expect_stopped_in_start(driver, limited()).await
}

async fn an_actor_to_back_off_that_stops_in_its_start_stays_stopped(
    driver: &dyn Driver,
) -> CaseResult {
    expect_stopped_in_start(driver, backoff()).await
}

async fn an_actor_to_resume_that_stops_in_its_start_stays_stopped(
    driver: &dyn Driver,
) -> CaseResult {
    expect_stopped_in_start(driver, resume()).await
}

/// Fails so often first, each time waiting for the restart, then stops.
async fn expect_stopped_later(
    driver: &dyn Driver,
    supervision: Supervision,
    failures: u32,
) -> CaseResult {
    let spec = plain("a").supervised(supervision);
    let (world, a) = driver.with(spec.clone()).await?;
    for _ in 0..failures {
        a.tell(Panic("on purpose"))?;
        world.pass(2 * SECOND).await?;
    }
    a.tell(Stop)?;
    world.pass(ANSWER_TIMEOUT).await?;
    ensure(!a.is_alive(), || "it lives".to_owned())?;
    ensure_eq("incarnations", &spec.incarnations(), &(failures + 1))
}

async fn an_actor_to_restart_that_stops_later_stays_stopped(driver: &dyn Driver) -> CaseResult {
    expect_stopped_later(driver, Supervision::restart(), 0).await
}

async fn a_limited_actor_that_stops_later_stays_stopped(driver: &dyn Driver) -> CaseResult {
    expect_stopped_later(driver, limited(), 0).await
}

async fn an_actor_to_back_off_that_stops_later_stays_stopped(driver: &dyn Driver) -> CaseResult {
    expect_stopped_later(driver, backoff(), 0).await
}

async fn an_actor_to_resume_that_stops_later_stays_stopped(driver: &dyn Driver) -> CaseResult {
    expect_stopped_later(driver, resume(), 0).await
}

async fn an_actor_to_restart_that_stops_after_its_restart_stays_stopped(
    driver: &dyn Driver,
) -> CaseResult {
    expect_stopped_later(driver, Supervision::restart(), 1).await
}

async fn a_limited_actor_that_stops_after_its_restart_stays_stopped(
    driver: &dyn Driver,
) -> CaseResult {
    expect_stopped_later(driver, limited(), 1).await
}

async fn an_actor_to_back_off_that_stops_after_its_restart_stays_stopped(
    driver: &dyn Driver,
) -> CaseResult {
    expect_stopped_later(driver, backoff(), 1).await
}
