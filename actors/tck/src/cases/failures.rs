//! What follows a failure: resume, restart, stop, escalate.

use super::prelude::*;
use crate::puppet::{
    Class, Command,
    Directive::{self, Escalate, Restart, Resume},
};

pub(super) const CASES: &[Case<dyn Driver>] = cases![dyn Driver, L2;
    an_actor_without_supervision_stops_at_an_error => "SupervisionSpec: default to stop when no strategy", Same;
    an_actor_without_supervision_stops_at_a_panic => "SupervisionSpec: stop when not supervised", Same;
    an_actor_that_is_to_stop_stops_at_an_error => "SupervisionSpec: stop when strategy is stop", Same;
    an_actor_that_is_to_stop_stops_at_a_panic => "SupervisionSpec: stop when strategy is stop", Same;
    a_restart_after_an_error_makes_the_state_fresh => "SupervisionSpec: restart when handled exception", Same;
    a_restart_after_a_panic_makes_the_state_fresh => "SupervisionSpec: restart when handled exception", Trap("T1");
    a_restart_after_an_error_keeps_the_mailbox => "SupervisionSpec: restart when handled exception", Same;
    a_restart_after_a_panic_keeps_the_mailbox => "SupervisionSpec: restart when handled exception", Trap("T1");
    the_message_that_failed_is_not_handled_again => "SupervisionSpec: restart when handled exception", Same;
    a_restart_runs_the_factory_and_the_start_hook_again => "ActorLifeCycleSpec: default for preRestart and postRestart is to call postStop and preStart respectively", Same;
    a_restart_runs_the_stop_hook_of_the_old_incarnation_first => "ActorLifeCycleSpec: default for preRestart and postRestart is to call postStop and preStart respectively", Same;
    messages_that_come_while_an_actor_restarts_are_handled_by_the_next => "SupervisionSpec: restart when handled exception", Same;
    an_actor_survives_a_hundred_failures_without_a_limit => "SupervisorSpec: restarts a child infinitely if maxNrOfRetries = -1", Same;
    restarts_are_counted => "WatchSpec: notify a parent of child termination because of failure with a supervisor",
        Different("the count is there to read, where Pekko only logs");
    resuming_after_an_error_keeps_the_state => "SupervisionSpec: resume when handled exception", Same;
    resuming_after_a_panic_keeps_the_state => "SupervisionSpec: resume when handled exception", Same;
    resuming_loses_the_failing_message_only => "SupervisionSpec: resume when handled exception", Same;
    resuming_runs_no_hook => "ActorContextSpec: not reset behavior upon resume", Same;
    commands_before_the_failure_of_a_resumed_message_have_happened => "ActorContextSpec: not reset behavior upon resume", Same;
    the_class_of_an_error_decides => "SupervisionSpec: support nesting to handle different exceptions", Same;
    a_panic_is_a_class_of_its_own => "SupervisionSpec: handle exceptions from different message type", Same;
    a_class_without_a_rule_stops_the_actor => "SupervisionSpec: stop when unhandled exception", Same;
    the_first_rule_that_matches_counts => "SupervisionSpec: support flatten supervise", Same;
    rules_hold_after_a_restart => "SupervisionSpec: replace supervision when new returned behavior catches same exception", Same;
    a_failure_in_a_timers_message_is_supervised => "SupervisionSpec: handle exceptions from different message type", Same;
    a_failure_in_a_message_told_to_oneself_is_supervised => "SupervisionSpec: apply supervision to adapter function", Same;
    an_escalated_failure_stops_the_child => "SupervisionSpec: stop when strategy is stop", Same;
    an_escalated_failure_restarts_a_parent_that_is_to_restart => "SupervisorSpec: restart killed actors in nested supervisor hierarchy", Same;
    an_escalated_failure_stops_a_parent_that_is_to_stop => "ActorContextSpec: terminate upon not handling Terminated", Same;
    an_escalated_failure_leaves_a_parent_that_is_to_resume => "SupervisorHierarchySpec: resume children after Resume", Same;
    an_escalated_failure_goes_up_two_floors => "ActorSystemSpec: shut down when /user escalates", Same;
    an_escalation_to_the_guardian_is_told => "ActorSystemSpec: shut down when /user escalates", Same;
    a_parent_that_restarts_for_its_child_stops_its_other_children => "SupervisorSpec: kill multiple actors AllForOne", Same;
];

