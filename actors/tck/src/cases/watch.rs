//! Death watch: who hears of an actor's end, once, and with what.

use super::prelude::*;

pub(super) const CASES: &[Case<dyn Driver>] = cases![dyn Driver, L2;
    a_watcher_hears_that_an_actor_stopped => "WatchSpec: get notified of graceful actor termination", Same;
    a_watcher_hears_that_an_actor_failed => "WatchSpec: notify a parent of child termination because of failure", Same;
    a_watcher_hears_once => "DeathWatchSpec: notify with one Terminated message when an Actor is stopped", Same;
    a_watcher_of_a_stopped_actor_hears_at_once => "DeathWatchSpec: notify with one Terminated message when an Actor is already dead", Same;
    a_watcher_that_watches_twice_hears_once => "WatchSpec: allow idempotent invocations of watch", Same;
    every_watcher_hears => "DeathWatchSpec: notify with all monitors with one Terminated message when an Actor is stopped", Same;
    only_those_who_still_watch_hear => "DeathWatchSpec: notify with _current_ monitors with one Terminated message when an Actor is stopped", Same;
    a_watcher_hears_nothing_of_a_restart => "DeathWatchSpec: notify with a Terminated message once when an Actor is stopped but not when restarted", Same;
    a_watcher_hears_nothing_during_a_backoff => "DeathWatchSpec: notify with a Terminated message once when an Actor is stopped but not when restarted", Same;
    a_watcher_hears_when_the_restarts_are_used_up => "WatchSpec: notify a parent of child termination because of failure with a supervisor", Same;
    a_watcher_hears_only_of_whom_it_watches => "DeathWatchSpec: only notify when watching", Same;
    an_ended_watch_is_silent_although_its_message_waits => "DeathWatchSpec: discard Terminated when unwatched between sysmsg and processing", Same;
    a_watch_may_be_taken_up_again => "WatchSpec: allow watch message definition after watch using unwatch", Same;
    ending_a_watch_that_is_none_does_nothing => "ActorContextSpec: unwatch a child actor before its termination", Same;
    a_watcher_gets_a_message_of_its_own => "WatchSpec: get notified of actor termination with a custom message", Same;
    a_message_of_ones_own_comes_at_once_from_a_stopped_actor => "DeathWatchSpec: watch with custom message", Same;
    a_message_of_ones_own_set_twice_comes_once => "WatchSpec: allow idempotent invocations of watchWith with matching msgs", Same;
    a_message_of_ones_own_may_be_changed_by_ending_the_watch => "WatchSpec: allow watch message redefinition using unwatch", Same;
    a_second_message_of_ones_own_replaces_the_first => "WatchSpec: fail when watchWitch is used after watchWith with different termination message",
        Different("the last watch counts, where Pekko throws: watching again is how one changes one's mind");
    a_watch_replaces_a_message_of_ones_own => "WatchSpec: fail when watch is used after watchWith on same subject",
        Different("the last watch counts, where Pekko throws: watching again is how one changes one's mind");
    a_message_of_ones_own_replaces_a_watch => "WatchSpec: fail when watchWith is used after watch on same subject",
        Different("the last watch counts, where Pekko throws: watching again is how one changes one's mind");
    a_parent_may_watch_its_child => "ActorContextSpec: watch a child actor before its termination", Same;
    a_parent_may_watch_a_child_that_stopped => "ActorContextSpec: watch a child actor after its termination", Same;
    a_child_may_watch_its_parent => "WatchSpec: get notified of graceful actor termination", Same;
    two_actors_may_watch_each_other => "WatchSpec: get notified of graceful actor termination", Same;
    a_new_actor_of_an_old_name_can_be_watched => "DeathWatchSpec: be able to watch a child with the same name after the old died", Same;
    a_watch_outlives_the_watchers_own_restart => "DeathWatchSpec: only notify when watching", Same;
    a_death_pact_stops_an_unsupervised_watcher => "WatchSpec: fail the actor itself with DeathPact if it does not accept Terminated",
        Different("a pact is made by `watch_or_die`; that a `Terminated` goes unhandled cannot happen, the compiler sees to it");
    a_death_pact_is_a_failure_that_supervision_meets => "SupervisionSpec: be able to recover from a DeathPactException", Same;
    a_death_pact_with_a_stopped_actor_fails_at_once => "DeathWatchSpec: fail a monitor which does not handle Terminated()", Same;
    an_ended_death_pact_is_none => "WatchSpec: fail the actor itself with DeathPact if it does not accept Terminated", Same;
    a_death_pact_does_not_fail_at_a_restart => "WatchSpec: fail the actor itself with DeathPact if it does not accept Terminated", Same;
];

