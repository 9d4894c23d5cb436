//! `kebne simulate`: the simulated model as a server on loopback, until it is interrupted.

use std::{
    io::{self, Write},
    net::{Ipv4Addr, TcpListener},
    path::Path,
};

use kebne_lab::{
    sim::script::Script,
    simulate::{self, Preset},
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{
    cli::{CommandError, lab::LabError},
    settings::{Environment, load},
};

/// Serves a model until SIGINT or SIGTERM.
///
/// # Errors
/// Fails if the settings are wrong, the port is taken, or the output cannot be written.
pub fn run(
    port: u16,
    config: Option<&Path>,
    preset: Option<Preset>,
    environment: &dyn Environment,
    output: &mut dyn Write,
) -> Result<(), CommandError> {
    let mut settings = load::load(config, environment)?.settings.simulation;
    settings.preset = preset.unwrap_or(settings.preset);
    let what = settings.preset.name();
    serve(port, what, output, |listener, shutdown| {
        simulate::serve(listener, settings, shutdown)
    })
}

/// Serves a scenario's backend until SIGINT or SIGTERM.
///
/// # Errors
/// Fails if the port is taken, or the output cannot be written.
pub fn run_script(port: u16, script: &Script, output: &mut dyn Write) -> Result<(), CommandError> {
    serve(port, &script.title(), output, |listener, shutdown| {
        simulate::serve_script(listener, script, shutdown)
    })
}

fn serve<F: Future<Output = io::Result<()>>>(
    port: u16,
    what: &str,
    output: &mut dyn Write,
    server: impl FnOnce(TcpListener, CancellationToken) -> F,
) -> Result<(), CommandError> {
    // Loopback only, because it has no keys.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .map_err(|error| LabError::Listen { port, error })?;
    let address = listener.local_addr().map_err(LabError::Simulate)?;
    writeln!(output, "simulated model ({what}) on http://{address}/v1")?;
    output.flush()?;
    let served = actix_rt::System::new().block_on(async {
        let shutdown = CancellationToken::new();
        let mut terminated = signal(SignalKind::terminate())?;
        let mut interrupted = signal(SignalKind::interrupt())?;
        let serve = server(listener, shutdown.clone());
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
    served.map_err(|error| LabError::Simulate(error).into())
}
