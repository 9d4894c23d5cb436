//! Strategies within strategies, and what else a restart may be asked for.

use super::prelude::*;
use crate::puppet::{Class, Directive, Wish};

pub(super) const CASES: &[Case<dyn Driver>] = cases![dyn Driver, L2;
    the_inner_strategy_decides_about_its_own_classes => "SupervisionSpec: support nesting exceptions with different strategies", Same;
    the_outer_strategy_decides_about_the_others => "SupervisionSpec: support nesting exceptions with different strategies", Same;
    a_backoff_may_stand_inside_of_a_restart => "SupervisionSpec: support nesting exceptions with outer restart and inner backoff strategies", Same;
    a_restart_may_stand_inside_of_a_backoff => "SupervisionSpec: support nesting exceptions with inner restart and outer backoff strategies", Same;
    nested_backoffs_have_counts_of_their_own => "SupervisionSpec: handle reset backoff count for more than one nested restartWithBackoff", Same;
    nested_limits_have_counts_of_their_own => "SupervisionSpec: support nesting supervise", Same;
    children_may_live_on_at_a_restart => "SupervisionSpec: optionally NOT stop children when restarting", Same;
    children_may_live_on_during_a_backoff => "SupervisionSpec: optionally NOT stop children when backoff", Same;
    a_child_that_lived_on_is_known_to_the_next_incarnation => "SupervisionSpec: optionally NOT stop children when restarting", Same;
    a_child_that_lived_on_stops_with_its_parent => "SupervisionSpec: optionally NOT stop children when restarting", Same;
    restarts_in_a_row_have_a_maximum => "SupervisionSpec: fail if reaching maximum number of restarts with backoff", Same;
    the_maximum_counts_anew_after_the_quiet_time => "SupervisionSpec: reset exponential backoff count after reset timeout", Same;
    a_backoff_reset_by_hand_starts_over => "BackoffSupervisorSpec: support manual reset", Same;
    a_backoff_reset_by_hand_only_does_not_start_over_by_time => "BackoffSupervisorSpec: support manual reset", Same;
    an_actor_may_refuse_asks_while_it_restarts => "BackoffSupervisorSpec: reply to sender if replyWhileStopped is specified", Same;
    a_tell_refused_during_a_restart_is_a_dead_letter => "BackoffSupervisorSpec: use provided actor while stopped and withHandlerWhileStopped is specified", Same;
    what_waited_before_the_failure_is_kept_although_new_messages_are_refused => "SupervisionSpec: restart after exponential backoff", Same;
    an_actor_that_refused_serves_again_after_its_restart => "BackoffSupervisorSpec: reply to sender if replyWhileStopped is specified", Same;
];

fn backoff() -> Supervision {
    Supervision::backoff(SECOND, 8 * SECOND)
}

/// Meets errors of class A by `inner`, all else by `outer`.
async fn nested(
    driver: &dyn Driver,
    inner: Supervision,
    outer: Supervision,
) -> Result<(World, Puppet), Failure> {
    let supervision = inner.inside(&[Class::A], outer);
    driver.with(plain("a").supervised(supervision)).await
}

/// Fails the puppet, and returns how many seconds it was away.
async fn seconds_away(world: &World, puppet: &Puppet, class: Class) -> Result<u128, Failure> {
    let before = world.shared.millis();
    puppet.tell(Fail(class))?;
    puppet.ask_number(Incarnation).await?;
    Ok((world.shared.millis() - before) / 1000)
}

async fn the_inner_strategy_decides_about_its_own_classes(driver: &dyn Driver) -> CaseResult {
    let resume = Supervision::always(Directive::Resume);
    let (_world, a) = nested(driver, resume, Supervision::restart()).await?;
    a.tell_all([Add(5), Fail(Class::A)])?;
    ensure_eq("sum", &a.ask_number(Get).await?, &5)
}

async fn the_outer_strategy_decides_about_the_others(driver: &dyn Driver) -> CaseResult {
    let resume = Supervision::always(Directive::Resume);
    let (_world, a) = nested(driver, resume, Supervision::restart()).await?;
    a.tell_all([Add(5), Fail(Class::B)])?;
    ensure_eq("sum", &a.ask_number(Get).await?, &0)
}

