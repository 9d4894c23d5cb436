//! Finding actors by a key.

use super::prelude::*;

pub(super) const CASES: &[Case<dyn Driver>] = cases![dyn Driver, L1;
    a_registered_actor_is_found => "LocalReceptionistSpec: register a service", Same;
    a_key_that_nobody_serves_lists_nobody => "LocalReceptionistSpec: register a service", Same;
    two_actors_may_serve_one_key => "LocalReceptionistSpec: register two services with the same key", Same;
    one_actor_may_serve_two_keys => "LocalReceptionistSpec: register two services", Same;
    an_actor_that_registers_twice_is_listed_once => "LocalReceptionistSpec: register a service", Same;
    an_actor_that_stopped_is_not_listed => "LocalReceptionistSpec: unregister services when they terminate", Same;
    an_actor_that_failed_for_good_is_not_listed => "LocalReceptionistSpec: unregister services when they terminate", Trap("T9");
    an_actor_that_restarted_is_still_listed_and_serves => "LocalReceptionistSpec: unregister services when they terminate", Trap("T9");
    a_successor_of_a_failed_service_is_listed_in_its_place => "LocalReceptionistSpec: unregister services when they terminate", Trap("T9");
    a_deregistered_actor_is_not_listed => "LocalReceptionistSpec: unregister programmatically", Same;
    deregistering_one_key_leaves_the_other => "LocalReceptionistSpec: unregister per service key, not service actor", Same;
    a_deregistered_actor_may_register_again => "LocalReceptionistSpec: unregister and re-register same service actor", Same;
    a_subscriber_hears_the_listing_at_once => "LocalReceptionistSpec: support subscribing to service changes", Same;
    a_subscriber_hears_of_a_registration => "LocalReceptionistSpec: support subscribing to service changes", Same;
    a_subscriber_hears_of_a_deregistration => "LocalReceptionistSpec: support subscribing to service changes", Same;
    a_subscriber_hears_of_a_stop => "LocalReceptionistSpec: support subscribing to service changes", Same;
    a_subscriber_of_one_key_hears_nothing_of_another => "LocalReceptionistSpec: support subscribing to different services with the same subscriber", Same;
    a_stopped_actor_that_registers_is_not_listed => "LocalReceptionistSpec: unregister services when they terminate", Same;
];

/// Expects that so many are listed, and that a message told to the listed comes to these.
async fn expect_listed(world: &World, key: &'static str, expected: &[&str]) -> CaseResult {
    world.settle().await?;
    world.forget();
    let told = world.backend.tell_listed(key, Note("found").into())?;
    ensure_eq("listed", &told, &expected.len())?;
    world.settle().await?;
    let mut found = world.notes();
    found.sort();
    let expected: Vec<_> = expected
        .iter()
        .map(|name| format!("{name} found"))
        .collect();
    ensure_eq("found", &found, &expected)
}

async fn a_registered_actor_is_found(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    world.backend.register("key", &a)?;
    expect_listed(&world, "key", &["a"]).await
}

async fn a_key_that_nobody_serves_lists_nobody(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    world.backend.register("other key", &a)?;
    expect_listed(&world, "key", &[]).await
}

async fn two_actors_may_serve_one_key(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    let b = world.spawn(plain("b")).await?;
    world.backend.register("key", &a)?;
    world.backend.register("key", &b)?;
    expect_listed(&world, "key", &["a", "b"]).await
}

async fn one_actor_may_serve_two_keys(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    world.backend.register("1", &a)?;
    world.backend.register("2", &a)?;
    expect_listed(&world, "1", &["a"]).await?;
    expect_listed(&world, "2", &["a"]).await
}

async fn an_actor_that_registers_twice_is_listed_once(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    world.backend.register("key", &a)?;
    world.backend.register("key", &a)?;
    expect_listed(&world, "key", &["a"]).await
}

