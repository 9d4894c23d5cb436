//! Coordinated shutdown.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::{
    case::{
        Case, CaseResult,
        Stance::{Different, Same},
        ensure, ensure_eq,
    },
    cases,
    driver::shutdown::{Act, Driver, Outcome, Phase, Stopping},
};

const SECOND: Duration = Duration::from_secs(1);

pub(super) const CASES: &[Case<dyn Driver>] = cases![dyn Driver, L6;
    tasks_of_a_phase_run_at_the_same_time_and_before_the_next => "CoordinatedShutdownSpec: run ordered phases", Same;
    a_task_that_was_taken_back_does_not_run => "CoordinatedShutdownSpec: cancel shutdown tasks", Same;
    a_task_is_taken_back_only_once_and_not_after_it_ran => "CoordinatedShutdownSpec: cancel shutdown tasks", Same;
    tasks_of_the_same_name_all_run => "CoordinatedShutdownSpec: re-register the same task if requested", Same;
    a_task_may_take_back_one_of_a_later_phase => "CoordinatedShutdownSpec: honor registration and cancellation in later phases", Same;
    a_task_added_to_a_phase_that_has_begun_does_not_run => "CoordinatedShutdownSpec: honor registration and cancellation in later phases", Same;
    who_adds_a_task_too_late_is_told => "CoordinatedShutdownSpec: honor registration and cancellation in later phases",
        Different("a task that cannot run any more is refused, where Pekko takes it and never runs it");
    a_task_may_add_one_to_a_later_phase => "CoordinatedShutdownSpec: be possible to add tasks in later phase from task in earlier phase", Same;
    a_run_may_begin_with_a_later_phase => "CoordinatedShutdownSpec: run from a given phase", Same;
    a_run_from_an_unknown_phase_is_refused => "CoordinatedShutdownSpec: run from a given phase",
        Different("an unknown first phase is an error, where Pekko runs nothing and calls it done");
    it_runs_once_and_every_caller_has_the_same_end => "CoordinatedShutdownSpec: only run once", Same;
    the_first_reason_is_kept => "CoordinatedShutdownSpec: only run once", Same;
    two_callers_at_the_same_time_run_it_once => "CoordinatedShutdownSpec: only run once", Same;
    it_goes_on_after_a_failure => "CoordinatedShutdownSpec: continue after timeout or failure", Same;
    it_goes_on_after_a_panic => "CoordinatedShutdownSpec: continue after timeout or failure", Same;
    it_goes_on_after_a_phases_time_is_over => "CoordinatedShutdownSpec: continue after timeout or failure", Same;
    a_failure_does_not_end_its_phase_early => "CoordinatedShutdownSpec: continue after timeout or failure", Same;
    the_report_tells_what_failed_and_what_was_cut_off => "CoordinatedShutdownSpec: continue after timeout or failure",
        Different("the run ends with a report; Pekko only logs it");
    a_task_that_is_cut_off_is_dropped => "CoordinatedShutdownSpec: continue after timeout or failure",
        Different("what its phase cuts off is dropped; Pekko cannot stop a future and lets it run on");
    without_recovery_a_timeout_ends_the_run => "CoordinatedShutdownSpec: abort if recover=off", Same;
    without_recovery_a_failure_ends_the_run => "CoordinatedShutdownSpec: abort if recover=off", Same;
    the_tasks_of_a_disabled_phase_do_not_run => "CoordinatedShutdownSpec: skip tasks in disabled phase", Same;
    a_task_of_an_unknown_phase_is_refused => "CoordinatedShutdownSpec: parse phases from config", Same;
    a_task_without_a_name_is_refused => "CoordinatedShutdownSpec: re-register the same task if requested", Same;
    an_actor_is_stopped_by_a_message_and_its_end_awaited => "CoordinatedShutdownSpec: support actor termination tasks with a stop message", Same;
    an_actor_is_stopped_without_a_message_too => "CoordinatedShutdownSpec: support actor termination tasks without a stop message",
        Different("a task without a message stops the actor; Pekko's only waits for it");
    an_actor_that_is_gone_costs_no_time => "CoordinatedShutdownSpec: support actor termination tasks for actors that are already shutdown", Same;
    an_actor_may_be_stopped_twice_in_a_phase => "CoordinatedShutdownSpec: allow watching the same actor twice in the same phase", Same;
    an_actor_may_be_stopped_in_two_phases => "CoordinatedShutdownSpec: allow watching the same actor twice in different phases", Same;
    the_last_phase_stops_all_actors => "CoordinatedShutdownSpec: terminate ActorSystem", Same;
];

