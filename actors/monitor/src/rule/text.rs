//! What an operator reads about each rule: the condition, an example, the meaning, and the action.

use std::time::Duration;

use crate::Severity;

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
    /// What to do; `{}`, `{path}`, `{curl}` and `{base}` are filled in by [`Access`](crate::Access).
    pub(crate) action: &'static str,
    /// Time for which the condition must hold without a gap before an alert opens.
    pub(crate) opens_after: Duration,
    /// Time for which it must be gone before the alert closes.
    pub(crate) closes_after: Duration,
}

/// What to do about a model whose calls fail.
const MODEL_FAILS: &str = "The sentence names the backends and the reasons of the failures. If such a backend has an alert of another kind, \
    such as `backend_down`, do what that asks for. Otherwise only this model fails there: `upstream` of `{}` in `[[models]]` must be one of \
    the names that the server lists under `/models` of its `base_url` (`kebne check --live` compares them), and the log of the server has \
    the error. Meanwhile remove that backend from `backends` of the model, if another one is left, and have the settings read again: \
    `{curl} -X POST {base}/admin/v1/reload`.";

/// What to do about a backend of which nearly all failures are those of one of its models.
pub(crate) const ONE_MODEL_FAILS: &str = "Do not take `{}` out: its other models have no such failures. The sentence names the one that has. Its \
    `upstream` in `[[models]]` must be one of the names that the server lists under `/models` of its `base_url` (`kebne check --live` \
    compares them), and the log of the server has the error. Meanwhile remove `{}` from `backends` of that model, if another one is left, \
    and have the settings read again: `{curl} -X POST {base}/admin/v1/reload`.";

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(super) const BACKEND_DOWN: Text = Text {
    name: "backend_down",
    severity: Severity::Critical,
    condition: "the backend cannot be reached by its calls or, while none is served, by its health checks, or its breaker is open, for `down_after`. A backend that nobody had called for a while \
        may be starting on demand: then for its usual load time, if that is longer, and at most for `cold_start_max`",
    example: "The server of `gpu-1` cannot be reached, since 12:03 UTC (45 s). The last error: connection refused.",
    meaning: "The model server is stopped, crashed, at another address, or fails every call. Calls fall back to the next \
        backend of their model; without one they are refused.",
    action: "If it cannot be reached, start its server, or correct `base_url` of the backend `{}` in the settings (`kebne check` \
        prints the address) and have them read again: `{curl} -X POST {base}/admin/v1/reload`. If it fails its calls, look for the error of the sentence in the log of the \
        server. The gateway tries again by itself: once the server answers, nothing is to be done here.",
    opens_after: Duration::ZERO,
    closes_after: seconds(30),
};

pub(super) const MISCONFIGURED: Text = Text {
    name: "misconfigured",
    severity: Severity::Critical,
    condition: "the backend refused an attempt because of its key (401, 403) or its path (404, 405), or because it does not \
        have the model by the name that the gateway sends (404), and no call has succeeded since; at once if none had succeeded in the 5 minutes before, otherwise after 30 s, because the refusals may be those of \
        one of several models",
    example: "The server of `gpu-1` does not accept the gateway's requests, since 12:03 UTC, and no call has succeeded since then. The last error: status 401, invalid key.",
    meaning: "The server runs, and does not accept the gateway. Waiting does not help: every call fails in the same way.",
    action: "For 401 or 403, `api_key_env` of the backend `{}` must name an environment variable, and that must hold a valid key. For \
        404 or 405, correct its `base_url` (most end with `/v1`) or `model`. Then have the settings read again: \
        `{curl} -X POST {base}/admin/v1/reload`. A variable that has changed needs a restart. `kebne check` shows what is read.",
    opens_after: Duration::ZERO,
    closes_after: seconds(60),
};

