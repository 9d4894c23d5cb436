//! The phases of coordinated shutdown: their order, their names, their times.

use std::time::Duration;

use crate::{
    case::{
        Case, CaseResult,
        Stance::{Different, Same},
        ensure, ensure_eq,
    },
    cases,
    driver::shutdown::{Act, Driver, Phase, Shutdown},
};

pub(super) const CASES: &[Case<dyn Driver>] = cases![dyn Driver, L6;
    phases_run_in_the_order_of_their_dependencies => "CoordinatedShutdownSpec: sort phases in topological order", Same;
    unrelated_chains_of_phases_are_each_in_order => "CoordinatedShutdownSpec: sort phases in topological order", Same;
    a_phase_that_depends_on_itself_is_refused => "CoordinatedShutdownSpec: detect cycles in phases (non-DAG)", Same;
    a_cycle_of_phases_is_refused_and_named => "CoordinatedShutdownSpec: detect cycles in phases (non-DAG)", Same;
    a_dependency_that_does_not_exist_is_refused => "CoordinatedShutdownSpec: sort phases in topological order",
        Different("an unknown phase is an error that names it, where Pekko makes a phase of it");
    the_named_phases_come_in_pekkos_order => "CoordinatedShutdownSpec: have pre-defined phases from config",
        Different("the six phases of a cluster are there on demand only, because Kebne has no cluster");
    the_phases_have_pekkos_times => "CoordinatedShutdownSpec: parse phases from config", Same;
    the_total_time_is_that_of_the_phases_with_tasks => "CoordinatedShutdownSpec: parse phases from config", Same;
];

const A: Phase = Phase::new("a", &[]);
const B: Phase = Phase::new("b", &["a"]);
const C: Phase = Phase::new("c", &["b", "a"]);

fn names(shutdown: &dyn Shutdown) -> Vec<String> {
    let phases = shutdown.phases();
    phases.into_iter().map(|(name, _)| name).collect()
}

async fn phases_run_in_the_order_of_their_dependencies(driver: &dyn Driver) -> CaseResult {
    let d = Phase::new("0", &["b", "c"]);
    let e = Phase::new("1", &["0"]);
    let shutdown = driver.with(&[e, C, d, A, B])?;
    ensure_eq(
        "order",
        &names(&*shutdown),
        &["a", "b", "c", "0", "1"].map(String::from).to_vec(),
    )
}

async fn unrelated_chains_of_phases_are_each_in_order(driver: &dyn Driver) -> CaseResult {
    let phases = [
        Phase::new("a3", &["a2"]),
        Phase::new("b1", &[]),
        Phase::new("a2", &["a1"]),
        Phase::new("b2", &["b1"]),
        Phase::new("a1", &[]),
    ];
    let order = names(&*driver.with(&phases)?);
    let chain = |letter| {
        order
            .iter()
            .filter(move |name| name.starts_with(letter))
            .cloned()
    };
    ensure_eq(
        "a",
        &chain('a').collect::<Vec<_>>(),
        &["a1", "a2", "a3"].map(String::from).to_vec(),
    )?;
    ensure_eq(
        "b",
        &chain('b').collect::<Vec<_>>(),
        &["b1", "b2"].map(String::from).to_vec(),
    )
}

async fn a_phase_that_depends_on_itself_is_refused(driver: &dyn Driver) -> CaseResult {
    let refused = driver.of(&[Phase::new("a", &["a"])]).is_err();
    ensure_eq("refused", &refused, &true)
}

async fn a_cycle_of_phases_is_refused_and_named(driver: &dyn Driver) -> CaseResult {
    let phases = [
        Phase::new("first", &["third"]),
        Phase::new("second", &["first"]),
        Phase::new("third", &["second"]),
        Phase::new("other", &[]),
    ];
    let Err(why) = driver.of(&phases) else {
        return ensure(false, || "a cycle was taken".to_owned());
    };
    let named = ["first", "second", "third"]
        .iter()
        .all(|name| why.contains(name));
    ensure(named && !why.contains("other"), || why)
}

async fn a_dependency_that_does_not_exist_is_refused(driver: &dyn Driver) -> CaseResult {
    let Err(why) = driver.of(&[Phase::new("b", &["typo"])]) else {
        return ensure(false, || "it was taken".to_owned());
    };
    ensure(why.contains("typo"), || why)
}

/// Pekko's phases, with the seconds that each may take.
const PEKKOS: [(&str, u64); 12] = [
    ("before-service-unbind", 5),
    ("service-unbind", 5),
    ("service-requests-done", 5),
    ("service-stop", 5),
    ("before-cluster-shutdown", 5),
    ("cluster-sharding-shutdown-region", 10),
    ("cluster-leave", 5),
    ("cluster-exiting", 10),
    ("cluster-exiting-done", 5),
    ("cluster-shutdown", 5),
    ("before-actor-system-terminate", 5),
    ("actor-system-terminate", 10),
];

async fn the_named_phases_come_in_pekkos_order(driver: &dyn Driver) -> CaseResult {
    let expected = PEKKOS.map(|(name, _)| name.to_owned()).to_vec();
    ensure_eq("phases", &names(&*driver.default_phases()), &expected)
}

async fn the_phases_have_pekkos_times(driver: &dyn Driver) -> CaseResult {
    let phases = driver.default_phases().phases().into_iter();
    let seconds: Vec<_> = phases
        .map(|(name, timeout)| (name, timeout.as_secs()))
        .collect();
    let expected = PEKKOS.map(|(name, seconds)| (name.to_owned(), seconds));
    ensure_eq("times", &seconds, &expected.to_vec())
}

async fn the_total_time_is_that_of_the_phases_with_tasks(driver: &dyn Driver) -> CaseResult {
    let short = Phase {
        timeout: Some(Duration::from_secs(1)),
        ..B
    };
    let shutdown = driver.with(&[A, short, C])?;
    ensure_eq("without tasks", &shutdown.total_timeout()?, &Duration::ZERO)?;
    shutdown.add_all(&[("a", "A", Act::Done), ("b", "B", Act::Done)])?;
    ensure_eq(
        "with tasks",
        &shutdown.total_timeout()?,
        &Duration::from_secs(6),
    )
}