const A: Phase = Phase::new("a", &[]);
const B: Phase = Phase::new("b", &["a"]);
const C: Phase = Phase::new("c", &["b", "a"]);

async fn tasks_of_a_phase_run_at_the_same_time_and_before_the_next(
    driver: &dyn Driver,
) -> CaseResult {
    let shutdown = driver.with(&[A, B, C])?;
    shutdown.add_all(&[
        ("c", "C", Act::Done),
        ("b", "B slow", Act::Work(3 * SECOND)),
        ("b", "B fast", Act::Work(2 * SECOND)),
        ("a", "A", Act::Done),
    ])?;
    let start = Instant::now();
    shutdown.run_all().await?;
    shutdown.expect(&["A", "B fast", "B slow", "C"])?;
    ensure_eq("seconds", &start.elapsed().as_secs(), &3)
}

async fn a_task_that_was_taken_back_does_not_run(driver: &dyn Driver) -> CaseResult {
    let shutdown = driver.with(&[A])?;
    shutdown.add_all(&[
        ("a", "1", Act::Done),
        ("a", "2", Act::Done),
        ("a", "3", Act::Done),
    ])?;
    ensure_eq("taken back", &shutdown.cancel("2")?, &true)?;
    shutdown.run_all().await?;
    shutdown.expect(&["1", "3"])
}

async fn a_task_is_taken_back_only_once_and_not_after_it_ran(driver: &dyn Driver) -> CaseResult {
    let shutdown = driver.with(&[A])?;
    shutdown.add_all(&[("a", "1", Act::Done), ("a", "2", Act::Done)])?;
    ensure_eq("the first time", &shutdown.cancel("1")?, &true)?;
    ensure_eq("the second time", &shutdown.cancel("1")?, &false)?;
    shutdown.run_all().await?;
    ensure_eq("after it ran", &shutdown.cancel("2")?, &false)
}

async fn tasks_of_the_same_name_all_run(driver: &dyn Driver) -> CaseResult {
    let shutdown = driver.with(&[A])?;
    shutdown.add_all(&[("a", "labor", Act::Done); 3])?;
    shutdown.cancel("labor")?;
    shutdown.run_all().await?;
    shutdown.expect(&["labor", "labor"])
}

async fn a_task_may_take_back_one_of_a_later_phase(driver: &dyn Driver) -> CaseResult {
    let shutdown = driver.with(&[A, B])?;
    shutdown.add_all(&[
        ("a", "A cancels B", Act::Cancel("B cancels A")),
        ("b", "B cancels A", Act::Cancel("A cancels B")),
        ("b", "B", Act::Done),
    ])?;
    shutdown.run_all().await?;
    shutdown.expect(&["A cancels B", "B"])
}

async fn a_task_added_to_a_phase_that_has_begun_does_not_run(driver: &dyn Driver) -> CaseResult {
    let shutdown = driver.with(&[A, B])?;
    shutdown.add_all(&[
        ("a", "A adds A", Act::Add("a", "late")),
        ("b", "B adds A", Act::Add("a", "later")),
    ])?;
    shutdown.run_all().await?;
    shutdown.expect(&["A adds A", "B adds A"])
}

async fn who_adds_a_task_too_late_is_told(driver: &dyn Driver) -> CaseResult {
    let shutdown = driver.with(&[A])?;
    shutdown.run_all().await?;
    let refused = shutdown.add("a", "late", Act::Done);
    ensure(refused.is_err_and(|why| why.contains("late")), || {
        "it was taken".to_owned()
    })
}

async fn a_task_may_add_one_to_a_later_phase(driver: &dyn Driver) -> CaseResult {
    let shutdown = driver.with(&[A, B])?;
    shutdown.add_all(&[("a", "A", Act::Add("b", "B"))])?;
    shutdown.run_all().await?;
    shutdown.expect(&["A", "B"])
}

async fn a_run_may_begin_with_a_later_phase(driver: &dyn Driver) -> CaseResult {
    let shutdown = driver.with(&[A, B, C])?;
    shutdown.add_all(&[
        ("a", "A", Act::Done),
        ("b", "B", Act::Done),
        ("c", "C", Act::Done),
    ])?;
    let run = shutdown.run(Some("b"), "custom").await;
    ensure_eq("outcome", &run, &Ok(Outcome::default()))?;
    shutdown.expect(&["B", "C"])?;
    ensure_eq("reason", &shutdown.reason().as_deref(), &Some("custom"))
}

