//! The reason codes.

use super::Reason;

const fn reason(
    code: &'static str,
    status: &'static str,
    meaning: &'static str,
    action: &'static str,
) -> Reason {
    Reason {
        code,
        status,
        meaning,
        action,
    }
}

/// Calls that did not begin, or were ended for lack of room.
pub(super) const REFUSALS: &[Reason] = &[
    reason(
        "queue_full",
        "429",
        "As many calls wait, or as many bytes, as `queue_max` and `queue_bytes_max` allow.",
        "Add capacity. A longer queue helps only if the waits in `/state` are short.",
    ),
    reason(
        "wait_too_long",
        "429",
        "The call would wait for longer than its deadline.",
        "Name a longer deadline (`x-kebne-deadline-ms`), or add capacity.",
    ),
    reason(
        "queue_timeout",
        "503",
        "The deadline passed while the call waited: the wait was longer than predicted when the call came.",
        "Add capacity, or wait longer. If the backend became slower, the lane's `verdicts` in `/state` say when.",
    ),
    reason(
        "model_loading",
        "503",
        "The model loads, and will not be ready before the call's deadline, or the caller does not wait (`x-wait-for-model: false`). \
         `estimated_time` of the error is the expected time. At the end of a begun stream: the server began to load again.",
        "Wake the model before it is needed (`[backends.prewarm]`), or let callers wait longer.",
    ),
    reason(
        "backend_broken",
        "503",
        "The backend fails every call, so its breaker is open and only probes are sent.",
        "Read `last_failure` of the lane in `/state`, and the log of the model server. It closes by itself when a probe succeeds.",
    ),
    reason(
        "backend_unreachable",
        "503",
        "No connection to the backend could be made within `cold_wait_max` and the call's deadline.",
        "Start the model server, or correct `base_url`; try its address with `curl` from the machine of the gateway.",
    ),
    reason(
        "server_fails",
        "503",
        "The model server that the gateway starts, or wakes by a hook, has failed to start. The message says how, how often in a row, and when it is started again; \
         so does `Retry-After`. Calls go to the next backend of their model by the rule `unreachable`; a call without another backend waits for one more start, and is refused after the second failure.",
        "Read `last_error` and `lines` of the server in `/state`; see [`server_fails`](../alerts.md#server_fails). `POST /admin/v1/backends/NAME/load` tries at once.",
    ),
    reason(
        "server_is_overloaded",
        "503",
        "The backend asked for a pause that ends after the call's deadline. At the end of a begun stream: the backend ended it because it was overloaded.",
        "Lower `limit_max` if other clients use the same server; otherwise add capacity.",
    ),
    reason(
        "rate_limit_exceeded",
        "429",
        "The key, or a group above it, has used up its calls or tokens per minute, or has as many calls in progress as it may. In the middle of an answer: the backend reached a rate limit and ended it.",
        "Raise [the limits](../keys.md#limits-and-budgets) of the key, or spread its calls; for a backend, look for other users of the same key.",
    ),
    reason(
        "insufficient_quota",
        "429",
        "A budget of the key or of a group above it has no room for the call, or the quota of the backend is used up; the message says which. Retrying is useless, and client libraries are told so (`x-should-retry: false`).",
        "Raise [the budget](../keys.md#limits-and-budgets), or the quota at the provider, or wait for its reset. A fallback of the model helps against a quota, not against a budget.",
    ),
    reason(
        "lane_closed",
        "503",
        "The backend was taken out of service by an operator, by an alert's action, or because its lane failed too often.",
        "`closed` of the lane in `/state` is the reason. `POST /admin/v1/backends/NAME/reopen` opens it.",
    ),
    reason(
        "no_replicas",
        "503",
        "The replicas of the model are discovered, and none was found since the start.",
        "The log says what is wrong with the file or the name (`[backends.discovery]`).",
    ),
    reason(
        "draining",
        "503",
        "The gateway stops and admits no new calls.",
        "Let the load balancer ask `/readyz`, or repeat such calls elsewhere (`deploy/proxy`).",
    ),
    reason(
        "bodies_full",
        "503",
        "The bodies of all requests together take `server.bodies_size_max`.",
        "Raise it if the machine has the memory; look for callers that upload slowly (`kebne_body_bytes`).",
    ),
    reason(
        "answers_full",
        "503",
        "The whole answers and large events together take `server.answers_size_max`.",
        "Raise it if the machine has the memory; look for callers that read slowly (`kebne_answer_bytes`).",
    ),
    reason(
        "collections_unavailable",
        "503",
        "The file of collections is locked, full, gone or does not answer. Other calls are served.",
        "The log has the cause: make room on the disk, check permissions, end other processes that lock the file.",
    ),
    reason(
        "agents_full",
        "429",
        "As many runs of the tenant have not ended as `agent_store.open_max` allows, or it has as many agents as `agent_store.agents_max`; the message says which.",
        "Wait until runs have ended, cancel some, or raise the bound.",
    ),
    reason(
        "agents_unavailable",
        "503",
        "The file of agents is locked, full, gone or does not answer. Other calls are served.",
        "The log has the cause: make room on the disk, check permissions, end other processes that lock the file.",
    ),
    reason(
        "jobs_full",
        "429",
        "As many jobs of the tenant wait as `jobs.waiting_max` allows, or its jobs take `jobs.tenant_bytes_max`; the message says which.",
        "Queue them later, or raise the bound. Results take room until `jobs.retention` has passed.",
    ),
    reason(
        "jobs_unavailable",
        "503",
        "The file of jobs is locked, full, gone or does not answer. Other calls are served.",
        "The log has the cause: make room on the disk, check permissions, end other processes that lock the file.",
    ),
    reason(
        "prompt_store_unavailable",
        "503",
        "The file of prompts is locked, full, gone or does not answer. Calls get the prompts that were read last; those that name a stored prompt get this error if none were read since the start.",
        "The log has the cause: make room on the disk, check permissions, end other processes that lock the file.",
    ),
    reason(
        "session_store_unavailable",
        "503",
        "The file of sessions is locked, full, gone or does not answer. Other calls are served.",
        "The log and `sessions` in `/state` have the cause: make room on the disk, check permissions, end other processes that lock the file.",
    ),
    reason(
        "account_store_unavailable",
        "503",
        "The file of keys and budgets is locked, full or gone, so a change of a key was not made. Calls are served with the last known keys and sums.",
        "`accounts` in `/state` has the cause: make room on the disk, end the process that locks the file, or move it back; with `accounts.store = \"redis\"`, start the server.",
    ),
    reason(
        "guard_unavailable",
        "503",
        "The service or the model that a [guard](guard.md) asks gave no answer within `timeout`, and `when_gone` is `closed`; or the key names a guard that the settings no longer have.",
        "The log has the cause. Start the service; `when_gone = \"open\"` lets texts pass without it.",
    ),
    reason(
        "no_answer",
        "503",
        "The actors of the lane are being replaced and did not answer an administrative request.",
        "Repeat the request.",
    ),
];

