//! `kebne init` and `kebne check --live`, against servers that answer as real ones do.

use std::{
    fmt::Write as _,
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    path::Path,
    process::Command,
    thread,
};

use serde_json::{Value, json};

use crate::program::folder;

/// A server that answers GET requests, each path with a status and a body, and others with 404. With a key, requests
/// without it are answered with `refusal`.
struct Server {
    url: String,
}

struct Script {
    paths: Vec<(&'static str, u16, Value)>,
    /// The header with the key, and the answer without it.
    key: Option<(&'static str, Value)>,
}

impl Server {
    fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        thread::spawn(move || {
            for socket in listener.incoming() {
                let mut socket = socket.unwrap();
                let mut reader = BufReader::new(socket.try_clone().unwrap());
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).unwrap_or(0) > 0 {}
                let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                let (status, body) = script.answer(&path, &head);
                let body = body.to_string();
                let length = body.len();
                write!(socket, "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}").ok();
            }
        });
        Self { url }
    }

    fn of(paths: Vec<(&'static str, u16, Value)>) -> Self {
        Self::start(Script { paths, key: None })
    }

    fn models(ids: &[&str], owner: &str) -> Self {
        Self::of(vec![("/v1/models", 200, list(ids, owner))])
    }
}

impl Script {
    fn answer(&self, path: &str, head: &str) -> (u16, Value) {
        let head = head.to_lowercase();
        if let Some((key, refusal)) = &self.key
            && !head.contains(key)
        {
            return (401, refusal.clone());
        }
        let found = self.paths.iter().find(|(known, _, _)| *known == path);
        found.map_or((404, json!({"error": "not found"})), |(_, status, body)| {
            (*status, body.clone())
        })
    }
}

fn list(ids: &[&str], owner: &str) -> Value {
    let data = ids
        .iter()
        .map(|id| json!({"id": id, "object": "model", "owned_by": owner}));
    json!({"object": "list", "data": data.collect::<Vec<_>>()})
}

struct Ended {
    code: Option<i32>,
    output: String,
    complaints: String,
}

fn kebne(folder: &Path, arguments: &[&str]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kebne"));
    let ended = command
        .args(arguments)
        .current_dir(folder)
        .env("ANTHROPIC_API_KEY", "right-key")
        .env("WRONG_KEY", "wrong-key")
        .output()
        .unwrap();
    Ended {
        code: ended.status.code(),
        output: String::from_utf8(ended.stdout).unwrap(),
        complaints: String::from_utf8(ended.stderr).unwrap(),
    }
}

fn anthropic() -> Server {
    let refusal =
        json!({"type": "error", "error": {"type": "authentication_error", "message": "no"}});
    Server::start(Script {
        paths: vec![(
            "/v1/models",
            200,
            json!({"data": [{"type": "model", "id": "claude-a"}], "has_more": false}),
        )],
        key: Some(("x-api-key: right-key", refusal)),
    })
}

/// One server of each kind.
fn servers() -> [Server; 5] {
    let models = json!({"models": [{"name": "tiny:latest"}, {"name": "big:70b"}]});
    let ollama = Server::of(vec![
        ("/api/tags", 200, models),
        (
            "/v1/models",
            200,
            list(&["tiny:latest", "big:70b"], "library"),
        ),
    ]);
    let mut vllm = list(&["org/shared"], "vllm");
    vllm["data"][0]["max_model_len"] = json!(8192);
    let vllm = Server::of(vec![("/v1/models", 200, vllm)]);
    let props = json!({"default_generation_settings": {"n_ctx": 4096}});
    let llama = Server::of(vec![
        ("/v1/models", 200, list(&["/models/small.gguf"], "llamacpp")),
        ("/props", 200, props),
    ]);
    let info = json!({"model_id": "org/shared", "max_total_tokens": 2048});
    let tgi = Server::of(vec![
        ("/info", 200, info),
        ("/v1/models", 200, list(&["org/shared"], "org/shared")),
    ]);
    [ollama, vllm, llama, tgi, anthropic()]
}

#[test]
fn settings_are_written_for_what_the_servers_are() {
    let folder = folder();
    let servers = servers();
    let mut arguments = vec!["init", "--key-env", "ANTHROPIC_API_KEY"];
    arguments.extend(servers.iter().map(|server| server.url.as_str()));
    let ended = kebne(folder.path(), &arguments);
    assert_eq!(ended.code, Some(0), "{}", ended.complaints);
    for title in [
        "Ollama with 2 models",
        "vLLM",
        "llama.cpp",
        "Text Generation Inference",
        "Anthropic",
    ] {
        assert!(ended.output.contains(title), "{title}: {}", ended.output);
    }
    let text = fs::read_to_string(folder.path().join("kebne.toml")).unwrap();
    for part in [
        "kind = \"ollama\"",
        "context_tokens = 8192",
        "context_tokens = 4096",
        "context_tokens = 2048",
        "api_key_env = \"ANTHROPIC_API_KEY\"",
        "[[\"vllm\", \"tgi\"]]",
        "/models/small.gguf",
        "name = \"small\"",
    ] {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }
    assert!(!text.contains("right-key"));
    let checked = kebne(folder.path(), &["check", "--config", "kebne.toml"]);
    assert_eq!(checked.code, Some(0), "{}", checked.complaints);
    let live = kebne(
        folder.path(),
        &["check", "--live", "--config", "kebne.toml"],
    );
    assert_eq!(live.code, Some(0), "{}\n{}", live.output, live.complaints);
    assert_eq!(live.output.matches("fine ").count(), 5, "{}", live.output);
}

#[test]
fn settings_are_written_for_servers_without_models_and_what_is_missing_is_said() {
    let ollama = Server::of(vec![("/api/tags", 200, json!({"models": []}))]);
    let busy =
        json!({"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}});
    let busy = ["/api/tags", "/info", "/props", "/health", "/v1/models"]
        .map(|path| (path, 503, busy.clone()));
    let llama = Server::of(busy.to_vec());
    let empty = Server::models(&[], "x");
    let known = Server::models(&["m"], "vllm");
    for (servers, said, written) in [
        (
            vec![&ollama],
            "ollama pull NAME",
            "[[models]]\nname = \"ollama\"",
        ),
        (
            vec![&empty],
            "it lists no models",
            "backends = [\"openai\"]",
        ),
        (
            vec![&known, &llama],
            "llama.cpp with a model that is still loading",
            "[[models]]\nname = \"llama-cpp\"\nbackends = [\"llama-cpp\"]",
        ),
    ] {
        let folder = folder();
        let mut arguments = vec!["init"];
        arguments.extend(servers.iter().map(|server| server.url.as_str()));
        let ended = kebne(folder.path(), &arguments);
        assert_eq!(ended.code, Some(0), "{}", ended.complaints);
        assert!(ended.output.contains(said), "{}", ended.output);
        let text = fs::read_to_string(folder.path().join("kebne.toml")).unwrap();
        assert!(text.contains(written), "no `{written}` in\n{text}");
        let checked = kebne(folder.path(), &["check", "--config", "kebne.toml"]);
        assert_eq!(checked.code, Some(0), "{}", checked.complaints);
    }
}

#[test]
fn a_server_that_is_named_twice_is_written_once() {
    let folder = folder();
    let server = Server::models(&["m"], "vllm");
    let ended = kebne(folder.path(), &["init", &server.url, &server.url]);
    assert_eq!(ended.code, Some(0), "{}", ended.complaints);
    assert!(ended.output.contains("is named twice"), "{}", ended.output);
    let text = fs::read_to_string(folder.path().join("kebne.toml")).unwrap();
    assert_eq!(text.matches("[[backends]]").count(), 1, "{text}");
}

#[test]
fn a_file_that_exists_is_replaced_only_by_force() {
    let folder = folder();
    let server = Server::models(&["m"], "vllm");
    let path = folder.path().join("kebne.toml");
    fs::write(&path, "# mine\n").unwrap();
    let again = kebne(folder.path(), &["init", &server.url]);
    assert_eq!(again.code, Some(1));
    assert!(again.complaints.contains("--force"), "{}", again.complaints);
    assert_eq!(fs::read_to_string(&path).unwrap(), "# mine\n");
    let url = format!("{}/v1/", server.url);
    let forced = kebne(folder.path(), &["init", "--force", &url]);
    assert_eq!(forced.code, Some(0), "{}", forced.complaints);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("name = \"vllm\""), "{text}");
}

#[test]
fn a_server_that_cannot_be_used_is_named_and_nothing_is_written() {
    let folder = folder();
    let web = Server::of(vec![("/", 200, json!("hello"))]);
    let claude = anthropic();
    let gone = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    for (arguments, expected) in [
        (vec!["init", gone.as_str()], "nothing listens there"),
        (
            vec!["init", "http://no-such-host.invalid"],
            "has no address",
        ),
        (vec!["init", web.url.as_str()], "is not a model server"),
        (vec!["init", claude.url.as_str()], "--key-env"),
        (
            vec!["init", "--key-env", "WRONG_KEY", claude.url.as_str()],
            "refuses the key in `WRONG_KEY`",
        ),
        (
            vec!["init", "--key-env", "NO_SUCH_KEY", claude.url.as_str()],
            "`NO_SUCH_KEY` is not set",
        ),
        (vec!["init", "127.0.0.1:8000"], "is not an `http://`"),
    ] {
        let ended = kebne(folder.path(), &arguments);
        assert_eq!(ended.code, Some(1), "{arguments:?}: {}", ended.complaints);
        assert!(
            ended.complaints.contains(expected),
            "{arguments:?}: {}",
            ended.complaints
        );
    }
    assert!(!folder.path().join("kebne.toml").exists());
}

/// A backend of a live check: its name, its URL, further keys, and the beginning of its line.
type Case = (&'static str, String, &'static str, &'static str);

fn cases() -> Vec<Case> {
    let fine = Server::models(&["m"], "x").url;
    let other = Server::models(&["other"], "x").url;
    let loading = Server::of(vec![("/v1/models", 503, json!({}))]).url;
    let elsewhere = Server::of(vec![("/models", 200, list(&["m"], "x"))]).url;
    let refusal = json!({"error": {"message": "no"}});
    let closed = Server::start(Script {
        paths: vec![("/v1/models", 200, list(&["m"], "x"))],
        key: Some(("authorization: bearer right", refusal)),
    });
    let closed = closed.url;
    let gone = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let tls = fine.replace("http:", "https:");
    let nowhere = "http://no-such-host.invalid".to_owned();
    let key = "api_key_env = \"WRONG_KEY\"\n";
    vec![
        ("fine", fine, "", "fine   `fine` answers and has `m`"),
        (
            "other",
            other,
            "",
            "wrong  `other` does not have the model `m` (it has `other`)",
        ),
        ("loading", loading, "", "unsure `loading` is loading"),
        ("path", elsewhere, "", "wrong  `path` has no list of models"),
        (
            "no-key",
            closed.clone(),
            "",
            "wrong  `no-key` asks for a key (401)",
        ),
        (
            "bad-key",
            closed,
            key,
            "wrong  `bad-key` refuses the key (401): `api_key_env`",
        ),
        (
            "gone",
            gone,
            "",
            "wrong  `gone` is not there: nothing listens",
        ),
        ("name", nowhere, "", "wrong  `name` cannot be found"),
        ("tls", tls, "", "wrong  `tls` has no TLS connection"),
    ]
}

#[test]
fn a_live_check_says_of_each_backend_what_is_wrong() {
    let folder = folder();
    let cases = cases();
    let mut text = String::new();
    for (name, url, more, _) in &cases {
        writeln!(
            text,
            "[[backends]]\nname = \"{name}\"\nkind = \"openai\"\nbase_url = \"{url}/v1\"\n{more}"
        )
        .unwrap();
    }
    let names = cases.iter().map(|(name, ..)| format!("\"{name}\""));
    let names = names.collect::<Vec<_>>().join(", ");
    writeln!(text, "[[models]]\nname = \"m\"\nbackends = [{names}]").unwrap();
    fs::write(folder.path().join("kebne.toml"), text).unwrap();
    let ended = kebne(
        folder.path(),
        &["check", "--live", "--config", "kebne.toml"],
    );
    for (.., expected) in &cases {
        assert!(
            ended.output.contains(expected),
            "no `{expected}` in\n{}",
            ended.output
        );
    }
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.complaints.contains("7 of 9 backends"),
        "{}",
        ended.complaints
    );
    assert!(!ended.output.contains("wrong-key"), "{}", ended.output);
}
