//! A broker of the test's own.

use std::{
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use kebne_event_bus::{EventBus as _, Message};
use kebne_kafka::{KafkaBus, Options, Topics};
use tempfile::TempDir;

/// The longest time until a broker serves; machines that test are busy.
const START: Duration = Duration::from_secs(90);

/// The broker; killed when the test is over.
pub(crate) struct Server {
    folder: TempDir,
    port: u16,
    child: Child,
}

impl Server {
    /// Starts a broker on a free port. The test fails if there is none on this machine.
    pub(crate) fn start() -> Self {
        let installed = script().output().unwrap();
        assert!(
            installed.status.success(),
            "scripts/engines/kafka: {}",
            String::from_utf8_lossy(&installed.stderr)
        );
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let folder = tempfile::tempdir().unwrap();
        let child = run(folder.path(), port);
        let server = Self {
            folder,
            port,
            child,
        };
        server.await_port();
        server
    }

    fn await_port(&self) {
        let since = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(since.elapsed() < START, "the broker does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn options(&self) -> Options {
        Options {
            servers: vec![format!("127.0.0.1:{}", self.port)],
            topics: Topics::One("test".to_owned()),
            partitions: 4,
            timeout: Duration::from_secs(3),
            ..Options::default()
        }
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts the killed broker again, with what it has on disk.
    pub(crate) fn restart(&mut self) {
        self.child = run(self.folder.path(), self.port);
    }

    /// Sends a signal: `STOP` has the broker hang, `CONT` go on.
    pub(crate) fn signal(&self, name: &str) {
        let command = format!("kill -s {name} {}", self.child.id());
        let sent = Command::new("sh").args(["-c", &command]).status();
        assert!(sent.unwrap().success());
    }
}

fn script() -> Command {
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/engines/kafka"))
}

/// The script is replaced by the broker, so that the process is that of the broker.
fn run(folder: &Path, port: u16) -> Child {
    let mut command = script();
    command
        .arg("run")
        .arg(folder)
        .arg(port.to_string())
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
pub(crate) async fn connected(bus: &KafkaBus) {
    let since = Instant::now();
    let message = || Message::new("hello", "hello", "", "{}");
    while let Err(error) = bus.publish(message()).await {
        assert!(since.elapsed() < START, "{error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
