//! `kebne consume` with real brokers: calls are answered, what cannot be answered becomes a dead letter, and each message is answered once although the
//! program is killed, and the broker hangs, is killed and comes back.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, stream};
use kebne_event_bus::{Message, Subscription};
use serde_json::{Value, json};

use crate::{
    brokers::{Broker, Kind, Process, free_port, publish, read_answers, subscribe},
    events::Follower,
    program::{CHAT, Program, folder, send_signal},
};

/// The messages of the test in which the program is killed.
const MESSAGES: u32 = 10_000;
/// The longest time in which all of them must be answered.
const PATIENCE: Duration = Duration::from_mins(5);

/// A backend that answers at once.
const BACKEND: &str = "[[backends]]\nname = \"m\"\nsimulation = {preset = \"instant\"}\n[[models]]\nname = \"m\"\nbackends = [\"m\"]\n";

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap()
}

/// Returns a message; its key is the last letter of its id, so that messages are in several partitions.
fn call(id: &str, body: &Value) -> Message {
    let key = &id[id.len() - 1..];
    Message::new(id, "kebne.calls", key, body.to_string())
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
fn configure(folder: &Path, broker: &Broker, more: &str) -> PathBuf {
    let config = folder.join("kebne.toml");
    fs::write(&config, format!("{}{more}", broker.settings())).unwrap();
    config
}

fn calls_are_answered_and_poison_becomes_dead_letters_with_the_reason(kind: Kind) {
    let (broker, folder) = (Broker::start(kind), folder());
    let config = configure(folder.path(), &broker, BACKEND);
    let program = start(folder.path(), &config);
    runtime().block_on(async {
        let calls = broker.calls().await;
        publish(&*calls, call("good", &chat("a"))).await;
        let event = json!({"specversion": "1.0", "id": "9", "source": "/shop", "type": "ask", "partitionkey": "p", "data": chat("b")});
        publish(&*calls, call("event", &event)).await;
        publish(&*calls, Message::new("junk", "kebne.calls", "k", "junk")).await;
        publish(&*calls, call("unknown", &json!({"model": "none", "messages": []}))).await;
        let answers = read_answers(&broker, 4, Duration::from_mins(2)).await;
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
        assert_eq!((topic.as_str(), key.as_str()), ("kebne.answers", "d"));
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
        .arg(&config);
    (Process::spawn(&mut command), port)
}

fn ten_thousand_calls_to_a_cold_backend_are_answered_once_although_the_program_is_killed(
    kind: Kind,
) {
    let (broker, folder) = (Broker::start(kind), folder());
    let (_simulated, port) = simulated(folder.path());
    let more = format!(
        "[[backends]]\nname = \"m\"\nkind = \"openai\"\nbase_url = \"http://127.0.0.1:{port}/v1\"\n[[models]]\nname = \"m\"\nbackends = [\"m\"]\n"
    );
    let config = configure(folder.path(), &broker, &more);
    let mut program = start(folder.path(), &config);
    runtime().block_on(async {
        let calls = broker.calls().await;
        publish(&*calls, call("0", &chat("0"))).await;
        let all = stream::iter(1..MESSAGES).map(|number| {
            let calls = Arc::clone(&calls);
            let number = number.to_string();
            async move { publish(&*calls, call(&number, &chat(&number))).await }
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
        let answers = read_answers(&broker, MESSAGES as usize, PATIENCE).await;
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
        // The second program has answered the rest, and goes on.
        assert!(program.child.try_wait().unwrap().is_none());
    });
}

fn calls_go_on_while_the_bus_of_events_is_gone_and_the_events_follow(kind: Kind) {
    let (mut broker, folder) = (Broker::start(kind), folder());
    let config = configure(
        folder.path(),
        &broker,
        &format!("{}{BACKEND}", broker.settings_of_events()),
    );
    broker.kill();
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
    broker.restart();
    // A broker takes its time to start, and tries that fail become rare.
    program.await_metric_within("kebne_events_waiting 0.0", PATIENCE);
    program.await_metric("kebne_events_published_total 20");
    program.await_metric("kebne_event_bus_up 1.0");
    runtime().block_on(async {
        let bus = broker.events().await;
        let filter = broker.filter_of_events("call.ended");
        let mut reader = subscribe(&*bus, Subscription::new("reader", filter)).await;
        let since = Instant::now();
        let mut found = Vec::new();
        while found.len() < 20 {
            assert!(since.elapsed() < Duration::from_mins(2), "{}", found.len());
            for one in reader.pull(50, Duration::from_secs(1)).await.unwrap() {
                found.push(one.message.id.clone());
            }
        }
        assert_eq!(found, ids);
    });
}

/// The messages of the test in which the broker fails.
const MESSAGES_OF_FAULTS: u32 = 2000;

fn calls_are_answered_once_although_the_broker_hangs_and_is_killed(kind: Kind) {
    let (mut broker, folder) = (Broker::start(kind), folder());
    let (_simulated, port) = simulated(folder.path());
    let more = format!(
        "[[backends]]\nname = \"m\"\nkind = \"openai\"\nbase_url = \"http://127.0.0.1:{port}/v1\"\n[[models]]\nname = \"m\"\nbackends = [\"m\"]\n"
    );
    let config = configure(folder.path(), &broker, &more);
    let program = start(folder.path(), &config);
    let answered = |program: &Program| {
        let state = program.send("GET", "/state", &[], &Value::Null).json();
        state["consume"]["answered"].as_u64().unwrap()
    };
    runtime().block_on(async {
        let calls = broker.calls().await;
        publish(&*calls, call("0", &chat("0"))).await;
        let all = stream::iter(1..MESSAGES_OF_FAULTS).map(|number| {
            let calls = Arc::clone(&calls);
            let number = number.to_string();
            async move { publish(&*calls, call(&number, &chat(&number))).await }
        });
        all.buffer_unordered(64).for_each(|()| async {}).await;
        let since = Instant::now();
        while answered(&program) < 200 {
            assert!(since.elapsed() < PATIENCE);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        broker.signal("STOP");
        tokio::time::sleep(Duration::from_secs(4)).await;
        // The gateway itself goes on.
        let called = Instant::now();
        assert_eq!(program.send("POST", CHAT, &[], &chat("a")).status, 200);
        assert!(called.elapsed() < Duration::from_secs(2));
        broker.signal("CONT");
        tokio::time::sleep(Duration::from_secs(1)).await;
        broker.kill();
        tokio::time::sleep(Duration::from_secs(2)).await;
        broker.restart();
        let answers = read_answers(&broker, MESSAGES_OF_FAULTS as usize, PATIENCE).await;
        let ids = answers.iter().map(|one| {
            assert_eq!(one.message.topic, "kebne.answers", "{:?}", one.message);
            let id = one.message.id.strip_suffix("/answer").unwrap();
            id.parse::<u32>().unwrap()
        });
        let mut ids: Vec<u32> = ids.collect();
        ids.sort_unstable();
        assert!(ids.into_iter().eq(0..MESSAGES_OF_FAULTS));
    });
}

/// The tests, for one kind of broker.
macro_rules! with_broker {
    ($feature:literal, $module:ident, $kind:expr $(, #[$attribute:meta])?) => {
        #[cfg(feature = $feature)]
        mod $module {
            use crate::brokers::Kind;

            #[test]
            $(#[$attribute])?
            fn calls_are_answered_and_poison_becomes_dead_letters_with_the_reason() {
                super::calls_are_answered_and_poison_becomes_dead_letters_with_the_reason($kind);
            }

            #[test]
            $(#[$attribute])?
            fn ten_thousand_calls_to_a_cold_backend_are_answered_once_although_the_program_is_killed() {
                super::ten_thousand_calls_to_a_cold_backend_are_answered_once_although_the_program_is_killed($kind);
            }

            #[test]
            $(#[$attribute])?
            fn calls_go_on_while_the_bus_of_events_is_gone_and_the_events_follow() {
                super::calls_go_on_while_the_bus_of_events_is_gone_and_the_events_follow($kind);
            }

            #[test]
            $(#[$attribute])?
            fn calls_are_answered_once_although_the_broker_hangs_and_is_killed() {
                super::calls_are_answered_once_although_the_broker_hangs_and_is_killed($kind);
            }
        }
    };
}

with_broker!("nats", nats, Kind::Nats);
with_broker!("kafka", kafka, Kind::Kafka, #[ignore = "it takes the whole machine: scripts/test runs it alone"]);
