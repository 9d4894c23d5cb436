//! The order of waiting calls: strict priorities with a reserved share, and fairness between tenants in token cost.
//!
//! Among the tenants of a priority, the one with the least service so far is next (start-time fair queueing). This
//! gives the shares of deficit round robin, but in O(log n) for any cost. A call that was put back keeps its number
//! and so returns to the head of its tenant.

use std::collections::{BTreeMap, BTreeSet};

use super::{CallId, PriorityReport};

/// The number of tenants of a priority below which none are removed.
const SWEEP_LEAST: usize = 64;

#[derive(Debug, Default)]
struct Tenant {
    calls: BTreeSet<CallId>,
    /// The calls among them that were sent and came back. They go first in any order.
    returned: BTreeSet<CallId>,
    served: f64,
}

#[derive(Debug, Default)]
struct PriorityLevel {
    tenants: BTreeMap<u64, Tenant>,
    /// Tenants with calls, by service received, in millionths so that the order is total.
    order: BTreeSet<(u64, u64)>,
    /// The service that a tenant would have received if it had always waited. A new tenant starts here, not at zero.
    clock: f64,
    /// The number of tenants at which those without calls are checked.
    sweep_at: usize,
}

impl PriorityLevel {
    /// Removes the tenants without calls whose service is not above the clock, so that names do not
    /// accumulate.
    fn sweep(&mut self) {
        if self.tenants.len() < self.sweep_at.max(SWEEP_LEAST) {
            return;
        }
        let clock = self.clock;
        self.tenants
            .retain(|_, tenant| !tenant.calls.is_empty() || tenant.served > clock);
        self.sweep_at = 2 * self.tenants.len();
    }
}

/// Which of the waiting calls is next.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Choice {
    /// The newest call of the first priority, instead of the oldest.
    pub(super) newest: bool,
    /// A call of the lowest priority, even if the first priority is due.
    pub(super) lowest: bool,
}

/// The properties of a call that the queue uses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) id: CallId,
    pub(super) priority: u8,
    pub(super) tenant: u64,
    /// Expected tokens; zero if unknown.
    pub(super) tokens: u32,
    /// The tenant's share, by which its service is divided.
    pub(super) weight: f64,
    /// `true` if it was sent before.
    pub(super) returned: bool,
}

/// The position of a call.
#[derive(Clone, Copy, Debug)]
struct Place {
    priority: u8,
    tenant: u64,
    cost: f64,
}

/// The waiting calls in their order of service.
#[derive(Debug)]
pub(super) struct Queue {
    priorities: BTreeMap<u8, PriorityLevel>,
    places: BTreeMap<CallId, Place>,
    lengths: BTreeMap<u64, usize>,
    longest: BTreeSet<(usize, u64)>,
    reserved_one_in: u32,
    dispatches: u32,
}

fn key(served: f64) -> u64 {
    std::time::Duration::try_from_secs_f64(served.max(0.0)).map_or(u64::MAX, |d| {
        u64::try_from(d.as_micros()).unwrap_or(u64::MAX)
    })
}

/// Returns the weight of a call. A call of unknown cost counts as a thousand tokens, so that hiding the cost has no
/// advantage.
fn weight(tokens: u32) -> f64 {
    if tokens == 0 {
        1000.0
    } else {
        f64::from(tokens)
    }
}

