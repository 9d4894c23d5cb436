//! `kebne serve`: the gateway, until a signal stops it.

use std::{
    io::{self, Write},
    net::{SocketAddr, TcpListener},
    path::Path,
};

use actix_rt::System;
use tokio::signal::unix::{Signal, SignalKind, signal};

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

/// The handlers of signals. A signal that arrives before [`Signals::listen`] takes effect with it.
struct Signals {
    terminated: Signal,
    interrupted: Signal,
    hung_up: Signal,
    ignored: Vec<(SignalKind, Signal)>,
}

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
    let system = System::new();
    // Before the settings are read, which takes longer than all else until the program listens.
    let signals = system.block_on(async { Signals::install() })?;
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
    let served = system.block_on(async {
        let shutdown = Shutdown::default();
        signals.listen(shutdown.clone());
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

impl Signals {
    /// Installs the handlers; must run on an actix system.
    fn install() -> io::Result<Self> {
        let ignored = ENDING_SIGNALS.map(|kind| signal(kind).map(|signal| (kind, signal)));
        Ok(Self {
            terminated: signal(SignalKind::terminate())?,
            interrupted: signal(SignalKind::interrupt())?,
            hung_up: signal(SignalKind::hangup())?,
            ignored: ignored.into_iter().collect::<io::Result<_>>()?,
        })
    }

    /// The first signal drains, the second ends at once. A hangup (a terminal that closes, a service manager that asks
    /// for a reload) is logged and changes nothing: settings are read at the start only.
    fn listen(mut self, shutdown: Shutdown) {
        for (kind, mut signal) in self.ignored {
            // Having a listener is what keeps the signal from ending the process.
            actix_rt::spawn(async move {
                while signal.recv().await.is_some() {
                    tracing::warn!(number = kind.as_raw_value(), "a signal is ignored");
                }
            });
        }
        actix_rt::spawn(async move {
            while self.hung_up.recv().await.is_some() {
                tracing::warn!("SIGHUP is ignored: the settings are read at the start only");
            }
        });
        actix_rt::spawn(async move {
            for token in [shutdown.drain, shutdown.now] {
                tokio::select! {
                    _ = self.terminated.recv() => {}
                    _ = self.interrupted.recv() => {}
                }
                token.cancel();
            }
        });
    }
}