pub(super) const QUOTA_USED_UP: Text = Text {
    name: "quota_used_up",
    severity: Severity::Critical,
    condition: "the backend answered that its quota is used up (`insufficient_quota`, a spend limit, a limit of a day), or that it may \
        be called again after 10 minutes at the earliest, and neither is over",
    example: "The quota of `gpu-1` at its provider is used up, since 12:03 UTC. Calls that no other backend takes are refused at once, \
        with 429 `insufficient_quota`. The gateway asks again with one call, in 4 minutes at the earliest. The last error: status 429, \
        You exceeded your current quota, please check your plan and billing details.",
    meaning: "The account behind the key of this backend has no credit left, or has reached its limit for a day or a month. \
        Neither waiting nor another server helps before the provider renews it. Clients are told not to repeat the call.",
    action: "Raise the budget or the spend limit at the provider of `{}`, or pay its bill; the key is the one that `api_key_env` or \
        `api_key_file` of this backend holds. The gateway finds out by itself: it asks with one call each 1 to 15 minutes, as long as \
        calls come. If the budget is not to be raised, take the backend out, so that no call is tried there: \
        `{curl} -X POST {base}/admin/v1/backends/{path}/disable`. If callers are refused meanwhile, give its models another backend \
        (`backends` in `[[models]]`), and have the settings read again: `{curl} -X POST {base}/admin/v1/reload`.",
    opens_after: Duration::ZERO,
    closes_after: seconds(60),
};

pub(super) const LANE_CLOSED: Text = Text {
    name: "lane_closed",
    severity: Severity::Critical,
    condition: "the lane is closed",
    example: "The lane of `gpu-1` is closed, so it gets no calls: closed by an operator.",
    meaning: "An operator took the backend out of service, or the lane's actors failed too often. Its calls fall back or are \
        refused until it is opened again.",
    action: "When the reason is over, open it: `{curl} -X POST {base}/admin/v1/backends/{path}/reopen`. If the reason is that restarts \
        are used up, look for the failure of its actors in the log first: without its cause, it closes again. One that the gateway took out is \
        tried again by itself; what is to be repaired is in the alert that its sentence names.",
    opens_after: Duration::ZERO,
    closes_after: seconds(2),
};

pub(super) const BURN_RATE_FAST: Text = Text {
    name: "burn_rate_fast",
    severity: Severity::Critical,
    condition: "over the last hour and over the last 5 minutes, calls failed 14.4 times as often as the objective allows, and \
        at least `failures_min` of them in the 5 minutes",
    example: "120 of 600 calls that `gpu-1` admitted in the last 5 minutes failed; the objective is that 99 % succeed. Of the failed calls: \
        70 % of the model `chat` with `upstream_error`, 30 % of the model `code` with `upstream_timeout`. The last error: status 500.",
    meaning: "Callers get errors from calls that were admitted. At this rate the errors that `objective` allows for a month are \
        used up within two days.",
    action: "Do what most of the failures ask for: `upstream_timeout` and `deadline_exceeded` need a faster server or longer timeouts and \
        deadlines; `upstream_error` and what the last error says are explained by the log of the server of `{}`; all others are in the \
        list of reasons (`docs/operating/reasons.md`). If another backend serves the models, take this one out meanwhile: \
        `{curl} -X POST {base}/admin/v1/backends/{path}/disable`, and open it later with `reopen` in place of `disable`.",
    opens_after: Duration::ZERO,
    closes_after: seconds(60),
};

pub(super) const BURN_RATE_SLOW: Text = Text {
    name: "burn_rate_slow",
    severity: Severity::Warning,
    condition: "over the last 6 hours and over the last 30 minutes, calls failed 6 times as often as the objective allows, and \
        at least `failures_min` of them in the 30 minutes",
    example: "300 of 4000 calls that `gpu-1` admitted in the last 30 minutes failed; the objective is that 99 % succeed. Of the failed \
        calls: 100 % of the model `chat` with `upstream_timeout`. The last error: no answer in time.",
    meaning: "A smaller part of the admitted calls fails, for hours. At this rate the errors that `objective` allows for a month \
        are used up within five days.",
    action: "Do what most of the failures ask for: `upstream_timeout` and `deadline_exceeded` need a faster server or longer timeouts and \
        deadlines; `upstream_error` and what the last error says are explained by the log of the server of `{}`. It can wait for working \
        hours, not for next week.",
    opens_after: Duration::ZERO,
    closes_after: seconds(300),
};

