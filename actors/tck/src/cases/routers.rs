//! Pools and groups: who is a routee, and what becomes of a message.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    case::{
        Case, CaseResult,
        Stance::{Different, Same, Trap},
        ensure, ensure_eq,
    },
    cases,
    driver::routers::{Act, Choice, Claim, Driver, Job, Spec, settle},
};

const SECOND: Duration = Duration::from_secs(1);

pub(super) const CASES: &[Case<dyn Driver>] = cases![dyn Driver, L3;
    a_pool_makes_its_routees_and_each_message_goes_to_one => "RoutersSpec: create n children and route messages to", Same;
    a_pool_gives_each_routee_its_turn_by_default => "RoundRobinSpec: deliver messages in a round robin fashion", Same;
    a_pool_told_to_take_turns_gives_each_routee_its_turn => "RoundRobinSpec: deliver messages in a round robin fashion", Same;
    a_pool_goes_on_with_the_rest_when_some_routees_stop => "RoutersSpec: keep routing to the rest of the children if some children stops", Same;
    a_pool_stops_with_its_last_routee => "RoutersSpec: stops if all children stops", Same;
    a_routee_that_is_restarted_stays_in_the_pool => "RoutersSpec: keep routing to the rest of the children if some children stops", Same;
    a_routee_that_panics_unsupervised_leaves_the_pool => "RoutersSpec: keep routing to the rest of the children if some children stops", Same;
    a_pool_that_is_stopped_stops_its_routees => "RoundRobinSpec: be able to shut down its instance", Same;
    what_is_told_right_after_the_spawn_is_not_lost => "RoutersSpec: create n children and route messages to", Same;
    a_message_that_matches_goes_to_all_and_any_other_to_one => "RoutersSpec: support broadcast", Same;
    a_broadcast_reaches_every_routee => "BroadcastSpec: broadcast message using !", Same;
    a_broadcast_ask_has_the_first_answer => "BroadcastSpec: broadcast message using ?", Same;
    a_message_to_a_stopped_router_is_not_taken_and_a_dead_letter => "RoundRobinSpec: be able to shut down its instance",
        Different("a tell says at once that the router has stopped");
    the_bounds_of_the_routees_are_the_bound_of_the_router => "RoutersSpec: create n children and route messages to",
        Different("a router has no mailbox of its own, so that the sender hears at once what its routee refuses");
    a_router_adds_no_room_however_many_send_through_it => "RoutersSpec: create n children and route messages to", Trap("T4");
    messages_go_to_those_that_are_registered => "RoutersSpec: route messages across routees registered to the receptionist", Same;
    without_routees_a_message_is_dropped_and_counted => "RoutersSpec: publish Dropped messages when there are no routees available", Same;
    a_group_lives_without_routees_and_finds_the_next => "RoutersSpec: publish Dropped messages when there are no routees available", Same;
    a_group_follows_a_changing_set_of_routees => "RoutersSpec: handle a changing set of routees", Same;
    a_member_that_leaves_the_register_gets_nothing_more => "RoutersSpec: handle a changing set of routees", Same;
    what_is_told_before_the_first_listing_is_not_lost => "RoutersSpec: route messages across routees registered to the receptionist", Same;
    a_group_that_is_stopped_leaves_its_members_alive => "RoutersSpec: route messages across routees registered to the receptionist", Same;
];

async fn a_pool_makes_its_routees_and_each_message_goes_to_one(driver: &dyn Driver) -> CaseResult {
    let stage = driver.open();
    let router = stage.pool(4, Spec::default())?;
    router.tell_keys(0..8)?;
    let handled = stage.settled().await;
    let mut keys: Vec<_> = handled.iter().map(|(_, key)| *key).collect();
    keys.sort_unstable();
    ensure_eq("keys", &keys, &(0..8).collect())?;
    let routees: BTreeSet<_> = handled.iter().map(|(name, _)| name.as_str()).collect();
    ensure_eq("routees", &routees, &BTreeSet::from(["1", "2", "3", "4"]))
}

