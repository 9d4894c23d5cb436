//! Layers, and what is said of wrong ones.

use std::io::Write;

use super::*;
use crate::settings::DEFAULTS;

type Variables = BTreeMap<String, String>;

fn variables(pairs: &[(&str, &str)]) -> Variables {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn load_text(text: &str, pairs: &[(&str, &str)]) -> Result<Loaded, SettingsErrors> {
    let mut file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    load(Some(file.path()), &variables(pairs))
}

fn errors_of(text: &str, pairs: &[(&str, &str)]) -> Vec<SettingsError> {
    load_text(text, pairs).unwrap_err().0
}

#[test]
fn without_file_and_environment_the_defaults_are_what_the_types_say() {
    let loaded = load(None, &Variables::new()).unwrap();
    assert_eq!(loaded.settings, Settings::default());
    assert!(
        loaded
            .origins
            .values()
            .all(|origin| *origin == Origin::Default)
    );
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_defaults() {
    let text = "[server]\nlisten = \"127.0.0.1:1\"\n[log]\nfilter = \"warn\"";
    let loaded = load_text(text, &[("KEBNE__SERVER__LISTEN", "127.0.0.1:2")]).unwrap();
    assert_eq!(loaded.settings.server.listen.port(), 2);
    assert_eq!(loaded.settings.log.filter, "warn");
    let origin = |path: &str| loaded.origins.get(path).cloned();
    let variable = Origin::Environment("KEBNE__SERVER__LISTEN".to_owned());
    assert_eq!(origin("server.listen"), Some(variable));
    assert!(matches!(origin("log.filter"), Some(Origin::File(_))));
    assert_eq!(origin("log.format"), Some(Origin::Default));
}

#[test]
fn every_unknown_key_is_reported_with_its_path_and_the_nearest_one() {
    let text = "[server]\nlisten_to = \"x\"\n[[backends]]\nnam = \"a\"\n[logs]\n";
    let errors = errors_of(text, &[]);
    let paths: Vec<&str> = errors.iter().map(|error| error.path.as_str()).collect();
    assert_eq!(paths, ["backends[0].nam", "logs", "server.listen_to"]);
    let suggestions: Vec<Option<&str>> = errors
        .iter()
        .map(|error| error.suggestion.as_deref())
        .collect();
    assert_eq!(suggestions, [Some("name"), Some("log"), Some("listen")]);
    assert!(errors.iter().all(|error| !error.allowed.is_empty()));
}

#[test]
fn an_unknown_key_in_the_environment_names_the_variable() {
    let errors = errors_of("", &[("KEBNE__LOG__FILTRE", "debug")]);
    assert_eq!(errors.len(), 1, "{errors:?}");
    let text = errors[0].to_string();
    assert!(
        text.starts_with("log.filtre: unknown key; did you mean `filter`?"),
        "{text}"
    );
    assert!(text.ends_with("(from KEBNE__LOG__FILTRE)"), "{text}");
}

#[test]
fn a_wrong_value_names_what_is_allowed() {
    let errors = errors_of("[log]\nformat = \"jsn\"\nfilter = \"loud\"", &[]);
    assert_eq!(errors[0].path, "log.format");
    assert_eq!(errors[0].allowed, ["text", "json"]);
    let errors = errors_of("[log]\nfilter = \"kebne=loud\"", &[]);
    assert_eq!(errors[0].path, "log.filter");
    assert!(errors[0].allowed.contains(&"debug".to_owned()));
}

#[test]
fn a_wrong_value_in_a_table_of_a_backend_is_told_as_well_as_any_other() {
    let text = "[[backends]]\nname = 'a'\n[backends.limits]\nlaw = 'aimed'\nhedge_ratio = 'much'\n\
        hedge_token_max = 1\n[backends.prewarm]\noperation = 'chats'";
    let errors = errors_of(text, &[]);
    let paths: Vec<&str> = errors.iter().map(|error| error.path.as_str()).collect();
    let prewarm = "backends[0].prewarm.operation";
    let limits =
        ["hedge_ratio", "hedge_token_max", "law"].map(|key| join("backends[0].limits", key));
    assert_eq!(paths, [&limits[0], &limits[1], &limits[2], prewarm]);
    let [ratio, tokens, law, operation] = &errors[..] else {
        panic!("{errors:?}");
    };
    assert!(ratio.message.contains("floating point"), "{ratio}");
    assert_eq!(tokens.suggestion.as_deref(), Some("hedge_tokens_max"));
    assert_eq!(law.suggestion.as_deref(), Some("aimd"));
    assert_eq!(operation.allowed, ["chat", "completions", "embeddings"]);
    for error in &errors {
        let origin = error.origin.as_deref().unwrap_or_default();
        assert!(origin.contains(".toml"), "{error}");
    }
}

#[test]
fn a_model_of_an_unknown_backend_is_a_contradiction() {
    let text = "[[backends]]\nname = \"left\"\n[[models]]\nname = \"m\"\nbackends = [\"lefd\"]";
    let errors = errors_of(text, &[]);
    assert_eq!(errors[0].path, "models[0].backends[0]");
    assert_eq!(errors[0].suggestion.as_deref(), Some("left"));
}

#[test]
fn replaced_backends_take_the_default_models_with_them() {
    let loaded = load_text("[[backends]]\nname = \"mine\"", &[]).unwrap();
    assert_eq!(loaded.settings.models, []);
    assert_eq!(loaded.settings.backends[0].name, "mine");
}

#[test]
fn a_list_is_set_from_the_environment_by_index_or_as_a_whole() {
    let pairs = [
        ("KEBNE__BACKENDS__1__NAME", "second"),
        ("KEBNE__MODELS__0__ALIASES", "['m']"),
    ];
    let loaded = load_text("", &pairs).unwrap();
    assert_eq!(loaded.settings.backends[1].name, "second");
    assert_eq!(loaded.settings.models[0].aliases, ["m"]);
    let errors = errors_of("", &[("KEBNE__BACKENDS__7__NAME", "gap")]);
    assert_eq!(errors[0].path, "backends[7]");
}

#[test]
fn a_file_that_is_missing_or_no_toml_is_named() {
    let errors = load(Some(Path::new("no-such-file.toml")), &Variables::new()).unwrap_err();
    assert!(errors.to_string().contains("no-such-file.toml"), "{errors}");
    let errors = errors_of("[server", &[]);
    assert!(errors[0].message.contains(".toml"), "{errors:?}");
}

/// Returns the keys that the types know in the table at `path`, by asking for one that none of them has.
fn keys_of_types(path: &str) -> std::collections::BTreeSet<String> {
    let parent = match path.trim_matches(['[', ']']).split_once('.') {
        Some((list, _)) => format!("[[{list}]]\n"),
        None => String::new(),
    };
    let errors = errors_of(&format!("{parent}{path}\nno_such_key = 1"), &[]);
    let unknown = errors
        .iter()
        .find(|error| error.path.ends_with("no_such_key"));
    let allowed = &unknown.expect("the types refuse unknown keys").allowed;
    allowed.iter().cloned().collect()
}

/// Returns the keys that `config/kebne.toml` shows, those without a default (behind `#`) included.
fn keys_of_file() -> BTreeMap<String, std::collections::BTreeSet<String>> {
    let mut tables = BTreeMap::new();
    let mut header = String::new();
    for line in DEFAULTS.lines() {
        let text = line.trim_start_matches("# ").trim();
        if text.starts_with('[') && text.ends_with(']') && !line.starts_with('#') {
            header = text.to_owned();
            tables
                .entry(header.clone())
                .or_insert_with(std::collections::BTreeSet::new);
        } else if let Some((key, _)) = text.split_once(" = ") {
            let is_key = key
                .chars()
                .all(|letter| letter.is_ascii_lowercase() || letter == '_');
            if is_key && !header.is_empty() {
                tables
                    .entry(header.clone())
                    .or_default()
                    .insert(key.to_owned());
            }
        }
    }
    tables
}

/// Tables whose keys are the user's own: names of backends or of headers.
const FREE_FORM: [&str; 3] = [
    "[models.upstream]",
    "[backends.headers]",
    "[backends.wake_headers]",
];

#[test]
fn the_file_shows_exactly_the_keys_that_the_types_have() {
    for (header, shown) in keys_of_file() {
        if FREE_FORM.contains(&header.as_str()) {
            continue;
        }
        let known = keys_of_types(&header);
        let tables = [
            "limits",
            "upstream",
            "headers",
            "wake_headers",
            "prewarm",
            "simulation",
        ];
        let known: std::collections::BTreeSet<String> = known
            .into_iter()
            .filter(|key| !tables.contains(&key.as_str()))
            .collect();
        assert_eq!(shown, known, "in {header}");
    }
}

#[test]
fn the_file_names_every_key_of_an_api_key() {
    let errors = errors_of("[[server.keys]]\nno_such_key = 1", &[]);
    let keys = &errors[0].allowed;
    assert!(keys.len() >= 6, "{errors:?}");
    for key in keys {
        assert!(DEFAULTS.contains(&format!("`{key}`")), "{key}");
    }
}

#[test]
fn the_file_holds_exactly_the_defaults_of_the_types() {
    let file: toml::Table = DEFAULTS.parse().unwrap();
    let types = toml::Table::try_from(Settings::default()).unwrap();
    for (key, value) in &types {
        let empty = toml::Value::Array(Vec::new());
        assert_eq!(file.get(key).unwrap_or(&empty), value, "{key}");
    }
    assert!(file.keys().all(|key| types.contains_key(key)));
}

#[test]
fn the_simulation_that_the_file_shows_is_the_preset_default() {
    let (_, section) = DEFAULTS.split_once("\n[simulation]\n").unwrap();
    let without_default = ["cold_estimate", "fault"];
    let mut shown = String::new();
    let mut keys = 0;
    for line in section.lines().filter_map(|line| line.strip_prefix("# ")) {
        let Some((key, _)) = line.split_once(" = ") else {
            continue;
        };
        if key.contains(' ') || without_default.contains(&key) {
            continue;
        }
        shown += line;
        shown.push('\n');
        keys += 1;
    }
    let settings: crate::settings::SimulationSettings = toml::from_str(&shown).unwrap();
    let preset = kebne_lab::simulate::Preset::Default;
    assert_eq!(
        settings.profile(),
        kebne_lab::simulate::Profile::preset(preset)
    );
    assert!(keys >= 18, "{shown}");
}