pub(super) const MODEL_BURN_RATE_FAST: Text = Text {
    name: "model_burn_rate_fast",
    severity: Severity::Critical,
    condition: "as `burn_rate_fast`, for the calls of a model at all its backends together. A model whose only backend serves no \
        other model has the alert of that backend instead",
    example: "120 of 600 calls of the model `chat` in the last 5 minutes failed; the objective is that 99 % succeed. Of the failed calls: \
        90 % at `gpu-1` with `backend_misconfigured`, 10 % at `gpu-2` with `upstream_timeout`. The last error of `gpu-1`: status 404, not found.",
    meaning: "Callers of this model get errors, after all backends that may serve it were tried. Other models may be well.",
    action: MODEL_FAILS,
    opens_after: Duration::ZERO,
    closes_after: seconds(60),
};

pub(super) const MODEL_BURN_RATE_SLOW: Text = Text {
    name: "model_burn_rate_slow",
    severity: Severity::Warning,
    condition: "as `burn_rate_slow`, for the calls of a model at all its backends together",
    example: "300 of 4000 calls of the model `chat` in the last 30 minutes failed; the objective is that 99 % succeed. Of the failed \
        calls: 100 % at `gpu-1` with `upstream_error`.",
    meaning: "A smaller part of the calls of this model fails, for hours.",
    action: MODEL_FAILS,
    opens_after: Duration::ZERO,
    closes_after: seconds(300),
};

pub(super) const STORE_DOWN: Text = Text {
    name: "store_down",
    severity: Severity::Critical,
    condition: "the store of sessions has not answered for 5 s",
    example: "Calls of sessions are refused: the session store is unavailable: the disk is full.",
    meaning: "Calls of sessions are refused with 503; all other calls work.",
    action: "The sentence has the reason. Locked: another process holds the file `context.path` (`fuser` shows which). Full: make room on \
        its disk. Not permitted, or gone: give the file back to the user of the gateway. The gateway tries again by itself.",
    opens_after: seconds(5),
    closes_after: seconds(30),
};

pub(super) const STUCK_ACTOR: Text = Text {
    name: "stuck_actor",
    severity: Severity::Critical,
    condition: "messages wait for an actor, and it has handled none for `stuck_after`; or a lane's actors do not answer. Actors share \
        threads, so all of them are one alert",
    example: "The actor `/user/supervisor/context` has 12 messages waiting and has handled none for 30 s.",
    meaning: "A part of the gateway itself hangs, for example because something blocks its thread. Calls that need it wait \
        until their deadline.",
    action: "Save what is known: `{curl} {base}/state > state.json`, and the log. Then restart the gateway, for example with `systemctl restart \
        kebne`; calls that run end first. Report both files, with the sentence, as an error of Kebne. If the lanes do not hang but are \
        only slow because the machine is busy, the alert closes by itself: look at its processor first.",
    opens_after: Duration::ZERO,
    closes_after: seconds(30),
};

pub(super) const ACTOR_RESTARTS: Text = Text {
    name: "actor_restarts",
    severity: Severity::Warning,
    condition: "an actor, or the workers of a lane together, failed and were restarted at least 5 times within 10 minutes",
    example: "The actor `/user/supervisor/gpu-1/pool/worker` was restarted 7 times within 10 minutes. The last failure: the attempt panicked.",
    meaning: "A part of the gateway fails and is started again. Each failure of a worker costs one call; the other actors \
        continue with what they knew.",
    action: "This is an error of Kebne, or of a backend's client. Look in the log for `panicked` or for the failure of the sentence, and \
        report what stands there with the name `{}`. Calls whose `ending` is `panic` in the request log show which requests \
        cause it.",
    opens_after: Duration::ZERO,
    closes_after: seconds(60),
};