const A: Class = Class::A;
const B: Class = Class::B;

/// A puppet whose every failure is met so.
fn met(directive: Directive) -> Spec {
    plain("a").supervised(Supervision::always(directive))
}

async fn expect_stopped_by(
    driver: &dyn Driver,
    spec: Spec,
    failing: impl Into<Script>,
) -> CaseResult {
    let (world, a) = driver.with(spec).await?;
    a.tell(failing)?;
    world.settle().await?;
    ensure(!a.is_alive(), || "it lives".to_owned())?;
    a.tell(Note("late"))?;
    world.expect_notes(&[]).await
}

async fn an_actor_without_supervision_stops_at_an_error(driver: &dyn Driver) -> CaseResult {
    expect_stopped_by(driver, plain("a"), Fail(A)).await
}

async fn an_actor_without_supervision_stops_at_a_panic(driver: &dyn Driver) -> CaseResult {
    expect_stopped_by(driver, plain("a"), Panic("on purpose")).await
}

async fn an_actor_that_is_to_stop_stops_at_an_error(driver: &dyn Driver) -> CaseResult {
    expect_stopped_by(driver, met(Directive::Stop), Fail(A)).await
}

async fn an_actor_that_is_to_stop_stops_at_a_panic(driver: &dyn Driver) -> CaseResult {
    expect_stopped_by(driver, met(Directive::Stop), Panic("on purpose")).await
}

/// Adds 5, fails, and expects this sum.
async fn expect_sum_after(
    driver: &dyn Driver,
    spec: Spec,
    failing: Command,
    sum: i64,
) -> CaseResult {
    driver.needs(Claim::FreshState)?;
    let (world, a) = driver.with(spec).await?;
    a.tell_all([Add(5), failing])?;
    world.settle().await?;
    ensure_eq("sum", &a.ask_number(Get).await?, &sum)
}

async fn a_restart_after_an_error_makes_the_state_fresh(driver: &dyn Driver) -> CaseResult {
    expect_sum_after(driver, restarted("a"), Fail(A), 0).await
}

async fn a_restart_after_a_panic_makes_the_state_fresh(driver: &dyn Driver) -> CaseResult {
    expect_sum_after(driver, restarted("a"), Panic("on purpose"), 0).await
}

async fn expect_mailbox_kept(driver: &dyn Driver, failing: Command) -> CaseResult {
    let (world, a) = driver.with(restarted("a")).await?;
    a.tell_all([failing, Note("1"), Note("2"), Note("3")])?;
    world.expect_notes(&["a 1", "a 2", "a 3"]).await
}

async fn a_restart_after_an_error_keeps_the_mailbox(driver: &dyn Driver) -> CaseResult {
    expect_mailbox_kept(driver, Fail(A)).await
}

async fn a_restart_after_a_panic_keeps_the_mailbox(driver: &dyn Driver) -> CaseResult {
    expect_mailbox_kept(driver, Panic("on purpose")).await
}

async fn the_message_that_failed_is_not_handled_again(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(restarted("a")).await?;
    a.tell([Note("begun"), Panic("on purpose")])?;
    a.tell(Note("next"))?;
    world.expect_notes(&["a begun", "a next"]).await
}

async fn a_restart_runs_the_factory_and_the_start_hook_again(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(restarted("a")).await?;
    a.tell(Panic("on purpose"))?;
    world.settle().await?;
    ensure_eq("incarnation", &a.ask_number(Incarnation).await?, &2)?;
    ensure_eq("start hooks", &world.times("a started"), &2)
}

async fn a_restart_runs_the_stop_hook_of_the_old_incarnation_first(
    driver: &dyn Driver,
) -> CaseResult {
    let (world, a) = driver.with(restarted("a")).await?;
    a.tell_all([Panic("on purpose"), Note("1")])?;
    world
        .expect_entries(&["a started", "a stopped", "a started", "a 1"])
        .await
}

async fn messages_that_come_while_an_actor_restarts_are_handled_by_the_next(
    driver: &dyn Driver,
) -> CaseResult {
    let spec = restarted("a").starting(|incarnation| match incarnation {
        1 => plain("child").child(),
        _ => Urgent,
    });
    let (world, a) = driver.with(spec).await?;
    world.settle().await?;
    // The restart waits for the child, which is busy.
    let child = a.ask_puppet(plain("slow").child()).await?;
    child.tell(Hold(SECOND))?;
    world.settle().await?;
    a.tell(Panic("on purpose"))?;
    world.settle().await?;
    a.tell(Note("meanwhile"))?;
    world.pass(2 * SECOND).await?;
    world.expect_notes(&["a meanwhile"]).await?;
    ensure_eq("incarnation", &a.ask_number(Incarnation).await?, &2)
}

