//! The table of what each server sends and its class.

use super::*;

struct Row {
    server: &'static str,
    status: u16,
    headers: &'static [(&'static str, &'static str)],
    body: &'static str,
    means: Outcome,
}

const fn row(
    server: &'static str,
    status: u16,
    headers: &'static [(&'static str, &'static str)],
    body: &'static str,
    means: Outcome,
) -> Row {
    Row {
        server,
        status,
        headers,
        body,
        means,
    }
}

const fn cold(estimated: Option<u64>) -> Outcome {
    match estimated {
        Some(millis) => Outcome::Cold {
            estimated: Some(Duration::from_millis(millis)),
        },
        None => Outcome::Cold { estimated: None },
    }
}

const fn rate(millis: u64) -> Outcome {
    Outcome::Rate {
        retry_after: Some(Duration::from_millis(millis)),
        slow_down: false,
    }
}

fn means(row: &Row, proven: bool) -> Outcome {
    let mut headers = HeaderMap::new();
    for (name, value) in row.headers {
        headers.insert(*name, http::HeaderValue::from_static(value));
    }
    classify(&ErrorResponse {
        status: StatusCode::from_u16(row.status).unwrap(),
        headers: &headers,
        body: row.body.as_bytes(),
        proven,
        cold_statuses: &[],
        now: SystemTime::UNIX_EPOCH,
    })
}

