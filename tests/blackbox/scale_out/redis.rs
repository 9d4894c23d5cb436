//! Several gateways that share backends and budgets by a server of Redis.

use std::{
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use super::*;

/// A server of the test's own; killed when the test is over.
pub(super) struct Redis {
    program: String,
    folder: tempfile::TempDir,
    port: u16,
    process: Child,
}

impl Redis {
    /// Starts a server on a free port. The test fails if there is none on this machine.
    pub(super) fn start() -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/engines/redis");
        let installed = Command::new(script).output().unwrap();
        let said = String::from_utf8_lossy(&installed.stderr).into_owned();
        assert!(installed.status.success(), "scripts/engines/redis: {said}");
        let program = String::from_utf8(installed.stdout).unwrap();
        let program = program.trim().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let folder = folder();
        let process = run(&program, folder.path(), port);
        Self {
            program,
            folder,
            port,
            process,
        }
    }

    pub(super) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub(super) fn restart(&mut self) {
        self.process = run(&self.program, self.folder.path(), self.port);
    }

    pub(super) fn settings(&self) -> String {
        format!("[redis]\nurl = \"redis://127.0.0.1:{}/0\"\n", self.port)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
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
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(since.elapsed() < PATIENCE, "{program}");
        thread::sleep(Duration::from_millis(10));
    }
    child
}

pub(super) fn configured(folder: &Path, name: &str, text: &str) -> (PathBuf, PathBuf) {
    let home = folder.join(name);
    fs::create_dir_all(&home).unwrap();
    let config = home.join("kebne.toml");
    fs::write(&config, text).unwrap();
    (home, config)
}

#[test]
fn a_server_that_is_killed_under_load_costs_no_call() {
    let (folder, mut redis) = (folder(), Redis::start());
    let (server, url) = Server::start(Duration::from_millis(50), Duration::ZERO);
    let start = |name: &str| {
        let text = format!(
            "{}[share]\nby = \"redis\"\nmember = \"{name}\"\nrenew_every = \"100ms\"\nlease_ttl = \"1s\"\n\
             [[backends]]\nname = \"m\"\nkind = \"openai\"\nbase_url = \"{url}\"\nmodel = \"m\"\n[backends.headers]\nx-gateway = \"{name}\"\n{}",
            redis.settings(),
            fixed()
        );
        let (home, config) = configured(folder.path(), name, &text);
        Program::start_plain(&home, &config)
    };
    let (one, two) = (start("one"), start("two"));
    let half = |share: &Value| share["state"] == "held" && share["lease"]["share"] == LIMIT / 2;
    under_load(&[&one, &two], || {
        for program in [&one, &two] {
            await_share(program, half);
        }
        server.seen.lock().unwrap().most = 0;
        redis.kill();
        for program in [&one, &two] {
            let share = await_share(program, |share| share["state"] == "over");
            assert_eq!(share["lease"]["share"], LIMIT / 2);
        }
        thread::sleep(Duration::from_millis(500));
        redis.restart();
        for program in [&one, &two] {
            await_share(program, half);
        }
        thread::sleep(Duration::from_millis(500));
    });
    let most = server.seen.lock().unwrap().most;
    assert!(most <= LIMIT, "{most} calls at once");
}
