//! The contract of stores of leases: a suite that runs against any implementation.
//!
//! The stores given are two connections to one store, whose leases live for [`TTL`]. Each case uses a lane of its own below a prefix.

use std::time::Duration;

use kebne_control::{Renewal, Wake};

use crate::lease::{CapacityLease, LaneKey, Renewed, WakeLease as _};

/// The time to live of the leases of the stores that are checked.
pub const TTL: Duration = Duration::from_millis(600);
/// The time between two rounds of renewals.
const ROUND: Duration = Duration::from_millis(60);
/// The limit of the lanes.
const LEVEL: u32 = 24;

/// What was not kept.
pub type Broken = String;

/// The gateways of a case, which renew in turn.
struct Fleet<'a> {
    stores: &'a [&'a dyn CapacityLease],
    lane: LaneKey,
    gateways: Vec<Gateway>,
}

/// One gateway and what it holds.
struct Gateway {
    name: String,
    queued: u32,
    last: Renewed,
    silent: bool,
}

impl<'a> Fleet<'a> {
    fn new(stores: &'a [&'a dyn CapacityLease], lane: &str, count: usize) -> Self {
        let gateways = (0..count).map(|index| Gateway {
            name: format!("gateway-{index}"),
            queued: 50,
            last: Renewed::default(),
            silent: false,
        });
        Self {
            stores,
            lane: LaneKey::new(lane),
            gateways: gateways.collect(),
        }
    }

    /// Renews the leases of all gateways that are not silent, once.
    async fn round(&mut self) -> Result<(), Broken> {
        let stores = self.stores.iter().cycle();
        for (gateway, store) in self.gateways.iter_mut().zip(stores) {
            if gateway.silent {
                continue;
            }
            let last = gateway.last.lease;
            let renewal = Renewal {
                in_flight: last.share,
                queued: gateway.queued,
                holds: last.share.max(2),
                level: last.level.unwrap_or(f64::from(LEVEL)),
                cuts: last.cuts,
                lead: last.lead,
                serves: true,
                ..Renewal::default()
            };
            let renewed = store.renew(&self.lane, &gateway.name, &renewal).await;
            gateway.last = renewed.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    async fn rounds(&mut self, lasts: Duration) -> Result<(), Broken> {
        let rounds = lasts.as_millis() / ROUND.as_millis();
        for _ in 0..=rounds {
            self.round().await?;
            let live: u32 = self.shares().iter().sum();
            require(live <= LEVEL, || format!("shares of {live} calls"))?;
            tokio::time::sleep(ROUND).await;
        }
        Ok(())
    }

    fn shares(&self) -> Vec<u32> {
        let live = self.gateways.iter().filter(|gateway| !gateway.silent);
        live.map(|gateway| gateway.last.lease.share).collect()
    }
}

/// Runs all cases.
///
/// # Errors
/// Returns the case that failed and what it found.
pub async fn check(stores: &[&dyn CapacityLease], prefix: &str) -> Result<(), Broken> {
    let named = |name: &'static str| move |broken: Broken| format!("{name}: {broken}");
    let lane = |name: &str| format!("{prefix}-{name}");
    shares_are_equal_and_return(stores, lane("equal"))
        .await
        .map_err(named("shares_are_equal_and_return"))?;
    shares_follow_demand(stores, lane("demand"))
        .await
        .map_err(named("shares_follow_demand"))?;
    one_leads_and_a_late_level_is_ignored(stores, lane("leads"))
        .await
        .map_err(named("one_leads_and_a_late_level_is_ignored"))?;
    one_wakes_and_its_turn_passes_on(stores, lane("wakes"))
        .await
        .map_err(named("one_wakes_and_its_turn_passes_on"))?;
    what_was_learned_is_shared(stores, lane("learned"))
        .await
        .map_err(named("what_was_learned_is_shared"))?;
    renewals_at_once_are_all_counted(stores, lane("at-once"))
        .await
        .map_err(named("renewals_at_once_are_all_counted"))
}

fn require(holds: bool, message: impl FnOnce() -> String) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(message()) }
}