/// Calls that were admitted and did not succeed.
pub(super) const FAILURES: &[Reason] = &[
    reason(
        "not_cached",
        "504",
        "The caller wants a kept answer only (`cache-control: only-if-cached`), and there is none.",
        "Call without `only-if-cached`, or look at the rules of the [cache](../cache.md).",
    ),
    reason(
        "read_too_slowly",
        "503",
        "The caller shares the answer of another call and read it so slowly that it lagged by more than `cache.entry_size_max`.",
        "Read faster, or send the call with `cache-control: no-cache`, so that its answer is not shared.",
    ),
    reason(
        "cache_unavailable",
        "503",
        "The store of kept answers did not answer a request to list or erase them. Calls are served without it.",
        "Look for the cause in the log and in `/state`.",
    ),
    reason(
        "answer_not_checked",
        "502",
        "A [guard](guard.md) checks the answer and cannot: it is not valid JSON, or the arguments of a tool call are larger than 1 MiB.",
        "Look for the faults of the model server, or take its model out of the guard.",
    ),
    reason(
        "upstream_error",
        "502",
        "The backend failed, and retries and fallbacks did not help. The message says whether its answer was incomplete, too large or not valid.",
        "The request log has each attempt with its cause; the causes are [below](#causes-of-attempts).",
    ),
    reason(
        "upstream_timeout",
        "504",
        "The backend did not answer within `attempt_timeout`, or its first token did not come within `first_token_timeout`.",
        "Find out why the server is slow; raise the timeout if its answers need the time.",
    ),
    reason(
        "deadline_exceeded",
        "504",
        "The answer was not complete at the deadline that the caller named.",
        "Name a longer `x-kebne-deadline-ms`, or none: a stream then ends by itself.",
    ),
    reason(
        "loop_detected",
        "508",
        "The call has come back to a gateway that had sent it: the address of a backend, of a route's `service` or of a guard is that of a gateway on the way.",
        "Correct the address (`base_url`, `service.url`, `check.url`). The request log of each gateway on the way has the call.",
    ),
    reason(
        "backend_misconfigured",
        "502",
        "The backend does not accept the key (401, 403) or the path (404, 405) of the gateway, or does not have the model by the name that the gateway sends (404).",
        "Correct `api_key_env`, `base_url` or `model` of the backend; `kebne check` shows what the gateway reads.",
    ),
    reason(
        "attempt_lost",
        "500",
        "The gateway's client of the backend panicked on this call.",
        "Report it with the log: it is an error of Kebne.",
    ),
    reason(
        "server_error",
        "500",
        "The gateway failed on this request.",
        "Report it with the log: it is an error of Kebne.",
    ),
    reason(
        "turn_not_kept",
        "500",
        "The model answered, and the session could not store the turn.",
        "The session is as before the call. The log has the cause.",
    ),
    reason(
        "agents_damaged",
        "500",
        "What the file of agents holds cannot be read or decrypted.",
        "Check the key in `agent_store.key_env` first; otherwise restore a backup of the file.",
    ),
    reason(
        "jobs_damaged",
        "500",
        "What the file of jobs holds cannot be read or decrypted.",
        "Check the key in `jobs.key_env` first; otherwise restore a backup of the file.",
    ),
    reason(
        "result_too_large",
        "502",
        "The answer to a job has more bytes than `jobs.result_size_max`.",
        "Raise the bound, or ask for less.",
    ),
    reason(
        "collections_damaged",
        "500",
        "What the file of collections holds cannot be read or decrypted.",
        "Check the key in `collections.key_env` first; otherwise restore a backup of the file.",
    ),
    reason(
        "prompt_store_damaged",
        "500",
        "What the file of prompts holds cannot be read or decrypted.",
        "Check the key in `context.key_env` first; otherwise restore a backup of the file.",
    ),
    reason(
        "session_store_damaged",
        "500",
        "What the file of sessions holds cannot be read or decrypted.",
        "Check the key in `context.key_env` first; otherwise [restore a backup](backup.md#restore).",
    ),
    reason(
        "not_woken",
        "500",
        "The backend has no call with which it can be woken.",
        "Set `[backends.prewarm]`.",
    ),
];

