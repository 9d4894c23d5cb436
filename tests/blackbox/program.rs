//! The program under test, with a folder of its own.

use std::{
    fmt::Write as _,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::upstream::Silent;

pub(crate) const CHAT: &str = "/v1/chat/completions";
pub(crate) const SESSION: &str = "x-kebne-session";

pub(crate) fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// The program, with a folder of its own; killed when the test is over.
pub(crate) struct Program {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
}

impl Program {
    /// Starts with an instant simulated model unless `variables` say otherwise.
    pub(crate) fn start(folder: &Path, variables: &[(&str, &str)]) -> Self {
        Self::spawn(&mut Self::command(folder, variables))
    }

    /// Starts without the simulated backend's settings.
    pub(crate) fn start_plain(folder: &Path, config: &Path) -> Self {
        Self::spawn(Self::bare(folder).arg("--config").arg(config))
    }

    /// Returns a line of `/proc/PID/status` in KiB: `VmRSS` is the memory now, `VmHWM` the most so far.
    pub(crate) fn memory(&self, line: &str) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).unwrap();
        let found = status.lines().find_map(|text| text.strip_prefix(line));
        let kib = found.unwrap().trim_start_matches(':').trim();
        kib.trim_end_matches(" kB").parse().unwrap()
    }

    fn spawn(command: &mut Command) -> Self {
        Self::spawn_with(command, Stdio::null())
    }

    /// Starts with a standard error of the test's own.
    pub(crate) fn spawn_with(command: &mut Command, stderr: Stdio) -> Self {
        let mut child = command.stderr(stderr).spawn().unwrap();
        let mut said = String::new();
        let output = child.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut said).unwrap();
        let url = said.trim().strip_prefix("kebne on ").unwrap();
        let (_, address) = url.split_once("://").unwrap();
        let address = address.strip_suffix("/v1").unwrap().parse().unwrap();
        Self { child, address }
    }

    /// Returns the command with a settings file, for [`Program::spawn_with`].
    pub(crate) fn configured(folder: &Path, config: &Path) -> Command {
        let mut command = Self::bare(folder);
        command.arg("--config").arg(config);
        command
    }

    fn bare(folder: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kebne"));
        command
            .args(["serve", "--listen", "127.0.0.1:0"])
            .current_dir(folder)
            .env("KEBNE__SERVER__LAME_DUCK", "0s")
            .stdout(Stdio::piped());
        command
    }

    pub(crate) fn command(folder: &Path, variables: &[(&str, &str)]) -> Command {
        let mut command = Self::bare(folder);
        command
            .env("KEBNE__BACKENDS__0__SIMULATION__PRESET", "instant")
            .envs(variables.iter().copied());
        command
    }

    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Answer {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        self.try_send(method, path, headers, &body).unwrap()
    }

    /// Sends a request; `None` when the program dies before the whole answer is there.
    pub(crate) fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Option<Answer> {
        Self::exchange(self.address, method, path, headers, body)
    }

    pub(crate) fn exchange(
        address: SocketAddr,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Option<Answer> {
        let mut head =
            format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
        for (name, value) in headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        write!(head, "content-length: {}\r\n\r\n{body}", body.len()).unwrap();
        Self::exchange_raw(address, &head)
    }

    /// Sends exactly this text, and reads the answer until the connection is closed.
    pub(crate) fn exchange_raw(address: SocketAddr, text: &str) -> Option<Answer> {
        let mut socket = TcpStream::connect(address).ok()?;
        let timeout = Some(Duration::from_mins(1));
        socket.set_read_timeout(timeout).unwrap();
        socket.write_all(text.as_bytes()).ok()?;
        let mut text = String::new();
        socket.read_to_string(&mut text).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        Some(Answer {
            status: head.split(' ').nth(1)?.parse().ok()?,
            head: head.to_lowercase(),
            body: body.to_owned(),
        })
    }

    /// Waits until the metrics hold a line; the bound is wide because the machine may be busy.
    pub(crate) fn await_metric(&self, line: &str) {
        self.await_metric_within(line, Duration::from_secs(20));
    }

    /// Waits so long at most until the metrics hold a line.
    pub(crate) fn await_metric_within(&self, line: &str, time: Duration) {
        let since = Instant::now();
        loop {
            let metrics = self.send("GET", "/metrics", &[], &Value::Null).body;
            if metrics.lines().any(|seen| seen == line) {
                return;
            }
            assert!(since.elapsed() < time, "no `{line}` in:\n{metrics}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Makes a call and leaves once its request has arrived at `server` (a stream: once it has begun). Returns the time
    /// at which it left.
    pub(crate) fn leave(&self, stream: bool, server: &Silent) -> Instant {
        let body = json!({"model": "simulated", "stream": stream, "messages": [{"role": "user", "content": "a"}]});
        let body = body.to_string();
        let mut socket = TcpStream::connect(self.address).unwrap();
        let length = body.len();
        write!(
            socket,
            "POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        server.asked.recv_timeout(Duration::from_secs(20)).unwrap();
        if stream {
            let mut seen = String::new();
            let mut part = [0; 4096];
            while !seen.contains("data: ") {
                let read = socket.read(&mut part).unwrap();
                assert!(read > 0, "{seen}");
                seen.push_str(std::str::from_utf8(&part[..read]).unwrap());
            }
        }
        drop(socket);
        Instant::now()
    }

    pub(crate) fn ask_to_stop(&self) {
        self.signal("TERM");
    }

    pub(crate) fn signal(&self, name: &str) {
        send_signal(name, self.child.id());
    }

    /// Asks the program to stop; returns its exit code.
    pub(crate) fn terminate(&mut self) -> Option<i32> {
        self.ask_to_stop();
        self.child.wait().unwrap().code()
    }

    pub(crate) fn session(&self) -> String {
        let made = self.send("POST", "/v1/sessions", &[], &Value::Null).json();
        made["id"].as_str().unwrap().to_owned()
    }

    pub(crate) fn chat(&self, session: &str, text: &str) -> Answer {
        let body = json!({"model": "simulated", "messages": [{"role": "user", "content": text}]});
        self.send("POST", CHAT, &[(SESSION, session)], &body)
    }

    /// Returns the texts of all messages of a session, with the role's first letter.
    pub(crate) fn texts(&self, session: &str) -> Vec<String> {
        let mut texts = Vec::new();
        let mut after = 0;
        loop {
            let path = format!("/v1/sessions/{session}/turns?limit=100&after={after}");
            let page = self.send("GET", &path, &[], &Value::Null).json();
            for turn in page["data"].as_array().unwrap() {
                after += 1;
                assert_eq!(turn["number"], after);
                for message in turn["messages"].as_array().unwrap() {
                    let role = &message["role"].as_str().unwrap()[..1];
                    texts.push(format!("{role} {}", message["content"].as_str().unwrap()));
                }
            }
            if page["has_more"] == false {
                return texts;
            }
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub(crate) fn code(&self) -> (u16, String) {
        let code = self.json()["error"]["code"].as_str().unwrap().to_owned();
        (self.status, code)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    pub(crate) fn has(&self, header: &str) -> bool {
        self.head.lines().any(|line| line == header)
    }
}

/// Sends a signal to a process. The shell has the command built in; a bare Debian has no program of that name.
pub(crate) fn send_signal(name: &str, pid: u32) {
    let command = format!("kill -s {name} {pid}");
    let sent = Command::new("sh").args(["-c", &command]).status();
    assert!(sent.unwrap().success());
}
