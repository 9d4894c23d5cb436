//! Servers as child processes: the tools of a real one, and what happens when it lies, hangs or dies.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test ends at the first surprise"
)]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use kebne_mcp::{Era, Fault, Hold, McpServer, Options, Pins, ProcessWay, ToolCall, Way};
use serde_json::{Value, json};

/// Returns the example `fixture`, which is built with the tests.
fn fixture() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let folder = own.parent().and_then(Path::parent).unwrap();
    let path = folder.join("examples/fixture");
    assert!(
        path.exists(),
        "`cargo build --examples` makes {}",
        path.display()
    );
    path
}

struct Rig {
    folder: tempfile::TempDir,
    server: McpServer,
    changes: Arc<AtomicUsize>,
}

impl Rig {
    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn names(&self) -> Vec<String> {
        let tools = self.server.tools();
        tools.iter().map(|tool| tool.name().to_owned()).collect()
    }

    fn calls(&self) -> String {
        std::fs::read_to_string(self.file("calls")).unwrap_or_default()
    }

    async fn call(&self, name: &str, arguments: Value) -> Result<Value, Fault> {
        let Value::Object(arguments) = arguments else {
            panic!("arguments are an object")
        };
        let name = name.to_owned();
        let patience = Duration::from_secs(30);
        self.server
            .call(ToolCall { name, arguments }, patience)
            .await
    }

