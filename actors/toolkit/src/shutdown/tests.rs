use std::{collections::BTreeSet, convert::Infallible};

use actix::{Handler, Message};
use proptest::prelude::*;
use tokio::time::{Instant, sleep};

use super::*;
use crate::system::Props;

const SECOND: Duration = Duration::from_secs(1);

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn entries(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    /// Adds a task that works for `time` and notes its end.
    fn task(
        &self,
        shutdown: &CoordinatedShutdown,
        phase: &str,
        name: &str,
        time: Duration,
    ) -> TaskHandle {
        let (log, entry) = (self.clone(), name.to_owned());
        let task = async move || {
            sleep(time).await;
            log.0.lock().unwrap().push(entry);
            Ok(())
        };
        shutdown.add_task(phase, name, task).unwrap()
    }
}

fn abc() -> Phases {
    Phases::empty()
        .with("a", Phase::default())
        .with("b", Phase::after(["a"]))
        .with("c", Phase::after(["b", "a"]))
}

fn shutdown(phases: Phases) -> CoordinatedShutdown {
    tokio::time::pause();
    CoordinatedShutdown::new(phases).unwrap()
}

fn ends(report: &Report) -> Vec<PhaseEnd> {
    report.phases.iter().map(|phase| phase.end).collect()
}

#[test]
fn pekkos_phases_come_in_its_order() {
    let phases = Phases::with_cluster();
    assert_eq!(
        phases.order().unwrap(),
        [
            "before-service-unbind",
            "service-unbind",
            "service-requests-done",
            "service-stop",
            "before-cluster-shutdown",
            "cluster-sharding-shutdown-region",
            "cluster-leave",
            "cluster-exiting",
            "cluster-exiting-done",
            "cluster-shutdown",
            "before-actor-system-terminate",
            "actor-system-terminate",
        ]
    );
    let shutdown = CoordinatedShutdown::new(phases).unwrap();
    let seconds = |phase| shutdown.timeout(phase).unwrap().as_secs();
    let long = shutdown.phases().filter(|phase| seconds(phase) == 10);
    assert_eq!(
        long.collect::<Vec<_>>(),
        [
            "cluster-sharding-shutdown-region",
            "cluster-exiting",
            "actor-system-terminate"
        ]
    );
    assert_eq!(shutdown.phases().filter(|p| seconds(p) == 5).count(), 9);
}

#[test]
fn the_default_phases_are_those_without_a_cluster() {
    let phases = Phases::default();
    assert_eq!(
        phases.order().unwrap(),
        [
            "before-service-unbind",
            "service-unbind",
            "service-requests-done",
            "service-stop",
            "before-actor-system-terminate",
            "actor-system-terminate",
        ]
    );
}

#[test]
fn a_cycle_is_named() {
    let phases = abc().with("a", Phase::after(["c"]));
    let error = CoordinatedShutdown::new(phases).unwrap_err();
    let cycle = ["a", "c", "b", "a"].map(str::to_owned).to_vec();
    assert_eq!(error, PhasesError::Cycle(cycle));
    assert_eq!(
        error.to_string(),
        "phases depend on themselves: `a` after `c` after `b` after `a`"
    );
    let selfish = Phases::empty().with("x", Phase::after(["x"]));
    let cycle = vec!["x".to_owned(), "x".to_owned()];
    assert_eq!(selfish.order(), Err(PhasesError::Cycle(cycle)));
}

#[test]
fn an_unknown_dependency_is_named() {
    let error = abc().with("d", Phase::after(["e"])).order().unwrap_err();
    assert_eq!(
        error.to_string(),
        "the phase `d` depends on `e`, which does not exist"
    );
}

proptest! {
    /// Each phase depends on some with a smaller number, under names that sort otherwise.
    #[test]
    fn a_phase_comes_after_all_it_depends_on(edges in prop::collection::vec(any::<u16>(), 0..16)) {
        let name = |number: usize| format!("{:02}", (number * 7) % 16);
        let mut phases = Phases::empty();
        for (number, bits) in edges.iter().enumerate() {
            let earlier = (0..number).filter(|earlier| bits & (1 << earlier) != 0);
            phases = phases.with(name(number), Phase::after(earlier.map(name)));
        }
        let order = phases.order().unwrap();
        prop_assert_eq!(order.len(), edges.len());
        let mut seen = BTreeSet::new();
        for phase in order {
            for dependency in &phases.by_name[phase].depends_on {
                prop_assert!(seen.contains(dependency.as_str()));
            }
            seen.insert(phase);
        }
    }
}

