//! A server of the test's own: Redis 7 or Valkey 9.

use std::{
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use kebne_redis::Options;
use tempfile::TempDir;

/// The servers that everything is tested with.
pub(crate) const KINDS: [&str; 2] = ["redis", "valkey"];

/// The server; killed when the test is over.
pub(crate) struct Server {
    program: String,
    folder: TempDir,
    port: u16,
    child: Child,
}

impl Server {
    /// Starts a server on a free port. The test fails if there is no server on this machine.
    pub(crate) fn start(kind: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let script = root.join("scripts/engines/redis");
        let installed = Command::new(script).arg(kind).output().unwrap();
        assert!(
            installed.status.success(),
            "scripts/engines/redis {kind}: {}",
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

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn options(&self) -> Options {
        options(self.port)
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again after a kill. It has lost everything, as a cache without a disk does.
    pub(crate) fn restart(&mut self) {
        self.child = run(&self.program, self.folder.path(), self.port);
    }

    /// Stops or continues the process.
    pub(crate) fn signal(&self, name: &str) {
        // The shell has the command built in; a bare Debian has no program of that name.
        let command = format!("kill -s {name} {}", self.child.id());
        let sent = Command::new("sh").args(["-c", &command]).status();
        assert!(sent.unwrap().success());
    }
}

/// Returns how a server on a port is reached.
pub(crate) fn options(port: u16) -> Options {
    Options {
        url: format!("redis://127.0.0.1:{port}/0"),
        timeout: Duration::from_millis(300),
        ..Options::default()
    }
}

fn run(program: &str, folder: &Path, port: u16) -> Child {
    let mut command = Command::new(program);
    command
        .args(["--bind", "127.0.0.1", "--save", "", "--port"])
        .arg(port.to_string())
        .arg("--dir")
        .arg(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let child = command.spawn().unwrap();
    let since = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(since.elapsed() < Duration::from_secs(20), "{program}");
        std::thread::sleep(Duration::from_millis(10));
    }
    child
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
