//! Opens and closes alerts, so that a condition that comes and goes is one alert.
//!
//! Three measures keep alerts quiet: a condition must hold for a time before its alert opens, it must be gone for a time
//! before the alert closes, and it counts as gone only below a threshold that is lower than that at which it began
//! ([`Level::Holding`]).

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use crate::{
    Access, Alert, AlertChanged, Alerts, Change, Memory, Rule, RuleSettings,
    memory::{OPEN_MAX as KEPT_OPEN_MAX, RECENT_MAX},
    spoken::{clock, spoken},
};

/// The number of alerts that may be open or pending at once. Subjects are lanes and actors, which are few.
const OPEN_MAX: usize = 1000;

/// Time that a rule may need after a restart to find again what it had found before.
const FOUND_AGAIN_WITHIN: Duration = Duration::from_mins(2);

/// How far a condition holds, the furthest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// It holds: an alert opens.
    Firing,
    /// It holds no longer, but is not over either: an alert stays open, and none opens.
    Holding,
}

/// What a rule found in one sample.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) rule: Rule,
    pub(crate) subject: Arc<str>,
    pub(crate) level: Level,
    pub(crate) sentence: String,
    /// What to do, if it depends on what was found: a text as [`Text::action`](crate::rule::Text::action). `None` for the action
    /// of the rule.
    pub(crate) action: Option<&'static str>,
    /// The model whose failures alone are what was found of a lane that serves others too.
    pub(crate) only_model: Option<Arc<str>>,
}

/// One condition that holds, with its alert once that is open.
#[derive(Debug)]
struct Condition {
    since: Duration,
    seen: Duration,
    /// Time for which it must be gone before its alert closes.
    closes_after: Duration,
    alert: Option<Alert>,
    /// What was found last; the alert says also whether it is over.
    seen_last: String,
    /// When it was first not found any more, in seconds since 1970; `None` while it is found.
    over: Option<u64>,
    /// `true` if it was found by an earlier process and has not been found by this one.
    is_earlier: bool,
}

/// The open alerts, and those that were closed last.
#[derive(Debug)]
pub(crate) struct Desk {
    conditions: BTreeMap<(Rule, Arc<str>), Condition>,
    recent: VecDeque<Alert>,
    recent_max: usize,
    refusals_for: Duration,
    last_id: u64,
}

impl Desk {
    /// Creates a desk with the alerts of an earlier process. One that is open stays open, as the same alert, if its condition
    /// is found again.
    pub(crate) fn new(settings: &RuleSettings, memory: &Memory) -> Self {
        let open = memory.active.iter().take(KEPT_OPEN_MAX);
        let conditions = open.map(|alert| {
            let rule = alert.rule;
            let closes_after = rule.text().closes_after;
            let condition = Condition {
                since: Duration::ZERO,
                seen: Duration::ZERO,
                closes_after: closes_after.max(FOUND_AGAIN_WITHIN),
                alert: Some(alert.clone()),
                seen_last: alert.sentence.clone(),
                over: None,
                is_earlier: true,
            };
            ((rule, Arc::clone(&alert.subject)), condition)
        });
        let recent = memory.recent.iter().take(settings.recent_max);
        Self {
            conditions: conditions.collect(),
            recent: recent.cloned().collect(),
            recent_max: settings.recent_max,
            refusals_for: settings.refusals_for.0,
            last_id: memory.last_alert,
        }
    }

    /// Takes other thresholds. The alerts that are kept stay.
    pub(crate) fn change(&mut self, settings: &RuleSettings) {
        self.recent_max = settings.recent_max;
        self.recent.truncate(self.recent_max);
        self.refusals_for = settings.refusals_for.0;
    }

    /// Adds what is to be kept across a restart.
    pub(crate) fn remember(&self, memory: &mut Memory) {
        memory.active = self.active();
        // Whether it is over is found out anew.
        for alert in &mut memory.active {
            let key = (alert.rule, Arc::clone(&alert.subject));
            if let Some(condition) = self.conditions.get(&key) {
                alert.sentence.clone_from(&condition.seen_last);
            }
        }
        memory.active.truncate(KEPT_OPEN_MAX);
        memory.recent = self.recent.iter().take(RECENT_MAX).cloned().collect();
        memory.last_alert = self.last_id;
    }

    /// Returns the time for which a condition must hold before its alert opens.
    fn opens_after(&self, rule: Rule) -> Duration {
        match rule {
            Rule::RefusalsSustained => self.refusals_for,
            _ => rule.text().opens_after,
        }
    }

    /// Returns the rules and subjects of the alerts of an earlier process that this one has not found again.
    pub(crate) fn earlier(&self) -> Vec<(Rule, Arc<str>)> {
        let conditions = self.conditions.iter();
        let earlier = conditions.filter(|(_, condition)| condition.is_earlier);
        earlier.map(|(key, _)| key.clone()).collect()
    }

    /// Has the alert of an earlier process close with the next sample, because its rule could be judged anew and found nothing.
    pub(crate) fn refute(&mut self, key: &(Rule, Arc<str>)) {
        if let Some(condition) = self.conditions.get_mut(key) {
            condition.closes_after = Duration::ZERO;
        }
    }

