//! Sessions and prompts from outside: the real program, called over sockets, killed and started again.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::{
    fmt::Write as _,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
        mpsc,
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

/// The program, with a folder of its own; killed when the test is over.
struct Program {
    child: Child,
    address: SocketAddr,
}

impl Program {
    fn start(folder: &Path, variables: &[(&str, &str)]) -> Self {
        let mut child = Self::command(folder, variables)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut said = String::new();
        let output = child.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut said).unwrap();
        let address = said.trim().strip_prefix("kebne on http://").unwrap();
        let address = address.strip_suffix("/v1").unwrap().parse().unwrap();
        Self { child, address }
    }

    fn command(folder: &Path, variables: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kebne"));
        command
            .args(["serve", "--listen", "127.0.0.1:0"])
            .env("KEBNE__BACKENDS__0__SIMULATION__PRESET", "instant")
            .envs(variables.iter().copied())
            .current_dir(folder)
            .stdout(Stdio::piped());
        command
    }

    fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        self.try_send(method, path, headers, &body).unwrap()
    }

    /// Sends a request; `None` when the program dies before the whole answer is there.
    fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Option<Answer> {
        let mut socket = TcpStream::connect(self.address).ok()?;
        let timeout = Some(Duration::from_mins(1));
        socket.set_read_timeout(timeout).unwrap();
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: kebne\r\nconnection: close\r\n");
        for (name, value) in headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        write!(head, "content-length: {}\r\n\r\n{body}", body.len()).unwrap();
        socket.write_all(head.as_bytes()).ok()?;
        let mut text = String::new();
        socket.read_to_string(&mut text).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        Some(Answer {
            status: head.split(' ').nth(1)?.parse().ok()?,
            head: head.to_lowercase(),
            body: body.to_owned(),
        })
    }

    fn session(&self) -> String {
        let made = self.send("POST", "/v1/sessions", &[], &Value::Null).json();
        made["id"].as_str().unwrap().to_owned()
    }

    fn chat(&self, session: &str, text: &str) -> Answer {
        let body = json!({"model": "simulated", "messages": [{"role": "user", "content": text}]});
        self.send("POST", CHAT, &[(SESSION, session)], &body)
    }

    /// Returns the texts of all messages of a session, with the role's first letter.
    fn texts(&self, session: &str) -> Vec<String> {
        let mut texts = Vec::new();
        let mut after = 0;
        loop {
            let path = format!("/v1/sessions/{session}/turns?limit=100&after={after}");
            let page = self.send("GET", &path, &[], &Value::Null).json();
            for turn in page["data"].as_array().unwrap() {
                after += 1;
                assert_eq!(turn["number"], after);
                for message in turn["messages"].as_array().unwrap() {
                    let role = &message["role"].as_str().unwrap()[..1];
                    texts.push(format!("{role} {}", message["content"].as_str().unwrap()));
                }
            }
            if page["has_more"] == false {
                return texts;
            }
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    fn code(&self) -> (u16, String) {
        let code = self.json()["error"]["code"].as_str().unwrap().to_owned();
        (self.status, code)
    }

    fn has(&self, header: &str) -> bool {
        self.head.lines().any(|line| line == header)
    }
}

const CHAT: &str = "/v1/chat/completions";
const SESSION: &str = "x-kebne-session";

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn a_session_is_made_used_read_changed_and_deleted() {
    let folder = folder();
    let program = Program::start(folder.path(), &[]);
    let wanted = json!({"metadata": {"city": "Kiruna"}, "system_prompt": "Be brief."});
    let made = program.send("POST", "/v1/sessions", &[], &wanted).json();
    let id = made["id"].as_str().unwrap();
    let path = format!("/v1/sessions/{id}");
    assert_eq!(made["metadata"]["city"], "Kiruna");
    assert!(made["expires_at"].as_u64() > made["created_at"].as_u64());

    let whole = program.chat(id, "one");
    assert_eq!(whole.status, 200, "{}", whole.body);
    assert!(whole.has("x-kebne-session-turn: 1"), "{}", whole.head);
    let said = whole.json()["choices"][0]["message"]["content"].clone();
    let body = json!({"model": "simulated", "stream": true, "messages": [{"role": "user", "content": "two"}]});
    let streamed = program.send("POST", CHAT, &[(SESSION, id)], &body);
    assert!(
        streamed.body.contains("data: [DONE]\n\n"),
        "{}",
        streamed.body
    );
    assert!(
        streamed.has("x-kebne-history-turns: 1"),
        "{}",
        streamed.head
    );
    let texts = program.texts(id);
    assert_eq!(texts.len(), 4);
    assert_eq!(
        texts[..3],
        [
            "u one".to_owned(),
            format!("a {}", said.as_str().unwrap()),
            "u two".to_owned()
        ]
    );
    let pieces = streamed
        .body
        .lines()
        .filter_map(|line| line.strip_prefix("data: {"));
    let pieces = pieces.map(|rest| serde_json::from_str::<Value>(&format!("{{{rest}")).unwrap());
    let text: String = pieces
        .filter_map(|piece| {
            piece["choices"][0]["delta"]["content"]
                .as_str()
                .map(str::to_owned)
        })
        .collect();
    assert_eq!(texts[3], format!("a {text}"));

    let read = program.send("GET", &path, &[], &Value::Null).json();
    assert_eq!(read["turns"], 2);
    assert!(read["tokens"].as_u64().unwrap() > 10);
    let change = json!({"metadata": {"city": "Luleå"}, "system_prompt": null});
    let changed = program.send("POST", &path, &[], &change).json();
    assert_eq!(changed["metadata"], json!({"city": "Luleå"}));
    assert_eq!(changed["system_prompt"], Value::Null);
    let listed = program
        .send("GET", "/v1/sessions", &[], &Value::Null)
        .json();
    assert_eq!(listed["data"], json!([changed]));
    let deleted = program.send("DELETE", &path, &[], &Value::Null).json();
    assert_eq!(deleted["deleted"], true);
    for answer in [
        program.send("GET", &path, &[], &Value::Null),
        program.chat(id, "three"),
    ] {
        assert_eq!(answer.code(), (404, "session_not_found".to_owned()));
    }
}

#[test]
fn what_is_wrong_is_told_by_its_field() {
    let folder = folder();
    let variables = [
        ("KEBNE__CONTEXT__SESSIONS_MAX", "2"),
        ("KEBNE__CONTEXT__TURNS_MAX", "1"),
        ("KEBNE__CONTEXT__TURN_SIZE_MAX", "1KiB"),
    ];
    let program = Program::start(folder.path(), &variables);
    for (body, param) in [
        (json!({"metadata": {"a": 1}}), json!("metadata")),
        (json!({"metadata": "a"}), json!("metadata")),
        (
            json!({"metadata": {"a": "x".repeat(513)}}),
            json!("metadata"),
        ),
        (json!({"system_prompt": 7}), json!("system_prompt")),
        (json!({"prompt": "nope"}), json!("prompt")),
        (json!({"colour": "red"}), json!("colour")),
        (json!([]), Value::Null),
    ] {
        let answer = program.send("POST", "/v1/sessions", &[], &body);
        assert_eq!(answer.status, 400, "{body}");
        assert_eq!(answer.json()["error"]["param"], param, "{body}");
    }
    let (first, second) = (program.session(), program.session());
    let full = program.send("POST", "/v1/sessions", &[], &Value::Null);
    assert_eq!(full.code(), (429, "too_many_sessions".to_owned()));
    assert!(full.has("x-should-retry: false"), "{}", full.head);
    assert_eq!(program.chat(&first, "a").status, 200);
    let full = program.chat(&first, "b");
    assert_eq!(full.code(), (409, "session_full".to_owned()));
    let large = program.chat(&second, &"x".repeat(2000));
    assert_eq!(large.json()["error"]["param"], "messages");
    let two = json!({"model": "simulated", "n": 2, "messages": [{"role": "user", "content": "a"}]});
    let two = program.send("POST", CHAT, &[(SESSION, &second)], &two);
    assert_eq!(two.json()["error"]["param"], "n");
    let embed = json!({"model": "simulated", "input": "a"});
    let embed = program.send("POST", "/v1/embeddings", &[(SESSION, &second)], &embed);
    assert_eq!(embed.json()["error"]["param"], SESSION);
    for query in [
        "limit=0",
        "limit=101",
        "limit=x",
        "colour=red",
        "after=none",
    ] {
        let path = format!("/v1/sessions/{first}/turns?{query}");
        let answer = program.send("GET", &path, &[], &Value::Null);
        assert_eq!(answer.status, 400, "{query}");
    }
    assert_eq!(program.texts(&second), Vec::<String>::new());
}

#[test]
fn a_session_belongs_to_the_key_that_made_it() {
    let folder = folder();
    let hash = |key: &str| kebne::cli::key::hash(key);
    let config = folder.path().join("kebne.toml");
    let keys = ["ann", "bob"].map(|name| {
        let hash = hash(&format!("key-of-{name}"));
        format!("[[server.keys]]\nname = \"{name}\"\nhash = \"{hash}\"\n")
    });
    let backend = "[[backends]]\nname = \"simulated\"\nsimulation = { preset = \"instant\" }\n";
    fs::write(&config, keys.concat() + backend).unwrap();
    let program = Program::start_plain(folder.path(), &config);
    let (ann, bob) = (
        [("authorization", "Bearer key-of-ann")],
        [("authorization", "Bearer key-of-bob")],
    );
    let nobody = program.send("POST", "/v1/sessions", &[], &Value::Null);
    assert_eq!(nobody.status, 401);
    let made = program
        .send("POST", "/v1/sessions", &ann, &Value::Null)
        .json();
    let id = made["id"].as_str().unwrap();
    let path = format!("/v1/sessions/{id}");
    let message = json!({"model": "simulated", "messages": [{"role": "user", "content": "a"}]});
    let turns = format!("{path}/turns");
    for (method, path, body) in [
        ("GET", path.as_str(), Value::Null),
        ("POST", &path, json!({"system_prompt": "mine"})),
        ("DELETE", &path, Value::Null),
        ("GET", &turns, Value::Null),
        ("POST", CHAT, message),
    ] {
        let headers = [bob[0], (SESSION, id)];
        let answer = program.send(method, path, &headers, &body);
        assert_eq!(
            answer.code(),
            (404, "session_not_found".to_owned()),
            "{method} {path}"
        );
    }
    let of_bob = program
        .send("GET", "/v1/sessions", &bob, &Value::Null)
        .json();
    assert_eq!(of_bob["data"], json!([]));
    assert_eq!(program.send("GET", &path, &ann, &Value::Null).status, 200);
}

/// A model server that tells what it was asked and answers what the test wants.
fn upstream(answer: impl Fn(usize) -> String + Send + 'static) -> (String, mpsc::Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let (asked, requests) = mpsc::channel();
    std::thread::spawn(move || {
        for (number, socket) in listener.incoming().enumerate() {
            let mut socket = socket.unwrap();
            let mut reader = BufReader::new(socket.try_clone().unwrap());
            let mut length = 0;
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                if line.trim().is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            if asked.send(serde_json::from_slice(&body).unwrap()).is_err() {
                return;
            }
            socket.write_all(answer(number).as_bytes()).ok();
        }
    });
    (url, requests)
}

fn whole(text: &str) -> String {
    let message = json!({"role": "assistant", "content": text, "refusal": null});
    let body = json!({"id": "1", "object": "chat.completion", "choices": [
        {"index": 0, "message": message, "finish_reason": "stop"}
    ]});
    let body = body.to_string();
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

fn in_front_of(folder: &Path, url: &str, more: &str) -> Program {
    let config = folder.join("kebne.toml");
    let text = format!(
        "[context]\ntokens_max = 60\n[[backends]]\nname = \"simulated\"\nkind = \"openai\"\nbase_url = \"{url}\"\n{more}"
    );
    fs::write(&config, text).unwrap();
    Program::start_plain(folder, &config)
}

impl Program {
    /// Starts without the simulated backend's settings.
    fn start_plain(folder: &Path, config: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_kebne"))
            .args(["serve", "--listen", "127.0.0.1:0", "--config"])
            .arg(config)
            .current_dir(folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut said)
            .unwrap();
        let address = said.trim().strip_prefix("kebne on http://").unwrap();
        let address = address.strip_suffix("/v1").unwrap().parse().unwrap();
        Self { child, address }
    }
}

fn asked(requests: &mpsc::Receiver<Value>) -> Vec<String> {
    let request = requests.recv_timeout(Duration::from_secs(30)).unwrap();
    let messages = request["messages"].as_array().unwrap();
    let texts = messages.iter().map(|message| {
        let role = &message["role"].as_str().unwrap()[..1];
        format!("{role} {}", message["content"].as_str().unwrap())
    });
    texts.collect()
}

#[test]
fn the_model_gets_the_system_prompt_the_history_that_fits_and_the_new_message() {
    let folder = folder();
    let (url, requests) = upstream(|number| whole(&format!("answer {number}")));
    let program = in_front_of(folder.path(), &url, "");
    let wanted = json!({"system_prompt": "Be brief."});
    let made = program.send("POST", "/v1/sessions", &[], &wanted).json();
    let id = made["id"].as_str().unwrap();
    assert_eq!(program.chat(id, "first").status, 200);
    assert_eq!(asked(&requests), ["s Be brief.", "u first"]);
    assert_eq!(program.chat(id, "second").status, 200);
    let expected = ["s Be brief.", "u first", "a answer 0", "u second"];
    assert_eq!(asked(&requests), expected);
    let long = "word ".repeat(35);
    let trimmed = program.chat(id, &long);
    assert!(trimmed.has("x-kebne-history-turns: 1"), "{}", trimmed.head);
    assert!(
        trimmed.has("x-kebne-history-left-out: 1"),
        "{}",
        trimmed.head
    );
    let sent = asked(&requests);
    assert_eq!(sent[..3], ["s Be brief.", "u second", "a answer 1"]);
    assert_eq!(sent[3], format!("u {long}"));
    // Instructions of the call's own stand in place of the session's, and are not kept.
    let body = json!({"model": "simulated", "messages": [
        {"role": "system", "content": "Sing."}, {"role": "user", "content": "x"}
    ]});
    assert_eq!(
        program.send("POST", CHAT, &[(SESSION, id)], &body).status,
        200
    );
    let sent = asked(&requests);
    assert!(sent.contains(&"s Sing.".to_owned()), "{sent:?}");
    assert!(!sent.contains(&"s Be brief.".to_owned()), "{sent:?}");
    assert_eq!(program.texts(id)[6..], ["u x", "a answer 3"]);
}

#[test]
fn a_cut_stream_keeps_nothing_and_a_clean_one_is_kept_before_its_end() {
    let folder = folder();
    let (url, _requests) = upstream(|number| {
        let head =
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
        let piece = |text: &str| {
            let chunk =
                json!({"choices": [{"index": 0, "delta": {"role": "assistant", "content": text}}]});
            format!("data: {chunk}\n\n")
        };
        let stop = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]});
        let end = format!("data: {stop}\n\ndata: [DONE]\n\n");
        let end = if number == 0 { "" } else { end.as_str() };
        format!("{head}{}{}{end}", piece("He"), piece("j"))
    });
    let program = in_front_of(folder.path(), &url, "");
    let id = program.session();
    let body = json!({"model": "simulated", "stream": true, "messages": [{"role": "user", "content": "a"}]});
    let cut = program.send("POST", CHAT, &[(SESSION, &id)], &body);
    assert!(
        cut.body.contains("\"error\"") && !cut.body.contains("[DONE]"),
        "{}",
        cut.body
    );
    assert_eq!(program.texts(&id), Vec::<String>::new());
    let clean = program.send("POST", CHAT, &[(SESSION, &id)], &body);
    assert!(clean.body.contains("data: [DONE]\n\n"), "{}", clean.body);
    assert_eq!(program.texts(&id), ["u a", "a Hej"]);
}

