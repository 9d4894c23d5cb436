//! Decides what is done about alerts, within the settings. Pure: it returns commands and keeps the record.
//!
//! It must never close the last lane that serves a model, and never repeat at once what somebody undid.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use crate::{
    Action, ActionKind, ActionSettings, ActionState, Alert, Command, DailyLoad, LaneSample, Memory,
    Phase, Policy, Rule, Sample, UndoError, history::real, memory::RECENT_MAX, spoken::clock,
};

/// The alerts for which a backend is taken out. One whose breaker is open gets no calls anyway.
const TAKEN_OUT_FOR: [Rule; 3] = [Rule::BurnRateFast, Rule::Misconfigured, Rule::Flapping];
/// The longest time for which a backend is taken out, and the time for which an undone action is not repeated.
const PAUSE_MAX: Duration = Duration::from_hours(1);
const LEFT_ALONE: Duration = Duration::from_hours(1);
/// Time that a backend must serve without failures after it was let in again.
const PROVED_AFTER: Duration = Duration::from_mins(1);
/// Time within which a lane is closed once that was decided.
const CLOSED_WITHIN: Duration = Duration::from_secs(10);
/// Time before a peak, in addition to the load time, at which a backend is woken.
const LEAD: Duration = Duration::from_mins(2);
/// The longest load time that is waited for.
const LOAD_MAX: Duration = Duration::from_hours(1);
/// The share of all running calls that makes a key the one whose weight is lowered, and how many must run.
const MOST: f64 = 0.6;
const RUNNING_MIN: u64 = 10;
/// The weight to which a share is lowered.
const LOWERED_PERCENT: u32 = 50;
/// Actions that are kept.
const KEPT: usize = RECENT_MAX;

/// A lane that was taken out.
#[derive(Debug)]
struct Out {
    action: u64,
    pause: Duration,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Closed since then.
    Closed(Duration),
    /// Open again since then, with the counts at that time.
    Tried {
        since: Duration,
        succeeded: u64,
        bad: u64,
    },
}

/// Decides what is done.
#[derive(Debug)]
pub struct Planner {
    settings: ActionSettings,
    actions: VecDeque<Action>,
    last_id: u64,
    out: BTreeMap<Arc<str>, Out>,
    lowered: BTreeMap<Arc<str>, u64>,
    loads: BTreeMap<Arc<str>, DailyLoad>,
    /// The last peak for which a lane was woken.
    woken_for: BTreeMap<Arc<str>, u64>,
    /// Until when a subject is left alone.
    left_alone: BTreeMap<(ActionKind, Arc<str>), Duration>,
    /// Until when something that was suggested is not suggested again.
    suggested: BTreeMap<(ActionKind, Arc<str>), Duration>,
    /// `true` until the first sample of this process.
    is_new: bool,
}

impl Planner {
    /// Creates a planner that has done nothing.
    pub fn new(settings: ActionSettings) -> Self {
        Self::with_memory(settings, &Memory::default())
    }

    /// Creates a planner with the record of an earlier process and the loads that it has seen. What that process had done
    /// has ended with it.
    pub fn with_memory(settings: ActionSettings, memory: &Memory) -> Self {
        let loads = memory.habits.iter();
        let loads = loads.map(|(name, habits)| (Arc::clone(name), habits.day.learned()));
        Self {
            settings,
            actions: memory.actions.iter().take(KEPT).cloned().collect(),
            last_id: memory.last_action,
            out: BTreeMap::new(),
            lowered: BTreeMap::new(),
            loads: loads.collect(),
            is_new: true,
            woken_for: BTreeMap::new(),
            left_alone: BTreeMap::new(),
            suggested: BTreeMap::new(),
        }
    }

    /// Replaces what may be done from the next sample on. What was done is undone as it would have been.
    pub(crate) fn change(&mut self, settings: ActionSettings) {
        // What was only suggested may be done now.
        if settings != self.settings {
            self.suggested.clear();
        }
        self.settings = settings;
    }

    /// Returns the actions, the last first.
    pub fn actions(&self) -> Vec<Action> {
        self.actions.iter().cloned().collect()
    }

