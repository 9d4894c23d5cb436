//! Runs that callers wait for: their errors, their end with the caller and with the process, their places, and what their calls keep.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::{Mutex, mpsc},
};

use super::{
    AMPLE, Arc, AtomicUsize, Duration, HELPER, Instant, Path, SeqCst, Value, asking, call, chat,
    fs, get, json, model, post, results, say, start, thread, until, with_keys,
};
use crate::{
    functions::function_that,
    guards::http,
    program::{Answer, CHAT, Program, folder},
    upstream::read_parts,
};

const QUICK: [(&str, &str); 1] = [("x-kebne-deadline-ms", "20000")];

fn runs_of(program: &Program, agent: &str) -> Vec<Value> {
    let page = get(program, &format!("/v1/agents/{agent}/runs?limit=100"));
    page.json()["data"].as_array().unwrap().clone()
}

/// Waits until no run of an agent goes on; returns the endings of all.
fn endings(program: &Program, agent: &str) -> Vec<String> {
    let since = Instant::now();
    while runs_of(program, agent)
        .iter()
        .any(|run| run["status"] != "ended")
    {
        assert!(since.elapsed() < AMPLE, "{:?}", runs_of(program, agent));
        thread::sleep(Duration::from_millis(50));
    }
    let runs = runs_of(program, agent);
    let ending = |run: &Value| {
        let place = format!("/v1/agents/{agent}/runs/{}", run["id"].as_str().unwrap());
        get(program, &place).json()["ending"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    runs.iter().map(ending).collect()
}

#[test]
fn an_error_of_an_agent_names_its_run_on_every_surface() {
    let folder = folder();
    let (url, _calls) = asking();
    let program = start(folder.path(), &url, HELPER);
    let none = json!({});
    let messages = json!({"model": "helper", "max_tokens": 99, "messages": [{"role": "user", "content": "Hello."}]});
    let response = json!({"model": "helper", "input": "Hello."});
    for (path, body) in [
        (CHAT, chat("helper", &none)),
        (CHAT, chat("helper", &json!({"stream": true}))),
        ("/v1/messages", messages),
        ("/v1/responses", response),
    ] {
        let since = Instant::now();
        let answer = post(&program, path, &body);
        // The caller learns at once that the run waits.
        assert!(since.elapsed() < Duration::from_secs(4), "{path}");
        assert_eq!(answer.status, 422, "{path}: {}", answer.body);
        assert_eq!(
            answer.header("x-kebne-reason"),
            Some("agent_without_answer"),
            "{path}"
        );
        let run = answer.header("x-kebne-run").unwrap();
        assert!(answer.body.contains(&format!("`{run}`")), "{}", answer.body);
        let place = format!("/v1/agents/helper/runs/{run}");
        assert_eq!(get(&program, &place).json()["status"], "waiting");
        if path == CHAT {
            let error = &answer.json()["error"];
            assert_eq!(
                (&error["run"], &error["ending"]),
                (&json!(run), &json!("waiting"))
            );
        }
    }
    let refused = post(&program, CHAT, &chat("helper", &json!({"n": 2})));
    assert_eq!(refused.header("x-kebne-reason"), Some("agent_refused"));
    // What waits goes on without its caller once a human has decided.
    let run = runs_of(&program, "helper")[0]["id"].clone();
    let place = format!("/v1/agents/helper/runs/{}", run.as_str().unwrap());
    let waits = get(&program, &place).json();
    let decide = format!(
        "{place}/approvals/{}",
        waits["waiting"][0]["call"].as_str().unwrap()
    );
    post(
        &program,
        &decide,
        &json!({"approve": true, "answer": "Red."}),
    );
    assert_eq!(until(&program, &place, "ended")["ending"], "completed");
}

#[test]
fn a_caller_that_leaves_at_any_moment_leaves_no_run_behind() {
    let folder = folder();
    let (url, _calls) = model(Duration::from_secs(5), |_| say("late"));
    let program = start(
        folder.path(),
        &url,
        "[[agents]]\nname = \"slow\"\nmodel = \"m\"\n",
    );
    let body = chat("slow", &json!({})).to_string();
    for wait in 0..40_u64 {
        let mut socket = TcpStream::connect(program.address).unwrap();
        let head = format!(
            "POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        socket.write_all(head.as_bytes()).unwrap();
        thread::sleep(Duration::from_micros(300 * wait));
        drop(socket);
    }
    let since = Instant::now();
    let all = endings(&program, "slow");
    assert!(since.elapsed() < Duration::from_secs(4), "{all:?}");
    assert!(all.iter().all(|ending| ending == "cancelled"), "{all:?}");
}

/// Calls a function that must not be repeated, and then says so.
fn acting(time: Duration) -> (String, Arc<AtomicUsize>) {
    model(time, |request| match results(request).first() {
        Some(_) => say("acted"),
        None => call("act", &json!({})),
    })
}

fn acts(function: &str, more: &str) -> String {
    format!(
        "[[functions]]\nname = \"act\"\nurl = \"{function}\"\n[[agents]]\nname = \"actor\"\nmodel = \"m\"\ntools = [\"act\"]\n{more}"
    )
}

/// A function that takes a time; what it was asked is sent along at once.
fn slow_function(time: Duration) -> (String, mpsc::Receiver<crate::functions::Asked>) {
    function_that(move |_, socket| {
        thread::sleep(time);
        socket.write_all(http("application/json", "{}").as_bytes())
    })
}

#[test]
fn an_admitted_run_ends_within_the_drain() {
    let folder = folder();
    let (url, calls) = acting(Duration::from_millis(300));
    let (function, _asked) = slow_function(Duration::from_secs(1));
    let mut program = start(folder.path(), &url, &acts(&function, ""));
    let (answer, exit) = thread::scope(|scope| {
        let address = program.address;
        let caller = scope.spawn(move || send_to(address, CHAT, &chat("actor", &json!({}))));
        while calls.load(SeqCst) == 0 {
            thread::sleep(Duration::from_millis(10));
        }
        thread::sleep(Duration::from_millis(500));
        let exit = program.terminate();
        (caller.join().unwrap(), exit)
    });
    assert!(
        answer.contains("200 OK") && answer.contains("acted"),
        "{answer}"
    );
    assert_eq!(exit, Some(0));
}

fn send_to(address: std::net::SocketAddr, path: &str, body: &Value) -> String {
    let mut socket = TcpStream::connect(address).unwrap();
    let body = body.to_string();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    socket.write_all(head.as_bytes()).unwrap();
    socket.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    // A process that was killed answers nothing.
    socket.read_to_string(&mut answer).ok();
    answer
}

#[test]
fn a_call_that_may_have_had_effects_is_not_to_be_made_again_after_a_stop() {
    let folder = folder();
    let (url, _calls) = acting(Duration::ZERO);
    let (function, asked) = slow_function(Duration::from_secs(20));
    let more = acts(&function, "[server]\ndrain_deadline = \"1s\"\n");
    let mut program = start(folder.path(), &url, &more);
    let answer = thread::scope(|scope| {
        let address = program.address;
        let caller = scope.spawn(move || send_to(address, CHAT, &chat("actor", &json!({}))));
        asked.recv_timeout(AMPLE).unwrap();
        program.terminate();
        caller.join().unwrap()
    });
    assert!(
        answer.contains("503") && answer.contains("x-should-retry: false"),
        "{answer}"
    );
    assert!(!answer.contains("retry-after"), "{answer}");
}

#[test]
fn a_killed_process_takes_the_run_of_a_chat_with_it() {
    let folder = folder();
    let (url, calls) = acting(Duration::ZERO);
    let (function, asked) = slow_function(Duration::from_secs(3));
    let more = acts(&function, "");
    let mut program = start(folder.path(), &url, &more);
    thread::scope(|scope| {
        let address = program.address;
        scope.spawn(move || send_to(address, CHAT, &chat("actor", &json!({}))));
        asked.recv_timeout(AMPLE).unwrap();
        program.signal("KILL");
        program.child.wait().unwrap();
    });
    let program = start(folder.path(), &url, &more);
    assert_eq!(endings(&program, "actor"), ["cancelled"]);
    assert_eq!(calls.load(SeqCst), 1);
}

#[test]
fn a_job_whose_model_is_an_agent_continues_its_run_after_a_kill() {
    let folder = folder();
    let (url, _calls) = acting(Duration::from_secs(1));
    let (function, asked) = slow_function(Duration::ZERO);
    let more = acts(&function, "[jobs]\nlease = \"1s\"\n");
    let mut program = start(folder.path(), &url, &more);
    let body = chat("actor", &json!({}));
    let job = program.send("POST", CHAT, &[("prefer", "respond-async")], &body);
    assert_eq!(job.status, 202, "{}", job.body);
    let place = job.header("location").unwrap().to_owned();
    asked.recv_timeout(AMPLE).unwrap();
    program.signal("KILL");
    program.child.wait().unwrap();
    let program = start(folder.path(), &url, &more);
    let done = until(&program, &place, "succeeded");
    assert!(done["id"].is_string(), "{done}");
    let runs = runs_of(&program, "actor");
    assert_eq!(runs.len(), 1, "{runs:?}");
    assert_eq!(endings(&program, "actor"), ["completed"]);
    assert_eq!(asked.try_iter().count(), 0);
}

#[test]
fn a_tenant_with_all_its_runs_is_refused_at_once_and_alone() {
    let folder = folder();
    let (url, _calls) = asking();
    let more = with_keys(HELPER).replace(
        "[[agents]]",
        "open_max = 2\n[[agents]]\nname = \"plain\"\nmodel = \"e\"\n[[agents]]",
    );
    let (echo, _calls) = super::echo();
    let more =
        format!("{more}[[backends]]\nname = \"e\"\nkind = \"openai\"\nbase_url = \"{echo}\"\n");
    let program = start(folder.path(), &url, &more);
    let as_key = |key: &str, model: &str| -> Answer {
        let bearer = format!("Bearer {key}");
        let headers = [("authorization", &*bearer), QUICK[0]];
        program.send("POST", CHAT, &headers, &chat(model, &json!({})))
    };
    for _ in 0..2 {
        assert_eq!(as_key("bob", "helper").status, 422);
    }
    for _ in 0..3 {
        let since = Instant::now();
        let refused = as_key("bob", "plain");
        assert_eq!(
            refused.code(),
            (429, "agents_full".to_owned()),
            "{}",
            refused.body
        );
        assert!(refused.header("retry-after").is_some());
        let other = as_key("ann", "plain");
        assert_eq!(other.status, 200, "{}", other.body);
        assert!(since.elapsed() < Duration::from_secs(2));
    }
}

#[test]
fn an_agent_that_gives_a_task_leaves_its_place_to_it() {
    let folder = folder();
    let (url, _calls) = model(Duration::ZERO, |request| match results(request).first() {
        Some(result) => say(result),
        None => call("ask_helper", &json!({"task": "Hello."})),
    });
    let (echo, _calls) = super::echo();
    let more = format!(
        "at_once = 1\n[[agents]]\nname = \"desk\"\nmodel = \"m\"\nagents = [\"helper\"]\n\
         [[agents]]\nname = \"helper\"\nmodel = \"e\"\n[[backends]]\nname = \"e\"\nkind = \"openai\"\nbase_url = \"{echo}\"\n"
    );
    let program = start(folder.path(), &url, &more);
    let answer = program.send("POST", CHAT, &QUICK, &chat("desk", &json!({})));
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(answer.body.contains("echo Hello."), "{}", answer.body);
    let run = [("prefer", "wait=20")];
    let run = program.send(
        "POST",
        "/v1/agents/desk/runs",
        &run,
        &json!({"input": "Hi."}),
    );
    assert_eq!(run.json()["output"], "echo Hello.", "{}", run.body);
}

/// A backend that notes the heads of its requests.
fn noting() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let heads: Arc<Mutex<Vec<String>>> = Arc::default();
    let noted = Arc::clone(&heads);
    thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            let (head, _) = read_parts(&socket);
            noted.lock().unwrap().push(head.to_lowercase());
            let body = json!({
                "id": "1", "object": "chat.completion", "model": "x",
                "choices": [{"index": 0, "message": say("noted"), "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
            });
            socket
                .write_all(http("application/json", &body.to_string()).as_bytes())
                .ok();
        }
    });
    (url, heads)
}

#[test]
fn the_calls_of_a_run_name_the_gateways_of_its_call_and_keep_its_tenant() {
    let folder = folder();
    let (url, heads) = noting();
    let more = "[[models]]\nname = \"kept\"\nbackends = [\"m\"]\ncache = { exact = true, temperature_default = 0 }\n\
        [[agents]]\nname = \"a\"\nmodel = \"kept\"\n";
    let keys = with_keys(more).replacen("scopes", "names_tenants = true\nscopes", 2);
    let program = start(folder.path(), &url, &keys);
    for (tenant, expected) in [("T5", 1), ("T6", 2), ("T5", 2)] {
        let headers = [
            ("authorization", "Bearer bob"),
            ("x-kebne-tenant", tenant),
            ("via", "1.1 peer"),
        ];
        let answer = program.send("POST", CHAT, &headers, &chat("a", &json!({})));
        assert_eq!(answer.status, 200, "{}", answer.body);
        // A tenant gets no answer that was kept for another one.
        assert_eq!(heads.lock().unwrap().len(), expected, "{tenant}");
    }
    let heads = heads.lock().unwrap();
    assert!(
        heads[0].contains("1.1 peer") && heads[0].contains("1.1 kebne-"),
        "{}",
        heads[0]
    );
}

/// Two gateways whose agents ask each other: the second time at the first one is noticed.
#[test]
fn a_loop_of_agents_over_two_gateways_is_noticed() {
    let (one_folder, two_folder) = (folder(), folder());
    let place = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = format!("http://{}/v1", place.local_addr().unwrap());
    let two = start(
        two_folder.path(),
        &proxy,
        "[[agents]]\nname = \"two\"\nmodel = \"m\"\n",
    );
    let one_url = format!("http://{}/v1", two.address);
    let more = "[[models]]\nname = \"far\"\nbackends = [\"m\"]\nupstream = { m = \"two\" }\n\
        [[models]]\nname = \"one\"\naliases = [\"m\"]\nbackends = [\"one\"]\n[[backends]]\nname = \"one\"\nkind = \"agent\"\n\
        [[agents]]\nname = \"one\"\nmodel = \"far\"\n";
    let one = start(one_folder.path(), &one_url, more);
    let back = one.address;
    thread::spawn(move || {
        for socket in place.incoming() {
            let from = socket.unwrap();
            let to = TcpStream::connect(back).unwrap();
            for (mut read, mut write) in [
                (from.try_clone().unwrap(), to.try_clone().unwrap()),
                (to, from),
            ] {
                thread::spawn(move || std::io::copy(&mut read, &mut write).ok());
            }
        }
    });
    let answer = one.send("POST", CHAT, &QUICK, &chat("one", &json!({})));
    assert_eq!(
        answer.code(),
        (508, "loop_detected".to_owned()),
        "{}",
        answer.body
    );
    assert_eq!(
        (runs_of(&one, "one").len(), runs_of(&two, "two").len()),
        (1, 1)
    );
}

#[test]
fn the_calls_of_an_agent_wait_with_the_priority_of_its_call() {
    let folder = folder();
    let order: Arc<Mutex<Vec<String>>> = Arc::default();
    let noted = Arc::clone(&order);
    let (url, calls) = model(Duration::from_secs(1), move |request| {
        let last = request["messages"].as_array().unwrap().last().unwrap();
        let text = last["content"].as_str().unwrap().to_owned();
        noted.lock().unwrap().push(text);
        say("ok")
    });
    let more = format!(
        "[[agents]]\nname = \"a\"\nmodel = \"one\"\n[[backends]]\nname = \"one\"\nkind = \"openai\"\nbase_url = \"{url}\"\n\
         limits = {{ law = \"fixed\", limit_initial = 1, limit_max = 1, reserved_one_in = 1000 }}\n"
    );
    let program = start(folder.path(), &url, &more);
    let warm = program.send("POST", CHAT, &QUICK, &chat("one", &json!({})));
    assert_eq!(warm.status, 200, "{}", warm.body);
    thread::scope(|scope| {
        let ask = |model: &'static str, text: &'static str, priority: &'static str| {
            let program = &program;
            scope.spawn(move || {
                let body = json!({"model": model, "messages": [{"role": "user", "content": text}]});
                let answer = program.send("POST", CHAT, &[("x-kebne-priority", priority)], &body);
                assert_eq!(answer.status, 200, "{}", answer.body);
            });
        };
        ask("one", "first", "0");
        while calls.load(SeqCst) == 1 {
            thread::sleep(Duration::from_millis(5));
        }
        ask("a", "agent", "9");
        thread::sleep(Duration::from_millis(300));
        ask("one", "direct", "5");
    });
    assert_eq!(order.lock().unwrap()[1..], ["first", "direct", "agent"]);
}

