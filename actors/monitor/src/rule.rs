//! The rules: their names, their severity, and what an operator reads about them.

use std::time::Duration;

use serde::Serialize;

/// A rule. Its alerts are of this kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// The backend's server does not answer.
    BackendDown,
    /// The backend refuses the gateway's key or its requests as such.
    Misconfigured,
    /// A lane is closed.
    LaneClosed,
    /// So many calls fail that the monthly error budget is gone within two days.
    BurnRateFast,
    /// So many calls fail that the monthly error budget is gone within five days.
    BurnRateSlow,
    /// The store of sessions does not answer.
    StoreDown,
    /// An actor has messages and handles none.
    StuckActor,
    /// The breaker opens again and again.
    Flapping,
    /// A load takes longer than loads used to.
    ColdStartLong,
    /// Calls are refused for minutes.
    RefusalsSustained,
    /// A lane is slower than it was.
    Slower,
    /// The times to come back that refused callers get are wrong.
    RetryAfterWrong,
    /// Calls use more tokens than they did.
    TokensUnusual,
    /// Calls cost more than they did.
    CostUnusual,
    /// Nearly all of a budget is used.
    BudgetNearlyUsed,
    /// The store of keys and budgets does not work.
    AccountStoreDown,
    /// Lines of the log are lost.
    LogLinesDropped,
}

/// How soon somebody must act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Now: calls fail or will fail.
    Critical,
    /// Today: the service works worse than it should.
    Warning,
}

/// What an operator reads about a rule, and when its alerts open and close.
pub(crate) struct Text {
    pub(crate) name: &'static str,
    pub(crate) severity: Severity,
    /// The condition, for the reference.
    pub(crate) condition: &'static str,
    /// A sentence of one of its alerts, for the reference.
    pub(crate) example: &'static str,
    /// What it means.
    pub(crate) meaning: &'static str,
    /// What to do; `{}` stands for the subject.
    pub(crate) action: &'static str,
    /// Time for which the condition must hold without a gap before an alert opens.
    pub(crate) opens_after: Duration,
    /// Time for which it must be gone before the alert closes.
    pub(crate) closes_after: Duration,
}

impl Rule {
    /// Every rule, in the order in which they are explained.
    pub const ALL: [Self; 17] = [
        Self::BackendDown,
        Self::Misconfigured,
        Self::LaneClosed,
        Self::BurnRateFast,
        Self::BurnRateSlow,
        Self::StoreDown,
        Self::StuckActor,
        Self::Flapping,
        Self::ColdStartLong,
        Self::RefusalsSustained,
        Self::Slower,
        Self::RetryAfterWrong,
        Self::TokensUnusual,
        Self::CostUnusual,
        Self::BudgetNearlyUsed,
        Self::AccountStoreDown,
        Self::LogLinesDropped,
    ];

    /// Returns the name in answers, logs and metrics.
    pub fn name(self) -> &'static str {
        self.text().name
    }

    /// Returns how soon somebody must act.
    pub fn severity(self) -> Severity {
        self.text().severity
    }

    /// Returns the action for a subject.
    pub fn action(self, subject: &str) -> String {
        self.text().action.replace("{}", subject)
    }

    pub(crate) fn text(self) -> &'static Text {
        match self {
            Self::BackendDown => &BACKEND_DOWN,
            Self::Misconfigured => &MISCONFIGURED,
            Self::LaneClosed => &LANE_CLOSED,
            Self::BurnRateFast => &BURN_RATE_FAST,
            Self::BurnRateSlow => &BURN_RATE_SLOW,
            Self::StoreDown => &STORE_DOWN,
            Self::StuckActor => &STUCK_ACTOR,
            Self::Flapping => &FLAPPING,
            Self::ColdStartLong => &COLD_START_LONG,
            Self::RefusalsSustained => &REFUSALS_SUSTAINED,
            Self::Slower => &SLOWER,
            Self::RetryAfterWrong => &RETRY_AFTER_WRONG,
            Self::TokensUnusual => &TOKENS_UNUSUAL,
            Self::CostUnusual => &COST_UNUSUAL,
            Self::BudgetNearlyUsed => &BUDGET_NEARLY_USED,
            Self::AccountStoreDown => &ACCOUNT_STORE_DOWN,
            Self::LogLinesDropped => &LOG_LINES_DROPPED,
        }
    }
}

