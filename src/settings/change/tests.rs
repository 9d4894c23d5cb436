use super::*;
use crate::settings::{
    load::segments,
    schema::{Shape, shape},
};

fn settings(text: &str) -> Settings {
    toml::from_str(text).unwrap()
}

fn change(before: &str, after: &str) -> Change {
    Change::new(&settings(before), settings(after)).unwrap()
}

fn keys(change: &Change) -> Vec<String> {
    let applied = change.applied.iter();
    applied
        .map(|changed| format!("{} {:?}", changed.key, changed.change))
        .collect()
}

#[test]
fn equal_settings_have_no_change() {
    let change = change(crate::settings::DEFAULTS, crate::settings::DEFAULTS);
    assert!(change.is_empty());
}

#[test]
fn elements_are_compared_by_name() {
    let change = change(
        "[[backends]]\nname = 'a'\n[[backends]]\nname = 'b'\n",
        "[[backends]]\nname = 'c'\n[[backends]]\nname = 'b'\n[backends.limits]\nlimit_max = 3\n",
    );
    let expected = [
        "backends[a] Removed",
        "backends[b].limits.limit_max Changed",
        "backends[c] Added",
    ];
    assert_eq!(keys(&change), expected);
    assert!(change.kept.is_empty());
}

#[test]
fn the_order_of_a_list_counts() {
    let (a, b) = ("[[models]]\nname = 'a'\n", "[[models]]\nname = 'b'\n");
    let change = change(&format!("{a}{b}"), &format!("{b}{a}"));
    assert_eq!(keys(&change), ["models Changed"]);
}

#[test]
fn what_cannot_change_keeps_its_value_and_is_named() {
    let before = "[server]\nworkers = 3\n[log.requests]\nsample = 0.5\n[context]\ntokens_max = 9\n";
    let after = "[server]\nworkers = 4\nlame_duck = '1s'\n[log]\nformat = 'json'\n[log.requests]\nsample = 0.1\nfile = 'x'\n";
    let change = change(before, after);
    let expected = ["log.requests.sample Changed", "server.lame_duck Changed"];
    assert_eq!(keys(&change), expected);
    let kept: Vec<_> = change.kept.iter().map(|kept| kept.key.as_str()).collect();
    let expected = [
        "context.tokens_max",
        "log.format",
        "log.requests.file",
        "server.workers",
    ];
    assert_eq!(kept, expected);
    let mut merged = settings(before);
    merged.server.lame_duck = settings(after).server.lame_duck;
    merged.log.requests.sample = 0.1;
    assert!(change.settings == merged, "{:?}", change.settings);
}

#[test]
fn a_key_without_a_value_can_come_and_go() {
    let without = "[[backends]]\nname = 'a'\n";
    let with = format!("{without}model = 'm'\n");
    assert_eq!(keys(&change(without, &with)), ["backends[a].model Added"]);
    assert_eq!(keys(&change(&with, without)), ["backends[a].model Removed"]);
    let telemetry = "[telemetry.headers_env]\nx = 'Y'\n";
    let change = change("", telemetry);
    assert_eq!(change.settings, settings(""));
    assert_eq!(change.kept.len(), 1);
}

/// Collects the keys that no rule is about.
fn forgotten(path: &str, found: &mut Vec<String>) {
    let Shape::Table { keys, .. } = shape::<Settings>(&segments(path)) else {
        found.push(path.to_owned());
        return;
    };
    for key in keys {
        let below = crate::settings::join(path, key);
        if !RULES.iter().any(|(rule, _)| *rule == below) {
            forgotten(&below, found);
        }
    }
}

#[test]
fn every_key_takes_effect_or_is_named_as_kept() {
    let mut found = Vec::new();
    forgotten("", &mut found);
    assert!(
        found.is_empty(),
        "no rule in `RULES` of `src/settings/change.rs` says what a reload does with {found:?}"
    );
}

#[test]
fn every_rule_is_about_a_key() {
    for (rule, effect) in RULES {
        let found = shape::<Settings>(&segments(rule));
        let is_left_out = *rule == "simulation" && !cfg!(feature = "lab");
        assert!(found != Shape::Nothing || is_left_out, "{rule}: {effect:?}");
    }
}

#[test]
fn a_list_that_cannot_change_is_restored_as_a_whole() {
    let list = |names: &[&str]| -> Table {
        let elements = names
            .iter()
            .map(|name| format!("[[s.l]]\nname = '{name}'\nx = 1\n"));
        elements.collect::<String>().parse().unwrap()
    };
    let (old, mut new) = (list(&["a", "b"]), list(&["b", "c"]));
    let mut found = Vec::new();
    compare(&Place::default(), &old, &new, &mut found);
    for (place, _) in &found {
        assert_eq!(place.restored, ["s", "l"]);
        assert_eq!(rule(&place.keys), Kept(UNKNOWN), "a key without a rule");
        restore(&mut new, &old, &place.restored);
    }
    assert_eq!(new, old);
}