async fn an_actor_that_stopped_is_not_listed(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    world.backend.register("key", &a)?;
    a.tell(Stop)?;
    expect_listed(&world, "key", &[]).await
}

async fn an_actor_that_failed_for_good_is_not_listed(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    world.backend.register("key", &a)?;
    a.tell(Panic("on purpose"))?;
    expect_listed(&world, "key", &[]).await
}

async fn an_actor_that_restarted_is_still_listed_and_serves(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(restarted("a")).await?;
    world.backend.register("key", &a)?;
    a.tell(Panic("on purpose"))?;
    expect_listed(&world, "key", &["a"]).await
}

async fn a_successor_of_a_failed_service_is_listed_in_its_place(driver: &dyn Driver) -> CaseResult {
    let (world, old) = driver.with(plain("old")).await?;
    world.backend.register("key", &old)?;
    old.tell(Panic("on purpose"))?;
    world.settle().await?;
    let new = world.spawn(plain("new")).await?;
    world.backend.register("key", &new)?;
    expect_listed(&world, "key", &["new"]).await
}

async fn a_deregistered_actor_is_not_listed(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    world.backend.register("key", &a)?;
    world.backend.deregister("key", &a)?;
    expect_listed(&world, "key", &[]).await
}

async fn deregistering_one_key_leaves_the_other(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    world.backend.register("1", &a)?;
    world.backend.register("2", &a)?;
    world.backend.deregister("1", &a)?;
    expect_listed(&world, "1", &[]).await?;
    expect_listed(&world, "2", &["a"]).await
}

async fn a_deregistered_actor_may_register_again(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    world.backend.register("key", &a)?;
    world.backend.deregister("key", &a)?;
    world.backend.register("key", &a)?;
    expect_listed(&world, "key", &["a"]).await
}

/// A subscriber to `key`, and a service that is registered nowhere yet.
async fn subscribed(driver: &dyn Driver) -> Result<(World, Puppet), Failure> {
    let (world, subscriber) = driver.with(plain("s")).await?;
    let service = world.spawn(plain("service")).await?;
    world.backend.subscribe_listing("key", &subscriber)?;
    world.settle().await?;
    Ok((world, service))
}

async fn a_subscriber_hears_the_listing_at_once(driver: &dyn Driver) -> CaseResult {
    let (world, subscriber) = driver.with(plain("s")).await?;
    let service = world.spawn(plain("service")).await?;
    world.backend.register("key", &service)?;
    world.backend.subscribe_listing("key", &subscriber)?;
    world.expect_notes(&["s lists 1"]).await
}

async fn a_subscriber_hears_of_a_registration(driver: &dyn Driver) -> CaseResult {
    let (world, service) = subscribed(driver).await?;
    world.backend.register("key", &service)?;
    world.expect_notes(&["s lists 0", "s lists 1"]).await
}

async fn a_subscriber_hears_of_a_deregistration(driver: &dyn Driver) -> CaseResult {
    let (world, service) = subscribed(driver).await?;
    world.backend.register("key", &service)?;
    world.backend.deregister("key", &service)?;
    world
        .expect_notes(&["s lists 0", "s lists 1", "s lists 0"])
        .await
}

async fn a_subscriber_hears_of_a_stop(driver: &dyn Driver) -> CaseResult {
    let (world, service) = subscribed(driver).await?;
    world.backend.register("key", &service)?;
    service.tell(Stop)?;
    world
        .expect_notes(&["s lists 0", "s lists 1", "s lists 0"])
        .await
}

async fn a_subscriber_of_one_key_hears_nothing_of_another(driver: &dyn Driver) -> CaseResult {
    let (world, service) = subscribed(driver).await?;
    world.backend.register("other key", &service)?;
    world.expect_notes(&["s lists 0"]).await
}

async fn a_stopped_actor_that_registers_is_not_listed(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    a.tell(Stop)?;
    world.settle().await?;
    world.backend.register("key", &a)?;
    expect_listed(&world, "key", &[]).await
}
