//! How often an actor is restarted, and what ends it all the same.

use super::prelude::*;
use crate::puppet::{Class, Command, Directive};

pub(super) const CASES: &[Case<dyn Driver>] = cases![dyn Driver, L2;
    an_actor_restarts_as_often_as_its_limit => "SupervisionSpec: stop after restart retries limit", Same;
    one_failure_more_than_the_limit_stops_the_actor => "SupervisionSpec: stop when restart limit is hit", Same;
    a_limit_of_zero_stops_at_the_first_failure => "SupervisionSpec: stop at first exception when restart retries limit is 0", Same;
    the_limit_starts_over_when_its_window_has_closed => "SupervisionSpec: reset fixed limit after timeout", Same;
    the_window_is_opened_by_the_first_failure_and_does_not_slide => "SupervisionSpec: reset retry limit after withinTimeRange", Same;
    failures_within_the_window_count_however_far_apart => "RestartStrategySpec: ensure that employee is not restarted within time range", Same;
    slow_failures_never_exceed_the_limit => "RestartStrategySpec: ensure that employee restarts after number of crashes not within time range", Same;
    panics_and_errors_count_together => "SupervisionSpec: stop when restart limit is hit", Same;
    resumed_failures_do_not_count_against_the_limit => "SupervisionSpec: support nesting supervise", Same;
    each_actor_has_a_limit_of_its_own => "SupervisorSpec: not restart child more times than permitted", Same;
    the_stop_hook_runs_when_the_limit_is_exceeded => "SupervisionSpec: stop when restart limit is hit", Same;
    a_limit_may_escalate_when_it_is_exceeded => "SupervisorSpec: not restart child more times than permitted", Same;
    a_panicking_stop_hook_does_not_keep_an_actor_from_its_restart => "SupervisorSpec: attempt restart when exception during restart", Same, isolated;
    a_panic_in_a_handler_and_in_the_stop_hook_leaves_the_process_alive => "ActorLifeCycleSpec: log failures in postStop", Trap("T2"), isolated;
    a_panic_in_the_stop_hook_alone_leaves_the_process_alive => "ActorLifeCycleSpec: log failures in postStop", Trap("T2"), isolated;
    a_panic_in_the_start_hook_and_in_the_stop_hook_leaves_the_process_alive => "ActorLifeCycleSpec: not break supervisor strategy due to unhandled exception in preStart", Trap("T2"), isolated;
    an_actor_that_stops_in_every_start_is_not_started_for_ever => "SupervisionSpec: that is initially stopped should be stopped", Trap("T3"), isolated;
    an_actor_that_fails_in_every_start_is_not_started_for_ever => "SupervisionSpec: fail instead of restart when deferred factory throws", Trap("T3"), isolated;
    a_sibling_is_served_while_an_actor_fails_in_every_start => "SupervisionSpec: fail after more than limit in restart.withLimit when deferred factory throws", Trap("T3"), isolated;
    an_actor_that_waits_too_long_fails => "none",
        Different("Pekko has no such failure; a wait that holds the mailbox up for longer than `hang_after` is one here");
    an_actor_that_waits_less_than_its_limit_does_not_fail => "none",
        Different("Pekko has no such failure; a wait that holds the mailbox up for longer than `hang_after` is one here");
    an_actor_restarted_after_a_hang_goes_on_with_its_mailbox => "none",
        Different("Pekko has no such failure; a wait that holds the mailbox up for longer than `hang_after` is one here");
    children_stop_when_their_parent_restarts => "SupervisionSpec: stop children when restarting", Same;
    children_stop_before_the_next_incarnation_starts => "SupervisionSpec: stop children when restarting", Same;
    children_stop_at_once_when_their_parent_backs_off => "SupervisionSpec: stop children when backoff", Same;
    children_of_a_failed_first_start_stop => "SupervisionSpec: stop children when restart (with limit) from exception in first setup", Same;
    children_of_a_failed_later_start_stop => "SupervisionSpec: stop children when restart (with limit) from exception in later setup", Same;
    a_name_of_an_old_child_is_free_for_the_next_incarnation => "SupervisionSpec: stop children when restarting", Same;
    a_parent_restarts_after_its_watched_children_stopped => "SupervisionSpec: successfully restart after stopping watchWith'd children", Same;
    children_go_on_when_their_parent_resumes => "SupervisorHierarchySpec: resume children after Resume", Same;
];

const WINDOW: std::time::Duration = ms(1000);

/// A puppet that may restart this often in a second.
fn limited(name: &'static str, restarts: u32) -> Spec {
    plain(name).supervised(Supervision::restart().limit(restarts, WINDOW))
}