/// Answers whose class does not depend on whether the server has been seen to work.
const ALWAYS: [Row; 51] = [
    row(
        "hugging face",
        503,
        &[],
        r#"{"error":"Model gpt2 is currently loading","estimated_time":20.0}"#,
        cold(Some(20_000)),
    ),
    row(
        "hugging face",
        503,
        &[],
        r#"{"error":"Model gpt2 is currently loading"}"#,
        cold(None),
    ),
    row(
        "hugging face",
        503,
        &[],
        r#"{"error":"loading","estimated_time":1e18}"#,
        cold(Some(7_200_000)),
    ),
    row(
        "hugging face",
        503,
        &[],
        r#"{"error":"Model too busy, unable to get response in less than 60 second(s)"}"#,
        Outcome::Limit,
    ),
    row(
        "llama.cpp",
        503,
        &[],
        r#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#,
        cold(None),
    ),
    row(
        "llama.cpp",
        500,
        &[],
        r#"{"error":{"code":500,"message":"image input is not supported - hint: if this is unexpected, you may need to provide the mmproj","type":"server_error"}}"#,
        Outcome::Client,
    ),
    row(
        "llama.cpp",
        500,
        &[],
        r#"{"error":{"code":500,"message":"tools param requires --jinja flag","type":"server_error"}}"#,
        Outcome::Client,
    ),
    row(
        "llama.cpp",
        500,
        &[],
        r#"{"error":{"code":500,"message":"Conversation roles must alternate user/assistant/user/assistant/...","type":"server_error"}}"#,
        Outcome::Client,
    ),
    row(
        "llama.cpp",
        500,
        &[],
        r#"{"error":{"code":500,"message":"The model produced output that does not match the expected peg-native format","type":"server_error"}}"#,
        Outcome::Unusable,
    ),
    row(
        "llama.cpp",
        500,
        &[],
        r#"{"error":{"code":500,"message":"Compute error.","type":"server_error"}}"#,
        Outcome::Fault,
    ),
    row(
        "openai fine-tuned",
        429,
        &[],
        r#"{"error":{"message":"That model is still being loaded. Please try again shortly.","type":"server_error","param":null,"code":null}}"#,
        cold(None),
    ),
    row(
        "bedrock",
        429,
        &[],
        r#"{"__type":"ModelNotReadyException","message":"Model is not ready for inference"}"#,
        cold(None),
    ),
    row(
        "openai",
        429,
        &[("retry-after", "2"), ("retry-after-ms", "1500")],
        r#"{"error":{"message":"Rate limit reached","type":"requests","param":null,"code":"rate_limit_exceeded"}}"#,
        rate(1_500),
    ),
    row(
        "openai",
        429,
        &[],
        r#"{"error":{"message":"Rate limit reached for gpt-4o. Please try again in 1.242s.","type":"tokens","code":"rate_limit_exceeded"}}"#,
        rate(1_242),
    ),
    row(
        "openai",
        429,
        &[],
        r#"{"error":{"message":"You exceeded your current quota, please check your plan and billing details.","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#,
        Outcome::Quota { reset: None },
    ),
    row(
        "openai",
        429,
        &[("retry-after", "3")],
        r#"{"error":{"message":"ramp","type":"requests","code":"slow_down"}}"#,
        Outcome::Rate {
            retry_after: Some(Duration::from_secs(3)),
            slow_down: true,
        },
    ),
    row(
        "openai",
        503,
        &[],
        r#"{"error":{"message":"The engine is currently overloaded","type":"service_unavailable_error","code":"server_is_overloaded"}}"#,
        Outcome::Limit,
    ),
    row(
        "openai",
        429,
        &[
            ("x-ratelimit-limit-requests", "60"),
            ("x-ratelimit-remaining-requests", "0"),
            ("x-ratelimit-reset-requests", "20s"),
        ],
        "{}",
        rate(20_000),
    ),
    row("azure", 429, &[("retry-after-ms", "400")], "", rate(400)),
    row(
        "a daily quota",
        429,
        &[],
        r#"{"error":{"message":"Quota per day exceeded, retry in 10h17m"}}"#,
        Outcome::Quota {
            reset: Some(Duration::from_mins(617)),
        },
    ),
    row(
        "a far clock",
        429,
        &[("retry-after", "3600")],
        "",
        Outcome::Quota {
            reset: Some(Duration::from_hours(1)),
        },
    ),
    row(
        "anthropic",
        529,
        &[],
        r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
        Outcome::Limit,
    ),
    row(
        "anthropic",
        429,
        &[("retry-after", "12")],
        r#"{"type":"error","error":{"type":"rate_limit_error","message":"rate"}}"#,
        rate(12_000),
    ),
    row(
        "anthropic",
        429,
        &[],
        r#"{"type":"error","error":{"type":"rate_limit_error","message":"x","details":{"error_code":"enforced_spend_limit_reached"}}}"#,
        Outcome::Quota { reset: None },
    ),
    row(
        "llama.cpp",
        501,
        &[],
        r#"{"error":{"code":501,"message":"This server does not support embeddings","type":"not_supported_error"}}"#,
        Outcome::Client,
    ),
    row(
        "tgi",
        429,
        &[],
        r#"{"error":"Model is overloaded","error_type":"overloaded"}"#,
        Outcome::Limit,
    ),
    row(
        "tgi",
        424,
        &[],
        r#"{"error":"Request failed during generation","error_type":"generation"}"#,
        Outcome::Fault,
    ),
    row(
        "tgi",
        422,
        &[],
        r#"{"error":"Input validation error","error_type":"validation"}"#,
        Outcome::Client,
    ),
    row(
        "ollama",
        503,
        &[],
        r#"{"error":"server busy, please try again.  maximum pending requests exceeded"}"#,
        Outcome::Limit,
    ),
    row(
        "ollama",
        500,
        &[],
        r#"{"error":"llama runner process has terminated"}"#,
        Outcome::Fault,
    ),
    row(
        "vllm",
        503,
        &[],
        r#"{"object":"error","message":"The queue is full: --max-num-queued-reqs","type":"ServiceUnavailable","code":503}"#,
        Outcome::Limit,
    ),
    row(
        "coreweave",
        429,
        &[],
        r#"{"message":"Concurrency limit reached for requests"}"#,
        Outcome::Limit,
    ),
    row(
        "gemini",
        429,
        &[],
        r#"[{"error":{"code":429,"message":"Please retry in 38.5s.","status":"RESOURCE_EXHAUSTED"}}]"#,
        rate(38_500),
    ),
    row(
        "openai",
        401,
        &[],
        r#"{"error":{"message":"Incorrect API key provided","type":"invalid_request_error","code":"invalid_api_key"}}"#,
        Outcome::Misconfigured,
    ),
    row(
        "anthropic",
        403,
        &[],
        r#"{"type":"error","error":{"type":"permission_error","message":"x"}}"#,
        Outcome::Misconfigured,
    ),
    row(
        "a proxy",
        403,
        &[],
        "<html>Forbidden</html>",
        Outcome::Misconfigured,
    ),
    row(
        "a wrong address",
        307,
        &[("location", "/v1/chat/completions/")],
        "",
        Outcome::Unusable,
    ),
    row(
        "a wrong path",
        404,
        &[],
        "<html>Not Found</html>",
        Outcome::Misconfigured,
    ),
    row(
        "fastapi, a wrong path",
        404,
        &[],
        r#"{"detail":"Not Found"}"#,
        Outcome::Misconfigured,
    ),
    row(
        "fastapi, a wrong path",
        405,
        &[],
        r#"{"detail":"Method Not Allowed"}"#,
        Outcome::Misconfigured,
    ),
    row(
        "vllm",
        404,
        &[],
        r#"{"object":"error","message":"The model `x` does not exist.","type":"NotFoundError","code":404}"#,
        Outcome::Misconfigured,
    ),
    row(
        "nginx",
        413,
        &[],
        "<html>Request Entity Too Large</html>",
        Outcome::Client,
    ),
    row(
        "a payment",
        402,
        &[],
        r#"{"error":"Credit balance too low"}"#,
        Outcome::Quota { reset: None },
    ),
    row(
        "the caller",
        400,
        &[],
        r#"{"error":{"message":"the model is loading in my prompt","type":"invalid_request_error"}}"#,
        Outcome::Client,
    ),
    row(
        "the caller",
        404,
        &[],
        r#"{"error":{"message":"Previous response with id 'model x' not found.","code":"previous_response_not_found"}}"#,
        Outcome::Client,
    ),
    row(
        "openai, a model without this operation",
        404,
        &[],
        r#"{"error":{"message":"This is not a chat model and thus not supported in the v1/chat/completions endpoint."}}"#,
        Outcome::Client,
    ),
    row(
        "openrouter, a tool",
        404,
        &[],
        r#"{"error":{"message":"No endpoints found that support tool use.","code":404}}"#,
        Outcome::Client,
    ),
    row(
        "openai",
        404,
        &[],
        r#"{"error":{"code":"model_not_found"}}"#,
        Outcome::Misconfigured,
    ),
    row(
        "anthropic",
        404,
        &[],
        r#"{"type":"error","error":{"type":"not_found_error","message":"model: claude-x"}}"#,
        Outcome::Misconfigured,
    ),
    row(
        "gemini",
        404,
        &[],
        r#"[{"error":{"code":404,"message":"models/x is not found for API version v1main","status":"NOT_FOUND"}}]"#,
        Outcome::Misconfigured,
    ),
    row("a proxy", 504, &[], "<html>504</html>", Outcome::Fault),
];

