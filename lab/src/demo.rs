//! Runs one job twice: with a fixed strategy, and through a lane.
//!
//! Both send the same prompts to the same simulated model with the same seed, and both start while it is cold. The
//! clock is tokio's, so with paused time the job takes no real time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::{StreamExt, stream};
use kebne_actors::ActorSystem;
use kebne_lane::{
    Answer, Attempt, Backend, CallOptions, Failure, LaneBuilder, LaneHandle, LaneSettings, Outcome,
    Reply, StartError,
};
use serde::Serialize;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::simulate::{
    LiveModel, PLAN_ATTEMPT_TIMEOUT, Preset, Profile, WorkEnding, text::Text, work_of,
};

/// The number of calls that the fixed strategy sends at the slow pace, before the fast one.
const SLOW_CALLS: usize = 20;
/// Time between two calls at the slow and at the fast pace.
const SLOW_EVERY: Duration = Duration::from_millis(500);
const FAST_EVERY: Duration = Duration::from_millis(100);
/// Largest number of calls in flight of the fixed strategy.
const PARALLEL: usize = 4;
/// Retries of the fixed strategy, and the time before each.
const RETRIES: u32 = 2;
const RETRY_AFTER: Duration = Duration::from_millis(300);
/// Deadline of the lane's callers; long, because the job is a batch.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(10);
/// Interval at which the lane's limit is read.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The job.
#[derive(Clone, Copy, Debug)]
pub struct Job {
    /// Prompts.
    pub calls: usize,
    /// Seed of the model.
    pub seed: u64,
}

/// The result of a strategy.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The number of prompts with an answer.
    pub successes: u64,
    /// The number of prompts without an answer.
    pub failures: u64,
    /// The number of calls that reached the model, including refused ones.
    pub upstream_calls: u64,
    /// The number of these calls that produced no answer.
    pub wasted_calls: u64,
    /// Time from the first prompt to the last answer, in seconds.
    pub seconds: f64,
    /// The limit on calls in flight as it changed: seconds, and the limit from then on.
    pub limits: Vec<(f64, u32)>,
}

/// Receives each ending and each new limit while the job runs.
pub trait Watcher {
    /// Called when a prompt was answered or has failed.
    fn ended(&self, success: bool);
    /// Called when the limit on calls in flight has changed.
    fn limit(&self, limit: u32);
}

/// The model, with a count of the calls that reach it.
#[derive(Debug)]
struct Counted {
    model: LiveModel,
    calls: AtomicU64,
}

impl Counted {
    fn new(job: Job) -> Arc<Self> {
        let profile = Profile {
            seed: job.seed,
            ..Profile::preset(Preset::Plan)
        };
        Arc::new(Self {
            model: LiveModel::new(profile),
            calls: AtomicU64::new(0),
        })
    }
}

impl Backend for Counted {
    type Request = usize;
    type Response = Text;

    async fn attempt(&self, attempt: Attempt<usize>) -> Result<Answer<Text>, Failure> {
        self.calls.fetch_add(1, Relaxed);
        let (decision, _, _place) = self.model.arrive();
        let work = work_of(decision)?;
        sleep(work.first_token).await;
        if work.ending == WorkEnding::Failed {
            return Err(Failure::new(Outcome::Fault, "the simulated model failed"));
        }
        let prompt = format!("prompt {}", attempt.request);
        let text = Text::answer(&prompt, self.model.profile().answer_tokens, None);
        let tokens = u32::try_from(text.tokens.len()).unwrap_or(u32::MAX);
        sleep(work.token_time.saturating_mul(tokens.saturating_sub(1))).await;
        Ok(Answer::complete(text))
    }
}

/// Runs the job with the fixed strategy: a pace in two steps, four in parallel, a timeout, two retries.
pub async fn fixed(job: Job, watcher: &dyn Watcher) -> Report {
    let model = Counted::new(job);
    let since = Instant::now();
    let mut slow = interval(SLOW_EVERY);
    let mut fast = interval(FAST_EVERY);
    slow.set_missed_tick_behavior(MissedTickBehavior::Delay);
    fast.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let paced = stream::unfold((0, slow, fast), |(number, mut slow, mut fast)| async move {
        if number >= job.calls {
            return None;
        }
        if number < SLOW_CALLS {
            slow.tick().await;
        } else {
            fast.tick().await;
        }
        Some((number, (number + 1, slow, fast)))
    });
    let answered = paced
        .map(|number| persist(Arc::clone(&model), number))
        .buffered(PARALLEL);
    let successes = answered
        .fold(0, |successes, success| {
            watcher.ended(success);
            std::future::ready(successes + u64::from(success))
        })
        .await;
    report(job, &model, since, successes, Vec::new())
}

/// Makes one call with timeout and retries. Returns `true` if it was answered.
async fn persist(model: Arc<Counted>, number: usize) -> bool {
    for attempt in 0..=RETRIES {
        if attempt > 0 {
            sleep(RETRY_AFTER).await;
        }
        let attempt = Attempt {
            request: number,
            number: attempt + 1,
            wake: false,
            first_part_timeout: None,
            idle_timeout: Duration::MAX,
            cancelled: CancellationToken::new(),
        };
        if let Ok(Ok(_)) = timeout(PLAN_ATTEMPT_TIMEOUT, model.attempt(attempt)).await {
            return true;
        }
    }
    false
}

/// Runs the job through a lane with its default settings: all calls are offered at once, and the lane paces them.
///
/// Must run on an actix system.
///
/// # Errors
/// Fails if the lane does not start.
pub async fn kebne(job: Job, watcher: &dyn Watcher) -> Result<Report, StartError> {
    let model = Counted::new(job);
    let system = ActorSystem::new("demo", job.seed);
    let settings = LaneSettings {
        seed: job.seed,
        ..LaneSettings::default()
    };
    let lane = LaneBuilder::new("model", Arc::clone(&model))
        .settings(settings)
        .start(&system)
        .await?;
    let since = Instant::now();
    let calls = (0..job.calls).map(|number| {
        let lane = lane.clone();
        async move {
            let reply = lane
                .call(number, CallOptions::within(ANSWER_TIMEOUT).idempotent())
                .await;
            let success = reply.map(Reply::complete).is_ok();
            watcher.ended(success);
            u64::from(success)
        }
    });
    let answered = futures_util::future::join_all(calls);
    let mut limits = Vec::new();
    let successes = tokio::select! {
        successes = answered => successes.into_iter().sum(),
        () = look(&lane, since, watcher, &mut limits) => 0,
    };
    let report = report(job, &model, since, successes, limits);
    system.terminate().await;
    Ok(report)
}

/// Reports each new limit while it is polled.
async fn look(
    lane: &LaneHandle<Counted>,
    since: Instant,
    watcher: &dyn Watcher,
    limits: &mut Vec<(f64, u32)>,
) {
    loop {
        let limit = lane.limit();
        if limits.last().is_none_or(|(_, last)| *last != limit) {
            limits.push((since.elapsed().as_secs_f64(), limit));
            watcher.limit(limit);
        }
        sleep(LOOK_EVERY).await;
    }
}

fn report(
    job: Job,
    model: &Counted,
    since: Instant,
    successes: u64,
    limits: Vec<(f64, u32)>,
) -> Report {
    let upstream_calls = model.calls.load(Relaxed);
    Report {
        successes,
        failures: job.calls as u64 - successes,
        upstream_calls,
        wasted_calls: upstream_calls.saturating_sub(successes),
        seconds: since.elapsed().as_secs_f64(),
        limits,
    }
}

#[cfg(test)]
mod tests;