async fn a_run_from_an_unknown_phase_is_refused(driver: &dyn Driver) -> CaseResult {
    let shutdown = driver.with(&[A])?;
    shutdown.add_all(&[("a", "A", Act::Done)])?;
    let refused = shutdown.run(Some("typo"), "asked").await;
    ensure(refused.is_err_and(|why| why.contains("typo")), || {
        "it ran".to_owned()
    })?;
    ensure_eq("reason", &shutdown.reason(), &None)?;
    shutdown.run_all().await?;
    shutdown.expect(&["A"])
}

async fn it_runs_once_and_every_caller_has_the_same_end(driver: &dyn Driver) -> CaseResult {
    let shutdown = driver.with(&[A])?;
    shutdown.add_all(&[("a", "A", Act::Fail)])?;
    let first = shutdown.run_all().await?;
    let second = shutdown.run_all().await?;
    shutdown.expect(&["A"])?;
    ensure_eq("the second end", &second, &first)?;
    ensure_eq("what failed", &second.failed, &vec!["A".to_owned()])
}

async fn the_first_reason_is_kept(driver: &dyn Driver) -> CaseResult {
    let shutdown = driver.with(&[A])?;
    ensure_eq("before", &shutdown.reason(), &None)?;
    for reason in ["first", "second"] {
        let run = shutdown.run(None, reason).await;
        ensure(run.is_ok(), || format!("{run:?}"))?;
        ensure_eq("reason", &shutdown.reason().as_deref(), &Some("first"))?;
    }
    Ok(())
}

async fn two_callers_at_the_same_time_run_it_once(driver: &dyn Driver) -> CaseResult {
    let shutdown = driver.with(&[A])?;
    shutdown.add_all(&[("a", "A", Act::Work(SECOND))])?;
    let start = Instant::now();
    let (first, second) = tokio::join!(shutdown.run_all(), shutdown.run_all());
    ensure_eq("the ends", &first?, &second?)?;
    ensure_eq("seconds", &start.elapsed().as_secs(), &1)?;
    shutdown.expect(&["A"])
}

async fn goes_on_after(driver: &dyn Driver, act: Act) -> CaseResult {
    let shutdown = driver.with(&[A, B])?;
    shutdown.add_all(&[("a", "A", act), ("b", "B", Act::Done)])?;
    shutdown.run_all().await?;
    shutdown.expect(&["A", "B"])
}

async fn it_goes_on_after_a_failure(driver: &dyn Driver) -> CaseResult {
    goes_on_after(driver, Act::Fail).await
}

async fn it_goes_on_after_a_panic(driver: &dyn Driver) -> CaseResult {
    goes_on_after(driver, Act::Panic).await
}

async fn it_goes_on_after_a_phases_time_is_over(driver: &dyn Driver) -> CaseResult {
    let start = Instant::now();
    goes_on_after(driver, Act::Hang).await?;
    ensure_eq("seconds", &start.elapsed().as_secs(), &5)
}

async fn a_failure_does_not_end_its_phase_early(driver: &dyn Driver) -> CaseResult {
    let shutdown = driver.with(&[A, B])?;
    shutdown.add_all(&[
        ("a", "A fails", Act::Fail),
        ("a", "A works", Act::Work(2 * SECOND)),
        ("b", "B", Act::Done),
    ])?;
    shutdown.run_all().await?;
    shutdown.expect(&["A fails", "A works", "B"])
}

async fn the_report_tells_what_failed_and_what_was_cut_off(driver: &dyn Driver) -> CaseResult {
    let shutdown = driver.with(&[A, B])?;
    shutdown.add_all(&[
        ("a", "fails", Act::Fail),
        ("a", "hangs", Act::Hang),
        ("b", "panics", Act::Panic),
        ("b", "works", Act::Done),
    ])?;
    let outcome = shutdown.run_all().await?;
    ensure_eq(
        "failed",
        &outcome.failed,
        &["fails", "panics"].map(String::from).to_vec(),
    )?;
    ensure_eq("cut off", &outcome.cut_off, &vec!["hangs".to_owned()])?;
    ensure_eq("aborted in", &outcome.aborted_in, &None)
}

async fn a_task_that_is_cut_off_is_dropped(driver: &dyn Driver) -> CaseResult {
    let shutdown = driver.with(&[A])?;
    shutdown.add_all(&[("a", "too long", Act::Work(60 * SECOND))])?;
    shutdown.run_all().await?;
    sleep(120 * SECOND).await;
    shutdown.expect(&[])
}

const STRICT: Phase = Phase {
    recover: false,
    timeout: Some(SECOND),
    ..B
};