async fn a_pool_gives_each_routee_its_turn_by_default(driver: &dyn Driver) -> CaseResult {
    driver.needs(Claim::TurnsByDefault)?;
    expect_turns(driver, Spec::default()).await
}

async fn a_pool_told_to_take_turns_gives_each_routee_its_turn(driver: &dyn Driver) -> CaseResult {
    expect_turns(driver, Spec::choosing(Choice::RoundRobin)).await
}

/// Expects each of three routees to have its turn, in an order that is the library's own and stays the same.
async fn expect_turns(driver: &dyn Driver, spec: Spec) -> CaseResult {
    let stage = driver.open();
    let router = stage.pool(3, spec)?;
    settle().await;
    let mut turns = Vec::new();
    for _ in 0..8 {
        router.tell_keys([0])?;
        turns.extend(stage.names().await);
    }
    ensure_eq("times handled", &turns.len(), &8)?;
    let first_round: BTreeSet<_> = turns.iter().take(3).collect();
    ensure_eq("routees in a round", &first_round.len(), &3)?;
    let again: Vec<_> = (0..8).map(|turn| turns[turn % 3].clone()).collect();
    ensure_eq("turns", &turns, &again)
}

async fn a_pool_goes_on_with_the_rest_when_some_routees_stop(driver: &dyn Driver) -> CaseResult {
    driver.needs(Claim::RouteesLeave)?;
    let stage = driver.open();
    let router = stage.pool(4, Spec::default())?;
    for _ in 0..2 {
        router.tell(Job::to(Act::Stop));
    }
    stage.expect_names(&["1", "2"]).await?;
    router.tell_keys(0..4)?;
    let names: BTreeSet<_> = stage.names().await.into_iter().collect();
    ensure_eq(
        "routees",
        &names,
        &BTreeSet::from(["3", "4"].map(String::from)),
    )?;
    ensure_eq("the router lives", &router.is_alive(), &true)
}

async fn a_pool_stops_with_its_last_routee(driver: &dyn Driver) -> CaseResult {
    driver.needs(Claim::RouteesLeave)?;
    let stage = driver.open();
    let router = stage.pool(2, Spec::default())?;
    router.tell(Job::to(Act::Stop));
    settle().await;
    ensure_eq("lives with one", &router.is_alive(), &true)?;
    router.tell(Job::to(Act::Stop));
    settle().await;
    ensure_eq("lives with none", &router.is_alive(), &false)
}

async fn a_routee_that_is_restarted_stays_in_the_pool(driver: &dyn Driver) -> CaseResult {
    let stage = driver.open();
    let restarted = Spec {
        restarted: true,
        ..Spec::default()
    };
    let router = stage.pool(2, restarted)?;
    router.tell(Job::to(Act::Panic));
    ensure_eq("panicked", &stage.names().await.len(), &1)?;
    // Both have work at once, so that neither way of choosing leaves one out.
    for _ in 0..2 {
        router.tell(Job::to(Act::Hold(SECOND)));
    }
    let mut names = stage.names().await;
    names.sort_unstable();
    ensure_eq("routees", &names, &["1", "2"].map(String::from).to_vec())
}

async fn a_routee_that_panics_unsupervised_leaves_the_pool(driver: &dyn Driver) -> CaseResult {
    driver.needs(Claim::RouteesLeave)?;
    let stage = driver.open();
    let router = stage.pool(2, Spec::default())?;
    router.tell(Job::to(Act::Panic));
    stage.expect_names(&["1"]).await?;
    for _ in 0..3 {
        router.tell_keys([0])?;
        stage.expect_names(&["2"]).await?;
    }
    Ok(())
}

async fn a_pool_that_is_stopped_stops_its_routees(driver: &dyn Driver) -> CaseResult {
    let stage = driver.open();
    let router = stage.pool(5, Spec::default())?;
    settle().await;
    ensure_eq("living", &stage.living()?, &5)?;
    router.stop();
    settle().await;
    ensure_eq("living", &stage.living()?, &0)?;
    ensure_eq("the router lives", &router.is_alive(), &false)
}