    /// Decides what is to be done after a sample.
    pub fn look(&mut self, sample: &Sample, alerts: &[Alert]) -> Vec<Command> {
        let mut commands = Vec::new();
        if std::mem::take(&mut self.is_new) {
            self.end_earlier(sample);
        }
        self.left_alone.retain(|_, until| *until > sample.at);
        self.suggested.retain(|_, until| *until > sample.at);
        self.end_suggestions(sample, alerts);
        for lane in &sample.lanes {
            if lane.phase == Phase::Silent {
                continue;
            }
            commands.extend(self.wake(sample, lane));
            commands.extend(self.follow(sample, lane));
            let mut about = alerts.iter();
            let cause = about
                .find(|alert| alert.subject == lane.name && TAKEN_OUT_FOR.contains(&alert.rule));
            if let Some(alert) = cause {
                commands.extend(self.take_out(sample, lane, alert));
            }
        }
        commands.extend(self.share(sample, alerts));
        commands
    }

    /// Adds what is to be kept across a restart.
    pub(crate) fn remember(&self, memory: &mut Memory) {
        memory.actions = self.actions();
        memory.last_action = self.last_id;
        for (name, load) in &self.loads {
            let habits = memory.habits.entry(Arc::clone(name)).or_default();
            habits.day = load.learned();
        }
    }

    /// Ends the actions of an earlier process. What somebody undid is left alone for the rest of its time.
    fn end_earlier(&mut self, sample: &Sample) {
        let unix_seconds = sample.unix_seconds;
        for action in &mut self.actions {
            let undone = action.until.filter(|_| action.state == ActionState::Undone);
            let ago = undone.map(|undone| Duration::from_secs(unix_seconds.saturating_sub(undone)));
            if let Some(left) = ago.and_then(|ago| LEFT_ALONE.checked_sub(ago)) {
                let key = (action.kind, Arc::clone(&action.subject));
                let until = self.left_alone.entry(key).or_default();
                *until = sample.at.saturating_add(left).max(*until);
            }
            if action.state == ActionState::Active {
                action.state = ActionState::Over;
                action.until = Some(unix_seconds);
            }
        }
    }

    /// Ends the suggestions to take a backend out that somebody followed, or whose cause is over.
    fn end_suggestions(&mut self, sample: &Sample, alerts: &[Alert]) {
        let is_open = |name: &Arc<str>| {
            let mut lanes = sample.lanes.iter();
            lanes.any(|lane| lane.name == *name && lane.closed.is_none())
        };
        let has_cause = |name: &Arc<str>| {
            let mut about = alerts.iter();
            about.any(|alert| alert.subject == *name && TAKEN_OUT_FOR.contains(&alert.rule))
        };
        for action in &mut self.actions {
            let is_suggested =
                action.state == ActionState::Suggested && action.kind == ActionKind::TakeOut;
            let subject = &action.subject;
            let is_off = self.settings.take_out != Policy::Suggest;
            if is_suggested && (is_off || !is_open(subject) || !has_cause(subject)) {
                action.state = ActionState::Over;
                action.until = Some(sample.unix_seconds);
            }
        }
    }

    /// Revives the last suggestion to take a backend out.
    fn suggest_again(&mut self, name: &Arc<str>, reason: String) {
        let mut actions = self.actions.iter_mut();
        let last =
            actions.find(|action| action.kind == ActionKind::TakeOut && action.subject == *name);
        if let Some(action) = last.filter(|action| action.state == ActionState::Over) {
            (action.state, action.until, action.reason) = (ActionState::Suggested, None, reason);
        }
    }

    /// Undoes an action that is in force, and returns it with the command for that.
    ///
    /// # Errors
    /// See [`UndoError`].
    pub fn undo(
        &mut self,
        id: u64,
        at: Duration,
        unix_seconds: u64,
    ) -> Result<(Action, Command), UndoError> {
        let action = self.actions.iter().find(|action| action.id == id);
        let action = action.ok_or(UndoError::Unknown)?.clone();
        if action.state != ActionState::Active {
            return Err(UndoError::NotActive);
        }
        let subject = Arc::clone(&action.subject);
        let reason = "somebody undid the action".to_owned();
        let command = match action.kind {
            ActionKind::Prewarm => return Err(UndoError::NotActive),
            ActionKind::TakeOut => {
                self.out.remove(&subject);
                Command::Reopen {
                    lane: Arc::clone(&subject),
                    reason,
                }
            }
            ActionKind::LowerShare => {
                self.lowered.remove(&subject);
                Command::SetShare {
                    key: Arc::clone(&subject),
                    percent: 100,
                    reason,
                }
            }
        };
        self.left_alone
            .insert((action.kind, subject), at.saturating_add(LEFT_ALONE));
        self.end(id, ActionState::Undone, unix_seconds);
        let action = self.actions.iter().find(|action| action.id == id).cloned();
        Ok((action.ok_or(UndoError::Unknown)?, command))
    }

