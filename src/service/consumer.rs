//! The consumer of a service that takes calls from a broker.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use kebne_event_bus::BusError;
use kebne_nats::{NatsBus, Options};
use tokio_util::sync::CancellationToken;

use crate::{
    consume::{Asker, AskerError, Buses, Consumer},
    http::State,
    nats::{NatsSecretError, options},
    settings::{Environment, Settings},
};

/// The time in which the last answers are published when the service ends. Calls without one are delivered again.
const FINISH: Duration = Duration::from_secs(5);

/// The reason why no calls can be taken from a broker.
#[derive(Debug, thiserror::Error)]
pub enum StartConsumeError {
    /// The servers cannot be used.
    #[error("`events.nats`: {0}")]
    Bus(#[from] BusError),
    /// A secret of the servers cannot be read.
    #[error(transparent)]
    Secret(#[from] NatsSecretError),
    /// No calls can be made.
    #[error(transparent)]
    Asker(#[from] AskerError),
    /// The service itself is called without TLS.
    #[error(
        "`kebne consume` calls the gateway on its own address and needs one without TLS (`server.tls`)"
    )]
    Tls,
}

/// Connects the consumer.
pub(super) async fn start(
    settings: &Settings,
    environment: &dyn Environment,
    address: SocketAddr,
    stop: CancellationToken,
) -> Result<Consumer, StartConsumeError> {
    if settings.server.tls.is_on() {
        return Err(StartConsumeError::Tls);
    }
    let (consume, nats) = (&settings.consume, &settings.events.nats);
    let calls = Options {
        stream: consume.stream.clone(),
        subjects: vec![consume.subject.clone()],
        ..options(nats, environment)?
    };
    let answers = Options {
        stream: consume.answer_stream.clone(),
        subjects: vec![consume.answers.clone(), consume.dead_letters.clone()],
        ..options(nats, environment)?
    };
    let buses = Buses {
        calls: Arc::new(NatsBus::connect(calls).await?),
        answers: Arc::new(NatsBus::connect(answers).await?),
    };
    let asker = Asker::new(consume, environment, address)?;
    let source = &settings.events.source;
    Ok(Consumer::new(consume, source, (buses, asker), stop))
}

/// Begins to take calls.
pub(super) fn run(state: &Arc<State>) {
    let Some(consumer) = state.consumer().cloned() else {
        return;
    };
    let gateway = state.gateway.clone();
    actix_rt::spawn(async move { consumer.run(&gateway).await });
}

/// Waits until the last answers are published.
pub(super) async fn finish(state: &State) {
    if let Some(consumer) = state.consumer() {
        consumer.finish(FINISH).await;
    }
}
