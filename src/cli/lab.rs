//! Commands to try and evaluate the gateway: `kebne simulate`, `kebne load`, `kebne demo`.

pub mod demo;
pub mod load;
pub mod simulate;

use std::{
    io::{self, Write},
    path::PathBuf,
};

use clap::Subcommand;
use kebne_lab::{
    demo::Job,
    sim::script::{Script, ScriptError},
    simulate::Preset,
};

use crate::{
    cli::{CommandError, ExitCode},
    settings::Environment,
};
pub use load::LoadArguments;

/// A command of the lab.
#[derive(Debug, Subcommand)]
pub enum LabCommand {
    /// Serve a simulated model on loopback, as a target for any client or gateway.
    Simulate {
        /// The port; 0 selects a free one.
        #[arg(long, value_name = "N")]
        port: u16,
        /// The settings file; only `[simulation]` is used.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// The preset: `default`, `plan` or `instant`; overrides the settings.
        #[arg(long, value_name = "NAME")]
        preset: Option<Preset>,
        /// Serve the backend of a scenario, such as `S03`, instead of the model of the settings.
        #[arg(long, value_name = "NAME", conflicts_with_all = ["config", "preset"])]
        scenario: Option<String>,
        /// The factor by which the scenario is sped up; 0.1 to 100.
        #[arg(long, value_name = "N", default_value_t = 1.0, requires = "scenario")]
        speed: f64,
        /// Seed of the scenario's random numbers.
        #[arg(long, value_name = "N", default_value_t = 1, requires = "scenario")]
        seed: u64,
    },
    /// Send calls to a service on this machine when they are due, and report how each ended.
    Load(Box<LoadArguments>),
    /// Run one job twice, with a fixed strategy and through a lane, and print a table of both.
    Demo {
        /// Prompts; 1 to 10000.
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=10_000))]
        calls: u16,
        /// Seed of the simulated model.
        #[arg(long, value_name = "N", default_value_t = 1)]
        seed: u64,
        /// Use virtual time: the same job within a second.
        #[arg(long)]
        fast: bool,
        /// Print JSON instead of the table.
        #[arg(long)]
        json: bool,
    },
}

/// The reason why a command of the lab failed.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// The simulated model could not be served.
    #[error("cannot serve the simulated model: {0}")]
    Simulate(#[source] io::Error),
    /// The port of the simulated model cannot be listened on.
    #[error("cannot serve the simulated model on 127.0.0.1:{port}: {error}")]
    Listen {
        /// The port.
        port: u16,
        /// The reason.
        #[source]
        error: io::Error,
    },
    /// The scenario cannot be played.
    #[error(transparent)]
    Script(#[from] ScriptError),
    /// The load could not be sent.
    #[error(transparent)]
    Load(#[from] load::LoadCommandError),
    /// The lane of the demo did not start.
    #[error("the demo's lane did not start: {0}")]
    Demo(#[from] kebne_lane::StartError),
}

impl LabError {
    /// Returns the code that the process ends with.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Script(_) | Self::Load(_) => ExitCode::Usage,
            Self::Simulate(_) | Self::Listen { .. } | Self::Demo(_) => ExitCode::Failure,
        }
    }
}

/// Runs a command and writes its result to `output`.
///
/// # Errors
/// See [`CommandError`].
pub fn run(
    command: LabCommand,
    environment: &dyn Environment,
    output: &mut dyn Write,
) -> Result<(), CommandError> {
    match command {
        LabCommand::Simulate {
            port,
            config,
            preset,
            scenario: None,
            ..
        } => simulate::run(port, config.as_deref(), preset, environment, output),
        LabCommand::Simulate {
            port,
            scenario: Some(name),
            speed,
            seed,
            ..
        } => {
            let script = Script::named(&name, speed, seed).map_err(LabError::from)?;
            simulate::run_script(port, &script, output)
        }
        LabCommand::Load(arguments) => load::run(&arguments, environment, output),
        LabCommand::Demo {
            calls,
            seed,
            fast,
            json,
        } => {
            let calls = usize::from(calls);
            demo::run(Job { calls, seed }, fast, json, output)
        }
    }
}
