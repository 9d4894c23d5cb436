//! `kebne init`: asks model servers what they are, and writes a settings file for them.

mod identify;
mod text;

use std::{
    fs::OpenOptions,
    io::{self, Write},
    path::PathBuf,
};

use crate::{
    cli::CommandError,
    settings::{Environment, Settings, SettingsErrors, Validate},
};
use identify::{Identified, identify};

/// The number of servers that are asked.
const SERVERS_MAX: usize = 64;

/// What is to be written.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The addresses of the servers.
    pub urls: Vec<String>,
    /// The file.
    pub file: PathBuf,
    /// `true` to replace a file that exists.
    pub force: bool,
    /// The variable with the key of the servers that need one.
    pub key_env: Option<String>,
}

/// The reason why no settings were written.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The file exists.
    #[error("`{}` exists already; `--force` replaces it, `--output` names another file", .0.display())]
    Exists(PathBuf),
    /// There are too many servers.
    #[error("at most {SERVERS_MAX} servers can be asked at once")]
    TooMany,
    /// A server cannot be used.
    #[error("{url}: {reason}")]
    Server {
        /// Its address, without secrets.
        url: String,
        /// The reason.
        reason: String,
    },
    /// The settings would be wrong; servers that name their models as their API says never cause this.
    #[error("the settings for these servers would be wrong: {0}")]
    Wrong(SettingsErrors),
    /// The file cannot be written.
    #[error("cannot write `{}`: {error}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        error: io::Error,
    },
    /// The requests could not be made.
    #[error("the client cannot be started: {0}")]
    Client(#[from] io::Error),
}

/// Asks the servers and writes the file.
///
/// # Errors
/// See [`InitError`]; nothing is written then.
pub fn run(
    wanted: &Wanted,
    environment: &dyn Environment,
    output: &mut dyn Write,
) -> Result<(), CommandError> {
    let path = &wanted.file;
    if path.exists() && !wanted.force {
        return Err(InitError::Exists(path.clone()).into());
    }
    if wanted.urls.len() > SERVERS_MAX {
        return Err(InitError::TooMany.into());
    }
    let runtime = actix_rt::Runtime::new().map_err(InitError::Client)?;
    let mut servers: Vec<Identified> = Vec::new();
    for url in &wanted.urls {
        let key_env = wanted.key_env.as_deref();
        let server = runtime.block_on(identify(url, key_env, environment))?;
        if servers
            .iter()
            .any(|other| other.base_url == server.base_url)
        {
            let shown = &server.shown;
            writeln!(output, "{shown} is named twice; it is written once")?;
            continue;
        }
        writeln!(output, "{} is {}", server.shown, server.sentence())?;
        if let Some(missing) = server.missing() {
            writeln!(output, "{}: {missing}", server.shown)?;
        }
        servers.push(server);
    }
    let text = text::settings(&servers);
    check(&text)?;
    let written = if wanted.force {
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)
    } else {
        OpenOptions::new().write(true).create_new(true).open(path)
    };
    let written = written.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| InitError::Write {
        path: path.clone(),
        error,
    })?;
    let shown = path.display();
    writeln!(
        output,
        "wrote {shown}; next: kebne check --live --config {shown}, kebne serve --config {shown}"
    )?;
    Ok(())
}

/// Checks what is to be written by the rules of settings.
fn check(text: &str) -> Result<(), InitError> {
    let errors = match toml::from_str::<Settings>(text) {
        Ok(settings) => settings.validate(""),
        Err(error) => vec![crate::settings::SettingsError::new("", error.message())],
    };
    if errors.is_empty() {
        return Ok(());
    }
    Err(InitError::Wrong(SettingsErrors(errors)))
}