impl Severity {
    /// Returns the name in answers, logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
        }
    }
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const BACKEND_DOWN: Text = Text {
    name: "backend_down",
    severity: Severity::Critical,
    condition: "the backend cannot be reached, or its breaker is open, for `down_after` (unreachable: for its usual load time, \
        if that is longer)",
    example: "The server of `gpu-1` cannot be reached, for 30 s now. The last error: connection refused.",
    meaning: "The model server is stopped, crashed, at another address, or fails every call. Calls fall back to the next \
        backend of their model; without one they are refused.",
    action: "Start the server of `{}`, or correct `base_url` of the backend `{}` in the settings. The sentence names the last \
        error. The gateway tries again by itself; nothing has to be restarted once the server answers.",
    opens_after: Duration::ZERO,
    closes_after: seconds(30),
};

const MISCONFIGURED: Text = Text {
    name: "misconfigured",
    severity: Severity::Critical,
    condition: "the backend refused an attempt because of its key (401, 403) or its path (404, 405), and no call has \
        succeeded since",
    example: "The server of `gpu-1` does not accept the gateway's requests, and no call has succeeded since. The last error: status 401, invalid key.",
    meaning: "The server runs, and does not accept the gateway. Waiting does not help: every call fails in the same way.",
    action: "For 401 or 403, put a valid key into the variable that `api_key_env` of the backend `{}` names. For 404 or 405, \
        correct its `base_url` or `model`. Then restart the gateway; `kebne check` shows what it reads.",
    opens_after: Duration::ZERO,
    closes_after: seconds(60),
};

const LANE_CLOSED: Text = Text {
    name: "lane_closed",
    severity: Severity::Critical,
    condition: "the lane is closed",
    example: "The lane of `gpu-1` is closed, so it gets no calls: closed by an operator.",
    meaning: "An operator took the backend out of service, or the lane's actors failed too often. Its calls fall back or are \
        refused until it is opened again.",
    action: "When the reason is over, open it: `curl -X POST http://GATEWAY/backends/{}/reopen` (with a key of the scope \
        `admin` if keys are set). If its actors failed, look for the error in the log first.",
    opens_after: Duration::ZERO,
    closes_after: seconds(2),
};

const BURN_RATE_FAST: Text = Text {
    name: "burn_rate_fast",
    severity: Severity::Critical,
    condition: "over the last hour and over the last 5 minutes, calls failed 14.4 times as often as the objective allows, and \
        at least `failures_min` of them in the 5 minutes",
    example: "120 of 600 calls that `gpu-1` admitted in the last 5 minutes failed; the objective is that 99 % succeed.",
    meaning: "Callers get errors from calls that were admitted. At this rate the errors that `objective` allows for a month are \
        used up within two days.",
    action: "Look at `failures` and `last_failure` of the lane `{}` in `/state`: they count the causes. Timeouts need a faster \
        server or longer deadlines; faults need the server's own log. If another backend serves the model, take this one \
        out meanwhile: `curl -X POST http://GATEWAY/backends/{}/close`.",
    opens_after: Duration::ZERO,
    closes_after: seconds(60),
};

const BURN_RATE_SLOW: Text = Text {
    name: "burn_rate_slow",
    severity: Severity::Warning,
    condition: "over the last 6 hours and over the last 30 minutes, calls failed 6 times as often as the objective allows, and \
        at least `failures_min` of them in the 30 minutes",
    example: "300 of 4000 calls that `gpu-1` admitted in the last 30 minutes failed; the objective is that 99 % succeed.",
    meaning: "A smaller part of the admitted calls fails, for hours. At this rate the errors that `objective` allows for a month \
        are used up within five days.",
    action: "Look at `failures` and `last_failure` of the lane `{}` in `/state` for the most frequent cause, and at the log of \
        its server. It can wait for working hours, not for next week.",
    opens_after: Duration::ZERO,
    closes_after: seconds(300),
};

const STORE_DOWN: Text = Text {
    name: "store_down",
    severity: Severity::Critical,
    condition: "the store of sessions has not answered for 5 s",
    example: "The session store does not answer (the disk is full), so calls of sessions are refused.",
    meaning: "Calls of sessions are refused with 503; all other calls work.",
    action: "Make room on the disk of `context.path`, check its permissions, and see that no other process holds the file. The \
        gateway tries again by itself.",
    opens_after: seconds(5),
    closes_after: seconds(30),
};

