//! `kebne serve`: the gateway, until a signal stops it.

use std::{
    io::{self, Write},
    net::{SocketAddr, TcpListener},
    path::Path,
    sync::Arc,
};

use actix_rt::System;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::Notify,
};

use crate::{
    cli::CommandError,
    gateway, guards,
    logging::{self, Writers},
    reload::Source,
    service::{self, Controls, Shutdown},
    settings::{Environment, LogSettings, Settings, SettingsError, SettingsErrors, Validate, load},
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

/// Serves until SIGINT or SIGTERM, then drains; a second signal ends the drain at once. SIGHUP has the settings read again.
///
/// # Errors
/// Fails if the settings are wrong, the address is taken, or calls were cut off.
pub fn run(
    config: Option<&Path>,
    listen: Option<SocketAddr>,
    environment: &dyn Environment,
    output: &mut dyn Write,
) -> Result<(), CommandError> {
    let layers = Layers {
        config,
        listen,
        environment,
    };
    serve(layers, false, output)
}

/// Serves as [`run`] does, and takes calls from a broker as well.
///
/// # Errors
/// As [`run`]; also if the broker cannot be used.
#[cfg(feature = "broker")]
pub fn consume(
    config: Option<&Path>,
    listen: Option<SocketAddr>,
    environment: &dyn Environment,
    output: &mut dyn Write,
) -> Result<(), CommandError> {
    let layers = Layers {
        config,
        listen,
        environment,
    };
    serve(layers, true, output)
}

/// Serves, as the layers of the settings say.
fn serve(layers: Layers<'_>, consumes: bool, output: &mut dyn Write) -> Result<(), CommandError> {
    let system = System::new();
    // Before the settings are read, which takes longer than all else until the program listens.
    let signals = system.block_on(async { Signals::install() })?;
    let settings = layers.read()?;
    let cannot_listen = |error| CommandError::Listen {
        address: settings.server.listen,
        error,
    };
    let listener = TcpListener::bind(settings.server.listen).map_err(cannot_listen)?;
    let address = listener.local_addr().map_err(cannot_listen)?;
    let scheme = if settings.server.tls.is_on() {
        "https"
    } else {
        "http"
    };
    let writers = logging::start(&settings.log).map_err(CommandError::Log)?;
    let served = system.block_on(async {
        let source = LoggedLayers {
            layers,
            writers: &writers,
        };
        let controls = Controls {
            shutdown: Shutdown::default(),
            hung_up: Arc::default(),
            source: Some(&source),
            consumes,
        };
        signals.listen(controls.shutdown.clone(), Arc::clone(&controls.hung_up));
        let announce = || {
            let written = writeln!(output, "kebne on {scheme}://{address}/v1");
            match written.and_then(|()| output.flush()) {
                // Whoever restarts it on a full disk needs it to remove something.
                Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                    tracing::warn!(%error, "the address is not written to the standard output");
                    Ok(())
                }
                written => written,
            }
        };
        let served = service::run(listener, &settings, layers.environment, controls, announce);
        Box::pin(served).await
    });
    match served? {
        0 => Ok(()),
        cut_off => Err(CommandError::CutOff(cut_off)),
    }
}

/// The layers of the settings.
#[derive(Clone, Copy)]
struct Layers<'a> {
    config: Option<&'a Path>,
    /// The address on the command line.
    listen: Option<SocketAddr>,
    environment: &'a dyn Environment,
}

impl Layers<'_> {
    /// Reads them, and checks that the service can be made of them.
    fn read(&self) -> Result<Settings, SettingsErrors> {
        let loaded = load::load(self.config, self.environment)?;
        let mut errors = gateway::check(&loaded.settings, self.environment);
        errors.extend(guards::check(&loaded.settings, self.environment));
        loaded.refuse(errors)?;
        let mut settings = loaded.settings;
        if let Some(listen) = self.listen {
            settings.server.listen = listen;
            let errors = settings.server.validate("server");
            if !errors.is_empty() {
                return Err(SettingsErrors(errors));
            }
        }
        Ok(settings)
    }
}

/// The layers of the settings of a service whose log is written.
struct LoggedLayers<'a> {
    layers: Layers<'a>,
    writers: &'a Writers,
}

impl Source for LoggedLayers<'_> {
    fn read(&self) -> Result<Settings, SettingsErrors> {
        if let Some(config) = self.layers.config {
            // Reading a pipe again would wait for a writer.
            let is_other = std::fs::metadata(config).is_ok_and(|found| !found.is_file());
            if is_other {
                let message = format!(
                    "`{}` is not a regular file, so it cannot be read again",
                    config.display()
                );
                return Err(SettingsErrors(vec![SettingsError::new("", message)]));
            }
        }
        self.layers.read()
    }

    fn change_log(&self, settings: &LogSettings) {
        self.writers.change(settings);
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

    /// The first signal drains, the second ends at once. A hangup (a service manager that asks for a reload, a terminal that
    /// closes) has the settings read again.
    fn listen(mut self, shutdown: Shutdown, reload: Arc<Notify>) {
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
                reload.notify_one();
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