async fn fail(world: &World, puppet: &Puppet) -> CaseResult {
    puppet.tell(Panic("on purpose"))?;
    world.settle().await
}

async fn an_actor_restarts_as_often_as_its_limit(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(limited("a", 3)).await?;
    for _ in 0..3 {
        fail(&world, &a).await?;
    }
    ensure_eq("incarnation", &a.ask_number(Incarnation).await?, &4)
}

async fn one_failure_more_than_the_limit_stops_the_actor(driver: &dyn Driver) -> CaseResult {
    let spec = limited("a", 3);
    let (world, a) = driver.with(spec.clone()).await?;
    for _ in 0..4 {
        fail(&world, &a).await?;
    }
    ensure(!a.is_alive(), || "it lives".to_owned())?;
    ensure_eq("incarnations", &spec.incarnations(), &4)
}

async fn a_limit_of_zero_stops_at_the_first_failure(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(limited("a", 0)).await?;
    fail(&world, &a).await?;
    ensure(!a.is_alive(), || "it lives".to_owned())
}

async fn the_limit_starts_over_when_its_window_has_closed(driver: &dyn Driver) -> CaseResult {
    driver.needs(Claim::MovableWindow)?;
    let (world, a) = driver.with(limited("a", 2)).await?;
    for _ in 0..2 {
        fail(&world, &a).await?;
        fail(&world, &a).await?;
        world.pass(WINDOW + ms(10)).await?;
    }
    ensure_eq("incarnation", &a.ask_number(Incarnation).await?, &5)
}

async fn the_window_is_opened_by_the_first_failure_and_does_not_slide(
    driver: &dyn Driver,
) -> CaseResult {
    driver.needs(Claim::MovableWindow)?;
    let (world, a) = driver.with(limited("a", 2)).await?;
    // Three failures within a second, but not of the second that the first opened.
    for wait in [0, 900, 200, 100] {
        world.pass(ms(wait)).await?;
        fail(&world, &a).await?;
        ensure(a.is_alive(), || {
            format!("stopped {wait} ms after the failure before")
        })?;
    }
    fail(&world, &a).await?;
    ensure(!a.is_alive(), || {
        "the second window has no limit".to_owned()
    })
}

async fn failures_within_the_window_count_however_far_apart(driver: &dyn Driver) -> CaseResult {
    driver.needs(Claim::MovableWindow)?;
    let (world, a) = driver.with(limited("a", 2)).await?;
    for wait in [0, 450, 450] {
        world.pass(ms(wait)).await?;
        fail(&world, &a).await?;
    }
    ensure(!a.is_alive(), || "it lives".to_owned())
}

async fn slow_failures_never_exceed_the_limit(driver: &dyn Driver) -> CaseResult {
    driver.needs(Claim::MovableWindow)?;
    let (world, a) = driver.with(limited("a", 1)).await?;
    for _ in 0..10 {
        fail(&world, &a).await?;
        world.pass(WINDOW + ms(10)).await?;
    }
    ensure_eq("incarnation", &a.ask_number(Incarnation).await?, &11)
}

async fn panics_and_errors_count_together(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(limited("a", 2)).await?;
    for failing in [Fail(Class::A), Panic("on purpose"), Fail(Class::B)] {
        a.tell(failing)?;
        world.settle().await?;
    }
    ensure(!a.is_alive(), || "it lives".to_owned())
}

async fn resumed_failures_do_not_count_against_the_limit(driver: &dyn Driver) -> CaseResult {
    let rules = [
        (Class::A, Directive::Resume),
        (Class::B, Directive::Restart),
    ];
    let rules = Supervision::by_class(&rules).limit(1, WINDOW);
    let (world, a) = driver.with(plain("a").supervised(rules)).await?;
    a.tell_all([
        Fail(Class::A),
        Fail(Class::A),
        Fail(Class::A),
        Fail(Class::B),
    ])?;
    world.settle().await?;
    ensure_eq("incarnation", &a.ask_number(Incarnation).await?, &2)
}

async fn each_actor_has_a_limit_of_its_own(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(limited("a", 1)).await?;
    let b = world.spawn(limited("b", 1)).await?;
    fail(&world, &a).await?;
    fail(&world, &b).await?;
    ensure_eq("alive", &[a.is_alive(), b.is_alive()], &[true; 2])
}

async fn the_stop_hook_runs_when_the_limit_is_exceeded(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(limited("a", 0)).await?;
    fail(&world, &a).await?;
    world.expect_entries(&["a started", "a stopped"]).await
}