#[actix::test]
async fn phases_run_one_after_the_other_and_their_tasks_at_the_same_time() {
    let log = Log::default();
    let shutdown = shutdown(abc());
    log.task(&shutdown, "b", "b slow", 3 * SECOND);
    log.task(&shutdown, "b", "b fast", SECOND);
    log.task(&shutdown, "c", "c", SECOND);
    log.task(&shutdown, "a", "a", SECOND);
    let start = Instant::now();
    let report = shutdown.run(Reason::Requested).await;
    assert_eq!(log.entries(), ["a", "b fast", "b slow", "c"]);
    assert_eq!(start.elapsed().as_secs(), 5);
    assert!(report.is_clean());
    assert_eq!(report.phase("b").unwrap().took.as_secs(), 3);
}

#[actix::test]
async fn it_runs_once_and_a_second_run_has_the_same_report() {
    let log = Log::default();
    let shutdown = shutdown(abc());
    log.task(&shutdown, "a", "a", SECOND);
    assert_eq!(shutdown.reason(), None);
    let (first, second) = tokio::join!(
        shutdown.run(Reason::Requested),
        shutdown.run(Reason::Failed("too late to say".to_owned()))
    );
    let third = shutdown.run_from("c", Reason::Unknown).await.unwrap();
    assert_eq!(first, second);
    assert_eq!(first, third);
    assert_eq!(first.reason, Reason::Requested);
    assert_eq!(shutdown.reason(), Some(Reason::Requested));
    assert_eq!(log.entries(), ["a"]);
}

#[actix::test]
async fn a_run_that_nobody_waits_for_goes_on() {
    let log = Log::default();
    let shutdown = shutdown(abc());
    log.task(&shutdown, "a", "a", SECOND);
    let run = shutdown.run(Reason::Unknown);
    assert!(tokio::time::timeout(SECOND / 2, run).await.is_err());
    assert!(shutdown.ended().await.is_clean());
    assert_eq!(log.entries(), ["a"]);
}

#[actix::test]
async fn a_run_may_begin_with_a_later_phase() {
    let log = Log::default();
    let shutdown = shutdown(abc());
    for phase in ["a", "b", "c"] {
        log.task(&shutdown, phase, phase, Duration::ZERO);
    }
    let unknown = shutdown.run_from("z", Reason::Unknown).await;
    assert_eq!(unknown, Err(UnknownPhase("z".to_owned())));
    let report = shutdown.run_from("b", Reason::Unknown).await.unwrap();
    assert_eq!(log.entries(), ["b", "c"]);
    assert_eq!(
        ends(&report),
        [PhaseEnd::NotRun, PhaseEnd::Ended, PhaseEnd::Ended]
    );
    assert_eq!(report.phases[0].tasks[0].end, TaskEnd::NotRun);
    assert!(report.is_clean());
}

fn fail(shutdown: &CoordinatedShutdown, phase: &str) {
    let failing = || async { Err("on purpose".into()) };
    shutdown.add_task(phase, "failing", failing).unwrap();
}