const STUCK_ACTOR: Text = Text {
    name: "stuck_actor",
    severity: Severity::Critical,
    condition: "messages wait for an actor, and it has handled none for `stuck_after`; or a lane's actors do not answer",
    example: "The actor `/user/supervisor/context` has 12 messages waiting and has handled none for 30 s.",
    meaning: "A part of the gateway itself hangs, for example because something blocks its thread. Calls that need it wait \
        until their deadline.",
    action: "Restart the gateway; other calls are drained first. Keep `/state` and the log from before the restart, and report \
        them as an error of Kebne with the name `{}`.",
    opens_after: Duration::ZERO,
    closes_after: seconds(30),
};

const FLAPPING: Text = Text {
    name: "flapping",
    severity: Severity::Warning,
    condition: "the breaker opened 3 times within 10 minutes",
    example: "`gpu-1` recovered and failed again 3 times within 10 minutes.",
    meaning: "The backend works for a while and fails again: it crashes under load, restarts in a loop, or a balancer in front \
        of it sends some calls to a dead replica.",
    action: "Look for restarts and out-of-memory errors in the log of the server of `{}`. If it only fails under load, bound it: \
        `limit_max` of `[backends.limits]`. Until it is repaired, take it out: \
        `curl -X POST http://GATEWAY/backends/{}/close`.",
    opens_after: Duration::ZERO,
    closes_after: seconds(60),
};

const COLD_START_LONG: Text = Text {
    name: "cold_start_long",
    severity: Severity::Warning,
    condition: "the backend loads for longer than 1.2 times the 95th percentile of its earlier loads and 5 s more, or \
        `cold_start_max` while none is known",
    example: "`gpu-1` has been loading its model for 2 minutes; 95 of 100 loads took at most 50 s.",
    meaning: "The model server answers that it loads, for longer than it ever needed. Callers are held meanwhile, up to their \
        deadlines.",
    action: "Look at the log of the server of `{}`: a slow download of the model, a missing GPU and too little memory are the \
        usual causes. If the model has just been replaced by a larger one, wait: the new time is learned.",
    opens_after: Duration::ZERO,
    closes_after: seconds(10),
};

const REFUSALS_SUSTAINED: Text = Text {
    name: "refusals_sustained",
    severity: Severity::Warning,
    condition: "for a minute, at least one in ten calls of the last 2 minutes was refused, though the backend serves",
    example: "`gpu-1` refused 240 of 1200 calls in the last 2 minutes, because more arrive than it can serve.",
    meaning: "More calls arrive than the backend can serve. The refused callers get 429 or 503 with a time to come back; those \
        that are admitted are served.",
    action: "Add capacity: another backend or a larger server for the models of `{}`. Or offer less: give batch jobs a key with \
        a lower priority. `queue_full` with short waits in `/state` means that `queue_max` may be raised.",
    opens_after: seconds(60),
    closes_after: seconds(120),
};

const SLOWER: Text = Text {
    name: "slower",
    severity: Severity::Warning,
    condition: "for `anomaly_for` and 20 calls, calls took `anomaly_factor` times as long as calls of their kind usually take at \
        this backend, and 50 ms longer",
    example: "Calls to `gpu-1` take about 4 s now; calls of the same kind usually take 900 ms there.",
    meaning: "The same kind of calls takes longer than before, so it is not the mix of calls that has changed, but the server, \
        the network or another user of the same server.",
    action: "Check who else uses the server of `{}`, whether it throttles (heat, quota, a noisy neighbour), and what was \
        deployed at the time of this alert. The gateway has lowered its limit already if that helps.",
    opens_after: Duration::ZERO,
    closes_after: seconds(120),
};

const RETRY_AFTER_WRONG: Text = Text {
    name: "retry_after_wrong",
    severity: Severity::Warning,
    condition: "of the last 20 times to come back that were checked, at least 5 and at least half were more than twice too \
        short, or four times too long",
    example: "`gpu-1` tells refused callers wrong times to come back: 6 of the last 9 were wrong, the last one was 1 s where it took 30 s.",
    meaning: "Refused callers come back too early and are refused again, or wait although they would be served. The backend \
        behaves differently from what was learned or from what it announces itself.",
    action: "Compare `predicted_wait` of the lane `{}` in `/state` with what callers see. If the backend announces wrong times \
        (`Retry-After`, `estimated_time`), tell its operator. If this stays, report it as an error of Kebne.",
    opens_after: Duration::ZERO,
    closes_after: seconds(60),
};

