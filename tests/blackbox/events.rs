//! The events that the program emits, as a follower sees them.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    time::Duration,
};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::program::{CHAT, Program, SESSION, folder};

/// A follower of `GET /events`.
pub(crate) struct Follower {
    lines: BufReader<TcpStream>,
}

/// One event that a follower has seen.
pub(crate) struct Seen {
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) event: Value,
}

impl Follower {
    pub(crate) fn open(program: &Program, query: &str, headers: &str) -> Self {
        let mut socket = TcpStream::connect(program.address).unwrap();
        let timeout = Some(Duration::from_secs(30));
        socket.set_read_timeout(timeout).unwrap();
        write!(
            socket,
            "GET /events{query} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n"
        )
        .unwrap();
        let mut follower = Self {
            lines: BufReader::new(socket),
        };
        // What is emitted from now on is seen.
        while follower.line() != "retry: 1000" {}
        follower
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(
            self.lines.read_line(&mut line).unwrap() > 0,
            "the stream has ended"
        );
        line.trim_end().to_owned()
    }

    /// Returns the next event.
    pub(crate) fn next(&mut self) -> Seen {
        let (mut id, mut kind) = (String::new(), String::new());
        loop {
            let line = self.line();
            if let Some(found) = line.strip_prefix("id: ") {
                found.clone_into(&mut id);
            } else if let Some(found) = line.strip_prefix("event: ") {
                found.clone_into(&mut kind);
            } else if let Some(data) = line.strip_prefix("data: ") {
                let event = serde_json::from_str(data).unwrap();
                return Seen { id, kind, event };
            }
        }
    }
}

fn chat(program: &Program, headers: &[(&str, &str)]) -> u16 {
    let body = json!({"model": "simulated", "messages": [{"role": "user", "content": "a"}]});
    program.send("POST", CHAT, headers, &body).status
}

#[test]
fn a_call_a_session_and_a_refusal_are_events_with_their_schemas() {
    let folder = folder();
    let program = Program::start(folder.path(), &[]);
    let mut follower = Follower::open(&program, "", "");
    let session = program.session();
    let created = follower.next();
    assert_eq!(created.kind, "kebne.session.changed.v1");
    assert_eq!(created.event["data"]["change"], "created");
    assert_eq!(created.event["subject"], *session);
    assert_eq!(
        chat(
            &program,
            &[(SESSION, &session), ("x-request-id", "req-of-mine")]
        ),
        200
    );
    let kinds: Vec<Seen> = (0..2).map(|_| follower.next()).collect();
    let [turn, ended] = &kinds[..] else { panic!() };
    assert_eq!(turn.event["data"]["change"], "turn_added");
    assert_eq!(turn.event["data"]["turn"], 1);
    assert_eq!(ended.kind, "kebne.call.ended.v1");
    let event = &ended.event;
    assert_eq!(event["specversion"], "1.0");
    assert_eq!(event["type"], "kebne.call.ended.v1");
    assert_eq!(event["source"], "/kebne");
    assert_eq!(event["session"], *session);
    assert_eq!(event["dataschema"], "urn:kebne:event:call.ended:1");
    assert_eq!(event["data"]["ending"], "success");
    assert_eq!(event["data"]["status"], 200);
    assert_eq!(event["data"]["model"], "simulated");
    assert!(event["data"]["output_tokens"].as_u64().unwrap() > 0);
    let unknown = json!({"model": "unknown", "messages": []});
    assert_eq!(program.send("POST", CHAT, &[], &unknown).status, 404);
    let refused = follower.next();
    assert_eq!(refused.event["data"]["ending"], "rejected");
    assert!(
        !refused.event.to_string().contains("\"unknown\""),
        "a name of the caller"
    );
    assert_ne!(refused.id, ended.id);
    // One that comes again gets what it has missed.
    let last = format!("last-event-id: {}\r\n", turn.id);
    let mut again = Follower::open(&program, "?type=call.ended", &last);
    assert_eq!(again.next().id, ended.id);
    assert_eq!(again.next().id, refused.id);
    program.await_metric("kebne_events_total{type=\"call.ended\"} 2");
    let state = program.send("GET", "/state", &[], &Value::Null).json();
    assert_eq!(state["events"]["emitted"]["session.changed"], 2);
    assert_eq!(state["events"]["lost"], 0);
}