/// A watcher and one that it watches.
async fn watched(driver: &dyn Driver, spec: Spec) -> Result<(World, Puppet, Puppet), Failure> {
    let (world, watcher) = driver.with(plain("w")).await?;
    let other = world.spawn(spec).await?;
    watcher.ask(Watch(other.clone())).await?;
    world.settle().await?;
    Ok((world, watcher, other))
}

async fn a_watcher_hears_that_an_actor_stopped(driver: &dyn Driver) -> CaseResult {
    let (world, _watcher, other) = watched(driver, plain("x")).await?;
    other.tell(Stop)?;
    world.expect_notes(&["w saw x stop"]).await
}

async fn a_watcher_hears_that_an_actor_failed(driver: &dyn Driver) -> CaseResult {
    let (world, _watcher, other) = watched(driver, plain("x")).await?;
    other.tell(Panic("on purpose"))?;
    world.expect_notes(&["w saw x fail"]).await
}

async fn a_watcher_hears_once(driver: &dyn Driver) -> CaseResult {
    let (world, _watcher, other) = watched(driver, plain("x")).await?;
    other.tell(Stop)?;
    world.settle().await?;
    other.stop()?;
    world.pass(SECOND).await?;
    world.expect_notes(&["w saw x stop"]).await
}

async fn a_watcher_of_a_stopped_actor_hears_at_once(driver: &dyn Driver) -> CaseResult {
    driver.needs(Claim::WatchesTheDead)?;
    let (world, watcher) = driver.with(plain("w")).await?;
    let other = world.spawn(plain("x")).await?;
    other.tell(Stop)?;
    world.settle().await?;
    watcher.tell(Watch(other))?;
    world.expect_notes(&["w saw x stop"]).await
}

async fn a_watcher_that_watches_twice_hears_once(driver: &dyn Driver) -> CaseResult {
    let (world, watcher, other) = watched(driver, plain("x")).await?;
    watcher.ask(Watch(other.clone())).await?;
    other.tell(Stop)?;
    world.expect_notes(&["w saw x stop"]).await
}

/// Three watchers of one actor.
async fn three(driver: &dyn Driver) -> Result<(World, [Puppet; 3], Puppet), Failure> {
    let (world, other) = driver.with(plain("x")).await?;
    let watchers = [
        world.spawn(plain("1")).await?,
        world.spawn(plain("2")).await?,
        world.spawn(plain("3")).await?,
    ];
    for watcher in &watchers {
        watcher.ask(Watch(other.clone())).await?;
    }
    Ok((world, watchers, other))
}

async fn every_watcher_hears(driver: &dyn Driver) -> CaseResult {
    let (world, _watchers, other) = three(driver).await?;
    other.tell(Stop)?;
    world.settle().await?;
    let mut notes = world.notes();
    notes.sort();
    let expected = ["1 saw x stop", "2 saw x stop", "3 saw x stop"].map(str::to_owned);
    ensure_eq("notes", &notes, &expected.to_vec())
}

async fn only_those_who_still_watch_hear(driver: &dyn Driver) -> CaseResult {
    let (world, watchers, other) = three(driver).await?;
    watchers[0].ask(Unwatch(other.clone())).await?;
    watchers[2].ask(Unwatch(other.clone())).await?;
    other.tell(Stop)?;
    world.expect_notes(&["2 saw x stop"]).await
}

async fn a_watcher_hears_nothing_of_a_restart(driver: &dyn Driver) -> CaseResult {
    let (world, _watcher, other) = watched(driver, restarted("x")).await?;
    other.tell_all([Panic("on purpose"), Panic("on purpose")])?;
    world.expect_notes(&[]).await?;
    other.tell(Stop)?;
    world.expect_notes(&["w saw x stop"]).await
}

async fn a_watcher_hears_nothing_during_a_backoff(driver: &dyn Driver) -> CaseResult {
    let spec = plain("x").supervised(Supervision::backoff(SECOND, SECOND));
    let (world, _watcher, other) = watched(driver, spec).await?;
    other.tell(Panic("on purpose"))?;
    world.expect_notes(&[]).await?;
    world.pass(2 * SECOND).await?;
    world.expect_notes(&[]).await
}

async fn a_watcher_hears_when_the_restarts_are_used_up(driver: &dyn Driver) -> CaseResult {
    let spec = plain("x").supervised(Supervision::restart().limit(1, ANSWER_TIMEOUT));
    let (world, _watcher, other) = watched(driver, spec).await?;
    other.tell(Panic("on purpose"))?;
    world.expect_notes(&[]).await?;
    other.tell(Panic("on purpose"))?;
    world.expect_notes(&["w saw x fail"]).await
}

async fn a_watcher_hears_only_of_whom_it_watches(driver: &dyn Driver) -> CaseResult {
    let (world, _watcher, other) = watched(driver, plain("x")).await?;
    let stranger = world.spawn(plain("stranger")).await?;
    stranger.tell(Stop)?;
    other.tell(Stop)?;
    world.expect_notes(&["w saw x stop"]).await
}

