//! All rules over all samples: the pure part of the monitor.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::{
    Access, Alert, AlertChanged, Alerts, BudgetSample, Habits, LaneSample, Memory, Rule,
    RuleSettings, Sample,
    desk::{Desk, Finding, Level},
    rules::{BurnRate, LaneRules, Restarts, StuckActors, View},
    spoken::moment,
};

/// Time for which a dropped line of the log is news.
const LINES_NEWS: Duration = Duration::from_mins(1);

/// Applies the rules to samples and keeps the alerts. It reads no clock: the samples carry the time.
#[derive(Debug)]
pub struct Watch {
    settings: RuleSettings,
    access: Access,
    lanes: BTreeMap<Arc<str>, LaneRules>,
    models: BTreeMap<Arc<str>, BurnRate>,
    /// What was known of the lanes before the first sample.
    habits: BTreeMap<Arc<str>, Habits>,
    actors: StuckActors,
    restarts: Restarts,
    lines_dropped: Option<u64>,
    lines_dropped_at: Option<Duration>,
    desk: Desk,
}

impl Watch {
    /// Creates a watch without alerts.
    pub fn new(settings: RuleSettings) -> Self {
        Self::with_memory(settings, &Memory::default())
    }

    /// Creates a watch with the alerts of an earlier process and what that has learned.
    pub fn with_memory(settings: RuleSettings, memory: &Memory) -> Self {
        Self {
            desk: Desk::new(&settings, memory),
            settings,
            access: Access::default(),
            lanes: BTreeMap::new(),
            models: BTreeMap::new(),
            habits: memory.habits.clone(),
            actors: StuckActors::default(),
            restarts: Restarts::default(),
            lines_dropped: None,
            lines_dropped_at: None,
        }
    }

    /// Replaces the thresholds from the next sample on.
    pub(crate) fn change(&mut self, settings: RuleSettings) {
        self.desk.change(&settings);
        self.settings = settings;
    }

    /// Applies the rules to one sample; returns the alerts that it opens and closes.
    pub fn take(&mut self, sample: &Sample) -> Vec<AlertChanged> {
        let mut findings = Vec::new();
        // A lane that is in no sample any more is forgotten.
        let names = |name: &Arc<str>| sample.lanes.iter().any(|lane| lane.name == *name);
        self.lanes.retain(|name, _| names(name));
        for lane in &sample.lanes {
            let habits = &self.habits;
            let rules = self.lanes.entry(Arc::clone(&lane.name)).or_insert_with(|| {
                LaneRules::new(habits.get(&lane.name).unwrap_or(&Habits::default()))
            });
            let failed = sample
                .failed
                .iter()
                .filter(|failed| failed.lane == lane.name);
            let failed = failed.map(|one| ((Arc::clone(&one.model), one.reason), one.count));
            findings.extend(rules.look(&View {
                at: sample.at,
                unix_seconds: sample.unix_seconds,
                failed: &failed.collect::<Vec<_>>(),
                lane,
                settings: &self.settings,
                currency: &sample.currency,
            }));
        }
        let of_models = self.models(sample);
        leave_to_models(&mut findings, &of_models);
        findings.extend(of_models);
        findings.extend(self.actors.look(sample, &self.settings));
        findings.extend(self.restarts.look(sample));
        findings.extend(store_down(sample));
        findings.extend(account_store_down(sample));
        findings.extend(content_stores_down(sample));
        findings.extend(budgets(sample));
        findings.extend(certificate(sample));
        findings.extend(servers(sample));
        findings.extend(self.lines_dropped(sample));
        for key in self.desk.earlier() {
            let is_found = |found: &Finding| found.rule == key.0 && found.subject == key.1;
            if !findings.iter().any(is_found) && is_judged_anew(&key, sample) {
                self.desk.refute(&key);
            }
        }
        self.desk
            .take(findings, sample.at, sample.unix_seconds, &self.access)
    }

    /// Returns how the commands in actions reach the service.
    pub(crate) fn access(&self) -> &Access {
        &self.access
    }

    /// Has the commands in actions reach the service in another way.
    pub(crate) fn reach_by(&mut self, access: Access) {
        self.access = access;
    }

    /// Returns the open alerts.
    pub fn active(&self) -> Vec<Alert> {
        self.desk.active()
    }

    /// Returns the open alerts about which something may be done.
    pub(crate) fn to_act_on(&self) -> Vec<Alert> {
        self.desk.to_act_on()
    }

    /// Notes that somebody undid the closing of a lane, so that it will not be open on trial.
    pub(crate) fn let_in(&mut self, lane: &str) {
        if let Some(rules) = self.lanes.get_mut(lane) {
            rules.let_in();
        }
    }

