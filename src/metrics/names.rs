//! The names of all metrics, with their kinds, labels and meanings. `docs/metrics.md` is written from this list.
//!
//! Names follow the conventions of Prometheus: base units, `_total` for counters. Where OpenTelemetry's conventions for
//! generative AI have a metric, it has their name, in the form that Prometheus gives it.

use std::fmt::Write as _;

/// One metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Metric {
    /// The name, without the `_total` of a counter.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) labels: &'static [&'static str],
    pub(super) help: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

const fn metric(
    name: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric {
        name,
        kind,
        labels,
        help,
    }
}

use Kind::{Counter, Gauge, Histogram};

const LANE: &[&str] = &["lane"];
const SERVER: &[&str] = &["server"];
const MODEL: &[&str] = &["model"];
const GEN_AI: &[&str] = &[
    "gen_ai_operation_name",
    "gen_ai_provider_name",
    "gen_ai_request_model",
];

pub(super) const REQUESTS: Metric = metric(
    "kebne_requests",
    Counter,
    &["model", "ending"],
    "Calls to models by ending, each counted once. The model is empty if it is not known",
);
pub(super) const ANSWERS: Metric = metric(
    "kebne_answers",
    Counter,
    &["model", "status"],
    "Answers to calls by HTTP status",
);
pub(super) const REFUSALS: Metric = metric(
    "kebne_refusals",
    Counter,
    &["model", "reason"],
    "Calls that were refused (ending `shed`), by reason",
);
pub(super) const DURATION: Metric = metric(
    "gen_ai_server_request_duration_seconds",
    Histogram,
    &[
        "gen_ai_operation_name",
        "gen_ai_provider_name",
        "gen_ai_request_model",
        "error_type",
    ],
    "Time from the arrival of a call to its end. `error_type` is its ending, and empty for a success",
);
pub(super) const FIRST_TOKEN: Metric = metric(
    "gen_ai_server_time_to_first_token_seconds",
    Histogram,
    GEN_AI,
    "Time from the arrival of a streamed call to the first part of its answer; successes only",
);
pub(super) const PER_TOKEN: Metric = metric(
    "gen_ai_server_time_per_output_token_seconds",
    Histogram,
    GEN_AI,
    "Mean time between two tokens of a streamed answer after the first; successes whose server reports tokens",
);
pub(super) const TOKEN_USAGE: Metric = metric(
    "gen_ai_client_token_usage",
    Histogram,
    &[
        "gen_ai_operation_name",
        "gen_ai_provider_name",
        "gen_ai_request_model",
        "gen_ai_token_type",
    ],
    "Tokens of a call as its server reports them, by type: `input` or `output`",
);
pub(super) const TOKENS: Metric = metric(
    "kebne_tokens",
    Counter,
    &["model", "kind"],
    "Tokens as servers report them: `input`, `output`, and `cached`, which are part of `input`",
);
pub(super) const COST: Metric = metric(
    "kebne_cost",
    Counter,
    &["model", "currency", "basis"],
    "Cost of calls to models with a price, by what it is computed from: `reported` tokens, or `estimated` ones where the \
     server did not report all",
);
pub(super) const QUEUE_WAIT: Metric = metric(
    "kebne_queue_wait_seconds",
    Histogram,
    MODEL,
    "Time in which a call waited in its lanes and no attempt ran, until its answer began or it was given up",
);
pub(super) const COLD_WAIT: Metric = metric(
    "kebne_cold_wait_seconds",
    Histogram,
    MODEL,
    "Time that a call spent while its backend was not known to serve; calls without such time are not counted",
);
pub(super) const COLLECTIONS: Metric = metric(
    "kebne_collections",
    Gauge,
    &[],
    "Collections of all tenants, counted every few seconds",
);
pub(super) const COLLECTION_FILES: Metric = metric(
    "kebne_collection_files",
    Gauge,
    &["status"],
    "Files of collections: `in_progress` (they wait to be read), `completed`, `failed` and `cancelled`",
);
pub(super) const COLLECTION_CHUNKS: Metric = metric(
    "kebne_collection_chunks",
    Gauge,
    &[],
    "Chunks of the files of collections",
);
pub(super) const COLLECTION_BYTES: Metric = metric(
    "kebne_collection_bytes",
    Gauge,
    &[],
    "Bytes of the chunks of collections and their vectors",
);
pub(super) const INDEX_BYTES: Metric = metric(
    "kebne_collection_index_bytes",
    Gauge,
    &[],
    "Memory of the indexes of collections that were searched last, in bytes",
);
pub(super) const STEP_SECONDS: Metric = metric(
    "kebne_step_seconds",
    Histogram,
    &["step"],
    "Time of the steps of a call for which collections were searched: `fetch` (sessions and earlier responses are read), `embed`, `search`, \
     `rerank`, `assemble` (the prompt), and `inference` (until the answer begins)",
);
pub(super) const ATTEMPTS: Metric = metric(
    "kebne_attempts",
    Counter,
    &["lane", "outcome"],
    "Attempts of ended calls by outcome, refused ones included",
);
pub(super) const GUARD: Metric = metric(
    "kebne_guard",
    Counter,
    &["guard", "rule", "action", "side"],
    "Calls in which a rule of a guard matched, each rule once for each call and side. The rule `check` is the service or the model that is asked",
);
pub(super) const RETRY_AFTER: Metric = metric(
    "kebne_retry_after_seconds",
    Histogram,
    MODEL,
    "Waits that refusals promised in `Retry-After`",
);
pub(super) const RETRY_AFTER_ERROR: Metric = metric(
    "kebne_retry_after_error_seconds",
    Histogram,
    &["model", "promise"],
    "Time between the end of a promised wait and the first call that was admitted: `kept` (the first call after it was \
     admitted), `too_short` (a call after it was refused) or `too_long` (a call before it was admitted)",
);
pub(super) const BODY_BYTES: Metric = metric(
    "kebne_body_bytes",
    Gauge,
    &[],
    "Bytes that the bodies of requests take of their budget",
);
pub(super) const BODY_BYTES_MAX: Metric = metric(
    "kebne_body_bytes_max",
    Gauge,
    &[],
    "The budget of bytes for the bodies of requests",
);
pub(super) const ANSWER_BYTES: Metric = metric(
    "kebne_answer_bytes",
    Gauge,
    &[],
    "Bytes that large answers and large events of streams take of their budget",
);
pub(super) const ANSWER_BYTES_MAX: Metric = metric(
    "kebne_answer_bytes_max",
    Gauge,
    &[],
    "The budget of bytes for answers",
);
pub(super) const LOG_LINES_DROPPED: Metric = metric(
    "kebne_log_lines_dropped",
    Counter,
    &[],
    "Lines of the log that were dropped because nobody took them in time",
);
pub(super) const RELOADS: Metric = metric(
    "kebne_settings_reloads",
    Counter,
    &["result"],
    "Times that the settings were read again: applied, or refused because they have errors",
);
pub(super) const RELOAD_APPLIED: Metric = metric(
    "kebne_settings_last_reload_successful",
    Gauge,
    &[],
    "1 if the settings were applied when they were last read, 0 if they were refused",
);
pub(super) const SETTINGS_READ_AT: Metric = metric(
    "kebne_settings_last_reload_success_timestamp_seconds",
    Gauge,
    &[],
    "When the settings in effect were last read, in seconds since 1970",
);
pub(super) const NEEDS_RESTART: Metric = metric(
    "kebne_settings_needing_restart",
    Gauge,
    &[],
    "Changed settings that take effect at the next start",
);
pub(super) const STORE_UP: Metric = metric(
    "kebne_session_store_up",
    Gauge,
    &[],
    "1 if the session store answered its last question, else 0",
);
pub(super) const STORE_FAILURES: Metric = metric(
    "kebne_session_store_failures",
    Counter,
    &[],
    "Questions that the session store did not answer",
);
pub(super) const MEMORY_SUMMARIES: Metric = metric(
    "kebne_memory_summaries",
    Counter,
    &[],
    "Summaries of sessions that were made and kept",
);
pub(super) const MEMORY_FACTS: Metric = metric(
    "kebne_memory_facts",
    Counter,
    &[],
    "Facts that models extracted from sessions and that were kept, changed ones included",
);
pub(super) const MEMORY_FAILURES: Metric = metric(
    "kebne_memory_failures",
    Counter,
    &[],
    "Failed attempts to summarize a session or to extract facts from it; the next turn of the session tries again",
);
pub(super) const MEMORY_DROPPED: Metric = metric(
    "kebne_memory_dropped",
    Counter,
    &[],
    "Sessions that found no room in the queue (`context.memory.queue_max`) and wait for their next turn",
);
pub(super) const MEMORY_WAITING: Metric = metric(
    "kebne_memory_waiting",
    Gauge,
    &[],
    "Sessions that wait to be summarized",
);
pub(super) const MEMORY_RUNNING: Metric = metric(
    "kebne_memory_running",
    Gauge,
    &[],
    "Sessions that are being summarized",
);
pub(super) const MEMORY_SEARCH_BYTES: Metric = metric(
    "kebne_memory_search_bytes",
    Gauge,
    &[],
    "Bytes of the indexes in which sessions are searched (at most `context.memory.search_size_max`)",
);
pub(super) const ACCOUNT_STORE_UP: Metric = metric(
    "kebne_account_store_up",
    Gauge,
    &[],
    "1 if the store of keys and budgets did what it was last asked to do, else 0; the last known keys and sums count then",
);
pub(super) const PROMPT_STORE_UP: Metric = metric(
    "kebne_prompt_store_up",
    Gauge,
    &[],
    "1 if the store of prompts did what it was last asked to do, else 0; the last known prompts are used then",
);
pub(super) const COLLECTION_STORE_UP: Metric = metric(
    "kebne_collection_store_up",
    Gauge,
    &[],
    "1 if what the store of collections holds could be counted last, else 0",
);
pub(super) const JOBS: Metric = metric(
    "kebne_jobs",
    Gauge,
    &["status"],
    "Jobs of all tenants, those of batches included, counted every few seconds; those that have ended are kept for `jobs.retention`",
);
pub(super) const JOB_BYTES: Metric = metric(
    "kebne_job_bytes",
    Gauge,
    &[],
    "Bytes of the requests and the results of jobs",
);
pub(super) const JOB_NOTICES: Metric = metric(
    "kebne_job_notices",
    Gauge,
    &[],
    "Notices of ends that wait to be delivered to webhooks",
);
pub(super) const JOB_WAIT: Metric = metric(
    "kebne_job_oldest_wait_seconds",
    Gauge,
    &[],
    "Time for which the oldest job waits that has not ended and does not run",
);
pub(super) const JOB_EVENTS: Metric = metric(
    "kebne_job_events",
    Counter,
    &["event"],
    "What became of jobs: `queued`, `succeeded`, `failed`, `cancelled`, `expired`, `again` (an attempt ended, and the job waits again), `lost` (its process ended), \
     `stale` (a result was refused because its lease had passed); and of their notices: `delivered`, `not_delivered`, `given_up`",
);
pub(super) const JOB_STORE_UP: Metric = metric(
    "kebne_job_store_up",
    Gauge,
    &[],
    "1 if what the store of jobs holds could be counted last, else 0",
);
pub(super) const AGENT_RUNS: Metric = metric(
    "kebne_agent_runs",
    Gauge,
    &["status"],
    "Runs of agents of all tenants, counted every few seconds: `running`, `waiting` (for a human), `ended` (kept for `agent_store.retention`)",
);
pub(super) const AGENT_EVENTS: Metric = metric(
    "kebne_agent_events",
    Counter,
    &["event"],
    "What became of runs of agents: `started`, and their endings `completed`, `failed`, `cancelled`, `steps_used`, `tokens_used`, `cost_used`, `time_used`, \
     `looping`, `stalled`, `crashed`; of their steps: `step` (an answer of a model), `decided` (by a human), and calls of tools: `call_done`, `call_failed`, `call_unknown`, `call_denied`",
);
pub(super) const AGENT_STORE_UP: Metric = metric(
    "kebne_agent_store_up",
    Gauge,
    &[],
    "1 if the runs in the store of agents could be counted last, else 0",
);
pub(super) const MCP_SERVER_UP: Metric = metric(
    "kebne_mcp_server_up",
    Gauge,
    SERVER,
    "1 if the connection to the MCP server is there, else 0",
);
pub(super) const MCP_TOOLS: Metric = metric(
    "kebne_mcp_tools",
    Gauge,
    &["server", "status"],
    "Tools of the MCP server that are `offered`, and those that are `held` until they are approved",
);
pub(super) const TOOL_LOOPS: Metric = metric(
    "kebne_tool_loops",
    Counter,
    &["ending"],
    "Calls for which the gateway has called tools, by how they have ended: `completed`, `handed_over` (the caller makes further calls), `awaiting_approval`, \
     `steps_used`, `tokens_used`, `time_used`, `looping`, `stalled`, `failed`, `abandoned` (the caller has left)",
);
pub(super) const CACHE_STORE_UP: Metric = metric(
    "kebne_cache_store_up",
    Gauge,
    &[],
    "1 if the store of kept answers answered its last question, else 0; backends are asked then",
);
pub(super) const ACCOUNT_STORE_FAILURES: Metric = metric(
    "kebne_account_store_failures",
    Counter,
    &[],
    "Uses of the store of keys and budgets that failed; sums are written again later",
);
pub(super) const BUDGET_USED: Metric = metric(
    "kebne_budget_used_ratio",
    Gauge,
    &["account", "period"],
    "Part of a budget that is used, or reserved by calls in progress: `settings:NAME` or the id of a key, or `group/NAME`; 1 is all of it",
);
pub(super) const CERTIFICATE_EXPIRES: Metric = metric(
    "kebne_tls_certificate_expiry_timestamp_seconds",
    Gauge,
    &[],
    "When the certificate towards callers expires, in seconds since 1970; absent without TLS",
);
pub(super) const HANDSHAKES_FAILED: Metric = metric(
    "kebne_tls_handshakes_failed",
    Counter,
    &[],
    "Connections whose handshake of TLS failed or took too long; absent without TLS",
);
pub(super) const PROMPT_CALLS: Metric = metric(
    "kebne_prompt_calls",
    Counter,
    &["prompt", "version", "ending"],
    "Calls with a prompt, by version and ending",
);
pub(super) const PROMPT_TOKENS: Metric = metric(
    "kebne_prompt_tokens",
    Counter,
    &["prompt", "version", "kind"],
    "Tokens of these calls that backends reported (`input`, `output`)",
);
pub(super) const PROMPT_COST: Metric = metric(
    "kebne_prompt_cost",
    Counter,
    &["prompt", "version"],
    "Cost of these calls, in the currency of the settings",
);
pub(super) const PROMPT_SECONDS: Metric = metric(
    "kebne_prompt_seconds",
    Counter,
    &["prompt", "version"],
    "Time of those that succeeded, in seconds",
);
pub(super) const ROUTE_DECISIONS: Metric = metric(
    "kebne_route_decisions",
    Counter,
    &["route", "rule", "target"],
    "Decisions of routes, by the rule that decided (`default` if none matched) and the model that was called",
);
pub(super) const ROUTE_INTENTS: Metric = metric(
    "kebne_route_intents",
    Counter,
    &["route", "outcome"],
    "Questions whose intent was looked for, by how: `clear`, `below_threshold`, `below_margin`, `asked`, `asked_in_vain`, `not_ready`, `failed`",
);
pub(super) const ROUTE_SHADOWS: Metric = metric(
    "kebne_route_shadows",
    Counter,
    &["route", "model", "ending"],
    "Copies of calls for shadows, by ending: `success`, `error`, `timeout`, `denied`, `dropped`",
);
pub(super) const ROUTE_SHADOW_SECONDS: Metric = metric(
    "kebne_route_shadow_seconds",
    Counter,
    &["route", "model", "ending"],
    "Time that these copies took, in seconds",
);
pub(super) const ROUTE_SHADOW_TOKENS: Metric = metric(
    "kebne_route_shadow_tokens",
    Counter,
    &["route", "model", "ending"],
    "Tokens that these copies used, as reported",
);
pub(super) const INNER_CALLS: Metric = metric(
    "kebne_inner_calls",
    Counter,
    &["purpose", "ending"],
    "Calls of models that the gateway made itself, by what for and whether the answer could be used (`answered`, `failed`)",
);
pub(super) const INNER_SECONDS: Metric = metric(
    "kebne_inner_call_seconds",
    Counter,
    &["purpose"],
    "Time that these calls took, in seconds",
);
pub(super) const INNER_TOKENS: Metric = metric(
    "kebne_inner_tokens",
    Counter,
    &["purpose", "key"],
    "Tokens that these calls used, by the name of the key that pays (empty for the operator's own)",
);
pub(super) const INNER_COST: Metric = metric(
    "kebne_inner_cost",
    Counter,
    &["purpose", "key", "currency"],
    "Cost of these calls, which `kebne_cost_total` does not contain",
);
pub(super) const CHUNKS_WAITING: Metric = metric(
    "kebne_collection_chunks_waiting",
    Gauge,
    &[],
    "Chunks of vector stores that wait for a vector of the embedder, those with a vector of another embedder included",
);
pub(super) const CHUNKS_EMBEDDED: Metric = metric(
    "kebne_collection_chunks_embedded",
    Counter,
    &[],
    "Chunks of vector stores that were embedded",
);
pub(super) const EMBEDDER_UP: Metric = metric(
    "kebne_collection_embedder_up",
    Gauge,
    &[],
    "1 while the embedder gave vectors when vector stores asked it last, 0 while files wait for it",
);
pub(super) const EVENTS: Metric = metric(
    "kebne_events",
    Counter,
    &["type"],
    "Events that were emitted, by type",
);
pub(super) const EVENTS_LOST: Metric = metric(
    "kebne_events_lost",
    Counter,
    &["reason"],
    "Events that were lost: `queue` (too many waited to be written), `outbox_full`, `outbox_failed`, `refused` (the bus will never take them)",
);
pub(super) const EVENTS_WAITING: Metric = metric(
    "kebne_events_waiting",
    Gauge,
    &[],
    "Events that wait in the outbox for the bus",
);
pub(super) const EVENTS_PUBLISHED: Metric = metric(
    "kebne_events_published",
    Counter,
    &[],
    "Events that the bus has stored or had already",
);
pub(super) const EVENT_BUS_FAILURES: Metric = metric(
    "kebne_event_bus_failures",
    Counter,
    &[],
    "Tries to publish an event that failed and are repeated",
);
pub(super) const EVENT_BUS_UP: Metric = metric(
    "kebne_event_bus_up",
    Gauge,
    &[],
    "1 while the bus of events takes what is published",
);
pub(super) const FUNCTION_EVENTS: Metric = metric(
    "kebne_function_events",
    Counter,
    &["function", "result"],
    "Events for functions: `delivered`, `failed` (a try that is repeated), `dead` (became a dead letter), `lost` (too many waited, or the file failed)",
);
pub(super) const FUNCTION_EVENTS_WAITING: Metric = metric(
    "kebne_function_events_waiting",
    Gauge,
    &["function"],
    "Events that wait for a function",
);
pub(super) const CONSUMED: Metric = metric(
    "kebne_consumed",
    Counter,
    &["result"],
    "Calls of `kebne consume`: `taken`, `answered`, `duplicate`, `dead_letter`, `put_off`",
);
pub(super) const ACTOR_RESTARTS: Metric = metric(
    "kebne_actor_restarts",
    Counter,
    &["kind"],
    "Restarts of actors after a failure, by kind",
);
pub(super) const ALERTS: Metric = metric(
    "kebne_alerts",
    Gauge,
    &["rule", "severity"],
    "Open alerts of the service's own monitor, by rule",
);
pub(super) const DEAD_LETTERS: Metric = metric(
    "kebne_dead_letters",
    Counter,
    &[],
    "Messages between actors that were not handled",
);
pub(super) const CALLS: Metric = metric(
    "kebne_calls",
    Counter,
    &["lane", "ending"],
    "Calls of a lane by ending. A call that falls back counts in each lane that it entered",
);
pub(super) const PREWARMS: Metric = metric(
    "kebne_prewarms",
    Counter,
    &["lane", "ending"],
    "Wake calls that the service made itself, by ending",
);
pub(super) const FAILED_ATTEMPTS: Metric = metric(
    "kebne_failed_attempts",
    Counter,
    &["lane", "class", "reason"],
    "Attempts that failed, by class and reason; the reason is empty where the class says enough",
);
pub(super) const WORKER_RESTARTS: Metric = metric(
    "kebne_worker_restarts",
    Counter,
    LANE,
    "Workers that were restarted after a panic of their attempt",
);
pub(super) const HEDGES: Metric = metric(
    "kebne_hedges",
    Counter,
    &["lane", "result"],
    "Hedges that were sent, and those that answered first",
);
pub(super) const STATE: Metric = metric(
    "kebne_state",
    Gauge,
    &["lane", "state"],
    "1 for the state of the lane, 0 for the others; the circuit breaker is open in the state `open`",
);
pub(super) const QUEUE_BY_PRIORITY: Metric = metric(
    "kebne_queue_by_priority",
    Gauge,
    &["lane", "priority"],
    "Calls that wait, by priority; absent while none wait",
);
pub(super) const FALLBACKS: Metric = metric(
    "kebne_fallbacks",
    Counter,
    &["model", "lane", "kind"],
    "Calls of a model that left a backend for another one, by reason",
);
pub(super) const HEALTH: Metric = metric(
    "kebne_health",
    Gauge,
    LANE,
    "1 if the health checks of the backend succeed, 0 if the last two or more failed; absent without checks",
);
pub(super) const SERVICE: Metric = metric(
    "kebne_service",
    Gauge,
    &["lane", "service"],
    "1 for whether the lane admits calls (`open`, `draining`, `drained`, `closed`), 0 for the others",
);
pub(super) const REPORT_AGE: Metric = metric(
    "kebne_report_age_seconds",
    Gauge,
    LANE,
    "Age of the numbers of the lane: more than 0 while its actors do not answer and the last known numbers are shown",
);
pub(super) const CLOSED: Metric = metric(
    "kebne_closed",
    Gauge,
    LANE,
    "1 while the lane is closed: its restarts were used up, or an operator closed it",
);
pub(super) const LIMIT: Metric =
    metric("kebne_limit", Gauge, LANE, "Attempts that may be in flight");
