//! The contract of buses: a suite that runs against any implementation.
//!
//! Each case uses topics and names of its own below a prefix, so that it can run against a broker that others use too.

use std::{collections::BTreeMap, future::Future, time::Duration};

use crate::bus::{Deliveries, Delivery, EventBus, Message, Published, Subscription};

/// The time for an acknowledgement in the cases that let it pass.
const SOON: Duration = Duration::from_millis(1500);
/// The longest wait for a message that must come.
const PATIENCE: Duration = Duration::from_secs(20);
/// The wait after which a message that must not come is taken to be absent.
const ABSENT: Duration = Duration::from_millis(400);

/// What was not kept.
pub type Broken = String;

/// Runs all cases. `connect` returns a new connection to the same bus each time; for a bus inside the process, a new bus each time will do.
///
/// # Errors
/// Returns the case that failed and what it found.
pub async fn check<B, Made>(connect: &dyn Fn() -> Made, prefix: &str) -> Result<(), Broken>
where
    B: EventBus,
    Made: Future<Output = Result<B, Broken>>,
{
    let case = |name: &str| format!("{prefix}.{name}");
    let named = |name: &'static str| move |broken: Broken| format!("{name}: {broken}");
    stored_is_delivered(&connect().await?, &case("stored"))
        .await
        .map_err(named("stored_is_delivered"))?;
    an_id_is_stored_once(&connect().await?, &case("once"))
        .await
        .map_err(named("an_id_is_stored_once"))?;
    the_order_of_a_key_is_kept(&connect().await?, &case("order"))
        .await
        .map_err(named("the_order_of_a_key_is_kept"))?;
    unacknowledged_comes_again(&connect().await?, &case("again"))
        .await
        .map_err(named("unacknowledged_comes_again"))?;
    extended_does_not_come_again(&connect().await?, &case("extended"))
        .await
        .map_err(named("extended_does_not_come_again"))?;
    released_comes_again_soon(&connect().await?, &case("released"))
        .await
        .map_err(named("released_comes_again_soon"))?;
    names_share_and_others_do_not(&connect().await?, &case("names"))
        .await
        .map_err(named("names_share_and_others_do_not"))?;
    filters_hold(&connect().await?, &case("filters"))
        .await
        .map_err(named("filters_hold"))?;
    unacknowledged_is_bounded(&connect().await?, &case("bounded"))
        .await
        .map_err(named("unacknowledged_is_bounded"))
}

fn require(holds: bool, message: impl Into<String>) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(message.into()) }
}

fn text(error: impl std::fmt::Display) -> Broken {
    error.to_string()
}

/// Returns a name of a subscription for a case.
fn name(case: &str, number: u32) -> String {
    format!("{}-{number}", case.replace('.', "-"))
}

async fn publish(
    bus: &dyn EventBus,
    case: &str,
    number: u32,
    key: &str,
) -> Result<Published, Broken> {
    let message = Message::new(
        format!("{case}-{number}"),
        format!("{case}.{key}"),
        key,
        format!("{{\"number\":{number}}}"),
    );
    bus.publish(message).await.map_err(text)
}

async fn subscribe(
    bus: &dyn EventBus,
    case: &str,
    number: u32,
) -> Result<Box<dyn Deliveries>, Broken> {
    let mut subscription = Subscription::new(name(case, number), format!("{case}.>"));
    subscription.acknowledge_within = SOON;
    bus.subscribe(subscription).await.map_err(text)
}

/// Takes exactly `count` messages, and finds that there are no more.
async fn take(deliveries: &mut dyn Deliveries, count: usize) -> Result<Vec<Delivery>, Broken> {
    let mut taken = Vec::new();
    while taken.len() < count {
        let pulled = deliveries.pull(count - taken.len(), PATIENCE);
        let pulled = pulled.await.map_err(text)?;
        require(
            !pulled.is_empty(),
            format!("{} of {count} messages came", taken.len()),
        )?;
        taken.extend(pulled);
    }
    require(
        taken.len() == count,
        format!("{} instead of {count} messages came", taken.len()),
    )?;
    Ok(taken)
}

async fn none(deliveries: &mut dyn Deliveries) -> Result<(), Broken> {
    let pulled = deliveries.pull(10, ABSENT).await.map_err(text)?;
    require(pulled.is_empty(), format!("{pulled:?} came too"))
}

async fn stored_is_delivered(bus: &dyn EventBus, case: &str) -> Result<(), Broken> {
    let mut deliveries = subscribe(bus, case, 0).await?;
    none(&mut *deliveries).await?;
    let published = publish(bus, case, 1, "k").await?;
    require(published == Published::Stored, format!("{published:?}"))?;
    let taken = take(&mut *deliveries, 1).await?;
    let expected = Message::new(
        format!("{case}-1"),
        format!("{case}.k"),
        "k",
        "{\"number\":1}",
    );
    require(
        taken[0].message == expected && taken[0].attempt == 1,
        format!("{:?}", taken[0]),
    )?;
    taken[0].acknowledge().await.map_err(text)
}

async fn an_id_is_stored_once(bus: &dyn EventBus, case: &str) -> Result<(), Broken> {
    let mut deliveries = subscribe(bus, case, 0).await?;
    publish(bus, case, 1, "k").await?;
    for _ in 0..3 {
        let again = publish(bus, case, 1, "k").await?;
        require(again == Published::Duplicate, format!("{again:?}"))?;
    }
    for delivery in take(&mut *deliveries, 1).await? {
        delivery.acknowledge().await.map_err(text)?;
    }
    none(&mut *deliveries).await
}

