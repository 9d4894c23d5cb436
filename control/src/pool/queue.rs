//! The order of waiting calls: strict bands with a reserved share, fair between tenants in token cost.
//!
//! Between the tenants of a band the one with the least service so far goes next (start-time fair
//! queueing). That gives the shares of deficit round robin, but O(log n) for any cost. A call that
//! was put back keeps its number and so returns to the head of its tenant.

use std::collections::{BTreeMap, BTreeSet};

use super::CallId;

#[derive(Debug, Default)]
struct Tenant {
    calls: BTreeSet<CallId>,
    served: f64,
}

#[derive(Debug, Default)]
struct Band {
    tenants: BTreeMap<u64, Tenant>,
    /// Tenants with calls by service received, in millionths so that the order is total.
    order: BTreeSet<(u64, u64)>,
    /// Service of the tenant served last: a newcomer starts here, not at zero.
    clock: f64,
}

/// Where a call stands.
#[derive(Clone, Copy, Debug)]
struct Place {
    band: u8,
    tenant: u64,
    cost: f64,
}

/// The waiting calls in the order of service.
#[derive(Debug)]
pub(super) struct Queue {
    bands: BTreeMap<u8, Band>,
    places: BTreeMap<CallId, Place>,
    lengths: BTreeMap<u64, usize>,
    longest: BTreeSet<(usize, u64)>,
    reserved_one_in: u32,
    turn: u32,
}

fn key(served: f64) -> u64 {
    std::time::Duration::try_from_secs_f64(served.max(0.0)).map_or(u64::MAX, |d| {
        u64::try_from(d.as_micros()).unwrap_or(u64::MAX)
    })
}

impl Queue {
    pub(super) fn new(reserved_one_in: u32) -> Self {
        Self {
            bands: BTreeMap::new(),
            places: BTreeMap::new(),
            lengths: BTreeMap::new(),
            longest: BTreeSet::new(),
            reserved_one_in,
            turn: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn holds(&self, id: CallId) -> bool {
        self.places.contains_key(&id)
    }

    pub(super) fn push(&mut self, id: CallId, band: u8, tenant: u64, tokens: u32) {
        // A call of unknown cost weighs as one of a thousand tokens, so that hiding it gains nothing.
        let cost = if tokens == 0 {
            1000.0
        } else {
            f64::from(tokens)
        };
        self.places.insert(id, Place { band, tenant, cost });
        let level = self.bands.entry(band).or_default();
        let clock = level.clock;
        let entry = level.tenants.entry(tenant).or_default();
        if entry.calls.is_empty() {
            entry.served = entry.served.max(clock);
            level.order.insert((key(entry.served), tenant));
        }
        entry.calls.insert(id);
        self.resize(tenant, 1);
    }

    /// Takes the next call out.
    pub(super) fn pop(&mut self) -> Option<CallId> {
        self.turn = (self.turn + 1) % self.reserved_one_in;
        let (_, band) = if self.turn == 0 {
            self.bands.last_key_value()?
        } else {
            self.bands.first_key_value()?
        };
        let &(_, tenant) = band.order.first()?;
        let calls = &band.tenants.get(&tenant)?.calls;
        let id = *calls.first()?;
        self.detach(id, true);
        Some(id)
    }

    pub(super) fn remove(&mut self, id: CallId) -> bool {
        self.detach(id, false)
    }

    /// Returns the newest call of the tenant with the most calls, unless that is `tenant` itself.
    pub(super) fn victim(&self, tenant: u64) -> Option<CallId> {
        let &(length, longest) = self.longest.last()?;
        let own = self.lengths.get(&tenant).copied().unwrap_or(0);
        if longest == tenant || own + 1 >= length {
            return None;
        }
        let bands = self.bands.values().rev();
        bands
            .filter_map(|band| band.tenants.get(&longest))
            .find_map(|t| t.calls.last().copied())
    }

    fn detach(&mut self, id: CallId, charge: bool) -> bool {
        let Some(place) = self.places.remove(&id) else {
            return false;
        };
        self.resize(place.tenant, -1);
        let Some(band) = self.bands.get_mut(&place.band) else {
            return false;
        };
        if let Some(entry) = band.tenants.get_mut(&place.tenant) {
            band.order.remove(&(key(entry.served), place.tenant));
            entry.calls.remove(&id);
            if charge {
                band.clock = band.clock.max(entry.served);
                entry.served += place.cost;
            }
            if entry.calls.is_empty() {
                if entry.served <= band.clock {
                    band.tenants.remove(&place.tenant);
                }
            } else {
                band.order.insert((key(entry.served), place.tenant));
            }
        }
        if band.order.is_empty() {
            self.bands.remove(&place.band);
        }
        true
    }

    fn resize(&mut self, tenant: u64, by: isize) {
        let old = self.lengths.get(&tenant).copied().unwrap_or(0);
        let new = old.saturating_add_signed(by);
        self.longest.remove(&(old, tenant));
        if new == 0 {
            self.lengths.remove(&tenant);
        } else {
            self.lengths.insert(tenant, new);
            self.longest.insert((new, tenant));
        }
    }
}