#[actix::test]
async fn after_a_failure_a_panic_or_a_timeout_the_run_goes_on() {
    let log = Log::default();
    let shutdown = shutdown(abc());
    fail(&shutdown, "a");
    let panicking = || async { panic!("on purpose") };
    shutdown.add_task("a", "panicking", panicking).unwrap();
    let panics_at_once = || -> std::future::Ready<Result<(), TaskError>> { panic!("at once") };
    shutdown.add_task("a", "at once", panics_at_once).unwrap();
    log.task(&shutdown, "a", "a", SECOND);
    log.task(&shutdown, "b", "hanging", 60 * SECOND);
    log.task(&shutdown, "b", "b", SECOND);
    log.task(&shutdown, "c", "c", SECOND);
    let report = shutdown.run(Reason::Unknown).await;
    assert_eq!(log.entries(), ["a", "b", "c"]);
    assert_eq!(
        ends(&report),
        [PhaseEnd::Ended, PhaseEnd::TimedOut, PhaseEnd::Ended]
    );
    assert!(!report.is_clean());
    let failed: Vec<_> = report.failed().map(|(_, task)| task.end.clone()).collect();
    let failure = |text: &str| TaskEnd::Failed(text.to_owned());
    assert_eq!(
        failed,
        [
            failure("on purpose"),
            failure("panicked: on purpose"),
            failure("panicked: at once")
        ]
    );
    let cut_off: Vec<_> = report.cut_off().map(|(p, task)| (p, &*task.name)).collect();
    assert_eq!(cut_off, [("b", "hanging")]);
    assert_eq!(report.aborted_in, None);
    sleep(90 * SECOND).await;
    assert_eq!(log.entries().len(), 3, "a task that was cut off ran on");
}

#[actix::test]
async fn without_recovery_a_failure_or_a_timeout_ends_the_run() {
    tokio::time::pause();
    for times_out in [false, true] {
        let log = Log::default();
        let strict = abc().change("b", |phase| phase.recover(false).timeout(SECOND));
        let shutdown = CoordinatedShutdown::new(strict).unwrap();
        log.task(&shutdown, "a", "a", SECOND);
        if times_out {
            log.task(&shutdown, "b", "hanging", 60 * SECOND);
        } else {
            fail(&shutdown, "b");
        }
        log.task(&shutdown, "c", "c", SECOND);
        let report = shutdown.run(Reason::Unknown).await;
        assert_eq!(log.entries(), ["a"]);
        assert_eq!(report.aborted_in.as_deref(), Some("b"));
        assert_eq!(report.phase("c").unwrap().end, PhaseEnd::NotRun);
        assert!(!report.is_clean());
    }
}

#[actix::test]
async fn a_failure_in_the_last_phase_without_recovery_is_reported_too() {
    let shutdown = shutdown(abc().change("c", |phase| phase.recover(false)));
    fail(&shutdown, "c");
    let report = shutdown.run(Reason::Unknown).await;
    assert_eq!(report.aborted_in.as_deref(), Some("c"));
}

#[actix::test]
async fn a_cancelled_task_never_runs() {
    let log = Log::default();
    let shutdown = shutdown(abc());
    let kept = log.task(&shutdown, "a", "kept", Duration::ZERO);
    let same_name = log.task(&shutdown, "a", "kept", Duration::ZERO);
    let cancelled = log.task(&shutdown, "a", "cancelled", Duration::ZERO);
    assert!(cancelled.cancel());
    assert!(!cancelled.cancel(), "only once");
    let report = shutdown.run(Reason::Unknown).await;
    assert_eq!(log.entries(), ["kept", "kept"]);
    assert!(!kept.cancel() && !same_name.cancel(), "they have run");
    assert_eq!(report.phases[0].tasks.len(), 2);
}

#[actix::test]
async fn a_task_may_add_tasks_to_later_phases_only() {
    let log = Log::default();
    let shutdown = shutdown(abc());
    let (inner, inner_log) = (shutdown.clone(), log.clone());
    let adding = || async move {
        inner_log.task(&inner, "c", "added", Duration::ZERO);
        let late = inner.add_task("b", "late", || async { Ok(()) });
        Err(late.unwrap_err().into())
    };
    shutdown.add_task("b", "adding", adding).unwrap();
    let report = shutdown.run(Reason::Unknown).await;
    assert_eq!(log.entries(), ["added"]);
    let late = "it is too late for the task `late` of the phase `b`".to_owned();
    let adding = &report.phase("b").unwrap().tasks[0];
    assert_eq!(adding.end, TaskEnd::Failed(late));
}

#[actix::test]
async fn a_task_needs_a_name_and_a_phase_that_exists() {
    let shutdown = shutdown(abc());
    let nothing = || async { Ok(()) };
    let unknown = shutdown.add_task("z", "task", nothing).unwrap_err();
    assert_eq!(unknown, AddTaskError::UnknownPhase("z".to_owned()));
    let unnamed = shutdown.add_task("a", "", nothing).unwrap_err();
    assert_eq!(unnamed, AddTaskError::Unnamed("a".to_owned()));
}

