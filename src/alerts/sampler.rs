//! Turns a sample of the live view into the numbers that the rules see.

use std::{sync::Arc, time::Duration};

use kebne_context::StoreHealth;
use kebne_control::{LaneState, Outcome};
use kebne_lane::{Ending, LaneSnapshot, LastFailure};
use kebne_monitor::{
    ActorSample, BudgetSample, KeySample, LaneSample, Phase, Sample, ServerSample, StoreOutage,
};
use kebne_servers::ServerReport;

use crate::{
    backend::reason,
    gateway::{Gateway, HealthReport},
    live::{self, Live, Moment},
    logging,
    tally::Tally,
    unix_time,
};

/// A longer pause is a quota that is used up.
const PAUSE_MAX: Duration = Duration::from_mins(10);

/// Returns the sample of one moment, at a time since the start. A lane that is not in the moment, or whose numbers are stale,
/// has not answered.
pub(super) fn sample(at: Duration, moment: &Moment, gateway: &Gateway, tally: &Tally) -> Sample {
    let seen = &moment.seen;
    let names = gateway.lane_names();
    let refusals = gateway.refusals();
    let lanes = names.iter().map(|name| {
        let mut snapshots = seen.gateway.lanes.iter();
        let snapshot = snapshots.find(|snapshot| *snapshot.name == *name && !snapshot.stale);
        let mut sample = snapshot.map_or_else(|| silent(name), lane);
        let mut checks = seen.gateway.health.iter();
        let check = checks.find(|report| report.lane == **name);
        sample.check_failure = check.and_then(HealthReport::unreachable).map(Into::into);
        sample.has_alternative = gateway.has_alternative(name);
        let models = moment.sample.models.iter();
        let has_it = |model: &&live::ModelSample| model.backends.contains(name);
        sample.models = models.filter(has_it).count();
        if let Some(reasons) = refusals.get(name.as_str()) {
            sample.refusals.clone_from(reasons);
        }
        [sample.first_token, sample.whole] = tally.times(name);
        (sample.metered, sample.tokens) = tally.tokens(name);
        (sample.priced, sample.cost_nano) = tally.costs(name);
        sample.promised = tally.take_promised(name);
        sample
    });
    let keys = moment.sample.keys.iter().map(|key| KeySample {
        name: key.name.as_str().into(),
        running: key.in_flight,
    });
    let actors = seen.gateway.actors.iter().map(|actor| ActorSample {
        path: Arc::clone(&actor.path),
        mailbox: actor.mailbox,
        handled: actor.handled,
        restarts: actor.restarts,
        last_failure: actor.last_failure.clone(),
    });
    Sample {
        at,
        unix_seconds: unix_time::seconds(),
        lanes: lanes.collect(),
        models: tally.models(),
        actors: actors.collect(),
        keys: keys.collect(),
        store_outage: match &seen.store {
            StoreHealth::Available => None,
            StoreHealth::Unavailable { reason, .. } => Some(reason.clone()),
        },
        budgets: budgets(gateway),
        currency: currency(moment),
        stores: Vec::new(),
        certificate_expires_at: None,
        account_outage: gateway.accounts().health().reason,
        log_lines_dropped: logging::lines_dropped(),
        servers: seen.gateway.servers.iter().map(server).collect(),
        failed: tally.failures(),
    }
}

/// Returns the stores of prompts, collections and kept answers that do not work.
pub(super) fn stores(gateway: &Gateway, live: &Live) -> Vec<StoreOutage> {
    let uncounted = || "what it holds cannot be counted".to_owned();
    let collections = live.collections().is_none().then(uncounted);
    let stores = [
        ("prompts", gateway.prompts().health().reason),
        ("collections", collections),
        ("kept answers", gateway.answer_cache().health().reason),
    ];
    let failed = stores.into_iter().filter_map(|(name, reason)| {
        let name = name.into();
        reason.map(|reason| StoreOutage { name, reason })
    });
    failed.collect()
}

fn server(report: &ServerReport) -> ServerSample {
    ServerSample {
        name: Arc::clone(&report.name),
        is_failing: report.is_failing,
        serves: report.state == kebne_servers::Phase::Ready,
        is_awake: report.is_awake,
        failures: report.failures_in_row,
        last_error: report.last_error.clone(),
    }
}

