//! Starting and stopping.

use super::prelude::*;

pub(super) const CASES: &[Case<dyn Driver>] = cases![dyn Driver, L1;
    the_start_hook_runs_before_the_first_message => "BehaviorSpec: Lifecycle must react to PreStart", Same;
    the_stop_hook_runs_after_the_last_message => "BehaviorSpec: Lifecycle must react to PostStop after a message", Same;
    an_actor_that_was_told_nothing_runs_its_stop_hook => "BehaviorSpec: Lifecycle must react to PostStop", Same;
    an_actor_that_stops_in_its_start_handles_nothing => "StopSpec: execute the post stop when stopping after setup", Same;
    an_actor_that_stops_itself_finishes_its_handler => "ActorContextSpec: signal post stop after voluntary termination", Same;
    a_stop_from_outside_lets_the_message_in_hand_finish => "ActorContextSpec: stop a child actor", Same;
    a_stop_from_outside_goes_before_the_messages_that_wait => "ActorContextSpec: stop a child actor", Same;
    stopping_twice_is_stopping_once => "ActorContextSpec: not have problems stopping already stopped child", Same;
    stopping_a_stopped_actor_does_nothing => "PatternSpec: complete Future when actor already terminated", Same;
    a_supervised_actor_that_stops_stays_stopped => "SupervisionSpec: that is stopped after setup should be stopped", Trap("T14");
    a_supervised_actor_that_is_asked_to_stop_stays_stopped => "RestartStrategySpec: ensure that employee stays dead", Trap("T14");
    an_actor_without_references_lives_on => "docs, actor-lifecycle: actors are not stopped automatically when no longer referenced", Same;
    an_actor_starts_once_however_many_messages_come => "ActorLifeCycleSpec: not invoke preRestart and postRestart when never restarted", Same;
    a_hundred_actors_start_and_stop => "ActorSystemSpec: reliably create waves of actors", Same;
];

pub(super) const SHUTDOWN: &[Case<dyn Driver>] = cases![dyn Driver, L6;
    termination_stops_every_actor => "ActorSystemSpec: terminate the guardian actor", Same;
    termination_runs_every_stop_hook => "GracefulStopSpec: properly stop the children and perform the cleanup", Same;
    termination_stops_children_before_their_parents => "GracefulStopSpec: properly stop the children and perform the cleanup", Same;
    termination_stops_the_last_spawned_first => "GracefulStopSpec: properly stop the children and perform the cleanup",
        Different("siblings at the top stop one after another, the last spawned first, where Pekko stops them together");
    termination_waits_for_a_slow_child => "ActorSystemSpec: awaitTermination after termination callbacks", Same;
    termination_of_an_empty_system_ends_at_once => "ActorSystemSpec: be able to terminate immediately", Same;
    termination_stops_an_actor_that_waits_for_its_restart => "ActorSystemSpec: reliably deny creation of actors while shutting down", Same;
    a_panicking_stop_hook_does_not_hold_termination_up => "ActorLifeCycleSpec: log failures in postStop", Same, isolated;
    nothing_accepted_is_lost_silently_at_termination => "ActorSystemSpec: log dead letters", Trap("T13");
    every_ask_ends_at_termination => "AskSpec: fail the future if the actor is already terminated", Trap("T13");
];

async fn the_start_hook_runs_before_the_first_message(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    a.tell(Note("1"))?;
    world.expect_entries(&["a started", "a 1"]).await
}

async fn the_stop_hook_runs_after_the_last_message(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    a.tell_all([Note("1"), Stop])?;
    world
        .expect_entries(&["a started", "a 1", "a stopped"])
        .await
}

async fn an_actor_that_was_told_nothing_runs_its_stop_hook(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    world.settle().await?;
    a.stop()?;
    world.expect_entries(&["a started", "a stopped"]).await
}

async fn an_actor_that_stops_in_its_start_handles_nothing(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a").starting(|_| Stop)).await?;
    a.tell(Note("1"))?;
    world.expect_entries(&["a started", "a stopped"]).await?;
    ensure(!a.is_alive(), || "it lives".to_owned())
}

