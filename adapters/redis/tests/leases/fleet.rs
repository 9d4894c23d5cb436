//! Gateways that renew their leases in the background, as the program does.

use std::{
    ops::RangeInclusive,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use kebne_redis::{Options, RedisConnection, RedisLeases};
use kebne_shares::{
    LaneKey, Lease, LeaseHolder, LeaseState, Renewal, Shared, Snapshot, keep_lease,
};

/// The time to live of the leases.
pub(crate) const TTL: Duration = Duration::from_millis(1200);
/// The interval of the renewals.
const EVERY: Duration = Duration::from_millis(100);
/// The limit of the lane.
const LEVEL: f64 = 24.0;

/// A lane whose callers always want more than it has. It uses all that it may.
#[derive(Default)]
struct Busy {
    lease: Mutex<Option<Lease>>,
    share: AtomicU32,
}

impl Shared for Busy {
    async fn renewal(&self) -> Option<Renewal> {
        let lease = self.lease.lock().unwrap().unwrap_or_default();
        let share = self.share.load(Relaxed);
        Some(Renewal {
            in_flight: share,
            queued: 50,
            holds: share.max(2),
            level: lease.level.unwrap_or(LEVEL),
            cuts: lease.cuts,
            lead: lease.lead,
            serves: true,
            ..Renewal::default()
        })
    }

    async fn take(&self, lease: Option<Lease>, _: Option<Snapshot>) {
        *self.lease.lock().unwrap() = lease;
        let share = lease.map_or(0, |lease| lease.share);
        self.share.store(share, Relaxed);
    }

    async fn wanted(&self) {
        std::future::pending::<()>().await;
    }
}

/// One gateway.
struct Gateway {
    lane: Arc<Busy>,
    known: LeaseHolder,
    task: tokio::task::JoinHandle<()>,
}

/// The gateways of a test.
#[derive(Default)]
pub(crate) struct Fleet {
    gateways: Vec<Gateway>,
    most: Arc<AtomicU32>,
}

/// Returns the leases of a server.
pub(crate) fn leases(options: &Options) -> RedisLeases {
    RedisLeases::new(RedisConnection::new(options).unwrap(), TTL)
}

impl Fleet {
    pub(crate) fn start(options: &Options, count: usize) -> Self {
        let mut fleet = Self::default();
        for _ in 0..count {
            fleet.join(options);
        }
        fleet
    }

    /// Starts one more gateway with a connection of its own.
    pub(crate) fn join(&mut self, options: &Options) {
        let store = Arc::new(leases(options));
        let (lane, known) = (Arc::new(Busy::default()), LeaseHolder::default());
        let member: Arc<str> = format!("gateway-{}", self.gateways.len()).into();
        let (shared, state) = (Arc::clone(&lane), known.clone());
        let task = tokio::spawn(async move {
            let key = LaneKey::new("lane");
            keep_lease(store, key, member, &*shared, "lane", EVERY, &state).await;
        });
        self.gateways.push(Gateway { lane, known, task });
    }

    pub(crate) fn shares(&self) -> Vec<u32> {
        let gateways = self.gateways.iter();
        let shares: Vec<u32> = gateways.map(|g| g.lane.share.load(Relaxed)).collect();
        self.most.fetch_max(shares.iter().sum(), Relaxed);
        shares
    }

    /// Returns the largest sum of shares that was seen.
    pub(crate) fn most(&self) -> u32 {
        self.most.load(Relaxed)
    }

    pub(crate) fn states(&self) -> Vec<LeaseState> {
        self.gateways.iter().map(|g| g.known.state()).collect()
    }

    /// Waits until the gateways have these shares and hold their leases.
    pub(crate) async fn settled<const COUNT: usize>(&self, shares: [u32; COUNT]) {
        let since = Instant::now();
        while self.shares() != shares || self.states() != [LeaseState::Held; COUNT] {
            let (found, states) = (self.shares(), self.states());
            assert!(
                since.elapsed() < Duration::from_secs(20),
                "{found:?} {states:?}"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) fn assert_shares(&self, expected: RangeInclusive<u32>) {
        for share in self.shares() {
            assert!(expected.contains(&share), "{:?}", self.shares());
        }
    }

    pub(crate) fn assert_states(&self, expected: LeaseState) {
        for state in self.states() {
            assert_eq!(state, expected, "{:?}", self.states());
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for gateway in &self.gateways {
            gateway.task.abort();
        }
    }
}