    /// Waits until something is so.
    async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let due = Instant::now() + Duration::from_secs(20);
        while !is_so(self) {
            assert!(Instant::now() < due, "{what}: {:?}", self.server.report());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn options(folder: &Path) -> Options {
    Options {
        name: "fixture".to_owned(),
        way: Way::Process(ProcessWay {
            command: fixture().display().to_string(),
            args: vec![folder.display().to_string()],
            environment: BTreeMap::new(),
            cwd: None,
            stop_grace: Duration::from_millis(500),
            launcher: None,
        }),
        era: Era::Auto,
        tools: Vec::new(),
        hold: Hold::Changes,
        start_timeout: Duration::from_secs(20),
        refresh: Duration::from_hours(1),
        answer_size_max: 1 << 20,
    }
}

fn started(change: impl FnOnce(&mut Options)) -> Rig {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(folder.path());
    change(&mut options);
    let pins = Pins::new(folder.path().join("pins.json"));
    let server = McpServer::new(options);
    let changes = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&changes);
    server.start(Arc::new(pins), move || {
        counted.fetch_add(1, SeqCst);
    });
    Rig {
        folder,
        server,
        changes,
    }
}

fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn a_call_waits_for_the_start_and_gets_the_result_in_each_era() {
    for (era, version) in [
        (Era::Auto, "2026-07-28"),
        (Era::Stateless, "2026-07-28"),
        (Era::Sessions, "2025-11-25"),
    ] {
        let rig = started(|options| options.era = era);
        let result = rig.call("echo", json!({"text": "hello"})).await.unwrap();
        assert_eq!(text(&result), "hello", "{era:?}");
        assert_eq!(rig.server.report().protocol, version, "{era:?}");
        let failed = rig.call("fail", json!({})).await.unwrap();
        assert_eq!(
            (failed["isError"].as_bool(), text(&failed)),
            (Some(true), "it has failed")
        );
        let wrong = rig.call("wrong", json!({})).await.unwrap_err();
        assert!(matches!(&wrong, Fault::Invalid { message, .. } if message == "`text` is wrong"));
        let unknown = rig.call("nothing", json!({})).await.unwrap_err();
        assert_eq!(unknown, Fault::NoTool("nothing".to_owned()));
    }
}

#[tokio::test]
async fn only_the_tools_that_the_settings_allow_are_there() {
    let rig = started(|options| {
        options.tools = vec!["e*".parse().unwrap(), "die_once".parse().unwrap()];
    });
    rig.until("the list", |rig| !rig.names().is_empty()).await;
    assert_eq!(rig.names(), ["die_once", "echo"]);
    assert_eq!(rig.server.report().left_out, 5);
    let refused = rig.call("fail", json!({})).await.unwrap_err();
    assert_eq!(refused, Fault::NoTool("fail".to_owned()));
    assert_eq!(rig.calls(), "");
}

#[tokio::test]
async fn a_changed_tool_is_held_until_it_is_approved() {
    let rig = started(|_| ());
    rig.until("the list", |rig| rig.names().len() == 7).await;
    std::fs::write(rig.file("changed"), "").unwrap();
    std::fs::write(rig.file("more"), "").unwrap();
    rig.call("change", json!({})).await.unwrap();
    rig.until("the change", |rig| {
        !rig.names().contains(&"echo".to_owned())
    })
    .await;
    assert!(rig.names().contains(&"more".to_owned()));
    assert!(rig.changes.load(SeqCst) >= 2);
    let held = rig.call("echo", json!({"text": "x"})).await.unwrap_err();
    assert_eq!(held, Fault::Held("echo".to_owned()));
    assert!(!rig.calls().contains("echo"));
    assert_eq!(rig.server.approve(Some("echo")).unwrap(), ["echo"]);
    let result = rig.call("echo", json!({"text": "x"})).await.unwrap();
    assert_eq!(text(&result), "x");
}

#[tokio::test]
async fn a_call_that_is_dropped_is_cancelled_at_the_server() {
    let rig = started(|_| ());
    let called = rig.call("hang", json!({}));
    let timed_out = tokio::time::timeout(Duration::from_secs(5), called).await;
    assert!(timed_out.is_err());
    rig.until("the cancellation", |rig| rig.calls() == "hang\ncancelled\n")
        .await;
}

#[tokio::test]
async fn a_server_that_dies_is_started_again_and_its_call_is_not_taken_to_be_undone() {
    let rig = started(|_| ());
    let died = rig.call("die", json!({})).await.unwrap_err();
    assert!(matches!(died, Fault::Lost(_)), "{died:?}");
    assert!(!died.is_before_work());
    rig.until("the next start", |rig| rig.server.fault().is_none())
        .await;
    let result = rig.call("echo", json!({"text": "back"})).await.unwrap();
    assert_eq!(text(&result), "back");
}

#[tokio::test]
async fn a_program_that_is_not_there_or_speaks_another_protocol_is_away() {
    let missing = started(|options| {
        let Way::Process(way) = &mut options.way else {
            panic!()
        };
        way.command = "/nowhere/server".to_owned();
    });
    let fault = missing.call("echo", json!({})).await.unwrap_err();
    assert!(
        matches!(&fault, Fault::Away(text) if text.contains("/nowhere/server")),
        "{fault:?}"
    );
    assert!(fault.is_before_work());
    let silent = started(|options| {
        let Way::Process(way) = &mut options.way else {
            panic!()
        };
        way.command = "/bin/sleep".to_owned();
        way.args = vec!["100".to_owned()];
        options.start_timeout = Duration::from_millis(300);
    });
    let fault = silent.call("echo", json!({})).await.unwrap_err();
    assert!(matches!(&fault, Fault::Away(_)), "{fault:?}");
    let chatty = started(|options| {
        let Way::Process(way) = &mut options.way else {
            panic!()
        };
        way.command = "/bin/sh".to_owned();
        way.args = vec![
            "-c".to_owned(),
            "echo hello; echo '{}'; exec cat".to_owned(),
        ];
        options.start_timeout = Duration::from_secs(2);
    });
    let fault = chatty.call("echo", json!({})).await.unwrap_err();
    assert!(fault.is_before_work(), "{fault:?}");
}

#[tokio::test]
async fn a_server_that_is_dropped_ends_its_process() {
    let rig = started(|_| ());
    rig.call("echo", json!({})).await.unwrap();
    let needle = rig.folder.path().display().to_string();
    let is_running = || {
        let found = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        let mut lines = found.filter_map(|one| std::fs::read(one.path().join("cmdline")).ok());
        lines.any(|line| {
            let line = String::from_utf8_lossy(&line).into_owned();
            line.contains("examples/fixture") && line.contains(&needle)
        })
    };
    assert!(is_running());
    let Rig { server, folder, .. } = rig;
    drop(server);
    let due = Instant::now() + Duration::from_secs(10);
    while is_running() {
        assert!(Instant::now() < due, "the process goes on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(folder);
}