pub(super) const FLAPPING: Text = Text {
    name: "flapping",
    severity: Severity::Warning,
    condition: "the breaker opened 3 times within 10 minutes",
    example: "The breaker of `gpu-1` opened 3 times within 10 minutes; in between, it served.",
    meaning: "The backend works for a while and fails again: it crashes under load, restarts in a loop, or a balancer in front \
        of it sends some calls to a dead replica.",
    action: "Look for restarts and out-of-memory errors in the log of the server of `{}`. If it fails under load only, set `limit_max` of its \
        `limits` below the calls in flight that it fails at. Until it is repaired, take it out: \
        `{curl} -X POST {base}/admin/v1/backends/{path}/disable`.",
    opens_after: Duration::ZERO,
    closes_after: seconds(60),
};

pub(super) const COLD_START_LONG: Text = Text {
    name: "cold_start_long",
    severity: Severity::Warning,
    condition: "the backend loads for longer than 1.2 times the 95th percentile of its earlier loads and 5 s more (at most an hour), or \
        `cold_start_max` while none is known. The time counts from the first answer that it loads, whether callers wait or not; after \
        five minutes in which nobody called it counts anew",
    example: "`gpu-1` has been loading its model since 12:03 UTC (2 minutes); 95 of 100 loads took at most 50 s. The last error: status \
        503, the model is loading.",
    meaning: "The model server answers that it loads, for longer than it ever needed. Callers are held meanwhile, up to their \
        deadlines.",
    action: "Look at the log of the server of `{}`: a slow download of the model, a missing GPU and too little memory are the \
        usual causes. If the model has just been replaced by a larger one, wait: the new time is learned.",
    opens_after: Duration::ZERO,
    closes_after: seconds(10),
};

pub(super) const REFUSALS_SUSTAINED: Text = Text {
    name: "refusals_sustained",
    severity: Severity::Warning,
    condition: "for `refusals_for`, at least one in ten calls of the last 2 minutes was refused, though the backend serves or has only \
        asked for a pause",
    example: "`gpu-1` refused 240 of 1200 calls in the last 2 minutes: 90 % with `queue_full` (as many calls wait as `queue_max` and \
        `queue_bytes_max` allow), 10 % with `wait_too_long` (the wait would be longer than the caller's deadline).",
    meaning: "More calls arrive than the backend takes, for the [reasons](operating/reasons.md) that the sentence names. The refused \
        callers get 429 or 503 with a time to come back, or another backend; those that are admitted are served.",
    action: "Add capacity: another backend or a larger server for the models of `{}`. Or offer less: give batch jobs a key with a lower \
        priority. If callers can wait longer: against `wait_too_long` and `queue_timeout`, let them (`x-kebne-deadline-ms`, \
        `server.deadline_default`); against `queue_full`, raise `queue_max` of its `limits`. If the alert `slower` is open too, see that first.",
    // `refusals_for` says how long it must hold.
    opens_after: Duration::ZERO,
    closes_after: seconds(120),
};

pub(super) const SLOWER: Text = Text {
    name: "slower",
    severity: Severity::Warning,
    condition: "for `anomaly_for` and 20 calls, answers took `anomaly_factor` times as long as answers of their kind usually take at \
        this backend, and 50 ms longer; or their first token came as much later, and 200 ms later. Both times count from sending the \
        call to the backend, without the wait before that",
    example: "The last answers of `gpu-1` took about 12 s and began after about 4 s, 3.4 and 6.1 times as long as answers of the same \
        kind usually do there.",
    meaning: "The same kind of calls takes longer than before, so it is not the mix of calls that has changed, but the server, \
        the network or another user of the same server.",
    action: "Check who else uses the server of `{}`, whether it throttles (heat, quota, a noisy neighbour), and what was \
        deployed at the time of this alert. The gateway has lowered its limit already if that helps.",
    opens_after: Duration::ZERO,
    closes_after: seconds(120),
};