async fn a_backoff_may_stand_inside_of_a_restart(driver: &dyn Driver) -> CaseResult {
    let (world, a) = nested(driver, backoff(), Supervision::restart()).await?;
    let inner = seconds_away(&world, &a, Class::A).await?;
    let outer = seconds_away(&world, &a, Class::B).await?;
    ensure_eq("seconds", &[inner, outer], &[1, 0])
}

async fn a_restart_may_stand_inside_of_a_backoff(driver: &dyn Driver) -> CaseResult {
    let (world, a) = nested(driver, Supervision::restart(), backoff()).await?;
    let inner = seconds_away(&world, &a, Class::A).await?;
    let outer = seconds_away(&world, &a, Class::B).await?;
    ensure_eq("seconds", &[inner, outer], &[0, 1])
}

async fn nested_backoffs_have_counts_of_their_own(driver: &dyn Driver) -> CaseResult {
    let patient = backoff().reset_after(ANSWER_TIMEOUT);
    let (world, a) = nested(driver, patient.clone(), patient).await?;
    let mut seconds = Vec::new();
    for class in [Class::A, Class::A, Class::B, Class::A, Class::B] {
        seconds.push(seconds_away(&world, &a, class).await?);
    }
    ensure_eq("seconds", &seconds, &vec![1, 2, 1, 4, 2])
}

async fn nested_limits_have_counts_of_their_own(driver: &dyn Driver) -> CaseResult {
    let limited = Supervision::restart().limit(2, ANSWER_TIMEOUT);
    let (world, a) = nested(driver, limited.clone(), limited).await?;
    a.tell_all([Class::A, Class::A, Class::B, Class::B].map(Fail))?;
    ensure_eq("incarnation", &a.ask_number(Incarnation).await?, &5)?;
    a.tell(Fail(Class::B))?;
    world.settle().await?;
    ensure(!a.is_alive(), || "it lives".to_owned())
}

/// A parent whose children live on, with one child that has a sum of 5; the parent has failed.
async fn kept(
    driver: &dyn Driver,
    supervision: Supervision,
) -> Result<(World, Puppet, Puppet), Failure> {
    let supervision = supervision.wish(Wish::KeepChildren);
    let (world, parent) = driver.with(plain("parent").supervised(supervision)).await?;
    let child = parent.ask_puppet(plain("child").child()).await?;
    child.tell(Add(5))?;
    parent.tell(Panic("on purpose"))?;
    world.settle().await?;
    Ok((world, parent, child))
}

async fn children_may_live_on_at_a_restart(driver: &dyn Driver) -> CaseResult {
    let (_world, parent, child) = kept(driver, Supervision::restart()).await?;
    ensure_eq("incarnation", &parent.ask_number(Incarnation).await?, &2)?;
    ensure_eq("sum", &child.ask_number(Get).await?, &5)
}

async fn children_may_live_on_during_a_backoff(driver: &dyn Driver) -> CaseResult {
    let (world, parent, child) = kept(driver, backoff()).await?;
    ensure_eq("sum", &child.ask_number(Get).await?, &5)?;
    world.pass(2 * SECOND).await?;
    ensure_eq("incarnation", &parent.ask_number(Incarnation).await?, &2)?;
    ensure_eq("sum", &child.ask_number(Get).await?, &5)
}

async fn a_child_that_lived_on_is_known_to_the_next_incarnation(driver: &dyn Driver) -> CaseResult {
    let (_world, parent, _child) = kept(driver, Supervision::restart()).await?;
    let expected = Answer::Texts(vec!["child".to_owned()]);
    ensure_eq("children", &parent.ask(Children).await?, &expected)
}

async fn a_child_that_lived_on_stops_with_its_parent(driver: &dyn Driver) -> CaseResult {
    let (world, parent, child) = kept(driver, Supervision::restart()).await?;
    parent.tell(Stop)?;
    world.settle().await?;
    ensure_eq("alive", &[parent.is_alive(), child.is_alive()], &[false; 2])
}