async fn an_actor_survives_a_hundred_failures_without_a_limit(driver: &dyn Driver) -> CaseResult {
    driver.needs(Claim::UnlimitedRestarts)?;
    let (world, a) = driver.with(restarted("a").mailbox(500)).await?;
    a.tell_all((0..100).map(|_| Panic("on purpose")))?;
    a.tell(Note("alive"))?;
    world.expect_notes(&["a alive"]).await?;
    ensure_eq("incarnation", &a.ask_number(Incarnation).await?, &101)
}

async fn restarts_are_counted(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(restarted("a")).await?;
    ensure_eq("before", &a.restarts()?, &0)?;
    a.tell_all([Panic("on purpose"), Panic("on purpose")])?;
    world.settle().await?;
    ensure_eq("after", &a.restarts()?, &2)
}

async fn resuming_after_an_error_keeps_the_state(driver: &dyn Driver) -> CaseResult {
    expect_sum_after(driver, met(Resume), Fail(A), 5).await
}

async fn resuming_after_a_panic_keeps_the_state(driver: &dyn Driver) -> CaseResult {
    expect_sum_after(driver, met(Resume), Panic("on purpose"), 5).await
}

async fn resuming_loses_the_failing_message_only(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(met(Resume)).await?;
    a.tell_all([Note("1"), Panic("on purpose"), Note("2")])?;
    world.expect_notes(&["a 1", "a 2"]).await
}

async fn resuming_runs_no_hook(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(met(Resume)).await?;
    a.tell_all([Panic("on purpose"), Note("1")])?;
    world.expect_entries(&["a started", "a 1"]).await
}

async fn commands_before_the_failure_of_a_resumed_message_have_happened(
    driver: &dyn Driver,
) -> CaseResult {
    let (_world, a) = driver.with(met(Resume)).await?;
    a.tell([Add(5), Panic("on purpose"), Add(1)])?;
    ensure_eq("sum", &a.ask_number(Get).await?, &5)
}

async fn the_class_of_an_error_decides(driver: &dyn Driver) -> CaseResult {
    let rules = Supervision::by_class(&[(A, Resume), (B, Restart)]);
    let (_world, a) = driver.with(plain("a").supervised(rules)).await?;
    a.tell_all([Add(5), Fail(A)])?;
    ensure_eq("after the first class", &a.ask_number(Get).await?, &5)?;
    a.tell(Fail(B))?;
    ensure_eq("after the second class", &a.ask_number(Get).await?, &0)
}

async fn a_panic_is_a_class_of_its_own(driver: &dyn Driver) -> CaseResult {
    let rules = Supervision::by_class(&[(A, Resume), (Class::Panic, Restart)]);
    let (_world, a) = driver.with(plain("a").supervised(rules)).await?;
    a.tell_all([Add(5), Fail(A)])?;
    ensure_eq("after an error", &a.ask_number(Get).await?, &5)?;
    a.tell(Panic("on purpose"))?;
    ensure_eq("after a panic", &a.ask_number(Get).await?, &0)
}

async fn a_class_without_a_rule_stops_the_actor(driver: &dyn Driver) -> CaseResult {
    let rules = Supervision::by_class(&[(A, Restart)]);
    expect_stopped_by(driver, plain("a").supervised(rules), Fail(B)).await
}

async fn the_first_rule_that_matches_counts(driver: &dyn Driver) -> CaseResult {
    let rules = Supervision::by_class(&[(A, Resume), (A, Restart), (B, Restart), (B, Resume)]);
    let (_world, a) = driver.with(plain("a").supervised(rules)).await?;
    a.tell_all([Add(5), Fail(A)])?;
    ensure_eq("after the first class", &a.ask_number(Get).await?, &5)?;
    a.tell(Fail(B))?;
    ensure_eq("after the second class", &a.ask_number(Get).await?, &0)
}