/// Requests that cannot succeed as they are.
pub(super) const CALLERS: &[Reason] = &[
    reason(
        "content_filter",
        "400",
        "A rule or the check of a [guard](guard.md) refuses the request, or the answer. The message and `x-kebne-guard` name the rule.",
        "Change the text. If the rule is wrong, change it, or let it `tag` first.",
    ),
    reason(
        "guard_refused",
        "400",
        "The call is larger than `guards.sizes` allow, or its text is given as the numbers of its tokens.",
        "Send less, or send text.",
    ),
    reason(
        "invalid_request_error",
        "400, 405, 408",
        "The request is wrong, or its body did not arrive in time. `param` names the field or header.",
        "Correct the request.",
    ),
    reason(
        "invalid_api_key",
        "401",
        "The key is missing or unknown.",
        "Send `Authorization: Bearer KEY`; compare its SHA-256 (`printf %s KEY`, piped to `sha256sum`) with `hash` in the settings.",
    ),
    reason(
        "not_allowed",
        "403",
        "The key does not permit the priority or the tenant that a header names.",
        "Change `priority` or `names_tenants` of the key.",
    ),
    reason(
        "insufficient_scope",
        "403",
        "The key lacks the scope that the message names.",
        "Add it to `scopes` of the key, or use another key.",
    ),
    reason(
        "model_not_allowed",
        "403",
        "The key may not call this model.",
        "Add it to `models` of the key.",
    ),
    reason(
        "tool_held",
        "403",
        "The tool of an MCP server has changed, or is new, and was not approved.",
        "Read its description at `/admin/v1/mcp-servers/NAME`, and approve it there.",
    ),
    reason(
        "host_not_allowed",
        "403",
        "A gateway without keys was called by a host name that is not this machine's.",
        "Add the name to `server.hosts`, or set keys.",
    ),
    reason(
        "origin_not_allowed",
        "403",
        "A web page of another origin called a gateway without keys.",
        "Add the origin to `server.cors_origins`.",
    ),
    reason(
        "not_found",
        "404",
        "There is no such path, or what it names does not exist or belongs to another tenant.",
        "Correct the path. Clients need the base URL with `/v1`.",
    ),
    reason(
        "model_not_found",
        "404",
        "No model has this name.",
        "`GET /v1/models` lists the names.",
    ),
    reason(
        "no_server",
        "400",
        "The server of the backend is not one that the gateway starts and stops.",
        "Give the backend a `[backends.process]`.",
    ),
    reason(
        "backend_not_found",
        "404",
        "No backend has this name.",
        "`/state` lists the lanes.",
    ),
    reason(
        "prompt_not_found",
        "404",
        "No prompt has this name.",
        "`GET /v1/prompts` lists the names.",
    ),
    reason(
        "response_not_found",
        "404",
        "The response is not kept: it was deleted, is too old, was made without `store`, or belongs to another tenant.",
        "Send the conversation instead of `previous_response_id`.",
    ),
    reason(
        "vector_store_not_found",
        "404",
        "The vector store was deleted, has expired, or belongs to another tenant.",
        "Create a new one.",
    ),
    reason(
        "agent_refused",
        "400",
        "An agent does not take the call: it has `tools`, asks for several answers, or is not a chat of texts; the message says which.",
        "Leave the field out, or call a model.",
    ),
    reason(
        "agent_without_answer",
        "422",
        "A run of an agent ended without a final text, or waits for a human; `ending` says which. `run` and the header `x-kebne-run` are its id.",
        "Read the run; decide on its call if it waits.",
    ),
    reason(
        "agent_not_found",
        "404",
        "There is no agent of this name: it was removed, or belongs to another tenant.",
        "`GET /v1/agents` lists the agents that the key may run.",
    ),
    reason(
        "run_not_found",
        "404",
        "The run is older than `agent_store.retention`, was erased, is one of another agent, or belongs to another tenant.",
        "Read runs while they are kept.",
    ),
    reason(
        "call_does_not_wait",
        "409",
        "The call of the run has no decision to be made: it was decided, has a result, or does not exist.",
        "Read the run: `waiting` lists the calls that wait.",
    ),
    reason(
        "run_has_ended",
        "409",
        "The run has ended, so nothing of it can be decided.",
        "Start another run.",
    ),
    reason(
        "agent_of_settings",
        "409",
        "An agent of the settings cannot be changed or removed by the API, and its name cannot be used.",
        "Change `[[agents]]` in the settings, or choose another name.",
    ),
    reason(
        "job_not_found",
        "404",
        "The job is older than `jobs.retention`, was erased, or belongs to another tenant.",
        "Fetch results while they are kept.",
    ),
    reason(
        "batch_not_found",
        "404",
        "The batch is older than `jobs.retention`, was erased, or belongs to another tenant.",
        "Fetch results while they are kept.",
    ),
    reason(
        "job_has_no_response",
        "409",
        "The job has not ended, or it was cancelled, expired or given up before it had an answer.",
        "Wait for its end (`/v1/jobs/{id}/events`), or queue it again.",
    ),
    reason(
        "idempotency_key_reused",
        "409",
        "The `idempotency-key` belongs to a job with another request.",
        "Use a new key for each request.",
    ),
    reason(
        "file_not_found",
        "404",
        "The file was deleted, has expired, is not in the vector store, or belongs to another tenant.",
        "Upload it again.",
    ),
    reason(
        "call_not_found",
        "404",
        "No call of the tenant that got the prompt is known by this id, or it is older than `prompt_store.keep`.",
        "Report the outcome with the `x-request-id` of a call with the prompt, soon after the call.",
    ),
    reason(
        "outcome_reported",
        "409",
        "The outcome of the call was reported before.",
        "Nothing: the first report counts.",
    ),
    reason(
        "prompt_store_full",
        "429",
        "There are as many prompts, versions or outcomes as there may be; the message names which.",
        "Delete old prompts, or wait until outcomes expire (`prompt_store.keep`).",
    ),
    reason(
        "file_batch_not_found",
        "404",
        "The vector store has no such batch: it is one of another vector store, or so old that it was forgotten. Its files are there.",
        "List the files of the vector store.",
    ),
    reason(
        "collections_full",
        "429",
        "The tenant has as many files, vector stores or bytes as `collections` allows; the message names the setting.",
        "Delete old ones.",
    ),
    reason(
        "session_not_found",
        "404",
        "The session was deleted, is too old, or belongs to another tenant.",
        "Create a new one.",
    ),
    reason(
        "action_not_found",
        "404",
        "No action of an alert has this number.",
        "`GET /v1/alerts` lists them.",
    ),
    reason(
        "conflict",
        "409",
        "Something that is still going on excludes the request.",
        "Repeat it later.",
    ),
    reason(
        "settings_refused",
        "400",
        "The settings were read again and have errors, which the message names with their places. Nothing has changed.",
        "Correct them; `kebne check` shows the same errors. Then [reload](reload.md) again.",
    ),
    reason(
        "action_not_active",
        "409",
        "The action was only suggested, is over, or was undone.",
        "There is nothing to undo.",
    ),
    reason(
        "session_full",
        "409",
        "The session has `context.turns_max` turns.",
        "Create a new one.",
    ),
    reason(
        "session_facts_full",
        "409",
        "The session has `context.memory.facts_max` facts.",
        "Delete some.",
    ),
    reason(
        "session_changed",
        "409",
        "The session was rewound while it was copied, or while a call of it ran. The turn of such a call is not kept, although the model has answered.",
        "Repeat the copy. Before you repeat a call, look whether it still fits the session.",
    ),
    reason(
        "too_many_sessions",
        "429",
        "The tenant has `context.sessions_max` sessions.",
        "Delete old ones.",
    ),
    reason(
        "session_bytes_full",
        "429",
        "The sessions of the tenant take `context.owner_bytes_max`.",
        "Delete old ones.",
    ),
    reason(
        "request_too_large",
        "413",
        "The body is larger than `server.body_size_max`, or than the backend accepts.",
        "Send less, or raise the bound (also that of a proxy in front).",
    ),
    reason(
        "unsupported_content_type",
        "415",
        "The body is not sent as JSON.",
        "Send `content-type: application/json`.",
    ),
    reason(
        "unsupported_encoding",
        "415",
        "The body is compressed in a way that the gateway does not decode.",
        "Send it uncompressed.",
    ),
    reason(
        "unsupported_input",
        "400",
        "No backend of the model takes an image, sound, file or video that the call holds.",
        "Use another model, or correct `inputs` of the backend.",
    ),
    reason(
        "context_length_exceeded",
        "400",
        "The conversation is longer than the session or the model takes.",
        "Begin a new conversation, or use a model with a longer context.",
    ),
    reason(
        "prompt_failed",
        "400",
        "The prompt's template cannot be rendered with these variables.",
        "`POST /v1/prompts/NAME/render` shows why.",
    ),
];

/// Causes of attempts that are not sent to callers.
pub(super) const ATTEMPTS: &[Reason] = &[
    reason(
        "answer_cut",
        "",
        "The answer ended before it was complete.",
        "Look for a crash, an out-of-memory error or a timeout of a proxy between gateway and server.",
    ),
    reason(
        "answer_too_large",
        "",
        "The answer, or an event of it, is larger than `answer_size_max` or `event_size_max`.",
        "Raise the bound of the backend.",
    ),
    reason(
        "unreadable_answer",
        "",
        "The answer is not valid in the dialect of the backend's `kind`. The log has its beginning.",
        "Correct `kind` or `base_url`: often it is the page of a proxy.",
    ),
    reason(
        "backend_redirects",
        "",
        "The server redirects to another address, to which the key is not sent.",
        "Put the final address into `base_url`.",
    ),
    reason(
        "backend_silent",
        "",
        "A stream that had begun was silent for longer than `idle_timeout`.",
        "Look at the server's log; raise `idle_timeout` if its model pauses for so long.",
    ),
];