#[test]
fn prompts_are_previewed_and_lead_calls() {
    let folder = folder();
    let (url, requests) = upstream(|_| whole("yes"));
    let prompt = "[[prompts]]\nname = \"guide\"\n\
        template = \"You know {{ session.city }}. {{ request.user }} asks: {{ input }}\"\n";
    let program = in_front_of(folder.path(), &url, prompt);
    let wanted = json!({"prompt": "guide", "metadata": {"city": "Kiruna"}});
    let made = program.send("POST", "/v1/sessions", &[], &wanted).json();
    let id = made["id"].as_str().unwrap();
    let render = "/v1/prompts/guide/render";
    let body = json!({"session": id, "request": {"user": "ann"}, "input": "why?"});
    let text = program.send("POST", render, &[], &body).json();
    assert_eq!(text["text"], "You know Kiruna. ann asks: why?");
    let undefined = program.send("POST", render, &[], &json!({"input": "why?"}));
    assert_eq!(undefined.code(), (400, "prompt_failed".to_owned()));
    assert!(
        undefined.body.contains("request.user, session.city"),
        "{}",
        undefined.body
    );
    let unknown = program.send("POST", "/v1/prompts/nope/render", &[], &Value::Null);
    assert_eq!(unknown.code(), (404, "prompt_not_found".to_owned()));
    let listed = program.send("GET", "/v1/prompts", &[], &Value::Null).json();
    assert_eq!(
        listed["data"][0]["variables"],
        json!(["input", "request.user", "session.city"])
    );

    let message = |user: &str| json!({"model": "simulated", "user": user, "messages": [{"role": "user", "content": "why?"}]});
    let answered = program.send("POST", CHAT, &[(SESSION, id)], &message("ann"));
    assert_eq!(answered.status, 200, "{}", answered.body);
    assert_eq!(
        asked(&requests),
        ["s You know Kiruna. ann asks: why?", "u why?"]
    );
    // Without a session the prompt's name comes with the call, and what it needs of a session is missing.
    let alone = program.send(
        "POST",
        CHAT,
        &[("x-kebne-prompt", "guide")],
        &message("ann"),
    );
    assert_eq!(alone.code(), (400, "prompt_failed".to_owned()));
    assert!(alone.body.contains("session.city"), "{}", alone.body);
}