pub(super) const RETRY_AFTER_WRONG: Text = Text {
    name: "retry_after_wrong",
    severity: Severity::Warning,
    condition: "of the last 20 times to come back that were checked, at least `promises_min` and at least half were more than twice too \
        short, or four times too long",
    example: "`gpu-1` tells refused callers wrong times to come back: 6 of the last 9 were wrong, the last one was 1 s where it took 30 s.",
    meaning: "Refused callers come back too early and are refused again, or wait although they would be served. The backend \
        behaves differently from what was learned or from what it announces itself.",
    action: "If the server of `{}` announces times itself (`Retry-After`, `estimated_time`), they are wrong: tell its operator. Otherwise \
        the gateway's own prediction is (`predicted_wait` of the lane in `/state`): report it as an error of Kebne if this stays.",
    opens_after: Duration::ZERO,
    closes_after: seconds(60),
};

pub(super) const TOKENS_UNUSUAL: Text = Text {
    name: "tokens_unusual",
    severity: Severity::Warning,
    condition: "for `anomaly_for` and 20 calls, a call used `anomaly_factor` times the tokens that calls of this lane usually use",
    example: "The last calls to `gpu-1` used about 5000 tokens each; calls usually use 400 there.",
    meaning: "Calls have become much longer, and cost accordingly: a prompt that grows, an agent in a loop, a missing \
        `max_tokens`.",
    action: "Find the caller: the lines of the request log whose `lane` is `{}` have `key`, `input_tokens` and `output_tokens`. Growing \
        input is a history or a document that the client should cut; output is bounded by the `max_tokens` of its calls. A budget of the \
        key (`limits.budgets`) bounds both.",
    opens_after: Duration::ZERO,
    closes_after: seconds(120),
};

pub(super) const COST_UNUSUAL: Text = Text {
    name: "cost_unusual",
    severity: Severity::Warning,
    condition: "for `anomaly_for` and 20 calls, a call cost `anomaly_factor` times what calls of this lane usually cost",
    example: "The last calls to `gpu-1` cost about 0.0512 USD each; calls usually cost 0.0031 USD there.",
    meaning: "The same number of calls costs much more: longer prompts or answers, prompts that are no longer cached, or another \
        model behind the same lane.",
    action: "Find the caller and the kind of tokens: the lines of the request log whose `lane` is `{}` have `key`, `cost`, \
        `input_tokens`, `cached_tokens` and `output_tokens`. Give the key a budget (`limits.budgets`) if it has none. If prices have changed, \
        correct `models.price` or `backends.price`.",
    opens_after: Duration::ZERO,
    closes_after: seconds(120),
};

pub(super) const BUDGET_NEARLY_USED: Text = Text {
    name: "budget_nearly_used",
    severity: Severity::Warning,
    condition: "90 % of a budget were used, or reserved by calls in progress, for 10 s",
    example: "The budget of `group/research` for this month is used to 93 %; calls beyond it are refused.",
    meaning: "Soon calls of this key or group are refused with `insufficient_quota` until the next day or month begins.",
    action: "See what it was used for: `{curl} {base}/admin/v1/keys/{path}/usage` has the calls, tokens and cost of `{}`, \
        `kebne_budget_used_ratio` the time. If the use is wanted, raise the budget: of a key whose id begins with `key_` with \
        `POST /admin/v1/keys/{path}`, of all others and of groups in the settings. Otherwise lower what its callers ask for \
        (`max_tokens`, the model).",
    opens_after: seconds(10),
    closes_after: seconds(60),
};

pub(super) const ACCOUNT_STORE_DOWN: Text = Text {
    name: "account_store_down",
    severity: Severity::Warning,
    condition: "the store of keys and budgets did not do what it was asked to do for 10 s",
    example: "The store of keys and budgets does not work (database or disk is full), so keys cannot be changed and sums are not written.",
    meaning: "Calls go on with the last known keys and sums. What is used meanwhile is lost if the process ends.",
    action: "Repair the {}: free space on the disk of `accounts.path`, end the process that locks the file, or move the file back; with `accounts.store = \"redis\"`, start the server. \
        What was not written is then written by itself.",
    opens_after: seconds(10),
    closes_after: seconds(10),
};

