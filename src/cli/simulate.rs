//! `kebne simulate`: the simulated model as a server on loopback, until it is interrupted.

use std::{
    io::{self, Write},
    net::{Ipv4Addr, TcpListener},
    path::Path,
};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{
    cli::CommandError,
    settings::{Environment, load},
    simulate::{self, Preset},
};

/// Serves until SIGINT or SIGTERM.
///
/// # Errors
/// When the settings are wrong, the port is taken, or the output cannot be written.
pub fn run(
    port: u16,
    config: Option<&Path>,
    preset: Option<Preset>,
    environment: &dyn Environment,
    output: &mut dyn Write,
) -> Result<(), CommandError> {
    let mut settings = load::load(config, environment)?.settings.simulation;
    settings.preset = preset.unwrap_or(settings.preset);
    // Loopback only: it has no keys and does what anyone asks.
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(CommandError::Simulate)?;
    let address = listener.local_addr().map_err(CommandError::Simulate)?;
    writeln!(
        output,
        "simulated model ({}) on http://{address}/v1",
        settings.preset.name()
    )?;
    output.flush()?;
    let served = actix_rt::System::new().block_on(async {
        let shutdown = CancellationToken::new();
        let mut terminated = signal(SignalKind::terminate())?;
        let mut interrupted = signal(SignalKind::interrupt())?;
        let serve = simulate::serve(listener, settings, shutdown.clone());
        let stop = async {
            tokio::select! {
                _ = terminated.recv() => {}
                _ = interrupted.recv() => {}
            }
            shutdown.cancel();
            std::future::pending::<io::Result<()>>().await
        };
        tokio::select! {
            served = serve => served,
            never = stop => never,
        }
    });
    served.map_err(CommandError::Simulate)
}
