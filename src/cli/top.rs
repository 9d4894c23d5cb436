//! `kebne top`: what a running gateway does, in a terminal.
//!
//! It reads `GET /state` and `GET /v1/alerts` once a second, as any other client does. With `--once` it prints one view as
//! plain text, for scripts and for terminals without cursor control.

mod client;
mod model;
mod screen;
mod view;

use std::{io::Write, thread, time::Duration};

use crate::{
    cli::{CommandError, tls::TlsArguments},
    settings::Environment,
};

use client::Client;
use model::Model;

/// The environment variable with the API key; the key needs the scope `read_state`.
const KEY: &str = "KEBNE_API_KEY";
/// Time between two views.
const EVERY: Duration = Duration::from_secs(1);
/// The width of the view that `--once` prints.
const WIDTH: u16 = 120;

/// The reason why `kebne top` failed.
#[derive(Debug, thiserror::Error)]
pub enum TopError {
    /// The address is not one of a gateway.
    #[error("`{0}` is not an address such as `http://127.0.0.1:8080`")]
    Address(String),
    /// A file of the arguments cannot be used.
    #[error("{0}")]
    File(String),
    /// The gateway did not answer.
    #[error("no answer from {address}: {reason}")]
    NoAnswer {
        /// The address.
        address: String,
        /// The reason.
        reason: String,
    },
    /// The key is missing or lacks the scope.
    #[error(
        "{address} answered {status}: set the variable {KEY} to a key with the scope `read_state`"
    )]
    NotAllowed {
        /// The address.
        address: String,
        /// The status.
        status: u16,
    },
    /// The terminal cannot be used.
    #[error("the terminal cannot be used ({0}); `--once` prints plain text")]
    Terminal(std::io::Error),
}

/// Shows a running gateway until `q` is pressed, or once.
///
/// # Errors
/// Fails if the address is wrong, the terminal cannot be used or, with `once`, the gateway does not answer.
pub fn run(
    url: &str,
    once: bool,
    tls: &TlsArguments,
    environment: &dyn Environment,
    output: &mut dyn Write,
) -> Result<(), CommandError> {
    let variable = |name: &str| {
        environment
            .get(name)
            .ok()
            .flatten()
            .filter(|value| !value.is_empty())
    };
    let client = Client::new(url, variable(KEY), tls)?;
    let has_colour = variable("NO_COLOR").is_none();
    if once {
        let mut model = Model::default();
        model.take(client.read());
        // Rates need two looks.
        if model.error.is_none() {
            thread::sleep(EVERY);
            model.take(client.read());
        }
        if let Some(error) = model.error.take() {
            return Err(error.into());
        }
        output.write_all(view::text(&model, WIDTH).as_bytes())?;
        return Ok(());
    }
    screen::run(client, has_colour).map_err(|error| TopError::Terminal(error).into())
}
