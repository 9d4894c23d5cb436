//! How the accounts of several gateways are shared, and what is known of the store that they share.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use kebne_quota::{Beyond, Terms};
use serde::Serialize;
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use crate::{StoreError, store::SharedStore};

/// Opens the store. It is called again after each failure.
pub type OpenShared = Arc<dyn Fn() -> Result<Box<dyn SharedStore>, StoreError> + Send + Sync>;

/// How accounts are shared with other gateways.
#[derive(Clone)]
pub struct Sharing {
    /// Opens the store.
    pub open: OpenShared,
    /// The name of this life of this process, which is never used again.
    pub gateway: String,
    /// The time to live of leases, which must be the same in all gateways. Default 2 s.
    pub ttl: Duration,
    /// The interval at which accounts in use are renewed. Default 250 ms.
    pub every: Duration,
    /// The longest wait of a call for a block. Default 10 ms.
    pub wait: Duration,
    /// The same for an account of which nothing is known yet. Default 300 ms.
    pub wait_first: Duration,
}

impl Sharing {
    /// Creates the default way of sharing.
    pub fn new(gateway: String, open: OpenShared) -> Self {
        Self {
            open,
            gateway,
            ttl: Duration::from_secs(2),
            every: Duration::from_millis(250),
            wait: Duration::from_millis(10),
            wait_first: Duration::from_millis(300),
        }
    }

    pub(crate) fn terms(&self) -> Terms {
        Terms {
            ttl: u64::try_from(self.ttl.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

impl fmt::Debug for Sharing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Sharing")
            .field("gateway", &self.gateway)
            .field("ttl", &self.ttl)
            .finish_non_exhaustive()
    }
}

/// The state of the leases of shared accounts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BlocksState {
    /// The store has not answered yet: this gateway serves as if it were alone.
    #[default]
    Unknown,
    /// The leases are in force.
    Held,
    /// The store does not answer. Calls use the blocks, and fair parts of what was last known to be free.
    Late,
    /// The store does not answer, and the leases are over: calls use fair parts of the limits.
    Over,
}

impl BlocksState {
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

/// What is known of the shared accounts, for operators.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SharedHealth {
    /// Whether the leases are in force.
    pub state: BlocksState,
    /// The most gateways with a lease of the same account, at the last grants.
    pub gateways: u32,
    /// Accounts that use fair parts because the store does not answer.
    pub fair_parts: usize,
    /// Requests of accounts that were granted since the start.
    pub grants: u64,
    /// Rounds of requests that failed.
    pub failures: u64,
    /// Calls that waited for a block.
    pub waits: u64,
    /// The revision of the keys that are in effect.
    pub revision: u64,
}

/// The result of the last round of requests.
#[derive(Clone, Copy, Debug, Default)]
struct Ended {
    round: u64,
    is_ok: bool,
}

/// What a gateway knows of the store.
pub(crate) struct Blocks {
    pub(crate) sharing: Sharing,
    started: Instant,
    /// The end of the leases, in milliseconds since `started`; 0 before the first answer.
    until: AtomicU64,
    /// The store's clock relative to that of this process, in milliseconds.
    ahead: AtomicI64,
    ended: watch::Sender<Ended>,
    /// `true` while the actor has a message to begin a round.
    is_wanted: AtomicBool,
    failing: AtomicBool,
    counts: [AtomicU64; 3],
    gateways: AtomicU64,
    pub(crate) revision: AtomicU64,
    logged: Mutex<BlocksState>,
}

/// What is counted.
#[derive(Clone, Copy)]
pub(crate) enum Count {
    Grants,
    Failures,
    Waits,
}

impl Blocks {
    pub(crate) fn new(sharing: Sharing) -> Self {
        Self {
            sharing,
            started: Instant::now(),
            until: AtomicU64::new(0),
            ahead: AtomicI64::new(0),
            ended: watch::Sender::default(),
            is_wanted: AtomicBool::new(false),
            failing: AtomicBool::new(false),
            counts: Default::default(),
            gateways: AtomicU64::new(0),
            revision: AtomicU64::new(0),
            logged: Mutex::default(),
        }
    }

