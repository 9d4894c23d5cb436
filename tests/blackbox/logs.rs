//! The request log and the audit log.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    program::{CHAT, Program, folder},
    upstream::upstream,
};

const SECRET: &str = "the prompt nobody may log";

/// Writes settings with one key per word, a model without a server, and a log of requests in a file.
fn settings(folder: &Path, requests: &str, more: &str) -> PathBuf {
    let mut text = String::from("[log]\nformat = \"json\"\n");
    writeln!(text, "[log.requests]\nfile = \"requests.log\"\n{requests}").unwrap();
    for (name, scope) in [("plain", "call"), ("operator", "admin")] {
        let hash = hex::encode(Sha256::digest(name.as_bytes()));
        writeln!(text, "[[server.keys]]\nname = \"{name}\"\nhash = \"{hash}\"\ntenant = \"team\"\nscopes = [\"{scope}\"]").unwrap();
    }
    text += "[[backends]]\nname = \"b\"\nsimulation = {preset = \"instant\"}\n\
        [[models]]\nname = \"m\"\nbackends = [\"b\"]\n";
    text += more;
    let config = folder.join("kebne.toml");
    fs::write(&config, text).unwrap();
    config
}

fn chat(program: &Program, model: &str, id: &str, stream: bool) -> u16 {
    let body = json!({
        "model": model, "stream": stream, "messages": [{"role": "user", "content": SECRET}],
    });
    let headers = [
        ("authorization", "Bearer plain"),
        ("x-request-id", id),
        (
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
    ];
    program.send("POST", CHAT, &headers, &body).status
}

/// Waits until the file holds `count` lines, and returns them.
fn lines(path: &Path, count: usize) -> Vec<String> {
    let since = Instant::now();
    loop {
        let text = fs::read_to_string(path).unwrap_or_default();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        if text.ends_with('\n') && lines.len() >= count {
            return lines;
        }
        assert!(since.elapsed() < Duration::from_secs(20), "{text}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn each_call_has_one_line_with_its_parts_and_without_its_prompt() {
    let folder = folder();
    // A key that the first backend does not take sends the call to the second.
    let refusal = "HTTP/1.1 401 No\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno";
    let (url, _requests) = upstream(|_| refusal.to_owned());
    let more = format!(
        "[[backends]]\nname = \"locked\"\nkind = \"openai\"\nbase_url = \"{url}\"\n\
        [[models]]\nname = \"both\"\nbackends = [\"locked\", \"b\"]\n"
    );
    let config = settings(folder.path(), "", &more);
    let program = Program::start_plain(folder.path(), &config);
    assert_eq!(chat(&program, "m", "whole", false), 200);
    assert_eq!(chat(&program, "m", "streamed", true), 200);
    assert_eq!(chat(&program, "nobody", "unknown", false), 404);
    assert_eq!(chat(&program, "both", "second", false), 200);
    let lines = lines(&folder.path().join("requests.log"), 4);
    assert_eq!(lines.len(), 4);
    assert!(lines.iter().all(|line| !line.contains(SECRET)), "{lines:?}");
    let line = |id: &str| -> Value {
        let lines = lines.iter().map(|line| serde_json::from_str(line).unwrap());
        let mut lines = lines.filter(|line: &Value| line["id"] == id);
        lines.next().unwrap()
    };
    let whole = line("whole");
    let seen = |key: &str| whole[key].clone();
    assert_eq!(
        (seen("key"), seen("tenant")),
        (json!("plain"), json!("team"))
    );
    assert_eq!((seen("model"), seen("lane")), (json!("m"), json!("b")));
    assert_eq!(
        (seen("status"), seen("ending")),
        (json!(200), json!("success"))
    );
    assert_eq!(seen("trace"), "0af7651916cd43dd8448eb211c80319c");
    assert!(seen("input_tokens").as_u64() > Some(0), "{whole}");
    assert!(seen("output_tokens").as_u64() > Some(0), "{whole}");
    assert_eq!(
        (seen("attempts"), seen("operation")),
        (json!(1), json!("chat"))
    );
    let streamed = line("streamed");
    assert!(streamed["first_token_ms"].as_f64().is_some(), "{streamed}");
    assert!(streamed["output_tokens"].as_u64() > Some(0), "{streamed}");
    let unknown = line("unknown");
    assert_eq!(unknown["ending"], "rejected", "{unknown}");
    assert_eq!(
        (&unknown["model"], &unknown["attempts"]),
        (&json!(""), &json!(0))
    );
    let second = line("second");
    let attempted = second["attempted"].as_array().unwrap();
    assert_eq!(attempted.len(), 2, "{second}");
    assert_eq!(attempted[0]["lane"], "locked", "{second}");
    assert_eq!(attempted[0]["outcome"], "misconfigured", "{second}");
    assert_eq!(attempted.last().unwrap()["outcome"], "success", "{second}");
    assert_eq!(second["lane"], "b");
}

#[test]
fn a_sample_of_successes_leaves_failures_whole() {
    let folder = folder();
    let config = settings(folder.path(), "sample = 0.0\nformat = \"text\"", "");
    let program = Program::start_plain(folder.path(), &config);
    for _ in 0..20 {
        assert_eq!(chat(&program, "m", "good", false), 200);
    }
    assert_eq!(chat(&program, "nobody", "bad id", false), 404);
    let lines = lines(&folder.path().join("requests.log"), 1);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].contains(" status=404 ending=rejected reason=model_not_found"),
        "{lines:?}"
    );
}

#[test]
fn what_administrators_do_is_written_with_their_names() {
    let folder = folder();
    let config = settings(folder.path(), "", "");
    let mut command = Program::configured(folder.path(), &config);
    let stderr = fs::File::create(folder.path().join("log")).unwrap();
    let program = Program::spawn_with(&mut command, Stdio::from(stderr));
    for (key, path, status) in [
        ("operator", "/backends/b/close", 200),
        ("plain", "/backends/b/reopen", 403),
        ("stranger", "/backends/b/reopen", 401),
        ("operator", "/backends/none/reopen", 404),
    ] {
        let bearer = format!("Bearer {key}");
        let answer = program.send("POST", path, &[("authorization", &bearer)], &Value::Null);
        assert_eq!(answer.status, status, "{key} {path}");
    }
    let since = Instant::now();
    let lines = loop {
        let text = fs::read_to_string(folder.path().join("log")).unwrap();
        let lines = text.lines().filter(|line| line.contains("kebne::audit"));
        let lines: Vec<Value> = lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        if lines.len() >= 4 {
            break lines;
        }
        assert!(since.elapsed() < Duration::from_secs(20), "{text}");
        std::thread::sleep(Duration::from_millis(10));
    };
    let seen = |line: &Value| {
        let text = |key: &str| line[key].as_str().unwrap().to_owned();
        (text("key"), text("path"), line["status"].as_u64().unwrap())
    };
    let expected = [
        ("operator", "/backends/b/close", 200),
        ("plain", "/backends/b/reopen", 403),
        ("", "/backends/b/reopen", 401),
        ("operator", "/backends/none/reopen", 404),
    ];
    let expected = expected.map(|(key, path, status)| (key.to_owned(), path.to_owned(), status));
    assert_eq!(lines.iter().map(seen).collect::<Vec<_>>(), expected);
    assert!(lines.iter().all(|line| line["peer"] == "127.0.0.1"));
}

#[test]
fn only_a_trusted_proxy_names_the_client_in_the_logs() {
    let forged = [
        ("x-forwarded-for", "6.6.6.6, 2001:db8::2, 127.0.0.2"),
        ("forwarded", "for=3.3.3.3"),
    ];
    for (trusted, header, client) in [
        ("[]", "x-forwarded-for", "127.0.0.1"),
        ("[\"10.0.0.0/8\"]", "x-forwarded-for", "127.0.0.1"),
        ("[\"127.0.0.0/8\"]", "x-forwarded-for", "2001:db8::2"),
        ("[\"127.0.0.1\"]", "forwarded", "3.3.3.3"),
    ] {
        let folder = folder();
        let config = settings(folder.path(), "format = \"json\"", "");
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let mut command = Program::configured(folder.path(), &config);
        command
            .env("KEBNE__SERVER__TRUSTED_PROXIES", trusted)
            .env("KEBNE__SERVER__TRUSTED_HEADER", header);
        let program = Program::spawn_with(&mut command, Stdio::from(log));
        let send = |key: &'static str, path: &str, body: &Value| {
            let headers = [("authorization", key), forged[0], forged[1]];
            program.send("POST", path, &headers, body).status
        };
        let call = json!({"model": "m", "messages": [{"role": "user", "content": "a"}]});
        assert_eq!(send("Bearer plain", CHAT, &call), 200);
        assert_eq!(
            send("Bearer operator", "/backends/b/close", &Value::Null),
            200
        );
        let called = lines(&folder.path().join("requests.log"), 1);
        let called: Value = serde_json::from_str(&called[0]).unwrap();
        assert_eq!(called["client"], client, "{trusted} {header}");
        let since = Instant::now();
        let audited = loop {
            let text = fs::read_to_string(folder.path().join("log")).unwrap();
            let line = text.lines().find(|line| line.contains("kebne::audit"));
            if let Some(line) = line {
                break serde_json::from_str::<Value>(line).unwrap();
            }
            assert!(since.elapsed() < Duration::from_secs(20), "{text}");
            std::thread::sleep(Duration::from_millis(10));
        };
        assert_eq!(audited["peer"], client, "{trusted} {header}");
    }
}