async fn a_limit_may_escalate_when_it_is_exceeded(driver: &dyn Driver) -> CaseResult {
    let (world, parent) = driver.with(restarted("parent")).await?;
    let supervision = Supervision::restart().limit(1, WINDOW).escalate_at_limit();
    let child = parent
        .ask_puppet(plain("child").supervised(supervision).child())
        .await?;
    fail(&world, &child).await?;
    ensure_eq("before", &parent.ask_number(Incarnation).await?, &1)?;
    fail(&world, &child).await?;
    ensure_eq("after", &parent.ask_number(Incarnation).await?, &2)
}

async fn a_panicking_stop_hook_does_not_keep_an_actor_from_its_restart(
    driver: &dyn Driver,
) -> CaseResult {
    let spec = restarted("a").stopping(|_| Panic("in the stop hook"));
    let (world, a) = driver.with(spec).await?;
    a.tell_all([Fail(Class::A), Note("1")])?;
    world.expect_notes(&["a 1"]).await?;
    ensure_eq("incarnation", &a.ask_number(Incarnation).await?, &2)
}

/// Expects that an actor made so stops, and another is still served.
async fn expect_only_itself_stopped(
    driver: &dyn Driver,
    spec: Spec,
    script: impl Into<Script>,
) -> CaseResult {
    let (world, sibling) = driver.with(plain("sibling")).await?;
    let a = world.spawn(spec).await?;
    a.tell(script)?;
    world.settle().await?;
    sibling.tell(Note("served"))?;
    world.expect_notes(&["sibling served"]).await?;
    ensure(!a.is_alive(), || "it lives".to_owned())
}

async fn a_panic_in_a_handler_and_in_the_stop_hook_leaves_the_process_alive(
    driver: &dyn Driver,
) -> CaseResult {
    let spec = plain("a").stopping(|_| Panic("in the stop hook"));
    expect_only_itself_stopped(driver, spec, Panic("on purpose")).await
}

async fn a_panic_in_the_stop_hook_alone_leaves_the_process_alive(
    driver: &dyn Driver,
) -> CaseResult {
    let spec = plain("a").stopping(|_| Panic("in the stop hook"));
    expect_only_itself_stopped(driver, spec, Stop).await
}

async fn a_panic_in_the_start_hook_and_in_the_stop_hook_leaves_the_process_alive(
    driver: &dyn Driver,
) -> CaseResult {
    let spec = plain("a")
        .starting(|_| Panic("in the start hook"))
        .stopping(|_| Panic("in the stop hook"));
    expect_only_itself_stopped(driver, spec, Note("never")).await
}

async fn an_actor_that_stops_in_every_start_is_not_started_for_ever(
    driver: &dyn Driver,
) -> CaseResult {
    let spec = restarted("a").starting(|_| Stop);
    expect_only_itself_stopped(driver, spec.clone(), Note("never")).await?;
    ensure_eq("incarnations", &spec.incarnations(), &1)
}

async fn an_actor_that_fails_in_every_start_is_not_started_for_ever(
    driver: &dyn Driver,
) -> CaseResult {
    let spec = restarted("a").starting(|_| Panic("in the start hook"));
    expect_only_itself_stopped(driver, spec.clone(), Note("never")).await?;
    let incarnations = spec.incarnations();
    ensure(incarnations <= 10, || {
        format!("started {incarnations} times")
    })
}

async fn a_sibling_is_served_while_an_actor_fails_in_every_start(
    driver: &dyn Driver,
) -> CaseResult {
    let spec = limited("a", 5).starting(|_| Panic("in the start hook"));
    expect_only_itself_stopped(driver, spec.clone(), Note("never")).await?;
    ensure(spec.incarnations() <= 6, || {
        format!("started {} times", spec.incarnations())
    })
}

async fn an_actor_that_waits_too_long_fails(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a").hang_after(SECOND)).await?;
    a.tell(Hold(ANSWER_TIMEOUT))?;
    world.pass(ms(990)).await?;
    ensure(a.is_alive(), || "failed too early".to_owned())?;
    world.pass(ms(20)).await?;
    ensure(!a.is_alive(), || "it hangs".to_owned())
}

async fn an_actor_that_waits_less_than_its_limit_does_not_fail(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a").hang_after(SECOND)).await?;
    for _ in 0..5 {
        a.tell([Add(1), Hold(ms(900))])?;
    }
    world.pass(10 * SECOND).await?;
    ensure_eq("sum", &a.ask_number(Get).await?, &5)
}

