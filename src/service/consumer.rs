//! The consumer of a service that takes calls from a broker.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use kebne_event_bus::BusError;
use tokio_util::sync::CancellationToken;

use crate::{
    brokers::BrokerSecretError,
    consume::{Asker, AskerError, Buses, Consumer},
    http::State,
    settings::{Environment, Settings, consume::Broker},
};

/// The time in which the last answers are published when the service ends. Calls without one are delivered again.
const FINISH: Duration = Duration::from_secs(5);

/// The reason why no calls can be taken from a broker.
#[derive(Debug, thiserror::Error)]
pub enum StartConsumeError {
    /// The broker cannot be used.
    #[error("the broker of `kebne consume`: {0}")]
    Bus(#[from] BusError),
    /// The program was built without the broker.
    #[error("`consume.bus`: this build has no {0}: it was made without the feature of that name")]
    NotBuilt(&'static str),
    /// A secret of the broker cannot be read.
    #[error(transparent)]
    Secret(#[from] BrokerSecretError),
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
    let consume = &settings.consume;
    let buses = match consume.bus {
        Broker::Nats => nats(settings, environment).await?,
        Broker::Kafka => kafka(settings, environment)?,
    };
    let asker = Asker::new(consume, environment, address)?;
    let source = &settings.events.source;
    Ok(Consumer::new(consume, source, (buses, asker), stop))
}

#[cfg(feature = "nats")]
async fn nats(
    settings: &Settings,
    environment: &dyn Environment,
) -> Result<Buses, StartConsumeError> {
    use kebne_nats::{NatsBus, Options};

    let (consume, nats) = (&settings.consume, &settings.events.nats);
    let calls = Options {
        stream: consume.stream.clone(),
        subjects: vec![consume.subject.clone()],
        ..crate::nats::options(nats, environment)?
    };
    let answers = Options {
        stream: consume.answer_stream.clone(),
        subjects: vec![consume.answers.clone(), consume.dead_letters.clone()],
        ..crate::nats::options(nats, environment)?
    };
    Ok(Buses {
        calls: Arc::new(NatsBus::connect(calls).await?),
        answers: Arc::new(NatsBus::connect(answers).await?),
    })
}

#[cfg(not(feature = "nats"))]
#[expect(clippy::unused_async, reason = "it is one function for both builds")]
async fn nats(_: &Settings, _: &dyn Environment) -> Result<Buses, StartConsumeError> {
    Err(StartConsumeError::NotBuilt("NATS"))
}

#[cfg(feature = "kafka")]
fn kafka(settings: &Settings, environment: &dyn Environment) -> Result<Buses, StartConsumeError> {
    use kebne_kafka::{KafkaBus, Options, Topics};

    let (consume, kafka) = (&settings.consume, &settings.events.kafka);
    let calls = Options {
        topics: Topics::Named(vec![consume.subject.clone()]),
        ..crate::kafka::options(kafka, environment)?
    };
    let answers = vec![consume.answers.clone(), consume.dead_letters.clone()];
    let answers = Options {
        topics: Topics::Named(answers),
        // Another gateway may have answered before its calls came to this one.
        is_shared: true,
        ..crate::kafka::options(kafka, environment)?
    };
    Ok(Buses {
        calls: Arc::new(KafkaBus::new(calls)),
        answers: Arc::new(KafkaBus::new(answers)),
    })
}

#[cfg(not(feature = "kafka"))]
fn kafka(_: &Settings, _: &dyn Environment) -> Result<Buses, StartConsumeError> {
    Err(StartConsumeError::NotBuilt("Kafka"))
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
