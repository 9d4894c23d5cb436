//! `kebne consume` with a real NATS server: calls are answered, what cannot be answered becomes a dead letter, and each message is answered once although
//! the program is killed.

use std::{
    collections::BTreeMap,
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, stream};
use kebne_event_bus::{Delivery, EventBus as _, Message, Subscription};
use kebne_nats::{NatsBus, Options};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    events::Follower,
    program::{CHAT, Program, folder, send_signal},
};

/// The messages of the test in which the program is killed.
const MESSAGES: u32 = 10_000;
/// The longest time in which all of them must be answered.
const PATIENCE: Duration = Duration::from_mins(5);

/// The bytes of each stream. The server reserves them, and several servers share the disk.
const STREAM_BYTES: u64 = 64 << 20;

/// A server that ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A NATS server on a free port.
struct Nats {
    process: Process,
    port: u16,
    program: String,
    folder: TempDir,
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

impl Nats {
    /// Starts a server. The test fails if there is none on this machine.
    fn start() -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/engines/nats");
        let installed = Command::new(script).output().unwrap();
        let said = String::from_utf8_lossy(&installed.stderr).into_owned();
        assert!(installed.status.success(), "scripts/engines/nats: {said}");
        let program = String::from_utf8(installed.stdout).unwrap();
        let program = program.trim().to_owned();
        let (folder, port) = (folder(), free_port());
        let process = run(&program, folder.path(), port);
        Self {
            process,
            port,
            program,
            folder,
        }
    }

    fn kill(&mut self) {
        self.process.0.kill().unwrap();
        self.process.0.wait().unwrap();
    }

    fn restart(&mut self) {
        self.process = run(&self.program, self.folder.path(), self.port);
    }

    async fn bus(&self, stream: &str, subjects: &[&str]) -> NatsBus {
        let options = Options {
            servers: vec![format!("nats://127.0.0.1:{}", self.port)],
            stream: stream.to_owned(),
            subjects: subjects.iter().map(|&subject| subject.to_owned()).collect(),
            duplicate_window: Duration::from_mins(10),
            bytes_max: STREAM_BYTES,
            ..Options::default()
        };
        NatsBus::connect(options).await.unwrap()
    }

    fn settings(&self) -> String {
        format!(
            "[events.nats]\nservers = [\"nats://127.0.0.1:{}\"]\ntimeout = \"2s\"\nbytes_max = \"64MiB\"\n",
            self.port
        )
    }
}

