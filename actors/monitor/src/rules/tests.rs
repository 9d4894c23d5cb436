//! The rules in virtual time: each fires when it should, once, and an hour of healthy, noisy load raises nothing.

use std::{sync::Arc, time::Duration};

use crate::{
    ActorSample, AlertChanged, Change, LaneSample, Memory, ModelSample, Phase, Rule, RuleSettings,
    Sample, Times, Watch,
};

mod backends;
mod burn_rate;
mod earlier;
mod refusals;
mod service;
mod unusual;

/// A service with one lane, whose numbers a test changes second by second.
struct Service {
    watch: Watch,
    sample: Sample,
    changes: Vec<(u64, Change, Rule)>,
    last: Option<AlertChanged>,
}

impl Service {
    fn new() -> Self {
        let lane = LaneSample {
            name: "gpu".into(),
            phase: Phase::Serving,
            whole: Some(times(200)),
            ..LaneSample::default()
        };
        Self {
            watch: Watch::new(RuleSettings::default()),
            sample: Sample {
                lanes: vec![lane],
                ..Sample::default()
            },
            changes: Vec::new(),
            last: None,
        }
    }

    fn lane(&mut self) -> &mut LaneSample {
        &mut self.sample.lanes[0]
    }

    /// Lets so many seconds pass, each with `change`.
    fn seconds(&mut self, seconds: u64, mut change: impl FnMut(&mut Sample)) -> &mut Self {
        for _ in 0..seconds {
            self.sample.at += Duration::from_secs(1);
            self.sample.unix_seconds += 1;
            change(&mut self.sample);
            for changed in self.watch.take(&self.sample) {
                let at = self.sample.at.as_secs();
                self.changes.push((at, changed.change, changed.alert.rule));
                self.last = Some(changed);
            }
        }
        self
    }

    /// Lets so many seconds pass with ten calls each, of which so many fail and so many are refused.
    fn calls(&mut self, seconds: u64, failed: u64, refused: u64) -> &mut Self {
        self.seconds(seconds, |sample| {
            let lane = &mut sample.lanes[0];
            lane.calls += 10;
            lane.failed += failed;
            lane.refused += refused;
            lane.succeeded += 10 - failed - refused;
            lane.metered += 10 - failed - refused;
            lane.tokens += 100 * (10 - failed - refused);
        })
    }

    fn rules(&self) -> Vec<(Change, Rule)> {
        self.changes
            .iter()
            .map(|(_, change, rule)| (*change, *rule))
            .collect()
    }

    fn sentence(&self) -> &str {
        &self.last.as_ref().unwrap().alert.sentence
    }
}

fn times(millis: u64) -> Times {
    let comparable = Duration::from_millis(millis);
    Times {
        comparable,
        last: comparable,
    }
}

const OPENED: Change = Change::Opened;
const CLOSED: Change = Change::Closed;

/// One second of a healthy lane: bursts of load, one failure in 500, short refusals, latencies that vary by a factor of
/// two, now and then a cold start of the usual length, and one breaker that opens.
fn healthy(lane: &mut LaneSample, chance: &mut fastrand::Rng, second: u64) {
    lane.promised = None;
    let in_cold_start = second % 1800 < 20;
    lane.load_time_p95 = Some(Duration::from_secs(25));
    lane.held = chance.u64(1..20);
    if in_cold_start {
        lane.phase = if second.is_multiple_of(5) {
            Phase::Probing
        } else {
            Phase::Cold
        };
        lane.unreachable = second % 1800 < 5;
        lane.last_failure_age = Some(Duration::from_secs(1));
        lane.calls += chance.u64(0..20);
        return;
    }
    lane.unreachable = false;
    lane.phase = if second % 3600 == 1000 {
        Phase::Broken
    } else {
        Phase::Serving
    };
    let burst = if chance.f64() < 0.02 { 5 } else { 1 };
    for _ in 0..chance.u64(0..30) * burst {
        lane.calls += 1;
        let roll = chance.f64();
        if roll < 0.002 {
            lane.failed += 1;
        } else if burst > 1 && roll < 0.2 {
            lane.refused += 1;
            lane.promised = Some(Duration::from_secs(chance.u64(1..4)));
        } else {
            lane.succeeded += 1;
            lane.metered += 1;
            lane.tokens += chance.u64(20..2000);
        }
    }
    let noise = 2.0_f64.powf(chance.f64() * 2.0 - 1.0);
    let comparable = Duration::from_millis(300).mul_f64(noise);
    let last = comparable.mul_f64(chance.f64() * 5.0 + 0.1);
    lane.whole = Some(Times { comparable, last });
    lane.first_token = lane.whole;
}

#[test]
fn hours_of_healthy_and_noisy_load_raise_nothing() {
    for seed in 0..6 {
        let mut chance = fastrand::Rng::with_seed(seed);
        let mut service = Service::new();
        let second_lane = LaneSample {
            name: Arc::from("other"),
            ..service.sample.lanes[0].clone()
        };
        service.sample.lanes.push(second_lane);
        service.sample.actors = (0..10)
            .map(|number| ActorSample {
                path: format!("/user/worker-{number}").into(),
                ..ActorSample::default()
            })
            .collect();
        service.seconds(2 * 3600, |sample| {
            let second = sample.at.as_secs();
            for (number, lane) in (0..).zip(&mut sample.lanes) {
                healthy(lane, &mut chance, second + 700 * number);
            }
            for actor in &mut sample.actors {
                actor.mailbox = chance.usize(0..50);
                // At times it is busy for some seconds.
                actor.handled += chance.u64(0..100) / 30;
            }
        });
        assert_eq!(service.changes, [], "seed {seed}: {:?}", service.last);
        assert!(
            service.sample.lanes[0].failed > 50,
            "the load is not without failures"
        );
    }
}