    /// Returns the alerts, without actions.
    pub fn alerts(&self) -> Alerts {
        self.desk.alerts()
    }

    /// Adds what is to be kept across a restart.
    pub(crate) fn remember(&self, memory: &mut Memory) {
        self.desk.remember(memory);
        for (name, rules) in &self.lanes {
            let habits = memory.habits.entry(Arc::clone(name)).or_default();
            let day = std::mem::take(&mut habits.day);
            *habits = Habits {
                day,
                ..rules.habits()
            };
        }
    }

    fn models(&mut self, sample: &Sample) -> Vec<Finding> {
        let names = |name: &Arc<str>| sample.models.iter().any(|model| model.name == *name);
        self.models.retain(|name, _| names(name));
        let mut found = Vec::new();
        for model in sample
            .models
            .iter()
            .filter(|model| model.only_lane.is_none())
        {
            let rule = self.models.entry(Arc::clone(&model.name)).or_default();
            let both = rule.look_at_model(sample, model, &self.settings);
            found.extend(both.into_iter().flatten());
        }
        found
    }

    fn lines_dropped(&mut self, sample: &Sample) -> Option<Finding> {
        let dropped = sample.log_lines_dropped;
        if dropped > *self.lines_dropped.get_or_insert(dropped) {
            self.lines_dropped = Some(dropped);
            self.lines_dropped_at = Some(sample.at);
        }
        let at = self.lines_dropped_at?;
        let is_news = sample.at.saturating_sub(at) < LINES_NEWS;
        is_news.then(|| Finding {
            rule: Rule::LogLinesDropped,
            subject: "log".into(),
        action: None,
        only_model: None,
            level: Level::Firing,
            sentence: format!(
                "{dropped} lines of the log have been lost since the start, the last ones just now, because standard \
                 error or the file of the request log did not take them in time."
            ),
        })
    }
}

/// Leaves the failures of one model at a lane that serves others too to the alert of the model, if that opens.
fn leave_to_models(of_lanes: &mut [Finding], of_models: &[Finding]) {
    for finding in of_lanes {
        let mut firing = of_models
            .iter()
            .filter(|found| found.level == Level::Firing);
        let model = finding.only_model.as_ref();
        if firing.any(|found| Some(&found.subject) == model) {
            finding.level = Level::Holding;
        }
    }
}

/// The calls since the start after which a rule about calls has judged again.
const CALLS_ENOUGH: u64 = 20;
/// Time since the start after which what the service asks by itself has been answered: the stores are asked each ten seconds.
const ASKED_WITHIN: Duration = Duration::from_secs(15);

/// Returns `true` if this process has seen enough to judge again what an earlier one found, so that its alert need not wait
/// for its time. What is not there any more needs no judgement.
fn is_judged_anew((rule, subject): &(Rule, Arc<str>), sample: &Sample) -> bool {
    let with_lane = |judge: fn(&LaneSample) -> bool| {
        let mut lanes = sample.lanes.iter();
        lanes.find(|lane| lane.name == *subject).is_none_or(judge)
    };
    match rule {
        // What the first sample shows, and actors, which are new.
        Rule::LaneClosed
        | Rule::StuckActor
        | Rule::ActorRestarts
        | Rule::CertificateExpires
        | Rule::LogLinesDropped => true,
        Rule::BackendDown | Rule::ColdStartLong | Rule::Misconfigured | Rule::QuotaUsedUp => {
            with_lane(|lane| lane.succeeded > 0)
        }
        Rule::BurnRateFast
        | Rule::BurnRateSlow
        | Rule::Flapping
        | Rule::Slower
        | Rule::TokensUnusual
        | Rule::CostUnusual => {
            with_lane(|lane| lane.succeeded.saturating_add(lane.failed) >= CALLS_ENOUGH)
        }
        // The first calls after a start find an empty queue.
        Rule::RefusalsSustained => {
            sample.at >= ASKED_WITHIN && with_lane(|lane| lane.calls >= CALLS_ENOUGH)
        }
        Rule::RetryAfterWrong => with_lane(|lane| lane.calls >= CALLS_ENOUGH),
        Rule::ModelBurnRateFast | Rule::ModelBurnRateSlow => {
            let mut models = sample.models.iter();
            let model = models.find(|model| model.name == *subject);
            let ended = model.map(|model| model.succeeded.saturating_add(model.failed));
            ended.is_none_or(|ended| ended >= CALLS_ENOUGH)
        }
        Rule::StoreDown
        | Rule::AccountStoreDown
        | Rule::ContentStoreDown
        | Rule::BudgetNearlyUsed => sample.at >= ASKED_WITHIN,
        Rule::ServerFails => {
            let mut servers = sample.servers.iter();
            let server = servers.find(|server| server.name == *subject);
            server.is_none_or(|server| server.serves)
        }
    }
}

