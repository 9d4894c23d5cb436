//! A server as a child process: without a shell, with an explicit environment, in a process group of its own.

use std::{process::Stdio, time::Duration};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use crate::{fault::short, options::ProcessWay};

/// The bytes of a line of its errors that are logged.
const LINE_MAX: usize = 500;

/// A running process with its children. Dropping it kills them.
pub(crate) struct Process {
    child: Child,
    group: Option<Pid>,
    grace: Duration,
}

impl Process {
    /// Starts a server. Returns it with its output and its input.
    pub(crate) fn start(
        name: &str,
        way: &ProcessWay,
    ) -> std::io::Result<(Self, ChildStdout, ChildStdin)> {
        let mut command = match &way.launcher {
            None => Command::new(&way.command),
            Some(launcher) => {
                let mut command = Command::new(&launcher.program);
                command.args(&launcher.args);
                command.arg(std::process::id().to_string());
                command.arg(&way.command);
                command
            }
        };
        command.args(&way.args);
        if let Some(folder) = &way.cwd {
            command.current_dir(folder);
        }
        let mut child = command
            .env_clear()
            .envs(&way.environment)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let (output, input) = (child.stdout.take(), child.stdin.take());
        let (Some(output), Some(input)) = (output, input) else {
            return Err(std::io::Error::other("the process has no pipes"));
        };
        if let Some(errors) = child.stderr.take() {
            tokio::spawn(log(name.to_owned(), errors));
        }
        let group = child.id().and_then(|pid| i32::try_from(pid).ok());
        let process = Self {
            group: group.and_then(Pid::from_raw),
            child,
            grace: way.stop_grace,
        };
        Ok((process, output, input))
    }

    /// Ends the process and its children. Its input is closed already, which requests it to end.
    pub(crate) async fn stop(mut self) {
        let half = self.grace / 2;
        let ended = tokio::time::timeout(half, self.child.wait()).await;
        if ended.is_err() {
            self.signal(Signal::TERM);
            let _ended = tokio::time::timeout(half, self.child.wait()).await;
        }
        self.signal(Signal::KILL);
        let _has_ended = self.child.wait().await;
        // The number may belong to others from now on.
        self.group = None;
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            let _needless_if_ended = kill_process_group(group, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// Logs the lines that a server writes beside the protocol.
async fn log(server: String, source: impl AsyncRead + Unpin) {
    let mut reader = BufReader::new(source);
    let mut line = Vec::with_capacity(LINE_MAX);
    loop {
        let Ok(bytes) = reader.fill_buf().await else {
            return;
        };
        if bytes.is_empty() {
            return;
        }
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let part = end.unwrap_or(bytes.len());
        let room = LINE_MAX.saturating_sub(line.len()).min(part);
        line.extend(bytes.iter().take(room));
        reader.consume(part + usize::from(end.is_some()));
        if end.is_some() {
            let text = short(String::from_utf8_lossy(&line).trim());
            if !text.is_empty() {
                tracing::debug!(server, text, "an MCP server writes");
            }
            line.clear();
        }
    }
}