    pub(crate) fn state(&self) -> BlocksState {
        let until = self.until.load(SeqCst);
        if until == 0 {
            BlocksState::Unknown
        } else if self.millis() >= until {
            BlocksState::Over
        } else if self.failing.load(SeqCst) {
            BlocksState::Late
        } else {
            BlocksState::Held
        }
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Returns how a call is admitted that does not fit into its blocks.
    pub(crate) fn beyond(&self) -> Beyond {
        match self.state() {
            BlocksState::Over => Beyond::FairPartOfAll,
            _ => Beyond::Ask,
        }
    }

    /// Corrects the time of this process by the store's clock.
    pub(crate) fn store_time(&self, now: u64) -> u64 {
        now.saturating_add_signed(self.ahead.load(SeqCst))
    }

    /// Notes the store's time, at about `now` of this process.
    pub(crate) fn note_time(&self, store: u64, now: u64) {
        let ahead = i128::from(store) - i128::from(now);
        self.ahead.store(i64::try_from(ahead).unwrap_or(0), SeqCst);
    }

    pub(crate) fn count(&self, count: Count, by: u64) {
        if let Some(counter) = self.counts.get(count as usize) {
            counter.fetch_add(by, SeqCst);
        }
    }

    pub(crate) fn note_gateways(&self, gateways: u32) {
        self.gateways.store(gateways.into(), SeqCst);
    }

    /// Returns `true` if the actor has no message yet to begin a round.
    pub(crate) fn wants_round(&self) -> bool {
        !self.is_wanted.swap(true, SeqCst)
    }

    pub(crate) fn begin_round(&self) {
        self.is_wanted.store(false, SeqCst);
    }

    /// Notes the answer of the store to a request that was sent at `asked`.
    pub(crate) fn answered(&self, asked: Instant) {
        let asked = asked.saturating_duration_since(self.started) + self.sharing.ttl;
        let until = u64::try_from(asked.as_millis()).unwrap_or(u64::MAX);
        self.until.fetch_max(until, SeqCst);
        self.failing.store(false, SeqCst);
    }

    /// Ends a round: calls that wait for it go on.
    pub(crate) fn end_round(&self, round: u64, is_ok: bool) {
        if !is_ok {
            self.failing.store(true, SeqCst);
            self.count(Count::Failures, 1);
        }
        self.ended.send_replace(Ended { round, is_ok });
    }

    /// Waits until a round has ended, or one has failed. Returns how the call is admitted then.
    pub(crate) async fn wait(&self, round: u64, until: Instant) -> Beyond {
        let mut ended = self.ended.subscribe();
        let is_over = ended.wait_for(|ended| ended.round >= round);
        match timeout_at(until, is_over).await {
            Ok(Ok(ended)) if ended.is_ok => Beyond::Refuse,
            _ if self.state() == BlocksState::Over => Beyond::FairPartOfAll,
            _ => Beyond::FairPart,
        }
    }

    /// Writes a change of the state to the log.
    pub(crate) fn log(&self) {
        let state = self.state();
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *logged, state);
        drop(logged);
        let (from, to) = (before.label(), state.label());
        match (before == state, state) {
            (true, _) => {}
            (false, BlocksState::Held) => tracing::info!(from, to, "shared accounts are renewed"),
            (false, _) => tracing::warn!(
                from,
                to,
                "shared accounts are not renewed; calls use a fair part of their limits"
            ),
        }
    }

    pub(crate) fn health(&self, fair_parts: usize) -> SharedHealth {
        let [grants, failures, waits] = &self.counts;
        SharedHealth {
            state: self.state(),
            gateways: u32::try_from(self.gateways.load(SeqCst)).unwrap_or(u32::MAX),
            fair_parts,
            grants: grants.load(SeqCst),
            failures: failures.load(SeqCst),
            waits: waits.load(SeqCst),
            revision: self.revision.load(SeqCst),
        }
    }
}