    /// Wakes an idle backend before a peak.
    fn wake(&mut self, sample: &Sample, lane: &LaneSample) -> Option<Command> {
        let load = self.loads.entry(Arc::clone(&lane.name)).or_default();
        load.note(sample.unix_seconds, lane.calls);
        if self.settings.prewarm == Policy::Off || lane.phase != Phase::Idle {
            return None;
        }
        // What was learned as a load time may have been an outage.
        let load_time = lane.load_time_p95.unwrap_or_default().min(LOAD_MAX);
        let lead = load_time.saturating_add(LEAD);
        let peak = load.peak_within(sample.unix_seconds, lead)?;
        if self.woken_for.insert(Arc::clone(&lane.name), peak.begins) == Some(peak.begins) {
            return None;
        }
        let (name, calls) = (&lane.name, peak.calls);
        let begins = clock(peak.begins, Duration::ZERO);
        let reason = format!(
            "`{name}` is idle, and on other days about {calls:.0} calls come in the quarter of an hour from {begins} on."
        );
        let id = self.record(
            ActionKind::Prewarm,
            name,
            &reason,
            self.settings.prewarm,
            sample,
        )?;
        // It has no lasting effect.
        self.end(id, ActionState::Over, sample.unix_seconds);
        Some(Command::Prewarm {
            lane: Arc::clone(name),
            reason,
        })
    }

    /// Takes out a lane that fails its calls, if another one serves its models.
    fn take_out(&mut self, sample: &Sample, lane: &LaneSample, alert: &Alert) -> Option<Command> {
        let policy = self.settings.take_out;
        let name = &lane.name;
        let key = (ActionKind::TakeOut, Arc::clone(name));
        let is_known = self.out.contains_key(name) || self.left_alone.contains_key(&key);
        if policy == Policy::Off || is_known || lane.closed.is_some() || !lane.has_alternative {
            return None;
        }
        let reason = format!(
            "Another backend serves the models of `{name}`, and `{name}` has the alert `{}`: {}",
            alert.rule.name(),
            alert.sentence
        );
        if self.suggested.contains_key(&key) {
            self.suggest_again(name, reason);
            return None;
        }
        let pause = self.settings.retry_after.0;
        let Some(action) = self.record(ActionKind::TakeOut, name, &reason, policy, sample) else {
            // It was suggested; once is enough.
            self.suggested
                .insert(key, sample.at.saturating_add(LEFT_ALONE));
            return None;
        };
        let stage = Stage::Closed(sample.at);
        self.out.insert(
            Arc::clone(name),
            Out {
                action,
                pause,
                stage,
            },
        );
        Some(Command::Close {
            lane: Arc::clone(name),
            reason,
        })
    }

