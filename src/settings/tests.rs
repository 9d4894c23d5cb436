//! What `config/kebne.toml` and the documentation say about settings, compared with the types.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use toml::{Table, Value};

use super::{
    ByteCount, DEFAULTS, DiscoverySettings, HumanDuration, Settings, Validate,
    discovery::DiscoveryKind,
    load::{Segment, segments},
    schema::{Shape, shape},
};

/// The keys of this table are those of `[simulation]`, and documented there.
const DOCUMENTED_ELSEWHERE: &str = "backends[0].simulation";

/// Returns every path that the types have, lists with the index 0, and its shape.
fn all_paths() -> BTreeMap<String, Shape> {
    fn visit(path: &str, all: &mut BTreeMap<String, Shape>) {
        let at = segments(path);
        let found = shape::<Settings>(&at);
        match &found {
            Shape::Table { keys, .. } => {
                for key in *keys {
                    visit(&super::join(path, key), all);
                }
            }
            Shape::List => {
                let element = format!("{path}[0]");
                if let Shape::Table { .. } = shape::<Settings>(&segments(&element)) {
                    visit(&element, all);
                }
            }
            Shape::Map | Shape::Value => {}
            Shape::Nothing => panic!("the type of `{path}` was not found"),
        }
        all.insert(path.to_owned(), found);
    }
    let mut all = BTreeMap::new();
    visit("", &mut all);
    all
}

/// Returns `config/kebne.toml` with the settings behind `#` switched on. Text is behind `# `.
fn switched_on() -> String {
    let lines = DEFAULTS.lines().map(|line| match line.strip_prefix('#') {
        Some(setting) if !setting.is_empty() && !setting.starts_with(' ') => setting,
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Returns the value at a path.
fn at<'a>(table: &'a Table, path: &str) -> Option<&'a Value> {
    let mut steps = segments(path).into_iter();
    let Some(Segment::Key(first)) = steps.next() else {
        return None;
    };
    steps.try_fold(table.get(&first)?, |value, step| match step {
        Segment::Key(key) => value.get(key),
        Segment::Index(index) => value.get(index),
    })
}

/// Returns the defaults of every path, those of list elements included.
fn defaults() -> Table {
    let mut document = String::new();
    for (path, _) in all_paths().iter().filter(|(path, _)| path.ends_with("[0]")) {
        let header = path.replace("[0]", "");
        document.push_str(&["[[", &header, "]]\n"].concat());
    }
    let mut settings: Settings = toml::from_str(&document).unwrap();
    for backend in &mut settings.backends {
        backend.process = Some(super::ProcessSettings::default());
        backend.hooks = Some(super::HooksSettings {
            sleep: Some(super::HookSettings::default()),
            ..super::HooksSettings::default()
        });
    }
    for rule in settings
        .routes
        .iter_mut()
        .flat_map(|route| &mut route.rules)
    {
        rule.service = Some(kebne_routing::ServiceSettings::default());
        rule.canary = Some(kebne_routing::CanarySettings::default());
        rule.shadow = Some(kebne_routing::ShadowSettings::default());
    }
    Table::try_from(settings).unwrap()
}

/// Returns `true` for a default that leaves nothing to show.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Table(table) => table.is_empty(),
        _ => false,
    }
}

#[test]
fn the_file_shows_every_key_that_the_types_have_and_no_other() {
    let file: Table = switched_on().parse().unwrap();
    let missing: Vec<String> = all_paths()
        .into_keys()
        .filter(|path| !path.is_empty() && !path.starts_with(&format!("{DOCUMENTED_ELSEWHERE}.")))
        .filter(|path| at(&file, path).is_none())
        .collect();
    assert!(missing.is_empty(), "not in the file: {missing:?}");
    // The types refuse unknown keys.
    let read = toml::from_str::<Settings>(&switched_on());
    assert!(read.is_ok(), "{}", read.unwrap_err());
}

