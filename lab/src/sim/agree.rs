//! Runs scenarios over real sockets: the simulated backend, the gateway and the load generator each run in a process of
//! their own, and the goodput is compared with that in virtual time.
//!
//! The comparison checks the simulator: a difference is a bug in one of the two. Both runs use the same speed-up, so
//! that each scenario takes less than a minute.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Deserialize;

use crate::sim::script::{Script, ScriptError};

/// The default scenarios: rejecting and queueing backends, a drop and a rise of capacity, cold starts, a quota, an
/// outage, a streaming batch server, and a backend without problems.
const DEFAULT: &str = "S01,S03,S04,S05,S07,S10,S12,S15,S18,S19";

/// The options of `agree`: scenarios, speed and tolerance.
#[derive(Debug, clap::Args)]
pub(crate) struct Agree {
    /// The path of the `kebne` program.
    #[arg(long, default_value = "target/release/kebne")]
    program: PathBuf,
    /// Names of the scenarios.
    #[arg(long, value_delimiter = ',', default_value = DEFAULT)]
    scenarios: Vec<String>,
    /// The factor by which the scenarios are sped up; 0.1 to 100.
    #[arg(long, default_value_t = 6.0)]
    speed: f64,
    /// The seed of calls and backend.
    #[arg(long, default_value_t = 31)]
    seed: u64,
    /// The name of the law in the settings. Default: the default of the settings.
    #[arg(long)]
    law: Option<String>,
    /// The largest allowed difference of goodput, in percentage points.
    #[arg(long, default_value_t = 5.0)]
    tolerance: f64,
}

/// The reason why the comparison failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AgreeError {
    /// A scenario cannot be run.
    #[error(transparent)]
    Script(#[from] ScriptError),
    /// A process could not be run.
    #[error("`{program}`: {source}")]
    Run { program: PathBuf, source: io::Error },
    /// A process printed unexpected output.
    #[error("`{program}` {what}")]
    BadOutput { program: PathBuf, what: String },
    /// The two runs differ.
    #[error("{table}\nvirtual time and sockets differ by more than {tolerance} points in {names}")]
    Differ {
        table: String,
        tolerance: f64,
        names: String,
    },
}

#[derive(Debug, Deserialize)]
struct Played {
    load: Load,
    scenario: Judged,
}

#[derive(Debug, Deserialize)]
struct Load {
    success_of_offered: f64,
    success_of_admitted: f64,
    sent_late: Late,
}

#[derive(Debug, Deserialize)]
struct Late {
    p99_ms: f64,
}

#[derive(Debug, Deserialize)]
struct Judged {
    title: String,
    goodput: f64,
    virtual_goodput: f64,
    virtual_success_of_offered: f64,
}

/// A child process that is killed when its owner is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // A process that has already ended need not be killed.
        let _gone = self.0.kill().and_then(|()| self.0.wait());
    }
}

/// Runs the scenarios one after the other and returns the table.
pub(crate) fn run(options: &Agree) -> Result<String, AgreeError> {
    let law = match &options.law {
        Some(law) => law.clone(),
        None => crate::sim::entrant::default_law(),
    };
    let style = ProgressStyle::with_template("{bar:20} {pos}/{len} {elapsed:>4}  {msg}");
    let bar = ProgressBar::new(u64::try_from(options.scenarios.len()).unwrap_or(0));
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let mut table = String::from(
        "| scenario | goodput, virtual | sockets | points | of offered, virtual | sockets | of admitted | sent late p99 ms |\n|---|---|---|---|---|---|---|---|\n",
    );
    let mut differ = Vec::new();
    for name in &options.scenarios {
        bar.set_message(name.clone());
        let played = play(options, name, &law)?;
        let (load, judged) = (played.load, played.scenario);
        let points = 100.0 * (judged.goodput - judged.virtual_goodput);
        if points.abs() > options.tolerance {
            differ.push(name.clone());
        }
        let written = writeln!(
            table,
            "| {} | {:.3} | {:.3} | {points:+.1} | {:.3} | {:.3} | {:.3} | {:.1} |",
            judged.title,
            judged.virtual_goodput,
            judged.goodput,
            judged.virtual_success_of_offered,
            load.success_of_offered,
            load.success_of_admitted,
            load.sent_late.p99_ms,
        );
        debug_assert!(written.is_ok(), "writing to a string cannot fail");
        bar.inc(1);
    }
    bar.finish_and_clear();
    let table = format!(
        "Law `{law}`, {} times as fast, seed {}.\n\n{table}",
        options.speed, options.seed
    );
    if differ.is_empty() {
        return Ok(table);
    }
    Err(AgreeError::Differ {
        table,
        tolerance: options.tolerance,
        names: differ.join(", "),
    })
}