#[test]
fn a_wrong_key_and_a_damaged_file_stop_the_start_with_the_reason() {
    let folder = folder();
    let (right, wrong) = ("a".repeat(64), "b".repeat(64));
    let program = Program::start(folder.path(), &[("KEBNE_CONTEXT_KEY", &right)]);
    let id = program.session();
    assert_eq!(program.chat(&id, "secret").status, 200);
    drop(program);
    let refused = |variables: &[(&str, &str)]| {
        let ended = Program::command(folder.path(), variables).output().unwrap();
        assert_ne!(ended.status.code(), Some(0));
        String::from_utf8(ended.stderr).unwrap()
    };
    let said = refused(&[("KEBNE_CONTEXT_KEY", &wrong)]);
    assert!(said.contains("the key is not the one"), "{said}");
    let said = refused(&[]);
    assert!(said.contains("encrypted, and no key is set"), "{said}");
    let said = refused(&[("KEBNE_CONTEXT_KEY", "abc")]);
    assert!(
        said.contains("KEBNE_CONTEXT_KEY") && said.contains("64"),
        "{said}"
    );
    let program = Program::start(folder.path(), &[("KEBNE_CONTEXT_KEY", &right)]);
    assert_eq!(program.texts(&id)[0], "u secret");
    drop(program);
    fs::write(
        folder.path().join("kebne-data/sessions.sqlite"),
        "no database at all",
    )
    .unwrap();
    let said = refused(&[("KEBNE_CONTEXT_KEY", &right)]);
    assert!(
        said.contains("context.path") && said.contains("damaged"),
        "{said}"
    );
}