pub(super) const CONTENT_STORE_DOWN: Text = Text {
    name: "content_store_down",
    severity: Severity::Warning,
    condition: "the store of prompts, of collections or of kept answers did not do what it was asked to do for 10 s",
    example: "The store of prompts does not work (attempt to write a readonly database). Its calls are refused or do without it.",
    meaning: "Prompts: the last ones that were read are used; if none were read since the start, calls with stored prompts are refused with 503 \
        `prompt_store_unavailable`. Collections: searches and changes are refused with 503 `collections_unavailable`. Kept answers: backends are asked.",
    action: "Repair the store of {}: free space on its disk (`prompt_store.path`, `collections.path` or `cache.path`), give the gateway the right to \
        read and write the file, end the process that locks it, or move it back. The gateway tries again by itself.",
    opens_after: seconds(10),
    closes_after: seconds(10),
};

pub(super) const CERTIFICATE_EXPIRES: Text = Text {
    name: "certificate_expires",
    severity: Severity::Warning,
    condition: "the certificate of the service is valid for less than 14 days, or no longer",
    example: "The certificate of the service expires in 9 days, at 12:03 UTC on 2026-12-09; after that callers cannot connect.",
    meaning: "Certificates are usually renewed by a program 30 days before they expire, so that program does not work, or the \
        service does not see its files.",
    action: "Look at the file that `server.tls.cert` names: `openssl x509 -noout -enddate -in FILE`. If it is newer than what the sentence says, \
        the log has the reason why it cannot be used. If not, renew the {}, for example with `certbot renew`, and have the new files put \
        where `server.tls.cert` and `server.tls.key` name them. They are read within `server.tls.check_every`, without a restart.",
    opens_after: Duration::ZERO,
    closes_after: seconds(10),
};

pub(super) const SERVER_FAILS: Text = Text {
    name: "server_fails",
    severity: Severity::Critical,
    condition: "the last start of a model server that the gateway starts has failed, or its last sleep hook",
    example: "The model server `gpu-1` does not start, 3 times in a row. The last error: it was not healthy within 300s: status 503.",
    meaning: "Its calls are refused, or go to the next backend of their model. It is tried again after a growing wait, at most a minute, \
        and takes only room that no other server needs. After a failed sleep hook the server may go on to cost money until it is woken and put to sleep again.",
    action: "Read the last lines that the server wrote: `lines` of `{}` among the `servers` of `{curl} {base}/state`, or on the page. Often the \
        path of the model is wrong, the memory does not suffice, or the load takes longer than `start_timeout`. Correct \
        `[backends.process]` or `[backends.hooks]`, have the settings read again (`{curl} -X POST {base}/admin/v1/reload`), and have it started at once: \
        `{curl} -X POST {base}/admin/v1/backends/{path}/load`.",
    opens_after: Duration::ZERO,
    closes_after: seconds(5),
};

pub(super) const LOG_LINES_DROPPED: Text = Text {
    name: "log_lines_dropped",
    severity: Severity::Warning,
    condition: "lines of the log were dropped within the last minute",
    example: "812 lines of the log have been lost since the start, the last ones just now, because standard error or the file of the \
        request log did not take them in time.",
    meaning: "The log is written faster than it is read or stored, so that parts of it are missing. Calls are not affected.",
    action: "Repair or speed up what reads the gateway's standard error, or the disk of `log.requests.file`. Or write less: \
        `log.filter = \"info\"` if it names `debug` or `trace`, and `log.requests.sample = 0.1` keeps one successful call in ten and \
        all others.",
    opens_after: Duration::ZERO,
    closes_after: seconds(60),
};