async fn an_ended_watch_is_silent_although_its_message_waits(driver: &dyn Driver) -> CaseResult {
    driver.needs(Claim::WatchesTheDead)?;
    let (world, watcher) = driver.with(plain("w")).await?;
    let other = world.spawn(plain("x")).await?;
    other.tell(Stop)?;
    world.settle().await?;
    // The message is sent by the watch itself, and waits behind this handler.
    watcher.tell([Watch(other.clone()), Unwatch(other)])?;
    world.expect_notes(&[]).await
}

async fn a_watch_may_be_taken_up_again(driver: &dyn Driver) -> CaseResult {
    let (world, watcher, other) = watched(driver, plain("x")).await?;
    watcher
        .ask([Unwatch(other.clone()), Watch(other.clone())])
        .await?;
    other.tell(Stop)?;
    world.expect_notes(&["w saw x stop"]).await
}

async fn ending_a_watch_that_is_none_does_nothing(driver: &dyn Driver) -> CaseResult {
    let (world, watcher) = driver.with(plain("w")).await?;
    let other = world.spawn(plain("x")).await?;
    watcher.ask(Unwatch(other.clone())).await?;
    other.tell(Stop)?;
    world.expect_notes(&[]).await?;
    ensure(watcher.is_alive(), || "the watcher stopped".to_owned())
}

async fn a_watcher_gets_a_message_of_its_own(driver: &dyn Driver) -> CaseResult {
    let (world, watcher) = driver.with(plain("w")).await?;
    let other = world.spawn(plain("x")).await?;
    watcher
        .ask(WatchWith(other.clone(), Note("gone").into()))
        .await?;
    other.tell(Stop)?;
    world.expect_notes(&["w gone"]).await
}

async fn a_message_of_ones_own_comes_at_once_from_a_stopped_actor(
    driver: &dyn Driver,
) -> CaseResult {
    driver.needs(Claim::WatchesTheDead)?;
    let (world, watcher) = driver.with(plain("w")).await?;
    let other = world.spawn(plain("x")).await?;
    other.tell(Stop)?;
    world.settle().await?;
    watcher.ask(WatchWith(other, Note("gone").into())).await?;
    world.expect_notes(&["w gone"]).await
}

/// Watches by these commands, and expects these notes at the end.
async fn expect_heard(
    driver: &dyn Driver,
    commands: impl Fn(Puppet) -> Script,
    expected: &[&str],
) -> CaseResult {
    let (world, watcher) = driver.with(plain("w")).await?;
    let other = world.spawn(plain("x")).await?;
    watcher.ask(commands(other.clone())).await?;
    other.tell(Stop)?;
    world.expect_notes(expected).await
}

async fn a_message_of_ones_own_set_twice_comes_once(driver: &dyn Driver) -> CaseResult {
    let commands = |x: Puppet| {
        let gone = WatchWith(x, Note("gone").into());
        [gone.clone(), gone].into()
    };
    expect_heard(driver, commands, &["w gone"]).await
}

async fn a_message_of_ones_own_may_be_changed_by_ending_the_watch(
    driver: &dyn Driver,
) -> CaseResult {
    let commands = |x: Puppet| {
        let first = WatchWith(x.clone(), Note("first").into());
        [
            first,
            Unwatch(x.clone()),
            WatchWith(x, Note("second").into()),
        ]
        .into()
    };
    expect_heard(driver, commands, &["w second"]).await
}

async fn a_second_message_of_ones_own_replaces_the_first(driver: &dyn Driver) -> CaseResult {
    let commands = |x: Puppet| {
        let first = WatchWith(x.clone(), Note("first").into());
        [first, WatchWith(x, Note("second").into())].into()
    };
    expect_heard(driver, commands, &["w second"]).await
}

async fn a_watch_replaces_a_message_of_ones_own(driver: &dyn Driver) -> CaseResult {
    let commands = |x: Puppet| [WatchWith(x.clone(), Note("gone").into()), Watch(x)].into();
    expect_heard(driver, commands, &["w saw x stop"]).await
}

async fn a_message_of_ones_own_replaces_a_watch(driver: &dyn Driver) -> CaseResult {
    let commands = |x: Puppet| [Watch(x.clone()), WatchWith(x, Note("gone").into())].into();
    expect_heard(driver, commands, &["w gone"]).await
}

async fn a_parent_may_watch_its_child(driver: &dyn Driver) -> CaseResult {
    let (world, parent) = driver.with(plain("parent")).await?;
    let child = parent.ask_puppet(plain("child").child()).await?;
    parent.ask(Watch(child.clone())).await?;
    child.tell(Stop)?;
    world.expect_notes(&["parent saw child stop"]).await
}