#[test]
fn costs_verdicts_and_routes_are_events() {
    let folder = folder();
    let config = folder.path().join("kebne.toml");
    let settings = "[cost]\ncurrency = \"EUR\"\n\
        [[backends]]\nname = \"simulated\"\nsimulation = {preset = \"instant\"}\n\
        [[models]]\nname = \"simulated\"\nbackends = [\"simulated\"]\nprice = {input = 1, output = 2}\nguards = [\"words\"]\n\
        [[routes]]\nname = \"chat\"\ndefault = \"simulated\"\n\
        [[guards]]\nname = \"words\"\n[[guards.rules]]\nname = \"secret\"\nregex = \"xyzzy\"\naction = \"mask\"\n";
    fs::write(&config, settings).unwrap();
    let program = Program::start_plain(folder.path(), &config);
    let mut follower = Follower::open(&program, "", "");
    let body = json!({"model": "chat", "messages": [{"role": "user", "content": "say xyzzy"}]});
    let answer = program.send("POST", CHAT, &[], &body);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let seen: Vec<Seen> = (0..4).map(|_| follower.next()).collect();
    let kinds: Vec<&str> = seen.iter().map(|seen| seen.kind.as_str()).collect();
    assert_eq!(
        kinds,
        [
            "kebne.route.decided.v1",
            "kebne.guard.verdict.v1",
            "kebne.call.ended.v1",
            "kebne.call.cost.v1"
        ]
    );
    assert_eq!(seen[0].event["data"]["route"], "chat");
    assert_eq!(seen[1].event["data"]["action"], "mask");
    assert_eq!(seen[3].event["data"]["currency"], "EUR");
    assert!(seen[3].event["data"]["cost_nano"].as_u64().unwrap() > 0);
    for seen in &seen {
        assert!(!seen.event.to_string().contains("xyzzy"));
        assert_eq!(seen.event["data"]["request"], seen.event["subject"]);
    }
}

#[test]
fn a_tenant_sees_its_own_events_and_an_operator_all() {
    let folder = folder();
    let config = folder.path().join("kebne.toml");
    let hash = |key: &str| hex::encode(Sha256::digest(key));
    let key = |name: &str, scopes: &str| {
        let hash = hash(name);
        format!("[[server.keys]]\nname = \"{name}\"\nhash = \"{hash}\"\nscopes = [{scopes}]\n")
    };
    let settings = format!(
        "{}{}{}[[backends]]\nname = \"simulated\"\nsimulation = {{preset = \"instant\"}}\n",
        key("ann", "\"call\""),
        key("bob", "\"call\""),
        key("eve", "\"read_state\""),
    );
    fs::write(&config, settings).unwrap();
    let program = Program::start_plain(folder.path(), &config);
    let without = program.send("GET", "/events", &[], &Value::Null);
    assert_eq!(without.code(), (401, "invalid_api_key".to_owned()));
    let bearer = |name: &str| format!("authorization: Bearer {name}\r\n");
    let mut ann = Follower::open(&program, "", &bearer("ann"));
    let mut eve = Follower::open(&program, "", &bearer("eve"));
    let mut only_bob = Follower::open(&program, "?tenant=bob", &bearer("eve"));
    for name in ["bob", "ann"] {
        let bearer = format!("Bearer {name}");
        assert_eq!(chat(&program, &[("authorization", &bearer)]), 200);
    }
    assert_eq!(ann.next().event["tenant"], "ann");
    assert_eq!(eve.next().event["tenant"], "bob");
    assert_eq!(eve.next().event["tenant"], "ann");
    assert_eq!(only_bob.next().event["tenant"], "bob");
    let bearer = [("authorization", "Bearer ann")];
    let other = program.send("GET", "/events?tenant=bob", &bearer, &Value::Null);
    assert_eq!(other.code(), (403, "insufficient_scope".to_owned()));
    let unknown = program.send("GET", "/events?type=call.begun", &bearer, &Value::Null);
    assert_eq!(unknown.status, 400);
}

#[test]
fn without_events_nothing_is_emitted() {
    let folder = folder();
    let off = [("KEBNE__EVENTS__ENABLED", "false")];
    let program = Program::start(folder.path(), &off);
    assert_eq!(chat(&program, &[]), 200);
    let refused = program.send("GET", "/events", &[], &Value::Null);
    assert_eq!(refused.status, 404);
    let state = program.send("GET", "/state", &[], &Value::Null).json();
    assert_eq!(state["events"]["emitted"]["call.ended"], 0);
}
