//! The loop that renews the lease of one lane, in the background.

use std::{
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use kebne_control::{Holder, Lease, Renewal, Snapshot, Timestamp};
use serde::Serialize;
use tokio::time::Instant;

use crate::lease::{CapacityLease, LaneKey, LeaseError};

/// The shortest time between two renewals, however often one is requested.
const AT_ONCE: Duration = Duration::from_millis(10);

/// A lane that is shared: what is renewed, and where the lease goes.
pub trait Shared {
    /// Returns what the lane reports; `None` if it is closed or does not answer.
    fn renewal(&self) -> impl Future<Output = Option<Renewal>>;

    /// Takes a lease; `None` if nothing is known of other gateways.
    fn take(&self, lease: Option<Lease>, learned: Option<Snapshot>) -> impl Future<Output = ()>;

    /// Waits until the lease should be renewed at once.
    fn wanted(&self) -> impl Future<Output = ()>;

    /// Returns `true` if the lane is gone, so that nothing is renewed any more.
    fn is_gone(&self) -> bool {
        false
    }
}

/// The state of a lane's lease, for operators.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaseState {
    /// No renewal has succeeded yet: the lane uses what it learns itself.
    #[default]
    Unknown,
    /// The lease is in force.
    Held,
    /// The store does not answer; the last lease is still in force.
    Late,
    /// The store does not answer, and the lease is over: the lane uses its fair part of the last known limit.
    Over,
}

impl LeaseState {
    /// All states.
    pub const ALL: [Self; 4] = [Self::Unknown, Self::Held, Self::Late, Self::Over];

    /// Returns the label used in metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Held => "held",
            Self::Late => "late",
            Self::Over => "over",
        }
    }
}

/// What is known of the lease of one lane; clones share it.
#[derive(Clone, Debug, Default)]
pub struct LeaseHolder(Arc<Known>);

#[derive(Debug, Default)]
struct Known {
    state: Mutex<LeaseState>,
    renewals: AtomicU64,
    failures: AtomicU64,
}

impl LeaseHolder {
    /// Returns the state of the lease.
    pub fn state(&self) -> LeaseState {
        *self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the renewals that succeeded.
    pub fn renewals(&self) -> u64 {
        self.0.renewals.load(Relaxed)
    }

    /// Returns the renewals that failed.
    pub fn failures(&self) -> u64 {
        self.0.failures.load(Relaxed)
    }

    /// Sets the state, and logs a change.
    fn set(&self, state: LeaseState, lane: &str, error: Option<&LeaseError>) {
        let mut known = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *known, state);
        drop(known);
        if before == state {
            return;
        }
        let (from, to) = (before.label(), state.label());
        if let Some(error) = error {
            tracing::warn!(lane, from, to, %error, "the lease of a shared backend was not renewed");
        } else {
            tracing::info!(lane, from, to, "the lease of a shared backend is renewed");
        }
    }
}