    /// Takes all that was found in one sample, and returns what changes. `access` is how the commands of actions reach the
    /// service.
    pub(crate) fn take(
        &mut self,
        findings: Vec<Finding>,
        at: Duration,
        unix_seconds: u64,
        access: &Access,
    ) -> Vec<AlertChanged> {
        let mut changes = Vec::new();
        for finding in findings {
            changes.extend(self.found(finding, at, unix_seconds, access));
        }
        changes.extend(self.close_what_is_over(at, unix_seconds));
        changes
    }

    fn found(
        &mut self,
        finding: Finding,
        at: Duration,
        unix_seconds: u64,
        access: &Access,
    ) -> Option<AlertChanged> {
        let key = (finding.rule, Arc::clone(&finding.subject));
        let is_known = self.conditions.contains_key(&key);
        let is_firing = finding.level == Level::Firing;
        if !is_known && (!is_firing || self.conditions.len() >= OPEN_MAX) {
            return None;
        }
        let opens_after = self.opens_after(finding.rule);
        let text = finding.rule.text();
        let condition = self.conditions.entry(key).or_insert(Condition {
            since: at,
            seen: at,
            closes_after: text.closes_after,
            alert: None,
            seen_last: String::new(),
            over: None,
            is_earlier: false,
        });
        condition.seen = at;
        condition.over = None;
        condition.seen_last.clone_from(&finding.sentence);
        condition.closes_after = text.closes_after;
        condition.is_earlier = false;
        let action = access.fill(finding.action.unwrap_or(text.action), &finding.subject);
        if let Some(alert) = &mut condition.alert {
            // What an operator reads is what is the case now.
            alert.sentence = finding.sentence;
            alert.action = action;
            return None;
        }
        let held = at.saturating_sub(condition.since);
        if !is_firing || held < opens_after {
            return None;
        }
        self.last_id += 1;
        let alert = Alert {
            id: self.last_id,
            rule: finding.rule,
            severity: text.severity,
            action,
            subject: finding.subject,
            since: unix_seconds,
            sentence: finding.sentence,
            until: None,
        };
        condition.alert = Some(alert.clone());
        let change = Change::Opened;
        Some(AlertChanged { change, alert })
    }

    fn close_what_is_over(&mut self, at: Duration, unix_seconds: u64) -> Vec<AlertChanged> {
        let mut closed = Vec::new();
        self.conditions.retain(|_, condition| {
            let gone = at.saturating_sub(condition.seen);
            let Some(alert) = &mut condition.alert else {
                // It must hold without a gap.
                return gone.is_zero();
            };
            if gone.is_zero() {
                return true;
            }
            let over = *condition.over.get_or_insert(unix_seconds);
            let is_closing = gone >= condition.closes_after;
            if let Some(ended) = ended(alert, over, unix_seconds, is_closing, condition.is_earlier)
            {
                alert.sentence = format!("{ended} Seen last: {}", condition.seen_last);
            }
            if !is_closing {
                return true;
            }
            alert.until = Some(unix_seconds);
            closed.push(alert.clone());
            false
        });
        for alert in &closed {
            if self.recent.len() >= self.recent_max {
                self.recent.pop_back();
            }
            self.recent.push_front(alert.clone());
        }
        let change = Change::Closed;
        closed
            .into_iter()
            .map(|alert| AlertChanged { change, alert })
            .collect()
    }

    /// Returns the open alerts, the most severe first and the oldest first among equals.
    pub(crate) fn active(&self) -> Vec<Alert> {
        let mut active: Vec<Alert> = self
            .conditions
            .values()
            .filter_map(|condition| condition.alert.clone())
            .collect();
        active.sort_by_key(|alert| (alert.severity, alert.id));
        active
    }

    /// Returns the open alerts about which something may be done: not those that only wait to close, except that what was done
    /// about refusals ends with the alert.
    pub(crate) fn to_act_on(&self) -> Vec<Alert> {
        let conditions = self.conditions.iter();
        let present = conditions.filter(|((rule, _), condition)| {
            condition.over.is_none() || *rule == Rule::RefusalsSustained
        });
        present
            .filter_map(|(_, condition)| condition.alert.clone())
            .collect()
    }

    pub(crate) fn alerts(&self) -> Alerts {
        Alerts {
            active: self.active(),
            recent: self.recent.iter().cloned().collect(),
            actions: Vec::new(),
        }
    }
}