#[actix::test]
async fn a_disabled_phase_is_passed_over_and_the_total_time_counts_what_has_tasks() {
    let log = Log::default();
    let shutdown = shutdown(abc().change("b", |phase| phase.enabled(false)));
    assert_eq!(shutdown.total_timeout(), Duration::ZERO);
    log.task(&shutdown, "a", "a", SECOND);
    log.task(&shutdown, "b", "b", SECOND);
    assert_eq!(shutdown.total_timeout(), 5 * SECOND);
    let report = shutdown.run(Reason::Unknown).await;
    assert_eq!(log.entries(), ["a"]);
    assert_eq!(report.phase("b").unwrap().end, PhaseEnd::Disabled);
    assert!(report.is_clean());
}

#[actix::test]
async fn a_phase_may_have_more_time_than_the_clock_can_say() {
    let log = Log::default();
    let shutdown = shutdown(abc().change("a", |phase| phase.timeout(Duration::MAX)));
    log.task(&shutdown, "a", "a", 3600 * SECOND);
    assert!(shutdown.run(Reason::Unknown).await.is_clean());
}

struct Worker(Log);

#[derive(Message)]
#[rtype(result = "()")]
struct Finish;

impl Actor for Worker {
    type Context = Context<Self>;
    fn stopped(&mut self, ctx: &mut Context<Self>) {
        self.0.0.lock().unwrap().push(ctx.path().to_owned());
    }
}

impl Handler<Finish> for Worker {
    type Result = ();
    fn handle(&mut self, _: Finish, ctx: &mut Context<Self>) {
        self.0.0.lock().unwrap().push("finished".to_owned());
        ctx.stop();
    }
}

#[actix::test]
async fn actors_are_stopped_by_a_message_or_the_system_and_their_end_is_awaited() {
    let log = Log::default();
    let system = ActorSystem::new("test", 1);
    let shutdown = shutdown(Phases::default());
    let spawn = |name| {
        let log = log.clone();
        system.spawn(Props::new(move || Worker(log.clone())), name)
    };
    let (finishing, gone, _left) = (spawn("finishing"), spawn("gone"), spawn("left"));
    let finish = |worker: &ActorRef<Worker>| worker.inform(Finish);
    let phase = SERVICE_REQUESTS_DONE;
    shutdown
        .add_actor_termination(phase, "finishing", &finishing, finish)
        .unwrap();
    shutdown
        .add_actor_termination(phase, "gone", &gone, ActorRef::stop)
        .unwrap();
    gone.stop();
    gone.when_stopped().await;
    shutdown.add_system(&system).unwrap();
    let report = shutdown.run(Reason::Requested).await;
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(
        log.entries(),
        ["/user/gone", "finished", "/user/finishing", "/user/left"]
    );
    assert!(system.tree().is_empty());
}

#[actix::test]
async fn what_is_cut_off_is_dropped() {
    struct Held(tokio::sync::mpsc::Sender<Infallible>);
    let shutdown = shutdown(abc().change("a", |phase| phase.timeout(Duration::ZERO)));
    let (held, mut dropped) = tokio::sync::mpsc::channel(1);
    let held = Held(held);
    let hanging = || async move {
        std::future::pending::<()>().await;
        drop(held.0);
        Ok(())
    };
    shutdown.add_task("a", "hanging", hanging).unwrap();
    let report = shutdown.run(Reason::Unknown).await;
    assert_eq!(report.cut_off().count(), 1);
    assert!(dropped.recv().await.is_none());
}

#[actix::test]
async fn a_task_may_ask_an_actor() {
    let system = ActorSystem::new("test", 1);
    let shutdown = shutdown(Phases::default());
    let worker = system.spawn(Props::new(|| Worker(Log::default())), "worker");
    let ask = || async move { Ok(worker.ask(Finish, SECOND).await?) };
    shutdown.add_task(SERVICE_STOP, "ask", ask).unwrap();
    assert!(shutdown.run(Reason::Unknown).await.is_clean());
}
