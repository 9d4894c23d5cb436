//! Has the service follow what changes while it runs: the replicas of backends, and the settings.
//!
//! All changes are made here, one after another.

use std::convert::Infallible;

use tokio::time::{Instant, sleep_until};

use crate::{
    alerts::Watching,
    discovery::{Discovery, Looks},
    gateway::{Gateway, StartError},
    guards::Guards,
    reload::{Asked, ReloadError, Report, Request, Requests},
    service::Controls,
    settings::{
        Change, Environment, Settings, SettingsErrors, Validate, functions::with_functions,
        routes::with_services,
    },
    state::State,
};

/// What is changed, and who asks for it.
pub(super) struct Steering<'a> {
    pub(super) gateway: &'a Gateway,
    pub(super) state: &'a State,
    pub(super) watching: &'a Watching,
    pub(super) environment: &'a dyn Environment,
    pub(super) controls: &'a Controls<'a>,
    pub(super) requests: Requests,
    /// The settings in effect.
    pub(super) settings: Settings,
    pub(super) discovery: Discovery,
}

/// What happened next.
enum Event {
    Looked(Looks),
    HungUp,
    Asked(Request),
}

impl Steering<'_> {
    /// Makes changes until the service stops.
    pub(super) async fn run(mut self) -> Infallible {
        let mut due = self.next_look();
        loop {
            match self.next(due).await {
                Event::Looked(looks) => {
                    if self.discovery.take_all(looks) {
                        self.follow_replicas().await;
                    }
                    due = self.next_look();
                }
                Event::HungUp => {
                    let _is_logged = self.reload(Asked::BySignal).await;
                    due = self.next_look_after(due);
                }
                Event::Asked(request) => {
                    let result = self.reload(request.asked).await;
                    // Who asked may have left.
                    let _taken = request.result.send(result);
                    due = self.next_look_after(due);
                }
            }
        }
    }

    fn next_look(&self) -> Option<Instant> {
        Some(Instant::now() + self.discovery.every()?)
    }

    /// Returns the time of the next look after a reload, which does not delay one that was due before.
    fn next_look_after(&self, due: Option<Instant>) -> Option<Instant> {
        let next = self.next_look()?;
        Some(due.map_or(next, |due| due.min(next)))
    }

    /// Waits for what happens next. A look that is not over when somebody asks for a reload is made again after it.
    async fn next(&mut self, due: Option<Instant>) -> Event {
        let discovery = &self.discovery;
        let look = async {
            match due {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
            discovery.look_again().await
        };
        // The state holds a sender, so there is always another request.
        tokio::select! {
            Some(request) = self.requests.recv() => Event::Asked(request),
            () = self.controls.hung_up.notified() => Event::HungUp,
            looks = look => Event::Looked(looks),
        }
    }

    async fn follow_replicas(&self) {
        let settings = self.discovery.settings();
        match self.gateway.apply(&settings, self.environment).await {
            Ok(applied) => {
                let (started, retired) = (&applied.started, &applied.retired);
                tracing::info!(?started, ?retired, "the replicas have changed");
                self.state.lanes_changed(&settings, &applied);
            }
            Err(error) => tracing::error!(%error, "the replicas that were found cannot be used"),
        }
    }

    async fn reload(&mut self, asked: Asked) -> Result<Report, ReloadError> {
        let result = Box::pin(self.change()).await;
        self.state.reloader.note(asked, &result);
        result
    }

    /// Reads the settings again and has the service follow them. What can fail is done first.
    async fn change(&mut self) -> Result<Report, ReloadError> {
        let source = self.controls.source.ok_or(ReloadError::NoSource)?;
        let change = Change::new(&self.settings, with_services(&source.read()?))?;
        if !change.kept.is_empty() {
            let errors = change.settings.validate("");
            if !errors.is_empty() {
                return Err(ReloadError::Contradiction {
                    errors: SettingsErrors(errors),
                    kept: change.kept,
                });
            }
        }
        // Keys that are gone are more likely a file that was lost or is being written than a wish.
        if !self.settings.server.keys.is_empty() && change.settings.server.keys.is_empty() {
            return Err(ReloadError::NoKeys);
        }
        let settings = with_functions(&change.settings);
        let alerts = self.watching.prepare(&settings, self.environment)?;
        let guards = Guards::new(&settings, self.environment).map_err(StartError::Guards)?;
        let discovery = self.discovery.changed(&settings).await;
        let with_replicas = discovery.settings();
        self.gateway.start_accounts(&settings).await?;
        let applied = self.gateway.apply(&with_replicas, self.environment).await?;
        if let Some(functions) = self.state.function_events.get()
            && let Err(error) = functions.follow(&settings)
        {
            tracing::error!(%error, "events do not reach the functions that subscribe to them");
        }
        // Before the keys and models that name them.
        self.state.guards.replace(guards);
        self.state.change(&with_replicas, &applied).await;
        self.watching.change(alerts);
        source.change_log(&settings.log);
        if let Some(certificates) = &self.state.certificates {
            // The files were checked with the settings. If they cannot be used now, that is logged, and the certificate stays.
            let _is_logged = certificates.reload();
        }
        (self.settings, self.discovery) = (settings, discovery);
        Ok(Report {
            changed: change.applied,
            needs_restart: change.kept,
            backends: applied,
        })
    }
}
