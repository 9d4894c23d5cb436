//! Who is chosen: in turn, by chance, by key, by load; and asks of more than one.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use crate::{
    case::{
        Case, CaseResult, Failure, SEED,
        Stance::{Different, Same},
        ensure, ensure_eq,
    },
    cases,
    driver::routers::{Act, Choice, Driver, Handled, Job, Router, Spec, Stage, settle},
};

const SECOND: Duration = Duration::from_secs(1);

pub(super) const CASES: &[Case<dyn Driver>] = cases![dyn Driver, L3;
    round_robin_skips_nobody_when_one_is_removed => "RoutingLogicSpec: not skip one on removal", Same;
    round_robin_begins_anew_when_the_last_is_removed => "RoutingLogicSpec: handle last one removed", Same;
    round_robin_moves_on_when_several_are_removed => "RoutingLogicSpec: move on to next when several removed", Same;
    round_robin_gives_a_newcomer_its_turn => "RoutingLogicSpec: round robin", Same;
    chance_treats_all_alike => "RoutingLogicSpec: select randomly", Same;
    chance_repeats_with_its_seed => "RandomSpec: deliver messages in a random fashion",
        Different("the chance of a router is seeded, so that a run can be repeated");
    the_same_key_goes_to_the_same_routee => "ConsistentHashingRouterSpec: select destination based on consistentHashKey of the message", Same;
    the_hash_is_of_what_the_mapping_says => "ConsistentHashingRouterSpec: select destination with defined hashMapping", Same;
    only_the_keys_of_a_routee_that_leaves_move => "RoutingLogicSpec: hash consistently when several new removed", Same;
    a_newcomer_takes_keys_only_for_itself => "RoutingLogicSpec: hash consistently when several new added", Same;
    keys_are_shared_out_over_all_routees => "RoutingLogicSpec: hash consistently with virtualization factor", Same;
    an_idle_routee_goes_before_a_busy_one => "SmallestMailboxSpec: deliver messages to idle actor",
        Different("the less loaded of two that chance chooses, not the least of all");
    work_that_is_begun_counts_as_load => "SmallestMailboxSpec: deliver messages to idle actor",
        Different("an ask in work counts too, where Pekko sees the mailbox only");
    the_first_of_many_answers_counts => "ScatterGatherFirstCompletedSpec: deliver a broadcast message using the !", Same;
    a_routee_that_does_not_answer_does_not_keep_the_first_answer => "ScatterGatherFirstCompletedSpec: return response, even if one of the actors has stopped", Same;
    an_ask_of_all_without_routees_ends_at_once => "ScatterGatherFirstCompletedSpec: without routees should reply immediately", Same;
    the_second_is_asked_after_a_silence => "TailChoppingSpec: return response from second actor after inactivity from first one", Same;
    no_second_is_asked_when_the_first_answers => "TailChoppingSpec: reply ASAP", Same;
    a_tail_without_an_answer_ends_in_time => "TailChoppingSpec: throw exception if no result will arrive within given time", Same;
    a_tail_moves_on_at_once_when_one_fails => "TailChoppingSpec: reply ASAP",
        Different("an ask that failed is no answer, so that the next is asked; Pekko's router would fail with it");
];

/// Has each key handled, one after the other; returns who did which, in the order of the keys.
async fn places(
    stage: &dyn Stage,
    router: &dyn Router,
    keys: std::ops::Range<u32>,
) -> Result<Vec<Handled>, Failure> {
    router.tell_keys(keys)?;
    let mut handled = stage.settled().await;
    handled.sort_by_key(|(_, key)| *key);
    Ok(handled)
}

async fn round_robin_skips_nobody_when_one_is_removed(driver: &dyn Driver) -> CaseResult {
    let stage = driver.open();
    let members = stage.members(&["a", "b", "c"]).await?;
    let router = stage.group(Spec::choosing(Choice::RoundRobin))?;
    router.tell_keys([0])?;
    stage.expect_names(&["a"]).await?;
    members[0].stop();
    settle().await;
    for expected in ["b", "c", "b"] {
        router.tell_keys([0])?;
        stage.expect_names(&[expected]).await?;
    }
    Ok(())
}

