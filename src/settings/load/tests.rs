//! Layers, and the errors in them.

use super::*;

type Variables = BTreeMap<String, String>;

fn variables(pairs: &[(&str, &str)]) -> Variables {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// Loads a file that is called `kebne.toml` in messages.
fn load_text(text: impl AsRef<[u8]>, pairs: &[(&str, &str)]) -> Result<Loaded, SettingsErrors> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kebne.toml");
    std::fs::write(&path, text).unwrap();
    let folder = format!("{}/", folder.path().display());
    load(Some(&path), &variables(pairs)).map_err(|mut errors| {
        for error in &mut errors.0 {
            error.message = error.message.replace(&folder, "");
            if let Some(Origin::File { path, .. }) = &mut error.origin {
                *path = path.replace(&folder, "");
            }
        }
        errors
    })
}

/// Returns the errors as they are shown, without the list of what is allowed.
fn shown(text: &str, pairs: &[(&str, &str)]) -> Vec<String> {
    let errors = load_text(text, pairs).unwrap_err().0;
    let without_allowed = errors.into_iter().map(|mut error| {
        error.allowed.clear();
        error.to_string()
    });
    without_allowed.collect()
}

#[test]
fn without_file_and_environment_the_defaults_are_what_the_types_say() {
    let loaded = load(None, &Variables::new()).unwrap();
    assert_eq!(loaded.settings, Settings::default());
    let origins = loaded.origins;
    assert!(origins.len() > 50 && origins.values().all(Origin::is_default));
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_defaults() {
    let text = "[server]\nlisten = \"127.0.0.1:1\"\n[log]\nfilter = \"warn\"";
    let loaded = load_text(text, &[("KEBNE__SERVER__LISTEN", "127.0.0.1:2")]).unwrap();
    assert_eq!(loaded.settings.server.listen.port(), 2);
    assert_eq!(loaded.settings.log.filter, "warn");
    let origin = |path: &str| loaded.origins.get(path).cloned();
    let variable = Origin::Variable("KEBNE__SERVER__LISTEN".to_owned());
    assert_eq!(origin("server.listen"), Some(variable));
    let filter = origin("log.filter").unwrap();
    assert!(matches!(
        filter,
        Origin::File {
            line: 4,
            column: 10,
            ..
        }
    ));
    assert_eq!(origin("log.format"), Some(Origin::Default));
}

#[test]
fn every_unknown_key_is_reported_with_its_place_its_path_and_the_nearest_one() {
    let text = "[server]\n  listen_to = \"x\"\n\n[[backends]]\nname = \"b\"\nnam = \"a\"\n[logs]\n";
    let expected = [
        "kebne.toml:2:3: server.listen_to: unknown key; did you mean `listen`?",
        "kebne.toml:6:1: backends[0].nam: unknown key; did you mean `name`?",
        "kebne.toml:7:2: logs: unknown key; did you mean `log`?",
    ];
    assert_eq!(shown(text, &[]), expected);
    let errors = load_text(text, &[]).unwrap_err().0;
    assert!(errors.iter().all(|error| !error.allowed.is_empty()));
}

#[test]
fn columns_are_counted_in_characters() {
    let text = "log = { filter = \"äöü\", formt = \"json\" }";
    let expected = ["kebne.toml:1:25: log.formt: unknown key; did you mean `format`?"];
    assert_eq!(shown(text, &[]), expected);
}

#[test]
fn an_unknown_key_in_the_environment_names_the_variable() {
    let errors = load_text("", &[("KEBNE__LOG__FILTRE", "debug")]).unwrap_err();
    assert_eq!(
        errors.to_string(),
        "log.filtre: unknown key; did you mean `filter`?; allowed: `filter`, `format`, `requests`, `audit` (from KEBNE__LOG__FILTRE)"
    );
}

#[test]
fn a_wrong_value_names_what_is_allowed() {
    let errors = load_text("[log]\nformat = \"jsn\"\nfilter = \"loud\"", &[]).unwrap_err();
    assert_eq!(
        errors.to_string(),
        "kebne.toml:2:10: log.format: unknown value `jsn`; did you mean `json`?; allowed: `text`, `json`"
    );
    let errors = load_text("[log]\nfilter = \"kebne=loud\"", &[])
        .unwrap_err()
        .0;
    assert_eq!(errors[0].path, "log.filter");
    assert!(errors[0].allowed.contains(&"debug".to_owned()));
    assert!(
        errors[0]
            .to_string()
            .starts_with("kebne.toml:2:10: log.filter: ")
    );
}

#[test]
fn a_value_of_another_type_is_described_in_the_terms_of_toml() {
    let text = "[server]\nworkers = \"two\"\nbody_size_max = 16\nkeep_alive = 75\n[[backends]]\nname = 5\n\
        cold_statuses = [404, \"x\", 70000, 200]\n[backends.limits]\nhedge_ratio = \"much\"\nlaw = 3\nlimit_max = -1\n\
        [backends.headers]\nx = 1\n[context]\nage_max = 2026-01-01\n[[server.keys]]\nnames_tenants = 1";
    let expected = [
        "kebne.toml:2:11: server.workers: expected a whole number, 0 or more, found string \"two\"",
        "kebne.toml:3:17: server.body_size_max: `16` is not an amount of bytes: the unit is missing; write it like \
         `512B`, `64KiB` or `10MiB`",
        "kebne.toml:4:14: server.keep_alive: `75` is not a duration: time unit needed, for example 75sec or 75ms; \
         write it like `250ms`, `30s` or `1h`",
        "kebne.toml:6:8: backends[0].name: expected a string, found integer `5`",
        "kebne.toml:7:23: backends[0].cold_statuses[1]: expected a whole number, found string \"x\"",
        "kebne.toml:7:28: backends[0].cold_statuses[2]: `70000` is not a status from 400 to 599",
        "kebne.toml:7:35: backends[0].cold_statuses[3]: `200` is not a status from 400 to 599",
        "kebne.toml:9:15: backends[0].limits.hedge_ratio: expected a number, found string \"much\"",
        "kebne.toml:10:7: backends[0].limits.law: unknown value `3`",
        "kebne.toml:11:13: backends[0].limits.limit_max: expected a whole number from 0 to 4294967295, \
         found integer `-1`",
        "kebne.toml:13:5: backends[0].headers.x: expected a string, found a number",
        "kebne.toml:15:11: context.age_max: expected a duration such as `250ms`, `30s` or `1h`, found the date `2026-01-01`",
        "kebne.toml:17:17: server.keys[0].names_tenants: expected `true` or `false`, found integer `1`",
    ];
    let shown = shown(text, &[]);
    for (shown, expected) in shown.iter().zip(expected) {
        assert_eq!(shown, expected);
    }
    assert_eq!(shown.len(), expected.len());
}

#[test]
fn no_error_quotes_the_value_of_a_key_that_holds_secrets() {
    const BACKEND: &str = "[[backends]]\nname = 'b'\nkind = 'openai'\nbase_url = 'http://a'\n";
    let lines = [
        "headers = 'Authorization: Bearer 8642'",
        "wake_headers = 8642",
        "headers = { authorization = 8642 }",
        "headers = { 'Authorization: Bearer 8642' = '' }",
        "wake_headers = { 'Authorization: Bearer 8642' = 1 }",
        "headers = { authorization = 1986-04-02T08:06:42.8642 }",
        "api_key_env = 8642",
        "api_key_env = 86420000000000000000000000",
        "api_key_env = 8642.5",
        "api_key_env = sk-8642",
        "api_key_env = 'K'\napi_key_header = 'Authorization: Bearer 8642'",
        "[[server.keys]]\nname = 'a'\nhash = 8642",
        "[[server.keys]]\nname = 'a'\nhash = 'kebne-8642'",
        "[server]\nkeys = ['kebne-8642']",
        "[context]\nkey_env = 8642",
        "[context]\nkey_env = 'fe864200112233445566778899aabbccfe864200112233445566778899aabbcc'",
        "[context]\nold_keys_env = '8642,8642'",
    ];
    for line in lines {
        let errors = load_text(format!("{BACKEND}{line}"), &[]).unwrap_err();
        let text = errors.to_string();
        assert!(!text.contains("8642"), "{line}: {text}");
        assert!(text.starts_with("kebne.toml:"), "{line}: {text}");
    }
    let url = BACKEND.replace("http://a", "sk-8642");
    let text = load_text(&url, &[]).unwrap_err().to_string();
    assert_eq!(
        text,
        "kebne.toml:4:12: backends[0].base_url: is not an `http://` or `https://` URL with a host"
    );
    let pairs = [("KEBNE__BACKENDS__0__HEADERS", "Authorization: Bearer 8642")];
    let text = load_text(BACKEND, &pairs).unwrap_err().to_string();
    assert_eq!(
        text,
        "backends[0].headers: expected a table, found a string (from KEBNE__BACKENDS__0__HEADERS)"
    );
}

#[test]
fn a_table_in_place_of_a_list_is_told_how_lists_are_written() {
    let text = "[backends]\nname = \"a\"\n[server.keys]\nname = \"b\"\n[models.aliases]\na = 1";
    let expected = [
        "kebne.toml:1:1: backends: is a list: write `[[backends]]`, not `[backends]`",
        "kebne.toml:3:1: server.keys: is a list: write `[[server.keys]]`, not `[server.keys]`",
        "kebne.toml:5:2: models: is a list: write `[[models]]`, not `[models]`",
    ];
    assert_eq!(shown(text, &[]), expected);
    let text = "[[models]]\nbackends = { a = 1 }\n[[log]]\nformat = \"json\"\n[[backends]]\n[[backends.limits]]";
    let expected = [
        "kebne.toml:2:12: models[0].backends: is a list: write `backends = [\"…\"]`",
        "kebne.toml:3:1: log: is a table, not a list: write `[log]`, not `[[log]]`",
        "kebne.toml:6:1: backends[0].limits: is a table, not a list: write `[backends.limits]`, not `[[backends.limits]]`",
    ];
    assert_eq!(shown(text, &[]), expected);
    let pairs = [
        ("KEBNE__BACKENDS__NAME", "a"),
        ("KEBNE__MODELS__0__ALIASES__FIRST", "b"),
    ];
    let expected = [
        "backends: is a list; set `KEBNE__BACKENDS__0__<key>` (from KEBNE__BACKENDS__NAME)",
        "models[0].aliases: is a list; set `KEBNE__MODELS__0__ALIASES__0` (from KEBNE__MODELS__0__ALIASES__FIRST)",
    ];
    assert_eq!(shown("", &pairs), expected);
}

#[test]
fn a_contradiction_is_reported_at_the_value_or_at_the_table_that_lacks_it() {
    let text = "[[backends]]\nname = \"left\"\n\n[[backends]]\nkind = \"openai\"\nname = \"right\"\n\n[[models]]\n\
        name = \"m\"\nbackends = [\"left\", \"lefd\"]\n[context]\nage_max = \"1h\"";
    let expected = [
        "kebne.toml:4:1: backends[1].base_url: a backend of kind `openai` needs it",
        "kebne.toml:10:21: models[0].backends[1]: there is no backend named `lefd`; did you mean `left`?",
        "kebne.toml:12:11: context.age_max: contradicts the default of `idle_expiry`, which must be at most `age_max`",
    ];
    assert_eq!(shown(text, &[]), expected);
    let expected = ["server.workers: must be 1 to 256 (from KEBNE__SERVER__WORKERS)"];
    assert_eq!(shown("", &[("KEBNE__SERVER__WORKERS", "0")]), expected);
}

#[test]
fn two_stores_have_no_file_in_common() {
    let text = "[context]\npath = 'a.sqlite'\n[cache]\nstore = 'sqlite'\npath = 'a.sqlite'";
    let expected = ["kebne.toml:5:8: cache.path: `a.sqlite` is the file of `context.path`"];
    assert_eq!(shown(text, &[]), expected);
    let text = "[context]\npath = 'a.sqlite'\n[cache]\npath = 'a.sqlite'";
    assert!(
        load_text(text, &[]).is_ok(),
        "a cache in memory uses no file"
    );
}

#[test]
fn a_contradiction_to_a_default_names_the_key_that_is_set() {
    let limits = |line: &str| format!("[[backends]]\nname = 'b'\n[backends.limits]\n{line}");
    let table = [
        (
            "retry_cap = 7",
            "retry_cap: contradicts the default of `retry_start`, which must be 0 to `retry_cap`",
        ),
        (
            "hold_first = '3s'",
            "hold_first: contradicts the default of `hold_max`, which must be at least `hold_first`",
        ),
        (
            "limit_max = 1",
            "limit_max: contradicts the default of `limit_initial`, which must be 1 to `limit_max`",
        ),
        (
            "retry_ratio_max = 0.1",
            "retry_ratio_max: contradicts the default of `retry_ratio`, which must be at most `retry_ratio_max`",
        ),
        ("limit_max = 0", "limit_max: must be 1 to 100000"),
        (
            "limit_initial = 300",
            "limit_initial: must be 1 to `limit_max`",
        ),
    ];
    for (line, expected) in table {
        let column = line.find('=').unwrap() + 3;
        let expected = format!("kebne.toml:4:{column}: backends[0].limits.{expected}");
        assert_eq!(shown(&limits(line), &[]), [expected]);
    }
    let both = "limit_max = 1\nlimit_initial = 2";
    let expected = "kebne.toml:5:17: backends[0].limits.limit_initial: must be 1 to `limit_max`";
    assert_eq!(shown(&limits(both), &[]), [expected]);
    let expected = "kebne.toml:2:17: server.body_size_max: contradicts the default of `bodies_size_max`, which must";
    let errors = shown("[server]\nbody_size_max = '200MiB'", &[]);
    assert!(errors[0].starts_with(expected), "{errors:?}");
}

#[test]
fn a_file_that_is_not_toml_is_reported_with_the_place() {
    let starts = |text: &str, start: &str| {
        let errors = shown(text, &[]);
        assert!(errors[0].starts_with(start), "{errors:?}");
        assert_eq!(errors.len(), 1, "{errors:?}");
    };
    starts("[server", "kebne.toml:1:8: unclosed table, expected `]`");
    starts(
        "[log]\nfilter = warn",
        "kebne.toml:2:10: string values must be quoted",
    );
    starts(
        "[log]\nformat = \"text\"\nformat = \"json\"",
        "kebne.toml:3:1: duplicate key",
    );
    starts(
        "[server]\nworkers = 99999999999999999999",
        "kebne.toml:2:11: server.workers: the number `99999999999999999999` does not fit into 64 bits",
    );
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let errors = load(Some(Path::new("no-such-file.toml")), &Variables::new()).unwrap_err();
    let text = errors.to_string();
    assert!(
        text.starts_with("cannot read the file `no-such-file.toml`: "),
        "{text}"
    );
    let large = "#".repeat(usize::try_from(file::SIZE_MAX).unwrap() + 1);
    let expected = ["cannot read the file `kebne.toml`: it is larger than 4 MiB"];
    assert_eq!(shown(&large, &[]), expected);
}

#[test]
fn a_number_beyond_64_bits_names_its_key_at_any_depth() {
    let text =
        "[[backends]]\nname = 'a'\n[[backends]]\ncold_statuses = [404, 99999999999999999999]";
    let expected = "kebne.toml:4:23: backends[1].cold_statuses[1]: the number `99999999999999999999` does not fit \
                    into 64 bits";
    assert_eq!(shown(text, &[]), [expected]);
}

#[test]
fn a_file_that_is_not_utf_8_is_reported_with_the_place() {
    let errors = load_text(b"[log]\nfilter = \"\xc3\xa9\xff\"", &[]).unwrap_err();
    assert_eq!(errors.to_string(), "kebne.toml:2:12: the file is not UTF-8");
}

#[test]
fn a_value_that_cannot_be_meant_is_reported_at_its_own_place() {
    let backend = "[[backends]]\nname = 'a'\n";
    let limits = format!("{backend}[backends.limits]\nretry_ratio_max = 0.1");
    let models = format!("{backend}[[models]]\nname = 'm'\nbackends = ['a', 'a']");
    let table = [
        (
            "[server]\ndeadline_max = '0s'",
            "kebne.toml:2:16: server.deadline_max: must be more than 0",
        ),
        (
            "[server]\ndeadline_max = '1s'",
            "kebne.toml:2:16: server.deadline_max: contradicts the default of `deadline_default`, which must be at most `deadline_max`",
        ),
        (
            "[server]\nbody_size_max = '15EiB'",
            "kebne.toml:2:17: server.body_size_max: must be 1B to 512GiB",
        ),
        (
            "[server]\nbody_size_max = '1GiB'",
            "kebne.toml:2:17: server.body_size_max: contradicts the default of `bodies_size_max`, which must be at least \
             twice `body_size_max` and 1MiB, and at most 1TiB",
        ),
        (
            "[server]\nkeep_alive = '584542000000years'",
            "kebne.toml:2:14: server.keep_alive: `584542000000years` is not a duration: it is longer than 10years; \
             write it like `250ms`, `30s` or `1h`",
        ),
        (
            "[server]\nhosts = ['kebne.internal', '::1', 'http://x']",
            "kebne.toml:2:35: server.hosts[2]: must be a host name or an IP address without scheme, port and path, \
             such as `kebne.internal`",
        ),
        (
            "[[prompts]]\nname = 'a'",
            "kebne.toml:1:1: prompts[0].template: a prompt needs a template, such as `{{ input }}`",
        ),
        (
            limits.as_str(),
            "kebne.toml:4:19: backends[0].limits.retry_ratio_max: contradicts the default of `retry_ratio`, which must be at most `retry_ratio_max`",
        ),
        (
            models.as_str(),
            "kebne.toml:5:18: models[0].backends[1]: `a` is listed more than once",
        ),
    ];
    for (text, expected) in table {
        assert_eq!(shown(text, &[]), [expected], "{text}");
    }
}

#[test]
fn a_priority_and_a_host_are_checked_by_their_own_rules() {
    for wrong in ["-1", "10", "300"] {
        let hash = "a".repeat(64);
        let text = format!("[[server.keys]]\nname = 'k'\nhash = '{hash}'\npriority = {wrong}");
        let expected = "kebne.toml:4:12: server.keys[0].priority: must be 0 to 9";
        assert_eq!(shown(&text, &[]), [expected], "{wrong}");
    }
    for host in ["", "*", "a b", "x:80", "x/y"] {
        let errors = load_text(format!("[server]\nhosts = ['{host}']"), &[])
            .unwrap_err()
            .0;
        assert_eq!(errors[0].path, "server.hosts[0]", "{host}");
    }
}

#[test]
fn a_variable_is_converted_to_the_type_of_its_key() {
    let pairs = [
        ("KEBNE__SERVER__WORKERS", "7"),
        ("KEBNE__BACKENDS__0__NAME", "7"),
        ("KEBNE__BACKENDS__0__PREWARM__AT_START", "true"),
        ("KEBNE__BACKENDS__0__LIMITS__EXPLORATION", "0.01"),
        ("KEBNE__BACKENDS__0__LIMITS__LAW", "fixed"),
        ("KEBNE__SERVER__KEEP_ALIVE", "1m"),
        ("KEBNE__CONTEXT__PATH", "elsewhere/s.sqlite"),
        ("KEBNE__MODELS", "[{ name = 'm', backends = ['7'] }]"),
    ];
    let settings = load_text("", &pairs).unwrap().settings;
    let backend = &settings.backends[0];
    assert_eq!((settings.server.workers, backend.name.as_str()), (7, "7"));
    assert!(backend.prewarm.at_start && backend.limits.exploration > 0.009);
    assert_eq!(settings.server.keep_alive.to_string(), "1m");
    assert_eq!(settings.models[0].name, "m");
    let expected = [
        "server.workers: expected a whole number, 0 or more, found string \"many\" (from KEBNE__SERVER__WORKERS)",
    ];
    assert_eq!(shown("", &[("KEBNE__SERVER__WORKERS", "many")]), expected);
}

#[test]
fn a_variable_that_is_not_utf_8_is_an_error() {
    struct Broken;
    impl Environment for Broken {
        fn get(&self, name: &str) -> Result<Option<String>, crate::settings::NotUtf8> {
            Err(crate::settings::NotUtf8(name.to_owned()))
        }
        fn with_prefix(
            &self,
            prefix: &str,
        ) -> BTreeMap<String, Result<String, crate::settings::NotUtf8>> {
            let name = format!("{prefix}LOG__FILTER");
            BTreeMap::from([(name.clone(), self.get(&name).map(|_| String::new()))])
        }
    }
    let errors = load(None, &Broken).unwrap_err();
    assert_eq!(
        errors.to_string(),
        "the value of the environment variable `KEBNE__LOG__FILTER` is not UTF-8 (from KEBNE__LOG__FILTER)"
    );
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
    let expected = [
        "backends[7]: `KEBNE__BACKENDS__7__NAME` skips an index; lists are set without gaps \
         (from KEBNE__BACKENDS__7__NAME)",
    ];
    assert_eq!(shown("", &[("KEBNE__BACKENDS__7__NAME", "gap")]), expected);
}

#[test]
fn the_hash_of_an_empty_key_is_refused() {
    let hash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let text = format!("[[server.keys]]\nname = \"a\"\nhash = \"{hash}\"");
    let expected = "kebne.toml:3:8: server.keys[0].hash: is the hash of an empty key; `kebne key` creates a key and \
                    prints its hash";
    assert_eq!(shown(&text, &[]), [expected]);
}

#[test]
fn two_keys_with_one_hash_are_refused() {
    let hash = "a".repeat(64);
    let key = |name: &str| format!("[[server.keys]]\nname = \"{name}\"\nhash = \"{hash}\"\n");
    let errors = load_text(&(key("ann") + &key("bob")), &[]);
    let errors = errors.unwrap_err().0;
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!(errors[0].path, "server.keys[1].hash");
    assert!(errors[0].message.contains("`ann`"), "{errors:?}");
}
