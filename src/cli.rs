//! The command line: commands, arguments and exit codes.
//!
//! Each command has a file of its own and writes its result to a given writer, so that tests read what a user
//! would see. Arguments, environment and writers are parameters of [`run`]; `main` passes the real ones.

mod causes;
pub mod check;
pub mod events;
pub mod exit;
pub mod health;
pub mod init;
pub mod key;
#[cfg(feature = "lab")]
pub mod lab;
pub mod metrics;
pub mod reference;
pub mod serve;
pub mod tls;
#[cfg(feature = "top")]
pub mod top;

use std::{
    ffi::OsString,
    io::{self, Write},
    net::SocketAddr,
    path::PathBuf,
};

use crate::{
    backend,
    logging::LoggingError,
    service::ServiceError,
    settings::{Environment, SettingsErrors},
};
use clap::{Parser, Subcommand};
pub use exit::ExitCode;

/// A gateway of actors in front of fragile, cold-starting LLM backends.
#[derive(Debug, Parser)]
#[command(name = "kebne", version, about, after_help = exit::HELP)]
pub struct Cli {
    /// The command; without one, `serve`.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// A command of the program.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the gateway (the default).
    Serve {
        /// The settings file; without it, the defaults and the environment are used.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// The address to listen on; overrides the settings.
        #[arg(long, value_name = "ADDRESS")]
        listen: Option<SocketAddr>,
    },
    /// Serve the gateway, and take calls from NATS or Kafka as well, as the settings `consume` say.
    #[cfg(feature = "broker")]
    Consume {
        /// The settings file; without it, the defaults and the environment are used.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// The address to listen on; overrides the settings.
        #[arg(long, value_name = "ADDRESS")]
        listen: Option<SocketAddr>,
    },
    /// Validate the settings, print the effective ones as TOML, and list where each value came from.
    Check {
        /// The settings file; without it, the defaults and the environment are used.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Ask each backend with a small request instead, and say of each what is wrong and what to do.
        #[arg(long)]
        live: bool,
    },
    /// Write a settings file for model servers, by asking them what they are.
    Init {
        /// The addresses of the servers, such as `http://127.0.0.1:11434`.
        #[arg(value_name = "URL", required = true)]
        urls: Vec<String>,
        /// The file to write.
        #[arg(long, value_name = "FILE", default_value = "kebne.toml")]
        output: PathBuf,
        /// Replace the file if it exists.
        #[arg(long)]
        force: bool,
        /// The environment variable with the key of the servers that need one.
        #[arg(long, value_name = "NAME")]
        key_env: Option<String>,
    },
    /// Commands to try and evaluate the gateway.
    #[cfg(feature = "lab")]
    #[command(flatten)]
    Lab(lab::LabCommand),
    /// Print the reference of the metrics as a table in Markdown.
    Metrics,
    /// Print the reference of the events as tables in Markdown.
    Events {
        /// Write the JSON schema of each type of event into this folder instead.
        #[arg(long, value_name = "FOLDER")]
        schemas: Option<PathBuf>,
    },
    /// Show what a running gateway does, in the terminal.
    #[cfg(feature = "top")]
    Top {
        /// The address of the gateway. Its key, if it needs one, is read from the variable `KEBNE_API_KEY`.
        #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
        url: String,
        /// Print one view as plain text, and end.
        #[arg(long)]
        once: bool,
        /// The files for TLS.
        #[command(flatten)]
        tls: tls::TlsArguments,
    },
    /// Create an API key and print it with its hash for the settings.
    Key,
    /// Ask a running gateway whether it lives; ends with code 1 if it does not.
    Health {
        /// The address of the gateway; without it, that of `KEBNE__SERVER__LISTEN`, or `http://127.0.0.1:8080`; with `https` if
        /// `KEBNE__SERVER__TLS__CERT` is set, whose certificate is then not checked.
        #[arg(long, value_name = "URL")]
        url: Option<String>,
        /// Ask whether it admits calls (/readyz) instead.
        #[arg(long)]
        ready: bool,
        /// Do not check the certificate of the gateway. Nothing secret is sent.
        #[arg(long)]
        insecure: bool,
        /// The files for TLS.
        #[command(flatten)]
        tls: tls::TlsArguments,
    },
    /// Become the program of a model server, which ends with the process that started it.
    #[command(name = backend::LAUNCH, hide = true)]
    Launch {
        /// The id of that process.
        parent: u32,
        /// The program.
        program: OsString,
        /// Its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Read a PDF file from the standard input and print its pages as JSON, within bounds of memory and time.
    #[command(name = crate::pdf::READ_PDF, hide = true)]
    ReadPdf,
    /// Print completions for a shell.
    Completions {
        /// The shell.
        #[arg(value_name = "SHELL")]
        shell: clap_complete::Shell,
    },
    /// Print the manual page.
    Man {
        /// Write the pages of all commands into this folder instead.
        #[arg(long, value_name = "FOLDER")]
        folder: Option<PathBuf>,
    },
}

/// The reason why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The settings are wrong.
    #[error("the settings are wrong:\n{0}")]
    Settings(#[from] SettingsErrors),
    /// The settings could not be written as TOML.
    #[error("the settings cannot be shown: {0}")]
    Show(#[from] toml::ser::Error),
    /// The system gave no randomness for a key.
    #[error("no randomness for a key: {0}")]
    Randomness(io::Error),
    /// A command of the lab failed.
    #[cfg(feature = "lab")]
    #[error(transparent)]
    Lab(#[from] lab::LabError),
    /// `kebne top` failed.
    #[cfg(feature = "top")]
    #[error(transparent)]
    Top(#[from] top::TopError),
    /// The program of a model server could not be run.
    #[error("it cannot be run: {0}")]
    Launch(#[source] io::Error),
    /// A PDF file could not be read.
    #[error("{0}")]
    Pdf(#[source] io::Error),
    /// Backends do not serve as they are set.
    #[error(transparent)]
    Live(#[from] check::live::LiveError),
    /// No settings could be written.
    #[error(transparent)]
    Init(#[from] init::InitError),
    /// The gateway is not healthy.
    #[error(transparent)]
    Health(#[from] health::HealthError),
    /// The log could not be started.
    #[error("{0}")]
    Log(#[source] LoggingError),
    /// The address could not be listened on.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The reason.
        #[source]
        error: io::Error,
    },
    /// The service failed.
    #[error("{0}")]
    Service(#[from] ServiceError),
    /// The service was stopped before every admitted call had ended.
    #[error("{0} admitted calls were cut off")]
    CutOff(usize),
    /// The result could not be written.
    #[error("cannot write the result: {0}")]
    Write(#[from] io::Error),
}

impl CommandError {
    /// Returns the code that the process ends with.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Settings(_) => ExitCode::Settings,
            #[cfg(feature = "lab")]
            Self::Lab(error) => error.exit_code(),
            #[cfg(feature = "top")]
            Self::Top(_) => ExitCode::Failure,
            Self::Show(_)
            | Self::Randomness(_)
            | Self::Health(_)
            | Self::Live(_)
            | Self::Init(_)
            | Self::Log(_)
            | Self::Pdf(_)
            | Self::Listen { .. }
            | Self::Service(_)
            | Self::CutOff(_)
            | Self::Write(_) => ExitCode::Failure,
            Self::Launch(_) => ExitCode::NotRun,
        }
    }
}

/// Replaces this program by a model server; returns only if that fails.
fn launch(parent: u32, program: &OsString, args: &[OsString]) -> Result<(), CommandError> {
    let error = kebne_servers::become_server(parent, program, args);
    Err(CommandError::Launch(error))
}

/// Runs the command that the arguments name; writes results to `output` and errors to `complaints`.
pub fn run<I, T>(
    arguments: I,
    environment: &dyn Environment,
    output: &mut dyn Write,
    complaints: &mut dyn Write,
) -> ExitCode
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let parsed = match Cli::try_parse_from(arguments) {
        Ok(parsed) => parsed,
        Err(error) => return explain(&error, output, complaints),
    };
    let serve = Command::Serve {
        config: None,
        listen: None,
    };
    let done = perform(parsed.command.unwrap_or(serve), environment, output);
    let Err(error) = done else {
        return ExitCode::Success;
    };
    let written = writeln!(complaints, "error: {error}");
    if written.is_err() {
        ExitCode::Failure
    } else {
        error.exit_code()
    }
}

/// Performs a command.
fn perform(
    command: Command,
    environment: &dyn Environment,
    output: &mut dyn Write,
) -> Result<(), CommandError> {
    match command {
        Command::Serve { config, listen } => {
            serve::run(config.as_deref(), listen, environment, output)
        }
        #[cfg(feature = "broker")]
        Command::Consume { config, listen } => {
            serve::consume(config.as_deref(), listen, environment, output)
        }
        Command::Check {
            config,
            live: false,
        } => check::run(config.as_deref(), environment, output),
        Command::Check { config, live: true } => {
            check::live::run(config.as_deref(), environment, output)
        }
        Command::Init {
            urls,
            output: file,
            force,
            key_env,
        } => {
            let wanted = init::Wanted {
                urls,
                file,
                force,
                key_env,
            };
            init::run(&wanted, environment, output)
        }
        #[cfg(feature = "lab")]
        Command::Lab(command) => lab::run(command, environment, output),
        Command::Metrics => metrics::run(output),
        Command::Events { schemas } => events::run(schemas.as_deref(), output),
        #[cfg(feature = "top")]
        Command::Top { url, once, tls } => top::run(&url, once, &tls, environment, output),
        Command::Key => key::run(output),
        Command::Health {
            url,
            ready,
            insecure,
            tls,
        } => health::Question {
            address: url.as_deref(),
            is_ready: ready,
            is_insecure: insecure,
            tls: &tls,
        }
        .ask(environment, output),
        Command::Launch {
            parent,
            program,
            args,
        } => launch(parent, &program, &args),
        Command::ReadPdf => crate::pdf::read(output).map_err(CommandError::Pdf),
        Command::Completions { shell } => reference::completions(shell, output),
        Command::Man { folder } => reference::man(folder.as_deref(), output),
    }
}

/// Writes help and version to the output, and usage errors to the complaints.
fn explain(error: &clap::Error, output: &mut dyn Write, complaints: &mut dyn Write) -> ExitCode {
    let (written, code) = if error.use_stderr() {
        (write!(complaints, "{error}"), ExitCode::Usage)
    } else {
        (write!(output, "{error}"), ExitCode::Success)
    };
    if written.is_err() {
        ExitCode::Failure
    } else {
        code
    }
}

#[cfg(test)]
mod tests;
