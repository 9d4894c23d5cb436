//! Scales a scenario in time: times are divided and rates multiplied by the speed, so that the same calls reach the
//! same backend faster.
//!
//! Counts of calls, slots and tokens are not scaled, and neither are the constants of the law (its idle time, its
//! windows). Compare only runs of the same speed.

use crate::sim::scenario::{Backend, Curve, Scenario, Work};

impl Scenario {
    /// Returns the scenario `speed` times as fast.
    pub(crate) fn scaled(&self, speed: f64) -> Self {
        let mut scaled = self.clone();
        for time in [
            &mut scaled.duration,
            &mut scaled.deadline,
            &mut scaled.timeout,
        ] {
            *time /= speed;
        }
        scaled.event = self.event.map(|at| at / speed);
        for time in scaled.gateways.iter_mut().chain(&mut scaled.restarts) {
            *time /= speed;
        }
        for tenant in &mut scaled.tenants {
            for point in &mut tenant.rate {
                *point = (point.0 / speed, point.1 * speed);
            }
            for job in &mut tenant.jobs {
                job.0 /= speed;
            }
            tenant.think /= speed;
        }
        if self.backend.batch.is_none() {
            scale_work(&mut scaled.work, speed);
        }
        scale_backend(&mut scaled.backend, speed);
        scaled.mix.scale(speed);
        scaled
    }
}

/// Scales work in seconds; work in tokens is unchanged.
fn scale_work(work: &mut Work, speed: f64) {
    work.mean /= speed;
    work.tokens_told *= speed;
}

fn sooner(curve: &mut Curve, speed: f64) {
    for point in curve {
        point.0 /= speed;
    }
}

fn scale_backend(backend: &mut Backend, speed: f64) {
    sooner(&mut backend.slots, speed);
    backend.refusal_time /= speed;
    if let Some(batch) = &mut backend.batch {
        // Seconds per token are scaled, because the work is in tokens.
        batch.t0 /= speed;
        batch.t1 /= speed;
    }
    if let Some(cold) = &mut backend.cold {
        cold.boot /= speed;
        cold.sleep_after /= speed;
        cold.warm_time /= speed;
    }
    if let Some(scaler) = &mut backend.scaler {
        scaler.busy_time /= speed;
        scaler.boot /= speed;
    }
    if let Some(quota) = &mut backend.quota {
        quota.per_minute *= speed;
        quota.foreign_period /= speed;
        quota.spent_until /= speed;
        quota.ramp_period /= speed;
        quota.window /= speed;
        quota.penalty /= speed;
    }
    backend.faults.burst_time /= speed;
    backend.faults.burst_period /= speed;
    backend.faults.loading_until /= speed;
    for brownout in &mut backend.brownouts {
        brownout.from /= speed;
        brownout.to /= speed;
    }
    for outage in &mut backend.outages {
        outage.from /= speed;
        outage.to /= speed;
    }
}

#[cfg(test)]
mod tests {
    use crate::sim::{arrivals, oracle, suite};

    #[test]
    fn a_scaled_scenario_offers_as_many_calls_and_its_oracle_serves_as_many() {
        for scenario in suite::named().unwrap() {
            if !["S03", "S05", "S12", "S18"].contains(&scenario.name.as_str()) {
                continue;
            }
            let fast = scenario.scaled(5.0);
            let (slow_calls, fast_calls) = (arrivals::draw(&scenario, 7), arrivals::draw(&fast, 7));
            assert_eq!(slow_calls.len(), fast_calls.len(), "{}", scenario.name);
            let (slow, fast) = (oracle::run(&scenario, 7), oracle::run(&fast, 7));
            let (slow, fast) = (slow.latencies.len(), fast.latencies.len());
            assert!(slow.abs_diff(fast) * 50 < slow, "{slow} and {fast} served");
        }
    }
}
