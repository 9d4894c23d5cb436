//! What the documentation and the alerts tell a reader to call exists: each path, each `curl` command and each command of the
//! program is tried on the real program. The sentences of the alerts are in `docs/alerts.md`, word for word.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    process::Command,
};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::program::{Answer, Program, folder};

/// Pages for operators and callers, and folders of them.
const PAGES: [&str; 11] = [
    "README.md",
    "deploy/README.md",
    "docs/alerts.md",
    "docs/apis.md",
    "docs/cache.md",
    "docs/keys.md",
    "docs/metrics.md",
    "docs/operating",
    "docs/operating.md",
    "docs/prompts.md",
    "docs/sessions.md",
];
const METHODS: [&str; 3] = ["GET", "POST", "DELETE"];
/// The first parts of the paths of the gateway.
const ROOTS: [&str; 9] = [
    "admin", "backends", "healthz", "lab", "metrics", "page", "readyz", "state", "v1",
];
/// The beginnings of paths, which the pages name as such.
const BEGINNINGS: [&str; 4] = ["/backends", "/lab", "/v1", "/v1/"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the texts of all pages, with their names.
fn pages() -> Vec<(String, String)> {
    let mut files = Vec::new();
    for page in PAGES {
        let path = root().join(page);
        if path.is_dir() {
            let entries = fs::read_dir(path).unwrap();
            files.extend(entries.map(|entry| entry.unwrap().path()));
        } else {
            files.push(path);
        }
    }
    let read = |path: PathBuf| {
        (
            path.display().to_string(),
            fs::read_to_string(path).unwrap(),
        )
    };
    files.into_iter().map(read).collect()
}

/// Returns what is between backticks, blocks of code included.
fn code(page: &str) -> impl Iterator<Item = &str> {
    page.split('`').skip(1).step_by(2)
}

/// Returns the method and the path that a text names; the method of a path alone is empty.
fn request_of(text: &str) -> Option<(String, String)> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let (method, path) = match words[..] {
        [method, path] if METHODS.contains(&method) => (method, path),
        [path] => ("", path),
        _ => return None,
    };
    let is_here = path.strip_prefix('/').is_some_and(|rest| {
        let first = rest.split(['/', '?']).next().unwrap();
        METHODS.contains(&words[0]) || ROOTS.contains(&first)
    });
    let is_whole = !path.contains('…') && !BEGINNINGS.contains(&path);
    // A query has no values on the pages.
    let path = path.split('?').next().unwrap();
    (is_here && is_whole).then(|| (method.to_owned(), path.to_owned()))
}

/// Splits a command as a shell does, up to its end.
fn shell_words(command: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut letters = command.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(open), _) if letter == open => quote = None,
            (Some(_), _) => word.get_or_insert_default().push(letter),
            (None, '\'' | '"') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None, '\\') => {
                // The end of a line, which the command continues after.
                if letters.next() != Some('\n') {
                    break;
                }
            }
            (None, '\n' | '|' | ';' | '&' | ')') => break,
            (None, _) if letter.is_whitespace() => words.extend(word.take()),
            (None, _) => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}

/// A request of `curl`.
#[derive(Debug, Default)]
struct Curl {
    method: Option<String>,
    path: String,
    headers: Vec<String>,
    body: String,
}

/// Reads a command; `None` if it does not ask the gateway.
fn curl(command: &str) -> Option<Curl> {
    let mut curl = Curl::default();
    let mut words = shell_words(command).into_iter().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "-X" => curl.method = words.next(),
            "-H" => curl.headers.extend(words.next()),
            "-d" => curl.body = words.next().unwrap(),
            url if url.starts_with("http") => {
                url.strip_prefix("http://127.0.0.1:8080")?
                    .clone_into(&mut curl.path);
            }
            _ => {}
        }
    }
    Some(curl)
}

/// A gateway with all that the pages name: a key, models, a group, a prompt.
fn gateway(folder: &std::path::Path) -> Program {
    let hash = hex::encode(Sha256::digest(b"root"));
    let simulated = "kind = \"simulated\"\nsimulation = { preset = \"instant\" }\n";
    let price = "[models.price]\ninput = 1\noutput = 1\n";
    let text = format!(
        "[[server.keys]]\nname = \"root\"\nhash = \"{hash}\"\nscopes = [\"admin\", \"read_state\", \"call\"]\n\
         [[accounts.groups]]\nname = \"research\"\n\
         [[backends]]\nname = \"simulated\"\n{simulated}\
         [[models]]\nname = \"simulated\"\nbackends = [\"simulated\"]\n{price}\
         [[models]]\nname = \"chat\"\nbackends = [\"simulated\"]\n{price}\
         [[prompts]]\nname = \"brief\"\ntemplate = \"Be brief.\"\n"
    );
    let config = folder.join("kebne.toml");
    fs::write(&config, text).unwrap();
    Program::start_plain(folder, &config)
}

fn send(program: &Program, method: &str, path: &str, body: &str) -> Answer {
    let headers = [
        ("authorization", "Bearer root"),
        ("content-type", "application/json"),
    ];
    program.try_send(method, path, &headers, body).unwrap()
}

fn made(program: &Program, path: &str, body: &Value) -> String {
    let made = send(program, "POST", path, &body.to_string());
    made.json()["id"].as_str().unwrap().to_owned()
}

