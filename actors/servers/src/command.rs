//! A hook that runs a command.

use std::{collections::BTreeMap, future::Future, pin::Pin, process::Stdio, time::Duration};

use crate::{
    hook::Hook,
    lines::Lines,
    process::{Group, Launcher, command},
    settings::PASS_ENV,
};

/// The time for the last lines of a command that has ended. What it has left running may write for as long as it likes.
const LAST_LINES: Duration = Duration::from_millis(100);

/// A command: without a shell, with the environment that is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandSettings {
    /// The program.
    pub command: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// The variables of this program's environment that are passed on.
    pub pass_env: Vec<String>,
}

impl Default for CommandSettings {
    fn default() -> Self {
        Self {
            command: String::new(),
            args: Vec::new(),
            pass_env: PASS_ENV.map(str::to_owned).to_vec(),
        }
    }
}

/// A hook that runs a command; the exit code 0 is a success. What the command has left running when it ends goes on; a command
/// that is given up is killed with its children.
#[derive(Clone, Debug)]
pub struct CommandHook {
    command: String,
    args: Vec<String>,
    environment: BTreeMap<String, String>,
    launcher: Option<Launcher>,
}

impl CommandHook {
    /// Creates the hook. `variable` returns variables of this program's environment, of which only those that the settings name
    /// are passed on. Without a launcher the command outlives this program if it is killed.
    pub fn new(
        settings: &CommandSettings,
        variable: impl Fn(&str) -> Option<String>,
        launcher: Option<Launcher>,
    ) -> Self {
        let passed = settings.pass_env.iter();
        Self {
            command: settings.command.clone(),
            args: settings.args.clone(),
            environment: passed
                .filter_map(|name| Some((name.clone(), variable(name)?)))
                .collect(),
            launcher,
        }
    }

    async fn execute(&self) -> Result<(), String> {
        let child = command(&self.command, self.launcher.as_ref())
            .args(&self.args)
            .env_clear()
            .envs(&self.environment)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn();
        let mut child = child.map_err(|error| format!("it cannot be started: {error}"))?;
        let group = Group::of(&child);
        let lines = Lines::default();
        let output = child.stderr.take();
        let reader = output.map(|output| actix_rt::spawn(lines.clone().read(output)));
        let status = child.wait().await;
        group.release();
        if let Some(reader) = reader {
            let _may_be_held_open = tokio::time::timeout(LAST_LINES, reader).await;
        }
        let status = status.map_err(|error| error.to_string())?;
        if status.success() {
            return Ok(());
        }
        let last = lines.last(1).pop();
        Err(match last {
            Some(line) => format!("it ended with {status} (last line: {line})"),
            None => format!("it ended with {status}"),
        })
    }
}

impl Hook for CommandHook {
    fn run(&self) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>> {
        Box::pin(self.execute())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix::test]
    async fn the_exit_code_decides_and_the_last_line_explains() {
        let run = async |script: &str| {
            let settings = CommandSettings {
                command: "/bin/sh".to_owned(),
                args: vec!["-c".to_owned(), script.to_owned()],
                pass_env: vec!["GIVEN".to_owned()],
            };
            let variable = |name: &str| Some(format!("{name} is passed"));
            CommandHook::new(&settings, variable, None).run().await
        };
        assert_eq!(run("exit 0").await, Ok(()));
        assert_eq!(run(r#"[ "$GIVEN" = 'GIVEN is passed' ]"#).await, Ok(()));
        let failed = run("echo no such endpoint >&2; exit 3").await;
        let expected = "it ended with exit status: 3 (last line: no such endpoint)";
        assert_eq!(failed, Err(expected.to_owned()));
    }
    #[actix::test]
    async fn a_command_that_leaves_something_running_has_ended() {
        let settings = CommandSettings {
            command: "/bin/sh".to_owned(),
            args: vec!["-c".to_owned(), "sleep 30 & echo $! >&2; exit 4".to_owned()],
            ..CommandSettings::default()
        };
        let hook = CommandHook::new(&settings, |name| std::env::var(name).ok(), None);
        let ended = tokio::time::timeout(Duration::from_secs(10), hook.run()).await;
        let error = ended.unwrap().unwrap_err();
        let pid = error.split("last line: ").nth(1).unwrap();
        let pid: i32 = pid.trim_end_matches(')').parse().unwrap();
        let left = rustix::process::Pid::from_raw(pid).unwrap();
        // It was meant to go on.
        rustix::process::kill_process(left, rustix::process::Signal::KILL).unwrap();
    }

    #[actix::test]
    async fn a_command_that_is_given_up_is_killed_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let script = format!("sleep 30 & echo $! > {}; wait", file.display());
        let settings = CommandSettings {
            command: "/bin/sh".to_owned(),
            args: vec!["-c".to_owned(), script],
            ..CommandSettings::default()
        };
        let hook = CommandHook::new(&settings, |name| std::env::var(name).ok(), None);
        let written = async {
            loop {
                if let Ok(text) = std::fs::read_to_string(&file)
                    && let Ok(pid) = text.trim().parse::<i32>()
                {
                    return pid;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let pid = tokio::select! {
            ended = hook.run() => panic!("{ended:?}"),
            pid = written => pid,
        };
        let status = format!("/proc/{pid}/stat");
        let lives = || std::fs::read_to_string(&status).is_ok_and(|stat| !stat.contains(") Z "));
        while lives() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