fn run(program: &str, folder: &Path, port: u16) -> Process {
    let mut command = Command::new(program);
    command
        .args(["-js", "-a", "127.0.0.1", "-p", &port.to_string(), "-sd"])
        .arg(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Process(command.spawn().unwrap())
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap()
}

/// Publishes until the server has the message.
async fn publish(bus: &NatsBus, message: Message) {
    let since = Instant::now();
    while let Err(error) = bus.publish(message.clone()).await {
        assert!(since.elapsed() < Duration::from_secs(20), "{error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn call(id: &str, body: &Value) -> Message {
    Message::new(id, "kebne.calls", "k", body.to_string())
}

fn chat(text: &str) -> Value {
    json!({"model": "m", "messages": [{"role": "user", "content": text}]})
}

fn start(folder: &Path, config: &Path) -> Program {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kebne"));
    command
        .args(["consume", "--listen", "127.0.0.1:0", "--config"])
        .arg(config)
        .current_dir(folder)
        .env("KEBNE__SERVER__LAME_DUCK", "0s")
        .stdout(Stdio::piped());
    Program::spawn_with(&mut command, Stdio::null())
}

/// Writes the settings of a gateway in front of a backend.
fn configure(folder: &Path, nats: &Nats, more: &str) -> PathBuf {
    let config = folder.join("kebne.toml");
    fs::write(&config, format!("{}{more}", nats.settings())).unwrap();
    config
}

/// Reads the answers and dead letters until there are `count` of them.
async fn read(nats: &Nats, count: usize, patience: Duration) -> Vec<Delivery> {
    let bus = nats.bus("KEBNE_ANSWERS", &["kebne.answers", "kebne.dead-letters"]);
    let bus = bus.await;
    let since = Instant::now();
    let mut reader = loop {
        let subscription = Subscription {
            unacknowledged_max: 100_000,
            acknowledge_within: PATIENCE * 2,
            ..Subscription::new("reader", "kebne.>")
        };
        match bus.subscribe(subscription).await {
            Ok(reader) => break reader,
            Err(error) => assert!(since.elapsed() < Duration::from_secs(20), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let mut read = Vec::new();
    while read.len() < count {
        assert!(since.elapsed() < patience, "{} of {count}", read.len());
        read.extend(reader.pull(500, Duration::from_secs(1)).await.unwrap());
    }
    // Whatever comes beyond is one too many.
    read.extend(reader.pull(500, Duration::from_secs(1)).await.unwrap());
    read
}

#[test]
fn calls_are_answered_and_poison_becomes_dead_letters_with_the_reason() {
    let (nats, folder) = (Nats::start(), folder());
    let backend = "[[backends]]\nname = \"m\"\nsimulation = {preset = \"instant\"}\n[[models]]\nname = \"m\"\nbackends = [\"m\"]\n";
    let config = configure(folder.path(), &nats, backend);
    let program = start(folder.path(), &config);
    runtime().block_on(async {
        let calls = nats.bus("KEBNE_CALLS", &["kebne.calls"]).await;
        publish(&calls, call("good", &chat("a"))).await;
        let event = json!({"specversion": "1.0", "id": "9", "source": "/shop", "type": "ask", "partitionkey": "p", "data": chat("b")});
        publish(&calls, call("event", &event)).await;
        publish(&calls, Message::new("junk", "kebne.calls", "k", "junk")).await;
        publish(&calls, call("unknown", &json!({"model": "none", "messages": []}))).await;
        let answers = read(&nats, 4, Duration::from_secs(40)).await;
        assert_eq!(answers.len(), 4);
        let found: BTreeMap<String, (String, String, Value)> = answers
            .into_iter()
            .map(|one| {
                let message = one.message;
                let event = serde_json::from_slice(&message.payload).unwrap();
                (message.id, (message.topic, message.key, event))
            })
            .collect();
        let (topic, key, good) = &found["good/answer"];
        assert_eq!((topic.as_str(), key.as_str()), ("kebne.answers", "k"));
        assert_eq!(good["data"]["object"], "chat.completion");
        assert_eq!(good["type"], "kebne.answer.v1");
        let (_, key, event) = &found["/shop#9/answer"];
        assert_eq!((key.as_str(), &event["subject"]), ("p", &json!("/shop#9")));
        for (id, reason, status) in [("junk", "invalid_json", 0), ("unknown", "model_not_found", 404)] {
            let (topic, _, letter) = &found[&format!("{id}/answer")];
            assert_eq!(topic, "kebne.dead-letters");
            assert_eq!(letter["data"]["reason"], reason, "{letter}");
            assert_eq!(letter["data"]["status"], status);
        }
    });
    program.await_metric("kebne_consumed_total{result=\"answered\"} 2");
    program.await_metric("kebne_consumed_total{result=\"dead_letter\"} 2");
}

/// The simulated model server, which outlives the gateway.
fn simulated(folder: &Path) -> (Process, u16) {
    let port = free_port();
    let config = folder.join("simulated.toml");
    let settings = "[simulation]\npreset = \"instant\"\ncold_start = \"4s\"\ncapacity_start = 32\ncapacity = 32\nlatency = \"30ms\"\n";
    fs::write(&config, settings).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_kebne"));
    command
        .args(["simulate", "--port", &port.to_string(), "--config"])
        .arg(&config)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    (Process(command.spawn().unwrap()), port)
}

#[test]
fn ten_thousand_calls_to_a_cold_backend_are_answered_once_although_the_program_is_killed() {
    let (nats, folder) = (Nats::start(), folder());
    let (_simulated, port) = simulated(folder.path());
    let more = format!(
        "[consume]\nacknowledge_within = \"5s\"\n[[backends]]\nname = \"m\"\nkind = \"openai\"\nbase_url = \"http://127.0.0.1:{port}/v1\"\n[[models]]\nname = \"m\"\nbackends = [\"m\"]\n"
    );
    let config = configure(folder.path(), &nats, &more);
    let mut program = start(folder.path(), &config);
    runtime().block_on(async {
        let calls = Arc::new(nats.bus("KEBNE_CALLS", &["kebne.calls"]).await);
        publish(&calls, call("0", &chat("0"))).await;
        let all = stream::iter(1..MESSAGES).map(|number| {
            let calls = Arc::clone(&calls);
            let number = number.to_string();
            async move { publish(&calls, call(&number, &chat(&number))).await }
        });
        all.buffer_unordered(256).for_each(|()| async {}).await;
        // In the middle: some are answered, many are not, and some are in flight.
        let since = Instant::now();
        loop {
            let state = program.send("GET", "/state", &[], &Value::Null).json();
            let consumed = &state["consume"];
            let answered = consumed["answered"].as_u64().unwrap();
            if answered > 1000 && consumed["running"].as_u64().unwrap() > 0 {
                assert!(answered < u64::from(MESSAGES) - 1000, "{consumed}");
                break;
            }
            assert!(since.elapsed() < PATIENCE, "{consumed}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        send_signal("KILL", program.child.id());
        program.child.wait().unwrap();
        program = start(folder.path(), &config);
        let answers = read(&nats, MESSAGES as usize, PATIENCE).await;
        let mut ids: Vec<u32> = answers
            .iter()
            .map(|one| {
                assert_eq!(one.message.topic, "kebne.answers", "{:?}", one.message);
                let id = one.message.id.strip_suffix("/answer").unwrap();
                id.parse().unwrap()
            })
            .collect();
        ids.sort_unstable();
        assert!(ids.into_iter().eq(0..MESSAGES));
    });
    let state = program.send("GET", "/state", &[], &Value::Null).json();
    eprintln!("after the kill: {}", state["consume"]);
}

#[test]
fn calls_go_on_while_the_bus_of_events_is_gone_and_the_events_follow() {
    let (mut nats, folder) = (Nats::start(), folder());
    let more = "[events]\nbus = \"nats\"\n[[backends]]\nname = \"m\"\nsimulation = {preset = \"instant\"}\n[[models]]\nname = \"m\"\nbackends = [\"m\"]\n";
    let config = configure(folder.path(), &nats, more);
    nats.kill();
    let mut program = Program::start_plain(folder.path(), &config);
    let mut follower = Follower::open(&program, "?type=call.ended", "");
    for number in 0..20 {
        let called = Instant::now();
        assert_eq!(program.send("POST", CHAT, &[], &chat("a")).status, 200);
        assert!(called.elapsed() < Duration::from_secs(2), "{number}");
    }
    let ids: Vec<String> = (0..20).map(|_| follower.next().id).collect();
    let state = program.send("GET", "/state", &[], &Value::Null).json();
    assert_eq!(state["events"]["bus"]["published"], 0, "{state}");
    program.await_metric("kebne_events_waiting 20.0");
    // They outlive the process.
    send_signal("KILL", program.child.id());
    program.child.wait().unwrap();
    let program = Program::start_plain(folder.path(), &config);
    nats.restart();
    program.await_metric("kebne_events_waiting 0.0");
    program.await_metric("kebne_events_published_total 20");
    program.await_metric("kebne_event_bus_up 1.0");
    runtime().block_on(async {
        let options = &["kebne.events.>"];
        let bus = nats.bus("KEBNE_EVENTS", options).await;
        let since = Instant::now();
        let mut reader = loop {
            match bus
                .subscribe(Subscription::new("reader", "kebne.events.call.ended.>"))
                .await
            {
                Ok(reader) => break reader,
                Err(error) => assert!(since.elapsed() < Duration::from_secs(20), "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let mut found = Vec::new();
        while found.len() < 20 {
            assert!(since.elapsed() < Duration::from_secs(40), "{}", found.len());
            for one in reader.pull(50, Duration::from_secs(1)).await.unwrap() {
                found.push(one.message.id.clone());
            }
        }
        assert_eq!(found, ids);
    });
}