async fn ends_without_recovery(driver: &dyn Driver, act: Act) -> CaseResult {
    let shutdown = driver.with(&[A, STRICT, C])?;
    shutdown.add_all(&[("b", "B", act), ("c", "C", Act::Done)])?;
    let outcome = shutdown.run_all().await?;
    shutdown.expect(&["B"])?;
    ensure_eq("aborted in", &outcome.aborted_in.as_deref(), &Some("b"))
}

async fn without_recovery_a_timeout_ends_the_run(driver: &dyn Driver) -> CaseResult {
    let start = Instant::now();
    ends_without_recovery(driver, Act::Hang).await?;
    ensure_eq("seconds", &start.elapsed().as_secs(), &1)
}

async fn without_recovery_a_failure_ends_the_run(driver: &dyn Driver) -> CaseResult {
    ends_without_recovery(driver, Act::Fail).await
}

async fn the_tasks_of_a_disabled_phase_do_not_run(driver: &dyn Driver) -> CaseResult {
    let disabled = Phase {
        enabled: false,
        ..STRICT
    };
    let shutdown = driver.with(&[A, disabled, C])?;
    shutdown.add_all(&[("b", "B", Act::Fail), ("c", "C", Act::Done)])?;
    let outcome = shutdown.run_all().await?;
    ensure_eq("outcome", &outcome, &Outcome::default())?;
    shutdown.expect(&["C"])
}

async fn a_task_of_an_unknown_phase_is_refused(driver: &dyn Driver) -> CaseResult {
    let refused = driver.with(&[A])?.add("typo", "task", Act::Done);
    ensure(refused.is_err_and(|why| why.contains("typo")), || {
        "it was taken".to_owned()
    })
}

async fn a_task_without_a_name_is_refused(driver: &dyn Driver) -> CaseResult {
    let refused = driver.with(&[A])?.add("a", "", Act::Done);
    ensure(refused.is_err(), || "it was taken".to_owned())
}

async fn an_actor_is_stopped_by_a_message_and_its_end_awaited(driver: &dyn Driver) -> CaseResult {
    let shutdown = driver.with(&[A, B])?;
    shutdown.spawn("actor");
    shutdown.add_termination("a", "actor", Stopping::Message)?;
    shutdown.add_all(&[("b", "B", Act::Done)])?;
    shutdown.run_all().await?;
    shutdown.expect(&["told", "actor", "B"])
}

async fn an_actor_is_stopped_without_a_message_too(driver: &dyn Driver) -> CaseResult {
    let shutdown = driver.with(&[A, B])?;
    shutdown.spawn("actor");
    shutdown.add_termination("a", "actor", Stopping::Stop)?;
    shutdown.add_all(&[("b", "B", Act::Done)])?;
    shutdown.run_all().await?;
    shutdown.expect(&["actor", "B"])
}

async fn an_actor_that_is_gone_costs_no_time(driver: &dyn Driver) -> CaseResult {
    let shutdown = driver.with(&[A])?;
    shutdown.spawn("actor");
    shutdown.stop("actor").await;
    shutdown.add_termination("a", "actor", Stopping::Message)?;
    let start = Instant::now();
    let outcome = shutdown.run_all().await?;
    ensure_eq("outcome", &outcome, &Outcome::default())?;
    ensure(start.elapsed() < SECOND, || {
        format!("{:?}", start.elapsed())
    })
}

async fn an_actor_may_be_stopped_twice_in_a_phase(driver: &dyn Driver) -> CaseResult {
    stopped_twice(driver, "a").await
}

async fn an_actor_may_be_stopped_in_two_phases(driver: &dyn Driver) -> CaseResult {
    stopped_twice(driver, "b").await
}

async fn stopped_twice(driver: &dyn Driver, again_in: &str) -> CaseResult {
    let shutdown = driver.with(&[A, B])?;
    shutdown.spawn("actor");
    shutdown.add_termination("a", "actor", Stopping::Stop)?;
    shutdown.add_termination(again_in, "actor", Stopping::Stop)?;
    let start = Instant::now();
    let outcome = shutdown.run_all().await?;
    ensure_eq("outcome", &outcome, &Outcome::default())?;
    ensure(start.elapsed() < SECOND, || {
        format!("{:?}", start.elapsed())
    })?;
    shutdown.expect(&["actor"])
}

async fn the_last_phase_stops_all_actors(driver: &dyn Driver) -> CaseResult {
    let shutdown = driver.default_phases();
    shutdown.spawn("actor");
    shutdown.add_system()?;
    shutdown.add_all(&[("before-actor-system-terminate", "before", Act::Done)])?;
    shutdown.run_all().await?;
    shutdown.expect(&["before", "actor"])
}
