//! `kebne serve`: the gateway, until a signal stops it.

use std::{
    io::{self, Write},
    net::{SocketAddr, TcpListener},
    path::Path,
};

use tokio::signal::unix::{SignalKind, signal};

use crate::{
    cli::CommandError,
    gateway, logging,
    service::{self, Shutdown},
    settings::{Environment, SettingsErrors, Validate, load},
};

/// Further signals that would end the process by default: SIGUSR1, SIGUSR2 and SIGALRM, which other tools send, and
/// SIGXFSZ (25), which the kernel sends when a file reaches the limit for its size. The write then fails with an error.
const ENDING_SIGNALS: [SignalKind; 4] = [
    SignalKind::user_defined1(),
    SignalKind::user_defined2(),
    SignalKind::alarm(),
    SignalKind::from_raw(25),
];

/// Serves until SIGINT or SIGTERM, then drains; a second signal ends the drain at once. SIGHUP changes nothing.
///
/// # Errors
/// Fails if the settings are wrong, the address is taken, or calls were cut off.
pub fn run(
    config: Option<&Path>,
    listen: Option<SocketAddr>,
    environment: &dyn Environment,
    output: &mut dyn Write,
) -> Result<(), CommandError> {
    let loaded = load::load(config, environment)?;
    loaded.refuse(gateway::check(&loaded.settings, environment))?;
    let mut settings = loaded.settings;
    if let Some(listen) = listen {
        settings.server.listen = listen;
        let errors = settings.server.validate("server");
        if !errors.is_empty() {
            return Err(CommandError::Settings(SettingsErrors(errors)));
        }
    }
    let cannot_listen = |error| CommandError::Listen {
        address: settings.server.listen,
        error,
    };
    let listener = TcpListener::bind(settings.server.listen).map_err(cannot_listen)?;
    let address = listener.local_addr().map_err(cannot_listen)?;
    let _written_until_here = logging::start(&settings.log).map_err(CommandError::Log)?;
    let served = actix_rt::System::new().block_on(async {
        let shutdown = Shutdown::default();
        listen_for_signals(shutdown.clone())?;
        let announce = || {
            writeln!(output, "kebne on http://{address}/v1")?;
            output.flush()
        };
        service::run(listener, &settings, environment, shutdown, announce).await
    });
    match served? {
        0 => Ok(()),
        cut_off => Err(CommandError::CutOff(cut_off)),
    }
}

/// The first signal drains, the second ends at once. A hangup (a terminal that closes, a service manager that asks for
/// a reload) is logged and changes nothing: settings are read at the start only.
fn listen_for_signals(shutdown: Shutdown) -> io::Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut hung_up = signal(SignalKind::hangup())?;
    for kind in ENDING_SIGNALS {
        // Having a listener is what keeps the signal from ending the process.
        let mut ignored = signal(kind)?;
        actix_rt::spawn(async move {
            while ignored.recv().await.is_some() {
                tracing::warn!(number = kind.as_raw_value(), "a signal is ignored");
            }
        });
    }
    actix_rt::spawn(async move {
        while hung_up.recv().await.is_some() {
            tracing::warn!("SIGHUP is ignored: the settings are read at the start only");
        }
    });
    actix_rt::spawn(async move {
        for token in [shutdown.drain, shutdown.now] {
            tokio::select! {
                _ = terminated.recv() => {}
                _ = interrupted.recv() => {}
            }
            token.cancel();
        }
    });
    Ok(())
}