/// Says that what an alert reports is over, and how long that took; `None` if that is not known yet.
fn ended(
    alert: &Alert,
    over: u64,
    unix_seconds: u64,
    is_closing: bool,
    is_earlier: bool,
) -> Option<String> {
    if is_earlier {
        return is_closing.then(|| "Over: it was not found again after the restart.".to_owned());
    }
    let since = |from: u64, to: u64| Duration::from_secs(to.saturating_sub(from));
    let (gone, lasted) = (since(over, unix_seconds), since(alert.since, over));
    let (at, lasted) = (clock(unix_seconds, gone), spoken(lasted));
    let closes = if is_closing {
        "."
    } else {
        "; the alert closes if it stays so."
    };
    Some(format!(
        "Over since {at}, {lasted} after the alert opened{closes}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn desk() -> Desk {
        let settings = RuleSettings {
            recent_max: 3,
            ..RuleSettings::default()
        };
        Desk::new(&settings, &Memory::default())
    }

    fn take(desk: &mut Desk, found: Vec<Finding>, at: Duration, unix: u64) -> Vec<AlertChanged> {
        desk.take(found, at, unix, &Access::default())
    }

    fn finding(level: Level) -> Finding {
        Finding {
            rule: Rule::RefusalsSustained,
            subject: "a".into(),
            level,
            sentence: "Many calls are refused.".to_owned(),
            action: None,
            only_model: None,
        }
    }

    /// Takes one sample a second; returns the seconds at which an alert opened or closed.
    fn run(levels: impl IntoIterator<Item = Option<Level>>) -> (Vec<(u32, Change)>, Desk) {
        let mut desk = desk();
        let mut changes = Vec::new();
        for (second, level) in (0_u32..).zip(levels) {
            let found = level.map(finding).into_iter().collect();
            for changed in take(&mut desk, found, second * SECOND, u64::from(second)) {
                changes.push((second, changed.change));
            }
        }
        (changes, desk)
    }

    #[test]
    fn an_alert_opens_after_a_time_without_a_gap_and_closes_after_a_time_without_the_condition() {
        let firing = [Some(Level::Firing); 100];
        let gone = [None; 200];
        let (changes, desk) = run(firing.into_iter().chain(gone));
        // Opens after 60 s; the condition is last seen in second 99.
        assert_eq!(changes, [(60, Change::Opened), (219, Change::Closed)]);
        let alerts = desk.alerts();
        assert!(alerts.active.is_empty());
        assert_eq!(
            (alerts.recent[0].since, alerts.recent[0].until),
            (60, Some(219))
        );
    }

    #[test]
    fn a_condition_that_comes_and_goes_opens_no_alert_before_and_none_anew_while_one_is_open() {
        let comes_and_goes = (0..500).map(|second| (second % 50 != 0).then_some(Level::Firing));
        assert_eq!(run(comes_and_goes).0, []);
        let opened = [Some(Level::Firing); 70];
        let comes_and_goes = (0..500).map(|second| (second % 50 == 0).then_some(Level::Firing));
        let (changes, desk) = run(opened.into_iter().chain(comes_and_goes));
        assert_eq!(changes, [(60, Change::Opened)]);
        assert_eq!(desk.alerts().active.len(), 1);
    }

    #[test]
    fn a_condition_below_the_threshold_keeps_an_alert_and_opens_none() {
        assert_eq!(run([Some(Level::Holding); 500]).0, []);
        let opened = [Some(Level::Firing); 61];
        let (changes, _) = run(opened.into_iter().chain([Some(Level::Holding); 500]));
        assert_eq!(changes, [(60, Change::Opened)]);
    }

    #[test]
    fn the_closed_alerts_that_are_kept_are_bounded_and_the_last_is_first() {
        let mut desk = desk();
        for round in 0..10_u32 {
            let mut found = finding(Level::Firing);
            found.rule = Rule::LaneClosed;
            let at = round * 100 * SECOND;
            assert_eq!(take(&mut desk, vec![found], at, 0).len(), 1);
            assert_eq!(take(&mut desk, Vec::new(), at + 10 * SECOND, 0).len(), 1);
        }
        let ids: Vec<u64> = desk.alerts().recent.iter().map(|alert| alert.id).collect();
        assert_eq!(ids, [10, 9, 8]);
    }

    #[test]
    fn an_open_alert_survives_a_restart_as_the_same_alert_or_closes() {
        let (_, first) = run([Some(Level::Firing); 61]);
        let mut memory = Memory::default();
        first.remember(&mut memory);
        let opened = memory.active[0].clone();
        let again = || Desk::new(&RuleSettings::default(), &memory);
        // Found again within two minutes: nothing is announced.
        let mut desk = again();
        assert_eq!(desk.active(), std::slice::from_ref(&opened));
        let mut changes = Vec::new();
        for second in 1..600_u32 {
            let found = (second >= 100).then(|| finding(Level::Firing));
            changes.extend(take(
                &mut desk,
                found.into_iter().collect(),
                second * SECOND,
                0,
            ));
        }
        assert_eq!(changes, []);
        assert_eq!(desk.active(), std::slice::from_ref(&opened));
        // Not found again: it closes, and the next one has another number.
        let mut desk = again();
        assert_eq!(take(&mut desk, Vec::new(), 119 * SECOND, 119), []);
        let closed = take(&mut desk, Vec::new(), 120 * SECOND, 120);
        assert_eq!(
            (closed[0].change, closed[0].alert.id),
            (Change::Closed, opened.id)
        );
        for second in 200..300_u32 {
            take(&mut desk, vec![finding(Level::Firing)], second * SECOND, 0);
        }
        assert_eq!(desk.active()[0].id, opened.id + 1);
        assert_eq!(desk.alerts().recent.len(), 1);
    }
}