async fn restarts_in_a_row_have_a_maximum(driver: &dyn Driver) -> CaseResult {
    let supervision = backoff()
        .reset_after(ANSWER_TIMEOUT)
        .wish(Wish::RestartsMax(2));
    let (world, a) = driver.with(plain("a").supervised(supervision)).await?;
    for _ in 0..2 {
        seconds_away(&world, &a, Class::A).await?;
    }
    a.tell(Fail(Class::A))?;
    world.settle().await?;
    ensure(!a.is_alive(), || "it lives".to_owned())
}

async fn the_maximum_counts_anew_after_the_quiet_time(driver: &dyn Driver) -> CaseResult {
    let supervision = backoff()
        .reset_after(10 * SECOND)
        .wish(Wish::RestartsMax(1));
    let (world, a) = driver.with(plain("a").supervised(supervision)).await?;
    for _ in 0..3 {
        seconds_away(&world, &a, Class::A).await?;
        world.pass(11 * SECOND).await?;
    }
    ensure_eq("incarnation", &a.ask_number(Incarnation).await?, &4)
}

/// The third wait of an actor whose backoff is reset by hand, after this script and an hour.
async fn third_wait(driver: &dyn Driver, script: impl Into<Script>) -> Result<u128, Failure> {
    let supervision = backoff().wish(Wish::ResetByHand);
    let (world, a) = driver.with(plain("a").supervised(supervision)).await?;
    for _ in 0..2 {
        seconds_away(&world, &a, Class::A).await?;
    }
    a.tell(script)?;
    world.pass(ANSWER_TIMEOUT).await?;
    // Failing resets nothing, and so the wait tells what was reset before.
    seconds_away(&world, &a, Class::A).await
}

async fn a_backoff_reset_by_hand_starts_over(driver: &dyn Driver) -> CaseResult {
    ensure_eq("seconds", &third_wait(driver, ResetBackoff).await?, &1)
}

async fn a_backoff_reset_by_hand_only_does_not_start_over_by_time(
    driver: &dyn Driver,
) -> CaseResult {
    ensure_eq("seconds", &third_wait(driver, Urgent).await?, &4)
}

/// An actor that refuses while it restarts, with a message that waited, and failed.
async fn refusing(driver: &dyn Driver) -> Result<(World, Puppet), Failure> {
    let supervision = backoff().wish(Wish::RefuseMeanwhile);
    let (world, a) = driver.with(plain("a").supervised(supervision)).await?;
    a.tell_all([Fail(Class::A), Note("waited")])?;
    world.settle().await?;
    Ok((world, a))
}

async fn an_actor_may_refuse_asks_while_it_restarts(driver: &dyn Driver) -> CaseResult {
    let (world, a) = refusing(driver).await?;
    let before = world.shared.millis();
    let answer = a.try_ask(Get, ANSWER_TIMEOUT).await;
    ensure_eq("answer", &answer, &Err(Refusal::Restarting))?;
    ensure_eq("millis", &(world.shared.millis() - before), &0)
}

async fn a_tell_refused_during_a_restart_is_a_dead_letter(driver: &dyn Driver) -> CaseResult {
    let (world, a) = refusing(driver).await?;
    ensure_eq("offer", &a.tell(Note("new"))?, &Offer::Dropped)?;
    ensure_eq("dead letters", &world.dead_letters()?, &1)
}

async fn what_waited_before_the_failure_is_kept_although_new_messages_are_refused(
    driver: &dyn Driver,
) -> CaseResult {
    let (world, a) = refusing(driver).await?;
    a.tell(Note("new"))?;
    world.pass(2 * SECOND).await?;
    world.expect_notes(&["a waited"]).await
}

async fn an_actor_that_refused_serves_again_after_its_restart(driver: &dyn Driver) -> CaseResult {
    let (world, a) = refusing(driver).await?;
    world.pass(2 * SECOND).await?;
    ensure_eq("incarnation", &a.ask_number(Incarnation).await?, &2)
}