async fn rules_hold_after_a_restart(driver: &dyn Driver) -> CaseResult {
    let rules = Supervision::by_class(&[(A, Resume), (B, Restart)]);
    let (world, a) = driver.with(plain("a").supervised(rules)).await?;
    for _ in 0..3 {
        a.tell(Fail(B))?;
        world.settle().await?;
        a.tell_all([Add(5), Fail(A)])?;
        world.settle().await?;
        ensure_eq("sum", &a.ask_number(Get).await?, &5)?;
    }
    a.tell(Panic("on purpose"))?;
    world.settle().await?;
    ensure(!a.is_alive(), || {
        "it survived a class without a rule".to_owned()
    })
}

async fn a_failure_in_a_timers_message_is_supervised(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(restarted("a")).await?;
    a.tell([
        Add(5),
        StartTimer("t", SECOND, Repeat::Once, Panic("on purpose").into()),
    ])?;
    world.pass(2 * SECOND).await?;
    ensure_eq("sum", &a.ask_number(Get).await?, &0)
}

async fn a_failure_in_a_message_told_to_oneself_is_supervised(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(restarted("a")).await?;
    a.tell([Add(5), TellMyself(Panic("on purpose").into())])?;
    world.settle().await?;
    ensure_eq("sum", &a.ask_number(Get).await?, &0)
}

/// A parent that meets its child's escalated failure so, and the child that escalates.
async fn escalating(
    driver: &dyn Driver,
    directive: Directive,
) -> Result<(World, Puppet, Puppet), Failure> {
    let spec = plain("parent").supervised(Supervision::by_class(&[(Class::Child, directive)]));
    let (world, parent) = driver.with(spec).await?;
    let child = plain("child").supervised(Supervision::always(Escalate));
    let child = parent.ask_puppet([Add(5), child.child()]).await?;
    child.tell(Fail(A))?;
    world.settle().await?;
    Ok((world, parent, child))
}

async fn an_escalated_failure_stops_the_child(driver: &dyn Driver) -> CaseResult {
    let (_world, _parent, child) = escalating(driver, Resume).await?;
    ensure(!child.is_alive(), || "the child lives".to_owned())
}

async fn an_escalated_failure_restarts_a_parent_that_is_to_restart(
    driver: &dyn Driver,
) -> CaseResult {
    let (_world, parent, _child) = escalating(driver, Restart).await?;
    ensure_eq("incarnation", &parent.ask_number(Incarnation).await?, &2)
}

async fn an_escalated_failure_stops_a_parent_that_is_to_stop(driver: &dyn Driver) -> CaseResult {
    let (_world, parent, _child) = escalating(driver, Directive::Stop).await?;
    ensure(!parent.is_alive(), || "the parent lives".to_owned())
}

async fn an_escalated_failure_leaves_a_parent_that_is_to_resume(driver: &dyn Driver) -> CaseResult {
    let (_world, parent, _child) = escalating(driver, Resume).await?;
    ensure_eq("sum", &parent.ask_number(Get).await?, &5)
}

async fn an_escalated_failure_goes_up_two_floors(driver: &dyn Driver) -> CaseResult {
    let (world, top) = driver.with(restarted("top")).await?;
    let escalating = |name| {
        plain(name)
            .supervised(Supervision::always(Escalate))
            .child()
    };
    let middle = top.ask_puppet(escalating("middle")).await?;
    let bottom = middle.ask_puppet(escalating("bottom")).await?;
    bottom.tell(Fail(A))?;
    world.settle().await?;
    ensure_eq(
        "alive",
        &[middle.is_alive(), bottom.is_alive()],
        &[false; 2],
    )?;
    ensure_eq(
        "incarnation of the top",
        &top.ask_number(Incarnation).await?,
        &2,
    )
}

async fn an_escalation_to_the_guardian_is_told(driver: &dyn Driver) -> CaseResult {
    let spec = plain("a").supervised(Supervision::always(Escalate));
    let (world, a) = driver.with(spec).await?;
    a.tell(Fail(A))?;
    let said = world.backend.when_failed().await?;
    ensure(said.contains("/user/a"), || format!("said `{said}`"))
}

async fn a_parent_that_restarts_for_its_child_stops_its_other_children(
    driver: &dyn Driver,
) -> CaseResult {
    let (world, parent) = driver.with(restarted("parent")).await?;
    let sibling = parent.ask_puppet(plain("sibling").child()).await?;
    let child = plain("child").supervised(Supervision::always(Escalate));
    let child = parent.ask_puppet(child.child()).await?;
    child.tell(Fail(A))?;
    world.settle().await?;
    ensure(!sibling.is_alive(), || "the sibling lives".to_owned())
}