/// Leaves each MCP server of the file with the keys of one way to reach it, and checks it with those of the other.
fn check_mcp_servers(settings: &mut Settings) {
    if !cfg!(feature = "mcp") {
        settings.mcp_servers.clear();
        for model in &mut settings.models {
            model.tools = None;
        }
    }
    // A server has a URL or a program.
    let by_url = settings.mcp_servers.iter_mut().map(|server| {
        let shown = std::mem::take(server);
        let mut by_url = super::McpServerSettings {
            command: None,
            args: Vec::new(),
            cwd: None,
            env: BTreeMap::new(),
            env_file: BTreeMap::new(),
            ..shown.clone()
        };
        assert!(by_url.api_key_file.take().is_some());
        // Both are sent in one header.
        let mut oauth = by_url.oauth.take().unwrap();
        assert!(oauth.client_secret_file.take().is_some());
        let errors = oauth.validate("oauth");
        assert!(errors.is_empty(), "{errors:?}");
        *server = super::McpServerSettings {
            url: None,
            api_key_env: None,
            api_key_file: None,
            api_key_header: None,
            ca_file: None,
            headers: BTreeMap::new(),
            headers_file: BTreeMap::new(),
            oauth: None,
            ..shown
        };
        by_url
    });
    for server in by_url.collect::<Vec<_>>() {
        let errors = server.validate("server");
        assert!(errors.is_empty(), "{errors:?}");
    }
}

#[test]
fn the_examples_in_the_file_are_valid() {
    let mut settings: Settings = toml::from_str(&switched_on()).unwrap();
    // A secret is in a variable or in a file.
    let in_both = settings.validate("");
    for key in ["alerts.webhook.secret_file", "backends[0].api_key_file"] {
        assert!(in_both.iter().any(|error| error.path == key), "{key}");
    }
    settings.alerts.webhook.secret_file = None;
    // There are no such models in the file.
    (settings.embedder.model, settings.retrieval.rerank_model) = (None, None);
    for backend in &mut settings.backends {
        backend.api_key_file = None;
        // The one kind that has all keys, but for the simulation.
        backend.kind = super::BackendKind::HuggingFace;
        backend.simulation = super::SimulationSettings::default();
        // These exclude each other, and discovery.
        let process = backend.process.take().unwrap();
        let mut hooks = backend.hooks.take().unwrap();
        hooks.wake.command = None;
        hooks.sleep.as_mut().unwrap().url = None;
        for errors in [process.validate("process"), hooks.validate("hooks")] {
            assert!(errors.is_empty(), "{errors:?}");
        }
        // The keys of each way to find replicas exclude those of the others.
        let shown = std::mem::take(&mut backend.discovery);
        let list = DiscoverySettings {
            by: DiscoveryKind::List,
            path: PathBuf::new(),
            resolver: None,
            ..shown.clone()
        };
        let file = DiscoverySettings {
            by: DiscoveryKind::File,
            urls: Vec::new(),
            resolver: None,
            ..shown.clone()
        };
        let srv = DiscoverySettings {
            by: DiscoveryKind::Srv,
            urls: Vec::new(),
            path: PathBuf::new(),
            ..shown
        };
        for way in [list, file, srv] {
            let errors = way.validate("discovery");
            assert!(errors.is_empty(), "{errors:?}");
        }
    }
    check_mcp_servers(&mut settings);
    // A password is in a variable or in a file, and an authority is for TLS.
    assert!(settings.redis.password_file.take().is_some());
    settings.events.kafka.tls = true;
    for function in &mut settings.functions {
        assert!(function.api_key_file.take().is_some());
        assert!(function.signing_secret_file.take().is_some());
    }
    for rule in settings
        .routes
        .iter_mut()
        .flat_map(|route| &mut route.rules)
    {
        // A rule has a target, an agent, a function or a service.
        assert!(rule.service.take().is_some() && rule.function.take().is_some());
        assert!(rule.agent.take().is_some());
    }
    for guard in &mut settings.guards {
        // Keys that exclude others.
        assert!(guard.rules[0].regex.take().is_some() && guard.check.model.take().is_some());
    }
    let errors = settings.validate("");
    assert!(errors.is_empty(), "{errors:?}");
}

