//! Several gateways on one machine that share a backend by a folder.

#[cfg(feature = "redis")]
mod accounts;
#[cfg(feature = "redis")]
mod answers;
#[cfg(feature = "redis")]
mod redis;

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    net::TcpListener,
    path::Path,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    program::{CHAT, Program, folder},
    upstream::{read_parts, whole},
};

/// The limit of the backend for all gateways together.
const LIMIT: u32 = 4;
/// The longest wait for what must come.
const PATIENCE: Duration = Duration::from_mins(1);

/// What the model server has seen, by the gateway that sent it.
#[derive(Debug, Default)]
struct Seen {
    in_flight: BTreeMap<String, u32>,
    most: u32,
    served: BTreeMap<String, u32>,
    loading: BTreeMap<String, u32>,
    /// When the first call came to a server that sleeps.
    woken: Option<Instant>,
}

/// A model server that counts who is served at once. It loads for `boot` after the first call.
#[derive(Clone)]
struct Server {
    seen: Arc<Mutex<Seen>>,
    takes: Duration,
    boot: Duration,
}

impl Server {
    fn start(takes: Duration, boot: Duration) -> (Self, String) {
        let server = Self {
            seen: Arc::default(),
            takes,
            boot,
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let this = server.clone();
        thread::spawn(move || {
            for socket in listener.incoming() {
                let (this, mut socket) = (this.clone(), socket.unwrap());
                thread::spawn(move || {
                    let (head, _) = read_parts(&socket);
                    let answer = this.answer(&head);
                    socket.write_all(answer.as_bytes()).ok();
                });
            }
        });
        (server, url)
    }

    fn answer(&self, head: &str) -> String {
        let header = head
            .lines()
            .find_map(|line| line.strip_prefix("x-gateway: "));
        let gateway = header.unwrap_or_default().trim().to_owned();
        {
            let mut seen = self.seen.lock().unwrap();
            let woken = *seen.woken.get_or_insert_with(Instant::now);
            let left = self.boot.saturating_sub(woken.elapsed());
            if !left.is_zero() {
                *seen.loading.entry(gateway).or_default() += 1;
                let body = format!(
                    r#"{{"error":"Model is loading","estimated_time":{:.1}}}"#,
                    left.as_secs_f64()
                );
                return format!(
                    "HTTP/1.1 503 No\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                );
            }
            *seen.in_flight.entry(gateway.clone()).or_default() += 1;
            let now = seen.in_flight.values().sum();
            seen.most = seen.most.max(now);
        }
        thread::sleep(self.takes);
        let mut seen = self.seen.lock().unwrap();
        *seen.in_flight.entry(gateway.clone()).or_default() -= 1;
        *seen.served.entry(gateway).or_default() += 1;
        whole("yes")
    }
}

/// Starts a gateway in front of the server, with a folder of its own and the leases of all.
fn gateway(folder: &Path, name: &str, url: &str, more: &str) -> Program {
    let home = folder.join(name);
    fs::create_dir_all(&home).unwrap();
    let config = home.join("kebne.toml");
    let leases = folder.join("leases");
    let text = format!(
        "[share]\nby = \"file\"\nfolder = \"{}\"\nmember = \"{name}\"\nrenew_every = \"100ms\"\nlease_ttl = \"1s\"\n\
         [[backends]]\nname = \"m\"\nkind = \"openai\"\nbase_url = \"{url}\"\nmodel = \"m\"\n[backends.headers]\nx-gateway = \"{name}\"\n{more}",
        leases.display()
    );
    fs::write(&config, text).unwrap();
    Program::start_plain(&home, &config)
}

/// The settings of a limit that is known.
fn fixed() -> String {
    format!("[backends.limits]\nlaw = \"fixed\"\nlimit_initial = {LIMIT}\n")
}

fn ask(program: &Program) -> u16 {
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "a"}]});
    program.send("POST", CHAT, &[], &body).status
}

fn share(program: &Program) -> Value {
    let state = program.send("GET", "/state", &[], &Value::Null).json();
    state["shares"][0].clone()
}

/// Waits until the lease of a gateway is as wanted.
fn await_share(program: &Program, wanted: impl Fn(&Value) -> bool) -> Value {
    let since = Instant::now();
    loop {
        let share = share(program);
        if wanted(&share) {
            return share;
        }
        assert!(since.elapsed() < PATIENCE, "{share}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Keeps calls waiting at each gateway while `steps` runs; every call must be served.
fn under_load(programs: &[&Program], steps: impl FnOnce()) {
    let over = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        for program in programs {
            for _ in 0..2 * LIMIT {
                let over = &over;
                scope.spawn(move || {
                    while !over.load(std::sync::atomic::Ordering::SeqCst) {
                        assert_eq!(ask(program), 200);
                    }
                });
            }
        }
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(steps));
        over.store(true, std::sync::atomic::Ordering::SeqCst);
        if let Err(panic) = done {
            std::panic::resume_unwind(panic);
        }
    });
}