pub(super) const IN_FLIGHT: Metric = metric("kebne_in_flight", Gauge, LANE, "Attempts in flight");
pub(super) const QUEUE: Metric = metric("kebne_queue", Gauge, LANE, "Calls that wait");
pub(super) const QUEUE_BYTES: Metric = metric(
    "kebne_queue_bytes",
    Gauge,
    LANE,
    "Bytes of the calls that wait",
);
pub(super) const CALLS_LIVE: Metric = metric(
    "kebne_calls_live",
    Gauge,
    LANE,
    "Calls that the lane holds, waiting or running",
);
pub(super) const HELD: Metric = metric(
    "kebne_held",
    Gauge,
    LANE,
    "Calls that wait after a refusal by the backend",
);
pub(super) const ATTEMPT_TIMEOUT: Metric = metric(
    "kebne_attempt_timeout_seconds",
    Gauge,
    LANE,
    "Time that one attempt may take now",
);
pub(super) const RETRY_RATIO: Metric = metric(
    "kebne_retry_ratio",
    Gauge,
    LANE,
    "Retries per success that are allowed now",
);
pub(super) const RETRY_BUDGET: Metric = metric(
    "kebne_retry_budget",
    Gauge,
    LANE,
    "Retries that are available now",
);
pub(super) const WORKERS: Metric = metric("kebne_workers", Gauge, LANE, "Workers alive");
pub(super) const RATE_LIMIT: Metric = metric(
    "kebne_rate_limit_requests_per_second",
    Gauge,
    LANE,
    "Requests per second that are allowed; 0 without a rate",
);