#[test]
fn the_file_holds_exactly_the_defaults_of_the_types() {
    fn without_empty(table: &Table) -> Table {
        let mut kept = Table::new();
        for (key, value) in table.iter().filter(|(_, value)| !is_empty(value)) {
            let value = match value {
                Value::Table(inner) => Value::Table(without_empty(inner)),
                Value::Array(items) => items
                    .iter()
                    .map(|item| match item {
                        Value::Table(inner) => Value::Table(without_empty(inner)),
                        other => other.clone(),
                    })
                    .collect::<Vec<_>>()
                    .into(),
                other => other.clone(),
            };
            kept.insert(key.clone(), value);
        }
        kept
    }
    let file: Table = DEFAULTS.parse().unwrap();
    let types = Table::try_from(Settings::default()).unwrap();
    for (key, value) in without_empty(&types) {
        let shown = without_empty(&file).remove(&key);
        assert_eq!(shown, Some(value), "{key}");
    }
    assert!(file.keys().all(|key| types.contains_key(key)));
}

#[test]
fn an_example_shows_the_default_of_its_key() {
    let (file, defaults) = (switched_on().parse::<Table>().unwrap(), defaults());
    let mut compared = 0;
    for (path, shape) in all_paths() {
        let default = at(&defaults, &path).filter(|value| !is_empty(value));
        if let (Shape::Value, Some(default)) = (shape, default)
            && !path.starts_with(DOCUMENTED_ELSEWHERE)
        {
            assert_eq!(at(&file, &path), Some(default), "{path}");
            compared += 1;
        }
    }
    assert!(compared > 60, "only {compared} defaults were compared");
}

#[test]
fn the_simulation_that_the_file_shows_is_the_preset_default() {
    use kebne_lab::simulate::{Preset, Profile};
    let file: Settings = toml::from_str(&switched_on()).unwrap();
    let mut shown = file.simulation;
    assert!(shown.cold_estimate.is_some() && shown.fault.is_some());
    // These have no default.
    (shown.cold_estimate, shown.fault) = (None, None);
    assert_eq!(shown.profile(), Profile::preset(Preset::Default));
}

/// The folder of the repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the files with this extension below a folder.
fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Returns the documentation of each field of a struct.
fn field_docs(source: &str, name: &str) -> Option<BTreeMap<String, String>> {
    let (_, body) = source.split_once(&format!("pub struct {name} {{\n"))?;
    let (body, _) = body.split_once("\n}")?;
    let (mut docs, mut doc) = (BTreeMap::new(), String::new());
    for line in body.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("///") {
            doc += text;
        } else if let Some((field, _)) = line
            .strip_prefix("pub ")
            .and_then(|rest| rest.split_once(':'))
        {
            docs.insert(field.to_owned(), std::mem::take(&mut doc));
        }
    }
    Some(docs)
}

/// Returns what a field's documentation gives as its default: `Default 5.` or ``Default `text`.``
fn documented_default(doc: &str) -> Option<&str> {
    let (_, rest) = doc.split_once("Default ")?;
    if let Some(code) = rest.strip_prefix('`') {
        return code.split('`').next();
    }
    let end = rest.find([',', ':', ';']).unwrap_or(rest.len());
    let sentence = rest.get(..end)?;
    let sentence = sentence.split(". ").next().unwrap_or(sentence);
    Some(sentence.trim_end_matches('.'))
}

/// Returns `true` if a documented default is this value.
fn is_same(documented: &str, value: &Value) -> bool {
    match value {
        Value::String(text) => {
            let duration = |text: &str| text.parse::<HumanDuration>().ok();
            let bytes = |text: &str| text.parse::<ByteCount>().ok();
            text == documented
                || duration(text).is_some() && duration(text) == duration(documented)
                || bytes(text).is_some() && bytes(text) == bytes(documented)
        }
        Value::Integer(number) => documented.parse() == Ok(*number),
        Value::Float(number) => documented
            .parse::<f64>()
            .is_ok_and(|documented| documented.to_bits() == number.to_bits()),
        other => format!("v = {documented}")
            .parse::<Table>()
            .is_ok_and(|table| table.get("v") == Some(other)),
    }
}