const TOKENS_UNUSUAL: Text = Text {
    name: "tokens_unusual",
    severity: Severity::Warning,
    condition: "for `anomaly_for` and 20 calls, a call used `anomaly_factor` times the tokens that calls of this lane usually use",
    example: "Calls to `gpu-1` use about 5000 tokens each now; they usually use 400.",
    meaning: "Calls have become much longer, and cost accordingly: a prompt that grows, an agent in a loop, a missing \
        `max_tokens`.",
    action: "Find the caller: the request log has the tokens and the key of each call of `{}`. Bound its `max_tokens`, or give \
        it a key with a smaller `weight`.",
    opens_after: Duration::ZERO,
    closes_after: seconds(120),
};

const COST_UNUSUAL: Text = Text {
    name: "cost_unusual",
    severity: Severity::Warning,
    condition: "for `anomaly_for` and 20 calls, a call cost `anomaly_factor` times what calls of this lane usually cost",
    example: "Calls to `gpu-1` cost about 0.0512 USD each now; they usually cost 0.0031 USD.",
    meaning: "The same number of calls costs much more: longer prompts or answers, prompts that are no longer cached, or another \
        model behind the same lane.",
    action: "Find the caller and the kind of tokens: the request log has `cost`, `input_tokens`, `cached_tokens`, `output_tokens` \
        and the key of each call of `{}`. Give the key a budget (`limits.budgets`) if it has none.",
    opens_after: Duration::ZERO,
    closes_after: seconds(120),
};

const BUDGET_NEARLY_USED: Text = Text {
    name: "budget_nearly_used",
    severity: Severity::Warning,
    condition: "90 % of a budget were used, or reserved by calls in progress, for 10 s",
    example: "The budget of `group/research` for this month is used to 93 %; calls beyond it are refused.",
    meaning: "Soon calls of this key or group are refused with `insufficient_quota` until the next day or month begins.",
    action: "Look at what uses it: `GET /admin/v1/keys/{id}/usage` of its keys, and `kebne_budget_used_ratio` over time. Raise the \
        budget of `{}` if the use is wanted, or lower what its callers ask for (`max_tokens`, the model).",
    opens_after: seconds(10),
    closes_after: seconds(60),
};

const ACCOUNT_STORE_DOWN: Text = Text {
    name: "account_store_down",
    severity: Severity::Warning,
    condition: "the store of keys and budgets did not do what it was asked to do for 10 s",
    example: "The store of keys and budgets does not work (database or disk is full), so keys cannot be changed and sums are not written.",
    meaning: "Calls go on with the last known keys and sums. What is used meanwhile is lost if the process ends.",
    action: "Repair the {}: free space on the disk of `accounts.path`, end the process that locks the file, or move the file back. \
        What was not written is then written by itself.",
    opens_after: seconds(10),
    closes_after: seconds(10),
};

const LOG_LINES_DROPPED: Text = Text {
    name: "log_lines_dropped",
    severity: Severity::Warning,
    condition: "lines of the log were dropped within the last minute",
    example: "812 lines of the log have been lost since the start, the last ones just now, because nobody read standard error in time.",
    meaning: "Nobody reads standard error fast enough, so that parts of the log are missing. Calls are not affected.",
    action: "Repair or speed up whatever reads the gateway's standard error, or write less: `log.filter = \"warn\"`.",
    opens_after: Duration::ZERO,
    closes_after: seconds(60),
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_has_its_place_and_an_action_that_names_no_placeholder() {
        for (index, rule) in Rule::ALL.iter().enumerate() {
            assert_eq!(*rule as usize, index, "{}", rule.name());
            let action = rule.action("gpu-1");
            assert!(!action.contains("{}"), "{action}");
            assert!(action.ends_with('.') || action.ends_with("`."), "{action}");
        }
    }

    #[test]
    fn the_name_in_json_is_the_name() {
        for rule in Rule::ALL {
            let debug = format!("{rule:?}").to_lowercase();
            assert_eq!(rule.name().replace('_', ""), debug);
        }
    }
}
