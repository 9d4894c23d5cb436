//! How a server's process is started and ended: without a shell, with an explicit environment, in a process group of its own.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    net::{Ipv4Addr, TcpListener},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::Stdio,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};

use crate::settings::{PORT_PLACEHOLDER, Port, ProcessSettings};

/// The ports among which a free one is chosen: below those that systems give to outgoing connections.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
/// The exit codes of shells, and of the launcher, for a program that cannot be run.
const NOT_RUN: [i32; 2] = [126, 127];
/// The ports that are tried.
const PORT_TRIES: u32 = 100;

/// A program that replaces itself by the server, after it has arranged that the server ends with this process. It gets the id of
/// this process and the server's program and arguments as its last arguments.
#[derive(Clone, Debug)]
pub struct Launcher {
    /// The program.
    pub program: PathBuf,
    /// Its first arguments.
    pub args: Vec<String>,
}

/// The reason why a process was not started.
pub(crate) enum StartError {
    /// Nothing can listen on its port.
    PortTaken(io::Error),
    /// The program cannot be run.
    NotStarted(io::Error),
}

/// A process that can be started again and again.
#[derive(Clone, Debug)]
pub struct Launch {
    settings: ProcessSettings,
    port: u16,
    environment: BTreeMap<String, String>,
    launcher: Option<Launcher>,
}

impl Launch {
    /// Creates the launch of a process. `variable` returns variables of this program's environment, of which only those that
    /// the settings name are passed on. `chance` is a random number. Without a launcher the process outlives this one if it is
    /// killed.
    ///
    /// # Errors
    /// Returns an error if no port is free.
    pub fn new(
        settings: &ProcessSettings,
        variable: impl Fn(&str) -> Option<String>,
        launcher: Option<Launcher>,
        chance: u64,
    ) -> io::Result<Self> {
        let port = match settings.port {
            Port::Fixed(port) => port,
            Port::Auto => free_port(chance)?,
        };
        let passed = settings.pass_env.iter();
        let mut environment: BTreeMap<_, _> = passed
            .filter_map(|name| Some((name.clone(), variable(name)?)))
            .collect();
        for (name, value) in &settings.env {
            environment.insert(name.clone(), with_port(value, port));
        }
        Ok(Self {
            settings: settings.clone(),
            port,
            environment,
            launcher,
        })
    }

    /// Returns the port on which the process listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn start_timeout(&self) -> Duration {
        self.settings.start_timeout.get()
    }

    /// Starts the process.
    pub(crate) fn start(&self) -> Result<Process, StartError> {
        // A server that something else has left there would pass for this one.
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port));
        drop(free.map_err(StartError::PortTaken)?);
        let mut command = self.command();
        let child = command
            .env_clear()
            .envs(&self.environment)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(StartError::NotStarted)?;
        Ok(Process {
            group: Group::of(&child),
            child,
            grace: self.settings.stop_grace.get(),
        })
    }

    fn command(&self) -> Command {
        let args = self.settings.args.iter();
        let args = args.map(|arg| with_port(arg, self.port));
        let mut command = command(&self.settings.command, self.launcher.as_ref());
        command.args(args);
        if let Some(folder) = &self.settings.cwd {
            command.current_dir(folder);
        }
        command
    }
}

/// Returns the command of a program, through a launcher if there is one.
pub(crate) fn command(program: &str, launcher: Option<&Launcher>) -> Command {
    let Some(launcher) = launcher else {
        return Command::new(program);
    };
    let mut command = Command::new(&launcher.program);
    command.args(&launcher.args);
    command.arg(std::process::id().to_string());
    command.arg(program);
    command
}

/// The process group that a child leads. Dropping it kills the group.
pub(crate) struct Group(Option<Pid>);

impl Group {
    /// Returns the group of a child that was started as the leader of one.
    pub(crate) fn of(child: &Child) -> Self {
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
        Self(pid.and_then(Pid::from_raw))
    }

    /// Leaves the group alone: its leader has ended, so the number may belong to others.
    pub(crate) fn release(mut self) {
        self.0 = None;
    }

    /// Sends a signal to the process and its children. Those that have ended need none.
    fn signal(&self, signal: Signal) {
        if let Some(group) = self.0 {
            let _needless_if_ended = kill_process_group(group, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

fn with_port(text: &str, port: u16) -> String {
    text.replace(PORT_PLACEHOLDER, &port.to_string())
}

/// Returns a port on which nothing listens.
fn free_port(chance: u64) -> io::Result<u16> {
    let count = u64::from(PORTS.end - PORTS.start);
    let mut number = chance;
    for _ in 0..PORT_TRIES {
        let port = PORTS.start + u16::try_from(number % count).unwrap_or(0);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
        number = number
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407)
            >> 1;
    }
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()
        .map(|address| address.port())
}

/// A running process with its children. Dropping it kills them.
pub(crate) struct Process {
    pub(crate) child: Child,
    group: Group,
    grace: Duration,
}

impl Process {
    /// Returns the id of the process.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Ends the process and its children: it is requested to end, and killed after the grace. Returns `true` if it ended by
    /// itself.
    pub(crate) async fn stop(mut self) -> bool {
        self.group.signal(Signal::TERM);
        let ended = tokio::time::timeout(self.grace, self.child.wait()).await;
        self.group.signal(Signal::KILL);
        let _has_ended = self.child.wait().await;
        self.group.release();
        ended.is_ok()
    }
}

/// Returns `true` for the status of a process whose program could not be run.
pub(crate) fn was_not_run(status: std::process::ExitStatus) -> bool {
    status.code().is_some_and(|code| NOT_RUN.contains(&code))
}

/// Becomes a server: arranges that the kernel kills this process when its parent has ended, and replaces it by the program. Used
/// by a [`Launcher`]. Returns only if that fails.
pub fn become_server(parent: u32, program: &OsString, args: &[OsString]) -> io::Error {
    #[cfg(target_os = "linux")]
    {
        if let Err(error) = rustix::process::set_parent_process_death_signal(Some(Signal::KILL)) {
            return error.into();
        }
        let known = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get().unsigned_abs());
        if known != Some(parent) {
            return io::Error::other("the parent process has ended");
        }
    }
    std::process::Command::new(program).args(args).exec()
}