#[test]
fn every_servers_words_are_understood() {
    for row in &ALWAYS {
        for proven in [true, false] {
            assert_eq!(
                means(row, proven),
                row.means,
                "{} {} {}",
                row.server,
                row.status,
                row.body
            );
        }
    }
}

#[test]
fn a_bare_502_or_503_means_asleep_until_a_success_is_on_record() {
    let later = [
        row(
            "a proxy",
            502,
            &[],
            "<html>Bad Gateway</html>",
            Outcome::Fault,
        ),
        row("envoy", 503, &[], "no healthy upstream", Outcome::Fault),
        row(
            "tgi",
            503,
            &[],
            r#"{"error":"unhealthy","error_type":"healthcheck"}"#,
            Outcome::Fault,
        ),
        row("anything", 503, &[], "", Outcome::Limit),
    ];
    for row in &later {
        assert_eq!(means(row, true), row.means, "{} {}", row.server, row.body);
        let absent = Outcome::Absent {
            answered: row.status == 503,
            retry_after: None,
        };
        assert_eq!(means(row, false), absent, "{} {}", row.server, row.body);
    }
    let clocked = row("anything", 503, &[("retry-after", "30")], "", rate(30_000));
    assert_eq!(means(&clocked, true), clocked.means);
    let absent = Outcome::Absent {
        answered: true,
        retry_after: Some(Duration::from_secs(30)),
    };
    assert_eq!(means(&clocked, false), absent);
}