async fn the_order_of_a_key_is_kept(bus: &dyn EventBus, case: &str) -> Result<(), Broken> {
    let mut deliveries = subscribe(bus, case, 0).await?;
    for number in 0..60 {
        let key = ["a", "b", "c"][number as usize % 3];
        publish(bus, case, number, key).await?;
    }
    let mut last: BTreeMap<String, u32> = BTreeMap::new();
    for delivery in take(&mut *deliveries, 60).await? {
        let number = delivery.message.id.rsplit('-').next();
        let number: u32 = number.unwrap_or_default().parse().map_err(text)?;
        let before = last.insert(delivery.message.key.clone(), number);
        require(
            before.is_none_or(|before| before < number),
            format!("{number} came after {before:?}"),
        )?;
        delivery.acknowledge().await.map_err(text)?;
    }
    Ok(())
}

async fn unacknowledged_comes_again(bus: &dyn EventBus, case: &str) -> Result<(), Broken> {
    let mut deliveries = subscribe(bus, case, 0).await?;
    for number in 0..2 {
        publish(bus, case, number, "k").await?;
    }
    let first = take(&mut *deliveries, 2).await?;
    first[1].acknowledge().await.map_err(text)?;
    drop(first);
    let again = take(&mut *deliveries, 1).await?;
    require(
        again[0].message.id == format!("{case}-0") && again[0].attempt == 2,
        format!("{:?}", again[0]),
    )?;
    again[0].acknowledge().await.map_err(text)?;
    tokio::time::sleep(SOON).await;
    none(&mut *deliveries).await
}

async fn extended_does_not_come_again(bus: &dyn EventBus, case: &str) -> Result<(), Broken> {
    let mut deliveries = subscribe(bus, case, 0).await?;
    publish(bus, case, 1, "k").await?;
    let taken = take(&mut *deliveries, 1).await?;
    for _ in 0..5 {
        tokio::time::sleep(SOON / 3).await;
        taken[0].extend().await.map_err(text)?;
    }
    none(&mut *deliveries).await?;
    taken[0].acknowledge().await.map_err(text)
}

async fn released_comes_again_soon(bus: &dyn EventBus, case: &str) -> Result<(), Broken> {
    let mut subscription = Subscription::new(name(case, 0), format!("{case}.>"));
    subscription.acknowledge_within = PATIENCE * 10;
    let mut deliveries = bus.subscribe(subscription).await.map_err(text)?;
    publish(bus, case, 1, "k").await?;
    let taken = take(&mut *deliveries, 1).await?;
    taken[0].release(ABSENT * 2).await.map_err(text)?;
    none(&mut *deliveries).await?;
    let again = take(&mut *deliveries, 1).await?;
    require(again[0].attempt == 2, format!("{:?}", again[0]))?;
    again[0].acknowledge().await.map_err(text)
}

async fn names_share_and_others_do_not(bus: &dyn EventBus, case: &str) -> Result<(), Broken> {
    let mut one = subscribe(bus, case, 0).await?;
    let mut same = subscribe(bus, case, 0).await?;
    let mut other = subscribe(bus, case, 1).await?;
    for number in 0..10 {
        publish(bus, case, number, "k").await?;
    }
    let mut shared = take(&mut *one, 5).await?;
    shared.extend(take(&mut *same, 5).await?);
    let mut ids: Vec<_> = shared.iter().map(|one| one.message.id.clone()).collect();
    ids.sort();
    ids.dedup();
    require(ids.len() == 10, format!("{ids:?}"))?;
    shared.extend(take(&mut *other, 10).await?);
    for delivery in shared {
        delivery.acknowledge().await.map_err(text)?;
    }
    drop(one);
    // The name remembers what was acknowledged.
    let mut later = subscribe(bus, case, 0).await?;
    none(&mut *later).await
}

async fn filters_hold(bus: &dyn EventBus, case: &str) -> Result<(), Broken> {
    let subscription = Subscription::new(name(case, 0), format!("{case}.*.x"));
    let mut deliveries = bus.subscribe(subscription).await.map_err(text)?;
    for (number, key) in [(0, "a.x"), (1, "a.y"), (2, "b.x"), (3, "x"), (4, "a.b.x")] {
        publish(bus, case, number, key).await?;
    }
    let taken = take(&mut *deliveries, 2).await?;
    let mut keys: Vec<_> = taken.iter().map(|one| one.message.key.clone()).collect();
    keys.sort();
    require(keys == ["a.x", "b.x"], format!("{keys:?}"))?;
    for delivery in taken {
        delivery.acknowledge().await.map_err(text)?;
    }
    none(&mut *deliveries).await
}

async fn unacknowledged_is_bounded(bus: &dyn EventBus, case: &str) -> Result<(), Broken> {
    let mut subscription = Subscription::new(name(case, 0), format!("{case}.>"));
    subscription.unacknowledged_max = 3;
    let mut deliveries = bus.subscribe(subscription).await.map_err(text)?;
    for number in 0..5 {
        publish(bus, case, number, "k").await?;
    }
    let mut taken = take(&mut *deliveries, 3).await?;
    none(&mut *deliveries).await?;
    let first = taken.remove(0);
    first.acknowledge().await.map_err(text)?;
    taken.extend(take(&mut *deliveries, 1).await?);
    for delivery in taken {
        delivery.acknowledge().await.map_err(text)?;
    }
    for delivery in take(&mut *deliveries, 1).await? {
        delivery.acknowledge().await.map_err(text)?;
    }
    Ok(())
}
