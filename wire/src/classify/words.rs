//! The words by which servers report a condition, in lower case.

/// Loading: Hugging Face "is currently loading", llama.cpp "Loading model", `OpenAI` "is still being loaded" (429),
/// Bedrock `ModelNotReadyException`, vLLM production stack and proxies that scale from zero.
pub(super) const LOADING: [&str; 11] = [
    "currently loading",
    "loading model",
    "model is loading",
    "still being loaded",
    "still loading",
    "modelnotready",
    "model not ready",
    "model_loading",
    "is starting",
    "starting up",
    "warming up",
];

/// Overload: TGI `overloaded`, Ollama "server busy" and "maximum pending requests exceeded", vLLM's queue bound,
/// Hugging Face "Model too busy", `OpenAI` `server_is_overloaded`, Anthropic and Azure `overloaded`.
pub(super) const OVERLOADED: [&str; 9] = [
    "overloaded",
    "server busy",
    "too busy",
    "pending requests",
    "queue is full",
    "queue full",
    "max_num_queued",
    "concurrency limit",
    "no slot available",
];

/// Cold, reported with the status of a bad request: Featherless. A message may quote the caller, so these words are
/// used only while the server has not been proven to work.
pub(super) const COLD_AS_CLIENT: [&str; 2] = ["model is cold", "not ready for inference"];

/// Cold, reported with the status of a bad request by the router of the vLLM production stack. The message ends with
/// these words and contains nothing of the caller.
pub(super) const ASLEEP_AT_END: &str = "vllm engine is sleeping.";

/// Used-up quotas, reported with the status of a bad request: Anthropic. The message begins with these words, so they
/// cannot be a quotation of the caller.
pub(super) const NO_CREDIT: [&str; 2] = [
    "your credit balance is too low",
    "you have reached your specified api usage limits",
];

/// Types and codes of used-up quotas, with any status of the caller's own faults: `OpenAI`, DeepSeek, Groq.
pub(super) const NO_CREDIT_CODES: [&str; 6] = [
    "insufficient_quota",
    "insufficient_balance",
    "billing_hard_limit_reached",
    "billing_not_active",
    "spend_limit_reached",
    "blocked_api_access",
];

/// Wrong keys and services that are switched off, reported with the status of a bad request: Gemini, xAI, Anthropic,
/// Fireworks (412), Hugging Face. The message begins with these words.
pub(super) const NOT_SERVED: [&str; 10] = [
    "api key not valid",
    "api key not found",
    "api key expired",
    "api_key_invalid",
    "incorrect api key provided",
    "invalid api key",
    "this organization has been disabled",
    "user location is not supported",
    "account suspended",
    "the endpoint is paused",
];

/// Types and codes of wrong keys.
pub(super) const WRONG_KEY_CODES: [&str; 4] = [
    "authentication_error",
    "api_key_invalid",
    "invalid_api_key",
    "unauthenticated",
];

/// A model that the server does not have, reported with 404: `OpenAI`, vLLM, Ollama, Groq ("The model `x` does not exist",
/// "model 'x' not found"), Anthropic ("model: x"), Gemini ("models/x is not found"), Azure, OpenRouter ("No endpoints found for
/// x"). The message begins with these words, so they cannot be a quotation of the caller.
pub(super) const NO_MODEL: [&str; 9] = [
    "the model ",
    "the requested model ",
    "model ",
    "model: ",
    "models/",
    "publisher model ",
    "unable to access model ",
    "the api deployment for this resource does not exist",
    "no endpoints found for ",
];

/// Types and codes of models that the server does not have.
pub(super) const NO_MODEL_CODES: [&str; 3] = [
    "model_not_found",
    "deploymentnotfound",
    "model_not_available",
];

/// A prompt that was refused for its content, reported with 403: OpenRouter, xAI.
pub(super) const FLAGGED: [&str; 5] = [
    "input was flagged",
    "content violates usage guidelines",
    "content_filter",
    "content_policy_violation",
    "moderation_blocked",
];

/// Requests that are too large for the account, reported with 429 or 402, so that no wait helps: `OpenAI` ("Request too
/// large for …"), Anthropic (long context), OpenRouter (more output tokens than the credits can pay). The message begins
/// with these words.
pub(super) const BEYOND_ACCOUNT: [&str; 4] = [
    "request too large",
    "extra usage is required for long context",
    "this request requires more credits, or fewer max_tokens",
    "prompt tokens limit exceeded",
];

/// Used-up quotas: `OpenAI` `insufficient_quota` and billing limits, Anthropic spend limits, daily quotas.
pub(super) const QUOTA: [&str; 10] = [
    "insufficient_quota",
    "spending limit",
    "available credits",
    "exceeded your current quota",
    "billing",
    "spend_limit",
    "spend limit",
    "credit balance",
    "per day",
    "daily",
];

/// A proxy without a server behind it: Envoy, nginx, Kubernetes ingress.
pub(super) const NO_SERVER: [&str; 5] = [
    "no healthy upstream",
    "upstream connect error",
    "service temporarily unavailable",
    "unhealthy",
    "no available server",
];

/// Requests that the model or its server does not support, refused with 500: llama.cpp "image input is not supported"
/// (a model without projector), "tools param requires --jinja flag" (older versions), and chat templates that raise
/// "Conversation roles must alternate user/assistant/…".
pub(super) const NOT_TAKEN: [&str; 4] = [
    "input is not supported",
    "param requires --jinja",
    "roles must alternate",
    "unsupported content[].type",
];

/// Answers that the server itself could not parse, reported with 500: llama.cpp "The model produced output that does
/// not match the expected peg-native format".
pub(super) const NOT_READ: [&str; 1] = ["model produced output that does not match"];

/// A prompt that is longer than the context: `OpenAI` and vLLM ("maximum context length is …"), Anthropic ("prompt is too
/// long", "exceed context limit"), llama.cpp (`exceed_context_size_error`), `SGLang`, LM Studio, Gemini ("input token count
/// … exceeds"), TGI ("`inputs` tokens + `max_new_tokens`"), Bedrock, Groq, Ollama.
pub(super) const CONTEXT_EXCEEDED: [&str; 14] = [
    "context_length_exceeded",
    "maximum context length",
    "model's context length",
    "prompt is too long",
    "exceed context limit",
    "exceed_context_size",
    "available context size",
    "context length of only",
    "exceeds the maximum number of tokens allowed",
    "`inputs` tokens + `max_new_tokens`",
    "`inputs` must have less than",
    "input is too long",
    "exceeds the context length",
    "reduce the length of the messages",
];

/// A prompt that was refused for its content, beside [`FLAGGED`]: Azure, `OpenAI`.
pub(super) const CONTENT_REFUSED: [&str; 5] = [
    "content management policy",
    "responsibleaipolicyviolation",
    "result of our safety system",
    "violating our usage policy",
    "content policy",
];

/// A model that the server does not have: `OpenAI`, vLLM, Ollama.
pub(super) const NO_SUCH_MODEL: [&str; 2] = [
    "model_not_found",
    "does not exist or you do not have access",
];