async fn what_is_told_right_after_the_spawn_is_not_lost(driver: &dyn Driver) -> CaseResult {
    let stage = driver.open();
    let router = stage.pool(1, Spec::default())?;
    router.tell_keys(0..100)?;
    let handled = stage.settled().await;
    let keys: Vec<_> = handled.into_iter().map(|(_, key)| key).collect();
    ensure_eq("keys", &keys, &(0..100).collect())
}

async fn a_message_that_matches_goes_to_all_and_any_other_to_one(
    driver: &dyn Driver,
) -> CaseResult {
    let stage = driver.open();
    let spec = Spec {
        broadcast_from: Some(10),
        ..Spec::default()
    };
    let router = stage.pool(3, spec)?;
    for (key, expected) in [(10, 3), (9, 1), (11, 3)] {
        router.tell_keys([key])?;
        let handled = stage.settled().await;
        let routees: BTreeSet<_> = handled.iter().map(|(name, _)| name).collect();
        ensure_eq("times handled", &handled.len(), &expected)?;
        ensure_eq("routees", &routees.len(), &expected)?;
    }
    Ok(())
}

async fn a_broadcast_reaches_every_routee(driver: &dyn Driver) -> CaseResult {
    let stage = driver.open();
    let router = stage.pool(3, Spec::default())?;
    settle().await;
    router.broadcast(Job::of(7))?;
    let mut names = stage.names().await;
    names.sort_unstable();
    ensure_eq(
        "routees",
        &names,
        &["1", "2", "3"].map(String::from).to_vec(),
    )
}

async fn a_broadcast_ask_has_the_first_answer(driver: &dyn Driver) -> CaseResult {
    let stage = driver.open();
    let spec = Spec {
        broadcast_from: Some(0),
        ..Spec::default()
    };
    let router = stage.pool(2, spec)?;
    let answer = router.ask(Job::to(Act::NoAnswerFrom("1")), SECOND).await?;
    ensure_eq("answer", &answer.as_deref(), &Some("2"))?;
    ensure_eq("asked", &stage.names().await.len(), &2)
}

async fn a_message_to_a_stopped_router_is_not_taken_and_a_dead_letter(
    driver: &dyn Driver,
) -> CaseResult {
    let stage = driver.open();
    let router = stage.pool(1, Spec::default())?;
    router.stop();
    settle().await;
    let before = stage.dead_letters()?;
    ensure_eq("taken", &router.tell(Job::of(0)), &false)?;
    ensure_eq("dead letters", &(stage.dead_letters()? - before), &1)
}

async fn the_bounds_of_the_routees_are_the_bound_of_the_router(driver: &dyn Driver) -> CaseResult {
    driver.needs(Claim::AddsNoRoom)?;
    let stage = driver.open();
    let spec = Spec {
        mailbox: 2,
        ..Spec::default()
    };
    let router = stage.pool(3, spec)?;
    settle().await;
    for _ in 0..3 {
        router.tell(Job::to(Act::Hold(SECOND)));
    }
    ensure_eq("at work", &stage.names().await.len(), &3)?;
    let mut taken = Vec::new();
    for key in 0..8 {
        taken.push(router.offer(Job::of(key)).await);
    }
    let expected = [true, true, true, true, true, true, false, false];
    ensure_eq("taken", &taken, &expected.to_vec())?;
    tokio::time::sleep(SECOND).await;
    ensure_eq("handled", &stage.settled().await.len(), &6)
}

async fn a_router_adds_no_room_however_many_send_through_it(driver: &dyn Driver) -> CaseResult {
    driver.needs(Claim::AddsNoRoom)?;
    let stage = driver.open();
    let spec = Spec {
        mailbox: 4,
        ..Spec::default()
    };
    let router = stage.pool(1, spec)?;
    settle().await;
    router.tell(Job::to(Act::Hold(SECOND)));
    settle().await;
    let mut taken = 0;
    for key in 0..500 {
        taken += usize::from(router.offer(Job::of(key)).await);
    }
    ensure_eq("taken", &taken, &4)
}

