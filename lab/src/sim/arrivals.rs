//! The calls of a run, drawn before it starts: when, whose, how long, at what cost.
//!
//! Arrivals are Poisson, by thinning. It exists apart from the run so that every law and the oracle are
//! offered the very same calls. Closed loops cannot be drawn ahead: only their first calls are here.

use crate::sim::dice::{Dice, Purpose};
use crate::sim::number::{count, real, whole};
use crate::sim::scenario::{Scenario, Tenant, linear};

/// One call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    /// When it is offered.
    pub(crate) at: f64,
    pub(crate) tenant: usize,
    /// Which gateway it reaches.
    pub(crate) gateway: usize,
    /// Service time, or tokens on a batch server.
    pub(crate) work: f64,
    /// Quota cost; zero has none.
    pub(crate) cost: u32,
    /// Output tokens, where the answer tells them.
    pub(crate) tokens: Option<u32>,
}

/// Draws all calls of the run, in order of time.
pub(crate) fn draw(scenario: &Scenario, seed: u64) -> Vec<Call> {
    let mut times: Vec<(f64, usize)> = Vec::new();
    for (index, tenant) in scenario.tenants.iter().enumerate() {
        let mut dice = Dice::new(seed, Purpose::Arrival, crate::sim::key(index), 0);
        if tenant.closed > 0 {
            for _ in 0..tenant.closed {
                times.push((dice.exponential(tenant.think.max(0.1)), index));
            }
        } else {
            thin(tenant, scenario.duration, &mut dice, index, &mut times);
        }
    }
    times.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let calls = times.iter().enumerate();
    calls
        .map(|(id, &(at, tenant))| make(scenario, seed, id, at, tenant))
        .collect()
}

fn thin(
    tenant: &Tenant,
    duration: f64,
    dice: &mut Dice,
    index: usize,
    times: &mut Vec<(f64, usize)>,
) {
    let peak = tenant.rate.iter().map(|point| point.1).fold(0.0, f64::max);
    let burst = f64::from(tenant.burst.max(1));
    if peak <= 0.0 {
        return;
    }
    let mut now = 0.0;
    loop {
        now += dice.exponential(burst / peak);
        if now >= duration {
            return;
        }
        if dice.unit() * peak < linear(&tenant.rate, now) {
            times.extend(std::iter::repeat_n((now, index), whole(burst)));
        }
    }
}

/// Draws what one call costs; `id` is its place in the run.
pub(crate) fn make(scenario: &Scenario, seed: u64, id: usize, at: f64, tenant: usize) -> Call {
    let work = &scenario.work;
    let mut dice = Dice::new(seed, Purpose::Work, crate::sim::key(id), 0);
    let long = dice.unit() < work.long_share;
    let factor = if long { work.long_factor } else { 1.0 };
    let amount = factor * dice.lognormal(work.mean, work.sigma);
    let mut costs = Dice::new(seed, Purpose::Tokens, crate::sim::key(id), 0);
    let cost = if work.cost_mean > 0.0 {
        count(costs.lognormal(work.cost_mean, work.cost_sigma).max(1.0))
    } else {
        0
    };
    let tokens = (work.tokens_told > 0.0).then(|| count((amount * work.tokens_told).max(1.0)));
    let open = scenario.gateways.iter().filter(|from| **from <= at).count();
    let mut route = Dice::new(seed, Purpose::Route, crate::sim::key(id), 0);
    Call {
        at,
        tenant,
        gateway: whole(route.unit() * real(open)).min(open.saturating_sub(1)),
        work: amount,
        cost,
        tokens,
    }
}