/// Renews the lease of a lane every `every`, and at once when the lane wants it, until the lane is gone. A
/// renewal that takes longer than half of the time to live counts as failed.
pub async fn keep_lease<L: Shared>(
    store: Arc<dyn CapacityLease>,
    key: LaneKey,
    member: Arc<str>,
    lane: &L,
    name: &str,
    every: Duration,
    known: &LeaseHolder,
) {
    let start = Instant::now();
    let now = || Timestamp::from_duration(start.elapsed());
    let ttl = store.ttl();
    let mut holder = Holder::new(ttl);
    while !lane.is_gone() {
        let asked = now();
        if let Some(renewal) = lane.renewal().await {
            let renewed = store.renew(&key, &member, &renewal);
            let renewed = tokio::time::timeout(ttl / 2, renewed).await;
            let renewed = renewed.unwrap_or_else(|_| {
                Err(LeaseError::Slow(format!("no answer within {:?}", ttl / 2)))
            });
            match renewed {
                Ok(renewed) => {
                    holder.renewed(renewed.lease, asked);
                    known.0.renewals.fetch_add(1, Relaxed);
                    known.set(LeaseState::Held, name, None);
                    lane.take(Some(renewed.lease), Some(renewed.learned)).await;
                }
                Err(error) => {
                    let failed = known.0.failures.fetch_add(1, Relaxed);
                    if failed == 0 {
                        tracing::warn!(lane = name, %error, "the lease of a shared backend cannot be renewed");
                    }
                    let over = holder.is_over(now());
                    let state = match (known.state(), over) {
                        (LeaseState::Unknown, _) => LeaseState::Unknown,
                        (_, true) => LeaseState::Over,
                        (_, false) => LeaseState::Late,
                    };
                    known.set(state, name, Some(&error));
                    if state == LeaseState::Over {
                        lane.take(holder.lease(now()), None).await;
                    }
                }
            }
        }
        tokio::time::sleep(AT_ONCE).await;
        let rest = every.saturating_sub(AT_ONCE);
        tokio::select! {
            () = tokio::time::sleep(rest) => {}
            () = lane.wanted() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::lease::{Later, Renewed};

    /// A store that can be made to fail or to hang.
    #[derive(Debug, Default)]
    struct Store {
        fails: AtomicBool,
        hangs: AtomicBool,
        renewals: AtomicU64,
    }

    impl CapacityLease for Store {
        fn renew<'a>(
            &'a self,
            _: &'a LaneKey,
            _: &'a str,
            _: &'a Renewal,
        ) -> Later<'a, Result<Renewed, LeaseError>> {
            Box::pin(async move {
                self.renewals.fetch_add(1, Relaxed);
                if self.hangs.load(Relaxed) {
                    std::future::pending::<()>().await;
                }
                if self.fails.load(Relaxed) {
                    return Err(LeaseError::Unavailable("gone".to_owned()));
                }
                let lease = Lease {
                    share: 17,
                    level: Some(24.0),
                    members: 3,
                    ..Lease::default()
                };
                Ok(Renewed {
                    lease,
                    ..Renewed::default()
                })
            })
        }

        fn leave<'a>(&'a self, _: &'a LaneKey, _: &'a str) -> Later<'a, Result<(), LeaseError>> {
            Box::pin(async { Ok(()) })
        }

        fn ttl(&self) -> Duration {
            Duration::from_secs(2)
        }
    }

    #[derive(Debug, Default)]
    struct Lane {
        leases: Mutex<Vec<Option<Lease>>>,
        bell: tokio::sync::Notify,
    }

    impl Shared for Lane {
        async fn renewal(&self) -> Option<Renewal> {
            Some(Renewal::default())
        }

        async fn take(&self, lease: Option<Lease>, _: Option<Snapshot>) {
            self.leases.lock().unwrap().push(lease);
        }

        async fn wanted(&self) {
            self.bell.notified().await;
        }
    }

    impl Lane {
        fn share(&self) -> Option<u32> {
            let leases = self.leases.lock().unwrap();
            leases.last().copied().flatten().map(|lease| lease.share)
        }
    }

    /// Runs the loop for some seconds while `steps` changes its surroundings.
    async fn run(store: &Arc<Store>, lane: &Lane, known: &LeaseHolder, steps: impl Future) {
        let shared: Arc<dyn CapacityLease> = Arc::clone(store) as _;
        let every = Duration::from_millis(250);
        let kept = keep_lease(
            shared,
            LaneKey::new("lane"),
            "me".into(),
            lane,
            "lane",
            every,
            known,
        );
        tokio::select! {
            () = kept => {}
            _ = steps => {}
        }
    }

    async fn sleep(millis: u64) {
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_lane_goes_on_with_a_fair_part_while_the_store_is_gone_and_returns_to_its_lease() {
        let (store, lane, known) = (
            Arc::new(Store::default()),
            Lane::default(),
            LeaseHolder::default(),
        );
        let steps = async {
            sleep(300).await;
            assert_eq!((lane.share(), known.state()), (Some(17), LeaseState::Held));
            store.fails.store(true, Relaxed);
            sleep(1500).await;
            assert_eq!((lane.share(), known.state()), (Some(17), LeaseState::Late));
            sleep(1000).await;
            assert_eq!((lane.share(), known.state()), (Some(8), LeaseState::Over));
            store.fails.store(false, Relaxed);
            sleep(300).await;
            assert_eq!((lane.share(), known.state()), (Some(17), LeaseState::Held));
        };
        run(&store, &lane, &known, steps).await;
        assert!(known.failures() >= 8 && known.renewals() >= 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_hangs_is_as_one_that_is_gone() {
        let (store, lane, known) = (
            Arc::new(Store::default()),
            Lane::default(),
            LeaseHolder::default(),
        );
        let steps = async {
            sleep(300).await;
            store.hangs.store(true, Relaxed);
            sleep(4000).await;
            assert_eq!((lane.share(), known.state()), (Some(8), LeaseState::Over));
        };
        run(&store, &lane, &known, steps).await;
    }

    #[tokio::test(start_paused = true)]
    async fn without_any_lease_the_lane_is_left_as_it_is() {
        let (store, lane, known) = (
            Arc::new(Store::default()),
            Lane::default(),
            LeaseHolder::default(),
        );
        store.fails.store(true, Relaxed);
        run(&store, &lane, &known, sleep(5000)).await;
        assert_eq!(known.state(), LeaseState::Unknown);
        assert!(lane.leases.lock().unwrap().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_wish_is_met_at_once_and_wishes_are_bounded() {
        let (store, lane, known) = (
            Arc::new(Store::default()),
            Lane::default(),
            LeaseHolder::default(),
        );
        let steps = async {
            sleep(100).await;
            lane.bell.notify_one();
            sleep(1).await;
            assert_eq!(store.renewals.load(Relaxed), 2);
            for _ in 0..1000 {
                lane.bell.notify_one();
                sleep(1).await;
            }
        };
        run(&store, &lane, &known, steps).await;
        assert!(store.renewals.load(Relaxed) < 110);
    }
}