async fn messages_go_to_those_that_are_registered(driver: &dyn Driver) -> CaseResult {
    let stage = driver.open();
    let _members = stage.members(&["a", "b"]).await?;
    let router = stage.group(Spec::default())?;
    router.tell_keys(0..40)?;
    let handled = stage.settled().await;
    ensure_eq("times handled", &handled.len(), &40)?;
    let names: BTreeSet<_> = handled.iter().map(|(name, _)| name.as_str()).collect();
    ensure_eq("routees", &names, &BTreeSet::from(["a", "b"]))
}

async fn without_routees_a_message_is_dropped_and_counted(driver: &dyn Driver) -> CaseResult {
    let stage = driver.open();
    let router = stage.group(Spec::default())?;
    settle().await;
    router.tell(Job::of(0));
    settle().await;
    ensure_eq("dead letters", &stage.dead_letters()?, &1)?;
    let answer = router.ask(Job::of(1), SECOND).await?;
    ensure_eq("answer", &answer, &None)
}

async fn a_group_lives_without_routees_and_finds_the_next(driver: &dyn Driver) -> CaseResult {
    let stage = driver.open();
    let router = stage.group(Spec::default())?;
    let first = stage.members(&["a"]).await?;
    first[0].stop();
    settle().await;
    ensure_eq("the router lives", &router.is_alive(), &true)?;
    let _second = stage.members(&["b"]).await?;
    router.tell_keys([0])?;
    stage.expect_names(&["b"]).await
}

async fn a_group_follows_a_changing_set_of_routees(driver: &dyn Driver) -> CaseResult {
    let stage = driver.open();
    let first = stage.members(&["a"]).await?;
    let router = stage.group(Spec::choosing(Choice::RoundRobin))?;
    router.tell_keys(0..2)?;
    stage.expect_names(&["a", "a"]).await?;
    let second = stage.members(&["b"]).await?;
    router.tell_keys(0..4)?;
    let names = stage.names().await;
    let of_b = names.iter().filter(|name| *name == "b").count();
    ensure_eq("of the newcomer", &of_b, &2)?;
    first[0].stop();
    settle().await;
    router.tell_keys(0..2)?;
    stage.expect_names(&["b", "b"]).await?;
    second[0].stop();
    settle().await;
    router.tell(Job::of(0));
    ensure(stage.names().await.is_empty(), || {
        "a dead routee worked".to_owned()
    })
}

async fn a_member_that_leaves_the_register_gets_nothing_more(driver: &dyn Driver) -> CaseResult {
    let stage = driver.open();
    let members = stage.members(&["a", "b"]).await?;
    let router = stage.group(Spec::default())?;
    settle().await;
    members[0].leave();
    settle().await;
    router.tell_keys(0..20)?;
    let names = stage.names().await;
    ensure_eq("times handled", &names.len(), &20)?;
    ensure(names.iter().all(|name| name == "b"), || {
        format!("{names:?}")
    })
}

async fn what_is_told_before_the_first_listing_is_not_lost(driver: &dyn Driver) -> CaseResult {
    let stage = driver.open();
    let _members = stage.members(&["a"]).await?;
    let router = stage.group(Spec::default())?;
    router.tell_keys(0..50)?;
    let handled = stage.settled().await;
    let keys: Vec<_> = handled.into_iter().map(|(_, key)| key).collect();
    ensure_eq("keys", &keys, &(0..50).collect())
}

async fn a_group_that_is_stopped_leaves_its_members_alive(driver: &dyn Driver) -> CaseResult {
    let stage = driver.open();
    let _members = stage.members(&["a", "b"]).await?;
    let router = stage.group(Spec::default())?;
    settle().await;
    router.stop();
    settle().await;
    ensure_eq("the router lives", &router.is_alive(), &false)?;
    ensure_eq("living", &stage.living()?, &2)
}
