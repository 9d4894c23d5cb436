//! Replicas that come and go while the program serves.

use std::{
    fs,
    net::{SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use domain::{
    base::{Message, MessageBuilder, Name, iana::Rcode},
    rdata::Srv,
};
use serde_json::{Value, json};

use crate::{
    program::{Answer, CHAT, Program, folder},
    upstream::simulated,
};

const PATIENCE: Duration = Duration::from_secs(20);

fn write_settings(folder: &Path) -> PathBuf {
    let config = folder.join("kebne.toml");
    let text = "[[backends]]\nname = \"gpu\"\nkind = \"openai\"\n[backends.discovery]\nby = \"file\"\npath = \"replicas\"\nevery = \"100ms\"\n";
    fs::write(&config, text).unwrap();
    config
}

fn ask(program: &Program) -> Answer {
    let body =
        json!({"model": "gpu", "max_tokens": 4, "messages": [{"role": "user", "content": "a"}]});
    program.send("POST", CHAT, &[], &body)
}

/// Returns the names of the backends and whether they are in service.
fn backends(program: &Program) -> Vec<String> {
    let list = program
        .send("GET", "/admin/v1/backends", &[], &Value::Null)
        .json();
    let data = list["data"].as_array().unwrap().iter();
    data.map(|one| one["name"].as_str().unwrap().to_owned())
        .collect()
}

fn await_backends(program: &Program, expected: &[&str]) {
    let since = Instant::now();
    while backends(program) != expected {
        let seen = backends(program);
        assert!(since.elapsed() < PATIENCE, "{seen:?} is not {expected:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Makes calls one after another, which takes time.
fn served(program: &Program, calls: usize) {
    for _ in 0..calls {
        let answer = ask(program);
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
}

/// Returns the name of the replica at a URL.
fn replica(url: &str) -> String {
    let authority = url.strip_prefix("http://").unwrap();
    format!("gpu@{}", authority.split('/').next().unwrap())
}

const SLOW: &[(&str, &str)] = &[
    ("KEBNE__SIMULATION__LATENCY", "300ms"),
    ("KEBNE__SIMULATION__LATENCY_SPREAD", "0"),
];

#[test]
fn replicas_appear_and_leave_without_losing_a_call() {
    let folder = folder();
    let (_one, first) = simulated(&["--preset", "instant"], SLOW);
    let (_two, second) = simulated(&["--preset", "instant"], SLOW);
    let file = folder.path().join("replicas");
    fs::write(&file, format!("{first}\n")).unwrap();
    let program = Program::start_plain(folder.path(), &write_settings(folder.path()));
    let (one, two) = (replica(&first), replica(&second));
    assert_eq!(backends(&program), [one.as_str()]);
    let stop = AtomicBool::new(false);
    let counted: usize = thread::scope(|scope| {
        let callers: Vec<_> = (0..6)
            .map(|_| {
                scope.spawn(|| {
                    let mut answered = 0_usize;
                    while !stop.load(SeqCst) {
                        let answer = ask(&program);
                        assert_eq!(answer.status, 200, "{}", answer.body);
                        answered += 1;
                    }
                    answered
                })
            })
            .collect();
        let mut both = [one.as_str(), two.as_str()];
        both.sort_unstable();
        for _ in 0..2 {
            fs::write(&file, format!("# both\n{second}\n{first}\n")).unwrap();
            await_backends(&program, &both);
            served(&program, 2);
            fs::write(&file, format!("{second}\n")).unwrap();
            await_backends(&program, &[&two]);
            served(&program, 2);
            fs::write(&file, format!("{first}\n")).unwrap();
            await_backends(&program, &[&one]);
            served(&program, 2);
        }
        stop.store(true, SeqCst);
        callers
            .into_iter()
            .map(|caller| caller.join().unwrap())
            .sum()
    });
    // Those of the main thread too.
    let answered = counted + 12;
    assert!(answered > 30, "{answered}");
    let success = format!(r#"kebne_requests_total{{model="gpu",ending="success"}} {answered}"#);
    program.await_metric(&success);
    // The page and the alerts follow.
    let state = program.send("GET", "/state", &[], &Value::Null).json();
    assert_eq!(state["lanes"].as_array().unwrap().len(), 1);
}

#[test]
fn a_file_that_cannot_be_used_changes_nothing() {
    let folder = folder();
    let (_one, first) = simulated(&["--preset", "instant"], &[]);
    let file = folder.path().join("replicas");
    let log = folder.path().join("log");
    let config = write_settings(folder.path());
    let mut command = Program::configured(folder.path(), &config);
    let stderr = Stdio::from(fs::File::create(&log).unwrap());
    let program = Program::spawn_with(&mut command, stderr);
    let warnings = || {
        fs::read_to_string(&log)
            .unwrap()
            .matches("the last ones are used")
            .count()
    };
    // Nothing was found yet.
    assert!(backends(&program).is_empty());
    assert_eq!(ask(&program).code(), (503, "no_replicas".to_owned()));
    fs::write(&file, format!("{first}\n")).unwrap();
    let one = replica(&first);
    await_backends(&program, &[&one]);
    assert!(ask(&program).has(&format!("x-kebne-lane: {one}")));
    for text in [Some(""), Some("half a li"), Some("# none\n"), None] {
        match text {
            Some(text) => fs::write(&file, text).unwrap(),
            None => fs::remove_file(&file).unwrap(),
        }
        // The first of them may be about what was there before.
        let (before, since) = (warnings(), Instant::now());
        while warnings() < before + 2 {
            assert!(since.elapsed() < PATIENCE, "{text:?}");
            thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(backends(&program), [one.as_str()], "{text:?}");
        assert_eq!(ask(&program).status, 200);
    }
    let models = program.send("GET", "/v1/models", &[], &Value::Null).json();
    assert_eq!(models["data"][0]["id"], "gpu");
}

#[test]
fn a_list_and_a_name_are_replicas_too() {
    let folder = folder();
    let (_one, first) = simulated(&["--preset", "instant"], &[]);
    let (_two, second) = simulated(&["--preset", "instant"], &[]);
    let config = folder.path().join("kebne.toml");
    let by_name = first.replace("127.0.0.1", "localhost");
    let text = format!(
        "[[backends]]\nname = \"list\"\nkind = \"openai\"\n[backends.discovery]\nby = \"list\"\nurls = [\"{first}\", \"{second}\"]\n\
         [[backends]]\nname = \"dns\"\nkind = \"openai\"\nbase_url = \"{by_name}\"\n[backends.discovery]\nby = \"dns\"\n\
         [[models]]\nname = \"l\"\nbackends = [\"list\"]\n[[models]]\nname = \"d\"\nbackends = [\"dns\"]\n"
    );
    fs::write(&config, text).unwrap();
    let program = Program::start_plain(folder.path(), &config);
    let ask = |model: &str| {
        let body = json!({"model": model, "messages": [{"role": "user", "content": "a"}]});
        program.send("POST", CHAT, &[], &body)
    };
    assert_eq!(ask("l").status, 200);
    let answer = ask("d");
    assert_eq!(answer.status, 200, "{}", answer.body);
    let named = backends(&program);
    let list = named
        .iter()
        .filter(|name| name.starts_with("list@127.0.0.1:"));
    assert_eq!(list.count(), 2, "{named:?}");
    assert!(
        named.contains(&replica(&first).replace("gpu@", "dns@")),
        "{named:?}"
    );
}

/// A DNS server that answers each question with SRV records of `localhost` at these ports.
fn dns_server() -> (SocketAddr, Arc<Mutex<Vec<u16>>>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let ports = Arc::new(Mutex::new(Vec::new()));
    let shared = Arc::clone(&ports);
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((size, caller)) = socket.recv_from(&mut buffer) {
            let asked = Message::from_octets(buffer[..size].to_vec()).unwrap();
            let name = asked.sole_question().unwrap().into_qname();
            assert_eq!(name.to_string(), "_http._tcp.gpu.test");
            let answer = MessageBuilder::new_vec();
            let mut answer = answer.start_answer(&asked, Rcode::NOERROR).unwrap();
            for port in shared.lock().unwrap().iter() {
                let target: Name<Vec<u8>> = "localhost.".parse().unwrap();
                answer
                    .push((&name, 1, Srv::new(0, 0, *port, target)))
                    .unwrap();
            }
            socket.send_to(answer.finish().as_slice(), caller).unwrap();
        }
    });
    (address, ports)
}

#[test]
fn replicas_of_srv_records_appear_and_leave() {
    let folder = folder();
    let port = |url: &str| url.parse::<http::Uri>().unwrap().port_u16().unwrap();
    let (_one, first) = simulated(&["--preset", "instant"], &[]);
    let (_two, second) = simulated(&["--preset", "instant"], &[]);
    let (first, second) = (port(&first), port(&second));
    let (dns, ports) = dns_server();
    *ports.lock().unwrap() = vec![first, second];
    let config = folder.path().join("kebne.toml");
    let text = format!(
        "[[backends]]\nname = \"gpu\"\nkind = \"openai\"\nbase_url = \"http://_http._tcp.gpu.test/v1\"\n\
         [backends.discovery]\nby = \"srv\"\nresolver = \"{dns}\"\nevery = \"100ms\"\n"
    );
    fs::write(&config, text).unwrap();
    let program = Program::start_plain(folder.path(), &config);
    let named = |port: u16| format!("gpu@localhost:{port}");
    let mut both = [named(first), named(second)];
    both.sort_unstable();
    await_backends(&program, &[&both[0], &both[1]]);
    served(&program, 4);
    *ports.lock().unwrap() = vec![second];
    await_backends(&program, &[&named(second)]);
    let answer = ask(&program);
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(answer.has(&format!("x-kebne-lane: {}", named(second))));
    // Without records, the last ones stay.
    ports.lock().unwrap().clear();
    served(&program, 2);
    *ports.lock().unwrap() = vec![first];
    await_backends(&program, &[&named(first)]);
    served(&program, 2);
}