#[test]
fn two_gateways_together_keep_the_limit_and_both_are_served() {
    let folder = folder();
    let (server, url) = Server::start(Duration::from_millis(100), Duration::ZERO);
    let one = gateway(folder.path(), "one", &url, &fixed());
    let two = gateway(folder.path(), "two", &url, &fixed());
    under_load(&[&one, &two], || {
        for program in [&one, &two] {
            let share = await_share(program, |share| share["lease"]["share"] == LIMIT / 2);
            assert_eq!(share["state"], "held");
            assert_eq!(share["lease"]["members"], 2);
        }
        // From here on the two shares are in force.
        server.seen.lock().unwrap().most = 0;
        thread::sleep(Duration::from_secs(2));
    });
    let seen = server.seen.lock().unwrap();
    assert!(seen.most <= LIMIT, "{} calls at once", seen.most);
    assert!(seen.served["one"] > 0 && seen.served["two"] > 0);
}

#[test]
fn a_gateway_that_is_killed_or_stops_gives_its_share_back() {
    let folder = folder();
    let (_server, url) = Server::start(Duration::from_millis(50), Duration::ZERO);
    let one = gateway(folder.path(), "one", &url, &fixed());
    let halves = |share: &Value| share["lease"]["members"] == 2;
    let all = |share: &Value| share["lease"]["share"] == LIMIT;
    {
        let two = gateway(folder.path(), "two", &url, &fixed());
        under_load(&[&one], || {
            await_share(&one, halves);
        });
        two.signal("KILL");
        await_share(&one, all);
    }
    let mut three = gateway(folder.path(), "three", &url, &fixed());
    await_share(&one, halves);
    assert_eq!(three.terminate(), Some(0));
    await_share(&one, |share| share["lease"]["members"] == 1);
}

#[test]
fn one_of_several_gateways_wakes_a_sleeping_backend() {
    let folder = folder();
    let (server, url) = Server::start(Duration::from_millis(20), Duration::from_secs(3));
    let names = ["one", "two", "three"];
    let programs = names.map(|name| gateway(folder.path(), name, &url, ""));
    for program in &programs {
        await_share(program, |share| share["state"] == "held");
    }
    thread::scope(|scope| {
        for program in &programs {
            for _ in 0..3 {
                scope.spawn(move || assert_eq!(ask(program), 200));
            }
        }
    });
    let seen = server.seen.lock().unwrap();
    assert_eq!(seen.loading.len(), 1, "{:?}", seen.loading);
    assert_eq!(seen.served.len(), 3, "{:?}", seen.served);
}

#[test]
fn while_the_folder_is_gone_calls_go_on_with_a_fair_part() {
    let folder = folder();
    let (server, url) = Server::start(Duration::from_millis(50), Duration::ZERO);
    let one = gateway(folder.path(), "one", &url, &fixed());
    let two = gateway(folder.path(), "two", &url, &fixed());
    let (leases, away) = (folder.path().join("leases"), folder.path().join("away"));
    under_load(&[&one, &two], || {
        for program in [&one, &two] {
            await_share(program, |share| share["lease"]["share"] == LIMIT / 2);
        }
        fs::rename(&leases, &away).unwrap();
        for program in [&one, &two] {
            let share = await_share(program, |share| share["state"] == "over");
            assert_eq!(share["lease"]["share"], LIMIT / 2);
            program.await_metric(r#"kebne_share_state{lane="m",state="over"} 1"#);
        }
        server.seen.lock().unwrap().most = 0;
        thread::sleep(Duration::from_secs(1));
        fs::rename(&away, &leases).unwrap();
        for program in [&one, &two] {
            await_share(program, |share| {
                share["state"] == "held" && share["lease"]["share"] == LIMIT / 2
            });
        }
    });
    let most = server.seen.lock().unwrap().most;
    assert!(most <= LIMIT, "{most} calls at once");
}

#[test]
fn a_gateway_that_is_alone_keeps_no_leases() {
    let folder = folder();
    let program = Program::start(folder.path(), &[]);
    let state = program.send("GET", "/state", &[], &Value::Null).json();
    assert_eq!(state["shares"], json!([]));
    assert!(!folder.path().join("kebne-data/leases").exists());
}