/// Callers that talk at once while the program is killed.
const CALLERS: usize = 6;

#[test]
fn every_acknowledged_turn_is_there_after_kill_9() {
    let folder = folder();
    let program = Program::start(folder.path(), &[]);
    let ids: Vec<String> = (0..CALLERS).map(|_| program.session()).collect();
    let acknowledged: Vec<Mutex<usize>> = ids.iter().map(|_| Mutex::new(0)).collect();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for (id, acknowledged) in ids.iter().zip(&acknowledged) {
            let (program, over) = (&program, &over);
            scope.spawn(move || {
                for number in 0.. {
                    let stream = number % 2 == 1;
                    let text = format!("turn {number}");
                    let body = json!({"model": "simulated", "stream": stream, "messages": [{"role": "user", "content": text}]});
                    let answer = program.try_send("POST", CHAT, &[(SESSION, id)], &body.to_string());
                    let whole = answer.filter(|answer| {
                        let ended = !stream || answer.body.contains("data: [DONE]\n\n");
                        // A body that was cut by the kill has no end.
                        answer.status == 200 && ended && (stream || serde_json::from_str::<Value>(&answer.body).is_ok())
                    });
                    if whole.is_none() || over.load(SeqCst) {
                        *acknowledged.lock().unwrap() += usize::from(whole.is_some());
                        return;
                    }
                    *acknowledged.lock().unwrap() += 1;
                }
            });
        }
        let enough = || acknowledged.iter().all(|count| *count.lock().unwrap() >= 5);
        let since = Instant::now();
        while !enough() {
            assert!(since.elapsed() < Duration::from_mins(1), "no progress");
            std::thread::sleep(Duration::from_millis(5));
        }
        let pid = program.child.id().to_string();
        let killed = Command::new("kill").args(["-9", &pid]).status();
        assert!(killed.unwrap().success());
        over.store(true, SeqCst);
    });
    drop(program);
    let program = Program::start(folder.path(), &[]);
    for (id, acknowledged) in ids.iter().zip(acknowledged) {
        let acknowledged = acknowledged.into_inner().unwrap();
        let texts = program.texts(id);
        let asked: Vec<&String> = texts.iter().step_by(2).collect();
        assert!(
            asked.len() >= acknowledged,
            "{} < {acknowledged}",
            asked.len()
        );
        // The one turn that was kept and not yet acknowledged when the end came may be there too.
        assert!(asked.len() <= acknowledged + 1);
        for (number, text) in asked.iter().enumerate() {
            assert_eq!(**text, format!("u turn {number}"));
        }
        let kept = texts.iter().skip(1).step_by(2);
        assert!(
            kept.clone().count() == asked.len() && kept.clone().all(|text| text.starts_with("a "))
        );
    }
}
