//! The way of a message to the brokers.

use std::sync::Arc;

use kebne_event_bus::{BusError, Message, Published};
use krafka::{KrafkaError, Record};
use tokio::{sync::watch, time::Instant};

use crate::{
    ID, TOPIC, Topics,
    connection::{Connection, Open},
    error::{is_refusal, late, may_be_stored, of_publishing, unavailable},
    ids::{Known, Outcome},
};

/// The header with the type of the content.
const CONTENT_TYPE: &str = "content-type";

/// Publishes a message, unless it is stored already.
pub(crate) async fn publish(
    connection: &Arc<Connection>,
    message: Message,
) -> Result<Published, BusError> {
    let timeout = connection.options().timeout;
    let record = record(connection, &message)?;
    let open = connection.get().await?;
    let tail = connection.tail(&open);
    tail.require(None).await?;
    let known = connection.ids().get(&message.id);
    if let Known::Uncertain(since) = known {
        // If it was stored after all, it is found now.
        tail.require(Some(since)).await?;
    }
    let Some(mut outcome) = outcome(connection, open, message.id, record) else {
        return Ok(Published::Duplicate);
    };
    // A message that is late goes on its way all the same: who publishes it again waits for the same outcome.
    let result = tokio::time::timeout(timeout, outcome.wait_for(Option::is_some)).await;
    let result = result.map_err(|_| late())?;
    let result = result.map_err(|_| unavailable("the client of Kafka has stopped"))?;
    match &*result {
        Some(Err(error)) => Err(error.clone()),
        Some(Ok(())) | None => Ok(Published::Stored),
    }
}

/// Returns where the outcome of a message comes, which is sent unless it is on its way; `None` if it is stored.
fn outcome(
    connection: &Arc<Connection>,
    open: Arc<Open>,
    id: String,
    record: Record,
) -> Option<watch::Receiver<Outcome>> {
    let mut ids = connection.ids();
    match ids.get(&id) {
        Known::Stored => None,
        Known::InFlight(outcome) => Some(outcome),
        Known::No | Known::Uncertain(_) => {
            let sender = ids.begin(&id);
            let outcome = sender.subscribe();
            drop(ids);
            tokio::spawn(send(Arc::clone(connection), open, id, record, sender));
            Some(outcome)
        }
    }
}

async fn send(
    connection: Arc<Connection>,
    open: Arc<Open>,
    id: String,
    record: Record,
    outcome: watch::Sender<Outcome>,
) {
    let (result, was_sent) = match open.producer.enqueue(record).await {
        Ok(handle) => (handle.await, true),
        Err(error) => (Err(error), false),
    };
    let now = Instant::now();
    let sent = match &result {
        Ok(_) => {
            connection.ids().stored(&id, now);
            Ok(())
        }
        Err(error) => {
            let may_be_stored = was_sent && may_be_stored(error);
            connection.ids().failed(&id, may_be_stored, now);
            if must_forget(error) {
                connection.forget(&open).await;
            }
            Err(of_publishing(error))
        }
    };
    outcome.send_replace(Some(sent));
}

/// Returns `true` if another client is needed after an error.
fn must_forget(error: &KrafkaError) -> bool {
    let is_lost = matches!(
        error,
        KrafkaError::OutOfOrderSequence { .. } | KrafkaError::UnknownTopic { .. }
    );
    is_lost || (error.is_fatal() && !is_refusal(error))
}

fn record(connection: &Connection, message: &Message) -> Result<Record, BusError> {
    let options = connection.options();
    let topic = match &options.topics {
        Topics::One(topic) => topic,
        Topics::Named(topics) => {
            let topic = topics.iter().find(|topic| **topic == message.topic);
            topic.ok_or_else(|| {
                let topic = &message.topic;
                BusError::Refused(format!("`{topic}` is none of the topics of this bus"))
            })?
        }
    };
    let mut record = Record::new(topic, message.payload.clone())
        .key(message.key.clone())
        .header(ID, message.id.clone());
    if matches!(options.topics, Topics::One(_)) {
        record = record.header(TOPIC, message.topic.clone());
    }
    if let Some(kind) = &options.content_type {
        record = record.header(CONTENT_TYPE, kind.clone());
    }
    Ok(record)
}