#[test]
fn the_documentation_of_every_field_names_its_default() {
    let sources = [
        "src/settings",
        "actors",
        "lab/src",
        "control/src",
        "quota/src",
        "guard/src",
        "routing/src",
        "cache/src",
        "functions/src",
    ];
    let sources: Vec<String> = sources
        .iter()
        .flat_map(|folder| files(folder, "rs"))
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    let defaults = defaults();
    let mut faults = Vec::new();
    for (path, found) in all_paths() {
        let Shape::Table { name, .. } = found else {
            continue;
        };
        if path.is_empty() || path == DOCUMENTED_ELSEWHERE {
            continue;
        }
        let docs = sources.iter().find_map(|source| field_docs(source, name));
        let docs = docs.unwrap_or_else(|| panic!("the struct `{name}` was not found"));
        for (field, doc) in docs {
            let value = at(&defaults, &super::join(&path, &field));
            let value = value.filter(|value| !is_empty(value));
            let element = format!("{}[0]", super::join(&path, &field));
            let is_list_of_tables =
                matches!(shape::<Settings>(&segments(&element)), Shape::Table { .. });
            if value.is_some_and(Value::is_table) || is_list_of_tables {
                continue;
            }
            match (documented_default(&doc), value) {
                (None | Some("none"), None) => {}
                (Some(documented), Some(value)) if is_same(documented, value) => {}
                (documented, value) => faults.push(format!(
                    "{name}::{field}: documented as {documented:?}, is {value:?}"
                )),
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Returns the pages that a user reads, with their text.
fn pages() -> Vec<(String, String)> {
    let mut paths = files("docs", "md");
    paths.push(root().join("README.md"));
    let read = |path: PathBuf| {
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        (name, std::fs::read_to_string(path).unwrap())
    };
    paths.into_iter().map(read).collect()
}

#[test]
fn every_toml_block_of_the_pages_is_valid() {
    let mut blocks = 0;
    for (page, text) in pages() {
        for block in text.split("```toml\n").skip(1) {
            let block = block.split("```").next().unwrap();
            if block.contains("[dependencies]") {
                continue;
            }
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("kebne.toml");
            std::fs::write(&path, block).unwrap();
            let loaded = super::load::load(Some(&path), &BTreeMap::<String, String>::new());
            assert!(loaded.is_ok(), "{page}: {}\n{block}", loaded.unwrap_err());
            blocks += 1;
        }
    }
    assert!(blocks >= 1);
}

#[test]
fn every_key_that_the_pages_name_with_its_table_exists() {
    let roots = [
        "server",
        "log",
        "context",
        "alerts",
        "cost",
        "accounts",
        "backends",
        "models",
        "prompts",
        "simulation",
    ];
    let (mut faults, mut named) = (Vec::new(), 0);
    for (page, text) in pages() {
        // Every second part between backticks is code; blocks are not looked at.
        let prose: String = text.split("```").step_by(2).collect();
        for code in prose.split('`').skip(1).step_by(2) {
            if page.starts_with("docs/akka-to-rust") {
                // There `context` is the context of an actor.
                continue;
            }
            let key = code.split(" = ").next().unwrap_or(code);
            let key = key.trim_matches(['[', ']']).replace("[]", "[0]");
            let plain = |letter: char| letter.is_ascii_lowercase() || letter == '_';
            let mut parts = key.split('.');
            let root = parts.next().unwrap_or_default().replace("[0]", "");
            let mut rest = parts.peekable();
            if !roots.contains(&root.as_str())
                || rest.peek().is_none()
                || !rest.all(|part| part.replace("[0]", "").chars().all(plain))
            {
                continue;
            }
            let listed = ["backends", "models", "prompts"]
                .iter()
                .fold(key.clone(), |key, list| {
                    match key.strip_prefix(&format!("{list}.")) {
                        Some(rest) => format!("{list}[0].{rest}"),
                        None => key,
                    }
                });
            named += 1;
            if shape::<Settings>(&segments(&listed)) == Shape::Nothing {
                faults.push(format!("{page}: `{code}`"));
            }
        }
    }
    assert!(faults.is_empty(), "no such keys: {faults:?}");
    assert!(named > 0);
}
