//! The calls of a run, drawn before it starts: arrival time, tenant, work and cost.
//!
//! Arrivals are Poisson, drawn by thinning. They are drawn before the run, so that every law and the oracle receive
//! the same calls. The calls of closed loops depend on the answers, so only their first calls are drawn here.

use crate::sim::dice::{Dice, Purpose};
use crate::sim::number::{count, real, whole};
use crate::sim::scenario::{Scenario, Tenant, linear};

/// One call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    /// The arrival time, in seconds.
    pub(crate) at: f64,
    pub(crate) tenant: usize,
    /// The index of the gateway that it reaches.
    pub(crate) gateway: usize,
    /// The service time in seconds, or tokens on a batch server.
    pub(crate) work: f64,
    /// The quota cost in tokens; zero for none.
    pub(crate) cost: u32,
    /// Output tokens, if the answer reports them.
    pub(crate) tokens: Option<u32>,
    /// The share of the work that the prompt takes.
    pub(crate) prompt: f64,
    pub(crate) streamed: bool,
    /// `true` for a call of the second operation.
    pub(crate) short: bool,
    /// Seconds after which the caller leaves.
    pub(crate) leaves_after: Option<f64>,
    /// `true` if the caller leaves with the first part of the answer.
    pub(crate) leaves_begun: bool,
    /// The number of calls that its caller has made for this answer, including this one.
    pub(crate) tries: u32,
}

/// Draws all calls of the run, in order of time.
pub(crate) fn draw(scenario: &Scenario, seed: u64) -> Vec<Call> {
    let mut times: Vec<(f64, usize)> = Vec::new();
    for (index, tenant) in scenario.tenants.iter().enumerate() {
        let mut dice = Dice::new(seed, Purpose::Arrival, crate::sim::key(index), 0);
        for &(at, calls) in &tenant.jobs {
            times.extend((0..calls).map(|_| (at, index)));
        }
        if tenant.closed > 0 {
            for _ in 0..tenant.closed {
                times.push((dice.exponential(tenant.think.max(0.1)), index));
            }
        } else {
            let mut gaps = Gaps {
                dice,
                variation: scenario.mix.gaps,
            };
            thin(tenant, scenario.duration, &mut gaps, index, &mut times);
        }
    }
    times.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let calls = times.iter().enumerate();
    calls
        .map(|(id, &(at, tenant))| make(scenario, seed, id, at, tenant))
        .collect()
}

/// The times between arrivals: gamma distributed, as in published traces, or those of a Poisson process.
struct Gaps {
    dice: Dice,
    /// Coefficient of variation; zero is a Poisson process.
    variation: f64,
}

impl Gaps {
    fn next(&mut self, mean: f64) -> f64 {
        if self.variation > 0.0 {
            mean * self.dice.gamma(self.variation.powi(-2))
        } else {
            self.dice.exponential(mean)
        }
    }
}

fn thin(
    tenant: &Tenant,
    duration: f64,
    gaps: &mut Gaps,
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
        now += gaps.next(burst / peak);
        if now >= duration {
            return;
        }
        if gaps.dice.unit() * peak < linear(&tenant.rate, now) {
            times.extend(std::iter::repeat_n((now, index), whole(burst)));
        }
    }
}

/// Draws the work and the cost of one call; `id` is its index in the run.
pub(crate) fn make(scenario: &Scenario, seed: u64, id: usize, at: f64, tenant: usize) -> Call {
    let work = &scenario.work;
    let mut dice = Dice::new(seed, Purpose::Work, crate::sim::key(id), 0);
    let mix = &scenario.mix;
    let long = dice.unit() < work.long_share;
    let drawn = if mix.tail > 1.0 {
        dice.pareto(work.mean, mix.tail)
    } else {
        dice.lognormal(work.mean, work.sigma)
    };
    let mut manner = Dice::new(seed, Purpose::Manner, crate::sim::key(id), 0);
    let short = manner.unit() < mix.short_share;
    let streamed = manner.unit() < mix.streamed && !short;
    let leaves = manner.unit();
    let leaves_after = (leaves < mix.leave_early).then(|| mix.patience * manner.unit());
    let factor = match (long, short) {
        (_, true) => mix.short_factor,
        (true, false) => work.long_factor,
        (false, false) => 1.0,
    };
    let mut prompts = Dice::new(seed, Purpose::Prompt, crate::sim::key(id), 0);
    let prompt = if mix.prompt > 0.0 {
        factor * prompts.lognormal(mix.prompt * work.mean, mix.prompt_sigma.max(1e-3))
    } else {
        0.0
    };
    let written = factor * drawn * (1.0 - mix.prompt);
    let amount = written + prompt;
    let mut costs = Dice::new(seed, Purpose::Tokens, crate::sim::key(id), 0);
    let cost = if work.cost_mean > 0.0 {
        count(costs.lognormal(work.cost_mean, work.cost_sigma).max(1.0))
    } else {
        0
    };
    let tokens = (work.tokens_told > 0.0).then(|| count((written * work.tokens_told).max(1.0)));
    let open = scenario.gateways.iter().filter(|from| **from <= at).count();
    let mut route = Dice::new(seed, Purpose::Route, crate::sim::key(id), 0);
    Call {
        at,
        tenant,
        gateway: whole(route.unit() * real(open)).min(open.saturating_sub(1)),
        work: amount,
        cost,
        tokens,
        prompt,
        streamed,
        short,
        leaves_after,
        leaves_begun: leaves > 1.0 - mix.leave_begun,
        tries: 1,
    }
}