pub(super) const SERVER_READY: Metric = metric(
    "kebne_server_ready",
    Gauge,
    SERVER,
    "1 if the model server that the gateway starts serves, 0 otherwise",
);
pub(super) const SERVER_LOADS: Metric = metric(
    "kebne_server_loads",
    Counter,
    SERVER,
    "Loads of the model server that succeeded",
);
pub(super) const SERVER_LOAD_SECONDS: Metric = metric(
    "kebne_server_load_seconds",
    Counter,
    SERVER,
    "Seconds of all loads of the model server that succeeded",
);
pub(super) const SERVER_SWAPS: Metric = metric(
    "kebne_server_swaps",
    Counter,
    SERVER,
    "Stops of the model server that made room for another one",
);
pub(super) const SERVER_FAILURES: Metric = metric(
    "kebne_server_failures",
    Counter,
    SERVER,
    "Starts of the model server that failed, and its ends without a request",
);

pub(super) const ACCOUNTS_STATE: Metric = metric(
    "kebne_accounts_state",
    Gauge,
    &["state"],
    "1 for the state of the leases of accounts that several gateways share (`unknown`, `held`, `late`, `over`), 0 for the others; absent if they are not shared",
);
pub(super) const ACCOUNTS_GATEWAYS: Metric = metric(
    "kebne_accounts_gateways",
    Gauge,
    &[],
    "Gateways that use the same account, at most, at the last renewal; absent if accounts are not shared",
);
pub(super) const ACCOUNTS_FAIR_PARTS: Metric = metric(
    "kebne_accounts_fair_parts",
    Gauge,
    &[],
    "Accounts that use a fair part of their limits because the store does not answer; absent if accounts are not shared",
);
pub(super) const ACCOUNTS_RENEWALS: Metric = metric(
    "kebne_accounts_renewals",
    Counter,
    &["result"],
    "Renewals of shared accounts (`renewed`), and requests for many of them that failed (`failed`)",
);
pub(super) const ACCOUNTS_WAITS: Metric = metric(
    "kebne_accounts_waits",
    Counter,
    &[],
    "Calls that waited for the store because they did not fit into what this gateway held of a shared account",
);

