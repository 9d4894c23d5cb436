//! The dashboard and the alert rules in `deploy/`: their structure, and that they name metrics and labels that exist.
//! `scripts/test-prometheus` runs their queries.

use std::{collections::BTreeSet, fs};

use serde_json::Value;

use crate::metrics::names::ALL;

/// The width of Grafana's grid.
const COLUMNS: u64 = 24;
/// The panels that are used, by the names of Grafana's plugins.
const TYPES: [&str; 3] = ["timeseries", "state-timeline", "row"];
/// The units that are used, by Grafana's names.
const UNITS: [&str; 5] = ["bytes", "percentunit", "reqps", "s", "short"];
/// The ends that Prometheus gives to the names of counters and histograms.
const ENDS: [&str; 5] = ["_total", "_bucket", "_sum", "_count", ""];

fn read(path: &str) -> String {
    let root = env!("CARGO_MANIFEST_DIR");
    fs::read_to_string(format!("{root}/deploy/{path}")).unwrap()
}

fn dashboard() -> Value {
    serde_json::from_str(&read("grafana/kebne.json")).unwrap()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    let text = value[key].as_str();
    text.unwrap_or_else(|| panic!("`{key}` is not a text in {value}"))
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    let list = value[key].as_array();
    list.unwrap_or_else(|| panic!("`{key}` is not a list in {value}"))
}

/// Returns the words of a query.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !letter.is_ascii_alphanumeric() && !"_$".contains(letter))
}

/// Returns the words that look like metrics or labels of this program and are neither.
fn unknown_metrics(text: &str) -> BTreeSet<&str> {
    let is_known = |word: &&str| {
        let mut bare = ENDS.iter().filter_map(|end| word.strip_suffix(end));
        let is_label = ALL.iter().any(|metric| metric.labels.contains(word));
        is_label || bare.any(|bare| ALL.iter().any(|metric| metric.name == bare))
    };
    let named =
        words(text).filter(|word| word.starts_with("kebne_") || word.starts_with("gen_ai_"));
    named.filter(|word| !is_known(word)).collect()
}

#[test]
fn the_dashboard_has_the_structure_that_grafana_reads() {
    let dashboard = dashboard();
    assert!(!text(&dashboard, "title").is_empty());
    let uid = text(&dashboard, "uid");
    assert!((1..=40).contains(&uid.len()), "{uid}");
    let version = dashboard["schemaVersion"].as_u64().unwrap();
    assert!((36..=42).contains(&version), "{version}");
    for end in ["from", "to"] {
        assert!(text(&dashboard["time"], end).starts_with("now"));
    }
    let mut ids = BTreeSet::new();
    let mut cells = BTreeSet::new();
    for panel in list(&dashboard, "panels") {
        let id = panel["id"].as_u64().unwrap();
        assert!(ids.insert(id), "the id {id} is used twice");
        let title = text(panel, "title");
        assert!(!title.is_empty(), "the panel {id} has no title");
        let kind = text(panel, "type");
        assert!(TYPES.contains(&kind), "{title}: {kind}");
        let place = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        let (left, top, width, height) = (place("x"), place("y"), place("w"), place("h"));
        assert!(
            width > 0 && height > 0 && left + width <= COLUMNS,
            "{title}"
        );
        for x in left..left + width {
            for y in top..top + height {
                assert!(cells.insert((x, y)), "{title} covers another panel");
            }
        }
        if kind == "row" {
            continue;
        }
        let unit = panel["fieldConfig"]["defaults"]["unit"].as_str();
        assert!(
            unit.is_none_or(|unit| UNITS.contains(&unit)),
            "{title}: {unit:?}"
        );
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        let mut letters = BTreeSet::new();
        let targets = list(panel, "targets");
        assert!(!targets.is_empty(), "{title} has no query");
        for target in targets {
            assert!(letters.insert(text(target, "refId")), "{title}");
            assert!(!text(target, "expr").is_empty(), "{title}");
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
        }
    }
}

#[test]
fn the_variables_of_the_dashboard_are_defined_and_used() {
    let dashboard = dashboard();
    let variables = list(&dashboard["templating"], "list").iter();
    let defined: BTreeSet<&str> = variables.map(|variable| text(variable, "name")).collect();
    let panels = list(&dashboard, "panels").iter();
    let targets = panels
        .filter_map(|panel| panel["targets"].as_array())
        .flatten();
    let mut used = BTreeSet::from(["datasource"]);
    for target in targets {
        let named = words(text(target, "expr")).filter_map(|word| word.strip_prefix('$'));
        used.extend(named.filter(|name| !name.starts_with("__")));
    }
    assert_eq!(used, defined);
}

#[test]
fn the_dashboard_and_the_rules_name_metrics_that_exist() {
    for path in [
        "grafana/kebne.json",
        "prometheus/rules.yml",
        "prometheus/rules-test.yml",
    ] {
        let text = read(path);
        assert_eq!(unknown_metrics(&text), BTreeSet::new(), "{path}");
    }
    assert_eq!(unknown_metrics("rate(kebne_nothing_total[1m])").len(), 1);
}
