//! The leases by which several gateways share their backends, from the settings.
//!
//! Owns the store of leases and the name of this gateway in it. Each lane renews its own lease (`src/gateway/sharing.rs`).

use std::{sync::Arc, time::Duration};

use kebne_shares::{CapacityLease, FileLeases, ShareBy, ShareSettings};

#[cfg(not(feature = "redis"))]
use crate::settings::redis;
use crate::settings::{Environment, Settings};

/// The store of leases cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("`{key}`: {reason}")]
pub struct ShareError {
    /// The setting.
    key: String,
    /// The reason.
    reason: String,
}

/// The leases of this gateway; clones share them.
#[derive(Clone, Debug)]
pub struct Sharing {
    /// The store.
    pub store: Arc<dyn CapacityLease>,
    /// The name of this gateway.
    pub member: Arc<str>,
    /// The interval of renewals.
    pub every: Duration,
}

impl ShareError {
    /// Creates an error of a setting.
    #[cfg(not(feature = "redis"))]
    pub(crate) fn new(key: &str, reason: &str) -> Self {
        Self {
            key: key.to_owned(),
            reason: reason.to_owned(),
        }
    }
}

impl Sharing {
    /// Opens the store of leases; `None` if this gateway is alone. A server need not be there yet.
    ///
    /// # Errors
    /// Returns an error if a secret cannot be read, the address is wrong, or the folder cannot be used.
    pub fn open(
        settings: &Settings,
        environment: &dyn Environment,
    ) -> Result<Option<Self>, ShareError> {
        let share = &settings.share;
        let store: Arc<dyn CapacityLease> = match share.by {
            ShareBy::Nothing => return Ok(None),
            ShareBy::File => {
                let leases = FileLeases::open(&share.folder, share.lease_ttl.0);
                Arc::new(leases.map_err(|error| ShareError {
                    key: "share.folder".to_owned(),
                    reason: error.to_string(),
                })?)
            }
            ShareBy::Redis => redis_leases(settings, environment)?,
        };
        let member = share.member.clone().unwrap_or_else(|| {
            let random = fastrand::u32(..);
            format!("{}-{random:08x}", std::process::id())
        });
        Ok(Some(Self {
            store,
            member: member.into(),
            every: share.renew_every.0,
        }))
    }
}

/// Returns a name of this life of this process, which is never used again.
pub(crate) fn member(share: &ShareSettings) -> String {
    let name = share.member.as_deref().unwrap_or("gateway");
    let random = fastrand::u64(..);
    format!("{name}-{}-{random:016x}", std::process::id())
}

#[cfg(feature = "redis")]
fn redis_leases(
    settings: &Settings,
    environment: &dyn Environment,
) -> Result<Arc<dyn CapacityLease>, ShareError> {
    let connection = crate::redis::connect(&settings.redis, environment)?;
    let ttl = settings.share.lease_ttl.0;
    Ok(Arc::new(kebne_redis::RedisLeases::new(connection, ttl)))
}

#[cfg(not(feature = "redis"))]
fn redis_leases(
    _settings: &Settings,
    _environment: &dyn Environment,
) -> Result<Arc<dyn CapacityLease>, ShareError> {
    // The check of the settings refuses it before.
    Err(ShareError {
        key: "share.by".to_owned(),
        reason: redis::NOT_BUILT.to_owned(),
    })
}

#[cfg(feature = "redis")]
impl From<crate::redis::RedisStartError> for ShareError {
    fn from(error: crate::redis::RedisStartError) -> Self {
        Self {
            key: format!("redis.{}", error.key),
            reason: error.reason,
        }
    }
}