/// Puts something that exists in place of a name in a path.
fn filled(program: &Program, path: &str) -> String {
    let backend = path.contains("/backends/") || path.starts_with("/lab/");
    let id = if !path.contains(['{']) && !path.contains("NAME") && !path.contains("ID") {
        return path.to_owned();
    } else if backend {
        "simulated".to_owned()
    } else if path.contains("/keys/") {
        let name = format!("key {}", fastrand::u64(..));
        made(program, "/admin/v1/keys", &json!({"name": name}))
    } else if path.contains("/sessions/") {
        made(program, "/v1/sessions", &json!({}))
    } else if path.contains("/prompts/") {
        "brief".to_owned()
    } else {
        // Nothing of this kind exists; the answer says so.
        "resp_1".to_owned()
    };
    let names = ["{id}", "{name}", "{fact}", "NAME", "ID"];
    names
        .iter()
        .fold(path.to_owned(), |path, name| path.replace(name, &id))
}

fn open_again(program: &Program) {
    let path = "/admin/v1/backends/simulated/reopen";
    assert_eq!(send(program, "POST", path, "").status, 200);
}

#[test]
fn each_path_that_the_pages_name_is_answered_as_documented() {
    let folder = folder();
    let program = gateway(folder.path());
    let mut requests = BTreeMap::new();
    for (name, page) in pages() {
        for request in code(&page).filter_map(request_of) {
            requests.entry(request).or_insert(name.clone());
        }
    }
    let rules = fs::read_to_string(root().join("deploy/prometheus/rules.yml")).unwrap();
    let rules = rules.replace("{{ $labels.lane }}", "NAME");
    let words: Vec<&str> = rules.split_whitespace().collect();
    for pair in words.windows(2).filter(|pair| METHODS.contains(&pair[0])) {
        let request = request_of(&pair.join(" ")).unwrap();
        requests.insert(request, "rules.yml".to_owned());
    }
    assert!(requests.len() > 40, "{requests:?}");
    let reasons = fs::read_to_string(root().join("docs/operating/reasons.md")).unwrap();
    let documented: BTreeSet<&str> = code(&reasons).collect();
    // They do not end, or speak another protocol; tests of their own read them.
    requests.retain(|(_, path), _| {
        path != "/live" && !path.starts_with("/events") && !path.starts_with("/mcp")
    });
    for ((method, path), page) in requests {
        let body = if method == "POST" { "{}" } else { "" };
        let verb = if method.is_empty() { "GET" } else { &method };
        let answer = send(&program, verb, &filled(&program, &path), body);
        let seen = format!("{page}: {method} {path}: {} {}", answer.status, answer.body);
        if !(200..300).contains(&answer.status) {
            let reason = answer.header("x-kebne-reason").unwrap_or_default();
            assert!(documented.contains(reason), "{reason}: {seen}");
            assert!(!answer.body.contains("there is no `"), "{seen}");
            assert!(answer.status != 405 || method.is_empty(), "{seen}");
        }
        open_again(&program);
    }
}

#[test]
fn each_curl_command_that_the_pages_name_succeeds() {
    let folder = folder();
    let program = gateway(folder.path());
    let mut commands = 0;
    for (name, page) in pages() {
        for block in code(&page) {
            for (at, _) in block.match_indices("curl ") {
                let Some(curl) = curl(&block[at..]) else {
                    continue;
                };
                if curl.path.starts_with("/events") {
                    // It does not end.
                    continue;
                }
                commands += 1;
                let (mut path, mut headers) =
                    (curl.path.clone(), vec![("authorization", "Bearer root")]);
                if path.contains("/keys/NAME") {
                    path = filled(&program, &path);
                }
                path = path.replace("NAME", "simulated");
                let session = program_session(&program);
                path = path.replace("SESSION", &session);
                for header in &curl.headers {
                    let (header, value) = header.split_once(": ").unwrap();
                    match &*header.to_lowercase() {
                        "authorization" => assert!(value.starts_with("Bearer $"), "{curl:?}"),
                        "x-kebne-session" => headers.push((header, &session)),
                        _ => headers.push((header, value)),
                    }
                }
                let posts = !curl.body.is_empty();
                let method = curl
                    .method
                    .as_deref()
                    .unwrap_or(if posts { "POST" } else { "GET" });
                let answer = program
                    .try_send(method, &path, &headers, &curl.body)
                    .unwrap();
                let seen = format!("{name}: {curl:?}: {} {}", answer.status, answer.body);
                // The backend of this test has no server that the gateway starts, and the answer says so.
                let has_no_server =
                    path.ends_with("/load") && answer.code() == (400, "no_server".to_owned());
                let is_fine = (200..300).contains(&answer.status) || has_no_server;
                assert!(is_fine, "{seen}");
                open_again(&program);
            }
        }
    }
    assert!(commands >= 14, "{commands}");
}

fn program_session(program: &Program) -> String {
    made(program, "/v1/sessions", &json!({}))
}

#[test]
fn each_command_of_the_program_that_the_pages_name_is_known() {
    let mut commands = BTreeSet::new();
    for (_, page) in pages() {
        for block in code(&page) {
            for line in block.lines() {
                let at = line.find("kebne ").filter(|at| {
                    let before = &line[..*at];
                    before.is_empty() || before.ends_with("... ")
                });
                commands.extend(at.map(|at| shell_words(&line[at..])));
            }
        }
    }
    assert!(commands.len() >= 10, "{commands:?}");
    for command in commands {
        let is_flag = |word: &&String| word.trim_start_matches('[').starts_with("--");
        let name = command.get(1).filter(|word| !is_flag(word));
        let mut help = Command::new(env!("CARGO_BIN_EXE_kebne"));
        let help = help.args(name).arg("--help").output().unwrap();
        assert!(help.status.success(), "{command:?}");
        let help = String::from_utf8(help.stdout).unwrap();
        for flag in command.iter().filter(is_flag) {
            let flag = flag.trim_start_matches('[');
            assert!(help.contains(flag), "{command:?}: {flag} is not in\n{help}");
        }
    }
}
