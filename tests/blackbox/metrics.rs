//! The metrics of a running program, compared with the reference that it prints.

use std::{
    collections::BTreeSet,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::program::{CHAT, Program, folder};

/// Metrics that have no value before something special happens.
const RARE: [&str; 54] = [
    // Without a bus outside the process.
    "kebne_consumed_total",
    "kebne_event_bus_failures_total",
    "kebne_event_bus_up",
    "kebne_events_published_total",
    "kebne_events_waiting",
    // Without functions that get events, and without other gateways.
    "kebne_function_events_total",
    "kebne_function_events_waiting",
    "kebne_share",
    "kebne_share_gateways",
    "kebne_share_limit",
    "kebne_share_renewals_total",
    "kebne_share_state",
    "kebne_accounts_fair_parts",
    "kebne_accounts_gateways",
    "kebne_accounts_renewals_total",
    "kebne_accounts_state",
    "kebne_accounts_waits_total",
    // Without servers of MCP.
    "kebne_mcp_server_up",
    "kebne_mcp_tools",
    // Without kept answers, prompts, routes and searches.
    "kebne_cache_bypasses_total",
    "kebne_cache_calls_total",
    "kebne_cache_explorations_total",
    "kebne_cache_ruled_out_total",
    "kebne_cache_saved_cost_total",
    "kebne_cache_saved_tokens_total",
    "kebne_prompt_calls_total",
    "kebne_prompt_cost_total",
    "kebne_prompt_seconds_total",
    "kebne_prompt_tokens_total",
    "kebne_route_decisions_total",
    "kebne_route_intents_total",
    "kebne_route_shadow_seconds_total",
    "kebne_route_shadow_tokens_total",
    "kebne_route_shadows_total",
    "kebne_step_seconds",
    // Without a server of the gateway's own.
    "kebne_server_ready",
    "kebne_server_loads_total",
    "kebne_server_load_seconds_total",
    "kebne_server_swaps_total",
    "kebne_server_failures_total",
    "kebne_guard_total",
    "kebne_budget_used_ratio",
    "kebne_cost_total",
    "kebne_failed_attempts_total",
    "kebne_fallbacks_total",
    "kebne_health",
    "kebne_inner_cost_total",
    "kebne_inner_tokens_total",
    "kebne_queue_by_priority",
    "kebne_refusals_total",
    "kebne_retry_after_error_seconds",
    "kebne_retry_after_seconds",
    // Only with TLS.
    "kebne_tls_certificate_expiry_timestamp_seconds",
    "kebne_tls_handshakes_failed_total",
];

fn call(program: &Program, model: &str, stream: bool) -> u16 {
    let body = json!({
        "model": model, "stream": stream, "messages": [{"role": "user", "content": "a b c"}],
    });
    let headers = [("x-kebne-deadline-ms", "2000")];
    program.send("POST", CHAT, &headers, &body).status
}

fn metrics(program: &Program) -> String {
    program.send("GET", "/metrics", &[], &Value::Null).body
}

/// Returns the names in the scrape as queries have them.
fn scraped(text: &str) -> BTreeSet<String> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let names = types.map(|line| {
        let (name, kind) = line.split_once(' ').unwrap();
        let suffix = if kind == "counter" { "_total" } else { "" };
        format!("{name}{suffix}")
    });
    names.collect()
}

#[test]
fn the_reference_names_what_is_scraped() {
    let output = Command::new(env!("CARGO_BIN_EXE_kebne"))
        .arg("metrics")
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let table = String::from_utf8(output.stdout).unwrap();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `"));
    let listed: BTreeSet<String> = rows
        .map(|row| row.split('`').next().unwrap().to_owned())
        .collect();
    assert!(listed.len() > 30, "{table}");
    let folder = folder();
    let program = Program::start(folder.path(), &[]);
    assert_eq!(call(&program, "simulated", false), 200);
    assert_eq!(call(&program, "simulated", true), 200);
    program.await_metric("kebne_requests_total{model=\"simulated\",ending=\"success\"} 2");
    let scraped = scraped(&metrics(&program));
    let missing: Vec<_> = listed.difference(&scraped).collect();
    assert!(
        missing.iter().all(|name| RARE.contains(&name.as_str())),
        "{missing:?}"
    );
    assert!(scraped.is_subset(&listed), "{scraped:?}");
}

#[test]
fn tokens_and_times_are_counted_per_model_and_unknown_models_make_no_series() {
    let folder = folder();
    let program = Program::start(folder.path(), &[]);
    for stream in [false, true, true] {
        assert_eq!(call(&program, "simulated", stream), 200);
    }
    for number in 0..20 {
        assert_eq!(call(&program, &format!("unknown-{number}"), false), 404);
    }
    program.await_metric("kebne_requests_total{model=\"\",ending=\"rejected\"} 20");
    program.await_metric("kebne_requests_total{model=\"simulated\",ending=\"success\"} 3");
    let text = metrics(&program);
    assert!(!text.contains("unknown-"), "{text}");
    let value = |beginning: &str| -> f64 {
        let line = text.lines().find(|line| line.starts_with(beginning));
        let line = line.unwrap_or_else(|| panic!("no `{beginning}` in\n{text}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    let labels = "{gen_ai_operation_name=\"chat\",gen_ai_provider_name=\"kebne\",gen_ai_request_model=\"simulated\"";
    let count = |name: &str| value(&format!("{name}_count{labels}"));
    assert!((count("gen_ai_server_request_duration_seconds") - 3.0).abs() < 0.1);
    assert!((count("gen_ai_server_time_to_first_token_seconds") - 2.0).abs() < 0.1);
    assert!((count("gen_ai_server_time_per_output_token_seconds") - 2.0).abs() < 0.1);
    assert!(value("kebne_tokens_total{model=\"simulated\",kind=\"input\"}") > 2.0);
    assert!(value("kebne_tokens_total{model=\"simulated\",kind=\"output\"}") > 2.0);
    assert!(value("kebne_attempts_total{lane=\"simulated\",outcome=\"success\"}") > 2.0);
}

#[test]
fn a_refusal_is_counted_with_its_reason_and_its_promised_wait() {
    let folder = folder();
    let variables = [
        ("KEBNE__BACKENDS__0__SIMULATION__FAULT", "http-500"),
        // Without pauses between attempts the breaker opens after a few calls.
        ("KEBNE__BACKENDS__0__LIMITS__ATTEMPTS_MAX", "1"),
    ];
    let program = Program::start(folder.path(), &variables);
    let mut refused = 0;
    for _ in 0..200 {
        if call(&program, "simulated", false) == 503 {
            refused += 1;
        }
        if refused == 3 {
            break;
        }
    }
    assert_eq!(refused, 3, "the breaker does not open");
    let text = metrics(&program);
    let has = |beginning: &str| text.lines().any(|line| line.starts_with(beginning));
    assert!(
        has("kebne_refusals_total{model=\"simulated\",reason=\""),
        "{text}"
    );
    assert!(
        has("kebne_retry_after_seconds_count{model=\"simulated\"} "),
        "{text}"
    );
    assert!(
        has("kebne_attempts_total{lane=\"simulated\",outcome=\"fault\"} "),
        "{text}"
    );
    assert!(
        has("kebne_failed_attempts_total{lane=\"simulated\",class=\"fault\""),
        "{text}"
    );
}