async fn an_actor_that_stops_itself_finishes_its_handler(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    a.tell([Stop, Note("last")])?;
    world
        .expect_entries(&["a started", "a last", "a stopped"])
        .await
}

async fn a_stop_from_outside_lets_the_message_in_hand_finish(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    a.tell([Note("begun"), StopPuppet(a.clone()), Note("ended")])?;
    world
        .expect_entries(&["a started", "a begun", "a ended", "a stopped"])
        .await
}

async fn a_stop_from_outside_goes_before_the_messages_that_wait(driver: &dyn Driver) -> CaseResult {
    driver.needs(Claim::StopGoesFirst)?;
    let (world, a) = driver.with(plain("a")).await?;
    world.settle().await?;
    a.tell_all([Note("1"), Note("2")])?;
    a.stop()?;
    world.expect_notes(&[]).await?;
    ensure(!a.is_alive(), || "it lives".to_owned())
}

async fn stopping_twice_is_stopping_once(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    world.settle().await?;
    a.stop()?;
    a.stop()?;
    world.expect_entries(&["a started", "a stopped"]).await
}

async fn stopping_a_stopped_actor_does_nothing(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    a.tell(Stop)?;
    world.settle().await?;
    a.stop()?;
    world.expect_entries(&["a started", "a stopped"]).await
}

async fn a_supervised_actor_that_stops_stays_stopped(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(restarted("a")).await?;
    a.tell(Stop)?;
    world.expect_entries(&["a started", "a stopped"]).await?;
    ensure(!a.is_alive(), || "it lives".to_owned())
}

async fn a_supervised_actor_that_is_asked_to_stop_stays_stopped(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(restarted("a")).await?;
    world.settle().await?;
    a.stop()?;
    world.expect_entries(&["a started", "a stopped"]).await?;
    ensure(!a.is_alive(), || "it lives".to_owned())
}

async fn an_actor_without_references_lives_on(driver: &dyn Driver) -> CaseResult {
    driver.needs(Claim::LivesWithoutReferences)?;
    let (world, a) = driver.with(plain("a")).await?;
    a.tell(StartTimer("t", SECOND, Repeat::Once, Note("alive").into()))?;
    drop(a);
    world.pass(2 * SECOND).await?;
    world.expect_entries(&["a started", "a alive"]).await
}

async fn an_actor_starts_once_however_many_messages_come(driver: &dyn Driver) -> CaseResult {
    let spec = restarted("a");
    let (world, a) = driver.with(spec.clone()).await?;
    a.tell_all((0..50).map(|_| Add(1)))?;
    world.settle().await?;
    ensure_eq("sum", &a.ask_number(Get).await?, &50)?;
    ensure_eq("incarnations", &spec.incarnations(), &1)
}

async fn a_hundred_actors_start_and_stop(driver: &dyn Driver) -> CaseResult {
    let world = driver.open();
    let mut puppets = Vec::new();
    for _ in 0..100 {
        let puppet = world.spawn(plain("a")).await?;
        puppet.tell(Note("1"))?;
        puppets.push(puppet);
    }
    world.settle().await?;
    ensure_eq("handled", &world.times("a 1"), &100)?;
    for puppet in &puppets {
        puppet.tell(Stop)?;
    }
    world.settle().await?;
    ensure_eq("stopped", &world.times("a stopped"), &100)?;
    let alive = puppets.iter().filter(|puppet| puppet.is_alive()).count();
    ensure_eq("alive", &alive, &0)
}

async fn termination_stops_every_actor(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    let b = world.spawn(plain("b")).await?;
    let child = b.ask_puppet(plain("child").child()).await?;
    world.terminate().await?;
    let alive = [a, b, child].map(|puppet| puppet.is_alive());
    ensure_eq("alive", &alive, &[false; 3])
}