/// Returns the budgets of all accounts.
fn budgets(gateway: &Gateway) -> Vec<BudgetSample> {
    let views = gateway.accounts().views();
    let budgets = views.iter().flat_map(|(account, view)| {
        view.budgets.iter().map(|budget| BudgetSample {
            account: Arc::clone(account),
            period: budget.budget.per.name(),
            used_permille: budget.used_permille,
        })
    });
    budgets.collect()
}

fn currency(moment: &Moment) -> Arc<str> {
    let cost = moment.sample.cost.as_ref();
    cost.map_or_else(|| "".into(), |cost| Arc::clone(&cost.currency))
}

/// Returns the sample of a lane whose actors did not answer.
fn silent(name: &str) -> LaneSample {
    LaneSample {
        name: name.into(),
        phase: Phase::Silent,
        ..LaneSample::default()
    }
}

fn lane(snapshot: &LaneSnapshot) -> LaneSample {
    let failures = snapshot.failures.iter();
    let misconfigured = failures.filter(|failure| failure.class == Outcome::Misconfigured.label());
    let last = snapshot.last_failure.as_ref();
    let ended = |endings: &[Ending]| {
        let counts = endings.iter().map(|ending| snapshot.endings.of(*ending));
        counts.sum::<u64>()
    };
    LaneSample {
        name: Arc::clone(&snapshot.name),
        phase: phase(snapshot),
        closed: snapshot.closed.clone(),
        calls: snapshot.endings.calls,
        succeeded: ended(&[Ending::Success]),
        failed: ended(&[Ending::Error, Ending::Timeout, Ending::Panic]),
        refused: ended(&[Ending::Shed]),
        refusals: Vec::new(),
        held: u64::try_from(snapshot.live).unwrap_or(u64::MAX),
        misconfigured: misconfigured.map(|failure| failure.count).sum(),
        unreachable: last.is_some_and(|last| last.reason == Some(reason::UNREACHABLE)),
        check_failure: None,
        last_failure: last.map(in_words),
        last_failure_age: last.map(|last| Duration::from_millis(last.age_ms)),
        next_attempt_in: snapshot.next_attempt_in_ms.map(Duration::from_millis),
        first_token: None,
        whole: None,
        load_time_p95: snapshot.controller.load_time_p95,
        promised: None,
        metered: 0,
        tokens: 0,
        priced: 0,
        cost_nano: 0,
        models: 0,
        has_alternative: false,
    }
}

fn phase(snapshot: &LaneSnapshot) -> Phase {
    let pause = snapshot.next_attempt_in_ms.map(Duration::from_millis);
    phase_of(snapshot.state, pause)
}

fn phase_of(state: LaneState, pause: Option<Duration>) -> Phase {
    match state {
        LaneState::Idle => Phase::Idle,
        LaneState::Probe => Phase::Probing,
        LaneState::Cold => Phase::Cold,
        LaneState::Ramp | LaneState::Steady => Phase::Serving,
        LaneState::Open => Phase::Broken,
        // No server needs so long to recover: a limit of a day or a month is used up.
        LaneState::Paused if pause.is_some_and(|pause| pause > PAUSE_MAX) => Phase::OutOfQuota,
        LaneState::Paused => Phase::Paused,
        LaneState::Quota => Phase::OutOfQuota,
    }
}

/// Returns a failure as a part of a sentence, with the status if the message does not name it.
fn in_words(failure: &LastFailure) -> Arc<str> {
    let message = failure.message.trim_end_matches('.');
    match failure.status {
        Some(status) if !message.contains(&status.to_string()) => {
            format!("status {status}, {message}").into()
        }
        _ => message.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_of_a_lane_has_its_phase() {
        let phases = LaneState::ALL.map(|state| phase_of(state, None));
        let serving = phases.iter().filter(|phase| **phase == Phase::Serving);
        assert_eq!(serving.count(), 2);
        let paused = |minutes| phase_of(LaneState::Paused, Some(Duration::from_mins(minutes)));
        assert_eq!([paused(9), paused(60)], [Phase::Paused, Phase::OutOfQuota]);
        assert_eq!(phase_of(LaneState::Open, None), Phase::Broken);
        assert!(!phases.contains(&Phase::Silent));
    }
}