fn play(options: &Agree, name: &str, law: &str) -> Result<Played, AgreeError> {
    let script = Script::named(name, options.speed, options.seed)?;
    let failed = |source| AgreeError::Run {
        program: options.program.clone(),
        source,
    };
    let folder = tempfile::tempdir().map_err(failed)?;
    let speed = options.speed.to_string();
    let seed = options.seed.to_string();
    let which = ["--scenario", name, "--speed", &speed, "--seed", &seed];
    let (_backend, backend) = start(
        options,
        folder.path(),
        &[&["simulate", "--port", "0"], &which[..]].concat(),
    )?;
    let config = folder.path().join("kebne.toml");
    std::fs::write(&config, settings(&script, &backend, law)).map_err(failed)?;
    let config = config.to_string_lossy().into_owned();
    let (_gateway, gateway) = start(options, folder.path(), &["serve", "--config", &config])?;
    let load = [
        &["load", "--json", "--url", &gateway, "--law", law],
        &which[..],
    ]
    .concat();
    let output = command(options, folder.path(), &load)
        .output()
        .map_err(failed)?;
    serde_json::from_slice(&output.stdout).map_err(|error| AgreeError::BadOutput {
        program: options.program.clone(),
        what: format!(
            "load: {error}; {}",
            String::from_utf8_lossy(&output.stderr).trim()
        ),
    })
}

/// Returns the settings that give the gateway the same bounds as the virtual one.
fn settings(script: &Script, backend: &str, law: &str) -> String {
    let timeout = script.attempt_timeout().as_millis();
    format!(
        "[server]\nlisten = \"127.0.0.1:0\"\nlearned_path = \"\"\ndecisions_path = \"\"\n\n[log]\nfilter = \"warn\"\n\n\
         [[backends]]\nname = \"simulated\"\nkind = \"openai\"\nbase_url = \"{backend}\"\n\n\
         [backends.limits]\nlaw = \"{law}\"\nattempt_timeout = \"{timeout}ms\"\nfirst_token_timeout = \"{timeout}ms\"\n\n\
         [[models]]\nname = \"simulated\"\nbackends = [\"simulated\"]\n"
    )
}

fn command(options: &Agree, folder: &Path, arguments: &[&str]) -> Command {
    let program = options.program.canonicalize();
    let mut command = Command::new(program.unwrap_or_else(|_| options.program.clone()));
    command
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    command
}

/// Starts a server and returns it with its base URL, which it prints on its first line.
fn start(
    options: &Agree,
    folder: &Path,
    arguments: &[&str],
) -> Result<(Running, String), AgreeError> {
    let failed = |source| AgreeError::Run {
        program: options.program.clone(),
        source,
    };
    let mut child = command(options, folder, arguments)
        .spawn()
        .map_err(failed)?;
    let output = child.stdout.take();
    let running = Running(child);
    let mut line = String::new();
    if let Some(output) = output {
        BufReader::new(output)
            .read_line(&mut line)
            .map_err(failed)?;
    }
    let url = line.trim().rsplit(' ').next().unwrap_or_default();
    if url.starts_with("http://") {
        return Ok((running, url.to_owned()));
    }
    Err(AgreeError::BadOutput {
        program: options.program.clone(),
        what: format!("wrote `{}` in place of its address", line.trim()),
    })
}