async fn termination_runs_every_stop_hook(driver: &dyn Driver) -> CaseResult {
    let (world, _a) = driver.with(plain("a")).await?;
    let _b = world.spawn(plain("b")).await?;
    world.settle().await?;
    world.terminate().await?;
    let stopped = ["a stopped", "b stopped"].map(|text| world.times(text));
    ensure_eq("hooks", &stopped, &[1, 1])
}

async fn termination_stops_children_before_their_parents(driver: &dyn Driver) -> CaseResult {
    driver.needs(Claim::ChildrenStopFirst)?;
    let (world, parent) = driver.with(plain("parent")).await?;
    let child = parent.ask_puppet(plain("child").child()).await?;
    let _grandchild = child.ask_puppet(plain("grandchild").child()).await?;
    world.settle().await?;
    world.forget();
    world.terminate().await?;
    world
        .expect_entries(&["grandchild stopped", "child stopped", "parent stopped"])
        .await
}

async fn termination_stops_the_last_spawned_first(driver: &dyn Driver) -> CaseResult {
    driver.needs(Claim::StopOrder)?;
    let world = driver.open();
    for name in ["1", "2", "3"] {
        world.spawn(plain(name)).await?;
    }
    world.settle().await?;
    world.forget();
    world.terminate().await?;
    world
        .expect_entries(&["3 stopped", "2 stopped", "1 stopped"])
        .await
}

async fn termination_waits_for_a_slow_child(driver: &dyn Driver) -> CaseResult {
    driver.needs(Claim::ChildrenStopFirst)?;
    let (world, parent) = driver.with(plain("parent")).await?;
    let child = parent.ask_puppet(plain("child").child()).await?;
    child.tell(Hold(SECOND))?;
    world.settle().await?;
    world.terminate().await?;
    let stopped = [world.times("child stopped"), world.times("parent stopped")];
    ensure_eq("hooks", &stopped, &[1, 1])
}

async fn termination_of_an_empty_system_ends_at_once(driver: &dyn Driver) -> CaseResult {
    let world = driver.open();
    world.terminate().await?;
    ensure_eq("millis", &world.shared.millis(), &0)
}

async fn termination_stops_an_actor_that_waits_for_its_restart(driver: &dyn Driver) -> CaseResult {
    let supervision = Supervision::backoff(ANSWER_TIMEOUT, ANSWER_TIMEOUT);
    let (world, a) = driver.with(plain("a").supervised(supervision)).await?;
    a.tell(Panic("on purpose"))?;
    world.settle().await?;
    world.terminate().await?;
    ensure(!a.is_alive(), || "it lives".to_owned())?;
    ensure(world.shared.millis() < 1000, || {
        "the backoff was waited for".to_owned()
    })
}

async fn a_panicking_stop_hook_does_not_hold_termination_up(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver
        .with(plain("a").stopping(|_| Panic("in the stop hook")))
        .await?;
    let b = world.spawn(plain("b")).await?;
    world.settle().await?;
    world.terminate().await?;
    ensure_eq("alive", &[a.is_alive(), b.is_alive()], &[false; 2])
}

async fn nothing_accepted_is_lost_silently_at_termination(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    a.tell([Hold(SECOND), Add(1)])?;
    world.settle().await?;
    for number in 0..5 {
        ensure_eq("offer", &a.tell(NoteNumber(number))?, &Offer::Enqueued)?;
    }
    world.terminate().await?;
    let handled = u64::try_from(world.notes().len()).unwrap_or_default();
    ensure_eq(
        "handled or reported",
        &(handled + world.dead_letters()?),
        &5,
    )
}

async fn every_ask_ends_at_termination(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    let asks = (0..5).map(|_| a.try_ask([Hold(SECOND), Add(1)], ANSWER_TIMEOUT));
    let asks = futures_util::future::join_all(asks);
    let end = async {
        world.settle().await?;
        world.terminate().await
    };
    let (answers, ended) = futures_util::join!(asks, end);
    ended?;
    // The first was begun; the others end one way or the other, and none by its timeout.
    let timed_out = answers
        .iter()
        .filter(|answer| **answer == Err(Refusal::TimedOut));
    ensure_eq("timed out", &timed_out.count(), &0)
}
