//! For whom a call is made that no caller has sent: who pays for it, and the call because of which it is made.

use std::{fmt, sync::Arc};

use http::HeaderMap;
use kebne_quota::AccountId;

use crate::gateway::Gateway;

/// For whom a call is made that no caller has sent.
#[derive(Clone, Debug, Default)]
pub struct Behalf {
    /// Who pays.
    pub payer: Payer,
    /// The id of the call because of which it is made, or one of its own.
    pub request_id: Arc<str>,
    /// The gateways that this call has come through; `None` if there are none.
    pub via: Option<Arc<HeaderMap>>,
}

/// A key that pays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payer {
    /// The name of the key; empty if nobody pays.
    pub key: Arc<str>,
    /// The accounts in which the call counts: that of the key, and the groups above it. Empty for work that nobody has asked for, and
    /// without keys.
    pub accounts: Arc<[AccountId]>,
}

/// The keys that pay for work in the background.
pub trait Payers: fmt::Debug + Send + Sync {
    /// Returns the key that pays for work for an owner of sessions or collections; `None` if the owner has no key.
    fn payer_of(&self, owner: &str) -> Option<Payer>;
}

impl Behalf {
    /// Creates the behalf of the operator's own work, for which nobody pays.
    pub fn of_operator() -> Self {
        Self::in_background(Payer::default())
    }

    fn in_background(payer: Payer) -> Self {
        Self {
            payer,
            request_id: format!("inner-{:016x}", fastrand::u64(..)).into(),
            via: None,
        }
    }
}

impl Gateway {
    /// Has work in the background paid for. Only the first call has an effect.
    pub fn paid_by(&self, payers: Arc<dyn Payers>) {
        let _first_ones_stay = self.inner.payers.set(payers);
    }

    /// Returns the behalf of work in the background for an owner of sessions or collections. Nobody pays for an owner who has no keys any
    /// more. `None` before it is known who pays.
    pub fn behalf_of(&self, owner: &str) -> Option<Behalf> {
        let payer = self.inner.payers.get()?.payer_of(owner);
        Some(Behalf::in_background(payer.unwrap_or_default()))
    }
}