#[test]
fn a_status_can_be_declared_to_mean_asleep() {
    let response = ErrorResponse {
        status: StatusCode::NOT_FOUND,
        headers: &HeaderMap::new(),
        body: b"{}",
        proven: true,
        cold_statuses: &[404],
        now: SystemTime::UNIX_EPOCH,
    };
    assert_eq!(classify(&response), cold(None));
}

#[test]
fn an_error_at_the_head_of_a_stream_means_what_its_code_means() {
    let cases = [
        (
            r#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#,
            cold(None),
            Some(503),
        ),
        (
            r#"{"error":{"code":400,"message":"too long","type":"exceed_context_size_error"}}"#,
            Outcome::Client,
            Some(400),
        ),
        (
            r#"{"error":{"message":"Model is overloaded","type":"overloaded"}}"#,
            Outcome::Limit,
            None,
        ),
        (
            r#"{"error":{"message":"CUDA error","code":500}}"#,
            Outcome::Fault,
            Some(500),
        ),
        (r#"{"error":"something"}"#, Outcome::Fault, None),
        (
            r#"{"object":"error","message":"x","type":"BadRequestError","code":400}"#,
            Outcome::Client,
            Some(400),
        ),
        (
            r#"{"object":"error","message":"x","type":"NotFoundError"}"#,
            Outcome::Client,
            Some(404),
        ),
        (
            r#"{"error":{"message":"x","type":"invalid_request_error","code":"context_length_exceeded"}}"#,
            Outcome::Client,
            Some(400),
        ),
        (
            r#"{"error":{"message":"x","type":"insufficient_quota","code":"insufficient_quota"}}"#,
            Outcome::Quota { reset: None },
            None,
        ),
        (
            r#"{"type":"error","error":{"type":"overloaded_error","message":"x"}}"#,
            Outcome::Limit,
            Some(529),
        ),
        (
            r#"{"type":"error","error":{"type":"authentication_error","message":"x"}}"#,
            Outcome::Misconfigured,
            Some(401),
        ),
        (
            r#"{"type":"error","error":{"type":"rate_limit_error","message":"x"}}"#,
            Outcome::Limit,
            Some(429),
        ),
        (r#"{"detail":"something"}"#, Outcome::Fault, None),
    ];
    for (body, outcome, status) in cases {
        let in_band = classify_event(body.as_bytes());
        assert_eq!(in_band, InBand { outcome, status }, "{body}");
    }
}

#[test]
fn a_time_that_an_error_names_is_a_rate() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000);
    for (body, millis) in [
        (
            r#"{"error":{"message":"Please retry after 2 seconds."}}"#,
            2_000,
        ),
        (r#"{"error":{"message":"Try again in 3 minutes"}}"#, 180_000),
        (r#"{"error":{"message":"try again in 250 ms"}}"#, 250),
        (
            r#"{"error":{"code":429,"metadata":{"headers":{"X-RateLimit-Reset":"2000000003000"}}}}"#,
            3_000,
        ),
        (
            r#"{"error":{"code":429,"metadata":{"headers":{"x-ratelimit-reset":2000000004000}}}}"#,
            4_000,
        ),
    ] {
        let outcome = classify(&ErrorResponse {
            status: StatusCode::TOO_MANY_REQUESTS,
            headers: &HeaderMap::new(),
            body: body.as_bytes(),
            proven: true,
            cold_statuses: &[],
            now,
        });
        assert_eq!(outcome, rate(millis), "{body}");
    }
}

#[test]
fn a_usage_limit_ends_at_the_date_in_its_text() {
    let body = r#"{"type":"error","error":{"type":"invalid_request_error","message":"You have reached your specified API usage limits. You will regain access on 2033-05-19 at 00:00 UTC."}}"#;
    let outcome = classify(&ErrorResponse {
        status: StatusCode::BAD_REQUEST,
        headers: &HeaderMap::new(),
        body: body.as_bytes(),
        proven: true,
        cold_statuses: &[],
        now: SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000),
    });
    // 2,000,000,000 is 2033-05-18 03:33:20.
    let reset = Some(Duration::from_secs(73_600));
    assert_eq!(outcome, Outcome::Quota { reset });
}