#[test]
fn a_key_or_a_budget_that_refuses_the_model_of_an_agent_refuses_the_call() {
    let folder = folder();
    let (url, calls) = super::echo();
    let hash = |key: &str| hex::encode(<sha2::Sha256 as sha2::Digest>::digest(key));
    let more = format!(
        "[[agents]]\nname = \"a\"\nmodel = \"m\"\n\
         [[server.keys]]\nname = \"narrow\"\nhash = \"{}\"\nscopes = [\"call\", \"read_state\"]\nmodels = [\"a\"]\n\
         [[server.keys]]\nname = \"spent\"\nhash = \"{}\"\nscopes = [\"call\", \"read_state\"]\nlimits = {{ budgets = [{{ tokens = 1, per = \"day\" }}] }}\n",
        hash("narrow"),
        hash("spent"),
    );
    let program = start(folder.path(), &url, &more);
    for (key, code) in [
        ("narrow", (403, "model_not_allowed".to_owned())),
        ("spent", (429, "insufficient_quota".to_owned())),
    ] {
        let bearer = format!("Bearer {key}");
        let headers = [("authorization", bearer.as_str()), QUICK[0]];
        let answer = program.send("POST", CHAT, &headers, &chat("a", &json!({})));
        assert_eq!(answer.code(), code, "{}", answer.body);
        assert!(answer.header("x-kebne-run").is_some());
        let is_never = answer.header("x-should-retry") == Some("false");
        assert_eq!(is_never, key == "spent");
    }
    assert_eq!(calls.load(SeqCst), 0);
}

#[test]
fn a_store_that_is_locked_is_not_a_backend_that_fails() {
    let folder = folder();
    let (url, _calls) = super::echo();
    let program = start(folder.path(), &url, HELPER);
    assert_eq!(
        post(&program, CHAT, &chat("helper", &json!({}))).status,
        200
    );
    let file = Path::new("kebne-data/agents.sqlite");
    let other = rusqlite::Connection::open(folder.path().join(file)).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let answer = post(&program, CHAT, &chat("helper", &json!({})));
    assert_eq!(
        answer.code(),
        (503, "agents_unavailable".to_owned()),
        "{}",
        answer.body
    );
    assert!(answer.header("retry-after").is_some());
    other.execute_batch("COMMIT").unwrap();
    drop(other);
    assert_eq!(
        post(&program, CHAT, &chat("helper", &json!({}))).status,
        200
    );
    assert!(fs::exists(folder.path().join(file)).unwrap());
}