async fn round_robin_begins_anew_when_the_last_is_removed(driver: &dyn Driver) -> CaseResult {
    let stage = driver.open();
    let members = stage.members(&["a", "b"]).await?;
    let router = stage.group(Spec::choosing(Choice::RoundRobin))?;
    router.tell_keys([0])?;
    stage.expect_names(&["a"]).await?;
    members[1].stop();
    settle().await;
    router.tell_keys([0])?;
    stage.expect_names(&["a"]).await
}

async fn round_robin_moves_on_when_several_are_removed(driver: &dyn Driver) -> CaseResult {
    let stage = driver.open();
    let members = stage.members(&["a", "b", "c", "d"]).await?;
    let router = stage.group(Spec::choosing(Choice::RoundRobin))?;
    router.tell_keys(0..2)?;
    stage.names().await;
    // It is the turn of c, which goes, and a, which was before it.
    for gone in [0, 2] {
        members[gone].stop();
    }
    settle().await;
    for expected in ["d", "b"] {
        router.tell_keys([0])?;
        stage.expect_names(&[expected]).await?;
    }
    Ok(())
}

async fn round_robin_gives_a_newcomer_its_turn(driver: &dyn Driver) -> CaseResult {
    let stage = driver.open();
    let _members = stage.members(&["a", "b"]).await?;
    let router = stage.group(Spec::choosing(Choice::RoundRobin))?;
    router.tell_keys([0])?;
    stage.names().await;
    let _newcomer = stage.members(&["c"]).await?;
    let mut names = Vec::new();
    for _ in 0..3 {
        router.tell_keys([0])?;
        names.extend(stage.names().await);
    }
    names.sort_unstable();
    ensure_eq(
        "one round",
        &names,
        &["a", "b", "c"].map(String::from).to_vec(),
    )
}

fn count(handled: &[Handled]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for (name, _) in handled {
        *counts.entry(name.as_str()).or_default() += 1;
    }
    counts
}

async fn chance_treats_all_alike(driver: &dyn Driver) -> CaseResult {
    let stage = driver.open();
    let router = stage.pool(3, Spec::choosing(Choice::Random(SEED)))?;
    let handled = places(&*stage, &*router, 0..900).await?;
    let counts = count(&handled);
    let fair = |count: &usize| (200..400).contains(count);
    ensure(counts.len() == 3 && counts.values().all(fair), || {
        format!("{counts:?}")
    })
}

async fn chance_repeats_with_its_seed(driver: &dyn Driver) -> CaseResult {
    let mut runs = Vec::new();
    for seed in [SEED, SEED, SEED + 1] {
        let stage = driver.open();
        let router = stage.pool(3, Spec::choosing(Choice::Random(seed)))?;
        runs.push(places(&*stage, &*router, 0..50).await?);
    }
    ensure_eq("the same seed again", &runs[1], &runs[0])?;
    ensure(runs[2] != runs[0], || {
        "another seed gives the same".to_owned()
    })
}

async fn the_same_key_goes_to_the_same_routee(driver: &dyn Driver) -> CaseResult {
    let stage = driver.open();
    let router = stage.pool(5, Spec::choosing(Choice::ByKey))?;
    let first = places(&*stage, &*router, 0..50).await?;
    for _ in 0..3 {
        let again = places(&*stage, &*router, 0..50).await?;
        ensure_eq("places", &again, &first)?;
    }
    Ok(())
}

async fn the_hash_is_of_what_the_mapping_says(driver: &dyn Driver) -> CaseResult {
    let stage = driver.open();
    let router = stage.pool(5, Spec::choosing(Choice::ByKey))?;
    for key in 0..10 {
        for act in [
            Act::Answer,
            Act::Hold(Duration::ZERO),
            Act::NoAnswerFrom("none"),
        ] {
            router.tell(Job { key, act });
        }
        let names = stage.names().await;
        let same = names.len() == 3 && names.iter().all(|name| *name == names[0]);
        ensure(same, || format!("{key}: {names:?}"))?;
    }
    Ok(())
}