async fn an_actor_restarted_after_a_hang_goes_on_with_its_mailbox(
    driver: &dyn Driver,
) -> CaseResult {
    let rules = Supervision::by_class(&[(Class::Hang, Directive::Restart)]);
    let spec = plain("a").hang_after(SECOND).supervised(rules);
    let (world, a) = driver.with(spec).await?;
    a.tell(Hold(ANSWER_TIMEOUT))?;
    a.tell(Note("1"))?;
    world.pass(2 * SECOND).await?;
    world.expect_notes(&["a 1"]).await
}

async fn children_stop_when_their_parent_restarts(driver: &dyn Driver) -> CaseResult {
    let (world, parent) = driver.with(restarted("parent")).await?;
    let child = parent.ask_puppet(plain("child").child()).await?;
    fail(&world, &parent).await?;
    ensure_eq(
        "alive",
        &[parent.is_alive(), child.is_alive()],
        &[true, false],
    )
}

async fn children_stop_before_the_next_incarnation_starts(driver: &dyn Driver) -> CaseResult {
    driver.needs(Claim::ChildrenStopFirst)?;
    let (world, parent) = driver.with(restarted("parent")).await?;
    let child = parent.ask_puppet(plain("child").child()).await?;
    child.tell(Hold(SECOND))?;
    world.settle().await?;
    world.forget();
    fail(&world, &parent).await?;
    world.pass(2 * SECOND).await?;
    let mut entries = world.entries();
    entries.retain(|entry| entry != "parent stopped");
    ensure_eq(
        "log",
        &entries,
        &["child stopped", "parent started"]
            .map(str::to_owned)
            .to_vec(),
    )
}

async fn children_stop_at_once_when_their_parent_backs_off(driver: &dyn Driver) -> CaseResult {
    let supervision = Supervision::backoff(ANSWER_TIMEOUT, ANSWER_TIMEOUT);
    let (world, parent) = driver.with(plain("parent").supervised(supervision)).await?;
    let child = parent.ask_puppet(plain("child").child()).await?;
    fail(&world, &parent).await?;
    ensure_eq(
        "alive",
        &[parent.is_alive(), child.is_alive()],
        &[true, false],
    )
}

/// Spawns a child in each start and fails after it in the starts given; expects one child to be left.
async fn expect_one_child(
    driver: &dyn Driver,
    fails: fn(u32) -> bool,
    then: &[Command],
) -> CaseResult {
    let spec = limited("parent", 5).starting(move |incarnation| {
        let mut script = vec![plain("child").child()];
        if fails(incarnation) {
            script.push(Panic("in the start hook"));
        }
        Script(script)
    });
    let (world, parent) = driver.with(spec).await?;
    world.settle().await?;
    for command in then {
        parent.tell(command.clone())?;
    }
    world.settle().await?;
    let alive = world.times("child started") - world.times("child stopped");
    ensure_eq("living children", &alive, &1)?;
    ensure_eq(
        "known children",
        &parent.ask(Children).await?,
        &Answer::Texts(vec!["child".to_owned()]),
    )
}

async fn children_of_a_failed_first_start_stop(driver: &dyn Driver) -> CaseResult {
    expect_one_child(driver, |incarnation| incarnation == 1, &[]).await
}

async fn children_of_a_failed_later_start_stop(driver: &dyn Driver) -> CaseResult {
    expect_one_child(
        driver,
        |incarnation| incarnation == 2,
        &[Panic("on purpose")],
    )
    .await
}

async fn a_name_of_an_old_child_is_free_for_the_next_incarnation(
    driver: &dyn Driver,
) -> CaseResult {
    let (world, parent) = driver.with(restarted("parent")).await?;
    let first = parent.ask_puppet(plain("child").child()).await?;
    fail(&world, &parent).await?;
    let second = parent.ask_puppet(plain("child").child()).await?;
    ensure_eq("path", &second.path()?, &first.path()?)
}

async fn a_parent_restarts_after_its_watched_children_stopped(driver: &dyn Driver) -> CaseResult {
    let (world, parent) = driver.with(restarted("parent")).await?;
    let child = parent.ask_puppet(plain("child").child()).await?;
    parent
        .ask(WatchWith(child, Note("child gone").into()))
        .await?;
    fail(&world, &parent).await?;
    parent.tell(Note("1"))?;
    world.expect_notes(&["parent 1"]).await
}

async fn children_go_on_when_their_parent_resumes(driver: &dyn Driver) -> CaseResult {
    let resumed = plain("parent").supervised(Supervision::always(Directive::Resume));
    let (world, parent) = driver.with(resumed).await?;
    let child = parent.ask_puppet(plain("child").child()).await?;
    child.tell(Add(5))?;
    fail(&world, &parent).await?;
    ensure_eq("sum", &child.ask_number(Get).await?, &5)
}