    /// Lets a lane that was taken out in again after its pause, and watches whether that was right.
    fn follow(&mut self, sample: &Sample, lane: &LaneSample) -> Option<Command> {
        let out = self.out.get_mut(&lane.name)?;
        let (name, bad) = (Arc::clone(&lane.name), lane.failed + lane.misconfigured);
        match out.stage {
            Stage::Closed(since) if lane.closed.is_none() => {
                // The command takes a moment; later, somebody else has opened it.
                if sample.at.saturating_sub(since) > CLOSED_WITHIN {
                    let action = out.action;
                    self.out.remove(&name);
                    self.end(action, ActionState::Undone, sample.unix_seconds);
                    let until = sample.at.saturating_add(LEFT_ALONE);
                    self.left_alone.insert((ActionKind::TakeOut, name), until);
                }
                None
            }
            Stage::Closed(since) if sample.at.saturating_sub(since) >= out.pause => {
                out.stage = Stage::Tried {
                    since: sample.at,
                    succeeded: lane.succeeded,
                    bad,
                };
                let reason = "The pause is over; the backend is tried again.".to_owned();
                Some(Command::Reopen { lane: name, reason })
            }
            Stage::Closed(_) => None,
            Stage::Tried {
                since,
                succeeded,
                bad: bad_then,
            } => {
                let served = lane.succeeded.saturating_sub(succeeded);
                let failed = bad.saturating_sub(bad_then);
                let lasts = sample.at.saturating_sub(since);
                if failed > served {
                    out.pause = (out.pause * 2).min(PAUSE_MAX);
                    out.stage = Stage::Closed(sample.at);
                    let reason = format!("`{name}` was tried again and failed {failed} calls.");
                    return Some(Command::Close { lane: name, reason });
                }
                if served > 0 && lasts >= PROVED_AFTER {
                    let action = out.action;
                    self.out.remove(&name);
                    self.end(action, ActionState::Over, sample.unix_seconds);
                }
                None
            }
        }
    }

    /// Lowers the weight of the key that has most of the running calls while calls are refused, and restores it after.
    fn share(&mut self, sample: &Sample, alerts: &[Alert]) -> Vec<Command> {
        let mut active = alerts.iter();
        let Some(alert) = active.find(|alert| alert.rule == Rule::RefusalsSustained) else {
            return self.restore(sample);
        };
        if self.settings.lower_share == Policy::Off || !self.lowered.is_empty() {
            return Vec::new();
        }
        let running: u64 = sample.keys.iter().map(|key| key.running).sum();
        let mut keys = sample.keys.iter();
        let most = keys.find(|key| real(key.running) >= MOST * real(running));
        let Some(most) = most.filter(|_| running >= RUNNING_MIN && sample.keys.len() > 1) else {
            return Vec::new();
        };
        let name = &most.name;
        let key = (ActionKind::LowerShare, Arc::clone(name));
        if self.left_alone.contains_key(&key) || self.suggested.contains_key(&key) {
            return Vec::new();
        }
        let reason = format!(
            "The key `{name}` has {} of {running} running calls while calls are refused: {}",
            most.running, alert.sentence
        );
        let policy = self.settings.lower_share;
        let Some(id) = self.record(ActionKind::LowerShare, name, &reason, policy, sample) else {
            self.suggested
                .insert(key, sample.at.saturating_add(LEFT_ALONE));
            return Vec::new();
        };
        self.lowered.insert(Arc::clone(name), id);
        let percent = LOWERED_PERCENT;
        vec![Command::SetShare {
            key: Arc::clone(name),
            percent,
            reason,
        }]
    }

    fn restore(&mut self, sample: &Sample) -> Vec<Command> {
        let mut commands = Vec::new();
        for (key, id) in std::mem::take(&mut self.lowered) {
            self.end(id, ActionState::Over, sample.unix_seconds);
            let reason = "No calls are refused any more.".to_owned();
            commands.push(Command::SetShare {
                key,
                percent: 100,
                reason,
            });
        }
        commands
    }

    /// Records an action; returns its id if it is to be taken.
    fn record(
        &mut self,
        kind: ActionKind,
        subject: &Arc<str>,
        reason: &str,
        policy: Policy,
        sample: &Sample,
    ) -> Option<u64> {
        self.last_id += 1;
        let is_taken = policy == Policy::Act;
        if self.actions.len() >= KEPT {
            self.actions.pop_back();
        }
        self.actions.push_front(Action {
            id: self.last_id,
            kind,
            subject: Arc::clone(subject),
            reason: reason.to_owned(),
            command: None,
            state: if is_taken {
                ActionState::Active
            } else {
                ActionState::Suggested
            },
            since: sample.unix_seconds,
            until: None,
        });
        is_taken.then_some(self.last_id)
    }

    fn end(&mut self, id: u64, state: ActionState, unix_seconds: u64) {
        let mut actions = self.actions.iter_mut();
        if let Some(action) = actions.find(|action| action.id == id) {
            action.state = state;
            action.until = Some(unix_seconds);
        }
    }
}

#[cfg(test)]
mod tests;