async fn only_the_keys_of_a_routee_that_leaves_move(driver: &dyn Driver) -> CaseResult {
    let stage = driver.open();
    let members = stage.members(&["a", "b", "c", "d", "e"]).await?;
    let router = stage.group(Spec::choosing(Choice::ByKey))?;
    let before = places(&*stage, &*router, 0..100).await?;
    for gone in [1, 3] {
        members[gone].stop();
    }
    settle().await;
    for (old, new) in before.iter().zip(places(&*stage, &*router, 0..100).await?) {
        let left = ["b", "d"].contains(&old.0.as_str());
        ensure(left || *old == new, || format!("{old:?} moved to {new:?}"))?;
    }
    Ok(())
}

async fn a_newcomer_takes_keys_only_for_itself(driver: &dyn Driver) -> CaseResult {
    let stage = driver.open();
    let _members = stage.members(&["a", "b", "c"]).await?;
    let router = stage.group(Spec::choosing(Choice::ByKey))?;
    let before = places(&*stage, &*router, 0..100).await?;
    let _newcomer = stage.members(&["d"]).await?;
    let after = places(&*stage, &*router, 0..100).await?;
    for (old, new) in before.iter().zip(&after) {
        ensure(new.0 == "d" || old == new, || {
            format!("{old:?} moved to {new:?}")
        })?;
    }
    ensure(before != after, || "the newcomer got nothing".to_owned())
}

async fn keys_are_shared_out_over_all_routees(driver: &dyn Driver) -> CaseResult {
    let stage = driver.open();
    let router = stage.pool(4, Spec::choosing(Choice::ByKey))?;
    let handled = places(&*stage, &*router, 0..800).await?;
    let counts = count(&handled);
    ensure(
        counts.len() == 4 && counts.values().all(|count| *count > 50),
        || format!("{counts:?}"),
    )
}

async fn an_idle_routee_goes_before_a_busy_one(driver: &dyn Driver) -> CaseResult {
    let stage = driver.open();
    let router = stage.pool(3, Spec::choosing(Choice::LeastLoaded))?;
    settle().await;
    router.tell(Job::to(Act::Hold(SECOND)));
    let busy = stage.names().await;
    for _ in 0..12 {
        router.tell_keys([0])?;
        let names = stage.names().await;
        ensure(names.len() == 1 && names != busy, || {
            format!("{names:?}, busy {busy:?}")
        })?;
    }
    Ok(())
}

async fn work_that_is_begun_counts_as_load(driver: &dyn Driver) -> CaseResult {
    let stage = driver.open();
    let router = stage.pool(2, Spec::choosing(Choice::LeastLoaded))?;
    settle().await;
    let long = router.ask(Job::to(Act::Hold(SECOND)), 2 * SECOND);
    let others = async {
        let busy = stage.names().await;
        for _ in 0..8 {
            router.tell_keys([0])?;
            let names = stage.names().await;
            ensure(names.len() == 1 && names != busy, || format!("{names:?}"))?;
        }
        Ok(())
    };
    let (answer, verdict) = tokio::join!(long, others);
    ensure(answer?.is_some(), || {
        "the long ask had no answer".to_owned()
    })?;
    verdict
}

async fn the_first_of_many_answers_counts(driver: &dyn Driver) -> CaseResult {
    let stage = driver.open();
    let router = stage.pool(3, Spec::default())?;
    settle().await;
    // The first routee is busy when all are asked.
    router.tell(Job::to(Act::Hold(9 * SECOND)));
    settle().await;
    let start = Instant::now();
    let answer = router.ask_first(Job::of(1), 20 * SECOND).await?;
    ensure(answer.as_deref().is_some_and(|name| name != "1"), || {
        format!("{answer:?}")
    })?;
    ensure(start.elapsed() < SECOND, || {
        format!("{:?}", start.elapsed())
    })
}