/// Gateways with the same demand get the same; one that is silent or leaves gives its share back.
async fn shares_are_equal_and_return(
    stores: &[&dyn CapacityLease],
    lane: String,
) -> Result<(), Broken> {
    let mut fleet = Fleet::new(stores, &lane, 3);
    fleet.rounds(3 * TTL).await?;
    require(fleet.shares() == [8, 8, 8], || {
        format!("{:?}", fleet.shares())
    })?;
    if let Some(last) = fleet.gateways.last_mut() {
        last.silent = true;
    }
    fleet.rounds(2 * TTL).await?;
    require(fleet.shares() == [12, 12], || {
        format!("after the silence of one: {:?}", fleet.shares())
    })?;
    let left = fleet.gateways.remove(0);
    let store = stores.first().ok_or("no store")?;
    let gone = store.leave(&fleet.lane, &left.name).await;
    gone.map_err(|error| error.to_string())?;
    fleet.round().await?;
    require(fleet.shares() == [24], || {
        format!("after one has left: {:?}", fleet.shares())
    })
}

/// A gateway gets what others cannot use, and gives it back when they can.
async fn shares_follow_demand(stores: &[&dyn CapacityLease], lane: String) -> Result<(), Broken> {
    let mut fleet = Fleet::new(stores, &lane, 2);
    fleet.rounds(2 * TTL).await?;
    let (name, store) = ("gateway-0", stores.first().ok_or("no store")?);
    for _ in 0..3 {
        let few = Renewal {
            in_flight: 2,
            holds: 12,
            level: f64::from(LEVEL),
            serves: true,
            ..Renewal::default()
        };
        let renewed = store.renew(&fleet.lane, name, &few).await;
        let renewed = renewed.map_err(|error| error.to_string())?;
        if let Some(gateway) = fleet.gateways.first_mut() {
            gateway.last = renewed;
            gateway.silent = true;
        }
        fleet.round().await?;
    }
    require(fleet.shares() == [22], || format!("{:?}", fleet.shares()))?;
    if let Some(gateway) = fleet.gateways.first_mut() {
        gateway.silent = false;
    }
    fleet.rounds(TTL).await?;
    require(fleet.shares() == [12, 12], || {
        format!("{:?}", fleet.shares())
    })
}

/// One gateway at a time moves the level; the report of an earlier leader is ignored.
async fn one_leads_and_a_late_level_is_ignored(
    stores: &[&dyn CapacityLease],
    lane: String,
) -> Result<(), Broken> {
    let mut fleet = Fleet::new(stores, &lane, 2);
    fleet.rounds(2 * TTL).await?;
    let leads: Vec<_> = fleet.gateways.iter().map(|g| g.last.lease.lead).collect();
    let [Some(fence), None] = leads[..] else {
        return Err(format!("{leads:?}"));
    };
    if let Some(first) = fleet.gateways.first_mut() {
        first.silent = true;
    }
    fleet.rounds(2 * TTL).await?;
    let next = fleet.gateways.last().and_then(|g| g.last.lease.lead);
    require(next.is_some_and(|next| next > fence), || {
        format!("after {fence} leads {next:?}")
    })?;
    let late = Renewal {
        level: 90.0,
        lead: Some(fence),
        serves: true,
        ..Renewal::default()
    };
    let store = stores.first().ok_or("no store")?;
    let renewed = store.renew(&fleet.lane, "gateway-0", &late).await;
    let lease = renewed.map_err(|error| error.to_string())?.lease;
    require(
        lease.level == Some(f64::from(LEVEL)) && lease.lead.is_none(),
        || format!("{lease:?}"),
    )
}

