//! A hook that runs a command.

use std::{collections::BTreeMap, future::Future, pin::Pin, process::Stdio};

use tokio::process::Command;

use crate::{hook::Hook, lines::Lines, settings::PASS_ENV};

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

/// A hook that runs a command; the exit code 0 is a success.
#[derive(Clone, Debug)]
pub struct CommandHook {
    command: String,
    args: Vec<String>,
    environment: BTreeMap<String, String>,
}

impl CommandHook {
    /// Creates the hook. `variable` returns variables of this program's environment, of which only those that the settings name
    /// are passed on.
    pub fn new(settings: &CommandSettings, variable: impl Fn(&str) -> Option<String>) -> Self {
        let passed = settings.pass_env.iter();
        Self {
            command: settings.command.clone(),
            args: settings.args.clone(),
            environment: passed
                .filter_map(|name| Some((name.clone(), variable(name)?)))
                .collect(),
        }
    }

    async fn execute(&self) -> Result<(), String> {
        let child = Command::new(&self.command)
            .args(&self.args)
            .env_clear()
            .envs(&self.environment)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        let mut child = child.map_err(|error| format!("it cannot be started: {error}"))?;
        let lines = Lines::default();
        if let Some(output) = child.stderr.take() {
            lines.clone().read(output).await;
        }
        let status = child.wait().await.map_err(|error| error.to_string())?;
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
            CommandHook::new(&settings, |name| Some(format!("{name} is passed")))
                .run()
                .await
        };
        assert_eq!(run("exit 0").await, Ok(()));
        assert_eq!(run(r#"[ "$GIVEN" = 'GIVEN is passed' ]"#).await, Ok(()));
        let failed = run("echo no such endpoint >&2; exit 3").await;
        let expected = "it ended with exit status: 3 (last line: no such endpoint)";
        assert_eq!(failed, Err(expected.to_owned()));
    }
}