async fn a_routee_that_does_not_answer_does_not_keep_the_first_answer(
    driver: &dyn Driver,
) -> CaseResult {
    let stage = driver.open();
    let router = stage.pool(2, Spec::default())?;
    for silent in ["1", "2"] {
        let job = Job::to(Act::NoAnswerFrom(silent));
        let answer = router.ask_first(job, SECOND).await?;
        let expected = if silent == "1" { "2" } else { "1" };
        ensure_eq("answer", &answer.as_deref(), &Some(expected))?;
    }
    Ok(())
}

async fn an_ask_of_all_without_routees_ends_at_once(driver: &dyn Driver) -> CaseResult {
    let stage = driver.open();
    let router = stage.group(Spec::default())?;
    settle().await;
    let start = Instant::now();
    let answer = router.ask_first(Job::of(0), 9 * SECOND).await?;
    ensure_eq("answer", &answer, &None)?;
    ensure(start.elapsed() < SECOND, || {
        format!("{:?}", start.elapsed())
    })
}

/// Asks eight times a pool whose first routee is silent for nine seconds; returns how often that was waited out, with
/// how many routees were asked each time.
async fn chopped(
    stage: &dyn Stage,
    router: &dyn Router,
    act: Act,
) -> Result<Vec<(bool, usize)>, Failure> {
    let mut runs = Vec::new();
    for _ in 0..8 {
        let start = Instant::now();
        let asked = router.ask_tail_chopping(Job::to(act), SECOND, 9 * SECOND);
        let answer = asked.await?;
        ensure_eq("answer", &answer.as_deref(), &Some("2"))?;
        let waited = start.elapsed() >= SECOND;
        ensure(start.elapsed() < 2 * SECOND, || {
            format!("{:?}", start.elapsed())
        })?;
        runs.push((waited, stage.names().await.len()));
    }
    Ok(runs)
}

async fn the_second_is_asked_after_a_silence(driver: &dyn Driver) -> CaseResult {
    let stage = driver.open();
    let router = stage.pool(2, Spec::default())?;
    settle().await;
    // The first routee is silent for the whole case, without failing.
    router.tell(Job::to(Act::Hold(3600 * SECOND)));
    stage.names().await;
    let runs = chopped(&*stage, &*router, Act::Answer).await?;
    let waited = runs.iter().filter(|(waited, _)| *waited).count();
    ensure((1..8).contains(&waited), || {
        format!("chance began with the silent one {waited} times of 8")
    })
}

async fn no_second_is_asked_when_the_first_answers(driver: &dyn Driver) -> CaseResult {
    let stage = driver.open();
    let router = stage.pool(3, Spec::default())?;
    let start = Instant::now();
    let asked = router.ask_tail_chopping(Job::of(0), SECOND, 9 * SECOND);
    let answer = asked.await?;
    ensure(answer.is_some(), || "no answer".to_owned())?;
    ensure(start.elapsed() < SECOND, || {
        format!("{:?}", start.elapsed())
    })?;
    ensure_eq("asked", &stage.names().await.len(), &1)
}

async fn a_tail_without_an_answer_ends_in_time(driver: &dyn Driver) -> CaseResult {
    let stage = driver.open();
    let router = stage.pool(2, Spec::default())?;
    let start = Instant::now();
    let silent = Job::to(Act::Hold(3600 * SECOND));
    let answer = router.ask_tail_chopping(silent, SECOND, 5 * SECOND).await?;
    ensure_eq("answer", &answer, &None)?;
    ensure_eq("seconds", &start.elapsed().as_secs(), &5)
}

async fn a_tail_moves_on_at_once_when_one_fails(driver: &dyn Driver) -> CaseResult {
    let stage = driver.open();
    let router = stage.pool(2, Spec::default())?;
    let runs = chopped(&*stage, &*router, Act::NoAnswerFrom("1")).await?;
    ensure(runs.iter().all(|(waited, _)| !waited), || {
        format!("waited out a failure: {runs:?}")
    })?;
    ensure(runs.iter().any(|(_, asked)| *asked == 2), || {
        "chance never began with the one that fails".to_owned()
    })
}