impl Queue {
    pub(super) fn new(reserved_one_in: u32) -> Self {
        Self {
            priorities: BTreeMap::new(),
            places: BTreeMap::new(),
            lengths: BTreeMap::new(),
            longest: BTreeSet::new(),
            reserved_one_in,
            dispatches: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Returns the number of waiting calls in each priority.
    pub(super) fn waiting(&self) -> Vec<PriorityReport> {
        let report = |(number, level): (&u8, &PriorityLevel)| PriorityReport {
            priority: *number,
            queued: level
                .tenants
                .values()
                .map(|tenant| tenant.calls.len())
                .sum(),
            tenants: level.order.len(),
        };
        self.priorities.iter().map(report).collect()
    }

    pub(super) fn holds(&self, id: CallId) -> bool {
        self.places.contains_key(&id)
    }

    pub(super) fn push(&mut self, new: Entry) {
        let Entry {
            id,
            priority,
            tenant,
            ..
        } = new;
        let cost = weight(new.tokens) / new.weight;
        self.places.insert(
            id,
            Place {
                priority,
                tenant,
                cost,
            },
        );
        let level = self.priorities.entry(priority).or_default();
        level.sweep();
        let clock = level.clock;
        let entry = level.tenants.entry(tenant).or_default();
        if entry.calls.is_empty() {
            entry.served = entry.served.max(clock);
            level.order.insert((key(entry.served), tenant));
        }
        entry.calls.insert(id);
        if new.returned {
            entry.returned.insert(id);
        }
        self.resize(tenant, 1);
    }

    /// Removes and returns the next call.
    pub(super) fn pop(&mut self, choice: Choice) -> Option<CallId> {
        let id = self.next(choice)?;
        self.dispatches = (self.dispatches + 1) % self.reserved_one_in;
        self.detach(id, true);
        Some(id)
    }

    /// Returns the call that `pop` would remove.
    pub(super) fn next(&self, choice: Choice) -> Option<CallId> {
        let reserved = (self.dispatches + 1).is_multiple_of(self.reserved_one_in);
        let (&number, level) = if reserved || choice.lowest {
            self.priorities.last_key_value()?
        } else {
            self.priorities.first_key_value()?
        };
        let &(_, tenant) = level.order.first()?;
        let entry = level.tenants.get(&tenant)?;
        let next = if choice.newest && number == 0 {
            entry.calls.last()
        } else {
            entry.calls.first()
        };
        entry.returned.first().or(next).copied()
    }

    /// Corrects the service of a tenant by the real cost of its call.
    pub(super) fn settle(&mut self, call: Entry, real: u32) {
        let tenant = call.tenant;
        let Some(level) = self.priorities.get_mut(&call.priority) else {
            return;
        };
        let Some(entry) = level.tenants.get_mut(&tenant) else {
            return;
        };
        let queued = level.order.remove(&(key(entry.served), tenant));
        let more = (weight(real) - weight(call.tokens)) / call.weight;
        entry.served = (entry.served + more).max(0.0);
        if queued {
            level.order.insert((key(entry.served), tenant));
        }
    }

    /// Returns how many calls go before a waiting one: those of higher priorities, those of its own tenant before it, and
    /// as many of each other tenant, which take turns with it.
    pub(super) fn ahead(&self, id: CallId) -> Option<usize> {
        let place = self.places.get(&id)?;
        let higher = self.priorities.range(..place.priority);
        let higher = higher.flat_map(|(_, level)| level.tenants.values());
        let level = self.priorities.get(&place.priority)?;
        let own = level.tenants.get(&place.tenant)?.calls.range(..id).count();
        let same = level.tenants.values();
        let same = same.map(|tenant| tenant.calls.len().min(own));
        Some(higher.map(|tenant| tenant.calls.len()).chain(same).sum())
    }

    pub(super) fn remove(&mut self, id: CallId) -> bool {
        self.detach(id, false)
    }

    /// Returns the newest call of the tenant with the most calls, unless that tenant is `tenant`.
    pub(super) fn victim(&self, tenant: u64) -> Option<CallId> {
        let &(length, longest) = self.longest.last()?;
        let own = self.lengths.get(&tenant).copied().unwrap_or(0);
        if longest == tenant || own + 1 >= length {
            return None;
        }
        let priorities = self.priorities.values().rev();
        priorities
            .filter_map(|level| level.tenants.get(&longest))
            .find_map(|t| t.calls.last().copied())
    }

    fn detach(&mut self, id: CallId, charge: bool) -> bool {
        let Some(place) = self.places.remove(&id) else {
            return false;
        };
        self.resize(place.tenant, -1);
        let Some(level) = self.priorities.get_mut(&place.priority) else {
            return false;
        };
        let waiting = level.order.len();
        if let Some(entry) = level.tenants.get_mut(&place.tenant) {
            level.order.remove(&(key(entry.served), place.tenant));
            entry.calls.remove(&id);
            entry.returned.remove(&id);
            if charge {
                // Each of the waiting tenants is due its share of the service. Otherwise new tenants, which start at
                // the clock, would keep it from advancing, and would always go before those already served.
                let part = place.cost / crate::num::real(waiting.max(1));
                level.clock = level.clock.max(entry.served) + part;
                entry.served += place.cost;
            }
            if entry.calls.is_empty() {
                if entry.served <= level.clock {
                    level.tenants.remove(&place.tenant);
                }
            } else {
                level.order.insert((key(entry.served), place.tenant));
            }
        }
        if level.order.is_empty() {
            self.priorities.remove(&place.priority);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_tenants_do_not_pile_up_in_a_band_that_is_never_empty() {
        let mut queue = Queue::new(5);
        // Some calls are long, so their tenants are ahead of the clock when they have no more calls.
        let entry = |id: u64| Entry {
            id: CallId(id),
            priority: 0,
            tenant: id,
            tokens: if id.is_multiple_of(50) { 1000 } else { 1 },
            weight: 1.0,
            returned: false,
        };
        for id in 0..20_000 {
            queue.push(entry(id));
            if queue.len() > 50 {
                assert!(queue.pop(Choice::default()).is_some());
            }
        }
        let known: usize = queue
            .priorities
            .values()
            .map(|level| level.tenants.len())
            .sum();
        assert!(known <= 200, "{known}");
    }

    #[test]
    fn newcomers_do_not_go_before_a_tenant_for_ever() {
        let mut queue = Queue::new(1000);
        let entry = |id: u64, tenant: u64| Entry {
            id: CallId(id),
            priority: 0,
            tenant,
            tokens: 10,
            weight: 1.0,
            returned: false,
        };
        for id in 0..20 {
            queue.push(entry(id, 0));
        }
        let mut served = 0;
        for id in 20..120 {
            // Each new tenant calls once, under its own name.
            queue.push(entry(id, id));
            queue.push(entry(1000 + id, 1000 + id));
            served += u32::from(queue.pop(Choice::default()).is_some_and(|id| id.0 < 20));
        }
        assert!(served >= 3, "{served} of 100 turns");
    }
}
