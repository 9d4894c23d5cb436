//! The scheduler with real processes: shell scripts that serve while a file exists.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test ends at the first surprise"
)]

use std::{
    fs,
    future::Future,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use kebne_actors::{ActorRef, ActorSystem, Context, Props, Spawn, Strategy};
use kebne_servers::{
    DEVICE, Health, Launch, Means, Phase, ProcessSettings, Room, Server, ServerParts, ServerReport,
    Servers,
};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tempfile::TempDir;

/// Longer than any machine needs.
const LONG: Duration = Duration::from_secs(20);

/// Becomes healthy after a tenth of a second, and ends when it is told to.
const GOOD: &str = r#"trap 'rm -f "$READY"; exit 0' TERM
rm -f "$READY"
echo "loading on {port}"
sleep 0.1
touch "$READY"
while :; do sleep 0.02; done"#;

struct Root;

impl actix::Actor for Root {
    type Context = Context<Self>;
}

impl actix::Handler<Spawn> for Root {
    type Result = ();

    fn handle(&mut self, spawn: Spawn, ctx: &mut Context<Self>) {
        spawn.perform(ctx);
    }
}

/// Serves while the file exists.
struct FileExists(PathBuf);

impl Health for FileExists {
    fn check(&self) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>> {
        Box::pin(async {
            let found = self.0.exists();
            found
                .then_some(())
                .ok_or_else(|| "there is no file".to_owned())
        })
    }
}

struct Bench {
    folder: TempDir,
    system: ActorSystem,
    servers: Servers,
}

impl Bench {
    async fn with_slots(slots: u32) -> Self {
        let system = ActorSystem::new("test", 1);
        let props = Props::new(|| Root).supervise(Strategy::resume());
        let root: ActorRef<Root> = system.spawn(props, "root");
        let servers = Servers::start_under(&root).await.unwrap();
        let room = Room {
            memory: u64::MAX,
            slots,
        };
        servers.set_devices([(DEVICE.to_owned(), room)].into());
        Self {
            folder: tempfile::tempdir().unwrap(),
            system,
            servers,
        }
    }

    fn settings(&self, name: &str, script: &str) -> ProcessSettings {
        let ready = self.ready(name).display().to_string();
        let text = format!(
            "command = '/bin/sh'\nmin_loaded = '50ms'\nwait_max = '1s'\nstart_timeout = '10s'\nstop_grace = '5s'\nidle_timeout = '0s'\n[env]\nREADY = '{ready}'"
        );
        let mut settings: ProcessSettings = toml::from_str(&text).unwrap();
        settings.args = vec!["-c".to_owned(), script.to_owned(), "{port}".to_owned()];
        settings
    }

    fn ready(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn add(&self, name: &str, settings: &ProcessSettings) -> Server {
        let variable = |name: &str| match name {
            "PATH" => std::env::var(name).ok(),
            _ => Some(format!("the {name} of this program")),
        };
        let chance = fastrand::u64(..);
        let launch = Launch::new(settings, variable, None, chance).unwrap();
        let parts = ServerParts {
            name: name.into(),
            means: Means::Process(Arc::new(launch)),
            health: Some(Arc::new(FileExists(self.ready(name)))),
            device: settings.device.as_str().into(),
            room: settings.room(),
            stay: settings.stay(),
            load_times: kebne_control::LoadTimes::default(),
        };
        self.servers.add(parts).await.unwrap()
    }

    async fn report(&self, name: &str) -> ServerReport {
        let reports = self.servers.reports().await;
        let mut reports = reports.into_iter();
        reports.find(|report| &*report.name == name).unwrap()
    }

    /// Waits until a report is as wanted.
    async fn until(&self, name: &str, wanted: impl Fn(&ServerReport) -> bool) -> ServerReport {
        let waited = tokio::time::timeout(LONG, async {
            loop {
                let report = self.report(name).await;
                if wanted(&report) {
                    return report;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        if let Ok(report) = waited.await {
            return report;
        }
        panic!("{:?}", self.report(name).await)
    }

    async fn end(self) {
        self.servers.stop_all().await;
        self.system.terminate().await;
    }
}

fn pid(number: u32) -> Pid {
    Pid::from_raw(i32::try_from(number).unwrap()).unwrap()
}

fn lives(number: u32) -> bool {
    test_kill_process(pid(number)).is_ok()
}

#[actix::test]
async fn a_call_starts_the_process_and_only_named_variables_reach_it() {
    let bench = Bench::with_slots(1).await;
    let environment = bench.folder.path().join("environment");
    let script = format!("env > {}\n{GOOD}", environment.display());
    let mut settings = bench.settings("a", &script);
    settings
        .env
        .insert("OWN".to_owned(), "at {port}".to_owned());
    let server = bench.add("a", &settings).await;
    assert_eq!(bench.report("a").await.state, Phase::Stopped);
    assert!(server.lease(Duration::ZERO).await.is_err());
    let lease = server.lease(LONG).await.unwrap();
    let report = bench.report("a").await;
    assert_eq!(
        (report.state, report.in_flight, report.loads),
        (Phase::Ready, 1, 1)
    );
    let port = report.port.unwrap();
    assert_eq!(report.lines, [format!("loading on {port}")]);
    let seen = fs::read_to_string(&environment).unwrap();
    assert!(seen.contains(&format!("OWN=at {port}")), "{seen}");
    assert!(seen.contains("HOME=the HOME of this program"), "{seen}");
    let names = seen.lines().filter_map(|line| line.split('=').next());
    let known = [
        "HOME", "LANG", "OWN", "PATH", "PWD", "READY", "TMPDIR", "SHLVL", "_", "OLDPWD",
    ];
    let foreign: Vec<_> = names.filter(|name| !known.contains(name)).collect();
    assert!(foreign.is_empty(), "{foreign:?}");
    drop(lease);
    let pid = report.pid.unwrap();
    assert!(lives(pid));
    bench.end().await;
    assert!(!lives(pid), "it was left behind");
}

#[actix::test]
async fn fifty_callers_of_two_servers_share_room_for_one() {
    let bench = Bench::with_slots(1).await;
    let one = bench.add("one", &bench.settings("one", GOOD)).await;
    let two = bench.add("two", &bench.settings("two", GOOD)).await;
    let paths = [bench.ready("one"), bench.ready("two")];
    let calls = (0..50).map(|number| {
        let (server, mine, other) = if number % 3 == 0 {
            (&two, &paths[1], &paths[0])
        } else {
            (&one, &paths[0], &paths[1])
        };
        async move {
            let lease = server.lease(LONG).await.unwrap();
            let serves = |path: &Path| path.exists();
            assert!(serves(mine) && !serves(other));
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert!(serves(mine), "it was stopped under a call");
            drop(lease);
        }
    });
    futures_join(calls).await;
    let (one, two) = (bench.report("one").await, bench.report("two").await);
    assert_eq!((one.calls, two.calls), (33, 17));
    assert_eq!(one.loads + two.loads, 2, "one swap");
    bench.end().await;
}

/// Runs futures together.
async fn futures_join<F: Future<Output = ()>>(futures: impl Iterator<Item = F>) {
    let mut futures: Vec<_> = futures.map(Box::pin).collect();
    std::future::poll_fn(|context| {
        futures.retain_mut(|future| future.as_mut().poll(context).is_pending());
        if futures.is_empty() {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
}

#[actix::test]
async fn a_server_that_is_killed_is_started_again() {
    let bench = Bench::with_slots(1).await;
    let server = bench.add("a", &bench.settings("a", GOOD)).await;
    drop(server.lease(LONG).await.unwrap());
    let first = bench.report("a").await.pid.unwrap();
    kill_process(pid(first), Signal::KILL).unwrap();
    let report = bench
        .until("a", |report| report.state == Phase::Stopped)
        .await;
    assert_eq!((report.failures, report.pid), (1, None));
    let error = report.last_error.unwrap();
    assert!(error.contains("signal: 9"), "{error}");
    drop(server.lease(LONG).await.unwrap());
    let report = bench.report("a").await;
    assert_ne!(report.pid, Some(first));
    assert_eq!(report.loads, 2);
    bench.end().await;
}

#[actix::test]
async fn a_process_that_ignores_the_request_to_end_is_killed_with_its_children() {
    let bench = Bench::with_slots(1).await;
    let child = bench.folder.path().join("child");
    let script = format!(
        "trap '' TERM\nsleep 600 &\necho $! > {}\ntouch \"$READY\"\nwhile :; do sleep 0.02; done",
        child.display()
    );
    let mut settings = bench.settings("deaf", &script);
    settings.stop_grace = kebne_settings::HumanDuration::from_millis(200);
    let deaf = bench.add("deaf", &settings).await;
    drop(deaf.lease(LONG).await.unwrap());
    let leader = bench.report("deaf").await.pid.unwrap();
    let child: u32 = fs::read_to_string(&child).unwrap().trim().parse().unwrap();
    assert!(lives(leader) && lives(child));
    let other = bench.add("other", &bench.settings("other", GOOD)).await;
    let lease = other.lease(LONG).await.unwrap();
    assert!(!lives(leader), "the room was given away too early");
    // The system has to take note of a killed orphan.
    let gone = tokio::time::timeout(LONG, async {
        while lives(child) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    gone.await.expect("a child was left behind");
    drop(lease);
    bench.end().await;
}

#[actix::test]
async fn what_cannot_serve_is_said_and_the_others_go_on() {
    let bench = Bench::with_slots(1).await;
    let mut silent = bench.settings("silent", "echo no such model >&2\nexec sleep 600");
    silent.start_timeout = kebne_settings::HumanDuration::from_millis(300);
    let silent = bench.add("silent", &silent).await;
    let mut missing = bench.settings("missing", "");
    missing.command = "/there/is/no/such/program".to_owned();
    let missing = bench.add("missing", &missing).await;
    let good = bench.add("good", &bench.settings("good", GOOD)).await;
    let failed = silent.lease(Duration::from_millis(1)).await;
    assert!(failed.is_err());
    let report = bench.until("silent", |report| report.failures > 0).await;
    let error = report.last_error.unwrap();
    assert!(
        error.contains("not healthy within 300ms: there is no file"),
        "{error}"
    );
    assert!(error.ends_with("(last line: no such model)"), "{error}");
    assert!(report.is_failing);
    assert!(missing.lease(Duration::from_millis(1)).await.is_err());
    let report = bench.until("missing", |report| report.failures > 0).await;
    let error = report.last_error.unwrap();
    assert!(error.starts_with("it cannot be started: "), "{error}");
    let refused = missing.lease(Duration::ZERO).await.unwrap_err();
    assert!(refused.reason.contains("its last run failed"), "{refused}");
    for _ in 0..3 {
        drop(good.lease(LONG).await.unwrap());
        assert!(silent.lease(Duration::from_millis(1)).await.is_err());
    }
    assert_eq!(bench.report("good").await.loads, 1);
    bench.end().await;
}

#[actix::test]
async fn a_port_that_another_program_uses_is_not_taken_for_the_server() {
    let bench = Bench::with_slots(1).await;
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let mut settings = bench.settings("a", GOOD);
    settings.port = kebne_servers::Port::Fixed(taken.local_addr().unwrap().port());
    let server = bench.add("a", &settings).await;
    assert!(server.lease(Duration::from_millis(1)).await.is_err());
    let report = bench.until("a", |report| report.failures > 0).await;
    let error = report.last_error.unwrap();
    assert!(error.contains("in use"), "{error}");
    let kind = server.failing().unwrap().kind;
    assert_eq!(kind, Some(kebne_servers::FailureKind::PortTaken));
    drop(taken);
    drop(server.lease(LONG).await.unwrap());
    bench.end().await;
}