pub(super) const SHARE_CALLS: Metric = metric(
    "kebne_share",
    Gauge,
    LANE,
    "Attempts that this gateway may have in flight of a backend that several gateways share; absent without a lease",
);
pub(super) const SHARE_LIMIT: Metric = metric(
    "kebne_share_limit",
    Gauge,
    LANE,
    "Attempts that all gateways together may have in flight; absent without a lease",
);
pub(super) const SHARE_GATEWAYS: Metric = metric(
    "kebne_share_gateways",
    Gauge,
    LANE,
    "Gateways that share the backend, this one included; absent without a lease",
);
pub(super) const SHARE_STATE: Metric = metric(
    "kebne_share_state",
    Gauge,
    &["lane", "state"],
    "1 for the state of the lease of a shared backend (`unknown`, `held`, `late`, `over`), 0 for the others",
);
pub(super) const SHARE_RENEWALS: Metric = metric(
    "kebne_share_renewals",
    Counter,
    &["lane", "result"],
    "Renewals of the lease of a shared backend by result (`renewed`, `failed`)",
);

pub(super) const CACHE_CALLS: Metric = metric(
    "kebne_cache_calls",
    Counter,
    &["model", "result"],
    "Calls of models whose answers are kept, by how they were answered: `hit`, `stale`, `semantic`, `coalesced`, `miss`, `bypass`",
);
pub(super) const CACHE_BYPASSES: Metric = metric(
    "kebne_cache_bypasses",
    Counter,
    &["model", "reason"],
    "Calls that may not be answered from the cache, by reason",
);
pub(super) const CACHE_SAVED_TOKENS: Metric = metric(
    "kebne_cache_saved_tokens",
    Counter,
    MODEL,
    "Tokens of answers that were kept or shared, for which no backend was asked",
);
pub(super) const CACHE_SAVED_COST: Metric = metric(
    "kebne_cache_saved_cost",
    Counter,
    &["model", "currency"],
    "Cost of these tokens at the backends that gave the answers",
);
pub(super) const CACHE_EXPLORATIONS: Metric = metric(
    "kebne_cache_explorations",
    Counter,
    &["model", "result"],
    "Similar questions that were asked although an answer was kept, by whether that answer was `right` or `wrong`",
);
pub(super) const CACHE_RULED_OUT: Metric = metric(
    "kebne_cache_ruled_out",
    Counter,
    &["model", "difference"],
    "Similar questions that were told apart by their words, by the difference",
);
pub(super) const CACHE_ENTRIES: Metric = metric("kebne_cache_entries", Gauge, &[], "Kept answers");
pub(super) const CACHE_BYTES: Metric =
    metric("kebne_cache_bytes", Gauge, &[], "Bytes of kept answers");
