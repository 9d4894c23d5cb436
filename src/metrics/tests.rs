//! The names that are written, compared with the list of names, and the list with its page.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::Duration,
};

use kebne_guard::{Action, Hit, Hits, Side};
use kebne_lane::{Ending, TrailReport};
use kebne_quota::Money;
use kebne_wire::usage::Usage;
use tokio::time::Instant;

use crate::{
    cost::Consumed,
    gateway::inner::Spent,
    record::{Retrieved, Steps},
};

use super::{
    names::{ALL, Kind, reference},
    *,
};

mod dashboard;

/// Returns a call that counts in as many metrics as one call can.
pub(crate) fn record(ending: Ending, retry_after: Option<Duration>) -> CallRecord {
    let opened = Instant::now();
    let answered = opened + Duration::from_millis(30);
    CallRecord {
        id: "req_1".into(),
        trace: None,
        span: None,
        client: None,
        stages: Vec::new(),
        key: String::new(),
        tenant: String::new(),
        session: None,
        surface: "chat",
        operation: "chat",
        is_streamed: true,
        model: "m".to_owned(),
        trail: TrailReport {
            entered: Some(opened),
            answered: Some(answered),
            cold: Duration::from_millis(5),
            ..TrailReport::default()
        },
        opened,
        begun: Some(opened),
        ended: opened + Duration::from_millis(1_030),
        usage: Usage {
            input: Some(30),
            cached: Some(10),
            output: Some(101),
            ..Usage::default()
        },
        consumed: Consumed {
            tokens: 131,
            cost: Some(Money::from_nano(1_250_000)),
            is_estimated: ending != Ending::Success,
        },
        cache: None,
        hits: Hits::from([Hit {
            side: Side::Input,
            guard: "pii".into(),
            rule: "check:hate".into(),
            action: Action::Tag,
        }]),
        route: None,
        steps: Some(Steps {
            fetch: Duration::from_millis(3),
            retrieved: Retrieved {
                chunks: 2,
                embed: Duration::from_millis(2),
                search: Duration::from_millis(4),
                rerank: Duration::ZERO,
                assemble: Duration::from_millis(1),
            },
            sent: Some(opened),
        }),
        status: Some(200),
        retry_after,
        ending,
        reason: "queue_full",
        prompt: None,
    }
}

/// Returns runs of agents with each ending.
fn agents() -> super::AgentReadings {
    let endings = kebne_agents::Ending::ALL.into_iter();
    super::AgentReadings {
        totals: Some(kebne_agents::Totals::default()),
        tally: kebne_agents::Tally {
            ended: endings.map(|ending| (ending, 1)).collect(),
            ..kebne_agents::Tally::default()
        },
    }
}

fn mcp_server() -> super::McpReadings {
    super::McpReadings {
        server: "s".into(),
        is_up: true,
        offered: 2,
        held: 1,
    }
}

fn text() -> String {
    let settings = "[[backends]]\nname = 'a'\n[[models]]\nname = 'm'\nbackends = ['a']\n[models.price]\ninput = 1";
    let prices = Prices::new(&toml::from_str(settings).unwrap());
    let metrics = Metrics {
        calls: Calls::new(["m"].into_iter(), ["a"].into_iter(), &prices),
    };
    metrics.call_ended(&record(Ending::Success, None));
    metrics.call_ended(&record(Ending::Shed, Some(Duration::from_secs(2))));
    let snapshot = GatewaySnapshot {
        actors: Vec::new(),
        dead_letters: 0,
        lanes: Vec::new(),
        restarts: BTreeMap::from([("worker", 3)]),
        fallbacks: Vec::new(),
        health: Vec::new(),
        servers: Vec::new(),
        shares: Vec::new(),
    };
    let mut ledger = kebne_quota::Ledger::default();
    let limits = toml::from_str("budgets = [{ tokens = 100 }]").unwrap();
    let account = ledger.open(limits, 0);
    let view = ledger.view(account, 0).unwrap();
    let spent = Spent {
        tokens: 30,
        cost: Money::from_nano(500_000_000),
    };
    let readings = Readings {
        reloads: crate::reload::ReloadStatus::default(),
        embedding: kebne_collections::EmbeddingProgress::default(),
        cache: crate::metrics::CacheReadings::default(),
        events: crate::events::EventReport::default(),
        function_events: vec![crate::function_events::FunctionEventReport {
            function: "f".to_owned(),
            waiting: 2,
            ..crate::function_events::FunctionEventReport::default()
        }],
        consumed: serde_json::Value::Null,
        prompts: Vec::new(),
        routes: super::RouteReadings::default(),
        collections: Some((kebne_collections::Totals::default(), 1)),
        agents: agents(),
        mcp: vec![mcp_server()],
        tool_loops: vec![("completed", 1)],
        jobs: super::JobReadings {
            totals: Some(kebne_jobs::Totals::default()),
            counts: kebne_jobs::Counts::default().all().collect(),
        },
        inner_calls: crate::gateway::inner::InnerCounts::default()
            .all()
            .collect(),
        inner_spent: (
            [((Purpose::Summary, "ann".into()), spent)].into(),
            "EUR".into(),
        ),
        alerts: Some(Vec::new()),
        bodies: (1, 2),
        answers: (3, 4),
        is_store_up: true,
        store_failures: 0,
        memory: (kebne_context::MemoryCounts::default(), 0),
        tls: Some((1_900_000_000, 2)),
        are_stores_up: [true; 3],
        account_store: kebne_accounts::AccountHealth {
            shared: Some(kebne_accounts::SharedHealth::default()),
            ..kebne_accounts::AccountHealth::default()
        },
        accounts: vec![("key_1".into(), view)],
    };
    metrics.text(&snapshot, &readings).unwrap()
}

