//! The lanes whose backends are shared with other gateways: each renews its lease in the background until it is gone.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use kebne_control::{Lease, Renewal, Snapshot};
use kebne_lane::{LaneHandle, LaneSnapshot};
use kebne_shares::{LaneKey, LeaseHolder, LeaseState, Shared, keep_lease};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::{
    backend::{ModelBackend, upstream::digest_of_key},
    gateway::{Gateway, lane::Lane},
    settings::{BackendSettings, Environment},
    sharing::Sharing,
};

/// The digits of the name of a lane in the store: enough that two backends never have the same.
const KEY_BYTES: usize = 16;

/// The lease of one lane, for operators.
#[derive(Clone, Debug, Serialize)]
pub struct ShareReport {
    /// The backend.
    pub lane: String,
    /// Whether the lease is in force.
    pub state: LeaseState,
    /// The renewals that succeeded since the start.
    pub renewals: u64,
    /// The renewals that failed.
    pub failures: u64,
    /// The lease that the lane uses.
    pub lease: Option<kebne_control::ShareReport>,
}

/// The place of a lane's lease.
#[derive(Debug)]
pub(super) struct LaneLease {
    sharing: Sharing,
    key: LaneKey,
    /// The gateway's name, and the number of the lane in it.
    member: Arc<str>,
    pub(super) known: LeaseHolder,
    /// `true` if the lease was given back for good.
    left: AtomicBool,
}

impl LaneLease {
    /// Returns the place of the lease of a lane; `None` if its backend is not shared: it is inside this process, or a process of this
    /// gateway's own.
    pub(super) fn new(
        sharing: Option<&Sharing>,
        settings: &BackendSettings,
        number: usize,
        environment: &dyn Environment,
    ) -> Option<Self> {
        let sharing = sharing?;
        if settings.process.is_some() {
            return None;
        }
        Some(Self {
            sharing: sharing.clone(),
            key: key(settings, environment)?,
            member: format!("{}/{number}", sharing.member).into(),
            known: LeaseHolder::default(),
            left: AtomicBool::new(false),
        })
    }

    async fn leave(&self) {
        self.left.store(true, Relaxed);
        let left = self.sharing.store.leave(&self.key, &self.member);
        let left = tokio::time::timeout(self.sharing.every, left).await;
        if !matches!(left, Ok(Ok(()))) {
            tracing::debug!(
                member = &*self.member,
                "the lease was not given back; it ends by itself"
            );
        }
    }
}

/// Names a backend for all gateways that have it: a digest of its address, its model and its key.
fn key(settings: &BackendSettings, environment: &dyn Environment) -> Option<LaneKey> {
    let url = settings.base_url.as_ref()?.to_string();
    let model = settings.model.as_deref().unwrap_or_default();
    let secret = digest_of_key(settings, environment);
    let mut digest = Sha256::new();
    for part in [url.as_bytes(), model.as_bytes(), &secret] {
        digest.update(part.len().to_le_bytes());
        digest.update(part);
    }
    let digest: [u8; 32] = digest.finalize().into();
    Some(LaneKey::new(&hex::encode(&digest[..KEY_BYTES])))
}

/// A lane, which may be gone.
struct SharedLane {
    lane: Weak<Lane>,
    lease: Arc<LaneLease>,
    handle: LaneHandle<ModelBackend>,
}

impl Shared for SharedLane {
    async fn renewal(&self) -> Option<Renewal> {
        if self.lease.left.load(Relaxed) {
            return None;
        }
        self.handle.renewal().await.ok()
    }

    async fn take(&self, lease: Option<Lease>, learned: Option<Snapshot>) {
        if self.handle.take_lease(lease, learned).await.is_err() {
            tracing::debug!(lane = self.handle.name(), "the lane takes no lease");
        }
    }

    async fn wanted(&self) {
        self.handle.lease_wanted().await;
    }

    fn is_gone(&self) -> bool {
        self.lane.strong_count() == 0
    }
}

/// Renews the lease of a lane until the lane is gone.
pub(super) fn watch(lane: &Arc<Lane>) {
    let Some(lease) = lane.lease.clone() else {
        return;
    };
    let shared = SharedLane {
        lane: Arc::downgrade(lane),
        lease: Arc::clone(&lease),
        handle: lane.handle.clone(),
    };
    actix_rt::spawn(async move {
        let sharing = &lease.sharing;
        let (store, member) = (Arc::clone(&sharing.store), Arc::clone(&lease.member));
        let name = shared.handle.name().to_owned();
        keep_lease(
            store,
            lease.key.clone(),
            member,
            &shared,
            &name,
            sharing.every,
            &lease.known,
        )
        .await;
        lease.leave().await;
    });
}

impl Lane {
    /// Returns the lease of the lane; `None` if its backend is not shared.
    pub(super) fn share(&self, snapshot: &LaneSnapshot) -> Option<ShareReport> {
        let lease = self.lease.as_ref()?;
        Some(ShareReport {
            lane: self.name().to_owned(),
            state: lease.known.state(),
            renewals: lease.known.renewals(),
            failures: lease.known.failures(),
            lease: snapshot.controller.share,
        })
    }
}

impl Gateway {
    /// Gives the leases of all lanes back, so that other gateways need not wait for their end.
    pub async fn leave_leases(&self) {
        let lanes = self.all_lanes();
        let leases = lanes.iter().filter_map(|lane| lane.lease.as_ref());
        futures_util::future::join_all(leases.map(|lease| lease.leave())).await;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::settings::BaseUrl;

    fn backend(url: &str, model: Option<&str>, variable: Option<&str>) -> BackendSettings {
        BackendSettings {
            base_url: Some(BaseUrl::new(url)),
            model: model.map(str::to_owned),
            api_key_env: variable.map(str::to_owned),
            ..BackendSettings::default()
        }
    }

    #[test]
    fn a_lane_is_shared_by_address_model_and_key_and_its_name_holds_none_of_them() {
        let variables = [("A_KEY", "a"), ("B_KEY", "b")];
        let variables: BTreeMap<String, String> = variables
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        let name = |url: &str, model: Option<&str>, variable: Option<&str>| {
            key(&backend(url, model, variable), &variables)
                .unwrap()
                .to_string()
        };
        let one = name("http://one", Some("m"), Some("A_KEY"));
        assert_eq!(one, name("http://one", Some("m"), Some("A_KEY")));
        let others = [
            name("http://two", Some("m"), Some("A_KEY")),
            name("http://one", Some("n"), Some("A_KEY")),
            name("http://one", Some("m"), Some("B_KEY")),
            name("http://one", Some("m"), None),
            name("http://one", None, Some("A_KEY")),
        ];
        for other in others {
            assert_ne!(one, other);
        }
        assert_eq!(one.len(), 2 * KEY_BYTES);
        assert!(one.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let inside = BackendSettings::default();
        assert_eq!(key(&inside, &variables), None);
    }
}