/// One gateway wakes the backend; when it is silent, another one does.
async fn one_wakes_and_its_turn_passes_on(
    stores: &[&dyn CapacityLease],
    lane: String,
) -> Result<(), Broken> {
    let lane = LaneKey::new(&lane);
    let (first, last) = stores.first().zip(stores.last()).ok_or("no store")?;
    let eta = Some(Duration::from_secs(40));
    let wrong = |error: crate::LeaseError| error.to_string();
    let Wake::Me { fence } = first.wake(&lane, "a", 3, None).await.map_err(wrong)? else {
        return Err("the first one does not wake it".to_owned());
    };
    first.wake(&lane, "a", 3, eta).await.map_err(wrong)?;
    let Wake::Other {
        ready_in: Some(ready_in),
    } = last.wake(&lane, "b", 3, None).await.map_err(wrong)?
    else {
        return Err("two wake it, or the second one does not learn when it serves".to_owned());
    };
    require(
        ready_in > Duration::from_secs(30) && ready_in <= Duration::from_secs(40),
        || format!("ready in {ready_in:?}"),
    )?;
    tokio::time::sleep(TTL + ROUND).await;
    match last.wake(&lane, "b", 3, None).await.map_err(wrong)? {
        Wake::Me { fence: next } if next > fence => Ok(()),
        other => Err(format!("after the silence of the first one: {other:?}")),
    }
}

/// What the leader has learned reaches the others.
async fn what_was_learned_is_shared(
    stores: &[&dyn CapacityLease],
    lane: String,
) -> Result<(), Broken> {
    let lane = LaneKey::new(&lane);
    let (first, last) = stores.first().zip(stores.last()).ok_or("no store")?;
    let mut renewal = Renewal {
        level: 10.0,
        serves: true,
        ..Renewal::default()
    };
    let wrong = |error: crate::LeaseError| error.to_string();
    let lease = first
        .renew(&lane, "a", &renewal)
        .await
        .map_err(wrong)?
        .lease;
    let mut learned = kebne_control::Snapshot {
        request_rate: Some(7.5),
        ..kebne_control::Snapshot::default()
    };
    learned.load_times.record(Duration::from_secs(42));
    renewal.lead = lease.lead;
    renewal.learned = Some(learned.clone());
    first.renew(&lane, "a", &renewal).await.map_err(wrong)?;
    let joins = Renewal::default();
    let seen = last.renew(&lane, "b", &joins).await.map_err(wrong)?;
    require(seen.learned == learned, || format!("{:?}", seen.learned))
}

/// No renewal is lost though several come at the same time.
async fn renewals_at_once_are_all_counted(
    stores: &[&dyn CapacityLease],
    lane: String,
) -> Result<(), Broken> {
    let lane = LaneKey::new(&lane);
    let renewal = Renewal {
        in_flight: 1,
        queued: 1,
        holds: 1,
        level: f64::from(LEVEL),
        serves: true,
        ..Renewal::default()
    };
    let names: Vec<String> = (0..8).map(|index| format!("gateway-{index}")).collect();
    let mut waits = Vec::new();
    for (name, store) in names.iter().zip(stores.iter().cycle()) {
        waits.push(store.renew(&lane, name, &renewal));
    }
    for renewed in join(waits).await {
        renewed.map_err(|error| error.to_string())?;
    }
    let store = stores.first().ok_or("no store")?;
    let lease = store.renew(&lane, "gateway-0", &renewal).await;
    let lease = lease.map_err(|error| error.to_string())?.lease;
    require(lease.members == 8 && lease.others == 7, || {
        format!("{lease:?}")
    })
}

/// Polls futures together.
async fn join<T>(mut futures: Vec<crate::Later<'_, T>>) -> Vec<T> {
    let mut done: Vec<Option<T>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        let mut left = false;
        for (future, result) in futures.iter_mut().zip(&mut done) {
            if result.is_none() {
                match future.as_mut().poll(context) {
                    std::task::Poll::Ready(value) => *result = Some(value),
                    std::task::Poll::Pending => left = true,
                }
            }
        }
        if left {
            std::task::Poll::Pending
        } else {
            std::task::Poll::Ready(())
        }
    })
    .await;
    done.into_iter().flatten().collect()
}