#[test]
fn a_size_beyond_four_gigabytes_is_shown_as_it_is() {
    assert_eq!(
        super::real(8_u64 << 30).to_bits(),
        8_589_934_592_f64.to_bits()
    );
}

#[test]
fn what_is_written_has_the_names_and_labels_of_the_list() {
    let text = text();
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let written: BTreeSet<&str> = types.filter_map(|line| line.split(' ').next()).collect();
    let listed: BTreeSet<&str> = ALL.iter().map(|metric| metric.name).collect();
    // A family without values is not written.
    assert!(written.is_subset(&listed), "{written:?}");
    assert_eq!(listed.len(), ALL.len(), "a name is listed twice");
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, _) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let of_name = |metric: &&&names::Metric| {
            let rest = name.strip_prefix(metric.name);
            rest.is_some_and(|rest| ["", "_total", "_bucket", "_sum", "_count"].contains(&rest))
        };
        let metric = ALL.iter().find(of_name).unwrap();
        for label in labels.trim_end_matches('}').split("\",") {
            let label = label.split('=').next().unwrap();
            let is_known = label.is_empty() || label == "le" || metric.labels.contains(&label);
            assert!(is_known, "{line}");
        }
    }
}

#[test]
fn names_follow_the_conventions() {
    for metric in ALL {
        let (name, is_histogram) = (metric.name, metric.kind == Kind::Histogram);
        let has_unit = name.ends_with("_seconds") || name == "gen_ai_client_token_usage";
        assert!(!is_histogram || has_unit, "{name}");
        for bad in ["_total", "_counter", "_gauge", "_ms", "_milliseconds"] {
            assert!(!name.ends_with(bad), "{name}");
        }
        assert!(!metric.help.ends_with('.'), "{name}");
    }
}

#[test]
fn a_call_counts_in_its_parts() {
    let text = text();
    let labels =
        "gen_ai_operation_name=\"chat\",gen_ai_provider_name=\"kebne\",gen_ai_request_model=\"m\"";
    for line in [
        "kebne_requests_total{model=\"m\",ending=\"success\"} 1".to_owned(),
        "kebne_requests_total{model=\"m\",ending=\"shed\"} 1".to_owned(),
        "kebne_inner_tokens_total{purpose=\"summary\",key=\"ann\"} 30".to_owned(),
        "kebne_inner_cost_total{purpose=\"summary\",key=\"ann\",currency=\"EUR\"} 0.5".to_owned(),
        "kebne_requests_total{model=\"\",ending=\"success\"} 0".to_owned(),
        "kebne_refusals_total{model=\"m\",reason=\"queue_full\"} 1".to_owned(),
        "kebne_tokens_total{model=\"m\",kind=\"cached\"} 20".to_owned(),
        format!("gen_ai_server_time_per_output_token_seconds_sum{{{labels}}} 0.01"),
        format!("gen_ai_server_time_to_first_token_seconds_sum{{{labels}}} 0.03"),
        format!("gen_ai_client_token_usage_sum{{{labels},gen_ai_token_type=\"output\"}} 101.0"),
        format!("gen_ai_server_request_duration_seconds_count{{{labels},error_type=\"shed\"}} 1"),
        "kebne_retry_after_seconds_sum{model=\"m\"} 2.0".to_owned(),
        "kebne_actor_restarts_total{kind=\"worker\"} 3".to_owned(),
    ] {
        assert!(
            text.lines().any(|seen| seen == line),
            "no `{line}` in\n{text}"
        );
    }
}

#[test]
fn the_reference_is_the_list() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let page = fs::read_to_string(&path).unwrap();
    let (head, _) = page.split_once("| metric |").unwrap();
    let expected = format!("{head}{}", reference());
    if std::env::var_os("KEBNE_WRITE_REFERENCE").is_some() {
        fs::write(&path, &expected).unwrap();
        return;
    }
    assert!(
        page == expected,
        "docs/metrics.md is not up to date: run this test with KEBNE_WRITE_REFERENCE=1"
    );
}