pub(super) const CACHE_EVICTIONS: Metric = metric(
    "kebne_cache_evictions",
    Counter,
    &[],
    "Kept answers that were removed because a bound was reached",
);
pub(super) const CACHE_FLIGHTS: Metric = metric(
    "kebne_cache_flights",
    Gauge,
    &[],
    "Calls in progress whose answers others can share",
);
pub(super) const CACHE_FAILURES: Metric = metric(
    "kebne_cache_failures",
    Counter,
    &[],
    "Questions that the store of answers did not answer; each cost a miss",
);

/// All metrics, in the order of the reference.
pub(super) const ALL: &[&Metric] = &[
    &REQUESTS,
    &ANSWERS,
    &REFUSALS,
    &DURATION,
    &FIRST_TOKEN,
    &PER_TOKEN,
    &TOKEN_USAGE,
    &TOKENS,
    &COST,
    &QUEUE_WAIT,
    &COLD_WAIT,
    &ATTEMPTS,
    &GUARD,
    &STEP_SECONDS,
    &RETRY_AFTER,
    &RETRY_AFTER_ERROR,
    &CALLS,
    &PREWARMS,
    &FAILED_ATTEMPTS,
    &HEDGES,
    &STATE,
    &SERVICE,
    &HEALTH,
    &FALLBACKS,
    &REPORT_AGE,
    &CLOSED,
    &LIMIT,
    &RATE_LIMIT,
    &IN_FLIGHT,
    &QUEUE,
    &QUEUE_BY_PRIORITY,
    &QUEUE_BYTES,
    &CALLS_LIVE,
    &HELD,
    &ATTEMPT_TIMEOUT,
    &RETRY_RATIO,
    &RETRY_BUDGET,
    &WORKERS,
    &WORKER_RESTARTS,
    &ALERTS,
    &SERVER_READY,
    &SERVER_LOADS,
    &SERVER_LOAD_SECONDS,
    &SERVER_SWAPS,
    &SERVER_FAILURES,
    &ACCOUNTS_STATE,
    &ACCOUNTS_GATEWAYS,
    &ACCOUNTS_FAIR_PARTS,
    &ACCOUNTS_RENEWALS,
    &ACCOUNTS_WAITS,
    &SHARE_CALLS,
    &SHARE_LIMIT,
    &SHARE_GATEWAYS,
    &SHARE_STATE,
    &SHARE_RENEWALS,
    &PROMPT_CALLS,
    &PROMPT_TOKENS,
    &PROMPT_COST,
    &PROMPT_SECONDS,
    &ROUTE_DECISIONS,
    &ROUTE_INTENTS,
    &ROUTE_SHADOWS,
    &ROUTE_SHADOW_SECONDS,
    &ROUTE_SHADOW_TOKENS,
    &COLLECTIONS,
    &COLLECTION_FILES,
    &COLLECTION_CHUNKS,
    &COLLECTION_BYTES,
    &INDEX_BYTES,
    &INNER_CALLS,
    &INNER_SECONDS,
    &INNER_TOKENS,
    &INNER_COST,
    &CHUNKS_WAITING,
    &CHUNKS_EMBEDDED,
    &EMBEDDER_UP,
    &CACHE_CALLS,
    &CACHE_BYPASSES,
    &CACHE_SAVED_TOKENS,
    &CACHE_SAVED_COST,
    &CACHE_EXPLORATIONS,
    &CACHE_RULED_OUT,
    &CACHE_ENTRIES,
    &CACHE_BYTES,
    &CACHE_EVICTIONS,
    &CACHE_FLIGHTS,
    &CACHE_FAILURES,
    &EVENTS,
    &EVENTS_LOST,
    &EVENTS_WAITING,
    &EVENTS_PUBLISHED,
    &EVENT_BUS_FAILURES,
    &EVENT_BUS_UP,
    &FUNCTION_EVENTS,
    &FUNCTION_EVENTS_WAITING,
    &CONSUMED,
    &ACTOR_RESTARTS,
    &DEAD_LETTERS,
    &BODY_BYTES,
    &BODY_BYTES_MAX,
    &ANSWER_BYTES,
    &ANSWER_BYTES_MAX,
    &STORE_UP,
    &STORE_FAILURES,
    &MEMORY_SUMMARIES,
    &MEMORY_FACTS,
    &MEMORY_FAILURES,
    &MEMORY_DROPPED,
    &MEMORY_WAITING,
    &MEMORY_RUNNING,
    &MEMORY_SEARCH_BYTES,
    &ACCOUNT_STORE_UP,
    &PROMPT_STORE_UP,
    &COLLECTION_STORE_UP,
    &JOBS,
    &JOB_BYTES,
    &JOB_NOTICES,
    &JOB_WAIT,
    &JOB_EVENTS,
    &JOB_STORE_UP,
    &AGENT_RUNS,
    &AGENT_EVENTS,
    &AGENT_STORE_UP,
    &MCP_SERVER_UP,
    &MCP_TOOLS,
    &TOOL_LOOPS,
    &CACHE_STORE_UP,
    &ACCOUNT_STORE_FAILURES,
    &BUDGET_USED,
    &CERTIFICATE_EXPIRES,
    &HANDSHAKES_FAILED,
    &LOG_LINES_DROPPED,
    &RELOADS,
    &RELOAD_APPLIED,
    &SETTINGS_READ_AT,
    &NEEDS_RESTART,
];

impl Metric {
    /// Returns the name in queries; of a histogram, without `_bucket`, `_sum` and `_count`.
    fn in_queries(&self) -> String {
        let suffix = if self.kind == Counter { "_total" } else { "" };
        format!("{}{suffix}", self.name)
    }
}

/// Returns the reference as a table in Markdown.
pub(crate) fn reference() -> String {
    let mut table = String::from("| metric | kind | labels | meaning |\n|---|---|---|---|\n");
    for metric in ALL {
        let kind = match metric.kind {
            Counter => "counter",
            Gauge => "gauge",
            Histogram => "histogram",
        };
        let labels: Vec<String> = metric
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        let (name, labels, help) = (metric.in_queries(), labels.join(", "), metric.help);
        // Writing to a string cannot fail.
        let _complete = writeln!(table, "| `{name}` | {kind} | {labels} | {help} |");
    }
    table
}
