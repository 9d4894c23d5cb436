//! A NATS server of the test's own.

use std::{
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use kebne_event_bus::{EventBus as _, Message};
use kebne_nats::{NatsBus, Options};
use tempfile::TempDir;

/// The server; killed when the test is over.
pub(crate) struct Server {
    program: String,
    folder: TempDir,
    port: u16,
    child: Child,
}

impl Server {
    /// Starts a server with JetStream on a free port. The test fails if there is no server on this machine.
    pub(crate) fn start() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let installed = Command::new(root.join("scripts/engines/nats")).output();
        let installed = installed.unwrap();
        assert!(
            installed.status.success(),
            "scripts/engines/nats: {}",
            String::from_utf8_lossy(&installed.stderr)
        );
        let program = String::from_utf8(installed.stdout).unwrap();
        let program = program.trim().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let folder = tempfile::tempdir().unwrap();
        let child = run(&program, folder.path(), port);
        Self {
            program,
            folder,
            port,
            child,
        }
    }

    pub(crate) fn options(&self) -> Options {
        Options {
            servers: vec![format!("nats://127.0.0.1:{}", self.port)],
            stream: "TEST".to_owned(),
            prefix: "test.".to_owned(),
            timeout: Duration::from_secs(2),
            ..Options::default()
        }
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts the killed server again, with what it has on disk.
    pub(crate) fn restart(&mut self) {
        self.child = run(&self.program, self.folder.path(), self.port);
    }

    /// Sends a signal: `STOP` has the server hang, `CONT` go on.
    pub(crate) fn signal(&self, name: &str) {
        let command = format!("kill -s {name} {}", self.child.id());
        let sent = Command::new("sh").args(["-c", &command]).status();
        assert!(sent.unwrap().success());
    }
}

fn run(program: &str, folder: &Path, port: u16) -> Child {
    let mut command = Command::new(program);
    command
        .args(["-js", "-a", "127.0.0.1", "-p", &port.to_string(), "-sd"])
        .arg(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.spawn().unwrap()
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Waits until a bus has stored a message.
pub(crate) async fn connected(bus: &NatsBus) {
    let since = Instant::now();
    let message = || Message::new("hello", "hello", "", "{}");
    while let Err(error) = bus.publish(message()).await {
        assert!(since.elapsed() < Duration::from_secs(20), "{error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