async fn a_parent_may_watch_a_child_that_stopped(driver: &dyn Driver) -> CaseResult {
    driver.needs(Claim::WatchesTheDead)?;
    let (world, parent) = driver.with(plain("parent")).await?;
    let child = parent.ask_puppet(plain("child").child()).await?;
    child.tell(Stop)?;
    world.settle().await?;
    parent.ask(Watch(child)).await?;
    world.expect_notes(&["parent saw child stop"]).await
}

async fn a_child_may_watch_its_parent(driver: &dyn Driver) -> CaseResult {
    let (world, parent) = driver.with(plain("parent")).await?;
    let child = parent.ask_puppet(plain("child").child()).await?;
    child.ask(Watch(parent.clone())).await?;
    parent.tell(Stop)?;
    world.settle().await?;
    // The child stops with its parent, and before it: there is nobody left to hear.
    ensure_eq("alive", &[parent.is_alive(), child.is_alive()], &[false; 2])
}

async fn two_actors_may_watch_each_other(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    let b = world.spawn(plain("b")).await?;
    a.ask(Watch(b.clone())).await?;
    b.ask(Watch(a.clone())).await?;
    a.tell(Stop)?;
    world.expect_notes(&["b saw a stop"]).await?;
    b.tell(Stop)?;
    world.expect_notes(&["b saw a stop"]).await
}

async fn a_new_actor_of_an_old_name_can_be_watched(driver: &dyn Driver) -> CaseResult {
    let (world, watcher, old) = watched(driver, plain("x")).await?;
    old.tell(Stop)?;
    world.settle().await?;
    let new = world.spawn(plain("x")).await?;
    watcher.ask(Watch(new.clone())).await?;
    world.expect_notes(&["w saw x stop"]).await?;
    new.tell(Stop)?;
    world.expect_notes(&["w saw x stop", "w saw x stop"]).await
}

async fn a_watch_outlives_the_watchers_own_restart(driver: &dyn Driver) -> CaseResult {
    let (world, watcher) = driver.with(restarted("w")).await?;
    let other = world.spawn(plain("x")).await?;
    watcher.ask(Watch(other.clone())).await?;
    watcher.tell(Panic("on purpose"))?;
    world.settle().await?;
    other.tell(Stop)?;
    world.expect_notes(&["w saw x stop"]).await
}

/// A watcher that cannot live without `x`.
async fn bound(
    driver: &dyn Driver,
    watcher: Spec,
    other: Spec,
) -> Result<(World, Puppet, Puppet), Failure> {
    let (world, watcher) = driver.with(watcher).await?;
    let other = world.spawn(other).await?;
    watcher.ask(WatchOrDie(other.clone())).await?;
    Ok((world, watcher, other))
}

async fn a_death_pact_stops_an_unsupervised_watcher(driver: &dyn Driver) -> CaseResult {
    let (world, watcher, other) = bound(driver, plain("w"), plain("x")).await?;
    other.tell(Panic("on purpose"))?;
    world.settle().await?;
    ensure(!watcher.is_alive(), || "the watcher lives".to_owned())
}

async fn a_death_pact_is_a_failure_that_supervision_meets(driver: &dyn Driver) -> CaseResult {
    let (world, watcher, other) = bound(driver, restarted("w"), plain("x")).await?;
    other.tell(Panic("on purpose"))?;
    world.settle().await?;
    ensure_eq("incarnation", &watcher.ask_number(Incarnation).await?, &2)
}

async fn a_death_pact_with_a_stopped_actor_fails_at_once(driver: &dyn Driver) -> CaseResult {
    driver.needs(Claim::WatchesTheDead)?;
    let (world, watcher) = driver.with(plain("w")).await?;
    let other = world.spawn(plain("x")).await?;
    other.tell(Panic("on purpose"))?;
    world.settle().await?;
    watcher.tell(WatchOrDie(other))?;
    world.settle().await?;
    ensure(!watcher.is_alive(), || "the watcher lives".to_owned())
}

async fn an_ended_death_pact_is_none(driver: &dyn Driver) -> CaseResult {
    let (world, watcher, other) = bound(driver, plain("w"), plain("x")).await?;
    watcher.ask(Unwatch(other.clone())).await?;
    other.tell(Panic("on purpose"))?;
    world.settle().await?;
    ensure(watcher.is_alive(), || "the watcher stopped".to_owned())
}

async fn a_death_pact_does_not_fail_at_a_restart(driver: &dyn Driver) -> CaseResult {
    let (world, watcher, other) = bound(driver, plain("w"), restarted("x")).await?;
    other.tell(Panic("on purpose"))?;
    world.settle().await?;
    ensure(watcher.is_alive(), || "the watcher stopped".to_owned())
}