/// The part of a budget in thousandths from which it is reported.
const NEARLY_USED: u64 = 900;

/// Reports accounts with a budget that is nearly used; of several budgets of one account, the one that is used most.
fn budgets(sample: &Sample) -> Vec<Finding> {
    let mut worst: BTreeMap<&Arc<str>, &BudgetSample> = BTreeMap::new();
    for budget in &sample.budgets {
        let known = worst.entry(&budget.account).or_insert(budget);
        if budget.used_permille > known.used_permille {
            *known = budget;
        }
    }
    let nearly = worst
        .into_values()
        .filter(|budget| budget.used_permille >= NEARLY_USED);
    let findings = nearly.map(|budget| {
        let (account, period) = (&budget.account, budget.period);
        let percent = budget.used_permille / 10;
        Finding {
            rule: Rule::BudgetNearlyUsed,
            subject: Arc::clone(account),
            action: None,
            only_model: None,
            level: Level::Firing,
            sentence: format!(
                "The budget of `{account}` for this {period} is used to {percent} %; calls beyond it are refused."
            ),
        }
    });
    findings.collect()
}

/// Seconds that a certificate is still valid below which it is reported. Programs that renew certificates do so 30 days
/// before the end, so by then one has failed for two weeks, and two weeks are left to repair it.
const CERTIFICATE_LEFT: u64 = 14 * DAY;
const DAY: u64 = 24 * 60 * 60;

fn certificate(sample: &Sample) -> Option<Finding> {
    let expires_at = sample.certificate_expires_at?;
    let left = expires_at.saturating_sub(sample.unix_seconds);
    if left >= CERTIFICATE_LEFT {
        return None;
    }
    let end = moment(expires_at);
    let sentence = match left / DAY {
        _ if left == 0 => {
            format!("The certificate of the service has expired, at {end}; callers cannot connect.")
        }
        0 => format!(
            "The certificate of the service expires within a day, at {end}; after that callers cannot connect."
        ),
        days => format!(
            "The certificate of the service expires in {days} days, at {end}; after that callers cannot connect."
        ),
    };
    Some(Finding {
        rule: Rule::CertificateExpires,
        subject: "certificate".into(),
        action: None,
        only_model: None,
        level: Level::Firing,
        sentence,
    })
}

fn account_store_down(sample: &Sample) -> Option<Finding> {
    let reason = sample.account_outage.as_ref()?;
    Some(Finding {
        rule: Rule::AccountStoreDown,
        subject: "account store".into(),
        action: None,
        only_model: None,
        level: Level::Firing,
        sentence: format!(
            "The store of keys and budgets does not work ({reason}), so keys cannot be changed and sums are not written."
        ),
    })
}

fn content_stores_down(sample: &Sample) -> impl Iterator<Item = Finding> {
    sample.stores.iter().map(|store| Finding {
        rule: Rule::ContentStoreDown,
        subject: Arc::clone(&store.name),
        action: None,
        only_model: None,
        level: Level::Firing,
        sentence: format!(
            "The store of {} does not work ({}). Its calls are refused or do without it.",
            store.name, store.reason
        ),
    })
}

fn servers(sample: &Sample) -> Vec<Finding> {
    let failing = sample.servers.iter().filter(|server| server.is_failing);
    let findings = failing.map(|server| {
        let (name, error) = (&server.name, server.last_error.as_deref());
        let error = error.unwrap_or("unknown").trim_end_matches('.');
        let times = match server.failures {
            0 | 1 => String::new(),
            failures => format!(", {failures} times in a row"),
        };
        let what = if server.is_awake {
            "may still be awake, because it was not put to sleep".to_owned()
        } else {
            format!("does not start{times}")
        };
        Finding {
            rule: Rule::ServerFails,
            subject: Arc::clone(name),
            action: None,
            only_model: None,
            level: Level::Firing,
            sentence: format!("The model server `{name}` {what}. The last error: {error}."),
        }
    });
    findings.collect()
}

fn store_down(sample: &Sample) -> Option<Finding> {
    let reason = sample.store_outage.as_ref()?;
    Some(Finding {
        rule: Rule::StoreDown,
        subject: "session store".into(),
        action: None,
        only_model: None,
        level: Level::Firing,
        sentence: format!(
            "Calls of sessions are refused: {}.",
            reason.trim_end_matches('.')
        ),
    })
}
